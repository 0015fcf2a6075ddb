#include "broker/kafka/mapping_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/hash.h"

#define TITLE     "tickertape-mapping 1\n"
#define TEXT_SIZE (sizeof(TITLE) - 1 + 17)

uint64_t tt_kafka_mapping_hash(const struct tt_kafka_topic_settings *s)
{
    static const struct tt_hash_key key = {0x7461706d616b6674u, 1}; /* stands in files */
    uint8_t memory[4096];
    struct tt_writer w = tt_writer(memory, sizeof memory);
    tt_write_format(&w, "%d %u %d", (int)s->value, s->channel.parts_count, (int)s->headers);
    for (unsigned i = 0; i < s->channel.parts_count; i++) {
        const struct tt_kafka_part *part = &s->channel.parts[i];
        tt_write_format(&w, "\n%d %.*s", (int)part->kind, (int)part->size,
                        tt_kafka_part_text(&s->channel, part));
    }
    tt_write_format(&w, "\n%s\n%s\n%s\n%s\n", s->type, s->type_header, s->conflate_header,
                    s->op_header);
    const char *name = s->listed;
    for (uint32_t i = 0; s->headers == TT_KAFKA_HEADERS_LISTED && i < s->listed_count; i++) {
        tt_write_format(&w, "%s\n", name);
        name += strlen(name) + 1;
    }
    uint64_t hash = tt_hash(&key, tt_writer_bytes(&w));
    return hash == 0 ? 1 : hash;
}

static bool path_of(const char *directory, const char *name, char path[TT_RECOVERY_DIRECTORY_MAX])
{
    return snprintf(path, TT_RECOVERY_DIRECTORY_MAX, "%s/%s", directory, name) <
           (int)TT_RECOVERY_DIRECTORY_MAX;
}

uint64_t tt_kafka_mapping_read(const struct tt_files *files, const char *directory)
{
    char path[TT_RECOVERY_DIRECTORY_MAX], text[TEXT_SIZE + 1] = "";
    int32_t file;
    size_t size = 0;
    if (!path_of(directory, "MAPPING", path) ||
        files->open(files->context, path, TT_FILES_READ, &file) != TT_OK)
        return 0;
    enum tt_status status = files->read(files->context, file, 0, text, TEXT_SIZE, &size);
    files->close(files->context, file);
    if (status != TT_OK || size != TEXT_SIZE || strncmp(text, TITLE, sizeof(TITLE) - 1) != 0)
        return 0;
    return strtoull(text + sizeof(TITLE) - 1, NULL, 16);
}

enum tt_status tt_kafka_mapping_write(const struct tt_files *files, const char *directory,
                                      uint64_t hash)
{
    char path[TT_RECOVERY_DIRECTORY_MAX], fresh[TT_RECOVERY_DIRECTORY_MAX], text[TEXT_SIZE + 1];
    int32_t file;
    if (!path_of(directory, "MAPPING", path) || !path_of(directory, "MAPPING.new", fresh))
        return TT_EINVAL;
    snprintf(text, sizeof text, TITLE "%016llx\n", (unsigned long long)hash);
    enum tt_status status = files->open(files->context, fresh, TT_FILES_CREATE, &file);
    if (status != TT_OK) return status;
    status = files->write(files->context, file, 0, text, TEXT_SIZE);
    if (status == TT_OK) status = files->sync(files->context, file);
    files->close(files->context, file);
    if (status == TT_OK) status = files->rename(files->context, fresh, path);
    if (status == TT_OK) status = files->sync_directory(files->context, directory);
    return status;
}
