#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/event/cursor.h"

static struct tt_cursor_storage storage[2];
static unsigned seed = 20;

static uint64_t random64(void)
{
    return (uint64_t)rand_r(&seed) << 42 ^ (uint64_t)rand_r(&seed) << 21 ^ (uint64_t)rand_r(&seed);
}

static struct tt_cursor read_ok(const char *text)
{
    struct tt_cursor c;

    tt_cursor_init(&c, &storage[0]);
    cr_assert_eq(tt_cursor_parse(tt_bytes_text(text), &c), TT_OK, "%s", text);
    return c;
}

static uint64_t next_of(const struct tt_cursor *c, const char *history, uint32_t partition)
{
    struct tt_history h;

    cr_assert_eq(tt_history_parse(tt_bytes_text(history), &h), TT_OK);
    const struct tt_cursor_topic *t = tt_cursor_find(c, h);
    cr_assert_not_null(t, "no topic %s", history);
    return tt_cursor_next(c, t, partition);
}

static void add(struct tt_cursor *c, const char *history, const uint64_t *next, uint32_t n)
{
    struct tt_history h;

    cr_assert_eq(tt_history_parse(tt_bytes_text(history), &h), TT_OK);
    uint64_t *entries = tt_cursor_add(c, h, n);
    cr_assert_not_null(entries);
    if (n != 0) memcpy(entries, next, n * sizeof(*next));
}

/* Writes, checks the size, reads back and compares. Returns the text's size. */
static size_t round_trip(const struct tt_cursor *c, char *text, size_t capacity)
{
    struct tt_writer w = tt_writer(text, capacity);
    struct tt_cursor again;
    char second[TT_CURSOR_BYTES_MAX];

    tt_cursor_write_full(&w, c);
    cr_assert_not(w.overflow);
    cr_assert_eq(w.size, tt_cursor_full_bytes(c));
    tt_cursor_init(&again, &storage[1]);
    cr_assert_eq(tt_cursor_parse(tt_writer_bytes(&w), &again), TT_OK);
    cr_assert(again.full);
    cr_assert_eq(again.topics_count, c->topics_count);
    cr_assert_eq(again.next_count, c->next_count);
    for (uint32_t i = 0; i < c->topics_count; i++) {
        cr_assert(tt_history_equal(again.topics[i].history, c->topics[i].history));
        cr_assert_eq(again.topics[i].partitions, c->topics[i].count);
    }
    for (uint32_t i = 0; i < c->next_count; i++) cr_assert_eq(again.next[i], c->next[i]);
    struct tt_writer w2 = tt_writer(second, sizeof(second));
    tt_cursor_write_full(&w2, &again);
    cr_assert(tt_bytes_equal(tt_writer_bytes(&w), tt_writer_bytes(&w2)));
    return w.size;
}

Test(cursor, narrow_is_the_event_id_with_the_number_of_partitions)
{
    struct tt_position p = {{"k7Qp2a"}, 3, 1042};
    char text[TT_CURSOR_NARROW_MAX];
    struct tt_writer w = tt_writer(text, sizeof(text));

    tt_cursor_write_narrow(&w, &p, 8);
    cr_assert(tt_bytes_is(tt_writer_bytes(&w), "k7Qp2a-3-1042/8"));
    cr_assert_eq(tt_cursor_narrow_bytes(&p, 8), w.size);

    struct tt_cursor c = read_ok("k7Qp2a-3-1042/8");
    cr_assert_not(c.full);
    cr_assert_eq(next_of(&c, "k7Qp2a", 3), 1043, "the next offset, not the event's");
    cr_assert_eq(next_of(&c, "k7Qp2a", 0), TT_CURSOR_UNKNOWN);
    cr_assert_eq(next_of(&c, "k7Qp2a", 7), TT_CURSOR_UNKNOWN);
    cr_assert_eq(next_of(&c, "k7Qp2a", 8), TT_CURSOR_BEGINNING, "newer than the cursor");
    cr_assert_null(tt_cursor_find(&c, (struct tt_history){"other1"}));

    w.size = 0;
    p.partition = 0;
    tt_cursor_write_narrow(&w, &p, 0);
    cr_assert(tt_bytes_is(tt_writer_bytes(&w), "k7Qp2a-0-1042"));
    c = read_ok("k7Qp2a-0-1042");
    cr_assert_eq(next_of(&c, "k7Qp2a", 0), 1043);
    cr_assert_eq(next_of(&c, "k7Qp2a", 1), TT_CURSOR_UNKNOWN, "a bare id says nothing of others");
}

Test(cursor, full_has_the_written_bytes)
{
    struct tt_cursor c;
    uint64_t next[3] = {300, 0x102, 258};
    char text[TT_CURSOR_BYTES_MAX];

    tt_cursor_init(&c, &storage[0]);
    add(&c, "k7Qp2a", next, 3);
    /* 01 | 6b 37 51 70 32 61 | 03 | 82 02 (258) | 01 | 2a 00 00 */
    size_t size = round_trip(&c, text, sizeof(text));
    cr_assert(tt_bytes_is(tt_bytes(text, size), "~AWs3UXAyYQOCAgEqAAA"), "%.*s", (int)size, text);
}

Test(cursor, full_round_trips_for_all_partition_counts_to_64)
{
    static char text[TT_CURSOR_BYTES_MAX];

    for (uint32_t n = 0; n <= 64; n++) {
        for (unsigned round = 0; round < 40; round++) {
            struct tt_cursor c;
            uint64_t next[64];
            uint64_t base = random64() >> (1 + (unsigned)rand_r(&seed) % 63);
            unsigned spread = 1 + (unsigned)rand_r(&seed) % 63;
            for (uint32_t p = 0; p < n; p++) {
                uint64_t difference = random64() >> spread;
                next[p] = difference > TT_NEXT_MAX - base ? TT_NEXT_MAX : base + difference;
                if (rand_r(&seed) % 16 == 0) next[p] = 0; /* an empty partition */
            }
            tt_cursor_init(&c, &storage[0]);
            add(&c, "Abc123", next, n);
            size_t size = round_trip(&c, text, sizeof(text));
            cr_assert_leq(size, tt_cursor_full_bytes_max(&n, 1));
        }
    }
}

Test(cursor, full_is_as_short_as_promised)
{
    static const struct {
        uint32_t n;
        size_t most;
    } promises[] = {{16, 90}, {64, 300}};

    for (size_t i = 0; i < 2; i++) {
        struct tt_cursor c;
        uint64_t next[64];
        for (uint32_t p = 0; p < 64; p++) next[p] = 5000000000u + random64() % 16000000u;
        tt_cursor_init(&c, &storage[0]);
        add(&c, "Abc123", next, promises[i].n);
        cr_assert_leq(tt_cursor_full_bytes(&c), promises[i].most);
    }
}

Test(cursor, several_topics)
{
    static char text[TT_CURSOR_BYTES_MAX];
    struct tt_cursor c;
    uint64_t next[5] = {1, 2, 3, TT_NEXT_MAX, 0};
    uint32_t partitions[3] = {5, 0, 1};

    tt_cursor_init(&c, &storage[0]);
    add(&c, "first1", next, 5);
    add(&c, "second", next, 0);
    add(&c, "third3", next, 1);
    size_t size = round_trip(&c, text, sizeof(text));
    cr_assert_leq(size, tt_cursor_full_bytes_max(partitions, 3));
    text[size] = 0;
    c = read_ok(text);
    cr_assert_eq(next_of(&c, "first1", 3), TT_NEXT_MAX);
    cr_assert_eq(next_of(&c, "second", 0), TT_CURSOR_BEGINNING);
    cr_assert_eq(next_of(&c, "third3", 0), 1);
}

Test(cursor, ids_received_since_raise_their_partitions)
{
    struct tt_cursor c = read_ok("k7Qp2a-0-10/4,k7Qp2a-0-12,k7Qp2a-0-11,k7Qp2a-2-7/4");

    cr_assert_eq(next_of(&c, "k7Qp2a", 0), 13, "an older id does not lower it");
    cr_assert_eq(next_of(&c, "k7Qp2a", 1), TT_CURSOR_UNKNOWN);
    cr_assert_eq(next_of(&c, "k7Qp2a", 2), 8);

    /* An id of a partition that the cursor did not know yet, while another topic stands behind. */
    struct tt_cursor made;
    char text[200];
    struct tt_writer w = tt_writer(text, sizeof(text) - 1);
    uint64_t next[2] = {5, 6};
    tt_cursor_init(&made, &storage[1]);
    add(&made, "first1", next, 2);
    add(&made, "second", next, 2);
    tt_cursor_write_full(&w, &made);
    tt_write_text(&w, ",first1-4-100,third3-1-9,second-0-20");
    text[w.size] = 0;
    c = read_ok(text);
    cr_assert(c.full);
    cr_assert_eq(next_of(&c, "first1", 1), 6);
    cr_assert_eq(next_of(&c, "first1", 3), TT_CURSOR_BEGINNING);
    cr_assert_eq(next_of(&c, "first1", 4), 101);
    cr_assert_eq(next_of(&c, "second", 0), 21);
    cr_assert_eq(next_of(&c, "second", 1), 6);
    cr_assert_eq(next_of(&c, "third3", 1), 10);
    cr_assert_eq(next_of(&c, "third3", 0), TT_CURSOR_BEGINNING,
                 "a topic that a full cursor does not have is newer than it");
}

Test(cursor, a_full_cursor_keeps_its_promise_when_partitions_appear)
{
    struct tt_cursor c;
    uint64_t next[4] = {9, 8, 7, 6};
    char text[TT_CURSOR_BYTES_MAX];

    tt_cursor_init(&c, &storage[0]);
    add(&c, "k7Qp2a", next, 4);
    size_t size = round_trip(&c, text, sizeof(text) - 1);
    text[size] = 0;
    c = read_ok(text);
    for (uint32_t p = 0; p < 4; p++) cr_assert_eq(next_of(&c, "k7Qp2a", p), next[p]);
    for (uint32_t p = 4; p < 8; p++) {
        cr_assert_eq(next_of(&c, "k7Qp2a", p), TT_CURSOR_BEGINNING);
    }
}

static bool reads(const char *text)
{
    struct tt_cursor c;

    tt_cursor_init(&c, &storage[0]);
    c.topics_count = 1; /* what it held before must not remain */
    if (tt_cursor_parse(tt_bytes_text(text), &c) == TT_OK) return true;
    cr_assert_eq(c.topics_count, 0);
    cr_assert_eq(c.next_count, 0);
    return false;
}

Test(cursor, what_is_not_canonical_is_unreadable)
{
    static const char *const bad[] = {
        "",
        ",",
        "~",
        "~AQ=",                         /* padding */
        "~AR",                          /* left-over bits */
        "~A",                           /* half a byte */
        "~Ag",                          /* version 2 */
        "~AWs3UXAyYQ",                  /* a history and nothing behind */
        "~AWs3UXAyYQOCAgEqAA",          /* a difference is missing */
        "~AWs3UXAyYQOCAgEqAAAA",        /* a byte too many */
        "~AWs3UXAyYQOCAgEqAQE",         /* no partition has the minimum */
        "~AWs3UXAyYQGCAgEA",            /* a width that no difference needs */
        "~AWs3UXAyYQGAAAA",             /* a minimum in two bytes where one does */
        "~AWs3UXAyYQABAA",              /* no partitions, yet a minimum */
        "~AWs3UXAyYQH_____________AAA", /* a minimum past the highest next offset */
        "~AWs3UXAyXwEAAA",              /* a history with an underscore */
        "~AWs3UXAyYQEAAGs3UXAyYQEAAA",  /* one history twice */
        "k7Qp2a-0-1/0",
        "k7Qp2a-0-1/",
        "k7Qp2a-0-1/01",
        "k7Qp2a-1-1/1", /* partition 1 of 1 */
        "k7Qp2a-0-1/1025",
        "k7Qp2a-0-1,",
        ",k7Qp2a-0-1",
        "k7Qp2a-0-1,,k7Qp2a-0-2",
        "k7Qp2a-0-1, k7Qp2a-0-2",
        "k7Qp2a-0-1,~AQ",
        "k7Qp2a-0-1,k7Qp2a-0-x",
        "null",
        "undefined",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(reads(bad[i]), "%s", bad[i]);
    }
    cr_assert(reads("~AQ"), "no topics at all is a state too");
    cr_assert(reads("~AWs3UXAyYQGCAgA"));
}

Test(cursor, too_long_or_too_many_is_unreadable)
{
    static char text[TT_CURSOR_LIST_BYTES_MAX + 64];
    struct tt_cursor c;
    size_t size = 0;

    /* Topics beyond the arrays. */
    for (unsigned i = 0; i <= TT_CURSOR_TOPICS_MAX; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%shist%02u-0-1",
                                 i == 0 ? "" : ",", i);
    }
    cr_assert_not(reads(text));
    text[size - strlen(",hist64-0-1")] = 0;
    cr_assert(reads(text));

    /* Partitions beyond the arrays: width 0 packs 1,024 of them into a few bytes. */
    struct tt_cursor many;
    static uint64_t next[TT_PARTITIONS_MAX];
    tt_cursor_init(&many, &storage[1]);
    add(&many, "aaaaa1", next, TT_PARTITIONS_MAX);
    add(&many, "aaaaa2", next, TT_PARTITIONS_MAX);
    struct tt_writer w = tt_writer(text, sizeof(text) - 1);
    tt_cursor_write_full(&w, &many);
    c = (struct tt_cursor){.topics = storage[0].topics,
                           .topics_max = 8,
                           .next = storage[0].next,
                           .next_max = 2 * TT_PARTITIONS_MAX - 1};
    cr_assert_eq(tt_cursor_parse(tt_writer_bytes(&w), &c), TT_EINVAL);
    c.next_max++;
    cr_assert_eq(tt_cursor_parse(tt_writer_bytes(&w), &c), TT_OK);

    /* Bytes. */
    memset(text, 'A', sizeof(text));
    text[0] = '~';
    cr_assert_eq(tt_cursor_parse(tt_bytes(text, sizeof(text)), &c), TT_EINVAL);
    cr_assert_eq(tt_cursor_parse(tt_bytes(text, TT_CURSOR_BYTES_MAX), &c), TT_EINVAL);
}

/* Random changes of good texts, each at the end of readable memory: never a crash, and whatever is
 * read from the full form is what would be written. */
Test(cursor, garbage_never_harms)
{
    static const char *const starts[] = {"~AWs3UXAyYQOCAgEqAAA", "k7Qp2a-3-1042/8,k7Qp2a-2-7",
                                         "~AWZpcnN0MQIFAQABc2Vjb25kAgUBAAE"};
    static const char alphabet[] = "~,-/AQgw_09azZ =\xFF";
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned read = 0;

    cr_assert(memory != MAP_FAILED);
    cr_assert_eq(mprotect(memory + page, page, PROT_NONE), 0);
    for (unsigned round = 0; round < 300000; round++) {
        const char *start = starts[round % 3];
        size_t size = (size_t)rand_r(&seed) % (strlen(start) + 1);
        if (rand_r(&seed) % 4 != 0) size = strlen(start);
        uint8_t *text = memory + page - size;
        memcpy(text, start, size);
        for (unsigned change = (unsigned)rand_r(&seed) % 4; change != 0 && size != 0; change--) {
            text[(size_t)rand_r(&seed) % size] =
                (uint8_t)alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        }
        struct tt_cursor c;
        tt_cursor_init(&c, &storage[0]);
        if (tt_cursor_parse(tt_bytes(text, size), &c) != TT_OK) continue;
        read++;
        if (!c.full || memchr(text, ',', size) != NULL) continue;
        char again[256];
        struct tt_writer w = tt_writer(again, sizeof(again));
        tt_cursor_write_full(&w, &c);
        cr_assert(tt_bytes_equal(tt_writer_bytes(&w), tt_bytes(text, size)), "%.*s", (int)size,
                  (char *)text);
    }
    cr_assert_gt(read, 1000);
}
