/* Fuzz target: frames, both roles. Whole or in pieces, a stream gives the same messages, control
 * frames and error; and what it gives keeps the promises of tws_ws_decode. And offers of
 * extensions: what is agreed on is within what both sides allow, and the answer says just that.
 *
 * input    byte 0: bit 3 offers: bits 4 to 7 are the endpoint's window, 0 to 15, 8 at least or none;
 *          then the field's value
 *          frames: bit 0 the role, bit 1 a limit of 300 bytes, bit 2 one of 4 frames
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

/* What a stream gave, in an order that does not depend on how it was cut. */
typedef struct transcript {
    uint8_t *bytes;
    size_t len;
    uint8_t *message;
    size_t message_len;
    bool open;
    bool failed;
} transcript;

static void record(transcript *t, unsigned kind, unsigned code, const uint8_t *p, size_t n)
{
    const uint8_t head[4] = {(uint8_t)kind, (uint8_t)(code >> 8), (uint8_t)code, (uint8_t)n};
    memcpy(t->bytes + t->len, head, sizeof head);
    t->len += sizeof head;
    if (n > 0) {
        memcpy(t->bytes + t->len, p, n);
    }
    t->len += n;
}

static void on_data(transcript *t, const tws_ws_event *ev)
{
    REQUIRE(ev->opcode == TWS_WS_TEXT || ev->opcode == TWS_WS_BINARY);
    REQUIRE(ev->first == !t->open);
    REQUIRE(!ev->last || ev->frame_left == 0);
    if (ev->len > 0) {
        memcpy(t->message + t->message_len, ev->payload, ev->len);
    }
    t->message_len += ev->len;
    t->open = !ev->last;
    if (ev->last) {
        tws_str text = tws_str_of((const char *)t->message, t->message_len);
        REQUIRE(ev->opcode == TWS_WS_BINARY || tws_utf8_valid(text));
        record(t, TWS_WS_DATA, (unsigned)ev->opcode, t->message, t->message_len);
        t->message_len = 0;
    }
}

static void on_event(transcript *t, const tws_ws_event *ev)
{
    if (ev->type == TWS_WS_MORE) {
        return;
    }
    if (ev->type == TWS_WS_DATA) {
        on_data(t, ev);
        return;
    }
    REQUIRE(ev->len <= 125);
    record(t, (unsigned)ev->type, ev->code, ev->payload, ev->len);
    if (ev->type == TWS_WS_ERROR) {
        REQUIRE(ev->code == 1002 || ev->code == 1007 || ev->code == 1009);
        REQUIRE(ev->reason != NULL);
        t->failed = true;
    }
}

/* Decode p[0..len) until it wants more; returns what is left. */
static size_t decode_all(tws_ws_decoder *d, transcript *t, uint8_t *p, size_t len)
{
    tws_ws_event ev;
    do {
        size_t used = tws_ws_decode(d, p, len, &ev);
        REQUIRE(used <= len);
        REQUIRE(ev.len == 0 || (ev.payload >= p && ev.len <= (size_t)(p + used - ev.payload)));
        p += used;
        len -= used;
        on_event(t, &ev);
    } while (ev.type != TWS_WS_MORE && ev.type != TWS_WS_ERROR);
    REQUIRE(len <= 139 || t->failed);
    return len;
}

static transcript run(unsigned options, const uint8_t *steps, size_t step_count,
                      const uint8_t *stream, size_t size)
{
    transcript t = {NULL, 0, NULL, 0, false, false};
    tws_ws_decoder d;
    size_t kept = 0;
    size_t turn = 0;
    tws_ws_init(&d, (options & 1) != 0 ? TWS_WS_CLIENT : TWS_WS_SERVER,
                (options & 2) != 0 ? 300 : 0, (options & 4) != 0 ? 4 : 0);
    t.bytes = malloc(size * 5 + 8);
    t.message = malloc(size + 1);
    for (size_t at = 0; at < size && !t.failed;) {
        size_t step = step_count > 0 ? steps[turn++ % step_count] + 1u : size;
        size_t n = kept + (step < size - at ? step : size - at);
        uint8_t *block = malloc(n); /* of exactly this size: reading on is seen */
        memcpy(block, stream + at - kept, n);
        at += n - kept;
        kept = decode_all(&d, &t, block, n);
        REQUIRE(t.failed || memcmp(block + n - kept, stream + at - kept, kept) == 0);
        free(block);
    }
    return t;
}

/* -- offers -- */

static int check(tws_str offers, unsigned bits, tws_ws_compression *terms)
{
    static tws_http_request r;
    const char *reason;
    r.field_count = 1;
    r.field[0].name = tws_str_c("Sec-WebSocket-Extensions");
    r.field[0].value = offers;
    memset(terms, 0xa5, sizeof *terms);
    int status = tws_ws_check_extensions(&r, bits, terms, &reason);
    REQUIRE(status == 101 || (status == 400 && terms->window_bits == 0));
    REQUIRE((status == 101) == (reason == NULL));
    return status;
}

static void try_offers(const uint8_t *value, size_t size, unsigned bits)
{
    char memory[256];
    tws_buf b;
    tws_ws_compression terms;
    tws_ws_compression again;
    uint8_t *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, value, size);
    check(tws_str_of((const char *)exact, size), bits, &terms);
    free(exact);
    REQUIRE(terms.window_bits == 0 || (terms.window_bits >= 8 && terms.window_bits <= 15));
    REQUIRE(terms.server_context <= bits && terms.server_context <= terms.window_bits);
    REQUIRE(terms.client_context <= bits);
    REQUIRE(terms.server_context == 0 || terms.server_context >= 8);
    REQUIRE(terms.client_context == 0 || terms.client_context >= 8);
    REQUIRE(terms.named || terms.window_bits == 0 || terms.window_bits == 15);
    REQUIRE(terms.window_bits != 0 || (terms.client_context == 0 && !terms.named));
    if (terms.window_bits == 0) {
        return;
    }
    /* The answer's value has the grammar of an offer, whose terms are those that were agreed on. */
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_ws_answer_extensions(&b, &terms);
    tws_str answer = tws_buf_view(&b);
    REQUIRE(b.status == TWS_OK && tws_str_starts(answer, "Sec-WebSocket-Extensions: "));
    answer = tws_str_from(answer, strlen("Sec-WebSocket-Extensions: "));
    answer.len -= 2;
    REQUIRE(check(answer, 15, &again) == 101);
    REQUIRE(again.window_bits == terms.window_bits && again.named == terms.named);
    REQUIRE(again.client_context == terms.client_context);
    REQUIRE((again.server_context == 0) == (terms.server_context == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && (data[0] & 8u) != 0) {
        const unsigned bits = data[0] >> 4;
        try_offers(data + 1, size - 1, bits < 8 ? 0 : bits);
        return 0;
    }
    size_t step_count = size >= 2 ? data[1] & 15u : 0;
    if (size < 2 + step_count) {
        return 0;
    }
    const uint8_t *stream = data + 2 + step_count;
    size_t len = size - 2 - step_count;
    transcript whole = run(data[0], NULL, 0, stream, len);
    transcript parts = run(data[0], data + 2, step_count, stream, len);
    REQUIRE(whole.len == parts.len && memcmp(whole.bytes, parts.bytes, whole.len) == 0);
    free(whole.bytes);
    free(whole.message);
    free(parts.bytes);
    free(parts.message);
    return 0;
}
