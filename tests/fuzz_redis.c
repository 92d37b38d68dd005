/* Fuzz target: the session, its connections and its clock. Whatever a server sends, and whenever:
 * ids of a user rise from one beginning to the next, what is given is JSON, a user is loaded once
 * for each time that it is wanted, an accepted publish ends once, and the deadline leads somewhere.
 *
 * input    a program: a byte whose low 4 bits are what to do, the high ones a number n; some are
 *          followed by bytes of their own (see run) */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))
#define USERS 4
#define TICKETS 256

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

typedef struct reader {
    bool wanted;
    bool loaded;
    tws_event_id last;
} reader;

typedef struct world {
    const uint8_t *at;
    const uint8_t *end;
    tws_redis *r;
    uint64_t now_ms;
    reader user[USERS];
    uint8_t ticket[TICKETS]; /* 0 unused, 1 accepted, 2 ended */
    unsigned tickets;
} world;

static tws_str user_id(unsigned i)
{
    static const char *const id[USERS] = {"0", "1", "22", "a user"};
    return tws_str_c(id[i % USERS]);
}

static reader *reader_of(world *w, tws_str id)
{
    for (unsigned i = 0; i < USERS; i++) {
        if (tws_str_eq(id, user_id(i))) {
            return &w->user[i];
        }
    }
    fail("the user is known");
    return NULL;
}

static void on_event(world *w, const tws_redis_event *ev)
{
    reader *u = ev->user_id.len > 0 ? reader_of(w, ev->user_id) : NULL;
    switch (ev->type) {
    case TWS_REDIS_EVENT:
        REQUIRE(tws_json_valid(ev->json) && ev->json.len <= 1024);
        if (u->wanted && ev->id.ms + ev->id.seq != 0) {
            REQUIRE(tws_event_id_compare(ev->id, u->last) > 0);
            u->last = ev->id;
        }
        break;
    case TWS_REDIS_LOADED:
        REQUIRE(u->wanted && (!u->loaded || ev->id.ms + ev->id.seq == 0)); /* 0-0: wanted again */
        u->loaded = true;
        break;
    case TWS_REDIS_LOST:
        memset(&u->last, 0, sizeof u->last);
        break;
    case TWS_REDIS_STORED:
    case TWS_REDIS_FAILED:
        REQUIRE(ev->ticket < TICKETS && w->ticket[ev->ticket] == 1);
        w->ticket[ev->ticket] = 2;
        break;
    case TWS_REDIS_DROPPED:
    case TWS_REDIS_STATE: REQUIRE(ev->reason.len < 200); break;
    case TWS_REDIS_NONE: break;
    }
}

static void take_events(world *w)
{
    tws_redis_event ev;
    while (tws_redis_next(w->r, &ev) != TWS_REDIS_NONE) {
        on_event(w, &ev);
    }
}

static void feed(world *w, tws_redis_link link, const void *bytes, size_t len)
{
    size_t room;
    char *to = tws_redis_input(w->r, link, &room);
    REQUIRE(room >= len);
    if (len > 0) {
        memcpy(to, bytes, len);
    }
    tws_redis_received(w->r, link, len);
    take_events(w);
}

static unsigned next_byte(world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

/* A push whose words are the program's. */
static void feed_push(world *w, const char *kind, unsigned user, const char *payload)
{
    char text[256];
    tws_str id = user_id(user);
    int n = snprintf(text, sizeof text, ">3\r\n+%s\r\n$%zu\r\ntask_status:%.*s\r\n$%zu\r\n%s\r\n", kind,
                     id.len + 12, (int)id.len, id.ptr, strlen(payload), payload);
    feed(w, TWS_REDIS_SUBSCRIBER, text, (size_t)n);
}

static void feed_entries(world *w, unsigned count)
{
    char text[2048];
    int n = snprintf(text, sizeof text, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) {
        unsigned b = next_byte(w);
        n += snprintf(text + n, sizeof text - (size_t)n, "*2\r\n+%u-%u\r\n*2\r\n+%s\r\n+%s\r\n", b >> 3,
                      b & 3, (b & 4) != 0 ? "d" : "x", (b & 2) != 0 ? "{}" : "no");
    }
    feed(w, TWS_REDIS_COMMANDS, text, (size_t)n);
}

/* Bring a connection up, if there should be one. */
static void open_link(world *w, tws_redis_link link)
{
    static const char hello[] = "%1\r\n+role\r\n+master\r\n";
    tws_redis_connected(w->r, link);
    tws_redis_sent(w->r, link, tws_redis_output(w->r, link).len);
    feed(w, link, hello, sizeof hello - 1);
    tws_redis_sent(w->r, link, tws_redis_output(w->r, link).len);
    if (link == TWS_REDIS_COMMANDS) {
        feed(w, link, "+PONG\r\n", 7);
        return;
    }
    char text[128];
    int n = snprintf(text, sizeof text, ">3\r\n+subscribe\r\n+%s\r\n:1\r\n", w->r->probe_channel);
    feed(w, link, text, (size_t)n);
}

static void feed_probe(world *w)
{
    char text[128];
    int n = snprintf(text, sizeof text, ">3\r\n+message\r\n+%s\r\n+%llu\r\n", w->r->probe_channel,
                     (unsigned long long)w->r->probe);
    feed(w, TWS_REDIS_SUBSCRIBER, text, (size_t)n);
}

static void wait_until(world *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    tws_redis_tick(w->r, w->now_ms);
    take_events(w);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        (void)tws_redis_output(w->r, (tws_redis_link)i);
    }
    REQUIRE(tws_redis_deadline(w->r) > w->now_ms);
}

static void want(world *w, unsigned i)
{
    reader *u = &w->user[i % USERS];
    if (!u->wanted) {
        memset(u, 0, sizeof *u);
    }
    u->wanted = true;
    REQUIRE(tws_redis_want(w->r, user_id(i)) == TWS_OK);
}

static void publish(world *w, unsigned i)
{
    tws_str key = (i & 8u) != 0 ? tws_str_c("key") : tws_str_c(NULL);
    if (w->tickets == TICKETS) {
        return;
    }
    w->ticket[w->tickets] = 1;
    if (tws_redis_publish(w->r, user_id(i), tws_str_c("{\"a\":1}"), key, w->tickets) != TWS_OK) {
        w->ticket[w->tickets] = 0;
        return;
    }
    w->tickets++;
}

static void feed_own(world *w, tws_redis_link link, unsigned n)
{
    size_t len = (size_t)n * 16 + next_byte(w) % 16;
    size_t left = (size_t)(w->end - w->at);
    len = len < left ? len : left;
    feed(w, link, w->at, len);
    w->at += len;
}

static void feed_word(world *w, unsigned n)
{
    static const char *const words[16] = {
        "$3\r\n6-0\r\n", "-NOSCRIPT no\r\n", "-LOADING no\r\n", "-OOM no\r\n", "-READONLY no\r\n",
        "-WRONGTYPE no\r\n", "*2\r\n+5\r\n+0\r\n", ":1\r\n", "+OK\r\n", "_\r\n", "*0\r\n", "*-1\r\n",
        "-ERR no\r\n", "-MOVED no\r\n", "%1\r\n+role\r\n+replica\r\n", "+PONG\r\n"};
    feed(w, TWS_REDIS_COMMANDS, words[n], strlen(words[n]));
}

static void run(world *w)
{
    char payload[32];
    while (w->at < w->end) {
        unsigned b = next_byte(w);
        unsigned n = b >> 4;
        tws_redis_link link = (n & 1u) != 0 ? TWS_REDIS_SUBSCRIBER : TWS_REDIS_COMMANDS;
        switch (b & 15u) {
        case 0: want(w, n); break;
        case 1:
            w->user[n % USERS].wanted = false;
            tws_redis_drop(w->r, user_id(n));
            break;
        case 2: publish(w, n); break;
        case 3: tws_redis_reload(w->r, user_id(n), n % 2 == 0); break;
        case 4: open_link(w, link); break;
        case 5:
            tws_redis_closed(w->r, link, "cut");
            take_events(w);
            break;
        case 6: wait_until(w, w->now_ms + (uint64_t)n * n * 40); break;
        case 7: wait_until(w, tws_redis_deadline(w->r)); break;
        case 8: tws_redis_sent(w->r, link, tws_redis_output(w->r, link).len / (n / 2 + 1)); break;
        case 9: feed_push(w, "subscribe", n, "1"); break;
        case 10: feed_push(w, "unsubscribe", n, "1"); break;
        case 11:
            b = next_byte(w);
            snprintf(payload, sizeof payload, (b & 2) != 0 ? "%u-%u {}" : "%u-%u", b >> 3, b & 3);
            feed_push(w, "message", n, payload);
            break;
        case 12: feed_entries(w, n); break;
        case 13: feed_word(w, n); break;
        case 14: feed_own(w, link, n / 2); break;
        default: feed_probe(w); break;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world w;
    tws_redis_url url;
    tws_redis_desc desc;
    memset(&w, 0, sizeof w);
    memset(&url, 0, sizeof url);
    memset(&desc, 0, sizeof desc);
    w.at = data;
    w.end = data + size;
    w.now_ms = 1000;
    desc.url = &url;
    desc.max_event_bytes = 1024;
    desc.load_bytes = 1100;
    desc.max_publishes = 8;
    if (tws_redis_create(&w.r, &desc, w.now_ms) != TWS_OK) {
        return 0;
    }
    run(&w);
    /* Everything accepted ends, at the latest when the connection does. */
    tws_redis_closed(w.r, TWS_REDIS_COMMANDS, "end");
    take_events(&w);
    for (unsigned i = 0; i < w.tickets; i++) {
        REQUIRE(w.ticket[i] == 2);
    }
    tws_redis_free(w.r);
    return 0;
}
