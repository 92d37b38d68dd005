/* test_15_auth.c: where a token stands, who may verify it, what is remembered of it, and the
 * rules of users, scopes and origins. */
#include "test.h"

#define NOW 1700000000

static const char secret_a[] = "secret A: at least thirty-two bytes";
static const char secret_b[] = "secret B: at least thirty-two bytes";
static const uint8_t test_hash_key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/* -- requests -- */

/* A request line's target and some fields, parsed. `|` ends a field. */
static tws_http_request *request(const char *target, const char *fields)
{
    static tws_http_request r;
    static char text[40000];
    size_t len =
        (size_t)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: app.example\r\n", target);
    for (; *fields != '\0'; fields++) {
        const char *form = *fields == '|' ? "\r\n" : "%c";
        len += (size_t)snprintf(text + len, sizeof text - len, form, *fields);
    }
    len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
    tws_http_limits limits;
    limits.max_head_bytes = sizeof text;
    CHECK_EQ(tws_http_parse(&r, text, len, NULL, &limits), TWS_HTTP_DONE);
    return &r;
}

TEST("a token is found in every place where it may stand, in their order")
{
    static const struct {
        const char *target, *fields, *cookie;
        tws_auth_source source;
        const char *token;
    } row[] = {
        {"/", "", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization: Bearer a.b.c|", NULL, TWS_AUTH_HEADER, "a.b.c"},
        {"/", "authorization: bearer a.b.c|", NULL, TWS_AUTH_HEADER, "a.b.c"},
        {"/", "AUTHORIZATION: BEARER   a.b.c  |", NULL, TWS_AUTH_HEADER, "a.b.c"},
        {"/", "Authorization: Bearer a b|", NULL, TWS_AUTH_HEADER, "a b"},
        {"/", "Authorization: Bearer|", NULL, TWS_AUTH_HEADER, ""},
        {"/", "Authorization: Bearer |", NULL, TWS_AUTH_HEADER, ""},
        {"/", "Authorization: Bearera.b.c|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization: Beare a.b.c|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization: a.b.c|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization:|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization: Basic dTpw|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Proxy-Authorization: Bearer a.b.c|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Authorization: Bearer a|Authorization: Bearer b|", NULL, TWS_AUTH_HEADER, ""},
        {"/", "Authorization: Bearer a|Authorization: Basic dTpw|", NULL, TWS_AUTH_HEADER, ""},
        {"/?token=a.b.c", "", NULL, TWS_AUTH_QUERY, "a.b.c"},
        {"/?x=1&token=a.b.c&y=2", "", NULL, TWS_AUTH_QUERY, "a.b.c"},
        {"/?token=a%2Eb", "", NULL, TWS_AUTH_QUERY, "a%2Eb"},
        {"/?token=", "", NULL, TWS_AUTH_QUERY, ""},
        {"/?token", "", NULL, TWS_AUTH_QUERY, ""},
        {"/?tokens=a&xtoken=b&Token=c", "", NULL, TWS_AUTH_NONE, ""},
        {"/?token=a&token=b", "", NULL, TWS_AUTH_QUERY, ""},
        {"/?token=a&x=1&token=a", "", NULL, TWS_AUTH_QUERY, ""},
        {"/?token=&token=b", "", NULL, TWS_AUTH_QUERY, ""},
        {"/", "Sec-WebSocket-Protocol: taskws.v1, bearer.a.b.c|", NULL, TWS_AUTH_SUBPROTOCOL,
         "a.b.c"},
        {"/", "sec-websocket-protocol:bearer.a.b.c,taskws.v1|", NULL, TWS_AUTH_SUBPROTOCOL,
         "a.b.c"},
        {"/", "Sec-WebSocket-Protocol: taskws.v1|Sec-WebSocket-Protocol: bearer.a|", NULL,
         TWS_AUTH_SUBPROTOCOL, "a"},
        {"/", "Sec-WebSocket-Protocol: bearer.a, bearer.b|", NULL, TWS_AUTH_SUBPROTOCOL, ""},
        {"/", "Sec-WebSocket-Protocol: bearer.a|Sec-WebSocket-Protocol: bearer.a|", NULL,
         TWS_AUTH_SUBPROTOCOL, ""},
        {"/", "Sec-WebSocket-Protocol: bearer.|", NULL, TWS_AUTH_SUBPROTOCOL, ""},
        {"/", "Sec-WebSocket-Protocol: bearer, Bearer.a, x.bearer.a, ,|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Cookie: session=a.b.c|", NULL, TWS_AUTH_NONE, ""},
        {"/", "Cookie: x=1; session=a.b.c; y=2|", "session", TWS_AUTH_COOKIE, "a.b.c"},
        {"/", "Cookie: session=\"a.b.c\"|", "session", TWS_AUTH_COOKIE, "a.b.c"},
        {"/", "Cookie: sessions=a.b.c|", "session", TWS_AUTH_NONE, ""},
        {"/?token=q", "Authorization: Bearer h|Sec-WebSocket-Protocol: bearer.s|Cookie: c=c|", "c",
         TWS_AUTH_HEADER, "h"},
        {"/?token=q", "Authorization: Basic h|Sec-WebSocket-Protocol: bearer.s|Cookie: c=c|", "c",
         TWS_AUTH_QUERY, "q"},
        {"/", "Sec-WebSocket-Protocol: bearer.s|Cookie: c=c|", "c", TWS_AUTH_SUBPROTOCOL, "s"},
        {"/", "Sec-WebSocket-Protocol: taskws.v1|Cookie: c=c|", "c", TWS_AUTH_COOKIE, "c"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_str token;
        test_row(row[i].fields[0] != '\0' ? row[i].fields : row[i].target, i);
        tws_http_request *r = request(row[i].target, row[i].fields);
        CHECK_EQ(tws_auth_find(r, row[i].cookie, &token), row[i].source);
        CHECK_STR(token, row[i].token);
    }
}

TEST("a list of subprotocols with 32,000 spaces is read once and holds no token")
{
    static char fields[33000] = "Sec-WebSocket-Protocol: b";
    tws_str token;
    size_t len = strlen(fields);
    memset(fields + len, ' ', 32000);
    strcpy(fields + len + 32000, "x|");
    CHECK_EQ(tws_auth_find(request("/", fields), NULL, &token), TWS_AUTH_NONE);
    memcpy(fields + len - 1, ", bearer.", 9);
    strcpy(fields + len + 32000, ",x|");
    CHECK_EQ(tws_auth_find(request("/", fields), NULL, &token), TWS_AUTH_SUBPROTOCOL);
    CHECK_EQ(token.len, 0);
}

/* -- tokens and rings -- */

typedef struct test_token {
    char text[2 * TWS_JWT_MAX];
    tws_buf b;
} test_token;

static tws_str sign(test_token *t, const char *secret, const char *kid, const char *payload)
{
    tws_hmac_key key;
    tws_hmac_key_init(&key, secret, strlen(secret));
    tws_buf_fixed(&t->b, t->text, sizeof t->text);
    tws_jwt_sign(&t->b, &key, tws_str_c(kid), tws_str_c(payload));
    CHECK_EQ(t->b.status, TWS_OK);
    tws_str made = tws_buf_view(&t->b);
    return tws_str_of((char *)test_exact(made.ptr, made.len), made.len);
}

static tws_str sign_a(test_token *t, const char *payload)
{
    return sign(t, secret_a, "", payload);
}

/* A token of user n, good for a minute. */
static tws_str sign_user(test_token *t, unsigned n)
{
    char payload[100];
    snprintf(payload, sizeof payload, "{\"sub\":\"user%u\",\"exp\":%d}", n, NOW + 60);
    return sign_a(t, payload);
}

static tws_auth_key key_of(const char *kid, const char *secret, int64_t until_s)
{
    tws_auth_key key;
    key.kid = kid;
    key.secret = secret;
    key.secret_len = strlen(secret);
    key.until_s = until_s;
    return key;
}

static tws_auth_ring *ring_of(const tws_allocator *a, const char *secret)
{
    tws_auth_key key = key_of(NULL, secret, 0);
    const char *why;
    tws_auth_ring *ring;
    CHECK_EQ(tws_auth_ring_create(&ring, a, &key, 1, false, &why), TWS_OK);
    CHECK(why == NULL);
    return ring;
}

static tws_jwt_error verify(tws_auth_cache *cache, tws_auth_ring *ring, tws_str token,
                            int64_t now_s)
{
    tws_identity who;
    return tws_auth_verify(cache, ring, NULL, token, now_s, &who);
}

TEST("the kid chooses the key, and its deadline ends it")
{
    static const struct {
        const char *secret, *kid;
        int64_t now_s;
        /* in rings of a, b and a default; of a and b; of the default */
        tws_jwt_error with_default, without, single;
    } row[] = {
        {secret_a, "a", NOW, TWS_JWT_OK, TWS_JWT_OK, TWS_JWT_SIGNATURE},
        {secret_b, "b", NOW, TWS_JWT_OK, TWS_JWT_OK, TWS_JWT_OK},
        {secret_b, "b", NOW + 10, TWS_JWT_OK, TWS_JWT_OK, TWS_JWT_OK},
        {secret_b, "b", NOW + 11, TWS_JWT_KEY, TWS_JWT_KEY, TWS_JWT_OK},
        {secret_b, "a", NOW, TWS_JWT_SIGNATURE, TWS_JWT_SIGNATURE, TWS_JWT_OK},
        {secret_a, "b", NOW, TWS_JWT_SIGNATURE, TWS_JWT_SIGNATURE, TWS_JWT_SIGNATURE},
        {secret_b, "", NOW, TWS_JWT_OK, TWS_JWT_KEY, TWS_JWT_OK},
        {secret_a, "", NOW, TWS_JWT_SIGNATURE, TWS_JWT_KEY, TWS_JWT_SIGNATURE},
        {secret_b, "c", NOW, TWS_JWT_KEY, TWS_JWT_KEY, TWS_JWT_OK},
        {secret_a, "A", NOW, TWS_JWT_KEY, TWS_JWT_KEY, TWS_JWT_SIGNATURE},
        {secret_a, "../", NOW, TWS_JWT_KEY, TWS_JWT_KEY, TWS_JWT_SIGNATURE},
    };
    const tws_auth_key keys[4] = {key_of("", secret_b, 0), key_of("a", secret_a, 0),
                                  key_of("b", secret_b, NOW + 10), key_of(NULL, secret_b, 0)};
    tws_allocator a = test_allocator();
    tws_auth_ring *with_default;
    tws_auth_ring *without;
    tws_auth_ring *single;
    const char *why;
    tws_auth_ring *default_last;
    CHECK_EQ(tws_auth_ring_create(&with_default, &a, keys, 3, false, &why), TWS_OK);
    CHECK_EQ(tws_auth_ring_create(&default_last, &a, keys + 1, 3, false, &why), TWS_OK);
    CHECK_EQ(tws_auth_ring_create(&without, &a, keys + 1, 2, false, &why), TWS_OK);
    CHECK_EQ(tws_auth_ring_create(&single, &a, keys, 1, false, &why), TWS_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_token t;
        tws_str token = sign(&t, row[i].secret, row[i].kid, "{\"sub\":\"2\",\"exp\":1700000060}");
        test_row(row[i].kid, i);
        CHECK_EQ(verify(NULL, with_default, token, row[i].now_s), row[i].with_default);
        CHECK_EQ(verify(NULL, default_last, token, row[i].now_s), row[i].with_default);
        CHECK_EQ(verify(NULL, without, token, row[i].now_s), row[i].without);
        CHECK_EQ(verify(NULL, single, token, row[i].now_s), row[i].single);
    }
    tws_auth_ring_unref(with_default);
    tws_auth_ring_unref(default_last);
    tws_auth_ring_unref(without);
    tws_auth_ring_unref(single);
}

TEST("a single key with a kid verifies only tokens with that kid")
{
    tws_auth_key key = key_of("a", secret_a, 0);
    tws_auth_ring *ring;
    test_token t;
    const char *why;
    CHECK_EQ(tws_auth_ring_create(&ring, NULL, &key, 1, false, &why), TWS_OK);
    CHECK_EQ(verify(NULL, ring, sign(&t, secret_a, "a", "{\"sub\":\"2\",\"exp\":1700000060}"), NOW),
             TWS_JWT_OK);
    CHECK_EQ(verify(NULL, ring, sign(&t, secret_a, "b", "{\"sub\":\"2\",\"exp\":1700000060}"), NOW),
             TWS_JWT_KEY);
    CHECK_EQ(verify(NULL, ring, sign(&t, secret_a, "", "{\"sub\":\"2\",\"exp\":1700000060}"), NOW),
             TWS_JWT_KEY);
    tws_auth_ring_unref(ring);
}

TEST("a ring that would be weak or ambiguous is refused with the reason")
{
    static char long_kid[TWS_JWT_MAX_KID + 2];
    memset(long_kid, 'k', TWS_JWT_MAX_KID + 1);
    const struct {
        tws_auth_key key[2];
        size_t count;
        bool allow_short;
        const char *why; /* NULL: made */
    } row[] = {
        {{key_of(NULL, secret_a, 0), key_of(NULL, secret_a, 0)}, 0, false, "there is no key"},
        {{key_of(NULL, "", 0), key_of("b", secret_b, 0)}, 2, false, "a key is empty"},
        {{key_of("b", secret_b, 0), key_of(NULL, "", 0)}, 2, true, "a key is empty"},
        {{key_of(NULL, "1234567890123456789012345678901", 0), key_of("b", secret_b, 0)}, 1, false,
         "a key is shorter than 32 bytes"},
        {{key_of(NULL, "12345678901234567890123456789012", 0), key_of("b", secret_b, 0)}, 1, false,
         NULL},
        {{key_of(NULL, "s", 0), key_of("b", secret_b, 0)}, 2, true, NULL},
        {{key_of("a", secret_a, 0), key_of("a", secret_b, 0)}, 2, false,
         "two keys have the same kid"},
        {{key_of(NULL, secret_a, 0), key_of("", secret_b, 0)}, 2, false,
         "two keys have the same kid"},
        {{key_of("a", secret_a, 0), key_of("A", secret_a, 0)}, 2, false, NULL},
        {{key_of(long_kid, secret_a, 0), key_of("b", secret_b, 0)}, 1, false,
         "a kid is longer than 128 bytes"},
        {{key_of(long_kid + 1, secret_a, 0), key_of("b", secret_b, 0)}, 2, false, NULL},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_allocator a = test_allocator();
        tws_auth_ring *ring;
        const char *why = "untouched";
        test_row(row[i].why != NULL ? row[i].why : "good", i);
        tws_status status =
            tws_auth_ring_create(&ring, &a, row[i].key, row[i].count, row[i].allow_short, &why);
        CHECK_EQ(status, row[i].why != NULL ? TWS_ERR_ARGUMENT : TWS_OK);
        CHECK_EQ(ring == NULL, row[i].why != NULL);
        CHECK_STR(tws_str_c(why), row[i].why != NULL ? row[i].why : "");
        tws_auth_ring_unref(ring);
    }
    tws_auth_ring *ring;
    const char *why;
    test_row("NULL", 0);
    CHECK_EQ(tws_auth_ring_create(&ring, NULL, NULL, 2, false, &why), TWS_ERR_ARGUMENT);
    CHECK_STR(tws_str_c(why), "there are no keys, though their number is not 0");
}

TEST("a key may hold any bytes, NUL included")
{
    static const char secret[40] = "bytes\0behind a NUL count as well";
    tws_auth_key key = key_of(NULL, secret_a, 0);
    tws_hmac_key hmac;
    tws_auth_ring *ring;
    const char *why;
    char text[300];
    tws_buf b;
    key.secret = secret;
    key.secret_len = sizeof secret;
    CHECK_EQ(tws_auth_ring_create(&ring, NULL, &key, 1, false, &why), TWS_OK);
    tws_hmac_key_init(&hmac, secret, sizeof secret);
    tws_buf_fixed(&b, text, sizeof text);
    tws_jwt_sign(&b, &hmac, tws_str_c(""), tws_str_c("{\"sub\":1,\"exp\":1700000060}"));
    CHECK_EQ(verify(NULL, ring, tws_buf_view(&b), NOW), TWS_JWT_OK);
    tws_auth_ring_unref(ring);
}

TEST("a ring lives as long as somebody holds it, and wipes its keys then")
{
    tws_allocator a = test_allocator();
    tws_auth_ring *ring = ring_of(&a, secret_a);
    test_token t;
    CHECK(tws_auth_ring_ref(ring) == ring);
    tws_auth_ring_unref(ring);
    CHECK_EQ(verify(NULL, ring, sign_user(&t, 1), NOW), TWS_JWT_OK);
    tws_auth_ring_unref(ring);
    CHECK_EQ(test_live_blocks(), 0);
    tws_auth_ring_unref(NULL);
}

/* -- verifying -- */

TEST("a verified token gives its user, scopes and end; a refused one gives nothing")
{
    static const struct {
        const char *payload;
        tws_jwt_error error;
        const char *user;
        unsigned scopes;
        int64_t expires_s;
    } row[] = {
        {"{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_OK, "2", 0, 1700000060},
        {"{\"sub\":2,\"exp\":1699999971.5,\"scope\":\"publish\"}", TWS_JWT_OK, "2",
         TWS_SCOPE_PUBLISH, 1699999971},
        {"{\"sub\":\"a\\/b\",\"exp\":1700000060,\"scope\":\"admin\"}", TWS_JWT_OK, "a/b",
         TWS_SCOPE_ADMIN, 1700000060},
        {"{\"sub\":\"2\",\"exp\":1700000060,\"scope\":\"x  publish y admin publish \"}", TWS_JWT_OK,
         "2", TWS_SCOPE_PUBLISH | TWS_SCOPE_ADMIN, 1700000060},
        {"{\"sub\":\"2\",\"exp\":1700000060,\"scope\":\"Publish,admin superadmin admins\"}",
         TWS_JWT_OK, "2", 0, 1700000060},
        {"{\"sub\":\"2\",\"exp\":1700000060,\"scope\":\"\"}", TWS_JWT_OK, "2", 0, 1700000060},
        {"{\"sub\":\"2\",\"exp\":1699999970}", TWS_JWT_EXPIRED, NULL, 0, 0},
        {"{\"sub\":\"2\",\"exp\":1700000060,\"nbf\":1700000031}", TWS_JWT_NOT_YET_VALID, NULL, 0,
         0},
        {"{\"sub\":\"2\"}", TWS_JWT_CLAIMS, NULL, 0, 0},
        {"{\"sub\":\"\",\"exp\":1700000060}", TWS_JWT_CLAIMS, NULL, 0, 0},
        {"{\"sub\":\"2\"", TWS_JWT_MALFORMED, NULL, 0, 0},
    };
    for (int cached = 0; cached < 2; cached++) {
        tws_auth_ring *ring = ring_of(NULL, secret_a);
        tws_auth_cache *cache = cached ? tws_auth_cache_create(NULL, 0, test_hash_key) : NULL;
        for (size_t i = 0; i < 2 * sizeof row / sizeof *row; i++) { /* each twice */
            size_t n = i / 2;
            tws_identity who;
            test_token t;
            memset(&who, 0x77, sizeof who);
            test_row(row[n].payload, i);
            CHECK_EQ(tws_auth_verify(cache, ring, NULL, sign_a(&t, row[n].payload), NOW, &who),
                     row[n].error);
            if (row[n].error != TWS_JWT_OK) {
                CHECK_EQ(who.user_id_len, 0x77);
                CHECK_EQ(who.scopes, 0x77);
                continue;
            }
            CHECK_STR(tws_identity_user(&who), row[n].user);
            CHECK_EQ(who.scopes, row[n].scopes);
            CHECK_EQ(who.expires_s, row[n].expires_s);
        }
        CHECK_EQ(verify(cache, ring, tws_str_c(""), NOW), TWS_JWT_MISSING);
        CHECK_EQ(verify(cache, ring, tws_str_c(NULL), NOW), TWS_JWT_MISSING);
        CHECK_EQ(verify(cache, ring, tws_str_c("a.b"), NOW), TWS_JWT_MALFORMED);
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
    }
}

/* Hostile tokens through all that stands in front of a user: the ring, and the cache, twice. */
TEST("a hostile token is refused the same with and without the cache, and leaves nothing in it")
{
    static const struct {
        const char *header, *payload;
        tws_jwt_error error;
    } row[] = {
        {"{\"alg\":\"HS256\"}", "{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_OK},
        {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"},\"jku\":\"http://x/\","
         "\"x5u\":\"x\"}",
         "{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_OK},
        {"{\"alg\":\"none\"}", "{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_ALGORITHM},
        {"{\"alg\":\"RS256\"}", "{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_ALGORITHM},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", "{\"sub\":\"2\",\"exp\":1700000060}",
         TWS_JWT_ALGORITHM},
        {"{\"alg\":\"HS256\",\"kid\":\"../\"}", "{\"sub\":\"2\",\"exp\":1700000060}", TWS_JWT_KEY},
        {"{\"alg\":\"HS256\",\"kid\":\"k\\u0000\"}", "{\"sub\":\"2\",\"exp\":1700000060}",
         TWS_JWT_KEY},
        {"{\"alg\":\"HS256\"}", "{\"sub\":\"2\",\"sub\":\"3\",\"exp\":1700000060}",
         TWS_JWT_MALFORMED},
        {"{\"alg\":\"HS256\"}", "{\"sub\":\"2\",\"exp\":1,\"exp\":1700000060}", TWS_JWT_MALFORMED},
        {"{\"alg\":\"HS256\"}", "{\"sub\":\"2\",\"exp\":1e999}", TWS_JWT_CLAIMS},
        {"{\"alg\":\"HS256\"}", "{\"sub\":\"2\",\"exp\":18446744073709551616}", TWS_JWT_CLAIMS},
    };
    const tws_auth_key keys[2] = {key_of("", secret_a, 0), key_of("k", secret_a, 0)};
    tws_allocator a = test_allocator();
    tws_auth_ring *ring;
    const char *why;
    CHECK_EQ(tws_auth_ring_create(&ring, &a, keys, 2, false, &why), TWS_OK);
    tws_auth_cache *cache = tws_auth_cache_create(&a, 64, test_hash_key);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char text[1024];
        uint8_t mac[TWS_SHA256_BYTES];
        tws_hmac_key key;
        size_t len = tws_base64url_encode(row[i].header, strlen(row[i].header), text);
        text[len++] = '.';
        len += tws_base64url_encode(row[i].payload, strlen(row[i].payload), text + len);
        tws_hmac_key_init(&key, secret_a, strlen(secret_a));
        tws_hmac_sha256(&key, text, len, mac);
        text[len++] = '.';
        len += tws_base64url_encode(mac, sizeof mac, text + len);
        tws_str token = tws_str_of((char *)test_exact(text, len), len);
        test_row(row[i].header, i);
        CHECK_EQ(verify(NULL, ring, token, NOW), row[i].error);
        CHECK_EQ(verify(cache, ring, token, NOW), row[i].error);
        CHECK_EQ(verify(cache, ring, token, NOW), row[i].error);
    }
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("a token of 10 MB is refused unread, whether it is long or deep, and is not kept")
{
    size_t len = 10 << 20;
    char *text = (char *)malloc(len);
    tws_allocator a = test_allocator();
    tws_auth_ring *ring = ring_of(&a, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(&a, 64, test_hash_key);
    size_t before = test_live_blocks();
    memset(text, 'A', len);
    CHECK_EQ(verify(cache, ring, tws_str_of(text, len), NOW), TWS_JWT_MALFORMED);
    memset(text, '.', len);
    CHECK_EQ(verify(cache, ring, tws_str_of(text, len), NOW), TWS_JWT_MALFORMED);
    for (size_t at = 0; at < 133336; at += 4) {
        memcpy(text + at, "W1tb", 4); /* three opening brackets: 100,000 of them */
    }
    memcpy(text + 133336, ".e30.", 5);
    CHECK_EQ(verify(cache, ring, tws_str_of(text, 133341), NOW), TWS_JWT_MALFORMED);
    CHECK_EQ(test_live_blocks(), before);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
    free(text);
}

TEST("a user id has 1 to 128 bytes")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    for (size_t len = 0; len <= 300; len++) {
        char user[400];
        char payload[500];
        tws_identity who;
        test_token t;
        memset(user, 'u', len);
        user[len] = '\0';
        snprintf(payload, sizeof payload, "{\"sub\":\"%s\",\"exp\":1700000060}", user);
        tws_jwt_error error = tws_auth_verify(NULL, ring, NULL, sign_a(&t, payload), NOW, &who);
        CHECK_EQ(error, len >= 1 && len <= 128 ? TWS_JWT_OK : TWS_JWT_CLAIMS);
        if (error == TWS_JWT_OK) {
            CHECK_STR(tws_identity_user(&who), user);
        }
    }
    tws_auth_ring_unref(ring);
}

TEST("the longest token with the most escapes still verifies")
{
    static char payload[6100];
    size_t len = (size_t)sprintf(payload, "{\"sub\":\"2\",\"exp\":1700000060,\"scope\":\"");
    while (len < 6050) {
        len += (size_t)sprintf(payload + len, "\\u0020\\n ");
    }
    sprintf(payload + len, " admin\"}");
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_identity who;
    test_token t;
    CHECK_EQ(tws_auth_verify(NULL, ring, NULL, sign_a(&t, payload), NOW, &who), TWS_JWT_OK);
    CHECK_EQ(who.scopes, TWS_SCOPE_ADMIN);
    tws_auth_ring_unref(ring);
}

/* -- cache -- */

TEST("the cache's hash is SipHash-1-3")
{
    /* key 00 01 .. 0f, over 0, 1, 2... bytes 00 01 ..; as bytes, lowest first */
    static const char *const want[] = {
        "dcc40f055801acab", "93ca577df39bf4c9", "4dd4c74d029bcb82", "fbf7dde7b80af88b",
        "2883d388605775cf", "673b53492fd5f9de", "a7229fc5502b0dc5", "4011b19b987d92d3",
        "8e9a298d11959036", "e43d066cb38ea425", "7f09ff92ee85de79", "52c34df9c118c170",
    };
    static const uint16_t one = 1;
    uint64_t key[2];
    memcpy(key, test_hash_key, sizeof key);
    for (size_t len = 0; len < sizeof want / sizeof *want; len++) {
        uint8_t bytes[8];
        uint64_t hash = tws__hash(key, tws_str_of((char *)test_exact(test_hash_key, len), len));
        test_hex(want[len], bytes);
        if (*(const uint8_t *)&one == 1) { /* elsewhere it is another hash, as good */
            CHECK_MEM(&hash, sizeof hash, bytes, sizeof bytes);
        }
    }
}

TEST("the cache's hash depends on every byte, the length and the key")
{
    char text[64] = {0};
    uint64_t key[2] = {1, 2};
    for (size_t len = 0; len < sizeof text; len++) {
        uint64_t hash = tws__hash(key, tws_str_of((char *)test_exact(text, len), len));
        CHECK(hash != tws__hash(key, tws_str_of(text, len + 1)));
        for (size_t at = 0; at < len; at++) {
            text[at] = 1;
            CHECK(hash != tws__hash(key, tws_str_of(text, len)));
            text[at] = 0;
        }
        key[len % 2]++;
        CHECK(hash != tws__hash(key, tws_str_of(text, len)));
    }
}

static bool is_cached(tws_auth_cache *cache, tws_str token)
{
    return tws__auth_entry_of(cache, token) != NULL;
}

TEST("a second look costs no verification, and gives the same")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 0, test_hash_key);
    tws_identity first;
    tws_identity second;
    test_token t;
    tws_str token = sign_user(&t, 7);
    CHECK_EQ(tws_auth_verify(cache, ring, NULL, token, NOW, &first), TWS_JWT_OK);
    CHECK_EQ(tws_auth_verify(cache, ring, NULL, token, NOW, &second), TWS_JWT_OK);
    CHECK_MEM(&first, sizeof first, &second, sizeof second);
    tws__auth_entry_of(cache, token)->who.scopes = 0x40; /* a mark */
    CHECK_EQ(tws_auth_verify(cache, ring, NULL, token, NOW, &second), TWS_JWT_OK);
    CHECK_EQ(second.scopes, 0x40);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("a cached token ends by exp and leeway, by its key's deadline, and says why")
{
    static const struct {
        int64_t key_until_s;
        uint32_t leeway_s;
        int64_t last; /* good second */
        tws_jwt_error then;
    } row[] = {
        {0, 0, NOW + 89, TWS_JWT_EXPIRED},
        {0, TWS_OFF, NOW + 59, TWS_JWT_EXPIRED},
        {0, 5, NOW + 64, TWS_JWT_EXPIRED},
        {NOW + 20, 0, NOW + 20, TWS_JWT_KEY},
        {NOW + 2000, 0, NOW + 89, TWS_JWT_EXPIRED},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_auth_key key = key_of(NULL, secret_a, row[i].key_until_s);
        tws_auth_cache *cache = tws_auth_cache_create(NULL, 0, test_hash_key);
        tws_jwt_policy policy;
        tws_auth_ring *ring;
        tws_identity who;
        test_token t;
        const char *why;
        tws_str token = sign_user(&t, 1);
        memset(&policy, 0, sizeof policy);
        policy.leeway_s = row[i].leeway_s;
        test_row("row", i);
        CHECK_EQ(tws_auth_ring_create(&ring, NULL, &key, 1, false, &why), TWS_OK);
        CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, NOW, &who), TWS_JWT_OK);
        CHECK(is_cached(cache, token));
        tws__auth_entry_of(cache, token)->who.scopes = 0x40; /* a mark: it comes from the cache */
        CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, row[i].last, &who), TWS_JWT_OK);
        CHECK_EQ(who.scopes, 0x40);
        CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, row[i].last + 1, &who), row[i].then);
        CHECK(!is_cached(cache, token));
        CHECK_EQ(tws_auth_verify(NULL, ring, &policy, token, row[i].last, &who), TWS_JWT_OK);
        CHECK_EQ(tws_auth_verify(NULL, ring, &policy, token, row[i].last + 1, &who), row[i].then);
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
    }
}

TEST("a token without exp is cached for good")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 0, test_hash_key);
    tws_jwt_policy policy;
    tws_identity who;
    test_token t;
    tws_str token = sign_a(&t, "{\"sub\":1}");
    memset(&policy, 0, sizeof policy);
    policy.allow_no_expiry = true;
    for (int i = 0; i < 2; i++) {
        int64_t now_s = NOW + i * INT64_C(100000000000);
        CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, now_s, &who), TWS_JWT_OK);
        CHECK_EQ(who.expires_s, INT64_MAX);
    }
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("another ring or another policy makes the cache forget")
{
    tws_allocator a = test_allocator();
    tws_auth_ring *ring = ring_of(&a, secret_a);
    tws_auth_ring *same = ring_of(&a, secret_a);
    tws_auth_ring *other = ring_of(&a, secret_b);
    tws_auth_cache *cache = tws_auth_cache_create(&a, 0, test_hash_key);
    tws_jwt_policy policy;
    tws_identity who;
    test_token t;
    tws_str token = sign_user(&t, 1);
    memset(&policy, 0, sizeof policy);
    CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, NOW, &who), TWS_JWT_OK);
    tws_auth_remember(cache, token, tws_str_c("x"), true);
    CHECK_EQ(tws_auth_verify(cache, same, &policy, token, NOW, &who), TWS_JWT_OK);
    CHECK_EQ(tws_auth_recall(cache, token, tws_str_c("x")), 0);
    CHECK_EQ(tws_auth_verify(cache, other, &policy, token, NOW, &who), TWS_JWT_SIGNATURE);
    CHECK(!is_cached(cache, token));
    CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, NOW, &who), TWS_JWT_OK);
    tws_auth_ring_unref(same);
    tws_auth_ring_unref(other);

    static const struct {
        tws_jwt_policy policy;
        tws_jwt_error error; /* at a second that only the default leeway allows */
    } row[] = {
        {{"user", NULL, NULL, 0, false}, TWS_JWT_CLAIMS},
        {{NULL, "joe", NULL, 0, false}, TWS_JWT_CLAIMS},
        {{NULL, NULL, "me", 0, false}, TWS_JWT_CLAIMS},
        {{NULL, NULL, NULL, TWS_OFF, false}, TWS_JWT_EXPIRED},
        {{NULL, NULL, NULL, 0, true}, TWS_JWT_OK},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row("policy", i);
        CHECK_EQ(tws_auth_verify(cache, ring, NULL, token, NOW + 89, &who), TWS_JWT_OK);
        tws__auth_entry_of(cache, token)->who.scopes = 0x40;
        CHECK_EQ(tws_auth_verify(cache, ring, &policy, token, NOW + 89, &who), TWS_JWT_OK);
        CHECK_EQ(who.scopes, 0x40); /* an equal policy elsewhere is the same */
        CHECK_EQ(tws_auth_verify(cache, ring, &row[i].policy, token, NOW + 89, &who), row[i].error);
        CHECK(row[i].error != TWS_JWT_OK || who.scopes == 0);
    }
    /* the cache itself keeps the last ring alive, and no other */
    size_t blocks = test_live_blocks();
    tws_auth_ring_unref(ring);
    CHECK_EQ(test_live_blocks(), blocks);
    tws_auth_cache_free(cache);
    CHECK_EQ(test_live_blocks(), 0);
}

TEST("the cache is bounded, and in a set the oldest goes first")
{
    static const struct {
        uint32_t entries;
        size_t capacity, ways;
    } row[] = {{1, 1, 1}, {2, 2, 2}, {7, 7, 7}, {8, 8, 8}, {20, 16, 8}, {64, 64, 8}, {0, 1024, 8}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_allocator a = test_allocator();
        tws_auth_ring *ring = ring_of(&a, secret_a);
        tws_auth_cache *cache = tws_auth_cache_create(&a, row[i].entries, test_hash_key);
        size_t blocks = test_live_blocks();
        test_token t;
        test_row("row", i);
        for (unsigned n = 0; n < 200; n++) {
            CHECK_EQ(verify(cache, ring, sign_user(&t, n), NOW), TWS_JWT_OK);
            CHECK(is_cached(cache, sign_user(&t, n)));
            CHECK(test_live_blocks() - blocks <= row[i].capacity);
            bool full = row[i].capacity == row[i].ways && n >= row[i].ways; /* one set */
            CHECK(!full || !is_cached(cache, sign_user(&t, n - (unsigned)row[i].ways)));
            CHECK(!full || is_cached(cache, sign_user(&t, n + 1 - (unsigned)row[i].ways)));
        }
        CHECK_EQ(cache->sets * cache->ways, row[i].capacity);
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
        test_free_blocks();
    }
}

TEST("an entry that ends leaves the others of its set in place")
{
    for (unsigned gone = 0; gone < 8; gone++) {
        tws_allocator a = test_allocator();
        tws_auth_ring *ring = ring_of(&a, secret_a);
        tws_auth_cache *cache = tws_auth_cache_create(&a, 8, test_hash_key);
        test_token t;
        for (unsigned n = 0; n < 8; n++) {
            CHECK_EQ(verify(cache, ring, sign_user(&t, n), NOW), TWS_JWT_OK);
        }
        CHECK_EQ(verify(cache, ring, sign_user(&t, gone), NOW + 90), TWS_JWT_EXPIRED);
        for (unsigned n = 0; n < 8; n++) {
            CHECK_EQ(is_cached(cache, sign_user(&t, n)), n != gone);
        }
        CHECK_EQ(verify(cache, ring, sign_user(&t, gone), NOW), TWS_JWT_OK); /* and there is room */
        for (unsigned n = 0; n < 8; n++) {
            CHECK(is_cached(cache, sign_user(&t, n)));
        }
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
    }
}

/* An allocator that looks into what is given back. */
static const void *test_wanted;
static size_t test_wanted_len;
static size_t test_found;

static void *resize_looking(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    for (size_t at = 0; p != NULL && at + test_wanted_len <= old_bytes; at++) {
        test_found += memcmp((char *)p + at, test_wanted, test_wanted_len) == 0;
    }
    return test_resize(context, p, old_bytes, new_bytes);
}

TEST("no token, key or hash key is left in memory that is given back")
{
    tws_allocator a = {resize_looking, NULL};
    test_token t;
    tws_str token = sign_user(&t, 1);
    tws_hmac_key hmac;
    tws_hmac_key_init(&hmac, secret_a, strlen(secret_a));
    const tws_str wanted[] = {token, tws_str_of((char *)&hmac, sizeof hmac),
                              tws_str_of((const char *)test_hash_key, 16)};
    for (size_t i = 0; i < 3; i++) {
        test_wanted = wanted[i].ptr;
        test_wanted_len = wanted[i].len;
        test_found = 0;
        tws_auth_ring *ring = ring_of(&a, secret_a);
        tws_auth_cache *cache = tws_auth_cache_create(&a, 1, test_hash_key);
        CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
        CHECK_EQ(verify(cache, ring, sign_user(&t, 2), NOW), TWS_JWT_OK); /* pushes it out */
        CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
        CHECK_EQ(test_found, 0);
    }
}

TEST("a cache that is off is no cache, and is freed like one")
{
    CHECK(tws_auth_cache_create(NULL, TWS_OFF, test_hash_key) == NULL);
    CHECK_EQ(tws_auth_recall(NULL, tws_str_c("t"), tws_str_c("u")), 0);
    tws_auth_remember(NULL, tws_str_c("t"), tws_str_c("u"), true);
    tws_auth_cache_free(NULL);
}

TEST("a collision grants nothing: only a token equal in every byte is believed")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 1, test_hash_key); /* all share one slot */
    test_token t;
    tws_str token = sign_user(&t, 1);
    char *forged = (char *)test_exact(token.ptr, token.len);
    t.text[token.len] = 0;
    tws_str longer = tws_str_of((char *)test_exact(t.text, token.len + 1), token.len + 1);
    CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
    tws_auth_remember(cache, token, tws_str_c("x"), true);
    for (size_t at = 0; at < token.len; at++) {
        tws_str other = tws_str_of(forged, token.len);
        forged[at] ^= 1;
        /* even where the whole hash is the same */
        cache->slot[0].hash = tws__hash(cache->hash_key, other);
        CHECK(verify(cache, ring, other, NOW) != TWS_JWT_OK);
        CHECK_EQ(tws_auth_recall(cache, other, tws_str_c("x")), 0);
        forged[at] ^= 1;
    }
    cache->slot[0].hash = tws__hash(cache->hash_key, longer);
    CHECK(verify(cache, ring, longer, NOW) != TWS_JWT_OK);
    for (size_t len = 0; len < token.len; len++) {
        tws_str cut = tws_str_of(token.ptr, len);
        cache->slot[0].hash = tws__hash(cache->hash_key, cut);
        CHECK(verify(cache, ring, cut, NOW) != TWS_JWT_OK);
    }
    /* refused tokens have changed nothing */
    cache->slot[0].hash = tws__hash(cache->hash_key, token);
    CHECK_EQ(tws_auth_recall(cache, token, tws_str_c("x")), 1);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("tokens above 1 KiB are verified every time and not kept")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 0, test_hash_key);
    size_t kept = 0;
    for (size_t len = 600; len < 900; len++) {
        char payload[1000];
        test_token t;
        memset(payload, ' ', sizeof payload);
        memcpy(payload, "{\"sub\":1,\"exp\":1700000060}", 26);
        payload[len] = '\0';
        tws_str token = sign_a(&t, payload);
        CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
        CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
        CHECK_EQ(is_cached(cache, token), token.len <= 1024);
        kept += is_cached(cache, token);
    }
    CHECK(kept > 50 && kept < 250);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("a host's answers are remembered with the token, per user, and forgotten with it")
{
    tws_allocator a = test_allocator();
    tws_auth_ring *ring = ring_of(&a, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(&a, 8, test_hash_key);
    test_token t;
    tws_str one = sign_user(&t, 1);
    tws_str two = sign_user(&t, 2);
    tws_str user = tws_str_c("alice");
    char long_user[TWS_MAX_USER_ID + 1];
    memset(long_user, 'u', sizeof long_user);
    tws_auth_remember(cache, one, user, true); /* not verified yet: not remembered */
    CHECK_EQ(verify(cache, ring, one, NOW), TWS_JWT_OK);
    CHECK_EQ(verify(cache, ring, two, NOW), TWS_JWT_OK);
    CHECK_EQ(tws_auth_recall(cache, one, user), 0);
    tws_auth_remember(cache, one, user, true);
    tws_auth_remember(cache, one, tws_str_c("bob"), false);
    tws_auth_remember(cache, one, tws_str_c(""), false);
    CHECK_EQ(tws_auth_recall(cache, one, user), 1);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_c("bob")), -1);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_c("")), -1);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_c("alic")), 0);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_c("alice2")), 0);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_c("Alice")), 0);
    CHECK_EQ(tws_auth_recall(cache, two, user), 0);
    tws_auth_remember(cache, one, user, false); /* the latest counts */
    CHECK_EQ(tws_auth_recall(cache, one, user), -1);
    tws_auth_remember(cache, one, tws_str_of(long_user, TWS_MAX_USER_ID), true);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_of(long_user, TWS_MAX_USER_ID)), 1);
    tws_auth_remember(cache, one, tws_str_of(long_user, TWS_MAX_USER_ID + 1), true);
    CHECK_EQ(tws_auth_recall(cache, one, tws_str_of(long_user, TWS_MAX_USER_ID + 1)), 0);
    for (unsigned n = 10; n < 20; n++) {
        CHECK_EQ(verify(cache, ring, sign_user(&t, n), NOW), TWS_JWT_OK);
    }
    CHECK_EQ(tws_auth_recall(cache, one, user), 0);
    CHECK_EQ(verify(cache, ring, one, NOW), TWS_JWT_OK);
    CHECK_EQ(tws_auth_recall(cache, one, user), 0);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("a token's answers take bounded memory, and the newest is always known")
{
    tws_auth_ring *ring = ring_of(NULL, secret_a);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 0, test_hash_key);
    test_token t;
    tws_str token = sign_user(&t, 1);
    CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
    for (unsigned n = 0; n < 10000; n++) {
        char user[20];
        snprintf(user, sizeof user, "%u", n);
        tws_auth_remember(cache, token, tws_str_c(user), n % 2 == 0);
        CHECK_EQ(tws_auth_recall(cache, token, tws_str_c(user)), n % 2 == 0 ? 1 : -1);
        CHECK(tws__auth_entry_of(cache, token)->answers.cap <= 1024);
    }
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
}

TEST("an allocation that fails costs a cache entry, never an answer and never a leak")
{
    for (size_t n = 1;; n++) {
        tws_allocator a = test_allocator();
        tws_auth_key keys[2] = {key_of(NULL, secret_a, 0), key_of("b", secret_b, 0)};
        tws_auth_ring *ring;
        const char *why;
        test_token t;
        test_fail_at(n);
        if (tws_auth_ring_create(&ring, &a, keys, 2, false, &why) != TWS_OK) {
            CHECK(ring == NULL && why != NULL);
            CHECK_EQ(test_live_blocks(), 0);
            continue;
        }
        tws_auth_cache *cache = tws_auth_cache_create(&a, 4, test_hash_key); /* perhaps NULL */
        for (unsigned i = 0; i < 20; i++) {
            tws_str token = sign_user(&t, i % 5);
            tws_str user = tws_str_c(i % 2 == 0 ? "x" : "y");
            CHECK_EQ(verify(cache, ring, token, NOW), TWS_JWT_OK);
            tws_auth_remember(cache, token, user, true);
            CHECK(tws_auth_recall(cache, token, user) >= 0);
            CHECK(verify(cache, ring, tws_str_of(token.ptr, token.len - 1), NOW) != TWS_JWT_OK);
        }
        tws_auth_cache_free(cache);
        tws_auth_ring_unref(ring);
        CHECK_EQ(test_live_blocks(), 0);
        if (test_allocations() < n) {
            CHECK(n > 10);
            break;
        }
    }
}

/* -- rules -- */

TEST("a user reads the own tasks, publish publishes, admin reads all")
{
    static const struct {
        const char *user;
        unsigned scopes;
        tws_auth_action action;
        const char *user_id;
        const char *word; /* NULL: allowed */
    } row[] = {
        {"2", 0, TWS_AUTH_READ, "2", NULL},
        {"2", 0, TWS_AUTH_READ, "3", "forbidden_user"},
        {"2", 0, TWS_AUTH_READ, "02", "forbidden_user"},
        {"2", 0, TWS_AUTH_READ, "", "forbidden_user"},
        {"2", 0, TWS_AUTH_READ, "22", "forbidden_user"},
        {"a", 0, TWS_AUTH_READ, "A", "forbidden_user"},
        {"2", TWS_SCOPE_PUBLISH, TWS_AUTH_READ, "3", "forbidden_user"},
        {"2", TWS_SCOPE_ADMIN, TWS_AUTH_READ, "3", NULL},
        {"2", 0, TWS_AUTH_PUBLISH, "2", "forbidden_scope"},
        {"2", TWS_SCOPE_ADMIN, TWS_AUTH_PUBLISH, "2", "forbidden_scope"},
        {"2", TWS_SCOPE_PUBLISH, TWS_AUTH_PUBLISH, "2", NULL},
        {"2", TWS_SCOPE_PUBLISH, TWS_AUTH_PUBLISH, "3", NULL},
        {"2", TWS_SCOPE_PUBLISH | TWS_SCOPE_ADMIN, TWS_AUTH_PUBLISH, "3", NULL},
        {"2", 0, TWS_AUTH_ADMIN, "2", "forbidden_scope"},
        {"2", TWS_SCOPE_PUBLISH, TWS_AUTH_ADMIN, "2", "forbidden_scope"},
        {"2", TWS_SCOPE_ADMIN, TWS_AUTH_ADMIN, "", NULL},
        {"2", 0xff, (tws_auth_action)7, "2", "forbidden_scope"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_identity who;
        memset(&who, 0, sizeof who);
        memcpy(who.user_id, row[i].user, strlen(row[i].user));
        who.user_id_len = (uint8_t)strlen(row[i].user);
        who.scopes = (uint8_t)row[i].scopes;
        test_row(row[i].user_id, i);
        const char *word = tws_auth_judge(&who, row[i].action, tws_str_c(row[i].user_id));
        CHECK_EQ(word == NULL, row[i].word == NULL);
        CHECK_STR(tws_str_c(word), row[i].word != NULL ? row[i].word : "");
    }
}

TEST("an origin is allowed when it is listed whole, or when it is the server's own")
{
    static const struct {
        const char *fields, *allowed;
        bool allow;
    } row[] = {
        {"", NULL, true},
        {"", "", true},
        {"", "https://app.example", true},
        {"Origin: https://app.example|", NULL, true}, /* Host: app.example */
        {"Origin: http://app.example|", "", true},
        {"Origin: HTTPS://APP.EXAMPLE|", "  ", true},
        {"Origin: https://app.example:443|", NULL, true},
        {"Origin: http://app.example:80|", NULL, true},
        {"Origin: http://app.example:443|", NULL, false},
        {"Origin: https://app.example:80|", NULL, false},
        {"Origin: https://app.example:8443|", NULL, false},
        {"Origin: https://app.example.evil|", NULL, false},
        {"Origin: https://evil.app.example|", NULL, false},
        {"Origin: https://evilapp.example|", NULL, false},
        {"Origin: https://app.exampl|", NULL, false},
        {"Origin: https://app.example@evil|", NULL, false},
        {"Origin: https://evil@app.example|", NULL, false},
        {"Origin: https://app.example/|", NULL, false},
        {"Origin: https:app.example|", NULL, false},
        {"Origin: app.example|", NULL, false},
        {"Origin: //app.example|", NULL, false},
        {"Origin: chrome-extension://app.example|", NULL, false},
        {"Origin: https://|", NULL, false},
        {"Origin: https|", NULL, false},
        {"Origin: null|", NULL, false},
        {"Origin:|", NULL, false},
        {"Origin: https://app.example|Origin: https://app.example|", NULL, false},
        {"Origin: https://app.example|Origin: https://app.example|", "*", false},
        {"Origin: https://app.example, https://app.example|", NULL, false},
        {"Origin: https://a.example|", "https://a.example", true},
        {"Origin: https://A.Example|", "HTTPS://a.eXample", true},
        {"Origin: https://b.example:8443|", "https://a.example , https://b.example:8443", true},
        {"Origin: https://b.example|", "https://a.example,https://b.example:8443", false},
        {"Origin: http://a.example|", "https://a.example", false},
        {"Origin: https://a.example.evil|", "https://a.example", false},
        {"Origin: https://a.exampl|", "https://a.example", false},
        {"Origin: https://evil/https://a.example|", "https://a.example", false},
        {"Origin: https://a.example,https://b.example|", "https://a.example,https://b.example",
         false},
        {"Origin: https://app.example|", "https://a.example", false}, /* own, but not listed */
        {"Origin: null|", "https://a.example", false},
        {"Origin: null|", "https://a.example, null", true},
        {"Origin: null|", "*", true},
        {"Origin: https://evil|", "*", true},
        {"Origin: https://evil|", "https://a.example, *", true},
        {"Origin: https://evil|", "https://*", false},
        {"Origin: *|", "https://a.example", false},
        {"Origin:|", ",", false},
        {"Origin:|", "https://a.example,,", false},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        test_row(row[i].fields, i);
        CHECK_EQ(tws_auth_origin(request("/", row[i].fields), row[i].allowed), row[i].allow);
    }
}

TEST("a proxy may write the default port into Host, and a server may have a port of its own")
{
    static const struct {
        const char *origin, *host;
        bool allow;
    } row[] = {
        {"https://app.example", "app.example:443", true},
        {"http://app.example", "app.example:80", true},
        {"https://app.example", "app.example:80", false},
        {"http://app.example", "app.example:443", false},
        {"http://localhost:8000", "localhost:8000", true},
        {"http://localhost:8000", "LOCALHOST:8000", true},
        {"http://localhost:3000", "localhost:8000", false},
        {"http://localhost", "localhost:8000", false},
        {"http://localhost:8000", "localhost:80", false},
        {"http://[::1]:8000", "[::1]:8000", true},
        {"https://", "", false},
        {"https://:443", ":443", true}, /* no browser sends either */
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_http_request r;
        memset(&r, 0, sizeof r);
        r.host = tws_str_c(row[i].host);
        r.field_count = 1;
        r.field[0].name = tws_str_c("Origin");
        r.field[0].value = tws_str_c(row[i].origin);
        test_row(row[i].origin, i);
        CHECK_EQ(tws_auth_origin(&r, NULL), row[i].allow);
    }
}
