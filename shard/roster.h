/* Who follows on this shard, for operators: a list of its clients by lag, or their end.
 *
 * The control thread lends a request by a ROSTER message, one at a time; the shard walks over its
 * clients in slices, a bounded amount of work each turn, keeps the best `limit` of those that the
 * filter leaves in a heap, describes these in slices again, and gives the request back by
 * ROSTER_DONE: once, in every phase. Clients that come or go meanwhile may or may not be met.
 * Thread: owner shard; the request belongs to whoever has it. Memory: while it runs 24 bytes for
 * each client in the heap, and a struct tt_roster_entry for each that is described. */
#ifndef TT_SHARD_ROSTER_H
#define TT_SHARD_ROSTER_H

#include "proto/wire/subscribe.h"
#include "shard/client/change.h"
#include "shard/messages.h"

#define TT_ROSTER_CLIENTS_MAX   2000u /* of one answer: it is shown to people; over it: 400 */
#define TT_ROSTER_PATTERNS_MAX  4u   /* of a client's channels that are shown; of more the number */
#define TT_ROSTER_PATTERN_BYTES 260u /* of all of them: the longest one fits */

enum tt_roster_sort {
    TT_ROSTER_LAG = 0, /* offsets between what was sent and the heads; most first */
    TT_ROSTER_ACKED,   /* the same of what was acknowledged; without it: last */
    TT_ROSTER_OUTBOX,  /* bytes that wait; most first */
    TT_ROSTER_AGE,     /* oldest first */
};

/* A client must be all that is given. */
struct tt_roster_filter {
    char session[TT_SESSION_BYTES_MAX + 1]; /* "": any */
    char label[TT_SUBSCRIBE_LABEL_BYTES_MAX + 1];
    bool by_label;
    bool by_subject; /* nobody has one until there are tokens */
    bool by_address;
    struct tt_peer address; /* port 0: any */
    uint32_t states;        /* bits by enum tt_client_state; 0: any */
};

/* One client as it was when it was met. */
struct tt_roster_entry {
    uint64_t key; /* by what it was sorted: the higher, the further in front */
    uint64_t lag;
    uint64_t lag_ms; /* age of the oldest event that was not sent, or of where it reads */
    uint64_t acked_lag;
    int64_t acked_ms;   /* unix time */
    uint32_t since_s;   /* unix time */
    uint32_t silent_ms; /* since its socket took something */
    uint32_t outbox_bytes;
    uint32_t outbox_frames;
    uint32_t shard;
    uint32_t channels_count;
    uint32_t patterns_count;
    struct tt_peer peer;
    uint8_t state;  /* enum tt_client_state */
    uint8_t policy; /* enum tt_subscribe_policy */
    bool acked;
    bool lag_ms_known;
    uint16_t pattern_bytes[TT_ROSTER_PATTERNS_MAX];
    char session[TT_SESSION_BYTES_MAX + 1];
    char label[TT_SUBSCRIBE_LABEL_BYTES_MAX + 1];
    uint8_t patterns[TT_ROSTER_PATTERN_BYTES]; /* one behind the other */
};

struct tt_roster_request {
    struct tt_roster_filter filter;
    enum tt_roster_sort sort;
    uint32_t limit; /* at most TT_ROSTER_CLIENTS_MAX */
    bool end;       /* end them instead of listing them */
    /* the answer */
    struct tt_roster_entry *entries; /* by key; malloc'ed, goes over with the answer */
    uint32_t entries_count;
    uint64_t total; /* clients that were met */
    uint64_t matched;
    uint64_t ended;
    bool no_memory; /* the list is not complete */
};

struct tt_roster;

/* What one request holds of a shard at most, for memory_bound_bytes. */
#define TT_ROSTER_BYTES_MAX (TT_ROSTER_CLIENTS_MAX * (sizeof(struct tt_roster_entry) + 24u))

TT_MUST_USE enum tt_status tt_roster_create(struct tt_shard *shard);
void tt_roster_destroy(struct tt_shard *shard); /* a request under way is forgotten */
/* ROSTER. */
void tt_roster_message(struct tt_shard *shard, const struct tt_message *message);
/* One turn's share, behind everything else of the turn. True: there is more to do at once. */
bool tt_roster_step(struct tt_shard *shard);

#endif
