/* resubscribe.c: how long a session with Redis takes to subscribe to many users again after a real
 * Redis has restarted, with no sockets but its own two: there may be more users than a process may
 * open files. Redis is ended here; somebody else must start it again. */
#define TASKWS_IMPLEMENTATION
#include "taskws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

static const char help[] =
    "usage: resubscribe --redis PORT [--users N] [--json]\n"
    "Subscribes to N users (50,000), ends Redis, and waits until all are live again.\n";

static uint64_t port, users = 50000;
static tws_redis *session;
static struct {
    int fd; /* -1: none */
    uint32_t number;
    bool connecting;
} link_of[TWS_REDIS_LINKS] = {{-1, 0, false}, {-1, 0, false}};

static int connect_redis(int flags)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void take_events(void)
{
    tws_redis_event ev;
    while (tws_redis_next(session, &ev) != TWS_REDIS_NONE) {
    }
}

static void end_link(tws_redis_link l, const char *why)
{
    close(link_of[l].fd);
    link_of[l].fd = -1;
    take_events();
    tws_redis_closed(session, l, why);
}

static void mend_link(tws_redis_link l)
{
    const uint32_t number = tws_redis_connection(session, l);
    if (number == link_of[l].number) {
        return;
    }
    if (link_of[l].fd >= 0) {
        close(link_of[l].fd);
    }
    link_of[l].number = number;
    link_of[l].fd = number == 0 ? -1 : connect_redis(SOCK_NONBLOCK);
    link_of[l].connecting = true;
    if (number != 0 && link_of[l].fd < 0) {
        tws_redis_closed(session, l, "refused");
    }
}

static void finish_connecting(tws_redis_link l)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(link_of[l].fd, SOL_SOCKET, SO_ERROR, &error, &len);
    link_of[l].connecting = false;
    if (error != 0) {
        end_link(l, "refused");
    } else {
        tws_redis_connected(session, l);
    }
}

static void read_link(tws_redis_link l)
{
    size_t room;
    char *to = tws_redis_input(session, l, &room);
    ssize_t n = recv(link_of[l].fd, to, room, 0);
    if (n > 0) {
        tws_redis_received(session, l, (size_t)n);
        take_events();
    } else if (n == 0 || errno != EAGAIN) {
        end_link(l, "closed");
    }
}

static bool write_link(tws_redis_link l)
{
    tws_str out = tws_redis_output(session, l);
    while (out.len > 0) {
        ssize_t n = send(link_of[l].fd, out.ptr, out.len, MSG_NOSIGNAL);
        if (n <= 0) {
            return true;
        }
        tws_redis_sent(session, l, (size_t)n);
        out = tws_redis_output(session, l);
    }
    return false;
}

/* One turn of the session's loop. */
static void turn(void)
{
    struct pollfd wait[TWS_REDIS_LINKS];
    tws_redis_tick(session, tws_sys_now_ms());
    take_events();
    for (size_t i = 0; i < TWS_REDIS_LINKS; i++) {
        mend_link((tws_redis_link)i);
        wait[i].fd = link_of[i].fd;
        wait[i].revents = 0;
        const bool waits = link_of[i].fd >= 0 &&
                           (link_of[i].connecting || write_link((tws_redis_link)i));
        wait[i].events = (short)(POLLIN | (waits ? POLLOUT : 0));
    }
    poll(wait, TWS_REDIS_LINKS, 1);
    for (size_t i = 0; i < TWS_REDIS_LINKS; i++) {
        if (link_of[i].fd >= 0 && wait[i].revents != 0) {
            if (link_of[i].connecting) {
                finish_connecting((tws_redis_link)i);
            } else {
                read_link((tws_redis_link)i);
            }
        }
    }
}

static uint64_t live(void)
{
    tws_redis_stats stats;
    tws_redis_stat(session, &stats);
    return stats.live;
}

/* Until all users are subscribed and loaded; *first_ns: when one was. */
static uint64_t await_live(uint64_t *first_ns)
{
    const uint64_t end = now_ns() + 120000000000u;
    uint64_t now = 0;
    for (*first_ns = 0; live() < users || tws_redis_now(session, NULL) != TWS_REDIS_IS_READY;) {
        turn();
        now = now_ns();
        *first_ns = *first_ns == 0 && live() > 0 ? now : *first_ns;
        if (now > end) {
            die("%llu of %llu users are live", (unsigned long long)live(),
                (unsigned long long)users);
        }
    }
    return now_ns();
}

/* Ends Redis and waits until it accepts again; when that was. */
static uint64_t restart_redis(void)
{
    static const char end[] = "SHUTDOWN NOSAVE\r\n";
    char rest[64];
    int fd = connect_redis(0);
    if (fd < 0 || send(fd, end, sizeof end - 1, MSG_NOSIGNAL) < 0 || recv(fd, rest, 64, 0) > 0) {
        die("Redis does not end");
    }
    close(fd);
    while (tws_redis_now(session, NULL) == TWS_REDIS_IS_READY) {
        turn();
    }
    for (fd = -1; fd < 0; fd = connect_redis(0)) {
        turn();
    }
    close(fd);
    return now_ns();
}

int main(int argc, char **argv)
{
    const option options[] = {{"--redis", OPTION_NUMBER, &port},
                              {"--users", OPTION_NUMBER, &users},
                              {"--json", OPTION_FLAG, &result_json},
                              {NULL, OPTION_FLAG, NULL}};
    tws_redis_desc desc;
    tws_redis_url url;
    char text[64];
    const char *why;
    uint64_t first_ns;
    read_options(argc, argv, 1, options, help);
    snprintf(text, sizeof text, "redis://127.0.0.1:%llu", (unsigned long long)port);
    memset(&desc, 0, sizeof desc);
    desc.url = &url;
    desc.seed[0] = 1;
    if (tws_redis_url_parse(tws_str_c(text), &url, &why) != TWS_OK ||
        tws_redis_create(&session, &desc, tws_sys_now_ms()) != TWS_OK) {
        die("no session");
    }
    const uint64_t begun = now_ns();
    for (uint64_t i = 0; i < users; i++) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)i);
        if (tws_redis_want(session, tws_str_c(text)) != TWS_OK) {
            die("user %s is one too many", text);
        }
    }
    const uint64_t subscribed = await_live(&first_ns);
    result("users", (double)users);
    result("subscribe_s", (double)(subscribed - begun) / 1e9);
    const uint64_t back = restart_redis(), cpu = cpu_ns((uint64_t)getpid());
    const uint64_t again = await_live(&first_ns);
    result("until_first_s", (double)(first_ns - back) / 1e9);
    result("resubscribe_s", (double)(again - first_ns) / 1e9);
    result("cpu_us", (double)(cpu_ns((uint64_t)getpid()) - cpu) / 1000 / (double)users);
    result_end();
    tws_redis_free(session);
    return 0;
}
