/* Every fixed limit, each with its unit in the name, its reason, and what happens beyond it. Limits
 * that an operator may change stand in broker/params.def, with these as their bounds or defaults.
 * Thread: any. */
#ifndef TT_PROTO_BASE_LIMITS_H
#define TT_PROTO_BASE_LIMITS_H

#define TT_CHANNEL_BYTES_MAX  255u  /* one length byte in a record; over it: 400 */
#define TT_CHANNEL_LEVELS_MAX 8u    /* bounds the work of matching a pattern; over it: 400 */
#define TT_TYPE_BYTES_MAX     128u  /* a name, not a text; over it: 400 */
#define TT_HEADERS_MAX        32u   /* event headers; over it: 400 */
#define TT_HEADERS_BYTES_MAX  4096u /* event headers as JSON text; over it: 400 */
#define TT_JSON_DEPTH_MAX     64u   /* the scanner keeps one bit a level; over it: 400 */
#define TT_EVENT_BYTES_CEILING                                                                     \
    (4u << 20)                    /* highest --max-event-bytes: a record spans at most 5 chunks */
#define TT_PARTITIONS_MAX   1024u /* of one topic */
#define TT_HISTORY_BYTES    6u    /* base 62: 35 bits of randomness name one life of a log */
#define TT_CURSOR_BYTES_MAX 2048u /* fits a request line; a subscription beyond it: 400 */
#define TT_SHARDS_MAX       256u  /* mailboxes grow with its square */

/* HTTP/1 */
#define TT_LINGER_MS                  3000u /* for a peer that still sends; over it: closed */
#define TT_DROPPED_BODY_BYTES_MAX     (256u << 10) /* of a refused request's body; over it: closed */
#define TT_BODY_PROGRESS_BYTES        1024u        /* of a body in each body timeout; slower: 408 */
#define TT_CHUNK_EXTENSIONS_BYTES_MAX 4096u        /* of one body; over it: 400 */
#define TT_TRAILERS_BYTES_MAX         8192u        /* of one body; over it: 431 */
#define TT_ORIGIN_BYTES_MAX           300u /* scheme, host name, port; a longer Origin is not allowed */
#define TT_ERROR_MESSAGE_BYTES_MAX    512u /* of one error's message; a longer one is cut */

#define TT_CHUNK_BYTES (1u << 20) /* a window of the tail on its segment file */
#define TT_WRITE_BYTES_MAX                                                                         \
    (256u << 10) /* one write to a segment; bounds the latency of group commit */
#define TT_ARRIVALS_RING         (1u << 16) /* a client whose place leaves it is demoted to catch-up */
#define TT_ARRIVALS_VECTOR_EVERY 1024u

#define TT_IDEMPOTENCY_KEY_BYTES_MAX 255u /* a name, not a text; over it: 400 */
#define TT_PUBLISH_ARRAY_MAX         65536u /* events in one array, they go as a whole; over it: 413 */
#define TT_PUBLISH_IDS_MAX           262144u /* events of one stream with ids=1, they are kept; over: 413 */

#define TT_TURN_MESSAGES_MAX    256u  /* mailbox messages a turn */
#define TT_TURN_DESCRIPTORS_MAX 4096u /* tail descriptors a turn */
#define TT_TURN_READ_US_MAX     200u  /* time for reading tails a turn */
#define TT_TURN_CATCHUP_US_MAX  200u  /* time for catching up a turn */
#define TT_TURN_CATCHUP_US_MIN  50u   /* the same while events are live, which wait for it */
#define TT_TURN_CATCHUP_SHARE   8u    /* one part in so many of the time is its own then */
#define TT_TURN_SENDS_MAX       256u
#define TT_TURN_LOOKUPS_MAX     16u         /* questions that an owner answers a turn */
#define TT_PULL_BYTES_MAX       (64u << 10) /* one send of one connection */

_Static_assert(TT_EVENT_BYTES_CEILING % TT_CHUNK_BYTES == 0, "records span whole chunks");
_Static_assert(TT_WRITE_BYTES_MAX <= TT_CHUNK_BYTES, "a write lies in one chunk");

#endif
