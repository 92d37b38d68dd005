/* yardstick.c: the least that a server on epoll can do, as a measure of what this kernel allows:
 * an echo of bare TCP, an echo of WebSocket messages, and a fan-out from Redis. It trusts
 * everybody, checks nothing, has no deadlines and no limits: one hostile byte breaks it.
 *
 * With --drop and its like it is wrong on purpose, to prove that load.c notices. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

static const char help[] =
    "usage: yardstick [options]\n"
    "  --port N       0 takes a free one (0)\n"
    "  --tcp          echo bare bytes\n"
    "  --redis PORT   a connection to .../tasks/N reads what is published on task_status:N\n"
    "  --each         SUBSCRIBE for every user, and a message once that stands; not PSUBSCRIBE\n"
    "  --drop N       every N-th message is lost\n"
    "  --repeat N     every N-th message comes twice\n"
    "  --late N       every N-th message comes behind the next one\n"
    "  --misroute N   every N-th event goes to the next user\n"
    "  --change N     every N-th echo has a wrong byte\n";

static struct {
    uint64_t port, redis, drop, repeat, late, misroute, change;
    bool tcp, each;
} opt;

static const option options[] = {
    {"--port", OPTION_NUMBER, &opt.port},     {"--redis", OPTION_NUMBER, &opt.redis},
    {"--drop", OPTION_NUMBER, &opt.drop},     {"--repeat", OPTION_NUMBER, &opt.repeat},
    {"--late", OPTION_NUMBER, &opt.late},     {"--misroute", OPTION_NUMBER, &opt.misroute},
    {"--change", OPTION_NUMBER, &opt.change}, {"--tcp", OPTION_FLAG, &opt.tcp},
    {"--each", OPTION_FLAG, &opt.each},       {NULL, OPTION_FLAG, NULL},
};

/* -- connections: by descriptor -- */

typedef struct bytes {
    uint8_t *ptr;
    size_t len, cap;
} bytes;

typedef struct peer {
    bool open, waits; /* past the handshake; EPOLLOUT is wanted */
    int user;         /* whose reader it is; -1: an echo's */
    size_t place;     /* among that user's readers */
    bytes in, out;    /* what is incomplete, and what the socket did not take: NULL at rest */
    size_t out_at;
} peer;

typedef struct user {
    int *reader; /* descriptors */
    size_t readers, cap;
    bytes news;  /* frames of this turn */
    bytes held;  /* with --late: a frame that waits for the next one */
    bool marked, subscribed;
} user;

#define MAX_FILES (1 << 17)
#define MAX_USERS (1 << 20)
#define RECEIVE (1u << 20)

static peer *peers[MAX_FILES];
static user *users;
static int *marked; /* users with news */
static size_t marked_count;
static uint8_t input[RECEIVE];
static int epoll, listener, redis = -1;
static uint64_t messages;

static void append(bytes *b, const void *p, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2;
        b->ptr = (uint8_t *)realloc(b->ptr, b->cap);
        if (b->ptr == NULL) {
            die("no memory");
        }
    }
    memcpy(b->ptr + b->len, p, n);
    b->len += n;
}

static void forget(bytes *b)
{
    free(b->ptr);
    memset(b, 0, sizeof *b);
}

static void watch(int fd, int operation, uint32_t events)
{
    struct epoll_event e = {events, {.fd = fd}};
    epoll_ctl(epoll, operation, fd, &e);
}

static void end(int fd)
{
    peer *p = peers[fd];
    if (p->user >= 0) {
        user *u = &users[p->user];
        const int last = u->reader[--u->readers];
        u->reader[p->place] = last;
        peers[last]->place = p->place;
    }
    forget(&p->in);
    forget(&p->out);
    free(p);
    peers[fd] = NULL;
    close(fd);
}

static void put(int fd, const uint8_t *p, size_t n)
{
    peer *c = peers[fd];
    ssize_t sent = c->out.len > 0 ? 0 : send(fd, p, n, MSG_NOSIGNAL);
    sent = sent < 0 ? 0 : sent; /* a broken connection is seen by reading */
    if ((size_t)sent < n) {
        append(&c->out, p + sent, n - (size_t)sent);
        if (!c->waits) {
            watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->waits = true;
        }
    }
}

static void put_waiting(int fd)
{
    peer *c = peers[fd];
    ssize_t sent = send(fd, c->out.ptr + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
    c->out_at += sent > 0 ? (size_t)sent : 0;
    if (c->out_at == c->out.len) {
        forget(&c->out);
        c->out_at = 0;
        c->waits = false;
        watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    }
}

/* -- wrong on purpose -- */

static bool nth(uint64_t every)
{
    return every > 0 && messages % every == 0;
}

/* -- WebSocket -- */

static void read_user(int fd, int number)
{
    user *u = &users[number];
    if (u->readers == u->cap) {
        u->cap = u->cap == 0 ? 1 : 2 * u->cap;
        u->reader = (int *)realloc(u->reader, u->cap * sizeof *u->reader);
        if (u->reader == NULL) {
            die("no memory");
        }
    }
    peers[fd]->user = number;
    peers[fd]->place = u->readers;
    u->reader[u->readers++] = fd;
}

static void subscribe(int number)
{
    char text[60];
    int n = snprintf(text, sizeof text, "SUBSCRIBE task_status:%d\r\n", number);
    if (send(redis, text, (size_t)n, MSG_NOSIGNAL) != n) {
        die("Redis takes no more");
    }
}

/* Returns what was taken. */
static size_t open_peer(int fd, const char *p, size_t n)
{
    static const char key_is[] = "Sec-WebSocket-Key: ", path[] = "/tasks/";
    char accept[TWS_WS_ACCEPT_LEN + 1], answer[200];
    const char *stop = (const char *)memmem(p, n, "\r\n\r\n", 4);
    const char *key = (const char *)memmem(p, n, key_is, sizeof key_is - 1);
    const char *task = (const char *)memmem(p, n, path, sizeof path - 1);
    if (stop == NULL || key == NULL) {
        return 0;
    }
    tws_ws_accept(tws_str_of(key + sizeof key_is - 1, 24), accept);
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    peers[fd]->open = true;
    put(fd, (const uint8_t *)answer, (size_t)len);
    if (task != NULL && redis >= 0) {
        const int number = atoi(task + sizeof path - 1) % MAX_USERS;
        read_user(fd, number);
        if (opt.each) {
            subscribe(number);
        }
    }
    return (size_t)(stop + 4 - p);
}

static size_t write_header(uint8_t *out, uint8_t first, uint64_t len)
{
    uint8_t header[TWS_WS_MAX_HEADER];
    size_t n = tws_ws_header(header, true, TWS_WS_TEXT, len, NULL);
    header[0] = first;
    memcpy(out, header, n);
    return n;
}

/* The unmasked frame, written over what stands before it in the input. */
static size_t echo_frame(uint8_t *out, const uint8_t *frame, size_t begin, uint64_t len)
{
    const uint8_t *payload = frame + begin, *mask = payload - 4;
    uint64_t wide, word;
    size_t i = 0, at = write_header(out, (frame[0] & 15) == 9 ? 0x8a : frame[0], len);
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= wide;
        memcpy(out + at + i, &word, 8);
    }
    for (; i < len; i++) {
        out[at + i] = payload[i] ^ ((const uint8_t *)&wide)[i & 7];
    }
    return at + len;
}

/* Header bytes of a masked frame; 0: not there yet. */
static size_t read_header(const uint8_t *p, size_t n, uint64_t *len)
{
    static const uint8_t ends[2] = {8, 14};
    const size_t begin = n < 2 ? 2 : (p[1] & 127) < 126 ? 6 : ends[p[1] & 1];
    *len = n < 2 ? 0 : p[1] & 127;
    if (n < begin || n < 6) {
        return 0;
    }
    if (begin > 6) {
        *len = 0;
        for (size_t i = 2; i < begin - 4; i++) {
            *len = *len << 8 | p[i];
        }
    }
    return begin;
}

/* Answers whole frames in place. Returns what was taken, or SIZE_MAX: the peer has closed. */
static size_t echo_frames(int fd, uint8_t *data, size_t n)
{
    static const uint8_t close_frame[4] = {0x88, 2, 3, 0xe8};
    size_t taken = 0, out = 0;
    uint64_t len;
    for (;;) {
        const size_t begin = read_header(data + taken, n - taken, &len);
        if (begin == 0 || n - taken - begin < len) {
            break;
        }
        const uint8_t opcode = data[taken] & 15;
        if (opcode == 8) {
            memcpy(data + out, close_frame, sizeof close_frame);
            put(fd, data, out + sizeof close_frame);
            return SIZE_MAX;
        }
        messages++;
        const size_t frame = opcode == 10 || nth(opt.drop) ? 0
            : echo_frame(data + out, data + taken, begin, len);
        data[out + (frame > 0 ? frame - 1 : 0)] ^= frame > 0 && nth(opt.change) ? 1 : 0;
        taken += begin + (size_t)len;
        if (frame > 0 && nth(opt.repeat)) {
            put(fd, data, out + frame);
            memmove(data, data + out, frame); /* and it goes out again with what follows */
            out = 0;
        }
        out += frame;
    }
    if (out > 0 && peers[fd]->user < 0) {
        put(fd, data, out);
    }
    return taken;
}

static void on_readable(int fd)
{
    peer *c = peers[fd];
    const size_t had = c->in.len;
    if (had > 0) {
        memcpy(input, c->in.ptr, had);
    }
    ssize_t n = recv(fd, input + had, sizeof input - had, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            end(fd);
        }
        return;
    }
    if (opt.tcp) {
        put(fd, input, (size_t)n);
        return;
    }
    const size_t len = had + (size_t)n;
    size_t taken = c->open ? 0 : open_peer(fd, (const char *)input, len);
    if (c->open) {
        const size_t some = echo_frames(fd, input + taken, len - taken);
        if (some == SIZE_MAX) {
            end(fd);
            return;
        }
        taken += some;
    }
    c->in.len = 0;
    if (taken < len) {
        append(&c->in, input + taken, len - taken);
    } else if (had > 0) {
        forget(&c->in);
    }
}

/* -- Redis: RESP2's arrays of bulk strings -- */

static uint8_t redis_input[RECEIVE];
static size_t redis_len;

static void mark(int number)
{
    if (!users[number].marked) {
        users[number].marked = true;
        marked[marked_count++] = number;
    }
}

static void publish(int number, const uint8_t *json, size_t len)
{
    user *u = &users[number];
    uint8_t head[TWS_WS_MAX_HEADER];
    const size_t begin = write_header(head, 0x81, len);
    messages++;
    if (nth(opt.drop)) {
        return;
    }
    if (nth(opt.misroute)) {
        u = &users[number = (number + 1) % MAX_USERS];
    }
    bytes *to = nth(opt.late) && u->held.len == 0 ? &u->held : &u->news;
    for (int times = nth(opt.repeat) ? 2 : 1; times > 0; times--) {
        append(to, head, begin);
        append(to, json, len);
    }
    if (to == &u->news && u->held.len > 0) {
        append(to, u->held.ptr, u->held.len);
        u->held.len = 0;
    }
    mark(number);
}

/* A number behind its type, and where the next line begins; NULL: not there yet. */
static const uint8_t *line(const uint8_t *p, const uint8_t *stop, size_t *number)
{
    const uint8_t *lf = p < stop ? (const uint8_t *)memchr(p, '\n', (size_t)(stop - p)) : NULL;
    *number = 0;
    for (p++; lf != NULL && *p >= '0' && *p <= '9'; p++) {
        *number = *number * 10 + (size_t)(*p - '0');
    }
    return lf == NULL ? NULL : lf + 1;
}

/* One array; where the next begins, or NULL. */
static const uint8_t *take_array(const uint8_t *p, const uint8_t *stop)
{
    const uint8_t *word[4] = {NULL, NULL, NULL, NULL};
    size_t len[4] = {0, 0, 0, 0}, words, n;
    p = line(p, stop, &words);
    for (size_t i = 0; p != NULL && i < words && i < 4; i++) {
        const bool bulk = p < stop && *p == '$';
        p = line(p, stop, &n);
        if (p != NULL && bulk) {
            word[i] = p;
            len[i] = n;
            p = (size_t)(stop - p) < n + 2 ? NULL : p + n + 2;
        }
    }
    if (p == NULL) {
        return NULL;
    }
    if (words == 4) { /* pmessage, pattern, channel, message */
        publish(atoi((const char *)word[2] + 12), word[3], len[3]);
    } else if (len[0] == 7) { /* message, channel, message */
        publish(atoi((const char *)word[1] + 12), word[2], len[2]);
    } else if (opt.each) { /* subscribe, channel, count */
        static const uint8_t hello[] = {0x81, 13, '{', '"', 'o', 'p', 'e', 'n', '"', ':', 't', 'r',
                                        'u', 'e', '}'};
        const int number = atoi((const char *)word[1] + 12);
        append(&users[number].news, hello, sizeof hello);
        mark(number);
    }
    return p;
}

static void on_redis(void)
{
    ssize_t n = recv(redis, redis_input + redis_len, sizeof redis_input - redis_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        die("Redis has gone");
    }
    redis_len += n > 0 ? (size_t)n : 0;
    const uint8_t *p = redis_input, *stop = redis_input + redis_len;
    for (const uint8_t *next = p; next != NULL; next = take_array(p, stop)) {
        p = next;
    }
    redis_len = (size_t)(stop - p);
    memmove(redis_input, p, redis_len);
    for (size_t i = 0; i < marked_count; i++) {
        user *u = &users[marked[i]];
        for (size_t r = 0; r < u->readers && u->news.len > 0; r++) {
            put(u->reader[r], u->news.ptr, u->news.len);
        }
        u->news.len = 0;
        u->marked = false;
    }
    marked_count = 0;
}

static void connect_redis(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.redis)};
    static const char all[] = "PSUBSCRIBE task_status:*\r\n";
    const ssize_t n = opt.each ? 0 : (ssize_t)sizeof all - 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    redis = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(redis, (const struct sockaddr *)&a, sizeof a) != 0 ||
        send(redis, all, (size_t)n, MSG_NOSIGNAL) != n) {
        die("no Redis on port %llu", (unsigned long long)opt.redis);
    }
    users = (user *)need_memory(MAX_USERS, sizeof *users);
    marked = (int *)need_memory(MAX_USERS, sizeof *marked);
    fcntl(redis, F_SETFL, O_NONBLOCK);
    watch(redis, EPOLL_CTL_ADD, EPOLLIN);
}

/* -- main -- */

static void accept_all(void)
{
    const int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MAX_FILES) {
            die("too many connections");
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peers[fd] = (peer *)need_memory(1, sizeof *peers[fd]);
        peers[fd]->user = -1;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static void listen_here(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    socklen_t len = sizeof a;
    const int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (const struct sockaddr *)&a, sizeof a) != 0 ||
        listen(listener, SOMAXCONN) != 0) {
        die("cannot listen: %s", strerror(errno));
    }
    getsockname(listener, (struct sockaddr *)&a, &len);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    printf("listening on http://127.0.0.1:%u\n", ntohs(a.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static struct epoll_event ready[1024];
    struct rlimit files;
    read_options(argc, argv, 1, options, help);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(0);
    if (opt.redis > 0) {
        connect_redis();
    }
    listen_here();
    for (;;) {
        const int n = epoll_wait(epoll, ready, 1024, -1);
        for (int i = 0; i < n; i++) {
            const int fd = ready[i].data.fd;
            if (fd == listener) {
                accept_all();
            } else if (fd == redis) {
                on_redis();
            } else if (peers[fd] != NULL) {
                if ((ready[i].events & EPOLLOUT) != 0 && peers[fd]->out.len > 0) {
                    put_waiting(fd);
                }
                if ((ready[i].events & ~(uint32_t)EPOLLOUT) != 0) {
                    on_readable(fd);
                }
            }
        }
    }
}
