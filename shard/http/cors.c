#include "shard/http/cors.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"

struct entry {
    struct tt_bytes scheme; /* with its "://" */
    struct tt_bytes host;   /* with port; of a wildcard: with the dot in front, ".example.com" */
    bool wildcard;
};

struct tt_cors {
    uint32_t count;
    uint8_t *text;
    struct entry entries[];
};

static bool is_host_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '[' || c == ']' || c == ':';
}

/* Splits "https://host:port" behind its "://". */
static bool split(struct tt_bytes origin, struct entry *entry)
{
    static const char *const schemes[] = {"https://", "http://"};

    for (size_t i = 0; i < 2; i++) {
        struct tt_bytes scheme = tt_bytes_text(schemes[i]);
        if (origin.size <= scheme.size ||
            !tt_bytes_equal_nocase(tt_bytes(origin.data, scheme.size), scheme)) {
            continue;
        }
        entry->scheme = tt_bytes(origin.data, scheme.size);
        entry->host = tt_bytes_from(origin, scheme.size);
        entry->wildcard = false;
        return true;
    }
    return false;
}

static const char *fault(struct tt_bytes text, struct entry *entry)
{
    if (text.size > TT_ORIGIN_BYTES_MAX) return "is longer than 300 bytes";
    if (!split(text, entry)) return "does not begin with https:// or http://";
    if (entry->host.size > 2 && entry->host.data[0] == '*' && entry->host.data[1] == '.') {
        entry->wildcard = true;
        entry->host = tt_bytes_from(entry->host, 1);
    }
    for (size_t i = 0; i < entry->host.size; i++) {
        uint8_t c = entry->host.data[i];
        if (c == '/') return "has a path; an origin ends behind host and port";
        if (c == '*') return "has a '*' that does not stand for the first label of the host";
        if (!is_host_char(c)) return "has a character that no host or port has";
    }
    if (entry->host.data[entry->host.size - 1] == ':') return "has a colon and no port";
    return NULL;
}

enum tt_status tt_cors_check(struct tt_bytes text, struct tt_writer *why)
{
    struct entry entry;
    const char *what = fault(text, &entry);

    if (what == NULL) return TT_OK;
    if (why != NULL) {
        tt_write_format(why,
                        "%s; allowed are exact origins as https://app.example.com or "
                        "http://localhost:3000, and https://*.example.com",
                        what);
    }
    return TT_EINVAL;
}

enum tt_status tt_cors_create(struct tt_cors **result, const struct tt_bytes *entries,
                              uint32_t count)
{
    struct tt_cors *cors = malloc(sizeof(*cors) + count * sizeof(cors->entries[0]));
    size_t bytes = 1;

    for (uint32_t i = 0; i < count; i++) bytes += entries[i].size;
    uint8_t *text = malloc(bytes);
    if (cors == NULL || text == NULL) {
        free(cors);
        free(text);
        return TT_ENOMEM;
    }
    *cors = (struct tt_cors){.count = count, .text = text};
    for (uint32_t i = 0; i < count; i++) {
        TT_ASSERT(entries[i].size != 0);
        memcpy(text, entries[i].data, entries[i].size);
        const char *what = fault(tt_bytes(text, entries[i].size), &cors->entries[i]);
        TT_ASSERT(what == NULL);
        text += entries[i].size;
    }
    *result = cors;
    return TT_OK;
}

void tt_cors_destroy(struct tt_cors **cors)
{
    if (*cors == NULL) return;
    free((*cors)->text);
    free(*cors);
    *cors = NULL;
}

static bool matches(const struct entry *allowed, const struct entry *origin)
{
    if (!tt_bytes_equal_nocase(allowed->scheme, origin->scheme)) return false;
    if (!allowed->wildcard) return tt_bytes_equal_nocase(allowed->host, origin->host);
    /* At least one byte stands before ".example.com". */
    if (origin->host.size <= allowed->host.size) return false;
    size_t before = origin->host.size - allowed->host.size;
    return tt_bytes_equal_nocase(tt_bytes_from(origin->host, before), allowed->host);
}

bool tt_cors_allows(const struct tt_cors *cors, struct tt_bytes origin)
{
    struct entry entry;

    if (cors == NULL || !split(origin, &entry)) return false;
    /* What a browser never sends is not compared, and never repeated in an answer. */
    for (size_t i = 0; i < entry.host.size; i++) {
        if (!is_host_char(entry.host.data[i])) return false;
    }
    for (uint32_t i = 0; i < cors->count; i++) {
        if (matches(&cors->entries[i], &entry)) return true;
    }
    return false;
}

bool tt_cors_same_host(struct tt_bytes origin, struct tt_bytes host)
{
    struct entry entry;

    return host.size != 0 && split(origin, &entry) && tt_bytes_equal_nocase(entry.host, host);
}
