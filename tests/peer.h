/* peer.h: a client that waits, for tests on real sockets, and a crowd of such that do not wait for
 * one another. Both know a clean end from a reset. Include it behind test.h. */
#ifndef TASKWS_TEST_PEER_H
#define TASKWS_TEST_PEER_H

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>

#define PEER_MS 15000 /* for one wait: passed only when something is wrong */

/* Stepped by whoever waits here; NULL: the server runs in threads of its own. */
static tws_server *peer_server;

static void peer_step(void)
{
    if (peer_server != NULL) {
        tws_server_step(peer_server, 1);
    }
}

/* Until a condition holds; the server goes on meanwhile. */
#define PEER_UNTIL(condition)                                                       \
    do {                                                                            \
        uint64_t peer_until_ms = tws_sys_now_ms() + PEER_MS;                        \
        while (!(condition) && tws_sys_now_ms() < peer_until_ms) {                  \
            peer_pause();                                                           \
        }                                                                           \
        CHECK(condition);                                                           \
    } while (0)

TEST_UNUSED static void peer_pause(void)
{
    if (peer_server == NULL) {
        poll(NULL, 0, 1);
    }
    peer_step();
}

/* Descriptors that this process has open. */
TEST_UNUSED static size_t peer_descriptors(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL) {
        return 0;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        n += e->d_name[0] != '.';
    }
    closedir(d);
    return n - 1;
}

/* -- one client -- */

typedef struct peer {
    int fd;
    bool eof;
    bool reset; /* the connection ended by a reset, or broke while we wrote */
    bool open;  /* a WebSocket */
    uint16_t close_code; /* of the server's close frame; 0: none came */
    char close_reason[124];
    tws_buf in;  /* received, from `at` on not yet looked at */
    size_t at;
    tws_buf head; /* of the last answer; where response points */
    tws_http_response response;
    tws_buf body; /* of the last answer, or the last message; a NUL follows */
    tws_ws_decoder decoder;
    tws_ws_opcode opcode;
    bool packed; /* the last message is compressed, and body is as it came */
    size_t pings;
    bool silent; /* pings are not answered */
} peer;

static void peer_init(peer *p)
{
    memset(p, 0, sizeof *p);
    p->fd = -1;
    tws_buf_init(&p->in, NULL, 1u << 30);
    tws_buf_init(&p->head, NULL, 1u << 20);
    tws_buf_init(&p->body, NULL, 1u << 30);
}

static void peer_close(peer *p)
{
    if (p->fd >= 0) {
        close(p->fd);
    }
    p->fd = -1;
    tws_buf_free(&p->in);
    tws_buf_free(&p->head);
    tws_buf_free(&p->body);
}

/* Begin to connect: from a source address if it is not NULL, with small buffers if asked. */
static int peer_socket(const char *source, int port, int buffer_bytes)
{
    struct sockaddr_in a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    if (buffer_bytes != 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, (socklen_t)sizeof buffer_bytes);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, (socklen_t)sizeof buffer_bytes);
    }
    tws__sys_option(fd, IPPROTO_TCP, TCP_NODELAY);
    if (source != NULL) {
        a.sin_addr.s_addr = inet_addr(source);
        CHECK(bind(fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) == 0);
    }
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons((uint16_t)port);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) != 0) {
        test_check(__FILE__, __LINE__, "the server lets us connect", false);
        close(fd);
        return -1;
    }
    tws__sys_nonblocking(fd);
    return fd;
}

static bool peer_open(peer *p, int port)
{
    peer_init(p);
    p->fd = peer_socket(NULL, port, 0);
    return p->fd >= 0;
}

TEST_UNUSED static bool peer_open_unix(peer *p, const char *path)
{
    struct sockaddr_un a;
    peer_init(p);
    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    memcpy(a.sun_path, path, strlen(path));
    p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool connected = connect(p->fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) == 0;
    tws__sys_nonblocking(p->fd);
    return connected;
}

static bool peer_wait(const peer *p, short events)
{
    uint64_t until_ms = tws_sys_now_ms() + PEER_MS;
    while (p->fd >= 0 && tws_sys_now_ms() < until_ms) {
        struct pollfd f = {p->fd, events, 0};
        if (poll(&f, 1, peer_server != NULL ? 0 : 100) > 0) {
            return true;
        }
        peer_step();
    }
    return false;
}

/* All of it, or false when the connection broke. */
static bool peer_send(peer *p, const void *data, size_t len)
{
    const char *at = (const char *)data;
    while (len > 0 && !p->reset && peer_wait(p, POLLOUT)) {
        ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
        p->reset = n < 0 && !tws__sys_again(errno);
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return len == 0;
}

TEST_UNUSED static bool peer_send_c(peer *p, const char *text)
{
    return peer_send(p, text, strlen(text));
}

/* What has come, without waiting. True unless the connection is over. */
static bool peer_receive(peer *p)
{
    tws_buf_consume(&p->in, p->at);
    p->at = 0;
    char *room = tws_buf_reserve(&p->in, 65536);
    ssize_t n = recv(p->fd, room, 65536, 0);
    if (n > 0) {
        tws_buf_add(&p->in, (size_t)n);
        return true;
    }
    p->eof = p->eof || n == 0;
    p->reset = p->reset || (n < 0 && !tws__sys_again(errno));
    return !p->eof && !p->reset;
}

/* Wait for more. False at the end. */
static bool peer_fill(peer *p)
{
    return !p->eof && !p->reset && peer_wait(p, POLLIN) && peer_receive(p);
}

static tws_str peer_rest(const peer *p)
{
    return tws_str_of(p->in.ptr == NULL ? NULL : p->in.ptr + p->at, p->in.len - p->at);
}

static void peer_terminate(tws_buf *b)
{
    tws_buf_char(b, '\0');
    b->len--;
}

/* -- HTTP -- */

/* Read an answer: its status, or 0. p->body is its body. */
static int peer_answer(peer *p)
{
    tws_http_response *r = &p->response;
    tws_buf_clear(&p->head);
    tws_buf_clear(&p->body);
    memset(r, 0, sizeof *r);
    while (tws_http_parse_response(r, peer_rest(p).ptr, peer_rest(p).len) != TWS_HTTP_DONE) {
        if (!peer_fill(p)) {
            return 0;
        }
    }
    tws_buf_put(&p->head, peer_rest(p).ptr, r->head_bytes);
    tws_http_parse_response(r, p->head.ptr, p->head.len);
    p->at += r->head_bytes;
    size_t want = r->content_length < 0 ? 0 : (size_t)r->content_length;
    while (peer_rest(p).len < want) {
        if (!peer_fill(p)) {
            return 0;
        }
    }
    tws_buf_put(&p->body, peer_rest(p).ptr, want);
    p->at += want;
    peer_terminate(&p->body);
    return r->status;
}

/* A field of the last answer, "" without it. */
TEST_UNUSED static tws_str peer_field(const peer *p, const char *name)
{
    const tws_str *value = tws_http_find_response(&p->response, name);
    return value == NULL ? tws_str_c("") : *value;
}

/* fields: whole lines, or NULL. body NULL: none. */
static void peer_ask(peer *p, const char *method, const char *target, const char *fields,
                     const char *body)
{
    tws_buf b;
    tws_buf_init(&b, NULL, 1u << 24);
    tws_buf_c(&b, method);
    tws_buf_c(&b, " ");
    tws_buf_c(&b, target);
    tws_buf_c(&b, " HTTP/1.1\r\nHost: a\r\n");
    tws_buf_c(&b, fields == NULL ? "" : fields);
    if (body != NULL) {
        tws_buf_c(&b, "Content-Length: ");
        tws_buf_u64(&b, strlen(body));
        tws_buf_c(&b, "\r\n");
    }
    tws_buf_c(&b, "\r\n");
    tws_buf_c(&b, body == NULL ? "" : body);
    peer_send(p, b.ptr, b.len);
    tws_buf_free(&b);
}

TEST_UNUSED static int peer_get(peer *p, const char *target, const char *fields)
{
    peer_ask(p, "GET", target, fields, NULL);
    return peer_answer(p);
}

/* -- WebSocket -- */

#define PEER_UPGRADE                                                                     \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"         \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

/* The status of the answer, 101 when the WebSocket is open. */
static int peer_upgrade(peer *p, const char *target, const char *fields)
{
    char lines[4096];
    snprintf(lines, sizeof lines, "%s%s", PEER_UPGRADE, fields == NULL ? "" : fields);
    peer_ask(p, "GET", target, lines, NULL);
    int status = peer_answer(p);
    p->open = status == 101;
    tws_ws_init(&p->decoder, TWS_WS_CLIENT, 0, 0);
    return status;
}

/* A masked frame, appended. */
static void peer_write_frame(tws_buf *b, bool fin, tws_ws_opcode opcode, const void *payload,
                             size_t len)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t header[TWS_WS_MAX_HEADER];
    tws_buf_put(b, header, tws_ws_header(header, fin, opcode, len, mask));
    tws_buf_put(b, payload, len);
    if (len > 0) {
        tws_ws_mask((uint8_t *)b->ptr + b->len - len, len, mask, 0);
    }
}

static bool peer_send_frame(peer *p, bool fin, tws_ws_opcode opcode, const void *payload,
                            size_t len)
{
    tws_buf b;
    tws_buf_init(&b, NULL, 1u << 30);
    peer_write_frame(&b, fin, opcode, payload, len);
    bool sent = peer_send(p, b.ptr, b.len);
    tws_buf_free(&b);
    return sent;
}

TEST_UNUSED static bool peer_say(peer *p, const char *text)
{
    return peer_send_frame(p, true, TWS_WS_TEXT, text, strlen(text));
}

static void peer_got_close(peer *p, const tws_ws_event *ev)
{
    uint8_t payload[125];
    p->close_code = ev->code;
    p->open = false;
    snprintf(p->close_reason, sizeof p->close_reason, "%.*s", (int)ev->len,
             (const char *)ev->payload);
    size_t n = ev->code == 1005 ? 0 : tws_ws_close_payload(payload, ev->code, tws_str_c(""));
    peer_send_frame(p, true, TWS_WS_CLOSE, payload, n);
}

/* Look at what has come: true when a message is whole, or the WebSocket is over. */
static bool peer_decode(peer *p)
{
    tws_ws_event ev;
    do {
        tws_str rest = peer_rest(p);
        p->at += tws_ws_decode(&p->decoder, (uint8_t *)(uintptr_t)rest.ptr, rest.len, &ev);
        if (ev.type == TWS_WS_DATA) {
            if (ev.first) {
                tws_buf_clear(&p->body);
            }
            tws_buf_put(&p->body, ev.payload, ev.len);
            p->opcode = ev.opcode;
            p->packed = ev.compressed;
            if (ev.last) {
                peer_terminate(&p->body);
                return true;
            }
        }
        if (ev.type == TWS_WS_GOT_PING) {
            p->pings++;
            if (!p->silent) {
                peer_send_frame(p, true, TWS_WS_PONG, ev.payload, ev.len);
            }
        }
        if (ev.type == TWS_WS_GOT_CLOSE) {
            peer_got_close(p, &ev);
            return true;
        }
        if (ev.type == TWS_WS_ERROR) {
            test_check(__FILE__, __LINE__, ev.reason, false);
            p->open = false;
            return true;
        }
    } while (ev.type != TWS_WS_MORE);
    return false;
}

/* The next message, waited for: false when there is none any more. */
static bool peer_message(peer *p)
{
    while (p->open) {
        if (peer_decode(p)) {
            return p->open;
        }
        if (!peer_fill(p)) {
            p->open = false;
        }
    }
    return false;
}

/* The next message's text; in its place "closed 4401 reason", "reset" or "over". */
static const char *peer_text(peer *p)
{
    static char other[160];
    if (peer_message(p)) {
        return p->body.ptr;
    }
    if (p->close_code != 0) {
        snprintf(other, sizeof other, "closed %u %s", p->close_code, p->close_reason);
    } else {
        snprintf(other, sizeof other, p->reset ? "reset" : "over");
    }
    return other;
}

#define CHECK_TEXT(p, want) CHECK_STR(tws_str_c(peer_text(p)), want)

/* Read to the end as who behaves does, then close: true when the end was clean. */
static bool peer_end(peer *p)
{
    while (peer_message(p)) {
    }
    while (peer_fill(p)) {
        p->at = p->in.len;
    }
    bool clean = p->eof && !p->reset;
    peer_close(p);
    return clean;
}

/* Close from this side, and see the server's end of it. */
TEST_UNUSED static bool peer_leave(peer *p, uint16_t code)
{
    uint8_t payload[125];
    size_t n = tws_ws_close_payload(payload, code, tws_str_c(""));
    peer_send_frame(p, true, TWS_WS_CLOSE, payload, n);
    return peer_end(p);
}

/* -- a crowd: each sends its script and then a flood that nobody asked for, and closes when the
 * server has ended its side. Every other one reads all along; the rest, as many a client does,
 * reads when it has sent everything, and then a write that fails is what it sees of a reset. -- */

typedef struct crowd {
    int port;
    const char *script; /* bytes to send first */
    size_t script_len;
    size_t flood;       /* bytes behind it */
    uint8_t fill;       /* the flood's byte */
    bool answer_close;  /* answer a close frame of the server's with one, instead of the rest */
    const char *want;   /* must be part of what comes */
    size_t count;
    size_t resets, wanted; /* results */
} crowd;

typedef struct crowd_one {
    int fd;
    size_t sent;
    tws_buf in;
    bool reads_along;
    bool over;
} crowd_one;

TEST_UNUSED static bool peer_contains(tws_str s, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.len; i++) {
        if (memcmp(s.ptr + i, part, n) == 0) {
            return true;
        }
    }
    return false;
}

/* As much as the socket takes: the server finds more than it reads at once. */
static void crowd_send(const crowd *c, crowd_one *one, size_t *resets)
{
    char block[16384];
    ssize_t sent = 1;
    memset(block, c->fill, sizeof block);
    while (sent > 0 && one->sent < c->script_len + c->flood) {
        bool script = one->sent < c->script_len;
        const char *at = script ? c->script + one->sent : block;
        size_t left = script ? c->script_len - one->sent : c->script_len + c->flood - one->sent;
        sent = send(one->fd, at, script || left < sizeof block ? left : sizeof block, MSG_NOSIGNAL);
        one->sent += sent > 0 ? (size_t)sent : 0;
    }
    if (sent < 0 && !tws__sys_again(errno)) {
        (*resets)++;
        one->over = true;
    }
}

static void crowd_receive(crowd_one *one, size_t *resets)
{
    char *room = tws_buf_reserve(&one->in, 16384);
    ssize_t n = recv(one->fd, room, 16384, 0);
    if (n < 0 && tws__sys_again(errno)) {
        return;
    }
    if (n > 0) {
        tws_buf_add(&one->in, (size_t)n);
        return;
    }
    *resets += n < 0;
    one->over = true;
}

static void crowd_turn(const crowd *c, crowd_one *one, size_t *resets)
{
    bool sends = one->sent < c->script_len + c->flood;
    if (!one->over && sends) {
        crowd_send(c, one, resets);
    }
    if (!one->over && (!sends || one->reads_along)) {
        crowd_receive(one, resets);
    }
    if (one->over && one->fd >= 0) {
        close(one->fd);
        one->fd = -1;
    }
}

/* A server that begins the closing handshake is answered by a close frame, and then by silence. */
static void crowd_answer_close(const crowd *c, crowd_one *one)
{
    static const uint8_t frame[8] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    if (!c->answer_close || one->over || one->sent != c->script_len + c->flood ||
        !peer_contains(tws_buf_view(&one->in), c->want)) {
        return;
    }
    one->sent += send(one->fd, frame, sizeof frame, MSG_NOSIGNAL) > 0; /* once */
}

TEST_UNUSED static void crowd_run(crowd *c)
{
    crowd_one *one = (crowd_one *)calloc(c->count, sizeof *one);
    size_t left = c->count;
    uint64_t until_ms = tws_sys_now_ms() + PEER_MS;
    for (size_t i = 0; i < c->count; i++) {
        one[i].fd = peer_socket(NULL, c->port, 0);
        one[i].reads_along = i % 2 == 0;
        tws_buf_init(&one[i].in, NULL, 1u << 24);
    }
    c->resets = 0;
    c->wanted = 0;
    while (left > 0 && tws_sys_now_ms() < until_ms) {
        left = 0;
        for (size_t i = 0; i < c->count; i++) {
            crowd_turn(c, &one[i], &c->resets);
            crowd_answer_close(c, &one[i]);
            left += !one[i].over;
        }
        peer_pause();
    }
    for (size_t i = 0; i < c->count; i++) {
        c->wanted += one[i].over && peer_contains(tws_buf_view(&one[i].in), c->want);
        if (one[i].fd >= 0) {
            close(one[i].fd);
        }
        tws_buf_free(&one[i].in);
    }
    free(one);
}

#endif /* TASKWS_TEST_PEER_H */
