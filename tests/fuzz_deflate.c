/* Fuzz target: deflating and back. Messages in pieces, of any level, window and kind of context,
 * come back as they were, piece by piece too; what tws_deflate_bound says suffices, less than is
 * needed is an error that leaves both ends fit for the next message; and the same past gives the
 * same bytes, whatever stood in the memory.
 *
 * input    byte 0: bits 0 to 2 the window's bits less 8, bit 3 takeover, bits 4 to 7 the level
 *          byte 1: how many lengths follow (1 to 15), in bytes: of pieces, used in turn. A length
 *          with its top bit set ends the message, one with the next bit is given too little room
 *          then the text */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#define TASKWS_DEFLATE_TOKENS 256
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

/* One end that writes, and what it needs. */
typedef struct writer {
    tws_deflater z;
    tws_deflate_scratch scratch;
    void *memory;
    size_t bytes;
} writer;

static void writer_init(writer *w, unsigned bits, unsigned level, bool takeover, int fill)
{
    w->bytes = TWS_DEFLATE_MEMORY(bits, takeover);
    w->memory = malloc(w->bytes);
    memset(w->memory, fill, w->bytes);
    memset(&w->scratch, fill, sizeof w->scratch);
    tws_deflate_init(&w->z, w->memory, bits, level, takeover);
}

/* One end that reads: compressed bytes in, and what they must become. */
typedef struct reader {
    tws_inflater z;
    tws_inflate_window window;
    uint8_t *ring;
    const uint8_t *want;
    size_t want_len;
} reader;

static void expect(reader *r, const tws_inflate_event *ev)
{
    REQUIRE(ev->len <= r->want_len);
    REQUIRE(ev->len == 0 || memcmp(ev->data, r->want, ev->len) == 0);
    r->want += ev->len;
    r->want_len -= ev->len;
}

static void read_all(reader *r, const uint8_t *p, size_t n, size_t step)
{
    tws_inflate_event ev;
    for (size_t at = 0; at < n;) {
        at += tws_inflate_decode(&r->z, p + at, step < n - at ? step : n - at, &ev);
        expect(r, &ev);
        REQUIRE(ev.type == TWS_INFLATE_MORE || ev.type == TWS_INFLATE_FULL);
    }
}

static void read_end(reader *r, unsigned bits, bool takeover)
{
    tws_inflate_event ev;
    do {
        tws_inflate_finish(&r->z, &ev);
        expect(r, &ev);
    } while (ev.type == TWS_INFLATE_FULL);
    REQUIRE(ev.type == TWS_INFLATE_END);
    REQUIRE(r->want_len == 0);
    if (!takeover) {
        tws_inflate_ring(&r->window, r->ring, bits);
    }
    tws_inflate_begin(&r->z, &r->window);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t steps = size >= 2 ? data[1] % 15u + 1 : 0;
    if (size < 2 + steps) {
        return 0;
    }
    const unsigned bits = TWS_DEFLATE_MIN_BITS + (data[0] & 7u);
    const bool takeover = (data[0] & 8u) != 0;
    const unsigned level = 1 + (data[0] >> 4) % 9;
    const uint8_t *text = data + 2 + steps;
    size_t left = size - 2 - steps;
    static writer one;
    static writer two;
    static reader r_memory;
    reader *r = &r_memory;
    writer_init(&one, bits, level, takeover, 0xa5);
    writer_init(&two, bits, level, takeover, 0x00);
    r->ring = malloc((size_t)1 << bits);
    tws_inflate_ring(&r->window, r->ring, bits);
    tws_inflate_begin(&r->z, &r->window);
    r->want_len = 0;
    bool fresh = true; /* nothing of the message is sent yet */
    for (size_t turn = 0; left > 0 || !fresh; turn++) {
        const uint8_t step = data[2 + turn % steps];
        const bool end = (step & 0x80) != 0 || left == 0;
        const size_t asked = (size_t)(step & 0x3fu) * (step & 0x3fu) + 1;
        const size_t n = asked < left ? asked : left;
        const bool tight = fresh && end && (step & 0x40) != 0;
        const size_t cap = tight ? n / 2 : tws_deflate_bound(n);
        uint8_t *out = malloc(cap > 0 ? cap : 1);
        uint8_t *again = malloc(cap > 0 ? cap : 1);
        uint8_t *exact = malloc(n > 0 ? n : 1);
        size_t len = 0;
        size_t same = 0;
        memcpy(exact, text, n);
        const tws_status status =
            tws_deflate_encode(&one.z, &one.scratch, exact, n, end, out, cap, &len);
        REQUIRE(tws_deflate_encode(&two.z, &two.scratch, exact, n, end, again, cap, &same) == status);
        REQUIRE(same == len && memcmp(out, again, len) == 0);
        REQUIRE(len <= cap);
        REQUIRE(status == TWS_OK || (status == TWS_ERR_LIMIT && tight && len == 0));
        if (status == TWS_OK) {
            r->want = fresh ? text : r->want;
            r->want_len += n;
            read_all(r, out, len, (size_t)step + 1);
        }
        if (status == TWS_OK && end) {
            read_end(r, bits, takeover);
        }
        text += n;
        left -= n;
        free(out);
        free(again);
        free(exact);
        fresh = end;
    }
    free(one.memory);
    free(two.memory);
    free(r->ring);
    return 0;
}
