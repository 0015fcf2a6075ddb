#include <stdio.h>
#include <string.h>

#include "tests/support/sim_clients_internal.h"

void sim_publish(struct sim_publisher *p, struct sim_ledger *l, uint32_t count, uint32_t pad_max,
                 int channel)
{
    uint64_t *random = &l->sim->random;
    TT_ASSERT(sim_publisher_idle(p) && count <= SIM_BATCH_MAX);
    struct sim_bytes body = {0};
    char text[256];
    p->first = l->count;
    p->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct sim_event e = {.channel =
                                  (uint8_t)(channel >= 0 ? (uint64_t)channel
                                                         : sim_random(random) % l->channels_count),
                              .pad = (uint32_t)sim_between(random, 0, pad_max),
                              .never_conflate = sim_chance(random, 5),
                              .deletes = sim_chance(random, 12)};
        if (e.deletes) e.pad = 0, e.never_conflate = false;
        int n = snprintf(
            text, sizeof text,
            "%c{\"channel\":\"%s\",\"type\":\"v%u\"%s%s,\"payload\":", i == 0 ? '[' : ',',
            l->channels[e.channel], l->count, e.never_conflate ? ",\"conflate\":false" : "",
            e.deletes ? ",\"op\":\"delete\"" : "");
        sim_bytes_append(&body, text, (size_t)n);
        if (e.deletes) {
            sim_bytes_append(&body, "null}", 5);
        } else {
            static char pad[1 << 16];
            memset(pad, 'x', sizeof pad);
            sim_bytes_append(&body, "\"", 1);
            sim_bytes_append(&body, pad, e.pad);
            sim_bytes_append(&body, "\"}", 2);
        }
        SIM_PUSH(l->events, l->count, l->capacity, e);
    }
    sim_bytes_append(&body, "]", 1);
    int n = snprintf(text, sizeof text,
                     "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", body.size);
    sim_bytes_append(&p->link->to_shard, text, (size_t)n);
    sim_bytes_append(&p->link->to_shard, body.data, body.size);
    free(body.data);
}

bool sim_publisher_idle(const struct sim_publisher *p)
{
    return p->count == 0;
}

void sim_publisher_lost(struct sim_publisher *p)
{
    p->count = 0;
    p->link = NULL;
}

void sim_publisher_take(struct sim_publisher *p, struct sim_ledger *l)
{
    struct sim_bytes *in = &p->link->to_peer;
    if (p->count == 0 || in->size == 0) return;
    sim_bytes_append(in, "", 1); /* a zero, for the functions of strings */
    in->size--;
    const uint8_t *head = memmem(in->data, in->size, "\r\n\r\n", 4);
    if (head == NULL) return;
    const char *length = memmem(in->data, in->size, "Content-Length: ", 16);
    TT_ASSERT(length != NULL);
    size_t body = strtoul(length + 16, NULL, 10);
    size_t whole = (size_t)(head + 4 - in->data) + body;
    if (in->size < whole) return;
    const char *at = (const char *)head + 4;
    if (memcmp(in->data, "HTTP/1.1 202", 12) != 0) {
        sim_violation(l, "a publish was answered by %.200s", (const char *)in->data);
    } else {
        for (uint32_t i = 0; i < p->count; i++) {
            at = strchr(at, '-');
            TT_ASSERT(at != NULL);
            uint32_t partition;
            uint64_t offset;
            at = sim_read_place(at - 6, &partition, &offset);
            struct sim_event *e = &l->events[p->first + i];
            e->partition = (uint8_t)partition;
            e->offset = offset;
            e->placed = e->answered = true;
        }
    }
    sim_bytes_drop(in, whole);
    p->count = 0;
}
