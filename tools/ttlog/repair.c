/* ttlog repair: makes a damaged log usable again. */
#include <stdio.h>

#include "tools/ttlog/commands.h"

int tt_ttlog_repair(const struct tt_ttlog_options *options)
{
    fprintf(stderr, "ttlog repair: %s: not built yet\n", options->directory);
    return TT_TTLOG_FAILED;
}
