#include "shard/peers.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "shard/messages.h"

struct peer {
    struct tt_parking parking;
    _Atomic(struct tt_io *) io; /* stored once, by its thread */
    uint32_t next_sender;       /* its own: where taking goes on */
};

struct tt_peers {
    uint32_t shards;
    uint32_t threads;
    struct peer *peers;
    struct tt_mailbox **boxes; /* [from * threads + to] */
    bool *posted;              /* [from * threads + to]: written by `from` alone */
};

static uint32_t capacity(const struct tt_peers *p, uint32_t from, uint32_t to)
{
    if (from == p->shards) return TT_MAILBOX_TO_SHARD_MESSAGES;
    if (to == p->shards) return TT_MAILBOX_TO_CONTROL_MESSAGES;
    return TT_MAILBOX_SHARD_MESSAGES;
}

enum tt_status tt_peers_create(struct tt_peers **out, uint32_t shards)
{
    TT_ASSERT(shards > 0 && shards <= TT_SHARDS_MAX);
    struct tt_peers *p = calloc(1, sizeof *p);
    if (p == NULL) return TT_ENOMEM;
    p->shards = shards;
    p->threads = shards + 1;
    size_t pairs = (size_t)p->threads * p->threads;
    p->peers = aligned_alloc(64, p->threads * sizeof(struct peer));
    p->boxes = calloc(pairs, sizeof(struct tt_mailbox *));
    p->posted = calloc(pairs, sizeof(bool));
    bool ok = p->peers != NULL && p->boxes != NULL && p->posted != NULL;
    for (uint32_t i = 0; ok && i < p->threads; i++) {
        tt_parking_init(&p->peers[i].parking);
        atomic_init(&p->peers[i].io, NULL);
        p->peers[i].next_sender = 0;
    }
    for (uint32_t from = 0; ok && from < p->threads; from++)
        for (uint32_t to = 0; ok && to < p->threads; to++)
            if (!(from == shards && to == shards))
                ok = tt_mailbox_create(&p->boxes[(size_t)from * p->threads + to],
                                       capacity(p, from, to)) == TT_OK;
    if (!ok) {
        tt_peers_destroy(&p);
        return TT_ENOMEM;
    }
    *out = p;
    return TT_OK;
}

void tt_peers_destroy(struct tt_peers **out)
{
    struct tt_peers *p = *out;
    if (p == NULL) return;
    if (p->boxes != NULL)
        for (size_t i = 0; i < (size_t)p->threads * p->threads; i++)
            if (p->boxes[i] != NULL) tt_mailbox_destroy(&p->boxes[i]);
    free(p->boxes);
    free(p->posted);
    free(p->peers);
    free(p);
    *out = NULL;
}

uint32_t tt_peers_shards(const struct tt_peers *p)
{
    return p->shards;
}

uint32_t tt_peers_control(const struct tt_peers *p)
{
    return p->shards;
}

void tt_peers_join(struct tt_peers *p, uint32_t self, struct tt_io *io)
{
    /* Release: pairs with the acquire load in wake(); the io is complete for whoever sees it. */
    atomic_store_explicit(&p->peers[self].io, io, memory_order_release);
}

void tt_peers_post(struct tt_peers *p, uint32_t self, uint32_t to, const struct tt_message *message)
{
    size_t pair = (size_t)self * p->threads + to;
    struct tt_message m = *message;
    m.from = self;
    tt_mailbox_post(p->boxes[pair], &m);
    p->posted[pair] = true;
}

static void wake(struct tt_peers *p, uint32_t self, uint32_t to)
{
    struct tt_io *io = atomic_load_explicit(&p->peers[to].io, memory_order_acquire);
    struct tt_io *own = atomic_load_explicit(&p->peers[self].io, memory_order_relaxed);
    /* A thread that has not joined yet looks at its mailboxes before its first wait. */
    if (io != NULL && own != NULL && to != self) tt_io_wake(own, io);
}

void tt_peers_ring(struct tt_peers *p, uint32_t self, bool everyone)
{
    bool any = everyone;
    for (uint32_t to = 0; to < p->threads; to++) {
        size_t pair = (size_t)self * p->threads + to;
        if (p->posted[pair]) any |= tt_mailbox_publish(p->boxes[pair]);
    }
    if (!any) return;
    tt_parking_fence();
    for (uint32_t to = 0; to < p->threads; to++) {
        size_t pair = (size_t)self * p->threads + to;
        bool told = p->posted[pair] || (everyone && to < p->shards);
        p->posted[pair] = false;
        if (told && tt_parking_is_set(&p->peers[to].parking)) wake(p, self, to);
    }
}

void tt_peers_wake(struct tt_peers *p, uint32_t self, uint32_t to)
{
    tt_parking_fence();
    if (tt_parking_is_set(&p->peers[to].parking)) wake(p, self, to);
}

unsigned tt_peers_take(struct tt_peers *p, uint32_t self, struct tt_message *messages, unsigned max)
{
    unsigned taken = 0;
    struct peer *peer = &p->peers[self];
    for (uint32_t i = 0; i < p->threads && taken < max; i++) {
        uint32_t from = peer->next_sender;
        struct tt_mailbox *box = p->boxes[(size_t)from * p->threads + self];
        if (box != NULL) taken += tt_mailbox_take(box, messages + taken, max - taken);
        /* Full: this sender goes on next time; else every sender had its turn. */
        if (taken < max) peer->next_sender = (from + 1) % p->threads;
    }
    return taken;
}

bool tt_peers_waiting(const struct tt_peers *p, uint32_t self)
{
    for (uint32_t from = 0; from < p->threads; from++) {
        struct tt_mailbox *box = p->boxes[(size_t)from * p->threads + self];
        if (box != NULL && tt_mailbox_waiting(box)) return true;
    }
    return false;
}

void tt_peers_park(struct tt_peers *p, uint32_t self)
{
    tt_parking_set(&p->peers[self].parking);
}

void tt_peers_unpark(struct tt_peers *p, uint32_t self)
{
    tt_parking_clear(&p->peers[self].parking);
}
