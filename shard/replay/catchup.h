/* Catching up: a client that reads what it missed from the log, at its own pace, until it joins
 * live.
 *
 * For each partition that the client touches there are `pos`, the next offset to be read or
 * expected, and `taken`, the next offset behind what its socket has taken; and a state: READING
 * reads the log from pos on; live events are ignored (it will read them) AHEAD    pos > R (mirror
 * lag): events below pos are suppressed, those from pos on are queued JOINED   everything below R
 * was queued, so live events are queued behind it A step runs in its turn's catch-up phase, after
 * the tails were read, so R does not move while it runs: a partition joins when pos reaches R. All
 * joined and the outbox empty: LIVE. Clients take turns (batches of at most 64 KiB, for a
 * share of the shard's turn in time). From tail memory records are read in place; older ones
 * come from segments through the shard's own io: in blocks, or one by one where an index says which
 * they are (indexed.h). Frames read from the log are counted in
 * shard->replay_frames; when that is full, clients wait, and batches of those whose socket is full
 * are dropped: the log has them.
 *
 * A client that conflates (conflate.h) reads into its dirty list, without waiting for its socket,
 * up to the list's bound; or it would never conflate, and fall behind for ever. Thread: owner
 * shard. */
#ifndef TT_SHARD_REPLAY_CATCHUP_H
#define TT_SHARD_REPLAY_CATCHUP_H

#include "proto/base/list.h"
#include "shard/client/client.h"
#include "shard/messages.h"

enum tt_catchup_part_state { TT_PART_READING = 0, TT_PART_AHEAD, TT_PART_JOINED };

struct tt_catchup_part {
    uint64_t pos;
    uint64_t taken;
    uint64_t place;      /* of the record to read next in a segment; 0: not known */
    uint64_t scan_below; /* up to this offset it is scanned, because an index helps nothing */
    uint32_t waiting;    /* frames of this partition in the outbox */
    uint8_t state;       /* enum tt_catchup_part_state */
};

struct tt_snapshot;       /* snapshot.c */
struct tt_segment_reader; /* segments.c: a block being read */
struct tt_indexed;        /* indexed.c: records being read by index */

/* What the last pull offered of one frame, until taken() tells how much the socket took. */
struct tt_catchup_offer {
    uint32_t frame_bytes; /* of the frame, from where it was sent so far */
    uint32_t id_bytes;    /* of its private id chunk */
    const uint8_t *id;
};

struct tt_catchup {
    struct tt_node node; /* in the rotation, while there is something to do */
    struct tt_client *client;
    struct tt_segment_reader *reader; /* null: none under way */
    struct tt_indexed *indexed;       /* null: none under way */
    struct tt_snapshot *snapshot;     /* in SNAPSHOT; else null */
    uint64_t begun_ns;                /* of the shard's clock */
    struct tt_frame *carry;           /* the rest of a private id chunk; sent before everything */
    uint32_t carry_sent;
    bool first_shared; /* the first frame was begun while LIVE: it ends in its shared form */
    uint32_t parts_count;
    uint32_t next_part;   /* round robin over the partitions */
    uint32_t batch_bytes; /* memory of the next frame of many events; 0: the first */
    uint32_t offers_count;
    struct tt_catchup_offer *offers; /* scratch of the flush */
    struct tt_catchup_part parts[];
};

TT_MUST_USE enum tt_status tt_replay_create(struct tt_shard *shard);
void tt_replay_destroy(struct tt_shard *shard); /* no client is catching up any more */
/* Bytes of a catch-up's state, for memory_bound_bytes. */
size_t tt_catchup_bytes(uint32_t parts);

/* Gives the client its catch-up at these positions (vector over all partitions; a narrow client's
 * own entry counts). TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_catchup_create(struct tt_client *client, const uint64_t *pos);
/* Harmless without one. A read that is under way is forgotten. */
void tt_catchup_destroy(struct tt_client *client);

static inline struct tt_catchup_part *tt_catchup_part(struct tt_client *client, uint32_t partition)
{
    struct tt_catchup *c = client->catchup;
    return &c->parts[c->parts_count == 1 ? 0 : partition];
}

/* The client's partition is all of them from now on: what it has of its own is kept, the others
 * begin at R. Behind tt_catchup_overflow(). TT_OK; TT_ENOMEM: nothing was changed. */
TT_MUST_USE enum tt_status tt_catchup_widen(struct tt_client *client);

/* It holds more than one frame. */
bool tt_catchup_holds_many(const struct tt_client *client);

/* Something is being read for it. */
static inline bool tt_catchup_reads(const struct tt_catchup *c)
{
    return c->reader != NULL || c->indexed != NULL;
}

/* A frame of this part is to be queued; everything below `settled` was taken, or is no business of
 * the client, if no other waits. Ids have promised that already, and must not go back behind it. */
static inline void tt_catchup_waits(struct tt_catchup_part *part, uint64_t settled)
{
    if (part->waiting++ == 0 && part->taken < settled) part->taken = settled;
}

/* The positions stand still from now on (SNAPSHOT), until: */
void tt_catchup_hold(struct tt_client *client);
/* On from the positions: the snapshot is over. */
void tt_catchup_go_on(struct tt_client *client);
/* The client asked for more than `events` events of a partition (0: any number): it starts with the
 * newest of them, and is told so. Behind tt_catchup_create(). */
void tt_catchup_limit(struct tt_client *client, uint64_t events);

/* A live event of `partition` on one of its channels: is it to be queued? */
bool tt_catchup_queues(struct tt_client *client, uint32_t partition, uint64_t offset);
/* The outbox is over its bound: drop what was not taken, read it again from the log. */
void tt_catchup_overflow(struct tt_client *client);
/* The vector of what was sent or is queued, into the entries of vector that the client touches: for
 * an id, which none that is made later goes behind. */
void tt_catchup_queued_vector(const struct tt_client *client, uint64_t *vector);
/* Queues a frame that tells of a change of position (RESYNC or GAP; one reference goes over; null:
 * there was no memory for it), and goes on from `next` in that partition. */
void tt_catchup_tell(struct tt_client *client, uint32_t partition, struct tt_frame *f,
                     uint64_t next);
/* There may be something to do: room in the outbox, a partition ahead. Cheap. */
void tt_catchup_wake(struct tt_client *client);
/* The outbox was drained or a partition joined: goes LIVE if all is done. */
void tt_catchup_try_join(struct tt_client *client);

/* Loads, once a turn, what of each tail is in memory. */
void tt_replay_begin_turn(struct tt_shard *shard);
/* A share of a turn for all clients that catch up, until then, in steps of about so many bytes for
 * each. Returns true if there is more to do at once. */
bool tt_replay_step(struct tt_shard *shard, size_t step_bytes, uint64_t until_ns);
/* There may be something for a step to do. Cheap. */
bool tt_replay_has_work(const struct tt_shard *shard);
/* A client found room, or something else to do, since the last step: the shard must not wait. */
bool tt_replay_waiting(const struct tt_shard *shard);
bool tt_replay_done(struct tt_shard *shard, const struct tt_done *done); /* false: not its token */
/* When the shard runs: its timers are there. */
void tt_replay_start(struct tt_shard *shard);
/* Nothing is being read: the shard may stop. */
bool tt_replay_idle(const struct tt_shard *shard);
/* Bytes of what is read from files, and of index filters among them: for metrics. */
size_t tt_replay_block_bytes(const struct tt_shard *shard);
size_t tt_replay_index_bytes(const struct tt_shard *shard);
/* A segment was added, sealed, indexed or retired by its owner (TT_MESSAGE_SEGMENT). */
void tt_replay_segment(struct tt_shard *shard, const struct tt_message_segment *segment);

#endif
