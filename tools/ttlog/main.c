/* ttlog: looks into the log of a broker, and repairs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/ttlog/commands.h"

static const char usage[] =
    "usage: ttlog ls DIR               what is in a log: partitions, segments, other files\n"
    "       ttlog dump DIR             its events as JSON lines\n"
    "       ttlog verify DIR           checks every byte of it\n"
    "       ttlog cursor DIR CURSOR    explains a cursor, or makes one (--at)\n"
    "       ttlog repair DIR           makes a damaged log usable again\n"
    "       ttlog COMMAND --help       the options of each\n"
    "DIR is what the broker was given as --data. All but repair only read, and may be used while "
    "a\n"
    "broker runs on it.\n";

static const char *const names[TT_TTLOG_COMMANDS] = {"ls", "dump", "verify", "cursor", "repair"};
static int (*const commands[TT_TTLOG_COMMANDS])(const struct tt_ttlog_options *) = {
    tt_ttlog_ls, tt_ttlog_dump, tt_ttlog_verify, tt_ttlog_cursor, tt_ttlog_repair};

int main(int argc, char **argv)
{
    struct timespec now;
    signal(SIGPIPE, SIG_IGN);
    clock_gettime(CLOCK_REALTIME, &now);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return TT_TTLOG_GOOD;
    }
    for (int i = 0; argc >= 2 && i < TT_TTLOG_COMMANDS; i++) {
        if (strcmp(argv[1], names[i]) != 0) continue;
        struct tt_ttlog_options options;
        char error[TT_TTLOG_ERROR_BYTES] = "";
        enum tt_status status =
            tt_ttlog_options_parse(&options, (enum tt_ttlog_command)i, argc - 2, argv + 2,
                                   (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, error);
        if (status == TT_OK) return commands[i](&options);
        if (status == TT_END) return TT_TTLOG_GOOD;
        fprintf(stderr, "ttlog %s: %s\n", names[i], error);
        return TT_TTLOG_USAGE;
    }
    if (argc >= 2)
        fprintf(stderr, "ttlog: %s: allowed: ls, dump, verify, cursor, repair\n", argv[1]);
    fputs(usage, stderr);
    return TT_TTLOG_USAGE;
}
