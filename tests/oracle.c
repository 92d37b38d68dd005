/* Gives taskws.h's verdicts to whoever wants to compare them: integration/oracles.py.
 *
 * A line in: what to do, and its arguments in hexadecimal (`-`: empty). A line out.
 *
 *     json TEXT               = and the tokens, or ! and the offset of the first impossible byte
 *     utf8 TEXT               the offset of the first impossible byte, + behind a whole text
 *     base64 TEXT  url TEXT   = and the bytes, or !
 *     encode BYTES            both alphabets
 *     digest KEY BYTES        SHA-1, SHA-256, HMAC-SHA256
 *     jws KEY TOKEN           ok, or the number of the tws_jwt_error: the signature alone
 *     jwt KEY NOW TOKEN       = subject, expiry and scope, or the word of the refusal; NOW in
 *                             decimal. The issuer wanted is `joe`, the audience `me` */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS 3

static void put_hex(const void *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes;
    for (size_t i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
    if (len == 0) {
        putchar('-');
    }
}

/* -- the verdicts -- */

/* Structure as it is, keys and strings with their escapes resolved, numbers as they are written. */
static void put_token(const tws_json_token *token)
{
    static const char *const mark[] = {"", "", "{", "}", "[", "]", "k", "s", "n", "t", "f", "z"};
    tws_buf plain;
    printf("%s", mark[token->type]);
    if (token->type == TWS_JSON_NUMBER) {
        put_hex(token->text.ptr, token->text.len);
    }
    if (token->type == TWS_JSON_KEY || token->type == TWS_JSON_STRING) {
        tws_buf_init(&plain, NULL, SIZE_MAX);
        tws_json_unescape(token, &plain);
        put_hex(plain.ptr, plain.len);
        tws_buf_free(&plain);
    }
}

static void judge_json(tws_str text)
{
    tws_json_reader r;
    tws_json_token token;
    if (!tws_json_valid(text)) {
        tws_json_init(&r, text);
        while (tws_json_next(&r, NULL) != TWS_JSON_ERROR) {
        }
        printf("!%zu %s", r.pos, r.reason);
        return;
    }
    putchar('=');
    tws_json_init(&r, text);
    while (tws_json_next(&r, &token) != TWS_JSON_END) {
        put_token(&token);
    }
}

static void judge_utf8(tws_str text)
{
    tws_utf8 u;
    memset(&u, 0, sizeof u);
    printf("%zu", tws_utf8_feed(&u, text.ptr, text.len));
    printf("%s", tws_utf8_complete(&u) ? "+" : "");
}

static void judge_base64(tws_str text, bool url)
{
    size_t len;
    uint8_t *out = (uint8_t *)malloc(text.len + 2);
    tws_status status = url ? tws_base64url_decode(text, out, text.len + 2, &len)
                            : tws_base64_decode(text, out, text.len + 2, &len);
    putchar(status == TWS_OK ? '=' : '!');
    if (status == TWS_OK) {
        put_hex(out, len);
    }
    free(out);
}

static void encode(tws_str bytes)
{
    char *out = (char *)malloc(TWS_BASE64_LEN(bytes.len) + 1);
    put_hex(out, tws_base64_encode(bytes.ptr, bytes.len, out));
    putchar(' ');
    put_hex(out, tws_base64url_encode(bytes.ptr, bytes.len, out));
    free(out);
}

static void digest(tws_str key, tws_str bytes)
{
    uint8_t out[TWS_SHA256_BYTES];
    tws_sha256 h;
    tws_hmac_key k;
    tws_sha1(bytes.ptr, bytes.len, out);
    put_hex(out, TWS_SHA1_BYTES);
    putchar(' ');
    tws_sha256_init(&h);
    tws_sha256_feed(&h, bytes.ptr, bytes.len / 3);
    tws_sha256_feed(&h, bytes.ptr + bytes.len / 3, bytes.len - bytes.len / 3);
    tws_sha256_end(&h, out);
    put_hex(out, sizeof out);
    putchar(' ');
    tws_hmac_key_init(&k, key.ptr, key.len);
    tws_hmac_sha256(&k, bytes.ptr, bytes.len, out);
    put_hex(out, sizeof out);
}

static tws_jwt_error open_token(tws_jwt *jwt, tws_str key, tws_str token, void *scratch)
{
    tws_hmac_key k;
    tws_hmac_key_init(&k, key.ptr, key.len);
    tws_jwt_error error = tws_jwt_open(jwt, token, scratch, token.len);
    return error != TWS_JWT_OK ? error : tws_jwt_verify(jwt, &k);
}

static void judge_jws(tws_str key, tws_str token)
{
    tws_jwt jwt;
    void *scratch = malloc(token.len + 1);
    tws_jwt_error error = open_token(&jwt, key, token, scratch);
    if (error == TWS_JWT_OK) {
        printf("ok");
    } else {
        printf("%d", (int)error);
    }
    free(scratch);
}

static void judge_jwt(tws_str key, int64_t now_s, tws_str token)
{
    tws_jwt jwt;
    tws_jwt_claims claims;
    tws_jwt_policy policy;
    memset(&policy, 0, sizeof policy);
    policy.issuer = "joe";
    policy.audience = "me";
    char *scratch = (char *)malloc(2 * token.len + 21);
    tws_jwt_error error = open_token(&jwt, key, token, scratch);
    if (error == TWS_JWT_OK) {
        error = tws_jwt_judge(&jwt, &policy, now_s, scratch + token.len, token.len + 20, &claims);
    }
    if (error == TWS_JWT_OK) {
        putchar('=');
        put_hex(claims.subject.ptr, claims.subject.len);
        printf(" %" PRId64 " ", claims.expires_s);
        put_hex(claims.scope.ptr, claims.scope.len);
    } else {
        printf("%s", tws_jwt_word(error));
    }
    free(scratch);
}

/* -- lines -- */

/* The bytes of a word, in a block of exactly their number: reading on is seen. */
static tws_str take_hex(tws_str word)
{
    size_t len = tws_str_eq_c(word, "-") ? 0 : word.len / 2;
    char *bytes = (char *)malloc(len > 0 ? len : 1);
    for (size_t i = 0; i < len; i++) {
        char digits[3] = {word.ptr[2 * i], word.ptr[2 * i + 1], '\0'};
        bytes[i] = (char)strtoul(digits, NULL, 16);
    }
    return tws_str_of(bytes, len);
}

static void judge(tws_str what, const tws_str *a, int64_t now_s)
{
    if (tws_str_eq_c(what, "json")) {
        judge_json(a[0]);
    } else if (tws_str_eq_c(what, "utf8")) {
        judge_utf8(a[0]);
    } else if (tws_str_eq_c(what, "base64") || tws_str_eq_c(what, "url")) {
        judge_base64(a[0], what.len == 3);
    } else if (tws_str_eq_c(what, "encode")) {
        encode(a[0]);
    } else if (tws_str_eq_c(what, "digest")) {
        digest(a[0], a[1]);
    } else if (tws_str_eq_c(what, "jws")) {
        judge_jws(a[0], a[1]);
    } else if (tws_str_eq_c(what, "jwt")) {
        judge_jwt(a[0], now_s, a[2]);
    } else {
        exit(2);
    }
    putchar('\n');
}

int main(void)
{
    tws_buf line;
    char piece[65536];
    tws_buf_init(&line, NULL, SIZE_MAX);
    while (fgets(piece, sizeof piece, stdin) != NULL) {
        size_t len = strlen(piece);
        bool whole = piece[len - 1] == '\n';
        tws_buf_put(&line, piece, whole ? len - 1 : len);
        if (!whole) {
            continue;
        }
        tws_str rest = tws_buf_view(&line);
        tws_str what, word, argument[ARGUMENTS] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
        size_t count = 0;
        uint64_t now_s = 0;
        tws_str_split(&rest, ' ', &what);
        while (count < ARGUMENTS && tws_str_split(&rest, ' ', &word)) {
            if (count == 1) {
                (void)tws_str_u64(word, &now_s);
            }
            argument[count++] = take_hex(word);
        }
        judge(what, argument, (int64_t)now_s);
        while (count > 0) {
            free((void *)(uintptr_t)argument[--count].ptr);
        }
        tws_buf_clear(&line);
    }
    tws_buf_free(&line);
    return 0;
}
