/* Section 10: inflating and deflating. zlib's opinion is asked by integration/zlib_oracle.py.
 *
 * A deflate stream is written bit by bit, in the order in which the bits are sent:
 *     0 1        a bit                        (n:v)    the number v in n bits, lowest first
 *     |          zeros to the next byte       #48      a whole byte
 *     'text'     literals in the fixed code   <257>    any symbol in the fixed code
 *     <d3>       a distance, likewise         {18=1}   a dynamic block's counts and the widths of
 *                                                      its code lengths' codes: {LIT DIST s=w ...}
 * Every stream runs whole, byte by byte and split at every place, into memory of every kind. */
#include "test.h"

static uint8_t stream[1 << 16];

typedef struct bits {
    size_t count;
} bits;

static void put_bit(bits *b, unsigned bit)
{
    if (b->count % 8 == 0) {
        stream[b->count / 8] = 0;
    }
    stream[b->count / 8] |= (uint8_t)((bit & 1u) << b->count % 8);
    b->count++;
}

static void put_number(bits *b, unsigned width, unsigned value)
{
    for (unsigned i = 0; i < width; i++) {
        put_bit(b, value >> i);
    }
}

/* Huffman codes are sent highest bit first: RFC 1951 3.1.1. */
static void put_code(bits *b, unsigned width, unsigned code)
{
    while (width-- > 0) {
        put_bit(b, code >> width);
    }
}

/* RFC 1951 3.2.6. */
static void put_fixed(bits *b, unsigned symbol)
{
    if (symbol < 144) {
        put_code(b, 8, 0x30 + symbol);
    } else if (symbol < 256) {
        put_code(b, 9, 0x190 + symbol - 144);
    } else if (symbol < 280) {
        put_code(b, 7, symbol - 256);
    } else {
        put_code(b, 8, 0xc0 + symbol - 280);
    }
}

static const char *put_dynamic(bits *b, const char *at)
{
    static const unsigned order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1,
                                       15};
    unsigned width[19] = {0};
    char *end;
    put_number(b, 5, (unsigned)strtoul(at + 1, &end, 10) - 257);
    put_number(b, 5, (unsigned)strtoul(end, &end, 10) - 1);
    while (*end != '}') {
        unsigned symbol = (unsigned)strtoul(end, &end, 10);
        width[symbol] = (unsigned)strtoul(end + 1, &end, 10);
        end += *end == ' ';
    }
    put_number(b, 4, 15);
    for (size_t i = 0; i < 19; i++) {
        put_number(b, 3, width[order[i]]);
    }
    return end + 1;
}

static const char *put_symbol(bits *b, const char *at)
{
    char *end;
    if (at[1] == 'd') {
        put_code(b, 5, (unsigned)strtoul(at + 2, &end, 10));
    } else {
        put_fixed(b, (unsigned)strtoul(at + 1, &end, 10));
    }
    return end + 1;
}

static const char *put_literals(bits *b, const char *at)
{
    for (at++; *at != '\''; at++) {
        put_fixed(b, (unsigned char)*at);
    }
    return at + 1;
}

/* Write what `at` says to stream[]; returns its bytes. */
static size_t build(const char *at)
{
    bits b = {0};
    char *end;
    unsigned width;
    while (*at != '\0') {
        switch (*at) {
        case '0':
        case '1': put_bit(&b, (unsigned)(*at++ - '0')); break;
        case '|':
            while (b.count % 8 != 0) {
                put_bit(&b, 0);
            }
            at++;
            break;
        case '#':
            put_number(&b, 8, (unsigned)strtoul((char[]){at[1], at[2], 0}, NULL, 16));
            at += 3;
            break;
        case '(':
            width = (unsigned)strtoul(at + 1, &end, 10);
            put_number(&b, width, (unsigned)strtoul(end + 1, &end, 10));
            at = end + 1;
            break;
        case '\'': at = put_literals(&b, at); break;
        case '<': at = put_symbol(&b, at); break;
        case '{': at = put_dynamic(&b, at); break;
        default: at++;
        }
    }
    return (b.count + 7) / 8;
}

/* -- a reader that writes down what it was given -- */

static tws_inflater inflater;

typedef struct result {
    tws_inflate_type type;
    const char *reason;
    uint64_t offset;
    size_t used; /* of the input */
    size_t len;
    uint8_t out[1 << 17];
} result;

/* Take one event's output. */
static void take(result *r, const tws_inflate_event *ev)
{
    if (ev->len > 0 && ev->len <= sizeof r->out - r->len) {
        memcpy(r->out + r->len, ev->data, ev->len);
    }
    r->len += ev->len;
    r->type = ev->type;
    r->reason = ev->reason;
    r->offset = ev->offset;
}

/* Feed p[0..n) from a block of exactly that size, until it is used up or something happens. A ring
 * that is full goes on. */
static void feed(result *r, const uint8_t *p, size_t n)
{
    uint8_t *block = (uint8_t *)malloc(n > 0 ? n : 1);
    size_t at = 0;
    tws_inflate_event ev;
    memcpy(block, p, n);
    do {
        const size_t used = tws_inflate_decode(&inflater, block + at, n - at, &ev);
        CHECK(used <= n - at);
        CHECK(ev.type != TWS_INFLATE_MORE || used == n - at);
        at += used;
        take(r, &ev);
    } while (ev.type == TWS_INFLATE_FULL && inflater.window->ring);
    r->used += at;
    free(block);
}

static void finish(result *r)
{
    tws_inflate_event ev;
    do {
        tws_inflate_finish(&inflater, &ev);
        take(r, &ev);
    } while (ev.type == TWS_INFLATE_FULL && inflater.window->ring);
}

/* Inflate a stream that comes in pieces: lengths first, then step, step, ... */
static void inflate_pieces(result *r, tws_inflate_window *w, const uint8_t *p, size_t n,
                           size_t first, size_t step)
{
    memset(r, 0, offsetof(result, out));
    tws_inflate_begin(&inflater, w);
    for (size_t at = 0; at < n && r->type == TWS_INFLATE_MORE;) {
        const size_t piece = at == 0 && first > 0 ? first : step;
        const size_t len = piece < n - at ? piece : n - at;
        feed(r, p + at, len);
        at += len;
    }
}

static void check_same(const result *a, const result *b)
{
    CHECK_EQ(a->type, b->type);
    CHECK_EQ(a->used, b->used);
    CHECK_EQ(a->offset, b->offset);
    CHECK(a->reason == b->reason);
    CHECK_MEM(a->out, a->len, b->out, b->len);
}

static result whole;
static result other;

/* However a stream is cut, and wherever its output goes, the result is that of the whole. */
static void check_cuts(const uint8_t *p, size_t n, unsigned window_bits)
{
    tws_inflate_window w;
    uint8_t *ring = (uint8_t *)malloc((size_t)1 << window_bits);
    uint8_t *flat = (uint8_t *)malloc(whole.len + 1);
    for (size_t cut = 1; cut <= n; cut++) {
        tws_inflate_ring(&w, ring, window_bits);
        inflate_pieces(&other, &w, p, n, cut, n);
        check_same(&other, &whole);
        tws_inflate_flat(&w, flat, whole.len, window_bits);
        inflate_pieces(&other, &w, p, n, cut, n);
        check_same(&other, &whole);
    }
    for (size_t step = 1; step <= 3; step++) {
        tws_inflate_ring(&w, ring, window_bits);
        inflate_pieces(&other, &w, p, n, 0, step);
        check_same(&other, &whole);
    }
    free(flat);
    /* Memory that is too small takes what it holds, exactly. */
    for (size_t room = 0; room < whole.len && room < 300; room++) {
        flat = (uint8_t *)malloc(room > 0 ? room : 1);
        tws_inflate_flat(&w, flat, room, window_bits);
        inflate_pieces(&other, &w, p, n, 0, n);
        CHECK_EQ(other.type, TWS_INFLATE_FULL);
        CHECK_MEM(other.out, other.len, whole.out, room);
        free(flat);
    }
    free(ring);
}

static void run_whole(const uint8_t *p, size_t n, unsigned window_bits)
{
    static uint8_t memory[1 << 17];
    tws_inflate_window w;
    tws_inflate_flat(&w, memory, sizeof memory, window_bits);
    inflate_pieces(&whole, &w, p, n, 0, n);
}

/* -- RFC 1951 -- */

typedef struct stream_case {
    const char *name;
    const char *stream;
    const char *out;
    size_t left; /* bytes behind the end */
} stream_case;

TEST("stored, fixed and dynamic blocks are read as RFC 1951 draws them")
{
    static const stream_case rows[] = {
        {"an empty stored block", "1 00 | #00#00#ff#ff", "", 0},
        {"a stored block", "1 00 | #05#00#fa#ff#48#65#6c#6c#6f", "Hello", 0},
        {"what pads a stored block's head means nothing", "1 00 11111 #01#00#fe#ff#41", "A", 0},
        {"two stored blocks", "0 00 | #01#00#fe#ff#41 1 00 | #01#00#fe#ff#42", "AB", 0},
        {"an empty fixed block", "1 10 <256>", "", 0},
        {"literals", "1 10 'Hello' <256>", "Hello", 0},
        {"literals of nine bits", "1 10 <144> <200> <255> <256>", "\x90\xc8\xff", 0},
        {"a copy", "1 10 'abc' <257> <d2> <256>", "abcabc", 0},
        {"a copy that overlaps itself", "1 10 'a' <262> <d0> <256>", "aaaaaaaaa", 0},
        {"a copy of two that overlaps", "1 10 'ab' <261> <d1> <256>", "ababababa", 0},
        {"extra bits of a length", "1 10 'a' <265> 1 <d0> <256>", "aaaaaaaaaaaaa", 0},
        {"extra bits of a distance", "1 10 'abcdef' <257> <d4> 1 <256>", "abcdefabc", 0},
        {"fixed behind stored copies from it",
         "0 00 | #03#00#fc#ff#61#62#63 1 10 <257> <d2> <256>", "abcabc", 0},
        {"stored behind fixed", "0 10 'x' <256> 1 00 | #01#00#fe#ff#79", "xy", 0},
        {"empty blocks", "0 10 <256> 0 10 <256> 0 00 | #00#00#ff#ff 0 10 <256> 1 10 'a' <256>", "a",
         0},
        {"what follows a final block is not taken", "1 10 'a' <256> | #55#66", "a", 2},
        /* Code lengths 18=1 bit "0", 1=1 bit "1": symbols 97 and 256 of one bit each, "0" and "1". */
        {"a dynamic block without distances", "1 01 {257 1 18=2 1=2 0=1} 11 (7:86) 10 "
                                              "11 (7:127) 11 (7:9) 10 0 0 0 0 1", "aaa", 0},
        {"a lone end of block, as zlib takes it",
         "1 01 {257 1 18=1 1=2 0=2} 0 (7:127) 0 (7:107) 11 10 0", "", 0},
        /* a=1 bit, 256 and 257 of two; the only distance has one bit. */
        {"a single distance of one bit",
         "1 01 {258 1 18=2 1=2 2=1} 11 (7:86) 10 11 (7:127) 11 (7:9) 0 0 10 0 11 0 10", "aaaa", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].name, i);
        const size_t n = build(rows[i].stream);
        run_whole(stream, n, 15);
        CHECK_EQ(whole.type, TWS_INFLATE_END);
        CHECK(whole.reason == NULL);
        CHECK_MEM(whole.out, whole.len, rows[i].out, strlen(rows[i].out));
        CHECK_EQ(n - whole.used, rows[i].left);
        check_cuts(stream, n, 15);
        check_cuts(stream, n, 8);
    }
}

/* -- RFC 7692 -- */

TEST("the messages of RFC 7692 7.2.3 are read, and read on from")
{
    static const struct {
        const char *name;
        const char *hex;
        const char *out;
    } rows[] = {
        {"7.2.3.1 one block", "f248cdc9c90700", "Hello"},
        {"7.2.3.2 with the context of that", "f200110000", "Hello"},
        {"7.2.3.3 stored", "000500faff48656c6c6f00", "Hello"},
        {"7.2.3.4 a final block", "f348cdc9c9070000", "Hello"},
        {"7.2.3.4 without its byte of zero", "f348cdc9c90700", "Hello"},
        {"7.2.3.5 two blocks", "f248050000 00ffff cac9c90700", "Hello"},
        {"7.2.3.6 an empty message", "00", ""},
        {"the context is still there", "f200110000", "Hello"},
    };
    uint8_t ring[256];
    tws_inflate_window w;
    tws_inflate_ring(&w, ring, 8);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].name, i);
        const size_t n = test_hex(rows[i].hex, stream);
        const tws_inflate_window before = w;
        for (size_t cut = 1; cut <= n; cut++) {
            w = before;
            inflate_pieces(&whole, &w, stream, n, cut, n);
            finish(&whole);
            CHECK_EQ(whole.type, TWS_INFLATE_END);
            CHECK_MEM(whole.out, whole.len, rows[i].out, strlen(rows[i].out));
        }
    }
}

/* -- deflating -- */

static tws_deflate_scratch scratch;

TEST("what RFC 7692 7.2.3 shows is what is written, or shorter")
{
    static uint8_t memory[TWS_DEFLATE_MEMORY(15, true)];
    static const struct {
        const char *text;
        const char *hex;
    } rows[] = {
        {"Hello", "f248cdc9c90700"},
        {"Hello", "02130000"}, /* the context of the first: copied whole, without a literal */
        {"", "00"},
    };
    tws_deflater z;
    uint8_t out[64];
    uint8_t want[64];
    size_t n = 0;
    tws_deflate_init(&z, memory, 15, 6, true);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].hex, i);
        CHECK_EQ(tws_deflate_encode(&z, &scratch, rows[i].text, strlen(rows[i].text), true, out,
                                    sizeof out, &n),
                 TWS_OK);
        CHECK_MEM(out, n, want, test_hex(rows[i].hex, want));
    }
}
