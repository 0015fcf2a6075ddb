/* Server-Sent Events on the wire: an event's frame, and the small things around it.
 *
 * Source: WHATWG HTML, section 9.2 "Server-sent events" (parsing: a line ends at CR, LF or CRLF; a
 * field is what stands before the colon). Only LF ends our lines. Nothing a publisher sends can
 * leave its field: payloads hold no CR or LF (struct tt_event), types are checked names, ids are
 * ours; tt_sse_write_data() splits whatever text it is given.
 *
 * The frame of an event is shared by all clients of one wire form and lies contiguous, as two
 * chunks of HTTP/1.1 chunked coding (RFC 9112 7.1):
 *
 *     [A head]["event: " type LF "data: " envelope LF]CRLF[B head]["id: " cursor LF LF]CRLF
 *             '------------- A body -----------------'            '----- B body -----'
 *
 * Live clients get it whole; clients that catch up get chunk A and a chunk B of their own, with
 * their private cursor; wires without chunks get the bodies.
 * Thread: any. Memory: the caller's: ask for the size, then write. */
#ifndef TT_PROTO_WIRE_SSE_FRAME_H
#define TT_PROTO_WIRE_SSE_FRAME_H

#include "proto/event/cursor.h"
#include "proto/event/event.h"
#include "proto/wire/envelope.h"

/* What `data:` holds and whether there is an `event:` line: one frame for each combination. */
struct tt_sse_form {
    bool payload_only; /* format=payload */
    bool no_name;      /* event=message: never an `event:` line */
};
#define TT_SSE_FORMS 4u /* number of forms */
static inline unsigned tt_sse_form_index(struct tt_sse_form form)
{
    return (form.payload_only ? 1u : 0u) | (form.no_name ? 2u : 0u);
}
static inline struct tt_sse_form tt_sse_form_at(unsigned index)
{
    return (struct tt_sse_form){(index & 1u) != 0, (index & 2u) != 0};
}

/* Where the parts of a frame lie, in bytes from its start. */
struct tt_sse_layout {
    uint32_t a_body; /* offset of A's body = bytes of A's head */
    uint32_t a_body_bytes;
    uint32_t a_bytes; /* chunk A whole: head, body, CRLF; chunk B begins here */
    uint32_t b_body;  /* offset of B's body from the frame's start */
    uint32_t b_body_bytes;
    uint32_t bytes; /* the whole frame */
};

/* ---- frames of events ---- */
/* The layout of the frame with an id line of `cursor_bytes` (0: no id line, B is LF alone). */
struct tt_sse_layout tt_sse_event_layout(const struct tt_placed_event *placed,
                                         struct tt_sse_form form, size_t cursor_bytes);
/* Writes it: exactly layout->bytes at `out`. cursor.size must be what the layout was made with
 * (asserted). */
void tt_sse_event_write(uint8_t *out, const struct tt_sse_layout *layout,
                        const struct tt_placed_event *placed, struct tt_sse_form form,
                        struct tt_bytes cursor);
/* The same lines without any framing, for frames of many events; at most _max bytes. What is around
 * channel and payload is kept from one event to the next: offsets mostly follow each other, times
 * and types repeat. Init once for a history; partitions: 0, or what stands behind the `/` of a
 * narrow cursor. */
#define TT_SSE_COPY_BYTES 32u /* kept texts are copied by as many bytes at a time */
#define TT_SSE_KEPT(bytes)                                                                         \
    (((bytes) + TT_SSE_COPY_BYTES - 1) / TT_SSE_COPY_BYTES * TT_SSE_COPY_BYTES)
#define TT_SSE_HEAD_BYTES TT_SSE_KEPT(16u + TT_TYPE_BYTES_MAX + TT_ENVELOPE_HEAD_BYTES_MAX)
#define TT_SSE_TAIL_BYTES TT_SSE_KEPT(16u + TT_ENVELOPE_TAIL_BYTES_MAX + TT_CURSOR_NARROW_MAX)
struct tt_sse_texts {
    struct tt_history history_;
    uint32_t partitions_;
    uint32_t partition_;
    uint64_t offset_; /* UINT64_MAX: none yet */
    int64_t time_ms_;
    uint8_t first_digit_, id_bytes_, cursor_bytes_, time_bytes_;
    uint8_t id_at_, cursor_at_; /* in the tail */
    uint8_t type_at_;           /* in the head */
    bool no_name_;
    uint16_t head_bytes_, tail_bytes_; /* 0: to be made */
    uint16_t type_bytes_;
    uint8_t cursor_[TT_CURSOR_NARROW_MAX];
    uint8_t time_[TT_U64_DIGITS_MAX + 1];
    uint8_t head_[TT_SSE_HEAD_BYTES]; /* up to the channel */
    uint8_t tail_[TT_SSE_TAIL_BYTES]; /* behind the payload */
};
void tt_sse_texts_init(struct tt_sse_texts *texts, struct tt_history history, uint32_t partitions);
/* The same, if they are of another history or have another N behind the `/`. */
static inline void tt_sse_texts_for(struct tt_sse_texts *texts, struct tt_history history,
                                    uint32_t partitions)
{
    if (texts->partitions_ != partitions || !tt_history_equal(texts->history_, history))
        tt_sse_texts_init(texts, history, partitions);
}
size_t tt_sse_event_lines_max(const struct tt_placed_event *placed, struct tt_sse_form form);
void tt_sse_event_lines_write(struct tt_writer *w, const struct tt_placed_event *placed,
                              struct tt_sse_form form, struct tt_sse_texts *texts);
/* Into memory of _max bytes, of which those behind what was written may be written, too. Returns
 * what lies behind it. */
uint8_t *tt_sse_event_lines_put(uint8_t *to, const struct tt_placed_event *placed,
                                struct tt_sse_form form, struct tt_sse_texts *texts);
/* The head of a chunk in a fixed width (leading zeros are allowed, RFC 9112 section 7.1), for those
 * whose size is known only at their end. */
#define TT_SSE_FIXED_HEAD_BYTES 8u
void tt_sse_chunk_write_fixed_head(uint8_t head[TT_SSE_FIXED_HEAD_BYTES], size_t body_bytes);
/* Chunk B alone: "id: " cursor LF LF with its framing, or LF alone for an empty cursor. *body and
 * *body_bytes: the inside. Also a bare id line, which moves the cursor without an event. */
size_t tt_sse_id_chunk_bytes(size_t cursor_bytes);
void tt_sse_id_chunk_write(struct tt_writer *w, struct tt_bytes cursor, size_t *body,
                           size_t *body_bytes);

/* ---- the inside of everything else; put into a chunk by tt_sse_chunk_* ---- */
/* "event: " name LF, then `data` as data lines, then the id line unless the cursor is empty, LF.
 * A null or empty name: no event line. */
size_t tt_sse_control_bytes(const char *name, struct tt_bytes data, struct tt_bytes cursor);
void tt_sse_control_write(struct tt_writer *w, const char *name, struct tt_bytes data,
                          struct tt_bytes cursor);
/* Data lines: one for each line of text (separated by CR, LF or CRLF); at least one. */
size_t tt_sse_data_bytes(struct tt_bytes text);
void tt_sse_write_data(struct tt_writer *w, struct tt_bytes text);
/* ": <number>" LF LF: heartbeat. */
void tt_sse_write_comment_number(struct tt_writer *w, int64_t number);
/* A comment of exactly `bytes` bytes with its LF LF (at least 4): for pad=. */
void tt_sse_write_pad(struct tt_writer *w, size_t bytes);
/* "retry: <ms>" LF LF. */
void tt_sse_write_retry(struct tt_writer *w, uint32_t retry_ms);

/* ---- chunked coding (RFC 9112 7.1) ---- */
#define TT_SSE_CHUNK_HEAD_MAX 10u /* 8 hex digits, CRLF */
/* Bytes of a chunk with so large a body, head and CRLF included; of its head alone. Body > 0. */
size_t tt_sse_chunk_bytes(size_t body_bytes);
size_t tt_sse_chunk_head_bytes(size_t body_bytes);
void tt_sse_chunk_write_head(struct tt_writer *w, size_t body_bytes);
static inline void tt_sse_chunk_write_end(struct tt_writer *w)
{
    tt_write(w, "\r\n", 2);
}

#endif
