/* The inside of a search, for search.c, which asks index files, search_scan.c, which reads what has
 * none, and search_result.c, which keeps what was found. */
#ifndef TT_SHARD_REPLAY_SEARCH_INTERNAL_H
#define TT_SHARD_REPLAY_SEARCH_INTERNAL_H

#include "shard/replay/replay_internal.h"
#include "shard/replay/search.h"
#include "store/reader.h"

#define TT_SEARCH_LANES_MAX   8u    /* lists that are looked up at the same time */
#define TT_SEARCH_WINDOW_MAX  8u    /* RANGE: segments that are searched at the same time */
#define TT_SEARCH_FILTERS_MAX 4096u /* tests in one go */

enum tt_search_phase {
    TT_SEARCH_INDEX = 0, /* channels are looked up in indexes */
    TT_SEARCH_SCAN,      /* LAST, VALUE: view has none: its records are read */
    TT_SEARCH_ENDED,
};

/* A segment whose index is searched. */
struct tt_search_context {
    struct tt_search *search;
    struct tt_view *view;                 /* held; null: free */
    const struct tt_index_header *header; /* null: not to be had yet */
    struct tt_index_waiter waiter;
    bool waiting;  /* for its header */
    bool bad;      /* the index turned out to be damaged */
    uint32_t next; /* want that is to be looked up next */
    uint32_t busy; /* lanes */
};

/* Looks up one channel in one index. */
struct tt_search_lane {
    struct tt_file_read read;
    struct tt_search *search;
    struct tt_search_context *context; /* null: free */
    struct tt_index_search index;
    uint32_t want;
    uint8_t buffer[TT_INDEX_READ_BYTES];
};

struct tt_search_found {
    struct tt_lookup_item item;
    uint32_t channel;
};

/* What is still missing of a channel (LAST, VALUE). */
struct tt_search_want {
    uint64_t hash;
    uint64_t below;
    uint32_t n;       /* 0: nothing any more */
    bool scanned;     /* the scan looks for it */
    uint32_t channel; /* of lookup->channels */
};

struct tt_search {
    struct tt_node node; /* in replay->searches, while it can go on */
    struct tt_shard *shard;
    struct tt_lookup *lookup;
    void (*wake)(void *owner);
    void *owner;
    enum tt_status status;
    uint8_t phase; /* enum tt_search_phase */
    bool closed;
    bool all_begun;       /* RANGE: there is no further view to search */
    struct tt_view *view; /* held: the one that was begun last */
    struct tt_search_context contexts[TT_SEARCH_WINDOW_MAX];
    uint32_t window; /* RANGE: contexts that may be used; grows while little is found */
    uint32_t busy;   /* lanes, and the scan's read */
    uint64_t limit;  /* RANGE: nothing from this offset on is wanted any more */
    struct tt_search_want *wants; /* by the channels' hashes */
    uint32_t wants_count;
    struct tt_search_found *found;
    uint32_t found_count, found_max;
    struct tt_lookup_item *items; /* the result */
    uint32_t items_count;
    size_t bytes; /* counted in block_bytes */
    /* the scan */
    struct tt_file_read scan_read;
    struct tt_reader records;
    uint8_t *block;
    size_t block_bytes;
    uint64_t block_place;
    uint64_t scan_end;
    uint64_t scan_offset; /* behind the last record that was read */
    uint32_t scan_cut;    /* when so many were found, older ones are let go */
    uint32_t lanes_count;
    struct tt_search_lane lanes[];
};

/* It can go on, in the next catch-up phase. */
void tt_search_schedule(struct tt_search *search);
/* Counts so many bytes more, or (negative) fewer. */
void tt_search_count_bytes(struct tt_search *search, int64_t bytes);
/* Goes on until it waits for something. It may be gone afterwards. */
void tt_search_go_on(struct tt_search *search);
/* These only say what comes next, which tt_search_go_on() does. */
void tt_search_end(struct tt_search *search, enum tt_status status);
void tt_search_scan_done(struct tt_search *search);
void tt_search_free(struct tt_search *search);

/* search_result.c */
/* TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_search_add(struct tt_search *search, uint32_t channel,
                                         const struct tt_lookup_item *item);
/* RANGE: sorts by offset and lets go of what is beyond the first items_max. */
void tt_search_cut_range(struct tt_search *search);
/* LAST, VALUE: sets anew what is missing, by what was found. */
void tt_search_cut_newest(struct tt_search *search);
/* Forgets what was found in this view. */
void tt_search_undo_view(struct tt_search *search);
/* Makes the items. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_search_finish(struct tt_search *search);

/* search_scan.c: begins to read the view. */
void tt_search_scan(struct tt_search *search);

#endif
