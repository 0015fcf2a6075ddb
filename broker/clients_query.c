#include "broker/clients_query.h"

#include <stdio.h>

#include "proto/base/assert.h"

#define VALUE_BYTES_MAX 200u /* of a decoded value; no known parameter allows a longer one */

const char *tt_clients_sort_text(enum tt_roster_sort sort)
{
    switch (sort) {
    case TT_ROSTER_LAG: return "lag";
    case TT_ROSTER_ACKED: return "acked";
    case TT_ROSTER_OUTBOX: return "outbox";
    case TT_ROSTER_AGE: return "age";
    }
    TT_UNREACHABLE();
}

const char *tt_clients_state_text(enum tt_client_state state)
{
    switch (state) {
    case TT_CLIENT_OPENING: return "opening";
    case TT_CLIENT_SNAPSHOT: return "snapshot";
    case TT_CLIENT_CATCHUP: return "catchup";
    case TT_CLIENT_LIVE: return "live";
    case TT_CLIENT_CONFLATING: return "conflating";
    case TT_CLIENT_CLOSING: return "closing";
    case TT_CLIENT_STATES: break;
    }
    TT_UNREACHABLE();
}

const char *tt_clients_policy_text(enum tt_subscribe_policy policy)
{
    switch (policy) {
    case TT_POLICY_REPLAY: return "replay";
    case TT_POLICY_CONFLATE: return "conflate";
    case TT_POLICY_MAX_RATE: return "max_rate";
    case TT_POLICY_DISCONNECT: return "disconnect";
    }
    TT_UNREACHABLE();
}

/* What one parameter is read with. */
struct query {
    struct tt_roster_request *request;
    struct tt_bytes name;
    struct tt_bytes value; /* decoded */
    char *message;
    bool names_clients; /* session, label, address or sub was given */
};

static enum tt_status fail(const struct query *q, const char *allowed)
{
    (void)snprintf(q->message, TT_CLIENTS_MESSAGE_MAX, "%.*s: \"%.*s\" is not allowed; allowed: %s",
                   (int)q->name.size, (const char *)q->name.data, (int)q->value.size,
                   (const char *)q->value.data, allowed);
    return TT_EINVAL;
}

/* Into a text with a zero at the end. False: it does not fit, or has zeros of its own. */
static bool copy(const struct query *q, char *to, size_t size)
{
    if (q->value.size >= size || memchr(q->value.data, 0, q->value.size) != NULL) return false;
    memcpy(to, q->value.data, q->value.size);
    to[q->value.size] = '\0';
    return true;
}

static enum tt_status read_session(struct query *q)
{
    struct tt_roster_filter *f = &q->request->filter;
    q->names_clients = true;
    if (q->value.size != 0 && copy(q, f->session, sizeof f->session)) return TT_OK;
    return fail(q, "the session of a stream's connected event");
}

static enum tt_status read_label(struct query *q)
{
    struct tt_roster_filter *f = &q->request->filter;
    q->names_clients = f->by_label = true;
    if (q->value.size != 0 && copy(q, f->label, sizeof f->label)) return TT_OK;
    return fail(q, "the id= that a client gave itself, 1 to 64 bytes");
}

static enum tt_status read_subject(struct query *q)
{
    q->names_clients = q->request->filter.by_subject = true;
    return q->value.size != 0 ? TT_OK : fail(q, "the subject of a token");
}

/* With or without a port: 10.0.0.1, 10.0.0.1:5000, ::1, [::1], [::1]:5000. */
static enum tt_status read_address(struct query *q)
{
    struct tt_roster_filter *f = &q->request->filter;
    struct tt_address address;
    char text[VALUE_BYTES_MAX + 8], plain[VALUE_BYTES_MAX + 1];
    q->names_clients = f->by_address = true;
    enum tt_status status = TT_EINVAL;
    if (copy(q, plain, sizeof plain) && q->value.size != 0) {
        static const char *const around[][2] = {{"", ""}, {"", ":0"}, {"[", "]:0"}};
        for (unsigned i = 0; i < 3 && status != TT_OK; i++) {
            (void)snprintf(text, sizeof text, "%s%s%s", around[i][0], plain, around[i][1]);
            status = tt_address_parse(tt_bytes_text(text), &address);
        }
    }
    if (status != TT_OK || address.family == TT_ADDRESS_UNIX)
        return fail(q, "an IP address, with or without a port");
    f->address = (struct tt_peer){.family = (uint8_t)address.family, .port = address.port};
    memcpy(f->address.ip, address.ip, sizeof f->address.ip);
    return TT_OK;
}

static enum tt_status read_states(struct query *q)
{
    struct tt_bytes rest = q->value;
    while (rest.size != 0) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma == NULL ? rest.size : (size_t)(comma - rest.data);
        unsigned state = 0;
        while (state < TT_CLIENT_STATES &&
               !tt_bytes_is(tt_bytes(rest.data, size),
                            tt_clients_state_text((enum tt_client_state)state)))
            state++;
        if (state == TT_CLIENT_STATES) break;
        q->request->filter.states |= 1u << state;
        rest = tt_bytes_from(rest, comma == NULL ? size : size + 1);
    }
    if (q->request->filter.states != 0 && rest.size == 0) return TT_OK;
    char allowed[160];
    struct tt_writer w = tt_writer(allowed, sizeof allowed - 1);
    for (unsigned i = 0; i < TT_CLIENT_STATES; i++) {
        tt_write_text(&w, i == 0 ? "" : ", ");
        tt_write_text(&w, tt_clients_state_text((enum tt_client_state)i));
    }
    tt_write_text(&w, "; several with commas");
    allowed[w.size] = '\0';
    return fail(q, allowed);
}

static enum tt_status read_transport(struct query *q)
{
    return tt_bytes_is(q->value, "sse") ? TT_OK : fail(q, "sse");
}

static enum tt_status read_sort(struct query *q)
{
    for (unsigned i = TT_ROSTER_LAG; i <= TT_ROSTER_AGE; i++) {
        if (!tt_bytes_is(q->value, tt_clients_sort_text((enum tt_roster_sort)i))) continue;
        q->request->sort = (enum tt_roster_sort)i;
        return TT_OK;
    }
    return fail(q, "lag, acked, outbox, age");
}

static enum tt_status read_limit(struct query *q)
{
    uint64_t limit;
    if (tt_bytes_to_u64(q->value, TT_ROSTER_CLIENTS_MAX, &limit) != TT_OK || limit == 0) {
        char allowed[32];
        (void)snprintf(allowed, sizeof allowed, "1 to %u", TT_ROSTER_CLIENTS_MAX);
        return fail(q, allowed);
    }
    q->request->limit = (uint32_t)limit;
    return TT_OK;
}

static const struct {
    const char *name;
    enum tt_status (*read)(struct query *q);
    bool of_list; /* has no meaning for DELETE */
} parameters[] = {
    {"session", read_session, false}, {"label", read_label, false},
    {"sub", read_subject, false},     {"address", read_address, false},
    {"state", read_states, false},    {"transport", read_transport, false},
    {"sort", read_sort, true},        {"limit", read_limit, true},
};
#define PARAMETERS (sizeof parameters / sizeof parameters[0])

static enum tt_status read_one(struct query *q, struct tt_bytes raw)
{
    uint8_t text[VALUE_BYTES_MAX];
    struct tt_writer value = tt_writer(text, sizeof text);
    for (unsigned i = 0; i < PARAMETERS; i++) {
        if (!tt_bytes_is(q->name, parameters[i].name)) continue;
        if (q->request->end && parameters[i].of_list) break;
        enum tt_status status = tt_form_decode(raw, &value);
        q->value = tt_writer_bytes(&value);
        if (status != TT_OK || value.overflow)
            return fail(q, "at most 200 bytes of UTF-8, each '%' followed by two hex digits");
        return parameters[i].read(q);
    }
    if (!q->request->end) return TT_OK; /* of a later version, or none of ours */
    (void)snprintf(q->message, TT_CLIENTS_MESSAGE_MAX,
                   "%.*s: is no parameter that says which clients to end; allowed: session, label, "
                   "address, sub, state, transport",
                   (int)(q->name.size < 100 ? q->name.size : 100), (const char *)q->name.data);
    return TT_EINVAL;
}

enum tt_status tt_clients_query(struct tt_bytes query, bool end, struct tt_roster_request *request,
                                char message[TT_CLIENTS_MESSAGE_MAX])
{
    struct query q = {.request = request, .message = message};
    struct tt_bytes raw;
    *request = (struct tt_roster_request){.limit = TT_CLIENTS_LIMIT_DEFAULT, .end = end};
    while (tt_form_next(&query, &q.name, &raw))
        if (read_one(&q, raw) != TT_OK) return TT_EINVAL;
    if (!end || q.names_clients) return TT_OK;
    (void)snprintf(message, TT_CLIENTS_MESSAGE_MAX,
                   "query: says not which clients to end; at least one is required of session, "
                   "label, address, sub");
    return TT_EINVAL;
}
