/* Assertions for our own bugs, never for bytes of a peer, of Kafka or of a disk (return and count).
 *
 * TT_ASSERT ships in every variant: a broker that has lost its own invariants must stop rather than
 * send a wrong price. TT_ASSERT_SLOW is for checks that cost more than a compare; it is on in the
 * debug, asan and tsan variants and in simulation. Thread: any. */
#ifndef TT_PROTO_BASE_ASSERT_H
#define TT_PROTO_BASE_ASSERT_H

/* Prints file, line and expression on standard error and aborts. */
__attribute__((noreturn, cold)) void tt_assert_fail(const char *file, int line, const char *what);

#define TT_LIKELY(x)   __builtin_expect(!!(x), 1)
#define TT_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define TT_ASSERT(x) (TT_LIKELY(x) ? (void)0 : tt_assert_fail(__FILE__, __LINE__, #x))

#ifdef TT_SLOW_ASSERTIONS
#define TT_ASSERT_SLOW(x) TT_ASSERT(x)
#else
#define TT_ASSERT_SLOW(x) ((void)sizeof(!(x)))
#endif

#define TT_UNREACHABLE() tt_assert_fail(__FILE__, __LINE__, "unreachable")

#endif
