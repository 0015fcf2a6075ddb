/* Events as records to be produced: the way back of templates and kinds of values, what cannot be
 * said, and that a record mapped again gives the same event. */
#include <stdlib.h>

#include "tests/unit/kafka_rig.h"

static uint8_t room[TT_KAFKA_UNMAP_BYTES_MAX(EVENT_BYTES_MAX)];
static struct tt_writer unmapped;
static struct tt_kafka_record record;
static const char *why;

static struct tt_event given(const char *channel, const char *payload, uint32_t flags)
{
    return (struct tt_event){.channel = tt_bytes_text(channel),
                             .type = TT_BYTES_LITERAL("message"),
                             .payload = tt_bytes_text(payload),
                             .timestamp_ms = TIMESTAMP_MS,
                             .taken_us = TIMESTAMP_MS * 1000 + 456,
                             .flags = flags};
}

static enum tt_status unmap(const struct tt_event *e)
{
    unmapped = tt_writer(room, sizeof(room));
    why = NULL;
    return tt_kafka_unmap(&settings, e, &unmapped, &record, &why);
}

static void unmaps(struct tt_event e)
{
    cr_assert_eq(unmap(&e), TT_OK, "%s", why);
    cr_assert_eq(record.timestamp_ms, TIMESTAMP_MS);
}

static void refuses(struct tt_event e, const char *says)
{
    cr_assert_eq(unmap(&e), TT_EINVAL, "nothing was refused, but \"%s\" was expected", says);
    cr_assert(strstr(why, says) != NULL, "\"%s\" does not say \"%s\"", why, says);
    cr_assert_eq(unmapped.size, 0);
}

static void has_header(uint32_t i, const char *name, const char *value)
{
    cr_assert_lt(i, record.headers_count);
    cr_assert_str_eq(record.headers[i].name, name);
    is(tt_bytes(record.headers[i].value, record.headers[i].size), value);
}

/* ---- each part ---- */

Test(kafka_unmap, the_key_is_what_the_template_had_of_it)
{
    rig_topic("quotes", "channel = stock.{key}.last");
    unmaps(given("stock.AAPL.last", "1", 0));
    is(record.key, "AAPL");
    is(record.value, "1");
    cr_assert_eq(record.headers_count, 0);
    refuses(given("stock.AAPL", "1", 0), "does not fit");
    refuses(given("stock..last", "1", 0), "does not fit"); /* no key: another channel */
    refuses(given("bond.AAPL.last", "1", 0), "does not fit");
    rig_topic("quotes", "channel = {topic}");
    unmaps(given("quotes", "1", 0));
    is(record.key, "quotes");
    refuses(given("trades", "1", 0), "does not fit");
    rig_topic("quotes", "channel = s.{header:symbol}");
    unmaps(given("s.AAPL", "1", 0));
    is(record.key, "AAPL");
    has_header(0, "symbol", "AAPL");
    rig_topic("quotes", "channel = {header:exchange}.{key}");
    refuses(given("nyse.AAPL", "1", 0), "several parts");
}

Test(kafka_unmap, type_conflate_and_headers)
{
    struct tt_event e = given("a", "1", TT_EVENT_NEVER_CONFLATE);
    e.type = TT_BYTES_LITERAL("trade");
    e.headers = TT_BYTES_LITERAL("{ \"\\u0061\\n\" : \"\\ud83d\\ude00\", \"b\":\"\"}");
    rig_topic("quotes", "type = quote");
    unmaps(e);
    cr_assert_eq(record.headers_count, 4);
    has_header(0, "type", "trade");
    has_header(1, "conflate", "false");
    has_header(2, "a\n", "\xF0\x9F\x98\x80");
    has_header(3, "b", "");
    cr_assert_not_null(record.headers[3].value, "an empty text is a value");
    rig_topic("quotes", "type-header =");
    refuses(e, "no header for the type");
    e.type = TT_BYTES_LITERAL("message");
    rig_topic("quotes", "conflate-header =");
    refuses(e, "no header for conflate");
    e.flags = 0;
    rig_topic("quotes", "headers = b");
    refuses(e, "a header's name");
    rig_topic("quotes", "headers = none");
    refuses(e, "a header's name");
    rig_topic("quotes", NULL);
    e.headers = TT_BYTES_LITERAL("{\"conflate\":\"false\"}");
    refuses(e, "a header's name");
    e.headers = TT_BYTES_LITERAL("{\"\":\"x\"}");
    refuses(e, "empty");
    e.headers = TT_BYTES_LITERAL("{\"a\\u0000b\":\"x\"}");
    refuses(e, "zero byte");
    e.headers = TT_BYTES_LITERAL("{\"a\":\"\\ud800\"}");
    refuses(e, "surrogate");
}

Test(kafka_unmap, values_of_each_kind)
{
    rig_topic("quotes", "value = text");
    unmaps(given("a", "\"\\u0041\\n\\u20ac\\u0000\"", 0));
    cr_assert(tt_bytes_equal(record.value, TT_BYTES_LITERAL("A\n\xE2\x82\xAC\0")));
    unmaps(given("a", "\"\"", 0));
    cr_assert(record.value.data != NULL && record.value.size == 0);
    refuses(given("a", "{}", 0), "must be a string");
    refuses(given("a", "\"Zg==\"", TT_EVENT_BINARY), "must be a string");
    refuses(given("a", "\"\\udc00\"", 0), "surrogate");
    rig_topic("quotes", "value = binary");
    unmaps(given("a", "\"//77\"", TT_EVENT_BINARY));
    is(record.value, "\xFF\xFE\xFB");
    unmaps(given("a", "\"Zm8=\"", TT_EVENT_BINARY));
    is(record.value, "fo");
    unmaps(given("a", "\"\"", TT_EVENT_BINARY));
    cr_assert(record.value.data != NULL && record.value.size == 0);
    refuses(given("a", "\"text\"", 0), "base64");
    rig_topic("quotes", NULL);
    unmaps(given("a", "null", 0));
    is(record.value, "null");
    refuses(given("a", "\"Zg==\"", TT_EVENT_BINARY), "JSON");
    rig_topic("quotes", "value = envelope");
    struct tt_event e = given("a\"", "\"Zg==\"", TT_EVENT_BINARY | TT_EVENT_TIMESTAMP_GIVEN);
    e.timestamp_ms = 17;
    unmaps(e); /* the record's own time is when it was taken */
    is(record.value, "{\"type\":\"message\",\"channel\":\"a\\\"\",\"payload\":\"Zg==\","
                     "\"timestamp\":17,\"encoding\":\"base64\"}");
}

Test(kafka_unmap, a_delete_has_no_value_so_that_compaction_takes_it)
{
    static const char *const kinds[] = {"json", "text", "binary", "envelope"};
    for (unsigned i = 0; i < 4; i++) {
        char section[64];
        snprintf(section, sizeof(section), "value = %s", kinds[i]);
        rig_topic("quotes", section);
        unmaps(given("a", "null", TT_EVENT_OP_DELETE));
        is(record.key, "a");
        cr_assert_null(record.value.data);
    }
}

Test(kafka_unmap, a_room_that_is_too_small)
{
    struct tt_event e = given("a", "\"text\"", 0);
    uint8_t small[3];
    unmapped = tt_writer(small, sizeof(small));
    rig_topic("quotes", "value = text");
    cr_assert_eq(tt_kafka_unmap(&settings, &e, &unmapped, &record, &why), TT_FULL);
    rig_topic("quotes", "value = envelope");
    cr_assert_eq(tt_kafka_unmap(&settings, &e, &unmapped, &record, &why), TT_FULL);
    cr_assert_eq(unmapped.size, 0);
}

/* ---- there and back ---- */

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(seed >> 33) % n;
}

static void write_random_text(struct tt_writer *w, uint32_t max)
{
    static const char *const pieces[] = {
        "a",  "B",    "7",    " ",        "\"", "\\",           "\n",
        "\t", "\x7F", "\x01", "\xC3\xA4", "/",  "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
        "{",  "}"};
    for (uint32_t n = below(max + 1); n-- > 0;)
        tt_write_text(w, pieces[below(sizeof(pieces) / sizeof(pieces[0]))]);
}

/* A JSON string in its shortest form, as mapping writes it. */
static void write_random_string(struct tt_writer *w, uint32_t max)
{
    uint8_t text[256];
    struct tt_writer plain = tt_writer(text, sizeof(text));
    write_random_text(&plain, max);
    cr_assert_not(plain.overflow);
    uint8_t json[1600];
    struct tt_writer escaped = tt_writer(json, sizeof(json));
    tt_write_char(&escaped, '"');
    for (size_t i = 0; i < plain.size; i++) {
        uint8_t c = text[i];
        if (c == '"' || c == '\\') tt_write_char(&escaped, '\\');
        if (c == '\n')
            tt_write_text(&escaped, "\\n");
        else if (c == '\t')
            tt_write_text(&escaped, "\\t");
        else if (c == 1)
            tt_write_text(&escaped, "\\u0001");
        else
            tt_write_char(&escaped, (char)c);
    }
    tt_write_char(&escaped, '"');
    tt_write_bytes(w, tt_writer_bytes(&escaped));
}

static struct tt_bytes from(const struct tt_writer *w, size_t start)
{
    cr_assert_not(w->overflow);
    return tt_bytes(w->data + start, w->size - start);
}

static void random_payload(struct tt_event *e, struct tt_writer *w)
{
    static const char *const jsons[] = {"null", "1", "{\"a\":[1,2,{}]}", "[ ]", "-0.5e3", "true"};
    static const char *const base64s[] = {"\"\"", "\"Zg==\"", "\"Zm8=\"", "\"//77\""};
    size_t start = w->size;
    if (below(6) == 0) {
        e->flags |= TT_EVENT_OP_DELETE;
        e->payload = TT_BYTES_LITERAL("null");
    } else if (settings.value == TT_KAFKA_VALUE_BINARY ||
               (settings.value == TT_KAFKA_VALUE_ENVELOPE && below(4) == 0)) {
        e->flags |= TT_EVENT_BINARY;
        e->payload = tt_bytes_text(base64s[below(4)]);
    } else if (settings.value == TT_KAFKA_VALUE_TEXT || below(2) == 0) {
        write_random_string(w, 40);
        e->payload = from(w, start);
    } else {
        e->payload = tt_bytes_text(jsons[below(6)]);
    }
}

static void random_headers(struct tt_event *e, struct tt_writer *w)
{
    size_t start = w->size;
    uint32_t count = below(5);
    for (uint32_t i = 0; i < count; i++) {
        tt_write_text(w, i == 0 ? "{\"h" : ",\"h"); /* never empty, never one with a meaning */
        uint8_t name[300];
        struct tt_writer string = tt_writer(name, sizeof(name));
        write_random_string(&string, 5);
        tt_write_bytes(w, tt_bytes(name + 1, string.size - 1));
        tt_write_char(w, ':');
        write_random_string(w, 20);
    }
    if (count == 0) return;
    tt_write_char(w, '}');
    e->headers = from(w, start);
}

static void random_event(struct tt_event *e, struct tt_writer *w)
{
    static const char *const types[] = {"message", "quote", "a:b/c-1"};
    struct tt_bytes prefix, suffix;
    size_t start = w->size;
    *e = given("", "", 0);
    const struct tt_kafka_part *variable =
        tt_kafka_template_variable(&settings.channel, &prefix, &suffix);
    tt_write_bytes(w, prefix);
    if (variable != NULL)
        tt_write_text(w,
                      ((const char *const[]){"AAPL", "a\"b\\", "\xE2\x82\xAC", "x.y"})[below(4)]);
    tt_write_bytes(w, suffix);
    e->channel = from(w, start);
    e->type = tt_bytes_text(types[below(3)]);
    if (below(3) == 0) e->flags |= TT_EVENT_NEVER_CONFLATE;
    e->timestamp_ms = 1 + (int64_t)below(1u << 30) * 1000;
    e->taken_us = e->timestamp_ms * 1000;
    random_headers(e, w);
    random_payload(e, w);
    if (settings.value != TT_KAFKA_VALUE_ENVELOPE || below(2) == 0 ||
        (e->flags & TT_EVENT_OP_DELETE) != 0)
        return;
    e->flags |= TT_EVENT_TIMESTAMP_GIVEN;
    e->taken_us += 5000000;
}

static void there_and_back(const struct tt_event *e)
{
    cr_assert_eq(unmap(e), TT_OK, "seed %llx: %s", (unsigned long long)seed, why);
    message = (struct tt_kafka_message){.kind = TT_KAFKA_RECORD,
                                        .timestamp_ms = record.timestamp_ms,
                                        .key = record.key.data,
                                        .key_size = record.key.size,
                                        .value = record.value.data,
                                        .value_size = record.value.size};
    scratch.size = 0;
    bool wants = tt_kafka_wants_headers(&settings, &message);
    enum tt_status status = tt_kafka_map(&settings, &message, record.headers,
                                         wants ? record.headers_count : 0, &scratch, &event, &skip);
    cr_assert_eq(status, TT_OK, "seed %llx: %s", (unsigned long long)seed,
                 tt_kafka_skip_labels[skip]);
    cr_assert(tt_bytes_equal(event.channel, e->channel));
    cr_assert(tt_bytes_equal(event.type, e->type));
    cr_assert(tt_bytes_equal(event.headers, e->headers), "%.*s became %.*s", (int)e->headers.size,
              (const char *)e->headers.data, (int)event.headers.size,
              (const char *)event.headers.data);
    cr_assert(tt_bytes_equal(event.payload, e->payload), "%.*s became %.*s", (int)e->payload.size,
              (const char *)e->payload.data, (int)event.payload.size,
              (const char *)event.payload.data);
    cr_assert_eq(event.flags, e->flags);
    cr_assert_eq(event.timestamp_ms, e->timestamp_ms);
    cr_assert_eq(event.taken_us, e->taken_us);
}

Test(kafka_unmap, mapped_again_it_is_the_same_event)
{
    static const char *const channels[] = {"{key}", "stock.{key}", "{topic}.{key}.x",
                                           "s.{header:symbol}", "{topic}"};
    static const char *const kinds[] = {"json", "text", "binary", "envelope"};
    static uint8_t memory[1u << 16];
    for (unsigned i = 0; i < 20; i++) {
        char section[128];
        snprintf(section, sizeof(section), "channel = %s\nvalue = %s\ntype = %s", channels[i / 4],
                 kinds[i % 4], i % 3 == 0 ? "quote" : "message");
        rig_topic("quotes", section);
        for (unsigned n = 0; n < 500; n++) {
            struct tt_event e;
            struct tt_writer w = tt_writer(memory, sizeof(memory));
            seed = i * 1000 + n;
            random_event(&e, &w);
            there_and_back(&e);
        }
    }
}
