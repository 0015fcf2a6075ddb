#include <criterion/criterion.h>
#include <stdlib.h>

#include "proto/event/position.h"

Test(position, writes_and_reads_ids)
{
    static const struct {
        uint32_t partition;
        uint64_t offset;
        const char *id;
    } cases[] = {
        {0, 1042, "k7Qp2a-0-1042"},
        {0, 0, "k7Qp2a-0-0"},
        {1023, TT_OFFSET_MAX, "k7Qp2a-1023-9223372036854775806"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[TT_POSITION_TEXT_MAX];
        struct tt_writer w = tt_writer(text, sizeof(text));
        struct tt_position in = {{"k7Qp2a"}, cases[i].partition, cases[i].offset};
        struct tt_position out;

        tt_position_write(&w, &in);
        cr_assert_not(w.overflow);
        cr_assert(tt_bytes_is(tt_writer_bytes(&w), cases[i].id));
        cr_assert_eq(w.size, tt_position_text_bytes(&in));
        cr_assert_eq(tt_position_parse(tt_bytes_text(cases[i].id), &out), TT_OK);
        cr_assert(tt_history_equal(out.history, in.history));
        cr_assert_eq(out.partition, in.partition);
        cr_assert_eq(out.offset, in.offset);
    }
}

Test(position, everything_else_is_refused)
{
    static const char *const bad[] = {"",
                                      "k7Qp2a",
                                      "k7Qp2a-0",
                                      "k7Qp2a-0-",
                                      "k7Qp2a--1",
                                      "-0-1",
                                      "k7Qp2-0-1",
                                      "k7Qp2ab-0-1",
                                      "k7Qp2_-0-1",
                                      "k7Qp2a-00-1",
                                      "k7Qp2a-0-01",
                                      "k7Qp2a-+0-1",
                                      "k7Qp2a-0-+1",
                                      "k7Qp2a-0--1",
                                      "k7Qp2a-0-1 ",
                                      " k7Qp2a-0-1",
                                      "k7Qp2a-0-1-2",
                                      "k7Qp2a-0-1x",
                                      "k7Qp2a_0_1",
                                      "k7Qp2a-1024-1",
                                      "k7Qp2a-0-9223372036854775807",
                                      "k7Qp2a-0-18446744073709551616"};
    struct tt_position p = {{"abcdef"}, 7, 7};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(tt_position_parse(tt_bytes_text(bad[i]), &p), TT_EINVAL, "%s", bad[i]);
    }
    cr_assert_eq(p.offset, 7, "a failure leaves the position alone");
}

Test(position, an_id_that_reads_is_the_id_that_is_written)
{
    static const char alphabet[] = "0123456789-aZ /+";
    unsigned seed = 42;
    unsigned read = 0;

    for (unsigned round = 0; round < 200000; round++) {
        char text[16] = "k7Qp2a-10-12";
        size_t size = 10 + (size_t)rand_r(&seed) % 4;
        for (unsigned change = 0; change < 2; change++) {
            text[7 + (size_t)rand_r(&seed) % 6] =
                alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        }
        struct tt_position p;
        if (tt_position_parse(tt_bytes(text, size), &p) != TT_OK) continue;
        char again[TT_POSITION_TEXT_MAX];
        struct tt_writer w = tt_writer(again, sizeof(again));
        tt_position_write(&w, &p);
        cr_assert(tt_bytes_equal(tt_writer_bytes(&w), tt_bytes(text, size)), "%.*s", (int)size,
                  text);
        read++;
    }
    cr_assert_gt(read, 1000, "the generator must hit valid ids too");
}

Test(history, six_characters_from_any_bits)
{
    uint64_t bits = 1;

    for (unsigned i = 0; i < 1000; i++) {
        struct tt_history h = tt_history_from_bits(bits);
        struct tt_history again;
        cr_assert_eq(strlen(h.text), TT_HISTORY_BYTES);
        cr_assert_eq(tt_history_parse(tt_history_bytes(&h), &again), TT_OK);
        cr_assert(tt_history_equal(h, again));
        bits = bits * 6364136223846793005u + 1442695040888963407u;
    }
    cr_assert_not(tt_history_equal(tt_history_from_bits(1), tt_history_from_bits(2)));
}
