#include "shard/conn/transport_plain.h"

#include "proto/base/assert.h"
#include "shard/conn/answer.h"
#include "shard/conn/protocol_http1.h"

void tt_plain_receive(struct tt_connection *c)
{
    if (c->state == TT_CONNECTION_CLOSING || c->ended) return;
    bool wanted = tt_http1_wants_input(c);
    if (wanted && !c->receiving) {
        c->receiving = true;
        tt_io_recv(c->engine->io, c->socket, tt_connection_token(c, TT_OPERATION_RECV));
    } else if (!wanted && c->receiving && !c->pausing) {
        c->pausing = true;
        tt_io_recv_pause(c->engine->io, c->socket);
    }
}

void tt_plain_received(struct tt_connection *c, const struct tt_done *done)
{
    if ((done->flags & TT_DONE_MORE) == 0) c->receiving = c->pausing = false;
    if (c->state == TT_CONNECTION_CLOSING) return;
    if (done->result > 0) {
        tt_http1_received(c, done->data);
    } else if (done->result == 0) {
        c->ended = true;
        tt_http1_peer_ended(c);
    } else if (done->result != TT_ECANCELED) {
        tt_connection_end(c, TT_CLOSE_RESET);
    }
    /* A pause that has just ended may not be wanted any more. */
    tt_plain_receive(c);
}

/* Frames of whoever catches up are as large as a send may be; what is over the budget is offered
 * again by the next. */
static unsigned cut(struct tt_slice *slices, unsigned count, size_t budget)
{
    for (unsigned i = 0; i < count; i++) {
        if (slices[i].size >= budget) {
            slices[i].size = budget;
            return i + 1;
        }
        budget -= slices[i].size;
    }
    return count;
}

bool tt_plain_flush(struct tt_connection *c)
{
    struct tt_slice slices[TT_IO_SLICES_MAX];

    TT_ASSERT(!c->sending && !c->blocked);
    unsigned count = tt_answer_slices(c, slices, TT_IO_SLICES_MAX);
    if (count == 0) return false;
    if (c->bulk) count = cut(slices, count, c->engine->pull_bytes);
    c->sending = true;
    tt_io_send(c->engine->io, c->socket, slices, count, tt_connection_token(c, TT_OPERATION_SEND));
    return true;
}

void tt_plain_sent(struct tt_connection *c, const struct tt_done *done)
{
    struct tt_slice peek[1];

    TT_ASSERT(c->sending);
    c->sending = false;
    if (c->resume) tt_connection_link(c);
    if (done->result < 0) {
        tt_connection_close(c, TT_CLOSE_RESET, true);
        return;
    }
    if (c->close_now) {
        tt_connection_close(c, (enum tt_close_reason)c->reason, true);
        return;
    }
    if (done->result == 0) {
        c->blocked = true;
        /* Does not start anew while the peer takes nothing. */
        tt_connection_wait(c, TT_WAIT_STALL);
        tt_io_poll_out(c->engine->io, c->socket, tt_connection_token(c, TT_OPERATION_POLL));
        return;
    }
    if (c->wait == TT_WAIT_STALL) tt_connection_wait(c, TT_WAIT_NOTHING);
    /* An exchange whose bytes were taken says by tt_exchange_ready() whether it has more. Where
     * bytes of ours were taken, it may have said so while they were under way: it is asked. */
    bool told = tt_answer_pulls(c);
    tt_answer_taken(c, (size_t)done->result);
    if (!told && tt_answer_slices(c, peek, 1) != 0) tt_connection_link(c);
}

void tt_plain_writable(struct tt_connection *c, const struct tt_done *done)
{
    if (c->state == TT_CONNECTION_CLOSING) return;
    TT_ASSERT(c->blocked);
    c->blocked = false;
    if (done->result < 0) {
        tt_connection_close(c, TT_CLOSE_RESET, true);
        return;
    }
    c->reads = true;
    tt_connection_link(c);
}
