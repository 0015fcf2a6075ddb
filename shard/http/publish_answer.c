#include "shard/http/publish_answer.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/diag.h"

static void count_error(struct tt_shard *shard, unsigned status)
{
    struct tt_shard_metrics *metrics = tt_shard_own_metrics(shard);
    if (status == 400) tt_metric_add(&metrics->publish_errors_400, 1);
    if (status == 413) tt_metric_add(&metrics->publish_errors_413, 1);
    if (status == 415) tt_metric_add(&metrics->publish_errors_415, 1);
    if (status == 422) tt_metric_add(&metrics->publish_errors_422, 1);
    if (status == 503) tt_metric_add(&metrics->publish_errors_503, 1);
}

void tt_publish_fail(struct tt_exchange *x, struct tt_shard *shard, unsigned status,
                     const char *code, unsigned retry_after_s, const char *message)
{
    count_error(shard, status);
    tt_exchange_fail(x, status, code, retry_after_s, "%s", message);
}

struct tt_exchange *tt_publish_refuse(const struct tt_request *request, struct tt_shard *shard,
                                      unsigned status, const char *code, const char *message)
{
    count_error(shard, status);
    return tt_reply_error(request, status, code, status == 503 ? 1 : 0, "%s", message);
}

bool tt_publish_text_reserve(struct tt_publish_text *text, size_t bytes)
{
    struct tt_writer *w = &text->w;
    if (text->failed) return false;
    if (w->capacity - w->size >= bytes) return true;
    size_t capacity = w->capacity * 2 > w->size + bytes ? w->capacity * 2 : w->size + bytes;
    uint8_t *data = realloc(w->data, capacity);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    w->data = data;
    w->capacity = capacity;
    return true;
}

void tt_publish_text_free(struct tt_publish_text *text)
{
    free(text->w.data);
    *text = (struct tt_publish_text){0};
}

void tt_publish_text_error(struct tt_publish_text *text, const char *code, const char *message)
{
    /* Each byte may become \u00xx. */
    if (!tt_publish_text_reserve(text, 6 * (strlen(code) + strlen(message)) + 64)) return;
    tt_write_text(&text->w, "\"error\":{\"code\":");
    tt_write_json_string(&text->w, tt_bytes_text(code));
    tt_write_text(&text->w, ",\"message\":");
    tt_write_json_string(&text->w, tt_bytes_text(message));
    tt_write_text(&text->w, "}");
}

void tt_publish_text_id(struct tt_publish_text *text, const struct tt_shard *shard,
                        const struct tt_publish_place *place)
{
    if (!tt_publish_text_reserve(text, TT_POSITION_TEXT_MAX + 2)) return;
    if (place == NULL) {
        tt_write_text(&text->w, "null");
        return;
    }
    struct tt_position position = tt_publish_position(shard, place);
    tt_write_char(&text->w, '"');
    tt_position_write(&text->w, &position);
    tt_write_char(&text->w, '"');
}

void tt_publish_text_count(struct tt_publish_text *text, const struct tt_shard *shard,
                           uint64_t taken, const struct tt_publish_place *first,
                           const struct tt_publish_place *last)
{
    if (tt_publish_text_reserve(text, 64)) {
        tt_write_text(&text->w, "\"count\":");
        tt_write_u64(&text->w, taken);
        tt_write_text(&text->w, ",\"first\":");
    }
    tt_publish_text_id(text, shard, taken == 0 ? NULL : first);
    if (tt_publish_text_reserve(text, 16)) tt_write_text(&text->w, ",\"last\":");
    tt_publish_text_id(text, shard, taken == 0 ? NULL : last);
}

void tt_publish_text_answer(struct tt_publish_text *text, struct tt_exchange *x,
                            struct tt_shard *shard, unsigned status, unsigned retry_after_s,
                            const char *code, const char *message)
{
    if (text->failed) {
        tt_publish_fail(x, shard, 503, "overloaded", 1,
                        "publish: it was taken, but there is no memory for the ids");
        tt_publish_text_free(text);
        return;
    }
    TT_ASSERT(!text->w.overflow);
    char seconds[16];
    struct tt_writer retry = tt_writer(seconds, sizeof seconds);
    tt_write_u64(&retry, retry_after_s);
    struct tt_header header = {"Retry-After", tt_writer_bytes(&retry)};
    struct tt_response response = {
        .status = status,
        .content_type = "application/json",
        .headers = &header,
        .headers_count = retry_after_s == 0 ? 0 : 1,
    };
    if (status >= 400) {
        count_error(shard, status);
        tt_diag_write(tt_shard_diag(shard), TT_DIAG_INFO, tt_exchange_peer(x), code, "%s", message);
    }
    tt_exchange_answer(x, &response, tt_writer_bytes(&text->w));
    tt_publish_text_free(text);
}
