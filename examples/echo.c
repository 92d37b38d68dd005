/* echo.c: a WebSocket echo server, for conformance suites and benchmarks: section 21 alone. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_JWT
#include "taskws.h"

#include "arguments.h"

static const char usage[] =
    "usage: echo [options]\n"
    "Answers every WebSocket message with itself, at any path of one segment and at /.\n"
    "\n"
    "  --host HOST         address to listen on (127.0.0.1)\n"
    "  --port N            port; 0 takes a free one (9001)\n"
    "  --threads N         threads (1)\n"
    "  --max-message N     largest message in bytes; 0: no limit (64 MiB)\n"
    "  --max-frames N      most frames in one message; 0: no limit (0)\n"
    "  --compress-from N   compress messages of N bytes or more for clients that offer it; off:\n"
    "                      none (128)\n"
    "  --context-bytes N   memory that all connections take together so that a compressed message\n"
    "                      can refer to those before it; who comes when it is given away has\n"
    "                      none; 0: nobody has (32 MiB)\n"
    "  --context-bits N    how far it can refer back, in bits: 8 to 15; clients that are built on\n"
    "                      zlib want 9; a connection takes 7 times that many bytes (12)\n"
    "  --receive N         bytes of one read (1048576)\n"
    "  --help              this text\n";

static void on_message(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len)
{
    tws_peer_send_borrowed(p, opcode, payload, len);
}

static tws_server *server;

static void on_signal(int number)
{
    (void)number;
    tws_server_stop(server);
}

#define MOST 0x7fffffffu

static uint32_t number(const char *name, const char *text, uint32_t least, uint32_t most)
{
    uint64_t n;
    if (!tws_str_u64(tws_str_c(text), &n) || n < least || n > most) {
        char what[64];
        snprintf(what, sizeof what, "wants a number from %lu to %lu", (unsigned long)least,
                 (unsigned long)most);
        usage_error(what, name);
    }
    return (uint32_t)n;
}

static bool option_u32(arguments *a, const char *name, uint32_t least, uint32_t most,
                       uint32_t *value)
{
    const char *text;
    if (!option(a, name, &text)) {
        return false;
    }
    *value = number(name, text, least, most);
    return true;
}

static bool take(arguments *a, tws_server_desc *d)
{
    tws_conn_desc *limits = &d->limits;
    const char *text;
    uint32_t n;
    if (option_u32(a, "--port", 0, 65535, &n)) {
        d->port = n == 0 ? TWS_PORT_ANY : (int)n;
    } else if (option_u32(a, "--max-message", 0, MOST, &n)) {
        limits->max_message_bytes = n == 0 ? TWS_OFF : n;
    } else if (option_u32(a, "--max-frames", 0, MOST, &n)) {
        limits->max_frames = n == 0 ? TWS_OFF : n;
    } else if (option(a, "--compress-from", &text)) {
        n = strcmp(text, "off") == 0 ? TWS_OFF : number("--compress-from", text, 0, MOST);
        limits->compress_bytes = n == 0 ? 1 : n; /* in a desc 0 is the default */
    } else {
        return option(a, "--host", &d->host) ||
               option_u32(a, "--threads", 1, 256, &d->threads) ||
               option_u32(a, "--receive", 1, MOST, &d->receive_bytes) ||
               option_u32(a, "--context-bytes", 0, MOST, &limits->context_bytes) ||
               option_u32(a, "--context-bits", 8, 15, &limits->context_bits);
    }
    return true;
}

static void read_options(int argc, char **argv, tws_server_desc *desc)
{
    arguments a = {argc, argv, 1};
    bool wants_help = false;
    for (; a.at < argc; a.at++) {
        if (!take(&a, desc) && !flag(&a, "--help", &wants_help)) {
            usage_error("unknown option", argv[a.at]);
        }
    }
    if (wants_help) {
        fputs(usage, stdout);
        exit(0);
    }
}

int main(int argc, char **argv)
{
    static const tws_peer_ops ops = {on_message, NULL, NULL, NULL, NULL, NULL};
    const tws_route routes[] = {
        {"GET", "/", NULL, &ops, NULL},
        {"GET", "/{any}", NULL, &ops, NULL},
    };
    char memory[256];
    tws_buf error;
    tws_server_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.port = 9001;
    desc.drain_ms = TWS_OFF;
    desc.receive_bytes = 1u << 20;
    desc.limits.max_message_bytes = 64u << 20;
    desc.limits.max_frames = TWS_OFF;
    desc.limits.max_output_bytes = 1u << 20;
    desc.limits.context_bytes = 32u << 20;
    read_options(argc, argv, &desc);

    tws_buf_fixed(&error, memory, sizeof memory);
    tws_status status = tws_server_create(&server, &desc);
    for (size_t i = 0; status == TWS_OK && i < 2; i++) {
        status = tws_server_route(server, &routes[i], &error);
    }
    if (status == TWS_OK) {
        status = tws_server_listen(server, &error);
    }
    if (status != TWS_OK) {
        tws_str why = error.len > 0 ? tws_buf_view(&error) : tws_str_c(tws_status_text(status));
        fprintf(stderr, "echo: %.*s\n", (int)why.len, why.ptr);
        tws_server_free(server);
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    const char *host = desc.host == NULL ? "127.0.0.1" : desc.host;
    const bool v6 = strchr(host, ':') != NULL;
    printf("listening on http://%s%s%s:%d\n", v6 ? "[" : "", host, v6 ? "]" : "",
           tws_server_port(server));
    fflush(stdout);
    status = tws_server_run(server);
    tws_server_free(server);
    return status == TWS_OK ? 0 : 1;
}
