/* What appending to the log costs, compared with writing the same bytes.
 *
 *   log_append [--sync=never|always] [--events=N] [--payload=BYTES] [--rounds=N] [DIRECTORY]
 *
 * Bare: a loop of preallocated 64 KiB writes of as many bytes, out of memory of the tail's size;
 * with
 * --sync=always a write and an fdatasync for each batch of 64 events.
 * Log: events appended in batches, checksums and descriptors included, published, read by one
 * reader, and written (and synced) by the log's own operations, carried out at once by the same
 * thread. Rounds alternate, with --sync=always single batches; the medians are compared. Prints a
 * line of JSON; the goal is a ratio of 0.8 or more, 0.9 with --sync=always. Without it syncs are
 * left out on both sides. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "store/ceiling.h"
#include "store/log.h"

#define BARE_WRITE_BYTES (64u << 10)
#define SEGMENT_BYTES    (128u << 20)
#define BATCH            64u
#define TAIL_BYTES       (16u << 20)
#define ROUNDS_MAX       99

static void stop(const char *what)
{
    fprintf(stderr, "log_append: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int create(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || unlink(path) != 0) stop(path);
    return fd;
}

static void preallocate(int fd)
{
    if (posix_fallocate(fd, 0, SEGMENT_BYTES) != 0) stop("preallocate");
}

/* Bytes a second. */
static double bare(const char *directory, uint64_t bytes)
{
    static uint8_t ring[TAIL_BYTES];
    if (ring[0] == 0) memset(ring, 'x', sizeof ring);
    uint64_t begun = now_ns(), at = SEGMENT_BYTES;
    int fd = -1;
    for (uint64_t done = 0; done < bytes; done += BARE_WRITE_BYTES, at += BARE_WRITE_BYTES) {
        if (at == SEGMENT_BYTES) {
            if (fd >= 0) close(fd);
            fd = create(directory, "bare");
            preallocate(fd);
            at = 0;
        }
        if (pwrite(fd, ring + done % sizeof ring, BARE_WRITE_BYTES, (off_t)at) !=
            (ssize_t)BARE_WRITE_BYTES)
            stop("write");
    }
    close(fd);
    return (double)bytes * 1e9 / (double)(now_ns() - begun);
}

/* With --sync=always batches take turns, one of the log's, one of the bare loop's: a disk that
 * others use too has other latencies every second. */
struct pairs {
    int fd; /* of the bare loop */
    uint64_t at;
    double *bare, *log; /* nanoseconds of each batch */
    size_t count;
};

static void bare_batch(struct pairs *p, size_t size)
{
    static uint8_t ring[TAIL_BYTES];
    if (ring[0] == 0) memset(ring, 'x', sizeof ring);
    uint64_t begun = now_ns();
    if (p->at + size > SEGMENT_BYTES) p->at = 0;
    if (pwrite(p->fd, ring + p->at % (sizeof ring - size), size, (off_t)p->at) != (ssize_t)size)
        stop("write");
    if (fdatasync(p->fd) != 0) stop("fdatasync");
    p->at += size;
    p->bare[p->count] = (double)(now_ns() - begun);
}

struct run {
    bool always;
    struct tt_tail_readers *readers;
    struct tt_tail *tail;
    struct tt_log *log;
    struct tt_log_now now;
    const char *directory;
    uint64_t read;
};

static int32_t carry_out(const struct run *r, const struct tt_log_operation *op)
{
    switch (op->kind) {
    case TT_LOG_OPEN_NEW: return create(r->directory, "segment");
    case TT_LOG_OPEN_EXISTING: return create(r->directory, "ceiling");
    case TT_LOG_OPEN_DIRECTORY: return open(r->directory, O_RDONLY | O_DIRECTORY);
    case TT_LOG_PREALLOCATE: preallocate(op->file); return TT_OK;
    case TT_LOG_WRITE: return (int32_t)pwrite(op->file, op->data, op->size, (off_t)op->offset);
    case TT_LOG_CLOSE: return close(op->file);
    case TT_LOG_SYNC: return r->always && fdatasync(op->file) != 0 ? TT_EIO : TT_OK;
    case TT_LOG_SYNC_DIRECTORY:
    case TT_LOG_TRUNCATE:
    case TT_LOG_UNLINK:
    case TT_LOG_OPEN_READ:
    case TT_LOG_READ:
    case TT_LOG_RENAME: return TT_OK;
    }
    return TT_EIO;
}

/* A broker's turn, without clients. */
static void turn(struct run *r)
{
    struct tt_log_operation op;
    r->now.ns++;
    (void)tt_log_publish(r->log);
    const struct tt_tail_descriptor *run;
    uint32_t count;
    while ((count = tt_tail_read(r->tail, r->read, UINT32_MAX, &run)) != 0) r->read += count;
    bool woken = tt_tail_advance(r->tail, 0, r->read);
    while (tt_log_next_operation(r->log, &r->now, &op) == TT_OK)
        tt_log_operation_done(r->log, op.lane, carry_out(r, &op), &r->now);
    struct tt_log_notice notice;
    while (tt_log_take_notice(r->log, &notice) == TT_OK) continue;
    woken |= tt_tail_turn(r->readers, 0);
    (void)woken; /* one thread */
}

static void append(struct run *r, const struct tt_event *batch, uint64_t *end)
{
    uint64_t offset;
    while (tt_log_append(r->log, &r->now, batch, BATCH, NULL, &offset, end) != TT_OK) turn(r);
    turn(r);
}

/* A hint: where the system gives no large pages, it works without them. */
static void large_pages(void *memory, size_t bytes)
{
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
}

static double with_log(const char *directory, struct pairs *pairs, uint64_t events,
                       size_t payload_bytes, uint64_t *bytes)
{
    static char zero[] = "0";
    struct tt_recovered_partition partition = {.directory = zero,
                                               .ceiling = UINT64_MAX,
                                               .taken_max_us = INT64_MIN,
                                               .active_taken_us = INT64_MIN};
    struct tt_recovered recovered = {
        .history = tt_history_from_bits(1), .partitions_count = 1, .partitions = &partition};
    struct run r = {.directory = directory, .now = {.ns = 1, .wall_us = 1700000000000000}};
    if (tt_tail_readers_create(&r.readers, 1) != TT_OK) stop("readers");
    const struct tt_tail_options tail = {
        .advise = large_pages,
        .bytes = TAIL_BYTES,
        .record_bytes_max = TT_RECORD_BYTES_MAX((256u << 10) + TT_RECORD_TEXT_BYTES_MAX),
        .readers = r.readers};
    if (tt_tail_create(&r.tail, &tail) != TT_OK) stop("tail");
    const struct tt_log_options options = {.recovered = &recovered,
                                           .tail = r.tail,
                                           .policy = pairs != NULL ? TT_LOG_ALWAYS : TT_LOG_NEVER,
                                           .segment_bytes = SEGMENT_BYTES,
                                           .retention = {UINT64_MAX, UINT64_MAX}};
    if (tt_log_create(&r.log, &options) != TT_OK) stop("log");
    uint8_t *payload = malloc(payload_bytes);
    if (payload == NULL) stop("memory");
    memset(payload, 'x', payload_bytes);
    struct tt_event batch[BATCH];
    char channels[BATCH][24];
    for (unsigned i = 0; i < BATCH; i++) {
        snprintf(channels[i], sizeof channels[i], "stock.%u", i);
        batch[i] = (struct tt_event){.channel = tt_bytes_text(channels[i]),
                                     .type = TT_BYTES_LITERAL("quote"),
                                     .payload = tt_bytes(payload, payload_bytes),
                                     .taken_us = r.now.wall_us};
    }
    uint64_t end = 0;
    /* Its memory has been used before. */
    while (end < 2 * TAIL_BYTES) append(&r, batch, &end);
    while (tt_log_accepted_place(r.log) < end) turn(&r);
    r.always = pairs != NULL;
    uint64_t begun = now_ns(), from = end;
    for (uint64_t done = 0; done < events; done += BATCH) {
        uint64_t before = now_ns(), at = end;
        append(&r, batch, &end);
        if (pairs == NULL) continue;
        while (tt_log_accepted_place(r.log) < end) turn(&r);
        pairs->log[pairs->count] = (double)(now_ns() - before);
        bare_batch(pairs, end - at);
        pairs->count++;
    }
    while (tt_log_accepted_place(r.log) < end) turn(&r);
    *bytes = end - from;
    double rate = (double)*bytes * 1e9 / (double)(now_ns() - begun);
    tt_log_close(r.log);
    while (!tt_log_closed(r.log)) turn(&r);
    tt_log_destroy(&r.log);
    tt_tail_destroy(&r.tail);
    tt_tail_readers_destroy(&r.readers);
    free(payload);
    return rate;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value == 0) {
        fprintf(stderr, "log_append: '%s' is not a number above 0\n", text);
        exit(2);
    }
    return value;
}

static void compare(const char *directory, uint64_t events, uint64_t payload_bytes, uint64_t rounds,
                    double *bare_rate, double *log_rate, uint64_t *bytes)
{
    double bare_rates[ROUNDS_MAX], log_rates[ROUNDS_MAX];
    for (uint64_t i = 0; i < rounds; i++) {
        log_rates[i] = with_log(directory, NULL, events, payload_bytes, bytes);
        bare_rates[i] = bare(directory, *bytes);
    }
    qsort(bare_rates, rounds, sizeof *bare_rates, by_value);
    qsort(log_rates, rounds, sizeof *log_rates, by_value);
    *bare_rate = bare_rates[rounds / 2];
    *log_rate = log_rates[rounds / 2];
}

static void compare_synced(const char *directory, uint64_t events, uint64_t payload_bytes,
                           double *bare_rate, double *log_rate, uint64_t *bytes)
{
    size_t batches = events / BATCH;
    struct pairs p = {.fd = create(directory, "bare"),
                      .bare = calloc(batches, sizeof *p.bare),
                      .log = calloc(batches, sizeof *p.log)};
    if (p.bare == NULL || p.log == NULL) stop("memory");
    preallocate(p.fd);
    (void)with_log(directory, &p, events, payload_bytes, bytes);
    close(p.fd);
    qsort(p.bare, batches, sizeof *p.bare, by_value);
    qsort(p.log, batches, sizeof *p.log, by_value);
    double batch_bytes = (double)*bytes / (double)batches;
    *bare_rate = batch_bytes * 1e9 / p.bare[batches / 2];
    *log_rate = batch_bytes * 1e9 / p.log[batches / 2];
    free(p.bare);
    free(p.log);
}

int main(int count, char **arguments)
{
    uint64_t events = 0, payload_bytes = 1024, rounds = 5, bytes = 0;
    bool always = false;
    const char *parent = "/tmp";
    for (int i = 1; i < count; i++) {
        if (strncmp(arguments[i], "--events=", 9) == 0)
            events = number(arguments[i] + 9);
        else if (strcmp(arguments[i], "--sync=always") == 0)
            always = true;
        else if (strcmp(arguments[i], "--sync=never") == 0)
            always = false;
        else if (strncmp(arguments[i], "--payload=", 10) == 0)
            payload_bytes = number(arguments[i] + 10);
        else if (strncmp(arguments[i], "--rounds=", 9) == 0)
            rounds = number(arguments[i] + 9);
        else
            parent = arguments[i];
    }
    if (rounds > ROUNDS_MAX) rounds = ROUNDS_MAX;
    if (events == 0) events = always ? 1000 * BATCH : 400000;
    events = (events + BATCH - 1) / BATCH * BATCH;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s/log_append.XXXXXX", parent);
    if (mkdtemp(directory) == NULL) stop(directory);
    double b, l;
    (void)with_log(directory, NULL, events / 4 + 1, payload_bytes, &bytes); /* warms up */
    if (always)
        compare_synced(directory, events, payload_bytes, &b, &l, &bytes);
    else
        compare(directory, events, payload_bytes, rounds, &b, &l, &bytes);
    rmdir(directory);
    printf("{\"sync\":\"%s\",\"payload_bytes\":%" PRIu64 ",\"events\":%" PRIu64
           ",\"bare_mb_s\":%.0f,\"log_mb_s\":%.0f,\"log_events_s\":%.0f,\"ratio\":%.2f}\n",
           always ? "always" : "never", payload_bytes, events, b / 1e6, l / 1e6,
           l / ((double)bytes / (double)events), l / b);
    return l >= (always ? 0.9 : 0.8) * b ? 0 : 1;
}
