/* The plan: what --test-fault says, and which operation it strikes. */
#include "shard/io/faults.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/assert.h"

#define NS_PER_MS    UINT64_C(1000000)
#define DELAY_MS_MAX 60000u
#define ALL_KINDS    ((1u << TT_FAULT_KINDS) - 1)
#define DELETED      " (deleted)" /* behind the name of an unlinked file, in /proc */

struct rule {
    char *spec;
    char *text;                     /* a copy that path and switch_file point into */
    const char *path, *switch_file; /* null: any, always */
    uint32_t kinds;
    uint64_t first, times;
    struct tt_fault fault;
    _Atomic uint64_t matched, struck;
};

struct tt_faults {
    struct rule rules[TT_FAULT_RULES_MAX];
    unsigned count;
};

enum tt_status tt_faults_create(struct tt_faults **faults)
{
    *faults = calloc(1, sizeof **faults);
    return *faults == NULL ? TT_ENOMEM : TT_OK;
}

void tt_faults_destroy(struct tt_faults **faults)
{
    if (*faults == NULL) return;
    for (unsigned i = 0; i < (*faults)->count; i++) {
        free((*faults)->rules[i].spec);
        free((*faults)->rules[i].text);
    }
    free(*faults);
    *faults = NULL;
}

/* ---- the text of a rule ---- */

static bool take_number(const char *value, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end;
    if (!isdigit((unsigned char)value[0])) return false;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno != 0 || *end != '\0' || n < min || n > max) return false;
    *number = n;
    return true;
}

static bool take_error(const char *value, struct tt_fault *fault)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS},
                  {"EACCES", EACCES}, {"EMFILE", EMFILE}, {"EINTR", EINTR}};
    if (strcmp(value, "short") == 0) {
        fault->shorten = true;
        return true;
    }
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (strcmp(value, errors[i].name) != 0) continue;
        fault->error = errors[i].error;
        return true;
    }
    return false;
}

static bool take_kinds(char *value, uint32_t *kinds)
{
    static const char *const names[TT_FAULT_KINDS] = {
        [TT_FAULT_OPEN] = "open",
        [TT_FAULT_CLOSE] = "close",
        [TT_FAULT_READ] = "read",
        [TT_FAULT_PREALLOCATE] = "preallocate",
        [TT_FAULT_WRITE] = "write",
        [TT_FAULT_SYNC] = "sync",
        [TT_FAULT_TRUNCATE] = "truncate",
        [TT_FAULT_RENAME] = "rename",
        [TT_FAULT_UNLINK] = "unlink",
        [TT_FAULT_LIST] = "list",
        [TT_FAULT_MAKE_DIRECTORY] = "mkdir",
    };
    *kinds = 0;
    char *rest = NULL;
    for (char *word = strtok_r(value, "|", &rest); word != NULL;
         word = strtok_r(NULL, "|", &rest)) {
        unsigned kind = 0;
        while (kind < TT_FAULT_KINDS && strcmp(word, names[kind]) != 0) kind++;
        if (kind == TT_FAULT_KINDS) return false;
        *kinds |= 1u << kind;
    }
    return *kinds != 0;
}

/* Null: taken; else what is allowed. */
static const char *take_pair(struct rule *r, const char *key, char *value)
{
    uint64_t number = 0;
    if (strcmp(key, "error") == 0)
        return take_error(value, &r->fault)
                   ? NULL
                   : "allowed: EIO, ENOSPC, EDQUOT, EROFS, EACCES, EMFILE, EINTR, short";
    if (strcmp(key, "delay_ms") == 0) {
        if (!take_number(value, 1, DELAY_MS_MAX, &number)) return "allowed: 1 to 60000";
        r->fault.delay_ns = number * NS_PER_MS;
        return NULL;
    }
    if (strcmp(key, "kind") == 0)
        return take_kinds(value, &r->kinds)
                   ? NULL
                   : "allowed: open, close, preallocate, read, write, sync, truncate, rename, "
                     "unlink, list, mkdir, joined by |";
    if (strcmp(key, "path") == 0) {
        r->path = value;
        return value[0] != '\0' ? NULL : "it is empty";
    }
    if (strcmp(key, "while") == 0) {
        r->switch_file = value;
        return value[0] != '\0' ? NULL : "it is empty";
    }
    if (strcmp(key, "n") == 0)
        return take_number(value, 1, UINT64_MAX, &r->first) ? NULL : "allowed: 1 and more";
    if (strcmp(key, "times") == 0) {
        r->times = UINT64_MAX;
        if (strcmp(value, "forever") == 0) return NULL;
        return take_number(value, 1, UINT64_MAX, &r->times) ? NULL
                                                            : "allowed: 1 and more, or forever";
    }
    return "no such key; there are: error, delay_ms, kind, path, n, times, while";
}

static bool parse(struct rule *r, char *why, size_t why_bytes)
{
    char *rest = NULL;
    for (char *pair = strtok_r(r->text, ";", &rest); pair != NULL;
         pair = strtok_r(NULL, ";", &rest)) {
        char *equals = strchr(pair, '=');
        if (equals == NULL) {
            snprintf(why, why_bytes, "\"%s\" is not key=value", pair);
            return false;
        }
        *equals = '\0';
        const char *wrong = take_pair(r, pair, equals + 1);
        if (wrong == NULL) continue;
        snprintf(why, why_bytes, "%s: %s", pair, wrong);
        return false;
    }
    if ((r->fault.error != 0) + r->fault.shorten + (r->fault.delay_ns != 0) == 1) return true;
    snprintf(why, why_bytes, "either error= or delay_ms= says what happens");
    return false;
}

enum tt_status tt_faults_add(struct tt_faults *faults, const char *spec, char *why,
                             size_t why_bytes)
{
    if (faults->count == TT_FAULT_RULES_MAX) {
        snprintf(why, why_bytes, "there are %u already", TT_FAULT_RULES_MAX);
        return TT_EINVAL;
    }
    struct rule *r = &faults->rules[faults->count];
    *r = (struct rule){
        .spec = strdup(spec), .text = strdup(spec), .kinds = ALL_KINDS, .first = 1, .times = 1};
    bool memory = r->spec != NULL && r->text != NULL;
    if (!memory || !parse(r, why, why_bytes)) {
        free(r->spec);
        free(r->text);
        if (!memory) snprintf(why, why_bytes, "no memory");
        return memory ? TT_EINVAL : TT_ENOMEM;
    }
    faults->count++;
    return TT_OK;
}

/* ---- operations ---- */

static bool strikes(struct rule *r, enum tt_fault_kind kind, const char *path)
{
    if ((r->kinds >> kind & 1) == 0) return false;
    if (r->path != NULL && fnmatch(r->path, path, 0) != 0) return false;
    /* Relaxed: these numbers order nothing else. */
    uint64_t n = atomic_fetch_add_explicit(&r->matched, 1, memory_order_relaxed) + 1;
    if (n < r->first) return false;
    if (r->switch_file != NULL && access(r->switch_file, F_OK) != 0) return false;
    uint64_t struck = atomic_load_explicit(&r->struck, memory_order_relaxed);
    do {
        if (struck >= r->times) return false;
    } while (!atomic_compare_exchange_weak_explicit(&r->struck, &struck, struck + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

struct tt_fault tt_faults_next(struct tt_faults *faults, enum tt_fault_kind kind, const char *path)
{
    struct tt_fault fault = {0};
    bool struck = false;
    /* Every rule counts, the first that strikes says how. */
    for (unsigned i = 0; i < faults->count; i++) {
        if (!strikes(&faults->rules[i], kind, path) || struck) continue;
        fault = faults->rules[i].fault;
        struck = true;
    }
    return fault;
}

struct tt_fault tt_faults_next_of_file(struct tt_faults *faults, enum tt_fault_kind kind,
                                       tt_file file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size > 0 ? size : 0] = '\0';
    size_t deleted = strlen(DELETED);
    if (size > (ssize_t)deleted && strcmp(path + size - deleted, DELETED) == 0)
        path[(size_t)size - deleted] = '\0';
    return tt_faults_next(faults, kind, path);
}

size_t tt_fault_short_bytes(size_t size)
{
    TT_ASSERT(size > 0);
    return size / 3 + 1 < size ? size / 3 + 1 : size; /* in the middle of whatever it is */
}

unsigned tt_faults_count(const struct tt_faults *faults)
{
    return faults->count;
}

struct tt_fault_figures tt_faults_figures(const struct tt_faults *faults, unsigned index)
{
    TT_ASSERT(index < faults->count);
    const struct rule *r = &faults->rules[index];
    return (struct tt_fault_figures){
        .spec = r->spec,
        .matched = atomic_load_explicit(&r->matched, memory_order_relaxed),
        .struck = atomic_load_explicit(&r->struck, memory_order_relaxed),
    };
}
