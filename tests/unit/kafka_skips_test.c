/* What is told of skipped records: every one is counted, one line a second is written. */
#include "broker/kafka/skips.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define SECOND UINT64_C(1000000000)

static struct tt_kafka_skips skips[2];

static void has(const struct tt_diag_line *line, const char *text)
{
    char message[TT_DIAG_MESSAGE_MAX + 1] = "";
    cr_assert_not_null(line);
    memcpy(message, line->message, line->message_bytes);
    cr_assert(strstr(message, text) != NULL, "\"%s\" does not say \"%s\"", message, text);
}

Test(kafka_skips, one_line_a_second_says_where_why_and_how_many_more)
{
    struct tt_diag *diag;
    cr_assert_eq(tt_diag_create(&diag, 0), TT_OK);
    tt_kafka_skips_note(&skips[0], diag, SECOND, "quotes", 3, 42, TT_KAFKA_SKIP_JSON);
    for (int i = 0; i < 10; i++)
        tt_kafka_skips_note(&skips[0], diag, 2 * SECOND - 1, "quotes", 3, 43 + i,
                            TT_KAFKA_SKIP_TOO_LARGE);
    const struct tt_diag_line *line = tt_diag_next(diag);
    has(line, "topic quotes, partition 3, offset 42");
    has(line, "not one valid JSON value");
    cr_assert_str_eq(line->code, "kafka_skipped");
    tt_diag_taken(diag);
    cr_assert_null(tt_diag_next(diag));
    tt_kafka_skips_note(&skips[0], diag, 2 * SECOND, "quotes", 3, 99, TT_KAFKA_SKIP_JSON);
    line = tt_diag_next(diag);
    has(line, "offset 99");
    has(line, "10 more");
    tt_diag_destroy(&diag);
}

Test(kafka_skips, the_longest_line_is_whole)
{
    struct tt_diag *diag;
    char topic[250];
    memset(topic, 't', sizeof(topic) - 1);
    topic[sizeof(topic) - 1] = '\0';
    cr_assert_eq(tt_diag_create(&diag, 0), TT_OK);
    for (unsigned i = 0; i < TT_KAFKA_SKIPS; i++) {
        skips[1].unspoken_ = UINT64_MAX;
        tt_kafka_skips_note(&skips[1], diag, (1 + i) * SECOND, topic, INT32_MAX, INT64_MAX,
                            (enum tt_kafka_skip)i);
        const struct tt_diag_line *line = tt_diag_next(diag);
        has(line, tt_kafka_skip_texts[i]);
        has(line, "since the last such line");
        tt_diag_taken(diag);
    }
    tt_diag_destroy(&diag);
}

Test(kafka_skips, figures_are_sums_over_shards_by_reason)
{
    static uint8_t text[TT_KAFKA_SKIPS_METRIC_BYTES_MAX + 1];
    struct tt_writer w = tt_writer(text, TT_KAFKA_SKIPS_METRIC_BYTES_MAX);
    for (unsigned i = 0; i < 5; i++)
        tt_kafka_skips_note(&skips[i % 2], NULL, 1, "t", 0, 0, TT_KAFKA_SKIP_TYPE);
    tt_kafka_skips_write(&w, skips, 2);
    cr_assert_not(w.overflow);
    cr_assert_not_null(
        strstr((char *)text, "\ntickertape_kafka_skipped_total{reason=\"type\"} 5\n"));
    cr_assert_not_null(
        strstr((char *)text, "\ntickertape_kafka_skipped_total{reason=\"json\"} 0\n"));
}
