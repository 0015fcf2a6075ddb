#include "broker/kafka/module/sink.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REMEMBERED     64u
#define REPEAT_AFTER_S 60
#define TEXT_MAX       1024u
/* Shorter ones would blacken innocent words; and protect nothing. */
#define SECRET_MIN 4u

struct sink {
    pthread_mutex_t lock;
    uint32_t references;
    void (*log)(void *context, int level, const char *text);
    void *context;
    char **secrets;
    uint32_t secrets_count;
    struct {
        uint64_t hash;
        int64_t second;
    } said[REMEMBERED]; /* a ring */
    uint32_t said_next;
};

struct sink *sink_new(void (*log)(void *context, int level, const char *text), void *context)
{
    struct sink *sink = calloc(1, sizeof(*sink));
    if (sink == NULL) return NULL;
    pthread_mutex_init(&sink->lock, NULL);
    sink->references = 1;
    sink->log = log;
    sink->context = context;
    return sink;
}

struct sink *sink_keep(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    sink->references++;
    pthread_mutex_unlock(&sink->lock);
    return sink;
}

void sink_drop(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    bool last = --sink->references == 0;
    pthread_mutex_unlock(&sink->lock);
    if (!last) return;
    for (uint32_t i = 0; i < sink->secrets_count; i++) free(sink->secrets[i]);
    free(sink->secrets);
    pthread_mutex_destroy(&sink->lock);
    free(sink);
}

bool sink_add_secret(struct sink *sink, const char *value)
{
    if (strlen(value) < SECRET_MIN) return true;
    char **list = realloc(sink->secrets, (sink->secrets_count + 1) * sizeof(*list));
    if (list == NULL) return false;
    sink->secrets = list;
    char *copy = strdup(value);
    if (copy == NULL) return false;
    sink->secrets[sink->secrets_count++] = copy;
    return true;
}

void sink_scrub(const struct sink *sink, char *text)
{
    for (uint32_t i = 0; i < sink->secrets_count; i++) {
        size_t length = strlen(sink->secrets[i]);
        for (char *at = text; (at = strstr(at, sink->secrets[i])) != NULL; at += length)
            memset(at, '*', length);
    }
}

/* FNV-1a of what does not change when librdkafka says the same again: without the thread in front,
 * and without how long it took and how often it happened at the end. */
static uint64_t essence(const char *text)
{
    const char *end = strstr(text, " (after ");
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *c = text; *c != '\0' && c != end; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return hash;
}

static bool repeated(struct sink *sink, uint64_t hash)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    for (uint32_t i = 0; i < REMEMBERED; i++)
        if (sink->said[i].hash == hash && sink->said[i].second + REPEAT_AFTER_S > now.tv_sec)
            return true;
    sink->said[sink->said_next].hash = hash;
    sink->said[sink->said_next].second = now.tv_sec;
    sink->said_next = (sink->said_next + 1) % REMEMBERED;
    return false;
}

void sink_log(struct sink *sink, int level, const char *facility, const char *text)
{
    /* A property of producers given to a consumer: as intended, properties go to all handles. */
    if (facility != NULL && strcmp(facility, "CONFWARN") == 0 &&
        strstr(text, "will be ignored by this") != NULL)
        return;
    if (strncmp(text, "[thrd:", 6) == 0) {
        const char *end = strstr(text, "]: ");
        if (end != NULL) text = end + 3;
    }
    char line[TEXT_MAX];
    snprintf(line, sizeof(line), "%s", text);
    sink_scrub(sink, line);
    pthread_mutex_lock(&sink->lock);
    /* Debugging (`debug=...`) is wanted whole. */
    bool quiet = sink->log == NULL || (level < 7 && repeated(sink, essence(line)));
    /* What librdkafka calls fatal is so for one handle, which is renewed. */
    if (!quiet) sink->log(sink->context, level < 3 ? 3 : level, line);
    pthread_mutex_unlock(&sink->lock);
}

void sink_close(struct sink *sink)
{
    pthread_mutex_lock(&sink->lock);
    sink->log = NULL;
    pthread_mutex_unlock(&sink->lock);
}
