#include "broker/clients_text.h"

#include <stdlib.h>

#include "broker/clients_query.h"
#include "proto/base/assert.h"

/* Every byte of a name may need six in JSON. */
#define ENTRY_BYTES_MAX                                                                            \
    (800u + 6u * (TT_SUBSCRIBE_LABEL_BYTES_MAX + TT_ROSTER_PATTERN_BYTES) + TT_ADDRESS_TEXT_MAX)

static void write_optional(struct tt_writer *w, const char *name, bool known, uint64_t value)
{
    tt_write_format(w, ",\"%s\":", name);
    if (known)
        tt_write_u64(w, value);
    else
        tt_write_text(w, "null");
}

static void write_channels(struct tt_writer *w, const struct tt_roster_entry *e)
{
    const uint8_t *at = e->patterns;
    tt_write_format(w, ",\"channels\":{\"count\":%u,\"first\":[", e->channels_count);
    for (uint32_t i = 0; i < e->patterns_count; i++) {
        if (i != 0) tt_write_char(w, ',');
        tt_write_json_string(w, tt_bytes(at, e->pattern_bytes[i]));
        at += e->pattern_bytes[i];
    }
    tt_write_text(w, "]}");
}

static void write_entry(struct tt_writer *w, const struct tt_roster_entry *e)
{
    char address[TT_ADDRESS_TEXT_MAX] = "";
    tt_peer_text(&e->peer, address);
    tt_write_format(w, "{\"session\":\"%s\",\"label\":", e->session);
    if (e->label[0] == '\0')
        tt_write_text(w, "null");
    else
        tt_write_json_string(w, tt_bytes_text(e->label));
    tt_write_text(w, ",\"subject\":null,\"address\":");
    tt_write_json_string(w, tt_bytes_text(address));
    tt_write_format(w, ",\"shard\":%u,\"transport\":\"sse\",\"state\":\"%s\",\"policy\":\"%s\"",
                    e->shard, tt_clients_state_text((enum tt_client_state)e->state),
                    tt_clients_policy_text((enum tt_subscribe_policy)e->policy));
    write_channels(w, e);
    write_optional(w, "lagEvents", true, e->lag);
    write_optional(w, "lagMs", e->lag_ms_known, e->lag_ms);
    write_optional(w, "ackedLagEvents", e->acked, e->acked_lag);
    write_optional(w, "ackedAt", e->acked, (uint64_t)e->acked_ms);
    write_optional(w, "outboxBytes", true, e->outbox_bytes);
    write_optional(w, "outboxFrames", true, e->outbox_frames);
    write_optional(w, "silentMs", true, e->silent_ms);
    write_optional(w, "connectedAt", true, e->since_s * UINT64_C(1000));
    tt_write_char(w, '}');
}

/* The part whose next entry comes first; null: all are written. */
static const struct tt_roster_entry *next_entry(const struct tt_roster_request *parts,
                                                uint32_t parts_count, uint32_t *at)
{
    const struct tt_roster_entry *best = NULL;
    uint32_t of = 0;
    for (uint32_t i = 0; i < parts_count; i++) {
        if (at[i] == parts[i].entries_count) continue;
        const struct tt_roster_entry *e = &parts[i].entries[at[i]];
        if (best != NULL && e->key <= best->key) continue;
        best = e;
        of = i;
    }
    if (best != NULL) at[of]++;
    return best;
}

static struct tt_writer list_text(const struct tt_roster_request *parts, uint32_t parts_count,
                                  uint64_t total, uint64_t matched)
{
    uint32_t at[TT_SHARDS_MAX] = {0};
    size_t count = 0;
    for (uint32_t i = 0; i < parts_count; i++) count += parts[i].entries_count;
    if (count > parts[0].limit) count = parts[0].limit;
    size_t most = 256 + count * ENTRY_BYTES_MAX;
    uint8_t *data = malloc(most);
    struct tt_writer w = tt_writer(data, data == NULL ? 0 : most);
    if (data == NULL) return w;
    tt_write_format(&w,
                    "{\"total\":%llu,\"matched\":%llu,\"sort\":\"%s\",\"limit\":%u,\"clients\":[",
                    (unsigned long long)total, (unsigned long long)matched,
                    tt_clients_sort_text(parts[0].sort), parts[0].limit);
    for (size_t i = 0; i < count; i++) {
        tt_write_text(&w, i == 0 ? "\n" : ",\n");
        write_entry(&w, next_entry(parts, parts_count, at));
    }
    tt_write_text(&w, "]}\n");
    TT_ASSERT(!w.overflow);
    data = realloc(w.data, w.size); /* most of it was never touched */
    if (data != NULL) w.data = data;
    return w;
}

struct tt_writer tt_clients_text(const struct tt_roster_request *parts, uint32_t parts_count)
{
    uint64_t total = 0, matched = 0, ended = 0;
    for (uint32_t i = 0; i < parts_count; i++) {
        if (parts[i].no_memory) return tt_writer(NULL, 0);
        total += parts[i].total;
        matched += parts[i].matched;
        ended += parts[i].ended;
    }
    if (!parts[0].end) return list_text(parts, parts_count, total, matched);
    uint8_t *data = malloc(64);
    struct tt_writer w = tt_writer(data, data == NULL ? 0 : 64);
    if (data != NULL) tt_write_format(&w, "{\"ended\":%llu}\n", (unsigned long long)ended);
    return w;
}
