#include "shard/fanout/subscriptions.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define BITMAP_BITS 65536u
#define BUCKETS_MIN 256u
#define SHRINK_FROM 64u /* lists below it are not worth it */

#define NONE UINT32_MAX

struct tt_subscriptions {
    struct tt_hash_key key;
    const struct tt_pool *clients;
    /* By number. A free number has no object, and its hash is the next free number. */
    struct tt_followed **table;
    uint32_t *hashes; /* the low half of each one's hash: what is searched lies close together */
    uint32_t table_max;
    uint32_t table_used; /* numbers that were ever given */
    uint32_t free_first;
    uint32_t *buckets;      /* numbers of the first in each chain */
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

static uint32_t *make_buckets(uint32_t count)
{
    uint32_t *buckets = malloc(count * sizeof *buckets);
    if (buckets != NULL) memset(buckets, 0xFF, count * sizeof *buckets);
    return buckets;
}

enum tt_status tt_subscriptions_create(struct tt_subscriptions **out, const struct tt_hash_key *key,
                                       const struct tt_pool *clients)
{
    struct tt_subscriptions *s = calloc(1, sizeof *s);
    if (s == NULL) return TT_ENOMEM;
    s->key = *key;
    s->clients = clients;
    s->free_first = NONE;
    s->buckets_count = BUCKETS_MIN;
    s->buckets = make_buckets(s->buckets_count);
    if (s->buckets == NULL) {
        free(s);
        return TT_ENOMEM;
    }
    s->bytes = sizeof *s + s->buckets_count * sizeof *s->buckets;
    *out = s;
    return TT_OK;
}

void tt_subscriptions_destroy(struct tt_subscriptions **out)
{
    struct tt_subscriptions *s = *out;
    if (s == NULL) return;
    TT_ASSERT(s->followed == 0);
    free(s->table);
    free(s->hashes);
    free(s->buckets);
    free(s);
    *out = NULL;
}

static struct tt_bytes text_of(const struct tt_followed *f)
{
    return tt_bytes(f->text, f->text_bytes);
}

const struct tt_followed *tt_subscription_followed(const struct tt_subscription *sub, uint32_t i)
{
    return sub->of->table[sub->entries[i].number];
}

/* Patterns of different kinds may have the same text ("a." is a channel too): the kind is mixed in.
 */
static uint64_t bucket_hash(uint64_t hash, uint8_t kind)
{
    return hash + kind * UINT64_C(0x9E3779B97F4A7C15);
}

/* Where the number of what is looked for stands, or would be put: NONE. */
static uint32_t *find(const struct tt_subscriptions *s, uint8_t kind, uint64_t hash,
                      struct tt_bytes text)
{
    uint32_t *link = &s->buckets[bucket_hash(hash, kind) & (s->buckets_count - 1)];
    while (*link != NONE) {
        struct tt_followed *f = s->table[*link];
        if (f->hash == hash && f->kind == kind && f->text_bytes == text.size &&
            memcmp(f->text, text.data, text.size) == 0)
            break;
        link = &f->next_;
    }
    return link;
}

/* Null: nobody follows it. */
static struct tt_followed *look_up(const struct tt_subscriptions *s, enum tt_pattern_kind kind,
                                   struct tt_bytes text)
{
    uint32_t number = *find(s, (uint8_t)kind, tt_hash(&s->key, text), text);
    return number == NONE ? NULL : s->table[number];
}

static void grow_buckets(struct tt_subscriptions *s)
{
    uint32_t count = s->buckets_count * 2;
    uint32_t *buckets = make_buckets(count);
    if (buckets == NULL) return; /* longer chains, nothing worse */
    for (uint32_t i = 0; i < s->table_used; i++) {
        struct tt_followed *f = s->table[i];
        if (f == NULL) continue;
        uint32_t *link = &buckets[bucket_hash(f->hash, f->kind) & (count - 1)];
        f->next_ = *link;
        *link = i;
    }
    s->bytes += (count - s->buckets_count) * sizeof *buckets;
    free(s->buckets);
    s->buckets = buckets;
    s->buckets_count = count;
}

static bool grow_table(struct tt_subscriptions *s)
{
    uint32_t max = s->table_max < 64 ? 128 : s->table_max + s->table_max / 2;
    struct tt_followed **table = realloc(s->table, max * sizeof *table);
    if (table == NULL) return false;
    s->table = table;
    uint32_t *hashes = realloc(s->hashes, max * sizeof *hashes);
    if (hashes == NULL) return false;
    s->hashes = hashes;
    s->bytes += (max - s->table_max) * (sizeof *table + sizeof *hashes);
    s->table_max = max;
    return true;
}

/* A number for what is newly followed; NONE: out of memory. */
static uint32_t take_number(struct tt_subscriptions *s)
{
    uint32_t number = s->free_first;
    if (number != NONE) {
        s->free_first = s->hashes[number];
        return number;
    }
    if (s->table_used == s->table_max && !grow_table(s)) return NONE;
    return s->table_used++;
}

static void give_number_back(struct tt_subscriptions *s, uint32_t number)
{
    s->table[number] = NULL;
    s->hashes[number] = s->free_first;
    s->free_first = number;
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
    uint32_t *link = find(s, (uint8_t)pattern->kind, hash, pattern->text);
    if (*link != NONE) return s->table[*link];
    uint32_t number = take_number(s);
    if (number == NONE) return NULL;
    struct tt_followed *f = calloc(1, sizeof *f + pattern->text.size);
    if (f == NULL) {
        give_number_back(s, number);
        return NULL;
    }
    f->clients_max_ = TT_FOLLOWED_FEW;
    f->next_ = NONE;
    f->number_ = number;
    f->hash = hash;
    f->kind = (uint8_t)pattern->kind;
    f->text_bytes = (uint8_t)pattern->text.size;
    if (pattern->text.size != 0) memcpy(f->text, pattern->text.data, pattern->text.size);
    s->table[number] = f;
    s->hashes[number] = (uint32_t)hash;
    *link = number;
    s->followed++;
    s->bytes += sizeof *f + f->text_bytes;
    count_kind(s, f, true);
    if (s->followed > s->buckets_count) grow_buckets(s);
    return f;
}

static size_t list_bytes(const struct tt_followed *f)
{
    return f->clients_max_ <= TT_FOLLOWED_FEW ? 0 : f->clients_max_ * sizeof(uint32_t);
}

static void drop_if_unused(struct tt_subscriptions *s, struct tt_followed *f)
{
    if (f->clients_count != 0) return;
    uint32_t *link = find(s, f->kind, f->hash, text_of(f));
    TT_ASSERT(*link == f->number_);
    *link = f->next_;
    count_kind(s, f, false);
    s->followed--;
    s->bytes -= sizeof *f + f->text_bytes + list_bytes(f);
    if (f->clients_max_ > TT_FOLLOWED_FEW) free(f->clients_.many);
    give_number_back(s, f->number_);
    free(f);
}

static uint32_t *list_of(struct tt_followed *f)
{
    return f->clients_max_ <= TT_FOLLOWED_FEW ? f->clients_.few : f->clients_.many;
}

/* Room for so many, more than a few and not below what is there. */
static bool resize(struct tt_subscriptions *s, struct tt_followed *f, uint32_t max)
{
    bool few = f->clients_max_ <= TT_FOLLOWED_FEW;
    uint32_t *many = realloc(few ? NULL : f->clients_.many, max * sizeof *many);
    if (many == NULL) return false;
    if (few) memcpy(many, f->clients_.few, sizeof f->clients_.few);
    s->bytes += max * sizeof *many - list_bytes(f);
    f->clients_.many = many;
    f->clients_max_ = max;
    return true;
}

static bool append(struct tt_subscriptions *s, struct tt_followed *f, uint32_t client,
                   uint32_t *index)
{
    /* By a quarter: a list of many costs little more than its places, and moving stays linear. */
    uint32_t max = f->clients_max_ + f->clients_max_ / 4 + 4;
    if (f->clients_count == f->clients_max_ && !resize(s, f, max)) return false;
    *index = f->clients_count;
    list_of(f)[f->clients_count++] = client;
    s->places++;
    return true;
}

static int compare_texts(struct tt_bytes a, struct tt_bytes b)
{
    if (a.size != b.size) return a.size < b.size ? -1 : 1;
    return a.size == 0 ? 0 : memcmp(a.data, b.data, a.size);
}

/* Channels first, by the low half of their hash; then patterns by their text. */
static int in_order(const void *a, const void *b, void *context)
{
    const struct tt_subscriptions *s = context;
    uint32_t number_x = ((const struct tt_subscription_entry *)a)->number;
    uint32_t number_y = ((const struct tt_subscription_entry *)b)->number;
    const struct tt_followed *x = s->table[number_x];
    const struct tt_followed *y = s->table[number_y];
    bool px = x->kind != TT_PATTERN_EXACT;
    bool py = y->kind != TT_PATTERN_EXACT;
    if (px != py) return px ? 1 : -1;
    if (px) return compare_texts(text_of(x), text_of(y));
    uint32_t hx = s->hashes[number_x];
    uint32_t hy = s->hashes[number_y];
    return hx < hy ? -1 : hx > hy ? 1 : 0;
}

/* The first channel of at least this hash. */
static uint32_t first_candidate(const struct tt_subscription *sub, uint32_t hash)
{
    uint32_t low = 0;
    uint32_t high = sub->exact;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sub->of->hashes[sub->entries[middle].number] < hash)
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
        int order = compare_texts(text_of(tt_subscription_followed(sub, middle)), text);
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
        while (i < sub->exact && sub->entries[i].number != f->number_) i++;
    }
    TT_ASSERT(i < sub->count && sub->entries[i].number == f->number_);
    return &sub->entries[i];
}

static void take_out(struct tt_subscriptions *s, const struct tt_subscription_entry *entry)
{
    struct tt_followed *f = s->table[entry->number];
    uint32_t *list = list_of(f);
    uint32_t last = --f->clients_count;
    s->places--;
    if (entry->index != last) {
        uint32_t moved = list[last];
        list[entry->index] = moved;
        entry_of(tt_client_subscription(tt_pool_at(s->clients, moved)), f)->index = entry->index;
    }
    if (last == 0)
        drop_if_unused(s, f);
    else if (f->clients_max_ > SHRINK_FROM && last < f->clients_max_ / 4)
        (void)resize(s, f, f->clients_max_ / 2); /* a crowd has left it; else it stays as it is */
}

/* While a subscription is added nobody else is: the client stands last where it stands at all. */
static bool stands_last(const struct tt_followed *f, uint32_t client)
{
    return f->clients_count != 0 && tt_followed_clients(f)[f->clients_count - 1] == client;
}

/* Does the client that is being added follow a prefix of that text, of at most `size` bytes? */
static bool follows_prefix(const struct tt_subscriptions *s, uint32_t client, struct tt_bytes text,
                           size_t size)
{
    unsigned level = 0;
    for (size_t i = 0; i < size; i++) {
        if (text.data[i] != '.') continue;
        if (s->prefix_levels[++level] == 0) continue;
        const struct tt_followed *f = look_up(s, TT_PATTERN_PREFIX, tt_bytes(text.data, i + 1));
        if (f != NULL && stands_last(f, client)) return true;
    }
    return false;
}

/* Adds the patterns of one kind, each once. TT_OK, TT_ENOMEM: what was added stays in sub. */
static enum tt_status add_kind(struct tt_subscriptions *s, uint32_t client,
                               const struct tt_pattern *patterns, uint32_t count,
                               enum tt_pattern_kind kind, struct tt_subscription *sub)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_pattern *p = &patterns[i];
        if (p->kind != kind) continue;
        if (kind == TT_PATTERN_EXACT && follows_prefix(s, client, p->text, p->text.size)) continue;
        struct tt_subscription_entry *entry = &sub->entries[sub->count];
        struct tt_followed *f = obtain(s, p);
        if (f == NULL) return TT_ENOMEM;
        if (stands_last(f, client)) continue; /* a double */
        entry->number = f->number_;
        if (!append(s, f, client, &entry->index)) {
            drop_if_unused(s, f);
            return TT_ENOMEM;
        }
        sub->count++;
    }
    return TT_OK;
}

/* Takes out the prefixes that a shorter one covers. */
static void reduce_prefixes(struct tt_subscriptions *s, uint32_t client,
                            struct tt_subscription *sub)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sub->count; i++) {
        struct tt_bytes text = text_of(tt_subscription_followed(sub, i));
        /* What covers the one that covers it covers it, too: the order does not matter. */
        if (follows_prefix(s, client, text, text.size - 1))
            take_out(s, &sub->entries[i]);
        else
            sub->entries[kept++] = sub->entries[i];
    }
    sub->count = kept;
}

enum tt_status tt_subscriptions_add(struct tt_subscriptions *s, uint32_t client,
                                    const struct tt_pattern *patterns, uint32_t count,
                                    struct tt_subscription **out)
{
    TT_ASSERT(count > 0);
    struct tt_subscription *sub =
        calloc(1, sizeof *sub + count * sizeof(struct tt_subscription_entry));
    if (sub == NULL) return TT_ENOMEM;
    sub->of = s;
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
    qsort_r(sub->entries, sub->count, sizeof sub->entries[0], in_order, s);
    if (sub->count < count) { /* doubles, and what others cover */
        struct tt_subscription *smaller =
            realloc(sub, sizeof *sub + sub->count * sizeof(struct tt_subscription_entry));
        if (smaller != NULL) sub = smaller;
    }
    s->bytes += sizeof *sub + sub->count * sizeof(struct tt_subscription_entry);
    *out = sub;
    return TT_OK;
}

void tt_subscriptions_remove(struct tt_subscriptions *s, uint32_t client,
                             struct tt_subscription **subscription)
{
    struct tt_subscription *sub = *subscription;
    if (sub == NULL) return;
    for (uint32_t i = 0; i < sub->count; i++) {
        TT_ASSERT(list_of(s->table[sub->entries[i].number])[sub->entries[i].index] == client);
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
                                const struct tt_followed *matches[TT_MATCHES_MAX])
{
    unsigned n = 0;
    struct tt_followed *f = look_up(s, TT_PATTERN_EXACT, channel);
    if (f != NULL) matches[n++] = f;
    if (s->patterns == 0) return n;
    unsigned level = 0;
    for (size_t i = 0; i < channel.size; i++) {
        if (channel.data[i] != '.') continue;
        if (s->prefix_levels[++level] == 0) continue;
        f = look_up(s, TT_PATTERN_PREFIX, tt_bytes(channel.data, i + 1));
        if (f != NULL) matches[n++] = f;
    }
    if (s->all != NULL) matches[n++] = s->all;
    return n;
}

bool tt_subscription_may_match(const struct tt_subscription *sub, uint32_t channel_hash)
{
    if (sub->exact != sub->count) return true;
    uint32_t i = first_candidate(sub, channel_hash);
    return i < sub->exact && sub->of->hashes[sub->entries[i].number] == channel_hash;
}

bool tt_subscription_matches(const struct tt_subscription *sub, struct tt_bytes channel,
                             uint32_t channel_hash)
{
    for (uint32_t i = first_candidate(sub, channel_hash); i < sub->exact; i++) {
        if (sub->of->hashes[sub->entries[i].number] != channel_hash) break;
        if (tt_bytes_equal(text_of(tt_subscription_followed(sub, i)), channel)) return true;
    }
    if (sub->exact == sub->count) return false;
    if (tt_subscription_followed(sub, sub->exact)->kind == TT_PATTERN_ALL) return true;
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
