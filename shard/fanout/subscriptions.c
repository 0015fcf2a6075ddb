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

static struct tt_bytes text_of(const struct tt_followed *f)
{
    return tt_bytes(f->text, f->text_bytes);
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
        uint64_t *level = &s->prefix_levels[dots(text_of(f))];
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
    struct tt_followed **link = find(s, f->kind, f->hash, text_of(f));
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

static int compare_texts(struct tt_bytes a, struct tt_bytes b)
{
    if (a.size != b.size) return a.size < b.size ? -1 : 1;
    return a.size == 0 ? 0 : memcmp(a.data, b.data, a.size);
}

/* Channels first, by the low half of their hash; then patterns by their text. */
static int in_order(const void *a, const void *b)
{
    const struct tt_followed *x = ((const struct tt_subscription_entry *)a)->followed;
    const struct tt_followed *y = ((const struct tt_subscription_entry *)b)->followed;
    bool px = x->kind != TT_PATTERN_EXACT;
    bool py = y->kind != TT_PATTERN_EXACT;
    if (px != py) return px ? 1 : -1;
    if (px) return compare_texts(text_of(x), text_of(y));
    uint32_t hx = (uint32_t)x->hash;
    uint32_t hy = (uint32_t)y->hash;
    return hx < hy ? -1 : hx > hy ? 1 : 0;
}

/* The first channel of at least this hash. */
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

/* The pattern of this text, or count. */
static uint32_t find_pattern(const struct tt_subscription *sub, struct tt_bytes text)
{
    uint32_t low = sub->exact;
    uint32_t high = sub->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare_texts(text_of(sub->entries[middle].followed), text);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return sub->count;
}

static struct tt_subscription_entry *entry_of(struct tt_subscription *sub,
                                              const struct tt_followed *f)
{
    uint32_t i;
    if (f->kind != TT_PATTERN_EXACT) {
        i = find_pattern(sub, text_of(f));
    } else {
        i = first_candidate(sub, (uint32_t)f->hash);
        while (i < sub->exact && sub->entries[i].followed != f) i++;
    }
    TT_ASSERT(i < sub->count && sub->entries[i].followed == f);
    return &sub->entries[i];
}

static void take_out(struct tt_subscriptions *s, struct tt_subscription_entry *entry)
{
    struct tt_followed *f = entry->followed;
    uint32_t last = --f->clients_count;
    s->places--;
    if (entry->index != last) {
        struct tt_client *moved = f->clients[last];
        f->clients[entry->index] = moved;
        entry_of(tt_client_subscription(moved), f)->index = entry->index;
    }
    drop_if_unused(s, f);
}

/* While a subscription is added nobody else is: the client stands last where it stands at all. */
static bool stands_last(const struct tt_followed *f, const struct tt_client *client)
{
    return f->clients_count != 0 && f->clients[f->clients_count - 1] == client;
}

/* Does the client that is being added follow a prefix of that text, of at most `size` bytes? */
static bool follows_prefix(const struct tt_subscriptions *s, const struct tt_client *client,
                           struct tt_bytes text, size_t size)
{
    unsigned level = 0;
    for (size_t i = 0; i < size; i++) {
        if (text.data[i] != '.') continue;
        if (s->prefix_levels[++level] == 0) continue;
        struct tt_bytes prefix = tt_bytes(text.data, i + 1);
        const struct tt_followed *f = *find(s, TT_PATTERN_PREFIX, tt_hash(&s->key, prefix), prefix);
        if (f != NULL && stands_last(f, client)) return true;
    }
    return false;
}

/* Adds the patterns of one kind, each once. TT_OK, TT_ENOMEM: what was added stays in sub. */
static enum tt_status add_kind(struct tt_subscriptions *s, struct tt_client *client,
                               const struct tt_pattern *patterns, uint32_t count,
                               enum tt_pattern_kind kind, struct tt_subscription *sub)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_pattern *p = &patterns[i];
        if (p->kind != kind) continue;
        if (kind == TT_PATTERN_EXACT && follows_prefix(s, client, p->text, p->text.size)) continue;
        struct tt_subscription_entry *entry = &sub->entries[sub->count];
        entry->followed = obtain(s, p);
        if (entry->followed == NULL) return TT_ENOMEM;
        if (stands_last(entry->followed, client)) continue; /* a double */
        if (!append(s, entry->followed, client, &entry->index)) {
            drop_if_unused(s, entry->followed);
            return TT_ENOMEM;
        }
        sub->count++;
    }
    return TT_OK;
}

/* Takes out the prefixes that a shorter one covers. */
static void reduce_prefixes(struct tt_subscriptions *s, struct tt_client *client,
                            struct tt_subscription *sub)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sub->count; i++) {
        struct tt_bytes text = text_of(sub->entries[i].followed);
        /* What covers the one that covers it covers it, too: the order does not matter. */
        if (follows_prefix(s, client, text, text.size - 1))
            take_out(s, &sub->entries[i]);
        else
            sub->entries[kept++] = sub->entries[i];
    }
    sub->count = kept;
}

enum tt_status tt_subscriptions_add(struct tt_subscriptions *s, struct tt_client *client,
                                    const struct tt_pattern *patterns, uint32_t count,
                                    struct tt_subscription **out)
{
    TT_ASSERT(count > 0);
    struct tt_subscription *sub =
        calloc(1, sizeof *sub + count * sizeof(struct tt_subscription_entry));
    if (sub == NULL) return TT_ENOMEM;
    /* From the widest to the narrowest, so that what is covered is known when it comes. */
    enum tt_status status = add_kind(s, client, patterns, count, TT_PATTERN_ALL, sub);
    if (status == TT_OK && sub->count == 0) {
        status = add_kind(s, client, patterns, count, TT_PATTERN_PREFIX, sub);
        if (status == TT_OK) reduce_prefixes(s, client, sub);
        uint32_t wide = sub->count;
        if (status == TT_OK) status = add_kind(s, client, patterns, count, TT_PATTERN_EXACT, sub);
        sub->exact = sub->count - wide;
    }
    if (status != TT_OK) {
        while (sub->count != 0) take_out(s, &sub->entries[--sub->count]);
        free(sub);
        return status;
    }
    qsort(sub->entries, sub->count, sizeof sub->entries[0], in_order);
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
        if (tt_bytes_equal(text_of(f), channel)) return true;
    }
    if (sub->exact == sub->count) return false;
    if (sub->entries[sub->exact].followed->kind == TT_PATTERN_ALL) return true;
    for (size_t i = 0; i < channel.size; i++) {
        if (channel.data[i] == '.' &&
            find_pattern(sub, tt_bytes(channel.data, i + 1)) != sub->count)
            return true;
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
