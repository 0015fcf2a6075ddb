/* What Linux says about another process and about cores: CPU, memory, and the kernel's share.
 *
 * A thread's own CPU time leaves out what the kernel does for it elsewhere (ksoftirqd, interrupts),
 * so the busy time of the cores that the process is pinned to is read as well. Thread: any.
 * Source: proc(5). Memory: none is kept. */
#ifndef TT_TOOLS_TTLOAD_PROC_H
#define TT_TOOLS_TTLOAD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define TT_PROC_CORES_MAX 1024u

struct tt_proc_target {
    uint32_t pid;                         /* 0: no process, all cores */
    uint8_t cores[TT_PROC_CORES_MAX / 8]; /* bit set: one of the process's cores */
    uint32_t core_count;
};

struct tt_proc_sample {
    uint64_t when_ns; /* monotonic */
    /* of the process: */
    uint64_t user_ms, system_ms; /* by the scheduler's ticks */
    uint64_t run_ns;             /* exact, all threads that live */
    uint64_t rss_bytes;
    /* of its cores, all processes together: */
    uint64_t core_user_ms, core_system_ms, core_softirq_ms, core_idle_ms, core_steal_ms;
    /* of all cores of the machine: */
    uint64_t machine_busy_ms;
    /* kernel memory of all TCP sockets of the machine */
    uint64_t tcp_bytes;
};

/* Reads which cores the process may run on. TT_OK; TT_ENOENT: no such process. */
TT_MUST_USE enum tt_status tt_proc_target_init(struct tt_proc_target *target, uint32_t pid);
/* TT_OK; TT_ENOENT: the process is gone (the rest of the sample is there). */
TT_MUST_USE enum tt_status tt_proc_sample(const struct tt_proc_target *target,
                                          struct tt_proc_sample *sample);
uint64_t tt_proc_now_ns(void);        /* monotonic */
uint64_t tt_proc_thread_cpu_ns(void); /* of the calling thread */

#endif
