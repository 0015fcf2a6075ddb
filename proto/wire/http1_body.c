/* The body's framing: RFC 9112 sections 6 and 7. */
#include "proto/base/assert.h"
#include "proto/wire/http1_parse.h"
#include "proto/wire/percent.h"

/* Each state names what the next byte is. */
enum {
    COUNTED,      /* of a counted body */
    SIZE,         /* a digit of a chunk's size */
    EXTENSION,    /* of the extensions behind the size */
    SIZE_LF,      /* the LF of the line with the size */
    CHUNK,        /* of the chunk's data */
    CHUNK_CR,     /* the CR behind the data */
    CHUNK_LF,     /* the LF behind the data */
    TRAILER,      /* the first of a line behind the last chunk */
    TRAILER_NAME, /* of a trailer field's name, or its colon */
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF, /* the LF of the empty line at the end */
    DONE,
    FAILED,
};

void tt_http1_body_init(struct tt_http1_body *body, const struct tt_http1_head *head,
                        const struct tt_http1_body_limits *limits)
{
    *body = (struct tt_http1_body){.limits_ = *limits, .state_ = DONE};
    if (head->framing == TT_HTTP1_CHUNKED) body->state_ = SIZE;
    if (head->framing == TT_HTTP1_COUNTED && head->content_length != 0) {
        body->state_ = COUNTED;
        body->left_ = head->content_length;
    }
}

static enum tt_status fail(struct tt_http1_body *body, unsigned status, const char *text)
{
    body->error_ = (struct tt_http1_error){status, text};
    body->state_ = FAILED;
    return TT_EPROTO;
}

static bool is_text(uint8_t c) /* RFC 9110 5.5: what a field's value or an extension may hold */
{
    return c == '\t' || (c >= ' ' && c != 0x7F);
}

static bool is_token(uint8_t c) /* RFC 9110 5.6.2 */
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && memchr(others, c, sizeof others - 1) != NULL);
}

/* RFC 9112 7.1: hex digits, then CRLF, or extensions and CRLF. 15 digits hold any size that can
 * come; white space behind the size is one more thing parsers disagree about. */
static enum tt_status size_byte(struct tt_http1_body *body, uint8_t c)
{
    int digit = tt_hex_value(c);
    if (digit >= 0) {
        if (++body->digits_ > 15) return fail(body, 400, "a chunk's size has too many digits");
        body->left_ = body->left_ << 4 | (unsigned)digit;
        return TT_OK;
    }
    if (body->digits_ == 0 || (c != '\r' && c != ';'))
        return fail(body, 400, "a chunk's size is not a hexadecimal number");
    body->state_ = c == '\r' ? SIZE_LF : EXTENSION;
    return TT_OK;
}

static enum tt_status extension_byte(struct tt_http1_body *body, uint8_t c)
{
    if (c == '\r') {
        body->state_ = SIZE_LF;
        return TT_OK;
    }
    /* RFC 9112 7.1.1: a server ought to limit their total length. */
    if (++body->extension_bytes_ > body->limits_.extension_bytes_max)
        return fail(body, 400, "chunk extensions are longer than allowed");
    return is_text(c) ? TT_OK : fail(body, 400, "a chunk extension holds a control character");
}

/* RFC 9112 7.1.2: fields like those of the head; they are checked and dropped. */
static enum tt_status trailer_byte(struct tt_http1_body *body, uint8_t c)
{
    if (++body->trailer_bytes_ > body->limits_.trailer_bytes_max)
        return fail(body, 431, "the trailers are larger than allowed");
    if (body->state_ == TRAILER && c == '\r') {
        body->state_ = LAST_LF;
    } else if (body->state_ == TRAILER_VALUE && c == '\r') {
        body->state_ = TRAILER_LF;
    } else if (body->state_ == TRAILER_VALUE) {
        if (!is_text(c)) return fail(body, 400, "a trailer's value holds a control character");
    } else if (body->state_ == TRAILER_NAME && c == ':') {
        body->state_ = TRAILER_VALUE;
    } else if (is_token(c)) {
        body->state_ = TRAILER_NAME;
    } else {
        return fail(body, 400, "a trailer's name is not a token directly before the colon");
    }
    return TT_OK;
}

static enum tt_status framing_byte(struct tt_http1_body *body, uint8_t c)
{
    switch (body->state_) {
    case SIZE: return size_byte(body, c);
    case EXTENSION: return extension_byte(body, c);
    case SIZE_LF:
        if (c != '\n') return fail(body, 400, "the line with a chunk's size has CR without LF");
        body->digits_ = 0;
        body->state_ = body->left_ == 0 ? TRAILER : CHUNK;
        return TT_OK;
    case CHUNK_CR:
        if (c != '\r') return fail(body, 400, "a chunk is longer than its size");
        body->state_ = CHUNK_LF;
        return TT_OK;
    case CHUNK_LF:
        if (c != '\n') return fail(body, 400, "a chunk is longer than its size");
        body->state_ = SIZE;
        return TT_OK;
    case TRAILER:
    case TRAILER_NAME:
    case TRAILER_VALUE: return trailer_byte(body, c);
    case TRAILER_LF:
        if (c != '\n') return fail(body, 400, "a trailer has CR without LF");
        body->state_ = TRAILER;
        return TT_OK;
    case LAST_LF:
        if (c != '\n') return fail(body, 400, "the trailers end in CR without LF");
        body->state_ = DONE;
        return TT_OK;
    default: TT_UNREACHABLE();
    }
}

enum tt_status tt_http1_body_next(struct tt_http1_body *body, struct tt_bytes *input,
                                  struct tt_bytes *run, struct tt_http1_error *error)
{
    *run = TT_BYTES_NONE;
    while (body->state_ != DONE && body->state_ != FAILED) {
        if (input->size == 0) return TT_MORE;
        if (body->state_ == COUNTED || body->state_ == CHUNK) {
            *run = tt_bytes(input->data, input->size < body->left_ ? input->size : body->left_);
            return TT_OK;
        }
        uint8_t c = input->data[0];
        *input = tt_bytes_from(*input, 1);
        if (framing_byte(body, c) != TT_OK) break;
    }
    if (body->state_ == DONE) return TT_END;
    *error = body->error_;
    return TT_EPROTO;
}

void tt_http1_body_take(struct tt_http1_body *body, struct tt_bytes *input, size_t bytes)
{
    TT_ASSERT(body->state_ == COUNTED || body->state_ == CHUNK);
    TT_ASSERT(bytes <= body->left_ && bytes <= input->size);
    *input = tt_bytes_from(*input, bytes);
    body->left_ -= bytes;
    body->received += bytes;
    if (body->left_ == 0) body->state_ = body->state_ == COUNTED ? DONE : CHUNK_CR;
}

bool tt_http1_body_done(const struct tt_http1_body *body)
{
    return body->state_ == DONE;
}
