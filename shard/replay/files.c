#include "shard/replay/files.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/pool.h"
#include "shard/replay/replay_internal.h"
#include "store/index_file.h"
#include "store/kept.h"
#include "store/segment.h"

#define IDLE_NS        (TT_FILES_IDLE_MS * UINT64_C(1000000))
#define PATH_BYTES_MAX 4096u
#define FILES_MAX      (1u << 20)

enum state {
    FILE_CLOSED = 0,
    FILE_WANTED, /* waits for a place among the open ones */
    FILE_OPENING,
    FILE_OPEN,
    FILE_CLOSING,
};

struct tt_read_file {
    struct tt_files *files;
    uint64_t number;
    uint64_t used_ns;
    struct tt_list waiting; /* reads, until it is open */
    struct tt_node node;    /* in files->wanted */
    uint32_t partition;
    uint32_t slot;
    uint32_t reads; /* waiting for their turn, or in flight */
    tt_file file;
    uint8_t kind;  /* enum tt_read_file_kind */
    uint8_t state; /* enum state */
    bool put;      /* nobody will read from it any more */
};

struct flight {
    struct tt_file_read *read; /* null: free */
    uint32_t generation;
    uint32_t next_free;
};

struct tt_files {
    struct tt_shard *shard;
    struct tt_pool pool;
    struct tt_list wanted; /* files */
    struct tt_list queue;  /* reads of open files, beyond what may be in flight */
    uint32_t open;         /* opening and closing ones included */
    uint32_t in_flight;
    uint32_t opening; /* opens and closes in flight */
    uint32_t free_flight;
    struct flight flights[TT_FILES_READS_MAX];
};

/* Tokens: which kind of operation it is stands in the two top bits of the 24-bit generation. */
enum { OP_OPEN = 0x400000, OP_READ = 0x800000, OP_CLOSE = 0xC00000, OP_MASK = 0xC00000 };

static uint64_t token_of(uint32_t kind, uint32_t generation, uint32_t slot)
{
    return tt_token(TT_OPERATION_REPLAY, (generation & ~(uint32_t)OP_MASK & 0xFFFFFFu) | kind,
                    slot);
}

enum tt_status tt_files_create(struct tt_shard *shard, struct tt_files **out)
{
    struct tt_files *f = calloc(1, sizeof *f);
    *out = f;
    if (f == NULL) return TT_ENOMEM;
    f->shard = shard;
    tt_list_init(&f->wanted);
    tt_list_init(&f->queue);
    for (uint32_t i = 0; i < TT_FILES_READS_MAX; i++) f->flights[i].next_free = i + 1;
    return tt_pool_init(&f->pool, sizeof(struct tt_read_file), 64, FILES_MAX);
}

void tt_files_destroy(struct tt_files **files)
{
    if (*files == NULL) return;
    TT_ASSERT((*files)->in_flight == 0);
    tt_pool_deinit(&(*files)->pool);
    free(*files);
    *files = NULL;
}

bool tt_files_idle(const struct tt_files *f)
{
    return f->in_flight == 0 && f->opening == 0 && tt_list_empty(&f->queue) &&
           tt_list_empty(&f->wanted);
}

struct tt_read_file *tt_read_file_get(struct tt_files *f, enum tt_read_file_kind kind,
                                      uint32_t partition, uint64_t number)
{
    uint32_t slot;
    struct tt_read_file *file = tt_pool_get(&f->pool, &slot);
    if (file == NULL) return NULL;
    file->files = f;
    file->number = number;
    file->partition = partition;
    file->slot = slot;
    file->kind = (uint8_t)kind;
    file->file = TT_FILE_NONE;
    file->used_ns = f->shard->now_ns;
    tt_list_init(&file->waiting);
    return file;
}

bool tt_read_file_open(const struct tt_read_file *file)
{
    return file != NULL && file->state == FILE_OPEN;
}

/* ---- opening and closing ---- */

static void open_now(struct tt_read_file *file)
{
    struct tt_files *f = file->files;
    const char *directory = f->shard->world->partitions[file->partition].directory;
    char path[PATH_BYTES_MAX];
    enum tt_status status = TT_EINVAL;
    switch ((enum tt_read_file_kind)file->kind) {
    case TT_READ_SEGMENT:
        status = tt_segment_path(directory, file->number, path, sizeof path);
        break;
    case TT_READ_INDEX: status = tt_index_path(directory, file->number, path, sizeof path); break;
    case TT_READ_KEPT:
        status = tt_kept_path(directory, (uint32_t)file->number, path, sizeof path);
        break;
    }
    TT_ASSERT(status == TT_OK); /* the directory's length was checked at start */
    file->state = FILE_OPENING;
    tt_replay_tidy_soon(f->shard);
    f->open++;
    f->opening++;
    tt_io_open(f->shard->io, path, TT_OPEN_READ,
               token_of(OP_OPEN, tt_pool_generation(&f->pool, file->slot), file->slot));
}

static void close_now(struct tt_read_file *file)
{
    struct tt_files *f = file->files;
    TT_ASSERT(file->state == FILE_OPEN && file->reads == 0);
    file->state = FILE_CLOSING;
    f->opening++;
    tt_io_file_close(f->shard->io, file->file,
                     token_of(OP_CLOSE, tt_pool_generation(&f->pool, file->slot), file->slot));
    file->file = TT_FILE_NONE;
}

/* Frees it if nothing holds it any more. */
static void leave(struct tt_read_file *file)
{
    if (!file->put || file->reads != 0) return;
    if (file->state == FILE_OPEN) close_now(file);
    if (file->state == FILE_CLOSED) tt_pool_put(&file->files->pool, file->slot);
}

/* The one that nobody reads from now and was not used for the longest time; null: none. */
static struct tt_read_file *least_used(struct tt_files *f)
{
    struct tt_read_file *least = NULL;
    for (uint32_t i = tt_pool_next(&f->pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&f->pool, i + 1)) {
        struct tt_read_file *file = tt_pool_at(&f->pool, i);
        if (file->state == FILE_OPEN && file->reads == 0 &&
            (least == NULL || file->used_ns < least->used_ns))
            least = file;
    }
    return least;
}

/* Opens those that wait for a place as far as there are places. */
static void open_wanted(struct tt_files *f)
{
    while (f->open < TT_FILES_OPEN_MAX && !tt_list_empty(&f->wanted)) {
        struct tt_node *node = tt_list_take_first(&f->wanted);
        open_now(TT_CONTAINER_OF(node, struct tt_read_file, node));
    }
    if (tt_list_empty(&f->wanted)) return;
    struct tt_read_file *least = least_used(f);
    if (least != NULL) close_now(least);
}

static void want_open(struct tt_read_file *file)
{
    file->state = FILE_WANTED;
    tt_list_append(&file->files->wanted, &file->node);
    open_wanted(file->files);
}

void tt_read_file_put(struct tt_read_file **file)
{
    if (*file == NULL) return;
    (*file)->put = true;
    leave(*file);
    *file = NULL;
}

bool tt_files_tidy(struct tt_files *f)
{
    for (uint32_t i = tt_pool_next(&f->pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&f->pool, i + 1)) {
        struct tt_read_file *file = tt_pool_at(&f->pool, i);
        if (file->state == FILE_OPEN && file->reads == 0 &&
            f->shard->now_ns - file->used_ns > IDLE_NS && f->opening < TT_FILES_OPEN_MAX / 2)
            close_now(file);
    }
    return f->open != 0;
}

/* ---- reading ---- */

static void start(struct tt_files *f, struct tt_file_read *read)
{
    if (f->in_flight == TT_FILES_READS_MAX) {
        tt_list_append(&f->queue, &read->node_);
        return;
    }
    uint32_t slot = f->free_flight;
    struct flight *flight = &f->flights[slot];
    f->free_flight = flight->next_free;
    f->in_flight++;
    flight->read = read;
    flight->generation++;
    tt_io_read(f->shard->io, read->file_->file, read->position + read->had_,
               read->data + read->had_, read->size - read->had_,
               token_of(OP_READ, flight->generation, slot));
}

void tt_files_read(struct tt_read_file *file, struct tt_file_read *read)
{
    TT_ASSERT(!file->put && !read->under_way_ && read->size > 0 && read->done != NULL);
    read->file_ = file;
    read->under_way_ = true;
    read->had_ = 0;
    file->reads++;
    file->used_ns = file->files->shard->now_ns;
    if (file->state == FILE_OPEN) {
        start(file->files, read);
        return;
    }
    tt_list_append(&file->waiting, &read->node_);
    if (file->state == FILE_CLOSED) want_open(file);
}

/* The read has ended. Its reader may do anything, also put the file. */
static void finish(struct tt_file_read *read, int32_t result)
{
    struct tt_read_file *file = read->file_;
    struct tt_files *f = file->files;
    read->under_way_ = false;
    read->done(read, result);
    /* The file is still there: it counts this read. */
    file->used_ns = f->shard->now_ns;
    TT_ASSERT(file->reads > 0);
    file->reads--;
    leave(file);
    if (!tt_list_empty(&f->wanted)) open_wanted(f);
}

static void opened(struct tt_files *f, struct tt_read_file *file, int32_t result)
{
    f->opening--;
    struct tt_list waiting;
    tt_list_init(&waiting);
    struct tt_node *node;
    while ((node = tt_list_take_first(&file->waiting)) != NULL) tt_list_append(&waiting, node);
    if (result >= 0) {
        file->file = result;
        file->state = FILE_OPEN;
        while ((node = tt_list_take_first(&waiting)) != NULL)
            start(f, TT_CONTAINER_OF(node, struct tt_file_read, node_));
        leave(file);
        return;
    }
    f->open--;
    file->state = FILE_CLOSED;
    file->reads++; /* it must not go while its readers are told */
    while ((node = tt_list_take_first(&waiting)) != NULL)
        finish(TT_CONTAINER_OF(node, struct tt_file_read, node_), result);
    file->reads--;
    leave(file);
    open_wanted(f);
}

static void closed(struct tt_files *f, struct tt_read_file *file)
{
    f->opening--;
    f->open--;
    file->state = FILE_CLOSED;
    if (!tt_list_empty(&file->waiting))
        want_open(file); /* somebody came meanwhile */
    else
        leave(file);
    open_wanted(f);
}

static void read_done(struct tt_files *f, uint32_t slot, int32_t result)
{
    struct flight *flight = &f->flights[slot];
    struct tt_file_read *read = flight->read;
    TT_ASSERT(read != NULL);
    flight->read = NULL;
    flight->next_free = f->free_flight;
    f->free_flight = slot;
    f->in_flight--;
    if (result > 0) {
        read->had_ += (size_t)result;
        if (read->had_ < read->size) {
            start(f, read); /* there is more, unless this was the end */
            return;
        }
    }
    struct tt_node *node = tt_list_take_first(&f->queue);
    if (node != NULL) start(f, TT_CONTAINER_OF(node, struct tt_file_read, node_));
    finish(read, result < 0 ? result : (int32_t)read->had_);
}

bool tt_files_done(struct tt_files *f, const struct tt_done *done)
{
    if (tt_token_operation(done->token) != TT_OPERATION_REPLAY) return false;
    uint32_t slot = tt_token_slot(done->token);
    switch (tt_token_generation(done->token) & OP_MASK) {
    case OP_OPEN: opened(f, tt_pool_at(&f->pool, slot), done->result); return true;
    case OP_READ: read_done(f, slot, done->result); return true;
    case OP_CLOSE: closed(f, tt_pool_at(&f->pool, slot)); return true;
    default: TT_UNREACHABLE();
    }
}
