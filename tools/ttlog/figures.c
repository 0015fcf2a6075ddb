#include "tools/ttlog/figures.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

int tt_ttlog_fail(const char *command, const char *path, enum tt_status status)
{
    fprintf(stderr, "ttlog %s: %s: %s\n", command, path, tt_status_text(status));
    return TT_TTLOG_FAILED;
}

int tt_ttlog_open(const struct tt_ttlog_options *options, const char *command,
                  struct tt_listing *view)
{
    char error[TT_LISTING_ERROR_BYTES] = "";
    if (tt_listing_open(view, options->directory, error) != TT_OK) {
        fprintf(stderr, "ttlog %s: %s\n", command, error);
        return TT_TTLOG_FAILED;
    }
    int wrong = TT_TTLOG_GOOD;
    if (options->partition != TT_TTLOG_ALL && options->partition >= view->partitions_count) {
        fprintf(stderr, "ttlog %s: there is no partition %u: %s has %u, from 0 on\n", command,
                options->partition, options->directory, view->partitions_count);
        wrong = TT_TTLOG_USAGE;
    } else if (options->named.text[0] != '\0' && view->meta_known &&
               !tt_history_equal(options->named, view->meta.history)) {
        fprintf(stderr, "ttlog %s: the id that was given is of history %s, but %s holds %s\n",
                command, options->named.text, options->directory, view->meta.history.text);
        wrong = TT_TTLOG_USAGE;
    }
    if (wrong != TT_TTLOG_GOOD) tt_listing_close(view);
    return wrong;
}

static uint32_t newest_valid(const struct tt_listing_partition *p)
{
    uint32_t i = p->files_count;
    while (i > 0 && !p->files[i - 1].valid) i--;
    return i;
}

enum tt_status tt_partition_end(const struct tt_listing_partition *p, struct tt_walk *walk,
                                struct tt_partition_end *end)
{
    uint32_t count = newest_valid(p);
    *end = (struct tt_partition_end){.taken_max_us = INT64_MIN};
    if (count == 0) return TT_OK;
    const struct tt_listing_file *f = &p->files[count - 1];
    end->oldest = p->files[0].first_offset;
    end->next = f->first_offset;
    end->place = f->base_place;
    end->taken_max_us = f->taken_max_us;
    enum tt_status status = tt_walk_open(walk, p, count - 1);
    if (status == TT_OK) status = tt_walk_seek_offset(walk, UINT64_MAX);
    struct tt_record record;
    while (status == TT_OK && (status = tt_walk_next(walk, &record)) == TT_OK) {
        if (record.class == TT_RECORD_EVENT) {
            end->next = record.offset + 1;
            if (record.event.taken_us > end->taken_max_us)
                end->taken_max_us = record.event.taken_us;
        } else if (record.class == TT_RECORD_HOLE) {
            end->next = record.hole_end;
        } else {
            end->next = record.offset;
            if (record.class == TT_RECORD_CHUNK && record.taken_max_us > end->taken_max_us)
                end->taken_max_us = record.taken_max_us;
        }
    }
    end->place = tt_walk_place(walk);
    if (status == TT_END) return TT_OK;
    end->status = status;
    return status == TT_ECORRUPT ? TT_OK : status;
}

/* The first segment at whose end something taken then or later had been written; the newest says
 * only while it is read. */
static uint32_t segment_of_time(const struct tt_listing_partition *p, int64_t taken_us)
{
    uint32_t i = 0;
    while (i + 1 < p->files_count &&
           !(p->files[i + 1].valid && p->files[i + 1].taken_max_us >= taken_us))
        i++;
    return i;
}

enum tt_status tt_partition_taken(const struct tt_listing_partition *p, struct tt_walk *walk,
                                  int64_t taken_us, uint64_t *offset)
{
    *offset = 0;
    for (uint32_t i = segment_of_time(p, taken_us); i < p->files_count; i++) {
        if (!p->files[i].valid) return TT_ECORRUPT;
        enum tt_status status = tt_walk_open(walk, p, i);
        if (status == TT_OK) status = tt_walk_seek_taken(walk, taken_us);
        struct tt_record record;
        while (status == TT_OK && (status = tt_walk_next(walk, &record)) == TT_OK) {
            if (record.class == TT_RECORD_EVENT && record.event.taken_us >= taken_us) {
                *offset = record.offset;
                return TT_OK;
            }
            *offset = record.class == TT_RECORD_EVENT  ? record.offset + 1
                      : record.class == TT_RECORD_HOLE ? record.hole_end
                                                       : record.offset;
        }
        if (status != TT_END) return status;
    }
    return TT_OK;
}

const char *tt_figure_time(int64_t us, char text[TT_FIGURE_BYTES])
{
    struct tm tm;
    time_t seconds = (time_t)(us / 1000000);
    if (us == INT64_MIN || gmtime_r(&seconds, &tm) == NULL) return "-";
    size_t size = strftime(text, TT_FIGURE_BYTES, "%Y-%m-%d %H:%M:%S", &tm);
    snprintf(text + size, TT_FIGURE_BYTES - size, ".%03dZ", (int)(us / 1000 % 1000));
    return text;
}

const char *tt_figure_bytes(uint64_t bytes, char text[TT_FIGURE_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) {
        snprintf(text, TT_FIGURE_BYTES, "%" PRIu64 " B", bytes);
        return text;
    }
    double value = (double)bytes / 1024;
    unsigned unit = 0;
    while (value >= 1024 && unit < 3) value /= 1024, unit++;
    snprintf(text, TT_FIGURE_BYTES, "%.1f %s", value, units[unit]);
    return text;
}
