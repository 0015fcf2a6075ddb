#include <stdio.h>
#include <string.h>

#include "proto/event/cursor.h"
#include "tests/support/sim_clients_internal.h"

static struct tt_cursor_storage storage;

static const char *const starts[] = {"live", "earliest", "snapshot", "last"};

void sim_follower_init(struct sim_follower *f, struct sim_ledger *l, uint64_t *random,
                       unsigned number, bool snapshots)
{
    static const char *const choices[] = {"a",     "b", "x.1", "x.2",   "x.*",
                                          "y.z.*", "*", "y.*", "y.z.1", "c"};
    memset(f, 0, sizeof *f);
    f->ledger = l;
    f->patterns_count = (uint32_t)sim_between(random, 1, 4);
    char channels[200] = "";
    for (uint32_t i = 0; i < f->patterns_count; i++) {
        const char *text = choices[sim_random(random) % (sizeof choices / sizeof *choices)];
        (void)snprintf(f->texts[i], sizeof f->texts[i], "%s", text);
        TT_ASSERT(tt_pattern_parse(tt_bytes_text(f->texts[i]), &f->patterns[i], NULL) == TT_OK);
        size_t used = strlen(channels);
        (void)snprintf(channels + used, sizeof channels - used, "%s%s", i == 0 ? "" : ",", text);
    }
    f->start_kind = (enum sim_start)sim_between(random, 0, snapshots ? SIM_LAST : SIM_EARLIEST);
    f->last = (uint32_t)sim_between(random, 1, 5);
    f->list = sim_chance(random, 3);
    f->ends = sim_chance(random, 4);
    char start[32];
    if (f->start_kind == SIM_LAST)
        (void)snprintf(start, sizeof start, "last=%u", f->last);
    else
        (void)snprintf(start, sizeof start, "from=%s", starts[f->start_kind]);
    (void)snprintf(f->query, sizeof f->query, "/sse?channels=%s&%s%s", channels, start,
                   f->ends ? "&policy=disconnect" : "");
    (void)snprintf(f->name, sizeof f->name, "follower %u (%s%s)", number, f->query,
                   f->list ? ", list" : "");
}

void sim_follower_conflate(struct sim_follower *f, uint64_t *random)
{
    static const char *const rates[] = {"0.5", "2", "25", "1000"};
    if (f->ends) return; /* policy=disconnect */
    f->conflates = true;
    f->ticks = sim_chance(random, 3);
    size_t used = strlen(f->query);
    (void)snprintf(f->query + used, sizeof f->query - used, "%s%s",
                   f->ticks ? "&max_rate=" : "&policy=conflate",
                   f->ticks ? rates[sim_random(random) % 4] : "");
    used = strlen(f->name);
    (void)snprintf(f->name + used, sizeof f->name - used, ", %s",
                   f->ticks ? "max_rate" : "conflate");
}

static void forget_reader(struct sim_follower *f)
{
    if (f->reader_used) tt_sse_reader_deinit(&f->reader);
    f->reader_used = false;
}

void sim_follower_deinit(struct sim_follower *f)
{
    forget_reader(f);
    if (f->spare != NULL) sim_cut(&f->spare);
    for (uint32_t p = 0; p < SIM_PARTITIONS_MAX; p++) {
        free(f->got[p].offsets);
        free(f->got[p].values);
        free(f->got[p].told);
        free(f->values[p].offsets);
        free(f->values[p].values);
    }
    free(f->skipped);
    free(f->pending.values);
    for (uint32_t i = 0; i < f->snapshots_count; i++) free(f->snapshots[i].values);
    free(f->snapshots);
}

/* The vector that a cursor says; false (and told): it cannot be read. */
static bool vector_of(struct sim_follower *f, struct tt_bytes text,
                      uint64_t vector[SIM_PARTITIONS_MAX], bool known[SIM_PARTITIONS_MAX])
{
    struct tt_cursor c;
    tt_cursor_init(&c, &storage);
    const struct tt_cursor_topic *topic = NULL;
    if (tt_cursor_parse(text, &c) == TT_OK)
        topic = tt_cursor_find(&c, f->ledger->sim->world->topics[0].history);
    if (topic == NULL) {
        sim_violation(f->ledger, "%s: not a cursor of this log: %.*s", f->name, (int)text.size,
                      (const char *)text.data);
        return false;
    }
    for (uint32_t p = 0; p < f->ledger->partitions; p++) {
        uint64_t next = tt_cursor_next(&c, topic, p);
        known[p] = next != TT_CURSOR_UNKNOWN && next != TT_CURSOR_BEGINNING;
        vector[p] = known[p] ? next : 0;
    }
    return true;
}

void sim_follower_connect(struct sim_follower *f, uint32_t shard, size_t room)
{
    struct sim *sim = f->ledger->sim;
    char text[4600];
    TT_ASSERT(f->link == NULL);
    forget_reader(f);
    tt_sse_reader_init(&f->reader);
    f->reader_used = true;
    f->link = f->spare != NULL ? f->spare : sim_connect(sim, shard, room);
    f->spare = NULL;
    f->connections++;
    f->pending.count = 0;
    f->snapshot_open = f->values_open = false;
    f->counts = true;
    (void)snprintf(f->sent, sizeof f->sent, "%s", f->cursor);
    if (f->list && f->sent[0] != '\0') {
        /* It may say less than the last id did, where other channels' events have passed. */
        (void)vector_of(f, tt_bytes_text(f->sent), f->promised, f->known);
    }
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n%s%s%s\r\n",
                     f->query, f->sent[0] == '\0' ? "" : "Last-Event-ID: ", f->sent,
                     f->sent[0] == '\0' ? "" : "\r\n");
    sim_bytes_append(&f->link->to_shard, text, (size_t)n);
}

void sim_follower_prepare(struct sim_follower *f, uint32_t shard, size_t room)
{
    TT_ASSERT(f->spare == NULL);
    f->spare = sim_connect(f->ledger->sim, shard, room);
    f->spare_shard = shard;
}

void sim_follower_cut(struct sim_follower *f)
{
    if (f->link != NULL) sim_cut(&f->link);
    forget_reader(f);
}

/* `own`: the event whose id line it is, or null. */
static void take_id(struct sim_follower *f, struct tt_bytes id, const char *of, bool own)
{
    uint64_t vector[SIM_PARTITIONS_MAX];
    bool known[SIM_PARTITIONS_MAX];
    if (!vector_of(f, id, vector, known)) return;
    for (uint32_t p = 0; p < f->ledger->partitions; p++) {
        if (!known[p]) continue;
        if (f->known[p] && vector[p] < f->promised[p])
            sim_violation(f->ledger,
                          "%s, connection %u: the id of %s went back in partition %u: %llu to %llu",
                          f->name, f->connections, of, p, (unsigned long long)f->promised[p],
                          (unsigned long long)vector[p]);
        f->promised[p] = vector[p];
        f->known[p] = true;
    }
    if (f->list && own && f->cursor[0] != '\0' && f->listed < 12) {
        /* The event's id alone is added by take_event(). */
        return;
    }
    (void)snprintf(f->cursor, sizeof f->cursor, "%.*s", (int)id.size, (const char *)id.data);
    f->listed = 0;
}

static void take_event(struct sim_follower *f, const struct tt_sse_event *e)
{
    struct sim_ledger *l = f->ledger;
    char type[140];
    (void)snprintf(type, sizeof type, "%.*s", (int)e->type.size, (const char *)e->type.data);
    uint32_t value = (uint32_t)strtoul(type + 1, NULL, 10);
    /* The last member but for those that are only there when set; the payload has no quote. */
    const char *at = memmem(e->data.data, e->data.size, "\"id\":\"", 6);
    if (type[0] != 'v' || value >= l->count || at == NULL) {
        sim_violation(l, "%s: an event that nobody has published: %s", f->name, type);
        return;
    }
    char id[64];
    (void)snprintf(id, sizeof id, "%.*s", 60, at + 6);
    *strchr(id, '"') = '\0';
    uint32_t p;
    uint64_t offset;
    (void)sim_read_place(id, &p, &offset);
    const struct sim_event *published = &l->events[value];
    bool follows = false;
    for (uint32_t i = 0; i < f->patterns_count; i++)
        follows |=
            tt_pattern_match(&f->patterns[i], tt_bytes_text(l->channels[published->channel]));
    if (!follows || p >= l->partitions ||
        (published->placed && (published->partition != p || published->offset != offset)))
        sim_violation(l, "%s: %s (%s) is not its to get, or has another id", f->name, id, type);
    if (!e->has_id && f->values_open) {
        struct sim_got *v = &f->values[p];
        uint32_t max = v->capacity;
        uint32_t n = v->count;
        SIM_PUSH(v->offsets, v->count, v->capacity, offset);
        SIM_PUSH(v->values, n, max, value);
        return;
    }
    if (!e->has_id) {
        if (!f->snapshot_open)
            sim_violation(l, "%s: %s has no id line, and no snapshot is open", f->name, id);
        SIM_PUSH(f->pending.values, f->pending.count, f->pending.capacity, value);
        return;
    }
    f->events++;
    struct sim_got *g = &f->got[p];
    if (f->known[p] && offset < f->promised[p])
        sim_violation(l, "%s, connection %u: %s came behind an id that promised all below %llu",
                      f->name, f->connections, id, (unsigned long long)f->promised[p]);
    if (g->count != 0 && offset <= g->offsets[g->count - 1])
        sim_violation(l, "%s, connection %u: %s came behind %llu", f->name, f->connections, id,
                      (unsigned long long)g->offsets[g->count - 1]);
    uint32_t capacity = g->capacity;
    uint32_t count = g->count;
    SIM_PUSH(g->offsets, g->count, g->capacity, offset);
    SIM_PUSH(g->values, count, capacity, value);
    bool listed = f->list && f->cursor[0] != '\0' && f->listed < 12;
    take_id(f, e->id, id, true);
    if (f->promised[p] <= offset)
        sim_violation(l, "%s: the id line of %s does not have it behind it", f->name, id);
    if (listed) {
        size_t used = strlen(f->cursor);
        (void)snprintf(f->cursor + used, sizeof f->cursor - used, ",%s", id);
        f->listed++;
    }
}

static void tell(struct sim_got *g, uint64_t from, uint64_t to, bool crash)
{
    g->told = realloc(g->told, (g->told_count + 1) * sizeof *g->told);
    TT_ASSERT(g->told != NULL);
    g->told[g->told_count++] = (struct sim_range){from, to, crash};
}

static void take_skipped(struct sim_follower *f, const char *data)
{
    const char *count = strstr(data, "\"skipped\":");
    struct sim_skipped s = {.count = count == NULL ? 0 : strtoull(count + 10, NULL, 10)};
    if (!f->conflates || f->ticks || s.count == 0) {
        sim_violation(f->ledger, "%s: told %s", f->name, data);
        return;
    }
    memcpy(s.from, f->counted, sizeof s.from);
    memcpy(s.to, f->promised, sizeof s.to);
    memcpy(f->counted, f->promised, sizeof s.to);
    if (!f->counts) return;
    f->skipped = realloc(f->skipped, (f->skipped_count + 1) * sizeof *f->skipped);
    TT_ASSERT(f->skipped != NULL);
    f->skipped[f->skipped_count++] = s;
}

static void take_control(struct sim_follower *f, const struct tt_sse_event *e)
{
    struct sim_ledger *l = f->ledger;
    char data[400];
    (void)snprintf(data, sizeof data, "%.*s", e->data.size < 399 ? (int)e->data.size : 399,
                   (const char *)e->data.data);
    uint64_t vector[SIM_PARTITIONS_MAX];
    bool known[SIM_PARTITIONS_MAX];
    if (tt_bytes_is(e->type, "connected")) {
        bool snapshot = f->sent[0] == '\0' && f->start_kind >= SIM_SNAPSHOT;
        f->snapshot_open = snapshot;
        memcpy(f->counted, f->promised, sizeof f->counted);
        if (snapshot || f->sent[0] != '\0') return;
        if (!e->has_id) {
            sim_violation(l, "%s: connected without a cursor", f->name);
            return;
        }
        if (!vector_of(f, e->id, f->start, known)) return;
        f->begun = true;
        memcpy(f->counted, f->start, sizeof f->counted);
        for (uint32_t p = 0; p < l->partitions; p++)
            if (!known[p]) f->start[p] = UINT64_MAX; /* a narrow client never sees it */
        take_id(f, e->id, "connected", false);
    } else if (tt_bytes_is(e->type, "snapshot-end") && f->values_open) {
        f->values_open = false;
        take_id(f, e->id, "snapshot-end", false);
    } else if (tt_bytes_is(e->type, "snapshot-end")) {
        if (!f->snapshot_open || !e->has_id) {
            sim_violation(l, "%s: an unexpected snapshot-end", f->name);
            return;
        }
        f->snapshot_open = false;
        if (!vector_of(f, e->id, f->pending.join, known)) return;
        for (uint32_t p = 0; p < l->partitions; p++) {
            f->start[p] = known[p] ? f->pending.join[p] : UINT64_MAX;
            if (!known[p]) f->pending.join[p] = UINT64_MAX;
        }
        f->begun = true;
        memcpy(f->counted, f->pending.join, sizeof f->counted);
        f->snapshots = realloc(f->snapshots, (f->snapshots_count + 1) * sizeof *f->snapshots);
        TT_ASSERT(f->snapshots != NULL);
        f->snapshots[f->snapshots_count++] = f->pending;
        f->pending = (struct sim_snapshot){0};
        take_id(f, e->id, "snapshot-end", false);
    } else if (tt_bytes_is(e->type, "resync")) {
        f->resyncs++;
        f->counts = false;
        if (strstr(data, "\"expired\"") == NULL || !l->retention)
            sim_violation(l, "%s, connection %u: told %s, having sent %s", f->name, f->connections,
                          data, f->sent);
        if (!e->has_id || !vector_of(f, e->id, vector, known)) return;
        for (uint32_t p = 0; p < l->partitions; p++) {
            uint64_t from = f->known[p] ? f->promised[p] : f->start[p];
            if (known[p] && vector[p] > from) tell(&f->got[p], from, vector[p], false);
        }
        take_id(f, e->id, "resync", false);
    } else if (tt_bytes_is(e->type, "gap")) {
        f->gaps++;
        if (strstr(data, "\"conflated\"") != NULL) {
            take_skipped(f, data);
            return;
        }
        f->values_open = f->conflates;
        f->counts = false;
        const char *from = strstr(data, "\"from\":\"");
        const char *to = strstr(data, "\"to\":\"");
        if (strstr(data, "\"crash\"") == NULL || !l->crashes || from == NULL || to == NULL) {
            sim_violation(l, "%s: told %s", f->name, data);
            return;
        }
        uint32_t p;
        uint64_t a, b;
        (void)sim_read_place(from + 8, &p, &a);
        (void)sim_read_place(to + 6, &p, &b);
        if (p < l->partitions) tell(&f->got[p], a, b + 1, true);
    }
}

static bool is_control(struct tt_bytes type)
{
    return tt_type_is_reserved(type);
}

/* Who takes nothing is closed when memory is short: with a snapshot under way, or a batch begun. */
static bool closed_as_slow(const struct sim *sim)
{
    for (uint32_t i = 0; sim->life != NULL && i < sim->shards; i++)
        if (tt_metric_get(&tt_shard_metrics(sim->world->shards[i])->closes[TT_CLOSE_SLOW]) != 0)
            return true;
    return false;
}

void sim_follower_take(struct sim_follower *f, size_t bytes)
{
    if (f->link == NULL) return;
    struct sim_link *link = f->link;
    if (bytes > link->to_peer.size) bytes = link->to_peer.size;
    /* A copy: what the reader was given must stay until the next call. */
    uint8_t *copy = malloc(bytes + 1);
    TT_ASSERT(copy != NULL);
    if (bytes != 0) memcpy(copy, link->to_peer.data, bytes);
    sim_bytes_drop(&link->to_peer, bytes);
    struct tt_bytes in = tt_bytes(copy, bytes);
    enum tt_status status = TT_MORE;
    struct tt_sse_event e;
    while (bytes != 0 && (status = tt_sse_reader_next(&f->reader, &in, &e)) == TT_OK) {
        if (e.data_lines == 0) {
            if (!e.has_id) continue;
            f->bare_ids++;
            take_id(f, e.id, "a bare id line", false);
        } else if (is_control(e.type)) {
            take_control(f, &e);
        } else {
            take_event(f, &e);
        }
    }
    if (status == TT_EPROTO && f->ledger->sim->source != NULL &&
        tt_sse_reader_status(&f->reader) == 503)
        sim_follower_cut(f); /* no snapshot before the topics were read: it asks again */
    else if (status != TT_MORE && status != TT_END)
        sim_violation(f->ledger, "%s: %s", f->name, tt_sse_reader_why(&f->reader));
    free(copy);
    if (f->link == NULL) return;
    if (link->shard_ended && link->to_peer.size == 0) {
        if (!f->ends && !closed_as_slow(f->ledger->sim) && f->ledger->sim->life != NULL &&
            !f->ledger->sim->scheduler.killed)
            sim_violation(f->ledger, "%s, connection %u: the broker has ended it", f->name,
                          f->connections);
        sim_follower_cut(f);
    }
}
