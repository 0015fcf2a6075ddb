/* Logs of many topics, as broker/ opens them in a real directory; and ttlog's view of a mirror. */
#include "broker/logs.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/kafka/mirror_file.h"
#include "broker/startup_files.h"
#include "shard/diag.h"
#include "store/log.h"
#include "tools/ttlog/check.h"
#include "tools/ttlog/commands.h"
#include "tools/ttlog/findings.h"

static char root[] = "/tmp/tt_logs_XXXXXX";
static struct tt_config *config;
static struct tt_diag *diag;
static struct tt_world world;
static struct tt_logs *logs;
static struct tt_hash_key key;
static struct tt_log_now now = {.ns = 1, .wall_us = 1700000000000000};
static char error[TT_CONFIG_ERROR_MAX];

static void set_up(void)
{
    char data[64];
    cr_assert_not_null(mkdtemp(root));
    snprintf(data, sizeof data, "--data=%s", root);
    char *arguments[] = {(char *)"tickertape",
                         data,
                         (char *)"--tail-bytes=2MiB",
                         (char *)"--log-segment-bytes=2MiB",
                         (char *)"--log-retention-bytes=60MiB",
                         (char *)"--channels-max=1000"};
    char *environment[] = {NULL};
    cr_assert_eq(tt_config_load(&config, 6, arguments, environment, error), TT_OK, "%s", error);
    cr_assert_eq(tt_diag_create(&diag, 0), TT_OK);
    world = (struct tt_world){.shards_count = 2};
}

static void tear_down(void)
{
    char command[64];
    if (logs != NULL) tt_logs_close(&logs);
    tt_diag_destroy(&diag);
    tt_config_destroy(&config);
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}
TestSuite(logs, .init = set_up, .fini = tear_down);

static void make_key(void)
{
    static const uint64_t random[2] = {11, 22}, other[2] = {33, 44};
    cr_assert_eq(tt_logs_mirror_key(config, NULL, random, &key, error), TT_OK, "%s", error);
    struct tt_hash_key again;
    cr_assert_eq(tt_logs_mirror_key(config, NULL, other, &again, error), TT_OK, "%s", error);
    cr_assert_eq(again.k0, 11, "it is made once");
    cr_assert_eq(again.k1, 22);
}

static struct tt_logs_topic topic_of(const char *name, uint32_t partitions, uint32_t slots)
{
    return (struct tt_logs_topic){.is = {.name = name,
                                         .history = tt_history_from_bits((uint64_t)name[0]),
                                         .partitions = partitions,
                                         .capacity = slots,
                                         .partitioner = TT_PARTITIONER_ANY}};
}

static void recover(struct tt_logs_topic *topic)
{
    cr_assert_eq(tt_logs_recover(topic, config, &key, NULL, now.wall_us, error), TT_OK, "%s",
                 error);
}

static void open_logs(struct tt_logs_topic *topics, uint32_t count)
{
    const struct tt_logs_options options = {.topics = topics, .topics_count = count, .diag = diag};
    cr_assert_eq(tt_logs_open(&logs, config, &options, &world, error), TT_OK, "%s", error);
}

/* ---- a hand for the logs' operations ---- */

static int32_t carry_out(const struct tt_log_operation *op)
{
    ssize_t n;
    switch (op->kind) {
    case TT_LOG_OPEN_NEW: return open(op->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    case TT_LOG_OPEN_EXISTING: return open(op->path, O_RDWR | O_CLOEXEC);
    case TT_LOG_OPEN_DIRECTORY:
    case TT_LOG_OPEN_READ: return open(op->path, O_RDONLY | O_CLOEXEC);
    case TT_LOG_PREALLOCATE: return ftruncate(op->file, (off_t)(op->offset + op->size));
    case TT_LOG_WRITE:
        n = pwrite(op->file, op->data, op->size, (off_t)op->offset);
        return n < 0 ? TT_EIO : (int32_t)n;
    case TT_LOG_READ:
        n = pread(op->file, op->buffer, op->size, (off_t)op->offset);
        return n < 0 ? TT_EIO : (int32_t)n;
    case TT_LOG_SYNC:
    case TT_LOG_SYNC_DIRECTORY: return TT_OK;
    case TT_LOG_TRUNCATE: return ftruncate(op->file, (off_t)op->size);
    case TT_LOG_CLOSE: return close(op->file);
    case TT_LOG_UNLINK: return unlink(op->path) == 0 ? TT_OK : TT_ENOENT;
    case TT_LOG_RENAME: return rename(op->path, op->path_to);
    }
    return TT_EINVAL;
}

static void run(struct tt_log *log)
{
    struct tt_log_operation op;
    for (int idle = 0; idle < 1000; idle++) {
        now.ns++;
        if (tt_log_next_operation(log, &now, &op) == TT_OK) {
            tt_log_operation_done(log, op.lane, carry_out(&op), &now);
            idle = 0;
        } else if (tt_log_next_ns(log, &now) > now.ns) {
            break;
        }
    }
    (void)tt_log_publish(log);
}

static void append(uint32_t partition, uint64_t offset)
{
    struct tt_log *log = world.partitions[partition].log;
    const struct tt_event event = {.channel = TT_BYTES_LITERAL("stock.a"),
                                   .type = TT_BYTES_LITERAL("t"),
                                   .payload = TT_BYTES_LITERAL("{\"price\":1}"),
                                   .taken_us = now.wall_us};
    uint32_t taken;
    cr_assert_eq(tt_log_append_at(log, &now, &event, &offset, 1, &taken), TT_OK);
    run(log);
}

static void close_logs(void)
{
    for (uint32_t i = 0; i < world.partitions_count; i++) {
        tt_log_close(world.partitions[i].log);
        run(world.partitions[i].log);
        cr_assert(tt_log_closed(world.partitions[i].log));
    }
    tt_logs_close(&logs);
}

static void say_what_it_is(const struct tt_logs_topic *topic)
{
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    const struct tt_files files = tt_startup_files(NULL);
    struct tt_mirror mirror = {.cluster = "c", .generation = 1};
    snprintf(mirror.topic, sizeof mirror.topic, "%s", topic->is.name);
    cr_assert_eq(tt_logs_mirror_path(config, topic->is.name, path), TT_OK);
    cr_assert_eq(tt_mirror_write(&files, path, &mirror), TT_OK);
}

Test(logs, partitions_of_all_topics_lie_one_behind_the_other)
{
    make_key();
    struct tt_logs_topic topics[] = {topic_of("quotes", 2, 4), topic_of("trades", 3, 3)};
    for (int i = 0; i < 2; i++) recover(&topics[i]);
    tt_recovery_begin_at(&topics[0].recovered->partitions[1], 500);
    open_logs(topics, 2);
    cr_assert_null(topics[0].recovered);
    cr_assert_eq(world.topics_count, 2);
    cr_assert_eq(world.partitions_count, 7);
    cr_assert_eq(world.topics[1].first, 4);
    cr_assert_eq(world.topics[0].partitions, 2);
    cr_assert_eq(world.topics[0].capacity, 4);
    cr_assert_str_eq(world.topics[1].name, "trades");
    cr_assert_eq(world.hash_key.k0, 11);
    cr_assert(tt_history_equal(world.topics[1].history, tt_history_from_bits('t')));
    for (uint32_t i = 0; i < 7; i++) {
        const struct tt_partition *p = &world.partitions[i];
        cr_assert_eq(p->index, i);
        cr_assert_eq(p->owner, i % 2);
        cr_assert_eq(p->topic, i < 4 ? 0 : 1);
        cr_assert_eq(p->number, i < 4 ? i : i - 4);
        cr_assert_eq(tt_tail_head_offset(p->tail), i == 1 ? 500 : 0);
    }
    struct tt_log_figures figures;
    tt_log_figures(world.partitions[0].log, &figures);
    cr_assert_eq(figures.channels_max, 200, "spare slots take nothing from those that are known");
    uint64_t bound = tt_logs_memory_bound_bytes(config, &world);
    cr_assert_gt(bound, 7 * UINT64_C(2 << 20));
    close_logs();
}

Test(logs, mirrors_are_found_again_and_planned_with)
{
    make_key();
    struct tt_logs_topic t = topic_of("quotes", 2, 4);
    recover(&t);
    tt_recovery_begin_at(&t.recovered->partitions[0], 100);
    open_logs(&t, 1);
    append(0, 103);
    append(0, 110);
    append(3, 7); /* a partition that was added while it ran */
    close_logs();
    t = topic_of("quotes", 0, 1); /* Kafka is away */
    recover(&t);
    cr_assert_eq(t.is.partitions, 4, "the highest one with events counts");
    const struct tt_recovered_partition *p = &t.recovered->partitions[0];
    cr_assert(p->has_last);
    cr_assert_eq(p->last_offset, 110);
    cr_assert_eq(p->next_offset, 111);
    cr_assert_eq(p->oldest_offset, 100);
    cr_assert_eq(tt_logs_drop_partition(&t, 0, NULL, error), TT_OK);
    tt_recovery_begin_at(&t.recovered->partitions[0], 9000);
    open_logs(&t, 1);
    cr_assert_eq(tt_log_next_offset(world.partitions[0].log), 9000);
    cr_assert_eq(tt_log_next_offset(world.partitions[3].log), 8);
    close_logs();
    t = topic_of("quotes", 4, 4);
    t.is.history = tt_history_from_bits(99); /* made anew in Kafka */
    recover(&t);
    cr_assert(t.recovered->dropped);
    cr_assert(tt_recovery_is_empty(&t.recovered->partitions[3]));
    tt_logs_forget(&t);
    cr_assert_null(t.recovered);
}

Test(logs, a_name_as_long_as_kafka_allows)
{
    char name[250];
    memset(name, 'n', 249);
    name[249] = '\0';
    make_key();
    struct tt_logs_topic t = topic_of(name, 1, 1);
    recover(&t);
    open_logs(&t, 1);
    append(0, 5);
    close_logs();
}

Test(logs, an_embedded_log_is_one_topic)
{
    struct tt_io_options options = {
        .kind = TT_IO_EPOLL, .sockets_max = 1, .recv_buffer_bytes = 1, .recv_buffers = 1};
    struct tt_io *io;
    char why[256];
    cr_assert_eq(tt_io_create(&io, &options, why, sizeof why), TT_OK, "%s", why);
    const struct tt_logs_options embedded = {.io = io, .diag = diag};
    cr_assert_eq(tt_logs_open(&logs, config, &embedded, &world, error), TT_OK, "%s", error);
    cr_assert_eq(world.topics_count, 1);
    cr_assert(world.topics[0].fixed);
    cr_assert_str_eq(world.topics[0].name, "");
    cr_assert_eq(world.partitions_count, world.topics[0].partitions);
    tt_logs_close(&logs);
    tt_io_destroy(&io);
}

/* ---- ttlog ---- */

static uint32_t findings(const char *directory)
{
    char why[TT_LISTING_ERROR_BYTES] = "";
    struct tt_listing view;
    struct tt_check check;
    cr_assert_eq(tt_listing_open(&view, directory, why), TT_OK, "%s", why);
    cr_assert(view.is_mirror);
    cr_assert_str_eq(view.mirror.topic, "quotes");
    cr_assert_eq(view.partitions_count, 4, "a slot with events is shown");
    cr_assert_eq(tt_check_init(&check, &view), TT_OK);
    cr_assert_eq(tt_check_run(&check, UINT32_MAX), TT_OK);
    cr_assert_eq(tt_findings_recovery(&check), TT_OK);
    uint32_t count = check.count;
    for (uint32_t i = 0; i < count; i++) fprintf(stderr, "%s\n", check.items[i].what);
    tt_check_deinit(&check);
    tt_listing_close(&view);
    return count;
}

Test(logs, ttlog_reads_mirrors_and_leaves_them_alone)
{
    char directory[TT_RECOVERY_DIRECTORY_MAX + 1], segment[TT_LOG_PATH_BYTES];
    make_key();
    struct tt_logs_topic t = topic_of("quotes", 2, 4);
    recover(&t);
    tt_recovery_begin_at(&t.recovered->partitions[0], 100);
    open_logs(&t, 1);
    for (uint64_t i = 0; i < 20; i++) append(0, 103 + i * 4);
    append(1, 2);
    append(3, 7);
    close_logs();
    say_what_it_is(&t);
    cr_assert_eq(tt_logs_mirror_path(config, "quotes", directory), TT_OK);
    cr_assert_eq(findings(directory), 0);
    const struct tt_ttlog_options options = {.directory = directory, .partition = TT_TTLOG_ALL};
    cr_assert_eq(tt_ttlog_ls(&options), TT_TTLOG_GOOD);
    cr_assert_eq(tt_ttlog_verify(&options), TT_TTLOG_GOOD);
    struct tt_ttlog_options latest = options;
    latest.at = "latest";
    cr_assert_eq(tt_ttlog_cursor(&latest), TT_TTLOG_GOOD);
    struct tt_ttlog_options dump = options;
    dump.to = dump.limit = UINT64_MAX;
    dump.since_us = INT64_MIN;
    dump.until_us = INT64_MAX;
    cr_assert_eq(tt_ttlog_dump(&dump), TT_TTLOG_GOOD);
    snprintf(segment, sizeof segment, "%s/0/00000000000000000100.seg", directory);
    int file = open(segment, O_RDWR | O_CLOEXEC);
    cr_assert_geq(file, 0);
    cr_assert_eq(pwrite(file, "?", 1, 1000), 1);
    close(file);
    cr_assert_eq(tt_ttlog_verify(&options), TT_TTLOG_DAMAGED);
    cr_assert_eq(tt_ttlog_repair(&options), TT_TTLOG_USAGE);
    t = topic_of("quotes", 0, 1);
    recover(&t);
    cr_assert_lt(t.recovered->partitions[0].next_offset, 180, "what is behind is fetched again");
    tt_logs_forget(&t);
    cr_assert_eq(findings(directory), 0);
}
