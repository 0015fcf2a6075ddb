#include "broker/kafka/mirror_file.h"

#include <criterion/criterion.h>
#include <stdio.h>

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
TestSuite(mirror_file, .init = set_up, .fini = tear_down);

static const struct tt_mirror quotes = {
    .cluster = "5L6g3nShT-eMCtK--X86sw", .topic = "quotes.v1_x", .generation = 3};

static void write_text(const char *path, const char *text)
{
    int32_t file;
    const struct tt_files *f = &rig.access;
    cr_assert_eq(f->open(f->context, path, TT_FILES_CREATE, &file), TT_OK);
    cr_assert_eq(f->write(f->context, file, 0, text, strlen(text)), TT_OK);
}

Test(mirror_file, what_was_written_is_read)
{
    struct tt_mirror mirror;
    cr_assert_eq(tt_mirror_read(&rig.access, "data", &mirror), TT_ENOENT);
    cr_assert_eq(tt_mirror_write(&rig.access, "data", &quotes), TT_OK);
    cr_assert_eq(tt_mirror_read(&rig.access, "data", &mirror), TT_OK);
    cr_assert_str_eq(mirror.cluster, quotes.cluster);
    cr_assert_str_eq(mirror.topic, quotes.topic);
    cr_assert_eq(mirror.generation, 3);
    mirror.generation = UINT32_MAX;
    cr_assert_eq(tt_mirror_write(&rig.access, "data", &mirror), TT_OK);
    cr_assert_eq(tt_mirror_read(&rig.access, "data", &mirror), TT_OK);
    cr_assert_eq(mirror.generation, UINT32_MAX);
    cr_assert_null(store_rig_find(&rig, "data/MIRROR.new"));
}

Test(mirror_file, longest_names)
{
    struct tt_mirror mirror = {.generation = 1}, read;
    memset(mirror.cluster, 'c', TT_MIRROR_CLUSTER_MAX);
    memset(mirror.topic, 't', TT_MIRROR_TOPIC_MAX);
    cr_assert_eq(tt_mirror_write(&rig.access, "data", &mirror), TT_OK);
    cr_assert_eq(tt_mirror_read(&rig.access, "data", &read), TT_OK);
    cr_assert_str_eq(read.cluster, mirror.cluster);
    cr_assert_str_eq(read.topic, mirror.topic);
}

Test(mirror_file, other_texts_are_refused)
{
    static const char *const texts[] = {
        "",
        "tickertape-mirror 1\n",
        "tickertape-mirror 2\ncluster a\ntopic b\ngeneration 1\n",
        "tickertape-mirror 1\ncluster a\ntopic b\ngeneration 1",
        "tickertape-mirror 1\ncluster a\ntopic b\ngeneration -1\n",
        "tickertape-mirror 1\ncluster a\ntopic b\ngeneration 4294967296\n",
        "tickertape-mirror 1\ncluster a b\ntopic b\ngeneration 1\n",
        "tickertape-mirror 1\ncluster \ntopic b\ngeneration 1\n",
        "tickertape-mirror 1\ncluster a\ntopic b\ngeneration 1\nmore x\n",
        "cluster a\ntopic b\ngeneration 1\n",
    };
    struct tt_mirror mirror;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_text("data/MIRROR", texts[i]);
        cr_assert_eq(tt_mirror_read(&rig.access, "data", &mirror), TT_EINVAL, "text %zu", i);
    }
    struct tt_mirror bad = quotes;
    bad.cluster[2] = '\n';
    cr_assert_eq(tt_mirror_write(&rig.access, "data", &bad), TT_EINVAL);
}

Test(mirror_file, histories_are_the_same_everywhere_and_differ)
{
    struct tt_history history = tt_mirror_history(&quotes);
    struct tt_mirror other = quotes;
    cr_assert_eq(strlen(history.text), 6);
    cr_assert(tt_history_equal(history, tt_mirror_history(&other)));
    other.generation = 4;
    cr_assert_not(tt_history_equal(history, tt_mirror_history(&other)));
    other = quotes;
    other.topic[0] = 'Q';
    cr_assert_not(tt_history_equal(history, tt_mirror_history(&other)));
    other = quotes;
    other.cluster[0] = '6';
    cr_assert_not(tt_history_equal(history, tt_mirror_history(&other)));
}

Test(mirror_file, keys)
{
    const struct tt_hash_key key = {0x0123456789abcdef, 0xfedcba9876543210};
    struct tt_hash_key read;
    cr_assert_eq(tt_mirror_key_read(&rig.access, "data", &read), TT_ENOENT);
    cr_assert_eq(tt_mirror_key_write(&rig.access, "data", &key), TT_OK);
    cr_assert_eq(tt_mirror_key_read(&rig.access, "data", &read), TT_OK);
    cr_assert_eq(read.k0, key.k0);
    cr_assert_eq(read.k1, key.k1);
    write_text("data/KEY", "0123456789abcdefFEDCBA9876543210\n");
    cr_assert_eq(tt_mirror_key_read(&rig.access, "data", &read), TT_EINVAL);
    write_text("data/KEY", "0123456789abcdef");
    cr_assert_eq(tt_mirror_key_read(&rig.access, "data", &read), TT_EINVAL);
}
