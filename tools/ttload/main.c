/* ttload: measures a broker (`run`) and feeds it with a simulated market (`feed`). */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/ttload/feed.h"
#include "tools/ttload/lines.h"
#include "tools/ttload/run.h"

static const char usage[] = "usage: ttload run [OPTION...]    measures a broker under load\n"
                            "       ttload feed [OPTION...]   publishes a simulated market\n"
                            "       ttload run --help, ttload feed --help\n";

static int refuse(const char *error)
{
    fprintf(stderr, "ttload: %s\n", error);
    return 2;
}

int main(int argc, char **argv)
{
    char error[512] = "";
    enum tt_status status;

    signal(SIGPIPE, SIG_IGN);
    if (argc >= 2 && strcmp(argv[1], "run") == 0) {
        struct tt_run_options options;
        status = tt_run_options_parse(&options, argc - 2, argv + 2, error, sizeof error);
        if (status == TT_OK) return tt_run(&options);
        return status == TT_END ? 0 : refuse(error);
    }
    if (argc >= 2 && strcmp(argv[1], "feed") == 0) {
        struct tt_feed_options options;
        status = tt_feed_options_parse(&options, argc - 2, argv + 2, error, sizeof error);
        if (status == TT_OK) return options.lines ? tt_feed_lines(&options) : tt_feed(&options);
        return status == TT_END ? 0 : refuse(error);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc >= 2) fprintf(stderr, "ttload: %s: allowed: run, feed\n", argv[1]);
    fputs(usage, stderr);
    return 2;
}
