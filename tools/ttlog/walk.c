#include "tools/ttlog/walk.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/salvage.h"

#define READ_BYTES (1u << 20)

enum tt_status tt_walk_init(struct tt_walk *w, const struct tt_files *io)
{
    *w = (struct tt_walk){.io = io, .file = -1, .window = malloc(TT_WALK_WINDOW_BYTES)};
    return w->window == NULL ? TT_ENOMEM : TT_OK;
}

static void close_file(struct tt_walk *w)
{
    if (w->file >= 0) w->io->close(w->io->context, w->file);
    w->file = -1;
}

void tt_walk_deinit(struct tt_walk *w)
{
    close_file(w);
    free(w->window);
    w->window = NULL;
}

enum tt_status tt_walk_open(struct tt_walk *w, const struct tt_listing_partition *p, uint32_t index)
{
    char path[TT_LISTING_PATH_BYTES];
    close_file(w);
    w->segment = tt_listing_segment(p, index);
    w->end = tt_listing_end(p, index, &w->sealed) / TT_RECORD_ALIGN * TT_RECORD_ALIGN;
    tt_listing_path(p, &p->files[index], path);
    tt_walk_seek_place(w, w->segment.base_place);
    enum tt_status status = w->io->open(w->io->context, path, TT_FILES_READ, &w->file);
    if (status != TT_OK) w->file = -1;
    return status;
}

void tt_walk_seek_place(struct tt_walk *w, uint64_t place)
{
    tt_reader_init(&w->reader, place, w->end, w->sealed);
    w->window_bytes = 0;
    w->window_place = place;
}

enum tt_status tt_walk_bytes(struct tt_walk *w, uint64_t place, size_t size, struct tt_bytes *bytes)
{
    size_t done = 0;
    TT_ASSERT(size <= TT_WALK_WINDOW_BYTES && place >= w->segment.base_place);
    enum tt_status status =
        w->io->read(w->io->context, w->file, place - w->segment.base_place, w->window, size, &done);
    w->window_place = place;
    w->window_bytes = status == TT_OK ? done : 0;
    *bytes = tt_bytes(w->window, w->window_bytes);
    return status;
}

static enum tt_status seek(struct tt_walk *w, struct tt_reader_find *find)
{
    uint64_t place;
    struct tt_bytes bytes;
    enum tt_status status;
    while (tt_reader_find_step(find, &place) == TT_MORE) {
        status = tt_walk_bytes(w, place, TT_READER_PROBE_BYTES, &bytes);
        if (status != TT_OK) return status;
        tt_reader_find_probe(find, bytes);
    }
    tt_walk_seek_place(w, place);
    return TT_OK;
}

enum tt_status tt_walk_seek_offset(struct tt_walk *w, uint64_t offset)
{
    struct tt_reader_find find;
    tt_reader_find_offset(&find, &w->segment, w->end, offset);
    return seek(w, &find);
}

enum tt_status tt_walk_seek_taken(struct tt_walk *w, int64_t taken_us)
{
    struct tt_reader_find find;
    tt_reader_find_taken(&find, &w->segment, w->end, taken_us);
    return seek(w, &find);
}

/* In a segment that grows: zeros, where nothing was written yet. */
static bool is_unwritten(struct tt_bytes rest)
{
    for (size_t i = 0; i < TT_RECORD_ALIGN && i < rest.size; i++)
        if (rest.data[i] != 0) return false;
    return true;
}

enum tt_status tt_walk_next(struct tt_walk *w, struct tt_record *record)
{
    bool file_ends = false;
    for (;;) {
        enum tt_status status = tt_reader_next(&w->reader, w->window_place,
                                               tt_bytes(w->window, w->window_bytes), record);
        uint64_t place = tt_reader_place(&w->reader);
        if (status == TT_OK) w->record_place = place - record->length;
        if (status == TT_ECORRUPT && !w->sealed) {
            size_t passed = (size_t)(place - w->window_place);
            if (is_unwritten(tt_bytes(w->window + passed, w->window_bytes - passed))) return TT_END;
        }
        if (status != TT_MORE) return status;
        if (file_ends && place == w->window_place) return w->sealed ? TT_ECORRUPT : TT_END;
        size_t size = tt_reader_needs(&w->reader);
        if (size < READ_BYTES) size = READ_BYTES;
        struct tt_bytes bytes;
        status = tt_walk_bytes(w, place, size, &bytes);
        if (status != TT_OK) return status;
        file_ends = bytes.size < size;
    }
}

uint64_t tt_walk_place(const struct tt_walk *w)
{
    return tt_reader_place(&w->reader);
}

enum tt_status tt_walk_salvage(struct tt_walk *w, uint64_t next_offset)
{
    uint64_t place = tt_reader_place(&w->reader) + TT_RECORD_ALIGN;
    while (place < w->end) {
        struct tt_bytes bytes;
        struct tt_record record;
        size_t size = TT_WALK_WINDOW_BYTES;
        bool last = w->end - place <= size;
        if (last) size = (size_t)(w->end - place);
        enum tt_status status = tt_walk_bytes(w, place, size, &bytes);
        if (status != TT_OK) return status;
        if (bytes.size < size) last = true;
        status = tt_salvage_next(w->window_place, bytes, last, next_offset, &place, &record);
        if (status == TT_END) break;
        if (status == TT_MORE) continue;
        tt_reader_init(&w->reader, place, w->end, w->sealed);
        return TT_OK;
    }
    tt_walk_seek_place(w, w->end);
    return TT_END;
}
