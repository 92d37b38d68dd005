/* load_publisher.h: how load.c publishes, over Redis or HTTP: one connection, written and read as
 * the loop goes. Include it behind load_clients.h. */
#include <fcntl.h>

#define CHANNEL "task_status:"
#define POST_TARGET "/api/v1/ws/tasks/"

static struct {
    int fd;
    bool wants_write;
    tws_buf out, in, body;
    tws_resp_decoder decoder;
    char sha[2 * TWS_SHA1_BYTES + 1]; /* of the script */
    char token[400];
    uint64_t asked, answered;
    uint64_t last_integer; /* among the answers */
} pub;

static int connect_to(uint64_t port)
{
    struct sockaddr_in a = server;
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_port = htons((uint16_t)port);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void flush_publisher(void)
{
    while (pub.out.len > 0) {
        ssize_t n = send(pub.fd, pub.out.ptr, pub.out.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            die("the connection for publishing broke: %s", strerror(errno));
        }
        if (n < 0) {
            break;
        }
        tws_buf_consume(&pub.out, (size_t)n);
    }
    if (pub.wants_write != (pub.out.len > 0)) {
        pub.wants_write = !pub.wants_write;
        struct epoll_event e = {EPOLLIN | (pub.wants_write ? (uint32_t)EPOLLOUT : 0u),
                                {.ptr = &publisher_guest}};
        epoll_ctl(epoll, EPOLL_CTL_MOD, pub.fd, &e);
    }
}

/* Returns what was taken. */
static size_t take_replies(const char *p, size_t n)
{
    tws_resp_event ev;
    size_t taken = 0;
    do {
        taken += tws_resp_decode(&pub.decoder, p + taken, n - taken, &ev);
        if (ev.type == TWS_RESP_ERROR || ev.type == TWS_RESP_SERVER_ERROR) {
            die("Redis: %.*s", (int)ev.text.len, ev.text.ptr);
        }
        /* INFO answers a text; its number of channels is what one asks it for. */
        const char *channels = ev.type == TWS_RESP_BULK && ev.text.len > 0
            ? (const char *)memmem(ev.text.ptr, ev.text.len, "pubsub_channels:", 16) : NULL;
        if (channels != NULL) {
            pub.last_integer = strtoull(channels + 16, NULL, 10);
        }
        pub.answered += ev.done;
    } while (ev.type != TWS_RESP_MORE);
    return taken;
}

static size_t take_answers(const char *p, size_t n)
{
    static tws_http_response response;
    size_t taken = 0;
    while (tws_http_parse_response(&response, p + taken, n - taken) == TWS_HTTP_DONE) {
        const size_t whole = response.head_bytes + (size_t)response.content_length;
        if (n - taken < whole) {
            break;
        }
        if (response.status != 202) {
            die("a POST was answered %d: %.*s", response.status, (int)response.content_length,
                p + taken + response.head_bytes);
        }
        taken += whole;
        pub.answered += opt.batch;
    }
    return taken;
}

static void on_publisher(uint32_t events)
{
    if ((events & EPOLLOUT) != 0) {
        flush_publisher();
    }
    char *to = tws_buf_reserve(&pub.in, SEND);
    ssize_t n = recv(pub.fd, to, SEND, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        die("the connection for publishing ended");
    }
    if (n > 0) {
        tws_buf_add(&pub.in, (size_t)n);
        tws_buf_consume(&pub.in, opt.http ? take_answers(pub.in.ptr, pub.in.len)
                                          : take_replies(pub.in.ptr, pub.in.len));
    }
}

static void command(size_t words, ...)
{
    va_list list;
    va_start(list, words);
    tws_resp_command(&pub.out, words);
    for (size_t i = 0; i < words; i++) {
        tws_resp_word_c(&pub.out, va_arg(list, const char *));
    }
    va_end(list);
    pub.asked++;
}

static void await_answers(void)
{
    const uint64_t end = now_ns() + 60000ull * MS;
    flush_publisher();
    while (pub.answered < pub.asked) {
        if (now_ns() > end) {
            die("what was published was not answered");
        }
        turn(100);
    }
}

static bool connect_publisher(void)
{
    struct epoll_event e = {EPOLLIN, {.ptr = &publisher_guest}};
    /* A bulk string comes whole, for INFO's sake. */
    static const tws_resp_limits limits = {0, 0, 65536};
    pub.fd = connect_to(opt.http ? opt.port : opt.redis);
    if (pub.fd < 0) {
        return false;
    }
    pub.wants_write = false;
    pub.asked = pub.answered = 0;
    tws_buf_init(&pub.in, NULL, 1u << 30);
    tws_buf_init(&pub.out, NULL, 1u << 30);
    tws_buf_init(&pub.body, NULL, 1u << 30);
    tws_resp_init(&pub.decoder, &limits);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pub.fd, &e);
    return true;
}

static void disconnect_publisher(void)
{
    close(pub.fd);
    tws_buf_free(&pub.in);
    tws_buf_free(&pub.out);
    tws_buf_free(&pub.body);
}

static void begin_publishing(void)
{
    tws_buf b;
    uint8_t sha[TWS_SHA1_BYTES];
    snprintf(mark, sizeof mark, "\"tag\":\"%02x%02x%02x%02x:", run[0], run[1], run[2], run[3]);
    published = (uint64_t *)need_memory(opt.users, sizeof *published);
    publisher_guest.on_ready = on_publisher;
    tws_buf_fixed(&b, pub.token, sizeof pub.token - 1);
    put_token(&b, 0, ",\"scope\":\"publish\"");
    if (!connect_publisher()) {
        die("nobody listens on the port for publishing");
    }
    if (opt.durable) {
        const char *script = tws_redis_script();
        tws_sha1(script, strlen(script), sha);
        for (size_t i = 0; i < sizeof sha; i++) {
            snprintf(pub.sha + 2 * i, 3, "%02x", sha[i]);
        }
        command(3, "SCRIPT", "LOAD", script);
        await_answers();
    }
}

/* -- events -- */

static void write_event(tws_buf *b, uint32_t user, bool counts, uint64_t now)
{
    const size_t begin = b->len;
    tws_buf_c(b, "{\"task_id\":\"t");
    tws_buf_u64(b, user);
    tws_buf_c(b, "\",\"status\":\"running\",");
    tws_buf_c(b, mark);
    tws_buf_c(b, counts ? "1:" : "0:");
    tws_buf_u64(b, user);
    tws_buf_char(b, ':');
    tws_buf_u64(b, counts ? published[user]++ : 0);
    tws_buf_char(b, ':');
    tws_buf_u64(b, now);
    tws_buf_c(b, ";\",\"pad\":\"");
    while (b->len - begin + 2 < opt.size) {
        const size_t missing = opt.size - 2 - (b->len - begin);
        tws_buf_put(b, "abcdefghijklmnopqrstuvwxyz", missing < 26 ? missing : 26);
    }
    tws_buf_c(b, "\"}");
}

static void publish_redis(uint32_t user, bool counts, uint64_t now)
{
    char channel[40];
    snprintf(channel, sizeof channel, CHANNEL "%u", user);
    tws_buf_clear(&pub.body);
    write_event(&pub.body, user, counts, now);
    tws_resp_command(&pub.out, opt.durable ? 5 : 3);
    tws_resp_word_c(&pub.out, opt.durable ? "EVALSHA" : "PUBLISH");
    if (opt.durable) {
        tws_resp_word_c(&pub.out, pub.sha);
        tws_resp_word_c(&pub.out, "1");
    }
    tws_resp_word_c(&pub.out, channel);
    tws_resp_word(&pub.out, tws_buf_view(&pub.body));
    pub.asked++;
}

static void publish_http(uint32_t user, bool counts, uint64_t now)
{
    char head[700];
    tws_buf_clear(&pub.body);
    for (uint64_t i = 0; i < opt.batch; i++) {
        write_event(&pub.body, user, counts, now);
        tws_buf_char(&pub.body, '\n');
    }
    snprintf(head, sizeof head,
             "POST " POST_TARGET "%u HTTP/1.1\r\nHost: load\r\nAuthorization: Bearer %s\r\n"
             "Content-Type: application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
             user, pub.token, pub.body.len);
    tws_buf_c(&pub.out, head);
    tws_buf_str(&pub.out, tws_buf_view(&pub.body));
    pub.asked += opt.batch;
}

static void publish(uint32_t user, bool counts, uint64_t now)
{
    if (opt.http) {
        publish_http(user, counts, now);
    } else {
        publish_redis(user, counts, now);
    }
    if (pub.out.status != TWS_OK || pub.body.status != TWS_OK) {
        die("no memory to publish");
    }
}

/* Readers that should hear: those of the active users. */
static uint64_t active_readers(void)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < opt.conns; i++) {
        n += conns[i].user < opt.active;
    }
    return n;
}

/* Publish until every reader has heard something: subscribing takes its time. When that was. */
static uint64_t await_readers(uint64_t readers)
{
    const uint64_t end = now_ns() + 30000ull * MS;
    for (uint64_t round = 20 * MS; count.heard < readers && now_ns() < end; round *= 2) {
        for (uint64_t i = 0; i < opt.conns; i++) {
            const bool first = i == 0 || conns[i].user > conns[i - 1].user;
            if (conns[i].user < opt.active && (first || opt.users == opt.conns) &&
                !conns[i].heard) {
                publish(conns[i].user, false, now_ns());
            }
        }
        flush_publisher();
        const uint64_t again = now_ns() + round;
        while (count.heard < readers && now_ns() < again) {
            turn(1);
        }
    }
    if (count.heard < readers) {
        die("%llu of %llu readers hear nothing", (unsigned long long)(readers - count.heard),
            (unsigned long long)readers);
    }
    const uint64_t heard_ns = now_ns();
    await_answers();
    /* What was published again and again must not be under way when measuring begins. */
    for (uint64_t seen = UINT64_MAX; seen != count.events;) {
        seen = count.events;
        turns_until(now_ns() + 200 * MS);
    }
    return heard_ns;
}
