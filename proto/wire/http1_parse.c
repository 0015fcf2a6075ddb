#include "proto/wire/http1_parse.h"

#include "proto/wire/percent.h"

/* RFC 9110 5.6.2: token characters; field-vchar and white space of 5.5; what may stand in a target
 * (RFC 9112 3.2; bytes from 0x80 on are let through, they are percent-encoded by careful clients
 * and mean the same here). '#' is in no target: a fragment is never sent. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };

static const uint8_t character_class[256] = {
#define ALWAYS (TOKEN | VALUE | TARGET)
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = ALWAYS | HOST,
    ['"'] = VALUE | TARGET,
    ['#'] = TOKEN | VALUE,
    ['$'] = ALWAYS | HOST,
    ['%'] = ALWAYS | HOST,
    ['&'] = ALWAYS | HOST,
    ['\''] = ALWAYS | HOST,
    ['('] = VALUE | TARGET | HOST,
    [')'] = VALUE | TARGET | HOST,
    ['*'] = ALWAYS | HOST,
    ['+'] = ALWAYS | HOST,
    [','] = VALUE | TARGET | HOST,
    ['-'] = ALWAYS | HOST,
    ['.'] = ALWAYS | HOST,
    ['/'] = VALUE | TARGET,
    ['0' ... '9'] = ALWAYS | HOST,
    [':'] = VALUE | TARGET,
    [';'] = VALUE | TARGET | HOST,
    ['<'] = VALUE | TARGET,
    ['='] = VALUE | TARGET | HOST,
    ['>'] = VALUE | TARGET,
    ['?'] = VALUE | TARGET,
    ['@'] = VALUE | TARGET,
    ['A' ... 'Z'] = ALWAYS | HOST,
    ['['] = VALUE | TARGET,
    ['\\'] = VALUE | TARGET,
    [']'] = VALUE | TARGET,
    ['^'] = ALWAYS,
    ['_'] = ALWAYS | HOST,
    ['`'] = ALWAYS,
    ['a' ... 'z'] = ALWAYS | HOST,
    ['{'] = VALUE | TARGET,
    ['|'] = ALWAYS,
    ['}'] = VALUE | TARGET,
    ['~'] = ALWAYS | HOST,
    [0x80 ... 0xFF] = VALUE | TARGET,
#undef ALWAYS
};

/* The number of bytes from the start that are of the class. */
static size_t span(struct tt_bytes b, uint8_t wanted)
{
    size_t n = 0;
    while (n < b.size && (character_class[b.data[n]] & wanted) != 0) n++;
    return n;
}

static enum tt_status fail(struct tt_http1_error *error, unsigned status, const char *text)
{
    error->status = status;
    error->text = text;
    return TT_EPROTO;
}

static struct tt_bytes trim(struct tt_bytes b)
{
    while (b.size != 0 && (b.data[0] == ' ' || b.data[0] == '\t')) b = tt_bytes_from(b, 1);
    while (b.size != 0 && (b.data[b.size - 1] == ' ' || b.data[b.size - 1] == '\t')) b.size--;
    return b;
}

/* ---- the lines ---- */

static enum tt_status line_too_long(const struct tt_http1_progress *p, struct tt_http1_error *error)
{
    /* RFC 9110 15.5.15 and RFC 6585 section 5. */
    if (p->lines_ == 0) return fail(error, 414, "the request line is longer than allowed");
    return fail(error, 431, "a header field is longer than allowed");
}

/* One line was found to end at `lf`. TT_END: it was the empty line behind the head. */
static enum tt_status line_done(struct tt_bytes input, size_t lf,
                                const struct tt_http1_limits *limits, uint32_t fields_max,
                                struct tt_http1_progress *p, struct tt_http1_error *error)
{
    /* RFC 9112 2.2: a line ends with CRLF; a bare LF may be taken for one, and is where parsers
     * come to differ. */
    if (lf == p->line_start_ || input.data[lf - 1] != '\r')
        return fail(error, 400, "a line ends with LF alone instead of CRLF");
    size_t bytes = lf - 1 - p->line_start_;
    if (bytes > limits->line_bytes_max) return line_too_long(p, error);
    bool first = p->lines_ == 0;
    if (bytes == 0 && first && p->line_start_ != 0)
        return fail(error, 400, "more than one empty line stands before the request line");
    p->line_start_ = (uint32_t)lf + 1;
    if (bytes == 0) return first ? TT_OK : TT_END; /* RFC 9112 2.2: one empty line is ignored */
    if (++p->lines_ > fields_max + 1) return fail(error, 431, "more header fields than allowed");
    return TT_OK;
}

/* Looks for the end of the head in what is new. TT_OK: p->line_start_ is behind it. */
static enum tt_status find_end(struct tt_bytes input, const struct tt_http1_limits *limits,
                               uint32_t fields_max, struct tt_http1_progress *p,
                               struct tt_http1_error *error)
{
    size_t size = input.size <= limits->head_bytes_max ? input.size : limits->head_bytes_max;
    while (p->scanned_ < size) {
        const uint8_t *lf = memchr(input.data + p->scanned_, '\n', size - p->scanned_);
        if (lf == NULL) break;
        p->scanned_ = (uint32_t)(lf - input.data) + 1;
        enum tt_status status = line_done(input, p->scanned_ - 1, limits, fields_max, p, error);
        if (status == TT_END) return TT_OK;
        if (status != TT_OK) return status;
    }
    p->scanned_ = (uint32_t)size;
    /* Not HTTP at all (a TLS hello, say) is told at once, not when the time is up. */
    if (p->lines_ == 0 && p->line_start_ < size && input.data[p->line_start_] != '\r' &&
        (character_class[input.data[p->line_start_]] & TOKEN) == 0)
        return fail(error, 400, "this does not begin like an HTTP request");
    if (size - p->line_start_ > (size_t)limits->line_bytes_max + 1) return line_too_long(p, error);
    if (input.size < limits->head_bytes_max) return TT_MORE;
    if (p->lines_ == 0) return line_too_long(p, error);
    return fail(error, 431, "the request's head is larger than allowed");
}

/* Takes the next line without its CRLF off a complete head. */
static struct tt_bytes next_line(struct tt_bytes *rest)
{
    const uint8_t *lf = memchr(rest->data, '\n', rest->size);
    size_t bytes = (size_t)(lf - rest->data) - 1;
    struct tt_bytes line = tt_bytes(rest->data, bytes);
    *rest = tt_bytes_from(*rest, bytes + 2);
    return line;
}

/* ---- the request line: RFC 9112 section 3 ---- */

static const struct {
    const char *name;
    enum tt_http1_method method;
} methods[] = {
    {"GET", TT_HTTP1_GET},     {"HEAD", TT_HTTP1_HEAD},     {"POST", TT_HTTP1_POST},
    {"PUT", TT_HTTP1_PUT},     {"DELETE", TT_HTTP1_DELETE}, {"OPTIONS", TT_HTTP1_OPTIONS},
    {"PATCH", TT_HTTP1_PATCH}, {"TRACE", TT_HTTP1_TRACE},
};

static enum tt_status parse_version(struct tt_bytes text, struct tt_http1_head *head,
                                    struct tt_http1_error *error)
{
    /* RFC 9112 2.3: case-sensitive, one digit each. */
    if (text.size != 8 || memcmp(text.data, "HTTP/", 5) != 0 || text.data[5] < '0' ||
        text.data[5] > '9' || text.data[6] != '.' || text.data[7] < '0' || text.data[7] > '9')
        return fail(error, 400, "the request line does not end in HTTP/1.1");
    if (text.data[5] != '1') /* RFC 9110 15.6.6 */
        return fail(error, 505, "only HTTP/1.0 and HTTP/1.1 are understood here");
    head->minor = text.data[7] == '0' ? 0 : 1; /* RFC 9110 2.5: higher minors are compatible */
    return TT_OK;
}

/* Bytes of "http://" or "https://" at the start, or 0 (RFC 9110 4.2; schemes have no case). */
static size_t scheme_bytes(struct tt_bytes target)
{
    if (target.size > 7 && tt_bytes_is_nocase(tt_bytes(target.data, 7), "http://")) return 7;
    if (target.size > 8 && tt_bytes_is_nocase(tt_bytes(target.data, 8), "https://")) return 8;
    return 0;
}

/* RFC 9112 3.2: origin-form, absolute-form (its authority goes to head->host), asterisk-form. */
static enum tt_status parse_target(struct tt_http1_head *head, struct tt_http1_error *error)
{
    struct tt_bytes rest = head->target;
    if (tt_bytes_is(rest, "*")) {
        if (head->method != TT_HTTP1_OPTIONS)
            return fail(error, 400, "the target * goes with OPTIONS only");
        head->path = rest;
        return TT_OK;
    }
    size_t scheme = scheme_bytes(rest);
    if (scheme != 0) {
        rest = tt_bytes_from(rest, scheme);
        size_t n = 0;
        while (n < rest.size && rest.data[n] != '/' && rest.data[n] != '?') n++;
        head->host = tt_bytes(rest.data, n);
        rest = tt_bytes_from(rest, n);
    } else if (rest.data[0] != '/') {
        return fail(error, 400, "the target is neither a path nor an http URL");
    }
    const uint8_t *mark = rest.size == 0 ? NULL : memchr(rest.data, '?', rest.size);
    size_t path_bytes = mark == NULL ? rest.size : (size_t)(mark - rest.data);
    head->path = path_bytes == 0 ? TT_BYTES_LITERAL("/") : tt_bytes(rest.data, path_bytes);
    if (mark != NULL) head->query = tt_bytes_from(rest, path_bytes + 1);
    return TT_OK;
}

static enum tt_status parse_request_line(struct tt_bytes line, struct tt_http1_head *head,
                                         struct tt_http1_error *error)
{
    /* Single spaces only: RFC 9112 3 lets a server split at any white space, which is another way
     * for parsers to differ. */
    size_t method_bytes = span(line, TOKEN);
    head->method_text = tt_bytes(line.data, method_bytes);
    if (method_bytes == 0 || method_bytes == line.size || line.data[method_bytes] != ' ')
        return fail(error, 400, "the request line does not begin with a method and one space");
    struct tt_bytes rest = tt_bytes_from(line, method_bytes + 1);
    size_t target_bytes = span(rest, TARGET);
    head->target = tt_bytes(rest.data, target_bytes);
    if (target_bytes == 0 || target_bytes == rest.size || rest.data[target_bytes] != ' ')
        return fail(error, 400, "the request line has no target, or one with a forbidden byte");
    enum tt_status status = parse_version(tt_bytes_from(rest, target_bytes + 1), head, error);
    if (status != TT_OK) return status;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (tt_bytes_is(head->method_text, methods[i].name)) head->method = methods[i].method;
    if (head->method == 0) /* RFC 9110 9.1; CONNECT too: this is no proxy */
        return fail(error, 501, "the method is not known here");
    return parse_target(head, error);
}

/* ---- header fields: RFC 9112 section 5 ---- */

static const char *const known_names[TT_HTTP1_KNOWN_COUNT] = {
    [TT_HTTP1_OTHER] = "",
    [TT_HTTP1_HOST] = "host",
    [TT_HTTP1_CONTENT_LENGTH] = "content-length",
    [TT_HTTP1_TRANSFER_ENCODING] = "transfer-encoding",
    [TT_HTTP1_EXPECT] = "expect",
    [TT_HTTP1_CONNECTION] = "connection",
    [TT_HTTP1_CONTENT_TYPE] = "content-type",
    [TT_HTTP1_CONTENT_ENCODING] = "content-encoding",
    [TT_HTTP1_ORIGIN] = "origin",
    [TT_HTTP1_ACCEPT] = "accept",
    [TT_HTTP1_AUTHORIZATION] = "authorization",
    [TT_HTTP1_COOKIE] = "cookie",
    [TT_HTTP1_LAST_EVENT_ID] = "last-event-id",
    [TT_HTTP1_IDEMPOTENCY_KEY] = "idempotency-key",
    [TT_HTTP1_ACCESS_CONTROL_REQUEST_METHOD] = "access-control-request-method",
    [TT_HTTP1_ACCESS_CONTROL_REQUEST_HEADERS] = "access-control-request-headers",
    [TT_HTTP1_RANGE] = "range",
    [TT_HTTP1_IF_NONE_MATCH] = "if-none-match",
    [TT_HTTP1_UPGRADE] = "upgrade",
};

static enum tt_http1_known known_of(struct tt_bytes name)
{
    for (unsigned i = 1; i < TT_HTTP1_KNOWN_COUNT; i++)
        if (tt_bytes_is_nocase(name, known_names[i])) return (enum tt_http1_known)i;
    return TT_HTTP1_OTHER;
}

/* Fields of which a second one would mean two different things (RFC 9110 5.3: only lists may be
 * repeated). Expect, Connection, Accept, Cookie and unknown ones may come again. */
static const char *repeated_text(enum tt_http1_known known)
{
    switch (known) {
    case TT_HTTP1_HOST: return "Host is given twice";
    case TT_HTTP1_CONTENT_LENGTH: return "Content-Length is given twice";
    case TT_HTTP1_TRANSFER_ENCODING: return "Transfer-Encoding is given twice";
    case TT_HTTP1_CONTENT_TYPE: return "Content-Type is given twice";
    case TT_HTTP1_ORIGIN: return "Origin is given twice";
    case TT_HTTP1_AUTHORIZATION: return "Authorization is given twice";
    case TT_HTTP1_IDEMPOTENCY_KEY: return "Idempotency-Key is given twice";
    case TT_HTTP1_OTHER:
    case TT_HTTP1_EXPECT:
    case TT_HTTP1_CONNECTION:
    case TT_HTTP1_CONTENT_ENCODING:
    case TT_HTTP1_ACCEPT:
    case TT_HTTP1_COOKIE:
    case TT_HTTP1_LAST_EVENT_ID:
    case TT_HTTP1_ACCESS_CONTROL_REQUEST_METHOD:
    case TT_HTTP1_ACCESS_CONTROL_REQUEST_HEADERS:
    case TT_HTTP1_RANGE:
    case TT_HTTP1_IF_NONE_MATCH:
    case TT_HTTP1_UPGRADE:
    case TT_HTTP1_KNOWN_COUNT: return NULL;
    }
    return NULL;
}

static enum tt_status parse_field(struct tt_bytes line, struct tt_http1_head *head,
                                  struct tt_http1_error *error)
{
    if (line.data[0] == ' ' || line.data[0] == '\t') /* RFC 9112 2.2, 5.2 */
        return fail(error, 400, "a header line begins with white space (folding is obsolete)");
    size_t name_bytes = span(line, TOKEN);
    if (name_bytes == 0 || name_bytes == line.size || line.data[name_bytes] != ':')
        return fail(error, 400, "a header field's name is not a token directly before the colon");
    struct tt_http1_field *field = &head->fields[head->fields_count];
    field->name = tt_bytes(line.data, name_bytes);
    struct tt_bytes value = tt_bytes_from(line, name_bytes + 1);
    if (span(value, VALUE) != value.size) /* RFC 9110 5.5: CR, NUL and other controls */
        return fail(error, 400, "a header field's value holds a control character");
    field->value = trim(value);
    field->known = known_of(field->name);
    head->fields_count++;
    if (field->known == TT_HTTP1_OTHER) return TT_OK;
    if (head->known[field->known].data != NULL) {
        const char *text = repeated_text(field->known);
        return text == NULL ? TT_OK : fail(error, 400, text);
    }
    head->known[field->known] = field->value;
    return TT_OK;
}

/* RFC 9110 7.2, RFC 3986 3.2.2: host [":" port], the host a name, an IPv4 or a bracketed address.
 */
static bool host_is_valid(struct tt_bytes host)
{
    size_t n = 0;
    if (host.size != 0 && host.data[0] == '[') {
        for (n = 1; n < host.size && host.data[n] != ']'; n++)
            if (tt_hex_value(host.data[n]) < 0 && host.data[n] != ':' && host.data[n] != '.')
                return false;
        if (n < 3 || n == host.size) return false;
        n++;
    } else {
        n = span(host, HOST);
    }
    if (n == 0) return false;
    if (n == host.size) return true;
    if (host.data[n] != ':') return false;
    struct tt_bytes port = tt_bytes_from(host, n + 1);
    uint64_t number;
    return port.size == 0 || tt_bytes_to_u64(port, 65535, &number) == TT_OK;
}

/* RFC 9112 3.2, 3.2.2. */
static enum tt_status check_host(struct tt_http1_head *head, struct tt_http1_error *error)
{
    bool absolute = head->host.data != NULL;
    struct tt_bytes host = head->known[TT_HTTP1_HOST];
    if (host.data == NULL) {
        if (head->minor >= 1) return fail(error, 400, "Host is missing");
        if (absolute && !host_is_valid(head->host))
            return fail(error, 400, "the target's authority is not a host and port");
        return TT_OK;
    }
    if (!host_is_valid(host)) return fail(error, 400, "Host is not a host and port");
    if (absolute && !tt_bytes_equal_nocase(host, head->host))
        return fail(error, 400, "the target names another authority than Host");
    head->host = host;
    return TT_OK;
}

/* ---- what the fields mean for the connection ---- */

/* RFC 9112 6.1, 7: chunked alone is understood. The registered compressions are honest requests for
 * something that is not built (501); anything else cannot be told from an attack (400). */
static enum tt_status check_codings(struct tt_bytes list, struct tt_http1_error *error)
{
    static const char *const registered[] = {"gzip", "x-gzip", "deflate", "compress", "x-compress"};
    struct tt_bytes coding;
    bool chunked = false, compressed = false;
    while (tt_http1_list_next(&list, &coding)) {
        bool is_registered = false;
        for (size_t i = 0; i < sizeof registered / sizeof *registered; i++)
            is_registered |= tt_bytes_is_nocase(coding, registered[i]);
        if (chunked) return fail(error, 400, "chunked is not the last transfer coding");
        if (tt_bytes_is_nocase(coding, "chunked")) {
            chunked = true;
        } else if (is_registered && !compressed) {
            compressed = true;
        } else {
            return fail(error, 400, "Transfer-Encoding names an unknown or repeated coding");
        }
    }
    if (!chunked) return fail(error, 400, "the last transfer coding of a request must be chunked");
    if (compressed) return fail(error, 501, "the only transfer coding here is chunked");
    return TT_OK;
}

/* RFC 9112 6.3. */
static enum tt_status check_framing(struct tt_http1_head *head, struct tt_http1_error *error)
{
    struct tt_bytes codings = head->known[TT_HTTP1_TRANSFER_ENCODING];
    struct tt_bytes length = head->known[TT_HTTP1_CONTENT_LENGTH];
    if (codings.data != NULL) {
        if (length.data != NULL)
            return fail(error, 400, "both Content-Length and Transfer-Encoding are given");
        if (head->minor == 0) /* RFC 9112 6.1: faulty framing */
            return fail(error, 400, "Transfer-Encoding does not belong into HTTP/1.0");
        head->framing = TT_HTTP1_CHUNKED;
        return check_codings(codings, error);
    }
    if (length.data == NULL) return TT_OK;
    for (size_t i = 0; i < length.size; i++) /* RFC 9110 8.6: digits; a list of them is ambiguous */
        if (length.data[i] < '0' || length.data[i] > '9')
            return fail(error, 400, "Content-Length is not a number");
    if (length.size == 0) return fail(error, 400, "Content-Length is not a number");
    if (tt_bytes_to_u64(length, INT64_MAX, &head->content_length) != TT_OK)
        return fail(error, 413, "Content-Length is larger than any body can be");
    head->framing = TT_HTTP1_COUNTED;
    return TT_OK;
}

static enum tt_status check_expect_and_connection(struct tt_http1_head *head,
                                                  struct tt_http1_error *error)
{
    bool close = false, keep_alive = false;
    for (uint32_t i = 0; i < head->fields_count; i++) {
        const struct tt_http1_field *field = &head->fields[i];
        struct tt_bytes list = field->value, element;
        if (field->known == TT_HTTP1_CONNECTION) {
            while (tt_http1_list_next(&list, &element)) {
                close |= tt_bytes_is_nocase(element, "close");
                keep_alive |= tt_bytes_is_nocase(element, "keep-alive");
            }
        } else if (field->known == TT_HTTP1_EXPECT && head->minor >= 1) {
            /* RFC 9110 10.1.1: of HTTP/1.0 it is ignored; any other expectation is 417. */
            while (tt_http1_list_next(&list, &element)) {
                if (!tt_bytes_is_nocase(element, "100-continue"))
                    return fail(error, 417, "the only expectation that is met is 100-continue");
                head->expect_continue = true;
            }
        }
    }
    /* RFC 9110 10.1.1: nothing to wait for without a body. */
    if (head->framing == TT_HTTP1_NO_BODY ||
        (head->framing == TT_HTTP1_COUNTED && head->content_length == 0))
        head->expect_continue = false;
    head->keep_alive = !close && (head->minor >= 1 || keep_alive); /* RFC 9112 9.3 */
    return TT_OK;
}

enum tt_status tt_http1_parse(struct tt_bytes input, const struct tt_http1_limits *limits,
                              struct tt_http1_progress *progress, struct tt_http1_head *head,
                              size_t *used, struct tt_http1_error *error)
{
    uint32_t fields_max =
        limits->fields_max < TT_HTTP1_FIELDS_MAX ? limits->fields_max : TT_HTTP1_FIELDS_MAX;
    enum tt_status status = find_end(input, limits, fields_max, progress, error);
    if (status != TT_OK) return status;

    memset(head, 0, offsetof(struct tt_http1_head, fields));
    *used = progress->line_start_;
    struct tt_bytes rest = tt_bytes(input.data, *used - 2);
    if (rest.data[0] == '\r' && rest.data[1] == '\n')
        rest = tt_bytes_from(rest, 2); /* the empty line before it */
    status = parse_request_line(next_line(&rest), head, error);
    while (status == TT_OK && rest.size != 0) status = parse_field(next_line(&rest), head, error);
    if (status == TT_OK) status = check_host(head, error);
    if (status == TT_OK) status = check_framing(head, error);
    if (status == TT_OK) status = check_expect_and_connection(head, error);
    return status;
}

/* ---- values ---- */

bool tt_http1_list_next(struct tt_bytes *list, struct tt_bytes *element)
{
    while (list->size != 0) {
        size_t n = 0;
        bool quoted = false;
        for (; n < list->size && (quoted || list->data[n] != ','); n++) {
            if (list->data[n] == '"') {
                quoted = !quoted;
            } else if (quoted && list->data[n] == '\\' && n + 1 < list->size) {
                n++; /* RFC 9110 5.6.4: quoted-pair */
            }
        }
        *element = trim(tt_bytes(list->data, n));
        *list = tt_bytes_from(*list, n < list->size ? n + 1 : n);
        if (element->size != 0) return true;
    }
    return false;
}

struct tt_bytes tt_http1_media_type(struct tt_bytes value)
{
    const uint8_t *semicolon = value.size == 0 ? NULL : memchr(value.data, ';', value.size);
    if (semicolon != NULL) value.size = (size_t)(semicolon - value.data);
    return trim(value);
}

/* RFC 9110 12.4.2: whether the parameters say q=0 ("q=0", "q=0.", up to "q=0.000"). */
static bool weight_is_zero(struct tt_bytes parameters)
{
    while (parameters.size != 0) {
        struct tt_bytes one = tt_http1_media_type(parameters);
        const uint8_t *semicolon = memchr(parameters.data, ';', parameters.size);
        parameters = semicolon == NULL
                         ? TT_BYTES_NONE
                         : tt_bytes_from(parameters, (size_t)(semicolon - parameters.data) + 1);
        if (one.size < 3 || (one.data[0] != 'q' && one.data[0] != 'Q') || one.data[1] != '=')
            continue;
        bool zero = true;
        for (size_t i = 2; i < one.size; i++) zero &= one.data[i] == '0' || one.data[i] == '.';
        return zero;
    }
    return false;
}

bool tt_http1_accepts(const struct tt_http1_head *head, const char *media_type)
{
    for (uint32_t i = 0; i < head->fields_count; i++) {
        if (head->fields[i].known != TT_HTTP1_ACCEPT) continue;
        struct tt_bytes list = head->fields[i].value, element;
        while (tt_http1_list_next(&list, &element)) {
            struct tt_bytes type = tt_http1_media_type(element);
            if (!tt_bytes_is_nocase(type, media_type)) continue;
            const uint8_t *semicolon = memchr(element.data, ';', element.size);
            if (semicolon == NULL) return true;
            if (!weight_is_zero(tt_bytes_from(element, (size_t)(semicolon - element.data) + 1)))
                return true;
        }
    }
    return false;
}

enum tt_status tt_http1_decode_path(struct tt_bytes path, struct tt_writer *w)
{
    size_t start = w->size;
    enum tt_status status = tt_percent_decode(path, false, w);
    struct tt_bytes decoded = tt_bytes(w->data + start, w->size - start);
    if (status != TT_OK || w->overflow || !tt_bytes_is_utf8(decoded)) return TT_EINVAL;
    return decoded.size != 0 && memchr(decoded.data, 0, decoded.size) != NULL ? TT_EINVAL : TT_OK;
}
