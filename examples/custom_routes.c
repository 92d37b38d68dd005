/* custom_routes.c: the endpoint in a server of yours: an HTTP route, a WebSocket endpoint, and your
 * own rule for who may read what, answered later from a thread that is allowed to block.
 * TASKWS_SECRET=... build/custom_routes [port] */
#define TASKWS_IMPLEMENTATION
#include "taskws.h"

/* -- GET /hello/{name} -- */

static void on_hello(tws_peer *p, const tws_http_request *request, void *context)
{
    char name[64], body[96];
    size_t len = 0;
    (void)request;
    (void)context;
    if (tws_http_decode(tws_peer_param(p, 0), false, name, sizeof name, &len) != TWS_OK) {
        tws_peer_respond_error(p, 400, NULL, "bad_request", "that is no name");
        return;
    }
    int n = snprintf(body, sizeof body, "Hello, %.*s!\n", (int)len, name);
    tws_peer_respond(p, 200, NULL, "text/plain; charset=utf-8", tws_str_of(body, (size_t)n));
}

/* -- a WebSocket at /shout: sends text back in capitals; open to anybody, without a token -- */

static void on_shout(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len)
{
    for (size_t i = 0; opcode == TWS_WS_TEXT && i < len; i++) {
        payload[i] = payload[i] >= 'a' && payload[i] <= 'z' ? (uint8_t)(payload[i] - 32) : payload[i];
    }
    tws_peer_send_borrowed(p, opcode, payload, len); /* a received payload outlives the callback */
}

static const tws_peer_ops shout = {on_shout, NULL, NULL, NULL, NULL, NULL};

/* -- who may read what: team members see each other's tasks -- */

typedef struct lookup {
    tws_task_server *ts;
    uint64_t ticket;
    bool same_team;
} lookup;

static tws_task_server *endpoint;
static unsigned looking_up; /* threads that will use it */

/* Stands for a query to a database: slow, and in a thread of its own. */
static void *look_up(void *arg)
{
    lookup *l = (lookup *)arg;
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, NULL);
    while (tws_task_server_answer(l->ts, l->ticket, l->same_team) == TWS_ERR_MEMORY) {
        nanosleep(&pause, NULL); /* it may be there in a moment; the client waits */
    }
    free(l);
    __atomic_sub_fetch(&looking_up, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* A team is what stands before the dash: red-1 and red-2 are in one. */
static tws_str team_of(tws_str user)
{
    return tws_str_of(user.ptr, tws_str_find(user, '-'));
}

static tws_verdict authorize(void *context, const tws_authorize *q)
{
    tws_str who = tws_identity_user(q->who);
    pthread_t thread;
    (void)context;
    if (q->action == TWS_AUTH_PUBLISH) {
        return (q->who->scopes & TWS_SCOPE_PUBLISH) != 0 ? TWS_ALLOW : TWS_DENY;
    }
    if (tws_str_eq(who, q->user_id)) {
        return TWS_ALLOW;
    }
    lookup *l = (lookup *)malloc(sizeof *l);
    if (l == NULL) {
        return TWS_DENY;
    }
    l->ts = endpoint;
    l->ticket = q->ticket;
    l->same_team = tws_str_eq(team_of(who), team_of(q->user_id));
    __atomic_add_fetch(&looking_up, 1, __ATOMIC_RELAXED);
    if (pthread_create(&thread, NULL, look_up, l) != 0) {
        __atomic_sub_fetch(&looking_up, 1, __ATOMIC_RELAXED);
        free(l);
        return TWS_DENY;
    }
    pthread_detach(thread);
    return TWS_LATER;
}

/* -- put together -- */

static tws_server *server;

static void on_signal(int number)
{
    (void)number;
    tws_server_stop(server);
}

int main(int argc, char **argv)
{
    const tws_route routes[] = {
        {"GET", "/hello/{name}", on_hello, NULL, NULL},
        {"GET", "/shout", NULL, &shout, NULL},
    };
    char memory[512];
    tws_buf error;
    tws_task_server_desc desc;
    uint64_t port = 8000;
    if (argc > 2 || (argc == 2 && (!tws_str_u64(tws_str_c(argv[1]), &port) || port > 65535))) {
        fputs("usage: TASKWS_SECRET=... custom_routes [port]\n", stderr);
        return 2;
    }
    memset(&desc, 0, sizeof desc);
    desc.port = port == 0 ? TWS_PORT_ANY : (int)port;
    desc.jwt_secret = getenv("TASKWS_SECRET");
    desc.authorize = authorize;
    desc.drain_ms = 1000;

    tws_buf_fixed(&error, memory, sizeof memory);
    tws_status status = tws_task_server_create(&endpoint, &desc, &error);
    server = status == TWS_OK ? tws_task_server_base(endpoint) : NULL;
    for (size_t i = 0; status == TWS_OK && i < 2; i++) {
        status = tws_server_route(server, &routes[i], &error);
    }
    if (status == TWS_OK) {
        status = tws_server_listen(server, &error);
    }
    if (status != TWS_OK) {
        fprintf(stderr, "custom_routes: %.*s\n", (int)error.len, error.ptr);
        tws_task_server_free(endpoint);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on http://127.0.0.1:%d\n", tws_server_port(server));
    fflush(stdout);
    status = tws_server_run(server);
    while (__atomic_load_n(&looking_up, __ATOMIC_ACQUIRE) != 0) { /* their client has gone */
        struct timespec pause = {0, 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    tws_task_server_free(endpoint);
    return status == TWS_OK ? 0 : 1;
}
