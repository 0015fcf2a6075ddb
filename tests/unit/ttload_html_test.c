#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ttload/html.h"
#include "tools/ttload/plot.h"

static struct tt_run_options options;
static struct tt_report report;
static struct tt_series series;

static void prepare(const char *a)
{
    char *argv[] = {(char *)(uintptr_t)a};
    char error[512] = "";
    enum tt_status status =
        tt_run_options_parse(&options, a == NULL ? 0 : 1, argv, error, sizeof error);
    cr_assert_eq(status, TT_OK, "%s", error);
    report = (struct tt_report){.options = &options, .io_name = "epoll", .settled_s = -1};
    tt_histogram_init(&report.latency);
    tt_histogram_init(&report.disturbed);
    tt_histogram_init(&report.connect);
    tt_histogram_init(&report.resume);
    tt_histogram_init(&report.lateness);
    tt_histogram_init(&report.answer);
}

static char *page(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    tt_html_write(&report, &series, out);
    fclose(out);
    return text;
}

/* Every element that is opened is closed, in order; those that have no end are known. */
static void check_nesting(const char *text)
{
    static const char *const empty[] = {"meta", "!doctype"};
    char open[64][16];
    unsigned depth = 0;
    for (const char *at = strchr(text, '<'); at != NULL; at = strchr(at, '<')) {
        char name[16] = "";
        bool closing = at[1] == '/';
        sscanf(at + (closing ? 2 : 1), "%15[a-z0-9!]", name);
        cr_assert_neq(name[0], '\0', "%.30s", at);
        const char *end = strchr(at, '>');
        cr_assert_not_null(end);
        bool alone = end[-1] == '/' || strcmp(name, empty[0]) == 0 || strcmp(name, empty[1]) == 0;
        if (closing) {
            cr_assert(depth != 0 && strcmp(open[depth - 1], name) == 0, "%.30s", at);
            depth--;
        } else if (!alone) {
            cr_assert_lt(depth, 64);
            strcpy(open[depth++], name);
        }
        at = end;
    }
    cr_assert_eq(depth, 0);
}

static void check_page(const char *text)
{
    check_nesting(text);
    cr_assert_null(strstr(text, "nan"));
    cr_assert_null(strstr(text, "inf "));
    cr_assert_null(strstr(text, "src="));
    cr_assert_null(strstr(text, "href="));
    cr_assert_null(strstr(text, "<script"));
    cr_assert_null(strstr(text, "url("));
    cr_assert_not_null(strstr(text, "prefers-color-scheme:dark"));
}

Test(ttload_html, an_empty_run_is_a_whole_page)
{
    prepare(NULL);
    tt_report_failure(&report, "client 1: <script>alert(\"&\")</script>");
    char *text = page();
    check_page(text);
    cr_assert_not_null(strstr(text, ">failed<"));
    cr_assert_not_null(strstr(text, "&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;"));
    free(text);
}

Test(ttload_html, a_run_with_figures)
{
    prepare("--slow-share=12.5");
    report.slow = 12;
    report.seconds = 3;
    report.measured_from_s = 1;
    report.measured_to_s = 4;
    for (uint64_t i = 1; i < 5000; i++) tt_histogram_record(&report.latency, i * 1000);
    tt_histogram_record(&report.disturbed, 0);
    for (unsigned i = 0; i < 300; i++) {
        struct tt_series_point p = {.at_s = (i + 1) * 0.05,
                                    .span_s = 0.05,
                                    .published = i * 10,
                                    .delivered = i * 1e5,
                                    .p50_ms = i % 50 == 0 ? 0 : 0.01 * i,
                                    .p99_ms = 2,
                                    .max_ms = 1000,
                                    .live = 100};
        tt_series_add(&series, &p);
    }
    char *text = page();
    check_page(text);
    cr_assert_not_null(strstr(text, ">passed<"));
    cr_assert_not_null(strstr(text, "<th>--slow-share</th><td class=\"set\">12.5 %</td>"));
    cr_assert_not_null(strstr(text, "<th>--duration</th><td>10000 ms</td>"));
    cr_assert_not_null(strstr(text, "not reading"));
    free(text);
}

Test(ttload_html, steps_of_a_scale)
{
    cr_assert_float_eq(tt_plot_step(10, 5), 2, 1e-9);
    cr_assert_float_eq(tt_plot_step(11, 5), 5, 1e-9);
    cr_assert_float_eq(tt_plot_step(26, 5), 10, 1e-9);
    cr_assert_float_eq(tt_plot_step(0.3, 5), 0.1, 1e-9);
    cr_assert_float_eq(tt_plot_step(0, 5), 1, 1e-9);
    double span = 0.001;
    for (unsigned i = 0; i < 88; i++, span *= 1.37) {
        double parts = span / tt_plot_step(span, 6);
        cr_assert(parts > 2 && parts <= 6.0000001, "%g: %g", span, parts);
    }
}
