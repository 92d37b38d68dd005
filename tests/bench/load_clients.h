/* load_clients.h: load.c's connections: how they are opened, what they send, and whether what they
 * are given is right; and the loop that serves them. Reads `opt` of load.c. */
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define RECEIVE (256u << 10)
#define SEND (64u << 10)
#define SMALL 4096u        /* frames up to here are copied together, larger ones gathered */
#define GATHER 16          /* large frames in one write */
#define BURST (256u << 10) /* bytes that one connection sends before others have their turn */
#define FRONT 160          /* what a decoder leaves of incomplete input fits before a read */
#define CONNECTS 16        /* connections begun in one turn */

/* -- connections -- */

typedef enum conn_state { IDLE, CONNECTING, HANDSHAKE, OPEN, CLOSING, DONE } conn_state;

typedef struct conn {
    int fd;
    conn_state state;
    uint32_t index, user;
    bool wants_write;
    bool awaited;   /* its opening is not over: the 101, or with --first the first message */
    bool heard;     /* an event has come */
    bool got_close;
    uint64_t begun_ns;
    uint8_t nonce[16];
    tws_ws_decoder decoder;
    tws_buf in;      /* an incomplete head or frame */
    tws_buf out;     /* a request or control frames, to be sent between messages */
    tws_buf message; /* of an event that comes in pieces */
    /* echo: whole messages, and bytes of the one that is under way */
    uint64_t sent, received;
    size_t sent_bytes, received_bytes;
    uint64_t *sent_ns;
    /* fan-out */
    uint64_t next;   /* sequence number behind the highest one that came */
    uint64_t recent; /* bit n: next - 1 - n has come */
} conn;

static conn *conns;
static int epoll;
static struct sockaddr_in server;
static uint8_t input[FRONT + RECEIVE];
static uint8_t output[SEND + SMALL];
static uint8_t run[4]; /* random: this run's mask, and its mark in the events */

static enum { OPENING, WARMING, MEASURING, DRAINING } phase;

static struct {
    uint64_t begun, settled, open, failed;
    uint64_t heard, events; /* readers that have heard something; events of any kind */
    uint64_t wrong, ended; /* messages that are not what they should be; connections lost */
    uint64_t echoes, deliveries, unique, duplicates, disorder, misrouted;
    uint64_t bytes;        /* that came */
    uint64_t last_ns;      /* of an opening or a delivery */
    uint64_t first_delivery_ns;
    char what[200];        /* the first thing that was wrong */
} count;

static histogram to_101, to_first, latency;

__attribute__((format(printf, 3, 4)))
static void note(uint64_t *counter, const conn *c, const char *format, ...)
{
    *counter += 1;
    if (count.what[0] == '\0') {
        va_list list;
        va_start(list, format);
        int n = snprintf(count.what, sizeof count.what, "connection %u: ", c->index);
        vsnprintf(count.what + n, sizeof count.what - (size_t)n, format, list);
        va_end(list);
    }
}

static void want_write(conn *c, bool wants)
{
    if (c->wants_write != wants) {
        struct epoll_event e = {EPOLLIN | (wants ? (uint32_t)EPOLLOUT : 0u), {.ptr = c}};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
        c->wants_write = wants;
    }
}

static void drop(conn *c)
{
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    count.open -= c->state == OPEN || c->state == CLOSING;
    c->state = DONE;
    tws_buf_free(&c->in);
    tws_buf_free(&c->out);
    tws_buf_free(&c->message);
}

/* An opening is over, well or badly. */
static void settle(conn *c)
{
    count.settled += c->awaited;
    c->awaited = false;
}

/* What went wrong ends the connection. */
__attribute__((format(printf, 2, 3)))
static void fail(conn *c, const char *format, ...)
{
    char text[150];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (c->state == CLOSING) {
        drop(c); /* how it ends is its own affair */
        return;
    }
    note(c->awaited ? &count.failed : &count.ended, c, "%s", text);
    settle(c);
    drop(c);
}

/* -- echo: what is sent --
 * 16 hexadecimal digits, of the connection and the message, or the last of them, and then a piece
 * of one long pattern that begins somewhere else for every message. It is masked beforehand. */

#define PATTERN 4096u
static uint8_t *pattern, *masked;
static uint8_t header[TWS_WS_MAX_HEADER];
static size_t header_len, frame_len, tag_len;
static char hex[256][2]; /* of each byte, its two digits */

static size_t pattern_at(const conn *c, uint64_t message)
{
    return (size_t)(c->index * 12u + message * 20u) % PATTERN & ~(size_t)3;
}

static void write_tag(const conn *c, uint64_t message, uint8_t tag[16])
{
    uint64_t n = (uint64_t)c->index << 40 | (message & 0xffffffffffu);
    for (size_t i = 16; i > 0; i -= 2, n >>= 8) {
        memcpy(tag + i - 2, hex[n & 255], 2);
    }
}

static void make_pattern(void)
{
    const uint8_t mask[4] = {run[0], run[1], run[2], run[3]};
    const size_t len = PATTERN + opt.size;
    uint32_t random = 1;
    pattern = (uint8_t *)need_memory(len, 1);
    masked = (uint8_t *)need_memory(len, 1);
    for (size_t i = 0; i < len; i++) {
        random = random * 1664525u + 1013904223u;
        pattern[i] = (uint8_t)(opt.text ? '!' + (random >> 8) % 94 : random >> 24);
    }
    for (size_t i = 0; i < 256; i++) {
        hex[i][0] = "0123456789abcdef"[i >> 4];
        hex[i][1] = "0123456789abcdef"[i & 15];
    }
    memcpy(masked, pattern, len);
    if (!opt.tcp) {
        tws_ws_mask(masked, len, mask, 0);
        header_len = tws_ws_header(header, true, opt.text ? TWS_WS_TEXT : TWS_WS_BINARY, opt.size,
                                   mask);
    }
    frame_len = header_len + opt.size;
    tag_len = opt.size < 16 ? opt.size : 16;
}

/* The frame's header and its tag; the rest of it stands at *rest. Returns their length. */
static size_t frame_begin(const conn *c, uint64_t message, uint8_t *out, const uint8_t **rest)
{
    uint8_t tag[16];
    write_tag(c, message, tag);
    memcpy(out, header, header_len);
    memcpy(out + header_len, tag + 16 - tag_len, tag_len);
    if (!opt.tcp) {
        tws_ws_mask(out + header_len, tag_len, run, 0);
    }
    *rest = masked + pattern_at(c, message) + tag_len;
    return header_len + tag_len;
}

static ssize_t send_small(const conn *c, uint64_t until, size_t *wanted)
{
    const uint8_t *rest;
    size_t len = 0;
    for (uint64_t m = c->sent; m < until && len + frame_len <= SEND; m++) {
        size_t begin = frame_begin(c, m, output + len, &rest);
        memcpy(output + len + begin, rest, opt.size - tag_len);
        len += frame_len;
    }
    *wanted = len - c->sent_bytes;
    return send(c->fd, output + c->sent_bytes, *wanted, MSG_NOSIGNAL);
}

static ssize_t send_large(const conn *c, uint64_t until, size_t *wanted)
{
    uint8_t begins[GATHER][TWS_WS_MAX_HEADER + 16];
    struct iovec slices[2 * GATHER];
    size_t count_of = 0, first = 0, skip = c->sent_bytes;
    const uint8_t *rest;
    *wanted = 0;
    for (uint64_t m = c->sent; m < until && count_of < 2 * GATHER && *wanted < BURST; m++) {
        slices[count_of].iov_base = begins[count_of / 2];
        slices[count_of].iov_len = frame_begin(c, m, begins[count_of / 2], &rest);
        slices[count_of + 1].iov_base = (void *)(uintptr_t)rest;
        slices[count_of + 1].iov_len = opt.size - tag_len;
        *wanted += frame_len;
        count_of += 2;
    }
    while (skip >= slices[first].iov_len) {
        skip -= slices[first++].iov_len;
    }
    slices[first].iov_base = (uint8_t *)slices[first].iov_base + skip;
    slices[first].iov_len -= skip;
    *wanted -= c->sent_bytes;
    struct msghdr m = {.msg_iov = slices + first, .msg_iovlen = count_of - first};
    return sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

/* Messages below this number may be sent now; one that was begun is always finished. */
static uint64_t may_send(const conn *c)
{
    const bool runs = phase == WARMING || phase == MEASURING;
    return runs ? c->received + opt.inflight : c->sent + (c->sent_bytes > 0);
}

/* False when the connection has failed or the socket takes no more. */
static bool pump_echo(conn *c, uint64_t now)
{
    size_t wanted, burst = 0;
    for (uint64_t until = may_send(c); c->sent < until; burst += wanted) {
        if (burst >= BURST) {
            want_write(c, true);
            return false;
        }
        ssize_t n = frame_len <= SMALL ? send_small(c, until, &wanted)
                                       : send_large(c, until, &wanted);
        if (n < 0 && errno != EAGAIN) {
            fail(c, "send: %s", strerror(errno));
            return false;
        }
        const size_t bytes = c->sent_bytes + (n > 0 ? (size_t)n : 0);
        for (uint64_t m = c->sent + (c->sent_bytes > 0); m < c->sent + (bytes + frame_len - 1) /
             frame_len; m++) {
            c->sent_ns[m % opt.inflight] = now;
        }
        c->sent += bytes / frame_len;
        c->sent_bytes = bytes % frame_len;
        if (n < (ssize_t)wanted) {
            want_write(c, true);
            return false;
        }
    }
    return true;
}

/* Sends what there is to send. */
static void pump(conn *c, uint64_t now)
{
    if (c->out.len > 0 && c->sent_bytes == 0) {
        ssize_t n = send(c->fd, c->out.ptr, c->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            fail(c, "send: %s", strerror(errno));
            return;
        }
        tws_buf_consume(&c->out, n > 0 ? (size_t)n : 0);
        if (c->out.len > 0) {
            want_write(c, true);
            return;
        }
        tws_buf_free(&c->out);
    }
    if (c->sent_ns == NULL || c->state != OPEN || pump_echo(c, now)) {
        if (c->fd >= 0) {
            want_write(c, false);
        }
    }
}

/* -- echo: what comes back -- */

/* A piece of an echo; false when it is not what was sent. */
static bool check_echo(conn *c, const uint8_t *p, size_t n, bool last, uint64_t now)
{
    const uint8_t *body = pattern + pattern_at(c, c->received);
    size_t at = c->received_bytes;
    uint8_t tag[16];
    bool same = at + n <= opt.size && c->received < c->sent + (c->sent_bytes > 0) &&
                (!last || at + n == opt.size);
    if (same && at < tag_len) {
        const size_t some = tag_len - at < n ? tag_len - at : n;
        write_tag(c, c->received, tag);
        same = memcmp(p, tag + 16 - tag_len + at, some) == 0;
        p += some;
        n -= some;
        at += some;
    }
    if (!same || memcmp(p, body + at, n) != 0) {
        note(&count.wrong, c, "echo %llu differs", (unsigned long long)c->received);
        return false;
    }
    c->received_bytes = at + n;
    if (last) {
        if (phase == MEASURING) {
            record(&latency, now - c->sent_ns[c->received % opt.inflight]);
            count.echoes++;
        }
        c->received++;
        c->received_bytes = 0;
    }
    return true;
}

static void take_tcp(conn *c, const uint8_t *p, size_t n, uint64_t now)
{
    while (n > 0) {
        const size_t left = opt.size - c->received_bytes, some = left < n ? left : n;
        if (!check_echo(c, p, some, some == left, now)) {
            drop(c);
            return;
        }
        p += some;
        n -= some;
    }
}

/* -- fan-out: events --
 * {"task_id":"t7",...,"tag":"RUN:KIND:USER:NUMBER:NANOSECONDS;",...}: KIND 0 of those that ask
 * whether a reader hears, 1 of those that count, numbered from 0 for each user. */

static char mark[] = "\"tag\":\"00000000:";
static uint64_t *published; /* of each user; NULL: this mode publishes nothing */

/* Once, in order? Of what comes behind its successors the last 64 are remembered. */
static void check_order(conn *c, uint64_t number)
{
    if (number >= c->next) {
        const uint64_t step = number - c->next + 1;
        c->recent = (step < 64 ? c->recent << step : 0) | 1;
        c->next = number + 1;
        count.unique++;
        return;
    }
    const uint64_t back = c->next - 1 - number;
    if (back < 64 && (c->recent >> back & 1) == 0) {
        c->recent |= (uint64_t)1 << back;
        count.unique++;
        note(&count.disorder, c, "event %llu is late", (unsigned long long)number);
    } else {
        note(&count.duplicates, c, "event %llu came again", (unsigned long long)number);
    }
}

static void take_event(conn *c, const uint8_t *p, size_t n, uint64_t now)
{
    const char *tag = (const char *)memmem(p, n, mark, sizeof mark - 1);
    unsigned long long kind, user, number, ns;
    if (tag == NULL) {
        return; /* a message of the server's own, or of an earlier run */
    }
    /* The text ends before the slice does: `;` stops every number. */
    char *at = (char *)(uintptr_t)tag + sizeof mark - 1;
    kind = strtoull(at, &at, 10);
    user = strtoull(at + 1, &at, 10);
    number = strtoull(at + 1, &at, 10);
    ns = strtoull(at + 1, &at, 10);
    if (user != c->user) {
        note(&count.misrouted, c, "got an event of user %llu", user);
        return;
    }
    count.events++;
    count.heard += !c->heard;
    c->heard = true;
    if (kind == 1) {
        count.first_delivery_ns = count.deliveries == 0 ? now : count.first_delivery_ns;
        count.last_ns = now;
        count.deliveries++;
        record(&latency, now - ns);
        check_order(c, number);
    }
}

/* -- fan-out: compressed events --
 * All readers of an event are given the same bytes: they are inflated once, kept, and compared with
 * what the others are given, so that every delivery is checked and the server stays the slower. */

#define SETS 256u /* of texts: a new one takes the place of the oldest of its set */
#define WAYS 8u

typedef struct text {
    tws_buf packed, plain;
} text;
static struct {
    text text[WAYS];
    unsigned next;
} texts[SETS];

/* Where these bytes are kept, or else are to be. */
static text *text_place(const uint8_t *p, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; n >= 8 && i < 4; i++) {
        uint64_t word;
        memcpy(&word, p + (n - 8) * i / 3, sizeof word);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
    }
    const unsigned set = (unsigned)(h >> 56);
    for (unsigned i = 0; i < WAYS; i++) {
        text *t = &texts[set].text[i];
        if (t->packed.len == n && memcmp(t->packed.ptr, p, n) == 0) {
            return t;
        }
    }
    return &texts[set].text[texts[set].next++ % WAYS];
}

static bool inflate(text *t)
{
    static uint8_t memory[1u << 20];
    static tws_inflater z;
    tws_inflate_window window;
    tws_inflate_event ev;
    tws_inflate_flat(&window, memory, sizeof memory, TWS_WS_MAX_WINDOW_BITS);
    tws_inflate_begin(&z, &window);
    tws_inflate_decode(&z, (const uint8_t *)t->packed.ptr, t->packed.len, &ev);
    if (ev.type == TWS_INFLATE_MORE) {
        tws_inflate_finish(&z, &ev);
    }
    tws_buf_put(&t->plain, memory, window.at);
    return ev.type == TWS_INFLATE_END && t->plain.status == TWS_OK;
}

/* False when the bytes are no message. */
static bool take_packed(conn *c, const uint8_t *p, size_t n, uint64_t now)
{
    text *t = text_place(p, n);
    if (t->packed.len != n || memcmp(t->packed.ptr, p, n) != 0) { /* seen for the first time */
        tws_buf_free(&t->packed);
        tws_buf_free(&t->plain);
        tws_buf_init(&t->packed, NULL, 1u << 24);
        tws_buf_init(&t->plain, NULL, 1u << 24);
        tws_buf_put(&t->packed, p, n);
        if (!inflate(t)) {
            return false;
        }
    }
    take_event(c, (const uint8_t *)t->plain.ptr, t->plain.len, now);
    return true;
}

/* A whole message. */
static bool take_message(conn *c, bool packed, const uint8_t *p, size_t n, uint64_t now)
{
    if (packed) {
        return take_packed(c, p, n, now);
    }
    take_event(c, p, n, now);
    return true;
}

/* -- WebSocket: what comes -- */

static void put_control(conn *c, tws_ws_opcode opcode, const uint8_t *payload, size_t len)
{
    uint8_t frame[TWS_WS_MAX_HEADER + 125];
    const size_t begin = tws_ws_header(frame, true, opcode, len, run);
    memcpy(frame + begin, payload, len);
    tws_ws_mask(frame + begin, len, run, 0);
    tws_buf_put(&c->out, frame, begin + len);
}

static void begin_close(conn *c)
{
    uint8_t payload[125];
    if (c->state != OPEN) {
        return;
    }
    c->state = CLOSING;
    if (opt.tcp) {
        shutdown(c->fd, SHUT_WR);
        return;
    }
    put_control(c, TWS_WS_CLOSE, payload, tws_ws_close_payload(payload, 1000, tws_str_c("")));
    pump(c, now_ns());
}

static bool take_data(conn *c, const tws_ws_event *ev, uint64_t now)
{
    if (c->awaited) { /* the first message, with --first */
        static const char refusal[] = "\"type\":\"error\"";
        if (memmem(ev->payload, ev->len, refusal, sizeof refusal - 1) != NULL) {
            return false;
        }
        record(&to_first, now - c->begun_ns);
        count.last_ns = now;
        settle(c);
    }
    if (c->sent_ns != NULL) {
        const bool kind = ev->opcode == (opt.text ? TWS_WS_TEXT : TWS_WS_BINARY);
        return kind && check_echo(c, ev->payload, ev->len, ev->last, now);
    }
    if (published == NULL) {
        return true;
    }
    if (ev->first && ev->last) {
        return take_message(c, ev->compressed, ev->payload, ev->len, now);
    }
    tws_buf_put(&c->message, ev->payload, ev->len);
    bool good = c->message.status == TWS_OK;
    if (ev->last) {
        good = good && take_message(c, ev->compressed, (const uint8_t *)c->message.ptr,
                                    c->message.len, now);
        tws_buf_free(&c->message);
    }
    return good;
}

/* False when the connection is over. */
static bool take_frame(conn *c, const tws_ws_event *ev, uint64_t now)
{
    switch (ev->type) {
    case TWS_WS_DATA:
        if (!take_data(c, ev, now)) {
            fail(c, "a message is not as it should be");
            return false;
        }
        return true;
    case TWS_WS_GOT_PING:
        put_control(c, TWS_WS_PONG, ev->payload, ev->len);
        return true;
    case TWS_WS_GOT_CLOSE:
        if (c->state != CLOSING) {
            fail(c, "closed with %u", ev->code);
            return false;
        }
        c->got_close = true;
        return true;
    case TWS_WS_ERROR:
        fail(c, "protocol: %s", ev->reason);
        return false;
    default:
        return true;
    }
}

/* Returns what was taken. */
static size_t take_frames(conn *c, uint8_t *p, size_t n, uint64_t now)
{
    tws_ws_event ev;
    size_t taken = 0;
    do {
        taken += tws_ws_decode(&c->decoder, p + taken, n - taken, &ev);
        if (!take_frame(c, &ev, now)) {
            return n;
        }
    } while (ev.type != TWS_WS_MORE);
    return taken;
}

static void opened(conn *c, uint64_t now)
{
    record(&to_101, now - c->begun_ns);
    c->state = OPEN;
    count.open++;
    tws_ws_init(&c->decoder, TWS_WS_CLIENT, 0, 0);
    if (opt.deflate) {
        const tws_ws_compression terms = {TWS_WS_MAX_WINDOW_BITS, false, 0, 0};
        tws_ws_allow_compressed(&c->decoder, &terms);
    }
    count.last_ns = now;
    if (!opt.first) {
        settle(c);
    }
}

#define DEFLATE_OFFER "Sec-WebSocket-Extensions: permessage-deflate; " \
    "server_no_context_takeover; client_no_context_takeover\r\n"

/* False when the server does not agree. Its answer is taken out: taskws.h's client offers nothing,
 * and so is to refuse it. */
static bool agree_on_deflate(tws_http_response *r)
{
    for (size_t i = 0; i < r->field_count; i++) {
        if (tws_str_eq_nocase(r->field[i].name, tws_str_c("sec-websocket-extensions"))) {
            const tws_str terms = r->field[i].value;
            r->field[i] = r->field[--r->field_count];
            return tws_str_starts(terms, "permessage-deflate; server_no_context_takeover");
        }
    }
    return false;
}

/* Returns what was taken. */
static size_t take_head(conn *c, const uint8_t *p, size_t n, uint64_t now)
{
    static tws_http_response response;
    const char *reason;
    switch (tws_http_parse_response(&response, (const char *)p, n)) {
    case TWS_HTTP_MORE:
        return 0;
    case TWS_HTTP_ERROR:
        fail(c, "%s", response.reason);
        return n;
    default:
        break;
    }
    if (opt.deflate && response.status == 101 && !agree_on_deflate(&response)) {
        fail(c, "the server does not agree on compression");
        return n;
    }
    if (!tws_ws_check_response(&response, c->nonce, &reason)) {
        fail(c, "answered %d: %s", response.status, reason);
        return n;
    }
    opened(c, now);
    return response.head_bytes;
}

static void take(conn *c, uint8_t *p, size_t n, uint64_t now)
{
    size_t taken = 0;
    if (opt.tcp) {
        take_tcp(c, p, n, now);
        return;
    }
    if (c->state == HANDSHAKE) {
        taken = take_head(c, p, n, now);
    }
    if (c->state == OPEN || c->state == CLOSING) {
        taken += take_frames(c, p + taken, n - taken, now);
    }
    if (c->state != DONE && taken < n) {
        tws_buf_put(&c->in, p + taken, n - taken);
    }
}

static void receive(conn *c)
{
    uint8_t *begin = input + FRONT;
    ssize_t n = recv(c->fd, begin, RECEIVE, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n <= 0) {
        if (c->state == CLOSING) {
            drop(c);
        } else {
            fail(c, "%s", n == 0 ? "the server ended it" : strerror(errno));
        }
        return;
    }
    count.bytes += (uint64_t)n;
    if (c->in.len > FRONT) { /* only of a head */
        fail(c, "a head in pieces is too long");
        return;
    }
    if (c->in.len > 0) {
        begin -= c->in.len;
        memcpy(begin, c->in.ptr, c->in.len);
        n += (ssize_t)c->in.len;
        tws_buf_free(&c->in);
    }
    const uint64_t now = now_ns();
    take(c, begin, (size_t)n, now);
    if (c->fd >= 0) {
        pump(c, now);
    }
}

/* -- opening -- */

static tws_hmac_key token_key;

/* sub, exp an hour from now, and what follows a comma. */
static void put_token(tws_buf *b, uint32_t user, const char *more)
{
    char payload[200];
    snprintf(payload, sizeof payload, "{\"sub\":\"%u\",\"exp\":%lld%s}", user,
             (long long)time(NULL) + 3600, more);
    tws_jwt_sign(b, &token_key, tws_str_c(""), tws_str_c(payload));
}

static void put_path(tws_buf *b, const conn *c)
{
    for (const char *p = opt.path; *p != '\0';) {
        if (strncmp(p, "{u}", 3) == 0) {
            tws_buf_u64(b, c->user);
            p += 3;
        } else if (strncmp(p, "{i}", 3) == 0) {
            tws_buf_u64(b, c->index);
            p += 3;
        } else if (strncmp(p, "{token}", 7) == 0) {
            char more[60];
            snprintf(more, sizeof more, ",\"jti\":\"%02x%02x%02x%02x-%u\"", run[0], run[1], run[2],
                     run[3], c->index);
            put_token(b, c->user, more);
            p += 7;
        } else {
            tws_buf_char(b, *p++);
        }
    }
}

static void request(conn *c)
{
    char memory[4096], host[40];
    tws_buf target;
    tws_buf_fixed(&target, memory, sizeof memory);
    put_path(&target, c);
    snprintf(host, sizeof host, "%s:%u", opt.host, (unsigned)opt.port);
    for (size_t i = 0; i < sizeof c->nonce; i++) {
        c->nonce[i] = (uint8_t)(run[i & 3] + (c->index >> (i & 3) * 8) * (i + 1));
    }
    tws_ws_request(&c->out, tws_str_c(host), tws_buf_view(&target), c->nonce,
                   opt.deflate ? DEFLATE_OFFER : NULL);
    c->state = HANDSHAKE;
    pump(c, now_ns());
}

static void on_connected(conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    struct epoll_event e = {EPOLLIN, {.ptr = c}};
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error != 0) {
        fail(c, "connect: %s", strerror(error));
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
    if (opt.tcp) {
        opened(c, now_ns());
    } else {
        request(c);
    }
}

/* Every 10,000 connections have an address of 127.0.0.0/8, for ports are 28,000 only. */
static bool bind_source(int fd, uint32_t index)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    const int one = 1;
    if (opt.conns <= 10000 || ntohl(server.sin_addr.s_addr) >> 24 != 127) {
        return true;
    }
    source.sin_addr.s_addr = htonl(0x7f000001u + index / 10000);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    return bind(fd, (const struct sockaddr *)&source, sizeof source) == 0;
}

static void begin(conn *c)
{
    const int one = 1;
    struct epoll_event e = {EPOLLOUT, {.ptr = c}};
    c->begun_ns = now_ns();
    c->awaited = true;
    c->state = CONNECTING;
    count.begun++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || !bind_source(c->fd, c->index)) {
        fail(c, "socket: %s", strerror(errno));
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (const struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS) {
        fail(c, "connect: %s", strerror(errno));
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

/* -- the loop -- */

/* What else stands in the epoll set. */
typedef struct guest {
    void (*on_ready)(uint32_t events);
} guest;
static guest publisher_guest, clock_guest;

static void on_event(conn *c, uint32_t events)
{
    if (c->state == CONNECTING) {
        on_connected(c);
        return;
    }
    if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive(c);
    }
    if (c->fd >= 0 && (events & EPOLLOUT) != 0) {
        pump(c, now_ns());
    }
}

static void turn(int timeout_ms)
{
    struct epoll_event ready[512];
    int n = epoll_wait(epoll, ready, 512, timeout_ms);
    for (int i = 0; i < n; i++) {
        void *p = ready[i].data.ptr;
        if (p == &publisher_guest || p == &clock_guest) {
            ((guest *)p)->on_ready(ready[i].events);
        } else {
            on_event((conn *)p, ready[i].events);
        }
    }
}

static void turns_until(uint64_t end)
{
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        turn((int)((end - now) / MS) + 1);
    }
}

static void open_all(void)
{
    const uint64_t end = now_ns() + 60000ull * MS;
    while (count.settled < opt.conns && now_ns() < end) {
        for (size_t i = 0; i < CONNECTS && count.begun < opt.conns &&
             count.begun - count.settled < opt.concurrency; i++) {
            begin(&conns[count.begun]);
        }
        const bool more = count.begun < opt.conns &&
                          count.begun - count.settled < opt.concurrency;
        turn(more ? 0 : 100);
    }
    count.failed += opt.conns - count.settled;
}

static void close_all(void)
{
    const uint64_t end = now_ns() + 5000ull * MS;
    for (uint64_t i = 0; i < opt.conns; i++) {
        begin_close(&conns[i]);
    }
    while (count.open > 0 && now_ns() < end) {
        turn(100);
    }
}
