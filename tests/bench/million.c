/* million.c: what a reader costs where no descriptor limit stands: a connection (conn), past its
 * handshake, and a reader of a topic of its own (hub), without sockets, from 1,000 to 1,000,000 in
 * one process. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <malloc.h>

#include "bench.h"

static const char help[] =
    "usage: million [--most N] [--events N] [--json]\n"
    "For 1,000, 10,000 ... N readers (1,000,000): bytes each, all counted; nanoseconds to connect\n"
    "and attach one, of an event from publishing to the bytes for the socket, and for each reader\n"
    "of a heartbeat, which is a ping to everybody and everybody's pong.\n";

typedef struct peer {
    tws_conn conn;
    tws_hub_reader reader;
} peer;

static const char request[] =
    "GET /api/v1/ws/tasks/1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

static tws_conn_desc desc;
static tws_turn turn;
static tws_hub *hub;
static tws_hub_inbox *inbox;
static uint64_t clock_ms = 1000000, bytes_out;

/* What is allocated, with what malloc puts around it. */
static size_t allocated;

static size_t cost_of(void *p)
{
    return p == NULL ? 0 : malloc_usable_size(p) + sizeof(size_t);
}

static void *count_resize(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    (void)context;
    (void)old_bytes;
    allocated -= cost_of(p);
    if (new_bytes == 0) {
        free(p);
        return NULL;
    }
    p = realloc(p, new_bytes);
    if (p == NULL) {
        die("no memory");
    }
    allocated += cost_of(p);
    return p;
}

static const tws_allocator counting = {count_resize, NULL};

static void on_wake(void *context)
{
    (void)context; /* one thread: it looks by itself */
}

/* Everything that the connection has to say, as if a socket took it all. */
static void write_all(peer *p)
{
    tws_str slices[TWS_TURN_SLICES];
    const size_t n = tws_conn_output(&p->conn, &turn, slices, TWS_TURN_SLICES);
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += slices[i].len;
    }
    tws_conn_sent(&p->conn, &turn, bytes);
    bytes_out += bytes;
}

static void connect_peer(peer *p)
{
    uint8_t data[sizeof request];
    tws_conn_event ev;
    const char *reason;
    tws_str key;
    memcpy(data, request, sizeof request);
    tws_conn_init(&p->conn, &desc, clock_ms);
    tws_conn_begin(&p->conn, &turn, clock_ms);
    tws_conn_feed(&p->conn, &turn, data, sizeof request - 1);
    if (tws_conn_next(&p->conn, &turn, &ev) != TWS_CONN_REQUEST ||
        tws_ws_check(&turn.request, &key, &reason) != 101) {
        die("no handshake");
    }
    tws_conn_accept(&p->conn, &turn, key, tws_str_c(""), NULL);
    write_all(p);
    tws_conn_end(&p->conn, &turn);
}

/* What the reader has not been given yet; how many events it was. */
static size_t deliver(peer *p)
{
    static tws_hub_batch batch;
    tws_str slices[TWS_EVENT_SLICES];
    size_t i = 0;
    tws_conn_begin(&p->conn, &turn, clock_ms);
    tws_hub_gather(&p->reader, &batch);
    for (; i < batch.count && tws_conn_offers(&p->conn, &turn); i++) {
        const size_t n = tws_event_wire(batch.event[i], TWS_FORMAT_ENVELOPE, slices);
        if (!tws_conn_offer(&p->conn, &turn, slices, n)) {
            break;
        }
    }
    write_all(p);
    i = tws_conn_end(&p->conn, &turn);
    tws_hub_advance(&p->reader, &batch, i);
    tws_hub_batch_free(&batch);
    return i;
}

static void attach(peer *p, uint64_t number)
{
    char user[24];
    snprintf(user, sizeof user, "%llu", (unsigned long long)number);
    connect_peer(p);
    if (tws_hub_attach(inbox, &p->reader, tws_str_c(user), NULL) != TWS_OK) {
        die("no memory for reader %s", user);
    }
    deliver(p);
}

/* Nanoseconds of one event for one of so many users. */
static double time_events(uint64_t readers, uint64_t events)
{
    static const char json[] =
        "{\"task_id\":\"t1\",\"status\":\"running\",\"progress\":42,\"name\":\"render video\","
        "\"message\":\"frame 1203 of 2864\",\"eta_s\":81.5}";
    uint64_t random = 1, delivered = 0;
    char user[24];
    const uint64_t begun = now_ns();
    for (uint64_t i = 0; i < events; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        snprintf(user, sizeof user, "%llu", (unsigned long long)((random >> 33) % readers));
        clock_ms += i % 1000 == 0;
        if (tws_hub_publish(hub, tws_str_c(user), tws_str_of(json, sizeof json - 1), clock_ms, NULL,
                            NULL) != TWS_OK) {
            die("an event is refused");
        }
        for (tws_hub_reader *r = tws_hub_news(inbox); r != NULL; r = tws_hub_news(inbox)) {
            delivered += deliver((peer *)(void *)((char *)r - offsetof(peer, reader)));
        }
    }
    if (delivered != events) {
        die("%llu of %llu events came", (unsigned long long)delivered, (unsigned long long)events);
    }
    return (double)(now_ns() - begun) / (double)events;
}

/* Nanoseconds for each reader of a ping to everybody and everybody's pong. */
static double time_heartbeat(peer *peers, uint64_t readers)
{
    static const uint8_t pong[6] = {0x8a, 0x80, 1, 2, 3, 4};
    tws_conn_event ev;
    uint8_t data[sizeof pong];
    const uint64_t begun = now_ns(), before = bytes_out;
    clock_ms += desc.heartbeat_ms + 1;
    for (uint64_t i = 0; i < readers; i++) {
        tws_conn_begin(&peers[i].conn, &turn, clock_ms);
        tws_conn_tick(&peers[i].conn, &turn, &ev);
        write_all(&peers[i]);
        tws_conn_end(&peers[i].conn, &turn);
    }
    for (uint64_t i = 0; i < readers; i++) {
        memcpy(data, pong, sizeof pong);
        tws_conn_begin(&peers[i].conn, &turn, clock_ms);
        tws_conn_feed(&peers[i].conn, &turn, data, sizeof data);
        tws_conn_next(&peers[i].conn, &turn, &ev);
        tws_conn_end(&peers[i].conn, &turn);
    }
    if (bytes_out - before < 2 * readers) {
        die("not everybody was pinged");
    }
    return (double)(now_ns() - begun) / (double)readers;
}

static void run(uint64_t readers, uint64_t events)
{
    tws_hub_desc h;
    memset(&h, 0, sizeof h);
    h.allocator = &counting;
    h.now_ms = clock_ms;
    h.hash_key[0] = 1;
    if (tws_hub_create(&hub, &h) != TWS_OK) {
        die("no hub");
    }
    inbox = tws_hub_inbox_create(hub, on_wake, NULL);
    const size_t before = allocated;
    const uint64_t begun = now_ns();
    peer *peers = (peer *)need_memory(readers, sizeof *peers);
    for (uint64_t i = 0; i < readers; i++) {
        attach(&peers[i], i);
    }
    const double attach_ns = (double)(now_ns() - begun) / (double)readers;
    const double bytes = (double)(allocated - before) + (double)(readers * sizeof *peers);
    const double event_ns = time_events(readers, events);
    const double sweep_ns = time_heartbeat(peers, readers);
    const double each = bytes / (double)readers;
    if (result_json) {
        char key[24];
        snprintf(key, sizeof key, "%llu", (unsigned long long)readers);
        result_begin(key);
        printf("{\"bytes_each\":%.6g,\"attach_ns\":%.6g,\"event_ns\":%.6g,\"sweep_ns\":%.6g}", each,
               attach_ns, event_ns, sweep_ns);
    } else {
        printf("%9llu readers: %5.0f bytes each, %5.0f ns to attach, %5.0f ns an event, "
               "%4.0f ns of a heartbeat\n", (unsigned long long)readers, each, attach_ns, event_ns, sweep_ns);
    }
    for (uint64_t i = 0; i < readers; i++) {
        tws_hub_detach(&peers[i].reader);
        tws_conn_free(&peers[i].conn);
    }
    free(peers);
    tws_hub_inbox_free(inbox);
    tws_hub_free(hub);
}

int main(int argc, char **argv)
{
    uint64_t most = 1000000, events = 300000;
    const option options[] = {{"--most", OPTION_NUMBER, &most},
                              {"--events", OPTION_NUMBER, &events},
                              {"--json", OPTION_FLAG, &result_json},
                              {NULL, OPTION_FLAG, NULL}};
    read_options(argc, argv, 1, options, help);
    desc.allocator = &counting;
    tws_conn_defaults(&desc);
    for (uint64_t readers = 1000; readers <= most; readers *= 10) {
        run(readers, events);
    }
    result_end();
    return 0;
}
