/* The inside of an index in memory, for index.c, which builds and asks it, and index_writer.c,
 * which turns it into a file. */
#ifndef TT_STORE_INDEX_INTERNAL_H
#define TT_STORE_INDEX_INTERNAL_H

#include "store/index.h"

/* Places are kept relative to the segment and in units of 8 bytes, as records are aligned. */
#define TT_INDEX_PLACE_MAX (((uint64_t)UINT32_MAX - 1) * TT_RECORD_ALIGN)

/* The list of one channel. */
struct tt_index_list {
    uint64_t hash;
    uint64_t last_offset;
    uint32_t last_place;
    uint32_t count;
    uint32_t first, last; /* blocks, in units of the arena; 0: none */
};

/* Part of a list, as many bytes as its class says. The first entry stands in the header, so that a
 * block can be decoded alone. */
struct tt_index_block {
    uint64_t first_offset;
    uint32_t first_place;
    uint32_t previous, next;
    uint16_t used; /* of data */
    uint16_t count;
    uint8_t class;       /* TT_INDEX_UNIT << class bytes, all in all */
    uint8_t first_flags; /* of the first entry */
    uint8_t has_value;   /* one of its entries is tt_index_is_value() */
    uint8_t data[];
};
#define TT_INDEX_UNIT         64u
#define TT_INDEX_CLASS_MAX    3u
#define TT_INDEX_SLAB_BYTES   (64u << 10)
#define TT_INDEX_SLAB_UNITS   (TT_INDEX_SLAB_BYTES / TT_INDEX_UNIT)
#define TT_INDEX_SLAB_LISTS   (TT_INDEX_SLAB_BYTES / sizeof(struct tt_index_list))
#define TT_INDEX_VARINT_BYTES 10u

struct tt_index_slabs {
    uint8_t **items;
    uint32_t count;
    uint32_t capacity;
};

struct tt_index_slot {
    uint32_t hash; /* low half */
    uint32_t list; /* number + 1; 0: empty */
};
struct tt_index_table {
    struct tt_index_slot *slots;
    uint32_t mask;
};

struct tt_index {
    uint64_t first_offset;
    uint64_t base_place;
    size_t bytes;
    size_t bytes_max;
    bool broken;
    uint64_t next_offset; /* of the next entry, at least */

    struct tt_index_table table;
    struct tt_index_table old; /* while the table grows: lists that were not moved yet are here */
    uint32_t moved;            /* slots of `old` */

    struct tt_index_slabs lists;
    uint32_t lists_count;
    struct tt_index_slabs blocks;
    uint32_t units_left; /* of the newest slab */
    uint64_t entries;

    struct tt_index_hole *holes;
    uint32_t holes_count, holes_capacity;
    struct tt_index_idempotency *batches;
    uint32_t batches_count, batches_capacity;
};

static inline struct tt_index_list *tt_index_list_at(const struct tt_index *index, uint32_t number)
{
    uint8_t *slab = index->lists.items[number / TT_INDEX_SLAB_LISTS];
    return &((struct tt_index_list *)(void *)slab)[number % TT_INDEX_SLAB_LISTS];
}

static inline struct tt_index_block *tt_index_block_at(const struct tt_index *index, uint32_t unit)
{
    uint8_t *slab = index->blocks.items[unit / TT_INDEX_SLAB_UNITS];
    return (struct tt_index_block *)(void *)(slab +
                                             (size_t)(unit % TT_INDEX_SLAB_UNITS) * TT_INDEX_UNIT);
}

/* LEB128. The reader knows that a whole one is there. */
static inline uint8_t *tt_index_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}
static inline const uint8_t *tt_index_get_varint(const uint8_t *in, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *in++;
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) break;
    }
    *value = v;
    return in;
}

/* The entries of a block, one after the other. */
struct tt_index_walk {
    const uint8_t *at;
    uint64_t offset;
    uint32_t place; /* relative, in units of 8 */
    uint32_t flags;
    uint32_t left;
    bool first;
};
static inline struct tt_index_walk tt_index_walk(const struct tt_index_block *block)
{
    return (struct tt_index_walk){.at = block->data,
                                  .offset = block->first_offset,
                                  .place = block->first_place,
                                  .flags = block->first_flags,
                                  .left = block->count,
                                  .first = true};
}
static inline bool tt_index_walk_next(struct tt_index_walk *w)
{
    if (w->left == 0) return false;
    w->left--;
    if (w->first) {
        w->first = false;
        return true;
    }
    uint64_t step;
    w->at = tt_index_get_varint(w->at, &step);
    w->offset += step >> 2;
    w->flags = (uint32_t)(step & TT_INDEX_FLAGS_MASK);
    w->at = tt_index_get_varint(w->at, &step);
    w->place += (uint32_t)step;
    return true;
}

#endif
