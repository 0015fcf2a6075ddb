/* POST /publish without keys. */
#include "tests/unit/publish_rig.h"

/* ---- one and arrays ---- */

Test(publish, one_event_in_any_pieces_under_any_type)
{
    static const char body[] = " {\"channel\":\"a\",\n\"payload\":{\"x\":\n1}}\n";
    static const char *const types[] = {JSON_TYPE, "", "Content-Type: text/plain\r\n",
                                        "Content-Type: application/x-www-form-urlencoded\r\n"};
    for (size_t piece = 1; piece <= sizeof body; piece++) {
        reset_shard(1);
        publish(types[piece % 4], "", body, piece);
        answers(202, "{\"id\":\"k7Qp2a-0-0\"}\n");
        cr_assert_not(reply.streamed);
        cr_assert_eq(strncmp(log_text, "0:a={\"x\": 1};", log_bytes), 0);
    }
}

Test(publish, arrays_keep_their_order_over_partitions)
{
    reset_shard(4);
    publish(JSON_TYPE, "",
            "[{\"channel\":\"a\",\"data\":1},{\"channel\":\"b\",\"data\":2},{\"channel\":\"a\","
            "\"data\":3},{\"channel\":\"c\",\"data\":4},{\"channel\":\"b\",\"data\":5}]",
            7);
    answers(202, "{\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-2-0\",\"k7Qp2a-1-1\",\"k7Qp2a-3-0\","
                 "\"k7Qp2a-2-1\"]}\n");
    cr_assert_eq(strncmp(log_text, "1:a=1;1:a=3;2:b=2;2:b=5;3:c=4;", log_bytes), 0);
    cr_assert_eq(requests_seen, 3);
    publish(JSON_TYPE, "", "[]", 100);
    answers(202, "{\"ids\":[]}\n");
}

Test(publish, nothing_of_an_array_is_taken_when_one_element_is_wrong)
{
    reset_shard(2);
    publish(JSON_TYPE, "", "[{\"channel\":\"a\"},{\"channel\":\"b\",\"type\":\"gap\"}]", 9);
    says(400, "reserved_type", "element 1: type");
    cr_assert_eq(log_bytes, 0);
    cr_assert_eq(requests_seen, 0);
    cr_assert_eq(tt_metric_get(&shard.metrics.publish_errors_400), 1);
    publish(JSON_TYPE, "", "{\"channel\":", 9);
    says(400, "invalid_json", "byte 11");
    publish(JSON_TYPE, "", "", 9);
    says(400, "invalid_json", "byte 0");
    publish(JSON_TYPE, "", "{\"channel\":\"a\"}\n{\"channel\":\"b\"}", 9);
    says(400, "invalid_json", "behind the JSON value");
}

Test(publish, partitions_that_refuse)
{
    static const char array[] = "[{\"channel\":\"a\"},{\"channel\":\"b\"},{\"channel\":\"a\"}]";
    reset_shard(2);
    refuse[1] = TT_FULL; /* a */
    publish(JSON_TYPE, "", array, 100);
    cr_assert_eq(reply.status, 503);
    cr_assert_eq(reply.retry_after_s, 3);
    says(503, "\"code\":\"overloaded\"", "\"ids\":[null,\"k7Qp2a-0-0\",null]");
    says(503, "overloaded", "2 of 3 events were not taken");
    json_t *parsed = json_loads(reply.body, 0, NULL);
    cr_assert_not_null(parsed, "%s", reply.body);
    json_decref(parsed);
    refuse[0] = TT_FULL;
    publish(JSON_TYPE, "", array, 100);
    says(503, "overloaded", "3 of 3");
    cr_assert_null(strstr(reply.body, "ids"));
    cr_assert_eq(reply.retry_after_s, 3);
}

Test(publish, refusals_of_one_event)
{
    static const struct {
        enum tt_status status;
        unsigned http;
        const char *code;
    } cases[] = {
        {TT_FULL, 503, "overloaded"},      {TT_ENOSPC, 503, "disk_full"},
        {TT_EACCES, 503, "log_read_only"}, {TT_ECLOSED, 503, "shutting_down"},
        {TT_ETOOBIG, 413, "too_large"},    {TT_EIO, 503, "unavailable"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reset_shard(1);
        refuse[0] = cases[i].status;
        publish(JSON_TYPE, "", "{\"channel\":\"a\"}", 100);
        says(cases[i].http, cases[i].code, "not taken");
        cr_assert_eq(reply.retry_after_s, cases[i].http == 503 ? 3 : 0);
    }
}

Test(publish, waits_while_too_many_requests_are_open)
{
    reset_shard(8);
    open_max = 1;
    publish(JSON_TYPE, "", "[{\"channel\":\"a\"},{\"channel\":\"b\"},{\"channel\":\"c\"}]", 100);
    answers(202, "{\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-2-0\",\"k7Qp2a-3-0\"]}\n");
}

Test(publish, what_is_refused_before_its_body)
{
    reset_shard(1);
    publish("Content-Type: multipart/form-data; boundary=x\r\n", "", "", 1);
    says(415, "unsupported_media_type", "multipart");
    publish(JSON_TYPE "Content-Encoding: gzip\r\n", "", "", 1);
    says(415, "unsupported_media_type", "Content-Encoding");
    publish(JSON_TYPE, "ids=yes", "", 1);
    says(400, "invalid_parameter", "0 or 1");
    publish(JSON_TYPE "Content-Encoding: identity\r\n", "ids=0", "{\"channel\":\"a\"}", 1);
    cr_assert_eq(reply.status, 202);
}

Test(publish, sizes)
{
    static char body[3000];
    static char *array;
    reset_shard(1);
    (void)snprintf(body, sizeof body, "{\"channel\":\"a\",\"payload\":\"%0990d\"}", 0);
    publish(JSON_TYPE, "", body, 100); /* 1 + 7 + 992: exactly the limit */
    cr_assert_eq(reply.status, 202, "%s", reply.body);
    (void)snprintf(body, sizeof body, "{\"channel\":\"a\",\"payload\":\"%0991d\"}", 0);
    publish(JSON_TYPE, "", body, 100);
    says(413, "too_large", "1001 bytes");

    static const char element[] = "{\"channel\":\"a\"},";
    size_t bytes = sizeof element - 1;
    array = malloc(bytes * (TT_PUBLISH_ARRAY_MAX + 1) + 3);
    char *to = array;
    *to++ = '[';
    for (unsigned i = 0; i < TT_PUBLISH_ARRAY_MAX; i++, to += bytes) memcpy(to, element, bytes);
    to[-1] = ']';
    *to = 0;
    publish(JSON_TYPE, "", array, 65536);
    cr_assert_eq(reply.status, 202, "%s", reply.body);
    memcpy(to - 1, ",{\"channel\":\"a\"}]", 18);
    publish(JSON_TYPE, "", array, 65536);
    says(413, "too_many_events", "NDJSON");
    free(array);
}

Test(publish, the_memory_of_a_shard_is_bounded)
{
    reset_shard(1);
    tt_metric_set(&shard.metrics.publish_bytes, shard.options.publish_bytes - 100);
    struct tt_exchange *x = begin(JSON_TYPE, "");
    feed(x, "{\"channel\":\"a\"}", 15, 100, 0);
    says(503, "overloaded", "memory");
    end(x);
    x = begin(NDJSON_TYPE, "");
    feed(x, "{\"channel\":\"a\"}", 15, 100, 0);
    says(503, "overloaded", "memory");
    end(x);
    cr_assert_eq(tt_metric_get(&shard.metrics.publish_bytes), shard.options.publish_bytes - 100);
}

Test(publish, the_peer_goes_while_owners_work)
{
    for (int waits = 0; waits < 2; waits++) {
        reset_shard(4);
        if (waits) open_max = 1;
        struct tt_exchange *x = begin(JSON_TYPE, "");
        static const char body[] = "[{\"channel\":\"a\"},{\"channel\":\"b\"}]";
        (void)x->ops->body(x, TT_BYTES_LITERAL(body), true);
        cr_assert_eq(open_count, waits ? 1 : 2);
        end(x);
        all_is_given_back();
        cr_assert_eq(reply.answers, 0);
        cr_assert_eq(next_offset[1], 1);
    }
    reset_shard(1);
    struct tt_exchange *x = begin(JSON_TYPE, ""); /* before its body is there */
    (void)x->ops->body(x, TT_BYTES_LITERAL("{\"channel\""), false);
    end(x);
    all_is_given_back();
}

/* ---- NDJSON ---- */

Test(publish_stream, lines_in_any_pieces)
{
    static const char body[] =
        "{\"channel\":\"a\",\"payload\":1}\r\n\n{\"channel\":\"b\",\"payload\":"
        "[2]}\n  \n{\"channel\":\"a\",\"payload\":\"3\"}";
    for (unsigned partitions = 1; partitions <= 3; partitions += 2) {
        for (size_t piece = 1; piece <= sizeof body; piece++) {
            reset_shard(partitions);
            publish(NDJSON_TYPE, "", body, piece);
            cr_assert(reply.streamed);
            if (partitions == 1) {
                answers(202, "{\"count\":3,\"first\":\"k7Qp2a-0-0\",\"last\":\"k7Qp2a-0-2\"}\n");
                cr_assert_eq(strncmp(log_text, "0:a=1;0:b=[2];0:a=\"3\";", log_bytes), 0);
            } else {
                answers(202, "{\"count\":3,\"first\":\"k7Qp2a-1-0\",\"last\":\"k7Qp2a-1-1\"}\n");
            }
            publish(NDJSON_TYPE, "ids=1", body, piece);
            cr_assert_not_null(strstr(reply.body, partitions == 1
                                                      ? "\"ids\":[\"k7Qp2a-0-3\",\"k7Qp2a-0-4\","
                                                        "\"k7Qp2a-0-5\"]"
                                                      : "\"ids\":[\"k7Qp2a-1-2\",\"k7Qp2a-2-1\","
                                                        "\"k7Qp2a-1-3\"]"),
                               "%s", reply.body);
        }
    }
    reset_shard(1);
    publish(NDJSON_TYPE, "", "", 1);
    answers(202, "{\"count\":0,\"first\":null,\"last\":null}\n");
    publish("Content-Type: Application/NDJSON; charset=utf-8\r\n", "", "\n\n", 1);
    answers(202, "{\"count\":0,\"first\":null,\"last\":null}\n");
}

/* Many lines; returns the text, which the next call overwrites. */
static char *many(unsigned count, unsigned payload_bytes)
{
    static char *text;
    free(text);
    text = malloc((size_t)count * (payload_bytes + 60) + 1);
    char *to = text;
    *to = 0;
    for (unsigned i = 0; i < count; i++)
        to += sprintf(to, "{\"channel\":\"%c\",\"payload\":\"%0*u\"}\n", 'a' + (int)(i % 5),
                      (int)payload_bytes, i);
    return text;
}

/* Every event that was taken, in the order of its partition, is the next number. */
static void log_is_a_prefix_of_each_partition(unsigned partitions, unsigned count)
{
    unsigned expected[8] = {0}, taken = 0, channel_of[8];
    if (log_bytes == 0) {
        cr_assert_eq(count, 0);
        return;
    }
    log_text[log_bytes] = 0;
    for (unsigned p = 0; p < partitions; p++) {
        for (channel_of[p] = 0; ('a' + channel_of[p]) % partitions != p;) channel_of[p]++;
        expected[p] = channel_of[p];
    }
    char *end;
    for (char *at = log_text; *at != 0; at = end + 1, taken++) {
        unsigned partition, number;
        char channel;
        end = memchr(at, ';', log_bytes - (size_t)(at - log_text));
        cr_assert_not_null(end);
        *end = 0; /* functions of strings look at all of a string, at least under ASan */
        cr_assert_eq(sscanf(at, "%u:%c=\"%u\"", &partition, &channel, &number), 3, "%.60s", at);
        *end = ';';
        cr_assert_eq((unsigned)channel, 'a' + number % 5);
        while (('a' + expected[partition] % 5) % partitions != partition) expected[partition]++;
        cr_assert_eq(number, expected[partition]);
        expected[partition]++;
    }
    if (count != 0) cr_assert_eq(taken, count);
}

Test(publish_stream, more_than_the_memory_of_two_batches)
{
    static const size_t pieces[] = {50, 1000, 16384, 100000};
    for (unsigned partitions = 1; partitions <= 8; partitions += 7) {
        for (size_t i = 0; i < 4; i++) {
            reset_shard(partitions);
            struct tt_exchange *x = begin(NDJSON_TYPE, "");
            const char *text = many(20000, 100);
            feed(x, text, strlen(text), pieces[i], i == 1 ? 2 : 0);
            cr_assert_eq(reply.status, 202);
            cr_assert_not_null(strstr(reply.body, "\"count\":20000,"), "%s", reply.body);
            cr_assert_lt(tt_metric_get(&shard.metrics.publish_bytes), 2000000);
            end(x);
            all_is_given_back();
            log_is_a_prefix_of_each_partition(partitions, 20000);
        }
    }
}

Test(publish_stream, lines_before_a_wrong_one_are_taken)
{
    static const char body[] =
        "{\"channel\":\"a\"}\n\n{\"channel\":\"a\"}\n{\"channel\":7}\n{\"channel\":\"a\"}\n";
    for (size_t piece = 1; piece <= sizeof body; piece++) {
        reset_shard(1);
        publish(NDJSON_TYPE, "", body, piece);
        says(400, "invalid_field", "line 4: channel 7: must be a string; 2 events were taken");
        says(400, "invalid_field", "\"count\":2,\"first\":\"k7Qp2a-0-0\",\"last\":\"k7Qp2a-0-1\"");
        cr_assert_eq(next_offset[0], 2);
    }
    reset_shard(1);
    publish(NDJSON_TYPE, "", "hello\n", 3);
    says(400, "invalid_json", "line 1:");
    says(400, "invalid_json", "\"count\":0,\"first\":null");
}

Test(publish_stream, a_line_that_is_too_long)
{
    static char text[60000];
    char *to = text + sprintf(text, "{\"channel\":\"a\"}\n{\"channel\":\"a\",\"x\":\"");
    memset(to, 'x', 40000);
    strcpy(to + 40000, "\"}\n");
    for (size_t piece = 1000; piece <= 50000; piece += 7000) {
        reset_shard(1);
        publish(NDJSON_TYPE, "", text, piece);
        says(413, "too_large", "line 2: is longer than the allowed 17384 bytes; 1 events");
    }
    strcpy(to + 17384 - 31, "\"}\n"); /* as long as is allowed: 17,384 with its beginning */
    char *line = strchr(text, '\n') + 1;
    line[17384 - 2] = '"';
    line[17384 - 1] = '}';
    line[17384] = 0;
    for (size_t piece = 1000; piece <= 18000; piece += 7000) {
        reset_shard(1);
        publish(NDJSON_TYPE, "", text, piece);
        cr_assert_eq(reply.status, 202, "%s", reply.body);
    }
}

Test(publish_stream, behind_a_refusal_nothing_is_sent)
{
    for (unsigned partitions = 1; partitions <= 3; partitions += 2) {
        for (int after = 0; after < 6; after += 2) {
            reset_shard(partitions);
            refuse[0] = TT_FULL;
            refuse_after = after;
            const char *text = many(8000, 100);
            publish(NDJSON_TYPE, "", text, 5000);
            says(503, "overloaded", "events were taken");
            cr_assert_eq(reply.retry_after_s, 3);
            log_is_a_prefix_of_each_partition(partitions, 0);
            unsigned long long line = 0, taken = 0;
            cr_assert_eq(sscanf(strstr(reply.body, "line "), "line %llu: %*[^;]; %llu events",
                                &line, &taken),
                         2, "%s", reply.body);
            if (partitions == 1) cr_assert_eq(line, taken + 1);
            if (partitions == 1 && after > 0) cr_assert_gt(taken, 0);
            cr_assert_eq(next_offset[0] + next_offset[1] + next_offset[2], taken);
        }
    }
}

Test(publish_stream, a_refusal_counts_before_the_error_of_a_later_line)
{
    static char text[100000];
    reset_shard(1);
    refuse[0] = TT_ENOSPC;
    (void)snprintf(text, sizeof text, "%sx\n", many(500, 50));
    publish(NDJSON_TYPE, "", text, 3000);
    says(503, "disk_full", "line 1: the disk of the log is full; 0 events were taken");
    publish(NDJSON_TYPE, "ids=1", "{\"channel\":\"a\"}\n", 100);
    says(503, "disk_full", "\"ids\":[null]");
}

Test(publish_stream, the_peer_goes_at_any_moment)
{
    const char *text = many(2000, 100);
    for (size_t bytes = 1; bytes < strlen(text); bytes = bytes * 2 + 7) {
        for (int waits = 0; waits < 2; waits++) {
            reset_shard(4);
            open_max = waits ? 1 : OPEN_MAX;
            struct tt_exchange *x = begin(NDJSON_TYPE, "");
            size_t at = 0;
            while (at < bytes && x->ops->body(x, tt_bytes(text + at, 1 + bytes / 10), false) != 0)
                at += 1 + bytes / 10;
            end(x);
            all_is_given_back();
            log_is_a_prefix_of_each_partition(4, 0);
        }
    }
}

Test(publish_stream, ids_are_bounded)
{
    reset_shard(1);
    struct tt_exchange *x = begin(NDJSON_TYPE, "ids=1");
    unsigned count = TT_PUBLISH_IDS_MAX + 1;
    char *text = malloc((size_t)count * 16 + 1), *to = text;
    for (unsigned i = 0; i < count; i++) to += sprintf(to, "{\"channel\":\"a\"}\n");
    feed(x, text, (size_t)(to - text), 65536, 1);
    says(413, "too_many_events", "line 262145: with ids=1");
    says(413, "too_many_events", "\"count\":262144");
    end(x);
    all_is_given_back();
    free(text);
}
