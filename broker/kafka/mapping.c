#include "broker/kafka/mapping.h"

#include "broker/kafka/value.h"
#include "proto/event/channel.h"
#include "proto/event/partition_hash.h"
#include "proto/wire/envelope.h"

/* The range of a JavaScript Date, as publishing has it: a producer may have written any number. */
#define TIMESTAMP_MS_MAX 8640000000000000

const char *const tt_kafka_skip_labels[TT_KAFKA_SKIPS] = {
#define TT_KAFKA_SKIP(name, label, text) label,
#include "broker/kafka/skip.def"
};
const char *const tt_kafka_skip_texts[TT_KAFKA_SKIPS] = {
#define TT_KAFKA_SKIP(name, label, text) text,
#include "broker/kafka/skip.def"
};

/* One record while it is read. */
struct map {
    const struct tt_kafka_topic_settings *settings;
    const struct tt_kafka_message *m;
    const struct tt_kafka_header *headers;
    uint32_t headers_count;
    struct tt_writer *scratch;
    struct tt_event *event;
    enum tt_kafka_skip *skip;
};

static enum tt_status refuse(const struct map *map, enum tt_kafka_skip skip)
{
    *map->skip = skip;
    return TT_EINVAL;
}

/* A part of the scratch memory, to be filled whole. TT_FULL: it is not there. */
static enum tt_status take(const struct map *map, size_t bytes, struct tt_writer *part)
{
    struct tt_writer *scratch = map->scratch;
    if (bytes > scratch->capacity - scratch->size) return TT_FULL;
    *part = tt_writer(scratch->data + scratch->size, bytes);
    scratch->size += bytes;
    return TT_OK;
}

/* ---- the channel ---- */

static struct tt_bytes key_of(const struct map *map)
{
    return tt_bytes(map->m->key, map->m->key == NULL ? 0 : map->m->key_size);
}

/* What a part says. TT_END: it is the key, and there is none. */
static enum tt_status part_of(const struct map *map, const struct tt_kafka_part *part,
                              struct tt_bytes *text)
{
    const struct tt_kafka_template *t = &map->settings->channel;
    const struct tt_kafka_header *header;
    switch (part->kind) {
    case TT_KAFKA_PART_TEXT: *text = tt_bytes(tt_kafka_part_text(t, part), part->size); break;
    case TT_KAFKA_PART_KEY:
        *text = key_of(map);
        if (text->size == 0) return TT_END;
        break;
    case TT_KAFKA_PART_HEADER:
        header =
            tt_kafka_find_header(map->headers, map->headers_count, tt_kafka_part_text(t, part));
        if (header == NULL || header->value == NULL) return refuse(map, TT_KAFKA_SKIP_NO_HEADER);
        *text = tt_bytes(header->value, header->size);
        break;
    }
    return TT_OK;
}

/* Prefix, key, suffix: what most templates are. */
static enum tt_status key_channel(const struct map *map, struct tt_bytes *channel)
{
    struct tt_bytes prefix, suffix;
    const struct tt_bytes key = key_of(map);
    struct tt_writer w;
    (void)tt_kafka_template_variable(&map->settings->channel, &prefix, &suffix);
    if (key.size == 0) return TT_END;
    if (key.size > TT_CHANNEL_BYTES_MAX - prefix.size - suffix.size)
        return refuse(map, TT_KAFKA_SKIP_CHANNEL);
    if (take(map, prefix.size + key.size + suffix.size, &w) != TT_OK) return TT_FULL;
    uint8_t *at = tt_put_bytes(tt_put_bytes(tt_put_bytes(w.data, prefix), key), suffix);
    *channel = tt_bytes(w.data, (size_t)(at - w.data));
    return TT_OK;
}

/* Of several parts. */
static enum tt_status join_channel(const struct map *map, struct tt_bytes *channel)
{
    const struct tt_kafka_template *t = &map->settings->channel;
    uint8_t text[TT_CHANNEL_BYTES_MAX];
    struct tt_writer joined = tt_writer(text, sizeof(text)), part;
    struct tt_bytes piece;
    for (unsigned i = 0; i < t->parts_count; i++) {
        enum tt_status status = part_of(map, &t->parts[i], &piece);
        if (status != TT_OK) return status;
        tt_write_bytes(&joined, piece);
    }
    if (joined.overflow) return refuse(map, TT_KAFKA_SKIP_CHANNEL);
    if (take(map, joined.size, &part) != TT_OK) return TT_FULL;
    tt_write_bytes(&part, tt_writer_bytes(&joined));
    *channel = tt_writer_bytes(&part);
    return TT_OK;
}

static enum tt_status set_channel(const struct map *map)
{
    const struct tt_kafka_template *t = &map->settings->channel;
    struct tt_bytes *channel = &map->event->channel;
    enum tt_status status = t->parts_count == 1 ? part_of(map, &t->parts[0], channel)
                            : t->key_only       ? key_channel(map, channel)
                                                : join_channel(map, channel);
    if (status == TT_END) {
        *channel = tt_bytes_text(map->settings->name);
        status = TT_OK;
    }
    if (status != TT_OK || tt_channel_check(*channel, NULL) == TT_OK) return status;
    bool text = channel->size > TT_CHANNEL_BYTES_MAX || tt_bytes_is_utf8(*channel);
    return refuse(map, text ? TT_KAFKA_SKIP_CHANNEL : TT_KAFKA_SKIP_CHANNEL_NOT_UTF8);
}

/* ---- headers ---- */

static bool is_named(const struct tt_kafka_header *header, const char *name)
{
    return name[0] != '\0' && strcmp(header->name, name) == 0;
}

static bool is_passed_on(const struct tt_kafka_topic_settings *s,
                         const struct tt_kafka_header *header)
{
    if (is_named(header, s->type_header) || is_named(header, s->conflate_header) ||
        is_named(header, s->op_header))
        return false;
    for (unsigned i = 0; s->channel.headers && i < s->channel.parts_count; i++)
        if (s->channel.parts[i].kind == TT_KAFKA_PART_HEADER &&
            strcmp(header->name, tt_kafka_part_text(&s->channel, &s->channel.parts[i])) == 0)
            return false;
    if (s->headers != TT_KAFKA_HEADERS_LISTED) return s->headers == TT_KAFKA_HEADERS_ALL;
    const char *listed = s->listed;
    for (uint32_t i = 0; i < s->listed_count; i++, listed += strlen(listed) + 1)
        if (strcmp(header->name, listed) == 0) return true;
    return false;
}

/* The JSON object of those that are passed on. */
static enum tt_status set_headers(const struct map *map)
{
    struct {
        struct tt_bytes text;
        size_t bytes;
    } texts[2 * TT_HEADERS_MAX]; /* names and values by turns */
    size_t bytes = 1;
    unsigned count = 0;
    for (uint32_t i = 0; i < map->headers_count; i++) {
        const struct tt_kafka_header *header = &map->headers[i];
        if (!is_passed_on(map->settings, header)) continue;
        if (count == 2 * TT_HEADERS_MAX) return refuse(map, TT_KAFKA_SKIP_HEADERS_TOO_MANY);
        texts[count].text = tt_bytes_text(header->name);
        texts[count + 1].text = tt_bytes(header->value, header->value == NULL ? 0 : header->size);
        for (unsigned end = count + 2; count != end; count++) {
            if (texts[count].text.size > TT_HEADERS_BYTES_MAX)
                return refuse(map, TT_KAFKA_SKIP_HEADERS_TOO_LARGE);
            texts[count].bytes = tt_kafka_json_string_bytes(texts[count].text);
            if (texts[count].bytes == 0) return refuse(map, TT_KAFKA_SKIP_HEADER_NOT_UTF8);
            bytes += texts[count].bytes + 1; /* the colon; a comma or the closing brace */
        }
    }
    if (count == 0) return TT_OK;
    if (bytes > TT_HEADERS_BYTES_MAX) return refuse(map, TT_KAFKA_SKIP_HEADERS_TOO_LARGE);
    struct tt_writer w;
    if (take(map, bytes, &w) != TT_OK) return TT_FULL;
    for (unsigned i = 0; i < count; i++) {
        tt_write_char(&w, i == 0 ? '{' : i % 2 == 0 ? ',' : ':');
        tt_kafka_write_json_string(&w, texts[i].text, texts[i].bytes);
    }
    tt_write_char(&w, '}');
    map->event->headers = tt_writer_bytes(&w);
    return TT_OK;
}

/* The header of that name that counts; TT_BYTES_NONE: there is none. */
static struct tt_bytes meaning(const struct map *map, const char *name)
{
    if (name[0] == '\0') return TT_BYTES_NONE;
    const struct tt_kafka_header *header =
        tt_kafka_find_header(map->headers, map->headers_count, name);
    return header == NULL || header->value == NULL ? TT_BYTES_NONE
                                                   : tt_bytes(header->value, header->size);
}

static enum tt_status read_headers(const struct map *map)
{
    const struct tt_kafka_topic_settings *s = map->settings;
    struct tt_event *event = map->event;
    struct tt_bytes type = meaning(map, s->type_header);
    struct tt_bytes conflate = meaning(map, s->conflate_header), op = meaning(map, s->op_header);
    if (type.data != NULL) {
        if (tt_type_check(type, NULL) != TT_OK) return refuse(map, TT_KAFKA_SKIP_TYPE);
        if (tt_type_is_reserved(type)) return refuse(map, TT_KAFKA_SKIP_RESERVED_TYPE);
        event->type = type;
    }
    if (conflate.data != NULL) {
        if (tt_bytes_is(conflate, "false"))
            event->flags |= TT_EVENT_NEVER_CONFLATE;
        else if (!tt_bytes_is(conflate, "true"))
            return refuse(map, TT_KAFKA_SKIP_CONFLATE);
    }
    if (op.data != NULL) {
        if (!tt_bytes_is(op, "delete")) return refuse(map, TT_KAFKA_SKIP_OP);
        event->flags |= TT_EVENT_OP_DELETE;
    }
    return set_headers(map);
}

/* ---- the payload ---- */

static size_t bytes_of(const struct tt_event *e)
{
    return e->channel.size + e->type.size + e->headers.size + e->payload.size;
}

static enum tt_status set_json(const struct map *map, struct tt_bytes value)
{
    struct tt_json_value json;
    struct tt_writer copy;
    if (tt_json_check(value, &json, NULL, NULL) != TT_OK) return refuse(map, TT_KAFKA_SKIP_JSON);
    map->event->payload = json.text;
    if (!json.breaks) return TT_OK;
    if (bytes_of(map->event) > map->settings->event_bytes_max)
        return refuse(map, TT_KAFKA_SKIP_TOO_LARGE);
    if (take(map, json.text.size, &copy) != TT_OK) return TT_FULL;
    tt_write_bytes(&copy, json.text);
    tt_json_flatten(copy.data, copy.size);
    map->event->payload = tt_writer_bytes(&copy);
    return TT_OK;
}

static enum tt_status set_text(const struct map *map, struct tt_bytes value)
{
    struct tt_writer text;
    size_t bytes = tt_kafka_json_string_bytes(value);
    if (bytes == 0) return refuse(map, TT_KAFKA_SKIP_TEXT_NOT_UTF8);
    if (bytes > map->settings->event_bytes_max) return refuse(map, TT_KAFKA_SKIP_TOO_LARGE);
    if (take(map, bytes, &text) != TT_OK) return TT_FULL;
    tt_kafka_write_json_string(&text, value, bytes);
    map->event->payload = tt_writer_bytes(&text);
    return TT_OK;
}

static enum tt_status set_binary(const struct map *map, struct tt_bytes value)
{
    struct tt_writer text;
    size_t bytes = TT_KAFKA_BASE64_BYTES(value.size);
    if (bytes > map->settings->event_bytes_max) return refuse(map, TT_KAFKA_SKIP_TOO_LARGE);
    if (take(map, bytes, &text) != TT_OK) return TT_FULL;
    tt_kafka_put_base64(text.data, value);
    map->event->payload = tt_bytes(text.data, bytes);
    map->event->flags |= TT_EVENT_BINARY;
    return TT_OK;
}

/* An envelope is parsed in place: in a copy, the record is not ours. */
static enum tt_status set_envelope(const struct map *map, struct tt_bytes value)
{
    const size_t event_bytes_max = map->settings->event_bytes_max;
    struct tt_writer copy;
    struct tt_envelope_error error = {0};
    if (value.size > 2 * event_bytes_max + 4096) return refuse(map, TT_KAFKA_SKIP_TOO_LARGE);
    if (take(map, value.size, &copy) != TT_OK) return TT_FULL;
    tt_write_bytes(&copy, value);
    if (tt_envelope_parse(copy.data, copy.size, event_bytes_max, map->event->taken_us, map->event,
                          &error) == TT_OK)
        return TT_OK;
    return refuse(map, error.status == 413 ? TT_KAFKA_SKIP_TOO_LARGE : TT_KAFKA_SKIP_ENVELOPE);
}

static bool is_null(enum tt_kafka_value kind, struct tt_bytes value)
{
    if (value.size == 0) return true;
    struct tt_json_value json;
    return kind == TT_KAFKA_VALUE_JSON && tt_json_check(value, &json, NULL, NULL) == TT_OK &&
           json.kind == TT_JSON_NULL;
}

static enum tt_status set_payload(const struct map *map)
{
    const struct tt_kafka_message *m = map->m;
    const struct tt_bytes value = tt_bytes(m->value, m->value == NULL ? 0 : m->value_size);
    bool delete = (map->event->flags & TT_EVENT_OP_DELETE) != 0;
    if (m->value == NULL || delete) {
        if (!is_null(map->settings->value, value)) return refuse(map, TT_KAFKA_SKIP_OP);
        map->event->flags |= TT_EVENT_OP_DELETE;
        map->event->payload = TT_BYTES_LITERAL("null");
        return TT_OK;
    }
    switch (map->settings->value) {
    case TT_KAFKA_VALUE_JSON: return set_json(map, value);
    case TT_KAFKA_VALUE_TEXT: return set_text(map, value);
    case TT_KAFKA_VALUE_BINARY: return set_binary(map, value);
    case TT_KAFKA_VALUE_ENVELOPE: break;
    }
    return set_envelope(map, value);
}

/* ---- the whole ---- */

static enum tt_status read_record(const struct map *map)
{
    if (map->settings->value == TT_KAFKA_VALUE_ENVELOPE && map->m->value != NULL)
        return set_payload(map);
    enum tt_status status = TT_OK;
    if (map->headers_count > TT_KAFKA_HEADERS_READ_MAX)
        return refuse(map, TT_KAFKA_SKIP_HEADERS_TOO_MANY);
    if (status == TT_OK) status = set_channel(map);
    if (status == TT_OK && map->headers_count != 0) status = read_headers(map);
    if (status == TT_OK) status = set_payload(map);
    if (status == TT_OK && bytes_of(map->event) > map->settings->event_bytes_max)
        return refuse(map, TT_KAFKA_SKIP_TOO_LARGE);
    return status;
}

enum tt_status tt_kafka_map(const struct tt_kafka_topic_settings *settings,
                            const struct tt_kafka_message *m, const struct tt_kafka_header *headers,
                            uint32_t headers_count, struct tt_writer *scratch,
                            struct tt_event *event, enum tt_kafka_skip *skip)
{
    const size_t before = scratch->size;
    const struct map map = {settings, m, headers, headers_count, scratch, event, skip};
    int64_t timestamp_ms = m->timestamp_ms < 0                  ? 0
                           : m->timestamp_ms > TIMESTAMP_MS_MAX ? TIMESTAMP_MS_MAX
                                                                : m->timestamp_ms;
    *event = (struct tt_event){
        .type = tt_bytes(settings->type, settings->type_bytes),
        .timestamp_ms = timestamp_ms,
        .taken_us = timestamp_ms * 1000,
    };
    enum tt_status status = read_record(&map);
    if (status != TT_OK) scratch->size = before;
    return status;
}

bool tt_kafka_is_misplaced(const struct tt_kafka_topic_settings *settings,
                           const struct tt_kafka_message *m, const struct tt_event *event,
                           uint32_t partition, uint32_t partitions)
{
    struct tt_bytes key = tt_bytes(m->key, m->key == NULL ? 0 : m->key_size);
    if (settings->partitioner == TT_PARTITIONER_ANY) return false;
    if (partition >= partitions) return true;
    /* Who looks for the channel goes by the channel: also where the key is missing, or an envelope
     * names another one. */
    if ((key.size == 0 || settings->value == TT_KAFKA_VALUE_ENVELOPE) &&
        tt_kafka_template_back(&settings->channel, event->channel, &key) != TT_OK)
        return true;
    return partition != (settings->partitioner == TT_PARTITIONER_CRC32
                             ? tt_partition_of_crc32(key, partitions)
                             : tt_partition_of_murmur2(key, partitions));
}
