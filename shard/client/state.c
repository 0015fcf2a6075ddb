#include "shard/client/state.h"

#include "proto/base/assert.h"

#define NEVER TT_CLIENT_STATES

/* Rows: states; columns: events. An overflow or the ring's edge under policy `disconnect` is mapped
 * to CLOSING below. */
static const enum tt_client_state table[TT_CLIENT_STATES][TT_CLIENT_EVENTS] = {
    [TT_CLIENT_OPENING] =
        {
            [TT_CLIENT_ADMITTED_LIVE] = TT_CLIENT_LIVE,
            [TT_CLIENT_ADMITTED_BEHIND] = TT_CLIENT_CATCHUP,
            [TT_CLIENT_JOINED] = NEVER,
            [TT_CLIENT_OVER_BOUND] = NEVER,
            [TT_CLIENT_RING_EDGE] = NEVER,
            [TT_CLIENT_ENDED] = TT_CLIENT_CLOSING,
        },
    [TT_CLIENT_CATCHUP] =
        {
            [TT_CLIENT_ADMITTED_LIVE] = NEVER,
            [TT_CLIENT_ADMITTED_BEHIND] = NEVER,
            [TT_CLIENT_JOINED] = TT_CLIENT_LIVE,
            [TT_CLIENT_OVER_BOUND] = TT_CLIENT_CATCHUP,
            [TT_CLIENT_RING_EDGE] = NEVER, /* it keeps offsets of its own */
            [TT_CLIENT_ENDED] = TT_CLIENT_CLOSING,
        },
    [TT_CLIENT_LIVE] =
        {
            [TT_CLIENT_ADMITTED_LIVE] = NEVER,
            [TT_CLIENT_ADMITTED_BEHIND] = NEVER,
            [TT_CLIENT_JOINED] = NEVER,
            [TT_CLIENT_OVER_BOUND] = TT_CLIENT_CATCHUP,
            [TT_CLIENT_RING_EDGE] = TT_CLIENT_CATCHUP,
            [TT_CLIENT_ENDED] = TT_CLIENT_CLOSING,
        },
    [TT_CLIENT_CLOSING] =
        {
            [TT_CLIENT_ADMITTED_LIVE] = NEVER,
            [TT_CLIENT_ADMITTED_BEHIND] = NEVER,
            [TT_CLIENT_JOINED] = NEVER,
            [TT_CLIENT_OVER_BOUND] = NEVER,
            [TT_CLIENT_RING_EDGE] = NEVER,
            [TT_CLIENT_ENDED] = TT_CLIENT_CLOSING,
        },
};

enum tt_client_state tt_client_next(enum tt_client_state state, enum tt_client_event event,
                                    enum tt_subscribe_policy policy)
{
    TT_ASSERT(state < TT_CLIENT_STATES && event < TT_CLIENT_EVENTS);
    enum tt_client_state next = table[state][event];
    if (next != NEVER && policy == TT_POLICY_DISCONNECT &&
        (event == TT_CLIENT_OVER_BOUND || event == TT_CLIENT_RING_EDGE))
        return TT_CLIENT_CLOSING;
    return next;
}
