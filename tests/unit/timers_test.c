#include "shard/timers.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define TICK TT_TIMER_TICK_NS
#define ALL  UINT32_MAX

struct thing {
    struct tt_timer timer;
    uint64_t deadline_ns; /* as asked for */
    uint64_t fired_ns;
    uint32_t fired;
    bool again; /* arms itself once more, for `deadline_ns` */
};

struct world {
    struct tt_timers *timers;
    uint8_t kind;
    uint32_t fired;
    uint64_t last_tick; /* of what fired before */
};

static uint64_t tick_of(uint64_t ns)
{
    return ns / TICK + (ns % TICK != 0);
}

static void expired(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    struct world *w = context;
    struct thing *t = TT_CONTAINER_OF(timer, struct thing, timer);
    cr_assert_not(tt_timer_armed(timer));
    cr_assert_leq(t->deadline_ns, now_ns, "fired early");
    if (!t->again) {
        cr_assert_geq(tick_of(t->deadline_ns), w->last_tick, "fired out of order");
        w->last_tick = tick_of(t->deadline_ns);
    }
    t->fired++;
    t->fired_ns = now_ns;
    w->fired++;
    if (t->again) tt_timer_arm(w->timers, timer, t->deadline_ns);
}

static void world_make(struct world *w, uint64_t now_ns)
{
    *w = (struct world){0};
    cr_assert_eq(tt_timers_create(&w->timers, now_ns), TT_OK);
    w->kind = tt_timers_kind(w->timers, w, expired);
}

static void arm(struct world *w, struct thing *t, uint64_t deadline_ns)
{
    *t = (struct thing){.deadline_ns = deadline_ns};
    tt_timer_init(&t->timer, w->kind);
    tt_timer_arm(w->timers, &t->timer, deadline_ns);
    cr_assert(tt_timer_armed(&t->timer));
}

/* Runs as a shard does: sleeps until the wheel asks for it, never longer. Returns the number of
 * times it had to wake up until the timer fired. */
static unsigned sleep_and_run(struct world *w, struct thing *t)
{
    unsigned wakes = 0;
    while (t->fired == 0) {
        uint64_t next = tt_timers_next_ns(w->timers);
        cr_assert_neq(next, TT_TIMER_NEVER);
        cr_assert_leq(next, tick_of(t->deadline_ns) * TICK, "asked for too late a run");
        cr_assert_eq(tt_timers_run(w->timers, next, ALL), TT_OK);
        cr_assert_lt(wakes++, 10);
    }
    cr_assert_eq(t->fired_ns, tick_of(t->deadline_ns) * TICK);
    return wakes;
}

/* From every slot of the first two levels, to every tick of the next two revolutions of a level. */
Test(timers, every_slot_fires_at_its_tick_from_every_phase, .timeout = 300)
{
    for (uint64_t phase = 0; phase < 64 * 64; phase += 61) {
        for (uint64_t ahead = 1; ahead <= 64 * 64 * 2; ahead += ahead < 200 ? 1 : 37) {
            uint64_t now = phase * TICK;
            struct world each;
            world_make(&each, now);
            struct thing t;
            arm(&each, &t, now + ahead * TICK);
            cr_assert_leq(sleep_and_run(&each, &t), 3);
            tt_timers_destroy(&each.timers);
            cr_assert_null(each.timers);
        }
    }
}

Test(timers, a_deadline_between_ticks_waits_for_the_later_one)
{
    struct world w;
    world_make(&w, 10 * TICK);
    struct thing t;
    arm(&w, &t, 12 * TICK + 1);
    cr_assert_eq(tt_timers_run(w.timers, 12 * TICK + 1, ALL), TT_OK);
    cr_assert_eq(tt_timers_run(w.timers, 13 * TICK - 1, ALL), TT_OK);
    cr_assert_eq(t.fired, 0);
    cr_assert_eq(tt_timers_run(w.timers, 13 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 1);
    tt_timers_destroy(&w.timers);
}

Test(timers, no_deadline_is_too_far)
{
    static const uint64_t nows[] = {
        0, 1, TICK - 1, 63 * TICK, 123456789 * TICK + 5, UINT64_C(1) << 62};
    for (size_t n = 0; n < sizeof nows / sizeof nows[0]; n++) {
        for (unsigned bit = 23; bit < 63; bit++) {
            for (int offset = -1; offset <= 1; offset++) {
                uint64_t ahead = (UINT64_C(1) << bit) + (uint64_t)((int64_t)offset * (int64_t)TICK);
                if (ahead == 0) continue;
                struct world w;
                world_make(&w, nows[n]);
                struct thing t;
                arm(&w, &t, nows[n] + ahead);
                (void)sleep_and_run(&w, &t);
                tt_timers_destroy(&w.timers);
            }
        }
    }
    struct world w;
    world_make(&w, 5);
    struct thing t;
    arm(&w, &t, UINT64_MAX - 1);
    cr_assert_eq(tt_timers_run(w.timers, UINT64_MAX - 2 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 0);
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER); /* beyond the clock's own end */
    tt_timers_destroy(&w.timers);
}

Test(timers, never_means_never_and_cancelling_is_harmless)
{
    struct world w;
    world_make(&w, 0);
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER);
    struct thing t;
    arm(&w, &t, 5 * TICK);
    tt_timer_arm(w.timers, &t.timer, TT_TIMER_NEVER);
    cr_assert_not(tt_timer_armed(&t.timer));
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER);
    tt_timer_cancel(&t.timer);
    arm(&w, &t, 5 * TICK);
    tt_timer_cancel(&t.timer);
    tt_timer_cancel(&t.timer);
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER);
    cr_assert_eq(tt_timers_run(w.timers, 100 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 0);
    tt_timers_destroy(&w.timers);
}

Test(timers, arming_again_moves_the_deadline)
{
    struct world w;
    world_make(&w, 0);
    struct thing t;
    arm(&w, &t, 5 * TICK);
    t.deadline_ns = 500 * TICK;
    tt_timer_arm(w.timers, &t.timer, t.deadline_ns);
    cr_assert_eq(tt_timers_run(w.timers, 499 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 0);
    t.deadline_ns = 499 * TICK + 1;
    tt_timer_arm(w.timers, &t.timer, t.deadline_ns);
    cr_assert_eq(tt_timers_run(w.timers, 500 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 1);
    cr_assert_eq(tt_timers_run(w.timers, 5000 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 1);
    tt_timers_destroy(&w.timers);
}

Test(timers, a_deadline_in_the_past_fires_at_the_next_tick)
{
    struct world w;
    world_make(&w, 100 * TICK);
    struct thing t;
    arm(&w, &t, 3 * TICK);
    cr_assert_eq(tt_timers_run(w.timers, 100 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 0);
    cr_assert_eq(tt_timers_next_ns(w.timers), 101 * TICK);
    cr_assert_eq(tt_timers_run(w.timers, 101 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 1);
    tt_timers_destroy(&w.timers);
}

Test(timers, one_that_arms_itself_in_the_past_does_not_hold_up_the_run)
{
    struct world w;
    world_make(&w, 0);
    struct thing t;
    arm(&w, &t, TICK);
    t.again = true;
    cr_assert_eq(tt_timers_run(w.timers, 10 * TICK, ALL), TT_OK);
    cr_assert_eq(t.fired, 10); /* once for each tick that passed, not for ever */
    tt_timer_cancel(&t.timer);
    tt_timers_destroy(&w.timers);
}

Test(timers, a_clock_that_stands_or_steps_back_fires_nothing_twice)
{
    struct world w;
    world_make(&w, 0);
    struct thing a;
    struct thing b;
    arm(&w, &a, 50 * TICK);
    arm(&w, &b, 60 * TICK);
    cr_assert_eq(tt_timers_run(w.timers, 50 * TICK, ALL), TT_OK);
    cr_assert_eq(tt_timers_run(w.timers, 50 * TICK, ALL), TT_OK);
    cr_assert_eq(tt_timers_run(w.timers, 10 * TICK, ALL), TT_OK);
    cr_assert_eq(a.fired, 1);
    cr_assert_eq(b.fired, 0);
    cr_assert_eq(tt_timers_run(w.timers, 60 * TICK, ALL), TT_OK);
    cr_assert_eq(b.fired, 1);
    tt_timers_destroy(&w.timers);
}

Test(timers, a_clock_that_jumps_fires_everything_between_in_portions_and_in_order)
{
    enum { COUNT = 5000, PORTION = 100 };
    static struct thing things[COUNT];
    struct world w;
    world_make(&w, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        arm(&w, &things[i], (uint64_t)(i * 7919u % 100003u + 1) * TICK);
    }
    unsigned runs = 0;
    uint32_t before = 0;
    while (tt_timers_run(w.timers, 200000 * TICK, PORTION) == TT_MORE) {
        cr_assert_leq(w.fired - before, PORTION);
        cr_assert_leq(tt_timers_next_ns(w.timers), 200000 * TICK); /* does not wait for the rest */
        before = w.fired;
        cr_assert_lt(runs++, 1000);
    }
    cr_assert_gt(runs, COUNT / PORTION - 1);
    for (uint32_t i = 0; i < COUNT; i++) cr_assert_eq(things[i].fired, 1);
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER);
    tt_timers_destroy(&w.timers);
}

/* ---- what functions of timers may do ---- */

struct pair {
    struct tt_timer timer;
    struct pair *victim; /* freed by whoever fires first */
    struct pair **owner;
};

static void free_both(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    (void)now_ns;
    struct pair *p = TT_CONTAINER_OF(timer, struct pair, timer);
    ++*(uint32_t *)context;
    tt_timer_cancel(&p->victim->timer);
    free(p->victim);
    free(p);
}

Test(timers, a_timer_may_free_itself_and_its_neighbour)
{
    struct tt_timers *timers;
    uint32_t fired = 0;
    cr_assert_eq(tt_timers_create(&timers, 0), TT_OK);
    uint8_t kind = tt_timers_kind(timers, &fired, free_both);
    for (int i = 0; i < 100; i++) {
        struct pair *a = calloc(1, sizeof *a);
        struct pair *b = calloc(1, sizeof *b);
        cr_assert(a != NULL && b != NULL);
        a->victim = b;
        b->victim = a;
        tt_timer_init(&a->timer, kind);
        tt_timer_init(&b->timer, kind);
        tt_timer_arm(timers, &a->timer, 70 * TICK);
        tt_timer_arm(timers, &b->timer, 70 * TICK);
    }
    cr_assert_eq(tt_timers_run(timers, 80 * TICK, ALL), TT_OK);
    cr_assert_eq(fired, 100);
    tt_timers_destroy(&timers);
}

static void count(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    (void)timer;
    (void)now_ns;
    ++*(uint32_t *)context;
}

Test(timers, each_kind_has_its_own_function_and_context)
{
    struct tt_timers *timers;
    cr_assert_eq(tt_timers_create(&timers, 0), TT_OK);
    uint32_t counts[TT_TIMER_KINDS_MAX] = {0};
    struct tt_timer t[TT_TIMER_KINDS_MAX];
    for (uint32_t i = 0; i < TT_TIMER_KINDS_MAX; i++) {
        tt_timer_init(&t[i], tt_timers_kind(timers, &counts[i], count));
        tt_timer_arm(timers, &t[i], (i + 1) * 100 * TICK);
    }
    for (uint32_t i = 0; i < TT_TIMER_KINDS_MAX; i++) {
        cr_assert_eq(tt_timers_run(timers, (i + 1) * 100 * TICK, ALL), TT_OK);
        for (uint32_t k = 0; k < TT_TIMER_KINDS_MAX; k++) cr_assert_eq(counts[k], k <= i);
    }
    tt_timers_destroy(&timers);
}

/* Against a list that is searched: random arming, cancelling, moving and running, with portions. */
Test(timers, agrees_with_a_plain_list, .timeout = 300)
{
    enum { COUNT = 200, STEPS = 40000 };
    static struct thing things[COUNT];
    uint64_t random = 88172645463325252u; /* xorshift64 */
    struct world w;
    uint64_t now = 1000 * TICK;
    world_make(&w, now);
    for (int i = 0; i < COUNT; i++) tt_timer_init(&things[i].timer, w.kind);
    for (int step = 0; step < STEPS; step++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        struct thing *t = &things[random % COUNT];
        unsigned what = (unsigned)(random >> 20) % 16;
        if (what < 9) {
            unsigned range = (unsigned)(random >> 30) % 26;
            uint64_t ahead = (random >> 36) % (UINT64_C(1) << range) + 1;
            t->deadline_ns = now + ahead * TICK - (random >> 60);
            tt_timer_arm(w.timers, &t->timer, t->deadline_ns);
        } else if (what < 11) {
            tt_timer_cancel(&t->timer);
        } else {
            uint64_t next = tt_timers_next_ns(w.timers);
            now += (random >> 40) % 3000 * (TICK / 7);
            if (what == 15 && next != TT_TIMER_NEVER && next > now) now = next;
            w.last_tick = 0;
            while (tt_timers_run(w.timers, now, 7) == TT_MORE) {
            }
            for (int i = 0; i < COUNT; i++) {
                bool due = tick_of(things[i].deadline_ns) * TICK <= now;
                cr_assert_not(tt_timer_armed(&things[i].timer) && due, "overdue at step %d", step);
            }
        }
    }
    cr_assert_gt(w.fired, STEPS / 10);
    for (int i = 0; i < COUNT; i++) tt_timer_cancel(&things[i].timer);
    cr_assert_eq(tt_timers_next_ns(w.timers), TT_TIMER_NEVER);
    tt_timers_destroy(&w.timers);
}
