/* Faults of files: what a plan says, and that both back ends show exactly that. */
#include <fcntl.h>
#include <sys/stat.h>

#include "broker/startup_files.h"
#include "shard/io/faults.h"
#include "tests/unit/io_rig.h"

#define FILE_TOKEN tt_token(30, 1, 1)

struct faulty {
    struct rig rig;
    struct tt_faults *plan;
    char directory[64], path[128], other[128];
};

static void add(struct tt_faults *plan, const char *spec)
{
    char why[256] = "";
    cr_assert_eq(tt_faults_add(plan, spec, why, sizeof why), TT_OK, "%s: %s", spec, why);
}

static struct faulty faulty_of(enum tt_io_kind kind, const char *spec)
{
    struct faulty f = {.rig = rig_of(kind)};
    cr_assert_eq(tt_faults_create(&f.plan), TT_OK);
    if (spec != NULL) add(f.plan, spec);
    cr_assert_eq(tt_io_faults_wrap(f.rig.io, f.plan), TT_OK);
    (void)snprintf(f.directory, sizeof f.directory, "/tmp/tt-faults-XXXXXX");
    cr_assert_not_null(mkdtemp(f.directory));
    (void)snprintf(f.path, sizeof f.path, "%s/a.seg", f.directory);
    (void)snprintf(f.other, sizeof f.other, "%s/b", f.directory);
    return f;
}

static void faulty_end(struct faulty *f)
{
    rig_end(&f->rig);
    tt_faults_destroy(&f->plan);
    (void)unlink(f->path);
    (void)unlink(f->other);
    (void)rmdir(f->directory);
}

static int32_t result(struct faulty *f)
{
    return rig_wait(&f->rig, FILE_TOKEN).result;
}

static int32_t open_file(struct faulty *f)
{
    tt_io_open(f->rig.io, f->path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE, FILE_TOKEN);
    return result(f);
}

static int32_t write_file(struct faulty *f, tt_file file, const char *text)
{
    tt_io_write(f->rig.io, file, 0, text, strlen(text), FILE_TOKEN);
    return result(f);
}

static int32_t close_file(struct faulty *f, tt_file file)
{
    tt_io_file_close(f->rig.io, file, FILE_TOKEN);
    return result(f);
}

/* Every operation once, in this order: open, preallocate, write, sync, read, truncate, close,
 * rename, unlink. */
#define EVERY 9u
static void every(struct faulty *f, int32_t results[EVERY])
{
    struct tt_io *io = f->rig.io;
    char got[8];
    int32_t file = results[0] = open_file(f);
    if (file < 0) file = open_file(f);
    cr_assert_geq(file, 0);
    tt_io_preallocate(io, file, 0, 4096, FILE_TOKEN);
    results[1] = result(f);
    results[2] = write_file(f, file, "12345678");
    tt_io_sync(io, file, true, FILE_TOKEN);
    results[3] = result(f);
    tt_io_read(io, file, 0, got, sizeof got, FILE_TOKEN);
    results[4] = result(f);
    tt_io_truncate(io, file, 4, FILE_TOKEN);
    results[5] = result(f);
    results[6] = close_file(f, file);
    tt_io_rename(io, f->path, f->other, FILE_TOKEN);
    results[7] = result(f);
    tt_io_unlink(io, f->other, FILE_TOKEN);
    results[8] = result(f);
    (void)unlink(f->path);
    (void)unlink(f->other);
}

BOTH(each_operation_fails_with_each_error_and_nothing_is_left_open)
{
    static const struct {
        const char *name;
        enum tt_status status;
    } errors[] = {{"EIO", TT_EIO},      {"ENOSPC", TT_ENOSPC}, {"EDQUOT", TT_ENOSPC},
                  {"EROFS", TT_EACCES}, {"EACCES", TT_EACCES}, {"EMFILE", TT_ENOFILE}};
    for (unsigned e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (unsigned n = 0; n < EVERY; n++) {
            char spec[64];
            int32_t results[EVERY];
            (void)snprintf(spec, sizeof spec, "error=%s;n=%u", errors[e].name, n + 1);
            struct faulty f = faulty_of(kind, spec);
            int free_before = open("/dev/null", O_RDONLY | O_CLOEXEC);
            (void)close(free_before);
            every(&f, results);
            for (unsigned i = 0; i < EVERY; i++) {
                /* What was not renamed cannot be unlinked by its new name. */
                if (n == 7 && i == 8) continue;
                if (i == n)
                    cr_assert_eq(results[i], (int32_t)errors[e].status, "%s: %d", spec, results[i]);
                else
                    cr_assert_geq(results[i], 0, "%s, operation %u: %d", spec, i, results[i]);
            }
            int free_after = open("/dev/null", O_RDONLY | O_CLOEXEC);
            (void)close(free_after);
            cr_assert_eq(free_after, free_before, "%s: a descriptor is still open", spec);
            cr_assert_eq(tt_faults_figures(f.plan, 0).struck, 1);
            cr_assert_eq(tt_faults_figures(f.plan, 0).matched, n == 0 ? EVERY + 1 : EVERY);
            faulty_end(&f);
        }
    }
}

BOTH(what_is_interrupted_is_done_again_inside)
{
    struct faulty f = faulty_of(kind, "error=EINTR;times=forever");
    int32_t results[EVERY];
    every(&f, results);
    for (unsigned i = 0; i < EVERY; i++) cr_assert_geq(results[i], 0, "operation %u", i);
    cr_assert_eq(results[2], 8);
    cr_assert_eq(results[4], 8);
    cr_assert_eq(tt_faults_figures(f.plan, 0).struck, EVERY);
    faulty_end(&f);
}

BOTH(short_transfers_do_a_part_and_say_so)
{
    struct faulty f = faulty_of(kind, "error=short;kind=read|write;times=forever");
    int32_t results[EVERY];
    every(&f, results);
    cr_assert_eq(results[2], 3);
    cr_assert_eq(results[4], 3);
    faulty_end(&f);
}

BOTH(a_slow_operation_holds_up_no_other_and_is_done_in_the_end)
{
    struct faulty f = faulty_of(kind, "delay_ms=50;kind=open|rename");
    uint64_t before = tt_io_now_ns(f.rig.io);
    tt_io_open(f.rig.io, f.path, TT_OPEN_WRITE | TT_OPEN_CREATE, FILE_TOKEN);
    tt_io_unlink(f.rig.io, f.other, FILE_TOKEN + 1);
    cr_assert_eq(rig_wait(&f.rig, FILE_TOKEN + 1).result, TT_ENOENT);
    cr_assert_eq(rig_count(&f.rig, FILE_TOKEN), 0);
    int32_t file = result(&f);
    cr_assert_geq(file, 0);
    cr_assert_geq(tt_io_now_ns(f.rig.io) - before, UINT64_C(50000000));
    cr_assert_eq(close_file(&f, file), 0);
    faulty_end(&f);
}

BOTH(a_rule_is_for_a_kind_a_path_and_the_time_that_a_file_exists)
{
    struct faulty f = faulty_of(kind, NULL);
    char spec[256];
    (void)snprintf(spec, sizeof spec, "error=EIO;kind=write|sync;path=*.seg;times=forever;while=%s",
                   f.other);
    add(f.plan, spec);
    add(f.plan, "error=ENOSPC;kind=write;path=*.val;times=forever");
    int32_t file = open_file(&f);
    cr_assert_geq(file, 0);
    cr_assert_eq(write_file(&f, file, "abc"), 3);
    FILE *made = fopen(f.other, "w");
    cr_assert_not_null(made);
    (void)fclose(made);
    cr_assert_eq(write_file(&f, file, "abc"), TT_EIO);
    tt_io_sync(f.rig.io, file, false, FILE_TOKEN);
    cr_assert_eq(result(&f), TT_EIO);
    cr_assert_eq(unlink(f.other), 0);
    cr_assert_eq(write_file(&f, file, "abc"), 3);
    cr_assert_eq(close_file(&f, file), 0);
    cr_assert_eq(tt_faults_figures(f.plan, 0).matched, 4);
    cr_assert_eq(tt_faults_figures(f.plan, 0).struck, 2);
    cr_assert_eq(tt_faults_figures(f.plan, 1).matched, 0);
    faulty_end(&f);
}

Test(faults, a_rule_that_cannot_be_read_says_what_is_allowed)
{
    static const char *const wrong[][2] = {
        {"error=EPERM", "EIO, ENOSPC"},     {"error=EIO;n=0", "1 and more"},
        {"error=EIO;n=x", "1 and more"},    {"n=1", "either error= or delay_ms="},
        {"error=EIO;delay_ms=5", "either"}, {"delay_ms=0", "60000"},
        {"delay_ms=60001", "60000"},        {"error=EIO;kind=seek", "preallocate"},
        {"error=EIO;kind=", "preallocate"}, {"error=EIO;times=0", "forever"},
        {"error=EIO;path=", "empty"},       {"error=EIO;size=3", "no such key"},
        {"EIO", "not key=value"},           {"", "either"},
    };
    struct tt_faults *plan;
    cr_assert_eq(tt_faults_create(&plan), TT_OK);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char why[256] = "";
        cr_assert_eq(tt_faults_add(plan, wrong[i][0], why, sizeof why), TT_EINVAL, "%s",
                     wrong[i][0]);
        cr_assert_not_null(strstr(why, wrong[i][1]), "%s: %s", wrong[i][0], why);
    }
    cr_assert_eq(tt_faults_count(plan), 0);
    for (unsigned i = 0; i < TT_FAULT_RULES_MAX; i++) add(plan, "error=EIO;n=18446744073709551615");
    char why[256] = "";
    cr_assert_eq(tt_faults_add(plan, "error=EIO", why, sizeof why), TT_EINVAL);
    cr_assert_not_null(strstr(why, "16"));
    tt_faults_destroy(&plan);
}

/* The blocking files of the start, through the same plan. */
static void use_startup_files(const struct tt_files *files, const char *path,
                              enum tt_status expected)
{
    int32_t file;
    char got[8] = "";
    size_t done = 0;
    enum tt_status status = files->open(files->context, path, TT_FILES_CREATE, &file);
    if (status == TT_OK) {
        status = files->write(files->context, file, 0, "12345678", 8);
        if (status == TT_OK) status = files->read(files->context, file, 0, got, 8, &done);
        if (status == TT_OK) status = files->sync(files->context, file);
        if (status == TT_OK) status = files->truncate(files->context, file, 8);
        files->close(files->context, file);
    }
    cr_assert_eq(status, expected, "%d", (int)status);
    if (expected != TT_OK) return;
    cr_assert_eq(done, 8);
    cr_assert_eq(memcmp(got, "12345678", 8), 0);
}

Test(faults, files_of_the_start_fail_but_hide_interrupts_and_short_transfers)
{
    char path[] = "/tmp/tt-faults-XXXXXX";
    int made = mkstemp(path);
    cr_assert_geq(made, 0);
    (void)close(made);
    static const struct {
        const char *spec;
        enum tt_status expected;
    } cases[] = {{"error=short;times=5", TT_OK},  {"error=EINTR;times=9", TT_OK},
                 {"error=EINTR;n=2", TT_OK},      {"error=EIO;n=1", TT_EIO},
                 {"error=ENOSPC;n=2", TT_ENOSPC}, {"error=EDQUOT;n=4", TT_ENOSPC},
                 {"error=EIO;kind=read", TT_EIO}, {"error=EROFS;kind=truncate", TT_EACCES},
                 {"error=EIO;kind=close", TT_OK}, {"delay_ms=1;times=forever", TT_OK}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_faults *plan;
        cr_assert_eq(tt_faults_create(&plan), TT_OK);
        add(plan, cases[i].spec);
        const struct tt_files files = tt_startup_files(plan);
        use_startup_files(&files, path, cases[i].expected);
        cr_assert_geq(tt_faults_figures(plan, 0).struck, 1, "%s", cases[i].spec);
        tt_faults_destroy(&plan);
    }
    cr_assert_eq(unlink(path), 0);
}
