/* The background jobs on a disk that fails and loses its power: whatever happens, start-up finds
 * the value of every channel, and its record can be read. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "store/checkpoint.h"
#include "store/index_file.h"
#include "store/keep.h"
#include "store/keep_load.h"
#include "store/reader.h"
#include "tests/support/disk.h"

#define DIRECTORY     "data/0"
#define CHANNELS      60u
#define SEGMENT_BYTES (40u << 10)
#define EVENTS_MAX    60000u
#define SEGMENTS_MAX  1000u

struct event {
    uint32_t channel, flags, bytes, crc;
    uint64_t offset, place;
};
struct segment {
    struct tt_segment is;
    uint8_t *data;
    uint64_t size, capacity, written;
    bool sealed, synced, retired, indexed;
    int32_t file; /* -1: not made yet */
    struct tt_index *index;
};
struct world {
    struct disk *disk;
    struct tt_values *values;
    struct tt_keep *keep;
    struct event events[EVENTS_MAX];
    uint32_t events_count;
    struct segment segments[SEGMENTS_MAX];
    uint32_t first, count; /* of segments: first: the oldest that is not retired */
    uint64_t next_offset;
    uint64_t durable_place;
    int32_t directory_file;
    struct tt_log_now now;
    uint32_t channels;
    uint64_t segment_bytes;
    bool keep_last;
    bool full;    /* the disk */
    bool damaged; /* the checkpoint was */
    uint32_t faults_in_row;
    uint32_t fault_one_in; /* 0: never */
    uint64_t jobs_failed, values_checked, unlinked, lost;
    struct tt_keep_figures total;
};

static const struct tt_record_segment identity = {.format = TT_RECORD_FORMAT,
                                                  .partition = 0,
                                                  .partitions = 1,
                                                  .history = {"k7Qp2a"},
                                                  .hash_key = {1, 2}};
static struct world *w;

static uint64_t below(uint64_t n)
{
    return disk_below(w->disk, n);
}

static struct tt_bytes name_of(uint32_t channel, char text[TT_CHANNEL_BYTES_MAX + 1])
{
    int size =
        snprintf(text, TT_CHANNEL_BYTES_MAX + 1, "stock.%0*u", channel % 7 == 0 ? 240 : 3, channel);
    return tt_bytes(text, (size_t)size);
}

/* ---- the log, in short ---- */

static int32_t plain(enum tt_log_operation_kind kind, int32_t file, const char *path, uint64_t at,
                     const void *data, uint64_t size)
{
    struct tt_log_operation op = {
        .kind = kind, .file = file, .path = path, .offset = at, .data = data, .size = size};
    return disk_do(w->disk, &op);
}

static struct segment *newest(void)
{
    return &w->segments[w->count - 1];
}

static uint64_t place(void)
{
    return w->count == 0 ? 0 : newest()->is.base_place + newest()->size;
}

static void push(struct segment *s, const void *data, uint64_t size)
{
    if (s->size + size > s->capacity) {
        s->capacity = (s->size + size) * 2;
        s->data = realloc(s->data, s->capacity);
        TT_ASSERT(s->data != NULL);
    }
    memcpy(s->data + s->size, data, size);
    s->size += size;
}

static void begin_segment(void)
{
    uint64_t base = place();
    if (w->count != 0) {
        newest()->sealed = true;
        newest()->is.end_place = base;
    }
    TT_ASSERT(w->count < SEGMENTS_MAX);
    struct segment *s = &w->segments[w->count++];
    *s = (struct segment){
        .is = {.first_offset = w->next_offset, .base_place = base, .end_place = TT_SEGMENT_GROWS},
        .file = -1};
    const struct tt_index_options options = {.first_offset = w->next_offset, .base_place = base};
    cr_assert_eq(tt_index_create(&s->index, &options), TT_OK);
    _Alignas(8) uint8_t bytes[TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES];
    uint32_t size = tt_record_encode_segment(bytes, w->next_offset, 1, base, INT64_MIN, &identity);
    size += tt_record_encode_batch(bytes + size, w->next_offset, 1, base + size, 0, 0);
    push(s, bytes, size);
    tt_keep_segment_begun(w->keep, w->next_offset, base);
}

static void append(uint32_t channel, uint32_t flags, size_t payload_bytes)
{
    static _Alignas(8) uint8_t record[1u << 20];
    char text[TT_CHANNEL_BYTES_MAX + 1];
    uint8_t *payload = malloc(payload_bytes + 1);
    TT_ASSERT(payload != NULL && w->events_count < EVENTS_MAX);
    memset(payload, (int)('a' + w->next_offset % 26), payload_bytes);
    const struct tt_event e = {.channel = name_of(channel, text),
                               .type = TT_BYTES_LITERAL("message"),
                               .payload = tt_bytes(payload, payload_bytes),
                               .taken_us = 5,
                               .flags = flags};
    uint32_t bytes = tt_record_encode_event(record, &e, w->next_offset, NULL);
    if (w->count == 0 || newest()->size + bytes > w->segment_bytes) begin_segment();
    uint32_t slot;
    uint64_t hash = tt_hash(&identity.hash_key, e.channel);
    cr_assert_eq(tt_values_open(w->values, hash, e.channel, &slot), TT_OK);
    tt_values_set(w->values, slot, w->next_offset, place(), flags);
    tt_values_commit(w->values);
    if (newest()->index != NULL)
        (void)tt_index_add(newest()->index, hash, w->next_offset, place(), flags);
    w->events[w->events_count++] = (struct event){.channel = channel,
                                                  .flags = flags,
                                                  .bytes = bytes,
                                                  .crc = tt_crc32c(0, record, bytes),
                                                  .offset = w->next_offset,
                                                  .place = place()};
    push(newest(), record, bytes);
    w->next_offset++;
    free(payload);
}

/* Writes and syncs a segment, the oldest that is not on disk yet. False: they all are. */
static bool write_some(bool sync_newest)
{
    for (uint32_t i = w->first; i < w->count; i++) {
        struct segment *s = &w->segments[i];
        if (s->synced) continue;
        if (s->file < 0) {
            char path[TT_LOG_PATH_BYTES];
            cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
            s->file = plain(TT_LOG_OPEN_NEW, -1, path, 0, NULL, 0);
            cr_assert_geq(s->file, 0);
            cr_assert_eq(plain(TT_LOG_SYNC_DIRECTORY, w->directory_file, NULL, 0, NULL, 0), TT_OK);
        }
        if (s->written < s->size) {
            cr_assert_gt(plain(TT_LOG_WRITE, s->file, NULL, s->written, s->data + s->written,
                               s->size - s->written),
                         0);
            s->written = s->size;
        }
        if (!s->sealed && !sync_newest) return false;
        cr_assert_eq(plain(TT_LOG_SYNC, s->file, NULL, 0, NULL, 0), TT_OK);
        w->durable_place = s->is.base_place + s->size;
        s->synced = s->sealed;
        return s->sealed;
    }
    return false;
}

/* ---- the jobs ---- */

static struct tt_keep_view view(void)
{
    const struct segment *oldest = &w->segments[w->first];
    return (struct tt_keep_view){.next_offset = w->next_offset,
                                 .place = place(),
                                 .newest_place = w->count == 0 ? 0 : newest()->is.base_place,
                                 .durable_place = w->durable_place,
                                 .oldest_offset =
                                     w->count == 0 ? w->next_offset : oldest->is.first_offset,
                                 .oldest_place = w->count == 0 ? 0 : oldest->is.base_place,
                                 .directory_file = w->directory_file};
}

/* What must hold before a segment is given up: the values in it can be had elsewhere. */
static void check_no_value_within(const struct tt_segment *s)
{
    uint64_t mark = tt_values_mark(w->values);
    for (uint32_t slot = 0; w->keep_last && slot < tt_values_slots(w->values); slot++) {
        const struct tt_value *v = tt_values_at(w->values, slot);
        if (v == NULL) continue;
        cr_assert_not(v->state == TT_VALUE_HELD && v->place >= s->base_place &&
                      v->place < s->end_place);
        cr_assert_not(v->offset >= mark && v->older_state == TT_VALUE_HELD &&
                      v->older_place >= s->base_place && v->older_place < s->end_place);
    }
}

static void sync_names(void)
{
    cr_assert_eq(plain(TT_LOG_SYNC_DIRECTORY, w->directory_file, NULL, 0, NULL, 0), TT_OK);
}

static void retire_oldest(void)
{
    struct segment *s = &w->segments[w->first];
    char path[TT_LOG_PATH_BYTES];
    check_no_value_within(&s->is);
    cr_assert_eq(tt_index_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
    (void)plain(TT_LOG_UNLINK, -1, path, 0, NULL, 0);
    cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
    sync_names(); /* of the one before: they go one after the other */
    cr_assert_eq(plain(TT_LOG_UNLINK, -1, path, 0, NULL, 0), TT_OK);
    s->retired = true;
    tt_index_destroy(&s->index);
    w->first++;
    w->unlinked++;
}

static void take_results(void)
{
    struct tt_keep_result r;
    while (tt_keep_take_result(w->keep, &r) == TT_OK) {
        if (r.event == TT_KEEP_NOT_CARRIED || r.event == TT_KEEP_UNINDEXED) w->jobs_failed++;
        if (r.event == TT_KEEP_CARRIED) retire_oldest();
        for (uint32_t i = w->first; r.event == TT_KEEP_INDEXED && i < w->count; i++)
            if (w->segments[i].is.base_place == r.segment.base_place) w->segments[i].indexed = true;
    }
}

static void begin_job(void)
{
    struct segment *oldest = &w->segments[w->first];
    if (tt_keep_busy(w->keep) || w->count == 0) return;
    if (w->count - w->first > 4 && oldest->synced &&
        tt_keep_carry(w->keep, &w->now, &oldest->is) == TT_OK)
        return;
    for (uint32_t i = w->first; i < w->count; i++) {
        struct segment *s = &w->segments[i];
        if (!s->synced || s->indexed) continue;
        enum tt_status status = s->index != NULL ? tt_keep_index(w->keep, &w->now, &s->is, s->index)
                                                 : tt_keep_rebuild(w->keep, &w->now, &s->is, 0);
        if (status == TT_OK) return;
    }
}

/* One operation, or slice of work. False: nothing to do now. */
static bool keep_step(void)
{
    static const enum tt_status failures[] = {TT_EIO, TT_ENOSPC, TT_ENOFILE, TT_EACCES};
    struct tt_log_operation op = {0};
    struct tt_keep_view v = view();
    begin_job();
    enum tt_status status = tt_keep_next(w->keep, &w->now, &v, &op);
    take_results();
    if (status == TT_MORE) cr_assert_eq(tt_keep_next_ns(w->keep), 0);
    if (status != TT_OK) return status == TT_MORE;
    /* Never three in a row: then what failed could not be undone. */
    bool fails = w->fault_one_in != 0 && w->faults_in_row < 2 && below(w->fault_one_in) == 0;
    w->faults_in_row = fails ? w->faults_in_row + 1 : 0;
    if (fails) {
        w->disk->fault = below(2) ? DISK_FAULT_ERROR : DISK_FAULT_SHORT;
        w->disk->fault_at = w->disk->fault_until = w->disk->operations + 1;
        w->disk->fault_status = failures[below(4)];
    }
    int32_t result = w->full && op.kind == TT_LOG_WRITE ? TT_ENOSPC : disk_do(w->disk, &op);
    disk_heal(w->disk);
    tt_keep_done(w->keep, result, &w->now);
    take_results();
    return true;
}

/* ---- dying, and coming back ---- */

static void drop_memory(void)
{
    if (w->keep == NULL) return;
    struct tt_keep_figures f;
    tt_keep_figures(w->keep, &f);
    w->total.carries += f.carries;
    w->total.carried_values += f.carried_values;
    w->total.checkpoints += f.checkpoints;
    w->total.indexes += f.indexes;
    w->total.rebuilds += f.rebuilds;
    w->total.compactions += f.compactions;
    w->total.failures += f.failures;
    w->lost += f.lost_values;
    tt_keep_destroy(&w->keep);
    tt_values_destroy(&w->values);
}

/* Reads the segment's file as recovery does. *next: behind its last event. The bytes that hold. */
static uint64_t walk(const struct segment *s, bool take, uint64_t *next)
{
    char path[TT_LOG_PATH_BYTES];
    cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
    const struct disk_file *f = disk_find(w->disk, path);
    struct tt_reader reader;
    struct tt_record r;
    uint64_t base = s->is.base_place;
    tt_reader_init(&reader, base, base + f->size, false);
    while (tt_reader_next(&reader, base, tt_bytes(f->data, f->size), &r) == TT_OK) {
        if (r.class != TT_RECORD_EVENT) continue;
        *next = r.offset + 1;
        if (!take) continue;
        uint32_t slot;
        uint64_t hash = tt_hash(&identity.hash_key, r.event.channel);
        cr_assert_eq(tt_values_open_over(w->values, hash, r.event.channel, &slot), TT_OK);
        tt_values_set(w->values, slot, r.offset, tt_reader_place(&reader) - r.length,
                      r.event.flags);
        tt_values_commit(w->values);
    }
    return tt_reader_place(&reader) - base;
}

static void check_record(const struct event *e, uint64_t at)
{
    char path[TT_LOG_PATH_BYTES];
    uint64_t from = 0;
    if (tt_kept_is(at)) {
        cr_assert_eq(tt_kept_path(DIRECTORY, tt_kept_number(at), path, sizeof path), TT_OK);
        from = tt_kept_byte(at);
    } else {
        const struct segment *s = NULL;
        for (uint32_t i = w->first; i < w->count; i++)
            if (w->segments[i].is.base_place <= at) s = &w->segments[i];
        cr_assert_not_null(s, "place %llu is gone", (unsigned long long)at);
        cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
        from = at - s->is.base_place;
    }
    const struct disk_file *f = disk_find(w->disk, path);
    cr_assert_not_null(f, "%s is gone", path);
    cr_assert_leq(from + e->bytes, f->size, "%s is too short", path);
    cr_assert_eq(tt_crc32c(0, f->data + from, e->bytes), e->crc, "%s at %llu", path,
                 (unsigned long long)from);
}

/* Every channel has its value, and the record of it can be read. */
static void check_values(void)
{
    static const struct event *newest_of[EVENTS_MAX];
    memset(newest_of, 0, sizeof newest_of);
    for (uint32_t i = 0; i < w->events_count; i++)
        if (w->events[i].flags != TT_VALUES_NEVER_CONFLATE)
            newest_of[w->events[i].channel] = &w->events[i];
    for (uint32_t channel = 0; channel < w->channels; channel++) {
        const struct event *e = newest_of[channel];
        char text[TT_CHANNEL_BYTES_MAX + 1];
        struct tt_bytes name = name_of(channel, text);
        uint32_t slot = tt_values_find(w->values, tt_hash(&identity.hash_key, name), name);
        const struct tt_value *v = slot != TT_VALUES_NONE ? tt_values_at(w->values, slot) : NULL;
        bool has = e != NULL && (e->flags & TT_VALUES_DELETE) == 0;
        if (!has) {
            cr_assert(v == NULL || v->state != TT_VALUE_HELD,
                      "channel %u has the value of offset %llu", channel,
                      (unsigned long long)v->offset);
            continue;
        }
        if (!w->keep_last && e->place < w->segments[w->first].is.base_place) continue;
        cr_assert(v != NULL && v->state == TT_VALUE_HELD,
                  "channel %u lost the value of offset %llu", channel,
                  (unsigned long long)e->offset);
        cr_assert_eq(v->offset, e->offset, "channel %u: offset %llu instead of %llu", channel,
                     (unsigned long long)v->offset, (unsigned long long)e->offset);
        check_record(e, v->place);
        w->values_checked++;
    }
}

/* It is only there to save time. */
static void damage_checkpoint(void)
{
    struct disk_file *f = disk_find(w->disk, DIRECTORY "/" TT_CHECKPOINT_NAME);
    if (f == NULL || f->size == 0 || below(5) != 0) return;
    if (below(3) == 0)
        (void)plain(TT_LOG_UNLINK, -1, DIRECTORY "/" TT_CHECKPOINT_NAME, 0, NULL, 0);
    else
        f->data[below(f->size)] ^= (uint8_t)(1u << below(8));
    w->damaged = true;
}

/* The table as start-up finds it. */
static struct tt_keep_loaded load(void)
{
    damage_checkpoint();
    /* The segment that was removed last may be there again. */
    if (w->first > 0) {
        char path[TT_LOG_PATH_BYTES];
        cr_assert_eq(tt_segment_path(DIRECTORY, w->segments[w->first - 1].is.first_offset, path,
                                     sizeof path),
                     TT_OK);
        if (disk_find(w->disk, path) != NULL) w->segments[--w->first].retired = false;
    }
    struct tt_keep_loaded loaded;
    const struct tt_keep_load_options options = {
        .files = &w->disk->access,
        .directory = DIRECTORY,
        .identity = &identity,
        .channels_max = w->channels,
        .oldest_offset = w->count == w->first ? UINT64_MAX : w->segments[w->first].is.first_offset,
        .oldest_place =
            w->count == w->first ? UINT64_MAX >> 1 : w->segments[w->first].is.base_place};
    cr_assert_eq(tt_keep_load(&loaded, &options), TT_OK, "%s", loaded.note);
    if (!w->damaged) cr_assert_str_eq(loaded.note, "");
    if (loaded.checkpoint) w->damaged = false;
    w->values = loaded.values;
    for (uint32_t i = 0; i < w->disk->names.count; i++)
        cr_assert_null(strstr(w->disk->names.items[i].path, ".new"), "nothing is left behind");
    return loaded;
}

static void come_back(void)
{
    struct tt_keep_loaded loaded = load();
    uint64_t mark_place = 0, next = w->count == 0 ? 0 : w->segments[w->first].is.first_offset;
    for (uint32_t i = w->first; i < w->count; i++) {
        struct segment *s = &w->segments[i];
        char path[TT_LOG_PATH_BYTES];
        cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
        bool there = s->file >= 0 && disk_find(w->disk, path) != NULL;
        bool take = i + 1 == w->count || w->segments[i + 1].is.base_place > loaded.place;
        if (there && take) tt_values_set_mark(w->values, s->is.first_offset);
        uint64_t size = there ? walk(s, take, &next) : 0;
        bool begun = size >= TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES;
        if (begun) mark_place = s->is.base_place;
        if (begun && s->synced) {
            cr_assert_eq(size, s->size, "a sealed segment is whole");
            continue;
        }
        /* The log ends here. */
        cr_assert_geq(s->is.base_place + size, w->durable_place);
        for (uint32_t k = i + 1; k < w->count; k++) {
            cr_assert_eq(
                tt_segment_path(DIRECTORY, w->segments[k].is.first_offset, path, sizeof path),
                TT_OK);
            if (w->segments[k].file >= 0) (void)plain(TT_LOG_UNLINK, -1, path, 0, NULL, 0);
            free(w->segments[k].data);
            tt_index_destroy(&w->segments[k].index);
        }
        cr_assert_eq(tt_segment_path(DIRECTORY, s->is.first_offset, path, sizeof path), TT_OK);
        w->count = begun ? i + 1 : i;
        if (begun) {
            s->size = s->written = size;
            (void)plain(TT_LOG_TRUNCATE, s->file, NULL, 0, NULL, size);
            cr_assert_eq(plain(TT_LOG_SYNC, s->file, NULL, 0, NULL, 0), TT_OK);
        } else {
            if (there) (void)plain(TT_LOG_UNLINK, -1, path, 0, NULL, 0);
            free(s->data);
            tt_index_destroy(&s->index);
        }
        break;
    }
    for (uint32_t i = w->first; i < w->count; i++) {
        tt_index_destroy(&w->segments[i].index); /* they were in memory */
        w->segments[i].indexed = false;
    }
    if (w->count > w->first) { /* the newest takes more */
        newest()->sealed = newest()->synced = false;
        newest()->is.end_place = TT_SEGMENT_GROWS;
    }
    cr_assert_eq(plain(TT_LOG_SYNC_DIRECTORY, w->directory_file, NULL, 0, NULL, 0), TT_OK);
    w->durable_place = place();
    while (w->events_count > 0 && w->events[w->events_count - 1].offset >= next) w->events_count--;
    tt_keep_settle(w->values, &loaded.kept, view().oldest_offset, view().oldest_place);
    const struct tt_keep_options keep = {.values = w->values,
                                         .directory = DIRECTORY,
                                         .identity = &identity,
                                         .kept = &loaded.kept,
                                         .mark_place = mark_place,
                                         .kept_file_bytes = 20000,
                                         .garbage_bytes = 10000,
                                         .keep_last = w->keep_last};
    cr_assert_eq(tt_keep_create(&w->keep, &keep), TT_OK);
    w->next_offset += 100; /* as after an unclean stop */
    check_values();
}

static void start(uint64_t seed, bool keep_last)
{
    w = calloc(1, sizeof *w);
    TT_ASSERT(w != NULL);
    w->disk = disk_create(seed);
    w->keep_last = keep_last;
    w->channels = CHANNELS;
    w->segment_bytes = SEGMENT_BYTES;
    w->now = (struct tt_log_now){.ns = 1000, .wall_us = 1000};
    cr_assert_eq(w->disk->access.make_directory(w->disk, DIRECTORY), TT_OK);
    cr_assert_eq(w->disk->access.sync_directory(w->disk, "data"), TT_OK);
    w->directory_file = plain(TT_LOG_OPEN_DIRECTORY, -1, DIRECTORY, 0, NULL, 0);
    come_back();
}

static void stop(void)
{
    drop_memory();
    for (uint32_t i = 0; i < w->count; i++) {
        free(w->segments[i].data);
        tt_index_destroy(&w->segments[i].index);
    }
    disk_destroy(&w->disk);
    free(w);
}

static void append_some(void)
{
    static const uint32_t kinds[] = {0, 0, 0, 0, 0, TT_VALUES_NEVER_CONFLATE, TT_VALUES_DELETE};
    for (uint64_t n = below(12); n > 0; n--) {
        /* Some channels are hot, some are seldom heard of. */
        uint32_t channel = (uint32_t)(below(4) ? below(5) : below(CHANNELS));
        append(channel, kinds[below(7)], below(400) == 0 ? 300000 + below(300000) : below(2500));
    }
}

static void run(uint64_t seed, uint32_t steps, uint32_t die_one_in)
{
    for (uint32_t i = 0; i < steps; i++) {
        switch (below(4)) {
        case 0: append_some(); break;
        case 1: (void)write_some(below(3) == 0); break;
        default:
            for (uint64_t n = below(20); n > 0; n--) (void)keep_step();
        }
        w->now.ns += below(TT_LOG_RETRY_NS / 2);
        if (die_one_in == 0 || below(die_one_in) != 0) continue;
        drop_memory();
        if (below(3) != 0) disk_power_cut(w->disk);
        come_back();
    }
    (void)seed;
}

static uint64_t first_seed(void)
{
    const char *text = getenv("SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

/* SEED: the first one; SEEDS: how many. */
static uint64_t seeds(uint64_t usual)
{
    const char *text = getenv("SEEDS");
    return text != NULL ? strtoull(text, NULL, 10) : usual;
}

static void run_seeds(uint64_t count, uint32_t fault_one_in, uint32_t die_one_in, bool keep_last)
{
    struct tt_keep_figures total = {0};
    uint64_t checked = 0, unlinked = 0;
    for (uint64_t seed = first_seed(); seed < first_seed() + count; seed++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        start(seed, keep_last);
        w->fault_one_in = fault_one_in;
        run(seed, 600, die_one_in);
        w->fault_one_in = 0;
        drop_memory();
        come_back();
        cr_assert_eq(w->lost, 0);
        total.carries += w->total.carries;
        total.carried_values += w->total.carried_values;
        total.checkpoints += w->total.checkpoints;
        total.rebuilds += w->total.rebuilds;
        total.compactions += w->total.compactions;
        total.failures += w->total.failures;
        checked += w->values_checked;
        unlinked += w->unlinked;
        stop();
    }
    fprintf(stderr,
            "carries %llu values %llu checkpoints %llu rebuilds %llu compactions %llu failures "
            "%llu checked %llu unlinked %llu\n",
            (unsigned long long)total.carries, (unsigned long long)total.carried_values,
            (unsigned long long)total.checkpoints, (unsigned long long)total.rebuilds,
            (unsigned long long)total.compactions, (unsigned long long)total.failures,
            (unsigned long long)checked, (unsigned long long)unlinked);
    if (count < 10) return; /* asked for by hand */
    cr_assert_gt(total.carries, count);
    cr_assert_gt(unlinked, count);
    if (keep_last) cr_assert_gt(total.checkpoints, count);
    if (keep_last) cr_assert_gt(total.compactions, 0);
    cr_assert_eq(total.failures != 0, fault_one_in != 0);
}

Test(keep, values_outlive_their_segments)
{
    run_seeds(20, 0, 0, true);
}

Test(keep, power_cuts_at_any_moment, .timeout = 3000)
{
    run_seeds(seeds(60), 0, 20, true);
}

Test(keep, operations_that_fail_and_power_cuts, .timeout = 3000)
{
    run_seeds(seeds(60), 15, 25, true);
}

Test(keep, values_are_forgotten_when_that_is_wanted)
{
    run_seeds(10, 20, 30, false);
}

/* More values than one batch holds, of which each call takes no more than it may. */
Test(keep, a_segment_full_of_values)
{
    start(1, true);
    w->channels = 40000;
    w->segment_bytes = 3u << 20;
    drop_memory();
    come_back();
    for (uint32_t i = 0; i < 40000; i++) append((uint32_t)(i * 7919u % 40000), 0, below(60));
    while (w->count - w->first <= 5) append(1, 0, 2000);
    while (write_some(true)) continue;
    while (keep_step()) continue;
    struct tt_keep_figures f;
    tt_keep_figures(w->keep, &f);
    cr_assert_gt(f.carried_values, 2 * TT_KEEP_BATCH);
    cr_assert_eq(f.lost_values, 0);
    cr_assert_eq(f.memory_bytes, 0, "memory of a job goes when it ends");
    check_values();
    drop_memory();
    disk_power_cut(w->disk);
    come_back();
    cr_assert_geq(w->values_checked, 80000);
    stop();
}

/* What cannot be read does not end retention for ever. */
Test(keep, a_value_that_cannot_be_read_is_lost_and_counted)
{
    start(1, true);
    for (uint32_t i = 0; i < 20; i++) append(i, 0, 1000);
    while (w->count <= 5) append(50, 0, 2000);
    while (write_some(true)) continue;
    struct disk_file *f = &w->disk->files[w->segments[0].file];
    f->data[w->events[7].place + 60] ^= 1;
    while (keep_step()) continue;
    struct tt_keep_figures figures;
    tt_keep_figures(w->keep, &figures);
    cr_assert_gt(w->first, 0);
    cr_assert_eq(figures.lost_values, 1);
    cr_assert_eq(figures.carried_values, 19);
    stop();
}

Test(keep, nothing_is_given_up_while_the_disk_is_full)
{
    start(1, true);
    for (uint32_t i = 0; i < 20; i++) append(i, 0, 1000);
    while (w->count <= 5) append(50, 0, 2000);
    while (write_some(true)) continue;
    w->full = true;
    for (int i = 0; i < 20; i++) {
        while (keep_step()) continue;
        cr_assert_neq(tt_keep_next_ns(w->keep), UINT64_MAX, "it is tried again");
        w->now.ns = tt_keep_next_ns(w->keep);
    }
    struct tt_keep_figures f;
    tt_keep_figures(w->keep, &f);
    cr_assert_eq(w->first, 0, "no segment was given up");
    cr_assert(f.failing && f.reason == TT_ENOSPC && f.failed_path[0] != '\0');
    cr_assert_eq(f.kept_files, 0);
    w->full = false;
    while (keep_step()) continue;
    tt_keep_figures(w->keep, &f);
    cr_assert_gt(w->first, 0);
    cr_assert_not(f.failing);
    check_values();
    stop();
}

Test(keep, closing_ends_whatever_is_under_way)
{
    for (uint64_t steps = 0; steps < 40; steps++) {
        start(1, true);
        for (uint32_t i = 0; i < 20; i++) append(i, 0, 1000);
        while (w->count <= 5) append(50, 0, 2000);
        while (write_some(true)) continue;
        for (uint64_t i = 0; i < steps; i++) (void)keep_step();
        tt_keep_close(w->keep);
        for (int i = 0; !tt_keep_closed(w->keep); i++) {
            cr_assert_lt(i, 10);
            (void)keep_step();
        }
        drop_memory();
        disk_power_cut(w->disk);
        come_back();
        stop();
    }
}

/* Each operation of a start-up fails once: it says so, or goes on without what it could not have.
 */
Test(keep, start_up_while_operations_fail)
{
    static const enum tt_status failures[] = {TT_EIO, TT_ENOFILE, TT_ENOSPC};
    start(1, true);
    for (uint32_t i = 0; i < 40; i++) append(i, i % 5 == 0 ? TT_VALUES_DELETE : 0, 1000);
    while (w->count <= 9) append(50, 0, 2000);
    while (write_some(true)) continue;
    while (keep_step()) continue;
    drop_memory();
    cr_assert_not_null(disk_find(w->disk, DIRECTORY "/0000000.val"));
    cr_assert_not_null(disk_find(w->disk, DIRECTORY "/values"));
    const struct tt_keep_load_options options = {
        .files = &w->disk->access,
        .directory = DIRECTORY,
        .identity = &identity,
        .channels_max = CHANNELS,
        .oldest_offset = w->segments[w->first].is.first_offset,
        .oldest_place = w->segments[w->first].is.base_place};
    uint64_t failed = 0, passed = 0;
    for (uint32_t which = 0; which < 3; which++) {
        for (uint64_t n = 1;; n++) {
            struct tt_keep_loaded loaded;
            w->disk->fault = DISK_FAULT_ERROR;
            w->disk->fault_status = failures[which];
            w->disk->fault_hit = false;
            w->disk->fault_at = w->disk->fault_until = w->disk->operations + n;
            enum tt_status status = tt_keep_load(&loaded, &options);
            disk_heal(w->disk);
            if (!w->disk->fault_hit) cr_assert(status == TT_OK && loaded.note[0] == '\0');
            if (w->disk->fault_hit) cr_assert_neq(loaded.note[0], '\0', "%s", w->disk->fault_what);
            failed += status != TT_OK;
            passed += status == TT_OK;
            tt_values_destroy(&loaded.values);
            tt_kept_files_deinit(&loaded.kept);
            if (!w->disk->fault_hit) break;
        }
    }
    cr_assert(failed > 0 && passed > 3);
    come_back();
    stop();
}
