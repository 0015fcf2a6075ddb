#include <criterion/criterion.h>

#include "tools/ttload/proof.h"

/* One client of the channels 3, 5 and 9. */
static struct tt_proof_counts counts;
static struct tt_proof proof = {3, false, 0, &counts};
static struct tt_sequence rows[3];
static struct tt_proof_client client;
static struct tt_proof_end end;
static uint32_t published[10];

static void start(uint8_t flags, uint32_t kept_every)
{
    static const uint32_t channels[] = {3, 5, 9};
    memset(rows, 0, sizeof rows);
    memset(published, 0, sizeof published);
    counts = (struct tt_proof_counts){0};
    proof.kept_every = kept_every;
    end = (struct tt_proof_end){0};
    tt_proof_client_init(&proof, &client, rows, channels, flags);
}

static void take(uint32_t channel, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        cr_assert_eq(tt_proof_take(&proof, &client, channel, i, true), TT_PROOF_NEW, "%u", i);
    }
}

static const char *notice(const char *type, const char *data)
{
    return tt_proof_notice(&proof, &client, tt_bytes_text(type), tt_bytes_text(data));
}

static void finish(uint32_t on3, uint32_t on5, uint32_t on9)
{
    published[3] = on3;
    published[5] = on5;
    published[9] = on9;
    tt_proof_finish(&proof, &client, 7, published, &end);
}

Test(ttload_proof, complete_over_a_cut)
{
    start(0, 0);
    take(3, 1, 100);
    take(9, 1, 1);
    tt_proof_cut(&client);
    take(3, 101, 200);
    take(9, 2, 2);
    finish(200, 0, 2);
    cr_assert_eq(end.lost, 0);
    cr_assert_eq(end.unknown, 0);
    cr_assert_eq(counts.delivered, 202);
    cr_assert_eq(counts.gaps + counts.doubled + counts.reordered, 0);
    cr_assert_eq(tt_proof_behind(&proof, &client, published), 0);
}

Test(ttload_proof, lost_in_the_middle_and_at_the_end)
{
    start(0, 0);
    take(3, 1, 10);
    take(3, 14, 14);
    cr_assert_eq(counts.missing, 3);
    finish(20, 4, 0);
    cr_assert_eq(tt_proof_behind(&proof, &client, published), 2);
    cr_assert_eq(end.lost, 3 + 6 + 4);
    /* What is lost on one channel does not hide behind what is too much on another. */
    start(0, 0);
    take(3, 1, 5);
    take(5, 1, 7);
    finish(6, 6, 0);
    cr_assert_eq(end.lost, 1);
    cr_assert_eq(end.unknown, 1);
}

Test(ttload_proof, doubled_late_and_foreign)
{
    start(0, 0);
    take(5, 1, 3);
    cr_assert_eq(tt_proof_take(&proof, &client, 5, 3, true), TT_PROOF_KNOWN);
    cr_assert_eq(counts.doubled, 1);
    take(5, 6, 6);
    take(5, 5, 5);
    cr_assert_eq(counts.reordered, 1);
    cr_assert_eq(counts.missing, 1);
    cr_assert_eq(tt_proof_take(&proof, &client, 4, 1, true), TT_PROOF_NOT_FOLLOWED);
    cr_assert_eq(tt_proof_take(&proof, &client, 10, 1, true), TT_PROOF_NOT_FOLLOWED);
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 1, false), TT_PROOF_NO_ID);
    finish(0, 6, 0);
    cr_assert_eq(end.lost, 1);
}

Test(ttload_proof, what_was_told_of_is_not_lost_but_only_once_for_each_channel)
{
    start(0, 0);
    take(3, 1, 5);
    take(5, 1, 5);
    cr_assert_null(notice("resync", "{\"reason\":\"expired\",\"channels\":[]}"));
    take(3, 21, 21);
    take(5, 11, 11);
    cr_assert_eq(counts.told, 15 + 5);
    cr_assert_eq(counts.losses_told, 1);
    cr_assert_eq(counts.missing, 0);
    take(5, 13, 13); /* not told of */
    cr_assert_eq(counts.missing, 1);
    finish(21, 13, 8);
    cr_assert_eq(end.lost, 1, "channel 9 had nothing left, as it was told");
}

Test(ttload_proof, conflating_may_skip_but_says_how_much)
{
    start(TT_PROOF_CONFLATES, 0);
    take(3, 1, 1);
    take(3, 8, 8);
    take(5, 2, 2);
    cr_assert_eq(counts.conflated, 7);
    cr_assert_eq(counts.gaps, 0);
    cr_assert_null(
        notice("gap", "{\"reason\":\"conflated\",\"skipped\":7,\"from\":\"a\",\"to\":\"b\"}"));
    finish(8, 2, 0);
    cr_assert_eq(end.lost + end.stale + end.miscounted, 0);
    client.skipped = 6;
    finish(8, 2, 0);
    cr_assert_eq(end.miscounted, 1);
    cr_assert_eq(end.miscounted_client, 7);
    cr_assert_eq(end.miscounted_told, 6);
    cr_assert_eq(end.miscounted_missed, 7);
}

Test(ttload_proof, conflating_never_goes_backwards_and_ends_at_the_newest)
{
    start(TT_PROOF_CONFLATES | TT_PROOF_MAX_RATE, 0);
    take(3, 5, 5);
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 4, true), TT_PROOF_NEW);
    cr_assert_eq(counts.reordered, 1);
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 5, true), TT_PROOF_KNOWN);
    cr_assert_eq(counts.doubled, 1);
    finish(6, 1, 0);
    cr_assert_eq(end.stale, 2);
    cr_assert_eq(end.lost, 0);
    cr_assert_eq(end.miscounted, 0, "with max_rate it is not told of each tick");
}

Test(ttload_proof, events_that_are_never_conflated_are_all_there)
{
    start(TT_PROOF_CONFLATES, 5);
    take(3, 4, 4);
    take(3, 5, 5);
    take(3, 9, 10);
    cr_assert_eq(counts.kept_lost, 0);
    take(3, 21, 21); /* 15 and 20 */
    cr_assert_eq(counts.kept_lost, 2);
}

Test(ttload_proof, a_lag_leads_to_a_snapshot)
{
    start(TT_PROOF_MAX_LAG, 5);
    take(3, 1, 2);
    take(5, 1, 5);
    cr_assert_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":12}"));
    /* Values, without ids: one is newer, one is what the client has, below an event that is never a
     * value. */
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 9, false), TT_PROOF_NEW);
    cr_assert_eq(tt_proof_take(&proof, &client, 5, 4, false), TT_PROOF_KNOWN);
    cr_assert_eq(counts.again, 1);
    cr_assert_eq(counts.told, 6);
    cr_assert_null(notice("snapshot-end", "{\"events\":2}"));
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 10, false), TT_PROOF_NO_ID);
    take(3, 10, 11);
    finish(11, 5, 0);
    cr_assert_eq(end.lost, 0);
    /* A value that is older than what was shown. */
    start(TT_PROOF_MAX_LAG, 0);
    take(3, 1, 4);
    cr_assert_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":12}"));
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 3, false), TT_PROOF_KNOWN);
    cr_assert_eq(counts.doubled, 1);
    /* A channel that the snapshot leaves out although it has a newer value. */
    finish(4, 1, 0);
    cr_assert_eq(end.lost, 1);
}

Test(ttload_proof, events_behind_a_value_that_are_no_values_belong_to_the_hole)
{
    start(TT_PROOF_MAX_LAG, 7);
    take(3, 1, 2);
    take(5, 1, 6);
    cr_assert_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":12}"));
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 13, false), TT_PROOF_NEW);
    cr_assert_eq(tt_proof_take(&proof, &client, 5, 6, false), TT_PROOF_KNOWN);
    cr_assert_null(notice("snapshot-end", "{\"events\":2}"));
    take(3, 15, 15); /* 14 was never a value */
    take(5, 8, 8);   /* nor was 7 */
    cr_assert_eq(counts.told, 10 + 1 + 1);
    cr_assert_eq(counts.missing, 0);
    /* But not later, and not more. */
    take(3, 20, 20);
    take(3, 22, 22);
    cr_assert_eq(counts.missing, 4 + 1);
    start(TT_PROOF_MAX_LAG, 7);
    cr_assert_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":12}"));
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 13, false), TT_PROOF_NEW);
    take(3, 16, 16);
    cr_assert_eq(counts.missing, 2);
}

Test(ttload_proof, what_a_cut_snapshot_gave_may_come_again)
{
    start(TT_PROOF_MAX_LAG, 0);
    take(3, 1, 2);
    cr_assert_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":3}"));
    cr_assert_eq(tt_proof_take(&proof, &client, 3, 5, false), TT_PROOF_NEW);
    tt_proof_cut(&client);
    for (uint32_t i = 3; i <= 5; i++) {
        cr_assert_eq(tt_proof_take(&proof, &client, 3, i, true), TT_PROOF_KNOWN);
    }
    take(3, 6, 6);
    finish(6, 0, 0);
    cr_assert_eq(end.lost, 0);
    cr_assert_eq(counts.doubled + counts.reordered, 0);
}

Test(ttload_proof, notices_that_make_no_sense)
{
    start(0, 0);
    cr_assert_not_null(notice("gap", "{\"reason\":\"conflated\",\"skipped\":1}"));
    cr_assert_not_null(notice("gap", "{\"reason\":\"lag\",\"skipped\":1}"));
    cr_assert_not_null(notice("gap", "{\"reason\":\"mood\"}"));
    cr_assert_not_null(notice("gap", ""));
    cr_assert_not_null(notice("snapshot-end", "{}"));
    start(TT_PROOF_CONFLATES, 0);
    cr_assert_not_null(notice("gap", "{\"reason\":\"conflated\"}"));
}
