/* Fuzz target: a connection, its peer, its owner, its clock, its sink and its memory. Whatever
 * comes, and whenever: events come in order and none behind the end, what was accepted for sending
 * goes out once and in order, memory stays under its limits, time leads somewhere, nothing leaks.
 *
 * input    byte 0: bit 0 pieces instead of a program, bit 1 small limits, bit 2 upgraded already,
 *          bit 3 no heartbeats, bit 4 what comes in may be compressed, bit 5 and refer to earlier
 *          messages, bit 6 what goes out is compressed and refers to earlier ones; bit 7 there is
 *          no room for either context
 *          a program: a byte whose low 4 bits are what to do, the high ones a number n; some are
 *          followed by bytes of their own (see run). Most are a turn
 *          pieces: a byte, low 4 bits how many lengths of pieces follow, used in turn, high 4 bits
 *          how much the sink takes at once; then the stream. It gives the same whole */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))
#define FEED_MAX 4096u
#define CONTEXT_BITS 9
#define BIG_BODY 70000u
#define BIG_UNIT 3000u
#define UPGRADE                                                                               \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

static void fail(const char *condition, int line)
{
    fprintf(stderr, "line %d: does not hold: %s\n", line, condition);
    abort();
}

/* -- memory: counted, moved, checked for its size, and refused when the input says so -- */

static size_t live_bytes;
static size_t fail_in; /* the n-th allocation from now fails; 0: none */
static bool refused;

static void *resize(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    size_t *fresh = NULL;
    (void)context;
    REQUIRE(p == NULL || ((size_t *)p)[-1] == old_bytes);
    if (new_bytes > 0) {
        if (fail_in > 0 && --fail_in == 0) {
            refused = refused || new_bytes > old_bytes; /* what cannot shrink stays as it is */
            return NULL;
        }
        fresh = (size_t *)malloc(sizeof *fresh + new_bytes);
        REQUIRE(fresh != NULL);
        *fresh++ = new_bytes;
        memset(fresh, 0xa5, new_bytes);
        live_bytes += new_bytes;
    }
    if (p != NULL) {
        if (fresh != NULL) {
            memcpy(fresh, p, old_bytes < new_bytes ? old_bytes : new_bytes);
        }
        live_bytes -= old_bytes;
        free((size_t *)p - 1);
    }
    return fresh;
}

static const tws_allocator allocator = {resize, NULL};

/* -- the world around a connection -- */

/* What was accepted for sending, in order. */
typedef enum made_kind { MADE_ANSWER, MADE_STREAM, MADE_ACCEPT, MADE_MESSAGE, MADE_PUT } made_kind;
#define MADE_MAX 4096
typedef struct made {
    made_kind kind;
    int number; /* status or opcode */
    size_t at;  /* of its bytes in made_bytes */
    size_t len;
} made;

/* How far the reader of the output has come. */
typedef enum reading { READ_HTTP, READ_STREAM, READ_FRAMES, READ_NOTHING } reading;

typedef struct world {
    const uint8_t *at; /* the program */
    const uint8_t *end;
    tws_conn_desc desc;
    tws_ws_compression terms;
    size_t context_use;
    tws_conn c;
    uint64_t now_ms;
    size_t takes; /* bytes that the sink takes in one write */
    bool in_turn;
    bool fed;
    size_t fed_most;
    uint8_t last[FEED_MAX]; /* what was fed last, to be fed again */
    size_t last_len;
    uint8_t *block; /* what was fed: gone at the turn's end */
    uint8_t *lent[64]; /* what was lent to the turn, likewise */
    size_t lent_count;
    struct loan *loan[8]; /* and what may be held beyond it */
    size_t loan_count;
    /* the owner's view */
    bool asked;   /* a request waits for its answer */
    bool refused; /* BAD_REQUEST was told */
    bool opened;
    bool stream;
    bool closed;  /* CLOSED was told */
    bool given_up;
    bool ended;   /* the peer's end was told */
    bool shut;
    int head_status; /* of a HEAD request: its answer has no body */
    tws_buf events;
    /* the peer's view */
    tws_buf out;
    size_t read_at;
    reading reading;
    tws_ws_decoder decoder;
    tws_buf message;
    tws_inflate_window window;
    uint8_t ring[32768];
    bool takes_over; /* what it is sent refers to earlier messages */
    bool keeps;      /* what it sends does */
    tws_deflater deflater;
    uint32_t deflating[TWS_DEFLATE_MEMORY(CONTEXT_BITS, true) / sizeof(uint32_t)];
    size_t put_at; /* within the PUT that is read */
    made made[MADE_MAX];
    size_t made_count;
    size_t made_read;
    tws_buf made_bytes;
    size_t offered; /* in this turn */
} world;

static tws_turn turn_memory;
static tws_turn *const turn = &turn_memory;

static void make(world *w, made_kind kind, int number, const void *bytes, size_t len)
{
    REQUIRE(w->made_count < MADE_MAX);
    made m = {kind, number, w->made_bytes.len, len};
    tws_buf_put(&w->made_bytes, bytes, len);
    w->made[w->made_count++] = m;
}

/* -- the reader of the output: it is whole answers, then whole frames, and nothing but what was
 * made; only 100 Continue, pings, pongs and one close are the connection's own -- */

static const made *next_made(world *w, made_kind kind)
{
    REQUIRE(w->made_read < w->made_count);
    const made *m = &w->made[w->made_read++];
    REQUIRE(m->kind == kind);
    return m;
}

static void require_bytes(const world *w, const made *m, const char *bytes, size_t len)
{
    REQUIRE(m->len == len);
    REQUIRE(len == 0 || memcmp(w->made_bytes.ptr + m->at, bytes, len) == 0);
}

/* True while there is more to read. */
static bool read_answer(world *w)
{
    static tws_http_response r;
    const char *at = w->out.ptr + w->read_at;
    size_t left = w->out.len - w->read_at;
    tws_http_result result = tws_http_parse_response(&r, at, left);
    REQUIRE(result != TWS_HTTP_ERROR);
    if (result == TWS_HTTP_MORE) {
        return false;
    }
    if (r.status == 100) {
        w->read_at += r.head_bytes;
        return true;
    }
    REQUIRE(w->made_read < w->made_count);
    const made *m = &w->made[w->made_read];
    REQUIRE(m->number == r.status);
    if (m->kind == MADE_ANSWER) {
        size_t body = r.content_length > 0 && m->len > 0 ? (size_t)r.content_length : 0;
        if (left - r.head_bytes < body) {
            return false;
        }
        require_bytes(w, m, at + r.head_bytes, body);
        w->read_at += body;
    } else {
        REQUIRE(r.content_length < 0);
        REQUIRE(m->kind == MADE_STREAM || m->kind == MADE_ACCEPT);
        w->reading = m->kind == MADE_STREAM ? READ_STREAM : READ_FRAMES;
    }
    w->read_at += r.head_bytes;
    w->made_read++;
    return true;
}

static bool read_stream(world *w)
{
    while (w->read_at < w->out.len) {
        REQUIRE(w->made_read < w->made_count);
        const made *m = &w->made[w->made_read];
        size_t n = tws__min(m->len - w->put_at, w->out.len - w->read_at);
        REQUIRE(m->kind == MADE_PUT);
        REQUIRE(memcmp(w->made_bytes.ptr + m->at + w->put_at, w->out.ptr + w->read_at, n) == 0);
        w->read_at += n;
        w->put_at += n;
        if (w->put_at == m->len) {
            w->put_at = 0;
            w->made_read++;
        }
    }
    return false;
}

/* A message of the connection's that says that it is compressed. */
static void inflate_message(world *w)
{
    static tws_inflater z;
    tws_inflate_event ev;
    tws_buf out;
    size_t at = 0;
    tws_buf_init(&out, NULL, SIZE_MAX);
    if (!w->takes_over) {
        tws_inflate_ring(&w->window, w->ring, 15);
    }
    tws_inflate_begin(&z, &w->window);
    do {
        at += tws_inflate_decode(&z, (const uint8_t *)w->message.ptr + at, w->message.len - at, &ev);
        tws_buf_put(&out, ev.data, ev.len);
    } while (ev.type == TWS_INFLATE_FULL);
    REQUIRE(ev.type == TWS_INFLATE_MORE);
    do {
        tws_inflate_finish(&z, &ev);
        tws_buf_put(&out, ev.data, ev.len);
    } while (ev.type == TWS_INFLATE_FULL);
    REQUIRE(ev.type == TWS_INFLATE_END);
    REQUIRE(w->message.len < out.len);
    tws_buf_free(&w->message);
    w->message = out;
}

static bool read_frame(world *w)
{
    tws_ws_event ev;
    w->read_at += tws_ws_decode(&w->decoder, (uint8_t *)w->out.ptr + w->read_at,
                                w->out.len - w->read_at, &ev);
    REQUIRE(ev.type != TWS_WS_ERROR);
    if (ev.type == TWS_WS_DATA) {
        tws_buf_put(&w->message, ev.payload, ev.len);
        if (ev.last) {
            const made *m = next_made(w, MADE_MESSAGE);
            if (ev.compressed) {
                inflate_message(w);
            }
            REQUIRE(m->number == (int)ev.opcode);
            require_bytes(w, m, w->message.ptr, w->message.len);
            tws_buf_clear(&w->message);
        }
    }
    REQUIRE(ev.type != TWS_WS_GOT_PING || ev.len == 0);
    if (ev.type == TWS_WS_GOT_CLOSE) {
        w->reading = READ_NOTHING;
    }
    return ev.type != TWS_WS_MORE;
}

static void read_output(world *w)
{
    bool more = true;
    while (more && w->read_at < w->out.len) {
        switch (w->reading) {
        case READ_HTTP: more = read_answer(w); break;
        case READ_STREAM: more = read_stream(w); break;
        case READ_FRAMES: more = read_frame(w); break;
        case READ_NOTHING: fail("nothing follows a close frame", __LINE__); break;
        }
    }
}

/* -- the owner: what it does depends on the request or message alone -- */

/* Memory that is gone at the turn's end. */
static uint8_t *lend(world *w, const void *bytes, size_t len)
{
    uint8_t *copy = (uint8_t *)malloc(len > 0 ? len : 1);
    REQUIRE(copy != NULL && w->lent_count < sizeof w->lent / sizeof *w->lent);
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    w->lent[w->lent_count++] = copy;
    return copy;
}

/* What lives beyond the turn, while it is held. */
typedef struct loan {
    unsigned refs;
    uint8_t bytes[BIG_UNIT + TWS_WS_MAX_HEADER];
} loan;

static size_t loans; /* that there are */

static void hold(void *object)
{
    ((loan *)object)->refs++;
}

static void release(void *object)
{
    loan *l = (loan *)object;
    REQUIRE(l->refs > 0);
    if (--l->refs == 0) {
        loans--;
        free(l);
    }
}

static const tws_lender lender = {hold, release};

static void answer(world *w, int status, tws_str body, bool close)
{
    bool bare = w->head_status != 0 || status == 204 || status == 304;
    REQUIRE(w->asked);
    w->asked = false;
    w->head_status = 0;
    make(w, MADE_ANSWER, status, body.ptr, bare ? 0 : body.len);
    tws_conn_respond(&w->c, turn, status, "A: b\r\n", "text/plain", body, close);
    w->given_up = w->given_up || close;
}

static void open_stream(world *w)
{
    bool bare = w->head_status != 0;
    w->asked = false;
    w->head_status = 0;
    make(w, bare ? MADE_ANSWER : MADE_STREAM, 200, NULL, 0);
    tws_conn_stream(&w->c, turn, 200, NULL, "text/event-stream");
    w->opened = w->stream = tws_conn_open(&w->c);
}

static void answer_big(world *w)
{
    static char big[BIG_BODY];
    memset(big, 'x', sizeof big);
    answer(w, 200, tws_str_of(big, sizeof big), false);
}

static void close_it(world *w, uint16_t code)
{
    tws_conn_close(&w->c, turn, code, tws_str_c("bye"));
    REQUIRE(!tws_conn_open(&w->c));
    w->asked = false;
    w->given_up = true;
}

static void on_request(world *w)
{
    const tws_http_request *r = &turn->request;
    tws_str key;
    const char *why;
    REQUIRE(r->body.len <= w->desc.max_body_bytes && r->head_bytes <= w->desc.max_head_bytes);
    w->asked = true;
    w->head_status = tws_str_eq_c(r->method, "HEAD") ? 1 : 0;
    if (tws_str_starts(r->path, "/ws") && tws_ws_check(r, &key, &why) == 101) {
        w->asked = false;
        make(w, MADE_ACCEPT, 101, NULL, 0);
        tws_conn_accept(&w->c, turn, key, tws_str_of(NULL, 0), &w->terms);
        w->opened = tws_conn_open(&w->c);
        const tws__context *kept = w->c.context;
        w->takes_over = kept != NULL && w->terms.server_context != 0;
        w->keeps = kept != NULL && w->terms.client_context != 0;
        REQUIRE(kept == NULL || w->desc.context_bytes > 1);
    } else if (tws_str_starts(r->path, "/later")) {
        return;
    } else if (tws_str_starts(r->path, "/stream")) {
        open_stream(w);
    } else if (tws_str_starts(r->path, "/big")) {
        answer_big(w);
    } else if (tws_str_starts(r->path, "/drop")) {
        close_it(w, 1000);
    } else {
        bool none = tws_str_starts(r->path, "/none");
        answer(w, none ? 204 : 200, r->body.len > 0 ? r->body : r->path,
               tws_str_starts(r->path, "/end"));
    }
}

static void on_message(world *w, const tws_conn_event *ev)
{
    bool text = ev->opcode == TWS_WS_TEXT;
    REQUIRE(w->opened && !w->stream && !w->closed && !w->given_up);
    REQUIRE(text || ev->opcode == TWS_WS_BINARY);
    REQUIRE(ev->len <= w->desc.max_message_bytes);
    REQUIRE(!text || tws_utf8_valid(tws_str_of((const char *)ev->payload, ev->len)));
    if (text && ev->len > 0 && ev->payload[0] == 'q') {
        close_it(w, 4000);
    } else if (tws_conn_send(&w->c, turn, ev->opcode, ev->payload, ev->len, !text)) {
        make(w, MADE_MESSAGE, (int)ev->opcode, ev->payload, ev->len);
        /* Once more, or what is behind its first byte: bytes that were sent back are still its. */
        size_t skip = ev->len > 0 ? ev->payload[0] & 1u : 0;
        if (!text && ev->len > 0 && (ev->payload[0] & 6u) == 6u &&
            tws_conn_send(&w->c, turn, ev->opcode, ev->payload + skip, ev->len - skip, true)) {
            make(w, MADE_MESSAGE, (int)ev->opcode, ev->payload + skip, ev->len - skip);
        }
    } else {
        REQUIRE(tws_conn_done(&w->c)); /* input waits while output does: there is room for one */
    }
}

static void note(world *w, unsigned kind, unsigned number, tws_str a, tws_str b)
{
    tws_buf_u64(&w->events, kind);
    tws_buf_char(&w->events, ' ');
    tws_buf_u64(&w->events, number);
    tws_buf_char(&w->events, ' ');
    tws_buf_str(&w->events, a);
    tws_buf_char(&w->events, ' ');
    tws_buf_str(&w->events, b);
    tws_buf_char(&w->events, '\n');
}

static void handle(world *w, const tws_conn_event *ev)
{
    tws_str payload = tws_str_of((const char *)ev->payload, ev->len);
    const tws_http_request *r = &turn->request;
    switch (ev->type) {
    case TWS_CONN_NONE: break;
    case TWS_CONN_REQUEST:
        REQUIRE(!w->asked && !w->refused && !w->opened && !w->given_up);
        note(w, ev->type, 0, r->path, r->body);
        on_request(w);
        break;
    case TWS_CONN_BAD_REQUEST:
        REQUIRE(!w->asked && !w->refused && !w->opened && !w->given_up);
        REQUIRE(ev->status >= 400 && ev->status <= 505 && ev->reason != NULL);
        note(w, ev->type, (unsigned)ev->status, payload, tws_str_c(ev->reason));
        w->asked = w->refused = true;
        w->head_status = (w->c.flags & TWS__NO_BODY) != 0 ? 1 : 0; /* turn->request may be gone */
        answer(w, ev->status, tws_str_c(ev->reason), true);
        break;
    case TWS_CONN_MESSAGE:
        note(w, ev->type, ev->opcode, payload, tws_str_of(NULL, 0));
        on_message(w, ev);
        break;
    case TWS_CONN_CLOSED:
        REQUIRE(w->opened && !w->closed && !tws_conn_open(&w->c));
        REQUIRE(ev->len == 0 || tws_utf8_valid(payload));
        note(w, ev->type, ev->code, payload, tws_str_c(ev->reason));
        w->closed = true;
        break;
    case TWS_CONN_HEARTBEAT:
        REQUIRE(w->stream && !w->closed);
        if (tws_conn_put(&w->c, turn, ":\n\n", 3, false)) {
            make(w, MADE_PUT, 0, ":\n\n", 3);
        }
        break;
    case TWS_CONN_TIMEOUT:
        REQUIRE(w->opened && !w->closed);
        REQUIRE(!w->stream || ev->timeout == TWS_TIMEOUT_STALL);
        close_it(w, ev->timeout == TWS_TIMEOUT_STALL ? 4409 : 4408);
        break;
    }
}

/* -- a turn, as a server takes it -- */

static void begin(world *w)
{
    if (!w->in_turn) {
        struct tws__packer *packer = turn->packer;
        memset(turn, 0xa5, sizeof *turn); /* nothing else in it outlives a turn */
        turn->packer = packer;
        tws_conn_begin(&w->c, turn, w->now_ms);
        w->in_turn = true;
        w->fed = false;
        w->offered = 0;
    }
}

static void dispatch(world *w)
{
    tws_conn_event ev;
    while (tws_conn_next(&w->c, turn, &ev) != TWS_CONN_NONE) {
        handle(w, &ev);
    }
}

/* True when all has gone. */
static bool write_out(world *w)
{
    tws_str slice[TWS_TURN_SLICES];
    size_t want = 0;
    size_t sent = 0;
    size_t n = tws_conn_output(&w->c, turn, slice, TWS_TURN_SLICES);
    for (size_t i = 0; i < n; i++) {
        size_t take = tws__min(slice[i].len, w->takes - sent);
        tws_buf_put(&w->out, slice[i].ptr, take);
        want += slice[i].len;
        sent += take;
    }
    if (n > 0) {
        tws_conn_sent(&w->c, turn, sent);
    }
    return sent == want;
}

/* All of a block that bytes are kept in. */
static size_t block_of(const tws_conn_kept *kept)
{
    return kept == NULL ? 0 : sizeof *kept + kept->cap;
}

static void check_memory(const world *w)
{
    const tws_conn_desc *d = &w->desc;
    size_t in = d->max_head_bytes + d->max_body_bytes + d->max_output_bytes + 2 * w->fed_most;
    size_t message = 2 * ((size_t)d->max_message_bytes + 4096);
    /* What one turn made may have to be kept: its scratch, what it borrowed, one big answer. */
    size_t out = 17 * (size_t)d->max_output_bytes + TWS__OUTPUT_BYTES + TWS_TURN_SCRATCH +
                 BIG_BODY + FEED_MAX +
                 (TWS_TURN_HELD + 1) * (size_t)d->max_message_bytes + 64 * 1024;
    REQUIRE(block_of(w->c.in) <= 2 * in);
    REQUIRE(block_of(w->c.message) <= message);
    REQUIRE(block_of(w->c.out) <= 2 * out);
    const tws__context *x = w->c.context;
    size_t context = 0;
    if (x != NULL) {
        context = sizeof *x + (x->window.memory != NULL ? tws__context_inflates(x) : 0) +
                  (x->deflater.head != NULL ? tws__context_deflates(x) : 0);
    }
    REQUIRE(w->context_use == (x != NULL ? tws__context_bytes(x) : 0));
    REQUIRE(live_bytes == block_of(w->c.in) + block_of(w->c.message) + block_of(w->c.out) + context +
                              (turn->packer != NULL ? sizeof *turn->packer : 0));
}

static void check_state(const world *w)
{
    if (tws_conn_done(&w->c)) {
        REQUIRE(!tws_conn_wants_input(&w->c) && !tws_conn_wants_output(&w->c));
        REQUIRE(!tws_conn_wants_shut(&w->c) && !tws_conn_open(&w->c) && !tws_conn_idle(&w->c));
        REQUIRE(!w->opened || w->closed);
    }
    /* Without memory to inflate with, it closes and says so; to deflate with, it does not. */
    REQUIRE(!refused || tws_conn_done(&w->c) || (w->terms.window_bits != 0 && w->closed) ||
            w->terms.client_context != 0 || w->terms.server_context != 0);
    REQUIRE(!tws_conn_open(&w->c) || (w->opened && !w->closed));
    REQUIRE(!w->closed || !tws_conn_idle(&w->c));
}

static void finish(world *w)
{
    bool was_done = tws_conn_done(&w->c);
    size_t out_before = w->out.len;
    for (;;) {
        dispatch(w);
        bool full = turn->full;
        if (!write_out(w) || !full) {
            break;
        }
    }
    size_t taken = tws_conn_end(&w->c, turn);
    REQUIRE(taken <= w->offered);
    w->made_count -= w->offered - taken; /* they are the last: what has output behind it is taken */
    w->in_turn = false;
    memset(turn->scratch, 0x5a, sizeof turn->scratch);
    dispatch(w);
    REQUIRE(!was_done || w->out.len == out_before);
    free(w->block);
    w->block = NULL;
    while (w->lent_count > 0) {
        free(w->lent[--w->lent_count]);
    }
    while (w->loan_count > 0) {
        release(w->loan[--w->loan_count]);
    }
    REQUIRE(loans == (w->c.out != NULL && w->c.out->lent.len > 0));
    read_output(w);
    if (tws_conn_wants_shut(&w->c)) {
        REQUIRE(w->made_read == w->made_count && w->read_at == w->out.len); /* all delivered */
        tws_conn_shut(&w->c, w->now_ms);
        w->shut = true;
    }
    check_state(w);
    check_memory(w);
}

static void feed(world *w, const void *bytes, size_t len)
{
    if (w->fed) {
        finish(w); /* a turn reads once at most */
        begin(w);
    }
    if (!tws_conn_wants_input(&w->c)) {
        return;
    }
    w->block = (uint8_t *)malloc(len > 0 ? len : 1);
    REQUIRE(w->block != NULL);
    if (len > 0) {
        memcpy(w->block, bytes, len);
    }
    w->fed = true;
    w->fed_most = tws__max(w->fed_most, len);
    w->last_len = tws__min(len, sizeof w->last);
    if (bytes != w->last && len > 0) {
        memcpy(w->last, bytes, w->last_len);
    }
    tws_conn_feed(&w->c, turn, w->block, len);
}

static void tick(world *w)
{
    tws_conn_event ev;
    if (tws_conn_tick(&w->c, turn, &ev) != TWS_CONN_NONE) {
        handle(w, &ev);
    }
    REQUIRE(tws_conn_deadline(&w->c) > w->now_ms || tws_conn_done(&w->c));
}

static void init(world *w, unsigned options)
{
    memset(w, 0, sizeof *w);
    tws_buf_init(&w->events, NULL, SIZE_MAX);
    tws_buf_init(&w->out, NULL, SIZE_MAX);
    tws_buf_init(&w->message, NULL, SIZE_MAX);
    tws_buf_init(&w->made_bytes, NULL, SIZE_MAX);
    tws_ws_init(&w->decoder, TWS_WS_CLIENT, 0, 0);
    w->decoder.window_bits = 15;
    live_bytes = fail_in = 0;
    refused = false;
    w->now_ms = 1000;
    w->takes = SIZE_MAX;
    w->desc.allocator = &allocator;
    if ((options & 2) != 0) {
        w->desc.max_head_bytes = 300;
        w->desc.max_body_bytes = 100;
        w->desc.max_message_bytes = 700;
        w->desc.max_frames = 4;
        w->desc.max_output_bytes = 1000;
    }
    w->desc.heartbeat_ms = (options & 8) != 0 ? TWS_OFF : 0;
    w->terms.window_bits = (options & 16) != 0 ? 15 : 0;
    w->terms.client_context = (options & 48) == 48 ? CONTEXT_BITS : 0;
    w->terms.server_context = (options & 80) == 80 ? CONTEXT_BITS : 0;
    w->desc.compress_bytes = w->terms.server_context != 0 ? 20 : TWS_OFF;
    w->desc.context_bytes = (options & 128) != 0 ? 1 : 1u << 20;
    w->desc.context_use = &w->context_use;
    tws_deflate_init(&w->deflater, w->deflating, CONTEXT_BITS, 6, true);
    tws_inflate_ring(&w->window, w->ring, 15);
    tws_conn_defaults(&w->desc);
    tws_conn_init(&w->c, &w->desc, w->now_ms);
    if ((options & 4) != 0) {
        begin(w);
        feed(w, UPGRADE, sizeof UPGRADE - 1);
        finish(w);
        REQUIRE(tws_conn_open(&w->c));
    }
}

/* Nothing comes any more and nothing is taken: every state ends by itself, or at the peer's end. */
static void end(world *w)
{
    w->takes = 0;
    fail_in = 0;
    for (int i = 0; !tws_conn_done(&w->c); i++) {
        uint64_t deadline = tws_conn_deadline(&w->c);
        REQUIRE(i < 12);
        begin(w);
        if (deadline == UINT64_MAX) {
            tws_conn_eof(&w->c);
        } else {
            w->now_ms = deadline > w->now_ms ? deadline : w->now_ms;
            turn->now_ms = w->now_ms;
            tick(w);
        }
        finish(w);
    }
    REQUIRE(w->opened == w->closed);
    tws_conn_free(&w->c);
    REQUIRE(w->context_use == 0);
    tws_turn_free(turn, &allocator);
    REQUIRE(live_bytes == 0 && loans == 0);
    tws_buf_free(&w->message);
    tws_buf_free(&w->made_bytes);
}

/* -- a program -- */

static unsigned next_byte(world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

static tws_str next_bytes(world *w, size_t len)
{
    tws_str bytes = tws_str_of((const char *)w->at, tws__min(len, (size_t)(w->end - w->at)));
    w->at += bytes.len;
    return bytes;
}

static void feed_frame(world *w, unsigned n)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t bytes[TWS_WS_MAX_HEADER + 2048];
    unsigned b = next_byte(w);
    tws_str payload = next_bytes(w, (b & 0x70u) >> 1);
    size_t times = n > 8 ? (n - 7) * (n - 7) : 1; /* long ones repeat themselves */
    size_t len = tws_ws_header(bytes, true, TWS_WS_TEXT, payload.len * times, mask);
    uint8_t *at = bytes + len;
    bytes[0] = (uint8_t)((b & 15u) | (~b & 0x80u)); /* any opcode, final or not, lawful or not */
    bytes[0] |= (uint8_t)(w->terms.window_bits != 0 ? b & TWS_WS_RSV1 : 0u);
    for (; times > 0 && (size_t)(at - bytes) + payload.len <= sizeof bytes; times--) {
        memcpy(at, payload.len > 0 ? payload.ptr : "", payload.len);
        at += payload.len;
    }
    tws_ws_mask(bytes + len, (size_t)(at - bytes) - len, mask, 0);
    feed(w, bytes, (size_t)(at - bytes));
}

/* A message that is compressed as the connection has agreed to it, n telling into which pieces. */
static void feed_packed(world *w, unsigned n)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    static tws_deflate_scratch scratch;
    uint8_t packed[1024];
    uint8_t bytes[4096];
    tws_str text = next_bytes(w, next_byte(w));
    size_t len = 0;
    size_t size;
    if (w->fed) {
        finish(w);
        begin(w);
    }
    if (!tws_conn_wants_input(&w->c)) {
        return; /* what is not sent is not to be referred to */
    }
    if (!w->keeps) {
        tws_deflate_forget(&w->deflater);
    }
    REQUIRE(tws_deflate_encode(&w->deflater, &scratch, text.ptr, text.len, true, packed,
                               sizeof packed, &size) == TWS_OK);
    const size_t piece = n == 0 ? size : 32 + n;
    for (size_t at = 0; at < size; at += piece) {
        const size_t part = tws__min(piece, size - at);
        uint8_t *head = bytes + len;
        len += tws_ws_header(head, at + part == size, at == 0 ? TWS_WS_BINARY : TWS_WS_CONTINUATION,
                             part, mask);
        head[0] |= at == 0 ? TWS_WS_RSV1 : 0;
        memcpy(bytes + len, packed + at, part);
        tws_ws_mask(bytes + len, part, mask, 0);
        len += part;
    }
    feed(w, bytes, len);
}

static void feed_word(world *w, unsigned n)
{
    static const char *const words[16] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        UPGRADE,
        "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /later HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        ("GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
         "GET /3 HTTP/1.0\r\n\r\n"),
        "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "9\r\n123456789\r\n",
        "0\r\n\r\n",
        "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "BAD\r\n\r\n",
        "GET /drop HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x88\x82\0\0\0\0\x03\xe8",
        "HEAD /stream HTTP/1.1\r\n"};
    feed(w, words[n], n == 14 ? 8 : strlen(words[n]));
}

static void answer_now(world *w, unsigned n)
{
    if (!w->asked || tws_conn_done(&w->c)) {
        return;
    }
    switch (n & 3u) {
    case 0: answer(w, 200, tws_str_c("now"), n >= 8); break;
    case 1: open_stream(w); break;
    case 2: answer_big(w); break;
    default: answer(w, 304, tws_str_c("none"), n >= 8); break;
    }
}

static void send_message(world *w, unsigned n)
{
    char bytes[2048];
    size_t len = (size_t)next_byte(w) * (n < 8 ? 1 : n - 7);
    memset(bytes, (int)('a' + n), sizeof bytes);
    len = tws__min(len, sizeof bytes);
    bool borrowed = (n & 1u) != 0;
    const void *payload = borrowed && w->lent_count < 60 ? lend(w, bytes, len) : (uint8_t *)bytes;
    borrowed = payload != bytes;
    if (w->stream) {
        bool taken = tws_conn_put(&w->c, turn, payload, len, borrowed);
        REQUIRE(!taken || (w->opened && !w->closed));
        if (taken && len > 0) {
            make(w, MADE_PUT, 0, payload, len);
        }
        return;
    }
    tws_ws_opcode opcode = (n & 2u) != 0 ? TWS_WS_BINARY : TWS_WS_TEXT;
    if (tws_conn_send(&w->c, turn, opcode, payload, len, borrowed)) {
        REQUIRE(w->opened && !w->closed);
        make(w, MADE_MESSAGE, (int)opcode, payload, len);
    }
}

/* A message of len equal letters as a frame, compressed as one without a past. */
static size_t packed_frame(uint8_t out[TWS_WS_MAX_HEADER + 16], uint8_t letter, size_t len)
{
    static uint32_t memory[TWS_DEFLATE_MEMORY(8, false) / sizeof(uint32_t)];
    static tws_deflate_scratch scratch;
    tws_deflater z;
    uint8_t text[16];
    size_t size;
    memset(text, letter, len);
    tws_deflate_init(&z, memory, 8, 6, false);
    REQUIRE(tws_deflate_encode(&z, &scratch, text, len, true, out + 2, 14, &size) == TWS_OK);
    (void)tws_ws_header(out, true, TWS_WS_TEXT, size, NULL);
    out[0] |= TWS_WS_RSV1;
    return 2 + size;
}

/* A unit that is lent, of two or three slices. */
static void offer_lent(world *w, const uint8_t *bytes, size_t size, unsigned b)
{
    loan *l = (loan *)malloc(sizeof *l);
    REQUIRE(l != NULL && w->loan_count < sizeof w->loan / sizeof *w->loan);
    l->refs = 1;
    loans++;
    memcpy(l->bytes, bytes, size);
    const uint8_t *last = lend(w, bytes, size); /* a last slice that lies elsewhere */
    const size_t cut = 4 + (b >> 4), tail = (b >> 4) % 3;
    const char *at = (const char *)l->bytes;
    const tws_str slices[3] = {tws_str_of(at, cut), tws_str_of(at + cut, size - cut - tail),
                               tws_str_of((const char *)last + size - tail, tail)};
    REQUIRE(tws_conn_offer(&w->c, turn, slices, tail != 0 ? 3 : 2));
    tws_conn_lend(turn, &lender, l);
    w->loan[w->loan_count++] = l;
}

/* A unit is a whole frame, or a stretch of a stream, in up to three slices. */
static void offer(world *w, unsigned n)
{
    for (unsigned i = 0; i <= n && tws_conn_offers(&w->c, turn) && w->lent_count < 60; i++) {
        uint8_t bytes[TWS_WS_MAX_HEADER + BIG_UNIT];
        unsigned b = next_byte(w);
        bool big = (b & 15u) == 15 && w->loan_count < sizeof w->loan / sizeof *w->loan;
        size_t len = big ? BIG_UNIT - (b >> 4) : b & 15u;
        size_t head = w->stream ? 0 : tws_ws_header(bytes, true, TWS_WS_TEXT, len, NULL);
        memset(bytes + head, 'A' + (int)n, len);
        if (head + len == 0) {
            continue; /* of nothing, nobody could say that it was sent */
        }
        make(w, w->stream ? MADE_PUT : MADE_MESSAGE, TWS_WS_TEXT, bytes + head, len);
        if (big) {
            offer_lent(w, bytes, head + len, b);
            w->offered++;
            continue;
        }
        bool packs = w->takes_over && len > 10;
        size_t size = packs ? packed_frame(bytes, bytes[head], len) : head + len;
        uint8_t *at = lend(w, bytes, size);
        size_t cut = (b >> 4) % size;
        const tws_str slices[2] = {tws_str_of((const char *)at, cut),
                                   tws_str_of((const char *)at + cut, size - cut)};
        bool two = cut > 0;
        REQUIRE(tws_conn_offer(&w->c, turn, two ? slices : slices + 1, two ? 2 : 1));
        w->offered++;
    }
}

static void leave(world *w, unsigned n)
{
    static const uint16_t code[4] = {1000, 1001, 1005, 4401};
    if (n < 4) {
        if (!tws_conn_idle(&w->c) || !w->asked) {
            close_it(w, code[n]);
        }
    } else if (n < 8) {
        tws_conn_eof(&w->c);
    } else if (n == 8) {
        tws_conn_abort(&w->c);
        w->asked = false;
    }
}

static void step(world *w, unsigned what, unsigned n)
{
    switch (what) {
    case 0:
    case 1:
    case 2: {
        tws_str bytes = next_bytes(w, what == 0 ? n : n * 16u + next_byte(w));
        feed(w, bytes.ptr, bytes.len);
        break;
    }
    case 3: feed_frame(w, n); break;
    case 4:
        if (w->terms.client_context == 0) {
            feed_frame(w, n);
        } else {
            feed_packed(w, n);
        }
        break;
    case 5: feed_word(w, n); break;
    case 6: w->takes = n == 15 ? SIZE_MAX : (size_t)n * n * 8; break;
    case 7: tick(w); break;
    case 8:
    case 9: answer_now(w, n); break;
    case 10: send_message(w, n); break;
    case 11: offer(w, n); break;
    case 12: leave(w, n); break;
    case 13: fail_in = n; break;
    case 14:
        if (n > 0) { /* otherwise a turn of nothing */
            feed(w, w->last, w->last_len);
        }
        break;
    default: break; /* the next step belongs to this turn */
    }
}

static void run(world *w)
{
    while (w->at < w->end) {
        unsigned b = next_byte(w);
        unsigned what = b & 15u;
        unsigned n = b >> 4;
        if (what == 7 && !w->in_turn) { /* time passes between turns */
            uint64_t deadline = tws_conn_deadline(&w->c);
            bool due = n == 15 && deadline != UINT64_MAX && deadline > w->now_ms;
            w->now_ms = due ? deadline : w->now_ms + (uint64_t)n * n * n * n * 4;
        }
        begin(w);
        step(w, what, n);
        if (what != 15) {
            finish(w);
        }
    }
    if (w->in_turn) {
        finish(w);
    }
}

/* -- pieces -- */

/* Feed all that is wanted, the sink taking a little each time, then the peer's end. */
static void run_pieces(world *w, tws_str stream, const uint8_t *steps, size_t step_count,
                       size_t takes)
{
    size_t turns = 0;
    w->takes = takes;
    for (size_t at = 0; at < stream.len && !tws_conn_done(&w->c);) {
        size_t piece = step_count > 0 ? steps[turns++ % step_count] + (size_t)1 : stream.len;
        piece = tws__min(piece, stream.len - at);
        begin(w);
        if (w->asked) {
            answer(w, 200, tws_str_c("later"), false);
        }
        if (tws_conn_wants_input(&w->c)) {
            feed(w, stream.ptr + at, piece);
            at += piece;
        }
        finish(w);
    }
    w->takes = SIZE_MAX;
    do {
        begin(w);
        if (w->asked) {
            answer(w, 200, tws_str_c("later"), false);
        }
        finish(w);
    } while (w->asked || tws_conn_wants_output(&w->c));
    begin(w);
    if (!tws_conn_done(&w->c)) {
        tws_conn_eof(&w->c);
    }
    finish(w);
}

/* Whether 100 Continue was wanted depends on how the body came; nothing else does. */
static bool same_output(tws_str whole, tws_str parts)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    while (parts.len > 0) {
        if (tws_str_starts(parts, line) && !tws_str_starts(whole, line)) {
            parts = tws_str_from(parts, sizeof line - 1);
            continue;
        }
        if (whole.len == 0 || *whole.ptr != *parts.ptr) {
            return false;
        }
        whole = tws_str_from(whole, 1);
        parts = tws_str_from(parts, 1);
    }
    return whole.len == 0;
}

static void free_transcript(world *w)
{
    tws_buf_free(&w->events);
    tws_buf_free(&w->out);
}

static void try_pieces(unsigned options, const uint8_t *data, size_t size)
{
    static world whole;
    static world parts;
    size_t step_count = size > 0 ? data[0] & 15u : 0;
    if (size < 1 + step_count || size > FEED_MAX - 4) {
        return;
    }
    /* A blank line at the end: what a head's pieces are refused for is known no later than that. */
    tws_buf stream;
    tws_buf_init(&stream, NULL, SIZE_MAX);
    tws_buf_put(&stream, data + 1 + step_count, size - 1 - step_count);
    tws_buf_c(&stream, "\r\n\r\n");
    size_t sink = data[0] >> 4;
    init(&whole, options);
    run_pieces(&whole, tws_buf_view(&stream), NULL, 0, SIZE_MAX);
    end(&whole);
    init(&parts, options);
    run_pieces(&parts, tws_buf_view(&stream), data + 1, step_count,
               sink == 0 ? SIZE_MAX : sink * sink * 8);
    end(&parts);
    if (!tws_str_eq(tws_buf_view(&whole.events), tws_buf_view(&parts.events))) {
        fprintf(stderr, "whole:\n%.*sin pieces:\n%.*s", (int)whole.events.len, whole.events.ptr,
                (int)parts.events.len, parts.events.ptr);
        fail("the same events whole and in pieces", __LINE__);
    }
    REQUIRE(same_output(tws_buf_view(&whole.out), tws_buf_view(&parts.out)));
    tws_buf_free(&stream);
    free_transcript(&whole);
    free_transcript(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w;
    if (size == 0 || size > 2 * FEED_MAX) {
        return 0;
    }
    if ((data[0] & 1) != 0) {
        try_pieces(data[0], data + 1, size - 1);
        return 0;
    }
    init(&w, data[0]);
    w.at = data + 1;
    w.end = data + size;
    run(&w);
    end(&w);
    free_transcript(&w);
    return 0;
}
