#include "tools/ttlog/beside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/checkpoint.h"
#include "store/index_file.h"
#include "store/kept.h"
#include "tools/ttlog/check_internal.h"

#define PATH_BYTES  (TT_LISTING_PATH_BYTES + 32)
#define READ_BYTES  (4u * TT_CHECKPOINT_BLOCK_BYTES_MAX)
#define SLICE_BYTES (256u << 10)

static const struct tt_files *io_of(const struct tt_beside *b)
{
    return b->check->view->io;
}

static enum tt_status tell(struct tt_beside *b, const char *path, uint64_t byte, const char *what)
{
    return tt_check_add(b->check, TT_FINDING_BESIDE, b->partition->number, path, byte, "%s",
                        what) == NULL
               ? TT_ENOMEM
               : TT_OK;
}

/* ---- the checkpoint ---- */

/* TT_END: it is all there. */
static enum tt_status read_checkpoint(struct tt_beside *b, int32_t file, uint64_t *position)
{
    struct tt_checkpoint_reader reader;
    const struct tt_files *io = io_of(b);
    uint8_t *buffer = malloc(READ_BYTES);
    if (buffer == NULL) return TT_ENOMEM;
    enum tt_status status = TT_MORE;
    tt_checkpoint_read_begin(&reader, b->values, &b->identity);
    *position = 0;
    while (status == TT_MORE) {
        size_t size = 0, taken = 0;
        status = io->read(io->context, file, *position, buffer, READ_BYTES, &size);
        if (status != TT_OK) break;
        status = tt_checkpoint_read(&reader, tt_bytes(buffer, size), &taken);
        *position += taken;
        if (status == TT_MORE && size < READ_BYTES) status = TT_ECORRUPT; /* it ends too early */
    }
    free(buffer);
    return status;
}

static int by_place(const void *a, const void *b)
{
    const struct tt_beside_place *left = a, *right = b;
    return left->place < right->place ? -1 : left->place > right->place;
}

/* What lies in segments that are gone stands in kept files behind the checkpoint, and is not
 * asked for here. */
static enum tt_status collect_places(struct tt_beside *b)
{
    const struct tt_listing_partition *p = b->partition;
    uint64_t oldest = p->files_count != 0 && p->files[0].valid ? p->files[0].base_place : 0;
    uint32_t slots = tt_values_slots(b->values);
    b->places = malloc(((size_t)slots + 1) * sizeof *b->places);
    if (b->places == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < slots; i++) {
        const struct tt_value *value = tt_values_at(b->values, i);
        if (value == NULL || value->state != TT_VALUE_HELD) continue;
        if (!tt_kept_is(value->place) && value->place < oldest) continue;
        b->places[b->places_count++] = (struct tt_beside_place){value->place, value->offset};
    }
    qsort(b->places, b->places_count, sizeof *b->places, by_place);
    return TT_OK;
}

static void forget_values(struct tt_beside *b)
{
    tt_values_destroy(&b->values);
    free(b->places);
    b->places = NULL;
    b->places_count = 0;
}

enum tt_status tt_beside_begin(struct tt_beside *b, struct tt_check *check,
                               const struct tt_listing_partition *partition)
{
    const struct tt_meta *meta = &check->view->meta;
    *b = (struct tt_beside){.check = check,
                            .partition = partition,
                            .identity = {.format = TT_RECORD_FORMAT,
                                         .partition = partition->number,
                                         .partitions = meta->partitions,
                                         .history = meta->history,
                                         .hash_key = meta->hash_key}};
    char path[PATH_BYTES];
    const struct tt_files *io = io_of(b);
    int32_t file;
    snprintf(path, sizeof path, "%s/%s", partition->directory, TT_CHECKPOINT_NAME);
    if (io->open(io->context, path, TT_FILES_READ, &file) != TT_OK) return TT_OK;
    enum tt_status status = tt_values_create(&b->values, UINT32_MAX - 1);
    uint64_t position = 0;
    if (status == TT_OK) status = read_checkpoint(b, file, &position);
    io->close(io->context, file);
    if (status == TT_END && !check->view->live) return collect_places(b);
    forget_values(b);
    if (status == TT_END) return TT_OK;
    return status == TT_ENOMEM
               ? status
               : tell(b, path, position,
                      status == TT_ECORRUPT ? "the checkpoint is damaged" : tt_status_text(status));
}

/* Of a value nothing stands at its place. */
static enum tt_status value_missing(struct tt_beside *b, const struct tt_beside_place *at)
{
    char path[PATH_BYTES], what[128];
    if (b->told) return TT_OK;
    b->told = true;
    snprintf(path, sizeof path, "%s/%s", b->partition->directory, TT_CHECKPOINT_NAME);
    if (tt_kept_is(at->place))
        snprintf(what, sizeof what,
                 "the value of offset %" PRIu64 " is lost: it is not in %07u.val at byte %" PRIu64,
                 at->offset, tt_kept_number(at->place), tt_kept_byte(at->place));
    else
        snprintf(what, sizeof what, "the value of offset %" PRIu64 " is not at place %" PRIu64,
                 at->offset, at->place);
    return tell(b, path, 0, what);
}

/* Passes those that ought to have come before the place. */
static void pass(struct tt_beside *b, uint64_t place)
{
    while (b->places_at < b->places_count && b->places[b->places_at].place < place)
        (void)value_missing(b, &b->places[b->places_at++]);
}

static void take_place(struct tt_beside *b, uint64_t place, uint64_t offset)
{
    pass(b, place);
    if (b->places_at < b->places_count && b->places[b->places_at].place == place) {
        if (b->places[b->places_at].offset != offset)
            (void)value_missing(b, &b->places[b->places_at]);
        b->places_at++;
    }
}

/* ---- index files ---- */

enum tt_status tt_beside_segment(struct tt_beside *b, const struct tt_segment *segment)
{
    const struct tt_index_options options = {.first_offset = segment->first_offset,
                                             .base_place = segment->base_place};
    return segment->end_place == TT_SEGMENT_GROWS ? TT_OK : tt_index_create(&b->index, &options);
}

void tt_beside_record(struct tt_beside *b, const struct tt_record *record, uint64_t place)
{
    uint64_t hash = 0;
    if (record->class == TT_RECORD_EVENT) {
        hash = tt_hash(&b->identity.hash_key, record->event.channel);
        take_place(b, place, record->offset);
    }
    if (b->index != NULL) (void)tt_index_add_record(b->index, record, hash, place);
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return false;
    return true;
}

/* The first byte in which the file is not what the writer makes; TT_END: none. */
static enum tt_status compare(struct tt_beside *b, struct tt_index_writer *writer, int32_t file,
                              uint8_t *made, uint8_t *found, uint64_t *byte)
{
    const struct tt_files *io = io_of(b);
    struct tt_index_slice slice;
    enum tt_status status;
    *byte = UINT64_MAX;
    while ((status = tt_index_writer_step(writer, made, SLICE_BYTES, &slice)) == TT_OK) {
        size_t size = 0;
        if (slice.size == 0) continue;
        status = io->read(io->context, file, slice.position, found, slice.size, &size);
        if (status != TT_OK) return status;
        for (size_t i = 0; i < slice.size; i++) {
            if (i < size && made[i] == found[i]) continue;
            if (slice.position + i < *byte) *byte = slice.position + i;
            break;
        }
    }
    uint64_t bytes;
    if (status == TT_END && io->size(io->context, file, &bytes) == TT_OK &&
        bytes > tt_index_writer_bytes(writer) && *byte == UINT64_MAX)
        *byte = tt_index_writer_bytes(writer);
    return status == TT_END && *byte != UINT64_MAX ? TT_ECORRUPT : status;
}

static enum tt_status check_index(struct tt_beside *b, const struct tt_segment *segment,
                                  const char *path, int32_t file)
{
    struct tt_index_writer *writer = NULL;
    const struct tt_files *io = io_of(b);
    uint8_t *made = malloc(2 * SLICE_BYTES);
    if (made == NULL) return TT_ENOMEM;
    size_t size = 0;
    uint64_t byte = 0;
    enum tt_status status = io->read(io->context, file, 0, made, TT_INDEX_HEADER_BYTES, &size);
    /* The header is written last: without it the file is not finished, and nobody uses it. */
    bool unfinished = status == TT_OK && all_zero(made, size);
    if (status == TT_OK && !unfinished)
        status = tt_index_writer_create(&writer, b->index, segment, &b->identity);
    if (status == TT_OK && !unfinished)
        status = compare(b, writer, file, made, made + SLICE_BYTES, &byte);
    tt_index_writer_destroy(&writer);
    free(made);
    if (unfinished || status == TT_END) return TT_OK;
    if (status == TT_ENOMEM) return status;
    return tell(b, path, byte,
                status == TT_ECORRUPT ? "is not the index of what the segment holds"
                                      : tt_status_text(status));
}

enum tt_status tt_beside_segment_end(struct tt_beside *b, const struct tt_segment *segment,
                                     bool clean)
{
    enum tt_status status = TT_OK;
    char path[PATH_BYTES];
    int32_t file;
    if (b->index != NULL && tt_index_broken(b->index)) status = TT_ENOMEM;
    if (b->index != NULL && clean && status == TT_OK &&
        tt_index_path(b->partition->directory, segment->first_offset, path, sizeof path) == TT_OK &&
        io_of(b)->open(io_of(b)->context, path, TT_FILES_READ, &file) == TT_OK) {
        status = check_index(b, segment, path, file);
        io_of(b)->close(io_of(b)->context, file);
    }
    tt_index_destroy(&b->index);
    return status;
}

/* ---- kept files ---- */

/* Records behind the first that is not valid were never needed. */
static void walk_kept(struct tt_beside *b, uint32_t number, int32_t file)
{
    const struct tt_files *io = io_of(b);
    struct tt_walk *w = &b->check->walk; /* its window is free now */
    uint64_t position = 0;
    size_t at = TT_KEPT_HEADER_BYTES, size = 0;
    struct tt_record record;
    w->window_bytes = 0;
    if (io->read(io->context, file, 0, w->window, TT_WALK_WINDOW_BYTES, &size) != TT_OK ||
        tt_kept_header_check(tt_bytes(w->window, size), number, &b->identity) != TT_OK)
        return;
    for (;;) {
        enum tt_status status =
            at < size ? tt_record_read(tt_bytes(w->window + at, size - at), &record) : TT_MORE;
        if (status == TT_OK) {
            take_place(b, tt_kept_place(number, position + at), record.offset);
            at += record.length;
        } else if (status == TT_MORE && at != 0) {
            position += at;
            at = 0;
            if (io->read(io->context, file, position, w->window, TT_WALK_WINDOW_BYTES, &size) !=
                TT_OK)
                return;
        } else {
            return;
        }
    }
}

void tt_beside_end(struct tt_beside *b, bool clean)
{
    if (b->check == NULL) return; /* there was no segment */
    const struct tt_files *io = io_of(b);
    for (uint32_t i = 0; clean && b->values != NULL && i < b->partition->others_count; i++) {
        char path[PATH_BYTES];
        uint32_t number;
        int32_t file;
        if (tt_kept_name_parse(b->partition->others[i].name, &number) != TT_OK) continue;
        snprintf(path, sizeof path, "%s/%s", b->partition->directory, b->partition->others[i].name);
        if (io->open(io->context, path, TT_FILES_READ, &file) != TT_OK) continue;
        pass(b, tt_kept_place(number, 0));
        walk_kept(b, number, file);
        io->close(io->context, file);
    }
    if (clean && b->values != NULL) pass(b, UINT64_MAX);
    forget_values(b);
    tt_index_destroy(&b->index);
}
