#include "tools/ttload/lines.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/ttload/market.h"

#define NS_PER_S UINT64_C(1000000000)
#define LATE_NS  NS_PER_S /* behind by more, the schedule begins anew */

static _Atomic bool stopped;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stopped, true);
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a wait ends */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t due_ns)
{
    struct timespec until = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                             .tv_nsec = (long)(due_ns % NS_PER_S)};
    while (!atomic_load(&stopped) &&
           clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

static void write_line(struct tt_market *market)
{
    uint8_t text[TT_MARKET_EVENT_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    struct tt_market_event event = tt_market_next(market, &w);
    printf("stock.%s\t%.*s\n", tt_market_symbol(event.stock), (int)w.size, (const char *)text);
}

int tt_feed_lines(const struct tt_feed_options *options)
{
    static struct tt_market market;
    uint64_t last = options->count == 0 ? UINT64_MAX : options->count;
    uint64_t start_ns = now_ns();
    uint64_t base = 0; /* the event that was due at start_ns */

    tt_market_init(&market, (uint32_t)options->symbols, (uint32_t)options->trades, options->seed);
    catch_signals();
    for (uint64_t i = 0; i < last && !atomic_load(&stopped); i++) {
        uint64_t due_ns = start_ns + (i - base) * NS_PER_S / options->rate;
        uint64_t now = now_ns();
        if (due_ns > now) {
            /* Before it waits, so that nothing that was due lies in a buffer. */
            if (fflush(stdout) != 0) break;
            wait_until(due_ns);
        } else if (now - due_ns > LATE_NS) {
            start_ns = now;
            base = i;
        }
        if (!atomic_load(&stopped)) write_line(&market);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "ttload feed: writing to standard output: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
