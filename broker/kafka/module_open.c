#include "broker/kafka/module_open.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "tickertape-kafka.so"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const int apart = 0;
#else
static const int apart = RTLD_DEEPBIND;
#endif

/* The directory of the running program, with its "/"; false: unknown. */
static bool program_directory(char directory[PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", directory, PATH_MAX - 1);
    if (length <= 0) return false;
    directory[length] = '\0';
    char *name = strrchr(directory, '/');
    if (name == NULL) return false;
    name[1] = '\0';
    return true;
}

static bool find(char path[PATH_MAX], char error[TT_KAFKA_ERROR_MAX])
{
    char directory[PATH_MAX];
    if (!program_directory(directory)) {
        snprintf(error, TT_KAFKA_ERROR_MAX, "cannot read where the program lies: no /proc?");
        return false;
    }
    static const char *const places[] = {"", "../lib/tickertape/"};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int length = snprintf(path, PATH_MAX, "%s%s" FILE_NAME, directory, places[i]);
        if (length < PATH_MAX && access(path, F_OK) == 0) return true;
    }
    snprintf(error, TT_KAFKA_ERROR_MAX,
             FILE_NAME
             " is neither in %.180s nor in %.180s../lib/tickertape: `make` builds it with "
             "the package librdkafka-dev, `make install` puts it there",
             directory, directory);
    return false;
}

const struct tt_kafka_module *tt_kafka_module_open(const char *path, char error[TT_KAFKA_ERROR_MAX])
{
    char found[PATH_MAX];
    if (path == NULL) {
        if (!find(found, error)) return NULL;
        path = found;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | apart);
    if (library == NULL) {
        const char *why = dlerror();
        bool missing = strstr(why, "librdkafka") != NULL;
        snprintf(error, TT_KAFKA_ERROR_MAX, "%.440s%s", why,
                 missing ? ": install the package librdkafka1" : "");
        return NULL;
    }
    const struct tt_kafka_module *(*table)(void) = NULL;
    void *symbol = dlsym(library, TT_KAFKA_SYMBOL);
    memcpy(&table, &symbol, sizeof(table)); /* ISO C has no cast from data to function */
    const struct tt_kafka_module *module = table != NULL ? table() : NULL;
    if (module != NULL && module->abi == TT_KAFKA_ABI) return module;
    snprintf(error, TT_KAFKA_ERROR_MAX,
             "%.200s does not belong to this tickertape (its table is of version %u, not %u): "
             "install both from one build",
             path, module != NULL ? module->abi : 0, TT_KAFKA_ABI);
    dlclose(library);
    return NULL;
}
