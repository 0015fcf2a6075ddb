/* A bounded ring of 64-byte messages from one thread to one other, and the parking protocol.
 *
 * One mailbox for each ordered pair of threads. Its capacity is a written sum of everything that
 * may be open on it (shard/messages.h), so a post never fails: one beyond the sum is a bug and is
 * asserted. Posts are private to the poster until tt_mailbox_publish() makes the batch visible with
 * one release store; the receiver's acquire load of the same index pairs with it, so whatever the
 * poster wrote before (also behind pointers in a message) is visible to the receiver.
 *
 * Parking keeps a wake-up from getting lost without a lock:
 *   receiver: tt_parking_set(); look at every mailbox and head once more; nothing: wait
 *   poster:   publish everything; tt_parking_fence(); wake whoever tt_parking_is_set()
 * Both sides have a seq_cst fence between their store and their load, so at least one of them sees
 * the other: either the receiver finds the message or the poster finds it parked.
 *
 * Threads: each function names its side. Memory: allocated by tt_mailbox_create() alone. */
#ifndef TT_SHARD_MAILBOX_H
#define TT_SHARD_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/base/status.h"

#define TT_MESSAGE_BODY_BYTES 56u

struct tt_message {
    uint32_t kind; /* enum tt_message_kind */
    uint32_t from; /* the poster's thread number */
    _Alignas(8) uint8_t body[TT_MESSAGE_BODY_BYTES];
};
_Static_assert(sizeof(struct tt_message) == 64, "one cache line");

struct tt_mailbox;

/* 1 <= capacity <= 2^20: most messages that can be posted and not yet taken. Thread: startup.
 * TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_mailbox_create(struct tt_mailbox **box, uint32_t capacity);
/* Thread: any, after both sides have ended. Messages that are still in it are dropped. */
void tt_mailbox_destroy(struct tt_mailbox **box);
uint32_t tt_mailbox_capacity(const struct tt_mailbox *box); /* as asked for */

/* Copies the message in; the receiver does not see it before tt_mailbox_publish(). Thread: poster.
 */
void tt_mailbox_post(struct tt_mailbox *box, const struct tt_message *message);
/* Makes all posts visible; true if there were any since the last call. Thread: poster. */
bool tt_mailbox_publish(struct tt_mailbox *box);

/* Copies out at most `max` messages, oldest first; returns their number. Thread: receiver. */
uint32_t tt_mailbox_take(struct tt_mailbox *box, struct tt_message *messages, uint32_t max);
/* A published message waits. Thread: receiver. */
bool tt_mailbox_waiting(struct tt_mailbox *box);

/* ---- parking ---- one for each thread, on a cache line of its own */
struct tt_parking {
    _Alignas(64) _Atomic uint32_t parked_;
};

/* The full fence between a poster's publishing stores and its look at parked flags; once for any
 * number of targets. Thread: any. */
static inline void tt_parking_fence(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
/* TSan does not model fences. Nothing is lost: the data itself is handed over by the release and
 * acquire of the mailbox's index; the fence only orders a store before a load. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    atomic_thread_fence(memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

static inline void tt_parking_init(struct tt_parking *p)
{
    atomic_init(&p->parked_, 0);
}

/* Says "I am about to wait"; look at everything once more after it. Thread: the one that parks. */
static inline void tt_parking_set(struct tt_parking *p)
{
    atomic_store_explicit(&p->parked_, 1, memory_order_relaxed); /* ordered by the fence */
    tt_parking_fence();
}

/* Says "I look by myself". The fence orders the store before all reads of tails that follow, which
 * the reuse of tail chunks relies on. Thread: the one that parked. */
static inline void tt_parking_clear(struct tt_parking *p)
{
    atomic_store_explicit(&p->parked_, 0, memory_order_relaxed); /* ordered by the fence */
    tt_parking_fence();
}

/* Thread: any; meaningful after tt_parking_fence(). */
static inline bool tt_parking_is_set(const struct tt_parking *p)
{
    return atomic_load_explicit(&p->parked_, memory_order_relaxed) != 0;
}

#endif
