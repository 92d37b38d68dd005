/* server.c: the whole endpoint as a program, with the dashboard inside. */
#define TASKWS_IMPLEMENTATION
/* Where it is refused it is done without. Take it away for a sandbox that does not refuse a system
 * call, but ends who calls. */
#define TASKWS_IO_URING
#include "taskws.h"
#include "web.h" /* the files of examples/web, made into C by the Makefile */

static const char usage[] =
    "usage: server [options]\n"
    "Serves each user's background tasks, live, to browsers; workers publish over HTTP or Redis.\n"
    "Every option down to --log-level, and --demo, is also an environment variable: --max-per-user\n"
    "is TASKWS_MAX_PER_USER. The command line overrides it: --host and --port also TASKWS_UNIX, and\n"
    "--secret also TASKWS_SECRET_FILE.\n"
    "\n"
    "where\n"
    "  --host HOST            address to listen on (127.0.0.1); :: for all\n"
    "  --port N               port; 0 takes a free one (8000)\n"
    "  --unix PATH            listen on a Unix socket instead\n"
    "  --prefix PATH          of the routes (/api/v1/ws); the dashboard is at /#prefix=PATH then\n"
    "  --threads N            threads (1)\n"
    "  --trust-proxy          the client's address is the last one of X-Forwarded-For\n"
    "who\n"
    "  --secret KEY           HS256 key of the tokens, 32 bytes or more; better in the environment\n"
    "  --secret-file FILE     the same from a regular file: one key, or lines of KID KEY [UNTIL];\n"
    "                         read again at SIGHUP\n"
    "  --origin LIST          Origins allowed, separated by commas; * any (any)\n"
    "  --cookie NAME          also take the token from that cookie (off; then --origin counts)\n"
    "  --audience NAME        tokens must have been made out to NAME, their aud (not looked at)\n"
    "  --issuer NAME          tokens must come from NAME, their iss (not looked at)\n"
    "store\n"
    "  --redis URL            redis://user:password@host:port/db or unix://path?db=N, where workers\n"
    "                         and other servers publish too (a store in this process's memory);\n"
    "                         better in the environment if it has a password; no TLS\n"
    "limits\n"
    "  --max-connections N    in all (as open files allow, less 64 and 5 a thread)\n"
    "  --max-per-user N       readers of one user; 0 off (64)\n"
    "  --max-per-ip N         connections of one address, of IPv6 one /64, closed unanswered beyond\n"
    "                         twice as many; 0 off (0)\n"
    "  --heartbeat SECONDS    ping after that much silence; 0 off (25)\n"
    "  --drain SECONDS        closes are spread over that at SIGTERM (10)\n"
    "  --compress-from N      compress messages of N bytes or more for clients that offer it; off:\n"
    "                         none (128)\n"
    "  --tls-cert FILE --tls-key FILE   not in this build yet\n"
    "logs\n"
    "  --log text|json        form of the log on standard error (text)\n"
    "  --log-level LEVEL      info, warn, error, none (info)\n"
    "other\n"
    "  --demo                 make up a key and some tasks, and print a URL to watch them, unless\n"
    "                         it listens on a Unix socket\n"
    "  --routes               print the routes and end\n"
    "  --redis-script         print the script that workers publish with, and end\n"
    "  --version, --help\n"
    "\n"
    "The dashboard is at /. Exit codes: 0 done, 1 failed, 2 usage.\n";

typedef struct options {
    tws_task_server_desc desc;
    const char *secret_file;
    bool demo, routes;
    bool key_made_up; /* by the demo */
    bool unix_is_variable, secret_is_variable, file_is_variable; /* not on the command line */
} options;

/* -- reading options -- */

static bool in_environment; /* the option being read comes from the environment */

/* --max-per-user is TASKWS_MAX_PER_USER. */
static const char *variable_of(const char *option)
{
    static char name[64] = "TASKWS_";
    size_t at = strlen("TASKWS_");
    for (const char *p = option + 2; *p != '\0' && at + 1 < sizeof name; p++) {
        name[at++] = *p == '-' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    }
    name[at] = '\0';
    return name;
}

static void fail(const char *what, const char *about)
{
    const char *name = in_environment ? variable_of(about) : about;
    fprintf(stderr, "server: %s%.*s: %s (see --help)\n", in_environment ? "$" : "",
            (int)strcspn(name, "="), name, what); /* what is behind = may be a secret */
    exit(2);
}

static uint32_t number(const char *name, const char *value, uint32_t most)
{
    uint64_t n;
    if (!tws_str_u64(tws_str_c(value), &n) || n > most) {
        char what[64];
        snprintf(what, sizeof what, "a number from 0 to %lu is needed", (unsigned long)most);
        fail(what, name);
    }
    return (uint32_t)n;
}

/* Seconds or a count, where 0 turns the thing off. */
static uint32_t number_or_off(const char *name, const char *value, uint32_t factor)
{
    uint32_t n = number(name, value, 1000000);
    return n == 0 ? TWS_OFF : n * factor;
}

static const char *a_name(const char *name, const char *value)
{
    if (value[0] == '\0') {
        fail("a name is needed", name);
    }
    return value;
}

static bool yes_or_no(const char *name, const char *value)
{
    static const char *const word[] = {"1", "true", "yes", "on", "0", "false", "no", "off"};
    size_t i = 0;
    while (i < 8 && strcmp(value, word[i]) != 0) {
        i++;
    }
    if (i == 8) {
        fail("1 or 0 (true or false, yes or no, on or off) is needed", name);
    }
    return i < 4;
}

/* A host or port on the command line overrides a path in the environment. */
static void prefer_tcp(options *o)
{
    if (!in_environment && o->unix_is_variable) {
        o->desc.unix_path = NULL;
    }
}

static void set_port(options *o, const char *name, const char *v)
{
    uint32_t port = number(name, v, 65535);
    o->desc.port = port == 0 ? TWS_PORT_ANY : (int)port;
    prefer_tcp(o);
}

static void set_compress(options *o, const char *name, const char *v)
{
    const uint32_t n = strcmp(v, "off") == 0 ? TWS_OFF : number(name, v, 0x7fffffff);
    o->desc.limits.compress_bytes = n == 0 ? 1 : n; /* in a desc 0 is the default */
}

static void set_log(options *o, const char *name, const char *v)
{
    o->desc.log.json = strcmp(v, "json") == 0;
    if (!o->desc.log.json && strcmp(v, "text") != 0) {
        fail("text or json", name);
    }
}

static void set_log_level(options *o, const char *name, const char *v)
{
    static const char *const level[] = {"debug", "info", "warn", "error", "none"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(v, level[i]) == 0) {
            o->desc.log.level = (tws_log_level)(TWS_LOG_DEBUG + i);
            return;
        }
    }
    fail("info, warn, error or none", name);
}

static void set_prefix(options *o, const char *name, const char *v)
{
    size_t len = strlen(v);
    if (len != 0 && (v[0] != '/' || v[len - 1] == '/')) {
        fail("a prefix begins with / and does not end with one", name);
    }
    o->desc.prefix = v;
}

static void set_host(options *o, const char *name, const char *v) { (void)name; o->desc.host = v; prefer_tcp(o); }
static void set_unix(options *o, const char *name, const char *v) { (void)name; o->desc.unix_path = v; o->unix_is_variable = in_environment; }
static void set_secret(options *o, const char *name, const char *v) { (void)name; o->desc.jwt_secret = v; o->secret_is_variable = in_environment; o->secret_file = !in_environment && o->file_is_variable ? NULL : o->secret_file; }
static void set_file(options *o, const char *name, const char *v) { (void)name; o->secret_file = v; o->file_is_variable = in_environment; }
static void set_redis(options *o, const char *name, const char *v) { (void)name; o->desc.redis_url = v; }
static void set_cookie(options *o, const char *name, const char *v) { (void)name; o->desc.token_cookie = v; }
static void set_origin(options *o, const char *name, const char *v) { (void)name; o->desc.origins = v; }
static void set_audience(options *o, const char *name, const char *v) { o->desc.token.audience = a_name(name, v); }
static void set_issuer(options *o, const char *name, const char *v) { o->desc.token.issuer = a_name(name, v); }
static void set_threads(options *o, const char *name, const char *v) { o->desc.threads = number(name, v, 64); }
static void set_most(options *o, const char *name, const char *v) { o->desc.max_connections = number(name, v, 10000000); }
static void set_user(options *o, const char *name, const char *v) { o->desc.max_per_user = number_or_off(name, v, 1); }
static void set_ip(options *o, const char *name, const char *v) { o->desc.max_per_ip = number_or_off(name, v, 1); }
static void set_beat(options *o, const char *name, const char *v) { o->desc.limits.heartbeat_ms = number_or_off(name, v, 1000); }
static void set_drain(options *o, const char *name, const char *v) { o->desc.drain_ms = number_or_off(name, v, 1000); }
static void set_proxy(options *o, const char *name, const char *v) { o->desc.trust_proxy = yes_or_no(name, v); }
static void set_demo(options *o, const char *name, const char *v) { o->demo = yes_or_no(name, v); }

static void set_tls(options *o, const char *name, const char *v)
{
    (void)o;
    (void)v;
    fprintf(stderr, "server: %s%s: TLS is not in this build yet; put a proxy that ends TLS in front\n",
            in_environment ? "$" : "", in_environment ? variable_of(name) : name);
    exit(1);
}

static const struct option {
    const char *name;
    bool flag; /* takes no value */
    void (*set)(options *o, const char *name, const char *value);
} option_table[] = {
    {"--host", false, set_host},           {"--port", false, set_port},
    {"--unix", false, set_unix},           {"--prefix", false, set_prefix},
    {"--threads", false, set_threads},     {"--trust-proxy", true, set_proxy},
    {"--secret", false, set_secret},       {"--secret-file", false, set_file},
    {"--origin", false, set_origin},       {"--cookie", false, set_cookie},
    {"--audience", false, set_audience},   {"--issuer", false, set_issuer},
    {"--redis", false, set_redis},         {"--max-connections", false, set_most},
    {"--max-per-user", false, set_user},   {"--max-per-ip", false, set_ip},
    {"--heartbeat", false, set_beat},      {"--drain", false, set_drain},
    {"--compress-from", false, set_compress},
    {"--tls-cert", false, set_tls},        {"--tls-key", false, set_tls},
    {"--log", false, set_log},             {"--log-level", false, set_log_level},
    {"--demo", true, set_demo},
};
#define OPTIONS (sizeof option_table / sizeof *option_table)

static void print_and_end(const char *text)
{
    fputs(text, stdout);
    exit(0);
}

static void read_option(options *o, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    const char *equals = strchr(arg, '=');
    size_t len = equals == NULL ? strlen(arg) : (size_t)(equals - arg);
    for (size_t k = 0; k < OPTIONS; k++) {
        const struct option *known = &option_table[k];
        if (strlen(known->name) != len || memcmp(known->name, arg, len) != 0) {
            continue;
        }
        const char *value = equals == NULL ? "1" : equals + 1;
        if (equals == NULL && !known->flag) {
            if (*i + 1 >= argc) {
                fail("a value is needed", arg);
            }
            *i += 1;
            value = argv[*i];
        }
        known->set(o, known->name, value);
        return;
    }
    fail("unknown option", arg);
}

/* Whatever else is said, also by an environment that would be refused. */
static void answer_questions(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_and_end(usage);
        } else if (strcmp(argv[i], "--version") == 0) {
            print_and_end("taskws " TWS_VERSION "\n");
        } else if (strcmp(argv[i], "--redis-script") == 0) {
            print_and_end(tws_redis_script());
        }
    }
}

static void read_options(options *o, int argc, char **argv)
{
    answer_questions(argc, argv);
    for (size_t k = 0; k < OPTIONS; k++) {
        const char *value = getenv(variable_of(option_table[k].name));
        if (value != NULL && value[0] != '\0') {
            in_environment = true;
            option_table[k].set(o, option_table[k].name, value);
        }
    }
    in_environment = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--routes") == 0) {
            o->routes = true;
        } else {
            read_option(o, argc, argv, &i);
        }
    }
    if (o->desc.jwt_secret != NULL && !o->secret_is_variable && o->secret_file != NULL) {
        fail("not together with --secret-file", "--secret");
    }
}

/* -- keys from a file -- */

#define MAX_KEYS 16

typedef struct key_file {
    char text[8192];
    tws_auth_key key[MAX_KEYS];
    size_t count;
} key_file;

/* KEY, or KID KEY [UNTIL], where UNTIL is a Unix time. Words are NUL-terminated in place. False for
 * a line without a key; *bad is set if UNTIL is no time, which must not mean "for ever". */
static bool read_key(char *line, tws_auth_key *key, bool *bad)
{
    char *word[3] = {NULL, NULL, NULL};
    size_t words = 0;
    for (char *p = strtok(line, " \t\r"); p != NULL; p = strtok(NULL, " \t\r")) {
        word[words < 3 ? words : 2] = p;
        words++;
    }
    if (words == 0 || word[0][0] == '#') {
        return false;
    }
    uint64_t until = 0;
    memset(key, 0, sizeof *key);
    key->kid = words == 1 ? NULL : word[0];
    key->secret = words == 1 ? word[0] : word[1];
    key->secret_len = strlen((const char *)key->secret);
    *bad = *bad || words > 3 ||
           (words == 3 && (!tws_str_u64(tws_str_c(word[2]), &until) || until == 0));
    key->until_s = (int64_t)until;
    return true;
}

/* Read again at SIGHUP, it must not make that wait, as opening a FIFO does. */
static FILE *open_regular(const char *path, const char **why)
{
    struct stat about;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const bool known = fd >= 0 && fstat(fd, &about) == 0;
    FILE *in = known && S_ISREG(about.st_mode) ? fdopen(fd, "r") : NULL;
    *why = known && !S_ISREG(about.st_mode) ? "not a regular file" : strerror(errno);
    if (in == NULL && fd >= 0) {
        close(fd);
    }
    return in;
}

/* NULL, or what is wrong with it. */
static const char *read_key_file(key_file *f, const char *path)
{
    const char *why;
    FILE *in = open_regular(path, &why);
    if (in == NULL) {
        return why;
    }
    size_t n = fread(f->text, 1, sizeof f->text - 1, in);
    const bool unread = ferror(in) != 0;
    fclose(in);
    f->text[n] = '\0';
    f->count = 0;
    bool bad = false;
    if (unread || strlen(f->text) != n) {
        return unread ? "cannot be read" : "not a text file";
    }
    if (n == sizeof f->text - 1) {
        return "longer than 8 KiB";
    }
    for (char *line = f->text; line != NULL;) {
        tws_auth_key key;
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        if (read_key(line, &key, &bad)) {
            if (f->count == MAX_KEYS) {
                return "more than 16 keys";
            }
            f->key[f->count++] = key;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return bad ? "lines are KEY, or KID KEY [UNTIL], which is a Unix time in seconds; a key has no "
                 "blanks"
               : NULL;
}

/* -- dashboard -- */

static void on_file(tws_peer *p, const tws_http_request *request, void *context)
{
    const struct web_file *file = (const struct web_file *)context;
    (void)request;
    tws_peer_respond(p, 200,
                     "Cache-Control: no-cache\r\n"
                     "Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:; "
                     "frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n"
                     "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n",
                     file->type, tws_str_of((const char *)file->bytes, file->len));
}

static tws_status add_dashboard(tws_server *server, tws_buf *error)
{
    tws_status status = TWS_OK;
    for (size_t i = 0; status == TWS_OK && i < sizeof web_files / sizeof *web_files; i++) {
        tws_route route = {"GET", web_files[i].path, on_file, NULL,
                           (void *)(uintptr_t)&web_files[i]};
        status = tws_server_route(server, &route, error);
        if (status == TWS_OK && strcmp(web_files[i].path, "/index.html") == 0) {
            route.pattern = "/";
            status = tws_server_route(server, &route, error);
        }
    }
    return status;
}

/* -- demo: a handful of tasks that run, end, fail and begin again -- */

typedef struct demo_task {
    const char *id, *name;
    const char *steps[4];
    unsigned pace;    /* percent a step */
    unsigned pause;   /* steps between two runs */
    bool fails;
    unsigned progress, waited, runs;
} demo_task;

static demo_task demo_tasks[] = {
    {"import-customers", "Import customers", {"Reading the file", "Checking rows", "Writing rows", "Indexing"}, 2, 14, false, 0, 0, 0},
    {"render-report", "Render the quarterly report", {"Collecting figures", "Drawing charts", "Typesetting", "Packing"}, 1, 20, false, 35, 0, 0},
    {"thumbnails", "Make thumbnails", {"Listing images", "Scaling", "Scaling", "Uploading"}, 4, 10, false, 60, 0, 0},
    {"sync-inventory", "Synchronise inventory", {"Connecting", "Comparing", "Comparing", "Applying"}, 3, 16, true, 10, 0, 0},
};

static void demo_publish(tws_task_server *ts, const demo_task *t, const char *state, const char *message)
{
    char json[384];
    int n = snprintf(json, sizeof json,
                     "{\"task_id\":\"%s\",\"name\":\"%s\",\"status\":\"%s\",\"progress\":%u,"
                     "\"message\":\"%s\"}",
                     t->id, t->name, state, t->progress, message);
    tws_task_server_publish(ts, "demo", json, (size_t)n, NULL);
}

static void demo_step(tws_task_server *ts, demo_task *t)
{
    bool fails_now = t->fails && t->runs % 2 == 0 && t->progress >= 70;
    if (t->waited == 0 && !fails_now && t->progress < 100) {
        demo_publish(ts, t, "running", t->steps[t->progress / 26]);
        t->progress = t->progress + t->pace > 100 ? 100 : t->progress + t->pace;
        return;
    }
    if (t->waited == 0) {
        demo_publish(ts, t, fails_now ? "failed" : "completed",
                     fails_now ? "The warehouse did not answer; it is tried again" : "Done");
    }
    if (++t->waited < t->pause) {
        return;
    }
    t->waited = 0;
    t->progress = 0;
    t->runs++;
    demo_publish(ts, t, "pending", "Waiting for a worker");
}

static void *demo_main(void *arg)
{
    tws_task_server *ts = (tws_task_server *)arg;
    struct timespec pause = {0, 250 * 1000 * 1000};
    while (!tws_server_draining(tws_task_server_base(ts))) {
        for (size_t i = 0; i < sizeof demo_tasks / sizeof *demo_tasks; i++) {
            demo_step(ts, &demo_tasks[i]);
        }
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* 32 random bytes in hexadecimal. */
static const char *demo_secret(void)
{
    static char text[65];
    uint8_t raw[32];
    if (!tws_sys_random(raw, sizeof raw)) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof raw; i++) {
        snprintf(text + 2 * i, 3, "%02x", raw[i]);
    }
    return text;
}

/* With a key that others use, too, its token only reads the demo's own tasks. */
static void print_demo_url(const options *o, const char *base)
{
    char token[2048], memory[1024];
    const char *prefix = o->desc.prefix;
    const char *secret = o->desc.jwt_secret;
    const tws_jwt_policy *policy = &o->desc.token;
    tws_buf b, claims;
    tws_hmac_key key;
    tws_buf_fixed(&claims, memory, sizeof memory);
    tws_buf_c(&claims, "{");
    tws_json_write_member(&claims, "sub", tws_str_c("demo"));
    tws_json_write_member_u64(&claims, "exp", tws_sys_wall_ms() / 1000 + 86400);
    if (o->key_made_up) {
        tws_json_write_member(&claims, "scope", tws_str_c("publish"));
    }
    if (policy->audience != NULL) {
        tws_json_write_member(&claims, "aud", tws_str_c(policy->audience));
    }
    if (policy->issuer != NULL) {
        tws_json_write_member(&claims, "iss", tws_str_c(policy->issuer));
    }
    tws_buf_c(&claims, "}");
    tws_hmac_key_init(&key, secret, strlen(secret));
    tws_buf_fixed(&b, token, sizeof token);
    tws_jwt_sign(&b, &key, tws_str_c(NULL), tws_buf_view(&claims));
    tws_wipe(&key, sizeof key);
    if (claims.status != TWS_OK || b.status != TWS_OK) {
        return; /* names too long for a link */
    }
    /* Behind the #, which a browser keeps to itself: the token reaches no log. */
    printf("open %s/#user=demo%s%s&token=%.*s\n", base, prefix == NULL ? "" : "&prefix=",
           prefix == NULL ? "" : prefix, (int)b.len, b.ptr);
}

/* -- signals, in a thread of their own -- */

typedef struct control {
    tws_task_server *ts;
    const options *o;
    sigset_t signals;
    bool ended; /* the server has */
} control;

static void reload_keys(const control *c)
{
    static key_file f;
    tws_log_line line;
    const char *file = c->o->secret_file;
    const char *why = file == NULL ? "there is no --secret-file" : read_key_file(&f, file);
    if (why == NULL && tws_task_server_set_keys(c->ts, f.key, f.count, &why) == TWS_OK) {
        why = NULL;
    }
    tws_wipe(&f, sizeof f);
    if (tws_log_begin(&line, tws_task_server_log(c->ts), why == NULL ? TWS_LOG_INFO : TWS_LOG_ERROR,
                      tws_sys_wall_ms(), why == NULL ? "keys replaced" : "keys kept")) {
        if (why != NULL) {
            tws_log_str(&line, "file", tws_str_c(file));
            tws_log_str(&line, "reason", tws_str_c(why));
        }
        tws_log_end(&line);
    }
}

static void *control_main(void *arg)
{
    const control *c = (const control *)arg;
    int number = 0;
    while (sigwait(&c->signals, &number) == 0 && !__atomic_load_n(&c->ended, __ATOMIC_ACQUIRE)) {
        if (number == SIGHUP) {
            reload_keys(c);
        } else if (number != SIGUSR1) {
            tws_server_stop(tws_task_server_base(c->ts));
        }
    }
    return NULL;
}

/* -- main -- */

static int serve(options *o, tws_task_server *ts)
{
    tws_server *server = tws_task_server_base(ts);
    char base[320];
    control c = {ts, o, {{0}}, false};
    pthread_t control_thread, demo_thread;
    const char *host = o->desc.host == NULL ? "127.0.0.1" : o->desc.host;
    bool v6 = strchr(host, ':') != NULL;
    if (o->desc.unix_path != NULL) {
        snprintf(base, sizeof base, "unix:%s", o->desc.unix_path);
    } else {
        snprintf(base, sizeof base, "http://%s%s%s:%d", v6 ? "[" : "", host, v6 ? "]" : "",
                 tws_server_port(server));
    }
    sigemptyset(&c.signals);
    sigaddset(&c.signals, SIGINT);
    sigaddset(&c.signals, SIGTERM);
    sigaddset(&c.signals, SIGHUP);
    sigaddset(&c.signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &c.signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* the log's reader may exit */
    if (pthread_create(&control_thread, NULL, control_main, &c) != 0) {
        fputs("server: cannot start a thread\n", stderr);
        return 1;
    }
    bool demo = o->demo && pthread_create(&demo_thread, NULL, demo_main, ts) == 0;
    printf("listening on %s\n", base);
    if (o->demo && o->desc.jwt_secret != NULL && o->desc.unix_path == NULL) {
        print_demo_url(o, base);
    }
    fflush(stdout);
    tws_status status = tws_server_run(server);
    if (demo) {
        pthread_join(demo_thread, NULL);
    }
    __atomic_store_n(&c.ended, true, __ATOMIC_RELEASE);
    pthread_kill(control_thread, SIGUSR1); /* only to wake it */
    pthread_join(control_thread, NULL);
    if (status != TWS_OK) {
        fprintf(stderr, "server: cannot start the threads: %s\n", tws_status_text(status));
    }
    return status == TWS_OK ? 0 : 1;
}

static int print_routes(tws_task_server *ts)
{
    char memory[4096];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_router_print(tws_server_router(tws_task_server_base(ts)), &b);
    fwrite(b.ptr, 1, b.len, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static options o;
    static key_file keys;
    char memory[512];
    tws_buf error;
    tws_task_server *ts = NULL;
    read_options(&o, argc, argv);
    if (o.secret_file != NULL) {
        tws_auth_ring *ring = NULL;
        const char *why = read_key_file(&keys, o.secret_file);
        if (why == NULL) { /* whose errors name no file */
            (void)tws_auth_ring_create(&ring, NULL, keys.key, keys.count, false, &why);
            tws_auth_ring_unref(ring);
        }
        if (why != NULL) {
            fprintf(stderr, "server: %s: %s\n", o.secret_file, why);
            return 1;
        }
        o.desc.keys = keys.key;
        o.desc.key_count = keys.count;
        o.desc.jwt_secret = NULL;
    } else if (o.desc.jwt_secret == NULL && (o.demo || o.routes)) {
        o.desc.jwt_secret = demo_secret();
        o.key_made_up = true;
    }
    tws_buf_fixed(&error, memory, sizeof memory);
    tws_status status = tws_task_server_create(&ts, &o.desc, &error);
    if (status == TWS_OK) {
        status = add_dashboard(tws_task_server_base(ts), &error);
    }
    if (status == TWS_OK && o.routes) {
        int code = print_routes(ts);
        tws_task_server_free(ts);
        return code;
    }
    if (status == TWS_OK) {
        status = tws_server_listen(tws_task_server_base(ts), &error);
    }
    int code = 1;
    if (status == TWS_OK) {
        code = serve(&o, ts);
    } else {
        code = status == TWS_ERR_ARGUMENT ? 2 : 1;
        fprintf(stderr, "server: %.*s\n", (int)error.len, error.ptr);
    }
    tws_task_server_free(ts);
    return code;
}
