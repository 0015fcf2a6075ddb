/* POST /publish with an Idempotency-Key. */
#include "tests/unit/publish_rig.h"

#define KEY(key) "Idempotency-Key: " key "\r\n"
#define ONE      "{\"channel\":\"a\",\"payload\":1}"
#define TWO      "{\"channel\":\"a\",\"payload\":2}"
#define FOUR     "[{\"channel\":\"a\"},{\"channel\":\"b\"},{\"channel\":\"c\"},{\"channel\":\"d\"}]"
#define FOUR_IDS "{\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-2-0\",\"k7Qp2a-3-0\",\"k7Qp2a-0-0\"]}\n"

/* A key whose home is that partition of so many. */
static const char *key_of(uint32_t home, uint32_t partitions)
{
    static char fields[100];
    for (unsigned i = 0;; i++) {
        char key[16];
        uint8_t hash[16];
        (void)snprintf(key, sizeof key, "key-%u", i);
        tt_idempotency_key_hash(&shard.world.hash_key, TT_BYTES_NONE, tt_bytes_text(key), hash);
        if (tt_idempotency_home(hash, partitions) != home) continue;
        (void)snprintf(fields, sizeof fields, JSON_TYPE "Idempotency-Key: %s\r\n", key);
        return fields;
    }
}

Test(publish_key, what_a_key_may_be)
{
    char fields[400], longest[300];
    memset(longest, 'k', sizeof longest);
    longest[255] = '\0';
    reset_shard(1);
    (void)snprintf(fields, sizeof fields, "Idempotency-Key: %s\r\n", longest);
    publish(fields, "", ONE, 100);
    answers(202, "{\"id\":\"k7Qp2a-0-0\"}\n");
    publish(KEY("!~\"x\""), "", ONE, 100);
    cr_assert_eq(reply.status, 202);
    longest[255] = 'k';
    longest[256] = '\0';
    (void)snprintf(fields, sizeof fields, "Idempotency-Key: %s\r\n", longest);
    publish(fields, "", "", 1);
    says(400, "invalid_idempotency_key", "256 bytes; it must be 1 to 255 bytes of visible ASCII");
    static const char *const bad[] = {"", "a b", "a\tb", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(fields, sizeof fields, "Idempotency-Key: %s\r\n", bad[i]);
        publish(fields, "", "", 1);
        says(400, "invalid_idempotency_key", "Idempotency-Key: ");
    }
    cr_assert_eq(tt_metric_get(&shard.metrics.publish_errors_400), 5);
}

Test(publish_key, a_retry_gets_the_answer_of_the_first)
{
    reset_shard(1);
    for (size_t piece = 1; piece < 40; piece += 13) {
        publish(JSON_TYPE KEY("k"), "", ONE, piece);
        answers(202, "{\"id\":\"k7Qp2a-0-0\"}\n");
    }
    cr_assert_eq(tt_metric_get(&shard.metrics.idempotent_retries), 2);
    publish(JSON_TYPE KEY("k"), "", TWO, 100);
    says(422, "idempotency_mismatch", "Idempotency-Key: \\\"k\\\" was used for another body");
    publish(NDJSON_TYPE KEY("k"), "", ONE, 100);
    says(422, "idempotency_mismatch", "another body");
    cr_assert_eq(tt_metric_get(&shard.metrics.publish_errors_422), 2);
    publish(JSON_TYPE KEY("l"), "", ONE, 100);
    answers(202, "{\"id\":\"k7Qp2a-0-1\"}\n");
    wall_us += 10000000;
    publish(JSON_TYPE KEY("k"), "", TWO, 100);
    answers(202, "{\"id\":\"k7Qp2a-0-2\"}\n");
    cr_assert_eq(strncmp(log_text, "0:a=1;0:a=1;0:a=2;", log_bytes), 0);
    cr_assert_eq(claims_seen, 0);
}

Test(publish_key, nothing_is_known_of_a_body_that_was_refused)
{
    reset_shard(4);
    publish(JSON_TYPE KEY("k"), "", "{\"channel\":1}", 100);
    cr_assert_eq(reply.status, 400);
    cr_assert_eq(requests_seen, 0);
    publish(JSON_TYPE KEY("k"), "", FOUR, 100);
    answers(202, FOUR_IDS);
}

Test(publish_key, is_claimed_at_its_home_first)
{
    reset_shard(4);
    for (uint32_t home = 0; home < 4; home++) {
        unsigned before = claims_seen;
        publish(key_of(home, 4), "", ONE, 100); /* lies in partition 1 */
        cr_assert_eq(reply.status, 202);
        cr_assert_eq(claims_seen - before, home != 1, "home %u", home);
        before = claims_seen;
        publish(key_of(home, 4), "", "{\"channel\":\"b\"}", 100); /* in 2 */
        says(422, "idempotency_mismatch", "another body");
        cr_assert_eq(claims_seen - before, home != 2, "home %u", home);
        publish(key_of(home, 4), "", FOUR, 100);
        says(422, "idempotency_mismatch", "another body");
    }
    cr_assert_eq(next_offset[0] + next_offset[2] + next_offset[3], 0);
    cr_assert_eq(next_offset[1], 4);
}

Test(publish_key, a_batch_over_partitions_is_one)
{
    reset_shard(4);
    for (int i = 0; i < 3; i++) {
        publish(key_of(2, 4), "", FOUR, 7);
        answers(202, FOUR_IDS);
    }
    cr_assert_eq(claims_seen, 3);
    cr_assert_eq(tt_metric_get(&shard.metrics.idempotent_retries), 2);
    open_max = 1; /* one request at a time */
    publish(key_of(3, 4), "", FOUR, 7);
    cr_assert_eq(reply.status, 202);
    cr_assert_eq(next_offset[0], 2);
}

Test(publish_key, a_retry_completes_what_was_taken_in_part)
{
    reset_shard(4);
    refuse[2] = TT_FULL;
    publish(key_of(0, 4), "", FOUR, 100);
    says(503, "overloaded", "\"ids\":[\"k7Qp2a-1-0\",null,\"k7Qp2a-3-0\",\"k7Qp2a-0-0\"]");
    refuse[0] = refuse[1] = refuse[3] = TT_ENOSPC; /* what is there needs no room */
    refuse[2] = TT_OK;
    publish(key_of(0, 4), "", FOUR, 100);
    answers(202, FOUR_IDS);
    for (int p = 0; p < 4; p++) cr_assert_eq(next_offset[p], 1);
}

Test(publish_key, a_retry_completes_what_a_crash_has_cut)
{
    static const char five[] =
        "[{\"channel\":\"a\",\"payload\":1},{\"channel\":\"a\",\"payload\":2},"
        "{\"channel\":\"b\",\"payload\":3},{\"channel\":\"a\",\"payload\":4},"
        "{\"channel\":\"a\",\"payload\":5}]";
    reset_shard(2);
    cut[1] = 3;
    publish(key_of(0, 2), "", five, 100);
    next_offset[1] += 100; /* numbering goes on behind a hole */
    cut[1] = 1;
    publish(key_of(0, 2), "", five, 100);
    answers(202, "{\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-1-104\",\"k7Qp2a-0-0\",\"k7Qp2a-1-105\","
                 "\"k7Qp2a-1-106\"]}\n");
    next_offset[1] += 100;
    for (int i = 0; i < 2; i++) {
        publish(key_of(0, 2), "", five, 100);
        answers(202, "{\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-1-104\",\"k7Qp2a-0-0\",\"k7Qp2a-1-105\","
                     "\"k7Qp2a-1-207\"]}\n");
    }
    cr_assert_eq(strncmp(log_text, "1:a=1;0:b=3;1:a=2;1:a=4;1:a=5;", log_bytes), 0, "%.*s",
                 (int)log_bytes, log_text);
}

Test(publish_key, more_crashes_than_can_be_told)
{
    static char body[1000];
    struct tt_writer w = tt_writer(body, sizeof body - 1);
    for (unsigned i = 0; i < TT_IDEMPOTENCY_RUNS_MAX + 2; i++)
        tt_write_format(&w, "%c{\"channel\":\"a\"}", i == 0 ? '[' : ',');
    tt_write_text(&w, "]");
    reset_shard(1);
    for (unsigned i = 0; i < TT_IDEMPOTENCY_RUNS_MAX; i++) {
        cut[0] = TT_IDEMPOTENCY_RUNS_MAX + 1 - i;
        publish(JSON_TYPE KEY("k"), "", body, 100);
        cr_assert_eq(reply.status, 202);
    }
    publish(JSON_TYPE KEY("k"), "", body, 100);
    says(503, "idempotency_incomplete", "crashes");
    cr_assert_eq(log_bytes, TT_IDEMPOTENCY_RUNS_MAX * strlen("0:a=null;"));
}

Test(publish_key, what_retention_took_before_the_start_was_there)
{
    /* Of ten events that were appended at offsets 40 to 49 the last four were found. */
    static char body[1000];
    struct tt_writer w = tt_writer(body, sizeof body - 1);
    for (unsigned i = 0; i < 10; i++)
        tt_write_format(&w, "%c{\"channel\":\"a\"}", i == 0 ? '[' : ',');
    tt_write_text(&w, "]");
    reset_shard(1);
    struct tt_record_idempotency block = {.index = 6, .count = 10};
    tt_idempotency_key_hash(&shard.world.hash_key, TT_BYTES_NONE, tt_bytes_text("k"),
                            block.key_hash);
    tt_idempotency_body_hash(&shard.world.hash_key, 0, tt_bytes_text(body), block.body_hash);
    cr_assert_eq(tt_idempotency_add(keys[0], &block, 46, 4, 0, wall_us, wall_us), TT_OK);
    publish(JSON_TYPE KEY("k"), "", body, 100);
    cr_assert_eq(reply.status, 202);
    static const char ids[] = "{\"ids\":[\"k7Qp2a-0-40\",\"k7Qp2a-0-41\"";
    cr_assert_eq(strncmp(reply.body, ids, strlen(ids)), 0, "%s", reply.body);
    cr_assert_eq(next_offset[0], 0);
}

Test(publish_key, what_does_not_fit_the_request_is_refused)
{
    reset_shard(1);
    struct tt_record_idempotency block = {.index = 0, .count = 1};
    tt_idempotency_key_hash(&shard.world.hash_key, TT_BYTES_NONE, tt_bytes_text("k"),
                            block.key_hash);
    tt_idempotency_body_hash(&shard.world.hash_key, 0, tt_bytes_text(ONE), block.body_hash);
    cr_assert_eq(tt_idempotency_add(keys[0], &block, 7, 2, 0, wall_us, wall_us), TT_OK);
    publish(JSON_TYPE KEY("k"), "", ONE, 100);
    says(503, "idempotency_incomplete", "publish: ");
    block.index = 9;
    cr_assert_eq(
        tt_idempotency_add(keys[0], &block, 0, 1, 0, wall_us + 10000000, wall_us + 10000000),
        TT_OK);
    wall_us += 10000000;
    publish(JSON_TYPE KEY("k"), "", ONE, 100);
    says(503, "idempotency_incomplete", "publish: ");
}

Test(publish_key, an_empty_array_claims_too)
{
    for (uint32_t partitions = 1; partitions <= 4; partitions += 3) {
        reset_shard(partitions);
        publish(JSON_TYPE KEY("k"), "", "[]", 100);
        answers(202, "{\"ids\":[]}\n");
        publish(JSON_TYPE KEY("k"), "", "[]", 100);
        answers(202, "{\"ids\":[]}\n");
        publish(JSON_TYPE KEY("k"), "", ONE, 100);
        says(422, "idempotency_mismatch", "another body");
        refuse[0] = TT_FULL;
        publish(NDJSON_TYPE KEY("l"), "", "\n\n", 100);
        answers(202, "{\"count\":0,\"first\":null,\"last\":null}\n");
    }
}

Test(publish_key, lines_are_kept_whole)
{
    static const char lines[] = "{\"channel\":\"a\"}\n\n{\"channel\":\"b\"}\r\n{\"channel\":\"c\"}";
    for (size_t piece = 1; piece < sizeof lines; piece += 5) {
        reset_shard(4);
        for (int i = 0; i < 2; i++) {
            publish(NDJSON_TYPE KEY("k"), "", lines, piece);
            answers(202, "{\"count\":3,\"first\":\"k7Qp2a-1-0\",\"last\":\"k7Qp2a-3-0\"}\n");
            cr_assert_not(reply.streamed, "--max-body-bytes bounds it");
            publish(NDJSON_TYPE KEY("k"), "ids=1", lines, piece);
            answers(202, "{\"count\":3,\"first\":\"k7Qp2a-1-0\",\"last\":\"k7Qp2a-3-0\","
                         "\"ids\":[\"k7Qp2a-1-0\",\"k7Qp2a-2-0\",\"k7Qp2a-3-0\"]}\n");
        }
    }
    refuse[2] = TT_FULL;
    publish(NDJSON_TYPE KEY("l"), "ids=1", lines, 9);
    says(503, "overloaded",
         "line 3: the log has no room for it at the moment; 2 events were taken");
    says(503, "overloaded",
         "\"count\":2,\"first\":\"k7Qp2a-1-1\",\"last\":\"k7Qp2a-3-1\",\"ids\":["
         "\"k7Qp2a-1-1\",null,\"k7Qp2a-3-1\"]}");
    unsigned before = requests_seen;
    publish(NDJSON_TYPE KEY("m"), "ids=1", "{\"channel\":\"a\"}\n{\"channel\":\"b c\"}\n", 9);
    says(400, "invalid_field", "line 2: ");
    says(400, "0 events were taken", "\"count\":0,\"first\":null,\"last\":null,\"ids\":[]}");
    cr_assert_eq(requests_seen, before, "nothing was sent");
    static char text[40000];
    (void)snprintf(text, sizeof text, "{\"channel\":\"a\"}\n%039000d\n", 0);
    publish(NDJSON_TYPE KEY("n"), "", text, 4000);
    says(413, "too_large", "line 2: is longer than");
}

Test(publish_key, events_of_one_body_are_bounded)
{
    char *text = malloc((TT_PUBLISH_ARRAY_MAX + 1) * 16 + 1), *to = text;
    for (unsigned i = 0; i <= TT_PUBLISH_ARRAY_MAX; i++) to += sprintf(to, "{\"channel\":\"a\"}\n");
    reset_shard(1);
    publish(NDJSON_TYPE KEY("k"), "", text, 65536);
    says(413, "too_many_events", "line 65537: ");
    to[-16] = '\0';
    publish(NDJSON_TYPE KEY("k"), "", text, 65536);
    says(202, "count", "65536");
    free(text);
}

Test(publish_key, the_peer_goes_at_any_moment)
{
    for (unsigned turns = 0; turns < 8; turns++) {
        for (unsigned most = 1; most <= OPEN_MAX; most *= 8) {
            reset_shard(4);
            open_max = most;
            struct tt_exchange *x = begin(key_of(0, 4), "");
            (void)x->ops->body(x, tt_bytes_text(FOUR), true);
            for (unsigned i = 0; i < turns && reply.answers == 0; i++) turn();
            end(x);
            all_is_given_back();
            for (int p = 0; p < 4; p++) cr_assert_leq(next_offset[p], 1);
            open_max = OPEN_MAX;
            publish(key_of(0, 4), "", FOUR, 100);
            answers(202, FOUR_IDS);
            for (int p = 0; p < 4; p++) cr_assert_eq(next_offset[p], 1);
        }
    }
}
