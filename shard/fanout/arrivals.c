#include "shard/fanout/arrivals.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define VECTORS (TT_ARRIVALS_RING / TT_ARRIVALS_VECTOR_EVERY)

_Static_assert((TT_ARRIVALS_RING & (TT_ARRIVALS_RING - 1)) == 0, "the ring is indexed by a mask");
_Static_assert(TT_ARRIVALS_RING % TT_ARRIVALS_VECTOR_EVERY == 0, "vectors divide the ring");

enum tt_status tt_arrivals_init(struct tt_arrivals *a, uint32_t partitions, const uint64_t *next)
{
    *a = (struct tt_arrivals){.partitions = partitions};
    a->next = calloc(partitions, sizeof *a->next);
    a->ring_ = calloc(TT_ARRIVALS_RING, sizeof *a->ring_);
    a->vectors_ = calloc((size_t)VECTORS * partitions, sizeof *a->vectors_);
    if (a->next == NULL || a->ring_ == NULL || a->vectors_ == NULL) {
        tt_arrivals_deinit(a);
        return TT_ENOMEM;
    }
    memcpy(a->next, next, partitions * sizeof *next);
    memcpy(a->vectors_, next, partitions * sizeof *next); /* the vector behind arrival 0 */
    return TT_OK;
}

void tt_arrivals_deinit(struct tt_arrivals *a)
{
    free(a->next);
    free(a->ring_);
    free(a->vectors_);
    *a = (struct tt_arrivals){0};
}

static uint64_t *checkpoint(const struct tt_arrivals *a, uint64_t place)
{
    return a->vectors_ + (place / TT_ARRIVALS_VECTOR_EVERY) % VECTORS * a->partitions;
}

uint64_t tt_arrivals_push(struct tt_arrivals *a, uint32_t partition, uint64_t next)
{
    TT_ASSERT(partition < a->partitions);
    TT_ASSERT(next > a->next[partition]);
    uint64_t sequence = ++a->sequence;
    struct tt_arrival *slot = &a->ring_[sequence & (TT_ARRIVALS_RING - 1)];
    slot->partition = partition;
    slot->previous = a->next[partition];
    a->next[partition] = next;
    if (sequence % TT_ARRIVALS_VECTOR_EVERY == 0)
        memcpy(checkpoint(a, sequence), a->next, a->partitions * sizeof *a->next);
    return sequence;
}

bool tt_arrivals_holds(const struct tt_arrivals *a, uint64_t place)
{
    return place <= a->sequence && a->sequence - place < TT_ARRIVALS_RING;
}

void tt_arrivals_vector(const struct tt_arrivals *a, uint64_t place, uint64_t *vector)
{
    TT_ASSERT(tt_arrivals_holds(a, place));
    uint64_t from = (place + TT_ARRIVALS_VECTOR_EVERY - 1) / TT_ARRIVALS_VECTOR_EVERY *
                    TT_ARRIVALS_VECTOR_EVERY;
    if (from <= a->sequence) {
        memcpy(vector, checkpoint(a, from), a->partitions * sizeof *vector);
    } else {
        from = a->sequence;
        memcpy(vector, a->next, a->partitions * sizeof *vector);
    }
    for (; from > place; from--) {
        const struct tt_arrival *arrival = &a->ring_[from & (TT_ARRIVALS_RING - 1)];
        vector[arrival->partition] = arrival->previous;
    }
}
