/* One core: a thread with its own io that owns its clients and the writing side of some partitions.
 *
 * Between shards go only mailbox messages, published bytes of the log, immutable settings and the
 * single-writer atomics of tails and peers. Functions marked "own thread" assert it.
 * A turn: completions; mailboxes; append, publish, ring; read tails; timers; catch-up; flush;
 * submit. */
#ifndef TT_SHARD_SHARD_H
#define TT_SHARD_SHARD_H

#include "proto/base/hash.h"
#include "proto/base/list.h"
#include "proto/event/event.h"
#include "proto/event/position.h"
#include "shard/conn/connections.h"
#include "shard/messages.h"
#include "shard/metrics.h"
#include "shard/peers.h"
#include "shard/source.h"
#include "shard/topology.h"

struct tt_shard;
struct tt_idempotency;
struct tt_log;
struct tt_record_idempotency;
struct tt_tail;
struct tt_tail_readers;
struct tt_diag;

/* Why a partition takes no events. */
enum tt_partition_trouble {
    TT_PARTITION_WELL = 0,
    TT_PARTITION_NO_SPACE,  /* heals by itself */
    TT_PARTITION_READ_ONLY, /* a write or sync failed: until a restart; or a file cannot be opened
                               or made: heals by itself */
};

/* A partition, known to every shard. Immutable after start, but for what log and tail publish, and
 * trouble. */
struct tt_partition {
    uint32_t index;                     /* its local number (topology.h) */
    uint32_t topic;                     /* index into the world's topics */
    uint32_t number;                    /* in its topic: what ids name */
    uint32_t owner;                     /* shard that writes it */
    struct tt_log *log;                 /* used by the owner only */
    struct tt_idempotency *idempotency; /* keys of its batches; used by the owner only */
    struct tt_tail *tail;               /* read by every shard */
    const char *directory;              /* of its segments */
    tt_metric trouble;                  /* enum tt_partition_trouble; written by the owner */
    /* With a source; written by the owner: */
    tt_metric source_end;  /* the source's end as last seen (next offset); 0: unknown yet. What it
                              is before the shards start is the end that backfilling goes up to */
    tt_metric backfilling; /* 1 until everything up to the source's first end was mirrored. Whoever
                              makes the world sets it; an owner only clears it */
    tt_metric source_told_ns; /* by the clock of the shards: source_end is what the source said not
                               * before, see tt_partition_source_told() */
    tt_metric mirror_next;    /* the next offset that the mirror wants */
    tt_metric read_next;      /* every shard has read what is below: next offset */
};

/* The owner: the source is not stale, and says that its end is there now. Clients that wait beyond
 * this log's end are told by this that it is no lag; so it is to be called every second or so, also
 * if the end has not moved. */
static inline void tt_partition_source_told(struct tt_partition *p, uint64_t end, uint64_t now_ns)
{
    tt_metric_set(&p->source_end, end);
    atomic_store_explicit(&p->source_told_ns, now_ns, memory_order_release);
}

/* Everything all shards share; built before the threads start, immutable until they have ended. */
struct tt_world {
    struct tt_peers *peers;
    struct tt_tail_readers *readers; /* places, turns and parked flags of all shards */
    struct tt_shard **shards;        /* for their metrics; shards[i] is thread i */
    uint32_t shards_count;
    const struct tt_topic *topics; /* at least one */
    uint32_t topics_count;
    struct tt_partition *partitions; /* of all topics, by local number, slots included */
    uint32_t partitions_count;
    struct tt_source *source;    /* where events come from besides HTTP (source.h); null: nowhere */
    struct tt_hash_key hash_key; /* of channel hashes; stored with the log */
};

struct tt_shard_options {
    struct tt_io_options io;
    struct tt_connections_options connections;
    int cpu; /* pinned by broker/ before the loop starts; here for /status. -1: not pinned */
    uint32_t clients_max;             /* max_clients of the process, 0: no limit */
    uint32_t clients_per_address_max; /* 0: no limit */
    uint32_t channels_per_client_max;
    size_t outbox_bytes;
    uint32_t conflate_wait_ms; /* 0: a channel's wait seals nothing */
    size_t frame_bytes;
    size_t catchup_bytes;
    size_t publish_bytes;
    size_t subscription_bytes;
    uint64_t max_replay; /* events of a partition for one request; 0: no limit */
    size_t event_bytes_max;
    uint64_t body_bytes_max;
    uint32_t heartbeat_ms;
    uint32_t retry_ms;
    uint32_t publish_wait_ms;
    uint32_t stall_ms;
    bool overload_stream; /* http.overload=stream */
    bool demo;
    bool log_sync_always;
};

/* Life. Thread: control. Creates nothing of the operating system yet. */
TT_MUST_USE enum tt_status tt_shard_create(struct tt_shard **shard, const struct tt_world *world,
                                           uint32_t index, const struct tt_shard_options *options,
                                           struct tt_diag *diag);
/* The body of the shard's thread: creates its io, posts STARTED to control, loops until STOP, posts
 * STOPPED. Thread: the shard's own, for its whole life. */
void tt_shard_run(struct tt_shard *shard);
void tt_shard_destroy(struct tt_shard **shard); /* after its thread was joined */

/* Read by any thread, relaxed. */
const struct tt_shard_metrics *tt_shard_metrics(const struct tt_shard *shard);
const char *tt_shard_io_name(const struct tt_shard *shard); /* after STARTED */
const char *tt_shard_io_why(const struct tt_shard *shard);  /* why not io_uring; empty: it is */

/* ---- for the answerers that run on the shard (shard/http, shard/client); own thread ---- */
const struct tt_world *tt_shard_world(const struct tt_shard *shard);
uint32_t tt_shard_index(const struct tt_shard *shard);
const struct tt_shard_options *tt_shard_options(const struct tt_shard *shard);
struct tt_shard_metrics *tt_shard_own_metrics(struct tt_shard *shard);
struct tt_io *tt_shard_io(struct tt_shard *shard);
struct tt_timers *tt_shard_timers(struct tt_shard *shard);
struct tt_connections *tt_shard_connections(struct tt_shard *shard);
struct tt_diag *tt_shard_diag(struct tt_shard *shard);
uint64_t tt_shard_now_ns(const struct tt_shard *shard); /* of this turn */
int64_t tt_shard_wall_us(const struct tt_shard *shard); /* of this turn */
bool tt_shard_draining(const struct tt_shard *shard);

/* Events that lie one behind the other in their partition. */
struct tt_publish_run {
    uint64_t first_offset;
    uint32_t count;
};
/* With a source: where one event is, or why it is not. */
struct tt_publish_place {
    uint64_t offset;       /* TT_OK */
    uint32_t partition;    /* TT_OK: local number; it may be another one than was expected */
    enum tt_status status; /* as of struct tt_source_produce; TT_FULL: not handed over in time */
    bool maybe;            /* not TT_OK: it may have been taken all the same */
    const char *why;       /* not TT_OK: more about it, or null; lives as long as the source */
};
#define TT_PUBLISH_RUNS_MAX                                                                        \
    4u /* crashes that may cut one batch, one less (store/idempotency.h)                           \
        */

/* A batch of events for one partition, on its way to the partition's owner and back. The origin
 * owns the object and all memory that its events point to, and leaves both alone until done() was
 * called.
 *
 * With an idempotency key each event has a block. What of the batch is in the partition already is
 * not appended again: a retry gets the places of the first, and is answered when that is accepted.
 * With a block and no events it is a claim: it asks the key's home partition whether the key
 * belongs to this body, and makes it so if it is new; answered at once. */
struct tt_publish_request {
    struct tt_node node; /* the owner's */
    uint32_t partition;
    uint32_t origin; /* filled by tt_shard_publish */
    const struct tt_event *events;
    const struct tt_record_idempotency *blocks; /* by rising index in the batch; null: no key */
    uint32_t events_count;
    uint32_t retry_after_s;
    struct tt_publish_run
        runs[TT_PUBLISH_RUNS_MAX]; /* with TT_OK: where the events are, in order */
    uint32_t runs_count;
    struct tt_publish_place *places; /* with a source: one for each event, in place of runs. The
                                      * origin's; filled by the owner */
    uint32_t handed;                 /* the owner's */
    uint32_t under_way;              /* the owner's */
    uint32_t repeated;  /* with TT_OK: so many of the events were there before, from the first on */
    uint64_t end_place; /* the owner's */
    uint64_t deadline_ns;  /* the owner's */
    enum tt_status status; /* TT_OK; TT_FULL: no room within publish_wait_ms; TT_ENOSPC; TT_EACCES:
                            * read-only; TT_ETOOBIG: can never fit; TT_ECLOSED: shutting down;
                            * TT_EEXIST: the key has another body; TT_ECORRUPT: the key's batch was
                            * cut by more crashes than can be told */
    /* Called on the origin's thread, never inside tt_shard_publish. */
    void (*done)(struct tt_publish_request *request);
};
/* The partition (local number) that an event of this channel goes to when it is published:
 * of the log by its own hash of the channel, with a source where its producer puts it. */
uint32_t tt_shard_partition_of(const struct tt_shard *shard, struct tt_bytes channel);
/* Sends the batch to its owner; all of it is taken or nothing. done() comes when it is accepted:
 * written to the file (interval, never) or durable (always). Batches of one origin for one
 * partition keep their order. TT_FULL: too many are open; try again after any done(), see
 * tt_shard_publish_wait. */
TT_MUST_USE enum tt_status tt_shard_publish(struct tt_shard *shard,
                                            struct tt_publish_request *request);
/* Calls ready() once, on a later turn, when tt_shard_publish may succeed again. */
struct tt_publish_waiter {
    struct tt_node node;
    void (*ready)(struct tt_publish_waiter *waiter);
};
void tt_shard_publish_wait(struct tt_shard *shard, struct tt_publish_waiter *waiter);
void tt_shard_publish_wait_cancel(struct tt_publish_waiter *waiter);

/* Fills the scratch vectors `heads` and `oldest` of all partitions as they are now. */
void tt_shard_resume_bounds(struct tt_shard *shard);

/* POST /demo/cut: breaks the streams of this peer (any shard), all or those with this label. */
void tt_shard_cut(struct tt_shard *shard, const struct tt_peer *peer, struct tt_bytes label);

#endif
