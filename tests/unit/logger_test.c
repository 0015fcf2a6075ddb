/* Writing log lines: a standard error that takes nothing holds up nobody and loses nothing but what
 * the rings cannot hold, and one reason cannot flood it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "broker/logger.h"

static struct tt_diag *rings[2];
static struct tt_logger *logger;
static int saved, reader;
static char text[1 << 18];

/* Standard error becomes a pipe; each test runs in a process of its own. */
static void create(void)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    saved = dup(STDERR_FILENO);
    reader = ends[0];
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    fcntl(reader, F_SETFL, O_NONBLOCK);
    cr_assert_eq(tt_diag_create(&rings[0], 0), TT_OK);
    cr_assert_eq(tt_diag_create(&rings[1], TT_DIAG_CONTROL), TT_OK);
    cr_assert_eq(tt_logger_create(&logger, rings, 2, TT_DIAG_FORMAT_TEXT), TT_OK);
}
static void destroy(void)
{
    dup2(saved, STDERR_FILENO);
    tt_logger_destroy(&logger);
    tt_diag_destroy(&rings[0]);
    tt_diag_destroy(&rings[1]);
}
TestSuite(logger, .init = create, .fini = destroy);

/* Everything that is in the pipe now. */
static const char *written(void)
{
    size_t size = 0;
    for (ssize_t n; (n = read(reader, text + size, sizeof(text) - 1 - size)) > 0;)
        size += (size_t)n;
    text[size] = '\0';
    return text;
}

static unsigned count(const char *what, const char *in)
{
    unsigned n = 0;
    for (const char *p = in; (p = strstr(p, what)) != NULL; p += strlen(what)) n++;
    return n;
}

Test(logger, lines_of_all_rings_come_out)
{
    tt_diag_write(rings[0], TT_DIAG_INFO, NULL, "one", "first");
    tt_diag_write(rings[1], TT_DIAG_WARN, NULL, "two", "second");
    tt_logger_drain(logger, 1000000);
    const char *out = written();
    cr_assert_eq(count("\n", out), 2, "%s", out);
    cr_assert(strstr(out, "shard=0 code=one first\n") != NULL, "%s", out);
    cr_assert(strstr(out, "shard=control code=two second\n") != NULL, "%s", out);
}

Test(logger, a_full_pipe_holds_up_nobody, .timeout = 20)
{
    static const char filler[4096];
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    while (write(STDERR_FILENO, filler, sizeof(filler)) > 0) {
    }
    fcntl(STDERR_FILENO, F_SETFL, 0); /* a write would block for ever now */
    for (unsigned i = 0; i < TT_DIAG_LINES + 5; i++)
        tt_diag_write(rings[0], TT_DIAG_INFO, NULL, i % 2 == 0 ? "even" : "odd", "line %u", i);
    tt_logger_drain(logger, 1000000);
    cr_assert_eq(tt_logger_dropped(logger), 5);
    written();
    tt_logger_drain(logger, 1000000);
    const char *out = written();
    cr_assert(strstr(out, "code=even line 0\n") != NULL, "what waited was kept: %s", out);
    cr_assert(strstr(out, "code=lines_dropped 5 lines") != NULL, "%s", out);
}

Test(logger, one_reason_cannot_flood_it)
{
    for (unsigned i = 0; i < 200; i++) tt_diag_write(rings[0], TT_DIAG_INFO, NULL, "flood", "x");
    tt_diag_write(rings[0], TT_DIAG_INFO, NULL, "other", "y");
    tt_logger_drain(logger, 1000000);
    const char *out = written();
    cr_assert_eq(count("code=flood", out), TT_LOGGER_LINES_PER_SECOND);
    cr_assert_eq(count("code=other", out), 1);
    tt_logger_drain(logger, 2000000);
    out = written();
    cr_assert(strstr(out, "180 more lines with code=flood") != NULL, "%s", out);
    cr_assert_eq(tt_logger_suppressed(logger), 180);
}
