/* What a retry is recognised by: the keys that publishers gave to their batches, of one partition.
 *
 * A table from the hash of a key to the hash of its body and to the places of the batch's events in
 * this partition. It is bounded twice: a key is known for a window of time from when its batch was
 * taken, and at most keys_max are known, beyond which the oldest is forgotten. A key that is not
 * known (any more) is new.
 *
 * A batch may span partitions. Each partition's owner recognises its own part. What keeps two
 * different batches with one key from being taken by different partitions is the key's *home*, one
 * partition for each key (tt_idempotency_home): there a batch *claims* its key before any of its
 * parts is sent. A claim is an entry without events, of this same table, and lives in memory only:
 * after a restart the claims are made again from the events of all partitions.
 *
 * A crash may cut a part that was being written: its first events are there, the rest is not. The
 * retry then appends the rest, so the events of one part may lie in several *runs*; a run begins
 * with the index that its first event has in the batch. Normally there is one.
 *
 * Pure: time is passed in, in microseconds of unix time (it may go backwards: entries then live
 * longer, the bound of their number holds). Thread: owner shard; filled at start-up. Memory: by
 * tt_idempotency_create() alone; pages that no key has reached yet are not resident. */
#ifndef TT_STORE_IDEMPOTENCY_H
#define TT_STORE_IDEMPOTENCY_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/hash.h"
#include "store/record.h"

/* Runs of one part: one more for each crash that cut it. Beyond it: TT_ETOOBIG. */
#define TT_IDEMPOTENCY_RUNS_MAX 4u

struct tt_idempotency;

/* keys_max: at least 1. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_idempotency_create(struct tt_idempotency **table, uint32_t keys_max,
                                                 int64_t window_us);
void tt_idempotency_destroy(struct tt_idempotency **table);
/* What a table of that many keys can hold in memory at most. */
size_t tt_idempotency_memory_bytes(uint32_t keys_max);

/* Events of one batch that lie one behind the other, with offsets that follow without a gap. */
struct tt_idempotency_run {
    uint64_t first_offset;
    uint32_t index; /* of its first event in the batch */
    uint32_t count;
};
struct tt_idempotency_found {
    struct tt_idempotency_run runs[TT_IDEMPOTENCY_RUNS_MAX]; /* in order of index */
    uint32_t runs_count; /* 0: claimed, no event of it was appended here */
    uint64_t end_place;  /* of the log, behind the last of them; 0: from before the start */
};
/* Is the key of this block known? TT_OK: yes, with the same body; TT_ENOENT: no; TT_EEXIST: with
 * another body. Of the block only its two hashes count. */
TT_MUST_USE enum tt_status tt_idempotency_find(const struct tt_idempotency *table,
                                               const struct tt_record_idempotency *block,
                                               int64_t now_us, struct tt_idempotency_found *found);
/* Notes a key without events; nothing happens to one that is known with this body. */
void tt_idempotency_claim(struct tt_idempotency *table, const struct tt_record_idempotency *block,
                          int64_t taken_us, int64_t now_us);
/* Notes a run of events: of a new key, of one that was claimed, or further events of a known one.
 * block: of the run's first event. end_place: of the log, behind them; 0: they were recovered.
 * An entry of another batch with this key (of another body, or one that begins anew) is replaced.
 * TT_OK; TT_ETOOBIG: it has TT_IDEMPOTENCY_RUNS_MAX already; nothing was noted. */
enum tt_status tt_idempotency_add(struct tt_idempotency *table,
                                  const struct tt_record_idempotency *block, uint64_t first_offset,
                                  uint32_t count, uint64_t end_place, int64_t taken_us,
                                  int64_t now_us);
/* Forgets the oldest keys whose window is over, at most so many. They are not found anyhow; this
 * gives their room and their count back. */
void tt_idempotency_expire(struct tt_idempotency *table, int64_t now_us, uint32_t most);

/* Keys that are held, claims included. */
uint32_t tt_idempotency_keys(const struct tt_idempotency *table);
/* Keys that were forgotten before their window was over, because keys_max was reached. */
uint64_t tt_idempotency_evicted(const struct tt_idempotency *table);

/* ---- hashes ---- by the log's key, so nobody can compute two that collide; they are the same
 * after a restart. Thread: any. */
/* Of a key as it was given. scope: whom it belongs to (a token's sub); empty: to all. */
void tt_idempotency_key_hash(const struct tt_hash_key *hash_key, struct tt_bytes scope,
                             struct tt_bytes key, uint8_t hash[16]);
/* Of a body. form: what it was read as; the same bytes in another form are another body. */
void tt_idempotency_body_hash(const struct tt_hash_key *hash_key, uint8_t form,
                              struct tt_bytes body, uint8_t hash[16]);
/* The partition where a key is claimed. */
uint32_t tt_idempotency_home(const uint8_t key_hash[16], uint32_t partitions);

#endif
