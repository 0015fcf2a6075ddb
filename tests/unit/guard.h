/* Memory whose last byte lies directly before a page that must not be touched: a decoder that reads
 * one byte too far dies at once. One thread. */
#ifndef TT_TESTS_UNIT_GUARD_H
#define TT_TESTS_UNIT_GUARD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/bytes.h"

/* Room for `size` bytes that end at the guard page. Each index (0 to 3) is memory of its own, which
 * lasts until guard_room() is called for it again. */
static inline uint8_t *guard_room(unsigned index, size_t size)
{
    static struct {
        uint8_t *start;
        size_t bytes;
    } areas[4];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (size + page - 1) / page * page + page;
    if (areas[index].bytes < bytes) {
        if (areas[index].start != NULL) munmap(areas[index].start, areas[index].bytes);
        void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (start == MAP_FAILED) abort();
        if (mprotect((uint8_t *)start + bytes - page, page, PROT_NONE) != 0) abort();
        areas[index].start = start;
        areas[index].bytes = bytes;
    }
    return areas[index].start + areas[index].bytes - page - size;
}

/* A copy that ends at the guard page. */
static inline struct tt_bytes guard_copy(unsigned index, struct tt_bytes bytes)
{
    uint8_t *room = guard_room(index, bytes.size);
    if (bytes.size != 0) memcpy(room, bytes.data, bytes.size);
    return tt_bytes(room, bytes.size);
}

#endif
