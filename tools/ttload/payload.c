#include "tools/ttload/payload.h"

#include "proto/base/assert.h"

static const char head[] =
    "{\"type\":\"" TT_PAYLOAD_TYPE "\",\"channel\":\"" TT_PAYLOAD_CHANNEL_PREFIX;
static const char before_seq[] = "\",\"payload\":{\"seq\":";
static const char before_channel[] = ",\"channel\":";
static const char before_due[] = ",\"due\":";
static const char before_pad[] = ",\"pad\":\"";
static const char mark[] = ",\"conflate\":false";
static const char pad[] = "abcdefghijklmnopqrstuvwxyz0123456789";

#define WRITE(w, text) tt_write(w, text, sizeof(text) - 1)
/* Bytes of before_seq that belong to the payload: the brace and "seq": */
#define PAYLOAD_HEAD_BYTES 7u

void tt_payload_write(struct tt_writer *w, const struct tt_payload *payload, size_t event_bytes)
{
    WRITE(w, head);
    tt_write_u64(w, payload->channel);
    WRITE(w, before_seq);
    size_t start = w->size - PAYLOAD_HEAD_BYTES;
    tt_write_u64(w, payload->seq);
    WRITE(w, before_channel);
    tt_write_u64(w, payload->channel);
    WRITE(w, before_due);
    tt_write_u64(w, payload->due_ns);
    WRITE(w, before_pad);
    TT_ASSERT(w->overflow || w->size - start + 2 <= event_bytes);
    while (!w->overflow && w->size - start + 2 < event_bytes) {
        size_t missing = event_bytes - 2 - (w->size - start);
        tt_write(w, pad, missing < sizeof pad - 1 ? missing : sizeof pad - 1);
    }
    WRITE(w, "\"}");
    if (payload->kept) WRITE(w, mark);
    tt_write_char(w, '}');
}

static bool take(const uint8_t **at, const uint8_t *end, const char *text, size_t size)
{
    if ((size_t)(end - *at) < size || memcmp(*at, text, size) != 0) return false;
    *at += size;
    return true;
}

static bool take_number(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *start = *at;
    uint64_t number = 0;
    while (*at != end && **at >= '0' && **at <= '9' && *at - start < 19) {
        number = number * 10 + (uint64_t)(**at - '0');
        (*at)++;
    }
    *value = number;
    return *at != start;
}

#define TAKE(text) take(&at, end, text, sizeof(text) - 1)

enum tt_status tt_payload_read(struct tt_bytes data, size_t event_bytes, struct tt_payload *payload)
{
    const uint8_t *at = data.data;
    const uint8_t *end = at + data.size;
    uint64_t named;
    uint64_t seq;
    uint64_t channel;

    if (!TAKE(head) || !take_number(&at, end, &named) || !TAKE(before_seq)) return TT_EPROTO;
    const uint8_t *start = at - PAYLOAD_HEAD_BYTES;
    if (!take_number(&at, end, &seq) || !TAKE(before_channel)) return TT_EPROTO;
    if (!take_number(&at, end, &channel) || !TAKE(before_due)) return TT_EPROTO;
    if (!take_number(&at, end, &payload->due_ns) || !TAKE(before_pad)) return TT_EPROTO;
    if (channel != named || channel > UINT32_MAX || seq == 0 || seq > UINT32_MAX) return TT_EPROTO;
    if ((size_t)(end - start) < event_bytes + 1 ||
        memcmp(start + event_bytes - 2, "\"},", 3) != 0) {
        return TT_EPROTO;
    }
    const uint8_t *behind = start + event_bytes;
    payload->kept = memmem(behind, (size_t)(end - behind), mark, sizeof mark - 1) != NULL;
    payload->seq = (uint32_t)seq;
    payload->channel = (uint32_t)channel;
    return TT_OK;
}
