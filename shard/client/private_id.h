/* Private ids: what a catching-up client on several partitions gets in place of a frame's own id
 * line.
 *
 * Its cursor depends on what it has taken, so the id line cannot be part of a shared frame: it is a
 * chunk of its own, written when the frame is pulled, into scratch memory that lives until the
 * socket has answered. If the socket stops inside it, the rest is kept (`carry`) and goes first.
 * Thread: owner shard. Memory: one scratch block for the shard, bounded below. */
#ifndef TT_SHARD_CLIENT_PRIVATE_ID_H
#define TT_SHARD_CLIENT_PRIVATE_ID_H

#include "shard/client/client.h"
#include "shard/conn/exchange.h"

#define TT_PRIVATE_ID_BYTES_MAX (16u << 10) /* of ids in one pull */

#define TT_SCRATCH_BYTES                                                                           \
    ((TT_IO_SENDS_PER_SUBMIT + 1) *                                                                \
     (TT_PRIVATE_ID_BYTES_MAX + TT_IO_SLICES_MAX * 3 * sizeof(uint64_t))) /* for a whole submit */

struct tt_scratch {
    uint8_t *data;
    size_t used;
    size_t size;
};
/* Forgets what was written for the last flush. */
static inline void tt_scratch_reset(struct tt_scratch *s)
{
    s->used = 0;
}
void tt_scratch_deinit(struct tt_scratch *s);

/* Pull and taken of a client that has a catch-up; see struct tt_exchange_ops. DATA or IDLE. */
enum tt_pull tt_private_pull(struct tt_client *client, size_t budget, struct tt_slice *slices,
                             unsigned slices_max, unsigned *count);
void tt_private_taken(struct tt_client *client, size_t bytes);

#endif
