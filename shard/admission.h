/* Caps that hold for the whole process: clients in all, and clients of one address.
 *
 * Each thing that is counted has a home shard (hash % shards; all clients together: shard 0), which
 * counts it alone. Opening a client asks the home (ADMIT) and waits for the answer; closing tells
 * it (RELEASE). Without caps nothing is asked. At most TT_ADMIT_OPEN_MAX questions and
 * TT_RELEASE_OPEN_MAX releases are open to a home; others wait here in order.
 * Thread: owner shard. Memory: a counter for each address that has a client, 12 bytes for a waiting
 * question or release. */
#ifndef TT_SHARD_ADMISSION_H
#define TT_SHARD_ADMISSION_H

#include "shard/client/client.h"
#include "shard/messages.h"

struct tt_admission;

TT_MUST_USE enum tt_status tt_admission_create(struct tt_shard *shard);
void tt_admission_destroy(struct tt_shard *shard);

/* True: admitted at once (no caps). False: tt_opening_admitted() comes later, unless the client is
 * gone. */
bool tt_admission_ask(struct tt_client *client);
/* Gives back what the client holds; harmless when it holds nothing. */
void tt_admission_release(struct tt_client *client);
/* ADMIT, ADMITTED, RELEASE, RELEASED. */
void tt_admission_message(struct tt_shard *shard, const struct tt_message *message);

#endif
