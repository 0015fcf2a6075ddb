#include <criterion/criterion.h>

#include "proto/event/partition_hash.h"
#include "shard/topology.h"

static const struct tt_hash_key key = {1, 2};
static struct tt_cursor_storage storage;

/* Two topics of Kafka: quotes by key, 4 partitions and 2 slots; trades anywhere, 2 and 1. */
static struct tt_topic quotes_and_trades[2];
static struct tt_topology t;

static void make(enum tt_partitioner quotes, enum tt_partitioner trades)
{
    quotes_and_trades[0] = (struct tt_topic){.name = "quotes",
                                             .history = {"qqqqqq"},
                                             .capacity = 6,
                                             .partitions = 4,
                                             .partitioner = quotes,
                                             .keyed = true,
                                             .prefix = TT_BYTES_LITERAL("stock."),
                                             .suffix = TT_BYTES_LITERAL(".bid")};
    quotes_and_trades[1] = (struct tt_topic){.name = "trades",
                                             .history = {"tttttt"},
                                             .first = 6,
                                             .capacity = 3,
                                             .partitions = 2,
                                             .partitioner = trades,
                                             .keyed = true,
                                             .prefix = TT_BYTES_LITERAL("trade.")};
    tt_topology_deinit(&t);
    cr_assert_eq(tt_topology_init(&t, quotes_and_trades, 2, &key), TT_OK);
}

static void make_log(struct tt_topic *topic, uint32_t partitions)
{
    *topic = (struct tt_topic){.name = "",
                               .history = {"k7Qp2a"},
                               .capacity = partitions,
                               .partitions = partitions,
                               .fixed = true};
    tt_topology_deinit(&t);
    cr_assert_eq(tt_topology_init(&t, topic, 1, &key), TT_OK);
}

static uint32_t of(const char *a, const char *b)
{
    struct tt_pattern patterns[2];
    uint32_t n = b == NULL ? 1 : 2;
    cr_assert_eq(tt_pattern_parse(tt_bytes_text(a), &patterns[0], NULL), TT_OK);
    if (n == 2) cr_assert_eq(tt_pattern_parse(tt_bytes_text(b), &patterns[1], NULL), TT_OK);
    return tt_topology_of_patterns(&t, patterns, n);
}

static struct tt_cursor written(const uint64_t *vector)
{
    static uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    struct tt_cursor cursor;
    tt_topology_write_full(&t, vector, &w);
    cr_assert_not(w.overflow);
    tt_cursor_init(&cursor, &storage);
    cr_assert_eq(tt_cursor_parse(tt_writer_bytes(&w), &cursor), TT_OK);
    cr_assert(cursor.full);
    return cursor;
}

/* ---- names ---- */

Test(topology, local_numbers_stand_for_a_history_and_a_number)
{
    make(TT_PARTITIONER_ANY, TT_PARTITIONER_ANY);
    cr_assert_eq(t.partitions_count, 9);
    struct tt_position p = tt_topology_position(&t, 7, 42);
    cr_assert_str_eq(p.history.text, "tttttt");
    cr_assert_eq(p.partition, 1);
    cr_assert_eq(p.offset, 42);
    for (uint32_t i = 0; i < t.partitions_count; i++) {
        p = tt_topology_position(&t, i, 0);
        cr_assert_eq(tt_topology_find(&t, p.history, p.partition), i);
    }
    cr_assert_eq(tt_topology_find(&t, quotes_and_trades[1].history, 3), TT_PARTITION_NONE);
    cr_assert_eq(tt_topology_find(&t, (struct tt_history){"zzzzzz"}, 0), TT_PARTITION_NONE);
}

Test(topology, only_a_log_of_one_partition_for_ever_leaves_its_number_out)
{
    struct tt_topic topic;
    make_log(&topic, 1);
    cr_assert(tt_topology_is_single(&t));
    cr_assert_eq(tt_topology_narrow_partitions(&t, 0), 0);
    make_log(&topic, 4);
    cr_assert_not(tt_topology_is_single(&t));
    cr_assert_eq(tt_topology_narrow_partitions(&t, 3), 4);
    topic = (struct tt_topic){.name = "one",
                              .history = {"oooooo"},
                              .capacity = 2,
                              .partitions = 1,
                              .partitioner = TT_PARTITIONER_ANY};
    tt_topology_deinit(&t);
    cr_assert_eq(tt_topology_init(&t, &topic, 1, &key), TT_OK);
    cr_assert_not(tt_topology_is_single(&t));
    cr_assert_eq(tt_topology_narrow_partitions(&t, 0), 1);
}

Test(topology, a_full_cursor_holds_every_topic_with_its_partitions)
{
    const uint64_t vector[9] = {5, 0, 900, 7, 0, 0, 1000000, 3, 0};
    make(TT_PARTITIONER_ANY, TT_PARTITIONER_ANY);
    struct tt_cursor c = written(vector);
    cr_assert_eq(c.topics_count, 2);
    cr_assert_str_eq(c.topics[0].history.text, "qqqqqq");
    cr_assert_eq(c.topics[0].partitions, 4);
    cr_assert_eq(c.topics[1].partitions, 2);
    for (uint32_t p = 0; p < 4; p++) cr_assert_eq(c.next[c.topics[0].first + p], vector[p]);
    for (uint32_t p = 0; p < 2; p++) cr_assert_eq(c.next[c.topics[1].first + p], vector[6 + p]);
}

Test(topology, a_full_cursor_keeps_partitions_that_are_not_known_here_yet)
{
    const uint64_t vector[9] = {5, 0, 900, 7, 0, 77, 1, 3, 0};
    make(TT_PARTITIONER_ANY, TT_PARTITIONER_ANY);
    struct tt_cursor c = written(vector);
    cr_assert_eq(c.topics[0].partitions, 6);
    cr_assert_eq(tt_cursor_next(&c, &c.topics[0], 4), 0);
    cr_assert_eq(tt_cursor_next(&c, &c.topics[0], 5), 77);
    cr_assert_eq(c.topics[1].partitions, 2);
}

Test(topology, the_longest_cursor_counts_the_slots)
{
    uint64_t vector[9];
    uint8_t text[TT_CURSOR_BYTES_MAX];
    make(TT_PARTITIONER_ANY, TT_PARTITIONER_ANY);
    for (unsigned i = 0; i < 9; i++) vector[i] = TT_NEXT_MAX >> (7 * i);
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_topology_write_full(&t, vector, &w);
    cr_assert_leq(w.size, t.cursor_bytes_max);
    cr_assert(tt_topology_cursor_fits(&t));
    struct tt_topic large;
    make_log(&large, 1000);
    cr_assert_not(tt_topology_cursor_fits(&t));
}

Test(topology, there_may_be_no_topic_yet)
{
    tt_topology_deinit(&t);
    cr_assert_eq(tt_topology_init(&t, NULL, 0, &key), TT_OK);
    cr_assert_eq(t.partitions_count, 0);
    cr_assert_eq(of("stock.AAPL", NULL), TT_PARTITION_ALL);
}

/* ---- where channels live ---- */

Test(topology, the_log_s_own_hash_puts_channels_as_ever)
{
    struct tt_topic topic;
    make_log(&topic, 1);
    cr_assert_eq(of("*", NULL), 0);
    cr_assert_eq(of("a", "b.*"), 0);
    make_log(&topic, 5);
    for (const char *c = "abcdefghijklmnopqrstuvwxyz"; *c != 0; c++) {
        const char name[2] = {*c, 0};
        uint64_t hash = tt_hash(&key, tt_bytes_text(name));
        cr_assert_eq(of(name, NULL), hash % 5);
        cr_assert_eq(tt_topology_of_publish(&t, 0, tt_bytes_text(name)), hash % 5);
        for (uint32_t p = 0; p < 5; p++)
            cr_assert_eq(tt_topology_may_hold(&t, p, tt_bytes_text(name), hash), p == hash % 5);
    }
    cr_assert_eq(of("a.*", NULL), TT_PARTITION_ALL);
    cr_assert_eq(of("*", NULL), TT_PARTITION_ALL);
}

Test(topology, a_declared_partitioner_places_the_key_within_the_template)
{
    make(TT_PARTITIONER_MURMUR2, TT_PARTITIONER_CRC32);
    uint32_t aapl = tt_partition_of_murmur2(tt_bytes_text("AAPL"), 4);
    cr_assert_eq(of("stock.AAPL.bid", NULL), aapl);
    cr_assert_eq(of("trade.AAPL", NULL), 6 + tt_partition_of_crc32(tt_bytes_text("AAPL"), 2));
    cr_assert_eq(of("stock.AAPL.bid", "stock.AAPL.bid"), aapl);
    cr_assert_eq(of("stock.AAPL.bid", "trade.AAPL"), TT_PARTITION_ALL);
    cr_assert_eq(of("stock.*", NULL), TT_PARTITION_ALL);
    cr_assert_eq(of("*", NULL), TT_PARTITION_ALL);
    /* What no template makes lies nowhere, and narrows nothing. */
    cr_assert_eq(of("stock.AAPL.bid", "bond.X"), aapl);
    cr_assert_eq(of("stock.AAPL.bid", "bond.*"), aapl);
    cr_assert_eq(of("bond.X", NULL), TT_PARTITION_ALL);
    cr_assert_eq(of("stock..bid", NULL), TT_PARTITION_ALL); /* there is no empty key */
    struct tt_bytes name = tt_bytes_text("stock.AAPL.bid");
    for (uint32_t p = 0; p < 9; p++)
        cr_assert_eq(tt_topology_may_hold(&t, p, name, tt_hash(&key, name)), p == aapl);
}

Test(topology, records_without_a_key_are_in_any_partition_of_their_topic)
{
    make(TT_PARTITIONER_MURMUR2, TT_PARTITIONER_MURMUR2);
    cr_assert_eq(of("quotes", NULL), TT_PARTITION_ALL);
    for (uint32_t p = 0; p < 9; p++)
        cr_assert_eq(tt_topology_may_hold(&t, p, tt_bytes_text("quotes"), 0), p < 6);
}

Test(topology, a_topic_that_may_hold_it_anywhere_makes_it_full)
{
    make(TT_PARTITIONER_MURMUR2, TT_PARTITIONER_ANY);
    cr_assert_eq(of("trade.AAPL", NULL), TT_PARTITION_ALL);
    struct tt_pattern pattern = {TT_PATTERN_PREFIX, TT_BYTES_LITERAL("trade.")};
    cr_assert_eq(tt_topology_touched(&t, &pattern, 1), 2);
    pattern = (struct tt_pattern){TT_PATTERN_ALL, TT_BYTES_NONE};
    cr_assert_eq(tt_topology_touched(&t, &pattern, 1), 3);
    /* But not where its template does not fit. */
    cr_assert_eq(of("stock.AAPL.bid", NULL), tt_partition_of_murmur2(tt_bytes_text("AAPL"), 4));
    quotes_and_trades[1].keyed = false;
    cr_assert_eq(of("stock.AAPL.bid", NULL), TT_PARTITION_ALL);
}

/* ---- learning ---- */

Test(topology, a_record_of_a_new_partition_raises_the_number_and_ends_the_declaration)
{
    make(TT_PARTITIONER_MURMUR2, TT_PARTITIONER_MURMUR2);
    cr_assert_not(tt_topology_note(&t, 3, false));
    cr_assert_not(tt_topology_is_seen(&t, 4));
    cr_assert(tt_topology_note(&t, 4, false));
    cr_assert(tt_topology_is_seen(&t, 4));
    cr_assert_eq(tt_topology_narrow_partitions(&t, 0), 5);
    cr_assert_eq(of("stock.AAPL.bid", NULL), TT_PARTITION_ALL);
    /* Only once, and the other topic is as it was. */
    cr_assert_not(tt_topology_note(&t, 5, false));
    cr_assert_eq(tt_topology_narrow_partitions(&t, 0), 6);
    cr_assert_eq(of("trade.AAPL", NULL), 6 + tt_partition_of_murmur2(tt_bytes_text("AAPL"), 2));
}

Test(topology, a_misplaced_record_ends_the_declaration)
{
    make(TT_PARTITIONER_MURMUR2, TT_PARTITIONER_ANY);
    cr_assert(tt_topology_note(&t, 2, true));
    cr_assert_not(tt_topology_note(&t, 2, true));
    cr_assert_not(tt_topology_note(&t, 6, true)); /* of a topic that declares nothing */
    cr_assert_eq(tt_topology_narrow_partitions(&t, 0), 4);
    cr_assert_eq(of("stock.AAPL.bid", NULL), TT_PARTITION_ALL);
}
