/* The query string of /clients: which clients, in which order, how many.
 *
 * Parameters stand in broker/API.md, "Clients". Thread: any. Memory: none. */
#ifndef TT_BROKER_CLIENTS_QUERY_H
#define TT_BROKER_CLIENTS_QUERY_H

#include "shard/roster.h"

#define TT_CLIENTS_LIMIT_DEFAULT 100u
#define TT_CLIENTS_MESSAGE_MAX   400u

/* Fills filter, sort, limit and end. end: for DELETE, which wants to know exactly whom: it takes no
 * parameter that it does not know, and at least one of those that name clients.
 * TT_OK; TT_EINVAL: message says which parameter, its value, and what is allowed. */
TT_MUST_USE enum tt_status tt_clients_query(struct tt_bytes query, bool end,
                                            struct tt_roster_request *request,
                                            char message[TT_CLIENTS_MESSAGE_MAX]);

/* "lag", "live", "replay", ...; static. */
const char *tt_clients_sort_text(enum tt_roster_sort sort);
const char *tt_clients_state_text(enum tt_client_state state);
const char *tt_clients_policy_text(enum tt_subscribe_policy policy);

#endif
