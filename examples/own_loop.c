/* own_loop.c: the endpoint inside a loop of your own. The program below has one thread and its own
 * poll(); the server is one descriptor in it and takes a step when that is readable or a timer is
 * due. TASKWS_SECRET=... build/own_loop [port] */
#define TASKWS_IMPLEMENTATION
#include "taskws.h"

#include <poll.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* The program's own work: here a task that advances every half second. */
static void own_work(tws_task_server *ts, uint64_t now_ms)
{
    static uint64_t due_ms;
    static unsigned progress;
    char json[128];
    if (now_ms < due_ms) {
        return;
    }
    due_ms = now_ms + 500;
    progress = (progress + 5) % 105;
    int n = snprintf(json, sizeof json,
                     "{\"task_id\":\"own\",\"status\":\"%s\",\"progress\":%u,\"name\":\"Own loop\"}",
                     progress == 100 ? "completed" : "running", progress);
    tws_task_server_publish(ts, "1", json, (size_t)n, NULL);
}

int main(int argc, char **argv)
{
    char memory[256];
    tws_buf error;
    tws_task_server *ts = NULL;
    tws_task_server_desc desc;
    uint64_t port = 8000;
    if (argc > 2 || (argc == 2 && (!tws_str_u64(tws_str_c(argv[1]), &port) || port > 65535))) {
        fputs("usage: TASKWS_SECRET=... own_loop [port]\n", stderr);
        return 2;
    }
    memset(&desc, 0, sizeof desc);
    desc.port = port == 0 ? TWS_PORT_ANY : (int)port;
    desc.jwt_secret = getenv("TASKWS_SECRET");
    desc.drain_ms = 1000;

    tws_buf_fixed(&error, memory, sizeof memory);
    tws_status status = tws_task_server_create(&ts, &desc, &error);
    if (status == TWS_OK) {
        status = tws_server_listen(tws_task_server_base(ts), &error);
    }
    if (status != TWS_OK) {
        fprintf(stderr, "own_loop: %.*s\n", (int)error.len, error.ptr);
        tws_task_server_free(ts);
        return 1;
    }
    tws_server *server = tws_task_server_base(ts);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    printf("listening on http://127.0.0.1:%d\n", tws_server_port(server));
    fflush(stdout);

    bool stopping = false;
    while (status == TWS_OK) {
        /* Where the system has only poll(2), the server is no single descriptor (-1, which poll
         * passes over): then it is stepped every 10 ms. */
        struct pollfd set = {tws_server_fd(server), POLLIN, 0};
        int wait_ms = tws_server_timeout(server);
        int most_ms = set.fd < 0 ? 10 : 100;
        poll(&set, 1, wait_ms < 0 || wait_ms > most_ms ? most_ms : wait_ms);
        own_work(ts, tws_sys_now_ms());
        if (stop && !stopping) {
            stopping = true;
            tws_server_stop(server);
        }
        status = tws_server_step(server, 0);
    }
    tws_task_server_free(ts);
    return 0;
}
