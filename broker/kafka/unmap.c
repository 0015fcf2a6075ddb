/* Events as records to be produced: tt_kafka_unmap() of mapping.h. */
#include "broker/kafka/mapping.h"
#include "broker/kafka/value.h"
#include "proto/base/assert.h"
#include "proto/wire/envelope.h"

struct unmap {
    const struct tt_kafka_topic_settings *settings;
    const struct tt_event *event;
    struct tt_writer *scratch;
    struct tt_kafka_record *record;
    const char **why;
};

static enum tt_status refuse(const struct unmap *u, const char *why)
{
    *u->why = why;
    return TT_EINVAL;
}

/* What `string` says, in the scratch memory, with a zero behind it. */
static enum tt_status decode(const struct unmap *u, const struct tt_json_value *string,
                             struct tt_bytes *text)
{
    struct tt_writer *scratch = u->scratch;
    if (string->text.size > scratch->capacity - scratch->size) return TT_FULL;
    struct tt_writer w = tt_writer(scratch->data + scratch->size, string->text.size - 1);
    if (tt_json_string_decode(string, &w) != TT_OK)
        return refuse(u, "a text holds half of a surrogate pair, which Kafka's records cannot say");
    w.data[w.size] = '\0';
    scratch->size += w.size + 1;
    *text = tt_writer_bytes(&w);
    return TT_OK;
}

/* ---- key and headers ---- */

static void add_header(struct tt_kafka_record *record, const char *name, struct tt_bytes value)
{
    TT_ASSERT(record->headers_count < TT_KAFKA_RECORD_HEADERS_MAX);
    record->headers[record->headers_count++] =
        (struct tt_kafka_header){name, value.data, value.size};
}

static enum tt_status set_key(const struct unmap *u)
{
    const struct tt_kafka_template *t = &u->settings->channel;
    struct tt_bytes prefix, suffix;
    if (t->variables > 1)
        return refuse(u, "channels of this topic are made of several parts of a record, so that "
                         "nothing can be published to it");
    if (tt_kafka_template_back(t, u->event->channel, &u->record->key) != TT_OK)
        return refuse(u, "this channel does not fit the template of the topic's channels");
    const struct tt_kafka_part *variable = tt_kafka_template_variable(t, &prefix, &suffix);
    if (variable != NULL && variable->kind == TT_KAFKA_PART_HEADER)
        add_header(u->record, tt_kafka_part_text(t, variable), u->record->key);
    return TT_OK;
}

/* A record of this kind carries type and conflate in headers. */
static enum tt_status set_meanings(const struct unmap *u)
{
    const struct tt_kafka_topic_settings *s = u->settings;
    if (!tt_bytes_is(u->event->type, s->type)) {
        if (s->type_header[0] == '\0')
            return refuse(u, "records of this topic have no header for the type, so that it can "
                             "only be the topic's own");
        add_header(u->record, s->type_header, u->event->type);
    }
    if ((u->event->flags & TT_EVENT_NEVER_CONFLATE) != 0) {
        if (s->conflate_header[0] == '\0')
            return refuse(u, "records of this topic have no header for conflate=false");
        add_header(u->record, s->conflate_header, TT_BYTES_LITERAL("false"));
    }
    return TT_OK;
}

/* A header of the event whose name would mean something else in a record, or be passed over. */
static bool is_taken(const struct tt_kafka_topic_settings *s, const char *name)
{
    if (strcmp(name, s->type_header) == 0 || strcmp(name, s->conflate_header) == 0 ||
        strcmp(name, s->op_header) == 0)
        return true;
    for (unsigned i = 0; i < s->channel.parts_count; i++)
        if (s->channel.parts[i].kind == TT_KAFKA_PART_HEADER &&
            strcmp(name, tt_kafka_part_text(&s->channel, &s->channel.parts[i])) == 0)
            return true;
    if (s->headers != TT_KAFKA_HEADERS_LISTED) return s->headers == TT_KAFKA_HEADERS_NONE;
    const char *listed = s->listed;
    for (uint32_t i = 0; i < s->listed_count; i++, listed += strlen(listed) + 1)
        if (strcmp(name, listed) == 0) return false;
    return true;
}

static enum tt_status set_headers(const struct unmap *u)
{
    if (u->event->headers.size == 0) return TT_OK;
    struct tt_json_reader r = tt_json_reader(u->event->headers);
    struct tt_json_value key, one;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &one)) == TT_OK) {
        struct tt_bytes name, value;
        status = decode(u, &key, &name);
        if (status == TT_OK) status = decode(u, &one, &value);
        if (status != TT_OK) return status;
        if (name.size == 0 || memchr(name.data, '\0', name.size) != NULL)
            return refuse(u, "a header's name is empty or holds a zero byte");
        if (is_taken(u->settings, (const char *)name.data))
            return refuse(u, "a header's name has another meaning in records of this topic, or is "
                             "not one that they pass on");
        add_header(u->record, (const char *)name.data, value);
    }
    TT_ASSERT(status == TT_END); /* an event's headers are valid */
    return TT_OK;
}

/* ---- the value ---- */

static enum tt_status set_text(const struct unmap *u)
{
    struct tt_json_value json;
    if ((u->event->flags & TT_EVENT_BINARY) != 0 ||
        tt_json_check(u->event->payload, &json, NULL, NULL) != TT_OK || json.kind != TT_JSON_STRING)
        return refuse(u, "records of this topic are texts: the payload must be a string");
    return decode(u, &json, &u->record->value);
}

static enum tt_status set_binary(const struct unmap *u)
{
    struct tt_bytes payload = u->event->payload;
    if ((u->event->flags & TT_EVENT_BINARY) == 0)
        return refuse(u, "records of this topic are bytes: the payload must have encoding=base64");
    if (payload.size > u->scratch->capacity - u->scratch->size) return TT_FULL;
    struct tt_writer w = tt_writer(u->scratch->data + u->scratch->size, payload.size);
    tt_kafka_read_base64(&w, tt_bytes(payload.data + 1, payload.size - 2));
    u->scratch->size += w.size;
    u->record->value = tt_writer_bytes(&w);
    return TT_OK;
}

static enum tt_status set_envelope(const struct unmap *u)
{
    const struct tt_event *e = u->event;
    struct tt_writer w =
        tt_writer(u->scratch->data + u->scratch->size, u->scratch->capacity - u->scratch->size);
    tt_write_text(&w, "{\"type\":\"");
    tt_write_bytes(&w, e->type);
    tt_write_text(&w, "\",\"channel\":");
    tt_kafka_write_json_string(&w, e->channel, tt_kafka_json_string_bytes(e->channel));
    tt_write_text(&w, ",\"payload\":");
    tt_write_bytes(&w, e->payload);
    if ((e->flags & TT_EVENT_TIMESTAMP_GIVEN) != 0) {
        tt_write_text(&w, ",\"timestamp\":");
        tt_write_i64(&w, e->timestamp_ms);
        u->record->timestamp_ms = e->taken_us / 1000;
    }
    if ((e->flags & TT_EVENT_NEVER_CONFLATE) != 0) tt_write_text(&w, ",\"conflate\":false");
    if (e->headers.size != 0) {
        tt_write_text(&w, ",\"headers\":");
        tt_write_bytes(&w, e->headers);
    }
    if ((e->flags & TT_EVENT_BINARY) != 0) tt_write_text(&w, ",\"encoding\":\"base64\"");
    tt_write_char(&w, '}');
    if (w.overflow) return TT_FULL;
    u->scratch->size += w.size;
    u->record->value = tt_writer_bytes(&w);
    return TT_OK;
}

static enum tt_status write_record(const struct unmap *u)
{
    bool envelope = u->settings->value == TT_KAFKA_VALUE_ENVELOPE;
    bool delete = (u->event->flags & TT_EVENT_OP_DELETE) != 0;
    enum tt_status status = set_key(u);
    /* A delete is a record without a value, so that compaction takes it; of an envelope too. */
    if (status == TT_OK && (delete || !envelope)) status = set_meanings(u);
    if (status == TT_OK && (delete || !envelope)) status = set_headers(u);
    if (status != TT_OK || delete) return status;
    switch (u->settings->value) {
    case TT_KAFKA_VALUE_JSON:
        if ((u->event->flags & TT_EVENT_BINARY) != 0)
            return refuse(u, "records of this topic are JSON, which cannot say encoding=base64");
        u->record->value = u->event->payload;
        return TT_OK;
    case TT_KAFKA_VALUE_TEXT: return set_text(u);
    case TT_KAFKA_VALUE_BINARY: return set_binary(u);
    case TT_KAFKA_VALUE_ENVELOPE: break;
    }
    return set_envelope(u);
}

enum tt_status tt_kafka_unmap(const struct tt_kafka_topic_settings *settings,
                              const struct tt_event *event, struct tt_writer *scratch,
                              struct tt_kafka_record *record, const char **why)
{
    const size_t before = scratch->size;
    const struct unmap u = {settings, event, scratch, record, why};
    record->key = record->value = TT_BYTES_NONE;
    record->timestamp_ms = event->timestamp_ms;
    record->headers_count = 0;
    enum tt_status status = write_record(&u);
    if (status != TT_OK) scratch->size = before;
    return status;
}
