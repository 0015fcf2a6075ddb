#include <criterion/criterion.h>
#include <stdio.h>

#include "shard/replay/resume.h"

#define PARTITIONS 4u

static struct tt_cursor_storage storage;
static uint64_t next[PARTITIONS] = {10, 20, 30, 40};
static uint64_t head[PARTITIONS] = {12, 20, 30, 44};
static uint64_t oldest[PARTITIONS] = {0, 5, 0, 0};
static uint64_t pos[PARTITIONS];
static struct tt_resume resume;

static void run(uint32_t partitions, uint32_t partition, const char *cursor,
                enum tt_subscribe_from from)
{
    const struct tt_topic topic = {.name = "",
                                   .history = {"abcdef"},
                                   .capacity = partitions,
                                   .partitions = partitions,
                                   .fixed = true};
    const struct tt_hash_key key = {1, 2};
    struct tt_topology topology;
    cr_assert_eq(tt_topology_init(&topology, &topic, 1, &key), TT_OK);
    struct tt_resume_view view = {
        .topology = &topology, .next = next, .head = head, .oldest = oldest, .touched = 1};
    memset(pos, 0xFF, sizeof pos);
    tt_resume(&view, partition, tt_bytes_text(cursor), from, &storage, &resume, pos);
    tt_topology_deinit(&topology);
}

static const char *full(const uint64_t *values, uint32_t n)
{
    static uint8_t text[TT_CURSOR_BYTES_MAX + 1];
    struct tt_cursor_storage own;
    struct tt_cursor c;
    struct tt_history h;
    cr_assert_eq(tt_history_parse(tt_bytes_text("abcdef"), &h), TT_OK);
    tt_cursor_init(&c, &own);
    uint64_t *entries = tt_cursor_add(&c, h, n);
    memcpy(entries, values, n * sizeof *values);
    struct tt_writer w = tt_writer(text, sizeof text - 1);
    tt_cursor_write_full(&w, &c);
    text[w.size] = 0;
    return (const char *)text;
}

Test(resume, without_a_cursor_it_starts_as_from_says)
{
    run(PARTITIONS, TT_PARTITION_ALL, "", TT_FROM_LIVE);
    cr_assert_arr_eq(pos, next, sizeof pos);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert_not(resume.repeat_cursor);
    run(PARTITIONS, TT_PARTITION_ALL, "", TT_FROM_EARLIEST);
    cr_assert_arr_eq(pos, oldest, sizeof pos);
    run(PARTITIONS, 1, "", TT_FROM_EARLIEST);
    cr_assert_eq(resume.partition, 1);
    cr_assert_eq(pos[1], 5);
}

Test(resume, a_narrow_cursor_keeps_its_client_narrow_in_its_own_partition)
{
    run(PARTITIONS, 2, "abcdef-2-14/4", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 2);
    cr_assert_eq(pos[2], 15);
    cr_assert(resume.repeat_cursor);
    /* A bare id is as good for its own partition. */
    run(PARTITIONS, 2, "abcdef-2-14", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 2);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    run(1, 0, "abcdef-0-3", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 0);
    cr_assert_eq(pos[0], 4);
}

Test(resume, a_narrow_cursor_for_a_wider_subscription_starts_the_others_live)
{
    run(PARTITIONS, TT_PARTITION_ALL, "abcdef-2-14/4", TT_FROM_EARLIEST);
    cr_assert_eq(resume.resync, TT_RESUME_PARTIAL);
    cr_assert_not(resume.repeat_cursor);
    cr_assert_eq(pos[2], 15);
    cr_assert_eq(pos[0], next[0]);
    cr_assert_eq(pos[3], next[3]);
    /* Of another partition: the subscription's own one is not in it. */
    run(PARTITIONS, 1, "abcdef-2-14/4", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, TT_PARTITION_ALL);
    cr_assert_eq(resume.resync, TT_RESUME_PARTIAL);
    cr_assert_eq(pos[1], next[1]);
    cr_assert_eq(pos[2], 15);
}

Test(resume, a_full_cursor_keeps_its_client_full)
{
    uint64_t values[PARTITIONS] = {3, 6, 0, 40};
    run(PARTITIONS, 1, full(values, PARTITIONS), TT_FROM_LIVE);
    cr_assert_eq(resume.partition, TT_PARTITION_ALL);
    cr_assert_arr_eq(pos, values, sizeof pos);
    cr_assert(resume.repeat_cursor);
    /* With one partition there is nothing to be full about. */
    run(1, 0, full(values, 1), TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 0);
    cr_assert_eq(pos[0], 3);
}

Test(resume, a_partition_newer_than_the_cursor_starts_at_its_beginning)
{
    uint64_t values[2] = {3, 6};
    run(PARTITIONS, TT_PARTITION_ALL, full(values, 2), TT_FROM_LIVE);
    cr_assert_eq(pos[2], 0);
    cr_assert_eq(pos[3], 0);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
}

Test(resume, a_cursor_that_cannot_be_kept_is_told)
{
    static const char *const bad[] = {"rubbish", "zzzzzz-0-4", "~AAAA", "abcdef-0-x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        run(PARTITIONS, TT_PARTITION_ALL, bad[i], TT_FROM_EARLIEST);
        cr_assert_eq(resume.resync, TT_RESUME_HISTORY, "%s", bad[i]);
        cr_assert_not(resume.repeat_cursor);
        cr_assert_arr_eq(pos, oldest, sizeof pos); /* on as `from` says */
    }
    cr_assert_str_eq(tt_resume_resync_text(TT_RESUME_HISTORY), "history");
}

Test(resume, between_what_this_shard_read_and_the_logs_end_is_not_ahead)
{
    run(1, 0, "abcdef-0-11", TT_FROM_LIVE); /* next 12 == head, R is 10 */
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert_eq(pos[0], 12);
    run(1, 0, "abcdef-0-12", TT_FROM_LIVE); /* nobody can have seen offset 12 */
    cr_assert_eq(resume.resync, TT_RESUME_AHEAD);
    cr_assert_eq(pos[0], next[0]);
}

Test(resume, an_expired_position_is_kept_for_the_catch_up_to_tell)
{
    run(PARTITIONS, 1, "abcdef-1-2/4", TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert_eq(pos[1], 3);
    cr_assert_not(resume.repeat_cursor);
}

Test(resume, a_list_of_ids_raises_the_cursor)
{
    run(PARTITIONS, 2, "abcdef-2-14/4,abcdef-2-17,abcdef-2-16", TT_FROM_LIVE);
    cr_assert_eq(pos[2], 18);
    uint64_t values[PARTITIONS] = {3, 6, 0, 40};
    char text[TT_CURSOR_BYTES_MAX + 32];
    snprintf(text, sizeof text, "%s,abcdef-0-8", full(values, PARTITIONS));
    run(PARTITIONS, TT_PARTITION_ALL, text, TT_FROM_LIVE);
    cr_assert_eq(pos[0], 9);
    cr_assert_eq(pos[1], 6);
}

/* ---- several topics of a source, with slots ---- */

/* quotes: local 0 to 3, of which 0 and 1 are known; trades: local 4 and 5, 4 is known. */
static struct tt_topic topics[2] = {
    {.name = "quotes",
     .history = {"qqqqqq"},
     .capacity = 4,
     .partitions = 2,
     .partitioner = TT_PARTITIONER_ANY},
    {.name = "trades",
     .history = {"tttttt"},
     .first = 4,
     .capacity = 2,
     .partitions = 1,
     .partitioner = TT_PARTITIONER_ANY},
};
static struct tt_topology two;
static uint64_t next2[6] = {10, 20, 0, 0, 30, 0};
static uint64_t head2[6] = {10, 20, 0, 0, 30, 0};
static uint64_t oldest2[6] = {2, 0, 0, 0, 4, 0};
static uint64_t pos2[6];
static struct tt_resume_source source2[6];
static uint64_t touched = 3;

static void declare(enum tt_partitioner partitioner)
{
    topics[0].partitioner = partitioner;
}

static void run2(uint32_t partition, const char *cursor, enum tt_subscribe_from from)
{
    const struct tt_hash_key key = {1, 2};
    if (two.topics == NULL) cr_assert_eq(tt_topology_init(&two, topics, 2, &key), TT_OK);
    struct tt_resume_view view = {.topology = &two,
                                  .next = next2,
                                  .head = head2,
                                  .oldest = oldest2,
                                  .source = source2,
                                  .touched = touched};
    memset(pos2, 0xFF, sizeof pos2);
    tt_resume(&view, partition, tt_bytes_text(cursor), from, &storage, &resume, pos2);
}

struct entry {
    const char *history;
    uint32_t n;
    uint64_t next[8];
};

static const char *full2(struct entry a, struct entry b)
{
    static uint8_t text[TT_CURSOR_BYTES_MAX + 1];
    struct tt_cursor_storage own;
    struct tt_cursor c;
    tt_cursor_init(&c, &own);
    struct entry both[2] = {a, b};
    for (unsigned i = 0; i < 2 && both[i].history != NULL; i++) {
        struct tt_history h;
        cr_assert_eq(tt_history_parse(tt_bytes_text(both[i].history), &h), TT_OK);
        uint64_t *entries = tt_cursor_add(&c, h, both[i].n);
        memcpy(entries, both[i].next, both[i].n * sizeof *entries);
    }
    struct tt_writer w = tt_writer(text, sizeof text - 1);
    tt_cursor_write_full(&w, &c);
    text[w.size] = 0;
    return (const char *)text;
}

static void expect2(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    const uint64_t expected[6] = {a, b, c, d, e, f};
    for (unsigned p = 0; p < 6; p++)
        cr_assert_eq(pos2[p], expected[p], "partition %u: %llu, not %llu", p,
                     (unsigned long long)pos2[p], (unsigned long long)expected[p]);
}

Test(resume, a_full_cursor_resumes_every_topic_in_whichever_order)
{
    run2(TT_PARTITION_ALL,
         full2((struct entry){"tttttt", 1, {29}}, (struct entry){"qqqqqq", 2, {7, 20}}),
         TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert(resume.repeat_cursor);
    expect2(7, 20, 0, 0, 29, 0);
}

Test(resume, what_the_cursor_does_not_have_of_its_topic_starts_at_its_beginning)
{
    run2(TT_PARTITION_ALL,
         full2((struct entry){"tttttt", 1, {29}}, (struct entry){"qqqqqq", 1, {7}}), TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    expect2(7, 0, 0, 0, 29, 0);
}

Test(resume, a_partition_that_is_not_known_here_yet_is_waited_for)
{
    const char *cursor =
        full2((struct entry){"tttttt", 1, {29}}, (struct entry){"qqqqqq", 4, {7, 20, 0, 55}});
    run2(TT_PARTITION_ALL, cursor, TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert(resume.repeat_cursor);
    cr_assert_not(resume.dropped);
    expect2(7, 20, 0, 55, 29, 0);
    /* What it is given from now on says it again. */
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_topology_write_full(&two, pos2, &w);
    struct tt_cursor c;
    tt_cursor_init(&c, &storage);
    cr_assert_eq(tt_cursor_parse(tt_writer_bytes(&w), &c), TT_OK);
    cr_assert_eq(tt_cursor_next(&c, tt_cursor_find(&c, topics[0].history), 3), 55);
    cr_assert_eq(tt_cursor_next(&c, tt_cursor_find(&c, topics[1].history), 0), 29);
    cr_assert_eq(tt_cursor_next(&c, tt_cursor_find(&c, topics[1].history), 1), TT_CURSOR_BEGINNING);
}

Test(resume, partitions_beyond_the_slots_are_left_out)
{
    run2(TT_PARTITION_ALL,
         full2((struct entry){"tttttt", 1, {29}}, (struct entry){"qqqqqq", 6, {7, 20, 0, 0, 9, 9}}),
         TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert(resume.dropped);
    expect2(7, 20, 0, 0, 29, 0);
}

Test(resume, a_topic_that_the_cursor_lacks_starts_live_and_is_told)
{
    run2(TT_PARTITION_ALL, full2((struct entry){"qqqqqq", 2, {7, 8}}, (struct entry){0}),
         TT_FROM_EARLIEST);
    cr_assert_eq(resume.resync, TT_RESUME_PARTIAL);
    cr_assert_not(resume.fresh);
    expect2(7, 8, 0, 0, 30, 0);
    run2(TT_PARTITION_ALL, "tttttt-0-12", TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_PARTIAL);
    expect2(10, 20, 0, 0, 13, 0);
}

Test(resume, a_history_that_is_gone_leaves_the_others_exact)
{
    /* Its topic is not followed any more: nothing is missing. */
    struct entry both = {"qqqqqq", 2, {7, 8}};
    run2(TT_PARTITION_ALL, full2((struct entry){"zzzzzz", 1, {5}}, both), TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_HISTORY); /* trades was made anew, as it seems */
    cr_assert_not(resume.fresh);
    expect2(7, 8, 0, 0, 30, 0);
    run2(TT_PARTITION_ALL, full2((struct entry){"zzzzzz", 1, {5}}, both), TT_FROM_EARLIEST);
    expect2(7, 8, 0, 0, 4, 0);
    run2(TT_PARTITION_ALL, full2((struct entry){"zzzzzz", 1, {5}}, (struct entry){0}),
         TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_HISTORY);
    cr_assert(resume.fresh);
    expect2(10, 20, 0, 0, 30, 0);
}

Test(resume, beyond_the_end_of_a_mirror_is_lag)
{
    run2(TT_PARTITION_ALL,
         full2((struct entry){"tttttt", 1, {99}}, (struct entry){"qqqqqq", 2, {7, 20}}),
         TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert(resume.repeat_cursor);
    expect2(7, 20, 0, 0, 99, 0);
}

Test(resume, a_bare_id_of_a_topic_with_one_partition_says_all_of_it)
{
    topics[1].partitions = 1;
    const struct tt_hash_key key = {1, 2};
    struct tt_topic one = topics[1];
    one.first = 0;
    cr_assert_eq(tt_topology_init(&two, &one, 1, &key), TT_OK);
    run2(TT_PARTITION_ALL, "tttttt-0-7", TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert_eq(pos2[0], 8);
    cr_assert_eq(pos2[1], next2[1]);
}

Test(resume, a_narrow_cursor_of_a_declared_topic_stays_narrow)
{
    declare(TT_PARTITIONER_MURMUR2);
    run2(1, "qqqqqq-1-6/2", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 1);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    cr_assert_eq(pos2[1], 7);
    /* Of more or fewer partitions, but the channel's is the same one: nothing of it is elsewhere.
     */
    run2(1, "qqqqqq-1-6/3", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, 1);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
}

Test(resume, a_narrow_cursor_of_other_partitions_is_told)
{
    declare(TT_PARTITIONER_MURMUR2);
    /* By one partition it lay in the first; here there are two, and it lies in the second. */
    run2(1, "qqqqqq-0-6/1", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, TT_PARTITION_ALL);
    cr_assert_eq(pos2[0], 7);
    cr_assert_eq(pos2[1], 0); /* beyond the cursor's partitions: from its beginning */
    cr_assert_eq(pos2[4], 30);
    cr_assert_eq(resume.resync, TT_RESUME_PARTIAL); /* of the other topic */
    touched = 1;                                    /* which cannot hold what it follows */
    run2(1, "qqqqqq-0-6/1", TT_FROM_LIVE);
    cr_assert_eq(resume.resync, TT_RESUME_EXACT);
    expect2(7, 0, 0, 0, 30, 0);
    /* By three it lay in the third, which is not known here yet. */
    run2(0, "qqqqqq-2-6/3", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, TT_PARTITION_ALL);
    cr_assert_eq(resume.resync, TT_RESUME_REPARTITIONED);
    cr_assert_str_eq(tt_resume_resync_text(resume.resync), "repartitioned");
    expect2(10, 20, 7, 0, 30, 0);
}

Test(resume, a_narrow_cursor_of_a_topic_that_may_hold_it_anywhere_is_told)
{
    run2(TT_PARTITION_ALL, "qqqqqq-1-6/2", TT_FROM_LIVE);
    cr_assert_eq(resume.partition, TT_PARTITION_ALL);
    cr_assert_eq(resume.resync, TT_RESUME_REPARTITIONED);
    cr_assert_not(resume.repeat_cursor);
    expect2(10, 7, 0, 0, 30, 0);
}

Test(resume, live_while_a_topic_is_read_for_the_first_time_is_the_end_of_its_source)
{
    source2[1] = (struct tt_resume_source){.end = 500, .backfilling = true};
    source2[4] = (struct tt_resume_source){.end = 8, .backfilling = true};
    run2(TT_PARTITION_ALL, "", TT_FROM_LIVE);
    cr_assert_not(resume.not_ready);
    expect2(10, 500, 0, 0, 30, 0);
    run2(TT_PARTITION_ALL, "", TT_FROM_EARLIEST);
    cr_assert_not(resume.not_ready);
    run2(TT_PARTITION_ALL, "", TT_FROM_SNAPSHOT);
    cr_assert(resume.not_ready);
    run2(TT_PARTITION_ALL, "", TT_FROM_TIME);
    cr_assert(resume.not_ready);
    run2(0, "", TT_FROM_SNAPSHOT); /* another partition's business */
    cr_assert_not(resume.not_ready);
    run2(TT_PARTITION_ALL,
         full2((struct entry){"tttttt", 1, {29}}, (struct entry){"qqqqqq", 2, {7, 20}}),
         TT_FROM_SNAPSHOT);
    cr_assert_not(resume.not_ready);
    source2[1].end = 0;
    run2(TT_PARTITION_ALL, "", TT_FROM_LIVE);
    cr_assert(resume.not_ready);
}
