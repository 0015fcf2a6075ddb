#include "proto/wire/envelope.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/base/limits.h"
#include "proto/event/channel.h"
#include "tests/unit/guard.h"

#define TAKEN_US 1732558200123456

static struct tt_event event;
static struct tt_envelope_error error;

static enum tt_status parse(const char *text)
{
    struct tt_bytes copy = guard_copy(0, tt_bytes_text(text));
    memset(&error, 0, sizeof error);
    return tt_envelope_parse((uint8_t *)copy.data, copy.size, 262144, TAKEN_US, &event, &error);
}

static void accepts(const char *text)
{
    cr_assert_eq(parse(text), TT_OK, "%s: %s", text, error.message);
}

/* Refused with 400; field (null: none) and every word of `says` stand in the answer. */
static void refuses(const char *text, const char *code, const char *field, const char *says)
{
    cr_assert_eq(parse(text), TT_EINVAL, "%s", text);
    cr_assert_eq(error.status, 400);
    cr_assert_str_eq(error.code, code, "%s: %s: %s", text, error.code, error.message);
    if (field == NULL) {
        cr_assert_null(error.field);
    } else {
        cr_assert_not_null(error.field, "%s: %s", text, error.message);
        cr_assert_str_eq(error.field, field);
        cr_assert_not_null(strstr(error.message, field), "%s", error.message);
    }
    cr_assert_not_null(strstr(error.message, says), "%s: %s", text, error.message);
    cr_assert(tt_bytes_is_utf8(tt_bytes_text(error.message)));
}

static void is(struct tt_bytes bytes, const char *text)
{
    cr_assert(tt_bytes_is(bytes, text), "\"%.*s\" instead of \"%s\"", (int)bytes.size,
              (const char *)bytes.data, text);
}

Test(envelope, channel_alone_is_enough)
{
    accepts("{\"channel\":\"a\"}");
    is(event.channel, "a");
    is(event.type, "message");
    is(event.payload, "null");
    cr_assert_eq(event.headers.size, 0);
    cr_assert_eq(event.flags, 0);
    cr_assert_eq(event.taken_us, TAKEN_US);
    cr_assert_eq(event.timestamp_ms, TAKEN_US / 1000);
}

Test(envelope, everything)
{
    accepts(" {\"type\" : \"update\",\"channel\":\"stock.AAPL\", \"payload\":{\"a\": [1, 2]},"
            "\"timestamp\":17,\"conflate\":false,\"headers\":{\"k\":\"v\"},\"unknown\":[{}]} ");
    is(event.type, "update");
    is(event.payload, "{\"a\": [1, 2]}");
    is(event.headers, "{\"k\":\"v\"}");
    cr_assert_eq(event.timestamp_ms, 17);
    cr_assert_eq(event.taken_us, TAKEN_US);
    cr_assert_eq(event.flags, TT_EVENT_NEVER_CONFLATE | TT_EVENT_TIMESTAMP_GIVEN);
}

Test(envelope, synonyms_and_escapes)
{
    accepts("{\"chan\\u006eel\":\"\\u0061\\u00e4\\ud83d\\ude00\",\"eventType\":\"\\u0078y\","
            "\"data\":\"\\u0041\\n\"}");
    is(event.channel, "a\xC3\xA4\xF0\x9F\x98\x80");
    is(event.type, "xy");
    is(event.payload, "\"\\u0041\\n\""); /* byte for byte */
}

Test(envelope, payloads_of_every_kind_are_kept_byte_for_byte)
{
    static const char *const payloads[] = {
        "null",
        "true",
        "false",
        "-1.50e+10",
        "\"\\u0000\\ud800 \xE2\x80\xA8\"",
        "[]",
        "{}",
        "[ 1 ]",
        "{\"a\":1,\"a\":2}",
        "123456789012345678901234567890",
        "\"\"",
        "0",
        "[[[]]]",
        "{ \"x\" :\t\"\\/\" }",
    };
    char text[200];
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        (void)snprintf(text, sizeof text, "{\"payload\": %s ,\"channel\":\"a\"}", payloads[i]);
        accepts(text);
        is(event.payload, payloads[i]);
    }
}

Test(envelope, line_breaks_between_tokens_become_spaces)
{
    accepts("{\r\n\"channel\":\n\"a\",\n\"payload\":\r\n{\r\n\t\"a\":\n[1,\r2]\n}\r\n,"
            "\"headers\":{\n\"k\":\n\"v\"}}\n");
    is(event.payload, "{  \t\"a\": [1, 2] }");
    is(event.headers, "{ \"k\": \"v\"}");
}

Test(envelope, delete_and_base64)
{
    accepts("{\"channel\":\"a\",\"op\":\"delete\"}");
    is(event.payload, "null");
    cr_assert_eq(event.flags, TT_EVENT_OP_DELETE);
    accepts("{\"channel\":\"a\",\"op\":\"delete\",\"payload\":null}");
    accepts("{\"channel\":\"a\",\"encoding\":\"base64\",\"payload\":\"AB+/\"}");
    is(event.payload, "\"AB+/\"");
    cr_assert_eq(event.flags, TT_EVENT_BINARY);
    accepts("{\"encoding\":\"base64\",\"payload\":\"AB\\/\\u0041AA==\",\"channel\":\"a\"}");
    is(event.payload, "\"AB/AAA==\"");
    is(event.channel, "a");
    accepts("{\"channel\":\"a\",\"encoding\":\"base64\",\"payload\":\"\"}");
    accepts("{\"channel\":\"a\",\"headers\":{},\"conflate\":true}");
    cr_assert_eq(event.headers.size, 0);
    cr_assert_eq(event.flags, 0);
}

Test(envelope, errors_name_field_value_and_what_is_allowed)
{
    refuses("{}", "missing_field", "channel", "must be a string");
    refuses("{\"channel\":7}", "invalid_field", "channel", "channel 7: must be a string");
    refuses("{\"channel\":\"a b\"}", "invalid_field", "channel", "\"a b\"");
    refuses("{\"channel\":\"\"}", "invalid_field", "channel", "\"\"");
    refuses("{\"channel\":\"a*\"}", "invalid_field", "channel", "\"a*\"");
    refuses("{\"channel\":\"a\\u0000b\"}", "invalid_field", "channel", "control");
    refuses("{\"channel\":\"\\ud800\"}", "invalid_field", "channel", "surrogate");
    refuses("{\"channel\":\"a\",\"type\":null}", "invalid_field", "type", "must be a string");
    refuses("{\"channel\":\"a\",\"type\":\"a b\"}", "invalid_field", "type", "\"a b\"");
    refuses("{\"channel\":\"a\",\"eventType\":\"\"}", "invalid_field", "eventType", "\"\"");
    refuses("{\"channel\":\"a\",\"timestamp\":1.5}", "invalid_field", "timestamp", "1.5");
    refuses("{\"channel\":\"a\",\"timestamp\":-1}", "invalid_field", "timestamp", "milliseconds");
    refuses("{\"channel\":\"a\",\"timestamp\":\"1\"}", "invalid_field", "timestamp", "\"1\"");
    refuses("{\"channel\":\"a\",\"timestamp\":8640000000000001}", "invalid_field", "timestamp",
            "8640000000000000");
    refuses("{\"channel\":\"a\",\"conflate\":0}", "invalid_field", "conflate", "true or false");
    refuses("{\"channel\":\"a\",\"op\":\"drop\"}", "invalid_field", "op", "\"delete\"");
    refuses("{\"channel\":\"a\",\"op\":\"delete\",\"data\":1}", "invalid_field", "data", "null");
    refuses("{\"channel\":\"a\",\"encoding\":\"hex\",\"payload\":\"\"}", "invalid_field",
            "encoding", "base64");
    refuses("{\"channel\":\"a\",\"encoding\":\"base64\"}", "invalid_field", "encoding", "string");
    refuses("{\"channel\":\"a\",\"encoding\":\"base64\",\"payload\":1}", "invalid_field",
            "encoding", "string");
    static const char *const not_base64[] = {
        "A", "AB", "AB=", "A===", "AB==CD==", "AB_-", "AB C", "=", "ABC\\u00e4"};
    for (size_t i = 0; i < sizeof not_base64 / sizeof *not_base64; i++) {
        char text[120];
        (void)snprintf(text, sizeof text,
                       "{\"channel\":\"a\",\"encoding\":\"base64\",\"payload\":\"%s\"}",
                       not_base64[i]);
        refuses(text, "invalid_field", "payload", "base64");
    }
    refuses("{\"channel\":\"a\",\"headers\":[]}", "invalid_field", "headers", "object");
    refuses("{\"channel\":\"a\",\"headers\":{\"a\":1}}", "invalid_field", "headers", "string");
}

Test(envelope, members_given_twice)
{
    refuses("{\"channel\":\"a\",\"channel\":\"a\"}", "invalid_field", "channel", "twice");
    refuses("{\"channel\":\"a\",\"type\":\"x\",\"eventType\":\"x\"}", "invalid_field", "eventType",
            "synonym type");
    refuses("{\"channel\":\"a\",\"data\":1,\"payload\":1}", "invalid_field", "payload",
            "synonym data");
}

Test(envelope, reserved_types)
{
    static const char *const names[] = {"connected",      "snapshot-end", "resync", "gap",  "feed",
                                        "token-expiring", "shutdown",     "ping",   "error"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "{\"channel\":\"a\",\"type\":\"%s\"}", names[i]);
        refuses(text, "reserved_type", "type", names[i]);
    }
    refuses("{\"channel\":\"a\",\"type\":\"\\u0067ap\"}", "reserved_type", "type", "gap");
    accepts("{\"channel\":\"a\",\"type\":\"Error\"}");
}

Test(envelope, what_is_not_an_envelope)
{
    refuses("", "invalid_json", NULL, "byte 0");
    refuses("hello", "invalid_json", NULL, "byte 0");
    refuses("{\"channel\":\"a\"", "invalid_json", NULL, "byte 14");
    refuses("{\"channel\":\"a\"} x", "invalid_json", NULL, "byte 16");
    refuses("{\"channel\":\"a\",}", "invalid_json", NULL, "byte 15");
    refuses("{\"channel\":\"a\",\"payload\":01}", "invalid_json", NULL, "leading zero");
    refuses("{\"channel\":\"a\",\"x\":\"\xFF\"}", "invalid_json", NULL, "UTF-8");
    refuses("[1]", "invalid_envelope", NULL, "[1]");
    refuses("\"x\"", "invalid_envelope", NULL, "must be a JSON object");
}

Test(envelope, long_values_are_cut_in_messages_at_a_character)
{
    char text[600] = "{\"channel\":\"a\",\"timestamp\":\"x";
    for (int i = 0; i < 200; i++) strcat(text, "\xC3\xA4");
    strcat(text, "\"}");
    refuses(text, "invalid_field", "timestamp", "...");
    cr_assert(strlen(error.message) < 200);
}

static const char *with_headers(unsigned count, size_t value_bytes)
{
    static char text[80000];
    char *to = text + sprintf(text, "{\"channel\":\"a\",\"headers\":{");
    for (unsigned i = 0; i < count; i++) {
        to += sprintf(to, "%s\"h%u\":\"", i == 0 ? "" : ",", i);
        memset(to, 'v', value_bytes);
        to += value_bytes;
        *to++ = '"';
    }
    strcpy(to, "}}");
    return text;
}

Test(envelope, limits)
{
    accepts(with_headers(TT_HEADERS_MAX, 10));
    refuses(with_headers(TT_HEADERS_MAX + 1, 10), "invalid_field", "headers", "32");
    accepts(with_headers(1, TT_HEADERS_BYTES_MAX - strlen("{\"h0\":\"\"}")));
    refuses(with_headers(1, TT_HEADERS_BYTES_MAX - strlen("{\"h0\":\"\"}") + 1), "invalid_field",
            "headers", "4096");

    struct tt_bytes copy =
        guard_copy(0, TT_BYTES_LITERAL("{\"channel\":\"a\",\"payload\":\"12\"}"));
    /* a, message, "12" */
    cr_assert_eq(tt_envelope_parse((uint8_t *)copy.data, copy.size, 12, 0, &event, &error), TT_OK);
    cr_assert_eq(tt_envelope_parse((uint8_t *)copy.data, copy.size, 11, 0, &event, &error),
                 TT_EINVAL);
    cr_assert_eq(error.status, 413);
    cr_assert_not_null(strstr(error.message, "12 bytes"), "%s", error.message);
    cr_assert_not_null(strstr(error.message, "at most 11"), "%s", error.message);
}

/* ---- arrays ---- */

static enum tt_status parse_array(const char *text, unsigned *count, const char *channels[])
{
    static char names[8][32];
    struct tt_bytes copy = guard_copy(0, tt_bytes_text(text));
    struct tt_envelope_array a;
    enum tt_status status;
    *count = 0;
    tt_envelope_array_begin(&a, (uint8_t *)copy.data, copy.size);
    while ((status = tt_envelope_array_next(&a, 1000, TAKEN_US, &event, &error)) == TT_OK) {
        (void)snprintf(names[*count], sizeof names[0], "%.*s", (int)event.channel.size,
                       (const char *)event.channel.data);
        channels[*count] = names[*count];
        cr_assert_eq(a.index, *count);
        ++*count;
    }
    return status;
}

Test(envelope, arrays)
{
    unsigned count;
    const char *channels[8];
    cr_assert_eq(
        parse_array(" [ {\"channel\":\"a\"} ,\n{\"channel\":\"\\u0062\"}] ", &count, channels),
        TT_END, "%s", error.message);
    cr_assert_eq(count, 2);
    cr_assert_str_eq(channels[0], "a");
    cr_assert_str_eq(channels[1], "b");
    cr_assert_eq(parse_array("[]", &count, channels), TT_END);
    cr_assert_eq(count, 0);
    cr_assert_eq(tt_envelope_peek((const uint8_t *)" \n[", 3), '[');
    cr_assert_eq(tt_envelope_peek((const uint8_t *)" \n", 2), -1);
}

Test(envelope, arrays_name_the_wrong_element)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[{\"channel\":\"a\"},{\"channel\":\"b c\"}]", "element 1: channel \"b c\""},
        {"[{\"channel\":\"a\"},7]", "element 1: an envelope must be a JSON object, not 7"},
        {"[{\"channel\":\"a\"},{\"channel\"}]", "element 1: not valid JSON at byte 27"},
        {"[{\"channel\":\"a\"},]", "element 1: not valid JSON at byte 17"},
        {"[{\"channel\":\"a\"}", "not valid JSON at byte 16"},
        {"[{\"channel\":\"a\"}] x", "not valid JSON at byte 18"},
        {"[{\"channel\":\"a\"} {\"channel\":\"a\"}]", "a comma or ]"},
        {"{}", "an array was expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned count;
        const char *channels[8];
        cr_assert_eq(parse_array(cases[i].text, &count, channels), TT_EINVAL, "%s", cases[i].text);
        cr_assert_not_null(strstr(error.message, cases[i].says), "%s: %s", cases[i].text,
                           error.message);
    }
}

/* ---- NDJSON ---- */

/* Lines as "<number>:<text>|", fed in pieces; the buffer drops what is done with if asked to. */
static void ndjson(const char *text, size_t piece, bool drop, size_t line_max, char *out,
                   enum tt_status expected)
{
    static uint8_t buffer[4096];
    struct tt_ndjson n = {0};
    size_t size = 0, fed = 0, total = strlen(text), at, bytes;
    enum tt_status status;
    out[0] = 0;
    do {
        size_t take = piece < total - fed ? piece : total - fed;
        memcpy(buffer + size, text + fed, take);
        fed += take;
        size += take;
        uint8_t *copy = (uint8_t *)guard_copy(0, tt_bytes(buffer, size)).data;
        while ((status = tt_ndjson_next(&n, copy, size, fed == total, line_max, &at, &bytes)) ==
               TT_OK)
            sprintf(out + strlen(out), "%u:%.*s|", (unsigned)n.line, (int)bytes, copy + at);
        if (drop) {
            size_t done = n.start;
            tt_ndjson_drop(&n, done);
            memmove(buffer, buffer + done, size - done);
            size -= done;
        }
    } while (status == TT_MORE);
    cr_assert_eq(status, expected, "%s", text);
    if (status == TT_ETOOBIG) sprintf(out + strlen(out), "%u!", (unsigned)n.line);
}

Test(ndjson, lines_in_pieces)
{
    static const struct {
        const char *text, *lines;
        enum tt_status status;
    } cases[] = {
        {"a\nbc\nd", "1:a|2:bc|3:d|", TT_END},
        {"a\nbc\n", "1:a|2:bc|", TT_END},
        {"a\r\nbc\r\n", "1:a|2:bc|", TT_END},
        {"\n\na\n \t\r\n\nb\n\n", "3:a|6:b|", TT_END},
        {"", "", TT_END},
        {"\n", "", TT_END},
        {"12345678\n123456789\n1", "1:12345678|2!", TT_ETOOBIG},
        {"12345678\r\n12345678", "1:12345678|2:12345678|", TT_END},
        {"123456789", "1!", TT_ETOOBIG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].text) + 1; piece++) {
            char out[200];
            ndjson(cases[i].text, piece, false, 8, out, cases[i].status);
            cr_assert_str_eq(out, cases[i].lines, "in pieces of %zu", piece);
            ndjson(cases[i].text, piece, true, 8, out, cases[i].status);
            cr_assert_str_eq(out, cases[i].lines, "in pieces of %zu, dropping", piece);
        }
    }
}

/* ---- outgoing ---- */

static const char *outgoing(const struct tt_placed_event *placed)
{
    static char text[2048];
    size_t bytes = tt_envelope_bytes(placed);
    struct tt_writer w = tt_writer(guard_room(1, bytes), bytes);
    tt_envelope_write(&w, placed);
    cr_assert_not(w.overflow);
    cr_assert_eq(w.size, bytes);
    memcpy(text, w.data, bytes);
    text[bytes] = 0;
    struct tt_json_value value;
    const char *wrong;
    cr_assert_eq(tt_json_check(tt_bytes_text(text), &value, &wrong, NULL), TT_OK, "%s", wrong);
    return text;
}

Test(envelope, outgoing_members_stand_in_order)
{
    struct tt_placed_event placed = {
        .event = {.channel = TT_BYTES_LITERAL("stock.AAPL"),
                  .type = TT_BYTES_LITERAL("update"),
                  .payload = TT_BYTES_LITERAL("{\"symbol\":\"AAPL\",\"price\":174.32}"),
                  .timestamp_ms = 1732558200000},
        .position = {.history = {"k7Qp2a"}, .partition = 0, .offset = 1042},
    };
    cr_assert_str_eq(outgoing(&placed),
                     "{\"type\":\"update\",\"channel\":\"stock.AAPL\",\"payload\":{\"symbol\":"
                     "\"AAPL\",\"price\":174.32},\"timestamp\":1732558200000,\"id\":"
                     "\"k7Qp2a-0-1042\"}");
    placed.event.flags = TT_EVENT_NEVER_CONFLATE | TT_EVENT_BINARY;
    placed.event.headers = TT_BYTES_LITERAL("{\"k\":\"v\"}");
    placed.event.payload = TT_BYTES_LITERAL("\"AA==\"");
    placed.event.timestamp_ms = 0;
    placed.position = (struct tt_position){{"AAAAAA"}, 1023, TT_OFFSET_MAX};
    cr_assert_str_eq(outgoing(&placed),
                     "{\"type\":\"update\",\"channel\":\"stock.AAPL\",\"payload\":\"AA==\","
                     "\"timestamp\":0,\"id\":\"AAAAAA-1023-9223372036854775806\","
                     "\"conflate\":false,\"headers\":{\"k\":\"v\"},\"encoding\":\"base64\"}");
    placed.event.flags = TT_EVENT_OP_DELETE;
    placed.event.headers = TT_BYTES_NONE;
    placed.event.payload = TT_BYTES_LITERAL("null");
    placed.event.timestamp_ms = -5;
    placed.event.channel = TT_BYTES_LITERAL("a\"b\\");
    placed.position = (struct tt_position){{"AAAAAA"}, 0, 0};
    cr_assert_str_eq(outgoing(&placed),
                     "{\"type\":\"update\",\"channel\":\"a\\\"b\\\\\",\"payload\":null,"
                     "\"timestamp\":-5,\"id\":\"AAAAAA-0-0\",\"op\":\"delete\"}");
}

/* ---- random damage ---- */

static unsigned seed = 31;

static unsigned random_below(unsigned limit)
{
    return (unsigned)rand_r(&seed) % limit;
}

/* Whatever is accepted leaves as one line of valid JSON, with a channel and a type that are
 * allowed. */
Test(envelope, what_is_accepted_leaves_valid)
{
    static const char *const seeds[] = {
        "{\"channel\":\"stock.AAPL\",\"type\":\"up\\u0064ate\",\"payload\":{\"a\":\n[1,2]},"
        "\"timestamp\":17,\"conflate\":false,\"headers\":{\"k\":\n\"v\"}}",
        "{\"data\":\"AB+\\/"
        "\",\"encoding\":\"base64\",\"channel\":\"\\u0061\\n\",\"op\":\"delete\"}",
        "{\"channel\":\"\\ud83d\\ude00\xC3\xA4\",\"eventType\":\"x\",\"payload\":"
        "\"\\ud800\\r\\n\"}",
    };
    static const char pieces[][8] = {"\"", "\\",  "\\u00", "\n", "\r",   "{",    "}",
                                     ",",  ":",   "[",     "]",  "null", "\xC3", "\xA4",
                                     "=",  "\\/", "0",     " ",  "\\n",  "\x01", "a"};
    unsigned accepted = 0;
    for (unsigned round = 0; round < 60000; round++) {
        char text[400];
        const char *from = seeds[random_below(3)];
        size_t size = strlen(from);
        memcpy(text, from, size);
        for (unsigned i = 0; i <= random_below(2); i++) {
            const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
            size_t at = random_below((unsigned)size), bytes = strlen(piece);
            if (random_below(2) == 0) {
                memmove(text + at, text + at + 1, size - at - 1);
                size--;
            } else {
                memmove(text + at + bytes, text + at, size - at);
                memcpy(text + at, piece, bytes);
                size += bytes;
            }
        }
        struct tt_bytes copy = guard_copy(0, tt_bytes(text, size));
        if (tt_envelope_parse((uint8_t *)copy.data, size, 262144, TAKEN_US, &event, &error) !=
            TT_OK) {
            cr_assert(error.status == 400 && error.message[0] != 0);
            cr_assert(tt_bytes_is_utf8(tt_bytes_text(error.message)));
            continue;
        }
        accepted++;
        struct tt_placed_event placed = {.event = event,
                                         .position = {.history = {"k7Qp2a"}, .offset = 1}};
        const char *out = outgoing(&placed); /* checks that it is valid JSON */
        cr_assert_null(strpbrk(out, "\r\n"), "%s", out);
        cr_assert_eq(tt_channel_check(event.channel, NULL), TT_OK);
        cr_assert_eq(tt_type_check(event.type, NULL), TT_OK);
    }
    cr_assert_gt(accepted, 1000);
}
