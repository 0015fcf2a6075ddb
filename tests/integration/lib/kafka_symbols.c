/* A program that is linked against BoringSSL, as a broker with TLS for its clients is, and opens
 * the Kafka module beside it: uses BoringSSL, then asks a Kafka for a topic, then BoringSSL again.
 * kafka_symbols.test.mjs compiles it, and reads in the dynamic linker's report who got whose names.
 *
 *   kafka_symbols MODULE TOPIC NAME=VALUE...    (properties of librdkafka) */
#include <stdio.h>
#include <string.h>

#include "broker/kafka/module_open.h"

/* Of BoringSSL, by hand: no header of it, nor of OpenSSL, need be there to check this file. */
const char *OpenSSL_version(int which);
const void *TLS_method(void);
void *SSL_CTX_new(const void *method);
void *SSL_new(void *context);
void SSL_free(void *ssl);
void SSL_CTX_free(void *context);

#define PROPERTIES_MAX 16

static bool use_boringssl(void)
{
    void *context = SSL_CTX_new(TLS_method());
    void *ssl = context != NULL ? SSL_new(context) : NULL;
    if (ssl == NULL) return false;
    SSL_free(ssl);
    SSL_CTX_free(context);
    return strcmp(OpenSSL_version(0), "BoringSSL") == 0;
}

static void on_log(void *context, int level, const char *text)
{
    (void)context;
    printf("log %d %s\n", level, text);
}

/* Until Kafka answers, or refuses us. */
static bool ask(const struct tt_kafka_module *module, struct tt_kafka *kafka, const char *topic)
{
    char error[TT_KAFKA_ERROR_MAX];
    struct tt_kafka_metadata *metadata = NULL;
    int result = -1;
    for (int tries = 0; tries < 60 && result != 0 && result != TT_KAFKA_EAUTHENTICATION; tries++)
        result = module->metadata(kafka, &topic, 1, 2000, &metadata, error);
    if (result != 0) {
        printf("%s\n", error);
        return false;
    }
    printf("cluster %s partitions %u\n", metadata->cluster_id,
           metadata->topics[0].partitions_count);
    module->metadata_free(&metadata);
    return true;
}

int main(int argc, char **argv)
{
    char error[TT_KAFKA_ERROR_MAX];
    struct tt_kafka_property properties[PROPERTIES_MAX];
    uint32_t count = 0;
    for (int i = 3; i < argc && count < PROPERTIES_MAX; i++) {
        char *value = strchr(argv[i], '=');
        if (value == NULL) return 2;
        *value = '\0';
        properties[count++] = (struct tt_kafka_property){.name = argv[i], .value = value + 1};
    }
    if (argc < 3 || !use_boringssl()) return 3;
    const struct tt_kafka_module *module = tt_kafka_module_open(argv[1], error);
    struct tt_kafka_options options = {.properties = properties,
                                       .properties_count = count,
                                       .queues = 1,
                                       .queued_bytes = 1 << 20,
                                       .partitions = 1,
                                       .producing_bytes = 1 << 20,
                                       .produce_ms = 1000,
                                       .log = on_log};
    struct tt_kafka *kafka = NULL;
    if (module == NULL || module->create(&kafka, &options, error) != 0) {
        printf("%s\n", error);
        return 4;
    }
    bool answered = ask(module, kafka, argv[2]);
    module->destroy(&kafka);
    return answered && use_boringssl() ? 0 : 5;
}
