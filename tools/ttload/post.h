/* One keep-alive connection that POSTs, one request at a time: the part that `run` and `feed`
 * share.
 *
 * The owner writes a body, asks for it to be sent, and gets the whole answer. What happens in
 * between (short sends, an answer in pieces) is settled here. Completions come through the owner's
 * loop: whatever carries one of the four operations below goes to tt_post_done(). Never reconnects
 * by itself. Thread: the owner of the io. Memory: two buffers, allocated by init. */
#ifndef TT_TOOLS_TTLOAD_POST_H
#define TT_TOOLS_TTLOAD_POST_H

#include "shard/io/io.h"
#include "tools/ttload/response.h"

enum tt_post_operation {
    TT_POST_CONNECT = 0x10,
    TT_POST_SEND,
    TT_POST_RECV,
    TT_POST_WRITABLE,
    TT_POST_CLOSE,
};

enum tt_post_state {
    TT_POST_CLOSED = 0,
    TT_POST_CONNECTING,
    TT_POST_IDLE,    /* connected, nothing asked */
    TT_POST_WAITING, /* sending, or the answer is not whole */
    TT_POST_CLOSING,
};

enum tt_post_event {
    TT_POST_NOTHING = 0,
    TT_POST_CONNECTED,
    TT_POST_ANSWERED, /* see status and answer; the connection is idle, or closed if it must be */
    TT_POST_LOST,     /* closed, see why and lost_request */
};

struct tt_post {
    enum tt_post_state state;
    uint32_t slot; /* of its tokens */
    struct tt_writer body;
    /* After TT_POST_ANSWERED, until the next request: */
    unsigned status;
    struct tt_bytes answer;
    uint32_t retry_after_s;
    /* After TT_POST_LOST: */
    const char *why;
    bool lost_request; /* a request was sent, at least in part, and its answer never came */
    /* private */
    tt_socket socket_;
    uint32_t generation_;
    struct tt_slice slices_[2];
    char head_[1024];
    uint8_t *in_;
    size_t in_size_;
};

#define TT_POST_ANSWER_BYTES_MAX (64u << 10)

/* body_bytes: the longest body. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_post_init(struct tt_post *p, uint32_t slot, size_t body_bytes);
void tt_post_deinit(struct tt_post *p); /* the io may be gone already */
/* Only when closed. TT_POST_CONNECTED or TT_POST_LOST follows. */
void tt_post_connect(struct tt_post *p, struct tt_io *io, const struct tt_address *remote);
/* Only when idle. `head`: request line and header lines without Content-Length and without the
 * empty line; copied. The body is what p->body holds, which must not change until the answer. */
void tt_post_send(struct tt_post *p, struct tt_io *io, struct tt_bytes head);
/* Takes a completion of one of tt_post_operation, whose slot is p's. */
enum tt_post_event tt_post_done(struct tt_post *p, struct tt_io *io, const struct tt_done *d);
/* Closes; nothing is reported any more. */
void tt_post_close(struct tt_post *p, struct tt_io *io);

#endif
