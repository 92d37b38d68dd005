/* test_21_task_server.c: the endpoint, over real sockets, on the in-memory store. */
#include "test.h"

#include "peer.h"

#define SECRET "a secret of thirty-two bytes, ok"
#define TASKS "/api/v1/ws/tasks/"

/* -- an endpoint, stepped by whoever waits -- */

static tws_task_server *endpoint;

static tws_task_server_desc quiet(void)
{
    tws_task_server_desc d;
    memset(&d, 0, sizeof d);
    d.port = TWS_PORT_ANY;
    d.jwt_secret = SECRET;
    d.log.level = TWS_LOG_NONE;
    d.drain_ms = TWS_OFF;
    d.limits.close_ms = 2000;
    return d;
}

static int start(const tws_task_server_desc *d)
{
    char memory[256];
    tws_buf error;
    tws_buf_fixed(&error, memory, sizeof memory);
    CHECK_EQ(tws_task_server_create(&endpoint, d, &error), TWS_OK);
    CHECK_EQ(tws_server_listen(tws_task_server_base(endpoint), &error), TWS_OK);
    CHECK_STR(tws_buf_view(&error), "");
    peer_server = tws_task_server_base(endpoint);
    return tws_server_port(peer_server);
}

static int start_quiet(void)
{
    tws_task_server_desc d = quiet();
    return start(&d);
}

static void stop(void)
{
    peer_server = NULL;
    tws_task_server_free(endpoint);
    endpoint = NULL;
}

static int64_t now_s(void)
{
    return (int64_t)(tws_sys_wall_ms() / 1000);
}

/* Tokens of one test: each stands in a buffer of its own until 8 later ones are made. */
static const char *token_of(const char *sub, const char *more, int64_t exp_s)
{
    static char text[8][1024];
    static unsigned turn;
    char *out = text[turn++ % 8], claims[256];
    tws_hmac_key key;
    tws_buf b;
    int n = snprintf(claims, sizeof claims, "{\"sub\":\"%s\",\"exp\":%lld%s}", sub, (long long)exp_s, more);
    tws_buf_fixed(&b, out, sizeof text[0] - 1);
    tws_hmac_key_init(&key, SECRET, strlen(SECRET));
    tws_jwt_sign(&b, &key, tws_str_c(""), tws_str_of(claims, (size_t)n));
    out[b.len] = '\0';
    return out;
}

static const char *token(const char *sub)
{
    return token_of(sub, "", now_s() + 3600);
}

static const char *worker(void)
{
    return token_of("w", ",\"scope\":\"publish admin\"", now_s() + 3600);
}

static const char *format(const char *pattern, const char *a, const char *b)
{
    static char text[8][2048];
    static unsigned turn;
    char *out = text[turn++ % 8];
    snprintf(out, sizeof text[0], pattern, a, b);
    return out;
}

static const char *bearer(const char *t)
{
    return format("Authorization: Bearer %s\r\n%s", t, "");
}

static void publish(const char *user, const char *json)
{
    CHECK_EQ(tws_task_server_publish(endpoint, user, json, strlen(json), NULL), TWS_OK);
}

/* A WebSocket of that user's; what stands behind the ? first. */
static void open_user(peer *p, int port, const char *user, const char *query)
{
    peer_init(p);
    CHECK(peer_open(p, port));
    char target[1024];
    snprintf(target, sizeof target, TASKS "%s?%stoken=%s", user, query, token(user));
    CHECK_EQ(peer_upgrade(p, target, NULL), 101);
}

static bool has(const char *text, const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found) {
        printf("# %s has no %s\n", text, part);
    }
    return found;
}

/* The "id" of a task message, in a static buffer. */
static const char *id_of(const char *message)
{
    static char id[48];
    tws_json_token value;
    tws_json_member(tws_str_c(message), tws_str_c("id"), &value);
    snprintf(id, sizeof id, "%.*s", (int)value.text.len, value.text.ptr);
    return id;
}

/* -- refusals: one rule for WebSocket, SSE and HTTP -- */

static const struct {
    const char *name, *user, *query, *word;
    int token; /* 0 none, 1 good, 2 expired, 3 not yet valid, 4 other key, 5 no subject, 6 nonsense */
    int status;
    uint16_t close;
} refusal[] = {
    {"expired", "2", "", "token_expired", 2, 401, 4401},
    {"not yet valid", "2", "", "token_not_yet_valid", 3, 401, 4401},
    {"another key", "2", "", "token_signature", 4, 401, 4401},
    {"no subject", "2", "", "token_claims", 5, 401, 4401},
    {"nonsense", "2", "", "token_malformed", 6, 401, 4401},
    {"another user", "3", "", "forbidden_user", 1, 403, 4403},
    {"01 is not 1", "02", "", "forbidden_user", 1, 403, 4403},
    {"bad since", "2", "since=x&", "bad_request", 1, 400, 4400},
    {"two since", "2", "since=1&since=2&", "bad_request", 1, 400, 4400},
    {"bad format", "2", "format=xml&", "bad_request", 1, 400, 4400},
    {"cut escape", "%2", "", "bad_request", 1, 400, 4400},
    {"NUL in the user", "%00", "", "bad_request", 1, 400, 4400},
    {"not UTF-8", "%ff", "", "bad_request", 1, 400, 4400},
};

static const char *token_kind(int kind)
{
    static char other[1024];
    switch (kind) {
    case 1: return token("2");
    case 2: return token_of("2", "", now_s() - 3600);
    case 3: return token_of("2", ",\"nbf\":9999999999", now_s() + 3600);
    case 4:
        snprintf(other, sizeof other, "%s", token("2"));
        other[strlen(other) - 2] = other[strlen(other) - 2] == 'A' ? 'B' : 'A';
        return other;
    case 5: return token_of("", "", now_s() + 3600);
    default: return "a.b.c";
    }
}

TEST("a WebSocket is accepted first, then refused by an error message and a close code")
{
    int port = start_quiet();
    for (size_t i = 0; i < sizeof refusal / sizeof *refusal; i++) {
        peer p;
        char want[160], target[1200];
        test_row(refusal[i].name, i);
        peer_init(&p);
        peer_open(&p, port);
        snprintf(target, sizeof target, TASKS "%s?%stoken=%s", refusal[i].user, refusal[i].query,
                 token_kind(refusal[i].token));
        CHECK_EQ(peer_upgrade(&p, target, NULL), 101);
        snprintf(want, sizeof want, "\"code\":\"%s\"", refusal[i].word);
        const char *message = peer_text(&p);
        CHECK(has(message, "{\"type\":\"error\"") && has(message, want) && has(message, "\"retry\":"));
        snprintf(want, sizeof want, "\"close\":%u", refusal[i].close);
        CHECK(has(message, want));
        snprintf(want, sizeof want, "closed %u %s", refusal[i].close, refusal[i].word);
        CHECK_TEXT(&p, want);
        CHECK(peer_end(&p));
    }
    stop();
}

TEST("HTTP and SSE are refused with the same words and a status")
{
    int port = start_quiet();
    static const char *const accept[] = {"", "Accept: text/event-stream\r\n"};
    for (size_t i = 0; i < 2 * (sizeof refusal / sizeof *refusal); i++) {
        peer p;
        char want[160], target[1200];
        test_row(refusal[i / 2].name, i);
        peer_init(&p);
        peer_open(&p, port);
        snprintf(target, sizeof target, TASKS "%s?%stoken=%s", refusal[i / 2].user,
                 refusal[i / 2].query, token_kind(refusal[i / 2].token));
        CHECK_EQ(peer_get(&p, target, accept[i % 2]), refusal[i / 2].status);
        snprintf(want, sizeof want, "{\"error\":{\"code\":\"%s\",\"message\":\"", refusal[i / 2].word);
        CHECK(has(p.body.ptr, want));
        CHECK(refusal[i / 2].status != 401 || tws_str_eq_c(peer_field(&p, "WWW-Authenticate"), "Bearer"));
        CHECK_EQ(peer_get(&p, "/health", NULL), 200); /* the connection goes on */
        peer_close(&p);
    }
    stop();
}

/* -- where a token may stand -- */

TEST("a token may stand in each of its places")
{
    tws_task_server_desc d = quiet();
    d.token_cookie = "session";
    int port = start(&d);
    const char *t = token("2");
    const struct {
        const char *name, *query, *fields;
    } row[] = {
        {"header", "", bearer(t)},
        {"header, any case", "", format("authorization: bEARER %s\r\n%s", t, "")},
        {"query", format("?token=%s%s", t, ""), NULL},
        {"subprotocol", "", format("Sec-WebSocket-Protocol: taskws.v1, bearer.%s\r\n%s", t, "")},
        {"cookie", "", format("Cookie: a=b; session=%s\r\n%s", t, "")},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        peer p;
        test_row(row[i].name, i);
        peer_init(&p);
        peer_open(&p, port);
        CHECK_EQ(peer_upgrade(&p, format(TASKS "2%s%s", row[i].query, ""), row[i].fields), 101);
        CHECK_STR(peer_field(&p, "Sec-WebSocket-Protocol"), i == 3 ? "taskws.v1" : "");
        CHECK(has(peer_text(&p), "\"type\":\"connected\""));
        CHECK(peer_leave(&p, 1000));
    }
    stop();
}

TEST("a token may come in the first message, and must within its deadline")
{
    tws_task_server_desc d = quiet();
    d.auth_ms = 100;
    int port = start(&d);
    peer p;
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_upgrade(&p, TASKS "2", NULL), 101);
    peer_say(&p, "{\"type\":\"ping\"}");
    CHECK_TEXT(&p, "{\"type\":\"pong\"}");
    peer_say(&p, format("{\"type\":\"auth\",\"token\":\"%s\"}%s", token("2"), ""));
    CHECK(has(peer_text(&p), "\"type\":\"connected\""));
    CHECK(peer_leave(&p, 1000));
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_upgrade(&p, TASKS "2", NULL), 101);
    CHECK(has(peer_text(&p), "\"code\":\"auth_timeout\""));
    CHECK_TEXT(&p, "closed 4408 auth_timeout");
    CHECK(peer_end(&p));
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, TASKS "2", NULL), 401);
    CHECK(has(p.body.ptr, "token_missing"));
    peer_close(&p);
    stop();
}

TEST("bad messages are answered and do no harm; binary ones close")
{
    int port = start_quiet();
    static const char *const bad[] = {"", "x", "[]", "{}", "{\"type\":1}", "{\"type\":\"auth\"}",
                                      "{\"type\":\"auth\",\"token\":5}", "{\"type\":\"nix\"}"};
    peer p;
    open_user(&p, port, "2", "");
    peer_text(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_row(bad[i], i);
        peer_say(&p, bad[i]);
        const char *answer = peer_text(&p);
        CHECK(has(answer, "\"code\":\"bad_message\"") && !strstr(answer, "close"));
    }
    peer_send_frame(&p, true, TWS_WS_BINARY, "x", 1);
    CHECK(has(peer_text(&p), "\"close\":1003"));
    CHECK_TEXT(&p, "closed 1003 bad_message");
    CHECK(peer_end(&p));
    stop();
}

/* -- the end of a token -- */

TEST("a token's end is told, once and in order, and a new one for the same user puts it off")
{
    int port = start_quiet();
    peer p;
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_upgrade(&p, format(TASKS "2?token=%s%s", token_of("2", "", now_s() + 3), ""), NULL), 101);
    CHECK(has(peer_text(&p), "\"type\":\"connected\""));
    CHECK(has(peer_text(&p), "{\"type\":\"expiring\",\"expires_in\":"));
    peer_say(&p, format("{\"type\":\"auth\",\"token\":\"%s\"}%s", token_of("2", "", now_s() - 100), ""));
    CHECK(has(peer_text(&p), "\"code\":\"token_expired\"")); /* refused; the old one still holds */
    peer_say(&p, format("{\"type\":\"auth\",\"token\":\"%s\"}%s", token("2"), ""));
    uint64_t until = tws_sys_now_ms() + 4000;
    while (tws_sys_now_ms() < until) {
        peer_pause();
    }
    publish("2", "{\"task_id\":\"later\"}");
    CHECK(has(peer_text(&p), "later"));
    peer_say(&p, format("{\"type\":\"auth\",\"token\":\"%s\"}%s", token("3"), ""));
    CHECK(has(peer_text(&p), "\"code\":\"forbidden_user\""));
    CHECK_TEXT(&p, "closed 4403 forbidden_user");
    CHECK(peer_end(&p));
    stop();
}

TEST("a connection ends with its token")
{
    int port = start_quiet();
    peer p;
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_upgrade(&p, format(TASKS "2?token=%s%s", token_of("2", "", now_s() + 2), ""), NULL), 101);
    CHECK(has(peer_text(&p), "connected"));
    CHECK(has(peer_text(&p), "expiring"));
    CHECK(has(peer_text(&p), "\"code\":\"token_expired\""));
    CHECK_TEXT(&p, "closed 4401 token_expired");
    CHECK(now_s() >= 2);
    CHECK(peer_end(&p));
    stop();
}

/* -- position, snapshot, resume -- */

TEST("a reader gets the latest event of each task, oldest first, and then what is new")
{
    int port = start_quiet();
    peer p;
    publish("2", "{\"task_id\":\"a\",\"n\":1}");
    publish("2", "{\"task_id\":\"b\",\"n\":2}");
    publish("2", "{\"task_id\":\"a\",\"n\":3}");
    publish("2", "{\"n\":4}"); /* no task: in no snapshot */
    publish("3", "{\"task_id\":\"other user\"}");
    open_user(&p, port, "2", "");
    const char *connected = peer_text(&p);
    CHECK(has(connected, "{\"type\":\"connected\",\"user_id\":\"2\",\"heartbeat_s\":25,\"last_id\":\""));
    CHECK(has(connected, "\"resumed\":false}"));
    CHECK(has(peer_text(&p), ",\"data\":{\"task_id\":\"b\",\"n\":2}}"));
    CHECK(has(peer_text(&p), ",\"data\":{\"task_id\":\"a\",\"n\":3}}"));
    publish("2", "{\"n\": 5 }");
    CHECK(has(peer_text(&p), ",\"data\":{\"n\": 5 }}")); /* byte for byte */
    CHECK(peer_leave(&p, 1000));
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(token("2"))), 200);
    CHECK(has(p.body.ptr, "{\"user_id\":\"2\",\"tasks\":[{\"task_id\":\"b\",\"n\":2},{\"task_id\":\"a\",\"n\":3}],"
                          "\"last_id\":\""));
    CHECK_EQ(peer_get(&p, TASKS "4", bearer(token("4"))), 200);
    CHECK_STR(tws_buf_view(&p.body), "{\"user_id\":\"4\",\"tasks\":[],\"last_id\":\"0-0\"}");
    peer_close(&p);
    stop();
}

TEST("since resumes without a gap and without a repeat; a position that is gone is a reset")
{
    int port = start_quiet();
    peer p;
    char id[48], text[64];
    for (int n = 0; n < 300; n++) { /* the first 44 are given up */
        snprintf(text, sizeof text, "{\"task_id\":\"t\",\"n\":%d}", n);
        publish("2", text);
    }
    open_user(&p, port, "2", "since=0-0&");
    CHECK(has(peer_text(&p), "\"resumed\":true"));
    int first = -1;
    for (int n = 0; n < 256 && first < 256; n++) {
        const char *message = peer_text(&p);
        int got = atoi(strstr(message, "\"n\":") + 4);
        first = first < 0 ? got : first;
        CHECK_EQ(got, first + n);
        if (got == 280) {
            snprintf(id, sizeof id, "%s", id_of(message));
        }
        if (got == 299) {
            break;
        }
    }
    CHECK(peer_leave(&p, 1000));
    open_user(&p, port, "2", format("since=%s&%s", id, ""));
    CHECK(has(peer_text(&p), "\"resumed\":true"));
    for (int n = 281; n < 300; n++) {
        snprintf(text, sizeof text, "\"n\":%d}", n);
        CHECK(has(peer_text(&p), text));
    }
    CHECK(peer_leave(&p, 1000));
    static const char *const gone[] = {"since=1-0&", "since=99999999999999-0&"};
    for (size_t i = 0; i < 2; i++) {
        test_row(gone[i], i);
        open_user(&p, port, "2", gone[i]);
        CHECK(has(peer_text(&p), "\"resumed\":false"));
        CHECK_TEXT(&p, "{\"type\":\"reset\",\"reason\":\"position_gone\"}");
        CHECK(has(peer_text(&p), "\"n\":299}"));
        CHECK(peer_leave(&p, 1000));
    }
    stop();
}

TEST("the raw format brings the worker's JSON and nothing else, errors excepted")
{
    int port = start_quiet();
    peer p;
    publish("2", "{\"task_id\":\"a\"}");
    open_user(&p, port, "2", "format=raw&since=1-0&");
    CHECK_TEXT(&p, "{\"task_id\":\"a\"}");
    publish("2", "{\"b\":1}");
    CHECK_TEXT(&p, "{\"b\":1}");
    CHECK(peer_leave(&p, 1000));
    stop();
}

TEST("Server-Sent Events bring ids, named messages, and resume by Last-Event-ID")
{
    int port = start_quiet();
    peer p;
    char id[48];
    publish("2", "{\"task_id\":\"a\"}");
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, TASKS "2", format("Accept: text/event-stream\r\n%s%s", bearer(token("2")), "")), 200);
    CHECK_STR(peer_field(&p, "Content-Type"), "text/event-stream");
    publish("2", "{\n\"b\":1}"); /* a line break inside does not break the event */
    while (!peer_contains(peer_rest(&p), "\"b\":1}\n\n") && peer_fill(&p)) {
    }
    CHECK(peer_contains(peer_rest(&p), "event: connected\ndata: {\"type\":\"connected\","));
    CHECK(peer_contains(peer_rest(&p), "\ndata: {\"task_id\":\"a\"}\n\n"));
    peer_terminate(&p.in);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(strstr(p.in.ptr, "id: ") + 4, "\n"), strstr(p.in.ptr, "id: ") + 4);
    peer_close(&p);
    peer_init(&p);
    peer_open(&p, port);
    char fields[1200];
    snprintf(fields, sizeof fields, "Accept: text/event-stream\r\nLast-Event-ID: %s\r\n%s", id, bearer(token("2")));
    CHECK_EQ(peer_get(&p, TASKS "2", fields), 200);
    while (!peer_contains(peer_rest(&p), "\"b\":1}\n\n") && peer_fill(&p)) {
    }
    CHECK(peer_contains(peer_rest(&p), "\"resumed\":true"));
    CHECK(!peer_contains(peer_rest(&p), "task_id"));
    peer_close(&p);
    stop();
}

/* -- publishing -- */

static int post(peer *p, const char *user, const char *t, const char *fields, const char *body)
{
    peer_ask(p, "POST", format(TASKS "%s%s", user, ""), format("%s%s", bearer(t), fields), body);
    return peer_answer(p);
}

#define NDJSON "Content-Type: application/x-ndjson; charset=utf-8\r\n"

TEST("a POST publishes one object, or many checked whole before any is stored")
{
    tws_task_server_desc d = quiet();
    d.max_event_bytes = 100;
    int port = start(&d);
    char big[120];
    snprintf(big, sizeof big, "{\"a\":\"%0100d\"}", 0);
    const struct {
        const char *fields, *body;
        int status;
        const char *answer;
    } row[] = {
        {"", "{\"task_id\":\"a\"}", 202, "{\"id\":\""},
        {"", " {\"task_id\":\"a\"}\r\n", 202, "{\"id\":\""},
        {"", "", 400, "the body is not valid JSON"},
        {"", "{", 400, "the body is not valid JSON"},
        {"", "[]", 400, "the body is not a JSON object"},
        {"", "{}{}", 400, "the body is not valid JSON"},
        {"", big, 413, "message_too_big"},
        {NDJSON, "{\"n\":1}\n{\"n\":2}\r\n\n{\"n\":3}", 202, "{\"ids\":[\""},
        {NDJSON, "{}\n\n[]\n", 400, "line 3 is not a JSON object"},
        {NDJSON, "{}\n{", 400, "line 2 is not valid JSON"},
        {NDJSON, "\n\n", 202, "{\"ids\":[]}"},
    };
    peer p;
    peer_init(&p);
    peer_open(&p, port);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row(row[i].body, i);
        CHECK_EQ(post(&p, "2", worker(), row[i].fields, row[i].body), row[i].status);
        CHECK(has(p.body.ptr, row[i].answer));
    }
    test_row("rights", 0);
    CHECK_EQ(post(&p, "2", token("2"), "", "{}"), 403);
    CHECK(has(p.body.ptr, "forbidden_scope"));
    peer_ask(&p, "POST", TASKS "2", bearer(worker()), NULL);
    CHECK_EQ(peer_answer(&p), 411);
    peer_close(&p);
    tws_hub_stats stats;
    tws_hub_stat(endpoint->hub, &stats);
    CHECK_EQ(stats.published, 5); /* nothing of what was refused */
    stop();
}

TEST("the same Idempotency-Key stores its events once, for each user and each line")
{
    int port = start_quiet();
    char first[256];
    peer p;
    tws_hub_stats stats;
    peer_init(&p);
    peer_open(&p, port);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(post(&p, "2", worker(), "Idempotency-Key: k\r\n", "{\"a\":1}"), 202);
        CHECK(i == 0 || strcmp(first, p.body.ptr) == 0);
        snprintf(first, sizeof first, "%s", p.body.ptr);
    }
    CHECK_EQ(post(&p, "3", worker(), "Idempotency-Key: k\r\n", "{\"a\":1}"), 202);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(post(&p, "4", worker(), NDJSON "Idempotency-Key: k\r\n", "{\"a\":1}\n{\"a\":2}"), 202);
    }
    tws_hub_stat(endpoint->hub, &stats);
    CHECK_EQ(stats.published, 4);
    peer_close(&p);
    stop();
}

TEST("a C call says what is wrong with an event")
{
    start_quiet();
    tws_event_id id;
    CHECK_EQ(tws_task_server_publish(endpoint, "2", "{}", 2, &id), TWS_OK);
    CHECK(id.ms != 0);
    CHECK_EQ(tws_task_server_publish(endpoint, "2", "{", 1, NULL), TWS_ERR_SYNTAX);
    CHECK_EQ(tws_task_server_publish(endpoint, "2", "1", 1, NULL), TWS_ERR_ARGUMENT);
    CHECK_EQ(tws_task_server_publish(endpoint, "", "{}", 2, NULL), TWS_ERR_ARGUMENT);
    char *big = (char *)malloc(70000);
    memset(big, ' ', 70000);
    big[0] = '{';
    big[69999] = '}';
    CHECK_EQ(tws_task_server_publish(endpoint, "2", big, 70000, NULL), TWS_ERR_LIMIT);
    free(big);
    stop();
}

/* -- a host's own rule -- */

static struct {
    tws_verdict verdict;
    int asked;
    uint64_t ticket;
} rule;

static tws_verdict by_rule(void *context, const tws_authorize *q)
{
    (void)context;
    rule.asked++;
    rule.ticket = q->ticket;
    return rule.verdict;
}

static void *answer_in_thread(void *arg)
{
    tws_task_server_answer(endpoint, rule.ticket, arg != NULL);
    return NULL;
}

static void answer(bool allowed)
{
    pthread_t id;
    pthread_create(&id, NULL, answer_in_thread, allowed ? &rule : NULL);
    pthread_join(id, NULL);
}

TEST("a host's rule is asked once for a token and a user, at once or later, from any thread")
{
    tws_task_server_desc d = quiet();
    d.authorize = by_rule;
    int port = start(&d);
    const char *t = token("2");
    peer p;
    for (int i = 0; i < 4; i++) {
        bool later = i >= 2, allowed = i % 2 == 0;
        char user[2] = {(char)('5' + i), '\0'};
        rule.verdict = later ? TWS_LATER : allowed ? TWS_ALLOW : TWS_DENY;
        rule.asked = 0;
        for (int again = 0; again < 2; again++) { /* the second time it is remembered */
            test_row(user, (size_t)again);
            peer_init(&p);
            peer_open(&p, port);
            CHECK_EQ(peer_upgrade(&p, format(TASKS "%s?token=%s", user, t), NULL), 101);
            if (later && again == 0) {
                PEER_UNTIL(rule.asked == 1);
                answer(allowed);
            }
            CHECK(has(peer_text(&p), allowed ? "\"type\":\"connected\"" : "forbidden_user"));
            CHECK_EQ(rule.asked, 1);
            CHECK(peer_leave(&p, 1000));
        }
    }
    rule.verdict = TWS_LATER; /* HTTP waits too; and a client may be gone before the answer */
    peer_init(&p);
    peer_open(&p, port);
    rule.asked = 0;
    peer_ask(&p, "POST", TASKS "9", bearer(t), "{\"task_id\":\"x\"}");
    PEER_UNTIL(rule.asked == 1);
    answer(true);
    CHECK_EQ(peer_answer(&p), 202);
    peer_ask(&p, "GET", TASKS "8a", bearer(t), NULL);
    PEER_UNTIL(rule.asked == 2);
    peer_close(&p);
    answer(true);
    for (int i = 0; i < 20; i++) {
        peer_step();
    }
    stop();
}

TEST("keys are replaced while it runs; connections keep what they were given")
{
    int port = start_quiet();
    peer p;
    const char *why = "", *old = token("2");
    open_user(&p, port, "2", "");
    CHECK(has(peer_text(&p), "connected"));
    tws_auth_key key = {"new", "another secret of 32 bytes or so..", 34, 0};
    CHECK_EQ(tws_task_server_set_keys(endpoint, &key, 1, &why), TWS_OK);
    publish("2", "{\"task_id\":\"a\"}");
    CHECK(has(peer_text(&p), "\"a\""));
    CHECK(peer_leave(&p, 1000));
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, TASKS "2", bearer(old)), 401);
    key.secret_len = 3;
    CHECK_EQ(tws_task_server_set_keys(endpoint, &key, 1, &why), TWS_ERR_ARGUMENT);
    peer_close(&p);
    stop();
}

/* -- limits -- */

TEST("a user has so many readers and no more; another user is served")
{
    tws_task_server_desc d = quiet();
    d.max_per_user = 2;
    int port = start(&d);
    peer p[3], other;
    for (int i = 0; i < 3; i++) {
        open_user(&p[i], port, "2", "");
        CHECK(has(peer_text(&p[i]), i < 2 ? "connected" : "\"code\":\"too_many_connections\""));
    }
    CHECK_TEXT(&p[2], "closed 4429 too_many_connections");
    open_user(&other, port, "3", "");
    CHECK(has(peer_text(&other), "connected"));
    CHECK(peer_end(&p[2]));
    CHECK(peer_leave(&p[0], 1000));
    open_user(&p[2], port, "2", "");
    CHECK(has(peer_text(&p[2]), "connected"));
    CHECK(peer_leave(&p[1], 1000));
    CHECK(peer_leave(&p[2], 1000));
    CHECK(peer_leave(&other, 1000));
    stop();
}

TEST("who falls behind is told, and then gets the last status of every task")
{
    int port = start_quiet();
    peer p;
    char text[128];
    open_user(&p, port, "2", "");
    CHECK(has(peer_text(&p), "connected"));
    /* All in one turn: the ring passes the reader before it is served. */
    for (int n = 0; n < 1000; n++) {
        snprintf(text, sizeof text, "{\"task_id\":\"t%d\",\"n\":%d}", n % 10, n);
        publish("2", text);
    }
    CHECK_TEXT(&p, "{\"type\":\"reset\",\"reason\":\"slow_consumer\"}");
    for (int n = 990; n < 1000; n++) {
        snprintf(text, sizeof text, "{\"task_id\":\"t%d\",\"n\":%d}}", n % 10, n);
        CHECK(has(peer_text(&p), text));
    }
    CHECK(peer_leave(&p, 1000));
    stop();
}

/* -- status, health, metrics -- */

TEST("health, readiness, status and metrics tell what they promise")
{
    tws_task_server_desc d = quiet();
    int port = start(&d);
    peer p, reader;
    open_user(&reader, port, "2", "");
    CHECK(has(peer_text(&reader), "connected"));
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, "/health", NULL), 200);
    CHECK_STR(tws_buf_view(&p.body), "{\"status\":\"healthy\",\"version\":\"" TWS_VERSION "\"}");
    CHECK_EQ(peer_get(&p, "/ready", NULL), 200);
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", NULL), 401);
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", bearer(token("2"))), 200);
    CHECK(tws_json_valid(tws_buf_view(&p.body)));
    CHECK(has(p.body.ptr, "\"connections\":{\"total\":2,\"streams\":1,\"yours\":1}"));
    CHECK(has(p.body.ptr, "\"store\":\"memory\"") && !strstr(p.body.ptr, "\"hub\""));
    CHECK_EQ(peer_get(&p, "/api/v1/ws/status", bearer(worker())), 200);
    CHECK(has(p.body.ptr, "\"hub\":{\"topics\":1,\"readers\":1"));
    CHECK_EQ(peer_get(&p, "/metrics", NULL), 200);
    CHECK(has(p.body.ptr, "\ntaskws_readers 1\n"));
    static const char proxied[] = "X-Forwarded-For: 127.0.0.1\r\n"; /* loopback, but not a local one */
    CHECK_EQ(peer_get(&p, "/metrics", proxied), 401);
    CHECK_EQ(peer_get(&p, "/metrics", format("%s%s", proxied, bearer(token("2")))), 403);
    CHECK_EQ(peer_get(&p, "/metrics", format("%s%s", proxied, bearer(worker()))), 200);
    peer_close(&p);
    CHECK(peer_leave(&reader, 1000));
    stop();
}

TEST("a page of a listed Origin may read the answers; another is refused")
{
    tws_task_server_desc d = quiet();
    d.origins = "https://app.example";
    int port = start(&d);
    peer p;
    peer_init(&p);
    peer_open(&p, port);
    CHECK_EQ(peer_get(&p, TASKS "2", format("Origin: https://app.example\r\n%s%s", bearer(token("2")), "")), 200);
    CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "https://app.example");
    static const char *const bad[] = {"https://app.example.evil", "http://app.example", "null",
                                      "https://app.example:444"};
    for (size_t i = 0; i < 4; i++) {
        test_row(bad[i], i);
        CHECK_EQ(peer_get(&p, TASKS "2", format("Origin: %s\r\n%s", bad[i], bearer(token("2")))), 403);
        CHECK(has(p.body.ptr, "forbidden_origin"));
        CHECK_STR(peer_field(&p, "Access-Control-Allow-Origin"), "");
    }
    peer_close(&p);
    stop();
}

/* -- tokens never reach a log -- */

static char logged[65536];
static size_t logged_len;

static void keep_log(void *context, const char *line, size_t len)
{
    (void)context;
    if (len < sizeof logged - logged_len) {
        memcpy(logged + logged_len, line, len);
        logged_len += len;
    }
}

TEST("no token reaches the log, wherever it stood and however it was refused")
{
    tws_task_server_desc d = quiet();
    d.log.level = TWS_LOG_DEBUG;
    d.log.write = keep_log;
    logged_len = 0;
    int port = start(&d);
    for (int kind = 1; kind <= 5; kind++) {
        peer p;
        const char *t = token_kind(kind);
        peer_init(&p);
        peer_open(&p, port);
        peer_get(&p, format(TASKS "9?token=%s%s", t, ""), bearer(t));
        peer_get(&p, format(TASKS "%s?token=%s", t, t), NULL); /* as a user id, too */
        peer_close(&p);
        CHECK(!peer_contains(tws_str_of(logged, logged_len), t));
        CHECK(!peer_contains(tws_str_of(logged, logged_len), strrchr(t, '.') + 1));
    }
    CHECK(peer_contains(tws_str_of(logged, logged_len), "refused"));
    stop();
}

/* -- memory -- */

TEST("delivering allocates nothing: one allocation an event, whoever reads")
{
    tws_allocator a = test_allocator();
    tws_task_server_desc d = quiet();
    d.allocator = &a;
    int port = start(&d);
    enum { READERS = 8, EVENTS = 20000 };
    peer p[READERS];
    for (int i = 0; i < READERS; i++) {
        open_user(&p[i], port, "2", "");
        CHECK(has(peer_text(&p[i]), "connected"));
    }
    for (int n = 0; n < 600; n++) { /* the ring has its size */
        publish("2", "{\"task_id\":\"a\",\"status\":\"running\"}");
        for (int i = 0; i < READERS; i++) {
            CHECK(peer_message(&p[i]));
        }
    }
    test_fail_at(0);
    for (int n = 0; n < EVENTS; n += 20) {
        for (int k = 0; k < 20; k++) {
            publish("2", "{\"task_id\":\"a\",\"status\":\"running\"}");
        }
        for (int i = 0; i < 20 * READERS; i++) {
            CHECK(peer_message(&p[i % READERS]));
        }
    }
    CHECK_EQ(test_allocations(), EVENTS);
    for (int i = 0; i < READERS; i++) {
        CHECK(peer_leave(&p[i], 1000));
    }
    stop();
}

TEST("whatever allocation fails in a session, the endpoint goes on and nothing leaks")
{
    tws_allocator a = test_allocator();
    tws_task_server_desc d = quiet();
    d.allocator = &a;
    for (size_t n = 1;; n++) {
        int port = start(&d);
        peer p, q;
        test_fail_at(n);
        peer_init(&p);
        peer_open(&p, port);
        peer_upgrade(&p, format(TASKS "2?token=%s%s", token("2"), ""), NULL);
        peer_init(&q);
        peer_open(&q, port);
        post(&q, "2", worker(), NDJSON, "{\"task_id\":\"a\"}\n{\"task_id\":\"b\"}");
        peer_get(&q, TASKS "2", bearer(token("2")));
        bool met = test_allocations() >= n;
        test_fail_at(0);
        peer_close(&p);
        peer_close(&q);
        peer_init(&q);
        peer_open(&q, port);
        CHECK_EQ(peer_get(&q, TASKS "2", bearer(token("2"))), 200);
        peer_close(&q);
        stop();
        CHECK_EQ(test_live_blocks(), 0);
        if (!met) {
            CHECK(n > 8);
            break;
        }
    }
}

/* -- threads -- */

static void *serve(void *arg)
{
    (void)arg;
    tws_server_run(tws_task_server_base(endpoint));
    return NULL;
}

static void *publish_many(void *arg)
{
    char text[64];
    for (int n = 0; n < 500; n++) {
        snprintf(text, sizeof text, "{\"w\":%d,\"n\":%d}", *(int *)arg, n);
        tws_task_server_publish(endpoint, "2", text, strlen(text), NULL);
        if (n % 50 == 0) {
            poll(NULL, 0, 1);
        }
    }
    return NULL;
}

TEST("four threads publish, four serve, and each reader hears each event once and in order")
{
    enum { READERS = 12, WORKERS = 4 };
    tws_task_server_desc d = quiet();
    d.threads = 4;
    d.retain_events = 4096;
    d.retain_bytes = 1u << 20;
    int port = start(&d);
    peer_server = NULL;
    pthread_t server, id[WORKERS];
    int number[WORKERS];
    peer p[READERS];
    pthread_create(&server, NULL, serve, NULL);
    for (int i = 0; i < READERS; i++) {
        open_user(&p[i], port, "2", "since=0-0&");
        CHECK(has(peer_text(&p[i]), "connected"));
    }
    for (int i = 0; i < WORKERS; i++) {
        number[i] = i;
        pthread_create(&id[i], NULL, publish_many, &number[i]);
    }
    for (int i = 0; i < READERS; i++) {
        int next[WORKERS] = {0};
        for (int k = 0; k < WORKERS * 500; k++) {
            const char *text = peer_text(&p[i]);
            const char *w = strstr(text, "\"w\":"), *n = strstr(text, "\"n\":");
            if (w == NULL || n == NULL) {
                CHECK_STR(tws_str_c(text), "an event");
                break;
            }
            CHECK_EQ(atoi(n + 4), next[atoi(w + 4)]++);
        }
        CHECK(peer_leave(&p[i], 1000));
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(id[i], NULL);
    }
    tws_server_stop(tws_task_server_base(endpoint));
    pthread_join(server, NULL);
    stop();
}

TEST("an endpoint that cannot be made says what to do")
{
    static const struct {
        const char *secret, *redis, *prefix, *part;
    } row[] = {
        {"", NULL, NULL, "32 random bytes"},
        {"short", NULL, NULL, "32 random bytes"},
        {SECRET, "http://x", NULL, "redis://"},
        {SECRET, NULL, "/api/api", "/api"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char memory[512];
        tws_buf error;
        tws_task_server *ts = NULL;
        tws_task_server_desc d = quiet();
        test_row(row[i].part, i);
        d.jwt_secret = row[i].secret;
        d.redis_url = row[i].redis;
        d.prefix = row[i].prefix;
        tws_buf_fixed(&error, memory, sizeof memory - 1);
        tws_status status = tws_task_server_create(&ts, &d, &error);
        memory[error.len] = '\0';
        CHECK(i == 3 || (status != TWS_OK && has(memory, row[i].part)));
        tws_task_server_free(ts);
    }
}
