/* Section 13: figures and log lines. What a peer sends may be shown in a log, but may not write
 * one: each attack below is a row with the exact line that it gets. */
#include "test.h"

/* -- figures -- */

TEST("a counter adds up and is read as it stands")
{
    tws_counter c = 0;
    tws_count(&c, 1);
    tws_count(&c, 41);
    CHECK_EQ(tws_counted(&c), 42);
}

TEST("a duration is counted under the smallest power of two that is not below it")
{
    static const struct {
        uint64_t us;
        size_t bucket;
    } rows[] = {
        {0, 0}, {1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {1000, 10}, {1024, 10}, {1025, 11},
        {1u << 26, 26}, {(1u << 26) + 1, 27}, {UINT64_MAX, 27},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_histogram h;
        memset(&h, 0, sizeof h);
        test_row("duration", i);
        tws_histogram_record(&h, rows[i].us);
        for (size_t k = 0; k <= TWS_HISTOGRAM_BUCKETS; k++) {
            CHECK_EQ(tws_counted(&h.bucket[k]), k == rows[i].bucket);
        }
        CHECK(tws_counted(&h.sum_us) == rows[i].us);
    }
}

TEST("merged histograms are as one that recorded all")
{
    tws_histogram a, b, both;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    memset(&both, 0, sizeof both);
    for (uint64_t us = 1; us < 5000; us += 7) {
        tws_histogram_record(us % 2 == 0 ? &a : &b, us);
        tws_histogram_record(&both, us);
    }
    tws_histogram_record(&b, UINT64_MAX / 2); /* beyond the last bound */
    tws_histogram_record(&both, UINT64_MAX / 2);
    tws_histogram_merge(&a, &b);
    CHECK_MEM(&a, sizeof a, &both, sizeof both);
}

TEST("metrics are written as Prometheus reads them")
{
    char memory[512];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_metrics_write(&b, "taskws_events_total", "Events published.", "counter", NULL, 7);
    tws_metrics_write(&b, "taskws_open", "Open connections.", "gauge", "kind=\"ws\"", 0);
    tws_metrics_write(&b, "taskws_open", NULL, "gauge", "kind=\"sse\"", UINT64_MAX);
    CHECK_STR(tws_buf_view(&b), "# HELP taskws_events_total Events published.\n"
                                "# TYPE taskws_events_total counter\n"
                                "taskws_events_total 7\n"
                                "# HELP taskws_open Open connections.\n"
                                "# TYPE taskws_open gauge\n"
                                "taskws_open{kind=\"ws\"} 0\n"
                                "taskws_open{kind=\"sse\"} 18446744073709551615\n");
}

TEST("a histogram is cumulative, in seconds, and agrees with itself")
{
    char memory[4096];
    tws_buf b;
    tws_histogram h;
    memset(&h, 0, sizeof h);
    tws_histogram_record(&h, 1);
    tws_histogram_record(&h, 3);
    tws_histogram_record(&h, 1500000);
    tws_histogram_record(&h, 100000000);
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_metrics_write_histogram(&b, "t_seconds", "Time.", &h);
    tws_str text = tws_buf_view(&b);
    tws_str line;
    size_t lines = 0;
    static const struct {
        size_t line;
        const char *text;
    } rows[] = {
        {0, "# HELP t_seconds Time."},
        {1, "# TYPE t_seconds histogram"},
        {2, "t_seconds_bucket{le=\"0.000001\"} 1"},
        {3, "t_seconds_bucket{le=\"0.000002\"} 1"},
        {4, "t_seconds_bucket{le=\"0.000004\"} 2"},
        {22, "t_seconds_bucket{le=\"1.048576\"} 2"},
        {23, "t_seconds_bucket{le=\"2.097152\"} 3"},
        {28, "t_seconds_bucket{le=\"67.108864\"} 3"},
        {29, "t_seconds_bucket{le=\"+Inf\"} 4"},
        {30, "t_seconds_sum 101.500004"},
        {31, "t_seconds_count 4"},
    };
    for (size_t row = 0; tws_str_split(&text, '\n', &line); lines++) {
        if (row < sizeof rows / sizeof rows[0] && rows[row].line == lines) {
            CHECK_STR(line, rows[row++].text);
        }
    }
    CHECK_EQ(lines, 32);
    CHECK_EQ(b.status, TWS_OK);
}

/* -- redaction -- */

#define JWT "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIyIn0.c2lnbmF0dXJl-_"

/* Its JSON begins with { and a blank, and { and a line end. */
#define BLANK_JWT "eyAiYWxnIjoiSFMyNTYifQ.ewogInN1YiI6IjIifQ.0123456789012345678901234567890123456789-_z"

static const struct {
    const char *text;
    const char *redacted;
} redactions[] = {
    {"", ""},
    {"nothing to hide", "nothing to hide"},
    {"GET /tasks/2?token=" JWT " HTTP/1.1", "GET /tasks/2?token=*** HTTP/1.1"},
    {"/t?a=1&token=opaque&b=2", "/t?a=1&token=***&b=2"},
    {"/t?token=a&token=b", "/t?token=***&token=***"},
    {"?access_token=opaque", "?access_token=***"},
    {"?TOKEN=opaque#x", "?token=***#x"},
    {"?next=%2Ft%3Ftoken%3Dopaque%26b", "?next=%2Ft%3Ftoken=***"},
    {"?next=token%3dopaque", "?next=token=***"},
    {"token=", "token="},
    {"token=&a=b", "token=&a=b"},
    {"token", "token"},
    {"token expired", "token expired"},
    {"a token=with\nline", "a token=***"},
    {"token=a\tb", "token=***"},
    {"{\"type\":\"auth\",\"token\":\"opaque\"}", "{\"type\":\"auth\",\"token=***\"}"},
    {"{\"token\": \"opaque\"}", "{\"token=***\"}"},
    {"Authorization: Bearer " JWT, "Authorization: Bearer ***"},
    {"bearer." JWT ", taskws.v1", "bearer.***, taskws.v1"},
    {"cookie=" JWT "; a=b", "cookie=***; a=b"},
    {"\"" JWT "\"", "\"***\""},
    {JWT JWT, "***"},
    {JWT " " JWT, "*** ***"},
    {"eyJhbGciOiJub25lIn0.eyJzdWIiOiIyIn0.", "***"},
    {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIyIn0", "***"},
    {"eyJhbGciOiJIUzI1NiJ9%2EeyJzdWIiOiIyIn0%2Exyz", "***"},
    {"eyJh.", "***"},
    {"eyJhbGciOiJub25lIn0=.eyJzdWIiOiIyIn0==.x", "***"},
    {"eyJhbGci", "eyJhbGci"},
    {"eyJ", "eyJ"},
    {"eyJeyJeyJ.", "***"},
    {"eyJ eyJ.a", "eyJ ***"},
    {"eyJtoken=secret", "eyJtoken=***"},
    {"/" BLANK_JWT "?a", "/***?a"},
    {"bearer." BLANK_JWT, "***"},
    {BLANK_JWT "x", "***"},
    {"/tasks/" BLANK_JWT ". ", "/tasks/*** "},
    {"/tasks/" BLANK_JWT "%3D/", "/tasks/***/"},
    {"a.b.0123456789012345678901234567890123456789", "***"},
    {"a.b.550e8400-e29b-41d4-a716-446655440000", "a.b.550e8400-e29b-41d4-a716-446655440000"},
    {"a.0123456789012345678901234567890123456789", "a.0123456789012345678901234567890123456789"},
    {"token=\"opaque\" token='opaque' {\"token\" : \"opaque\"}", "token=***\" token=***' {\"token=***\"}"},
};

TEST("whatever looks like a token is replaced, and nothing else")
{
    for (size_t i = 0; i < sizeof redactions / sizeof redactions[0]; i++) {
        char memory[256];
        tws_buf b;
        size_t n = strlen(redactions[i].text);
        test_row(redactions[i].text, i);
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_log_redact(&b, tws_str_of((const char *)test_exact(redactions[i].text, n), n));
        CHECK_STR(tws_buf_view(&b), redactions[i].redacted);
    }
}

TEST("a long text of half tokens is looked through once")
{
    size_t n = 300000; /* its square would take minutes */
    char *text = (char *)malloc(n);
    tws_buf b;
    for (size_t i = 0; i < n; i++) {
        text[i] = "eyJ"[i % 3];
    }
    tws_buf_init(&b, NULL, n);
    tws_log_redact(&b, tws_str_of(text, n));
    CHECK_MEM(b.ptr, b.len, text, n);
    tws_buf_free(&b);
    free(text);
}

/* -- lines -- */

typedef struct sink {
    char text[4 * TWS_LOG_LINE];
    size_t len;
    size_t lines;
} sink;

static void sink_write(void *context, const char *line, size_t len)
{
    sink *s = (sink *)context;
    memcpy(s->text, line, len);
    s->len = len;
    s->lines++;
}

static tws_str sink_line(const sink *s)
{
    return tws_str_of(s->text, s->len);
}

static tws_log log_to(sink *s, bool json)
{
    tws_log log = {TWS_LOG_DEFAULT, json, sink_write, NULL};
    memset(s, 0, sizeof *s);
    log.context = s;
    return log;
}

#define NOW UINT64_C(1795344619123) /* 2026-11-22T10:50:19.123Z */

TEST("a line of text has time, level, message and fields")
{
    static sink s;
    tws_log log = log_to(&s, false);
    tws_log_line l;
    CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "connection closed"));
    tws_log_u64(&l, "code", 1000);
    tws_log_str(&l, "user", tws_str_c("2"));
    tws_log_str(&l, "reason", tws_str_c("going away"));
    tws_log_str(&l, "empty", tws_str_c(""));
    tws_log_end(&l);
    CHECK_EQ(s.lines, 1);
    CHECK_STR(sink_line(&s), "2026-11-22T10:50:19.123Z INFO  connection closed code=1000 user=2 "
                             "reason=\"going away\" empty=\"\"\n");
}

TEST("a line of JSON is one object with the same members")
{
    static sink s;
    tws_log log = log_to(&s, true);
    tws_log_line l;
    CHECK(tws_log_begin(&l, &log, TWS_LOG_WARN, NOW, "slow \"reader\""));
    tws_log_u64(&l, "behind", 12);
    tws_log_str(&l, "target", tws_str_c("/tasks/2?token=abc&x=\x01"));
    tws_log_end(&l);
    CHECK_STR(sink_line(&s), "{\"time\":\"2026-11-22T10:50:19.123Z\",\"level\":\"warn\","
                             "\"message\":\"slow \\\"reader\\\"\",\"behind\":12,"
                             "\"target\":\"/tasks/2?token=***&x=\\u0001\"}\n");
    CHECK(tws_json_valid(sink_line(&s)));
}

TEST("each level has its name and is written from the configured one on")
{
    static const char *const words[] = {"", " DEBUG ", " INFO  ", " WARN  ", " ERROR "};
    for (int at = TWS_LOG_DEFAULT; at <= TWS_LOG_NONE; at++) {
        for (int level = TWS_LOG_DEBUG; level <= TWS_LOG_ERROR; level++) {
            static sink s;
            tws_log log = log_to(&s, false);
            tws_log_line l;
            bool want = level >= (at == TWS_LOG_DEFAULT ? (int)TWS_LOG_INFO : at);
            log.level = (tws_log_level)at;
            bool got = tws_log_begin(&l, &log, (tws_log_level)level, NOW, "m");
            CHECK_EQ(got, want);
            if (got) {
                tws_log_end(&l);
                CHECK_MEM(s.text + 24, 7, words[level], 7);
            }
        }
    }
}

TEST("no log and no writer write nothing")
{
    tws_log log = {TWS_LOG_DEBUG, false, NULL, NULL};
    tws_log_line l;
    CHECK(!tws_log_begin(&l, NULL, TWS_LOG_ERROR, NOW, "m"));
    CHECK(!tws_log_begin(&l, &log, TWS_LOG_ERROR, NOW, "m"));
}

TEST("times are right across leap years, centuries and the ends of the calendar")
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {UINT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
        {UINT64_C(951868799999), "2000-02-29T23:59:59.999Z"},
        {UINT64_C(951868800000), "2000-03-01T00:00:00.000Z"},
        {UINT64_C(1735689599999), "2024-12-31T23:59:59.999Z"},
        {UINT64_C(1735689600000), "2025-01-01T00:00:00.000Z"},
        {UINT64_C(1772323200000), "2026-03-01T00:00:00.000Z"},
        {UINT64_C(4107542400000), "2100-03-01T00:00:00.000Z"},
        {UINT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {UINT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static sink s;
        tws_log log = log_to(&s, false);
        tws_log_line l;
        test_row(rows[i].text, i);
        CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, rows[i].ms, ""));
        tws_log_end(&l);
        CHECK_MEM(s.text, 24, rows[i].text, 24);
    }
}

TEST("no value forges a line, a field or a terminal escape")
{
    static const struct {
        const char *value;
        size_t len;
        const char *text;
        const char *json;
    } rows[] = {
        {"a\r\nINFO forged", 14, "v=\"a\\x0d\\nINFO forged\"",
         "\"v\":\"a\\u000d\\u000aINFO forged\""},
        {"~", 1, "v=~", "\"v\":\"~\""},
        {"a b", 3, "v=\"a b\"", "\"v\":\"a b\""},
        {"a user=1", 8, "v=\"a user=1\"", "\"v\":\"a user=1\""},
        {"a=b", 3, "v=\"a=b\"", "\"v\":\"a=b\""},
        {"\" x=\"", 5, "v=\"\\\" x=\\\"\"", "\"v\":\"\\\" x=\\\"\""},
        {"\\", 1, "v=\"\\\\\"", "\"v\":\"\\\\\""},
        {"\x1b[2J", 4, "v=\"\\x1b[2J\"", "\"v\":\"\\u001b[2J\""},
        {"\0", 1, "v=\"\\x00\"", "\"v\":\"\\u0000\""},
        {"\x7f", 1, "v=\"\\x7f\"", "\"v\":\"\\u007f\""},
        /* C1's control sequence introducer; a line's end; right-to-left override; isolate */
        {"\xc2\x9b", 2, "v=\"\\xc2\\x9b\"", "\"v\":\"\\u009b\""},
        {"\xe2\x80\xa8", 3, "v=\"\\xe2\\x80\\xa8\"", "\"v\":\"\\u2028\""},
        {"\xe2\x80\xae", 3, "v=\"\\xe2\\x80\\xae\"", "\"v\":\"\\u202e\""},
        {"\xe2\x81\xa9", 3, "v=\"\\xe2\\x81\\xa9\"", "\"v\":\"\\u2069\""},
        {"\xff", 1, "v=\"\\xff\"", "\"v\":\"\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int json = 0; json < 2; json++) {
            static sink s;
            char want[256];
            tws_log log = log_to(&s, json == 1);
            tws_log_line l;
            tws_str value = tws_str_of((const char *)test_exact(rows[i].value, rows[i].len),
                                       rows[i].len);
            test_row(rows[i].text, i);
            CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "m"));
            tws_log_str(&l, "v", value);
            tws_log_end(&l);
            CHECK_EQ(s.len > 0 && memchr(s.text, '\n', s.len) == s.text + s.len - 1, true);
            snprintf(want, sizeof want, "2026-11-22T10:50:19.123Z INFO  m %s\n", rows[i].text);
            if (json == 1) {
                CHECK(tws_json_valid(sink_line(&s)));
                snprintf(want, sizeof want,
                         "{\"time\":\"2026-11-22T10:50:19.123Z\",\"level\":\"info\","
                         "\"message\":\"m\",%s}\n", rows[i].json);
            }
            CHECK_STR(sink_line(&s), want);
        }
    }
}

TEST("a message is escaped and redacted like a value")
{
    static sink s;
    tws_log log = log_to(&s, false);
    tws_log_line l;
    CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "bad\nline token=abc " JWT));
    tws_log_end(&l);
    CHECK_STR(sink_line(&s), "2026-11-22T10:50:19.123Z INFO  bad\\nline token=*** ***\n");
}

TEST("a long value is shown in part, and the fields behind it whole")
{
    static sink s;
    static char value[20000];
    tws_log log = log_to(&s, false);
    tws_log_line l;
    memset(value, 'a', sizeof value);
    CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "m"));
    tws_log_str(&l, "target", tws_str_of(value, sizeof value));
    tws_log_u64(&l, "code", 414);
    tws_log_end(&l);
    size_t around = strlen("2026-11-22T10:50:19.123Z INFO  m target=... code=414\n");
    CHECK_EQ(s.len, around + 512);
    CHECK_MEM(s.text + s.len - 13, 13, "... code=414\n", 13);
}

TEST("a value of just the length that is shown is shown whole")
{
    static sink s;
    char value[512];
    tws_log log = log_to(&s, false);
    tws_log_line l;
    memset(value, 'a', sizeof value);
    CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "m"));
    tws_log_str(&l, "v", tws_str_of(value, sizeof value));
    tws_log_end(&l);
    CHECK_EQ(s.len, strlen("2026-11-22T10:50:19.123Z INFO  m v=\n") + sizeof value);
}

TEST("a token that begins in the part of a value that is shown, and ends beyond, is not shown")
{
    static char value[3000];
    for (size_t at = 480; at < 520; at++) {
        static sink s;
        tws_log log = log_to(&s, false);
        tws_log_line l;
        memset(value, 'x', sizeof value);
        value[at - 1] = ' ';
        memcpy(value + at, "eyJ", 3);
        value[at + 1500] = '.';
        CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "m"));
        tws_log_str(&l, "v", tws_str_of(value, sizeof value));
        tws_log_end(&l);
        CHECK(s.len < TWS_LOG_LINE);
        s.text[s.len] = '\0';
        CHECK(strstr(s.text, "eyJ") == NULL);
    }
}

TEST("a line that is full ends whole, says so, and is no longer than its memory")
{
    size_t full = 0;
    for (int json = 0; json < 2; json++) {
        for (size_t n = 0; n <= 700; n++) {
            static sink s;
            static char value[700];
            tws_log log = log_to(&s, json == 1);
            tws_log_line l;
            memset(value, n % 2 == 0 ? 'a' : '\x01', sizeof value);
            CHECK(tws_log_begin(&l, &log, TWS_LOG_INFO, NOW, "m"));
            tws_log_str(&l, "first", tws_str_of(value, n));
            for (size_t k = 0; k < 4; k++) {
                tws_log_str(&l, "value", tws_str_of(value, 200));
                tws_log_u64(&l, "number", UINT64_MAX);
            }
            tws_log_end(&l);
            CHECK(s.len <= TWS_LOG_LINE && s.text[s.len - 1] == '\n');
            s.text[s.len] = '\0';
            CHECK(json == 0 || tws_json_valid(sink_line(&s)));
            bool shortened = strstr(s.text, "...") != NULL;
            bool ended = strstr(s.text, json == 1 ? ",\"truncated\":true}\n" : " truncated=true\n");
            CHECK(n < 100 || shortened || ended);
            full += ended;
        }
    }
    CHECK(full > 100);
}
