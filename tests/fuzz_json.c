/* Fuzz target: the JSON reader and writer. A text's tokens lie inside it, and written down again
 * they are a text with the same tokens; every string survives reading, writing and reading.
 *
 * input    a text, and at the same time a string to write */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

static void require_inside(tws_str part, tws_str whole)
{
    REQUIRE(part.ptr >= whole.ptr && part.len <= whole.len);
    REQUIRE((size_t)(part.ptr - whole.ptr) <= whole.len - part.len);
}

/* Reading a written string gives what was written. */
static void check_written(tws_str s, bool exactly)
{
    tws_buf written;
    tws_buf back;
    tws_json_reader r;
    tws_json_token t;
    tws_buf_init(&written, NULL, SIZE_MAX);
    tws_buf_init(&back, NULL, SIZE_MAX);
    tws_json_write_str(&written, s);
    REQUIRE(memchr(written.ptr, '<', written.len) == NULL);
    tws_json_init(&r, tws_buf_view(&written));
    REQUIRE(tws_json_next(&r, &t) == TWS_JSON_STRING);
    REQUIRE(tws_json_next(&r, NULL) == TWS_JSON_END);
    tws_json_unescape(&t, &back);
    REQUIRE(tws_utf8_valid(tws_buf_view(&back)));
    REQUIRE(!exactly || tws_str_eq(tws_buf_view(&back), s));
    tws_buf_free(&written);
    tws_buf_free(&back);
}

static void check_string(const tws_json_token *t)
{
    tws_buf meaning;
    tws_buf_init(&meaning, NULL, SIZE_MAX);
    tws_json_unescape(t, &meaning);
    REQUIRE(t->escaped ? meaning.len < t->text.len : meaning.len == t->text.len);
    check_written(tws_buf_view(&meaning), true);
    tws_buf_free(&meaning);
}

static void check_number(const tws_json_token *t)
{
    int64_t value;
    char digits[24];
    tws_buf b;
    if (!tws_json_i64(t, &value)) {
        return;
    }
    tws_buf_fixed(&b, digits, sizeof digits);
    tws_buf_i64(&b, value);
    REQUIRE(tws_str_eq(tws_buf_view(&b), t->text) || tws_str_eq_c(t->text, "-0"));
}

/* The tokens of a text as a text without white space. */
static bool compact(tws_str text, tws_buf *out)
{
    tws_json_reader r;
    tws_json_token t;
    uint32_t depth = 0;
    bool comma = false;
    tws_json_init(&r, text);
    while (tws_json_next(&r, &t) != TWS_JSON_END && t.type != TWS_JSON_ERROR) {
        bool opens = t.type == TWS_JSON_OBJECT || t.type == TWS_JSON_ARRAY;
        bool closes = t.type == TWS_JSON_OBJECT_END || t.type == TWS_JSON_ARRAY_END;
        bool quoted = t.type == TWS_JSON_KEY || t.type == TWS_JSON_STRING;
        require_inside(t.text, text);
        REQUIRE(r.pos <= text.len && t.text.ptr + t.text.len <= text.ptr + r.pos);
        depth += opens ? 1u : 0u;
        depth -= closes ? 1u : 0u;
        REQUIRE(depth == r.depth && depth <= TWS_JSON_MAX_DEPTH);
        tws_buf_c(out, comma && !closes ? "," : "");
        tws_buf_c(out, quoted ? "\"" : "");
        tws_buf_str(out, t.text);
        tws_buf_c(out, quoted ? "\"" : "");
        tws_buf_c(out, t.type == TWS_JSON_KEY ? ":" : "");
        comma = !opens && t.type != TWS_JSON_KEY;
        if (quoted) {
            check_string(&t);
        } else if (t.type == TWS_JSON_NUMBER) {
            check_number(&t);
        }
    }
    REQUIRE((t.type == TWS_JSON_END) == (r.reason == NULL));
    REQUIRE(r.pos <= text.len);
    REQUIRE(t.type == TWS_JSON_ERROR || depth == 0);
    return t.type == TWS_JSON_END;
}

/* The text of the whole value is found by skipping it, and a cut one is no value. */
static void check_skip(tws_str text)
{
    tws_json_reader r;
    tws_json_token t;
    tws_str raw;
    tws_json_init(&r, text);
    (void)tws_json_next(&r, &t);
    REQUIRE(tws_json_skip(&r, &t, &raw));
    REQUIRE(tws_json_next(&r, NULL) == TWS_JSON_END);
    require_inside(raw, text);
    REQUIRE(tws_json_valid(raw));
    bool number = t.type == TWS_JSON_NUMBER;
    REQUIRE(number || !tws_json_valid(tws_str_of(raw.ptr, raw.len - 1)));
    REQUIRE(number || !tws_json_valid(tws_str_of(raw.ptr, raw.len / 2)));
}

/* Every key of a top-level object finds a member. */
static void check_members(tws_str text)
{
    tws_json_reader r;
    tws_json_token t;
    tws_json_token value;
    tws_json_init(&r, text);
    bool object = tws_json_next(&r, NULL) == TWS_JSON_OBJECT;
    for (int i = 0; object && i < 20 && tws_json_next(&r, &t) == TWS_JSON_KEY; i++) {
        tws_buf name;
        tws_buf_init(&name, NULL, SIZE_MAX);
        tws_json_unescape(&t, &name);
        REQUIRE(tws_json_member(text, tws_buf_view(&name), &value) == TWS_OK);
        require_inside(value.text, text);
        REQUIRE(value.type == TWS_JSON_STRING || tws_json_valid(value.text));
        REQUIRE(tws_json_skip(&r, &t, NULL));
        tws_buf_free(&name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tws_buf once;
    tws_buf twice;
    tws_json_token value;
    tws_str text = tws_str_of((const char *)data, size);
    tws_buf_init(&once, NULL, SIZE_MAX);
    tws_buf_init(&twice, NULL, SIZE_MAX);
    bool valid = compact(text, &once);
    REQUIRE(valid == tws_json_valid(text));
    if (valid) {
        REQUIRE(compact(tws_buf_view(&once), &twice));
        REQUIRE(tws_str_eq(tws_buf_view(&once), tws_buf_view(&twice)));
        check_skip(text);
        check_members(text);
    }
    tws_status status = tws_json_member(text, tws_str_c("task_id"), &value);
    REQUIRE((status == TWS_ERR_SYNTAX) == !valid);
    check_written(text, tws_utf8_valid(text));
    tws_buf_free(&once);
    tws_buf_free(&twice);
    return 0;
}
