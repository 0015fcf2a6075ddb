#include "shard/shard.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/admission.h"
#include "shard/client/conflate.h"
#include "shard/client/opening.h"
#include "shard/client/sse.h"
#include "shard/drain.h"
#include "shard/fanout/fanout.h"
#include "shard/http/ack.h"
#include "shard/http/assets.h"
#include "shard/http/command.h"
#include "shard/http/publish.h"
#include "shard/http/routes.h"
#include "shard/http/session_call.h"
#include "shard/http/subscribe.h"
#include "shard/ingest.h"
#include "shard/memory.h"
#include "shard/owner.h"
#include "shard/produce.h"
#include "shard/replay/catchup.h"
#include "shard/replay/lookup.h"
#include "shard/roster.h"
#include "shard/shard_internal.h"
#include "store/tail.h"

#define REAP_MAX       256u
#define TIMER_WORK_MAX 1024u
#define CATCHUP_NS_MAX (TT_TURN_CATCHUP_US_MAX * UINT64_C(1000))
#define CATCHUP_NS_MIN (TT_TURN_CATCHUP_US_MIN * UINT64_C(1000))
#define LIVELY_NS      UINT64_C(1000000000) /* so long after a live event, another is expected */
#define FIGURES_EVERY  64u /* turns between two updates of the gauges that need sums */

/* ---- what answerers may ask ---- */

uint32_t tt_shard_index(const struct tt_shard *shard)
{
    return shard->index;
}

const struct tt_world *tt_shard_world(const struct tt_shard *shard)
{
    return shard->world;
}
const struct tt_shard_options *tt_shard_options(const struct tt_shard *s)
{
    return &s->options;
}
const struct tt_shard_metrics *tt_shard_metrics(const struct tt_shard *s)
{
    return &s->metrics;
}
struct tt_shard_metrics *tt_shard_own_metrics(struct tt_shard *shard)
{
    return &shard->metrics;
}
struct tt_io *tt_shard_io(struct tt_shard *shard)
{
    return shard->io;
}
struct tt_timers *tt_shard_timers(struct tt_shard *shard)
{
    return shard->timers;
}
struct tt_connections *tt_shard_connections(struct tt_shard *s)
{
    return s->connections;
}
struct tt_diag *tt_shard_diag(struct tt_shard *shard)
{
    return shard->diag;
}
uint64_t tt_shard_now_ns(const struct tt_shard *shard)
{
    return shard->now_ns;
}
int64_t tt_shard_wall_us(const struct tt_shard *shard)
{
    return shard->wall_us;
}
bool tt_shard_draining(const struct tt_shard *shard)
{
    return shard->phase != TT_SHARD_SERVING;
}
const char *tt_shard_io_why(const struct tt_shard *shard)
{
    return shard->io_why;
}

const char *tt_shard_io_name(const struct tt_shard *shard)
{
    return shard->io == NULL ? "none" : tt_io_name(shard->io);
}

uint32_t tt_shard_partition_of(const struct tt_shard *shard, struct tt_bytes channel)
{
    const struct tt_source *source = shard->world->source;
    uint32_t topic = source == NULL ? 0 : source->publish_topic;
    if (topic >= shard->topology.topics_count) return 0; /* publishing is off */
    return tt_topology_of_publish(&shard->topology, topic, channel);
}

void tt_shard_resume_bounds(struct tt_shard *shard)
{
    for (uint32_t p = 0; p < shard->world->partitions_count; p++) {
        struct tt_tail *tail = shard->world->partitions[p].tail;
        shard->heads[p] = tt_tail_head_offset(tail);
        shard->oldest[p] = tt_tail_oldest_offset(tail);
        /* The head was loaded after R was read: it is never below. */
        TT_ASSERT(shard->heads[p] >= shard->arrivals.next[p]);
    }
}

/* ---- cutting streams ---- */

void tt_shard_cut(struct tt_shard *shard, const struct tt_peer *peer, struct tt_bytes label)
{
    struct tt_message m = {.kind = TT_MESSAGE_CUT};
    struct tt_message_cut *cut = TT_MESSAGE_BODY(&m, tt_message_cut);
    cut->peer = *peer;
    cut->every = label.size == 0;
    cut->label_hash = tt_hash(&shard->world->hash_key, label);
    for (uint32_t to = 0; to < shard->world->shards_count; to++) {
        if (to == shard->index) {
            tt_drain_cut(shard, cut);
        } else if (!shard->cut_open[to]) { /* one under way cuts what this one would */
            shard->cut_open[to] = true;
            tt_peers_post(shard->world->peers, shard->index, to, &m);
        }
    }
}

static struct tt_exchange *handle_cut(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    uint8_t text[TT_SUBSCRIBE_LABEL_BYTES_MAX];
    struct tt_writer label = tt_writer(text, sizeof text);
    struct tt_bytes query = request->query;
    struct tt_bytes name, value;
    while (tt_form_next(&query, &name, &value))
        if (tt_bytes_is(name, "id") && tt_form_decode(value, &label) != TT_OK)
            return tt_reply_error(request, 400, "bad_parameter", 0,
                                  "id: not decodable as UTF-8; allowed is the id of a stream");
    tt_shard_cut(shard, &request->peer, tt_writer_bytes(&label));
    struct tt_response response = {.status = 202, .content_type = "application/json"};
    return tt_reply(request, &response, TT_BYTES_LITERAL("{\"cut\":true}\n"));
}

/* ---- life ---- */

static void make_routes(struct tt_shard *shard)
{
    static const char *const sse[] = {"/sse", "/events", "/events/stream"};
    static const char *const publish[] = {"/publish", "/events/publish"};
    struct tt_route *r = shard->routes_rows;
    uint32_t n = 0;
    for (unsigned i = 0; i < 3; i++)
        r[n++] = (struct tt_route){.path = sse[i],
                                   .methods = TT_ROUTE_GET | TT_ROUTE_POST,
                                   .handler = tt_opening_handle,
                                   .context = shard};
    for (unsigned i = 0; i < 2; i++)
        r[n++] = (struct tt_route){.path = publish[i],
                                   .methods = TT_ROUTE_POST,
                                   .body_required = true,
                                   .handler = tt_publish_handle,
                                   .context = shard};
    r[n++] = (struct tt_route){.path = "/command",
                               .methods = TT_ROUTE_POST,
                               .body_required = true,
                               .handler = tt_command_handle,
                               .context = shard};
    r[n++] = (struct tt_route){.path = "/subscribe",
                               .methods = TT_ROUTE_POST,
                               .body_required = true,
                               .handler = tt_subscribe_handle,
                               .context = shard};
    r[n++] = (struct tt_route){.path = "/ack",
                               .methods = TT_ROUTE_POST,
                               .body_required = true,
                               .handler = tt_ack_handle,
                               .context = shard};
    if (shard->options.demo) {
        r[n++] = (struct tt_route){
            .path = "/demo/cut", .methods = TT_ROUTE_POST, .handler = handle_cut, .context = shard};
        r[n++] = (struct tt_route){.path = "/demo/",
                                   .methods = TT_ROUTE_GET,
                                   .below = true,
                                   .handler = tt_assets_handle,
                                   .context = shard};
        static const char *const redirected[] = {"/", "/demo"};
        for (unsigned i = 0; i < 2; i++)
            r[n++] = (struct tt_route){.path = redirected[i],
                                       .methods = TT_ROUTE_GET,
                                       .handler = tt_assets_redirect,
                                       .context = shard->demo_path};
    }
    TT_ASSERT(n <= TT_SHARD_ROUTES_MAX);
    shard->routes = (struct tt_routes){r, n};
}

enum tt_status tt_shard_create(struct tt_shard **out, const struct tt_world *world, uint32_t index,
                               const struct tt_shard_options *options, struct tt_diag *diag)
{
    struct tt_shard *shard = aligned_alloc(64, (sizeof *shard + 63) / 64 * 64);
    if (shard == NULL) return TT_ENOMEM;
    memset(shard, 0, sizeof *shard);
    shard->world = world;
    shard->options = *options;
    shard->diag = diag;
    shard->index = index;
    uint32_t n = world->partitions_count;
    tt_frame_memory_init(&shard->frames, options->frame_bytes);
    tt_frame_memory_init(&shard->replay_frames, options->catchup_bytes);
    tt_outbox_pool_init(&shard->outboxes);
    tt_conflate_pool_init(&shard->conflate_pool);
    tt_list_init(&shard->lagging);
    struct tt_writer w = tt_writer(shard->demo_path, sizeof shard->demo_path - 1);
    tt_write_text(&w, options->connections.prefix == NULL ? "" : options->connections.prefix);
    tt_write_text(&w, "/demo/");
    make_routes(shard);
    shard->vector = calloc(n, sizeof *shard->vector);
    shard->oldest = calloc(n, sizeof *shard->oldest);
    shard->heads = calloc(n, sizeof *shard->heads);
    if (world->source != NULL) shard->sources = calloc(n, sizeof *shard->sources);
    shard->cursor_storage = malloc(sizeof *shard->cursor_storage);
    shard->cut_open = calloc(world->shards_count, sizeof *shard->cut_open);
    enum tt_status status = tt_pool_init(&shard->clients, sizeof(struct tt_client), 256,
                                         options->connections.connections_max);
    if (status == TT_OK)
        status = tt_topology_init(&shard->topology, world->topics, world->topics_count,
                                  &world->hash_key);
    if (shard->vector == NULL || shard->oldest == NULL || shard->heads == NULL ||
        (world->source != NULL && shard->sources == NULL) || shard->cursor_storage == NULL ||
        shard->cut_open == NULL || w.overflow)
        status = TT_ENOMEM;
    if (status == TT_OK)
        status = tt_subscriptions_create(&shard->subscriptions, &world->hash_key, &shard->clients);
    if (status == TT_OK) status = tt_fanout_create(shard);
    if (status == TT_OK) status = tt_replay_create(shard);
    if (status == TT_OK) status = tt_lookups_create(shard);
    if (status == TT_OK) status = tt_session_calls_create(shard);
    if (status == TT_OK) status = tt_roster_create(shard);
    if (status == TT_OK) status = tt_admission_create(shard);
    if (status != TT_OK) {
        tt_shard_destroy(&shard);
        return status;
    }
    *out = shard;
    return TT_OK;
}

void tt_shard_destroy(struct tt_shard **out)
{
    struct tt_shard *shard = *out;
    if (shard == NULL) return;
    tt_replay_destroy(shard);
    tt_lookups_destroy(shard);
    tt_session_calls_destroy(shard);
    tt_roster_destroy(shard);
    tt_produce_destroy(shard);
    tt_ingest_destroy(shard);
    tt_owner_destroy(shard);
    tt_admission_destroy(shard);
    tt_fanout_destroy(shard);
    tt_subscriptions_destroy(&shard->subscriptions);
    tt_pool_deinit(&shard->clients);
    tt_outbox_pool_deinit(&shard->outboxes);
    tt_conflate_pool_deinit(&shard->conflate_pool);
    tt_frame_memory_deinit(&shard->frames);
    tt_frame_memory_deinit(&shard->replay_frames);
    tt_scratch_deinit(&shard->scratch);
    if (shard->timers != NULL) tt_timers_destroy(&shard->timers);
    if (shard->io != NULL) tt_io_destroy(&shard->io);
    tt_topology_deinit(&shard->topology);
    free(shard->vector);
    free(shard->oldest);
    free(shard->heads);
    free(shard->sources);
    free(shard->cursor_storage);
    free(shard->cut_open);
    free(shard);
    *out = NULL;
}

/* ---- hooks of the connection engine ---- */

static void connection_gone(void *context, const struct tt_peer *peer, enum tt_close_reason reason)
{
    (void)peer;
    struct tt_shard *shard = context;
    tt_metric_set(&shard->metrics.connections, tt_connections_count(shard->connections));
    /* Clients count their own ends; here are those that never became one. */
    if (reason == TT_CLOSE_PROTOCOL || reason == TT_CLOSE_HEADER_TIMEOUT ||
        reason == TT_CLOSE_BODY_TIMEOUT || reason == TT_CLOSE_OVERLOAD)
        tt_metric_add(&shard->metrics.closes[reason], 1);
}

static void connection_log(void *context, const struct tt_peer *peer, const char *code,
                           const char *message)
{
    struct tt_shard *shard = context;
    tt_metric_add(&shard->metrics.request_errors, 1);
    tt_diag_write(shard->diag, TT_DIAG_INFO, peer, code, "%s", message);
}

static void heartbeat_expired(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    (void)now_ns;
    (void)context;
    tt_sse_heartbeat(TT_CONTAINER_OF(timer, struct tt_client, timer));
}

static enum tt_status start(struct tt_shard *shard)
{
    enum tt_status status =
        tt_io_create(&shard->io, &shard->options.io, shard->io_why, sizeof shard->io_why);
    if (status != TT_OK) return status;
    shard->now_ns = tt_io_now_ns(shard->io);
    shard->wall_us = tt_io_wall_us(shard->io);
    shard->session_key = (struct tt_hash_key){tt_io_random(shard->io), tt_io_random(shard->io)};
    uint32_t holds = tt_io_sockets_max(shard->io);
    if (shard->options.connections.connections_max > holds)
        shard->options.connections.connections_max = holds;
    status = tt_timers_create(&shard->timers, shard->now_ns);
    if (status != TT_OK) return status;
    shard->heartbeat_kind = tt_timers_kind(shard->timers, shard, heartbeat_expired);
    shard->tick_kind = tt_timers_kind(shard->timers, shard, tt_conflate_ticked);
    tt_replay_start(shard);
    struct tt_connections_hooks hooks = {.context = shard,
                                         .handler = tt_routes_handle,
                                         .handler_context = &shard->routes,
                                         .gone = connection_gone,
                                         .log = connection_log};
    status = tt_connections_create(&shard->connections, shard->io, shard->timers,
                                   &shard->options.connections, &hooks);
    if (status == TT_OK) status = tt_owner_create(shard);
    if (status == TT_OK) status = tt_produce_create(shard);
    if (status == TT_OK) status = tt_ingest_create(shard);
    return status;
}

/* ---- the turn ---- */

static void dispatch(struct tt_shard *shard)
{
    struct tt_done done[REAP_MAX];
    unsigned n;
    while ((n = tt_io_reap(shard->io, done, REAP_MAX)) != 0)
        for (unsigned i = 0; i < n; i++)
            if (!tt_connections_done(shard->connections, &done[i]) &&
                !tt_owner_done(shard, &done[i]) && !tt_replay_done(shard, &done[i]) &&
                !tt_ingest_done(shard, &done[i]))
                TT_UNREACHABLE();
}

static void post_control(struct tt_shard *shard, enum tt_message_kind kind)
{
    struct tt_message m = {.kind = kind};
    tt_peers_post(shard->world->peers, shard->index, tt_peers_control(shard->world->peers), &m);
}

static void adopt(struct tt_shard *shard, const struct tt_message_handoff *body)
{
    struct tt_handoff handoff = {.reference = body->reference,
                                 .peer = {.family = body->peer.family, .port = body->peer.port}};
    memcpy(handoff.peer.ip, body->peer.ip, sizeof handoff.peer.ip);
    tt_connections_adopt(shard->connections, &handoff);
    tt_metric_set(&shard->metrics.connections, tt_connections_count(shard->connections));
    post_control(shard, TT_MESSAGE_HANDOFF_TAKEN);
}

static void stop(struct tt_shard *shard)
{
    shard->phase = TT_SHARD_STOPPING;
    tt_connections_end(shard->connections);
    tt_ingest_stop(shard);
    tt_produce_stop(shard);
    tt_owner_stop(shard);
}

static void message(struct tt_shard *shard, struct tt_message *m)
{
    switch ((enum tt_message_kind)m->kind) {
    case TT_MESSAGE_HANDOFF: adopt(shard, TT_MESSAGE_BODY(m, tt_message_handoff)); return;
    case TT_MESSAGE_PUBLISH:
    case TT_MESSAGE_PUBLISHED:
    case TT_MESSAGE_LOOKUP:
    case TT_MESSAGE_SEGMENT_TAKEN: tt_owner_message(shard, m); return;
    case TT_MESSAGE_LOOKUP_DONE:
        tt_lookup_answered(shard, TT_MESSAGE_BODY(m, tt_message_lookup)->request);
        return;
    case TT_MESSAGE_SEGMENT:
        tt_replay_segment(shard, TT_MESSAGE_BODY(m, tt_message_segment));
        m->kind = TT_MESSAGE_SEGMENT_TAKEN;
        tt_peers_post(shard->world->peers, shard->index, m->from, m);
        return;
    case TT_MESSAGE_ADMIT:
    case TT_MESSAGE_ADMITTED:
    case TT_MESSAGE_RELEASE:
    case TT_MESSAGE_RELEASED: tt_admission_message(shard, m); return;
    case TT_MESSAGE_SESSION_CALL:
    case TT_MESSAGE_SESSION_CALLED: tt_session_calls_message(shard, m); return;
    case TT_MESSAGE_CUT:
        tt_drain_cut(shard, TT_MESSAGE_BODY(m, tt_message_cut));
        m->kind = TT_MESSAGE_CUT_TAKEN;
        tt_peers_post(shard->world->peers, shard->index, m->from, m);
        return;
    case TT_MESSAGE_CUT_TAKEN: shard->cut_open[m->from] = false; return;
    case TT_MESSAGE_ROSTER: tt_roster_message(shard, m); return;
    case TT_MESSAGE_FEED: tt_feed_message(shard, m); return;
    case TT_MESSAGE_DRAIN:
        if (shard->phase == TT_SHARD_SERVING)
            tt_drain_begin(shard, TT_MESSAGE_BODY(m, tt_message_drain)->drain_ms);
        return;
    case TT_MESSAGE_STOP:
        if (shard->phase < TT_SHARD_STOPPING) stop(shard);
        return;
    case TT_MESSAGE_EXIT: shard->exit = true; return;
    case TT_MESSAGE_RELOAD:
        tt_connections_set_cors(shard->connections, TT_MESSAGE_BODY(m, tt_message_reload)->cors);
        post_control(shard, TT_MESSAGE_RELOADED);
        return;
    case TT_MESSAGE_HANDOFF_TAKEN:
    case TT_MESSAGE_DRAINED:
    case TT_MESSAGE_STOPPED:
    case TT_MESSAGE_RELOADED:
    case TT_MESSAGE_ROSTER_DONE:
    case TT_MESSAGE_FEED_TAKEN:
    case TT_MESSAGE_STARTED: break;
    }
    TT_UNREACHABLE();
}

static void take_messages(struct tt_shard *shard)
{
    struct tt_message messages[TT_TURN_MESSAGES_MAX];
    unsigned n = tt_peers_take(shard->world->peers, shard->index, messages, TT_TURN_MESSAGES_MAX);
    for (unsigned i = 0; i < n; i++) message(shard, &messages[i]);
}

static void flush(struct tt_shard *shard)
{
    unsigned left = TT_TURN_SENDS_MAX;
    while (left > 0 && tt_connections_ready(shard->connections)) {
        tt_scratch_reset(&shard->scratch);
        unsigned max = left < TT_IO_SENDS_PER_SUBMIT ? left : TT_IO_SENDS_PER_SUBMIT;
        unsigned n = tt_connections_flush(shard->connections, max);
        if (n == 0) break;
        left -= n;
        tt_io_submit(shard->io, 0);
        dispatch(shard);
    }
}

/* One send after the other to clients that catch up, as long as there is time. */
static void flush_bulk(struct tt_shard *shard, size_t bytes, uint64_t until_ns)
{
    while (tt_connections_bulk_ready(shard->connections)) {
        tt_scratch_reset(&shard->scratch);
        if (tt_connections_flush_bulk(shard->connections, bytes) == 0) break;
        tt_io_submit(shard->io, 0);
        dispatch(shard);
        if (tt_io_now_ns(shard->io) >= until_ns) break;
    }
}

/* How long to catch up in this turn, in ns; 0: not now. Live events wait for it, so while there are
 * such it is for the gaps between them: it waits for a turn without one, but not for ever, and then
 * it gets at least its share of the time. */
static uint64_t catchup_share(const struct tt_shard *shard, uint64_t now_ns)
{
    if (shard->now_ns - shard->live_ns > LIVELY_NS) return CATCHUP_NS_MAX;
    uint64_t share_ns = (now_ns - shard->catchup_ns) / TT_TURN_CATCHUP_SHARE;
    if (shard->live_ns == shard->now_ns && share_ns < CATCHUP_NS_MIN) return 0;
    if (share_ns < CATCHUP_NS_MIN) return CATCHUP_NS_MIN;
    return share_ns < CATCHUP_NS_MAX ? share_ns : CATCHUP_NS_MAX;
}

/* Behind everything live, sending included. A client that takes its batch at once is given another
 * one. */
static bool catch_up(struct tt_shard *shard)
{
    flush(shard);
    if (!tt_replay_has_work(shard) && !tt_connections_bulk_ready(shard->connections)) return false;
    uint64_t now_ns = tt_io_now_ns(shard->io);
    uint64_t share_ns = catchup_share(shard, now_ns);
    if (share_ns == 0) return true;
    uint64_t until_ns = now_ns + share_ns;
    size_t step = share_ns < CATCHUP_NS_MAX ? TT_PULL_BYTES_MAX / 4 : TT_PULL_BYTES_MAX;
    bool more = true;
    /* First what was made before: else the steps take all the time, and what waits for its turn to
     * be sent has all the memory. */
    flush_bulk(shard, step, until_ns);
    if (tt_io_now_ns(shard->io) < until_ns) more = tt_replay_step(shard, step, until_ns);
    if (tt_io_now_ns(shard->io) < until_ns) flush_bulk(shard, step, until_ns);
    if (tt_replay_waiting(shard) && tt_io_now_ns(shard->io) < until_ns) {
        more = tt_replay_step(shard, step, until_ns);
        flush_bulk(shard, step, until_ns);
    }
    shard->catchup_ns = tt_io_now_ns(shard->io);
    flush(shard); /* who has joined, and what came in while sending */
    return more;
}

static void phases(struct tt_shard *shard)
{
    if (shard->phase == TT_SHARD_DRAINING && !shard->drained &&
        tt_connections_count(shard->connections) == 0) {
        shard->drained = true;
        post_control(shard, TT_MESSAGE_DRAINED);
    }
    if (shard->phase == TT_SHARD_STOPPING && tt_connections_count(shard->connections) == 0 &&
        tt_lookup_idle(shard) && tt_replay_idle(shard) && tt_session_calls_idle(shard) &&
        tt_owner_stopped(shard)) {
        shard->phase = TT_SHARD_STOPPED;
        post_control(shard, TT_MESSAGE_STOPPED);
    }
}

static void update_figures(struct tt_shard *shard)
{
    struct tt_shard_metrics *m = &shard->metrics;
    struct tt_io_figures f;
    tt_io_figures(shard->io, &f);
    tt_metric_set(&m->io_sends, f.sends);
    tt_metric_set(&m->io_sends_full, f.sends_full);
    tt_metric_set(&m->io_receives, f.receives);
    tt_metric_set(&m->io_submits, f.submits);
    tt_metric_set(&m->io_starved, f.starved);
    tt_metric_set(&m->io_overflows, f.overflows);
    uint64_t alive_ns = shard->now_ns - shard->started_ns;
    tt_metric_set(&m->busy_ns, alive_ns > f.wait_ns ? alive_ns - f.wait_ns : 0);
    tt_metric_set(&m->alive_ns, alive_ns);
    tt_metric_set(&m->frame_bytes, shard->frames.bytes);
    tt_metric_set(&m->catchup_bytes, shard->replay_frames.bytes + tt_replay_block_bytes(shard));
    tt_metric_set(&m->replay_index_bytes, tt_replay_index_bytes(shard));
    tt_metric_set(&m->frame_allocations,
                  shard->frames.allocations + shard->replay_frames.allocations);
    tt_metric_set(&m->outbox_bytes,
                  shard->outboxes.blocks * sizeof(struct tt_outbox_block) +
                      shard->conflate_pool.entries * sizeof(struct tt_conflate_entry));
    tt_metric_set(&m->connection_bytes, tt_connections_bytes(shard->connections));
    tt_metric_set(&m->subscription_bytes, tt_shard_subscription_bytes(shard));
}

/* Owners wait for this shard to finish a turn: they can reuse memory now. */
static void wake_owners(struct tt_shard *shard)
{
    for (uint32_t i = 0; i < shard->world->shards_count; i++)
        if (i != shard->index && tt_tail_owner_waits(shard->world->readers, i))
            tt_peers_wake(shard->world->peers, shard->index, i);
}

/* Waits, unless there is something to do: parked first, then one more look (shard/README.md).
 */
static void wait(struct tt_shard *shard, bool more, uint64_t until_ns)
{
    if (more || tt_connections_ready(shard->connections) ||
        tt_connections_bulk_ready(shard->connections)) {
        tt_io_submit(shard->io, 0);
        return;
    }
    tt_peers_park(shard->world->peers, shard->index);
    if (tt_tail_park(shard->world->readers, shard->index)) wake_owners(shard);
    if (tt_peers_waiting(shard->world->peers, shard->index) || tt_fanout_waiting(shard))
        until_ns = 0;
    tt_io_submit(shard->io, until_ns);
    tt_tail_unpark(shard->world->readers, shard->index);
    tt_peers_unpark(shard->world->peers, shard->index);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void note_turn(struct tt_shard *shard, uint64_t began_ns, uint64_t ended_ns)
{
    uint64_t length_ns = ended_ns - began_ns;
    if (ended_ns / UINT64_C(1000000000) != shard->turns_second) {
        shard->turns_second = ended_ns / UINT64_C(1000000000);
        tt_metric_set(&shard->metrics.turn_recent_max_ns, shard->turns_longest_ns);
        shard->turns_longest_ns = 0;
    }
    if (length_ns > shard->turns_longest_ns) shard->turns_longest_ns = length_ns;
    tt_metric_raise(&shard->metrics.turn_max_ns, length_ns);
}

static void turn(struct tt_shard *shard)
{
    shard->now_ns = tt_io_now_ns(shard->io);
    shard->wall_us = tt_io_wall_us(shard->io);
    tt_diag_set_wall_us(shard->diag, shard->wall_us);
    uint64_t began_ns = shard->now_ns;
    tt_replay_begin_turn(shard);

    dispatch(shard);
    take_messages(shard);
    bool more = tt_ingest_take(shard);
    tt_owner_publish(shard);
    if (tt_fanout_read(shard)) more = true;
    tt_fanout_enforce(shard);
    if (tt_timers_run(shard->timers, shard->now_ns, TIMER_WORK_MAX) == TT_MORE) more = true;
    if (catch_up(shard)) more = true;
    if (tt_produce_work(shard)) more = true;
    tt_owner_work(shard);
    if (tt_ingest_work(shard)) more = true;
    /* What came in while sending, or found room only now: seen before this shard waits. */
    tt_owner_publish(shard);
    uint64_t drain_ns = tt_drain_step(shard);
    if (tt_roster_step(shard)) more = true;
    phases(shard);

    if (tt_replay_waiting(shard)) more = true; /* sending made room for the next batch */
    tt_peers_ring(shard->world->peers, shard->index, false);
    if (tt_metric_get(&shard->metrics.turns) % FIGURES_EVERY == 0 || !more) update_figures(shard);
    tt_metric_add(&shard->metrics.turns, 1);
    note_turn(shard, began_ns, tt_io_now_ns(shard->io));
    if (tt_tail_turn(shard->world->readers, shard->index)) wake_owners(shard);
    uint64_t until =
        earlier(earlier(tt_timers_next_ns(shard->timers), tt_owner_next_ns(shard)), drain_ns);
    until = earlier(until, earlier(tt_ingest_next_ns(shard), tt_produce_next_ns(shard)));
    wait(shard, more || shard->exit, until);
}

void tt_shard_run(struct tt_shard *shard)
{
    enum tt_status status = start(shard);
    if (shard->io != NULL) tt_peers_join(shard->world->peers, shard->index, shard->io);
    struct tt_message m = {.kind = TT_MESSAGE_STARTED};
    TT_MESSAGE_BODY(&m, tt_message_started)->status = status;
    tt_peers_post(shard->world->peers, shard->index, tt_peers_control(shard->world->peers), &m);
    tt_peers_ring(shard->world->peers, shard->index, false);
    if (status != TT_OK) {
        if (shard->io != NULL) tt_io_quiesce(shard->io);
        return;
    }
    shard->started_ns = shard->now_ns;
    tt_tail_unpark(shard->world->readers,
                   shard->index); /* parked until it reads for the first time */
    while (!shard->exit) turn(shard);
    if (tt_tail_park(shard->world->readers, shard->index)) wake_owners(shard);
    tt_connections_destroy(&shard->connections);
    tt_metric_set(&shard->metrics.connections, 0);
    tt_replay_destroy(shard); /* closes its files */
    tt_io_quiesce(shard->io);
}
