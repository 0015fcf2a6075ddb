#include "tools/ttload/plan.h"

#include <stdlib.h>

#include "proto/base/assert.h"

#define SHARE_OF_ALL 100000u /* thousandths of one per cent */
#define ZIPF_TRIES_MAX                                                                             \
    32u /* draws of a channel that is taken already, before the next is taken                      \
         */

static uint32_t share_of(uint32_t count, uint64_t share)
{
    return (uint32_t)((uint64_t)count * share / SHARE_OF_ALL);
}

/* Adds `role` to `count` of the clients, drawn among those that have all of `among` (0: all). */
static void draw(struct tt_plan *plan, uint32_t *order, uint64_t *random, uint8_t among,
                 uint64_t share, uint8_t role)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < plan->clients; i++) {
        if ((plan->roles[i] & among) == among) order[n++] = i;
    }
    for (uint32_t i = 0, count = share_of(n, share); i < count; i++) {
        TT_ASSERT(i < n);
        uint32_t other = i + (uint32_t)(tt_plan_random(random) % (n - i));
        uint32_t client = order[other];
        order[other] = order[i];
        order[i] = client;
        plan->roles[client] |= role;
    }
}

/* One shuffle gives all policies, so that no client gets two. */
static void draw_policies(struct tt_plan *plan, uint32_t *order, uint64_t *random)
{
    const struct tt_run_options *o = plan->options_;
    uint64_t conflate = share_of(plan->clients, o->policy_share[TT_SHARE_CONFLATE]);
    uint64_t disconnect = share_of(plan->clients, o->policy_share[TT_SHARE_DISCONNECT]);

    /* What rounding leaves over belongs to replay, or to whoever was named. */
    if (o->policy_share[TT_SHARE_REPLAY] == 0) {
        if (disconnect != 0) disconnect = plan->clients - conflate;
        if (disconnect == 0) conflate = plan->clients;
    }
    for (uint32_t i = 0; i < plan->clients; i++) order[i] = i;
    for (uint32_t i = 0; i < conflate + disconnect; i++) {
        uint32_t other = i + (uint32_t)(tt_plan_random(random) % (plan->clients - i));
        uint32_t client = order[other];
        order[other] = order[i];
        order[i] = client;
        plan->roles[client] |= i < conflate ? TT_PLAN_CONFLATES : TT_PLAN_DISCONNECTS;
    }
}

static void draw_max_lag(struct tt_plan *plan, uint32_t *order, uint64_t *random)
{
    const uint8_t mark = 128; /* of those that are lossless; gone again at the end */
    for (uint32_t i = 0; i < plan->clients; i++) {
        if ((plan->roles[i] & (TT_PLAN_CONFLATES | TT_PLAN_DISCONNECTS)) == 0) {
            plan->roles[i] |= mark;
        }
    }
    draw(plan, order, random, mark, plan->options_->max_lag_share, TT_PLAN_MAX_LAG);
    for (uint32_t i = 0; i < plan->clients; i++) plan->roles[i] &= (uint8_t)~mark;
}

/* Whoever is slow or cut off changes places with one at the end that is not. */
static void set_apart(struct tt_plan *plan)
{
    for (uint32_t i = 0; i < plan->apart;) {
        uint8_t roles = plan->roles[i];
        if ((roles & (TT_PLAN_SLOW | TT_PLAN_RECONNECTS)) == 0) {
            i++;
        } else {
            plan->roles[i] = plan->roles[--plan->apart];
            plan->roles[plan->apart] = roles;
        }
    }
}

static enum tt_status draw_roles(struct tt_plan *plan)
{
    const struct tt_run_options *o = plan->options_;
    uint64_t random = o->seed;
    uint32_t *order = calloc(plan->clients + 1, sizeof *order);

    if (order == NULL) return TT_ENOMEM;
    draw_policies(plan, order, &random);
    draw(plan, order, &random, 0, o->slow_share, TT_PLAN_SLOW);
    draw(plan, order, &random, 0, o->reconnect_share, TT_PLAN_RECONNECTS);
    if (o->max_rate != 0) {
        draw(plan, order, &random, TT_PLAN_CONFLATES, o->max_rate_share, TT_PLAN_MAX_RATE);
    }
    if (o->max_lag_ms != 0) draw_max_lag(plan, order, &random);
    plan->apart = plan->clients;
    if (o->apart) set_apart(plan);
    free(order);
    return TT_OK;
}

static void count_followers(struct tt_plan *plan, uint32_t *channels)
{
    if (plan->all) {
        for (uint32_t c = 0; c < plan->channels; c++) plan->followers[c] = plan->clients;
        return;
    }
    for (uint32_t i = 0; i < plan->clients; i++) {
        tt_plan_channels(plan, i, channels);
        for (uint32_t k = 0; k < plan->per_client; k++) plan->followers[channels[k]]++;
    }
}

enum tt_status tt_plan_init(struct tt_plan *plan, const struct tt_run_options *options)
{
    bool zipf = options->channel_distribution == TT_CHANNELS_ZIPF ||
                options->publish_distribution == TT_EVENTS_ZIPF;
    *plan = (struct tt_plan){
        .clients = (uint32_t)options->clients,
        .channels = (uint32_t)options->channels,
        .per_client = (uint32_t)options->channels_per_client,
        .all = options->channels_per_client == 0,
        .kept_every = (uint32_t)options->never_conflate_every,
        .options_ = options,
    };
    if (plan->all) plan->per_client = plan->channels;
    plan->roles = calloc(plan->clients + 1, 1);
    plan->followers = calloc(plan->channels, sizeof *plan->followers);
    if (zipf) plan->zipf_ = calloc(plan->channels, sizeof *plan->zipf_);
    uint32_t *channels = calloc(plan->per_client, sizeof *channels);
    enum tt_status status = TT_ENOMEM;
    if (plan->roles != NULL && plan->followers != NULL && channels != NULL &&
        (!zipf || plan->zipf_ != NULL)) {
        double sum = 0;
        for (uint32_t c = 0; zipf && c < plan->channels; c++) {
            sum += 1.0 / (double)(c + 1);
            plan->zipf_[c] = sum;
        }
        count_followers(plan, channels);
        status = draw_roles(plan);
    }
    free(channels);
    if (status != TT_OK) tt_plan_deinit(plan);
    return status;
}

void tt_plan_deinit(struct tt_plan *plan)
{
    free(plan->roles);
    free(plan->followers);
    free(plan->zipf_);
    *plan = (struct tt_plan){0};
}

/* ---- channels ---- */
/* The place of `channel` in the ascending list, or where it belongs. */
static uint32_t place_of(const uint32_t *channels, uint32_t count, uint32_t channel)
{
    uint32_t low = 0;
    while (low < count) {
        uint32_t middle = low + (count - low) / 2;
        if (channels[middle] < channel) {
            low = middle + 1;
        } else {
            count = middle;
        }
    }
    return low;
}

/* Inserts it, unless it is there. */
static bool add(uint32_t *channels, uint32_t count, uint32_t channel)
{
    uint32_t place = place_of(channels, count, channel);
    if (place < count && channels[place] == channel) return false;
    memmove(channels + place + 1, channels + place, (count - place) * sizeof *channels);
    channels[place] = channel;
    return true;
}

static uint32_t draw_zipf(const struct tt_plan *plan, uint64_t number)
{
    double at = (double)(number >> 11) * 0x1p-53 * plan->zipf_[plan->channels - 1];
    uint32_t low = 0;
    uint32_t high = plan->channels - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->zipf_[middle] <= at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* `count` of the channels from `first` on, each set as likely as any other: R. W. Floyd, in
 * J. Bentley, "Programming Pearls: a sample of brilliance", CACM 30 (1987). */
static void draw_uniform(const struct tt_plan *plan, uint64_t *random, uint32_t first,
                         uint32_t count, uint32_t had, uint32_t *channels)
{
    uint32_t all = plan->channels - first;
    for (uint32_t j = all - count; j < all; j++) {
        uint32_t channel = first + (uint32_t)(tt_plan_random(random) % (j + 1));
        bool added = add(channels, had, channel) || add(channels, had, first + j);
        TT_ASSERT(added);
        had++;
    }
}

static void draw_zipf_channels(const struct tt_plan *plan, uint64_t *random, uint32_t *channels)
{
    for (uint32_t had = 0; had < plan->per_client; had++) {
        bool added = false;
        for (unsigned i = 0; i < ZIPF_TRIES_MAX && !added; i++) {
            added = add(channels, had, draw_zipf(plan, tt_plan_random(random)));
        }
        /* The popular ones are taken: the most popular that is left. */
        for (uint32_t c = 0; !added; c++) added = add(channels, had, c);
    }
}

void tt_plan_channels(const struct tt_plan *plan, uint32_t client, uint32_t *channels)
{
    uint32_t n = plan->per_client;
    uint64_t random = plan->options_->seed * 0xD1342543DE82EF95u + client;

    if (plan->all) {
        for (uint32_t c = 0; c < n; c++) channels[c] = c;
        return;
    }
    switch ((enum tt_channel_distribution)plan->options_->channel_distribution) {
    case TT_CHANNELS_SEQUENTIAL:
        for (uint32_t k = 0; k < n; k++) {
            add(channels, k, (uint32_t)(((uint64_t)client * n + k) % plan->channels));
        }
        break;
    case TT_CHANNELS_UNIFORM: draw_uniform(plan, &random, 0, n, 0, channels); break;
    case TT_CHANNELS_ZIPF: draw_zipf_channels(plan, &random, channels); break;
    case TT_CHANNELS_HOT:
        channels[0] = 0;
        draw_uniform(plan, &random, 1, n - 1, 1, channels);
        break;
    }
}

uint32_t tt_plan_event_channel(const struct tt_plan *plan, uint64_t event)
{
    uint64_t random = plan->options_->seed + event * 0xD1342543DE82EF95u;

    switch ((enum tt_event_distribution)plan->options_->publish_distribution) {
    case TT_EVENTS_EVEN: break;
    case TT_EVENTS_ZIPF: return draw_zipf(plan, tt_plan_random(&random));
    case TT_EVENTS_HOT:
        if (event % 2 == 0 || plan->channels == 1) return 0;
        return 1 + (uint32_t)(event / 2 % (plan->channels - 1));
    }
    return (uint32_t)(event % plan->channels);
}

uint32_t tt_plan_count(const struct tt_plan *plan, uint8_t role)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->clients; i++) count += (plan->roles[i] & role) != 0 ? 1 : 0;
    return count;
}
