/* What a person sees on standard error while a run goes on: on a terminal a few lines that are
 * redrawn in place, elsewhere one line for each phase and one every five seconds.
 *
 * No line is wider than the terminal, whose width is asked for at each drawing. Colours only on a
 * terminal, and not with NO_COLOR (https://no-color.org) or TERM=dumb. Thread: main. */
#ifndef TT_TOOLS_TTLOAD_VIEW_H
#define TT_TOOLS_TTLOAD_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/ttload/crew.h"

struct tt_view {
    FILE *out; /* null: quiet */
    bool terminal;
    bool colour;
    bool blocks; /* the terminal understands UTF-8 */
    uint64_t clients;
    const char *phase;
    uint64_t phase_ns; /* when it began */
    uint64_t end_ns;   /* when it will be over; 0: not known */
    uint64_t said_ns;  /* the last line that was not redrawn */
    unsigned lines;    /* drawn, and to be drawn over */
};

struct tt_view_state {
    const struct tt_totals *totals;
    double published_per_s, delivered_per_s, bytes_per_s; /* over the last second */
    double now_p50_ms, now_p99_ms, now_max_ms;            /* the same; 0: nothing came */
    double p50_ms, p99_ms, max_ms;                        /* of the whole run so far */
};

void tt_view_init(struct tt_view *v, bool quiet, uint64_t clients);
void tt_view_phase(struct tt_view *v, const char *name, uint64_t now_ns, uint64_t end_ns);
void tt_view_show(struct tt_view *v, const struct tt_view_state *state);
/* A line that stays. */
void tt_view_say(struct tt_view *v, const char *text);
void tt_view_end(struct tt_view *v);

/* "1,234,567"; at most 27 bytes. */
void tt_view_number(uint64_t number, char text[28]);
/* The bytes of `text` that take at most `columns` columns; escape sequences take none. */
size_t tt_view_fit(const char *text, unsigned columns);

#endif
