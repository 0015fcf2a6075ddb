/* What must hold after a start. */
#include <stdio.h>
#include <stdlib.h>

#include "store/reader.h"
#include "tests/support/crash.h"

const char *crash_channel(uint32_t channel, char name[32])
{
    snprintf(name, 32, "%s.%u", channel % 2 == 0 ? "even" : "odd", channel);
    return name;
}

bool crash_is_event(const struct tt_record *record, const struct crash_event *e)
{
    char name[32], id[24];
    snprintf(id, sizeof id, "%020llu", (unsigned long long)e->id);
    return record->event.payload.size == e->payload_bytes &&
           memcmp(record->event.payload.data, id, 20) == 0 && record->event.flags == e->flags &&
           record->event.taken_us == e->taken_us &&
           tt_bytes_is(record->event.channel, crash_channel(e->channel, name));
}

/* Walks the files of all segments: every event that the model has from `oldest` on and below `next`
 * stands there, once, and no other. */
static void check_segments(struct crash *c, const struct tt_segment_list *list, uint64_t end_place,
                           uint64_t oldest, uint64_t next)
{
    uint32_t at = 0;
    uint64_t holes = 0, expected = UINT64_MAX;
    while (at < c->count && c->events[at].offset < oldest) at++;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tt_segment *s = &list->items[i];
        char path[TT_LOG_PATH_BYTES];
        if (tt_segment_path("data/0", s->first_offset, path, sizeof path) != TT_OK) return;
        const struct disk_file *f = disk_find(c->disk, path);
        CRASH_CHECK(c, f != NULL, "%s is missing", path);
        bool sealed = s->end_place != TT_SEGMENT_GROWS;
        struct tt_reader reader;
        struct tt_record record;
        enum tt_status status;
        tt_reader_init(&reader, s->base_place, sealed ? s->end_place : end_place, sealed);
        while ((status = tt_reader_next(&reader, s->base_place, tt_bytes(f->data, f->size),
                                        &record)) == TT_OK) {
            if (record.class != TT_RECORD_EVENT && record.class != TT_RECORD_HOLE) continue;
            CRASH_CHECK(c, expected == UINT64_MAX || record.offset == expected,
                        "offset %llu follows %llu", (unsigned long long)record.offset,
                        (unsigned long long)expected - 1);
            expected = record.class == TT_RECORD_HOLE ? record.hole_end : record.offset + 1;
            holes += record.class == TT_RECORD_HOLE;
            if (record.class == TT_RECORD_HOLE) continue;
            CRASH_CHECK(c, at < c->count && c->events[at].offset == record.offset,
                        "event %llu is there, the next that was appended is %llu",
                        (unsigned long long)record.offset,
                        (unsigned long long)(at < c->count ? c->events[at].offset : UINT64_MAX));
            CRASH_CHECK(c, crash_is_event(&record, &c->events[at]), "event %llu is another one",
                        (unsigned long long)record.offset);
            at++;
        }
        CRASH_CHECK(c, status == TT_END, "%s: status %d at place %llu", path, (int)status,
                    (unsigned long long)tt_reader_place(&reader));
    }
    CRASH_CHECK(c, at == c->count || c->events[at].offset >= next, "event %llu is not there",
                (unsigned long long)c->events[at].offset);
}

/* Events from `next` on are lost: were they allowed to be? */
static void forget_lost(struct crash *c, uint64_t next, uint64_t hole_end)
{
    while (c->count != 0 && c->events[c->count - 1].offset >= next) {
        const struct crash_event *e = &c->events[--c->count];
        uint64_t safe = c->end == CRASH_CUT ? c->durable_place : c->written_place;
        CRASH_CHECK(c, e->end_place > safe, "event %llu (place %llu) is lost; safe was %llu",
                    (unsigned long long)e->offset, (unsigned long long)e->place,
                    (unsigned long long)safe);
        CRASH_CHECK(c, c->end != CRASH_CLEAN, "event %llu is lost by a clean end",
                    (unsigned long long)e->offset);
        if (c->policy == TT_LOG_ALWAYS) {
            CRASH_CHECK(c, !e->answered, "event %llu was answered and is lost",
                        (unsigned long long)e->offset);
            CRASH_CHECK(c, !e->seen, "event %llu was seen and is lost",
                        (unsigned long long)e->offset);
        }
        CRASH_CHECK(c, !e->seen || e->offset < hole_end,
                    "event %llu was seen and is lost, and the hole ends at %llu",
                    (unsigned long long)e->offset, (unsigned long long)hole_end);
    }
}

void crash_check_recovered(struct crash *c)
{
    const struct tt_recovered_partition *p = &c->recovered->partitions[0];
    CRASH_CHECK(c, p->hole_first <= p->hole_end && p->next_offset == p->hole_end,
                "hole %llu to %llu, next %llu", (unsigned long long)p->hole_first,
                (unsigned long long)p->hole_end, (unsigned long long)p->next_offset);
    if (c->end == CRASH_CLEAN)
        CRASH_CHECK(c, p->hole_first == p->hole_end && p->removed_files == 0,
                    "a clean end left a hole from %llu to %llu, and %u files",
                    (unsigned long long)p->hole_first, (unsigned long long)p->hole_end,
                    p->removed_files);
    CRASH_CHECK(c, p->oldest_offset <= c->oldest, "the log begins at %llu, before it began at %llu",
                (unsigned long long)p->oldest_offset, (unsigned long long)c->oldest);
    CRASH_CHECK(c, p->next_offset >= c->seen_end, "%llu would be used again",
                (unsigned long long)c->seen_end - 1);
    forget_lost(c, p->hole_first, p->hole_end);
    c->torn += p->torn_bytes != 0;
    check_segments(c, &p->segments, p->place, p->oldest_offset, p->hole_first);
    crash_check_keys(c);
    CRASH_CHECK(c, p->note[0] == '\0' || c->disk->fault_hit, "%s", p->note);
}

void crash_check_opened(struct crash *c)
{
    const struct tt_recovered_partition *p = &c->recovered->partitions[0];
    const struct tt_tail_descriptor *run;
    uint32_t n = tt_tail_read(c->tail, 0, 1, &run);
    CRASH_CHECK(c, (n == 1) == (p->hole_first != p->hole_end), "%u records in a new tail", n);
    if (n == 1)
        CRASH_CHECK(c, run[0].class == TT_RECORD_HOLE && run[0].offset == p->hole_first,
                    "the first record is no hole");
}
