#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "tools/ttload/batch.h"

static struct tt_market market;
static struct tt_market again;
static struct tt_batch batch;

Test(market, events_are_what_the_demo_page_expects_and_n_has_no_holes)
{
    static uint64_t n[TT_MARKET_SYMBOLS_MAX];
    unsigned trades = 0;
    enum { COUNT = 20000 };

    tt_market_init(&market, TT_MARKET_SYMBOLS_MAX, 25, 1);
    for (unsigned i = 0; i < COUNT; i++) {
        char text[TT_MARKET_EVENT_BYTES_MAX];
        struct tt_writer w = tt_writer(text, sizeof text);
        struct tt_market_event e = tt_market_next(&market, &w);
        const char *type, *channel, *symbol, *name = "", *side = "";
        double bid = 1, ask = 1, price, open = 1;
        json_int_t number, volume = 0, size = 1;
        int conflate = 1;

        cr_assert_not(w.overflow);
        json_t *json = json_loadb(text, w.size, JSON_REJECT_DUPLICATES, NULL);
        cr_assert_not_null(json, "%.*s", (int)w.size, text);
        cr_assert_eq(json_unpack(json, "{s:s,s:s,s?b,s:{s:s,s:F,s:I}}", "type", &type, "channel",
                                 &channel, "conflate", &conflate, "payload", "symbol", &symbol,
                                 "price", &price, "n", &number),
                     0);
        json_t *payload = json_object_get(json, "payload");
        if (strcmp(type, "trade") == 0) {
            trades++;
            cr_assert_eq(json_unpack(payload, "{s:I,s:s}", "size", &size, "side", &side), 0);
            cr_assert(size > 0 && (strcmp(side, "buy") == 0 || strcmp(side, "sell") == 0));
            cr_assert_eq(conflate, 0);
        } else {
            cr_assert_str_eq(type, "quote");
            cr_assert_eq(json_unpack(payload, "{s:s,s:F,s:F,s:F,s:I}", "name", &name, "bid", &bid,
                                     "ask", &ask, "open", &open, "volume", &volume),
                         0);
            cr_assert(bid < ask && bid > 0 && open > 0 && name[0] != '\0' && conflate == 1);
            cr_assert(price > open * 0.5 && price < open * 2, "%s ran away: %f", symbol, price);
        }
        cr_assert(strncmp(channel, "stock.", 6) == 0 && strcmp(channel + 6, symbol) == 0);
        cr_assert_str_eq(symbol, tt_market_symbol(e.stock));
        cr_assert_eq((uint64_t)number, ++n[e.stock]);
        cr_assert_eq(e.n, n[e.stock]);
        json_decref(json);
    }
    cr_assert(trades > COUNT / 5 && trades < COUNT * 3 / 10, "%u", trades);
    /* A reader waits for the next event of each channel: none may be silent for long (1 in 400). */
    for (unsigned i = 0; i < TT_MARKET_SYMBOLS_MAX; i++)
        cr_assert(n[i] > COUNT / 1000, "%u is still", i);
}

Test(market, the_same_seed_makes_the_same_market)
{
    char a[TT_MARKET_EVENT_BYTES_MAX];
    char b[TT_MARKET_EVENT_BYTES_MAX];
    bool differs = false;

    for (uint64_t seed = 1; seed <= 2; seed++) {
        tt_market_init(&market, 20, 25, 1);
        tt_market_init(&again, 20, 25, seed);
        for (unsigned i = 0; i < 1000; i++) {
            struct tt_writer wa = tt_writer(a, sizeof a);
            struct tt_writer wb = tt_writer(b, sizeof b);
            tt_market_next(&market, &wa);
            tt_market_next(&again, &wb);
            bool equal = tt_bytes_equal(tt_writer_bytes(&wa), tt_writer_bytes(&wb));
            if (seed == 1) cr_assert(equal);
            if (!equal) differs = true;
        }
    }
    cr_assert(differs, "another seed is another market");
}

/* What the broker makes of an envelope: behind the payload come members of its own. */
static struct tt_bytes returned(const struct tt_batch *b, uint32_t i, char *text, size_t size)
{
    const struct tt_batch_event *e = &b->events[i];
    int n = snprintf(text, size, "%.*s,\"timestamp\":1,\"id\":\"k7Qp2a-0-%u\"}",
                     (int)e->payload_bytes, (const char *)b->text + e->offset, i);
    return tt_bytes(text, (size_t)n);
}

Test(batch, what_was_taken_is_not_sent_again)
{
    static uint8_t memory[TT_BATCH_BODY_BYTES_MAX];
    char text[512];

    tt_market_init(&market, 3, 50, 9);
    tt_batch_clear(&batch);
    for (unsigned i = 0; i < TT_BATCH_EVENTS_MAX; i++) tt_batch_add(&batch, &market);
    struct tt_writer w = tt_writer(memory, sizeof memory);
    cr_assert_eq(tt_batch_write(&batch, &w), TT_BATCH_EVENTS_MAX);
    cr_assert_not(w.overflow);
    json_t *json = json_loadb((char *)memory, w.size, 0, NULL);
    cr_assert_eq(json_array_size(json), TT_BATCH_EVENTS_MAX);
    json_decref(json);

    for (uint32_t i = 0; i < TT_BATCH_EVENTS_MAX; i += 2) {
        tt_batch_seen(&batch, returned(&batch, i, text, sizeof text));
    }
    tt_batch_seen(&batch, TT_BYTES_LITERAL("{\"type\":\"quote\",\"channel\":\"stock.NONE\"}"));
    for (uint32_t i = 0; i < TT_BATCH_EVENTS_MAX; i++) {
        cr_assert_eq(batch.events[i].taken, i % 2 == 0);
    }
    w.size = 0;
    cr_assert_eq(tt_batch_write(&batch, &w), TT_BATCH_EVENTS_MAX / 2);
    json = json_loadb((char *)memory, w.size, 0, NULL);
    cr_assert_eq(json_array_size(json), TT_BATCH_EVENTS_MAX / 2);
    json_decref(json);
}
