/* What both back ends ask of the operating system: clocks, limits, the making of sockets. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"

#define NS_PER_S UINT64_C(1000000000)

enum tt_status tt_io_status_of_errno(int error)
{
    switch (error) {
    case 0: return TT_OK;
    case EPIPE:
    case ECONNRESET:
    case ECONNREFUSED:
    case ECONNABORTED:
    case ENOTCONN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
    case ESHUTDOWN: return TT_ECLOSED;
    case ETIMEDOUT: return TT_ETIMEDOUT;
    case ECANCELED: return TT_ECANCELED;
    case EMFILE:
    case ENFILE: return TT_ENOFILE;
    case ENOMEM:
    case ENOBUFS: return TT_ENOMEM;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return TT_ENOSPC;
    case ENOENT: return TT_ENOENT;
    case EEXIST: return TT_EEXIST;
    case EACCES:
    case EPERM:
    case EROFS:
    case EBADF: /* the file was not opened for this */ return TT_EACCES;
    case EADDRINUSE:
    case EBUSY:
    case ETXTBSY: return TT_EBUSY;
    case EINVAL:
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case EADDRNOTAVAIL:
    case ELOOP: return TT_EINVAL;
    case EOPNOTSUPP:
    case ENOSYS:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT: return TT_EUNSUPPORTED;
    default: return TT_EIO;
    }
}

uint32_t tt_io_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    }
    return limit.rlim_cur > INT32_MAX ? (uint32_t)INT32_MAX : (uint32_t)limit.rlim_cur;
}

void tt_io_yield_to_files(void)
{
    (void)sched_yield();
}

uint64_t tt_io_clock_ns(struct tt_io *io)
{
    (void)io;
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

int64_t tt_io_clock_wall_us(struct tt_io *io)
{
    (void)io;
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t tt_io_system_random(struct tt_io *io)
{
    (void)io;
    uint64_t value = 0;
    /* Eight bytes are never short once the pool is ready (getrandom(2)). */
    ssize_t n;
    do {
        n = getrandom(&value, sizeof value, 0);
    } while (n < 0 && errno == EINTR);
    TT_ASSERT(n == (ssize_t)sizeof value);
    return value;
}

int tt_io_system_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int tt_io_system_open_flags(uint32_t flags)
{
    int os = O_CLOEXEC;
    if ((flags & TT_OPEN_WRITE) != 0) {
        os |= (flags & TT_OPEN_READ) != 0 ? O_RDWR : O_WRONLY;
    } else {
        os |= O_RDONLY;
    }
    if ((flags & TT_OPEN_CREATE) != 0) os |= O_CREAT;
    if ((flags & TT_OPEN_EXCLUSIVE) != 0) os |= O_EXCL;
    if ((flags & TT_OPEN_DIRECTORY) != 0) os |= O_DIRECTORY;
    if ((flags & TT_OPEN_TRUNCATE) != 0) os |= O_TRUNC;
    return os;
}

/* ---- sockets ---- */

static int domain_of(const struct tt_address *a)
{
    if (a->family == TT_ADDRESS_IP4) return AF_INET;
    if (a->family == TT_ADDRESS_IP6) return AF_INET6;
    return AF_UNIX;
}

static void set_int(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/* An option that the system refuses is a missed tuning, not a reason to refuse the socket. */
static void set_options(int fd, int domain, const struct tt_listen_options *o)
{
    if (o == NULL) return;
    if (o->send_buffer_bytes != 0) {
        set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)o->send_buffer_bytes);
    }
    if (o->receive_buffer_bytes != 0) {
        set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)o->receive_buffer_bytes);
    }
    if (domain == AF_UNIX) return;
    if (o->keepalive) {
        set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
        set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 20);
        set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    }
    if (o->no_delay) set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (o->notsent_lowat_bytes != 0) {
        set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)o->notsent_lowat_bytes);
    }
    if (o->user_timeout_ms != 0) {
        set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)o->user_timeout_ms);
    }
}

/* Removes the file of a unix socket that nobody listens on any more (its broker was killed). */
static void remove_stale(const struct sockaddr_storage *sa, socklen_t size, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) return;
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) return;
    bool refused = connect(probe, (const struct sockaddr *)sa, size) != 0 && errno == ECONNREFUSED;
    (void)close(probe);
    if (refused) (void)unlink(path);
}

enum tt_status tt_io_system_listen(struct tt_address *address,
                                   const struct tt_listen_options *options, int *result)
{
    struct sockaddr_storage sa;
    socklen_t size = tt_io_sockaddr_of(address, &sa);
    int domain = domain_of(address);
    int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return tt_io_status_of_errno(errno);
    if (domain == AF_UNIX) {
        remove_stale(&sa, size, address->path);
    } else {
        set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    }
    /* [::] means IPv6 alone, so that 0.0.0.0 can stand beside it. */
    if (domain == AF_INET6) set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_options(fd, domain, options);
    if (bind(fd, (struct sockaddr *)&sa, size) != 0) goto fail;
    if (listen(fd, options->backlog > INT_MAX ? INT_MAX : (int)options->backlog) != 0) goto fail;
    if (domain != AF_UNIX) {
        size = sizeof sa;
        if (getsockname(fd, (struct sockaddr *)&sa, &size) != 0) goto fail;
        tt_io_address_of(&sa, size, address);
    }
    *result = fd;
    return TT_OK;
fail:;
    enum tt_status status = tt_io_status_of_errno(errno);
    (void)close(fd);
    return status;
}

enum tt_status tt_io_system_connect(const struct tt_address *local, const struct tt_address *remote,
                                    const struct tt_listen_options *options, int *result,
                                    bool *connected)
{
    struct sockaddr_storage sa;
    socklen_t size;
    int domain = domain_of(remote);
    int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return tt_io_status_of_errno(errno);
    set_options(fd, domain, options);
    if (local != NULL) {
        size = tt_io_sockaddr_of(local, &sa);
        /* The port is chosen at connect(), when it need only differ for this remote. */
        if (domain != AF_UNIX && local->port == 0) {
            set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        }
        if (bind(fd, (struct sockaddr *)&sa, size) != 0) goto fail;
    }
    size = tt_io_sockaddr_of(remote, &sa);
    *connected = connect(fd, (struct sockaddr *)&sa, size) == 0;
    if (!*connected && errno != EINPROGRESS) goto fail;
    *result = fd;
    return TT_OK;
fail:;
    int error = errno;
    (void)close(fd);
    if (error == EADDRNOTAVAIL) return TT_EBUSY; /* every port of this source is taken */
    if (error == EAGAIN) return TT_ECLOSED;      /* a unix listener's backlog is full */
    return tt_io_status_of_errno(error);
}

enum tt_status tt_io_system_connect_result(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    return tt_io_status_of_errno(error);
}

struct tt_handoff tt_io_system_handoff(struct tt_io *io, int32_t reference)
{
    (void)io;
    struct tt_handoff handoff = {.reference = reference};
    struct sockaddr_storage sa;
    socklen_t size = sizeof sa;
    if (getpeername(reference, (struct sockaddr *)&sa, &size) == 0) {
        tt_io_address_of(&sa, size, &handoff.peer);
    }
    return handoff;
}

void tt_io_system_refuse(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer)
{
    (void)io;
    TT_ASSERT(handoff->reference >= 0);
    if (answer.size != 0) {
        ssize_t n = send(handoff->reference, answer.data, answer.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        /* What was asked is taken off the socket first: closing over unread bytes would reset the
         * connection and might take the answer with it. */
        char unread[4096];
        if (n > 0) {
            (void)shutdown(handoff->reference, SHUT_WR);
            (void)!recv(handoff->reference, unread, sizeof unread, MSG_DONTWAIT);
        }
    }
    (void)close(handoff->reference);
    handoff->reference = -1;
}

unsigned tt_io_system_refuse_waiting(int listener, int *reserve, struct tt_bytes answer,
                                     unsigned max)
{
    unsigned refused = 0;
    int flags = fcntl(listener, F_GETFL);
    (void)fcntl(listener, F_SETFL, flags | O_NONBLOCK);
    while (refused < max) {
        if (*reserve >= 0) (void)close(*reserve);
        *reserve = -1;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            struct tt_handoff handoff = {.reference = fd};
            tt_io_system_refuse(NULL, &handoff, answer);
            refused++;
        }
        *reserve = tt_io_system_reserve();
        if (fd < 0) break;
    }
    (void)fcntl(listener, F_SETFL, flags);
    return refused;
}

/* ---- completions made by a back end ---- */

enum tt_status tt_io_made_init(struct tt_io_made_ring *ring, uint32_t at_least)
{
    uint32_t capacity = 64;
    while (capacity < at_least) capacity <<= 1;
    *ring = (struct tt_io_made_ring){.capacity = capacity};
    ring->entries = calloc(capacity, sizeof *ring->entries);
    return ring->entries == NULL ? TT_ENOMEM : TT_OK;
}

void tt_io_made_deinit(struct tt_io_made_ring *ring)
{
    free(ring->entries);
    ring->entries = NULL;
}

void tt_io_made_push(struct tt_io_made_ring *ring, const struct tt_io_made *entry)
{
    TT_ASSERT(ring->tail - ring->head < ring->capacity);
    ring->entries[ring->tail++ & (ring->capacity - 1)] = *entry;
}
