/* watch.c: follows a user's tasks in a terminal, and stays with them: reconnects as the close code
 * says, resumes where it was, renews its token, and says why when it cannot. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "common.h"

#include <stdarg.h>
#include <sys/ioctl.h>

static const char help[] =
    "usage: watch --user ID [options]\n"
    "Follows a user's tasks, live; comes back by itself when the connection is lost.\n"
    "\n"
    OPTIONS_SERVER_HELP
    OPTIONS_TOKEN_HELP
    OPTIONS_SECRET_HELP
    "  --since ID          every event after this one, instead of the latest of each task\n"
    "  --raw               print the worker's JSON, one event a line\n"
    "  --once              print the latest of each task and end\n"
    "  --no-color          or $NO_COLOR\n"
    "  --help\n"
    "\n"
    "On a terminal a bar for each task, otherwise a line for each event; what happens to the\n"
    "connection goes to standard error. Exit status: 0 ended by you or by the server as normal,\n"
    "1 failed for good, 2 wrong usage.\n";

#define CONNECT_MS 10000
#define TOKEN_LIFE_S 3600
#define MAX_TASKS 1000
#define NAME_COLUMNS 24
#define BAR_COLUMNS 20

typedef struct task {
    char id[128];
    char name[128];
    char status[32];
    char message[256];
    double progress; /* 0 to 100; -1: not said */
} task;

/* What to do once a connection has ended. */
typedef enum advice { ADVICE_END, ADVICE_TOKEN, ADVICE_SPREAD, ADVICE_BACKOFF } advice;

typedef struct watch {
    options common;
    const char *since_option;
    bool raw, once, no_color, wants_help;
    bool live; /* bars, on a terminal */
    bool utf8;
    client connection;
    tws_buf token, last_token, head, target, scratch;
    char since[64]; /* the last event's id, "" before any */
    bool connected; /* the server has said so, on this connection */
    uint64_t silence_ms; /* after that much of it the connection is dead */
    unsigned failures; /* in a row */
    task tasks[MAX_TASKS];
    size_t task_count;
    int drawn_lines;
    uint64_t drawn_ms;
    bool dirty;
} watch;

static void on_signal(int number)
{
    (void)number;
    client_stopped = 1;
}

/* -- text on a terminal -- */

static const char *colour(const watch *w, const char *code)
{
    return w->no_color ? "" : code;
}

static void undraw(watch *w)
{
    if (w->drawn_lines > 0) {
        printf("\033[%dA\r\033[J", w->drawn_lines);
        fflush(stdout);
    }
    w->drawn_lines = 0;
    w->dirty = w->live;
}

static void notice(watch *w, const char *format, ...)
{
    char line[512];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    undraw(w);
    print_text(stderr, tws_str_c(line));
    fprintf(stderr, "\n");
}

/* The bytes of the character at p, which is not the end. */
static size_t character(const char *p)
{
    size_t n = 1;
    while (((unsigned char)p[n] & 0xc0u) == 0x80) {
        n++;
    }
    return n;
}

/* Print as much as fits into some columns, and fill them. East Asian characters and emoji take
 * two; all from U+1100 on are counted so, which at worst leaves a column empty. */
static void print_cell(const char *text, int columns)
{
    while (*text != '\0') {
        const size_t n = character(text);
        const int width = (unsigned char)*text >= 0xe1 ? 2 : 1;
        if (width > columns) {
            break;
        }
        print_text(stdout, tws_str_of(text, n));
        text += n;
        columns -= width;
    }
    printf("%*s", columns, "");
}

static bool is_over(const task *t)
{
    return strcmp(t->status, "completed") == 0 || strcmp(t->status, "failed") == 0 ||
           strcmp(t->status, "cancelled") == 0;
}

static const char *status_colour(const task *t)
{
    static const char *const known[][2] = {{"completed", "\033[32m"}, {"failed", "\033[31m"},
                                           {"cancelled", "\033[33m"}, {"running", "\033[36m"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(t->status, known[i][0]) == 0) {
            return known[i][1];
        }
    }
    return "\033[2m";
}

static void print_bar(const watch *w, const task *t, int columns)
{
    const double progress = t->progress < 0 ? 0 : t->progress;
    const int full = (int)(progress / 100 * columns + 0.5);
    const char *filled = w->utf8 ? "\xe2\x96\x88" : "#";
    const char *empty = w->utf8 ? "\xe2\x96\x91" : ".";
    for (int i = 0; i < columns; i++) {
        fputs(i < full ? filled : empty, stdout);
    }
    if (t->progress < 0) {
        printf("     ");
    } else {
        printf(" %3.0f%%", t->progress);
    }
}

/* A line of the terminal, of 19 columns at least: undraw counts them. Where it is short the figure
 * stands alone, then the name is cut. */
static void print_task(const watch *w, const task *t, int columns)
{
    int rest = columns - (1 + 5 + 1 + 10 + 1);
    const int bar = rest >= NAME_COLUMNS + BAR_COLUMNS ? BAR_COLUMNS : 0;
    rest -= bar;
    const int name = rest > NAME_COLUMNS ? NAME_COLUMNS : rest > 0 ? rest : 0;
    rest -= name;
    print_cell(t->name[0] != '\0' ? t->name : t->id, name);
    printf(" %s", colour(w, status_colour(t)));
    print_bar(w, t, bar);
    printf(" ");
    print_cell(t->status, 10);
    printf("%s ", colour(w, "\033[0m"));
    print_cell(t->message, rest > 0 ? rest : 0);
    printf("\033[K\n");
}

/* Where there is no room for all, those that are over go first, then the oldest. */
static void draw(watch *w)
{
    struct winsize size;
    bool asked = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;
    const int columns = (asked ? size.ws_col : 80) - 1;
    const size_t room = asked && size.ws_row > 2 ? size.ws_row - 1u : 23;
    size_t over = 0;
    size_t hidden = w->task_count > room ? w->task_count - room : 0;
    for (size_t i = 0; i < w->task_count; i++) {
        over += is_over(&w->tasks[i]);
    }
    size_t hidden_over = hidden < over ? hidden : over;
    hidden -= hidden_over;
    undraw(w);
    for (size_t i = 0; i < w->task_count; i++) {
        size_t *left = is_over(&w->tasks[i]) ? &hidden_over : &hidden;
        if (*left > 0) {
            --*left;
            continue;
        }
        print_task(w, &w->tasks[i], columns);
        w->drawn_lines++;
    }
    fflush(stdout);
    w->dirty = false;
    w->drawn_ms = client_now_ms();
}

/* -- tasks -- */

/* A copy cut to what fits, between two characters. */
static void copy_text(char *out, size_t cap, tws_str text)
{
    size_t n = text.len < cap - 1 ? text.len : cap - 1;
    while (n > 0 && n < text.len && ((unsigned char)text.ptr[n] & 0xc0u) == 0x80) {
        n--;
    }
    memcpy(out, n > 0 ? text.ptr : "", n);
    out[n] = '\0';
}

/* A value as text: a string's characters, nothing for null, of anything else its JSON. */
static void value_text(watch *w, tws_json_reader *r, const tws_json_token *value, char *out,
                       size_t cap)
{
    tws_str text = value->text;
    if (value->type == TWS_JSON_STRING && value->escaped) {
        tws_buf_clear(&w->scratch);
        tws_json_unescape(value, &w->scratch);
        text = tws_buf_view(&w->scratch);
    } else if (value->type == TWS_JSON_NULL) {
        text.len = 0;
    } else if (value->type != TWS_JSON_STRING) {
        (void)tws_json_skip(r, value, &text);
    }
    copy_text(out, cap, text);
}

static double progress_of(const char *text)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || !(value >= 0)) {
        return -1;
    }
    return value > 100 ? 100 : value;
}

/* What a worker wrote, whatever it is. Only what looks like a task's fields is read as such; of
 * an event without any its JSON is shown. */
static void read_task(watch *w, tws_str data, task *t)
{
    char progress[32] = "";
    const struct {
        const char *name;
        char *out;
        size_t cap;
    } fields[] = {{"task_id", t->id, sizeof t->id},
                  {"name", t->name, sizeof t->name},
                  {"status", t->status, sizeof t->status},
                  {"message", t->message, sizeof t->message},
                  {"progress", progress, sizeof progress}};
    tws_json_reader r;
    tws_json_token name, value;
    memset(t, 0, sizeof *t);
    tws_json_init(&r, data);
    (void)tws_json_next(&r, &value);
    while (r.depth == 1 && tws_json_next(&r, &name) == TWS_JSON_KEY) {
        size_t i = 0;
        while (i < 5 && !tws_str_eq_c(name.text, fields[i].name)) {
            i++;
        }
        (void)tws_json_next(&r, &value);
        if (i < 5) {
            value_text(w, &r, &value, fields[i].out, fields[i].cap);
        } else {
            (void)tws_json_skip(&r, &value, NULL);
        }
    }
    t->progress = progress_of(progress);
    if (t->status[0] == '\0' && t->message[0] == '\0' && progress[0] == '\0') {
        copy_text(t->message, sizeof t->message, data);
    }
}

/* Where the task of that id stands: its own place, or a new one; of too many the first that is
 * over gives up its own. */
static task *place_for(watch *w, const char *id)
{
    for (size_t i = 0; i < w->task_count; i++) {
        if (strcmp(w->tasks[i].id, id) == 0) {
            return &w->tasks[i];
        }
    }
    if (w->task_count == MAX_TASKS) {
        size_t gone = 0;
        while (gone < MAX_TASKS - 1 && !is_over(&w->tasks[gone])) {
            gone++;
        }
        memmove(&w->tasks[gone], &w->tasks[gone + 1], (MAX_TASKS - 1 - gone) * sizeof(task));
        w->task_count--;
    }
    task *t = &w->tasks[w->task_count++];
    memset(t, 0, sizeof *t);
    return t;
}

/* An event need not repeat what did not change. */
static void keep(task *now, const task *before)
{
    if (now->name[0] == '\0') {
        memcpy(now->name, before->name, sizeof now->name);
    }
    if (now->status[0] == '\0') {
        memcpy(now->status, before->status, sizeof now->status);
    }
    if (now->progress < 0 && strcmp(now->status, "completed") == 0) {
        now->progress = 100;
    }
    if (now->progress < 0 && before->id[0] != '\0') {
        now->progress = before->progress;
    }
}

static void print_padded(const char *text, size_t columns)
{
    const size_t n = strlen(text);
    print_text(stdout, tws_str_of(text, n));
    printf("%*s ", n < columns ? (int)(columns - n) : 0, "");
}

static void print_line(const task *t)
{
    char clock[16];
    char progress[8] = "";
    const time_t now = time(NULL);
    strftime(clock, sizeof clock, "%H:%M:%S", localtime(&now));
    if (t->progress >= 0) {
        snprintf(progress, sizeof progress, "%.0f%%", t->progress);
    }
    printf("%s ", clock);
    print_padded(t->id[0] != '\0' ? t->id : "-", NAME_COLUMNS);
    print_padded(t->status, 10);
    print_padded(progress, 4);
    print_text(stdout, tws_str_c(t->message));
    printf("\n");
    fflush(stdout);
}

static void on_task(watch *w, tws_str data)
{
    task t;
    if (w->raw) {
        if (isatty(STDOUT_FILENO)) {
            print_text(stdout, data);
        } else {
            fwrite(data.ptr, 1, data.len, stdout);
        }
        fputc('\n', stdout);
        fflush(stdout);
        return;
    }
    read_task(w, data, &t);
    task *place = place_for(w, t.id);
    keep(&t, place);
    *place = t;
    if (w->live) {
        w->dirty = true;
    } else {
        print_line(&t);
    }
}

/* -- messages -- */

static void set_since(watch *w, tws_str id)
{
    if (id.len > 0 && id.len < sizeof w->since) {
        memcpy(w->since, id.ptr, id.len);
        w->since[id.len] = '\0';
    }
}

static void on_connected(watch *w, tws_str message)
{
    uint64_t heartbeat_s = 25;
    (void)tws_str_u64(json_part(message, "heartbeat_s"), &heartbeat_s);
    w->connected = true;
    w->failures = 0;
    w->silence_ms = heartbeat_s == 0 ? UINT64_MAX : heartbeat_s * 1000 + 10000;
    if (w->since[0] == '\0') { /* no past follows: all that comes is to be had */
        const bool none = tws_str_eq_c(json_word(message, "last_id"), "0-0");
        set_since(w, none ? tws_str_c("0-0") : json_word(message, "id"));
    }
    const bool resumed = tws_str_eq_c(json_part(message, "resumed"), "true");
    notice(w, "connected%s", resumed ? ", resumed" : "");
}

/* Take the next token, where there is one: made from the secret, or written to the file since. */
static bool next_token(watch *w)
{
    tws_buf_clear(&w->last_token);
    tws_buf_str(&w->last_token, tws_buf_view(&w->token));
    return w->common.token == NULL &&
           options_token(&w->common, w->common.user, NULL, TOKEN_LIFE_S, &w->token) &&
           !tws_str_eq(tws_buf_view(&w->token), tws_buf_view(&w->last_token));
}

/* A token that ends is followed by the next one on the same connection. */
static void on_expiring(watch *w, tws_str message)
{
    tws_buf json;
    if (!next_token(w)) {
        const tws_str left = json_part(message, "expires_in");
        notice(w, "the token ends in %.*s s, and there is no other", (int)left.len, left.ptr);
        return;
    }
    tws_buf_init(&json, NULL, 65536);
    tws_buf_c(&json, "{\"type\":\"auth\"");
    tws_json_write_member(&json, "token", tws_buf_view(&w->token));
    tws_buf_char(&json, '}');
    (void)client_send(&w->connection, TWS_WS_TEXT, tws_buf_view(&json), CONNECT_MS);
    tws_buf_free(&json);
}

static void on_message(watch *w, tws_str message)
{
    const tws_str type = json_word(message, "type");
    if (tws_str_eq_c(type, "task")) {
        const tws_str id = json_word(message, "id");
        set_since(w, id);
        if (id.len == 0 && strcmp(w->since, "0-0") == 0) {
            w->since[0] = '\0'; /* events without ids cannot be resumed from */
        }
        on_task(w, json_part(message, "data"));
    } else if (tws_str_eq_c(type, "connected")) {
        on_connected(w, message);
    } else if (tws_str_eq_c(type, "expiring")) {
        on_expiring(w, message);
    } else if (tws_str_eq_c(type, "reset")) {
        const tws_str reason = json_word(message, "reason");
        w->task_count = 0;
        w->since[0] = '\0';
        notice(w, "starting over: %.*s", (int)reason.len, reason.ptr);
    } else if (tws_str_eq_c(type, "error")) {
        const tws_str code = json_word(message, "code");
        const tws_str text = json_word(message, "message");
        notice(w, "%.*s: %.*s", (int)code.len, code.ptr, (int)text.len, text.ptr);
    }
}

/* -- connections -- */

static advice advice_for(uint16_t code)
{
    switch (code) {
    case 1000: case 1002: case 1003: case 1007: case 1009: case 4400: case 4403: case 4404:
        return ADVICE_END;
    case 1001: return ADVICE_SPREAD;
    case 4401: return ADVICE_TOKEN;
    default: return ADVICE_BACKOFF;
    }
}

static const char *meaning_of(uint16_t code)
{
    switch (code) {
    case 1000: return "normal end";
    case 1001: return "the server is shutting down";
    case 1002: return "protocol error";
    case 1003: return "a type of data that it does not take";
    case 1006: return "connection lost";
    case 1007: return "not UTF-8";
    case 1009: return "too big";
    case 1011: return "server error";
    case 1013: return "overloaded";
    case 4400: return "bad parameter";
    case 4401: return "token refused or at its end";
    case 4403: return "not allowed";
    case 4408: return "deadline passed";
    case 4409: return "reading too slowly";
    case 4429: return "too many connections";
    default: return "";
    }
}

/* What a refusal over HTTP would be as a close code: 4401 for 401, and so on. */
static uint16_t code_of_status(int status)
{
    if (status == 0) {
        return 1006;
    }
    return status >= 400 && status < 500 ? (uint16_t)(4000 + status) : 1013;
}

static uint16_t refused(watch *w)
{
    const client *c = &w->connection;
    if (client_stopped) {
        return 1000;
    }
    if (c->response.status == 0) {
        notice(w, "%s:%s: %s", w->common.host, w->common.port, c->error);
    } else {
        notice(w, "%s:%s: HTTP %d %.*s", w->common.host, w->common.port, c->response.status,
               (int)(c->body.len < 300 ? c->body.len : 300), c->body.len > 0 ? c->body.ptr : "");
    }
    return code_of_status(c->response.status);
}

static bool connect_to(watch *w)
{
    return client_connect(&w->connection, w->common.host, w->common.port, CONNECT_MS);
}

/* Whom all this is for: SIGPIPE is ignored, so `watch | head -1` must see for itself that head has
 * gone. */
static bool reader_gone(void)
{
    struct pollfd p = {STDOUT_FILENO, 0, 0};
    return ferror(stdout) || (poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP | POLLNVAL)));
}

/* One connection from its beginning to its end. Returns the code that it ended with. */
static uint16_t follow(watch *w)
{
    client *c = &w->connection;
    char query[96];
    snprintf(query, sizeof query, "?format=json%s%s", w->since[0] == '\0' ? "" : "&since=",
             w->since);
    tasks_target(&w->target, &w->common, w->common.user, query);
    authorization(&w->head, &w->token, "");
    w->connected = false;
    w->silence_ms = 35000;
    if (!connect_to(w) || client_stopped || !client_upgrade(c, w->target.ptr, w->head.ptr, CONNECT_MS)) {
        return refused(w);
    }
    while (!client_stopped) {
        switch (client_receive(c, w->dirty ? 50 : 250)) {
        case CLIENT_MESSAGE: on_message(w, tws_buf_view(&c->body)); break;
        case CLIENT_CLOSED:
            notice(w, "closed with %u, %s%s%s", c->close_code, meaning_of(c->close_code),
                   c->close_reason[0] != '\0' ? ": " : "", c->close_reason);
            return c->close_code;
        case CLIENT_TIMEOUT: break;
        }
        if (w->dirty && client_now_ms() - w->drawn_ms >= 50) {
            draw(w);
        }
        if (reader_gone()) {
            client_stopped = 1;
        }
        if (client_now_ms() - c->heard_ms > w->silence_ms) {
            notice(w, "nothing heard for %u s", (unsigned)(w->silence_ms / 1000));
            return 1006;
        }
    }
    return 1000;
}

/* Many who lost the same server must not come back at the same moment: a random part of 5 s, or
 * of a time that doubles with each failure, from 1 s up to 30 s. */
static void wait_before_next(watch *w, advice what)
{
    uint32_t random;
    const unsigned doublings = w->failures < 5 ? w->failures : 5;
    const uint32_t most = what == ADVICE_SPREAD ? 5000 : 1000u << doublings;
    client_random(&random, sizeof random);
    const uint32_t ms = 200 + random % (most < 30000 ? most : 30000);
    const uint64_t until = client_now_ms() + ms;
    notice(w, "again in %u.%u s", ms / 1000, ms / 100 % 10);
    if (w->dirty) {
        draw(w);
    }
    while (!client_stopped && client_now_ms() < until) {
        struct timespec nap = {0, 50 * 1000000};
        nanosleep(&nap, NULL);
        if (reader_gone()) {
            client_stopped = 1;
        }
    }
    w->failures++;
}

/* A token fresh from the secret that opened no connection would be refused again. */
static bool may_renew(watch *w)
{
    return (w->connected || w->common.token_file != NULL) && next_token(w);
}

static int run(watch *w)
{
    for (;;) {
        if (!options_token(&w->common, w->common.user, NULL, TOKEN_LIFE_S, &w->token)) {
            return 1;
        }
        const uint16_t code = follow(w);
        const advice what = client_stopped ? ADVICE_END : advice_for(code);
        if (w->dirty) {
            draw(w);
        }
        (void)client_close(&w->connection, 1000, 1000);
        if (what == ADVICE_END || (what == ADVICE_TOKEN && !may_renew(w))) {
            return client_stopped || code == 1000 ? 0 : 1;
        }
        if (what != ADVICE_TOKEN) {
            wait_before_next(w, what);
        }
        if (client_stopped) {
            return 0;
        }
    }
}

/* The latest of each task, over plain HTTP. */
static int once(watch *w)
{
    client *c = &w->connection;
    tws_json_reader r;
    tws_json_token value;
    if (!options_token(&w->common, w->common.user, NULL, TOKEN_LIFE_S, &w->token)) {
        return 1;
    }
    tasks_target(&w->target, &w->common, w->common.user, "");
    authorization(&w->head, &w->token, "Accept: application/json\r\n");
    if (!connect_to(w) || !client_request(c, "GET", w->target.ptr, w->head.ptr,
                                          tws_str_of(NULL, 0), CONNECT_MS) ||
        c->response.status != 200) {
        (void)refused(w);
        return 1;
    }
    tws_json_init(&r, json_part(tws_buf_view(&c->body), "tasks"));
    (void)tws_json_next(&r, &value);
    while (tws_json_next(&r, &value) == TWS_JSON_OBJECT) {
        tws_str data;
        (void)tws_json_skip(&r, &value, &data);
        on_task(w, data);
    }
    client_disconnect(c);
    if (w->live) {
        draw(w);
    }
    return 0;
}

/* -- the command line -- */

static bool take(arguments *a, watch *w)
{
    return option_of_server(a, &w->common) || option_of_token(a, &w->common) ||
           option_of_secret(a, &w->common) || option(a, "--since", &w->since_option) ||
           flag(a, "--raw", &w->raw) || flag(a, "--once", &w->once) ||
           flag(a, "--no-color", &w->no_color) || flag(a, "--help", &w->wants_help);
}

/* Bars need a terminal; blocks need one of UTF-8. */
static void look_at_terminal(watch *w)
{
    const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0') {
            w->utf8 = strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL;
            break;
        }
    }
    w->no_color = w->no_color || variable("NO_COLOR") != NULL;
    w->live = !w->raw && isatty(STDOUT_FILENO);
}

int main(int argc, char **argv)
{
    arguments a = {argc, argv, 1};
    static watch w;
    options_init(&w.common);
    for (; a.at < argc; a.at++) {
        if (!take(&a, &w)) {
            usage_error("unknown option", argv[a.at]);
        }
    }
    if (w.wants_help) {
        fputs(help, stdout);
        return 0;
    }
    if (w.common.user == NULL) {
        usage_error("is needed", "--user");
    }
    if (w.since_option != NULL) {
        tws_event_id id;
        if (!tws_event_id_parse(tws_str_c(w.since_option), &id)) {
            usage_error("wants an id such as 1700000000000-0", "--since");
        }
        if (w.once) {
            usage_error("is not for --once, which prints the latest of each task", "--since");
        }
        w.since[tws_event_id_format(id, w.since)] = '\0'; /* without zeros in front */
    }
    options_end(&w.common);
    look_at_terminal(&w);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    w.connection.fd = -1;
    tws_buf_init(&w.token, NULL, 65536);
    tws_buf_init(&w.last_token, NULL, 65536);
    tws_buf_init(&w.head, NULL, 65536);
    tws_buf_init(&w.target, NULL, 4096);
    tws_buf_init(&w.scratch, NULL, CLIENT_MAX_BODY);
    return w.once ? once(&w) : run(&w);
}
