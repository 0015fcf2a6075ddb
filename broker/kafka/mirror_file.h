/* The text files beside mirrors: what is mirrored where.
 *
 *     DATA/kafka/KEY               the key of channel hashes: 32 hexadecimal digits and a newline
 *     DATA/kafka/<topic>/MIRROR    tickertape-mirror 1
 *                                  cluster <id>
 *                                  topic <name>
 *                                  generation <number>
 *
 * A file is written beside, synced, renamed, and its directory synced: it is the old one or the new
 * one. Blocking access (store/recovery.h). Thread: start-up. Memory: none. */
#ifndef TT_BROKER_KAFKA_MIRROR_FILE_H
#define TT_BROKER_KAFKA_MIRROR_FILE_H

#include "store/recovery.h"

#define TT_MIRROR_CLUSTER_MAX 255u /* Kafka's own ids have 22 characters */
#define TT_MIRROR_TOPIC_MAX   249u

/* Which life of which topic. The generation rises each time a topic of the same name was made anew;
 * `kafka_generation` sets it. */
struct tt_mirror {
    char cluster[TT_MIRROR_CLUSTER_MAX + 1];
    char topic[TT_MIRROR_TOPIC_MAX + 1];
    uint32_t generation;
};

/* A hash of all three: every instance that follows the same topic gives the same ids. */
struct tt_history tt_mirror_history(const struct tt_mirror *mirror);

/* Of the topic's directory. TT_OK; TT_ENOENT: there is none; TT_EINVAL: it is none of ours, or
 * damaged; TT_EACCES, TT_EIO. */
TT_MUST_USE enum tt_status tt_mirror_read(const struct tt_files *files, const char *directory,
                                          struct tt_mirror *mirror);
/* TT_OK; TT_EINVAL: a text that cannot be in it (empty, spaces, not printable); TT_EACCES,
 * TT_ENOSPC, TT_EIO. */
TT_MUST_USE enum tt_status tt_mirror_write(const struct tt_files *files, const char *directory,
                                           const struct tt_mirror *mirror);

/* The same for the key of all mirrors; directory: DATA/kafka. */
TT_MUST_USE enum tt_status tt_mirror_key_read(const struct tt_files *files, const char *directory,
                                              struct tt_hash_key *key);
TT_MUST_USE enum tt_status tt_mirror_key_write(const struct tt_files *files, const char *directory,
                                               const struct tt_hash_key *key);

#endif
