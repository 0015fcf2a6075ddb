#include "tools/ttload/market.h"

#include "proto/base/assert.h"

struct listing {
    const char *symbol;
    const char *name;
    int64_t open_cents;
};

static const struct listing listings[] = {
#define TT_SYMBOL(symbol, name, open_cents) {symbol, name, open_cents},
#include "tools/ttload/market_symbols.def"
#undef TT_SYMBOL
};
_Static_assert(sizeof listings / sizeof listings[0] == TT_MARKET_SYMBOLS_MAX, "one for each");

/* xoshiro256** (Blackman, Vigna), seeded by splitmix64: a market must be the same everywhere. */
static uint64_t rotated(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static uint64_t draw(struct tt_market *m)
{
    uint64_t *s = m->random_;
    uint64_t result = rotated(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 45);
    return result;
}

static uint64_t draw_below(struct tt_market *m, uint64_t bound)
{
    return (draw(m) >> 32) * bound >> 32;
}

static void quote_around(struct tt_market *m, struct tt_market_stock *s)
{
    int64_t half = 1 + s->price_cents / 20000;
    s->bid_cents = s->price_cents - half + (int64_t)draw_below(m, 2);
    s->ask_cents = s->price_cents + half;
}

void tt_market_init(struct tt_market *m, uint32_t symbols, uint32_t trades_percent, uint64_t seed)
{
    TT_ASSERT(symbols >= 1 && symbols <= TT_MARKET_SYMBOLS_MAX);
    TT_ASSERT(trades_percent <= 100);
    *m = (struct tt_market){.symbols = symbols, .trades_percent = trades_percent};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
        z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
        m->random_[i] = z ^ z >> 31;
    }
    for (uint32_t i = 0; i < symbols; i++) {
        m->stocks[i].price_cents = listings[i].open_cents;
        quote_around(m, &m->stocks[i]);
    }
}

/* A step of about 0.05 %, pulled back a little towards the opening price. */
static void walk(struct tt_market *m, uint32_t stock)
{
    struct tt_market_stock *s = &m->stocks[stock];
    int64_t open = listings[stock].open_cents;
    int64_t sum = -3 * 500;
    for (int i = 0; i < 3; i++) sum += (int64_t)draw_below(m, 1001);
    int64_t step = s->price_cents * sum / 1200000;
    if (step == 0) step = sum > 0 ? 1 : -1;
    s->price_cents += step + (open - s->price_cents) / 400;
    if (s->price_cents < 100) s->price_cents = 100;
    quote_around(m, s);
}

static void write_cents(struct tt_writer *w, const char *name, int64_t cents)
{
    tt_write_text(w, name);
    tt_write_i64(w, cents / 100);
    tt_write_char(w, '.');
    tt_write_char(w, (char)('0' + cents / 10 % 10));
    tt_write_char(w, (char)('0' + cents % 10));
}

static void write_head(struct tt_writer *w, const char *type, const char *symbol)
{
    tt_write_text(w, "{\"type\":\"");
    tt_write_text(w, type);
    tt_write_text(w, "\",\"channel\":\"stock.");
    tt_write_text(w, symbol);
    tt_write_text(w, "\",\"payload\":{\"symbol\":\"");
    tt_write_text(w, symbol);
    tt_write_char(w, '"');
}

static void write_quote(struct tt_writer *w, const struct listing *l,
                        const struct tt_market_stock *s)
{
    write_head(w, "quote", l->symbol);
    tt_write_text(w, ",\"name\":");
    tt_write_json_string(w, tt_bytes_text(l->name));
    write_cents(w, ",\"bid\":", s->bid_cents);
    write_cents(w, ",\"ask\":", s->ask_cents);
    write_cents(w, ",\"price\":", s->price_cents);
    write_cents(w, ",\"open\":", l->open_cents);
    tt_write_text(w, ",\"volume\":");
    tt_write_u64(w, s->volume);
    tt_write_text(w, ",\"n\":");
    tt_write_u64(w, s->n);
    tt_write_text(w, "}}");
}

static void write_trade(struct tt_writer *w, const struct listing *l,
                        const struct tt_market_stock *s, uint64_t size, bool buys)
{
    write_head(w, "trade", l->symbol);
    write_cents(w, ",\"price\":", s->price_cents);
    tt_write_text(w, ",\"size\":");
    tt_write_u64(w, size);
    tt_write_text(w, buys ? ",\"side\":\"buy\"" : ",\"side\":\"sell\"");
    tt_write_text(w, ",\"n\":");
    tt_write_u64(w, s->n);
    tt_write_text(w, "},\"conflate\":false}");
}

struct tt_market_event tt_market_next(struct tt_market *m, struct tt_writer *w)
{
    /* Every other time the lower of two draws: the symbols at the front of the listing are the busy
       ones. The other half keeps the last from being silent for minutes: the demo can say that a
       cut lost nothing on a channel only when the channel's next event has come. */
    uint64_t a = draw_below(m, m->symbols);
    uint64_t b = draw_below(m, 2 * (uint64_t)m->symbols);
    uint32_t stock = (uint32_t)(a < b ? a : b);
    struct tt_market_stock *s = &m->stocks[stock];

    s->n++;
    if (draw_below(m, 100) < m->trades_percent) {
        bool buys = draw_below(m, 2) == 1;
        uint64_t size = (1 + draw_below(m, 20)) * (draw_below(m, 4) == 0 ? 100 : 10);
        s->price_cents = buys ? s->ask_cents : s->bid_cents;
        s->volume += size;
        write_trade(w, &listings[stock], s, size, buys);
    } else {
        walk(m, stock);
        write_quote(w, &listings[stock], s);
    }
    return (struct tt_market_event){stock, s->n};
}

const char *tt_market_symbol(uint32_t stock)
{
    TT_ASSERT(stock < TT_MARKET_SYMBOLS_MAX);
    return listings[stock].symbol;
}
