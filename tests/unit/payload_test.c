#include <criterion/criterion.h>
#include <stdio.h>

#include "tools/ttload/payload.h"

/* What the broker makes of a published envelope. */
static struct tt_bytes returned(struct tt_writer *w, const struct tt_payload *p, size_t bytes)
{
    tt_payload_write(w, p, bytes);
    cr_assert_not(w->overflow);
    const char *mark = p->kept ? ",\"conflate\":false" : "";
    w->size -= 1 + strlen(mark);
    tt_write_text(w, ",\"timestamp\":1732558200000,\"id\":\"k7Qp2a-0-1042\"");
    tt_write_format(w, "%s}", mark);
    return tt_writer_bytes(w);
}

Test(payload, comes_back_as_it_was_sent_in_every_size)
{
    static uint8_t memory[4096];
    static const struct tt_payload payloads[] = {
        {1, 0, 0, false},
        {UINT32_MAX, 99999, UINT64_C(999999999999999999), true},
        {77, 12, 1234567890123, false}};

    for (unsigned i = 0; i < 3; i++) {
        for (size_t bytes = 80; bytes < 400; bytes++) {
            struct tt_payload got;
            struct tt_writer w = tt_writer(memory, sizeof memory);
            struct tt_bytes data = returned(&w, &payloads[i], bytes);
            const uint8_t *start = memmem(data.data, data.size, "{\"seq\"", 6);
            const uint8_t *end = memmem(data.data, data.size, ",\"timestamp\"", 12);
            cr_assert_eq((size_t)(end - start), bytes);
            cr_assert_eq(tt_payload_read(data, bytes, &got), TT_OK);
            cr_assert_eq(got.seq, payloads[i].seq);
            cr_assert_eq(got.channel, payloads[i].channel);
            cr_assert_eq(got.due_ns, payloads[i].due_ns);
            cr_assert_eq(got.kept, payloads[i].kept);
        }
    }
}

Test(payload, a_damaged_or_cut_envelope_is_refused)
{
    static uint8_t memory[512];
    struct tt_payload p = {5, 3, 1000, false};
    struct tt_payload got;
    struct tt_writer w = tt_writer(memory, sizeof memory);
    struct tt_bytes data = returned(&w, &p, 100);
    size_t payload_end = (size_t)((uint8_t *)memmem(memory, w.size, ",\"timestamp\"", 12) - memory);

    for (size_t size = 0; size <= payload_end; size++) {
        cr_assert_eq(tt_payload_read(tt_bytes(data.data, size), 100, &got), TT_EPROTO);
    }
    cr_assert_eq(tt_payload_read(data, 99, &got), TT_EPROTO, "another size");
    cr_assert_eq(tt_payload_read(data, 101, &got), TT_EPROTO, "another size");
    uint8_t *channel = memmem(memory, w.size, "load.3", 6);
    channel[5] = '4';
    cr_assert_eq(tt_payload_read(data, 100, &got), TT_EPROTO, "another channel");
}
