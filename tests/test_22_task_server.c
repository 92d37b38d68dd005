/* test_22_task_server.c: the endpoint as its users meet it, over real sockets. */
#include "test.h"

#include "peer.h"

#include <sched.h>
#include <sys/wait.h>

#define TASKS "/api/v1/ws/tasks/"
#define SECRET "0123456789abcdef0123456789abcdef"
#define OTHER_SECRET "fedcba9876543210fedcba9876543210"

/* -- small things -- */

/* Formatted, living until the test's end. */
__attribute__((format(printf, 1, 2)))
static const char *text(const char *format, ...)
{
    char memory[8192];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(memory, sizeof memory, format, args);
    va_end(args);
    return (const char *)test_exact(memory, (size_t)n + 1);
}

static const char *sign(const char *claims, const char *secret, const char *kid)
{
    char memory[2048];
    tws_hmac_key key;
    tws_buf b;
    tws_hmac_key_init(&key, secret, strlen(secret));
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_jwt_sign(&b, &key, tws_str_c(kid), tws_str_c(claims));
    return text("%.*s", (int)b.len, b.ptr);
}

static long long in_seconds(int seconds)
{
    return (long long)(tws_sys_wall_ms() / 1000) + seconds;
}

static const char *token(const char *user, int seconds, const char *scope)
{
    return sign(
        text("{\"sub\":\"%s\",\"exp\":%lld,\"scope\":\"%s\"}", user, in_seconds(seconds), scope),
        SECRET, "");
}

static const char *bearer(const char *token_text)
{
    return text("Authorization: Bearer %s\r\n", token_text);
}

/* A member of a JSON text by its path, as it stands there (strings without quotes); "" without. */
static tws_str json(tws_str whole, const char *path)
{
    tws_str names = tws_str_c(path), name;
    while (tws_str_split(&names, '.', &name)) {
        tws_json_token value;
        if (tws_json_member(whole, name, &value) != TWS_OK) {
            return tws_str_c("");
        }
        whole = value.text;
    }
    return whole;
}

static uint64_t json_u64(tws_str whole, const char *path)
{
    uint64_t value = UINT64_MAX;
    tws_str_u64(json(whole, path), &value);
    return value;
}

/* -- what is logged: no token may ever be -- */

static struct {
    pthread_mutex_t lock;
    char text[65536];
    size_t len;
} logged = {PTHREAD_MUTEX_INITIALIZER, "", 0};

static void write_log(void *context, const char *line, size_t len)
{
    (void)context;
    pthread_mutex_lock(&logged.lock);
    if (len <= sizeof logged.text - logged.len) {
        memcpy(logged.text + logged.len, line, len);
        logged.len += len;
    }
    pthread_mutex_unlock(&logged.lock);
}

static bool was_logged(const char *part)
{
    return peer_contains(tws_str_of(logged.text, logged.len), part);
}

/* -- running it -- */

typedef struct site {
    tws_task_server_desc desc;
    tws_allocator allocator;
    tws_task_server *ts;
    tws_server *server;
    pthread_t id;
    bool threaded;
} site;

static void site_init(site *s)
{
    memset(s, 0, sizeof *s);
    logged.len = 0;
    s->allocator = test_allocator();
    s->desc.port = TWS_PORT_ANY;
    s->desc.jwt_secret = SECRET;
    s->desc.allocator = &s->allocator;
    s->desc.log.write = write_log;
    s->desc.limits.close_ms = 10000;
}

static void *site_main(void *arg)
{
    CHECK_EQ(tws_server_run((tws_server *)arg), TWS_OK);
    return NULL;
}

/* Stepped by who waits, unless it has its own threads. */
static void site_start(site *s, bool threaded)
{
    char memory[256];
    tws_buf error;
    tws_buf_fixed(&error, memory, sizeof memory);
    CHECK_EQ(tws_task_server_create(&s->ts, &s->desc, &error), TWS_OK);
    s->server = tws_task_server_base(s->ts);
    CHECK_EQ(tws_server_listen(s->server, &error), TWS_OK);
    CHECK_STR(tws_buf_view(&error), "");
    s->threaded = threaded;
    if (threaded) {
        pthread_create(&s->id, NULL, site_main, s->server);
    } else {
        peer_server = s->server;
    }
}

static void site_end(site *s)
{
    tws_server_stop(s->server);
    tws_server_stop(s->server);
    if (s->threaded) {
        pthread_join(s->id, NULL);
    } else {
        peer_server = NULL;
    }
    tws_task_server_free(s->ts);
}

static int port_of(const site *s)
{
    return tws_server_port(s->server);
}

static uint64_t connections(const site *s)
{
    tws_server_stats n;
    tws_server_stat(s->server, &n);
    return n.connections;
}

static tws_event_id publish(const site *s, const char *user, const char *event)
{
    tws_event_id id = {0, 0};
    CHECK_EQ(tws_task_server_publish(s->ts, user, event, strlen(event), &id), TWS_OK);
    return id;
}

static const char *id_text(tws_event_id id)
{
    return text("%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
}

/* Open a WebSocket at TASKS and the rest. */
static void watch(peer *p, const site *s, const char *rest, const char *fields)
{
    peer_open(p, port_of(s));
    CHECK_EQ(peer_upgrade(p, text("%s%s", TASKS, rest), fields), 101);
}

static const char *connected(const char *user, const char *last_id, bool resumed)
{
    return text("{\"type\":\"connected\",\"user_id\":\"%s\",\"heartbeat_s\":25,\"last_id\":\"%s\","
                "\"resumed\":%s}", user, last_id, resumed ? "true" : "false");
}

static const char *task(tws_event_id id, const char *data)
{
    return text("{\"type\":\"task\",\"id\":\"%s\",\"data\":%s}", id_text(id), data);
}

/* One request on a connection of its own: its status; p has the answer. */
static int ask(peer *p, const site *s, const char *method, const char *target, const char *fields,
               const char *body)
{
    peer_open(p, port_of(s));
    peer_ask(p, method, target, fields, body);
    return peer_answer(p);
}

/* The next line of an event stream. */
static const char *line(peer *p)
{
    size_t end = tws_str_find(peer_rest(p), '\n');
    while (end == peer_rest(p).len) {
        if (!peer_fill(p)) {
            return "(over)";
        }
        end = tws_str_find(peer_rest(p), '\n');
    }
    const char *out = text("%.*s", (int)end, peer_rest(p).ptr);
    p->at += end + 1;
    return out;
}

#define CHECK_LINE(p, want) CHECK_STR(tws_str_c(line(p)), want)

/* -- refusals: every word, its status, its close code -- */

static void check_http_refusal(const peer *p, int got, int status, const char *word)
{
    tws_str body = tws_buf_view(&p->body);
    CHECK_EQ(got, status);
    CHECK_STR(json(body, "error.code"), word);
    CHECK(json(body, "error.message").len > 10);
    CHECK_STR(peer_field(p, "Content-Type"), "application/json");
    CHECK_STR(peer_field(p, "WWW-Authenticate"), status == 401 ? "Bearer" : "");
    CHECK_STR(peer_field(p, "Retry-After"), status == 429 || status == 503 ? "1" : "");
}

static void check_ws_refusal(peer *p, int code, const char *word, bool retry)
{
    CHECK(peer_message(p));
    tws_str body = tws_buf_view(&p->body);
    CHECK_STR(json(body, "type"), "error");
    CHECK_STR(json(body, "code"), word);
    CHECK(json(body, "message").len > 10);
    CHECK_STR(json(body, "retry"), retry ? "true" : "false");
    CHECK_EQ(json_u64(body, "close"), code);
    CHECK_TEXT(p, text("closed %d %s", code, word));
    CHECK(peer_end(p));
}

enum { WS = 1, SSE = 2, GET = 4, POST = 8, ALL = 15, READS = 7 };

TEST("a request for tasks is refused in the same words over WebSocket, event stream and HTTP")
{
    const char *good = token("2", 100, ""), *worker = token("w", 100, "publish");
    const struct {
        const char *name, *user, *token, *rest, *fields;
        int kinds, http, close;
        const char *word;
        bool retry;
    } row[] = {
        {"an empty token", "2", "", "", "", ALL, 401, 4401, "token_missing", false},
        {"two tokens", "2", good, "&token=x", "", ALL, 401, 4401, "token_missing", false},
        {"no token", "2", NULL, "", "", ALL - WS, 401, 4401, "token_missing", false},
        {"no JWT", "2", "abc", "", "", ALL, 401, 4401, "token_malformed", false},
        {"alg none", "2", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIyIn0.", "", "", ALL, 401, 4401,
         "token_malformed", false},
        {"another key", "2",
         sign(text("{\"sub\":\"2\",\"exp\":%lld}", in_seconds(100)), OTHER_SECRET, ""), "", "", ALL,
         401, 4401, "token_signature", false},
        {"expired", "2", token("2", -60, "publish"), "", "", ALL, 401, 4401, "token_expired", true},
        {"not yet valid", "2",
         sign(text("{\"sub\":\"2\",\"exp\":%lld,\"nbf\":%lld}", in_seconds(900), in_seconds(500)),
              SECRET, ""),
         "", "", ALL, 401, 4401, "token_not_yet_valid", true},
        {"without exp", "2", sign("{\"sub\":\"2\"}", SECRET, ""), "", "", ALL, 401, 4401,
         "token_claims", false},
        {"without sub", "2", sign(text("{\"exp\":%lld}", in_seconds(100)), SECRET, ""), "", "", ALL,
         401, 4401, "token_claims", false},
        {"another user's", "3", good, "", "", READS, 403, 4403, "forbidden_user", false},
        {"not the exact id", "02", good, "", "", READS, 403, 4403, "forbidden_user", false},
        {"a worker that reads", "2", worker, "", "", READS, 403, 4403, "forbidden_user", false},
        {"a reader that publishes", "2", good, "", "", POST, 403, 4403, "forbidden_scope", false},
        {"a foreign origin", "2", good, "", "Origin: https://evil.example\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"a longer origin", "2", good, "", "Origin: https://app.example.evil\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"an origin that ends alike", "2", good, "", "Origin: https://evilapp.example\r\n", ALL, 403,
         4403, "forbidden_origin", false},
        {"a shorter origin", "2", good, "", "Origin: https://app.exampl\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"no browser's origin", "2", good, "", "Origin: null\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"an origin over HTTP", "2", good, "", "Origin: http://app.example\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"another port", "2", good, "", "Origin: https://app.example:8443\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"an empty origin", "2", good, "", "Origin:\r\n", ALL, 403, 4403,
         "forbidden_origin", false},
        {"since is no id", "2", good, "&since=x", "", READS, 400, 4400, "bad_request", false},
        {"since twice", "2", good, "&since=1-0&since=1-0", "", READS, 400, 4400, "bad_request",
         false},
        {"Last-Event-ID is no id", "2", good, "", "Last-Event-ID: 1-\r\n", READS, 400, 4400,
         "bad_request", false},
        {"an unknown format", "2", good, "&format=xml", "", WS + GET, 400, 4400, "bad_request",
         false},
        {"format twice", "2", good, "&format=raw&format=raw", "", READS, 400, 4400, "bad_request",
         false},
        {"a cut escape", "%2", good, "", "", ALL, 400, 4400, "bad_request", false},
        {"an escape of nothing", "%zz", good, "", "", ALL, 400, 4400, "bad_request", false},
        {"NUL", "%00", good, "", "", ALL, 400, 4400, "bad_request", false},
        {"not UTF-8", "%ff", good, "", "", ALL, 400, 4400, "bad_request", false},
        {"129 bytes", text("%0129d", 1), good, "", "", ALL, 400, 4400, "bad_request", false},
    };
    site s;
    site_init(&s);
    s.desc.origins = "https://other.example, https://app.example";
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        char target[1024], fields[256];
        test_row(row[i].name, i);
        snprintf(target, sizeof target, "%s%s?%s%s%s", TASKS, row[i].user,
                 row[i].token == NULL ? "a=b" : "token=", row[i].token == NULL ? "" : row[i].token,
                 row[i].rest);
        if ((row[i].kinds & WS) != 0) {
            peer_open(&p, port_of(&s));
            CHECK_EQ(peer_upgrade(&p, target, row[i].fields), 101);
            check_ws_refusal(&p, row[i].close, row[i].word, row[i].retry);
        }
        if ((row[i].kinds & SSE) != 0) {
            snprintf(fields, sizeof fields, "Accept: text/event-stream\r\n%s", row[i].fields);
            check_http_refusal(&p, ask(&p, &s, "GET", target, fields, NULL), row[i].http,
                               row[i].word);
            peer_close(&p);
        }
        if ((row[i].kinds & GET) != 0) {
            check_http_refusal(&p, ask(&p, &s, "GET", target, row[i].fields, NULL), row[i].http,
                               row[i].word);
            peer_close(&p);
        }
        if ((row[i].kinds & POST) != 0) {
            check_http_refusal(&p, ask(&p, &s, "POST", target, row[i].fields, "{}"), row[i].http,
                               row[i].word);
            peer_close(&p);
        }
        CHECK(was_logged(row[i].word));
        CHECK(row[i].token == NULL || strlen(row[i].token) < 4 || !was_logged(row[i].token));
    }
    test_row(NULL, 0);
    peer p;
    CHECK_EQ(ask(&p, &s, "GET", text("%s2?token=%s", TASKS, good),
                 "Origin: https://app.example\r\n", NULL),
             200);
    CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "https://app.example");
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", text("%s2?token=%s", TASKS, good), NULL, NULL), 200);
    CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), ""); /* no browser: no origin */
    peer_close(&p);
    CHECK_EQ(tws_hub_readers(s.ts->hub, tws_str_c("2")), 0);
    site_end(&s);
}

TEST("what is wrong with a request itself has its status and its word, too")
{
    static char big[70000];
    memset(big, ' ', sizeof big - 1);
    big[0] = '{';
    big[sizeof big - 2] = '}';
    const char *worker = bearer(token("w", 100, "publish"));
    const char *many = text("%sContent-Type: application/x-ndjson\r\n", worker);
    const struct {
        const char *name, *method, *target, *fields, *body;
        int status;
        const char *word, *message;
    } row[] = {
        {"another path", "GET", "/api/v1/ws/task/2", "", NULL, 404, "not_found", ""},
        {"an empty user", "GET", TASKS, "", NULL, 404, "not_found", ""},
        {"another method", "DELETE", TASKS "2", "", NULL, 405, "method_not_allowed", ""},
        {"POST to the status", "POST", "/api/v1/ws/status", worker, "{}", 405, "method_not_allowed",
         ""},
        {"no length", "POST", TASKS "2", worker, NULL, 411, "bad_request", "Content-Length"},
        {"too much", "POST", TASKS "2", worker, big, 413, "message_too_big", ""},
        {"not JSON", "POST", TASKS "2", worker, "{\"a\":", 400, "bad_request",
         "the body is not valid JSON"},
        {"no object", "POST", TASKS "2", worker, "[1]", 400, "bad_request",
         "the body is not a JSON object"},
        {"nothing", "POST", TASKS "2", worker, "", 400, "bad_request",
         "the body is not valid JSON"},
        {"two objects", "POST", TASKS "2", worker, "{}{}", 400, "bad_request",
         "the body is not valid JSON"},
        {"an event too big", "POST", TASKS "2", worker,
         "{\"a\":\"01234567890123456789012345678901234567890123456789\"}", 413, "message_too_big",
         "the body is larger than an event may be"},
        {"a bad line", "POST", TASKS "2", many, "{}\n\n  \r\n{\"a\":1}\r\n{]\n{}\n", 400,
         "bad_request", "line 5 is not valid JSON"},
        {"a line that is no object", "POST", TASKS "2", many, "1", 400, "bad_request",
         "line 1 is not a JSON object"},
        {"a line too big", "POST", TASKS "2", many,
         "{}\n{\"a\":\"01234567890123456789012345678901234567890123456789\"}", 413,
         "message_too_big", "line 2 is larger than an event may be"},
        {"a handshake without a version", "GET", TASKS "2",
         "Upgrade: websocket\r\nConnection: Upgrade\r\n", NULL, 400, "bad_request", ""},
        {"a handshake of another version", "GET", TASKS "2",
         "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
         NULL, 426, "bad_request", ""},
    };
    site s;
    site_init(&s);
    s.desc.max_event_bytes = 50;
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].name, i);
        int status = ask(&p, &s, row[i].method, row[i].target, row[i].fields, row[i].body);
        check_http_refusal(&p, status, row[i].status, row[i].word);
        CHECK(peer_contains(json(tws_buf_view(&p.body), "error.message"), row[i].message));
        peer_close(&p);
    }
    tws_hub_stats n;
    tws_hub_stat(s.ts->hub, &n);
    CHECK_EQ(n.published, 0); /* of several lines none, when one is bad */
    site_end(&s);
}

TEST("a message that cannot be taken is answered, and the connection goes on unless it must end")
{
    static const struct {
        const char *message, *part;
    } row[] = {
        {"{\"type\":\"ping\"}", "{\"type\":\"pong\"}"},
        {"{\"type\":\"ping\",\"type\":\"x\"}", "\"code\":\"bad_message\""},
        {"hello", "\"code\":\"bad_message\""},
        {"{}", "\"code\":\"bad_message\""},
        {"[]", "\"code\":\"bad_message\""},
        {"{\"type\":1}", "\"code\":\"bad_message\""},
        {"{\"type\":\"task\"}", "\"code\":\"bad_message\""},
        {"{\"type\":\"auth\"}", "\"code\":\"bad_message\""},
        {"{\"type\":\"auth\",\"token\":1}", "\"code\":\"bad_message\""},
        {"", "\"code\":\"bad_message\""},
    };
    static char big[70000];
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK_TEXT(&p, connected("2", "0-0", false));
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row(row[i].message, i);
        peer_say(&p, row[i].message);
        CHECK(peer_message(&p));
        tws_str answer = tws_buf_view(&p.body);
        CHECK(peer_contains(answer, row[i].part));
        CHECK_STR(json(answer, "close"), "");
        CHECK_STR(json(answer, "retry"), i == 0 ? "" : "false");
    }
    test_row(NULL, 0);
    peer_send_frame(&p, true, TWS_WS_BINARY, "{}", 2);
    check_ws_refusal(&p, 1003, "bad_message", false);
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&p));
    peer_send_frame(&p, true, TWS_WS_TEXT, big, sizeof big);
    CHECK(strncmp(peer_text(&p), "closed 1009 ", 12) == 0);
    CHECK(peer_end(&p));
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&p));
    peer_send_frame(&p, true, TWS_WS_TEXT, "\xc3\x28", 2);
    CHECK(strncmp(peer_text(&p), "closed 1007 ", 12) == 0);
    CHECK(peer_end(&p));
    site_end(&s);
}

/* -- where a token may stand -- */

TEST("a token is found in its places, the first one that has any decides")
{
    const char *good = token("2", 100, "");
    const struct {
        const char *name, *query, *fields;
        int kinds; /* where it is accepted */
        const char *protocol;
    } row[] = {
        {"the header", "", bearer(good), READS, ""},
        {"the header in another case", "", text("AUTHORIZATION: bEARER   %s\r\n", good), READS, ""},
        {"the query", text("?token=%s", good), "", READS, ""},
        {"the subprotocol", "", text("Sec-WebSocket-Protocol: taskws.v1, bearer.%s\r\n", good),
         READS, "taskws.v1"},
        {"the subprotocol alone", "", text("Sec-WebSocket-Protocol: bearer.%s\r\n", good), READS,
         ""},
        {"the cookie", "", text("Cookie: a=b; session=%s; c=d\r\n", good), READS, ""},
        {"another cookie", "", text("Cookie: other=%s\r\n", good), 0, ""},
        {"a good header, a bad query", "?token=bad", bearer(good), READS, ""},
        {"a bad header, a good query", text("?token=%s", good), bearer("bad"), 0, ""},
        {"another scheme, a good query", text("?token=%s", good), "Authorization: Basic eDp5\r\n",
         READS, ""},
        {"a bad query, a good cookie", "?token=bad", text("Cookie: session=%s\r\n", good), 0, ""},
        {"a bad subprotocol, a good cookie", "",
         text("Sec-WebSocket-Protocol: bearer.bad\r\nCookie: session=%s\r\n", good), 0, ""},
        {"a cookie from the same origin", "",
         text("Origin: http://a\r\nCookie: session=%s\r\n", good), READS, ""},
        {"a cookie from another origin", "",
         text("Origin: http://b\r\nCookie: session=%s\r\n", good), 0, ""},
    };
    site s;
    site_init(&s);
    s.desc.token_cookie = "session";
    s.desc.auth_ms = 50; /* for who brings none */
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].name, i);
        watch(&p, &s, text("2%s", row[i].query), row[i].fields);
        CHECK_STR(peer_field(&p, "Sec-WebSocket-Protocol"), row[i].protocol);
        CHECK(peer_message(&p));
        CHECK_STR(json(tws_buf_view(&p.body), "type"),
                  (row[i].kinds & WS) != 0 ? "connected" : "error");
        peer_close(&p);
        const char *target = text("%s2%s", TASKS, row[i].query);
        int status = ask(&p, &s, "GET", target, row[i].fields, NULL);
        CHECK_EQ(status == 200, (row[i].kinds & GET) != 0);
        peer_close(&p);
        status = ask(&p, &s, "GET", target, text("Accept: text/event-stream\r\n%s", row[i].fields),
                     NULL);
        CHECK_EQ(status == 200, (row[i].kinds & SSE) != 0);
        peer_close(&p);
    }
    site_end(&s);
}

TEST("a token may come as the first message; until then pings are answered and nothing is told")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    publish(&s, "2", "{\"task_id\":\"a\"}");
    watch(&p, &s, "2", NULL);
    peer_say(&p, "{\"type\":\"ping\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    peer_say(&p, "{\"type\":\"hello\"}");
    CHECK(peer_contains(tws_str_c(peer_text(&p)), "bad_message"));
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 100, "")));
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "type"), "connected");
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "data"), "{\"task_id\":\"a\"}");
    CHECK(peer_leave(&p, 1000));
    watch(&p, &s, "2", NULL); /* JSON is JSON, however it is written */
    peer_say(&p, "{\"\\u0074ype\":\"\\u0070ing\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    const char *plain = token("2", 100, "");
    peer_say(&p, text("{\"type\":\"\\u0061uth\",\"token\":\"\\u00%02x%s\"}", (unsigned)plain[0],
                      plain + 1));
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "type"), "connected");
    peer_close(&p);
    watch(&p, &s, "2", NULL);
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("3", 100, "")));
    check_ws_refusal(&p, 4403, "forbidden_user", false);
    watch(&p, &s, "2", NULL);
    peer_say(&p, "{\"type\":\"auth\",\"token\":\"x\"}");
    check_ws_refusal(&p, 4401, "token_malformed", false);
    site_end(&s);
}

TEST("who has shown no token sends no message longer than what one needs, and then may")
{
    static char long_token[TWS_JWT_MAX + 1], blanks[60001];
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    memset(long_token, 'x', TWS_JWT_MAX);
    memset(blanks, ' ', sizeof blanks - 1);
    watch(&p, &s, "2", NULL);
    char *message = (char *)malloc(sizeof blanks + 64);
    snprintf(message, sizeof blanks + 64, "{\"type\":\"ping\"%.*s}", 2 * TWS_JWT_MAX, blanks);
    peer_say(&p, message);
    CHECK_TEXT(&p, "closed 1009 a message longer than the limit");
    CHECK(peer_end(&p));
    watch(&p, &s, "2", NULL);
    snprintf(message, sizeof blanks + 64, "{\"type\":\"auth\",\"token\":\"\\u0078%s\"}",
             long_token + 1);
    peer_say(&p, message); /* as long as it may be, and heard */
    check_ws_refusal(&p, 4401, "token_malformed", false);
    watch(&p, &s, "2", NULL);
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 100, "")));
    CHECK_TEXT(&p, connected("2", "0-0", false));
    snprintf(message, sizeof blanks + 64, "{\"type\":\"ping\"%s}", blanks);
    peer_say(&p, message);
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    free(message);
    peer_close(&p);
    site_end(&s);
}

TEST("who brings no token in time is told auth_timeout")
{
    site s;
    peer p;
    site_init(&s);
    s.desc.auth_ms = 40;
    site_start(&s, false);
    watch(&p, &s, "2", NULL);
    check_ws_refusal(&p, 4408, "auth_timeout", true);
    watch(&p, &s, "2?format=raw", NULL); /* errors stay as they are */
    check_ws_refusal(&p, 4408, "auth_timeout", true);
    site_end(&s);
}

TEST("an admin reads any user's tasks, and a worker publishes to any user")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", bearer(token("w", 100, "publish")), "{\"a\":1}"), 202);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(token("root", 100, "x admin y")), NULL), 200);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", bearer(token("root", 100, "admin")), "{}"), 403);
    peer_close(&p);
    site_end(&s);
}

/* -- events, positions, formats -- */

TEST("events arrive live, byte for byte, from C and over HTTP, for every reader of that user")
{
    site s;
    peer a, b, other, worker;
    site_init(&s);
    site_start(&s, false);
    watch(&a, &s, text("2?token=%s", token("2", 100, "")), NULL);
    watch(&b, &s, text("2?token=%s", token("2", 100, "")), NULL);
    watch(&other, &s, text("3?token=%s", token("3", 100, "")), NULL);
    CHECK_TEXT(&a, connected("2", "0-0", false));
    CHECK_TEXT(&b, connected("2", "0-0", false));
    CHECK_TEXT(&other, connected("3", "0-0", false));
    static const char *const data =
        "{ \"task_id\" : \"x\",\t\"p\":1.50, \"t\":\"\\u00e9\xc3\xa9\" }";
    tws_event_id first = publish(&s, "2", data);
    CHECK_TEXT(&a, task(first, data));
    CHECK_TEXT(&b, task(first, data));
    CHECK_EQ(
        ask(&worker, &s, "POST", TASKS "2", bearer(token("w", 100, "publish")),
            "\r\n {\"n\":2}\t\r\n"),
        202);
    const char *id = text("%.*s", (int)json(tws_buf_view(&worker.body), "id").len,
                          json(tws_buf_view(&worker.body), "id").ptr);
    CHECK_STR(tws_buf_view(&worker.body), text("{\"id\":\"%s\"}", id));
    CHECK_TEXT(&a, text("{\"type\":\"task\",\"id\":\"%s\",\"data\":{\"n\":2}}", id));
    CHECK_TEXT(&b, text("{\"type\":\"task\",\"id\":\"%s\",\"data\":{\"n\":2}}", id));
    publish(&s, "3", "{\"n\":3}");
    CHECK(peer_message(&other));
    CHECK_STR(json(tws_buf_view(&other.body), "data"), "{\"n\":3}");
    peer_say(&a, "{\"type\":\"ping\"}");
    CHECK_TEXT(&a, "{\"type\":\"pong\"}"); /* and nothing of user 3 */
    CHECK(peer_leave(&a, 1000));
    CHECK(peer_leave(&b, 1000));
    CHECK(peer_leave(&other, 1000));
    peer_close(&worker);
    PEER_UNTIL(connections(&s) == 0);
    CHECK_EQ(tws_hub_readers(s.ts->hub, tws_str_c("2")), 0);
    site_end(&s);
}

TEST("many events go in as lines, and come out in their order")
{
    site s;
    peer p, worker;
    site_init(&s);
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&p));
    const char *fields = text("%sContent-Type: Application/X-NDJSON ; charset=utf-8\r\n",
                              bearer(token("w", 100, "publish")));
    CHECK_EQ(
        ask(&worker, &s, "POST", TASKS "2", fields, "{\"n\":1}\n\r\n \n{\"n\":2}\r\n  {\"n\":3} "),
        202);
    tws_str ids = json(tws_buf_view(&worker.body), "ids");
    tws_json_reader r;
    tws_json_init(&r, ids);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_ARRAY);
    for (int n = 1; n <= 3; n++) {
        tws_json_token id;
        CHECK_EQ(tws_json_next(&r, &id), TWS_JSON_STRING);
        CHECK_TEXT(&p, text("{\"type\":\"task\",\"id\":\"%.*s\",\"data\":{\"n\":%d}}",
                            (int)id.text.len, id.text.ptr, n));
    }
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_ARRAY_END);
    peer_close(&worker);
    CHECK_EQ(ask(&worker, &s, "POST", TASKS "2", fields, "\n\n"), 202);
    CHECK_STR(tws_buf_view(&worker.body), "{\"ids\":[]}");
    peer_close(&worker);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("the same Idempotency-Key stores an event once, for one user, and answers with the same id")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    const char *worker = bearer(token("w", 100, "publish"));
    const char *keyed = text("%sIdempotency-Key: k1\r\n", worker);
    char id[64];
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", keyed, "{\"n\":1}"), 202);
    snprintf(id, sizeof id, "%.*s", (int)p.body.len, p.body.ptr);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", keyed, "{\"n\":1}"), 202);
    CHECK_STR(tws_buf_view(&p.body), id);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "3", keyed, "{\"n\":1}"), 202);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", text("%sIdempotency-Key: k2\r\n", worker), "{\"n\":1}"),
             202);
    CHECK(!tws_str_eq_c(tws_buf_view(&p.body), id));
    peer_close(&p);
    const char *lines = text("%sContent-Type: application/x-ndjson\r\n", keyed);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(ask(&p, &s, "POST", TASKS "4", lines, "{}\n{}\n{}"), 202);
        peer_close(&p);
    }
    tws_hub_stats n;
    tws_hub_stat(s.ts->hub, &n);
    CHECK_EQ(n.published, 6);
    const char *two = text("%sIdempotency-Key: k1\r\nIdempotency-Key: k1\r\n", worker);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", two, "{}"), 400); /* one of a proxy's, perhaps */
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", text("%sIdempotency-Key: %0201d\r\n", worker, 1), "{}"),
             400);
    peer_close(&p);
    site_end(&s);
}

TEST("however long a body is, and however many come at once, who keeps up is given every event")
{
    enum { EVENTS = 1000, POSTS = 300 };
    site s;
    peer reader, p;
    tws_buf body;
    site_init(&s);
    site_start(&s, false);
    const char *worker = bearer(token("w", 100, "publish"));
    watch(&reader, &s, "2", bearer(token("2", 100, NULL)));
    CHECK_STR(json(tws_str_c(peer_text(&reader)), "type"), "connected");
    tws_buf_init(&body, NULL, SIZE_MAX);
    for (int i = 0; i < EVENTS; i++) {
        tws_buf_c(&body, text("{\"task_id\":%d,\"n\":%d}\n", i % 200, i));
    }
    tws_buf_put(&body, "", 1); /* a C string */
    const char *lines = text("%sContent-Type: application/x-ndjson\r\n", worker);
    CHECK_EQ(ask(&p, &s, "POST", TASKS "2", lines, body.ptr), 202);
    tws_buf_clear(&body);
    for (int i = 0; i < POSTS; i++) {
        tws_buf_c(&body, text("POST " TASKS "2 HTTP/1.1\r\nHost: a\r\n%sContent-Length: 10\r\n\r\n"
                              "{\"n\":%4d}", worker, EVENTS + i));
    }
    CHECK(peer_send(&p, body.ptr, body.len));
    for (int i = 0; i < EVENTS + POSTS; i++) {
        tws_str message = tws_str_c(peer_text(&reader));
        test_row("event", (size_t)i);
        CHECK_STR(json(message, "type"), "task");
        CHECK_STR(json(message, "data.n"), text("%d", i));
    }
    for (int i = 0; i < POSTS; i++) {
        CHECK_EQ(peer_answer(&p), 202);
    }
    tws_buf_free(&body);
    peer_close(&p);
    peer_close(&reader);
    site_end(&s);
}

/* Five events: two of task a, one each of b and of none. */
static void publish_story(const site *s, tws_event_id id[5])
{
    static const char *const event[5] = {
        "{\"task_id\":\"a\",\"p\":1}", "{\"task_id\":\"b\",\"p\":2}", "{\"p\":3}",
        "{\"task_id\":7,\"p\":4}", "{\"task_id\":\"a\",\"p\":5}"};
    for (size_t i = 0; i < 5; i++) {
        id[i] = publish(s, "2", event[i]);
        CHECK(i == 0 || tws_event_id_compare(id[i - 1], id[i]) < 0);
    }
}

TEST("a reader gets the latest event of each task first, or everything behind since, or a reset")
{
    static const char *const event[5] = {
        "{\"task_id\":\"a\",\"p\":1}", "{\"task_id\":\"b\",\"p\":2}", "{\"p\":3}",
        "{\"task_id\":7,\"p\":4}", "{\"task_id\":\"a\",\"p\":5}"};
    tws_event_id id[5];
    site s;
    site_init(&s);
    site_start(&s, false);
    publish_story(&s, id);
    const struct {
        const char *name, *since;
        bool resumed, reset;
        const char *order; /* of the events that follow */
    } row[] = {
        {"none", NULL, false, false, "134"},
        {"the beginning", "0-0", true, false, "01234"},
        {"the first", id_text(id[0]), true, false, "1234"},
        {"the fourth", id_text(id[3]), true, false, "4"},
        {"the last", id_text(id[4]), true, false, ""},
        {"before the first", "5-0", false, true, "134"},
        {"the future", "99999999999999-0", false, true, "134"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        for (int by_field = 0; by_field < (row[i].since == NULL ? 1 : 2); by_field++) {
            peer p;
            const char *query =
                row[i].since == NULL || by_field == 1 ? "" : text("&since=%s", row[i].since);
            const char *fields = by_field == 0 ? "" : text("Last-Event-ID: %s\r\n", row[i].since);
            test_row(row[i].name, i);
            watch(&p, &s, text("2?token=%s%s", token("2", 100, ""), query), fields);
            CHECK_TEXT(&p, connected("2", id_text(id[4]), row[i].resumed));
            if (row[i].reset) {
                CHECK_TEXT(&p, "{\"type\":\"reset\",\"reason\":\"position_gone\"}");
            }
            for (const char *c = row[i].order; *c != '\0'; c++) {
                size_t n = (size_t)(*c - '0');
                CHECK_TEXT(&p, task(id[n], event[n]));
            }
            peer_say(&p, "{\"type\":\"ping\"}");
            CHECK_TEXT(&p, "{\"type\":\"pong\"}");
            CHECK(peer_leave(&p, 1000));
        }
    }
    test_row(NULL, 0);
    peer p;
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(token("2", 100, "")), NULL), 200);
    CHECK_STR(tws_buf_view(&p.body),
              text("{\"user_id\":\"2\",\"tasks\":[%s,%s,%s],\"last_id\":\"%s\"}", event[1],
                   event[3], event[4], id_text(id[4])));
    CHECK_STR(peer_field(&p, "Content-Type"), "application/json");
    CHECK_STR(peer_field(&p, "Cache-Control"), "no-store");
    CHECK_STR(peer_field(&p, "X-Content-Type-Options"), "nosniff");
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "3", bearer(token("3", 100, "")), NULL), 200);
    CHECK_STR(tws_buf_view(&p.body), "{\"user_id\":\"3\",\"tasks\":[],\"last_id\":\"0-0\"}");
    peer_close(&p);
    site_end(&s);
}

TEST("a position that retention has passed is a reset and a snapshot, never a silent gap")
{
    site s;
    peer p;
    tws_event_id first, last = {0, 0};
    site_init(&s);
    s.desc.retain_events = 8;
    site_start(&s, false);
    first = publish(&s, "2", "{\"task_id\":\"a\",\"n\":0}");
    for (int n = 1; n <= 20; n++) {
        last = publish(&s, "2", text("{\"task_id\":\"%c\",\"n\":%d}", "ab"[n % 2], n));
    }
    watch(&p, &s, text("2?token=%s&since=%s", token("2", 100, ""), id_text(first)), NULL);
    CHECK_TEXT(&p, connected("2", id_text(last), false));
    CHECK_TEXT(&p, "{\"type\":\"reset\",\"reason\":\"position_gone\"}");
    CHECK(peer_contains(tws_str_c(peer_text(&p)), "{\"task_id\":\"b\",\"n\":19}"));
    CHECK_TEXT(&p, task(last, "{\"task_id\":\"a\",\"n\":20}"));
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* The n-th of the events below: plain and with their heads they are more than is laid in one
 * piece. */
static const char *shared_event(int n, int size)
{
    static char pad[6101];
    memset(pad, 'p', sizeof pad - 1);
    return text("{\"task_id\":\"t%d\",\"n\":%d,\"pad\":\"%.*s\"}", n % 3, n, size, pad);
}

/* The last message, inflated if it came compressed. */
static tws_str unpacked(const peer *p)
{
    static uint8_t memory[8192];
    static tws_inflater z;
    tws_inflate_window window;
    tws_inflate_event ev;
    if (!p->packed) {
        return tws_buf_view(&p->body);
    }
    tws_inflate_flat(&window, memory, sizeof memory, TWS_WS_MAX_WINDOW_BITS);
    tws_inflate_begin(&z, &window);
    CHECK_EQ(tws_inflate_decode(&z, (const uint8_t *)p->body.ptr, p->body.len, &ev), p->body.len);
    tws_inflate_finish(&z, &ev);
    CHECK_EQ(ev.type, TWS_INFLATE_END);
    return tws_str_of((const char *)memory, window.at);
}

TEST("readers who share a batch are given it whole and in order, each in its own way")
{
    static const tws_ws_compression terms = {TWS_WS_MAX_WINDOW_BITS, false, 0, 0};
    static const struct {
        const char *format;
        const char *offer; /* NULL: none */
        bool packed[3];    /* whether what begins with so many letters comes compressed */
    } row[] = {
        {"json", NULL, {false, false, false}},
        {"json", "permessage-deflate", {false, true, true}},
        {"json", "permessage-deflate", {false, true, true}},
        {"raw", NULL, {false, false, false}},
        {"json", NULL, {false, false, false}},
        {"json", "permessage-deflate; server_max_window_bits=9", {false, true, false}},
        {"raw", "permessage-deflate", {false, true, true}},
        {"raw", "permessage-deflate; server_max_window_bits=9", {false, true, false}},
        {"raw", NULL, {false, false, false}},
        {"json", "permessage-deflate", {false, true, true}},
    };
    static const int size[] = {20, 300, 6100};
    enum { READERS = sizeof row / sizeof *row, EVENTS = 30 };
    site s;
    peer reader[READERS], stream[2], worker;
    static char body[EVENTS * 2400];
    size_t len = 0;
    site_init(&s);
    site_start(&s, false);
    for (int i = 0; i < READERS; i++) {
        const char *offer = row[i].offer == NULL ? NULL
                            : text("Sec-WebSocket-Extensions: %s\r\n", row[i].offer);
        watch(&reader[i], &s, text("2?token=%s&format=%s", token("2", 100, ""), row[i].format),
              offer);
        if (offer != NULL) {
            tws_ws_allow_compressed(&reader[i].decoder, &terms);
        }
        CHECK(row[i].format[0] == 'r' || peer_message(&reader[i]));
    }
    for (int i = 0; i < 2; i++) {
        const char *fields = text("Accept: text/event-stream\r\n%s", bearer(token("2", 100, "")));
        CHECK_EQ(ask(&stream[i], &s, "GET", TASKS "2", fields, NULL), 200);
        CHECK_LINE(&stream[i], "event: connected");
        line(&stream[i]);
        CHECK_LINE(&stream[i], "id: 0-0");
        line(&stream[i]);
    }
    PEER_UNTIL(tws_hub_readers(s.ts->hub, tws_str_c("2")) == READERS + 2);
    for (int n = 0; n < EVENTS; n++) {
        len += (size_t)sprintf(body + len, "%s\n", shared_event(n, size[n % 3]));
    }
    CHECK_EQ(ask(&worker, &s, "POST", TASKS "2",
                 text("%sContent-Type: application/x-ndjson\r\n",
                      bearer(token("w", 100, "publish"))), body), 202);
    for (int n = 0; n < EVENTS; n++) {
        test_row("event", (size_t)n);
        for (int i = 0; i < READERS; i++) {
            CHECK(peer_message(&reader[i]));
            CHECK_EQ(reader[i].packed, row[i].packed[n % 3]);
            tws_str all = unpacked(&reader[i]);
            CHECK_STR(row[i].format[0] == 'r' ? all : json(all, "data"),
                      shared_event(n, size[n % 3]));
        }
        for (int i = 0; i < 2; i++) {
            CHECK(strncmp(line(&stream[i]), "id: ", 4) == 0);
            CHECK_LINE(&stream[i], text("data: %s", shared_event(n, size[n % 3])));
            CHECK_LINE(&stream[i], "");
        }
    }
    for (int i = 0; i < READERS; i++) {
        CHECK(peer_leave(&reader[i], 1000));
    }
    peer_close(&stream[0]);
    peer_close(&stream[1]);
    peer_close(&worker);
    site_end(&s);
}

TEST("the raw format is the worker's JSON alone, by the query or by the server's default")
{
    for (int by_default = 0; by_default < 2; by_default++) {
        site s;
        peer p, envelope;
        test_row("by default", (size_t)by_default);
        site_init(&s);
        s.desc.raw_format = by_default == 1;
        site_start(&s, false);
        publish(&s, "2", "{\"task_id\":\"a\",\"n\":1}");
        watch(&p, &s,
              text("2?token=%s%s", token("2", 20, ""), by_default == 1 ? "" : "&format=raw"), NULL);
        CHECK_TEXT(&p, "{\"task_id\":\"a\",\"n\":1}"); /* and no connected, no expiring */
        publish(&s, "2", "{\"n\":2}");
        CHECK_TEXT(&p, "{\"n\":2}");
        peer_say(&p, "what?");
        CHECK(peer_contains(tws_str_c(peer_text(&p)),
                            "{\"type\":\"error\",\"code\":\"bad_message\""));
        watch(&envelope, &s, text("2?token=%s&format=json", token("2", 100, "")), NULL);
        CHECK(peer_message(&envelope));
        CHECK_STR(json(tws_buf_view(&envelope.body), "type"), "connected");
        CHECK(peer_leave(&p, 1000));
        CHECK(peer_leave(&envelope, 1000));
        site_end(&s);
    }
}

/* Ask for an event stream, and pass over the lines of "connected". Returns the next one. */
static const char *stream_begins(peer *p, const site *s, const char *since)
{
    const char *from = since[0] == '\0' ? "" : text("Last-Event-ID: %s\r\n", since);
    CHECK_EQ(ask(p, s, "GET", TASKS "2", text("Accept: text/event-stream\r\n%s%s", from,
                                              bearer(token("2", 100, ""))), NULL), 200);
    CHECK_LINE(p, "event: connected");
    line(p);
    return line(p);
}

TEST("an event stream that ends before its first event goes on without a gap: connected has an id")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    CHECK_STR(tws_str_c(stream_begins(&p, &s, "")), "id: 0-0");
    CHECK_LINE(&p, "");
    peer_close(&p);
    const char *first = id_text(publish(&s, "2", "{\"n\":1}"));
    const char *second = id_text(publish(&s, "2", "{\"n\":2}"));
    stream_begins(&p, &s, "0-0");
    CHECK_LINE(&p, text("id: %s", first));
    peer_close(&p);
    /* A snapshot of nothing ends at the newest id as well. */
    CHECK_STR(tws_str_c(stream_begins(&p, &s, "")), text("id: %s", second));
    peer_close(&p);
    CHECK_STR(tws_str_c(stream_begins(&p, &s, second)), text("id: %s", second));
    peer_close(&p);
    /* Where a past follows, it may still break off in its midst. */
    publish(&s, "2", "{\"task_id\":\"a\"}");
    CHECK_STR(tws_str_c(stream_begins(&p, &s, "")), "");
    peer_close(&p);
    CHECK_STR(tws_str_c(stream_begins(&p, &s, second)), "");
    peer_close(&p);
    site_end(&s);
}

TEST("a snapshot of nothing ends at the newest id, and connected says so over WebSocket, too")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    const char *last = id_text(publish(&s, "2", "{\"n\":1}"));
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK_TEXT(&p, text("{\"type\":\"connected\",\"user_id\":\"2\",\"heartbeat_s\":25,\"last_id\":"
                        "\"%s\",\"resumed\":false,\"id\":\"%s\"}", last, last));
    CHECK(peer_leave(&p, 1000));
    /* A reset takes it back at once; who has resumed has a position. */
    watch(&p, &s, text("2?token=%s&since=5-0", token("2", 100, "")), NULL);
    CHECK_TEXT(&p, connected("2", last, false));
    CHECK_TEXT(&p, "{\"type\":\"reset\",\"reason\":\"position_gone\"}");
    CHECK(peer_leave(&p, 1000));
    watch(&p, &s, text("2?token=%s&since=%s", token("2", 100, ""), last), NULL);
    CHECK_TEXT(&p, connected("2", last, true));
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("an event stream carries the same events by id, and the server's words as named ones")
{
    tws_event_id id[5];
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 30;
    site_start(&s, false);
    publish_story(&s, id);
    const char *fields = text("Accept: text/event-stream\r\nLast-Event-ID: %s\r\n%s",
                              id_text(id[2]), bearer(token("2", 100, "")));
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", fields, NULL), 200);
    CHECK_STR(peer_field(&p, "Content-Type"), "text/event-stream");
    CHECK_STR(peer_field(&p, "Cache-Control"), "no-store, no-transform");
    CHECK_STR(peer_field(&p, "X-Accel-Buffering"), "no");
    CHECK_LINE(&p, "event: connected");
    CHECK_LINE(&p,
               text("data: {\"type\":\"connected\",\"user_id\":\"2\",\"heartbeat_s\":1,\"last_id\":"
                    "\"%s\",\"resumed\":true}",
                    id_text(id[4])));
    CHECK_LINE(&p, "");
    CHECK_LINE(&p, text("id: %s", id_text(id[3])));
    CHECK_LINE(&p, "data: {\"task_id\":7,\"p\":4}");
    CHECK_LINE(&p, "");
    CHECK_LINE(&p, text("id: %s", id_text(id[4])));
    CHECK_LINE(&p, "data: {\"task_id\":\"a\",\"p\":5}");
    CHECK_LINE(&p, "");
    tws_event_id broken = publish(&s, "2", "{\r\n\"a\":\n1}");
    const char *next = line(&p);
    size_t comments = 0;
    while (strcmp(next, ":") == 0 || next[0] == '\0') {
        next = line(&p);
    }
    CHECK_STR(tws_str_c(next), text("id: %s", id_text(broken)));
    CHECK_LINE(&p, "data: {  \"a\": 1}");
    CHECK_LINE(&p, "");
    for (int i = 0; i < 4; i++) { /* and in silence comments */
        comments += strcmp(line(&p), ":") == 0;
    }
    CHECK_EQ(comments, 2);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", text("%s2?since=5-0", TASKS),
                 text("Accept: text/plain;q=0.5, Text/Event-Stream;q=0.9\r\n%s",
                      bearer(token("2", 100, ""))), NULL), 200);
    for (int i = 0; i < 3; i++) {
        line(&p);
    }
    CHECK_LINE(&p, "event: reset");
    CHECK_LINE(&p, "data: {\"type\":\"reset\",\"reason\":\"position_gone\"}");
    peer_close(&p);
    PEER_UNTIL(connections(&s) == 0);
    CHECK_EQ(tws_hub_readers(s.ts->hub, tws_str_c("2")), 0);
    site_end(&s);
}

TEST("HEAD is answered on every route that GET has, and holds no reader")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    const char *fields = bearer(token("2", 100, "admin"));
    static const char *const target[] = {TASKS "2", "/api/v1/ws/status", "/health", "/ready",
                                         "/metrics"};
    for (size_t i = 0; i < sizeof target / sizeof *target; i++) {
        test_row(target[i], i);
        peer_open(&p, port_of(&s));
        peer_ask(&p, "HEAD", target[i], text("Connection: close\r\n%s", fields), NULL);
        while (peer_fill(&p)) {
        }
        tws_str all = peer_rest(&p);
        CHECK(peer_contains(all, "HTTP/1.1 200 OK\r\n"));
        CHECK(all.len > 4 && memcmp(all.ptr + all.len - 4, "\r\n\r\n", 4) == 0);
        peer_close(&p);
    }
    peer_open(&p, port_of(&s));
    peer_ask(&p, "HEAD", TASKS "2", text("Accept: text/event-stream\r\n%s", fields), NULL);
    CHECK_EQ(peer_answer(&p), 200);
    CHECK(peer_end(&p));
    PEER_UNTIL(connections(&s) == 0);
    CHECK_EQ(tws_hub_readers(s.ts->hub, tws_str_c("2")), 0);
    site_end(&s);
}

TEST("a user id is any text of up to 128 bytes, and is written so that JSON stays JSON")
{
    static const char *const path[] = {"%3C", "%01", "%22", "%C3%A9", "a%2Fb"};
    static const char *const id[] = {"<", "\x01", "\"", "\xc3\xa9", "a/b"};
    site s;
    site_init(&s);
    site_start(&s, false);
    for (size_t i = 0; i < 5; i++) {
        peer p;
        size_t times = 128 / strlen(id[i]);
        char target[1024] = TASKS, user[129] = "";
        tws_buf claims;
        char memory[2048];
        test_row(path[i], i);
        for (size_t k = 0; k < times; k++) {
            strcat(target, path[i]);
            strcat(user, id[i]);
        }
        tws_buf_fixed(&claims, memory, sizeof memory - 1);
        tws_buf_c(&claims, "{");
        tws_json_write_member(&claims, "sub", tws_str_c(user));
        tws_buf_c(&claims, text(",\"exp\":%lld}", in_seconds(100)));
        memory[claims.len] = '\0';
        const char *fields = bearer(sign(memory, SECRET, ""));
        peer_open(&p, port_of(&s));
        CHECK_EQ(peer_upgrade(&p, target, fields), 101);
        CHECK(peer_message(&p));
        CHECK(tws_json_valid(tws_buf_view(&p.body)));
        CHECK_STR(json(tws_buf_view(&p.body), "last_id"), "0-0");
        CHECK(peer_leave(&p, 1000));
        CHECK_EQ(ask(&p, &s, "GET", target, fields, NULL), 200);
        CHECK(tws_json_valid(tws_buf_view(&p.body)));
        peer_close(&p);
        CHECK_EQ(ask(&p, &s, "GET", target, text("Accept: text/event-stream\r\n%s", fields), NULL),
                 200);
        CHECK_LINE(&p, "event: connected");
        CHECK(tws_json_valid(tws_str_c(line(&p) + 6)));
        peer_close(&p);
    }
    site_end(&s);
}

/* -- the end of a token -- */

TEST("a token's end is told before, and closes; a new token of the same user puts it off")
{
    site s;
    peer ends, other, renews, raw, stream;
    site_init(&s);
    site_start(&s, false);
    watch(&renews, &s, text("2?token=%s", token("2", 6, "")), NULL);
    watch(&other, &s, text("2?token=%s", token("2", 6, "")), NULL);
    watch(&raw, &s, text("2?token=%s&format=raw", token("2", 6, "")), NULL);
    CHECK_EQ(ask(&stream, &s, "GET", TASKS "2",
                 text("Accept: text/event-stream\r\n%s", bearer(token("2", 6, ""))), NULL), 200);
    watch(&ends, &s, text("2?token=%s", token("2", 6, "")), NULL);
    peer *told[] = {&renews, &other, &ends};
    for (size_t i = 0; i < 3; i++) {
        test_row("peer", i);
        CHECK(peer_message(told[i]));
        CHECK(peer_message(told[i]));
        CHECK_STR(json(tws_buf_view(&told[i]->body), "type"), "expiring");
        CHECK(json_u64(tws_buf_view(&told[i]->body), "expires_in") <= 6);
    }
    test_row(NULL, 0);
    peer_say(&renews, "{\"type\":\"auth\",\"token\":\"bad\"}"); /* the old one still holds */
    CHECK(peer_message(&renews));
    CHECK_STR(json(tws_buf_view(&renews.body), "code"), "token_malformed");
    CHECK_STR(json(tws_buf_view(&renews.body), "close"), "");
    peer_say(&renews, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 1000, "")));
    peer_say(&other, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("3", 1000, "")));
    check_ws_refusal(&other, 4403, "forbidden_user", false);
    check_ws_refusal(&ends, 4401, "token_expired", true);
    check_ws_refusal(&raw, 4401, "token_expired", true);
    for (int i = 0; i < 4; i++) {
        line(&stream);
    }
    CHECK_LINE(&stream, "event: expiring");
    line(&stream);
    line(&stream);
    CHECK_LINE(&stream, "event: error");
    CHECK_STR(json(tws_str_c(line(&stream) + 6), "code"), "token_expired");
    CHECK(peer_end(&stream));
    peer_say(&renews, "{\"type\":\"ping\"}");
    CHECK_TEXT(&renews, "{\"type\":\"pong\"}");
    CHECK(peer_leave(&renews, 1000));
    site_end(&s);
}

TEST("tokens of a few seconds are told about one after the other, each when half of it is over")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 4, "")), NULL);
    CHECK(peer_message(&p)); /* connected */
    uint64_t sent_ms = tws_sys_now_ms();
    for (int i = 0, tries = 0; i < 3; i++) {
        const uint64_t begin = tws_sys_now_ms();
        test_row("token", (size_t)i);
        CHECK(peer_message(&p));
        if (tws_sys_now_ms() - sent_ms > 2500 && tries++ < 5) { /* the machine stood still: again */
            peer_close(&p);
            sent_ms = tws_sys_now_ms();
            watch(&p, &s, text("2?token=%s", token("2", 4, "")), NULL);
            CHECK(peer_message(&p));
            i = -1;
            continue;
        }
        CHECK_STR(json(tws_buf_view(&p.body), "type"), "expiring");
        CHECK(json_u64(tws_buf_view(&p.body), "expires_in") <= 4);
        CHECK(i == 0 || tws_sys_now_ms() - begin > 500); /* and not in a loop */
        sent_ms = tws_sys_now_ms();
        peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 4, "")));
    }
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* The one connection there is. */
static tws_peer *only_peer(const site *s)
{
    const tws__thread *t = s->server->thread[0];
    for (size_t i = 0; i < t->slot_cap; i++) {
        if (t->slot[i].peer != NULL) {
            return t->slot[i].peer;
        }
    }
    return NULL;
}

/* Does its timer stand where the wall clock is to be looked at again? */
static bool looks_in_a_minute(const site *s)
{
    const uint64_t now_ms = tws_sys_now_ms();
    const tws_peer *p = only_peer(s);
    return p->user_ms > now_ms + 30000 && p->user_ms <= now_ms + 60000;
}

static void timer_is_due(const site *s)
{
    tws_peer *p = only_peer(s);
    p->user_ms = tws_sys_now_ms();
    tws_timer_set(p->thread->loop, &p->timer, p->user_ms);
}

TEST("the wall clock is looked at once a minute: a token ends by it, also when it has been set")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 100000, "")), NULL);
    CHECK(peer_message(&p)); /* connected */
    CHECK(looks_in_a_minute(&s));
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 200000, "")));
    peer_say(&p, "{\"type\":\"ping\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    CHECK(looks_in_a_minute(&s));
    timer_is_due(&s);
    PEER_UNTIL(looks_in_a_minute(&s));
    ((tws__session *)tws_peer_data(only_peer(&s)))->expires_s = in_seconds(-1); /* set ahead */
    timer_is_due(&s);
    check_ws_refusal(&p, 4401, "token_expired", true);
    PEER_UNTIL(connections(&s) == 0);
    site_end(&s);
}

TEST("keys are replaced while running: new tokens need them, connections keep what they have")
{
    const tws_auth_key fresh[] = {{NULL, OTHER_SECRET, 32, 0}, {"k2", SECRET "x", 33, 0}};
    const char *claims = text("{\"sub\":\"2\",\"exp\":%lld}", in_seconds(100));
    const char *why = NULL;
    site s;
    peer p, before;
    site_init(&s);
    site_start(&s, true);
    watch(&before, &s, text("2?token=%s", sign(claims, SECRET, "")), NULL);
    CHECK(peer_message(&before));
    CHECK_EQ(tws_task_server_set_keys(s.ts, fresh, 0, &why), TWS_ERR_ARGUMENT);
    CHECK(why != NULL && strlen(why) > 5);
    const tws_auth_key empty = {NULL, "", 0, 0};
    CHECK_EQ(tws_task_server_set_keys(s.ts, &empty, 1, &why), TWS_ERR_ARGUMENT);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(sign(claims, SECRET, "")), NULL), 200);
    CHECK_EQ(tws_task_server_set_keys(s.ts, fresh, 2, &why), TWS_OK);
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(sign(claims, SECRET, ""))), 401);
    CHECK_STR(json(tws_buf_view(&p.body), "error.code"), "token_signature");
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(sign(claims, OTHER_SECRET, ""))), 200);
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(sign(claims, SECRET "x", "k2"))), 200);
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(sign(claims, SECRET "x", "k3"))), 401);
    peer_close(&p);
    tws_event_id id = publish(&s, "2", "{\"n\":1}");
    CHECK_TEXT(&before, task(id, "{\"n\":1}"));
    CHECK(peer_leave(&before, 1000));
    for (int i = 0; i < 50; i++) { /* whatever is verified meanwhile */
        CHECK_EQ(tws_task_server_set_keys(s.ts, fresh, 1 + (size_t)i % 2, &why), TWS_OK);
        CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(sign(claims, OTHER_SECRET, "")), NULL), 200);
        peer_close(&p);
    }
    site_end(&s);
}

/* -- a host's own rule -- */

static struct {
    tws_verdict verdict;
    size_t asked;
    tws_authorize last;
    char user[64], who[64];
    uint64_t tickets[64];
    size_t count;
    tws_task_server *ts;
    uint32_t over;
    pthread_mutex_t lock;
} host = {TWS_DENY, 0, {NULL, TWS_AUTH_READ, {NULL, 0}, 0}, "", "", {0}, 0, NULL, 0,
          PTHREAD_MUTEX_INITIALIZER};

static tws_verdict host_rule(void *context, const tws_authorize *q)
{
    CHECK(context == &host);
    pthread_mutex_lock(&host.lock);
    host.asked++;
    host.last = *q;
    snprintf(host.user, sizeof host.user, "%.*s", (int)q->user_id.len, q->user_id.ptr);
    tws_str who = tws_identity_user(q->who);
    snprintf(host.who, sizeof host.who, "%.*s", (int)who.len, who.ptr);
    if (host.verdict == TWS_LATER && host.count < 64) {
        host.tickets[host.count++] = q->ticket;
    }
    tws_verdict verdict = host.verdict;
    pthread_mutex_unlock(&host.lock);
    return verdict;
}

static void host_init(site *s, tws_verdict verdict)
{
    site_init(s);
    s->desc.authorize = host_rule;
    s->desc.context = &host;
    host.verdict = verdict;
    host.asked = 0;
    host.count = 0;
    host.over = 0;
}

TEST("a new token of an open connection is put before the host's rule as the first one was")
{
    for (int later = 0; later < 2; later++) {
        site s;
        peer p;
        host_init(&s, TWS_ALLOW);
        site_start(&s, false);
        host.ts = s.ts;
        watch(&p, &s, text("team?token=%s", token("guest", 1000, "")), NULL);
        CHECK(peer_message(&p));
        host.verdict = later ? TWS_LATER : TWS_DENY;
        peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("guest", 2000, "")));
        PEER_UNTIL(host.asked == 2);
        if (later) {
            PEER_UNTIL(host.count == 1);
            CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], false), TWS_OK);
        }
        check_ws_refusal(&p, 4403, "forbidden_user", false);
        site_end(&s);
    }
}

TEST("a late no to a new token ends the connection, though it has sent others since")
{
    site s;
    peer p;
    host_init(&s, TWS_ALLOW);
    site_start(&s, false);
    watch(&p, &s, text("team?token=%s", token("guest", 1000, "")), NULL);
    CHECK(peer_message(&p));
    host.verdict = TWS_LATER;
    for (size_t n = 1; n <= 3; n++) {
        peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("guest", 1000 + (int)n, "")));
        PEER_UNTIL(host.count == n);
    }
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
    peer_say(&p, "{\"type\":\"ping\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[1], false), TWS_OK);
    check_ws_refusal(&p, 4403, "forbidden_user", false);
    site_end(&s);
}

TEST("until the host has said yes to the last new token the old one holds, with its end")
{
    static const struct {
        const char *answers; /* the question's number, and y or n */
        const char *then;
    } rows[] = {
        {"", "token_expired"},
        {"1y", "token_expired"},
        {"1y1y", "token_expired"},
        {"2y", "pong"},
        {"2y1y", "pong"},
        {"1y2y", "pong"},
        {"1n", "forbidden_user"},
        {"1y1y2n", "forbidden_user"},
        {"2y2n", "forbidden_user"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        site s;
        peer p;
        test_row(rows[i].answers, i);
        host_init(&s, TWS_ALLOW);
        s.desc.token.leeway_s = TWS_OFF;
        site_start(&s, false);
        watch(&p, &s, text("team?token=%s", token("guest", 2, "")), NULL);
        CHECK(peer_message(&p));
        host.verdict = TWS_LATER;
        for (size_t n = 1; n <= 2; n++) {
            peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}",
                              token("guest", n == 1 ? 3600 : 100, "")));
            PEER_UNTIL(host.count == n);
        }
        for (const char *answer = rows[i].answers; *answer != '\0'; answer += 2) {
            CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[answer[0] - '1'], answer[1] == 'y'),
                     TWS_OK);
        }
        if (strcmp(rows[i].then, "pong") == 0) { /* past the old one's end */
            for (uint64_t until_ms = tws_sys_now_ms() + 2500; tws_sys_now_ms() < until_ms;) {
                peer_pause();
            }
            peer_say(&p, "{\"type\":\"ping\"}");
        }
        do { /* perhaps that the old one's end is near */
            CHECK(peer_message(&p));
        } while (tws_str_eq_c(json(tws_buf_view(&p.body), "type"), "expiring"));
        CHECK(peer_contains(tws_buf_view(&p.body), rows[i].then));
        peer_close(&p);
        site_end(&s);
    }
}

TEST("a yes to a new token that has ended meanwhile gives no more time, not even the leeway")
{
    site s;
    peer p;
    host_init(&s, TWS_ALLOW);
    site_start(&s, false);
    watch(&p, &s, text("team?token=%s", token("guest", 4, "")), NULL);
    CHECK(peer_message(&p));
    host.verdict = TWS_LATER;
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("guest", 2, "")));
    PEER_UNTIL(host.count == 1);
    for (uint64_t until_ms = tws_sys_now_ms() + 2100; tws_sys_now_ms() < until_ms;) {
        peer_pause();
    }
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
    do { /* that the old one's end is near */
        CHECK(peer_message(&p));
    } while (tws_str_eq_c(json(tws_buf_view(&p.body), "type"), "expiring") &&
             json_u64(tws_buf_view(&p.body), "expires_in") <= 4);
    CHECK(peer_contains(tws_buf_view(&p.body), "token_expired"));
    peer_close(&p);
    site_end(&s);
}

TEST("a host's rule replaces the built-in one, to read and to publish, and is cached")
{
    site s;
    peer p;
    host_init(&s, TWS_ALLOW);
    site_start(&s, false);
    const char *guest = bearer(token("guest", 100, ""));
    CHECK_EQ(ask(&p, &s, "GET", TASKS "team", guest, NULL), 200);
    CHECK_EQ(host.asked, 1);
    CHECK_EQ(host.last.action, TWS_AUTH_READ);
    CHECK_STR(tws_str_c(host.user), "team");
    CHECK_STR(tws_str_c(host.who), "guest");
    CHECK_EQ(peer_get(&p, TASKS "team", guest), 200);
    CHECK_EQ(peer_upgrade(&p, TASKS "team", guest), 101);
    CHECK_TEXT(&p, connected("team", "0-0", false));
    CHECK_EQ(host.asked, 1); /* known by now */
    CHECK(peer_leave(&p, 1000));
    CHECK_EQ(ask(&p, &s, "POST", TASKS "team", guest, "{}"), 202);
    CHECK_EQ(host.asked, 2);
    CHECK_EQ(host.last.action, TWS_AUTH_PUBLISH);
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", "/api/v1/ws/status", guest, NULL),
             200); /* no user's tasks: not asked */
    CHECK_EQ(host.asked, 2);
    peer_close(&p);
    host.verdict = TWS_DENY;
    const char *own = bearer(token("own", 100, "admin publish"));
    for (int i = 0; i < 2; i++) {
        check_http_refusal(&p, ask(&p, &s, "GET", TASKS "own", own, NULL), 403, "forbidden_user");
        peer_close(&p);
        check_http_refusal(&p, ask(&p, &s, "POST", TASKS "own", own, "{}"), 403, "forbidden_user");
        peer_close(&p);
    }
    CHECK_EQ(host.asked, 4);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "own", bearer("bad"), NULL), 401);
    CHECK_EQ(host.asked, 4);
    peer_close(&p);
    watch(&p, &s, text("own?token=%s", token("own", 99, "")), NULL);
    check_ws_refusal(&p, 4403, "forbidden_user", false);
    site_end(&s);
}

/* A look-up that takes its time, somewhere else. */
static void *host_answers(void *unused)
{
    (void)unused;
    while (__atomic_load_n(&host.over, __ATOMIC_SEQ_CST) == 0) {
        pthread_mutex_lock(&host.lock);
        uint64_t ticket = host.count > 0 ? host.tickets[--host.count] : UINT64_MAX;
        pthread_mutex_unlock(&host.lock);
        if (ticket == UINT64_MAX) {
            sched_yield();
            continue;
        }
        CHECK_EQ(tws_task_server_answer(host.ts, ticket, true), TWS_OK);
    }
    return NULL;
}

TEST("a host may answer later, from another thread, whatever it was asked about")
{
    pthread_t id;
    site s;
    peer p;
    host_init(&s, TWS_LATER);
    s.desc.threads = 2;
    site_start(&s, true);
    host.ts = s.ts;
    pthread_create(&id, NULL, host_answers, NULL);
    for (int i = 0; i < 20; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%d", i);
        CHECK_EQ(ask(&p, &s, "POST", text("%s%s", TASKS, user), bearer(token("w", 100, "")),
                     "{\"task_id\":\"a\"}"), 202);
        CHECK_EQ(peer_get(&p, text("%s%s", TASKS, user), bearer(token("w", 100, ""))), 200);
        CHECK(peer_contains(tws_buf_view(&p.body), "{\"task_id\":\"a\"}"));
        peer_close(&p);
        watch(&p, &s, text("%s?token=%s", user, token("v", 100, "")), NULL);
        CHECK(peer_message(&p));
        CHECK_STR(json(tws_buf_view(&p.body), "type"), "connected");
        CHECK(peer_leave(&p, 1000));
        CHECK_EQ(ask(&p, &s, "GET", text("%s%s", TASKS, user),
                     text("Accept: text/event-stream\r\n%s", bearer(token("x", 100, ""))), NULL),
                 200);
        CHECK_LINE(&p, "event: connected");
        peer_close(&p);
        watch(&p, &s, user, NULL);
        peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("y", 100, "")));
        CHECK(peer_message(&p));
        CHECK_STR(json(tws_buf_view(&p.body), "type"), "connected");
        CHECK(peer_leave(&p, 1000));
    }
    __atomic_store_n(&host.over, 1, __ATOMIC_SEQ_CST);
    pthread_join(id, NULL);
    site_end(&s);
}

TEST("who waits for a host's answer when a drain is over is told so, and a late one finds nobody")
{
    for (int row = 0; row < 3; row++) {
        const char *accept = row == 1 ? "Accept: text/event-stream\r\n" : "";
        const char *fields = text("%s%s", accept, bearer(token("2", 100, "publish")));
        site s;
        peer p;
        test_row("request", (size_t)row);
        host_init(&s, TWS_LATER);
        s.desc.drain_ms = 200;
        site_start(&s, false);
        peer_open(&p, port_of(&s));
        peer_ask(&p, row == 2 ? "POST" : "GET", TASKS "2", fields, row == 2 ? "{\"n\":1}" : NULL);
        PEER_UNTIL(host.count == 1);
        tws_server_stop(s.server);
        const uint64_t begin = tws_sys_now_ms();
        check_http_refusal(&p, peer_answer(&p), 503, "draining");
        CHECK(tws_sys_now_ms() - begin >= 200); /* it might have come in time */
        CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
        CHECK(peer_end(&p));
        PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
        site_end(&s);
    }
}

TEST("at the end of a drain nobody is told draining whose event may have been stored")
{
    site s;
    peer p;
    host_init(&s, TWS_LATER);
    s.desc.drain_ms = 20;
    s.desc.limits.close_ms = 20;
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    peer_ask(&p, "POST", TASKS "2", bearer(token("2", 100, "publish")), "{\"n\":1}");
    PEER_UNTIL(host.count == 1);
    ((tws__session *)tws_peer_data(only_peer(&s)))->phase = TWS__STORING; /* as with Redis */
    tws_server_stop(s.server);
    PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
    while (peer_fill(&p)) {
    }
    CHECK_EQ(peer_rest(&p).len, 0);
    CHECK(p.eof && !p.reset);
    peer_close(&p);
    site_end(&s);
}

TEST("a later answer is remembered with the token, be it yes or no")
{
    for (int allowed = 0; allowed < 2; allowed++) {
        site s;
        peer p;
        host_init(&s, TWS_LATER);
        site_start(&s, false);
        const char *fields = bearer(token("2", 100, ""));
        peer_open(&p, port_of(&s));
        peer_ask(&p, "GET", TASKS "2", fields, NULL);
        PEER_UNTIL(host.count == 1);
        CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], allowed != 0), TWS_OK);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(peer_answer(&p), allowed != 0 ? 200 : 403);
            peer_ask(&p, "GET", TASKS "2", fields, NULL);
        }
        CHECK_EQ(host.asked, 1);
        peer_close(&p);
        site_end(&s);
    }
}

TEST("an answer that comes twice is none to what the same connection is asked next")
{
    site s;
    peer p;
    host_init(&s, TWS_LATER);
    site_start(&s, false);
    peer_open(&p, port_of(&s));
    peer_ask(&p, "GET", TASKS "ann", bearer(token("2", 100, "")), NULL);
    PEER_UNTIL(host.count == 1);
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
    CHECK_EQ(peer_answer(&p), 200);
    peer_ask(&p, "GET", TASKS "bob", bearer(token("2", 100, "")), NULL);
    PEER_UNTIL(host.count == 2);
    CHECK(host.tickets[0] != 0 && host.tickets[1] != 0 && host.tickets[0] != host.tickets[1]);
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
    CHECK_EQ(tws_task_server_answer(s.ts, 0, true), TWS_OK); /* nobody's */
    for (int k = 0; k < 20; k++) {
        peer_pause();
    }
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[1], false), TWS_OK);
    CHECK_EQ(peer_answer(&p), 403);
    peer_close(&p);
    site_end(&s);
}

TEST("an answer for who has gone, in whatever way, does nothing")
{
    static const char *const how[] = {"an end", "a close frame, the socket stays", "a reset",
                                      "a drain"};
    for (size_t i = 0; i < 4; i++) {
        for (int websocket = 0; websocket < 2; websocket++) {
            struct linger none = {1, 0};
            site s;
            peer p;
            test_row(how[i], i);
            host_init(&s, TWS_LATER);
            site_start(&s, false);
            peer_open(&p, port_of(&s));
            peer_ask(&p, "GET", text("%s2?token=%s", TASKS, token("2", 100, "")),
                     websocket != 0 ? PEER_UPGRADE : NULL, NULL);
            PEER_UNTIL(host.count == 1);
            if (i == 1 && websocket != 0) {
                CHECK_EQ(peer_answer(&p), 101);
                peer_send(&p, "\x88\x82\0\0\0\0\x03\xe8", 8);
            } else if (i == 3) {
                tws_server_stop(s.server);
            } else if (i != 1) {
                setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &none,
                           (socklen_t)(i == 2 ? sizeof none : 0));
                peer_close(&p);
            }
            for (int k = 0; k < 20; k++) {
                peer_pause();
            }
            CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
            CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], false),
                     TWS_OK); /* once too often */
            for (int k = 0; k < 20; k++) {
                peer_pause();
            }
            peer_close(&p);
            site_end(&s);
        }
    }
}

TEST("while the host thinks, a WebSocket is kept alive and takes no second token")
{
    site s;
    peer p;
    host_init(&s, TWS_LATER);
    s.desc.limits.heartbeat_ms = 30;
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    peer_say(&p, "{\"type\":\"ping\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    peer_say(&p, text("{\"type\":\"auth\",\"token\":\"%s\"}", token("2", 100, "")));
    CHECK(peer_contains(tws_str_c(peer_text(&p)), "bad_message"));
    while (p.pings == 0 && peer_fill(&p)) {
        peer_decode(&p);
    }
    publish(&s, "2", "{\"task_id\":\"a\"}");
    CHECK_EQ(tws_task_server_answer(s.ts, host.tickets[0], true), TWS_OK);
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "type"), "connected");
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "data"), "{\"task_id\":\"a\"}");
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* -- limits, deadlines, drain -- */

TEST("a user has so many readers and an address so many connections; beyond, 4429 and 429")
{
    site s;
    peer in[2], p;
    site_init(&s);
    s.desc.max_per_user = 2;
    site_start(&s, false);
    const char *query = text("2?token=%s", token("2", 100, ""));
    for (size_t i = 0; i < 2; i++) {
        watch(&in[i], &s, query, NULL);
        CHECK(peer_message(&in[i]));
    }
    watch(&p, &s, query, NULL);
    check_ws_refusal(&p, 4429, "too_many_connections", true);
    const char *fields = text("Accept: text/event-stream\r\n%s", bearer(token("2", 100, "")));
    check_http_refusal(&p, ask(&p, &s, "GET", TASKS "2", fields, NULL), 429,
                       "too_many_connections");
    peer_close(&p);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(token("2", 100, "")), NULL),
             200); /* no reader stays */
    peer_close(&p);
    CHECK(peer_leave(&in[0], 1000));
    PEER_UNTIL(connections(&s) == 1);
    watch(&p, &s, query, NULL);
    CHECK_TEXT(&p, connected("2", "0-0", false));
    CHECK(peer_leave(&p, 1000));
    CHECK(peer_leave(&in[1], 1000));
    site_end(&s);
    site_init(&s);
    s.desc.max_per_ip = 1;
    site_start(&s, false);
    watch(&in[0], &s, query, NULL);
    CHECK(peer_message(&in[0]));
    watch(&p, &s, query, NULL);
    check_ws_refusal(&p, 4429, "too_many_connections", true);
    check_http_refusal(&p, ask(&p, &s, "GET", TASKS "2", bearer(token("2", 100, "")), NULL), 429,
                       "too_many_connections");
    peer_close(&p);
    CHECK(peer_leave(&in[0], 1000));
    site_end(&s);
}

TEST("a full server says overloaded, 1013 and 503")
{
    site s;
    peer in, p;
    site_init(&s);
    s.desc.max_connections = 1;
    site_start(&s, false);
    watch(&in, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&in));
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    check_ws_refusal(&p, 1013, "overloaded", true);
    check_http_refusal(&p, ask(&p, &s, "GET", TASKS "2", bearer(token("2", 100, "")), NULL), 503,
                       "overloaded");
    CHECK_STR(peer_field(&p, "Connection"), "close");
    CHECK(peer_end(&p));
    CHECK_EQ(ask(&p, &s, "GET", "/health", NULL, NULL), 200);
    CHECK(peer_end(&p));
    CHECK(peer_leave(&in, 1000));
    site_end(&s);
}

TEST("a silent client is told heartbeat_timeout")
{
    site s;
    peer p;
    site_init(&s);
    s.desc.limits.heartbeat_ms = 40;
    s.desc.limits.answer_ms = 40;
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&p));
    p.silent = true;
    check_ws_refusal(&p, 4408, "heartbeat_timeout", true);
    site_end(&s);
}

TEST("a drain tells every reader, the ready route, and whoever still asks")
{
    site s;
    peer ws, sse, keep, p;
    site_init(&s);
    s.desc.drain_ms = 300;
    site_start(&s, false);
    watch(&ws, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&ws));
    CHECK_EQ(ask(&sse, &s, "GET", TASKS "2",
                 text("Accept: text/event-stream\r\n%s", bearer(token("2", 100, ""))), NULL), 200);
    peer_open(&keep, port_of(&s));
    peer_send_c(&keep, "GET /ready HTTP/1.1\r\n");
    peer_open(&p, port_of(&s));
    peer_send_c(&p, text("GET %s2 HTTP/1.1\r\nHost: a\r\n", TASKS));
    PEER_UNTIL(connections(&s) == 4);
    for (int i = 0; i < 10; i++) {
        peer_pause();
    }
    tws_server_stop(s.server);
    check_ws_refusal(&ws, 1001, "draining", true);
    for (int i = 0; i < 4; i++) {
        line(&sse);
    }
    CHECK_LINE(&sse, "event: error");
    CHECK_STR(json(tws_str_c(line(&sse) + 6), "code"), "draining");
    CHECK(peer_end(&sse));
    peer_send_c(&keep, "Host: a\r\n\r\n");
    CHECK_EQ(peer_answer(&keep), 503);
    CHECK_STR(tws_buf_view(&keep.body), "{\"status\":\"unavailable\",\"reason\":\"draining\"}");
    CHECK(peer_end(&keep));
    peer_send_c(&p, text("%s\r\n", bearer(token("2", 100, ""))));
    check_http_refusal(&p, peer_answer(&p), 503, "draining");
    CHECK(peer_end(&p));
    PEER_UNTIL(tws_server_step(s.server, 1) == TWS_ERR_CLOSED);
    site_end(&s);
}

/* Whoever connects from now on is served through a socket with little room. */
static void small_buffers(const site *s)
{
    int bytes = 4096, listener = s->server->thread[0]->listener.fd;
    setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &bytes, (socklen_t)sizeof bytes);
}

static void open_small(peer *p, const site *s)
{
    peer_init(p);
    p->fd = peer_socket(NULL, port_of(s), 4096);
    CHECK_EQ(peer_upgrade(p, text("%s2?token=%s", TASKS, token("2", 100, "")), NULL), 101);
}

TEST("a reader that falls behind is told so, and given the last status of every task")
{
    enum { TASKS_IN_ALL = 5, EVENTS = 3000 };
    site s;
    peer p;
    int last[TASKS_IN_ALL] = {0};
    size_t events = 0, resets = 0;
    bool over = false;
    site_init(&s);
    s.desc.retain_events = 16;
    site_start(&s, false);
    small_buffers(&s);
    open_small(&p, &s);
    CHECK_TEXT(&p, connected("2", "0-0", false));
    for (int n = 1; n <= EVENTS; n++) {
        publish(&s, "2",
                text("{\"task_id\":\"%d\",\"n\":%d,\"x\":\"%0100d\"}", n % TASKS_IN_ALL, n, 0));
        tws_server_step(s.server, 0);
    }
    tws_event_id end = publish(&s, "2", "{\"task_id\":\"end\"}");
    while (!over && peer_message(&p)) {
        tws_str body = tws_buf_view(&p.body);
        if (tws_str_eq_c(json(body, "type"), "reset")) {
            CHECK_STR(json(body, "reason"), "slow_consumer");
            resets++;
            memset(last, 0, sizeof last); /* forget older state */
            continue;
        }
        events++;
        over = tws_str_eq_c(json(body, "id"), id_text(end));
        if (!over) {
            int n = (int)json_u64(body, "data.n");
            CHECK(n > last[n % TASKS_IN_ALL]);
            last[n % TASKS_IN_ALL] = n;
        }
    }
    CHECK(over);
    CHECK(resets >= 1);
    CHECK(events < EVENTS); /* what it was too slow for was left out */
    for (int i = 0; i < TASKS_IN_ALL; i++) {
        CHECK_EQ(last[i], EVENTS - TASKS_IN_ALL + (i == 0 ? TASKS_IN_ALL : i));
    }
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

TEST("a reader that takes nothing is closed with slow_consumer and resumes without a gap")
{
    site s;
    peer slow, p;
    site_init(&s);
    s.desc.limits.stall_ms = 200;
    s.desc.retain_events = 4000;
    s.desc.retain_bytes = 4u << 20;
    site_start(&s, false);
    small_buffers(&s);
    open_small(&slow, &s);
    CHECK_TEXT(&slow, connected("2", "0-0", false));
    for (int n = 0; n < 1000; n++) {
        publish(&s, "2", text("{\"n\":%d,\"x\":\"%0100d\"}", n, 0));
    }
    tws_server_stats stats;
    do {
        peer_pause();
        tws_server_stat(s.server, &stats);
    } while (stats.timeouts == 0);
    uint64_t next = 0;
    char id[64] = "0-0";
    while (peer_message(&slow) && tws_str_eq_c(json(tws_buf_view(&slow.body), "type"), "task")) {
        tws_str body = tws_buf_view(&slow.body), at = json(body, "id");
        CHECK_EQ(json_u64(body, "data.n"), next);
        snprintf(id, sizeof id, "%.*s", (int)at.len, at.ptr);
        next++;
    }
    CHECK_STR(json(tws_buf_view(&slow.body), "code"), "slow_consumer");
    CHECK_STR(json(tws_buf_view(&slow.body), "retry"), "true");
    CHECK_TEXT(&slow, "closed 4409 slow_consumer");
    CHECK(peer_end(&slow));
    CHECK(next < 1000);
    watch(&p, &s, text("2?token=%s&since=%s", token("2", 100, ""), id), NULL);
    CHECK(peer_message(&p));
    CHECK_STR(json(tws_buf_view(&p.body), "resumed"), "true");
    for (; next < 1000 && peer_message(&p); next++) {
        CHECK_EQ(json_u64(tws_buf_view(&p.body), "data.n"), next);
    }
    CHECK_EQ(next, 1000);
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

/* Another connection's request, in which that peer takes all that there is for it. */
static void on_taking(tws_peer *p, const tws_http_request *request, void *context)
{
    peer *other = (peer *)context;
    char memory[8192];
    long n;
    (void)request;
    while ((n = recv(other->fd, memory, sizeof memory, MSG_DONTWAIT)) > 0) {
        tws_buf_str(&other->in, tws_str_of(memory, (size_t)n));
    }
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c("taken"));
}

TEST("a reader that has taken something when its deadline is looked at goes on, to the last event")
{
    site s;
    peer slow, p;
    char memory[256];
    tws_buf error;
    tws_route route = {"GET", "/take", on_taking, NULL, &slow};
    site_init(&s);
    s.desc.limits.stall_ms = 400;
    s.desc.retain_events = 4000;
    s.desc.retain_bytes = 4u << 20;
    site_start(&s, false);
    tws_buf_fixed(&error, memory, sizeof memory);
    CHECK_EQ(tws_server_route(s.server, &route, &error), TWS_OK);
    small_buffers(&s);
    open_small(&slow, &s);
    CHECK_TEXT(&slow, connected("2", "0-0", false));
    peer_open(&p, port_of(&s));
    for (int i = 0; i < 10; i++) {
        tws_server_step(s.server, 1);
    }
    for (int n = 0; n < 1000; n++) {
        publish(&s, "2", text("{\"n\":%d,\"x\":\"%0100d\"}", n, 0));
    }
    for (int i = 0; i < 10; i++) {
        tws_server_step(s.server, 1);
    }
    poll(NULL, 0, 500); /* its deadline passes; then, in one turn, that request and the deadline */
    peer_ask(&p, "GET", "/take", NULL, NULL);
    poll(NULL, 0, 20);
    tws_server_step(s.server, 0);
    uint64_t next = 0;
    while (next < 1000 && peer_message(&slow)) {
        CHECK_EQ(json_u64(tws_buf_view(&slow.body), "data.n"), next);
        next++;
    }
    CHECK_EQ(next, 1000);
    CHECK(peer_leave(&slow, 1000));
    site_end(&s);
}

/* -- the other routes -- */

TEST("health, ready, status and metrics say what there is")
{
    site s;
    peer p, reader;
    site_init(&s);
    s.desc.max_per_ip = TWS_OFF;
    site_start(&s, false);
    CHECK_EQ(ask(&p, &s, "GET", "/health", NULL, NULL), 200);
    CHECK_STR(tws_buf_view(&p.body), "{\"status\":\"healthy\",\"version\":\"" TWS_VERSION "\"}");
    CHECK_EQ(peer_get(&p, "/ready", NULL), 200);
    CHECK_STR(tws_buf_view(&p.body), "{\"status\":\"ready\"}");
    watch(&reader, &s, text("2?token=%s", token("2", 100, "")), NULL);
    CHECK(peer_message(&reader));
    publish(&s, "2", "{\"task_id\":\"a\"}");
    CHECK(peer_message(&reader));
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", NULL), 401);
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", bearer(token("2", 100, ""))), 200);
    tws_str b = tws_buf_view(&p.body);
    CHECK(tws_json_valid(b));
    CHECK_STR(json(b, "version"), TWS_VERSION);
    CHECK(json_u64(b, "uptime_s") < 100);
    CHECK_EQ(json_u64(b, "connections.total"), 2);
    CHECK_EQ(json_u64(b, "connections.streams"), 1);
    CHECK_EQ(json_u64(b, "connections.yours"), 1);
    CHECK_EQ(json_u64(b, "limits.max_per_ip"), 0);
    CHECK_STR(json(b, "store"), "memory");
    CHECK_STR(json(b, "redis"), "null");
    CHECK(json_u64(b, "resources.open_files") >= 5);
    CHECK_EQ(json_u64(b, "resources.max_open_files"), tws_sys_max_files());
    CHECK(json_u64(b, "resources.resident_bytes") > 100000);
    CHECK_EQ(json_u64(b, "limits.max_per_user"), 64);
    CHECK_EQ(json_u64(b, "limits.max_event_bytes"), 65536);
    CHECK_EQ(json_u64(b, "limits.heartbeat_s"), 25);
    CHECK_STR(json(b, "hub"), ""); /* that is the admin's */
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", bearer(token("root", 100, "admin"))), 200);
    b = tws_buf_view(&p.body);
    CHECK_EQ(json_u64(b, "connections.yours"), 0);
    CHECK_EQ(json_u64(b, "hub.topics"), 1);
    CHECK_EQ(json_u64(b, "hub.readers"), 1);
    CHECK_EQ(json_u64(b, "hub.published"), 1);
    CHECK_STR(json(b, "backend"), tws_loop_backend());
    CHECK_EQ(peer_get(&p, "/metrics", NULL), 200);
    CHECK_STR(peer_field(&p, "X-Content-Type-Options"), "nosniff");
    CHECK(peer_contains(tws_buf_view(&p.body), "\ntaskws_connections 2\n"));
    CHECK(peer_contains(tws_buf_view(&p.body), "\ntaskws_events_published_total 1\n"));
    CHECK(peer_contains(tws_buf_view(&p.body), "\ntaskws_upgrades_total 1\n"));
    CHECK(peer_contains(tws_buf_view(&p.body), "\ntaskws_sessions_refused_total 1\n"));
    CHECK(peer_contains(tws_buf_view(&p.body), "\ntaskws_ready 1\n"));
    static const char *const proxied = "X-Forwarded-For: 127.0.0.1\r\n";
    CHECK_EQ(peer_get(&p, "/metrics", proxied), 401);
    CHECK_EQ(peer_get(&p, "/metrics", text("%s%s", proxied, bearer(token("2", 100, "")))), 403);
    CHECK_STR(json(tws_buf_view(&p.body), "error.code"), "forbidden_scope");
    CHECK_EQ(peer_get(&p, "/metrics", text("%s%s", proxied, bearer(token("2", 100, "admin")))),
             200);
    peer_close(&p);
    CHECK(peer_leave(&reader, 1000));
    site_end(&s);
}

TEST("a page of an allowed origin may ask, and is told so before and with the answer")
{
    static const struct {
        const char *origins, *origin;
        bool allowed, cookie, credentials;
    } row[] = {
        {NULL, "https://any.example", true, false, false},
        {"https://app.example", "https://app.example", true, false, false},
        {"https://app.example", "https://evil.example", false, false, false},
        {"*", "null", true, false, false},
        {"https://app.example", "https://app.example", true, true, true},
        {"https://app.example", "https://evil.example", false, true, false},
        {"https://app.example, *", "https://app.example", true, true, false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        site s;
        peer p;
        const char *fields = text("Origin: %s\r\n%s", row[i].origin, bearer(token("2", 100, "")));
        test_row(row[i].origin, i);
        site_init(&s);
        s.desc.origins = row[i].origins;
        s.desc.token_cookie = row[i].cookie ? "token" : NULL;
        site_start(&s, false);
        CHECK_EQ(ask(&p, &s, "OPTIONS", TASKS "2",
                     text("Origin: %s\r\nAccess-Control-Request-Method: POST\r\n", row[i].origin),
                     NULL),
                 204);
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"),
                  row[i].allowed ? row[i].origin : "");
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Methods"),
                  row[i].allowed ? "GET, POST" : "");
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Credentials"),
                  row[i].credentials ? "true" : "");
        CHECK_EQ(peer_get(&p, TASKS "2", fields), row[i].allowed ? 200 : 403);
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"),
                  row[i].allowed ? row[i].origin : "");
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Credentials"),
                  row[i].credentials ? "true" : "");
        peer_close(&p);
        site_end(&s);
    }
}

TEST("an error that the server itself tells may be read by a page of an allowed origin, too")
{
    static const struct {
        const char *method, *target, *fields;
        int status;
    } row[] = {
        {"GET", "/api/v1/ws/task/2", "", 404},
        {"DELETE", TASKS "2", "", 405},
        {"POST", TASKS "2", "Content-Length: 70000\r\n", 413},
    };
    site s;
    site_init(&s);
    s.desc.origins = "https://app.example, https://two.example";
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].target, i);
        const char *fields = text("Origin: https://app.example\r\n%s", row[i].fields);
        CHECK_EQ(ask(&p, &s, row[i].method, row[i].target, fields, NULL), row[i].status);
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "https://app.example");
        CHECK_STR(peer_field(&p, "Vary"), "Origin");
        CHECK_STR(peer_field(&p, "Allow"), row[i].status == 405 ? "GET, HEAD, POST, OPTIONS" : "");
        peer_close(&p);
        fields = text("Origin: https://evil.example\r\n%s", row[i].fields);
        CHECK_EQ(ask(&p, &s, row[i].method, row[i].target, fields, NULL), row[i].status);
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "");
        peer_close(&p);
    }
    site_end(&s);
}

TEST("a body that grows too large is refused to its own page, whatever came in between")
{
    site s;
    peer p, other;
    site_init(&s);
    s.desc.origins = "https://app.example, https://two.example";
    site_start(&s, false);
    CHECK(peer_open(&p, port_of(&s)));
    peer_send_c(&p, "POST " TASKS "2 HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n");
    CHECK_EQ(ask(&other, &s, "GET", "/none", "Origin: https://two.example\r\n", NULL), 404);
    CHECK_STR(peer_field(&other, "Access-Control-Allow-Origin"), "https://two.example");
    peer_send_c(&p, "fffffff\r\n");
    CHECK_EQ(peer_answer(&p), 413);
    CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "https://app.example");
    peer_close(&other);
    peer_close(&p);
    site_end(&s);
}

/* -- publishing from C -- */

TEST("a publish that cannot be is refused by its status and changes nothing")
{
    static char big[2000];
    memset(big, ' ', sizeof big);
    big[0] = '{';
    big[sizeof big - 1] = '}';
    char user[130];
    memset(user, 'u', sizeof user - 1);
    user[sizeof user - 1] = '\0';
    const struct {
        const char *user, *json;
        size_t len;
        tws_status status;
    } row[] = {
        {"2", "{}", 2, TWS_OK},
        {"2", "", 0, TWS_ERR_SYNTAX},
        {"2", NULL, 0, TWS_ERR_SYNTAX},
        {"2", "{", 1, TWS_ERR_SYNTAX},
        {"2", "{}x", 3, TWS_ERR_SYNTAX},
        {"2", "{\"a\":\"\xff\"}", 9, TWS_ERR_SYNTAX},
        {"2", "[]", 2, TWS_ERR_ARGUMENT},
        {"2", "1", 1, TWS_ERR_ARGUMENT},
        {"2", big, sizeof big, TWS_ERR_LIMIT},
        {"", "{}", 2, TWS_ERR_ARGUMENT},
        {user, "{}", 2, TWS_ERR_ARGUMENT},
        {user + 1, "{}", 2, TWS_OK},
    };
    site s;
    tws_hub_stats n;
    size_t stored = 0;
    site_init(&s);
    s.desc.max_event_bytes = 1000;
    site_start(&s, false);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_event_id id = {7, 7};
        test_row(row[i].json, i);
        CHECK_EQ(tws_task_server_publish(s.ts, row[i].user, row[i].json, row[i].len, &id),
                 row[i].status);
        CHECK_EQ(id.ms > 1000, row[i].status == TWS_OK);
        CHECK_EQ(tws_task_server_publish(s.ts, row[i].user, row[i].json, row[i].len, NULL),
                 row[i].status);
        stored += row[i].status == TWS_OK ? 2 : 0;
        tws_hub_stat(s.ts->hub, &n);
        CHECK_EQ(n.published, stored);
    }
    test_fail_at(1);
    CHECK_EQ(tws_task_server_publish(s.ts, "2", "{}", 2, NULL), TWS_ERR_MEMORY);
    site_end(&s);
}

TEST("an event that is more than its user's store can ever hold is too big, whatever the limit says")
{
    static char body[6000];
    const char *small = "{\"task_id\":\"a\"}";
    site s;
    peer p;
    tws_hub_stats n;
    memset(body, ' ', sizeof body - 1);
    memcpy(body, small, strlen(small) - 1);
    body[sizeof body - 2] = '}';
    site_init(&s);
    s.desc.retain_bytes = 4096;
    site_start(&s, false);
    const char *worker = bearer(token("w", 60, "publish"));
    CHECK_EQ(ask(&p, &s, "POST", "/api/v1/ws/tasks/2", worker, body), 413);
    CHECK(peer_contains(tws_buf_view(&p.body), "the body is larger than an event may be"));
    peer_close(&p);
    memcpy(body + 100, "}\n", 2); /* two lines, and the first of them would fit */
    memcpy(body + 102, small, strlen(small) - 1);
    const char *lines = text("%sContent-Type: application/x-ndjson\r\n", worker);
    CHECK_EQ(ask(&p, &s, "POST", "/api/v1/ws/tasks/2", lines, body), 413);
    CHECK(peer_contains(tws_buf_view(&p.body), "line 2 is larger than an event may be"));
    peer_close(&p);
    CHECK_EQ(tws_task_server_publish(s.ts, "2", body + 102, strlen(body + 102), NULL),
             TWS_ERR_LIMIT);
    tws_hub_stat(s.ts->hub, &n);
    CHECK_EQ(n.published, 0);
    CHECK_EQ(ask(&p, &s, "POST", "/api/v1/ws/tasks/2", worker, small), 202);
    peer_close(&p);
    site_end(&s);
}

enum { PUBLISHERS = 4, READERS = 4, EVENTS_EACH = 400 };

static struct {
    const site *s;
    int port;
    char query[1024];
    uint64_t gaps, repeats, connects, resets;
} storm;

static void *publish_many(void *arg)
{
    char event[64];
    int who = *(const int *)arg;
    for (int n = 1; n <= EVENTS_EACH; n++) {
        int len = snprintf(event, sizeof event, "{\"who\":%d,\"n\":%d}", who, n);
        CHECK_EQ(tws_task_server_publish(storm.s->ts, "2", event, (size_t)len, NULL), TWS_OK);
        if (n % 16 == 0) {
            sched_yield();
        }
    }
    return NULL;
}

/* Come and go, each time with the last id, until every publisher's last event has been seen. */
static void *read_all(void *arg)
{
    uint64_t seen[PUBLISHERS] = {0}, total = 0;
    unsigned random = *(const unsigned *)arg;
    char id[64] = "0-0", target[1200];
    while (total < PUBLISHERS * EVENTS_EACH) {
        peer p;
        random = random * 1103515245u + 12345u;
        size_t patience = 1 + (random >> 16) % 200;
        peer_open(&p, storm.port);
        snprintf(target, sizeof target, "%s&since=%s", storm.query, id);
        CHECK_EQ(peer_upgrade(&p, target, NULL), 101);
        __atomic_add_fetch(&storm.connects, 1, __ATOMIC_SEQ_CST);
        while (patience-- > 0 && total < PUBLISHERS * EVENTS_EACH && peer_message(&p)) {
            tws_str body = tws_buf_view(&p.body), at = json(body, "id");
            if (!tws_str_eq_c(json(body, "type"), "task")) {
                __atomic_add_fetch(&storm.resets, tws_str_eq_c(json(body, "type"), "reset"),
                                   __ATOMIC_SEQ_CST);
                continue;
            }
            uint64_t who = json_u64(body, "data.who"), n = json_u64(body, "data.n");
            __atomic_add_fetch(&storm.gaps, n > seen[who] + 1, __ATOMIC_SEQ_CST);
            __atomic_add_fetch(&storm.repeats, n <= seen[who], __ATOMIC_SEQ_CST);
            seen[who] = n;
            total++;
            snprintf(id, sizeof id, "%.*s", (int)at.len, at.ptr);
        }
        if (!p.open && total < PUBLISHERS * EVENTS_EACH) {
            CHECK(p.open);
            total = PUBLISHERS * EVENTS_EACH;
        }
        peer_close(&p);
    }
    return NULL;
}

TEST("four threads publish while readers come and go on two: no gap, no repeat, nothing lost")
{
    pthread_t id[PUBLISHERS + READERS];
    int who[PUBLISHERS];
    unsigned seed[READERS];
    site s;
    site_init(&s);
    s.desc.threads = 2;
    s.desc.retain_events = PUBLISHERS * EVENTS_EACH;
    s.desc.retain_bytes = 16u << 20;
    site_start(&s, true);
    memset(&storm, 0, sizeof storm);
    storm.s = &s;
    storm.port = port_of(&s);
    snprintf(storm.query, sizeof storm.query, "%s2?token=%s", TASKS, token("2", 1000, ""));
    for (size_t i = 0; i < READERS; i++) {
        seed[i] = (unsigned)i + 1;
        pthread_create(&id[PUBLISHERS + i], NULL, read_all, &seed[i]);
    }
    for (size_t i = 0; i < PUBLISHERS; i++) {
        who[i] = (int)i;
        pthread_create(&id[i], NULL, publish_many, &who[i]);
    }
    for (size_t i = 0; i < PUBLISHERS + READERS; i++) {
        pthread_join(id[i], NULL);
    }
    CHECK_EQ(storm.gaps, 0);
    CHECK_EQ(storm.repeats, 0);
    CHECK_EQ(storm.resets, 0);
    CHECK(storm.connects > READERS);
    site_end(&s);
}

/* -- memory -- */

TEST("delivering a million events allocates what is published, and nothing else")
{
    enum { BURST = 25 };
    size_t readers = 1000, rounds = 40;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * readers + 200) {
        limit.rlim_cur = limit.rlim_max < 2 * readers + 200 ? limit.rlim_max : 2 * readers + 200;
        setrlimit(RLIMIT_NOFILE, &limit);
        readers = limit.rlim_cur < 2 * readers + 200 ? (size_t)(limit.rlim_cur - 200) / 2 : readers;
        rounds = 1000000 / BURST / readers;
    }
    struct one {
        int fd;
        size_t bytes;
    } *one = (struct one *)calloc(readers, sizeof *one);
    static char sink[65536];
    site s;
    site_init(&s);
    s.desc.max_per_user = TWS_OFF;
    site_start(&s, false);
    const char *request = text("GET %s2?token=%s HTTP/1.1\r\nHost: a\r\n%s\r\n", TASKS,
                               token("2", 1000, ""), PEER_UPGRADE);
    for (size_t i = 0; i < readers; i++) {
        one[i].fd = peer_socket(NULL, port_of(&s), 0);
        CHECK(send(one[i].fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
        peer_pause();
    }
    PEER_UNTIL(tws_hub_readers(s.ts->hub, tws_str_c("2")) == readers);
    size_t published = 0, wire = 0, delivered = 0;
    for (size_t round = 0; round < rounds + 20; round++) {
        if (round == 20) { /* by now the ring is as large as it will be */
            test_fail_at(0);
            published = 0;
            wire = 0;
            for (size_t i = 0; i < readers; i++) {
                while (recv(one[i].fd, sink, sizeof sink, 0) > 0) {
                }
                one[i].bytes = 0;
            }
        }
        for (int k = 0; k < BURST; k++) {
            const char *event = "{\"task_id\":\"a\",\"progress\":50,\"message\":\"half of it\"}";
            tws_event_id id = publish(&s, "2", event);
            wire += 2 + strlen(task(id, event));
            published++;
        }
        uint64_t until_ms = tws_sys_now_ms() + PEER_MS;
        for (size_t i = 0; i < readers; i++) {
            while (one[i].bytes < wire && tws_sys_now_ms() < until_ms) {
                ssize_t n = recv(one[i].fd, sink, sizeof sink, 0);
                one[i].bytes += n > 0 ? (size_t)n : 0;
                if (n <= 0) {
                    tws_server_step(s.server, 0);
                }
                if (round < 20 && one[i].bytes >= wire) {
                    one[i].bytes = wire; /* the handshake's answer is in it, too */
                }
            }
            delivered += round < 20 ? 0 : BURST;
        }
    }
    size_t allocations = test_allocations();
    CHECK_EQ(allocations, published);
    CHECK_EQ(published, rounds * BURST);
    for (size_t i = 0; i < readers; i++) {
        CHECK_EQ(one[i].bytes, wire);
        close(one[i].fd);
    }
    CHECK(delivered >= 900000);
    printf("# %zu events delivered with %zu allocations\n", delivered, allocations);
    free(one);
    site_end(&s);
}

TEST("a session for which there is no memory is told internal, 1011 and 500")
{
    size_t told_ws = 0, told_http = 0;
    for (size_t n = 1; n < 40; n++) {
        site s;
        peer p, idle;
        site_init(&s);
        site_start(&s, false);
        const char *fields = bearer(token("2", 100, ""));
        publish(&s, "2", "{\"task_id\":\"a\"}");
        peer_open(&p, port_of(&s));
        peer_open(&idle, port_of(&s));
        PEER_UNTIL(connections(&s) == 2);
        test_row("allocation", n / 2);
        test_fail_at(n / 2);
        if (n % 2 == 0 && peer_upgrade(&p, TASKS "2", fields) == 101 && peer_message(&p)) {
            tws_str body = tws_buf_view(&p.body);
            if (tws_str_eq_c(json(body, "type"), "error")) {
                CHECK_STR(json(body, "code"), "internal");
                CHECK_STR(json(body, "retry"), "true");
                CHECK_TEXT(&p, "closed 1011 internal");
                told_ws++;
            }
        }
        if (n % 2 == 1 && peer_get(&p, TASKS "2", fields) == 500) {
            CHECK_STR(json(tws_buf_view(&p.body), "error.code"), "internal");
            told_http++;
        }
        test_fail_at(0);
        peer_close(&p);
        peer_close(&idle);
        site_end(&s);
    }
    CHECK(told_ws > 0);
    CHECK(told_http > 0);
}

/* Everything that a user and a worker do, once. False where it ended before; *stored is how many
 * events an answer has named. */
static bool run_session(const site *s, peer *p, size_t *stored)
{
    const char *reader = token("2", 100, ""), *worker = bearer(token("w", 100, "publish"));
    const char *stream = text("Accept: text/event-stream\r\n%s", bearer(reader));
    peer worker_p, sse;
    peer_init(&worker_p);
    peer_init(&sse);
    *stored = 0;
    peer_open(p, port_of(s));
    bool whole = peer_upgrade(p, text("%s2?token=%s", TASKS, reader), NULL) == 101 &&
                 peer_message(p) && tws_str_eq_c(json(tws_buf_view(&p->body), "type"), "connected");
    if (whole) {
        peer_open(&sse, port_of(s));
        peer_ask(&sse, "GET", TASKS "2", stream, NULL);
        whole = peer_answer(&sse) == 200 && strcmp(line(&sse), "event: connected") == 0;
    }
    if (whole) {
        int status = ask(&worker_p, s, "POST", TASKS "2",
                         text("%sContent-Type: application/x-ndjson\r\n", worker),
                         "{\"n\":1}\n{\"n\":2}\n{\"n\":3}");
        tws_str body = tws_buf_view(&worker_p.body);
        CHECK(status == 0 || tws_json_valid(body));
        for (size_t i = 0; i < body.len;
             i++) { /* each id has one dash, the fault's text has none */
            *stored += body.ptr[i] == '-';
        }
        whole = status == 202;
        CHECK(!whole || *stored == 3);
    }
    for (int n = 0; n < 3 && whole; n++) {
        whole = peer_message(p);
    }
    whole = whole && peer_get(&worker_p, TASKS "2", bearer(reader)) == 200 &&
            peer_get(&worker_p, "/metrics", NULL) == 200 &&
            peer_get(&worker_p, "/api/v1/ws/status", bearer(reader)) == 200;
    peer_close(&worker_p);
    peer_close(&sse);
    return whole && peer_leave(p, 1000);
}

TEST("whatever allocation fails in a session, the server goes on, and what it has answered holds")
{
    size_t failures = 0;
    for (size_t n = 1;; n++) {
        site s;
        peer p, idle;
        size_t stored;
        tws_hub_stats stats;
        test_row("allocation", n);
        site_init(&s);
        s.desc.limits.close_ms = 100;
        site_start(&s, false);
        peer_open(&idle, port_of(&s));
        PEER_UNTIL(connections(&s) == 1);
        test_fail_at(n);
        bool whole = run_session(&s, &p, &stored);
        bool failed = test_allocations() >= n;
        test_fail_at(0);
        CHECK(whole || failed);
        failures += !whole;
        peer_close(&p);
        peer_close(&idle); /* its end lets a paused listener go on */
        tws_hub_stat(s.ts->hub, &stats);
        CHECK(stats.published >= stored); /* what was named is there */
        CHECK_EQ(ask(&p, &s, "POST", TASKS "2", bearer(token("w", 100, "publish")), "{}"), 202);
        peer_close(&p);
        watch(&p, &s, text("2?token=%s&since=0-0", token("2", 100, "")), NULL);
        for (size_t i = 0; i < stats.published + 2; i++) {
            CHECK(peer_message(&p));
        }
        CHECK(peer_leave(&p, 1000));
        site_end(&s);
        CHECK_EQ(test_live_blocks(), 0);
        if (!failed) {
            break;
        }
    }
    CHECK(failures > 10);
}

TEST("a task server for which there is no memory is not made, says why, and leaves nothing behind")
{
    size_t before = peer_descriptors();
    for (size_t n = 1;; n++) {
        char memory[256];
        tws_buf error;
        site s;
        test_row("allocation", n);
        site_init(&s);
        s.desc.threads = 2;
        tws_buf_fixed(&error, memory, sizeof memory);
        test_fail_at(n);
        tws_status status = tws_task_server_create(&s.ts, &s.desc, &error);
        bool whole = test_allocations() < n;
        test_fail_at(0);
        CHECK_EQ(status, whole ? TWS_OK : TWS_ERR_MEMORY);
        CHECK_EQ(error.len == 0, whole);
        CHECK_EQ(s.ts != NULL, whole);
        tws_task_server_free(s.ts);
        CHECK_EQ(test_live_blocks(), 0);
        CHECK_EQ(peer_descriptors(), before);
        if (whole) {
            break;
        }
    }
}

/* -- closings are delivered -- */

TEST("whoever is refused while still sending sees the word and the end, and no reset")
{
    const char *good = token("2", 100, ""), *bad = token("2", -100, "");
    const char *upgrade = "HTTP/1.1\r\nHost: a\r\n" PEER_UPGRADE "\r\n";
    const char *plain = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
    const struct {
        const char *name, *script;
        uint8_t fill;
        bool answer_close;
        const char *want;
    } row[] = {
        {"401 over HTTP", text("GET %s2?token=%s %s\r\n", TASKS, bad, plain), 'x', false,
         "token_expired"},
        {"401 with a body",
         text("POST %s2?token=%s %sContent-Length: 60000\r\n\r\n", TASKS, bad, plain), '1', false,
         "token_expired"},
        {"403 with a body",
         text("POST %s2?token=%s %sContent-Length: 60000\r\n\r\n", TASKS, good, plain), '1', false,
         "forbidden_scope"},
        {"413 with a body",
         text("POST %s2?token=%s %sContent-Length: 70000\r\n\r\n", TASKS, good, plain), '1', false,
         " 413 "},
        {"401 for an event stream",
         text("GET %s2?token=%s %sAccept: text/event-stream\r\n\r\n", TASKS, bad, plain), 'x',
         false, "token_expired"},
        {"4401", text("GET %s2?token=%s %s", TASKS, bad, upgrade), 0x8a, true, "token_expired"},
        {"4403", text("GET %s3?token=%s %s", TASKS, good, upgrade), 0x8a, true, "forbidden_user"},
        {"4400", text("GET %s2?token=%s&since=x %s", TASKS, good, upgrade), 0x8a, true,
         "bad_request"},
        {"4400 for a user", text("GET %s%%00 %s", TASKS, upgrade), 0x8a, true, "bad_request"},
        {"1002", text("GET %s2?token=%s %s", TASKS, good, upgrade), 'x', false, "\x88"},
        {"a request and garbage", text("GET %s2?token=%s HTTP/1.1\r\nHost: a\r\n\r\n", TASKS, good),
         'x', false, "\"tasks\":[]"},
    };
    for (uint32_t threads = 1; threads <= 2; threads++) {
        site s;
        site_init(&s);
        s.desc.threads = threads;
        site_start(&s, threads > 1);
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            crowd c;
            test_row(row[i].name, i);
            memset(&c, 0, sizeof c);
            c.port = port_of(&s);
            c.script = row[i].script;
            c.script_len = strlen(row[i].script);
            c.flood = 16 * 20000;
            c.fill = row[i].fill;
            c.answer_close = row[i].answer_close;
            c.want = row[i].want;
            c.count = 25;
            crowd_run(&c);
            CHECK_EQ(c.resets, 0);
            CHECK_EQ(c.wanted, c.count);
        }
        test_row(NULL, 0);
        PEER_UNTIL(connections(&s) == 0);
        site_end(&s);
    }
}

/* -- creating and the one call -- */

TEST("what cannot be served is refused at creation with a sentence that says what to do")
{
    static const struct {
        const char *name, *secret, *prefix, *cookie, *part, *origins;
    } row[] = {
        {"no key", NULL, NULL, NULL, "a key is empty", NULL},
        {"an empty key", "", NULL, NULL, "TASKWS_SECRET", NULL},
        {"a short key", "0123456789", NULL, NULL, "shorter than 32 bytes", NULL},
        {"a doubled prefix", SECRET, "/api/v1/api/v1/ws", NULL, "/api/v1", NULL},
        {"a prefix without a slash", SECRET, "api", NULL, "--prefix", NULL},
        {"a prefix with a slash behind", SECRET, "/api/", NULL, "--prefix", NULL},
        {"a prefix with dots", SECRET, "/a/../b", NULL, "--prefix", NULL},
        {"a prefix with a query", SECRET, "/a?b", NULL, "--prefix", NULL},
        {"a prefix with a parameter", SECRET, "/t/{tenant}", NULL, "the user's is the only one",
         NULL},
        {"a cookie without a name", SECRET, NULL, "", "--cookie", NULL},
        {"a cookie with a value", SECRET, NULL, "a=b", "--cookie", NULL},
        {"a cookie with a blank", SECRET, NULL, "a b", "--cookie", NULL},
        {"an origin with a path", SECRET, NULL, NULL, "https://b.example/ (origins, --origin",
         "*, https://b.example/"},
        {"an origin without a scheme", SECRET, NULL, NULL, "--origin", "a.example"},
        {"an origin with an empty scheme", SECRET, NULL, NULL, "--origin", "://a.example"},
        {"an origin without a host", SECRET, NULL, NULL, "--origin", "https://"},
        {"an origin with its scheme's port", SECRET, NULL, NULL, "--origin", "http://a.example:80"},
        {"an origin with a colon and no port", SECRET, NULL, NULL, "--origin", "https://a.example:"},
        {"an origin with a port and no host", SECRET, NULL, NULL, "--origin", "https://:8443"},
        {"an origin not in ASCII", SECRET, NULL, NULL, "--origin", "https://b\xc3\xbc.example"},
        {"an origin with a tab in it", SECRET, NULL, NULL, "--origin", "https://a\tb"},
        {"an origin that is a pattern", SECRET, NULL, NULL, "--origin", "https://*.a.example"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char memory[512];
        tws_buf error;
        site s;
        test_row(row[i].name, i);
        site_init(&s);
        s.desc.jwt_secret = row[i].secret;
        s.desc.prefix = row[i].prefix;
        s.desc.token_cookie = row[i].cookie;
        s.desc.origins = row[i].origins;
        tws_buf_fixed(&error, memory, sizeof memory);
        CHECK(tws_task_server_create(&s.ts, &s.desc, &error) != TWS_OK);
        CHECK(s.ts == NULL);
        CHECK(peer_contains(tws_buf_view(&error), row[i].part));
        CHECK(tws_task_server_create(&s.ts, &s.desc, NULL) != TWS_OK);
    }
    site s;
    site_init(&s);
    s.desc.key_count = 1; /* of keys that are not there */
    CHECK_EQ(tws_task_server_create(&s.ts, &s.desc, NULL), TWS_ERR_ARGUMENT);
    s.desc.key_count = 0;
    s.desc.jwt_secret = "short";
    s.desc.allow_short_secret = true;
    s.desc.prefix = "/p";
    s.desc.origins = "null, file://,,qrc://,app://., HTTPS://A.example:80 ,http://[::80],*";
    site_start(&s, false);
    peer p;
    CHECK_EQ(ask(&p, &s, "GET", "/p/tasks/2",
                 bearer(sign(text("{\"sub\":\"2\",\"exp\":%lld}", in_seconds(9)), "short", "")),
                 NULL),
             200);
    peer_close(&p);
    site_end(&s);
}

TEST("less memory to receive with is taken, and events come in pieces of it")
{
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        static char event[5000];
        site s;
        peer p;
        memset(event, ' ', sizeof event);
        event[0] = '{', event[sizeof event - 1] = '}';
        site_init(&s);
        s.desc.receive_bytes = i == 0 ? 0 : 512;
        site_start(&s, false);
        bytes[i] = test_bytes_live;
        CHECK_EQ(ask(&p, &s, "POST", TASKS "2", bearer(token("1", 100, "publish")),
                     text("%.*s", (int)sizeof event, event)),
                 202);
        peer_close(&p);
        site_end(&s);
    }
    CHECK_EQ(bytes[0] - bytes[1], 64 * 1024 - 512);
}

TEST("events do not age by a clock that is set")
{
    site s;
    peer p;
    site_init(&s);
    site_start(&s, false);
    publish(&s, "2", "{\"task_id\":\"a\"}");
    tws__on_second(s.ts, tws_sys_wall_ms() + 48 * 3600 * 1000);
    CHECK_EQ(ask(&p, &s, "GET", TASKS "2", bearer(token("2", 60, "")), NULL), 200);
    CHECK(peer_contains(tws_buf_view(&p.body), "\"task_id\":\"a\""));
    s.ts->hub_begin_ms += 48 * 3600 * 1000; /* by time that passes they do */
    tws__on_second(s.ts, tws_sys_wall_ms());
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(token("2", 60, ""))), 200);
    CHECK(!peer_contains(tws_buf_view(&p.body), "\"task_id\":\"a\""));
    peer_close(&p);
    site_end(&s);
}

#ifndef TASKWS_NO_REDIS
TEST("an address of Redis's name that swallows what comes is followed by the next; a good one stays")
{
    site s;
    site_init(&s);
    s.desc.redis_url = "redis://127.0.0.1:1";
    site_start(&s, false);
    tws__link *l = &s.ts->up->link[TWS_REDIS_COMMANDS];
    for (uint32_t good = 0; good < 2; good++) {
        const tws_redis_event ready = {.state = TWS_REDIS_IS_READY, .reason = tws_str_c("")};
        l->number = tws_redis_connection(l->up->session, l->which) + 7; /* one that has ended */
        l->tried = 0;
        if (good == 1) {
            tws__upstream_changed(l->up, &ready);
        }
        tws__link_follow(l);
        CHECK_EQ(l->tried, 1 - good);
        CHECK(!l->good);
    }
    site_end(&s);
}

TEST("so is one that takes a connection and closes it")
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd = -1;
    CHECK(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 8) == 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    site s;
    site_init(&s);
    s.desc.redis_url = text("redis://127.0.0.1:%d", ntohs(a.sin_port));
    site_start(&s, false);
    len = sizeof a;
    PEER_UNTIL((fd = accept(listener, (struct sockaddr *)&a, &len)) >= 0);
    tws__link *l = s.ts->up->link;
    l += tws__sys_port(l->guest.watch.fd) != ntohs(a.sin_port); /* it is the other one's */
    close(fd);
    PEER_UNTIL(l->guest.watch.fd < 0);
    CHECK_EQ(l->tried, 1);
    site_end(&s);
    close(listener);
}

TEST("whatever allocation fails, Redis is asked about whose readers wait, a second later if need be")
{
    size_t readers = 0, late = 0;
    for (size_t n = 1; n < 30; n++) {
        site s;
        peer p;
        site_init(&s);
        s.desc.redis_url = "redis://127.0.0.1:1";
        site_start(&s, false);
        peer_open(&p, port_of(&s));
        peer_step();
        test_row("allocation", n);
        test_fail_at(n);
        peer_upgrade(&p, TASKS "2", bearer(token("2", 60, "")));
        peer_step();
        test_fail_at(0);
        if (tws_hub_readers(s.ts->hub, tws_str_c("2")) > 0) {
            readers++;
            late += tws__redis_find(s.ts->up->session, tws_str_c("2")) == NULL;
            tws__on_second(s.ts, tws_sys_wall_ms());
            peer_step();
            CHECK(tws__redis_find(s.ts->up->session, tws_str_c("2")) != NULL);
        }
        peer_close(&p);
        site_end(&s);
    }
    CHECK(readers > 0 && late > 0);
}

TEST("whatever allocation fails, who waits for Redis to store is answered, a second later if need be")
{
    const char *fields = text("%sContent-Type: application/x-ndjson\r\n",
                              bearer(token("w", 60, "publish")));
    size_t refused = 0, late = 0;
    for (size_t n = 1; n < 12; n++) {
        site s;
        peer p;
        site_init(&s);
        s.desc.redis_url = "redis://127.0.0.1:1";
        site_start(&s, false);
        peer_open(&p, port_of(&s));
        PEER_UNTIL(connections(&s) == 1);
        TWS__STORE(&s.ts->up->state, (uint32_t)TWS_REDIS_IS_READY); /* it will know better */
        test_row("allocation", n);
        test_fail_at(n);
        uint64_t from_ms = tws_sys_now_ms();
        peer_ask(&p, "POST", TASKS "2", fields, "{\"n\":1}\n{\"n\":2}");
        int status = peer_answer(&p);
        test_fail_at(0);
        uint64_t passed_ms = tws_sys_now_ms() - from_ms;
        CHECK(status == 503 || p.eof);
        CHECK(!peer_contains(tws_buf_view(&p.body), "too many")); /* it is memory that there is not */
        test_fail_at(1);
        TWS__STORE(&s.ts->up->state, (uint32_t)TWS_REDIS_IS_READY);
        CHECK_EQ(tws_task_server_publish(s.ts, "2", "{}", 2, NULL), TWS_ERR_MEMORY);
        test_fail_at(0);
        refused += status == 503;
        late += passed_ms > 200;
        CHECK(passed_ms < 5000);
        peer_close(&p);
        site_end(&s);
    }
    CHECK(refused > 5 && late > 0);
}

TEST("an event for which there is no memory is read again, and not said to be gone from Redis")
{
    site s;
    peer p;
    site_init(&s);
    s.desc.redis_url = "redis://127.0.0.1:1";
    site_start(&s, false);
    watch(&p, &s, text("2?token=%s", token("2", 60, "")), NULL);
    const tws__redis_user *u = NULL;
    PEER_UNTIL((u = tws__redis_find(s.ts->up->session, tws_str_c("2"))) != NULL);
    tws_redis_event ev;
    memset(&ev, 0, sizeof ev);
    ev.type = TWS_REDIS_EVENT;
    ev.user_id = tws_str_c("2");
    ev.json = tws_str_c("{}");
    ev.id.ms = 5;
    test_fail_at(1);
    tws__upstream_event(s.ts->up, &ev);
    test_fail_at(0);
    CHECK_EQ(u->flags & (TWS__REDIS_BROKEN | TWS__REDIS_AGAIN_ONLY),
             TWS__REDIS_BROKEN | TWS__REDIS_AGAIN_ONLY);
    CHECK(was_logged("user_id=2 reason=\"no memory\""));
    peer_close(&p);
    site_end(&s);
}

TEST("a name that is still being looked up when the server ends holds none of its memory")
{
    for (int i = 0; i < 50; i++) {
        site s;
        site_init(&s);
        s.desc.redis_url = "redis://localhost:1";
        site_start(&s, false);
        peer_step();
        site_end(&s); /* from here on the allocator may be gone */
        CHECK_EQ(test_live_blocks(), 0);
    }
}

TEST("limits that are off with Redis cost no memory, and drop no event")
{
    site s;
    site_init(&s);
    s.desc.redis_url = "redis://127.0.0.1:1";
    s.desc.max_event_bytes = TWS_OFF;
    site_start(&s, false);
    CHECK_EQ(s.ts->up->session->desc.max_event_bytes, 1024 * 1024);
    CHECK(tws__redis_whole(&s.ts->up->session->desc) > 1024 * 1024);
    CHECK(test_bytes_live < (8u << 20));
    site_end(&s);
    s.desc.retain_bytes = TWS_OFF;
    s.desc.allocator = NULL; /* which leaves untouched what is not used */
    site_start(&s, false);
    CHECK_EQ(s.ts->up->session->desc.max_event_bytes, 64 * 1024 * 1024);
    CHECK_EQ(s.ts->up->session->desc.load_bytes, 64 * 1024 * 1024);
    site_end(&s);
}
#endif

static void host_route(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)r;
    tws_peer_respond(p, 200, NULL, "text/plain", tws_str_c((const char *)context));
}

TEST("a host's routes stand in the same table, where a second one of a kind is refused by name")
{
    char memory[256];
    tws_buf error;
    tws_route route = {"GET", "/mine", host_route, NULL, (void *)(uintptr_t) "mine"};
    site s;
    peer p;
    site_init(&s);
    tws_buf_fixed(&error, memory, sizeof memory);
    CHECK_EQ(tws_task_server_create(&s.ts, &s.desc, &error), TWS_OK);
    s.server = tws_task_server_base(s.ts);
    CHECK_EQ(tws_server_route(s.server, &route, &error), TWS_OK);
    route.pattern = "/api/v1/ws/tasks/{whoever}";
    CHECK_EQ(tws_server_route(s.server, &route, &error), TWS_ERR_EXISTS);
    CHECK(peer_contains(tws_buf_view(&error), "/api/v1/ws/tasks/{whoever}"));
    CHECK(peer_contains(tws_buf_view(&error), "/api/v1/ws/tasks/{user_id}"));
    CHECK_EQ(tws_server_listen(s.server, NULL), TWS_OK);
    peer_server = s.server;
    CHECK_EQ(ask(&p, &s, "GET", "/mine", NULL, NULL), 200);
    CHECK_STR(tws_buf_view(&p.body), "mine");
    peer_close(&p);
    s.threaded = false;
    site_end(&s);
}

TEST("a call that comes for a session that has gone leaves alone whoever has its connection now")
{
    static const tws_peer_ops ops = {NULL, NULL, NULL, NULL, NULL, NULL};
    tws_route route = {"GET", "/mine", NULL, &ops, NULL};
    site s;
    peer p;
    site_init(&s);
    CHECK_EQ(tws_task_server_create(&s.ts, &s.desc, NULL), TWS_OK);
    s.server = tws_task_server_base(s.ts);
    static const char before[offsetof(tws__session, expires_s) + sizeof(int64_t)];
    route.context = test_exact(before, sizeof before); /* who took it for a session would be seen */
    CHECK_EQ(tws_server_route(s.server, &route, NULL), TWS_OK);
    CHECK_EQ(tws_server_listen(s.server, NULL), TWS_OK);
    peer_server = s.server;
    s.threaded = false;
    peer_open(&p, tws_server_port(s.server));
    CHECK_EQ(peer_upgrade(&p, "/mine", NULL), 101);
    tws_peer_id id = tws_peer_id_of(s.server->thread[0]->slot[0].peer);
    CHECK_EQ(tws_server_post(s.server, id, tws__snapshot_posted, NULL), TWS_OK);
    CHECK_EQ(tws_task_server_answer(s.ts, id, true), TWS_OK);
    CHECK_EQ(tws_server_step(s.server, 1000), TWS_OK); /* they are called */
    CHECK(peer_leave(&p, 1000));
    site_end(&s);
}

static char run_path[64];

static void *stop_by_signal(void *arg)
{
    int number = *(const int *)arg;
    peer p;
    for (int i = 0; i < 5000; i++) {
        if (peer_open_unix(&p, run_path)) {
            break;
        }
        peer_close(&p);
        poll(NULL, 0, 1);
    }
    CHECK_EQ(peer_upgrade(&p, text("%s2?token=%s", TASKS, token("2", 100, "")), NULL), 101);
    CHECK(peer_message(&p));
    kill(getpid(), number);
    check_ws_refusal(&p, 1001, "draining", true);
    return NULL;
}

TEST("who stops the one call as soon as it says that it listens finds it ended as asked")
{
    snprintf(run_path, sizeof run_path, "/tmp/taskws-21-%ld", (long)getpid());
    for (int i = 0; i < 20; i++) {
        char word[64];
        int out[2], status = -1;
        site s;
        site_init(&s);
        s.desc.unix_path = run_path;
        CHECK_EQ(pipe(out), 0);
        fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            dup2(out[1], STDOUT_FILENO);
            _exit(tws_task_server_run(&s.desc));
        }
        close(out[1]);
        CHECK(read(out[0], word, sizeof word) > 0);
        kill(child, SIGTERM);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        close(out[0]);
    }
    CHECK(access(run_path, F_OK) != 0);
}

TEST("the one call serves until SIGINT or SIGTERM, drains, and gives 0; or 1 when it cannot serve")
{
    static const int number[] = {SIGINT, SIGTERM};
    snprintf(run_path, sizeof run_path, "/tmp/taskws-21-%ld", (long)getpid());
    for (size_t i = 0; i < 2; i++) {
        pthread_t id;
        struct sigaction before, after;
        int n = number[i];
        site s;
        test_row("signal", i);
        site_init(&s);
        s.desc.unix_path = run_path;
        s.desc.drain_ms = 100;
        sigaction(n, NULL, &before);
        pthread_create(&id, NULL, stop_by_signal, &n);
        CHECK_EQ(tws_task_server_run(&s.desc), 0);
        pthread_join(id, NULL);
        sigaction(n, NULL, &after);
        CHECK(before.sa_handler == after.sa_handler);
        CHECK(access(run_path, F_OK) != 0);
    }
    test_row(NULL, 0);
    site s;
    site_init(&s);
    s.desc.unix_path = "/tmp/no such directory/socket";
    CHECK_EQ(tws_task_server_run(&s.desc), 1);
    site_init(&s);
    s.desc.jwt_secret = "short";
    CHECK_EQ(tws_task_server_run(&s.desc), 1);
}
