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
        .topology = &topology, .next = next, .head = head, .oldest = oldest};
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
