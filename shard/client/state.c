#include "shard/client/state.h"

#include "proto/base/assert.h"

/* Rows: states; columns: events. What is not named cannot happen. It says where a client with
 * policy `replay` goes, and where only conflating clients can be or go; by_policy() says the rest.
 */
#define MOVE(state) ((state) + 1)
static const uint8_t table[TT_CLIENT_STATES][TT_CLIENT_EVENTS] = {
    [TT_CLIENT_OPENING] =
        {
            [TT_CLIENT_ADMITTED_LIVE] = MOVE(TT_CLIENT_LIVE),
            [TT_CLIENT_ADMITTED_BEHIND] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_ADMITTED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_SNAPSHOT] =
        {
            /* Neither bound can be passed: nothing live is queued, and it has offsets of its own.
             */
            [TT_CLIENT_SNAPSHOT_END] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_CATCHUP] =
        {
            [TT_CLIENT_JOINED] = MOVE(TT_CLIENT_LIVE),
            [TT_CLIENT_OVER_BOUND] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_HOLE] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_SUBSCRIBED] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_LAGGING] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_LIVE] =
        {
            [TT_CLIENT_OVER_BOUND] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_RING_EDGE] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_LAGGING] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_CONFLATING] =
        {
            [TT_CLIENT_DRAINED] = MOVE(TT_CLIENT_LIVE),
            [TT_CLIENT_OVER_BOUND] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_RING_EDGE] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_LAGGING] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_CLOSING] = {[TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING)},
};

/* What a policy makes of a move. */
static enum tt_client_state by_policy(enum tt_client_state from, enum tt_client_event event,
                                      enum tt_client_state to, enum tt_subscribe_policy policy)
{
    switch (policy) {
    case TT_POLICY_DISCONNECT:
        if (event == TT_CLIENT_OVER_BOUND || event == TT_CLIENT_RING_EDGE) to = TT_CLIENT_CLOSING;
        break;
    case TT_POLICY_CONFLATE:
        if (from == TT_CLIENT_LIVE && event == TT_CLIENT_OVER_BOUND) return TT_CLIENT_CONFLATING;
        return to;
    case TT_POLICY_MAX_RATE: /* never LIVE: its list waits for ticks, also when it is empty */
        if (from == TT_CLIENT_LIVE || event == TT_CLIENT_DRAINED) return TT_CLIENT_STATES;
        return to == TT_CLIENT_LIVE ? TT_CLIENT_CONFLATING : to;
    case TT_POLICY_REPLAY: break;
    }
    bool conflates = from == TT_CLIENT_CONFLATING || event == TT_CLIENT_HOLE;
    return conflates ? TT_CLIENT_STATES : to;
}

enum tt_client_state tt_client_next(enum tt_client_state state, enum tt_client_event event,
                                    enum tt_subscribe_policy policy)
{
    TT_ASSERT(state < TT_CLIENT_STATES && event < TT_CLIENT_EVENTS);
    uint8_t move = table[state][event];
    if (move == 0) return TT_CLIENT_STATES;
    return by_policy(state, event, (enum tt_client_state)(move - 1), policy);
}
