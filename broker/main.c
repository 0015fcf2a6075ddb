/* The broker's process. Everything is said in one line on standard error when it cannot start. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/serve.h"

static int print(void (*write_text)(struct tt_writer *w))
{
    static uint8_t text[TT_CONFIG_HELP_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof(text));
    write_text(&w);
    return fwrite(w.data, 1, w.size, stdout) == w.size && fflush(stdout) == 0 ? EXIT_SUCCESS
                                                                              : EXIT_FAILURE;
}

static int fail(const char *error)
{
    fprintf(stderr, "tickertape: %s\n", error);
    return EXIT_FAILURE;
}

int main(int arguments_count, char **arguments)
{
    char error[TT_CONFIG_ERROR_MAX] = "";
    struct tt_config *config;
    if (tt_config_load(&config, arguments_count, arguments, environ, error) != TT_OK)
        return fail(error);
    int outcome = EXIT_SUCCESS;
    if (config->help != TT_CONFIG_HELP_NO) {
        outcome = print(config->help == TT_CONFIG_HELP_MARKDOWN ? tt_config_help_markdown
                                                                : tt_config_help);
    } else if (config->version) {
        puts("tickertape " TT_VERSION);
    } else if (config->check) {
        puts("tickertape: the configuration is valid");
    } else if (tt_serve(config, arguments_count, arguments, environ, error) != TT_OK) {
        outcome = fail(error);
    }
    tt_config_destroy(&config);
    return outcome;
}
