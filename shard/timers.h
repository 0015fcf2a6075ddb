/* A hierarchical timer wheel for the timers of one shard.
 *
 * Arming and cancelling are O(1) and allocate nothing: a struct tt_timer (24 bytes) is embedded in
 * its object. Time is cut into ticks of 2^23 ns (8.4 ms); a deadline is rounded up to a tick, so a
 * timer never fires early and at most one tick late (plus the length of a turn). Seven levels of 64
 * slots cover every 64-bit deadline, so nothing wraps and no deadline is too far. The clock is an
 * argument; one that stands still or steps back fires nothing twice, one that jumps ahead fires
 * everything in between, in bounded portions.
 *
 * What a timer does is its kind: modules register their kinds at start, each with a function and a
 * context, which keeps both out of the timers. The function is called only inside
 * tt_timers_run(), with the timer disarmed: it may arm it again, arm or cancel any other, or free
 * the object.
 *
 * Thread: the owner shard. Memory: one block by tt_timers_create(); armed timers must stay in
 * place.
 */
#ifndef TT_SHARD_TIMERS_H
#define TT_SHARD_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/list.h"
#include "proto/base/status.h"

#define TT_TIMER_TICK_NS   (UINT64_C(1) << 23)
#define TT_TIMER_KINDS_MAX 32u
#define TT_TIMER_NEVER     UINT64_MAX

struct tt_timers;

/* Zeroed memory is a valid, disarmed timer but for its kind: call tt_timer_init(). */
struct tt_timer {
    struct tt_node node_;
    uint64_t tick_and_kind_; /* tick of the deadline << 8 | kind */
};
_Static_assert(sizeof(struct tt_timer) == 24, "every connection and client embeds one");

typedef void tt_timer_expired(struct tt_timer *timer, uint64_t now_ns, void *context);

/* now_ns: of tt_io_now_ns(). TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_timers_create(struct tt_timers **timers, uint64_t now_ns);
void tt_timers_destroy(struct tt_timers **timers); /* armed timers are forgotten, not touched */

/* Registers a kind; at most TT_TIMER_KINDS_MAX for a wheel (asserted). context is borrowed for the
 * life of the wheel; `expired` is called by tt_timers_run() only. */
uint8_t tt_timers_kind(struct tt_timers *timers, void *context, tt_timer_expired *expired);

void tt_timer_init(struct tt_timer *timer, uint8_t kind);

static inline bool tt_timer_armed(const struct tt_timer *timer)
{
    return tt_node_linked(&timer->node_);
}

/* Fires at the first tick at or after deadline_ns; one in the past at the next tt_timers_run() with
 * a later tick. An armed timer is moved. TT_TIMER_NEVER: as tt_timer_cancel(). */
void tt_timer_arm(struct tt_timers *timers, struct tt_timer *timer, uint64_t deadline_ns);
/* Harmless when not armed. */
void tt_timer_cancel(struct tt_timer *timer);

/* Calls the function of every timer that is due, in the order of their ticks, none of one tick in a
 * promised order. Does at most work_max steps (a timer fired or moved to a finer level).
 * TT_OK: nothing is due any more; TT_MORE: work_max was reached, call again next turn without
 * waiting. */
TT_MUST_USE enum tt_status tt_timers_run(struct tt_timers *timers, uint64_t now_ns,
                                         uint32_t work_max);
/* When tt_timers_run() has to be called next, for tt_io_submit(): never later than the first
 * deadline's tick, sometimes earlier (a coarse slot that must be refined). TT_TIMER_NEVER when no
 * timer is armed. */
uint64_t tt_timers_next_ns(struct tt_timers *timers);

#endif
