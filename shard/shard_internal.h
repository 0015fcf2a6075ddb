/* The inside of a shard, for the files of shard/ alone: each reaches its neighbours' state by name
 * instead of through a wall of accessors. Who changes what is written beside it. */
#ifndef TT_SHARD_SHARD_INTERNAL_H
#define TT_SHARD_SHARD_INTERNAL_H

#include "proto/base/pool.h"
#include "proto/event/cursor.h"
#include "shard/client/client.h"
#include "shard/client/conflate_list.h"
#include "shard/client/private_id.h"
#include "shard/diag.h"
#include "shard/fanout/arrivals.h"
#include "shard/fanout/frame.h"
#include "shard/fanout/subscriptions.h"
#include "shard/feed.h"
#include "shard/http/routes.h"
#include "shard/shard.h"

struct tt_owner;
struct tt_ingest;
struct tt_produce;
struct tt_admission;
struct tt_replay;
struct tt_roster;
struct tt_lookups;
struct tt_session_calls;
struct tt_fanout;
struct tt_replay;

/* Operations of the shard's own completion tokens (those of connections have the top bit). */
enum tt_shard_operation {
    TT_OPERATION_OWNER = 1, /* owner.c: files of segments being written */
    TT_OPERATION_REPLAY,    /* segments.c, catchup.c: files of segments being read */
    TT_OPERATION_SOURCE,    /* ingest.c: the source's descriptor */
};

#define TT_SHARD_ROUTES_MAX 12u

enum tt_shard_phase {
    TT_SHARD_SERVING = 0,
    TT_SHARD_DRAINING,
    TT_SHARD_STOPPING,
    TT_SHARD_STOPPED
};

struct tt_shard {
    const struct tt_world *world;
    struct tt_shard_options options;
    struct tt_diag *diag;
    uint32_t index;
#define TT_SHARD_ROUTES_MAX 12u

    enum tt_shard_phase phase; /* shard.c */

    bool drained; /* DRAINED was posted */
    bool exit;
    uint64_t started_ns;

    struct tt_io *io;
    char io_why[160];
    struct tt_timers *timers;
    struct tt_connections *connections;
    uint64_t now_ns;       /* read once a turn */
    uint64_t catchup_ns;   /* the end of the last share of catching up */
    uint64_t live_ns;      /* when an event was last queued for somebody who is up to date */
    uint64_t turns_second; /* of the clock: whose longest turn is */
    uint64_t turns_longest_ns;
    int64_t wall_us;

    struct tt_topology topology;

    /* fanout/ */
    struct tt_arrivals arrivals;
    struct tt_subscriptions *subscriptions;
    struct tt_frame_memory frames;
    struct tt_fanout *fanout;

    /* client/ */
    struct tt_pool clients;
    struct tt_outbox_pool outboxes;
    size_t types_bytes;     /* of all clients' lists of types */
    uint8_t heartbeat_kind; /* of timers */
    uint8_t tick_kind;
    uint32_t conflating; /* clients with a policy that conflates: frames need their channels */
    struct tt_conflate_pool conflate_pool;
    struct tt_hash_key session_key;
    struct tt_list lagging; /* lag.c: clients that skip at the next step of the replay */
    uint64_t drain_from_ns; /* drain.c: pacing */
    uint64_t drain_until_ns;
    uint32_t drain_next_slot;
    uint32_t drain_slots;

    /* replay/ */
    struct tt_frame_memory replay_frames;
    struct tt_replay *replay;
    struct tt_lookups *lookups;               /* lookup.c */
    struct tt_cursor_storage *cursor_storage; /* scratch of one call */
    struct tt_scratch scratch;                /* of one flush */
    uint64_t *vector;                         /* scratch of one call: world->partitions_count */
    uint64_t *oldest;                         /* the same */
    uint64_t *heads;                          /* the same */
    struct tt_resume_source *sources;         /* the same; null without a source */

    struct tt_feed feed; /* feed.c */

    bool *cut_open;      /* a CUT to this shard is under way */
    char demo_path[256]; /* where / leads */
    struct tt_route routes_rows[TT_SHARD_ROUTES_MAX];
    struct tt_routes routes;

    struct tt_session_calls *session_calls; /* http/session_call.c */

    struct tt_roster *roster; /* roster.c */

    struct tt_owner *owner;         /* owner.c */
    struct tt_ingest *ingest;       /* ingest.c; null: there is no source */
    struct tt_produce *produce;     /* produce.c; likewise */
    struct tt_admission *admission; /* admission.c */

    struct tt_shard_metrics metrics; /* read by any thread */
};

#endif
