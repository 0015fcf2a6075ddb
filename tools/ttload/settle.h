/* Finds out which events of a batch the broker took, when the answer to it was lost.
 *
 * A feed that sends such a batch again may double it, one that does not may lose it. So it asks the
 * stream: it subscribes from the last id that it was given, publishes a mark, and reads until the
 * mark comes: what it has not met by then was not taken. This is exact for a log with one
 * partition; with several, the mark says nothing of the others. Thread: the owner of the io.
 * Memory: the caller's. */
#ifndef TT_TOOLS_TTLOAD_SETTLE_H
#define TT_TOOLS_TTLOAD_SETTLE_H

#include "shard/io/io.h"
#include "tools/ttload/batch.h"
#include "tools/ttload/sse_reader.h"

enum tt_settle_operation {
    TT_SETTLE_CONNECT = 0x20,
    TT_SETTLE_SEND,
    TT_SETTLE_RECV,
    TT_SETTLE_CLOSE,
};

enum tt_settle_state {
    TT_SETTLE_CLOSED = 0,
    TT_SETTLE_CONNECTING,
    TT_SETTLE_OPEN,
    TT_SETTLE_CLOSING
};

enum tt_settle_event {
    TT_SETTLE_NOTHING = 0,
    TT_SETTLE_LISTENING, /* now publish the mark */
    TT_SETTLE_SETTLED,   /* the batch says which events were taken; closes by itself */
    TT_SETTLE_LOST,      /* begin anew later; closes by itself */
};

struct tt_settle {
    enum tt_settle_state state;
    tt_socket socket_;
    uint32_t generation_;
    char mark[48]; /* the channel of the mark */
    char request_[512];
    uint32_t request_bytes_;
    struct tt_sse_reader reader_;
    struct tt_batch *batch_;
};

/* Only when closed. host, prefix, cursor: copied; an empty cursor reads from the earliest event.
 * nonce: different each time. The batch must stay as it is until SETTLED or LOST. */
void tt_settle_start(struct tt_settle *s, struct tt_io *io, const struct tt_address *remote,
                     const char *host, const char *prefix, const char *cursor, uint64_t nonce,
                     struct tt_batch *batch);
/* Takes a completion of one of tt_settle_operation. */
enum tt_settle_event tt_settle_done(struct tt_settle *s, struct tt_io *io, const struct tt_done *d);
void tt_settle_close(struct tt_settle *s, struct tt_io *io);
/* The body that publishes the mark. */
void tt_settle_write_mark(const struct tt_settle *s, struct tt_writer *w);

#endif
