/* Cursors against a naive model: for every number of partitions, random heads, growth, and ids
 * received since in any order. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/event/cursor.h"

#define PARTITIONS 64u
#define IDS        40u

static struct tt_cursor_storage storage;
static const struct tt_history history = {"k7Qp2a"};
static unsigned seed;

static uint64_t below(uint64_t n)
{
    return ((uint64_t)rand_r(&seed) << 31 ^ (uint64_t)rand_r(&seed)) % n;
}

/* Offsets as they occur: empty partitions, small ones, large ones close together or far apart. */
static void random_heads(uint64_t *next, uint32_t n)
{
    uint64_t base = below(3) == 0 ? 0 : below(UINT64_C(1) << (1 + below(61)));
    uint64_t spread = UINT64_C(1) << below(60);
    for (uint32_t p = 0; p < n; p++) {
        next[p] = base + below(spread);
        if (next[p] > TT_NEXT_MAX || below(50) == 0) next[p] = TT_NEXT_MAX;
        if (below(8) == 0) next[p] = 0;
    }
}

/* What a client has of each partition, in the simplest form. */
struct model {
    uint32_t n; /* partitions of the cursor; newer ones are at their beginning */
    bool known[2 * PARTITIONS];
    uint64_t next[2 * PARTITIONS];
};

static void write_full(struct tt_writer *w, const struct model *m)
{
    struct tt_cursor c;
    static struct tt_cursor_storage own;
    tt_cursor_init(&c, &own);
    uint64_t *next = tt_cursor_add(&c, history, m->n);
    cr_assert_not_null(next);
    memcpy(next, m->next, m->n * sizeof *next);
    tt_cursor_write_full(w, &c);
}

struct id {
    uint32_t partition;
    uint64_t offset;
};

static void write_ids(struct tt_writer *w, const struct id *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct tt_position position = {history, ids[i].partition, ids[i].offset};
        tt_write_char(w, ',');
        tt_position_write(w, &position);
    }
    cr_assert_not(w->overflow);
}

static void receive(struct model *m, const struct id *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t p = ids[i].partition;
        if (!m->known[p] || m->next[p] < ids[i].offset + 1) m->next[p] = ids[i].offset + 1;
        m->known[p] = true;
    }
}

static void check(struct tt_bytes text, const struct model *m, uint32_t partitions)
{
    struct tt_cursor c;
    tt_cursor_init(&c, &storage);
    cr_assert_eq(tt_cursor_parse(text, &c), TT_OK, "%.*s", (int)text.size, text.data);
    const struct tt_cursor_topic *topic = tt_cursor_find(&c, history);
    cr_assert_not_null(topic);
    for (uint32_t p = 0; p < partitions; p++) {
        uint64_t expected = m->known[p] ? m->next[p]
                            : p < m->n  ? TT_CURSOR_UNKNOWN
                                        : TT_CURSOR_BEGINNING;
        cr_assert_eq(tt_cursor_next(&c, topic, p), expected, "partition %u of %.*s", p,
                     (int)text.size, text.data);
    }
}

static void shuffle(struct id *ids, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t k = (uint32_t)below(i);
        struct id kept = ids[i - 1];
        ids[i - 1] = ids[k];
        ids[k] = kept;
    }
}

/* Ids of random partitions (also ones that are newer than the cursor), not in order, some twice. */
static uint32_t random_ids(struct id *ids, const struct model *m, uint32_t partitions)
{
    uint32_t count = (uint32_t)below(IDS);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t p = (uint32_t)below(partitions);
        uint64_t from = m->known[p] ? m->next[p] : 0;
        ids[i] = (struct id){p, from > 3 && below(4) == 0 ? from - 1 - below(3) : from + below(9)};
        if (ids[i].offset > TT_OFFSET_MAX) ids[i].offset = TT_OFFSET_MAX;
        if (i > 0 && below(8) == 0) ids[i] = ids[i - 1];
    }
    return count;
}

Test(cursor_property, full_cursors_with_ids_in_any_order_and_growth, .timeout = 60)
{
    static uint8_t text[TT_CURSOR_LIST_BYTES_MAX];
    for (uint32_t n = 1; n <= PARTITIONS; n++) {
        for (unsigned round = 0; round < 30; round++) {
            seed = n * 1000 + round;
            struct model m = {.n = n};
            struct id ids[IDS];
            uint32_t partitions = n + (uint32_t)below(n + 1); /* the topic has grown since */
            random_heads(m.next, n);
            for (uint32_t p = 0; p < n; p++) m.known[p] = true;
            struct tt_writer w = tt_writer(text, sizeof text);
            write_full(&w, &m);
            check(tt_writer_bytes(&w), &m, partitions);
            size_t full = w.size;
            uint32_t count = random_ids(ids, &m, partitions);
            receive(&m, ids, count);
            for (unsigned order = 0; order < 4; order++) {
                w.size = full;
                write_ids(&w, ids, count);
                check(tt_writer_bytes(&w), &m, partitions);
                shuffle(ids, count);
            }
        }
    }
}

Test(cursor_property, narrow_cursors_with_ids_in_any_order, .timeout = 60)
{
    static uint8_t text[TT_CURSOR_LIST_BYTES_MAX];
    for (uint32_t n = 2; n <= PARTITIONS; n++) {
        for (unsigned round = 0; round < 30; round++) {
            seed = n * 2000 + round;
            struct model m = {.n = n};
            struct id ids[IDS];
            struct tt_position position = {history, (uint32_t)below(n),
                                           below(UINT64_C(1) << (1 + below(62)))};
            struct tt_writer w = tt_writer(text, sizeof text);
            tt_cursor_write_narrow(&w, &position, n);
            m.known[position.partition] = true;
            m.next[position.partition] = position.offset + 1;
            check(tt_writer_bytes(&w), &m, n + 5);
            size_t narrow = w.size;
            uint32_t count = random_ids(ids, &m, n);
            receive(&m, ids, count);
            for (unsigned order = 0; order < 4; order++) {
                w.size = narrow;
                write_ids(&w, ids, count);
                check(tt_writer_bytes(&w), &m, n + 5);
                shuffle(ids, count);
            }
        }
    }
}

/* A client that keeps its last cursor and the ids behind it, through many reconnects, while the
 * topic grows: it never has less or more than it received. */
Test(cursor_property, a_client_that_keeps_ids_stays_exact_through_reconnects, .timeout = 60)
{
    static uint8_t text[TT_CURSOR_LIST_BYTES_MAX];
    for (unsigned round = 0; round < 300; round++) {
        seed = 77000 + round;
        struct model m = {.n = 1 + (uint32_t)below(8)};
        for (uint32_t p = 0; p < m.n; p++) m.known[p] = true;
        for (unsigned connection = 0; connection < 12; connection++) {
            struct tt_writer w = tt_writer(text, sizeof text);
            write_full(&w, &m);
            uint32_t partitions = m.n + (uint32_t)below(4);
            if (partitions > PARTITIONS) partitions = PARTITIONS;
            uint32_t received = (uint32_t)below(IDS);
            struct id ids[IDS];
            for (uint32_t i = 0; i < received; i++) {
                uint32_t p = (uint32_t)below(partitions);
                ids[i] = (struct id){p, (m.known[p] ? m.next[p] : 0) + below(3)};
                receive(&m, &ids[i], 1);
            }
            shuffle(ids, received);
            write_ids(&w, ids, received);
            check(tt_writer_bytes(&w), &m, partitions);
            /* Its next cursor covers what is there now. */
            for (uint32_t p = m.n; p < partitions; p++) m.known[p] = true;
            m.n = partitions;
        }
    }
}
