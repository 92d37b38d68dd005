/* Section 12: RESP2 and RESP3, decoding and encoding.
 *
 * A row's bytes are written as C strings; its events as words:
 *     simple(text) error(text) int(5) bulk(text) verbatim(txt:text) double(1.5) big(123) true false
 *     null array(2) map(4) set(1) push(3) attribute(2) array(?) end
 *     .       behind the event that completes a value of depth 0
 *     !       the bytes break a rule here: the row's reason and offset say which and where
 * Strings in pieces are put together first, so that a row reads the same however it is cut. */
#include "test.h"

typedef struct reader {
    tws_resp_decoder decoder;
    char string[4096]; /* put together from pieces */
    size_t string_len;
    bool open;
    uint64_t total;
    char format[4];
    size_t pieces;
    char log[8192];
    const char *reason;
    uint64_t offset;
    uint32_t deepest;
    uint32_t depth; /* of the string */
} reader;

static void note(reader *r, const char *word, tws_str text)
{
    size_t at = strlen(r->log);
    snprintf(r->log + at, sizeof r->log - at, "%s%s(%.*s)", at > 0 ? " " : "", word, (int)text.len,
             text.ptr == NULL ? "" : text.ptr);
}

static void note_word(reader *r, const char *word)
{
    size_t at = strlen(r->log);
    snprintf(r->log + at, sizeof r->log - at, "%s%s", at > 0 ? " " : "", word);
}

static void note_count(reader *r, const char *word, uint64_t count)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    note(r, word, tws_str_c(count == TWS_RESP_STREAMED ? "?" : text));
}

static void on_string(reader *r, const tws_resp_event *ev, const char *word)
{
    CHECK_EQ(ev->first, !r->open);
    if (ev->first) {
        r->string_len = 0;
        r->total = ev->total;
        r->depth = ev->depth;
        r->pieces = 0;
        memcpy(r->format, ev->format, sizeof r->format);
    }
    CHECK_EQ(ev->depth, r->depth);
    r->pieces++;
    r->open = !ev->last;
    CHECK(ev->text.len <= sizeof r->string - r->string_len);
    if (ev->text.len > 0) {
        memcpy(r->string + r->string_len, ev->text.ptr, ev->text.len);
    }
    r->string_len += ev->text.len;
    if (!ev->last) {
        CHECK(!ev->done);
        return;
    }
    CHECK(r->total == TWS_RESP_STREAMED || r->total == r->string_len);
    char text[sizeof r->string + 8];
    int n = snprintf(text, sizeof text, "%s%s", r->format, r->format[0] != '\0' ? ":" : "");
    memcpy(text + n, r->string, r->string_len);
    note(r, word, tws_str_of(text, (size_t)n + r->string_len));
}

static void on_event(reader *r, const tws_resp_event *ev)
{
    char number[24];
    r->deepest = ev->depth > r->deepest ? ev->depth : r->deepest;
    switch (ev->type) {
    case TWS_RESP_MORE: return;
    case TWS_RESP_SIMPLE: on_string(r, ev, "simple"); break;
    case TWS_RESP_BULK: on_string(r, ev, "bulk"); break;
    case TWS_RESP_VERBATIM: on_string(r, ev, "verbatim"); break;
    case TWS_RESP_SERVER_ERROR: on_string(r, ev, "error"); break;
    case TWS_RESP_INTEGER:
        snprintf(number, sizeof number, "%lld", (long long)ev->integer);
        note(r, "int", tws_str_c(number));
        break;
    case TWS_RESP_DOUBLE: note(r, "double", ev->text); break;
    case TWS_RESP_BIG_NUMBER: note(r, "big", ev->text); break;
    case TWS_RESP_BOOL: note_word(r, ev->integer != 0 ? "true" : "false"); break;
    case TWS_RESP_NULL: note_word(r, "null"); break;
    case TWS_RESP_ARRAY: note_count(r, "array", ev->count); break;
    case TWS_RESP_MAP: note_count(r, "map", ev->count); break;
    case TWS_RESP_SET: note_count(r, "set", ev->count); break;
    case TWS_RESP_PUSH: note_count(r, "push", ev->count); break;
    case TWS_RESP_ATTRIBUTE: note_count(r, "attribute", ev->count); break;
    case TWS_RESP_END: note_word(r, "end"); break;
    case TWS_RESP_ERROR:
        note_word(r, "!");
        r->reason = ev->reason;
        r->offset = ev->offset;
        return;
    }
    if (ev->done) {
        note_word(r, ".");
    }
}

/* Decode what stands in a block of exactly its size; returns what is left of it. */
static size_t decode_block(reader *r, const char *bytes, size_t len)
{
    const char *block = (const char *)test_exact(bytes, len);
    tws_resp_event ev;
    do {
        size_t used = tws_resp_decode(&r->decoder, block, len, &ev);
        CHECK(used <= len);
        block += used;
        len -= used;
        on_event(r, &ev);
    } while (ev.type != TWS_RESP_MORE && ev.type != TWS_RESP_ERROR);
    return len;
}

/* step: bytes that come at a time, after `first` in the first go. */
static void read_all(reader *r, const tws_resp_limits *limits, const char *bytes, size_t len,
                     size_t first, size_t step)
{
    size_t kept = 0;
    memset(r, 0, sizeof *r);
    tws_resp_init(&r->decoder, limits);
    for (size_t at = 0; at < len && r->reason == NULL;) {
        size_t n = at == 0 && first > 0 ? first : step;
        n = n < len - at ? n : len - at;
        kept = decode_block(r, bytes + at - kept, kept + n);
        at += n;
    }
    test_free_blocks();
}

typedef struct row {
    const char *bytes;
    const char *events;
    const char *reason;
    uint64_t offset;
} row;

static void check_row(reader *r, const row *t)
{
    CHECK_STR(tws_str_c(r->log), t->events);
    CHECK_STR(tws_str_c(r->reason), t->reason == NULL ? "" : t->reason);
    CHECK_EQ(r->offset, t->offset);
}

/* Whole, byte by byte, split at every position; with strings in pieces and without. */
static void run_rows(const row *rows, size_t count, tws_resp_limits limits)
{
    static reader r;
    for (size_t i = 0; i < count; i++) {
        const row *t = &rows[i];
        size_t len = strlen(t->bytes);
        test_row(t->bytes, i);
        for (int whole = 0; whole < 2; whole++) {
            limits.whole = whole == 0 ? 0 : 1000;
            read_all(&r, &limits, t->bytes, len, 0, len);
            check_row(&r, t);
            read_all(&r, &limits, t->bytes, len, 0, 1);
            check_row(&r, t);
            for (size_t split = 1; split < len; split++) {
                read_all(&r, &limits, t->bytes, len, split, len);
                check_row(&r, t);
            }
        }
    }
    test_row(NULL, 0);
}

#define RUN(rows, limits) run_rows(rows, sizeof(rows) / sizeof(rows)[0], limits)
static const tws_resp_limits defaults;

TEST("every type of RESP2 and RESP3 is read")
{
    static const row rows[] = {
        {"+OK\r\n", "simple(OK) .", NULL, 0},
        {"+\r\n", "simple() .", NULL, 0},
        {"-ERR unknown command\r\n", "error(ERR unknown command) .", NULL, 0},
        {"!22\r\nSYNTAX invalid\r\nsyntax\r\n", "error(SYNTAX invalid\r\nsyntax) .", NULL, 0},
        {":0\r\n", "int(0) .", NULL, 0},
        {":-1\r\n", "int(-1) .", NULL, 0},
        {":+7\r\n", "int(7) .", NULL, 0},
        {":9223372036854775807\r\n", "int(9223372036854775807) .", NULL, 0},
        {":-9223372036854775808\r\n", "int(-9223372036854775808) .", NULL, 0},
        {"$5\r\nhello\r\n", "bulk(hello) .", NULL, 0},
        {"$0\r\n\r\n", "bulk() .", NULL, 0},
        {"$2\r\n\r\n\r\n", "bulk(\r\n) .", NULL, 0},
        {"$-1\r\n", "null .", NULL, 0},
        {"*-1\r\n", "null .", NULL, 0},
        {"_\r\n", "null .", NULL, 0},
        {"#t\r\n", "true .", NULL, 0},
        {"#f\r\n", "false .", NULL, 0},
        {",1.23\r\n,-1e-7\r\n,10\r\n,inf\r\n,-inf\r\n,nan\r\n",
         "double(1.23) . double(-1e-7) . double(10) . double(inf) . double(-inf) . double(nan) .",
         NULL, 0},
        {"(3492890328409238509324850943850943825024385\r\n(-1\r\n",
         "big(3492890328409238509324850943850943825024385) . big(-1) .", NULL, 0},
        {"=15\r\ntxt:Some string\r\n", "verbatim(txt:Some string) .", NULL, 0},
        {"=4\r\nmkd:\r\n", "verbatim(mkd:) .", NULL, 0},
        {"*0\r\n", "array(0) .", NULL, 0},
        {"*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", "array(2) bulk(hello) bulk(world) .", NULL, 0},
        {"*2\r\n*1\r\n:1\r\n*2\r\n*0\r\n_\r\n",
         "array(2) array(1) int(1) array(2) array(0) null .", NULL, 0},
        {"%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n",
         "map(4) simple(a) int(1) simple(b) int(2) .", NULL, 0},
        {"~2\r\n+a\r\n#t\r\n", "set(2) simple(a) true .", NULL, 0},
        {">3\r\n+message\r\n+channel\r\n$2\r\nhi\r\n",
         "push(3) simple(message) simple(channel) bulk(hi) .", NULL, 0},
        {"+OK\r\n>1\r\n+x\r\n+OK\r\n", "simple(OK) . push(1) simple(x) . simple(OK) .", NULL, 0},
    };
    RUN(rows, defaults);
}

TEST("an attribute stands before a value and completes none")
{
    static const row rows[] = {
        {"|1\r\n+ttl\r\n:60\r\n$1\r\nx\r\n", "attribute(2) simple(ttl) int(60) bulk(x) .", NULL, 0},
        {"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
         "array(2) attribute(2) simple(a) simple(b) int(1) int(2) .", NULL, 0},
        {"|0\r\n:1\r\n", "attribute(0) int(1) .", NULL, 0},
        {"*1\r\n|1\r\n+k\r\n|0\r\n*1\r\n_\r\n:5\r\n",
         "array(1) attribute(2) simple(k) attribute(0) array(1) null int(5) .", NULL, 0},
    };
    RUN(rows, defaults);
}

TEST("streamed strings and containers are read to their end")
{
    static const row rows[] = {
        {"$?\r\n;4\r\nHell\r\n;5\r\no wor\r\n;1\r\nd\r\n;0\r\n", "bulk(Hello word) .", NULL, 0},
        {"$?\r\n;0\r\n", "bulk() .", NULL, 0},
        {"*?\r\n:1\r\n*1\r\n:2\r\n.\r\n", "array(?) int(1) array(1) int(2) end .", NULL, 0},
        {"%?\r\n+a\r\n$?\r\n;1\r\nb\r\n;0\r\n.\r\n+OK\r\n",
         "map(?) simple(a) bulk(b) end . simple(OK) .", NULL, 0},
        {"*1\r\n~?\r\n.\r\n", "array(1) set(?) end .", NULL, 0},
        {"%?\r\n.\r\n", "map(?) end .", NULL, 0},
    };
    RUN(rows, defaults);
}

TEST("what breaks the protocol is an error that names the rule and the place")
{
    static const char *const type = "no RESP type begins with this byte";
    static const char *const length = "a length that is no number";
    static const char *const too_long = "a string longer than the limit";
    static const char *const count = "a count that is no number";
    static const char *const high = "a container of more elements than the limit";
    static const char *const scalar = "a number, boolean or null that is none";
    static const char *const line_end = "a line does not end in CR LF";
    static const char *const string_end = "a string is not followed by CR LF";
    static const char *const format = "a verbatim string without its format";
    static const char *const chunk = "a streamed string goes on without a chunk";
    const row rows[] = {
        {"*1073741824\r\n", "!", high, 0}, /* CVE-2021-32765 */
        {"*1048577\r\n", "!", high, 0},
        {"%1073741824\r\n", "!", high, 0},
        {"%2147483648\r\n", "!", high, 0}, /* doubles to 0 in 32 bits */
        {"%9223372036854775808\r\n", "!", high, 0}, /* and in 64 */
        {"%524289\r\n", "!", high, 0},
        {"|524289\r\n", "!", high, 0},
        {"~1048577\r\n", "!", high, 0},
        {">1048577\r\n", "!", high, 0},
        {"*-2\r\n", "!", count, 0},
        {"*+1\r\n", "!", count, 0},
        {"*1.0\r\n", "!", count, 0},
        {"* 1\r\n", "!", count, 0},
        {"*0x1\r\n", "!", count, 0},
        {"*\r\n", "!", count, 0},
        {"*99999999999999999999\r\n", "!", count, 0},
        {"%-1\r\n", "!", count, 0},
        {"~-1\r\n", "!", count, 0},
        {">-1\r\n", "!", count, 0},
        {">?\r\n", "!", count, 0},
        {"|?\r\n", "!", count, 0},
        {"$-2\r\n", "!", length, 0},
        {"$+5\r\nhello\r\n", "!", length, 0},
        {"$5a\r\nhello\r\n", "!", length, 0},
        {"$\r\n", "!", length, 0},
        {"$99999999999999999999\r\n", "!", length, 0},
        {"$18446744073709551615\r\n", "!", too_long, 0},
        {"$536870913\r\n", "!", too_long, 0},
        {"!-1\r\n", "!", length, 0},
        {"=-1\r\n", "!", length, 0},
        {"!?\r\n", "!", length, 0},
        {"$5\r\nhello!!", "!", string_end, 0},
        {"$5\r\nhello\n\n", "!", string_end, 0},
        {"*2\r\n$2\r\nok\r\n$1\r\nlong\r\n", "array(2) bulk(ok) !", string_end, 12},
        {"+OK\n", "!", line_end, 0},
        {"+OK\rno\r\n", "!", line_end, 0},
        {"$5\n", "!", line_end, 0},
        {"=3\r\ntxt\r\n", "!", format, 0},
        {"=5\r\ntext:\r\n", "!", format, 0},
        {":\r\n", "!", scalar, 0},
        {":1.5\r\n", "!", scalar, 0},
        {":- 1\r\n", "!", scalar, 0},
        {":--1\r\n", "!", scalar, 0},
        {":9223372036854775808\r\n", "!", scalar, 0},
        {":-9223372036854775809\r\n", "!", scalar, 0},
        {"#true\r\n", "!", scalar, 0},
        {"#\r\n", "!", scalar, 0},
        {"_x\r\n", "!", scalar, 0},
        {",\r\n", "!", scalar, 0},
        {",1.\r\n", "!", scalar, 0},
        {",.5\r\n", "!", scalar, 0},
        {",1e\r\n", "!", scalar, 0},
        {",0x1p3\r\n", "!", scalar, 0},
        {",infinity\r\n", "!", scalar, 0},
        {"(\r\n", "!", scalar, 0},
        {"(-\r\n", "!", scalar, 0},
        {"(1e9\r\n", "!", scalar, 0},
        {"*1\r\n>1\r\n+x\r\n", "array(1) !", "a push inside a reply", 4},
        {"$?\r\n;-1\r\n", "!", length, 4},
        {"$?\r\n;\r\n", "!", length, 4},
        {"$?\r\n;99999999999999999999\r\n", "!", length, 4},
        {"$?\r\n;2\r\nabc\r\n", "!", string_end, 4},
        {"$?\r\n$1\r\na\r\n", "!", chunk, 4},
        {";1\r\na\r\n", "!", type, 0},
        {".\r\n", "!", "an end of nothing", 0},
        {"*1\r\n.\r\n", "array(1) !", "an end of nothing", 4},
        {"*?\r\n.x\r\n", "array(?) !", "an end of nothing", 4},
        {"%?\r\n+a\r\n.\r\n", "map(?) simple(a) !", "a map ends behind a name", 8},
        {"HTTP/1.1 400 Bad Request\r\n", "!", type, 0},
    };
    /* A string in pieces is judged behind those that have been taken. */
    static reader r;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].bytes);
        test_row(rows[i].bytes, i);
        for (size_t split = 0; split <= len; split++) {
            tws_resp_limits limits = {0, 0, split % 2 == 0 ? 100 : 0};
            read_all(&r, &limits, rows[i].bytes, len, split, split == len ? 1 : len);
            CHECK_STR(tws_str_c(r.log), rows[i].events);
            CHECK_STR(tws_str_c(r.reason), rows[i].reason);
            CHECK(r.offset >= rows[i].offset);
            CHECK(rows[i].reason == string_end || r.offset == rows[i].offset);
        }
    }
}

TEST("an error is sticky: every later call says the same and takes nothing")
{
    tws_resp_decoder d;
    tws_resp_event ev;
    tws_resp_init(&d, NULL);
    CHECK_EQ(tws_resp_decode(&d, "+OK\r\n", 5, &ev), 5);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tws_resp_decode(&d, "HTTP", 4, &ev), 0);
        CHECK_EQ(ev.type, TWS_RESP_ERROR);
        CHECK_EQ(ev.offset, 5);
        CHECK_STR(tws_str_c(ev.reason), "no RESP type begins with this byte");
        CHECK_EQ(tws_resp_decode(&d, "+OK\r\n", 5, &ev), 0);
        CHECK_EQ(ev.type, TWS_RESP_ERROR);
    }
}

TEST("a peer that is no Redis is known by its first byte")
{
    static const char known[] = "+-:,(#_$!=*%~>|.";
    for (int c = 0; c < 256; c++) {
        tws_resp_decoder d;
        tws_resp_event ev;
        char byte = (char)c;
        tws_resp_init(&d, NULL);
        tws_resp_decode(&d, &byte, 1, &ev);
        bool fits = c != 0 && strchr(known, c) != NULL;
        CHECK_EQ(ev.type, fits ? TWS_RESP_MORE : TWS_RESP_ERROR);
    }
}

TEST("containers are nested up to the limit and no further")
{
    static reader r;
    char bytes[4 * TWS_RESP_MAX_DEPTH + 9];
    size_t len = 0;
    for (int i = 0; i <= TWS_RESP_MAX_DEPTH; i++) {
        memcpy(bytes + len, "*1\r\n", 4);
        len += 4;
    }
    read_all(&r, NULL, bytes, len, 0, len);
    CHECK_STR(tws_str_c(r.reason), "containers nested too deeply");
    CHECK_EQ(r.offset, 4 * TWS_RESP_MAX_DEPTH);
    memcpy(bytes + len - 4, ":1\r\n", 4);
    read_all(&r, NULL, bytes, len, 0, 1);
    CHECK(r.reason == NULL);
    CHECK_EQ(r.deepest, TWS_RESP_MAX_DEPTH);
    CHECK_MEM(r.log + strlen(r.log) - 8, 8, "int(1) .", 8);
}

TEST("a line ends within its limit")
{
    static char bytes[TWS_RESP_MAX_LINE + 8];
    static reader r;
    for (size_t text = TWS_RESP_MAX_LINE - 5; text <= TWS_RESP_MAX_LINE; text++) {
        memset(bytes, 'x', sizeof bytes);
        bytes[0] = '+';
        memcpy(bytes + 1 + text, "\r\n", 2);
        for (size_t step = 1; step < 3; step++) {
            read_all(&r, NULL, bytes, text + 3, 0, step == 1 ? 509 : text + 3);
            bool fits = text + 3 <= TWS_RESP_MAX_LINE;
            CHECK_STR(tws_str_c(r.reason), fits ? "" : "a line longer than the limit");
            CHECK_EQ(r.string_len, fits ? text : 0);
        }
    }
}

TEST("the limits of a desc are the limits")
{
    static const row rows[] = {
        {"$10\r\n0123456789\r\n", "bulk(0123456789) .", NULL, 0},
        {"$11\r\n", "!", "a string longer than the limit", 0},
        {"!11\r\n", "!", "a string longer than the limit", 0},
        {"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "array(4) int(1) int(2) int(3) int(4) .", NULL, 0},
        {"*5\r\n", "!", "a container of more elements than the limit", 0},
        {"%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "map(4) int(1) int(2) int(3) int(4) .", NULL, 0},
        {"%3\r\n", "!", "a container of more elements than the limit", 0},
    };
    static const row streamed = {"$?\r\n;6\r\n012345\r\n;5\r\n", "!",
                                 "a string longer than the limit", 16};
    tws_resp_limits limits = {10, 4, 0};
    static reader r;
    RUN(rows, limits);
    read_all(&r, &limits, streamed.bytes, strlen(streamed.bytes), 0, 1);
    check_row(&r, &streamed);
}

TEST("a large string passes in pieces, and nothing of it has to be kept")
{
    static char block[1000];
    tws_resp_decoder d;
    tws_resp_event ev;
    uint64_t left = (uint64_t)300 << 20;
    memset(block, 'x', sizeof block);
    tws_resp_init(&d, NULL);
    CHECK_EQ(tws_resp_decode(&d, "$314572800\r\n", 12, &ev), 12);
    CHECK(ev.type == TWS_RESP_BULK && ev.first && !ev.last);
    CHECK_EQ(ev.total, left);
    while (left > 0 && ev.type == TWS_RESP_BULK) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        CHECK_EQ(tws_resp_decode(&d, block, n, &ev), n);
        CHECK(ev.text.ptr == block && !ev.first && !ev.last);
        left -= n;
    }
    CHECK_EQ(tws_resp_decode(&d, "\r", 1, &ev), 0);
    CHECK_EQ(ev.type, TWS_RESP_MORE);
    CHECK_EQ(tws_resp_decode(&d, "\r\n", 2, &ev), 2);
    CHECK(ev.last && ev.done);
    CHECK_EQ(ev.text.len, 0);
}

TEST("strings up to `whole` come in one piece, longer ones as they come")
{
    static reader r;
    tws_resp_limits limits = {0, 0, 10};
    read_all(&r, &limits, "$10\r\n0123456789\r\n", 17, 0, 1);
    CHECK_EQ(r.pieces, 1);
    read_all(&r, &limits, "!10\r\n0123456789\r\n", 17, 0, 1);
    CHECK_EQ(r.pieces, 1);
    read_all(&r, &limits, "=10\r\ntxt:456789\r\n", 17, 0, 1);
    CHECK_EQ(r.pieces, 1);
    read_all(&r, &limits, "$11\r\n01234567890\r\n", 18, 0, 1);
    CHECK_EQ(r.pieces, 13);
    limits.whole = 0;
    read_all(&r, &limits, "$10\r\n0123456789\r\n", 17, 0, 17);
    CHECK_EQ(r.pieces, 1);
}

TEST("a string in chunks may be as long as the limit, and no longer")
{
    static reader r;
    tws_resp_limits limits = {4, 0, 0};
    read_all(&r, &limits, "$?\r\n;2\r\nab\r\n;2\r\ncd\r\n;0\r\n", 24, 0, 24);
    CHECK_STR(tws_str_c(r.log), "bulk(abcd) .");
    read_all(&r, &limits, "$?\r\n;2\r\nab\r\n;3\r\ncde\r\n;0\r\n", 25, 0, 25);
    CHECK_STR(tws_str_c(r.log), "!");
}

TEST("commands are written as arrays of bulk strings, whatever bytes their words have")
{
    char memory[256];
    tws_buf b;
    static reader r;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_resp_command(&b, 4);
    tws_resp_word_c(&b, "SET");
    tws_resp_word(&b, tws_str_of("a\0\r\n", 4));
    tws_resp_word_c(&b, "");
    tws_resp_word_u64(&b, UINT64_MAX);
    static const char want[] = "*4\r\n$3\r\nSET\r\n$4\r\na\0\r\n\r\n$0\r\n\r\n"
                               "$20\r\n18446744073709551615\r\n";
    CHECK_EQ(b.status, TWS_OK);
    CHECK_MEM(b.ptr, b.len, want, sizeof want - 1);
    read_all(&r, NULL, b.ptr, b.len, 0, 1);
    CHECK_MEM(r.log, 18, "array(4) bulk(SET)", 18);
    CHECK_MEM(r.string, r.string_len, "18446744073709551615", 20);
}

TEST("a command that does not fit fails its buffer")
{
    char memory[12];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_resp_command(&b, 1);
    tws_resp_word_c(&b, "PING");
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
}
