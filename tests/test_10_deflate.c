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
static tws_deflate_scratch scratch;

typedef struct bit_writer {
    size_t count;
} bit_writer;

static void put_bit(bit_writer *b, unsigned bit)
{
    if (b->count % 8 == 0) {
        stream[b->count / 8] = 0;
    }
    stream[b->count / 8] |= (uint8_t)((bit & 1u) << b->count % 8);
    b->count++;
}

static void put_number(bit_writer *b, unsigned width, unsigned value)
{
    for (unsigned i = 0; i < width; i++) {
        put_bit(b, value >> i);
    }
}

/* Huffman codes are sent highest bit first: RFC 1951 3.1.1. */
static void put_code(bit_writer *b, unsigned width, unsigned code)
{
    while (width-- > 0) {
        put_bit(b, code >> width);
    }
}

/* RFC 1951 3.2.6. */
static void put_fixed(bit_writer *b, unsigned symbol)
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

static const char *put_dynamic(bit_writer *b, const char *at)
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

static const char *put_symbol(bit_writer *b, const char *at)
{
    char *end;
    if (at[1] == 'd') {
        put_code(b, 5, (unsigned)strtoul(at + 2, &end, 10));
    } else {
        put_fixed(b, (unsigned)strtoul(at + 1, &end, 10));
    }
    return end + 1;
}

static const char *put_literals(bit_writer *b, const char *at)
{
    for (at++; *at != '\''; at++) {
        put_fixed(b, (unsigned char)*at);
    }
    return at + 1;
}

/* Write what `at` says to stream[]; returns its bytes. */
static size_t build(const char *at)
{
    bit_writer b = {0};
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
    static tws_inflate_window w; /* the inflater holds on to it */
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

/* -- what is refused -- */

typedef struct fault_case {
    const char *name;
    const char *stream;
    tws__inflate_fault fault;
    uint64_t offset;
    const char *out; /* that comes before */
} fault_case;

TEST("each broken rule is named, where it is broken, and nothing comes after")
{
    static const fault_case rows[] = {
        {"block type 3", "1 11", TWS__INFLATE_BLOCK_TYPE, 0, ""},
        {"block type 3 behind another", "0 10 'ab' <256> 0 11", TWS__INFLATE_BLOCK_TYPE, 3, "ab"},
        {"a stored length without its complement", "1 00 | #01#00#fe#fe#41",
         TWS__INFLATE_STORED_LENGTH, 1, ""},
        {"287 literal and length codes", "1 01 (5:30) (5:0) (4:0)", TWS__INFLATE_MANY_CODES, 0, ""},
        {"288 of them", "1 01 (5:31) (5:0) (4:0)", TWS__INFLATE_MANY_CODES, 0, ""},
        {"31 distance codes", "1 01 (5:0) (5:30) (4:0)", TWS__INFLATE_MANY_CODES, 0, ""},
        {"code lengths' code: over-subscribed", "1 01 {257 1 0=1 1=1 2=1}",
         TWS__INFLATE_OVER_SUBSCRIBED, 9, ""},
        {"code lengths' code: deep and over-subscribed", "1 01 {257 1 0=1 1=2 2=3 3=3 4=7}",
         TWS__INFLATE_OVER_SUBSCRIBED, 9, ""},
        {"code lengths' code: incomplete", "1 01 {257 1 0=1 1=2}", TWS__INFLATE_INCOMPLETE, 9, ""},
        {"code lengths' code: a single one", "1 01 {257 1 0=1}", TWS__INFLATE_INCOMPLETE, 9, ""},
        {"code lengths' code: none", "1 01 {257 1 0=0}", TWS__INFLATE_INCOMPLETE, 9, ""},
        /* In {18=1 1=1} a 0 is one width of one bit, a 1 a run of eleven zeros and more. */
        {"literals' code: over-subscribed", "1 01 {257 1 18=1 1=1} 0 0 1 (7:127) 1 (7:105) 0 0",
         TWS__INFLATE_OVER_SUBSCRIBED, 11, ""},
        {"literals' code: incomplete, of two",
         "1 01 {257 1 18=2 2=1 1=2} 0 11 (7:127) 11 (7:106) 0 0", TWS__INFLATE_INCOMPLETE, 11, ""},
        {"literals' code: incomplete, of one of two bits",
         "1 01 {257 1 18=1 2=1} 1 (7:127) 1 (7:107) 0 0", TWS__INFLATE_INCOMPLETE, 11, ""},
        {"distances' code: over-subscribed",
         "1 01 {257 3 18=1 1=1} 0 1 (7:127) 1 (7:106) 0 0 0 0", TWS__INFLATE_OVER_SUBSCRIBED, 11,
         ""},
        /* In {18=2 1=1 2=2} 0 is a width of one, 10 a width of two, 11 zeros. */
        {"distances' code: incomplete",
         "1 01 {257 1 18=2 1=1 2=2} 0 11 (7:127) 11 (7:106) 0 10", TWS__INFLATE_INCOMPLETE, 12,
         ""},
        {"a repeat before the first length", "1 01 {257 1 16=1 1=1} 1 (2:0)",
         TWS__INFLATE_NO_LENGTH_TO_REPEAT, 9, ""},
        {"a repeat beyond the last length", "1 01 {257 1 18=2 16=2 0=1} 11 (7:127) 11 (7:107) 10 (2:3)",
         TWS__INFLATE_LONG_REPEAT, 11, ""},
        {"zeros beyond the last length", "1 01 {257 1 18=1 0=1} 1 (7:127) 1 (7:127)",
         TWS__INFLATE_LONG_REPEAT, 10, ""},
        {"no code for the end", "1 01 {257 1 18=1 1=1} 0 0 1 (7:127) 1 (7:106) 0",
         TWS__INFLATE_NO_END, 11, ""},
        /* a, b and 256, and no distance but one of one bit, whose other bit is sent. */
        {"a distance bit that no code has",
         "1 01 {258 1 18=2 1=1 2=2} 11 (7:86) 0 11 (7:127) 11 (7:9) 10 10 0 0 11 1",
         TWS__INFLATE_NOT_A_DISTANCE, 13, "a"},
        {"a distance, and none has a code",
         "1 01 {258 1 18=2 0=3 1=3 2=1} 10 (7:86) 111 10 (7:127) 10 (7:9) 0 0 110 0 11 0",
         TWS__INFLATE_NOT_A_DISTANCE, 13, "a"},
        {"a bit that no code has", "1 01 {257 1 18=1 1=1} 1 (7:127) 1 (7:107) 0 0 1",
         TWS__INFLATE_NOT_A_LENGTH, 11, ""},
        {"symbol 286", "1 10 'a' <286>", TWS__INFLATE_NOT_A_LENGTH, 1, "a"},
        {"symbol 287", "1 10 <287>", TWS__INFLATE_NOT_A_LENGTH, 0, ""},
        {"distance symbol 30", "1 10 'a' <257> <d30>", TWS__INFLATE_NOT_A_DISTANCE, 1, "a"},
        {"distance symbol 31", "1 10 'a' <257> <d31>", TWS__INFLATE_NOT_A_DISTANCE, 1, "a"},
        {"a distance to before the begin", "1 10 'a' <257> <d1>", TWS__INFLATE_FAR, 1, "a"},
        {"a distance where nothing is", "1 10 <257> <d0>", TWS__INFLATE_FAR, 0, ""},
        {"the farthest distance", "1 10 'abc' <257> <d29> (13:8191)", TWS__INFLATE_FAR, 3, "abc"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i].name, i);
        const size_t n = build(rows[i].stream);
        run_whole(stream, n, 15);
        CHECK_EQ(whole.type, TWS_INFLATE_ERROR);
        CHECK_EQ(inflater.error, rows[i].fault);
        CHECK(whole.reason == tws__inflate_reasons[rows[i].fault]);
        CHECK_EQ(whole.offset, rows[i].offset);
        CHECK_MEM(whole.out, whole.len, rows[i].out, strlen(rows[i].out));
        check_cuts(stream, n, 15);
        check_cuts(stream, n, 8);
        /* It sticks. */
        run_whole(stream, n, 15);
        const result first = whole;
        memset(stream, 0, 64);
        feed(&whole, stream, 64);
        finish(&whole);
        CHECK_EQ(whole.type, TWS_INFLATE_ERROR);
        CHECK(whole.reason == first.reason);
        CHECK_EQ(whole.offset, first.offset);
        CHECK_EQ(whole.used, first.used);
        CHECK_EQ(whole.len, first.len);
    }
}

TEST("a message that is cut is no message")
{
    static const char *const rows[] = {
        "", "0 10", "0 10 'abc'", "0 10 'abc' <256> 0 10", "0 10 'abc' <257>",
        "0 00 | #10#00#ef#ff#41#42", "1 10 'a'",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row(rows[i], i);
        const size_t n = build(rows[i]);
        run_whole(stream, n, 15);
        finish(&whole);
        CHECK_EQ(whole.type, TWS_INFLATE_ERROR);
        CHECK_STR(tws_str_c(whole.reason), "the message ends inside a block");
        const result first = whole;
        finish(&whole);
        CHECK_EQ(whole.type, TWS_INFLATE_ERROR);
        CHECK(whole.reason == first.reason);
    }
}

TEST("a message may end with a final block that its sender cut the tail of")
{
    static const stream_case rows[] = {
        {"an empty final block", "0 10 'abc' <256> 1 00", "abc", 0},
        {"a final block and its byte of zero", "1 10 'abc' <256> | #00", "abc", 0},
        {"a final block alone", "1 10 'abc' <256>", "abc", 0},
        {"two final blocks", "1 10 'ab' <256> | 1 10 'c' <256> | #00", "abc", 0},
    };
    static uint8_t memory[8];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_inflate_window w;
        tws_inflate_event ev;
        test_row(rows[i].name, i);
        const size_t n = build(rows[i].stream);
        memset(&whole, 0, offsetof(result, out));
        tws_inflate_flat(&w, memory, sizeof memory, 8);
        tws_inflate_begin(&inflater, &w);
        while (whole.used < n) { /* what is behind an end is another stream */
            feed(&whole, stream + whole.used, n - whole.used);
            CHECK(whole.type == TWS_INFLATE_END || whole.type == TWS_INFLATE_MORE);
        }
        tws_inflate_decode(&inflater, NULL, 0, &ev); /* nothing comes, nothing changes */
        CHECK_EQ(ev.type, TWS_INFLATE_MORE);
        finish(&whole);
        CHECK_EQ(whole.type, TWS_INFLATE_END);
        CHECK_MEM(whole.out, whole.len, rows[i].out, strlen(rows[i].out));
    }
}

TEST("a flat window that is too small is full at the end too")
{
    static uint8_t two[2];
    tws_inflate_window w;
    tws_inflate_event ev;
    const size_t n = build("0 10 'abc' <256> 0 00");
    tws_inflate_flat(&w, two, sizeof two, 8);
    tws_inflate_begin(&inflater, &w);
    CHECK(tws_inflate_decode(&inflater, stream, n, &ev) < n);
    CHECK_EQ(ev.type, TWS_INFLATE_FULL);
    for (int i = 0; i < 3; i++) {
        tws_inflate_finish(&inflater, &ev);
        CHECK_EQ(ev.type, TWS_INFLATE_FULL);
        CHECK_EQ(ev.len, 0);
    }
    tws_inflate_flat(&w, NULL, 0, 8); /* no memory is a window too, for nothing */
    tws_inflate_begin(&inflater, &w);
    tws_inflate_decode(&inflater, stream, n, &ev);
    CHECK_EQ(ev.type, TWS_INFLATE_FULL);
}

TEST("a flat window that grows when it is full takes the message all the same")
{
    static const char want[] = "abcabcabcabcabcabcabcabcabcxyzxyz";
    tws_inflate_window w;
    tws_inflate_event ev;
    size_t at = 0;
    const size_t n = build("0 10 'abc' <268> 1 <d2> <260> <d2> 'xyz' <257> <d2> <256> 0 00");
    tws_inflate_flat(&w, NULL, 0, 8);
    tws_inflate_begin(&inflater, &w);
    do {
        at += tws_inflate_decode(&inflater, stream + at, n - at, &ev);
        if (ev.type == TWS_INFLATE_FULL) { /* a byte more at a time, somewhere else */
            uint8_t *more = (uint8_t *)malloc(w.bytes + 1);
            if (w.bytes > 0) {
                memcpy(more, w.memory, w.bytes);
            }
            free(w.memory);
            w.memory = more;
            w.bytes++;
        }
    } while (ev.type == TWS_INFLATE_FULL);
    CHECK_EQ(ev.type, TWS_INFLATE_MORE);
    tws_inflate_finish(&inflater, &ev);
    CHECK_EQ(ev.type, TWS_INFLATE_END);
    CHECK_MEM(w.memory, w.at, want, sizeof want - 1);
    free(w.memory);
}

/* -- tables -- */

static size_t widths_of(const char *text, uint8_t *width)
{
    size_t n = 0;
    for (char *end; *text != '\0'; text = end) {
        unsigned long times = 1;
        unsigned long w = strtoul(text, &end, 10);
        if (*end == '*') {
            times = w;
            w = strtoul(end + 1, &end, 10);
        }
        memset(width + n, (int)w, times);
        n += times;
        end += *end == ' ';
    }
    return n;
}

/* Decode every code of the table back to its symbol. */
static void check_table(const uint32_t *table, unsigned root, const uint8_t *width, size_t n)
{
    unsigned code = 0;
    for (unsigned w = 1; w <= 15; w++) {
        for (unsigned i = 0; i < n; i++) {
            if (width[i] != w) {
                continue;
            }
            unsigned bits = 0;
            for (unsigned b = 0; b < w; b++) {
                bits |= (code >> (w - 1 - b) & 1u) << b;
            }
            uint32_t entry = table[bits & ((1u << root) - 1)];
            if ((entry & TWS__INFLATE_LINK) != 0) {
                CHECK_EQ(TWS__INFLATE_WIDTH(entry), root);
                entry = table[TWS__INFLATE_VALUE(entry) +
                              (bits >> root & ((1u << TWS__INFLATE_EXTRA(entry)) - 1))];
                CHECK_EQ(TWS__INFLATE_WIDTH(entry), w - root);
            } else {
                CHECK_EQ(TWS__INFLATE_WIDTH(entry), w);
            }
            CHECK_EQ(TWS__INFLATE_VALUE(entry), i);
            code++;
        }
        code <<= 1;
    }
}

TEST("the largest tables that a code can need have room")
{
    static const struct {
        const char *name;
        const char *widths;
        tws__inflate_kind kind;
        unsigned root;
        size_t room;
    } rows[] = {
        {"of 285 literals", "1 2 3 232*11 11 12 12 40*12 12 12 12 13 14 15 15",
         TWS__INFLATE_OF_LITERALS, 10, 1332},
        {"of 29 distances", "1 2 3 4 5 12*9 9 10 10 10 10 10 11 12 13 14 15 15",
         TWS__INFLATE_OF_DISTANCES, 8, 400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t width[288];
        uint8_t root = (uint8_t)rows[i].root;
        test_row(rows[i].name, i);
        const size_t n = widths_of(rows[i].widths, width);
        uint32_t *table = (uint32_t *)malloc(rows[i].room * sizeof *table);
        CHECK_EQ(tws__inflate_build(table, &root, width, (unsigned)n, rows[i].kind), 0);
        CHECK_EQ(root, rows[i].root);
        free(table);
        CHECK(rows[i].room <= (rows[i].kind == TWS__INFLATE_OF_LITERALS
                                   ? sizeof inflater.literal
                                   : sizeof inflater.distance_table) / sizeof *table);
    }
}

static uint32_t seed;

static uint32_t rnd(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

/* Split the widest codes of a complete code at random, until it has n. */
static void random_code(uint8_t *width, size_t n, unsigned most)
{
    width[0] = 1;
    width[1] = 1;
    for (size_t have = 2; have < n;) {
        const size_t i = rnd() % have;
        if (width[i] < most) {
            width[i]++;
            width[have++] = width[i];
        }
    }
}

TEST("any complete code is read back through its table, and fits it")
{
    seed = 10;
    for (int round = 0; round < 2000; round++) {
        uint8_t width[288] = {0};
        uint8_t root = 10;
        const size_t n = 2 + rnd() % 254; /* all literals: their entries tell the symbol */
        random_code(width, n, 8 + rnd() % 8);
        memset(inflater.literal, 0xff, sizeof inflater.literal);
        CHECK_EQ(tws__inflate_build(inflater.literal, &root, width, (unsigned)n,
                                    TWS__INFLATE_OF_LITERALS), 0);
        check_table(inflater.literal, root, width, n);
        /* One code wider, and it is incomplete; one narrower, and it is over-subscribed. */
        const size_t i = rnd() % n;
        width[i]++;
        if (width[i] <= 15 && n > 2) {
            CHECK_EQ(tws__inflate_build(inflater.literal, &root, width, (unsigned)n,
                                        TWS__INFLATE_OF_LITERALS), TWS__INFLATE_INCOMPLETE);
        }
        width[i] = (uint8_t)(width[i] - 2);
        if (width[i] > 0) {
            CHECK_EQ(tws__inflate_build(inflater.literal, &root, width, (unsigned)n,
                                        TWS__INFLATE_OF_LITERALS), TWS__INFLATE_OVER_SUBSCRIBED);
        }
    }
}

/* -- windows -- */

TEST("a distance reaches back as far as the window that was agreed on, and no farther")
{
    for (unsigned b = TWS_DEFLATE_MIN_BITS; b <= TWS_DEFLATE_MAX_BITS; b++) {
        const size_t size = (size_t)1 << b;
        static uint8_t ring[1 << 15];
        test_row("window", b);
        for (unsigned beyond = 0; beyond < 2; beyond++) {
            /* size + 7 stored bytes, then a copy of three from `size` (and one more) before. */
            bit_writer w = {0};
            put_number(&w, 8, 0);
            put_number(&w, 16, (unsigned)(size + 7));
            put_number(&w, 16, (unsigned)(size + 7) ^ 0xffffu);
            for (size_t i = 0; i < size + 7; i++) {
                put_number(&w, 8, (unsigned)(i % 251));
            }
            const unsigned distance = (unsigned)size + beyond;
            unsigned symbol = 29;
            while (tws__distance_base[symbol] > distance) {
                symbol--;
            }
            put_number(&w, 3, 3);
            put_fixed(&w, 257);
            put_code(&w, 5, symbol);
            put_number(&w, tws__distance_extra[symbol], distance - tws__distance_base[symbol]);
            put_fixed(&w, 256);
            const size_t n = (w.count + 7) / 8;
            tws_inflate_window window;
            run_whole(stream, n, b);
            if (b == TWS_DEFLATE_MAX_BITS && beyond == 1) {
                continue; /* no code says it */
            }
            CHECK_EQ(whole.type, beyond ? TWS_INFLATE_ERROR : TWS_INFLATE_END);
            CHECK_EQ(whole.len, size + 7 + (beyond ? 0 : 3));
            for (size_t i = 0; i < 3 && !beyond; i++) {
                CHECK_EQ(whole.out[size + 7 + i], (7 + i) % 251);
            }
            for (size_t step = 1; step < 2000; step = step * 3 + 1) {
                tws_inflate_ring(&window, ring, b);
                inflate_pieces(&other, &window, stream, n, 0, step);
                check_same(&other, &whole);
            }
        }
    }
}

/* -- deflating: codes -- */

/* Kraft's sum of a code of at most `limit` bits, in codes of that width: 2^limit of a complete one. */
static uint32_t kraft(const uint8_t *width, size_t n, unsigned limit)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        CHECK(width[i] <= limit);
        sum += width[i] > 0 ? 1u << (limit - width[i]) : 0;
    }
    return sum;
}

TEST("the most lopsided counts give complete codes within the limit")
{
    static const unsigned limits[] = {15, 7};
    for (size_t k = 0; k < 2; k++) {
        for (unsigned n = 1; n <= 19; n++) {
            uint16_t a = 1;
            uint16_t b = 1;
            test_row(k == 0 ? "of 15 bits" : "of 7 bits", n);
            memset(&scratch, 0, sizeof scratch);
            for (unsigned i = 0; i < n; i++) { /* Fibonacci's numbers: each a bit longer */
                scratch.count[i] = a;
                b = (uint16_t)(a + b);
                a = (uint16_t)(b - a);
            }
            tws__deflate_widths(&scratch, 0, 19, limits[k]);
            CHECK_EQ(kraft(scratch.width, 19, limits[k]), 1u << limits[k]);
            for (unsigned i = 1; i < n; i++) {
                CHECK(scratch.width[i] <= scratch.width[i - 1]);
                CHECK(scratch.width[i] > 0);
            }
        }
    }
    seed = 12;
    for (int round = 0; round < 500; round++) {
        memset(&scratch, 0, sizeof scratch);
        for (size_t i = 0; i < 286; i++) {
            scratch.count[i] = (uint16_t)(1u << rnd() % 16 >> rnd() % 16);
        }
        tws__deflate_widths(&scratch, 0, 286, 15);
        CHECK_EQ(kraft(scratch.width, 286, 15), 1u << 15);
    }
}

TEST("every length and distance has the symbol whose base and extra bits say it")
{
    for (unsigned length = 3; length <= 258; length++) {
        const unsigned i = tws__deflate_length_symbol(length) - 257;
        CHECK(i < 29 && length - tws__length_base[i] < 1u << tws__length_extra[i]);
    }
    CHECK_EQ(tws__deflate_length_symbol(258), 285); /* and not 284 with 31 */
    for (unsigned distance = 1; distance <= 32768; distance++) {
        const unsigned i = tws__deflate_distance_symbol(distance);
        CHECK(i < 30 && distance - tws__distance_base[i] < 1u << tws__distance_extra[i]);
    }
}

/* -- deflating: there and back -- */

static uint8_t back[1 << 18];

/* Inflate a whole message into one place; false if it is none. */
static bool inflate_message(const uint8_t *p, size_t n, unsigned window_bits, size_t room,
                            size_t *len)
{
    tws_inflate_window w;
    tws_inflate_event ev;
    uint8_t *exact = (uint8_t *)malloc(n > 0 ? n : 1);
    memcpy(exact, p, n);
    tws_inflate_flat(&w, back, room, window_bits);
    tws_inflate_begin(&inflater, &w);
    const size_t used = tws_inflate_decode(&inflater, exact, n, &ev);
    const bool taken = ev.type == TWS_INFLATE_MORE && used == n;
    free(exact);
    if (taken) {
        tws_inflate_finish(&inflater, &ev);
    }
    *len = w.at;
    return ev.type == TWS_INFLATE_END;
}

/* Text as a worker writes it. */
static size_t put_event(char *out, size_t room)
{
    static const char *const status[] = {"queued", "running", "completed", "failed"};
    static const char *const what[] = {"Downloading input files", "Transcoding segment",
                                       "Uploading results", "Waiting for a worker"};
    return (size_t)snprintf(
        out, room,
        "{\"task_id\":\"%06x-%06x\",\"status\":\"%s\",\"progress\":%u,\"message\":\"%s %u of 500\","
        "\"timestamp\":\"2026-11-22T%02u:%02u:%02u.%03uZ\",\"worker\":\"worker-%u\"}",
        rnd(), rnd(), status[rnd() % 4], rnd() % 101, what[rnd() % 4], rnd() % 500, rnd() % 24,
        rnd() % 60, rnd() % 60, rnd() % 1000, rnd() % 16);
}

typedef enum text_kind { EVENTS, NOISE, ZEROS, FEW_LETTERS, TEXT_KINDS } text_kind;

static void put_text(uint8_t *out, size_t n, text_kind kind)
{
    char event[512];
    for (size_t at = 0; kind == EVENTS && at < n;) {
        const size_t len = put_event(event, sizeof event);
        memcpy(out + at, event, len < n - at ? len : n - at);
        at += len < n - at ? len : n - at;
    }
    for (size_t i = 0; kind != EVENTS && i < n; i++) {
        out[i] = (uint8_t)(kind == NOISE ? rnd() : kind == ZEROS ? 0 : 'a' + rnd() % 3);
    }
}

static uint8_t text[1 << 17];
static uint8_t packed[1 << 18];
static uint8_t memory[TWS_DEFLATE_MEMORY(TWS_DEFLATE_MAX_BITS, true)];

TEST("messages of every kind and size come back at every level and window, within the bound")
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 10, 100, 255, 256, 257, 1000, 5000, 40000, 66000};
    tws_deflater z;
    seed = 1;
    for (unsigned b = TWS_DEFLATE_MIN_BITS; b <= TWS_DEFLATE_MAX_BITS; b++) {
        for (unsigned level = 1; level <= 9; level++) {
            const bool takeover = (b + level) % 2 == 0;
            tws_inflate_window w;
            tws_inflate_ring(&w, back, b);
            tws_deflate_init(&z, memory, b, level, takeover);
            for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
                const size_t n = sizes[i / 2];
                size_t len;
                if (n > 5000 && (b + level + i) % 5 != 0) {
                    continue;
                }
                put_text(text, n, (text_kind)(rnd() % TEXT_KINDS));
                const uint8_t *exact = test_exact(text, n);
                CHECK_EQ(tws_deflate_encode(&z, &scratch, exact, n, true, packed,
                                            tws_deflate_bound(n), &len), TWS_OK);
                test_free_blocks();
                if (!takeover) {
                    tws_inflate_ring(&w, back, b);
                }
                inflate_pieces(&whole, &w, packed, len, 0, len);
                finish(&whole);
                CHECK_EQ(whole.type, TWS_INFLATE_END);
                CHECK_MEM(whole.out, whole.len, text, n);
            }
        }
    }
}

TEST("noise costs a few bytes, repetition almost nothing, and events a third")
{
    tws_deflater z;
    size_t len;
    seed = 2;
    tws_deflate_init(&z, memory, 15, 6, false);
    put_text(text, 65536, NOISE);
    CHECK_EQ(tws_deflate_encode(&z, &scratch, text, 65536, true, packed, sizeof packed, &len), 0);
    CHECK(len > 65536 && len < 65536 + 60);
    put_text(text, 65536, ZEROS);
    CHECK_EQ(tws_deflate_encode(&z, &scratch, text, 65536, true, packed, sizeof packed, &len), 0);
    CHECK(len < 100);
    put_text(text, 65536, EVENTS);
    CHECK_EQ(tws_deflate_encode(&z, &scratch, text, 65536, true, packed, sizeof packed, &len), 0);
    CHECK(len < 65536 / 4);
}

TEST("an event refers to the ones before it where there is takeover, and to none without")
{
    size_t sum[2] = {0, 0};
    for (int takeover = 0; takeover < 2; takeover++) {
        tws_deflater z;
        size_t len;
        seed = 3;
        tws_deflate_init(&z, memory, 12, 6, takeover);
        for (int i = 0; i < 50; i++) {
            const size_t n = put_event((char *)text, sizeof text);
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, 400, &len), TWS_OK);
            sum[takeover] += len;
            if (!takeover) {
                size_t got;
                CHECK(inflate_message(packed, len, 12, sizeof back, &got));
                CHECK_MEM(back, got, text, n);
            }
        }
    }
    CHECK(sum[1] * 2 < sum[0]);
}

TEST("the same past gives the same bytes, whatever the memory held and the scratch was used for")
{
    static uint8_t again[1 << 18];
    static uint8_t dirty[sizeof memory];
    for (int takeover = 0; takeover < 2; takeover++) {
        tws_deflater z;
        tws_deflater y;
        size_t len;
        size_t same;
        seed = 4;
        memset(memory, 0, sizeof memory);
        memset(dirty, 0xff, sizeof dirty);
        tws_deflate_init(&z, memory, 15, 6, takeover);
        tws_deflate_init(&y, dirty, 15, 6, takeover);
        for (int i = 0; i < 300; i++) {
            const size_t n = rnd() % (i % 50 == 0 ? 60000 : 900);
            put_text(text, n, (text_kind)(rnd() % TEXT_KINDS));
            memset(&scratch, 0, sizeof scratch);
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, sizeof packed, &len), 0);
            memset(&scratch, 0xff, sizeof scratch);
            CHECK_EQ(tws_deflate_encode(&y, &scratch, text, n, true, again, sizeof again, &same), 0);
            CHECK_MEM(again, same, packed, len);
        }
        if (!takeover) { /* and without takeover the past is nothing */
            tws_deflate_init(&y, dirty, 15, 6, takeover);
            CHECK_EQ(tws_deflate_encode(&y, &scratch, text, 0, true, again, sizeof again, &same), 0);
            CHECK_MEM(again, same, "", 1);
        }
    }
}

TEST("pieces of a message are one message")
{
    for (int takeover = 0; takeover < 2; takeover++) {
        for (size_t step = 1; step < 3000; step = step * 3 + 1) {
            tws_deflater z;
            size_t at = 0;
            size_t got;
            const size_t n = 3000;
            seed = 6;
            put_text(text, n, EVENTS);
            tws_deflate_init(&z, memory, 10, 6, takeover);
            for (size_t from = 0; from < n; from += step) {
                const size_t piece = step < n - from ? step : n - from;
                size_t len;
                CHECK_EQ(tws_deflate_encode(&z, &scratch, text + from, piece, false, packed + at,
                                            tws_deflate_bound(piece), &len), TWS_OK);
                at += len;
            }
            size_t len;
            CHECK_EQ(tws_deflate_encode(&z, &scratch, NULL, 0, true, packed + at, 4, &len), TWS_OK);
            CHECK(inflate_message(packed, at + len, 10, sizeof back, &got));
            CHECK_MEM(back, got, text, n);
        }
    }
}

TEST("what does not fit is said, for every room, and the next message is whole")
{
    tws_deflater z;
    size_t full;
    size_t len;
    seed = 7;
    const size_t n = put_event((char *)text, sizeof text);
    for (int takeover = 0; takeover < 2; takeover++) {
        tws_deflate_init(&z, memory, 12, 6, takeover);
        CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, sizeof packed, &full), 0);
        for (size_t room = 0; room < full; room++) {
            uint8_t *exact = (uint8_t *)malloc(room > 0 ? room : 1);
            tws_deflate_forget(&z);
            len = 1;
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, exact, room, &len),
                     TWS_ERR_LIMIT);
            CHECK_EQ(len, 0);
            free(exact);
            /* It refers to nothing that the peer has not been sent. */
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, full, &len), TWS_OK);
            CHECK_EQ(len, full);
            CHECK(inflate_message(packed, len, 12, n, &len));
            CHECK_MEM(back, len, text, n);
        }
    }
}

TEST("nothing is done any more once a block did not fit, however much text is left")
{
    static uint32_t window[TWS_DEFLATE_MEMORY(15, false) / 4];
    static uint8_t large[200000];
    tws_deflater z;
    seed = 3;
    for (unsigned round = 0; round < 40; round++) {
        size_t len = 1;
        test_row("round", round);
        for (size_t i = 0; i < sizeof large; i++) { /* many short copies, put off by lazy ones */
            large[i] = (uint8_t)('a' + (rnd() >> 16) % 4);
        }
        tws_deflate_init(&z, window, 15, 9, false);
        CHECK_EQ(tws_deflate_encode(&z, &scratch, large, sizeof large, true, packed, 1000, &len),
                 TWS_ERR_LIMIT);
        CHECK_EQ(len, 0);
    }
}

/* Compress n bytes of text where they do not fit. */
static void void_message(tws_deflater *z, size_t n)
{
    size_t len = 1;
    CHECK_EQ(tws_deflate_encode(z, &scratch, text, n, true, packed, n / 2, &len), TWS_ERR_LIMIT);
    CHECK_EQ(len, 0);
}

TEST("a message that does not fit leaves no trace in the context of the others")
{
    static uint8_t again[1 << 16];
    static uint8_t second[sizeof memory];
    static const size_t noises[] = {2, 3, 100, 2000, 16000};
    for (size_t i = 0; i < sizeof noises / sizeof noises[0]; i++) {
        tws_deflater z;
        tws_deflater y; /* hears of nothing but what fits */
        tws_inflate_window w;
        size_t len;
        size_t same;
        seed = 9;
        test_row("noise", i);
        tws_deflate_init(&z, memory, 15, 6, true);
        tws_deflate_init(&y, second, 15, 6, true);
        tws_inflate_ring(&w, back, 15);
        for (int k = 0; k < 60; k++) {
            put_text(text, noises[i], NOISE);
            void_message(&z, noises[i]);
            const size_t n = put_event((char *)text, sizeof text);
            if (k % 3 == 0) {
                void_message(&z, 25); /* of what could be referred to */
            }
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, 400, &len), TWS_OK);
            CHECK_EQ(tws_deflate_encode(&y, &scratch, text, n, true, again, 400, &same), TWS_OK);
            CHECK_MEM(packed, len, again, same);
            inflate_pieces(&whole, &w, packed, len, 0, len);
            finish(&whole);
            CHECK_EQ(whole.type, TWS_INFLATE_END);
            CHECK_MEM(whole.out, whole.len, text, n);
        }
    }
}

TEST("void messages of every size, whole and in pieces, are nothing that later ones refer to")
{
    for (unsigned b = TWS_DEFLATE_MIN_BITS; b <= TWS_DEFLATE_MAX_BITS; b++) {
        tws_deflater z;
        tws_inflate_window w;
        size_t sum[2] = {0, 0};
        size_t len;
        seed = 10 + b;
        tws_deflate_init(&z, memory, b, 6, true);
        tws_inflate_ring(&w, back, b);
        for (int i = 0; i < 1000; i++) {
            const size_t size = (size_t)1 << b;
            const size_t n = i % 2 == 0 ? 2 + rnd() % size : 2 + rnd() % (size / 8);
            const text_kind kind = (text_kind)(rnd() % TEXT_KINDS);
            size_t cap = n * (rnd() % 100) / 100;
            put_text(text, n, kind);
            if (i % 10 == 0) { /* a piece is sent before the next one fails: all is forgotten */
                CHECK_EQ(tws_deflate_encode(&z, &scratch, text, 2, false, packed, 99, &len), TWS_OK);
                cap = 0;
            }
            tws_status status = tws_deflate_encode(&z, &scratch, text, n, true, packed, cap, &len);
            CHECK(status == TWS_OK || len == 0);
            if (status == TWS_ERR_LIMIT && i % 3 == 0) { /* the same again, where it fits */
                status = tws_deflate_encode(&z, &scratch, text, n, true, packed,
                                            tws_deflate_bound(n), &len);
                CHECK_EQ(status, TWS_OK);
            }
            if (status == TWS_OK) {
                inflate_pieces(&whole, &w, packed, len, 0, len);
                finish(&whole);
                CHECK_EQ(whole.type, TWS_INFLATE_END);
                CHECK_MEM(whole.out, whole.len, text, n);
            }
            sum[status == TWS_OK]++;
        }
        CHECK(sum[0] > 100 && sum[1] > 100);
    }
}

TEST("a void message that is about as long as the window leaves nothing that leads out of it")
{
    seed = 11;
    for (int i = 0; i < 2000; i++) {
        const unsigned b = 8 + (unsigned)i % 3;
        const size_t size = (size_t)1 << b;
        tws_deflater z;
        tws_inflate_window w;
        tws_deflate_init(&z, memory, b, 6, true);
        tws_inflate_ring(&w, back, b);
        for (int k = 0; k < 3; k++) {
            size_t len;
            const size_t n = k == 1 ? size - 64 + rnd() % 128 : 20 + rnd() % 200;
            put_text(text, n, k == 1 || i % 2 == 0 ? FEW_LETTERS : ZEROS);
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, k == 1 ? 0 : 400, &len),
                     k == 1 ? TWS_ERR_LIMIT : TWS_OK);
            if (k != 1) {
                inflate_pieces(&whole, &w, packed, len, 0, len);
                finish(&whole);
                CHECK_EQ(whole.type, TWS_INFLATE_END);
                CHECK_MEM(whole.out, whole.len, text, n);
            }
        }
    }
}

TEST("positions begin again before they run out")
{
    for (int takeover = 0; takeover < 2; takeover++) {
        tws_deflater z;
        tws_inflate_window w;
        tws_deflate_init(&z, memory, 9, 6, takeover);
        tws_inflate_ring(&w, back, 9);
        z.next = z.origin = (UINT32_C(1) << 31) - 1000;
        tws_deflate_forget(&z);
        seed = 8;
        for (int i = 0; i < 40; i++) {
            size_t len;
            const size_t n = put_event((char *)text, sizeof text);
            CHECK_EQ(tws_deflate_encode(&z, &scratch, text, n, true, packed, 500, &len), TWS_OK);
            if (!takeover) {
                tws_inflate_ring(&w, back, 9);
            }
            inflate_pieces(&whole, &w, packed, len, 0, len);
            finish(&whole);
            CHECK_EQ(whole.type, TWS_INFLATE_END);
            CHECK_MEM(whole.out, whole.len, text, n);
        }
        CHECK(z.next < 1u << 16);
    }
}

/* -- hostile -- */

TEST("a bomb stops at the caller's limit, with its input hardly begun")
{
    /* Copies of 258 zeros in 13 bits each. */
    bit_writer b = {0};
    put_number(&b, 3, 2);
    put_fixed(&b, 0);
    for (int i = 0; i < 4000; i++) {
        put_fixed(&b, 285);
        put_code(&b, 5, 0);
    }
    const size_t n = b.count / 8;
    static uint8_t limited[65536];
    tws_inflate_window w;
    tws_inflate_event ev;
    tws_inflate_flat(&w, limited, sizeof limited, 15);
    tws_inflate_begin(&inflater, &w);
    const size_t used = tws_inflate_decode(&inflater, stream, n, &ev);
    CHECK_EQ(ev.type, TWS_INFLATE_FULL);
    CHECK_EQ(ev.len, sizeof limited);
    CHECK(used < 500);
    /* A ring gives it in pieces that the caller counts, for as long as he likes. */
    uint64_t total = 0;
    tws_inflate_ring(&w, limited, 15);
    tws_inflate_begin(&inflater, &w);
    for (size_t at = 0; total < 1 << 26;) {
        at += tws_inflate_decode(&inflater, stream + at, n - at, &ev);
        CHECK(ev.type == TWS_INFLATE_FULL || ev.type == TWS_INFLATE_MORE);
        CHECK(ev.len <= 32768);
        total += ev.len;
        at -= at == n ? 13 * 400 : 0; /* bytes that hold whole copies: as if they came again */
    }
}

TEST("thousands of empty blocks are read in one call, and give nothing")
{
    static const char *const rows[] = {"0 10 <256>", "0 00 | #00#00#ff#ff"};
    for (size_t i = 0; i < 2; i++) {
        bit_writer b = {0};
        test_row(rows[i], i);
        while (b.count < 8 * 60000) {
            if (i == 0) {
                put_number(&b, 3, 2);
                put_fixed(&b, 256);
            } else {
                put_number(&b, 8, 0);
                put_number(&b, 32, 0xffff0000u);
            }
        }
        run_whole(stream, b.count / 8, 15);
        CHECK_EQ(whole.type, TWS_INFLATE_MORE);
        CHECK_EQ(whole.used, b.count / 8);
        CHECK_EQ(whole.len, 0);
        tws_inflate_window w;
        static uint8_t ring[256];
        tws_inflate_ring(&w, ring, 8);
        inflate_pieces(&other, &w, stream, b.count / 8, 0, 1);
        check_same(&other, &whole);
    }
}

TEST("noise in place of a stream never reads or writes beyond, and ends the same however cut")
{
    seed = 9;
    for (int round = 0; round < 4000; round++) {
        const size_t n = 1 + rnd() % 60;
        tws_inflate_window w;
        uint8_t ring[256];
        put_text(stream, n, NOISE);
        stream[0] = (uint8_t)((stream[0] & ~7u) | (rnd() % 3) << 1);
        run_whole(stream, n, 8);
        tws_inflate_ring(&w, ring, 8);
        inflate_pieces(&other, &w, stream, n, 1 + rnd() % n, 1 + rnd() % 5);
        check_same(&other, &whole);
    }
}
