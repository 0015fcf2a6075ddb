#include "shard/client/change.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/event/patterns.h"
#include "shard/client/lag.h"
#include "shard/memory.h"
#include "shard/replay/catchup.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

/* ---- sessions ---- */

static void write_session(const struct tt_shard *shard, uint32_t slot, uint32_t generation,
                          struct tt_writer *w)
{
    struct {
        uint32_t shard, slot, generation;
    } name = {shard->index, slot, generation};
    uint64_t seal = tt_hash(&shard->session_key, tt_bytes(&name, sizeof name));
    tt_write_hex(w, name.shard);
    tt_write_char(w, '-');
    tt_write_hex(w, name.slot);
    tt_write_char(w, '-');
    tt_write_hex(w, name.generation);
    tt_write_char(w, '-');
    tt_write_hex(w, seal);
}

void tt_session_write(const struct tt_client *client, struct tt_writer *w)
{
    const struct tt_shard *shard = client->shard;
    write_session(shard, client->slot, tt_pool_generation(&shard->clients, client->slot), w);
}

/* Takes the hex digits up to the next '-' off the text. */
static bool take_hex(struct tt_bytes *text, uint32_t *value)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; n < text->size && text->data[n] != '-'; n++) {
        uint8_t c = text->data[n];
        if (n == 8 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        v = v * 16 + (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (n == 0 || n == text->size) return false;
    *text = tt_bytes_from(*text, n + 1);
    *value = (uint32_t)v;
    return true;
}

bool tt_session_shard(struct tt_bytes session, uint32_t *shard)
{
    return session.size <= TT_SESSION_BYTES_MAX && take_hex(&session, shard);
}

enum tt_status tt_session_find(struct tt_shard *shard, struct tt_bytes session,
                               struct tt_client **client)
{
    struct tt_bytes rest = session;
    uint32_t index, slot, generation;
    if (!take_hex(&rest, &index) || !take_hex(&rest, &slot) || !take_hex(&rest, &generation))
        return TT_EACCES;
    uint8_t text[TT_SESSION_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    write_session(shard, slot, generation, &w);
    TT_ASSERT(!w.overflow);
    /* Whoever guesses learns nothing from the time: the seal is one of 2^64, and each guess costs
     * a request. */
    if (!tt_bytes_equal(tt_writer_bytes(&w), session)) return TT_EACCES;
    *client = tt_pool_find(&shard->clients, slot, generation);
    return *client == NULL ? TT_ENOENT : TT_OK;
}

/* ---- what it follows ---- */

struct tt_pattern *tt_client_copy_patterns(const struct tt_subscription *sub)
{
    size_t size = sub->count * sizeof(struct tt_pattern);
    size_t texts = 0;
    for (uint32_t i = 0; i < sub->count; i++) texts += tt_subscription_followed(sub, i)->text_bytes;
    struct tt_pattern *patterns = malloc(size + texts == 0 ? 1 : size + texts);
    if (patterns == NULL) return NULL;
    uint8_t *text = (uint8_t *)patterns + size;
    for (uint32_t i = 0; i < sub->count; i++) {
        const struct tt_followed *f = tt_subscription_followed(sub, i);
        memcpy(text, f->text, f->text_bytes);
        patterns[i] =
            (struct tt_pattern){(enum tt_pattern_kind)f->kind, tt_bytes(text, f->text_bytes)};
        text += f->text_bytes;
    }
    return patterns;
}

/* Those of the change that the old patterns do not cover; room: for all of them. */
static uint32_t find_added(const struct tt_change *change, const struct tt_pattern *old,
                           uint32_t old_count, struct tt_pattern *added)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < change->patterns_count; i++) {
        if (!tt_patterns_cover(old, old_count, &change->patterns[i]))
            added[n++] = change->patterns[i];
    }
    return n;
}

/* The old one goes first: a client stands in at most one list that matches an event. */
static bool swap_subscription(struct tt_client *client, const struct tt_change *change,
                              const struct tt_pattern *old, uint32_t old_count)
{
    struct tt_subscriptions *all = client->shard->subscriptions;
    tt_subscriptions_remove(all, client->slot, &client->subscription);
    if (tt_subscriptions_add(all, client->slot, change->patterns, change->patterns_count,
                             &client->subscription) == TT_OK)
        return true;
    if (tt_subscriptions_add(all, client->slot, old, old_count, &client->subscription) != TT_OK)
        tt_client_abort(client, TT_CLOSE_INTERNAL);
    return false;
}

/* From one partition to all of them, at its place. */
static bool widen(struct tt_client *client, bool caught_up)
{
    client->form |= TT_FORM_FULL;
    if (!caught_up) return tt_catchup_widen(client) == TT_OK;
    client->partition = TT_PARTITION_ALL; /* a live client has no offsets to carry over */
    return true;
}

static enum tt_status apply(struct tt_client *client, const struct tt_change *change, bool wider,
                            const struct tt_pattern *old, uint32_t old_count,
                            const struct tt_snapshot_options *snapshot)
{
    if (!swap_subscription(client, change, old, old_count)) return TT_ENOMEM;
    bool live = client->catchup == NULL; /* or CONFLATING */
    tt_lag_unknown(client);              /* what lies behind its place is others than before */
    bool good = !wider || !live || widen(client, true);
    tt_client_move(client,
                   snapshot->patterns_count != 0 ? TT_CLIENT_SUBSCRIBED_SNAPSHOT
                                                 : TT_CLIENT_SUBSCRIBED,
                   TT_CLOSE_NONE);
    if (client->state == TT_CLIENT_CLOSING) return TT_ENOMEM;
    if (wider && !live) good = widen(client, false);
    if (good && snapshot->patterns_count != 0) good = tt_snapshot_create(client, snapshot) == TT_OK;
    if (!good) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return TT_ENOMEM;
    }
    tt_exchange_ready(&client->exchange);
    return TT_OK;
}

enum tt_status tt_client_change(struct tt_client *client, const struct tt_change *change,
                                struct tt_writer *cursor)
{
    struct tt_shard *shard = client->shard;
    TT_ASSERT(change->patterns_count > 0);
    if (client->state == TT_CLIENT_CLOSING) return TT_ECLOSED;
    if (client->state == TT_CLIENT_OPENING || client->state == TT_CLIENT_SNAPSHOT) return TT_EBUSY;
    bool wider = !tt_client_full(client) &&
                 tt_topology_of_patterns(&shard->topology, change->patterns,
                                         change->patterns_count) != client->partition;
    if (wider && !tt_topology_cursor_fits(&shard->topology)) return TT_ETOOBIG;
    uint32_t old_count = client->subscription->count;
    if (change->patterns_count > old_count && !tt_shard_has_subscription_room(shard))
        return TT_ENOMEM;
    struct tt_pattern *old = tt_client_copy_patterns(client->subscription);
    struct tt_pattern *added = malloc(change->patterns_count * sizeof *added);
    enum tt_status status = TT_ENOMEM;
    if (old != NULL && added != NULL) {
        old_count = tt_patterns_reduce(old, old_count); /* all of them, in order */
        struct tt_snapshot_options snapshot = {
            .last = change->last, .patterns = added, .except = old, .except_count = old_count};
        if (change->history) snapshot.patterns_count = find_added(change, old, old_count, added);
        status = apply(client, change, wider, old, old_count, &snapshot);
    }
    free(old);
    free(added);
    if (status != TT_OK) return status;
    tt_client_queued_vector(client, shard->vector);
    tt_client_write_cursor(client, shard->vector, cursor);
    return TT_OK;
}
