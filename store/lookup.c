#include "store/lookup.h"

#include "store/log.h"

/* Nothing in memory is indexed yet: everything has to be searched. */
void tt_log_lookup(const struct tt_log *log, struct tt_lookup *lookup)
{
    (void)log;
    lookup->items_count = 0;
    lookup->memory_offset = lookup->at;
    if (lookup->kind == TT_LOOKUP_RANGE) {
        lookup->key = lookup->from;
        return;
    }
    if (lookup->by_pattern) lookup->channels_count = 0;
    for (uint32_t i = 0; i < lookup->channels_count; i++) {
        lookup->channels[i].found = 0;
        lookup->channels[i].search_below = lookup->at;
    }
    lookup->key = TT_LOOKUP_END;
}
