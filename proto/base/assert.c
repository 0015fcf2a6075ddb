#include "proto/base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void tt_assert_fail(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
    abort();
}
