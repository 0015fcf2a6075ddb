/* What config.c and config_file.c share while a configuration is loaded. Thread: start-up. */
#ifndef TT_BROKER_CONFIG_INTERNAL_H
#define TT_BROKER_CONFIG_INTERNAL_H

#include "broker/config.h"
#include "broker/param.h"

/* Later ones are stronger. */
enum tt_config_source {
    TT_CONFIG_FALLBACK,
    TT_CONFIG_FILE,
    TT_CONFIG_ENVIRONMENT,
    TT_CONFIG_ARGUMENTS,
};

/* The texts that one option was given. */
struct tt_config_texts {
    char **items;
    uint32_t count;
    enum tt_config_source source;   /* the strongest that gave one */
    enum tt_config_source *sources; /* PAIRS: of each item */
};

struct tt_config_values {
    struct tt_config_texts of[TT_PARAMS];
    struct tt_config_topic_keys topic_keys;
};

struct tt_config_loading {
    struct tt_config_values *values;
    struct tt_writer error;
    enum tt_status status;
};

/* The first error counts: "<where>: <what>". */
void tt_config_fail(struct tt_config_loading *l, const char *where, const char *what);
void tt_config_fail_memory(struct tt_config_loading *l);
/* The same for a name that is no option's, with the one that was perhaps meant. */
void tt_config_fail_unknown(struct tt_config_loading *l, const char *where, const char *option);

const struct tt_param *tt_config_find(const char *option); /* "log-sync-ms"; null: there is none */
/* Checks a value and takes it unless a stronger source was there before. where: names the source,
 * key and value for an error; of PAIRS source and key alone, because values may be secret. */
void tt_config_set(struct tt_config_loading *l, const struct tt_param *param,
                   enum tt_config_source source, const char *where, const char *text);

/* Reads the INI file of --config. */
void tt_config_load_file(struct tt_config_loading *l, const char *path);

#endif
