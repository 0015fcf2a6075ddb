/* The conformance suite of the io, files: each test runs on every back end. */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/unit/io_rig.h"

#define FILE_TOKEN tt_token(30, 1, 1)

struct place {
    char directory[64];
    char path[128];
    char other[128];
};

static struct place place_make(void)
{
    struct place p;
    (void)snprintf(p.directory, sizeof p.directory, "/tmp/tt-files-XXXXXX");
    cr_assert_not_null(mkdtemp(p.directory));
    (void)snprintf(p.path, sizeof p.path, "%s/a", p.directory);
    (void)snprintf(p.other, sizeof p.other, "%s/b", p.directory);
    return p;
}

static void place_end(const struct place *p)
{
    (void)unlink(p->path);
    (void)unlink(p->other);
    (void)rmdir(p->directory);
}

static int32_t open_file(struct rig *r, const char *path, uint32_t flags)
{
    char copy[PATH_MAX + 8];
    (void)snprintf(copy, sizeof copy, "%s", path);
    tt_io_open(r->io, copy, flags, FILE_TOKEN);
    memset(copy, 'x', sizeof copy); /* the path was copied */
    return rig_wait(r, FILE_TOKEN).result;
}

static int32_t write_file(struct rig *r, tt_file file, uint64_t offset, const void *data,
                          size_t size)
{
    tt_io_write(r->io, file, offset, data, size, FILE_TOKEN);
    return rig_wait(r, FILE_TOKEN).result;
}

static int32_t read_file(struct rig *r, tt_file file, uint64_t offset, void *data, size_t size)
{
    tt_io_read(r->io, file, offset, data, size, FILE_TOKEN);
    return rig_wait(r, FILE_TOKEN).result;
}

static int32_t close_file(struct rig *r, tt_file file)
{
    tt_io_file_close(r->io, file, FILE_TOKEN);
    return rig_wait(r, FILE_TOKEN).result;
}

BOTH(a_file_is_created_written_synced_and_read_back)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_geq(f, 0);
    cr_assert_eq(write_file(&r, f, 4, "data", 4), 4);
    cr_assert_eq(write_file(&r, f, 0, "some", 4), 4);
    tt_io_sync(r.io, f, true, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    tt_io_sync(r.io, f, false, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    char got[16] = {0};
    cr_assert_eq(read_file(&r, f, 0, got, sizeof got), 8); /* short at the end */
    cr_assert_str_eq(got, "somedata");
    cr_assert_eq(read_file(&r, f, 8, got, sizeof got), 0); /* at the end */
    cr_assert_eq(close_file(&r, f), 0);
    struct stat st;
    cr_assert_eq(stat(p.path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0640 & ~022);
    place_end(&p);
    rig_end(&r);
}

/* Whoever reads on from completion to completion must not be kept reaping by a file in memory. */
BOTH(what_is_read_is_reaped_behind_a_submit)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_geq(f, 0);
    cr_assert_eq(write_file(&r, f, 0, "somedata", 8), 8);
    char got[4][4];
    struct tt_done done[8];
    for (unsigned i = 0; i < 4; i++) {
        tt_io_read(r.io, f, i * 2, got[i], 2, FILE_TOKEN);
        cr_assert_eq(tt_io_reap(r.io, done, 8), 0, "%u", i);
        cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 2);
        cr_assert(memcmp(got[i], "somedata" + i * 2, 2) == 0);
    }
    cr_assert_eq(close_file(&r, f), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(preallocating_grows_and_truncating_cuts)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_CREATE | TT_OPEN_EXCLUSIVE);
    cr_assert_geq(f, 0);
    tt_io_preallocate(r.io, f, 0, 1u << 20, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    struct stat st;
    cr_assert_eq(stat(p.path, &st), 0);
    cr_assert_eq(st.st_size, 1 << 20);
    cr_assert_geq(st.st_blocks * 512, 1 << 20);
    tt_io_truncate(r.io, f, 100, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    cr_assert_eq(stat(p.path, &st), 0);
    cr_assert_eq(st.st_size, 100);
    cr_assert_eq(close_file(&r, f), 0);
    /* Truncating on open. */
    f = open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_TRUNCATE);
    cr_assert_geq(f, 0);
    cr_assert_eq(stat(p.path, &st), 0);
    cr_assert_eq(st.st_size, 0);
    cr_assert_eq(close_file(&r, f), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(renaming_replaces_and_unlinking_removes)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_eq(write_file(&r, f, 0, "new", 3), 3);
    cr_assert_eq(close_file(&r, f), 0);
    f = open_file(&r, p.other, TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_eq(close_file(&r, f), 0);
    tt_io_rename(r.io, p.path, p.other, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    /* The directory can be opened and synced, so that the rename survives a power cut. */
    int32_t d = open_file(&r, p.directory, TT_OPEN_READ | TT_OPEN_DIRECTORY);
    cr_assert_geq(d, 0);
    tt_io_sync(r.io, d, false, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    cr_assert_eq(close_file(&r, d), 0);
    struct stat st;
    cr_assert_eq(stat(p.path, &st), -1);
    cr_assert_eq(stat(p.other, &st), 0);
    cr_assert_eq(st.st_size, 3);
    tt_io_unlink(r.io, p.other, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    cr_assert_eq(stat(p.other, &st), -1);
    place_end(&p);
    rig_end(&r);
}

BOTH(an_unlinked_file_can_be_read_while_it_is_open)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_eq(write_file(&r, f, 0, "kept", 4), 4);
    tt_io_unlink(r.io, p.path, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    char got[4];
    cr_assert_eq(read_file(&r, f, 0, got, 4), 4);
    cr_assert_eq(memcmp(got, "kept", 4), 0);
    cr_assert_eq(close_file(&r, f), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(errors_of_files_are_told_apart)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    cr_assert_eq(open_file(&r, p.path, TT_OPEN_READ), TT_ENOENT);
    int32_t f = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_CREATE);
    cr_assert_geq(f, 0);
    cr_assert_eq(open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_CREATE | TT_OPEN_EXCLUSIVE),
                 TT_EEXIST);
    cr_assert_eq(write_file(&r, f, 0, "x", 1), TT_EACCES); /* opened for reading */
    cr_assert_eq(open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_DIRECTORY), TT_EINVAL);
    cr_assert_eq(open_file(&r, p.directory, TT_OPEN_WRITE), TT_EINVAL);
    char longest[PATH_MAX + 2];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    cr_assert_eq(open_file(&r, longest, TT_OPEN_READ), TT_EINVAL);
    tt_io_unlink(r.io, p.other, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, TT_ENOENT);
    tt_io_rename(r.io, p.other, p.path, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, TT_ENOENT);
    cr_assert_eq(close_file(&r, f), 0);
    f = open_file(&r, "/dev/full", TT_OPEN_WRITE);
    cr_assert_geq(f, 0);
    cr_assert_eq(write_file(&r, f, 0, "x", 1), TT_ENOSPC);
    cr_assert_eq(close_file(&r, f), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(a_disk_that_is_full_takes_what_fits_and_heals)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    if (mount("tmpfs", p.directory, "tmpfs", 0, "size=65536") != 0) {
        (void)rmdir(p.directory);
        rig_end(&r);
        cr_skip_test("mounting a file system needs root");
    }
    int32_t f = open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_CREATE);
    cr_assert_geq(f, 0);
    static char bytes[100000];
    int32_t n = write_file(&r, f, 0, bytes, sizeof bytes);
    cr_assert_eq(n, 65536); /* short */
    cr_assert_eq(write_file(&r, f, 65536, bytes, 100), TT_ENOSPC);
    tt_io_preallocate(r.io, f, 65536, 65536, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, TT_ENOSPC);
    tt_io_truncate(r.io, f, 0, FILE_TOKEN);
    cr_assert_eq(rig_wait(&r, FILE_TOKEN).result, 0);
    cr_assert_eq(write_file(&r, f, 0, bytes, 100), 100);
    cr_assert_eq(close_file(&r, f), 0);
    (void)umount(p.directory);
    place_end(&p);
    rig_end(&r);
}

BOTH(more_files_than_were_asked_for_are_refused)
{
    struct rig r = rig_of(kind); /* 16 */
    struct place p = place_make();
    int32_t files[16];
    cr_assert_eq(open_file(&r, p.path, TT_OPEN_READ), TT_ENOENT); /* does not count */
    for (int i = 0; i < 16; i++) {
        files[i] = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_CREATE);
        cr_assert_geq(files[i], 0);
    }
    cr_assert_eq(open_file(&r, p.path, TT_OPEN_READ), TT_ENOFILE);
    cr_assert_eq(close_file(&r, files[3]), 0);
    files[3] = open_file(&r, p.path, TT_OPEN_READ);
    cr_assert_geq(files[3], 0);
    for (int i = 0; i < 16; i++) cr_assert_eq(close_file(&r, files[i]), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(many_operations_may_be_in_flight_beside_sockets)
{
    enum { BLOCK = 4096 };
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair pair = rig_pair(&r, &l);
    tt_io_recv(r.io, pair.socket, tt_token(10, 1, 1));
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE);
    static uint8_t blocks[TT_IO_FILE_OPERATIONS_MAX][BLOCK];
    static uint8_t back[TT_IO_FILE_OPERATIONS_MAX][BLOCK];
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        memset(blocks[i], (int)i, BLOCK);
        tt_io_write(r.io, f, (uint64_t)i * BLOCK, blocks[i], BLOCK, tt_token(31, 0, i));
    }
    peer_write(pair.peer, "meanwhile", 9);
    cr_assert_eq(rig_wait(&r, tt_token(10, 1, 1)).result, 9);
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        cr_assert_eq(rig_wait(&r, tt_token(31, 0, i)).result, BLOCK);
    }
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        tt_io_read(r.io, f, (uint64_t)i * BLOCK, back[i], BLOCK, tt_token(32, 0, i));
    }
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        cr_assert_eq(rig_wait(&r, tt_token(32, 0, i)).result, BLOCK);
    }
    cr_assert_eq(memcmp(blocks, back, sizeof blocks), 0);
    cr_assert_eq(close_file(&r, f), 0);
    place_end(&p);
    rig_end(&r);
}

BOTH(an_io_can_be_destroyed_over_running_file_work)
{
    struct rig r = rig_of(kind);
    struct place p = place_make();
    int32_t f = open_file(&r, p.path, TT_OPEN_WRITE | TT_OPEN_CREATE);
    static uint8_t block[1 << 20];
    for (uint32_t i = 0; i < 32; i++) {
        tt_io_write(r.io, f, (uint64_t)i * sizeof block, block, sizeof block, FILE_TOKEN);
        tt_io_sync(r.io, f, true, FILE_TOKEN);
    }
    tt_io_rename(r.io, p.path, p.other, FILE_TOKEN);
    tt_io_submit(r.io, 0);
    rig_end(&r);
    (void)close(f);
    place_end(&p);
}
