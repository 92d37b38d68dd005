/* Section 6: utf8. */
#include "test.h"

/* Every row is fed whole, byte by byte, and split at every position. `bad` is the offset of the
 * first byte that cannot stand there, or FINE; `open`: it ends inside a character. */
#define FINE (-1)

static const struct {
    const char *bytes;
    int bad;
    bool open;
} texts[] = {
    /* the first and the last code point of each length, and around the surrogates: RFC 3629 3, 4 */
    {"", FINE, false},
    {"\x01", FINE, false},
    {"\x7f", FINE, false},
    {"\xc2\x80", FINE, false},
    {"\xdf\xbf", FINE, false},
    {"\xe0\xa0\x80", FINE, false},
    {"\xe0\xbf\xbf", FINE, false},
    {"\xe1\x80\x80", FINE, false},
    {"\xec\xbf\xbf", FINE, false},
    {"\xed\x80\x80", FINE, false},
    {"\xed\x9f\xbf", FINE, false}, /* U+D7FF */
    {"\xee\x80\x80", FINE, false}, /* U+E000 */
    {"\xef\xbb\xbf", FINE, false}, /* a byte order mark is a character here */
    {"\xef\xbf\xbd", FINE, false},
    {"\xef\xbf\xbf", FINE, false}, /* U+FFFF: a noncharacter, but well-formed */
    {"\xf0\x90\x80\x80", FINE, false},
    {"\xf0\xbf\xbf\xbf", FINE, false},
    {"\xf1\x80\x80\x80", FINE, false},
    {"\xf3\xbf\xbf\xbf", FINE, false},
    {"\xf4\x80\x80\x80", FINE, false},
    {"\xf4\x8f\xbf\xbf", FINE, false}, /* U+10FFFF */

    /* cut short */
    {"\xc2", FINE, true},
    {"\xe0", FINE, true},
    {"\xe0\xa0", FINE, true},
    {"\xed\x9f", FINE, true},
    {"\xef\xbf", FINE, true},
    {"\xf0\x90", FINE, true},
    {"\xf0\x90\x80", FINE, true},
    {"\xf4\x8f\xbf", FINE, true},
    {"abc\xe2\x82", FINE, true},

    /* cut short by what follows */
    {"\xc2" "a", 1, false},
    {"\xc2\xc2\x80", 1, false},
    {"\xe2\x82" "a", 2, false},
    {"\xe2\x82\xe2\x82\xac", 2, false},
    {"\xf0\x9f\x98" "a", 3, false},
    {"\xf0\x9f\x98\xf0\x9f\x98\x80", 3, false},
    {"\xf0\x9f" "\n", 2, false},

    /* a continuation byte that continues nothing */
    {"\x80", 0, false},
    {"\xbf", 0, false},
    {"a\x80", 1, false},
    {"\xc3\xa9\xa9", 2, false},
    {"\xe2\x82\xac\x82", 3, false},
    {"\xf0\x9f\x98\x80\x80", 4, false},

    /* overlong: of NUL, of '/', and of the last code point that each length is too long for */
    {"\xc0\x80", 0, false},
    {"\xc0\xaf", 0, false},
    {"\xc1\xbf", 0, false},
    {"\xe0\x80\x80", 1, false},
    {"\xe0\x80\xaf", 1, false},
    {"\xe0\x9f\xbf", 1, false},
    {"\xf0\x80\x80\x80", 1, false},
    {"\xf0\x80\x80\xaf", 1, false},
    {"\xf0\x8f\xbf\xbf", 1, false},

    /* surrogates: the first, the last, high and low, a pair as CESU-8 writes it */
    {"\xed\xa0\x80", 1, false},
    {"\xed\xad\xbf", 1, false},
    {"\xed\xae\x80", 1, false},
    {"\xed\xaf\xbf", 1, false},
    {"\xed\xb0\x80", 1, false},
    {"\xed\xbf\xbf", 1, false},
    {"\xed\xa0\xbd\xed\xb8\x80", 1, false},

    /* above U+10FFFF, and the five and six bytes that RFC 2279 still had */
    {"\xf4\x90\x80\x80", 1, false},
    {"\xf4\xbf\xbf\xbf", 1, false},
    {"\xf5\x80\x80\x80", 0, false},
    {"\xf7\xbf\xbf\xbf", 0, false},
    {"\xf8\x88\x80\x80\x80", 0, false},
    {"\xfb\xbf\xbf\xbf\xbf", 0, false},
    {"\xfc\x84\x80\x80\x80\x80", 0, false},
    {"\xfd\xbf\xbf\xbf\xbf\xbf", 0, false},
    {"\xfe", 0, false},
    {"\xff", 0, false},

    /* sentences */
    {"Gr\xc3\xbc\xc3\x9f" "e, "
     "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5 \xf0\x9f\x8e\x89", FINE, false},
    {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80" "edited", 12, false},
    {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80" "edited", 12, false},
};

/* Feeds data in one piece from a heap block of its size. */
static size_t feed(tws_utf8 *u, const uint8_t *data, size_t len)
{
    uint8_t *block = (uint8_t *)malloc(len > 0 ? len : 1);
    uint8_t *end = block + (len > 0 ? len : 1);
    if (len > 0) {
        memcpy(end - len, data, len);
    }
    size_t taken = tws_utf8_feed(u, end - len, len);
    free(block);
    return taken;
}

static void check_end(const tws_utf8 *u, size_t taken, int bad, size_t len, bool open)
{
    CHECK_EQ(taken, bad == FINE ? len : (size_t)bad);
    CHECK_EQ(tws_utf8_complete(u), bad == FINE && !open);
}

static void check_in_two(const uint8_t *data, size_t len, size_t cut, int bad, bool open)
{
    tws_utf8 u = {0};
    size_t taken = feed(&u, data, cut);
    if (taken == cut) {
        taken += feed(&u, data + cut, len - cut);
    } else {
        CHECK_EQ(feed(&u, data + cut, len - cut), 0);
    }
    check_end(&u, taken, bad, len, open);
}

static void check_in_bytes(const uint8_t *data, size_t len, int bad, bool open)
{
    tws_utf8 u = {0};
    size_t taken = 0;
    while (taken < len && feed(&u, data + taken, 1) == 1) {
        taken++;
    }
    check_end(&u, taken, bad, len, open);
}

static void check_text(const uint8_t *data, size_t len, int bad, bool open)
{
    for (size_t cut = 0; cut <= len; cut++) {
        check_in_two(data, len, cut, bad, open);
    }
    check_in_bytes(data, len, bad, open);
    CHECK_EQ(tws_utf8_valid(tws_str_of((const char *)data, len)), bad == FINE && !open);
}

#define TEXTS (sizeof texts / sizeof *texts)

TEST("each text is judged the same whole, by bytes and at every split, to the exact byte")
{
    for (size_t i = 0; i < TEXTS; i++) {
        test_row(texts[i].bytes, i);
        size_t len = strlen(texts[i].bytes);
        check_text((const uint8_t *)texts[i].bytes, len, texts[i].bad, texts[i].open);
    }
}

/* Before and behind it ASCII or other characters, so that it meets every place of a word, of a
 * run of words, and of a stretch of the automaton. */
static void check_amid(const char *filler, size_t before, size_t i)
{
    uint8_t data[600];
    size_t filler_len = strlen(filler);
    size_t len = strlen(texts[i].bytes);
    size_t at = 0;
    for (; at < before * filler_len; at += filler_len) {
        memcpy(data + at, filler, filler_len);
    }
    memcpy(data + at, texts[i].bytes, len);
    int bad = texts[i].bad == FINE ? FINE : (int)at + texts[i].bad;
    at += len;
    if (!texts[i].open) {
        memset(data + at, 'z', 70);
        at += 70;
    }
    check_in_two(data, at, 0, bad, texts[i].open);
    check_in_two(data, at, at / 2, bad, texts[i].open);
}

TEST("a character is judged the same at every distance from the beginning")
{
    for (size_t i = 0; i < TEXTS; i++) {
        for (size_t before = 0; before < 100; before++) {
            test_row(texts[i].bytes, i);
            check_amid("x", before, i);
            check_amid("\xe2\x82\xac", before, i);
            check_amid("\xc3\xa9x", before, i);
        }
    }
}

TEST("one bad byte is found at every offset of a long text")
{
    for (size_t len = 1; len <= 150; len++) {
        for (size_t bad = 0; bad < len; bad++) {
            uint8_t data[150];
            tws_utf8 u = {0};
            memset(data, 'a', len);
            data[bad] = 0xff;
            test_row("length", len);
            CHECK_EQ(feed(&u, data, len), bad);
            CHECK(!tws_utf8_complete(&u));
        }
    }
}

TEST("an error is sticky: whatever follows, nothing more is taken")
{
    static const uint8_t good[] = "good";
    tws_utf8 u = {0};
    CHECK_EQ(tws_utf8_feed(&u, "ab\xff", 3), 2);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tws_utf8_feed(&u, good, 4), 0);
        CHECK_EQ(tws_utf8_feed(&u, NULL, 0), 0);
        CHECK(!tws_utf8_complete(&u));
    }
}

TEST("a NUL is a character, and no text at all is complete")
{
    tws_utf8 u = {0};
    CHECK(tws_utf8_complete(&u));
    CHECK_EQ(tws_utf8_feed(&u, NULL, 0), 0);
    CHECK(tws_utf8_complete(&u));
    CHECK_EQ(tws_utf8_feed(&u, "\0\0", 2), 2);
    CHECK(tws_utf8_valid(tws_str_c(NULL)));
    CHECK(!tws_utf8_valid(tws_str_of("\xe2\x82", 2)));
}

/* -- all of it -- */

static size_t encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    out[0] = (uint8_t)(lead[len] | c);
    return len;
}

/* Tries every byte behind the len bytes at `bytes`, and every byte behind what is still open. The
 * characters come in the order of their bytes, which is that of their code points: *next is the
 * one that must come. Returns how many there were. */
static uint32_t walk(tws_utf8 before, uint8_t bytes[4], size_t len, uint32_t *next)
{
    uint32_t found = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        tws_utf8 u = before;
        bytes[len] = (uint8_t)byte;
        if (tws_utf8_feed(&u, bytes + len, 1) == 0) {
            continue;
        }
        uint32_t more = 1;
        if (tws_utf8_complete(&u)) {
            uint8_t want[4];
            size_t want_len = encode(*next, want);
            CHECK_MEM(bytes, len + 1, want, want_len);
            *next += *next == 0xd7ff ? 0x801 : 1;
        } else {
            CHECK(len < 3); /* no character has more than four bytes */
            more = len < 3 ? walk(u, bytes, len + 1, next) : 0;
            CHECK(more > 0); /* else this byte was impossible already */
        }
        found += more;
    }
    return found;
}

TEST("of all byte strings exactly the scalar values' encodings are characters, and every byte "
     "that was taken can still become one")
{
    tws_utf8 start = {0};
    uint8_t bytes[4];
    uint32_t next = 0;
    CHECK_EQ(walk(start, bytes, 0, &next), 0x110000 - 0x800);
    CHECK_EQ(next, 0x110000);
}
