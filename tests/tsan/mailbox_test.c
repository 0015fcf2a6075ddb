/* Mailboxes and parking between real threads, for TSan and for the machine's own memory order.
 *
 * 1. A stream of messages in batches, each with a pointer to memory that the poster wrote before:
 *    order, content, and (TSan) that the memory is handed over.
 * 2. Two threads that park whenever they have nothing to do, with a condition variable as the thing
 *    to sleep on: a lost wake-up would leave both asleep, which the alarm turns into a failure. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "shard/mailbox.h"

#define MESSAGES 300000u
#define CAPACITY 100u
#define ROUNDS   100000u

/* ---- 1: a stream ---- */

struct stream {
    struct tt_mailbox *there, *back; /* messages, and their memory given back */
    uint64_t memory[CAPACITY];
};

static void *post_stream(void *argument)
{
    struct stream *s = argument;
    uint32_t sent = 0;
    uint32_t open = 0;
    uint64_t *free_memory[CAPACITY];
    uint32_t free_count = CAPACITY;
    for (uint32_t i = 0; i < CAPACITY; i++) free_memory[i] = &s->memory[i];
    while (sent < MESSAGES || open != 0) {
        struct tt_message m;
        while (tt_mailbox_take(s->back, &m, 1) == 1) {
            memcpy(&free_memory[free_count++], m.body, sizeof free_memory[0]);
            open--;
        }
        uint32_t batch = (sent * 7u) % 13u + 1; /* of changing size */
        for (uint32_t i = 0; i < batch && sent < MESSAGES && free_count != 0; i++) {
            uint64_t *memory = free_memory[--free_count];
            *memory = sent;
            m = (struct tt_message){.kind = sent++, .from = 1};
            memcpy(m.body, &memory, sizeof memory);
            tt_mailbox_post(s->there, &m);
            open++;
        }
        (void)tt_mailbox_publish(s->there);
    }
    return NULL;
}

static void *take_stream(void *argument)
{
    struct stream *s = argument;
    struct tt_message m[16];
    for (uint32_t expected = 0; expected < MESSAGES;) {
        uint32_t n = tt_mailbox_take(s->there, m, 16);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t *memory;
            memcpy(&memory, m[i].body, sizeof memory);
            TT_ASSERT(m[i].kind == expected && *memory == expected);
            expected++;
            *memory = UINT64_MAX; /* ours until it is given back */
            tt_mailbox_post(s->back, &m[i]);
        }
        (void)tt_mailbox_publish(s->back);
    }
    return NULL;
}

static void stream(void)
{
    static struct stream s;
    TT_ASSERT(tt_mailbox_create(&s.there, CAPACITY) == TT_OK);
    TT_ASSERT(tt_mailbox_create(&s.back, CAPACITY) == TT_OK);
    pthread_t threads[2];
    TT_ASSERT(pthread_create(&threads[0], NULL, post_stream, &s) == 0);
    TT_ASSERT(pthread_create(&threads[1], NULL, take_stream, &s) == 0);
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    tt_mailbox_destroy(&s.there);
    tt_mailbox_destroy(&s.back);
}

/* ---- 2: parking ---- */

struct player {
    struct tt_parking parking;
    struct tt_mailbox *in, *out;
    struct player *other;
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    bool woken;
    uint32_t said;
};

static void wake(struct player *p)
{
    (void)pthread_mutex_lock(&p->mutex);
    p->woken = true;
    (void)pthread_cond_signal(&p->condition);
    (void)pthread_mutex_unlock(&p->mutex);
}

static void sleep_until_woken(struct player *p)
{
    (void)pthread_mutex_lock(&p->mutex);
    while (!p->woken) (void)pthread_cond_wait(&p->condition, &p->mutex);
    p->woken = false;
    (void)pthread_mutex_unlock(&p->mutex);
}

static void say(struct player *p)
{
    struct tt_message m = {.kind = ++p->said};
    tt_mailbox_post(p->out, &m);
    TT_ASSERT(tt_mailbox_publish(p->out));
    tt_parking_fence();
    if (tt_parking_is_set(&p->other->parking)) wake(p->other);
}

static void *play(void *argument)
{
    struct player *p = argument;
    uint32_t heard = 0;
    say(p);
    while (heard < ROUNDS) {
        struct tt_message m;
        if (tt_mailbox_take(p->in, &m, 1) == 1) {
            TT_ASSERT(m.kind == ++heard);
            if (p->said < ROUNDS) say(p);
            continue;
        }
        tt_parking_set(&p->parking);
        if (!tt_mailbox_waiting(p->in)) sleep_until_woken(p);
        tt_parking_clear(&p->parking);
    }
    return NULL;
}

static void parking(void)
{
    static struct player players[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        tt_parking_init(&players[i].parking);
        players[i].other = &players[1 - i];
        (void)pthread_mutex_init(&players[i].mutex, NULL);
        (void)pthread_cond_init(&players[i].condition, NULL);
        TT_ASSERT(tt_mailbox_create(&players[i].in, 2) == TT_OK);
        players[1 - i].out = players[i].in;
    }
    for (int i = 0; i < 2; i++) {
        TT_ASSERT(pthread_create(&threads[i], NULL, play, &players[i]) == 0);
    }
    for (int i = 0; i < 2; i++) (void)pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        TT_ASSERT(players[i].said == ROUNDS);
        tt_mailbox_destroy(&players[i].in);
    }
}

int main(void)
{
    (void)alarm(120);
    stream();
    (void)puts("ok 1 - mailbox: messages arrive in order, whole, over a ring that wraps");
    parking();
    (void)puts("ok 2 - mailbox: no wake-up is lost between parking and posting");
    return 0;
}
