#include <stdarg.h>
#include <stdio.h>

#include "tests/support/sim_clients_internal.h"

void sim_ledger_deinit(struct sim_ledger *l)
{
    free(l->events);
}

void sim_violation(struct sim_ledger *l, const char *format, ...)
{
    char text[600];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (l->violations++ < 5) (void)fprintf(stderr, "# violation: %s\n", text);
}

static bool follows(const struct sim_follower *f, const struct sim_event *e)
{
    for (uint32_t i = 0; i < f->patterns_count; i++)
        if (tt_pattern_match(&f->patterns[i], tt_bytes_text(f->ledger->channels[e->channel])))
            return true;
    return false;
}

bool sim_follower_complete(const struct sim_follower *f)
{
    if (!f->begun || f->link == NULL) return false;
    for (uint32_t i = 0; i < f->ledger->count; i++) {
        const struct sim_event *e = &f->ledger->events[i];
        if (!e->answered || !follows(f, e) || e->offset < f->start[e->partition]) continue;
        if (!f->known[e->partition] || f->promised[e->partition] <= e->offset) return false;
    }
    return true;
}

static int by_offset(const void *a, const void *b)
{
    const struct sim_event *x = *(struct sim_event *const *)a;
    const struct sim_event *y = *(struct sim_event *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool excused(const struct sim_got *g, uint64_t offset)
{
    for (uint32_t i = 0; i < g->told_count; i++)
        if (offset >= g->told[i].from && offset < g->told[i].to) return true;
    return false;
}

static bool has(const struct sim_got *g, uint64_t offset)
{
    uint32_t from = 0, to = g->count; /* got[] rises */
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        if (g->offsets[middle] < offset)
            from = middle + 1;
        else
            to = middle;
    }
    return from < g->count && g->offsets[from] == offset;
}

/* list[i] did not come to a follower that conflates: something newer of its channel did. */
static bool is_replaced(const struct sim_follower *f, uint32_t p, struct sim_event *const *list,
                        uint32_t count, uint32_t i)
{
    const struct sim_got *v = &f->values[p];
    for (uint32_t k = 0; k < v->count; k++) /* or itself, as a value behind a crash */
        if (v->offsets[k] >= list[i]->offset &&
            f->ledger->events[v->values[k]].channel == list[i]->channel && !list[i]->never_conflate)
            return true;
    if (list[i]->never_conflate) return false;
    for (uint32_t k = i + 1; k < count; k++)
        if (list[k]->channel == list[i]->channel && has(&f->got[p], list[k]->offset)) return true;
    return false;
}

/* A never-conflate event came: so did the event of its channel before it. */
static void hold_before(struct sim_follower *f, uint32_t p, struct sim_event *const *list,
                        uint32_t i)
{
    if (!list[i]->never_conflate) return;
    for (uint32_t k = i; k-- > 0 && list[k]->offset >= f->start[p];) {
        if (list[k]->channel != list[i]->channel) continue;
        if (!has(&f->got[p], list[k]->offset) && !excused(&f->got[p], list[k]->offset) &&
            !f->ledger->crashes)
            sim_violation(f->ledger, "%s: %u-%llu came without %u-%llu before it", f->name, p,
                          (unsigned long long)list[i]->offset, p,
                          (unsigned long long)list[k]->offset);
        return;
    }
}

/* One partition: `list` is what is in the log on the follower's channels, in order. */
static void hold(struct sim_follower *f, uint32_t p, struct sim_event *const *list, uint32_t count)
{
    struct sim_ledger *l = f->ledger;
    struct sim_got *g = &f->got[p];
    uint32_t at = 0;
    for (uint32_t i = 0; i <= count; i++) {
        uint64_t offset = i < count ? list[i]->offset : UINT64_MAX;
        /* What it has and the log has not: lost in a crash, or gone by retention before anybody
         * answered or looked. */
        for (; at < g->count && g->offsets[at] < offset; at++) {
            const struct sim_event *e = &l->events[g->values[at]];
            if (e->answered || !l->crashes)
                sim_violation(l, "%s: %u-%llu is not in the log", f->name, p,
                              (unsigned long long)g->offsets[at]);
        }
        if (i == count) break;
        if (offset < f->start[p]) continue;
        if (at < g->count && g->offsets[at] == offset) {
            at++;
            if (f->conflates) hold_before(f, p, list, i);
            continue;
        }
        if (f->conflates && is_replaced(f, p, list, count, i)) {
            f->replaced++;
            continue;
        }
        if (!excused(g, offset))
            sim_violation(l,
                          "%s: %u-%llu (v%u on %s) is missing, and nobody has told; promised %llu, "
                          "%u connections",
                          f->name, p, (unsigned long long)offset, (unsigned)(list[i] - l->events),
                          l->channels[list[i]->channel], (unsigned long long)f->promised[p],
                          f->connections);
    }
}

/* What was told of skipped events is so. */
static void hold_skipped(struct sim_follower *f)
{
    struct sim_ledger *l = f->ledger;
    for (uint32_t i = 0; i < f->skipped_count && !l->crashes; i++) {
        const struct sim_skipped *s = &f->skipped[i];
        uint64_t missing = 0;
        for (uint32_t k = 0; k < l->count; k++) {
            const struct sim_event *e = &l->events[k];
            if (!e->placed || !follows(f, e) || e->offset < s->from[e->partition] ||
                e->offset >= s->to[e->partition])
                continue;
            missing += !has(&f->got[e->partition], e->offset);
        }
        if (missing != s->count)
            sim_violation(l, "%s: told %llu skipped events, there are %llu", f->name,
                          (unsigned long long)s->count, (unsigned long long)missing);
    }
}

/* The values of one channel in a snapshot, or its last events. `list`: the channel's events. */
static void hold_snapshot(struct sim_follower *f, const struct sim_snapshot *s, uint32_t channel,
                          struct sim_event *const *list, uint32_t count)
{
    struct sim_ledger *l = f->ledger;
    if (count == 0 || s->join[list[0]->partition] == UINT64_MAX) return;
    uint64_t join = s->join[list[0]->partition];
    const struct sim_event *expected[8];
    uint32_t wanted = f->start_kind == SIM_SNAPSHOT ? 1 : f->last;
    uint32_t n = 0;
    for (uint32_t i = count; i-- > 0 && n < wanted;) {
        if (list[i]->offset >= join) continue;
        if (f->start_kind == SIM_SNAPSHOT) {
            if (list[i]->never_conflate) continue;
            if (list[i]->deletes) break;
        }
        expected[n++] = list[i];
    }
    uint32_t k = n; /* expected is newest first, the snapshot in order */
    for (uint32_t i = 0; i < s->count; i++) {
        const struct sim_event *e = &l->events[s->values[i]];
        if (e->channel != channel) continue;
        while (k > 0 && expected[k - 1] != e && l->retention) k--; /* what is gone is missing */
        if (k == 0 || expected[k - 1] != e) {
            sim_violation(l, "%s: snapshot to %llu has v%u of %s, expected v%d", f->name,
                          (unsigned long long)join, s->values[i], l->channels[channel],
                          k == 0 ? -1 : (int)(expected[k - 1] - l->events));
            return;
        }
        k--;
    }
    /* A value outlives its segment. One that retention moved during the snapshot may be left out
     * when a newer one follows; last events that are gone are simply missing. */
    bool missing = !l->retention;
    if (l->retention && f->start_kind == SIM_SNAPSHOT) {
        missing = true;
        for (uint32_t i = 0; i < count; i++)
            if (list[i]->offset >= join && !list[i]->never_conflate) missing = false;
    }
    if (k != 0 && missing)
        sim_violation(l, "%s: snapshot to %llu lacks v%u of %s", f->name, (unsigned long long)join,
                      (unsigned)(expected[k - 1] - l->events), l->channels[channel]);
}

void sim_follower_finish(struct sim_follower *f)
{
    struct sim_ledger *l = f->ledger;
    struct sim_event **list = malloc((l->count + 1) * sizeof(*list));
    TT_ASSERT(list != NULL);
    for (uint32_t p = 0; p < l->partitions; p++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < l->count; i++)
            if (l->events[i].placed && l->events[i].partition == p && follows(f, &l->events[i]))
                list[n++] = &l->events[i];
        qsort((void *)list, n, sizeof(*list), by_offset);
        hold(f, p, list, n);
    }
    hold_skipped(f);
    for (uint32_t c = 0; c < l->channels_count && f->snapshots_count != 0; c++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < l->count; i++)
            if (l->events[i].placed && l->events[i].channel == c && follows(f, &l->events[i]))
                list[n++] = &l->events[i];
        qsort((void *)list, n, sizeof(*list), by_offset);
        for (uint32_t s = 0; s < f->snapshots_count; s++)
            if (!l->crashes) hold_snapshot(f, &f->snapshots[s], c, list, n);
    }
    free((void *)list);
}

void sim_ledger_audit(struct sim_ledger *l, const struct sim_follower *auditor)
{
    for (uint32_t p = 0; p < l->partitions; p++) {
        const struct sim_got *g = &auditor->got[p];
        for (uint32_t i = 0; i < g->count; i++) {
            struct sim_event *e = &l->events[g->values[i]];
            if (e->placed) continue; /* the follower has compared it */
            e->placed = true;
            e->partition = (uint8_t)p;
            e->offset = g->offsets[i];
        }
    }
}
