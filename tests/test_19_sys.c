/* test_19_sys.c: the system behind the house's terms, on real sockets. */
#include "test.h"

#include <poll.h>

/* -- small things -- */

static int listen_on(const char *host, int port, bool shared)
{
    const char *why = "";
    int fd = tws__sys_listen_tcp(host, port, shared, &why);
    return fd;
}

static int connect_to(int family, int port)
{
    struct sockaddr_in6 in6;
    struct sockaddr_in in;
    int fd = socket(family, SOCK_STREAM, 0);
    memset(&in, 0, sizeof in);
    memset(&in6, 0, sizeof in6);
    in.sin_family = AF_INET;
    in.sin_port = htons((uint16_t)port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons((uint16_t)port);
    in6.sin6_addr = in6addr_loopback;
    const struct sockaddr *a =
        family == AF_INET ? (const struct sockaddr *)&in : (const struct sockaddr *)&in6;
    socklen_t len = family == AF_INET ? (socklen_t)sizeof in : (socklen_t)sizeof in6;
    if (fd >= 0 && connect(fd, a, len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un a;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    memcpy(a.sun_path, path, strlen(path));
    if (connect(fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 5000) > 0;
}

static int accept_one(int listener)
{
    CHECK(readable(listener));
    return tws__sys_accept(listener);
}

static void close_both(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

/* pair[0] is the client's end, pair[1] the accepted one. */
static void tcp_pair(int pair[2])
{
    int listener = listen_on("127.0.0.1", 0, false);
    pair[0] = connect_to(AF_INET, tws__sys_port(listener));
    pair[1] = accept_one(listener);
    CHECK(pair[0] >= 0 && pair[1] >= 0);
    close(listener);
}

static bool is_sentence(const char *why)
{
    return strlen(why) > 10 && strchr(why, ' ') != NULL;
}

static char path_memory[64];

static const char *test_path(const char *name)
{
    snprintf(path_memory, sizeof path_memory, "/tmp/taskws-18-%ld-%s", (long)getpid(), name);
    unlink(path_memory);
    return path_memory;
}

/* -- clock, entropy, resources -- */

TEST("the monotonic clock does not fall and its two units agree; the wall clock is of this century")
{
    uint64_t before_us = tws_sys_now_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t ms = tws_sys_now_ms();
        uint64_t us = tws_sys_now_us();
        CHECK(us >= before_us);
        CHECK(us / 1000 >= ms);
        before_us = us;
    }
    CHECK(tws_sys_wall_ms() > UINT64_C(1700000000000));
    CHECK(tws_sys_wall_ms() < UINT64_C(32503680000000)); /* the year 3000: milliseconds, not less */
}

TEST("entropy fills every byte asked for and never repeats")
{
    uint8_t a[64], b[64], never[64] = {0};
    CHECK(tws_sys_random(a, 0));
    for (size_t i = 0; i < 64; i++) {
        memset(a, 0, sizeof a);
        CHECK(tws_sys_random(a, sizeof a));
        CHECK(tws_sys_random(b, sizeof b));
        CHECK(memcmp(a, b, sizeof a) != 0);
        for (size_t k = 0; k < sizeof a; k++) {
            never[k] |= a[k];
        }
    }
    for (size_t k = 0; k < sizeof never; k++) {
        CHECK(never[k] != 0);
    }
    memset(a, 0x5a, sizeof a);
    CHECK(tws_sys_random(a + 8, 8));
    for (size_t k = 0; k < sizeof a; k++) {
        CHECK((k >= 8 && k < 16) || a[k] == 0x5a);
    }
}

static void *write_in_pieces(void *arg)
{
    int fd = *(int *)arg;
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(write(fd, &"abcdefghij"[i], 1), 1);
        poll(NULL, 0, 1);
    }
    close(fd);
    return NULL;
}

TEST("reading in full goes on over short reads and says no at an early end")
{
    for (size_t want = 10; want <= 11; want++) {
        pthread_t id;
        int ends[2];
        char got[16] = "";
        CHECK(pipe(ends) == 0);
        pthread_create(&id, NULL, write_in_pieces, &ends[1]);
        CHECK_EQ(tws__sys_read_full(ends[0], got, want), want == 10);
        CHECK_MEM(got, 10, "abcdefghij", 10);
        pthread_join(id, NULL);
        close(ends[0]);
    }
}

TEST("the resources of the process are told")
{
    int fd[20];
    uint64_t before = tws_sys_open_files();
    for (int i = 0; i < 20; i++) {
        fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    CHECK(tws_sys_open_files() >= before + 20); /* more where descriptors were free between */
    for (int i = 0; i < 20; i++) {
        close(fd[i]);
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    CHECK_EQ(tws_sys_max_files(), limit.rlim_cur);
    CHECK(tws_sys_resident_bytes() > 100 * 1000);
}

TEST("with no descriptor left the open files are told to be at the limit")
{
    struct rlimit limit, low;
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    low.rlim_cur = (rlim_t)tws_sys_open_files();
    CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
    CHECK_EQ(tws_sys_open_files(), low.rlim_cur);
    CHECK(!tws_sys_random(&low, sizeof low));
    setrlimit(RLIMIT_NOFILE, &limit);
}

TEST("growing the descriptor table leaves no descriptor behind")
{
    uint64_t before = tws_sys_open_files();
    static const uint64_t sizes[] = {0, 63, 64, 100, 1000, UINT64_C(0x7fffffff), UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tws__sys_grow_files(sizes[i]);
        CHECK_EQ(tws_sys_open_files(), before);
    }
}

/* -- listening -- */

TEST("port 0 takes a free one and tells which")
{
    int a = listen_on("127.0.0.1", 0, false), b = listen_on("127.0.0.1", 0, false);
    CHECK(tws__sys_port(a) > 0 && tws__sys_port(b) > 0);
    CHECK(tws__sys_port(a) != tws__sys_port(b));
    int c = connect_to(AF_INET, tws__sys_port(a));
    CHECK(c >= 0);
    close(a);
    close(b);
    close(c);
}

TEST("what has no port has port 0")
{
    int fd = open("/dev/null", O_RDONLY);
    CHECK_EQ(tws__sys_port(fd), 0);
    CHECK_EQ(tws__sys_port(-1), 0);
    close(fd);
}

TEST("an address that cannot be listened on is answered with a sentence and leaves no descriptor")
{
    int busy = listen_on("127.0.0.1", 0, false);
    uint64_t before = tws_sys_open_files();
    const struct {
        const char *host;
        int port;
    } row[] = {
        {"127.0.0.1", tws__sys_port(busy)}, {"192.0.2.1", 0},  {"no host of that name..", 0},
        {"256.1.1.1.1..", 0},               {"127.0.0.1", -2}, {"127.0.0.1", 65536},
        {"127.0.0.1", 70000},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *why = "";
        test_row(row[i].host, i);
        CHECK_EQ(tws__sys_listen_tcp(row[i].host, row[i].port, false, &why), -1);
        CHECK(is_sentence(why));
        CHECK_EQ(tws_sys_open_files(), before);
    }
    close(busy);
}

TEST("a port is shared only by sockets that all want to share it")
{
    int a = listen_on("127.0.0.1", 0, true);
    int b = listen_on("127.0.0.1", tws__sys_port(a), true);
    CHECK(a >= 0 && b >= 0);
    CHECK_EQ(tws__sys_port(a), tws__sys_port(b));
    CHECK_EQ(listen_on("127.0.0.1", tws__sys_port(a), false), -1);
    close(a);
    close(b);
    a = listen_on("127.0.0.1", 0, false);
    CHECK_EQ(listen_on("127.0.0.1", tws__sys_port(a), true), -1);
    close(a);
}

static bool has_ipv6(void)
{
    int fd = listen_on("::1", 0, false);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

TEST("IPv6 is listened on, and :: takes both families")
{
    if (!has_ipv6()) {
        printf("# no IPv6 here\n");
        return;
    }
    int one = listen_on("::1", 0, false), all = listen_on("::", 0, false);
    CHECK(tws__sys_port(one) > 0 && tws__sys_port(all) > 0);
    const struct {
        int listener, family;
        bool connects;
    } row[] = {
        {one, AF_INET6, true}, {one, AF_INET, false}, {all, AF_INET6, true}, {all, AF_INET, true}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint8_t address[16];
        test_row("family", i);
        int fd = connect_to(row[i].family, tws__sys_port(row[i].listener));
        CHECK_EQ(fd >= 0, row[i].connects);
        if (fd < 0) {
            continue;
        }
        int taken = accept_one(row[i].listener);
        tws__sys_address(taken, address);
        CHECK(tws__sys_is_loopback(address)); /* ::1, or 127.0.0.1 mapped */
        close(taken);
        close(fd);
    }
    close(one);
    close(all);
}

TEST("a stale Unix socket is replaced")
{
    const char *path = test_path("stale"), *why = "";
    int dead = tws__sys_listen_unix(path, &why);
    CHECK(dead >= 0);
    close(dead);
    CHECK_EQ(connect_unix(path), -1);
    int fd = tws__sys_listen_unix(path, &why);
    CHECK(fd >= 0);
    int client = connect_unix(path);
    CHECK(client >= 0);
    int taken = accept_one(fd);
    CHECK(taken >= 0);
    CHECK_EQ(tws__sys_port(fd), 0);
    close(taken);
    close(client);
    close(fd);
    unlink(path);
}

TEST("a Unix socket that somebody listens on is left to them")
{
    const char *path = test_path("live"), *why = "";
    int first = tws__sys_listen_unix(path, &why);
    CHECK_EQ(tws__sys_listen_unix(path, &why), -1);
    CHECK(is_sentence(why));
    int client = connect_unix(path);
    CHECK(client >= 0);
    CHECK(readable(first));
    close(client);
    close(first);
    unlink(path);
}

TEST("a path that cannot be a Unix socket is answered with a sentence and stays as it was")
{
    char long_path[300];
    const char *why = "";
    uint64_t before = tws_sys_open_files();
    memset(long_path, 'a', sizeof long_path - 1);
    memcpy(long_path, "/tmp/", 5);
    long_path[sizeof long_path - 1] = '\0';
    CHECK_EQ(tws__sys_listen_unix(long_path, &why), -1);
    CHECK(is_sentence(why));
    why = "";
    CHECK_EQ(tws__sys_listen_unix("/tmp/no such directory/socket", &why), -1);
    CHECK(is_sentence(why));
    const char *path = test_path("file");
    FILE *f = fopen(path, "w");
    fputs("mine", f);
    fclose(f);
    why = "";
    CHECK_EQ(tws__sys_listen_unix(path, &why), -1);
    CHECK(is_sentence(why));
    char text[8] = "";
    f = fopen(path, "r");
    CHECK(f != NULL && fgets(text, sizeof text, f) != NULL);
    CHECK_STR(tws_str_c(text), "mine");
    fclose(f);
    unlink(path);
    CHECK_EQ(tws_sys_open_files(), before);
}

/* -- accepting -- */

TEST("accepting does not block, and neither does what is accepted, which no child inherits")
{
    const char *path = test_path("accept"), *why = "";
    int listener[2] = {listen_on("127.0.0.1", 0, false), tws__sys_listen_unix(path, &why)};
    for (size_t i = 0; i < 2; i++) {
        char byte;
        test_row("listener", i);
        CHECK_EQ(tws__sys_accept(listener[i]), -1);
        CHECK(tws__sys_again(errno));
        CHECK((fcntl(listener[i], F_GETFD) & FD_CLOEXEC) != 0);
        int client = i == 0 ? connect_to(AF_INET, tws__sys_port(listener[i])) : connect_unix(path);
        int fd = accept_one(listener[i]);
        CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
        CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        CHECK_EQ(tws__sys_receive(fd, &byte, 1), -1);
        close(client);
        close(fd);
        close(listener[i]);
    }
    unlink(path);
}

TEST("what is accepted over TCP writes without delay")
{
    int pair[2], on = 0;
    socklen_t len = (socklen_t)sizeof on;
    tcp_pair(pair);
    CHECK(getsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &on, &len) == 0);
    CHECK(on != 0);
    close_both(pair);
}

TEST("loopback is 127.0.0.0/8 and ::1, and nothing that resembles them")
{
    static const struct {
        const char *hex;
        bool loopback;
    } row[] = {
        {"00000000000000000000ffff7f000001", true},  {"00000000000000000000ffff7fffffff", true},
        {"00000000000000000000000000000001", true},  {"00000000000000000000ffff80000001", false},
        {"00000000000000000000ffff7e000001", false}, {"00000000000000000000000000000000", false},
        {"00000000000000000000000000000002", false}, {"000000000000000000000000 7f000001", false},
        {"fe800000000000000000000000000001", false}, {"00000000000000000001ffff7f000001", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        uint8_t address[16];
        test_row(row[i].hex, i);
        CHECK_EQ(test_hex(row[i].hex, address), 16);
        CHECK_EQ(tws__sys_is_loopback(test_exact(address, 16)), row[i].loopback);
    }
}

TEST("an address is its 16 bytes, and zeros where there is none")
{
    static const uint8_t zeros[16];
    uint8_t address[16], want[16];
    int pair[2];
    tcp_pair(pair);
    test_hex("00000000000000000000ffff7f000001", want);
    tws__sys_address(pair[1], address);
    CHECK_MEM(address, 16, want, 16);
    close_both(pair);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    tws__sys_address(pair[1], address);
    CHECK_MEM(address, 16, zeros, 16);
    close_both(pair);
    memset(address, 0xff, sizeof address);
    tws__sys_address(-1, address);
    CHECK_MEM(address, 16, zeros, 16);
}

/* -- receiving and sending -- */

TEST("only what can be tried again counts as not now")
{
    CHECK(tws__sys_again(EAGAIN));
    CHECK(tws__sys_again(EWOULDBLOCK));
    CHECK(tws__sys_again(EINTR));
    CHECK(!tws__sys_again(ECONNRESET));
    CHECK(!tws__sys_again(EPIPE));
    CHECK(!tws__sys_again(0));
}

/* The client vanishes without a word: a reset. */
static void reset(int fd)
{
    struct linger none = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, (socklen_t)sizeof none);
    close(fd);
}

TEST("receiving tells bytes, the end, nothing yet and a lost connection apart")
{
    char data[16];
    int pair[2];
    tcp_pair(pair);
    CHECK_EQ(tws__sys_receive(pair[1], data, sizeof data), -1);
    CHECK_EQ(send(pair[0], "hello", 5, 0), 5);
    CHECK(readable(pair[1]));
    CHECK_EQ(tws__sys_receive(pair[1], test_exact("....", 4), 4), 4);
    CHECK_EQ(tws__sys_receive(pair[1], data, sizeof data), 1);
    shutdown(pair[0], SHUT_WR);
    CHECK(readable(pair[1]));
    CHECK_EQ(tws__sys_receive(pair[1], data, sizeof data), 0);
    CHECK_EQ(tws__sys_receive(pair[1], data, sizeof data), 0);
    reset(pair[0]);
    close(pair[1]);
    tcp_pair(pair);
    reset(pair[0]);
    CHECK(readable(pair[1]));
    CHECK_EQ(tws__sys_receive(pair[1], data, sizeof data), -2);
    close(pair[1]);
    CHECK_EQ(tws__sys_receive(-1, data, sizeof data), -2);
}

TEST("sending gathers slices, stops when the socket is full, and goes on when it is not")
{
    static char out[300000], in[300000];
    int pair[2], small = 4096, room = 65536;
    size_t sent = 0, got = 0;
    tcp_pair(pair);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVBUF, &room, (socklen_t)sizeof room);
    tws__sys_nonblocking(pair[0]);
    setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &small, (socklen_t)sizeof small);
    for (size_t i = 0; i < sizeof out; i++) {
        out[i] = (char)(i * 7 + i / 256);
    }
    bool was_full = false;
    while (got < sizeof out) {
        tws_str slice[5];
        for (size_t i = 0, at = sent; i < 5; i++) {
            size_t len = (sizeof out - at) / (5 - i);
            slice[i] = tws_str_of(out + at, len);
            at += len;
        }
        long n = sent == sizeof out ? 0 : tws__sys_send(pair[1], slice, 5);
        CHECK(n >= 0);
        sent += (size_t)n;
        was_full = was_full || (n == 0 && sent < sizeof out);
        ssize_t r = n != 0 ? 0 : recv(pair[0], in + got, sizeof in - got, 0);
        if (r <= 0 && n == 0) {
            struct pollfd either[2] = {{pair[0], POLLIN, 0}, {pair[1], 0, 0}};
            CHECK(r < 0 && tws__sys_again(errno));
            either[1].events = sent < sizeof out ? POLLOUT : 0; /* room may have come just now */
            CHECK(poll(either, 2, 5000) > 0);
        }
        got += r > 0 ? (size_t)r : 0;
    }
    CHECK(was_full);
    CHECK(memcmp(in, out, sizeof out) == 0);
    close_both(pair);
}

TEST("one call sends as many slices as a turn has, not more")
{
    tws_str slice[TWS_TURN_SLICES + 10];
    char in[TWS_TURN_SLICES + 10];
    int pair[2];
    for (size_t i = 0; i < sizeof slice / sizeof *slice; i++) {
        slice[i] = tws_str_c("x");
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK_EQ(tws__sys_send(pair[1], slice, TWS_TURN_SLICES + 10), TWS_TURN_SLICES);
    CHECK_EQ(recv(pair[0], in, sizeof in, 0), TWS_TURN_SLICES);
    CHECK_EQ(tws__sys_send(pair[1], slice, 1), 1);
    close_both(pair);
}

/* The ways in which many sends can be done. */
enum { RING, RING_REFUSED, RING_BROKEN, WAYS };

static void ring_open(tws__ring *r, int way)
{
#if TWS__IO_URING
    tws__ring_open(r);
    if (way == RING_REFUSED) {
        tws__ring_close(r);
    } else if (way == RING_BROKEN && r->fd >= 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        CHECK(dup2(null, r->fd) == r->fd);
        close(null);
    }
#else
    (void)way;
    tws__ring_open(r);
#endif
}

TEST("many sends, ring or not, tell each what its socket took: all, a part, nothing, or it is lost")
{
    static const char *const name[] = {"a ring", "none", "one that does not work any more"};
    static uint8_t out[TWS__SENDS][3000];
    static uint8_t much[8u << 20];
    static char in[3000];
    enum { FULL = 5, PART = 9, LOST = 11, NO_FD = 13 };
    for (size_t i = 0; i < TWS__SENDS; i++) {
        memset(out[i], 'A' + (int)i, sizeof out[i]);
    }
    for (int way = 0; way < WAYS; way++) {
        tws__ring r;
        int pair[TWS__SENDS][2];
        size_t before = tws_sys_open_files();
        test_row(name[way], (size_t)way);
        ring_open(&r, way);
        for (size_t count = 1; count <= TWS__SENDS; count = count < 16 ? 16 : count + 16) {
            for (int round = 0; round < 3; round++) { /* the ring goes round */
                tws__send each[TWS__SENDS];
                for (size_t i = 0; i < count; i++) {
                    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]) == 0);
                    each[i].fd = pair[i][0];
                    each[i].data = out[i];
                    each[i].len = (uint32_t)(i + 1);
                    each[i].sent = 12345;
                }
                if (count > 1) {
                    while (send(pair[FULL][0], in, sizeof in, MSG_NOSIGNAL) > 0) {
                    }
                    close_both(pair[PART]);
                    tcp_pair(pair[PART]);
                    int least = 1;
                    setsockopt(pair[PART][0], SOL_SOCKET, SO_SNDBUF, &least, (socklen_t)sizeof least);
                    tws__sys_nonblocking(pair[PART][0]);
                    each[PART].fd = pair[PART][0];
                    each[PART].data = much;
                    each[PART].len = sizeof much;
                    close(pair[LOST][1]);
                    pair[LOST][1] = -1;
                    each[NO_FD].fd = -1;
                }
                tws__ring_send_each(&r, each, count);
                for (size_t i = 0; i < count; i++) {
                    const bool lost = i == LOST || i == NO_FD;
                    if (i == PART) {
                        CHECK(each[i].sent > 0 && each[i].sent < (long)sizeof much);
                    } else {
                        CHECK_EQ(each[i].sent, lost ? -2 : i == FULL ? 0 : (long)i + 1);
                    }
                    if (i != FULL && i != PART && !lost) {
                        CHECK_EQ(recv(pair[i][1], in, sizeof in, 0), i + 1);
                        CHECK(memcmp(in, out[i], i + 1) == 0);
                    }
                    close_both(pair[i]);
                }
            }
        }
        tws__ring_send_each(&r, NULL, 0);
        tws__ring_close(&r);
        CHECK_EQ(tws_sys_open_files(), before);
    }
}

#if TWS__IO_URING
TEST("where there is no memory for a ring, none is left open, and errno says nothing of it")
{
    tws__ring r;
    struct rlimit limit, none;
    const size_t before = tws_sys_open_files();
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    none = limit;
    none.rlim_cur = 1;
    CHECK(setrlimit(RLIMIT_AS, &none) == 0);
    errno = 0;
    tws__ring_open(&r);
    const int after = errno;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK_EQ(after, 0);
    CHECK_EQ(r.fd, -1);
    CHECK_EQ(tws_sys_open_files(), before);
}
#endif

TEST("an accept that fails for good is not taken for one connection's fault, or it would spin")
{
    static const int of_one[] = {ECONNABORTED, EPROTO, ENETDOWN, ECONNRESET, ETIMEDOUT};
    static const int of_all[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EACCES, EINVAL, ENOSYS, EBADF};
    for (size_t i = 0; i < sizeof of_one / sizeof *of_one; i++) {
        CHECK(tws__sys_accepts_next(of_one[i]));
    }
    for (size_t i = 0; i < sizeof of_all / sizeof *of_all; i++) {
        CHECK(!tws__sys_accepts_next(of_all[i]));
    }
}

TEST("sending to who has gone is a lost connection and raises no signal")
{
    tws_str one[2] = {tws_str_c("a"), tws_str_c("b")};
    int pair[2];
    tcp_pair(pair);
    reset(pair[0]);
    CHECK(readable(pair[1]));
    CHECK_EQ(tws__sys_send(pair[1], one, 1), -2);
    CHECK_EQ(tws__sys_send(pair[1], one, 1), -2);
    CHECK_EQ(tws__sys_send(pair[1], one, 2), -2);
    close(pair[1]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    close(pair[0]);
    CHECK_EQ(tws__sys_send(pair[1], one, 1), -2);
    CHECK_EQ(tws__sys_send(pair[1], one, 2), -2);
    close(pair[1]);
}
