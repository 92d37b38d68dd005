/* test_11_jwt.c: tokens taken apart, believed, judged and made. */
#include "test.h"

#define NOW 1700000000 /* the tests' time: 2023-11-14 */

static const char test_secret[] = "a secret of at least thirty-two bytes";

static tws_hmac_key test_key(void)
{
    tws_hmac_key key;
    tws_hmac_key_init(&key, test_secret, sizeof test_secret - 1);
    return key;
}

typedef struct test_token {
    char text[2 * TWS_JWT_MAX];
    size_t len;
} test_token;

static void put(test_token *t, const void *data, size_t len)
{
    CHECK(len <= sizeof t->text - t->len);
    memcpy(t->text + t->len, data, len);
    t->len += len;
}

static void put_base64(test_token *t, const void *data, size_t len)
{
    char text[TWS_BASE64URL_LEN(2 * TWS_JWT_MAX)];
    put(t, text, tws_base64url_encode(data, len, text));
}

/* A token of any header and payload whatever, rightly signed. */
static void make_of(test_token *t, tws_str header, tws_str payload)
{
    tws_hmac_key key = test_key();
    uint8_t mac[TWS_SHA256_BYTES];
    t->len = 0;
    put_base64(t, header.ptr, header.len);
    put(t, ".", 1);
    put_base64(t, payload.ptr, payload.len);
    tws_hmac_sha256(&key, t->text, t->len, mac);
    put(t, ".", 1);
    put_base64(t, mac, sizeof mac);
}

static void make(test_token *t, const char *header, const char *payload)
{
    make_of(t, tws_str_c(header), tws_str_c(payload));
}

static void make_good(test_token *t)
{
    make(t, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", "{\"sub\":\"2\",\"exp\":1700000060}");
}

/* The whole way of a token, each step in heap memory of the exact size. */
static tws_jwt_error check_token(tws_str token, const tws_jwt_policy *policy, int64_t now_s,
                                 tws_jwt *jwt, tws_jwt_claims *claims)
{
    tws_hmac_key key = test_key();
    tws_str exact = tws_str_of((char *)test_exact(token.ptr, token.len), token.len);
    size_t room = token.len + 100;
    tws_jwt_error error = tws_jwt_open(jwt, exact, test_exact(token.ptr, token.len), token.len);
    memset(claims, 0, sizeof *claims);
    if (error == TWS_JWT_OK) {
        error = tws_jwt_verify(jwt, &key);
    }
    if (error == TWS_JWT_OK) {
        uint8_t *scratch = (uint8_t *)calloc(1, room);
        error = tws_jwt_judge(jwt, policy, now_s, test_exact(scratch, jwt->payload.len + 20),
                              jwt->payload.len + 20, claims);
        free(scratch);
    }
    return error;
}

static tws_jwt_error check_text(const char *text, size_t len)
{
    tws_jwt jwt;
    tws_jwt_claims claims;
    tws_jwt_error error = check_token(tws_str_of(text, len), NULL, NOW, &jwt, &claims);
    test_free_blocks();
    return error;
}

static tws_jwt_error check_made(const test_token *t)
{
    return check_text(t->text, t->len);
}

TEST("the example of RFC 7515 A.1 verifies")
{
    static const char token_text[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0"
        "cnVlfQ"
        ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    static const char key_text[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    uint8_t secret[64];
    size_t secret_len;
    char scratch[400];
    tws_hmac_key key;
    tws_jwt jwt;
    tws_jwt_claims claims;
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    CHECK_EQ(tws_base64url_decode(tws_str_c(key_text), secret, sizeof secret, &secret_len), TWS_OK);
    tws_hmac_key_init(&key, secret, secret_len);
    CHECK_EQ(tws_jwt_open(&jwt, tws_str_c(token_text), scratch, sizeof scratch), TWS_JWT_OK);
    CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_OK);
    CHECK_STR(jwt.kid, "");
    CHECK_STR(jwt.payload, "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
                           "\"http://example.com/is_root\":true}");
    CHECK_EQ(tws_jwt_judge(&jwt, &policy, 1300819379, NULL, 0, &claims), TWS_JWT_CLAIMS);
    policy.subject_claim = "iss";
    CHECK_EQ(tws_jwt_judge(&jwt, &policy, 1300819379, NULL, 0, &claims), TWS_JWT_OK);
    CHECK_STR(claims.subject, "joe");
    CHECK_STR(claims.scope, "");
    CHECK_EQ(claims.expires_s, 1300819380);
    CHECK_EQ(tws_jwt_judge(&jwt, &policy, 1300819410, NULL, 0, &claims), TWS_JWT_EXPIRED);
}

TEST("a header is judged by alg, kid and crit alone, and strictly")
{
    static const struct {
        const char *header;
        tws_jwt_error error;
        const char *kid;
    } row[] = {
        {"{\"alg\":\"HS256\"}", TWS_JWT_OK, ""},
        {" { \"alg\" : \"HS256\" } ", TWS_JWT_OK, ""},
        {"{\"\\u0061lg\":\"HS256\"}", TWS_JWT_OK, ""},
        {"{\"typ\":{\"a\":[]},\"cty\":null,\"b64\":false,\"alg\":\"HS256\"}", TWS_JWT_OK, ""},
        {"{\"x\":{\"alg\":\"none\",\"crit\":[]},\"alg\":\"HS256\"}", TWS_JWT_OK, ""},
        {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AAAA\"},\"jku\":\"http://evil/\","
         "\"x5u\":\"http://evil/\",\"x5c\":[\"MII\"]}",
         TWS_JWT_OK, ""},
        {"{\"alg\":\"none\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"None\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"nOnE\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\" none\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"none\\u0000\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS256\\u0000\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS256 \"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"hs256\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS\\u003256\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS384\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"RS256\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":256}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":null}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":[\"HS256\"]}", TWS_JWT_ALGORITHM, ""},
        {"{\"ALG\":\"HS256\"}", TWS_JWT_ALGORITHM, ""},
        {"{\"typ\":\"JWT\"}", TWS_JWT_ALGORITHM, ""},
        {"{}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS256\",\"crit\":[]}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"HS256\",\"crit\":null}", TWS_JWT_ALGORITHM, ""},
        {"{\"alg\":\"none\",\"alg\":\"HS256\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"alg\":\"none\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"none\"", TWS_JWT_MALFORMED, ""}, /* broken is said before unacceptable */
        {"{\"alg\":\"HS256\"}}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":}", TWS_JWT_MALFORMED, ""},
        {"[{\"alg\":\"HS256\"}]", TWS_JWT_MALFORMED, ""},
        {"\"HS256\"", TWS_JWT_MALFORMED, ""},
        {"\xef\xbb\xbf{\"alg\":\"HS256\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"x\":\"\xff\"}", TWS_JWT_MALFORMED, ""},
        {"", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"kid\":\"k1\"}", TWS_JWT_OK, "k1"},
        {"{\"kid\":\"../../etc/passwd\",\"alg\":\"HS256\"}", TWS_JWT_OK, "../../etc/passwd"},
        {"{\"alg\":\"HS256\",\"kid\":\"a\\/b\\u00e9\"}", TWS_JWT_OK, "a/b\xc3\xa9"},
        {"{\"alg\":\"HS256\",\"kid\":\"\"}", TWS_JWT_OK, ""},
        {"{\"alg\":\"HS256\",\"kid\":1}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"kid\":null}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"b\"}", TWS_JWT_MALFORMED, ""},
        {"{\"alg\":\"none\",\"kid\":1}", TWS_JWT_ALGORITHM, ""},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_token t;
        tws_jwt jwt;
        tws_jwt_claims claims;
        make(&t, row[i].header, "{\"sub\":\"2\",\"exp\":1700000060}");
        test_row(row[i].header, i);
        CHECK_EQ(check_token(tws_str_of(t.text, t.len), NULL, NOW, &jwt, &claims), row[i].error);
        CHECK_STR(jwt.kid, row[i].kid);
        if (row[i].error == TWS_JWT_OK) {
            CHECK_STR(jwt.payload, "{\"sub\":\"2\",\"exp\":1700000060}");
            CHECK_STR(claims.subject, "2");
        }
    }
}

TEST("a NUL in the header's own bytes is malformed")
{
    static const char header[] = "{\"alg\":\"HS256\0\"}";
    test_token t;
    make_of(&t, tws_str_of(header, sizeof header - 1), tws_str_c("{}"));
    CHECK_EQ(check_made(&t), TWS_JWT_MALFORMED);
}

TEST("a kid of 128 bytes is read, a longer one is nobody's, written plainly or escaped")
{
    static const struct {
        const char *piece;
        size_t times;
        tws_jwt_error error;
        size_t len;
    } row[] = {
        {"k", 128, TWS_JWT_OK, 128},      {"k", 129, TWS_JWT_KEY, 0},
        {"\\/", 128, TWS_JWT_OK, 128},    {"\\/", 129, TWS_JWT_KEY, 0},
        {"\\u0041", 128, TWS_JWT_OK, 128}, {"\\u0041", 900, TWS_JWT_KEY, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char header[2 * TWS_JWT_MAX] = "{\"alg\":\"HS256\",\"kid\":\"";
        test_token t;
        tws_jwt jwt;
        tws_jwt_claims claims;
        for (size_t n = 0; n < row[i].times; n++) {
            strcat(header, row[i].piece);
        }
        strcat(header, "\"}");
        make(&t, header, "{\"sub\":\"2\",\"exp\":1700000060}");
        test_row(row[i].piece, i);
        CHECK_EQ(check_token(tws_str_of(t.text, t.len), NULL, NOW, &jwt, &claims), row[i].error);
        CHECK_EQ(jwt.kid.len, row[i].len);
        if (row[i].error == TWS_JWT_OK) {
            CHECK_STR(claims.subject, "2");
        }
    }
}

TEST("what is not three base64url parts is malformed, a signature of another length wrong")
{
    /* $ is a good token, h, p and s its parts, S its signature's first 42 characters */
    static const struct {
        const char *form;
        tws_jwt_error error;
    } row[] = {
        {"$", TWS_JWT_OK},
        {"", TWS_JWT_MISSING},
        {".", TWS_JWT_MALFORMED},
        {"..", TWS_JWT_MALFORMED},
        {"...", TWS_JWT_MALFORMED},
        {"x", TWS_JWT_MALFORMED},
        {"h", TWS_JWT_MALFORMED},
        {"h.", TWS_JWT_MALFORMED},
        {"h.p", TWS_JWT_MALFORMED},
        {"h.s", TWS_JWT_MALFORMED},
        {".p.s", TWS_JWT_MALFORMED},
        {"p.h.s", TWS_JWT_ALGORITHM}, /* the payload is an object too, without alg */
        {"h..s", TWS_JWT_SIGNATURE},
        {"h.p.", TWS_JWT_SIGNATURE},
        {"h.p.s.", TWS_JWT_MALFORMED},
        {"h.p.s.x", TWS_JWT_MALFORMED},
        {"h.p.s.x.y", TWS_JWT_MALFORMED},
        {"h.p..s", TWS_JWT_MALFORMED},
        {"h.p.s=", TWS_JWT_MALFORMED},
        {"h.p.s==", TWS_JWT_MALFORMED},
        {"h.p.s%3D", TWS_JWT_MALFORMED},
        {"h=.p.s", TWS_JWT_MALFORMED},
        {"h.p=.s", TWS_JWT_MALFORMED},
        {"h.p.S", TWS_JWT_MALFORMED},  /* 42 characters: tail bits are left over */
        {"h.p.AAAA", TWS_JWT_SIGNATURE},
        {"h.p.sAAAA", TWS_JWT_SIGNATURE},
        {"h.p.ssAA", TWS_JWT_SIGNATURE},
        {"h.p.SA", TWS_JWT_SIGNATURE}, /* the last character replaced */
        {"h.p.SB", TWS_JWT_MALFORMED}, /* by one whose tail bits are not zero */
        {"h.p.S+", TWS_JWT_MALFORMED},
        {"h.p.S/", TWS_JWT_MALFORMED},
        {"h.p+.s", TWS_JWT_MALFORMED},
        {"h .p.s", TWS_JWT_MALFORMED},
        {" h.p.s", TWS_JWT_MALFORMED},
        {"h.p.s\n", TWS_JWT_MALFORMED},
        {"Bearer h.p.s", TWS_JWT_MALFORMED},
        {"h.p.s,h.p.s", TWS_JWT_MALFORMED},
        {"{\"payload\":\"p\",\"signature\":\"s\"}", TWS_JWT_MALFORMED}, /* JWS JSON serialization */
    };
    test_token good;
    make_good(&good);
    tws_str whole = tws_str_of(good.text, good.len);
    size_t header = tws_str_find(whole, '.');
    size_t payload = tws_str_find(tws_str_from(whole, header + 1), '.');
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_token t;
        t.len = 0;
        for (const char *c = row[i].form; *c != '\0'; c++) {
            bool spelled = c[0] == 's' && strstr(row[i].form, "signature") != NULL && c[1] != '"';
            switch (spelled ? 0 : *c) {
            case '$': put(&t, good.text, good.len); break;
            case 'h': put(&t, good.text, header); break;
            case 'p': put(&t, good.text + header + 1, payload); break;
            case 's': put(&t, good.text + good.len - 43, 43); break;
            case 'S': put(&t, good.text + good.len - 43, 42); break;
            default: put(&t, c, 1);
            }
        }
        test_row(row[i].form, i);
        CHECK_EQ(check_made(&t), row[i].error);
    }
}

/* What another library would read as the same header or payload, signed as it stands: the signature
 * holds, and it is no token all the same. RFC 7515 2: base64url without padding, white space or
 * other characters; RFC 4648 3.5: the bits that are left over are zero. */
TEST("a part that is not base64url in its one spelling is refused though the signature over it holds")
{
    static const char header[] = "eyJhbGciOiJIUzI1NiJ9";
    static const char payload[] = "eyJzdWIiOiIyMiIsImV4cCI6MTcwMDAwMDA2MH0";
    static const struct {
        const char *before, *inside, *behind; /* put around and into one part */
        tws_jwt_error error;
    } row[] = {
        {"", "", "", TWS_JWT_OK},           {"", "", "=", TWS_JWT_MALFORMED},
        {"", "", "==", TWS_JWT_MALFORMED},  {" ", "", "", TWS_JWT_MALFORMED},
        {"", " ", "", TWS_JWT_MALFORMED},   {"", "", " ", TWS_JWT_MALFORMED},
        {"", "\n", "", TWS_JWT_MALFORMED},  {"", "\r\n", "", TWS_JWT_MALFORMED},
        {"", "?", "", TWS_JWT_MALFORMED},   {"?", "", "", TWS_JWT_MALFORMED},
        {"", "", "?", TWS_JWT_MALFORMED},   {"", "????", "", TWS_JWT_MALFORMED},
        {"", "\xc3\xa9", "", TWS_JWT_MALFORMED}, {"", "%20", "", TWS_JWT_MALFORMED},
    };
    tws_hmac_key key = test_key();
    for (size_t i = 0; i < 2 * sizeof row / sizeof *row; i++) {
        uint8_t mac[TWS_SHA256_BYTES];
        test_token t;
        t.len = 0;
        for (size_t part = 0; part < 2; part++) {
            const char *text = part == 0 ? header : payload;
            bool spoilt = i % 2 == part;
            put(&t, row[i / 2].before, spoilt ? strlen(row[i / 2].before) : 0);
            put(&t, text, 8);
            put(&t, row[i / 2].inside, spoilt ? strlen(row[i / 2].inside) : 0);
            put(&t, text + 8, strlen(text) - 8);
            put(&t, row[i / 2].behind, spoilt ? strlen(row[i / 2].behind) : 0);
            put(&t, ".", part == 0 ? 1 : 0);
        }
        tws_hmac_sha256(&key, t.text, t.len, mac);
        put(&t, ".", 1);
        put_base64(&t, mac, sizeof mac);
        test_row(i % 2 == 0 ? "header" : "payload", i / 2);
        CHECK_EQ(check_made(&t), row[i / 2].error);
    }
    for (const char *last = "0123"; *last != '\0'; last++) { /* of ...MH0 two bits mean nothing */
        uint8_t mac[TWS_SHA256_BYTES];
        test_token t;
        t.len = 0;
        put(&t, header, sizeof header - 1);
        put(&t, ".", 1);
        put(&t, payload, sizeof payload - 2);
        put(&t, last, 1);
        tws_hmac_sha256(&key, t.text, t.len, mac);
        put(&t, ".", 1);
        put_base64(&t, mac, sizeof mac);
        CHECK_EQ(check_made(&t), *last == '0' ? TWS_JWT_OK : TWS_JWT_MALFORMED);
    }
}

TEST("a token cut at any byte is refused")
{
    test_token t;
    make_good(&t);
    for (size_t len = 0; len < t.len; len++) {
        tws_jwt_error error = check_text(t.text, len);
        tws_jwt_error wanted = len == 0 ? TWS_JWT_MISSING : TWS_JWT_MALFORMED;
        if (error != TWS_JWT_SIGNATURE || len < t.len - 43) {
            CHECK_EQ(error, wanted); /* within the signature a cut may be at whole bytes */
        }
    }
    CHECK_EQ(check_made(&t), TWS_JWT_OK);
}

TEST("a token with any bit of any character changed, or a byte put in anywhere, is refused")
{
    static const char extra[] = {'\0', ' ', '\n', '=', '.', 'A', '%'};
    test_token good;
    make_good(&good);
    for (size_t at = 0; at < good.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            test_token t = good;
            t.text[at] = (char)(t.text[at] ^ (1 << bit));
            CHECK(check_made(&t) != TWS_JWT_OK);
        }
    }
    for (size_t at = 0; at <= good.len; at++) {
        for (size_t i = 0; i < sizeof extra; i++) {
            test_token t;
            t.len = 0;
            put(&t, good.text, at);
            put(&t, &extra[i], 1);
            put(&t, good.text + at, good.len - at);
            CHECK(check_made(&t) != TWS_JWT_OK);
        }
    }
}

TEST("every bit of the signature counts")
{
    test_token good;
    uint8_t mac[TWS_SHA256_BYTES];
    size_t len;
    make_good(&good);
    tws_str text = tws_str_of(good.text + good.len - 43, 43);
    CHECK_EQ(tws_base64url_decode(text, mac, sizeof mac, &len), TWS_OK);
    for (unsigned bit = 0; bit < 8 * sizeof mac; bit++) {
        test_token t = good;
        t.len -= 43;
        mac[bit / 8] = (uint8_t)(mac[bit / 8] ^ (1u << (bit % 8)));
        put_base64(&t, mac, sizeof mac);
        mac[bit / 8] = (uint8_t)(mac[bit / 8] ^ (1u << (bit % 8)));
        CHECK_EQ(check_made(&t), TWS_JWT_SIGNATURE);
    }
}

TEST("another key does not verify it")
{
    test_token t;
    tws_jwt jwt;
    tws_hmac_key key;
    char scratch[500];
    make_good(&t);
    CHECK_EQ(tws_jwt_open(&jwt, tws_str_of(t.text, t.len), scratch, sizeof scratch), TWS_JWT_OK);
    tws_hmac_key_init(&key, "another secret of thirty-two bytes", 34);
    CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_SIGNATURE);
    tws_hmac_key_init(&key, test_secret, sizeof test_secret - 2);
    CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_SIGNATURE);
}

TEST("the payload is not looked at before the signature holds")
{
    test_token t;
    tws_jwt jwt;
    tws_hmac_key key = test_key();
    char scratch[500];
    make(&t, "{\"alg\":\"HS256\"}", "not JSON");
    CHECK_EQ(tws_jwt_open(&jwt, tws_str_of(t.text, t.len), scratch, sizeof scratch), TWS_JWT_OK);
    CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_OK);
    jwt.signature[0] ^= 1;
    CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_SIGNATURE);
    CHECK_EQ(check_made(&t), TWS_JWT_MALFORMED);
}

TEST("a token of 8,192 bytes is looked at, a longer one is not, even of 10 MB")
{
    char payload[TWS_JWT_MAX];
    char *large = (char *)malloc(10 << 20);
    test_token t;
    memset(payload, ' ', sizeof payload);
    memcpy(payload, "{\"sub\":\"2\",\"exp\":1700000060}", 28);
    make_of(&t, tws_str_c("{\"alg\":\"HS256\"}"), tws_str_of(payload, 6095));
    CHECK_EQ(t.len, TWS_JWT_MAX);
    CHECK_EQ(check_made(&t), TWS_JWT_OK);
    make_of(&t, tws_str_c("{\"alg\":\"HS256\"}"), tws_str_of(payload, 6096));
    CHECK_EQ(t.len, TWS_JWT_MAX + 1);
    CHECK_EQ(check_made(&t), TWS_JWT_MALFORMED);
    memset(large, 'A', 10 << 20);
    make_good(&t);
    memcpy(large, t.text, t.len);
    CHECK_EQ(check_text(large, 10 << 20), TWS_JWT_MALFORMED);
    free(large);
}

TEST("depth is bounded in header and payload")
{
    char json[4000];
    test_token t;
    for (int in_header = 0; in_header < 2; in_header++) {
        for (size_t depth = 127; depth <= 1500; depth += depth == 127 ? 1 : 686) {
            const char *begin = in_header ? "{\"alg\":\"HS256\",\"x\":"
                                          : "{\"sub\":\"2\",\"exp\":1700000060,\"x\":";
            strcpy(json, begin);
            memset(json + strlen(begin), '[', depth);
            memset(json + strlen(begin) + depth, ']', depth);
            strcpy(json + strlen(begin) + 2 * depth, "}");
            make(&t, in_header ? json : "{\"alg\":\"HS256\"}",
                 in_header ? "{\"sub\":\"2\",\"exp\":1700000060}" : json);
            CHECK_EQ(check_made(&t), depth < TWS_JSON_MAX_DEPTH ? TWS_JWT_OK : TWS_JWT_MALFORMED);
        }
    }
}

/* -- claims -- */

typedef struct test_claims_row {
    const char *payload;
    tws_jwt_error error;
    const char *subject; /* NULL: refused */
    const char *scope;
} test_claims_row;

static void check_claims(const test_claims_row *row, size_t rows, const tws_jwt_policy *policy)
{
    for (size_t i = 0; i < rows; i++) {
        test_token t;
        tws_jwt jwt;
        tws_jwt_claims claims;
        make(&t, "{\"alg\":\"HS256\"}", row[i].payload);
        test_row(row[i].payload, i);
        CHECK_EQ(check_token(tws_str_of(t.text, t.len), policy, NOW, &jwt, &claims), row[i].error);
        if (row[i].subject != NULL) {
            CHECK_STR(claims.subject, row[i].subject);
            CHECK_STR(claims.scope, row[i].scope != NULL ? row[i].scope : "");
        }
    }
}

#define CHECK_CLAIMS(row, policy) check_claims((row), sizeof(row) / sizeof *(row), (policy))
#define LATER ",\"exp\":1700000060}"

TEST("the subject is a string or an integer")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\"" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":2" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":0" LATER, TWS_JWT_OK, "0", NULL},
        {"{\"sub\":-0" LATER, TWS_JWT_OK, "0", NULL},
        {"{\"sub\":-5" LATER, TWS_JWT_OK, "-5", NULL},
        {"{\"sub\":9223372036854775807" LATER, TWS_JWT_OK, "9223372036854775807", NULL},
        {"{\"sub\":-9223372036854775808" LATER, TWS_JWT_OK, "-9223372036854775808", NULL},
        {"{\"sub\":9223372036854775808" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":18446744073709551616" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":2.0" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":2e0" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":null" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":true" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":[\"2\"]" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":{\"sub\":\"2\"}" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\\u0000\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"x\":{\"sub\":\"2\"}" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"Sub\":\"2\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"exp\":1700000060}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"a b\\u00e9\\/\\ud83d\\ude00\"" LATER, TWS_JWT_OK,
         "a b\xc3\xa9/\xf0\x9f\x98\x80", NULL},
        {"{\"\\u0073ub\":\"\\u0032\"" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"01\"" LATER, TWS_JWT_OK, "01", NULL},
    };
    CHECK_CLAIMS(row, NULL);
}

TEST("the scope is a string, and empty where there is none")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\",\"scope\":\"publish admin\"" LATER, TWS_JWT_OK, "2", "publish admin"},
        {"{\"sub\":\"2\",\"scope\":\"\"" LATER, TWS_JWT_OK, "2", ""},
        {"{\"sub\":\"\\u0032\",\"scope\":\"\\u0070ublish\"" LATER, TWS_JWT_OK, "2", "publish"},
        {"{\"sub\":2,\"scope\":\"\\u0070ublish\"" LATER, TWS_JWT_OK, "2", "publish"},
        {"{\"sub\":\"2\",\"scope\":[\"publish\"]" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"scope\":null" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"scope\":1" LATER, TWS_JWT_CLAIMS, NULL, NULL},
    };
    CHECK_CLAIMS(row, NULL);
}

TEST("a payload that is no object or has a claim twice is malformed")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"1\",\"sub\":\"2\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"sub\":\"2\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"1\",\"\\u0073ub\":\"2\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1700000060" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"nbf\":1,\"nbf\":2" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"scope\":\"\",\"scope\":\"admin\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"x\":1,\"x\":2" LATER, TWS_JWT_OK, "2", NULL}, /* nobody reads x */
        {"", TWS_JWT_MALFORMED, NULL, NULL},
        {"2", TWS_JWT_MALFORMED, NULL, NULL},
        {"null", TWS_JWT_MALFORMED, NULL, NULL},
        {"[]", TWS_JWT_MALFORMED, NULL, NULL},
        {"\"sub\"", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1700000060", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\"" LATER "x", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":01700000060}", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":+1700000060}", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":0x6553f100}", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":NaN}", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":Infinity}", TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"\xff\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"\\ud800\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
    };
    CHECK_CLAIMS(row, NULL);
}

TEST("a NumericDate is a number of seconds, with or without a fraction")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"exp\":1700000060.999}", TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"exp\":9223372036854775807}", TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"exp\":9223372036854775808}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":18446744073709551616}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1e999}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1.7e9}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":2E9}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":\"1700000060\"}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":true}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":null}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":[1700000060]}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":{}}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\"}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":-1}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":-0.5}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":-9223372036854775808}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":0}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"2\",\"nbf\":-9223372036854775808" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"nbf\":9223372036854775807" LATER, TWS_JWT_NOT_YET_VALID, NULL, NULL},
        {"{\"sub\":\"2\",\"nbf\":\"1\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"nbf\":1e999" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iat\":1699999999.5" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"iat\":9223372036854775807" LATER, TWS_JWT_NOT_YET_VALID, NULL, NULL},
        {"{\"sub\":\"2\",\"iat\":{}" LATER, TWS_JWT_CLAIMS, NULL, NULL},
    };
    CHECK_CLAIMS(row, NULL);
}

TEST("the leeway moves every edge, to the second")
{
    static const struct {
        uint32_t leeway_s;
        int64_t by; /* what it comes to */
    } row[] = {{0, 30}, {TWS_OFF, 0}, {1, 1}, {90, 90}, {TWS_OFF - 1, 4294967294}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        static const int64_t at = INT64_C(9000000000);
        test_token t[3];
        tws_jwt jwt;
        tws_jwt_claims claims;
        tws_jwt_policy policy;
        memset(&policy, 0, sizeof policy);
        policy.leeway_s = row[i].leeway_s;
        policy.allow_no_expiry = true;
        make(&t[0], "{\"alg\":\"HS256\"}", "{\"sub\":1,\"exp\":9000000000}");
        make(&t[1], "{\"alg\":\"HS256\"}", "{\"sub\":1,\"nbf\":9000000000}");
        make(&t[2], "{\"alg\":\"HS256\"}", "{\"sub\":1,\"iat\":9000000000}");
        for (size_t n = 0; n < 3; n++) {
            tws_str text = tws_str_of(t[n].text, t[n].len);
            /* the last good second of exp, the first good one of nbf and iat */
            int64_t edge = n == 0 ? at + row[i].by - 1 : at - row[i].by;
            int64_t beyond = n == 0 ? edge + 1 : edge - 1;
            test_row(n == 0 ? "exp" : n == 1 ? "nbf" : "iat", i);
            CHECK_EQ(check_token(text, &policy, edge, &jwt, &claims), TWS_JWT_OK);
            CHECK_EQ(claims.expires_s, n == 0 ? at : INT64_MAX);
            CHECK_EQ(check_token(text, &policy, beyond, &jwt, &claims),
                     n == 0 ? TWS_JWT_EXPIRED : TWS_JWT_NOT_YET_VALID);
        }
    }
}

TEST("a token without exp is good only where the policy says so")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\"}", TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"exp\":1}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":null}", TWS_JWT_CLAIMS, NULL, NULL},
    };
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    policy.allow_no_expiry = true;
    CHECK_CLAIMS(row, &policy);
}

TEST("issuer and audience are checked when they are configured")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":\"me\"" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"iss\":\"https:\\/\\/a\\/\",\"aud\":\"\\u006de\"" LATER, TWS_JWT_OK,
         "2", NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":[\"me\"]" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":[1,[\"x\"],\"you\",\"m\\u0065\"]" LATER,
         TWS_JWT_OK, "2", NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":[[\"me\"]]" LATER, TWS_JWT_CLAIMS,
         NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":[{\"me\":\"me\"}]" LATER, TWS_JWT_CLAIMS,
         NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":[]" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":{\"me\":1}" LATER, TWS_JWT_CLAIMS, NULL,
         NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":\"meh\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":\"m\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":\"ME\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\",\"aud\":null" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a/\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":\"https://a\",\"aud\":\"me\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"iss\":[\"https://a/\"],\"aud\":\"me\"" LATER, TWS_JWT_CLAIMS, NULL,
         NULL},
        {"{\"sub\":\"2\",\"iss\":1,\"aud\":\"me\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"aud\":\"me\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
    };
    static const test_claims_row unchecked[] = {
        {"{\"sub\":\"2\",\"iss\":\"anybody\",\"aud\":[\"others\"]" LATER, TWS_JWT_OK, "2", NULL},
    };
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    CHECK_CLAIMS(unchecked, &policy);
    policy.issuer = "https://a/";
    policy.audience = "me";
    CHECK_CLAIMS(row, &policy);
}

TEST("the subject may stand in another claim, also in one that is read anyway")
{
    static const test_claims_row row[] = {
        {"{\"user_id\":2,\"sub\":\"x\"" LATER, TWS_JWT_OK, "2", NULL},
        {"{\"user_id\":\"2\",\"user_id\":\"3\"" LATER, TWS_JWT_MALFORMED, NULL, NULL},
        {"{\"sub\":\"2\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
    };
    static const test_claims_row issuer[] = {
        {"{\"iss\":\"joe\"" LATER, TWS_JWT_OK, "joe", NULL},
        {"{\"iss\":\"jim\"" LATER, TWS_JWT_CLAIMS, NULL, NULL},
    };
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    policy.subject_claim = "user_id";
    CHECK_CLAIMS(row, &policy);
    policy.subject_claim = "iss";
    policy.issuer = "joe";
    CHECK_CLAIMS(issuer, &policy);
}

TEST("expired is said only of a token that is right otherwise")
{
    static const test_claims_row row[] = {
        {"{\"sub\":\"2\",\"exp\":1}", TWS_JWT_EXPIRED, NULL, NULL},
        {"{\"sub\":\"\",\"exp\":1}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1,\"nbf\":\"x\"}", TWS_JWT_CLAIMS, NULL, NULL},
        {"{\"sub\":\"2\",\"exp\":1,\"nbf\":1800000000}", TWS_JWT_EXPIRED, NULL, NULL},
    };
    CHECK_CLAIMS(row, NULL);
}

TEST("too little room for what is escaped refuses the token, and writes nothing beyond it")
{
    test_token t;
    tws_jwt jwt;
    tws_jwt_claims claims;
    char scratch[500];
    make(&t, "{\"alg\":\"HS256\"}", "{\"sub\":\"\\u0061bcdef\",\"scope\":\"\\u0061\"" LATER);
    CHECK_EQ(tws_jwt_open(&jwt, tws_str_of(t.text, t.len), scratch, sizeof scratch), TWS_JWT_OK);
    for (size_t cap = 0; cap < 12; cap++) {
        uint8_t *room = test_exact(scratch, cap);
        CHECK_EQ(tws_jwt_judge(&jwt, NULL, NOW, room, cap, &claims),
                 cap < 7 ? TWS_JWT_CLAIMS : TWS_JWT_OK);
    }
    CHECK_STR(claims.subject, "abcdef");
    CHECK_STR(claims.scope, "a");
}

/* -- making -- */

TEST("too little room for the parts themselves refuses the token, and writes nothing beyond it")
{
    test_token t;
    make_good(&t);
    size_t least = 0;
    for (size_t bytes = 0; bytes <= t.len; bytes++) {
        char scratch[512];
        tws_jwt jwt;
        memset(scratch, '#', sizeof scratch);
        const bool good =
            tws_jwt_open(&jwt, tws_str_of(t.text, t.len), scratch, bytes) == TWS_JWT_OK;
        least = good && least == 0 ? bytes : least;
        CHECK_EQ(good, least > 0);
        for (size_t at = bytes; at < sizeof scratch; at++) {
            CHECK(scratch[at] == '#');
        }
    }
    CHECK_EQ(least, 32 + strlen("{\"alg\":\"HS256\",\"typ\":\"JWT\"}{\"sub\":\"2\",\"exp\":1700000060}"));
}

TEST("what is signed opens, with any kid and payload")
{
    static const char long_kid[] =
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab<\"\\/";
    static const char *const kid[] = {"", "k", "2024-06", "a\"b\\c/d", "\x01\x02<", long_kid};
    static const char *const payload[] = {"", "{}", "{\"sub\":\"2\"}", "xyz"};
    tws_hmac_key key = test_key();
    CHECK_EQ(sizeof long_kid - 1, TWS_JWT_MAX_KID);
    for (size_t i = 0; i < sizeof kid / sizeof *kid; i++) {
        for (size_t n = 0; n < sizeof payload / sizeof *payload; n++) {
            char scratch[1000];
            tws_jwt jwt;
            tws_buf b;
            tws_buf_init(&b, NULL, 2000);
            tws_buf_c(&b, "token=");
            tws_jwt_sign(&b, &key, tws_str_c(kid[i]), tws_str_c(payload[n]));
            CHECK_EQ(b.status, TWS_OK);
            tws_str token = tws_str_from(tws_buf_view(&b), 6);
            CHECK_EQ(tws_jwt_open(&jwt, token, scratch, token.len), TWS_JWT_OK);
            CHECK_STR(jwt.kid, kid[i]);
            CHECK_STR(jwt.payload, payload[n]);
            CHECK_EQ(tws_jwt_verify(&jwt, &key), TWS_JWT_OK);
            tws_buf_free(&b);
        }
    }
}

TEST("signing gives the token that others give")
{
    /* made with openssl dgst -sha256 -hmac over the two parts */
    tws_hmac_key key = test_key();
    tws_buf b;
    char text[300];
    tws_buf_fixed(&b, text, sizeof text);
    tws_jwt_sign(&b, &key, tws_str_c(""), tws_str_c("{\"sub\":\"2\",\"exp\":1700000060}"));
    CHECK_STR(tws_buf_view(&b), "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
                                ".eyJzdWIiOiIyIiwiZXhwIjoxNzAwMDAwMDYwfQ"
                                ".azJaZL0Pvt3k2q9Pysohsoiro_6q6f3esJblJ0o85II");
}

TEST("signing without room leaves the buffer as it was, and says so")
{
    tws_hmac_key key = test_key();
    tws_allocator a = test_allocator();
    char text[200];
    tws_buf b;
    size_t whole = 36 + 1 + 6 + 1 + 43;
    for (size_t cap = 0; cap <= whole; cap++) {
        tws_buf_fixed(&b, text, cap);
        tws_jwt_sign(&b, &key, tws_str_c(""), tws_str_c("{ } "));
        CHECK_EQ(b.status, cap < whole ? TWS_ERR_LIMIT : TWS_OK);
        CHECK_EQ(b.len, cap < whole ? 0 : whole);
    }
    tws_buf_init(&b, &a, 1000);
    test_fail_at(1);
    tws_jwt_sign(&b, &key, tws_str_c(""), tws_str_c("{}"));
    CHECK_EQ(b.status, TWS_ERR_MEMORY);
    CHECK_EQ(b.len, 0);
    tws_buf_free(&b);
}

TEST("every error has its word and its sentence")
{
    static const struct {
        tws_jwt_error error;
        const char *word;
    } row[] = {
        {TWS_JWT_OK, "ok"},
        {TWS_JWT_MISSING, "token_missing"},
        {TWS_JWT_MALFORMED, "token_malformed"},
        {TWS_JWT_ALGORITHM, "token_malformed"},
        {TWS_JWT_KEY, "token_signature"},
        {TWS_JWT_SIGNATURE, "token_signature"},
        {TWS_JWT_EXPIRED, "token_expired"},
        {TWS_JWT_NOT_YET_VALID, "token_not_yet_valid"},
        {TWS_JWT_CLAIMS, "token_claims"},
        {(tws_jwt_error)15, "token_malformed"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        CHECK_STR(tws_str_c(tws_jwt_word(row[i].error)), row[i].word);
        CHECK(strlen(tws_jwt_text(row[i].error)) > 10);
    }
}
