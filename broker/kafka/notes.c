#include "broker/kafka/notes.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#include "proto/base/hash.h"

#define LINES 64u /* between two writes; more are counted */
#define KNOWN 64u /* texts that were written; beyond it the oldest is forgotten */

struct line {
    int level;
    char text[TT_DIAG_MESSAGE_MAX];
};

struct tt_kafka_notes {
    pthread_mutex_t lock; /* of the lines */
    struct line lines[LINES];
    uint32_t count;
    uint64_t lost;
    struct line taken[LINES]; /* the writer's copy */
    uint64_t known[KNOWN];
    uint32_t known_count, known_next;
};

enum tt_status tt_kafka_notes_create(struct tt_kafka_notes **notes)
{
    struct tt_kafka_notes *n = calloc(1, sizeof *n);
    if (n == NULL) return TT_ENOMEM;
    pthread_mutex_init(&n->lock, NULL);
    *notes = n;
    return TT_OK;
}

void tt_kafka_notes_destroy(struct tt_kafka_notes **notes)
{
    if (*notes == NULL) return;
    pthread_mutex_destroy(&(*notes)->lock);
    free(*notes);
    *notes = NULL;
}

void tt_kafka_notes_put(void *context, int level, const char *text)
{
    struct tt_kafka_notes *n = context;
    pthread_mutex_lock(&n->lock);
    if (n->count == LINES) {
        n->lost++;
    } else {
        struct line *line = &n->lines[n->count++];
        line->level = level;
        snprintf(line->text, sizeof line->text, "%s", text);
    }
    pthread_mutex_unlock(&n->lock);
}

/* FACILITY|rdkafka#consumer-1| [thrd:app]: what happened */
static const char *said(const char *text)
{
    const char *thread = strstr(text, "[thrd:");
    const char *end = thread == NULL ? NULL : strstr(thread, "]: ");
    return end == NULL ? text : end + 3;
}

static uint64_t fingerprint(const char *text)
{
    static const struct tt_hash_key key = {1, 2}; /* no table is built on it */
    char bare[TT_DIAG_MESSAGE_MAX];
    size_t size = 0;
    for (; *text != '\0' && size < sizeof bare; text++)
        if (*text < '0' || *text > '9') bare[size++] = *text;
    return tt_hash(&key, tt_bytes(bare, size));
}

static bool is_known(struct tt_kafka_notes *n, const char *text)
{
    uint64_t print = fingerprint(text);
    for (uint32_t i = 0; i < n->known_count; i++)
        if (n->known[i] == print) return true;
    n->known[n->known_next] = print;
    n->known_next = (n->known_next + 1) % KNOWN;
    if (n->known_count < KNOWN) n->known_count++;
    return false;
}

static enum tt_diag_level level_of(int syslog_level)
{
    if (syslog_level <= LOG_ERR) return TT_DIAG_ERROR;
    if (syslog_level == LOG_WARNING) return TT_DIAG_WARN;
    return syslog_level < LOG_DEBUG ? TT_DIAG_INFO : TT_DIAG_DEBUG;
}

void tt_kafka_notes_write(struct tt_kafka_notes *n, struct tt_diag *diag)
{
    pthread_mutex_lock(&n->lock);
    uint32_t count = n->count;
    uint64_t lost = n->lost;
    memcpy(n->taken, n->lines, count * sizeof *n->lines);
    n->count = 0;
    n->lost = 0;
    pthread_mutex_unlock(&n->lock);
    for (uint32_t i = 0; i < count; i++) {
        const char *text = said(n->taken[i].text);
        if (!is_known(n, text))
            tt_diag_write(diag, level_of(n->taken[i].level), NULL, "kafka_library", "%s", text);
    }
    if (lost != 0)
        tt_diag_write(diag, TT_DIAG_WARN, NULL, "kafka_library",
                      "%llu more lines of the library were left out", (unsigned long long)lost);
}

void tt_kafka_notes_forget(struct tt_kafka_notes *notes)
{
    notes->known_count = notes->known_next = 0;
}
