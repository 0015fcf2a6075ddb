/* The broker's options: from the command line, the environment and an INI file, in this order of
 * precedence (params.def is the one table of them).
 *
 * Every value of every source is checked, also one that a stronger source overrides: an unknown
 * name, a malformed value or one out of range is an error that names source, key, value and what is
 * allowed. A configuration is immutable once it is loaded. Thread: start-up (loading), any
 * (reading). Memory: one allocation tree, owned by the configuration. */
#ifndef TT_BROKER_CONFIG_H
#define TT_BROKER_CONFIG_H

#include "proto/base/limits.h"
#include "shard/io/io.h"

#define TT_VERSION "0.1.0"

enum tt_log_sync { TT_LOG_SYNC_ALWAYS = 0, TT_LOG_SYNC_INTERVAL, TT_LOG_SYNC_NEVER };
enum tt_log_keep_last { TT_LOG_KEEP_LAST_YES = 0, TT_LOG_KEEP_LAST_NO };
enum tt_http_overload { TT_HTTP_OVERLOAD_STREAM = 0, TT_HTTP_OVERLOAD_503 };
enum tt_diag_format { TT_DIAG_FORMAT_TEXT = 0, TT_DIAG_FORMAT_JSON };
enum tt_config_yes { TT_CONFIG_YES = 0, TT_CONFIG_NO };
enum tt_config_help { TT_CONFIG_HELP_NO = 0, TT_CONFIG_HELP_TEXT, TT_CONFIG_HELP_MARKDOWN };

struct tt_config_list {
    char **items;
    uint32_t count;
};
struct tt_config_addresses {
    struct tt_address *items;
    uint32_t count;
};

/* One line of a section [topic NAME] of the file; broker/kafka/topics.h knows what it means. */
struct tt_config_topic_key {
    char *topic; /* a topic's name, or a regular expression that begins with ^ */
    char *key, *value;
    char *where; /* for errors: file, line, section, key and value */
};
struct tt_config_topic_keys {
    struct tt_config_topic_key *items;
    uint32_t count;
};

/* The C type of each type of option. TIME is in milliseconds, CHOICE the index of the choice. */
#define TT_CONFIG_C_SIZE      uint64_t
#define TT_CONFIG_C_TIME      uint64_t
#define TT_CONFIG_C_AGE       uint64_t /* UINT64_MAX: all */
#define TT_CONFIG_C_COUNT     uint64_t
#define TT_CONFIG_C_TEXT      const char *
#define TT_CONFIG_C_LIST      struct tt_config_list
#define TT_CONFIG_C_PAIRS     struct tt_config_list
#define TT_CONFIG_C_CHOICE    uint32_t
#define TT_CONFIG_C_FLAG      bool
#define TT_CONFIG_C_ADDRESS   struct tt_address
#define TT_CONFIG_C_ADDRESSES struct tt_config_addresses

struct tt_config {
#define TT_PARAM(field, section, key, type, unit, min, max, fallback, how, prose)                  \
    TT_CONFIG_C_##type field;
#include "broker/params.def"
    struct tt_config_topic_keys topic_keys;
    struct tt_config_values *values_; /* the texts that they were made of */
};

#define TT_CONFIG_ERROR_MAX 1024u /* bytes of an error with its final zero */

/* Reads all three sources. environment: NULL-terminated "NAME=value" texts. On TT_EINVAL *error
 * holds one line that says what is wrong. With --help or --version nothing else is checked.
 * TT_OK; TT_EINVAL; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_config_load(struct tt_config **config, int arguments_count,
                                          char *const *arguments, char *const *environment,
                                          char error[TT_CONFIG_ERROR_MAX]);
void tt_config_destroy(struct tt_config **config);

/* Writes, separated by ", ", the names of the options whose values differ: those that SIGHUP can
 * change if `reloadable`, else those that need a restart. Returns their number. */
unsigned tt_config_differences(const struct tt_config *a, const struct tt_config *b,
                               bool reloadable, struct tt_writer *names);

/* The table for people, and OPTIONS.md. */
void tt_config_help(struct tt_writer *w);
void tt_config_help_markdown(struct tt_writer *w);
#define TT_CONFIG_HELP_BYTES_MAX (64u << 10)

#endif
