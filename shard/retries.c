#include "shard/retries.h"

#include "proto/base/assert.h"
#include "store/idempotency.h"

_Static_assert(TT_PUBLISH_RUNS_MAX == TT_IDEMPOTENCY_RUNS_MAX, "every run can be told");

/* How many of the request's events, from `from` on, stand before that index of the batch. */
static uint32_t before(const struct tt_publish_request *request, uint32_t from, uint32_t index)
{
    uint32_t i = from;
    while (i < request->events_count && request->blocks[i].index < index) i++;
    return i - from;
}

enum tt_status tt_retry_find(const struct tt_idempotency *keys, struct tt_publish_request *request,
                             int64_t now_us, uint32_t *known)
{
    struct tt_idempotency_found found;
    *known = 0;
    request->runs_count = 0;
    enum tt_status status = tt_idempotency_find(keys, request->blocks, now_us, &found);
    if (status != TT_OK) return status == TT_ENOENT ? TT_OK : status;
    for (uint32_t i = 0; i < found.runs_count; i++) {
        struct tt_publish_run run = {found.runs[i].first_offset, found.runs[i].count};
        uint32_t gone = before(request, *known, found.runs[i].index);
        /* They were appended with the run, and retention has taken them before the start. */
        if (i == 0 && gone != 0 && run.first_offset >= gone) {
            run.first_offset -= gone;
            run.count += gone;
            gone = 0;
        }
        /* It comes from the disk: no more than a refusal. */
        if (gone != 0 || run.count > request->events_count - *known) return TT_ECORRUPT;
        request->runs[request->runs_count++] = run;
        *known += run.count;
    }
    request->end_place = found.end_place;
    bool whole = *known == request->events_count;
    return whole || found.runs_count < TT_IDEMPOTENCY_RUNS_MAX ? TT_OK : TT_ECORRUPT;
}

bool tt_retry_is_known(const struct tt_idempotency *keys, const struct tt_publish_request *request,
                       int64_t now_us)
{
    struct tt_idempotency_found found;
    if (request->blocks == NULL) return false;
    enum tt_status status = tt_idempotency_find(keys, request->blocks, now_us, &found);
    return status == TT_EEXIST || (status == TT_OK && found.runs_count != 0);
}

void tt_retry_note(struct tt_idempotency *keys, const struct tt_publish_request *request,
                   uint32_t known, int64_t now_us)
{
    const struct tt_publish_run *run = &request->runs[request->runs_count - 1];
    enum tt_status status =
        tt_idempotency_add(keys, &request->blocks[known], run->first_offset, run->count,
                           request->end_place, request->events[known].taken_us, now_us);
    TT_ASSERT(status == TT_OK); /* tt_retry_find() left room for the run */
}

enum tt_status tt_retry_claim(struct tt_idempotency *keys, const struct tt_publish_request *request,
                              int64_t now_us)
{
    struct tt_idempotency_found found;
    enum tt_status status = tt_idempotency_find(keys, request->blocks, now_us, &found);
    if (status != TT_ENOENT) return status;
    tt_idempotency_claim(keys, request->blocks, now_us, now_us);
    return TT_OK;
}
