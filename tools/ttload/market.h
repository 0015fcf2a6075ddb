/* A simulated market: a random walk for each symbol, quotes and trades, the same from the same
 * seed.
 *
 * Events go to channel stock.<SYMBOL>. A quote has type `quote`; a trade has type `trade` and must
 * never be dropped in favour of a newer event ("conflate":false). Each carries "n", which rises by
 * one with each event of its channel, over both types, so that whoever reads can tell what is
 * missing. Some symbols are busier than others, as on a real market. Thread: the owner's.
 * Memory: the caller's. */
#ifndef TT_TOOLS_TTLOAD_MARKET_H
#define TT_TOOLS_TTLOAD_MARKET_H

#include "proto/base/bytes.h"

#define TT_MARKET_SYMBOLS_MAX     200u
#define TT_MARKET_EVENT_BYTES_MAX 320u /* of one envelope */

struct tt_market_stock {
    uint64_t n;      /* of its last event */
    uint64_t volume; /* shares traded */
    int64_t price_cents;
    int64_t bid_cents;
    int64_t ask_cents;
};

struct tt_market {
    struct tt_market_stock stocks[TT_MARKET_SYMBOLS_MAX];
    uint32_t symbols;
    uint32_t trades_percent;
    uint64_t random_[4];
};

struct tt_market_event {
    uint32_t stock; /* whose it is */
    uint64_t n;
};

/* 1 <= symbols <= TT_MARKET_SYMBOLS_MAX, trades_percent <= 100. */
void tt_market_init(struct tt_market *m, uint32_t symbols, uint32_t trades_percent, uint64_t seed);
/* Lets one thing happen and writes its envelope (at most TT_MARKET_EVENT_BYTES_MAX). */
struct tt_market_event tt_market_next(struct tt_market *m, struct tt_writer *w);
const char *tt_market_symbol(uint32_t stock);

#endif
