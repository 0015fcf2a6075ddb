/* The one bound of the memory for catching up, and how frames and blocks share it. */
#include <criterion/criterion.h>

#include "shard/replay/replay_internal.h"

#define MAX (1u << 20)

static struct tt_replay replay;
static struct tt_shard shard;

static void hold(size_t frames, size_t blocks, size_t snapshots)
{
    shard.replay = &replay;
    shard.replay_frames.bytes_max = MAX;
    shard.replay_frames.bytes = frames;
    replay.block_bytes = blocks + snapshots;
    replay.snapshot_bytes = snapshots;
}

Test(replay_memory, the_sum_of_both_stays_within_it)
{
    uint64_t random = 1;
    size_t frames = 0, blocks = 0;
    for (unsigned i = 0; i < 100000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t bytes = 1 + (random >> 40) % (MAX / 8);
        hold(frames, blocks, 0);
        if ((random >> 33) % 3 == 0) {
            frames -= frames < bytes ? frames : bytes;
            blocks -= blocks < bytes ? blocks : bytes;
        } else if ((random >> 33) % 3 == 1) {
            if (!tt_replay_frames_full(&shard)) frames += bytes; /* the last one had room */
        } else if (tt_replay_has_memory(&shard, bytes)) {
            blocks += bytes;
        }
        cr_assert_leq(frames + blocks, MAX + MAX / 8);
    }
}

Test(replay_memory, neither_side_waits_for_what_the_other_one_holds)
{
    /* Whoever holds all the blocks there can be makes frames of them. */
    hold(0, MAX / 2, 0);
    cr_expect(!tt_replay_has_memory(&shard, 1));
    cr_expect(!tt_replay_frames_full(&shard));
    hold(MAX / 2, MAX / 2, 0);
    cr_expect(!tt_replay_frames_full(&shard), "a half is theirs");
    hold(MAX / 8 * 7, 0, 0);
    cr_expect(!tt_replay_frames_full(&shard), "without blocks, nearly the whole");
    /* Frames that nobody takes are full, and relieved, before there is no room for a block. */
    hold(MAX / 8 * 7 + 1, 0, 0);
    cr_expect(tt_replay_frames_full(&shard));
    hold(MAX / 8 * 7, 0, 0);
    cr_expect(tt_replay_has_memory(&shard, MAX / 8));
    /* A snapshot that holds more than a half of it can still read what it asks for. */
    hold(0, 0, MAX / 4 * 3);
    cr_expect(tt_replay_has_memory(&shard, MAX / 8));
    /* A large record is read. */
    hold(0, MAX / 4, 0);
    cr_expect(tt_replay_has_memory(&shard, MAX / 4 * 3));
}
