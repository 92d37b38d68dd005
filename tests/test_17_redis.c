/* Section 17: a session with Redis, by a made-up clock and bytes in arrays.
 *
 * What the session writes is read back as commands, `WORD WORD | WORD`; what it gives is noted as
 *     event(42 5-0 {"a":1})   loaded(42 4-7)   lost(42 4-7)   stored(7 5-0)   failed(42 7 oom: why)
 *     dropped(42 5-0: why)   state(ready)   state(loading: why)
 * where 18446744073709551615, the highest sequence of a millisecond, is written `max`. */
#include "test.h"

#define C TWS_REDIS_COMMANDS
#define S TWS_REDIS_SUBSCRIBER

static tws_allocator counting;
static tws_redis_url url;
static tws_redis_desc desc;
static tws_redis *r;
static uint64_t now_ms;
static char noted[1 << 17];
static char said[1 << 16];
static char probe_channel[64];

/* -- notes -- */

static void note(const char *format, ...)
{
    size_t at = strlen(noted);
    va_list args;
    va_start(args, format);
    if (at > 0) {
        noted[at++] = ' ';
    }
    vsnprintf(noted + at, sizeof noted - at, format, args);
    va_end(args);
}

static const char *id_text(tws_event_id id)
{
    static char text[2][64];
    static int turn;
    char *to = text[turn++ & 1];
    if (id.seq == UINT64_MAX) {
        snprintf(to, 64, "%llu-max", (unsigned long long)id.ms);
    } else {
        snprintf(to, 64, "%llu-%llu", (unsigned long long)id.ms, (unsigned long long)id.seq);
    }
    return to;
}

static void note_event(const tws_redis_event *ev)
{
    const char *colon = ev->reason.len > 0 ? ": " : "";
    int reason_len = (int)ev->reason.len;
    const char *reason = reason_len > 0 ? ev->reason.ptr : "";
    int user_len = (int)ev->user_id.len;
    const char *user = ev->user_id.ptr;
    unsigned long long ticket = ev->ticket;
    switch (ev->type) {
    case TWS_REDIS_NONE: break;
    case TWS_REDIS_EVENT:
        note("event(%.*s %s %.*s)", user_len, user, id_text(ev->id), (int)ev->json.len, ev->json.ptr);
        break;
    case TWS_REDIS_LOADED: note("loaded(%.*s %s)", user_len, user, id_text(ev->id)); break;
    case TWS_REDIS_LOST:
        note("%s(%.*s %s)", ev->again ? "again" : "lost", user_len, user, id_text(ev->id));
        break;
    case TWS_REDIS_STORED: note("stored(%llu %s)", ticket, id_text(ev->id)); break;
    case TWS_REDIS_FAILED:
        note("failed(%.*s %llu %s%s%.*s)", user_len, user, ticket, tws_redis_state_word(ev->state),
             colon, reason_len, reason);
        break;
    case TWS_REDIS_DROPPED:
        note("dropped(%.*s %s%s%.*s)", user_len, user, id_text(ev->id), colon, reason_len, reason);
        break;
    case TWS_REDIS_STATE:
        note("state(%s%s%.*s)", tws_redis_state_word(ev->state), colon, reason_len, reason);
        break;
    }
}

static const char *untaken; /* an event of that JSON cannot be taken; NULL: all can */

static void take_events(void)
{
    tws_redis_event ev;
    while (tws_redis_next(r, &ev) != TWS_REDIS_NONE) {
        note_event(&ev);
        if (ev.type == TWS_REDIS_EVENT && untaken != NULL && tws_str_eq_c(ev.json, untaken)) {
            char user[TWS_MAX_USER_ID];
            memcpy(user, ev.user_id.ptr, ev.user_id.len);
            tws_redis_reload(r, tws_str_of(user, ev.user_id.len), false);
        }
    }
}

static tws_str notes(void)
{
    static char copy[sizeof noted];
    take_events();
    memcpy(copy, noted, sizeof copy);
    noted[0] = '\0';
    return tws_str_c(copy);
}

/* -- the session's two connections -- */

static void feed_bytes(tws_redis_link link, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t room;
        char *to = tws_redis_input(r, link, &room);
        size_t n = len < room ? len : room;
        CHECK(room > 0);
        memcpy(to, bytes, n);
        tws_redis_received(r, link, n);
        take_events();
        bytes += n;
        len -= n;
    }
}

static void feed(tws_redis_link link, const char *bytes)
{
    feed_bytes(link, bytes, strlen(bytes));
}

static void say_word(tws_str word)
{
    size_t at = strlen(said);
    bool script = tws_str_eq_c(word, tws_redis_script());
    if (tws_str_starts(word, "task_status:probe:") && word.len < sizeof probe_channel) {
        memcpy(probe_channel, word.ptr, word.len);
        probe_channel[word.len] = '\0';
        word = tws_str_c("PROBE");
    }
    word = script ? tws_str_c("SCRIPT") : word;
    snprintf(said + at, sizeof said - at, "%s%.*s", at > 0 ? " " : "", (int)word.len, word.ptr);
}

/* Take what the session writes, as words. */
static tws_str output(tws_redis_link link)
{
    tws_resp_decoder d;
    tws_resp_event ev;
    tws_str bytes = tws_redis_output(r, link);
    size_t len = bytes.len;
    said[0] = '\0';
    tws_resp_init(&d, NULL);
    while (bytes.len > 0) {
        bytes = tws_str_from(bytes, tws_resp_decode(&d, bytes.ptr, bytes.len, &ev));
        CHECK(ev.type == TWS_RESP_ARRAY || ev.type == TWS_RESP_BULK);
        if (ev.type == TWS_RESP_ARRAY && said[0] != '\0') {
            say_word(tws_str_c("|"));
        } else if (ev.type == TWS_RESP_BULK) {
            say_word(ev.text);
        }
    }
    tws_redis_sent(r, link, len);
    return tws_str_c(said);
}

static void wait_ms(uint64_t ms)
{
    now_ms += ms;
    tws_redis_tick(r, now_ms);
    take_events();
}

/* -- begin and end -- */

static void begin(const char *address)
{
    const char *why;
    counting = test_allocator();
    noted[0] = '\0';
    now_ms = 1000000;
    CHECK_EQ(tws_redis_url_parse(tws_str_c(address), &url, &why), TWS_OK);
    desc.allocator = &counting;
    desc.url = &url;
    memset(desc.seed, 7, sizeof desc.seed);
    CHECK_EQ(tws_redis_create(&r, &desc, now_ms), TWS_OK);
}

static void end(void)
{
    tws_redis_free(r);
    r = NULL;
    untaken = NULL;
    memset(&desc, 0, sizeof desc);
}

#define HELLO_ANSWER "%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n" /* who tells no role is not asked again */
#define TIME_ANSWER "*2\r\n$10\r\n1700000000\r\n$6\r\n500000\r\n"

/* A push, in the words of either protocol: kind, channel, payload or (of a subscription) number. */
static void feed_push_as(char type, const char *kind, const char *channel, const char *payload)
{
    char text[4096];
    bool message = strcmp(kind, "message") == 0;
    size_t n = (size_t)snprintf(text, sizeof text, "%c3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", type,
                                strlen(kind), kind, strlen(channel), channel);
    if (message) {
        n += (size_t)snprintf(text + n, sizeof text - n, "$%zu\r\n", strlen(payload));
    }
    snprintf(text + n, sizeof text - n, "%s%s\r\n", message ? "" : ":", payload);
    feed(S, text);
}

static void feed_push(const char *kind, const char *channel, const char *payload)
{
    feed_push_as('>', kind, channel, payload);
}

static void message(const char *user, const char *payload)
{
    char channel[64];
    snprintf(channel, sizeof channel, "task_status:%s", user);
    feed_push("message", channel, payload);
}

static void subscribed(const char *user)
{
    char channel[64];
    snprintf(channel, sizeof channel, "task_status:%s", user);
    feed_push("subscribe", channel, "1");
}

/* Both connections up, the first beat answered, nothing noted. */
/* The last of the opening: may it read? */
#define OPENING "XREVRANGE PROBE + - COUNT 1"

static void open_as(const char *hello)
{
    tws_redis_connected(r, C);
    output(C);
    feed(C, hello);
    output(C);
    feed(C, "*0\r\n");
}

static void open_commands(void)
{
    open_as(HELLO_ANSWER);
}

static void open_subscriber(void)
{
    tws_redis_connected(r, S);
    output(S);
    feed(S, HELLO_ANSWER);
    output(S);
    feed_push("subscribe", probe_channel, "1");
}

static void answer_beat(void)
{
    char number[24];
    output(C);
    snprintf(number, sizeof number, "%llu", (unsigned long long)r->probe);
    feed(C, TIME_ANSWER ":1\r\n");
    feed_push("message", probe_channel, number);
}

static void begin_open(const char *address)
{
    begin(address);
    open_subscriber();
    open_commands();
    answer_beat();
    notes();
}

/* A user who is live, with these ids given: "1-0" and so on, one character each. */
static void make_live(const char *user, const char *answer)
{
    CHECK_EQ(tws_redis_want(r, tws_str_c(user)), TWS_OK);
    output(S);
    subscribed(user);
    output(C);
    feed(C, answer);
}

static void begin_live(const char *user, const char *answer)
{
    begin_open("redis://localhost");
    make_live(user, answer);
    notes();
}

#define ENTRY(id, json_length, json) \
    "*2\r\n$3\r\n" id "\r\n*2\r\n$1\r\nd\r\n$" json_length "\r\n" json "\r\n"
#define NO_ENTRIES "*0\r\n"
#define ONE_ENTRY "*1\r\n" ENTRY("5-0", "7", "{\"a\":5}")

/* -- addresses -- */

TEST("an address is taken apart")
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        const char *path, *user, *password;
        uint32_t db;
    } rows[] = {
        {"redis://localhost", "localhost", 6379, "", "", "", 0},
        {"redis://localhost:6380", "localhost", 6380, "", "", "", 0},
        {"redis://localhost/", "localhost", 6379, "", "", "", 0},
        {"redis://localhost/3", "localhost", 6379, "", "", "", 3},
        {"redis://:secret@10.0.0.1:1/15", "10.0.0.1", 1, "", "", "secret", 15},
        {"redis://ann:secret@h", "h", 6379, "", "ann", "secret", 0},
        {"redis://a%40b:p%3a%2F%25@h", "h", 6379, "", "a@b", "p:/%", 0},
        {"redis://ann:se@cret@h", "h", 6379, "", "ann", "se@cret", 0},
        {"redis://ann:a:b@h", "h", 6379, "", "ann", "a:b", 0},
        {"redis://[::1]", "::1", 6379, "", "", "", 0},
        {"redis://:p@[fe80::1]:65535/2", "fe80::1", 65535, "", "", "p", 2},
        {"redis://", "127.0.0.1", 6379, "", "", "", 0},
        {"redis://:6380", "127.0.0.1", 6380, "", "", "", 0},
        {"unix:///run/redis.sock", "", 0, "/run/redis.sock", "", "", 0},
        {"unix:///run/redis.sock?db=4", "", 0, "/run/redis.sock", "", "", 4},
        {"unix://:secret@/run/r@1.sock", "", 0, "/run/r@1.sock", "", "secret", 0},
        {"unix://ann:secret@/r?db=0", "", 0, "/r", "ann", "secret", 0},
        {"unix://redis.sock", "", 0, "redis.sock", "", "", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_redis_url u;
        const char *why = "";
        test_row(rows[i].text, i);
        tws_str text = tws_str_of((const char *)test_exact(rows[i].text, strlen(rows[i].text)),
                                  strlen(rows[i].text));
        CHECK_EQ(tws_redis_url_parse(text, &u, &why), TWS_OK);
        CHECK(why == NULL && !u.tls);
        CHECK_STR(tws_str_c(u.host), rows[i].host);
        CHECK_EQ(u.port, rows[i].port);
        CHECK_STR(tws_str_c(u.path), rows[i].path);
        CHECK_STR(tws_str_c(u.user), rows[i].user);
        CHECK_STR(tws_str_c(u.password), rows[i].password);
        CHECK_EQ(u.db, rows[i].db);
    }
}

TEST("an address that cannot be used is refused with the reason")
{
    static char long_host[400];
    static const struct {
        const char *text;
        tws_status status;
        const char *why;
    } rows[] = {
        {"", TWS_ERR_SYNTAX, "the URL does not begin with redis:// or unix://"},
        {"localhost:6379", TWS_ERR_SYNTAX,
         "the URL does not begin with redis:// or unix://"},
        {"http://localhost", TWS_ERR_SYNTAX,
         "the URL does not begin with redis:// or unix://"},
        {"REDIS://localhost", TWS_ERR_SYNTAX,
         "the URL does not begin with redis:// or unix://"},
        {"redis://h:0", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://h:65536", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://h:", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://h:6379x", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://::1", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://[::1", TWS_ERR_SYNTAX, "a bracket in the URL is not closed"},
        {"redis://[::1]6379", TWS_ERR_SYNTAX, "the URL's port is no number"},
        {"redis://h?db=1", TWS_ERR_SYNTAX,
         "the URL's database stands behind a slash: redis://host/1"},
        {"redis://h/zero", TWS_ERR_SYNTAX, "the URL's database is no number"},
        {"redis://h/-1", TWS_ERR_SYNTAX, "the URL's database is no number"},
        {"redis://h/2147483648", TWS_ERR_SYNTAX, "the URL's database is no number"},
        {"redis://h/0?x=1", TWS_ERR_SYNTAX, "the URL's database is no number"},
        {"redis://ann@h", TWS_ERR_SYNTAX, "the URL has a user without a password"},
        {"redis://ann:p%4@h", TWS_ERR_SYNTAX, "a percent sign in the URL begins no escape"},
        {"redis://ann:p%00@h", TWS_ERR_SYNTAX, "a percent sign in the URL begins no escape"},
        {"redis://h ", TWS_ERR_SYNTAX, "a blank or control byte in the URL"},
        {"redis://h\r\nFLUSHALL", TWS_ERR_SYNTAX, "a blank or control byte in the URL"},
        {"unix://", TWS_ERR_SYNTAX, "the URL's host or path is empty or too long"},
        {"unix:///r?timeout=1", TWS_ERR_SYNTAX, "the only option of the URL is db"},
        {"unix:///r?db=x", TWS_ERR_SYNTAX, "the URL's database is no number"},
        {long_host, TWS_ERR_LIMIT, "the URL's host or path is empty or too long"},
        {"rediss://ann:secret@h:6380/1", TWS_ERR_UNAVAILABLE, "rediss:// needs TLS, which is not in this build"},
    };
    memset(long_host, 'h', 300);
    memcpy(long_host, "redis://", 8);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_redis_url u;
        const char *why = "";
        test_row(rows[i].text, i);
        CHECK_EQ(tws_redis_url_parse(tws_str_c(rows[i].text), &u, &why), rows[i].status);
        CHECK_STR(tws_str_c(why), rows[i].why);
    }
    tws_redis_url u;
    const char *why;
    tws_redis_url_parse(tws_str_c("rediss://ann:secret@h:6380/1"), &u, &why);
    CHECK(u.tls && u.port == 6380 && u.db == 1);
    CHECK_STR(tws_str_c(u.host), "h");
}

/* -- opening -- */

TEST("a session opens both connections with HELLO 3, and listens to its own probe")
{
    begin("redis://localhost");
    CHECK_EQ(tws_redis_connection(r, C), 1);
    CHECK_EQ(tws_redis_connection(r, S), 1);
    CHECK_STR(output(C), "");
    tws_redis_connected(r, C);
    CHECK_STR(output(C), "HELLO 3 SETNAME taskws");
    feed(C, HELLO_ANSWER);
    CHECK_STR(output(C), OPENING);
    feed(C, "*0\r\n");
    CHECK_STR(notes(), "");
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_CONNECTING);
    CHECK_STR(output(C), "TIME");
    feed(C, TIME_ANSWER);
    tws_redis_connected(r, S);
    CHECK_STR(output(S), "HELLO 3 SETNAME taskws");
    feed(S, HELLO_ANSWER);
    CHECK_STR(output(S), "SUBSCRIBE PROBE");
    feed_push("subscribe", probe_channel, "1");
    CHECK_STR(notes(), "state(ready)");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 1");
    CHECK(tws_redis_state_delivers(tws_redis_now(r, NULL)));
    end();
}

TEST("user, password and database are given before anything else")
{
    begin("redis://ann:secret@localhost/7");
    tws_redis_connected(r, C);
    tws_redis_connected(r, S);
    CHECK_STR(output(C), "HELLO 3 AUTH ann secret SETNAME taskws");
    CHECK_STR(output(S), "HELLO 3 AUTH ann secret SETNAME taskws");
    feed(C, HELLO_ANSWER);
    CHECK_STR(output(C), "SELECT 7");
    feed(C, "+OK\r\n");
    CHECK_STR(output(C), OPENING);
    feed(S, HELLO_ANSWER);
    CHECK_STR(output(S), "SUBSCRIBE PROBE");
    end();
    begin("redis://:secret@localhost");
    tws_redis_connected(r, C);
    CHECK_STR(output(C), "HELLO 3 AUTH default secret SETNAME taskws");
    end();
}

TEST("a Redis that does not know HELLO is spoken to in RESP2")
{
    static const char *const answers[] = {
        "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`\r\n",
        "-NOPROTO unsupported protocol version\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        begin("redis://ann:secret@localhost/7");
        tws_redis_connected(r, C);
        tws_redis_connected(r, S);
        output(C);
        output(S);
        feed(C, answers[i]);
        CHECK_STR(output(C), "AUTH ann secret");
        feed(C, "+OK\r\n");
        CHECK_STR(output(C), "SELECT 7");
        feed(C, "+OK\r\n");
        CHECK_STR(output(C), OPENING);
        feed(C, "*0\r\n");
        feed(S, answers[i]);
        CHECK_STR(output(S), "AUTH ann secret");
        feed(S, "+OK\r\n");
        CHECK_STR(output(S), "SUBSCRIBE PROBE");
        feed_push_as('*', "subscribe", probe_channel, "1");
        CHECK_STR(notes(), "state(ready)");
        end();
    }
    begin("redis://:secret@localhost");
    tws_redis_connected(r, C);
    output(C);
    feed(C, answers[0]);
    CHECK_STR(output(C), "AUTH secret");
    end();
    begin("redis://localhost");
    tws_redis_connected(r, C);
    output(C);
    feed(C, answers[0]);
    CHECK_STR(output(C), OPENING);
    end();
}

TEST("every way in which the opening fails has its state and its reason")
{
    static const struct {
        const char *url;
        const char *answers; /* `~` between two: each to a command of its own */
        const char *notes;
    } rows[] = {
        {"redis://h", "-NOAUTH HELLO must be called with the client already authenticated\r\n",
         "state(noauth: NOAUTH HELLO must be called with the client already authenticated)"},
        {"redis://h", "-ERR unknown command\r\n~-NOAUTH Authentication required.\r\n",
         "state(noauth: NOAUTH Authentication required.)"},
        {"redis://:p@h", "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
         "state(wrongpass: WRONGPASS invalid username-password pair or user is disabled.)"},
        {"redis://:p@h", "-ERR unknown command\r\n~-ERR invalid password\r\n",
         "state(wrongpass: ERR invalid password)"},
        {"redis://:p@h", "-ERR unknown command\r\n~-ERR Client sent AUTH, but no password is set\r\n",
         "state(wrongpass: ERR Client sent AUTH, but no password is set)"},
        {"redis://h/99", HELLO_ANSWER "~-ERR DB index is out of range\r\n",
         "state(refused: ERR DB index is out of range)"},
        {"redis://h", HELLO_ANSWER "~-LOADING Redis is loading the dataset in memory\r\n",
         "state(loading: LOADING Redis is loading the dataset in memory)"},
        {"redis://h", "-LOADING Redis is loading the dataset in memory\r\n",
         "state(loading: LOADING Redis is loading the dataset in memory)"},
        {"redis://h", HELLO_ANSWER "~-MASTERDOWN Link with MASTER is down\r\n",
         "state(refused: MASTERDOWN Link with MASTER is down)"},
        {"redis://h", HELLO_ANSWER "~-BUSY Redis is busy running a script.\r\n",
         "state(refused: BUSY Redis is busy running a script.)"},
        {"redis://h", "%2\r\n$4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nmodules\r\n*0\r\n",
         "state(no_redis: a Sentinel; give the address of the Redis that it watches)"},
        {"redis://h", HELLO_ANSWER "~-NOPERM this user has no permissions\r\n",
         "state(refused: NOPERM this user has no permissions)"},
        {"redis://h", "-ERR max number of clients reached\r\n",
         "state(refused: ERR max number of clients reached)"},
        {"redis://h", "-DENIED Redis is running in protected mode\r\n",
         "state(refused: DENIED Redis is running in protected mode)"},
        {"redis://h", "HTTP/1.1 400 Bad Request\r\n",
         "state(no_redis: no RESP type begins with this byte)"},
        {"redis://h", "\r\n", "state(no_redis: no RESP type begins with this byte)"},
        {"redis://h", "*1073741824\r\n",
         "state(no_redis: a container of more elements than the limit)"},
        {"redis://h", HELLO_ANSWER "~+PONG\r\n~+OK\r\n+OK\r\n",
         "state(no_redis: an answer to nothing)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].answers, i);
        for (int by_byte = 0; by_byte < 2; by_byte++) {
            begin(rows[i].url);
            tws_redis_connected(r, C);
            output(C);
            for (const char *at = rows[i].answers; *at != '\0'; at++) {
                if (*at == '~' || by_byte != 0) {
                    output(C);
                    at += *at == '~' ? 1 : 0;
                }
                size_t n = by_byte != 0 ? 1 : strcspn(at, "~");
                feed_bytes(C, at, n);
                at += n - 1;
            }
            CHECK_STR(notes(), rows[i].notes);
            CHECK_EQ(tws_redis_connection(r, C), 0);
            CHECK_EQ(tws_redis_connection(r, S), 1);
            CHECK(!tws_redis_state_delivers(tws_redis_now(r, NULL)));
            end();
        }
    }
}

TEST("the subscriber's opening fails by itself")
{
    begin("redis://h");
    open_commands();
    output(C);
    tws_redis_connected(r, S);
    output(S);
    feed(S, HELLO_ANSWER);
    output(S);
    feed(S, "-NOPERM this user has no permissions to access one of the channels\r\n");
    CHECK_STR(notes(), "state(refused: NOPERM this user has no permissions to access one of the "
                       "channels)");
    CHECK_EQ(tws_redis_connection(r, C), 1);
    CHECK_EQ(tws_redis_connection(r, S), 0);
    end();
}

TEST("no reason shows a password")
{
    begin("redis://ann:secret@h");
    tws_redis_connected(r, C);
    output(C);
    feed(C, "-LOADING unknown command `HELLO`, with args beginning with: `AUTH`, `secret`\r\n");
    CHECK_STR(notes(), "state(loading: LOADING unknown command `HELLO`)");
    end();
    begin("redis://ann:secret@h");
    tws_redis_connected(r, C);
    output(C);
    feed(C, "-ERR unknown command `HELLO`\r\n");
    output(C);
    feed(C, "-ERR unknown command `AUTH`, with args beginning with: `ann`, `secret`\r\n");
    CHECK_STR(notes(), "state(wrongpass: ERR unknown command `AUTH`)");
    end();
}

TEST("a connection that is not made, or not answered, in time is given up")
{
    begin("redis://h");
    wait_ms(4999);
    CHECK_STR(notes(), "");
    CHECK_EQ(tws_redis_deadline(r), now_ms + 1);
    wait_ms(1);
    CHECK_STR(notes(), "state(silent: no connection in time)");
    CHECK_EQ(tws_redis_connection(r, C), 0);
    CHECK_EQ(tws_redis_connection(r, S), 0);
    end();
    begin("redis://h");
    tws_redis_connected(r, C);
    tws_redis_connected(r, S);
    output(C);
    feed(C, HELLO_ANSWER);
    wait_ms(3000);
    output(C);
    feed(C, "+PO");
    wait_ms(4999);
    CHECK_EQ(tws_redis_connection(r, S), 0);
    CHECK_EQ(tws_redis_connection(r, C), 1);
    wait_ms(1);
    CHECK_STR(notes(), "state(silent: no answer in time)");
    CHECK_EQ(tws_redis_connection(r, C), 0);
    end();
}

TEST("a failed connection is tried again after 50 ms, then after up to 5 s, never sooner")
{
    uint64_t longest = 0;
    uint32_t number = 1;
    begin("redis://h");
    for (int i = 0; i < 200; i++) {
        uint64_t failed_ms = now_ms;
        CHECK_EQ(tws_redis_connection(r, C), number);
        tws_redis_closed(r, C, "connection refused");
        CHECK_EQ(tws_redis_connection(r, C), 0);
        while (tws_redis_connection(r, C) == 0) {
            wait_ms(1);
        }
        uint64_t waited = now_ms - failed_ms;
        uint64_t most = i < 7 ? (uint64_t)50 << i : 5000;
        CHECK(waited >= 50 && waited <= most);
        longest = waited > longest ? waited : longest;
        number++;
    }
    CHECK(longest > 4000);
    CHECK_STR(notes(), "state(unreachable: connection refused)");
    end();
}

TEST("two servers do not come back at the same moments")
{
    uint64_t at[2][6];
    for (int i = 0; i < 2; i++) {
        begin("redis://h");
        tws_redis_free(r);
        desc.seed[0] = (uint8_t)(8 + i);
        CHECK_EQ(tws_redis_create(&r, &desc, now_ms), TWS_OK);
        for (int n = 0; n < 6; n++) {
            tws_redis_closed(r, C, "reset");
            wait_ms(5000);
            at[i][n] = 0;
        }
        for (int n = 0; n < 6; n++) {
            tws_redis_closed(r, C, "reset");
            at[i][n] = tws_redis_deadline(r) - now_ms;
            wait_ms(5000);
        }
        end();
    }
    CHECK(memcmp(at[0], at[1], sizeof at[0]) != 0);
}

static void probe_back(void)
{
    char number[24];
    output(C);
    feed(C, TIME_ANSWER ":1\r\n");
    snprintf(number, sizeof number, "%llu", (unsigned long long)r->probe);
    feed_push("message", probe_channel, number);
}

TEST("after a while of proven service, and not before, the waits are short again")
{
    begin_open("redis://h");
    for (int i = 0; i < 10; i++) {
        tws_redis_closed(r, C, "reset");
        wait_ms(5000);
    }
    open_commands();
    probe_back();
    tws_redis_closed(r, C, "reset"); /* it may just as well have been a proxy */
    CHECK(r->end[C].at_ms - now_ms > 50);
    wait_ms(5000);
    open_commands();
    for (int i = 0; i < 3; i++) {
        probe_back();
        wait_ms(3000);
    }
    tws_redis_closed(r, C, "reset");
    CHECK_EQ(r->end[C].at_ms - now_ms, 50);
    CHECK_EQ(tws_redis_connection(r, S), 1);
    end();
}

/* -- subscribe, load, live -- */

TEST("a user is subscribed, then loaded oldest first, then live")
{
    begin_open("redis://h");
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    CHECK_STR(output(C), "");
    message("42", "4-0 {\"a\":4}");
    subscribed("42");
    CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 256");
    feed(C, "*2\r\n" ENTRY("5-0", "7", "{\"a\":5}") ENTRY("4-7", "5", "[4,7]"));
    CHECK_STR(notes(), "event(42 4-7 [4,7]) event(42 5-0 {\"a\":5}) loaded(42 4-6)");
    message("42", "5-1 {\"a\":51}");
    message("42", "6-0 7");
    CHECK_STR(notes(), "event(42 5-1 {\"a\":51}) event(42 6-0 7)");
    CHECK_STR(output(C), "");
    end();
}

TEST("a user without events is complete from Redis's own time on")
{
    begin_live("42", "");
    feed(C, NO_ENTRIES);
    CHECK_STR(notes(), "loaded(42 1700000000499-max)");
    end();
}

TEST("what is given back as the past ends where it does not fit")
{
    static char answer[8192];
    static char json[1020];
    size_t n = (size_t)snprintf(answer, sizeof answer, "*5\r\n");
    begin("redis://h");
    tws_redis_free(r);
    desc.max_event_bytes = 1024;
    desc.load_bytes = 1;
    desc.load_events = 5;
    CHECK_EQ(tws_redis_create(&r, &desc, now_ms), TWS_OK);
    open_subscriber();
    open_commands();
    answer_beat();
    notes();
    tws_redis_want(r, tws_str_c("42"));
    output(S);
    subscribed("42");
    CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 5");
    memset(json, '1', sizeof json);
    for (int i = 9; i > 4; i--) { /* 9-0 and 7-0 are small, 8-0 is large, 6-0 small, 5-0 large */
        int len = i == 8 || i == 5 ? 1020 : 1;
        n += (size_t)snprintf(answer + n, sizeof answer - n,
                              "*2\r\n$3\r\n%d-0\r\n*2\r\n$1\r\nd\r\n$%d\r\n%.*s\r\n", i, len, len, json);
    }
    feed(C, answer);
    CHECK_STR(notes(), "event(42 9-0 1) loaded(42 8-max)");
    end();
}

TEST("every kind of message on a channel has its meaning")
{
    static const struct {
        const char *payload;
        const char *notes;
    } rows[] = {
        {"6-0 {\"a\":1}", "event(42 6-0 {\"a\":1})"},
        {"18446744073709551615-18446744073709551615 1",
         "event(42 18446744073709551615-max 1)"},
        {"{\"a\":1}", "event(42 0-0 {\"a\":1})"},
        {" [1] ", "event(42 0-0  [1] )"},
        {"7", "event(42 0-0 7)"},
        {"hello", "event(42 0-0 \"hello\")"},
        {"a\"b\\c\n", "event(42 0-0 \"a\\\"b\\\\c\\u000a\")"},
        {"\xff", "event(42 0-0 \"\xef\xbf\xbd\")"},
        {"6-0 {\"a\":", "event(42 6-0 \"{\\\"a\\\":\")"},
        {"6-0 not json", "event(42 6-0 \"not json\")"},
        {"6-0  {\"a\":1}", "event(42 6-0  {\"a\":1})"},
        {"6 {\"a\":1}", "event(42 0-0 \"6 {\\\"a\\\":1}\")"},
        {"6-x {}", "event(42 0-0 \"6-x {}\")"},
        {"-1-0 {}", "event(42 0-0 \"-1-0 {}\")"},
        {"0-0 {}", "event(42 0-0 \"0-0 {}\")"},
        {"18446744073709551616-0 {}", "event(42 0-0 \"18446744073709551616-0 {}\")"},
        {"6-0", "event(42 0-0 \"6-0\")"},
        {"6-0 ", "dropped(42 6-0: an empty event)"},
        {"", "dropped(42 0-0: an empty event)"},
        {"5-0 {}", ""},
        {"4-9 {}", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].payload, i);
        begin_live("42", ONE_ENTRY);
        message("42", rows[i].payload);
        CHECK_STR(notes(), rows[i].notes);
        message("42", "{\"next\":1}");
        CHECK_STR(notes(), "event(42 0-0 {\"next\":1})");
        end();
    }
}

TEST("an event comes with the value that names its task, of the member task_id unless told otherwise")
{
    for (int named = 0; named < 2; named++) {
        tws_redis_event ev;
        const char push[] = ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n"
                            "$29\r\n6-0 {\"task_id\":\"a\",\"job\":\"b\"}\r\n";
        size_t room;
        desc.task_key = named ? "job" : NULL;
        begin_live("42", ONE_ENTRY);
        memcpy(tws_redis_input(r, S, &room), push, sizeof push - 1);
        tws_redis_received(r, S, sizeof push - 1);
        CHECK_EQ(tws_redis_next(r, &ev), TWS_REDIS_EVENT);
        CHECK_STR(ev.task.text, named ? "b" : "a");
        end();
    }
}

TEST("entries of every shape are read, and what is no event is passed over, and told as dropped")
{
    static const struct {
        const char *answer;
        const char *notes;
    } rows[] = {
        {"*1\r\n*2\r\n$3\r\n5-0\r\n*4\r\n$1\r\nx\r\n$1\r\nd\r\n$1\r\nd\r\n$1\r\n7\r\n",
         "event(42 5-0 7) loaded(42 4-max)"},
        {"*1\r\n*2\r\n$3\r\n5-0\r\n*4\r\n$1\r\nd\r\n$1\r\n7\r\n$1\r\nd\r\n$1\r\n8\r\n",
         "event(42 5-0 7) loaded(42 4-max)"},
        {"*1\r\n*2\r\n$3\r\n5-0\r\n%1\r\n$1\r\nd\r\n$1\r\n7\r\n", "event(42 5-0 7) loaded(42 4-max)"},
        {"*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nd\r\n$2\r\nno\r\n",
         "event(42 5-0 \"no\") loaded(42 4-max)"},
        {"*2\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nx\r\n$1\r\n7\r\n" ENTRY("4-0", "1", "4"),
         "dropped(42 5-0: an entry without the field d) event(42 4-0 4) loaded(42 3-max)"},
        {"*2\r\n*2\r\n$3\r\n5-0\r\n*-1\r\n" ENTRY("4-0", "1", "4"),
         "dropped(42 5-0: an entry without the field d) event(42 4-0 4) loaded(42 3-max)"},
        {"*1\r\n*2\r\n$3\r\n5-0\r\n*0\r\n",
         "dropped(42 5-0: an entry without the field d) loaded(42 4-max)"},
        {"*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nd\r\n$0\r\n\r\n",
         "dropped(42 5-0: an empty event) loaded(42 4-max)"},
        {"*-1\r\n", "loaded(42 1700000000499-max)"},
        {"_\r\n", "loaded(42 1700000000499-max)"},
        {"*1\r\n*2\r\n$4\r\nfive\r\n*2\r\n$1\r\nd\r\n$1\r\n7\r\n",
         "state(no_redis: an entry of a stream is without an id, or out of order)"},
        {"*2\r\n" ENTRY("5-0", "1", "5") ENTRY("5-0", "1", "5"),
         "state(no_redis: an entry of a stream is without an id, or out of order)"},
        {"*2\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6"),
         "state(no_redis: an entry of a stream is without an id, or out of order)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].answer);
        test_row(rows[i].answer, i);
        for (size_t split = 0; split < len; split++) { /* 0: byte by byte */
            begin_live("42", "");
            for (size_t at = 0; at < len;) {
                size_t n = split == 0 ? 1 : at == 0 ? split : len - split;
                feed_bytes(C, rows[i].answer + at, n);
                at += n;
            }
            CHECK_STR(notes(), rows[i].notes);
            end();
        }
    }
}

TEST("an event above the limit is dropped, and what follows is given")
{
    static char payload[200000];
    static char text[200100];
    memset(payload, 'x', sizeof payload);
    begin_live("42", "");
    tws_redis_stats stats;
    /* in the past: of the size of several reads, and one byte above the limit */
    int n = snprintf(text, sizeof text, "*3\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nd\r\n$150000\r\n%.150000s\r\n",
                     payload);
    feed_bytes(C, text, (size_t)n);
    n = snprintf(text, sizeof text, "*2\r\n$3\r\n4-0\r\n*2\r\n$1\r\nd\r\n$65537\r\n\"%.65535s\"\r\n"
                 ENTRY("3-0", "1", "3"), payload);
    feed_bytes(C, text, (size_t)n);
    CHECK_STR(notes(), "dropped(42 5-0: an event too big) dropped(42 4-0: an event too big) "
                       "event(42 3-0 3) loaded(42 2-max)");
    /* live */
    n = snprintf(text, sizeof text, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$150000\r\n%.150000s\r\n",
                 payload);
    feed_bytes(S, text, (size_t)n);
    n = snprintf(text, sizeof text, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$65541\r\n6-0 \"%.65535s\"\r\n",
                 payload);
    feed_bytes(S, text, (size_t)n);
    CHECK_STR(notes(), "dropped(42 0-0: an event too big) dropped(42 6-0: an event too big)");
    /* the largest that is one */
    n = snprintf(text, sizeof text, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$65540\r\n7-0 \"%.65534s\"\r\n",
                 payload);
    feed_bytes(S, text, (size_t)n);
    CHECK_EQ(notes().len, strlen("event(42 7-0 )") + 65536);
    /* no JSON, and too big as a string */
    n = snprintf(text, sizeof text, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$65539\r\n8-0 %.65535s\r\n",
                 payload);
    feed_bytes(S, text, (size_t)n);
    message("42", "9-0 9");
    CHECK_STR(notes(), "dropped(42 8-0: an event too big) event(42 9-0 9)");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.dropped, 5);
    CHECK_EQ(stats.not_json, 1);
    CHECK_EQ(stats.failures, 0);
    end();
}

TEST("a pushed event of just the limit is given behind an id of any length, one byte more is not")
{
    static char push[2000], json[1026];
    static const char *const ids[] = {"6-0", "18446744073709551615-18446744073709551615"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t len = 1024; len <= 1025; len++) {
            test_row(ids[i], len);
            desc.max_event_bytes = 1024;
            begin_live("42", ONE_ENTRY);
            memset(json, '1', len);
            json[len] = '\0';
            snprintf(push, sizeof push,
                     ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$%zu\r\n%s %s\r\n",
                     strlen(ids[i]) + 1 + len, ids[i], json);
            feed(S, push);
            CHECK(tws_str_starts(notes(), len == 1024 ? "event(42 " : "dropped(42 "));
            end();
        }
    }
}

TEST("RESP2 pushes are read as RESP3's are")
{
    begin_live("42", ONE_ENTRY);
    feed_push_as('*', "message", "task_status:42", "6-0 6");
    CHECK_STR(notes(), "event(42 6-0 6)");
    feed_push_as('*', "message", "task_status:other", "7-0 7");
    feed_push_as('*', "message", "news", "7-0 7");
    feed(S, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    feed(S, "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$14\r\ntask_status:42\r\n$5\r\n7-0 7\r\n");
    feed(S, "+PONG\r\n");
    CHECK_STR(notes(), "");
    feed_push_as('*', "message", "task_status:42", "8-0 8");
    CHECK_STR(notes(), "event(42 8-0 8)");
    end();
}

TEST("pushes on the commands' connection are no answers")
{
    begin_live("42", "");
    feed(C, ">2\r\n+invalidate\r\n*1\r\n$1\r\nx\r\n");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    end();
}

TEST("a message pushed while the past is read leads to another read, until none is newer")
{
    begin_live("42", "");
    message("42", "5-0 {\"a\":5}");
    message("42", "6-0 6");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    message("42", "7-0 7");
    feed(C, "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6"));
    CHECK_STR(notes(), "event(42 6-0 6)");
    CHECK_STR(output(C), "XRANGE task_status:42 6-0 + COUNT 256");
    feed(C, "*2\r\n" ENTRY("6-0", "1", "6") ENTRY("7-0", "1", "7"));
    message("42", "8-0 8");
    CHECK_STR(notes(), "event(42 7-0 7) event(42 8-0 8)");
    CHECK_STR(output(C), "");
    end();
}

TEST("a full page is followed by the next")
{
    static char answer[32768];
    size_t n = (size_t)snprintf(answer, sizeof answer, "*256\r\n");
    for (int i = 0; i < 256; i++) {
        n += (size_t)snprintf(answer + n, sizeof answer - n,
                              "*2\r\n$7\r\n5-%05d\r\n*2\r\n$1\r\nd\r\n$1\r\n1\r\n", i);
    }
    begin_live("42", "");
    message("42", "6-0 6");
    feed(C, ONE_ENTRY);
    output(C);
    feed(C, answer);
    CHECK_STR(output(C), "XRANGE task_status:42 5-255 + COUNT 256");
    feed(C, "*2\r\n" ENTRY("5-255", "1", "1") ENTRY("6-0", "1", "6"));
    notes();
    CHECK_STR(output(C), "");
    end();
}

TEST("after an outage the stream is read from the last event on, and nothing comes twice")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_closed(r, S, "reset");
    CHECK_STR(notes(), "state(unreachable: reset)");
    wait_ms(50);
    open_subscriber();
    CHECK_STR(notes(), "state(ready)");
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    subscribed("42");
    message("42", "6-0 6");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, TIME_ANSWER ":1\r\n*2\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6"));
    CHECK_STR(notes(), "event(42 6-0 6)");
    message("42", "7-0 7");
    CHECK_STR(notes(), "event(42 7-0 7)");
    end();
}

TEST("the commands' connection may be away while live events are given")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_closed(r, C, "reset");
    CHECK_STR(notes(), "state(unreachable: reset)");
    message("42", "6-0 6");
    CHECK_STR(notes(), "event(42 6-0 6)");
    wait_ms(50);
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2");
    message("42", "7-0 7");
    CHECK_STR(notes(), "state(ready) event(42 7-0 7)");
    end();
}

TEST("who cannot be loaded because commands are away makes nothing due before they are back")
{
    begin_open("redis://h");
    tws_redis_closed(r, C, "reset");
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
    output(S);
    subscribed("42");
    CHECK_EQ(tws_redis_deadline(r), r->end[C].at_ms);
    CHECK(tws_redis_deadline(r) > now_ms);
    end();
}

TEST("a read that was under way when the connection ended is made again")
{
    begin_live("42", "");
    feed(C, "*2\r\n" ENTRY("5-0", "1", "5") "*2\r\n$3\r\n4-");
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XREVRANGE task_status:42 + - COUNT 256");
    notes();
    feed(C, TIME_ANSWER ":1\r\n" ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    end();
}

/* -- continuity lost -- */

static void lose_subscriber(void)
{
    tws_redis_closed(r, S, "reset");
    wait_ms(50);
    open_subscriber();
    output(S);
    subscribed("42");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, TIME_ANSWER ":1\r\n");
    notes();
}

TEST("events trimmed during an outage are told as lost, before what there still is")
{
    begin_live("42", ONE_ENTRY);
    lose_subscriber();
    feed(C, "*1\r\n" ENTRY("8-0", "1", "8"));
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, "*2\r\n" ENTRY("8-0", "1", "8") ENTRY("9-0", "1", "9"));
    CHECK_STR(notes(), "lost(42 7-max) event(42 8-0 8) event(42 9-0 9)");
    message("42", "9-1 10");
    CHECK_STR(notes(), "event(42 9-1 10)");
    end();
}

TEST("a Redis that came back empty is told as lost, once, and may have lower ids")
{
    begin_live("42", ONE_ENTRY);
    message("42", "4-0 4");
    lose_subscriber();
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, NO_ENTRIES);
    CHECK_STR(notes(), "lost(42 1700000000499-max)");
    CHECK_STR(output(C), "");
    message("42", "3-0 3");
    CHECK_STR(notes(), "event(42 3-0 3)");
    CHECK_STR(output(C), "");
    end();
}

TEST("events of a user who had none, published in an outage, come behind lost: some may be trimmed")
{
    for (int published = 0; published < 2; published++) {
        begin_live("42", NO_ENTRIES);
        tws_redis_closed(r, S, "reset");
        wait_ms(50);
        open_subscriber();
        output(S);
        subscribed("42");
        CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 - + COUNT 256");
        feed(C, TIME_ANSWER ":1\r\n");
        notes();
        feed(C, published ? ONE_ENTRY : NO_ENTRIES);
        CHECK_STR(notes(), published ? "lost(42 4-max) event(42 5-0 {\"a\":5})" : "");
        end();
    }
}

TEST("a reading of all again that was cut short is taken up where it stood")
{
    for (int told = 0; told < 2; told++) {
        begin_live("42", ONE_ENTRY);
        lose_subscriber();
        feed(C, NO_ENTRIES);
        output(C);
        feed(C, told ? "*2\r\n" ENTRY("3-0", "1", "3") "*2\r\n" : "*2\r\n");
        CHECK_STR(notes(), told ? "lost(42 2-max) event(42 3-0 3)" : "");
        tws_redis_closed(r, C, "reset");
        wait_ms(50);
        open_commands();
        notes();
        tws_str words = output(C);
        CHECK(strstr(words.ptr, told ? "XRANGE task_status:42 3-0 + " : "XRANGE task_status:42 - + "));
        feed(C, TIME_ANSWER ":1\r\n*2\r\n" ENTRY("3-0", "1", "3") ENTRY("4-0", "1", "4"));
        CHECK_STR(notes(), told ? "event(42 4-0 4)"
                                : "lost(42 2-max) event(42 3-0 3) event(42 4-0 4)");
        end();
    }
}

TEST("a stream begun again while it is read is noticed behind the read")
{
    begin_live("42", ONE_ENTRY);
    message("42", "8-0 8");
    message("42", "8-0 8");
    CHECK_STR(notes(), "event(42 8-0 8)");
    CHECK_STR(output(C), "XRANGE task_status:42 8-0 + COUNT 256");
    message("42", "9-0 9");
    message("42", "2-0 2");
    feed(C, "*2\r\n" ENTRY("8-0", "1", "8") ENTRY("9-0", "1", "9"));
    CHECK_STR(notes(), "event(42 9-0 9)");
    CHECK_STR(output(C), "XRANGE task_status:42 9-0 + COUNT 256");
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, "*1\r\n" ENTRY("2-0", "1", "2"));
    CHECK_STR(notes(), "lost(42 1-max) event(42 2-0 2)");
    end();
}

TEST("an entry that is no event, or was dropped, is passed over for good")
{
    begin_live("42", "");
    message("42", "7-0 7");
    feed(C, ONE_ENTRY);
    output(C);
    feed(C, "*3\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "0", "")
            "*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\nx\r\n$1\r\n7\r\n");
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max) dropped(42 6-0: an empty event) "
                       "dropped(42 7-0: an entry without the field d)");
    CHECK_STR(output(C), "");
    tws_redis_want(r, tws_str_c("42"));
    output(C);
    feed(C, "*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\nx\r\n$1\r\n7\r\n");
    CHECK_STR(notes(), "loaded(42 0-0)"); /* once */
    tws_redis_reload(r, tws_str_c("42"), false);
    CHECK_EQ(tws__redis_find(r, tws_str_c("42"))->last.ms, 7);
    end();
}

TEST("a Redis that came back with older data gives all of it, after lost")
{
    begin_live("42", "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("3-0", "1", "3"));
    lose_subscriber();
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, "*2\r\n" ENTRY("3-0", "1", "3") ENTRY("4-0", "1", "4"));
    CHECK_STR(notes(), "lost(42 2-max) event(42 3-0 3) event(42 4-0 4)");
    message("42", "4-1 41");
    CHECK_STR(notes(), "event(42 4-1 41)");
    end();
}

TEST("a forged id from the future does not keep the real ones out")
{
    begin_live("42", ONE_ENTRY);
    message("42", "999-0 {}");
    CHECK_STR(notes(), "event(42 999-0 {})");
    message("42", "6-0 6");
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XRANGE task_status:42 999-0 + COUNT 256");
    feed(C, NO_ENTRIES);
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    message("42", "7-0 7");
    feed(C, "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6"));
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 5) event(42 6-0 6)");
    CHECK_STR(output(C), "XRANGE task_status:42 6-0 + COUNT 256");
    feed(C, "*2\r\n" ENTRY("6-0", "1", "6") ENTRY("7-0", "1", "7"));
    message("42", "8-0 8");
    CHECK_STR(notes(), "event(42 7-0 7) event(42 8-0 8)");
    end();
}

TEST("a stream deleted and begun again with lower ids is noticed by its first event")
{
    begin_live("42", ONE_ENTRY);
    message("42", "9-0 9");
    message("42", "2-0 2");
    notes();
    output(C);
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, "*1\r\n" ENTRY("2-0", "1", "2"));
    CHECK_STR(notes(), "lost(42 1-max) event(42 2-0 2)");
    message("42", "2-1 21");
    CHECK_STR(notes(), "event(42 2-1 21)");
    end();
}

TEST("so it is where none was pushed before, and one that was read already is no loss")
{
    begin_live("42", "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("4-0", "1", "4"));
    notes();
    message("42", "4-0 4"); /* on its way while the past was read */
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, "*1\r\n" ENTRY("5-0", "1", "5"));
    message("42", "5-0 5");
    CHECK_STR(output(C), "");
    lose_subscriber();
    feed(C, "*1\r\n" ENTRY("5-0", "1", "5"));
    CHECK_STR(notes(), "");
    message("42", "2-0 2");
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, "*1\r\n" ENTRY("2-0", "1", "2"));
    message("42", "3-0 3");
    CHECK_STR(notes(), "lost(42 1-max) event(42 2-0 2) event(42 3-0 3)");
    end();
}

TEST("reading again from the begin, after lost, can be asked for")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), false);
    tws_redis_reload(r, tws_str_c("nobody"), false);
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    tws_redis_reload(r, tws_str_c("42"), false);
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 {\"a\":5})");
    CHECK_STR(output(C), "");
    wait_ms(tws_redis_deadline(r) - now_ms);
    CHECK_STR(output(C), "TIME | XRANGE task_status:42 - + COUNT 256");
    feed(C, TIME_ANSWER ONE_ENTRY);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 {\"a\":5})");
    CHECK_STR(output(C), "");
    end();
}

TEST("that the past is wanted again is no loss, unless there was one, too")
{
    tws_redis_stats stats;
    begin_live("42", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), true);
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "again(42 4-max) event(42 5-0 {\"a\":5})");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.lost, 0);
    tws_redis_reload(r, tws_str_c("42"), true);
    tws_redis_reload(r, tws_str_c("42"), false); /* could not be taken */
    tws_redis_reload(r, tws_str_c("42"), true);
    output(C);
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 {\"a\":5})");
    tws_redis_reload(r, tws_str_c("42"), true);
    tws_redis_drop(r, tws_str_c("42"));
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK); /* all of it comes anyway */
    output(C);
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    lose_subscriber();
    feed(C, NO_ENTRIES);
    output(C);
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 {\"a\":5})");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.lost, 2);
    end();
}

TEST("a reload whose answer never began is made again, whatever was told before")
{
    begin_live("42", ONE_ENTRY);
    make_live("7", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), true);
    output(C);
    feed(C, ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("7"), true);
    CHECK_STR(output(C), "XRANGE task_status:7 - + COUNT 256");
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:7 - + COUNT 256");
    notes();
    feed(C, TIME_ANSWER ":1\r\n" ONE_ENTRY);
    CHECK_STR(notes(), "again(7 4-max) event(7 5-0 {\"a\":5})");
    end();
}

TEST("a reload that is asked for again when its answer has just begun is no loss either")
{
    tws_redis_stats stats;
    begin_live("42", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), true);
    output(C);
    feed(C, "*1\r\n");
    tws_redis_reload(r, tws_str_c("42"), true);
    feed(C, ENTRY("5-0", "1", "5"));
    CHECK_STR(notes(), "");
    wait_ms(5000);
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 - + COUNT 256");
    feed(C, TIME_ANSWER ":1\r\n" ONE_ENTRY);
    CHECK_STR(notes(), "again(42 4-max) event(42 5-0 {\"a\":5})");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.lost, 0);
    end();
}

TEST("what is missing behind a reload that broke off is a loss")
{
    tws_redis_stats stats;
    begin_live("42", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), true);
    output(C);
    feed(C, "*2\r\n" ENTRY("5-0", "1", "5") "*2\r\n$3\r\n6-");
    CHECK_STR(notes(), "again(42 4-max) event(42 5-0 5)");
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 5-0 + COUNT 256");
    notes();
    feed(C, TIME_ANSWER ":1\r\n*1\r\n" ENTRY("9-0", "1", "9"));
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, "*1\r\n" ENTRY("9-0", "1", "9"));
    CHECK_STR(notes(), "lost(42 8-max) event(42 9-0 9)");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.lost, 1);
    end();
}

TEST("of two reloads under way the one that had begun is taken up, and the other made again")
{
    begin_live("42", ONE_ENTRY);
    make_live("7", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), true);
    tws_redis_reload(r, tws_str_c("7"), true);
    output(C);
    feed(C, "*2\r\n" ENTRY("5-0", "1", "5"));
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 5-0 + COUNT 256 | "
                         "XRANGE task_status:7 - + COUNT 256");
    end();
}

TEST("a read that was sent behind a reload in vain gives nothing before lost")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_reload(r, tws_str_c("42"), false);
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    tws_redis_closed(r, S, "reset");
    wait_ms(50);
    open_subscriber();
    output(S);
    subscribed("42");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 5-0 + COUNT 256");
    notes();
    feed(C, "*1\r\n" ENTRY("8-0", "1", "8") TIME_ANSWER ":1\r\n*2\r\n" ENTRY("5-0", "1", "5")
            ENTRY("8-0", "1", "8"));
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, "*1\r\n" ENTRY("8-0", "1", "8"));
    CHECK_STR(notes(), "lost(42 7-max) event(42 8-0 8)");
    end();
}

TEST("what is found gone when the past is wanted again is a loss, then and later")
{
    enum { GONE, REFUSED, OTHER, LATER, NOTHING, ROWS };
    static const char *const want[ROWS] = {
        "lost(42 ", "lost(42 ", "lost(42 2-max) event(42 3-0 3)",
        "lost(42 1-max) event(42 2-0 2)", "lost(42 7-max) event(42 8-0 8)"};
    for (int row = 0; row < ROWS; row++) {
        tws_redis_stats stats;
        test_row("row", (size_t)row);
        begin_live("42", row == NOTHING ? NO_ENTRIES : ONE_ENTRY);
        if (row == NOTHING) {
            message("42", "{}"); /* without an id */
        }
        notes();
        tws_redis_reload(r, tws_str_c("42"), true);
        output(C);
        if (row == GONE || row == NOTHING) {
            feed(C, NO_ENTRIES);
        } else if (row == REFUSED) {
            feed(C, "-WRONGTYPE Operation against a key\r\n");
        } else if (row == LATER) {
            feed(C, ONE_ENTRY);
            CHECK_STR(notes(), "again(42 4-max) event(42 5-0 {\"a\":5})");
        } else {
            tws_redis_closed(r, C, "x");
            tws_redis_closed(r, S, "x");
            wait_ms(5000);
            open_subscriber(); /* to one that came back with other data */
            open_commands();
            output(S);
            subscribed("42");
            answer_beat();
            notes();
            output(C);
            feed(C, "*1\r\n" ENTRY("3-0", "1", "3"));
        }
        if (row == LATER) {
            message("42", "9-0 9");
            message("42", "2-0 2"); /* it was deleted, and begun again */
            notes();
            output(C);
            feed(C, NO_ENTRIES);
            output(C);
            feed(C, "*1\r\n" ENTRY("2-0", "1", "2"));
        } else if (row == NOTHING) {
            message("42", "5-0 5");
            notes();
            lose_subscriber();
            feed(C, "*1\r\n" ENTRY("8-0", "1", "8")); /* 5-0 and others were trimmed */
            output(C);
            feed(C, "*1\r\n" ENTRY("8-0", "1", "8"));
        }
        const tws_str told = notes();
        CHECK(tws_str_starts(told, want[row]));
        tws_redis_stat(r, &stats);
        CHECK_EQ(stats.lost, 1);
        end();
    }
}

#define THREE_ENTRIES "*3\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6") ENTRY("7-0", "1", "7")

TEST("behind what could not be taken nothing is given before all is read again, ever less often")
{
    begin_live("42", ONE_ENTRY);
    untaken = "6";
    message("42", "6-0 6");
    message("42", "7-0 7");
    CHECK_STR(notes(), "event(42 6-0 6)");
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, THREE_ENTRIES);
    for (uint64_t most_ms = 200; most_ms <= 800; most_ms *= 2) {
        CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 5) event(42 6-0 6)");
        CHECK_STR(output(C), "");
        uint64_t passed_ms = tws_redis_deadline(r) - now_ms;
        CHECK(passed_ms >= 50 && passed_ms <= most_ms);
        wait_ms(passed_ms);
        untaken = most_ms == 800 ? NULL : untaken;
        CHECK_STR(output(C), "TIME | XRANGE task_status:42 - + COUNT 256");
        feed(C, TIME_ANSWER THREE_ENTRIES);
    }
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 5) event(42 6-0 6) event(42 7-0 7)");
    wait_ms(600);
    CHECK_STR(output(C), "");
    message("42", "8-0 8");
    CHECK_STR(notes(), "event(42 8-0 8)");
    end();
}

TEST("a past that could not be taken whole is not told as loaded before it has been")
{
    begin_live("42", "*3\r\n" ENTRY("7-0", "1", "7") ENTRY("6-0", "1", "6") ENTRY("5-0", "1", "5"));
    tws_redis_drop(r, tws_str_c("42"));
    tws_redis_want(r, tws_str_c("42"));
    output(C);
    untaken = "6";
    feed(C, "*3\r\n" ENTRY("7-0", "1", "7") ENTRY("6-0", "1", "6") ENTRY("5-0", "1", "5"));
    CHECK_STR(notes(), "event(42 5-0 5) event(42 6-0 6)");
    untaken = NULL;
    CHECK_STR(output(C), "");
    wait_ms(tws_redis_deadline(r) - now_ms);
    CHECK_STR(output(C), "TIME | XRANGE task_status:42 - + COUNT 256");
    feed(C, TIME_ANSWER THREE_ENTRIES);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 5) event(42 6-0 6) event(42 7-0 7) "
                       "loaded(42 0-0)");
    CHECK_STR(output(C), "");
    end();
}

TEST("a past that is to be read again before it has come is told as loaded behind that")
{
    begin_live("1", ONE_ENTRY);
    tws_redis_want(r, tws_str_c("2"));
    tws_redis_want(r, tws_str_c("42"));
    output(S);
    subscribed("2");
    subscribed("42");
    output(C);
    tws_redis_reload(r, tws_str_c("42"), false);
    feed(C, ONE_ENTRY ONE_ENTRY);
    CHECK_STR(notes(), "event(2 5-0 {\"a\":5}) loaded(2 4-max)");
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, THREE_ENTRIES);
    CHECK_STR(notes(), "lost(42 4-max) event(42 5-0 5) event(42 6-0 6) event(42 7-0 7) "
                       "loaded(42 0-0)");
    end();
}

static bool has_readers(void *context, tws_str user_id)
{
    return tws_str_eq_c(user_id, (const char *)context);
}

TEST("users whose drop was missed are dropped together, and the others are not")
{
    static char keeps[] = "42";
    begin_open("redis://localhost");
    for (int i = 0; i < 100; i++) {
        char user[16];
        snprintf(user, sizeof user, "%d", i);
        CHECK_EQ(tws_redis_want(r, tws_str_c(user)), TWS_OK);
    }
    tws_redis_drop_others(r, has_readers, keeps);
    CHECK_EQ(r->users.count, 1);
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    end();
}

TEST("a stream that cannot be read is told, and the other users do not suffer")
{
    begin_live("42", "");
    feed(C, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    CHECK_STR(notes(), "dropped(42 0-0: WRONGTYPE Operation against a key holding the wrong kind of "
                       "value) loaded(42 1700000000499-max)");
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
    message("42", "6-0 6");
    CHECK_STR(notes(), "event(42 6-0 6)");
    end();
}

TEST("a catching up that is refused is told as lost: what was missed will not be known")
{
    begin_live("42", ONE_ENTRY);
    lose_subscriber();
    message("42", "7-0 7");
    CHECK_STR(notes(), "");
    feed(C, "-NOPERM this user has no permissions\r\n");
    CHECK_STR(notes(), "lost(42 1700000000499-max)");
    CHECK_STR(output(C), "XRANGE task_status:42 - + COUNT 256");
    feed(C, "-NOPERM this user has no permissions\r\n");
    CHECK_STR(notes(), "lost(42 1700000000499-max)");
    CHECK_STR(output(C), "");
    message("42", "8-0 8");
    CHECK_STR(notes(), "event(42 8-0 8)");
    end();
}

TEST("an error about all of Redis ends the connection, and the read is made on the next")
{
    static const struct {
        const char *answer, *notes;
    } rows[] = {
        {"-LOADING Redis is loading\r\n", "state(loading: LOADING Redis is loading)"},
        {"-MOVED 866 10.0.0.2:6379\r\n", "state(moved: MOVED 866 10.0.0.2:6379)"},
        {"-ASK 866 10.0.0.2:6379\r\n", "state(moved: ASK 866 10.0.0.2:6379)"},
        {"-CLUSTERDOWN The cluster is down\r\n", "state(moved: CLUSTERDOWN The cluster is down)"},
        {"-NOAUTH Authentication required.\r\n", "state(noauth: NOAUTH Authentication required.)"},
        {"-READONLY no\r\n", "state(readonly: READONLY no)"},
        {"!12\r\nLOADING it\r\n\r\n", "state(loading: LOADING it\r\n)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].answer, i);
        begin_live("42", "");
        feed(C, rows[i].answer);
        CHECK_STR(notes(), rows[i].notes);
        CHECK_EQ(tws_redis_connection(r, C), 0);
        CHECK_EQ(tws_redis_connection(r, S), 1);
        wait_ms(50);
        open_commands();
        CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XREVRANGE task_status:42 + - COUNT 256");
        CHECK_STR(notes(), "state(ready)");
        end();
    }
}

/* -- leaving and coming back -- */

TEST("who is dropped is unsubscribed and forgotten")
{
    tws_redis_stats stats;
    begin_live("42", ONE_ENTRY);
    tws_redis_drop(r, tws_str_c("42"));
    tws_redis_drop(r, tws_str_c("42"));
    tws_redis_drop(r, tws_str_c("nobody"));
    message("42", "6-0 6");
    CHECK_STR(notes(), "");
    CHECK_STR(output(S), "UNSUBSCRIBE task_status:42");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 1);
    feed_push("unsubscribe", "task_status:42", "1");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 0);
    CHECK_EQ(stats.live, 0);
    CHECK_EQ(test_live_blocks(), 4); /* session, table, two outputs */
    end();
}

TEST("who leaves when a read was cut off by its connection's end is forgotten")
{
    tws_redis_stats stats;
    begin_live("42", "");
    tws_redis_closed(r, C, "reset");
    tws_redis_drop(r, tws_str_c("42"));
    CHECK_STR(output(S), "UNSUBSCRIBE task_status:42");
    feed_push("unsubscribe", "task_status:42", "0");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 0);
    end();
}

TEST("of who leaves amid a read nothing more is given, and he is unsubscribed behind its answer")
{
    static const struct {
        const char *name, *answer;
        bool first;
    } rows[] = {
        {"the past", ONE_ENTRY, true},
        {"the past, refused", "-WRONGTYPE no\r\n", true},
        {"what is new", "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6"), false},
        {"what leads on no more", "*1\r\n" ENTRY("6-0", "1", "6"), false},
        {"a stream that is gone", NO_ENTRIES, false},
        {"what is new, refused", "-WRONGTYPE no\r\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_redis_stats stats;
        test_row(rows[i].name, i);
        begin_live("42", rows[i].first ? "" : ONE_ENTRY);
        tws_redis_want(r, tws_str_c("42"));
        output(C);
        tws_redis_drop(r, tws_str_c("42"));
        CHECK_STR(output(S), "");
        feed(C, rows[i].answer);
        CHECK_STR(notes(), "");
        CHECK_STR(output(C), "");
        CHECK_STR(output(S), "UNSUBSCRIBE task_status:42");
        feed_push("unsubscribe", "task_status:42", "0");
        tws_redis_stat(r, &stats);
        CHECK_EQ(stats.users, 0);
        CHECK_EQ(stats.dropped + stats.lost, 0);
        end();
    }
}

TEST("who leaves while being subscribed is unsubscribed, and nothing is read")
{
    begin_open("redis://h");
    tws_redis_want(r, tws_str_c("42"));
    output(S);
    tws_redis_drop(r, tws_str_c("42"));
    subscribed("42");
    CHECK_STR(output(C), "");
    CHECK_STR(output(S), "UNSUBSCRIBE task_status:42");
    end();
}

TEST("coming back before it is sent loads again, and subscribes not")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_drop(r, tws_str_c("42"));
    tws_redis_want(r, tws_str_c("42"));
    CHECK_STR(output(S), "");
    CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 256");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    end();
}

TEST("asked for again, a user's news are read, and told to be all")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_want(r, tws_str_c("42"));
    tws_redis_want(r, tws_str_c("42"));
    CHECK_STR(output(S), "");
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "loaded(42 0-0)");
    CHECK_STR(output(C), "");
    message("42", "6-0 6");
    CHECK_STR(notes(), "event(42 6-0 6)");
    end();
}

TEST("who asks while a read is under way is answered by the next one")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_want(r, tws_str_c("42"));
    output(C);
    tws_redis_want(r, tws_str_c("42"));
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "loaded(42 0-0)");
    end();
}

TEST("what was asked is answered behind an outage, and not to who left")
{
    for (int left = 0; left < 2; left++) {
        begin_live("42", ONE_ENTRY);
        tws_redis_want(r, tws_str_c("42"));
        output(C);
        lose_subscriber();
        open_subscriber();
        output(S);
        subscribed("42");
        if (left) {
            tws_redis_drop(r, tws_str_c("42"));
        }
        feed(C, ONE_ENTRY);
        output(C);
        notes();
        if (!left) {
            feed(C, ONE_ENTRY);
        }
        CHECK_STR(notes(), left ? "" : "loaded(42 0-0)");
        end();
    }
}

TEST("who comes back amid the past is given it from its begin")
{
    static const char answer[] = "*2\r\n" ENTRY("5-0", "1", "5") ENTRY("4-0", "1", "4");
    for (int sends = 0; sends < 2; sends++) {
        tws_redis_event ev;
        size_t room;
        test_row("sends meanwhile", (size_t)sends);
        begin_live("42", "");
        memcpy(tws_redis_input(r, C, &room), answer, sizeof answer - 1);
        tws_redis_received(r, C, sizeof answer - 1);
        CHECK_EQ(tws_redis_next(r, &ev), TWS_REDIS_EVENT);
        CHECK_EQ(ev.id.ms, 4);
        tws_redis_drop(r, tws_str_c("42"));
        tws_redis_want(r, tws_str_c("42"));
        if (sends) {
            CHECK_STR(output(C), ""); /* the next read waits for this one's end */
        }
        CHECK_STR(notes(), ""); /* 5-0 was for who had 4-0 */
        CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 256");
        feed(C, answer);
        CHECK_STR(notes(), "event(42 4-0 4) event(42 5-0 5) loaded(42 3-max)");
        end();
    }
}

TEST("who comes back amid an answer is given the next one, and that is all that is asked")
{
    static const char answer[] = ONE_ENTRY;
    const size_t half = sizeof answer / 2;
    tws_redis_stats stats;
    begin_live("42", "");
    feed_bytes(C, answer, half);
    tws_redis_drop(r, tws_str_c("42"));
    CHECK_STR(output(S), "");
    tws_redis_want(r, tws_str_c("42"));
    CHECK_STR(output(C), "");
    feed(C, answer + half);
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 256");
    feed(C, ONE_ENTRY);
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    CHECK_STR(output(C), "");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.live, 1);
    end();
}

TEST("coming back is right whatever was under way")
{
    enum { SUBSCRIBE, CONFIRM, READ, ANSWER, UNSUBSCRIBE, UNCONFIRM, STEPS };
    for (int at = 0; at < STEPS; at++) {
        for (int back = at; back < STEPS; back++) {
            test_row("left at, came back at", (size_t)(at * 10 + back));
            begin_open("redis://h");
            tws_redis_want(r, tws_str_c("42"));
            for (int step = 0; step < STEPS; step++) {
                if (step == at) {
                    tws_redis_drop(r, tws_str_c("42"));
                }
                if (step == back) {
                    tws_redis_want(r, tws_str_c("42"));
                    break;
                }
                switch (step) {
                case SUBSCRIBE:
                case UNSUBSCRIBE: output(S); break;
                case CONFIRM: subscribed("42"); break;
                case READ: output(C); break;
                case ANSWER: feed(C, r->calls > 0 ? ONE_ENTRY : ""); break;
                case UNCONFIRM: feed_push("unsubscribe", "task_status:42", "1"); break;
                default: break;
                }
            }
            notes();
            for (int round = 0; round < 8; round++) {
                tws_str words = output(S);
                if (tws_str_starts(words, "SUBSCRIBE")) {
                    subscribed("42");
                } else if (tws_str_starts(words, "UNSUBSCRIBE")) {
                    feed_push("unsubscribe", "task_status:42", "1");
                }
                if (r->end[S].waiting > 0) { /* what was under way when it came back */
                    tws__redis_user *u = tws__redis_find(r, tws_str_c("42"));
                    feed_push(u->state == TWS__REDIS_LEAVING ? "unsubscribe" : "subscribe",
                              "task_status:42", "1");
                }
                output(C);
                while (r->calls > 0) {
                    feed(C, ONE_ENTRY);
                }
            }
            CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
            message("42", "6-0 6");
            CHECK_STR(notes(), "event(42 6-0 6)");
            end();
        }
    }
}

TEST("who left before being subscribed is forgotten at once, and during an outage too")
{
    tws_redis_stats stats;
    begin_open("redis://h");
    tws_redis_want(r, tws_str_c("1"));
    tws_redis_drop(r, tws_str_c("1"));
    CHECK_STR(output(S), "");
    tws_redis_want(r, tws_str_c("2"));
    CHECK_STR(output(S), "SUBSCRIBE task_status:2");
    tws_redis_drop(r, tws_str_c("2"));
    tws_redis_closed(r, S, "reset");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 0);
    end();
}

TEST("who is to be unsubscribed when that connection ends is forgotten, and may come back")
{
    tws_redis_stats stats;
    begin_live("42", ONE_ENTRY);
    tws_redis_drop(r, tws_str_c("42"));
    tws_redis_closed(r, S, "reset");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 0);
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
    wait_ms(50);
    open_subscriber();
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    end();
}

static size_t count_words(tws_str words, const char *prefix)
{
    size_t count = 0;
    tws_str word;
    while (tws_str_split(&words, ' ', &word)) {
        count += tws_str_starts(word, prefix) ? 1 : 0;
    }
    return count;
}

TEST("users are subscribed and loaded in batches, and only so many at a time")
{
    char user[16];
    tws_redis_stats stats;
    begin_open("redis://h");
    for (int i = 0; i < 3000; i++) {
        snprintf(user, sizeof user, "u%d", i);
        CHECK_EQ(tws_redis_want(r, tws_str_c(user)), TWS_OK);
    }
    tws_str words = output(S);
    CHECK_EQ(count_words(words, "SUBSCRIBE"), 8);
    CHECK_EQ(count_words(words, "task_status:"), 2048);
    CHECK_STR(output(S), "");
    for (int i = 0; i < 2048; i++) {
        snprintf(user, sizeof user, "u%d", i);
        subscribed(user);
    }
    words = output(S);
    CHECK_EQ(count_words(words, "SUBSCRIBE"), 4);
    CHECK_EQ(count_words(words, "task_status:"), 952);
    CHECK_EQ(count_words(output(C), "XREVRANGE"), 128);
    CHECK_STR(output(C), "");
    feed(C, NO_ENTRIES NO_ENTRIES);
    CHECK_EQ(count_words(output(C), "XREVRANGE"), 2);
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.users, 3000);
    CHECK_EQ(stats.live, 2);
    end();
}

TEST("the table of users is bounded")
{
    char user[TWS_MAX_USER_ID + 2];
    desc.max_users = 3;
    begin("redis://h");
    CHECK_EQ(tws_redis_want(r, tws_str_c("a")), TWS_OK);
    CHECK_EQ(tws_redis_want(r, tws_str_c("b")), TWS_OK);
    CHECK_EQ(tws_redis_want(r, tws_str_c("c")), TWS_OK);
    CHECK_EQ(tws_redis_want(r, tws_str_c("c")), TWS_OK);
    CHECK_EQ(tws_redis_want(r, tws_str_c("d")), TWS_ERR_LIMIT);
    tws_redis_drop(r, tws_str_c("b"));
    memset(user, 'u', sizeof user);
    CHECK_EQ(tws_redis_want(r, tws_str_of(user, TWS_MAX_USER_ID + 1)), TWS_ERR_ARGUMENT);
    CHECK_EQ(tws_redis_want(r, tws_str_of(user, 0)), TWS_ERR_ARGUMENT);
    CHECK_EQ(tws_redis_want(r, tws_str_of(user, TWS_MAX_USER_ID)), TWS_OK);
    end();
}

TEST("a user id is any bytes")
{
    tws_redis_event ev;
    tws_str user = tws_str_of("a\0b\r\n", 5);
    begin_open("redis://h");
    tws_redis_want(r, user);
    tws_str out = tws_redis_output(r, S);
    static const char want[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$17\r\ntask_status:a\0b\r\n\r\n";
    CHECK_MEM(out.ptr, out.len, want, sizeof want - 1);
    tws_redis_sent(r, S, out.len);
    static const char push[] = ">3\r\n$9\r\nsubscribe\r\n$17\r\ntask_status:a\0b\r\n\r\n:1\r\n"
                               ">3\r\n$7\r\nmessage\r\n$17\r\ntask_status:a\0b\r\n\r\n$2\r\n{}\r\n";
    size_t room;
    memcpy(tws_redis_input(r, S, &room), push, sizeof push - 1);
    tws_redis_received(r, S, sizeof push - 1);
    CHECK_EQ(tws_redis_next(r, &ev), TWS_REDIS_EVENT);
    CHECK_MEM(ev.user_id.ptr, ev.user_id.len, "a\0b\r\n", 5);
    end();
}

TEST("answers that nobody asked for change nothing on the subscriber's connection")
{
    begin_live("42", ONE_ENTRY);
    subscribed("42");
    subscribed("nobody");
    feed_push("unsubscribe", "task_status:42", "0");
    feed(S, ">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n" ">0\r\n" ":1\r\n" ">1\r\n*1\r\n+x\r\n");
    CHECK_STR(notes(), "");
    message("42", "6-0 6");
    CHECK_STR(notes(), "event(42 6-0 6)");
    end();
}

/* -- publishing -- */

static tws_status publish(const char *user, const char *json, const char *key, uint64_t ticket)
{
    return tws_redis_publish(r, tws_str_c(user), tws_str_c(json), tws_str_c(key), ticket);
}

static const char *script_sha(void)
{
    static char hex[41];
    uint8_t digest[TWS_SHA1_BYTES];
    tws_sha1(tws_redis_script(), strlen(tws_redis_script()), digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    return hex;
}

TEST("a publish is one call of the script, and told when it is stored")
{
    char want[512];
    begin_open("redis://h");
    CHECK_EQ(publish("42", "{\"a\":1}", NULL, 7), TWS_OK);
    CHECK_EQ(publish("43", "2", "k-1", 8), TWS_OK);
    snprintf(want, sizeof want,
             "EVAL SCRIPT 1 task_status:42 {\"a\":1} 1000 86400000 | "
             "EVALSHA %s 1 task_status:43 2 1000 86400000 k-1", script_sha());
    CHECK_STR(output(C), want);
    CHECK_STR(notes(), "");
    feed(C, "$3\r\n5-0\r\n$3\r\n5-1\r\n");
    CHECK_STR(notes(), "stored(7 5-0) stored(8 5-1)");
    end();
}

TEST("a key of one byte is a word of the command as well as a longer one")
{
    begin_open("redis://h");
    CHECK_EQ(publish("42", "1", "k", 7), TWS_OK);
    CHECK(tws_str_starts(tws_redis_output(r, C), "*8\r\n$4\r\nEVAL\r\n"));
    CHECK_STR(output(C), "EVAL SCRIPT 1 task_status:42 1 1000 86400000 k");
    feed(C, "$3\r\n5-0\r\n");
    CHECK_STR(notes(), "stored(7 5-0)");
    end();
}

TEST("each connection begins by giving Redis the script, for Redis may be another")
{
    begin_open("redis://h");
    for (int n = 0; n < 2; n++) {
        publish("42", "1", NULL, 1);
        CHECK_STR(output(C), "EVAL SCRIPT 1 task_status:42 1 1000 86400000");
        feed(C, "$3\r\n5-0\r\n");
        CHECK_STR(notes(), "stored(1 5-0)");
        tws_redis_closed(r, C, "reset");
        wait_ms(50);
        open_commands();
        answer_beat();
        notes();
    }
    end();
}

TEST("a Redis that has lost the script is given it, and no publish overtakes another")
{
    char want[512];
    begin_open("redis://h");
    publish("42", "0", NULL, 0);
    output(C);
    feed(C, "$3\r\n4-0\r\n");
    CHECK_STR(notes(), "stored(0 4-0)");
    publish("42", "1", NULL, 1);
    publish("42", "2", NULL, 2);
    output(C);
    feed(C, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    publish("42", "3", NULL, 3);
    CHECK_STR(output(C), "");
    feed(C, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    snprintf(want, sizeof want,
             "EVAL SCRIPT 1 task_status:42 1 1000 86400000 | "
             "EVALSHA %s 1 task_status:42 2 1000 86400000 | "
             "EVALSHA %s 1 task_status:42 3 1000 86400000", script_sha(), script_sha());
    CHECK_STR(output(C), want);
    feed(C, "$3\r\n5-0\r\n$3\r\n5-1\r\n$3\r\n5-2\r\n");
    CHECK_STR(notes(), "stored(1 5-0) stored(2 5-1) stored(3 5-2)");
    end();
}

TEST("a publish that Redis refuses fails with the reason, and the state says whether all do")
{
    static const struct {
        const char *answer, *notes;
    } rows[] = {
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
         "failed(42 1 oom: OOM command not allowed when used memory > 'maxmemory'.) "
         "state(oom: OOM command not allowed when used memory > 'maxmemory'.)"},
        {"-ERR Error running script (call to f_0): @user_script:3: -OOM command not allowed.\r\n",
         "failed(42 1 oom: ERR Error running script (call to f_0): @user_script:3: -OOM command not "
         "allowed.) state(oom: ERR Error running script (call to f_0): @user_script:3: -OOM command "
         "not allowed.)"},
        {"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
         "failed(42 1 readonly: MISCONF Errors writing to the AOF file: No space left on device) "
         "state(readonly: MISCONF Errors writing to the AOF file: No space left on device)"},
        {"-NOREPLICAS Not enough good replicas to write.\r\n",
         "failed(42 1 readonly: NOREPLICAS Not enough good replicas to write.) "
         "state(readonly: NOREPLICAS Not enough good replicas to write.)"},
        {"-WRONGTYPE Operation against a key\r\n", "failed(42 1 refused: WRONGTYPE Operation against a key)"},
        {"-NOPERM no permissions\r\n", "failed(42 1 refused: NOPERM no permissions)"},
        {"-ERR unknown command `EVALSHA`, with args beginning with: `x`\r\n",
         "failed(42 1 refused: ERR unknown command `EVALSHA`)"},
        {":1\r\n", "failed(42 1 refused: an answer that is no id)"},
        {"$3\r\nfoo\r\n", "failed(42 1 refused: an answer that is no id)"},
        {"*1\r\n$3\r\n5-0\r\n", "failed(42 1 refused: an answer that is no id)"},
        {"_\r\n", "failed(42 1 refused: an answer that is no id)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].answer, i);
        begin_open("redis://h");
        publish("42", "1", NULL, 1);
        output(C);
        feed(C, rows[i].answer);
        CHECK_STR(notes(), rows[i].notes);
        CHECK_EQ(tws_redis_connection(r, C), 1);
        publish("42", "2", NULL, 2);
        output(C);
        feed(C, "$3\r\n5-0\r\n");
        CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
        end();
    }
}

/* A beat's output, with the script's try in it. */
static const char *beat_of(int probe, const char *behind)
{
    static char text[160];
    snprintf(text, sizeof text, "TIME | PUBLISH PROBE %d | EVALSHA %s 1 PROBE 0 1 1%s", probe,
             script_sha(), behind);
    return text;
}

TEST("after a refused event the script is tried with every beat, until it is taken")
{
    static const char oom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    static const char no[] = "-NOPERM User taskws has no permissions to run the 'evalsha' command\r\n";
    static const struct {
        const char *refusal, *answer, *state;
    } rows[] = {
        {oom, oom, "oom"},
        {oom, "-NOREPLICAS Not enough good replicas to write.\r\n", "readonly"},
        {oom, "$3\r\n5-0\r\n", "ready"},
        {no, no, "readonly"},
        {no, "-ERR unknown command 'EVALSHA'\r\n", "readonly"},
        {"-WRONGTYPE Operation against a key\r\n", "$3\r\n5-0\r\n", "ready"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].answer, i);
        begin_open("redis://h");
        publish("42", "1", NULL, 1);
        output(C);
        feed(C, rows[i].refusal);
        const tws_redis_state before = tws_redis_now(r, NULL);
        CHECK_EQ(before, rows[i].refusal == oom ? TWS_REDIS_IS_OOM : TWS_REDIS_IS_READY);
        wait_ms(3000);
        CHECK_STR(output(C), beat_of(2, ""));
        feed(C, "*2\r\n$1\r\n5\r\n$1\r\n0\r\n:1\r\n");
        CHECK_EQ(tws_redis_now(r, NULL), before);
        feed(C, rows[i].answer);
        CHECK_STR(tws_str_c(tws_redis_state_word(tws_redis_now(r, NULL))), rows[i].state);
        const bool ready = tws_redis_now(r, NULL) == TWS_REDIS_IS_READY;
        feed_push("message", probe_channel, "5-0 0");
        feed_push("message", probe_channel, "2");
        wait_ms(3000);
        CHECK_STR(output(C), ready ? "TIME | PUBLISH PROBE 3" : beat_of(3, ""));
        end();
    }
}

TEST("a script that is tried, and that Redis does not have, is brought by the next try")
{
    begin_open("redis://h");
    publish("42", "1", NULL, 1);
    output(C);
    feed(C, "-NOPERM User taskws has no permissions to run the 'eval' command\r\n");
    wait_ms(3000);
    output(C);
    feed(C, TIME_ANSWER ":1\r\n-NOSCRIPT No matching script.\r\n");
    feed_push("message", probe_channel, "2");
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
    wait_ms(3000);
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 3 | EVAL SCRIPT 1 PROBE 0 1 1");
    notes();
    feed(C, TIME_ANSWER ":1\r\n-NOPERM no permissions to run the 'eval' command\r\n");
    CHECK_STR(notes(), "state(readonly: NOPERM no permissions to run the 'eval' command)");
    end();
}

TEST("an answer that says something about all of Redis fails every publish under way")
{
    begin_open("redis://h");
    publish("42", "1", NULL, 1);
    publish("ada", "2", NULL, 2);
    output(C);
    publish("42", "3", NULL, 3);
    feed(C, "-READONLY You can't write against a read only replica.\r\n");
    CHECK_STR(notes(), "state(readonly: READONLY You can't write against a read only replica.) "
                       "failed(42 1 readonly: READONLY You can't write against a read only replica.) "
                       "failed(ada 2 readonly: READONLY You can't write against a read only replica.: "
                       "stored or not is not known) "
                       "failed(42 3 readonly: READONLY You can't write against a read only replica.)");
    CHECK_EQ(publish("42", "4", NULL, 4), TWS_ERR_UNAVAILABLE);
    end();
}

TEST("a connection that ends, or answers no more, fails what was not answered")
{
    tws_redis_stats stats;
    begin_open("redis://h");
    publish("42", "1", NULL, 1);
    publish("42", "2", NULL, 2);
    output(C);
    feed(C, "$3\r\n5-0\r\n$3\r\n5-");
    tws_redis_closed(r, C, "reset by peer");
    CHECK_STR(notes(), "stored(1 5-0) state(unreachable: reset by peer) "
                       "failed(42 2 unreachable: reset by peer: stored or not is not known)");
    wait_ms(50);
    open_commands();
    answer_beat();
    publish("42", "3", NULL, 3);
    output(C);
    notes();
    wait_ms(5000);
    CHECK_STR(notes(), "state(silent: no answer in time) "
                       "failed(42 3 silent: no answer in time: stored or not is not known)");
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.publishing, 0);
    CHECK_EQ(stats.stored, 1);
    CHECK_EQ(stats.failed, 2);
    end();
}

TEST("a publish that waits for the script when the connection ends fails, and is known not stored")
{
    begin_open("redis://h");
    publish("42", "0", NULL, 0);
    output(C);
    feed(C, "$3\r\n4-0\r\n");
    publish("42", "1", NULL, 1);
    publish("42", "2", NULL, 2);
    output(C);
    feed(C, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    notes();
    tws_redis_closed(r, C, "reset");
    CHECK_STR(notes(), "state(unreachable: reset) "
                       "failed(42 2 unreachable: reset: stored or not is not known) "
                       "failed(42 1 unreachable: reset)");
    end();
}

TEST("publishing is unavailable, full or refused for what is wrong with it, each by its own word")
{
    static char big[70000];
    char key[257];
    memset(big, '1', sizeof big);
    memset(key, 'k', 256);
    key[256] = '\0';
    desc.max_publishes = 3;
    desc.max_publish_bytes = 70000;
    begin("redis://h");
    CHECK_EQ(publish("42", "1", NULL, 1), TWS_ERR_UNAVAILABLE);
    open_commands();
    CHECK_EQ(publish("", "1", NULL, 1), TWS_ERR_ARGUMENT);
    CHECK_EQ(publish("42", "", NULL, 1), TWS_ERR_ARGUMENT);
    CHECK_EQ(publish("42", "1", key, 1), TWS_ERR_ARGUMENT);
    CHECK_EQ(publish("42", "1", key + 1, 1), TWS_OK);
    CHECK_EQ(tws_redis_publish(r, tws_str_c("42"), tws_str_of(big, 65537), tws_str_c(""), 2),
             TWS_ERR_ARGUMENT);
    CHECK_EQ(tws_redis_publish(r, tws_str_c("42"), tws_str_of(big, 65536), tws_str_c(""), 2), TWS_OK);
    CHECK_EQ(tws_redis_publish(r, tws_str_c("42"), tws_str_of(big, 5000), tws_str_c(""), 3),
             TWS_ERR_LIMIT);
    CHECK_EQ(publish("42", "1", NULL, 3), TWS_OK);
    CHECK_EQ(publish("42", "1", NULL, 4), TWS_ERR_LIMIT);
    output(C);
    CHECK_EQ(publish("42", "1", NULL, 4), TWS_ERR_LIMIT);
    feed(C, "$3\r\n5-0\r\n");
    CHECK_EQ(publish("42", "1", NULL, 4), TWS_OK);
    CHECK_EQ(publish("42", "1", NULL, 5), TWS_ERR_LIMIT);
    end();
}

#define HELLO_REPLICA \
    "%2\r\n$4\r\nrole\r\n$7\r\nreplica\r\n$7\r\nmodules\r\n*1\r\n%1\r\n+role\r\n+master\r\n"
#define HELLO_MASTER "%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"

TEST("a replica delivers, stores nothing, and is looked at again until it is one no more")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_as(HELLO_REPLICA);
    CHECK_STR(notes(), "state(unreachable: reset) state(readonly: it is a replica)");
    CHECK(tws_redis_state_delivers(tws_redis_now(r, NULL)));
    CHECK_EQ(publish("42", "1", NULL, 1), TWS_ERR_UNAVAILABLE);
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2 | XRANGE task_status:42 - + COUNT 256");
    feed(C, TIME_ANSWER ":1\r\n" ONE_ENTRY); /* it was none before */
    CHECK_STR(notes(), "again(42 4-max) event(42 5-0 {\"a\":5})");
    feed_push("message", probe_channel, "2");
    wait_ms(4999);
    output(C);
    feed(C, TIME_ANSWER ":1\r\n" HELLO_REPLICA);
    CHECK_STR(output(C), ""); /* it was one before */
    feed_push("message", probe_channel, "3");
    CHECK(tws_redis_connection(r, C) != 0);
    wait_ms(1);
    CHECK_EQ(tws_redis_connection(r, C), 0);
    wait_ms(50);
    open_as(HELLO_REPLICA);
    CHECK(tws_redis_connection(r, S) != 0);
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 4");
    wait_ms(5000);
    wait_ms(50);
    tws_redis_connected(r, C);
    tws_redis_closed(r, C, "not yet");
    wait_ms(5000);
    open_commands();
    CHECK_EQ(tws_redis_connection(r, S), 0);
    notes();
    wait_ms(50);
    open_subscriber();
    CHECK_STR(notes(), "");
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    answer_beat();
    CHECK_STR(notes(), "state(ready)");
    CHECK_EQ(publish("42", "1", NULL, 1), TWS_OK);
    end();
}

TEST("what a replica pushes is read from its stream, since it may have more")
{
    begin_live("42", ONE_ENTRY);
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_as(HELLO_REPLICA);
    output(C);
    feed(C, TIME_ANSWER ":1\r\n" ONE_ENTRY);
    notes();
    message("42", "{}");
    CHECK_STR(notes(), "event(42 0-0 {})");
    message("42", "7-0 7");
    CHECK_STR(notes(), "");
    CHECK_STR(output(C), "XRANGE task_status:42 5-0 + COUNT 256");
    feed(C, "*3\r\n" ENTRY("5-0", "1", "5") ENTRY("6-0", "1", "6") ENTRY("7-0", "1", "7"));
    CHECK_STR(notes(), "event(42 6-0 6) event(42 7-0 7)");
    end();
}

TEST("a master that becomes a replica without a word is noticed, and all is read again")
{
    begin("redis://h");
    open_subscriber();
    open_as(HELLO_MASTER);
    answer_beat();
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
    output(S);
    subscribed("42");
    output(C);
    feed(C, ONE_ENTRY);
    notes();
    for (int beat = 2; beat < 5; beat++) {
        static const char *const role[] = {HELLO_MASTER, "-NOPERM no\r\n", HELLO_REPLICA};
        char text[64];
        wait_ms(3000);
        snprintf(text, sizeof text, "TIME | PUBLISH PROBE %d | HELLO", beat);
        CHECK_STR(output(C), text);
        message("42", beat == 2 ? "8-0 8" : beat == 3 ? "9-0 9" : "{}"); /* behind 6-0 and 7-0 */
        feed(C, TIME_ANSWER ":1\r\n");
        feed(C, role[beat - 2]);
        snprintf(text, sizeof text, "%d", beat);
        feed_push("message", probe_channel, text);
        CHECK_STR(notes(), beat == 2   ? "event(42 8-0 8)"
                           : beat == 3 ? "event(42 9-0 9)"
                                       : "event(42 0-0 {}) state(readonly: it is a replica)");
        CHECK_STR(output(C), beat < 4 ? "" : "XRANGE task_status:42 - + COUNT 256");
    }
    CHECK_EQ(publish("42", "1", NULL, 1), TWS_ERR_UNAVAILABLE);
    message("42", "9-1 10");
    feed(C, "*5\r\n" ENTRY("6-0", "1", "6") ENTRY("7-0", "1", "7") ENTRY("8-0", "1", "8")
            ENTRY("9-0", "1", "9") ENTRY("9-1", "2", "10"));
    CHECK_STR(notes(), "again(42 5-max) event(42 6-0 6) event(42 7-0 7) event(42 8-0 8) "
                       "event(42 9-0 9) event(42 9-1 10)");
    end();
}

TEST("a subscription that began at a replica has no gap, and who is wanted by nobody is not read")
{
    for (size_t row = 0; row < 2; row++) {
        begin("redis://h");
        test_row("row", row);
        tws_redis_connected(r, S);
        output(S);
        feed(S, row == 0 ? HELLO_REPLICA : HELLO_MASTER);
        output(S);
        feed_push("subscribe", probe_channel, "1");
        open_as(row == 0 ? HELLO_REPLICA : HELLO_MASTER);
        answer_beat();
        CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
        output(S);
        subscribed("42");
        output(C);
        feed(C, ONE_ENTRY);
        notes();
        if (row == 1) {
            tws_redis_drop(r, tws_str_c("42"));
        }
        tws_redis_closed(r, C, "reset");
        wait_ms(50);
        open_as(HELLO_REPLICA);
        CHECK_STR(output(C), "TIME | PUBLISH PROBE 2");
        end();
    }
}

TEST("whose HELLO told no role is not asked for it, and one who refuses to tell stores as before")
{
    begin_open("redis://h");
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_as(HELLO_MASTER);
    publish("42", "1", NULL, 1);
    output(C);
    feed(C, "-OOM no\r\n" TIME_ANSWER ":1\r\n");
    feed_push("message", probe_channel, "2");
    notes();
    wait_ms(3000);
    CHECK_STR(output(C), beat_of(3, " | HELLO"));
    feed(C, TIME_ANSWER ":1\r\n-OOM no\r\n-NOPERM no\r\n");
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_OOM);
    tws_redis_closed(r, C, "reset");
    wait_ms(5000);
    open_commands();
    answer_beat();
    wait_ms(3000);
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 5");
    end();
}

TEST("two beats, all reads and all publishes at once find room to wait for their answers")
{
    desc.max_publishes = 1;
    begin("redis://h");
    open_subscriber();
    open_as(HELLO_MASTER);
    answer_beat();
    for (int i = 0; i < 128; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%d", i);
        CHECK_EQ(tws_redis_want(r, tws_str_c(user)), TWS_OK);
        output(S);
        subscribed(user);
    }
    publish("42", "1", NULL, 1);
    output(C);
    feed(C, "-OOM no\r\n");
    for (int i = 0; i < 128; i++) {
        feed(C, NO_ENTRIES);
    }
    notes();
    wait_ms(3000);
    for (int i = 0; i < 128; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%d", i);
        tws_redis_reload(r, tws_str_c(user), false);
    }
    output(C);
    feed(C, TIME_ANSWER); /* and no more for a while */
    feed_push("message", probe_channel, "2");
    CHECK_EQ(publish("42", "2", NULL, 2), TWS_OK);
    wait_ms(3000);
    output(C);
    CHECK_EQ(r->calls, r->call_max);
    end();
}

/* -- probe and time -- */

TEST("the probe is sent every 3 s, and its way is measured")
{
    tws_redis_stats stats;
    begin_open("redis://h");
    for (int i = 2; i < 5; i++) {
        char text[64];
        CHECK_EQ(tws_redis_deadline(r), now_ms + (i == 2 ? 3000 : 2980));
        wait_ms(i == 2 ? 2999 : 2979);
        CHECK_STR(output(C), "");
        wait_ms(1);
        snprintf(text, sizeof text, "TIME | PUBLISH PROBE %d", i);
        CHECK_STR(output(C), text);
        wait_ms(20);
        feed(C, TIME_ANSWER ":1\r\n");
        snprintf(text, sizeof text, "%d", i);
        feed_push("message", probe_channel, text);
        tws_redis_stat(r, &stats);
        CHECK_EQ(stats.round_trip_ms, 20);
    }
    CHECK_STR(notes(), "");
    end();
}

TEST("a connection that ends within a push leaves nothing of it for the next")
{
    begin_live("42", ONE_ENTRY);
    feed(S, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$9");
    tws_redis_closed(r, S, "reset");
    feed(C, ">2\r\n+invalidate\r\n");
    tws_redis_closed(r, C, "reset");
    wait_ms(50);
    open_subscriber();
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    open_commands();
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 2");
    end();
}

TEST("a clock that is set back stands still")
{
    begin_open("redis://h");
    uint64_t at = tws_redis_deadline(r);
    tws_redis_tick(r, 5);
    CHECK_EQ(tws_redis_deadline(r), at);
    CHECK_STR(notes(), "");
    end();
}

TEST("a subscription that does not hear its own probe is rebuilt")
{
    begin_live("42", ONE_ENTRY);
    wait_ms(3000);
    output(C);
    feed(C, TIME_ANSWER ":0\r\n");
    feed_push("message", probe_channel, "1");
    wait_ms(3000);
    CHECK_STR(output(C), "TIME"); /* no second probe while one is out */
    feed(C, TIME_ANSWER);
    wait_ms(1999);
    CHECK_STR(notes(), "");
    CHECK_EQ(tws_redis_deadline(r), now_ms + 1);
    wait_ms(1);
    CHECK_STR(notes(), "state(deaf: its own probe was not heard)");
    CHECK_EQ(tws_redis_connection(r, C), 1);
    CHECK_EQ(tws_redis_connection(r, S), 0);
    wait_ms(50);
    open_subscriber();
    CHECK_STR(notes(), "state(ready)");
    CHECK_STR(output(S), "SUBSCRIBE task_status:42");
    CHECK_STR(output(C), "TIME | PUBLISH PROBE 3");
    end();
}

TEST("a probe behind other messages is waited for")
{
    begin_live("42", ONE_ENTRY);
    wait_ms(3000);
    output(C);
    feed(C, TIME_ANSWER ":1\r\n");
    for (int i = 0; i < 4; i++) {
        wait_ms(2000);
        message("42", "{}");
        if (output(C).len > 0) {
            feed(C, TIME_ANSWER);
        }
    }
    notes();
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
    feed_push("message", probe_channel, "2");
    wait_ms(2000);
    output(C);
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
    end();
}

TEST("a Redis that stands still is noticed within 10 s, whenever it stops")
{
    for (uint64_t stop = 0; stop < 3000; stop += 100) {
        begin_live("42", ONE_ENTRY);
        wait_ms(stop);
        uint64_t stopped_ms = now_ms;
        while (tws_redis_now(r, NULL) == TWS_REDIS_IS_READY && now_ms < stopped_ms + 20000) {
            output(C);
            output(S);
            CHECK(r->calls <= 2); /* one TIME, one probe, however long it takes */
            wait_ms(tws_redis_deadline(r) - now_ms);
        }
        CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_SILENT);
        CHECK(now_ms - stopped_ms <= 10000);
        end();
    }
}

TEST("what a connection left unanswered is not waited for on the next, and the outage is counted")
{
    tws_redis_stats stats;
    begin_open("redis://h");
    publish("42", "1", NULL, 1);
    CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
    output(C);
    output(S);
    tws_redis_closed(r, C, "reset");
    tws_redis_closed(r, S, "reset");
    wait_ms(50);
    open_subscriber();
    open_commands();
    answer_beat();
    output(S);
    subscribed("42");
    CHECK_STR(output(C), "XREVRANGE task_status:42 + - COUNT 256");
    feed(C, NO_ENTRIES);
    CHECK_EQ(r->end[C].waiting, 0);
    CHECK_EQ(r->end[S].waiting, 0);
    tws_redis_stat(r, &stats);
    CHECK_EQ(stats.connects, 4);
    CHECK_EQ(stats.failures, 2);
    end();
}

TEST("a slow Redis is no silent one")
{
    begin_live("42", "");
    for (int i = 0; i < 10; i++) {
        wait_ms(2000);
        output(C);
        if (r->calls > 0) {
            feed(C, tws__redis_is_load(tws__redis_front(r)->kind) ? ONE_ENTRY : TIME_ANSWER ":1\r\n");
        }
        char number[24];
        snprintf(number, sizeof number, "%llu", (unsigned long long)r->probe);
        feed_push("message", probe_channel, number);
    }
    CHECK_STR(notes(), "event(42 5-0 {\"a\":5}) loaded(42 4-max)");
    CHECK_EQ(tws_redis_now(r, NULL), TWS_REDIS_IS_READY);
    end();
}

TEST("a server that forbids TIME or the probe is refused, and so it stays")
{
    static const struct {
        const char *name, *answer, *reason;
    } row[] = {
        {"TIME", "-%s\r\n:1\r\n",
         "NOPERM this user has no permissions to run the 'time' command"},
        {"the probe", TIME_ANSWER "-%s\r\n", "NOPERM no channel"},
    };
    char text[300], state[200], number[24];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row(row[i].name, i);
        begin_open("redis://h");
        snprintf(text, sizeof text, row[i].answer, row[i].reason);
        snprintf(state, sizeof state, "state(refused: %s)", row[i].reason);
        for (int n = 0; n < 4; n++) {
            wait_ms(n == 0 ? 3000 : 0);
            output(C);
            snprintf(number, sizeof number, "%llu", (unsigned long long)r->probe);
            feed_push("message", probe_channel, number); /* before what it is answered */
            CHECK_STR(notes(), "");
            feed(C, text);
            CHECK_STR(notes(), n == 0 || n == 1 ? state : "");
            wait_ms(r->desc.backoff_max_ms);
            open_commands();
            CHECK_STR(notes(), n == 0 ? "state(ready)" : ""); /* once may be an accident */
        }
        output(C); /* it is allowed again */
        answer_beat();
        CHECK_STR(notes(), "state(ready)");
        end();
    }
}

TEST("a server that forbids reading streams is never ready, however it says so")
{
    static const char *const reason[] = {
        "NOPERM User u has no permissions to run the 'xrevrange' command",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "ERR unknown command `XREVRANGE`", "WRONGTYPE Operation against a key"};
    char text[300], state[200];
    for (size_t i = 0; i < sizeof reason / sizeof *reason; i++) {
        test_row(reason[i], i);
        begin("redis://h");
        open_subscriber();
        tws_redis_connected(r, C);
        output(C);
        feed(C, HELLO_ANSWER);
        CHECK_STR(output(C), OPENING);
        snprintf(text, sizeof text, "-%s\r\n", reason[i]);
        snprintf(state, sizeof state, "state(refused: %s)", reason[i]);
        feed(C, text);
        CHECK_STR(notes(), state);
        end();
        /* The same, under way, to a user's own read. */
        begin_live("42", ONE_ENTRY);
        message("42", "7-0 7");
        message("42", "6-0 6"); /* ids fall: read again */
        output(C);
        notes();
        feed(C, text);
        CHECK(tws_str_starts(notes(), i == 0 || i == 2 ? state : "lost(42 "));
        end();
    }
}

TEST("a reason that changes while the state does not is told")
{
    begin("redis://h");
    tws_redis_closed(r, C, "closed by Redis");
    CHECK_STR(notes(), "state(unreachable: closed by Redis)");
    wait_ms(r->desc.backoff_max_ms);
    tws_redis_closed(r, C, "Connection refused");
    CHECK_STR(notes(), "state(unreachable: Connection refused)");
    wait_ms(r->desc.backoff_max_ms);
    tws_redis_closed(r, C, "Connection refused");
    CHECK_STR(notes(), "");
    end();
}

TEST("what comes on a connection that is given up, or not made yet, is not looked at")
{
    begin("redis://h");
    feed(C, "HTTP/1.1 400 Bad Request\r\n");
    CHECK_STR(notes(), "");
    tws_redis_closed(r, C, "refused");
    feed(C, "HTTP/1.1 400 Bad Request\r\n");
    tws_redis_connected(r, C);
    tws_redis_closed(r, C, "again");
    CHECK_STR(notes(), "state(unreachable: refused)");
    CHECK_STR(output(C), "");
    end();
}

TEST("every state has its own word")
{
    for (int i = 0; i <= (int)TWS_REDIS_IS_REFUSED; i++) {
        const char *word = tws_redis_state_word((tws_redis_state)i);
        CHECK(word[0] != '\0' && strcmp(word, "unknown") != 0);
        for (int n = 0; n < i; n++) {
            CHECK(strcmp(word, tws_redis_state_word((tws_redis_state)n)) != 0);
        }
    }
}

TEST("what was not sent when a connection ended is not sent on the next")
{
    for (int link = 0; link < TWS_REDIS_LINKS; link++) {
        const tws_redis_link end_of = link == 0 ? C : S;
        begin_open("redis://h");
        test_row(link == 0 ? "commands" : "subscriber", (size_t)link);
        CHECK_EQ(publish("42", "1", NULL, 7), TWS_OK);
        CHECK_EQ(tws_redis_want(r, tws_str_c("42")), TWS_OK);
        CHECK(tws_redis_output(r, end_of).len > 10);
        tws_redis_sent(r, end_of, 10);
        tws_redis_closed(r, end_of, "reset");
        wait_ms(50);
        tws_redis_connected(r, end_of);
        CHECK_STR(output(end_of), "HELLO 3 SETNAME taskws");
        end();
    }
}

TEST("a connection that ends without an answer, or idle once more, names what may have ended it")
{
    static const char early[] = "ended before an answer: a port for TLS, or a proxy without its Redis?";
    static const char idle[] = "ended while idle: is Redis's timeout below 4 s?";
    static const struct {
        uint64_t up_ms; /* and then quiet; 0: there was no answer */
        bool again, busy;
        const char *why;
    } rows[] = {
        {0, false, false, early},       {1500, false, false, "reset"}, {1500, true, false, idle},
        {900, true, false, "reset"},    {1500, true, true, "reset"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_str why;
        test_row(rows[i].why, i);
        begin_open("redis://h");
        wait_ms(6000);
        answer_beat(); /* it has stood for a while */
        if (rows[i].again || rows[i].up_ms == 0) {
            tws_redis_closed(r, C, "reset");
            wait_ms(100);
            tws_redis_connected(r, C);
        }
        if (rows[i].again) {
            open_commands();
            answer_beat();
        }
        wait_ms(rows[i].up_ms);
        if (rows[i].busy) {
            publish("42", "1", NULL, 1);
            output(C);
        }
        tws_redis_closed(r, C, "reset");
        tws_redis_now(r, &why);
        CHECK_STR(why, rows[i].why);
        end();
    }
}

TEST("output is taken in any pieces")
{
    char all[4096];
    size_t len = 0;
    begin_open("redis://h");
    publish("42", "{\"a\":1}", NULL, 0);
    output(C); /* the script */
    for (uint64_t i = 0; i < 10; i++) {
        publish("42", "{\"a\":1}", NULL, i);
    }
    size_t total = tws_redis_output(r, C).len;
    while (tws_redis_output(r, C).len > 0) {
        tws_str out = tws_redis_output(r, C);
        size_t n = out.len < 7 ? out.len : 7;
        memcpy(all + len, out.ptr, n);
        len += n;
        tws_redis_sent(r, C, n);
        if (len == 700) {
            publish("43", "{\"a\":1}", NULL, 10);
        }
    }
    CHECK_EQ(len, total / 10 * 11);
    for (size_t i = 1; i < 10; i++) {
        CHECK(memcmp(all, all + i * (total / 10), total / 10) == 0);
    }
    end();
}

/* -- out of memory -- */

static char served[8192];

static void serve_push(const char *kind, tws_str channel, const char *payload)
{
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)channel.len, channel.ptr);
    feed_push(kind, name, payload);
}

/* A Redis that answers everything at once, but has lost the script. */
static void serve(tws_redis_link link, const tws_str *w, size_t count)
{
    static bool has_script;
    char number[24];
    if (tws_str_eq_c(w[0], "HELLO")) {
        has_script = false;
        feed(link, HELLO_ANSWER);
    } else if (tws_str_eq_c(w[0], "XREVRANGE") && tws_str_eq_c(w[1], probe_channel)) {
        feed(link, "*0\r\n");
    } else if (tws_str_eq_c(w[0], "TIME")) {
        feed(link, TIME_ANSWER);
    } else if (tws_str_eq_c(w[0], "PUBLISH")) {
        snprintf(number, sizeof number, "%.*s", (int)w[2].len, w[2].ptr);
        feed(C, ":1\r\n");
        serve_push("message", w[1], number);
    } else if (tws_str_eq_c(w[0], "EVAL") || (tws_str_eq_c(w[0], "EVALSHA") && has_script)) {
        has_script = true;
        feed(link, "$3\r\n6-0\r\n");
    } else if (tws_str_eq_c(w[0], "EVALSHA")) {
        feed(link, "-NOSCRIPT No matching script.\r\n");
    } else if (tws_str_starts(w[0], "X")) {
        feed(link, ONE_ENTRY);
    }
    for (size_t i = 1; i < count && tws_str_eq_c(w[0], "SUBSCRIBE"); i++) {
        serve_push("subscribe", w[i], "1");
    }
    for (size_t i = 1; i < count && tws_str_eq_c(w[0], "UNSUBSCRIBE"); i++) {
        serve_push("unsubscribe", w[i], "1");
    }
}

/* Answer what was written until nothing is. */
static void serve_all(tws_redis_link link)
{
    static tws_str w[TWS__REDIS_BATCH + 1];
    if (r->end[link].step == TWS__REDIS_DIAL) {
        tws_redis_connected(r, link);
    }
    for (tws_str out = tws_redis_output(r, link); out.len > 0; out = tws_redis_output(r, link)) {
        tws_resp_decoder d;
        tws_resp_event ev;
        size_t at = 0;
        size_t count = 0;
        uint32_t number = tws_redis_connection(r, link);
        CHECK(out.len <= sizeof served);
        memcpy(served, out.ptr, out.len);
        tws_redis_sent(r, link, out.len);
        tws_resp_init(&d, NULL);
        while (at < out.len && tws_redis_connection(r, link) == number) {
            at += tws_resp_decode(&d, served + at, out.len - at, &ev);
            count = ev.type == TWS_RESP_ARRAY ? 0 : count;
            if (ev.type == TWS_RESP_BULK) {
                w[count++] = ev.text;
            }
            if (ev.done) {
                serve(link, w, count);
            }
        }
    }
}

static void serve_for_a_minute(void)
{
    for (int second = 0; second < 60; second++) {
        serve_all(C);
        serve_all(S);
        wait_ms(1000);
    }
}

static size_t count_notes(const char *prefix)
{
    size_t count = 0;
    for (const char *at = strstr(noted, prefix); at != NULL; at = strstr(at + 1, prefix)) {
        count++;
    }
    return count;
}

TEST("without memory at any allocation nothing is lost, repeated or leaked")
{
    size_t allocations = SIZE_MAX;
    for (size_t n = 0; n <= allocations; n++) {
        char user[16];
        uint64_t accepted = 0;
        test_row("allocation", n);
        counting = test_allocator();
        memset(&url, 0, sizeof url);
        memcpy(url.host, "h", 2);
        desc.allocator = &counting;
        desc.url = &url;
        noted[0] = '\0';
        now_ms = 1000;
        test_fail_at(n);
        if (tws_redis_create(&r, &desc, now_ms) != TWS_OK) {
            CHECK(r == NULL && (n == 1 || n == 2));
            tws_redis_free(r);
            continue;
        }
        for (int i = 0; i < 70; i++) { /* the table grows */
            snprintf(user, sizeof user, "u%d", i);
            tws_status status = tws_redis_want(r, tws_str_c(user));
            CHECK(status == TWS_OK || status == TWS_ERR_MEMORY);
            CHECK(status == TWS_OK || tws_redis_want(r, tws_str_c(user)) == TWS_OK);
        }
        serve_for_a_minute();
        for (uint64_t i = 0; i < 20; i++) {
            tws_status status = publish("u1", "{\"some\":\"event\"}", "key", i);
            CHECK(status == TWS_OK || status == TWS_ERR_MEMORY);
            accepted += status == TWS_OK ? 1 : 0;
        }
        serve_for_a_minute();
        tws_redis_drop(r, tws_str_c("u69"));
        serve_for_a_minute();
        CHECK_EQ(count_notes("event("), 70);
        CHECK_EQ(count_notes("loaded("), 70);
        CHECK_EQ(count_notes("stored("), accepted);
        CHECK_EQ(count_notes("failed("), 0);
        CHECK_EQ(r->stats.live, 69);
        CHECK_EQ(r->users.count, 69);
        allocations = n == 0 ? test_allocations() : allocations;
        end();
        CHECK_EQ(test_live_blocks(), 0);
    }
    CHECK(allocations > 100);
}

/* -- all interleavings --
 * A Redis of one user, who has a stream and a channel, behind two pipes each way. Whatever can
 * happen next does, in one run or another: it takes a command, an answer or a push arrives, an event
 * is published, a connection ends, and so on. After each run everything is let come to rest, and
 * then what was given is compared with what was published. */

#define MODEL_EVENTS 8

typedef struct model {
    uint64_t id[MODEL_EVENTS]; /* of all events ever published, rising */
    bool gone[MODEL_EVENTS];   /* trimmed, or lost in a restart */
    bool lost[MODEL_EVENTS];   /* lost in a restart */
    size_t count;
    bool subscribed;
    char to_redis[TWS_REDIS_LINKS][4096];
    size_t to_redis_len[TWS_REDIS_LINKS];
    char answers[TWS_REDIS_LINKS][32][1024]; /* under way to the session */
    size_t answer_first[TWS_REDIS_LINKS];
    size_t answer_count[TWS_REDIS_LINKS];
    char time[64]; /* the answer to TIME, which goes with the next one */
} model;

static model m;

static char *model_answer(tws_redis_link link)
{
    size_t at = m.answer_first[link] + m.answer_count[link]++;
    CHECK(m.answer_count[link] <= 32);
    char *to = m.answers[link][at % 32];
    size_t n = link == C ? strlen(m.time) : 0;
    memcpy(to, m.time, n);
    m.time[0] = '\0';
    return to + n;
}

static void model_publish(void)
{
    uint64_t id = 100 + m.count * 10;
    m.gone[m.count] = false;
    m.id[m.count++] = id;
    if (m.subscribed) {
        snprintf(model_answer(S), 1024, ">3\r\n$7\r\nmessage\r\n$14\r\ntask_status:42\r\n$7\r\n%llu-0 1\r\n",
                 (unsigned long long)id);
    }
}

/* The entries from an id on, or all of them the other way round. */
static void model_range(uint64_t from, bool reverse)
{
    char *to = model_answer(C);
    size_t count = 0;
    for (size_t i = 0; i < m.count; i++) {
        count += !m.gone[i] && m.id[i] >= from ? 1 : 0;
    }
    to += sprintf(to, "*%zu\r\n", count);
    for (size_t n = 0; n < m.count; n++) {
        size_t i = reverse ? m.count - 1 - n : n;
        if (!m.gone[i] && m.id[i] >= from) {
            to += sprintf(to, "*2\r\n$5\r\n%llu-0\r\n*2\r\n$1\r\nd\r\n$1\r\n1\r\n",
                          (unsigned long long)m.id[i]);
        }
    }
}

/* Take the first command off a pipe. Words are NUL-terminated copies. */
static void model_command(tws_redis_link link, char words[8][64])
{
    tws_resp_decoder d;
    tws_resp_event ev;
    size_t at = 0;
    size_t word = 0;
    tws_resp_init(&d, NULL);
    do {
        at += tws_resp_decode(&d, m.to_redis[link] + at, m.to_redis_len[link] - at, &ev);
        if (ev.type == TWS_RESP_BULK) {
            snprintf(words[word++], 64, "%.*s", (int)ev.text.len, ev.text.ptr);
        }
    } while (!ev.done);
    m.to_redis_len[link] -= at;
    memmove(m.to_redis[link], m.to_redis[link] + at, m.to_redis_len[link]);
}

static void model_serve(tws_redis_link link)
{
    char w[8][64];
    model_command(link, w);
    if (strcmp(w[0], "HELLO") == 0) {
        strcpy(model_answer(link), HELLO_ANSWER);
    } else if (strcmp(w[0], "XREVRANGE") == 0 && strcmp(w[1], probe_channel) == 0) {
        strcpy(model_answer(link), "*0\r\n");
    } else if (strcmp(w[0], "TIME") == 0) {
        snprintf(m.time, sizeof m.time, "*2\r\n$1\r\n0\r\n$6\r\n%06zu\r\n",
                 (100 + m.count * 10 - 5) * 1000);
        model_serve(link); /* the read behind it, in the same moment */
    } else if (strcmp(w[0], "XREVRANGE") == 0) {
        model_range(0, true);
    } else if (strcmp(w[0], "XRANGE") == 0) {
        model_range(strtoull(w[2], NULL, 10), false); /* "-" is 0 */
    } else {
        bool on = strcmp(w[0], "SUBSCRIBE") == 0;
        m.subscribed = strcmp(w[1], "task_status:42") == 0 ? on : m.subscribed;
        snprintf(model_answer(link), 1024, ">3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:1\r\n", strlen(w[0]),
                 on ? "subscribe" : "unsubscribe", strlen(w[1]), w[1]);
    }
}

/* What the session has given. Ids since it began anew. */
static uint64_t got[64];
static size_t got_count;
static tws_event_id got_from;
static bool got_loaded;
static size_t got_lost;

static void got_begin(tws_event_id from)
{
    got_count = 0;
    got_from = from;
}

static void model_take_events(void)
{
    tws_redis_event ev;
    while (tws_redis_next(r, &ev) != TWS_REDIS_NONE) {
        if (ev.type == TWS_REDIS_EVENT) {
            CHECK(got_count == 0 || ev.id.ms > got[got_count - 1]);
            got[got_count++] = ev.id.ms;
        } else if (ev.type == TWS_REDIS_LOST) {
            CHECK(got_loaded);
            got_begin(ev.id);
            got_lost++;
        } else if (ev.type == TWS_REDIS_LOADED) {
            CHECK(!got_loaded);
            got_loaded = true;
            got_from = ev.id;
        } else {
            CHECK_EQ(ev.type, TWS_REDIS_STATE);
        }
    }
}

static void model_deliver(tws_redis_link link)
{
    size_t room;
    const char *answer = m.answers[link][m.answer_first[link]++ % 32];
    m.answer_count[link]--;
    memcpy(tws_redis_input(r, link, &room), answer, strlen(answer));
    tws_redis_received(r, link, strlen(answer));
    model_take_events();
}

static void model_collect(void)
{
    now_ms += 1;
    tws_redis_tick(r, now_ms);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws_str out = tws_redis_output(r, (tws_redis_link)i);
        CHECK(out.len <= sizeof m.to_redis[i] - m.to_redis_len[i]);
        memcpy(m.to_redis[i] + m.to_redis_len[i], out.ptr == NULL ? "" : out.ptr, out.len);
        m.to_redis_len[i] += out.len;
        tws_redis_sent(r, (tws_redis_link)i, out.len);
    }
}

/* Bring a connection up in one go: the opening has its own tests. */
static void model_open(tws_redis_link link)
{
    now_ms += 1;
    tws_redis_tick(r, now_ms);
    tws_redis_connected(r, link);
    while (r->end[link].step != TWS__REDIS_UP) {
        model_collect();
        model_serve(link);
        model_deliver(link);
    }
    r->beat_ms = UINT64_MAX;
}

static void model_cut(tws_redis_link link)
{
    m.to_redis_len[link] = 0;
    m.answer_count[link] = 0;
    m.subscribed = link == S ? false : m.subscribed;
    tws_redis_closed(r, link, "cut");
    model_take_events();
    model_open(link);
}

static void model_trim(void)
{
    for (size_t i = 0; i + 1 < m.count; i++) {
        m.gone[i] = true;
    }
}

static void model_end_stream(void)
{
    for (size_t i = 0; i < m.count; i++) {
        m.gone[i] = true;
    }
}

static void model_restart_empty(void)
{
    for (size_t i = 0; i < m.count; i++) {
        m.gone[i] = true;
        m.lost[i] = true;
    }
    model_cut(S);
    model_cut(C);
}

/* -- choices: every sequence of them once -- */

static unsigned char chosen[256];
static unsigned char offered[256];
static size_t depth;
static size_t fixed;

static size_t choose(size_t options)
{
    chosen[depth] = depth < fixed ? chosen[depth] : 0;
    offered[depth] = (unsigned char)options;
    return chosen[depth++];
}

static bool choose_next(void)
{
    while (depth > 0 && chosen[depth - 1] + 1 >= offered[depth - 1]) {
        depth--;
    }
    if (depth == 0) {
        return false;
    }
    chosen[depth - 1]++;
    fixed = depth;
    depth = 0;
    return true;
}

/* How often each may happen: p publish, s and c the subscriber's and the commands' connection is
 * cut, t all but the newest event are trimmed, x Redis comes back empty, d the readers leave and
 * come back, e the stream ends. */
typedef struct scenario {
    const char *name;
    int p, s, c, t, x, d, e;
    int before; /* events published before anybody reads */
    bool live;  /* choices begin once the user is live */
} scenario;

static size_t list_actions(const scenario *left, char actions[16])
{
    size_t n = 0;
    const char may[] = {left->p > 0 ? 'p' : 0, left->s > 0 ? 's' : 0, left->c > 0 ? 'c' : 0,
                        left->t > 0 && got_count > 0 && got_loaded ? 't' : 0,
                        left->x > 0 ? 'x' : 0, left->d > 0 ? 'd' : 0,
                        left->e > 0 ? 'e' : 0,
                        m.to_redis_len[S] > 0 ? 'S' : 0, m.to_redis_len[C] > 0 ? 'C' : 0,
                        m.answer_count[S] > 0 ? 'P' : 0, m.answer_count[C] > 0 ? 'A' : 0};
    for (size_t i = 0; i < sizeof may; i++) {
        if (may[i] != 0) {
            actions[n++] = may[i];
        }
    }
    return n;
}

static void act(scenario *left, char action)
{
    switch (action) {
    case 'p': left->p--; model_publish(); break;
    case 's': left->s--; model_cut(S); break;
    case 'c': left->c--; model_cut(C); break;
    case 't': left->t--; model_trim(); break;
    case 'x': left->x--; model_restart_empty(); break;
    case 'e': left->e--; model_end_stream(); break;
    case 'd':
        left->d--;
        tws_redis_drop(r, tws_str_c("42"));
        tws_redis_want(r, tws_str_c("42"));
        got_begin(tws__event_id(0, 0));
        got_loaded = false;
        break;
    case 'S': model_serve(S); break;
    case 'C': model_serve(C); break;
    case 'P': model_deliver(S); break;
    case 'A': model_deliver(C); break;
    default: break;
    }
    model_collect();
}

/* Let what is under way arrive; then one event more, which must come by itself. */
static void come_to_rest(void)
{
    scenario nothing;
    char actions[16];
    memset(&nothing, 0, sizeof nothing);
    while (list_actions(&nothing, actions) > 0) {
        act(&nothing, actions[0]);
    }
}

/* What Redis has was given, and everything behind the id from which that was said to be complete;
 * but not what Redis itself has lost. */
static void check_all_given(bool may_lose)
{
    size_t n = 0;
    CHECK(got_loaded);
    CHECK(may_lose || got_lost == 0);
    for (size_t i = 0; i < m.count; i++) {
        bool after = tws_event_id_compare(tws__event_id(m.id[i], 0), got_from) > 0;
        bool given = n < got_count && got[n] == m.id[i];
        test_row(m.lost[i] ? "event lost" : m.gone[i] ? "event trimmed" : "event", i);
        CHECK(m.gone[i] || given);
        CHECK(m.lost[i] || given || !after);
        CHECK(m.gone[i] || after || !given);
        CHECK(!m.lost[i] || !given);
        n += given ? 1 : 0;
    }
    CHECK_EQ(n, got_count);
}

static void run_path(const scenario *s)
{
    scenario left = *s;
    char actions[16];
    memset(&m, 0, sizeof m);
    got_begin(tws__event_id(0, 0));
    got_loaded = false;
    got_lost = 0;
    desc.max_event_bytes = 1024;
    desc.load_bytes = 4096;
    desc.max_publishes = 4;
    desc.command_ms = 1000000000;
    desc.backoff_min_ms = 1;
    desc.backoff_max_ms = 1;
    begin("redis://h");
    model_open(S);
    model_open(C);
    for (int i = 0; i < s->before; i++) {
        model_publish();
    }
    tws_redis_want(r, tws_str_c("42"));
    model_collect();
    if (s->live) {
        come_to_rest();
    }
    size_t n;
    while ((n = list_actions(&left, actions)) > 0) {
        act(&left, actions[choose(n)]);
    }
    come_to_rest();
    model_publish();
    come_to_rest();
    check_all_given(s->t > 0 || s->x > 0 || s->e > 0 || (s->s > 0 && s->before == 0));
    CHECK_EQ(r->stats.live, 1);
    end();
}

TEST("at any interleaving of publishes, reads and outages every event is given once and in order")
{
    static const scenario scenarios[] = {
        {"four events while a user is loaded", 4, 0, 0, 0, 0, 0, 0, 0, false},
        {"three events beside two earlier ones", 3, 0, 0, 0, 0, 0, 0, 2, false},
        {"the subscriber is cut while loading", 2, 1, 0, 0, 0, 0, 0, 1, false},
        {"the commands are cut while loading", 2, 0, 1, 0, 0, 0, 0, 1, false},
        {"both are cut while loading", 0, 1, 1, 0, 0, 0, 0, 1, false},
        {"the subscriber is cut while live", 3, 1, 0, 0, 0, 0, 0, 1, true},
        {"the commands are cut while catching up", 1, 1, 2, 0, 0, 0, 0, 1, true},
        {"both are cut while nothing was ever published", 2, 1, 1, 0, 0, 0, 0, 0, true},
        {"the subscriber is cut twice", 2, 2, 0, 0, 0, 0, 0, 1, true},
        {"events are trimmed in an outage", 2, 1, 0, 1, 0, 0, 0, 1, true},
        {"Redis comes back empty", 3, 0, 0, 0, 1, 0, 0, 1, true},
        {"Redis comes back empty while loading", 2, 0, 0, 0, 1, 0, 0, 1, false},
        {"Redis comes back empty twice", 1, 0, 0, 0, 2, 0, 0, 1, true},
        {"the readers leave and come back", 1, 0, 0, 0, 0, 2, 0, 1, false},
        {"the readers leave and come back while live", 2, 0, 0, 0, 0, 1, 0, 1, true},
        {"the readers leave and come back in an outage", 1, 1, 0, 0, 0, 1, 0, 1, true},
        {"the stream ends while loading", 2, 0, 0, 0, 0, 0, 1, 2, false},
        {"the stream ends twice while loading", 1, 0, 0, 0, 0, 0, 2, 2, false},
        {"the stream ends in an outage", 2, 1, 0, 0, 0, 0, 1, 1, true},
        {"the stream ends and the readers come back", 1, 0, 0, 0, 0, 1, 1, 1, true},
    };
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        size_t paths = 0;
        test_row(scenarios[i].name, i);
        depth = 0;
        fixed = 0;
        do {
            run_path(&scenarios[i]);
            paths++;
        } while (test_failures == 0 && choose_next());
        test_row(scenarios[i].name, i);
        CHECK(paths > 50);
    }
}
