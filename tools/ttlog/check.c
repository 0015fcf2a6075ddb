#include "tools/ttlog/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/limits.h"
#include "proto/event/channel.h"
#include "store/salvage.h"
#include "tools/ttlog/beside.h"
#include "tools/ttlog/check_internal.h"

/* ---- findings ---- */

enum tt_status tt_check_init(struct tt_check *check, struct tt_listing *view)
{
    *check = (struct tt_check){.view = view};
    return tt_walk_init(&check->walk, view->io);
}

void tt_check_deinit(struct tt_check *check)
{
    tt_walk_deinit(&check->walk);
    free(check->items);
    check->items = NULL;
}

bool tt_finding_is_damage(const struct tt_finding *finding)
{
    return finding->kind != TT_FINDING_TORN;
}

bool tt_check_damaged(const struct tt_check *check)
{
    for (uint32_t i = 0; i < check->count; i++)
        if (tt_finding_is_damage(&check->items[i])) return true;
    return false;
}

struct tt_finding *tt_check_add(struct tt_check *check, enum tt_finding_kind kind,
                                uint32_t partition, const char *path, uint64_t byte,
                                const char *format, ...)
{
    va_list arguments;
    if (check->count == check->max) {
        uint32_t max = check->max == 0 ? 16 : check->max * 2;
        struct tt_finding *items = realloc(check->items, max * sizeof *items);
        if (items == NULL) return NULL;
        check->items = items;
        check->max = max;
    }
    struct tt_finding *f = &check->items[check->count++];
    *f = (struct tt_finding){.kind = kind, .partition = partition, .byte = byte};
    snprintf(f->path, sizeof f->path, "%s", path);
    va_start(arguments, format);
    vsnprintf(f->what, sizeof f->what, format, arguments);
    va_end(arguments);
    return f;
}

/* ---- the walk through one partition ---- */

struct state {
    struct tt_check *check;
    struct tt_listing_partition *p;
    struct tt_beside beside;
    uint64_t next_offset;
    int64_t taken_max_us;
    uint64_t durable; /* newest place that is known to be so, also by batches ahead */
    uint64_t again;   /* a place that was looked at twice: bad bytes of a log that is written */
    bool torn;        /* what follows is cut off by the next start */
    bool ended;       /* the end was reached, or what is being written */
};

static struct tt_finding *add(struct state *s, enum tt_finding_kind kind, uint32_t index,
                              uint64_t byte, const char *what)
{
    char path[TT_LISTING_PATH_BYTES];
    const struct tt_listing_file *f = &s->p->files[index];
    tt_listing_path(s->p, f, path);
    struct tt_finding *finding = tt_check_add(s->check, kind, s->p->number, path, byte, "%s", what);
    if (finding == NULL) return NULL;
    finding->file_offset = f->first_offset;
    finding->base = f->base_place;
    finding->place = finding->end = f->base_place + byte;
    finding->lost_first = finding->lost_end = s->next_offset;
    finding->taken_max_us = s->taken_max_us;
    return finding;
}

/* Why are the bytes at the walk's place no record? */
static void describe(struct state *s, char *what, size_t bytes)
{
    struct tt_walk *w = &s->check->walk;
    struct tt_bytes at;
    struct tt_record record = {0};
    uint64_t place = tt_walk_place(w);
    size_t most = TT_RECORD_BYTES_MAX(TT_EVENT_BYTES_CEILING + TT_RECORD_TEXT_BYTES_MAX);
    enum tt_status status = tt_walk_bytes(w, place, most, &at);
    if (status == TT_OK) status = tt_record_read(at, &record);
    if (status == TT_END)
        snprintf(what, bytes, "nothing is written here");
    else if (status == TT_OK && record.offset < s->next_offset)
        snprintf(what, bytes, "a record with offset %" PRIu64 ", but those before end at %" PRIu64,
                 record.offset, s->next_offset);
    else if (status == TT_OK)
        snprintf(what, bytes, "a record that belongs elsewhere");
    else if (status == TT_EIO)
        snprintf(what, bytes, "cannot be read: %s", tt_status_text(status));
    else if (record.length == 0 || record.length % TT_RECORD_ALIGN != 0 || record.length > most)
        snprintf(what, bytes, "no record: its length would be %u", record.length);
    else if (status == TT_MORE)
        snprintf(what, bytes, "a record that is cut off");
    else
        snprintf(what, bytes, "a record whose checksum does not match");
}

static void check_batch(struct state *s, uint32_t index, const struct tt_record *r)
{
    uint64_t byte = r->place - s->p->files[index].base_place;
    if (r->durable_place > r->place || r->durable_offset > r->offset)
        add(s, TT_FINDING_VALUE, index, byte, "calls more durable than stands before it");
    if (r->durable_place > r->place) return;
    if (r->durable_place > s->durable) s->durable = r->durable_place;
}

static void check_event(struct state *s, uint32_t index, const struct tt_record *r)
{
    uint64_t byte = s->check->walk.record_place - s->p->files[index].base_place;
    if (tt_channel_check(r->event.channel, NULL) != TT_OK)
        add(s, TT_FINDING_VALUE, index, byte, "holds a channel that is not allowed");
    else if (tt_type_check(r->event.type, NULL) != TT_OK)
        add(s, TT_FINDING_VALUE, index, byte, "holds a type that is not allowed");
    if (r->event.taken_us > s->taken_max_us) s->taken_max_us = r->event.taken_us;
    s->check->events++;
    if (s->torn) s->check->torn++;
}

static void check_segment(struct state *s, uint32_t index, const struct tt_record *r)
{
    const struct tt_meta *meta = &s->check->view->meta;
    /* A mirror's partitions grow. */
    bool other = !s->check->view->is_mirror && r->segment.partitions != meta->partitions;
    if (other || r->segment.hash_key.k0 != meta->hash_key.k0 ||
        r->segment.hash_key.k1 != meta->hash_key.k1)
        add(s, TT_FINDING_VALUE, index, 0, "does not agree with META");
}

static void check_record(struct state *s, uint32_t index, const struct tt_record *r)
{
    tt_beside_record(&s->beside, r, s->check->walk.record_place);
    s->check->records++;
    s->check->bytes += r->length;
    if (r->class == TT_RECORD_EVENT) check_event(s, index, r);
    if (r->class == TT_RECORD_BATCH) check_batch(s, index, r);
    if (r->class == TT_RECORD_SEGMENT) check_segment(s, index, r);
    if (r->class == TT_RECORD_CHUNK || r->class == TT_RECORD_SEGMENT) {
        if (r->taken_max_us < s->taken_max_us)
            add(s, TT_FINDING_VALUE, index, r->place - s->p->files[index].base_place,
                "gives a newest time that is below that of an event before it");
        if (r->taken_max_us > s->taken_max_us) s->taken_max_us = r->taken_max_us;
    }
    s->next_offset = r->class == TT_RECORD_EVENT  ? r->offset + 1
                     : r->class == TT_RECORD_HOLE ? r->hole_end
                                                  : r->offset;
}

/* Is anything behind the place known to have been durable? Reads what is left only if it must.
 * *used: whether anything is written behind it in its own file, where that was read. */
static bool search_durable(struct state *s, uint32_t index, uint64_t place, bool *used)
{
    struct tt_walk *w = &s->check->walk;
    for (uint32_t k = index; s->durable <= place && k < s->p->files_count; k++) {
        const struct tt_listing_file *f = &s->p->files[k];
        uint64_t position = k == index ? place - f->base_place : 0, begin = position, end = 0;
        char path[TT_LISTING_PATH_BYTES];
        int32_t file;
        tt_listing_path(s->p, f, path);
        if (w->io->open(w->io->context, path, TT_FILES_READ, &file) != TT_OK) continue;
        for (size_t size = 1; size != 0 && s->durable <= place;) {
            w->window_bytes = 0; /* it is used for this meanwhile */
            if (w->io->read(w->io->context, file, position, w->window, TT_WALK_WINDOW_BYTES,
                            &size) != TT_OK)
                break;
            tt_salvage_batches(tt_bytes(w->window, size), position,
                               f->valid ? f->base_place : UINT64_MAX, &s->durable, &end);
            if (size < TT_WALK_WINDOW_BYTES) break;
            position += size - TT_RECORD_BATCH_BYTES;
        }
        w->io->close(w->io->context, file);
        if (k == index) *used = end > begin;
    }
    return s->durable > place;
}

static enum tt_status note_damage(struct state *s, uint32_t index, bool durable,
                                  struct tt_finding **finding)
{
    struct tt_walk *w = &s->check->walk;
    const struct tt_listing_file *f = &s->p->files[index];
    uint64_t place = tt_walk_place(w);
    bool missing = place >= f->base_place + f->bytes;
    char what[160];
    describe(s, what, sizeof what);
    enum tt_finding_kind kind = !durable  ? TT_FINDING_TORN
                                : missing ? TT_FINDING_MISSING
                                          : TT_FINDING_RECORDS;
    *finding = add(s, kind, index, place - f->base_place, missing ? "the file ends here" : what);
    if (*finding == NULL) return TT_ENOMEM;
    s->torn |= !durable;
    enum tt_status status = tt_walk_salvage(w, s->next_offset);
    if (status == TT_OK || w->sealed) (*finding)->end = tt_walk_place(w);
    if (status == TT_END && w->sealed) {
        (*finding)->end = w->end;
        s->next_offset = (*finding)->lost_end = s->p->files[index + 1].first_offset;
    }
    return status;
}

/* No record stands at the walk's place. TT_OK: the walk goes on; if *finding is set, at its end,
 * with the next record to be told. TT_END: the segment is done with. */
static enum tt_status take_end(struct state *s, uint32_t index, enum tt_status end,
                               struct tt_finding **finding)
{
    struct tt_walk *w = &s->check->walk;
    uint64_t place = tt_walk_place(w);
    bool live = s->check->view->live, used = false;
    *finding = NULL;
    if (end == TT_END && w->sealed) return TT_END;
    bool durable = search_durable(s, index, place, &used);
    if (!durable && (live || (end == TT_END && !used))) return TT_END;
    if (live && s->again != place) { /* it may have been written meanwhile */
        s->again = place;
        tt_walk_seek_place(w, place);
        return TT_OK;
    }
    return note_damage(s, index, durable, finding);
}

static enum tt_status walk_file(struct state *s, uint32_t index)
{
    struct tt_walk *w = &s->check->walk;
    struct tt_finding *pending = NULL;
    struct tt_record record;
    enum tt_status status = tt_walk_open(w, s->p, index);
    s->check->segments++;
    while (status == TT_OK) {
        status = tt_walk_next(w, &record);
        if (status == TT_OK) {
            if (pending != NULL) pending->lost_end = record.offset;
            pending = NULL;
            check_record(s, index, &record);
        } else if (status == TT_ECORRUPT || status == TT_END) {
            status = take_end(s, index, status, &pending);
        }
    }
    if (status == TT_ENOMEM) return status;
    if (status == TT_ENOENT && s->check->view->live) return TT_OK; /* retention took it */
    if (status != TT_END)
        return add(s, TT_FINDING_UNREADABLE, index, tt_walk_place(w) - w->segment.base_place,
                   tt_status_text(status)) == NULL
                   ? TT_ENOMEM
                   : TT_OK;
    if (!w->sealed) s->ended = true;
    return TT_OK;
}

/* ---- the files of a partition ---- */

/* Where a file begins whose own beginning is bad: by the first record in it that says where it
 * stands. */
static bool infer_base(struct tt_check *check, const char *path, uint64_t *base)
{
    struct tt_walk *w = &check->walk;
    int32_t file;
    bool found = false;
    w->window_bytes = 0;
    if (w->io->open(w->io->context, path, TT_FILES_READ, &file) != TT_OK) return false;
    uint64_t position = 0;
    for (size_t size = TT_WALK_WINDOW_BYTES; !found && size == TT_WALK_WINDOW_BYTES;) {
        if (w->io->read(w->io->context, file, position, w->window, size, &size) != TT_OK) break;
        for (size_t i = 0; !found && i + TT_RECORD_HEADER_BYTES <= size; i += TT_RECORD_ALIGN) {
            struct tt_record r;
            uint32_t length;
            memcpy(&length, w->window + i, sizeof length);
            if (length > TT_RECORD_SEGMENT_BYTES || length < TT_RECORD_CHUNK_BYTES ||
                tt_record_read(tt_bytes(w->window + i, size - i), &r) != TT_OK ||
                (r.class != TT_RECORD_BATCH && r.class != TT_RECORD_CHUNK) ||
                r.place < position + i || (r.place - position - i) % TT_CHUNK_BYTES != 0)
                continue;
            *base = r.place - position - i;
            found = true;
        }
        position += size - TT_RECORD_SEGMENT_BYTES;
    }
    w->io->close(w->io->context, file);
    return found;
}

static bool any_valid_behind(const struct tt_listing_partition *p, uint32_t index)
{
    for (uint32_t i = index + 1; i < p->files_count; i++)
        if (p->files[i].valid) return true;
    return false;
}

/* A file that does not begin as a segment of this partition becomes one that does, with bad bytes
 * at its beginning; or it is left out. */
static enum tt_status place_file(struct state *s, uint32_t index)
{
    struct tt_listing_file *f = &s->p->files[index];
    char path[TT_LISTING_PATH_BYTES];
    tt_listing_path(s->p, f, path);
    if (f->foreign) {
        struct tt_finding *finding =
            tt_check_add(s->check, TT_FINDING_FOREIGN, s->p->number, path, 0,
                         "belongs to partition %u of the log %s and begins with offset %" PRIu64,
                         f->identity.partition, f->identity.history.text, f->own_offset);
        if (finding == NULL) return TT_ENOMEM;
        finding->file_offset = f->first_offset;
        finding->own_offset = f->own_offset;
        finding->misnamed = f->identity.partition == s->p->number &&
                            tt_history_equal(f->identity.history, s->check->view->meta.history);
        return TT_OK;
    }
    uint64_t base = 0;
    bool known = infer_base(s->check, path, &base);
    if (!known && index > 0 && s->p->files[index - 1].valid && any_valid_behind(s->p, index)) {
        base = s->p->files[index - 1].base_place + s->p->files[index - 1].bytes;
        base = base / TT_CHUNK_BYTES * TT_CHUNK_BYTES;
        known = true;
    }
    if (known &&
        (index == 0 || !s->p->files[index - 1].valid || base > s->p->files[index - 1].base_place)) {
        f->base_place = base;
        f->valid = true;
        return TT_OK;
    }
    bool unfinished = !any_valid_behind(s->p, index) && (index != 0 || f->first_offset == 0);
    return tt_check_add(s->check, unfinished ? TT_FINDING_TORN : TT_FINDING_FOREIGN, s->p->number,
                        path, 0, "does not begin as a segment, and holds nothing of one") == NULL
               ? TT_ENOMEM
               : TT_OK;
}

static enum tt_status check_file(struct state *s, uint32_t index)
{
    const struct tt_segment segment = tt_listing_segment(s->p, index);
    uint32_t findings = s->check->count;
    enum tt_status status = tt_beside_segment(&s->beside, &segment);
    if (status == TT_OK) status = walk_file(s, index);
    if (status != TT_OK) return status;
    return tt_beside_segment_end(&s->beside, &segment, s->check->count == findings);
}

/* The files of a partition, those that are no part of it left out. */
static enum tt_status check_files(struct state *s)
{
    struct tt_listing_partition *p = s->p;
    enum tt_status status = TT_OK;
    for (uint32_t i = 0; status == TT_OK && i < p->files_count; i++)
        if (!p->files[i].valid) status = place_file(s, i);
    /* Those that are no part of it would look like the end of the one before. */
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->files_count; i++)
        if (p->files[i].valid) p->files[count++] = p->files[i];
    p->files_count = count;
    if (count == 0 || status != TT_OK) return status;
    status = tt_beside_begin(&s->beside, s->check, p);
    s->next_offset = p->files[0].first_offset;
    s->taken_max_us = p->files[0].taken_max_us == 0 ? INT64_MIN : p->files[0].taken_max_us;
    for (uint32_t i = 0; status == TT_OK && !s->ended && i < count; i++) {
        if (i == 0 || p->files[i].base_place > p->files[i - 1].base_place) {
            status = check_file(s, i);
            continue;
        }
        if (add(s, TT_FINDING_FOREIGN, i, 0, "begins at a place where another one lies") == NULL)
            status = TT_ENOMEM;
    }
    return status;
}

static enum tt_status check_ceiling(struct tt_check *check, const struct tt_listing_partition *p,
                                    uint64_t next_offset)
{
    char path[TT_LISTING_PATH_BYTES + 16];
    if (p->ceiling_status == TT_OK || check->view->is_mirror) return TT_OK;
    snprintf(path, sizeof path, "%s/ceiling", p->directory);
    struct tt_finding *f =
        tt_check_add(check, TT_FINDING_CEILING, p->number, path, 0, "%s",
                     p->ceiling_status == TT_ECORRUPT ? "neither of its two slots is valid"
                                                      : tt_status_text(p->ceiling_status));
    if (f != NULL) f->lost_first = f->lost_end = next_offset;
    return f == NULL ? TT_ENOMEM : TT_OK;
}

static enum tt_status check_partition(struct tt_check *check, struct tt_listing_partition *p)
{
    struct state s = {.check = check, .p = p, .taken_max_us = INT64_MIN};
    if (p->status != TT_OK) {
        struct tt_finding *f = tt_check_add(check, TT_FINDING_DIRECTORY, p->number, p->directory, 0,
                                            "%s", tt_status_text(p->status));
        if (f != NULL) f->status = p->status;
        return f == NULL ? TT_ENOMEM : TT_OK;
    }
    for (uint32_t i = 0; i < p->files_count; i++)
        if (p->files[i].valid && p->files[i].durable_place > s.durable)
            s.durable = p->files[i].durable_place;
    uint32_t first = check->count;
    uint64_t torn = check->torn;
    enum tt_status status = check_files(&s);
    bool clean = check->count == first;
    tt_beside_end(&s.beside, clean && status == TT_OK);
    for (uint32_t i = first; i < check->count; i++)
        if (check->items[i].kind == TT_FINDING_TORN) check->items[i].behind = check->torn - torn;
    return status == TT_OK ? check_ceiling(check, p, s.next_offset) : status;
}

enum tt_status tt_check_run(struct tt_check *check, uint32_t partition)
{
    struct tt_listing *view = check->view;
    char path[TT_LISTING_PATH_BYTES];
    snprintf(path, sizeof path, "%s/META", view->directory);
    if (view->meta_status != TT_OK &&
        tt_check_add(check,
                     view->meta_status == TT_ENOENT ? TT_FINDING_META_MISSING : TT_FINDING_META,
                     UINT32_MAX, path, 0, "%s",
                     view->meta_status == TT_ENOENT ? "is missing" : view->meta_why) == NULL)
        return TT_ENOMEM;
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        if (partition != UINT32_MAX && partition != i) continue;
        enum tt_status status = check_partition(check, &view->partitions[i]);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}
