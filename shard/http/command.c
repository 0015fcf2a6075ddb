#include "shard/http/command.h"

#include "proto/base/limits.h"
#include "proto/wire/http1_parse.h"
#include "proto/wire/subscribe.h"
#include "shard/http/publish_answer.h"

/* `id` of the query, as {"client":"..."}; nothing when there is none. False: it is not allowed. */
static bool read_client(struct tt_bytes query, struct tt_writer *headers)
{
    struct tt_bytes name, value;
    while (tt_form_next(&query, &name, &value)) {
        if (!tt_bytes_is(name, "id") || value.size == 0) continue;
        uint8_t text[TT_SUBSCRIBE_LABEL_BYTES_MAX];
        struct tt_writer label = tt_writer(text, sizeof text);
        if (tt_form_decode(value, &label) != TT_OK || label.overflow) return false;
        headers->size = 0;
        tt_write_text(headers, "{\"client\":");
        tt_write_json_string(headers, tt_writer_bytes(&label));
        tt_write_char(headers, '}');
    }
    return !headers->overflow;
}

struct tt_exchange *tt_command_handle(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    struct tt_exchange *refused = tt_publish_check(request, shard);
    uint8_t text[16 + 6 * TT_SUBSCRIBE_LABEL_BYTES_MAX];
    struct tt_writer headers = tt_writer(text, sizeof text);
    if (refused != NULL) return refused;
    if (!read_client(request->query, &headers))
        return tt_publish_refuse(request, shard, 400, "invalid_parameter",
                                 "id: must be 1 to 64 bytes of UTF-8");
    const struct tt_publish_whole_options options = {
        .expected = request->content_length > 0 ? (size_t)request->content_length : 0,
        .command = true,
        .headers = tt_writer_bytes(&headers),
        .key = request->head->known[TT_HTTP1_IDEMPOTENCY_KEY],
    };
    struct tt_exchange *x = tt_publish_whole_create(shard, &options);
    return x != NULL ? x
                     : tt_publish_refuse(request, shard, 503, "overloaded",
                                         "command: there is no memory for the request");
}
