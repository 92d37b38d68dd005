/* Fuzz target: tokens. Nothing verifies but what the key has signed, in its one spelling, with or
 * without the cache; and what is accepted keeps the promises of tws_jwt_judge.
 *
 * input    byte 0: '0' the rest is a token; '1' the rest are edits of a good one, three bytes each
 *          (position, what to do, a byte); '2' byte 1 sets the policy (bits: issuer, audience, no
 *          exp wanted), then a line with the header, then the payload: they get signed */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW 1700000000
#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))

static const char secret[] = "a secret of at least thirty-two bytes";

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

/* A block of exactly n bytes, so that ASan sees one read or write beyond them. */
static char *exact(const char *from, size_t n)
{
    char *block = (char *)malloc(n > 0 ? n : 1);
    REQUIRE(block != NULL);
    if (from != NULL && n > 0) {
        memcpy(block, from, n);
    }
    return block;
}

/* The token of any header and payload; room for 2 * TWS_JWT_MAX. */
static size_t sign(char *out, tws_str header, tws_str payload)
{
    tws_hmac_key key;
    uint8_t mac[TWS_SHA256_BYTES];
    tws_hmac_key_init(&key, secret, sizeof secret - 1);
    size_t len = tws_base64url_encode(header.ptr, header.len, out);
    out[len++] = '.';
    len += tws_base64url_encode(payload.ptr, payload.len, out + len);
    tws_hmac_sha256(&key, out, len, mac);
    out[len++] = '.';
    return len + tws_base64url_encode(mac, sizeof mac, out + len);
}

static void check_claims(const tws_jwt *jwt, const tws_jwt_policy *policy,
                         const tws_jwt_claims *claims)
{
    tws_json_token value;
    REQUIRE(claims->subject.len > 0);
    REQUIRE(memchr(claims->subject.ptr, 0, claims->subject.len) == NULL);
    REQUIRE(tws_utf8_valid(claims->subject));
    REQUIRE(tws_utf8_valid(claims->scope));
    REQUIRE(claims->expires_s > NOW - 30);
    REQUIRE(tws_json_member(jwt->payload, tws_str_c("sub"), &value) == TWS_OK);
    REQUIRE(value.type == TWS_JSON_STRING || value.type == TWS_JSON_NUMBER);
    bool has_exp = tws_json_member(jwt->payload, tws_str_c("exp"), &value) == TWS_OK;
    REQUIRE(has_exp || (policy->allow_no_expiry && claims->expires_s == INT64_MAX));
    REQUIRE(!has_exp || value.type == TWS_JSON_NUMBER);
    if (policy->issuer != NULL) {
        REQUIRE(tws_json_member(jwt->payload, tws_str_c("iss"), &value) == TWS_OK);
        REQUIRE(value.escaped || tws_str_eq_c(value.text, policy->issuer));
    }
    if (policy->audience != NULL) {
        REQUIRE(tws_json_member(jwt->payload, tws_str_c("aud"), &value) == TWS_OK);
        REQUIRE(value.type == TWS_JSON_STRING || value.type == TWS_JSON_ARRAY);
    }
}

/* Section 11 alone, in memory of the exact size. */
static tws_jwt_error check_jwt(tws_str token, const tws_jwt_policy *policy)
{
    tws_hmac_key key;
    tws_jwt jwt;
    tws_jwt_claims claims;
    char *scratch = exact(NULL, token.len);
    tws_hmac_key_init(&key, secret, sizeof secret - 1);
    tws_jwt_error error = tws_jwt_open(&jwt, token, scratch, token.len);
    if (error == TWS_JWT_OK) {
        REQUIRE(jwt.signed_part.ptr == token.ptr);
        REQUIRE(token.len - jwt.signed_part.len == 1 + TWS_BASE64URL_LEN(TWS_SHA256_BYTES));
        error = tws_jwt_verify(&jwt, &key);
    }
    if (error == TWS_JWT_OK) {
        char *room = exact(NULL, jwt.payload.len + 20);
        error = tws_jwt_judge(&jwt, policy, NOW, room, jwt.payload.len + 20, &claims);
        REQUIRE(error != TWS_JWT_SIGNATURE && error != TWS_JWT_KEY && error != TWS_JWT_MISSING);
        if (error == TWS_JWT_OK) {
            check_claims(&jwt, policy, &claims);
        }
        free(room);
    }
    free(scratch);
    return error;
}

static bool is_signed(tws_str token)
{
    tws_hmac_key key;
    uint8_t mac[TWS_SHA256_BYTES];
    char text[TWS_BASE64URL_LEN(TWS_SHA256_BYTES)];
    if (token.len <= sizeof text) {
        return false;
    }
    size_t dot = token.len - sizeof text - 1;
    tws_hmac_key_init(&key, secret, sizeof secret - 1);
    tws_hmac_sha256(&key, token.ptr, dot, mac);
    tws_base64url_encode(mac, sizeof mac, text);
    return token.ptr[dot] == '.' && memcmp(token.ptr + dot + 1, text, sizeof text) == 0;
}

/* Sections 11 and 15 agree; the cache, which another token has filled, changes nothing. */
static void check_token(tws_str token, tws_str good, const tws_jwt_policy *policy)
{
    static const uint8_t hash_key[16] = {1};
    tws_auth_key key = {NULL, secret, sizeof secret - 1, 0};
    tws_auth_ring *ring;
    tws_identity plain;
    tws_identity cached;
    const char *why;
    char *copy = exact(token.ptr, token.len);
    token.ptr = copy;
    REQUIRE(tws_auth_ring_create(&ring, NULL, &key, 1, false, &why) == TWS_OK);
    tws_auth_cache *cache = tws_auth_cache_create(NULL, 1, hash_key);
    tws_jwt_error error = tws_auth_verify(NULL, ring, policy, token, NOW, &plain);
    (void)tws_auth_verify(cache, ring, policy, good, NOW, &cached);
    for (int i = 0; i < 2; i++) {
        REQUIRE(tws_auth_verify(cache, ring, policy, token, NOW, &cached) == error);
        REQUIRE(error != TWS_JWT_OK || memcmp(&plain, &cached, sizeof plain) == 0);
    }
    REQUIRE(error != TWS_JWT_OK || is_signed(token));
    tws_jwt_error alone = check_jwt(token, policy);
    bool too_long = alone == TWS_JWT_OK && error == TWS_JWT_CLAIMS; /* a subject above 128 bytes */
    REQUIRE(alone == error || too_long);
    tws_auth_cache_free(cache);
    tws_auth_ring_unref(ring);
    free(copy);
}

/* Each edit overwrites, inserts or removes one byte. */
static size_t edit(char *token, size_t len, const uint8_t *edits, size_t count)
{
    for (; count >= 3 && len > 0; count -= 3, edits += 3) {
        size_t at = edits[0] % len;
        if (edits[1] % 3 == 0) {
            token[at] = (char)edits[2];
        } else if (edits[1] % 3 == 1 && len < TWS_JWT_MAX) {
            memmove(token + at + 1, token + at, len - at);
            token[at] = (char)edits[2];
            len++;
        } else {
            memmove(token + at, token + at + 1, len - at - 1);
            len--;
        }
    }
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char good[2 * TWS_JWT_MAX];
    static char made[2 * TWS_JWT_MAX];
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    size_t good_len = sign(good, tws_str_c("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"),
                           tws_str_c("{\"sub\":\"2\",\"exp\":1700000060,\"scope\":\"publish\"}"));
    if (size < 2 || size > TWS_JWT_MAX) {
        return 0;
    }
    tws_str input = tws_str_of((const char *)data, size);
    tws_str rest = tws_str_from(input, 2);
    tws_str whole = tws_str_of(good, good_len);
    tws_str token = tws_str_from(input, 1);
    if (data[0] % 3 == 1) {
        memcpy(made, good, good_len);
        token = tws_str_of(made, edit(made, good_len, data + 1, size - 1));
        REQUIRE(is_signed(token) == tws_str_eq(token, whole));
    } else if (data[0] % 3 == 2) {
        size_t line = tws_str_find(rest, '\n');
        policy.issuer = data[1] & 1 ? "https://joe" : NULL;
        policy.audience = data[1] & 2 ? "me" : NULL;
        policy.allow_no_expiry = (data[1] & 4) != 0;
        tws_str header = tws_str_of(rest.ptr, line);
        token = tws_str_of(made, sign(made, header, tws_str_from(rest, line + 1)));
        REQUIRE(is_signed(token));
    }
    check_token(token, whole, &policy);
    return 0;
}
