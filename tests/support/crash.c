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
    if (c->faults != NULL)
        used += snprintf(c->problem + used, CRASH_PROBLEM_BYTES - (size_t)used,
                         "operation %llu%s (%s): %s: ", (unsigned long long)c->faults->at,
                         c->faults->for_ever ? " and all behind it" : "", c->disk->fault_what,
                         c->faults->kind == DISK_FAULT_SHORT ? "short"
                                                             : tt_status_text(c->faults->status));
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

/* The power may go while it starts. */
static void die_while_starting(struct crash *c)
{
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
    c->disk->fault_hit = false;
}

/* Start-up was refused for a fault: whoever runs the broker mends that, and starts it again. */
static bool refused(struct crash *c, int tries)
{
    if (c->faults == NULL || !c->disk->fault_hit || tries > 2) return false;
    CRASH_CHECK(c, strncmp(c->error, "data", 4) == 0, "an error that names no file: %s", c->error);
    trace(c, "refused: %s", c->error);
    disk_heal(c->disk);
    if (c->end == CRASH_CLEAN) c->end = CRASH_KILLED; /* it may have raised the ceiling */
    if (chance(c, 2)) {
        disk_power_cut(c->disk);
        c->end = CRASH_CUT;
    }
    return true;
}

static void open_log(struct crash *c, enum tt_log_policy policy)
{
    enum tt_log_policy before = c->policy;
    c->policy = policy;
    if (c->faults == NULL) die_while_starting(c);
    enum tt_status status = recover(c);
    for (int tries = 0; status != TT_OK && refused(c, tries); tries++) status = recover(c);
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
        .forget_values = c->faults == NULL && chance(c, 20),
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

/* One operation has failed, and the next one of its kind would not. */
static void check_healed(struct crash *c)
{
    struct tt_log_figures f;
    for (int i = 0; i < 200; i++) {
        c->now.ns += 50000000;
        start_some(c);
        while (land_one(c)) start_some(c);
        take_notices(c);
        read_tail(c);
        (void)tt_log_publish(c->log);
    }
    tt_log_figures(c->log, &f);
    CRASH_CHECK(c, f.state == TT_LOG_OPEN || f.state == TT_LOG_READ_ONLY,
                "it does not heal: state %d, %s", (int)f.state, f.failed_path);
    if (c->faults->kind == DISK_FAULT_ERROR && c->faults->status == TT_ENOSPC &&
        strncmp(c->disk->fault_what, "sync", 4) != 0)
        CRASH_CHECK(c, f.state == TT_LOG_OPEN, "a full disk does not heal: %s", f.failed_path);
    CRASH_CHECK(c, f.state == TT_LOG_READ_ONLY || f.keep_reason == TT_OK,
                "background work does not go on: %s: %s", f.keep_failed_path,
                tt_status_text(f.keep_reason));
}

/* ---- ending ---- */

static void note_state(struct crash *c)
{
    struct tt_log_figures f;
    tt_log_figures(c->log, &f);
    c->read_only |= f.state == TT_LOG_READ_ONLY || f.reason != TT_OK;
}

static void close_cleanly(struct crash *c)
{
    tt_log_close(c->log);
    for (int i = 0; !tt_log_closed(c->log); i++) {
        CRASH_CHECK(c, i < 5000, "the clean end does not end");
        note_state(c);
        start_some(c);
        (void)land_one(c);
        take_notices(c);
        (void)tt_log_publish(c->log);
        read_tail(c);
        answer(c);
        c->now.ns += 1000000;
    }
    note_state(c);
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

static void bury(struct crash *c)
{
    c->durable_place = tt_tail_durable_place(c->tail);
    c->written_place = tt_tail_written_place(c->tail);
    c->oldest = tt_tail_oldest_offset(c->tail);
    trace(c, "ends %d: written %llu, durable %llu, %u events", (int)c->end,
          (unsigned long long)c->written_place, (unsigned long long)c->durable_place, c->count);
    forget(c);
    /* A clean end leaves nothing that a cut could take. */
    if (c->end == CRASH_CUT || (c->end == CRASH_CLEAN && chance(c, 2))) disk_power_cut(c->disk);
    c->cuts += c->end == CRASH_CUT;
    c->kills += c->end == CRASH_KILLED;
    c->now.ns += 1000000000;
    c->now.wall_us += (int64_t)below(c, 10000000);
}

static void end_life(struct crash *c)
{
    c->end = (enum crash_end)below(c, 3);
    if (c->end == CRASH_CLEAN) {
        close_cleanly(c);
    } else {
        for (int lane = 0; lane < TT_LOG_LANES; lane++)
            if (c->flying[lane]) disk_do_partly(c->disk, &c->flights[lane]);
    }
    bury(c);
}

static void run(struct crash *c)
{
    enum tt_log_policy policy = c->policy;
    uint64_t lives = 2 + below(c, 4);
    for (c->lives = 1; c->lives <= lives; c->lives++) {
        if (chance(c, 6)) policy = (enum tt_log_policy)below(c, 3);
        choose(c);
        open_log(c, policy);
        live(c);
        end_life(c);
    }
    open_log(c, policy);
    close_cleanly(c);
}

/* With a disk operation that fails. */
static void run_with_fault(struct crash *c)
{
    struct disk *d = c->disk;
    c->segment_bytes = 2u << 20;
    c->retention = (struct tt_retention){5u << 20, UINT64_MAX};
    d->fault = c->faults->kind;
    d->fault_status = c->faults->status;
    d->fault_at = c->faults->at;
    d->fault_until = c->faults->for_ever ? UINT64_MAX : d->fault_at;
    for (c->lives = 1; c->lives <= 2; c->lives++) {
        open_log(c, c->policy);
        live(c);
        if (d->fault_hit && !c->faults->for_ever) check_healed(c);
        c->read_only = false;
        close_cleanly(c);
        c->end = CRASH_CLEAN;
        if (c->read_only) c->end = chance(c, 2) ? CRASH_CUT : CRASH_KILLED;
        if (d->fault_hit) disk_heal(d);
        bury(c);
    }
    c->faults->operations = d->operations;
    disk_heal(d);
    open_log(c, c->policy);
    close_cleanly(c);
}

static bool run_from(uint64_t seed, struct crash_faults *faults, char problem[CRASH_PROBLEM_BYTES])
{
    struct crash *c = calloc(1, sizeof *c);
    TT_ASSERT(c != NULL);
    c->seed = seed;
    c->problem = problem;
    c->faults = faults;
    c->disk = disk_create(seed);
    c->now = (struct tt_log_now){.ns = 1000000000, .wall_us = 1700000000000000};
    c->trace = getenv("TT_TRACE") != NULL;
    c->end = CRASH_CUT; /* of an empty disk */
    c->channels = 1 + (uint32_t)below(c, CRASH_CHANNELS_MAX);
    c->policy = faults != NULL ? (enum tt_log_policy)(seed % 3) : (enum tt_log_policy)below(c, 3);
    problem[0] = '\0';
    if (setjmp(c->out) == 0) (faults != NULL ? run_with_fault : run)(c);
    forget(c);
    disk_destroy(&c->disk);
    free(c->events);
    free(c);
    return problem[0] == '\0';
}

bool crash_run(uint64_t seed, char problem[CRASH_PROBLEM_BYTES])
{
    return run_from(seed, NULL, problem);
}

bool crash_run_with_fault(uint64_t seed, struct crash_faults *faults,
                          char problem[CRASH_PROBLEM_BYTES])
{
    return run_from(seed, faults, problem);
}
