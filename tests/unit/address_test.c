#include <criterion/criterion.h>
#include <string.h>

#include "shard/io/io.h"

static enum tt_status parse(const char *text, struct tt_address *a)
{
    return tt_address_parse(tt_bytes_text(text), a);
}

Test(address, what_is_parsed_is_written_the_same)
{
    static const char *const texts[] = {
        "127.0.0.1:8080", "0.0.0.0:1",       "255.255.255.255:65535", "[::1]:8080",
        "[::]:80",        "[2001:db8::7]:9", "unix:/run/tickertape",  "unix:relative",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tt_address a;
        char text[TT_ADDRESS_TEXT_MAX];
        cr_assert_eq(parse(texts[i], &a), TT_OK, "%s", texts[i]);
        tt_address_text(&a, text);
        cr_assert_str_eq(text, texts[i]);
    }
}

Test(address, localhost_is_an_address_and_port_0_is_left_out_of_the_text)
{
    struct tt_address a;
    char text[TT_ADDRESS_TEXT_MAX];
    cr_assert_eq(parse("localhost:0", &a), TT_OK);
    tt_address_text(&a, text);
    cr_assert_str_eq(text, "127.0.0.1");
    cr_assert_eq(parse("[::1]:0", &a), TT_OK);
    tt_address_text(&a, text);
    cr_assert_str_eq(text, "[::1]");
}

Test(address, everything_else_is_refused)
{
    static const char *const texts[] = {
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "1.2.3.4:x",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3:80",
        "::1:80",
        "[::1]",
        "[::1]:",
        "[127.0.0.1]:1",
        "[::1:80",
        "example.com:80",
        "unix:",
        "1.2.3.4 :80",
        "1.2.3.4:8 0",
        "[]:80",
        "256.1.1.1:80",
        "[fe80::1%lo]:80",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct tt_address a;
        cr_assert_eq(parse(texts[i], &a), TT_EINVAL, "'%s'", texts[i]);
        cr_assert_eq(a.family, TT_ADDRESS_NONE);
    }
    struct tt_address a;
    cr_assert_eq(tt_address_parse(tt_bytes("1.2.3.4:80\0", 11), &a), TT_EINVAL);
    cr_assert_eq(tt_address_parse(tt_bytes("unix:/a\0b", 9), &a), TT_EINVAL);
}

Test(address, a_unix_path_fits_or_is_refused)
{
    char text[200] = "unix:";
    struct tt_address a;
    memset(text + 5, 'p', sizeof a.path);
    text[5 + sizeof a.path] = '\0';
    cr_assert_eq(parse(text, &a), TT_EINVAL);
    text[5 + sizeof a.path - 1] = '\0';
    cr_assert_eq(parse(text, &a), TT_OK);
    char back[TT_ADDRESS_TEXT_MAX];
    tt_address_text(&a, back);
    cr_assert_str_eq(back, text);
}

Test(address, loopback_is_what_no_other_machine_reaches)
{
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:1", true},
        {"127.9.9.9:1", true},
        {"128.0.0.1:1", false},
        {"0.0.0.0:1", false},
        {"[::1]:1", true},
        {"[::]:1", false},
        {"unix:/x", true},
        {"[::ffff:127.0.0.1]:1", true},
        {"[::ffff:8.8.8.8]:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tt_address a;
        cr_assert_eq(parse(cases[i].text, &a), TT_OK);
        cr_assert_eq(tt_address_is_loopback(&a), cases[i].loopback, "%s", cases[i].text);
    }
}
