#include "broker/kafka/template.h"

#include "proto/event/channel.h"

static const char allowed[] = "allowed is a channel with {key}, {header:NAME} and {topic} in it";

static enum tt_status refuse(struct tt_writer *why, const char *what)
{
    tt_write_format(why, "%s; %s", what, allowed);
    return TT_EINVAL;
}

/* Appends a part; texts that follow one another become one. */
static enum tt_status add(struct tt_kafka_template *t, enum tt_kafka_part_kind kind,
                          struct tt_bytes text, struct tt_writer *why)
{
    struct tt_kafka_part *last = t->parts_count == 0 ? NULL : &t->parts[t->parts_count - 1];
    bool joins = kind == TT_KAFKA_PART_TEXT && last != NULL && last->kind == TT_KAFKA_PART_TEXT;
    if (text.size + 1 > sizeof(t->text) - t->bytes) return refuse(why, "is too long");
    if (!joins && t->parts_count == TT_KAFKA_PARTS_MAX) return refuse(why, "has too many parts");
    if (kind == TT_KAFKA_PART_TEXT && text.size == 0) return TT_OK;
    uint16_t at = t->bytes;
    if (text.size != 0) memcpy(t->text + at, text.data, text.size);
    t->bytes = (uint16_t)(at + text.size);
    if (kind == TT_KAFKA_PART_HEADER) t->text[t->bytes++] = '\0';
    if (joins) {
        last->size = (uint16_t)(last->size + text.size);
        return TT_OK;
    }
    t->parts[t->parts_count++] = (struct tt_kafka_part){kind, at, (uint16_t)text.size};
    t->variables += kind != TT_KAFKA_PART_TEXT;
    t->headers |= kind == TT_KAFKA_PART_HEADER;
    return TT_OK;
}

static enum tt_status add_variable(struct tt_kafka_template *t, struct tt_bytes name,
                                   const char *topic, struct tt_writer *why)
{
    static const struct tt_bytes header = TT_BYTES_LITERAL("header:");
    if (tt_bytes_is(name, "key")) return add(t, TT_KAFKA_PART_KEY, TT_BYTES_NONE, why);
    if (tt_bytes_is(name, "topic")) return add(t, TT_KAFKA_PART_TEXT, tt_bytes_text(topic), why);
    if (tt_bytes_starts(name, header) && name.size > header.size)
        return add(t, TT_KAFKA_PART_HEADER, tt_bytes_from(name, header.size), why);
    return refuse(why, "has braces around something unknown");
}

/* With "x" for every variable it must be a channel. */
static enum tt_status check(const struct tt_kafka_template *t, struct tt_writer *why)
{
    uint8_t text[TT_KAFKA_TEMPLATE_BYTES_MAX + TT_KAFKA_PARTS_MAX];
    struct tt_writer w = tt_writer(text, sizeof(text));
    for (unsigned i = 0; i < t->parts_count; i++)
        if (t->parts[i].kind == TT_KAFKA_PART_TEXT)
            tt_write(&w, tt_kafka_part_text(t, &t->parts[i]), t->parts[i].size);
        else
            tt_write_char(&w, 'x');
    return tt_channel_check(tt_writer_bytes(&w), why);
}

enum tt_status tt_kafka_template_make(struct tt_kafka_template *t, const char *text,
                                      const char *topic, struct tt_writer *why)
{
    *t = (struct tt_kafka_template){0};
    while (*text != '\0') {
        size_t size = strcspn(text, "{}");
        enum tt_status status = add(t, TT_KAFKA_PART_TEXT, tt_bytes(text, size), why);
        if (status != TT_OK) return status;
        text += size;
        if (*text == '\0') break;
        size_t inside = strcspn(text + 1, "{}");
        if (*text == '}' || text[1 + inside] != '}') return refuse(why, "has an unpaired brace");
        status = add_variable(t, tt_bytes(text + 1, inside), topic[0] != '\0' ? topic : "x", why);
        if (status != TT_OK) return status;
        text += inside + 2;
    }
    t->key_only = t->variables == 1 && !t->headers;
    return check(t, why);
}

const struct tt_kafka_header *tt_kafka_find_header(const struct tt_kafka_header *headers,
                                                   uint32_t count, const char *name)
{
    while (count-- > 0)
        if (strcmp(headers[count].name, name) == 0) return &headers[count];
    return NULL;
}

const struct tt_kafka_part *tt_kafka_template_variable(const struct tt_kafka_template *t,
                                                       struct tt_bytes *prefix,
                                                       struct tt_bytes *suffix)
{
    const struct tt_kafka_part *variable = NULL;
    *prefix = *suffix = tt_bytes(t->text, 0);
    for (unsigned i = 0; i < t->parts_count; i++) {
        const struct tt_kafka_part *part = &t->parts[i];
        struct tt_bytes text = tt_bytes(tt_kafka_part_text(t, part), part->size);
        if (part->kind != TT_KAFKA_PART_TEXT)
            variable = part;
        else if (variable == NULL)
            *prefix = text;
        else
            *suffix = text;
    }
    return variable;
}

enum tt_status tt_kafka_template_back(const struct tt_kafka_template *t, struct tt_bytes channel,
                                      struct tt_bytes *variable)
{
    struct tt_bytes prefix, suffix;
    if (t->variables > 1) return TT_EINVAL;
    if (tt_kafka_template_variable(t, &prefix, &suffix) == NULL) {
        *variable = channel;
        return tt_bytes_equal(channel, prefix) ? TT_OK : TT_EINVAL;
    }
    if (channel.size <= prefix.size + suffix.size || !tt_bytes_starts(channel, prefix))
        return TT_EINVAL;
    size_t middle = channel.size - prefix.size - suffix.size;
    struct tt_bytes end = tt_bytes_from(channel, prefix.size + middle);
    if (!tt_bytes_equal(end, suffix)) return TT_EINVAL;
    *variable = tt_bytes(channel.data + prefix.size, middle);
    return TT_OK;
}
