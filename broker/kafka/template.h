/* Templates of channels: `stock.{key}`, `{topic}.{header:symbol}`, and the way back.
 *
 * A template is a text with {key}, {header:NAME} and {topic} in it, at most TT_KAFKA_PARTS_MAX
 * parts. {topic} is replaced when the template is made, so a made one consists of texts and
 * variables. With at most one variable a channel can be taken apart again: prefix, what the
 * variable said, suffix. A record without a key, or with an empty one, goes to the channel that is
 * named like the topic where the template asks for the key.
 *
 * Thread: any; immutable once made. Memory: embedded, may be copied. */
#ifndef TT_BROKER_KAFKA_TEMPLATE_H
#define TT_BROKER_KAFKA_TEMPLATE_H

#include "broker/kafka/module.h"
#include "proto/base/bytes.h"

#define TT_KAFKA_PARTS_MAX          8u
#define TT_KAFKA_TEMPLATE_BYTES_MAX 640u

enum tt_kafka_part_kind { TT_KAFKA_PART_TEXT, TT_KAFKA_PART_KEY, TT_KAFKA_PART_HEADER };
struct tt_kafka_part {
    enum tt_kafka_part_kind kind;
    uint16_t at, size; /* of the text, or of the header's name (which a zero follows) */
};
struct tt_kafka_template {
    struct tt_kafka_part parts[TT_KAFKA_PARTS_MAX];
    unsigned parts_count;
    unsigned variables; /* parts that are not text */
    bool headers;       /* some are headers */
    bool key_only;      /* the one variable is the key */
    uint16_t bytes;
    char text[TT_KAFKA_TEMPLATE_BYTES_MAX];
};

/* topic: its name, or empty for a check of the template alone. TT_OK; TT_EINVAL with the reason. */
TT_MUST_USE enum tt_status tt_kafka_template_make(struct tt_kafka_template *t, const char *text,
                                                  const char *topic, struct tt_writer *why);

static inline const char *tt_kafka_part_text(const struct tt_kafka_template *t,
                                             const struct tt_kafka_part *part)
{
    return t->text + part->at;
}
/* The value of the last header of that name, as Kafka's clients have it; null: there is none. */
const struct tt_kafka_header *tt_kafka_find_header(const struct tt_kafka_header *headers,
                                                   uint32_t count, const char *name);

/* The one variable's part, or null; and what stands before and behind it. variables <= 1. */
const struct tt_kafka_part *tt_kafka_template_variable(const struct tt_kafka_template *t,
                                                       struct tt_bytes *prefix,
                                                       struct tt_bytes *suffix);
/* What the one variable said in that channel; the whole channel where the template has none.
 * TT_OK; TT_EINVAL: no such channel comes of this template. */
TT_MUST_USE enum tt_status tt_kafka_template_back(const struct tt_kafka_template *t,
                                                  struct tt_bytes channel,
                                                  struct tt_bytes *variable);

#endif
