/* tt_resume() against a naive model: random logs, subscriptions, and cursors of every form. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "shard/replay/resume.h"

#define PARTITIONS 64u
#define NOTHING    UINT64_C(0xDEAD)

static struct tt_cursor_storage storage;
static const struct tt_history history = {"abcdef"}, other = {"zzzzzz"};
static unsigned seed;

static uint64_t below(uint64_t n)
{
    return ((uint64_t)rand_r(&seed) << 31 ^ (uint64_t)rand_r(&seed)) % n;
}

/* ---- a random case ---- */

struct given {
    uint32_t partitions;
    uint64_t oldest[PARTITIONS], next[PARTITIONS], head[PARTITIONS];
    uint32_t only; /* the subscription's, or TT_PARTITION_ALL */
    enum tt_subscribe_from from;
    /* The cursor, as what it says: */
    bool empty, unreadable, strange;
    bool full; /* it was written in the full form */
    uint32_t n;
    bool known[PARTITIONS];
    uint64_t wants[PARTITIONS];
    bool beginning[PARTITIONS];
    uint8_t text[TT_CURSOR_LIST_BYTES_MAX];
    size_t size;
};

static void random_log(struct given *g)
{
    g->partitions = 1 + (uint32_t)below(below(3) == 0 ? PARTITIONS : 5);
    for (uint32_t p = 0; p < g->partitions; p++) {
        g->oldest[p] = below(20);
        g->next[p] = g->oldest[p] + below(30);
        g->head[p] = g->next[p] + below(5);
    }
    g->only = below(2) == 0 ? TT_PARTITION_ALL : (uint32_t)below(g->partitions);
    if (g->partitions == 1) g->only = 0;
    g->from = below(2) == 0 ? TT_FROM_LIVE : TT_FROM_EARLIEST;
}

/* An offset somewhere around what the log holds. */
static uint64_t around(const struct given *g, uint32_t p)
{
    return below(g->head[p] + 6);
}

static void write_position(struct tt_writer *w, struct tt_history h, uint32_t p, uint64_t offset)
{
    struct tt_position position = {h, p, offset};
    tt_position_write(w, &position);
}

static void write_full(struct tt_writer *w, struct given *g)
{
    static struct tt_cursor_storage own;
    struct tt_cursor c;
    g->full = true;
    g->n = below(3) == 0 ? 1 + (uint32_t)below(g->partitions) : g->partitions;
    tt_cursor_init(&c, &own);
    uint64_t *next = tt_cursor_add(&c, history, g->n);
    for (uint32_t p = 0; p < g->partitions; p++) {
        g->known[p] = p < g->n;
        g->beginning[p] = p >= g->n;
        if (p < g->n) next[p] = g->wants[p] = around(g, p);
    }
    tt_cursor_write_full(w, &c);
}

static void write_narrow(struct tt_writer *w, struct given *g, bool bare)
{
    uint32_t p =
        g->only != TT_PARTITION_ALL && below(3) != 0 ? g->only : (uint32_t)below(g->partitions);
    uint64_t offset = around(g, p);
    g->n = g->partitions;
    write_position(w, history, p, offset);
    if (!bare) tt_write_format(w, "/%u", g->n);
    g->known[p] = true;
    g->wants[p] = offset + 1;
}

static void add_ids(struct tt_writer *w, struct given *g)
{
    for (uint64_t i = below(4); i > 0; i--) {
        uint32_t p = (uint32_t)below(g->partitions);
        uint64_t offset = around(g, p);
        tt_write_char(w, ',');
        write_position(w, history, p, offset);
        if (!g->known[p] || g->wants[p] < offset + 1) g->wants[p] = offset + 1;
        g->known[p] = true;
        g->beginning[p] = false;
    }
}

static void random_cursor(struct given *g)
{
    static const char *const rubbish[] = {"x",     "~",           "abcdef-0",
                                          "~AAAA", "abcdef-0-1,", "abcdef-0-01"};
    struct tt_writer w = tt_writer(g->text, sizeof g->text);
    switch (below(8)) {
    case 0: g->empty = true; break;
    case 1:
        g->unreadable = true;
        tt_write_text(&w, rubbish[below(sizeof rubbish / sizeof *rubbish)]);
        break;
    case 2:
        g->strange = true;
        write_position(&w, other, 0, below(50));
        break;
    case 3:
    case 4:
        write_full(&w, g);
        add_ids(&w, g);
        break;
    case 5: write_narrow(&w, g, true); break;
    default:
        write_narrow(&w, g, below(2) == 0);
        add_ids(&w, g);
        break;
    }
    cr_assert_not(w.overflow);
    g->size = w.size;
}

/* ---- what must come out ---- */

static bool speaks_of_others(const struct given *g)
{
    for (uint32_t p = 0; p < g->partitions; p++)
        if (p != g->only && g->known[p]) return true;
    return false;
}

static void expect(const struct given *g, struct tt_resume *r, uint64_t pos[PARTITIONS])
{
    bool fresh = g->empty || g->unreadable || g->strange;
    bool ahead = false, partial = false, expired = false;
    *r = (struct tt_resume){.partition = g->only, .fresh = fresh};
    if (!fresh && g->only != TT_PARTITION_ALL && g->partitions > 1 &&
        (g->full || speaks_of_others(g)))
        r->partition = TT_PARTITION_ALL;
    for (uint32_t p = 0; p < g->partitions; p++) {
        pos[p] = NOTHING;
        if (r->partition != TT_PARTITION_ALL && r->partition != p) continue;
        bool says_nothing = !g->known[p] && !g->beginning[p];
        bool beyond = g->known[p] && g->wants[p] > g->head[p];
        if (fresh)
            pos[p] = g->from == TT_FROM_LIVE ? g->next[p] : g->oldest[p];
        else if (says_nothing || beyond)
            pos[p] = g->next[p]; /* live, and told */
        else
            pos[p] = g->beginning[p] ? 0 : g->wants[p];
        if (fresh) continue;
        partial |= says_nothing;
        ahead |= beyond;
        expired |= pos[p] < g->oldest[p];
    }
    if (!g->empty && fresh) r->resync = TT_RESUME_HISTORY;
    if (partial) r->resync = TT_RESUME_PARTIAL;
    if (ahead) r->resync = TT_RESUME_AHEAD;
    r->repeat_cursor = !fresh && !partial && !ahead && !expired;
}

Test(resume_property, agrees_with_a_naive_model, .timeout = 60)
{
    unsigned exact = 0, told = 0;
    for (unsigned round = 0; round < 200000; round++) {
        static struct given g;
        struct tt_resume got, wanted;
        uint64_t pos[PARTITIONS], expected[PARTITIONS];
        seed = round;
        memset(&g, 0, sizeof g);
        random_log(&g);
        random_cursor(&g);
        for (uint32_t p = 0; p < PARTITIONS; p++) pos[p] = NOTHING;
        const struct tt_topic topic = {.name = "",
                                       .history = history,
                                       .capacity = g.partitions,
                                       .partitions = g.partitions,
                                       .fixed = true};
        const struct tt_hash_key key = {1, 2};
        struct tt_topology topology;
        cr_assert_eq(tt_topology_init(&topology, &topic, 1, &key), TT_OK);
        const struct tt_resume_view view = {.topology = &topology,
                                            .next = g.next,
                                            .head = g.head,
                                            .oldest = g.oldest,
                                            .touched = 1};
        tt_resume(&view, g.only, tt_bytes(g.text, g.size), g.from, &storage, &got, pos);
        tt_topology_deinit(&topology);
        expect(&g, &wanted, expected);
        cr_assert_eq(got.partition, wanted.partition, "seed %u: %.*s", round, (int)g.size, g.text);
        cr_assert_eq(got.resync, wanted.resync, "seed %u: %.*s: %d, not %d", round, (int)g.size,
                     g.text, got.resync, wanted.resync);
        cr_assert_eq(got.fresh, wanted.fresh, "seed %u: %.*s", round, (int)g.size, g.text);
        cr_assert_eq(got.repeat_cursor, wanted.repeat_cursor, "seed %u: %.*s", round, (int)g.size,
                     g.text);
        for (uint32_t p = 0; p < g.partitions; p++)
            cr_assert_eq(pos[p], expected[p], "seed %u: partition %u: %llu, not %llu: %.*s", round,
                         p, (unsigned long long)pos[p], (unsigned long long)expected[p],
                         (int)g.size, g.text);
        exact += got.resync == TT_RESUME_EXACT;
        told += got.resync != TT_RESUME_EXACT;
    }
    cr_assert(exact > 10000 && told > 10000, "the cases are not all of one kind");
}
