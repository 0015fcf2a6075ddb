#include "broker/acceptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/process.h"
#include "proto/base/assert.h"
#include "shard/messages.h"
#include "shard/peers.h"

#define STARVED_RETRY_NS    UINT64_C(100000000)
#define BACKLOG             65535u /* the kernel bounds it by net.core.somaxconn */
#define NOTSENT_LOWAT       16384u /* a stalled reader takes 21 KB of the kernel instead of 3.3 MB */
#define USER_TIMEOUT_MS_MAX 300000u

/* For connections that no shard can take: not even their request was read. */
#define REFUSAL_BODY                                                                               \
    "{\"error\":{\"code\":\"overloaded\",\"message\":\"the broker takes no more connections at "   \
    "present\"}}"
_Static_assert(sizeof(REFUSAL_BODY) - 1 == 91, "the Content-Length below");
static const char refusal[] = "HTTP/1.1 503 Service Unavailable\r\n"
                              "Content-Type: application/json\r\n"
                              "Content-Length: 91\r\n"
                              "Retry-After: 1\r\n"
                              "Connection: close\r\n"
                              "\r\n" REFUSAL_BODY;

struct listener {
    struct tt_address address;
    tt_socket socket;
    bool accepting;
};

struct waiting {
    int32_t reference;
    struct tt_peer peer;
};

struct tt_acceptor {
    struct tt_io *io;
    struct tt_diag *diag;
    const struct tt_world *world; /* null until started, and while paused */
    struct listener *listeners;
    uint32_t listeners_count;
    bool stopped;
    uint64_t connections_max;
    uint64_t retry_ns;            /* 0: no listener waits for descriptors */
    uint32_t open[TT_SHARDS_MAX]; /* hand-overs of each shard that it has not answered */
    uint32_t next_shard;          /* where the search for the fewest begins, so that ties rotate */
    struct tt_acceptor_figures figures;
    uint32_t waiting_max;
    uint32_t first; /* of the ring of waiting connections */
    struct waiting ring[TT_ACCEPTOR_WAITING];
};

_Static_assert((TT_ACCEPTOR_WAITING & (TT_ACCEPTOR_WAITING - 1)) == 0, "places wrap by a mask");

/* Accepted sockets inherit it, on either back end. */
static uint32_t user_timeout_ms(const struct tt_config *config)
{
    if (config->user_timeout_ms != 0) return (uint32_t)config->user_timeout_ms;
    return (uint32_t)(config->stall_ms < USER_TIMEOUT_MS_MAX ? config->stall_ms
                                                             : USER_TIMEOUT_MS_MAX);
}

static uint32_t waiting_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 2 <= TT_ACCEPTOR_WAITING_MIN)
        return TT_ACCEPTOR_WAITING_MIN;
    return limit.rlim_cur / 2 < TT_ACCEPTOR_WAITING ? (uint32_t)(limit.rlim_cur / 2)
                                                    : TT_ACCEPTOR_WAITING;
}

static enum tt_status listen_on(struct tt_acceptor *a, struct listener *l,
                                const struct tt_config *config, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_listen_options options = {
        .backlog = BACKLOG,
        .notsent_lowat_bytes = NOTSENT_LOWAT,
        .user_timeout_ms = user_timeout_ms(config),
        .no_delay = true,
        .keepalive = true,
    };
    char text[TT_ADDRESS_TEXT_MAX];
    tt_address_text(&l->address, text);
    enum tt_status status = tt_process_listen(a->io, &l->address, &options, &l->socket);
    if (status != TT_OK)
        snprintf(error, TT_CONFIG_ERROR_MAX, "--listen=%s: cannot listen: %s", text,
                 status == TT_EBUSY ? "the address is in use" : tt_status_text(status));
    return status;
}

enum tt_status tt_acceptor_create(struct tt_acceptor **acceptor, struct tt_io *io,
                                  const struct tt_config *config, struct tt_diag *diag,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_acceptor *a = calloc(1, sizeof(*a));
    struct listener *listeners = calloc(config->listen.count, sizeof(*listeners));
    if (a == NULL || listeners == NULL) {
        free(a);
        free(listeners);
        snprintf(error, TT_CONFIG_ERROR_MAX, "no memory");
        return TT_ENOMEM;
    }
    a->io = io;
    a->diag = diag;
    a->listeners = listeners;
    a->waiting_max = waiting_max();
    for (uint32_t i = 0; i < config->listen.count; i++) {
        listeners[i].address = config->listen.items[i];
        enum tt_status status = listen_on(a, &listeners[i], config, error);
        if (status != TT_OK) {
            tt_acceptor_destroy(&a);
            return status;
        }
        a->listeners_count++;
    }
    *acceptor = a;
    return TT_OK;
}

void tt_acceptor_destroy(struct tt_acceptor **acceptor)
{
    struct tt_acceptor *a = *acceptor;
    if (a == NULL) return;
    if (!a->stopped) tt_acceptor_stop(a);
    free(a->listeners);
    free(a);
    *acceptor = NULL;
}

const struct tt_address *tt_acceptor_address(const struct tt_acceptor *acceptor, uint32_t index)
{
    TT_ASSERT(index < acceptor->listeners_count);
    return &acceptor->listeners[index].address;
}

static void arm(struct tt_acceptor *a)
{
    for (uint32_t i = 0; i < a->listeners_count; i++) {
        if (a->listeners[i].accepting) continue;
        a->listeners[i].accepting = true;
        tt_io_accept(a->io, a->listeners[i].socket, tt_token(TT_ACCEPTOR_OPERATION, 0, i));
    }
    a->retry_ns = 0;
}

static uint64_t connections_of(const struct tt_acceptor *a, uint32_t shard)
{
    return tt_metric_get(&tt_shard_metrics(a->world->shards[shard])->connections) + a->open[shard];
}

/* The shard with the fewest connections that has a credit left; TT_SHARDS_MAX: none has. */
static uint32_t fewest(struct tt_acceptor *a, uint64_t *total)
{
    uint32_t best = TT_SHARDS_MAX, count = a->world->shards_count;
    uint64_t least = UINT64_MAX;
    TT_ASSERT(count > 0);
    *total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t shard = (a->next_shard + i) % count;
        uint64_t connections = connections_of(a, shard);
        *total += connections;
        if (a->open[shard] >= TT_HANDOFF_CREDITS || connections >= least) continue;
        least = connections;
        best = shard;
    }
    a->next_shard = (a->next_shard + 1) % count;
    return best;
}

/* Hands over what waits, as far as the credits go. */
static void hand_over(struct tt_acceptor *a)
{
    if (a->world == NULL) return;
    uint32_t self = tt_peers_control(a->world->peers);
    while (a->figures.waiting != 0) {
        uint64_t total;
        uint32_t shard = fewest(a, &total);
        if (shard == TT_SHARDS_MAX) return;
        struct waiting *w = &a->ring[a->first];
        struct tt_message message = {.kind = TT_MESSAGE_HANDOFF};
        struct tt_message_handoff *body = TT_MESSAGE_BODY(&message, tt_message_handoff);
        body->reference = w->reference;
        body->peer = w->peer;
        if (total >= a->connections_max) a->figures.over_cap++;
        tt_peers_post(a->world->peers, self, shard, &message);
        a->open[shard]++;
        a->first = (a->first + 1) & (TT_ACCEPTOR_WAITING - 1);
        a->figures.waiting--;
    }
}

void tt_acceptor_start(struct tt_acceptor *acceptor, const struct tt_world *world,
                       uint64_t connections_max)
{
    acceptor->world = world;
    acceptor->connections_max = connections_max;
    memset(acceptor->open, 0, sizeof acceptor->open);
    arm(acceptor);
    hand_over(acceptor);
}

void tt_acceptor_pause(struct tt_acceptor *acceptor)
{
    acceptor->world = NULL;
}

static struct tt_peer peer_of(const struct tt_address *address)
{
    struct tt_peer peer = {.family = address->family, .port = address->port};
    memcpy(peer.ip, address->ip, sizeof(peer.ip));
    return peer;
}

static void accepted(struct tt_acceptor *a, int32_t reference)
{
    struct tt_handoff handoff = tt_io_handoff(a->io, reference);
    a->figures.accepted++;
    if (a->stopped || a->figures.waiting >= a->waiting_max) {
        struct tt_peer peer = peer_of(&handoff.peer);
        a->figures.refused++;
        tt_diag_write(a->diag, TT_DIAG_WARN, &peer, "refused",
                      "%u accepted connections wait for the shards already; answered 503",
                      a->figures.waiting);
        tt_io_refuse(a->io, &handoff, tt_bytes_text(refusal));
        return;
    }
    struct waiting *w = &a->ring[(a->first + a->figures.waiting++) & (TT_ACCEPTOR_WAITING - 1)];
    w->reference = reference;
    w->peer = peer_of(&handoff.peer);
    hand_over(a);
}

bool tt_acceptor_done(struct tt_acceptor *acceptor, const struct tt_done *done, uint64_t now_ns)
{
    if (tt_token_operation(done->token) != TT_ACCEPTOR_OPERATION) return false;
    struct listener *l = &acceptor->listeners[tt_token_slot(done->token)];
    if (done->result >= 0) accepted(acceptor, done->result);
    if ((done->flags & TT_DONE_MORE) != 0) return true;
    l->accepting = false;
    if (acceptor->stopped || done->result == TT_ECANCELED) return true;
    if (done->result >= 0) {
        arm(acceptor);
        return true;
    }
    acceptor->figures.starved++;
    acceptor->retry_ns = now_ns + STARVED_RETRY_NS;
    tt_diag_write(acceptor->diag, TT_DIAG_WARN, NULL, "accept_paused",
                  "accepting pauses for 100 ms: %s", tt_status_text((enum tt_status)done->result));
    return true;
}

void tt_acceptor_taken(struct tt_acceptor *acceptor, uint32_t shard)
{
    TT_ASSERT(shard < TT_SHARDS_MAX && acceptor->open[shard] > 0);
    acceptor->open[shard]--;
    hand_over(acceptor);
}

void tt_acceptor_tick(struct tt_acceptor *acceptor, uint64_t now_ns)
{
    if (acceptor->stopped || acceptor->retry_ns == 0 || now_ns < acceptor->retry_ns) return;
    arm(acceptor);
}

void tt_acceptor_stop(struct tt_acceptor *acceptor)
{
    struct tt_acceptor *a = acceptor;
    if (a->stopped) return;
    a->stopped = true;
    for (uint32_t i = 0; i < a->listeners_count; i++) {
        tt_io_accept_stop(a->io, a->listeners[i].socket);
        if (a->listeners[i].address.family == TT_ADDRESS_UNIX)
            (void)unlink(a->listeners[i].address.path);
    }
    for (; a->figures.waiting != 0; a->figures.waiting--) {
        struct tt_handoff handoff = {.reference = a->ring[a->first].reference};
        a->figures.refused++;
        tt_io_refuse(a->io, &handoff, tt_bytes_text(refusal));
        a->first = (a->first + 1) & (TT_ACCEPTOR_WAITING - 1);
    }
}

struct tt_acceptor_figures tt_acceptor_figures(const struct tt_acceptor *acceptor)
{
    return acceptor->figures;
}
