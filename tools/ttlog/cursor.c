/* ttlog cursor: explains a cursor against a log, or makes one. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/replay/resume.h"
#include "tools/ttlog/commands.h"
#include "tools/ttlog/figures.h"

#define COMMAND "cursor"

/* Of every partition of the log. */
struct ends {
    struct tt_topic topic; /* what the shards of a broker see of this log */
    struct tt_topology topology;
    uint64_t *oldest;
    uint64_t *next;  /* behind what the files hold */
    uint64_t *head;  /* behind what may have been given out */
    uint64_t *start; /* what is asked for, or where the broker would start */
};

static struct tt_cursor_storage storage, resume_storage;

static void deinit_ends(struct ends *e)
{
    tt_topology_deinit(&e->topology);
    free(e->oldest);
    free(e->next);
    free(e->head);
    free(e->start);
}

static enum tt_status init_ends(struct ends *e, const struct tt_listing *view)
{
    uint32_t count = view->partitions_count;
    e->topic = (struct tt_topic){.name = "",
                                 .history = view->meta.history,
                                 .capacity = count,
                                 .partitions = count,
                                 .fixed = true};
    enum tt_status status = tt_topology_init(&e->topology, &e->topic, 1, &view->meta.hash_key);
    if (status != TT_OK) return status;
    e->oldest = calloc(count, sizeof *e->oldest);
    e->next = calloc(count, sizeof *e->next);
    e->head = calloc(count, sizeof *e->head);
    e->start = calloc(count, sizeof *e->start);
    return e->oldest == NULL || e->next == NULL || e->head == NULL || e->start == NULL ? TT_ENOMEM
                                                                                       : TT_OK;
}

static enum tt_status read_ends(const struct tt_listing *view, struct ends *e, struct tt_walk *walk,
                                const struct tt_ttlog_options *options)
{
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        const struct tt_listing_partition *p = &view->partitions[i];
        struct tt_partition_end end;
        enum tt_status status = tt_partition_end(p, walk, &end);
        if (status != TT_OK) return status;
        e->oldest[i] = end.oldest;
        e->next[i] = e->head[i] = e->start[i] = end.next;
        if (p->ceiling_status == TT_OK && p->ceiling.offset > end.next)
            e->head[i] = p->ceiling.offset;
        if (options->at == NULL || strcmp(options->at, "latest") == 0) continue;
        e->start[i] = end.oldest;
        if (strcmp(options->at, "earliest") == 0) continue;
        status = tt_partition_taken(p, walk, options->at_us, &e->start[i]);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

/* ---- making one ---- */

static int make(const struct tt_listing *view, const struct ends *e, bool json)
{
    static uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    struct tt_cursor cursor;
    tt_cursor_init(&cursor, &storage);
    uint64_t *next = tt_cursor_add(&cursor, view->meta.history, view->partitions_count);
    if (next == NULL) return tt_ttlog_fail(COMMAND, view->directory, TT_ENOMEM);
    memcpy(next, e->start, view->partitions_count * sizeof *next);
    if (view->partitions_count == 1 && next[0] != 0 && !view->is_mirror) {
        struct tt_position position = {view->meta.history, 0, next[0] - 1};
        tt_cursor_write_narrow(&w, &position, 0);
    } else {
        if (tt_cursor_full_bytes(&cursor) > sizeof text)
            return tt_ttlog_fail(COMMAND, view->directory, TT_ETOOBIG);
        tt_cursor_write_full(&w, &cursor);
    }
    if (json)
        printf("{\"cursor\":\"%.*s\"}\n", (int)w.size, text);
    else
        printf("%.*s\n", (int)w.size, text);
    return TT_TTLOG_GOOD;
}

/* ---- explaining ---- */

static const char *form_of(const struct tt_cursor *c, const char *text)
{
    if (strchr(text, ',') != NULL)
        return c->full ? "full, with ids received since" : "narrow, with ids received since";
    if (c->full) return "full";
    return c->topics_count != 0 && c->topics[0].bare ? "an event's id" : "narrow";
}

/* The only partition that a narrow cursor speaks of. */
static uint32_t partition_of(const struct tt_cursor *c, const struct tt_cursor_topic *topic)
{
    uint32_t only = TT_PARTITION_ALL;
    if (c->full || c->topics_count != 1) return TT_PARTITION_ALL;
    for (uint32_t i = 0; i < topic->count; i++) {
        if (c->next[topic->first + i] == TT_CURSOR_UNKNOWN) continue;
        if (only != TT_PARTITION_ALL) return TT_PARTITION_ALL;
        only = i;
    }
    return only;
}

/* What becomes of one partition. */
static const char *fate(uint64_t given, uint64_t start, uint64_t oldest, uint64_t head)
{
    if (given == TT_CURSOR_UNKNOWN) return "not in the cursor: live, after resync \"partial\"";
    if (given != TT_CURSOR_BEGINNING && given > head)
        return "ahead of this log: live, after resync \"ahead\"";
    if (start < oldest) return "expired: from the oldest event, after resync \"expired\"";
    if (given == TT_CURSOR_BEGINNING) return "newer than the cursor: from its beginning";
    return start >= head ? "nothing is missing" : "resumes exactly";
}

struct answer {
    const struct tt_cursor *cursor;
    const struct tt_cursor_topic *topic; /* of this log; null: it has none */
    const char *resync;                  /* null: none */
    uint32_t partition;
};

/* What the broker would answer to this cursor now. */
static struct answer answer_of(const struct tt_listing *view, struct ends *e, const char *text,
                               const struct tt_cursor *cursor)
{
    struct answer a = {.cursor = cursor, .partition = TT_PARTITION_ALL};
    struct tt_resume resume;
    struct tt_resume_view known = {.topology = &e->topology,
                                   .next = e->next,
                                   .head = e->head,
                                   .oldest = e->oldest,
                                   .touched = 1};
    a.topic = tt_cursor_find(cursor, view->meta.history);
    if (a.topic != NULL) a.partition = partition_of(cursor, a.topic);
    if (a.partition != TT_PARTITION_ALL && a.partition >= view->partitions_count)
        a.partition = TT_PARTITION_ALL;
    tt_resume(&known, a.partition, tt_bytes_text(text), TT_FROM_LIVE, &resume_storage, &resume,
              e->start);
    if (resume.resync != TT_RESUME_EXACT) a.resync = tt_resume_resync_text(resume.resync);
    for (uint32_t i = 0; a.resync == NULL && i < view->partitions_count; i++)
        if ((a.partition == TT_PARTITION_ALL || a.partition == i) && e->start[i] < e->oldest[i])
            a.resync = "expired";
    return a;
}

static bool concerns(const struct answer *a, uint32_t i)
{
    return a->topic != NULL && (a->partition == TT_PARTITION_ALL || a->partition == i);
}

static uint64_t to_come(const struct ends *e, uint32_t i)
{
    uint64_t from = e->start[i] > e->oldest[i] ? e->start[i] : e->oldest[i];
    return e->next[i] > from ? e->next[i] - from : 0;
}

static void print_text(const struct tt_listing *view, const struct ends *e, const char *text,
                       const struct answer *a)
{
    const struct tt_cursor *c = a->cursor;
    printf("form: %s\n", form_of(c, text));
    for (uint32_t i = 0; i < c->topics_count; i++)
        printf("history %s%s\n", c->topics[i].history.text,
               &c->topics[i] == a->topic ? ": this log"
                                         : ": another one, this log does not know it");
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        if (!concerns(a, i)) continue;
        uint64_t given = tt_cursor_next(c, a->topic, i);
        printf("  partition %u: ", i);
        if (given == TT_CURSOR_UNKNOWN || given == TT_CURSOR_BEGINNING)
            printf("-; ");
        else
            printf("next offset %" PRIu64 "; ", given);
        printf("the log has %" PRIu64 " to %" PRIu64 ", %" PRIu64 " offsets to come: %s\n",
               e->oldest[i], e->next[i], to_come(e, i),
               fate(given, e->start[i], e->oldest[i], e->head[i]));
    }
    if (a->resync == NULL)
        printf("the broker resumes exactly\n");
    else
        printf("the broker answers resync {\"reason\":\"%s\"}\n", a->resync);
}

static void print_json(const struct tt_listing *view, const struct ends *e, const char *text,
                       const struct answer *a)
{
    const struct tt_cursor *c = a->cursor;
    json_t *topics = json_array(), *partitions = json_array();
    for (uint32_t i = 0; i < c->topics_count; i++)
        json_array_append_new(
            topics, json_pack("{s:s, s:i, s:b}", "history", c->topics[i].history.text, "partitions",
                              (int)c->topics[i].partitions, "this_log", &c->topics[i] == a->topic));
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        if (!concerns(a, i)) continue;
        uint64_t given = tt_cursor_next(c, a->topic, i);
        bool is_offset = given != TT_CURSOR_UNKNOWN && given != TT_CURSOR_BEGINNING;
        json_array_append_new(
            partitions,
            json_pack("{s:i, s:o, s:I, s:I, s:I, s:I, s:s}", "partition", (int)i, "cursor_next",
                      is_offset ? json_integer((json_int_t)given) : json_null(), "start",
                      (json_int_t)e->start[i], "oldest", (json_int_t)e->oldest[i], "next",
                      (json_int_t)e->next[i], "to_come", (json_int_t)to_come(e, i), "fate",
                      fate(given, e->start[i], e->oldest[i], e->head[i])));
    }
    json_t *all =
        json_pack("{s:b, s:s, s:o, s:o, s:s?}", "readable", true, "form", form_of(c, text),
                  "topics", topics, "partitions", partitions, "resync", a->resync);
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
}

static int explain(const struct tt_listing *view, struct ends *e, const char *text, bool json)
{
    struct tt_cursor cursor;
    tt_cursor_init(&cursor, &storage);
    if (tt_cursor_parse(tt_bytes_text(text), &cursor) != TT_OK) {
        if (json)
            printf("{\"readable\":false,\"resync\":\"history\"}\n");
        else
            printf("unreadable: the broker answers resync {\"reason\":\"history\"} and goes on as "
                   "from= says\n");
        return TT_TTLOG_GOOD;
    }
    struct answer a = answer_of(view, e, text, &cursor);
    if (json)
        print_json(view, e, text, &a);
    else
        print_text(view, e, text, &a);
    return TT_TTLOG_GOOD;
}

int tt_ttlog_cursor(const struct tt_ttlog_options *options)
{
    struct tt_listing view;
    struct tt_walk walk;
    struct ends ends = {0};
    int result = tt_ttlog_open(options, COMMAND, &view);
    if (result != TT_TTLOG_GOOD) return result;
    enum tt_status status = view.meta_known ? TT_OK : TT_ECORRUPT;
    if (status == TT_OK) status = init_ends(&ends, &view);
    if (status == TT_OK) status = tt_walk_init(&walk, view.io);
    if (status == TT_OK) {
        status = read_ends(&view, &ends, &walk, options);
        tt_walk_deinit(&walk);
    }
    if (status != TT_OK)
        result = tt_ttlog_fail(COMMAND, view.directory, status);
    else
        result = options->at != NULL ? make(&view, &ends, options->json)
                                     : explain(&view, &ends, options->cursor, options->json);
    deinit_ends(&ends);
    tt_listing_close(&view);
    return result;
}
