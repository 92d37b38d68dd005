/* token.c: makes and inspects the tokens (HS256) that a taskws server takes. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "common.h"

#include <inttypes.h>

static const char help[] =
    "usage: token --sub USER [options]      make a token for a user\n"
    "       token --inspect TOKEN           take one apart; with a secret also judge it\n"
    "\n"
    OPTIONS_SECRET_HELP
    "  --sub USER          the user\n"
    "  --exp-in SECONDS    how long it is valid; default 3600\n"
    "  --scope WORDS       \"publish\", \"admin\" or both\n"
    "  --kid ID            names the key, where the server has several\n"
    "  --claim NAME=VALUE  another claim; VALUE is JSON, or else a string. May be repeated\n"
    "  --inspect TOKEN     - reads it from standard input\n"
    "  --help\n"
    "\n"
    "The token, or what is in it, goes to standard output. Exit status: 0 done, 1 failed (with\n"
    "--inspect and a secret: the token would be refused), 2 wrong usage.\n";

#define MAX_CLAIMS 32
#define MAX_LIFE_S 1000000000 /* 31 years: never before 1970 */

typedef struct wish {
    options common;
    const char *subject;
    const char *scope;
    const char *kid;
    const char *inspect;
    int64_t life_s;
    const char *claims[MAX_CLAIMS];
    size_t claim_count;
} wish;

/* -- making -- */

static bool has_name(const char *claim, tws_str name)
{
    const tws_str whole = tws_str_c(claim);
    return tws_str_eq(tws_str_of(whole.ptr, tws_str_find(whole, '=')), name);
}

/* What is in every token, or has an option, and what stands twice, would be refused. */
static void check_name(const wish *w, size_t which, tws_str name)
{
    static const char *const own[] = {"sub", "iat", "exp", "scope"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (has_name(own[i], name)) {
            usage_error("is in every token, or has an option; twice it would be refused",
                        w->claims[which]);
        }
    }
    for (size_t i = 0; i < which; i++) {
        if (has_name(w->claims[i], name)) {
            usage_error("the same claim twice; a list is one, as in aud=[\"a\",\"b\"]",
                        w->claims[which]);
        }
    }
}

/* A server reads these three, if only to compare them with its own --issuer and --audience. */
static void check_value(const char *claim, tws_str name, tws_str value)
{
    tws_json_reader r;
    tws_json_token token = {TWS_JSON_STRING, value, false};
    int64_t seconds;
    if (tws_json_valid(value)) {
        tws_json_init(&r, value);
        (void)tws_json_next(&r, &token);
    }
    const bool audience = tws_str_eq_c(name, "aud");
    if (tws_str_eq_c(name, "nbf") && !tws_json_i64(&token, &seconds)) {
        usage_error("wants a Unix time in seconds", claim);
    }
    if ((audience || tws_str_eq_c(name, "iss")) && token.type != TWS_JSON_STRING &&
        !(audience && token.type == TWS_JSON_ARRAY)) {
        usage_error("wants a string; one that looks like other JSON has its quotes, \"5\"", claim);
    }
}

static void write_claim(const wish *w, size_t which, tws_buf *json)
{
    const char *claim = w->claims[which];
    char name[128];
    const tws_str whole = tws_str_c(claim);
    const size_t equals = tws_str_find(whole, '=');
    const tws_str value = tws_str_from(whole, equals + 1);
    if (equals == 0 || equals == whole.len || equals >= sizeof name) {
        usage_error("wants NAME=VALUE", "--claim");
    }
    memcpy(name, claim, equals);
    name[equals] = '\0';
    check_name(w, which, tws_str_c(name));
    check_value(claim, tws_str_c(name), value);
    if (!tws_json_valid(value)) {
        tws_json_write_member(json, name, value);
        return;
    }
    tws_json_write_key(json, name);
    tws_buf_str(json, value);
}

static int make(const wish *w)
{
    char memory[TWS_JWT_MAX], kid[MAX_KID];
    tws_hmac_key key;
    tws_buf json;
    tws_buf token;
    if (!options_key(&w->common, &key, kid)) {
        return 1;
    }
    const uint64_t now = (uint64_t)time(NULL);
    tws_buf_fixed(&json, memory, sizeof memory);
    tws_buf_init(&token, NULL, TWS_JWT_MAX);
    tws_buf_char(&json, '{');
    tws_json_write_member(&json, "sub", tws_str_c(w->subject));
    tws_json_write_member_u64(&json, "iat", now);
    tws_json_write_member_u64(&json, "exp", now + (uint64_t)w->life_s);
    if (w->scope != NULL) {
        tws_json_write_member(&json, "scope", tws_str_c(w->scope));
    }
    for (size_t i = 0; i < w->claim_count; i++) {
        write_claim(w, i, &json);
    }
    tws_buf_char(&json, '}');
    tws_jwt_sign(&token, &key, tws_str_c(w->kid != NULL ? w->kid : kid), tws_buf_view(&json));
    tws_wipe(&key, sizeof key);
    if (json.status != TWS_OK || token.status != TWS_OK) {
        fprintf(stderr, "the claims are too long for a token\n");
        return 1;
    }
    printf("%.*s\n", (int)token.len, token.ptr);
    tws_buf_free(&token);
    return 0;
}

/* -- inspecting -- */

static void print_json(const char *label, tws_str json)
{
    printf("%s", label);
    print_text(stdout, json);
    printf("\n");
}

static void print_time(const char *label, tws_str payload, const char *name)
{
    tws_json_token value;
    int64_t seconds;
    char text[64] = "";
    if (tws_json_member(payload, tws_str_c(name), &value) != TWS_OK ||
        !tws_json_i64(&value, &seconds)) {
        return;
    }
    const time_t t = (time_t)seconds;
    const struct tm *utc = gmtime(&t);
    if (utc != NULL) {
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", utc);
    }
    const int64_t from_now = seconds - (int64_t)time(NULL);
    printf("%s%s, %s%" PRId64 " s%s\n", label, text, from_now < 0 ? "" : "in ",
           from_now < 0 ? -from_now : from_now, from_now < 0 ? " ago" : "");
}

static int judge(const wish *w, const tws_jwt *jwt)
{
    static char scratch[TWS_JWT_MAX * 2];
    char kid[MAX_KID];
    tws_hmac_key key;
    tws_jwt_claims claims;
    if (!options_key(&w->common, &key, kid)) {
        return 1;
    }
    tws_jwt_error error = tws_jwt_verify(jwt, &key);
    tws_wipe(&key, sizeof key);
    if (error == TWS_JWT_OK) {
        error = tws_jwt_judge(jwt, NULL, (int64_t)time(NULL), scratch, sizeof scratch, &claims);
    }
    if (error == TWS_JWT_OK && claims.subject.len > TWS_MAX_USER_ID) {
        error = TWS_JWT_CLAIMS; /* as the server has it */
    }
    printf("judged   %s%s%s\n", error == TWS_JWT_OK ? "good" : tws_jwt_word(error),
           error == TWS_JWT_OK ? "" : ": ", error == TWS_JWT_OK ? "" : tws_jwt_text(error));
    return error == TWS_JWT_OK ? 0 : 1;
}

static int inspect(const wish *w)
{
    static char line[TWS_JWT_MAX + 2];
    static char scratch[TWS_JWT_MAX * 2];
    char header[TWS_JWT_MAX];
    size_t header_len = 0;
    tws_jwt jwt;
    tws_str token = tws_str_c(w->inspect);
    if (tws_str_eq_c(token, "-")) {
        token = tws_str_of(line, fread(line, 1, sizeof line, stdin));
        token.len = tws_str_find(token, '\n');
    }
    token = tws_str_trim(token);
    tws_str first = tws_str_of(token.ptr, tws_str_find(token, '.'));
    if (tws_base64url_decode(first, header, sizeof header, &header_len) == TWS_OK &&
        tws_json_valid(tws_str_of(header, header_len))) {
        print_json("header   ", tws_str_of(header, header_len));
    }
    const tws_jwt_error error = tws_jwt_open(&jwt, token, scratch, sizeof scratch);
    if (error != TWS_JWT_OK) {
        fprintf(stderr, "%s: %s\n", tws_jwt_word(error), tws_jwt_text(error));
        return 1;
    }
    print_json("claims   ", jwt.payload);
    print_time("issued   ", jwt.payload, "iat");
    print_time("valid at ", jwt.payload, "nbf");
    print_time("expires  ", jwt.payload, "exp");
    if (!options_has_secret(&w->common)) {
        printf("judged   not: no secret given, so anybody may have written this\n");
        return 0;
    }
    return judge(w, &jwt);
}

/* -- the command line -- */

static bool take(arguments *a, wish *w)
{
    const char *claim = NULL;
    if (option(a, "--claim", &claim)) {
        if (w->claim_count == MAX_CLAIMS) {
            usage_error("too many", "--claim");
        }
        w->claims[w->claim_count++] = claim;
        return true;
    }
    return option_of_secret(a, &w->common) || option_user(a, "--sub", &w->subject) ||
           option_number(a, "--exp-in", &w->life_s) || option(a, "--scope", &w->scope) ||
           option(a, "--kid", &w->kid) || option(a, "--inspect", &w->inspect);
}

int main(int argc, char **argv)
{
    arguments a = {argc, argv, 1};
    bool wants_help = false;
    static wish w;
    options_init(&w.common);
    w.life_s = 3600;
    for (; a.at < argc; a.at++) {
        if (!take(&a, &w) && !flag(&a, "--help", &wants_help)) {
            usage_error("unknown option", argv[a.at]);
        }
    }
    if (wants_help) {
        fputs(help, stdout);
        return 0;
    }
    if (!options_has_secret(&w.common)) {
        w.common.secret = variable("TASKWS_SECRET");
    }
    if (w.inspect != NULL) {
        return inspect(&w);
    }
    if (w.subject == NULL) {
        usage_error("is needed", "--sub");
    }
    if (w.life_s < -MAX_LIFE_S || w.life_s > MAX_LIFE_S) {
        usage_error("is too far from now", "--exp-in");
    }
    if (w.kid != NULL && strlen(w.kid) > TWS_JWT_MAX_KID) {
        usage_error("is too long", "--kid");
    }
    return make(&w);
}
