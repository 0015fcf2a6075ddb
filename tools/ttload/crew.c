#include "tools/ttload/crew.h"

#include "tools/ttload/proc.h"

static void add_engine(const struct tt_engine *e, struct tt_totals *t)
{
    const struct tt_proof_counts *c = &e->counts;

    t->connected += tt_counter(&e->connected);
    t->live += tt_counter(&e->live);
    t->resumed += tt_counter(&e->resumed);
    t->cuts += tt_counter(&e->cuts);
    t->cuts_inside += tt_counter(&e->cuts_inside);
    t->closed += tt_counter(&e->closed);
    t->stopped += tt_counter(&e->stopped);
    t->bytes += tt_counter(&e->bytes);
    t->receives += tt_counter(&e->receives);
    t->delivered += tt_counter(&c->delivered);
    t->doubled += tt_counter(&c->doubled);
    t->reordered += tt_counter(&c->reordered);
    t->gaps += tt_counter(&c->gaps);
    t->missing += tt_counter(&c->missing);
    t->told += tt_counter(&c->told);
    t->conflated += tt_counter(&c->conflated);
    t->kept_lost += tt_counter(&c->kept_lost);
    t->again += tt_counter(&c->again);
    t->notices += tt_counter(&c->notices);
    t->losses_told += tt_counter(&c->losses_told);
    t->skipped += tt_counter(&c->skipped);
}

void tt_crew_totals(const struct tt_crew *crew, struct tt_totals *totals)
{
    *totals = (struct tt_totals){.when_ns = tt_proc_now_ns()};
    totals->published = tt_counter(&crew->publisher.accepted);
    totals->owed = tt_counter(&crew->publisher.owed);
    for (uint32_t i = 0; i < crew->engines_started; i++) add_engine(&crew->engines[i], totals);
}

void tt_crew_recent(const struct tt_crew *crew, struct tt_coarse_counts *counts)
{
    *counts = (struct tt_coarse_counts){0};
    for (uint32_t i = 0; i < crew->engines_started; i++) {
        tt_coarse_add(counts, &crew->engines[i].recent);
    }
}

bool tt_crew_in_trouble(const struct tt_crew *crew)
{
    for (uint32_t i = 0; i < crew->engines_started; i++) {
        if (tt_counter(&crew->engines[i].trouble.count) != 0) return true;
    }
    return crew->publisher_started && tt_counter(&crew->publisher.trouble.count) != 0;
}

bool tt_crew_settled(const struct tt_crew *crew)
{
    for (uint32_t i = 0; i < crew->engines_started; i++) {
        const struct tt_engine *e = &crew->engines[i];
        uint64_t accounted = tt_counter(&e->live) + tt_counter(&e->gone);
        if (tt_counter(&e->behind) != 1 || accounted != e->count) return false;
    }
    return true;
}
