#include "proto/wire/subscribe.h"

#include "proto/base/assert.h"
#include "proto/wire/excerpt.h"
#include "proto/wire/json.h"
#include "proto/wire/percent.h"

enum kind {
    KIND_CHANNELS,
    KIND_TYPES,
    KIND_CURSOR,
    KIND_FROM,
    KIND_LAST,
    KIND_POLICY,
    KIND_MAX_RATE,
    KIND_FORMAT,
    KIND_EVENT,
    KIND_HEARTBEAT,
    KIND_MAX_LAG,
    KIND_PING,
    KIND_PAD,
    KIND_LABEL,
    KIND_IGNORED,
    KIND_LATER,
};

struct parameter {
    const char *name;
    enum kind kind;
    const char *allowed;
};

static const struct parameter parameters[] = {
#define TT_SUBSCRIBE_PARAMETER(name, kind, allowed, meaning) {name, KIND_##kind, allowed},
#include "proto/wire/subscribe.def"
#undef TT_SUBSCRIBE_PARAMETER
};
#define PARAMETERS (sizeof parameters / sizeof *parameters)

/* One subscription while it is read. */
struct parse {
    const struct tt_subscribe_memory *memory;
    struct tt_writer text; /* decoded values, one behind the other */
    struct tt_subscribe *subscribe;
    struct tt_subscribe_error *error;
    size_t cursor_rank; /* precedence of the cursor taken so far, lower goes before */
    bool seen[PARAMETERS];
    const char *policy; /* as given; null: not */
};

/* ---- errors ---- */

/* `<name> "<value>": <clause>` */
static enum tt_status fail(struct parse *p, const char *code, const char *name,
                           struct tt_bytes value, struct tt_bytes clause, const char *allowed)
{
    struct tt_writer w = tt_writer(p->error->message, sizeof p->error->message - 1);
    p->error->code = code;
    tt_write_text(&w, name);
    tt_write_text(&w, " \"");
    tt_write_excerpt(&w, value);
    tt_write_text(&w, "\": ");
    tt_write_bytes(&w, clause);
    if (allowed != NULL) {
        tt_write_text(&w, "; allowed: ");
        tt_write_text(&w, allowed);
    }
    p->error->message[w.size] = 0;
    return TT_EINVAL;
}

static enum tt_status not_allowed(struct parse *p, const struct parameter *parameter,
                                  struct tt_bytes value)
{
    return fail(p, "invalid_parameter", parameter->name, value, TT_BYTES_LITERAL("is not allowed"),
                parameter->allowed);
}

/* ---- what this version does not have ---- */

/* Parameters of the surface that are refused here; to have one, give it another kind. */
static bool is_later(const struct parameter *parameter)
{
    return parameter->kind == KIND_LATER;
}

/* ---- single values, decoded ---- */

static enum tt_status add_channel(struct parse *p, const struct parameter *parameter,
                                  struct tt_bytes text)
{
    struct tt_subscribe *s = p->subscribe;
    s->channels_given = true;
    if (s->patterns_count == p->memory->patterns_max) {
        char clause[80];
        struct tt_writer w = tt_writer(clause, sizeof clause);
        tt_write_text(&w, "is one channel more than the ");
        tt_write_u64(&w, p->memory->patterns_max);
        tt_write_text(&w, " that a subscription may have");
        return fail(p, "too_many_channels", parameter->name, text, tt_writer_bytes(&w), NULL);
    }
    char why[256];
    struct tt_writer w = tt_writer(why, sizeof why);
    if (tt_pattern_parse(text, &s->patterns[s->patterns_count], &w) != TT_OK)
        return fail(p, "invalid_parameter", parameter->name, text, tt_writer_bytes(&w), NULL);
    s->patterns_count++;
    return TT_OK;
}

static enum tt_status add_type(struct parse *p, const struct parameter *parameter,
                               struct tt_bytes text)
{
    struct tt_subscribe *s = p->subscribe;
    char why[256];
    struct tt_writer w = tt_writer(why, sizeof why);
    if (tt_type_check(text, &w) != TT_OK)
        return fail(p, "invalid_parameter", parameter->name, text, tt_writer_bytes(&w), NULL);
    if (s->types_count == TT_SUBSCRIBE_TYPES_MAX)
        return fail(p, "invalid_parameter", parameter->name, text,
                    TT_BYTES_LITERAL("is one type more than the 32 that are allowed"), NULL);
    s->types[s->types_count++] = text;
    return TT_OK;
}

static enum tt_status add_one(struct parse *p, const struct parameter *parameter,
                              struct tt_bytes text)
{
    return parameter->kind == KIND_CHANNELS ? add_channel(p, parameter, text)
                                            : add_type(p, parameter, text);
}

/* No channel and no type holds a comma, so the decoded text can be split at it. */
static enum tt_status add_list(struct parse *p, const struct parameter *parameter,
                               struct tt_bytes text)
{
    for (;;) {
        const uint8_t *comma = text.size == 0 ? NULL : memchr(text.data, ',', text.size);
        size_t bytes = comma == NULL ? text.size : (size_t)(comma - text.data);
        enum tt_status status = add_one(p, parameter, tt_bytes(text.data, bytes));
        if (status != TT_OK || comma == NULL) return status;
        text = tt_bytes_from(text, bytes + 1);
    }
}

static bool is_label(struct tt_bytes text)
{
    if (text.size == 0 || text.size > TT_SUBSCRIBE_LABEL_BYTES_MAX || !tt_bytes_is_utf8(text))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < ' ' || c == 0x7F) return false;
        if (c == 0xC2 && text.data[i + 1] < 0xA0) return false; /* U+0080 to U+009F */
    }
    return true;
}

/* A word, or a unix time in milliseconds. */
static bool set_from(struct tt_subscribe *s, struct tt_bytes value)
{
    static const char *const words[] = {
        [TT_FROM_LIVE] = "live", [TT_FROM_EARLIEST] = "earliest", [TT_FROM_SNAPSHOT] = "snapshot"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (!tt_bytes_is(value, words[i])) continue;
        s->from = (enum tt_subscribe_from)i;
        return true;
    }
    uint64_t ms;
    if (tt_bytes_to_u64(value, TT_SUBSCRIBE_FROM_MS_MAX, &ms) != TT_OK) return false;
    s->from = TT_FROM_TIME;
    s->from_ms = (int64_t)ms;
    return true;
}

static bool set_policy(struct parse *p, struct tt_bytes value)
{
    static const char *const words[] = {[TT_POLICY_REPLAY] = "replay",
                                        [TT_POLICY_CONFLATE] = "conflate",
                                        [TT_POLICY_DISCONNECT] = "disconnect"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (words[i] == NULL || !tt_bytes_is(value, words[i])) continue;
        p->policy = words[i];
        p->subscribe->policy = (enum tt_subscribe_policy)i;
        return true;
    }
    return false;
}

/* Digits as a number, at most nine; more digits than there are count as zeros behind them when
 * `fraction`. */
static bool read_digits(struct tt_bytes digits, bool fraction, uint64_t *number)
{
    if (digits.size > 9) return false;
    *number = 0;
    for (size_t i = 0; i < (fraction ? 9 : digits.size); i++) {
        uint8_t c = i < digits.size ? digits.data[i] : '0';
        if (c < '0' || c > '9') return false;
        *number = *number * 10 + (uint64_t)(c - '0');
    }
    return true;
}

/* "2", "0.5", ".5": a number of ticks a second, in billionths. */
static bool set_max_rate(struct tt_subscribe *s, struct tt_bytes value)
{
    const uint8_t *point = value.size == 0 ? NULL : memchr(value.data, '.', value.size);
    size_t whole_bytes = point == NULL ? value.size : (size_t)(point - value.data);
    struct tt_bytes fraction =
        point == NULL ? TT_BYTES_NONE : tt_bytes_from(value, whole_bytes + 1);
    uint64_t whole, billionths;
    if (!read_digits(tt_bytes(value.data, whole_bytes), false, &whole) ||
        !read_digits(fraction, true, &billionths))
        return false;
    uint64_t rate = whole * UINT64_C(1000000000) + billionths;
    if (rate == 0) return false;
    s->tick_ns = UINT64_C(1000000000000000000) / rate;
    return true;
}

/* The index of the word that the value is, or -1. */
static int choice(struct tt_bytes value, const char *first, const char *second)
{
    if (tt_bytes_is(value, first)) return 0;
    return second != NULL && tt_bytes_is(value, second) ? 1 : -1;
}

/* Parameters that stand for one value; the value lives in p->memory->text. */
static enum tt_status set_value(struct parse *p, const struct parameter *parameter,
                                struct tt_bytes value)
{
    struct tt_subscribe *s = p->subscribe;
    uint64_t number = 0;
    int index = 0;
    bool good = true;
    switch (parameter->kind) {
    case KIND_FROM: good = set_from(s, value); break;
    case KIND_LAST:
        good = tt_bytes_to_u64(value, TT_SUBSCRIBE_LAST_MAX, &number) == TT_OK && number >= 1;
        s->last = (uint32_t)number;
        break;
    case KIND_POLICY: good = set_policy(p, value); break;
    case KIND_MAX_RATE: good = set_max_rate(s, value); break;
    case KIND_FORMAT:
        index = choice(value, "envelope", "payload");
        s->form.payload_only = index == 1;
        break;
    case KIND_EVENT:
        index = choice(value, "type", "message");
        s->form.no_name = index == 1;
        break;
    case KIND_PING:
        index = choice(value, "event", NULL);
        s->ping_event = true;
        break;
    case KIND_HEARTBEAT:
        good = tt_bytes_to_u64(value, TT_SUBSCRIBE_HEARTBEAT_S_MAX, &number) == TT_OK &&
               number >= TT_SUBSCRIBE_HEARTBEAT_S_MIN;
        s->heartbeat_ms = (uint32_t)number * 1000;
        break;
    case KIND_MAX_LAG:
        good = tt_bytes_to_u64(value, TT_SUBSCRIBE_MAX_LAG_MS_MAX, &number) == TT_OK &&
               number >= TT_SUBSCRIBE_MAX_LAG_MS_MIN;
        s->max_lag_ms = (uint32_t)number;
        break;
    case KIND_PAD:
        good = tt_bytes_to_u64(value, TT_SUBSCRIBE_PAD_BYTES_MAX, &number) == TT_OK;
        s->pad_bytes = (uint32_t)number;
        break;
    case KIND_LABEL:
        good = is_label(value);
        s->label = value;
        break;
    case KIND_CHANNELS:
    case KIND_TYPES: return add_list(p, parameter, value);
    case KIND_CURSOR:
    case KIND_IGNORED:
    case KIND_LATER: break;
    }
    return good && index >= 0 ? TT_OK : not_allowed(p, parameter, value);
}

static enum tt_status check_repeated(struct parse *p, const struct parameter *parameter,
                                     struct tt_bytes value)
{
    bool *seen = &p->seen[parameter - parameters];
    bool repeats = *seen && parameter->kind != KIND_CHANNELS && parameter->kind != KIND_TYPES;
    *seen = true;
    return repeats ? fail(p, "invalid_parameter", parameter->name, value,
                          TT_BYTES_LITERAL("is given a second time"), NULL)
                   : TT_OK;
}

/* The first that is there and not empty counts, in the order header, then the rows. */
static void offer_cursor(struct parse *p, size_t rank, struct tt_bytes value)
{
    if (value.size == 0 || rank >= p->cursor_rank) return;
    p->cursor_rank = rank;
    p->subscribe->cursor = value;
}

static size_t cursor_rank_of(const struct parameter *parameter)
{
    return 1 + (size_t)(parameter - parameters);
}

static void begin(struct parse *p, const struct tt_subscribe_memory *memory,
                  struct tt_bytes last_event_id, struct tt_subscribe *subscribe,
                  struct tt_subscribe_error *error)
{
    TT_ASSERT(memory->patterns_max > 0);
    memset(p, 0, sizeof *p);
    p->memory = memory;
    p->text = tt_writer(memory->text, memory->text_bytes);
    p->subscribe = subscribe;
    p->error = error;
    p->cursor_rank = SIZE_MAX;
    memset(subscribe, 0, sizeof *subscribe);
    subscribe->patterns = memory->patterns;
    size_t start = p->text.size;
    tt_write_bytes(&p->text, last_event_id);
    offer_cursor(p, 0, tt_bytes(memory->text + start, p->text.size - start));
}

static enum tt_status fail_last(struct parse *p)
{
    char text[16];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_u64(&w, p->subscribe->last);
    return fail(p, "invalid_parameter", "last", tt_writer_bytes(&w),
                TT_BYTES_LITERAL("says where to start, and so does from"), "one of both");
}

/* A policy that closes the slow client leaves nothing to skip. */
static enum tt_status fail_max_lag(struct parse *p)
{
    char text[16];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_u64(&w, p->subscribe->max_lag_ms);
    return fail(p, "invalid_parameter", "max_lag", tt_writer_bytes(&w),
                TT_BYTES_LITERAL("goes with policy=replay alone"), "no other policy");
}

static enum tt_status finish(struct parse *p)
{
    TT_ASSERT(!p->text.overflow); /* decoding never makes text longer */
    struct tt_subscribe *s = p->subscribe;
    if (s->last != 0) {
        if (s->from != TT_FROM_LIVE) return fail_last(p);
        s->from = TT_FROM_LAST;
    }
    if (s->tick_ns != 0) {
        if (p->policy != NULL && s->policy != TT_POLICY_CONFLATE)
            return fail(p, "invalid_parameter", "policy", tt_bytes_text(p->policy),
                        TT_BYTES_LITERAL("cannot be kept beside max_rate"), "conflate, or none");
        s->policy = TT_POLICY_MAX_RATE;
    }
    if (s->max_lag_ms != 0 && s->policy != TT_POLICY_REPLAY) return fail_max_lag(p);
    if (!s->channels_given)
        s->patterns[s->patterns_count++] = (struct tt_pattern){TT_PATTERN_ALL, TT_BYTES_NONE};
    return TT_OK;
}

/* ---- application/x-www-form-urlencoded ---- */

bool tt_form_next(struct tt_bytes *text, struct tt_bytes *name, struct tt_bytes *value)
{
    while (text->size != 0) {
        const uint8_t *and = memchr(text->data, '&', text->size);
        size_t bytes = and == NULL ? text->size : (size_t)(and-text->data);
        struct tt_bytes pair = tt_bytes(text->data, bytes);
        *text = tt_bytes_from(*text, and == NULL ? bytes : bytes + 1);
        if (pair.size == 0) continue;
        const uint8_t *equals = memchr(pair.data, '=', pair.size);
        size_t name_bytes = equals == NULL ? pair.size : (size_t)(equals - pair.data);
        *name = tt_bytes(pair.data, name_bytes);
        *value = equals == NULL ? TT_BYTES_NONE : tt_bytes_from(pair, name_bytes + 1);
        return true;
    }
    return false;
}

enum tt_status tt_form_decode(struct tt_bytes raw, struct tt_writer *w)
{
    size_t start = w->size;
    enum tt_status status = tt_percent_decode(raw, true, w);
    return status == TT_OK && !tt_bytes_is_utf8(tt_bytes(w->data + start, w->size - start))
               ? TT_EINVAL
               : status;
}

/* The parameter of that name, or null. */
static const struct parameter *find_raw(struct tt_bytes raw)
{
    uint8_t decoded[32];
    struct tt_writer w = tt_writer(decoded, sizeof decoded);
    if (tt_form_decode(raw, &w) != TT_OK || w.overflow) return NULL;
    for (size_t i = 0; i < PARAMETERS; i++)
        if (tt_bytes_is(tt_writer_bytes(&w), parameters[i].name)) return &parameters[i];
    return NULL;
}

static enum tt_status query_parameter(struct parse *p, const struct parameter *parameter,
                                      struct tt_bytes raw)
{
    size_t start = p->text.size;
    enum tt_status status = tt_form_decode(raw, &p->text);
    struct tt_bytes value = tt_bytes(p->text.data + start, p->text.size - start);
    if (parameter->kind == KIND_IGNORED) return TT_OK;
    if (parameter->kind == KIND_CURSOR) { /* an unreadable one is never an error here */
        offer_cursor(p, cursor_rank_of(parameter), value);
        return TT_OK;
    }
    if (status != TT_OK)
        return fail(p, "invalid_parameter", parameter->name, raw,
                    TT_BYTES_LITERAL("is not percent-encoded UTF-8"), parameter->allowed);
    if (is_later(parameter))
        return fail(p, "not_supported", parameter->name, value,
                    TT_BYTES_LITERAL("is not supported by this version"),
                    parameter->allowed[0] == 0 ? NULL : parameter->allowed);
    status = check_repeated(p, parameter, value);
    return status == TT_OK ? set_value(p, parameter, value) : status;
}

enum tt_status tt_subscribe_from_query(struct tt_bytes query, struct tt_bytes last_event_id,
                                       const struct tt_subscribe_memory *memory,
                                       struct tt_subscribe *subscribe,
                                       struct tt_subscribe_error *error)
{
    struct parse p;
    begin(&p, memory, last_event_id, subscribe, error);
    struct tt_bytes name, value;
    while (tt_form_next(&query, &name, &value)) {
        const struct parameter *parameter = find_raw(name);
        if (parameter != NULL && query_parameter(&p, parameter, value) != TT_OK) return TT_EINVAL;
    }
    return finish(&p);
}

/* ---- JSON ---- */

static enum tt_status bad_json(struct parse *p, const struct tt_json_reader *r)
{
    struct tt_writer w = tt_writer(p->error->message, sizeof p->error->message - 1);
    p->error->code = "invalid_json";
    tt_write_text(&w, "not valid JSON at byte ");
    tt_write_u64(&w, r->error_offset);
    tt_write_text(&w, ": ");
    tt_write_text(&w, r->error);
    p->error->message[w.size] = 0;
    return TT_EINVAL;
}

/* What a string or number says. False: it is neither, or cannot be said in UTF-8. */
static bool json_text(struct parse *p, const struct tt_json_value *value, struct tt_bytes *out)
{
    size_t start = p->text.size;
    bool good = value->kind == TT_JSON_NUMBER;
    if (value->kind == TT_JSON_STRING) {
        good = tt_json_string_decode(value, &p->text) == TT_OK;
    } else {
        tt_write_bytes(&p->text, value->text);
    }
    *out = tt_bytes(p->text.data + start, p->text.size - start);
    return good;
}

/* An array of channels or types: each element is one, commas do not separate. */
static enum tt_status json_list(struct parse *p, const struct parameter *parameter,
                                struct tt_bytes array)
{
    struct tt_json_reader r = tt_json_reader(array);
    struct tt_json_value element;
    if (tt_json_begin(&r, '[') != TT_OK) return bad_json(p, &r);
    while (tt_json_element(&r) == TT_OK) {
        struct tt_bytes text;
        if (tt_json_value(&r, &element) != TT_OK) return bad_json(p, &r);
        if (element.kind != TT_JSON_STRING || !json_text(p, &element, &text))
            return not_allowed(p, parameter, element.text);
        const enum tt_status status = add_one(p, parameter, text);
        if (status != TT_OK) return status;
    }
    if (p->subscribe->patterns_count == 0 && parameter->kind == KIND_CHANNELS)
        return not_allowed(p, parameter, array);
    return TT_OK;
}

static enum tt_status json_parameter(struct parse *p, const struct parameter *parameter,
                                     const struct tt_json_value *value)
{
    if (value->kind == TT_JSON_NULL || parameter->kind == KIND_IGNORED) return TT_OK;
    struct tt_bytes text = value->text;
    bool list = parameter->kind == KIND_CHANNELS || parameter->kind == KIND_TYPES;
    if (parameter->kind == KIND_LATER)
        return fail(p, "not_supported", parameter->name, text,
                    TT_BYTES_LITERAL("is not supported by this version"), NULL);
    if (check_repeated(p, parameter, text) != TT_OK) return TT_EINVAL;
    if (list && value->kind == TT_JSON_ARRAY) return json_list(p, parameter, text);
    bool good = json_text(p, value, &text);
    if (parameter->kind == KIND_CURSOR) {
        offer_cursor(p, cursor_rank_of(parameter), good ? text : value->text);
        return TT_OK;
    }
    if (!good) return not_allowed(p, parameter, value->text);
    return set_value(p, parameter, text);
}

static const struct parameter *find_key(const struct tt_json_value *key)
{
    for (size_t i = 0; i < PARAMETERS; i++)
        if (tt_json_string_is(key, parameters[i].name)) return &parameters[i];
    return NULL;
}

enum tt_status tt_subscribe_from_json(struct tt_bytes text, struct tt_bytes last_event_id,
                                      const struct tt_subscribe_memory *memory,
                                      struct tt_subscribe *subscribe,
                                      struct tt_subscribe_error *error)
{
    struct parse p;
    begin(&p, memory, last_event_id, subscribe, error);
    struct tt_json_reader r = tt_json_reader(text);
    struct tt_json_value key, value;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &value)) == TT_OK) {
        const struct parameter *parameter = find_key(&key);
        if (parameter != NULL && json_parameter(&p, parameter, &value) != TT_OK) return TT_EINVAL;
    }
    if (status == TT_END) status = tt_json_finish(&r);
    return status == TT_OK ? finish(&p) : bad_json(&p, &r);
}
