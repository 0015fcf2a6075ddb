#include "tools/ttload/sequence.h"

#include "proto/base/assert.h"

enum tt_sequence_verdict tt_sequence_take(struct tt_sequence *s, uint32_t seq)
{
    TT_ASSERT(seq != 0);
    if (seq > s->last_) {
        uint32_t ahead = seq - s->last_;
        s->seen_ = ahead < 64 ? s->seen_ << ahead | 1 : 1;
        s->last_ = seq;
        return ahead == 1 ? TT_SEQUENCE_NEXT : TT_SEQUENCE_GAP;
    }
    uint32_t behind = s->last_ - seq;
    if (behind >= 64 || (s->seen_ >> behind & 1) != 0) return TT_SEQUENCE_DOUBLED;
    s->seen_ |= UINT64_C(1) << behind;
    return TT_SEQUENCE_LATE;
}
