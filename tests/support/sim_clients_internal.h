/* What sim_publisher.c, sim_follower.c and sim_ledger.c share. */
#ifndef TT_TESTS_SUPPORT_SIM_CLIENTS_INTERNAL_H
#define TT_TESTS_SUPPORT_SIM_CLIENTS_INTERNAL_H

#include <stdlib.h>

#include "proto/base/assert.h"
#include "tests/support/sim_clients.h"

/* A growing array's next element. */
#define SIM_PUSH(array, count, capacity, value)                                                    \
    do {                                                                                           \
        if ((count) == (capacity)) {                                                               \
            (capacity) = (capacity) == 0 ? 64 : (capacity)*2;                                      \
            (array) = realloc((array), (capacity) * sizeof *(array));                              \
            TT_ASSERT((array) != NULL);                                                            \
        }                                                                                          \
        (array)[(count)++] = (value);                                                              \
    } while (0)

/* "history-partition-offset" at `at`; returns what stands behind it. */
static inline const char *sim_read_place(const char *at, uint32_t *partition, uint64_t *offset)
{
    char *end;
    *partition = (uint32_t)strtoul(at + 7, &end, 10);
    *offset = strtoull(end + 1, &end, 10);
    return end;
}

#endif
