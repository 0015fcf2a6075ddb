/* Log lines: the ring between two threads, the two forms, and the limit by code. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "shard/diag.h"

static struct tt_diag *diag;

static void create(void)
{
    cr_assert_eq(tt_diag_create(&diag, 3), TT_OK);
    tt_diag_set_wall_us(diag, INT64_C(1732558200123456));
}
static void destroy(void)
{
    tt_diag_destroy(&diag);
}

TestSuite(diag, .init = create, .fini = destroy);

static char *text_of(const struct tt_diag_line *line, bool json)
{
    static uint8_t text[TT_DIAG_TEXT_MAX + 1];
    memset(text, 0, sizeof(text));
    struct tt_writer w = tt_writer(text, TT_DIAG_TEXT_MAX);
    if (json)
        tt_diag_line_json(&w, line);
    else
        tt_diag_line_text(&w, line);
    cr_assert_not(w.overflow);
    return (char *)text;
}

Test(diag, a_line_as_text_and_as_json)
{
    const struct tt_peer peer = {.family = TT_ADDRESS_IP4, .port = 4711, .ip = {192, 0, 2, 7}};
    tt_diag_write(diag, TT_DIAG_WARN, &peer, "bad_request", "channel \"%s\" is empty", "x");
    const struct tt_diag_line *line = tt_diag_next(diag);
    cr_assert_not_null(line);
    cr_assert_str_eq(text_of(line, false), "2024-11-25T18:10:00.123Z warn shard=3 code=bad_request "
                                           "peer=192.0.2.7:4711 channel \"x\" is empty\n");
    cr_assert_str_eq(text_of(line, true),
                     "{\"time\":\"2024-11-25T18:10:00.123Z\",\"level\":\"warn\",\"shard\":3,"
                     "\"code\":\"bad_request\",\"peer\":\"192.0.2.7:4711\","
                     "\"message\":\"channel \\\"x\\\" is empty\"}\n");
    tt_diag_taken(diag);
    cr_assert_null(tt_diag_next(diag));
}

Test(diag, what_a_peer_sends_cannot_forge_a_line)
{
    tt_diag_write(diag, TT_DIAG_INFO, NULL, "code", "a\nfake line\r\x1b[31m\x7f\xff");
    const struct tt_diag_line *line = tt_diag_next(diag);
    char *text = text_of(line, false);
    cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line: %s", text);
    cr_assert(strstr(text, "a\\x0afake line\\x0d\\x1b[31m\\x7f") != NULL, "%s", text);
    char *json = text_of(line, true);
    cr_assert_eq(strchr(json, '\n'), json + strlen(json) - 1, "one line: %s", json);
    json_t *parsed = json_loads(json, 0, NULL);
    cr_assert_not_null(parsed, "not JSON: %s", json);
    cr_assert_str_eq(json_string_value(json_object_get(parsed, "message")),
                     "a\nfake line\r\x1b[31m\x7f\xef\xbf\xbd");
    json_decref(parsed);
}

Test(diag, the_longest_line_fits_its_buffer)
{
    char message[1000];
    memset(message, 1, sizeof(message) - 1); /* each byte becomes \u0001 */
    message[sizeof(message) - 1] = '\0';
    tt_diag_write(diag, TT_DIAG_ERROR, NULL, "a_code_that_is_longer_than_what_a_line_holds", "%s",
                  message);
    const struct tt_diag_line *line = tt_diag_next(diag);
    cr_assert_eq(line->message_bytes, TT_DIAG_MESSAGE_MAX - 1);
    text_of(line, true);
    text_of(line, false);
}

Test(diag, a_full_ring_drops_and_counts_the_newest)
{
    for (unsigned i = 0; i < TT_DIAG_LINES + 7; i++)
        tt_diag_write(diag, TT_DIAG_INFO, NULL, "code", "%u", i);
    cr_assert_eq(tt_diag_dropped(diag), 7);
    for (unsigned i = 0; i < TT_DIAG_LINES; i++) {
        const struct tt_diag_line *line = tt_diag_next(diag);
        cr_assert_eq((unsigned)atoi(line->message), i);
        tt_diag_taken(diag);
    }
    cr_assert_null(tt_diag_next(diag));
    tt_diag_write(diag, TT_DIAG_INFO, NULL, "code", "again");
    cr_assert_not_null(tt_diag_next(diag));
}

Test(diag, lines_above_the_level_are_not_written)
{
    tt_diag_write(diag, TT_DIAG_DEBUG, NULL, "code", "hidden");
    cr_assert_null(tt_diag_next(diag));
    cr_assert_not(tt_diag_on(diag, TT_DIAG_DEBUG));
    tt_diag_set_level(diag, TT_DIAG_DEBUG);
    tt_diag_write(diag, TT_DIAG_DEBUG, NULL, "code", "shown");
    cr_assert_not_null(tt_diag_next(diag));
}

Test(diag, times_of_every_kind_of_day)
{
    static const struct {
        int64_t wall_us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(1709251199999999), "2024-02-29T23:59:59.999Z"},
        {INT64_C(4107542400000000), "2100-03-01T00:00:00.000Z"},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tt_diag_line line = {.wall_us = cases[i].wall_us, .code = "c"};
        char *text = text_of(&line, false);
        text[24] = '\0';
        cr_assert_str_eq(text, cases[i].text);
    }
}

Test(diag, the_limit_counts_each_code_for_itself)
{
    struct tt_diag_limit limit = {0};
    char code[TT_DIAG_CODE_MAX];
    uint64_t suppressed;
    unsigned passed = 0;
    for (unsigned i = 0; i < 10; i++) passed += tt_diag_limit_pass(&limit, "a", 1000000, 4);
    cr_assert_eq(passed, 4);
    cr_assert(tt_diag_limit_pass(&limit, "b", 1000000, 4));
    cr_assert_not(tt_diag_limit_report(&limit, 1999999, code, &suppressed),
                  "the second is not over yet");
    cr_assert(tt_diag_limit_report(&limit, 2000000, code, &suppressed));
    cr_assert_str_eq(code, "a");
    cr_assert_eq(suppressed, 6);
    cr_assert_not(tt_diag_limit_report(&limit, 2000000, code, &suppressed));
    cr_assert(tt_diag_limit_pass(&limit, "a", 2000000, 4), "a new second");
}

Test(diag, codes_without_end_share_one_entry)
{
    struct tt_diag_limit limit = {0};
    unsigned passed = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char code[TT_DIAG_CODE_MAX];
        snprintf(code, sizeof(code), "code-%u", i);
        passed += tt_diag_limit_pass(&limit, code, 1000000, 2);
    }
    cr_assert_eq(passed, TT_DIAG_LIMIT_CODES - 1 + 2);
}
