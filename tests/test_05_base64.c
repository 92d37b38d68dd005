/* Section 5: base64 and base64url. */
#include "test.h"

typedef tws_status decoder(tws_str text, void *out, size_t cap, size_t *out_len);
typedef size_t encoder(const void *data, size_t len, char *out);

/* Decodes from and into heap blocks of the exact size; out_len is written whatever happens. */
static tws_status decode(decoder *d, const char *text, size_t len, size_t cap, uint8_t **out,
                         size_t *out_len)
{
    static const uint8_t blank[300];
    *out = test_exact(blank, cap);
    *out_len = 4711;
    return d(tws_str_of((const char *)test_exact(text, len), len), *out, cap, out_len);
}

static const struct {
    const char *bytes;
    const char *base64;
    const char *base64url;
} vectors[] = {
    {"", "", ""}, /* RFC 4648 10 */
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    {"\xfb\xff\xbf", "+/+/", "-_-_"},
    {"\xff\xff\xff\xff", "/////w==", "_____w"},
    {"the sample nonce", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"}, /* RFC 6455 1.3 */
};

#define VECTORS (sizeof vectors / sizeof *vectors)

static void check_encode(encoder *e, const char *bytes, const char *text, size_t want_len)
{
    char blank[100] = "";
    size_t len = strlen(bytes);
    char *out = (char *)test_exact(blank, want_len);
    size_t n = e(test_exact(bytes, len), len, out);
    CHECK_MEM(out, n, text, want_len);
}

TEST("encoding gives the texts of RFC 4648 10, of the length that the macros promise")
{
    for (size_t i = 0; i < VECTORS; i++) {
        test_row(vectors[i].bytes, i);
        size_t len = strlen(vectors[i].bytes);
        CHECK_EQ(TWS_BASE64_LEN(len), strlen(vectors[i].base64));
        CHECK_EQ(TWS_BASE64URL_LEN(len), strlen(vectors[i].base64url));
        check_encode(tws_base64_encode, vectors[i].bytes, vectors[i].base64, TWS_BASE64_LEN(len));
        check_encode(tws_base64url_encode, vectors[i].bytes, vectors[i].base64url,
                     TWS_BASE64URL_LEN(len));
    }
}

static void check_decode(decoder *d, const char *text, const char *bytes)
{
    uint8_t *out;
    size_t n;
    size_t len = strlen(bytes);
    CHECK_EQ(decode(d, text, strlen(text), len, &out, &n), TWS_OK);
    CHECK_MEM(out, n, bytes, len);
    if (len > 0) {
        CHECK_EQ(decode(d, text, strlen(text), len - 1, &out, &n), TWS_ERR_LIMIT);
        CHECK_EQ(n, 0);
    }
}

TEST("decoding gives the bytes back, into exactly their room and not into one byte less")
{
    for (size_t i = 0; i < VECTORS; i++) {
        test_row(vectors[i].base64, i);
        check_decode(tws_base64_decode, vectors[i].base64, vectors[i].bytes);
        check_decode(tws_base64url_decode, vectors[i].base64url, vectors[i].bytes);
    }
}

static void check_round_trip(encoder *e, decoder *d, const uint8_t *bytes, size_t len)
{
    char text[400];
    size_t text_len = e(bytes, len, text);
    size_t n = 4711;
    CHECK_EQ(d(tws_str_of(text, text_len), text, text_len / 4 * 3 + 2, &n), TWS_OK);
    CHECK_MEM(text, n, bytes, len);
}

TEST("every length of bytes comes back, decoded where the text stood")
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 167 + 13); /* every byte once */
    }
    for (size_t len = 0; len <= sizeof bytes; len++) {
        test_row("length", len);
        check_round_trip(tws_base64_encode, tws_base64_decode, bytes, len);
        check_round_trip(tws_base64url_encode, tws_base64url_decode, bytes, len);
    }
}

static bool is_digit(const char *alphabet, int c)
{
    return c != '\0' && strchr(alphabet, c) != NULL;
}

static void check_alphabet(decoder *d, const char *alphabet)
{
    for (size_t at = 0; at < 4; at++) {
        for (int c = 0; c < 256; c++) {
            char text[] = "AAAAAAAA";
            uint8_t *out;
            size_t n;
            text[at] = (char)c;
            tws_status want = is_digit(alphabet, c) ? TWS_OK : TWS_ERR_SYNTAX;
            CHECK_EQ(decode(d, text, 8, 6, &out, &n), want);
            CHECK_EQ(n, want == TWS_OK ? 6 : 0);
        }
    }
}

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

TEST("of 256 characters exactly the 64 of its alphabet are digits, at every place of a group")
{
    check_alphabet(tws_base64_decode, LETTERS_AND_DIGITS "+/");
    check_alphabet(tws_base64url_decode, LETTERS_AND_DIGITS "-_");
}

TEST("the unused bits of the last digit are zero, for every last digit")
{
    static const char digits[] = LETTERS_AND_DIGITS "-_";
    for (int value = 0; value < 64; value++) {
        test_row("digit", (size_t)value);
        char two[] = {'A', digits[value], '\0'};
        char three[] = {'A', 'A', digits[value], '\0'};
        uint8_t *out;
        size_t n;
        tws_status want_two = value % 16 == 0 ? TWS_OK : TWS_ERR_SYNTAX;
        tws_status want_three = value % 4 == 0 ? TWS_OK : TWS_ERR_SYNTAX;
        CHECK_EQ(decode(tws_base64url_decode, two, 2, 1, &out, &n), want_two);
        CHECK_EQ(n, want_two == TWS_OK ? 1 : 0);
        CHECK_EQ(decode(tws_base64url_decode, three, 3, 2, &out, &n), want_three);
        CHECK_EQ(n, want_three == TWS_OK ? 2 : 0);
    }
}

static const struct {
    const char *text;
    tws_status base64;
    tws_status base64url;
} strict[] = {
    {"Zg", TWS_ERR_SYNTAX, TWS_OK}, /* padding is wanted by one and refused by the other */
    {"Zg=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zg==", TWS_OK, TWS_ERR_SYNTAX},
    {"Zg===", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zg====", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm8", TWS_ERR_SYNTAX, TWS_OK},
    {"Zm8=", TWS_OK, TWS_ERR_SYNTAX},
    {"Zm8==", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm9v", TWS_OK, TWS_OK},
    {"Zm9v=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm9v====", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"==", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"===", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"====", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Z", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Z===", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm9vZ", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Z=g=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zg=v", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"=Zg=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zg==Zg==", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm9v Zm8", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX}, /* white space */
    {"Zm9\n", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zm9v\r\n", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {" Zm9", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"+/+/", TWS_OK, TWS_ERR_SYNTAX}, /* the other one's alphabet */
    {"-_-_", TWS_ERR_SYNTAX, TWS_OK},
    {"+_+_", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"Zh==", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX}, /* tail bits */
    {"Zm9=", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX},
    {"\xda\xe7\xb9\xf6", TWS_ERR_SYNTAX, TWS_ERR_SYNTAX}, /* Zm9v with a bit above */
};

TEST("whatever is not the one text of some bytes is refused, and nothing counts as written")
{
    for (size_t i = 0; i < sizeof strict / sizeof *strict; i++) {
        test_row(strict[i].text, i);
        uint8_t *out;
        size_t n;
        size_t len = strlen(strict[i].text);
        CHECK_EQ(decode(tws_base64_decode, strict[i].text, len, 8, &out, &n), strict[i].base64);
        CHECK_EQ(n > 0, strict[i].base64 == TWS_OK);
        CHECK_EQ(decode(tws_base64url_decode, strict[i].text, len, 8, &out, &n),
                 strict[i].base64url);
        CHECK_EQ(n > 0, strict[i].base64url == TWS_OK);
    }
}

/* Does it decode only if it is what its bytes encode to? Returns whether it decodes. */
static bool check_canonical(encoder *e, decoder *d, const char *text, size_t len)
{
    uint8_t bytes[8];
    char again[16];
    size_t n;
    if (d(tws_str_of(text, len), bytes, sizeof bytes, &n) != TWS_OK) {
        return false;
    }
    size_t again_len = e(bytes, n, again);
    CHECK_MEM(again, again_len, text, len);
    return true;
}

TEST("of all texts up to six characters, what decodes encodes to the same again")
{
    static const char some[] = "AQgw8=+-/_ ";
    const size_t kinds = sizeof some - 1;
    int decoded = 0;
    size_t texts = 1;
    for (size_t len = 0; len <= 6; len++) {
        for (size_t i = 0; i < texts; i++) {
            char text[6];
            size_t rest = i;
            for (size_t at = 0; at < len; at++) {
                text[at] = some[rest % kinds];
                rest /= kinds;
            }
            decoded += check_canonical(tws_base64_encode, tws_base64_decode, text, len);
            decoded += check_canonical(tws_base64url_encode, tws_base64url_decode, text, len);
        }
        texts *= kinds;
    }
    CHECK(decoded > 10000);
}

TEST("an empty slice without memory is the text of no bytes")
{
    size_t n = 4711;
    CHECK_EQ(tws_base64_decode(tws_str_c(NULL), NULL, 0, &n), TWS_OK);
    CHECK_EQ(n, 0);
    CHECK_EQ(tws_base64url_decode(tws_str_c(NULL), NULL, 0, &n), TWS_OK);
    CHECK_EQ(n, 0);
    CHECK_EQ(tws_base64_encode(NULL, 0, NULL), 0);
    CHECK_EQ(tws_base64url_encode(NULL, 0, NULL), 0);
}
