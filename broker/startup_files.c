#include "broker/startup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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
    case EDQUOT: return TT_ENOSPC;
    case EMFILE:
    case ENFILE: return TT_ENOFILE;
    default: return TT_EIO;
    }
}

static enum tt_status result_of(int result)
{
    return result == 0 ? TT_OK : translate(errno);
}

static enum tt_status files_list(void *context, const char *directory,
                                 enum tt_status (*entry)(void *argument, const char *name),
                                 void *argument)
{
    (void)context;
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
    (void)context;
    return result_of(mkdir(path, 0750));
}

static enum tt_status files_open(void *context, const char *path, enum tt_files_open how,
                                 int32_t *file)
{
    (void)context;
    int flags = O_CLOEXEC;
    switch (how) {
    case TT_FILES_READ: flags |= O_RDONLY; break;
    case TT_FILES_WRITE: flags |= O_RDWR; break;
    case TT_FILES_CREATE: flags |= O_RDWR | O_CREAT | O_TRUNC; break;
    }
    do *file = open(path, flags, 0640);
    while (*file < 0 && errno == EINTR);
    return *file >= 0 ? TT_OK : translate(errno);
}

static void files_close(void *context, int32_t file)
{
    (void)context;
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
    (void)context;
    *done = 0;
    while (*done < size) {
        ssize_t n = pread(file, (char *)data + *done, size - *done, (off_t)(offset + *done));
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
    (void)context;
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(file, (const char *)data + done, size - done, (off_t)(offset + done));
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
    (void)context;
    return result_of(ftruncate(file, (off_t)size));
}

static enum tt_status files_sync(void *context, int32_t file)
{
    (void)context;
    return result_of(fsync(file));
}

static enum tt_status files_sync_directory(void *context, const char *path)
{
    int32_t file;
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    (void)context;
    file = open(path, flags);
    if (file < 0) return translate(errno);
    enum tt_status status = result_of(fsync(file));
    close(file);
    return status;
}

static enum tt_status files_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return result_of(rename(from, to));
}

static enum tt_status files_unlink(void *context, const char *path)
{
    (void)context;
    return result_of(unlink(path));
}

const struct tt_files tt_startup_files = {
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
