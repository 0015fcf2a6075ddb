/* The values of records: texts and bytes as JSON strings, and back. Used by mapping.c and unmap.c.
 * Thread: any. Memory: the caller's. */
#ifndef TT_BROKER_KAFKA_VALUE_H
#define TT_BROKER_KAFKA_VALUE_H

#include "proto/base/bytes.h"

/* Bytes of the shortest JSON string that says `text`, quotes included; 0: it is not UTF-8. */
size_t tt_kafka_json_string_bytes(struct tt_bytes text);
/* Writes it; `text` is UTF-8, and `bytes` what tt_kafka_json_string_bytes() said of it. */
void tt_kafka_write_json_string(struct tt_writer *w, struct tt_bytes text, size_t bytes);

/* RFC 4648 section 4, padded, in quotes. */
#define TT_KAFKA_BASE64_BYTES(size) (((size) + 2) / 3 * 4 + 2)
/* to: as many bytes as that. */
void tt_kafka_put_base64(uint8_t *to, struct tt_bytes bytes);
/* base64: without quotes; valid, as events have it. At most 3 bytes for each 4 are written. */
void tt_kafka_read_base64(struct tt_writer *w, struct tt_bytes base64);

#endif
