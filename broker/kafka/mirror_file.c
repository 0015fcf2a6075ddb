#include "broker/kafka/mirror_file.h"

#include <stdio.h>

#define FILE_BYTES_MAX 1024u
#define PATH_BYTES     (TT_RECOVERY_DIRECTORY_MAX + 16u)
#define KEY_DIGITS     32u
/* Changed, every id would be another one. */
static const struct tt_hash_key history_key = {0x7469636b65727461, 0x7065206d6972726f};

/* ---- files ---- */

static enum tt_status path_of(const char *directory, const char *name, char path[PATH_BYTES])
{
    int size = snprintf(path, PATH_BYTES, "%s/%s", directory, name);
    return size >= 0 && size < (int)PATH_BYTES ? TT_OK : TT_EINVAL;
}

/* The whole file; TT_EINVAL: it is longer than any of ours. */
static enum tt_status read_file(const struct tt_files *f, const char *directory, const char *name,
                                char text[FILE_BYTES_MAX], struct tt_bytes *bytes)
{
    char path[PATH_BYTES];
    int32_t file;
    size_t size = 0;
    enum tt_status status = path_of(directory, name, path);
    if (status != TT_OK) return status;
    status = f->open(f->context, path, TT_FILES_READ, &file);
    if (status != TT_OK) return status;
    status = f->read(f->context, file, 0, text, FILE_BYTES_MAX, &size);
    f->close(f->context, file);
    if (status != TT_OK) return status;
    *bytes = tt_bytes(text, size);
    return size < FILE_BYTES_MAX ? TT_OK : TT_EINVAL;
}

static enum tt_status write_file(const struct tt_files *f, const char *directory, const char *name,
                                 const char *text, size_t size)
{
    char path[PATH_BYTES], next[PATH_BYTES], beside[16];
    int32_t file;
    snprintf(beside, sizeof beside, "%s.new", name);
    if (path_of(directory, name, path) != TT_OK || path_of(directory, beside, next) != TT_OK)
        return TT_EINVAL;
    enum tt_status status = f->open(f->context, next, TT_FILES_CREATE, &file);
    if (status != TT_OK) return status;
    status = f->write(f->context, file, 0, text, size);
    if (status == TT_OK) status = f->sync(f->context, file);
    f->close(f->context, file);
    if (status == TT_OK) status = f->rename(f->context, next, path);
    return status == TT_OK ? f->sync_directory(f->context, directory) : status;
}

/* ---- MIRROR ---- */

/* Takes "<name> <value>\n" from the front. */
static bool take_line(struct tt_bytes *text, const char *name, struct tt_bytes *value)
{
    struct tt_bytes key = tt_bytes_text(name);
    const uint8_t *end = text->size != 0 ? memchr(text->data, '\n', text->size) : NULL;
    if (end == NULL) return false;
    size_t size = (size_t)(end - text->data);
    if (size <= key.size + 1 || memcmp(text->data, key.data, key.size) != 0 ||
        text->data[key.size] != ' ')
        return false;
    *value = tt_bytes(text->data + key.size + 1, size - key.size - 1);
    *text = tt_bytes_from(*text, size + 1);
    return true;
}

static bool is_plain(struct tt_bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] > '~') return false;
    return text.size != 0;
}

static bool copy_text(struct tt_bytes value, char *out, size_t max)
{
    if (value.size > max || !is_plain(value)) return false;
    memcpy(out, value.data, value.size);
    out[value.size] = '\0';
    return true;
}

enum tt_status tt_mirror_read(const struct tt_files *files, const char *directory,
                              struct tt_mirror *mirror)
{
    char buffer[FILE_BYTES_MAX];
    struct tt_bytes text, version, cluster, topic, number;
    uint64_t generation;
    enum tt_status status = read_file(files, directory, "MIRROR", buffer, &text);
    if (status != TT_OK) return status;
    if (!take_line(&text, "tickertape-mirror", &version) || !tt_bytes_is(version, "1") ||
        !take_line(&text, "cluster", &cluster) || !take_line(&text, "topic", &topic) ||
        !take_line(&text, "generation", &number) || text.size != 0 ||
        tt_bytes_to_u64(number, UINT32_MAX, &generation) != TT_OK)
        return TT_EINVAL;
    if (!copy_text(cluster, mirror->cluster, TT_MIRROR_CLUSTER_MAX) ||
        !copy_text(topic, mirror->topic, TT_MIRROR_TOPIC_MAX))
        return TT_EINVAL;
    mirror->generation = (uint32_t)generation;
    return TT_OK;
}

enum tt_status tt_mirror_write(const struct tt_files *files, const char *directory,
                               const struct tt_mirror *m)
{
    char text[FILE_BYTES_MAX];
    if (!is_plain(tt_bytes_text(m->cluster)) || !is_plain(tt_bytes_text(m->topic)))
        return TT_EINVAL;
    int size = snprintf(text, sizeof text,
                        "tickertape-mirror 1\ncluster %s\ntopic %s\n"
                        "generation %u\n",
                        m->cluster, m->topic, m->generation);
    return size > 0 && size < (int)sizeof text
               ? write_file(files, directory, "MIRROR", text, (size_t)size)
               : TT_EINVAL;
}

struct tt_history tt_mirror_history(const struct tt_mirror *m)
{
    char text[TT_MIRROR_CLUSTER_MAX + TT_MIRROR_TOPIC_MAX + 16];
    int size = snprintf(text, sizeof text, "%s\n%s\n%u", m->cluster, m->topic, m->generation);
    return tt_history_from_bits(tt_hash(&history_key, tt_bytes(text, (size_t)size)));
}

/* ---- KEY ---- */

static bool from_hexadecimal(const uint8_t *digits, uint64_t *value)
{
    *value = 0;
    for (unsigned i = 0; i < KEY_DIGITS / 2; i++) {
        uint8_t c = digits[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f')) return false;
        *value = *value << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    return true;
}

enum tt_status tt_mirror_key_read(const struct tt_files *files, const char *directory,
                                  struct tt_hash_key *key)
{
    char buffer[FILE_BYTES_MAX];
    struct tt_bytes text;
    enum tt_status status = read_file(files, directory, "KEY", buffer, &text);
    if (status != TT_OK) return status;
    if (text.size != KEY_DIGITS + 1 || text.data[KEY_DIGITS] != '\n' ||
        !from_hexadecimal(text.data, &key->k0) ||
        !from_hexadecimal(text.data + KEY_DIGITS / 2, &key->k1))
        return TT_EINVAL;
    return TT_OK;
}

enum tt_status tt_mirror_key_write(const struct tt_files *files, const char *directory,
                                   const struct tt_hash_key *key)
{
    char text[KEY_DIGITS + 2];
    snprintf(text, sizeof text, "%016llx%016llx\n", (unsigned long long)key->k0,
             (unsigned long long)key->k1);
    return write_file(files, directory, "KEY", text, KEY_DIGITS + 1);
}
