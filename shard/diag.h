/* Structured log lines of one thread, on their way to the control thread, which writes them.
 *
 * Each thread that may log has a struct tt_diag: a ring with one writer (that thread) and one
 * reader (the control thread). Writing formats into the ring and never waits: when the ring is full
 * the line is dropped and counted. So a blocked standard error costs lines, never a shard's time.
 *
 * A line has a level, a code (a short stable name for the reason, such as `bad_request`, that
 * alerts and the rate limit go by), the peer's address where there is one, and a message.
 * tt_diag_limit lets so many lines of a code through each second and counts the rest. Tokens, keys
 * and payloads do not belong into a message. Thread: written beside each function. Memory: about
 * 128 KiB each. */
#ifndef TT_SHARD_DIAG_H
#define TT_SHARD_DIAG_H

#include "proto/base/bytes.h"
#include "shard/conn/exchange.h"

enum tt_diag_level { TT_DIAG_ERROR = 0, TT_DIAG_WARN, TT_DIAG_INFO, TT_DIAG_DEBUG };
const char *tt_diag_level_text(enum tt_diag_level level); /* "error", "warn", "info", "debug" */

#define TT_DIAG_CODE_MAX    32u   /* bytes of a code with its final zero */
#define TT_DIAG_MESSAGE_MAX 400u  /* bytes of a message; longer ones are cut */
#define TT_DIAG_LINES       256u  /* lines in a ring: a power of two */
#define TT_DIAG_TEXT_MAX    3072u /* bytes of a line as text or JSON, with its line break */

struct tt_diag;

struct tt_diag_line {
    int64_t wall_us;
    uint32_t thread; /* number of the shard, TT_DIAG_CONTROL or TT_DIAG_KAFKA */
    uint16_t message_bytes;
    uint8_t level;       /* enum tt_diag_level */
    struct tt_peer peer; /* family TT_ADDRESS_NONE: none */
    char code[TT_DIAG_CODE_MAX];
    char message[TT_DIAG_MESSAGE_MAX]; /* not terminated */
};
#define TT_DIAG_CONTROL UINT32_MAX
#define TT_DIAG_KAFKA   (UINT32_MAX - 1)

/* thread: shown in the lines. Thread: start-up. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_diag_create(struct tt_diag **diag, uint32_t thread);
void tt_diag_destroy(struct tt_diag **diag);
/* Lines above this level are not written. Thread: any, at any time. */
void tt_diag_set_level(struct tt_diag *diag, enum tt_diag_level level);

/* ---- the writing thread ---- */
/* The time of the lines that follow; once a turn. */
void tt_diag_set_wall_us(struct tt_diag *diag, int64_t wall_us);
/* Writes a line; `peer` may be null. `diag` may be null (tests): nothing happens. */
void tt_diag_write(struct tt_diag *diag, enum tt_diag_level level, const struct tt_peer *peer,
                   const char *code, const char *format, ...) TT_PRINTF(5, 6);
/* Whether a line of this level would be written: for callers with work to do before. */
bool tt_diag_on(const struct tt_diag *diag, enum tt_diag_level level);

/* ---- the reading thread ---- */
/* The oldest line, or null. It is borrowed until tt_diag_taken(). */
const struct tt_diag_line *tt_diag_next(struct tt_diag *diag);
void tt_diag_taken(struct tt_diag *diag);
/* Lines dropped since the start because the ring was full. Thread: any. */
uint64_t tt_diag_dropped(const struct tt_diag *diag);

/* One line with its line break, as text
 *   2026-11-26T11:17:12.123Z warn shard=0 code=bad_request peer=192.0.2.7:4711 message
 * or as a JSON object. Control characters of the message are escaped, so that what a peer sends
 * cannot forge a line. w: at least TT_DIAG_TEXT_MAX bytes free. */
void tt_diag_line_text(struct tt_writer *w, const struct tt_diag_line *line);
void tt_diag_line_json(struct tt_writer *w, const struct tt_diag_line *line);

/* ---- the rate limit, by code ---- */
#define TT_DIAG_LIMIT_CODES 64u

struct tt_diag_limit_entry_ {
    char code[TT_DIAG_CODE_MAX];
    int64_t second;
    uint32_t passed;
    uint64_t suppressed;
};
/* Zeroed at first. Lines of errors are limited too. Codes beyond TT_DIAG_LIMIT_CODES share one
 * entry. */
struct tt_diag_limit {
    struct tt_diag_limit_entry_ entries_[TT_DIAG_LIMIT_CODES];
    uint32_t used_;
};
/* Whether one more line of this code may be written in the second of wall_us; else it is counted.
 */
bool tt_diag_limit_pass(struct tt_diag_limit *limit, const char *code, int64_t wall_us,
                        uint32_t lines_per_second);
/* Gives one code that had lines suppressed in a second that is over, and their number, and forgets
 * them; false: none (left). */
bool tt_diag_limit_report(struct tt_diag_limit *limit, int64_t wall_us, char code[TT_DIAG_CODE_MAX],
                          uint64_t *suppressed);

#endif
