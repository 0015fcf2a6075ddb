#include "broker/process.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

uint32_t tt_process_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    return limit.rlim_cur > UINT32_MAX ? UINT32_MAX : (uint32_t)limit.rlim_cur;
}

void tt_process_return_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 10); /* fixed from now on, not raised by itself */
}

enum tt_status tt_process_signals(int *descriptor, char error[TT_PROCESS_ERROR_MAX])
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file too large for RLIMIT_FSIZE is a full disk (EFBIG) */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 ||
        (*descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0) {
        snprintf(error, TT_PROCESS_ERROR_MAX, "signals: %s", strerror(errno));
        return TT_EIO;
    }
    return TT_OK;
}

int tt_process_next_signal(int descriptor)
{
    struct signalfd_siginfo info;
    if (read(descriptor, &info, sizeof(info)) != (ssize_t)sizeof(info)) return 0;
    return (int)info.ssi_signo;
}

/* A small file as text; empty when it cannot be read. */
static void read_text(const char *path, char *text, size_t text_bytes)
{
    text[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    size_t size = fread(text, 1, text_bytes - 1, file);
    text[size] = '\0';
    fclose(file);
}

/* The cgroup's quota in whole processors, rounded up, or `count` where there is none. Of cgroup v2:
 * cpu.max is "max 100000" or "150000 100000". A group above may be tighter, so all are looked at.
 */
static uint32_t quota(uint32_t count)
{
    char groups[4096], path[4200], text[64];
    read_text("/proc/self/cgroup", groups, sizeof(groups));
    char *group = strstr(groups, "0::/");
    if (group == NULL) return count;
    group += 3;
    group[strcspn(group, "\n")] = '\0';
    for (;;) {
        unsigned long long allowed, period;
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", group);
        read_text(path, text, sizeof(text));
        if (sscanf(text, "%llu %llu", &allowed, &period) == 2 && period != 0) {
            unsigned long long whole = (allowed + period - 1) / period;
            if (whole < count) count = whole == 0 ? 1 : (uint32_t)whole;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) return count;
        *slash = '\0';
    }
}

void tt_process_processors(struct tt_processors *processors)
{
    processors->count = 0;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE && processors->count < 1024; cpu++)
            if (CPU_ISSET(cpu, &set)) processors->list[processors->count++] = (uint16_t)cpu;
    if (processors->count == 0) processors->list[processors->count++] = 0;
    processors->usable = quota(processors->count);
}

void tt_process_pin(uint16_t processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

void tt_process_pin_from(const struct tt_processors *processors, uint32_t first)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = first; i < processors->count; i++) CPU_SET(processors->list[i], &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static enum tt_status make_directories(const char *directory)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s", directory);
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return TT_EIO;
        *slash = '/';
    }
    return mkdir(path, 0750) == 0 || errno == EEXIST ? TT_OK : TT_EIO;
}

enum tt_status tt_process_listen(struct tt_io *io, struct tt_address *address,
                                 const struct tt_listen_options *options, tt_socket *listener)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    for (unsigned left = 40;; left--) {
        enum tt_status status = tt_io_listen(io, address, options, listener);
        if (status != TT_EBUSY || left == 0) return status;
        (void)nanosleep(&pause, NULL);
    }
}

enum tt_status tt_process_lock_directory(const char *directory, int *lock,
                                         char error[TT_PROCESS_ERROR_MAX])
{
    char path[256]; /* --data has at most 200 bytes */
    if (make_directories(directory) != TT_OK) {
        snprintf(error, TT_PROCESS_ERROR_MAX, "--data=%s: cannot be created: %s", directory,
                 strerror(errno));
        return TT_EIO;
    }
    snprintf(path, sizeof(path), "%s/LOCK", directory);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (file < 0) {
        snprintf(error, TT_PROCESS_ERROR_MAX, "--data=%s: cannot be used: %s: %s", directory, path,
                 strerror(errno));
        return errno == EACCES || errno == EROFS ? TT_EACCES : TT_EIO;
    }
    char text[32] = "";
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        ssize_t size = pread(file, text, sizeof(text) - 1, 0);
        text[size > 0 ? strspn(text, "0123456789") : 0] = '\0';
        snprintf(error, TT_PROCESS_ERROR_MAX, "--data=%s: locked by another broker (pid %s)",
                 directory, text[0] != '\0' ? text : "unknown");
        close(file);
        return TT_EBUSY;
    }
    int size = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(file, 0) != 0 || pwrite(file, text, (size_t)size, 0) != size) {
        snprintf(error, TT_PROCESS_ERROR_MAX, "--data=%s: cannot be written: %s: %s", directory,
                 path, strerror(errno));
        close(file);
        return TT_EIO;
    }
    *lock = file;
    return TT_OK;
}

uint64_t tt_process_resident_bytes(void)
{
    char text[128];
    unsigned long long size, resident;
    read_text("/proc/self/statm", text, sizeof(text));
    if (sscanf(text, "%llu %llu", &size, &resident) != 2) return UINT64_MAX;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t tt_process_free_bytes(const char *directory)
{
    struct statvfs fs;
    if (statvfs(directory, &fs) != 0) return UINT64_MAX;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}
