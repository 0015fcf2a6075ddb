#include "proto/event/cursor.h"

#include "proto/base/assert.h"

#define FULL_MARK      '~'
#define FULL_VERSION   1u
#define PACKED_MAX     ((TT_CURSOR_BYTES_MAX - 1) / 4 * 3 + 3)
#define WIDTH_MAX      8u
#define VARINT_MAX     9u /* bytes of a 63-bit value */
#define VARINT_N_MAX   2u /* bytes of TT_PARTITIONS_MAX */
#define TOPIC_HEAD_MAX (TT_HISTORY_BYTES + VARINT_N_MAX + VARINT_MAX + 1)

_Static_assert(TT_PARTITIONS_MAX < 1u << 14, "N takes at most two bytes of a varint");
_Static_assert(TT_CURSOR_NEXT_MAX >= TT_PARTITIONS_MAX, "one topic always fits");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void tt_cursor_init(struct tt_cursor *cursor, struct tt_cursor_storage *storage)
{
    *cursor = (struct tt_cursor){
        .topics = storage->topics,
        .topics_max = TT_CURSOR_TOPICS_MAX,
        .next = storage->next,
        .next_max = TT_CURSOR_NEXT_MAX,
    };
}

static struct tt_cursor_topic *find(const struct tt_cursor *cursor, struct tt_history history)
{
    for (uint32_t i = 0; i < cursor->topics_count; i++) {
        if (tt_history_equal(cursor->topics[i].history, history)) return &cursor->topics[i];
    }
    return NULL;
}

const struct tt_cursor_topic *tt_cursor_find(const struct tt_cursor *cursor,
                                             struct tt_history history)
{
    return find(cursor, history);
}

uint64_t tt_cursor_next(const struct tt_cursor *cursor, const struct tt_cursor_topic *topic,
                        uint32_t partition)
{
    if (partition < topic->count) return cursor->next[topic->first + partition];
    return topic->bare ? TT_CURSOR_UNKNOWN : TT_CURSOR_BEGINNING;
}

uint64_t *tt_cursor_add(struct tt_cursor *cursor, struct tt_history history, uint32_t partitions)
{
    TT_ASSERT(find(cursor, history) == NULL);
    if (partitions > TT_PARTITIONS_MAX || cursor->topics_count == cursor->topics_max ||
        partitions > cursor->next_max - cursor->next_count) {
        return NULL;
    }
    uint64_t *next = cursor->next + cursor->next_count;
    for (uint32_t i = 0; i < partitions; i++) next[i] = TT_CURSOR_UNKNOWN;
    cursor->topics[cursor->topics_count++] = (struct tt_cursor_topic){
        .history = history,
        .partitions = partitions,
        .first = cursor->next_count,
        .count = partitions,
    };
    cursor->next_count += partitions;
    return next;
}

/* ---- reading ---- */

/* Makes room in next[] for partitions up to `count` of a topic, moving the topics behind it. */
static bool widen(struct tt_cursor *cursor, struct tt_cursor_topic *topic, uint32_t count)
{
    if (count <= topic->count) return true;
    uint32_t more = count - topic->count;
    if (more > cursor->next_max - cursor->next_count) return false;
    uint32_t end = topic->first + topic->count;
    memmove(cursor->next + end + more, cursor->next + end,
            (cursor->next_count - end) * sizeof(*cursor->next));
    for (uint32_t i = 0; i < more; i++) {
        cursor->next[end + i] = topic->bare ? TT_CURSOR_UNKNOWN : TT_CURSOR_BEGINNING;
    }
    topic->count = count;
    cursor->next_count += more;
    for (struct tt_cursor_topic *t = topic + 1; t < cursor->topics + cursor->topics_count; t++) {
        t->first += more;
    }
    return true;
}

/* One id, with or without `/N`. `leading`: the first of the list, whose N counts. */
static enum tt_status read_id(struct tt_bytes text, struct tt_cursor *cursor, bool leading)
{
    struct tt_position position;
    uint64_t partitions = 0;
    struct tt_bytes id = text;
    const uint8_t *slash = text.size == 0 ? NULL : memchr(text.data, '/', text.size);

    if (slash != NULL) {
        id.size = (size_t)(slash - text.data);
        struct tt_bytes n = tt_bytes_from(text, id.size + 1);
        if (n.size != 0 && n.data[0] == '0') return TT_EINVAL;
        if (tt_bytes_to_u64(n, TT_PARTITIONS_MAX, &partitions) != TT_OK) return TT_EINVAL;
    }
    if (tt_position_parse(id, &position) != TT_OK) return TT_EINVAL;
    if (slash != NULL && position.partition >= partitions) return TT_EINVAL;

    struct tt_cursor_topic *topic = find(cursor, position.history);
    if (topic == NULL) {
        uint32_t n = leading ? (uint32_t)partitions : 0;
        if (tt_cursor_add(cursor, position.history, n) == NULL) return TT_EINVAL;
        topic = &cursor->topics[cursor->topics_count - 1];
        /* A topic that a full cursor does not have is newer than it, as a partition would be. */
        topic->bare = n == 0 && !cursor->full;
    }
    if (!widen(cursor, topic, position.partition + 1)) return TT_EINVAL;
    uint64_t *next = &cursor->next[topic->first + position.partition];
    bool known = *next != TT_CURSOR_UNKNOWN && *next != TT_CURSOR_BEGINNING;
    if (!known || *next <= position.offset) *next = position.offset + 1;
    return TT_OK;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '-') return 62;
    return c == '_' ? 63 : -1;
}

/* RFC 4648 section 5 without padding; bits left over must be zero (section 3.5). */
static enum tt_status unpack(struct tt_bytes text, struct tt_writer *packed)
{
    uint32_t bits = 0;
    unsigned held = 0;

    if (text.size % 4 == 1) return TT_EINVAL;
    for (size_t i = 0; i < text.size; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0) return TT_EINVAL;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            tt_write_char(packed, (char)(bits >> held & 0xFF));
            bits &= (1u << held) - 1;
        }
    }
    return bits != 0 || packed->overflow ? TT_EINVAL : TT_OK;
}

/* A LEB128 number in its shortest form, at most `max`. */
static enum tt_status read_varint(struct tt_bytes *in, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < VARINT_MAX; i++) {
        if (i == in->size) return TT_EINVAL;
        uint8_t byte = in->data[i];
        v |= (uint64_t)(byte & 0x7F) << (7 * i);
        if ((byte & 0x80) != 0) continue;
        if (byte == 0 && i != 0) return TT_EINVAL;
        if (v > max) return TT_EINVAL;
        *in = tt_bytes_from(*in, i + 1);
        *value = v;
        return TT_OK;
    }
    return TT_EINVAL;
}

static unsigned width_of(uint64_t difference)
{
    unsigned width = 0;

    for (; difference != 0; difference >>= 8) width++;
    return width;
}

/* The next offsets of one topic; they must be what write_topic() would write. */
static enum tt_status read_differences(struct tt_bytes *in, uint64_t *next, uint64_t n)
{
    uint64_t minimum = 0;
    uint64_t largest = 0;
    bool touches_minimum = n == 0;

    if (read_varint(in, TT_NEXT_MAX, &minimum) != TT_OK || in->size == 0) return TT_EINVAL;
    unsigned width = in->data[0];
    *in = tt_bytes_from(*in, 1);
    if (width > WIDTH_MAX || in->size < n * width || (n == 0 && minimum != 0)) return TT_EINVAL;
    for (uint64_t p = 0; p < n; p++) {
        uint64_t difference = 0;
        for (unsigned i = 0; i < width; i++) difference = difference << 8 | in->data[p * width + i];
        if (difference > TT_NEXT_MAX - minimum) return TT_EINVAL;
        if (difference == 0) touches_minimum = true;
        if (difference > largest) largest = difference;
        next[p] = minimum + difference;
    }
    if (!touches_minimum || width != width_of(largest)) return TT_EINVAL;
    *in = tt_bytes_from(*in, n * width);
    return TT_OK;
}

static enum tt_status read_full(struct tt_bytes text, struct tt_cursor *cursor)
{
    uint8_t bytes[PACKED_MAX];
    struct tt_writer packed = tt_writer(bytes, sizeof(bytes));

    if (unpack(tt_bytes_from(text, 1), &packed) != TT_OK) return TT_EINVAL;
    struct tt_bytes in = tt_writer_bytes(&packed);
    if (in.size == 0 || in.data[0] != FULL_VERSION) return TT_EINVAL;
    in = tt_bytes_from(in, 1);
    while (in.size != 0) {
        struct tt_history history;
        uint64_t n = 0;
        if (in.size < TT_HISTORY_BYTES ||
            tt_history_parse(tt_bytes(in.data, TT_HISTORY_BYTES), &history) != TT_OK) {
            return TT_EINVAL;
        }
        in = tt_bytes_from(in, TT_HISTORY_BYTES);
        if (read_varint(&in, TT_PARTITIONS_MAX, &n) != TT_OK) return TT_EINVAL;
        if (find(cursor, history) != NULL) return TT_EINVAL;
        uint64_t *next = tt_cursor_add(cursor, history, (uint32_t)n);
        if (next == NULL || read_differences(&in, next, n) != TT_OK) return TT_EINVAL;
    }
    cursor->full = true;
    return TT_OK;
}

static void clear(struct tt_cursor *cursor)
{
    cursor->topics_count = 0;
    cursor->next_count = 0;
    cursor->full = false;
}

/* The element up to the next comma; *rest is what stands behind it, *more whether there is one. */
static struct tt_bytes element(struct tt_bytes *rest, bool *more)
{
    const uint8_t *comma = rest->size == 0 ? NULL : memchr(rest->data, ',', rest->size);
    struct tt_bytes first = *rest;

    *more = comma != NULL;
    if (comma != NULL) {
        first.size = (size_t)(comma - rest->data);
        *rest = tt_bytes_from(*rest, first.size + 1);
    }
    return first;
}

enum tt_status tt_cursor_parse(struct tt_bytes text, struct tt_cursor *cursor)
{
    bool more;

    clear(cursor);
    if (text.size == 0 || text.size > TT_CURSOR_LIST_BYTES_MAX) return TT_EINVAL;
    struct tt_bytes first = element(&text, &more);
    if (first.size == 0 || first.size > TT_CURSOR_BYTES_MAX) return TT_EINVAL;
    enum tt_status status =
        first.data[0] == FULL_MARK ? read_full(first, cursor) : read_id(first, cursor, true);
    while (status == TT_OK && more) status = read_id(element(&text, &more), cursor, false);
    if (status != TT_OK) clear(cursor);
    return status;
}

/* ---- writing ---- */

void tt_cursor_write_narrow(struct tt_writer *w, const struct tt_position *position,
                            uint32_t partitions)
{
    TT_ASSERT(partitions == 0 || position->partition < partitions);
    tt_position_write(w, position);
    tt_cursor_write_partitions(w, partitions);
}

void tt_cursor_write_partitions(struct tt_writer *w, uint32_t partitions)
{
    if (partitions == 0) return;
    tt_write_char(w, '/');
    tt_write_u64(w, partitions);
}

size_t tt_cursor_narrow_bytes(const struct tt_position *position, uint32_t partitions)
{
    return tt_position_text_bytes(position) + (partitions == 0 ? 0 : 1 + tt_digits_u64(partitions));
}

/* Base64url as it goes: up to two bytes wait for the third. */
struct packer {
    struct tt_writer *w;
    uint32_t bits;
    unsigned held;
};

static void pack_byte(struct packer *p, uint8_t byte)
{
    p->bits = p->bits << 8 | byte;
    if (++p->held < 3) return;
    for (int shift = 18; shift >= 0; shift -= 6) {
        tt_write_char(p->w, alphabet[p->bits >> shift & 63]);
    }
    p->bits = 0;
    p->held = 0;
}

static void pack_end(struct packer *p)
{
    if (p->held == 0) return;
    uint32_t bits = p->bits << (24 - 8 * p->held);
    for (unsigned i = 0; i <= p->held; i++) {
        tt_write_char(p->w, alphabet[bits >> (18 - 6 * i) & 63]);
    }
}

static void pack_varint(struct packer *p, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) pack_byte(p, (uint8_t)(value | 0x80));
    pack_byte(p, (uint8_t)value);
}

static size_t varint_bytes(uint64_t value)
{
    size_t size = 1;

    for (; value >= 0x80; value >>= 7) size++;
    return size;
}

struct range {
    uint64_t minimum;
    unsigned width;
};

static struct range range_of(const struct tt_cursor *cursor, const struct tt_cursor_topic *topic)
{
    const uint64_t *next = cursor->next + topic->first;
    uint64_t minimum = UINT64_MAX;
    uint64_t maximum = 0;

    if (topic->count == 0) return (struct range){0, 0};
    for (uint32_t p = 0; p < topic->count; p++) {
        TT_ASSERT(next[p] <= TT_NEXT_MAX);
        if (next[p] < minimum) minimum = next[p];
        if (next[p] > maximum) maximum = next[p];
    }
    return (struct range){minimum, width_of(maximum - minimum)};
}

void tt_cursor_write_full(struct tt_writer *w, const struct tt_cursor *cursor)
{
    struct packer packer = {w, 0, 0};

    tt_write_char(w, FULL_MARK);
    pack_byte(&packer, FULL_VERSION);
    for (uint32_t i = 0; i < cursor->topics_count; i++) {
        const struct tt_cursor_topic *topic = &cursor->topics[i];
        const uint64_t *next = cursor->next + topic->first;
        struct range range = range_of(cursor, topic);
        for (unsigned c = 0; c < TT_HISTORY_BYTES; c++) {
            pack_byte(&packer, (uint8_t)topic->history.text[c]);
        }
        pack_varint(&packer, topic->count);
        pack_varint(&packer, range.minimum);
        pack_byte(&packer, (uint8_t)range.width);
        for (uint32_t p = 0; p < topic->count; p++) {
            for (unsigned b = range.width; b-- != 0;) {
                pack_byte(&packer, (uint8_t)((next[p] - range.minimum) >> (8 * b)));
            }
        }
    }
    pack_end(&packer);
}

/* The mark and base64url of so many bytes, unpadded. */
static size_t text_bytes(size_t packed)
{
    return 1 + packed / 3 * 4 + (packed % 3 == 0 ? 0 : packed % 3 + 1);
}

size_t tt_cursor_full_bytes(const struct tt_cursor *cursor)
{
    size_t packed = 1;

    for (uint32_t i = 0; i < cursor->topics_count; i++) {
        const struct tt_cursor_topic *topic = &cursor->topics[i];
        struct range range = range_of(cursor, topic);
        packed += TT_HISTORY_BYTES + varint_bytes(topic->count) + varint_bytes(range.minimum) + 1 +
                  (size_t)topic->count * range.width;
    }
    return text_bytes(packed);
}

size_t tt_cursor_full_bytes_max(const uint32_t *partitions, uint32_t topics)
{
    size_t packed = 1;

    for (uint32_t i = 0; i < topics; i++) {
        packed += TOPIC_HEAD_MAX + (size_t)partitions[i] * WIDTH_MAX;
    }
    return text_bytes(packed);
}
