#include "broker/kafka/placing_file.h"

#include <criterion/criterion.h>

#include "tests/support/store_rig.h"

static struct store_rig rig;

static void set_up(void)
{
    store_rig_init(&rig);
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(placing_file, .init = set_up, .fini = tear_down);

static const struct tt_kafka_placing quotes = {
    .history = {"kkkkkk"}, .partitioner = TT_PARTITIONER_MURMUR2, .partitions = 8};

Test(placing_file, what_was_written_is_read)
{
    struct tt_kafka_placing placing, written = quotes;
    cr_assert_not(tt_kafka_placing_read(&rig.access, "data", &placing));
    for (unsigned i = 0; i < 2; i++) {
        written.anywhere = i != 0;
        cr_assert_eq(tt_kafka_placing_write(&rig.access, "data", &written), TT_OK);
        cr_assert(tt_kafka_placing_read(&rig.access, "data", &placing));
        cr_assert(tt_history_equal(placing.history, quotes.history));
        cr_assert_eq(placing.partitioner, TT_PARTITIONER_MURMUR2);
        cr_assert_eq(placing.partitions, 8);
        cr_assert_eq(placing.anywhere, i != 0);
    }
    cr_assert_null(store_rig_find(&rig, "data/PLACING.new"));
}

Test(placing_file, other_texts_are_not_ours)
{
    static const char *const texts[] = {
        "",
        "tickertape-placing 1\n",
        "tickertape-placing 2\nkkkkkk 2 8 0\n",
        "tickertape-placing 1\nkkkkkk 2 8\n",
        "tickertape-placing 1\nkkkkkk 2 8 0",
        "tickertape-placing 1\nkkkkkk 2 8 0\nmore\n",
        "tickertape-placing 1\nkkkk-k 2 8 0\n",
        "tickertape-placing 1\nkkkkkk 2 08 0\n",
    };
    struct tt_kafka_placing placing;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t file;
        const struct tt_files *f = &rig.access;
        cr_assert_eq(f->open(f->context, "data/PLACING", TT_FILES_CREATE, &file), TT_OK);
        cr_assert_eq(f->write(f->context, file, 0, texts[i], strlen(texts[i])), TT_OK);
        f->close(f->context, file);
        cr_assert_not(tt_kafka_placing_read(&rig.access, "data", &placing), "%s", texts[i]);
        cr_assert_eq(f->unlink(f->context, "data/PLACING"), TT_OK);
    }
}

Test(placing_file, a_declaration_holds_only_for_a_mirror_that_was_made_under_it)
{
    struct tt_kafka_placing before = quotes;
    cr_assert_not(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    cr_assert(tt_kafka_placing_next(NULL, &quotes, false).anywhere);
    before.partitions = 4; /* it has grown while nobody looked */
    cr_assert(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    cr_assert_eq(tt_kafka_placing_next(&before, &quotes, false).partitions, 8);
    before.partitions = 0; /* it came up meanwhile */
    cr_assert_not(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    before = quotes;
    before.partitioner = TT_PARTITIONER_CRC32;
    cr_assert(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    before = quotes;
    before.history = (struct tt_history){"zzzzzz"};
    cr_assert(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    before = quotes;
    before.anywhere = true;
    cr_assert(tt_kafka_placing_next(&before, &quotes, false).anywhere);
    /* Nothing is mirrored: everything that will be is looked at. */
    cr_assert_not(tt_kafka_placing_next(&before, &quotes, true).anywhere);
    cr_assert_not(tt_kafka_placing_next(NULL, &quotes, true).anywhere);
}
