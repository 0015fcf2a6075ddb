/* A back end of tt_io under a scheduler: sockets in memory, time that only the scheduler moves,
 * files that are real but complete when the scheduler pleases, in any order.
 *
 * It takes the place of io_uring: sim_io.c defines tt_io_uring_create(), so whoever links it and
 * asks for TT_IO_URING gets this. Each shard runs in a thread of its own, but only one thread runs
 * at a time: inside tt_io_submit() it hands the baton to the scheduler and waits to get it back. So
 * a run depends on nothing but its seed (and on the bytes of the files). Thread: whoever has the
 * baton. */
#ifndef TT_TESTS_SUPPORT_SIM_IO_H
#define TT_TESTS_SUPPORT_SIM_IO_H

#include <semaphore.h>

#include "shard/io/io.h"

struct sim_bytes {
    uint8_t *data;
    size_t size, capacity;
};
void sim_bytes_append(struct sim_bytes *b, const void *data, size_t size);
void sim_bytes_drop(struct sim_bytes *b, size_t size); /* from the front */

/* A connection between the test and a shard. */
struct sim_link {
    struct sim_bytes to_shard;
    struct sim_bytes to_peer; /* sent by the shard, not yet taken by the test */
    size_t room;              /* most bytes in to_peer: the socket's buffers */
    bool peer_ended;          /* the test has closed its side */
    bool peer_reset;          /* and takes nothing any more */
    bool shard_ended;         /* the shard has closed, or has said that nothing follows */
    bool shard_holds;         /* the shard still has its end */
    bool used;
};
#define SIM_LINKS_MAX   256u
#define SIM_FOREIGN_MAX 8u

/* A thread with the baton's two hands. */
struct sim_thread {
    sem_t go;
    struct tt_io *io; /* once it was created */
    bool ended;
};

struct sim_scheduler {
    uint64_t now_ns;
    uint64_t random;
    sem_t back;  /* the baton comes back */
    bool killed; /* threads that get the baton end where they stand */
    bool hurry;  /* file operations complete at once */
    struct sim_link links[SIM_LINKS_MAX];
    bool edges[SIM_FOREIGN_MAX]; /* foreign descriptors that have become readable */
};

/* Foreign descriptors (tt_io_poll_in), by number. */
int sim_io_foreign(uint32_t number);
/* It becomes readable. */
void sim_io_edge(struct sim_scheduler *scheduler, uint32_t number);

uint64_t sim_random(uint64_t *state);
/* low <= x <= high */
uint64_t sim_between(uint64_t *state, uint64_t low, uint64_t high);
/* true once in n, on the average */
bool sim_chance(uint64_t *state, unsigned n);

/* What tt_io_create() uses from now on, in every thread. */
void sim_io_use(struct sim_scheduler *scheduler);
/* The thread that calls is this one; before it creates its io. */
void sim_io_thread(struct sim_thread *thread);
/* Would tt_io_submit() return now? */
bool sim_io_runnable(struct tt_io *io);
/* The time until which it waits; UINT64_MAX: no deadline. */
uint64_t sim_io_deadline(const struct tt_io *io);
/* As a kill leaves it: of what was under way some is done and some is not; files are closed. */
void sim_io_kill(struct tt_io *io);

#endif
