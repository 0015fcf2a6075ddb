/* A client that conflates (policy=conflate, max_rate): its dirty list, its tick, and what it is
 * told of what it did not get.
 *
 * While its state is CONFLATING, and while it catches up, events and the RESYNC and GAP frames
 * among them go into the dirty list (conflate_list.h); the outbox keeps what stands before all of
 * them: a frame that was begun, and control messages. What is sent is the outbox, then the list
 * from its head on: a frame moves into the outbox when its first byte is taken, so whatever waits
 * can still give way to something newer.
 *
 * The position of a CONFLATING client is in its list: of each partition the offset of its first
 * event there, else R. It needs no place in the arrivals ring. When the list is over
 * --outbox-bytes, or the shard wants the memory of its frames, it is dropped and read again from
 * there.
 *
 * With max_rate only what a tick has let go is sent. A tick comes when something waits and the time
 * since the last one has passed, so it costs an idle client nothing, and the first event after
 * silence leaves at once (within a tick of the timers). What one tick has let go is sent before the
 * next one lets go more: a socket that is slower than the ticks gets the newest of each channel all
 * the same. A catch-up that has filled the list is let go early, or it would never end.
 *
 * Only clients that conflate have one: with max_rate for life, else from the first overflow (or the
 * beginning of a catch-up) until they are LIVE again.
 * Thread: owner shard. Memory: entries and their frames are bounded by --outbox-bytes a client, and
 * over all clients of a shard by --frame-bytes (live events) and --catchup-bytes (read from the
 * log), see TT_CONFLATE_ENTRY_BYTES; the object itself and its table, 0.5 KiB, are part of what
 * memory_bound_bytes has for each connection. */
#ifndef TT_SHARD_CLIENT_CONFLATE_H
#define TT_SHARD_CLIENT_CONFLATE_H

#include "shard/client/client.h"
#include "shard/client/conflate_list.h"

/* A hole in the log that was met; it is told when nothing of its partition waits any more. */
struct tt_conflate_hole {
    uint64_t from;
    uint64_t end; /* the next offset behind it; 0: none */
    uint32_t partition;
};

struct tt_conflate {
    struct tt_conflate_list list;
    struct tt_client *client;
    struct tt_timer timer; /* the tick */
    uint64_t tick_ns;      /* between two ticks; 0: no max_rate */
    uint64_t ticked_ns;    /* when the last one was; 0: never */
    uint64_t skipped;      /* events, since it began */
    uint64_t first, last;  /* offsets of the first and the last one that was counted */
    uint32_t first_partition, last_partition;
    struct tt_conflate_hole hole;
    bool full; /* a catch-up has filled the list, and reads on when half of it is gone */
};

static inline bool tt_client_conflates(const struct tt_client *client)
{
    return client->policy == TT_POLICY_CONFLATE || client->policy == TT_POLICY_MAX_RATE;
}

/* Gives the client a dirty list, if it has none. tick_ns: of max_rate, or 0. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_conflate_begin(struct tt_client *client, uint64_t tick_ns);
/* Drops the list and frees it. Harmless without one. */
void tt_conflate_end(struct tt_client *client);
/* The same, after `gap` has told what was skipped: its client is LIVE again. */
void tt_conflate_finish(struct tt_client *client);

/* LIVE is over: the events that wait in the outbox become the list. Its client may be catching up
 * or closing afterwards. */
void tt_conflate_take_outbox(struct tt_client *client);
/* Is this frame the list's, not the outbox's? */
static inline bool tt_conflate_takes(const struct tt_frame *frame)
{
    return frame->kind == TT_FRAME_EVENT || frame->kind == TT_FRAME_RESYNC ||
           frame->kind == TT_FRAME_GAP;
}
/* Appends (one reference goes over), and applies the bound as tt_client_queue() does. */
void tt_conflate_queue(struct tt_client *client, struct tt_frame *frame);
/* The place of a CONFLATING client: of each partition the first event in the list, else R. */
void tt_conflate_places(const struct tt_client *client, uint64_t *vector);
/* The list is dropped, to be read again: while catching up `taken` of each part becomes the place
 * of the first event of its partition, unless a RESYNC or GAP stands before that. */
void tt_conflate_drop(struct tt_client *client);
/* Its bytes are at their bound. */
bool tt_conflate_is_full(const struct tt_conflate *c);
/* May a catch-up read on? Not while a hole waits to be told. */
bool tt_conflate_room(struct tt_conflate *c);
/* A hole was met at `from`: the client reads no further until it was told, which waits until
 * nothing of its partition waits any more: never-conflate events must go before it. */
void tt_conflate_meet_hole(struct tt_conflate *c, uint32_t partition, uint64_t from, uint64_t end);
static inline bool tt_conflate_met_hole(const struct tt_conflate *c)
{
    return c != NULL && c->hole.end != 0;
}
bool tt_conflate_may_tell(const struct tt_conflate *c);
/* Tells it, and begins a snapshot behind it: what stood before the hole may have been left out in
 * favour of an event that was lost in it. */
void tt_conflate_across_hole(struct tt_client *client);

/* ---- for whoever sends ---- */

/* So many entries may be sent now. */
static inline uint32_t tt_conflate_sendable(const struct tt_client *client)
{
    const struct tt_conflate *c = client->conflate;
    if (c == NULL) return 0;
    return c->tick_ns == 0 ? c->list.count : c->list.released;
}
/* Bytes of its list. */
static inline uint32_t tt_conflate_bytes(const struct tt_client *client)
{
    return client->conflate == NULL ? 0 : client->conflate->list.bytes;
}
/* Entries of its list. */
static inline uint32_t tt_conflate_count(const struct tt_client *client)
{
    return client->conflate == NULL ? 0 : client->conflate->list.count;
}
/* Nothing waits in its list, let go or not. */
static inline bool tt_conflate_empty(const struct tt_client *client)
{
    return client->conflate == NULL || tt_conflate_list_empty(&client->conflate->list);
}
/* Moves the head of the list into the outbox, which is empty: its first byte was taken. */
void tt_conflate_next(struct tt_client *client);
/* Bytes were taken: LIVE, if the list is empty and does not wait for ticks. */
void tt_conflate_taken(struct tt_client *client);

/* Walks over what may be sent now, outbox and list: start with {0}. Null at the end. */
struct tt_client_walk {
    struct tt_outbox_walk outbox_;
    struct tt_conflate_entry *entry_;
    uint32_t entries_;
};
static inline struct tt_frame *tt_client_walk(const struct tt_client *client,
                                              struct tt_client_walk *walk)
{
    struct tt_frame *f = tt_outbox_walk(&client->outbox, &walk->outbox_);
    if (TT_LIKELY(client->conflate == NULL) || f != NULL) return f;
    if (walk->entries_ == tt_conflate_sendable(client)) return NULL;
    struct tt_conflate_list *list = &client->conflate->list;
    if (walk->entries_++ == 0) {
        list->pulls++;
        walk->entry_ = tt_conflate_list_first(list);
    } else {
        walk->entry_ = tt_conflate_list_next(list, walk->entry_);
    }
    walk->entry_->pull = list->pulls;
    return walk->entry_->frame;
}

/* The tick: the shard's kind of timer. */
void tt_conflate_ticked(struct tt_timer *timer, uint64_t now_ns, void *context);

#endif
