/* attack.c: live users that measure, and attackers of several kinds, against a running server.
 *
 *     attack live PORT TOKEN USERS RATE SECONDS    a line for each SECONDS: sent, received, lost,
 *                                                  repeated, p50, p99 and max in microseconds
 *     attack KIND PORT TOKEN COUNT SECONDS         COUNT connections of that kind; at the end a
 *                                                  line for each way in which they ended
 *
 * TOKEN may publish and read anything (scope "publish admin"). Linux: epoll, and the kernel's own
 * time stamps, so that a receipt is timed when the server sent it and not when this program got
 * its turn on a core that it shares with the attackers. Bytes are written out by hand here: a test
 * that used the header's own codec would share its mistakes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "/api/v1/ws"

static int port;
static int poller;
static volatile sig_atomic_t stopped;

static void fail(const char *what)
{
    fprintf(stderr, "attack: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ms(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

/* Over many addresses: the ports of one would not do for ten thousand, again and again. */
static int open_socket(unsigned number)
{
    struct sockaddr_in a;
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(0x7f000002u + number % 200);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        fail("bind");
    }
    a.sin_addr.s_addr = htonl(0x7f000001u);
    a.sin_port = htons((uint16_t)port);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS) {
        fail("connect");
    }
    return fd;
}

static void watch(int fd, uint32_t events, void *of, int operation)
{
    struct epoll_event e;
    e.events = events;
    e.data.ptr = of;
    epoll_ctl(poller, operation, fd, &e);
}

static size_t write_handshake(char *out, size_t size, const char *user, const char *token,
                              const char *more)
{
    return (size_t)snprintf(out, size,
                            "GET " PREFIX "/tasks/%s%s%s HTTP/1.1\r\nHost: x\r\n"
                            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                            "Sec-WebSocket-Version: 13\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                            user, token == NULL ? "" : "?token=", token == NULL ? "" : token,
                            more);
}

/* == what a server says, told in a few words ============================================== */

typedef struct heard {
    char head[800]; /* of an HTTP answer, with the begin of its body */
    size_t head_len;
    bool open;      /* 101 came; frames follow */
    uint8_t frame[14];
    size_t frame_len;
    uint64_t left; /* of the payload */
    int opcode;
    char text[400]; /* of the frame under way */
    size_t text_len;
    char word[40]; /* the last error message's */
    int code;      /* of the close frame; 0: none came */
    uint64_t pongs, texts;
} heard;

static void find_word(heard *h, const char *text)
{
    const char *at = strstr(text, "\"code\":\"");
    if (at != NULL) {
        sscanf(at + 8, "%39[a-z_]", h->word);
    }
}

static void end_frame(heard *h)
{
    h->text[h->text_len] = '\0';
    if (h->opcode == 1) {
        h->texts++;
        if (strncmp(h->text, "{\"type\":\"error\"", 15) == 0) {
            find_word(h, h->text);
        }
    } else if (h->opcode == 10) {
        h->pongs++;
    } else if (h->opcode == 8) {
        h->code = h->text_len < 2 ? 1005 : (uint8_t)h->text[0] << 8 | (uint8_t)h->text[1];
    }
    h->frame_len = 0;
}

static size_t header_size(const heard *h)
{
    int length = h->frame[1] & 127;
    return length < 126 ? 2 : length == 126 ? 4 : 10;
}

static void begin_payload(heard *h)
{
    size_t size = header_size(h);
    h->opcode = h->frame[0] & 15;
    h->left = size == 2 ? h->frame[1] & 127u : 0;
    for (size_t i = 2; i < size; i++) {
        h->left = h->left << 8 | h->frame[i];
    }
    h->text_len = 0;
}

static void hear_frames(heard *h, const char *data, size_t len)
{
    while (len > 0) {
        bool in_header = h->frame_len < 2 || h->frame_len < header_size(h);
        if (in_header) {
            h->frame[h->frame_len++] = (uint8_t)*data++;
            len--;
            if (h->frame_len >= 2 && h->frame_len == header_size(h)) {
                begin_payload(h);
                if (h->left == 0) {
                    end_frame(h);
                }
            }
            continue;
        }
        size_t n = len < h->left ? len : (size_t)h->left;
        size_t room = sizeof h->text - 1 - h->text_len;
        memcpy(h->text + h->text_len, data, n < room ? n : room);
        h->text_len += n < room ? n : room;
        h->left -= n;
        data += n;
        len -= n;
        if (h->left == 0) {
            end_frame(h);
        }
    }
}

static void hear(heard *h, const char *data, size_t len)
{
    if (h->open) {
        hear_frames(h, data, len);
        return;
    }
    size_t room = sizeof h->head - 1 - h->head_len;
    size_t n = len < room ? len : room;
    memcpy(h->head + h->head_len, data, n);
    h->head_len += n;
    h->head[h->head_len] = '\0';
    char *end = strstr(h->head, "\r\n\r\n");
    if (end != NULL && strncmp(h->head, "HTTP/1.1 101", 12) == 0) {
        size_t used = (size_t)(end + 4 - h->head) - (h->head_len - n);
        h->open = true;
        hear_frames(h, data + used, len - used);
    }
}

/* == live users =========================================================================== */

typedef struct user {
    int fd;
    bool joined;
    char in[65536];
    size_t in_len;
    uint64_t last; /* the last event's number */
} user;

#define PUBLISHERS 4
#define WINDOW 2000000

static user *users;
static size_t user_count;
static uint64_t sent, received, repeated;
static uint32_t *sample; /* of this window, in units of 100 ns */
static size_t samples;
static size_t joined;

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double q)
{
    size_t i = (size_t)(q * (double)samples);
    return samples == 0 ? 0 : sample[i < samples ? i : samples - 1] / 10.0;
}

static void tell_window(void)
{
    qsort(sample, samples, sizeof *sample, compare);
    printf("window sent %llu received %llu lost %lld repeated %llu p50 %.0f p95 %.0f p99 %.0f max %.0f\n",
           (unsigned long long)sent, (unsigned long long)received, (long long)(sent - received),
           (unsigned long long)repeated, quantile(0.5), quantile(0.95), quantile(0.99), quantile(1));
    fflush(stdout);
    samples = 0;
}

/* {"type":"task","id":"..","data":{"task_id":"a","n":N,"at":NS}} */
static void take_event(user *u, const char *text, uint64_t at_ns)
{
    unsigned long long number, begin_ns;
    const char *data = strstr(text, "\"n\":");
    if (strstr(text, "\"type\":\"connected\"") != NULL) {
        joined += !u->joined;
        u->joined = true;
        return;
    }
    if (data == NULL || sscanf(data, "\"n\":%llu,\"at\":%llu", &number, &begin_ns) != 2) {
        fprintf(stderr, "attack: a live user was told %s\n", text);
        exit(1);
    }
    if (number <= u->last) {
        repeated++;
        return;
    }
    u->last = number;
    received++;
    uint64_t took = at_ns > begin_ns ? (at_ns - begin_ns) / 100 : 0;
    if (samples < WINDOW) {
        sample[samples++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    }
}

/* When the kernel had the bytes, or now. */
static uint64_t stamp_of(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        }
    }
    return clock_ns(CLOCK_REALTIME);
}

static void take_frames(user *u, uint64_t at_ns)
{
    char text[2048];
    for (;;) {
        uint8_t *p = (uint8_t *)u->in;
        size_t header = u->in_len < 2 ? 2 : p[1] < 126 ? 2 : 4;
        if (u->in_len < header) {
            return;
        }
        size_t len = header == 2 ? p[1] : (size_t)p[2] << 8 | p[3];
        if (u->in_len < header + len) {
            return;
        }
        if (p[0] == 0x81 && len < sizeof text) {
            memcpy(text, p + header, len);
            text[len] = '\0';
            take_event(u, text, at_ns);
        } else if (p[0] == 0x89) { /* a ping */
            static const uint8_t pong[6] = {0x8a, 0x80, 0, 0, 0, 0};
            if (write(u->fd, pong, sizeof pong) != sizeof pong) {
                fail("pong");
            }
        } else if (p[0] == 0x88) {
            fprintf(stderr, "attack: a live user was closed with %d\n", p[2] << 8 | p[3]);
            exit(1);
        }
        u->in_len -= header + len;
        memmove(u->in, u->in + header + len, u->in_len);
    }
}

static void read_user(user *u)
{
    char control[256];
    struct iovec v = {u->in + u->in_len, sizeof u->in - u->in_len - 1};
    struct msghdr m;
    memset(&m, 0, sizeof m);
    m.msg_iov = &v;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    ssize_t n = recvmsg(u->fd, &m, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        fail("a live user lost its connection");
    }
    uint64_t at_ns = stamp_of(&m);
    u->in_len += (size_t)n;
    if (strncmp(u->in, "HTTP", 4) == 0) {
        u->in[u->in_len] = '\0';
        char *end = strstr(u->in, "\r\n\r\n");
        if (end == NULL) {
            return;
        }
        u->in_len -= (size_t)(end + 4 - u->in);
        memmove(u->in, end + 4, u->in_len);
    }
    take_frames(u, at_ns);
}

static void publish(int fd, const char *token, size_t to)
{
    char body[100], request[2000];
    sent++;
    int len = snprintf(body, sizeof body, "{\"task_id\":\"a\",\"n\":%llu,\"at\":%llu}",
                       (unsigned long long)sent, (unsigned long long)clock_ns(CLOCK_REALTIME));
    int n = snprintf(request, sizeof request,
                     "POST " PREFIX "/tasks/live-%zu HTTP/1.1\r\nHost: x\r\n"
                     "Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
                     to, token, len, body);
    if (write(fd, request, (size_t)n) != n) {
        fail("publish");
    }
}

/* Of a publisher's answers only this counts: that they are all 202. */
static void read_publisher(int fd)
{
    char answers[65536];
    ssize_t n = read(fd, answers, sizeof answers - 1);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        fail("a publisher lost its connection");
    }
    answers[n > 0 ? n : 0] = '\0';
    for (char *at = answers; (at = strstr(at, "HTTP/1.1 ")) != NULL; at++) {
        if (strncmp(at, "HTTP/1.1 202", 12) != 0) {
            fprintf(stderr, "attack: a publisher was told %.300s\n", at);
            exit(1);
        }
    }
}

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

/* Not by milliseconds: publishing is paced, and who spins takes the core from the attackers. */
static void wait_events(uint64_t timeout_ns)
{
    struct epoll_event e[256];
    struct pollfd p = {poller, POLLIN, 0};
    struct timespec t = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    ppoll(&p, 1, &t, NULL);
    int n = epoll_wait(poller, e, 256, 0);
    for (int i = 0; i < n; i++) {
        user *u = (user *)e[i].data.ptr;
        if (u->in_len == SIZE_MAX) {
            read_publisher(u->fd);
        } else {
            read_user(u);
        }
    }
}

static void connect_user(size_t i, const char *token)
{
    char name[32], request[2000];
    int one = 1;
    user *u = &users[i];
    u->fd = open_socket(0);
    setsockopt(u->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    watch(u->fd, EPOLLIN, u, EPOLL_CTL_ADD);
    snprintf(name, sizeof name, "live-%zu", i);
    size_t n = write_handshake(request, sizeof request, name, token, "");
    while (write(u->fd, request, n) < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
        usleep(100);
    }
}

static void live(const char *token, size_t count, uint64_t rate, uint64_t seconds)
{
    users = (user *)calloc(count, sizeof *users);
    user_count = count;
    sample = (uint32_t *)malloc(WINDOW * sizeof *sample);
    user *publisher = (user *)calloc(PUBLISHERS, sizeof *publisher);
    for (size_t i = 0; i < count; i++) {
        connect_user(i, token);
    }
    for (size_t i = 0; i < PUBLISHERS; i++) {
        publisher[i].fd = open_socket(0);
        publisher[i].in_len = SIZE_MAX;
        watch(publisher[i].fd, EPOLLIN, &publisher[i], EPOLL_CTL_ADD);
    }
    while (joined < count) {
        wait_events(1000000000u);
    }
    printf("ready\n");
    fflush(stdout);
    uint64_t step_ns = 1000000000u / rate;
    uint64_t next_ns = clock_ns(CLOCK_MONOTONIC), window_ns = next_ns + seconds * 1000000000u;
    while (!stopped) {
        uint64_t at_ns = clock_ns(CLOCK_MONOTONIC);
        if (at_ns >= window_ns) {
            tell_window();
            window_ns = at_ns + seconds * 1000000000u;
        }
        if (at_ns >= next_ns) {
            publish(publisher[sent % PUBLISHERS].fd, token, sent % count);
            next_ns = at_ns > next_ns + step_ns * 100 ? at_ns : next_ns + step_ns;
        }
        wait_events(next_ns > at_ns ? next_ns - at_ns : 0);
    }
    for (uint64_t end = now_ms() + 10000; received < sent && now_ms() < end;) {
        wait_events(100000000u);
    }
    tell_window();
}

/* == attackers ============================================================================ */

typedef struct kind {
    const char *name;
    const char *first; /* sent at once; %H a handshake with the token, %A one without any, %E one
                          with what is no token, %D one of a user whose events are large, %C one that
                          offers compression */
    const char *then;  /* sent again and again; NULL: nothing, or BLOCKS_LEN bytes of blocks */
    size_t then_len;
    uint32_t step_ms; /* one byte of `then` that often; 0: as much as the socket takes */
    bool again;       /* connects anew when it is over */
    bool shut;        /* ends its side behind `first` */
    bool deaf;        /* reads nothing until the time is up */
    bool mute;        /* does not end its side when the server has */
} kind;

/* Masked with zeros, as a client must mask. */
#define PING "\x89\x80\0\0\0\0"
#define PING_125 "\x89\xfd\0\0\0\0" TEXT_125
#define TEXT_25 "aaaaaaaaaaaaaaaaaaaaaaaaa"
#define TEXT_125 TEXT_25 TEXT_25 TEXT_25 TEXT_25 TEXT_25
#define FRAGMENT "\x00\x80\0\0\0\0"
/* A compressed message: blocks of fixed codes, ten bits each and four to a row, with nothing in
 * them; and the begin of the one that a receiver adds. */
#define BLOCK_ROW "\2\10\40\200\0"
#define BLOCK_ROWS 6000
#define BLOCKS_LEN (8 + 5 * BLOCK_ROWS + 1)
#define FIELDS "A: " TEXT_125 "\r\n"

static const kind kinds[] = {
    {"slow heads", "G", "ET /health?" TEXT_125, 136, 1000, 0, 0, 0, 0},
    {"slow bodies", "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "a", 1, 1000,
     0, 0, 0, 0},
    {"slow frames", "%H\x81\xfd", TEXT_125, 125, 1000, 0, 0, 0, 0},
    {"pings", "%H", PING, 6, 0, 0, 0, 0, 0},
    {"long pings", "%H", PING_125, 131, 0, 0, 0, 0, 0},
    {"empty blocks", "%C", NULL, BLOCKS_LEN, 0, 0, 0, 0, 0},
    {"fragments", "%A\x01\x80", FRAGMENT, 6, 0, true, 0, 0, 0},
    {"handshakes", "%E", NULL, 0, 0, true, 0, 0, 0},
    {"requests", "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", NULL, 0, 0, true,
     0, 0, 0},
    {"huge heads", "GET / HTTP/1.1\r\n", FIELDS, 130, 0, true, 0, 0, 0},
    {"huge lines", "GET /", "a", 1, 0, true, 0, 0, 0},
    {"half closes", "%A", NULL, 0, 0, true, true, 0, 0},
    {"mute closes", "%A\x88\x80", NULL, 0, 0, 0, 0, 0, true},
    {"deaf pings", "%H", PING_125, 131, 0, 0, 0, true, 0},
    {"deaf readers", "%D", NULL, 0, 0, 0, 0, true, 0},
};

typedef struct attacker {
    int fd;
    unsigned number;
    bool told, answered, over;
    size_t first_sent;
    uint64_t then_sent, dripped_ms;
    heard h;
} attacker;

static const kind *the_kind;
static char first[3000];
static size_t first_len;
static char block[64 * 1024]; /* `then`, many times */
static bool ending;           /* the time is up */
static uint64_t connections, live_ones;

typedef struct outcome {
    char text[200];
    uint64_t count;
} outcome;

static outcome outcomes[64];

static void count_outcome(const char *text)
{
    for (size_t i = 0; i < 64; i++) {
        if (outcomes[i].count == 0) {
            snprintf(outcomes[i].text, sizeof outcomes[i].text, "%s", text);
        }
        if (strcmp(outcomes[i].text, text) == 0) {
            outcomes[i].count++;
            return;
        }
    }
}

static void begin(attacker *a)
{
    unsigned number = a->number;
    memset(a, 0, sizeof *a);
    a->number = number;
    a->fd = open_socket(number);
    a->dripped_ms = now_ms();
    /* Over loopback whoever reads lets the writer's kernel send on, there and then on the reader's
     * core: megabytes, which of a network would come by and by and on no time of the server's. */
    int some = 32 * 1024;
    setsockopt(a->fd, SOL_SOCKET, SO_SNDBUF, &some, sizeof some);
    if (the_kind->deaf) {
        int few = 128 * 1024; /* with less than two segments of loopback the window stays shut */
        setsockopt(a->fd, SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
    }
    connections++;
    live_ones++;
    watch(a->fd, EPOLLOUT | (the_kind->deaf ? 0 : EPOLLIN), a, EPOLL_CTL_ADD);
}

static void end(attacker *a, const char *how)
{
    char text[200], code[20] = "";
    heard *h = &a->h;
    if (h->head_len > 0 && !h->open) {
        find_word(h, h->head);
    }
    if (h->code != 0) {
        snprintf(code, sizeof code, " %d", h->code);
    }
    snprintf(text, sizeof text, "%.3s%s%s%s%s", h->head_len > 12 ? h->head + 9 : "---",
             h->word[0] != '\0' ? " " : "", h->word, code, how);
    count_outcome(text);
    close(a->fd);
    live_ones--;
    a->over = true;
    if (the_kind->again && !ending) {
        begin(a);
    }
}

/* False when the connection is over. */
static bool send_bytes(attacker *a, const char *data, size_t len, size_t *n)
{
    ssize_t done = send(a->fd, data, len, MSG_NOSIGNAL);
    *n = done > 0 ? (size_t)done : 0;
    if (done < 0 && errno != EAGAIN && errno != ENOTCONN) {
        end(a, " reset");
        return false;
    }
    return true;
}

static const char close_frame[] = "\x88\x82\0\0\0\0\x03\xe8";

/* What is under way of the first bytes. True when they are all sent. */
static bool write_first(attacker *a)
{
    size_t n;
    if (a->first_sent == first_len) {
        return true;
    }
    if (!send_bytes(a, first + a->first_sent, first_len - a->first_sent, &n)) {
        return false;
    }
    a->first_sent += n;
    if (a->first_sent == first_len && the_kind->shut) {
        shutdown(a->fd, SHUT_WR);
    }
    return a->first_sent == first_len;
}

/* From where it stands in `then`, at most len bytes. True when they are all sent. */
static bool write_then(attacker *a, size_t len)
{
    size_t n;
    if (!send_bytes(a, block + a->then_sent % the_kind->then_len, len, &n)) {
        return false;
    }
    a->then_sent += n;
    return n == len;
}

static void write_more(attacker *a)
{
    size_t len = the_kind->then_len, n;
    bool done = (ending && !the_kind->again) || a->told; /* who comes again ends as ever */
    if (!write_first(a)) {
        return;
    }
    if (len > 0 && the_kind->step_ms == 0 && !done) {
        write_then(a, sizeof block / len * len - len);
        return;
    }
    size_t cut = len == 0 || !a->h.open ? 0 : (size_t)(a->then_sent % len);
    if (done && cut > 0 && !write_then(a, len - cut)) {
        return; /* a close must not stand in the middle of a frame */
    }
    if (done && a->h.open && !a->answered && !the_kind->shut) {
        a->answered = true;
        if (!send_bytes(a, close_frame, 8, &n)) {
            return;
        }
    }
    watch(a->fd, the_kind->deaf && !ending ? 0 : EPOLLIN, a, EPOLL_CTL_MOD);
}

static void drip(attacker *a, uint64_t now)
{
    size_t n;
    if (a->over || the_kind->step_ms == 0 || a->first_sent < first_len ||
        now < a->dripped_ms + the_kind->step_ms) {
        return;
    }
    a->dripped_ms = now;
    if (send_bytes(a, block + a->then_sent % the_kind->then_len, 1, &n)) {
        a->then_sent += n;
    }
}

static void read_more(attacker *a)
{
    static char in[256 * 1024];
    ssize_t n = recv(a->fd, in, sizeof in, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n == 0 && the_kind->mute && !ending) {
        watch(a->fd, 0, a, EPOLL_CTL_MOD);
        return;
    }
    if (n <= 0) {
        end(a, n == 0 ? " end" : " reset");
        return;
    }
    hear(&a->h, in, (size_t)n);
    if (a->h.code != 0 && !a->told) { /* who is told to close answers, and stops */
        a->told = true;
        watch(a->fd, EPOLLIN | EPOLLOUT, a, EPOLL_CTL_MOD);
    }
}

static void write_blocks(char *out)
{
    const size_t len = BLOCKS_LEN - 8;
    const char header[8] = {(char)0xc1, (char)0xfe, (char)(len >> 8), (char)len, 0, 0, 0, 0};
    memcpy(out, header, 8);
    for (size_t i = 0; i < BLOCK_ROWS; i++) {
        memcpy(out + 8 + 5 * i, BLOCK_ROW, 5);
    }
    out[BLOCKS_LEN - 1] = 0;
}

static void compose(const char *token)
{
    char handshake[2500] = "";
    const char *text = the_kind->first;
    if (text[0] == '%') {
        const char *bad = "eyJhbGciOiJub25lIn0.e30.";
        write_handshake(handshake, sizeof handshake, text[1] == 'D' ? "deaf" : "other",
                        text[1] == 'E' ? bad : text[1] == 'A' ? NULL : token,
                        text[1] == 'C' ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
        text += 2;
    }
    first_len = strlen(handshake);
    memcpy(first, handshake, first_len);
    size_t rest = strlen(text);
    memcpy(first + first_len, text, rest);
    first_len += rest;
    if (rest == 2 && (uint8_t)text[1] >= 0x80) { /* a frame's header wants its mask */
        memset(first + first_len, 0, 4);
        first_len += 4;
    }
    for (size_t i = 0; the_kind->then_len > 0 && i + the_kind->then_len <= sizeof block;
         i += the_kind->then_len) {
        if (the_kind->then != NULL) {
            memcpy(block + i, the_kind->then, the_kind->then_len);
        } else {
            write_blocks(block + i);
        }
    }
}

static void turn(attacker *all, size_t count)
{
    struct epoll_event e[512];
    int n = epoll_wait(poller, e, 512, 20);
    for (int i = 0; i < n; i++) {
        attacker *a = (attacker *)e[i].data.ptr;
        int fd = a->fd;
        bool readable = (e[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
        if (readable && (!the_kind->deaf || ending || (e[i].events & EPOLLIN) == 0)) {
            read_more(a);
        }
        if (!a->over && a->fd == fd && (e[i].events & EPOLLOUT) != 0) {
            write_more(a);
        }
    }
    uint64_t now = now_ms();
    for (size_t i = 0; the_kind->step_ms != 0 && i < count; i++) {
        drip(&all[i], now);
    }
}

static void attack(const char *token, size_t count, uint64_t seconds)
{
    attacker *all = (attacker *)calloc(count, sizeof *all);
    compose(token);
    for (size_t i = 0; i < count; i++) {
        all[i].number = (unsigned)i;
        begin(&all[i]);
        if (i % 64 == 63) {
            turn(all, i + 1);
        }
    }
    printf("attacking\n");
    fflush(stdout);
    uint64_t end_ms = now_ms() + seconds * 1000;
    while (!stopped && now_ms() < end_ms) {
        turn(all, count);
    }
    ending = true;
    for (size_t i = 0; i < count; i++) {
        if (!all[i].over) {
            watch(all[i].fd, EPOLLIN | EPOLLOUT, &all[i], EPOLL_CTL_MOD);
        }
    }
    for (uint64_t last_ms = now_ms() + 30000; live_ones > 0 && now_ms() < last_ms;) {
        turn(all, count);
    }
    uint64_t pings = 0, pongs = 0;
    for (size_t i = 0; i < count; i++) {
        pings += the_kind->then_len == 0 ? 0 : all[i].then_sent / the_kind->then_len;
        pongs += all[i].h.pongs;
        if (!all[i].over) {
            end(&all[i], " open");
        }
    }
    printf("connections %llu\n", (unsigned long long)connections);
    if (pongs > 0) {
        printf("pings %llu pongs %llu\n", (unsigned long long)pings, (unsigned long long)pongs);
    }
    for (size_t i = 0; i < 64 && outcomes[i].count > 0; i++) {
        printf("outcome %llu %s\n", (unsigned long long)outcomes[i].count, outcomes[i].text);
    }
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc < 6) {
        fprintf(stderr, "usage: attack live PORT TOKEN USERS RATE SECONDS\n"
                        "       attack KIND PORT TOKEN COUNT SECONDS\n");
        return 2;
    }
    signal(SIGTERM, stop);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    port = atoi(argv[2]);
    poller = epoll_create1(0);
    if (strcmp(argv[1], "live") == 0 && argc == 7) {
        live(argv[3], strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10),
             strtoul(argv[6], NULL, 10));
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, argv[1]) == 0) {
            the_kind = &kinds[i];
            attack(argv[3], strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
            return 0;
        }
    }
    fprintf(stderr, "attack: no such kind\n");
    return 2;
}
