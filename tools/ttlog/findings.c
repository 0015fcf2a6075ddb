#include "tools/ttlog/findings.h"

#include <inttypes.h>
#include <stdio.h>

#include "tools/ttlog/check_internal.h"

static const char *const kinds[] = {
    [TT_FINDING_META_MISSING] = "meta_missing",
    [TT_FINDING_META] = "meta",
    [TT_FINDING_DIRECTORY] = "directory",
    [TT_FINDING_CEILING] = "ceiling",
    [TT_FINDING_FOREIGN] = "foreign",
    [TT_FINDING_RECORDS] = "records",
    [TT_FINDING_MISSING] = "missing",
    [TT_FINDING_VALUE] = "value",
    [TT_FINDING_BESIDE] = "beside",
    [TT_FINDING_TORN] = "torn",
    [TT_FINDING_UNREADABLE] = "unreadable",
    [TT_FINDING_REFUSED] = "refused",
};

static uint64_t lost(const struct tt_finding *f)
{
    return f->lost_end - f->lost_first;
}

void tt_findings_print(const struct tt_check *check)
{
    for (uint32_t i = 0; i < check->count; i++) {
        const struct tt_finding *f = &check->items[i];
        printf("%s: ", tt_finding_is_damage(f) ? "damage" : "unfinished write");
        if (f->path[0] != '\0') printf("%s: ", f->path);
        if (f->kind == TT_FINDING_RECORDS || f->kind == TT_FINDING_MISSING ||
            f->kind == TT_FINDING_VALUE || f->kind == TT_FINDING_TORN)
            printf("byte %" PRIu64 " (place %" PRIu64 "): ", f->byte, f->place);
        if (f->kind == TT_FINDING_BESIDE) printf("byte %" PRIu64 ": ", f->byte);
        printf("%s", f->what);
        if (f->end > f->place) printf("; %" PRIu64 " bytes are bad", f->end - f->place);
        if (lost(f) == 1)
            printf("; offset %" PRIu64 " is lost", f->lost_first);
        else if (lost(f) > 1)
            printf("; offsets %" PRIu64 " to %" PRIu64 " are lost", f->lost_first, f->lost_end - 1);
        if (f->kind == TT_FINDING_TORN) printf("; the next start cuts it off");
        if (f->behind != 0)
            printf(", with %" PRIu64 " whole events behind it (ttlog repair keeps them)",
                   f->behind);
        printf("\n");
    }
}

json_t *tt_findings_json(const struct tt_check *check)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < check->count; i++) {
        const struct tt_finding *f = &check->items[i];
        json_array_append_new(
            all, json_pack("{s:s, s:b, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "kind",
                           kinds[f->kind], "damage", tt_finding_is_damage(f), "partition",
                           f->partition == UINT32_MAX ? json_null() : json_integer(f->partition),
                           "file", f->path, "byte", (json_int_t)f->byte, "place",
                           (json_int_t)f->place, "bad_bytes", (json_int_t)(f->end - f->place),
                           "lost_first", (json_int_t)f->lost_first, "lost_count",
                           (json_int_t)lost(f), "what", f->what));
    }
    return all;
}

enum tt_status tt_findings_recovery(struct tt_check *check)
{
    char error[TT_RECOVERY_ERROR_BYTES] = "";
    if (tt_check_damaged(check) || tt_check_recovery(check->view, error) == TT_OK) return TT_OK;
    /* It begins with the path. */
    return tt_check_add(check, TT_FINDING_REFUSED, UINT32_MAX, "", 0, "%s", error) == NULL
               ? TT_ENOMEM
               : TT_OK;
}
