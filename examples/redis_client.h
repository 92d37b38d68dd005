/* redis_client.h: a small blocking Redis client, on client.h's connection and taskws.h's codec.
 *
 *     static redis_client r;
 *     redis_reply answer;
 *     tws_buf out;
 *     ...
 *     tws_resp_command(&out, 2);
 *     tws_resp_word_c(&out, "INCR");
 *     tws_resp_word_c(&out, "visits");
 *     if (!redis_connect(&r, &url, 5000) || !client_flush(&r.link, &out, 5000) ||
 *         !redis_read(&r, &answer, 5000)) {
 *         fprintf(stderr, "%s: %s\n", r.where, r.link.error);
 *         return 1;
 *     }
 *
 * It does not ask for RESP3: for replies to commands RESP2 is as good, and every server speaks it. */
#ifndef TASKWS_REDIS_CLIENT_H
#define TASKWS_REDIS_CLIENT_H

#include "client.h"

typedef struct redis_client {
    client link;
    tws_resp_decoder decoder;
    char where[300]; /* host:port, or the path: for messages, without the password */
} redis_client;

typedef struct redis_reply {
    tws_resp_type type;
    char text[256]; /* of a string or an error, cut to this */
    int64_t integer;
} redis_reply;

/* What a person can do about Redis's word for an error; "" where nobody knows. Redis before 7 wraps
 * a script's error in another. */
static inline const char *redis_advice(const char *error)
{
    static const char *const table[][2] = {
        {"NOAUTH", "put the password into the URL: redis://user:password@host:port/db"},
        {"WRONGPASS", "correct the user or the password in the URL"},
        {"NOPERM", "allow this user task_status:* as keys and channels, and their commands"},
        {"executing the script can't", "allow this user what examples/workers/README.md lists; "
                                       "the event may be stored"},
        {"LOADING", "it is starting; try again in a moment"},
        {"READONLY", "this is a replica: give the address of its primary"},
        {"MASTERDOWN", "this is a replica without a primary: give the address of that"},
        {"NOREPLICAS", "it has fewer replicas than its min-replicas-to-write asks for"},
        {"MOVED", "this is a node of a cluster: give the address behind MOVED"},
        {"CLUSTERDOWN", "its cluster is not whole: see CLUSTER INFO"},
        {"BUSY", "a script has run for long there: SCRIPT KILL ends it"},
        {"DENIED", "it is in protected mode: give it a password, or bind it to loopback"},
        {"OOM", "give Redis more memory (maxmemory), or its streams a shorter life"},
        {"MISCONF", "Redis cannot write to its disk: see its log"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strstr(error, table[i][0]) != NULL) {
            return table[i][1];
        }
    }
    return "";
}

/* The next reply; of an array only its type. False: none came, link.error says why. */
static inline bool redis_read(redis_client *r, redis_reply *reply, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    client *c = &r->link;
    tws_resp_event ev;
    memset(reply, 0, sizeof *reply);
    do {
        c->in_at += tws_resp_decode(&r->decoder, (const char *)c->in + c->in_at,
                                    c->in_len - c->in_at, &ev);
        if (ev.type == TWS_RESP_ERROR) {
            return client_fail(c, "what answers is not Redis", ev.reason);
        }
        if (ev.type == TWS_RESP_MORE && client_fill(c, until) <= 0) {
            return false;
        }
        if (ev.type != TWS_RESP_MORE && ev.depth == 0) {
            reply->type = ev.type;
            reply->integer = ev.integer;
            if (ev.first) {
                snprintf(reply->text, sizeof reply->text, "%.*s", (int)ev.text.len, ev.text.ptr);
            }
        }
    } while (!ev.done);
    return true;
}

/* Write b's commands, free it, and read that many replies. False too if one is an error. */
static inline bool redis_ask(redis_client *r, tws_buf *b, size_t replies, int timeout_ms)
{
    bool good = client_flush(&r->link, b, timeout_ms);
    for (redis_reply reply; good && replies > 0; replies--) {
        good = redis_read(r, &reply, timeout_ms);
        if (good && reply.type == TWS_RESP_SERVER_ERROR) {
            const char *advice = redis_advice(reply.text);
            const bool some = advice[0] != '\0';
            snprintf(r->link.error, sizeof r->link.error, "%s%s%s%s", reply.text,
                     some ? " (" : "", advice, some ? ")" : "");
            good = false;
        }
    }
    return good;
}

/* Log in as the URL's user and SELECT its database. SELECT is sent for database 0 too: its reply
 * proves that this is Redis and that it takes this user's commands. */
static inline bool redis_login(redis_client *r, const tws_redis_url *url, int timeout_ms)
{
    char memory[1024];
    tws_buf b;
    const bool has_user = url->user[0] != '\0', has_password = url->password[0] != '\0';
    tws_buf_fixed(&b, memory, sizeof memory);
    if (has_password) {
        tws_resp_command(&b, has_user ? 3 : 2);
        tws_resp_word_c(&b, "AUTH");
        if (has_user) {
            tws_resp_word_c(&b, url->user);
        }
        tws_resp_word_c(&b, url->password);
    }
    tws_resp_command(&b, 2);
    tws_resp_word_c(&b, "SELECT");
    tws_resp_word_u64(&b, url->db);
    bool good = redis_ask(r, &b, has_password ? 2 : 1, timeout_ms);
    tws_wipe(memory, sizeof memory);
    return good;
}

static inline bool redis_connect(redis_client *r, const tws_redis_url *url, int timeout_ms)
{
    static const tws_resp_limits limits = {0, 0, 256}; /* a short string comes whole */
    const bool is_unix = url->path[0] != '\0';
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)url->port);
    snprintf(r->where, sizeof r->where, "%s%s%s", is_unix ? url->path : url->host,
             is_unix ? "" : ":", is_unix ? "" : port);
    tws_resp_init(&r->decoder, &limits);
    bool good = is_unix ? client_connect_unix(&r->link, url->path, timeout_ms)
                        : client_connect(&r->link, url->host, port, timeout_ms);
    good = good && redis_login(r, url, timeout_ms);
    if (!good) {
        client_disconnect(&r->link);
    }
    return good;
}

#endif /* TASKWS_REDIS_CLIENT_H */
