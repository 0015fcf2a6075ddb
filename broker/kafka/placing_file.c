#include "broker/kafka/placing_file.h"

#include <stdio.h>

#define TITLE     "tickertape-placing 1"
#define TEXT_MAX  96u
#define PATH_SIZE (TT_RECOVERY_DIRECTORY_MAX + 16u)

static bool path_of(const char *directory, const char *name, char path[PATH_SIZE])
{
    return snprintf(path, PATH_SIZE, "%s/%s", directory, name) < (int)PATH_SIZE;
}

static int write_text(char text[TEXT_MAX], const struct tt_kafka_placing *p)
{
    return snprintf(text, TEXT_MAX, TITLE "\n%s %u %u %u\n", p->history.text,
                    (unsigned)p->partitioner, p->partitions, p->anywhere ? 1u : 0u);
}

bool tt_kafka_placing_read(const struct tt_files *files, const char *directory,
                           struct tt_kafka_placing *placing)
{
    char path[PATH_SIZE], text[TEXT_MAX] = "", again[TEXT_MAX], history[8] = "";
    unsigned partitioner, anywhere;
    int32_t file;
    size_t size = 0;
    if (!path_of(directory, "PLACING", path) ||
        files->open(files->context, path, TT_FILES_READ, &file) != TT_OK)
        return false;
    enum tt_status status = files->read(files->context, file, 0, text, TEXT_MAX - 1, &size);
    files->close(files->context, file);
    *placing = (struct tt_kafka_placing){0};
    if (status != TT_OK || sscanf(text, TITLE "\n%6s %u %u %u", history, &partitioner,
                                  &placing->partitions, &anywhere) != 4)
        return false;
    if (tt_history_parse(tt_bytes_text(history), &placing->history) != TT_OK) return false;
    placing->partitioner = (enum tt_partitioner)partitioner;
    placing->anywhere = anywhere != 0;
    /* One state has one text: anything else was damaged. */
    return write_text(again, placing) == (int)size && memcmp(again, text, size) == 0;
}

enum tt_status tt_kafka_placing_write(const struct tt_files *files, const char *directory,
                                      const struct tt_kafka_placing *placing)
{
    char path[PATH_SIZE], fresh[PATH_SIZE], text[TEXT_MAX];
    int32_t file;
    if (!path_of(directory, "PLACING", path) || !path_of(directory, "PLACING.new", fresh))
        return TT_EINVAL;
    int size = write_text(text, placing);
    enum tt_status status = files->open(files->context, fresh, TT_FILES_CREATE, &file);
    if (status != TT_OK) return status;
    status = files->write(files->context, file, 0, text, (size_t)size);
    if (status == TT_OK) status = files->sync(files->context, file);
    files->close(files->context, file);
    if (status == TT_OK) status = files->rename(files->context, fresh, path);
    return status == TT_OK ? files->sync_directory(files->context, directory) : status;
}

struct tt_kafka_placing tt_kafka_placing_next(const struct tt_kafka_placing *before,
                                              const struct tt_kafka_placing *now, bool empty)
{
    struct tt_kafka_placing next = *now;
    if (empty) return next;
    next.anywhere = before == NULL || before->anywhere ||
                    !tt_history_equal(before->history, now->history) ||
                    before->partitioner != now->partitioner ||
                    (before->partitions != 0 && before->partitions != now->partitions);
    return next;
}
