#include "shard/http/assets.h"

#include "gen/web_assets.h"
#include "proto/wire/http1_parse.h"

#define INDEX "index.html"

static const struct tt_web_asset *find(struct tt_bytes path)
{
    bool directory = path.size == 0 || path.data[path.size - 1] == '/';

    for (size_t i = 0; i < tt_web_assets_count; i++) {
        struct tt_bytes name = tt_bytes_text(tt_web_assets[i].path);
        if (tt_bytes_equal(name, path)) return &tt_web_assets[i];
        if (directory && tt_bytes_starts(name, path) &&
            tt_bytes_is(tt_bytes_from(name, path.size), INDEX)) {
            return &tt_web_assets[i];
        }
    }
    return NULL;
}

/* RFC 9110 section 13.1.2: a list of tags, weak comparison; or `*`. */
static bool tag_is_known(struct tt_bytes list, struct tt_bytes tag)
{
    struct tt_bytes element;

    while (tt_http1_list_next(&list, &element)) {
        if (tt_bytes_is(element, "*")) return true;
        if (tt_bytes_starts(element, TT_BYTES_LITERAL("W/"))) element = tt_bytes_from(element, 2);
        if (tt_bytes_equal(element, tag)) return true;
    }
    return false;
}

struct tt_exchange *tt_assets_reply(const struct tt_request *request, struct tt_bytes path)
{
    const struct tt_web_asset *asset = find(path);
    struct tt_bytes known = request->head->known[TT_HTTP1_IF_NONE_MATCH];

    if (asset == NULL) {
        return tt_reply_error(request, 404, "not_found", 0, "path: there is no such file");
    }
    struct tt_header headers[] = {
        {"ETag", tt_bytes_text(asset->etag)},
        /* The files belong to this build: asked for anew each time, mostly answered by 304. */
        {"Cache-Control", TT_BYTES_LITERAL("no-cache")},
        {"X-Content-Type-Options", TT_BYTES_LITERAL("nosniff")},
        /* The pages need nothing from elsewhere, and no page of elsewhere may frame their buttons.
         */
        {"Content-Security-Policy",
         TT_BYTES_LITERAL("default-src 'self'; base-uri 'none'; form-action 'none'; "
                          "frame-ancestors 'none'")},
    };
    struct tt_response response = {
        .status = 200,
        .content_type = asset->content_type,
        .headers = headers,
        .headers_count = 4,
    };
    if (known.data != NULL && tag_is_known(known, headers[0].value)) {
        response.status = 304;
        response.content_type = NULL;
        return tt_reply(request, &response, TT_BYTES_NONE);
    }
    return tt_reply_static(request, &response, tt_bytes(asset->data, asset->size));
}

struct tt_exchange *tt_assets_handle(void *context, const struct tt_request *request)
{
    (void)context;
    return tt_assets_reply(request, tt_bytes_from(request->path, 1));
}

struct tt_exchange *tt_assets_redirect(void *context, const struct tt_request *request)
{
    struct tt_header header = {"Location", tt_bytes_text(context)};
    struct tt_response response = {.status = 302, .headers = &header, .headers_count = 1};

    return tt_reply(request, &response, TT_BYTES_NONE);
}
