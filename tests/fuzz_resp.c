/* Fuzz target: RESP. Whole or in pieces, with strings in pieces or without, a stream gives the same
 * values and the same error; nesting closes as it opens; what is decoded and is a command encodes
 * to what decodes the same.
 *
 * input    byte 0: bit 0 a limit of 100 bytes a string, bit 1 one of 5 elements
 *          byte 1: how many lengths of pieces follow (0 to 15), used in turn; then the stream */
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

/* What a stream gave, in an order that does not depend on how it was cut: of a string, its bytes
 * when it ends. */
typedef struct transcript {
    uint8_t *bytes;
    size_t len;
    uint8_t *string;
    size_t string_len;
    uint64_t total;
    bool open;
    bool failed;
    uint64_t left[TWS_RESP_MAX_DEPTH + 1]; /* elements to come, as the events say */
} transcript;

static void record(transcript *t, const tws_resp_event *ev, const uint8_t *p, size_t n)
{
    const uint8_t head[4] = {(uint8_t)ev->type, (uint8_t)ev->depth, ev->done, (uint8_t)n};
    memcpy(t->bytes + t->len, head, sizeof head);
    t->len += sizeof head;
    if (n > 0) {
        memcpy(t->bytes + t->len, p, n);
    }
    t->len += n;
}

static void on_string(transcript *t, const tws_resp_event *ev, uint32_t whole)
{
    REQUIRE(ev->first == !t->open);
    if (ev->first) {
        t->string_len = 0;
        t->total = ev->total;
    }
    REQUIRE(whole == 0 || t->total > whole || (ev->first && ev->last));
    if (ev->text.len > 0) {
        memcpy(t->string + t->string_len, ev->text.ptr, ev->text.len);
    }
    t->string_len += ev->text.len;
    t->open = !ev->last;
    REQUIRE(ev->last || !ev->done);
    if (ev->last) {
        REQUIRE(t->total == TWS_RESP_STREAMED || t->total == t->string_len);
        record(t, ev, t->string, t->string_len);
    }
}

static bool is_container(tws_resp_type type)
{
    return type >= TWS_RESP_ARRAY && type <= TWS_RESP_ATTRIBUTE;
}

/* Follows what the events say about nesting. */
static void on_nesting(transcript *t, const tws_resp_event *ev)
{
    if (ev->type == TWS_RESP_END) {
        REQUIRE(t->left[ev->depth + 1] == TWS_RESP_STREAMED);
    } else if (ev->depth > 0 && ev->type != TWS_RESP_ATTRIBUTE && ev->first == !is_container(ev->type)) {
        REQUIRE(t->left[ev->depth] > 0);
        t->left[ev->depth] -= t->left[ev->depth] == TWS_RESP_STREAMED ? 0 : 1;
    }
    if (is_container(ev->type)) {
        REQUIRE(ev->depth < TWS_RESP_MAX_DEPTH);
        t->left[ev->depth + 1] = ev->count;
    }
    for (uint32_t i = 1; ev->done && i <= ev->depth; i++) {
        REQUIRE(t->left[i] == 0);
    }
}

static void on_event(transcript *t, const tws_resp_event *ev, uint32_t whole)
{
    switch (ev->type) {
    case TWS_RESP_MORE: return;
    case TWS_RESP_SIMPLE:
    case TWS_RESP_BULK:
    case TWS_RESP_VERBATIM:
    case TWS_RESP_SERVER_ERROR: on_string(t, ev, whole); break;
    case TWS_RESP_ERROR:
        REQUIRE(ev->reason != NULL);
        t->failed = true;
        return;
    case TWS_RESP_INTEGER:
    case TWS_RESP_BOOL: record(t, ev, (const uint8_t *)&ev->integer, sizeof ev->integer); break;
    default: record(t, ev, (const uint8_t *)&ev->count, sizeof ev->count); break;
    }
    on_nesting(t, ev);
}

/* Decode p[0..len) until it wants more; returns what is left. */
static size_t decode_all(tws_resp_decoder *d, transcript *t, const uint8_t *p, size_t len)
{
    tws_resp_event ev;
    do {
        size_t used = tws_resp_decode(d, (const char *)p, len, &ev);
        REQUIRE(used <= len);
        const uint8_t *text = (const uint8_t *)ev.text.ptr;
        REQUIRE(ev.text.len == 0 || (text >= p && ev.text.len <= (size_t)(p + used - text)));
        REQUIRE(used > 0 || ev.type == TWS_RESP_MORE || ev.type == TWS_RESP_ERROR);
        p += used;
        len -= used;
        on_event(t, &ev, d->limits.whole);
    } while (ev.type != TWS_RESP_MORE && ev.type != TWS_RESP_ERROR);
    size_t most = d->limits.whole + 32u > TWS_RESP_MAX_LINE ? d->limits.whole + 32u : TWS_RESP_MAX_LINE;
    REQUIRE(len <= most || t->failed);
    return len;
}

static transcript run(unsigned options, uint32_t whole, const uint8_t *steps, size_t step_count,
                      const uint8_t *stream, size_t size)
{
    tws_resp_limits limits;
    transcript t;
    tws_resp_decoder d;
    size_t kept = 0;
    size_t turn = 0;
    memset(&t, 0, sizeof t);
    limits.max_string = (options & 1) != 0 ? 100 : 0;
    limits.max_count = (options & 2) != 0 ? 5 : 0;
    limits.whole = whole;
    tws_resp_init(&d, &limits);
    t.bytes = malloc(size * 12 + 64);
    t.string = malloc(size + 1);
    for (size_t at = 0; at < size && !t.failed;) {
        size_t step = step_count > 0 ? steps[turn++ % step_count] + 1u : size;
        size_t n = kept + (step < size - at ? step : size - at);
        uint8_t *block = malloc(n); /* of exactly this size: reading on is seen */
        memcpy(block, stream + at - kept, n);
        at += n - kept;
        kept = decode_all(&d, &t, block, n);
        free(block);
    }
    return t;
}

static void require_same(const transcript *a, const transcript *b)
{
    REQUIRE(a->failed == b->failed);
    REQUIRE(a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0);
}

static void drop(transcript *t)
{
    free(t->bytes);
    free(t->string);
}

/* The last string that came, as a command of it and its length, comes back. */
static void check_encoder(const transcript *t)
{
    tws_buf b;
    uint8_t none[2] = {0, 0};
    tws_buf_init(&b, NULL, SIZE_MAX / 2);
    tws_resp_command(&b, 2);
    tws_resp_word(&b, tws_str_of((const char *)t->string, t->string_len));
    tws_resp_word_u64(&b, t->string_len);
    REQUIRE(b.status == TWS_OK);
    transcript back = run(0, 0, none, 1, (const uint8_t *)b.ptr, b.len);
    REQUIRE(!back.failed && back.bytes[0] == TWS_RESP_ARRAY);
    REQUIRE(back.bytes[12] == TWS_RESP_BULK && back.bytes[13] == 1);
    REQUIRE(memcmp(back.bytes + 16, t->string, t->string_len) == 0);
    drop(&back);
    tws_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step_count = size >= 2 ? data[1] & 15u : 0;
    if (size < 2 + step_count) {
        return 0;
    }
    const uint8_t *stream = data + 2 + step_count;
    size_t len = size - 2 - step_count;
    transcript whole = run(data[0], 0, NULL, 0, stream, len);
    transcript parts = run(data[0], 0, data + 2, step_count, stream, len);
    transcript waits = run(data[0], 50, data + 2, step_count, stream, len);
    require_same(&whole, &parts);
    require_same(&whole, &waits);
    if (!whole.open) {
        check_encoder(&whole);
    }
    drop(&whole);
    drop(&parts);
    drop(&waits);
    return 0;
}
