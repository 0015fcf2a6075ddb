/* The table that the host sees. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/kafka/module/handle.h"

__attribute__((visibility("default"))) const struct tt_kafka_module *tt_kafka_module(void)
{
    static char library[64];
    static struct tt_kafka_module table = {
        .abi = TT_KAFKA_ABI,
        .library = library,
        .create = kafka_create,
        .destroy = kafka_destroy,
        .metadata = kafka_metadata,
        .metadata_free = kafka_metadata_free,
        .watermarks = kafka_watermarks,
        .offset_at = kafka_offset_at,
        .fetch = kafka_fetch,
        .commit = kafka_commit,
        .serve = kafka_serve,
        .open_queue = kafka_open_queue,
        .close_queue = kafka_close_queue,
        .start = kafka_start,
        .stop = kafka_stop,
        .poll = kafka_poll,
        .headers = kafka_headers,
        .end = kafka_end,
        .produce = kafka_produce,
        .delivered = kafka_delivered,
    };
    snprintf(library, sizeof(library), "librdkafka %s", rd_kafka_version_str());
    /* libsasl2, which librdkafka initialises at its first handle, opens plugins that would bind to
     * the program's BoringSSL instead of OpenSSL. PLAIN and SCRAM need none. Before any handle and
     * any other thread: the host opens the module at start-up. */
    (void)setenv("SASL_PATH", "/nonexistent", 1);
    return &table;
}
