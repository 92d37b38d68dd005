/* Section 7: the JSON reader and writer. */
#include "test.h"

typedef struct text_row {
    const char *text;
    size_t len;
} text_row;

#define TEXT(s) {s, sizeof s - 1}
#define COUNT(table) (sizeof table / sizeof table[0])

/* A text in a block of exactly its size: one byte read beyond it is an error under ASan. */
static tws_str exact(const char *text, size_t len)
{
    return tws_str_of((const char *)test_exact(text, len), len);
}

/* -- what is accepted and what is not: the kinds of JSONTestSuite -- */

static const text_row accepted[] = {
    /* arrays: empty, nested, of each type, with white space at every place */
    TEXT("[]"), TEXT("[[]]"), TEXT("[[],[[],[]],{}]"), TEXT("[\"\"]"), TEXT("[true]"), TEXT("[0]"),
    TEXT("[false, null, {}, \"x\", -3]"), TEXT(" [ ] "), TEXT("[[] ,\t[]\r]"),
    TEXT("[\n7\n,\n8\n]\n"),
    /* objects: empty, with an empty key, an escaped one, the same one twice */
    TEXT("{}"), TEXT("{ }"), TEXT("{\"\":\"\"}"), TEXT("{\"k\":\"v\"}"), TEXT("{\"k\":0,\"l\":[]}"),
    TEXT("{\"k\":1,\"k\":1}"), TEXT("{\"k\":1,\"k\":[2]}"), TEXT("{\"nul\\u0000\":1}"),
    TEXT("{\n\"k\"\t:\r{ \"l\" : null } }"), TEXT("{\"\\u0434\\u0430\":{\"\xd0\xb4\":{}}}"),
    /* numbers: each part of the grammar with and without the others, no bound on any */
    TEXT("[0]"), TEXT("[-0]"), TEXT("[10]"), TEXT("[-10]"), TEXT("[0.0]"), TEXT("[-0.50]"),
    TEXT("[3.1415926535897932384626433832795028841971]"), TEXT("[0e0]"), TEXT("[0E+00]"),
    TEXT("[0e-0]"), TEXT("[5e7]"), TEXT("[5E7]"), TEXT("[5e+7]"), TEXT("[5E-7]"), TEXT("[5.5e07]"),
    TEXT("[-5.5E+77]"), TEXT("[1e999]"), TEXT("[-1e-999]"), TEXT("[1e99999999999999999999999]"),
    TEXT("[123456789012345678901234567890]"), TEXT("[-9223372036854775809]"),
    TEXT("[0.00000000000000000000000000000000000000000000000000000000000001]"),
    /* strings: every escape, pairs of surrogates, noncharacters, DEL, what ends lines elsewhere */
    TEXT("\"\""), TEXT("\" \""), TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), TEXT("\"\\u0000\""),
    TEXT("\"\\u001F\\u00aF\\uAbCd\""), TEXT("\"\\\\u12\""), TEXT("\"\\\\\""), TEXT("\"\\\\n\""),
    TEXT("\"\\ud800\\udc00\""), TEXT("\"\\uDBFF\\uDFFF\""),
    TEXT("\"\\uD83D\\ude80\\ud83d\\uDE80\""),
    TEXT("\"\\ud7ff\\ue000\""), TEXT("\"\\ufffe\\uffff\\ufdd0\""), TEXT("\"/* // # */\""),
    TEXT("\"\x7f\""), TEXT("\"\xc2\x80\""), TEXT("\"\xd0\xb6\xe6\x97\xa5\xf0\x9f\x9a\x80\""),
    TEXT("\"\xe2\x80\xa8\xe2\x80\xa9\""), TEXT("\"\xef\xbb\xbf\""), TEXT("\"\xef\xbf\xbf\""),
    TEXT("\"\xf4\x8f\xbf\xbf\""), TEXT("\"'`[{,:}]\""),
    /* whole texts: any value alone, white space around it */
    TEXT("true"), TEXT("false"), TEXT("null"), TEXT("0"), TEXT("-1.5e3"), TEXT("\"alone\""),
    TEXT("\t\r\n 0\t\r\n "), TEXT(" {}\n"), TEXT("[]\r\n"), TEXT("null\n\n"),
};

TEST("what RFC 8259 allows is accepted")
{
    for (size_t i = 0; i < COUNT(accepted); i++) {
        test_row(accepted[i].text, i);
        CHECK(tws_json_valid(exact(accepted[i].text, accepted[i].len)));
    }
}

/* The offset is that of the first byte that cannot stand in any text. */
typedef struct refused_row {
    const char *text;
    size_t len;
    size_t pos;
} refused_row;

#define BAD(s, pos) {s, sizeof s - 1, pos}

static const refused_row refused[] = {
    /* arrays: commas too many, too few; something else between; the wrong end; none */
    BAD("[1,]", 3), BAD("[,]", 1), BAD("[,1]", 1), BAD("[1,,2]", 3), BAD("[[],]", 4), BAD("[1,", 3),
    BAD("[1 2]", 3), BAD("[true false]", 6), BAD("[1;2]", 2), BAD("[1:2]", 2), BAD("[\"a\":1]", 4),
    BAD("[1}", 2), BAD("[}", 1), BAD("[", 1), BAD("[1", 2), BAD("[[]", 3), BAD("]", 0),
    BAD("[]]", 2),
    BAD("[[1,2}]", 5), BAD("[1\f]", 2), BAD("[\v1]", 1), BAD("[1,\n\n", 5), BAD("[3[4]]", 2),
    /* words: other spellings, cut ones, what other languages know */
    BAD("tru", 0), BAD("[fals]", 1), BAD("[nul", 1), BAD("True", 0), BAD("[NULL]", 1),
    BAD("nulll", 4),
    BAD("truefalse", 4), BAD("NaN", 0), BAD("[nan]", 1), BAD("Infinity", 0), BAD("[-Infinity]", 2),
    BAD("[-NaN]", 2), BAD("[+Inf]", 1), BAD("undefined", 0), BAD("None", 0), BAD("yes", 0),
    /* numbers: signs, zeros in front, parts without digits, other notations */
    BAD("-", 1), BAD("[-]", 2), BAD("+1", 0), BAD("--1", 1), BAD("-+1", 1), BAD("- 1", 1),
    BAD("00", 1), BAD("01", 1), BAD("-01", 2), BAD("-00.1", 2), BAD("[012]", 2), BAD(".5", 0),
    BAD("-.5", 1), BAD("5.", 2), BAD("[5.]", 3), BAD("5.e1", 2), BAD("5.5.5", 3), BAD("5..5", 2),
    BAD("5e", 2), BAD("[5e]", 3), BAD("5E+", 3), BAD("5e-]", 3), BAD("5e+-1", 3), BAD("5ee1", 2),
    BAD("5e1.5", 3), BAD("5e 1", 2), BAD("0x10", 1), BAD("0b1", 1), BAD("0o7", 1), BAD("1_000", 1),
    BAD("1 000", 2), BAD("1,000", 1), BAD("5f", 1), BAD("5n", 1), BAD("1+1", 1), BAD("1-1", 1),
    BAD("[1a]", 2), BAD("[1\xd0\xb6]", 2), BAD("[\xef\xbc\x95]", 1), BAD("[\xd9\xa1]", 1),
    /* objects: what is no key, no colon, no value, no comma, no end */
    BAD("{1:1}", 1), BAD("{k:1}", 1), BAD("{'k':1}", 1), BAD("{null:1}", 1), BAD("{[]:1}", 1),
    BAD("{{}:1}", 1), BAD("{:1}", 1), BAD("{,}", 1), BAD("{\"k\"}", 4), BAD("{\"k\" 1}", 5),
    BAD("{\"k\",1}", 4), BAD("{\"k\"=1}", 4), BAD("{\"k\"::1}", 5), BAD("{\"k\":}", 5),
    BAD("{\"k\":,}", 5), BAD("{\"k\":1,}", 7), BAD("{\"k\":1,,\"l\":2}", 7),
    BAD("{\"k\":1 \"l\":2}", 7),
    BAD("{\"k\":1 2}", 7), BAD("{\"k\":1,2}", 7), BAD("{\"k\":1;}", 6), BAD("{\"k\":1]", 6),
    BAD("{]", 1), BAD("}", 0), BAD("{}}", 2), BAD("{", 1), BAD("{\"", 2), BAD("{\"k", 3),
    BAD("{\"k\"", 4), BAD("{\"k\":", 5), BAD("{\"k\":1", 6), BAD("{\"k\":1,", 7),
    BAD("{\"k\":[}", 6),
    /* strings: quotes, control characters, escapes that are none or cut */
    BAD("\"", 1), BAD("\"a", 2), BAD("[\"a]", 4), BAD("'a'", 0), BAD("[`a`]", 1), BAD("\"\"\"", 2),
    BAD("\"\n\"", 1), BAD("\"a\tb\"", 2), BAD("\"\0\"", 1), BAD("\"\x1f\"", 1), BAD("\"\r\n\"", 1),
    BAD("\"\\", 1), BAD("\"\\\"", 3), BAD("\"\\\\\\\"", 5), BAD("\"\\a\"", 1), BAD("\"\\v\"", 1),
    BAD("\"\\'\"", 1), BAD("\"\\0\"", 1), BAD("\"\\x41\"", 1), BAD("\"\\U0041\"", 1),
    BAD("\"\\N\"", 1),
    BAD("\"\\\n\"", 1), BAD("\"\\\0\"", 1), BAD("\"\\\xd0\xb6\"", 1), BAD("\"\\u", 1),
    BAD("\"\\u1", 1),
    BAD("\"\\u123", 1), BAD("\"\\u\"", 1), BAD("\"\\u123\"", 1), BAD("\"\\u12G4\"", 1),
    BAD("\"\\u-123\"", 1), BAD("\"\\u+123\"", 1), BAD("\"\\u 123\"", 1), BAD("\"\\u{41}\"", 1),
    BAD("\"ok\\u00e9\\q\"", 9), BAD("\\u0022\"", 0), BAD("\\n", 0), BAD("[\\n]", 1),
    /* halves of surrogate pairs, in values and in keys */
    BAD("\"\\uD800\"", 1), BAD("\"\\uDBFF\"", 1), BAD("\"\\uDC00\"", 1), BAD("\"\\uDFFF\"", 1),
    BAD("\"\\uDC00\\uD800\"", 1), BAD("\"\\uD800\\uD800\"", 1), BAD("\"\\uD800\\u0041\"", 1),
    BAD("\"\\uD800\\n\"", 1), BAD("\"\\uD800 \\uDC00\"", 1), BAD("\"\\uD800\\uE000\"", 1),
    BAD("\"\\uD800\\uDBFF\"", 1), BAD("\"ab\\ud9ab\"", 3), BAD("\"\\uD800\\UDC00\"", 1),
    BAD("\"\\uD800/uDC00\"", 1), BAD("\"\\uD800\\uDC0\"", 1), BAD("\"\\uD800\\u", 1),
    BAD("\"\\uD800", 1), BAD("{\"\\uD800\":1}", 2), BAD("\"\\uD83D\\uDE80\\uDE80\"", 13),
    /* not UTF-8: alone, cut by the quote or by an escape, overlong, surrogates, beyond 10FFFF */
    BAD("\"\xff\"", 1), BAD("\"\x80\"", 1), BAD("\"\xc0\x80\"", 1), BAD("\"\xc1\xbf\"", 1),
    BAD("\"\xe0\x9f\xbf\"", 2), BAD("\"\xf0\x8f\xbf\xbf\"", 2), BAD("\"\xed\xa0\x80\"", 2),
    BAD("\"\xf4\x90\x80\x80\"", 2), BAD("\"\xf5\x80\x80\x80\"", 1), BAD("\"\xd0\"", 2),
    BAD("\"\xe2\x82\"", 3), BAD("\"\xf0\x9f\x9a\"", 4), BAD("\"\xe2\x82", 3),
    BAD("{\"\xff\":1}", 2),
    BAD("\"\xc3\\n\xa9\"", 2), BAD("\"sixteen letters \xe2\x82\"", 19), BAD("\"\xd0\xb6\xff\"", 3),
    /* bytes that stand nowhere but in strings */
    BAD("[\xd0\xb6]", 1), BAD("[\xff]", 1), BAD("[\xc2\xa0]", 1), BAD("[\xe2\x80\x89" "1]", 1),
    BAD("{\xf0\x9f\x9a\x80}", 1), BAD("[*]", 1), BAD("<1>", 0), BAD("[<1>]", 1), BAD("@", 0),
    /* whole texts: nothing, a byte order mark, UTF-16, comments, something behind the value */
    BAD("", 0), BAD(" ", 1), BAD("\n\n", 2), BAD("\xef\xbb\xbf{}", 0), BAD("\xef\xbb\xbf", 0),
    BAD("\xef\xbb{}", 0), BAD("\xff\xfe{\0}\0", 0), BAD("\0{\0}", 0), BAD("{}\0", 2), BAD("1\0", 1),
    BAD("// 1", 0), BAD("/**/1", 0), BAD("1 // 1", 2), BAD("[1/**/]", 2), BAD("# 1\n1", 0),
    BAD("1 2", 2), BAD("{}{}", 2), BAD("[][]", 2), BAD("{}x", 2), BAD("\"a\"b", 3), BAD("1]", 1),
    BAD("{},", 2), BAD("[1],[2]", 3), BAD("null null", 5), BAD("{}\x1a", 2), BAD("1\x0c", 1),
};

TEST("what RFC 8259 does not allow is refused at its first impossible byte")
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        tws_json_reader r;
        test_row(refused[i].text, i);
        tws_json_init(&r, exact(refused[i].text, refused[i].len));
        tws_json_type type = tws_json_next(&r, NULL);
        while (type != TWS_JSON_END && type != TWS_JSON_ERROR) {
            type = tws_json_next(&r, NULL);
        }
        CHECK_EQ(type, TWS_JSON_ERROR);
        CHECK(r.reason != NULL);
        CHECK_EQ(r.pos, refused[i].pos);
    }
}

/* What RFC 8259 leaves to the reader: JSONTestSuite's third class. Taken are numbers of any size
 * (section 6: they are handed out as they are written, so nothing is rounded); refused is all that
 * another reader might take for another text: encodings (8.1), lone surrogates (8.2), too much
 * depth (9; below). */
static const struct {
    const char *text;
    size_t len;
    bool taken;
} left_open[] = {
#define TAKEN(s) {s, sizeof s - 1, true}
#define NOT_TAKEN(s) {s, sizeof s - 1, false}
    /* numbers that a double cannot hold, or not exactly */
    TAKEN("[7e4000]"), TAKEN("[-7e4000]"), TAKEN("[7.5E+4000]"), TAKEN("[7e-4000]"),
    TAKEN("[-7e-4000]"), TAKEN("[0.7e00123456789012345678901234567890]"),
    TAKEN("[18446744073709551617]"), TAKEN("[-98765432109876543210987654321098765432109876]"),
    TAKEN("[0.1234567890123456789012345678901234567890]"), TAKEN("[-0.0e-0]"),
    /* escapes of half a pair: first, second, in the wrong order, twice, before something else */
    NOT_TAKEN("[\"\\uD801\"]"), NOT_TAKEN("[\"\\uDC01\"]"), NOT_TAKEN("[\"\\uD801\\u0061\"]"),
    NOT_TAKEN("[\"\\udc01\\ud801\"]"), NOT_TAKEN("[\"\\ud801\\ud801\\t\"]"),
    NOT_TAKEN("[\"\\ud801\\t\"]"), NOT_TAKEN("[\"\\ud801xyz\"]"), NOT_TAKEN("{\"\\uDC01\":[]}"),
    /* strings that are not UTF-8: bytes alone, cut, overlong, surrogates, beyond 10FFFF, Latin-1 */
    NOT_TAKEN("[\"\xfe\"]"), NOT_TAKEN("[\"\x90\"]"), NOT_TAKEN("[\"\xfc" "ber\"]"),
    NOT_TAKEN("[\"\xe2\xfe\"]"), NOT_TAKEN("[\"\xd0\xb6\xd0\xb6\xfd\"]"),
    NOT_TAKEN("[\"\xc1\x81\"]"), NOT_TAKEN("[\"\xfc\x84\x80\x80\x80\x80\"]"),
    NOT_TAKEN("[\"\xf8\x80\x80\x80\xa0\"]"), NOT_TAKEN("[\"\xed\xb0\x81\"]"),
    NOT_TAKEN("[\"\xf4\xa0\x80\x80\"]"), NOT_TAKEN("[\"\xf9\x80\x80\x80\x80\"]"),
    /* other encodings, with and without a byte order mark, and that of UTF-8 */
    NOT_TAKEN("\xff\xfe{\0}\0"), NOT_TAKEN("\xfe\xff\0{\0}"), NOT_TAKEN("{\0}\0"),
    NOT_TAKEN("\0{\0}"), NOT_TAKEN("{\0\0\0}\0\0\0"), NOT_TAKEN("\xef\xbb\xbf[0]"),
#undef TAKEN
#undef NOT_TAKEN
};

TEST("what RFC 8259 leaves to the reader is decided: any number, one encoding, whole characters")
{
    for (size_t i = 0; i < COUNT(left_open); i++) {
        test_row(left_open[i].text, i);
        CHECK_EQ(tws_json_valid(exact(left_open[i].text, left_open[i].len)), left_open[i].taken);
    }
}

TEST("an error is sticky and its token is empty")
{
    tws_json_reader r;
    tws_json_token token;
    tws_json_init(&r, tws_str_c("[1,]"));
    while (tws_json_next(&r, NULL) != TWS_JSON_ERROR) {
    }
    const char *reason = r.reason;
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tws_json_next(&r, &token), TWS_JSON_ERROR);
        CHECK_EQ(token.type, TWS_JSON_ERROR);
        CHECK_EQ(token.text.len, 0);
        CHECK_EQ(r.pos, 3);
        CHECK(r.reason == reason);
    }
}

TEST("the end may be asked for again")
{
    tws_json_reader r;
    tws_json_init(&r, tws_str_c("1 "));
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_NUMBER);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_END);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_END);
    CHECK(r.reason == NULL);
}

TEST("a text cut at any byte is refused for its end")
{
    static const char text[] = "{\"task_id\":\"a\\u00e9\\ud83d\\ude00 \xd0\xb6\",\"n\":[-1.5e+3,0,"
                               "true,false,null,{\"\":[[]]}],\"x\\\"y\":{}}";
    size_t len = sizeof text - 1;
    CHECK(tws_json_valid(exact(text, len)));
    for (size_t n = 0; n < len; n++) {
        test_row("cut", n);
        CHECK(!tws_json_valid(exact(text, n)));
    }
}

TEST("every byte value is judged alone: in a string, as white space, as a text")
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        char string[] = {'"', byte, '"'};
        char blank[] = {byte, '[', byte, ']', byte};
        test_row("byte", (size_t)c);
        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        CHECK_EQ(tws_json_valid(exact(string, 3)), plain);
        CHECK_EQ(tws_json_valid(exact(blank, 5)), c == ' ' || c == '\t' || c == '\n' || c == '\r');
        CHECK_EQ(tws_json_valid(exact(&byte, 1)), c >= '0' && c <= '9');
    }
}

TEST("every byte value behind a backslash is judged alone")
{
    for (int c = 0; c < 256; c++) {
        char text[] = {'"', '\\', (char)c, '"'};
        test_row("escape", (size_t)c);
        CHECK_EQ(tws_json_valid(exact(text, 4)), c != 0 && strchr("\"\\/bfnrt", c) != NULL);
    }
}

TEST("every byte value is judged as a hexadecimal digit, at each of the four places")
{
    for (int c = 0; c < 256; c++) {
        for (size_t place = 3; place < 7; place++) {
            char text[] = "\"\\u1234\"";
            bool digit = c != 0 && strchr("0123456789abcdefABCDEF", c) != NULL;
            text[place] = (char)c;
            test_row("byte", (size_t)c);
            CHECK_EQ(tws_json_valid(exact(text, 8)), digit);
        }
    }
}

TEST("what breaks a rule is not handed out")
{
    static const char *const texts[] = {"\"\xff\"", "\"\xe2\x82\"", "\"\n\"",
                                        "\"\\q\"", "\"\\ud800\"", "\"a"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        tws_json_reader r;
        tws_json_token t;
        test_row(texts[i], i);
        tws_json_init(&r, exact(texts[i], strlen(texts[i])));
        CHECK_EQ(tws_json_next(&r, &t), TWS_JSON_ERROR);
        CHECK_EQ(t.type, TWS_JSON_ERROR);
        CHECK_EQ(t.text.len, 0);
    }
}

/* Strings are read in words of eight bytes, so each place in a word is tried for what ends one. */
TEST("what ends a run in a string is seen at every place")
{
    static const char odd[] = {'"', '\\', '\n', '\0', '\x1f', '\xff'};
    for (size_t len = 1; len < 40; len++) {
        char *block = (char *)malloc(len + 2); /* its end is the text's */
        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof odd; i++) {
                memset(block, 'x', len + 2);
                block[0] = '"';
                block[1 + len] = '"';
                CHECK(tws_json_valid(tws_str_of(block, len + 2)));
                block[1 + at] = odd[i];
                test_row("place", at);
                CHECK(!tws_json_valid(tws_str_of(block, len + 2)));
            }
        }
        free(block);
    }
}

TEST("a borrow between the bytes of a word hides nothing and finds nothing")
{
    for (unsigned a = 0; a < 256; a++) {
        for (unsigned b = 0; b < 256; b++) {
            uint8_t word[8] = {'x', 'x', 'x', (uint8_t)a, (uint8_t)b, 'x', 'x', 'x'};
            bool plain = a >= 0x20 && a != '"' && a != '\\' && b >= 0x20 && b != '"' && b != '\\';
            uint64_t loaded;
            memcpy(&loaded, word, 8);
            test_row("pair", a * 256 + b);
            CHECK_EQ(tws__json_plain(loaded), plain);
        }
    }
}

/* -- against a reader written in the plainest way -- */

static const char *plain_value(const char *p);

static const char *plain_digits(const char *p)
{
    const char *begin = p;
    while (*p >= '0' && *p <= '9') {
        p++;
    }
    return p == begin ? NULL : p;
}

static const char *plain_number(const char *p)
{
    p += *p == '-' ? 1 : 0;
    p = *p == '0' ? p + 1 : plain_digits(p);
    if (p != NULL && *p == '.') {
        p = plain_digits(p + 1);
    }
    if (p != NULL && *p == 'e') {
        p++;
        p = plain_digits(*p == '-' ? p + 1 : p);
    }
    return p;
}

static const char *plain_string(const char *p)
{
    if (*p++ != '"') {
        return NULL;
    }
    while (*p != '"') {
        if (*p == '\0') {
            return NULL;
        }
        if (*p == '\\') {
            p++;
            if (*p != '"' && *p != '\\') {
                return NULL;
            }
        }
        p++;
    }
    return p + 1;
}

static const char *plain_blank(const char *p)
{
    return p == NULL ? NULL : p + strspn(p, " ");
}

static const char *plain_elements(const char *p, char close, bool keys)
{
    p = plain_blank(p + 1);
    if (*p == close) {
        return p + 1;
    }
    for (;;) {
        if (keys) {
            p = plain_blank(plain_string(plain_blank(p)));
            if (p == NULL || *p++ != ':') {
                return NULL;
            }
        }
        p = plain_value(p);
        if (p == NULL || (*p != ',' && *p != close)) {
            return NULL;
        }
        if (*p++ == close) {
            return p;
        }
    }
}

static const char *plain_value(const char *p)
{
    p = plain_blank(p);
    switch (*p) {
    case '[': return plain_blank(plain_elements(p, ']', false));
    case '{': return plain_blank(plain_elements(p, '}', true));
    case '"': return plain_blank(plain_string(p));
    default: return plain_blank(plain_number(p));
    }
}

TEST("all texts of up to five characters are judged as by a plain recursive reader")
{
    static const char alphabet[] = "[]{}:,\"0-.e \\";
    char text[6];
    size_t letters = sizeof alphabet - 1;
    size_t valid = 0;
    for (size_t len = 1; len <= 5; len++) {
        size_t count = 1;
        for (size_t i = 0; i < len; i++) {
            count *= letters;
        }
        for (size_t n = 0; n < count; n++) {
            size_t rest = n;
            for (size_t i = 0; i < len; i++, rest /= letters) {
                text[i] = alphabet[rest % letters];
            }
            text[len] = '\0';
            const char *end = plain_value(text);
            bool expected = end != NULL && *end == '\0';
            test_row(text, n);
            CHECK_EQ(tws_json_valid(tws_str_of(text, len)), expected);
            valid += expected ? 1 : 0;
        }
    }
    CHECK(valid > 1000);
}

/* -- depth -- */

static tws_str nested(char open, size_t depth, char close)
{
    static char text[200100];
    memset(text, open, depth);
    memset(text + depth, close, depth);
    return exact(text, 2 * depth);
}

TEST("128 open containers are read, the 129th is refused")
{
    CHECK(tws_json_valid(nested('[', TWS_JSON_MAX_DEPTH, ']')));
    CHECK(!tws_json_valid(nested('[', TWS_JSON_MAX_DEPTH + 1, ']')));
    CHECK(!tws_json_valid(nested('[', 500, ']')));
    CHECK(!tws_json_valid(nested('[', 100000, ']')));
    CHECK(!tws_json_valid(nested('[', 100000, '[')));
    CHECK(!tws_json_valid(nested('{', 100000, '}')));
    tws_json_reader r;
    tws_json_init(&r, nested('[', 100000, ']'));
    while (tws_json_next(&r, NULL) != TWS_JSON_ERROR) {
    }
    CHECK_EQ(r.pos, TWS_JSON_MAX_DEPTH);
}

TEST("depth counts what is open, not what was")
{
    char text[3000];
    size_t len = 0;
    for (int i = 0; i < 900; i++) {
        memcpy(text + len, i == 0 ? "[[]" : ",[]", 3);
        len += 3;
    }
    CHECK(!tws_json_valid(exact(text, len)));
    text[len++] = ']';
    CHECK(tws_json_valid(exact(text, len)));
}

TEST("containers of both kinds are told apart at every depth")
{
    for (size_t depth = 1; depth <= TWS_JSON_MAX_DEPTH; depth++) {
        char text[TWS_JSON_MAX_DEPTH * 6];
        char close[TWS_JSON_MAX_DEPTH];
        size_t len = 0;
        for (size_t i = 0; i < depth; i++) {
            bool object = (depth >> (i % 7) & 1) != 0; /* another mix at each depth */
            memcpy(text + len, object ? "{\"\":" : "[", object ? 4 : 1);
            len += object ? 4 : 1;
            close[i] = object ? '}' : ']';
        }
        text[len++] = '0';
        for (size_t i = depth; i > 0; i--) {
            text[len++] = close[i - 1];
        }
        test_row("depth", depth);
        CHECK(tws_json_valid(exact(text, len)));
        text[len - 1] = text[len - 1] == '}' ? ']' : '}';
        CHECK(!tws_json_valid(exact(text, len)));
    }
}

/* -- tokens -- */

/* The tokens of a text as one line: `{ "key": 1 }` gives `{ k(key) n(1) } .` */
static const char *tokens(const char *text, size_t len)
{
    static const char *const marks[] = {".", "!", "{", "}", "[", "]", "k", "s", "n", "n", "n", "n"};
    static char line[1000];
    tws_json_reader r;
    tws_json_token t;
    size_t at = 0;
    tws_json_init(&r, exact(text, len));
    do {
        tws_json_type type = tws_json_next(&r, &t);
        CHECK_EQ(type, t.type);
        bool scalar = type >= TWS_JSON_KEY;
        at += (size_t)snprintf(line + at, sizeof line - at, scalar ? "%s%s(%.*s) " : "%s%s ",
                               marks[type], t.escaped ? "\\" : "", (int)t.text.len, t.text.ptr);
    } while (t.type != TWS_JSON_END && t.type != TWS_JSON_ERROR);
    return line;
}

typedef struct token_row {
    const char *text;
    const char *tokens;
} token_row;

static const token_row token_rows[] = {
    {"{}", "{ } . "},
    {"[]", "[ ] . "},
    {" 1 ", "n(1) . "},
    {"\"\"", "s() . "},
    {"{\"a\":1,\"b\":[true,false,null],\"c\":\"d\"}",
     "{ k(a) n(1) k(b) [ n(true) n(false) n(null) ] k(c) s(d) } . "},
    {"[-0.5e-7,[[],{}],{\"\":{}}]", "[ n(-0.5e-7) [ [ ] { } ] { k() { } } ] . "},
    {"{\"a\\n\" : \"b\\u0041\" , \"c\" : \"d\"}", "{ k\\(a\\n) s\\(b\\u0041) k(c) s(d) } . "},
    {"[1,2", "[ n(1) n(2) ! "},
    {"{\"a\":1,}", "{ k(a) n(1) ! "},
    {"[\"\\\"\",\"x\"]", "[ s\\(\\\") s(x) ] . "},
};

TEST("a text is taken apart into its tokens")
{
    for (size_t i = 0; i < COUNT(token_rows); i++) {
        test_row(token_rows[i].text, i);
        CHECK_STR(tws_str_c(tokens(token_rows[i].text, strlen(token_rows[i].text))),
                  token_rows[i].tokens);
    }
}

TEST("words and numbers have types of their own")
{
    tws_json_reader r;
    tws_json_init(&r, tws_str_c("[true,false,null,0]"));
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_ARRAY);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_TRUE);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_FALSE);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_NULL);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_NUMBER);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_ARRAY_END);
}

TEST("duplicate keys are all handed out")
{
    static const char text[] = "{\"a\":1,\"a\":2}";
    CHECK_STR(tws_str_c(tokens(text, sizeof text - 1)), "{ k(a) n(1) k(a) n(2) } . ");
}

/* -- skip -- */

TEST("skip gives a value's own text, whatever it is, and stands behind it")
{
    static const char *const values[] = {"1",    "-2.5e3", "\"\"",        "\"a\\\"b\"", "true",
                                         "null", "{}",     "[]",          "[[],{\"k\":[1,2]}]",
                                         "{\"a\":{\"b\":\"}]\"},\"c\":[\"[\"]}"};
    for (size_t i = 0; i < COUNT(values); i++) {
        char text[200];
        tws_json_reader r;
        tws_json_token t;
        tws_str raw;
        int len = snprintf(text, sizeof text, "{\"k\": %s , \"next\":7}", values[i]);
        test_row(values[i], i);
        for (int by_key = 0; by_key < 2; by_key++) {
            tws_json_init(&r, exact(text, (size_t)len));
            (void)tws_json_next(&r, NULL);
            CHECK_EQ(tws_json_next(&r, &t), TWS_JSON_KEY);
            if (!by_key) {
                (void)tws_json_next(&r, &t);
            }
            CHECK(tws_json_skip(&r, &t, by_key ? &raw : NULL) || !by_key);
            if (by_key) {
                CHECK_STR(raw, values[i]);
            }
            CHECK_EQ(tws_json_next(&r, &t), TWS_JSON_KEY);
            CHECK_STR(t.text, "next");
        }
    }
}

TEST("skip fails where the value does, and after any error")
{
    static const char *const texts[] = {"[[1,2}", "[{\"a\":[1,]}]", "[[", "[[1]"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        tws_json_reader r;
        tws_json_token t;
        tws_str raw;
        test_row(texts[i], i);
        tws_json_init(&r, exact(texts[i], strlen(texts[i])));
        CHECK_EQ(tws_json_next(&r, &t), TWS_JSON_ARRAY);
        CHECK(!tws_json_skip(&r, &t, &raw));
        CHECK(!tws_json_skip(&r, &t, &raw));
    }
}

/* -- member -- */

typedef struct member_row {
    const char *text;
    const char *name;
    tws_status status;
    tws_json_type type;
    const char *value;
} member_row;

static const member_row member_rows[] = {
    {"{\"task_id\":\"t1\"}", "task_id", TWS_OK, TWS_JSON_STRING, "t1"},
    {" {\"a\":1, \"task_id\" : \"t1\" } ", "task_id", TWS_OK, TWS_JSON_STRING, "t1"},
    {"{\"a\":-5}", "a", TWS_OK, TWS_JSON_NUMBER, "-5"},
    {"{\"a\":true}", "a", TWS_OK, TWS_JSON_TRUE, "true"},
    {"{\"a\":null}", "a", TWS_OK, TWS_JSON_NULL, "null"},
    {"{\"a\":{\"b\":[1, 2]},\"c\":3}", "a", TWS_OK, TWS_JSON_OBJECT, "{\"b\":[1, 2]}"},
    {"{\"a\":[ {} ],\"c\":3}", "a", TWS_OK, TWS_JSON_ARRAY, "[ {} ]"},
    {"{\"a\":1,\"a\":2}", "a", TWS_OK, TWS_JSON_NUMBER, "2"},
    {"{\"a\":[1],\"a\":\"x\",\"a\":{}}", "a", TWS_OK, TWS_JSON_OBJECT, "{}"},
    {"{\"\":1}", "", TWS_OK, TWS_JSON_NUMBER, "1"},
    {"{\"t\\u0061sk\":1}", "task", TWS_OK, TWS_JSON_NUMBER, "1"},
    {"{\"\\u0074\\u0061\\u0073\\u006b\":1}", "task", TWS_OK, TWS_JSON_NUMBER, "1"},
    {"{\"a\\/b\\\\\":1}", "a/b\\", TWS_OK, TWS_JSON_NUMBER, "1"},
    {"{\"\\ud83d\\ude00\":1}", "\xf0\x9f\x98\x80", TWS_OK, TWS_JSON_NUMBER, "1"},
    {"{\"task\":1,\"t\\u0061sk\":2}", "task", TWS_OK, TWS_JSON_NUMBER, "2"},
    {"{\"\\u0074askx\":1}", "task", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"\\u0074as\":1}", "task", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"\\u0054ask\":1}", "task", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{}", "a", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"A\":1}", "a", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"b\":\"a\"}", "a", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"b\":{\"a\":1}}", "a", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"{\"b\":[{\"a\":1}]}", "a", TWS_ERR_NOT_FOUND, TWS_JSON_END, ""},
    {"[]", "a", TWS_ERR_ARGUMENT, TWS_JSON_END, ""},
    {"[{\"a\":1}]", "a", TWS_ERR_ARGUMENT, TWS_JSON_END, ""},
    {"\"a\"", "a", TWS_ERR_ARGUMENT, TWS_JSON_END, ""},
    {"7", "a", TWS_ERR_ARGUMENT, TWS_JSON_END, ""},
    {"", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":1", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":1}x", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":1,\"b\":}", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":[1,]}", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"[1,]", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
    {"{\"a\":1}{\"a\":2}", "a", TWS_ERR_SYNTAX, TWS_JSON_END, ""},
};

TEST("a member of the top-level object is found by name, the last of several")
{
    for (size_t i = 0; i < COUNT(member_rows); i++) {
        const member_row *row = &member_rows[i];
        tws_json_token value;
        memset(&value, 0x55, sizeof value);
        test_row(row->text, i);
        tws_str name = exact(row->name, strlen(row->name));
        CHECK_EQ(tws_json_member(exact(row->text, strlen(row->text)), name, &value), row->status);
        CHECK_EQ(value.type, row->type);
        CHECK_STR(value.text, row->value);
        CHECK_EQ(value.escaped, false);
    }
}

TEST("a member's value says that it has escapes")
{
    tws_str text = tws_str_c("{\"a\":\"\\n\",\"b\":\"n\"}");
    tws_json_token value;
    CHECK_EQ(tws_json_member(text, tws_str_c("a"), &value), TWS_OK);
    CHECK(value.escaped);
    CHECK_EQ(tws_json_member(text, tws_str_c("b"), &value), TWS_OK);
    CHECK(!value.escaped);
}

/* -- unescape -- */

static tws_json_token only_token(tws_str text)
{
    tws_json_reader r;
    tws_json_token t;
    tws_json_init(&r, text);
    (void)tws_json_next(&r, &t);
    CHECK_EQ(tws_json_next(&r, NULL), TWS_JSON_END);
    return t;
}

static const struct {
    const char *text;
    const char *meaning;
    size_t len;
} escapes[] = {
    {"\"\"", "", 0},
    {"\"plain\"", "plain", 5},
    {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
    {"\"\\u0000\"", "\0", 1},
    {"\"a\\u0041b\"", "aAb", 3},
    {"\"\\u007f\\u0080\"", "\x7f\xc2\x80", 3},
    {"\"\\u07ff\\u0800\"", "\xdf\xbf\xe0\xa0\x80", 5},
    {"\"\\ud7ff\\ue000\"", "\xed\x9f\xbf\xee\x80\x80", 6},
    {"\"\\uffff\\ud800\\udc00\"", "\xef\xbf\xbf\xf0\x90\x80\x80", 7},
    {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4},
    {"\"\\ud83d\\ude00\\ud83d\\ude01\"", "\xf0\x9f\x98\x80\xf0\x9f\x98\x81", 8},
    {"\"x\\\\u0041\"", "x\\u0041", 7},
    {"\"\xd0\xb6\\n\xd0\xb6\"", "\xd0\xb6\n\xd0\xb6", 5},
};

TEST("escapes are resolved to UTF-8")
{
    for (size_t i = 0; i < COUNT(escapes); i++) {
        char memory[64];
        tws_buf b;
        tws_buf_fixed(&b, memory, sizeof memory);
        test_row(escapes[i].text, i);
        tws_json_token t = only_token(exact(escapes[i].text, strlen(escapes[i].text)));
        CHECK_EQ(t.type, TWS_JSON_STRING);
        CHECK_EQ(t.escaped, strchr(escapes[i].text, '\\') != NULL);
        tws_json_unescape(&t, &b);
        CHECK_MEM(b.ptr, b.len, escapes[i].meaning, escapes[i].len);
    }
}

/* UTF-8 by arithmetic, for any code point. */
static size_t plain_utf8(uint32_t c, char *out)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const int lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = c >> (6 * (n - 1 - i));
        out[i] = (char)(i == 0 ? (uint32_t)lead[n] | bits : 0x80 | (bits & 0x3f));
    }
    return n;
}

TEST("every code point is read from its escape, and written so that it reads back")
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        char escape[20];
        char want[4];
        char memory[32];
        tws_buf b;
        if (c >= 0xd800 && c <= 0xdfff) {
            continue;
        }
        size_t n = plain_utf8(c, want);
        unsigned high = 0xd800 + ((c - 0x10000) >> 10);
        unsigned low = 0xdc00 + ((c - 0x10000) & 0x3ff);
        int len = c < 0x10000 ? snprintf(escape, sizeof escape, "\"\\u%04x\"", (unsigned)c)
                              : snprintf(escape, sizeof escape, "\"\\u%04X\\u%04x\"", high, low);
        test_row("code point", c);
        tws_json_token t = only_token(tws_str_of(escape, (size_t)len));
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_json_unescape(&t, &b);
        CHECK_MEM(b.ptr, b.len, want, n);

        char written[32];
        tws_buf w;
        tws_buf_fixed(&w, written, sizeof written);
        tws_json_write_str(&w, tws_str_of(want, n));
        t = only_token(tws_buf_view(&w));
        tws_buf_clear(&b);
        tws_json_unescape(&t, &b);
        CHECK_MEM(b.ptr, b.len, want, n);
    }
}

/* -- numbers -- */

static const struct {
    const char *text;
    bool good;
    int64_t value;
} integers[] = {
    {"0", true, 0},
    {"-0", true, 0},
    {"7", true, 7},
    {"-7", true, -7},
    {"9223372036854775807", true, INT64_MAX},
    {"-9223372036854775808", true, INT64_MIN},
    {"-9223372036854775807", true, -INT64_MAX},
    {"9223372036854775808", false, 0},
    {"-9223372036854775809", false, 0},
    {"18446744073709551615", false, 0},
    {"18446744073709551616", false, 0},
    {"-18446744073709551616", false, 0},
    {"1.0", false, 0},
    {"1e3", false, 0},
    {"1E0", false, 0},
    {"-1e999", false, 0},
    {"\"1\"", false, 0},
    {"true", false, 0},
    {"null", false, 0},
};

TEST("a number is an integer without fraction and exponent, in 64 bits, or it is none")
{
    for (size_t i = 0; i < COUNT(integers); i++) {
        int64_t value = 55;
        test_row(integers[i].text, i);
        tws_json_token t = only_token(exact(integers[i].text, strlen(integers[i].text)));
        CHECK_EQ(tws_json_i64(&t, &value), integers[i].good);
        CHECK_EQ(value, integers[i].good ? integers[i].value : 55);
    }
}

TEST("a number of a thousand digits is read, and is no integer")
{
    static const char *const kinds[] = {"%s", "-%s", "%s.%s", "%se%s", "0.%s", "1E-%s"};
    char digits[1001];
    memset(digits, '9', 1000);
    digits[1000] = '\0';
    for (size_t i = 0; i < COUNT(kinds); i++) {
        char text[2100];
        int64_t value;
        test_row(kinds[i], i);
        int len = snprintf(text, sizeof text, kinds[i], digits, digits);
        tws_json_token t = only_token(exact(text, (size_t)len));
        CHECK_EQ(t.type, TWS_JSON_NUMBER);
        CHECK_EQ(t.text.len, len);
        CHECK(!tws_json_i64(&t, &value));
        CHECK(!tws_json_valid(exact(text, (size_t)snprintf(text, sizeof text, "0%s", digits))));
    }
}

/* -- writer -- */

static const struct {
    const char *text;
    size_t len;
    const char *written;
} strings[] = {
    {"", 0, "\"\""},
    {"plain text", 10, "\"plain text\""},
    {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
    {"a/b", 3, "\"a/b\""},
    {"\0\x1f\n\t", 4, "\"\\u0000\\u001f\\u000a\\u0009\""},
    {"\x7f", 1, "\"\\u007f\""},
    {"\xc2\x80\xc2\x9f\xc2\xa0", 6, "\"\\u0080\\u009f\xc2\xa0\""},
    {"</script>", 9, "\"\\u003c/script>\""},
    {"<!--", 4, "\"\\u003c!--\""},
    {"\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xaf", 12,
     "\"\xe2\x80\xa7\\u2028\\u202e\xe2\x80\xaf\""},
    {"\xe2\x81\xa5\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", 12,
     "\"\xe2\x81\xa5\\u2066\\u2069\xe2\x81\xaa\""},
    {"\xd0\x96\xe6\x97\xa5\xf0\x9f\x98\x80", 9, "\"\xd0\x96\xe6\x97\xa5\xf0\x9f\x98\x80\""},
    /* one U+FFFD for each maximal subpart: Unicode 3.9, table 3-8 and its neighbours */
    {"\xff", 1, "\"\xef\xbf\xbd\""},
    {"\x80", 1, "\"\xef\xbf\xbd\""},
    {"a\x80z", 3, "\"a\xef\xbf\xbdz\""},
    {"\xc0\xaf", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xe0\x80\xbf", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xf4\x90\x80\x80", 4, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xe2\x82", 2, "\"\xef\xbf\xbd\""},
    {"\xe2\x82\x41", 3, "\"\xef\xbf\xbd\x41\""},
    {"\xe2\x82\xd0\x96", 4, "\"\xef\xbf\xbd\xd0\x96\""},
    {"\xf0\x9f\x98", 3, "\"\xef\xbf\xbd\""},
    {"\xf1\x80\x80\xe1\x80\xc2", 6, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    {"\xe2\x80\"", 3, "\"\xef\xbf\xbd\\\"\""},
};

TEST("a string is written so that it may stand in JSON, in HTML and in a script")
{
    for (size_t i = 0; i < COUNT(strings); i++) {
        char memory[100];
        tws_buf b;
        test_row(strings[i].written, i);
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_json_write_str(&b, exact(strings[i].text, strings[i].len));
        CHECK_STR(tws_buf_view(&b), strings[i].written);
    }
}

TEST("whatever two bytes are written, valid JSON comes out")
{
    for (unsigned n = 0; n < 65536; n++) {
        char bytes[2] = {(char)(n >> 8), (char)n};
        char memory[100];
        tws_buf b;
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_json_write_str(&b, tws_str_of(bytes, 2));
        test_row("bytes", n);
        CHECK(b.status == TWS_OK && tws_json_valid(tws_buf_view(&b)));
        CHECK(memchr(b.ptr, '<', b.len) == NULL);
    }
}

static void write_document(tws_buf *b)
{
    tws_buf_char(b, '{');
    tws_json_write_member(b, "type", tws_str_c("error"));
    tws_json_write_member_bool(b, "retry", true);
    tws_json_write_member_bool(b, "close", false);
    tws_json_write_member_u64(b, "n", UINT64_MAX);
    tws_json_write_key(b, "inner");
    tws_buf_char(b, '{');
    tws_json_write_member(b, "a\"b", tws_str_c("{"));
    tws_json_write_member_u64(b, "z", 0);
    tws_buf_c(b, "}}");
}

#define DOCUMENT "{\"type\":\"error\",\"retry\":true,\"close\":false,\"n\":18446744073709551615," \
                 "\"inner\":{\"a\\\"b\":\"{\",\"z\":0}}"

TEST("members are separated by commas, and the first has none")
{
    char memory[200];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    write_document(&b);
    CHECK_STR(tws_buf_view(&b), DOCUMENT);
    CHECK(tws_json_valid(tws_buf_view(&b)));
    tws_buf_clear(&b);
    tws_json_write_member_u64(&b, "first", 1);
    tws_json_write_member_u64(&b, "second", 2);
    CHECK_STR(tws_buf_view(&b), "\"first\":1,\"second\":2");
}

TEST("a buffer too small keeps a document's beginning and the failure")
{
    size_t whole = strlen(DOCUMENT);
    for (size_t cap = 0; cap < whole; cap++) {
        char memory[200];
        tws_buf b;
        tws_buf_fixed(&b, memory, cap);
        write_document(&b);
        test_row("capacity", cap);
        CHECK_EQ(b.status, TWS_ERR_LIMIT);
        CHECK_MEM(b.ptr, b.len, DOCUMENT, b.len);
    }
}

TEST("memory that runs out while writing leaves the beginning and the failure, and no leak")
{
    tws_allocator a = test_allocator();
    size_t n = 0;
    tws_status status;
    do {
        tws_buf b;
        tws_buf_init(&b, &a, 1000);
        test_fail_at(++n);
        write_document(&b);
        status = b.status;
        test_row("allocation", n);
        CHECK(status == TWS_OK || status == TWS_ERR_MEMORY);
        CHECK_MEM(b.ptr, b.len, DOCUMENT, status == TWS_OK ? strlen(DOCUMENT) : b.len);
        tws_buf_free(&b);
    } while (status != TWS_OK);
    CHECK(n > 2);
}

TEST("memory that runs out while unescaping leaves the failure, and no leak")
{
    tws_allocator a = test_allocator();
    tws_json_token t = only_token(tws_str_c(
        "\"\\u0041 line that is longer than what a buffer takes at first, sixty-four bytes\\n\""));
    for (size_t n = 1; n < 3; n++) {
        tws_buf b;
        tws_buf_init(&b, &a, 1000);
        test_fail_at(n);
        tws_json_unescape(&t, &b);
        CHECK_EQ(b.status, TWS_ERR_MEMORY);
        tws_buf_free(&b);
    }
    test_fail_at(0);
}
