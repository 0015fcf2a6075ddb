#include "shard/fanout/subscriptions.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define BITMAP_BITS 65536u
#define BUCKETS_MIN 256u

struct tt_subscriptions {
    struct tt_hash_key key;
    struct tt_followed **buckets;
    uint32_t buckets_count; /* a power of two */
    uint32_t followed;
    uint32_t patterns; /* prefixes and the star: then the bitmap cannot rule anything out */
    uint64_t places;
    size_t bytes;
    uint64_t
        prefix_levels[TT_CHANNEL_LEVELS_MAX + 1]; /* followed prefixes by their number of dots */
    struct tt_followed *all;
    uint16_t counts[BITMAP_BITS]; /* exact channels for each bit */
    uint64_t bitmap[BITMAP_BITS / 64];
};

enum tt_status tt_subscriptions_create(struct tt_subscriptions **out, const struct tt_hash_key *key)
{
    struct tt_subscriptions *s = calloc(1, sizeof *s);
    if (s == NULL) return TT_ENOMEM;
    s->key = *key;
    s->buckets_count = BUCKETS_MIN;
    s->buckets = calloc(s->buckets_count, sizeof(struct tt_followed *));
    if (s->buckets == NULL) {
        free(s);
        return TT_ENOMEM;
    }
    s->bytes = sizeof *s + s->buckets_count * sizeof(struct tt_followed *);
    *out = s;
    return TT_OK;
}

void tt_subscriptions_destroy(struct tt_subscriptions **out)
{
    struct tt_subscriptions *s = *out;
    if (s == NULL) return;
    TT_ASSERT(s->followed == 0);
    free(s->buckets);
    free(s);
    *out = NULL;
}

/* Patterns of different kinds may have the same text ("a." is a channel too): the kind is mixed in.
 */
static uint64_t bucket_hash(uint64_t hash, uint8_t kind)
{
    return hash + kind * UINT64_C(0x9E3779B97F4A7C15);
}

static struct tt_followed **find(const struct tt_subscriptions *s, uint8_t kind, uint64_t hash,
                                 struct tt_bytes text)
{
    struct tt_followed **link = &s->buckets[bucket_hash(hash, kind) & (s->buckets_count - 1)];
    for (; *link != NULL; link = &(*link)->next_) {
        struct tt_followed *f = *link;
        if (f->hash == hash && f->kind == kind && f->text_bytes == text.size &&
            memcmp(f->text, text.data, text.size) == 0)
            break;
    }
    return link;
}

static void grow(struct tt_subscriptions *s)
{
    uint32_t count = s->buckets_count * 2;
    struct tt_followed **buckets = calloc(count, sizeof(struct tt_followed *));
    if (buckets == NULL) return; /* longer chains, nothing worse */
    for (uint32_t i = 0; i < s->buckets_count; i++) {
        struct tt_followed *f = s->buckets[i];
        while (f != NULL) {
            struct tt_followed *next = f->next_;
            struct tt_followed **link = &buckets[bucket_hash(f->hash, f->kind) & (count - 1)];
            f->next_ = *link;
            *link = f;
            f = next;
        }
    }
    s->bytes += (count - s->buckets_count) * sizeof(struct tt_followed *);
    free(s->buckets);
    s->buckets = buckets;
    s->buckets_count = count;
}

static unsigned dots(struct tt_bytes text)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.size; i++) n += text.data[i] == '.';
    return n;
}

static void count_kind(struct tt_subscriptions *s, struct tt_followed *f, bool add)
{
    switch ((enum tt_pattern_kind)f->kind) {
    case TT_PATTERN_EXACT: {
        uint32_t bit = (uint32_t)f->hash & (BITMAP_BITS - 1);
        if (add) {
            if (s->counts[bit] != UINT16_MAX) s->counts[bit]++;
            s->bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
        } else if (s->counts[bit] != UINT16_MAX && --s->counts[bit] == 0) {
            s->bitmap[bit / 64] &= ~(UINT64_C(1) << bit % 64);
        }
        return;
    }
    case TT_PATTERN_PREFIX: {
        uint64_t *level = &s->prefix_levels[dots(tt_bytes(f->text, f->text_bytes))];
        if (add)
            ++*level;
        else
            --*level;
        break;
    }
    case TT_PATTERN_ALL: s->all = add ? f : NULL; break;
    }
    if (add)
        s->patterns++;
    else
        s->patterns--;
}

/* The followed object of a pattern, made if nobody followed it yet. */
static struct tt_followed *obtain(struct tt_subscriptions *s, const struct tt_pattern *pattern)
{
    uint64_t hash = tt_hash(&s->key, pattern->text);
    struct tt_followed **link = find(s, (uint8_t)pattern->kind, hash, pattern->text);
    if (*link != NULL) return *link;
    struct tt_followed *f = calloc(1, sizeof *f + pattern->text.size);
    if (f == NULL) return NULL;
    f->hash = hash;
    f->kind = (uint8_t)pattern->kind;
    f->text_bytes = (uint8_t)pattern->text.size;
    if (pattern->text.size != 0) memcpy(f->text, pattern->text.data, pattern->text.size);
    *link = f;
    s->followed++;
    s->bytes += sizeof *f + f->text_bytes;
    count_kind(s, f, true);
    if (s->followed > s->buckets_count) grow(s);
    return f;
}

static void drop_if_unused(struct tt_subscriptions *s, struct tt_followed *f)
{
    if (f->clients_count != 0) return;
    struct tt_followed **link = find(s, f->kind, f->hash, tt_bytes(f->text, f->text_bytes));
    TT_ASSERT(*link == f);
    *link = f->next_;
    count_kind(s, f, false);
    s->followed--;
    s->bytes -= sizeof *f + f->text_bytes + f->clients_max_ * sizeof(struct tt_client *);
    free(f->clients);
    free(f);
}

static bool append(struct tt_subscriptions *s, struct tt_followed *f, struct tt_client *client,
                   uint32_t *index)
{
    if (f->clients_count == f->clients_max_) {
        uint32_t max = f->clients_max_ == 0 ? 1 : f->clients_max_ * 2;
        struct tt_client **clients = realloc(f->clients, max * sizeof(struct tt_client *));
        if (clients == NULL) return false;
        s->bytes += (max - f->clients_max_) * sizeof(struct tt_client *);
        f->clients = clients;
        f->clients_max_ = max;
    }
    *index = f->clients_count;
    f->clients[f->clients_count++] = client;
    s->places++;
    return true;
}

static void take_out(struct tt_subscriptions *s, struct tt_subscription_entry *entry)
{
    struct tt_followed *f = entry->followed;
    uint32_t last = --f->clients_count;
    s->places--;
    if (entry->index != last) {
        struct tt_client *moved = f->clients[last];
        f->clients[entry->index] = moved;
        struct tt_subscription *other = tt_client_subscription(moved);
        for (uint32_t i = 0; i < other->count; i++) {
            if (other->entries[i].followed == f) {
                other->entries[i].index = entry->index;
                break;
            }
        }
    }
    drop_if_unused(s, f);
}

/* Is patterns[i] made superfluous by another of them (or doubled by an earlier one)? */
static bool is_covered(const struct tt_pattern *patterns, uint32_t count, uint32_t i)
{
    for (uint32_t j = 0; j < count; j++) {
        if (j == i || !tt_pattern_covers(&patterns[j], &patterns[i])) continue;
        if (!tt_pattern_covers(&patterns[i], &patterns[j]) || j < i) return true;
    }
    return false;
}

static int by_kind_and_hash(const void *a, const void *b)
{
    const struct tt_subscription_entry *x = a;
    const struct tt_subscription_entry *y = b;
    bool px = x->followed->kind != TT_PATTERN_EXACT;
    bool py = y->followed->kind != TT_PATTERN_EXACT;
    if (px != py) return px ? 1 : -1;
    uint32_t hx = (uint32_t)x->followed->hash;
    uint32_t hy = (uint32_t)y->followed->hash;
    return hx < hy ? -1 : hx > hy ? 1 : 0;
}

enum tt_status tt_subscriptions_add(struct tt_subscriptions *s, struct tt_client *client,
                                    const struct tt_pattern *patterns, uint32_t count,
                                    struct tt_subscription **out)
{
    TT_ASSERT(count > 0);
    struct tt_subscription *sub =
        calloc(1, sizeof *sub + count * sizeof(struct tt_subscription_entry));
    if (sub == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        if (is_covered(patterns, count, i)) continue;
        struct tt_subscription_entry *entry = &sub->entries[sub->count];
        entry->followed = obtain(s, &patterns[i]);
        if (entry->followed == NULL || !append(s, entry->followed, client, &entry->index)) {
            if (entry->followed != NULL) drop_if_unused(s, entry->followed);
            while (sub->count != 0) take_out(s, &sub->entries[--sub->count]);
            free(sub);
            return TT_ENOMEM;
        }
        if (patterns[i].kind == TT_PATTERN_EXACT) sub->exact++;
        sub->count++;
    }
    qsort(sub->entries, sub->count, sizeof sub->entries[0], by_kind_and_hash);
    s->bytes += sizeof *sub + sub->count * sizeof(struct tt_subscription_entry);
    *out = sub;
    return TT_OK;
}

void tt_subscriptions_remove(struct tt_subscriptions *s, struct tt_client *client,
                             struct tt_subscription **subscription)
{
    struct tt_subscription *sub = *subscription;
    if (sub == NULL) return;
    for (uint32_t i = 0; i < sub->count; i++) {
        TT_ASSERT(sub->entries[i].followed->clients[sub->entries[i].index] == client);
        take_out(s, &sub->entries[i]);
    }
    s->bytes -= sizeof *sub + sub->count * sizeof(struct tt_subscription_entry);
    free(sub);
    *subscription = NULL;
}

bool tt_subscriptions_may_match(const struct tt_subscriptions *s, uint32_t channel_hash)
{
    uint32_t bit = channel_hash & (BITMAP_BITS - 1);
    return s->patterns != 0 || (s->bitmap[bit / 64] >> bit % 64 & 1) != 0;
}

unsigned tt_subscriptions_match(const struct tt_subscriptions *s, struct tt_bytes channel,
                                struct tt_followed *matches[TT_MATCHES_MAX])
{
    unsigned n = 0;
    struct tt_followed *f = *find(s, TT_PATTERN_EXACT, tt_hash(&s->key, channel), channel);
    if (f != NULL) matches[n++] = f;
    if (s->patterns == 0) return n;
    unsigned level = 0;
    for (size_t i = 0; i < channel.size; i++) {
        if (channel.data[i] != '.') continue;
        if (s->prefix_levels[++level] == 0) continue;
        struct tt_bytes prefix = tt_bytes(channel.data, i + 1);
        f = *find(s, TT_PATTERN_PREFIX, tt_hash(&s->key, prefix), prefix);
        if (f != NULL) matches[n++] = f;
    }
    if (s->all != NULL) matches[n++] = s->all;
    return n;
}

/* Entries are sorted by hash: a binary search finds the first candidate. */
static uint32_t first_candidate(const struct tt_subscription *sub, uint32_t hash)
{
    uint32_t low = 0;
    uint32_t high = sub->exact;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((uint32_t)sub->entries[middle].followed->hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool tt_subscription_may_match(const struct tt_subscription *sub, uint32_t channel_hash)
{
    if (sub->exact != sub->count) return true;
    uint32_t i = first_candidate(sub, channel_hash);
    return i < sub->exact && (uint32_t)sub->entries[i].followed->hash == channel_hash;
}

bool tt_subscription_matches(const struct tt_subscription *sub, struct tt_bytes channel,
                             uint32_t channel_hash)
{
    for (uint32_t i = first_candidate(sub, channel_hash); i < sub->exact; i++) {
        const struct tt_followed *f = sub->entries[i].followed;
        if ((uint32_t)f->hash != channel_hash) break;
        if (tt_bytes_equal(tt_bytes(f->text, f->text_bytes), channel)) return true;
    }
    for (uint32_t i = sub->exact; i < sub->count; i++) {
        const struct tt_followed *f = sub->entries[i].followed;
        if (tt_bytes_starts(channel, tt_bytes(f->text, f->text_bytes))) return true;
    }
    return false;
}

uint32_t tt_subscriptions_followed(const struct tt_subscriptions *s)
{
    return s->followed;
}
uint64_t tt_subscriptions_places(const struct tt_subscriptions *s)
{
    return s->places;
}
size_t tt_subscriptions_bytes(const struct tt_subscriptions *s)
{
    return s->bytes;
}
