/* max_lag: a client that is never shown an old event as a new one.
 *
 * As soon as the oldest event that it has not been sent is older than max_lag (the shard's wall
 * clock against the time at which the broker took the event), everything of its channels up to what
 * the shard has read is skipped: it is told by `gap {"reason":"lag"}`, one for each partition, gets
 * the value of each of its channels, then `snapshot-end` with the cursor, and goes on from there.
 * That is looked at before its socket is given anything (so what was left behind while it did not
 * read is never sent) and for each event that is read for it from the log (so a cursor from
 * yesterday, or from=earliest, leads to a snapshot, too). Values are no events: a snapshot may take
 * as long as it takes. What the kernel holds already, and the rest of an event that was begun, are
 * still sent.
 *
 * `missed` counts the events of its channels between its position and what the shard has read that
 * are not in its outbox, so that the gap says how many are skipped without reading them. Known from
 * the moment on at which the client was at what the shard has read; unknown for one that came with
 * an old cursor, or whose channels were changed, until it has caught up or skipped once.
 *
 * Clocks: after a jump of the wall clock forward what is queued looks old, and is skipped once.
 * After a jump back, events that were taken before it look too young by as much; those taken after
 * it are measured rightly. Thread: owner shard. Memory: one block for each client with max_lag. */
#ifndef TT_SHARD_CLIENT_LAG_H
#define TT_SHARD_CLIENT_LAG_H

#include "proto/base/list.h"
#include "proto/event/event.h"
#include "shard/client/client.h"

struct tt_lag {
    struct tt_node node; /* in shard->lagging while it is to skip */
    struct tt_client *client;
    uint32_t max_ms;
    bool unknown;      /* missed says nothing */
    uint64_t missed[]; /* of each partition */
};

static inline struct tt_lag *tt_lag_of(const struct tt_client *client)
{
    return client->extra == NULL ? NULL : client->extra->lag;
}

/* For a client that has an extra. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_lag_create(struct tt_client *client, uint32_t max_ms);
void tt_lag_destroy(struct tt_lag **lag); /* harmless with null */

/* The rest is harmless for a client without max_lag. */

/* Before a pull: nothing may be given now, because it is to skip. It is made ready afterwards. */
bool tt_lag_holds(struct tt_client *client);
/* An event is about to be queued for it from the log. False: it is too old; the client skips at the
 * next step, and is read nothing until then. */
bool tt_lag_reads(struct tt_client *client, uint32_t partition, const struct tt_event *event);
/* It is to skip: from where it stands, so nothing may be read for it. */
static inline bool tt_lag_skips(const struct tt_client *client)
{
    const struct tt_lag *lag = tt_lag_of(client);
    return lag != NULL && tt_node_linked(&lag->node);
}

/* A live event on one of its channels was not queued: it is read later, or is not for it. */
void tt_lag_missed(struct tt_client *client, uint32_t partition,
                   const struct tt_placed_event *placed);
/* The events in its outbox are about to be dropped, to be read again. */
void tt_lag_dropping(struct tt_client *client);
void tt_lag_unknown(struct tt_client *client);
void tt_lag_joined(struct tt_client *client); /* it is live: nothing is missed */

/* Lets those skip that are to. After the tails were read: R stands still. */
void tt_lag_run(struct tt_shard *shard);

#endif
