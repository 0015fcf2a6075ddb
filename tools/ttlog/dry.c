/* Would the broker open this log? The recovery itself answers, with writes that do nothing. */
#include <stdio.h>

#include "tools/ttlog/check.h"

static const struct tt_files *real; /* whose functions read */

static enum tt_status dry_open(void *context, const char *path, enum tt_files_open how,
                               int32_t *file)
{
    if (how == TT_FILES_CREATE) path = "/dev/null";
    return real->open(context, path, TT_FILES_READ, file);
}

static enum tt_status dry_make_directory(void *context, const char *path)
{
    (void)context;
    (void)path;
    return TT_EEXIST;
}

static enum tt_status dry_write(void *context, int32_t file, uint64_t offset, const void *data,
                                size_t size)
{
    (void)context;
    (void)file;
    (void)offset;
    (void)data;
    (void)size;
    return TT_OK;
}

static enum tt_status dry_truncate(void *context, int32_t file, uint64_t size)
{
    (void)context;
    (void)file;
    (void)size;
    return TT_OK;
}

static enum tt_status dry_sync(void *context, int32_t file)
{
    (void)context;
    (void)file;
    return TT_OK;
}

static enum tt_status dry_path(void *context, const char *path)
{
    (void)context;
    (void)path;
    return TT_OK;
}

static enum tt_status dry_rename(void *context, const char *from, const char *to)
{
    (void)context;
    (void)from;
    (void)to;
    return TT_OK;
}

/* It opens any mirror, but it may have to empty a partition for that. */
static enum tt_status look_for_dropped(const struct tt_recovered *recovered,
                                       char error[TT_RECOVERY_ERROR_BYTES])
{
    for (uint32_t i = 0; i < recovered->partitions_count; i++) {
        if (!recovered->partitions[i].dropped) continue;
        memcpy(error, recovered->partitions[i].note, TT_RECOVERY_ERROR_BYTES);
        return TT_ECORRUPT;
    }
    return TT_OK;
}

enum tt_status tt_check_recovery(const struct tt_listing *view, char error[TT_RECOVERY_ERROR_BYTES])
{
    struct tt_files files = *view->io;
    real = view->io;
    files.open = dry_open;
    files.make_directory = dry_make_directory;
    files.write = dry_write;
    files.truncate = dry_truncate;
    files.sync = dry_sync;
    files.sync_directory = dry_path;
    files.rename = dry_rename;
    files.unlink = dry_path;
    const struct tt_recovery_options options = {.files = &files,
                                                .directory = view->directory,
                                                .partitions = view->meta.partitions,
                                                .segment_bytes = 1u << 20,
                                                .ceilings = true,
                                                .mirror = view->is_mirror,
                                                .history = view->meta.history,
                                                .hash_key = view->meta.hash_key};
    struct tt_recovered *recovered = NULL;
    enum tt_status status = tt_recovery_open(&recovered, &options, error);
    if (status == TT_OK) {
        status = look_for_dropped(recovered, error);
        tt_recovery_destroy(&recovered);
    }
    if (status != TT_OK && error[0] == '\0')
        snprintf(error, TT_RECOVERY_ERROR_BYTES, "%s", tt_status_text(status));
    return status;
}
