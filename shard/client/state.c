#include "shard/client/state.h"

#include "proto/base/assert.h"

/* Rows: states; columns: events. What is not named cannot happen. An overflow or the ring's edge
 * under policy `disconnect` is mapped to CLOSING below. */
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
            [TT_CLIENT_SUBSCRIBED] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_LIVE] =
        {
            [TT_CLIENT_OVER_BOUND] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_RING_EDGE] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED] = MOVE(TT_CLIENT_CATCHUP),
            [TT_CLIENT_SUBSCRIBED_SNAPSHOT] = MOVE(TT_CLIENT_SNAPSHOT),
            [TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING),
        },
    [TT_CLIENT_CLOSING] = {[TT_CLIENT_ENDED] = MOVE(TT_CLIENT_CLOSING)},
};

enum tt_client_state tt_client_next(enum tt_client_state state, enum tt_client_event event,
                                    enum tt_subscribe_policy policy)
{
    TT_ASSERT(state < TT_CLIENT_STATES && event < TT_CLIENT_EVENTS);
    uint8_t move = table[state][event];
    if (move == 0) return TT_CLIENT_STATES;
    if (policy == TT_POLICY_DISCONNECT &&
        (event == TT_CLIENT_OVER_BOUND || event == TT_CLIENT_RING_EDGE))
        return TT_CLIENT_CLOSING;
    return (enum tt_client_state)(move - 1);
}
