/* Records of random and of damaged bytes: whatever a producer writes, an event that comes out is
 * one that the log takes and every wire can carry, nothing is read beyond the record (it ends at a
 * page that must not be touched), and one record never asks for more memory than was promised. */
#include <stdlib.h>

#include "proto/event/channel.h"
#include "proto/wire/json.h"
#include "tests/unit/kafka_rig.h"

static unsigned seed;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(((uint64_t)rand_r(&seed) << 31 ^ (uint64_t)rand_r(&seed)) % n);
}

static const char whole_envelope[] =
    "{\"channel\":\"stock.AAPL\",\"type\":\"quote\",\"payload\":{\"a\":[1,2.5e3,\"\\u20ac\"]},"
    "\"headers\":{\"h\":\"v\"},\"timestamp\":1732558200000,\"conflate\":false}";
static const char *const values[] = {
    whole_envelope,
    "{\"channel\":\"a\",\"payload\":\"Zm8=\",\"encoding\":\"base64\"}",
    "{\r\n  \"symbol\": \"AAPL\",\r\n  \"price\": 174.32\r\n}",
    "[null, true, \"\\\"\\\\\\n\xC3\xA4\xF0\x9F\x98\x80\"]",
    "null",
    "plain text, not JSON",
    "",
};
static const char *const keys[] = {"AAPL", "stock.AAPL", "a.b.c.d.e.f.g.h", "\xC3\xA4", "x y", ""};

/* A text with some of its bytes changed, cut or doubled; sometimes nothing but noise. */
static struct tt_bytes damaged(unsigned index, const char *text)
{
    uint8_t bytes[1024];
    size_t size = strlen(text);
    memcpy(bytes, text, size);
    if (below(8) == 0) {
        size = below(300);
        for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)below(256);
    }
    for (uint32_t n = below(4); n-- > 0 && size != 0;) {
        size_t at = below((uint32_t)size);
        switch (below(4)) {
        case 0: bytes[at] = (uint8_t)below(256); break;
        case 1: bytes[at] ^= (uint8_t)(1u << below(8)); break;
        case 2: size = at; break;
        default:
            memmove(bytes + at + 1, bytes + at, size - at);
            size++;
            break;
        }
    }
    return guard_copy(index, tt_bytes(bytes, size));
}

static void random_headers(void)
{
    static const char *const names[] = {"type", "conflate", "op", "symbol", "trace", "\xFF", ""};
    static const char *const texts[] = {"quote", "false", "delete", "true", "resync", "\xC3\xA4"};
    static uint8_t bytes[TT_KAFKA_HEADERS_READ_MAX][8];
    headers_count = below(3) != 0 ? below(4) : below(TT_KAFKA_HEADERS_READ_MAX + 1);
    for (uint32_t i = 0; i < headers_count; i++) {
        struct tt_kafka_header *h = &headers[i];
        *h = (struct tt_kafka_header){.name = names[below(below(4) == 0 ? 7 : 5)]};
        if (below(8) == 0) continue;
        h->value = texts[below(6)];
        h->size = strlen(h->value);
        if (below(8) != 0) continue;
        h->size = below(9);
        for (size_t n = 0; n < h->size; n++) bytes[i][n] = (uint8_t)below(256);
        h->value = bytes[i];
    }
}

static void is_string_object(struct tt_bytes text)
{
    struct tt_json_reader r = tt_json_reader(text);
    struct tt_json_value key, value;
    unsigned count = 0;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &value)) == TT_OK) {
        cr_assert_eq(value.kind, TT_JSON_STRING);
        count++;
    }
    cr_assert_eq(status, TT_END);
    cr_assert_eq(tt_json_finish(&r), TT_OK);
    cr_assert_leq(count, TT_HEADERS_MAX);
    cr_assert_leq(text.size, TT_HEADERS_BYTES_MAX);
}

static void is_fit_for_the_log(void)
{
    struct tt_json_value json;
    cr_assert_eq(tt_channel_check(event.channel, NULL), TT_OK);
    cr_assert_eq(tt_type_check(event.type, NULL), TT_OK);
    cr_assert_not(tt_type_is_reserved(event.type));
    if (event.headers.size != 0) is_string_object(event.headers);
    cr_assert_eq(tt_json_check(event.payload, &json, NULL, NULL), TT_OK);
    cr_assert_eq(json.text.size, event.payload.size, "no space around it");
    cr_assert_null(memchr(event.payload.data, '\n', event.payload.size));
    cr_assert_null(memchr(event.payload.data, '\r', event.payload.size));
    cr_assert_leq(event.channel.size + event.type.size + event.headers.size + event.payload.size,
                  settings.event_bytes_max);
    cr_assert(event.timestamp_ms >= 0 && event.timestamp_ms <= 8640000000000000);
    if ((event.flags & TT_EVENT_OP_DELETE) != 0) is(event.payload, "null");
    if ((event.flags & TT_EVENT_BINARY) != 0) cr_assert_eq(json.kind, TT_JSON_STRING);
}

static void map_one(void)
{
    struct tt_bytes key = damaged(0, keys[below(6)]), value = damaged(1, values[below(7)]);
    bool keyed = below(8) != 0, valued = below(8) != 0;
    message.key = keyed ? key.data : NULL;
    message.key_size = keyed ? key.size : 0;
    message.value = valued ? value.data : NULL;
    message.value_size = valued ? value.size : 0;
    message.timestamp_ms = below(4) == 0 ? -(int64_t)below(3) : TIMESTAMP_MS;
    random_headers();
    scratch.size = 0;
    enum tt_status status =
        tt_kafka_map(&settings, &message, headers, headers_count, &scratch, &event, &skip);
    cr_assert_neq(status, TT_FULL, "seed %u: an empty scratch memory is enough", seed);
    if (status == TT_OK)
        is_fit_for_the_log();
    else
        cr_assert_lt(skip, TT_KAFKA_SKIPS);
}

Test(kafka_fuzz, whatever_comes_out_is_fit_for_the_log)
{
    static const char *const channels[] = {"{key}", "stock.{key}", "{header:symbol}.{key}",
                                           "{topic}"};
    static const char *const kinds[] = {"json", "text", "binary", "envelope"};
    static const char *const kept[] = {"all", "none", "trace"};
    for (unsigned i = 0; i < 48; i++) {
        char section[128];
        snprintf(section, sizeof(section), "channel = %s\nvalue = %s\nheaders = %s",
                 channels[i % 4], kinds[i / 4 % 4], kept[i / 16]);
        rig_topic("quotes", section);
        if (i % 2 == 1) settings.event_bytes_max = 100; /* so that much is too large */
        for (unsigned n = 0; n < 1000; n++) {
            seed = i * 1000 + n;
            map_one();
        }
    }
}
