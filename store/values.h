/* The channels of one partition, and the value of each: what a snapshot is made of.
 *
 * A channel's value is its newest event that is not never-conflate; an event that deletes leaves it
 * without one. The table holds one slot for each channel: name and hash, where its value stands,
 * and the offset of its newest event of any kind. Slots never move while their channel lives, and
 * neither insertion nor rehashing changes their order: a walk is continued by the number of a slot,
 * and sees every channel that lives as long as the walk exactly once.
 *
 * The mark. A checkpoint holds the table *as it was below an offset*, the first of a segment, so
 * that what it says does not hang on newer events, which a power cut may take. Therefore each slot
 * keeps, beside its value, the one it had below the mark, once a newer event has replaced that.
 * tt_values_below_mark() gives a channel as of the mark. The mark moves on only while nobody uses
 * it (keep.h sees to that).
 *
 * Bounded: at most channels_max channels are taken. A slot is given back (tt_values_sweep) when its
 * channel has no value and its newest event has expired. Thread: the log's. Memory: slots in blocks
 * of TT_VALUES_BLOCK, names in slabs, two words a slot for finding; tt_values_bytes() tells, and
 * tt_values_bytes_bound() says what it can come to. */
#ifndef TT_STORE_VALUES_H
#define TT_STORE_VALUES_H

#include "proto/base/bytes.h"
#include "proto/base/hash.h"

#define TT_VALUES_BLOCK 4096u      /* slots */
#define TT_VALUES_NONE  UINT32_MAX /* no slot */

enum tt_value_state {
    TT_VALUE_NONE = 0, /* it never had one, or that is lost */
    TT_VALUE_HELD,
    TT_VALUE_DELETED, /* offset and place are those of the event that deleted it */
};
enum tt_values_flags {                               /* of an event; as enum tt_event_flags */
                       TT_VALUES_NEVER_CONFLATE = 1, /* it is never a value */
                       TT_VALUES_DELETE = 2,         /* deletes it (never-conflate or not) */
};

struct tt_value {
    uint64_t hash;
    uint64_t newest_offset; /* of its newest event of any kind */
    uint64_t offset;        /* of the value's event */
    uint64_t place;         /* in the log, or in a kept file (kept.h: bit 63) */
    uint64_t older_offset;  /* below the mark; means something only if offset is not below it */
    uint64_t older_place;
    const char *name_;
    uint32_t kept_bytes; /* of its record, if place is in a kept file; else 0 */
    uint8_t name_bytes;
    uint8_t state; /* enum tt_value_state */
    uint8_t older_state;
    uint8_t flags_;
};
/* Kept files may hold older values of the channel. */
static inline bool tt_value_was_kept(const struct tt_value *value)
{
    return (value->flags_ & 1) != 0;
}
static inline struct tt_bytes tt_value_name(const struct tt_value *value)
{
    return tt_bytes(value->name_, value->name_bytes);
}

struct tt_values;
/* channels_max: at least 1. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_values_create(struct tt_values **values, uint32_t channels_max);
void tt_values_destroy(struct tt_values **values); /* a null one is fine */

/* ---- adding ----
 *
 * In two steps, so that a batch of events is taken whole or not at all: the slot of each event's
 * channel is opened; when everything else is sure, each event is set, and then commit; else roll
 * back, which takes away the slots that were made. */
/* The slot of a channel; makes one. TT_OK; TT_ETOOBIG: there are channels_max; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_values_open(struct tt_values *values, uint64_t hash,
                                          struct tt_bytes name, uint32_t *slot);
/* The same at recovery: what is in the log counts, even beyond channels_max. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_values_open_over(struct tt_values *values, uint64_t hash,
                                               struct tt_bytes name, uint32_t *slot);
/* Has the processor fetch what opening that hash will look at: in three passes, stage 0, 1 and 2,
 * over some TT_VALUES_AHEAD hashes, which are opened then. Halves the time among a million
 * channels. */
#define TT_VALUES_AHEAD 16u
void tt_values_prefetch(const struct tt_values *values, uint64_t hash, unsigned stage);
/* An event of the channel stands there. Offsets of a channel may come in any order, and twice: the
 * newest wins, and the same offset only tells a new place. Cannot fail. */
void tt_values_set(struct tt_values *values, uint32_t slot, uint64_t offset, uint64_t place,
                   uint32_t flags);
void tt_values_commit(struct tt_values *values);
void tt_values_rollback(struct tt_values *values);

/* ---- asking ---- */
/* The slot of a channel, or TT_VALUES_NONE. */
uint32_t tt_values_find(const struct tt_values *values, uint64_t hash, struct tt_bytes name);
/* By hash alone: the first slot with that hash, or, after == a slot with that hash, the next one
 * (two channels may share a hash). after: TT_VALUES_NONE at first. */
uint32_t tt_values_find_hash(const struct tt_values *values, uint64_t hash, uint32_t after);
/* Valid until the channel is dropped. Null: nothing is in that slot. */
const struct tt_value *tt_values_at(const struct tt_values *values, uint32_t slot);
/* Slots are numbered from 0 to below this; it never falls. */
uint32_t tt_values_slots(const struct tt_values *values);
/* The first slot from *key on that is in use, looking at no more than *budget of them, which it
 * lowers; *key becomes the slot to go on with. TT_VALUES_NONE: none; the walk is over when
 * *key == tt_values_slots(). */
uint32_t tt_values_walk(const struct tt_values *values, uint32_t *key, uint32_t *budget);
uint32_t tt_values_channels(const struct tt_values *values);
uint32_t tt_values_channels_max(const struct tt_values *values);
/* From here on; what is there stays. At least 1. */
void tt_values_set_channels_max(struct tt_values *values, uint32_t channels_max);
size_t tt_values_bytes(const struct tt_values *values);
/* Of the records that values in kept files stand in. */
uint64_t tt_values_kept_bytes(const struct tt_values *values);
/* What tt_values_bytes() can come to with so many channels. */
uint64_t tt_values_bytes_bound(uint64_t channels);

/* ---- the mark ---- */
/* From here on the table keeps what was below this offset. Never falls. Call it when everything
 * below was set, and nothing from it on. */
void tt_values_set_mark(struct tt_values *values, uint64_t offset);
uint64_t tt_values_mark(const struct tt_values *values);
struct tt_value_then {
    enum tt_value_state state;
    uint64_t offset, place; /* unless NONE */
    uint64_t newest_offset; /* not below the newest event of any kind below the mark */
};
/* The channel as of the mark. False: it did not exist. */
bool tt_values_below_mark(const struct tt_values *values, uint32_t slot,
                          struct tt_value_then *then);

/* ---- for the jobs of keep.h and for start-up ---- */
/* The value's record was copied: wherever the slot says that the event with this offset stands at
 * `from`, it stands at `to` now. kept_bytes: of the record. False: nowhere any more. */
bool tt_values_repoint(struct tt_values *values, uint32_t slot, uint64_t offset, uint64_t from,
                       uint64_t to, uint32_t kept_bytes);
/* The value with this offset is lost: its record cannot be read. */
void tt_values_lose(struct tt_values *values, uint32_t slot, uint64_t offset);
/* What a checkpoint said of the channel. */
void tt_values_restore(struct tt_values *values, uint32_t slot, const struct tt_value_then *then,
                       uint32_t kept_bytes, bool was_kept);

/* What is still there to be pointed at. */
struct tt_values_alive {
    uint64_t oldest_offset; /* first that a segment may hold */
    uint64_t oldest_place;  /* places of the log below it are gone */
    uint64_t kept_from;     /* kept places below it are gone; 0: none is */
};
struct tt_values_swept {
    uint64_t lost;   /* values whose place is gone */
    uint64_t graves; /* deletions that stand in kept files, and hold a slot for that */
};
/* Goes through the slots from *key on, at most `count`: a value whose place is gone is lost; a
 * channel without value whose newest event has expired is dropped (a deletion that stands in a kept
 * file stays while that file does: older values of the channel may stand there too). Adds up
 * in *swept. The pass is over when *key == tt_values_slots(). */
void tt_values_sweep(struct tt_values *values, uint32_t *key, uint32_t count,
                     const struct tt_values_alive *alive, struct tt_values_swept *swept);

#endif
