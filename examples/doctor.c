/* doctor.c: checks a running taskws deployment point by point, from outside and through whatever
 * proxies stand before it, and says what to do about what it finds. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "common.h"

#include <stdarg.h>

static const char help[] =
    "usage: doctor [options]\n"
    "Checks a running server point by point, through whatever proxies stand before it.\n"
    "\n"
    OPTIONS_SERVER_HELP
    OPTIONS_TOKEN_HELP
    OPTIONS_SECRET_HELP
    "  --no-color          or $NO_COLOR\n"
    "  --help\n"
    "\n"
    "With the secret everything is checked, for a user made up for that unless --user names one;\n"
    "with a token, what it allows, for its user. Four events are published if it may publish. One\n"
    "line a check on standard output. Exit status: 0 nothing failed, 1 something did, 2 wrong usage.\n";

#define TIMEOUT_MS 5000
#define TOKEN_LIFE_S 300
#define HANDSHAKES 20

typedef enum verdict { PASSED, FAILED, SKIPPED, NOTED } verdict;

typedef struct doctor {
    options common;
    bool no_color, wants_help;
    char user[TWS_MAX_USER_ID + 1];
    tws_buf token; /* of that user */
    tws_buf other, head, target;
    client reader, worker; /* the browser's side, and the other one */
    unsigned count[4];
} doctor;

static void report(doctor *d, verdict v, const char *name, const char *format, va_list values)
{
    static const char *const words[] = {"ok  ", "FAIL", "skip", "note"};
    static const char *const colours[] = {"\033[32m", "\033[1;31m", "\033[33m", "\033[36m"};
    char line[600];
    vsnprintf(line, sizeof line, format, values);
    d->count[v]++;
    printf("%s%s%s  %-20s ", d->no_color ? "" : colours[v], words[v], d->no_color ? "" : "\033[0m",
           name);
    print_text(stdout, tws_str_c(line));
    printf("\n");
    fflush(stdout);
}

#define REPORT(function, verdict)                                              \
    static void function(doctor *d, const char *name, const char *format, ...) \
    {                                                                          \
        va_list values;                                                        \
        va_start(values, format);                                              \
        report(d, verdict, name, format, values);                              \
        va_end(values);                                                        \
    }
REPORT(pass, PASSED)
REPORT(fail, FAILED)
REPORT(skip, SKIPPED)
REPORT(note, NOTED)

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* -- talking to it -- */

static bool connect_to(doctor *d, client *c)
{
    client_disconnect(c);
    return client_connect(c, d->common.host, d->common.port, TIMEOUT_MS);
}

/* One request on a connection of its own. The status, or 0 with c->error. */
static int ask(doctor *d, client *c, const char *method, const char *target, const char *head,
               tws_str body)
{
    bool answered =
        connect_to(d, c) && client_request(c, method, target, head, body, TIMEOUT_MS);
    return answered ? c->response.status : 0;
}

static int ask_as(doctor *d, client *c, const char *method, const char *target,
                  const tws_buf *token, tws_str body)
{
    authorization(&d->head, token, body.ptr != NULL ? "Content-Type: application/json\r\n" : "");
    return ask(d, c, method, target, d->head.ptr, body);
}

/* {"error":{"code":...}} with that code, or with any where it is NULL. */
static bool is_error(const client *c, const char *code)
{
    const tws_str error = json_part(tws_buf_view(&c->body), "error");
    const tws_str word = json_word(error, "code");
    return code != NULL ? tws_str_eq_c(word, code) : word.len > 0;
}

static const char *what_came(const client *c)
{
    static char text[300];
    if (c->response.status == 0) {
        return c->error;
    }
    const int n = c->body.len < 200 ? (int)c->body.len : 200;
    snprintf(text, sizeof text, "HTTP %d %.*s", c->response.status, n, n > 0 ? c->body.ptr : "");
    return text;
}

static bool open_socket(doctor *d, const char *user, const tws_buf *token, const char *query)
{
    tasks_target(&d->target, &d->common, user, query);
    const char *head = NULL;
    if (token != NULL) {
        authorization(&d->head, token, "");
        head = d->head.ptr;
    }
    return connect_to(d, &d->reader) &&
           client_upgrade(&d->reader, d->target.ptr, head, TIMEOUT_MS);
}

/* Read up to the next message of that type. */
static bool next_of_type(client *c, const char *type)
{
    const uint64_t until = client_now_ms() + TIMEOUT_MS;
    while (client_now_ms() < until && client_receive(c, TIMEOUT_MS) == CLIENT_MESSAGE) {
        if (tws_str_eq_c(json_word(tws_buf_view(&c->body), "type"), type)) {
            return true;
        }
    }
    return false;
}

static bool follow(doctor *d, const char *query)
{
    return open_socket(d, d->user, &d->token, query) && next_of_type(&d->reader, "connected");
}

/* Publish one event; its id. False with what_came(&d->worker). */
static bool publish(doctor *d, const char *message, char id[64])
{
    char event[200];
    const tws_buf *token = options_has_secret(&d->common) ? &d->other : &d->token;
    if (token == &d->other &&
        !token_make(&d->common, "doctor", "publish", TOKEN_LIFE_S, &d->other)) {
        return false;
    }
    snprintf(event, sizeof event,
             "{\"task_id\":\"doctor\",\"status\":\"completed\",\"progress\":100,"
             "\"message\":\"%s\"}", message);
    tasks_target(&d->target, &d->common, d->user, "");
    int status = ask_as(d, &d->worker, "POST", d->target.ptr, token, tws_str_c(event));
    const tws_str got = json_word(tws_buf_view(&d->worker.body), "id");
    snprintf(id, 64, "%.*s", (int)got.len, got.len > 0 ? got.ptr : "");
    return status == 202 && got.len > 0;
}

/* -- the checks: each reports itself -- */

static const tws_str no_body = {NULL, 0};

static bool check_tcp(doctor *d)
{
    const double begin = now_ms();
    if (!connect_to(d, &d->worker)) {
        fail(d, "TCP", "%s port %s: %s", d->common.host, d->common.port, d->worker.error);
        return false;
    }
    pass(d, "TCP", "%s port %s, %.1f ms", d->common.host, d->common.port, now_ms() - begin);
    return true;
}

static void check_health(doctor *d)
{
    client *c = &d->worker;
    const int status = ask(d, c, "GET", "/health", NULL, no_body);
    const tws_str version = json_word(tws_buf_view(&c->body), "version");
    if (status == 200 && tws_str_eq_c(json_word(tws_buf_view(&c->body), "status"), "healthy")) {
        pass(d, "/health", "version %.*s", (int)version.len, version.ptr);
    } else {
        fail(d, "/health", "%s (does the proxy pass it on?)", what_came(c));
    }
}

/* Nothing can be delivered else, and each further check would say so in other words. */
static bool check_ready(doctor *d)
{
    const bool ready = ask(d, &d->worker, "GET", "/ready", NULL, no_body) == 200;
    if (ready) {
        pass(d, "/ready", "events can be delivered");
    } else {
        fail(d, "/ready", "%s (unless it is draining, its log says what is wrong with Redis)",
             what_came(&d->worker));
    }
    return ready;
}

static void check_status(doctor *d)
{
    client *c = &d->worker;
    char target[300];
    snprintf(target, sizeof target, "%s/status", d->common.prefix);
    const int got = ask_as(d, c, "GET", target, &d->token, no_body);
    if (got != 200) {
        fail(d, "status", "%s%s", got == 404 ? "nothing there; is the --prefix the server's? " : "",
             what_came(c));
        return;
    }
    const tws_str body = tws_buf_view(&c->body);
    const tws_str total = json_part(json_part(body, "connections"), "total");
    const tws_str uptime = json_part(body, "uptime_s");
    const tws_str redis = json_part(body, "redis");
    pass(d, "status", "up %.*s s, %.*s connections", (int)uptime.len, uptime.ptr, (int)total.len,
         total.ptr);
    if (redis.len == 0 || tws_str_eq_c(redis, "null")) {
        note(d, "Redis", "none: events live in this one process and end with it");
    } else {
        note(d, "Redis", "%.*s", (int)redis.len, redis.ptr);
    }
}

static void check_routes(doctor *d)
{
    client *c = &d->worker;
    char target[300];
    if (ask(d, c, "GET", "/no/such/path", NULL, no_body) == 404 && is_error(c, NULL)) {
        pass(d, "unknown path", "404 in JSON");
    } else {
        fail(d, "unknown path", "not a 404 in JSON: %s", what_came(c));
    }
    snprintf(target, sizeof target, "%s/status", d->common.prefix);
    if (ask(d, c, "DELETE", target, NULL, no_body) == 405 && is_error(c, NULL) &&
        tws_http_find_response(&c->response, "Allow") != NULL) {
        pass(d, "wrong method", "405 in JSON, with Allow");
    } else {
        fail(d, "wrong method", "not a 405 in JSON with Allow: %s", what_came(c));
    }
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* False: there is no WebSocket here, and no use in checking what one does. */
static bool check_handshakes(doctor *d)
{
    double took[HANDSHAKES];
    for (size_t i = 0; i < HANDSHAKES; i++) {
        const double begin = now_ms();
        if (!open_socket(d, d->user, &d->token, "")) {
            fail(d, "handshake", "number %zu: %s%s", i + 1, what_came(&d->reader),
                 d->reader.response.status == 426 ? " (a proxy drops Upgrade?)" : "");
            return false;
        }
        took[i] = now_ms() - begin;
        client_close(&d->reader, 1000, TIMEOUT_MS);
    }
    qsort(took, HANDSHAKES, sizeof *took, by_size);
    pass(d, "handshake", "median %.1f ms, slowest %.1f ms of %d, TCP included",
         (took[HANDSHAKES / 2 - 1] + took[HANDSHAKES / 2]) / 2, took[HANDSHAKES - 1], HANDSHAKES);
    return true;
}

static void check_http_refusal(doctor *d)
{
    client *c = &d->worker;
    tasks_target(&d->target, &d->common, d->user, "");
    const int status = ask(d, c, "GET", d->target.ptr, NULL, no_body);
    const char *name = "HTTP without token";
    if (status != 401 || !is_error(c, "token_missing")) {
        fail(d, name, "not 401 token_missing in JSON: %s", what_came(c));
    } else if (tws_http_find_response(&c->response, "WWW-Authenticate") == NULL) {
        fail(d, name, "401 without WWW-Authenticate");
    } else {
        pass(d, name, "401 token_missing in JSON");
    }
}

/* The open socket must bring that error as JSON, then its close code, then the connection's end,
 * and no reset: what a browser can tell its user. */
static void expect_refusal(doctor *d, const char *name, const char *word, uint16_t code)
{
    client *c = &d->reader;
    if (!next_of_type(c, "error")) {
        fail(d, name, "no error message came, but %s %u", c->reset ? "a reset" : "close",
             c->close_code);
        return;
    }
    char got[64];
    const tws_str said = json_word(tws_buf_view(&c->body), "code");
    snprintf(got, sizeof got, "%.*s", (int)said.len, said.len > 0 ? said.ptr : "");
    if (strcmp(got, word) != 0) {
        fail(d, name, "the error was %s instead of %s", got, word);
        return;
    }
    while (client_receive(c, TIMEOUT_MS) == CLIENT_MESSAGE) {
    }
    const uint16_t closed = c->close_code;
    const bool ended = client_close(c, 1000, TIMEOUT_MS);
    if (closed != code || !ended) {
        fail(d, name, "%s, then close %u instead of %u%s", got, closed, code,
             c->reset ? ", and a reset" : ended ? "" : ", and no end");
        return;
    }
    pass(d, name, "accepted, %s as JSON, close %u, no reset", got, closed);
}

static void check_refusal(doctor *d, const char *name, const char *user, const tws_buf *token,
                          const char *word, uint16_t code)
{
    static const char empty[] = "{\"type\":\"auth\",\"token\":\"\"}";
    if (!open_socket(d, user, token, "")) {
        fail(d, name, "refused before it was accepted, so that a browser cannot see why: %s",
             what_came(&d->reader));
        return;
    }
    if (token == NULL) {
        (void)client_send(&d->reader, TWS_WS_TEXT, tws_str_c(empty), TIMEOUT_MS);
    }
    expect_refusal(d, name, word, code);
}

static void check_refusals(doctor *d)
{
    check_refusal(d, "without token", d->user, NULL, "token_missing", 4401);
    tws_buf_clear(&d->other);
    tws_buf_c(&d->other, "not.a-token");
    check_refusal(d, "malformed token", d->user, &d->other, "token_malformed", 4401);
    check_refusal(d, "another's tasks", "doctor-another", &d->token, "forbidden_user", 4403);
    if (!options_has_secret(&d->common)) {
        skip(d, "expired token", "needs the secret");
        return;
    }
    if (token_make(&d->common, d->user, NULL, -3600, &d->other)) {
        check_refusal(d, "expired token", d->user, &d->other, "token_expired", 4401);
    }
}

static void check_ping(doctor *d)
{
    client *c = &d->reader;
    if (!follow(d, "?format=json")) {
        fail(d, "ping", "no `connected` came: %s", what_came(c));
        return;
    }
    const double begin = now_ms();
    (void)client_send(c, TWS_WS_PING, tws_str_c("doctor"), TIMEOUT_MS);
    (void)client_send(c, TWS_WS_TEXT, tws_str_c("{\"type\":\"ping\"}"), TIMEOUT_MS);
    if (!next_of_type(c, "pong")) {
        fail(d, "ping", "the message {\"type\":\"ping\"} was not answered");
    } else if (c->pongs == 0) {
        fail(d, "ping", "the message was answered, the ping frame before it was not");
    } else {
        pass(d, "ping", "frame and message answered, %.1f ms", now_ms() - begin);
    }
    if (client_close(c, 1000, TIMEOUT_MS)) {
        pass(d, "close", "answered, then the connection ended without a reset");
    } else {
        fail(d, "close", "%s", c->reset ? "the connection was reset" : "not answered");
    }
}

/* Read events until the one of that id. How many came, that one included; 0: it did not. */
static unsigned events_until(client *c, const char *id)
{
    for (unsigned n = 1; next_of_type(c, "task"); n++) {
        if (tws_str_eq_c(json_word(tws_buf_view(&c->body), "id"), id)) {
            return n;
        }
    }
    return 0;
}

/* True: it works, and *first is the id of an event. */
static bool check_publish(doctor *d, char first[64])
{
    if (!follow(d, "?format=json")) {
        fail(d, "publish", "no `connected` came: %s", what_came(&d->reader));
        return false;
    }
    const double begin = now_ms();
    if (!publish(d, "one", first)) {
        if (d->worker.response.status == 403) {
            skip(d, "publish", "the token has not the scope publish");
        } else {
            fail(d, "publish", "%s", what_came(&d->worker));
        }
        return false;
    }
    const double stored = now_ms() - begin;
    if (events_until(&d->reader, first) == 0) {
        fail(d, "publish", "stored as %s, but it did not arrive", first);
        return false;
    }
    pass(d, "publish", "stored after %.1f ms, there after %.1f ms", stored, now_ms() - begin);
    client_close(&d->reader, 1000, TIMEOUT_MS);
    return true;
}

static void check_resume(doctor *d, const char *first)
{
    char second[64], third[64], query[96];
    snprintf(query, sizeof query, "?format=json&since=%s", first);
    if (!publish(d, "two", second) || !publish(d, "three", third)) {
        fail(d, "resume", "%s", what_came(&d->worker));
    } else if (!follow(d, query)) {
        fail(d, "resume", "no `connected` came: %s", what_came(&d->reader));
    } else if (events_until(&d->reader, second) != 1 || events_until(&d->reader, third) != 1) {
        fail(d, "resume", "not exactly the two events after %s", first);
    } else {
        pass(d, "resume", "exactly the two events after %s", first);
    }
    client_close(&d->reader, 1000, TIMEOUT_MS);
}

static bool stream_has(const client *c, const char *what)
{
    const size_t n = strlen(what);
    for (size_t i = c->in_at; i + n <= c->in_len; i++) {
        if (memcmp(c->in + i, what, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Does the stream bring that, while it stays open? A proxy that gathers answers keeps it. */
static bool stream_brings(client *c, const char *what)
{
    const uint64_t until = client_now_ms() + TIMEOUT_MS;
    while (!stream_has(c, what)) {
        if (client_fill(c, until) <= 0) {
            return false;
        }
    }
    return true;
}

static void check_events(doctor *d, bool publishes)
{
    client *c = &d->reader;
    char id[64];
    tasks_target(&d->target, &d->common, d->user, "");
    authorization(&d->head, &d->token, "Accept: text/event-stream\r\n");
    if (!connect_to(d, c) ||
        !client_send_request(c, "GET", d->target.ptr, d->head.ptr, no_body, TIMEOUT_MS) ||
        !client_read_head(c, TIMEOUT_MS)) {
        fail(d, "server-sent events", "%s", c->error);
        return;
    }
    const tws_str *type = tws_http_find_response(&c->response, "Content-Type");
    if (c->response.status != 200 || type == NULL || !tws_str_starts(*type, "text/event-stream")) {
        fail(d, "server-sent events", "HTTP %d, not a text/event-stream", c->response.status);
    } else if (!stream_brings(c, "event: connected")) {
        fail(d, "server-sent events", "nothing arrives: a proxy gathers answers (proxy_buffering)");
    } else if (publishes && (!publish(d, "four", id) || !stream_brings(c, id))) {
        fail(d, "server-sent events", "an event published now does not arrive now");
    } else {
        pass(d, "server-sent events", "text/event-stream, arrives at once");
    }
    client_disconnect(c);
}

static void check_proxy(doctor *d)
{
    client *c = &d->worker;
    if (ask(d, c, "GET", "/health", NULL, no_body) == 0) {
        fail(d, "proxy", "%s", c->error);
        return;
    }
    const tws_str *via = tws_http_find_response(&c->response, "Via");
    const tws_str *server = tws_http_find_response(&c->response, "Server");
    const tws_str *seen = via != NULL ? via : server;
    if (seen != NULL) {
        note(d, "proxy", "there is one: %.*s; the checks above went through it", (int)seen->len,
             seen->ptr);
    } else {
        note(d, "proxy", "none that says so (no Via, no Server)");
    }
}

/* -- the command line -- */

/* Whose token it is; "" if that is no user that a server takes. */
static void user_of_token(doctor *d)
{
    static char scratch[TWS_JWT_MAX * 2];
    tws_json_token sub = {TWS_JSON_END, {NULL, 0}, false};
    tws_jwt jwt;
    tws_buf user;
    tws_buf_fixed(&user, d->user, TWS_MAX_USER_ID);
    if (tws_jwt_open(&jwt, tws_buf_view(&d->token), scratch, sizeof scratch) == TWS_JWT_OK) {
        (void)tws_json_member(jwt.payload, tws_str_c("sub"), &sub);
    }
    if (sub.type == TWS_JSON_STRING) {
        tws_json_unescape(&sub, &user);
    } else if (sub.type == TWS_JSON_NUMBER) {
        tws_buf_str(&user, sub.text);
    }
    d->user[user.status == TWS_OK ? user.len : 0] = '\0';
}

/* Whose tasks: the user given, the token's own, or one made up for this run. */
static bool choose_user(doctor *d)
{
    const bool has_token = d->common.token != NULL || d->common.token_file != NULL;
    uint32_t number;
    if (d->common.user != NULL) {
        snprintf(d->user, sizeof d->user, "%s", d->common.user);
    } else if (!has_token) {
        client_random(&number, sizeof number);
        snprintf(d->user, sizeof d->user, "doctor-%08x", number);
    }
    if (!options_token(&d->common, d->user, "publish", TOKEN_LIFE_S, &d->token)) {
        return false;
    }
    if (d->user[0] == '\0') {
        user_of_token(d);
    }
    if (d->user[0] == '\0') {
        fprintf(stderr, "the token names no user of 1 to 128 bytes; give --user\n");
    }
    return d->user[0] != '\0';
}

static bool check_websocket(doctor *d, bool ready)
{
    char first[64];
    if (!check_handshakes(d)) {
        skip(d, "WebSocket", "all other checks of it");
        return false;
    }
    check_refusals(d);
    if (!ready) {
        skip(d, "delivery", "all checks of it: the server is not ready, see above");
        return false;
    }
    check_ping(d);
    if (!check_publish(d, first)) {
        skip(d, "resume", "nothing published");
        return false;
    }
    check_resume(d, first);
    return true;
}

static int run(doctor *d)
{
    if (check_tcp(d)) {
        check_health(d);
        const bool ready = check_ready(d);
        check_status(d);
        check_routes(d);
        check_http_refusal(d);
        const bool publishes = check_websocket(d, ready);
        if (ready) {
            check_events(d, publishes);
        }
        check_proxy(d);
    }
    printf("%u ok, %u failed, %u skipped\n", d->count[PASSED], d->count[FAILED],
           d->count[SKIPPED]);
    return d->count[FAILED] > 0 ? 1 : 0;
}

static bool take(arguments *a, doctor *d)
{
    return option_of_server(a, &d->common) || option_of_token(a, &d->common) ||
           option_of_secret(a, &d->common) || flag(a, "--no-color", &d->no_color) ||
           flag(a, "--help", &d->wants_help);
}

int main(int argc, char **argv)
{
    arguments a = {argc, argv, 1};
    static doctor d;
    options_init(&d.common);
    for (; a.at < argc; a.at++) {
        if (!take(&a, &d)) {
            usage_error("unknown option", argv[a.at]);
        }
    }
    if (d.wants_help) {
        fputs(help, stdout);
        return 0;
    }
    d.no_color = d.no_color || !isatty(STDOUT_FILENO) || variable("NO_COLOR") != NULL;
    options_end(&d.common);
    d.reader.fd = -1;
    d.worker.fd = -1;
    tws_buf_init(&d.token, NULL, 65536);
    tws_buf_init(&d.other, NULL, 65536);
    tws_buf_init(&d.head, NULL, 65536 + 200);
    tws_buf_init(&d.target, NULL, 4096);
    return choose_user(&d) ? run(&d) : 1;
}
