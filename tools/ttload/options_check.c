/* What one option of `ttload run` allows because of another. */
#include <inttypes.h>

#include "tools/ttload/options.h"

#define LAG_MS_MIN 100u    /* of the broker */
#define ALL        100000u /* thousandths of a per cent */

struct check {
    struct tt_run_options *options;
    char *error;
    size_t error_bytes;
};

#define REFUSE(c, ...) (snprintf((c)->error, (c)->error_bytes, __VA_ARGS__), TT_EINVAL)

static enum tt_status check_channels(struct check *c)
{
    const struct tt_run_options *o = c->options;

    if (o->channels_per_client > o->channels) {
        return REFUSE(c,
                      "--channels-per-client=%" PRIu64 ": allowed: 0 to %" PRIu64 " (--channels)",
                      o->channels_per_client, o->channels);
    }
    if (o->channels_per_client == 0 && o->channel_distribution != TT_CHANNELS_SEQUENTIAL) {
        return REFUSE(c, "--channel-distribution: allowed beside --channels-per-client=0, where "
                         "every client follows all channels: sequential");
    }
    if (o->publish_connections > o->channels) {
        return REFUSE(c,
                      "--publish-connections=%" PRIu64 ": allowed: 1 to %" PRIu64
                      " (--channels), because a channel's order is kept by one connection",
                      o->publish_connections, o->channels);
    }
    return TT_OK;
}

static enum tt_status refuse_policy(struct check *c)
{
    return REFUSE(c,
                  "--policy=%s: allowed: replay, conflate or disconnect; or several with their "
                  "shares in per cent, 100 together, such as replay:80,conflate:15,disconnect:5",
                  c->options->policy);
}

/* "replay:80,conflate:15,disconnect:5", or one name alone. */
static enum tt_status check_policy(struct check *c)
{
    static const char *const names[TT_SHARES] = {"replay", "conflate", "disconnect"};
    struct tt_run_options *o = c->options;
    struct tt_bytes rest = tt_bytes_text(o->policy);
    uint64_t sum = 0;

    if (rest.size == 0) {
        o->policy_share[TT_SHARE_REPLAY] = ALL;
        return TT_OK;
    }
    for (;;) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        struct tt_bytes part =
            tt_bytes(rest.data, comma == NULL ? rest.size : (size_t)(comma - rest.data));
        const uint8_t *colon = part.size == 0 ? NULL : memchr(part.data, ':', part.size);
        struct tt_bytes name =
            tt_bytes(part.data, colon == NULL ? part.size : (size_t)(colon - part.data));
        uint64_t share = ALL;
        unsigned i = 0;
        if (colon != NULL &&
            tt_options_thousandths(tt_bytes_from(part, name.size + 1), ALL, &share) != TT_OK) {
            return refuse_policy(c);
        }
        while (i < TT_SHARES && !tt_bytes_is(name, names[i])) i++;
        if (i == TT_SHARES || o->policy_share[i] != 0) return refuse_policy(c);
        o->policy_share[i] = share;
        sum += share;
        if (comma == NULL) return sum == ALL ? TT_OK : refuse_policy(c);
        rest = tt_bytes_from(rest, part.size + 1);
    }
}

static enum tt_status check_bounds(struct check *c)
{
    const struct tt_run_options *o = c->options;
    static const char *const own[] = {"policy=", "max_rate=", "max_lag=", "channels=", "cursor="};
    static const char *const said_by[] = {"--policy", "--max-rate", "--max-lag",
                                          "--channels-per-client", "--reconnect-share"};

    if (o->max_rate != 0 && o->policy_share[TT_SHARE_CONFLATE] == 0) {
        return REFUSE(c,
                      "--max-rate: allowed beside a --policy that gives conflate a share, because "
                      "it implies that policy");
    }
    if (o->max_lag_ms != 0 && o->max_lag_ms < LAG_MS_MIN) {
        return REFUSE(c, "--max-lag=%" PRIu64 ": allowed: 0, or %u to 86400000 ms", o->max_lag_ms,
                      LAG_MS_MIN);
    }
    if (o->max_lag_ms != 0 && o->policy_share[TT_SHARE_REPLAY] == 0) {
        return REFUSE(c, "--max-lag: allowed beside a --policy that gives replay a share");
    }
    for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strstr(o->query, own[i]) == NULL) continue;
        return REFUSE(
            c,
            "--query=%s: %s is said by %s, because completeness is judged by it; allowed: "
            "other parameters",
            o->query, own[i], said_by[i]);
    }
    return TT_OK;
}

enum tt_status tt_run_options_check(struct tt_run_options *options, char *error, size_t error_bytes)
{
    struct check c = {options, error, error_bytes};
    enum tt_status status = check_channels(&c);

    if (status == TT_OK) status = check_policy(&c);
    if (status == TT_OK) status = check_bounds(&c);
    if (status != TT_OK) return status;
    if (options->threads > options->clients && options->clients != 0) {
        options->threads = options->clients;
    }
    return TT_OK;
}
