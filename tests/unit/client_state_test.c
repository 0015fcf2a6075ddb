/* The state table against a statement of it in words of its own: who ignores live events, who keeps
 * offsets, who may fall back, who conflates. */
#include <criterion/criterion.h>

#include "shard/client/state.h"

#define NEVER TT_CLIENT_STATES

/* ---- what each state is ---- */

static bool has_begun(enum tt_client_state s) /* the answer's head is out, and it is not ending */
{
    return s != TT_CLIENT_OPENING && s != TT_CLIENT_CLOSING;
}
static bool takes_live_events(enum tt_client_state s)
{
    return s == TT_CLIENT_CATCHUP || s == TT_CLIENT_LIVE || s == TT_CLIENT_CONFLATING;
}
static bool keeps_offsets(enum tt_client_state s)
{
    return s == TT_CLIENT_SNAPSHOT || s == TT_CLIENT_CATCHUP;
}
static bool conflates(enum tt_subscribe_policy policy)
{
    return policy == TT_POLICY_CONFLATE || policy == TT_POLICY_MAX_RATE;
}
/* Who never conflates is never CONFLATING; with a tick a client is never LIVE. */
static bool can_be(enum tt_client_state s, enum tt_subscribe_policy policy)
{
    if (s == TT_CLIENT_CONFLATING) return conflates(policy);
    return s != TT_CLIENT_LIVE || policy != TT_POLICY_MAX_RATE;
}

/* ---- what each event needs, and where it leads ---- */

static enum tt_client_state overflown(enum tt_client_state s, enum tt_subscribe_policy policy)
{
    if (policy == TT_POLICY_DISCONNECT) return TT_CLIENT_CLOSING;
    return conflates(policy) && s == TT_CLIENT_LIVE ? TT_CLIENT_CONFLATING : TT_CLIENT_CATCHUP;
}

static enum tt_client_state expected(enum tt_client_state s, enum tt_client_event e,
                                     enum tt_subscribe_policy policy)
{
    enum tt_client_state live =
        policy == TT_POLICY_MAX_RATE ? TT_CLIENT_CONFLATING : TT_CLIENT_LIVE;
    enum tt_client_state fallen =
        policy == TT_POLICY_DISCONNECT ? TT_CLIENT_CLOSING : TT_CLIENT_CATCHUP;
    if (!can_be(s, policy)) return NEVER;
    switch (e) {
    /* Only who has not begun can begin. */
    case TT_CLIENT_ADMITTED_LIVE: return s == TT_CLIENT_OPENING ? live : NEVER;
    case TT_CLIENT_ADMITTED_BEHIND: return s == TT_CLIENT_OPENING ? TT_CLIENT_CATCHUP : NEVER;
    case TT_CLIENT_ADMITTED_SNAPSHOT: return s == TT_CLIENT_OPENING ? TT_CLIENT_SNAPSHOT : NEVER;
    /* A snapshot ends in a catch-up, never live at once: only the join makes a client live. */
    case TT_CLIENT_SNAPSHOT_END: return s == TT_CLIENT_SNAPSHOT ? TT_CLIENT_CATCHUP : NEVER;
    case TT_CLIENT_JOINED: return s == TT_CLIENT_CATCHUP ? live : NEVER;
    /* Too much can be queued only for those that are given live events. */
    case TT_CLIENT_OVER_BOUND: return takes_live_events(s) ? overflown(s, policy) : NEVER;
    /* The ring matters to those alone that have no offsets of their own. */
    case TT_CLIENT_RING_EDGE: return takes_live_events(s) && !keeps_offsets(s) ? fallen : NEVER;
    /* A list that waits for a tick is often empty, and that means nothing. */
    case TT_CLIENT_DRAINED:
        return s == TT_CLIENT_CONFLATING && policy == TT_POLICY_CONFLATE ? live : NEVER;
    case TT_CLIENT_HOLE:
        return s == TT_CLIENT_CATCHUP && conflates(policy) ? TT_CLIENT_SNAPSHOT : NEVER;
    /* A running snapshot is not changed (it is answered with 409). */
    case TT_CLIENT_SUBSCRIBED: return takes_live_events(s) ? TT_CLIENT_CATCHUP : NEVER;
    case TT_CLIENT_SUBSCRIBED_SNAPSHOT:
    /* Events alone are ever too old: the values of a snapshot are what is left of old ones. */
    case TT_CLIENT_LAGGING: return takes_live_events(s) ? TT_CLIENT_SNAPSHOT : NEVER;
    case TT_CLIENT_ENDED: return TT_CLIENT_CLOSING;
    case TT_CLIENT_EVENTS: break;
    }
    return NEVER;
}

Test(client_state, every_state_and_every_event_as_stated)
{
    for (unsigned s = 0; s < TT_CLIENT_STATES; s++)
        for (unsigned e = 0; e < TT_CLIENT_EVENTS; e++)
            for (unsigned p = TT_POLICY_REPLAY; p <= TT_POLICY_DISCONNECT; p++)
                cr_expect_eq(tt_client_next((enum tt_client_state)s, (enum tt_client_event)e,
                                            (enum tt_subscribe_policy)p),
                             expected((enum tt_client_state)s, (enum tt_client_event)e,
                                      (enum tt_subscribe_policy)p),
                             "state %u, event %u, policy %u", s, e, p);
}

Test(client_state, closing_is_final_and_reached_from_everywhere)
{
    for (unsigned p = TT_POLICY_REPLAY; p <= TT_POLICY_DISCONNECT; p++) {
        enum tt_subscribe_policy policy = (enum tt_subscribe_policy)p;
        for (unsigned s = 0; s < TT_CLIENT_STATES; s++)
            if (can_be((enum tt_client_state)s, policy))
                cr_expect_eq(tt_client_next((enum tt_client_state)s, TT_CLIENT_ENDED, policy),
                             TT_CLIENT_CLOSING);
        for (unsigned e = 0; e < TT_CLIENT_EVENTS; e++) {
            enum tt_client_state next =
                tt_client_next(TT_CLIENT_CLOSING, (enum tt_client_event)e, policy);
            cr_expect(next == TT_CLIENT_CLOSING || next == NEVER, "event %u", e);
        }
    }
}

/* Every state that has begun comes to where nothing is behind by moves that need nothing but time.
 */
Test(client_state, a_slow_client_always_finds_back)
{
    static const enum tt_client_event moves[] = {TT_CLIENT_SNAPSHOT_END, TT_CLIENT_JOINED,
                                                 TT_CLIENT_DRAINED};
    for (unsigned p = TT_POLICY_REPLAY; p <= TT_POLICY_DISCONNECT; p++) {
        enum tt_subscribe_policy policy = (enum tt_subscribe_policy)p;
        enum tt_client_state home =
            policy == TT_POLICY_MAX_RATE ? TT_CLIENT_CONFLATING : TT_CLIENT_LIVE;
        for (unsigned s = 0; s < TT_CLIENT_STATES; s++) {
            enum tt_client_state at = (enum tt_client_state)s;
            if (!has_begun(at) || !can_be(at, policy)) continue;
            for (int i = 0; i < 3 && at != home; i++) {
                enum tt_client_state next = NEVER;
                for (unsigned m = 0; m < sizeof moves / sizeof *moves && next == NEVER; m++)
                    next = tt_client_next(at, moves[m], policy);
                cr_assert_neq(next, NEVER, "from state %u", s);
                at = next;
            }
            cr_expect_eq(at, home, "from state %u", s);
        }
    }
}
