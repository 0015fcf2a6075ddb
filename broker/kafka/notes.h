/* Lines that librdkafka wants to log, from any of its threads to the one that writes them into the
 * broker's own log: a bounded ring behind a mutex, which nobody holds for longer than a copy.
 *
 * The same thing is written once, however often it comes and from however many handles: compared is
 * the text without its digits and without the name of the handle and thread in front, until
 * tt_kafka_notes_forget(). Thread: put: any; the others: Kafka's. */
#ifndef TT_BROKER_KAFKA_NOTES_H
#define TT_BROKER_KAFKA_NOTES_H

#include "shard/diag.h"

struct tt_kafka_notes;

/* TT_OK, TT_ENOMEM. Thread: start-up. */
TT_MUST_USE enum tt_status tt_kafka_notes_create(struct tt_kafka_notes **notes);
void tt_kafka_notes_destroy(struct tt_kafka_notes **notes);

/* level: syslog's. context: the notes. */
void tt_kafka_notes_put(void *context, int level, const char *text);
/* Writes what has come. */
void tt_kafka_notes_write(struct tt_kafka_notes *notes, struct tt_diag *diag);
/* What comes again from here on is new. */
void tt_kafka_notes_forget(struct tt_kafka_notes *notes);

#endif
