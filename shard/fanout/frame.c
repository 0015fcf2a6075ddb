#include "shard/fanout/frame.h"

#include <stdlib.h>

#include "proto/base/assert.h"

/* Classes: every 64 bytes to 1 KiB (0..15), every 1 KiB to 16 KiB (15..30), those of batches
 * (31), beyond that plain malloc. A quote of 200 bytes lies in a class of its own size, so little
 * is wasted. */
#define CLASS_NONE  255u
#define CLASS_BATCH 31u

static unsigned class_of(size_t bytes, size_t *allocated)
{
    if (bytes <= 1024) {
        unsigned c = (unsigned)((bytes + 63) / 64);
        if (c == 0) c = 1;
        *allocated = (size_t)c * 64;
        return c - 1;
    }
    if (bytes <= 16384) {
        unsigned c = (unsigned)((bytes + 1023) / 1024);
        *allocated = (size_t)c * 1024;
        return 14 + c;
    }
    *allocated = bytes;
    return bytes == TT_FRAME_BATCH_BYTES ? CLASS_BATCH : CLASS_NONE;
}

_Static_assert(14 + 16 < CLASS_BATCH && CLASS_BATCH < TT_FRAME_CLASSES, "every class has a list");

void tt_frame_memory_init(struct tt_frame_memory *m, size_t bytes_max)
{
    *m = (struct tt_frame_memory){.bytes_max = bytes_max};
}

void tt_frame_memory_deinit(struct tt_frame_memory *m)
{
    TT_ASSERT(m->bytes == 0);
    for (unsigned i = 0; i < TT_FRAME_CLASSES; i++) {
        while (m->free_[i] != NULL) {
            void *next = *(void **)m->free_[i];
            free(m->free_[i]);
            m->free_[i] = next;
        }
    }
}

struct tt_frame *tt_frame_create(struct tt_frame_memory *m, size_t bytes)
{
    size_t allocated;
    unsigned c = class_of(sizeof(struct tt_frame) + bytes, &allocated);
    struct tt_frame *f;
    if (c != CLASS_NONE && m->free_[c] != NULL) {
        f = m->free_[c];
        m->free_[c] = *(void **)m->free_[c];
        m->cached_bytes_ -= allocated;
    } else {
        f = malloc(allocated);
        if (f == NULL) return NULL;
        m->allocations++;
    }
    *f = (struct tt_frame){.memory_ = m,
                           .references = 1,
                           .size_class_ = (uint8_t)c,
                           .allocated_ = (uint32_t)allocated};
    m->bytes += allocated;
    return f;
}

void tt_frame_put(struct tt_frame **frame)
{
    struct tt_frame *f = *frame;
    *frame = NULL;
    TT_ASSERT(f->references > 0);
    if (--f->references != 0) return;
    struct tt_frame_memory *m = f->memory_;
    size_t allocated = f->allocated_;
    TT_ASSERT(m->bytes >= allocated);
    m->bytes -= allocated;
    if (f->size_class_ == CLASS_NONE || m->cached_bytes_ + allocated > TT_FRAME_CACHE_BYTES_MAX) {
        free(f);
        return;
    }
    m->cached_bytes_ += allocated;
    void **link = (void **)(void *)f;
    unsigned c = f->size_class_;
    *link = m->free_[c];
    m->free_[c] = f;
}
