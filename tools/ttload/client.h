/* One client of an engine, and what the engine's parts do with it. Private to engine.c, stream.c
 * and disturb.c. Thread: the engine's. Memory: one such struct for each client, the cursor's bytes
 * for those that may have to resume, and what the reader carries. */
#ifndef TT_TOOLS_TTLOAD_CLIENT_H
#define TT_TOOLS_TTLOAD_CLIENT_H

#include "tools/ttload/engine.h"

#define TT_ENGINE_CURSOR_BYTES_MAX 2048u /* of the wire */

enum tt_engine_operation { TT_ENGINE_CONNECT = 1, TT_ENGINE_SEND, TT_ENGINE_RECV, TT_ENGINE_CLOSE };

/* NEW -> CONNECTING -> OPENING (asked) -> LIVE (`connected` came); from there CLOSED for good, or
 * CLOSING (the close is on its way) -> AWAY (comes back at next_ns) -> CONNECTING. */
enum tt_engine_state {
    TT_CLIENT_NEW = 0,
    TT_CLIENT_CONNECTING,
    TT_CLIENT_OPENING,
    TT_CLIENT_LIVE,
    TT_CLIENT_CLOSING,
    TT_CLIENT_AWAY,
    TT_CLIENT_CLOSED,
};

enum tt_slow_phase { TT_SLOW_NOT_YET = 0, TT_SLOW_READS, TT_SLOW_STOPPED, TT_SLOW_OVER };
enum tt_cut_phase { TT_CUT_NONE = 0, TT_CUT_SET, TT_CUT_INSIDE_NEXT, TT_CUT_BETWEEN_NEXT };

struct tt_engine_client {
    struct tt_sse_reader reader;
    struct tt_proof_client proof;
    uint64_t start_ns; /* of connecting */
    uint64_t next_ns;  /* AWAY: comes back; LIVE with a cut set: the cut */
    uint64_t slow_ns;  /* when its slow phase changes */
    uint8_t *cursor;   /* the last id; of those that may have to resume */
    uint16_t cursor_bytes;
    uint16_t cursor_capacity;
    tt_socket socket;
    uint32_t request_bytes;
    uint8_t roles;  /* enum tt_plan_role */
    uint8_t state;  /* enum tt_engine_state */
    uint8_t slow;   /* enum tt_slow_phase */
    uint8_t cut;    /* enum tt_cut_phase */
    bool receiving; /* a receive is running, or is being paused */
    bool reads;     /* it should be */
    bool resumes;   /* was connected before */
};

static inline uint32_t tt_client_slot(const struct tt_engine *e, const struct tt_engine_client *c)
{
    return (uint32_t)(c - e->clients_);
}
static inline uint32_t tt_client_number(const struct tt_engine *e, const struct tt_engine_client *c)
{
    return e->first + tt_client_slot(e, c);
}
static inline uint64_t tt_client_token(const struct tt_engine *e, const struct tt_engine_client *c,
                                       enum tt_engine_operation operation)
{
    return tt_token((uint8_t)operation, 0, tt_client_slot(e, c));
}
static inline bool tt_client_may_resume(const struct tt_engine_client *c)
{
    return (c->roles & (TT_PLAN_RECONNECTS | TT_PLAN_DISCONNECTS)) != 0;
}

/* ---- engine.c ---- */
void tt_client_connect(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       uint64_t start_ns);
void tt_client_end(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c);
/* The connection is closed, or with `abort` reset; the client comes back after --reconnect-wait. */
void tt_client_leave(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c, bool abort);

/* ---- stream.c ---- */
/* Takes what has come; may end the client or make it leave. */
void tt_client_take(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                    struct tt_bytes in);

#endif
