/* Section 9: the handshake and the frames, both roles.
 *
 * Frames are written as hexadecimal with these marks:
 *     +05        a length byte: gets the mask bit where the run is masked
 *     : ... ;    a payload: the mask stands here, and what follows is masked
 *     'text'     its bytes        300*78   the byte 78, 300 times
 *     !          the byte before this mark must bring the error, not one earlier or later
 * A row runs as a server reading masked frames and as a client reading bare ones. */
#include "test.h"

static const uint8_t test_mask[4] = {0x37, 0xfa, 0x21, 0x3d}; /* the one of RFC 6455 5.7 */
static uint8_t bytes[1 << 17];

typedef struct spec {
    size_t len;
    size_t mark; /* 0: none */
    size_t payload;
    bool masked;
    bool in_payload;
} spec;

static void put(spec *s, unsigned byte)
{
    if (s->in_payload && s->masked) {
        byte ^= test_mask[s->payload % 4];
    }
    s->payload++;
    bytes[s->len++] = (uint8_t)byte;
}

static const char *put_number(spec *s, const char *at)
{
    char *end;
    unsigned long n = strtoul(at, &end, 10);
    if (*end != '*') {
        put(s, (unsigned)(strtoul((char[]){at[0], at[1], 0}, NULL, 16)));
        return at + 2;
    }
    unsigned byte = (unsigned)strtoul(end + 1, &end, 16);
    while (n-- > 0) {
        put(s, byte);
    }
    return end;
}

static const char *put_text(spec *s, const char *at)
{
    for (at++; *at != '\''; at++) {
        put(s, (unsigned char)*at);
    }
    return at + 1;
}

static void begin_payload(spec *s)
{
    if (s->masked) {
        memcpy(bytes + s->len, test_mask, 4);
        s->len += 4;
    }
    s->payload = 0;
    s->in_payload = true;
}

/* Write what `at` says to bytes[]. */
static spec build(const char *at, bool masked)
{
    spec s = {0, 0, 0, masked, false};
    while (*at != '\0') {
        switch (*at) {
        case ' ': at++; break;
        case ':': begin_payload(&s); at++; break;
        case ';': s.in_payload = false; at++; break;
        case '!': s.mark = s.len; at++; break;
        case '\'': at = put_text(&s, at); break;
        case '+':
            at = put_number(&s, at + 1);
            bytes[s.len - 1] |= masked ? 0x80 : 0;
            break;
        default: at = put_number(&s, at);
        }
    }
    return s;
}

/* -- a reader that writes down what it was given -- */

typedef struct reader {
    tws_ws_decoder decoder;
    uint8_t *kept; /* what the decoder left, to stand before the next bytes */
    size_t kept_len;
    uint8_t *message;
    size_t message_len;
    size_t fed;
    size_t error_at;
    bool open;
    bool failed;
    char log[4096];
} reader;

static void note(reader *r, const char *what, const uint8_t *p, size_t n)
{
    size_t at = strlen(r->log);
    size_t same = 1;
    while (same < n && p[same] == p[0]) {
        same++;
    }
    if (n > 8 && same == n) {
        snprintf(r->log + at, sizeof r->log - at, "%s(%zu*%02x) ", what, n, p[0]);
    } else {
        snprintf(r->log + at, sizeof r->log - at, "%s(%.*s) ", what, (int)n, (const char *)p);
    }
}

static void on_data(reader *r, const tws_ws_event *ev)
{
    CHECK_EQ(ev->first, !r->open);
    r->open = true;
    if (ev->len > 0) {
        memcpy(r->message + r->message_len, ev->payload, ev->len);
    }
    r->message_len += ev->len;
    if (!ev->last) {
        return;
    }
    CHECK_EQ(ev->frame_left, 0);
    if (ev->compressed) {
        note(r, "compressed", NULL, 0);
    }
    note(r, ev->opcode == TWS_WS_TEXT ? "text" : "binary", r->message, r->message_len);
    r->message_len = 0;
    r->open = false;
}

static void on_event(reader *r, const tws_ws_event *ev)
{
    char word[32];
    switch (ev->type) {
    case TWS_WS_MORE: break;
    case TWS_WS_DATA: on_data(r, ev); break;
    case TWS_WS_GOT_PING: note(r, "ping", ev->payload, ev->len); break;
    case TWS_WS_GOT_PONG: note(r, "pong", ev->payload, ev->len); break;
    case TWS_WS_GOT_CLOSE:
        snprintf(word, sizeof word, "close-%u", ev->code);
        note(r, word, ev->payload, ev->len);
        break;
    case TWS_WS_ERROR:
        snprintf(word, sizeof word, "error-%u", ev->code);
        note(r, word, NULL, 0);
        CHECK(ev->reason != NULL && ev->reason[0] != '\0');
        r->failed = true;
        r->error_at = r->fed;
        break;
    }
}

/* The error comes again whatever is fed, and nothing is taken. */
static void check_sticky(reader *r, uint16_t code)
{
    uint8_t frames[] = {0x89, 0x00, 0x81, 0x80, 1, 2, 3, 4};
    for (size_t at = 0; at <= 2; at += 2) { /* a ping, a text */
        tws_ws_event ev;
        CHECK_EQ(tws_ws_decode(&r->decoder, frames + at, sizeof frames - at, &ev), 0);
        CHECK_EQ(ev.type, TWS_WS_ERROR);
        CHECK_EQ(ev.code, code);
    }
}

/* Feed n bytes behind those that were left, from a block of exactly that many, until it wants
 * more. */
static void feed(reader *r, const uint8_t *p, size_t n)
{
    size_t len = r->kept_len + n;
    uint8_t *block = malloc(len > 0 ? len : 1);
    uint8_t *at = block;
    tws_ws_event ev;
    if (r->failed) {
        free(block);
        return;
    }
    if (r->kept_len > 0) {
        memcpy(block, r->kept, r->kept_len);
    }
    memcpy(block + r->kept_len, p, n);
    r->fed += n;
    do {
        size_t used = tws_ws_decode(&r->decoder, at, len, &ev);
        CHECK(used <= len);
        at += used;
        len -= used;
        on_event(r, &ev);
    } while (ev.type != TWS_WS_MORE && ev.type != TWS_WS_ERROR);
    if (ev.type == TWS_WS_ERROR) {
        check_sticky(r, ev.code);
        len = 0;
    }
    CHECK(len <= 139);
    r->kept_len = len < 256 ? len : 0;
    memcpy(r->kept, at, r->kept_len);
    free(block);
}

typedef struct row {
    const char *name;
    const char *frames;
    const char *want;
    uint32_t max_message;
    uint32_t max_frames;
} row;

static bool may_be_compressed;

static reader reader_of(const row *w, tws_ws_role role)
{
    reader r;
    memset(&r, 0, sizeof r);
    tws_ws_init(&r.decoder, role, w->max_message, w->max_frames);
    if (may_be_compressed) {
        tws_ws_compression terms = {15, false, 0, 0};
        tws_ws_allow_compressed(&r.decoder, &terms);
    }
    r.kept = malloc(256);
    r.message = malloc(sizeof bytes);
    return r;
}

static void finish(reader *r, const char *want)
{
    CHECK_STR(tws_str_c(r->log), want);
    free(r->kept);
    free(r->message);
}

static void run_in_steps(const row *w, tws_ws_role role, spec s, size_t step)
{
    reader r = reader_of(w, role);
    for (size_t at = 0; at < s.len; at += step) {
        feed(&r, bytes + at, s.len - at < step ? s.len - at : step);
    }
    CHECK_EQ(r.failed, s.mark > 0);
    if (step == 1) {
        CHECK_EQ(r.error_at, s.mark);
    }
    finish(&r, w->want);
}

static void run_split(const row *w, tws_ws_role role, spec s, size_t split)
{
    reader r = reader_of(w, role);
    feed(&r, bytes, split);
    feed(&r, bytes + split, s.len - split);
    finish(&r, w->want);
}

/* Without the byte that brings the error there is none. */
static void run_cut(const row *w, tws_ws_role role, spec s)
{
    reader r = reader_of(w, role);
    feed(&r, bytes, s.mark - 1);
    CHECK(!r.failed);
    free(r.kept);
    free(r.message);
}

static void run_row(const row *w, tws_ws_role role)
{
    spec s = build(w->frames, role == TWS_WS_SERVER);
    run_in_steps(w, role, s, s.len);
    run_in_steps(w, role, s, 1);
    run_in_steps(w, role, s, 3);
    for (size_t split = 0; split <= s.len; split++) {
        run_split(w, role, s, split);
        if (s.len > 2000 && split == 40) {
            split = s.len - 40; /* every byte of a long payload is like the next */
        }
    }
    if (s.mark > 0) {
        run_cut(w, role, s);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void run_rows(const row *rows, size_t n, bool server, bool client)
{
    for (size_t i = 0; i < n; i++) {
        test_row(rows[i].name, i);
        if (server) {
            run_row(&rows[i], TWS_WS_SERVER);
        }
        if (client) {
            run_row(&rows[i], TWS_WS_CLIENT);
        }
    }
}

/* -- frames -- */

TEST("the frames of RFC 6455 5.7 read as it says they do")
{
    static const row client[] = {
        {"a single-frame unmasked text message", "81 05 48 65 6c 6c 6f", "text(Hello) ", 0, 0},
        {"a fragmented unmasked text message", "01 03 48 65 6c 80 02 6c 6f", "text(Hello) ", 0, 0},
        {"an unmasked ping", "89 05 48 65 6c 6c 6f", "ping(Hello) ", 0, 0},
        {"256 bytes binary", "82 7e 01 00 256*41", "binary(256*41) ", 0, 0},
        {"64 KiB binary", "82 7f 0000000000010000 65536*00", "binary(65536*00) ", 0, 0},
    };
    static const row server[] = {
        {"a masked text message", "81 85 37 fa 21 3d 7f 9f 4d 51 58", "text(Hello) ", 0, 0},
        {"a masked pong", "8a 85 37 fa 21 3d 7f 9f 4d 51 58", "pong(Hello) ", 0, 0},
    };
    run_rows(client, COUNT(client), false, true);
    run_rows(server, COUNT(server), true, false);
}

TEST("good frames give their messages, and control frames come between the fragments")
{
    static const row rows[] = {
        {"an empty text", "81 +00 : ;", "text() ", 0, 0},
        {"an empty binary", "82 +00 : ;", "binary() ", 0, 0},
        {"two messages", "81 +01 : 'a' ; 82 +01 : 'b' ;", "text(a) binary(b) ", 0, 0},
        {"125 bytes", "82 +7d : 125*78 ;", "binary(125*78) ", 0, 0},
        {"126 bytes", "82 +7e 00 7e : 126*78 ;", "binary(126*78) ", 0, 0},
        {"127 bytes", "82 +7e 00 7f : 127*78 ;", "binary(127*78) ", 0, 0},
        {"65535 bytes", "82 +7e ff ff : 65535*78 ;", "binary(65535*78) ", 0, 0},
        {"65536 bytes", "81 +7f 0000000000010000 : 65536*78 ;", "text(65536*78) ", 0, 0},
        {"three fragments", "02 +01 : 'a' ; 00 +01 : 'b' ; 80 +01 : 'c' ;", "binary(abc) ", 0, 0},
        {"empty fragments around one", "01 +00 : ; 00 +01 : 'b' ; 00 +00 : ; 80 +00 : ;",
         "text(b) ", 0, 0},
        {"nothing but empty fragments", "01 +00 : ; 00 +00 : ; 80 +00 : ;", "text() ", 0, 0},
        {"a ping and a pong inside a message",
         "01 +01 : 'a' ; 89 +01 : 'p' ; 00 +01 : 'b' ; 8a +00 : ; 80 +01 : 'c' ;",
         "ping(p) pong() text(abc) ", 0, 0},
        {"a close inside a message", "01 +01 : 'a' ; 88 +02 : 03e8 ;", "close-1000() ", 0, 0},
        {"a ping before anything", "89 +00 : ; 81 +01 : 'a' ;", "ping() text(a) ", 0, 0},
        {"125 bytes of ping", "89 +7d : 125*78 ;", "ping(125*78) ", 0, 0},
        {"a message after a fragmented one", "01 +01 : 'a' ; 80 +01 : 'b' ; 82 +01 : 'c' ;",
         "text(ab) binary(c) ", 0, 0},
        {"a message cut short gives nothing", "81 +05 : 'Hell' ;", "", 0, 0},
        {"a control frame cut short gives nothing", "89 +05 : 'Hell' ;", "", 0, 0},
        {"a byte that is no UTF-8 in a binary message", "82 +01 : ff ;", "binary(\xff) ", 0, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
}

TEST("framing errors close with 1002 at the byte that makes them")
{
    static const row rows[] = {
        {"RSV1", "c1 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV2", "a1 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV3", "91 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a ping", "c9 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV2 on a pong", "aa ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV3 on a close", "98 ! +02 : 03e8 ;", "error-1002() ", 0, 0},
        {"all of them", "f1 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a fragment", "41 ! +01 : 'a' ;", "error-1002() ", 0, 0},
        {"RSV1 on a continuation", "01 +01 : 'a' ; c0 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 3", "83 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 4", "84 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 5", "85 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 6", "86 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 7", "87 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 11", "8b ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 12", "8c ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 13", "8d ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 14", "8e ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 15", "8f ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 3 inside a message", "01 +01 : 'a' ; 83 ! +00 : ;", "error-1002() ", 0, 0},
        {"opcode 11 inside a message", "01 +01 : 'a' ; 8b ! +00 : ;", "error-1002() ", 0, 0},
        {"an unfinished opcode 7", "07 ! +00 : ;", "error-1002() ", 0, 0},
        {"good first, then bad", "81 +01 : 'a' ; 83 ! +00 : ;", "text(a) error-1002() ", 0, 0},
        {"a continuation of nothing", "80 ! +01 : 'a' ;", "error-1002() ", 0, 0},
        {"an unfinished continuation of nothing", "00 ! +01 : 'a' ;", "error-1002() ", 0, 0},
        {"a continuation of a finished message", "81 +01 : 'a' ; 80 ! +00 : ;",
         "text(a) error-1002() ", 0, 0},
        {"a text inside a text", "01 +01 : 'a' ; 81 ! +01 : 'b' ;", "error-1002() ", 0, 0},
        {"a binary inside a text", "01 +01 : 'a' ; 02 ! +01 : 'b' ;", "error-1002() ", 0, 0},
        {"a text inside an empty fragment's message", "01 +00 : ; 81 ! +00 : ;",
         "error-1002() ", 0, 0},
        {"a fragmented ping", "09 ! +00 : ;", "error-1002() ", 0, 0},
        {"a fragmented pong", "0a ! +00 : ;", "error-1002() ", 0, 0},
        {"a fragmented close", "08 ! +00 : ;", "error-1002() ", 0, 0},
        {"a fragmented ping inside a message", "01 +01 : 'a' ; 09 ! +00 : ;",
         "error-1002() ", 0, 0},
        {"a close of 126 bytes inside a message", "01 +01 : 'a' ; 88 +7e ! 00 7e : 03e8 124*78 ;",
         "error-1002() ", 0, 0},
        {"a ping of 126 bytes", "89 +7e ! 00 7e : 126*78 ;", "error-1002() ", 0, 0},
        {"a pong of 64-bit length", "8a +7f ! 0000000000000001 : 'x' ;", "error-1002() ", 0, 0},
        {"a close of 126 bytes", "88 +7e ! 00 7e : 03e8 124*78 ;", "error-1002() ", 0, 0},
        {"0 in 16 bits", "82 +7e 00 00 ! : ;", "error-1002() ", 0, 0},
        {"125 in 16 bits", "82 +7e 00 7d ! : 125*78 ;", "error-1002() ", 0, 0},
        {"1 in 64 bits", "82 +7f 0000000000000001 ! : 'x' ;", "error-1002() ", 0, 0},
        {"126 in 64 bits", "82 +7f 000000000000007e ! : 126*78 ;", "error-1002() ", 0, 0},
        {"65535 in 64 bits", "82 +7f 000000000000ffff ! : 10*78 ;", "error-1002() ", 0, 0},
        {"2^63", "82 +7f 8000000000000000 ! : 'x' ;", "error-1002() ", 0, 0},
        {"2^63 + 1 in a continuation", "02 +01 : 'a' ; 80 +7f 8000000000000001 ! : 'x' ;",
         "error-1002() ", 0, 0},
        {"2^64 - 1", "82 +7f ffffffffffffffff ! : 'x' ;", "error-1002() ", 0, 0},
        {"2^63 beats the size limit", "82 +7f 8000000000000000 ! : 'x' ;", "error-1002() ", 10, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
}

TEST("a server refuses what is not masked, a client what is, with 1002 at the length byte")
{
    static const row server[] = {
        {"a text", "81 01 ! 'a'", "error-1002() ", 0, 0},
        {"an empty text", "81 00 !", "error-1002() ", 0, 0},
        {"a text as long as a mask and more", "81 04 ! 10*78", "error-1002() ", 0, 0},
        {"a ping", "89 00 !", "error-1002() ", 0, 0},
        {"a close", "88 02 ! 03e8", "error-1002() ", 0, 0},
        {"a continuation", "01 +01 : 'a' ; 80 01 ! 'b'", "error-1002() ", 0, 0},
        {"a binary", "82 01 ! ff", "error-1002() ", 0, 0},
        {"a pong", "8a 01 ! 'p'", "error-1002() ", 0, 0},
        {"a fragment", "01 01 ! 'a'", "error-1002() ", 0, 0},
        {"16 bits of length", "82 7e ! 007e 126*78", "error-1002() ", 0, 0},
        {"64 bits of length", "82 7f ! 0000000000010000 10*78", "error-1002() ", 0, 0},
        {"a ping inside a message", "01 +01 : 'a' ; 89 00 !", "error-1002() ", 0, 0},
        {"a mask that is missing beats a length", "89 7e ! 007e 126*78", "error-1002() ", 0, 0},
    };
    static const row client[] = {
        {"a text", "81 81 ! 37 fa 21 3d 7f", "error-1002() ", 0, 0},
        {"a ping", "89 80 ! 37 fa 21 3d", "error-1002() ", 0, 0},
        {"a mask of zeros", "81 81 ! 00 00 00 00 41", "error-1002() ", 0, 0},
        {"an empty text", "81 80 ! 37 fa 21 3d", "error-1002() ", 0, 0},
        {"a binary", "82 81 ! 37 fa 21 3d 7f", "error-1002() ", 0, 0},
        {"a pong", "8a 80 ! 37 fa 21 3d", "error-1002() ", 0, 0},
        {"a close", "88 82 ! 37 fa 21 3d 34 12", "error-1002() ", 0, 0},
        {"a fragment", "01 81 ! 37 fa 21 3d 7f", "error-1002() ", 0, 0},
        {"a continuation", "01 01 'a' 80 81 ! 37 fa 21 3d 7f", "error-1002() ", 0, 0},
        {"a ping inside a message", "01 01 'a' 89 80 ! 37 fa 21 3d", "error-1002() ", 0, 0},
        {"16 bits of length", "82 fe ! 007e 37 fa 21 3d", "error-1002() ", 0, 0},
        {"64 bits of length", "82 ff ! 0000000000010000 37 fa 21 3d", "error-1002() ", 0, 0},
    };
    run_rows(server, COUNT(server), true, false);
    run_rows(client, COUNT(client), false, true);
}

TEST("limits close with 1009 from the header, before the payload and before the mask")
{
    static const row rows[] = {
        {"exactly the limit", "82 +0a : 10*78 ;", "binary(10*78) ", 10, 0},
        {"one byte beyond", "82 +0b ! : 11*78 ;", "error-1009() ", 10, 0},
        {"one byte beyond in 16 bits", "82 +7e 03e9 ! : 1001*78 ;", "error-1009() ", 1000, 0},
        {"2^63 - 1", "82 +7f 7fffffffffffffff ! : 'x' ;", "error-1009() ", 65536, 0},
        {"exactly, in fragments", "02 +05 : 5*78 ; 80 +05 : 5*78 ;", "binary(10*78) ", 10, 0},
        {"beyond, in fragments", "02 +05 : 5*78 ; 80 +06 ! : 6*78 ;", "error-1009() ", 10, 0},
        {"an empty fragment at the limit", "02 +0a : 10*78 ; 80 +00 : ;", "binary(10*78) ", 10, 0},
        {"each message has the whole limit", "82 +0a : 10*78 ; 82 +0a : 10*78 ;",
         "binary(10*78) binary(10*78) ", 10, 0},
        {"control frames are not counted", "02 +0a : 10*78 ; 89 +0b : 11*78 ; 80 +00 : ;",
         "ping(11*78) binary(10*78) ", 10, 0},
        {"2^63 - 1 bytes where there is no limit",
         "02 +01 : 'a' ; 00 +7f 7fffffffffffffff : 'b' ;", "", 0, 0},
        {"as many frames as allowed", "01 +01 : 'a' ; 00 +00 : ; 80 +01 : 'b' ;",
         "text(ab) ", 0, 3},
        {"one more", "01 +01 : 'a' ; 00 +00 : ; 00 +01 : 'b' ; 80 +00 ! : ;",
         "error-1009() ", 0, 3},
        {"one frame allowed", "81 +01 : 'a' ; 81 +01 : 'b' ;", "text(a) text(b) ", 0, 1},
        {"one frame allowed, two came", "01 +00 : ; 80 +00 ! : ;", "error-1009() ", 0, 1},
        {"pings are not counted as frames", "01 +00 : ; 89 +00 : ; 89 +00 : ; 80 +00 : ;",
         "ping() ping() text() ", 0, 2},
    };
    run_rows(rows, COUNT(rows), true, true);
}

TEST("text that is not UTF-8 closes with 1007 at its first bad byte, in the middle of a frame")
{
    static const row rows[] = {
        {"all lengths of characters", "81 +0a : 24 c2a2 e282ac f09f9882 ;",
         "text($\xc2\xa2\xe2\x82\xac\xf0\x9f\x98\x82) ", 0, 0},
        {"a character over two fragments", "01 +01 : e2 ; 80 +02 : 82ac ;",
         "text(\xe2\x82\xac) ", 0, 0},
        {"a character over four fragments, pings between",
         "01 +01 : f0 ; 89 +00 : ; 00 +01 : 9f ; 00 +00 : ; 00 +01 : 98 ; 80 +01 : 82 ;",
         "ping() text(\xf0\x9f\x98\x82) ", 0, 0},
        {"U+10FFFF", "81 +04 : f48fbfbf ;", "text(\xf4\x8f\xbf\xbf) ", 0, 0},
        {"the first and last around the surrogates", "81 +06 : ed9fbf ee8080 ;",
         "text(\xed\x9f\xbf\xee\x80\x80) ", 0, 0},
        {"U+FFFE and U+FFFF", "81 +06 : efbfbe efbfbf ;", "text(\xef\xbf\xbe\xef\xbf\xbf) ", 0, 0},
        {"a lone continuation byte", "81 +02 : 80 ! 41 ;", "error-1007() ", 0, 0},
        {"ff", "81 +0a : 'abc' ff ! 'abcdef' ;", "error-1007() ", 0, 0},
        {"ff behind 70 plain bytes", "81 +7d : 70*61 ff ! 54*61 ;", "error-1007() ", 0, 0},
        {"an overlong slash", "81 +02 : c0 ! af ;", "error-1007() ", 0, 0},
        {"an overlong slash in three bytes", "81 +03 : e0 80 ! af ;", "error-1007() ", 0, 0},
        {"an overlong slash in four bytes", "81 +04 : f0 80 ! 80 af ;", "error-1007() ", 0, 0},
        {"a high surrogate", "81 +03 : ed a0 ! 80 ;", "error-1007() ", 0, 0},
        {"a low surrogate", "81 +03 : ed bf ! bf ;", "error-1007() ", 0, 0},
        {"U+110000", "81 +04 : f4 90 ! 80 80 ;", "error-1007() ", 0, 0},
        {"five bytes", "81 +05 : f8 ! 88 80 80 80 ;", "error-1007() ", 0, 0},
        {"six bytes", "81 +06 : fc ! 84 80 80 80 80 ;", "error-1007() ", 0, 0},
        {"fe", "81 +01 : fe ! ;", "error-1007() ", 0, 0},
        {"U+07FF in three bytes", "81 +03 : e0 9f ! bf ;", "error-1007() ", 0, 0},
        {"U+FFFF in four bytes", "81 +04 : f0 8f ! bf bf ;", "error-1007() ", 0, 0},
        {"a surrogate over two fragments", "01 +01 : ed ; 80 +02 : a0 ! 80 ;",
         "error-1007() ", 0, 0},
        {"f5", "81 +04 : f5 ! 80 80 80 ;", "error-1007() ", 0, 0},
        {"a character cut by the message's end", "81 +02 : e2 82 ! ;", "error-1007() ", 0, 0},
        {"a character cut by a plain one", "81 +03 : e2 82 41 ! ;", "error-1007() ", 0, 0},
        {"cut by the end of a fragmented message", "01 +01 : 41 ; 80 +01 : c3 ! ;",
         "error-1007() ", 0, 0},
        {"the frame's end is no bad byte, the next frame's first is",
         "01 +01 : e2 ; 00 +01 : 41 ! ; 80 +00 : ;", "error-1007() ", 0, 0},
        {"the next message begins anew", "81 +01 : 'a' ; 81 +01 : 80 ! ;",
         "text(a) error-1007() ", 0, 0},
    };
    static const row unmasked_end[] = {
        {"cut by an empty last fragment", "01 +01 : e2 ; 80 +00 ! : ;", "error-1007() ", 0, 0},
    };
    static const row masked_end[] = {
        {"cut by an empty last fragment", "01 +01 : e2 ; 80 +00 : ! ;", "error-1007() ", 0, 0},
        {"a byte that is one of text once more masked", "81 81 40000000 83 !", "error-1007() ", 0, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
    run_rows(unmasked_end, 1, false, true);
    run_rows(masked_end, COUNT(masked_end), true, false);
}

TEST("a bad byte in the middle of a frame needs none of the rest of it")
{
    static const row rows[] = {
        {"of a frame of 2^32 bytes", "81 +7f 0000000100000000 : 'ab' ff !", "error-1007() ", 0, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
}

TEST("a close frame gives its code and reason, or is refused by the rule that it breaks")
{
    static const row rows[] = {
        {"no payload", "88 +00 : ;", "close-1005() ", 0, 0},
        {"1000", "88 +02 : 03e8 ;", "close-1000() ", 0, 0},
        {"1001", "88 +02 : 03e9 ;", "close-1001() ", 0, 0},
        {"1002", "88 +02 : 03ea ;", "close-1002() ", 0, 0},
        {"1003", "88 +02 : 03eb ;", "close-1003() ", 0, 0},
        {"1007", "88 +02 : 03ef ;", "close-1007() ", 0, 0},
        {"1008", "88 +02 : 03f0 ;", "close-1008() ", 0, 0},
        {"1011", "88 +02 : 03f3 ;", "close-1011() ", 0, 0},
        {"1014", "88 +02 : 03f6 ;", "close-1014() ", 0, 0},
        {"3000", "88 +02 : 0bb8 ;", "close-3000() ", 0, 0},
        {"3999", "88 +02 : 0f9f ;", "close-3999() ", 0, 0},
        {"4000", "88 +02 : 0fa0 ;", "close-4000() ", 0, 0},
        {"4401 with a reason", "88 +0f : 1131 'token expired' ;",
         "close-4401(token expired) ", 0, 0},
        {"4999", "88 +02 : 1387 ;", "close-4999() ", 0, 0},
        {"the longest reason", "88 +7d : 03e8 123*61 ;", "close-1000(123*61) ", 0, 0},
        {"a reason in UTF-8", "88 +05 : 03e8 e282ac ;", "close-1000(\xe2\x82\xac) ", 0, 0},
        {"one byte", "88 +01 : 03 ! ;", "error-1002() ", 0, 0},
        {"code 0", "88 +02 : 0000 ! ;", "error-1002() ", 0, 0},
        {"code 999", "88 +02 : 03e7 ! ;", "error-1002() ", 0, 0},
        {"code 1004", "88 +02 : 03ec ! ;", "error-1002() ", 0, 0},
        {"code 1005", "88 +02 : 03ed ! ;", "error-1002() ", 0, 0},
        {"code 1006", "88 +02 : 03ee ! ;", "error-1002() ", 0, 0},
        {"code 1015", "88 +02 : 03f7 ! ;", "error-1002() ", 0, 0},
        {"code 1016", "88 +02 : 03f8 ! ;", "error-1002() ", 0, 0},
        {"code 1100", "88 +02 : 044c ! ;", "error-1002() ", 0, 0},
        {"code 2000", "88 +02 : 07d0 ! ;", "error-1002() ", 0, 0},
        {"code 2999", "88 +02 : 0bb7 ! ;", "error-1002() ", 0, 0},
        {"code 5000", "88 +02 : 1388 ! ;", "error-1002() ", 0, 0},
        {"code 65535", "88 +02 : ffff ! ;", "error-1002() ", 0, 0},
        {"a reason that is no UTF-8", "88 +04 : 03e8 'a' ff ! ;", "error-1007() ", 0, 0},
        {"a reason with a surrogate", "88 +05 : 03e8 eda080 ! ;", "error-1007() ", 0, 0},
        {"a code that is refused before its reason", "88 +03 : 03e7 ff ! ;", "error-1002() ", 0, 0},
        {"one byte inside a message", "01 +01 : 'a' ; 88 +01 : 03 ! ;", "error-1002() ", 0, 0},
        {"a reason that ends inside a character", "88 +04 : 03e8 e282 ! ;", "error-1007() ", 0, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
}

TEST("what follows a close frame is taken and means nothing")
{
    static const row rows[] = {
        {"a text", "88 +02 : 03e8 ; 81 +01 : 'a' ;", "close-1000() ", 0, 0},
        {"a second close", "88 +02 : 03e8 ; 88 +02 : 03e9 ;", "close-1000() ", 0, 0},
        {"a frame that breaks every rule", "88 +00 : ; 7f 7f ff ff ff", "close-1005() ", 0, 0},
        {"the rest of a message", "01 +01 : 'a' ; 88 +00 : ; 80 +01 : 'b' ;",
         "close-1005() ", 0, 0},
    };
    run_rows(rows, COUNT(rows), true, true);
}

/* Feed fragments of so many bytes until an error: how many were taken; *code is the error's. */
static uint32_t fragments_taken(uint32_t most, size_t size, uint32_t max_message,
                                uint32_t max_frames, uint16_t *code)
{
    tws_ws_decoder d;
    tws_ws_event ev;
    uint32_t frames = 0;
    tws_ws_init(&d, TWS_WS_SERVER, max_message, max_frames);
    for (*code = 0; frames < most && *code == 0; frames++) {
        uint8_t frame[] = {frames == 0, (uint8_t)(0x80 | size), 1, 2, 3, 4, 'a' ^ 1};
        size_t used = tws_ws_decode(&d, frame, 6 + size, &ev);
        *code = ev.code;
        CHECK_EQ(ev.type, *code == 0 ? TWS_WS_DATA : TWS_WS_ERROR);
        CHECK_EQ(used, *code == 0 ? 6 + size : 0);
    }
    return *code == 0 ? frames : frames - 1;
}

TEST("of a million fragments as many are taken as limits allow, and all without one")
{
    static const struct {
        const char *name;
        size_t size;
        uint32_t max_message, max_frames, taken;
        uint16_t code;
    } rows[] = {
        {"empty ones, by their number", 0, 65536, 1024, 1024, 1009},
        {"empty ones without a limit of number", 0, 10, 0, 1000000, 0},
        {"one-byte ones, by their number", 1, 65536, 1024, 1024, 1009},
        {"one-byte ones, by their sum", 1, 65536, 100000, 65536, 1009},
        {"one-byte ones without a limit", 1, 0, 0, 1000000, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint16_t code;
        test_row(rows[i].name, i);
        CHECK_EQ(fragments_taken(1000000, rows[i].size, rows[i].max_message, rows[i].max_frames,
                                 &code),
                 rows[i].taken);
        CHECK_EQ(code, rows[i].code);
    }
}

TEST("a decoder of zeros is a server's without limits, and small")
{
    uint8_t frame[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    tws_ws_decoder d;
    tws_ws_event ev;
    memset(&d, 0, sizeof d);
    CHECK_EQ(tws_ws_decode(&d, frame, sizeof frame, &ev), sizeof frame);
    CHECK(ev.type == TWS_WS_DATA && ev.first && ev.last);
    CHECK_MEM(ev.payload, ev.len, "Hello", 5);
    CHECK(sizeof d <= 40);
}

TEST("the pieces of a frame say how much of it is still to come")
{
    spec s = build("82 +0a : 'abcdefghij' ;", true);
    tws_ws_decoder d;
    tws_ws_event ev;
    tws_ws_init(&d, TWS_WS_SERVER, 0, 0);
    CHECK_EQ(tws_ws_decode(&d, bytes, 6, &ev), 6);
    CHECK_EQ(ev.type, TWS_WS_MORE);
    CHECK_EQ(tws_ws_decode(&d, bytes + 6, 3, &ev), 3);
    CHECK(ev.type == TWS_WS_DATA && ev.first && !ev.last);
    CHECK_MEM(ev.payload, ev.len, "abc", 3);
    CHECK_EQ(ev.frame_left, 7);
    CHECK_EQ(tws_ws_decode(&d, bytes + 9, s.len - 9, &ev), 7);
    CHECK(ev.type == TWS_WS_DATA && !ev.first && ev.last);
    CHECK_MEM(ev.payload, ev.len, "defghij", 7);
    CHECK_EQ(ev.frame_left, 0);
    CHECK_EQ(tws_ws_decode(&d, bytes, 0, &ev), 0);
    CHECK_EQ(ev.type, TWS_WS_MORE);
}

TEST("once compression is agreed on, RSV1 marks a message's first frame and nothing else")
{
    static const row rows[] = {
        {"a compressed text", "c1 +02 : ff fe ;", "compressed() text(\xff\xfe) ", 0, 0},
        {"a compressed binary", "c2 +01 : 'a' ;", "compressed() binary(a) ", 0, 0},
        {"an empty one", "c1 +00 : ;", "compressed() text() ", 0, 0},
        {"plain ones before and behind", "81 +01 : 'a' ; c1 +01 : 'b' ; 82 +01 : 'c' ;",
         "text(a) compressed() text(b) binary(c) ", 0, 0},
        {"in fragments, with a ping between", "41 +01 : ff ; 89 +00 : ; 80 +01 : fe ;",
         "ping() compressed() text(\xff\xfe) ", 0, 0},
        {"text that is plain is judged", "c1 +01 : ff ; 81 +01 : ff ! ;",
         "compressed() text(\xff) error-1007() ", 0, 0},
        {"the limit counts what comes", "c2 +7e 00b1 ! : 177*78 ;", "error-1009() ", 100, 0},
        {"and an eighth and 64 more may", "c2 +7e 00b0 : 176*78 ;",
         "compressed() binary(176*78) ", 100, 0},
        {"of all its frames", "42 +7d : 125*78 ; 80 +34 ! : 52*78 ;", "error-1009() ", 100, 0},
        {"of the message alone", "c2 +01 : 'a' ; 82 +05 ! : 5*78 ;",
         "compressed() binary(a) error-1009() ", 4, 0},
        {"RSV1 on a continuation", "41 +01 : 'a' ; c0 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a continuation alone", "01 +01 : 'a' ; 40 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a ping", "c9 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a pong", "ca ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV1 on a close", "c8 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV2 beside it", "e1 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV3 beside it", "d1 ! +00 : ;", "error-1002() ", 0, 0},
        {"RSV2", "a1 ! +00 : ;", "error-1002() ", 0, 0},
    };
    may_be_compressed = true;
    run_rows(rows, COUNT(rows), true, true);
    may_be_compressed = false;
}

/* -- masks -- */

static void mask_bytewise(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t offset)
{
    for (size_t i = 0; i < n; i++) {
        p[i] ^= mask[(offset + i) % 4];
    }
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t)(seed >> 24);
    }
}

TEST("masking by words does what masking by bytes does, at every offset, alignment and length")
{
    uint8_t want[16 + 210];
    for (size_t offset = 0; offset <= 16; offset++) {
        for (size_t align = 0; align <= 16; align++) {
            for (size_t n = 0; n <= 210; n++) {
                uint8_t *got = malloc(align + n > 0 ? align + n : 1);
                fill(want, align + n, (uint32_t)(n + 977 * align));
                memcpy(got, want, align + n);
                mask_bytewise(want + align, n, test_mask, offset);
                tws_ws_mask(got + align, n, test_mask, offset);
                CHECK_MEM(got, align + n, want, align + n);
                free(got);
            }
        }
    }
}

TEST("an offset beyond 32 bits masks as its remainder by four")
{
    uint8_t data[3] = {1, 2, 3};
    uint8_t want[3] = {1, 2, 3};
    mask_bytewise(want, 3, test_mask, 3);
    tws_ws_mask(data, 3, test_mask, (UINT64_C(1) << 62) + 3);
    CHECK_MEM(data, 3, want, 3);
}

/* A binary frame of n bytes and its plain payload; returns the frame's length. */
static size_t masked_frame(uint8_t *frame, uint8_t *plain, size_t n)
{
    static const uint8_t mask[4] = {0x80, 0x01, 0xfe, 0x3c};
    size_t header = tws_ws_header(frame, true, TWS_WS_BINARY, n, mask);
    fill(plain, n, (uint32_t)n);
    memcpy(frame + header, plain, n);
    mask_bytewise(frame + header, n, mask, 0);
    return header + n;
}

TEST("a payload is unmasked the same at every alignment, split and length of its pieces")
{
    uint8_t frame[300];
    uint8_t plain[200];
    for (size_t align = 0; align <= 16; align++) {
        for (size_t piece = 1; piece <= 70; piece++) {
            size_t len = masked_frame(frame, plain, 200);
            uint8_t *copy = malloc(align + len);
            size_t at = 8; /* the header */
            size_t got = 0;
            tws_ws_decoder d;
            tws_ws_event ev;
            tws_ws_init(&d, TWS_WS_SERVER, 0, 0);
            memcpy(copy + align, frame, len);
            CHECK_EQ(tws_ws_decode(&d, copy + align, at, &ev), at);
            while (at < len) {
                size_t n = len - at < piece ? len - at : piece;
                CHECK_EQ(tws_ws_decode(&d, copy + align + at, n, &ev), n);
                CHECK_MEM(ev.payload, ev.len, plain + got, n);
                got += n;
                at += n;
            }
            CHECK(ev.last && got == 200);
            free(copy);
        }
    }
}

/* -- encoding -- */

TEST("a header has the shortest length, and the mask behind it")
{
    static const struct {
        const char *want;
        uint64_t len;
        tws_ws_opcode opcode;
        bool fin;
    } rows[] = {
        {"81 00", 0, TWS_WS_TEXT, true},
        {"82 7d", 125, TWS_WS_BINARY, true},
        {"02 7e 007e", 126, TWS_WS_BINARY, false},
        {"00 7e 007f", 127, TWS_WS_CONTINUATION, false},
        {"80 7e ffff", 65535, TWS_WS_CONTINUATION, true},
        {"81 7f 0000000000010000", 65536, TWS_WS_TEXT, true},
        {"82 7f 7fffffffffffffff", INT64_MAX, TWS_WS_BINARY, true},
        {"88 02", 2, TWS_WS_CLOSE, true},
        {"89 7d", 125, TWS_WS_PING, true},
        {"8a 00", 0, TWS_WS_PONG, true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t want[16];
        uint8_t out[TWS_WS_MAX_HEADER];
        size_t n = test_hex(rows[i].want, want);
        test_row(rows[i].want, i);
        size_t got = tws_ws_header(out, rows[i].fin, rows[i].opcode, rows[i].len, NULL);
        CHECK_MEM(out, got, want, n);
        want[1] |= 0x80;
        memcpy(want + n, test_mask, 4);
        got = tws_ws_header(out, rows[i].fin, rows[i].opcode, rows[i].len, test_mask);
        CHECK_MEM(out, got, want, n + 4);
    }
}

TEST("the codes that a peer may send are exactly those of RFC 6455 7.4 and its registry")
{
    for (uint32_t code = 0; code <= 0xffff; code++) {
        bool reserved = code == 1004 || code == 1005 || code == 1006;
        bool want = (code >= 1000 && code <= 1014 && !reserved) || (code >= 3000 && code < 5000);
        CHECK_EQ(tws_ws_code_valid((uint16_t)code), want);
    }
}

TEST("a close payload keeps as many whole characters of its reason as fit")
{
    char longest[200];
    uint8_t out[125];
    memset(longest, 'a', sizeof longest);
    CHECK_MEM(out, tws_ws_close_payload(out, 1000, tws_str_of(NULL, 0)), "\x03\xe8", 2);
    CHECK_MEM(out, tws_ws_close_payload(out, 4401, tws_str_c("no")), "\x11\x31no", 4);
    CHECK_EQ(tws_ws_close_payload(out, 1000, tws_str_of(longest, 123)), 125);
    CHECK_EQ(tws_ws_close_payload(out, 1000, tws_str_of(longest, 200)), 125);
    memcpy(longest + 122, "\xc2\xa2", 2);
    CHECK_EQ(tws_ws_close_payload(out, 1000, tws_str_of(longest, 200)), 124);
    memcpy(longest + 120, "\xf0\x9f\x98\x82", 4);
    CHECK_EQ(tws_ws_close_payload(out, 1000, tws_str_of(longest, 200)), 122);
    memcpy(longest + 119, "\xf0\x9f\x98\x82", 4);
    CHECK_EQ(tws_ws_close_payload(out, 1000, tws_str_of(longest, 200)), 125);
    CHECK_MEM(out, tws_ws_close_payload(out, 1000, tws_str_c("a\xff z")), "\x03\xe8" "a", 3);
}

TEST("what one role encodes the other decodes, at every length of header")
{
    static const size_t sizes[] = {0, 1, 125, 126, 127, 65535, 65536};
    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        const bool masked = i % 2 == 0;
        const size_t n = sizes[i / 2];
        uint8_t header[TWS_WS_MAX_HEADER];
        size_t h = tws_ws_header(header, true, TWS_WS_BINARY, n, masked ? test_mask : NULL);
        tws_ws_decoder d;
        tws_ws_event ev;
        memcpy(bytes, header, h);
        memset(bytes + h, 'x', n);
        if (masked) {
            tws_ws_mask(bytes + h, n, test_mask, 0);
        }
        tws_ws_init(&d, masked ? TWS_WS_SERVER : TWS_WS_CLIENT, 0, 0);
        CHECK_EQ(tws_ws_decode(&d, bytes, h + n, &ev), h + n);
        CHECK(ev.type == TWS_WS_DATA && ev.first && ev.last && ev.len == n);
        CHECK(n == 0 || (ev.payload[0] == 'x' && ev.payload[n - 1] == 'x'));
    }
}

/* -- handshake -- */

TEST("the accept value is RFC 6455 1.3's for its key, and empty for what is no key")
{
    char out[TWS_WS_ACCEPT_LEN + 1];
    tws_ws_accept(tws_str_c("dGhlIHNhbXBsZSBub25jZQ=="), out);
    CHECK_STR(tws_str_c(out), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    tws_ws_accept(tws_str_c("dGhlIHNhbXBsZSBub25jZQ==="), out);
    CHECK_STR(tws_str_c(out), "");
    tws_ws_accept(tws_str_of(NULL, 0), out);
    CHECK_STR(tws_str_c(out), "");
}

#define GET "GET /chat HTTP/1.1\r\nHost: example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"

typedef struct handshake {
    const char *name;
    const char *head;
    int status;
} handshake;

static const handshake handshakes[] = {
    {"RFC 6455 1.2", GET UPGRADE KEY "Origin: http://example.com\r\n"
                     "Sec-WebSocket-Protocol: chat, superchat\r\n" V13 "\r\n", 101},
    {"any case", GET "UPGRADE: WebSocket\r\nCONNECTION: keep-alive, UPGRADE\r\n" KEY V13 "\r\n",
     101},
    {"Connection in two lines", GET "Upgrade: websocket\r\nConnection: keep-alive\r\n"
                                "Connection: upgrade\r\n" KEY V13 "\r\n", 101},
    {"Upgrade with others beside it", GET "Upgrade: h2c, websocket\r\nConnection: upgrade\r\n"
                                      KEY V13 "\r\n", 101},
    {"an empty body said aloud", GET UPGRADE KEY V13 "Content-Length: 0\r\n\r\n", 101},
    {"no Upgrade", GET "Connection: Upgrade\r\n" KEY V13 "\r\n", 426},
    {"plain GET", GET "\r\n", 426},
    {"wrong Upgrade", GET "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", 426},
    {"Upgrade longer", GET "Upgrade: websockets\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", 426},
    {"Upgrade empty", GET "Upgrade:\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", 426},
    {"no Connection", GET "Upgrade: websocket\r\n" KEY V13 "\r\n", 426},
    {"Connection without upgrade", GET "Upgrade: websocket\r\nConnection: keep-alive\r\n"
                                   KEY V13 "\r\n", 426},
    {"POST", "POST /chat HTTP/1.1\r\nHost: example.com\r\n" UPGRADE KEY V13 "\r\n", 400},
    {"HEAD", "HEAD /chat HTTP/1.1\r\nHost: example.com\r\n" UPGRADE KEY V13 "\r\n", 400},
    {"HTTP/1.0", "GET /chat HTTP/1.0\r\nHost: example.com\r\n" UPGRADE KEY V13 "\r\n", 426},
    {"with a body", GET UPGRADE KEY V13 "Content-Length: 5\r\n\r\n", 400},
    {"with a chunked body", GET UPGRADE KEY V13 "Transfer-Encoding: chunked\r\n\r\n", 400},
    {"version 8", GET UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426},
    {"version 12", GET UPGRADE KEY "Sec-WebSocket-Version: 12\r\n\r\n", 426},
    {"version 013", GET UPGRADE KEY "Sec-WebSocket-Version: 013\r\n\r\n", 426},
    {"version 13, 8", GET UPGRADE KEY "Sec-WebSocket-Version: 13, 8\r\n\r\n", 426},
    {"version empty", GET UPGRADE KEY "Sec-WebSocket-Version:\r\n\r\n", 426},
    {"no version", GET UPGRADE KEY "\r\n", 400},
    {"two versions", GET UPGRADE KEY V13 "Sec-WebSocket-Version: 8\r\n\r\n", 400},
    {"no key", GET UPGRADE V13 "\r\n", 400},
    {"an empty key", GET UPGRADE "Sec-WebSocket-Key:\r\n" V13 "\r\n", 400},
    {"two keys", GET UPGRADE KEY KEY V13 "\r\n", 400},
    {"a key of 15 bytes", GET UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n" V13 "\r\n",
     400},
    {"a key of 17 bytes", GET UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWE=\r\n" V13 "\r\n",
     400},
    {"a key without padding", GET UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n" V13
                              "\r\n", 400},
    {"a key that is no base64", GET UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!==\r\n" V13
                                "\r\n", 400},
    {"a key in base64url", GET UPGRADE "Sec-WebSocket-Key: ____________________-w==\r\n" V13 "\r\n",
     400},
    {"a long key", GET UPGRADE "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="
                   "dGhlIHNhbXBsZSBub25jZQ==\r\n" V13 "\r\n", 400},
    {"garbage extensions", GET UPGRADE KEY V13
                           "Sec-WebSocket-Extensions: ;;,,=\"\\,permessage-deflate;;\r\n\r\n", 101},
    {"__proto__ as an extension", GET UPGRADE KEY V13
                                  "Sec-WebSocket-Extensions: __proto__; __proto__\r\n\r\n", 101},
    {"an extension's parameter twice", GET UPGRADE KEY V13
     "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8; "
     "server_max_window_bits=9\r\n\r\n", 101},
};

TEST("a handshake is answered 101, 426 or 400 by the first rule that it breaks")
{
    for (size_t i = 0; i < COUNT(handshakes); i++) {
        const handshake *h = &handshakes[i];
        const char *head = (const char *)test_exact(h->head, strlen(h->head));
        tws_http_request r;
        tws_str key;
        const char *reason;
        test_row(h->name, i);
        CHECK_EQ(tws_http_parse(&r, head, strlen(h->head), NULL, NULL), TWS_HTTP_DONE);
        CHECK_EQ(tws_ws_check(&r, &key, &reason), h->status);
        CHECK_EQ(reason == NULL, h->status == 101);
        if (h->status == 101) {
            CHECK_STR(key, "dGhlIHNhbXBsZSBub25jZQ==");
        }
    }
}

TEST("long lists that nobody asked to read do not change the answer")
{
    static char head[65536];
    tws_http_limits limits;
    tws_http_request r;
    tws_str key;
    const char *reason;
    limits.max_head_bytes = sizeof head;
    int n = snprintf(head, sizeof head, "%sSec-WebSocket-Protocol: b%*sx\r\n\r\n",
                     GET UPGRADE KEY V13, 32000, "");
    CHECK_EQ(tws_http_parse(&r, head, (size_t)n, NULL, &limits), TWS_HTTP_DONE);
    CHECK_EQ(tws_ws_check(&r, &key, &reason), 101);
    n = snprintf(head, sizeof head, "%sSec-WebSocket-Extensions: x", GET UPGRADE KEY V13);
    for (int i = 0; i < 100; i++) {
        n += snprintf(head + n, sizeof head - (size_t)n, ", permessage-deflate; a=%d", i);
    }
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n\r\n");
    CHECK_EQ(tws_http_parse(&r, head, (size_t)n, NULL, &limits), TWS_HTTP_DONE);
    CHECK_EQ(tws_ws_check(&r, &key, &reason), 101);
}

static const char nonce_text[] = "the sample nonce"; /* RFC 6455 1.3 */

TEST("a client's handshake is one that the server takes, with the client's own fields")
{
    char memory[1024];
    uint8_t nonce[16];
    tws_buf b;
    tws_http_request r;
    tws_str key;
    const char *reason;
    memcpy(nonce, nonce_text, 16);
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_ws_request(&b, tws_str_c("example.com:8000"), tws_str_c("/a?b=c"), nonce, "X-One: 1\r\n");
    CHECK_EQ(b.status, TWS_OK);
    CHECK_EQ(tws_http_parse(&r, b.ptr, b.len, NULL, NULL), TWS_HTTP_DONE);
    CHECK_EQ(r.head_bytes, b.len);
    CHECK_EQ(tws_ws_check(&r, &key, &reason), 101);
    CHECK_STR(key, "dGhlIHNhbXBsZSBub25jZQ==");
    CHECK_STR(r.target, "/a?b=c");
    CHECK_STR(r.host, "example.com:8000");
    CHECK_STR(*tws_http_find(&r, "x-one"), "1");
}

TEST("a client's handshake takes no target or host that could begin another line")
{
    static const char *const bad[] = {"", " ", "/a b", "/a\r\nX: y", "/a\n", "/a\t", "/a\x7f"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char memory[1024];
        uint8_t nonce[16] = {0};
        tws_buf b;
        test_row(bad[i], i);
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_ws_request(&b, tws_str_c("h"), tws_str_c(bad[i]), nonce, NULL);
        CHECK(b.status == TWS_ERR_ARGUMENT && b.len == 0);
        tws_buf_clear(&b);
        tws_ws_request(&b, tws_str_c(bad[i]), tws_str_c("/"), nonce, NULL);
        CHECK(b.status == TWS_ERR_ARGUMENT && b.len == 0);
    }
}

TEST("a buffer too small for the handshake says so and keeps its first reason")
{
    char memory[100];
    uint8_t nonce[16] = {0};
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_ws_request(&b, tws_str_c("example.com"), tws_str_c("/"), nonce, NULL);
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
    tws_ws_request(&b, tws_str_c(""), tws_str_c("/"), nonce, NULL);
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
}

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

TEST("a client takes the answer to its own key and no other")
{
    static const handshake rows[] = {
        {"RFC 6455 1.3", SWITCHING UPGRADE ACCEPT "\r\n", true},
        {"any case", SWITCHING "upgrade: WebSocket\r\nconnection: upgrade\r\n" ACCEPT "\r\n", true},
        {"a protocol", SWITCHING UPGRADE ACCEPT "Sec-WebSocket-Protocol: taskws.v1\r\n\r\n", true},
        {"200", "HTTP/1.1 200 OK\r\n" UPGRADE ACCEPT "\r\n", false},
        {"no Upgrade", SWITCHING "Connection: Upgrade\r\n" ACCEPT "\r\n", false},
        {"no Connection", SWITCHING "Upgrade: websocket\r\n" ACCEPT "\r\n", false},
        {"another Upgrade", SWITCHING "Upgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT "\r\n",
         false},
        {"another Connection", SWITCHING "Upgrade: websocket\r\nConnection: close\r\n" ACCEPT
         "\r\n", false},
        {"no accept", SWITCHING UPGRADE "\r\n", false},
        {"an empty accept", SWITCHING UPGRADE "Sec-WebSocket-Accept:\r\n\r\n", false},
        {"accept twice", SWITCHING UPGRADE ACCEPT ACCEPT "\r\n", false},
        {"another's accept behind it", SWITCHING UPGRADE ACCEPT
         "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n", false},
        {"another's accept", SWITCHING UPGRADE
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n", false},
        {"accept in lower case", SWITCHING UPGRADE
         "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", false},
        {"an extension", SWITCHING UPGRADE ACCEPT
         "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", false},
    };
    uint8_t nonce[16];
    memcpy(nonce, nonce_text, 16);
    for (size_t i = 0; i < COUNT(rows); i++) {
        tws_http_response r;
        const char *reason;
        test_row(rows[i].name, i);
        CHECK_EQ(tws_http_parse_response(&r, rows[i].head, strlen(rows[i].head)), TWS_HTTP_DONE);
        CHECK_EQ(tws_ws_check_response(&r, nonce, &reason), rows[i].status);
        CHECK_EQ(reason == NULL, rows[i].status);
    }
}

/* -- extensions -- */

TEST("the first good offer of permessage-deflate is taken, bad ones are passed over")
{
    static const struct {
        const char *name, *fields;
        unsigned bits;
        bool named;
    } rows[] = {
        {"no field", "", 0, false},
        {"an empty field", "Sec-WebSocket-Extensions:\r\n", 0, false},
        {"an empty list", "Sec-WebSocket-Extensions: ,, ,\r\n", 0, false},
        {"plain", "Sec-WebSocket-Extensions: permessage-deflate\r\n", 15, false},
        {"in other letters", "sec-websocket-extensions: PerMessage-Deflate\r\n", 15, false},
        {"Chromium's", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
         15, false},
        {"a limit for the server",
         "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n", 9, true},
        {"the highest limit",
         "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15\r\n", 15, true},
        {"all four, spaced out",
         "Sec-WebSocket-Extensions: permessage-deflate ;client_max_window_bits = 8 ;"
         "\tserver_no_context_takeover; client_no_context_takeover;server_max_window_bits=\"10\"\r\n",
         10, true},
        {"a second one after a bad one",
         "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7, "
         "permessage-deflate; server_max_window_bits=8\r\n", 8, true},
        {"the first of two", "Sec-WebSocket-Extensions: permessage-deflate; "
         "server_max_window_bits=11, permessage-deflate\r\n", 11, true},
        {"in a second field", "Sec-WebSocket-Extensions: x-other; a=b; c=\"d\"\r\n"
         "Sec-WebSocket-Extensions: permessage-deflate\r\n", 15, false},
        {"among strangers", "Sec-WebSocket-Extensions: __proto__, permessage-deflate, x\r\n", 15,
         false},
        {"a name that only begins so", "Sec-WebSocket-Extensions: permessage-deflate2\r\n", 0,
         false},
        {"an unknown parameter", "Sec-WebSocket-Extensions: permessage-deflate; x\r\n", 0, false},
        {"a parameter twice", "Sec-WebSocket-Extensions: permessage-deflate; "
         "client_max_window_bits; client_max_window_bits=10\r\n", 0, false},
        {"a limit without its number",
         "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits\r\n", 0, false},
        {"7", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n", 0, false},
        {"16", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=16\r\n", 0,
         false},
        {"09", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=09\r\n", 0,
         false},
        {"+9", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=+9\r\n", 0,
         false},
        {"a value where none belongs",
         "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover=1\r\n", 0, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char head[1024];
        tws_http_request r;
        tws_ws_compression terms;
        const char *reason;
        test_row(rows[i].name, i);
        int n = snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", rows[i].fields);
        char *exact = (char *)test_exact(head, (size_t)n);
        CHECK_EQ(tws_http_parse(&r, exact, (size_t)n, NULL, NULL), TWS_HTTP_DONE);
        CHECK_EQ(tws_ws_check_extensions(&r, 0, &terms, &reason), 101);
        CHECK(reason == NULL);
        CHECK_EQ(terms.window_bits, rows[i].bits);
        CHECK_EQ(terms.named, rows[i].named);
    }
}

TEST("what either side keeps is what the offer and the endpoint both allow, and the answer says it")
{
    static const struct {
        const char *offers;
        unsigned bits; /* of the endpoint */
        unsigned window, server, client;
        const char *answer;
    } rows[] = {
        {"permessage-deflate", 0, 15, 0, 0,
         "; server_no_context_takeover; client_no_context_takeover"},
        {"permessage-deflate; client_max_window_bits", 0, 15, 0, 0,
         "; server_no_context_takeover; client_no_context_takeover"},
        {"permessage-deflate", 15, 15, 15, 15, ""},
        {"permessage-deflate; client_max_window_bits", 15, 15, 15, 15, ""},
        {"permessage-deflate; client_max_window_bits=15", 15, 15, 15, 15, ""},
        {"permessage-deflate; client_max_window_bits=10", 15, 15, 15, 10,
         "; client_max_window_bits=10"},
        /* The client's window can be limited by its leave only. */
        {"permessage-deflate", 12, 15, 12, 0, "; client_no_context_takeover"},
        {"permessage-deflate; client_max_window_bits", 12, 15, 12, 12,
         "; client_max_window_bits=12"},
        {"permessage-deflate; client_max_window_bits=15", 12, 15, 12, 12,
         "; client_max_window_bits=12"},
        {"permessage-deflate; client_max_window_bits=9", 12, 15, 12, 9,
         "; client_max_window_bits=9"},
        {"permessage-deflate; client_max_window_bits=12", 12, 15, 12, 12,
         "; client_max_window_bits=12"},
        {"permessage-deflate; client_max_window_bits=8", 8, 15, 8, 8, "; client_max_window_bits=8"},
        /* The server's is whatever it likes within the client's. */
        {"permessage-deflate; server_max_window_bits=10", 15, 10, 10, 15,
         "; server_max_window_bits=10"},
        {"permessage-deflate; server_max_window_bits=14", 9, 14, 9, 0,
         "; client_no_context_takeover; server_max_window_bits=14"},
        {"permessage-deflate; server_max_window_bits=8; client_max_window_bits", 9, 8, 8, 9,
         "; server_max_window_bits=8; client_max_window_bits=9"},
        /* Either may be without. */
        {"permessage-deflate; server_no_context_takeover", 15, 15, 0, 15,
         "; server_no_context_takeover"},
        {"permessage-deflate; client_no_context_takeover", 15, 15, 15, 0,
         "; client_no_context_takeover"},
        {"permessage-deflate; client_no_context_takeover; client_max_window_bits=9", 15, 15, 15, 0,
         "; client_no_context_takeover"},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
         "server_max_window_bits=9; client_max_window_bits=9", 15, 9, 0, 0,
         "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"},
        {"permessage-deflate; server_max_window_bits=9; client_max_window_bits; "
         "server_no_context_takeover", 11, 9, 0, 11,
         "; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits=11"},
        /* The first offer that is good, alone. */
        {"permessage-deflate; client_no_context_takeover; no, permessage-deflate", 15, 15, 15, 15,
         ""},
        {"permessage-deflate, permessage-deflate; server_no_context_takeover", 15, 15, 15, 15, ""},
        {"permessage-deflate; server_no_context_takeover, permessage-deflate", 15, 15, 0, 15,
         "; server_no_context_takeover"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char head[512], memory[256], wanted[256];
        tws_http_request r;
        tws_ws_compression terms;
        tws_buf b;
        const char *reason;
        test_row(rows[i].offers, i);
        int n = snprintf(head, sizeof head,
                         "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: %s\r\n\r\n",
                         rows[i].offers);
        char *exact = (char *)test_exact(head, (size_t)n);
        CHECK_EQ(tws_http_parse(&r, exact, (size_t)n, NULL, NULL), TWS_HTTP_DONE);
        CHECK_EQ(tws_ws_check_extensions(&r, rows[i].bits, &terms, &reason), 101);
        CHECK_EQ(terms.window_bits, rows[i].window);
        CHECK_EQ(terms.server_context, rows[i].server);
        CHECK_EQ(terms.client_context, rows[i].client);
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_ws_answer_extensions(&b, &terms);
        snprintf(wanted, sizeof wanted, "Sec-WebSocket-Extensions: permessage-deflate%s\r\n",
                 rows[i].answer);
        CHECK_STR(tws_buf_view(&b), wanted);
    }
}

TEST("a field that is no list of extensions is refused")
{
    static const char *const rows[] = {
        ";", "a b", "permessage-deflate;", "permessage-deflate; ;", "permessage-deflate; =1",
        "permessage-deflate; a=", "permessage-deflate; a=,", "permessage-deflate; a=\"",
        "permessage-deflate; a=\"\"", "permessage-deflate; a=\"b c\"", "permessage-deflate; a=\"b",
        "permessage-deflate, \"x\"", "permessage-deflate; a=\"b\\\"\"", "a/b",
        "permessage-deflate; a=b c", "permessage-deflate; a=\"b\"c", "=", "a=b",
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char head[256];
        tws_http_request r;
        tws_ws_compression terms;
        const char *reason;
        test_row(rows[i], i);
        int n = snprintf(head, sizeof head,
                         "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Extensions: %s\r\n\r\n", rows[i]);
        char *exact = (char *)test_exact(head, (size_t)n);
        CHECK_EQ(tws_http_parse(&r, exact, (size_t)n, NULL, NULL), TWS_HTTP_DONE);
        CHECK_EQ(tws_ws_check_extensions(&r, 0, &terms, &reason), 400);
        CHECK(reason != NULL);
        CHECK_EQ(terms.window_bits, 0);
    }
}

TEST("the answer names what was agreed on")
{
    char memory[256];
    tws_buf b;
    tws_ws_compression terms = {15, false, 0, 0};
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_ws_answer_extensions(&b, &terms);
    CHECK_STR(tws_buf_view(&b), "Sec-WebSocket-Extensions: permessage-deflate; "
                                "server_no_context_takeover; client_no_context_takeover\r\n");
    terms.window_bits = 9;
    terms.named = true;
    tws_buf_clear(&b);
    tws_ws_answer_extensions(&b, &terms);
    CHECK_STR(tws_buf_view(&b), "Sec-WebSocket-Extensions: permessage-deflate; "
                                "server_no_context_takeover; client_no_context_takeover; "
                                "server_max_window_bits=9\r\n");
    terms.window_bits = 0; /* nothing was */
    tws_buf_clear(&b);
    tws_ws_answer_extensions(&b, &terms);
    CHECK_EQ(b.len, 0);
}
