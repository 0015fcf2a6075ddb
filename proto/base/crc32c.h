/* CRC-32C (Castagnoli; polynomial 0x1EDC6F41, reflected, as in RFC 3720 section 12.1): the checksum
 * of records and batches in the log.
 *
 * Uses the SSE4.2 instruction where the processor has it, found at run time, else a table of 8 x
 * 256 entries. Thread: any. Memory: static. */
#ifndef TT_PROTO_BASE_CRC32C_H
#define TT_PROTO_BASE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Checksum of `size` bytes, going on from `crc` (0 for the first piece): the sum over two pieces is
 * tt_crc32c(tt_crc32c(0, a, m), b, n). */
uint32_t tt_crc32c(uint32_t crc, const void *data, size_t size);

/* The two ways, for tests. tt_crc32c_hardware() may be called only where
 * tt_crc32c_has_hardware() (asserted). */
bool tt_crc32c_has_hardware(void);
uint32_t tt_crc32c_hardware(uint32_t crc, const void *data, size_t size);
uint32_t tt_crc32c_table(uint32_t crc, const void *data, size_t size);

#endif
