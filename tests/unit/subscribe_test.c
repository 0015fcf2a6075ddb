#include "proto/wire/subscribe.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/guard.h"

static struct tt_subscribe sub;
static struct tt_subscribe_error error;
static struct tt_pattern patterns[8];

static enum tt_status parse(bool json, const char *text, const char *last_event_id)
{
    struct tt_bytes input = guard_copy(0, tt_bytes_text(text));
    size_t text_bytes = strlen(text) + strlen(last_event_id);
    struct tt_subscribe_memory memory = {
        .patterns = patterns,
        .patterns_max = 8,
        .text = guard_room(1, text_bytes),
        .text_bytes = text_bytes,
    };
    struct tt_bytes header = guard_copy(2, tt_bytes_text(last_event_id));
    memset(&error, 0, sizeof error);
    return json ? tt_subscribe_from_json(input, header, &memory, &sub, &error)
                : tt_subscribe_from_query(input, header, &memory, &sub, &error);
}

static void query(const char *text)
{
    cr_assert_eq(parse(false, text, ""), TT_OK, "%s: %s", text, error.message);
}

static void json(const char *text)
{
    cr_assert_eq(parse(true, text, ""), TT_OK, "%s: %s", text, error.message);
}

/* The answer names the parameter and holds `says`. */
static void refuses(bool is_json, const char *text, const char *name, const char *says)
{
    cr_assert_eq(parse(is_json, text, ""), TT_EINVAL, "%s", text);
    cr_assert_not_null(strstr(error.message, name), "%s: %s", text, error.message);
    cr_assert_not_null(strstr(error.message, says), "%s: %s", text, error.message);
    cr_assert(strlen(error.code) > 0);
    cr_assert(tt_bytes_is_utf8(tt_bytes_text(error.message)));
}

static void is(struct tt_bytes bytes, const char *text)
{
    cr_assert(tt_bytes_is(bytes, text), "\"%.*s\" instead of \"%s\"", (int)bytes.size,
              (const char *)bytes.data, text);
}

static void has_patterns(const char *expected)
{
    static const char *const kinds[] = {"exact", "prefix", "all"};
    char text[300] = "";
    for (uint32_t i = 0; i < sub.patterns_count; i++)
        sprintf(text + strlen(text), "%s %.*s;", kinds[sub.patterns[i].kind],
                (int)sub.patterns[i].text.size, (const char *)sub.patterns[i].text.data);
    cr_assert_str_eq(text, expected);
}

Test(subscribe, defaults)
{
    query("");
    has_patterns("all ;");
    cr_assert_not(sub.channels_given);
    cr_assert_eq(sub.types_count, 0);
    cr_assert_eq(sub.cursor.size, 0);
    cr_assert_eq(sub.from, TT_FROM_LIVE);
    cr_assert_eq(sub.policy, TT_POLICY_REPLAY);
    cr_assert_not(sub.form.payload_only || sub.form.no_name || sub.ping_event);
    cr_assert_eq(sub.heartbeat_ms, 0);
    cr_assert_eq(sub.pad_bytes, 0);
    cr_assert_eq(sub.label.size, 0);
    json("{}");
    has_patterns("all ;");
}

Test(subscribe, channels)
{
    query("channels=stock.AAPL,user.42&channel=x.*&topic=b%C3%A4r&unknown=%zz&&=&x");
    has_patterns("exact stock.AAPL;exact user.42;prefix x.;exact b\xC3\xA4r;");
    cr_assert(sub.channels_given);
    query("channels=*");
    has_patterns("all ;");
    query("channels=a%2Cb");
    has_patterns("exact a;exact b;");
    query("channels=a%2bb");
    has_patterns("exact a+b;");
    query("%63hannels=a");
    has_patterns("exact a;");
    refuses(false, "channels=a+b", "channels", "\"a b\"");
    refuses(false, "channels=a%zz", "channels", "percent");
    refuses(false, "channels=%", "channels", "percent");
    refuses(false, "channels=%ff", "channels", "UTF-8");
    refuses(false, "channels=%ED%A0%80", "channels", "UTF-8");
    refuses(false, "channels=", "channels", "\"\"");
    refuses(false, "channels", "channels", "\"\"");
    refuses(false, "channels=a,", "channels", "\"\"");
    refuses(false, "channels=a*b", "channels", "\"a*b\"");
    refuses(false, "channels=*.a", "channels", "\"*.a\"");
    query("channels=a,b,c,d,e,f,g,h");
    refuses(false, "channels=a,b,c,d,e,f,g,h,i", "channels \"i\"", "8");
}

Test(subscribe, all_single_values)
{
    query("types=a,b:c&from=earliest&policy=disconnect&format=payload&event=message&heartbeat=5&"
          "ping=event&pad=8192&id=my+client&token=secret");
    cr_assert_eq(sub.types_count, 2);
    is(sub.types[0], "a");
    is(sub.types[1], "b:c");
    cr_assert_eq(sub.from, TT_FROM_EARLIEST);
    cr_assert_eq(sub.policy, TT_POLICY_DISCONNECT);
    cr_assert(sub.form.payload_only && sub.form.no_name && sub.ping_event);
    cr_assert_eq(sub.heartbeat_ms, 5000);
    cr_assert_eq(sub.pad_bytes, 8192);
    is(sub.label, "my client");
    query("from=live&policy=replay&format=envelope&event=type&heartbeat=300&pad=0");
    cr_assert_eq(sub.from, TT_FROM_LIVE);
    cr_assert_eq(sub.heartbeat_ms, 300000);
}

Test(subscribe, wrong_values_are_named_with_what_is_allowed)
{
    refuses(false, "heartbeat=4", "heartbeat \"4\"", "5 to 300");
    refuses(false, "heartbeat=301", "heartbeat", "5 to 300");
    refuses(false, "heartbeat=5.5", "heartbeat", "5 to 300");
    refuses(false, "heartbeat=", "heartbeat", "5 to 300");
    refuses(false, "heartbeat=99999999999999999999", "heartbeat", "5 to 300");
    refuses(false, "pad=8193", "pad", "0 to 8192");
    refuses(false, "pad=-1", "pad", "0 to 8192");
    refuses(false, "from=now", "from \"now\"",
            "live, earliest, snapshot, or a time in unix milliseconds");
    refuses(false, "policy=drop", "policy \"drop\"", "replay, conflate or disconnect");
    refuses(false, "format=json", "format", "envelope or payload");
    refuses(false, "event=x", "event", "type or message");
    refuses(false, "ping=comment", "ping", "event");
    refuses(false, "types=a,b%20c", "types", "\"b c\"");
    refuses(false, "types=", "types", "\"\"");
    refuses(false, "id=", "id", "1 to 64 bytes");
    refuses(false, "id=a%0Ab", "id", "1 to 64 bytes");
    refuses(false, "id=%C2%85", "id", "1 to 64 bytes");
    refuses(false, "id=12345678901234567890123456789012345678901234567890123456789012345", "id",
            "1 to 64 bytes");
    refuses(false, "heartbeat=5&heartbeat=5", "heartbeat", "second time");
    char text[400] = "types=t";
    for (unsigned i = 1; i < TT_SUBSCRIBE_TYPES_MAX; i++) strcat(text, ",t");
    query(text);
    strcat(text, ",t");
    refuses(false, text, "types", "32");
}

Test(subscribe, from_may_be_a_time_in_unix_milliseconds)
{
    query("from=1732558200000");
    cr_assert_eq(sub.from, TT_FROM_TIME);
    cr_assert_eq(sub.from_ms, 1732558200000);
    query("from=0");
    cr_assert_eq(sub.from, TT_FROM_TIME);
    cr_assert_eq(sub.from_ms, 0);
    json("{\"from\":1732558200000}");
    cr_assert_eq(sub.from_ms, 1732558200000);
    json("{\"from\":\"1732558200000\"}");
    cr_assert_eq(sub.from_ms, 1732558200000);
    refuses(false, "from=-1", "from \"-1\"", "unix milliseconds");
    refuses(false, "from=1.5", "from \"1.5\"", "unix milliseconds");
    refuses(false, "from=9223372036854775807", "from", "unix milliseconds");
}

Test(subscribe, where_to_start)
{
    query("channels=a");
    cr_assert_eq(sub.from, TT_FROM_LIVE);
    query("from=earliest");
    cr_assert_eq(sub.from, TT_FROM_EARLIEST);
    query("from=snapshot");
    cr_assert_eq(sub.from, TT_FROM_SNAPSHOT);
    query("from=live&last=7");
    cr_assert_eq(sub.from, TT_FROM_LAST);
    cr_assert_eq(sub.last, 7);
    query("last=1000");
    cr_assert_eq(sub.last, TT_SUBSCRIBE_LAST_MAX);
    cr_assert_eq(parse(true, "{\"last\":3}", ""), TT_OK);
    cr_assert_eq(sub.last, 3);
    refuses(false, "last=0", "last \"0\"", "1 to 1000");
    refuses(false, "last=1001", "last \"1001\"", "1 to 1000");
    refuses(false, "last=", "last \"\"", "1 to 1000");
    refuses(true, "{\"last\":-1}", "last \"-1\"", "1 to 1000");
    refuses(true, "{\"last\":[1]}", "last \"[1]\"", "1 to 1000");
    refuses(false, "last=1&last=1", "last", "second time");
    refuses(false, "last=3&from=snapshot", "last \"3\"", "so does from");
    refuses(false, "from=earliest&last=3", "last \"3\"", "so does from");
}

Test(subscribe, max_lag)
{
    query("max_lag=100");
    cr_assert_eq(sub.max_lag_ms, 100);
    query("max_lag=86400000&policy=replay");
    cr_assert_eq(sub.max_lag_ms, 86400000);
    json("{\"max_lag\":2500}");
    cr_assert_eq(sub.max_lag_ms, 2500);
    query("");
    cr_assert_eq(sub.max_lag_ms, 0);
    refuses(false, "max_lag=99", "max_lag \"99\"", "from 100 to 86400000");
    refuses(false, "max_lag=86400001", "max_lag \"86400001\"", "from 100 to 86400000");
    refuses(false, "max_lag=1.5", "max_lag \"1.5\"", "whole milliseconds");
    refuses(true, "{\"max_lag\":-1}", "max_lag \"-1\"", "whole milliseconds");
    refuses(false, "max_lag=200&policy=disconnect", "max_lag \"200\"", "policy=replay");
    refuses(false, "max_lag=200&max_lag=200", "max_lag", "second time");
}

Test(subscribe, max_rate_is_a_decimal_number_above_zero_and_implies_conflate)
{
    static const struct {
        const char *text;
        uint64_t tick_ns;
    } rates[] = {{"1", 1000000000},          {"0.5", 2000000000},
                 {"2.5", 400000000},         {".25", 4000000000},
                 {"4.", 250000000},          {"0.000000001", 1000000000000000000},
                 {"007", 142857142},         {"50", 20000000},
                 {"999999999.999999999", 1}, {"3.100000000", 322580645}};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        char text[80];
        (void)snprintf(text, sizeof text, "max_rate=%s", rates[i].text);
        query(text);
        cr_expect_eq(sub.policy, TT_POLICY_MAX_RATE);
        cr_expect_eq(sub.tick_ns, rates[i].tick_ns, "%s: %llu ns", text,
                     (unsigned long long)sub.tick_ns);
    }
    static const char *const wrong[] = {
        "",    "0",  "0.0",          ".",   "-1",         "1e3", "1.2.3", "1,5", "x", "+1",
        "0x1", "1 ", "0.0000000001", "1.x", "9999999999", "inf", "nan"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[80], named[80];
        (void)snprintf(text, sizeof text, "max_rate=%s", wrong[i]);
        (void)snprintf(named, sizeof named, "max_rate \"%s\"", wrong[i]);
        for (char *c = text; *c != 0; c++)
            if (*c == ' ' || *c == '+') *c = *c == ' ' ? '+' : '-';
        refuses(false, text, wrong[i][0] == '+' ? "max_rate \"-1\"" : named,
                "a decimal number above 0");
    }
    json("{\"max_rate\":0.5}");
    cr_expect_eq(sub.tick_ns, 2000000000);
    json("{\"max_rate\":\"2\",\"policy\":\"conflate\"}");
    cr_expect_eq(sub.policy, TT_POLICY_MAX_RATE);
    refuses(true, "{\"max_rate\":0}", "max_rate \"0\"", "above 0");
    query("policy=conflate");
    cr_expect_eq(sub.policy, TT_POLICY_CONFLATE);
    cr_expect_eq(sub.tick_ns, 0);
    query("policy=conflate&max_rate=5");
    cr_expect_eq(sub.policy, TT_POLICY_MAX_RATE);
    refuses(false, "max_lag=200&max_rate=5", "max_lag \"200\"", "policy=replay");
    refuses(false, "policy=replay&max_rate=5", "policy \"replay\"", "allowed: conflate");
    refuses(false, "max_rate=5&policy=disconnect", "policy \"disconnect\"", "max_rate");
}

Test(subscribe, what_is_not_there_yet_is_refused)
{
    refuses(false, "subscription=x", "subscription \"x\"", "not supported");
    cr_assert_str_eq(error.code, "not_supported");
    refuses(true, "{\"subscription\":\"x\"}", "subscription", "not supported");
}

Test(subscribe, the_first_cursor_that_is_not_empty_counts)
{
    query("cursor=c1");
    is(sub.cursor, "c1");
    query("cursor=c1&Last-Event-ID=c2");
    is(sub.cursor, "c2");
    query("Last-Event-ID=c2&last_event_id=c3&cursor=c1");
    is(sub.cursor, "c3");
    query("lastEventID=c4&last_event_id=c3");
    is(sub.cursor, "c4");
    query("lastEventID=c4&lastEventId=c5");
    is(sub.cursor, "c5");
    query("lastEventId=&cursor=c1");
    is(sub.cursor, "c1");
    cr_assert_eq(parse(false, "lastEventId=c5", "h1"), TT_OK);
    is(sub.cursor, "h1");
    cr_assert_eq(parse(true, "{\"cursor\":\"c\"}", "h1"), TT_OK);
    is(sub.cursor, "h1");
    query("cursor=a-0-1/8%2Cb-0-2");
    is(sub.cursor, "a-0-1/8,b-0-2");
}

Test(subscribe, an_unreadable_cursor_is_no_error)
{
    query("cursor=%zz");
    is(sub.cursor, "%zz");
    query("cursor=%ff");
    is(sub.cursor, "\xFF");
    json("{\"cursor\":\"\\ud800\"}");
    cr_assert(sub.cursor.size > 0);
    json("{\"cursor\":7}");
    is(sub.cursor, "7");
}

Test(subscribe, json_body)
{
    json(" {\"channels\":[\"stock.AAPL\",\"us\\u0065r.*\"],\"types\":\"a,b\",\"heartbeat\":10,"
         "\"pad\":\"16\",\"format\":\"payload\",\"cursor\":null,\"ping\":\"event\",\"id\":\"\\u00e4"
         "\",\"token\":{},\"other\":{\"channels\":1},\"from\":\"earliest\"} ");
    has_patterns("exact stock.AAPL;prefix user.;");
    cr_assert_eq(sub.types_count, 2);
    cr_assert_eq(sub.heartbeat_ms, 10000);
    cr_assert_eq(sub.pad_bytes, 16);
    cr_assert(sub.form.payload_only && sub.ping_event);
    cr_assert_eq(sub.from, TT_FROM_EARLIEST);
    is(sub.label, "\xC3\xA4");
    json("{\"channels\":\"a,b.*\"}");
    has_patterns("exact a;prefix b.;");
    json("{\"channels\":\"a\",\"topic\":\"b\"}");
    has_patterns("exact a;exact b;");
    json("{\"types\":[\"x\"]}");
    cr_assert_eq(sub.types_count, 1);
}

Test(subscribe, wrong_json_bodies)
{
    refuses(true, "", "JSON", "byte 0");
    refuses(true, "[]", "JSON", "an object was expected");
    refuses(true, "{\"channels\":\"a\"", "JSON", "byte 15");
    refuses(true, "{} x", "JSON", "byte 3");
    refuses(true, "{\"channels\":[\"a,b\"]}", "channels", "\"a,b\"");
    refuses(true, "{\"channels\":[1]}", "channels \"1\"", "channel names");
    refuses(true, "{\"channels\":[]}", "channels", "channel names");
    refuses(true, "{\"channels\":{}}", "channels", "channel names");
    refuses(true, "{\"channels\":true}", "channels", "channel names");
    refuses(true, "{\"channels\":[\"\\ud800\"]}", "channels", "channel names");
    refuses(true, "{\"heartbeat\":4}", "heartbeat \"4\"", "5 to 300");
    refuses(true, "{\"heartbeat\":5.0}", "heartbeat", "5 to 300");
    refuses(true, "{\"ping\":true}", "ping \"true\"", "event");
    refuses(true, "{\"id\":\"\\u0000\"}", "id", "1 to 64 bytes");
    refuses(true, "{\"format\":\"payload\",\"format\":\"payload\"}", "format", "second time");
}

/* Whatever comes in: no crash, no byte beyond the memory that was given. */
Test(subscribe, cut_at_every_point)
{
    static const char form[] = "channels=a%C3%A4,b.*&heartbeat=10&cursor=x%2Cy&id=%41&from=live";
    static const char body[] =
        "{\"channels\":[\"a\\u00e4\",\"b.*\"],\"heartbeat\":10,\"id\":\"x\"}";
    char text[200];
    for (size_t size = 0; size <= sizeof form - 1; size++) {
        (void)snprintf(text, sizeof text, "%.*s", (int)size, form);
        enum tt_status status = parse(false, text, "");
        cr_assert(status == TT_OK || error.message[0] != 0);
    }
    for (size_t size = 0; size < sizeof body - 1; size++) {
        (void)snprintf(text, sizeof text, "%.*s", (int)size, body);
        cr_assert_eq(parse(true, text, ""), TT_EINVAL);
    }
    json(body);
}

Test(form, pairs)
{
    struct tt_bytes text = TT_BYTES_LITERAL("a=1&&b&c==&=d"), name, value;
    static const char *const expected[] = {"a", "1", "b", "", "c", "=", "", "d"};
    for (size_t i = 0; i < 8; i += 2) {
        cr_assert(tt_form_next(&text, &name, &value));
        is(name, expected[i]);
        is(value, expected[i + 1]);
    }
    cr_assert_not(tt_form_next(&text, &name, &value));
}
