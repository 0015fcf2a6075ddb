/* What the process asks of the operating system once, at start: limits, signals, processors, the
 * data directory. Each failure gives one line that names what was asked and what is wrong.
 * Thread: start-up (the control thread, before shards run). */
#ifndef TT_BROKER_PROCESS_H
#define TT_BROKER_PROCESS_H

#include "proto/base/bytes.h"
#include "proto/base/limits.h"
#include "shard/io/io.h"

#define TT_PROCESS_ERROR_MAX 512u

/* Raises the soft limit of descriptors to the hard one, which io_uring's tables and epoll's sockets
 * are sized by; returns it. */
uint32_t tt_process_raise_descriptors(void);

/* Lets the allocator give back blocks of 64 KiB and more when they are freed. Else what clients
 * that catch up have read leaves holes in its heap that are larger than all that is in use. */
void tt_process_return_memory(void);

/* Blocks SIGTERM, SIGINT and SIGHUP in this thread and those it starts, ignores SIGPIPE, and gives
 * a descriptor that becomes readable with them. TT_OK; TT_EIO. */
TT_MUST_USE enum tt_status tt_process_signals(int *descriptor, char error[TT_PROCESS_ERROR_MAX]);
/* The next signal that came, or 0. Never blocks. */
int tt_process_next_signal(int descriptor);

/* The processors that the affinity mask leaves, and how many of them the cgroup's quota pays for.
 */
struct tt_processors {
    uint32_t count;  /* of list */
    uint32_t usable; /* at most count: with a quota of 1.5 processors 2 */
    uint16_t list[1024];
};
void tt_process_processors(struct tt_processors *processors);
/* Binds the calling thread to one processor, or to all that are in `processors` from `first` on.
 * Failing leaves the mask as it is: it costs speed only. */
void tt_process_pin(uint16_t processor);
void tt_process_pin_from(const struct tt_processors *processors, uint32_t first);

/* tt_io_listen(), tried for up to two seconds while the address is in use: after a kill -9 the
 * kernel closes the listeners of an io_uring a moment after the process is gone, and a supervisor
 * that restarts at once would meet its own predecessor's. */
TT_MUST_USE enum tt_status tt_process_listen(struct tt_io *io, struct tt_address *address,
                                             const struct tt_listen_options *options,
                                             tt_socket *listener);

/* Creates the directory where it is missing and locks it for this process until it ends (a lock of
 * the kernel on DIR/LOCK, gone with the process however it ends).
 * TT_OK; TT_EBUSY: another broker has it; TT_EACCES, TT_EIO: cannot be used. */
TT_MUST_USE enum tt_status tt_process_lock_directory(const char *directory, int *lock,
                                                     char error[TT_PROCESS_ERROR_MAX]);

/* Resident memory of the process, and free bytes of the directory's file system (UINT64_MAX: not
 * known). Thread: any. */
uint64_t tt_process_resident_bytes(void);
uint64_t tt_process_free_bytes(const char *directory);

#endif
