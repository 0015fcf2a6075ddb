/* What a refusal by the log, or by the source, is to the publisher. For publish*.c alone. Thread:
 * owner shard. */
#ifndef TT_SHARD_HTTP_PUBLISH_REFUSAL_H
#define TT_SHARD_HTTP_PUBLISH_REFUSAL_H

#include "shard/shard.h"

#define TT_PUBLISH_REFUSAL_TEXT_MAX 320u

struct tt_publish_refusal {
    unsigned status;
    unsigned retry_after_s;
    const char *code;                       /* static */
    char text[TT_PUBLISH_REFUSAL_TEXT_MAX]; /* English; longer ones are cut */
};
/* Of the whole request: its status is not TT_OK. */
struct tt_publish_refusal tt_publish_refusal_of(const struct tt_publish_request *request);
/* Of one event that the source has not taken. */
struct tt_publish_refusal tt_publish_refusal_of_place(const struct tt_publish_place *place);

#endif
