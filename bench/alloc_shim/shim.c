/* Counts the allocations of the program that it is preloaded into (LD_PRELOAD), in a file of 64-bit
 * counters that others may read meanwhile: allocations, frees, bytes asked for. TT_ALLOC_COUNTERS
 * names the file, which must exist and hold at least 24 bytes. The work itself is glibc's. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

enum { ALLOCATIONS, FREES, BYTES, COUNTERS };

static _Atomic uint64_t before_start[COUNTERS];
static _Atomic uint64_t *counters = before_start;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TT_ALLOC_COUNTERS");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof before_start, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) counters = map;
}

static void count(size_t bytes)
{
    atomic_fetch_add_explicit(&counters[ALLOCATIONS], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters[BYTES], bytes, memory_order_relaxed);
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(n * size);
    return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
    count(size);
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    *memory = memalign(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}

void free(void *memory)
{
    if (memory != NULL) atomic_fetch_add_explicit(&counters[FREES], 1, memory_order_relaxed);
    __libc_free(memory);
}
