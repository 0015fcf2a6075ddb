#include "shard/diag.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"

_Static_assert((TT_DIAG_LINES & (TT_DIAG_LINES - 1)) == 0, "positions wrap by a mask");
/* Every byte of a message may become \u00XX (JSON) or \xXX (text), plus the other members. */
_Static_assert(TT_DIAG_TEXT_MAX >= TT_DIAG_MESSAGE_MAX * 6 + TT_DIAG_CODE_MAX * 6 + 256,
               "the longest line fits");

struct tt_diag {
    uint32_t thread;
    _Atomic uint32_t level;
    int64_t wall_us; /* the writer's */
    _Atomic uint64_t dropped;
    /* Each position is written by one side only. The release store of `written` publishes the line
     * before it to the acquire load in tt_diag_next(); that of `taken` gives the place back to the
     * acquire load in tt_diag_write(). */
    _Atomic uint32_t written __attribute__((aligned(64)));
    _Atomic uint32_t taken __attribute__((aligned(64)));
    struct tt_diag_line lines[TT_DIAG_LINES];
};

const char *tt_diag_level_text(enum tt_diag_level level)
{
    static const char *const texts[] = {"error", "warn", "info", "debug"};
    TT_ASSERT(level <= TT_DIAG_DEBUG);
    return texts[level];
}

enum tt_status tt_diag_create(struct tt_diag **diag, uint32_t thread)
{
    struct tt_diag *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);
    if (d == NULL) return TT_ENOMEM;
    memset(d, 0, sizeof(*d));
    d->thread = thread;
    d->level = TT_DIAG_INFO;
    *diag = d;
    return TT_OK;
}

void tt_diag_destroy(struct tt_diag **diag)
{
    free(*diag);
    *diag = NULL;
}

void tt_diag_set_level(struct tt_diag *diag, enum tt_diag_level level)
{
    atomic_store_explicit(&diag->level, level, memory_order_relaxed);
}

void tt_diag_set_wall_us(struct tt_diag *diag, int64_t wall_us)
{
    diag->wall_us = wall_us;
}

bool tt_diag_on(const struct tt_diag *diag, enum tt_diag_level level)
{
    return diag != NULL && level <= atomic_load_explicit(&diag->level, memory_order_relaxed);
}

void tt_diag_write(struct tt_diag *diag, enum tt_diag_level level, const struct tt_peer *peer,
                   const char *code, const char *format, ...)
{
    if (!tt_diag_on(diag, level)) return;
    uint32_t written = atomic_load_explicit(&diag->written, memory_order_relaxed);
    uint32_t taken = atomic_load_explicit(&diag->taken, memory_order_acquire);
    if (written - taken == TT_DIAG_LINES) {
        uint64_t dropped = atomic_load_explicit(&diag->dropped, memory_order_relaxed);
        atomic_store_explicit(&diag->dropped, dropped + 1, memory_order_relaxed);
        return;
    }
    struct tt_diag_line *line = &diag->lines[written & (TT_DIAG_LINES - 1)];
    line->wall_us = diag->wall_us;
    line->thread = diag->thread;
    line->level = (uint8_t)level;
    line->peer = peer != NULL ? *peer : (struct tt_peer){.family = TT_ADDRESS_NONE};
    snprintf(line->code, sizeof(line->code), "%s", code);
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line->message, sizeof(line->message), format, arguments);
    va_end(arguments);
    if (size < 0) size = 0;
    if ((size_t)size >= sizeof(line->message)) size = sizeof(line->message) - 1;
    line->message_bytes = (uint16_t)size;
    atomic_store_explicit(&diag->written, written + 1, memory_order_release);
}

const struct tt_diag_line *tt_diag_next(struct tt_diag *diag)
{
    uint32_t taken = atomic_load_explicit(&diag->taken, memory_order_relaxed);
    if (atomic_load_explicit(&diag->written, memory_order_acquire) == taken) return NULL;
    return &diag->lines[taken & (TT_DIAG_LINES - 1)];
}

void tt_diag_taken(struct tt_diag *diag)
{
    uint32_t taken = atomic_load_explicit(&diag->taken, memory_order_relaxed);
    TT_ASSERT(atomic_load_explicit(&diag->written, memory_order_relaxed) != taken);
    atomic_store_explicit(&diag->taken, taken + 1, memory_order_release);
}

uint64_t tt_diag_dropped(const struct tt_diag *diag)
{
    return atomic_load_explicit(&diag->dropped, memory_order_relaxed);
}

/* Days since 1970 as year, month, day (proleptic Gregorian), after Howard Hinnant's
 * civil_from_days: the C library's gmtime reads time zone files, and this layer reads none. */
static void civil_from_days(int64_t days, int *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned shifted = (5 * of_year + 2) / 153; /* March is 0 */
    *day = of_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (int)(year_of_era + era * 400) + (*month <= 2);
}

static void write_time(struct tt_writer *w, int64_t wall_us)
{
    int64_t ms = wall_us / 1000 - (wall_us % 1000 < 0);
    int64_t days = ms / 86400000 - (ms % 86400000 < 0);
    unsigned of_day = (unsigned)(ms - days * 86400000);
    int year;
    unsigned month, day;
    civil_from_days(days, &year, &month, &day);
    tt_write_format(w, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", year, month, day, of_day / 3600000,
                    of_day / 60000 % 60, of_day / 1000 % 60, of_day % 1000);
}

/* Of a thread that is no shard; null: it is one. */
static const char *thread_name(uint32_t thread)
{
    return thread == TT_DIAG_CONTROL ? "control" : thread == TT_DIAG_KAFKA ? "kafka" : NULL;
}

void tt_diag_line_text(struct tt_writer *w, const struct tt_diag_line *line)
{
    write_time(w, line->wall_us);
    tt_write_char(w, ' ');
    tt_write_text(w, tt_diag_level_text(line->level));
    tt_write_text(w, " shard=");
    const char *name = thread_name(line->thread);
    if (name != NULL)
        tt_write_text(w, name);
    else
        tt_write_u64(w, line->thread);
    tt_write_text(w, " code=");
    tt_write_text(w, line->code);
    if (line->peer.family != TT_ADDRESS_NONE) {
        char peer[TT_ADDRESS_TEXT_MAX];
        tt_peer_text(&line->peer, peer);
        tt_write_text(w, " peer=");
        tt_write_text(w, peer);
    }
    tt_write_char(w, ' ');
    for (unsigned i = 0; i < line->message_bytes; i++) {
        uint8_t byte = (uint8_t)line->message[i];
        if (byte < 0x20 || byte == 0x7F)
            tt_write_format(w, "\\x%02x", byte);
        else
            tt_write_char(w, (char)byte);
    }
    tt_write_char(w, '\n');
}

void tt_diag_line_json(struct tt_writer *w, const struct tt_diag_line *line)
{
    tt_write_text(w, "{\"time\":\"");
    write_time(w, line->wall_us);
    tt_write_text(w, "\",\"level\":\"");
    tt_write_text(w, tt_diag_level_text(line->level));
    tt_write_text(w, "\",\"shard\":");
    const char *name = thread_name(line->thread);
    if (name != NULL)
        tt_write_json_string(w, tt_bytes_text(name));
    else
        tt_write_u64(w, line->thread);
    tt_write_text(w, ",\"code\":");
    tt_write_json_string(w, tt_bytes_text(line->code));
    if (line->peer.family != TT_ADDRESS_NONE) {
        char peer[TT_ADDRESS_TEXT_MAX];
        tt_peer_text(&line->peer, peer);
        tt_write_text(w, ",\"peer\":");
        tt_write_json_string(w, tt_bytes_text(peer));
    }
    tt_write_text(w, ",\"message\":");
    tt_write_json_string(w, tt_bytes(line->message, line->message_bytes));
    tt_write_text(w, "}\n");
}

static struct tt_diag_limit_entry_ *limit_entry(struct tt_diag_limit *limit, const char *code)
{
    for (uint32_t i = 0; i < limit->used_; i++)
        if (strncmp(limit->entries_[i].code, code, TT_DIAG_CODE_MAX - 1) == 0)
            return &limit->entries_[i];
    if (limit->used_ == TT_DIAG_LIMIT_CODES) return &limit->entries_[TT_DIAG_LIMIT_CODES - 1];
    struct tt_diag_limit_entry_ *entry = &limit->entries_[limit->used_++];
    snprintf(entry->code, sizeof(entry->code), "%s",
             limit->used_ == TT_DIAG_LIMIT_CODES ? "others" : code);
    return entry;
}

bool tt_diag_limit_pass(struct tt_diag_limit *limit, const char *code, int64_t wall_us,
                        uint32_t lines_per_second)
{
    struct tt_diag_limit_entry_ *entry = limit_entry(limit, code);
    int64_t second = wall_us / 1000000;
    if (entry->second != second) {
        entry->second = second;
        entry->passed = 0;
    }
    if (entry->passed < lines_per_second) {
        entry->passed++;
        return true;
    }
    entry->suppressed++;
    return false;
}

bool tt_diag_limit_report(struct tt_diag_limit *limit, int64_t wall_us, char code[TT_DIAG_CODE_MAX],
                          uint64_t *suppressed)
{
    for (uint32_t i = 0; i < limit->used_; i++) {
        struct tt_diag_limit_entry_ *entry = &limit->entries_[i];
        if (entry->suppressed == 0 || entry->second == wall_us / 1000000) continue;
        memcpy(code, entry->code, TT_DIAG_CODE_MAX);
        *suppressed = entry->suppressed;
        entry->suppressed = 0;
        return true;
    }
    return false;
}
