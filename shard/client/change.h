/* Changing what a client follows while its stream stands (POST /subscribe).
 *
 * The client is taken back to its place: what it has not taken is dropped, and read again from the
 * log by the new subscription, so the change falls between two events and loses or doubles none.
 * Where the new channels lie in more partitions than a narrow client touches, it becomes full, and
 * stays so. Added channels may begin with their history: a snapshot (snapshot.h) as of that place.
 *
 * A session names a client of this process: its shard and slot in the clear, sealed by a key that
 * its shard drew at the start. Thread: owner shard of the client; tt_session_shard: any. */
#ifndef TT_SHARD_CLIENT_CHANGE_H
#define TT_SHARD_CLIENT_CHANGE_H

#include "shard/client/client.h"

/* The session text of `connected`. */
#define TT_SESSION_BYTES_MAX 48u
void tt_session_write(const struct tt_client *client, struct tt_writer *w);
/* The shard that a session names. False: it cannot be one. */
bool tt_session_shard(struct tt_bytes session, uint32_t *shard);
/* TT_OK; TT_EACCES: this shard did not make it; TT_ENOENT: its client is gone. */
TT_MUST_USE enum tt_status tt_session_find(struct tt_shard *shard, struct tt_bytes session,
                                           struct tt_client **client);

struct tt_change {
    const struct tt_pattern *patterns; /* what is followed from now on */
    uint32_t patterns_count;           /* at least one */
    bool history;                      /* added channels begin with */
    uint32_t last;                     /* their last events; 0: their values */
};

/* A copy of what the client follows, in one block, to be freed. Null: out of memory. */
struct tt_pattern *tt_client_copy_patterns(const struct tt_subscription *sub);

/* cursor: the place from which it goes on, at most TT_CURSOR_BYTES_MAX.
 * TT_OK; TT_EBUSY: it opens, or a snapshot is under way; TT_ECLOSED: it is closing; TT_ETOOBIG: its
 * cursor would be too long; TT_ENOMEM: nothing was changed, or the client was aborted. */
TT_MUST_USE enum tt_status tt_client_change(struct tt_client *client,
                                            const struct tt_change *change,
                                            struct tt_writer *cursor);

#endif
