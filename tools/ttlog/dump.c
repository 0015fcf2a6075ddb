/* ttlog dump: events as JSON lines. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/wire/envelope.h"
#include "tools/ttlog/commands.h"
#include "tools/ttlog/figures.h"

#define COMMAND        "dump"
#define FOLLOW_WAIT_NS 50000000L /* between two looks at a log that grows */

struct dump {
    const struct tt_ttlog_options *options;
    struct tt_listing *view;
    struct tt_walk walk;
    uint8_t *line;
    size_t line_bytes;
    uint64_t left;  /* of --limit */
    uint64_t next;  /* offset: events below were printed, or are not wanted */
    uint64_t place; /* records that begin below were taken */
    int result;
};

/* ---- lines ---- */

static bool room(struct dump *d, size_t size)
{
    if (size <= d->line_bytes) return true;
    uint8_t *line = realloc(d->line, size);
    if (line == NULL) return false;
    d->line = line;
    d->line_bytes = size;
    return true;
}

/* The envelope, with `end` behind it. */
static void print_event(struct dump *d, const struct tt_listing_partition *p,
                        const struct tt_record *record, const char *end)
{
    struct tt_placed_event placed = {.event = record->event,
                                     .position = {.history = d->view->meta.history,
                                                  .partition = p->number,
                                                  .offset = record->offset}};
    if (!room(d, tt_envelope_bytes(&placed) + strlen(end))) {
        d->result = tt_ttlog_fail(COMMAND, p->directory, TT_ENOMEM);
        return;
    }
    struct tt_writer w = tt_writer(d->line, d->line_bytes);
    tt_envelope_write(&w, &placed);
    tt_write_text(&w, end);
    fwrite(w.data, 1, w.size, stdout);
}

static const char *class_text(enum tt_record_class class)
{
    static const char *const texts[TT_RECORD_CLASSES] = {"none", "event", "pad",    "batch",
                                                         "hole", "chunk", "segment"};
    return texts[class];
}

static void print_hash(const char *name, const uint8_t hash[16])
{
    printf(",\"%s\":\"", name);
    for (unsigned i = 0; i < 16; i++) printf("%02x", hash[i]);
    printf("\"");
}

static void print_raw(struct dump *d, const struct tt_listing_partition *p,
                      const struct tt_listing_file *f, const struct tt_record *r)
{
    char name[TT_SEGMENT_NAME_BYTES];
    uint64_t place = d->walk.record_place;
    tt_segment_name(f->first_offset, name);
    printf("{\"partition\":%u,\"file\":\"%s\",\"byte\":%" PRIu64 ",\"place\":%" PRIu64
           ",\"class\":\"%s\",\"length\":%u,\"offset\":%" PRIu64 ",\"taken_us\":%" PRId64,
           p->number, name, place - d->walk.segment.base_place, place, class_text(r->class),
           r->length, r->offset, r->event.taken_us);
    if (r->class == TT_RECORD_HOLE) printf(",\"end\":%" PRIu64, r->hole_end);
    if (r->class == TT_RECORD_BATCH)
        printf(",\"durable_place\":%" PRIu64 ",\"durable_offset\":%" PRIu64, r->durable_place,
               r->durable_offset);
    if (r->class == TT_RECORD_CHUNK || r->class == TT_RECORD_SEGMENT)
        printf(",\"taken_max_us\":%" PRId64, r->taken_max_us);
    if (r->class == TT_RECORD_SEGMENT)
        printf(",\"format\":%u,\"history\":\"%s\",\"partitions\":%u,\"segment_bytes\":%" PRIu64,
               r->segment.format, r->segment.history.text, r->segment.partitions, r->segment.bytes);
    if (r->class == TT_RECORD_EVENT) {
        printf(",\"flags\":%u", r->event.flags);
        if (r->has_idempotency) {
            print_hash("key_hash", r->idempotency.key_hash);
            print_hash("body_hash", r->idempotency.body_hash);
            printf(",\"index\":%u,\"count\":%u", r->idempotency.index, r->idempotency.count);
        }
        printf(",\"event\":");
        print_event(d, p, r, "");
    }
    printf("}\n");
}

/* ---- records ---- */

static bool wanted_channel(const struct tt_ttlog_options *o, struct tt_bytes channel)
{
    if (o->patterns_count == 0) return true;
    for (uint32_t i = 0; i < o->patterns_count; i++)
        if (tt_pattern_match(&o->patterns[i], channel)) return true;
    return false;
}

static void take_event(struct dump *d, const struct tt_listing_partition *p,
                       const struct tt_listing_file *f, const struct tt_record *r)
{
    const struct tt_ttlog_options *o = d->options;
    if (r->offset >= d->next) d->next = r->offset + 1;
    if (r->offset < o->from || r->offset > o->to || r->event.taken_us < o->since_us ||
        r->event.taken_us >= o->until_us || !wanted_channel(o, r->event.channel))
        return;
    if (o->raw)
        print_raw(d, p, f, r);
    else
        print_event(d, p, r, "\n");
    d->left--;
}

static void take_hole(struct dump *d, const struct tt_listing_partition *p,
                      const struct tt_record *r)
{
    uint64_t from = r->offset > d->options->from ? r->offset : d->options->from;
    uint64_t last = r->hole_end - 1 < d->options->to ? r->hole_end - 1 : d->options->to;
    if (r->hole_end > d->next) d->next = r->hole_end;
    if (d->options->raw || from > last) return;
    printf("{\"gap\":{\"partition\":%u,\"from\":%" PRIu64 ",\"to\":%" PRIu64 "}}\n", p->number,
           from, last);
}

static void take(struct dump *d, const struct tt_listing_partition *p,
                 const struct tt_listing_file *f, const struct tt_record *r)
{
    /* A file that has grown is read again from its last chunk on. */
    if (d->walk.record_place < d->place) return;
    d->place = d->walk.record_place + 1;
    if (r->class == TT_RECORD_EVENT) {
        take_event(d, p, f, r);
        return;
    }
    if (d->options->raw && d->options->patterns_count == 0 && r->offset >= d->options->from &&
        r->offset <= d->options->to) {
        print_raw(d, p, f, r);
        d->left--;
    }
    if (r->class == TT_RECORD_HOLE) take_hole(d, p, r);
}

static bool is_done(const struct dump *d)
{
    return d->left == 0 || d->next > d->options->to || d->result == TT_TTLOG_FAILED;
}

/* Bad bytes: says so, and goes on with the next record that is good. TT_OK, or TT_END. */
static enum tt_status pass_damage(struct dump *d, const struct tt_listing_partition *p,
                                  const struct tt_listing_file *f)
{
    char path[TT_LISTING_PATH_BYTES];
    uint64_t bad = tt_walk_place(&d->walk);
    tt_listing_path(p, f, path);
    fprintf(stderr, "ttlog dump: %s: damaged at byte %" PRIu64 " (ttlog verify tells more)\n", path,
            bad - d->walk.segment.base_place);
    d->result = TT_TTLOG_DAMAGED;
    return tt_walk_salvage(&d->walk, d->next);
}

/* Reads a file to its end. TT_END: there; TT_OK: what was asked for is complete. */
static enum tt_status dump_file(struct dump *d, const struct tt_listing_partition *p,
                                const struct tt_listing_file *f)
{
    struct tt_record r;
    while (!is_done(d)) {
        enum tt_status status = tt_walk_next(&d->walk, &r);
        /* In what is being written, bad bytes are not there yet. */
        if (status == TT_ECORRUPT && !d->walk.sealed && d->view->live) return TT_END;
        if (status == TT_ECORRUPT && (status = pass_damage(d, p, f)) == TT_OK) continue;
        if (status != TT_OK) return status;
        take(d, p, f, &r);
    }
    return TT_OK;
}

/* ---- files ---- */

static enum tt_status seek(struct dump *d, uint32_t index, struct tt_listing_partition *p)
{
    enum tt_status status = tt_walk_open(&d->walk, p, index);
    if (status != TT_OK) return status;
    return d->next == 0 ? TT_OK : tt_walk_seek_offset(&d->walk, d->next);
}

/* The file in which reading goes on: the first that is valid and not wholly below `next`. */
static uint32_t file_of(struct dump *d, const struct tt_listing_partition *p)
{
    uint32_t index = tt_listing_find(p, d->next);
    for (; index < p->files_count && !p->files[index].valid; index++) {
        char path[TT_LISTING_PATH_BYTES];
        tt_listing_path(p, &p->files[index], path);
        fprintf(stderr, "ttlog dump: %s: is no segment of this log (ttlog verify tells more)\n",
                path);
        d->result = TT_TTLOG_DAMAGED;
    }
    return index;
}

static enum tt_status dump_partition(struct dump *d, struct tt_listing_partition *p)
{
    uint64_t seen = UINT64_MAX; /* first offset of the file that was read last, to its end */
    d->next = d->options->from;
    d->place = 0;
    if (d->options->since_us != INT64_MIN && d->next == 0 && !d->options->raw) {
        enum tt_status status = tt_partition_taken(p, &d->walk, d->options->since_us, &d->next);
        if (status != TT_OK) d->next = 0; /* read everything, then, and tell what is damaged */
    }
    while (!is_done(d)) {
        uint32_t index = file_of(d, p);
        /* Nothing is left to be found at or above `next` in a file that was read to its end. */
        if (index < p->files_count && p->files[index].first_offset == seen) index++;
        enum tt_status status = TT_END;
        if (index < p->files_count && p->files[index].valid) {
            uint64_t first = p->files[index].first_offset;
            status = seek(d, index, p);
            if (status == TT_OK) status = dump_file(d, p, &p->files[index]);
            if (status == TT_OK) return TT_OK;
            if (status != TT_END && status != TT_ENOENT) return status;
            bool sealed = d->walk.sealed;
            if (status == TT_END && sealed) seen = first;
            if (status == TT_END && sealed && index + 1 < p->files_count) continue;
        }
        /* At the end, or retention took the file away: what is there now? */
        uint32_t count = p->files_count;
        uint64_t newest = count == 0 ? UINT64_MAX : p->files[count - 1].first_offset;
        if (!d->view->live && !d->options->follow && status == TT_END) return TT_OK;
        if (tt_listing_refresh(d->view, p) != TT_OK) return TT_ENOMEM;
        bool rolled = p->files_count != 0 && p->files[p->files_count - 1].first_offset != newest;
        if (rolled || status == TT_ENOENT) continue;
        if (!d->options->follow) return TT_OK;
        fflush(stdout);
        if (ferror(stdout)) return TT_OK; /* nobody reads any more */
        nanosleep(&(struct timespec){.tv_nsec = FOLLOW_WAIT_NS}, NULL);
    }
    return TT_OK;
}

int tt_ttlog_dump(const struct tt_ttlog_options *options)
{
    struct tt_listing view;
    int result = tt_ttlog_open(options, COMMAND, &view);
    if (result != TT_TTLOG_GOOD) return result;
    struct dump d = {.options = options, .view = &view, .left = options->limit};
    enum tt_status status = tt_walk_init(&d.walk, view.io);
    if (!view.meta_known) status = TT_ECORRUPT;
    if (options->follow && options->partition == TT_TTLOG_ALL && view.partitions_count > 1) {
        fprintf(stderr, "ttlog dump: --follow: choose one of %u partitions by --partition\n",
                view.partitions_count);
        d.result = TT_TTLOG_USAGE;
    } else {
        for (uint32_t i = 0; status == TT_OK && i < view.partitions_count; i++)
            if (options->partition == TT_TTLOG_ALL || options->partition == i)
                status = dump_partition(&d, &view.partitions[i]);
    }
    if (status != TT_OK) d.result = tt_ttlog_fail(COMMAND, view.directory, status);
    if (fflush(stdout) != 0 && d.result == TT_TTLOG_GOOD) d.result = TT_TTLOG_FAILED;
    free(d.line);
    tt_walk_deinit(&d.walk);
    tt_listing_close(&view);
    return d.result;
}
