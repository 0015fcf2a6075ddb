#include <criterion/criterion.h>

#include "shard/client/state.h"

#define NEVER TT_CLIENT_STATES

Test(client_state, moves_as_the_table_in_its_header)
{
    static const struct {
        enum tt_client_state from;
        enum tt_client_event event;
        enum tt_client_state replay, disconnect;
    } rows[] = {
        {TT_CLIENT_OPENING, TT_CLIENT_ADMITTED_LIVE, TT_CLIENT_LIVE, TT_CLIENT_LIVE},
        {TT_CLIENT_OPENING, TT_CLIENT_ADMITTED_BEHIND, TT_CLIENT_CATCHUP, TT_CLIENT_CATCHUP},
        {TT_CLIENT_OPENING, TT_CLIENT_JOINED, NEVER, NEVER},
        {TT_CLIENT_OPENING, TT_CLIENT_OVER_BOUND, NEVER, NEVER},
        {TT_CLIENT_OPENING, TT_CLIENT_RING_EDGE, NEVER, NEVER},
        {TT_CLIENT_OPENING, TT_CLIENT_ENDED, TT_CLIENT_CLOSING, TT_CLIENT_CLOSING},
        {TT_CLIENT_CATCHUP, TT_CLIENT_ADMITTED_LIVE, NEVER, NEVER},
        {TT_CLIENT_CATCHUP, TT_CLIENT_ADMITTED_BEHIND, NEVER, NEVER},
        {TT_CLIENT_CATCHUP, TT_CLIENT_JOINED, TT_CLIENT_LIVE, TT_CLIENT_LIVE},
        {TT_CLIENT_CATCHUP, TT_CLIENT_OVER_BOUND, TT_CLIENT_CATCHUP, TT_CLIENT_CLOSING},
        {TT_CLIENT_CATCHUP, TT_CLIENT_RING_EDGE, NEVER, NEVER},
        {TT_CLIENT_CATCHUP, TT_CLIENT_ENDED, TT_CLIENT_CLOSING, TT_CLIENT_CLOSING},
        {TT_CLIENT_LIVE, TT_CLIENT_ADMITTED_LIVE, NEVER, NEVER},
        {TT_CLIENT_LIVE, TT_CLIENT_ADMITTED_BEHIND, NEVER, NEVER},
        {TT_CLIENT_LIVE, TT_CLIENT_JOINED, NEVER, NEVER},
        {TT_CLIENT_LIVE, TT_CLIENT_OVER_BOUND, TT_CLIENT_CATCHUP, TT_CLIENT_CLOSING},
        {TT_CLIENT_LIVE, TT_CLIENT_RING_EDGE, TT_CLIENT_CATCHUP, TT_CLIENT_CLOSING},
        {TT_CLIENT_LIVE, TT_CLIENT_ENDED, TT_CLIENT_CLOSING, TT_CLIENT_CLOSING},
        {TT_CLIENT_CLOSING, TT_CLIENT_ADMITTED_LIVE, NEVER, NEVER},
        {TT_CLIENT_CLOSING, TT_CLIENT_ADMITTED_BEHIND, NEVER, NEVER},
        {TT_CLIENT_CLOSING, TT_CLIENT_JOINED, NEVER, NEVER},
        {TT_CLIENT_CLOSING, TT_CLIENT_OVER_BOUND, NEVER, NEVER},
        {TT_CLIENT_CLOSING, TT_CLIENT_RING_EDGE, NEVER, NEVER},
        {TT_CLIENT_CLOSING, TT_CLIENT_ENDED, TT_CLIENT_CLOSING, TT_CLIENT_CLOSING},
    };
    cr_assert_eq(sizeof rows / sizeof *rows, (size_t)TT_CLIENT_STATES * TT_CLIENT_EVENTS);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(tt_client_next(rows[i].from, rows[i].event, TT_POLICY_REPLAY), rows[i].replay,
                     "row %zu", i);
        cr_expect_eq(tt_client_next(rows[i].from, rows[i].event, TT_POLICY_DISCONNECT),
                     rows[i].disconnect, "row %zu", i);
    }
}
