/* The one vocabulary of results.
 *
 * Zero is success, positive means "not yet, nothing is wrong", negative is failure. Errno never
 * leaves the files that call the operating system (shard/io, broker/main.c): they translate it into
 * one of these. Protocol errors also carry the code that is owed to the peer, see the decoders.
 * Thread: any. Memory: none. */
#ifndef TT_PROTO_BASE_STATUS_H
#define TT_PROTO_BASE_STATUS_H

#define TT_MUST_USE           __attribute__((warn_unused_result))
#define TT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

enum tt_status {
    TT_OK = 0,
    TT_MORE = 1, /* feed more bytes, or: more follows */
    TT_FULL = 2, /* no room now; try again when room was made */
    TT_IDLE = 3, /* nothing to do now */
    TT_END = 4,  /* the end was reached in good order */

    TT_EINVAL = -1,        /* a value that is not allowed */
    TT_EPROTO = -2,        /* the peer broke its protocol */
    TT_ENOMEM = -3,        /* memory, or a pool with a fixed bound, is used up */
    TT_EIO = -4,           /* a device or the operating system failed */
    TT_ENOSPC = -5,        /* disk or quota full: heals */
    TT_ENOENT = -6,        /* does not exist */
    TT_EEXIST = -7,        /* exists already */
    TT_EBUSY = -8,         /* somebody else holds it (port, lock) */
    TT_ETOOBIG = -9,       /* over a configured limit */
    TT_ECORRUPT = -10,     /* bytes on disk that no writer of ours wrote */
    TT_EVERSION = -11,     /* a newer format than this program knows */
    TT_EUNSUPPORTED = -12, /* not available here or not built yet */
    TT_ETIMEDOUT = -13,    /* took longer than a configured time */
    TT_ECLOSED = -14,      /* the peer or the file is gone */
    TT_EACCES = -15,       /* not permitted, read-only */
    TT_ENOFILE = -16,      /* the process has no descriptor left */
    TT_ECANCELED = -17,    /* was cancelled by its owner */
};

/* A short English text, for logs and messages. Never null; static storage. */
const char *tt_status_text(enum tt_status status);

#endif
