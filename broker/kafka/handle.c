#include "broker/kafka/handle.h"

#include <stdio.h>
#include <stdlib.h>

/* name=value, one behind the other; each pair's two texts are terminated in `text`. */
static enum tt_status add_properties(const struct tt_kafka_handle_options *o,
                                     struct tt_kafka_property *properties, char **texts)
{
    const struct tt_config_list *conf = &o->config->kafka_conf;
    for (uint32_t i = 0; i < conf->count; i++) {
        char *text = texts[i] = strdup(conf->items[i]);
        if (text == NULL) return TT_ENOMEM;
        char *equals = strchr(text, '=');
        properties[i].name = text;
        properties[i].value = equals == NULL ? "" : equals + 1;
        if (equals != NULL) *equals = '\0';
    }
    properties[conf->count] =
        (struct tt_kafka_property){"bootstrap.servers", tt_kafka_topics_brokers(o->topics)};
    return TT_OK;
}

static enum tt_status create(struct tt_kafka **kafka, const struct tt_kafka_handle_options *o,
                             const struct tt_kafka_property *properties, uint32_t count,
                             char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config *c = o->config;
    bool publishing = !o->planning && (tt_kafka_topics_publish(o->topics) != NULL ||
                                       tt_kafka_topics_commands(o->topics) != NULL);
    const struct tt_kafka_options options = {
        .properties = properties,
        .properties_count = count,
        .queues = o->queues,
        .queued_bytes = c->kafka_queued_bytes,
        .partitions = o->partitions,
        .producing_bytes = c->kafka_producing_bytes,
        .produce_ms = (uint32_t)c->kafka_produce_wait_ms,
        .commit_group =
            o->planning || c->kafka_commit_group[0] == '\0' ? NULL : c->kafka_commit_group,
        .no_producer = !publishing,
        .log = tt_kafka_notes_put,
        .context = o->notes,
    };
    char why[TT_KAFKA_ERROR_MAX] = "";
    if (o->module->create(kafka, &options, why) == 0) return TT_OK;
    snprintf(error, TT_CONFIG_ERROR_MAX, "--kafka-conf: %s", why);
    return TT_EINVAL;
}

enum tt_status tt_kafka_handle_open(struct tt_kafka **kafka,
                                    const struct tt_kafka_handle_options *o,
                                    char error[TT_CONFIG_ERROR_MAX])
{
    uint32_t count = o->config->kafka_conf.count;
    struct tt_kafka_property *properties = calloc(count + 1, sizeof *properties);
    char **texts = calloc(count + 1, sizeof *texts);
    enum tt_status status = TT_ENOMEM;
    if (properties != NULL && texts != NULL) status = add_properties(o, properties, texts);
    if (status == TT_OK) status = create(kafka, o, properties, count + 1, error);
    for (uint32_t i = 0; texts != NULL && i < count; i++) free(texts[i]);
    free(texts);
    free(properties);
    return status;
}
