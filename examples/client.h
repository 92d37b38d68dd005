/* client.h: a small blocking WebSocket and HTTP client, and an example of taskws.h's codecs used
 * alone: no server part, no threads, nothing of the header that knows a socket.
 *
 *     #define TASKWS_IMPLEMENTATION
 *     #define TASKWS_NO_SERVER
 *     #include "client.h"
 *     ...
 *     static client c;
 *     if (!client_connect(&c, "127.0.0.1", "8000", 5000) ||
 *         !client_upgrade(&c, "/api/v1/ws/tasks/2?token=...", NULL, 5000)) {
 *         fprintf(stderr, "%s\n", c.error);
 *         return 1;
 *     }
 *     while (client_receive(&c, 60000) == CLIENT_MESSAGE) {
 *         printf("%.*s\n", (int)c.body.len, c.body.ptr);
 *     }
 *     client_close(&c, 1000, 2000);
 *
 * Every call takes its deadline in milliseconds. Include it before any other header. client_connect
 * ignores SIGPIPE for the whole process. */
#ifndef TASKWS_CLIENT_H
#define TASKWS_CLIENT_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#include "taskws.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_MAX_BODY (16u << 20) /* of an answer or a message */

typedef enum client_result { CLIENT_MESSAGE, CLIENT_CLOSED, CLIENT_TIMEOUT } client_result;

typedef struct client {
    int fd; /* -1: not connected */
    char host[300]; /* host:port, as the Host field wants it */
    char error[400]; /* why the last call failed */
    bool timed_out;
    bool reset; /* the connection ended by a TCP reset: something may be lost */
    uint64_t heard_ms; /* when the last byte came */
    uint8_t in[65536]; /* received, in[in_at..in_len) not yet looked at */
    size_t in_at, in_len;
    char head[16384]; /* of the last answer, where response's slices point */
    tws_http_response response;
    tws_http_chunks chunks;
    tws_buf body; /* of the answer, or the message */
    tws_ws_decoder decoder;
    tws_ws_opcode opcode; /* of the message */
    unsigned pongs;       /* that came so far */
    uint16_t close_code;  /* once CLIENT_CLOSED: the peer's, 1006 without a close frame */
    char close_reason[124];
} client;

/* For a signal's handler to set: it ends what is being waited for. */
static volatile sig_atomic_t client_stopped;

static inline uint64_t client_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* Masks and nonces must not be guessable by the page or the program that chose the payload. */
static inline void client_random(void *p, size_t n)
{
    FILE *f = fopen("/dev/urandom", "rb");
    if (f == NULL || fread(p, 1, n, f) != n) {
        perror("/dev/urandom");
        exit(1);
    }
    fclose(f);
}

static inline bool client_fail(client *c, const char *what, const char *why)
{
    snprintf(c->error, sizeof c->error, "%s%s%s", what, why[0] != '\0' ? ": " : "", why);
    return false;
}

/* -- the connection -- */

static inline void client_disconnect(client *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->in_at = c->in_len = 0;
    tws_buf_free(&c->body);
}

static inline bool client_wait(client *c, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = client_now_ms();
        struct pollfd p = {c->fd, events, 0};
        int n = poll(&p, 1, until_ms > now ? (int)(until_ms - now) : 0);
        if (n > 0) {
            return true;
        }
        c->timed_out = n == 0 || (errno == EINTR && client_stopped);
        if (c->timed_out || errno != EINTR) {
            return client_fail(c, n == 0 ? "no answer in time" : strerror(errno), "");
        }
    }
}

static inline bool client_try(client *c, const struct addrinfo *a, uint64_t until_ms)
{
    int one = 1;
    int error = 0;
    socklen_t len = sizeof error;
    c->fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (c->fd < 0 || fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0) {
        return client_fail(c, strerror(errno), "");
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) == 0) {
        return true;
    }
    if (errno != EINPROGRESS) {
        return client_fail(c, strerror(errno), "");
    }
    if (!client_wait(c, POLLOUT, until_ms)) {
        return false;
    }
    (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error == 0 || client_fail(c, strerror(error), "");
}

static inline void client_init(client *c)
{
    memset(c, 0, sizeof *c);
    c->fd = -1;
    tws_buf_init(&c->body, NULL, CLIENT_MAX_BODY);
    signal(SIGPIPE, SIG_IGN); /* a peer that has gone is an error to return */
}

static inline bool client_connect(client *c, const char *host, const char *port, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    struct addrinfo want, *found = NULL;
    client_init(c);
    snprintf(c->host, sizeof c->host, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
    memset(&want, 0, sizeof want);
    want.ai_socktype = SOCK_STREAM;
    int error = getaddrinfo(host, port, &want, &found);
    if (error != 0) {
        return client_fail(c, host, gai_strerror(error));
    }
    bool connected = false;
    const struct addrinfo *a = found;
    for (; a != NULL && !connected && !client_stopped; a = a->ai_next) {
        connected = client_try(c, a, until);
        if (!connected) {
            client_disconnect(c);
        }
    }
    freeaddrinfo(found);
    return connected;
}

static inline bool client_connect_unix(client *c, const char *path, int timeout_ms)
{
    struct sockaddr_un name;
    struct addrinfo a;
    client_init(c);
    memset(&name, 0, sizeof name);
    memset(&a, 0, sizeof a);
    if (strlen(path) >= sizeof name.sun_path) {
        return client_fail(c, path, "too long for a socket's path");
    }
    name.sun_family = AF_UNIX;
    strcpy(name.sun_path, path);
    a.ai_family = AF_UNIX;
    a.ai_socktype = SOCK_STREAM;
    a.ai_addr = (struct sockaddr *)&name;
    a.ai_addrlen = sizeof name;
    if (!client_try(c, &a, client_now_ms() + (uint64_t)timeout_ms)) {
        client_disconnect(c);
        return false;
    }
    return true;
}

/* Has the peer sent bytes or ended since? Then a kept connection is not to be used again. */
static inline bool client_stale(client *c)
{
    struct pollfd p = {c->fd, POLLIN, 0};
    return c->fd < 0 || poll(&p, 1, 0) != 0;
}

static inline bool client_write(client *c, const void *data, size_t len, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    const char *p = (const char *)data;
    while (len > 0) {
        ssize_t n = send(c->fd, p, len, 0);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            c->reset = true;
            return client_fail(c, "sending", strerror(errno));
        }
        if (n < 0 && !client_wait(c, POLLOUT, until)) {
            return false;
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Write what b has gathered, and free it. */
static inline bool client_flush(client *c, tws_buf *b, int timeout_ms)
{
    bool sent = b->status == TWS_OK ? client_write(c, b->ptr, b->len, timeout_ms)
                                    : client_fail(c, "sending", tws_status_text(b->status));
    tws_buf_free(b);
    return sent;
}

/* Wait for more bytes in c->in. 1: some came; 0: the peer has ended; -1: neither. */
static inline int client_fill(client *c, uint64_t until_ms)
{
    memmove(c->in, c->in + c->in_at, c->in_len - c->in_at);
    c->in_len -= c->in_at;
    c->in_at = 0;
    for (;;) {
        if (!client_wait(c, POLLIN, until_ms)) {
            return -1;
        }
        ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
        if (n >= 0) {
            c->in_len += (size_t)n;
            c->heard_ms = client_now_ms();
            client_fail(c, "the server closed the connection", "");
            return n > 0;
        }
        if (errno != EAGAIN && errno != EINTR) {
            c->reset = errno == ECONNRESET;
            client_fail(c, "receiving", strerror(errno));
            return -1;
        }
    }
}

/* -- HTTP -- */

/* Read an answer's head into c->head, described by c->response. Interim ones are passed over. */
static inline bool client_read_head(client *c, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    tws_http_response *r = &c->response;
    do {
        const char *p = (const char *)c->in + c->in_at;
        tws_http_result got = tws_http_parse_response(r, p, c->in_len - c->in_at);
        if (got == TWS_HTTP_ERROR || r->head_bytes > sizeof c->head) {
            return client_fail(c, "not an HTTP answer", got == TWS_HTTP_ERROR ? r->reason : "");
        }
        if (got == TWS_HTTP_MORE && client_fill(c, until) <= 0) {
            return false;
        }
        memcpy(c->head, p, r->head_bytes);
        c->in_at += r->head_bytes;
    } while (r->head_bytes == 0 || (r->status < 200 && r->status != 101));
    tws_http_parse_response(r, c->head, r->head_bytes);
    return true;
}

/* Take body bytes from what has come. True once the body is complete. */
static inline bool client_take_body(client *c)
{
    const int64_t length = c->response.content_length;
    char *p = (char *)c->in + c->in_at;
    size_t n = c->in_len - c->in_at;
    size_t used = n;
    bool done = false;
    if (c->response.chunked) {
        tws_http_result got = tws_http_chunks_feed(&c->chunks, p, n, &used, &n);
        done = got == TWS_HTTP_DONE;
        c->body.status = got == TWS_HTTP_ERROR ? TWS_ERR_SYNTAX : c->body.status;
    } else if (length >= 0) {
        const size_t left = (size_t)length - c->body.len;
        used = n = n < left ? n : left;
        done = n == left;
    }
    tws_buf_put(&c->body, p, n);
    c->in_at += used;
    return done;
}

static inline bool client_read_body(client *c, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    tws_buf_clear(&c->body);
    memset(&c->chunks, 0, sizeof c->chunks);
    while (!client_take_body(c)) {
        if (c->body.status != TWS_OK) {
            return client_fail(c, "the answer", tws_status_text(c->body.status));
        }
        int got = client_fill(c, until);
        if (got <= 0) { /* without a length the end is the end */
            return got == 0 && !c->response.chunked && c->response.content_length < 0;
        }
    }
    return c->body.status == TWS_OK;
}

/* Send a request. head: field lines, each with its CRLF, or NULL. body.ptr NULL: no body. */
static inline bool client_send_request(client *c, const char *method, const char *target,
                                       const char *head, tws_str body, int timeout_ms)
{
    char length[64] = "";
    tws_buf b;
    tws_buf_init(&b, NULL, CLIENT_MAX_BODY);
    if (body.ptr != NULL) {
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", body.len);
    }
    const char *const parts[] = {method, " ", target, " HTTP/1.1\r\nHost: ", c->host, "\r\n",
                                 head != NULL ? head : "", length, "\r\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        tws_buf_c(&b, parts[i]);
    }
    tws_buf_str(&b, body);
    return client_flush(c, &b, timeout_ms);
}

/* A request and its whole answer: c->response.status and c->body. */
static inline bool client_request(client *c, const char *method, const char *target,
                                  const char *head, tws_str body, int timeout_ms)
{
    return client_send_request(c, method, target, head, body, timeout_ms) &&
           client_read_head(c, timeout_ms) && client_read_body(c, timeout_ms);
}

/* -- WebSocket -- */

/* Open a WebSocket. False with a c->response.status: refused, and c->body says why. */
static inline bool client_upgrade(client *c, const char *target, const char *head, int timeout_ms)
{
    uint8_t nonce[16];
    const char *reason;
    tws_buf b;
    tws_buf_init(&b, NULL, CLIENT_MAX_BODY);
    client_random(nonce, sizeof nonce);
    memset(&c->response, 0, sizeof c->response);
    tws_ws_request(&b, tws_str_c(c->host), tws_str_c(target), nonce, head);
    if (!client_flush(c, &b, timeout_ms) || !client_read_head(c, timeout_ms)) {
        return false;
    }
    if (!tws_ws_check_response(&c->response, nonce, &reason)) {
        (void)client_read_body(c, timeout_ms);
        return client_fail(c, "no WebSocket", reason);
    }
    tws_ws_init(&c->decoder, TWS_WS_CLIENT, CLIENT_MAX_BODY, 0);
    c->close_code = 0;
    return true;
}

static inline bool client_send(client *c, tws_ws_opcode opcode, tws_str payload, int timeout_ms)
{
    uint8_t header[TWS_WS_MAX_HEADER];
    uint8_t mask[4];
    tws_buf b;
    tws_buf_init(&b, NULL, CLIENT_MAX_BODY);
    client_random(mask, sizeof mask);
    size_t n = tws_ws_header(header, true, opcode, payload.len, mask);
    tws_buf_put(&b, header, n);
    tws_buf_str(&b, payload);
    if (b.status == TWS_OK) {
        tws_ws_mask((uint8_t *)b.ptr + n, payload.len, mask, 0);
    }
    return client_flush(c, &b, timeout_ms);
}

/* The connection is over: remember why, and answer a close frame by one of the same code. */
static inline client_result client_closed(client *c, uint16_t code, tws_str reason, bool answer)
{
    uint8_t p[125];
    c->close_code = code;
    snprintf(c->close_reason, sizeof c->close_reason, "%.*s", (int)reason.len,
             reason.len > 0 ? reason.ptr : "");
    if (answer) {
        size_t n = code == 1005 ? 0 : tws_ws_close_payload(p, code, tws_str_of(NULL, 0));
        (void)client_send(c, TWS_WS_CLOSE, tws_str_of((const char *)p, n), 1000);
    }
    return CLIENT_CLOSED;
}

/* The next message, whole, in c->body. Pings are answered on the way. */
static inline client_result client_receive(client *c, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    for (;;) {
        tws_ws_event ev;
        c->in_at += tws_ws_decode(&c->decoder, c->in + c->in_at, c->in_len - c->in_at, &ev);
        const tws_str payload = tws_str_of((const char *)ev.payload, ev.len);
        switch (ev.type) {
        case TWS_WS_MORE:
            c->timed_out = false;
            if (client_fill(c, until) <= 0) {
                return c->timed_out ? CLIENT_TIMEOUT
                                    : client_closed(c, 1006, tws_str_c(c->error), false);
            }
            break;
        case TWS_WS_DATA:
            if (ev.first) {
                tws_buf_clear(&c->body);
            }
            tws_buf_str(&c->body, payload);
            c->opcode = ev.opcode;
            if (ev.last) {
                return CLIENT_MESSAGE;
            }
            break;
        case TWS_WS_GOT_PING: (void)client_send(c, TWS_WS_PONG, payload, 1000); break;
        case TWS_WS_GOT_PONG: c->pongs++; break;
        case TWS_WS_GOT_CLOSE: return client_closed(c, ev.code, payload, true);
        case TWS_WS_ERROR: return client_closed(c, ev.code, tws_str_c(ev.reason), true);
        }
    }
}

/* Close, unless the peer has, and wait for its end of the connection, which is the server's to
 * end first (RFC 6455 7.1.1). True: both close frames and that end came, nothing was reset. */
static inline bool client_close(client *c, uint16_t code, int timeout_ms)
{
    const uint64_t until = client_now_ms() + (uint64_t)timeout_ms;
    int got = -1;
    if (c->fd >= 0 && c->close_code == 0) {
        uint8_t p[125];
        size_t n = tws_ws_close_payload(p, code, tws_str_of(NULL, 0));
        (void)client_send(c, TWS_WS_CLOSE, tws_str_of((const char *)p, n), timeout_ms);
        while (client_receive(c, timeout_ms) == CLIENT_MESSAGE && client_now_ms() < until) {
        }
    }
    while (c->fd >= 0 && c->close_code != 0 && c->close_code != 1006 && got != 0) {
        c->in_at = c->in_len; /* whatever follows a close frame means nothing */
        got = client_fill(c, until);
        if (got < 0) {
            break;
        }
    }
    client_disconnect(c);
    return got == 0;
}

#endif /* TASKWS_CLIENT_H */
