/* A broker under a scheduler with a seed: its shards, its log, its mailboxes, all as they are, over
 * the io of sim_io.h. The test plays the control thread, the network and the clock.
 *
 * A step lets one shard run to its next tt_io_submit(). Which one, how many bytes a socket takes,
 * in which order files complete: all of it comes from the seed, so a schedule can be repeated. (The
 * log's history and keys come from the seed, too.)
 * Memory: what sim_kill() leaves is kept reachable for ever, as a killed process frees nothing. */
#ifndef TT_TESTS_SUPPORT_SIM_H
#define TT_TESTS_SUPPORT_SIM_H

#include "broker/config.h"
#include "shard/shard.h"
#include "tests/support/sim_io.h"

#define SIM_SHARDS_MAX 4u

struct sim_life; /* from a start to its stop or kill */

struct sim {
    struct sim_scheduler scheduler;
    uint64_t random; /* of the test's own decisions */
    uint32_t shards;
    char directory[64];
    char *arguments[32]; /* of the broker: "--log-partitions=3", ... */
    int arguments_count;
    struct sim_life *life; /* null: it does not run */
    uint32_t starved;      /* this shard does not run; SIM_SHARDS_MAX: none */
    struct tt_world *world;
    struct tt_source *source; /* sim_source.h; null: the log is embedded */
    uint32_t source_partitions;
    uint32_t publish_wait_ms; /* 0: as configured; else it may be longer than an option allows */
};

/* An empty directory, and no broker yet. */
void sim_init(struct sim *sim, uint64_t seed, uint32_t shards);
/* Ends it (as sim_stop) and removes the directory. */
void sim_deinit(struct sim *sim);
/* printf's arguments; before sim_start. */
void sim_option(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Recovers the log and lets every shard start. */
void sim_start(struct sim *sim);
/* A clean end. */
void sim_stop(struct sim *sim);
/* As kill -9: nobody runs any further. Links are reset. */
void sim_kill(struct sim *sim);

/* Lets one shard that has something to do run to its next submit; when none has, moves the time to
 * the next deadline. False: nobody waits for anything that comes within SIM_JUMP_NS_MAX. */
#define SIM_JUMP_NS_MAX UINT64_C(60000000000)
bool sim_step(struct sim *sim);
/* Moves the time on. */
void sim_pass_ns(struct sim *sim, uint64_t ns);

/* Lends the request to a shard, as the control thread does for /clients (shard/roster.h); one at a
 * time for each. */
struct tt_roster_request;
void sim_roster(struct sim *sim, uint32_t shard, struct tt_roster_request *request);
bool sim_roster_is_out(const struct sim *sim, uint32_t shard); /* it was not given back yet */

/* Tells the shards that the source is stale, or live again; each tells its clients. */
void sim_feed(struct sim *sim, bool stale, int64_t since_ms, const char *cause);

/* A new connection to a shard, whose socket holds `room` bytes. */
struct sim_link *sim_connect(struct sim *sim, uint32_t shard, size_t room);
/* Breaks it; nulls *link. */
void sim_cut(struct sim_link **link);

/* What the diagnostics said, for the message of a failed test. */
void sim_print_log(struct sim *sim);

#endif
