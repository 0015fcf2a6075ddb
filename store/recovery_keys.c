/* The keys of batches that recovery comes across, for the table that recognises retries. */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/recovery_internal.h"

#define KEYS_MIN 64u

static bool same_batch(const struct tt_record_idempotency *a, const struct tt_record_idempotency *b)
{
    return memcmp(a->key_hash, b->key_hash, sizeof a->key_hash) == 0 &&
           memcmp(a->body_hash, b->body_hash, sizeof a->body_hash) == 0;
}

/* Whether `next` goes on where `key` ends. */
static bool follows(const struct tt_recovered_key *key, const struct tt_recovered_key *next)
{
    return next->first_offset == key->first_offset + key->count &&
           next->block.index > key->block.index && same_batch(&key->block, &next->block);
}

static int by_offset(const void *a, const void *b)
{
    const struct tt_recovered_key *left = a, *right = b;
    return left->first_offset < right->first_offset ? -1 : left->first_offset > right->first_offset;
}

static bool too_old(const struct tt_recovery *r, int64_t taken_us)
{
    return taken_us <= r->options->wall_us - r->options->keys_window_us;
}

/* Removes what comes before the newest `keep`. */
static void drop_oldest(struct tt_recovered_partition *p, uint32_t keep)
{
    if (p->keys_count <= keep) return;
    memmove(p->keys, p->keys + (p->keys_count - keep), keep * sizeof *p->keys);
    p->keys_count = keep;
}

void tt_recovery_finish_keys(const struct tt_recovery *r, struct tt_recovered_partition *p)
{
    if (p->keys_count == 0) return;
    qsort(p->keys, p->keys_count, sizeof *p->keys, by_offset);
    uint32_t last = 0;
    for (uint32_t i = 1; i < p->keys_count; i++) {
        if (follows(&p->keys[last], &p->keys[i]))
            p->keys[last].count += p->keys[i].count;
        else
            p->keys[++last] = p->keys[i];
    }
    p->keys_count = last + 1;
    drop_oldest(p, r->options->keys_max);
}

/* Room for one more; at most twice keys_max, then the older half goes. */
static enum tt_status make_room(const struct tt_recovery *r, struct tt_recovered_partition *p)
{
    if (p->keys_count < p->keys_capacity) return TT_OK;
    if (p->keys_capacity / 2 >= r->options->keys_max) {
        tt_recovery_finish_keys(r, p);
        return TT_OK;
    }
    uint32_t capacity = p->keys_capacity == 0 ? KEYS_MIN : p->keys_capacity * 2;
    struct tt_recovered_key *keys = realloc(p->keys, capacity * sizeof *keys);
    if (keys == NULL) return TT_ENOMEM;
    p->keys = keys;
    p->keys_capacity = capacity;
    return TT_OK;
}

enum tt_status tt_recovery_take_key(const struct tt_recovery *r, struct tt_recovered_partition *p,
                                    const struct tt_record_idempotency *block,
                                    uint64_t first_offset, uint32_t count, int64_t taken_us)
{
    const struct tt_recovered_key key = {*block, first_offset, count, taken_us};
    if (r->options->keys_max == 0 || too_old(r, taken_us)) return TT_OK;
    if (p->keys_count != 0 && follows(&p->keys[p->keys_count - 1], &key)) {
        p->keys[p->keys_count - 1].count += count;
        return TT_OK;
    }
    enum tt_status status = make_room(r, p);
    if (status != TT_OK) return status;
    TT_ASSERT(p->keys_count < p->keys_capacity);
    p->keys[p->keys_count++] = key;
    return TT_OK;
}
