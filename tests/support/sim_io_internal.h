/* The inside of sim_io.h's back end, for sim_io.c (sockets, the loop) and sim_files.c. */
#ifndef TT_TESTS_SUPPORT_SIM_IO_INTERNAL_H
#define TT_TESTS_SUPPORT_SIM_IO_INTERNAL_H

#include "shard/io/backend.h"
#include "tests/support/sim_io.h"

#define SIM_BUFFERS     64u
#define SIM_SOCKETS     512u
#define SIM_DONE_MAX    4096u
#define SIM_FILES_MAX   1024u
#define SIM_SOCKET_FREE UINT32_MAX

enum made_kind { MADE_PLAIN = 0, MADE_SOCKET, MADE_PAUSED, MADE_CLOSED };
struct made {
    struct tt_done done;
    enum made_kind kind;
    uint32_t socket;
};

struct sim_socket {
    uint32_t link;
    bool open, closing, armed, pausing, out_armed;
    uint64_t recv_token, out_token;
};

enum file_kind {
    FILE_OPEN,
    FILE_CLOSE,
    FILE_GROW,
    FILE_READ,
    FILE_WRITE,
    FILE_NOTHING,
    FILE_TRUNCATE,
    FILE_RENAME,
    FILE_UNLINK
};
struct file_job {
    enum file_kind kind;
    uint64_t token;
    tt_file file;
    uint32_t flags;
    uint64_t offset;
    void *data;
    size_t size;
    char path[512], path2[512];
};

struct sim_io {
    struct tt_io base;
    struct sim_scheduler *s;
    struct sim_thread *thread; /* null: of the test itself */
    uint64_t wait_until_ns;
    bool woken;
    struct made made[SIM_DONE_MAX];
    uint32_t made_head, made_tail;
    struct sim_socket sockets[SIM_SOCKETS];
    uint8_t *buffers;
    uint32_t buffer_bytes;
    bool buffer_lent[SIM_BUFFERS];
    struct file_job jobs[TT_IO_FILE_OPERATIONS_MAX];
    uint32_t jobs_count;
    bool foreign[SIM_FOREIGN_MAX]; /* it waits for these */
    uint64_t foreign_tokens[SIM_FOREIGN_MAX];
    bool file_open[SIM_FILES_MAX]; /* by descriptor: to close what a kill leaves */
};

static inline struct sim_io *sim_of(struct tt_io *io)
{
    return (struct sim_io *)(void *)io;
}

/* Something is done. socket: SIM_SOCKET_FREE if it is of none. */
void sim_io_make(struct sim_io *e, uint64_t token, int32_t result, enum made_kind kind,
                 uint32_t socket);

/* Completes some of what is under way, in any order. */
void sim_files_work(struct sim_io *e);
/* Closes what is still open. */
void sim_files_close(struct sim_io *e);
void sim_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token);
void sim_file_close(struct tt_io *io, tt_file file, uint64_t token);
void sim_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                     uint64_t token);
void sim_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
              uint64_t token);
void sim_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
               uint64_t token);
void sim_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token);
void sim_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token);
void sim_rename(struct tt_io *io, const char *from, const char *to, uint64_t token);
void sim_unlink(struct tt_io *io, const char *path, uint64_t token);

#endif
