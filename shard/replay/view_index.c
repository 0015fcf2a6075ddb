#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/views_internal.h"

enum state { INDEX_HEADER = 0, INDEX_FILTER, INDEX_HOLES, INDEX_READY, INDEX_FAILED };

struct tt_view_index {
    struct tt_node node; /* in views->indexes */
    struct tt_views *views;
    struct tt_view *view;      /* null: forgotten while it is being read */
    struct tt_read_file *file; /* the index file */
    struct tt_list waiters;    /* until it was read */
    struct tt_file_read read;  /* of header, filter, then holes */
    struct tt_index_header header;
    uint8_t *filter;
    struct tt_index_hole *holes;
    uint8_t *page; /* while it is being read */
    size_t bytes;
    uint32_t holes_count;
    uint32_t page_number;
    uint32_t pins;
    uint8_t state;
};

static size_t cache_bytes(const struct tt_views *v)
{
    size_t quarter = v->shard->replay_frames.bytes_max / 4;
    return quarter < TT_VIEW_CACHE_BYTES ? quarter : TT_VIEW_CACHE_BYTES;
}

size_t tt_views_index_bytes(const struct tt_views *v)
{
    return v->index_bytes;
}

static void count(struct tt_view_index *x, size_t bytes)
{
    x->bytes += bytes;
    x->views->index_bytes += bytes;
    x->views->shard->replay->block_bytes += bytes;
}

static void free_index(struct tt_view_index *x)
{
    TT_ASSERT(x->pins == 0 && tt_list_empty(&x->waiters));
    if (tt_node_linked(&x->node)) tt_list_remove(&x->node);
    x->views->index_bytes -= x->bytes;
    x->views->shard->replay->block_bytes -= x->bytes;
    if (x->view != NULL) x->view->index = NULL;
    tt_read_file_put(&x->file);
    free(x->filter);
    free(x->holes);
    free(x->page);
    free(x);
}

void tt_view_index_drop(struct tt_views *v, struct tt_view *view)
{
    (void)v;
    struct tt_view_index *x = view->index;
    if (x == NULL || x->pins != 0) return;
    if (!tt_file_read_busy(&x->read)) {
        free_index(x);
        return;
    }
    x->view = NULL; /* it goes when the read ends */
    view->index = NULL;
}

void tt_view_index_free(struct tt_views *v, struct tt_view *view)
{
    (void)v;
    if (view->index != NULL) free_index(view->index);
}

/* Makes room for so many bytes more, as far as nobody uses what is there. */
static void evict(struct tt_views *v, size_t bytes)
{
    struct tt_node *next;
    for (struct tt_node *n = tt_list_first(&v->indexes);
         n != NULL && v->index_bytes + bytes > cache_bytes(v); n = next) {
        next = tt_list_next(&v->indexes, n);
        struct tt_view_index *x = TT_CONTAINER_OF(n, struct tt_view_index, node);
        if (x->pins == 0 && x->state == INDEX_READY) free_index(x);
    }
}

/* ---- reading it ---- */

/* Ends the reading: those who wait look again. */
static void tell(struct tt_view_index *x)
{
    free(x->page);
    x->page = NULL;
    x->pins++; /* it must not go while they are told */
    struct tt_list waiters;
    tt_list_init(&waiters);
    struct tt_node *node;
    while ((node = tt_list_take_first(&x->waiters)) != NULL) tt_list_append(&waiters, node);
    while ((node = tt_list_take_first(&waiters)) != NULL) {
        struct tt_index_waiter *waiter = TT_CONTAINER_OF(node, struct tt_index_waiter, node_);
        waiter->ready(waiter);
    }
    x->pins--;
    if (x->state == INDEX_FAILED || x->view == NULL) free_index(x);
}

static void fail(struct tt_view_index *x, enum tt_status status)
{
    x->state = INDEX_FAILED;
    if (x->view != NULL) tt_view_index_bad(x->views, x->view, status);
    tell(x);
}

static void read_part(struct tt_view_index *x, uint64_t position, uint8_t *data, size_t size)
{
    x->read.position = position;
    x->read.data = data;
    x->read.size = size;
    tt_files_read(x->file, &x->read);
}

static void read_holes(struct tt_view_index *x)
{
    if (x->page_number == tt_index_section_pages(&x->header.holes)) {
        x->state = INDEX_READY;
        tell(x);
        return;
    }
    read_part(x, x->header.holes.position + (uint64_t)x->page_number * TT_INDEX_PAGE_BYTES, x->page,
              TT_INDEX_PAGE_BYTES);
}

static struct tt_record_segment identity_of(const struct tt_view_index *x)
{
    const struct tt_shard *shard = x->views->shard;
    const struct tt_topology_local *l = tt_topology_local(&shard->topology, x->view->partition);
    return (struct tt_record_segment){
        .partition = l->number, .history = l->history, .hash_key = shard->world->hash_key};
}

static enum tt_status take_header(struct tt_view_index *x, struct tt_bytes bytes)
{
    struct tt_record_segment identity = identity_of(x);
    enum tt_status status = tt_index_header_read(bytes, &x->view->segment, &identity, &x->header);
    if (status != TT_OK) return status;
    size_t filter = x->header.filter.bytes, holes = x->header.holes.entries * sizeof *x->holes;
    evict(x->views, filter + holes);
    x->filter = malloc(filter);
    x->holes = malloc(holes + 1);
    if (x->filter == NULL || x->holes == NULL) return TT_ENOMEM;
    count(x, filter + holes);
    x->state = INDEX_FILTER;
    read_part(x, x->header.filter.position, x->filter, filter);
    return TT_OK;
}

static enum tt_status take_filter(struct tt_view_index *x, struct tt_bytes bytes)
{
    enum tt_status status = tt_index_filter_check(&x->header, bytes);
    if (status != TT_OK) return status;
    x->state = INDEX_HOLES;
    read_holes(x);
    return TT_OK;
}

static enum tt_status take_holes(struct tt_view_index *x, struct tt_bytes bytes)
{
    uint32_t holes;
    enum tt_status status =
        tt_index_read_holes(&x->header, x->page_number, bytes, x->holes + x->holes_count, &holes);
    if (status != TT_OK) return status;
    x->holes_count += holes;
    x->page_number++;
    read_holes(x);
    return TT_OK;
}

static void part_read(struct tt_file_read *read, int32_t result)
{
    struct tt_view_index *x = TT_CONTAINER_OF(read, struct tt_view_index, read);
    if (x->view == NULL) {
        free_index(x);
        return;
    }
    struct tt_bytes bytes = tt_bytes(read->data, result < 0 ? 0 : (size_t)result);
    enum tt_status status = result < 0 ? (enum tt_status)result : TT_OK;
    if (status == TT_OK) switch ((enum state)x->state) {
        case INDEX_HEADER: status = take_header(x, bytes); break;
        case INDEX_FILTER: status = take_filter(x, bytes); break;
        case INDEX_HOLES: status = take_holes(x, bytes); break;
        case INDEX_READY:
        case INDEX_FAILED: TT_UNREACHABLE();
        }
    if (status != TT_OK) fail(x, status);
}

static enum tt_status begin(struct tt_views *v, struct tt_view *view)
{
    if (!tt_replay_has_memory(v->shard, TT_INDEX_PAGE_BYTES)) return TT_FULL;
    struct tt_view_index *x = calloc(1, sizeof *x);
    if (x == NULL) return TT_FULL;
    x->views = v;
    x->page = malloc(TT_INDEX_PAGE_BYTES);
    x->file = tt_read_file_get(v->shard->replay->files, TT_READ_INDEX, view->partition,
                               view->segment.first_offset);
    tt_list_init(&x->waiters);
    x->read.done = part_read;
    if (x->page == NULL || x->file == NULL) {
        free_index(x);
        return TT_FULL;
    }
    x->view = view;
    view->index = x;
    count(x, sizeof *x);
    tt_list_append(&v->indexes, &x->node);
    read_part(x, 0, x->page, TT_INDEX_HEADER_BYTES);
    return TT_OK;
}

/* ---- for those who search ---- */

enum tt_status tt_view_index_get(struct tt_views *v, struct tt_view *view,
                                 struct tt_index_waiter *waiter,
                                 const struct tt_index_header **header)
{
    TT_ASSERT(view->holds > 0);
    if (!view->indexed || !tt_view_sealed(view)) return TT_ENOENT;
    if (view->index == NULL) {
        enum tt_status status = begin(v, view);
        if (status != TT_OK) return status;
    }
    struct tt_view_index *x = view->index;
    if (x->state != INDEX_READY) {
        tt_list_append(&x->waiters, &waiter->node_);
        return TT_MORE;
    }
    x->pins++;
    tt_list_remove(&x->node); /* to the end of those that are forgotten first */
    tt_list_append(&v->indexes, &x->node);
    *header = &x->header;
    return TT_OK;
}

void tt_view_index_put(struct tt_views *v, struct tt_view *view)
{
    (void)v;
    TT_ASSERT(view->index != NULL && view->index->pins > 0);
    view->index->pins--;
}

void tt_view_index_cancel(struct tt_index_waiter *waiter)
{
    if (tt_node_linked(&waiter->node_)) tt_list_remove(&waiter->node_);
}

bool tt_view_index_may_hold(const struct tt_view *view, uint64_t hash)
{
    return tt_index_filter_test(&view->index->header, view->index->filter, hash);
}

const struct tt_index_hole *tt_view_index_holes(const struct tt_view *view, uint32_t *holes)
{
    *holes = view->index->holes_count;
    return view->index->holes;
}

void tt_view_index_read(struct tt_view *view, struct tt_file_read *read)
{
    TT_ASSERT(view->index != NULL && view->index->pins > 0);
    tt_files_read(view->index->file, read);
}

void tt_view_index_bad(struct tt_views *v, struct tt_view *view, enum tt_status status)
{
    if (!view->indexed) return;
    view->indexed = false;
    if (status == TT_ENOENT) return; /* retired: the owner's message is on its way */
    tt_metric_add(&v->shard->metrics.index_files_bad, 1);
    tt_diag_write(v->shard->diag, TT_DIAG_ERROR, NULL, "index_file",
                  "partition %u: the index of the segment of offset %llu cannot be used (%s): the "
                  "segment is scanned",
                  view->partition, (unsigned long long)view->segment.first_offset,
                  tt_status_text(status));
}
