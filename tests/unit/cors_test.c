#include <criterion/criterion.h>

#include "shard/http/cors.h"

static bool allows(const char *entry, const char *origin)
{
    struct tt_bytes text = tt_bytes_text(entry);
    struct tt_cors *cors;

    cr_assert_eq(tt_cors_check(text, NULL), TT_OK, "%s", entry);
    cr_assert_eq(tt_cors_create(&cors, &text, 1), TT_OK);
    bool allowed = tt_cors_allows(cors, tt_bytes_text(origin));
    tt_cors_destroy(&cors);
    return allowed;
}

Test(cors, exact_origins)
{
    cr_assert(allows("https://app.example.com", "https://app.example.com"));
    cr_assert(allows("https://App.Example.com", "https://app.example.com"));
    cr_assert(allows("http://localhost:3000", "http://localhost:3000"));
    cr_assert_not(allows("https://app.example.com", "http://app.example.com"));
    cr_assert_not(allows("https://app.example.com", "https://app.example.com:8443"));
    cr_assert_not(allows("https://app.example.com", "https://app.example.com.evil.example"));
    cr_assert_not(allows("https://app.example.com", "https://evilapp.example.com"));
    cr_assert_not(allows("https://app.example.com", "null"));
    cr_assert_not(allows("https://app.example.com", ""));
}

Test(cors, every_host_below_a_domain)
{
    cr_assert(allows("https://*.example.com", "https://a.example.com"));
    cr_assert(allows("https://*.example.com", "https://a.b.example.com"));
    cr_assert(allows("https://*.example.com:8443", "https://a.example.com:8443"));
    cr_assert_not(allows("https://*.example.com", "https://example.com"));
    cr_assert_not(allows("https://*.example.com", "https://.example.com"));
    cr_assert_not(allows("https://*.example.com", "https://evilexample.com"));
    cr_assert_not(allows("https://*.example.com", "http://a.example.com"));
    cr_assert_not(allows("https://*.example.com", "https://a.example.com:1"));
    cr_assert_not(allows("https://*.example.com", "https://evil.example/.example.com"));
    cr_assert_not(allows("https://*.example.com", "https://a@b.example.com"));
}

Test(cors, entries_that_are_no_origins)
{
    static const char *const bad[] = {"",
                                      "*",
                                      "app.example.com",
                                      "ftp://example.com",
                                      "https://",
                                      "https://*",
                                      "https://*.",
                                      "https://*.*.example.com",
                                      "https://a*.example.com",
                                      "https://example.com/",
                                      "https://example.com/x",
                                      "https://exa mple.com",
                                      "https://example.com:",
                                      "https://user@example.com"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[300];
        struct tt_writer why = tt_writer(text, sizeof(text));
        cr_assert_eq(tt_cors_check(tt_bytes_text(bad[i]), &why), TT_EINVAL, "%s", bad[i]);
        cr_assert_gt(why.size, 0);
    }
}

Test(cors, the_servers_own_pages)
{
    struct tt_bytes host = tt_bytes_text("board.example.com:8080");

    cr_assert(tt_cors_same_host(tt_bytes_text("http://board.example.com:8080"), host));
    cr_assert(tt_cors_same_host(tt_bytes_text("https://Board.example.com:8080"), host));
    cr_assert_not(tt_cors_same_host(tt_bytes_text("http://board.example.com"), host));
    cr_assert_not(tt_cors_same_host(tt_bytes_text("null"), host));
    cr_assert_not(tt_cors_same_host(tt_bytes_text("http://"), TT_BYTES_NONE));
    cr_assert_not(tt_cors_allows(NULL, tt_bytes_text("https://app.example.com")));
}
