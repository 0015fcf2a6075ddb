#include "proto/wire/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/wire/percent.h"

_Static_assert(TT_JSON_DEPTH_MAX <= 64, "one bit of a word says what each level is");

static enum tt_status fail(struct tt_json_reader *r, const uint8_t *at, const char *error)
{
    r->error = error;
    r->error_offset = (size_t)(at - r->start_);
    return TT_EINVAL;
}

/* Moves behind white space (RFC 8259 section 2); whether CR or LF was among it. */
static bool skip_space(struct tt_json_reader *r)
{
    bool breaks = false;
    for (; r->at_ != r->end_; r->at_++) {
        uint8_t c = *r->at_;
        if (c > ' ') break;
        if (c == '\n' || c == '\r') {
            breaks = true;
        } else if (c != ' ' && c != '\t') {
            break;
        }
    }
    return breaks;
}

/* ---- strings: RFC 8259 section 7 ---- */

/* The first byte from `at` that a string cannot take as it is: a quote, a backslash, a control
 * character, or the start of a UTF-8 sequence. */
static const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    while (end - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* Signed: bytes from 0x80 on are below the space, as controls are. */
        __m128i special = _mm_or_si128(
            _mm_cmplt_epi8(bytes, space),
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        unsigned mask = (unsigned)_mm_movemask_epi8(special);
        if (mask != 0) return at + __builtin_ctz(mask);
        at += 16;
    }
#endif
    while (at != end && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\') at++;
    return at;
}

static bool is_continuation(uint8_t c)
{
    return (c & 0xC0) == 0x80;
}

/* The bytes of the well-formed UTF-8 sequence of more than one byte at `at` (RFC 3629 section 4:
 * no overlong forms, no surrogates, nothing above U+10FFFF), or 0. */
static unsigned utf8_sequence(const uint8_t *at, const uint8_t *end)
{
    uint8_t c = at[0];
    size_t left = (size_t)(end - at);
    if (c < 0xC2 || c > 0xF4 || left < 2 || !is_continuation(at[1])) return 0;
    if (c < 0xE0) return 2;
    if (left < 3 || !is_continuation(at[2])) return 0;
    if ((c == 0xE0 && at[1] < 0xA0) || (c == 0xED && at[1] > 0x9F)) return 0;
    if (c < 0xF0) return 3;
    if (left < 4 || !is_continuation(at[3])) return 0;
    if ((c == 0xF0 && at[1] < 0x90) || (c == 0xF4 && at[1] > 0x8F)) return 0;
    return 4;
}

/* Behind the backslash at r->at_. */
static enum tt_status skip_escape(struct tt_json_reader *r)
{
    const uint8_t *at = r->at_;
    if (r->end_ - at < 2) return fail(r, r->end_, "the text ends within a string");
    r->at_ += 2;
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return TT_OK;
    case 'u': break;
    default: return fail(r, at, "an escape that JSON does not have");
    }
    for (unsigned i = 0; i < 4; i++, r->at_++) {
        if (r->at_ == r->end_) return fail(r, r->at_, "the text ends within a string");
        if (tt_hex_value(*r->at_) < 0) return fail(r, at, "\\u is not followed by four hex digits");
    }
    return TT_OK;
}

/* r->at_ stands at the opening quote. */
static enum tt_status read_string(struct tt_json_reader *r, struct tt_json_value *value)
{
    const uint8_t *start = r->at_++;
    value->escaped = false;
    for (;;) {
        r->at_ = skip_plain(r->at_, r->end_);
        if (r->at_ == r->end_) return fail(r, r->at_, "the text ends within a string");
        uint8_t c = *r->at_;
        if (c == '"') break;
        if (c == '\\') {
            value->escaped = true;
            if (skip_escape(r) != TT_OK) return TT_EINVAL;
        } else if (c < ' ') {
            return fail(r, r->at_, "a control character in a string must be escaped");
        } else {
            do { /* text that is not ASCII comes in runs */
                unsigned bytes = utf8_sequence(r->at_, r->end_);
                if (bytes == 0) return fail(r, r->at_, "bytes that are not UTF-8");
                r->at_ += bytes;
            } while (r->at_ != r->end_ && *r->at_ >= 0x80);
        }
    }
    r->at_++;
    value->kind = TT_JSON_STRING;
    value->breaks = false;
    value->text = tt_bytes(start, (size_t)(r->at_ - start));
    return TT_OK;
}

/* ---- numbers and names: RFC 8259 sections 6 and 3 ---- */

/* At least one digit. */
static bool skip_digits(struct tt_json_reader *r)
{
    const uint8_t *start = r->at_;
    while (r->at_ != r->end_ && *r->at_ >= '0' && *r->at_ <= '9') r->at_++;
    return r->at_ != start;
}

static enum tt_status skip_number(struct tt_json_reader *r)
{
    const uint8_t *start = r->at_;
    if (*r->at_ == '-') r->at_++;
    const uint8_t *first = r->at_;
    if (!skip_digits(r)) return fail(r, start, "a minus sign without a number");
    if (*first == '0' && r->at_ - first > 1) return fail(r, start, "a number with a leading zero");
    if (r->at_ != r->end_ && *r->at_ == '.') {
        r->at_++;
        if (!skip_digits(r)) return fail(r, r->at_, "no digit behind a decimal point");
    }
    if (r->at_ != r->end_ && (*r->at_ == 'e' || *r->at_ == 'E')) {
        r->at_++;
        if (r->at_ != r->end_ && (*r->at_ == '+' || *r->at_ == '-')) r->at_++;
        if (!skip_digits(r)) return fail(r, r->at_, "no digit in an exponent");
    }
    return TT_OK;
}

static enum tt_status skip_name(struct tt_json_reader *r, const char *name)
{
    size_t bytes = strlen(name);
    if ((size_t)(r->end_ - r->at_) < bytes || memcmp(r->at_, name, bytes) != 0)
        return fail(r, r->at_, "a word that is not true, false or null");
    r->at_ += bytes;
    return TT_OK;
}

/* A value that is neither array nor object; r->at_ stands at its first byte. */
static enum tt_status read_scalar(struct tt_json_reader *r, struct tt_json_value *value)
{
    const uint8_t *start = r->at_;
    enum tt_status status;
    value->escaped = value->breaks = false;
    switch (*start) {
    case '"': return read_string(r, value);
    case 't':
        value->kind = TT_JSON_TRUE;
        status = skip_name(r, "true");
        break;
    case 'f':
        value->kind = TT_JSON_FALSE;
        status = skip_name(r, "false");
        break;
    case 'n':
        value->kind = TT_JSON_NULL;
        status = skip_name(r, "null");
        break;
    case '-':
    case '0' ... '9':
        value->kind = TT_JSON_NUMBER;
        status = skip_number(r);
        break;
    default: return fail(r, start, "a value was expected");
    }
    value->text = tt_bytes(start, (size_t)(r->at_ - start));
    return status;
}

/* ---- whole values, without recursion ---- */

/* The key, the colon, and the white space around them. */
static enum tt_status read_key(struct tt_json_reader *r, struct tt_json_value *key, bool *breaks)
{
    *breaks |= skip_space(r);
    if (r->at_ == r->end_ || *r->at_ != '"')
        return fail(r, r->at_, "the name of a member was expected, in quotes");
    if (read_string(r, key) != TT_OK) return TT_EINVAL;
    *breaks |= skip_space(r);
    if (r->at_ == r->end_ || *r->at_ != ':')
        return fail(r, r->at_, "a colon was expected behind the name of a member");
    r->at_++;
    *breaks |= skip_space(r);
    return TT_OK;
}

/* Where the inside of a value stands: one bit a level, set where it is an object. */
struct nesting {
    uint64_t objects;
    unsigned depth;
    bool breaks;
};

/* r->at_ stands at a bracket. TT_OK: at the first value inside; TT_END: the container was empty and
 * is behind us. */
static enum tt_status open_container(struct tt_json_reader *r, struct nesting *n)
{
    bool object = *r->at_ == '{';
    if (n->depth + r->depth_ == TT_JSON_DEPTH_MAX)
        return fail(r, r->at_, "nested deeper than 64 levels");
    r->at_++;
    n->breaks |= skip_space(r);
    if (r->at_ != r->end_ && *r->at_ == (object ? '}' : ']')) {
        r->at_++;
        return TT_END;
    }
    n->depth++;
    n->objects = n->objects << 1 | object;
    struct tt_json_value key;
    return object ? read_key(r, &key, &n->breaks) : TT_OK;
}

/* A value ended within a container. TT_OK: at the next value; TT_END: that container ended too. */
static enum tt_status next_in_container(struct tt_json_reader *r, struct nesting *n)
{
    bool object = (n->objects & 1) != 0;
    n->breaks |= skip_space(r);
    if (r->at_ == r->end_) return fail(r, r->at_, "the text ends within an array or object");
    if (*r->at_ == (object ? '}' : ']')) {
        r->at_++;
        n->depth--;
        n->objects >>= 1;
        return TT_END;
    }
    if (*r->at_ != ',')
        return fail(r, r->at_, object ? "a comma or } was expected" : "a comma or ] was expected");
    r->at_++;
    struct tt_json_value key;
    if (object) return read_key(r, &key, &n->breaks);
    n->breaks |= skip_space(r);
    return TT_OK;
}

static enum tt_status read_container(struct tt_json_reader *r, struct tt_json_value *value)
{
    const uint8_t *start = r->at_;
    struct nesting n = {0, 0, false};
    do {
        enum tt_status status;
        if (r->at_ == r->end_) return fail(r, r->at_, "the text ends where a value was expected");
        if (*r->at_ == '{' || *r->at_ == '[') {
            status = open_container(r, &n);
            if (status == TT_OK) continue;
        } else {
            status = read_scalar(r, value);
        }
        if (status < 0) return status;
        do {
            if (n.depth == 0) break;
            status = next_in_container(r, &n);
        } while (status == TT_END);
        if (status < 0) return status;
    } while (n.depth != 0);
    value->kind = *start == '{' ? TT_JSON_OBJECT : TT_JSON_ARRAY;
    value->escaped = false;
    value->breaks = n.breaks;
    value->text = tt_bytes(start, (size_t)(r->at_ - start));
    return TT_OK;
}

/* r->at_ stands behind white space. */
static enum tt_status read_value(struct tt_json_reader *r, struct tt_json_value *value)
{
    if (r->at_ == r->end_) return fail(r, r->at_, "the text ends where a value was expected");
    if (*r->at_ == '{' || *r->at_ == '[') return read_container(r, value);
    return read_scalar(r, value);
}

/* ---- the reader ---- */

enum tt_status tt_json_value(struct tt_json_reader *r, struct tt_json_value *value)
{
    (void)skip_space(r);
    return read_value(r, value);
}

int tt_json_peek(struct tt_json_reader *r)
{
    (void)skip_space(r);
    return r->at_ == r->end_ ? -1 : *r->at_;
}

enum tt_status tt_json_begin(struct tt_json_reader *r, char bracket)
{
    if (tt_json_peek(r) != bracket)
        return fail(r, r->at_, bracket == '{' ? "an object was expected" : "an array was expected");
    if (r->depth_ == TT_JSON_DEPTH_MAX) return fail(r, r->at_, "nested deeper than 64 levels");
    r->at_++;
    r->depth_++;
    r->first_ = true;
    return TT_OK;
}

/* At the next member or element, or TT_END behind the closing bracket. */
static enum tt_status next(struct tt_json_reader *r, uint8_t bracket, const char *expected)
{
    TT_ASSERT(r->depth_ > 0);
    (void)skip_space(r);
    if (r->at_ == r->end_) return fail(r, r->at_, "the text ends within an array or object");
    if (*r->at_ == bracket) {
        r->at_++;
        r->depth_--;
        r->first_ = false;
        return TT_END;
    }
    if (!r->first_) {
        if (*r->at_ != ',') return fail(r, r->at_, expected);
        r->at_++;
    }
    r->first_ = false;
    return TT_OK;
}

enum tt_status tt_json_member(struct tt_json_reader *r, struct tt_json_value *key,
                              struct tt_json_value *value)
{
    bool breaks = false;
    enum tt_status status = next(r, '}', "a comma or } was expected");
    if (status == TT_OK) status = read_key(r, key, &breaks);
    return status == TT_OK ? read_value(r, value) : status;
}

enum tt_status tt_json_element(struct tt_json_reader *r)
{
    return next(r, ']', "a comma or ] was expected");
}

enum tt_status tt_json_finish(struct tt_json_reader *r)
{
    return tt_json_peek(r) < 0 ? TT_OK : fail(r, r->at_, "something stands behind the JSON value");
}

enum tt_status tt_json_check(struct tt_bytes text, struct tt_json_value *value, const char **error,
                             size_t *error_offset)
{
    struct tt_json_reader r = tt_json_reader(text);
    enum tt_status status = tt_json_value(&r, value);
    if (status == TT_OK) status = tt_json_finish(&r);
    if (error != NULL) *error = r.error;
    if (error_offset != NULL) *error_offset = r.error_offset;
    return status;
}

/* ---- values ---- */

size_t tt_json_plain_bytes(struct tt_bytes text)
{
    return text.size == 0 ? 0 : (size_t)(skip_plain(text.data, text.data + text.size) - text.data);
}

static unsigned hex4(const uint8_t *at)
{
    unsigned value = 0;
    for (unsigned i = 0; i < 4; i++) value = value << 4 | (unsigned)tt_hex_value(at[i]);
    return value;
}

static void write_utf8(struct tt_writer *w, uint32_t c)
{
    if (c < 0x80) {
        tt_write_char(w, (char)c);
    } else if (c < 0x800) {
        tt_write_char(w, (char)(0xC0 | c >> 6));
        tt_write_char(w, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000) {
        tt_write_char(w, (char)(0xE0 | c >> 12));
        tt_write_char(w, (char)(0x80 | (c >> 6 & 0x3F)));
        tt_write_char(w, (char)(0x80 | (c & 0x3F)));
    } else {
        tt_write_char(w, (char)(0xF0 | c >> 18));
        tt_write_char(w, (char)(0x80 | (c >> 12 & 0x3F)));
        tt_write_char(w, (char)(0x80 | (c >> 6 & 0x3F)));
        tt_write_char(w, (char)(0x80 | (c & 0x3F)));
    }
}

/* The \u escape at `at` (behind the backslash); RFC 8259 section 7: a pair for what lies above
 * U+FFFF. Returns where it ends, or null for an unpaired surrogate. */
static const uint8_t *decode_unicode(const uint8_t *at, const uint8_t *end, struct tt_writer *w)
{
    uint32_t c = hex4(at + 1);
    at += 5;
    if (c >= 0xDC00 && c <= 0xDFFF) return NULL;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return NULL;
        uint32_t low = hex4(at + 2);
        if (low < 0xDC00 || low > 0xDFFF) return NULL;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    }
    write_utf8(w, c);
    return at;
}

enum tt_status tt_json_string_decode(const struct tt_json_value *string, struct tt_writer *w)
{
    TT_ASSERT(string->kind == TT_JSON_STRING && string->text.size >= 2);
    const uint8_t *at = string->text.data + 1, *end = at + string->text.size - 2;
    while (at != end) {
        uint8_t c = *at++;
        if (c != '\\') {
            tt_write_char(w, (char)c);
            continue;
        }
        switch (*at) {
        case 'b': tt_write_char(w, '\b'); break;
        case 'f': tt_write_char(w, '\f'); break;
        case 'n': tt_write_char(w, '\n'); break;
        case 'r': tt_write_char(w, '\r'); break;
        case 't': tt_write_char(w, '\t'); break;
        case 'u':
            at = decode_unicode(at, end, w);
            if (at == NULL) return TT_EINVAL;
            continue;
        default: tt_write_char(w, (char)*at); break; /* quote, backslash, slash */
        }
        at++;
    }
    return TT_OK;
}

bool tt_json_string_is(const struct tt_json_value *string, const char *text)
{
    struct tt_bytes raw = tt_bytes(string->text.data + 1, string->text.size - 2);
    if (!string->escaped) return tt_bytes_is(raw, text);
    uint8_t decoded[64];
    struct tt_writer w = tt_writer(decoded, sizeof decoded);
    TT_ASSERT(strlen(text) < sizeof decoded);
    return tt_json_string_decode(string, &w) == TT_OK && !w.overflow &&
           tt_bytes_is(tt_writer_bytes(&w), text);
}

enum tt_status tt_json_to_i64(const struct tt_json_value *number, int64_t *value)
{
    if (number->kind != TT_JSON_NUMBER) return TT_EINVAL;
    struct tt_bytes digits = number->text;
    bool negative = digits.data[0] == '-';
    if (negative) digits = tt_bytes_from(digits, 1);
    uint64_t magnitude;
    if (tt_bytes_to_u64(digits, (uint64_t)INT64_MAX + negative, &magnitude) != TT_OK)
        return TT_EINVAL;
    /* -(magnitude - 1) - 1 reaches INT64_MIN without leaving the type on the way. */
    *value = negative && magnitude != 0 ? -(int64_t)(magnitude - 1) - 1 : (int64_t)magnitude;
    return TT_OK;
}

void tt_json_flatten(uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] == '\n' || text[i] == '\r') text[i] = ' ';
}
