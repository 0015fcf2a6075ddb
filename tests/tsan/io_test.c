/* What the io shares between threads, for TSan: the file thread's rings with the memory that is
 * read and written, and wakes with the memory that they announce. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "shard/io/io.h"

#define BLOCK  512u
#define ROUNDS 20u
#define WAKES  20000u

static struct tt_io *io_of(enum tt_io_kind kind)
{
    struct tt_io_options options = {.kind = kind,
                                    .sockets_max = 16,
                                    .recv_buffers = 8,
                                    .recv_buffer_bytes = 64,
                                    .files_max = 4};
    char why[256];
    struct tt_io *io = NULL;
    enum tt_status status = tt_io_create(&io, &options, why, sizeof why);
    if (status != TT_OK) (void)fprintf(stderr, "%s\n", why);
    TT_ASSERT(status == TT_OK);
    return io;
}

/* Waits for `count` completions; the result of the last. */
static int32_t wait_for(struct tt_io *io, unsigned count)
{
    struct tt_done done = {0};
    while (count != 0) {
        while (count != 0 && tt_io_reap(io, &done, 1) == 1) {
            TT_ASSERT(done.result >= 0);
            count--;
        }
        if (count != 0) tt_io_submit(io, UINT64_MAX);
    }
    return done.result;
}

static void files(enum tt_io_kind kind)
{
    static uint8_t blocks[TT_IO_FILE_OPERATIONS_MAX][BLOCK];
    char path[] = "/tmp/tt-tsan-XXXXXX";
    struct tt_io *io = io_of(kind);
    int fd = mkstemp(path);
    TT_ASSERT(fd >= 0);
    (void)close(fd);
    tt_io_open(io, path, TT_OPEN_READ | TT_OPEN_WRITE, 1);
    tt_file file = wait_for(io, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
            memset(blocks[i], (int)(i + round), BLOCK);
            tt_io_write(io, file, (uint64_t)i * BLOCK, blocks[i], BLOCK, 2);
        }
        (void)wait_for(io, TT_IO_FILE_OPERATIONS_MAX);
        memset(blocks, 0, sizeof blocks);
        for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
            tt_io_read(io, file, (uint64_t)i * BLOCK, blocks[i], BLOCK, 3);
        }
        (void)wait_for(io, TT_IO_FILE_OPERATIONS_MAX);
        for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
            TT_ASSERT(blocks[i][0] == (uint8_t)(i + round) && blocks[i][BLOCK - 1] == blocks[i][0]);
        }
    }
    tt_io_file_close(io, file, 4);
    tt_io_unlink(io, path, 5);
    (void)wait_for(io, 2);
    tt_io_destroy(&io);
}

/* One thread writes a number and wakes; the other must come to see the last one. */
struct sleeper {
    enum tt_io_kind kind;
    struct tt_io *_Atomic io;
    _Atomic uint32_t number;
    _Atomic bool left;
};

static void *sleep_until_the_last(void *argument)
{
    struct sleeper *s = argument;
    struct tt_io *io = io_of(s->kind);
    struct tt_done done;
    s->io = io;
    while (atomic_load_explicit(&s->number, memory_order_acquire) != WAKES) {
        tt_io_submit(io, UINT64_MAX);
        TT_ASSERT(tt_io_reap(io, &done, 1) == 0);
    }
    while (!s->left) tt_io_submit(io, tt_io_now_ns(io) + 100000);
    tt_io_destroy(&io);
    return NULL;
}

static void wakes(enum tt_io_kind kind)
{
    struct sleeper s = {.kind = kind};
    struct tt_io *io = io_of(kind);
    pthread_t thread;
    TT_ASSERT(pthread_create(&thread, NULL, sleep_until_the_last, &s) == 0);
    while (s.io == NULL) tt_io_submit(io, tt_io_now_ns(io) + 100000);
    for (uint32_t i = 1; i <= WAKES; i++) {
        atomic_store_explicit(&s.number, i, memory_order_release);
        tt_io_wake(io, s.io);
    }
    s.left = true;
    (void)pthread_join(thread, NULL);
    tt_io_destroy(&io);
}

int main(void)
{
    (void)alarm(120);
    files(TT_IO_EPOLL);
    (void)puts("ok 1 - io: files of the file thread");
    files(TT_IO_URING);
    (void)puts("ok 2 - io: files of io_uring");
    wakes(TT_IO_EPOLL);
    (void)puts("ok 3 - io: wakes between threads, epoll");
    wakes(TT_IO_URING);
    (void)puts("ok 4 - io: wakes between threads, io_uring");
    return 0;
}
