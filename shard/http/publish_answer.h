/* What the kinds of publishing have in common: their objects, and their answers. For publish*.c
 * alone. Thread: owner shard. */
#ifndef TT_SHARD_HTTP_PUBLISH_ANSWER_H
#define TT_SHARD_HTTP_PUBLISH_ANSWER_H

#include "shard/http/publish_batch.h"

#define TT_PUBLISH_MESSAGE_MAX 640u /* an envelope's message, its line, and how many were taken */

/* An exchange that reads NDJSON, or null: memory is short. */
struct tt_exchange *tt_publish_stream_create(struct tt_shard *shard, bool ids_wanted);

/* What an envelope on a line needs beside its event: names of members, escapes, unknown members. */
#define TT_PUBLISH_LINE_BYTES_BESIDE 16384u

/* An exchange that keeps the body whole, or null: memory is short. */
struct tt_publish_whole_options {
    size_t expected;     /* bytes, by Content-Length; 0: chunked */
    bool lines;          /* NDJSON, else one envelope or an array */
    bool ids_wanted;     /* with lines: all ids in the answer */
    struct tt_bytes key; /* Idempotency-Key, valid; empty: none. Copied */
    /* The body is the payload of one event on the channel "commands" (command.h): */
    bool command;
    struct tt_bytes headers; /* of that event, valid; empty: none. Copied */
};
struct tt_exchange *tt_publish_whole_create(struct tt_shard *shard,
                                            const struct tt_publish_whole_options *options);

/* What is refused before its body, for every kind of publishing: null if nothing is. */
struct tt_exchange *tt_publish_check(const struct tt_request *request, struct tt_shard *shard);

/* Refuses the request with an error, and counts it. */
void tt_publish_fail(struct tt_exchange *x, struct tt_shard *shard, unsigned status,
                     const char *code, unsigned retry_after_s, const char *message);
/* The same before there is an exchange. */
struct tt_exchange *tt_publish_refuse(const struct tt_request *request, struct tt_shard *shard,
                                      unsigned status, const char *code, const char *message);

/* Text that grows, for answers whose size is not known beforehand. */
struct tt_publish_text {
    struct tt_writer w;
    bool failed; /* memory was short: what was written is not whole */
};
/* Room for `bytes` more; false: failed. */
bool tt_publish_text_reserve(struct tt_publish_text *text, size_t bytes);
void tt_publish_text_free(struct tt_publish_text *text);
/* "error":{"code":...,"message":...} */
void tt_publish_text_error(struct tt_publish_text *text, const char *code, const char *message);
/* An id in quotes, or null. */
void tt_publish_text_id(struct tt_publish_text *text, const struct tt_shard *shard,
                        const struct tt_publish_place *place);
/* "count":...,"first":...,"last":... of what was taken of lines. */
void tt_publish_text_count(struct tt_publish_text *text, const struct tt_shard *shard,
                           uint64_t taken, const struct tt_publish_place *first,
                           const struct tt_publish_place *last);
/* Answers with the text, or with 503 if it failed; frees it. An error (status 400 and above) is
 * logged with code and message, and counted. */
void tt_publish_text_answer(struct tt_publish_text *text, struct tt_exchange *x,
                            struct tt_shard *shard, unsigned status, unsigned retry_after_s,
                            const char *code, const char *message);

#endif
