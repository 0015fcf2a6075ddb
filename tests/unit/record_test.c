#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "proto/base/crc32c.h"
#include "store/record.h"

static const struct tt_event event = {
    .channel = {(const uint8_t *)"stock.AAPL", 10},
    .type = {(const uint8_t *)"trade", 5},
    .headers = {(const uint8_t *)"{\"a\":\"b\"}", 9},
    .payload = {(const uint8_t *)"{\"price\":174.32}", 16},
    .timestamp_ms = 1732558200000,
    .taken_us = 1732558200123456,
    .flags = TT_EVENT_NEVER_CONFLATE | TT_EVENT_TIMESTAMP_GIVEN,
};
static const struct tt_record_idempotency idempotency = {
    .key_hash = {1, 2, 3}, .body_hash = {4, 5, 6}, .index = 7, .count = 9};

static _Alignas(8) uint8_t memory[4096];

static void expect_event(const struct tt_record *r, uint64_t offset)
{
    cr_assert_eq(r->class, TT_RECORD_EVENT);
    cr_assert_eq(r->offset, offset);
    cr_assert(tt_bytes_equal(r->event.channel, event.channel));
    cr_assert(tt_bytes_equal(r->event.type, event.type));
    cr_assert(tt_bytes_equal(r->event.headers, event.headers));
    cr_assert(tt_bytes_equal(r->event.payload, event.payload));
    cr_assert_eq(r->event.timestamp_ms, event.timestamp_ms);
    cr_assert_eq(r->event.taken_us, event.taken_us);
    cr_assert_eq(r->event.flags, event.flags);
}

Test(record, an_event_comes_back_as_it_was)
{
    struct tt_record r;
    uint32_t length = tt_record_encode_event(memory, &event, 42, NULL);
    cr_assert_eq(length, tt_record_event_bytes(&event, NULL));
    cr_assert_eq(length % 8, 0);
    cr_assert_eq(tt_record_read(tt_bytes(memory, length), &r), TT_OK);
    expect_event(&r, 42);
    cr_assert_not(r.has_idempotency);
    length = tt_record_encode_event(memory, &event, 43, &idempotency);
    cr_assert_eq(length, tt_record_event_bytes(&event, &idempotency));
    cr_assert_eq(tt_record_decode(tt_bytes(memory, length), &r), TT_OK);
    expect_event(&r, 43);
    cr_assert(r.has_idempotency);
    cr_assert_eq(memcmp(&r.idempotency, &idempotency, sizeof idempotency), 0);
}

/* The format is final: these bytes were written by the first version. */
Test(record, the_bytes_are_those_of_the_readme)
{
    uint32_t length = tt_record_encode_event(memory, &event, 0x0102030405060708, NULL);
    static const uint8_t head[] = {
        88,   0,    0,    0,                            /* length */
        0,    0,    0,    0,                            /* crc, below */
        8,    7,    6,    5,    4,    3,    2,    1,    /* offset */
        0xC0, 0xB0, 0xA3, 0x64, 0x93, 0x01, 0,    0,    /* timestamp_ms */
        0x40, 0xE4, 0x8F, 0x61, 0xC0, 0x27, 0x06, 0x00, /* taken_us */
        9,    0,    1,    5,    10,   0,    9,    0,    /* flags, class, sizes */
        16,   0,    0,    0,    0,    0,    0,    0,
    };
    uint32_t crc;
    cr_assert_eq(length, 88);
    memcpy(&crc, memory + 4, 4);
    cr_assert_eq(crc, tt_crc32c(0, memory + 8, 80));
    memset(memory + 4, 0, 4);
    int64_t taken;
    memcpy(&taken, memory + 24, 8);
    cr_assert_eq(taken, event.taken_us);
    cr_assert_eq(memcmp(memory, head, 16), 0);
    cr_assert_eq(memcmp(memory + 32, head + 32, 16), 0);
    cr_assert_eq(memcmp(memory + 48, "stock.AAPLtrade{\"a\":\"b\"}{\"price\":174.32}", 40), 0);
}

Test(record, other_classes_come_back)
{
    struct tt_record r;
    uint32_t n = tt_record_encode_batch(memory, 5, 77, 4096, 1024, 3);
    cr_assert_eq(n, TT_RECORD_BATCH_BYTES);
    cr_assert_eq(tt_record_read(tt_bytes(memory, n), &r), TT_OK);
    cr_assert_eq(r.class, TT_RECORD_BATCH);
    cr_assert_eq(r.place, 4096);
    cr_assert_eq(r.durable_place, 1024);
    cr_assert_eq(r.durable_offset, 3);
    n = tt_record_encode_hole(memory, 5, 9, 77);
    cr_assert_eq(tt_record_read(tt_bytes(memory, n), &r), TT_OK);
    cr_assert_eq(r.class, TT_RECORD_HOLE);
    cr_assert_eq(r.offset, 5);
    cr_assert_eq(r.hole_end, 9);
    n = tt_record_encode_chunk(memory, 5, 77, TT_CHUNK_BYTES, INT64_MIN);
    cr_assert_eq(tt_record_read(tt_bytes(memory, n), &r), TT_OK);
    cr_assert_eq(r.class, TT_RECORD_CHUNK);
    cr_assert_eq(r.place, TT_CHUNK_BYTES);
    cr_assert_eq(r.taken_max_us, INT64_MIN);
    struct tt_record_segment s = {.format = TT_RECORD_FORMAT,
                                  .partition = 3,
                                  .partitions = 8,
                                  .history = tt_history_from_bits(99),
                                  .hash_key = {1, 2},
                                  .bytes = 1 << 27};
    n = tt_record_encode_segment(memory, 5, 77, TT_CHUNK_BYTES, 66, &s);
    cr_assert_eq(n, TT_RECORD_SEGMENT_BYTES);
    cr_assert_eq(memcmp(memory + 48, "ttlogseg", 8), 0);
    cr_assert_eq(tt_record_read(tt_bytes(memory, n), &r), TT_OK);
    cr_assert_eq(r.segment.partition, 3);
    cr_assert_eq(r.segment.partitions, 8);
    cr_assert(tt_history_equal(r.segment.history, s.history));
    cr_assert_eq(r.segment.hash_key.k1, 2);
    s.format = TT_RECORD_FORMAT + 1;
    n = tt_record_encode_segment(memory, 5, 77, TT_CHUNK_BYTES, 66, &s);
    cr_assert_eq(tt_record_read(tt_bytes(memory, n), &r), TT_EVERSION);
}

Test(record, pads_of_every_length)
{
    struct tt_record r;
    for (uint32_t n = TT_RECORD_PAD_BYTES_MIN; n <= 1024; n += 8) {
        cr_assert_eq(tt_record_encode_pad(memory, n), n);
        cr_assert_eq(tt_record_read(tt_bytes(memory, sizeof memory), &r), TT_OK);
        cr_assert_eq(r.class, TT_RECORD_PAD);
        cr_assert_eq(r.length, n);
    }
}

Test(record, what_was_never_written)
{
    struct tt_record r;
    memset(memory, 0, sizeof memory);
    cr_assert_eq(tt_record_read(tt_bytes(memory, 64), &r), TT_END);
    memory[5] = 1;
    cr_assert_eq(tt_record_read(tt_bytes(memory, 64), &r), TT_ECORRUPT);
}

/* At the end of a page, so that a look beyond the bytes given is a crash. */
Test(record, wants_more_at_every_cut_and_reads_nothing_beyond)
{
    uint8_t *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(pages, MAP_FAILED);
    cr_assert_eq(mprotect(pages + 4096, 4096, PROT_NONE), 0);
    uint32_t length = tt_record_encode_event(memory, &event, 1, &idempotency);
    for (uint32_t n = 0; n < length; n++) {
        struct tt_record r;
        uint8_t *at = pages + 4096 - n;
        if (n != 0) memcpy(at, memory, n);
        cr_assert_eq(tt_record_read(tt_bytes(at, n), &r), TT_MORE, "%u bytes", n);
        cr_assert_eq(r.length, n < 8 ? 0 : length);
    }
    munmap(pages, 8192);
}

Test(record, no_changed_bit_passes)
{
    uint32_t length = tt_record_encode_event(memory, &event, 1, &idempotency);
    for (uint32_t bit = 0; bit < length * 8; bit++) {
        struct tt_record r;
        memory[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum tt_status status = tt_record_read(tt_bytes(memory, length), &r);
        cr_assert(status == TT_ECORRUPT || status == TT_MORE, "bit %u: %d", bit, status);
        memory[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Sizes that do not add up, under a checksum that is right. */
Test(record, lying_sizes_are_refused)
{
    unsigned seed = 1;
    uint32_t length = tt_record_encode_event(memory, &event, 1, NULL);
    for (int i = 0; i < 20000; i++) {
        _Alignas(8) uint8_t copy[256];
        struct tt_record r;
        memcpy(copy, memory, length);
        size_t at = 32 + (size_t)rand_r(&seed) % 16;
        copy[at] = (uint8_t)rand_r(&seed);
        if (i % 3 == 0) memset(copy + 40, 0xFF, 4);
        uint32_t crc = tt_crc32c(0, copy + 8, length - 8);
        memcpy(copy + 4, &crc, 4);
        if (tt_record_read(tt_bytes(copy, length), &r) != TT_OK) continue;
        if (r.class != TT_RECORD_EVENT) continue;
        const uint8_t *end = r.event.payload.data + r.event.payload.size;
        cr_assert(end >= copy && end <= copy + length);
    }
}
