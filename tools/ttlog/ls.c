/* ttlog ls: what is in a log. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "tools/ttlog/commands.h"
#include "tools/ttlog/figures.h"

#define COMMAND "ls"

struct row {
    uint64_t first, end; /* offsets */
    int64_t taken_first_us, taken_max_us;
    bool indexed;
};

static bool has_index(const struct tt_listing_partition *p, uint64_t first_offset)
{
    char name[TT_SEGMENT_NAME_BYTES];
    tt_segment_name(first_offset, name);
    memcpy(strrchr(name, '.'), ".idx", sizeof ".idx");
    for (uint32_t i = 0; i < p->others_count; i++)
        if (strcmp(p->others[i].name, name) == 0) return true;
    return false;
}

/* When the first event of a segment was taken: it stands near its beginning. */
static int64_t first_taken(const struct tt_listing_partition *p, struct tt_walk *walk,
                           uint32_t index)
{
    struct tt_record record;
    enum tt_status status = tt_walk_open(walk, p, index);
    while (status == TT_OK && (status = tt_walk_next(walk, &record)) == TT_OK)
        if (record.class == TT_RECORD_EVENT) return record.event.taken_us;
    return INT64_MIN;
}

static struct row row_of(const struct tt_listing_partition *p, struct tt_walk *walk, uint32_t i,
                         const struct tt_partition_end *end)
{
    const struct tt_listing_file *f = &p->files[i];
    bool last = i + 1 == p->files_count;
    struct row row = {.first = f->first_offset,
                      .end = last ? end->next : p->files[i + 1].first_offset,
                      .taken_first_us = f->valid ? first_taken(p, walk, i) : INT64_MIN,
                      .taken_max_us = INT64_MIN,
                      .indexed = has_index(p, f->first_offset)};
    if (row.taken_first_us != INT64_MIN)
        row.taken_max_us = last ? end->taken_max_us : p->files[i + 1].taken_max_us;
    return row;
}

static bool is_segment_index(const struct tt_listing_partition *p, const char *name)
{
    for (uint32_t i = 0; i < p->files_count; i++) {
        char own[TT_SEGMENT_NAME_BYTES];
        tt_segment_name(p->files[i].first_offset, own);
        memcpy(strrchr(own, '.'), ".idx", sizeof ".idx");
        if (strcmp(own, name) == 0) return true;
    }
    return false;
}

/* ---- text ---- */

static void print_head(const struct tt_listing *view)
{
    char created[TT_FIGURE_BYTES];
    printf("%s: ", view->directory);
    if (view->meta_known)
        printf("history %s, %u partition%s, format %u, created %s%s", view->meta.history.text,
               view->meta.partitions, view->meta.partitions == 1 ? "" : "s", view->meta.format,
               view->meta.created_us == 0 ? "-" : tt_figure_time(view->meta.created_us, created),
               view->meta_status == TT_OK ? "" : " (guessed)");
    if (view->mirror.topic[0] != '\0')
        printf(", mirror of the topic %s of the cluster %s, generation %u", view->mirror.topic,
               view->mirror.cluster, view->mirror.generation);
    else if (view->is_mirror)
        printf(", a mirror, but MIRROR is damaged");
    if (view->meta_status != TT_OK)
        printf("%sMETA %s", view->meta_known ? "; " : "",
               view->meta_status == TT_ENOENT ? "is missing" : view->meta_why);
    if (view->live)
        printf(", in use by process %s", view->owner[0] != '\0' ? view->owner : "unknown");
    printf("\n");
}

static void print_partition(const struct tt_listing_partition *p, bool is_mirror,
                            struct tt_walk *walk, const struct tt_partition_end *end)
{
    char a[TT_FIGURE_BYTES], b[TT_FIGURE_BYTES], c[TT_FIGURE_BYTES];
    printf("\npartition %u: ", p->number);
    if (p->status != TT_OK) {
        printf("%s: %s\n", p->directory, tt_status_text(p->status));
        return;
    }
    if (end->next > end->oldest)
        printf("offsets %" PRIu64 " to %" PRIu64, end->oldest, end->next - 1);
    else
        printf("empty, next offset %" PRIu64, end->next);
    if (is_mirror)
        printf("\n");
    else if (p->ceiling_status == TT_OK)
        printf(", ceiling %" PRIu64 "\n", p->ceiling.offset);
    else
        printf(", ceiling: %s\n", tt_status_text(p->ceiling_status));
    if (p->files_count != 0)
        printf("  %-24s  %-27s  %10s  %-24s  %-24s  %s\n", "segment", "offsets", "bytes",
               "first taken", "last taken", "index");
    for (uint32_t i = 0; i < p->files_count; i++) {
        const struct tt_listing_file *f = &p->files[i];
        struct row row = row_of(p, walk, i, end);
        char offsets[48], name[TT_SEGMENT_NAME_BYTES];
        snprintf(offsets, sizeof offsets, "%" PRIu64 "..%" PRIu64, row.first,
                 row.end > row.first ? row.end - 1 : row.first);
        tt_segment_name(f->first_offset, name);
        printf("  %-24s  %-27s  %10s  %-24s  %-24s  %s%s\n", name,
               row.end > row.first ? offsets : "-", tt_figure_bytes(f->bytes, a),
               tt_figure_time(row.taken_first_us, b), tt_figure_time(row.taken_max_us, c),
               row.indexed ? "yes" : "no",
               f->valid     ? ""
               : f->foreign ? "  (belongs elsewhere)"
                            : "  (does not begin as a segment)");
    }
    for (uint32_t i = 0; i < p->others_count; i++)
        if (!is_segment_index(p, p->others[i].name))
            printf("  %-24s  %-27s  %10s\n", p->others[i].name, "",
                   tt_figure_bytes(p->others[i].bytes, a));
}

/* ---- JSON ---- */

static json_t *time_json(int64_t us)
{
    return us == INT64_MIN ? json_null() : json_integer(us / 1000);
}

static json_t *partition_json(const struct tt_listing_partition *p, struct tt_walk *walk,
                              const struct tt_partition_end *end)
{
    json_t *segments = json_array(), *others = json_array();
    for (uint32_t i = 0; i < p->files_count; i++) {
        struct row row = row_of(p, walk, i, end);
        char name[TT_SEGMENT_NAME_BYTES];
        tt_segment_name(row.first, name);
        json_array_append_new(
            segments, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:o, s:o, s:b}", "file", name,
                                "valid", p->files[i].valid, "first", (json_int_t)row.first, "next",
                                (json_int_t)row.end, "bytes", (json_int_t)p->files[i].bytes,
                                "place", (json_int_t)p->files[i].base_place, "taken_first_ms",
                                time_json(row.taken_first_us), "taken_max_ms",
                                time_json(row.taken_max_us), "indexed", row.indexed));
    }
    for (uint32_t i = 0; i < p->others_count; i++)
        json_array_append_new(others, json_pack("{s:s, s:I}", "file", p->others[i].name, "bytes",
                                                (json_int_t)p->others[i].bytes));
    return json_pack("{s:i, s:s, s:I, s:I, s:o, s:o, s:o}", "partition", (int)p->number, "status",
                     tt_status_text(p->status), "oldest", (json_int_t)end->oldest, "next",
                     (json_int_t)end->next, "ceiling",
                     p->ceiling_status == TT_OK ? json_integer((json_int_t)p->ceiling.offset)
                                                : json_null(),
                     "segments", segments, "others", others);
}

static json_t *mirror_json(const struct tt_listing *view)
{
    if (!view->is_mirror) return json_null();
    return json_pack("{s:s, s:s, s:I}", "cluster", view->mirror.cluster, "topic",
                     view->mirror.topic, "generation", (json_int_t)view->mirror.generation);
}

static json_t *head_json(const struct tt_listing *view)
{
    return json_pack(
        "{s:s, s:b, s:s*, s:o, s:o, s:s, s:o, s:o}", "directory", view->directory, "in_use",
        view->live, "process", view->live && view->owner[0] != '\0' ? view->owner : NULL, "history",
        view->meta_known ? json_string(view->meta.history.text) : json_null(), "format",
        view->meta_known ? json_integer(view->meta.format) : json_null(), "meta",
        view->meta_status == TT_OK       ? "good"
        : view->meta_status == TT_ENOENT ? "missing"
                                         : "damaged",
        "created_ms", time_json(view->meta_known ? view->meta.created_us : INT64_MIN), "mirror",
        mirror_json(view));
}

int tt_ttlog_ls(const struct tt_ttlog_options *options)
{
    struct tt_listing view;
    struct tt_walk walk;
    int result = tt_ttlog_open(options, COMMAND, &view);
    if (result != TT_TTLOG_GOOD) return result;
    enum tt_status status = tt_walk_init(&walk, view.io);
    json_t *all = options->json ? head_json(&view) : NULL;
    json_t *partitions = options->json ? json_array() : NULL;
    if (!options->json) print_head(&view);
    for (uint32_t i = 0; status == TT_OK && i < view.partitions_count; i++) {
        const struct tt_listing_partition *p = &view.partitions[i];
        struct tt_partition_end end;
        if (options->partition != TT_TTLOG_ALL && options->partition != i) continue;
        status = tt_partition_end(p, &walk, &end);
        if (status != TT_OK) result = tt_ttlog_fail(COMMAND, p->directory, status);
        if (status == TT_OK && options->json)
            json_array_append_new(partitions, partition_json(p, &walk, &end));
        else if (status == TT_OK)
            print_partition(p, view.is_mirror, &walk, &end);
    }
    if (options->json) {
        json_object_set_new(all, "partitions", partitions);
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(all);
    }
    tt_walk_deinit(&walk);
    tt_listing_close(&view);
    return result;
}
