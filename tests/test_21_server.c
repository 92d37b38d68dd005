/* test_21_server.c: listeners, threads, limits, drain and a host's own routes, over real sockets.
 */
#include "test.h"

#include "peer.h"

#include <sched.h>
#include <sys/wait.h>

/* -- a host program: routes of every kind, and what they have met -- */

static struct {
    tws_peer_id later;    /* whose answer is awaited */
    size_t closed;        /* on_close calls */
    uint16_t close_code;
    size_t turns;
    size_t seconds;
    unsigned threads;     /* a bit for each thread that had a connection */
} met;

static void say_hello(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)r;
    tws_peer_respond(p, 200, "X-A: b\r\n", "text/plain", tws_str_c((const char *)context));
}

static void give_back(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)context;
    tws_peer_respond(p, 200, NULL, "application/octet-stream", r->body);
}

static void tell_id(tws_peer *p, const tws_http_request *r, void *context)
{
    char text[32];
    (void)r;
    (void)context;
    snprintf(text, sizeof text, "%llu", (unsigned long long)tws_peer_id_of(p));
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c(text));
}

static void answer_later(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)r;
    (void)context;
    __atomic_store_n(&met.later, tws_peer_id_of(p), __ATOMIC_SEQ_CST);
}

static void tell_params(tws_peer *p, const tws_http_request *r, void *context)
{
    char text[256];
    tws_str a = tws_peer_param(p, 0), b = tws_peer_param(p, 1), none = tws_peer_param(p, 2);
    (void)context;
    snprintf(text, sizeof text, "%.*s|%.*s|%zu|%.*s", (int)a.len, a.ptr, (int)b.len, b.ptr,
             none.len, (int)r->query.len, r->query.len == 0 ? "" : r->query.ptr);
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c(text));
}

static void tell_address(tws_peer *p, const tws_http_request *r, void *context)
{
    char address[64], text[128];
    const char *word = tws_peer_overload(p);
    (void)context;
    snprintf(text, sizeof text, "%s %s %s", tws_peer_address(p, address),
             tws_peer_is_local(p, r) ? "local" : "remote", word == NULL ? "fits" : word);
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c(text));
}

static void fail(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)context;
    int status = (int)strtol(tws_peer_param(p, 0).ptr, NULL, 10);
    char story[600];
    (void)r;
    memset(story, 'z', sizeof story);
    story[sizeof story - 1] = '\0';
    tws_peer_respond_error(p, status, "X-A: b\r\n", "internal",
                           status == 502 ? story : "so it is");
}

static void on_close(tws_peer *p, uint16_t code, tws_str reason)
{
    (void)p;
    (void)reason;
    __atomic_store_n(&met.close_code, code, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&met.closed, 1, __ATOMIC_SEQ_CST);
}

/* A WebSocket that does what it is told. */
static void on_message(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len)
{
    static char block[60000];
    tws_str text = tws_str_of((const char *)payload, len);
    char address[64];
    __atomic_or_fetch(&met.threads, 1u << tws_peer_thread(p), __ATOMIC_SEQ_CST);
    if (tws_str_eq_c(text, "close")) {
        tws_peer_close(p, 4400, "as you wish");
    } else if (tws_str_eq_c(text, "flood")) {
        for (int i = 0; i < 4; i++) {
            tws_peer_send(p, TWS_WS_BINARY, block, sizeof block);
        }
    } else if (tws_str_eq_c(text, "timer")) {
        tws_peer_set_timer(p, tws_sys_now_ms() + 20);
    } else if (tws_str_eq_c(text, "no timer")) {
        tws_peer_set_timer(p, UINT64_MAX);
    } else if (tws_str_eq_c(text, "address")) {
        tws_peer_address(p, address);
        tws_peer_send(p, TWS_WS_TEXT, address, strlen(address));
    } else {
        tws_peer_send_borrowed(p, opcode, payload, len);
    }
}

static void on_timer(tws_peer *p)
{
    tws_peer_send(p, TWS_WS_TEXT, "time", 4);
}

static void on_leave(tws_peer *p, uint16_t code, const char *word, const char *message)
{
    (void)message;
    tws_peer_send(p, TWS_WS_TEXT, word, strlen(word));
    tws_peer_close(p, code, word);
}

static const tws_peer_ops echo_ops = {on_message, on_close, NULL, NULL, on_timer, on_leave};
static const tws_peer_ops plain_ops = {on_message, on_close, NULL, NULL, NULL, NULL};

/* A stream of numbered lines: offered, and counted as they are taken. */
static struct {
    size_t taken, offered, until;
} lines;

static void on_stream_output(tws_peer *p)
{
    static char text[TWS_TURN_UNITS][32];
    lines.offered = 0;
    if (lines.taken == lines.until) {
        tws_peer_put(p, "end\n", 4);
        tws_peer_close(p, 1000, "");
    }
    while (lines.taken + lines.offered < lines.until && lines.offered < TWS_TURN_UNITS) {
        char *at = text[lines.offered];
        snprintf(at, sizeof text[0], "line %zu\n", lines.taken + lines.offered);
        tws_str slices[2] = {tws_str_of(at, 4), tws_str_c(at + 4)};
        if (!tws_peer_offer(p, slices, 2)) {
            break;
        }
        lines.offered++;
    }
}

static void on_stream_taken(tws_peer *p, size_t n)
{
    bool more = n == lines.offered && n > 0;
    lines.taken += n;
    lines.offered = 0;
    if (more) {
        tws_peer_pull_later(p);
    }
    if (lines.taken == lines.until) {
        tws_peer_pull_later(p);
    }
}

static const tws_peer_ops stream_ops = {NULL, on_close, on_stream_output, on_stream_taken,
                                        NULL, NULL};

static void open_stream(tws_peer *p, const tws_http_request *r, void *context)
{
    uint64_t n = 0;
    tws_str text;
    (void)context;
    tws_http_query(r->query, "n", &text);
    tws_str_u64(text, &n);
    memset(&lines, 0, sizeof lines);
    lines.until = (size_t)n;
    tws_peer_stream(p, "Cache-Control: no-store\r\n", "text/plain", &stream_ops, NULL);
    tws_peer_put(p, "begin\n", 6);
    tws_peer_pull(p);
}

/* Each message is echoed and pulls: how often is on_output called before it is said what was taken? */
static struct {
    size_t calls, most, offered, taken;
} pulls;

static void on_pull_message(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len)
{
    tws_peer_send(p, opcode, payload, len);
    tws_peer_pull(p);
}

static void on_pull_output(tws_peer *p)
{
    static const char frame[] = "\x81\x01!";
    tws_str slice = tws_str_of(frame, 3);
    pulls.calls++;
    pulls.most = pulls.calls > pulls.most ? pulls.calls : pulls.most;
    pulls.offered += tws_peer_offer(p, &slice, 1);
}

static void on_pull_taken(tws_peer *p, size_t n)
{
    (void)p;
    pulls.calls = 0;
    pulls.taken += n;
}

static const tws_peer_ops pull_ops = {on_pull_message, on_close, on_pull_output, on_pull_taken,
                                      NULL, NULL};

static const tws_peer_ops silent_ops = {NULL, on_close, NULL, NULL, NULL, NULL};

static void open_silence(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)context;
    tws_peer_stream(p, NULL, r->query.len > 0 ? "text/plain" : "Text/Event-Stream; charset=utf-8",
                    &silent_ops, NULL);
}

static void count_turn(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    __atomic_add_fetch(&met.turns, 1, __ATOMIC_SEQ_CST);
}

static void count_second(void *context, uint64_t wall_ms)
{
    (void)context;
    (void)wall_ms;
    __atomic_add_fetch(&met.seconds, 1, __ATOMIC_SEQ_CST);
}

static void accept_proto(tws_peer *p, const tws_http_request *r, void *context)
{
    CHECK(tws_peer_accept(p, r, "v1", &echo_ops, context));
}

static const tws_route routes[] = {
    {"GET", "/hello", say_hello, NULL, (void *)(uintptr_t) "hello"},
    {"POST", "/back", give_back, NULL, NULL},
    {"GET", "/id", tell_id, NULL, NULL},
    {"GET", "/later", answer_later, NULL, NULL},
    {"GET", "/p/{a}/x/{b}", tell_params, NULL, NULL},
    {"GET", "/address", tell_address, NULL, NULL},
    {"GET", "/fail/{status}", fail, NULL, NULL},
    {"GET", "/stream", open_stream, NULL, NULL},
    {"GET", "/silent", open_silence, NULL, NULL},
    {"GET", "/ws", NULL, &echo_ops, NULL},
    {"GET", "/plain", NULL, &plain_ops, &met},
    {"GET", "/pulls", NULL, &pull_ops, NULL},
    {"GET", "/proto", accept_proto, NULL, NULL},
};

/* -- running it -- */

typedef struct site {
    tws_server_desc desc;
    tws_allocator allocator;
    tws_server *server;
    pthread_t id;
    bool threaded;
} site;

static void site_init(site *s)
{
    memset(s, 0, sizeof *s);
    memset(&met, 0, sizeof met);
    met.later = UINT64_MAX;
    s->allocator = test_allocator();
    s->desc.port = TWS_PORT_ANY;
    s->desc.allocator = &s->allocator;
    s->desc.limits.close_ms = 10000;
}

static void *site_main(void *arg)
{
    CHECK_EQ(tws_server_run((tws_server *)arg), TWS_OK);
    return NULL;
}

/* Create, add the routes, listen. Stepped by who waits, unless it has its own threads. */
static void site_start(site *s, bool threaded)
{
    char memory[256];
    tws_buf error;
    tws_buf_fixed(&error, memory, sizeof memory);
    CHECK_EQ(tws_server_create(&s->server, &s->desc), TWS_OK);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        CHECK_EQ(tws_server_route(s->server, &routes[i], &error), TWS_OK);
    }
    CHECK_EQ(tws_server_listen(s->server, &error), TWS_OK);
    CHECK_STR(tws_buf_view(&error), "");
    s->threaded = threaded;
    if (threaded) {
        pthread_create(&s->id, NULL, site_main, s->server);
    } else {
        peer_server = s->server;
    }
}

static int port_of(const site *s)
{
    return tws_server_port(s->server);
}

/* Stop at once, whoever is there, and free. */
static void site_end(site *s)
{
    tws_server_stop(s->server);
    tws_server_stop(s->server);
    if (s->threaded) {
        pthread_join(s->id, NULL);
    } else {
        peer_server = NULL;
    }
    tws_server_free(s->server);
}

/* Whoever connects from now on is served through a socket with little room. */
static void small_buffers(const site *s)
{
    int bytes = 4096, listener = s->server->thread[0]->listener.fd;
    setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &bytes, (socklen_t)sizeof bytes);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, (socklen_t)sizeof bytes);
}

static uint64_t connections(const site *s)
{
    tws_server_stats n;
    tws_server_stat(s->server, &n);
    return n.connections;
}

/* -- routes -- */

TEST("a duplicate and a doubled prefix are refused, and both are named")
{
    static const struct {
        const char *method, *pattern, *names[2];
        tws_status status;
    } row[] = {
        {"GET", "/api/v1/ws/tasks/{id}", {"", ""}, TWS_OK},
        {"POST", "/api/v1/ws/tasks/{id}", {"", ""}, TWS_OK},
        {"GET", "/api/v1/ws/tasks/{id}", {"GET /api/v1/ws/tasks/{id}", "GET /api/v1/ws/tasks/{id}"},
         TWS_ERR_EXISTS},
        {"GET", "/api/v1/ws/tasks/{user}", {"/api/v1/ws/tasks/{user}", "/api/v1/ws/tasks/{id}"},
         TWS_ERR_EXISTS},
        {"GET", "/api/v1/api/v1/ws/tasks/{id}", {"/api/v1/api/v1/ws/tasks/{id}", "/api/v1"},
         TWS_ERR_EXISTS},
        {"GET", "no slash", {"no slash", ""}, TWS_ERR_ARGUMENT},
    };
    site s;
    site_init(&s);
    CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char memory[256];
        tws_buf error;
        tws_route route = {row[i].method, row[i].pattern, say_hello, NULL, NULL};
        test_row(row[i].pattern, i);
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK_EQ(tws_server_route(s.server, &route, &error), row[i].status);
        CHECK(peer_contains(tws_buf_view(&error), row[i].names[0]));
        CHECK(peer_contains(tws_buf_view(&error), row[i].names[1]));
        CHECK_EQ(error.len == 0, row[i].status == TWS_OK);
        CHECK_EQ(tws_server_route(s.server, &route, NULL) == TWS_OK, false);
    }
    for (int i = 0; i < 2; i++) {
        static const tws_peer_ops none;
        char memory[256];
        tws_buf error;
        tws_route route = {"GET", "/ends", i == 0 ? NULL : say_hello, i == 0 ? NULL : &none, NULL};
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK_EQ(tws_server_route(s.server, &route, &error), TWS_ERR_ARGUMENT);
        CHECK(peer_contains(tws_buf_view(&error), "on_request or websocket"));
    }
    CHECK_EQ(tws_server_router(s.server)->count, 2);
    tws_server_free(s.server);
}

TEST("requests find their route, and what there is none for is told what there is")
{
    static const struct {
        const char *method, *target, *body;
        int status;
        const char *answer, *field, *value;
    } row[] = {
        {"GET", "/hello", NULL, 200, "hello", "X-A", "b"},
        {"GET", "/hello?x=y", NULL, 200, "hello", "Content-Type", "text/plain"},
        {"POST", "/back", "\"to you\"", 200, "\"to you\"", "Content-Length", "8"},
        {"POST", "/back", "", 200, "", "Content-Length", "0"},
        {"GET", "/p/1/x/2%20?q", NULL, 200, "1|2%20|0|q", "Content-Length", "10"},
        {"GET", "/nothing", NULL, 404,
         "{\"error\":{\"code\":\"not_found\",\"message\":\"there is nothing at this path\"}}",
         "Content-Type", "application/json"},
        {"GET", "/hello/", NULL, 404, "{\"error\":{\"code\":\"not_found\",", "", ""},
        {"GET", "/p/1/x/", NULL, 404, "{\"error\":{\"code\":\"not_found\",", "", ""},
        {"POST", "/hello", "{}", 405, "{\"error\":{\"code\":\"method_not_allowed\",", "Allow",
         "GET, HEAD"},
        {"DELETE", "/back", NULL, 405, "{\"error\":{\"code\":\"method_not_allowed\",", "Allow",
         "POST"},
        {"PUT", "/ws", "x", 405, "{\"error\":{\"code\":\"method_not_allowed\",", "Allow",
         "GET, HEAD"},
        {"GET", "/ws", NULL, 426, "{\"error\":{\"code\":\"bad_request\",", "Upgrade", "websocket"},
        {"GET", "/ws", NULL, 426, "{\"error\":{\"code\":\"bad_request\",", "Sec-WebSocket-Version",
         "13"},
        {"GET", "/fail/401", NULL, 401,
         "{\"error\":{\"code\":\"internal\",\"message\":\"so it is\"}}", "WWW-Authenticate",
         "Bearer"},
        {"GET", "/fail/503", NULL, 503, "{\"error\":{\"code\":\"internal\",", "Retry-After", "1"},
        {"GET", "/fail/429", NULL, 429, "{\"error\":{\"code\":\"internal\",", "Retry-After", "1"},
        {"GET", "/fail/500", NULL, 500, "{\"error\":{\"code\":\"internal\",", "X-A", "b"},
        {"GET", "/fail/502", NULL, 502,
         "{\"error\":{\"code\":\"internal\",\"message\":\"the reason is too long to tell\"}}",
         "X-A", "b"},
    };
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s)); /* all on one connection */
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row(row[i].target, i);
        peer_ask(&p, row[i].method, row[i].target, NULL, row[i].body);
        CHECK_EQ(peer_answer(&p), row[i].status);
        CHECK(peer_contains(tws_buf_view(&p.body), row[i].answer));
        CHECK_STR(peer_field(&p, row[i].field), row[i].value);
        CHECK(row[i].status < 400 || tws_json_valid(tws_buf_view(&p.body)));
        CHECK_EQ(peer_field(&p, "Date").len, strlen("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
    test_row(NULL, 0);
    tws_server_stats n;
    tws_server_stat(s.server, &n);
    CHECK_EQ(n.accepted, 1);
    CHECK_EQ(n.requests, sizeof row / sizeof *row);
    peer_close(&p);
    site_end(&s);
}

TEST("HEAD is answered as GET is, without the body")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    peer_send_c(&p, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\nHEAD /no HTTP/1.1\r\nHost: a\r\n\r\n"
                    "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    while (peer_fill(&p)) {
    }
    tws_str all = peer_rest(&p);
    CHECK(peer_contains(all, "Content-Length: 5\r\n\r\nHTTP/1.1 404 "));
    CHECK(peer_contains(all, "\r\n\r\nHTTP/1.1 200 OK\r\n"));
    CHECK(all.len > 5 && memcmp(all.ptr + all.len - 5, "hello", 5) == 0);
    CHECK(p.eof && !p.reset);
    peer_close(&p);
    site_end(&s);
}

TEST("malformed requests are answered with their status and word, and the connection ends cleanly")
{
    static char long_head[20000], long_line[20000];
    memset(long_head, 'a', sizeof long_head - 1);
    memcpy(long_head, "GET /hello HTTP/1.1\r\nHost: a\r\nA: ", 33);
    memset(long_line, 'a', sizeof long_line - 1);
    memcpy(long_line, "GET /", 5);
    const struct {
        const char *bytes;
        int status;
        const char *word;
    } row[] = {
        {"\x16\x03\x01 nonsense\r\n\r\n", 400, "bad_request"},
        {"GET /hello HTTP/1.1\r\n\r\n", 400, "bad_request"},
        {"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad_request"},
        {"POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413, "message_too_big"},
        {"POST /back HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501,
         "bad_request"},
        {long_line, 414, "message_too_big"},
        {long_head, 431, "message_too_big"},
    };
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].word, i);
        peer_open(&p, port_of(&s));
        peer_send_c(&p, row[i].bytes);
        CHECK_EQ(peer_answer(&p), row[i].status);
        CHECK(peer_contains(tws_buf_view(&p.body), row[i].word));
        CHECK(tws_json_valid(tws_buf_view(&p.body)));
        CHECK_STR(peer_field(&p, "Connection"), "close");
        CHECK(peer_end(&p));
    }
    site_end(&s);
}

TEST("a head or a body that does not come is answered 408, and who says nothing is let go")
{
    static const struct {
        const char *bytes;
        int status;
    } row[] = {
        {"GET /hello HTTP/1.1\r\nHos", 408},
        {"POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", 408},
        {"", 0},
    };
    site s;
    site_init(&s);
    s.desc.limits.head_ms = 50;
    s.desc.limits.body_ms = 50;
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].bytes, i);
        peer_open(&p, port_of(&s));
        peer_send_c(&p, row[i].bytes);
        CHECK_EQ(peer_answer(&p), row[i].status);
        CHECK(peer_end(&p));
    }
    site_end(&s);
}

TEST("on_output is called once a turn at most, however often its turn's output fills up")
{
    site s;
    peer p;
    tws_buf b;
    size_t echoes = 0;
    site_init(&s);
    memset(&pulls, 0, sizeof pulls);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/pulls", NULL), 101);
    tws_buf_init(&b, NULL, 1u << 20);
    for (int i = 0; i < 40; i++) { /* in pieces: a turn holds eight of them until they are sent */
        peer_write_frame(&b, false, TWS_WS_TEXT, "a", 1);
        peer_write_frame(&b, true, TWS_WS_CONTINUATION, "b", 1);
    }
    peer_send(&p, b.ptr, b.len);
    tws_buf_free(&b);
    while (echoes < 40 && peer_message(&p)) {
        echoes += p.body.len == 2;
    }
    CHECK_EQ(echoes, 40);
    CHECK(pulls.taken > 0);
    CHECK_EQ(pulls.taken, pulls.offered);
    CHECK_EQ(pulls.most, 1);
    peer_close(&p);
    site_end(&s);
}

TEST("a stream gives all it offers, whole and in order, to a peer with little room")
{
    char want[32];
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    small_buffers(&s);
    peer_init(&p);
    p.fd = peer_socket(NULL, port_of(&s), 2048);
    CHECK_EQ(peer_get(&p, "/stream?n=5000", NULL), 200);
    CHECK_STR(peer_field(&p, "Connection"), "close");
    CHECK_STR(peer_field(&p, "Content-Length"), "");
    for (int i = 0; i < 50; i++) {
        peer_pause(); /* read nothing yet */
    }
    CHECK(lines.taken < 5000);
    while (peer_fill(&p)) {
    }
    tws_str rest = peer_rest(&p), line;
    tws_str_split(&rest, '\n', &line);
    CHECK_STR(line, "begin");
    for (size_t i = 0; i < 5000; i++) {
        tws_str_split(&rest, '\n', &line);
        snprintf(want, sizeof want, "line %zu", i);
        CHECK_STR(line, want);
    }
    tws_str_split(&rest, '\n', &line);
    CHECK_STR(line, "end");
    CHECK_EQ(rest.len, 0);
    CHECK(p.eof && !p.reset);
    CHECK_EQ(met.closed, 1);
    tws_server_stats n;
    tws_server_stat(s.server, &n);
    CHECK_EQ(n.messages_out, 5000); /* what is offered again is not sent twice */
    peer_close(&p);
    site_end(&s);
}

#ifdef TCP_NOTSENT_LOWAT
TEST("for a peer that reads nothing the system is not given megabytes to keep")
{
    site s;
    peer p;
    tws_server_stats n;
    site_init(&s);
    site_start(&s, false);
    peer_init(&p);
    p.fd = peer_socket(NULL, port_of(&s), 65536); /* whatever a system's default is */
    peer_ask(&p, "GET", "/stream?n=1000000", NULL, NULL); /* 11 MB */
    uint64_t before = UINT64_MAX;
    for (tws_server_stat(s.server, &n); n.bytes_out != before || n.bytes_out == 0;) {
        before = n.bytes_out;
        for (int i = 0; i < 50; i++) {
            tws_server_step(s.server, 1);
        }
        tws_server_stat(s.server, &n);
    }
    CHECK(n.bytes_out < 1000000); /* what the peer's own buffer takes, and a little more */
    peer_close(&p);
    site_end(&s);
}
#endif

TEST("a HEAD request for a stream gets its head and the end, and its handlers hear of the close")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    peer_ask(&p, "HEAD", "/stream?n=3", NULL, NULL);
    CHECK_EQ(peer_answer(&p), 200);
    CHECK_EQ(peer_rest(&p).len, 0);
    CHECK(peer_end(&p));
    PEER_UNTIL(connections(&s) == 0);
    CHECK_EQ(met.closed, 1);
    site_end(&s);
}

/* -- WebSocket routes -- */

TEST("a WebSocket route echoes, closes, and hears of its timer and its end")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    CHECK_STR(peer_field(&p, "Sec-WebSocket-Accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    peer_say(&p, "hello");
    CHECK_TEXT(&p, "hello");
    peer_send_frame(&p, true, TWS_WS_BINARY, "\0\1", 2);
    CHECK(peer_message(&p));
    CHECK_MEM(p.body.ptr, p.body.len, "\0\1", 2);
    CHECK_EQ(p.opcode, TWS_WS_BINARY);
    peer_say(&p, "timer");
    peer_say(&p, "no timer");
    peer_say(&p, "timer");
    CHECK_TEXT(&p, "time");
    peer_say(&p, "address");
    CHECK_TEXT(&p, "127.0.0.1");
    tws_server_stats n;
    tws_server_stat(s.server, &n);
    CHECK_EQ(n.upgrades, 1);
    CHECK_EQ(n.websockets_open, 1);
    CHECK_EQ(n.messages_in, 6);
    CHECK_EQ(n.messages_out, 4);
    CHECK_EQ(met.closed, 0);
    peer_say(&p, "close");
    CHECK_TEXT(&p, "closed 4400 as you wish");
    CHECK(peer_end(&p));
    PEER_UNTIL(connections(&s) == 0);
    CHECK_EQ(met.closed, 1);
    CHECK_EQ(met.close_code, 4400);
    tws_server_stat(s.server, &n);
    CHECK_EQ(n.websockets_open, 0);
    CHECK_EQ(n.closed, 1);
    site_end(&s);
}

TEST("a handler hears once how its WebSocket ended, whoever ended it")
{
    static const struct {
        const char *name;
        uint16_t code; /* of the client's close frame; 0: none */
        const char *bytes; /* instead */
        size_t len;
        bool vanishes;
        uint16_t heard;
    } row[] = {
        {"a close frame", 1000, "", 0, false, 1000},
        {"another code", 4321, "", 0, false, 4321},
        {"an unmasked frame", 0, "\x81\x01x", 3, false, 1002},
        {"text that is not UTF-8", 0, "\x81\x81\0\0\0\0\xff", 7, false, 1007},
        {"an end without a close frame", 0, "", 0, false, 1006},
        {"a reset", 0, "", 0, true, 1006},
    };
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        struct linger none = {1, 0};
        test_row(row[i].name, i);
        met.closed = 0;
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
        if (row[i].code != 0) {
            CHECK(peer_leave(&p, row[i].code));
        } else if (row[i].len != 0) {
            peer_send(&p, row[i].bytes, row[i].len);
            CHECK(peer_end(&p));
        } else {
            if (row[i].vanishes) {
                setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &none, (socklen_t)sizeof none);
            }
            peer_close(&p);
        }
        PEER_UNTIL(connections(&s) == 0);
        CHECK_EQ(met.closed, 1);
        CHECK_EQ(met.close_code, row[i].heard);
    }
    site_end(&s);
}

#define WS "GET /ws HTTP/1.1\r\nHost: a\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"

TEST("an improper handshake is refused by its rule, and its handlers hear nothing")
{
    static const struct {
        const char *name, *request;
        int status;
        bool ends; /* the connection; else it is as good as before */
    } row[] = {
        {"another Upgrade", WS "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", 426,
         false},
        {"no Upgrade", WS "Connection: Upgrade\r\n" KEY V13 "\r\n", 426, false},
        {"no Connection", WS "Upgrade: websocket\r\n" KEY V13 "\r\n", 426, false},
        {"Connection without upgrade",
         WS "Upgrade: websocket\r\nConnection: keep-alive\r\n" KEY V13 "\r\n", 426, false},
        {"HTTP/1.0", "GET /ws HTTP/1.0\r\nHost: a\r\n" UPGRADE KEY V13 "\r\n", 426, true},
        {"POST", "POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n" UPGRADE KEY V13 "\r\n",
         405, false},
        {"version 8", WS UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426, false},
        {"version 12", WS UPGRADE KEY "Sec-WebSocket-Version: 12\r\n\r\n", 426, false},
        {"no version", WS UPGRADE KEY "\r\n", 400, false},
        {"two versions", WS UPGRADE KEY V13 V13 "\r\n", 400, false},
        {"no key", WS UPGRADE V13 "\r\n", 400, false},
        {"two keys", WS UPGRADE KEY KEY V13 "\r\n", 400, false},
        {"a key of 15 bytes", WS UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n" V13 "\r\n",
         400, false},
        {"a key that is no base64",
         WS UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!==\r\n" V13 "\r\n", 400, false},
        {"a body", WS UPGRADE KEY V13 "Content-Length: 1\r\n\r\nx", 400, false},
    };
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].name, i);
        met.closed = 0;
        peer_open(&p, port_of(&s));
        peer_send_c(&p, row[i].request);
        CHECK_EQ(peer_answer(&p), row[i].status);
        CHECK(tws_json_valid(tws_buf_view(&p.body)));
        if (row[i].status == 426) { /* RFC 6455 4.4, RFC 9110 15.5.22 */
            CHECK_STR(peer_field(&p, "Sec-WebSocket-Version"), "13");
            CHECK_STR(peer_field(&p, "Upgrade"), "websocket");
        }
        if (!row[i].ends) {
            CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
            CHECK_EQ(met.closed, 0);
            CHECK(peer_leave(&p, 1000));
        } else {
            CHECK(peer_end(&p));
            CHECK_EQ(met.closed, 0);
        }
    }
    site_end(&s);
}

TEST("messages of every size come back whole, through sockets with little room")
{
    static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 200001, 1500000};
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.max_message_bytes = 2u << 20;
    site_start(&s, false);
    small_buffers(&s);
    peer_init(&p);
    p.fd = peer_socket(NULL, port_of(&s), 20000);
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    uint8_t *payload = (uint8_t *)malloc(2u << 20);
    for (size_t i = 0; i < (2u << 20); i++) {
        payload[i] = (uint8_t)(i * 31 + i / 977);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i], half = n / 2;
        test_row("bytes", n);
        peer_send_frame(&p, true, TWS_WS_BINARY, payload, n);
        CHECK(peer_message(&p));
        CHECK_MEM(p.body.ptr, p.body.len, payload, n);
        peer_send_frame(&p, false, TWS_WS_BINARY, payload, half);
        peer_send_frame(&p, true, TWS_WS_PING, "?", 1);
        peer_send_frame(&p, true, TWS_WS_CONTINUATION, payload + half, n - half);
        CHECK(peer_message(&p));
        CHECK_MEM(p.body.ptr, p.body.len, payload, n);
    }
    free(payload);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("no more is read at a time than there is memory for, however little")
{
    static const uint32_t bytes[] = {1, 63, 64, 97, 4095, 5000};
    static uint8_t payload[20000];
    memset(payload, 'a', sizeof payload);
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        site s;
        peer p;
        test_row("bytes", bytes[i]);
        site_init(&s);
        s.desc.receive_bytes = bytes[i];
        site_start(&s, false);
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
        peer_send_frame(&p, true, TWS_WS_BINARY, payload, sizeof payload);
        CHECK(peer_message(&p));
        CHECK_MEM(p.body.ptr, p.body.len, payload, sizeof payload);
        CHECK(peer_leave(&p, 1000));
        site_end(&s);
    }
}

/* RFC 6455 4.2.2: the answer is one of the values that were offered, and a client compares it. */
TEST("the subprotocol that a handler selects is answered where the client offers it, else none")
{
    static const char *const row[][2] = {
        {"", ""},
        {"Sec-WebSocket-Protocol: v2\r\n", ""},
        {"Sec-WebSocket-Protocol: V1, v10, xv1\r\n", ""}, /* a client may compare exactly */
        {"Sec-WebSocket-Protocol: v2, v1\r\n", "v1"},
        {"Sec-WebSocket-Protocol: v1, v1\r\n", "v1"},
        {"Sec-WebSocket-Protocol: , ,v1 ,\r\n", "v1"},
        {"Sec-WebSocket-Protocol: v0\r\nSec-WebSocket-Protocol: v1\r\n", "v1"},
        {"Sec-WebSocket-Protocol:\r\n", ""},
        {"Sec-WebSocket-Protocol: V1\r\n", ""},
        {"Sec-WebSocket-Protocol: v1x, xv1, v 1\r\n", ""},
    };
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i][0], i);
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, "/proto", row[i][0]), 101);
        CHECK_STR(peer_field(&p, "Sec-WebSocket-Protocol"), row[i][1]);
        CHECK(peer_leave(&p, 1000));
    }
    site_end(&s);
}

TEST("an offer of 32,000 blanks is looked through where a head may be so long, else refused")
{
    static char fields[40000];
    peer p;
    site s;
    for (int wide = 0; wide < 2; wide++) {
        site_init(&s);
        s.desc.limits.max_head_bytes = wide ? 65536 : 0;
        site_start(&s, false);
        peer_open(&p, port_of(&s));
        snprintf(fields, sizeof fields, "%sSec-WebSocket-Protocol: b%*sx, v1\r\n", PEER_UPGRADE,
                 32000, "");
        peer_ask(&p, "GET", "/proto", fields, NULL);
        CHECK_EQ(peer_answer(&p), wide ? 101 : 431);
        CHECK_STR(peer_field(&p, "Sec-WebSocket-Protocol"), wide ? "v1" : "");
        p.open = wide != 0;
        tws_ws_init(&p.decoder, TWS_WS_CLIENT, 0, 0);
        CHECK(wide ? peer_leave(&p, 1000) : peer_end(&p));
        site_end(&s);
    }
}

TEST("permessage-deflate is agreed to where a good offer is made; without it RSV1 is refused")
{
    static const struct {
        const char *offer;
        int status;
        const char *answer; /* NULL: none, and 101 all the same */
    } row[] = {
        {"permessage-deflate; client_max_window_bits", 101,
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
        {"permessage-deflate; server_max_window_bits=10", 101,
         "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=10"},
        {"permessage-deflate; server_max_window_bits=8; server_max_window_bits=9", 101, NULL},
        {"__proto__; constructor=\"__proto__\"", 101, NULL},
        {";;,,=\"\\,permessage-deflate;;", 400, NULL},
        {"x; a=\"unfinished", 400, NULL},
    };
    for (int off = 0; off < 2; off++) {
        site s;
        site_init(&s);
        s.desc.limits.compress_bytes = off == 1 ? TWS_OFF : 0;
        site_start(&s, false);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            peer p;
            char field[128];
            test_row(row[i].offer, i);
            peer_open(&p, port_of(&s));
            snprintf(field, sizeof field, "Sec-WebSocket-Extensions: %s\r\n", row[i].offer);
            CHECK_EQ(peer_upgrade(&p, "/ws", field), row[i].status);
            const tws_str *answer = tws_http_find_response(&p.response, "Sec-WebSocket-Extensions");
            bool agreed = off == 0 && row[i].answer != NULL;
            CHECK_EQ(answer != NULL, agreed);
            if (agreed) {
                CHECK_STR(*answer, row[i].answer);
            }
            if (row[i].status == 101) { /* an empty message, compressed to nothing */
                peer_send(&p, "\xc1\x80\0\0\0\0", 6);
                CHECK(!peer_message(&p));
                CHECK_EQ(p.close_code, agreed ? 1007 : 1002);
                CHECK(peer_end(&p));
            }
            peer_close(&p);
        }
        site_end(&s);
    }
}

TEST("the address of a connection is never read from another one's request")
{
    site s;
    peer p, other;
    site_init(&s);
    s.desc.trust_proxy = true;
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", "X-Forwarded-For: 1.2.3.4\r\n"), 101);
    peer_open(&other, port_of(&s));
    peer_send_c(&other, "GET /address HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 20; i++) {
        peer_pause(); /* in two pieces: the request stands in memory of its own, freed behind it */
    }
    peer_send_c(&other, "X-Forwarded-For: 9.9.9.9\r\n\r\n");
    CHECK_EQ(peer_answer(&other), 200);
    CHECK_STR(tws_buf_view(&other.body), "9.9.9.9 remote fits");
    peer_say(&p, "address");
    CHECK_TEXT(&p, "127.0.0.1");
    peer_close(&other);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* -- calls from other threads -- */

enum { POSTERS = 4, POSTS = 500 };

static struct {
    tws_server *server;
    tws_peer_id id[3]; /* alive, gone, of no thread */
    size_t heard, heard_gone;
} posted;

static void take_post(tws_peer *p, void *arg)
{
    CHECK(arg == &posted);
    if (p == NULL) {
        __atomic_add_fetch(&posted.heard_gone, 1, __ATOMIC_SEQ_CST);
        return;
    }
    __atomic_add_fetch(&posted.heard, 1, __ATOMIC_SEQ_CST);
    tws_peer_send(p, TWS_WS_TEXT, "post", 4);
}

static void *post_often(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < POSTS; i++) {
        CHECK_EQ(tws_server_post(posted.server, posted.id[i % 2], take_post, &posted), TWS_OK);
    }
    CHECK_EQ(tws_server_post(posted.server, posted.id[2], take_post, &posted), TWS_ERR_ARGUMENT);
    return NULL;
}

static uint64_t ask_id(peer *p)
{
    uint64_t id = UINT64_MAX;
    CHECK_EQ(peer_get(p, "/id", NULL), 200);
    tws_str_u64(tws_buf_view(&p->body), &id);
    return id;
}

TEST("a call posted from any thread reaches its connection, or hears that it has gone")
{
    site s;
    peer gone, p;
    pthread_t id[POSTERS];
    site_init(&s);
    site_start(&s, true);
    memset(&posted, 0, sizeof posted);
    posted.server = s.server;
    peer_open(&gone, port_of(&s));
    posted.id[1] = ask_id(&gone);
    peer_close(&gone);
    PEER_UNTIL(connections(&s) == 0);
    peer_open(&p, port_of(&s)); /* it stands where the other one stood */
    posted.id[0] = ask_id(&p);
    posted.id[2] = posted.id[0] | UINT64_C(1) << 56; /* of the second thread, where there is one */
    CHECK_EQ((uint32_t)posted.id[0], (uint32_t)posted.id[1]);
    CHECK(posted.id[0] != posted.id[1]);
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    for (size_t i = 0; i < POSTERS; i++) {
        pthread_create(&id[i], NULL, post_often, NULL);
    }
    for (size_t i = 0; i < POSTERS * POSTS / 2; i++) {
        CHECK_TEXT(&p, "post");
    }
    for (size_t i = 0; i < POSTERS; i++) {
        pthread_join(id[i], NULL);
    }
    CHECK_EQ(__atomic_load_n(&posted.heard, __ATOMIC_SEQ_CST), POSTERS * POSTS / 2);
    PEER_UNTIL(__atomic_load_n(&posted.heard_gone, __ATOMIC_SEQ_CST) == POSTERS * POSTS / 2);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

static void check_data(tws_peer *p, void *arg)
{
    CHECK(p != NULL && tws_peer_data(p) == arg);
    posted.heard++;
}

TEST("behind on_close a connection that still drains has no data for posted calls to find")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    tws_peer_id id = ask_id(&p);
    CHECK_EQ(peer_upgrade(&p, "/plain", NULL), 101);
    memset(&posted, 0, sizeof posted);
    tws_server_post(s.server, id, check_data, &met);
    PEER_UNTIL(posted.heard == 1);
    peer_send(&p, "\x88\x82\0\0\0\0\x03\xe8", 8); /* closes, and leaves its socket open */
    PEER_UNTIL(met.closed == 1);
    tws_server_post(s.server, id, check_data, NULL);
    PEER_UNTIL(posted.heard == 2);
    peer_close(&p);
    site_end(&s);
}

/* Whoever hears that nobody is there may try once more, and wake any thread. */
static void post_again(tws_peer *p, void *arg)
{
    tws_server *s = (tws_server *)arg;
    CHECK(p == NULL);
    posted.heard_gone++;
    tws_server_wake(s, 0);
    if (posted.heard_gone <= 2) {
        CHECK_EQ(tws_server_post(s, 0, post_again, s), TWS_OK);
        CHECK_EQ(tws_server_post(s, (tws_peer_id)1 << 56, take_post, &posted), TWS_OK);
    }
}

TEST("what is posted by who hears that the server ends is called, too")
{
    site s;
    site_init(&s);
    memset(&posted, 0, sizeof posted);
    s.desc.threads = 2;
    CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
    CHECK_EQ(tws_server_post(s.server, (tws_peer_id)1 << 56, post_again, s.server), TWS_OK);
    tws_server_free(s.server);
    CHECK_EQ(posted.heard_gone, 5);
}

TEST("what was posted and not called when the server ends is called with nobody")
{
    site s;
    site_init(&s);
    memset(&posted, 0, sizeof posted);
    CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tws_server_post(s.server, 0, take_post, &posted), TWS_OK);
    }
    tws_server_free(s.server);
    CHECK_EQ(posted.heard_gone, 3);
    CHECK_EQ(posted.heard, 0);
}

static void answer_now(tws_peer *p, void *arg)
{
    CHECK(p != NULL);
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c((const char *)arg));
}

TEST("an answer may come later, and the requests behind it wait for it")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    peer_send_c(&p, "GET /later HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    PEER_UNTIL(met.later != UINT64_MAX);
    for (int i = 0; i < 10; i++) {
        peer_pause();
    }
    CHECK_EQ(peer_rest(&p).len, 0);
    tws_server_post(s.server, met.later, answer_now, (void *)(uintptr_t) "now");
    CHECK_EQ(peer_answer(&p), 200);
    CHECK_STR(tws_buf_view(&p.body), "now");
    CHECK_EQ(peer_answer(&p), 200);
    CHECK_STR(tws_buf_view(&p.body), "hello");
    peer_close(&p);
    site_end(&s);
}

TEST("who goes while the answer is awaited costs no turns until it comes")
{
    site s;
    peer p;
    char path[64];
    site_init(&s);
    snprintf(path, sizeof path, "/tmp/taskws-20-%ld", (long)getpid());
    s.desc.unix_path = path;
    site_start(&s, false);
    CHECK(peer_open_unix(&p, path));
    peer_ask(&p, "GET", "/later", NULL, NULL);
    PEER_UNTIL(met.later != UINT64_MAX);
    peer_close(&p);
    for (int i = 0; i < 20; i++) {
        tws_server_step(s.server, 0); /* what the going itself asks for is done */
    }
    int empty = 0;
    for (int i = 0; i < 5; i++) {
        uint64_t before_us = tws_sys_now_us();
        tws_server_step(s.server, 5);
        empty += tws_sys_now_us() - before_us >= 4000;
    }
    CHECK(empty > 0); /* it slept: nobody asks for service again and again */
    site_end(&s);
    CHECK(access(path, F_OK) != 0);
}

/* -- limits -- */

TEST("connections beyond the limit are refused in words or wait, and none is reset")
{
    enum { ALL = 60, MOST = 4 };
    static peer p[ALL];
    site s;
    size_t served = 0, told = 0;
    site_init(&s);
    s.desc.max_connections = MOST;
    site_start(&s, false);
    CHECK_EQ(tws_server_max_connections(s.server), MOST);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        peer_ask(&p[i], "GET", i % 2 == 0 ? "/ws" : "/plain", PEER_UPGRADE, NULL);
    }
    for (size_t i = 0; i < ALL; i++) {
        CHECK_EQ(peer_answer(&p[i]), 101);
        p[i].open = true;
        tws_ws_init(&p[i].decoder, TWS_WS_CLIENT, 0, 0);
        peer_say(&p[i], "hello");
        const char *text = peer_text(&p[i]);
        if (strcmp(text, "overloaded") == 0) {
            text = peer_text(&p[i]);
        }
        served += strcmp(text, "hello") == 0;
        told += strncmp(text, "closed 1013 ", 12) == 0;
        if (p[i].close_code != 0) {
            CHECK(peer_end(&p[i])); /* and makes room for one that waits */
        }
    }
    CHECK_EQ(served, MOST);
    CHECK_EQ(told, ALL - MOST);
    for (size_t i = 0; i < ALL; i++) {
        CHECK(p[i].fd < 0 || peer_leave(&p[i], 1000));
    }
    PEER_UNTIL(connections(&s) == 0);
    peer_open(&p[0], port_of(&s));
    CHECK_EQ(peer_get(&p[0], "/address", NULL), 200);
    CHECK_STR(tws_buf_view(&p[0].body), "127.0.0.1 local fits");
    peer_close(&p[0]);
    site_end(&s);
}

TEST("a request beyond the limit is its handler's to answer, and the connection ends behind it")
{
    site s;
    peer in, out;
    site_init(&s);
    s.desc.max_connections = 1;
    site_start(&s, false);
    peer_open(&in, port_of(&s));
    CHECK_EQ(peer_get(&in, "/hello", NULL), 200);
    peer_open(&out, port_of(&s));
    CHECK_EQ(peer_get(&out, "/address", NULL), 200);
    CHECK_STR(tws_buf_view(&out.body), "127.0.0.1 local overloaded");
    CHECK_STR(peer_field(&out, "Connection"), "close");
    CHECK(peer_end(&out));
    peer_close(&in);
    site_end(&s);
}

TEST("without descriptors for its loop a server is refused, and it is no question of memory")
{
    struct rlimit limit, low;
    tws_server *s = NULL;
    tws_server_desc desc;
    memset(&desc, 0, sizeof desc);
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    low.rlim_cur = (rlim_t)tws_sys_open_files();
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_EQ(tws_server_create(&s, &desc), TWS_ERR_SYSTEM);
    CHECK(s == NULL && errno == EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

TEST("out of descriptors, the listener pauses, and goes on when there are some, with nobody reset")
{
    enum { ALL = 12 };
    static peer p[ALL];
    struct rlimit limit, low;
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        peer_ask(&p[i], "GET", "/hello", NULL, NULL);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    low.rlim_cur = (rlim_t)tws_sys_open_files() + 3;
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    for (int i = 0; i < 20; i++) {
        tws_server_step(s.server, 1);
    }
    PEER_UNTIL(s.server->thread[0]->listener_paused); /* not just when a second is over */
    size_t in = (size_t)connections(&s);
    CHECK(in < ALL);
    CHECK_EQ(s.server->thread[0]->listener.want, 0);
    for (size_t i = 0; i < in; i++) { /* one that goes makes room for one that waits, at once */
        CHECK_EQ(peer_answer(&p[i]), 200);
        peer_close(&p[i]);
    }
    CHECK_EQ(peer_answer(&p[in]), 200);
    setrlimit(RLIMIT_NOFILE,
              &limit); /* or somebody else has given some back: noticed in a second */
    for (size_t i = in + 1; i < ALL; i++) {
        CHECK_EQ(peer_answer(&p[i]), 200);
    }
    CHECK(!s.server->thread[0]->listener_paused);
    for (size_t i = in; i < ALL; i++) {
        peer_close(&p[i]);
    }
    site_end(&s);
}

TEST("out of memory, who comes waits until there is some, and is not reset")
{
    for (size_t n = 1; n <= 4; n++) {
        enum { ALL = 3 };
        peer p[ALL];
        site s;
        site_init(&s);
        site_start(&s, false);
        test_row("allocation", n);
        for (size_t i = 0; i < ALL; i++) {
            peer_open(&p[i], port_of(&s));
            peer_ask(&p[i], "GET", "/hello", NULL, NULL);
        }
        test_fail_at(n);
        for (size_t i = 0; i < ALL; i++) {
            CHECK_EQ(peer_answer(&p[i]), 200);
        }
        CHECK(test_allocations() >= n);
        test_fail_at(0);
        for (size_t i = 0; i < ALL; i++) {
            peer_close(&p[i]);
        }
        site_end(&s);
    }
}

static void check_address(const site *s, const char *source, const char *fields, const char *want)
{
    peer p;
    peer_init(&p);
    p.fd = peer_socket(source, port_of(s), 0);
    CHECK_EQ(peer_get(&p, "/address", fields), 200);
    CHECK_STR(tws_buf_view(&p.body), want);
    peer_close(&p);
    PEER_UNTIL(connections(s) == 2); /* those who stay */
}

/* Two of 127.0.0.1, or of 1.2.3.4, stay; then each asks who it is. */
static void run_addresses(bool trust, const char *const row[][3], size_t rows)
{
    site s;
    peer stay[2];
    site_init(&s);
    s.desc.max_per_ip = 2;
    s.desc.trust_proxy = trust;
    site_start(&s, false);
    for (size_t i = 0; i < 2; i++) {
        peer_open(&stay[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&stay[i], "/ws", "X-Forwarded-For: 6.6.6.6, 1.2.3.4\r\n"), 101);
    }
    for (size_t i = 0; i < rows; i++) {
        test_row(row[i][1], i);
        check_address(&s, row[i][0], row[i][1], row[i][2]);
    }
    peer_close(&stay[0]);
    peer_close(&stay[1]);
    PEER_UNTIL(connections(&s) == 0);
    for (size_t i = 0; i < 200; i++) { /* and the table of addresses is used again and again */
        peer p;
        char source[32];
        snprintf(source, sizeof source, "127.0.1.%zu", i + 1);
        peer_init(&p);
        p.fd = peer_socket(source, port_of(&s), 0);
        CHECK_EQ(peer_get(&p, "/address", NULL), 200);
        CHECK(peer_contains(tws_buf_view(&p.body), "fits"));
        peer_close(&p);
    }
    site_end(&s);
}

TEST("an address has so many connections; what a client says of its address is not believed")
{
    static const char *const row[][3] = {
        {"127.0.0.1", "", "127.0.0.1 local too_many_connections"},
        {"127.0.0.2", "", "127.0.0.2 local fits"},
        {"127.0.0.1", "X-Forwarded-For: 9.9.9.9\r\n", "127.0.0.1 remote too_many_connections"},
        {"127.0.0.2", "X-Forwarded-For: 1.2.3.4\r\n", "127.0.0.2 remote fits"},
        {"127.0.0.2", "Forwarded: for=9.9.9.9\r\n", "127.0.0.2 remote fits"},
        {"127.0.0.2", "Via: 1.1 x\r\n", "127.0.0.2 remote fits"},
    };
    run_addresses(false, row, sizeof row / sizeof *row);
}

TEST("behind a trusted proxy the address is the one that the proxy saw, the last")
{
    static const char *const row[][3] = {
        {"127.0.0.1", "X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4 remote too_many_connections"},
        {"127.0.0.1", "X-Forwarded-For: 8.8.8.8 , 1.2.3.4\r\n",
         "1.2.3.4 remote too_many_connections"},
        {"127.0.0.1", "X-Forwarded-For: 1.2.3.4, 8.8.8.8\r\n", "8.8.8.8 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 1.2.3.4\r\n",
         "1.2.3.4 remote too_many_connections"},
        {"127.0.0.1", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 8.8.8.8\r\n",
         "8.8.8.8 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: \r\n", "127.0.0.1 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: 1.2.3.4:5678\r\n", "1.2.3.4 remote too_many_connections"},
        {"127.0.0.1", "X-Forwarded-For: 1.2.3.5:5678\r\n", "1.2.3.5 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1 remote fits"},
        {"127.0.0.1", "X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1 remote fits"},
        {"127.0.0.1", "", "127.0.0.1 local fits"},
    };
    run_addresses(true, row, sizeof row / sizeof *row);
}

TEST("over one connection of a trusted proxy each request counts for its own client, while it lasts")
{
    static const struct {
        int connection;
        const char *client, *want;
    } row[] = {
        {0, "1.1.1.1", "too_many_connections"}, {0, "2.2.2.2", "fits"}, {0, "2.2.2.2", "fits"},
        {1, "2.2.2.2", "fits"},                 {0, "1.1.1.1", "too_many_connections"},
        {1, "1.1.1.1", "too_many_connections"},
    };
    site s;
    peer p[2], stays;
    site_init(&s);
    s.desc.max_per_ip = 1;
    s.desc.trust_proxy = true;
    site_start(&s, false);
    peer_open(&p[0], port_of(&s));
    peer_open(&p[1], port_of(&s));
    peer_open(&stays, port_of(&s));
    CHECK_EQ(peer_upgrade(&stays, "/ws", "X-Forwarded-For: 1.1.1.1\r\n"), 101);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char field[64], want[64];
        test_row(row[i].client, i);
        snprintf(field, sizeof field, "X-Forwarded-For: %s\r\n", row[i].client);
        snprintf(want, sizeof want, "%s remote %s", row[i].client, row[i].want);
        CHECK_EQ(peer_get(&p[row[i].connection], "/address", field), 200);
        CHECK_STR(tws_buf_view(&p[row[i].connection].body), want);
    }
    CHECK(peer_leave(&stays, 1000));
    PEER_UNTIL(connections(&s) == 2);
    CHECK_EQ(peer_get(&p[0], "/address", "X-Forwarded-For: 1.1.1.1\r\n"), 200);
    CHECK_STR(tws_buf_view(&p[0].body), "1.1.1.1 remote fits");
    peer_close(&p[0]);
    peer_close(&p[1]);
    site_end(&s);
}

TEST("of an address with too many connections one that asks is answered, and ends")
{
    site s;
    peer stays, p;
    site_init(&s);
    s.desc.max_per_ip = 1;
    site_start(&s, false);
    peer_open(&stays, port_of(&s));
    CHECK_EQ(peer_get(&stays, "/hello", NULL), 200);
    CHECK_STR(peer_field(&stays, "Connection"), "");
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_get(&p, "/hello", NULL), 200);
    CHECK_STR(peer_field(&p, "Connection"), "close");
    CHECK(peer_end(&p));
    CHECK_EQ(peer_get(&stays, "/hello", NULL), 200);
    peer_close(&stays);
    site_end(&s);
}

TEST("a WebSocket of an address with too many is told so and closed with 4429")
{
    site s;
    peer in, out;
    site_init(&s);
    s.desc.max_per_ip = 1;
    site_start(&s, false);
    peer_open(&in, port_of(&s));
    CHECK_EQ(peer_upgrade(&in, "/ws", NULL), 101);
    peer_open(&out, port_of(&s));
    CHECK_EQ(peer_upgrade(&out, "/ws", NULL), 101);
    CHECK_TEXT(&out, "too_many_connections");
    CHECK_TEXT(&out, "closed 4429 too_many_connections");
    CHECK(peer_end(&out));
    peer_say(&in, "still here");
    CHECK_TEXT(&in, "still here");
    CHECK(peer_leave(&in, 1000));
    site_end(&s);
}

/* -- deadlines -- */

TEST("more quiet readers than sends at one go are all pinged, and who answers stays")
{
    enum { ALL = TWS__SENDS + 10 };
    static peer p[ALL];
    site s;
    size_t pinged = 0;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 30;
    site_start(&s, false);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&p[i], "/ws", NULL), 101);
    }
    const uint64_t until_ms = tws_sys_now_ms() + 20000;
    while (pinged < ALL && tws_sys_now_ms() < until_ms) {
        CHECK_EQ(tws_server_step(s.server, 10), TWS_OK);
        pinged = 0;
        for (size_t i = 0; i < ALL; i++) {
            peer_receive(&p[i]);
            CHECK(!peer_decode(&p[i])); /* no message; pings are answered */
            pinged += p[i].pings >= 3;
        }
    }
    CHECK_EQ(pinged, ALL);
    CHECK_EQ(connections(&s), ALL);
    for (size_t i = 0; i < ALL; i++) {
        CHECK(peer_leave(&p[i], 1000));
        peer_close(&p[i]);
    }
    site_end(&s);
}

/* Two messages, of the second one only a part, between what was ready in a turn and its timers. */
static void speak_late(tws_peer *none, void *arg)
{
    tws_buf b;
    CHECK(none == NULL);
    tws_buf_init(&b, NULL, 1u << 20);
    peer_write_frame(&b, true, TWS_WS_TEXT, "first message", 13);
    peer_write_frame(&b, true, TWS_WS_TEXT, "second message", 14);
    CHECK(send(((peer *)arg)->fd, b.ptr, b.len - 5, MSG_NOSIGNAL) == (ssize_t)b.len - 5);
    tws_buf_free(&b);
    poll(NULL, 0, 20); /* it arrives */
}

TEST("what is read before a timer is answered as it came, and its rest is waited for")
{
    site s;
    peer p;
    tws_buf b;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    peer_say(&p, "timer");
    peer_say(&p, "hello");
    CHECK_TEXT(&p, "hello");
    poll(NULL, 0, 40); /* the time has come */
    CHECK_EQ(tws_server_post(s.server, 0, speak_late, &p), TWS_OK);
    CHECK_EQ(tws_server_step(s.server, 0), TWS_OK);
    CHECK_TEXT(&p, "first message");
    CHECK_TEXT(&p, "time");
    tws_buf_init(&b, NULL, 1u << 20);
    peer_write_frame(&b, true, TWS_WS_TEXT, "second message", 14);
    CHECK(peer_send(&p, b.ptr + b.len - 5, 5));
    tws_buf_free(&b);
    CHECK_TEXT(&p, "second message");
    CHECK(peer_leave(&p, 1000));
    peer_close(&p);
    site_end(&s);
}

TEST("a silent WebSocket is pinged, and one that does not answer is told 4408 and closed")
{
    static const char *const target[] = {"/ws", "/plain"};
    site s;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 30;
    s.desc.limits.answer_ms = 100;
    site_start(&s, false);
    for (size_t i = 0; i < 2; i++) {
        peer p;
        test_row(target[i], i);
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, target[i], NULL), 101);
        while (p.pings < 3 && peer_fill(&p)) {
            peer_decode(&p);
        }
        CHECK_EQ(p.pings, 3); /* answered, so it lives */
        p.silent = true;
        if (i == 0) {
            CHECK_TEXT(&p, "heartbeat_timeout");
        }
        CHECK(strncmp(peer_text(&p), "closed 4408 ", 12) == 0);
        CHECK(peer_end(&p));
    }
    site_end(&s);
}

TEST("a stream is kept alive by comments")
{
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 20;
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_get(&p, "/silent", NULL), 200);
    while (!peer_contains(peer_rest(&p), ":\n\n:\n\n:\n\n") && peer_fill(&p)) {
    }
    CHECK(peer_contains(peer_rest(&p), ":\n\n:\n\n:\n\n"));
    peer_close(&p);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_get(&p, "/silent?text", NULL), 200);
    const uint64_t until_ms = tws_sys_now_ms() + 100;
    while (tws_sys_now_ms() < until_ms) { /* of another type every byte is the host's */
        CHECK_EQ(tws_server_step(s.server, 10), TWS_OK);
    }
    CHECK(!peer_receive(&p) || !peer_contains(peer_rest(&p), ":\n"));
    peer_close(&p);
    site_end(&s);
}

TEST("a reader that takes nothing blocks nobody, and is closed with 4409 in the end")
{
    site s;
    peer slow, p;
    site_init(&s);
    s.desc.limits.stall_ms = 300;
    site_start(&s, false);
    small_buffers(&s);
    peer_init(&slow);
    slow.fd = peer_socket(NULL, port_of(&s), 4096);
    CHECK_EQ(peer_upgrade(&slow, "/ws", NULL), 101);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    peer_say(&slow, "flood");
    for (int i = 0; i < 100; i++) {
        peer_say(&p, "quick");
        CHECK_TEXT(&p, "quick");
    }
    tws_server_stats n;
    do {
        peer_say(&p, "quick");
        CHECK_TEXT(&p, "quick");
        tws_server_stat(s.server, &n);
    } while (n.timeouts == 0 && p.open);
    size_t floods = 0;
    while (peer_message(&slow) &&
           slow.opcode == TWS_WS_BINARY) { /* it wakes up: all of it is there */
        CHECK_EQ(slow.body.len, 60000);
        floods++;
    }
    CHECK_EQ(floods, 4);
    CHECK_STR(tws_buf_view(&slow.body), "slow_consumer");
    CHECK_TEXT(&slow, "closed 4409 slow_consumer");
    CHECK(peer_end(&slow));
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* -- news: what on_turn pulls -- */

/* Each reader is offered line after line, one a turn, and all in the same turns. */
enum { NEWS_READERS = 40, NEWS_LINE = 504, NEWS_LINES = 60 };

static struct {
    tws_peer *reader[NEWS_READERS];
    unsigned said[NEWS_READERS];
    uint16_t closed[NEWS_READERS]; /* with which code */
    size_t readers;
    unsigned lines; /* so many are there to be read */
    int fd_at_10;   /* whose peer leaves amid the turn in which line 10 is offered; -1: nobody's */
    const tws_peer *pulled;
} news;

static size_t news_index(const tws_peer *p)
{
    return (size_t)(uintptr_t)tws_peer_data(p);
}

static void news_output(tws_peer *p)
{
    static char frame[NEWS_LINE]; /* until the turn ends */
    const unsigned line = news.said[news_index(p)];
    if (line == news.lines) {
        return;
    }
    memset(frame, 'a' + (int)(line % 26), sizeof frame);
    memcpy(frame, "\x81\x7e\x01\xf4", 4);
    snprintf(frame + 4, 8, "%06u,", line);
    frame[11] = ' ';
    tws_str slices[2] = {tws_str_of(frame, 4), tws_str_of(frame + 4, sizeof frame - 4)};
    CHECK(tws_peer_offer(p, slices, 2));
}

static void news_taken(tws_peer *p, size_t n)
{
    news.said[news_index(p)] += (unsigned)n;
}

static void news_close(tws_peer *p, uint16_t code, tws_str reason)
{
    (void)reason;
    CHECK(news.pulled == NULL || news.pulled == p); /* another's end would surprise who pulls */
    news.closed[news_index(p)] = code;
    news.reader[news_index(p)] = NULL;
}

static const tws_peer_ops news_ops = {NULL, news_close, news_output, news_taken, NULL, NULL};

static void open_news(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)context;
    CHECK(tws_peer_accept(p, r, NULL, &news_ops, (void *)(uintptr_t)news.readers));
    news.reader[news.readers++] = p;
}

static void pull_news(size_t i)
{
    if (news.reader[i] != NULL && news.said[i] < news.lines) {
        news.pulled = news.reader[i];
        tws_peer_pull(news.reader[i]);
        news.pulled = NULL;
    }
}

static void tell_news(void *context, unsigned thread)
{
    (void)context;
    (void)thread;
    for (size_t i = 0; i < NEWS_READERS; i++) {
        if (news.said[0] == 10 && news.fd_at_10 >= 0) {
            const struct linger at_once = {1, 0};
            setsockopt(news.fd_at_10, SOL_SOCKET, SO_LINGER, &at_once, (socklen_t)sizeof at_once);
            close(news.fd_at_10);
            news.fd_at_10 = -1;
        }
        pull_news(i);
        if (i == 2) {
            pull_news(i); /* a second line amid the same turn */
        }
    }
}

/* The next line that is whole, or none. */
static bool news_next(peer *p, unsigned line)
{
    char number[8];
    snprintf(number, sizeof number, "%06u,", line);
    return peer_message(p) && p->body.len == NEWS_LINE - 4 && memcmp(p->body.ptr, number, 7) == 0 &&
           (unsigned char)p->body.ptr[NEWS_LINE - 5] == 'a' + line % 26;
}

TEST("news for many go out together; who takes little has them whole, once and in order, later")
{
    static const uint32_t receive[] = {0, 512, 1100, 2048}; /* the memory they are gathered in */
    for (size_t row = 0; row < sizeof receive / sizeof *receive; row++) {
        const tws_route route = {"GET", "/news", open_news, NULL, NULL};
        static peer p[NEWS_READERS];
        site s;
        tws_server_stats n;
        test_row("receive_bytes", receive[row]);
        memset(&news, 0, sizeof news);
        news.fd_at_10 = -1;
        site_init(&s);
        s.desc.receive_bytes = receive[row];
        s.desc.on_turn = tell_news;
        site_start(&s, false);
        CHECK_EQ(tws_server_route(s.server, &route, NULL), TWS_OK);
        small_buffers(&s);
        for (size_t i = 0; i < NEWS_READERS; i++) {
            peer_init(&p[i]);
            p[i].fd = peer_socket(NULL, port_of(&s), i % 2 == 0 ? 2048 : 0);
            CHECK_EQ(peer_upgrade(&p[i], "/news", NULL), 101);
        }
        const int leaver = 7;
        news.fd_at_10 = p[leaver].fd;
        p[leaver].fd = -1;
        news.lines = NEWS_LINES;
        for (int i = 0; i < 2 * NEWS_LINES; i++) { /* odd ones read, even ones sleep */
            CHECK_EQ(tws_server_step(s.server, 0), TWS_OK);
            for (size_t k = 1; k < NEWS_READERS; k += 2) {
                if (p[k].fd >= 0) {
                    peer_receive(&p[k]);
                }
            }
        }
        CHECK(news.said[1] == NEWS_LINES && news.said[2] < NEWS_LINES);
        CHECK_EQ(news.closed[leaver], 1006);
        CHECK(news.reader[leaver] == NULL && news.said[leaver] >= 10);
        for (size_t i = 0; i < NEWS_READERS; i++) {
            for (unsigned line = 0; line < NEWS_LINES && p[i].fd >= 0; line++) {
                if (!news_next(&p[i], line)) {
                    test_row("reader", i * 1000 + line);
                    CHECK(false);
                    break;
                }
            }
            CHECK(p[i].fd < 0 || news.said[i] == NEWS_LINES);
        }
        tws_server_stat(s.server, &n);
        const uint64_t all = (NEWS_READERS - 1) * NEWS_LINES + news.said[leaver];
        CHECK_EQ(n.messages_out, all);
        CHECK(n.bytes_out >= (NEWS_READERS - 1) * NEWS_LINES * (uint64_t)NEWS_LINE);
        CHECK(n.bytes_out <= all * NEWS_LINE + NEWS_READERS * 200);
        CHECK_EQ(n.connections, NEWS_READERS - 1);
        for (size_t i = 0; i < NEWS_READERS; i++) {
            CHECK(p[i].fd < 0 || peer_leave(&p[i], 1000));
            peer_close(&p[i]);
        }
        site_end(&s);
    }
}

/* -- threads -- */

TEST("four threads share a port, and each connection stays with its own")
{
    enum { ALL = 64 };
    static peer p[ALL];
    site s;
    site_init(&s);
    s.desc.threads = 4;
    s.desc.on_turn = count_turn;
    s.desc.on_second = count_second;
    site_start(&s, true);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&p[i], "/ws", NULL), 101);
    }
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < ALL; i++) {
            peer_say(&p[i], "hello");
        }
        for (size_t i = 0; i < ALL; i++) {
            CHECK_TEXT(&p[i], "hello");
        }
    }
    unsigned threads = __atomic_load_n(&met.threads, __ATOMIC_SEQ_CST);
    CHECK((threads & (threads - 1)) != 0); /* two of them at least */
    CHECK(threads < 16);
    tws_server_stats n;
    tws_server_stat(s.server, &n);
    CHECK_EQ(n.connections, ALL);
    CHECK_EQ(n.messages_in, ALL * 10);
    size_t turns = __atomic_load_n(&met.turns, __ATOMIC_SEQ_CST);
    tws_server_wake(s.server, 3);
    PEER_UNTIL(__atomic_load_n(&met.turns, __ATOMIC_SEQ_CST) > turns);
    for (size_t i = 0; i < ALL; i++) {
        CHECK(peer_leave(&p[i], 1000));
    }
    PEER_UNTIL(__atomic_load_n(&met.seconds, __ATOMIC_SEQ_CST) > 0);
    site_end(&s);
    CHECK_EQ(met.closed, ALL);
}

TEST("a thread that cannot have a listener of its own shares the first one's")
{
    const char *why = "";
    site s;
    peer p;
    site_init(&s);
    s.desc.threads = 2;
    CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
    CHECK_EQ(tws_server_route(s.server, &routes[0], NULL), TWS_OK);
    CHECK_EQ(tws__server_listen_one(s.server, s.server->thread[0], &why), TWS_OK);
    s.server->desc.host = "no host of that name"; /* as where SO_REUSEPORT is unknown */
    CHECK_EQ(tws__server_listen_one(s.server, s.server->thread[1], &why), TWS_OK);
    CHECK(s.server->thread[1]->listener.fd != s.server->thread[0]->listener.fd);
    pthread_create(&s.id, NULL, site_main, s.server);
    s.threaded = true;
    for (int i = 0; i < 20; i++) {
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_get(&p, "/hello", NULL), 200);
        peer_close(&p);
    }
    site_end(&s);
}

TEST("where not all threads can listen, none does, and it may be tried again")
{
    for (int local = 0; local < 2; local++) {
        char memory[256], path[64];
        struct rlimit limit, low;
        tws_buf error;
        site s;
        peer p;
        test_row(local != 0 ? "a Unix socket" : "a port", (size_t)local);
        site_init(&s);
        snprintf(path, sizeof path, "/tmp/taskws-21-%d", (int)getpid());
        s.desc.unix_path = local != 0 ? path : NULL;
        s.desc.threads = 2;
        CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
        CHECK_EQ(tws_server_route(s.server, &routes[0], NULL), TWS_OK);
        getrlimit(RLIMIT_NOFILE, &limit);
        low = limit;
        low.rlim_cur = (rlim_t)tws_sys_open_files() + 1;
        CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK_EQ(tws_server_listen(s.server, &error), TWS_ERR_SYSTEM);
        CHECK(peer_contains(tws_buf_view(&error), strerror(EMFILE)));
        setrlimit(RLIMIT_NOFILE, &limit);
        CHECK(access(path, F_OK) != 0);
        CHECK(s.server->thread[0]->listener.fd < 0);
        CHECK_EQ(tws_server_listen(s.server, &error), TWS_OK);
        pthread_create(&s.id, NULL, site_main, s.server);
        s.threaded = true;
        for (int i = 0; i < 20; i++) { /* of both threads */
            if (local == 0) {
                peer_open(&p, port_of(&s));
            } else {
                CHECK(peer_open_unix(&p, path));
            }
            CHECK_EQ(peer_get(&p, "/hello", NULL), 200);
            peer_close(&p);
        }
        site_end(&s);
    }
}

TEST("a second server on a port is refused with a sentence, with one thread and with several")
{
    static const uint32_t threads[][2] = {{1, 1}, {1, 2}, {2, 1}, {2, 2}};
    for (size_t i = 0; i < 4; i++) {
        char memory[256];
        tws_buf error;
        site s, other;
        test_row("threads", i);
        site_init(&s);
        s.desc.threads = threads[i][0];
        site_start(&s, false);
        site_init(&other);
        other.desc.threads = threads[i][1];
        other.desc.port = port_of(&s);
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK_EQ(tws_server_create(&other.server, &other.desc), TWS_OK);
        CHECK_EQ(tws_server_listen(other.server, &error), TWS_ERR_SYSTEM);
        CHECK(peer_contains(tws_buf_view(&error), "cannot listen on 127.0.0.1 port "));
        CHECK(peer_contains(tws_buf_view(&error), "in use"));
        tws_server_free(other.server);
        site_end(&s);
    }
}

TEST("where there is nothing to listen on, the sentence says where and why")
{
    static const struct {
        const char *host;
        int port;
        const char *unix_path, *where, *why;
    } row[] = {
        {"no host of that name..", 8000, NULL, "no host of that name.. port 8000", "Name "},
        {"127.0.0.1", 70000, NULL, "127.0.0.1 port 70000", "65535"},
        {"127.0.0.1", -7, NULL, "127.0.0.1 port -7", "65535"},
        {NULL, 0, "/tmp/no such directory/s", "/tmp/no such directory/s: ", "No such file"},
        {NULL, 0, "", "cannot listen on : ", "path is empty"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char memory[256];
        tws_buf error;
        site s;
        test_row(row[i].where, i);
        site_init(&s);
        s.desc.host = row[i].host;
        s.desc.port = row[i].port;
        s.desc.unix_path = row[i].unix_path;
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK_EQ(tws_server_create(&s.server, &s.desc), TWS_OK);
        CHECK_EQ(tws_server_listen(s.server, &error), TWS_ERR_SYSTEM);
        CHECK(peer_contains(tws_buf_view(&error), row[i].where));
        CHECK(peer_contains(tws_buf_view(&error), row[i].why));
        tws_server_free(s.server);
    }
}

TEST("a Unix socket serves, with several threads too, and is gone afterwards")
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/taskws-20-%ld", (long)getpid());
    for (uint32_t threads = 1; threads <= 2; threads++) {
        peer p[8];
        site s;
        site_init(&s);
        s.desc.unix_path = path;
        s.desc.threads = threads;
        site_start(&s, threads > 1);
        CHECK_EQ(port_of(&s), 0);
        for (size_t i = 0; i < 8; i++) {
            CHECK(peer_open_unix(&p[i], path));
            CHECK_EQ(peer_get(&p[i], "/address", NULL), 200);
            CHECK(peer_contains(tws_buf_view(&p[i].body), "remote"));
        }
        for (size_t i = 0; i < 8; i++) {
            peer_close(&p[i]);
        }
        site_end(&s);
        CHECK(access(path, F_OK) != 0);
    }
}

TEST("a server that ends leaves the path alone when it is another's already")
{
    char path[64];
    site old, new;
    peer p, q;
    snprintf(path, sizeof path, "/tmp/taskws-21-%ld", (long)getpid());
    site_init(&old);
    old.desc.unix_path = path;
    old.desc.drain_ms = 1;
    site_start(&old, false);
    CHECK(peer_open_unix(&p, path));
    peer_ask(&p, "GET", "/later", NULL, NULL);
    PEER_UNTIL(met.later != UINT64_MAX);
    tws_server_stop(old.server);
    PEER_UNTIL(access(path, F_OK) != 0); /* while that request is still under way */
    site_init(&new);
    new.desc.unix_path = path;
    site_start(&new, false);
    site_end(&old);
    peer_server = new.server;
    CHECK(peer_open_unix(&q, path));
    CHECK_EQ(peer_get(&q, "/hello", NULL), 200);
    peer_close(&p);
    peer_close(&q);
    site_end(&new);
    CHECK(access(path, F_OK) != 0);
}

TEST("a foreign loop drives the server by its one descriptor and its timeout")
{
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 40;
    site_start(&s, false);
    peer_server = NULL; /* nobody else steps it */
    peer_open(&p, port_of(&s));
    peer_ask(&p, "GET", "/ws", PEER_UPGRADE, NULL);
    tws_ws_init(&p.decoder, TWS_WS_CLIENT, 0, 0);
    size_t echoed = 0, steps = 0;
    bool asked = false;
    uint64_t until_ms = tws_sys_now_ms() + PEER_MS;
    while ((echoed < 50 || p.pings < 2) && tws_sys_now_ms() < until_ms) {
        struct pollfd f[2] = {{tws_server_fd(s.server), POLLIN, 0}, {p.fd, POLLIN, 0}};
        int timeout_ms = tws_server_timeout(s.server);
        CHECK(timeout_ms >= 0); /* at least the next second */
        if (f[0].fd < 0) { /* poll(2) has none: look now and then */
            timeout_ms = timeout_ms < 5 ? timeout_ms : 5;
        }
        int n = poll(f, 2, timeout_ms);
        if (f[0].fd < 0 || n == 0 || f[0].revents != 0) {
            CHECK_EQ(tws_server_step(s.server, 0), TWS_OK);
            steps++;
        }
        if (f[1].revents == 0 || !peer_receive(&p)) {
            continue;
        }
        if (!asked && peer_contains(peer_rest(&p), "\r\n\r\n")) {
            asked = true;
            CHECK_EQ(peer_answer(&p), 101);
            p.open = true;
            peer_say(&p, "one");
        } else if (asked && peer_decode(&p)) {
            echoed++;
            if (echoed < 50) {
                peer_say(&p, "more");
            }
        }
    }
    CHECK_EQ(echoed, 50);
    CHECK(p.pings >= 2);
    if (tws_server_fd(s.server) >= 0) {
        CHECK(steps < 500); /* it was called when there was something to do */
    }
    tws_server_stop(s.server);
    tws_server_stop(s.server);
    CHECK_EQ(tws_server_step(s.server, 0), TWS_ERR_CLOSED);
    CHECK_EQ(tws_server_step(s.server, 0), TWS_ERR_CLOSED);
    peer_close(&p);
    site_end(&s);
}

/* -- drain -- */

TEST("a drain tells everybody, one after the other over its whole time")
{
    enum { ALL = 20, DRAIN_MS = 600 };
    static peer p[ALL];
    site s;
    site_init(&s);
    s.desc.drain_ms = DRAIN_MS;
    site_start(&s, false);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&p[i], i % 2 == 0 ? "/ws" : "/plain", NULL), 101);
    }
    uint64_t begin_ms = tws_sys_now_ms();
    CHECK(!tws_server_draining(s.server));
    tws_server_stop(s.server);
    CHECK(tws_server_draining(s.server));
    CHECK_EQ(tws_server_step(s.server, 0), TWS_OK);
    CHECK_EQ(s.server->thread[0]->drain_done, 1); /* the first one now */
    for (size_t i = 0; i < ALL; i++) {
        test_row("peer", i);
        if (i % 2 == 0) {
            CHECK_TEXT(&p[i], "draining");
        }
        CHECK(strncmp(peer_text(&p[i]), "closed 1001 ", 12) == 0);
        CHECK(tws_sys_now_ms() - begin_ms >= (uint64_t)DRAIN_MS * i / ALL);
        CHECK(peer_end(&p[i]));
    }
    PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
    CHECK_EQ(met.closed, ALL);
    site_end(&s);
}

TEST("requests under way complete in a drain, and their connections end behind the answer")
{
    site s;
    peer p[6];
    site_init(&s);
    s.desc.drain_ms = 100;
    site_start(&s, false);
    for (size_t i = 0; i < 6; i++) {
        peer_open(&p[i], port_of(&s));
    }
    peer_send_c(&p[5], "GET /ws HTTP/1.1\r\nHost: a\r\n");
    peer_ask(&p[0], "GET", "/later", NULL, NULL);
    peer_send_c(&p[1], "GET /hello HTTP/1.1\r\nHo");
    peer_send_c(&p[2], "POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    CHECK_EQ(peer_get(&p[3], "/hello", NULL), 200); /* idle now */
    PEER_UNTIL(met.later != UINT64_MAX && connections(&s) == 6);
    peer_ask(&p[4], "GET", "/hello", NULL, NULL); /* sent, and not read yet when the stop comes */
    tws_server_stop(s.server);
    uint64_t begin_ms = tws_sys_now_ms();
    while (tws_sys_now_ms() - begin_ms < 150) {
        CHECK_EQ(tws_server_step(s.server, 1), TWS_OK);
    }
    CHECK(peer_end(&p[3])); /* the idle one was let go */
    CHECK_EQ(peer_answer(&p[4]), 200);
    CHECK(peer_end(&p[4]));
    tws_server_post(s.server, met.later, answer_now, (void *)(uintptr_t) "now");
    peer_send_c(&p[1], "st: a\r\n\r\n");
    peer_send_c(&p[2], "llo");
    static const char *const want[] = {"now", "hello", "hello"};
    for (size_t i = 0; i < 3; i++) {
        test_row(want[i], i);
        CHECK_EQ(peer_answer(&p[i]), 200);
        CHECK_STR(tws_buf_view(&p[i].body), want[i]);
        CHECK_STR(peer_field(&p[i], "Connection"), "close");
        CHECK(peer_end(&p[i]));
    }
    peer_send_c(&p[5], PEER_UPGRADE "\r\n");
    CHECK_EQ(peer_answer(&p[5]), 101);
    p[5].open = true;
    tws_ws_init(&p[5].decoder, TWS_WS_CLIENT, 0, 0);
    CHECK_TEXT(&p[5], "draining"); /* a WebSocket that comes late is told at the next round */
    CHECK_TEXT(&p[5], "closed 1001 draining");
    CHECK(peer_end(&p[5]));
    PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
    site_end(&s);
}

static size_t first_turns;

static void count_first_turn(void *context, unsigned thread)
{
    (void)context;
    __atomic_add_fetch(&first_turns, thread == 0, __ATOMIC_SEQ_CST);
}

TEST("in a drain the first thread stays until the last connection of any has gone")
{
    static peer p;
    site s;
    site_init(&s);
    s.desc.threads = 2;
    s.desc.drain_ms = 20;
    s.desc.on_turn = count_first_turn;
    site_start(&s, true);
    for (unsigned thread = 0; thread == 0;) {
        uint64_t id = 0;
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_get(&p, "/id", NULL), 200);
        CHECK(tws_str_u64(tws_buf_view(&p.body), &id));
        thread = (unsigned)(id >> 56);
        if (thread == 0) {
            peer_close(&p);
        }
    }
    peer_ask(&p, "GET", "/later", NULL, NULL);
    PEER_UNTIL(__atomic_load_n(&met.later, __ATOMIC_SEQ_CST) != UINT64_MAX);
    tws_server_stop(s.server);
    poll(NULL, 0, 200);
    size_t turns = __atomic_load_n(&first_turns, __ATOMIC_SEQ_CST);
    tws_server_wake(s.server, 0);
    PEER_UNTIL(__atomic_load_n(&first_turns, __ATOMIC_SEQ_CST) > turns);
    tws_server_post(s.server, met.later, answer_now, (void *)(uintptr_t) "now");
    CHECK_EQ(peer_answer(&p), 200);
    CHECK(peer_end(&p));
    site_end(&s);
}

TEST("whoever stands in the backlog when the drain begins is answered, however many")
{
    enum { ALL = 120 };
    static peer p[ALL];
    site s;
    site_init(&s);
    s.desc.drain_ms = 100;
    site_start(&s, false);
    for (size_t i = 0; i < ALL; i++) {
        peer_open(&p[i], port_of(&s));
        peer_ask(&p[i], "GET", "/hello", NULL, NULL);
    }
    tws_server_stop(s.server);
    for (size_t i = 0; i < ALL; i++) {
        CHECK_EQ(peer_answer(&p[i]), 200);
        CHECK(peer_end(&p[i]));
    }
    PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
    site_end(&s);
}

static int busy_left;

static bool is_busy(void *context)
{
    (void)context;
    return busy_left > 0 && --busy_left > 0;
}

TEST("a drain waits for what the host has under way, but not beyond its time, nor a second stop")
{
    static const char *const name[] = {"it ends", "its time is over", "a second stop"};
    for (size_t i = 0; i < 3; i++) {
        site s;
        int steps = 0;
        test_row(name[i], i);
        site_init(&s);
        busy_left = i == 0 ? 5 : 1000000;
        s.desc.is_busy = is_busy;
        s.desc.drain_ms = i == 1 ? 20 : 60000;
        s.desc.limits.close_ms = 20;
        site_start(&s, false);
        const uint64_t begin_ms = tws_sys_now_ms();
        tws_server_stop(s.server);
        while (tws_server_step(s.server, 1) == TWS_OK && steps < 10000) {
            steps++;
            if (i == 2 && steps == 3) {
                tws_server_stop(s.server);
            }
        }
        const uint64_t passed_ms = tws_sys_now_ms() - begin_ms; /* drain_ms and twice close_ms */
        CHECK(i == 1 ? passed_ms >= 60 && steps < 10000 : steps == (i == 0 ? 4 : 3));
        site_end(&s);
    }
}

/* What is said behind the end goes nowhere, whatever the end was. */
static void say_behind(tws_peer *p, uint16_t code, tws_str reason)
{
    tws_str slice = tws_str_c("x");
    on_close(p, code, reason);
    CHECK(!tws_peer_send(p, TWS_WS_TEXT, "x", 1));
    CHECK(!tws_peer_put(p, "x", 1));
    CHECK(!tws_peer_offer(p, &slice, 1));
    tws_peer_pull(p);
    tws_peer_pull_later(p);
    tws_peer_close(p, 1000, "");
}

TEST("a handler that says something behind the end is not heard, whichever end it was")
{
    static const tws_peer_ops ops = {on_message, say_behind, NULL, NULL, NULL, NULL};
    static const char *const how[] = {"its own", "an end of file", "a drain", "a second stop", "free"};
    for (size_t i = 0; i < 5; i++) {
        enum { ALL = 4 };
        tws_route route = {"GET", "/behind", NULL, &ops, NULL};
        site s;
        peer p[ALL];
        test_row(how[i], i);
        site_init(&s);
        s.desc.drain_ms = i == 2 ? 20 : 60000;
        s.desc.limits.close_ms = 20;
        site_start(&s, false);
        CHECK_EQ(tws_server_route(s.server, &route, NULL), TWS_OK);
        for (size_t k = 0; k < ALL; k++) {
            peer_open(&p[k], port_of(&s));
            CHECK_EQ(peer_upgrade(&p[k], "/behind", NULL), 101);
        }
        for (size_t k = 0; k < ALL && i < 2; k++) {
            if (i == 0) {
                peer_say(&p[k], "close");
            } else {
                peer_close(&p[k]);
            }
            PEER_UNTIL(met.closed == k + 1);
        }
        if (i == 2 || i == 3) {
            tws_server_stop(s.server);
            for (int k = 0; k < (i == 2 ? 2000 : 1) && met.closed < ALL; k++) {
                tws_server_step(s.server, 1);
            }
            CHECK(i == 2 ? met.closed == ALL : met.closed < ALL);
            tws_server_stop(s.server);
            while (tws_server_step(s.server, 1) == TWS_OK) {
            }
        }
        site_end(&s);
        CHECK_EQ(met.closed, ALL);
        for (size_t k = 0; k < ALL; k++) {
            peer_close(&p[k]);
        }
    }
}

TEST("a path with more methods than fit into a line is told some, and the answer stays one answer")
{
    char method[32][24];
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    for (int i = 0; i < 30; i++) {
        tws_route route = {method[i], "/many", say_hello, NULL, (void *)(uintptr_t) "many"};
        snprintf(method[i], sizeof method[i], "A-METHOD-WITH-A-NAME-%c", 'A' + i % 26);
        method[i][0] = i < 26 ? 'A' : 'B';
        CHECK_EQ(tws_server_route(s.server, &route, NULL), TWS_OK);
        for (int k = 0; k < 2 && i % 10 == 9; k++) {
            peer_open(&p, port_of(&s));
            CHECK_EQ(peer_get(&p, "/many", NULL), 405);
            CHECK(peer_contains(tws_buf_view(&p.body), "method_not_allowed"));
            CHECK_EQ(peer_get(&p, "/hello", NULL), 200);
            peer_close(&p);
        }
    }
    site_end(&s);
}

TEST("a second stop ends at once, whoever is still there")
{
    site s;
    peer p[3];
    site_init(&s);
    s.desc.drain_ms = 60000;
    site_start(&s, false);
    for (size_t i = 0; i < 3; i++) {
        peer_open(&p[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&p[i], "/ws", NULL), 101);
    }
    tws_server_stop(s.server);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(tws_server_step(s.server, 0), TWS_OK);
    }
    tws_server_stop(s.server);
    CHECK_EQ(tws_server_step(s.server, -1), TWS_ERR_CLOSED);
    CHECK_EQ(connections(&s), 0);
    CHECK_EQ(met.closed, 3);
    for (size_t i = 0; i < 3; i++) {
        peer_close(&p[i]);
    }
    site_end(&s);
}

TEST("peers that never end are dropped when drain and deadlines have passed")
{
    site s;
    peer p[2];
    site_init(&s);
    s.desc.drain_ms = TWS_OFF;
    s.desc.limits.close_ms = 50;
    site_start(&s, true);
    peer_open(&p[0], port_of(&s));
    CHECK_EQ(peer_upgrade(&p[0], "/ws", NULL), 101);
    peer_open(&p[1], port_of(&s));
    peer_ask(&p[1], "GET", "/later", NULL, NULL);
    PEER_UNTIL(__atomic_load_n(&met.later, __ATOMIC_SEQ_CST) != UINT64_MAX);
    tws_server_stop(s.server);
    pthread_join(s.id, NULL); /* by itself */
    s.threaded = false;
    CHECK_EQ(connections(&s), 0);
    peer_close(&p[0]);
    peer_close(&p[1]);
    site_end(&s);
}

/* -- closings are delivered -- */

TEST("whoever sends much that nobody wants sees answer and end, and no reset, however it closes")
{
    static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE "\r\n";
    static const struct {
        const char *name, *script, *rest;
        size_t rest_len;
        uint8_t fill;
        bool answer_close;
        const char *want;
    } row[] = {
        {"garbage", "\x01\x02\x03\r\n\r\n", "", 0, 'x', false, " 400 "},
        {"a path without a route", "GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "",
         0, 'x', false, " 404 "},
        {"a body unread", "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n", "", 0,
         'x', false, " 413 "},
        {"a head without an end", "GET / HTTP/1.1\r\nA: ", "", 0, 'x', false, " 431 "},
        {"an answer with an end", "GET /hello HTTP/1.0\r\n\r\n", "", 0, 'x', false, "hello"},
        {"a refused upgrade", "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "", 0,
         'x', false, " 426 "},
        {"a frame of no kind", upgrade, "", 0, 'x', false, "\x88"},
        {"a frame without mask", upgrade, "\x81\x05", 2, 'x', false, "\x03\xea"},
        {"a message too big", upgrade, "\x82\xff\0\0\0\0\7\0\0\0", 10, 0, false, "\x03\xf1"},
        {"a close of the server's", upgrade, "\x81\x85\0\0\0\0close", 11, 0x88, false, "\x11\x30"},
        {"a close of the client's", upgrade, "\x88\x82\0\0\0\0\x03\xe8", 8, 'x', false,
         "\x88\x02\x03\xe8"},
        {"a close of the server's, answered", upgrade, "\x81\x85\0\0\0\0close", 11, 0, true,
         "\x11\x30"},
    };
    for (size_t threads = 1; threads <= 2; threads++) {
        site s;
        site_init(&s);
        s.desc.threads = (uint32_t)threads;
        site_start(&s, threads > 1);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            tws_buf script;
            crowd c;
            test_row(row[i].name, i);
            tws_buf_init(&script, NULL, 1u << 20);
            tws_buf_c(&script, row[i].script);
            tws_buf_put(&script, row[i].rest, row[i].rest_len);
            memset(&c, 0, sizeof c);
            c.port = port_of(&s);
            c.script = script.ptr;
            c.script_len = script.len;
            c.flood = row[i].answer_close ? 0 : 300000;
            c.fill = row[i].fill;
            c.answer_close = row[i].answer_close;
            c.want = row[i].want;
            c.count = 25;
            crowd_run(&c);
            CHECK_EQ(c.resets, 0);
            CHECK_EQ(c.wanted, c.count);
            tws_buf_free(&script);
        }
        test_row(NULL, 0);
        PEER_UNTIL(connections(&s) == 0);
        site_end(&s);
    }
}

TEST("who floods a server that is full is told so, and not reset")
{
    static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE "\r\n";
    site s;
    peer in;
    crowd c;
    site_init(&s);
    s.desc.max_connections = 1;
    site_start(&s, false);
    peer_open(&in, port_of(&s));
    CHECK_EQ(peer_get(&in, "/hello", NULL), 200);
    memset(&c, 0, sizeof c);
    c.port = port_of(&s);
    c.script = upgrade;
    c.script_len = sizeof upgrade - 1;
    c.flood = 16 * 20000;
    c.fill = 0x8a; /* sixteen of them are a pong of ten bytes */
    c.answer_close = true;
    c.want = "\x03\xf5";
    c.count = 60;
    crowd_run(&c);
    CHECK_EQ(c.resets, 0);
    CHECK_EQ(c.wanted, c.count);
    peer_close(&in);
    site_end(&s);
}

enum { FLOODERS = 40 };

/* Forty connections have sent ten thousand pings each before the server looks. */
TEST("who floods waits behind who does not, and is served all the same")
{
    enum { PINGS = 10000 };
    static peer flooder[FLOODERS];
    static uint8_t pings[PINGS * 6]; /* 89 80 and a mask of zeros */
    for (size_t i = 0; i < sizeof pings; i += 6) {
        pings[i] = 0x89;
        pings[i + 1] = 0x80;
    }
    site s;
    peer quiet;
    site_init(&s);
    site_start(&s, false);
    peer_open(&quiet, port_of(&s));
    CHECK_EQ(peer_upgrade(&quiet, "/ws", NULL), 101);
    for (size_t i = 0; i < FLOODERS; i++) {
        peer_open(&flooder[i], port_of(&s));
        CHECK_EQ(peer_upgrade(&flooder[i], "/ws", NULL), 101);
    }
    s.server->thread[0]->slot[0].peer->spent = 0; /* it has been there for a while */
    peer_server = NULL;
    for (size_t i = 0; i < FLOODERS; i++) {
        CHECK(peer_send(&flooder[i], pings, sizeof pings));
    }
    tws__thread *t = s.server->thread[0];
    uint64_t begin_ms;
    tws_server_stats n;
    do { /* again, if meanwhile they have been silent for so long that they go first themselves */
        begin_ms = tws_sys_now_ms();
        for (size_t i = 1; i <= FLOODERS; i++) {
            t->slot[i].peer->spent = UINT16_MAX;
            t->slot[i].peer->epoch = (uint16_t)(begin_ms / TWS__EPOCH_MS);
        }
        peer_say(&quiet, "hello");
        CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK);
        CHECK_TEXT(&quiet, "hello");
    } while (t->now_ms - begin_ms >= 4 * TWS__EPOCH_MS);
    tws_server_stat(s.server, &n);
    CHECK(n.bytes_in < FLOODERS * sizeof pings / 2); /* it was not the last one by chance */
    CHECK_EQ(t->slot[FLOODERS].peer->watch.behind, true);
    peer_server = s.server;
    for (size_t i = 0; i < FLOODERS; i++) {
        PEER_UNTIL(peer_rest(&flooder[i]).len >= 2 * PINGS || !peer_fill(&flooder[i]));
        CHECK_EQ(peer_rest(&flooder[i]).len, 2 * PINGS);
        CHECK_EQ(flooder[i].reset, false);
        peer_close(&flooder[i]);
    }
    CHECK(peer_leave(&quiet, 1000));
    site_end(&s);
}

static uint64_t accepted_by(const site *s)
{
    tws_server_stats n;
    tws_server_stat(s->server, &n);
    return n.accepted;
}

/* A server with one WebSocket that goes first; nobody steps it. */
static tws__thread *begin_quiet(site *s, peer *quiet)
{
    site_start(s, false);
    peer_open(quiet, port_of(s));
    CHECK_EQ(peer_upgrade(quiet, "/ws", NULL), 101);
    s->server->thread[0]->slot[0].peer->spent = 0; /* it has been there for a while */
    peer_server = NULL;
    return s->server->thread[0];
}

TEST("beside who goes first newcomers are let in a few at a time; where nobody does, as they come")
{
    enum { NEW = 40 };
    static peer newcomer[2 * NEW];
    site s;
    peer quiet;
    site_init(&s);
    tws__thread *t = begin_quiet(&s, &quiet);
    for (size_t i = 0; i < NEW; i++) {
        CHECK(peer_open(&newcomer[i], port_of(&s)));
    }
    peer_say(&quiet, "hello");
    CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK);
    CHECK_EQ(accepted_by(&s), 1 + TWS__ACCEPT_FEW);
    CHECK_EQ(t->slot[1].peer->room * TWS__ROOM, 1024);
    CHECK_TEXT(&quiet, "hello");
    CHECK_EQ(t->listener.want, 0); /* no turn follows at once because of those who wait */
    CHECK(tws_server_timeout(s.server) <= 1);
    t->accept_us = UINT64_MAX / 2; /* as if it were not yet time */
    peer_say(&quiet, "again");
    CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK);
    CHECK_EQ(accepted_by(&s), 1 + TWS__ACCEPT_FEW);
    CHECK_TEXT(&quiet, "again");
    t->accept_us = 0;
    peer_server = s.server;
    PEER_UNTIL(accepted_by(&s) == 1 + NEW && t->listener.want == TWS_READ);
    t->first_ms = 0; /* as if that had been long ago */
    for (size_t i = NEW; i < 2 * NEW; i++) {
        CHECK(peer_open(&newcomer[i], port_of(&s)));
    }
    CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK);
    CHECK_EQ(accepted_by(&s), 1 + 2 * NEW);
    CHECK_EQ(t->slot[1 + NEW].peer->room * TWS__ROOM, 4096);
    for (size_t i = 0; i < 2 * NEW; i++) {
        peer_close(&newcomer[i]);
    }
    CHECK(peer_leave(&quiet, 1000));
    site_end(&s);
}

TEST("beside who goes first newcomers have ten places each millisecond, also behind one another")
{
    enum { NEW = 60 };
    static peer newcomer[NEW];
    const uint64_t begun_us = 1000000000;
    site s;
    site_init(&s);
    site_start(&s, false);
    tws__thread *t = s.server->thread[0];
    peer_server = NULL;
    for (size_t i = 0; i < 10; i++) {
        CHECK(peer_open(&newcomer[i], port_of(&s)));
        tws__thread_accept_some(t, begun_us + i);
        CHECK_EQ(accepted_by(&s), i + 1);
    }
    CHECK_EQ(t->listener_rests, true);
    tws__thread_accept_some(t, begun_us + 99);
    CHECK_EQ(t->listener_rests, true);
    tws__thread_accept_some(t, begun_us + 100); /* nobody: no place is taken */
    CHECK_EQ(t->listener_rests, false);
    for (size_t i = 10; i < NEW; i++) {
        CHECK(peer_open(&newcomer[i], port_of(&s)));
    }
    for (uint64_t us = 1000000; us <= 1001900; us += 190) {
        tws__thread_accept_some(t, begun_us + us);
        CHECK_EQ(accepted_by(&s), 20 + (us - 1000000) / 100);
        CHECK_EQ(t->listener_rests, true);
    }
    tws__thread_accept_some(t, UINT64_MAX);
    CHECK_EQ(accepted_by(&s), NEW);
    CHECK_EQ(t->listener_rests, false);
    for (size_t i = 0; i < NEW; i++) {
        peer_close(&newcomer[i]);
    }
    peer_server = s.server;
    PEER_UNTIL(connections(&s) == 0);
    site_end(&s);
}

TEST("who waits to be let in is let in where nobody goes first any more, or the listener closes")
{
    enum { NEW = 40 };
    static peer newcomer[NEW];
    for (size_t drains = 0; drains < 2; drains++) {
        site s;
        peer quiet;
        test_row("drains", drains);
        site_init(&s);
        s.desc.drain_ms = 100;
        tws__thread *t = begin_quiet(&s, &quiet);
        for (size_t i = 0; i < NEW; i++) {
            CHECK(peer_open(&newcomer[i], port_of(&s)));
            peer_ask(&newcomer[i], "GET", "/hello", NULL, NULL);
        }
        peer_say(&quiet, "hello");
        CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK);
        CHECK_EQ(t->listener_rests, true);
        t->accept_us = UINT64_MAX / 2;
        if (drains) {
            tws_server_stop(s.server);
        } else {
            t->first_ms = 0;
        }
        peer_server = s.server;
        for (size_t i = 0; i < NEW; i++) {
            CHECK_EQ(peer_answer(&newcomer[i]), 200);
            peer_close(&newcomer[i]);
        }
        CHECK_EQ(t->listener_rests, false);
        peer_close(&quiet);
        if (drains) {
            PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
        }
        site_end(&s);
    }
}

TEST("whoever waits to be let in waits on when there is no place for him")
{
    enum { NEW = 60, MOST = 4 };
    static peer newcomer[NEW];
    site s;
    peer quiet;
    site_init(&s);
    s.desc.max_connections = MOST;
    tws__thread *t = begin_quiet(&s, &quiet);
    for (size_t i = 0; i < NEW; i++) {
        CHECK(peer_open(&newcomer[i], port_of(&s)));
    }
    peer_say(&quiet, "hello");
    for (int i = 0; i < 1000 && !t->listener_paused; i++) {
        t->accept_us = 0;
        CHECK_EQ(tws_server_step(s.server, 1), TWS_OK);
    }
    CHECK_EQ(t->listener_paused, true);
    CHECK_EQ(t->listener_rests, false);
    CHECK_EQ(t->listener.want, 0);
    CHECK_EQ(accepted_by(&s), MOST + TWS__RESERVE);
    peer_server = s.server;
    for (size_t i = 0; i < NEW; i++) { /* each who goes makes room for one who waits */
        peer_close(&newcomer[i]);
    }
    PEER_UNTIL(accepted_by(&s) == 1 + NEW && t->listener.want == TWS_READ);
    peer_close(&quiet);
    site_end(&s);
}

TEST("others wait for who asks for next to nothing, and not for who is busy as they are")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    tws__thread *t = s.server->thread[0];
    tws_peer *served = t->slot[0].peer;
    t->first_ms = 0;
    served->spent = TWS__LITTLE / 2;
    served->epoch = tws__thread_epoch(t);
    CHECK(tws__peer_goes_first(served));
    CHECK(tws__peer_comes_first(served));
    CHECK_EQ(t->first_ms, 0);
    served->spent = TWS__LEAST;
    CHECK(tws__peer_comes_first(served));
    CHECK_EQ(t->first_ms, t->now_ms);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("a client that closes because it found a mistake has made none")
{
    site s;
    peer p;
    tws_server_stats n;
    site_init(&s);
    site_start(&s, false);
    for (unsigned i = 0; i < 2; i++) { /* 1009 from the client; then a message that has 1007 */
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
        CHECK(i == 0 ? peer_send_frame(&p, true, TWS_WS_CLOSE, "\x03\xf1", 2)
                     : peer_send_frame(&p, true, TWS_WS_TEXT, "\xff", 1));
        CHECK(!peer_message(&p));
        peer_close(&p);
        tws_server_stat(s.server, &n);
        CHECK_EQ(n.protocol_errors, i);
    }
    site_end(&s);
}

TEST("what is read at a time fits the work that it was")
{
    static char big[60000];
    static uint8_t small[60000];
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.max_message_bytes = 100000;
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", NULL), 101);
    const tws_peer *served = s.server->thread[0]->slot[0].peer;
    CHECK_EQ(served->room * TWS__ROOM, 4096);
    for (int i = 0; i < 5; i++) {
        CHECK(peer_send_frame(&p, true, TWS_WS_BINARY, big, sizeof big));
        CHECK(peer_message(&p));
    }
    CHECK(served->room * TWS__ROOM >= 32768);
    for (size_t i = 0; i < sizeof small; i += 6) {
        small[i] = 0x8a; /* pongs: they are not answered */
        small[i + 1] = 0x80;
    }
    CHECK(peer_send(&p, small, sizeof small));
    peer_say(&p, "behind");
    CHECK_TEXT(&p, "behind");
    CHECK(served->room * TWS__ROOM <= 8192);
    CHECK(peer_send(&p, small, sizeof small));
    peer_say(&p, "behind");
    do { /* as if somebody went first, all the time */
        s.server->thread[0]->first_ms = tws_sys_now_ms();
        CHECK_EQ(tws_server_step(s.server, 1), TWS_OK);
    } while (peer_receive(&p) && peer_rest(&p).len == 0);
    CHECK_TEXT(&p, "behind");
    CHECK(served->room * TWS__ROOM <= 1024);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("what a message inflates to is work, too")
{
    enum { COUNT = 300 };
    static char big[60000];
    static uint8_t packed[1024], sent[COUNT * 128];
    static uint32_t memory[TWS_DEFLATE_MEMORY(15, false) / sizeof(uint32_t)];
    static tws_deflate_scratch scratch;
    static const tws_ws_compression terms = {15, false, 0, 0};
    tws_deflater z;
    size_t len, n = 0;
    site s;
    peer p;
    tws_deflate_init(&z, memory, 15, 9, false);
    CHECK_EQ(tws_deflate_encode(&z, &scratch, big, sizeof big, true, packed, 120, &len), TWS_OK);
    for (int i = 0; i < COUNT; i++) {
        size_t header = tws_ws_header(sent + n, true, TWS_WS_BINARY, len, (const uint8_t *)"\0\0\0");
        sent[n] |= TWS_WS_RSV1;
        memcpy(sent + n + header, packed, len);
        n += header + len;
    }
    site_init(&s);
    s.desc.limits.max_message_bytes = 100000;
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    CHECK_EQ(peer_upgrade(&p, "/ws", "Sec-WebSocket-Extensions: permessage-deflate\r\n"), 101);
    tws_ws_allow_compressed(&p.decoder, &terms);
    const tws_peer *served = s.server->thread[0]->slot[0].peer;
    for (int i = 0; i < 5; i++) {
        CHECK(peer_send_frame(&p, true, TWS_WS_BINARY, big, sizeof big));
        CHECK(peer_message(&p));
    }
    CHECK(served->room * TWS__ROOM >= 32768);
    CHECK(peer_send(&p, sent, n));
    for (int i = 0; i < COUNT; i++) {
        CHECK(peer_message(&p));
    }
    CHECK(served->room * TWS__ROOM <= 4096);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

static void *stop_when_full(void *arg)
{
    const site *s = (const site *)arg;
    tws_server_stats n;
    do {
        sched_yield();
        tws_server_stat(s->server, &n);
    } while (n.upgrades < FLOODERS);
    tws_server_stop(s->server);
    return NULL;
}

TEST("a drain resets nobody, not even who floods it meanwhile")
{
    static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE "\r\n";
    pthread_t id;
    site s;
    crowd c;
    site_init(&s);
    s.desc.drain_ms = 200;
    site_start(&s, true);
    memset(&c, 0, sizeof c);
    c.port = port_of(&s);
    c.script = upgrade;
    c.script_len = sizeof upgrade - 1;
    c.flood = 16 * 60000;
    c.fill = 0x8a;
    c.answer_close = true;
    c.want = "\x03\xe9";
    c.count = FLOODERS;
    pthread_create(&id, NULL, stop_when_full, &s);
    crowd_run(&c);
    pthread_join(id, NULL);
    CHECK_EQ(c.resets, 0);
    CHECK_EQ(c.wanted, FLOODERS);
    site_end(&s);
}

/* -- out of memory, and stopped at any moment -- */

TEST("a server for which there is no memory is not made, and leaves nothing behind")
{
    size_t before = peer_descriptors();
    for (size_t n = 1;; n++) {
        site s;
        tws_status status;
        char memory[200];
        tws_buf error;
        site_init(&s);
        s.desc.threads = 2;
        tws_buf_fixed(&error, memory, sizeof memory);
        test_row("allocation", n);
        test_fail_at(n);
        errno = EMFILE; /* of an accept long ago, say */
        status = tws_server_create(&s.server, &s.desc);
        CHECK(status == TWS_OK || status == TWS_ERR_MEMORY);
        for (size_t i = 0; i < sizeof routes / sizeof *routes && status == TWS_OK; i++) {
            status = tws_server_route(s.server, &routes[i], &error);
            CHECK_EQ(error.len == 0, status == TWS_OK);
        }
        status = status == TWS_OK ? tws_server_listen(s.server, NULL) : status;
        bool whole = test_allocations() < n;
        test_fail_at(0);
        CHECK_EQ(status == TWS_OK, whole);
        tws_server_free(s.server);
        CHECK_EQ(test_live_blocks(), 0);
        CHECK_EQ(peer_descriptors(), before);
        if (whole) {
            break;
        }
    }
}

/* Everything that a connection can do, once. False where it ended before. */
static bool whole_session(const site *s, peer *p)
{
    static char big[60000];
    peer_open(p, port_of(s));
    peer_send_c(p, "GET /hello HTTP/1.1\r\nHo");
    peer_pause();
    peer_pause();
    peer_send_c(p, "st: a\r\n\r\n");
    if (peer_answer(p) != 200) {
        return false;
    }
    peer_send_c(p, "POST /back HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
    peer_pause();
    peer_pause();
    peer_send_c(p, "c\r\n0\r\n\r\n");
    if (peer_answer(p) != 200) {
        return false;
    }
    met.later = UINT64_MAX;
    peer_ask(p, "GET", "/later", NULL, NULL);
    for (int i = 0; i < 100 && met.later == UINT64_MAX; i++) {
        peer_pause();
    }
    while (tws_server_post(s->server, met.later, answer_now, (void *)(uintptr_t) "now") ==
           TWS_ERR_MEMORY) {
    }
    if (peer_answer(p) != 200 || peer_upgrade(p, "/ws", NULL) != 101) {
        return false;
    }
    peer_say(p, "flood");
    peer_send_frame(p, false, TWS_WS_TEXT, "hel", 3);
    peer_pause();
    peer_send_frame(p, true, TWS_WS_CONTINUATION, "lo", 2);
    peer_send_frame(p, true, TWS_WS_BINARY, big, sizeof big);
    while (peer_message(p) && p->opcode == TWS_WS_BINARY) {
    }
    if (!p->open || !tws_str_eq_c(tws_buf_view(&p->body), "hello")) {
        return false;
    }
    return peer_message(p) && p->body.len == sizeof big && peer_leave(p, 1000);
}

TEST("whatever allocation fails in a session, the server goes on and nothing leaks")
{
    size_t failures = 0;
    for (size_t n = 1;; n++) {
        site s;
        peer p, idle;
        test_row("allocation", n);
        site_init(&s);
        s.desc.max_per_ip = 10;
        site_start(&s, false);
        small_buffers(&s);
        peer_open(&idle, port_of(&s));
        PEER_UNTIL(connections(&s) == 1);
        test_fail_at(n);
        bool whole = whole_session(&s, &p);
        bool failed = test_allocations() >= n;
        test_fail_at(0);
        CHECK(whole || failed);
        failures += !whole;
        peer_close(&p);
        peer_close(&idle); /* its end lets a paused listener go on */
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_get(&p, "/hello", NULL), 200);
        peer_close(&p);
        site_end(&s);
        if (!failed) {
            break;
        }
        CHECK_EQ(test_live_blocks(), 0);
    }
    CHECK(failures > 5);
}

TEST("a connection for which there is no memory, or that cannot be watched, waits and is served")
{
    enum { FILL = 62 }; /* with poll(2) the next one makes the set grow */
    static peer p[FILL + 2];
    for (size_t n = 1; n <= 4; n++) {
        site s;
        test_row("allocation", n);
        site_init(&s);
        site_start(&s, false);
        for (size_t i = 0; i < FILL; i++) {
            peer_open(&p[i], port_of(&s));
        }
        PEER_UNTIL(connections(&s) == FILL);
        test_fail_at(n);
        for (size_t i = FILL; i < FILL + 2; i++) {
            peer_open(&p[i], port_of(&s));
            CHECK_EQ(peer_get(&p[i], "/hello", NULL), 200);
        }
        test_fail_at(0);
        for (size_t i = 0; i < FILL + 2; i++) {
            peer_close(&p[i]);
        }
        site_end(&s);
    }
}

TEST("stopped or freed at any moment, nothing leaks")
{
    static const char all[] =
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\nPOST /back HTTP/1.1\r\nHost: a\r\n"
        "Content-Length: 2\r\n\r\nhiGET /ws HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE
        "\r\n\x81\x85\0\0\0\0flood\x81\x85\0\0\0\0timer\x81\x85\0\0\0\0close";
    static const char later[] = "GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char stream[] = "GET /stream?n=100000 HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char upgrade[] = "GET /plain HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE "\r\n";
    const tws_str script[] = {tws_str_of(all, sizeof all - 1), tws_str_c(later), tws_str_c(stream),
                              tws_str_c(upgrade), tws_str_of(all, 50), tws_str_of(all, 20),
                              tws_str_c("bad\r\n\r\n")};
    enum { ALL = sizeof script / sizeof *script };
    size_t before = peer_descriptors();
    for (size_t k = 0; k < 3 * 14; k++) {
        size_t steps = k / 3;
        peer p[ALL];
        site s;
        test_row("step", k);
        site_init(&s);
        s.desc.max_connections = 5;
        site_start(&s, false);
        for (size_t i = 0; i < ALL; i++) {
            peer_open(&p[i], port_of(&s));
            peer_send(&p[i], script[i].ptr, script[i].len);
        }
        for (size_t i = 0; i < steps; i++) {
            tws_server_step(s.server, 0);
        }
        tws_server_post(s.server, met.later == UINT64_MAX ? 0 : met.later, take_post, &posted);
        if (k % 3 == 0) { /* freed as it is */
            peer_server = NULL;
            tws_server_free(s.server);
        } else {
            tws_server_stop(s.server);
            if (k % 3 == 1) {
                tws_server_step(s.server, 0);
            }
            site_end(&s);
        }
        for (size_t i = 0; i < ALL; i++) {
            peer_close(&p[i]);
        }
        CHECK_EQ(test_live_blocks(), 0);
        CHECK_EQ(peer_descriptors(), before);
    }
}

typedef struct hammer {
    int port;
    uint32_t over;
} hammer;

static void *hammer_on(void *arg)
{
    hammer *h = (hammer *)arg;
    while (__atomic_load_n(&h->over, __ATOMIC_SEQ_CST) == 0) {
        struct sockaddr_in a;
        peer p;
        peer_init(&p);
        p.fd = socket(AF_INET, SOCK_STREAM, 0);
        memset(&a, 0, sizeof a);
        a.sin_family = AF_INET;
        a.sin_port = htons((uint16_t)h->port);
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(p.fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) == 0) {
            peer_ask(&p, "GET", "/hello", NULL, NULL);
            if (peer_answer(&p) == 200 && peer_upgrade(&p, "/ws", NULL) == 101) {
                peer_say(&p, "hello");
                peer_message(&p);
            }
        }
        peer_close(&p);
    }
    return NULL;
}

TEST("four threads under load end when another one says so, at any moment")
{
    for (int i = 0; i < 12; i++) {
        pthread_t id[2];
        hammer h;
        site s;
        site_init(&s);
        s.desc.threads = 4;
        s.desc.drain_ms = i % 2 == 0 ? 20 : TWS_OFF;
        site_start(&s, true);
        h.port = port_of(&s);
        h.over = 0;
        pthread_create(&id[0], NULL, hammer_on, &h);
        pthread_create(&id[1], NULL, hammer_on, &h);
        poll(NULL, 0, i);
        tws_server_stop(s.server);
        poll(NULL, 0, i / 2);
        site_end(&s);
        __atomic_store_n(&h.over, 1, __ATOMIC_SEQ_CST);
        pthread_join(id[0], NULL);
        pthread_join(id[1], NULL);
    }
}

/* -- a host's mistakes -- */

static int mistake;

static void make_mistake(void *context, unsigned thread)
{
    static const tws_route late = {"GET", "/late", say_hello, NULL, NULL};
    tws_server *s = *(tws_server **)context;
    (void)thread;
    switch (mistake) {
    case 1: (void)tws_server_step(s, 0); break;
    case 2: (void)tws_server_route(s, &late, NULL); break;
    case 3: tws_server_free(s); break;
    default: break;
    }
}

TEST("a server that is stepped, given a route or freed while it runs stops the program")
{
    for (mistake = 0; mistake <= 3; mistake++) {
        test_row("mistake", (size_t)mistake);
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            tws_server *s;
            tws_server_desc desc;
            memset(&desc, 0, sizeof desc);
            desc.context = &s;
            desc.on_turn = make_mistake;
            (void)!freopen("/dev/null", "w", stderr); /* where the assertion speaks */
            bool good = tws_server_create(&s, &desc) == TWS_OK && tws_server_step(s, 0) == TWS_OK;
            _exit(good ? 0 : 1);
        }
        int status = -1;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(mistake == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                           : WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}
