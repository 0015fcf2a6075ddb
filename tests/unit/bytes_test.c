#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

/* A copy that ends where the next page cannot be read, so that reading past the end crashes. */
static struct tt_bytes guarded(const char *text, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = (size / page + 1) * page;
    uint8_t *memory =
        mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert(memory != MAP_FAILED);
    cr_assert(mprotect(memory + room, page, PROT_NONE) == 0);
    memcpy(memory + room - size, text, size);
    return tt_bytes(memory + room - size, size);
}

Test(bytes, numbers_are_digits_only_and_within_the_maximum)
{
    static const char *const bad[] = {"",   "-1", "+1",  " 1",
                                      "1 ", "1a", "0x1", "18446744073709551616"};
    uint64_t value = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(tt_bytes_to_u64(tt_bytes_text(bad[i]), UINT64_MAX, &value), TT_EINVAL, "%s",
                     bad[i]);
    }
    cr_assert_eq(value, 7, "a failure leaves the value alone");
    cr_assert_eq(tt_bytes_to_u64(tt_bytes_text("18446744073709551615"), UINT64_MAX, &value), TT_OK);
    cr_assert_eq(value, UINT64_MAX);
    cr_assert_eq(tt_bytes_to_u64(tt_bytes_text("100"), 100, &value), TT_OK);
    cr_assert_eq(tt_bytes_to_u64(tt_bytes_text("101"), 100, &value), TT_EINVAL);
}

Test(bytes, utf8_is_rfc_3629)
{
    static const char *const good[] = {"",
                                       "plain ascii of more than eight bytes",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "1234567\xC3\xA4 12345678"};
    static const char *const bad[] = {"\x80",             /* a lone continuation */
                                      "\xC0\x80",         /* overlong zero */
                                      "\xC1\xBF",         /* overlong */
                                      "\xE0\x9F\xBF",     /* overlong */
                                      "\xF0\x8F\xBF\xBF", /* overlong */
                                      "\xED\xA0\x80",     /* a surrogate */
                                      "\xF4\x90\x80\x80", /* past U+10FFFF */
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "\xC3",
                                      "\xE2\x82",
                                      "\xF0\x9F\x98",
                                      "\xC3(",
                                      "\xE2(\xA1",
                                      "\xE2\x82(",
                                      "\xF0\x9F\x98(",
                                      "12345678\xFF"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert(tt_bytes_is_utf8(guarded(good[i], strlen(good[i]))), "good %zu", i);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(tt_bytes_is_utf8(guarded(bad[i], strlen(bad[i]))), "bad %zu", i);
    }
}

Test(bytes, comparing_without_case_knows_ascii_only)
{
    cr_assert(tt_bytes_is_nocase(tt_bytes_text("Content-LENGTH"), "content-length"));
    cr_assert_not(tt_bytes_is_nocase(tt_bytes_text("Content-Lengt"), "content-length"));
    cr_assert_not(tt_bytes_is_nocase(tt_bytes_text("["), "{"));
    cr_assert_not(tt_bytes_is_nocase(tt_bytes_text("\xC4"), "\xE4"));
    cr_assert(tt_bytes_equal(TT_BYTES_NONE, tt_bytes_text("")));
    cr_assert(tt_bytes_starts(tt_bytes_text("abc"), TT_BYTES_NONE));
    cr_assert_not(tt_bytes_starts(tt_bytes_text("ab"), tt_bytes_text("abc")));
}

static void expect(struct tt_writer *w, const char *text)
{
    cr_assert(tt_bytes_is(tt_writer_bytes(w), text), "got %.*s, expected %s", (int)w->size,
              (const char *)w->data, text);
    cr_assert_not(w->overflow);
    w->size = 0;
}

Test(bytes, numbers_are_written_whole)
{
    char memory[64];
    struct tt_writer w = tt_writer(memory, sizeof(memory));

    tt_write_u64(&w, 0);
    expect(&w, "0");
    tt_write_u64(&w, UINT64_MAX);
    expect(&w, "18446744073709551615");
    tt_write_i64(&w, INT64_MIN);
    expect(&w, "-9223372036854775808");
    tt_write_i64(&w, -1);
    expect(&w, "-1");
    tt_write_hex(&w, 0);
    expect(&w, "0");
    tt_write_hex(&w, 0xDEADBEEF);
    expect(&w, "deadbeef");
    tt_write_format(&w, "%s=%d", "a", 5);
    expect(&w, "a=5");
}

Test(bytes, what_does_not_fit_is_not_written_and_is_noticed)
{
    char memory[4];
    struct tt_writer w = tt_writer(memory, sizeof(memory));

    tt_write_text(&w, "abcde");
    cr_assert(w.overflow);
    cr_assert_eq(w.size, 0);
    w = tt_writer(memory, sizeof(memory));
    tt_write_i64(&w, -12345);
    cr_assert(w.overflow);
    cr_assert_eq(w.size, 0, "no sign without its number");
    w = tt_writer(memory, sizeof(memory));
    tt_write_text(&w, "abcd");
    cr_assert_not(w.overflow);
    tt_write_char(&w, 'e');
    cr_assert(w.overflow);
}

Test(bytes, digits_agree_with_what_is_written)
{
    char memory[32];

    for (uint64_t value = 1; value != 0 && value < UINT64_MAX / 10; value *= 10) {
        for (uint64_t v = value - 1; v <= value; v++) {
            struct tt_writer w = tt_writer(memory, sizeof(memory));
            tt_write_u64(&w, v);
            cr_assert_eq(w.size, tt_digits_u64(v));
            char expected[32];
            snprintf(expected, sizeof(expected), "%llu", (unsigned long long)v);
            cr_assert_eq(strncmp((const char *)w.data, expected, w.size), 0, "%s", expected);
            cr_assert_eq(w.size, strlen(expected));
        }
    }
    cr_assert_eq(tt_digits_u64(UINT64_MAX), 20);
}

Test(bytes, json_strings_cannot_be_left)
{
    char memory[256];
    struct tt_writer w = tt_writer(memory, sizeof(memory));

    tt_write_json_string(&w, tt_bytes_text("a\"b\\c\nd\re\tf\x01g\x7Fh/\xC3\xA4"));
    expect(&w, "\"a\\\"b\\\\c\\nd\\re\\tf\\u0001g\\u007fh/\xC3\xA4\"");
    tt_write_json_string(&w, guarded("x\xF0\x9F\x98", 4));
    expect(&w, "\"x\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
    tt_write_json_string(&w, TT_BYTES_NONE);
    expect(&w, "\"\"");
}

Test(bytes, every_status_has_a_text)
{
    for (int status = TT_ECANCELED; status <= TT_END; status++) {
        const char *text = tt_status_text((enum tt_status)status);
        cr_assert(strcmp(text, "unknown status") != 0, "%d", status);
    }
}
