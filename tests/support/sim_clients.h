/* Publishers and followers of a simulated broker (sim.h), and what is held against them.
 *
 * The ledger knows every event that was sent to a publisher's connection, by a number that is
 * unique over everything and travels as its type ("v17"), and the place that the answer gave it.
 * A follower lives over many connections, keeps the last complete id, and checks at once:
 *   - events of a partition come in rising order, none twice, in this life or a later one;
 *   - an id promises only what came before it, has its own event behind it, and never goes back.
 * At the end sim_follower_finish() holds it against the ledger: exactly what was published on its
 * channels from its start on, but for what it was told to have lost (and, if it conflates, for what
 * something newer of the channel has replaced, with counts that are true); and its snapshots
 * against what the values (or the last events) were at the join. A violation is told on the
 * standard error and counted in ledger->violations. */
#ifndef TT_TESTS_SUPPORT_SIM_CLIENTS_H
#define TT_TESTS_SUPPORT_SIM_CLIENTS_H

#include "proto/event/channel.h"
#include "tests/support/sim.h"
#include "tools/ttload/sse_reader.h"

#define SIM_CHANNELS_MAX   16u
#define SIM_PARTITIONS_MAX 4u
#define SIM_BATCH_MAX      64u

struct sim_event {
    uint64_t offset;
    uint32_t pad;
    uint8_t channel;
    uint8_t partition;
    bool never_conflate, deletes;
    bool placed;   /* partition and offset are known: by an answer, or by the auditor */
    bool answered; /* 202 has come */
};

struct sim_ledger {
    struct sim *sim;
    const char *const *channels;
    uint32_t channels_count;
    uint32_t partitions;
    bool crashes;   /* the broker may be killed */
    bool retention; /* old events may be gone */
    struct sim_event *events;
    uint32_t count, capacity;
    uint32_t violations;
};
void sim_ledger_deinit(struct sim_ledger *l);
void sim_violation(struct sim_ledger *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One connection that publishes batch behind batch. */
struct sim_publisher {
    struct sim_link *link;
    uint32_t first, count; /* of the batch that is not answered yet */
};
/* Sends a batch of `count` events with texts of at most `pad_max` bytes, on one channel or (-1) on
 * any. It must be idle. */
void sim_publish(struct sim_publisher *p, struct sim_ledger *l, uint32_t count, uint32_t pad_max,
                 int channel);
bool sim_publisher_idle(const struct sim_publisher *p);
/* Takes the answer, if it is there. */
void sim_publisher_take(struct sim_publisher *p, struct sim_ledger *l);
/* The broker is gone: what was not answered has an unknown fate. */
void sim_publisher_lost(struct sim_publisher *p);

enum sim_start { SIM_LIVE = 0, SIM_EARLIEST, SIM_SNAPSHOT, SIM_LAST };

struct sim_range {
    uint64_t from, to;
    bool crash; /* else expired */
};
struct sim_got {
    uint64_t *offsets;
    uint32_t *values;
    uint32_t count, capacity;
    struct sim_range *told;
    uint32_t told_count;
};
/* A snapshot, or last=N, that came to its end. */
struct sim_snapshot {
    uint32_t *values; /* in the order of coming */
    uint32_t count, capacity;
    uint64_t join[SIM_PARTITIONS_MAX];
};

/* What `gap {"reason":"conflated"}` has told: so many events from one vector to another. */
struct sim_skipped {
    uint64_t from[SIM_PARTITIONS_MAX], to[SIM_PARTITIONS_MAX];
    uint64_t count;
};

struct sim_follower {
    char name[420];
    char query[360];
    struct sim_ledger *ledger;
    struct tt_pattern patterns[8];
    char texts[8][32];
    uint32_t patterns_count;
    enum sim_start start_kind;
    uint32_t last;
    bool list; /* resumes with <cursor>,<id>,<id> */
    bool ends; /* policy=disconnect: the broker may end it */
    /* policy=conflate, or max_rate: only never-conflate events and the newest of each channel are
     * owed, and the event that stands before a never-conflate one. */
    bool conflates;
    bool ticks;                           /* max_rate: it is told of no gaps */
    uint64_t counted[SIM_PARTITIONS_MAX]; /* what was skipped below was told, or another's life */
    bool counts;                          /* this connection has met nothing but events */
    bool values_open;                     /* behind a crash: values until snapshot-end */
    struct sim_skipped *skipped;
    uint32_t skipped_count;
    struct sim_got values[SIM_PARTITIONS_MAX]; /* of such snapshots */
    bool begun;                                /* start[] is known */
    struct sim_link *link;
    struct sim_link *spare; /* a connection that is open already, for the next life */
    uint32_t spare_shard;
    struct tt_sse_reader reader;
    bool reader_used;
    char cursor[2100]; /* the last complete id, or the list */
    char sent[2100];
    unsigned listed;
    bool known[SIM_PARTITIONS_MAX];
    uint64_t promised[SIM_PARTITIONS_MAX];
    uint64_t start[SIM_PARTITIONS_MAX];
    struct sim_got got[SIM_PARTITIONS_MAX];
    struct sim_snapshot pending; /* of this connection, until snapshot-end */
    struct sim_snapshot *snapshots;
    uint32_t snapshots_count;
    bool snapshot_open;
    unsigned connections, bare_ids, resyncs, gaps, replaced;
    uint64_t events;
};
/* Patterns, start and policy are drawn from *random. */
void sim_follower_init(struct sim_follower *f, struct sim_ledger *l, uint64_t *random,
                       unsigned number, bool snapshots);
/* Makes it one that conflates. */
void sim_follower_conflate(struct sim_follower *f, uint64_t *random);
void sim_follower_deinit(struct sim_follower *f);
void sim_follower_connect(struct sim_follower *f, uint32_t shard, size_t room);
/* Opens the connection that the next sim_follower_connect() will use. */
void sim_follower_prepare(struct sim_follower *f, uint32_t shard, size_t room);
/* Takes at most so many bytes of what is there. */
void sim_follower_take(struct sim_follower *f, size_t bytes);
/* The connection ends here, whatever is on its way. */
void sim_follower_cut(struct sim_follower *f);
/* It has everything that the ledger knows to be on its channels. */
bool sim_follower_complete(const struct sim_follower *f);
void sim_follower_finish(struct sim_follower *f);
/* An auditor's offsets (channels=*&from=earliest) tell where unanswered events are. */
void sim_ledger_audit(struct sim_ledger *l, const struct sim_follower *auditor);

#endif
