#include "tools/ttload/response.h"

static enum tt_status fail(const char **why, const char *text)
{
    *why = text;
    return TT_EPROTO;
}

/* Takes one line without its CRLF. TT_OK; TT_MORE; TT_EPROTO for a bare CR or LF. */
static enum tt_status take_line(struct tt_bytes *in, struct tt_bytes *line)
{
    const uint8_t *lf = in->size == 0 ? NULL : memchr(in->data, '\n', in->size);
    if (lf == NULL) return TT_MORE;
    size_t size = (size_t)(lf - in->data);
    if (size == 0 || lf[-1] != '\r') return TT_EPROTO;
    *line = tt_bytes(in->data, size - 1);
    *in = tt_bytes_from(*in, size + 1);
    return memchr(line->data, '\r', line->size) == NULL ? TT_OK : TT_EPROTO;
}

static enum tt_status read_status_line(struct tt_bytes line, struct tt_response *r,
                                       const char **why)
{
    uint64_t status = 0;
    bool version_1_0 = tt_bytes_starts(line, TT_BYTES_LITERAL("HTTP/1.0 "));
    if (!version_1_0 && !tt_bytes_starts(line, TT_BYTES_LITERAL("HTTP/1.1 "))) {
        return fail(why, "the status line does not begin with HTTP/1.1");
    }
    if (line.size < 13 || line.data[12] != ' ' ||
        tt_bytes_to_u64(tt_bytes(line.data + 9, 3), 999, &status) != TT_OK || status < 100) {
        return fail(why, "the status line holds no status of three digits");
    }
    r->status = (unsigned)status;
    r->closes = version_1_0;
    return TT_OK;
}

static struct tt_bytes trimmed(struct tt_bytes a)
{
    while (a.size != 0 && (a.data[0] == ' ' || a.data[0] == '\t')) a = tt_bytes_from(a, 1);
    while (a.size != 0 && (a.data[a.size - 1] == ' ' || a.data[a.size - 1] == '\t')) a.size--;
    return a;
}

static enum tt_status read_field(struct tt_bytes line, struct tt_response *r, const char **why)
{
    const uint8_t *colon = memchr(line.data, ':', line.size);
    if (colon == NULL || colon == line.data || colon[-1] == ' ' || colon[-1] == '\t') {
        return fail(why, "a header line is not of the form name:value");
    }
    struct tt_bytes name = tt_bytes(line.data, (size_t)(colon - line.data));
    struct tt_bytes value = trimmed(tt_bytes_from(line, name.size + 1));
    if (tt_bytes_is_nocase(name, "content-length")) {
        if (r->has_length) return fail(why, "Content-Length is repeated");
        r->has_length = true;
        if (tt_bytes_to_u64(value, UINT64_MAX / 2, &r->length_bytes) != TT_OK) {
            return fail(why, "Content-Length is not a number");
        }
    } else if (tt_bytes_is_nocase(name, "transfer-encoding")) {
        if (r->chunked || !tt_bytes_is_nocase(value, "chunked")) {
            return fail(why, "Transfer-Encoding is not exactly chunked");
        }
        r->chunked = true;
    } else if (tt_bytes_is_nocase(name, "connection")) {
        if (tt_bytes_is_nocase(value, "close")) r->closes = true;
    } else if (tt_bytes_is_nocase(name, "retry-after")) {
        uint64_t seconds;
        if (tt_bytes_to_u64(value, 86400, &seconds) == TT_OK) r->retry_after_s = (uint32_t)seconds;
    } else if (tt_bytes_is_nocase(name, "content-type")) {
        r->content_type = value;
    }
    return TT_OK;
}

enum tt_status tt_response_read(struct tt_bytes *in, struct tt_response *response, const char **why)
{
    struct tt_bytes rest = *in;
    struct tt_bytes line;
    bool first = true;

    *response = (struct tt_response){0};
    for (;;) {
        enum tt_status status = take_line(&rest, &line);
        if (status == TT_MORE) {
            return in->size > TT_RESPONSE_HEAD_BYTES_MAX
                       ? fail(why, "the head of the response is longer than 16 KiB")
                       : TT_MORE;
        }
        if (status != TT_OK) return fail(why, "a line of the head does not end in CRLF");
        if (!first && line.size == 0) break;
        status = first ? read_status_line(line, response, why) : read_field(line, response, why);
        if (status != TT_OK) return status;
        first = false;
    }
    if (response->chunked && response->has_length) {
        return fail(why, "both Content-Length and Transfer-Encoding");
    }
    *in = rest;
    return TT_OK;
}
