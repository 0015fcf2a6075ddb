/* The answers of /clients as JSON. Thread: any. */
#ifndef TT_BROKER_CLIENTS_TEXT_H
#define TT_BROKER_CLIENTS_TEXT_H

#include "shard/roster.h"

/* What all shards answered to one question: parts[i] is shard i's, each in order. At most
 * `parts[0].limit` of them are written, by their keys. The text is malloc'ed; data is null when
 * there is no memory. */
struct tt_writer tt_clients_text(const struct tt_roster_request *parts, uint32_t parts_count);

#endif
