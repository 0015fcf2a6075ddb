#include "shard/io/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"
#include "shard/io/faults.h"

static enum tt_status create(struct tt_io **io, const struct tt_io_options *options, char *why,
                             size_t why_bytes)
{
    TT_ASSERT(options->recv_buffers != 0 && options->recv_buffer_bytes != 0);
    TT_ASSERT((options->recv_buffers & (options->recv_buffers - 1)) == 0);
    TT_ASSERT(options->sockets_max != 0);
    *io = NULL;
    why[0] = '\0';
    enum tt_status status = TT_EUNSUPPORTED;
    if (options->kind != TT_IO_EPOLL) {
        status = tt_io_uring_create(io, options, why, why_bytes);
        if (status == TT_OK || options->kind == TT_IO_URING) return status;
    }
    char why_epoll[160] = "";
    status = tt_io_epoll_create(io, options, why_epoll, sizeof why_epoll);
    if (status != TT_OK) {
        size_t used = strlen(why);
        (void)snprintf(why + used, why_bytes - used, "%s%s", used != 0 ? "; " : "", why_epoll);
    }
    return status;
}

enum tt_status tt_io_create(struct tt_io **io, const struct tt_io_options *options, char *why,
                            size_t why_bytes)
{
    enum tt_status status = create(io, options, why, why_bytes);
    if (status != TT_OK || options->faults == NULL) return status;
    status = tt_io_faults_wrap(*io, options->faults);
    if (status != TT_OK) {
        (void)snprintf(why, why_bytes, "no memory");
        tt_io_destroy(io);
    }
    return status;
}

void tt_io_quiesce(struct tt_io *io)
{
    if (io->ops->quiesce != NULL && !io->quiet) io->ops->quiesce(io);
    io->quiet = true;
}

void tt_io_destroy(struct tt_io **io)
{
    if (*io == NULL) return;
    tt_io_quiesce(*io);
    (*io)->ops->destroy(*io);
    *io = NULL;
}

const char *tt_io_name(const struct tt_io *io)
{
    return io->ops->name;
}

uint32_t tt_io_sockets_max(const struct tt_io *io)
{
    return io->ops->sockets_max(io);
}

bool tt_io_sockets_shared(const struct tt_io *io)
{
    return io->ops->sockets_shared;
}

void tt_io_figures(const struct tt_io *io, struct tt_io_figures *figures)
{
    *figures = io->figures;
}

void tt_io_submit(struct tt_io *io, uint64_t wait_until_ns)
{
    io->ops->submit(io, wait_until_ns);
}

unsigned tt_io_reap(struct tt_io *io, struct tt_done *done, unsigned max)
{
    return io->ops->reap(io, done, max);
}

void tt_io_wake(struct tt_io *self, struct tt_io *other)
{
    self->ops->wake(self, other);
}

void tt_io_wake_from_outside(struct tt_io *other)
{
    other->ops->wake_from_outside(other);
}

uint64_t tt_io_now_ns(struct tt_io *io)
{
    return io->ops->now_ns(io);
}

int64_t tt_io_wall_us(struct tt_io *io)
{
    return io->ops->wall_us(io);
}

uint64_t tt_io_random(struct tt_io *io)
{
    return io->ops->random(io);
}

enum tt_status tt_io_listen(struct tt_io *io, struct tt_address *address,
                            const struct tt_listen_options *options, tt_socket *listener)
{
    return io->ops->listen(io, address, options, listener);
}

void tt_io_accept(struct tt_io *io, tt_socket listener, uint64_t token)
{
    io->ops->accept(io, listener, token);
}

void tt_io_accept_stop(struct tt_io *io, tt_socket listener)
{
    io->ops->accept_stop(io, listener);
}

unsigned tt_io_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                              unsigned max)
{
    return io->ops->refuse_waiting(io, listener, answer, max);
}

struct tt_handoff tt_io_handoff(struct tt_io *io, int32_t reference)
{
    return io->ops->handoff(io, reference);
}

void tt_io_refuse(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer)
{
    io->ops->refuse(io, handoff, answer);
}

void tt_io_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token)
{
    io->ops->adopt(io, handoff, token);
}

void tt_io_connect(struct tt_io *io, const struct tt_address *local,
                   const struct tt_address *remote, const struct tt_listen_options *options,
                   uint64_t token)
{
    io->ops->connect(io, local, remote, options, token);
}

void tt_io_recv(struct tt_io *io, tt_socket socket, uint64_t token)
{
    io->ops->recv(io, socket, token);
}

void tt_io_recv_pause(struct tt_io *io, tt_socket socket)
{
    io->ops->recv_pause(io, socket);
}

void tt_io_buffer_return(struct tt_io *io, uint32_t buffer)
{
    io->ops->buffer_return(io, buffer);
}

void tt_io_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices, unsigned count,
                uint64_t token)
{
    TT_ASSERT(count >= 1 && count <= TT_IO_SLICES_MAX);
    io->ops->send(io, socket, slices, count, token);
}

bool tt_io_sends_full(const struct tt_io *io)
{
    return io->ops->sends_full(io);
}

void tt_io_poll_out(struct tt_io *io, tt_socket socket, uint64_t token)
{
    io->ops->poll_out(io, socket, token);
}

void tt_io_poll_in(struct tt_io *io, int foreign, uint64_t token)
{
    io->ops->poll_in(io, foreign, token);
}

void tt_io_poll_in_stop(struct tt_io *io, int foreign)
{
    io->ops->poll_in_stop(io, foreign);
}

void tt_io_shutdown_send(struct tt_io *io, tt_socket socket)
{
    io->ops->shutdown_send(io, socket);
}

void tt_io_close(struct tt_io *io, tt_socket socket, uint64_t token)
{
    io->ops->close(io, socket, false, token);
}

void tt_io_abort(struct tt_io *io, tt_socket socket, uint64_t token)
{
    io->ops->close(io, socket, true, token);
}

void tt_io_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    io->ops->open(io, path, flags, token);
}

void tt_io_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    io->ops->file_close(io, file, token);
}

void tt_io_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                       uint64_t token)
{
    io->ops->preallocate(io, file, offset, size, token);
}

void tt_io_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                uint64_t token)
{
    io->ops->read(io, file, offset, data, size, token);
}

void tt_io_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                 uint64_t token)
{
    io->ops->write(io, file, offset, data, size, token);
}

void tt_io_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    io->ops->sync(io, file, data_only, token);
}

void tt_io_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    io->ops->truncate(io, file, size, token);
}

void tt_io_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    io->ops->rename(io, from, to, token);
}

void tt_io_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    io->ops->unlink(io, path, token);
}
