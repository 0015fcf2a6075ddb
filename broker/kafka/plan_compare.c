/* One partition: what is known of it here, beside what Kafka says. */
#include <time.h>

#include "broker/kafka/plan_internal.h"

#define QUESTION_MS 2000 /* longest wait for one answer */
#define END_TRIES   4u
#define END_WAIT_NS 300000000

uint64_t tt_kafka_plan_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int64_t tt_kafka_plan_wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

int tt_kafka_plan_timeout_ms(const struct tt_kafka_planning *p)
{
    uint64_t now = tt_kafka_plan_now_ns();
    if (__atomic_load_n(p->stop, __ATOMIC_ACQUIRE) || now >= p->deadline_ns) return 0;
    uint64_t left_ms = (p->deadline_ns - now) / 1000000 + 1;
    return left_ms < QUESTION_MS ? (int)left_ms : QUESTION_MS;
}

struct look {
    const struct tt_kafka_known *known;
    bool differs;
};

/* A record behind the one that was asked for: that one was compacted away, or taken by retention
 * this moment. Nothing can be said against it. */
static void look(void *argument, const struct tt_kafka_message *m)
{
    struct look *l = argument;
    if (m->kind != TT_KAFKA_RECORD || m->offset != (int64_t)l->known->last_offset) return;
    l->differs = !l->known->same(l->known->argument, m);
}

static bool ask_bounds(struct tt_kafka_planning *p, const char *topic, uint32_t partition,
                       uint64_t *low, uint64_t *end)
{
    int64_t from, to;
    int timeout_ms = tt_kafka_plan_timeout_ms(p);
    if (timeout_ms == 0) return false;
    p->code =
        p->module->watermarks(p->kafka, topic, (int32_t)partition, timeout_ms, &from, &to, p->why);
    if (p->code != 0) return false;
    *low = from < 0 ? 0 : (uint64_t)from;
    *end = to < 0 ? 0 : (uint64_t)to;
    return true;
}

enum tt_kafka_fit tt_kafka_plan_compare(struct tt_kafka_planning *p, const char *topic,
                                        uint32_t partition, const struct tt_kafka_known *known,
                                        uint64_t *low, uint64_t *end)
{
    const struct tt_kafka_module *m = p->module;
    int timeout_ms = 0;
    /* A leader that was elected this moment may say an end that is too low. */
    for (unsigned tries = 0; tries < END_TRIES; tries++) {
        if (tries != 0) nanosleep(&(struct timespec){.tv_nsec = END_WAIT_NS}, NULL);
        if (!ask_bounds(p, topic, partition, low, end)) return TT_KAFKA_UNANSWERED;
        if (*end >= known->next) break;
    }
    if (*end < known->next) return TT_KAFKA_IS_REMADE;
    if (known->has_last && known->last_offset >= *low && known->last_offset < *end) {
        struct look l = {.known = known};
        timeout_ms = tt_kafka_plan_timeout_ms(p);
        if (timeout_ms == 0) return TT_KAFKA_UNANSWERED;
        p->code = m->fetch(p->kafka, topic, (int32_t)partition, (int64_t)known->last_offset,
                           timeout_ms, look, &l, p->why);
        if (p->code != 0 && p->code != TT_KAFKA_ERANGE) return TT_KAFKA_UNANSWERED;
        if (l.differs) return TT_KAFKA_IS_REMADE;
    }
    return *low > known->next ? TT_KAFKA_IS_EXPIRED : TT_KAFKA_FITS;
}
