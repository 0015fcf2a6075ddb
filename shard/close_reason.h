/* The reasons why a client or a connection ended, one enum from close_reason.def. Thread: any. */
#ifndef TT_SHARD_CLOSE_REASON_H
#define TT_SHARD_CLOSE_REASON_H

enum tt_close_reason {
#define TT_CLOSE_REASON(name, text, is_error) TT_CLOSE_##name,
#include "shard/close_reason.def"
#undef TT_CLOSE_REASON
    TT_CLOSE_REASONS
};

/* The label of metrics and log lines; static storage. */
const char *tt_close_reason_text(enum tt_close_reason reason);

#endif
