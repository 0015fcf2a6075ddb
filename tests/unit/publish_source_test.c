/* POST /publish where events go to a source instead of the log: ids of whatever partition took
 * them, and what became of each event of a batch. */
#include "tests/unit/publish_rig.h"

/* Topic "audit" has local partition 0; topic "quotes", which is published to, has 1 to 3. */
static const struct tt_topic topics[] = {
    {.name = "audit", .history = {"aaaaaa"}, .first = 0, .capacity = 1, .partitions = 1},
    {.name = "quotes", .history = {"qqqqqq"}, .first = 1, .capacity = 3, .partitions = 3},
};
static struct tt_partition partitions[4];

static enum tt_status place(struct tt_source *s, uint32_t shard, const struct tt_event *event,
                            uint32_t *partition, const char **why)
{
    (void)s;
    (void)shard;
    *why = "channel: does not begin with \"stock.\", as the channels of topic quotes do";
    if (!tt_bytes_starts(event->channel, TT_BYTES_LITERAL("stock."))) return TT_EINVAL;
    *partition = 1 + event->channel.data[event->channel.size - 1] % 3;
    return TT_OK;
}
static const struct tt_source_ops ops = {.place = place};
static struct tt_source source;

/* What becomes of an event: its payload says (a number: taken by the partition that was expected;
 * with ".5": by the next one). */
static void produce_all(struct tt_publish_request *r)
{
    cr_assert(r->partition >= 1 && r->partition <= 3);
    cr_assert_null(r->blocks);
    for (uint32_t i = 0; i < r->events_count; i++) {
        struct tt_bytes payload = r->events[i].payload;
        struct tt_publish_place *at = &r->places[i];
        uint32_t partition = r->partition;
        *at = (struct tt_publish_place){.status = TT_OK};
        if (tt_bytes_is(payload, "\"late\""))
            *at = (struct tt_publish_place){.status = TT_ETIMEDOUT, .maybe = true};
        else if (tt_bytes_is(payload, "\"full\""))
            at->status = TT_FULL;
        else if (tt_bytes_is(payload, "\"denied\""))
            *at =
                (struct tt_publish_place){.status = TT_EACCES, .why = "Topic authorization failed"};
        else if (tt_bytes_is(payload, "\"large\""))
            at->status = TT_ETOOBIG;
        else if (tt_bytes_is(payload, "\"lost\""))
            *at = (struct tt_publish_place){.status = TT_EIO, .why = "Broker: Unknown error"};
        else if (tt_bytes_is(payload, "1.5"))
            partition = 1 + partition % 3;
        if (at->status != TT_OK) continue;
        at->partition = partition;
        at->offset = next_offset[partition];
        next_offset[partition] += 7; /* others publish too */
        log_event(partition, &r->events[i]);
    }
    r->status = TT_OK;
}

static void reset(void)
{
    reset_shard(4);
    produce = produce_all;
    for (uint32_t i = 0; i < 4; i++)
        partitions[i] =
            (struct tt_partition){.index = i, .topic = i != 0, .number = i == 0 ? 0 : i - 1};
    source = (struct tt_source){.ops = &ops, .publish_topic = 1};
    shard.world.topics = topics;
    shard.world.topics_count = 2;
    shard.world.partitions = partitions;
    shard.world.source = &source;
}

Test(publish_source, ids_are_of_the_partition_that_took_the_event)
{
    reset();
    publish(JSON_TYPE, "", "{\"channel\":\"stock.a\",\"data\":1}", 100); /* a: 97 % 3 == 1 */
    answers(202, "{\"id\":\"qqqqqq-1-0\"}\n");
    publish(JSON_TYPE, "", "{\"channel\":\"stock.a\",\"data\":1.5}", 100);
    answers(202, "{\"id\":\"qqqqqq-2-0\"}\n");
    log_bytes = 0;
    publish(JSON_TYPE, "",
            "[{\"channel\":\"stock.a\",\"data\":1},{\"channel\":\"stock.b\",\"data\":2},"
            "{\"channel\":\"stock.a\",\"data\":3},{\"channel\":\"stock.c\",\"data\":4}]",
            100);
    answers(202, "{\"ids\":[\"qqqqqq-1-7\",\"qqqqqq-2-7\",\"qqqqqq-1-14\",\"qqqqqq-0-0\"]}\n");
    cr_assert_eq(strncmp(log_text, "2:stock.a=1;2:stock.a=3;3:stock.b=2;1:stock.c=4;", log_bytes),
                 0);
}

Test(publish_source, each_event_of_an_array_has_a_fate_of_its_own)
{
    reset();
    publish(JSON_TYPE, "",
            "[{\"channel\":\"stock.a\",\"data\":1},{\"channel\":\"stock.a\",\"data\":\"late\"},"
            "{\"channel\":\"stock.a\",\"data\":3}]",
            100);
    says(503, "\"code\":\"kafka_unavailable\"", "\"ids\":[\"qqqqqq-1-0\",null,\"qqqqqq-1-7\"]");
    says(503, "1 of 3 events were not taken", "it may have been taken all the same");
    cr_assert_eq(reply.retry_after_s, 1);
}

Test(publish_source, refusals_of_one_event)
{
    static const struct {
        const char *payload;
        unsigned http;
        const char *code, *text;
    } cases[] = {
        {"late", 503, "kafka_unavailable", "may have been taken all the same"},
        {"lost", 503, "kafka_unavailable", "Kafka has not taken it: Broker: Unknown error"},
        {"full", 503, "overloaded", "was not handed to it"},
        {"denied", 503, "kafka_refused", "Kafka has refused it: Topic authorization failed"},
        {"large", 413, "too_large", "larger than Kafka takes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[100];
        reset();
        (void)snprintf(body, sizeof body, "{\"channel\":\"stock.a\",\"data\":\"%s\"}",
                       cases[i].payload);
        publish(JSON_TYPE, "", body, 100);
        says(cases[i].http, cases[i].code, cases[i].text);
        cr_assert_eq(reply.retry_after_s, cases[i].http == 503 ? 1 : 0);
    }
}

Test(publish_source, what_can_never_be_published_is_400_before_anything_is_sent)
{
    reset();
    publish(JSON_TYPE, "", "{\"channel\":\"bond.a\"}", 100);
    says(400, "not_publishable", "channel: does not begin with");
    publish(JSON_TYPE, "", "[{\"channel\":\"stock.a\"},{\"channel\":\"bond.a\"}]", 100);
    says(400, "not_publishable", "element 1: channel: does not begin with");
    cr_assert_eq(requests_seen, 0);
    publish("Content-Type: application/x-ndjson\r\n", "ids=1",
            "{\"channel\":\"stock.a\",\"data\":1}\n{\"channel\":\"bond.a\"}\n", 100);
    says(400, "line 2: channel: does not begin with", "1 events were taken");
    says(400, "not_publishable", "\"ids\":[\"qqqqqq-1-0\"]");
}

Test(publish_source, lines)
{
    reset();
    publish("Content-Type: application/x-ndjson\r\n", "ids=1",
            "{\"channel\":\"stock.a\",\"data\":1}\n{\"channel\":\"stock.c\",\"data\":1.5}\n", 100);
    answers(202, "{\"count\":2,\"first\":\"qqqqqq-1-0\",\"last\":\"qqqqqq-1-7\",\"ids\":["
                 "\"qqqqqq-1-0\",\"qqqqqq-1-7\"]}\n");
    publish("Content-Type: application/x-ndjson\r\n", "ids=1",
            "{\"channel\":\"stock.a\",\"data\":1}\n{\"channel\":\"stock.a\",\"data\":\"late\"}\n",
            100);
    says(503, "kafka_unavailable", "\"ids\":[\"qqqqqq-1-14\",null]");
    says(503, "line 2: ", "1 events were taken");
}

Test(publish_source, what_is_not_there_with_a_source)
{
    reset();
    publish(JSON_TYPE "Idempotency-Key: k\r\n", "", "{\"channel\":\"stock.a\"}", 100);
    says(400, "idempotency_unsupported", "Idempotency-Key: is not supported");
    source.publish_topic = UINT32_MAX;
    publish(JSON_TYPE, "", "{\"channel\":\"stock.a\"}", 100);
    says(404, "publishing_off", "only reads its Kafka topics");
    cr_assert_eq(requests_seen, 0);
}
