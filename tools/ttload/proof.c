#include "tools/ttload/proof.h"

#include "proto/base/assert.h"
#include "tools/ttload/plan.h"

/* tag: the channel in the low 17 bits, whether its last event came as the value of a snapshot, and
 * the hole that this event lies behind. */
static uint32_t channel_of(const struct tt_sequence *row)
{
    return row->tag % TT_PROOF_CHANNELS_MAX;
}

static bool behind_hole(const struct tt_sequence *row, const struct tt_proof_client *c)
{
    return row->tag / (2 * TT_PROOF_CHANNELS_MAX) != c->hole;
}

static void set_tag(struct tt_sequence *row, const struct tt_proof_client *c, bool value)
{
    row->tag = channel_of(row) | (value ? TT_PROOF_VALUE : 0) |
               (uint32_t)c->hole * (2 * TT_PROOF_CHANNELS_MAX);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void take_off(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

void tt_proof_client_init(const struct tt_proof *proof, struct tt_proof_client *c,
                          struct tt_sequence *rows, const uint32_t *channels, uint8_t flags)
{
    *c = (struct tt_proof_client){.rows = rows, .flags = flags};
    for (uint32_t i = 0; i < proof->per_client; i++) {
        TT_ASSERT(channels[i] < TT_PROOF_CHANNELS_MAX);
        rows[i].tag = channels[i];
    }
}

static struct tt_sequence *find(const struct tt_proof *proof, const struct tt_proof_client *c,
                                uint32_t channel)
{
    uint32_t low = 0;
    uint32_t high = proof->per_client;

    if (proof->all) return channel < high ? &c->rows[channel] : NULL;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (channel_of(&c->rows[middle]) < channel) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < proof->per_client && channel_of(&c->rows[low]) == channel ? &c->rows[low] : NULL;
}

/* All that lies behind `after`, up to and with `last`, is never a channel's value. */
static bool all_kept(const struct tt_proof *proof, uint32_t after, uint32_t last)
{
    return tt_plan_kept(proof->kept_every, after, last) == last - after;
}

/* The numbers between what was seen and `seq` are jumped over. */
static void jump(const struct tt_proof *proof, struct tt_proof_client *c,
                 const struct tt_sequence *row, uint32_t seq)
{
    struct tt_proof_counts *counts = proof->counts;
    uint32_t n = seq - 1 - row->last_;

    /* A value has events behind it that are no values: the hole reached to the snapshot. */
    bool of_snapshot = (row->tag & TT_PROOF_VALUE) && all_kept(proof, row->last_, seq - 1);
    if (behind_hole(row, c) || of_snapshot) {
        add(&counts->told, n);
    } else if (c->flags & TT_PROOF_CONFLATES) {
        add(&counts->conflated, n);
        add(&counts->kept_lost, tt_plan_kept(proof->kept_every, row->last_, seq - 1));
        c->missing += n;
    } else {
        add(&counts->gaps, 1);
        add(&counts->missing, n);
        c->missing += n;
    }
}

enum tt_proof_verdict tt_proof_take(const struct tt_proof *proof, struct tt_proof_client *c,
                                    uint32_t channel, uint32_t seq, bool has_id)
{
    struct tt_proof_counts *counts = proof->counts;
    struct tt_sequence *row = find(proof, c, channel);

    if (row == NULL) return TT_PROOF_NOT_FOLLOWED;
    if (!has_id && (c->flags & TT_PROOF_SNAPSHOT) == 0) return TT_PROOF_NO_ID;
    if (seq > row->last_) {
        if (seq - row->last_ > 1) jump(proof, c, row, seq);
        set_tag(row, c, !has_id);
    } else if ((c->flags & TT_PROOF_REWOUND) || (!has_id && all_kept(proof, seq, row->last_))) {
        if (!has_id) set_tag(row, c, true);
        add(&counts->again, 1);
        return TT_PROOF_KNOWN;
    }
    switch (tt_sequence_take(row, seq)) {
    case TT_SEQUENCE_DOUBLED: add(&counts->doubled, 1); return TT_PROOF_KNOWN;
    case TT_SEQUENCE_LATE:
        add(&counts->reordered, 1);
        if (c->missing != 0) {
            c->missing--;
            if ((c->flags & TT_PROOF_CONFLATES) == 0) take_off(&counts->missing, 1);
        }
        break;
    case TT_SEQUENCE_GAP:
    case TT_SEQUENCE_NEXT: break;
    }
    add(&counts->delivered, 1);
    return TT_PROOF_NEW;
}

/* ---- notices ---- */
/* The text behind "name": up to the next quote, comma or brace. Made for the broker's own form. */
static struct tt_bytes member(struct tt_bytes data, const char *name)
{
    struct tt_bytes key = tt_bytes_text(name);
    const uint8_t *at = data.size == 0 ? NULL : memmem(data.data, data.size, key.data, key.size);
    if (at == NULL) return TT_BYTES_NONE;
    struct tt_bytes value = tt_bytes_from(data, (size_t)(at - data.data) + key.size);
    size_t size = 0;
    while (size < value.size && strchr("\",}", value.data[size]) == NULL) size++;
    return tt_bytes(value.data, size);
}

static void hole(struct tt_proof_client *c)
{
    c->hole = (uint16_t)((c->hole + 1u) % TT_PROOF_HOLES);
}

static const char *take_gap(const struct tt_proof *proof, struct tt_proof_client *c,
                            struct tt_bytes data)
{
    struct tt_bytes reason = member(data, "\"reason\":\"");
    uint64_t skipped = 0;

    if (tt_bytes_is(reason, "conflated")) {
        if ((c->flags & TT_PROOF_CONFLATES) == 0) {
            return "a gap of conflation for a client that does not conflate";
        }
        if (tt_bytes_to_u64(member(data, "\"skipped\":"), UINT32_MAX, &skipped) != TT_OK) {
            return "a gap of conflation without a count";
        }
        c->skipped += (uint32_t)skipped;
        add(&proof->counts->skipped, skipped);
    } else if (tt_bytes_is(reason, "lag")) {
        if ((c->flags & TT_PROOF_MAX_LAG) == 0) {
            return "a gap of lag for a client that did not ask for max_lag";
        }
        hole(c);
        c->flags |= TT_PROOF_SNAPSHOT;
        c->flags &= (uint8_t)~TT_PROOF_LOSS_TOLD;
    } else if (tt_bytes_is(reason, "crash")) {
        hole(c);
        add(&proof->counts->losses_told, 1);
        /* A conflating client gets a snapshot after it. */
        c->flags |= TT_PROOF_LOSS_TOLD;
        if (c->flags & TT_PROOF_CONFLATES) c->flags |= TT_PROOF_SNAPSHOT;
    } else {
        return "a gap whose reason is not lag, conflated or crash";
    }
    return NULL;
}

const char *tt_proof_notice(const struct tt_proof *proof, struct tt_proof_client *c,
                            struct tt_bytes type, struct tt_bytes data)
{
    if (tt_bytes_is(type, "snapshot-end")) {
        if ((c->flags & TT_PROOF_SNAPSHOT) == 0) return "snapshot-end without a snapshot";
        c->flags &= (uint8_t)~TT_PROOF_SNAPSHOT;
        return NULL;
    }
    add(&proof->counts->notices, 1);
    if (tt_bytes_is(type, "gap")) return take_gap(proof, c, data);
    TT_ASSERT(tt_bytes_is(type, "resync"));
    hole(c);
    add(&proof->counts->losses_told, 1);
    c->flags |= TT_PROOF_LOSS_TOLD;
    return NULL;
}

void tt_proof_cut(struct tt_proof_client *c)
{
    if (c->flags & TT_PROOF_SNAPSHOT) c->flags |= TT_PROOF_REWOUND;
    c->flags &= (uint8_t)~TT_PROOF_SNAPSHOT;
    c->flags |= TT_PROOF_CUT;
}

/* ---- the end ---- */
/* How many numbers of a row are missing behind the last that came and not told of. */
static uint32_t tail_of(const struct tt_proof *proof, const struct tt_proof_client *c,
                        const struct tt_sequence *row, const uint32_t *published)
{
    uint32_t last = published[channel_of(row)];
    if (last <= row->last_) return 0;
    if (c->hole != 0) {
        if (behind_hole(row, c) && (c->flags & TT_PROOF_LOSS_TOLD)) return 0;
        /* A snapshot gives values, and these are not among them. */
        bool of_snapshot = behind_hole(row, c) || (row->tag & TT_PROOF_VALUE);
        if (of_snapshot && all_kept(proof, row->last_, last)) return 0;
    }
    return last - row->last_;
}

uint32_t tt_proof_behind(const struct tt_proof *proof, const struct tt_proof_client *c,
                         const uint32_t *published)
{
    uint32_t behind = 0;
    for (uint32_t i = 0; i < proof->per_client; i++) {
        behind += tail_of(proof, c, &c->rows[i], published) != 0 ? 1 : 0;
    }
    return behind;
}

static void check_counts(const struct tt_proof_client *c, uint32_t client, struct tt_proof_end *end)
{
    if (c->flags & (TT_PROOF_MAX_RATE | TT_PROOF_CUT) || c->hole != 0) return;
    if (c->skipped == c->missing) return;
    if (end->miscounted++ != 0) return;
    end->miscounted_client = client;
    end->miscounted_told = c->skipped;
    end->miscounted_missed = c->missing;
}

void tt_proof_finish(const struct tt_proof *proof, const struct tt_proof_client *c, uint32_t client,
                     const uint32_t *published, struct tt_proof_end *end)
{
    bool conflates = (c->flags & TT_PROOF_CONFLATES) != 0;

    for (uint32_t i = 0; i < proof->per_client; i++) {
        const struct tt_sequence *row = &c->rows[i];
        uint32_t tail = tail_of(proof, c, row, published);
        uint32_t last = published[channel_of(row)];
        if (row->last_ > last) end->unknown += row->last_ - last;
        if (conflates && tail != 0) end->stale++;
        if (!conflates) end->lost += tail;
    }
    if (conflates) check_counts(c, client, end);
    if (!conflates) end->lost += c->missing;
}
