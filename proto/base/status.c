#include "proto/base/status.h"

const char *tt_status_text(enum tt_status status)
{
    switch (status) {
    case TT_OK: return "ok";
    case TT_MORE: return "more is needed";
    case TT_FULL: return "full for now";
    case TT_IDLE: return "nothing to do";
    case TT_END: return "ended";
    case TT_EINVAL: return "not allowed";
    case TT_EPROTO: return "protocol error";
    case TT_ENOMEM: return "out of memory";
    case TT_EIO: return "input or output error";
    case TT_ENOSPC: return "no space left";
    case TT_ENOENT: return "does not exist";
    case TT_EEXIST: return "exists already";
    case TT_EBUSY: return "in use";
    case TT_ETOOBIG: return "over a limit";
    case TT_ECORRUPT: return "corrupt";
    case TT_EVERSION: return "of a newer version";
    case TT_EUNSUPPORTED: return "not supported";
    case TT_ETIMEDOUT: return "timed out";
    case TT_ECLOSED: return "closed by the peer";
    case TT_EACCES: return "not permitted";
    case TT_ENOFILE: return "no descriptors left";
    case TT_ECANCELED: return "cancelled";
    }
    return "unknown status";
}
