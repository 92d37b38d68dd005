/* Section 10 beside zlib: bytes and time on JSON as workers write it, in messages of 200 bytes,
 * 2 KiB and 64 KiB, each for itself (no context takeover), sync-flushed as RFC 7692 wants it.
 *
 *     cc -O2 -I. -o build/bench_deflate tests/bench/deflate.c -lz && build/bench_deflate
 *
 * Times are of the thread's CPU, the least of many batches; zlib is reset between messages, not
 * made anew. "alone" is one event of 200 bytes or so, which is what is sent most. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <time.h>
#include <zlib.h>

#define BATCH 10
#define ROOM 131072

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static uint32_t seed = 12345;

static unsigned rnd(unsigned below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static size_t put_event(char *out, size_t room)
{
    static const char *const status[] = {"queued", "running", "completed", "failed", "retrying"};
    static const char *const what[] = {"Downloading input files", "Transcoding segment",
                                       "Uploading results", "Waiting for a worker",
                                       "Computing features of batch"};
    const unsigned id[4] = {rnd(1u << 24), rnd(1u << 16), rnd(1u << 16), rnd(1u << 24)};
    return (size_t)snprintf(
        out, room,
        "{\"task_id\":\"%08x-%04x-4%03x-%012x\",\"status\":\"%s\",\"progress\":%u,"
        "\"message\":\"%s %u of 500\",\"timestamp\":\"2026-11-%02uT%02u:%02u:%02u.%03uZ\","
        "\"worker\":\"worker-%u\"}",
        id[0] * 255u, id[1], id[2] & 0xfffu, id[3], status[rnd(5)], rnd(101), what[rnd(5)],
        rnd(500), 1 + rnd(28), rnd(24), rnd(60), rnd(60), rnd(1000), rnd(16));
}

static size_t put_events(char *out, size_t want)
{
    size_t at = 0;
    while (at < want) {
        char event[512];
        const size_t n = put_event(event, sizeof event);
        const size_t fits = n < want - at ? n : want - at;
        memcpy(out + at, event, fits);
        at += fits;
    }
    return at;
}

/* -- what is measured: each leaves its result in `out` and returns its bytes -- */

typedef struct job {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    tws_deflater *deflater;
    z_stream *z;
} job;

static tws_deflate_scratch scratch;
static tws_inflater inflater;

static size_t deflate_ours(const job *j)
{
    size_t n;
    return tws_deflate_encode(j->deflater, &scratch, j->in, j->in_len, true, j->out, ROOM, &n) ==
                   TWS_OK
               ? n
               : 0;
}

static size_t deflate_zlib(const job *j)
{
    deflateReset(j->z);
    j->z->next_in = (Bytef *)(uintptr_t)j->in;
    j->z->avail_in = (uInt)j->in_len;
    j->z->next_out = j->out;
    j->z->avail_out = ROOM;
    deflate(j->z, Z_SYNC_FLUSH);
    return ROOM - j->z->avail_out - 4;
}

static size_t inflate_ours(const job *j)
{
    tws_inflate_window w;
    tws_inflate_event ev;
    tws_inflate_flat(&w, j->out, ROOM, 15);
    tws_inflate_begin(&inflater, &w);
    tws_inflate_decode(&inflater, j->in, j->in_len, &ev);
    tws_inflate_finish(&inflater, &ev);
    return ev.type == TWS_INFLATE_END ? w.at : 0;
}

static size_t inflate_zlib(const job *j)
{
    static Bytef tail[] = {0, 0, 0xff, 0xff};
    inflateReset(j->z);
    j->z->next_in = (Bytef *)(uintptr_t)j->in;
    j->z->avail_in = (uInt)j->in_len;
    j->z->next_out = j->out;
    j->z->avail_out = ROOM;
    inflate(j->z, Z_SYNC_FLUSH);
    j->z->next_in = tail;
    j->z->avail_in = sizeof tail;
    inflate(j->z, Z_SYNC_FLUSH);
    return ROOM - j->z->avail_out;
}

static double measure(size_t (*run)(const job *), const job *j, size_t *bytes)
{
    double least = 1e12;
    for (const double begin = now_us(); now_us() - begin < 150e3;) {
        const double from = now_us();
        for (int i = 0; i < BATCH; i++) {
            *bytes = run(j);
        }
        const double each = (now_us() - from) / BATCH;
        least = each < least ? each : least;
    }
    return least;
}

static void row(const char *name, const uint8_t *text, size_t n, int level)
{
    static uint8_t memory[TWS_DEFLATE_MEMORY(15, false)];
    static uint8_t mine[ROOM];
    static uint8_t its[ROOM];
    static uint8_t back[ROOM];
    tws_deflater deflater;
    z_stream z;
    z_stream y;
    size_t mine_len;
    size_t its_len;
    size_t got;
    memset(&z, 0, sizeof z);
    memset(&y, 0, sizeof y);
    deflateInit2(&z, level, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    inflateInit2(&y, -15);
    tws_deflate_init(&deflater, memory, 15, (unsigned)level, false);
    const job pack = {text, n, mine, &deflater, NULL};
    const job pack_zlib = {text, n, its, NULL, &z};
    const double a = measure(deflate_ours, &pack, &mine_len);
    const double b = measure(deflate_zlib, &pack_zlib, &its_len);
    const job unpack = {its, its_len, back, NULL, NULL};
    const job unpack_zlib = {mine, mine_len, back, NULL, &y};
    const double c = measure(inflate_ours, &unpack, &got);
    const bool right = got == n && memcmp(back, text, n) == 0;
    const double d = measure(inflate_zlib, &unpack_zlib, &got);
    deflateEnd(&z);
    inflateEnd(&y);
    printf("%-6s %5d  %6zu %6zu %6.3f  %8.2f %8.2f  %6.1f %6.1f  %8.2f %8.2f  %6.0f %6.0f%s\n", name,
           level, mine_len, its_len, (double)mine_len / (double)its_len, a, b, (double)n / a,
           (double)n / b, c, d, (double)n / c, (double)n / d,
           right && got == n && memcmp(back, text, n) == 0 ? "" : "  WRONG");
}

int main(void)
{
    static const struct {
        const char *name;
        size_t bytes; /* 0: one event */
    } texts[] = {{"alone", 0}, {"200", 200}, {"2048", 2048}, {"65536", 65536}};
    static const int levels[] = {1, 6, 9};
    static char text[65536];
    printf("%-6s %5s  %6s %6s %6s  %8s %8s  %6s %6s  %8s %8s  %6s %6s\n", "bytes", "level", "ours",
           "zlib", "ratio", "us", "zlib", "MB/s", "zlib", "us back", "zlib", "MB/s", "zlib");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const size_t n =
            texts[i].bytes == 0 ? put_event(text, sizeof text) : put_events(text, texts[i].bytes);
        for (size_t k = 0; k < sizeof levels / sizeof levels[0]; k++) {
            row(texts[i].name, (const uint8_t *)text, n, levels[k]);
        }
    }
    return 0;
}
