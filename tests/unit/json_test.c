#include "proto/wire/json.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "proto/base/limits.h"
#include "tests/unit/guard.h"

static bool is_valid(struct tt_bytes text)
{
    struct tt_json_value value;
    struct tt_bytes copy = guard_copy(0, text);
    const char *wrong = NULL;
    size_t offset = 0;
    bool valid = tt_json_check(copy, &value, &wrong, &offset) == TT_OK;
    cr_assert_eq(valid, wrong == NULL);
    cr_assert(valid || offset <= text.size);
    return valid;
}

/* ---- the corpus: tests/vectors/json/README.md ---- */

static size_t expand(const char *line, char *out)
{
    size_t size = 0;
    while (*line != 0) {
        unsigned byte, count;
        int used = 0;
        char text[64];
        if (sscanf(line, "{{%u:%60[^\n]", &count, text) == 2 && strstr(text, "}}") != NULL) {
            /* The repeated text may itself end in a brace: the last two of a run of them end it. */
            char *end = strstr(text, "}}");
            while (end[2] == '}') end++;
            *end = 0;
            for (unsigned i = 0; i < count; i++, size += strlen(text))
                memcpy(out + size, text, strlen(text));
            line = strchr(line + 2, ':') + 1 + strlen(text) + 2;
        } else if (sscanf(line, "\\x%2x%n", &byte, &used) == 1 && used == 4) {
            out[size++] = (char)byte;
            line += 4;
        } else if (line[0] == '\\') {
            out[size++] = line[1] == 'n'   ? '\n'
                          : line[1] == 'r' ? '\r'
                          : line[1] == 't' ? '\t'
                                           : line[1];
            line += 2;
        } else {
            out[size++] = *line++;
        }
    }
    return size;
}

static unsigned run_corpus(const char *path, bool valid)
{
    static char line[4096], text[200000];
    FILE *file = fopen(path, "r");
    unsigned cases = 0;
    cr_assert_not_null(file, "%s", path);
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        char *tab = strchr(line, '\t');
        if (line[0] == '#') continue;
        cr_assert_not_null(tab, "%s", line);
        *tab = 0;
        struct tt_bytes bytes = tt_bytes(text, expand(tab + 1, text));
        cr_expect_eq(is_valid(bytes), valid, "%s: %s", path, line);
        /* No prefix of a valid array, object or string is valid: nothing is accepted early. */
        bool closed = valid && (text[0] == '[' || text[0] == '{' || text[0] == '"');
        for (size_t size = 0; closed && size < bytes.size; size++)
            cr_assert_not(is_valid(tt_bytes(text, size)), "%s cut at %zu", line, size);
        cases++;
    }
    (void)fclose(file);
    return cases;
}

Test(json, corpus)
{
    cr_assert_gt(run_corpus("tests/vectors/json/valid.tsv", true), 50);
    cr_assert_gt(run_corpus("tests/vectors/json/invalid.tsv", false), 100);
}

/* ---- against jansson ----
 *
 * jansson (2.14, JSON_DECODE_ANY | JSON_ALLOW_NUL) differs from RFC 8259 and from us in:
 *   1. numbers that its types cannot hold ("too big integer", "real number overflow");
 *   2. unpaired surrogates in \u escapes, which the grammar allows ("invalid Unicode '\uD800'");
 *   3. \u0000 in the name of a member ("NUL byte in object key not supported");
 *   4. its own limit of depth, 2,048, where ours is 64;
 *   5. it takes white space, comma and colon as we do, but accepts nothing else that we refuse. */

static bool excused(const json_error_t *error)
{
    return json_error_code(error) == json_error_numeric_overflow ||
           json_error_code(error) == json_error_null_byte_in_key ||
           strstr(error->text, "invalid Unicode '\\u") != NULL;
}

static unsigned depth_of(const json_t *value)
{
    unsigned deepest = 0;
    const char *key;
    size_t index;
    json_t *one;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, one)
        {
            unsigned depth = depth_of(one);
            if (depth > deepest) deepest = depth;
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, one)
        {
            unsigned depth = depth_of(one);
            if (depth > deepest) deepest = depth;
        }
    } else {
        return 0;
    }
    return deepest + 1;
}

static void compare(struct tt_bytes text)
{
    json_error_t error = {0};
    json_t *theirs =
        json_loadb((const char *)text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool ours = is_valid(text);
    if (theirs != NULL && !ours) /* a member given twice hides the deeper value of the first */
        cr_assert(depth_of(theirs) > TT_JSON_DEPTH_MAX, "refused: %.*s", (int)text.size,
                  (const char *)text.data);
    if (theirs == NULL && ours)
        cr_assert(excused(&error), "accepted: %.*s: %s", (int)text.size, (const char *)text.data,
                  error.text);
    json_decref(theirs);
}

static unsigned seed = 17;

static unsigned random_below(unsigned limit)
{
    return (unsigned)rand_r(&seed) % limit;
}

/* Changes the text in one to three places with bytes that matter to a parser of JSON. */
static size_t mutate(char *text, size_t size, size_t capacity)
{
    static const char *const pieces[] = {
        "\"",       "\\",
        "[",        "]",
        "{",        "}",
        ",",        ":",
        "0",        "-",
        "1",        ".",
        "e",        "E",
        "+",        "\n",
        "\\u",      "\\ud83d",
        "\\n",      "true",
        " ",        "\t",
        "null",     "\x01",
        "\xC3\xA4", "\xF0\x9F\x98\x80",
        "\xFF",     "\xED\xA0\x80",
        "a",        "\r",
    };
    for (unsigned i = 0; i <= random_below(3); i++) {
        size_t at = random_below((unsigned)size + 1);
        const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
        size_t bytes = strlen(piece);
        if (random_below(3) == 0 && at < size) { /* remove a byte */
            memmove(text + at, text + at + 1, size - at - 1);
            size--;
        } else if (random_below(2) == 0 && at + bytes <= size) { /* overwrite */
            memcpy(text + at, piece, bytes);
        } else if (size + bytes <= capacity) { /* insert */
            memmove(text + at + bytes, text + at, size - at);
            memcpy(text + at, piece, bytes);
            size += bytes;
        }
    }
    return size;
}

Test(json, agrees_with_jansson_on_random_mutations)
{
    static const char *const seeds[] = {
        "{\"type\":\"update\",\"channel\":\"stock.AAPL\",\"payload\":{\"symbol\":\"AAPL\",\"price\""
        ":174.32},\"timestamp\":1732558200000,\"id\":\"k7Qp2a-0-1042\"}",
        "[null,true,false,0,-0,1.5e-7,\"\\u0041\\n\\\\\\\"\",[],{},[[1],{\"a\":[{\"b\":null}]}]]",
        " { \"a\" : [ 1 , 2.0 , -3E+4 ] ,\r\n\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\" : \"\\ud83d"
        "\\ude00\" } ",
        "\"plain text that is longer than sixteen bytes, with \xC3\xA4 in it and \\t at the end\"",
        "-12.34E-56",
    };
    for (unsigned round = 0; round < 60000; round++) {
        char text[400];
        const char *start = seeds[random_below(sizeof seeds / sizeof *seeds)];
        size_t size = strlen(start);
        memcpy(text, start, size);
        size = mutate(text, size, sizeof text);
        compare(tt_bytes(text, size));
    }
}

Test(json, agrees_with_jansson_on_short_texts_of_all_kinds)
{
    static const char alphabet[] = "[]{},:\"0-1.eE \\ntuaf";
    for (unsigned round = 0; round < 200000; round++) {
        char text[8];
        size_t size = random_below(sizeof text + 1);
        for (size_t i = 0; i < size; i++) text[i] = alphabet[random_below(sizeof alphabet - 1)];
        compare(tt_bytes(text, size));
    }
}

/* ---- strings at every alignment to the blocks of 16 ---- */

Test(json, special_bytes_are_seen_at_every_place_of_a_string)
{
    for (size_t size = 1; size < 70; size++) {
        for (size_t at = 1; at <= size; at++) {
            char text[80];
            memset(text, 'a', size + 2);
            text[0] = text[size + 1] = '"';
            cr_assert(is_valid(tt_bytes(text, size + 2)));
            static const uint8_t wrong[] = {0x00, 0x1F, '\n', '"', 0x80, 0xC3, 0xFF};
            for (size_t i = 0; i < sizeof wrong; i++) {
                text[at] = (char)wrong[i];
                cr_assert_not(is_valid(tt_bytes(text, size + 2)), "%02x at %zu of %zu", wrong[i],
                              at, size);
            }
        }
    }
}

/* ---- the reader ---- */

static void is(struct tt_bytes bytes, const char *text)
{
    cr_assert(tt_bytes_is(bytes, text), "\"%.*s\" instead of \"%s\"", (int)bytes.size,
              (const char *)bytes.data, text);
}

Test(json, walks_members_and_elements)
{
    struct tt_bytes text = guard_copy(
        0, TT_BYTES_LITERAL(" {\"a\" : 1 , \"b\\n\":[true,{\"c\": null}],\"d\":{\n}}\n"));
    struct tt_json_reader r = tt_json_reader(text);
    struct tt_json_value key, value;
    cr_assert_eq(tt_json_peek(&r), '{');
    cr_assert_eq(tt_json_begin(&r, '{'), TT_OK);
    cr_assert_eq(tt_json_member(&r, &key, &value), TT_OK);
    is(key.text, "\"a\"");
    is(value.text, "1");
    cr_assert_eq(value.kind, TT_JSON_NUMBER);
    cr_assert_eq(tt_json_member(&r, &key, &value), TT_OK);
    cr_assert(key.escaped && tt_json_string_is(&key, "b\n"));
    is(value.text, "[true,{\"c\": null}]");
    cr_assert_eq(value.kind, TT_JSON_ARRAY);
    cr_assert_not(value.breaks);
    struct tt_json_reader inner = tt_json_reader(value.text);
    cr_assert_eq(tt_json_begin(&inner, '['), TT_OK);
    cr_assert_eq(tt_json_element(&inner), TT_OK);
    cr_assert_eq(tt_json_value(&inner, &value), TT_OK);
    cr_assert_eq(value.kind, TT_JSON_TRUE);
    cr_assert_eq(tt_json_element(&inner), TT_OK);
    cr_assert_eq(tt_json_begin(&inner, '{'), TT_OK); /* enters instead of reading it whole */
    cr_assert_eq(tt_json_member(&inner, &key, &value), TT_OK);
    cr_assert_eq(value.kind, TT_JSON_NULL);
    cr_assert_eq(tt_json_member(&inner, &key, &value), TT_END);
    cr_assert_eq(tt_json_element(&inner), TT_END);
    cr_assert_eq(tt_json_finish(&inner), TT_OK);
    cr_assert_eq(tt_json_member(&r, &key, &value), TT_OK);
    cr_assert(value.kind == TT_JSON_OBJECT && value.breaks);
    cr_assert_eq(tt_json_member(&r, &key, &value), TT_END);
    cr_assert_eq(tt_json_finish(&r), TT_OK);
    cr_assert_eq(tt_json_offset(&r), text.size);
}

Test(json, depth_counts_entered_containers_too)
{
    char text[200] = "";
    for (unsigned i = 0; i < TT_JSON_DEPTH_MAX + 1; i++) strcat(text, "[");
    struct tt_json_reader r = tt_json_reader(tt_bytes_text(text));
    struct tt_json_value value;
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(tt_json_begin(&r, '['), TT_OK);
        cr_assert_eq(tt_json_element(&r), TT_OK);
    }
    cr_assert_eq(tt_json_value(&r, &value), TT_EINVAL);
    cr_assert_not_null(strstr(r.error, "64"));
    cr_assert_eq(r.error_offset, TT_JSON_DEPTH_MAX);
}

Test(json, errors_have_their_place)
{
    static const struct {
        const char *text, *says;
        size_t at;
    } cases[] = {
        {"[1,]", "a value was expected", 3},
        {"[1 2]", "a comma or ] was expected", 3},
        {"{\"a\" 1}", "colon", 5},
        {"{\"a\":1 \"b\"}", "a comma or }", 7},
        {"\"a\nb\"", "must be escaped", 2},
        {"\"ab\xFF\"", "UTF-8", 3},
        {"\"\\x\"", "escape", 1},
        {"[1", "ends", 2},
        {"\"abc", "ends within a string", 4},
        {"1 x", "behind the JSON value", 2},
        {"01", "leading zero", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_json_value value;
        const char *wrong;
        size_t at;
        cr_assert_eq(tt_json_check(tt_bytes_text(cases[i].text), &value, &wrong, &at), TT_EINVAL);
        cr_assert_not_null(strstr(wrong, cases[i].says), "%s: %s", cases[i].text, wrong);
        cr_assert_eq(at, cases[i].at, "%s: %zu", cases[i].text, at);
    }
}

/* ---- values ---- */

static struct tt_json_value value_of(const char *text)
{
    struct tt_json_value value;
    cr_assert_eq(tt_json_check(guard_copy(1, tt_bytes_text(text)), &value, NULL, NULL), TT_OK, "%s",
                 text);
    return value;
}

Test(json, strings_are_decoded_also_in_place)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"\"\"", ""},
        {"\"abc\"", "abc"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00z\"", "A\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z"},
        {"\"\\uFFFF\\u07ff\\u0800\\udbff\\udfff\"",
         "\xEF\xBF\xBF\xDF\xBF\xE0\xA0\x80\xF4\x8F\xBF\xBF"},
        {"\"\\ud800\"", NULL},
        {"\"\\udc00\"", NULL},
        {"\"\\ud800a\"", NULL},
        {"\"\\ud800\\n\"", NULL},
        {"\"\\ud800\\u0041\"", NULL},
        {"\"\\ude00\\ud83d\"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_json_value value = value_of(cases[i].text);
        size_t size = value.text.size;
        struct tt_writer apart = tt_writer(guard_room(2, size), size);
        struct tt_writer same = tt_writer((uint8_t *)value.text.data, size);
        enum tt_status expected = cases[i].says == NULL ? TT_EINVAL : TT_OK;
        cr_assert_eq(tt_json_string_decode(&value, &apart), expected, "%s", cases[i].text);
        if (cases[i].says != NULL) cr_assert(tt_json_string_is(&value, cases[i].says));
        cr_assert_not(tt_json_string_is(&value, "something else"));
        cr_assert_eq(tt_json_string_decode(&value, &same), expected);
        if (cases[i].says == NULL) continue;
        is(tt_writer_bytes(&apart), cases[i].says);
        is(tt_writer_bytes(&same), cases[i].says);
    }
}

Test(json, integers)
{
    static const struct {
        const char *text;
        int64_t value;
        bool good;
    } cases[] = {
        {"0", 0, true},
        {"-0", 0, true},
        {"17", 17, true},
        {"-17", -17, true},
        {"9223372036854775807", INT64_MAX, true},
        {"-9223372036854775808", INT64_MIN, true},
        {"9223372036854775808", 0, false},
        {"-9223372036854775809", 0, false},
        {"99999999999999999999999", 0, false},
        {"1.0", 0, false},
        {"1e3", 0, false},
        {"\"1\"", 0, false},
        {"null", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_json_value value = value_of(cases[i].text);
        int64_t number = 0;
        cr_assert_eq(tt_json_to_i64(&value, &number) == TT_OK, cases[i].good, "%s", cases[i].text);
        if (cases[i].good) cr_assert_eq(number, cases[i].value, "%s", cases[i].text);
    }
}

Test(json, flatten)
{
    char text[] = "{\r\n\"a\\n\": [1,\n2]\r}";
    tt_json_flatten((uint8_t *)text, strlen(text));
    cr_assert_str_eq(text, "{  \"a\\n\": [1, 2] }");
}
