/* The tail: the newest part of a partition in memory, written by its owner, read by every shard.
 *
 * Memory is a ring of 1 MiB chunks, each a window on the partition's segment file, which hold
 * records in their disk form; beside it a ring of 32-byte descriptors, one for each event or hole,
 * by rising sequence. The owner writes a record, commits its descriptor, and publishes by moving
 * `head` with a release store; a reader that loads `head` with acquire may read every descriptor
 * and record below it. A record that is larger than a chunk lies in several that are adjacent in
 * memory too: the chunks that are left at the ring's end are skipped for it.
 *
 * Reuse of a chunk, in this order (a client that catches up reads chunks that its shard has long
 * passed, so it is not enough that all shards have read on):
 *   1. its bytes are written (sync=always: synced), and every shard has read past its descriptors;
 *   2. the owner stores a new `first` (the first sequence in memory), fences, notes every turn;
 *   3. every shard has finished a turn since, or is parked;
 *   4. now chunk and descriptors may be written again.
 * A shard loads `first` once a turn, at its beginning, and reads nothing below it until the turn is
 * over. Why that suffices: the shard stores its finished turn T (release), fences, loads `first`
 * for turn T + 1; the owner stores `first`, fences, loads the turn. Of two seq_cst fences one is
 * earlier. If the shard's is, the owner's load sees at least T, and the owner waits for T + 1 to be
 * finished, that is for everything that the shard reads by an old `first`. If the owner's is, the
 * shard's load sees the new `first`, and reads nothing that is being freed. Without the shard's
 * fence its load of `first` could run ahead of its store of T: the owner would note T - 1, see T
 * appear, and take a turn that still reads by the old `first` for one that is over. Parking counts
 * as finishing a turn, by the same argument: parked is set (release) after the last read, and
 * cleared, with a fence, before the next load of `first`.
 *
 * Waiting for room: the owner sets its flags, fences, and looks at places and turns once more
 * (tt_tail_wait). A reader that moves on stores its place or turn, fences, and loads the flags. By
 * the same argument one sees the other, so no wake-up is lost, as long as the caller of
 * tt_tail_advance(), tt_tail_turn() and tt_tail_park() wakes the owner when these say so.
 *
 * Threads: the owner's functions by the owner shard, the readers' by any shard for itself.
 * Memory: all by tt_tail_create(), tt_tail_readers_create(). */
#ifndef TT_STORE_TAIL_H
#define TT_STORE_TAIL_H

#include "proto/base/bytes.h"
#include "proto/base/limits.h"

struct tt_tail_descriptor {
    uint64_t offset;
    uint64_t place;        /* absolute byte position in the partition's log */
    uint32_t channel_hash; /* low 32 bits */
    uint32_t length;       /* of the record, padded */
    uint32_t memory;       /* where the record lies, in units of 8 bytes from the ring's start */
    uint16_t reserved;
    uint8_t class; /* enum tt_record_class: EVENT or HOLE */
    uint8_t flags; /* enum tt_event_flags */
};
_Static_assert(sizeof(struct tt_tail_descriptor) == 32, "two to a cache line");

/* ---- all shards' turns and parked flags; one for the process ----
 * A line of 64 bytes for each shard, which that shard alone writes. */
struct tt_tail_readers;
TT_MUST_USE enum tt_status tt_tail_readers_create(struct tt_tail_readers **r, uint32_t shards);
void tt_tail_readers_destroy(struct tt_tail_readers **r);
/* The shard has finished a turn. True: owners wait for that; wake those that tt_tail_owner_waits()
 * names. */
TT_MUST_USE bool tt_tail_turn(struct tt_tail_readers *r, uint32_t shard);
/* Around a wait: while parked the shard reads nothing. tt_tail_park(): true as above. */
TT_MUST_USE bool tt_tail_park(struct tt_tail_readers *r, uint32_t shard);
void tt_tail_unpark(struct tt_tail_readers *r, uint32_t shard);
/* Whether that shard, as an owner, waits for turns to be finished. Any shard. */
bool tt_tail_owner_waits(const struct tt_tail_readers *r, uint32_t shard);

struct tt_tail;
struct tt_tail_options {
    size_t bytes; /* of chunks: whole ones; raised to what the largest record needs, at least two */
    size_t record_bytes_max; /* TT_RECORD_BYTES_MAX(largest payload + TT_RECORD_TEXT_BYTES_MAX) */
    uint64_t next_offset;    /* of the first event that will be appended */
    uint64_t oldest_offset;
    struct tt_tail_readers *readers; /* borrowed */
    uint32_t owner;                  /* shard that writes it */
    /* Called with the memory of the chunks before it is used; may be null. It is written from end
     * to end, over and over: large pages spare it most of its page faults and misses of address
     * translation, a tenth of the time that appending takes. */
    void (*advise)(void *memory, size_t bytes);
};
#define TT_TAIL_ALIGN (2u << 20) /* of that memory: a large page */
TT_MUST_USE enum tt_status tt_tail_create(struct tt_tail **tail,
                                          const struct tt_tail_options *options);
void tt_tail_destroy(struct tt_tail **tail);
/* Memory that a tail of these options takes, for memory_bound_bytes. */
size_t tt_tail_memory_bytes(const struct tt_tail_options *options);

/* ---- reader ---- */
/* Where a shard begins: the sequence, and the next offset there. Immutable once shards run. */
uint64_t tt_tail_start(const struct tt_tail *tail, uint64_t *next_offset);
uint64_t tt_tail_head(const struct tt_tail *tail);        /* sequence behind the newest, acquire */
uint64_t tt_tail_head_offset(const struct tt_tail *tail); /* next offset there, or a little newer */
uint64_t tt_tail_oldest_offset(const struct tt_tail *tail); /* of the whole log, disk included */
/* Segment files hold everything below this place, unchanging: the bound of whoever reads them. */
uint64_t tt_tail_written_place(const struct tt_tail *tail);
uint64_t tt_tail_durable_place(const struct tt_tail *tail); /* and it is synced below this one */
/* At most `max` descriptors from `sequence` on that lie in one piece, below the head. */
uint32_t tt_tail_read(const struct tt_tail *tail, uint64_t sequence, uint32_t max,
                      const struct tt_tail_descriptor **run);
/* The same below `end`, a head (or less) that the caller has read before. */
uint32_t tt_tail_run(const struct tt_tail *tail, uint64_t sequence, uint64_t end,
                     const struct tt_tail_descriptor **run);
/* The record's bytes, for tt_record_decode(). Valid as long as the descriptor: to the end of the
 * turn, or until the shard advances past it, whichever is later. */
struct tt_bytes tt_tail_record(const struct tt_tail *tail, const struct tt_tail_descriptor *d);
/* The first sequence in memory, and its offset (the head's, when nothing is in memory): what is
 * older and was read by all shards lies in segments. Once a turn, at its beginning; nothing below
 * may be read in this turn. */
uint64_t tt_tail_first(const struct tt_tail *tail, uint64_t *first_offset);
/* The first sequence in [first, end) whose record ends behind `offset` (the event with that offset
 * or the next one that there is; a hole that covers it); `end` if none. first: of tt_tail_first()
 * in this turn, or above. */
uint64_t tt_tail_find(const struct tt_tail *tail, uint64_t first, uint64_t end, uint64_t offset);
/* The shard has read everything below `sequence`, and will not read below but as the header says.
 * True: the owner waits for room and is to be woken. */
TT_MUST_USE bool tt_tail_advance(struct tt_tail *tail, uint32_t shard, uint64_t sequence);

/* ---- owner; log.c is the only caller ---- */
/* Would these chunks fit? A plan opens chunks without doing it, so that a batch is taken whole or
 * not at all. TT_OK; TT_FULL: not now; TT_ETOOBIG: never. */
struct tt_tail_plan {
    uint64_t chunk_end;
    uint64_t chunk_begin;
};
struct tt_tail_plan tt_tail_plan(const struct tt_tail *tail);
TT_MUST_USE enum tt_status tt_tail_plan_open(const struct tt_tail *tail, struct tt_tail_plan *plan,
                                             uint32_t chunks);
/* The batch did not fit: free at least what it takes. Until tt_tail_wait_over(). */
void tt_tail_want(struct tt_tail *tail, const struct tt_tail_plan *plan, uint32_t descriptors);
/* The window in memory for `chunks` chunks in a row that lie at `place` in the log, behind those
 * that were opened before. Null: no room. */
uint8_t *tt_tail_open_chunks(struct tt_tail *tail, uint64_t place, uint32_t chunks);
/* There is room in the ring for that many descriptors. TT_OK, TT_FULL, TT_ETOOBIG. */
TT_MUST_USE enum tt_status tt_tail_has_descriptors(const struct tt_tail *tail, uint32_t count);
/* Adds the descriptor; its memory is filled in from `record`, which lies in the window last opened.
 * There is room (asserted). */
void tt_tail_commit(struct tt_tail *tail, struct tt_tail_descriptor *d, const uint8_t *record);
uint64_t tt_tail_committed(const struct tt_tail *tail);
/* What was written from `place` on, at most to `end` and to the end of its chunk: in one piece. The
 * chunk has not been freed (asserted). */
struct tt_bytes tt_tail_bytes(const struct tt_tail *tail, uint64_t place, uint64_t end);
/* Readers may see everything committed, whose next offset is given. Returns whether head moved. */
bool tt_tail_publish(struct tt_tail *tail, uint64_t next_offset);
/* Readers may see every record that ends at or before `place`. Returns whether head moved. */
bool tt_tail_publish_below(struct tt_tail *tail, uint64_t place);
/* Walks *sequence on over the descriptors whose records end at or before `place`: *end is where the
 * last of them ends, *next_offset the offset behind it. Both stay if there is none. */
void tt_tail_whole_below(const struct tt_tail *tail, uint64_t place, uint64_t *sequence,
                         uint64_t *end, uint64_t *next_offset);
/* Shards begin at the present head. Before they run. */
void tt_tail_set_start(struct tt_tail *tail);
void tt_tail_set_oldest_offset(struct tt_tail *tail, uint64_t offset);
void tt_tail_set_places(struct tt_tail *tail, uint64_t written, uint64_t durable);
/* Frees what there is need to free: everything below `place` is on disk as it has to be. Returns
 * whether there is more room than before. */
bool tt_tail_reclaim(struct tt_tail *tail, uint64_t place);
/* "I wait for room": sets the flags and looks once more; true: there is more room now, or will be
 * when the owner's own turn is over: try again without waiting. */
bool tt_tail_wait(struct tt_tail *tail, uint64_t place);
void tt_tail_wait_over(struct tt_tail *tail);
/* Every shard has read what is published below this offset. */
uint64_t tt_tail_read_offset(const struct tt_tail *tail);

#endif
