/* Section 8: HTTP heads, queries, chunked bodies, the response writer. */
#include "test.h"

#define COUNT(table) (sizeof table / sizeof table[0])

static tws_str exact(const char *text, size_t len)
{
    return tws_str_of((const char *)test_exact(text, len), len);
}

/* -- one head, told in one line -- */

static tws_http_request request; /* too big for a stack that ASan watches */

/* GET /p ?q host 1.1 close chunked continue upgrade body=5 {a=1|b=2} 20 */
static const char *tell(tws_http_result result)
{
    static char line[4000];
    const tws_http_request *r = &request;
    tws_str query = r->query;
    if (result == TWS_HTTP_MORE) {
        return "more";
    }
    if (result == TWS_HTTP_ERROR) {
        CHECK(r->reason != NULL);
        snprintf(line, sizeof line, "%d at %zu", r->status, r->offset);
        return line;
    }
    CHECK_EQ(r->status, 0);
    size_t at = (size_t)snprintf(line, sizeof line, "%.*s %.*s", (int)r->method.len, r->method.ptr,
                                 (int)r->path.len, r->path.ptr);
    if (query.len > 0) {
        at += (size_t)snprintf(line + at, sizeof line - at, " ?%.*s", (int)query.len, query.ptr);
    }
    at += (size_t)snprintf(line + at, sizeof line - at, " host=%.*s 1.%u%s%s%s%s", (int)r->host.len,
                           r->host.ptr, (unsigned)r->minor, r->keep_alive ? "" : " close",
                           r->chunked ? " chunked" : "", r->expect_continue ? " continue" : "",
                           r->upgrade ? " upgrade" : "");
    if (r->content_length > 0) {
        at += (size_t)snprintf(line + at, sizeof line - at, " length=%llu",
                               (unsigned long long)r->content_length);
    }
    for (uint32_t i = 0; i < r->field_count; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, " %.*s=[%.*s]",
                               (int)r->field[i].name.len, r->field[i].name.ptr,
                               (int)r->field[i].value.len, r->field[i].value.ptr);
    }
    return line;
}

/* What the pieces [0, ends[0]), [0, ends[1]) ... of a head give: the first answer but "more". Each
 * stands in a block of its own and of exactly its size. */
static const char *parse_pieces(const char *text, const size_t *ends, size_t count,
                                const tws_http_limits *limits)
{
    size_t scanned = 0;
    const char *told = "more";
    tws_http_result result = TWS_HTTP_MORE;
    for (size_t i = 0; i < count && result == TWS_HTTP_MORE; i++) {
        char *piece = (char *)malloc(ends[i] > 0 ? ends[i] : 1);
        memcpy(piece, text, ends[i]);
        memset(&request, 0x55, sizeof request);
        result = tws_http_parse(&request, piece, ends[i], &scanned, limits);
        CHECK_EQ(scanned, result == TWS_HTTP_MORE ? ends[i] : 0);
        CHECK(result != TWS_HTTP_ERROR || request.offset <= ends[i]);
        CHECK(result != TWS_HTTP_DONE || request.head_bytes <= ends[i]);
        told = tell(result); /* reads every slice while the block is there */
        free(piece);
    }
    return told;
}

/* Runs a head whole, in steps, and split in two; the answer must be the same. Steps and splits are
 * those of one byte, or for a long head about a hundred. */
static void check_head(const char *text, size_t len, const char *expected,
                       const tws_http_limits *limits)
{
    static size_t ends[2001];
    const size_t step = len > 2000 ? len / 97 : 1;
    size_t count = 0;
    for (size_t n = 0; n <= len; n += step) {
        const size_t split[2] = {n, len};
        ends[count++] = n;
        CHECK_STR(tws_str_c(parse_pieces(text, split, 2, limits)), expected);
    }
    ends[count++] = len;
    CHECK_STR(tws_str_c(parse_pieces(text, &len, 1, limits)), expected);
    CHECK_STR(tws_str_c(parse_pieces(text, ends, count, limits)), expected);
}

typedef struct head_row {
    const char *text;
    size_t len;
    const char *expected;
} head_row;

#define HEAD(text, expected) {text, sizeof text - 1, expected}
/* A sound request with these field lines next to Host. */
#define FIELDS(lines, expected) HEAD("GET / HTTP/1.1\r\nHost: h\r\n" lines "\r\n", expected)

static void check_heads(const head_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        test_row(rows[i].text, i);
        check_head(rows[i].text, rows[i].len, rows[i].expected, NULL);
    }
}

/* -- request lines -- */

static const head_row lines[] = {
    HEAD("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / host=h 1.1 Host=[h]"),
    HEAD("GET / HTTP/1.0\r\n\r\n", "GET / host= 1.0 close"),
    HEAD("GET /a/b%20c?x=1&y=?2 HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /a/b%20c ?x=1&y=?2 host=h 1.1 Host=[h]"),
    HEAD("GET /? HTTP/1.1\r\nHost: h\r\n\r\n", "GET / host=h 1.1 Host=[h]"),
    HEAD("GET //x//y HTTP/1.1\r\nHost: h\r\n\r\n", "GET //x//y host=h 1.1 Host=[h]"),
    HEAD("GET /%2e%2e/%00%zz% HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /%2e%2e/%00%zz% host=h 1.1 Host=[h]"), /* whoever decodes it judges it */
    HEAD("GET /ws?token=a.b.c&token=d HTTP/1.1\r\nHost: h\r\n\r\n",
         "GET /ws ?token=a.b.c&token=d host=h 1.1 Host=[h]"),
    HEAD("GET /{}|\\^`\"<> HTTP/1.1\r\nHost: h\r\n\r\n", "GET /{}|\\^`\"<> host=h 1.1 Host=[h]"),
    HEAD("get / HTTP/1.1\r\nHost: h\r\n\r\n", "get / host=h 1.1 Host=[h]"),
    HEAD("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\nHost: h\r\n\r\n",
         "!#$%&'*+-.^_`|~09azAZ / host=h 1.1 Host=[h]"), /* an unknown method is a token too */
    HEAD("GET / HTTP/1.9\r\nHost: h\r\n\r\n", "GET / host=h 1.9 Host=[h]"),
    /* versions */
    HEAD("GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 at 6"),
    HEAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 at 6"),
    HEAD("GET / HTTP/3.0\r\n", "505 at 6"),
    HEAD("GET / HTTP/0.9\r\n\r\n", "400 at 6"),
    HEAD("GET /\r\n", "400 at 5"), /* HTTP/0.9 itself: it waits for an answer now */
    HEAD("GET /\r\n\r\n", "400 at 5"),
    HEAD("GET / \r\n\r\n", "400 at 6"),
    HEAD("GET / http/1.1\r\nHost: h\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/1\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/1\r\n", "400 at 6"),
    HEAD("GET / HTTP/\r\n", "400 at 6"),
    HEAD("GET / HTTP/1.\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/11\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/1.10\r\nHost: h\r\n\r\n", "400 at 14"),
    HEAD("GET / HTTP/1.x\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/-1.1\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTPS/1.1\r\n\r\n", "400 at 6"),
    HEAD("GET / ICE/1.0\r\n\r\n", "400 at 6"),
    /* spaces: one between the words, none elsewhere */
    HEAD("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 4"),
    HEAD("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 6"),
    HEAD("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "400 at 14"),
    HEAD(" GET / HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 0"),
    HEAD("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 3"),
    HEAD("GET /\tHTTP/1.1\r\nHost: h\r\n\r\n", "400 at 5"),
    HEAD("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 7"),
    HEAD("GET\r\n\r\n", "400 at 3"),
    HEAD("GET / HTTP/1.1 x\r\n\r\n", "400 at 14"),
    /* bytes that may not stand there */
    HEAD("G\x01T / HTTP/1.1\r\n\r\n", "400 at 1"),
    HEAD("G(T / HTTP/1.1\r\n\r\n", "400 at 1"),
    HEAD("GET:/ HTTP/1.1\r\n\r\n", "400 at 3"),
    HEAD("GET /\0 HTTP/1.1\r\n\r\n", "400 at 5"),
    HEAD("GET /\x7f HTTP/1.1\r\n\r\n", "400 at 5"),
    HEAD("GET /\xd0\xb6 HTTP/1.1\r\n\r\n", "400 at 5"),
    HEAD("GET /#f HTTP/1.1\r\n\r\n", "400 at 5"),
    HEAD("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", "400 at 0"), /* TLS, to a plain port */
    HEAD("\0GET / HTTP/1.1\r\n\r\n", "400 at 0"),
    HEAD("*1\r\n$4\r\nPING\r\n", "400 at 2"), /* RESP */
    /* line ends */
    HEAD("GET / HTTP/1.1\nHost: h\n\n", "400 at 14"),
    HEAD("GET / HTTP/1.1\n", "400 at 14"),
    HEAD("GET / HTTP/1.1\rHost: h\r\r\n", "400 at 14"),
    HEAD("GET / HTTP/1.1\r\r\n\r\n", "400 at 14"),
    HEAD("GET / HTTP/1.1\n\rHost: h\r\n\r\n", "400 at 14"),
    HEAD("GET / HTTP/1.1\r\nHost: h\n\n", "400 at 23"),
    HEAD("GET / HTTP/1.1\r\nHost: h\n\r\n", "400 at 23"),
    HEAD("GET / HTTP/1.1\r\nHost: h\r\n\n", "400 at 25"),
    HEAD("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", "400 at 23"),
    HEAD("GET / HTTP/1.1\r\nHost: h\r\n\rX\r\n\r\n", "400 at 25"),
    /* what comes before: one empty line is forgiven */
    HEAD("\r\nGET / HTTP/1.0\r\n\r\n", "GET / host= 1.0 close"),
    HEAD("\r\n\r\nGET / HTTP/1.0\r\n\r\n", "400 at 2"),
    HEAD("\nGET / HTTP/1.0\r\n\r\n", "400 at 0"),
    HEAD("\rGET / HTTP/1.0\r\n\r\n", "400 at 0"),
    HEAD("\r\rGET / HTTP/1.0\r\n\r\n", "400 at 0"),
    HEAD("\r\n\nGET / HTTP/1.0\r\n\r\n", "400 at 2"),
    HEAD("\r\nGET /\r\n", "400 at 7"),
    HEAD("\r\n GET / HTTP/1.0\r\n\r\n", "400 at 2"),
    HEAD("garbage\r\nGET / HTTP/1.0\r\n\r\n", "400 at 7"),
    HEAD("garbage garbage\r\nGET / HTTP/1.0\r\n\r\n", "400 at 15"),
    HEAD("\xef\xbb\xbfGET / HTTP/1.0\r\n\r\n", "400 at 0"),
};

TEST("a request line is read as RFC 9112 writes it, or refused with its status")
{
    check_heads(lines, COUNT(lines));
}

static const head_row forms[] = {
    HEAD("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * host=h 1.1 Host=[h]"),
    HEAD("GET * HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 4"),
    HEAD("OPTIONS *x HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 8"),
    HEAD("OPTIONS *? HTTP/1.1\r\nHost: h\r\n\r\n", "400 at 8"),
    HEAD("GET http://a.example:80/p?q HTTP/1.1\r\nHost: b\r\n\r\n",
         "GET /p ?q host=a.example:80 1.1 Host=[b]"),
    HEAD("GET http://a/p HTTP/1.0\r\n\r\n", "GET /p host=a 1.0 close"),
    HEAD("GET HTTPS://a/p HTTP/1.0\r\n\r\n", "GET /p host=a 1.0 close"),
    HEAD("GET ws://a/p HTTP/1.0\r\n\r\n", "GET /p host=a 1.0 close"),
    HEAD("GET wss://a/p HTTP/1.0\r\n\r\n", "GET /p host=a 1.0 close"),
    HEAD("GET http://a HTTP/1.0\r\n\r\n", "GET / host=a 1.0 close"),
    HEAD("GET http://a?q=/x HTTP/1.0\r\n\r\n", "GET / ?q=/x host=a 1.0 close"),
    HEAD("OPTIONS http://a HTTP/1.0\r\n\r\n", "OPTIONS * host=a 1.0 close"),
    HEAD("OPTIONS http://a/ HTTP/1.0\r\n\r\n", "OPTIONS / host=a 1.0 close"),
    HEAD("OPTIONS http://a?q HTTP/1.0\r\n\r\n", "OPTIONS / ?q host=a 1.0 close"),
    HEAD("GET http://[::1]:80/p HTTP/1.0\r\n\r\n", "GET /p host=[::1]:80 1.0 close"),
    HEAD("GET http://a/p HTTP/1.1\r\n\r\n", "400 at 27"), /* Host is a must all the same */
    HEAD("GET http:///p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http://:80/p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http://u:p@a/ HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http://a:b/ HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http://a:65536/ HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http:/a/p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http:// HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET http HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET ftp://a/p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET a.example:80 HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET ?q HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("GET \\p HTTP/1.0\r\n\r\n", "400 at 4"),
    HEAD("CONNECT a.example:443 HTTP/1.1\r\nHost: h\r\n\r\n",
         "CONNECT  host=a.example:443 1.1 Host=[h]"),
    HEAD("CONNECT [::1]:443 HTTP/1.0\r\n\r\n", "CONNECT  host=[::1]:443 1.0 close"),
    HEAD("CONNECT a.example HTTP/1.0\r\n\r\n", "400 at 8"),
    HEAD("CONNECT a.example: HTTP/1.0\r\n\r\n", "400 at 8"),
    HEAD("CONNECT :443 HTTP/1.0\r\n\r\n", "400 at 8"),
    HEAD("CONNECT [::1] HTTP/1.0\r\n\r\n", "400 at 8"),
    HEAD("CONNECT / HTTP/1.0\r\n\r\n", "400 at 8"),
    HEAD("CONNECT http://a:1/ HTTP/1.0\r\n\r\n", "400 at 8"),
};

TEST("each method has its forms of a target, and an absolute one brings its own host")
{
    check_heads(forms, COUNT(forms));
}

/* -- fields -- */

static const head_row fields[] = {
    FIELDS("A: b\r\n", "GET / host=h 1.1 Host=[h] A=[b]"),
    FIELDS("A:b\r\nA:  \t c d \t \r\n", "GET / host=h 1.1 Host=[h] A=[b] A=[c d]"),
    FIELDS("A:\r\nB: \r\nC:\t\r\n", "GET / host=h 1.1 Host=[h] A=[] B=[] C=[]"),
    FIELDS("A: :b:\r\n", "GET / host=h 1.1 Host=[h] A=[:b:]"),
    FIELDS("A: \xd0\xb6\xff\x80\r\n", "GET / host=h 1.1 Host=[h] A=[\xd0\xb6\xff\x80]"),
    FIELDS("!#$%&'*+-.^_`|~0aZ: x\r\n", "GET / host=h 1.1 Host=[h] !#$%&'*+-.^_`|~0aZ=[x]"),
    FIELDS("A: a\tb\tc, long enough for words\t.\r\n",
           "GET / host=h 1.1 Host=[h] A=[a\tb\tc, long enough for words\t.]"),
    FIELDS(": x\r\n", "400 at 25"),
    FIELDS("A : x\r\n", "400 at 26"),
    FIELDS("A\t: x\r\n", "400 at 26"),
    FIELDS(" A: x\r\n", "400 at 25"), /* obs-fold, or a first field that hides */
    FIELDS("\tA: x\r\n", "400 at 25"),
    FIELDS("A: x\r\n y\r\n", "400 at 31"),
    FIELDS("A: x\r\n\ty\r\n", "400 at 31"),
    FIELDS("A: x\r\n \r\n", "400 at 31"),
    FIELDS("A\r\n", "400 at 26"),
    FIELDS("A b: x\r\n", "400 at 26"),
    FIELDS("A(b: x\r\n", "400 at 26"),
    FIELDS("\xd0\xb6: x\r\n", "400 at 25"),
    FIELDS("A\0: x\r\n", "400 at 26"),
    FIELDS("A: x\0y\r\n", "400 at 29"),
    FIELDS("A: \0\r\n", "400 at 28"),
    FIELDS("A: x\x01y\r\n", "400 at 29"),
    FIELDS("A: x\x7fy\r\n", "400 at 29"),
    FIELDS("A: x\ry\r\n", "400 at 29"),
    FIELDS("A: x\ny\r\n", "400 at 29"),
    FIELDS("A: x\n", "400 at 29"),
    FIELDS("A: x\nB: y\r\n", "400 at 29"),
    FIELDS("A: forty bytes of value, and behind them: \x1b[2J\r\n", "400 at 67"),
    HEAD("GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n", "400 at 16"),
    HEAD("GET / HTTP/1.1\r\n\tHost: h\r\n\r\n", "400 at 16"),
};

TEST("a field line is a token, a colon and a value of text, or 400 at its first wrong byte")
{
    check_heads(fields, COUNT(fields));
}

static const head_row hosts[] = {
    HEAD("GET / HTTP/1.1\r\n\r\n", "400 at 18"),
    HEAD("GET / HTTP/1.1\r\nA: b\r\n\r\n", "400 at 24"),
    HEAD("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 at 31"),
    HEAD("GET / HTTP/1.0\r\nHost: a\r\nHOST: b\r\n\r\n", "400 at 31"),
    HEAD("GET / HTTP/1.1\r\nhOsT: a\r\n\r\n", "GET / host=a 1.1 hOsT=[a]"),
    HEAD("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / host= 1.1 Host=[]"),
    HEAD("GET / HTTP/1.1\r\nHost: a.example:8000\r\n\r\n",
         "GET / host=a.example:8000 1.1 Host=[a.example:8000]"),
    HEAD("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "GET / host=a: 1.1 Host=[a:]"),
    HEAD("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", "GET / host=[::1] 1.1 Host=[[::1]]"),
    HEAD("GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]:80\r\n\r\n",
         "GET / host=[::ffff:1.2.3.4]:80 1.1 Host=[[::ffff:1.2.3.4]:80]"),
    HEAD("GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n", "GET / host=a:65535 1.1 Host=[a:65535]"),
    HEAD("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a:8 0\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: [::1x:80\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost: <a>\r\n\r\n", "400 at 22"),
    HEAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400 at 20"),
};

TEST("HTTP/1.1 has exactly one Host, and it is a host")
{
    check_heads(hosts, COUNT(hosts));
}

#define LENGTH(value, expected) FIELDS("Content-Length:" value "\r\n", expected)

static const head_row lengths[] = {
    LENGTH(" 5", "GET / host=h 1.1 length=5 Host=[h] Content-Length=[5]"),
    LENGTH(" 0", "GET / host=h 1.1 Host=[h] Content-Length=[0]"),
    LENGTH(" 007", "GET / host=h 1.1 length=7 Host=[h] Content-Length=[007]"),
    LENGTH(" 18446744073709551615",
           "GET / host=h 1.1 length=18446744073709551615 Host=[h] "
           "Content-Length=[18446744073709551615]"),
    LENGTH(" 18446744073709551616", "400 at 41"),
    LENGTH(" 99999999999999999999999999999999999999", "400 at 41"),
    LENGTH(" -5", "400 at 41"),
    LENGTH(" +5", "400 at 41"),
    LENGTH(" 5,5", "400 at 41"),
    LENGTH(" 5, 5", "400 at 41"),
    LENGTH(" 5 5", "400 at 41"),
    LENGTH(" 1_0", "400 at 41"),
    LENGTH(" 0x5", "400 at 41"),
    LENGTH(" 5.0", "400 at 41"),
    LENGTH(" 5e0", "400 at 41"),
    LENGTH(" 5;", "400 at 41"),
    LENGTH(" \"5\"", "400 at 41"),
    LENGTH(" \xd9\xa5", "400 at 41"),
    LENGTH("", "400 at 40"),
    LENGTH(" 5\r\nContent-Length: 5",
           "GET / host=h 1.1 length=5 Host=[h] Content-Length=[5] Content-Length=[5]"),
    LENGTH(" 5\r\nContent-Length: 6", "400 at 60"),
    LENGTH(" 5\r\nA: b\r\ncontent-length: 0", "400 at 66"),
    LENGTH(" 5\r\nTransfer-Encoding: chunked", "400 at 74"),
    FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "400 at 74"),
};

TEST("Content-Length is digits, once or the same, and stands alone")
{
    check_heads(lengths, COUNT(lengths));
}

#define CODING(value, expected) FIELDS("Transfer-Encoding:" value "\r\n", expected)

static const head_row codings[] = {
    CODING(" chunked", "GET / host=h 1.1 chunked Host=[h] Transfer-Encoding=[chunked]"),
    CODING(" ChunkeD", "GET / host=h 1.1 chunked Host=[h] Transfer-Encoding=[ChunkeD]"),
    CODING(" gzip, chunked", "501 at 44"),
    CODING(" foo;a=b,chunked", "501 at 44"),
    CODING(" xchunked", "400 at 44"),
    CODING(" chunkedx", "400 at 44"),
    CODING(" chunked, identity", "400 at 44"),
    CODING(" identity", "400 at 44"),
    CODING(" gzip", "400 at 44"),
    CODING(" chunked, chunked", "400 at 44"),
    CODING(" chunked, gzip, chunked", "400 at 44"),
    CODING(" chunked;a=b", "400 at 44"),
    CODING(" \"chunked\"", "400 at 44"),
    CODING(" chun ked", "400 at 44"),
    CODING("", "400 at 43"),
    CODING(" chunked\r\nTransfer-Encoding: chunked", "400 at 72"),
    CODING(" chunked\r\nTRANSFER-ENCODING: identity", "400 at 72"),
    CODING(" gzip\r\nTransfer-Encoding: chunked", "400 at 44"),
    CODING("\x0b" "chunked", "400 at 43"),
    HEAD("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", "400 at 42"),
    HEAD("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400 at 46"),
};

TEST("Transfer-Encoding is chunked, once, and of HTTP/1.1")
{
    check_heads(codings, COUNT(codings));
}

#define OLD(fields, expected) HEAD("GET / HTTP/1.0\r\n" fields "\r\n", expected)

static const head_row connections[] = {
    FIELDS("Connection: close\r\n", "GET / host=h 1.1 close Host=[h] Connection=[close]"),
    FIELDS("Connection: keep-alive\r\n", "GET / host=h 1.1 Host=[h] Connection=[keep-alive]"),
    FIELDS("Connection: x , CLOSE\r\n", "GET / host=h 1.1 close Host=[h] Connection=[x , CLOSE]"),
    FIELDS("Connection: closed\r\n", "GET / host=h 1.1 Host=[h] Connection=[closed]"),
    FIELDS("Connection: keep-alive\r\nConnection: close\r\n",
           "GET / host=h 1.1 close Host=[h] Connection=[keep-alive] Connection=[close]"),
    OLD("", "GET / host= 1.0 close"),
    OLD("Connection: keep-alive\r\n", "GET / host= 1.0 Connection=[keep-alive]"),
    OLD("Connection: Keep-Alive, x\r\n", "GET / host= 1.0 Connection=[Keep-Alive, x]"),
    OLD("Connection: keep-alive, close\r\n",
        "GET / host= 1.0 close Connection=[keep-alive, close]"),
    OLD("Connection: upgrade\r\nUpgrade: websocket\r\n",
        "GET / host= 1.0 close Connection=[upgrade] Upgrade=[websocket]"),
    OLD("Expect: 100-continue\r\n", "GET / host= 1.0 close Expect=[100-continue]"),
    FIELDS("Expect: 100-Continue\r\n", "GET / host=h 1.1 continue Host=[h] Expect=[100-Continue]"),
    FIELDS("Expect: 200-ok\r\n", "GET / host=h 1.1 Host=[h] Expect=[200-ok]"),
    FIELDS("Connection: Upgrade\r\nUpgrade: websocket\r\n",
           "GET / host=h 1.1 upgrade Host=[h] Connection=[Upgrade] Upgrade=[websocket]"),
    FIELDS("Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: ,, upgrade\r\n",
           "GET / host=h 1.1 upgrade Host=[h] Upgrade=[websocket] Connection=[keep-alive] "
           "Connection=[,, upgrade]"),
    FIELDS("Upgrade: websocket\r\n", "GET / host=h 1.1 Host=[h] Upgrade=[websocket]"),
    FIELDS("Connection: upgrade\r\n", "GET / host=h 1.1 Host=[h] Connection=[upgrade]"),
    FIELDS("Connection: upgraded\r\nUpgrade: x\r\n",
           "GET / host=h 1.1 Host=[h] Connection=[upgraded] Upgrade=[x]"),
};

TEST("a connection's life, an upgrade and 100-continue follow version and fields")
{
    check_heads(connections, COUNT(connections));
}

TEST("a head that is cut anywhere wants more")
{
    static const char text[] = "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nA: \r\n\r\n";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        tws_str cut = exact(text, n);
        test_row("cut", n);
        CHECK_EQ(tws_http_parse(&request, cut.ptr, n, NULL, NULL), TWS_HTTP_MORE);
    }
    CHECK_EQ(tws_http_parse(&request, NULL, 0, NULL, NULL), TWS_HTTP_MORE);
}

TEST("what follows a head is left alone, and may be the next request")
{
    static const char text[] = "\r\nGET /1 HTTP/1.0\r\n\r\n"
                               "GET /2 HTTP/1.0\r\nA: b\r\n\r\n"
                               "\0garbage";
    tws_str s = exact(text, sizeof text - 1);
    size_t scanned = 0;
    CHECK_EQ(tws_http_parse(&request, s.ptr, s.len, &scanned, NULL), TWS_HTTP_DONE);
    CHECK_STR(request.path, "/1");
    CHECK_EQ(request.head_bytes, 21);
    s = tws_str_from(s, request.head_bytes);
    CHECK_EQ(scanned, 0);
    CHECK_EQ(tws_http_parse(&request, s.ptr, s.len, &scanned, NULL), TWS_HTTP_DONE);
    CHECK_STR(request.path, "/2");
    CHECK_EQ(request.head_bytes, 25);
    s = tws_str_from(s, request.head_bytes);
    CHECK_EQ(tws_http_parse(&request, s.ptr, s.len, &scanned, NULL), TWS_HTTP_ERROR);
    CHECK_EQ(request.status, 400);
}

TEST("every slice of a request points into its bytes")
{
    static const char text[] = "GET http://h/p?q HTTP/1.1\r\nHost: h\r\nA:\r\nB: b\r\n\r\n";
    tws_str s = exact(text, sizeof text - 1);
    CHECK_EQ(tws_http_parse(&request, s.ptr, s.len, NULL, NULL), TWS_HTTP_DONE);
    const tws_http_field *f = request.field;
    const tws_str slices[] = {request.method, request.target, request.path, request.query,
                              request.host,   f[0].name,      f[0].value,   f[1].name,
                              f[1].value,     f[2].name,      f[2].value};
    for (size_t i = 0; i < COUNT(slices); i++) {
        test_row("slice", i);
        CHECK(slices[i].ptr >= s.ptr && slices[i].ptr + slices[i].len <= s.ptr + s.len);
    }
    CHECK_STR(request.target, "http://h/p?q");
    CHECK_EQ(request.body.len, 0);
}

/* -- bytes, one by one -- */

static int status_with(const char *before, char byte, const char *after)
{
    char text[100];
    size_t a = strlen(before);
    size_t b = strlen(after);
    memcpy(text, before, a);
    text[a] = byte;
    memcpy(text + a + 1, after, b);
    tws_str s = exact(text, a + 1 + b);
    tws_http_result result = tws_http_parse(&request, s.ptr, s.len, NULL, NULL);
    CHECK(result != TWS_HTTP_MORE);
    return result == TWS_HTTP_DONE ? 200 : request.status;
}

TEST("every byte value is judged by where it stands: method, target, name, value, host")
{
    for (int c = 1; c < 256; c++) {
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool token = alnum || strchr("!#$%&'*+-.^_`|~", c) != NULL;
        bool target = c > 0x20 && c < 0x7f && c != '#';
        bool text = c == '\t' || (c >= 0x20 && c != 0x7f);
        bool host = alnum || strchr("-._~%!$&'()*+,;=:", c) != NULL;
        char byte = (char)c;
        test_row("byte", (size_t)c);
        CHECK_EQ(status_with("G", byte, "T / HTTP/1.0\r\n\r\n"), token ? 200 : 400);
        CHECK_EQ(status_with("GET /", byte, " HTTP/1.0\r\n\r\n"), target ? 200 : 400);
        CHECK_EQ(status_with("GET / HTTP/1.0\r\nA", byte, "B: c\r\n\r\n"),
                 token || c == ':' ? 200 : 400);
        CHECK_EQ(status_with("GET / HTTP/1.0\r\nA: b", byte, "c\r\n\r\n"), text ? 200 : 400);
        CHECK_EQ(status_with("GET / HTTP/1.0\r\nHost: a", byte, "0\r\n\r\n"), host ? 200 : 400);
    }
    CHECK_EQ(status_with("GET / HTTP/1.0\r\nA: b", '\0', "c\r\n\r\n"), 400);
}

/* -- limits -- */

/* GET / HTTP/1.0, then `count` fields; a pad of `pad` bytes in the last one's value. */
static size_t build_fields(char *out, size_t count, size_t pad)
{
    size_t len = (size_t)sprintf(out, "GET / HTTP/1.0\r\n");
    for (size_t i = 0; i < count; i++) {
        len += (size_t)sprintf(out + len, "a: ");
        if (i + 1 == count) {
            memset(out + len, 'x', pad);
            len += pad;
        }
        len += (size_t)sprintf(out + len, "\r\n");
    }
    return len + (size_t)sprintf(out + len, "\r\n");
}

static char big[70000];

TEST("a hundred fields are read; the next one, or two thousand, is 431")
{
    size_t len = build_fields(big, TWS_MAX_FIELDS, 0);
    CHECK_EQ(tws_http_parse(&request, big, len, NULL, NULL), TWS_HTTP_DONE);
    CHECK_EQ(request.field_count, TWS_MAX_FIELDS);
    len = build_fields(big, TWS_MAX_FIELDS + 1, 0);
    check_head(big, len, "431 at 516", NULL);
    len = build_fields(big, 2000, 0);
    check_head(big, len, "431 at 516", NULL);
}

TEST("a head as long as the limit is read, one byte more is 431")
{
    const size_t frame = build_fields(big, 1, 0);
    const tws_http_limits small = {100};
    for (size_t extra = 0; extra < 3; extra++) {
        size_t len = build_fields(big, 1, 16384 - frame + extra);
        test_row("default, extra bytes", extra);
        CHECK_EQ(len, 16384 + extra);
        tws_http_result result = tws_http_parse(&request, big, len, NULL, NULL);
        CHECK_EQ(result, extra == 0 ? TWS_HTTP_DONE : TWS_HTTP_ERROR);
        CHECK_EQ(request.status, extra == 0 ? 0 : 431);
        len = build_fields(big, 1, 100 - frame + extra);
        test_row("100, extra bytes", extra);
        if (extra > 0) {
            check_head(big, len, "431 at 100", &small);
        } else {
            CHECK_EQ(tws_http_parse(&request, big, len, NULL, &small), TWS_HTTP_DONE);
        }
    }
}

TEST("a limit that is reached answers before the next byte comes")
{
    const tws_http_limits small = {40};
    size_t scanned = 0;
    size_t len = build_fields(big, 3, 30);
    for (size_t n = 1; n < 40; n++) {
        CHECK_EQ(tws_http_parse(&request, big, n, &scanned, &small), TWS_HTTP_MORE);
    }
    CHECK(len > 40);
    CHECK_EQ(tws_http_parse(&request, big, 40, &scanned, &small), TWS_HTTP_ERROR);
    CHECK_EQ(request.status, 431);
}

TEST("an endless request line is 414, an endless field 431, an endless name 431")
{
    const tws_http_limits small = {300};
    static const struct {
        const char *begin;
        const char *expected;
    } rows[] = {
        {"GET /", "414 at 300"},
        {"G", "414 at 300"},
        {"\r\nGET /", "414 at 300"},
        {"GET http://h/?", "414 at 300"},
        {"GET / HTTP/1.0\r\nA: ", "431 at 300"},
        {"GET / HTTP/1.0\r\nA", "431 at 300"},
        {"GET / HTTP/1.0\r\nA: b\r\nC: d\r\nE: ", "431 at 300"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t len = strlen(rows[i].begin);
        memcpy(big, rows[i].begin, len);
        memset(big + len, 'a', 1000 - len);
        test_row(rows[i].begin, i);
        check_head(big, 1000, rows[i].expected, &small);
    }
}

TEST("an error before the limit is the answer, not the limit")
{
    const tws_http_limits small = {100};
    memset(big, 'x', 1000);
    memcpy(big, "GET / HTTP/1.0\r\nA : ", 20);
    check_head(big, 1000, "400 at 17", &small);
    memset(big, 'x', 1000);
    memcpy(big, "GET / HTTP/1.0\r\nA: b\n", 21);
    check_head(big, 1000, "400 at 20", &small);
}

TEST("a larger limit takes a larger head")
{
    const tws_http_limits large = {65536};
    const tws_http_limits unset = {0};
    size_t len = build_fields(big, 1, 60000);
    CHECK_EQ(tws_http_parse(&request, big, len, NULL, &large), TWS_HTTP_DONE);
    CHECK_EQ(request.field[0].value.len, 60000);
    CHECK_EQ(tws_http_parse(&request, big, len, NULL, NULL), TWS_HTTP_ERROR);
    CHECK_EQ(request.status, 431);
    CHECK_EQ(tws_http_parse(&request, big, len, NULL, &unset), TWS_HTTP_ERROR);
    CHECK_EQ(tws_http_parse(&request, big, 16383, NULL, &unset), TWS_HTTP_MORE);
}

/* Where no line has ended, only new bytes are looked at: the bytes before may even have changed. */
TEST("a head that comes in pieces is not read again with every piece")
{
    static const char text[] = "GET / HTTP/1.0\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nC: d\r\n\r\n";
    size_t scanned = 0;
    size_t line = strcspn(text, "A");
    char copy[sizeof text];
    memcpy(copy, text, sizeof text);
    CHECK_EQ(tws_http_parse(&request, copy, line, &scanned, NULL), TWS_HTTP_MORE);
    memset(&request, 0x55, sizeof request);
    for (size_t n = line + 1; n < sizeof text - 1; n++) {
        CHECK_EQ(tws_http_parse(&request, copy, n, &scanned, NULL), TWS_HTTP_MORE);
        CHECK_EQ(request.status, 0x55555555); /* nothing was parsed */
    }
    CHECK_EQ(tws_http_parse(&request, copy, sizeof text - 1, &scanned, NULL), TWS_HTTP_DONE);
    CHECK_STR(request.field[1].value, "d");
}

TEST("a line that is malformed by itself is refused when it has come, in whatever piece")
{
    static const struct {
        const char *line;
        int status; /* 0: more is wanted */
    } rows[] = {
        {"A: b\r\n", 0},
        {": b\r\n", 400},
        {"A : b\r\n", 400},
        {" folded\r\n", 400},
        {"A b\r\n", 400},
        {"A: b\x01\r\n", 400},
        {"A: b\n", 400},
        {"A: b\r\r\n", 400},
        {"Host: a b\r\n", 400},
        {"Content-Length: +5\r\n", 400},
        {"Transfer-Encoding: xchunked\r\n", 400},
        {"Transfer-Encoding: gzip, chunked\r\n", 501},
        {"\n", 400},
    };
    static const char *const before[] = {"GET / HTTP/1.0\r\n", "GET / HTTP/1.0\r\nB: c\r\n",
                                         "\r\nGET / HTTP/1.0\r\n"};
    for (size_t i = 0; i < COUNT(rows) * COUNT(before); i++) {
        const char *line = rows[i / COUNT(before)].line;
        const char *first = before[i % COUNT(before)];
        int status = rows[i / COUNT(before)].status;
        char text[100];
        size_t len = (size_t)snprintf(text, sizeof text, "%s%s", first, line);
        for (size_t split = strlen(first); split < len; split++) {
            size_t scanned = 0;
            tws_str s = exact(text, len);
            size_t at = strlen(first);
            test_row(line, split);
            CHECK_EQ(tws_http_parse(&request, s.ptr, at, &scanned, NULL), TWS_HTTP_MORE);
            CHECK_EQ(tws_http_parse(&request, s.ptr, split, &scanned, NULL), TWS_HTTP_MORE);
            tws_http_result result = tws_http_parse(&request, s.ptr, len, &scanned, NULL);
            CHECK_EQ(result, status == 0 ? TWS_HTTP_MORE : TWS_HTTP_ERROR);
            CHECK(status == 0 || request.status == status);
        }
    }
}

/* -- looking things up -- */

static void parse_fields(const char *field_lines)
{
    char text[2000];
    int len = snprintf(text, sizeof text, "GET / HTTP/1.0\r\n%s\r\n", field_lines);
    tws_str s = exact(text, (size_t)len);
    CHECK_EQ(tws_http_parse(&request, s.ptr, s.len, NULL, NULL), TWS_HTTP_DONE);
}

TEST("a field is found by its name in any case, the first of several")
{
    parse_fields("Accept: a\r\nORIGIN: o\r\naccept: b\r\nEmpty:\r\n");
    CHECK_STR(*tws_http_find(&request, "accept"), "a");
    CHECK_STR(*tws_http_find(&request, "Origin"), "o");
    CHECK_STR(*tws_http_find(&request, "EMPTY"), "");
    CHECK(tws_http_find(&request, "Accep") == NULL);
    CHECK(tws_http_find(&request, "Accept2") == NULL);
    CHECK(tws_http_find(&request, "") == NULL);
}

TEST("a list is searched through all of its lines, token by token")
{
    parse_fields("P: a, b ,c\r\nOther: x\r\np: ,,D\r\nP:\r\n");
    static const char *const in[] = {"a", "b", "C", "d"};
    static const char *const out[] = {"x", "ab", "a,", "a, b", "e"};
    for (size_t i = 0; i < COUNT(in); i++) {
        test_row(in[i], i);
        CHECK(tws_http_lists(&request, "P", in[i]));
    }
    for (size_t i = 0; i < COUNT(out); i++) {
        test_row(out[i], i);
        CHECK(!tws_http_lists(&request, "P", out[i]));
    }
    CHECK(!tws_http_lists(&request, "Q", "a"));
}

TEST("a cookie is found by its exact name, its quotes taken off")
{
    static const struct {
        const char *fields;
        const char *value; /* NULL: none */
    } rows[] = {
        {"Cookie: token=abc\r\n", "abc"},
        {"Cookie: a=b; token=abc; c=d\r\n", "abc"},
        {"Cookie: a=b;token=abc;c=d\r\n", "abc"},
        {"Cookie: token=\"abc\"\r\n", "abc"},
        {"Cookie: token=\"\r\n", "\""},
        {"Cookie: token=\"a\r\n", "\"a"},
        {"Cookie: token=a\"\r\n", "a\""},
        {"Cookie: token=\"\"\r\n", ""},
        {"Cookie: token=\r\n", ""},
        {"Cookie: token=a=b=\r\n", "a=b="},
        {"Cookie: token=1; token=2\r\n", "1"},
        {"Cookie: a=b\r\ncookie: token=abc\r\n", "abc"},
        {"Cookie: Token=abc\r\n", NULL},
        {"Cookie: xtoken=abc; token2=d\r\n", NULL},
        {"Cookie: a=token=abc\r\n", NULL},
        {"Cookie:\r\n", NULL},
        {"Cookie: ;;;\r\n", NULL},
        {"Cookies: token=abc\r\n", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tws_str value = {"unset", 5};
        test_row(rows[i].fields, i);
        parse_fields(rows[i].fields);
        CHECK_EQ(tws_http_cookie(&request, "token", &value), rows[i].value != NULL);
        CHECK_STR(value, rows[i].value != NULL ? rows[i].value : "");
    }
}

TEST("a parameter is counted, and its first value given as it stands")
{
    static const struct {
        const char *query;
        int count;
        const char *value;
    } rows[] = {
        {"token=abc", 1, "abc"},
        {"a=b&token=abc&c=d", 1, "abc"},
        {"token=abc&token=def", 2, "abc"},
        {"token=&token=x&token", 3, ""},
        {"token", 1, ""},
        {"token=", 1, ""},
        {"token=a=b", 1, "a=b"},
        {"token=%20+%", 1, "%20+%"},
        {"&&token=1&&", 1, "1"},
        {"", 0, ""},
        {"&", 0, ""},
        {"Token=abc", 0, ""},
        {"xtoken=abc&token2=x&=token", 0, ""},
        {"%74oken=abc", 0, ""},
        {"a=token=b", 0, ""},
        {"a;token=b", 0, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        tws_str value = {"unset", 5};
        test_row(rows[i].query, i);
        tws_str query = exact(rows[i].query, strlen(rows[i].query));
        CHECK_EQ(tws_http_query(query, "token", &value), rows[i].count);
        CHECK_STR(value, rows[i].value);
    }
}

TEST("percent-escapes are decoded, or refused where they are cut, wrong or NUL")
{
    static const struct {
        const char *text;
        bool plus;
        tws_status status;
        const char *decoded;
    } rows[] = {
        {"", false, TWS_OK, ""},
        {"plain", false, TWS_OK, "plain"},
        {"a%20b%2Fc%2f", false, TWS_OK, "a b/c/"},
        {"%2e%2e", false, TWS_OK, ".."},
        {"%41%5a%61%7A", false, TWS_OK, "AZaz"},
        {"%d0%B6%ff", false, TWS_OK, "\xd0\xb6\xff"},
        {"%2541", false, TWS_OK, "%41"},
        {"a+b", false, TWS_OK, "a+b"},
        {"a+b%2B", true, TWS_OK, "a b+"},
        {"%", false, TWS_ERR_SYNTAX, ""},
        {"a%4", false, TWS_ERR_SYNTAX, ""},
        {"%zz", false, TWS_ERR_SYNTAX, ""},
        {"%4g", false, TWS_ERR_SYNTAX, ""},
        {"%g4", false, TWS_ERR_SYNTAX, ""},
        {"%%41", false, TWS_ERR_SYNTAX, ""},
        {"% 41", false, TWS_ERR_SYNTAX, ""},
        {"%+4", true, TWS_ERR_SYNTAX, ""},
        {"%-1", false, TWS_ERR_SYNTAX, ""},
        {"%0x", false, TWS_ERR_SYNTAX, ""},
        {"%00", false, TWS_ERR_SYNTAX, ""},
        {"ab%00", false, TWS_ERR_SYNTAX, ""},
        {"eight by", false, TWS_OK, "eight by"},
        {"%65ight by", false, TWS_OK, "eight by"},
        {"nine byte", false, TWS_ERR_LIMIT, ""},
        {"nine byt%65", false, TWS_ERR_LIMIT, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *out = (char *)test_exact("........", 8);
        size_t len = 99;
        test_row(rows[i].text, i);
        tws_str text = exact(rows[i].text, strlen(rows[i].text));
        CHECK_EQ(tws_http_decode(text, rows[i].plus, out, 8, &len), rows[i].status);
        CHECK_STR(tws_str_of(out, len), rows[i].decoded);
    }
    size_t len = 99;
    CHECK_EQ(tws_http_decode(tws_str_of("a\0b", 3), false, big, 8, &len), TWS_ERR_SYNTAX);
    CHECK_EQ(len, 0);
}

TEST("every byte but NUL comes back from its escape")
{
    for (unsigned c = 1; c < 256; c++) {
        char text[4];
        char out[1];
        size_t len;
        snprintf(text, sizeof text, c % 2 == 0 ? "%%%02x" : "%%%02X", c);
        test_row(text, c);
        CHECK_EQ(tws_http_decode(tws_str_of(text, 3), true, out, 1, &len), TWS_OK);
        CHECK_EQ((uint8_t)out[0], c);
    }
}

/* -- chunked bodies -- */

/* Feeds text in pieces that end at a, b and its end; tells the body, the result and where the
 * input was left. */
static const char *decode_chunks(const char *text, size_t len, size_t a, size_t b)
{
    static char line[9000];
    const size_t ends[] = {a, b, len};
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    size_t at = 0;
    size_t out = 0;
    tws_http_result result = TWS_HTTP_MORE;
    for (size_t i = 0; i < 3 && result == TWS_HTTP_MORE; i++) {
        size_t n = ends[i] - at;
        size_t consumed = 99999;
        size_t produced = 99999;
        char *piece = (char *)malloc(n > 0 ? n : 1);
        memcpy(piece, text + at, n);
        result = tws_http_chunks_feed(&c, piece, n, &consumed, &produced);
        CHECK(consumed <= n && produced <= consumed);
        CHECK(result != TWS_HTTP_MORE || consumed == n);
        memcpy(line + out, piece, produced);
        out += produced;
        at += consumed;
        free(piece);
    }
    static const char *const results[] = {"more", "done", "error"};
    snprintf(line + out, sizeof line - out, " %s at %zu", results[result], at);
    size_t consumed, produced;
    char more[] = "0\r\n\r\n";
    if (result != TWS_HTTP_MORE) { /* both ends are final */
        CHECK_EQ(tws_http_chunks_feed(&c, more, 5, &consumed, &produced), result);
        CHECK_EQ(consumed, 0);
        CHECK_EQ(produced, 0);
    }
    return line;
}

static const struct {
    const char *text;
    size_t len;
    const char *expected;
} chunks[] = {
    HEAD("0\r\n\r\n", " done at 5"),
    HEAD("5\r\nhello\r\n0\r\n\r\n", "hello done at 15"),
    HEAD("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world done at 26"),
    HEAD("a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789 done at 36"),
    HEAD("0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n", "hello done at 45"),
    HEAD("4\r\n\r\n\r\n\r\n0\r\n\r\nGET /", "\r\n\r\n done at 14"),
    HEAD("", " more at 0"),
    HEAD("5\r\nhel", "hel more at 6"),
    HEAD("5\r\nhello\r\n0\r\n\r", "hello more at 14"),
    /* sizes */
    HEAD("\r\nhello", " error at 0"),
    HEAD(";x\r\n", " error at 0"),
    HEAD("0x5\r\nhello\r\n", " error at 1"),
    HEAD("x5\r\n", " error at 0"),
    HEAD("-5\r\n", " error at 0"),
    HEAD("+5\r\n", " error at 0"),
    HEAD(" 5\r\nhello", " error at 0"),
    HEAD("5g\r\n", " error at 1"),
    HEAD("5_0\r\n", " error at 1"),
    HEAD("5,5\r\n", " error at 1"),
    HEAD("5\0\r\n", " error at 1"),
    HEAD("ffffffffffffffff\r\nab", "ab more at 20"), /* 2^64-1: the body's limit is not ours */
    HEAD("10000000000000000\r\n", " error at 16"),   /* 2^64 */
    HEAD("00000000000000005\r\nhello", " error at 16"),
    HEAD("fffffffffffffffff\r\n", " error at 16"),
    /* line ends */
    HEAD("5\nhello\r\n", " error at 1"),
    HEAD("5\rhello\r\n", " error at 2"),
    HEAD("5\r\r\n", " error at 2"),
    HEAD("5\r\nhello0\r\n", "hello error at 8"),
    HEAD("5\r\nhello\n0\r\n", "hello error at 8"),
    HEAD("5\r\nhello\rx", "hello error at 9"),
    HEAD("5\r\nhello\r\n\r\n", "hello error at 10"),
    HEAD("0\r\n\n", " error at 3"),
    HEAD("0\r\n\rx", " error at 4"),
    HEAD("0\n\n", " error at 1"),
    /* extensions are skipped, by the rules of a line */
    HEAD("5;a=b;c=\"d;\\\"\"\r\nhello\r\n0;x\r\n\r\n", "hello done at 30"),
    HEAD("5 \t;a\r\nhello\r\n0\r\n\r\n", "hello done at 19"),
    HEAD("5;\r\nhello\r\n0\r\n\r\n", "hello done at 16"),
    HEAD("5 \r\nhello\r\n", " error at 2"),
    HEAD("5 5\r\n", " error at 2"),
    HEAD("5;a\nb\r\n", " error at 3"),
    HEAD("5;a\rb\r\n", " error at 4"),
    HEAD("5;a\0\r\n", " error at 3"),
    HEAD("5;a=\"\n\"\r\n", " error at 5"),
    /* trailers are dropped, by the rules of a field line */
    HEAD("0\r\nA: b\r\nC:\r\n\r\n", " done at 15"),
    HEAD("0\r\nX-Long_name: b\tc\r\n\r\n", " done at 23"),
    HEAD("0\r\nA: b", " more at 7"),
    HEAD("0\r\n: b\r\n\r\n", " error at 3"),
    HEAD("0\r\n A: b\r\n\r\n", " error at 3"),
    HEAD("0\r\nA : b\r\n\r\n", " error at 4"),
    HEAD("0\r\nA\r\n\r\n", " error at 4"),
    HEAD("0\r\nA: b\n\r\n", " error at 7"),
    HEAD("0\r\nA: b\rc\r\n", " error at 8"),
    HEAD("0\r\nA: \0\r\n\r\n", " error at 6"),
    HEAD("0\r\nA: b\r\n c\r\n\r\n", " error at 9"),
};

TEST("a chunked body is decoded or refused the same at every split")
{
    for (size_t i = 0; i < COUNT(chunks); i++) {
        size_t len = chunks[i].len;
        for (size_t a = 0; a <= len; a++) {
            for (size_t b = a; b <= len; b++) {
                test_row(chunks[i].text, i);
                CHECK_STR(tws_str_c(decode_chunks(chunks[i].text, len, a, b)), chunks[i].expected);
            }
        }
    }
}

TEST("a chunked body is decoded byte by byte")
{
    static char text[] = "5\r\nhello\r\n6;x\r\n world\r\n0\r\nA: b\r\n\r\n";
    char body[20];
    size_t out = 0;
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        size_t consumed, produced;
        char *byte = (char *)test_exact(text + i, 1);
        tws_http_result result = tws_http_chunks_feed(&c, byte, 1, &consumed, &produced);
        CHECK_EQ(consumed, 1);
        CHECK_EQ(result, i + 2 == sizeof text ? TWS_HTTP_DONE : TWS_HTTP_MORE);
        memcpy(body + out, byte, produced);
        out += produced;
    }
    CHECK_MEM(body, out, "hello world", 11);
}

/* 1;xxx...x CRLF: a size line of n bytes, its line end not counted. */
static tws_http_result feed_line(const char *begin, size_t n, char fill, size_t *consumed)
{
    size_t produced;
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    memset(big, fill, sizeof big);
    memcpy(big, begin, strlen(begin));
    memcpy(big + n, "\r\n", 2);
    return tws_http_chunks_feed(&c, big, n + 2, consumed, &produced);
}

TEST("a size line may have 256 bytes, its end included")
{
    size_t consumed;
    CHECK_EQ(feed_line("1;", 254, 'x', &consumed), TWS_HTTP_MORE);
    CHECK_EQ(feed_line("1;", 255, 'x', &consumed), TWS_HTTP_ERROR);
    CHECK_EQ(consumed, 256);
    CHECK_EQ(feed_line("1", 254, ' ', &consumed), TWS_HTTP_ERROR); /* no extension came */
    CHECK_EQ(feed_line("1;", 60000, 'x', &consumed), TWS_HTTP_ERROR);
    CHECK_EQ(consumed, 256);
}

TEST("each size line has its own limit")
{
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    for (int i = 0; i < 100; i++) {
        size_t consumed, produced;
        char line[260];
        memset(line, 'x', sizeof line);
        memcpy(line, "1;", 2);
        memcpy(line + 254, "\r\n!\r\n", 5);
        CHECK_EQ(tws_http_chunks_feed(&c, line, 259, &consumed, &produced), TWS_HTTP_MORE);
        CHECK_EQ(consumed, 259);
        CHECK_EQ(produced, 1);
    }
}

TEST("trailers may have 8,192 bytes in all, the blank line included")
{
    for (size_t lines_of_64 = 127; lines_of_64 <= 128; lines_of_64++) {
        size_t consumed, produced;
        tws_http_chunks c;
        memset(&c, 0, sizeof c);
        memset(big, 'x', sizeof big);
        memcpy(big, "0\r\n", 3);
        size_t len = 3;
        for (size_t i = 0; i < lines_of_64; i++, len += 64) {
            memcpy(big + len, "A:", 2);
            memcpy(big + len + 62, "\r\n", 2);
        }
        memcpy(big + len, "B:", 2); /* 127 * 64 + 62 + 2 = 8192 */
        memcpy(big + len + 60, "\r\n\r\n", 4);
        test_row("lines", lines_of_64);
        tws_http_result result = tws_http_chunks_feed(&c, big, len + 64, &consumed, &produced);
        CHECK_EQ(result, lines_of_64 == 127 ? TWS_HTTP_DONE : TWS_HTTP_ERROR);
        CHECK_EQ(consumed, 3 + 8192);
        CHECK_EQ(produced, 0);
    }
}

TEST("a large body in many chunks comes out in one piece")
{
    size_t in = 0;
    size_t out = 0;
    char *text = (char *)malloc(200000);
    char *body = (char *)malloc(100000);
    tws_http_chunks c;
    memset(&c, 0, sizeof c);
    for (size_t n = 1; n < 400; n++) {
        in += (size_t)sprintf(text + in, "%zx\r\n", n);
        for (size_t i = 0; i < n; i++) {
            body[out++] = text[in++] = (char)(n * 31 + i);
        }
        in += (size_t)sprintf(text + in, "\r\n");
    }
    in += (size_t)sprintf(text + in, "0\r\n\r\n");
    size_t consumed, produced;
    CHECK_EQ(tws_http_chunks_feed(&c, text, in, &consumed, &produced), TWS_HTTP_DONE);
    CHECK_EQ(consumed, in);
    CHECK_MEM(text, produced, body, out);
    free(text);
    free(body);
}

/* -- responses, written -- */

TEST("a response head is written line by line")
{
    char memory[300];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_http_begin(&b, 401);
    tws_http_add(&b, "WWW-Authenticate", tws_str_c("Bearer"));
    tws_http_add(&b, "Empty", tws_str_c(NULL));
    tws_http_end(&b, 0);
    CHECK_STR(tws_buf_view(&b), "HTTP/1.1 401 Unauthorized\r\n"
                                "WWW-Authenticate: Bearer\r\n"
                                "Empty: \r\n"
                                "Content-Length: 0\r\n\r\n");
    tws_buf_clear(&b);
    tws_http_begin(&b, 101);
    tws_http_end(&b, -1);
    CHECK_STR(tws_buf_view(&b), "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    tws_buf_clear(&b);
    tws_http_begin(&b, 299);
    tws_http_end(&b, INT64_MAX);
    CHECK_STR(tws_buf_view(&b), "HTTP/1.1 299 Unknown\r\n"
                                "Content-Length: 9223372036854775807\r\n\r\n");
}

TEST("bytes that may not stand in a value are dropped, so that no value writes a field")
{
    static const struct {
        const char *value;
        size_t len;
        const char *written;
    } rows[] = {
        {"a\r\nSet-Cookie: x", 16, "A: aSet-Cookie: x\r\n"},
        {"\r\n\r\n<b>", 7, "A: <b>\r\n"},
        {"a\0b", 3, "A: ab\r\n"},
        {"\r", 1, "A: \r\n"},
        {"\n\n\na\n", 5, "A: a\r\n"},
        {"a\tb \xd0\xb6", 6, "A: a\tb \xd0\xb6\r\n"},
        {"a\x1b[2Jb\x7f", 7, "A: a[2Jb\r\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char memory[100];
        tws_buf b;
        tws_buf_fixed(&b, memory, sizeof memory);
        test_row(rows[i].written, i);
        tws_http_add(&b, "A", exact(rows[i].value, rows[i].len));
        CHECK_STR(tws_buf_view(&b), rows[i].written);
    }
}

TEST("a status has the phrase that RFC 9110 or its own RFC gives it")
{
    static const struct {
        int status;
        const char *phrase;
    } rows[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {299, "Unknown"},
        {0, "Unknown"},
        {-1, "Unknown"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        test_row(rows[i].phrase, i);
        CHECK_STR(tws_str_c(tws_http_phrase(rows[i].status)), rows[i].phrase);
    }
}

static void write_head(tws_buf *b)
{
    tws_http_begin(b, 200);
    tws_http_add(b, "Content-Type", tws_str_c("application/json; charset=utf-8"));
    tws_http_add(b, "Cache-Control", tws_str_c("no-store"));
    tws_http_end(b, 1234);
}

TEST("memory that runs out while writing a head leaves its beginning and the failure, and no leak")
{
    tws_allocator a = test_allocator();
    char whole[300];
    tws_buf w;
    tws_buf_fixed(&w, whole, sizeof whole);
    write_head(&w);
    tws_status status;
    size_t n = 0;
    do {
        tws_buf b;
        tws_buf_init(&b, &a, 1000);
        test_fail_at(++n);
        write_head(&b);
        status = b.status;
        test_row("allocation", n);
        CHECK(status == TWS_OK || status == TWS_ERR_MEMORY);
        CHECK_MEM(b.ptr, b.len, whole, status == TWS_OK ? w.len : b.len);
        tws_buf_free(&b);
    } while (status != TWS_OK);
    CHECK(n > 2);
}

/* -- responses, read -- */

static tws_http_response response;

static const char *tell_response(tws_http_result result)
{
    static char line[2000];
    const tws_http_response *r = &response;
    if (result == TWS_HTTP_MORE) {
        return "more";
    }
    if (result == TWS_HTTP_ERROR) {
        CHECK(r->reason != NULL);
        return "error";
    }
    size_t at = (size_t)snprintf(line, sizeof line, "%d [%.*s] 1.%u%s%s length=%lld", r->status,
                                 (int)r->phrase.len, r->phrase.ptr, (unsigned)r->minor,
                                 r->keep_alive ? "" : " close", r->chunked ? " chunked" : "",
                                 (long long)r->content_length);
    for (uint32_t i = 0; i < r->field_count; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, " %.*s=[%.*s]",
                               (int)r->field[i].name.len, r->field[i].name.ptr,
                               (int)r->field[i].value.len, r->field[i].value.ptr);
    }
    return line;
}

static const head_row responses[] = {
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
         "200 [OK] 1.1 length=2 Content-Length=[2]"),
    HEAD("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
         "101 [Switching Protocols] 1.1 length=-1 Upgrade=[websocket]"),
    HEAD("HTTP/1.1 200 \r\n\r\n", "200 [] 1.1 length=-1"),
    HEAD("HTTP/1.1 200\r\n\r\n", "200 [] 1.1 length=-1"),
    HEAD("HTTP/1.0 404 Not\tFound \xd0\xb6\r\n\r\n",
         "404 [Not\tFound \xd0\xb6] 1.0 close length=-1"),
    HEAD("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
         "200 [OK] 1.0 length=-1 Connection=[keep-alive]"),
    HEAD("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
         "200 [OK] 1.1 close chunked length=-1 Transfer-Encoding=[chunked] Connection=[close]"),
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
         "200 [OK] 1.1 length=9223372036854775807 Content-Length=[9223372036854775807]"),
    HEAD("HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\n\r\n",
         "200 [OK] 1.1 length=-1 Host=[a b] Host=[c]"), /* means nothing here */
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "error"),
    HEAD("HTTP/1.1 200 OK\nA: b\n\n", "error"),
    HEAD("HTTP/1.1 200 O\0K\r\n\r\n", "error"),
    HEAD("HTTP/1.1  200 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1 20 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1 2000 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1 099 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1 +20 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1 2x0 OK\r\n\r\n", "error"),
    HEAD("HTTP/1.1\r\n\r\n", "error"),
    HEAD("HTTP/2.0 200 OK\r\n\r\n", "error"),
    HEAD("HTTP/2 200\r\n\r\n", "error"),
    HEAD("\r\nHTTP/1.1 200 OK\r\n\r\n", "error"),
    HEAD("ICY 200 OK\r\n\r\n", "error"),
    HEAD("<html>", "error"),
    HEAD("-ERR wrong\r\n", "error"),
};

TEST("a response head is read with the same rules, whole and cut anywhere")
{
    for (size_t i = 0; i < COUNT(responses); i++) {
        tws_http_result before = TWS_HTTP_MORE;
        test_row(responses[i].text, i);
        for (size_t n = 0; n <= responses[i].len; n++) {
            tws_str s = exact(responses[i].text, n);
            memset(&response, 0x55, sizeof response);
            tws_http_result result = tws_http_parse_response(&response, s.ptr, s.len);
            CHECK(before == TWS_HTTP_MORE || result == before); /* an answer once given stands */
            before = result;
            if (result != TWS_HTTP_MORE) {
                CHECK_STR(tws_str_c(tell_response(result)), responses[i].expected);
            }
        }
        bool refused = strcmp(responses[i].expected, "error") == 0;
        CHECK_EQ(before, refused ? TWS_HTTP_ERROR : TWS_HTTP_DONE);
    }
}

TEST("a response's fields are found, and its body begins behind its head")
{
    tws_str s = tws_str_c("HTTP/1.1 200 OK\r\nA: b\r\na: c\r\n\r\nbody");
    CHECK_EQ(tws_http_parse_response(&response, s.ptr, s.len), TWS_HTTP_DONE);
    CHECK_STR(*tws_http_find_response(&response, "a"), "b");
    CHECK(tws_http_find_response(&response, "b") == NULL);
    CHECK_STR(tws_str_from(s, response.head_bytes), "body");
}

TEST("a response head without an end is an error at 16 KiB")
{
    memset(big, 'x', sizeof big);
    memcpy(big, "HTTP/1.1 200 OK\r\nA: ", 20);
    CHECK_EQ(tws_http_parse_response(&response, big, 16383), TWS_HTTP_MORE);
    CHECK_EQ(tws_http_parse_response(&response, big, 16384), TWS_HTTP_ERROR);
    CHECK_EQ(tws_http_parse_response(&response, big, sizeof big), TWS_HTTP_ERROR);
}

TEST("what the writer writes, the reader reads")
{
    char memory[300];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    write_head(&b);
    CHECK_EQ(tws_http_parse_response(&response, b.ptr, b.len), TWS_HTTP_DONE);
    CHECK_STR(tws_str_c(tell_response(TWS_HTTP_DONE)),
              "200 [OK] 1.1 length=1234 Content-Type=[application/json; charset=utf-8] "
              "Cache-Control=[no-store] Content-Length=[1234]");
    CHECK_EQ(response.head_bytes, b.len);
}
