#include "shard/timers.h"

#include <stdlib.h>
#include <string.h>

/* A timer stands at the level of the highest bit in which its tick differs from `now_tick`, in the
 * slot that its tick names there. So the slots in use at a level lie ahead of now_tick's own slot,
 * and the slot of now_tick itself holds something only while a run that was cut short is to go on:
 * at level 0 what is due now, above it what is still to be moved to a finer level. A slot is opened
 * when now_tick reaches its first tick. */
#define LEVEL_BITS  6u
#define LEVEL_SLOTS (1u << LEVEL_BITS)
#define LEVELS      7u /* 42 bits; a tick has 64 - 23 = 41 */
#define TICK_SHIFT  23u
#define KIND_BITS   8u

_Static_assert(TT_TIMER_TICK_NS == UINT64_C(1) << TICK_SHIFT, "ticks are cut by a shift");
_Static_assert(LEVELS *LEVEL_BITS >= 64 - TICK_SHIFT, "no deadline is too far");
_Static_assert(64 - TICK_SHIFT + KIND_BITS <= 64, "tick and kind share a word");

struct level {
    uint64_t used; /* bit i: slots[i] may hold timers; cancelling leaves it set */
    struct tt_list slots[LEVEL_SLOTS];
};

struct kind {
    void *context;
    tt_timer_expired *expired;
};

struct tt_timers {
    uint64_t now_tick; /* everything before it has fired */
    uint32_t kinds_count;
    struct kind kinds[TT_TIMER_KINDS_MAX];
    struct level levels[LEVELS];
};

static uint64_t tick_of(const struct tt_timer *t)
{
    return t->tick_and_kind_ >> KIND_BITS;
}

static uint32_t slot_of(uint64_t tick, uint32_t level)
{
    return (uint32_t)(tick >> (level * LEVEL_BITS)) & (LEVEL_SLOTS - 1);
}

enum tt_status tt_timers_create(struct tt_timers **timers, uint64_t now_ns)
{
    struct tt_timers *w = calloc(1, sizeof *w);
    *timers = w;
    if (w == NULL) return TT_ENOMEM;
    w->now_tick = now_ns >> TICK_SHIFT;
    for (uint32_t l = 0; l < LEVELS; l++) {
        for (uint32_t s = 0; s < LEVEL_SLOTS; s++) tt_list_init(&w->levels[l].slots[s]);
    }
    return TT_OK;
}

void tt_timers_destroy(struct tt_timers **timers)
{
    free(*timers);
    *timers = NULL;
}

uint8_t tt_timers_kind(struct tt_timers *w, void *context, tt_timer_expired *expired)
{
    TT_ASSERT(w->kinds_count < TT_TIMER_KINDS_MAX);
    w->kinds[w->kinds_count] = (struct kind){context, expired};
    return (uint8_t)w->kinds_count++;
}

void tt_timer_init(struct tt_timer *timer, uint8_t kind)
{
    *timer = (struct tt_timer){.tick_and_kind_ = kind};
}

/* tick >= now_tick. */
static void insert(struct tt_timers *w, struct tt_timer *t)
{
    uint64_t tick = tick_of(t);
    TT_ASSERT(tick >= w->now_tick);
    uint64_t differs = (tick ^ w->now_tick) | 1; /* | 1: a leading bit to find */
    uint32_t level = (63u - (uint32_t)__builtin_clzll(differs)) / LEVEL_BITS;
    uint32_t slot = slot_of(tick, level);
    w->levels[level].used |= UINT64_C(1) << slot;
    tt_list_append(&w->levels[level].slots[slot], &t->node_);
}

void tt_timer_arm(struct tt_timers *w, struct tt_timer *t, uint64_t deadline_ns)
{
    tt_timer_cancel(t);
    if (deadline_ns == TT_TIMER_NEVER) return;
    uint64_t tick = deadline_ns >> TICK_SHIFT;
    if ((deadline_ns & (TT_TIMER_TICK_NS - 1)) != 0) tick++; /* never early */
    /* Past: the tick after the one that may be firing now, so that re-arming from an expiry cannot
     * keep a run busy for ever. */
    if (tick <= w->now_tick) tick = w->now_tick + 1;
    t->tick_and_kind_ = tick << KIND_BITS | (t->tick_and_kind_ & ((1u << KIND_BITS) - 1));
    insert(w, t);
}

void tt_timer_cancel(struct tt_timer *t)
{
    if (tt_timer_armed(t)) tt_list_remove(&t->node_);
}

/* The earliest slot in use: its level, and the tick at which it is opened. False when no timer is
 * armed. Forgets slots that cancelling has emptied. */
static bool find(struct tt_timers *w, uint32_t *found_level, uint32_t *found_slot, uint64_t *tick)
{
    bool found = false;
    for (uint32_t l = 0; l < LEVELS; l++) {
        struct level *level = &w->levels[l];
        uint32_t own = slot_of(w->now_tick, l);
        while (level->used != 0) {
            TT_ASSERT_SLOW((level->used & ((UINT64_C(1) << own) - 1)) == 0);
            uint32_t slot = (uint32_t)__builtin_ctzll(level->used);
            if (tt_list_empty(&level->slots[slot])) {
                level->used &= ~(UINT64_C(1) << slot);
                continue;
            }
            uint64_t open_at = w->now_tick; /* the own slot: open already */
            if (slot != own) {
                uint32_t shift = l * LEVEL_BITS;
                open_at = (w->now_tick >> (shift + LEVEL_BITS) << LEVEL_BITS | slot) << shift;
            }
            if (!found || open_at < *tick) {
                found = true;
                *found_level = l;
                *found_slot = slot;
                *tick = open_at;
            }
            break;
        }
    }
    return found;
}

enum tt_status tt_timers_run(struct tt_timers *w, uint64_t now_ns, uint32_t work_max)
{
    uint64_t now_tick = now_ns >> TICK_SHIFT;
    uint32_t level;
    uint32_t slot;
    uint64_t tick;
    uint32_t work = 0;
    while (find(w, &level, &slot, &tick) && tick <= now_tick) {
        w->now_tick = tick;
        struct tt_list *list = &w->levels[level].slots[slot];
        while (!tt_list_empty(list)) {
            if (work++ == work_max) return TT_MORE;
            struct tt_timer *t = TT_CONTAINER_OF(tt_list_take_first(list), struct tt_timer, node_);
            if (level != 0) {
                insert(w, t);
                continue;
            }
            const struct kind *kind = &w->kinds[t->tick_and_kind_ & ((1u << KIND_BITS) - 1)];
            TT_ASSERT(kind->expired != NULL);
            kind->expired(t, now_ns, kind->context);
        }
    }
    /* Nothing is due up to now_tick. Cancelled slots on the way there must not stay marked behind
     * it: find() has cleared every empty slot before the first that is in use. */
    if (now_tick > w->now_tick) w->now_tick = now_tick;
    return TT_OK;
}

uint64_t tt_timers_next_ns(struct tt_timers *w)
{
    uint32_t level;
    uint32_t slot;
    uint64_t tick;
    if (!find(w, &level, &slot, &tick)) return TT_TIMER_NEVER;
    return tick >> (64 - TICK_SHIFT) != 0 ? TT_TIMER_NEVER : tick << TICK_SHIFT;
}
