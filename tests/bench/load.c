/* load.c: a load generator and strict checker for WebSocket servers, on taskws.h's own codecs.
 * One thread, epoll, IPv4. `load --help` says how; bench.py is who calls it.
 *
 * What it finds wrong (a lost, repeated, late, misrouted or changed message, a connection that
 * fails or ends) is counted, reported, and makes the exit status 1. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "bench.h"

static const char help[] =
    "usage: load MODE --port N [options]\n"
    "  echo         every connection keeps so many messages in flight and checks each echo\n"
    "  handshake    opens connections, so many at once: time to the 101 and the first message\n"
    "  idle         holds connections: what one costs the server in memory and CPU\n"
    "  fanout       publishes, and checks what each reader is given: once, in order, its own\n"
    "  catchup      publishes while the server is shut out of Redis, then lets it in\n"
    "  resubscribe  ends Redis, which somebody else must start again on the same port\n"
    "\n"
    "  --host ADDRESS        IPv4 (127.0.0.1)\n"
    "  --path TEMPLATE       {i} connection, {u} user, {token} an HS256 token of that user (/)\n"
    "  --secret KEY          of the tokens; each has a jti of its own\n"
    "  --conns N             connections (1)\n"
    "  --users N             connection i reads user i modulo N (as many as connections)\n"
    "  --concurrency N       connections being opened at once (256)\n"
    "  --seconds S           of measuring (2)\n"
    "  --size BYTES          of a message or an event (20)\n"
    "  --pid N               the server: its CPU time and memory are reported\n"
    "  --json                one object instead of lines\n"
    "echo:\n"
    "  --inflight N          messages under way on each connection (1)\n"
    "  --text                instead of binary messages\n"
    "  --tcp                 bare bytes, no handshake and no frames\n"
    "handshake:\n"
    "  --first               until the first message, instead of the 101\n"
    "fanout, catchup, resubscribe:\n"
    "  --redis PORT          publish there, on task_status:{u}\n"
    "  --durable             by the script that stores, instead of PUBLISH\n"
    "  --http                publish by POST to /api/v1/ws/tasks/{u} instead\n"
    "  --batch N             events in one POST (1)\n"
    "  --rate N              events a second, whatever happens (open loop)\n"
    "  --window N            or N events under way, as fast as that goes (closed loop)\n"
    "  --deflate             readers that take compressed events\n"
    "  --active N            publish to the first N users only (all)\n"
    "  --events N            catchup: for each user (100)\n"
    "  --outage-user NAME    catchup: the server's user in Redis\n"
    "\n"
    "Times are in microseconds. Exit status: 0 all well, 1 something was wrong, 2 not measured.\n";

#define MS 1000000u

/* -- options -- */

static struct {
    const char *mode, *host, *path, *secret, *outage_user;
    uint64_t port, conns, users, concurrency, size, pid, inflight, redis, batch, window, active;
    uint64_t events;
    double seconds, rate;
    bool text, tcp, first, durable, http, deflate;
} opt = {.host = "127.0.0.1", .path = "/", .conns = 1, .concurrency = 256, .size = 20,
         .inflight = 1, .batch = 1, .events = 100, .seconds = 2};

static const option options[] = {
    {"--host", OPTION_TEXT, &opt.host},
    {"--path", OPTION_TEXT, &opt.path},
    {"--secret", OPTION_TEXT, &opt.secret},
    {"--outage-user", OPTION_TEXT, &opt.outage_user},
    {"--port", OPTION_NUMBER, &opt.port},
    {"--conns", OPTION_NUMBER, &opt.conns},
    {"--users", OPTION_NUMBER, &opt.users},
    {"--concurrency", OPTION_NUMBER, &opt.concurrency},
    {"--size", OPTION_NUMBER, &opt.size},
    {"--pid", OPTION_NUMBER, &opt.pid},
    {"--inflight", OPTION_NUMBER, &opt.inflight},
    {"--redis", OPTION_NUMBER, &opt.redis},
    {"--batch", OPTION_NUMBER, &opt.batch},
    {"--window", OPTION_NUMBER, &opt.window},
    {"--active", OPTION_NUMBER, &opt.active},
    {"--events", OPTION_NUMBER, &opt.events},
    {"--seconds", OPTION_REAL, &opt.seconds},
    {"--rate", OPTION_REAL, &opt.rate},
    {"--text", OPTION_FLAG, &opt.text},
    {"--tcp", OPTION_FLAG, &opt.tcp},
    {"--first", OPTION_FLAG, &opt.first},
    {"--durable", OPTION_FLAG, &opt.durable},
    {"--http", OPTION_FLAG, &opt.http},
    {"--deflate", OPTION_FLAG, &opt.deflate},
    {"--json", OPTION_FLAG, &result_json},
    {NULL, OPTION_FLAG, NULL},
};

static bool mode_is(const char *name)
{
    return strcmp(opt.mode, name) == 0;
}

#include "load_clients.h"
#include "load_publisher.h"

/* -- measuring -- */

typedef struct sample {
    uint64_t ns, self, server;
} sample;

static sample sample_now(void)
{
    const sample s = {now_ns(), cpu_ns((uint64_t)getpid()), cpu_ns(opt.pid)};
    return s;
}

static void report_cpu(sample a, sample b, double units)
{
    const double ns = (double)(b.ns - a.ns);
    result("seconds", ns / 1e9);
    result("units", units);
    result("rate", units / (ns / 1e9));
    result("generator_cpu", (double)(b.self - a.self) / ns);
    if (opt.pid != 0) {
        result("server_cpu", (double)(b.server - a.server) / ns);
        result("server_us", units > 0 ? (double)(b.server - a.server) / 1000 / units : 0);
    }
}

static void report_latency(const char *name, const histogram *h)
{
    static const struct {
        const char *suffix;
        double part;
    } row[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    char key[64];
    for (size_t i = 0; i < 3; i++) {
        snprintf(key, sizeof key, "%s_%s", name, row[i].suffix);
        result(key, quantile(h, row[i].part) / 1000);
    }
    snprintf(key, sizeof key, "%s_max", name);
    result(key, (double)h->max / 1000);
}

/* Returns the exit status. */
static int report_faults(uint64_t lost)
{
    char plain[sizeof count.what];
    size_t n = 0;
    for (const char *p = count.what; *p != '\0'; p++) {
        plain[n++] = *p == '"' || *p == '\\' || *p < ' ' ? '\'' : *p;
    }
    plain[n] = '\0';
    result("failed", (double)count.failed);
    result("ended", (double)count.ended);
    result("wrong", (double)count.wrong);
    result("lost", (double)lost);
    result("duplicates", (double)count.duplicates);
    result("disorder", (double)count.disorder);
    result("misrouted", (double)count.misrouted);
    result_text("first_fault", plain);
    result_end();
    return count.failed + count.ended + count.wrong + lost + count.duplicates + count.disorder +
           count.misrouted > 0;
}

/* -- the modes -- */

static int run_echo(void)
{
    uint64_t *sent_ns = (uint64_t *)need_memory(opt.conns * opt.inflight, sizeof *sent_ns);
    uint64_t lost = 0;
    make_pattern();
    open_all();
    phase = WARMING;
    for (uint64_t i = 0; i < opt.conns; i++) {
        conns[i].sent_ns = sent_ns + i * opt.inflight;
        if (conns[i].state == OPEN) {
            pump(&conns[i], now_ns());
        }
    }
    turns_until(now_ns() + 300 * MS);
    phase = MEASURING;
    const sample a = sample_now();
    turns_until(a.ns + (uint64_t)(opt.seconds * 1e9));
    const sample b = sample_now();
    phase = DRAINING;
    const uint64_t end = now_ns() + 5000ull * MS;
    for (uint64_t i = 0; i < opt.conns; i++) {
        while (conns[i].state == OPEN && now_ns() < end &&
               conns[i].received < conns[i].sent + (conns[i].sent_bytes > 0)) {
            turn(10);
        }
        lost += conns[i].sent - conns[i].received;
    }
    const uint64_t echoes = count.echoes;
    close_all();
    report_cpu(a, b, (double)echoes);
    report_latency("echo", &latency);
    return report_faults(lost) != 0 || echoes == 0;
}

static int run_handshake(void)
{
    const sample a = sample_now();
    open_all();
    const sample b = sample_now();
    const double seconds = (double)(count.last_ns - a.ns) / 1e9;
    const uint64_t open = count.open;
    close_all();
    report_cpu(a, b, (double)open);
    result("opened_per_s", (double)open / seconds);
    report_latency("to_101", &to_101);
    if (opt.first) {
        report_latency("to_first", &to_first);
    }
    return report_faults(0);
}

static int run_idle(void)
{
    const uint64_t before = resident_bytes(opt.pid);
    open_all();
    turns_until(now_ns() + 500 * MS);
    const uint64_t open = resident_bytes(opt.pid);
    const sample a = sample_now();
    turns_until(a.ns + (uint64_t)(opt.seconds * 1e9));
    const sample b = sample_now();
    const uint64_t held = count.open;
    close_all();
    turns_until(now_ns() + 200 * MS);
    report_cpu(a, b, 0);
    result("held", (double)held);
    result("bytes_each", (double)(int64_t)(open - before) / (double)opt.conns);
    result("bytes_each_closed", (double)(int64_t)(resident_bytes(opt.pid) - before) /
           (double)opt.conns);
    return report_faults(opt.conns - held);
}

/* -- fan-out -- */

static int clock_fd;

static void on_clock(uint32_t events)
{
    uint64_t times;
    (void)events;
    if (read(clock_fd, &times, sizeof times) < 0) {
        return; /* it was read already */
    }
}

/* Wakes the loop as often as something is to be published, which epoll's milliseconds cannot. */
static void start_clock(void)
{
    const uint64_t gap = (uint64_t)(1e9 / opt.rate), ns = gap < 100000 ? 100000 : gap;
    struct itimerspec every = {.it_value = {0, 1}};
    struct epoll_event e = {EPOLLIN, {.ptr = &clock_guest}};
    every.it_interval.tv_sec = (time_t)(ns / 1000000000u);
    every.it_interval.tv_nsec = (long)(ns % 1000000000u);
    clock_guest.on_ready = on_clock;
    clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, clock_fd, &e);
    timerfd_settime(clock_fd, 0, &every, NULL);
}

/* How many may have been published by now. In a closed loop a half window is refilled at once, so
 * that each turn is worth its while. */
static uint64_t allowed(uint64_t sent, uint64_t delivered, uint64_t since_ns)
{
    if (opt.window == 0) {
        return (uint64_t)((double)since_ns / 1e9 * opt.rate) + 1;
    }
    return sent - delivered <= opt.window / 2 ? delivered + opt.window : sent;
}

/* Publishes for so long; returns how many events it were. */
static uint64_t publish_until(uint64_t end, uint64_t readers)
{
    const uint64_t begun = now_ns();
    const double each = (double)readers / (double)opt.active;
    uint64_t sent = 0, given_up = 0, progress_ns = begun, seen = 0;
    uint32_t user = 0;
    for (uint64_t now = begun; now < end; now = now_ns()) {
        uint64_t done = (uint64_t)((double)count.unique / each) + given_up;
        if (count.unique != seen) {
            seen = count.unique;
            progress_ns = now;
        } else if (opt.window > 0 && sent > done && now > progress_ns + 1000 * MS) {
            given_up += sent - done; /* lost: they will be counted */
            done = sent;
        }
        const uint64_t until = allowed(sent, done, now - begun);
        while (sent < until) {
            while (sent < until && pub.out.len < SEND / 2) {
                publish(user, true, now);
                sent += opt.http ? opt.batch : 1;
                user = user + 1 < opt.active ? user + 1 : 0;
            }
            flush_publisher();
            if (pub.out.len > 0) {
                break;
            }
        }
        turn(10);
    }
    return sent;
}

static uint64_t events_due(void)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < opt.conns; i++) {
        n += published[conns[i].user];
    }
    return n;
}

/* Waits as long as something comes; then a little more, for what comes twice. */
static void await_deliveries(uint64_t due, unsigned patience_ms)
{
    uint64_t seen = 0, end = now_ns() + (uint64_t)patience_ms * MS;
    while (count.deliveries < due && now_ns() < end) {
        turn(10);
        if (count.deliveries != seen) {
            seen = count.deliveries;
            end = now_ns() + (uint64_t)patience_ms * MS;
        }
    }
    turns_until(now_ns() + 100 * MS);
}

static int run_fanout(void)
{
    begin_publishing();
    open_all();
    const uint64_t readers = active_readers();
    await_readers(readers);
    if (opt.window == 0) {
        start_clock();
    }
    const uint64_t bytes = count.bytes;
    const sample a = sample_now();
    const uint64_t sent = publish_until(a.ns + (uint64_t)(opt.seconds * 1e9), readers);
    const sample b = sample_now();
    const uint64_t measured = count.deliveries;
    const double bytes_each = (double)(count.bytes - bytes) / (double)measured;
    await_deliveries(events_due(), 2000);
    close_all();
    report_cpu(a, b, (double)measured);
    result("wire_bytes_each", bytes_each);
    result("published_per_s", (double)sent / ((double)(b.ns - a.ns) / 1e9));
    report_latency("receipt", &latency);
    return report_faults(events_due() - count.unique);
}

/* The server may not log in, its connections are ended, and meanwhile events are stored. */
static int run_catchup(void)
{
    opt.durable = true;
    begin_publishing();
    open_all();
    await_readers(active_readers());
    command(4, "ACL", "SETUSER", opt.outage_user, "off");
    command(4, "CLIENT", "KILL", "USER", opt.outage_user);
    await_answers();
    for (uint64_t i = 0; i < opt.events; i++) {
        for (uint32_t user = 0; user < opt.active; user++) {
            publish(user, true, now_ns());
        }
        await_answers();
    }
    command(4, "ACL", "SETUSER", opt.outage_user, "on");
    const sample a = sample_now();
    await_answers();
    await_deliveries(events_due(), 15000);
    const sample b = sample_now();
    close_all();
    const double seconds = (double)(count.last_ns - count.first_delivery_ns) / 1e9;
    report_cpu(a, b, (double)count.deliveries);
    result("until_first_s", (double)(count.first_delivery_ns - a.ns) / 1e9);
    result("catchup_s", seconds);
    result("catchup_per_s", (double)count.deliveries / seconds);
    return report_faults(events_due() - count.unique);
}

/* -- resubscribing -- */

/* Redis's number of channels that somebody has subscribed to. */
static uint64_t subscribed(void)
{
    command(2, "INFO", "stats");
    await_answers();
    return pub.last_integer;
}

static void restart_redis(void)
{
    tws_buf_c(&pub.out, "SHUTDOWN NOSAVE\r\n");
    flush_publisher();
    epoll_ctl(epoll, EPOLL_CTL_DEL, pub.fd, NULL);
    turns_until(now_ns() + 50 * MS);
    disconnect_publisher();
    const uint64_t end = now_ns() + 30000ull * MS;
    while (!connect_publisher()) {
        if (now_ns() > end) {
            die("nobody has started Redis again");
        }
        turns_until(now_ns() + 2 * MS);
    }
}

static int run_resubscribe(void)
{
    begin_publishing();
    open_all();
    await_readers(opt.conns);
    const uint64_t before = subscribed();
    restart_redis();
    const sample a = sample_now();
    uint64_t first_ns = 0, now_subscribed = 0;
    const uint64_t end = a.ns + 60000ull * MS;
    while (now_subscribed < before && now_ns() < end) {
        turns_until(now_ns() + 2 * MS);
        now_subscribed = subscribed();
        first_ns = first_ns == 0 && now_subscribed > 0 ? now_ns() : first_ns;
    }
    const sample b = sample_now();
    for (uint64_t i = 0; i < opt.conns; i++) {
        conns[i].heard = false;
    }
    count.heard = 0;
    const uint64_t heard_ns = await_readers(opt.conns);
    close_all();
    report_cpu(a, b, (double)opt.conns);
    result("until_first_s", (double)(first_ns - a.ns) / 1e9);
    result("resubscribe_s", (double)(b.ns - first_ns) / 1e9);
    result("all_hear_s", (double)(heard_ns - a.ns) / 1e9);
    return report_faults(0);
}

/* -- main -- */

static void prepare(void)
{
    struct rlimit files;
    opt.users = opt.users == 0 || opt.users > opt.conns ? opt.conns : opt.users;
    opt.active = opt.active == 0 || opt.active > opt.users ? opt.users : opt.active;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < opt.conns + 32) {
        die("%llu open files are too few", (unsigned long long)files.rlim_max);
    }
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)opt.port);
    if (inet_pton(AF_INET, opt.host, &server.sin_addr) != 1) {
        die("%s is no IPv4 address", opt.host);
    }
    const uint64_t seed = now_ns() * 0x9e3779b97f4a7c15u;
    memcpy(run, (const uint8_t *)&seed + 4, sizeof run);
    if (opt.secret != NULL) {
        tws_hmac_key_init(&token_key, opt.secret, strlen(opt.secret));
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    conns = (conn *)need_memory(opt.conns, sizeof *conns);
    for (uint64_t i = 0; i < opt.conns; i++) {
        conns[i].fd = -1;
        conns[i].index = (uint32_t)i;
        conns[i].user = (uint32_t)(i % opt.users);
        tws_buf_init(&conns[i].in, NULL, 1u << 20);
        tws_buf_init(&conns[i].out, NULL, 1u << 20);
        tws_buf_init(&conns[i].message, NULL, 1u << 24);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
        bool publishes;
    } modes[] = {
        {"echo", run_echo, false},        {"handshake", run_handshake, false},
        {"idle", run_idle, false},        {"fanout", run_fanout, true},
        {"catchup", run_catchup, true},   {"resubscribe", run_resubscribe, true},
    };
    opt.mode = argc > 1 ? argv[1] : "";
    read_options(argc, argv, mode_is("--help") ? 1 : 2, options, help);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (mode_is(modes[i].name)) {
            if (opt.port == 0 || opt.conns == 0 || opt.inflight == 0 ||
                (modes[i].publishes && opt.redis == 0 && !opt.http)) {
                die("%s needs more options; see --help", opt.mode);
            }
            prepare();
            return modes[i].run();
        }
    }
    fputs(help, stderr);
    return 2;
}
