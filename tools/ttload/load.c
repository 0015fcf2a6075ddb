#include "tools/ttload/load.h"

#include <stdarg.h>
#include <stdio.h>

void tt_trouble_add(struct tt_trouble *t, const char *format, ...)
{
    uint64_t count = atomic_load_explicit(&t->count, memory_order_relaxed);
    if (count == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(t->first, sizeof t->first, format, arguments);
        va_end(arguments);
    }
    atomic_store_explicit(&t->count, count + 1, memory_order_release);
}

struct tt_io *tt_load_io(const struct tt_load *load, uint32_t sockets, bool apart,
                         struct tt_trouble *trouble)
{
    bool large = load->options->event_bytes > 2048;
    struct tt_io_options options = {
        .kind = apart ? TT_IO_EPOLL : tt_options_io_kind(load->options->io),
        .sockets_max = sockets,
        .recv_buffer_bytes = large   ? 32768
                             : apart ? 16384
                                     : 4096,
        .recv_buffers = large ? 256 : 2048,
        .files_max = 1,
    };
    struct tt_io *io = NULL;
    char why[256] = "";

    enum tt_status status = tt_io_create(&io, &options, why, sizeof why);
    if (status != TT_OK) {
        tt_trouble_add(trouble, "--io: cannot be set up: %s", why);
        return NULL;
    }
    return io;
}
