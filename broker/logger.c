#include "broker/logger.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct tt_logger {
    struct tt_diag **rings;
    uint32_t rings_count;
    enum tt_diag_format format;
    struct tt_diag_limit limit;
    uint64_t suppressed;
    uint64_t dropped_told;
};

/* poll() promises room for PIPE_BUF bytes; a line is shorter, so writing it cannot block. */
_Static_assert(TT_DIAG_TEXT_MAX <= 4096, "a line is at most PIPE_BUF bytes");

enum tt_status tt_logger_create(struct tt_logger **logger, struct tt_diag **rings,
                                uint32_t rings_count, enum tt_diag_format format)
{
    struct tt_logger *l = calloc(1, sizeof(*l));
    if (l == NULL) return TT_ENOMEM;
    l->rings = rings;
    l->rings_count = rings_count;
    l->format = format;
    *logger = l;
    return TT_OK;
}

void tt_logger_destroy(struct tt_logger **logger)
{
    free(*logger);
    *logger = NULL;
}

static bool can_write(void)
{
    struct pollfd descriptor = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&descriptor, 1, 0) == 1;
}

/* A standard error that is closed takes every line and drops it: there is nobody to tell. */
static void write_line(struct tt_logger *l, const struct tt_diag_line *line)
{
    uint8_t text[TT_DIAG_TEXT_MAX];
    struct tt_writer w = tt_writer(text, sizeof(text));
    if (l->format == TT_DIAG_FORMAT_JSON)
        tt_diag_line_json(&w, line);
    else
        tt_diag_line_text(&w, line);
    ssize_t written = write(STDERR_FILENO, w.data, w.size);
    (void)written;
}

static void report(struct tt_logger *l, int64_t wall_us)
{
    struct tt_diag *own = l->rings[l->rings_count - 1];
    char code[TT_DIAG_CODE_MAX];
    uint64_t count;
    while (tt_diag_limit_report(&l->limit, wall_us, code, &count)) {
        l->suppressed += count;
        tt_diag_write(own, TT_DIAG_WARN, NULL, "lines_suppressed",
                      "%llu more lines with code=%s were left out", (unsigned long long)count,
                      code);
    }
    uint64_t dropped = tt_logger_dropped(l);
    if (dropped == l->dropped_told) return;
    tt_diag_write(own, TT_DIAG_WARN, NULL, "lines_dropped",
                  "%llu lines were lost because standard error was too slow",
                  (unsigned long long)(dropped - l->dropped_told));
    l->dropped_told = dropped;
}

void tt_logger_drain(struct tt_logger *logger, int64_t wall_us)
{
    report(logger, wall_us);
    for (uint32_t i = 0; i < logger->rings_count; i++) {
        const struct tt_diag_line *line;
        /* At most a ring of each: one that writes as fast as this reads must not hold the thread.
         */
        for (unsigned n = 0; n < TT_DIAG_LINES && (line = tt_diag_next(logger->rings[i])); n++) {
            if (!can_write()) return;
            if (tt_diag_limit_pass(&logger->limit, line->code, wall_us, TT_LOGGER_LINES_PER_SECOND))
                write_line(logger, line);
            tt_diag_taken(logger->rings[i]);
        }
    }
}

uint64_t tt_logger_dropped(const struct tt_logger *logger)
{
    uint64_t dropped = 0;
    for (uint32_t i = 0; i < logger->rings_count; i++) dropped += tt_diag_dropped(logger->rings[i]);
    return dropped;
}

uint64_t tt_logger_suppressed(const struct tt_logger *logger)
{
    return logger->suppressed;
}
