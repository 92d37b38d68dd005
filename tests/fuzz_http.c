/* Fuzz target: request and response heads, chunked bodies, queries, the response writer. What
 * comes in pieces gives the same as what comes whole, what is read lies inside the input, and what
 * was accepted is accepted again when it is written down plainly.
 *
 * input    byte 0: bits 0 to 1 the part (request, response, chunks, query and writer), bit 2 a
 *          limit of 200 bytes for a request's head
 *          byte 1: how many lengths of pieces follow (0 to 15), used in turn; then the bytes */
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

/* The lengths of the pieces, in turn; without any, all at once. */
typedef struct pieces {
    const uint8_t *steps;
    size_t count;
    size_t turn;
} pieces;

static size_t next_piece(pieces *p, size_t left)
{
    size_t step = p->count > 0 ? p->steps[p->turn++ % p->count] + (size_t)1 : left;
    return tws__min(step, left);
}

static uint8_t *copy(const void *data, size_t len)
{
    uint8_t *block = (uint8_t *)malloc(len > 0 ? len : 1);
    if (len > 0) {
        memcpy(block, data, len);
    }
    return block;
}

static bool same_place(tws_str a, const char *a_begin, tws_str b, const char *b_begin)
{
    return a.len == b.len && (a.len == 0 || a.ptr - a_begin == b.ptr - b_begin);
}

static void require_inside(tws_str part, tws_str whole)
{
    if (part.len > 0) {
        REQUIRE(part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
    }
}

/* -- requests -- */

static tws_http_request one;
static tws_http_request other;

static void check_field(const tws_http_field *f, tws_str head)
{
    require_inside(f->name, head);
    require_inside(f->value, head);
    REQUIRE(tws__http_all(f->name, TWS__HTTP_TOKEN) && f->name.len > 0);
    REQUIRE(tws__http_all(f->value, TWS__HTTP_TEXT));
    REQUIRE(tws_str_eq(tws_str_trim(f->value), f->value));
}

static void check_request(const tws_http_request *r, tws_str bytes)
{
    tws_str head = tws_str_of(bytes.ptr, r->head_bytes);
    REQUIRE(r->head_bytes >= 16 && r->head_bytes <= bytes.len);
    REQUIRE(memcmp(head.ptr + head.len - 4, "\r\n\r\n", 4) == 0);
    REQUIRE(memchr(head.ptr, '\0', head.len) == NULL);
    require_inside(r->method, head);
    require_inside(r->target, head);
    require_inside(r->query, r->target);
    require_inside(r->host, head);
    REQUIRE(r->path.len <= r->target.len && r->path.len + r->query.len <= r->target.len);
    REQUIRE(!r->chunked || r->content_length == 0);
    REQUIRE(r->minor > 0 || (!r->chunked && !r->upgrade && !r->expect_continue));
    for (uint32_t i = 0; i < r->field_count; i++) {
        check_field(&r->field[i], head);
        REQUIRE(tws_http_find(r, "host") == NULL || r->host.ptr != NULL);
    }
}

/* The request written down again, one space and one line end each, reads the same. */
static void check_rewritten(const tws_http_request *r)
{
    static const tws_http_limits wide = {1u << 20};
    tws_buf b;
    tws_buf_init(&b, NULL, SIZE_MAX);
    tws_buf_str(&b, r->method);
    tws_buf_char(&b, ' ');
    tws_buf_str(&b, r->target);
    tws_buf_c(&b, " HTTP/1.");
    tws_buf_u64(&b, r->minor);
    tws_buf_c(&b, "\r\n");
    for (uint32_t i = 0; i < r->field_count; i++) {
        tws_buf_str(&b, r->field[i].name);
        tws_buf_c(&b, ": ");
        tws_buf_str(&b, r->field[i].value);
        tws_buf_c(&b, "\r\n");
    }
    tws_buf_c(&b, "\r\n");
    REQUIRE(tws_http_parse(&other, b.ptr, b.len, NULL, &wide) == TWS_HTTP_DONE);
    REQUIRE(other.head_bytes == b.len && other.field_count == r->field_count);
    REQUIRE(tws_str_eq(other.path, r->path) && tws_str_eq(other.query, r->query));
    REQUIRE(tws_str_eq(other.host, r->host) && other.content_length == r->content_length);
    REQUIRE(other.keep_alive == r->keep_alive && other.chunked == r->chunked);
    REQUIRE(other.upgrade == r->upgrade && other.expect_continue == r->expect_continue);
    tws_buf_free(&b);
}

static tws_http_result parse_pieces(tws_http_request *r, pieces p, tws_str bytes,
                                    const tws_http_limits *limits, uint8_t **block)
{
    size_t len = 0;
    size_t scanned = 0;
    tws_http_result result;
    *block = NULL;
    do {
        free(*block);
        len += next_piece(&p, bytes.len - len);
        *block = copy(bytes.ptr, len);
        result = tws_http_parse(r, (const char *)*block, len, &scanned, limits);
        REQUIRE(scanned == (result == TWS_HTTP_MORE ? len : 0));
    } while (result == TWS_HTTP_MORE && len < bytes.len);
    return result;
}

/* With a blank line behind it, a head is one or is refused: what comes in pieces may be refused
 * no later than that. */
static void try_request(pieces p, tws_str input, bool limited)
{
    const tws_http_limits limits = {limited ? 200u : 0};
    char *ended = (char *)malloc(input.len + 4);
    tws_str bytes = tws_str_of(ended, input.len + 4);
    memcpy(ended, input.ptr, input.len);
    memcpy(ended + input.len, "\r\n\r\n", 4);
    (void)tws_http_parse(&one, input.ptr, input.len, NULL, &limits);
    uint8_t *block;
    tws_http_result whole = tws_http_parse(&one, bytes.ptr, bytes.len, NULL, &limits);
    tws_http_result parts = parse_pieces(&other, p, bytes, &limits, &block);
    REQUIRE(whole == parts && whole != TWS_HTTP_MORE);
    if (whole == TWS_HTTP_ERROR) {
        REQUIRE(one.status == other.status && one.offset == other.offset);
        REQUIRE(one.reason == other.reason && one.reason != NULL);
        REQUIRE(one.offset <= bytes.len);
        REQUIRE(one.status == 400 || one.status == 414 || one.status == 431 ||
                one.status == 501 || one.status == 505);
    }
    if (whole == TWS_HTTP_DONE) {
        const char *begin = (const char *)block;
        check_request(&one, bytes);
        REQUIRE(one.head_bytes == other.head_bytes && one.field_count == other.field_count);
        REQUIRE(same_place(one.target, bytes.ptr, other.target, begin));
        for (uint32_t i = 0; i < one.field_count; i++) {
            REQUIRE(same_place(one.field[i].name, bytes.ptr, other.field[i].name, begin));
            REQUIRE(same_place(one.field[i].value, bytes.ptr, other.field[i].value, begin));
        }
        check_rewritten(&one);
        tws_str value;
        (void)tws_http_cookie(&one, "token", &value);
        require_inside(value, bytes);
        (void)tws_http_lists(&one, "connection", "upgrade");
    }
    free(block);
    free(ended);
}

/* -- responses -- */

static void try_response(pieces p, tws_str bytes)
{
    static tws_http_response r;
    tws_http_result whole = tws_http_parse_response(&r, bytes.ptr, bytes.len);
    size_t head = r.head_bytes;
    const char *reason = r.reason;
    REQUIRE(whole != TWS_HTTP_ERROR || reason != NULL);
    if (whole == TWS_HTTP_DONE) {
        REQUIRE(head <= bytes.len && r.status >= 100 && r.status <= 999);
        require_inside(r.phrase, bytes);
        for (uint32_t i = 0; i < r.field_count; i++) {
            check_field(&r.field[i], bytes);
        }
    }
    for (size_t len = 0; len < bytes.len;) {
        len += next_piece(&p, bytes.len - len);
        uint8_t *block = copy(bytes.ptr, len);
        tws_http_result part = tws_http_parse_response(&r, (const char *)block, len);
        free(block);
        REQUIRE(part == TWS_HTTP_MORE || (part == whole && r.head_bytes == head));
        REQUIRE(part != TWS_HTTP_MORE || whole != TWS_HTTP_DONE || len < head);
        REQUIRE(part != TWS_HTTP_ERROR || r.reason == reason);
    }
}

/* -- chunks -- */

typedef struct body {
    tws_http_result result;
    size_t consumed;
    tws_buf bytes;
} body;

static body decode(pieces p, tws_str bytes)
{
    body b;
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    b.result = TWS_HTTP_MORE;
    b.consumed = 0;
    tws_buf_init(&b.bytes, NULL, SIZE_MAX);
    while (b.consumed < bytes.len && b.result == TWS_HTTP_MORE) {
        size_t consumed;
        size_t produced;
        size_t n = next_piece(&p, bytes.len - b.consumed);
        uint8_t *block = copy(bytes.ptr + b.consumed, n);
        b.result = tws_http_chunks_feed(&c, (char *)block, n, &consumed, &produced);
        REQUIRE(produced <= consumed && consumed <= n);
        REQUIRE(b.result != TWS_HTTP_MORE || consumed == n);
        tws_buf_put(&b.bytes, block, produced);
        b.consumed += consumed;
        free(block);
    }
    return b;
}

static void try_chunks(pieces p, tws_str bytes)
{
    const pieces all = {NULL, 0, 0};
    body whole = decode(all, bytes);
    body parts = decode(p, bytes);
    REQUIRE(whole.result == parts.result && whole.consumed == parts.consumed);
    REQUIRE(tws_str_eq(tws_buf_view(&whole.bytes), tws_buf_view(&parts.bytes)));
    tws_buf_free(&whole.bytes);
    tws_buf_free(&parts.bytes);
}

/* -- queries, and values written into a head -- */

/* What was decoded, with every byte escaped, decodes to the same. */
static void check_decode(tws_str s, bool plus)
{
    static const char hex[] = "0123456789abcdef";
    size_t len;
    size_t again;
    char *out = (char *)malloc(s.len + 1);
    char *back = (char *)malloc(s.len + 1);
    tws_buf escaped;
    tws_buf_init(&escaped, NULL, SIZE_MAX);
    if (tws_http_decode(s, plus, out, s.len, &len) == TWS_OK) {
        REQUIRE(len <= s.len && memchr(out, '\0', len) == NULL);
        for (size_t i = 0; i < len; i++) {
            const char digits[3] = {'%', hex[(uint8_t)out[i] >> 4], hex[out[i] & 15]};
            tws_buf_put(&escaped, digits, 3);
        }
        REQUIRE(tws_http_decode(tws_buf_view(&escaped), plus, back, len, &again) == TWS_OK);
        REQUIRE(again == len && memcmp(back, out, len) == 0);
        REQUIRE(len == 0 || tws_http_decode(s, plus, out, len - 1, &again) == TWS_ERR_LIMIT);
    }
    tws_buf_free(&escaped);
    free(out);
    free(back);
}

static void try_values(tws_str s)
{
    static tws_http_response r;
    tws_str value;
    REQUIRE((tws_http_query(s, "a", &value) == 0) <= (value.len == 0));
    require_inside(value, s);
    check_decode(s, false);
    check_decode(s, true);

    tws_buf b;
    tws_buf_init(&b, NULL, SIZE_MAX);
    tws_http_begin(&b, 200);
    tws_http_add(&b, "A", s);
    tws_http_end(&b, 0);
    tws_http_result result = tws_http_parse_response(&r, b.ptr, b.len);
    REQUIRE(result == (b.len > 16384 ? TWS_HTTP_ERROR : TWS_HTTP_DONE));
    REQUIRE(result == TWS_HTTP_ERROR || (r.field_count == 2 && r.head_bytes == b.len));
    tws_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step_count = size >= 2 ? data[1] & 15u : 0;
    if (size < 2 + step_count) {
        return 0;
    }
    const pieces p = {data + 2, step_count, 0};
    tws_str bytes = tws_str_of((const char *)data + 2 + step_count, size - 2 - step_count);
    switch (data[0] & 3) {
    case 0: try_request(p, bytes, (data[0] & 4) != 0); break;
    case 1: try_response(p, bytes); break;
    case 2: try_chunks(p, bytes); break;
    default: try_values(bytes);
    }
    return 0;
}
