/* Fuzz target: inflating, with zlib's opinion. Whole or in pieces, into a ring or flat memory, a
 * stream gives the same bytes and the same end or error; and zlib gives those bytes too, and ends
 * where they end. What zlib refuses is refused; only in what is cut may this be the stricter one.
 *
 * input    byte 0: bits 0 to 2 the window's bits less 8, bit 3 the pieces' output goes round
 *          byte 1: how many lengths of pieces follow (0 to 15), used in turn; then the stream */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))
#define MOST ((size_t)1 << 16) /* bytes of output that are looked at */

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

typedef struct result {
    tws_inflate_type type;
    const char *reason;
    uint64_t offset;
    size_t used;
    size_t len;
    uint8_t out[MOST];
} result;

/* Here rather than allocated: filling a sanitizer's shadow would take longer than the rest. */
static result whole;
static result parts;
static tws_inflater inflater;
static uint8_t flat[MOST];
static uint8_t oracle[MOST];

static void take(result *r, const tws_inflate_event *ev)
{
    const size_t n = ev->len < MOST - r->len ? ev->len : MOST - r->len;
    if (n > 0) {
        memcpy(r->out + r->len, ev->data, n);
    }
    r->len += n;
    r->type = r->len == MOST ? TWS_INFLATE_FULL : ev->type;
    r->reason = ev->reason;
    r->offset = ev->offset;
}

/* The inflater's memory holds what it likes at first. */
static void run(result *r, tws_inflate_window *w, const uint8_t *steps, size_t step_count,
                const uint8_t *stream, size_t size)
{
    tws_inflater *z = &inflater;
    tws_inflate_event ev;
    size_t turn = 0;
    memset(r, 0, offsetof(result, out));
    memset(z, 0xa5, sizeof *z);
    tws_inflate_begin(z, w);
    while (r->used < size && r->type == TWS_INFLATE_MORE) {
        const size_t step = step_count > 0 ? steps[turn++ % step_count] + 1u : size;
        const size_t n = step < size - r->used ? step : size - r->used;
        uint8_t *block = malloc(n); /* of exactly this size: reading on is seen */
        size_t at = 0;
        memcpy(block, stream + r->used, n);
        do {
            const size_t used = tws_inflate_decode(z, block + at, n - at, &ev);
            REQUIRE(used <= n - at);
            REQUIRE(ev.type != TWS_INFLATE_MORE || used == n - at);
            REQUIRE((ev.type == TWS_INFLATE_ERROR) == (ev.reason != NULL));
            at += used;
            take(r, &ev);
        } while (ev.type == TWS_INFLATE_FULL && w->ring && r->len < MOST);
        r->used += at;
        free(block);
    }
    if (r->type == TWS_INFLATE_ERROR) {
        REQUIRE(r->offset <= size);
        REQUIRE(tws_inflate_decode(z, stream, size, &ev) == 0 && ev.type == TWS_INFLATE_ERROR);
        REQUIRE(ev.reason == r->reason && ev.offset == r->offset && ev.len == 0);
    }
}

static void check_zlib(const result *r, const uint8_t *stream, size_t size, bool far_allowed)
{
    z_stream z;
    memset(&z, 0, sizeof z);
    REQUIRE(inflateInit2(&z, -15) == Z_OK);
    z.next_in = (Bytef *)(uintptr_t)stream;
    z.avail_in = (uInt)size;
    z.next_out = oracle;
    z.avail_out = (uInt)MOST;
    const int status = size > 0 ? inflate(&z, Z_SYNC_FLUSH) : Z_OK;
    const size_t len = MOST - z.avail_out;
    REQUIRE(status != Z_DATA_ERROR || r->type == TWS_INFLATE_ERROR || r->type == TWS_INFLATE_FULL);
    REQUIRE(r->len <= len && (r->len == 0 || memcmp(oracle, r->out, r->len) == 0));
    if (far_allowed && r->type == TWS_INFLATE_ERROR) {
        inflateEnd(&z);
        return;
    }
    REQUIRE(r->len == len);
    if (r->type == TWS_INFLATE_END) {
        REQUIRE(status == Z_STREAM_END && z.total_in == r->used);
    }
    if (r->type == TWS_INFLATE_ERROR || r->type == TWS_INFLATE_MORE) {
        REQUIRE(status != Z_STREAM_END);
    }
    inflateEnd(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t step_count = size >= 2 ? data[1] & 15u : 0;
    if (size < 2 + step_count) {
        return 0;
    }
    const unsigned bits = TWS_DEFLATE_MIN_BITS + (data[0] & 7u);
    const bool round = (data[0] & 8u) != 0;
    const uint8_t *stream = data + 2 + step_count;
    const size_t len = size - 2 - step_count;
    uint8_t *ring = (uint8_t *)malloc((size_t)1 << bits);
    tws_inflate_window w;
    tws_inflate_flat(&w, flat, MOST, bits);
    run(&whole, &w, NULL, 0, stream, len);
    if (round) {
        tws_inflate_ring(&w, ring, bits);
    } else {
        tws_inflate_flat(&w, flat, MOST, bits);
    }
    run(&parts, &w, data + 2, step_count, stream, len);
    REQUIRE(whole.type == parts.type);
    REQUIRE(whole.len == parts.len && memcmp(whole.out, parts.out, whole.len) == 0);
    if (whole.type != TWS_INFLATE_FULL) {
        REQUIRE(whole.used == parts.used);
        REQUIRE(whole.reason == parts.reason && whole.offset == parts.offset);
    }
    check_zlib(&whole, stream, len, bits < 15);
    free(ring);
    return 0;
}
