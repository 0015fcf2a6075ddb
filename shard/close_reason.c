#include "shard/close_reason.h"

#include "proto/base/assert.h"

static const char *const texts[TT_CLOSE_REASONS] = {
#define TT_CLOSE_REASON(name, text, is_error) [TT_CLOSE_##name] = (text),
#include "shard/close_reason.def"
#undef TT_CLOSE_REASON
};

const char *tt_close_reason_text(enum tt_close_reason reason)
{
    TT_ASSERT(reason < TT_CLOSE_REASONS);
    return texts[reason];
}
