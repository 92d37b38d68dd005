/* echo.c: a WebSocket echo server, for conformance suites and benchmarks: section 21 alone. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_JWT
#include "taskws.h"

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

/* The value of option argv[*i], which stands in the next argument. */
static const char *value_of(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        fprintf(stderr, "echo: %s needs a value; see --help\n", argv[*i]);
        exit(2);
    }
    *i += 1;
    return argv[*i];
}

static uint32_t number_of(int argc, char **argv, int *i)
{
    const char *option = argv[*i];
    uint64_t n;
    if (!tws_str_u64(tws_str_c(value_of(argc, argv, i)), &n) || n > 0x7fffffffu) {
        fprintf(stderr, "echo: %s needs a number; see --help\n", option);
        exit(2);
    }
    return (uint32_t)n;
}

static void read_options(int argc, char **argv, tws_server_desc *desc)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argv[i], "--host") == 0) {
            desc->host = value_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--port") == 0) {
            uint32_t port = number_of(argc, argv, &i);
            desc->port = port == 0 ? TWS_PORT_ANY : (int)port;
        } else if (strcmp(argv[i], "--threads") == 0) {
            desc->threads = number_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--receive") == 0) {
            desc->receive_bytes = number_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--max-message") == 0) {
            uint32_t n = number_of(argc, argv, &i);
            desc->limits.max_message_bytes = n == 0 ? TWS_OFF : n;
        } else if (strcmp(argv[i], "--max-frames") == 0) {
            uint32_t n = number_of(argc, argv, &i);
            desc->limits.max_frames = n == 0 ? TWS_OFF : n;
        } else if (strcmp(argv[i], "--compress-from") == 0) {
            bool off = i + 1 < argc && strcmp(argv[i + 1], "off") == 0;
            i += off;
            desc->limits.compress_bytes = off ? TWS_OFF : number_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--context-bytes") == 0) {
            desc->limits.context_bytes = number_of(argc, argv, &i);
        } else if (strcmp(argv[i], "--context-bits") == 0) {
            desc->limits.context_bits = number_of(argc, argv, &i);
            if (desc->limits.context_bits < 8 || desc->limits.context_bits > 15) {
                fprintf(stderr, "echo: --context-bits is 8 to 15; see --help\n");
                exit(2);
            }
        } else {
            fprintf(stderr, "echo: unknown option %s; see --help\n", argv[i]);
            exit(2);
        }
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
    printf("listening on http://%s:%d\n", desc.host == NULL ? "127.0.0.1" : desc.host,
           tws_server_port(server));
    fflush(stdout);
    status = tws_server_run(server);
    tws_server_free(server);
    return status == TWS_OK ? 0 : 1;
}
