#include "broker/startup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shard/io/faults.h"

static enum tt_status translate(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return TT_ENOENT;
    case EEXIST: return TT_EEXIST;
    case EACCES:
    case EPERM:
    case EROFS: return TT_EACCES;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return TT_ENOSPC;
    case EMFILE:
    case ENFILE: return TT_ENOFILE;
    default: return TT_EIO;
    }
}

/* What --test-fault does to an operation: false: it fails, with errno as the plan says. What was
 * interrupted is not interrupted again when it is tried again, which is the next thing that happens
 * (there is one thread at start-up). */
static bool passes(void *context, enum tt_fault_kind kind, const char *path, int32_t file,
                   struct tt_fault *fault)
{
    static bool interrupted;
    struct tt_faults *faults = context;
    *fault = (struct tt_fault){0};
    if (faults == NULL) return true;
    if (interrupted) {
        interrupted = false;
        return true;
    }
    *fault = path != NULL ? tt_faults_next(faults, kind, path)
                          : tt_faults_next_of_file(faults, kind, file);
    const struct timespec delay = {.tv_sec = (time_t)(fault->delay_ns / 1000000000),
                                   .tv_nsec = (long)(fault->delay_ns % 1000000000)};
    if (fault->delay_ns != 0) (void)nanosleep(&delay, NULL);
    errno = fault->error;
    interrupted = fault->error == EINTR;
    return fault->error == 0;
}

/* Those that cannot be interrupted half done are tried again after EINTR. */
static bool fails(void *context, enum tt_fault_kind kind, const char *path, int32_t file)
{
    struct tt_fault fault;
    while (!passes(context, kind, path, file, &fault))
        if (fault.error != EINTR) return true;
    return false;
}

static enum tt_status result_of(int result)
{
    return result == 0 ? TT_OK : translate(errno);
}

static enum tt_status files_list(void *context, const char *directory,
                                 enum tt_status (*entry)(void *argument, const char *name),
                                 void *argument)
{
    if (fails(context, TT_FAULT_LIST, directory, -1)) return translate(errno);
    DIR *d = opendir(directory);
    if (d == NULL) return translate(errno);
    enum tt_status status = TT_OK;
    struct dirent *e;
    errno = 0;
    while (status == TT_OK && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            status = entry(argument, e->d_name);
        errno = 0; /* only readdir's counts below */
    }
    if (status == TT_OK && errno != 0) status = translate(errno);
    closedir(d);
    return status;
}

static enum tt_status files_make_directory(void *context, const char *path)
{
    if (fails(context, TT_FAULT_MAKE_DIRECTORY, path, -1)) return translate(errno);
    return result_of(mkdir(path, 0750));
}

static enum tt_status files_open(void *context, const char *path, enum tt_files_open how,
                                 int32_t *file)
{
    int flags = O_CLOEXEC;
    struct tt_fault fault;
    switch (how) {
    case TT_FILES_READ: flags |= O_RDONLY; break;
    case TT_FILES_WRITE: flags |= O_RDWR; break;
    case TT_FILES_CREATE: flags |= O_RDWR | O_CREAT | O_TRUNC; break;
    }
    do *file = passes(context, TT_FAULT_OPEN, path, -1, &fault) ? open(path, flags, 0640) : -1;
    while (*file < 0 && errno == EINTR);
    return *file >= 0 ? TT_OK : translate(errno);
}

static void files_close(void *context, int32_t file)
{
    (void)fails(context, TT_FAULT_CLOSE, NULL, file); /* it is closed all the same */
    close(file);
}

static enum tt_status files_size(void *context, int32_t file, uint64_t *bytes)
{
    (void)context;
    struct stat s;
    if (fstat(file, &s) != 0) return translate(errno);
    *bytes = (uint64_t)s.st_size;
    return TT_OK;
}

static enum tt_status files_read(void *context, int32_t file, uint64_t offset, void *data,
                                 size_t size, size_t *done)
{
    *done = 0;
    while (*done < size) {
        struct tt_fault fault;
        size_t part = size - *done;
        ssize_t n = -1;
        if (passes(context, TT_FAULT_READ, NULL, file, &fault)) {
            if (fault.shorten) part = tt_fault_short_bytes(part);
            n = pread(file, (char *)data + *done, part, (off_t)(offset + *done));
        }
        if (n == 0) return TT_OK;
        if (n > 0)
            *done += (size_t)n;
        else if (errno != EINTR)
            return translate(errno);
    }
    return TT_OK;
}

static enum tt_status files_write(void *context, int32_t file, uint64_t offset, const void *data,
                                  size_t size)
{
    for (size_t done = 0; done < size;) {
        struct tt_fault fault;
        size_t part = size - done;
        ssize_t n = -1;
        if (passes(context, TT_FAULT_WRITE, NULL, file, &fault)) {
            if (fault.shorten) part = tt_fault_short_bytes(part);
            n = pwrite(file, (const char *)data + done, part, (off_t)(offset + done));
        }
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            return TT_EIO;
        else if (errno != EINTR)
            return translate(errno);
    }
    return TT_OK;
}

static enum tt_status files_truncate(void *context, int32_t file, uint64_t size)
{
    if (fails(context, TT_FAULT_TRUNCATE, NULL, file)) return translate(errno);
    int result;
    do result = ftruncate(file, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result_of(result);
}

static enum tt_status files_sync(void *context, int32_t file)
{
    if (fails(context, TT_FAULT_SYNC, NULL, file)) return translate(errno);
    int result;
    do result = fsync(file);
    while (result != 0 && errno == EINTR);
    return result_of(result);
}

static enum tt_status files_sync_directory(void *context, const char *path)
{
    int32_t file;
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    do file = open(path, flags);
    while (file < 0 && errno == EINTR);
    if (file < 0) return translate(errno);
    enum tt_status status = files_sync(context, file);
    close(file);
    return status;
}

static enum tt_status files_rename(void *context, const char *from, const char *to)
{
    if (fails(context, TT_FAULT_RENAME, to, -1)) return translate(errno);
    return result_of(rename(from, to));
}

static enum tt_status files_unlink(void *context, const char *path)
{
    if (fails(context, TT_FAULT_UNLINK, path, -1)) return translate(errno);
    return result_of(unlink(path));
}

struct tt_files tt_startup_files(struct tt_faults *faults)
{
    return (struct tt_files){
        .context = faults,
        .list = files_list,
        .make_directory = files_make_directory,
        .open = files_open,
        .close = files_close,
        .size = files_size,
        .read = files_read,
        .write = files_write,
        .truncate = files_truncate,
        .sync = files_sync,
        .sync_directory = files_sync_directory,
        .rename = files_rename,
        .unlink = files_unlink,
    };
}
