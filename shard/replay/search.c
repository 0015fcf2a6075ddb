#include "shard/replay/search.h"

#include <stddef.h>

#include "proto/base/assert.h"

/* Nothing is searched yet: there are no index files. */
enum tt_status tt_search_open(struct tt_search **search, struct tt_shard *shard,
                              struct tt_lookup *lookup, void (*wake)(void *owner), void *owner)
{
    (void)shard, (void)lookup, (void)wake, (void)owner;
    *search = NULL;
    return TT_IDLE;
}

bool tt_search_ended(const struct tt_search *search)
{
    (void)search;
    TT_UNREACHABLE();
}

enum tt_status tt_search_status(const struct tt_search *search)
{
    (void)search;
    TT_UNREACHABLE();
}

const struct tt_lookup_item *tt_search_items(const struct tt_search *search, uint32_t *count)
{
    (void)search, (void)count;
    TT_UNREACHABLE();
}

void tt_search_close(struct tt_search **search)
{
    TT_ASSERT(*search == NULL);
}
