/* test_18_conn.c: one connection, tested with arrays and a made-up clock. */
#include "test.h"

/* -- a world around one connection: a policy that echoes, a sink that takes what it is told to -- */

typedef struct world {
    tws_conn_desc desc;
    size_t context_use;
    tws_conn c;
    tws_turn *t;
    uint64_t now_ms;
    size_t takes;     /* bytes that the sink takes in one write; SIZE_MAX: all */
    bool shut;        /* our sending side has ended */
    char out[262144]; /* what the sink took */
    size_t out_len;
    char log[4096];   /* events, a word each */
    size_t log_len;
    size_t writes;
    size_t units;     /* of the last end */
    const char *offer[8]; /* to offer when a stream or WebSocket is open */
    size_t offers;
} world;

__attribute__((format(printf, 2, 3)))
static void note(world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(w->log + w->log_len, sizeof w->log - w->log_len, format, args);
    va_end(args);
    w->log_len += n > 0 && (size_t)n < sizeof w->log - w->log_len ? (size_t)n : 0;
}

static void answer(world *w)
{
    const tws_http_request *r = &w->t->request;
    tws_str key;
    const char *why;
    note(w, "%.*s %.*s [%.*s];", (int)r->method.len, r->method.ptr, (int)r->path.len, r->path.ptr,
         (int)r->body.len, r->body.ptr);
    if (tws_str_eq_c(r->path, "/later")) {
        return;
    }
    if (tws_str_eq_c(r->path, "/stream")) {
        tws_conn_stream(&w->c, w->t, 200, NULL, "text/event-stream");
        return;
    }
    if (tws_str_eq_c(r->path, "/ws") && tws_ws_check(r, &key, &why) == 101) {
        tws_ws_compression terms;
        CHECK_EQ(tws_ws_check_extensions(r, w->desc.context_bits, &terms, &why), 101);
        tws_conn_accept(&w->c, w->t, key, tws_str_of(NULL, 0), &terms);
        return;
    }
    tws_conn_respond(&w->c, w->t, 200, "X-A: b\r\n", "text/plain", r->path, false);
}

static void handle(world *w, const tws_conn_event *ev)
{
    switch (ev->type) {
    case TWS_CONN_NONE:
        break;
    case TWS_CONN_REQUEST:
        answer(w);
        break;
    case TWS_CONN_BAD_REQUEST:
        note(w, "bad %d;", ev->status);
        tws_conn_respond(&w->c, w->t, ev->status, NULL, NULL, tws_str_c("no"), true);
        break;
    case TWS_CONN_MESSAGE:
        note(w, "m%d:%zu;", (int)ev->opcode, ev->len);
        tws_conn_send(&w->c, w->t, ev->opcode, ev->payload, ev->len, true);
        break;
    case TWS_CONN_CLOSED:
        note(w, "closed %d%s;", ev->code, ev->by_peer ? " by peer" : "");
        CHECK(ev->by_peer || ev->len == 0);
        break;
    case TWS_CONN_HEARTBEAT:
        note(w, "beat;");
        tws_conn_put(&w->c, w->t, ":\n\n", 3, false);
        break;
    case TWS_CONN_TIMEOUT:
        note(w, ev->timeout == TWS_TIMEOUT_STALL ? "stall;" : "silent;");
        tws_conn_close(&w->c, w->t, ev->timeout == TWS_TIMEOUT_STALL ? 4409 : 4408,
                       tws_str_c("too late"));
        break;
    }
}

static bool write_out(world *w)
{
    tws_str slice[TWS_TURN_SLICES];
    size_t n = tws_conn_output(&w->c, w->t, slice, TWS_TURN_SLICES), want = 0, sent = 0;
    for (size_t i = 0; i < n; i++) {
        size_t room = w->takes - sent, take = slice[i].len < room ? slice[i].len : room;
        take = take < sizeof w->out - w->out_len ? take : sizeof w->out - w->out_len;
        memcpy(w->out + w->out_len, slice[i].ptr, take);
        w->out_len += take;
        sent += take;
        want += slice[i].len;
    }
    w->writes += n != 0;
    tws_conn_sent(&w->c, w->t, sent);
    return sent == want;
}

static void dispatch(world *w)
{
    tws_conn_event ev;
    while (tws_conn_next(&w->c, w->t, &ev) != TWS_CONN_NONE) {
        handle(w, &ev);
    }
}

static void finish(world *w)
{
    for (;;) {
        dispatch(w);
        for (; w->offers > 0 && tws_conn_offers(&w->c, w->t); w->offers--) {
            tws_str unit = tws_str_c(w->offer[w->offers - 1]);
            tws_conn_offer(&w->c, w->t, &unit, 1);
        }
        bool full = w->t->full;
        if (!write_out(w) || !full) {
            break;
        }
    }
    w->units = tws_conn_end(&w->c, w->t);
    dispatch(w);
    if (tws_conn_wants_shut(&w->c)) {
        w->shut = true;
        tws_conn_shut(&w->c, w->now_ms);
    }
}

/* A turn: these bytes come in, in a block of exactly their size that is gone afterwards. */
static void turn(world *w, const void *data, size_t len)
{
    uint8_t *copy = (uint8_t *)malloc(len > 0 ? len : 1);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_feed(&w->c, w->t, copy, len);
    finish(w);
    free(copy);
}

static void turn_c(world *w, const char *text)
{
    turn(w, text, strlen(text));
}

static void eof(world *w)
{
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_eof(&w->c);
    finish(w);
}

/* Let time pass; whatever is due happens. */
static void pass(world *w, uint64_t ms)
{
    uint64_t until = w->now_ms + ms;
    for (int i = 0; i < 100 && tws_conn_deadline(&w->c) <= until && !tws_conn_done(&w->c); i++) {
        tws_conn_event ev;
        uint64_t at = tws_conn_deadline(&w->c);
        w->now_ms = at > w->now_ms ? at : w->now_ms;
        tws_conn_begin(&w->c, w->t, w->now_ms);
        if (tws_conn_tick(&w->c, w->t, &ev) != TWS_CONN_NONE) {
            handle(w, &ev);
        }
        finish(w);
    }
    w->now_ms = until;
}

static void check_ends_after(world *w, uint64_t ms)
{
    pass(w, ms - 1);
    CHECK(!tws_conn_done(&w->c));
    pass(w, 1);
    CHECK(tws_conn_done(&w->c));
}

static world *make_with(const tws_allocator *a)
{
    world *w = (world *)calloc(1, sizeof *w);
    w->t = (tws_turn *)malloc(sizeof *w->t);
    memset(w->t, 0xa5, sizeof *w->t); /* nothing may be read from it that begin did not write */
    w->t->packer = NULL;
    w->now_ms = 1000000;
    w->takes = SIZE_MAX;
    w->desc.allocator = a;
    tws_conn_defaults(&w->desc);
    tws_conn_init(&w->c, &w->desc, w->now_ms);
    return w;
}

static world *make(void)
{
    static tws_allocator a;
    a = test_allocator();
    return make_with(&a);
}

static void unmake(world *w)
{
    tws_conn_free(&w->c);
    tws_turn_free(w->t, w->desc.allocator);
    free(w->t);
    free(w);
}

static tws_str out_of(const world *w)
{
    return tws_str_of(w->out, w->out_len);
}

static bool out_ends(const world *w, const char *tail)
{
    size_t n = strlen(tail);
    return w->out_len >= n && memcmp(w->out + w->out_len - n, tail, n) == 0;
}

static void forget(world *w)
{
    w->out_len = 0;
    w->log_len = 0;
    w->log[0] = '\0';
    w->writes = 0;
}

#define UPGRADE                                                                               \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

/* A masked frame, in a static buffer. */
static size_t frame(uint8_t *out, bool fin, tws_ws_opcode opcode, const void *payload, size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t n = tws_ws_header(out, fin, opcode, len, mask);
    if (len > 0) {
        memcpy(out + n, payload, len);
        tws_ws_mask(out + n, len, mask, 0);
    }
    return n + len;
}

static void turn_frame(world *w, bool fin, tws_ws_opcode opcode, const char *payload)
{
    uint8_t bytes[1024];
    turn(w, bytes, frame(bytes, fin, opcode, payload, strlen(payload)));
}

static world *make_open(void)
{
    world *w = make();
    turn_c(w, UPGRADE);
    CHECK(tws_conn_open(&w->c));
    forget(w);
    return w;
}

/* -- size -- */

TEST("a connection takes 256 bytes or less")
{
    CHECK(sizeof(tws_conn) <= 256);
    printf("# sizeof(tws_conn) is %zu\n", sizeof(tws_conn));
}

static bool owns_nothing(const world *w)
{
    return w->c.in == NULL && w->c.out == NULL && w->c.message == NULL;
}

/* -- HTTP -- */

TEST("a request is answered in the turn that completes it, with one write")
{
    world *w = make();
    turn_c(w, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_STR(out_of(w), "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: b\r\n"
                         "Content-Length: 2\r\n\r\n/x");
    CHECK_EQ(w->writes, 1);
    CHECK(owns_nothing(w));
    CHECK(tws_conn_idle(&w->c));
    unmake(w);
}

/* Scripts whose outcome may not depend on how the bytes come. */
static const struct {
    const char *name, *in, *log, *out_tail;
    bool shut;
} script[] = {
    {"two requests", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /1 [];GET /2 [];", "Content-Length: 2\r\n\r\n/2", false},
    {"body", "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     "POST /b [hello];GET /2 [];", "\r\n\r\n/2", false},
    {"empty body", "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST /b [];", "/b", false},
    {"chunked",
     "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n"
     "T: u\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     "POST /c [abcde];GET /2 [];", "\r\n\r\n/2", false},
    {"bad chunk", "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad 400;",
     "\r\n\r\nno", true},
    {"close", "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET /1 [];", "\r\n\r\n/1", true},
    {"1.0", "GET /1 HTTP/1.0\r\n\r\n", "GET /1 [];", "\r\n\r\n/1", true},
    {"1.0 kept", "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /1 [];",
     "Connection: keep-alive\r\nX-A: b\r\nContent-Length: 2\r\n\r\n/1", false},
    {"HEAD", "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /1 [];", "Content-Length: 2\r\n\r\n", false},
    {"garbage", "\x16\x03\x01 nonsense\r\n\r\n", "bad 400;", "\r\n\r\nno", true},
    {"garbage behind", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\x01\x02\x03\r\n\r\n", "GET /1 [];bad 400;",
     "\r\n\r\nno", true},
    {"body too large", "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", "bad 413;",
     "\r\n\r\nno", true},
    {"smuggling", "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     "bad 400;", "\r\n\r\nno", true},
};

static void check_script(const world *w, size_t i)
{
    test_row(script[i].name, i);
    CHECK_STR(tws_str_c(w->log), script[i].log);
    CHECK(out_ends(w, script[i].out_tail));
    CHECK_EQ(w->shut, script[i].shut);
    CHECK(owns_nothing(w));
}

TEST("requests come out the same whole, byte by byte and split at every position")
{
    for (size_t i = 0; i < sizeof script / sizeof *script; i++) {
        size_t len = strlen(script[i].in);
        world *w = make();
        turn(w, script[i].in, len);
        check_script(w, i);
        unmake(w);
        w = make();
        for (size_t k = 0; k < len; k++) {
            turn(w, script[i].in + k, 1);
        }
        check_script(w, i);
        unmake(w);
        for (size_t cut = 1; cut < len; cut++) {
            w = make();
            turn(w, script[i].in, cut);
            turn(w, script[i].in + cut, len - cut);
            check_script(w, i);
            unmake(w);
        }
    }
}

TEST("the output is the same however little the socket takes")
{
    for (size_t takes = 1; takes < 40; takes++) {
        for (size_t i = 0; i < sizeof script / sizeof *script; i++) {
            world *w = make();
            w->takes = takes;
            turn(w, script[i].in, strlen(script[i].in));
            for (int k = 0; k < 1000 && tws_conn_wants_output(&w->c); k++) {
                turn(w, NULL, 0);
            }
            check_script(w, i);
            unmake(w);
        }
    }
}

TEST("Expect: 100-continue is answered once, before the body, and not when the body is there")
{
    world *w = make();
    turn_c(w, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    CHECK_STR(out_of(w), "HTTP/1.1 100 Continue\r\n\r\n");
    turn_c(w, "h");
    CHECK_EQ(w->out_len, strlen("HTTP/1.1 100 Continue\r\n\r\n"));
    turn_c(w, "i");
    CHECK_STR(tws_str_c(w->log), "POST /b [hi];");
    forget(w);
    turn_c(w, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
    CHECK(w->out_len > 20 && memcmp(w->out, "HTTP/1.1 200", 12) == 0);
    unmake(w);
}

TEST("a body for which no memory has room is refused by its size, whatever the limit")
{
    static const struct {
        const char *length, *log;
    } row[] = {
        {"2147483000", ""},
        {"2147483647", "bad 413;"},
        {"4294967230", "bad 413;"}, /* with its head 2^32, or a bit more or less */
        {"4294967240", "bad 413;"},
        {"4294967294", "bad 413;"},
        {"18446744073709551615", "bad 413;"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        world *w = make();
        char head[128];
        test_row(row[i].length, i);
        w->desc.max_body_bytes = TWS_OFF;
        snprintf(head, sizeof head, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\nx",
                 row[i].length);
        turn_c(w, head);
        CHECK_STR(tws_str_c(w->log), row[i].log);
        unmake(w);
    }
}

TEST("a chunked body beyond the limit is refused when it passes it")
{
    world *w = make();
    char chunk[1100] = "3e8\r\n";
    memset(chunk + 5, 'a', 1000);
    memcpy(chunk + 1005, "\r\n", 3);
    turn_c(w, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 65; i++) {
        turn_c(w, chunk);
        CHECK_STR(tws_str_c(w->log), "");
    }
    turn_c(w, chunk);
    CHECK_STR(tws_str_c(w->log), "bad 413;");
    CHECK(w->shut);
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("a chunk that will not fit is refused by its size, before it comes")
{
    static const struct {
        const char *chunks, *log;
    } row[] = {
        {"10000\r\n", ""},
        {"10001\r\n", "bad 413;"},
        {"ffffffffffffffff\r\n", "bad 413;"},
        {"1\r\na\r\nffff\r\n", ""},
        {"1\r\na\r\n10000\r\n", "bad 413;"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        world *w = make();
        test_row(row[i].chunks, i);
        turn_c(w, "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        turn_c(w, row[i].chunks);
        CHECK_STR(tws_str_c(w->log), row[i].log);
        unmake(w);
    }
}

TEST("a request whose body comes late, or is too large, has its own head, whoever's was read since")
{
    static const struct {
        const char *head, *body;
        tws_conn_event_type type;
    } row[] = {
        {"Content-Length: 5", "hello", TWS_CONN_REQUEST},
        {"Transfer-Encoding: chunked", "1\r\nh\r\n0\r\n\r\n", TWS_CONN_REQUEST},
        {"Transfer-Encoding: chunked", "10001\r\n", TWS_CONN_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        world *w = make();
        world *other = make();
        char head[128];
        uint8_t body[32];
        tws_conn_event ev;
        test_row(row[i].body, i);
        snprintf(head, sizeof head, "POST /own HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", row[i].head);
        turn_c(w, head);
        tws_turn *turns = other->t;
        other->t = w->t; /* as the connections of one thread share it */
        turn_c(other, "GET /of-another HTTP/1.1\r\nHost: b\r\n\r\n");
        other->t = turns;
        memcpy(body, row[i].body, strlen(row[i].body));
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_feed(&w->c, w->t, body, strlen(row[i].body));
        CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), row[i].type);
        CHECK_STR(w->t->request.path, "/own");
        CHECK_STR(w->t->request.host, "a");
        finish(w);
        unmake(other);
        unmake(w);
    }
}

TEST("a request whose answer comes later holds back those behind it")
{
    world *w = make();
    turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_STR(tws_str_c(w->log), "GET /later [];");
    CHECK(!tws_conn_wants_input(&w->c));
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_respond(&w->c, w->t, 200, NULL, NULL, tws_str_c("now"), false);
    finish(w);
    CHECK_STR(tws_str_c(w->log), "GET /later [];GET /2 [];");
    CHECK(tws_conn_wants_input(&w->c));
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("a refusal behind a HEAD request has its body")
{
    world *w = make();
    turn_c(w, "HEAD /1 HTTP/1.1\r\nHost: a\r\n\r\nBAD\r\n\r\n");
    CHECK_STR(tws_str_c(w->log), "HEAD /1 [];bad 400;");
    CHECK(out_ends(w, "Content-Length: 2\r\n\r\nno"));
    unmake(w);
}

TEST("a HEAD request that is refused is answered without a body")
{
    static const char *const row[] = {
        "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        world *w = make();
        test_row("refused", i);
        turn_c(w, row[i]);
        CHECK_EQ(strncmp(w->log, "bad 4", 5), 0);
        CHECK(out_ends(w, "Content-Length: 2\r\n\r\n"));
        unmake(w);
    }
}

TEST("an answer whose status has no body has none, whatever was given")
{
    static const int status[] = {204, 304};
    for (size_t i = 0; i < 2; i++) {
        world *w = make();
        turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_respond(&w->c, w->t, status[i], NULL, NULL, tws_str_c("body"), false);
        finish(w);
        CHECK(out_ends(w, "\r\n\r\n"));
        unmake(w);
    }
}

TEST("a request behind an answer of any size is answered when that has gone, at once or in pieces")
{
    static const size_t takes[] = {SIZE_MAX, 50000, 1000};
    static char big[150000];
    memset(big, 'x', sizeof big);
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        world *w = make();
        test_row("takes", i);
        turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
        w->takes = takes[i];
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_respond(&w->c, w->t, 200, NULL, NULL, tws_str_of(big, sizeof big), false);
        finish(w);
        while (tws_conn_wants_output(&w->c)) {
            turn(w, NULL, 0);
        }
        CHECK_STR(tws_str_c(w->log), "GET /later [];GET /2 [];");
        CHECK(out_ends(w, "\r\n\r\n/2"));
        CHECK(owns_nothing(w));
        unmake(w);
    }
}

TEST("a request that is given up gets no answer, and the connection ends")
{
    world *w = make();
    turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_close(&w->c, w->t, 1000, tws_str_of(NULL, 0));
    tws_conn_respond(&w->c, w->t, 200, NULL, NULL, tws_str_c("too late"), false);
    finish(w);
    CHECK_STR(tws_str_c(w->log), "GET /later [];");
    CHECK_EQ(w->out_len, 0);
    CHECK(w->shut);
    eof(w);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a peer that has ended its side still gets its answer, and then the end")
{
    world *w = make();
    turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    eof(w);
    CHECK(!tws_conn_done(&w->c));
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_respond(&w->c, w->t, 200, NULL, NULL, tws_str_c("now"), false);
    finish(w);
    CHECK(out_ends(w, "\r\n\r\nnow"));
    CHECK(w->shut);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("what a peer asked before it ended its side is all answered")
{
    world *w = make();
    turn_c(w, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET");
    eof(w);
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_respond(&w->c, w->t, 200, NULL, NULL, tws_str_c("now"), false);
    finish(w);
    CHECK_STR(tws_str_c(w->log), "GET /later [];GET /2 [];");
    CHECK(out_ends(w, "\r\n\r\n/2"));
    CHECK(w->shut);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

/* -- closing is delivered -- */

TEST("after a refusal all input is read and dropped until the peer ends")
{
    world *w = make();
    turn_c(w, "BAD\r\n\r\n");
    CHECK(w->shut);
    for (int i = 0; i < 100; i++) {
        CHECK(tws_conn_wants_input(&w->c));
        CHECK(!tws_conn_done(&w->c));
        turn_c(w, "more and more and more");
        CHECK(owns_nothing(w));
    }
    eof(w);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a drain ends after its deadline when the peer does not")
{
    world *w = make();
    turn_c(w, "BAD\r\n\r\n");
    check_ends_after(w, 5000);
    unmake(w);
}

TEST("the closing handshake waits for the peer's frame, flushes, ends, and drains")
{
    world *w = make_open();
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_close(&w->c, w->t, 4401, tws_str_c("bye"));
    finish(w);
    CHECK_STR(out_of(w), "\x88\x05\x11\x31" "bye");
    CHECK_STR(tws_str_c(w->log), "closed 4401;");
    CHECK(!w->shut);
    turn_frame(w, true, TWS_WS_TEXT, "late");
    CHECK_STR(tws_str_c(w->log), "closed 4401;"); /* nothing is heard any more */
    turn_frame(w, true, TWS_WS_CLOSE, "\x11\x31");
    CHECK(w->shut);
    CHECK(!tws_conn_done(&w->c));
    eof(w);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a code that may not be sent is sent as 1011, and 1005 as none")
{
    static const uint16_t rows[][2] = {{1006, 1011}, {0, 1011}, {999, 1011}, {1004, 1011},
                                       {1015, 1011}, {5000, 1011}, {1014, 1014}, {4999, 4999}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char want[] = {'\x88', 2, (char)(rows[i][1] >> 8), (char)(rows[i][1] & 255)};
        world *w = make_open();
        test_row("code", rows[i][0]);
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_close(&w->c, w->t, rows[i][0], tws_str_of(NULL, 0));
        finish(w);
        CHECK_MEM(w->out, w->out_len, want, sizeof want);
        unmake(w);
    }
    world *w = make_open();
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_close(&w->c, w->t, 1005, tws_str_of(NULL, 0));
    finish(w);
    CHECK_MEM(w->out, w->out_len, "\x88\x00", 2);
    unmake(w);
}

TEST("a close frame that is never answered is followed by the end of the sending side")
{
    world *w = make_open();
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_close(&w->c, w->t, 1000, tws_str_of(NULL, 0));
    finish(w);
    pass(w, 4999);
    CHECK(!w->shut);
    pass(w, 1);
    CHECK(w->shut);
    CHECK(!tws_conn_done(&w->c));
    pass(w, 5000);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a peer's close is answered with its own code, and told once")
{
    world *w = make_open();
    turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe9");
    CHECK_STR(tws_str_c(w->log), "closed 1001 by peer;");
    CHECK_MEM(w->out, w->out_len, "\x88\x02\x03\xe9", 4);
    CHECK(w->shut);
    eof(w);
    CHECK_STR(tws_str_c(w->log), "closed 1001 by peer;");
    unmake(w);
    w = make_open();
    turn_frame(w, true, TWS_WS_CLOSE, ""); /* without a code: the answer has none either */
    CHECK_STR(tws_str_c(w->log), "closed 1005 by peer;");
    CHECK_MEM(w->out, w->out_len, "\x88\x00", 2);
    unmake(w);
}

TEST("an end without a close frame is code 1006")
{
    world *w = make_open();
    eof(w);
    CHECK_STR(tws_str_c(w->log), "closed 1006 by peer;");
    CHECK(w->shut);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
    w = make_open();
    tws_conn_abort(&w->c);
    turn(w, NULL, 0);
    CHECK_STR(tws_str_c(w->log), "closed 1006;");
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

/* -- WebSocket -- */

TEST("a handshake and frames come out the same at every split")
{
    uint8_t in[1024];
    size_t len = strlen(UPGRADE);
    memcpy(in, UPGRADE, len);
    len += frame(in + len, true, TWS_WS_TEXT, "one", 3);
    len += frame(in + len, false, TWS_WS_TEXT, "tw", 2);
    len += frame(in + len, true, TWS_WS_PING, "p", 1);
    len += frame(in + len, true, TWS_WS_CONTINUATION, "o", 1);
    len += frame(in + len, true, TWS_WS_BINARY, "", 0);
    len += frame(in + len, true, TWS_WS_CLOSE, "\x03\xe8", 2);
    static const char want[] = "\x81\x03one\x8a\x01p\x81\x03two\x82\x00\x88\x02\x03\xe8";
    for (size_t takes = 1; takes < 8; takes++) {
        for (size_t cut = 0; cut <= len; cut++) {
            world *w = make();
            w->takes = takes == 7 ? SIZE_MAX : takes;
            turn(w, in, cut);
            turn(w, in + cut, len - cut);
            for (int k = 0; k < 1000 && tws_conn_wants_output(&w->c); k++) {
                turn(w, NULL, 0);
            }
            CHECK_STR(tws_str_c(w->log), "GET /ws [];m1:3;m1:3;m2:0;closed 1000 by peer;");
            CHECK(w->out_len > sizeof want - 1 &&
                  memcmp(w->out + w->out_len - (sizeof want - 1), want, sizeof want - 1) == 0);
            CHECK(w->shut);
            CHECK(owns_nothing(w));
            unmake(w);
        }
    }
}

TEST("a message of many pieces is collected, and echoed while the next one is collected")
{
    world *w = make_open();
    uint8_t in[70000];
    char payload[30000];
    for (size_t i = 0; i < sizeof payload; i++) {
        payload[i] = (char)('a' + i % 23);
    }
    size_t len = frame(in, true, TWS_WS_BINARY, payload, sizeof payload);
    len += frame(in + len, true, TWS_WS_BINARY, payload, sizeof payload);
    turn(w, in, 20000); /* the first is left incomplete; the rest brings it and a part of the second */
    turn(w, in + 20000, 20000);
    turn(w, in + 40000, len - 40000);
    CHECK_STR(tws_str_c(w->log), "m2:30000;m2:30000;");
    CHECK_EQ(w->out_len, 2 * (4 + sizeof payload));
    CHECK_MEM(w->out + 4, sizeof payload, payload, sizeof payload);
    CHECK_MEM(w->out + 8 + sizeof payload, sizeof payload, payload, sizeof payload);
    CHECK(owns_nothing(w));
    unmake(w);
}

/* How the n-th message goes back: whole; twice; without its first byte; whole, then its beginning;
 * the other way round. Returns the number of parts, each from begin to end. */
static size_t parts_of(size_t nth, size_t len, size_t begin[2], size_t end[2])
{
    const size_t half = len / 2;
    const size_t first[5] = {len, len, len, len, half};
    const size_t second[5] = {0, len, 0, half, len};
    begin[0] = nth % 5 == 2 && len > 0 ? 1 : 0;
    begin[1] = 0;
    end[0] = first[nth % 5];
    end[1] = second[nth % 5];
    return nth % 5 == 0 || nth % 5 == 2 ? 1 : 2;
}

static void send_back(world *w, tws_conn_event *ev, size_t nth)
{
    size_t begin[2], end[2];
    char saw[32];
    size_t seen = tws__min(sizeof saw, ev->len);
    if (seen > 0) {
        memcpy(saw, ev->payload, seen);
    }
    for (size_t i = 0, parts = parts_of(nth, ev->len, begin, end); i < parts; i++) {
        CHECK(tws_conn_send(&w->c, w->t, ev->opcode, ev->payload + begin[i], end[i] - begin[i],
                            true));
        CHECK(seen == 0 || memcmp(saw, ev->payload, seen) == 0); /* its owner may still read it */
    }
}

TEST("messages are sent back from where they came, those in a row as one slice")
{
    static const size_t sizes[] = {5, 0, 125, 126, 1000, 5000, 7, 1, 300, 4096, 65536, 65535, 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    static uint8_t in[150000], want[230000];
    static char payload[65536];
    tws_str slice[TWS_TURN_SLICES];
    for (size_t plain = 0; plain < 2; plain++) {
        world *w = make_open();
        w->desc.max_output_bytes = 1 << 20;
        size_t len = 0, wanted = 0, nth = 0;
        tws_conn_event ev;
        for (size_t i = 0; i < COUNT; i++) {
            size_t begin[2], end[2];
            memset(payload, (int)('a' + i), sizes[i]);
            len += frame(in + len, true, TWS_WS_BINARY, payload, sizes[i]);
            for (size_t k = 0, parts = parts_of(plain != 0 ? 0 : i, sizes[i], begin, end);
                 k < parts; k++) {
                const size_t n = end[k] - begin[k];
                wanted += tws_ws_header(want + wanted, true, TWS_WS_BINARY, n, NULL);
                memcpy(want + wanted, payload, n);
                wanted += n;
            }
        }
        uint8_t *copy = (uint8_t *)malloc(len);
        memcpy(copy, in, len);
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_feed(&w->c, w->t, copy, len);
        for (; tws_conn_next(&w->c, w->t, &ev) == TWS_CONN_MESSAGE; nth++) {
            send_back(w, &ev, plain != 0 ? 0 : nth);
        }
        CHECK_EQ(nth, COUNT);
        size_t n = tws_conn_output(&w->c, w->t, slice, TWS_TURN_SLICES), at = 0;
        if (plain != 0) { /* all but what is too long to move follow each other */
            CHECK_EQ(n, 4);
            CHECK_EQ(w->t->scratch_len, 0);
        }
        for (size_t i = 0; i < n; i++) {
            CHECK(at + slice[i].len <= wanted);
            CHECK_MEM(slice[i].ptr, slice[i].len, want + at, slice[i].len);
            at += slice[i].len;
        }
        CHECK_EQ(at, wanted);
        tws_conn_sent(&w->c, w->t, wanted);
        tws_conn_end(&w->c, w->t);
        free(copy);
        CHECK(owns_nothing(w));
        unmake(w);
    }
}

TEST("an empty message in pieces, which has no memory, is sent back as any other")
{
    world *w = make_open();
    uint8_t in[32];
    size_t len = frame(in, false, TWS_WS_TEXT, "", 0);
    len += frame(in + len, true, TWS_WS_CONTINUATION, "", 0);
    turn(w, in, len);
    CHECK_STR(tws_str_c(w->log), "m1:0;");
    CHECK_MEM(w->out, w->out_len, "\x81\0", 2);
    unmake(w);
}

TEST("a message behind an offered unit is handed out where it came, and sent back holds the unit")
{
    static const uint8_t unit[] = {0x82, 1, 'x'};
    uint8_t in[16];
    tws_str kept;
    tws_conn_event ev;
    world *w = make_open();
    const tws_str slices[2] = {tws_str_of((const char *)unit, sizeof unit), tws_str_of(NULL, 0)};
    const size_t len = frame(in, true, TWS_WS_BINARY, "y", 1);
    tws_conn_begin(&w->c, w->t, w->now_ms);
    CHECK(tws_conn_offer(&w->c, w->t, slices, 2));
    tws_conn_feed(&w->c, w->t, in, len);
    CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), TWS_CONN_MESSAGE);
    CHECK(ev.payload == in + len - 1 && *ev.payload == 'y');
    CHECK(tws_conn_send(&w->c, w->t, ev.opcode, ev.payload, ev.len, true));
    CHECK_EQ(tws_conn_end(&w->c, w->t), 1); /* the socket took nothing: both are kept */
    tws_conn_begin(&w->c, w->t, w->now_ms);
    CHECK_EQ(tws_conn_output(&w->c, w->t, &kept, 1), 1);
    CHECK_STR(kept, "\x82\x01x\x82\x01y");
    tws_conn_end(&w->c, w->t);
    unmake(w);
}

TEST("what is written where no slice of the turn is left goes out whole behind the others")
{
    static char other[2000];
    tws_str slice[TWS_TURN_SLICES];
    memset(other, 'o', sizeof other);
    for (int back = 0; back < 2; back++) {
        world *w = make_open();
        uint8_t in[1024];
        tws_conn_event ev;
        const size_t len = frame(in, true, TWS_WS_BINARY, other, 1000);
        const size_t last = back ? 1000 : 3;
        test_row(back ? "a message sent back" : "a short one, copied", (size_t)back);
        tws_conn_begin(&w->c, w->t, w->now_ms);
        tws_conn_feed(&w->c, w->t, in, len);
        CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), TWS_CONN_MESSAGE);
        while (tws_conn_output(&w->c, w->t, slice, TWS_TURN_SLICES) < TWS_TURN_SLICES) {
            CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, other, sizeof other, true));
        }
        CHECK(tws_conn_send(&w->c, w->t, ev.opcode, ev.payload, last, back));
        CHECK(w->t->out_count <= TWS_TURN_SLICES);
        finish(w);
        const size_t all = TWS_TURN_SLICES / 2 * 2004;
        CHECK_EQ(w->out_len, all + (back ? 4 : 2) + last);
        CHECK_MEM(w->out + all, 4, back ? "\x82\x7e\x03\xe8" : "\x82\x03oo", 4);
        unmake(w);
    }
}

TEST("memory for a message grows with what has come, not with what its header promises")
{
    world *w = make_open();
    uint8_t in[64];
    size_t n = tws_ws_header(in, true, TWS_WS_BINARY, 65536, (const uint8_t *)"\0\0\0\0");
    turn(w, in, n + 1);
    CHECK(w->c.message->cap <= 4096);
    unmake(w);
}

static const struct {
    const char *name, *hex;
    uint16_t code;
} violation[] = {
    {"unmasked", "81 01 61", 1002},
    {"reserved bit", "c1 80 00000000", 1002},
    {"reserved opcode", "83 80 00000000", 1002},
    {"long control", "89 fe 0080 00000000", 1002},
    {"fragmented control", "09 80 00000000", 1002},
    {"continuation of nothing", "80 80 00000000", 1002},
    {"message inside a message", "01 81 00000000 61 81 80 00000000", 1002},
    {"length not in its shortest form", "82 fe 007d 00000000", 1002},
    {"length of 2^63", "82 ff 8000000000000000 00000000", 1002},
    {"bad UTF-8", "81 82 00000000 c3 28", 1007},
    {"bad UTF-8 that only the rest would complete", "81 fe 1000 00000000 61 ff", 1007},
    {"UTF-8 cut by the end", "01 81 00000000 c3 80 80 00000000", 1007},
    {"too big", "82 ff 0000000000010001 00000000", 1009},
    {"close of length 1", "88 81 00000000 03", 1002},
    {"close code 0", "88 82 00000000 0000", 1002},
    {"close code 1005", "88 82 00000000 03ed", 1002},
    {"close reason not UTF-8", "88 83 00000000 03e8 ff", 1007},
};

TEST("a violation is told to the peer and the owner with its code, and closes")
{
    for (size_t i = 0; i < sizeof violation / sizeof *violation; i++) {
        uint8_t in[64];
        char want[32];
        world *w = make_open();
        test_row(violation[i].name, i);
        turn(w, in, test_hex(violation[i].hex, in));
        snprintf(want, sizeof want, "closed %d;", violation[i].code);
        CHECK_STR(tws_str_c(w->log), want);
        CHECK(w->out_len > 4 && (uint8_t)w->out[0] == 0x88);
        CHECK_EQ((uint8_t)w->out[2] << 8 | (uint8_t)w->out[3], violation[i].code);
        CHECK(w->shut);
        turn_c(w, "whatever follows is dropped");
        CHECK(owns_nothing(w));
        unmake(w);
    }
}

TEST("a message that is incomplete when the closing begins is forgotten, whoever began it")
{
    for (int who = 0; who < 3; who++) {
        world *w = make_open();
        test_row(who == 0 ? "we" : who == 1 ? "the peer" : "its end without a word", (size_t)who);
        turn_frame(w, false, TWS_WS_TEXT, "half of");
        CHECK(!owns_nothing(w));
        if (who == 0) {
            tws_conn_begin(&w->c, w->t, w->now_ms);
            tws_conn_close(&w->c, w->t, 1000, tws_str_of(NULL, 0));
            finish(w);
        } else if (who == 1) {
            turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe8");
        } else {
            eof(w);
        }
        CHECK(owns_nothing(w));
        turn_frame(w, true, TWS_WS_CONTINUATION, "a message");
        CHECK(owns_nothing(w));
        CHECK(strchr(w->log, 'm') == NULL); /* and it is not handed out */
        unmake(w);
    }
}

/* -- backpressure -- */

/* -- compression -- */

#define UPGRADE_COMPRESSED                                                                    \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"            \
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"

static world *make_compressing_with(const tws_allocator *a, uint32_t max_message)
{
    world *w = make_with(a);
    w->desc.max_message_bytes = max_message;
    w->desc.compress_bytes = 16;
    turn_c(w, UPGRADE_COMPRESSED);
    return w;
}

static world *make_compressing(uint32_t max_message)
{
    static tws_allocator a;
    a = test_allocator();
    world *w = make_compressing_with(&a, max_message);
    CHECK(tws_conn_open(&w->c));
    CHECK(out_ends(w, "\r\nSec-WebSocket-Extensions: permessage-deflate; "
                      "server_no_context_takeover; client_no_context_takeover\r\n\r\n"));
    forget(w);
    return w;
}

/* A message of two pieces whose first frame begins it, compressed: split bytes, then the rest. */
static size_t packed_frames(uint8_t *out, tws_ws_opcode opcode, const uint8_t *p, size_t len,
                            size_t split)
{
    size_t n = frame(out, split == len, opcode, p, split);
    out[0] |= TWS_WS_RSV1;
    if (split < len) {
        n += frame(out + n, true, TWS_WS_CONTINUATION, p + split, len - split);
    }
    return n;
}

TEST("compressed messages are inflated, in any frames and however their bytes come")
{
    static const struct {
        const char *name, *payload, *log, *out;
    } rows[] = {
        {"RFC 7692 7.2.3.1", "f248cdc9c90700", "m1:5;", "\x81\x05Hello"},
        {"7.2.3.3, stored", "000500faff48656c6c6f00", "m1:5;", "\x81\x05Hello"},
        {"7.2.3.4, a final block", "f348cdc9c9070000", "m1:5;", "\x81\x05Hello"},
        {"7.2.3.5, two blocks", "f248050000 00ffffcac9c90700", "m1:5;", "\x81\x05Hello"},
        {"an empty one", "00", "m1:0;", "\x81"},
        {"two final blocks", "f348cdc9c90700f348cdc9c9070000", "m1:10;", "\x81\x0aHelloHello"},
        {"no DEFLATE at all", "07", "closed 1007;", NULL},
        {"it ends inside a block", "f248cdc9", "closed 1007;", NULL},
        {"nothing, not even a block", "", "closed 1007;", NULL},
        {"text that is not UTF-8", "000100feffff00", "closed 1007;", NULL},
        {"a distance before the begin", "4a040200", "closed 1007;", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t packed[64], bytes[128];
        size_t len = test_hex(rows[i].payload, packed);
        test_row(rows[i].name, i);
        for (size_t split = 0; split <= len; split++) {
            size_t n = packed_frames(bytes, TWS_WS_TEXT, packed, len, split);
            for (size_t step = 1; step <= n; step += step == 1 ? 2 : n - 3 > 0 ? n - 3 : 1) {
                world *w = make_compressing(64 * 1024);
                for (size_t at = 0; at < n; at += step) {
                    turn(w, bytes + at, n - at < step ? n - at : step);
                }
                CHECK_STR(tws_str_c(w->log), rows[i].log);
                if (rows[i].out != NULL) {
                    CHECK(tws_str_starts(out_of(w), rows[i].out));
                    CHECK(owns_nothing(w));
                } else {
                    CHECK(w->shut);
                }
                unmake(w);
                CHECK_EQ(test_live_blocks(), 0);
            }
        }
    }
}

static size_t largest_block; /* but for the one that every thread has */

static void *note_largest(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    if (new_bytes > largest_block && new_bytes != sizeof(tws__packer)) {
        largest_block = new_bytes;
    }
    return test_resize(context, p, old_bytes, new_bytes);
}

TEST("the message limit counts inflated bytes, and a bomb costs no more than the limit")
{
    static uint8_t zeros[1 << 20], bomb[1 << 16], bytes[1 << 17];
    static uint32_t memory[TWS_DEFLATE_MEMORY(15, false) / 4];
    static tws_deflate_scratch scratch;
    static const struct {
        size_t inflated;
        const char *log;
    } rows[] = {
        {65535, "m2:65535;"}, {65536, "m2:65536;"}, {65537, "closed 1009;"},
        {sizeof zeros, "closed 1009;"},
    };
    tws_deflater z;
    tws_deflate_init(&z, memory, 15, 9, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len, n;
        CHECK_EQ(tws_deflate_encode(&z, &scratch, zeros, rows[i].inflated, true, bomb, sizeof bomb,
                                    &len), TWS_OK);
        n = packed_frames(bytes, TWS_WS_BINARY, bomb, len, len);
        static const tws_allocator noting = {note_largest, NULL};
        world *w = make_compressing_with(&noting, 65536);
        forget(w);
        largest_block = 0;
        w->desc.compress_bytes = TWS_OFF;
        turn(w, bytes, n);
        CHECK_STR(tws_str_c(w->log), rows[i].log);
        CHECK(largest_block <= 65536);
        unmake(w);
    }
}

TEST("one connection's messages may be bounded for a while, as they come and as they are inflated")
{
    static const uint8_t ten[] = {0x4a, 0x4c, 0x84, 0x01, 0x00, 0x00};
    static const uint8_t nine[] = {0x4a, 0x4c, 0x84, 0x02, 0x00, 0x00};
    static const struct {
        const char *name;
        uint32_t before, amid; /* the bounds, of which 0 is 64 */
        size_t frame[2];       /* bytes; 0: none */
        const uint8_t *packed; /* instead */
        const char *log;
    } rows[] = {
        {"none", 0, 0, {64, 0}, NULL, "m2:64;"},
        {"at the bound", 9, 9, {9, 0}, NULL, "m2:9;"},
        {"beyond it", 9, 9, {10, 0}, NULL, "closed 1009;"},
        {"in two frames", 9, 9, {5, 5}, NULL, "closed 1009;"},
        {"inflated, at it", 9, 9, {6, 0}, nine, "m2:9;"},
        {"inflated, beyond it", 9, 9, {6, 0}, ten, "closed 1009;"},
        {"lifted", 9, 0, {9, 55}, NULL, "m2:64;"},
        {"lifted, inflated", 9, 0, {2, 4}, ten, "m2:10;"},
        {"above the limit of all", 1000, 1000, {65, 0}, NULL, "closed 1009;"},
        {"set below what has begun", 0, 9, {32, 1}, NULL, "closed 1009;"},
    };
    static const uint8_t zeros[65];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        world *w = make_compressing(64);
        uint8_t bytes[128];
        const uint8_t *p = rows[i].packed != NULL ? rows[i].packed : zeros;
        const size_t first = rows[i].frame[0], second = rows[i].frame[1];
        test_row(rows[i].name, i);
        tws_conn_limit(&w->c, rows[i].before);
        size_t n = frame(bytes, second == 0, TWS_WS_BINARY, p, first);
        bytes[0] |= rows[i].packed != NULL ? TWS_WS_RSV1 : 0;
        turn(w, bytes, n);
        tws_conn_limit(&w->c, rows[i].amid);
        if (second != 0) {
            turn(w, bytes, frame(bytes, true, TWS_WS_CONTINUATION, p + first, second));
        }
        CHECK_STR(tws_str_c(w->log), rows[i].log);
        unmake(w);
    }
}

TEST("a message that has begun ends as its frames say, whatever it is bounded by since")
{
    world *w = make_compressing(64);
    turn_frame(w, false, TWS_WS_BINARY, "0123456789");
    tws_conn_limit(&w->c, 9);
    turn_frame(w, true, TWS_WS_CONTINUATION, "");
    CHECK_STR(tws_str_c(w->log), "m2:10;");
    turn_frame(w, true, TWS_WS_BINARY, "123456789");
    turn_frame(w, true, TWS_WS_BINARY, "0123456789"); /* the next one has the new bound */
    CHECK_STR(tws_str_c(w->log), "m2:10;m2:9;closed 1009;");
    unmake(w);
}

/* Read what went out: one frame, its payload inflated where it says that it is compressed. */
static tws_str read_frame(world *w, uint8_t *memory, size_t cap, bool *compressed)
{
    static tws_inflater inflater;
    tws_ws_decoder d;
    tws_ws_compression terms = {15, false, 0, 0};
    tws_ws_event ev;
    tws_inflate_window window;
    tws_inflate_event out;
    tws_ws_init(&d, TWS_WS_CLIENT, 0, 0);
    tws_ws_allow_compressed(&d, &terms);
    CHECK_EQ(tws_ws_decode(&d, (uint8_t *)w->out, w->out_len, &ev), w->out_len);
    CHECK(ev.type == TWS_WS_DATA && ev.first && ev.last);
    *compressed = ev.compressed;
    if (!ev.compressed) {
        return tws_str_of((const char *)ev.payload, ev.len);
    }
    tws_inflate_flat(&window, memory, cap, 15);
    tws_inflate_begin(&inflater, &window);
    CHECK_EQ(tws_inflate_decode(&inflater, ev.payload, ev.len, &out), ev.len);
    CHECK_EQ(out.type, TWS_INFLATE_MORE);
    tws_inflate_finish(&inflater, &out);
    CHECK_EQ(out.type, TWS_INFLATE_END);
    return tws_str_of((const char *)memory, window.at);
}

TEST("with TWS_OFF compression is agreed with nobody")
{
    tws_allocator a = test_allocator();
    world *w = make_with(&a);
    w->desc.compress_bytes = TWS_OFF;
    turn_c(w, UPGRADE_COMPRESSED);
    CHECK(tws_conn_open(&w->c));
    CHECK(out_ends(w, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    CHECK_EQ(tws_conn_window_bits(&w->c), 0);
    unmake(w);
}

TEST("a message is sent compressed where it gets shorter by it, and as it is where it does not")
{
    static char text[100000];
    static uint8_t memory[sizeof text], bytes[sizeof text + 14];
    static const struct {
        const char *name;
        size_t len;
        bool noise, compressed;
    } rows[] = {
        {"a short one", 15, false, false},     {"one of the least length", 16, false, true},
        {"a long one", sizeof text, false, true}, {"noise", 5000, true, false},
        {"an empty one", 0, false, false},
    };
    uint32_t random = 7;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool compressed;
        test_row(rows[i].name, i);
        for (size_t n = 0; n < rows[i].len; n++) {
            random = random * 1664525 + 1013904223;
            text[n] = (char)(rows[i].noise ? random >> 24 : 'a');
        }
        world *w = make_compressing(TWS_OFF);
        turn(w, bytes, frame(bytes, true, TWS_WS_BINARY, text, rows[i].len));
        tws_str message = read_frame(w, memory, sizeof memory, &compressed);
        CHECK_EQ(compressed, rows[i].compressed);
        CHECK_MEM(message.ptr, message.len, text, rows[i].len);
        CHECK(!compressed || w->out_len < rows[i].len);
        unmake(w);
    }
}

TEST("without memory for inflating a connection ends, without memory for deflating it goes on")
{
    uint8_t packed[64], bytes[128];
    size_t len = test_hex("f248cdc9c90700", packed);
    size_t n = packed_frames(bytes, TWS_WS_TEXT, packed, len, 3);
    tws_allocator a = test_allocator();
    bool met = true;
    for (size_t at = 1; met; at++) {
        world *w = make_compressing_with(&a, 65536);
        forget(w);
        test_fail_at(at);
        turn(w, bytes, n);
        met = test_allocations() >= at;
        test_fail_at(0);
        CHECK(at < 20);
        CHECK_EQ(strstr(w->log, "closed 10") != NULL, met);
        CHECK_EQ(strcmp(w->log, "m1:5;") == 0, !met);
        unmake(w);
        CHECK_EQ(test_live_blocks(), 0);
    }
    world *w = make_compressing(65536);
    test_fail_at(1);
    turn_frame(w, true, TWS_WS_TEXT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    test_fail_at(0);
    CHECK_STR(tws_str_c(w->log), "m1:32;");
    CHECK_STR(out_of(w), "\x81\x20" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    unmake(w);
}

/* -- compression: contexts -- */

/* Of 12 bits. */
#define ONE_CONTEXT (sizeof(tws__context) + TWS_DEFLATE_MEMORY(12, true) + 4096)

/* A client that keeps contexts: of what it sends, and of what it is sent. */
typedef struct client {
    tws_deflater z;
    tws_deflate_scratch scratch;
    uint32_t memory[TWS_DEFLATE_MEMORY(15, true) / 4];
    tws_inflate_window window;
    uint8_t ring[32768];
    tws_ws_decoder decoder;
    bool takes_over; /* the server's context */
    uint8_t in[1 << 17]; /* frames to send */
    size_t in_len;
    size_t read;         /* of the world's out */
    char message[1 << 17];
    size_t compressed, plain, bytes; /* of what came */
} client;

static client *make_client(unsigned bits, bool keeps, bool takes_over)
{
    client *k = (client *)calloc(1, sizeof *k);
    tws_ws_compression terms = {15, false, 0, 0};
    tws_deflate_init(&k->z, k->memory, bits, 6, keeps);
    tws_inflate_ring(&k->window, k->ring, 15);
    tws_ws_init(&k->decoder, TWS_WS_CLIENT, 0, 0);
    tws_ws_allow_compressed(&k->decoder, &terms);
    k->takes_over = takes_over;
    return k;
}

/* One more message to send, in frames of the given size; 0: one. */
static void say(client *k, tws_ws_opcode opcode, const char *text, size_t len, size_t piece)
{
    static uint8_t packed[1 << 17];
    size_t n;
    CHECK_EQ(tws_deflate_encode(&k->z, &k->scratch, text, len, true, packed, sizeof packed, &n),
             TWS_OK);
    piece = piece == 0 ? n : piece;
    for (size_t at = 0; at < n; at += piece) {
        const size_t part = n - at < piece ? n - at : piece;
        uint8_t *head = k->in + k->in_len;
        k->in_len += frame(head, at + part == n, at == 0 ? opcode : TWS_WS_CONTINUATION,
                           packed + at, part);
        head[0] |= at == 0 ? TWS_WS_RSV1 : 0;
    }
}

static void say_plainly(client *k, const char *text, size_t len)
{
    k->in_len += frame(k->in + k->in_len, true, TWS_WS_TEXT, text, len);
}

/* The next message of what the sink took. */
static tws_str hear(client *k, world *w)
{
    static tws_inflater inflater;
    tws_ws_event ev;
    tws_inflate_event out;
    size_t n = tws_ws_decode(&k->decoder, (uint8_t *)w->out + k->read, w->out_len - k->read, &ev);
    CHECK(ev.type == TWS_WS_DATA && ev.first && ev.last);
    k->read += n;
    k->bytes += n;
    if (ev.type != TWS_WS_DATA || !ev.compressed) {
        k->plain += ev.type == TWS_WS_DATA;
        return tws_str_of((const char *)ev.payload, ev.len);
    }
    k->compressed++;
    if (!k->takes_over) {
        tws_inflate_ring(&k->window, k->ring, 15);
    }
    size_t len = 0, left = ev.len;
    tws_inflate_begin(&inflater, &k->window);
    do {
        const size_t used = tws_inflate_decode(&inflater, ev.payload + ev.len - left, left, &out);
        left -= used;
        for (size_t i = 0; i < out.len; i++) {
            k->message[len++] = (char)out.data[i];
        }
    } while (out.type == TWS_INFLATE_FULL);
    CHECK_EQ(out.type, TWS_INFLATE_MORE);
    do {
        tws_inflate_finish(&inflater, &out);
        for (size_t i = 0; i < out.len; i++) {
            k->message[len++] = (char)out.data[i];
        }
    } while (out.type == TWS_INFLATE_FULL);
    CHECK_EQ(out.type, TWS_INFLATE_END);
    return tws_str_of(k->message, len);
}

#define OFFERING(parameters)                                                                  \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"             \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"            \
    "Sec-WebSocket-Extensions: permessage-deflate" parameters "\r\n\r\n"

static world *make_keeping(const tws_allocator *a, uint32_t bits, uint32_t bytes,
                           const char *request)
{
    world *w = make_with(a);
    w->desc.context_bits = bits;
    w->desc.context_bytes = bytes;
    w->desc.context_use = &w->context_use;
    w->desc.compress_bytes = 16;
    turn_c(w, request);
    return w;
}

static void unmake_keeping(world *w)
{
    tws_conn_free(&w->c);
    CHECK_EQ(w->context_use, 0); /* all is given back */
    unmake(w);
    CHECK_EQ(test_live_blocks(), 0);
}

/* What is said to an echo: events that are alike, and now and then what else there is. */
static size_t event_text(char *out, size_t room, unsigned n)
{
    if (n % 7 == 3) {
        return (size_t)snprintf(out, room, "short %u", n);
    }
    if (n % 7 == 5) {
        uint32_t random = n;
        for (size_t i = 0; i < 300; i++) {
            random = random * 1664525 + 1013904223;
            out[i] = (char)(32 + (random >> 24) % 94);
        }
        return 300;
    }
    const size_t len = (size_t)snprintf(
        out, room, "{\"task_id\":\"%06x\",\"status\":\"running\",\"progress\":%u,\"message\":"
        "\"transcoding segment %u of 500\"}", n * 7919u, n % 101, n * 31u % 500);
    if (n % 7 != 6) {
        return len;
    }
    for (size_t i = len; i < 6000; i++) { /* longer than the window of 12 bits */
        out[i] = out[i - len];
    }
    return 6000;
}

TEST("contexts last over messages of every kind in both directions, however the bytes come")
{
    static const struct {
        const char *name, *request;
        unsigned bits, client_bits;
        bool client_keeps, server_keeps;
    } rows[] = {
        {"both", OFFERING("; client_max_window_bits"), 12, 12, true, true},
        {"both, full windows", OFFERING(""), 15, 15, true, true},
        {"both, small windows", OFFERING("; client_max_window_bits"), 9, 9, true, true},
        {"the smallest", OFFERING("; client_max_window_bits; server_max_window_bits=8"), 8, 8, true,
         true},
        {"the client", OFFERING("; server_no_context_takeover"), 15, 15, true, false},
        {"the server", OFFERING("; client_no_context_takeover"), 12, 15, false, true},
        {"a client that takes no limit", OFFERING(""), 12, 15, false, true},
        {"neither", OFFERING("; server_no_context_takeover; client_no_context_takeover"), 12, 15,
         false, false},
    };
    static const size_t steps[] = {SIZE_MAX, 1, 3, 1000};
    tws_allocator a = test_allocator();
    for (size_t i = 0; i < 4 * (sizeof rows / sizeof *rows); i++) {
        const size_t row = i / 4, step = steps[i % 4];
        char text[8192];
        test_row(rows[row].name, row);
        world *w = make_keeping(&a, rows[row].bits, 1 << 20, rows[row].request);
        CHECK(tws_conn_open(&w->c));
        CHECK_EQ(strstr(w->out, "client_no_context_takeover") == NULL, rows[row].client_keeps);
        CHECK_EQ(strstr(w->out, "server_no_context_takeover") == NULL, rows[row].server_keeps);
        forget(w);
        client *k = make_client(rows[row].client_bits, rows[row].client_keeps,
                                rows[row].server_keeps);
        for (unsigned n = 0; n < 60; n++) {
            const size_t len = event_text(text, sizeof text, n);
            if (n % 5 == 4) {
                say_plainly(k, text, len);
            } else {
                say(k, TWS_WS_TEXT, text, len, n % 4 == 1 ? 13 : 0);
            }
        }
        for (size_t at = 0; at < k->in_len; at += step < k->in_len - at ? step : k->in_len - at) {
            turn(w, k->in + at, step < k->in_len - at ? step : k->in_len - at);
        }
        for (unsigned n = 0; n < 60; n++) {
            const tws_str got = hear(k, w);
            const size_t len = event_text(text, sizeof text, n);
            CHECK_MEM(got.ptr, got.len, text, len);
        }
        CHECK_EQ(k->read, w->out_len);
        CHECK(k->plain >= 8); /* the short ones, if not the noise, too */
        CHECK(k->compressed >= 42);
        CHECK(owns_nothing(w));
        free(k);
        unmake_keeping(w);
    }
}

TEST("where messages of every length are compressed, none and one byte go out as they are")
{
    for (unsigned keeps = 0; keeps < 2; keeps++) {
        tws_allocator a = test_allocator();
        world *w = make_keeping(&a, 12, keeps != 0 ? 1 << 20 : TWS_OFF, OFFERING(""));
        test_row("with a context", keeps);
        w->desc.compress_bytes = 0;
        forget(w);
        turn_frame(w, true, TWS_WS_TEXT, "");
        turn_frame(w, true, TWS_WS_TEXT, "x");
        CHECK_MEM(w->out, w->out_len, "\x81\0\x81\x01x", 5);
        unmake_keeping(w);
    }
}

TEST("contexts are worth it: events cost a third of what they cost without")
{
    size_t bytes[2];
    tws_allocator a = test_allocator();
    for (int keeps = 0; keeps < 2; keeps++) {
        char text[8192];
        world *w = make_keeping(&a, 12, keeps ? 1 << 20 : 0, OFFERING(""));
        forget(w);
        client *k = make_client(15, false, keeps);
        for (unsigned n = 0; n < 70; n++) {
            say(k, TWS_WS_TEXT, text, event_text(text, sizeof text, n / 3 * 7), 0);
        }
        turn(w, k->in, k->in_len);
        while (k->read < w->out_len) {
            hear(k, w);
        }
        CHECK_EQ(k->compressed, 70);
        bytes[keeps] = k->bytes;
        free(k);
        unmake_keeping(w);
    }
    CHECK(bytes[1] * 3 < bytes[0]);
}

TEST("a context's memory is counted at the handshake, taken at need, and given back at the end")
{
    static const char *const ends[] = {"closed by us", "by the peer", "it breaks a rule",
                                       "what it sends is no DEFLATE", "its end", "aborted",
                                       "freed"};
    tws_allocator a = test_allocator();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        test_row(ends[i], i);
        world *w = make_keeping(&a, 12, ONE_CONTEXT, OFFERING("; client_max_window_bits"));
        client *k = make_client(12, true, true);
        CHECK_EQ(w->context_use, ONE_CONTEXT);
        CHECK_EQ(test_live_blocks(), 1); /* some 100 bytes, until there is a message */
        say_plainly(k, "not compressed, short", 15);
        turn(w, k->in, k->in_len);
        CHECK_EQ(test_live_blocks(), 1);
        k->in_len = 0;
        say(k, TWS_WS_TEXT, "one and one and one and one and one", 35, 0);
        turn(w, k->in, k->in_len);
        CHECK_EQ(test_live_blocks(), 4); /* both ways, and the thread's */
        switch (i) {
        case 0:
            tws_conn_begin(&w->c, w->t, w->now_ms);
            tws_conn_close(&w->c, w->t, 1000, tws_str_of(NULL, 0));
            finish(w);
            break;
        case 1: turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe8"); break;
        case 2: turn_frame(w, true, TWS_WS_TEXT, "\xff"); break;
        case 3: turn(w, "\xc1\x81\0\0\0\0\x07", 7); break;
        case 4: eof(w); break;
        case 5: tws_conn_abort(&w->c); break;
        default: tws_conn_free(&w->c); break;
        }
        CHECK_EQ(test_live_blocks(), 1);
        CHECK_EQ(w->context_use, 0);
        free(k);
        unmake_keeping(w);
    }
}

TEST("where the contexts of others leave no room, a connection is given none, and serves as well")
{
    tws_allocator a = test_allocator();
    size_t use = 0;
    world *w[4];
    for (int i = 0; i < 4; i++) {
        if (i == 3) {
            unmake(w[0]);
            CHECK_EQ(use, ONE_CONTEXT);
        }
        w[i] = make_with(&a);
        w[i]->desc.context_bytes = 2 * ONE_CONTEXT;
        w[i]->desc.context_use = &use;
        w[i]->desc.compress_bytes = 16;
        turn_c(w[i], OFFERING("; client_max_window_bits"));
        const bool given = i != 2;
        CHECK_EQ(strstr(w[i]->out, "no_context_takeover") == NULL, given);
        CHECK_EQ(strstr(w[i]->out, "client_max_window_bits=12") != NULL, given);
        CHECK_EQ(use, (i == 0 ? 1 : 2) * ONE_CONTEXT);
        forget(w[i]);
        client *k = make_client(12, given, given);
        for (int n = 0; n < 3; n++) {
            say(k, TWS_WS_TEXT, "what one says is what one hears, and hears again", 48, 0);
        }
        turn(w[i], k->in, k->in_len);
        for (int n = 0; n < 3; n++) {
            CHECK_STR(hear(k, w[i]), "what one says is what one hears, and hears again");
        }
        CHECK_EQ(k->read, w[i]->out_len);
        CHECK_EQ(k->compressed, 3);
        free(k);
    }
    for (int i = 1; i < 4; i++) {
        unmake(w[i]);
    }
    CHECK_EQ(use, 0);
    CHECK_EQ(test_live_blocks(), 0);
}

TEST("TWS_OFF, 0, and nowhere to count them: no contexts")
{
    tws_allocator a = test_allocator();
    for (int i = 0; i < 3; i++) {
        world *w = make_with(&a);
        w->desc.context_bytes = i == 0 ? TWS_OFF : i == 1 ? 0 : 1 << 20;
        w->desc.context_use = i == 2 ? NULL : &w->context_use;
        turn_c(w, OFFERING("; client_max_window_bits"));
        CHECK(out_ends(w, "; server_no_context_takeover; client_no_context_takeover\r\n\r\n"));
        unmake_keeping(w);
    }
}

TEST("a copy from before what was agreed on closes with 1007, from within it is a copy")
{
    static char text[3000];
    tws_allocator a = test_allocator();
    uint32_t random = 5;
    for (size_t i = 0; i < sizeof text; i++) {
        random = random * 1664525 + 1013904223;
        text[i] = (char)(random >> 24);
    }
    for (int i = 0; i < 3; i++) {
        /* 300 bytes, others, and the 300 again: by a client whose window is 15 bits. */
        const size_t between = i == 1 ? 400 : 100;
        world *w = make_keeping(&a, i == 2 ? 15 : 9, 1 << 20,
                                OFFERING("; client_max_window_bits; server_no_context_takeover"));
        w->desc.compress_bytes = TWS_OFF;
        forget(w);
        client *k = make_client(15, true, false);
        say(k, TWS_WS_BINARY, text, 300, 0);
        say(k, TWS_WS_BINARY, text + 300, between, 0);
        say(k, TWS_WS_BINARY, text, 300, 0);
        turn(w, k->in, k->in_len);
        CHECK_STR(tws_str_c(w->log), i == 1 ? "m2:300;m2:400;closed 1007;"
                                            : "m2:300;m2:100;m2:300;");
        free(k);
        unmake_keeping(w);
    }
}

TEST("with a context a bomb costs no more than the limit either, and the limit is to the byte")
{
    static char zeros[1 << 17];
    for (size_t i = 0; i < 4; i++) {
        static const size_t sizes[] = {65535, 65536, 65537, sizeof zeros};
        static const tws_allocator noting = {note_largest, NULL};
        world *w = make_keeping(&noting, 15, 1 << 20, OFFERING("; server_no_context_takeover"));
        client *k = make_client(15, true, false);
        forget(w);
        w->desc.compress_bytes = TWS_OFF;
        largest_block = 0;
        say(k, TWS_WS_BINARY, zeros, sizes[i], 0);
        turn(w, k->in, k->in_len);
        CHECK_EQ(strstr(w->log, "closed 1009") != NULL, i > 1);
        CHECK(largest_block <= 65536);
        free(k);
        unmake_keeping(w);
    }
}

TEST("what is offered to all between messages of a context does not disturb it")
{
    static uint8_t unit[256];
    tws_allocator a = test_allocator();
    char text[8192];
    world *w = make_keeping(&a, 12, 1 << 20, OFFERING(""));
    client *k = make_client(15, false, true);
    forget(w);
    /* A frame as the hub keeps them: compressed, without a past. */
    client *hub = make_client(15, false, false);
    size_t len;
    CHECK_EQ(tws_deflate_encode(&hub->z, &hub->scratch, "offered, offered, offered", 25, true,
                                unit + 2, sizeof unit - 2, &len), TWS_OK);
    unit[0] = 0xc1;
    unit[1] = (uint8_t)len;
    for (unsigned n = 0; n < 40; n++) {
        const size_t size = event_text(text, sizeof text, n % 4 * 7);
        tws_str slice = tws_str_of((const char *)unit, len + 2);
        const bool taken = n % 3 != 0; /* or the turn ends before the sink has it */
        tws_conn_begin(&w->c, w->t, w->now_ms);
        CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, text, size, false));
        w->takes = taken ? SIZE_MAX : 5;
        CHECK(tws_conn_offer(&w->c, w->t, &slice, 1));
        if (n % 2 == 0) {
            CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, text, size, false));
        }
        finish(w);
        const bool went = w->units == 1;
        CHECK(went || !taken);
        for (w->takes = SIZE_MAX; tws_conn_wants_output(&w->c);) {
            turn(w, NULL, 0);
        }
        CHECK_MEM(text, size, hear(k, w).ptr, size);
        if (went) {
            CHECK_STR(hear(k, w), "offered, offered, offered");
        }
        if (n % 2 == 0) {
            CHECK_MEM(text, size, hear(k, w).ptr, size);
        }
        CHECK_EQ(k->read, w->out_len);
    }
    CHECK(k->plain == 0);
    free(hub);
    free(k);
    unmake_keeping(w);
}

TEST("whichever allocation fails, contexts lose nothing but this connection")
{
    tws_allocator a = test_allocator();
    bool met = true;
    size_t closed = 0, plain = 0, none = 0;
    for (size_t at = 1; met; at++) {
        test_fail_at(at);
        world *w = make_keeping(&a, 12, 1 << 20, OFFERING("; client_max_window_bits"));
        const bool kept = strstr(w->out, "no_context_takeover") == NULL;
        client *k = make_client(12, kept, kept);
        CHECK(tws_conn_open(&w->c));
        forget(w);
        for (int n = 0; n < 3; n++) {
            say(k, TWS_WS_TEXT, "what one says is what one hears, and hears again", 48,
                n == 1 ? 5 : 0);
        }
        turn(w, k->in, k->in_len);
        met = test_allocations() >= at;
        test_fail_at(0);
        if (strstr(w->log, "closed") == NULL) {
            for (int n = 0; n < 3; n++) {
                CHECK_STR(hear(k, w), "what one says is what one hears, and hears again");
            }
            CHECK_EQ(k->read, w->out_len);
        }
        closed += strstr(w->log, "closed") != NULL;
        plain += k->plain > 0;
        none += !kept;
        CHECK(met || (kept && k->compressed == 3));
        free(k);
        unmake_keeping(w);
        CHECK(at < 30);
    }
    CHECK(closed > 2 && plain > 0 && none == 1);
}

TEST("a peer that pings and does not read costs bounded memory, and its input is left waiting")
{
    world *w = make_open();
    uint8_t in[4096];
    char payload[125];
    memset(payload, 'p', sizeof payload);
    size_t len = 0;
    while (len + 131 <= sizeof in) {
        len += frame(in + len, true, TWS_WS_PING, payload, sizeof payload);
    }
    w->takes = 0;
    size_t turns = 0;
    while (tws_conn_wants_input(&w->c) && turns < 10000) {
        turn(w, in, len);
        turns++;
    }
    CHECK(turns < 100);
    CHECK(w->c.out->len <= w->desc.max_output_bytes + sizeof in);
    uint32_t before = w->c.out->len;
    turn(w, in, len); /* fed all the same: it waits, and is not answered */
    CHECK_EQ(w->c.out->len, before);
    w->takes = SIZE_MAX;
    for (int i = 0; i < 10 && (tws_conn_wants_output(&w->c) || w->c.in != NULL); i++) {
        turn(w, NULL, 0);
    }
    CHECK_EQ(w->out_len, (turns + 1) * (len / 131) * 127); /* then every ping is answered, in order */
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("input that waits for a peer who reads a little now and then is bounded, whatever it sends")
{
    static const char request[] = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    for (int upgraded = 0; upgraded < 2; upgraded++) {
        world *w = upgraded ? make_open() : make();
        uint8_t in[4096], one[131];
        char payload[125];
        memset(payload, 'p', sizeof payload);
        size_t ping = frame(one, true, TWS_WS_PING, payload, sizeof payload);
        size_t unit = upgraded ? ping : sizeof request - 1, len = 0, fed = 0;
        test_row(upgraded ? "pings" : "requests", (size_t)upgraded);
        for (; len + unit <= sizeof in; len += unit) {
            memcpy(in + len, upgraded ? (const char *)one : request, unit);
        }
        w->takes = 0;
        for (size_t i = 0; i < 2000; i++) {
            bool wanted = tws_conn_wants_input(&w->c);
            turn(w, wanted ? in : NULL, wanted ? len : 0);
            fed += wanted ? len : 0;
            w->takes = 127; /* less than came in */
            w->out_len = 0;
            w->log_len = 0;
        }
        CHECK(tws__kept_waiting(w->c.in) <= w->desc.max_output_bytes + len);
        CHECK(fed > len);
        w->takes = SIZE_MAX;
        for (size_t i = 0; i < 1000 && (w->c.in != NULL || tws_conn_wants_output(&w->c)); i++) {
            turn(w, NULL, 0); /* none of it is lost, and it is all answered without more input */
            w->out_len = 0;
            w->log_len = 0;
        }
        CHECK(tws_conn_wants_input(&w->c));
        CHECK(owns_nothing(w));
        unmake(w);
    }
}

TEST("messages of many pieces that nobody answers are all handed out")
{
    world *w = make_open();
    uint8_t in[1024];
    size_t len = 0;
    for (size_t i = 0; i < 3 * TWS_TURN_HELD; i++) {
        len += frame(in + len, false, TWS_WS_TEXT, "a", 1);
        len += frame(in + len, true, TWS_WS_CONTINUATION, "b", 1);
    }
    tws_conn_event ev;
    size_t messages = 0;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_feed(&w->c, w->t, in, len);
    while (tws_conn_next(&w->c, w->t, &ev) == TWS_CONN_MESSAGE) {
        CHECK_MEM(ev.payload, ev.len, "ab", 2);
        messages++;
    }
    CHECK_EQ(messages, 3 * TWS_TURN_HELD);
    CHECK(!w->t->full); /* else who has nothing to write would go on for ever */
    tws_conn_end(&w->c, w->t);
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("that output was in the way of input can be asked behind writing it")
{
    world *w = make_open();
    uint8_t in[1024];
    size_t len = 0;
    for (size_t i = 0; i < TWS_TURN_HELD + 1; i++) {
        len += frame(in + len, false, TWS_WS_TEXT, "a", 1);
        len += frame(in + len, true, TWS_WS_CONTINUATION, "b", 1);
    }
    tws_conn_event ev;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    CHECK(!w->t->full);
    tws_conn_feed(&w->c, w->t, in, len);
    dispatch(w);
    CHECK(write_out(w));
    CHECK(w->t->full); /* else nothing would ever ask for the last message */
    CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), TWS_CONN_MESSAGE);
    CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), TWS_CONN_NONE);
    CHECK(!w->t->full);
    tws_conn_end(&w->c, w->t);
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("an upgrade may be answered in a later turn, and what its client sent meanwhile is read then")
{
    world *w = make();
    static const char request[] = UPGRADE;
    static const char later[] = "GET /later";
    uint8_t in[1024];
    size_t len = sizeof later - 1;
    memcpy(in, later, len);
    memcpy(in + len, request + 7, sizeof request - 1 - 7); /* behind GET /ws */
    len += sizeof request - 1 - 7;
    len += frame(in + len, true, TWS_WS_TEXT, "hi", 2);
    turn(w, in, len);
    CHECK(tws_conn_waits(&w->c));
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_accept(&w->c, w->t, tws_str_c("dGhlIHNhbXBsZSBub25jZQ=="), tws_str_of(NULL, 0), NULL);
    finish(w);
    CHECK(out_ends(w, "\x81\x02hi"));
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("input that was held back goes on in the turn that writes the output in its way")
{
    static const char two[] =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    world *w = make();
    w->desc.max_output_bytes = 1;
    w->takes = 0;
    turn_c(w, "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    turn_c(w, two); /* although it is not asked for */
    CHECK_STR(tws_str_c(w->log), "GET /0 [];");
    w->takes = SIZE_MAX;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    finish(w);
    CHECK_STR(tws_str_c(w->log), "GET /0 [];GET /1 [];GET /2 [];");
    CHECK(out_ends(w, "/2"));
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("requests that were held back when their client ended are answered, whoever asks between turns")
{
    static char in[160000], target[301];
    const char *format = "GET /%03d%s HTTP/1.1\r\nHost: a\r\n\r\n";
    world *w = make();
    size_t len = 0, answers = 0;
    memset(target, 'x', sizeof target - 1);
    for (int i = 0; i < 400; i++) { /* more than a turn takes: its answers are 64 KiB and more */
        len += (size_t)snprintf(in + len, sizeof in - len, format, i, target);
    }
    w->desc.max_output_bytes = 1 << 20;
    w->takes = 0;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_feed(&w->c, w->t, (uint8_t *)in, len);
    tws_conn_eof(&w->c);
    finish(w); /* it calls next behind end */
    w->takes = SIZE_MAX;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    finish(w);
    for (size_t i = 0; i + 8 < w->out_len; i++) {
        answers += memcmp(w->out + i, "HTTP/1.1", 8) == 0;
    }
    CHECK_EQ(answers, 400);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a head behind a HEAD that takes too long is answered with a body")
{
    world *w = make();
    w->desc.max_output_bytes = 1;
    w->takes = 0;
    turn_c(w, "HEAD /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    turn_c(w, "GET /1 HT"); /* held back, and so not looked at */
    pass(w, w->desc.head_ms);
    CHECK_STR(tws_str_c(w->log), "HEAD /0 [];bad 408;");
    w->takes = SIZE_MAX;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    finish(w);
    CHECK(out_ends(w, "Content-Length: 2\r\n\r\nno"));
    unmake(w);
}

TEST("a peer that never takes all of what waits costs no more memory than what waits")
{
    world *w = make_open();
    uint8_t in[131];
    char payload[125];
    memset(payload, 'p', sizeof payload);
    size_t len = frame(in, true, TWS_WS_PING, payload, sizeof payload);
    w->takes = 100;
    turn(w, in, len);
    w->takes = 127; /* an answer comes in and as much goes out */
    for (size_t i = 0; i < 100000; i++) {
        turn(w, in, len);
        w->out_len = 0;
    }
    CHECK(tws_conn_wants_output(&w->c));
    CHECK(w->c.out->cap <= 1024);
    unmake(w);
}

TEST("only a ping comes next where one is open, nothing waits and no answer is awaited")
{
    world *w = make();
    CHECK(!tws_conn_pings_next(&w->c));
    unmake(w);
    w = make_open();
    CHECK(tws_conn_pings_next(&w->c));
    w->takes = 0;
    turn_frame(w, true, TWS_WS_TEXT, "hello");
    CHECK(!tws_conn_pings_next(&w->c)); /* but a stall */
    w->takes = SIZE_MAX;
    turn(w, NULL, 0);
    CHECK(tws_conn_pings_next(&w->c));
    pass(w, 25000);
    CHECK(!tws_conn_pings_next(&w->c)); /* but the end of patience */
    turn_frame(w, true, TWS_WS_PONG, "");
    CHECK(tws_conn_pings_next(&w->c));
    turn_frame(w, true, TWS_WS_CLOSE, "");
    CHECK(!tws_conn_pings_next(&w->c));
    unmake(w);
}

TEST("output that nobody takes for 30 seconds is a stall, and progress puts it off")
{
    world *w = make_open();
    w->takes = 0;
    turn_frame(w, true, TWS_WS_TEXT, "hello");
    pass(w, 29000);
    w->takes = 1;
    turn(w, NULL, 0);
    w->takes = 0;
    pass(w, 29999);
    CHECK_STR(tws_str_c(w->log), "m1:5;");
    pass(w, 1);
    CHECK_STR(tws_str_c(w->log), "m1:5;stall;closed 4409;");
    pass(w, 5000 + 5000);
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("a last answer to a peer that takes a little in 30 seconds is not cut off")
{
    for (size_t last = 0; last < 2; last++) { /* to its end, or not any more from there on */
        world *w = make();
        test_row("last", last);
        w->takes = 0;
        turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        w->takes = 1;
        for (int i = 0; tws_conn_wants_output(&w->c) && (last == 0 || i < 5); i++) {
            pass(w, 29999);
            CHECK(!tws_conn_done(&w->c));
            turn(w, NULL, 0);
        }
        CHECK_EQ(out_ends(w, "\r\n\r\n/1"), last == 0);
        CHECK_EQ(w->shut, last == 0);
        check_ends_after(w, last == 0 ? 5000 : 30000);
        unmake(w);
    }
}

TEST("a last answer has the time of a close also where what waits before it has soon stalled")
{
    world *w = make();
    w->takes = 0;
    turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(w, 28000);
    turn_c(w, "BAD\r\n\r\n");
    check_ends_after(w, 5000);
    unmake(w);
}

TEST("a last answer that stands still ends after the time of a close where nothing stalls")
{
    world *w = make();
    w->desc.stall_ms = TWS_OFF;
    w->takes = 0;
    turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    check_ends_after(w, 5000);
    unmake(w);
}

TEST("a closed WebSocket whose peer takes nothing more ends after the time of a close")
{
    for (size_t ends = 0; ends < 2; ends++) { /* by a close frame, by an end of file */
        world *w = make_open();
        test_row("ends", ends);
        w->takes = 0;
        turn_frame(w, true, TWS_WS_TEXT, "hello");
        if (ends == 0) {
            turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe8");
        } else {
            eof(w);
        }
        check_ends_after(w, 5000);
        unmake(w);
    }
}

TEST("offered units are taken whole or not at all, and a blocked connection keeps one")
{
    static const struct {
        size_t takes, units, kept;
    } row[] = {{SIZE_MAX, 3, 0}, {30, 3, 0}, {29, 3, 1}, {21, 3, 9}, {20, 3, 10}, {11, 2, 9},
               {10, 2, 10},      {1, 1, 9},  {0, 1, 10}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        world *w = make_open();
        test_row("takes", i);
        w->offer[2] = "0123456789";
        w->offer[1] = "abcdefghij";
        w->offer[0] = "ABCDEFGHIJ";
        w->offers = 3;
        w->takes = row[i].takes;
        turn(w, NULL, 0);
        CHECK_EQ(w->units, row[i].units);
        CHECK_EQ(tws__kept_waiting(w->c.out), row[i].kept);
        w->takes = SIZE_MAX;
        turn(w, NULL, 0);
        static const char all[] = "0123456789abcdefghijABCDEFGHIJ";
        CHECK_MEM(w->out, w->out_len, all, row[i].units * 10);
        unmake(w);
    }
}

/* A turn as section 18 sketches it. True: the reader has more to be given. */
static bool turn_of_reader(world *w, tws_hub_reader *r)
{
    tws_conn_event ev;
    tws_hub_batch b;
    tws_str wire[TWS_EVENT_SLICES];
    size_t offered = 0;
    bool all;
    memset(&b, 0, sizeof b);
    tws_conn_begin(&w->c, w->t, w->now_ms);
    do {
        while (tws_conn_next(&w->c, w->t, &ev) != TWS_CONN_NONE ||
               tws_conn_tick(&w->c, w->t, &ev) != TWS_CONN_NONE) {
            handle(w, &ev);
        }
        all = write_out(w);
    } while (all && w->t->full);
    if (all && r->group != NULL) {
        tws_hub_gather(r, &b);
        while (offered < b.count &&
               tws_conn_offer(&w->c, w->t, wire,
                              tws_event_wire(b.event[offered], TWS_FORMAT_ENVELOPE, wire))) {
            offered++;
        }
        write_out(w);
    }
    size_t n = tws_conn_end(&w->c, w->t);
    bool more = all && n == offered && (b.more || offered < b.count);
    if (b.count != 0) {
        tws_hub_advance(r, &b, n);
    }
    tws_hub_batch_free(&b);
    return more;
}

static void no_wake(void *context)
{
    (void)context;
}

TEST("a reader of a hub, in turns as they are sketched, has each event once, however little is taken")
{
    static const size_t takes[] = {1, 10, 1000, SIZE_MAX};
    tws_hub_desc desc;
    memset(&desc, 0, sizeof desc);
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        tws_hub *hub = NULL;
        tws_hub_reader r;
        world *w = make_open();
        CHECK_EQ(tws_hub_create(&hub, &desc), TWS_OK);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, no_wake, NULL);
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("u"), NULL), TWS_OK);
        CHECK(!turn_of_reader(w, &r));
        w->takes = takes[i];
        uint8_t want[16384];
        size_t len = 0;
        unsigned n = 0;
        bool more = false;
        while (n < 200 || more || tws_conn_wants_output(&w->c)) {
            unsigned until = n < 150 ? 150 : n < 200 ? n + 1 : n; /* many, then some in between */
            while (n < until) {
                char text[64];
                n++;
                tws_hub_publish(hub, tws_str_c("u"), tws_str_c("{}"), n, NULL, NULL);
                int bytes = snprintf(text, sizeof text,
                                     "{\"type\":\"task\",\"id\":\"%u-0\",\"data\":{}}", n);
                len += tws_ws_header(want + len, true, TWS_WS_TEXT, (uint64_t)bytes, NULL);
                memcpy(want + len, text, (size_t)bytes);
                len += (size_t)bytes;
            }
            while (tws_hub_news(in) != NULL) {
            }
            more = turn_of_reader(w, &r);
        }
        CHECK_MEM(w->out, w->out_len, want, len);
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
        unmake(w);
    }
}

TEST("nothing can be offered while output waits")
{
    world *w = make_open();
    w->takes = 0;
    turn_frame(w, true, TWS_WS_TEXT, "hello");
    tws_conn_begin(&w->c, w->t, w->now_ms);
    CHECK(!tws_conn_offers(&w->c, w->t));
    finish(w);
    unmake(w);
}

static void begin(world *w)
{
    tws_conn_begin(&w->c, w->t, w->now_ms);
}

/* A row of messages of one size, in a block that the caller frees. */
static uint8_t *row_of_messages(size_t count, size_t size, bool in_pieces, size_t *len)
{
    uint8_t *in = (uint8_t *)malloc(count * (size + 2 * TWS_WS_MAX_HEADER));
    char *payload = (char *)malloc(size);
    *len = 0;
    for (size_t i = 0; i < count; i++) {
        size_t first = in_pieces ? size / 2 : size;
        memset(payload, (int)('a' + i % 26), size);
        *len += frame(in + *len, !in_pieces, TWS_WS_BINARY, payload, first);
        if (in_pieces) {
            *len += frame(in + *len, true, TWS_WS_CONTINUATION, payload + first, size - first);
        }
    }
    free(payload);
    return in;
}

/* Is all that the sink took a row of such messages, and nothing else? */
static bool took_messages(const world *w, size_t count, size_t size)
{
    size_t head = size < 126 ? 2 : 4, at = 0;
    for (size_t i = 0; i < count; i++, at += head + size) {
        for (size_t k = 0; k < size; k++) {
            if (at + head + size > w->out_len || w->out[at + head + k] != (char)('a' + i % 26)) {
                return false;
            }
        }
    }
    return at == w->out_len;
}

TEST("however many messages come in one read, all are echoed in order, in pieces or not")
{
    static const size_t size[] = {20, 500, 600, 3000}; /* copied below 512, lent from there on */
    static const size_t takes[] = {SIZE_MAX, 5000, 100};
    for (size_t i = 0; i < 3 * 4 * 2; i++) {
        bool in_pieces = i % 2 == 1;
        size_t bytes = size[i / 2 % 4], count = 60000 / bytes, len;
        world *w = make_open();
        uint8_t *in = row_of_messages(count, bytes, in_pieces, &len);
        test_row(in_pieces ? "in pieces" : "whole", i);
        w->takes = takes[i / 8];
        turn(w, in, len);
        for (int k = 0; k < 10000 && (tws_conn_wants_output(&w->c) || w->c.in != NULL); k++) {
            turn(w, NULL, 0);
        }
        CHECK(took_messages(w, count, bytes));
        CHECK(owns_nothing(w));
        free(in);
        unmake(w);
    }
}

TEST("what stands where a message of an earlier turn came is not sent back, but sent as it is")
{
    static uint8_t in[1024];
    tws_conn_event ev;
    world *w = make_open();
    const size_t len = frame(in, true, TWS_WS_BINARY, in + 512, 100);
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_feed(&w->c, w->t, in, len);
    CHECK_EQ(tws_conn_next(&w->c, w->t, &ev), TWS_CONN_MESSAGE);
    uint8_t *payload = in + (ev.payload - in);
    finish(w); /* it is not answered */
    memset(in, 'x', sizeof in);
    begin(w);
    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, payload, 600, true));
    finish(w);
    CHECK_EQ(w->out_len, 604);
    CHECK(payload[-1] == 'x' && payload[-4] == 'x');
    unmake(w);
}

TEST("what a turn has no room for is kept, in order, and units before it are on their way")
{
    static char payload[150][600];
    static const size_t takes[] = {SIZE_MAX, 7000, 0};
    for (size_t i = 0; i < 3; i++) {
        world *w = make_open();
        test_row("takes", i);
        w->takes = takes[i];
        begin(w);
        tws_str unit = tws_str_c("\x82\x01!");
        CHECK(tws_conn_offer(&w->c, w->t, &unit, 1));
        for (size_t k = 0; k < 150; k++) {
            memset(payload[k], (int)('a' + k % 26), sizeof payload[k]);
            bool sent = tws_conn_send(&w->c, w->t, TWS_WS_BINARY, payload[k], 600, true);
            CHECK(sent);
            CHECK_EQ(tws_conn_offers(&w->c, w->t), k < 61); /* two slices each: then they are kept */
        }
        CHECK(!tws_conn_offer(&w->c, w->t, &unit, 1));
        finish(w);
        CHECK_EQ(w->units, 1);
        w->takes = SIZE_MAX;
        turn(w, NULL, 0);
        CHECK_MEM(w->out, 3, "\x82\x01!", 3);
        w->out_len -= 3;
        memmove(w->out, w->out + 3, w->out_len);
        CHECK(took_messages(w, 150, 600));
        unmake(w);
    }
}

static void count_hold(void *object)
{
    ++*(int *)object;
}

static void count_release(void *object)
{
    --*(int *)object;
}

/* A frame of 4,000 bytes in three slices that do not touch, the middle one of 3,950. */
static void offer_lent(world *w, const char *frame_bytes, const tws_lender *lender, int *held)
{
    static char copy[4002];
    memcpy(copy, frame_bytes, 44);
    memcpy(copy + 45, frame_bytes + 44, 3950);
    memcpy(copy + 3996, frame_bytes + 3994, 6);
    const tws_str slices[3] = {tws_str_of(copy, 44), tws_str_of(copy + 45, 3950),
                               tws_str_of(copy + 3996, 6)};
    CHECK(tws_conn_offer(&w->c, w->t, slices, 3));
    tws_conn_lend(w->t, lender, held);
}

TEST("the rest of a lent unit is held and not copied, wherever the socket stopped, and released")
{
    static const tws_lender lender = {count_hold, count_release};
    static const size_t takes[] = {SIZE_MAX, 0, 1, 43, 44, 45, 2000, 2969, 2970, 3990, 3994, 3999};
    static char bytes[4000];
    for (size_t i = 4; i < 4000; i++) {
        bytes[i] = (char)('a' + i % 23);
    }
    memcpy(bytes, "\x82\x7e\x0f\x9c", 4);
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        for (size_t then = 1; then < 4000; then += 997) {
            world *w = make_open();
            int held = 0, rest = 0;
            test_row("takes", i * 10000 + then);
            w->takes = takes[i];
            begin(w);
            offer_lent(w, bytes, &lender, &held);
            offer_lent(w, bytes, &lender, &rest);
            finish(w);
            const bool all = takes[i] == SIZE_MAX;
            CHECK_EQ(w->units, all ? 2 : 1);
            CHECK_EQ(held, takes[i] <= 2970);
            CHECK_EQ(rest, 0);
            CHECK(all || tws__conn_waiting(&w->c) == 4000 - takes[i]);
            CHECK(all || w->c.out->cap < 2000);
            w->takes = then;
            while (tws_conn_wants_output(&w->c)) {
                begin(w); /* an answer stands behind the frame */
                if (w->out_len < 4000 && w->takes != SIZE_MAX) {
                    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_BINARY, "x", 1, false));
                    finish(w);
                    w->takes = SIZE_MAX;
                    continue;
                }
                finish(w);
            }
            CHECK_EQ(held, 0);
            CHECK_MEM(w->out, 4000, bytes, 4000);
            CHECK_EQ(w->out_len, all ? 8000 : 4003);
            CHECK(owns_nothing(w));
            unmake(w);
        }
    }
}

TEST("what was told as sent and was not is output again, before what comes behind it")
{
    static const size_t lengths[] = {1, 5, 8, 0};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        world *w = make_open();
        const tws_str unit = tws_str_c("\x81\x03one\x81\x01!");
        test_row("unsent", lengths[i]);
        begin(w);
        CHECK(tws_conn_offer(&w->c, w->t, &unit, 1));
        finish(w);
        CHECK_EQ(w->units, 1);
        CHECK_EQ(w->out_len, 8);
        w->out_len -= lengths[i]; /* these have not been written */
        w->takes = 0;
        tws_conn_unsent(&w->c, w->now_ms, unit.ptr + 8 - lengths[i], lengths[i]);
        begin(w);
        CHECK_EQ(tws_conn_offers(&w->c, w->t), lengths[i] == 0);
        CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "two", 3, false));
        finish(w);
        CHECK(tws_conn_wants_output(&w->c));
        pass(w, 29000); /* it has waited since then */
        CHECK_STR(tws_str_c(w->log), "");
        w->takes = SIZE_MAX;
        turn(w, NULL, 0);
        CHECK_MEM(w->out, w->out_len, "\x81\x03one\x81\x01!\x81\x03two", 13);
        CHECK(owns_nothing(w));
        unmake(w);
    }
}

TEST("what waits before, in and behind a lent unit is given in no more slices than are asked for")
{
    static const tws_lender lender = {count_hold, count_release};
    static char bytes[4000] = "\x82\x7e\x0f\x9c";
    tws_str out[4];
    world *w = make_open();
    int held = 0;
    w->takes = 0;
    begin(w);
    offer_lent(w, bytes, &lender, &held);
    finish(w);
    begin(w);
    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "x", 1, false));
    for (size_t max = 0; max <= 3; max++) {
        memset(out, 0, sizeof out);
        CHECK_EQ(tws_conn_output(&w->c, w->t, out, max), max);
        CHECK(out[max].ptr == NULL);
    }
    CHECK_EQ(tws_conn_output(&w->c, w->t, out, 4), 3);
    tws_conn_sent(&w->c, w->t, 44 + 3949);
    CHECK_EQ(held, 1);
    tws_conn_sent(&w->c, w->t, 1); /* it has gone, what stands behind it has not */
    CHECK_EQ(held, 0);
    CHECK_EQ(tws_conn_output(&w->c, w->t, out, 4), 1);
    CHECK_EQ(out[0].len, 6 + 3);
    finish(w);
    unmake(w);
}

TEST("what is lent is released when its connection is aborted, or freed")
{
    static const tws_lender lender = {count_hold, count_release};
    static char bytes[4000] = "\x82\x7e\x0f\x9c";
    for (int how = 0; how < 3; how++) {
        world *w = make_open();
        int held = 0;
        w->takes = 100;
        begin(w);
        offer_lent(w, bytes, &lender, &held);
        finish(w);
        CHECK_EQ(held, 1);
        if (how == 0) {
            tws_conn_abort(&w->c);
            CHECK_EQ(held, 0);
        } else if (how == 1) { /* closing does not: the frame goes on to its end */
            begin(w);
            tws_conn_close(&w->c, w->t, 1000, tws_str_c("bye"));
            finish(w);
            CHECK_EQ(held, 1);
            w->takes = SIZE_MAX;
            turn(w, NULL, 0);
            CHECK_EQ(held, 0);
        }
        unmake(w);
        CHECK_EQ(held, 0);
    }
}

TEST("of a lent unit with two long slices one is held and the other copied, and both are sent")
{
    static const tws_lender lender = {count_hold, count_release};
    static char bytes[2][2004] = {"\x82\x7e\x0f\xa0", "\x82\x7e\x0f\xa0"};
    const tws_str slices[2] = {tws_str_of(bytes[0], 2004), tws_str_of(bytes[1] + 4, 2000)};
    world *w = make_open();
    int held = 0;
    w->takes = 1;
    begin(w);
    CHECK(tws_conn_offer(&w->c, w->t, slices, 2));
    tws_conn_lend(w->t, &lender, &held);
    finish(w);
    CHECK_EQ(held, 1);
    CHECK_EQ(tws__conn_waiting(&w->c), 4003);
    w->takes = SIZE_MAX;
    turn(w, NULL, 0);
    CHECK_EQ(held, 0);
    CHECK_EQ(w->out_len, 4004);
    unmake(w);
}

TEST("input that was large and is no more leaves no large block where output waits")
{
    world *w = make_open();
    static uint8_t in[65536];
    size_t len = 0;
    while (len + 7 <= sizeof in) {
        len += frame(in + len, true, TWS_WS_PONG, "p", 1);
    }
    turn(w, in, 3); /* the rest of this frame comes behind it */
    turn(w, in + 3, len - 5);
    CHECK(w->c.in != NULL && w->c.in->len == 5 && w->c.in->cap > len);
    w->takes = 0;
    begin(w);
    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "x", 1, false));
    finish(w);
    CHECK(w->c.in != NULL && w->c.in->len == 5 && w->c.in->cap < 1024);
    w->takes = SIZE_MAX;
    turn(w, in + len - 2, 2);
    CHECK(owns_nothing(w));
    unmake(w);
}

TEST("a unit of more slices than are left is not taken, nor more than 32 units")
{
    world *w = make_open();
    tws_str slices[TWS_TURN_SLICES + 1];
    for (size_t i = 0; i <= TWS_TURN_SLICES; i++) {
        slices[i] = tws_str_c("x");
    }
    begin(w);
    CHECK(!tws_conn_offer(&w->c, w->t, slices, TWS_TURN_SLICES + 1));
    CHECK(tws_conn_offer(&w->c, w->t, slices, 1));
    CHECK(!tws_conn_offer(&w->c, w->t, slices, TWS_TURN_SLICES));
    for (size_t i = 1; i < TWS_TURN_UNITS; i++) {
        CHECK(tws_conn_offer(&w->c, w->t, slices, 1));
    }
    CHECK(!tws_conn_offers(&w->c, w->t));
    CHECK(!tws_conn_offer(&w->c, w->t, slices, 1));
    finish(w);
    CHECK_EQ(w->units, TWS_TURN_UNITS);
    CHECK_EQ(w->out_len, TWS_TURN_UNITS);
    begin(w);
    CHECK(tws_conn_offer(&w->c, w->t, slices, TWS_TURN_SLICES)); /* as much as fits a turn */
    CHECK(!tws_conn_offers(&w->c, w->t));
    tws_str out[4];
    CHECK_EQ(tws_conn_output(&w->c, w->t, out, 4), 4); /* a part of it, if no more is asked for */
    CHECK_EQ(tws_conn_output(&w->c, w->t, out, 0), 0);
    finish(w);
    CHECK_EQ(w->out_len, TWS_TURN_UNITS + TWS_TURN_SLICES);
    unmake(w);
}

TEST("output may be written in one turn a few slices or bytes at a time")
{
    static const size_t most[] = {1, 3, TWS_TURN_SLICES}; /* slices asked for at once */
    static char payload[600];                             /* borrowed: a slice of its own */
    for (size_t row = 0; row < 6; row++) {
        const size_t takes = row < 3 ? SIZE_MAX : 7; /* of them, in bytes */
        const char *const early = "early";
        world *w = make_open();
        char out[4096];
        size_t len = 0;
        test_row(takes == 7 ? "bytes" : "slices", row);
        begin(w);
        for (int i = 0; i < 4; i++) {
            memset(payload, 'x', sizeof payload);
            CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, payload, sizeof payload, true));
        }
        tws_str unit = tws_str_c(early);
        CHECK(tws_conn_offer(&w->c, w->t, &unit, 1));
        size_t n = 1;
        while (n != 0 && len < sizeof out) {
            tws_str slice[TWS_TURN_SLICES];
            size_t sent = 0;
            n = tws_conn_output(&w->c, w->t, slice, most[row % 3]);
            for (size_t i = 0; i < n && sent < takes && len < sizeof out; i++) {
                size_t take = slice[i].len < takes - sent ? slice[i].len : takes - sent;
                take = take < sizeof out - len ? take : sizeof out - len;
                memcpy(out + len, slice[i].ptr, take);
                len += take;
                sent += take;
            }
            tws_conn_sent(&w->c, w->t, sent);
        }
        CHECK_EQ(tws_conn_end(&w->c, w->t), 1);
        CHECK(!tws_conn_wants_output(&w->c));
        CHECK_EQ(len, 4 * 604 + 5);
        for (size_t i = 0; i < 4; i++) {
            CHECK_MEM(out + i * 604, 5, "\x81\x7e\x02\x58x", 5);
        }
        CHECK_MEM(out + len - 5, 5, early, 5);
        unmake(w);
    }
}

TEST("what was written of a turn's output is not kept when more comes than the turn has room for")
{
    static char payload[TWS_TURN_SCRATCH / 2];
    world *w = make_open();
    tws_str slice;
    begin(w);
    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, payload, sizeof payload, false));
    CHECK_EQ(tws_conn_output(&w->c, w->t, &slice, 1), 1);
    tws_conn_sent(&w->c, w->t, 1000);
    CHECK(tws_conn_send(&w->c, w->t, TWS_WS_TEXT, payload, sizeof payload, false));
    finish(w);
    CHECK_EQ(w->out_len, 2 * (4 + sizeof payload) - 1000);
    unmake(w);
}

TEST("into a peer that takes nothing only so much can be sent, messages as well as a stream")
{
    static char payload[10000];
    for (int stream = 0; stream < 2; stream++) {
        world *w = stream ? make() : make_open();
        test_row(stream ? "stream" : "WebSocket", (size_t)stream);
        w->takes = 0;
        turn_c(w, stream ? "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" : "");
        size_t sent = 0;
        for (bool taken = true; taken && sent < 1000; sent += taken ? 1 : 0) {
            begin(w);
            taken = stream ? tws_conn_put(&w->c, w->t, payload, sizeof payload, false)
                           : tws_conn_send(&w->c, w->t, TWS_WS_BINARY, payload, sizeof payload, true);
            finish(w);
        }
        CHECK(sent >= 26 && sent <= 28); /* 16 times 16 KiB, and the one that passed it */
        CHECK(tws_conn_open(&w->c)); /* refused, not closed: what to do is the policy's */
        w->takes = SIZE_MAX;
        turn(w, NULL, 0);
        begin(w);
        CHECK(stream ? tws_conn_put(&w->c, w->t, "x", 1, false)
                     : tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "x", 1, false));
        finish(w);
        unmake(w);
    }
}

TEST("a limit of the output that waits which is set higher lets 16 times as much be sent")
{
    static char payload[10000];
    world *w = make_open();
    w->takes = 0;
    w->desc.max_output_bytes = 100 * 1000;
    size_t sent = 0;
    for (bool taken = true; taken && sent < 1000; sent += taken ? 1 : 0) {
        begin(w);
        taken = tws_conn_send(&w->c, w->t, TWS_WS_BINARY, payload, 9996, false);
        finish(w);
    }
    CHECK_EQ(sent, 161); /* each a frame of 10,000 bytes; with 160 of them no more than that waits */
    unmake(w);
}

TEST("what does not fit the connection's state does nothing")
{
    world *w = make();
    tws_str key = tws_str_c("dGhlIHNhbXBsZSBub25jZQ=="), none = tws_str_of(NULL, 0);
    begin(w); /* no request is there to be answered */
    tws_conn_respond(&w->c, w->t, 200, NULL, NULL, none, false);
    tws_conn_stream(&w->c, w->t, 200, NULL, NULL);
    tws_conn_accept(&w->c, w->t, key, none, NULL);
    CHECK(!tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "x", 1, false));
    CHECK(!tws_conn_put(&w->c, w->t, "x", 1, false));
    CHECK(!tws_conn_offers(&w->c, w->t));
    finish(w);
    CHECK_EQ(w->out_len, 0);
    CHECK(tws_conn_idle(&w->c));
    unmake(w);
    w = make_open();
    begin(w); /* a WebSocket: no answers, no stream; closed once */
    tws_conn_accept(&w->c, w->t, key, none, NULL);
    CHECK(!tws_conn_put(&w->c, w->t, "x", 1, false));
    tws_conn_close(&w->c, w->t, 1000, none);
    tws_conn_close(&w->c, w->t, 1001, none);
    CHECK(!tws_conn_send(&w->c, w->t, TWS_WS_TEXT, "x", 1, false));
    finish(w);
    turn_frame(w, true, TWS_WS_PING, "x"); /* nor is a ping answered behind our close frame */
    turn_frame(w, true, TWS_WS_PONG, "x");
    CHECK_MEM(w->out, w->out_len, "\x88\x02\x03\xe8", 4);
    CHECK_STR(tws_str_c(w->log), "closed 1000;");
    turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe8");
    begin(w);
    tws_conn_close(&w->c, w->t, 1001, none); /* it is over: draining */
    finish(w);
    eof(w);
    CHECK(tws_conn_done(&w->c));
    CHECK(!tws_conn_wants_input(&w->c));
    turn_c(w, "late"); /* and a done one hears and says nothing */
    CHECK_EQ(w->out_len, 4);
    CHECK_STR(tws_str_c(w->log), "closed 1000;");
    unmake(w);
}

TEST("limits that are turned off do not count frames or bytes")
{
    world *w = make();
    uint8_t in[32];
    w->desc.max_message_bytes = TWS_OFF;
    w->desc.max_frames = TWS_OFF;
    turn_c(w, UPGRADE);
    forget(w);
    for (size_t i = 0; i < 66000; i++) {
        turn(w, in, frame(in, i == 65999, i == 0 ? TWS_WS_BINARY : TWS_WS_CONTINUATION, "x", 1));
    }
    CHECK_STR(tws_str_c(w->log), "m2:66000;");
    CHECK_EQ(w->out_len, 10 + 66000);
    unmake(w);
}

TEST("a peer that stalls within its next request is let go without an answer")
{
    world *w = make();
    w->takes = 0;
    w->desc.head_ms = TWS_OFF;
    turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT");
    pass(w, 30000);
    CHECK_STR(tws_str_c(w->log), "GET /1 [];");
    pass(w, 5000);
    CHECK(tws_conn_done(&w->c));
    CHECK_EQ(w->out_len, 0);
    unmake(w);
}

TEST("a close frame that there is no memory for is the end, and is told once")
{
    for (int by_peer = 0; by_peer < 2; by_peer++) {
        world *w = make_open();
        test_row(by_peer ? "answered" : "begun", (size_t)by_peer);
        w->takes = 0;
        while (w->c.out == NULL || w->c.out->cap > w->c.out->len) {
            turn_frame(w, true, TWS_WS_PING, ""); /* until not one byte more fits */
        }
        test_fail_at(1);
        if (by_peer) {
            turn_frame(w, true, TWS_WS_CLOSE, "\x03\xe8");
        } else {
            begin(w);
            tws_conn_close(&w->c, w->t, 1000, tws_str_of(NULL, 0));
            finish(w);
        }
        test_fail_at(0);
        CHECK_STR(tws_str_c(w->log), by_peer ? "closed 1000 by peer;" : "closed 1006;");
        CHECK(tws_conn_done(&w->c));
        unmake(w);
    }
}

/* -- time -- */

TEST("a head has 10 seconds from its first byte, and an unused connection goes silently")
{
    world *w = make();
    pass(w, 9999);
    CHECK(!w->shut);
    pass(w, 1);
    CHECK(w->shut);
    CHECK_EQ(w->out_len, 0);
    unmake(w);
    w = make();
    turn_c(w, "GET / HT");
    for (int i = 0; i < 9; i++) { /* one byte a second does not help */
        pass(w, 1000);
        turn_c(w, "x");
    }
    pass(w, 1000);
    CHECK_STR(tws_str_c(w->log), "bad 408;");
    CHECK(w->shut);
    unmake(w);
}

TEST("a request behind a long pause has the time of a head from its own first byte")
{
    for (int in_time = 0; in_time < 2; in_time++) {
        world *w = make();
        test_row("in time", (size_t)in_time);
        turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
        pass(w, 60000);
        turn_c(w, "GET /2 HTTP/1.1\r\n");
        pass(w, in_time ? 9999 : 10000);
        turn_c(w, "Host: a\r\n\r\n");
        CHECK_STR(tws_str_c(w->log), in_time ? "GET /1 [];GET /2 [];" : "GET /1 [];bad 408;");
        unmake(w);
    }
}

TEST("a body has 10 seconds, the pause between two requests 75")
{
    world *w = make();
    turn_c(w, "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        pass(w, 2400);
        turn_c(w, "x");
    }
    CHECK_STR(tws_str_c(w->log), "");
    pass(w, 400);
    CHECK_STR(tws_str_c(w->log), "bad 408;");
    unmake(w);
    w = make();
    turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    pass(w, 74999);
    CHECK(!w->shut);
    pass(w, 1);
    CHECK(w->shut);
    CHECK_STR(tws_str_c(w->log), "GET /1 [];");
    unmake(w);
}

TEST("silence of 25 seconds is pinged, and 10 more without a byte end it")
{
    world *w = make_open();
    pass(w, 24999);
    CHECK_EQ(w->out_len, 0);
    pass(w, 1);
    CHECK_MEM(w->out, w->out_len, "\x89\x00", 2);
    pass(w, 9000);
    turn_frame(w, true, TWS_WS_PONG, "");
    forget(w);
    pass(w, 24999);
    CHECK_EQ(w->out_len, 0);
    pass(w, 1);
    CHECK_EQ(w->out_len, 2);
    pass(w, 9999);
    CHECK_STR(tws_str_c(w->log), "");
    pass(w, 1);
    CHECK_STR(tws_str_c(w->log), "silent;closed 4408;");
    unmake(w);
}

TEST("a pong that could not be read while output waited is waited for anew")
{
    static char big[20000];
    world *w = make_open();
    pass(w, 25000);
    CHECK_MEM(w->out, w->out_len, "\x89\x00", 2);
    w->takes = 0;
    tws_conn_begin(&w->c, w->t, w->now_ms);
    tws_conn_send(&w->c, w->t, TWS_WS_BINARY, big, sizeof big, false);
    finish(w);
    CHECK(!tws_conn_wants_input(&w->c));
    pass(w, 11000);
    w->takes = SIZE_MAX;
    turn(w, NULL, 0);
    CHECK(tws_conn_wants_input(&w->c));
    pass(w, 9999);
    CHECK_STR(tws_str_c(w->log), "");
    pass(w, 1);
    CHECK_STR(tws_str_c(w->log), "silent;closed 4408;");
    unmake(w);
}

TEST("a stream beats every 25 seconds and hears the peer's end")
{
    world *w = make();
    turn_c(w, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(out_ends(w, "Connection: close\r\n\r\n"));
    forget(w);
    pass(w, 75000);
    CHECK_STR(out_of(w), ":\n\n:\n\n:\n\n");
    turn_c(w, "what is sent into a stream is dropped");
    CHECK(owns_nothing(w));
    eof(w);
    CHECK_STR(tws_str_c(w->log), "beat;beat;beat;closed 1006 by peer;");
    CHECK(tws_conn_done(&w->c));
    unmake(w);
}

TEST("deadlines that are turned off never come")
{
    world *w = make_open();
    w->desc.heartbeat_ms = TWS_OFF;
    w->desc.stall_ms = TWS_OFF;
    CHECK(tws_conn_deadline(&w->c) == UINT64_MAX);
    w->takes = 0;
    turn_frame(w, true, TWS_WS_TEXT, "x");
    CHECK(tws_conn_deadline(&w->c) == UINT64_MAX);
    unmake(w);
}

TEST("a clock that jumps far ahead ends what is due and nothing else")
{
    world *w = make_open();
    w->now_ms += 1000ull * 3600 * 24 * 365;
    pass(w, 0);
    CHECK_MEM(w->out, w->out_len, "\x89\x00", 2); /* asked first */
    CHECK(tws_conn_open(&w->c));
    unmake(w);
}

/* -- memory -- */

TEST("steady is who goes on as before, and not who begins, is in the midst of a frame, or ends")
{
    world *w = make();
    CHECK(!tws_conn_steady(&w->c)); /* nothing was served yet */
    turn_c(w, "GET /x HT");
    CHECK(!tws_conn_steady(&w->c));
    turn_c(w, "TP/1.1\r\nHost: a\r\n\r\n");
    CHECK(tws_conn_steady(&w->c));
    turn_c(w, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh");
    CHECK(tws_conn_steady(&w->c));
    turn_c(w, "iGET / HTTP/9.9\r\n");
    CHECK(!tws_conn_steady(&w->c));
    unmake(w);
    w = make_open();
    CHECK(tws_conn_steady(&w->c));
    turn(w, "\x81", 1);
    CHECK(!tws_conn_steady(&w->c));
    turn(w, "\x82\0\0\0\0h", 6);
    CHECK(!tws_conn_steady(&w->c));
    turn(w, "i", 1);
    CHECK(tws_conn_steady(&w->c));
    turn(w, "\x88\x80\0\0\0\0", 6);
    CHECK(!tws_conn_steady(&w->c));
    unmake(w);
}

TEST("an allocation that fails ends the connection at most, at every n, and leaks nothing")
{
    uint8_t in[4096];
    size_t len = strlen(UPGRADE);
    memcpy(in, UPGRADE, len);
    char big[700];
    memset(big, 'b', sizeof big);
    len += frame(in + len, false, TWS_WS_TEXT, big, sizeof big);
    len += frame(in + len, true, TWS_WS_CONTINUATION, big, sizeof big);
    len += frame(in + len, true, TWS_WS_TEXT, big, sizeof big);
    tws_allocator a = test_allocator();
    for (size_t n = 1;; n++) {
        world *w = make_with(&a);
        w->takes = 3;
        test_fail_at(n);
        for (size_t at = 0; at < len; at += 97) {
            turn(w, in + at, len - at < 97 ? len - at : 97);
        }
        bool met = test_allocations() >= n;
        test_fail_at(0);
        CHECK(!met || tws_conn_done(&w->c));
        if (met && strstr(w->log, "GET /ws") != NULL) {
            CHECK(strstr(w->log, "closed 1006;") != NULL);
        }
        unmake(w);
        CHECK_EQ(test_live_blocks(), 0);
        if (!met) {
            CHECK(n > 3);
            break;
        }
    }
}

TEST("an answer that there is no memory for is the end: nothing of it is sent, nothing follows")
{
    static const char *const request[] = {
        "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n", UPGRADE,
        ("POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
         "\r\n1\r\nx\r\n0\r\n\r\n")}; /* already the line that asks for the body */
    for (size_t i = 0; i < sizeof request / sizeof *request; i++) {
        world *w = make();
        test_row(request[i], i);
        w->takes = 0;
        while (w->c.out == NULL || w->c.out->cap - w->c.out->len > 24) {
            turn_c(w, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"); /* its answer fills most of a buffer */
        }
        w->takes = SIZE_MAX;
        test_fail_at(1);
        turn_c(w, request[i]);
        test_fail_at(0);
        CHECK(tws_conn_done(&w->c));
        CHECK_EQ(w->out_len, 0);
        unmake(w);
    }
}

TEST("a million echoed messages allocate nothing")
{
    world *w = make_open();
    uint8_t in[4096];
    size_t len = 0, count = 0;
    while (len + 26 <= sizeof in) {
        len += frame(in + len, true, TWS_WS_TEXT, "twenty bytes of text", 20);
        count++;
    }
    test_fail_at(0);
    for (size_t done = 0; done < 1000000; done += count) {
        turn(w, in, len);
        w->out_len = 0;
        w->log_len = 0;
    }
    CHECK_EQ(test_allocations(), 0);
    unmake(w);
}
