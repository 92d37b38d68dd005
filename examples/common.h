/* common.h: what token, watch, publish and doctor have in common: a command line that says where
 * the server is, whose tasks, and which token or secret; and a look into the server's JSON. */
#ifndef TASKWS_COMMON_H
#define TASKWS_COMMON_H

#include "client.h" /* before any other */
#include "arguments.h"

#define OPTIONS_SERVER_HELP                                                              \
    "  --url URL           http://HOST[:PORT][/PREFIX], or ws://; the default is\n"       \
    "                      http://127.0.0.1:8000/api/v1/ws\n"                             \
    "  --host HOST  --port PORT  --prefix PREFIX    the same in parts\n"                  \
    "  --user ID           whose tasks\n"

#define OPTIONS_TOKEN_HELP                                                               \
    "  --token TOKEN       the token to show; or $TASKWS_TOKEN\n"                         \
    "  --token-file FILE   where it stands; read again for each connection\n"

#define OPTIONS_SECRET_HELP                                                              \
    "  --secret SECRET     the key to make tokens with; better $TASKWS_SECRET, since a\n" \
    "                      command line can be seen by others\n"                          \
    "  --secret-file FILE  where it stands; of a server's file of several, the first\n"

typedef struct options {
    char host[256];
    char port[8];
    char prefix[256];
    const char *user;
    const char *token;
    const char *token_file;
    const char *secret;
    const char *secret_file;
} options;

/* -- what the options say -- */

/* Part of an address: nothing in it may end the line of a request. */
static inline void option_copy(char *out, size_t cap, tws_str s, const char *name)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f) {
            usage_error("has a blank or a control character", name);
        }
    }
    if (s.len >= cap) {
        usage_error("is too long", name);
    }
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

static inline void option_host(options *o, tws_str s, const char *name)
{
    if (s.len == 0) {
        usage_error("wants a host", name);
    }
    option_copy(o->host, sizeof o->host, s, name);
}

/* What getaddrinfo takes is also a service's name, and 70000, which becomes 4464. */
static inline void option_port(options *o, tws_str s, const char *name)
{
    uint64_t n;
    if (!tws_str_u64(s, &n) || n == 0 || n > 65535) {
        usage_error("wants a port from 1 to 65535", name);
    }
    option_copy(o->port, sizeof o->port, s, name);
}

/* Empty, too: a server's routes need none. */
static inline void option_prefix(options *o, tws_str s, const char *name)
{
    if (s.len > 0 && (s.ptr[0] != '/' || tws_str_find(s, '?') < s.len ||
                      tws_str_find(s, '#') < s.len)) {
        usage_error("wants a prefix that begins with / and has no ? or #", name);
    }
    while (s.len > 0 && s.ptr[s.len - 1] == '/') {
        s.len--;
    }
    option_copy(o->prefix, sizeof o->prefix, s, name);
}

static inline void option_url(options *o, const char *url)
{
    const char *scheme = strstr(url, "://");
    tws_str rest = tws_str_c(url);
    if (tws_str_starts(rest, "https://") || tws_str_starts(rest, "wss://")) {
        usage_error("no TLS here; give the address behind the proxy", "--url");
    }
    if (!tws_str_starts(rest, "http://") && !tws_str_starts(rest, "ws://")) {
        usage_error("wants http://HOST:PORT", "--url");
    }
    if (strpbrk(url, "?#") != NULL) {
        usage_error("wants http://HOST:PORT/PREFIX and nothing from a ? or # on", "--url");
    }
    rest = tws_str_c(scheme + 3);
    tws_str host = tws_str_of(rest.ptr, tws_str_find(rest, '/'));
    tws_str prefix = tws_str_from(rest, host.len);
    const bool v6 = tws_str_starts(host, "["); /* RFC 3986 3.2.2 */
    tws_str port = v6 ? tws_str_from(host, tws_str_find(host, ']') + 1)
                      : tws_str_from(host, tws_str_find(host, ':'));
    host.len -= port.len;
    if (v6 && (host.ptr[host.len - 1] != ']' || (port.len > 0 && port.ptr[0] != ':'))) {
        usage_error("wants http://[ADDRESS]:PORT", "--url");
    }
    option_host(o, v6 ? tws_str_of(host.ptr + 1, host.len - 2) : host, "--url");
    option_port(o, port.len > 1 ? tws_str_from(port, 1) : tws_str_c("80"), "--url");
    if (prefix.len > 1) { /* else the one there is */
        option_prefix(o, prefix, "--url");
    }
}

/* What was to be printed and could not be, on a full disk say, must not look like a success. */
static inline void check_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("standard output: not all of it could be written\n", stderr);
        _exit(1);
    }
}

static inline void options_init(options *o)
{
    atexit(check_output);
    memset(o, 0, sizeof *o);
    option_url(o, "http://127.0.0.1:8000/api/v1/ws");
}

/* A user as a server takes one; else it would refuse, or, told a prefix of it, show another's. */
static inline bool option_user(arguments *a, const char *name, const char **user)
{
    if (!option(a, name, user)) {
        return false;
    }
    const tws_str s = tws_str_c(*user);
    if (s.len == 0 || s.len > TWS_MAX_USER_ID || !tws_utf8_valid(s)) {
        usage_error("wants 1 to 128 bytes of UTF-8", name);
    }
    return true;
}

static inline bool option_of_server(arguments *a, options *o)
{
    const char *value;
    if (option(a, "--url", &value)) {
        option_url(o, value);
    } else if (option(a, "--host", &value)) {
        option_host(o, tws_str_c(value), "--host");
    } else if (option(a, "--port", &value)) {
        option_port(o, tws_str_c(value), "--port");
    } else if (option(a, "--prefix", &value)) {
        option_prefix(o, tws_str_c(value), "--prefix");
    } else {
        return option_user(a, "--user", &o->user);
    }
    return true;
}

static inline bool option_of_token(arguments *a, options *o)
{
    return option_or_file(a, "--token", &o->token, "--token-file", &o->token_file);
}

static inline bool option_of_secret(arguments *a, options *o)
{
    return option_or_file(a, "--secret", &o->secret, "--secret-file", &o->secret_file);
}

/* As in the server's environment, an empty one is none. */
static inline const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* The command line takes precedence over the environment. */
static inline void options_end(options *o)
{
    if (o->token == NULL && o->token_file == NULL && o->secret == NULL && o->secret_file == NULL) {
        o->token = variable("TASKWS_TOKEN");
        o->secret = o->token == NULL ? variable("TASKWS_SECRET") : NULL;
    }
}

/* -- what comes of it: C strings in buffers -- */

/* A file's bytes without the line end behind the last of them. */
static inline bool read_file(const char *path, tws_buf *b)
{
    FILE *f = fopen(path, "rb");
    char part[4096];
    size_t n;
    tws_buf_clear(b);
    do {
        n = f != NULL ? fread(part, 1, sizeof part, f) : 0;
        tws_buf_put(b, part, n);
    } while (n > 0);
    if (f == NULL || ferror(f) || b->status != TWS_OK) {
        fprintf(stderr, "%s: %s\n", path, b->status != TWS_OK ? "too long" : strerror(errno));
        return false;
    }
    fclose(f);
    while (b->len > 0 && (b->ptr[b->len - 1] == '\n' || b->ptr[b->len - 1] == '\r')) {
        b->len--;
    }
    return true;
}

/* The next word of a line, and what is behind it. */
static inline tws_str next_word(tws_str *line)
{
    size_t begin = 0, end;
    while (begin < line->len && strchr(" \t\r", line->ptr[begin]) != NULL) {
        begin++;
    }
    for (end = begin; end < line->len && strchr(" \t\r", line->ptr[end]) == NULL;) {
        end++;
    }
    const tws_str word = tws_str_of(line->ptr + begin, end - begin);
    *line = tws_str_from(*line, end);
    return word;
}

/* The first key of a file as the server reads it: KEY, or KID KEY [UNTIL], on each line. */
static inline tws_str first_key(tws_str file, tws_str *kid)
{
    while (file.len > 0) {
        tws_str line = tws_str_of(file.ptr, tws_str_find(file, '\n'));
        file = tws_str_from(file, line.len + 1);
        const tws_str first = next_word(&line);
        const tws_str second = next_word(&line);
        if (first.len > 0 && first.ptr[0] != '#') {
            *kid = second.len > 0 ? first : tws_str_of("", 0);
            return second.len > 0 ? second : first;
        }
    }
    return tws_str_of("", 0);
}

#define MAX_KID (TWS_JWT_MAX_KID + 1)

/* The prepared key and its kid, "" without one. False, after printing why, when there is none. */
static inline bool options_key(const options *o, tws_hmac_key *key, char kid[MAX_KID])
{
    tws_buf file;
    tws_str secret, name = tws_str_of("", 0);
    tws_buf_init(&file, NULL, 65536);
    bool have = o->secret_file == NULL || read_file(o->secret_file, &file);
    secret = o->secret_file != NULL ? first_key(tws_buf_view(&file), &name) : tws_str_c(o->secret);
    if (have && secret.len == 0) {
        fprintf(stderr, "no secret: give --secret-file or $TASKWS_SECRET\n");
    } else if (have && name.len >= MAX_KID) {
        fprintf(stderr, "%s: a key's name is too long\n", o->secret_file);
        have = false;
    } else if (have && secret.len < 32) {
        fprintf(stderr, "warning: a server refuses a secret of less than 32 bytes\n");
    }
    tws_hmac_key_init(key, secret.ptr, secret.len);
    have = have && secret.len > 0;
    name.len = have ? name.len : 0;
    memcpy(kid, name.ptr, name.len);
    kid[name.len] = '\0';
    tws_wipe(file.ptr, file.len);
    tws_buf_free(&file);
    return have;
}

static inline bool options_has_secret(const options *o)
{
    return o->secret != NULL || o->secret_file != NULL;
}

static inline bool token_make(const options *o, const char *user, const char *scope, int64_t life_s,
                              tws_buf *token)
{
    char memory[4096], kid[MAX_KID];
    tws_hmac_key key;
    tws_buf json;
    tws_buf_clear(token);
    if (!options_key(o, &key, kid)) {
        return false;
    }
    tws_buf_fixed(&json, memory, sizeof memory);
    tws_buf_char(&json, '{');
    tws_json_write_member(&json, "sub", tws_str_c(user));
    tws_json_write_member_u64(&json, "exp", (uint64_t)(time(NULL) + life_s));
    if (scope != NULL) {
        tws_json_write_member(&json, "scope", tws_str_c(scope));
    }
    tws_buf_char(&json, '}');
    tws_jwt_sign(token, &key, tws_str_c(kid), tws_buf_view(&json));
    tws_wipe(&key, sizeof key);
    return json.status == TWS_OK && token->status == TWS_OK;
}

/* The token to send: the given one, or one made for this user. False after printing why. */
static inline bool options_token(const options *o, const char *user, const char *scope,
                                 int64_t life_s, tws_buf *token)
{
    bool have = true;
    tws_buf_clear(token);
    if (o->token_file != NULL) {
        have = read_file(o->token_file, token);
    } else if (o->token != NULL) {
        tws_buf_c(token, o->token);
    } else if (!options_has_secret(o)) {
        fprintf(stderr, "no token: give --token, --token-file or $TASKWS_TOKEN, or a secret\n");
        return false;
    } else {
        have = token_make(o, user, scope, life_s, token);
    }
    if (have && token->len == 0) {
        fprintf(stderr, "the token is empty\n");
        return false;
    }
    for (size_t i = 0; have && i < token->len; i++) {
        if ((unsigned char)token->ptr[i] <= ' ' || (unsigned char)token->ptr[i] >= 0x7f) {
            fprintf(stderr, "the token has a blank or a character that is not ASCII\n");
            return false;
        }
    }
    return have;
}

/* The field lines of a request that shows this token. */
static inline void authorization(tws_buf *head, const tws_buf *token, const char *more)
{
    tws_buf_clear(head);
    tws_buf_c(head, "Authorization: Bearer ");
    tws_buf_str(head, tws_buf_view(token));
    tws_buf_c(head, "\r\n");
    tws_buf_c(head, more);
    tws_buf_char(head, '\0');
}

/* {prefix}/tasks/{user} and the query, NUL-terminated. */
static inline void tasks_target(tws_buf *target, const options *o, const char *user,
                                const char *query)
{
    tws_buf_clear(target);
    tws_buf_c(target, o->prefix);
    tws_buf_c(target, "/tasks/");
    for (; *user != '\0'; user++) {
        char escaped[4];
        snprintf(escaped, sizeof escaped, "%%%02X", (unsigned char)*user);
        if (strchr("-._~", *user) != NULL || (*user >= '0' && *user <= '9') ||
            (*user >= 'A' && *user <= 'Z') || (*user >= 'a' && *user <= 'z')) {
            tws_buf_char(target, *user);
        } else {
            tws_buf_c(target, escaped);
        }
    }
    tws_buf_c(target, query);
    tws_buf_char(target, '\0');
}

/* The bytes of the character that s begins with if that steers a terminal, or turns text around: a
 * control, also of C1, U+2028 to 202E, U+2066 to 2069. Else 0. */
static inline size_t steers(tws_str s)
{
    const unsigned char *c = (const unsigned char *)s.ptr;
    if (c[0] < ' ' || c[0] == 0x7f) {
        return 1;
    }
    if (c[0] == 0xc2 && s.len > 1 && c[1] <= 0x9f) {
        return 2;
    }
    if (c[0] != 0xe2 || s.len < 3) {
        return 0;
    }
    const bool turns = (c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae) ||
                       (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);
    return turns ? 3 : 0;
}

/* Print what others wrote: nothing in it may steer this terminal. */
static inline void print_text(FILE *to, tws_str s)
{
    while (s.len > 0) {
        const size_t n = steers(s);
        fputc(n > 0 ? '?' : s.ptr[0], to);
        s = tws_str_from(s, n > 0 ? n : 1);
    }
}

/* -- what the server says -- */

/* The raw JSON of an object's member; empty without one. */
static inline tws_str json_part(tws_str json, const char *name)
{
    tws_json_reader r;
    tws_json_token key, value;
    tws_str part = tws_str_of(NULL, 0);
    tws_json_init(&r, json);
    (void)tws_json_next(&r, &value);
    while (r.depth == 1 && tws_json_next(&r, &key) == TWS_JSON_KEY) {
        const bool wanted = tws_str_eq_c(key.text, name);
        (void)tws_json_next(&r, &value);
        (void)tws_json_skip(&r, &value, wanted ? &part : NULL);
    }
    return part;
}

/* A string member without its quotes; in the server's ids and words nothing is escaped. */
static inline tws_str json_word(tws_str json, const char *name)
{
    const tws_str part = json_part(json, name);
    return part.len >= 2 && part.ptr[0] == '"' ? tws_str_of(part.ptr + 1, part.len - 2)
                                               : tws_str_of(NULL, 0);
}

#endif /* TASKWS_COMMON_H */
