#include "shard/http/publish.h"

#include "proto/base/limits.h"
#include "proto/wire/excerpt.h"
#include "proto/wire/http1_parse.h"
#include "proto/wire/subscribe.h"
#include "shard/http/publish_answer.h"

static bool is_multipart(struct tt_bytes type)
{
    static const char start[] = "multipart/";
    return type.size >= sizeof start - 1 &&
           tt_bytes_is_nocase(tt_bytes(type.data, sizeof start - 1), start);
}

/* ids=1 of the query. False: it has another value. */
static bool read_ids_wanted(struct tt_bytes query, bool *wanted)
{
    struct tt_bytes name, value;
    *wanted = false;
    while (tt_form_next(&query, &name, &value)) {
        if (!tt_bytes_is(name, "ids")) continue;
        *wanted = tt_bytes_is(value, "1");
        if (!*wanted && !tt_bytes_is(value, "0")) return false;
    }
    return true;
}

/* Visible ASCII. */
static bool is_key(struct tt_bytes key)
{
    if (key.size == 0 || key.size > TT_IDEMPOTENCY_KEY_BYTES_MAX) return false;
    for (size_t i = 0; i < key.size; i++)
        if (key.data[i] <= ' ' || key.data[i] > '~') return false;
    return true;
}

static struct tt_exchange *refuse_key(const struct tt_request *request, struct tt_shard *shard,
                                      struct tt_bytes key)
{
    char message[TT_PUBLISH_MESSAGE_MAX];
    struct tt_writer w = tt_writer(message, sizeof message - 1);
    tt_write_text(&w, "Idempotency-Key: \"");
    tt_write_excerpt(&w, key);
    tt_write_format(&w,
                    "\" has %zu bytes; it must be 1 to %u bytes of visible ASCII, without spaces",
                    key.size, TT_IDEMPOTENCY_KEY_BYTES_MAX);
    message[w.size] = '\0';
    return tt_publish_refuse(request, shard, 400, "invalid_idempotency_key", message);
}

struct tt_exchange *tt_publish_check(const struct tt_request *request, struct tt_shard *shard)
{
    const struct tt_http1_head *head = request->head;
    struct tt_bytes coding = head->known[TT_HTTP1_CONTENT_ENCODING];
    struct tt_bytes key = head->known[TT_HTTP1_IDEMPOTENCY_KEY]; /* data null: none is given */
    const struct tt_source *source = tt_shard_world(shard)->source;
    if (tt_shard_draining(shard))
        return tt_publish_refuse(request, shard, 503, "unavailable",
                                 "publish: the broker shuts down; try again later");
    if (is_multipart(tt_http1_media_type(head->known[TT_HTTP1_CONTENT_TYPE])))
        return tt_publish_refuse(request, shard, 415, "unsupported_media_type",
                                 "Content-Type: multipart is not understood; send JSON under any "
                                 "other type, or NDJSON as application/x-ndjson");
    if (coding.size != 0 && !tt_bytes_is_nocase(coding, "identity"))
        return tt_publish_refuse(request, shard, 415, "unsupported_media_type",
                                 "Content-Encoding: is not understood; send the body as it is");
    if (key.data != NULL && !is_key(key)) return refuse_key(request, shard, key);
    if (source != NULL && source->publish_topic == UINT32_MAX)
        return tt_publish_refuse(request, shard, 404, "publishing_off",
                                 "publish: this broker only reads its Kafka topics; it is "
                                 "configured with none to publish to");
    if (source != NULL && key.data != NULL)
        return tt_publish_refuse(request, shard, 400, "idempotency_unsupported",
                                 "Idempotency-Key: is not supported where events go to Kafka; "
                                 "leave it out, and expect that a retry may publish twice");
    return NULL;
}

struct tt_exchange *tt_publish_handle(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    const struct tt_http1_head *head = request->head;
    struct tt_bytes type = tt_http1_media_type(head->known[TT_HTTP1_CONTENT_TYPE]);
    struct tt_bytes key = head->known[TT_HTTP1_IDEMPOTENCY_KEY]; /* data null: none is given */
    struct tt_exchange *refused = tt_publish_check(request, shard);
    bool ids_wanted;
    if (refused != NULL) return refused;
    if (!read_ids_wanted(request->query, &ids_wanted))
        return tt_publish_refuse(request, shard, 400, "invalid_parameter", "ids: must be 0 or 1");
    struct tt_exchange *x = NULL;
    bool lines = tt_bytes_is_nocase(type, "application/x-ndjson") ||
                 tt_bytes_is_nocase(type, "application/ndjson");
    if (lines && key.data == NULL) {
        x = tt_publish_stream_create(shard, ids_wanted);
        if (x != NULL) tt_request_stream_body(request);
    } else {
        const struct tt_publish_whole_options options = {
            .expected = request->content_length > 0 ? (size_t)request->content_length : 0,
            .lines = lines,
            .ids_wanted = ids_wanted,
            .key = key,
        };
        x = tt_publish_whole_create(shard, &options);
    }
    return x != NULL ? x
                     : tt_publish_refuse(request, shard, 503, "overloaded",
                                         "publish: there is no memory for the request");
}
