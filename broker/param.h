/* The table of params.def as data, and the reading of one value of an option. Used by the
 * files of config.h only. Thread: start-up. */
#ifndef TT_BROKER_PARAM_H
#define TT_BROKER_PARAM_H

#include "proto/base/bytes.h"
#include "shard/io/io.h"

enum tt_param_type {
    TT_PARAM_SIZE,
    TT_PARAM_TIME,
    TT_PARAM_AGE,
    TT_PARAM_COUNT,
    TT_PARAM_TEXT,
    TT_PARAM_LIST,
    TT_PARAM_PAIRS,
    TT_PARAM_CHOICE,
    TT_PARAM_FLAG,
    TT_PARAM_ADDRESS,
    TT_PARAM_ADDRESSES,
};
enum tt_param_how {
    TT_PARAM_START,
    TT_PARAM_RELOAD,
    TT_PARAM_NO_FILE,
    TT_PARAM_ARGUMENT,
};

enum tt_param_id {
#define TT_PARAM(field, section, key, type, unit, min, max, fallback, how, prose)                  \
    TT_PARAM_ID_##field,
#include "broker/params.def"
    TT_PARAMS
};

struct tt_param {
    const char *section; /* "" for none */
    const char *key;
    enum tt_param_type type;
    const char *unit; /* or the choices, separated by | */
    uint64_t min, max;
    const char *fallback;
    enum tt_param_how how;
    const char *prose;
};
extern const struct tt_param tt_params[TT_PARAMS];

#define TT_PARAM_NAME_MAX 64u
/* "log-sync-ms" and "TICKERTAPE_LOG_SYNC_MS". */
void tt_param_option(const struct tt_param *param, char name[TT_PARAM_NAME_MAX]);
void tt_param_variable(const struct tt_param *param, char name[TT_PARAM_NAME_MAX]);
bool tt_param_repeatable(const struct tt_param *param);

#define TT_PARAM_AGE_ALL UINT64_MAX
/* One value. Which member is set goes by the type: number (SIZE, TIME and AGE in ms, COUNT, CHOICE:
 * index, FLAG: 0 or 1) or address; of TEXT, LIST and PAIRS the text itself is the value. */
struct tt_param_value {
    uint64_t number;
    struct tt_address address;
};
/* TT_OK; TT_EINVAL with a clause in *why that says what is wrong and what is allowed. */
TT_MUST_USE enum tt_status tt_param_parse(const struct tt_param *param, const char *text,
                                          struct tt_param_value *value, struct tt_writer *why);
/* A number in the form in which it is given: 64KiB, 100ms, 3. */
void tt_param_write_number(const struct tt_param *param, uint64_t number, struct tt_writer *w);
/* "64KiB to 4MiB", "one of text, json", ...; nothing where everything goes. */
void tt_param_write_allowed(const struct tt_param *param, struct tt_writer *w);

#endif
