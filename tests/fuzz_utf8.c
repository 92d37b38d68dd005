/* Fuzz target: UTF-8, in pieces, against a reader that takes a character at a time by the grammar
 * of RFC 3629 section 4, as it is printed there. The first byte that cannot stand is the same.
 *
 * input    byte 0: how many lengths of pieces follow (0 to 15), used in turn; then the text */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
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

/* -- the reference -- */

/* UTF8-1, UTF8-2, UTF8-3 and UTF8-4: the ranges of each byte of a character. */
static const struct {
    size_t len;
    uint8_t first[4], last[4];
} form[] = {
    {1, {0x00}, {0x7f}},
    {2, {0xc2, 0x80}, {0xdf, 0xbf}},
    {3, {0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}},
    {3, {0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}},
    {3, {0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}},
    {3, {0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}},
    {4, {0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}},
    {4, {0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}},
    {4, {0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}},
};

/* How many of the bytes may begin that form of character. */
static size_t fits(size_t which, const uint8_t *p, size_t len)
{
    size_t n = 0;
    while (n < len && n < form[which].len && p[n] >= form[which].first[n] &&
           p[n] <= form[which].last[n]) {
        n++;
    }
    return n;
}

/* The offset of the first byte that cannot stand, or len; *open: a character is left unfinished. */
static size_t first_bad(const uint8_t *p, size_t len, bool *open)
{
    size_t at = 0;
    *open = false;
    while (at < len) {
        size_t best = 0;
        size_t which = 0;
        for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
            size_t n = fits(i, p + at, len - at);
            if (n > best) {
                best = n;
                which = i;
            }
        }
        if (best == 0 || best < form[which].len) {
            *open = at + best == len && best > 0;
            return at + best;
        }
        at += best;
    }
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t step_count = size >= 1 ? data[0] & 15u : 0;
    if (size < 1 + step_count) {
        return 0;
    }
    const uint8_t *steps = data + 1;
    const uint8_t *text = steps + step_count;
    size_t len = size - 1 - step_count;
    bool open;
    size_t want = first_bad(text, len, &open);
    tws_utf8 u;
    memset(&u, 0, sizeof u);
    size_t at = 0;
    size_t turn = 0;
    do {
        size_t piece = step_count > 0 ? steps[turn++ % step_count] : len;
        piece = tws__min(piece + (step_count > 0), len - at);
        uint8_t *copy = (uint8_t *)malloc(piece > 0 ? piece : 1); /* of exactly this size */
        REQUIRE(copy != NULL);
        memcpy(copy, text + at, piece);
        size_t taken = tws_utf8_feed(&u, copy, piece);
        free(copy);
        REQUIRE(taken <= piece && at + taken <= want);
        REQUIRE(taken == piece || at + taken == want);
        at += taken;
        if (taken < piece) {
            REQUIRE(tws_utf8_feed(&u, "a", 1) == 0 && !tws_utf8_complete(&u)); /* it sticks */
            break;
        }
    } while (at < len);
    REQUIRE(at == want);
    REQUIRE(tws_utf8_complete(&u) == (want == len && !open));
    REQUIRE(tws_utf8_valid(tws_str_of((const char *)text, len)) == (want == len && !open));
    return 0;
}
