/* Options from the command line, the environment and a file: precedence, and that every bad value
 * of every source is refused with a line that names it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/config.h"
#include "broker/param.h"

static char error[TT_CONFIG_ERROR_MAX];
static char path[64];

/* Arguments and environment are lists that end in NULL. */
static struct tt_config *load(char *const *arguments, char *const *environment)
{
    static char *const none[] = {NULL};
    char *all[16] = {"tickertape"};
    int count = 1;
    for (; arguments != NULL && arguments[count - 1] != NULL; count++)
        all[count] = arguments[count - 1];
    struct tt_config *config = NULL;
    enum tt_status status =
        tt_config_load(&config, count, all, environment != NULL ? environment : none, error);
    cr_assert_eq(status == TT_OK, config != NULL);
    return config;
}
#define ARGUMENTS(...) ((char *const[]){__VA_ARGS__, NULL})

/* Loads what must be refused, and checks that the error has each of the texts. */
static void refused(char *const *arguments, char *const *environment, const char *a, const char *b)
{
    struct tt_config *config = load(arguments, environment);
    cr_assert_null(config, "nothing was refused, but \"%s\" was expected", a);
    cr_assert(strstr(error, a) != NULL, "\"%s\" does not say \"%s\"", error, a);
    cr_assert(strstr(error, b) != NULL, "\"%s\" does not say \"%s\"", error, b);
    cr_assert_null(strchr(error, '\n'), "one line: \"%s\"", error);
}

static char *file_option(const char *text)
{
    static char option[96];
    snprintf(path, sizeof(path), "/tmp/tickertape-config-XXXXXX");
    int file = mkstemp(path);
    cr_assert(file >= 0);
    cr_assert_eq(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    snprintf(option, sizeof(option), "--config=%s", path);
    return option;
}

static void remove_file(void)
{
    if (path[0] != '\0') unlink(path);
}

TestSuite(config, .fini = remove_file);

Test(config, defaults_are_those_of_the_documentation)
{
    struct tt_config *c = load(NULL, NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->listen.count, 1);
    cr_assert_eq(c->listen.items[0].port, 8080);
    cr_assert_eq(c->ops_listen.port, 9090);
    cr_assert_str_eq(c->data, "./data");
    cr_assert_eq(c->log_sync, TT_LOG_SYNC_INTERVAL);
    cr_assert_eq(c->log_sync_ms, 100);
    cr_assert_eq(c->log_retention_ms, 24 * 3600 * 1000);
    cr_assert_eq(c->tail_bytes, 16 << 20);
    cr_assert_eq(c->outbox_bytes, 64 << 10);
    cr_assert_eq(c->drain_ms, 30000);
    cr_assert_eq(c->allow_origin.count, 0);
    cr_assert_str_eq(c->http_prefix, "");
    cr_assert_not(c->demo);
    tt_config_destroy(&c);
}

Test(config, command_line_counts_before_environment_before_file)
{
    char *file = file_option("[log]\nsync-ms = 1\nsync = never\npartitions = 3\n");
    char *const environment[] = {"TICKERTAPE_LOG_SYNC_MS=2", "TICKERTAPE_LOG_SYNC=always", "HOME=/",
                                 NULL};
    struct tt_config *c = load(ARGUMENTS(file, "--log-sync-ms=3"), environment);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->log_sync_ms, 3);
    cr_assert_eq(c->log_sync, TT_LOG_SYNC_ALWAYS);
    cr_assert_eq(c->log_partitions, 3);
    tt_config_destroy(&c);
}

Test(config, the_file_may_be_named_by_the_environment)
{
    char variable[128];
    snprintf(variable, sizeof(variable), "TICKERTAPE_CONFIG=%s",
             file_option("data = /x ; a comment\n# another\n\n[diag]\nlevel: debug\n") +
                 strlen("--config="));
    char *const environment[] = {variable, NULL};
    struct tt_config *c = load(NULL, environment);
    cr_assert_not_null(c, "%s", error);
    cr_assert_str_eq(c->data, "/x");
    cr_assert_eq(c->diag_level, 3);
    tt_config_destroy(&c);
}

Test(config, units_of_sizes_and_times)
{
    struct tt_config *c =
        load(ARGUMENTS("--tail-bytes=3MiB", "--max-event-bytes=2048", "--outbox-bytes=5KiB",
                       "--log-retention-bytes=1GiB", "--heartbeat-ms=5s", "--stall-ms=2m",
                       "--drain-ms=1h", "--retry-ms=250", "--log-retention-ms", "1500ms"),
             NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->tail_bytes, 3 << 20);
    cr_assert_eq(c->max_event_bytes, 2048);
    cr_assert_eq(c->outbox_bytes, 5 << 10);
    cr_assert_eq(c->log_retention_bytes, 1u << 30);
    cr_assert_eq(c->heartbeat_ms, 5000);
    cr_assert_eq(c->stall_ms, 120000);
    cr_assert_eq(c->drain_ms, 3600000);
    cr_assert_eq(c->retry_ms, 250);
    cr_assert_eq(c->log_retention_ms, 1500);
    tt_config_destroy(&c);
}

Test(config, lists_repeat_and_replace_weaker_sources)
{
    char *file = file_option("allow-origin = https://a.example\nallow-origin = https://b.example\n"
                             "listen = 127.0.0.1:1\n");
    struct tt_config *c =
        load(ARGUMENTS(file, "--listen=127.0.0.1:0", "--listen=unix:/tmp/x,[::1]:7"), NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->allow_origin.count, 2);
    cr_assert_str_eq(c->allow_origin.items[1], "https://b.example");
    cr_assert_eq(c->listen.count, 3);
    cr_assert_eq(c->listen.items[1].family, TT_ADDRESS_UNIX);
    cr_assert_eq(c->listen.items[2].family, TT_ADDRESS_IP6);
    tt_config_destroy(&c);
}

Test(config, unknown_names_are_refused_in_every_source)
{
    refused(ARGUMENTS("--log-syn-ms=1"), NULL, "--log-syn-ms", "did you mean --log-sync-ms?");
    refused(ARGUMENTS("--tls-cert", "x"), NULL, "--tls-cert", "unknown");
    refused(ARGUMENTS("data"), NULL, "data", "options begin with --");
    refused(NULL, ((char *const[]){"TICKERTAPE_NOPE=1", NULL}), "TICKERTAPE_NOPE", "unknown");
    refused(NULL, ((char *const[]){"TICKERTAPE_HELP=yes", NULL}), "TICKERTAPE_HELP", "unknown");
    refused(ARGUMENTS(file_option("\n[log]\nsynk = always\n")), NULL, ":3: [log] synk",
            "did you mean --log-sync?");
    remove_file();
    refused(ARGUMENTS(file_option("check = yes\n")), NULL, "check", "unknown");
    remove_file();
    refused(ARGUMENTS(file_option("[log]\nsync = never\ndata = /x\n")), NULL, ":3: [log] data",
            "no section");
    remove_file();
    refused(ARGUMENTS(file_option("log-sync-ms = 1\n")), NULL, ":1: log-sync-ms", "in [log]");
}

Test(config, values_out_of_range_are_refused_in_every_source)
{
    refused(ARGUMENTS("--log-sync-ms=0"), NULL, "--log-sync-ms=0", "1ms to 1m");
    refused(ARGUMENTS("--log-sync-ms=2m"), NULL, "--log-sync-ms=2m", "1ms to 1m");
    refused(ARGUMENTS("--max-event-bytes=5MiB"), NULL, "out of range", "256 to 4MiB");
    refused(ARGUMENTS("--log-partitions=99999999999999999999"), NULL, "out of range", "1 to 1024");
    refused(NULL, ((char *const[]){"TICKERTAPE_TAIL_BYTES=1", NULL}), "TICKERTAPE_TAIL_BYTES=1",
            "2MiB to 4GiB");
    refused(ARGUMENTS(file_option("heartbeat-ms = 1h\n")), NULL, ":1: heartbeat-ms = 1h",
            "100ms to 10m");
}

Test(config, a_value_that_is_overridden_is_checked_too)
{
    refused(ARGUMENTS("--log-sync-ms=5"), ((char *const[]){"TICKERTAPE_LOG_SYNC_MS=x", NULL}),
            "TICKERTAPE_LOG_SYNC_MS=x", "is not a time");
}

Test(config, malformed_values_are_refused)
{
    refused(ARGUMENTS("--tail-bytes=16MB"), NULL, "--tail-bytes=16MB", "KiB, MiB or GiB");
    refused(ARGUMENTS("--tail-bytes=-1"), NULL, "--tail-bytes=-1", "is not a size");
    refused(ARGUMENTS("--tail-bytes="), NULL, "--tail-bytes=", "is not a size");
    refused(ARGUMENTS("--drain-ms=1.5s"), NULL, "--drain-ms=1.5s", "is not a time");
    refused(ARGUMENTS("--shards=two"), NULL, "--shards=two", "is not a number");
    refused(ARGUMENTS("--io=uring"), NULL, "--io=uring", "auto, io_uring, epoll");
    refused(ARGUMENTS("--io="), NULL, "--io=", "auto, io_uring, epoll");
    refused(ARGUMENTS("--demo=maybe"), NULL, "--demo=maybe", "yes, no");
    refused(ARGUMENTS("--listen=example.com:80"), NULL, "--listen=example.com:80", "HOST:PORT");
    refused(ARGUMENTS("--listen=127.0.0.1:70000"), NULL, "70000", "HOST:PORT");
    refused(ARGUMENTS("--listen=tls:127.0.0.1:80"), NULL, "--listen=tls:", "TLS");
    refused(ARGUMENTS("--listen"), NULL, "--listen", "needs a value");
    refused(ARGUMENTS("--listen="), NULL, "--listen", "1 to 32");
    refused(ARGUMENTS("--http-prefix=push"), NULL, "--http-prefix", "begins with /");
    refused(ARGUMENTS("--http-prefix=/push/"), NULL, "--http-prefix", "begins with /");
    refused(ARGUMENTS("--allow-origin=example.com"), NULL, "--allow-origin=example.com", "");
}

Test(config, files_that_cannot_be_used)
{
    refused(ARGUMENTS("--config=/nowhere/x.ini"), NULL, "--config=/nowhere/x.ini", "No such file");
    refused(ARGUMENTS(file_option("data\n")), NULL, ":1", "neither");
    remove_file();
    refused(ARGUMENTS(file_option("data = /a\ndata = /b\n")), NULL, ":2: data = /b", "twice");
    remove_file();
    char text[600] = "data = ";
    memset(text + 7, 'x', 500);
    refused(ARGUMENTS(file_option(text)), NULL, ":1", "too long");
    remove_file();
    refused(ARGUMENTS(file_option("data = /a\n[log]\nsync\n")), NULL, ":3", "neither");
}

Test(config, an_error_is_one_line_whatever_the_value)
{
    refused(ARGUMENTS("--io=a\nb\x1b[0m"), NULL, "--io=a?b?[0m", "auto");
}

Test(config, options_that_do_not_fit_together)
{
    refused(ARGUMENTS("--max-event-bytes=4MiB", "--tail-bytes=2MiB"), NULL, "--tail-bytes",
            "--max-event-bytes=4194304");
    refused(ARGUMENTS("--max-body-bytes=1KiB"), NULL, "--max-body-bytes", "--max-event-bytes");
}

Test(config, without_keys_only_loopback)
{
    refused(ARGUMENTS("--listen=0.0.0.0:80"), NULL, "--listen=0.0.0.0:80", "--insecure");
    refused(ARGUMENTS("--listen=[::]:80"), NULL, "--listen=[::]:80", "loopback");
    struct tt_config *c = load(ARGUMENTS("--listen=0.0.0.0:80", "--insecure"), NULL);
    cr_assert_not_null(c, "%s", error);
    tt_config_destroy(&c);
}

Test(config, the_last_of_repeated_arguments_counts)
{
    struct tt_config *c = load(ARGUMENTS("--shards=1", "--shards=2", "--demo", "--demo=no"), NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->shards, 2);
    cr_assert_not(c->demo);
    tt_config_destroy(&c);
}

Test(config, help_works_in_a_broken_environment)
{
    struct tt_config *c = load(ARGUMENTS("--help"), ((char *const[]){"TICKERTAPE_NOPE=1", NULL}));
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->help, TT_CONFIG_HELP_TEXT);
    tt_config_destroy(&c);
}

Test(config, differences_are_told_by_whether_a_reload_takes_them)
{
    struct tt_config *a = load(NULL, NULL);
    struct tt_config *b = load(
        ARGUMENTS("--diag-level=warn", "--allow-origin=https://a.example", "--drain-ms=1"), NULL);
    cr_assert(a != NULL && b != NULL, "%s", error);
    char names[256] = "";
    struct tt_writer w = tt_writer(names, sizeof(names) - 1);
    cr_assert_eq(tt_config_differences(a, b, true, &w), 2);
    cr_assert_str_eq(names, "allow-origin, diag-level");
    memset(names, 0, sizeof(names));
    w = tt_writer(names, sizeof(names) - 1);
    cr_assert_eq(tt_config_differences(a, b, false, &w), 1);
    cr_assert_str_eq(names, "drain-ms");
    cr_assert_eq(tt_config_differences(a, a, true, &w), 0);
    tt_config_destroy(&a);
    tt_config_destroy(&b);
}

Test(config, help_and_options_page_name_every_option)
{
    static uint8_t help_text[TT_CONFIG_HELP_BYTES_MAX + 1], page_text[TT_CONFIG_HELP_BYTES_MAX + 1];
    struct tt_writer help = tt_writer(help_text, TT_CONFIG_HELP_BYTES_MAX);
    struct tt_writer page = tt_writer(page_text, TT_CONFIG_HELP_BYTES_MAX);
    tt_config_help(&help);
    tt_config_help_markdown(&page);
    cr_assert_not(help.overflow);
    cr_assert_not(page.overflow);
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        char option[TT_PARAM_NAME_MAX + 2] = "--";
        tt_param_option(&tt_params[i], option + 2);
        cr_assert(strstr((char *)help_text, option) != NULL, "%s", option);
        cr_assert(strstr((char *)page_text, option) != NULL, "%s", option);
    }
}

Test(config, options_page_of_the_repository_is_the_generated_one)
{
    static uint8_t text[TT_CONFIG_HELP_BYTES_MAX], there[TT_CONFIG_HELP_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof(text));
    tt_config_help_markdown(&w);
    FILE *file = fopen("broker/OPTIONS.md", "r");
    cr_assert_not_null(file, "run from the root of the repository");
    size_t size = fread(there, 1, sizeof(there), file);
    fclose(file);
    cr_assert(tt_bytes_equal(tt_writer_bytes(&w), tt_bytes(there, size)),
              "build/release/tickertape --help=markdown >broker/OPTIONS.md");
}
