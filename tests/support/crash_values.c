/* What the log says of values, indexes and keys, against what was appended. */
#include <stdio.h>
#include <stdlib.h>

#include "store/index_file.h"
#include "store/kept.h"
#include "store/lookup.h"
#include "tests/support/crash.h"

#define ITEMS_MAX 512u

static uint64_t hash_of(const struct crash *c, uint32_t channel)
{
    char name[32];
    return tt_hash(&c->recovered->hash_key, tt_bytes_text(crash_channel(channel, name)));
}

/* The newest event of the channel below `at` that is (or deletes) a value, or null. */
static const struct crash_event *value_of(const struct crash *c, uint32_t channel, uint64_t at)
{
    for (uint32_t i = c->count; i > 0; i--) {
        const struct crash_event *e = &c->events[i - 1];
        if (e->channel == channel && e->offset < at &&
            ((e->flags & TT_EVENT_NEVER_CONFLATE) == 0 || (e->flags & TT_EVENT_OP_DELETE) != 0))
            return e;
    }
    return NULL;
}

/* The bytes at a place, in a segment or a kept file. */
static struct tt_bytes bytes_at(struct crash *c, uint64_t place)
{
    char path[TT_LOG_PATH_BYTES];
    uint64_t position;
    enum tt_status status;
    if (tt_kept_is(place)) {
        status = tt_kept_path("data/0", tt_kept_number(place), path, sizeof path);
        position = tt_kept_byte(place);
    } else {
        const struct tt_segment *s = tt_segment_list_find_place(tt_log_segments(c->log), place);
        CRASH_CHECK(c, s != NULL, "place %llu is in no segment", (unsigned long long)place);
        status = tt_segment_path("data/0", s->first_offset, path, sizeof path);
        position = place - s->base_place;
    }
    CRASH_CHECK(c, status == TT_OK, "a path is too long");
    const struct disk_file *f = disk_find(c->disk, path);
    CRASH_CHECK(c, f != NULL, "%s is missing", path);
    CRASH_CHECK(c, position < f->size, "%s ends before byte %llu", path,
                (unsigned long long)position);
    return tt_bytes(f->data + position, f->size - position);
}

static void check_place(struct crash *c, const struct crash_event *e, uint64_t place)
{
    if (!tt_kept_is(place) && place >= tt_tail_written_place(c->tail)) return; /* in memory only */
    struct tt_record record;
    enum tt_status status = tt_record_read(bytes_at(c, place), &record);
    if (status == TT_MORE && !tt_kept_is(place)) return; /* half of it is written */
    if (!tt_kept_is(place) && place + record.length > tt_tail_written_place(c->tail)) return;
    CRASH_CHECK(c,
                status == TT_OK && record.class == TT_RECORD_EVENT && record.offset == e->offset &&
                    crash_is_event(&record, e),
                "event %llu does not stand at %llx (status %d)", (unsigned long long)e->offset,
                (unsigned long long)place, (int)status);
}

/* ---- VALUE ---- */

/* One channel's part of an answer. */
static void check_value(struct crash *c, uint32_t channel, uint64_t at,
                        const struct tt_lookup_channel *answer, const struct tt_lookup_item *item)
{
    const struct crash_event *e = value_of(c, channel, at);
    const struct crash_event *newest = value_of(c, channel, UINT64_MAX);
    bool held = e != NULL && (e->flags & TT_EVENT_OP_DELETE) == 0;
    uint64_t oldest = tt_tail_oldest_offset(c->tail);
    if (answer->found != 0) {
        CRASH_CHECK(c, answer->found == 1 && held && item->offset == e->offset,
                    "channel %u at %llu: value %llu, it is %llu", channel, (unsigned long long)at,
                    (unsigned long long)item->offset,
                    (unsigned long long)(e != NULL ? e->offset : UINT64_MAX));
        CRASH_CHECK(c, item->hash == hash_of(c, channel), "channel %u: another hash", channel);
        check_place(c, e, item->place);
        return;
    }
    if (!held || (answer->search_below != 0 && e->offset < answer->search_below)) return;
    /* Not found: allowed if it was retired, and has a successor or is not to be kept. */
    CRASH_CHECK(c, e->offset < oldest && (e != newest || c->forgot),
                "channel %u at %llu: value %llu is not found (oldest %llu, search below %llu)",
                channel, (unsigned long long)at, (unsigned long long)e->offset,
                (unsigned long long)oldest, (unsigned long long)answer->search_below);
}

static void check_values_by_hash(struct crash *c, uint64_t at)
{
    struct tt_lookup_channel channels[CRASH_CHANNELS_MAX];
    struct tt_lookup_item items[CRASH_CHANNELS_MAX];
    for (uint32_t i = 0; i < c->channels; i++)
        channels[i] = (struct tt_lookup_channel){.hash = hash_of(c, i)};
    struct tt_lookup lookup = {.kind = TT_LOOKUP_VALUE,
                               .at = at,
                               .channels = channels,
                               .channels_count = c->channels,
                               .items = items,
                               .items_max = 1 + (uint32_t)disk_below(c->disk, CRASH_CHANNELS_MAX)};
    uint32_t from = 0;
    while (from != c->channels) {
        tt_log_lookup(c->log, &lookup);
        uint32_t end = lookup.key == TT_LOOKUP_END ? c->channels : (uint32_t)lookup.key;
        CRASH_CHECK(c, end > from, "a lookup does not get on");
        uint32_t used = 0;
        for (; from < end; used += channels[from].found, from++)
            check_value(c, from, at, &channels[from], &items[used]);
        CRASH_CHECK(c, used == lookup.items_count, "%u items of %u", used, lookup.items_count);
    }
}

static void check_values_by_pattern(struct crash *c, uint64_t at)
{
    struct tt_lookup_channel channels[7];
    struct tt_lookup_item items[5];
    bool seen[CRASH_CHANNELS_MAX] = {false};
    struct tt_lookup lookup = {.kind = TT_LOOKUP_VALUE,
                               .at = at,
                               .by_pattern = true,
                               .pattern = {TT_PATTERN_PREFIX, TT_BYTES_LITERAL("even.")},
                               .channels = channels,
                               .channels_max = 1 + (uint32_t)disk_below(c->disk, 7),
                               .items = items,
                               .items_max = 1 + (uint32_t)disk_below(c->disk, 5)};
    for (int turns = 0; lookup.key != TT_LOOKUP_END; turns++) {
        CRASH_CHECK(c, turns < 1000, "a lookup by pattern does not end");
        tt_log_lookup(c->log, &lookup);
        uint32_t used = 0;
        for (uint32_t i = 0; i < lookup.channels_count; i++) {
            uint32_t channel = 0;
            while (channel < c->channels && hash_of(c, channel) != channels[i].hash) channel++;
            CRASH_CHECK(c, channel < c->channels && channel % 2 == 0 && !seen[channel],
                        "a channel that does not match, or twice");
            seen[channel] = true;
            check_value(c, channel, at, &channels[i], &items[used]);
            used += channels[i].found;
        }
    }
    for (uint32_t channel = 0; channel < c->channels; channel += 2)
        if (!seen[channel]) check_value(c, channel, at, &(struct tt_lookup_channel){0}, NULL);
}

/* ---- LAST, RANGE ---- */

static void check_last(struct crash *c, uint64_t at)
{
    struct tt_lookup_item items[8];
    uint32_t channel = (uint32_t)disk_below(c->disk, c->channels);
    struct tt_lookup_channel answer = {.hash = hash_of(c, channel)};
    struct tt_lookup lookup = {.kind = TT_LOOKUP_LAST,
                               .at = at,
                               .last = 1 + (uint32_t)disk_below(c->disk, 8),
                               .channels = &answer,
                               .channels_count = 1,
                               .items = items,
                               .items_max = 8};
    tt_log_lookup(c->log, &lookup);
    uint32_t left = lookup.items_count;
    uint64_t oldest = tt_tail_oldest_offset(c->tail);
    for (uint32_t i = c->count; i > 0; i--) {
        const struct crash_event *e = &c->events[i - 1];
        if (e->channel != channel || e->offset >= at) continue;
        if (left == 0) {
            CRASH_CHECK(c,
                        lookup.items_count == lookup.last || e->offset < oldest ||
                            e->offset < answer.search_below,
                        "channel %u: event %llu of the last %u is not told", channel,
                        (unsigned long long)e->offset, lookup.last);
            return;
        }
        left--;
        CRASH_CHECK(c, items[left].offset == e->offset, "channel %u: %llu instead of %llu", channel,
                    (unsigned long long)items[left].offset, (unsigned long long)e->offset);
        check_place(c, e, items[left].place);
    }
    CRASH_CHECK(c, left == 0, "channel %u: event %llu was never there", channel,
                (unsigned long long)items[0].offset);
}

static void check_range(struct crash *c, uint64_t at)
{
    struct tt_lookup_channel channels[3];
    struct tt_lookup_item items[ITEMS_MAX];
    uint32_t chosen = (uint32_t)disk_below(c->disk, c->channels);
    struct tt_lookup lookup = {.kind = TT_LOOKUP_RANGE,
                               .at = at,
                               .channels = channels,
                               .items = items,
                               .items_max = 8 + (uint32_t)disk_below(c->disk, ITEMS_MAX - 8)};
    for (uint32_t i = 0; i < 3; i++) {
        if (chosen + i >= c->channels) break;
        channels[lookup.channels_count++].hash = hash_of(c, chosen + i);
    }
    tt_log_lookup(c->log, &lookup);
    if (lookup.memory_offset >= at) return;
    lookup.from = lookup.memory_offset + disk_below(c->disk, at - lookup.memory_offset);
    uint32_t i = 0;
    while (i < c->count && c->events[i].offset < lookup.from) i++;
    for (int turns = 0; lookup.from < at; turns++) {
        CRASH_CHECK(c, turns < 10000, "a range does not end");
        tt_log_lookup(c->log, &lookup);
        CRASH_CHECK(c, lookup.key > lookup.from && lookup.key <= at, "a range does not get on");
        for (uint32_t k = 0; k < lookup.items_count; k++) {
            if ((items[k].flags & TT_LOOKUP_HOLE) != 0) continue;
            while (i < c->count && (c->events[i].channel < chosen ||
                                    c->events[i].channel >= chosen + lookup.channels_count))
                i++;
            CRASH_CHECK(c, i < c->count && c->events[i].offset == items[k].offset,
                        "range: %llu instead of %llu", (unsigned long long)items[k].offset,
                        (unsigned long long)(i < c->count ? c->events[i].offset : UINT64_MAX));
            check_place(c, &c->events[i], items[k].place);
            i++;
        }
        lookup.from = lookup.key;
    }
    for (; i < c->count && c->events[i].offset < at; i++)
        CRASH_CHECK(c,
                    c->events[i].channel < chosen ||
                        c->events[i].channel >= chosen + lookup.channels_count,
                    "range: event %llu is not told", (unsigned long long)c->events[i].offset);
}

/* ---- index files ---- */

/* All entries of one channel in an index file, against the events. */
static void check_list(struct crash *c, const struct disk_file *f, const char *path,
                       const struct tt_index_header *header, const struct tt_segment *s,
                       uint32_t channel)
{
    struct tt_index_search search;
    struct tt_index_entry entry;
    uint64_t position;
    uint32_t size, i = 0;
    enum tt_status status;
    tt_index_search_range(&search, header, hash_of(c, channel), 0, UINT64_MAX);
    while ((status = tt_index_search_step(&search, &position, &size)) == TT_MORE) {
        CRASH_CHECK(c, position + size <= f->size, "%s is cut short", path);
        tt_index_search_give(&search, tt_bytes(f->data + position, size));
        while (tt_index_search_take(&search, &entry)) {
            while (i < c->count &&
                   (c->events[i].channel != channel || c->events[i].offset < s->first_offset))
                i++;
            CRASH_CHECK(c, i < c->count && c->events[i].offset == entry.offset,
                        "%s tells of event %llu", path, (unsigned long long)entry.offset);
            check_place(c, &c->events[i++], entry.place);
        }
    }
    CRASH_CHECK(c, status == TT_END, "%s: status %d", path, (int)status);
    for (; i < c->count && c->events[i].offset < header->next_offset; i++)
        CRASH_CHECK(c, c->events[i].channel != channel || c->events[i].offset < s->first_offset,
                    "%s does not tell of event %llu", path,
                    (unsigned long long)c->events[i].offset);
}

static void check_index_files(struct crash *c)
{
    const struct tt_segment_list *list = tt_log_segments(c->log);
    const struct tt_record_segment identity = {.format = TT_RECORD_FORMAT,
                                               .partitions = 1,
                                               .history = c->recovered->history,
                                               .hash_key = c->recovered->hash_key};
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tt_segment *s = &list->items[i];
        char path[TT_LOG_PATH_BYTES];
        if (!s->indexed) continue;
        enum tt_status status = tt_index_path("data/0", s->first_offset, path, sizeof path);
        const struct disk_file *f = disk_find(c->disk, path);
        CRASH_CHECK(c, status == TT_OK && f != NULL, "%s is missing", path);
        struct tt_index_header header;
        status = tt_index_header_read(
            tt_bytes(f->data, f->size < TT_INDEX_HEADER_BYTES ? f->size : TT_INDEX_HEADER_BYTES), s,
            &identity, &header);
        CRASH_CHECK(c, status == TT_OK, "%s: header: status %d", path, (int)status);
        for (uint32_t channel = 0; channel < c->channels; channel++)
            check_list(c, f, path, &header, s, channel);
    }
}

/* ---- all ---- */

void crash_check_keys(struct crash *c)
{
    const struct tt_recovered_partition *p = &c->recovered->partitions[0];
    uint32_t k = 0, used = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct crash_event *e = &c->events[i];
        if (e->key == 0 || e->offset < p->oldest_offset) continue;
        bool young = e->taken_us > c->recovered->wall_us - CRASH_KEYS_WINDOW_US;
        while (k < p->keys_count && p->keys[k].first_offset + p->keys[k].count <= e->offset) {
            CRASH_CHECK(c, used == p->keys[k].count, "a key covers %u events of %u", used,
                        p->keys[k].count);
            k++;
            used = 0;
        }
        bool there = k < p->keys_count && p->keys[k].first_offset <= e->offset;
        if (!there)
            CRASH_CHECK(c, !young, "the key of event %llu is lost", (unsigned long long)e->offset);
        if (!there) continue;
        uint64_t key;
        memcpy(&key, p->keys[k].block.key_hash, sizeof key);
        CRASH_CHECK(c, key == e->key, "event %llu has another key", (unsigned long long)e->offset);
        used++;
    }
}

void crash_check_values(struct crash *c)
{
    struct tt_log_figures f;
    tt_log_figures(c->log, &f);
    if (!c->forgot)
        CRASH_CHECK(c, f.values_lost == 0, "%llu values are lost",
                    (unsigned long long)f.values_lost);
    uint64_t at = f.next_offset;
    if (disk_below(c->disk, 2) == 0 && c->count != 0)
        at = c->events[disk_below(c->disk, c->count)].offset + 1;
    check_values_by_hash(c, at);
    check_values_by_pattern(c, at);
    check_last(c, at);
    check_range(c, at);
    if (disk_below(c->disk, 4) == 0) check_index_files(c);
}
