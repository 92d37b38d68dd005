/* publish.c: a worker's side of taskws: publishes one event, or a stream of them. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "common.h"
#include "redis_client.h"

static const char help[] =
    "usage: publish --user ID [options] EVENT            one event: a JSON object\n"
    "       publish --user ID [options] --task-id ID ... one event from its parts\n"
    "       publish --user ID [options] < EVENTS         a JSON object on each line\n"
    "\n"
    OPTIONS_SERVER_HELP
    OPTIONS_TOKEN_HELP
    OPTIONS_SECRET_HELP
    "  --task-id ID        names the task\n"
    "  --status WORD       pending, running, completed, failed or cancelled\n"
    "  --progress NUMBER   0 to 100\n"
    "  --message TEXT\n"
    "  --name TEXT         the task's name for people\n"
    "  --idempotency-key KEY   publishing again with the same key stores nothing again, and\n"
    "                      prints the same id; of a stream each line has its own, KEY:LINE\n"
    "  --redis URL         publish over Redis, which needs no server and no token:\n"
    "                      redis://user:password@host:port/db or unix://path?db=N\n"
    "  --redis-file FILE   where the URL stands, since others can see a command line\n"
    "  --live              with Redis: deliver and do not store; prints, instead of an id, how\n"
    "                      many servers heard it\n"
    "  --help\n"
    "\n"
    "Lines are published as they come, many at once where they come faster. The ids of the\n"
    "stored events go to standard output, one a line. Exit status: 0 all stored, 1 failed (those\n"
    "are stored whose ids were printed; a line that is no event is named, and publishing ends\n"
    "before it), 2 wrong usage.\n";

#define TIMEOUT_MS 15000
#define BATCH (60u << 10) /* below the server's 64 KiB for a body */
#define MAX_EVENT (64u << 10)
#define MAX_KEY 180 /* bytes: a server takes 200, a line's number included */

typedef struct job {
    options common;
    const char *event;
    const char *task_id, *status, *progress, *message, *name;
    const char *key;
    size_t lines; /* published so far */
    client connection;
    tws_buf token, fields, head, target;
    const char *redis_url, *redis_file;
    bool live;
    tws_redis_url url;
    redis_client redis;
    tws_buf channel, commands;
    char sha[2 * TWS_SHA1_BYTES + 1]; /* of the script, in hexadecimal */
} job;

/* Each line of a stream has a key of its own, the same however the stream is cut into requests. */
static void write_key(const job *j, tws_buf *b, bool many, size_t line)
{
    tws_buf_c(b, j->key);
    if (many) {
        tws_buf_char(b, ':');
        tws_buf_u64(b, line);
    }
}

static int complain(bool many, size_t line, const char *what, const char *more)
{
    if (many) {
        fprintf(stderr, "line %zu: ", line);
    }
    print_text(stderr, tws_str_c(what));
    fprintf(stderr, "%s%s%s\n", more[0] != '\0' ? " (" : "", more, more[0] != '\0' ? ")" : "");
    return 1;
}

/* What was sent has had no answer. */
static const char *unknown(const job *j)
{
    return j->key != NULL ? "stored or not is unknown; publish again with this key"
                          : "from here on, stored or not is unknown; with an "
                            "--idempotency-key it could be published again";
}

/* -- over HTTP -- */

static bool connect_if_needed(job *j)
{
    client *c = &j->connection;
    if (c->fd >= 0 && !client_stale(c)) {
        return true;
    }
    client_disconnect(c);
    return client_connect(c, j->common.host, j->common.port, TIMEOUT_MS);
}

/* {"id":"..."} and {"ids":["...",...]}, and {"error":{...},"ids":[...]} of a partial success. */
static void print_ids(tws_str answer)
{
    tws_json_reader r;
    tws_json_token token;
    bool in_ids = false;
    tws_json_init(&r, answer);
    while (tws_json_next(&r, &token) > TWS_JSON_ERROR) {
        if (token.type == TWS_JSON_KEY && r.depth == 1) {
            in_ids = tws_str_eq_c(token.text, "id") || tws_str_eq_c(token.text, "ids");
        } else if (token.type == TWS_JSON_STRING && in_ids) {
            print_text(stdout, token.text);
            printf("\n");
        }
    }
    fflush(stdout);
}

static int refused(const job *j, bool many)
{
    const client *c = &j->connection;
    if (many) {
        fprintf(stderr, "in the lines from %zu on: ", j->lines + 1);
    }
    fprintf(stderr, "HTTP %d: ", c->response.status);
    print_text(stderr, tws_buf_view(&c->body));
    fprintf(stderr, "\n");
    return 1;
}

/* A server numbers the lines of each request anew, so with a key each line is a request. */
static void write_fields(job *j, bool many)
{
    tws_buf *b = &j->fields;
    tws_buf_clear(b);
    tws_buf_c(b, many && j->key == NULL ? "Content-Type: application/x-ndjson\r\n"
                                        : "Content-Type: application/json\r\n");
    if (j->key != NULL) {
        tws_buf_c(b, "Idempotency-Key: ");
        write_key(j, b, many, j->lines + 1);
        tws_buf_c(b, "\r\n");
    }
    tws_buf_char(b, '\0');
}

static int publish_over_http(job *j, tws_str body, bool many)
{
    client *c = &j->connection;
    if (!options_token(&j->common, j->common.user, "publish", 300, &j->token)) {
        return 1;
    }
    write_fields(j, many);
    authorization(&j->head, &j->token, j->fields.ptr);
    if (!connect_if_needed(j)) {
        fprintf(stderr, "%s:%s: %s\n", j->common.host, j->common.port, c->error);
        return 1;
    }
    if (!client_request(c, "POST", j->target.ptr, j->head.ptr, body, TIMEOUT_MS)) {
        fprintf(stderr, "%s:%s: ", j->common.host, j->common.port);
        return complain(many, j->lines + 1, c->error, unknown(j));
    }
    print_ids(tws_buf_view(&c->body));
    if (c->response.status != 202) {
        return refused(j, many);
    }
    if (!c->response.keep_alive) {
        client_disconnect(c);
    }
    return 0;
}

/* -- over Redis, as any worker may -- */

/* The next event of text: all of it, or, where it has many, the next line that is not blank. */
static bool next_event(tws_str *rest, bool many, tws_str *event, size_t *line)
{
    while (rest->len > 0) {
        size_t n = many ? tws_str_find(*rest, '\n') : rest->len;
        *event = tws_str_trim(tws_str_of(rest->ptr, n));
        *rest = tws_str_from(*rest, n + 1);
        *line += 1;
        if (event->len > 0 && !tws_str_eq_c(*event, "\r")) {
            return true;
        }
    }
    return false;
}

static bool over_redis(const job *j)
{
    return j->redis_url != NULL || j->redis_file != NULL;
}

/* Why an event must not be published; NULL if it may. Redis takes anything of any length. */
static const char *not_an_event(const job *j, tws_str json)
{
    tws_json_token value;
    switch (tws_json_member(json, tws_str_c("task_id"), &value)) {
    case TWS_ERR_SYNTAX: return "this is not JSON";
    case TWS_ERR_ARGUMENT: return "this is not a JSON object";
    default:
        return over_redis(j) && json.len > MAX_EVENT ? "above 64 KiB, which servers do not deliver"
                                                     : NULL;
    }
}

/* The first of a row of commands brings the script along, so that none behind it can miss it. */
static void write_event(job *j, tws_str json, bool many, size_t line)
{
    tws_buf *out = &j->commands;
    char memory[MAX_KEY + 32];
    tws_buf key;
    const bool first = out->len == 0;
    if (j->live) {
        tws_resp_command(out, 3);
        tws_resp_word_c(out, "PUBLISH");
        tws_resp_word(out, tws_buf_view(&j->channel));
        tws_resp_word(out, json);
        return;
    }
    tws_resp_command(out, j->key != NULL ? 8 : 5);
    tws_resp_word_c(out, first ? "EVAL" : "EVALSHA");
    tws_resp_word_c(out, first ? tws_redis_script() : j->sha);
    tws_resp_word_c(out, "1");
    tws_resp_word(out, tws_buf_view(&j->channel));
    tws_resp_word(out, json);
    if (j->key != NULL) {
        tws_buf_fixed(&key, memory, sizeof memory);
        write_key(j, &key, many, line);
        tws_resp_word_c(out, ""); /* as many events as the script keeps */
        tws_resp_word_c(out, ""); /* and as long */
        tws_resp_word(out, tws_buf_view(&key));
    }
}

static void write_events(job *j, tws_str text, bool many)
{
    size_t line = j->lines;
    for (tws_str event; next_event(&text, many, &event, &line);) {
        write_event(j, event, many, line);
    }
}

/* Each event has its answer, in order. */
static int read_answers(job *j, tws_str text, bool many)
{
    size_t line = j->lines;
    int status = 0;
    for (tws_str event; next_event(&text, many, &event, &line);) {
        redis_reply reply;
        if (!redis_read(&j->redis, &reply, TIMEOUT_MS)) {
            return complain(many, line, j->redis.link.error, unknown(j));
        }
        if (reply.type == TWS_RESP_SERVER_ERROR) {
            status = complain(many, line, reply.text, redis_advice(reply.text));
        } else if (j->live) {
            printf("%lld\n", (long long)reply.integer);
        } else {
            printf("%s\n", reply.text);
        }
    }
    fflush(stdout);
    return status;
}

static int publish_over_redis(job *j, tws_str text, bool many)
{
    redis_client *r = &j->redis;
    tws_buf_clear(&j->commands);
    write_events(j, text, many);
    if (client_stale(&r->link)) { /* closed for being idle, say */
        client_disconnect(&r->link);
        if (!redis_connect(r, &j->url, TIMEOUT_MS)) {
            fprintf(stderr, "Redis at %s: ", r->where);
            return complain(false, 0, r->link.error, "");
        }
    }
    if (!client_flush(&r->link, &j->commands, TIMEOUT_MS)) {
        fprintf(stderr, "Redis at %s: ", r->where);
        return complain(many, j->lines + 1, r->link.error, unknown(j));
    }
    return read_answers(j, text, many);
}

static int prepare_redis(job *j)
{
    const char *why;
    uint8_t digest[TWS_SHA1_BYTES];
    tws_buf file;
    tws_buf_init(&file, NULL, 4096);
    if (j->redis_file != NULL && !read_file(j->redis_file, &file)) {
        return 1;
    }
    tws_str url = j->redis_file != NULL ? tws_buf_view(&file) : tws_str_c(j->redis_url);
    tws_status status = tws_redis_url_parse(url, &j->url, &why);
    if (status != TWS_OK) {
        fprintf(stderr, "%s: %s\n", j->redis_file != NULL ? j->redis_file : "--redis", why);
        return status == TWS_ERR_UNAVAILABLE ? 1 : 2;
    }
    tws_wipe(file.ptr, file.len);
    tws_buf_free(&file);
    tws_buf_init(&j->commands, NULL, CLIENT_MAX_BODY);
    tws_buf_init(&j->channel, NULL, 4096);
    tws_buf_c(&j->channel, "task_status:");
    tws_buf_c(&j->channel, j->common.user);
    tws_sha1(tws_redis_script(), strlen(tws_redis_script()), digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        snprintf(j->sha + 2 * i, 3, "%02x", digest[i]);
    }
    j->redis.link.fd = -1;
    return 0;
}

/* -- either way -- */

/* Publish one object, or whole lines of them up to one that is none. Returns the exit status. */
static int publish(job *j, tws_str text, bool many)
{
    const char *why = NULL;
    tws_str rest = text, event;
    size_t line = j->lines, events = 0;
    while (next_event(&rest, many, &event, &line)) {
        why = not_an_event(j, event);
        if (why != NULL) {
            text.len = (size_t)(event.ptr - text.ptr);
            break;
        }
        events++;
    }
    int status = 0;
    if (events > 0) {
        status = over_redis(j) ? publish_over_redis(j, text, many)
                               : publish_over_http(j, text, many);
    }
    return why == NULL || status != 0 ? status : complain(many, line, why, "");
}

/* -- one event -- */

/* Also a number in JSON, where it is put as it is. */
static bool is_percent(const char *text)
{
    tws_json_reader r;
    tws_json_init(&r, tws_str_c(text));
    const bool number = tws_json_valid(tws_str_c(text)) &&
                        tws_json_next(&r, NULL) == TWS_JSON_NUMBER;
    return number && strtod(text, NULL) >= 0 && strtod(text, NULL) <= 100;
}

static void write_part(tws_buf *b, const char *name, const char *value)
{
    if (value != NULL) {
        tws_json_write_member(b, name, tws_str_c(value));
    }
}

static int publish_parts(job *j)
{
    tws_buf b;
    tws_buf_init(&b, NULL, 1u << 20);
    tws_buf_char(&b, '{');
    write_part(&b, "task_id", j->task_id);
    write_part(&b, "name", j->name);
    write_part(&b, "status", j->status);
    if (j->progress != NULL) {
        tws_json_write_key(&b, "progress");
        tws_buf_c(&b, j->progress);
    }
    write_part(&b, "message", j->message);
    tws_buf_char(&b, '}');
    int status = publish(j, tws_buf_view(&b), false);
    tws_buf_free(&b);
    return status;
}

/* -- a stream -- */

static size_t count_lines(tws_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        n += s.ptr[i] == '\n';
    }
    return n;
}

/* The length of as many whole lines as fit into one request; 0 while there is none. */
static size_t whole_lines(tws_str s, size_t most)
{
    size_t end = 0;
    size_t line = tws_str_find(s, '\n');
    while (line < s.len && (end == 0 || line < most)) {
        end = line + 1;
        line = end + tws_str_find(tws_str_from(s, end), '\n');
    }
    return end;
}

static int publish_waiting(job *j, tws_buf *waiting, bool at_end)
{
    if (at_end && waiting->len > 0 && waiting->ptr[waiting->len - 1] != '\n') {
        tws_buf_char(waiting, '\n');
    }
    const size_t most = j->key != NULL && !over_redis(j) ? 0 : BATCH;
    for (size_t n = whole_lines(tws_buf_view(waiting), most); n > 0;) {
        const tws_str lines = tws_str_of(waiting->ptr, n);
        int status = tws_str_trim(lines).len > 1 ? publish(j, lines, true) : 0;
        if (status != 0) {
            return status;
        }
        j->lines += count_lines(lines);
        tws_buf_consume(waiting, n);
        n = whole_lines(tws_buf_view(waiting), most);
    }
    return 0;
}

static int publish_stream(job *j)
{
    tws_buf waiting;
    ssize_t n;
    int status;
    tws_buf_init(&waiting, NULL, 1u << 20);
    if (isatty(STDIN_FILENO)) {
        fprintf(stderr, "type events, one JSON object a line; Ctrl-D ends\n");
    }
    do {
        char part[16384];
        n = read(STDIN_FILENO, part, sizeof part);
        if (n < 0 && errno != EINTR) {
            perror("standard input");
            return 1;
        }
        tws_buf_put(&waiting, part, n > 0 ? (size_t)n : 0);
        if (waiting.status != TWS_OK) {
            fprintf(stderr, "line %zu is longer than 1 MiB\n", j->lines + 1);
            return 1;
        }
        status = publish_waiting(j, &waiting, n == 0);
    } while (status == 0 && n != 0);
    tws_buf_free(&waiting);
    return status;
}

/* -- the command line -- */

static bool take(arguments *a, job *j)
{
    if (a->values[a->at][0] != '-') {
        if (j->event != NULL) {
            usage_error("one event only; many come from standard input", a->values[a->at]);
        }
        j->event = a->values[a->at];
        return true;
    }
    return option_of_server(a, &j->common) || option_of_token(a, &j->common) ||
           option_of_secret(a, &j->common) || option(a, "--task-id", &j->task_id) ||
           option(a, "--status", &j->status) || option(a, "--progress", &j->progress) ||
           option(a, "--message", &j->message) || option(a, "--name", &j->name) ||
           option(a, "--idempotency-key", &j->key) || flag(a, "--live", &j->live) ||
           option_or_file(a, "--redis", &j->redis_url, "--redis-file", &j->redis_file);
}

static void check_key(const char *key)
{
    char copy[MAX_KEY + 1];
    if (key[0] == '\0') {
        usage_error("is empty", "--idempotency-key");
    }
    option_copy(copy, sizeof copy, tws_str_c(key), "--idempotency-key");
}

static void check(const job *j, bool parts)
{
    if (j->common.user == NULL) {
        usage_error("is needed", "--user");
    }
    if (j->key != NULL) {
        check_key(j->key);
    }
    if (j->live && (!over_redis(j) || j->key != NULL)) {
        usage_error("wants --redis and no --idempotency-key", "--live");
    }
    if (j->event != NULL && j->event[0] == '\0') {
        usage_error("an event is a JSON object", "''");
    }
    if (parts && j->event != NULL) {
        usage_error("give an event or its parts (--task-id, --status ...), not both", j->event);
    }
    if (parts && j->task_id == NULL) {
        usage_error("is needed with --status, --progress, --message and --name", "--task-id");
    }
    if (j->progress != NULL && !is_percent(j->progress)) {
        usage_error("wants a number from 0 to 100", "--progress");
    }
}

int main(int argc, char **argv)
{
    arguments a = {argc, argv, 1};
    bool wants_help = false;
    static job j;
    options_init(&j.common);
    for (; a.at < argc; a.at++) {
        if (!take(&a, &j) && !flag(&a, "--help", &wants_help)) {
            usage_error("unknown option", argv[a.at]);
        }
    }
    if (wants_help) {
        fputs(help, stdout);
        return 0;
    }
    const bool parts = j.task_id != NULL || j.status != NULL || j.progress != NULL ||
                       j.message != NULL || j.name != NULL;
    check(&j, parts);
    if (over_redis(&j)) {
        int status = prepare_redis(&j);
        if (status != 0) {
            return status;
        }
    }
    options_end(&j.common);
    j.connection.fd = -1;
    tws_buf_init(&j.token, NULL, 65536);
    tws_buf_init(&j.fields, NULL, 4096);
    tws_buf_init(&j.head, NULL, 65536);
    tws_buf_init(&j.target, NULL, 4096);
    tasks_target(&j.target, &j.common, j.common.user, "");
    if (parts) {
        return publish_parts(&j);
    }
    return j.event != NULL ? publish(&j, tws_str_c(j.event), false) : publish_stream(&j);
}
