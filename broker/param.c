#include "broker/param.h"

#include <ctype.h>
#include <stdio.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"

const struct tt_param tt_params[TT_PARAMS] = {
#define TT_PARAM(field, section, key, type, unit, min, max, fallback, how, prose)                  \
    {section, key, TT_PARAM_##type, unit, min, max, fallback, TT_PARAM_##how, prose},
#include "broker/params.def"
};

struct suffix {
    const char *text;
    uint64_t factor;
};
static const struct suffix sizes[] = {
    {"GiB", 1u << 30}, {"MiB", 1u << 20}, {"KiB", 1u << 10}, {"", 1}};
static const struct suffix times[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1}};
static const struct suffix counts[] = {{"", 1}};

static const struct suffix *suffixes(enum tt_param_type type, unsigned *count)
{
    if (type == TT_PARAM_SIZE) {
        *count = sizeof(sizes) / sizeof(sizes[0]);
        return sizes;
    }
    if (type == TT_PARAM_TIME || type == TT_PARAM_AGE) {
        *count = sizeof(times) / sizeof(times[0]);
        return times;
    }
    *count = 1;
    return counts;
}

void tt_param_option(const struct tt_param *param, char name[TT_PARAM_NAME_MAX])
{
    snprintf(name, TT_PARAM_NAME_MAX, "%s%s%s", param->section,
             param->section[0] != '\0' ? "-" : "", param->key);
}

void tt_param_variable(const struct tt_param *param, char name[TT_PARAM_NAME_MAX])
{
    char option[TT_PARAM_NAME_MAX];
    tt_param_option(param, option);
    snprintf(name, TT_PARAM_NAME_MAX, "TICKERTAPE_%.40s", option);
    for (char *c = name; *c != '\0'; c++) *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

bool tt_param_repeatable(const struct tt_param *param)
{
    return param->type == TT_PARAM_LIST || param->type == TT_PARAM_PAIRS ||
           param->type == TT_PARAM_ADDRESSES;
}

void tt_param_write_number(const struct tt_param *param, uint64_t number, struct tt_writer *w)
{
    unsigned count;
    const struct suffix *s = suffixes(param->type, &count);
    for (unsigned i = 0; i < count; i++) {
        /* The largest unit that gives a whole number; 0 has none. */
        if (number == 0 || number % s[i].factor != 0) continue;
        tt_write_u64(w, number / s[i].factor);
        tt_write_text(w, s[i].text);
        return;
    }
    tt_write_u64(w, number);
}

static void write_choices(const char *choices, struct tt_writer *w)
{
    for (const char *c = choices; *c != '\0'; c++)
        if (*c == '|')
            tt_write_text(w, ", ");
        else
            tt_write_char(w, *c);
}

void tt_param_write_allowed(const struct tt_param *param, struct tt_writer *w)
{
    switch (param->type) {
    case TT_PARAM_SIZE:
    case TT_PARAM_TIME:
    case TT_PARAM_COUNT:
        tt_param_write_number(param, param->min, w);
        tt_write_text(w, " to ");
        tt_param_write_number(param, param->max, w);
        break;
    case TT_PARAM_AGE:
        tt_write_text(w, "0 to ");
        tt_param_write_number(param, param->max, w);
        tt_write_text(w, ", all");
        break;
    case TT_PARAM_CHOICE: write_choices(param->unit, w); break;
    case TT_PARAM_FLAG: tt_write_text(w, "yes, no"); break;
    case TT_PARAM_ADDRESS:
    case TT_PARAM_ADDRESSES: tt_write_text(w, "HOST:PORT, [IPV6]:PORT, unix:PATH"); break;
    case TT_PARAM_PAIRS: tt_write_text(w, param->unit); break;
    case TT_PARAM_TEXT:
    case TT_PARAM_LIST:
        tt_write_format(w, "%u to %u bytes", (unsigned)param->min, (unsigned)param->max);
        break;
    }
}

static enum tt_status refuse(const struct tt_param *param, const char *what, struct tt_writer *why)
{
    tt_write_text(why, what);
    tt_write_text(why, "; allowed: ");
    tt_param_write_allowed(param, why);
    return TT_EINVAL;
}

static enum tt_status parse_number(const struct tt_param *param, const char *text, uint64_t *number,
                                   struct tt_writer *why)
{
    size_t digits = strspn(text, "0123456789");
    unsigned count;
    const struct suffix *s = suffixes(param->type, &count);
    unsigned unit = 0;
    while (unit < count && strcmp(text + digits, s[unit].text) != 0) unit++;
    if (digits == 0 || unit == count) {
        if (param->type == TT_PARAM_SIZE)
            return refuse(param, "is not a size (a number, with KiB, MiB or GiB behind it)", why);
        if (param->type == TT_PARAM_TIME || param->type == TT_PARAM_AGE)
            return refuse(param, "is not a time (a number, with ms, s, m or h behind it)", why);
        return refuse(param, "is not a number", why);
    }
    uint64_t value;
    if (tt_bytes_to_u64(tt_bytes(text, digits), param->max / s[unit].factor, &value) != TT_OK ||
        value * s[unit].factor < param->min)
        return refuse(param, "is out of range", why);
    *number = value * s[unit].factor;
    return TT_OK;
}

static enum tt_status parse_choice(const struct tt_param *param, const char *text, uint64_t *number,
                                   struct tt_writer *why)
{
    size_t size = strlen(text);
    uint64_t index = 0;
    for (const char *c = param->unit;; index++) {
        const char *end = strchrnul(c, '|');
        if ((size_t)(end - c) == size && size != 0 && memcmp(c, text, size) == 0) {
            *number = index;
            return TT_OK;
        }
        if (*end == '\0') return refuse(param, "is not a choice", why);
        c = end + 1;
    }
}

static enum tt_status parse_flag(const struct tt_param *param, const char *text, uint64_t *number,
                                 struct tt_writer *why)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *number = strcmp(text, yes[i]) == 0;
            return TT_OK;
        }
    }
    return refuse(param, "is not yes or no", why);
}

static enum tt_status parse_address(const struct tt_param *param, const char *text,
                                    struct tt_address *address, struct tt_writer *why)
{
    if (strncmp(text, "tls:", 4) == 0)
        return refuse(param, "asks for TLS, which this version does not have", why);
    if (tt_address_parse(tt_bytes_text(text), address) != TT_OK)
        return refuse(param, "is not an address (names are not looked up)", why);
    return TT_OK;
}

static enum tt_status parse_pair(const struct tt_param *param, const char *text,
                                 struct tt_writer *why)
{
    if (strcspn(text, "=") == 0 || strchr(text, '=') == NULL)
        return refuse(param, "is not a name and a value", why);
    if (strlen(text) > param->max) return refuse(param, "is too long", why);
    return TT_OK;
}

enum tt_status tt_param_parse(const struct tt_param *param, const char *text,
                              struct tt_param_value *value, struct tt_writer *why)
{
    switch (param->type) {
    case TT_PARAM_SIZE:
    case TT_PARAM_TIME:
    case TT_PARAM_COUNT: return parse_number(param, text, &value->number, why);
    case TT_PARAM_AGE:
        if (strcmp(text, "all") != 0) return parse_number(param, text, &value->number, why);
        value->number = TT_PARAM_AGE_ALL;
        return TT_OK;
    case TT_PARAM_PAIRS: return parse_pair(param, text, why);
    case TT_PARAM_CHOICE: return parse_choice(param, text, &value->number, why);
    case TT_PARAM_FLAG: return parse_flag(param, text, &value->number, why);
    case TT_PARAM_ADDRESS:
    case TT_PARAM_ADDRESSES: return parse_address(param, text, &value->address, why);
    case TT_PARAM_TEXT:
    case TT_PARAM_LIST:
        if (strlen(text) < param->min || strlen(text) > param->max)
            return refuse(param, "is too short or too long", why);
        return TT_OK;
    }
    TT_UNREACHABLE();
}
