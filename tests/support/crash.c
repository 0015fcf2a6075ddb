#include "tests/support/crash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"

#define PAYLOAD_MAX (1600u << 10) /* larger than a chunk */

void crash_fail(struct crash *c, const char *format, ...)
{
    va_list arguments;
    int used = snprintf(c->problem, CRASH_PROBLEM_BYTES,
                        "seed %llu, life %llu: ", (unsigned long long)c->seed,
                        (unsigned long long)c->lives);
    va_start(arguments, format);
    vsnprintf(c->problem + used, CRASH_PROBLEM_BYTES - (size_t)used, format, arguments);
    va_end(arguments);
    longjmp(c->out, 1);
}

static uint64_t below(struct crash *c, uint64_t n)
{
    return disk_below(c->disk, n);
}

static bool chance(struct crash *c, uint64_t one_in)
{
    return below(c, one_in) == 0;
}

static void trace(struct crash *c, const char *format, ...) TT_PRINTF(2, 3);
static void trace(struct crash *c, const char *format, ...)
{
    if (!c->trace) return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* ---- starting ---- */

static enum tt_status recover(struct crash *c)
{
    const struct tt_recovery_options options = {
        .files = &c->disk->access,
        .directory = "data",
        .partitions = 1,
        .segment_bytes = c->segment_bytes,
        .ceilings = c->policy != TT_LOG_ALWAYS,
        .random = {11, 22, 33},
        .wall_us = c->now.wall_us,
        .keys_window_us = CRASH_KEYS_WINDOW_US,
        .keys_max = 100000,
    };
    return tt_recovery_open(&c->recovered, &options, c->error);
}

static void choose(struct crash *c)
{
    static const uint64_t segments[] = {2u << 20, 3u << 20, 4u << 20};
    c->segment_bytes = segments[below(c, 3)];
    c->retention = (struct tt_retention){UINT64_MAX, UINT64_MAX};
    if (chance(c, 2)) c->retention.bytes = (4 + below(c, 8)) << 20;
    if (chance(c, 4)) c->retention.ms = 2000 + below(c, 20000);
}

static void open_log(struct crash *c, enum tt_log_policy policy)
{
    choose(c);
    enum tt_log_policy before = c->policy;
    c->policy = policy;
    /* The power may go while it starts. */
    for (int tries = 0; tries < 3 && chance(c, 4); tries++) {
        c->disk->fault = DISK_FAULT_DEAD;
        c->disk->fault_hit = false;
        c->disk->fault_at = c->disk->operations + 1 + below(c, 30);
        enum tt_status status = recover(c);
        bool hit = c->disk->fault_hit;
        disk_heal(c->disk);
        CRASH_CHECK(c, status == TT_OK || hit, "refused: %s", c->error);
        tt_recovery_destroy(&c->recovered);
        trace(c, "died while starting: %s", hit ? c->error : "behind it");
        disk_power_cut(c->disk);
        c->end = CRASH_CUT; /* what the life before had written may be gone now */
    }
    enum tt_status status = recover(c);
    CRASH_CHECK(c, status == TT_OK, "refused: %s", c->error);
    c->policy = before;
    crash_check_recovered(c);
    c->policy = policy;
    const struct tt_recovered_partition *p = &c->recovered->partitions[0];
    trace(c,
          "life %llu: policy %d, oldest %llu, hole %llu to %llu, place %llu, torn %llu, %u files",
          (unsigned long long)c->lives, (int)policy, (unsigned long long)p->oldest_offset,
          (unsigned long long)p->hole_first, (unsigned long long)p->hole_end,
          (unsigned long long)p->place, (unsigned long long)p->torn_bytes, p->segments.count);
    status = tt_tail_readers_create(&c->readers, 1);
    TT_ASSERT(status == TT_OK);
    const struct tt_tail_options tail = {
        .bytes = 8u << 20,
        .record_bytes_max = TT_RECORD_BYTES_MAX(PAYLOAD_MAX + TT_RECORD_TEXT_BYTES_MAX),
        .next_offset = p->next_offset,
        .oldest_offset = p->oldest_offset,
        .readers = c->readers,
    };
    status = tt_tail_create(&c->tail, &tail);
    TT_ASSERT(status == TT_OK);
    const struct tt_log_options log = {
        .recovered = c->recovered,
        .tail = c->tail,
        .policy = policy,
        .sync_interval_ns = 100000000,
        .segment_bytes = c->segment_bytes,
        .retention = c->retention,
        .forget_values = chance(c, 20),
    };
    c->forgot |= log.forget_values;
    status = tt_log_create(&c->log, &log);
    TT_ASSERT(status == TT_OK);
    crash_check_opened(c);
    crash_check_values(c);
    uint64_t next_offset;
    c->sequence = tt_tail_start(c->tail, &next_offset);
    /* Events were appended from here on; earlier ones lie in segments and count as durable. */
    c->oldest = p->oldest_offset;
}

/* ---- living ---- */

static uint8_t payload[PAYLOAD_MAX + 1];

static uint32_t payload_bytes(struct crash *c)
{
    switch (below(c, 20)) {
    case 0: return 20 + (uint32_t)below(c, PAYLOAD_MAX - 20);
    case 1:
    case 2:
    case 3: return 20 + (uint32_t)below(c, 200u << 10);
    default: return 20 + (uint32_t)below(c, 3000);
    }
}

static void remember(struct crash *c, const struct tt_event *e, uint64_t offset, uint32_t channel,
                     uint64_t id, uint64_t key)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity == 0 ? 256 : c->capacity * 2;
        c->events = realloc(c->events, c->capacity * sizeof *c->events);
        TT_ASSERT(c->events != NULL);
    }
    c->events[c->count++] = (struct crash_event){.offset = offset,
                                                 .id = id,
                                                 .key = key,
                                                 .channel = channel,
                                                 .payload_bytes = (uint32_t)e->payload.size,
                                                 .flags = e->flags,
                                                 .taken_us = e->taken_us};
}

/* One batch. Each event gets its place from the tail when it is read, or from the end of its batch:
 * what is later than that is not safe. */
static void append(struct crash *c)
{
    struct tt_event events[5];
    char names[5][32];
    uint32_t channels[5];
    uint64_t ids[5] = {0};
    uint32_t count = 1 + (uint32_t)below(c, 5);
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = payload_bytes(c);
        if (used + bytes > PAYLOAD_MAX) bytes = 20;
        if (used + bytes > PAYLOAD_MAX) {
            count = i;
            break;
        }
        channels[i] = (uint32_t)below(c, c->channels);
        ids[i] = ++c->ids;
        memset(payload + used, 'x', bytes);
        char id[24];
        snprintf(id, sizeof id, "%020llu", (unsigned long long)ids[i]);
        memcpy(payload + used, id, 20);
        uint64_t chosen = below(c, 10);
        events[i] = (struct tt_event){
            .channel = tt_bytes_text(crash_channel(channels[i], names[i])),
            .type = TT_BYTES_LITERAL("t"),
            .payload = tt_bytes(payload + used, bytes),
            .timestamp_ms = c->now.wall_us / 1000,
            .taken_us = c->now.wall_us,
            .flags = chosen == 0  ? TT_EVENT_OP_DELETE
                     : chosen < 3 ? TT_EVENT_NEVER_CONFLATE
                                  : 0,
        };
        used += bytes;
    }
    uint64_t key = chance(c, 3) ? ids[0] : 0;
    struct tt_record_idempotency blocks[5];
    for (uint32_t i = 0; i < count; i++) {
        blocks[i] = (struct tt_record_idempotency){.index = i, .count = count};
        memcpy(blocks[i].key_hash, &key, sizeof key);
    }
    uint64_t first, end;
    enum tt_status status =
        tt_log_append(c->log, &c->now, events, count, key != 0 ? blocks : NULL, &first, &end);
    if (status != TT_OK) {
        bool expected = status == TT_FULL || (c->disk->fault_hit && status == TT_EACCES) ||
                        (c->disk->fault_hit && status == TT_ENOSPC) || status == TT_ETOOBIG;
        CRASH_CHECK(c, expected, "append: status %d", (int)status);
        return;
    }
    CRASH_CHECK(c, first >= c->seen_end, "offset %llu is used again", (unsigned long long)first);
    for (uint32_t i = 0; i < count; i++) {
        remember(c, &events[i], first + i, channels[i], ids[i], key);
        c->events[c->count - 1].place = c->events[c->count - 1].end_place = end;
    }
}

static void read_tail(struct crash *c)
{
    const struct tt_tail_descriptor *run;
    uint32_t count, at = c->count;
    while ((count = tt_tail_read(c->tail, c->sequence, UINT32_MAX, &run)) != 0) {
        for (uint32_t i = 0; i < count; i++) {
            if (run[i].class != TT_RECORD_EVENT) continue;
            while (at != 0 && c->events[at - 1].offset >= run[i].offset) at--;
            while (at < c->count && c->events[at].offset < run[i].offset) at++;
            CRASH_CHECK(c, at < c->count && c->events[at].offset == run[i].offset,
                        "the tail shows %llu", (unsigned long long)run[i].offset);
            c->events[at].seen = true;
            c->events[at].place = run[i].place;
            c->events[at].end_place = run[i].place + run[i].length;
            if (run[i].offset >= c->seen_end) c->seen_end = run[i].offset + 1;
        }
        c->sequence += count;
    }
    bool woken = tt_tail_advance(c->tail, 0, c->sequence);
    woken |= tt_tail_turn(c->readers, 0);
    (void)woken;
}

static void answer(struct crash *c)
{
    uint64_t place = tt_log_accepted_place(c->log);
    for (uint32_t i = c->count; i > 0 && !c->events[i - 1].answered; i--)
        if (c->events[i - 1].end_place <= place) c->events[i - 1].answered = true;
}

static void start_some(struct crash *c)
{
    struct tt_log_operation op;
    while (!chance(c, 8) && tt_log_next_operation(c->log, &c->now, &op) == TT_OK) {
        CRASH_CHECK(c, !c->flying[op.lane], "two operations in lane %d", (int)op.lane);
        c->flying[op.lane] = true;
        c->flights[op.lane] = op;
    }
}

static bool land_one(struct crash *c)
{
    uint32_t from = (uint32_t)below(c, TT_LOG_LANES);
    for (uint32_t i = 0; i < TT_LOG_LANES; i++) {
        enum tt_log_lane lane = (enum tt_log_lane)((from + i) % TT_LOG_LANES);
        if (!c->flying[lane]) continue;
        struct tt_log_operation op = c->flights[lane];
        c->flying[lane] = false;
        int32_t result = disk_do(c->disk, &op);
        if (op.kind == TT_LOG_UNLINK && result == 0) c->retired++;
        trace(c, "  lane %d kind %d file %d size %llu: %d %s", (int)lane, (int)op.kind, op.file,
              (unsigned long long)op.size, result, op.path != NULL ? op.path : "");
        tt_log_operation_done(c->log, lane, result, &c->now);
        return true;
    }
    return false;
}

static void take_notices(struct crash *c)
{
    struct tt_log_notice notice;
    while (tt_log_take_notice(c->log, &notice) == TT_OK) continue;
}

static void live(struct crash *c)
{
    uint64_t steps = 20 + below(c, 300);
    for (uint64_t i = 0; i < steps; i++) {
        if (chance(c, 25)) crash_check_values(c);
        switch (below(c, 8)) {
        case 0: append(c); break;
        case 1: start_some(c); break;
        case 2:
        case 3:
            start_some(c);
            (void)land_one(c);
            break;
        case 4: (void)tt_log_publish(c->log); break;
        case 5: read_tail(c); break;
        case 6:
            answer(c);
            take_notices(c);
            break;
        default:
            c->now.ns += below(c, 150000000);
            c->now.wall_us += (int64_t)below(c, 150000) - (chance(c, 40) ? 1000000 : 0);
            if (chance(c, 10)) c->now.wall_us += 1000000;
            break;
        }
    }
}

/* ---- ending ---- */

static void close_cleanly(struct crash *c)
{
    tt_log_close(c->log);
    for (int i = 0; !tt_log_closed(c->log); i++) {
        CRASH_CHECK(c, i < 5000, "the clean end does not end");
        start_some(c);
        (void)land_one(c);
        take_notices(c);
        (void)tt_log_publish(c->log);
        read_tail(c);
        answer(c);
        c->now.ns += 1000000;
    }
}

/* The dead hear of no result; the log is given one so that nothing is in flight. */
static void forget(struct crash *c)
{
    for (int lane = 0; lane < TT_LOG_LANES; lane++)
        if (c->flying[lane]) tt_log_operation_done(c->log, (enum tt_log_lane)lane, TT_EIO, &c->now);
    memset(c->flying, 0, sizeof c->flying);
    if (c->log != NULL) tt_log_destroy(&c->log);
    if (c->tail != NULL) tt_tail_destroy(&c->tail);
    if (c->readers != NULL) tt_tail_readers_destroy(&c->readers);
    if (c->recovered != NULL) tt_recovery_destroy(&c->recovered);
}

static void end_life(struct crash *c)
{
    c->end = (enum crash_end)below(c, 3);
    if (c->disk->fault_hit) c->end = CRASH_CUT;
    if (c->end == CRASH_CLEAN) {
        close_cleanly(c);
    } else {
        for (int lane = 0; lane < TT_LOG_LANES; lane++)
            if (c->flying[lane]) disk_do_partly(c->disk, &c->flights[lane]);
    }
    c->durable_place = tt_tail_durable_place(c->tail);
    c->written_place = tt_tail_written_place(c->tail);
    c->oldest = tt_tail_oldest_offset(c->tail);
    trace(c, "ends %d: written %llu, durable %llu, %u events", (int)c->end,
          (unsigned long long)c->written_place, (unsigned long long)c->durable_place, c->count);
    forget(c);
    if (c->end == CRASH_CUT) disk_power_cut(c->disk);
    c->cuts += c->end == CRASH_CUT;
    c->kills += c->end == CRASH_KILLED;
    c->now.ns += 1000000000;
    c->now.wall_us += (int64_t)below(c, 10000000);
}

static void run(struct crash *c)
{
    c->end = CRASH_CUT; /* of an empty disk */
    c->channels = 1 + (uint32_t)below(c, CRASH_CHANNELS_MAX);
    enum tt_log_policy policy = (enum tt_log_policy)below(c, 3);
    uint64_t lives = 2 + below(c, 4);
    c->policy = policy;
    for (c->lives = 1; c->lives <= lives; c->lives++) {
        if (chance(c, 6)) policy = (enum tt_log_policy)below(c, 3);
        open_log(c, policy);
        live(c);
        end_life(c);
    }
    open_log(c, policy);
    close_cleanly(c);
    c->end = CRASH_CLEAN;
}

bool crash_run(uint64_t seed, char problem[CRASH_PROBLEM_BYTES])
{
    struct crash *c = calloc(1, sizeof *c);
    TT_ASSERT(c != NULL);
    c->seed = seed;
    c->problem = problem;
    c->disk = disk_create(seed);
    c->now = (struct tt_log_now){.ns = 1000000000, .wall_us = 1700000000000000};
    c->trace = getenv("TT_TRACE") != NULL;
    problem[0] = '\0';
    if (setjmp(c->out) == 0) run(c);
    forget(c);
    disk_destroy(&c->disk);
    free(c->events);
    free(c);
    return problem[0] == '\0';
}
