#include "shard/http/publish_refusal.h"

#include <stdio.h>

#define RETRY_AFTER_S 1u

static struct tt_publish_refusal refusal(unsigned status, const char *code, unsigned retry_after_s,
                                         const char *text, const char *more)
{
    struct tt_publish_refusal r = {.status = status, .retry_after_s = retry_after_s, .code = code};
    int n = snprintf(r.text, sizeof r.text, "%s%s%s", text,
                     more != NULL && text[0] != '\0' ? ": " : "", more == NULL ? "" : more);
    (void)n; /* cut when it is too long */
    return r;
}

struct tt_publish_refusal tt_publish_refusal_of(const struct tt_publish_request *request)
{
    unsigned retry = request->retry_after_s == 0 ? RETRY_AFTER_S : request->retry_after_s;
    switch ((int)request->status) {
    case TT_FULL:
        return refusal(503, "overloaded", retry, "the log has no room for it at the moment", NULL);
    case TT_ENOSPC: return refusal(503, "disk_full", retry, "the disk of the log is full", NULL);
    case TT_EACCES:
        return refusal(503, "log_read_only", retry,
                       "the log cannot be written; the broker's own log says why", NULL);
    case TT_EBUSY:
        return refusal(503, "channels_max", retry,
                       "it would be one channel more than --channels-max allows", NULL);
    case TT_ETOOBIG:
        return refusal(413, "too_large", 0,
                       "it is larger than --tail-bytes lets the log take at once", NULL);
    case TT_EEXIST:
        return refusal(422, "idempotency_mismatch", 0,
                       "the Idempotency-Key was used for another body", NULL);
    case TT_ECORRUPT:
        return refusal(
            503, "idempotency_incomplete", 0,
            "crashes have cut this batch too often to complete it under its Idempotency-Key", NULL);
    case TT_ECLOSED:
        return refusal(503, "shutting_down", retry, "the broker is shutting down", NULL);
    default: return refusal(503, "unavailable", retry, tt_status_text(request->status), NULL);
    }
}

struct tt_publish_refusal tt_publish_refusal_of_place(const struct tt_publish_place *place)
{
    switch ((int)place->status) {
    case TT_FULL:
        return refusal(503, "overloaded", RETRY_AFTER_S,
                       "Kafka is slow or away: too much waits for it already, and this was not "
                       "handed to it",
                       NULL);
    case TT_EINVAL: return refusal(400, "not_publishable", 0, "", place->why);
    case TT_ETOOBIG:
        return refusal(413, "too_large", 0, "it is larger than Kafka takes", place->why);
    case TT_EACCES:
        return refusal(503, "kafka_refused", RETRY_AFTER_S, "Kafka has refused it", place->why);
    case TT_ECLOSED:
        return refusal(503, "shutting_down", RETRY_AFTER_S, "the broker is shutting down", NULL);
    default:
        return refusal(503, "kafka_unavailable", RETRY_AFTER_S,
                       place->maybe ? "Kafka has not acknowledged it in time; it may have been "
                                      "taken all the same"
                       : place->why != NULL
                           ? "Kafka has not taken it"
                           : "Kafka has not taken it in time and will not: send it again later",
                       place->why);
    }
}
