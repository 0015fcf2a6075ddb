/* Fetching memory into the cache before it is read, where what comes next is known and lies
 * anywhere: a hint, which may name memory that is not there. Thread: any. */
#ifndef TT_PROTO_BASE_PREFETCH_H
#define TT_PROTO_BASE_PREFETCH_H

#include <stddef.h>

#define TT_CACHE_LINE_BYTES 64u

static inline void tt_prefetch(const void *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += TT_CACHE_LINE_BYTES)
        __builtin_prefetch((const char *)at + i);
}

#endif
