/* The outcome of `ttload run` as one page: verdict, figures, plots. Thread: main. */
#ifndef TT_TOOLS_TTLOAD_HTML_H
#define TT_TOOLS_TTLOAD_HTML_H

#include <stdio.h>

#include "tools/ttload/report.h"
#include "tools/ttload/series.h"

/* The page names nothing outside of itself: no script, no font, no picture; it follows the reader's
 * choice of light or dark. Errors show in ferror(out). */
void tt_html_write(const struct tt_report *report, const struct tt_series *series, FILE *out);

#endif
