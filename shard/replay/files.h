/* Files of the log that a shard reads: segments, their index files, kept files.
 *
 * A file is opened when something is first read from it and closed when nobody has read from it for
 * TT_FILES_IDLE_MS, or when another one needs its place (TT_FILES_OPEN_MAX are open at most). Reads
 * beyond TT_FILES_READS_MAX wait in order. A file whose name is gone (retired) can be read on while
 * it is open.
 * Thread: owner shard. Memory: a file's object on demand; what is read goes to its reader's. */
#ifndef TT_SHARD_REPLAY_FILES_H
#define TT_SHARD_REPLAY_FILES_H

#include "proto/base/list.h"
#include "shard/io/io.h"

struct tt_shard;
struct tt_files;
struct tt_read_file;

#define TT_FILES_OPEN_MAX  96u  /* of TT_IO's files_max (broker/serve.c) */
#define TT_FILES_READS_MAX 128u /* in flight; of TT_IO_FILE_OPERATIONS_MAX, which owners share */
#define TT_FILES_IDLE_MS   10000u

enum tt_read_file_kind { TT_READ_SEGMENT = 0, TT_READ_INDEX, TT_READ_KEPT };

/* One read, embedded in its reader's object. done(): exactly once, from the reaping of completions,
 * never inside tt_files_read(). result: bytes, short only at the file's end; TT_ENOENT: the file is
 * gone; or another failure. Object and memory must stay until then. */
struct tt_file_read {
    void (*done)(struct tt_file_read *read, int32_t result);
    uint64_t position;
    uint8_t *data;
    size_t size;
    struct tt_read_file *file_;
    struct tt_node node_; /* while it waits */
    size_t had_;          /* read by parts before: a read may be short anywhere */
    bool under_way_;
};
static inline bool tt_file_read_busy(const struct tt_file_read *read)
{
    return read->under_way_;
}

TT_MUST_USE enum tt_status tt_files_create(struct tt_shard *shard, struct tt_files **files);
void tt_files_destroy(struct tt_files **files); /* nothing is read any more, every file was put */
/* Nothing is under way. */
bool tt_files_idle(const struct tt_files *files);
/* Closes what was not used for a while. Once a second or so, as long as it is true: something is
 * open. */
bool tt_files_tidy(struct tt_files *files);
bool tt_files_done(struct tt_files *files, const struct tt_done *done); /* false: not its token */

/* number: first offset of the segment, or number of the kept file. Null: no memory. Each call makes
 * another object: whoever reads a file shares it by itself. */
TT_MUST_USE struct tt_read_file *tt_read_file_get(struct tt_files *files,
                                                  enum tt_read_file_kind kind, uint32_t partition,
                                                  uint64_t number);
/* Reads that are under way go on to their end. Nulls *file; harmless with null. */
void tt_read_file_put(struct tt_read_file **file);
/* It is open now: can be read though its name be gone. */
bool tt_read_file_open(const struct tt_read_file *file);

/* Reads read->size bytes at read->position to read->data; done and these are filled by the caller.
 */
void tt_files_read(struct tt_read_file *file, struct tt_file_read *read);

#endif
