#include "proto/event/patterns.h"

#include <stdlib.h>

static int in_order(const void *a, const void *b)
{
    const struct tt_pattern *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->text.size != y->text.size) return x->text.size < y->text.size ? -1 : 1;
    return x->text.size == 0 ? 0 : memcmp(x->text.data, y->text.data, x->text.size);
}

static bool has(const struct tt_pattern *patterns, uint32_t count, enum tt_pattern_kind kind,
                struct tt_bytes text)
{
    struct tt_pattern wanted = {kind, text};
    return count != 0 && bsearch(&wanted, patterns, count, sizeof wanted, in_order) != NULL;
}

/* A prefix among these that the text begins with, of at most `size` bytes? */
static bool has_prefix(const struct tt_pattern *patterns, uint32_t count, struct tt_bytes text,
                       size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text.data[i] == '.' &&
            has(patterns, count, TT_PATTERN_PREFIX, tt_bytes(text.data, i + 1)))
            return true;
    return false;
}

uint32_t tt_patterns_reduce(struct tt_pattern *patterns, uint32_t count)
{
    if (count == 0) return 0;
    qsort(patterns, count, sizeof *patterns, in_order);
    if (patterns[count - 1].kind == TT_PATTERN_ALL) {
        patterns[0] = patterns[count - 1];
        return 1;
    }
    uint32_t exact = 0;
    while (exact < count && patterns[exact].kind == TT_PATTERN_EXACT) exact++;
    /* Shorter ones come first: what covers a prefix has been kept, or something that covers it. */
    struct tt_pattern *prefixes = patterns + exact;
    uint32_t wide = 0;
    for (uint32_t i = 0; i < count - exact; i++) {
        struct tt_bytes text = prefixes[i].text;
        if (!has_prefix(prefixes, wide, text, text.size)) prefixes[wide++] = prefixes[i];
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < exact; i++) {
        struct tt_bytes text = patterns[i].text;
        bool again = kept != 0 && tt_bytes_equal(patterns[kept - 1].text, text);
        if (!again && !has_prefix(prefixes, wide, text, text.size)) patterns[kept++] = patterns[i];
    }
    memmove(patterns + kept, prefixes, wide * sizeof *prefixes);
    return kept + wide;
}

bool tt_patterns_cover(const struct tt_pattern *patterns, uint32_t count,
                       const struct tt_pattern *pattern)
{
    if (count != 0 && patterns[count - 1].kind == TT_PATTERN_ALL) return true;
    return has(patterns, count, pattern->kind, pattern->text) ||
           (pattern->kind != TT_PATTERN_ALL &&
            has_prefix(patterns, count, pattern->text, pattern->text.size));
}
