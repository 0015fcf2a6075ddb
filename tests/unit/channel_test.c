#include <criterion/criterion.h>

#include "proto/base/limits.h"
#include "proto/event/channel.h"

static char message[512];

static bool good_channel(const char *name)
{
    struct tt_writer why = tt_writer(message, sizeof(message) - 1);
    bool good = tt_channel_check(tt_bytes_text(name), &why) == TT_OK;

    message[why.size] = 0;
    cr_assert_eq(good, why.size == 0, "a reason exactly when refused: %s", name);
    cr_assert_not(why.overflow);
    cr_assert_eq(tt_channel_check(tt_bytes_text(name), NULL) == TT_OK, good);
    return good;
}

static bool parses(const char *text, struct tt_pattern *pattern)
{
    struct tt_writer why = tt_writer(message, sizeof(message) - 1);
    bool good = tt_pattern_parse(tt_bytes_text(text), pattern, &why) == TT_OK;

    message[why.size] = 0;
    cr_assert_eq(good, why.size == 0, "a reason exactly when refused: %s", text);
    return good;
}

Test(channel, names_that_are_allowed)
{
    static const char *const good[] = {"stock.AAPL",       "user.42",       "a",
                                       "a.b.c.d.e.f.g.h",  "K\xC3\xB6ln/1", "a-b_c:d",
                                       "\xF0\x9F\x93\x88", "a..b",          "\"quoted\"",
                                       "\xC2\xA0" /* U+00A0 is no control character */};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        cr_assert(good_channel(good[i]), "%s: %s", good[i], message);
    }
}

Test(channel, names_that_are_not_and_why)
{
    static const struct {
        const char *name;
        const char *why;
    } bad[] = {
        {"", "is empty"},
        {"a b", "has a space at byte 2"},
        {"a,b", "has a comma at byte 2"},
        {"stock.*", "has a '*' at byte 7"},
        {"*", "has a '*' at byte 1"},
        {"a\nb", "has a control character at byte 2"},
        {"a\x7F", "has a control character at byte 2"},
        {"a\xC2\x85", "has a control character at byte 2"},
        {"a.b.c.d.e.f.g.h.i", "has a ninth level at byte 16"},
        {"a\xFF", "is not UTF-8"},
        {"a\xED\xA0\x80", "is not UTF-8"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(good_channel(bad[i].name), "%zu", i);
        cr_assert_eq(strncmp(message, bad[i].why, strlen(bad[i].why)), 0, "%s: %s", bad[i].why,
                     message);
        cr_assert_not_null(strstr(message, "allowed are"));
    }
}

Test(channel, a_name_has_at_most_255_bytes_and_no_zero)
{
    uint8_t name[TT_CHANNEL_BYTES_MAX + 1];

    memset(name, 'x', sizeof(name));
    cr_assert_eq(tt_channel_check(tt_bytes(name, TT_CHANNEL_BYTES_MAX), NULL), TT_OK);
    cr_assert_eq(tt_channel_check(tt_bytes(name, sizeof(name)), NULL), TT_EINVAL);
    name[100] = 0;
    cr_assert_eq(tt_channel_check(tt_bytes(name, TT_CHANNEL_BYTES_MAX), NULL), TT_EINVAL);
    /* The last byte begins a character that the run cuts. */
    cr_assert_eq(tt_channel_check(tt_bytes("a\xC2\x85", 2), NULL), TT_EINVAL);
}

Test(pattern, three_kinds)
{
    struct tt_pattern p;

    cr_assert(parses("stock.AAPL", &p));
    cr_assert_eq(p.kind, TT_PATTERN_EXACT);
    cr_assert(tt_pattern_match(&p, tt_bytes_text("stock.AAPL")));
    cr_assert_not(tt_pattern_match(&p, tt_bytes_text("stock.AAPL.x")));
    cr_assert(parses("stock.*", &p));
    cr_assert_eq(p.kind, TT_PATTERN_PREFIX);
    cr_assert(tt_bytes_is(p.text, "stock."));
    cr_assert(tt_pattern_match(&p, tt_bytes_text("stock.AAPL")));
    cr_assert(tt_pattern_match(&p, tt_bytes_text("stock.eu.SAP")));
    cr_assert_not(tt_pattern_match(&p, tt_bytes_text("stock")));
    cr_assert_not(tt_pattern_match(&p, tt_bytes_text("stocks.AAPL")));
    cr_assert(parses("*", &p));
    cr_assert_eq(p.kind, TT_PATTERN_ALL);
    cr_assert(tt_pattern_match(&p, tt_bytes_text("anything")));
    cr_assert(parses("a.b.c.d.e.f.g.*", &p), "the star stands for the eighth level");
}

Test(pattern, a_star_elsewhere_is_refused)
{
    static const char *const bad[] = {"a*",   "*.a",  "**",  "a.*.b",
                                      "a.b*", "a.**", "*.*", "stock.A*"};
    struct tt_pattern p;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_not(parses(bad[i], &p), "%s", bad[i]);
        cr_assert_not_null(strstr(message, "a pattern may end in '.*' or be '*'"), "%s", message);
    }
    cr_assert_not(parses("", &p));
    cr_assert_not(parses("a b.*", &p));
    cr_assert_not(parses("a.b.c.d.e.f.g.h.*", &p), "no channel could match it");
}

Test(pattern, covers_means_matches_at_least_as_much)
{
    static const char *const texts[] = {"*", "a.*", "a.b.*", "a.b", "a.b.c", "ab", "a"};
    static const char *const channels[] = {"a", "ab", "a.b", "a.b.c", "a.b.d", "a.c", "b"};
    enum {
        TEXTS = sizeof(texts) / sizeof(texts[0]),
        CHANNELS = sizeof(channels) / sizeof(channels[0])
    };

    for (size_t o = 0; o < TEXTS; o++) {
        for (size_t i = 0; i < TEXTS; i++) {
            struct tt_pattern outer;
            struct tt_pattern inner;
            bool all = true;
            cr_assert(parses(texts[o], &outer) && parses(texts[i], &inner));
            for (size_t c = 0; c < CHANNELS; c++) {
                struct tt_bytes channel = tt_bytes_text(channels[c]);
                if (tt_pattern_match(&inner, channel) && !tt_pattern_match(&outer, channel))
                    all = false;
            }
            cr_assert_eq(tt_pattern_covers(&outer, &inner), all, "%s over %s", texts[o], texts[i]);
        }
    }
}

Test(type, letters_digits_and_a_few_marks)
{
    char text[TT_TYPE_BYTES_MAX + 2];
    struct tt_writer why = tt_writer(message, sizeof(message) - 1);

    memset(text, 't', sizeof(text));
    cr_assert_eq(tt_type_check(tt_bytes_text("AZaz09_.:/-"), NULL), TT_OK);
    cr_assert_eq(tt_type_check(tt_bytes(text, TT_TYPE_BYTES_MAX), NULL), TT_OK);
    cr_assert_eq(tt_type_check(tt_bytes(text, TT_TYPE_BYTES_MAX + 1), NULL), TT_EINVAL);
    cr_assert_eq(tt_type_check(TT_BYTES_NONE, NULL), TT_EINVAL);
    cr_assert_eq(tt_type_check(tt_bytes_text("up\ndate"), &why), TT_EINVAL);
    message[why.size] = 0;
    cr_assert_not_null(strstr(message, "at byte 3"), "%s", message);
    for (int c = 0; c < 256; c++) {
        char one = (char)c;
        bool allowed =
            c != 0 && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                             "_.:/-",
                             c) != NULL;
        cr_assert_eq(tt_type_check(tt_bytes(&one, 1), NULL) == TT_OK, allowed, "%d", c);
    }
}

Test(type, names_of_control_events_are_reserved)
{
    cr_assert(tt_type_is_reserved(tt_bytes_text("connected")));
    cr_assert(tt_type_is_reserved(tt_bytes_text("snapshot-end")));
    cr_assert(tt_type_is_reserved(tt_bytes_text("error")));
    cr_assert_not(tt_type_is_reserved(tt_bytes_text("update")));
    cr_assert_not(tt_type_is_reserved(tt_bytes_text("message")));
    cr_assert_not(tt_type_is_reserved(tt_bytes_text("errors")));
}
