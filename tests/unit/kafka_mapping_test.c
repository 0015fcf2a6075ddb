/* Records of Kafka as events: each kind of value, templates of channels, headers, and every reason
 * for which a record is skipped. The way back is tested in kafka_unmap_test.c. */
#include "broker/kafka/mapping.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "broker/kafka/topic_keys.h"
#include "proto/event/partition_hash.h"
#include "tests/unit/guard.h"
#include "tests/unit/kafka_rig.h"

/* ---- channels ---- */

Test(kafka_mapping, key_is_the_channel_and_json_the_payload)
{
    rig_topic("quotes", NULL);
    maps("AAPL", "{\"price\": 174.32}");
    is(event.channel, "AAPL");
    is(event.type, "message");
    is(event.payload, "{\"price\": 174.32}");
    cr_assert_eq(event.headers.size, 0);
    cr_assert_eq(event.flags, 0);
    cr_assert_eq(event.timestamp_ms, TIMESTAMP_MS);
    cr_assert_eq(event.taken_us, TIMESTAMP_MS * 1000);
    cr_assert_eq(scratch.size, 0, "the usual case copies nothing");
}

Test(kafka_mapping, templates)
{
    rig_topic("quotes", "channel = stock.{key}.last");
    maps("AAPL", "1");
    is(event.channel, "stock.AAPL.last");
    rig_topic("quotes", "channel = {topic}.{key}");
    maps("AAPL", "1");
    is(event.channel, "quotes.AAPL");
    rig_topic("quotes", "channel = {topic}");
    maps("AAPL", "1");
    is(event.channel, "quotes");
    rig_topic("quotes", "channel = {header:exchange}.{header:symbol}");
    header("symbol", "old");
    header("symbol", "AAPL");
    header("exchange", "nyse");
    header("trace", "7");
    maps("k", "1");
    is(event.channel, "nyse.AAPL");
    is(event.headers, "{\"trace\":\"7\"}");
}

Test(kafka_mapping, without_a_key_the_topic_names_the_channel)
{
    rig_topic("quotes", "channel = stock.{key}");
    maps(NULL, "1");
    is(event.channel, "quotes");
    maps("", "1");
    is(event.channel, "quotes");
}

Test(kafka_mapping, templates_that_are_refused)
{
    static const char *const wrong[] = {"",
                                        "{key",
                                        "key}",
                                        "{}",
                                        "{other}",
                                        "{header:}",
                                        "a b{key}",
                                        "{{key}}",
                                        "a*",
                                        "{key},{key}",
                                        "1.2.3.4.5.6.7.8.{key}"};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct tt_kafka_template t;
        char text[512] = "";
        struct tt_writer why = tt_writer(text, sizeof(text) - 1);
        cr_assert_eq(tt_kafka_template_make(&t, wrong[i], "topic", &why), TT_EINVAL, "%s",
                     wrong[i]);
        cr_assert(text[0] != '\0');
    }
}

/* ---- headers ---- */

Test(kafka_mapping, headers_with_a_meaning_and_others)
{
    rig_topic("quotes", NULL);
    header("type", "trade");
    header("conflate", "false");
    header("source", "a \"b\"\n\x01\xC3\xA4");
    header("none", NULL);
    header("twice", "1");
    header("twice", "2");
    maps("AAPL", "1");
    is(event.type, "trade");
    cr_assert_eq(event.flags, TT_EVENT_NEVER_CONFLATE);
    is(event.headers, "{\"source\":\"a \\\"b\\\"\\n\\u0001\xC3\xA4\",\"none\":\"\",\"twice\":\"1\","
                      "\"twice\":\"2\"}");
    header("conflate", "true");
    maps("AAPL", "1");
    cr_assert_eq(event.flags, 0);
}

Test(kafka_mapping, topics_choose_their_headers)
{
    rig_topic("quotes", "type = quote\ntype-header = kind\nconflate-header =\nheaders = a,c");
    maps("AAPL", "1");
    is(event.type, "quote");
    header("kind", "trade");
    header("conflate", "false");
    header("a", "1");
    header("b", "\xFF");
    header("c", "3");
    maps("AAPL", "1");
    is(event.type, "trade");
    cr_assert_eq(event.flags, 0);
    is(event.headers, "{\"a\":\"1\",\"c\":\"3\"}");
    rig_topic("quotes", "headers = none");
    header("type", "trade");
    header("b", "\xFF");
    maps("AAPL", "1");
    is(event.type, "trade");
    cr_assert_eq(event.headers.size, 0);
}

Test(kafka_mapping, headers_are_not_asked_for_where_they_mean_nothing)
{
    rig_topic("quotes", "headers = none\ntype-header =\nconflate-header =\nop-header =");
    cr_assert_not(tt_kafka_wants_headers(&settings, &message));
    rig_topic("quotes", "headers = none\ntype-header =\nconflate-header =\nop-header =\n"
                        "channel = {header:c}");
    cr_assert(tt_kafka_wants_headers(&settings, &message));
    rig_topic("quotes", "value = envelope");
    message.value = "{}";
    cr_assert_not(tt_kafka_wants_headers(&settings, &message));
    message.value = NULL;
    cr_assert(tt_kafka_wants_headers(&settings, &message));
}

/* ---- values ---- */

Test(kafka_mapping, json_loses_line_breaks_between_tokens_and_space_around)
{
    rig_topic("quotes", NULL);
    maps("a", " \r\n{\r\n \"a\\n\" : [1,\n2] }\n ");
    is(event.payload, "{   \"a\\n\" : [1, 2] }");
    maps("a", " null ");
    is(event.payload, "null");
    cr_assert_eq(event.flags, 0, "the JSON null is a value, no value is a delete");
}

Test(kafka_mapping, text_becomes_a_string)
{
    rig_topic("quotes", "value = text");
    maps("a", "say \"hi\"\\\r\n\t\b\f\x1F\x7F \xE2\x82\xAC");
    is(event.payload, "\"say \\\"hi\\\"\\\\\\r\\n\\t\\b\\f\\u001f\x7F \xE2\x82\xAC\"");
    maps("a", "");
    is(event.payload, "\"\"");
}

Test(kafka_mapping, bytes_become_base64)
{
    static const char *const pairs[][2] = {
        {"", "\"\""},        {"f", "\"Zg==\""},        {"fo", "\"Zm8=\""},
        {"foo", "\"Zm9v\""}, {"foob", "\"Zm9vYg==\""}, {"\xFF\xFE\xFB", "\"//77\""}};
    rig_topic("quotes", "value = binary");
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        maps("a", pairs[i][0]);
        is(event.payload, pairs[i][1]);
        cr_assert_eq(event.flags, TT_EVENT_BINARY);
    }
}

Test(kafka_mapping, envelopes_bring_everything_themselves)
{
    rig_topic("quotes", "value = envelope\nchannel = stock.{key}");
    header("type", "ping"); /* headers do not count */
    maps("k", "{\"channel\":\"\\u0061\",\"type\":\"t\",\"payload\":{\n},\"conflate\":false,"
              "\"headers\":{\"h\":\"1\"},\"timestamp\":17}");
    is(event.channel, "a");
    is(event.type, "t");
    is(event.payload, "{ }");
    is(event.headers, "{\"h\":\"1\"}");
    cr_assert_eq(event.timestamp_ms, 17);
    cr_assert_eq(event.taken_us, TIMESTAMP_MS * 1000);
    cr_assert_eq(event.flags, TT_EVENT_NEVER_CONFLATE | TT_EVENT_TIMESTAMP_GIVEN);
    maps("k", "{\"channel\":\"a\",\"payload\":\"Zg==\",\"encoding\":\"base64\"}");
    cr_assert_eq(event.flags, TT_EVENT_BINARY);
    cr_assert_eq(event.timestamp_ms, TIMESTAMP_MS);
}

Test(kafka_mapping, no_value_is_a_delete_whatever_the_kind)
{
    static const char *const kinds[] = {"json", "text", "binary", "envelope"};
    for (unsigned i = 0; i < 4; i++) {
        char section[64];
        snprintf(section, sizeof(section), "value = %s\nchannel = stock.{key}", kinds[i]);
        rig_topic("quotes", section);
        header("type", "quote");
        maps("AAPL", NULL);
        is(event.channel, "stock.AAPL");
        is(event.type, "quote");
        is(event.payload, "null");
        cr_assert_eq(event.flags, TT_EVENT_OP_DELETE);
    }
}

Test(kafka_mapping, a_header_may_say_delete)
{
    rig_topic("quotes", NULL);
    header("op", "delete");
    maps("AAPL", " null");
    cr_assert_eq(event.flags, TT_EVENT_OP_DELETE);
    is(event.payload, "null");
    header("op", "delete");
    maps("AAPL", "");
    cr_assert_eq(event.flags, TT_EVENT_OP_DELETE);
}

Test(kafka_mapping, timestamps_stay_within_what_a_browser_can_show)
{
    rig_topic("quotes", NULL);
    message.timestamp_ms = -1;
    maps("a", "1");
    cr_assert_eq(event.timestamp_ms, 0);
    message.timestamp_ms = INT64_MAX;
    maps("a", "1");
    cr_assert_eq(event.timestamp_ms, 8640000000000000);
    cr_assert_eq(event.taken_us, 8640000000000000000);
}

/* ---- skips ---- */

Test(kafka_mapping, channels_that_are_impossible)
{
    char long_key[300];
    memset(long_key, 'a', sizeof(long_key) - 1);
    long_key[sizeof(long_key) - 1] = '\0';
    rig_topic("quotes", NULL);
    skips("\xFF", "1", TT_KAFKA_SKIP_CHANNEL_NOT_UTF8);
    skips("a b", "1", TT_KAFKA_SKIP_CHANNEL);
    skips("a,b", "1", TT_KAFKA_SKIP_CHANNEL);
    skips("a*", "1", TT_KAFKA_SKIP_CHANNEL);
    skips("1.2.3.4.5.6.7.8.9", "1", TT_KAFKA_SKIP_CHANNEL);
    skips(long_key, "1", TT_KAFKA_SKIP_CHANNEL);
    rig_topic("quotes", "channel = stock.{key}");
    skips("\xFF", "1", TT_KAFKA_SKIP_CHANNEL_NOT_UTF8);
    skips(long_key, "1", TT_KAFKA_SKIP_CHANNEL);
    rig_topic("quotes", "channel = {header:symbol}");
    skips("a", "1", TT_KAFKA_SKIP_NO_HEADER);
    header("symbol", NULL);
    skips("a", "1", TT_KAFKA_SKIP_NO_HEADER);
    header("symbol", "");
    skips("a", "1", TT_KAFKA_SKIP_CHANNEL);
}

Test(kafka_mapping, headers_that_cannot_be_used)
{
    static char names[33][8];
    char big[4200];
    memset(big, 'v', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    rig_topic("quotes", NULL);
    header("type", "a b");
    skips("a", "1", TT_KAFKA_SKIP_TYPE);
    header("type", "");
    skips("a", "1", TT_KAFKA_SKIP_TYPE);
    header("type", "resync");
    skips("a", "1", TT_KAFKA_SKIP_RESERVED_TYPE);
    header("conflate", "no");
    skips("a", "1", TT_KAFKA_SKIP_CONFLATE);
    header("op", "update");
    skips("a", "1", TT_KAFKA_SKIP_OP);
    header("op", "delete");
    skips("a", "1", TT_KAFKA_SKIP_OP);
    header("trace", "\xFF");
    skips("a", "1", TT_KAFKA_SKIP_HEADER_NOT_UTF8);
    header("trace", big);
    skips("a", "1", TT_KAFKA_SKIP_HEADERS_TOO_LARGE);
    for (unsigned i = 0; i < 33; i++) {
        snprintf(names[i], sizeof(names[i]), "h%u", i);
        header(names[i], "1");
    }
    skips("a", "1", TT_KAFKA_SKIP_HEADERS_TOO_MANY);
}

Test(kafka_mapping, headers_at_their_limits)
{
    static char names[32][8];
    char value[4096];
    rig_topic("quotes", NULL);
    for (unsigned i = 0; i < 32; i++) {
        snprintf(names[i], sizeof(names[i]), "h%u", i);
        header(names[i], "1");
    }
    maps("a", "1");
    /* {"n":"..."} of exactly 4 KiB, and one byte more. */
    memset(value, 'v', sizeof(value));
    value[4096 - 8] = '\0';
    header("n", value);
    maps("a", "1");
    cr_assert_eq(event.headers.size, 4096);
    value[4096 - 8] = 'v';
    value[4096 - 7] = '\0';
    header("n", value);
    skips("a", "1", TT_KAFKA_SKIP_HEADERS_TOO_LARGE);
}

Test(kafka_mapping, values_that_cannot_be_used)
{
    rig_topic("quotes", NULL);
    skips("a", "", TT_KAFKA_SKIP_JSON);
    skips("a", "{\"a\":1", TT_KAFKA_SKIP_JSON);
    skips("a", "1 2", TT_KAFKA_SKIP_JSON);
    skips("a", "\"\xFF\"", TT_KAFKA_SKIP_JSON);
    rig_topic("quotes", "value = text");
    skips("a", "\xC3", TT_KAFKA_SKIP_TEXT_NOT_UTF8);
    rig_topic("quotes", "value = envelope");
    skips("a", "", TT_KAFKA_SKIP_ENVELOPE);
    skips("a", "{\"payload\":1}", TT_KAFKA_SKIP_ENVELOPE);
    skips("a", "{\"channel\":\"a\",\"type\":\"gap\"}", TT_KAFKA_SKIP_ENVELOPE);
}

Test(kafka_mapping, events_above_the_limit)
{
    static const char *const kinds[] = {"json", "text", "binary", "envelope"};
    static char value[3 * EVENT_BYTES_MAX];
    for (unsigned i = 0; i < 4; i++) {
        char section[64];
        snprintf(section, sizeof(section), "value = %s", kinds[i]);
        rig_topic("quotes", section);
        memset(value, 'v', sizeof(value));
        value[0] = '"';
        memcpy(value + EVENT_BYTES_MAX, "\"", 2); /* a JSON string */
        if (i == 3) {
            snprintf(value, sizeof(value), "{\"channel\":\"a\",\"payload\":\"%0*d\"}",
                     (int)EVENT_BYTES_MAX, 0);
        }
        skips("a", value, TT_KAFKA_SKIP_TOO_LARGE);
    }
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    skips("a", value, TT_KAFKA_SKIP_TOO_LARGE);
    /* To the byte: channel, type and payload. */
    rig_topic("quotes", NULL);
    size_t payload = EVENT_BYTES_MAX - strlen("message") - 1;
    memset(value, 'v', payload);
    value[0] = value[payload - 1] = '"';
    value[payload] = '\0';
    maps("a", value);
    skips("ab", value, TT_KAFKA_SKIP_TOO_LARGE);
}

Test(kafka_mapping, a_full_scratch_memory_asks_to_come_again)
{
    rig_topic("quotes", "value = text");
    size_t taken = 0;
    unsigned count = 0;
    char value[1000];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    scratch.size = 0;
    for (;; count++) {
        enum tt_status status = map_value("a", value);
        cr_assert(status == TT_OK || status == TT_FULL);
        if (status == TT_FULL) break;
        cr_assert_gt(scratch.size, taken);
        taken = scratch.size;
    }
    cr_assert_gt(count, 1);
    cr_assert_eq(scratch.size, taken, "what did not fit takes nothing");
    scratch.size = 0;
    cr_assert_eq(map_value("a", value), TT_OK);
}

Test(kafka_mapping, labels_of_reasons_are_fit_for_metrics)
{
    for (unsigned i = 0; i < TT_KAFKA_SKIPS; i++) {
        cr_assert_eq(strspn(tt_kafka_skip_labels[i], "abcdefghijklmnopqrstuvwxyz0123456789_"),
                     strlen(tt_kafka_skip_labels[i]));
        for (unsigned j = 0; j < i; j++)
            cr_assert_str_neq(tt_kafka_skip_labels[i], tt_kafka_skip_labels[j]);
    }
}

/* ---- where it lies ---- */

Test(kafka_mapping, records_out_of_place_are_seen)
{
    struct tt_bytes key = TT_BYTES_LITERAL("AAPL");
    rig_topic("quotes", "partitioner = murmur2\nchannel = stock.{key}");
    maps("AAPL", "1");
    uint32_t place = tt_partition_of_murmur2(key, 8);
    cr_assert_not(tt_kafka_is_misplaced(&settings, &message, &event, place, 8));
    cr_assert(tt_kafka_is_misplaced(&settings, &message, &event, (place + 1) % 8, 8));
    cr_assert(tt_kafka_is_misplaced(&settings, &message, &event, 8, 8), "a new partition");
    maps(NULL, "1"); /* channel "quotes", which no key gives */
    for (uint32_t i = 0; i < 8; i++)
        cr_assert(tt_kafka_is_misplaced(&settings, &message, &event, i, 8));
    rig_topic("quotes", "partitioner = crc32");
    maps("AAPL", "1");
    cr_assert_not(
        tt_kafka_is_misplaced(&settings, &message, &event, tt_partition_of_crc32(key, 8), 8));
    maps(NULL, "1"); /* channel "quotes", which the key "quotes" gives too */
    key = tt_bytes_text("quotes");
    cr_assert_not(
        tt_kafka_is_misplaced(&settings, &message, &event, tt_partition_of_crc32(key, 8), 8));
    rig_topic("quotes", "partitioner = murmur2\nvalue = envelope");
    maps("AAPL", "{\"channel\":\"MSFT\"}"); /* who looks for MSFT must find it */
    place = tt_partition_of_murmur2(TT_BYTES_LITERAL("MSFT"), 8);
    cr_assert_not(tt_kafka_is_misplaced(&settings, &message, &event, place, 8));
    cr_assert(tt_kafka_is_misplaced(&settings, &message, &event, (place + 1) % 8, 8));
    rig_topic("quotes", NULL);
    maps("AAPL", "1");
    for (uint32_t i = 0; i < 9; i++)
        cr_assert_not(tt_kafka_is_misplaced(&settings, &message, &event, i, 8));
}
