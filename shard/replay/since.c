#include "shard/replay/since.h"

#include <stddef.h>

#include "proto/base/assert.h"

/* Nobody asks yet: subscribe.c refuses from=<ms>. */
enum tt_status tt_since_open(struct tt_since **since, struct tt_shard *shard, uint32_t partition,
                             int64_t from_ms, uint64_t *pos, void (*wake)(void *owner), void *owner)
{
    (void)since, (void)shard, (void)partition, (void)from_ms, (void)pos, (void)wake, (void)owner;
    TT_UNREACHABLE();
}

void tt_since_close(struct tt_since **since)
{
    TT_ASSERT(*since == NULL);
}
