/* publish.c: a worker's side of taskws: publishes one event, or a stream of them. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "common.h"

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
    "  --redis URL         publish over Redis instead\n"
    "  --help\n"
    "\n"
    "Lines are published as they come, many at once where they come faster. The ids of the\n"
    "stored events go to standard output, one a line. Exit status: 0 all stored, 1 failed (the\n"
    "line that failed is named, those before it are stored), 2 wrong usage.\n";

#define TIMEOUT_MS 15000
#define BATCH (60u << 10) /* below the server's 64 KiB for a body */

typedef struct job {
    options common;
    const char *event;
    const char *task_id, *status, *progress, *message, *name;
    const char *redis;
    client connection;
    tws_buf token, head, target;
    size_t lines; /* published so far */
} job;

/* -- sending -- */

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

/* Publish one object, or whole lines of them. Returns the exit status. */
static int publish(job *j, tws_str body, bool many)
{
    client *c = &j->connection;
    if (!options_token(&j->common, j->common.user, "publish", 300, &j->token)) {
        return 1;
    }
    authorization(&j->head, &j->token, many ? "Content-Type: application/x-ndjson\r\n"
                                            : "Content-Type: application/json\r\n");
    if (!connect_if_needed(j) ||
        !client_request(c, "POST", j->target.ptr, j->head.ptr, body, TIMEOUT_MS)) {
        fprintf(stderr, "%s:%s: %s\n", j->common.host, j->common.port, c->error);
        return 1;
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

/* -- one event -- */

static bool is_number(const char *text)
{
    tws_json_reader r;
    tws_json_init(&r, tws_str_c(text));
    return tws_json_valid(tws_str_c(text)) && tws_json_next(&r, NULL) == TWS_JSON_NUMBER;
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
static size_t whole_lines(tws_str s)
{
    size_t end = 0;
    size_t line = tws_str_find(s, '\n');
    while (line < s.len && (end == 0 || line < BATCH)) {
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
    for (size_t n = whole_lines(tws_buf_view(waiting)); n > 0;) {
        const tws_str lines = tws_str_of(waiting->ptr, n);
        int status = tws_str_trim(lines).len > 1 ? publish(j, lines, true) : 0;
        if (status != 0) {
            return status;
        }
        j->lines += count_lines(lines);
        tws_buf_consume(waiting, n);
        n = whole_lines(tws_buf_view(waiting));
    }
    return 0;
}

static int publish_stream(job *j)
{
    tws_buf waiting;
    ssize_t n;
    int status;
    tws_buf_init(&waiting, NULL, 1u << 20);
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
           option(a, "--redis", &j->redis);
}

static void check(const job *j, bool parts)
{
    if (j->common.user == NULL) {
        usage_error("is needed", "--user");
    }
    if (parts && j->event != NULL) {
        usage_error("an event and parts of one", j->event);
    }
    if (parts && j->task_id == NULL) {
        usage_error("is needed with the others", "--task-id");
    }
    if (j->progress != NULL && !is_number(j->progress)) {
        usage_error("wants a number", "--progress");
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
            usage_error("unknown", argv[a.at]);
        }
    }
    if (wants_help) {
        fputs(help, stdout);
        return 0;
    }
    if (j.redis != NULL) {
        fprintf(stderr, "--redis: not in this build yet\n");
        return 1;
    }
    const bool parts = j.task_id != NULL || j.status != NULL || j.progress != NULL ||
                       j.message != NULL || j.name != NULL;
    check(&j, parts);
    options_end(&j.common);
    j.connection.fd = -1;
    tws_buf_init(&j.token, NULL, 65536);
    tws_buf_init(&j.head, NULL, 65536);
    tws_buf_init(&j.target, NULL, 4096);
    tasks_target(&j.target, &j.common, j.common.user, "");
    if (parts) {
        return publish_parts(&j);
    }
    return j.event != NULL ? publish(&j, tws_str_c(j.event), false) : publish_stream(&j);
}
