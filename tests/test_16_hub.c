/* Section 16: the hub. Tables of ids, formats, positions and snapshots first; then what holds over
 * long random runs, against a model that keeps everything and forgets nothing; then threads. */
#include "test.h"

#include <pthread.h>

#define NOW UINT64_C(1795344619123)

/* -- small words for the tests -- */

static tws_event_id id_of(uint64_t ms, uint64_t seq)
{
    tws_event_id id = {ms, seq};
    return id;
}

/* In the test allocator; caller's changes go on top. */
static tws_allocator hub_allocator;
static tws_hub_desc hub_desc(void)
{
    tws_hub_desc d;
    memset(&d, 0, sizeof d);
    hub_allocator = test_allocator();
    d.allocator = &hub_allocator;
    memcpy(d.hash_key, "0123456789abcdef", 16);
    return d;
}

static tws_hub *hub_make(const tws_hub_desc *d)
{
    tws_hub *hub = NULL;
    CHECK_EQ(tws_hub_create(&hub, d), TWS_OK);
    return hub;
}

static tws_hub *hub_plain(void)
{
    tws_hub_desc d = hub_desc();
    return hub_make(&d);
}

/* Publishes text that need not end in NUL; the hub gives the id. */
static tws_status post(tws_hub *hub, const char *user, const char *json, size_t len)
{
    return tws_hub_publish(hub, tws_str_c(user), tws_str_of(json, len), NOW, NULL, NULL);
}

static tws_status put_id(tws_hub *hub, const char *user, const char *json, uint64_t ms,
                         uint64_t seq)
{
    tws_event_id id = id_of(ms, seq);
    return tws_hub_publish(hub, tws_str_c(user), tws_str_c(json), NOW, &id, NULL);
}

static tws_event_id put(tws_hub *hub, const char *user, const char *json, uint64_t now_ms)
{
    tws_event_id id = id_of(0, 0);
    CHECK_EQ(tws_hub_publish(hub, tws_str_c(user), tws_str_c(json), now_ms, NULL, &id), TWS_OK);
    return id;
}

/* {"task_id":"T","n":N} */
static tws_event_id step(tws_hub *hub, const char *user, const char *task, int n, uint64_t now_ms)
{
    char json[128];
    snprintf(json, sizeof json, "{\"task_id\":\"%s\",\"n\":%d}", task, n);
    return put(hub, user, json, now_ms);
}

static int n_of(const tws_event *e)
{
    tws_str data = tws_event_data(e);
    char text[64];
    size_t len = data.len < sizeof text - 1 ? data.len : sizeof text - 1;
    memcpy(text, data.ptr, len);
    text[len] = '\0';
    const char *at = strstr(text, "\"n\":");
    return at == NULL ? -1 : atoi(at + 4);
}

static int wakes; /* calls of count_wake, since a test set it */

static void count_wake(void *context)
{
    (void)context;
    wakes++;
}

/* Everything that r can have now, as "start resumed reset:REASON 1 2 3", in static memory. */
static const char *drain(tws_hub_reader *r)
{
    static char text[4096];
    tws_hub_batch b;
    size_t at = 0;
    text[0] = '\0';
    do {
        tws_hub_gather(r, &b);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", b.start ? "start " : "",
                               b.resumed ? "resumed " : "");
        if (b.reset != NULL) {
            at += (size_t)snprintf(text + at, sizeof text - at, "%s ", b.reset);
        }
        for (size_t i = 0; i < b.count; i++) {
            at += (size_t)snprintf(text + at, sizeof text - at, "%d ", n_of(b.event[i]));
        }
        tws_hub_advance(r, &b, b.count);
        tws_hub_batch_free(&b);
    } while (b.more);
    if (at > 0) {
        text[at - 1] = '\0';
    }
    return text;
}

#define CHECK_TEXT(got, want) CHECK_STR(tws_str_c(got), want)

static const char *snapshot(tws_hub *hub, const char *user, uint64_t now_ms, tws_event_id *last)
{
    static char text[4096];
    tws_event **events;
    size_t count, at = 0;
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c(user), now_ms, &events, &count, last), TWS_OK);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%d", i > 0 ? " " : "",
                               n_of(events[i]));
    }
    tws_hub_snapshot_free(hub, events, count);
    return text;
}

/* -- structure: what must hold of every topic whenever nobody is inside -- */

static void check_history(const tws_hub *hub, const tws__history *h)
{
    uint32_t held = 0, tasks = 0;
    uint64_t bytes = 0, ring_bytes = 0, packed_bytes = 0, last_index = 0;
    tws_event_id last = id_of(0, 0);
    for (uint64_t i = h->first; i < h->topic->next; i++) {
        const tws_event *e = *tws__history_slot(h, i);
        CHECK(e->index == i);
        CHECK(tws_event_id_compare(last, e->id) <= 0);
        last = e->id;
        held++;
        bytes += e->bytes;
        ring_bytes += e->bytes;
        packed_bytes += tws__event_packed_bytes(e);
        CHECK(e->held);
        CHECK(!e->latest || tws__history_find(h, e) == e);
    }
    for (const tws_event *e = h->oldest; e != NULL; e = e->newer) {
        CHECK(e->latest && tws__history_find(h, e) == e);
        CHECK(tasks == 0 || e->index > last_index);
        CHECK(e->newer != NULL ? e->newer->older == e : h->newest == e);
        last_index = e->index;
        tasks++;
        if (e->index < h->first) {
            held++;
            bytes += e->bytes;
            packed_bytes += tws__event_packed_bytes(e);
            CHECK(e->held);
        }
    }
    CHECK_EQ(h->tasks, tasks);
    CHECK_EQ(h->held, held);
    CHECK_EQ(h->bytes, bytes);
    CHECK_EQ(h->ring_bytes, ring_bytes);
    CHECK_EQ(h->packed_bytes, packed_bytes);
    CHECK(held > 0 && held <= hub->desc.max_events);
    CHECK(bytes <= hub->desc.max_bytes);
}

static void check_hub(tws_hub *hub)
{
    tws_hub_stats stats;
    uint64_t topics = 0, events = 0, bytes = 0, readers = 0;
    for (size_t i = 0; i < hub->desc.shards; i++) {
        const tws__shard *s = &hub->shard[i];
        size_t linked = 0, with_history = 0;
        for (const tws__history *h = s->oldest; h != NULL; h = h->newer) {
            CHECK(h->topic->history == h);
            CHECK(h->newer != NULL ? h->newer->older == h : s->newest == h);
            linked++;
        }
        const tws__user *u = tws__users_next(&s->topics, NULL);
        for (; u != NULL; u = tws__users_next(&s->topics, u)) {
            const tws__topic *t = (const tws__topic *)(const void *)u;
            topics++;
            readers += t->readers;
            CHECK(tws__users_find(&s->topics, u->hash, tws__user_id(u)) == u);
            CHECK(t->history != NULL || t->readers > 0);
            CHECK((t->groups != NULL) == (t->readers > 0));
            if (t->history != NULL) {
                with_history++;
                check_history(hub, t->history);
                events += t->history->held;
                bytes += t->history->bytes + t->history->packed_bytes;
            }
        }
        CHECK_EQ(linked, with_history);
        CHECK(s->turn == (s->oldest == NULL ? UINT64_MAX : s->oldest->turn));
    }
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.topics, topics);
    CHECK_EQ(stats.events, events);
    CHECK_EQ(stats.bytes, bytes);
    CHECK_EQ(stats.readers, readers);
    CHECK(stats.bytes <= hub->desc.max_total_bytes);
}

/* -- ids -- */

TEST("an id is two decimal numbers, or one, and nothing else")
{
    static const struct {
        const char *text;
        bool valid;
        uint64_t ms, seq;
    } rows[] = {
        {"0-0", true, 0, 0},
        {"5", true, 5, 0},
        {"1795344619123-7", true, NOW, 7},
        {"18446744073709551615-18446744073709551615", true, UINT64_MAX, UINT64_MAX},
        {"007-08", true, 7, 8},
        {"18446744073709551616-0", false, 0, 0},
        {"0-18446744073709551616", false, 0, 0},
        {"", false, 0, 0}, {"-", false, 0, 0}, {"5-", false, 0, 0}, {"-5", false, 0, 0},
        {"5-5-5", false, 0, 0}, {"5--5", false, 0, 0}, {" 5", false, 0, 0}, {"5 ", false, 0, 0},
        {"+5", false, 0, 0}, {"0x5", false, 0, 0}, {"$", false, 0, 0}, {"5-*", false, 0, 0},
        {"5.0", false, 0, 0}, {"null", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].text);
        tws_event_id id = id_of(1, 1);
        test_row(rows[i].text, i);
        bool valid = tws_event_id_parse(tws_str_of((char *)test_exact(rows[i].text, n), n), &id);
        CHECK_EQ(valid, rows[i].valid);
        CHECK(id.ms == (valid ? rows[i].ms : 1) && id.seq == (valid ? rows[i].seq : 1));
    }
}

TEST("an id is written as it is parsed")
{
    static const char *const rows[] = {"0-0", "5-0", "1795344619123-7", "10-10",
                                       "18446744073709551615-18446744073709551615"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[TWS_EVENT_ID_MAX];
        tws_event_id id;
        CHECK(tws_event_id_parse(tws_str_c(rows[i]), &id));
        size_t n = tws_event_id_format(id, out);
        CHECK_MEM(out, n, rows[i], strlen(rows[i]));
    }
}

TEST("ids are ordered by milliseconds, then by sequence")
{
    static const tws_event_id rising[] = {
        {0, 0}, {0, 1}, {0, UINT64_MAX}, {1, 0}, {1, 1}, {UINT64_MAX, 0}, {UINT64_MAX, UINT64_MAX}};
    for (size_t i = 0; i < sizeof rising / sizeof rising[0]; i++) {
        for (size_t k = 0; k < sizeof rising / sizeof rising[0]; k++) {
            CHECK_EQ(tws_event_id_compare(rising[i], rising[k]), i < k ? -1 : i == k ? 0 : 1);
        }
    }
}

TEST("an assigned id is now, or right behind the newest, however the clock steps")
{
    static const struct {
        uint64_t now_ms, ms, seq;
    } rows[] = {
        {2000, 2000, 0}, {2000, 2000, 1}, {2001, 2001, 0}, {1500, 2001, 1}, {0, 2001, 2},
        {2001, 2001, 3}, {2002, 2002, 0}, {5000, 5000, 0}, {4999, 5000, 1},
    };
    tws_hub_desc d = hub_desc();
    d.now_ms = 1000;
    tws_hub *hub = hub_make(&d);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_event_id id = put(hub, "1", "{}", rows[i].now_ms);
        test_row("publish", i);
        CHECK_EQ(id.ms, rows[i].ms);
        CHECK_EQ(id.seq, rows[i].seq);
    }
    tws_hub_free(hub);
}

TEST("the first id is behind all that another life can have given in this millisecond")
{
    tws_hub_desc d = hub_desc();
    d.now_ms = 1000;
    tws_hub *hub = hub_make(&d);
    CHECK_EQ(tws_event_id_compare(put(hub, "1", "{}", 1000), id_of(1001, 0)), 0);
    CHECK_EQ(tws_event_id_compare(put(hub, "2", "{}", 500), id_of(1001, 0)), 0);
    tws_hub_free(hub);
}

TEST("sequences carry into milliseconds, and the last id of all is the last")
{
    tws_hub *hub = hub_plain();
    tws_event_id id;
    CHECK_EQ(put_id(hub, "1", "{}", NOW, UINT64_MAX), TWS_OK);
    id = put(hub, "1", "{}", NOW);
    CHECK(id.ms == NOW + 1 && id.seq == 0);
    CHECK_EQ(put_id(hub, "1", "{}", UINT64_MAX, UINT64_MAX), TWS_OK);
    CHECK_EQ(tws_hub_publish(hub, tws_str_c("1"), tws_str_c("{}"), NOW, NULL, &id), TWS_ERR_LIMIT);
    CHECK(id.ms == NOW + 1);
    check_hub(hub);
    tws_hub_free(hub);
}

TEST("a given id that does not rise is a repeat, and changes nothing")
{
    tws_hub *hub = hub_plain();
    tws_hub_stats before, after;
    CHECK_EQ(put_id(hub, "1", "{\"n\":1}", 5, 5), TWS_OK);
    tws_hub_stat(hub, &before);
    CHECK_EQ(put_id(hub, "1", "{\"n\":2}", 5, 5), TWS_ERR_EXISTS);
    CHECK_EQ(put_id(hub, "1", "{\"n\":2}", 5, 4), TWS_ERR_EXISTS);
    CHECK_EQ(put_id(hub, "1", "{\"n\":2}", 4, 9), TWS_ERR_EXISTS);
    tws_hub_stat(hub, &after);
    CHECK_EQ(after.repeats, 3);
    after.repeats = 0;
    CHECK_MEM(&after, sizeof after, &before, sizeof before);
    CHECK_EQ(put_id(hub, "1", "{\"n\":3}", 5, 6), TWS_OK);
    CHECK_EQ(put_id(hub, "2", "{\"n\":1}", 5, 5), TWS_OK);
    CHECK_EQ(put_id(hub, "1", "{\"n\":4}", 0, 0), TWS_OK);
    CHECK_EQ(put_id(hub, "1", "{\"n\":4}", 0, 0), TWS_OK);
    tws_hub_free(hub);
}

/* -- formats -- */

/* The newest event of a user, as one slice of bytes in b. */
static void wire(tws_hub *hub, const char *user, tws_event_format format, tws_buf *b)
{
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_event_id zero = id_of(0, 0);
    tws_hub_reader r;
    tws_hub_batch batch;
    tws_str slices[TWS_EVENT_SLICES];
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c(user), &zero), TWS_OK);
    tws_hub_gather(&r, &batch);
    CHECK(batch.count > 0);
    size_t n = batch.count == 0 ? 0 : tws_event_wire(batch.event[batch.count - 1], format, slices);
    CHECK(n <= TWS_EVENT_SLICES);
    for (size_t i = 0; i < n; i++) {
        tws_buf_str(b, slices[i]);
    }
    if (n > 0 && format != TWS_FORMAT_SSE) { /* its text is all behind the header */
        const tws_str text = tws_event_text(batch.event[batch.count - 1], format);
        CHECK_EQ(b->len - text.len, text.len < 126 ? 2 : text.len < 65536 ? 4 : 10);
        CHECK_MEM(text.ptr, text.len, b->ptr + (b->len - text.len), text.len);
    }
    tws_hub_batch_free(&batch);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
}

TEST("an event is laid out byte for byte in each format")
{
    static const struct {
        const char *json;
        uint64_t ms, seq;
        const char *envelope, *raw, *sse;
    } rows[] = {
        {"{\"a\":1}", 5, 0, "\x81\x29{\"type\":\"task\",\"id\":\"5-0\",\"data\":{\"a\":1}}",
         "\x81\x07{\"a\":1}", "id: 5-0\ndata: {\"a\":1}\n\n"},
        {"7", 1, 23, "\x81\x24{\"type\":\"task\",\"id\":\"1-23\",\"data\":7}", "\x81\x01" "7",
         "id: 1-23\ndata: 7\n\n"},
        {"[]", 0, 0, "\x81\x23{\"type\":\"task\",\"id\":null,\"data\":[]}", "\x81\x02[]",
         "id: \ndata: []\n\n"},
        {"{\r\n\t\"a\" :1,\n\n\"b\":2}\n", 5, 0,
         "\x81\x36{\"type\":\"task\",\"id\":\"5-0\",\"data\":{\r\n\t\"a\" :1,\n\n\"b\":2}\n}",
         "\x81\x14{\r\n\t\"a\" :1,\n\n\"b\":2}\n", "id: 5-0\ndata: {  \t\"a\" :1,  \"b\":2} \n\n"},
        {"\r{}", 5, 0, "\x81\x25{\"type\":\"task\",\"id\":\"5-0\",\"data\":\r{}}", "\x81\x03\r{}",
         "id: 5-0\ndata:  {}\n\n"},
        {"\"\\n\"", 5, 0, "\x81\x26{\"type\":\"task\",\"id\":\"5-0\",\"data\":\"\\n\"}",
         "\x81\x04\"\\n\"", "id: 5-0\ndata: \"\\n\"\n\n"},
        {"1", UINT64_MAX, UINT64_MAX,
         "\x81\x49{\"type\":\"task\",\"id\":\"18446744073709551615-18446744073709551615\","
         "\"data\":1}",
         "\x81\x01" "1", "id: 18446744073709551615-18446744073709551615\ndata: 1\n\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *want[] = {rows[i].envelope, rows[i].raw, rows[i].sse};
        for (int format = TWS_FORMAT_ENVELOPE; format <= TWS_FORMAT_SSE; format++) {
            tws_hub *hub = hub_plain();
            tws_buf b;
            tws_buf_init(&b, NULL, 1024);
            test_row(rows[i].json, i);
            CHECK_EQ(put_id(hub, "1", rows[i].json, rows[i].ms, rows[i].seq), TWS_OK);
            wire(hub, "1", (tws_event_format)format, &b);
            CHECK_STR(tws_buf_view(&b), want[format]);
            tws_buf_free(&b);
            tws_hub_free(hub);
        }
    }
}

static void frame(tws_buf *b, size_t payload)
{
    static const unsigned shifts[] = {56, 48, 40, 32, 24, 16, 8, 0};
    size_t from = payload < 126 ? 8 : payload < 65536 ? 6 : 0;
    tws_buf_char(b, '\x81');
    tws_buf_char(b, payload < 126 ? (char)payload : payload < 65536 ? 126 : 127);
    for (; from < 8; from++) {
        tws_buf_char(b, (char)(uint8_t)((uint64_t)payload >> shifts[from]));
    }
}

TEST("frames have their shortest header at every boundary of their length")
{
    static const size_t around[] = {2, 125, 126, 127, 65535, 65536};
    const char *open = "{\"type\":\"task\",\"id\":\"5-0\",\"data\":";
    const size_t extra = strlen(open) + 1;
    tws_hub_desc d = hub_desc();
    d.max_event_bytes = 70000;
    for (size_t i = 0; i < 2 * sizeof around / sizeof around[0]; i++) {
        bool of_envelope = i % 2 == 1; /* the boundary falls on the envelope, or on the raw frame */
        size_t n = around[i / 2] - (of_envelope && around[i / 2] > extra ? extra : 0);
        char *json = (char *)malloc(n);
        tws_hub *hub = hub_make(&d);
        tws_event_id id = id_of(5, 0);
        memset(json, 'a', n);
        json[0] = json[n - 1] = '"';
        test_row("length", n);
        CHECK_EQ(tws_hub_publish(hub, tws_str_c("1"), tws_str_of(json, n), NOW, &id, NULL), TWS_OK);
        for (int format = TWS_FORMAT_ENVELOPE; format <= TWS_FORMAT_SSE; format++) {
            tws_buf got, want;
            tws_buf_init(&got, NULL, 80000);
            tws_buf_init(&want, NULL, 80000);
            wire(hub, "1", (tws_event_format)format, &got);
            if (format != TWS_FORMAT_SSE) {
                frame(&want, format == TWS_FORMAT_RAW ? n : n + extra);
            }
            tws_buf_c(&want, format == TWS_FORMAT_RAW ? ""
                             : format == TWS_FORMAT_SSE ? "id: 5-0\ndata: " : open);
            tws_buf_put(&want, json, n);
            tws_buf_c(&want, format == TWS_FORMAT_RAW ? ""
                             : format == TWS_FORMAT_SSE ? "\n\n" : "}");
            CHECK_MEM(got.ptr, got.len, want.ptr, want.len);
            tws_buf_free(&got);
            tws_buf_free(&want);
        }
        free(json);
        tws_hub_free(hub);
    }
}

TEST("an event knows its data and id, and outlives its topic while it is referenced")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_hub_batch b;
    CHECK_EQ(put_id(hub, "1", "{\"task_id\":1}", 5, 6), TWS_OK);
    CHECK_EQ(put_id(hub, "1", "{\"task_id\":2}", 0, 0), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    tws_hub_gather(&r, &b);
    CHECK_EQ(b.count, 2);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
    CHECK_STR(tws_event_data(b.event[0]), "{\"task_id\":1}");
    CHECK_EQ(tws_event_id_compare(tws_event_id_of(b.event[0]), id_of(5, 6)), 0);
    CHECK_EQ(tws_event_id_compare(tws_event_id_of(b.event[1]), id_of(0, 0)), 0);
    tws_event *e = tws_event_ref(b.event[0]);
    tws_hub_batch_free(&b);
    CHECK_STR(tws_event_data(e), "{\"task_id\":1}");
    tws_event_unref(e);
}

/* -- arguments and limits -- */

TEST("what cannot be published is refused, counted, and leaves no trace")
{
    static char long_user[TWS_MAX_USER_ID + 1];
    static char big[2000];
    tws_hub_desc d = hub_desc();
    d.max_event_bytes = 1000;
    d.max_bytes = 1100;
    tws_hub *hub = hub_make(&d);
    tws_hub_stats stats;
    tws_hub_reader r;
    tws_event **events;
    size_t count;
    tws_event_id last;
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    memset(long_user, 'u', sizeof long_user);
    memset(big, ' ', sizeof big);
    big[0] = '7';
    const struct {
        tws_str user, json;
        tws_status status;
    } rows[] = {
        {{NULL, 0}, {"7", 1}, TWS_ERR_ARGUMENT},
        {{long_user, sizeof long_user}, {"7", 1}, TWS_ERR_ARGUMENT},
        {{"1", 1}, {NULL, 0}, TWS_ERR_ARGUMENT},
        {{"1", 1}, {big, 1001}, TWS_ERR_LIMIT},
        {{"1", 1}, {big, 1000}, TWS_ERR_LIMIT}, /* with what it takes besides, above max_bytes */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_row("publish", i);
        CHECK_EQ(tws_hub_publish(hub, rows[i].user, rows[i].json, NOW, NULL, NULL), rows[i].status);
    }
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.refused, 5);
    CHECK_EQ(stats.topics + stats.events + stats.bytes + stats.published, 0);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c(""), NULL), TWS_ERR_ARGUMENT);
    CHECK(r.group == NULL);
    tws_hub_detach(&r);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_of(long_user, sizeof long_user), NULL),
             TWS_ERR_ARGUMENT);
    CHECK_EQ(tws_hub_publish(hub, tws_str_of(long_user, TWS_MAX_USER_ID), tws_str_of(big, 500), NOW,
                             NULL, NULL), TWS_OK);
    CHECK_EQ(tws_hub_readers(hub, tws_str_c("")), 0);
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c(""), NOW, &events, &count, &last), TWS_ERR_ARGUMENT);
    CHECK(events == NULL && count == 0 && last.ms == 0 && last.seq == 0);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
    tws_hub_inbox_free(NULL);
    tws_hub_free(NULL);
}

TEST("an event that the total budget could not hold alone is refused, not stored and dropped")
{
    tws_hub_desc d = hub_desc();
    tws_event_id last;
    d.max_total_bytes = 400;
    tws_hub *hub = hub_make(&d);
    char json[400];
    memset(json, ' ', sizeof json);
    memcpy(json, "{\"task_id\":1,\"n\":1}", 19);
    CHECK_EQ(post(hub, "1", json, 30), TWS_OK);
    CHECK_EQ(post(hub, "2", json, 399), TWS_ERR_LIMIT);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "1");
    CHECK_EQ(post(hub, "2", json, 100), TWS_OK);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "");
    CHECK_TEXT(snapshot(hub, "2", NOW, &last), "1");
    check_hub(hub);
    tws_hub_free(hub);
}

TEST("readers of a user are counted over all inboxes, and bounded")
{
    tws_hub_desc d = hub_desc();
    d.max_readers = 3;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *a = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_inbox *b = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r[4], other;
    CHECK_EQ(tws_hub_attach(a, &r[0], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(b, &r[1], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(a, &r[2], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(b, &r[3], tws_str_c("1"), NULL), TWS_ERR_LIMIT);
    CHECK_EQ(tws_hub_visit(b, &r[3], tws_str_c("1")), TWS_OK); /* asks but once */
    tws_hub_detach(&r[2]);
    CHECK_EQ(tws_hub_attach(a, &r[2], tws_str_c("1"), NULL), TWS_OK);
    tws_hub_detach(&r[3]);
    CHECK_EQ(tws_hub_attach(b, &r[3], tws_str_c("1"), NULL), TWS_ERR_LIMIT);
    CHECK_EQ(tws_hub_attach(b, &other, tws_str_c("2"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_readers(hub, tws_str_c("1")), 3);
    CHECK_EQ(tws_hub_readers(hub, tws_str_c("2")), 1);
    CHECK_EQ(tws_hub_readers(hub, tws_str_c("3")), 0);
    tws_hub_detach(&r[0]);
    CHECK_EQ(tws_hub_attach(b, &r[3], tws_str_c("1"), NULL), TWS_OK);
    check_hub(hub);
    for (size_t i = 0; i < 4; i++) {
        tws_hub_detach(&r[i]);
        tws_hub_detach(&r[i]);
    }
    tws_hub_detach(&other);
    tws_hub_stats stats;
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.readers + stats.topics, 0);
    tws_hub_inbox_free(a);
    tws_hub_inbox_free(b);
    tws_hub_free(hub);
}

TEST("a user at rest takes little memory")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    size_t before = test_bytes_live;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("12345678"), NULL), TWS_OK);
    CHECK(test_bytes_live - before + sizeof r <= 232);
    tws_hub_detach(&r);
    CHECK_EQ(test_bytes_live, before);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* -- tasks and snapshots -- */

TEST("a task is named by a string that is not empty, or an integer")
{
    static const struct {
        const char *json[3]; /* n 1, 2, 3 */
        const char *tasks;   /* what a snapshot shows of them */
    } rows[] = {
        {{"{\"task_id\":\"a\",\"n\":1}", "{\"task_id\":\"b\",\"n\":2}",
          "{\"task_id\":\"a\",\"n\":3}"}, "2 3"},
        {{"{\"task_id\":7,\"n\":1}", "{\"task_id\":8,\"n\":2}", "{\"n\":3,\"task_id\":7}"}, "2 3"},
        {{"{\"task_id\":7,\"n\":1}", "{\"task_id\":\"7\",\"n\":2}",
          "{\"task_id\":-7,\"n\":3}"}, "2 3"},
        {{"{\"task_id\":\"\\u0061\",\"n\":1}", "{\"task_id\":\"a\",\"n\":2}",
          "{\"task_\\u0069d\":\"\\u0061\",\"n\":3}"}, "3"},
        {{"{\"task_id\":\"a\\n\",\"n\":1}", "{\"task_id\":\"a\\u000a\",\"n\":2}",
          "{\"task_id\":\"a\\\\n\",\"n\":3}"}, "2 3"},
        {{"{\"task_id\":\"\\ud83d\\ude00\",\"n\":1}", "{\"task_id\":\"\xf0\x9f\x98\x80\",\"n\":2}",
          "{\"n\":3,\r\n\"task_id\":\"\\ud83d\\ude00\"}"}, "3"},
        {{"{\"task_id\":\"\",\"n\":1}", "{\"n\":2}", "{\"task_id\":null,\"n\":3}"}, ""},
        {{"{\"task_id\":1.5,\"n\":1}", "{\"task_id\":1e3,\"n\":2}",
          "{\"task_id\":true,\"n\":3}"}, ""},
        {{"{\"task_id\":[\"a\"],\"n\":1}", "{\"task_id\":{\"task_id\":\"a\"},\"n\":2}",
          "[{\"task_id\":\"a\",\"n\":3}]"}, ""},
        {{"{\"a\":{\"task_id\":\"a\"},\"n\":1}", "\"task_id\"", "{\"Task_id\":\"a\",\"n\":3}"}, ""},
        {{"{\"task_id\":\"a\",\"n\":1,\"task_id\":\"b\"}", "{\"task_id\":\"a\",\"n\":2}",
          "7"}, "1 2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_hub *hub = hub_plain();
        tws_event_id last;
        test_row(rows[i].json[0], i);
        for (size_t k = 0; k < 3; k++) {
            size_t n = strlen(rows[i].json[k]);
            CHECK_EQ(post(hub, "1", (char *)test_exact(rows[i].json[k], n), n), TWS_OK);
        }
        CHECK_TEXT(snapshot(hub, "1", NOW, &last), rows[i].tasks);
        check_hub(hub);
        tws_hub_free(hub);
    }
}

TEST("the member that names a task is an option")
{
    tws_hub_desc d = hub_desc();
    tws_event_id last;
    char key[] = "job";
    d.task_key = key;
    tws_hub *hub = hub_make(&d);
    memcpy(key, "xxx", 3); /* it was copied */
    put(hub, "1", "{\"task_id\":1,\"n\":1}", NOW);
    put(hub, "1", "{\"job\":1,\"n\":2}", NOW);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "2");
    tws_hub_free(hub);
}

TEST("a snapshot has the latest event of each task, oldest first, and the newest id")
{
    tws_hub *hub = hub_plain();
    tws_event_id last = id_of(1, 1);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "");
    CHECK(last.ms == 0 && last.seq == 0);
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    step(hub, "1", "c", 3, NOW);
    step(hub, "1", "a", 4, NOW);
    step(hub, "2", "a", 5, NOW);
    put(hub, "1", "{\"n\":6}", NOW);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "2 3 4");
    CHECK(last.ms == NOW && last.seq == 4);
    CHECK_TEXT(snapshot(hub, "2", NOW, &last), "5");
    tws_hub_free(hub);
}

/* -- where a reader begins -- */

TEST("a reader begins where its since says, or is told that it cannot")
{
    /* Eight events of three tasks, the ring keeps four: ids 1-0 to 8-0, in the ring 5-0 to 8-0. */
    static const struct {
        const char *since; /* NULL: none */
        const char *gets;
    } rows[] = {
        {NULL, "start 1 5 8"},
        {"0-0", "start resumed 1 5 6 7 8"},
        {"0", "start resumed 1 5 6 7 8"},
        {"0-1", "start position_gone 1 5 8"},
        {"3-0", "start position_gone 1 5 8"},
        {"3-9", "start position_gone 1 5 8"},
        {"4-0", "start resumed 5 6 7 8"},
        {"4-1", "start resumed 5 6 7 8"},
        {"5-0", "start resumed 6 7 8"},
        {"6-5", "start resumed 7 8"},
        {"7-0", "start resumed 8"},
        {"8-0", "start resumed"},
        {"8-1", "start position_gone 1 5 8"},
        {"9999999999999-0", "start position_gone 1 5 8"},
    };
    static const char *const tasks[] = {"a", "b", "b", "b", "b", "c", "c", "c"};
    tws_hub_desc d = hub_desc();
    d.max_events = 5; /* the last status of a besides */
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    for (int i = 0; i < 8; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"task_id\":\"%s\",\"n\":%d}", tasks[i], i + 1);
        CHECK_EQ(put_id(hub, "1", json, (uint64_t)i + 1, 0), TWS_OK);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_hub_reader r;
        tws_hub_batch b;
        tws_event_id since;
        memset(&since, 0, sizeof since);
        test_row(rows[i].since == NULL ? "none" : rows[i].since, i);
        CHECK(rows[i].since == NULL || tws_event_id_parse(tws_str_c(rows[i].since), &since));
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), rows[i].since == NULL ? NULL : &since),
                 TWS_OK);
        memset(&b, 0, sizeof b);
        CHECK_TEXT(drain(&r), rows[i].gets);
        tws_hub_gather(&r, &b);
        CHECK(b.count == 0 && !b.more && !b.start && !b.resumed && b.reset == NULL);
        tws_hub_detach(&r);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a user without events has no position to resume from but the beginning")
{
    static const struct {
        uint64_t ms, seq;
        const char *gets;
    } rows[] = {{0, 0, "start resumed"}, {500, 0, "start position_gone"},
                {1000, UINT64_MAX, "start resumed"}, {1001, 0, "start position_gone"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_hub_desc d = hub_desc();
        d.now_ms = 1000;
        tws_hub *hub = hub_make(&d);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        tws_event_id since = id_of(rows[i].ms, rows[i].seq);
        test_row(rows[i].gets, i);
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &since), TWS_OK);
        CHECK_TEXT(drain(&r), rows[i].gets);
        step(hub, "1", "a", 1, 2000);
        CHECK_TEXT(drain(&r), "1");
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("events without an id come in their place, and behind the id that a since names")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    static const struct {
        uint64_t since;
        const char *gets;
    } rows[] = {{1, "start resumed 3 4 5 6 7"}, {2, "start resumed 5 6 7"},
                {3, "start resumed 6 7"}, {0, "start resumed 1 2 3 4 5 6 7"}};
    put_id(hub, "1", "{\"n\":1}", 0, 0);
    put_id(hub, "1", "{\"n\":2}", 1, 0);
    put_id(hub, "1", "{\"n\":3}", 0, 0);
    put_id(hub, "1", "{\"n\":4}", 2, 0);
    put_id(hub, "1", "{\"n\":5}", 0, 0);
    put_id(hub, "1", "{\"n\":6}", 4, 0);
    put_id(hub, "1", "{\"n\":7}", 0, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tws_hub_reader r;
        tws_event_id since = id_of(rows[i].since, 0);
        test_row(rows[i].gets, i);
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &since), TWS_OK);
        tws__topic *t = r.group->topic;
        t->floor = id_of(0, 0); /* as an upstream would have said */
        CHECK_TEXT(drain(&r), rows[i].gets);
        tws_hub_detach(&r);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* -- batches -- */

TEST("a batch is advanced by what was taken of it, wherever that ends")
{
    enum { SNAPSHOT = 2 * TWS_HUB_BATCH - 4, LIVE = TWS_HUB_BATCH - 2 };
    for (size_t take = 1; take <= TWS_HUB_BATCH; take++) {
        tws_hub *hub = hub_plain();
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        tws_hub_batch b;
        int have = 0;
        int next = 1;
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
        do {
            while (have < SNAPSHOT || (next > TWS_HUB_BATCH - 4 && have < SNAPSHOT + LIVE)) {
                char task[12];
                snprintf(task, sizeof task, "%d", ++have);
                step(hub, "1", task, have, NOW);
            }
            tws_hub_gather(&r, &b);
            size_t n = b.count < take ? b.count : take;
            CHECK_EQ(b.start, next == 1);
            CHECK_EQ(b.more, next + (int)b.count - 1 < have);
            CHECK(b.count == TWS_HUB_BATCH || !b.more);
            for (size_t i = 0; i < n; i++) {
                CHECK_EQ(n_of(b.event[i]), next++);
            }
            tws_hub_advance(&r, &b, n);
            tws_hub_batch_free(&b);
        } while (next <= have);
        CHECK_EQ(have, SNAPSHOT + LIVE);
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("a gather that nothing was taken of is gathered again, but tells start once")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_hub_batch b;
    step(hub, "1", "a", 1, NOW);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    tws_hub_gather(&r, &b);
    CHECK(b.start && b.count == 1 && b.last_id.ms == NOW);
    tws_hub_advance(&r, &b, 0);
    tws_hub_batch_free(&b);
    CHECK(b.group == NULL && b.from == 0 && !b.start); /* empty, as a zeroed one */
    CHECK_TEXT(drain(&r), "1");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a batch serves the readers of its group that stand at its place, and no others")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r[6];
    tws_hub_batch b, other;
    tws_event_id zero = id_of(0, 0);
    CHECK_EQ(tws_hub_attach(in, &r[0], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &r[1], tws_str_c("1"), &zero), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &r[2], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &r[3], tws_str_c("2"), NULL), TWS_OK);
    tws_hub_gather(&r[0], &b);
    CHECK(!tws_hub_same(&b, &r[0])); /* it says start */
    tws_hub_batch_free(&b);
    drain(&r[1]);
    drain(&r[3]);
    step(hub, "1", "a", 1, NOW);
    step(hub, "2", "a", 1, NOW);
    tws_hub_gather(&r[0], &b);
    CHECK_EQ(b.count, 1);
    CHECK(tws_hub_same(&b, &r[0]));
    CHECK(tws_hub_same(&b, &r[1]));
    CHECK(!tws_hub_same(&b, &r[2])); /* not started */
    CHECK(!tws_hub_same(&b, &r[3])); /* another user's, at the same position */
    tws_hub_advance(&r[1], &b, 1);
    CHECK(!tws_hub_same(&b, &r[1])); /* has it */
    tws_hub_advance(&r[0], &b, 1);
    tws_hub_batch_free(&b);
    CHECK_EQ(tws_hub_attach(in, &r[4], tws_str_c("1"), NULL), TWS_OK);
    drain(&r[2]);
    step(hub, "1", "a", 2, NOW);
    CHECK_EQ(tws_hub_attach(in, &r[5], tws_str_c("1"), &zero), TWS_OK);
    for (size_t i = 4; i < 6; i++) { /* their starts, of which nothing was taken */
        tws_hub_gather(&r[i], &other);
        tws_hub_batch_free(&other);
        CHECK(!tws_hub_same(&other, &r[i]));
    }
    tws_hub_gather(&r[4], &other);
    CHECK(r[4].position == r[5].position && other.count == 1); /* one wants statuses, one all */
    CHECK(tws_hub_same(&other, &r[4]) && !tws_hub_same(&other, &r[5]));
    tws_hub_batch_free(&other);
    tws_hub_gather(&r[5], &other);
    CHECK_EQ(other.count, 2);
    CHECK(tws_hub_same(&other, &r[5]) && !tws_hub_same(&other, &r[4]));
    tws_hub_batch_free(&other);
    drain(&r[0]);
    tws_hub_gather(&r[0], &other);
    CHECK(other.count == 0 && !tws_hub_same(&other, &r[0])); /* there may be some by now */
    for (size_t i = 0; i < 6; i++) {
        tws_hub_detach(&r[i]);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* -- slow readers -- */

TEST("a reader that the ring has run past is told, and given the last status of each task")
{
    tws_hub_desc d = hub_desc();
    d.max_events = 8;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&r), "start");
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    CHECK_TEXT(drain(&r), "1 2");
    for (int n = 3; n <= 20; n++) {
        step(hub, "1", "c", n, NOW);
    }
    CHECK_TEXT(drain(&r), "slow_consumer 1 2 20"); /* it forgets a and b: so they are here again */
    step(hub, "1", "c", 21, NOW);
    CHECK_TEXT(drain(&r), "21");
    tws_hub_stats stats;
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.resets, 1);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a reader that is exactly a ring behind misses nothing")
{
    tws_hub_desc d = hub_desc();
    d.max_events = 4;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&r), "start");
    for (int n = 1; n <= 4; n++) {
        step(hub, "1", "a", n, NOW);
    }
    CHECK_TEXT(drain(&r), "1 2 3 4");
    for (int n = 5; n <= 9; n++) {
        step(hub, "1", "a", n, NOW);
    }
    CHECK_TEXT(drain(&r), "slow_consumer 9");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* Takes one event, returns its n; 0 when there is none. *reset counts resets. */
static int take_one(tws_hub_reader *r, int *resets)
{
    tws_hub_batch b;
    tws_hub_gather(r, &b);
    int n = b.count == 0 ? 0 : n_of(b.event[0]);
    *resets += b.reset != NULL;
    tws_hub_advance(r, &b, b.count > 0);
    tws_hub_batch_free(&b);
    return n;
}

TEST("a reader that is too slow even for its snapshot stays in it, without a reset")
{
    tws_hub_desc d = hub_desc();
    d.max_events = 8;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    int resets = 0, n = 3;
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    step(hub, "1", "c", 3, NOW);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(take_one(&r, &resets), 1);
    while (n < 50) {
        step(hub, "1", "x", ++n, NOW);
    }
    CHECK_EQ(take_one(&r, &resets), 2);
    while (n < 100) {
        step(hub, "1", "x", ++n, NOW);
    }
    CHECK_EQ(take_one(&r, &resets), 3);
    step(hub, "1", "x", 101, NOW);
    CHECK_TEXT(drain(&r), "101");
    CHECK_EQ(resets, 0);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a reader that was promised every event is told when the ring runs past it anywhere")
{
    tws_hub_desc d = hub_desc();
    d.max_events = 8;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_event_id zero = id_of(0, 0);
    int resets = 0, n = 2;
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    while (n < 20) {
        step(hub, "1", "x", ++n, NOW);
    }
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &zero), TWS_OK);
    CHECK_EQ(take_one(&r, &resets), 1); /* a and b lie behind the ring */
    while (n < 40) {
        step(hub, "1", "x", ++n, NOW);
    }
    CHECK_TEXT(drain(&r), "slow_consumer 1 2 40");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a reader for ever too slow is brought up to date again and again")
{
    tws_hub_desc d = hub_desc();
    d.max_events = 16;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    int n = 8, last = 0, resets = 0, seen[8] = {0}, latest[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int i = 0; i < 8; i++) {
        char task[2] = {(char)('a' + i), '\0'};
        step(hub, "1", task, i + 1, NOW);
    }
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    for (int round = 0; round < 200 || last < n; round++) {
        int before = resets;
        int got = take_one(&r, &resets);
        if (resets > before) {
            memset(seen, 0, sizeof seen);
            last = 0;
        }
        CHECK(got > last);
        last = got;
        seen[got <= 8 ? got - 1 : 6 + got % 2] = got;
        for (int i = 0; i < 5 && round < 200; i++) { /* five events for each that is taken */
            n++;
            latest[6 + n % 2] = n;
            step(hub, "1", n % 2 == 0 ? "g" : "h", n, NOW);
        }
    }
    CHECK(resets > 5 && resets <= 200 / 8);
    CHECK_MEM(seen, sizeof seen, latest, sizeof latest);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a task that changes while a snapshot is half read is given once, in its newer state")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    int resets = 0;
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    step(hub, "1", "c", 3, NOW);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(take_one(&r, &resets), 1);
    step(hub, "1", "b", 4, NOW);
    step(hub, "1", "a", 5, NOW);
    CHECK_TEXT(drain(&r), "3 4 5");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("who is in the midst of a snapshot is told when what is left of it goes")
{
    enum { SWEPT, BUDGET, WAYS };
    for (int way = 0; way < WAYS; way++) {
        tws_hub_desc d = hub_desc();
        d.shards = 1;
        d.max_total_bytes = way == BUDGET ? 6000 : 0;
        tws_hub *hub = hub_make(&d);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r, all;
        const tws_event_id none = {0, 0};
        int resets = 0;
        test_row("way", (size_t)way);
        for (int i = 0; i < 9; i++) {
            char task[2] = {(char)('a' + i), 0};
            step(hub, "1", task, i, NOW);
        }
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(tws_hub_attach(in, &all, tws_str_c("1"), &none), TWS_OK);
        CHECK_EQ(take_one(&r, &resets), 0);
        CHECK_EQ(take_one(&all, &resets), 0);
        CHECK_EQ(take_one(&r, &resets), 1);
        if (way == SWEPT) {
            tws_hub_sweep(hub, NOW + 3600001);
        }
        for (int i = 0; way == BUDGET && i < 100; i++) {
            step(hub, "2", "z", i, NOW);
        }
        CHECK_EQ(hub->shard[0].topics.count, way == BUDGET ? 2 : 1);
        CHECK_EQ(resets, 0);
        step(hub, "1", "k", 50, NOW);
        CHECK_TEXT(drain(&r), "position_gone 50");
        CHECK_TEXT(drain(&all), "slow_consumer 50");
        tws_hub_detach(&r);
        tws_hub_detach(&all);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

/* -- caps -- */

TEST("the last statuses of many quiet tasks outlast a chatty one, which keeps half of the ring")
{
    tws_hub_desc d = hub_desc();
    tws_event_id last;
    d.max_events = 8;
    tws_hub *hub = hub_make(&d);
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    step(hub, "1", "c", 3, NOW);
    for (int n = 4; n < 50; n++) {
        step(hub, "1", "x", n, NOW);
        check_hub(hub);
    }
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "1 2 3 49");
    for (int n = 50; n < 56; n++) {
        char task[2] = {(char)n, '\0'};
        step(hub, "1", task, n, NOW);
        check_hub(hub);
    }
    /* Eight may be held, four of them by the ring: the oldest statuses have gone. */
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "3 49 50 51 52 53 54 55");
    for (int n = 56; n < 60; n++) {
        step(hub, "1", "x", n, NOW);
        check_hub(hub);
    }
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "52 53 54 55 59");
    tws_hub_free(hub);
}

TEST("with few bytes, too, last statuses outlast steps, and yield to half of what may be held")
{
    tws_hub_desc d = hub_desc();
    tws_event_id last;
    const uint32_t one = sizeof(tws_event) + TWS__EVENT_HEAD + sizeof "{'task_id':'a','n':10}";
    d.max_bytes = 8 * one;
    tws_hub *hub = hub_make(&d);
    for (int n = 10; n < 16; n++) { /* a to f */
        char task[2] = {(char)('a' + n - 10), '\0'};
        step(hub, "1", task, n, NOW);
    }
    step(hub, "1", "x", 16, NOW);
    step(hub, "1", "x", 17, NOW);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "10 11 12 13 14 15 17");
    for (int n = 18; n < 30; n++) {
        step(hub, "1", "x", n, NOW);
        check_hub(hub);
    }
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "12 13 14 15 29");
    tws_hub_free(hub);
}

TEST("bytes are capped as events are")
{
    tws_hub_desc d = hub_desc();
    d.max_bytes = 8 * 1024;
    d.max_event_bytes = 4096;
    tws_hub *hub = hub_make(&d);
    char json[4096];
    for (size_t n = 0; n < 2000; n++) {
        size_t pad = (n * 7919) % 3700;
        int len = snprintf(json, sizeof json, "{\"task_id\":%d,\"n\":%d,\"p\":\"%*s\"}",
                           (int)(n * 31 % 11), (int)n, (int)pad, "");
        CHECK_EQ(post(hub, "1", json, (size_t)len), TWS_OK);
        check_hub(hub);
        const tws__history *h = NULL;
        for (size_t s = 0; s < hub->desc.shards; s++) {
            h = hub->shard[s].oldest != NULL ? hub->shard[s].oldest : h;
        }
        /* The newest is in the ring. */
        CHECK_EQ(n_of(*tws__history_slot(h, h->topic->next - 1)), (int)n);
    }
    tws_hub_free(hub);
}

TEST("one event may fill a topic, and the smallest caps hold")
{
    tws_hub_desc d = hub_desc();
    tws_event_id last;
    d.max_events = 1;
    tws_hub *hub = hub_make(&d);
    step(hub, "1", "a", 1, NOW);
    step(hub, "1", "b", 2, NOW);
    put(hub, "1", "{\"n\":3}", NOW);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "");
    step(hub, "1", "b", 4, NOW);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "4");
    check_hub(hub);
    tws_hub_free(hub);
}

TEST("over the total budget the least recently published users give way, whatever the clock says")
{
    static const uint64_t ticks[] = {1, 0, UINT64_MAX}; /* it goes on, stands still, goes back */
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; i++) {
        tws_hub_desc d = hub_desc();
        d.max_total_bytes = 20000; /* some 70 events */
        tws_hub *hub = hub_make(&d);
        tws_event_id last;
        char user[16];
        uint64_t now_ms = NOW;
        for (int n = 2; n <= 40; n++) {
            snprintf(user, sizeof user, "%d", n);
            now_ms += ticks[i];
            test_row(user, i);
            step(hub, user, "a", 1, now_ms);
            step(hub, "1", "a", n, now_ms); /* user 1 stays recent */
            step(hub, user, "b", 2, now_ms);
            CHECK_TEXT(snapshot(hub, user, NOW, &last), "1 2");
            check_hub(hub);
        }
        int held = 0;
        for (int n = 40; n > 1; n--) {
            snprintf(user, sizeof user, "%d", n);
            bool here = strlen(snapshot(hub, user, NOW, &last)) > 0;
            CHECK(!here || held == 40 - n); /* behind the first that is not here, none is */
            held += here;
        }
        CHECK(held > 5 && held < 39);
        CHECK_TEXT(snapshot(hub, "1", NOW, &last), "40");
        tws_hub_free(hub);
    }
}

TEST("the total budget takes a quiet user's events one by one, the last statuses at the end")
{
    enum { EVENTS = 60 };
    tws_hub_desc d = hub_desc();
    d.shards = 1;
    d.max_total_bytes = 30000; /* some 110 events */
    d.now_ms = NOW - 10;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_event_id id[EVENTS], last;
    tws_hub_reader r;
    id[0] = step(hub, "1", "a", 0, NOW);
    for (int n = 1; n < EVENTS; n++) {
        id[n] = step(hub, "1", "b", n, NOW);
    }
    const tws__history *h = hub->shard[0].oldest;
    const uint64_t first = h->first;
    uint64_t left = EVENTS;
    int n = 0;
    for (; n < 200; n++) {
        step(hub, "2", "x", n, NOW);
        check_hub(hub);
        if (hub->shard[0].oldest != h) {
            break;
        }
        const uint64_t before = left;
        left = h->topic->next - h->first;
        test_row("left", (size_t)left);
        CHECK(left + 2 >= before); /* the first is a last status: it makes no room */
        CHECK(h->ring_size <= 4 * (left + 1));
        if (left != before) {
            const uint64_t gone = h->first - first - 1;
            CHECK_TEXT(snapshot(hub, "1", NOW, &last), "0 59");
            CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &id[gone]), TWS_OK);
            CHECK_EQ(strncmp(drain(&r), "start resumed ", 14), 0);
            tws_hub_detach(&r);
            CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &id[gone - 1]), TWS_OK);
            CHECK_TEXT(drain(&r), "start position_gone 0 59");
            tws_hub_detach(&r);
        }
    }
    CHECK(left == 1 && n < 200);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "");
    check_hub(hub);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("where memory runs out while the total budget is held, the ring stays as long as it was")
{
    tws_hub_desc d = hub_desc();
    d.shards = 1;
    d.max_total_bytes = 40 * (sizeof(tws_event) + TWS__EVENT_HEAD + 24);
    tws_hub *hub = hub_make(&d);
    for (int n = 0; n < 40; n++) {
        step(hub, "1", "a", n, NOW);
    }
    const tws__history *h = hub->shard[0].oldest;
    step(hub, "2", "x", 0, NOW);
    while (h->topic->next - h->first > 16) {
        step(hub, "2", "x", 0, NOW);
    }
    CHECK_EQ(h->ring_size, 64);
    test_fail_at(2); /* behind the event itself */
    CHECK_EQ(post(hub, "2", "{\"task_id\":\"x\",\"n\":0}", 21), TWS_OK);
    test_fail_at(0);
    CHECK_EQ(h->topic->next - h->first, 15);
    CHECK_EQ(h->ring_size, 64);
    step(hub, "2", "x", 0, NOW);
    CHECK_EQ(h->ring_size, 32);
    check_hub(hub);
    tws_hub_free(hub);
}

TEST("a user whose events were dropped whole has no silent gap")
{
    tws_hub_desc d = hub_desc();
    d.shards = 1;
    d.now_ms = NOW - 10;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader caught_up, behind, r;
    tws_event_id first = step(hub, "1", "a", 1, NOW);
    tws_event_id second = step(hub, "1", "a", 2, NOW);
    CHECK_EQ(tws_hub_attach(in, &caught_up, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &behind, tws_str_c("1"), &first), TWS_OK);
    CHECK_TEXT(drain(&caught_up), "start 2");
    CHECK_TEXT(drain(&behind), "start resumed 2");
    step(hub, "1", "b", 3, NOW);
    CHECK_TEXT(drain(&caught_up), "3");
    tws_hub_sweep(hub, NOW + 3600001);
    check_hub(hub);
    CHECK_TEXT(drain(&caught_up), "");
    CHECK_TEXT(drain(&behind), "slow_consumer");
    tws_event_id fourth = step(hub, "1", "a", 4, NOW); /* the clock is back */
    CHECK(fourth.ms == NOW && fourth.seq == 3);
    CHECK_TEXT(drain(&caught_up), "4");
    CHECK_TEXT(drain(&behind), "4");
    tws_hub_detach(&caught_up);
    tws_hub_detach(&behind);
    tws_hub_sweep(hub, NOW + 3 * 3600001);
    CHECK_EQ(hub->shard[0].topics.count, 0);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &second), TWS_OK);
    CHECK_TEXT(drain(&r), "start position_gone");
    tws_hub_detach(&r);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), &fourth), TWS_OK);
    CHECK_TEXT(drain(&r), "start resumed"); /* all after it is here: nothing */
    tws_hub_detach(&r);
    tws_event_id fifth = step(hub, "2", "a", 5, NOW - 5); /* of the same shard */
    CHECK(tws_event_id_compare(fifth, fourth) > 0);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("events go when their user was not published to for the age, and not before")
{
    static const struct {
        uint32_t age_s;
        uint64_t later_ms;
        const char *left;
    } rows[] = {{0, 3600000, "1"}, {0, 3600001, ""}, {1, 1000, "1"}, {1, 1001, ""},
                {TWS_OFF, UINT64_C(1) << 40, "1"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int swept = 0; swept < 2; swept++) {
            tws_hub_desc d = hub_desc();
            tws_event_id last;
            d.max_age_s = rows[i].age_s;
            tws_hub *hub = hub_make(&d);
            step(hub, "1", "a", 1, NOW);
            test_row(rows[i].left, i);
            tws_hub_sweep(hub, 10);
            if (swept == 1) {
                tws_hub_sweep(hub, NOW + rows[i].later_ms);
            }
            CHECK_TEXT(snapshot(hub, "1", NOW + rows[i].later_ms, &last), rows[i].left);
            check_hub(hub);
            tws_hub_free(hub);
        }
    }
}

/* -- groups and inboxes -- */

TEST("news wakes each inbox once, until it has been emptied")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *a = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_inbox *b = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r[4];
    CHECK_EQ(tws_hub_attach(a, &r[0], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(a, &r[1], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(a, &r[2], tws_str_c("2"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(b, &r[3], tws_str_c("1"), NULL), TWS_OK);
    CHECK(tws_hub_news(a) == NULL && tws_hub_news(b) == NULL);
    wakes = 0;
    step(hub, "3", "a", 1, NOW);
    CHECK_EQ(wakes, 0);
    step(hub, "1", "a", 1, NOW);
    CHECK_EQ(wakes, 2);
    step(hub, "1", "a", 2, NOW);
    step(hub, "2", "a", 1, NOW);
    CHECK_EQ(wakes, 2);
    CHECK(r[0].group == r[1].group && r[1].group != r[2].group);
    CHECK(tws_hub_news(a) == &r[1]);
    step(hub, "1", "a", 3, NOW); /* brings them round again, behind the other */
    CHECK_EQ(wakes, 2);
    CHECK(tws_hub_news(a) == &r[0]);
    CHECK(tws_hub_news(a) == &r[2]);
    CHECK(tws_hub_news(a) == &r[1]);
    CHECK(tws_hub_news(a) == &r[0]);
    CHECK(tws_hub_news(a) == NULL);
    step(hub, "2", "a", 2, NOW);
    CHECK_EQ(wakes, 3);
    CHECK(tws_hub_news(b) == &r[3]);
    for (size_t i = 0; i < 4; i++) {
        tws_hub_detach(&r[i]);
    }
    CHECK(tws_hub_news(a) == NULL);
    tws_hub_inbox_free(a);
    tws_hub_inbox_free(b);
    tws_hub_free(hub);
}

TEST("readers may leave while their group is served: whoever is there is served once")
{
    /* When the second of four has been taken, one leaves, or those that stand from there on. */
    static const char *const left[] = {"0", "1", "2", "3", "23", "0123"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        tws_hub *hub = hub_plain();
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r[4], *next;
        size_t served = 2, expected = 4;
        test_row(left[i], i);
        for (size_t k = 4; k-- > 0;) {
            CHECK_EQ(tws_hub_attach(in, &r[k], tws_str_c("1"), NULL), TWS_OK);
        }
        step(hub, "1", "a", 1, NOW);
        CHECK(tws_hub_news(in) == &r[0] && tws_hub_news(in) == &r[1]);
        for (const char *c = left[i]; *c != '\0'; c++) {
            tws_hub_detach(&r[*c - '0']);
            expected -= *c >= '2';
        }
        for (next = tws_hub_news(in); next != NULL; next = tws_hub_news(in)) {
            CHECK(next == &r[2] || next == &r[3]);
            CHECK(next->group != NULL);
            served++;
        }
        CHECK_EQ(served, expected);
        for (size_t k = 0; k < 4; k++) {
            tws_hub_detach(&r[k]);
        }
        CHECK(tws_hub_news(in) == NULL);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("who is not given all is given rounds at once, so many, without a wake")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, other;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &other, tws_str_c("1"), NULL), TWS_OK);
    for (int news = 0; news < 2; news++) {
        step(hub, "1", "a", 1, NOW);
        wakes = 0;
        for (int round = 0; round < TWS_HUB_ROUNDS; round++) {
            CHECK(tws_hub_news(in) == &other);
            CHECK(tws_hub_again(&other));
            CHECK(tws_hub_again(&other)); /* that one */
            CHECK(tws_hub_news(in) == &r);
        }
        CHECK(tws_hub_news(in) == &other && tws_hub_news(in) == &r);
        CHECK(!tws_hub_again(&r));
        CHECK(tws_hub_news(in) == NULL);
        CHECK_EQ(wakes, 0);
    }
    tws_hub_detach(&r);
    tws_hub_detach(&other);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a batch is no longer the same when there has been news")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, other;
    tws_hub_batch b;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(tws_hub_attach(in, &other, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&r), "start");
    CHECK_TEXT(drain(&other), "start");
    step(hub, "1", "a", 1, NOW);
    tws_hub_gather(&r, &b);
    CHECK(b.count == 1 && tws_hub_same(&b, &other));
    step(hub, "1", "a", 2, NOW);
    CHECK(!tws_hub_same(&b, &other));
    tws_hub_batch_free(&b);
    tws_hub_gather(&other, &b);
    CHECK_EQ(b.count, 2);
    CHECK(tws_hub_same(&b, &r));
    tws_hub_batch_free(&b);
    tws_hub_detach(&r);
    tws_hub_detach(&other);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a group that goes while it has news leaves the inbox in order")
{
    static const char *const users[] = {"1", "2", "3"};
    for (size_t gone = 0; gone < 3; gone++) {
        tws_hub *hub = hub_plain();
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r[3];
        for (size_t i = 0; i < 3; i++) {
            CHECK_EQ(tws_hub_attach(in, &r[i], tws_str_c(users[i]), NULL), TWS_OK);
            step(hub, users[i], "a", 1, NOW);
        }
        tws_hub_detach(&r[gone]);
        for (size_t i = 0; i < 3; i++) {
            CHECK(i == gone || tws_hub_news(in) == &r[i]);
        }
        CHECK(tws_hub_news(in) == NULL);
        for (size_t i = 0; i < 3; i++) {
            tws_hub_detach(&r[i]);
        }
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("more inboxes than a publish can note are all woken")
{
    tws_hub *hub = hub_plain();
    tws_hub_inbox *in[3 * TWS__WAKES];
    tws_hub_reader r[3 * TWS__WAKES];
    for (size_t i = 0; i < 3 * TWS__WAKES; i++) {
        in[i] = tws_hub_inbox_create(hub, count_wake, NULL);
        CHECK_EQ(tws_hub_attach(in[i], &r[i], tws_str_c("1"), NULL), TWS_OK);
    }
    wakes = 0;
    step(hub, "1", "a", 1, NOW);
    CHECK_EQ(wakes, 3 * TWS__WAKES);
    for (size_t i = 0; i < 3 * TWS__WAKES; i++) {
        CHECK(tws_hub_news(in[i]) == &r[i]);
        CHECK_EQ(in[i]->wakers, 0);
        tws_hub_detach(&r[i]);
        tws_hub_inbox_free(in[i]);
    }
    tws_hub_free(hub);
}

TEST("many users fit, each found again")
{
    tws_hub *hub = hub_plain();
    tws_event_id last;
    char user[24], want[16];
    for (int n = 0; n < 5000; n++) {
        snprintf(user, sizeof user, "user-%d", n);
        step(hub, user, "a", n, NOW);
    }
    for (int n = 0; n < 5000; n++) {
        snprintf(user, sizeof user, "user-%d", n);
        snprintf(want, sizeof want, "%d", n);
        CHECK_TEXT(snapshot(hub, user, NOW, &last), want);
    }
    for (size_t i = 0; i < hub->desc.shards; i++) { /* spread, and in buckets that grew along */
        const tws__users *topics = &hub->shard[i].topics;
        CHECK(topics->count > 100 && topics->count < 600);
        CHECK(topics->count <= topics->bucket_count);
    }
    check_hub(hub);
    tws_hub_free(hub);
}

/* -- upstream -- */

typedef struct script {
    char text[256]; /* "+1 -1": joined, left */
} script;

static void script_note(void *context, char sign, tws_str user_id)
{
    script *s = (script *)context;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s%c%.*s", n > 0 ? " " : "", sign, (int)user_id.len,
             user_id.ptr);
}

static uint32_t join_number;

static void script_join(void *context, tws_str user_id, uint32_t number)
{
    script_note(context, '+', user_id);
    join_number = number;
}

static void script_leave(void *context, tws_str user_id)
{
    script_note(context, '-', user_id);
}

static void script_reload(void *context, tws_str user_id)
{
    script_note(context, '*', user_id);
}

static tws_hub *hub_upstream_with(script *s, uint64_t max_total_bytes, uint32_t grace_s)
{
    tws_hub_desc d = hub_desc();
    tws_hub_upstream up = {s, script_join, script_leave, script_reload};
    memset(s, 0, sizeof *s);
    d.upstream = &up; /* it is copied */
    d.now_ms = NOW;
    d.max_total_bytes = max_total_bytes;
    d.grace_s = grace_s;
    return hub_make(&d);
}

static tws_hub *hub_upstream_of(script *s, uint64_t max_total_bytes)
{
    return hub_upstream_with(s, max_total_bytes, TWS_OFF);
}

/* Attach, and say at once that it was heard. */
static tws_status attach_joined(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id,
                                const tws_event_id *since)
{
    join_number = 0;
    tws_status status = tws_hub_attach(in, r, user_id, since);
    if (join_number != 0) {
        tws_hub_joined(in->hub, user_id, join_number);
    }
    return status;
}

static tws_hub *hub_upstream(script *s)
{
    return hub_upstream_of(s, 0);
}

static tws_status feed(tws_hub *hub, uint64_t id, const char *task, int n)
{
    char json[64];
    snprintf(json, sizeof json, "{\"task_id\":\"%s\",\"n\":%d}", task, n);
    return put_id(hub, "1", json, id, 0);
}

TEST("an upstream hears of a user's first reader and of the last that goes")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *a = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_inbox *b = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r[3];
    CHECK_EQ(attach_joined(a, &r[0], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(attach_joined(b, &r[1], tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(attach_joined(b, &r[2], tws_str_c("22"), NULL), TWS_OK);
    tws_hub_detach(&r[0]);
    CHECK_TEXT(s.text, "+1 +22");
    tws_hub_detach(&r[1]);
    tws_hub_detach(&r[2]);
    CHECK_TEXT(s.text, "+1 +22 -1 -22");
    CHECK_EQ(attach_joined(a, &r[0], tws_str_c("1"), NULL), TWS_OK);
    tws_hub_detach(&r[0]);
    CHECK_TEXT(s.text, "+1 +22 -1 -22 +1 -1");
    tws_hub_inbox_free(a);
    tws_hub_inbox_free(b);
    tws_hub_free(hub);
}

/* Sweeps, and what upstream hears then. */
static tws_str after_sweeps(tws_hub *hub, script *s, int count)
{
    s->text[0] = '\0';
    for (int i = 0; i < count; i++) {
        tws_hub_sweep(hub, NOW);
    }
    return tws_str_c(s->text);
}

TEST("who comes back within the grace goes on from what came meanwhile, and upstream is not asked")
{
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, 0);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_event_id last, one = id_of(1, 0);
    tws_str user = tws_str_c("1");
    CHECK_EQ(attach_joined(in, &r, user, NULL), TWS_OK);
    CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
    tws_hub_loaded(hub, user, id_of(0, 5));
    CHECK_TEXT(drain(&r), "start 1");
    tws_hub_detach(&r);
    CHECK_TEXT(after_sweeps(hub, &s, 10).ptr, "");
    CHECK(tws_hub_is_joined(hub, user));
    CHECK_EQ(tws_hub_readers(hub, user), 0);
    CHECK_EQ(feed(hub, 2, "b", 2), TWS_OK);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "1 2");
    CHECK_EQ(tws_hub_attach(in, &r, user, &one), TWS_OK);
    CHECK_TEXT(drain(&r), "start resumed 2");
    tws_hub_detach(&r);
    CHECK_TEXT(s.text, "");
    check_hub(hub);
    tws_hub_inbox_free(in);
    tws_hub_free(hub); /* nobody to tell, nothing left over */
}

TEST("who visits a user waits for what upstream has by now, whether others read or nobody does")
{
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, 0);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, one;
    tws_event_id last;
    tws_str user = tws_str_c("1");
    CHECK_EQ(attach_joined(in, &r, user, NULL), TWS_OK);
    CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
    tws_hub_loaded(hub, user, id_of(0, 5));
    for (uint64_t id = 2; id < 4; id++) {
        if (id == 3) {
            tws_hub_detach(&r);
        }
        s.text[0] = '\0';
        CHECK_EQ(tws_hub_visit(in, &one, user), TWS_OK);
        CHECK_TEXT(drain(&one), "");
        CHECK_EQ(feed(hub, id, "a", (int)id), TWS_OK); /* stored before, and come behind */
        CHECK_TEXT(drain(&one), "");
        CHECK_TEXT(snapshot(hub, "1", NOW, &last), id == 2 ? "2" : "3");
        tws_hub_loaded(hub, user, id_of(0, 0));
        CHECK_TEXT(drain(&one), id == 2 ? "start 2" : "start 3");
        CHECK_TEXT(s.text, "+1");
        tws_hub_detach(&one);
    }
    check_hub(hub);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("of who come while upstream is asked the next answer is for all, and no question more is open")
{
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, 0);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, late[2];
    tws_event_id beyond = id_of(3, 0);
    tws_str user = tws_str_c("1");
    for (int round = 0; round < 3; round++) { /* loading; asked; asked by a reader who is ahead */
        const bool first = round == 0;
        test_row("round", (size_t)round);
        s.text[0] = '\0';
        CHECK_EQ(first        ? attach_joined(in, &r, user, NULL)
                 : round == 1 ? tws_hub_visit(in, &r, user)
                              : tws_hub_attach(in, &r, user, &beyond),
                 TWS_OK);
        CHECK_TEXT(drain(&r), "");
        if (first) {
            tws_hub_detach(&r); /* nor has who asked first to stay */
        }
        CHECK_EQ(feed(hub, 1, "a", 1), first ? TWS_OK : TWS_ERR_EXISTS);
        CHECK_EQ(tws_hub_visit(in, &late[0], user), TWS_OK);
        CHECK_EQ(tws_hub_visit(in, &late[1], user), TWS_OK);
        CHECK_TEXT(s.text, "+1");
        tws_hub_loaded(hub, user, id_of(0, 5)); /* read before the late ones came */
        CHECK_TEXT(drain(&late[0]), "");
        CHECK_TEXT(drain(&late[1]), "");
        if (round == 1) {
            CHECK_TEXT(drain(&r), "start 2");
        } else if (round == 2) {
            CHECK_TEXT(drain(&r), "start position_gone 2");
        }
        CHECK_TEXT(s.text, "+1 +1");
        CHECK_EQ(feed(hub, 2, "a", 2), first ? TWS_OK : TWS_ERR_EXISTS);
        tws_hub_loaded(hub, user, id_of(0, 0));
        CHECK_TEXT(drain(&late[0]), "start 2");
        CHECK_TEXT(drain(&late[1]), "start 2");
        CHECK_TEXT(s.text, "+1 +1");
        tws_hub_detach(&r);
        tws_hub_detach(&late[0]);
        tws_hub_detach(&late[1]);
    }
    s.text[0] = '\0';
    CHECK_EQ(tws_hub_visit(in, &late[0], user), TWS_OK);
    CHECK_EQ(tws_hub_visit(in, &late[1], user), TWS_OK);
    tws_hub_detach(&late[0]);
    tws_hub_detach(&late[1]);
    tws_hub_loaded(hub, user, id_of(0, 0));
    CHECK_TEXT(s.text, "+1"); /* nobody waits for more */
    CHECK_EQ(tws_hub_visit(in, &late[0], user), TWS_OK);
    CHECK_TEXT(s.text, "+1 +1");
    tws_hub_detach(&late[0]);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("an answer comes also after 2^16 of them")
{
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, 0);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, one, two;
    tws_str user = tws_str_c("1");
    CHECK_EQ(attach_joined(in, &r, user, NULL), TWS_OK);
    tws_hub_loaded(hub, user, id_of(0, 5));
    tws_hub_detach(&r);
    for (uint32_t loads = 1; loads < UINT16_MAX + 3u; loads++) {
        if (loads < UINT16_MAX - 3u) {
            tws_hub_loaded(hub, user, id_of(0, 0));
            continue;
        }
        CHECK_EQ(tws_hub_visit(in, &one, user), TWS_OK);
        CHECK_EQ(tws_hub_visit(in, &two, user), TWS_OK);
        CHECK_TEXT(drain(&one), "");
        tws_hub_loaded(hub, user, id_of(0, 0));
        CHECK_TEXT(drain(&one), "start");
        CHECK_TEXT(drain(&two), "");
        tws_hub_loaded(hub, user, id_of(0, 0));
        CHECK_TEXT(drain(&two), "start");
        tws_hub_detach(&one);
        tws_hub_detach(&two);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("upstream hears that a user is left once nobody has come for the grace")
{
    for (uint32_t grace_s = 0; grace_s <= 3; grace_s++) {
        script s;
        tws_hub *hub = hub_upstream_with(&s, 0, grace_s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r, other, stays;
        const int grace = grace_s == 0 ? 10 : (int)grace_s;
        test_row("grace", grace_s);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(attach_joined(in, &other, tws_str_c("22"), NULL), TWS_OK);
        CHECK_EQ(attach_joined(in, &stays, tws_str_c("333"), NULL), TWS_OK);
        CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 5));
        tws_hub_detach(&r);
        CHECK_TEXT(after_sweeps(hub, &s, grace).ptr, "");
        tws_hub_detach(&other); /* not loaded yet */
        CHECK_TEXT(after_sweeps(hub, &s, 1).ptr, "-1");
        CHECK(!tws_hub_is_joined(hub, tws_str_c("1")));
        CHECK_EQ(feed(hub, 2, "a", 2), TWS_ERR_NOT_FOUND);
        CHECK_TEXT(after_sweeps(hub, &s, grace).ptr, "-22");
        CHECK_EQ(hub->bytes, 0);
        CHECK_TEXT(after_sweeps(hub, &s, 3 * grace).ptr, "");
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_TEXT(drain(&r), ""); /* all anew */
        CHECK_TEXT(s.text, "+1");
        tws_hub_detach(&r);
        tws_hub_detach(&stays);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("one sweep leaves all whose grace is over")
{
    enum { USERS = 40, GRACE = 2 }; /* more than shards */
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, GRACE);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_stats stats;
    for (int i = 0; i < USERS; i++) {
        tws_hub_reader r;
        char user[16];
        snprintf(user, sizeof user, "%d", i);
        CHECK_EQ(attach_joined(in, &r, tws_str_c(user), NULL), TWS_OK);
        tws_hub_detach(&r);
    }
    CHECK_TEXT(after_sweeps(hub, &s, GRACE).ptr, "");
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.topics, USERS);
    after_sweeps(hub, &s, 1);
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.topics, 0);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("a hub that is the store has joined nobody, and keeps no grace")
{
    tws_hub_desc d = hub_desc();
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_hub_stats stats;
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK(!tws_hub_is_joined(hub, tws_str_c("1")));
    tws_hub_detach(&r);
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.topics, 0);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("who comes back has the whole grace again when he goes, and twice that at most")
{
    enum { GRACE = 3, TRIES = 40 };
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, GRACE);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, other;
    for (int at = 1; at < TRIES; at++) { /* goes and comes at any time of what went before */
        test_row("sweeps between", (size_t)at);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(attach_joined(in, &other, tws_str_c("22"), NULL), TWS_OK);
        tws_hub_detach(&other);
        tws_hub_detach(&r);
        after_sweeps(hub, &s, at % (GRACE + 1));
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_TEXT(s.text, "");
        CHECK(tws_str_find(after_sweeps(hub, &s, at / (GRACE + 1)), '1') >= strlen(s.text));
        tws_hub_detach(&r);
        CHECK(tws_str_find(after_sweeps(hub, &s, GRACE), '1') >= strlen(s.text));
        CHECK(tws_hub_is_joined(hub, tws_str_c("1")));
        tws_str rest = after_sweeps(hub, &s, GRACE + 1);
        CHECK(tws_str_find(rest, '1') < rest.len);
        tws_hub_stats stats;
        after_sweeps(hub, &s, GRACE + 1);
        tws_hub_stat(hub, &stats);
        CHECK_EQ(stats.topics, 0);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("without memory to note who has left there is no grace")
{
    script s;
    tws_hub *hub = hub_upstream_with(&s, 0, 0);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    test_fail_at(1);
    tws_hub_detach(&r);
    test_fail_at(0);
    CHECK_TEXT(s.text, "+1 -1");
    CHECK_TEXT(after_sweeps(hub, &s, 20).ptr, "");
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("in the grace the total budget may take a user's past, which is read again then")
{
    for (size_t visits = 0; visits < 2; visits++) {
        script s;
        tws_hub *hub = hub_upstream_with(&s, 0, 0);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        test_row(visits ? "a visitor" : "a reader", visits);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 5));
        tws_hub_detach(&r);
        tws__shard *shard = &hub->shard[0];
        while (shard->oldest == NULL) {
            shard++;
        }
        while (shard->oldest != NULL) {
            tws__shard_yield(shard, UINT64_MAX);
        }
        CHECK(tws_hub_is_joined(hub, tws_str_c("1")));
        CHECK_EQ(visits ? tws_hub_visit(in, &r, tws_str_c("1"))
                        : tws_hub_attach(in, &r, tws_str_c("1"), NULL),
                 TWS_OK);
        CHECK_TEXT(drain(&r), "");
        CHECK_TEXT(s.text, "+1 *1");
        tws_hub_forget(hub, tws_str_c("1"), id_of(0, 5));
        CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
        CHECK_TEXT(drain(&r), "start 1");
        while (shard->oldest != NULL) {
            tws__shard_yield(shard, UINT64_MAX);
        }
        CHECK_TEXT(drain(&r), ""); /* he has it */
        CHECK_TEXT(s.text, "+1 *1");
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("the past is read again behind an answer that is under way, not taken for come with it")
{
    for (size_t missed = 0; missed < 3; missed++) { /* of the two questions: none, one, the other */
        script s;
        tws_hub *hub = hub_upstream_with(&s, 0, 0);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r, one, late;
        tws_str user = tws_str_c("1");
        test_row("missed", missed);
        CHECK_EQ(attach_joined(in, &r, user, NULL), TWS_OK);
        CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
        tws_hub_loaded(hub, user, id_of(0, 5));
        tws_hub_detach(&r);
        CHECK_EQ(tws_hub_visit(in, &one, user), TWS_OK);
        tws__shard *shard = &hub->shard[0];
        while (shard->oldest == NULL) {
            shard++;
        }
        while (shard->oldest != NULL) {
            tws__shard_yield(shard, UINT64_MAX);
        }
        s.text[0] = '\0';
        CHECK_TEXT(drain(&one), "");
        CHECK_TEXT(s.text, ""); /* later */
        CHECK_EQ(tws_hub_visit(in, &late, user), TWS_OK);
        if (missed == 1) {
            tws_hub_rejoin(hub);
        }
        CHECK_TEXT(s.text, missed == 1 ? "+1" : "");
        s.text[0] = '\0';
        tws_hub_loaded(hub, user, id_of(0, 0)); /* that is the visitor's question */
        CHECK_TEXT(drain(&one), "");
        CHECK_TEXT(drain(&late), "");
        if (missed == 2) {
            tws_hub_rejoin(hub);
        }
        CHECK_TEXT(s.text, missed == 2 ? "*1 *1" : "*1");
        tws_hub_forget(hub, user, id_of(0, 5));
        CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
        CHECK_TEXT(drain(&one), "");
        s.text[0] = '\0';
        tws_hub_loaded(hub, user, id_of(0, 0));
        CHECK_TEXT(drain(&one), "start 1");
        CHECK_TEXT(drain(&late), "start 1");
        CHECK_TEXT(s.text, "");
        tws_hub_detach(&one);
        tws_hub_detach(&late);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("an upstream that could not take note hears again whose readers wait, and for what")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, later;
    tws_hub_rejoin(hub);
    CHECK_TEXT(s.text, "");
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    uint32_t number = join_number;
    join_number = 0;
    tws_hub_rejoin(hub);
    CHECK_TEXT(s.text, "+1 +1"); /* not heard: the same join */
    CHECK_EQ(join_number, number);
    tws_hub_joined(hub, tws_str_c("1"), number);
    tws_hub_rejoin(hub);
    CHECK_TEXT(s.text, "+1 +1 *1"); /* heard, and not loaded */
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&r), "start");
    CHECK_EQ(tws_hub_attach(in, &later, tws_str_c("1"), NULL), TWS_OK);
    tws_hub_rejoin(hub);
    CHECK_TEXT(s.text, "+1 +1 *1 +1"); /* is there more? */
    CHECK_EQ(join_number, 0);
    tws_hub_detach(&r);
    tws_hub_detach(&later);
    tws_hub_rejoin(hub);
    CHECK_TEXT(s.text, "+1 +1 *1 +1 -1");
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
    hub = tws_hub_create(&hub, &(tws_hub_desc){0}) == TWS_OK ? hub : NULL;
    tws_hub_rejoin(hub); /* nobody to tell */
    tws_hub_free(hub);
}

TEST("readers wait while a topic loads, and start when it has")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, second, since;
    tws_hub_batch b;
    tws_event_id three = id_of(3, 0);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    wakes = 0;
    tws_hub_gather(&r, &b);
    CHECK(b.count == 0 && !b.start && !b.more && b.group == NULL);
    CHECK(!tws_hub_same(&b, &r));
    CHECK_EQ(feed(hub, 2, "a", 2), TWS_OK);
    CHECK_EQ(feed(hub, 3, "b", 3), TWS_OK);
    CHECK_EQ(feed(hub, 3, "b", 3), TWS_ERR_EXISTS);
    CHECK_EQ(wakes, 1);
    CHECK(tws_hub_news(in) == &r);
    CHECK_TEXT(drain(&r), "");
    CHECK_EQ(feed(hub, 4, "a", 4), TWS_OK);
    CHECK(tws_hub_news(in) == &r);
    CHECK_TEXT(drain(&r), "");
    CHECK_EQ(attach_joined(in, &second, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(attach_joined(in, &since, tws_str_c("1"), &three), TWS_OK);
    CHECK_TEXT(drain(&second), "");
    CHECK_TEXT(s.text, "+1");
    tws_hub_loaded(hub, tws_str_c("1"), id_of(1, 5));
    CHECK_EQ(wakes, 3);
    CHECK(tws_hub_news(in) == &since);
    CHECK_TEXT(drain(&r), "start 3 4");
    CHECK_TEXT(drain(&since), "start resumed 4");
    CHECK_EQ(feed(hub, 5, "a", 5), TWS_OK);
    CHECK_TEXT(drain(&r), "5");
    CHECK_TEXT(drain(&since), "5");
    CHECK_TEXT(drain(&second), "start 3 5");
    tws_hub_detach(&r);
    tws_hub_detach(&second);
    tws_hub_detach(&since);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("what is fed before the joining was heard is not for its readers")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r, second;
    tws_str user = tws_str_c("1");
    tws_event_id one = id_of(1, 0);
    CHECK_EQ(attach_joined(in, &r, user, NULL), TWS_OK);
    CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
    tws_hub_detach(&r);
    CHECK_EQ(tws_hub_attach(in, &r, user, &one), TWS_OK);
    uint32_t number = join_number;
    CHECK_EQ(feed(hub, 3, "c", 3), TWS_ERR_NOT_FOUND); /* it would hide the 2 to come */
    tws_hub_loaded(hub, user, id_of(3, 0));
    tws_hub_forget(hub, user, id_of(3, 0));
    CHECK_TEXT(drain(&r), "");
    tws_hub_joined(hub, user, number - 1); /* of another one */
    CHECK_EQ(feed(hub, 3, "c", 3), TWS_ERR_NOT_FOUND);
    tws_hub_joined(hub, user, number);
    CHECK_EQ(tws_hub_attach(in, &second, user, NULL), TWS_OK); /* not the first: nothing is joined */
    CHECK_EQ(join_number, number);
    for (uint64_t id = 1; id <= 3; id++) {
        CHECK_EQ(feed(hub, id, "t", (int)id), TWS_OK);
    }
    tws_hub_loaded(hub, user, id_of(0, 0));
    CHECK_TEXT(drain(&r), "start resumed 2 3");
    CHECK_TEXT(drain(&second), "start 3");
    tws_hub_detach(&r);
    tws_hub_detach(&second);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("what an upstream has complete decides who may resume")
{
    static const struct {
        uint64_t since, complete_from;
        int events; /* ids 11, 12, ... */
        const char *gets;
    } rows[] = {
        {10, 10, 2, "start resumed 11 12"},
        {9, 10, 2, "start position_gone 11 12"},
        {9, 9, 2, "start resumed 11 12"},
        {5, 0, 2, "start resumed 11 12"},
        {11, 10, 2, "start resumed 12"},
        {12, 10, 2, "start resumed"},
        {13, 10, 2, "start position_gone 11 12"},
        {10, 10, 0, "start resumed"},
        {9, 10, 0, "start position_gone"},
        {11, 10, 0, "start position_gone"},
        {0, 10, 0, "start resumed"},
        {0, 0, 0, "start resumed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        script s;
        tws_hub *hub = hub_upstream(&s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        tws_event_id since = id_of(rows[i].since, 0);
        test_row(rows[i].gets, i);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), &since), TWS_OK);
        for (int k = 0; k < rows[i].events; k++) {
            CHECK_EQ(feed(hub, 11 + (uint64_t)k, k == 0 ? "a" : "b", 11 + k), TWS_OK);
        }
        tws_hub_loaded(hub, tws_str_c("1"), id_of(rows[i].complete_from, 0));
        if (rows[i].since > 10 + (uint64_t)rows[i].events) { /* upstream is asked first */
            CHECK_TEXT(drain(&r), "");
            tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
        }
        CHECK_TEXT(drain(&r), rows[i].gets);
        CHECK_EQ(feed(hub, rows[i].complete_from, "c", 1),
                 rows[i].complete_from == 0 ? TWS_OK : TWS_ERR_EXISTS); /* 0-0: without id */
        CHECK_EQ(feed(hub, 20, "c", 20), TWS_OK);
        CHECK_TEXT(drain(&r), rows[i].complete_from == 0 ? "1 20" : "20");
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("who has seen more elsewhere waits until it has come here, or upstream says that it does not")
{
    static const struct {
        const char *steps; /* f: fed the next id, from 12 on; n: fed one without an id; l: loaded */
        const char *gets[4];
    } rows[] = {
        {"ffff", {"", "", "start resumed", "15"}}, /* since 14-0 */
        {"fl", {"", "start position_gone 11 12"}},
        {"lf", {"start position_gone 11", "12"}},
        {"nnl", {"", "", "start position_gone 11 0"}},
        {"fffl", {"", "", "start resumed", ""}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        script s;
        tws_hub *hub = hub_upstream(&s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader first, r;
        tws_event_id since = id_of(14, 0);
        uint64_t id = 12;
        test_row(rows[i].steps, i);
        CHECK_EQ(attach_joined(in, &first, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(feed(hub, 11, "a", 11), TWS_OK);
        tws_hub_loaded(hub, tws_str_c("1"), id_of(10, 0));
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), &since), TWS_OK);
        CHECK_TEXT(s.text, "+1");
        CHECK_TEXT(drain(&r), "");
        CHECK_TEXT(drain(&r), "");
        CHECK_TEXT(s.text, "+1 +1"); /* once */
        CHECK_TEXT(drain(&first), "start 11");
        for (size_t k = 0; rows[i].steps[k] != '\0'; k++) {
            if (rows[i].steps[k] == 'l') {
                tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
            } else if (rows[i].steps[k] == 'n') {
                CHECK_EQ(feed(hub, 0, "x", 0), TWS_OK);
            } else {
                CHECK_EQ(feed(hub, id, "b", (int)id), TWS_OK);
                id++;
            }
            CHECK_TEXT(drain(&r), rows[i].gets[k]);
        }
        tws_hub_detach(&r);
        tws_hub_detach(&first);
        CHECK_TEXT(s.text, "+1 +1 -1");
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("with an upstream, nothing is stored or shown for a user whom nobody reads")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_event **events;
    size_t count;
    tws_event_id last;
    CHECK_EQ(feed(hub, 1, "a", 1), TWS_ERR_NOT_FOUND);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    tws_hub_loaded(hub, tws_str_c(""), id_of(0, 0));
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("1"), NOW, &events, &count, &last),
             TWS_ERR_UNAVAILABLE);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(feed(hub, 1, "a", 1), TWS_OK);
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("1"), NOW, &events, &count, &last),
             TWS_ERR_UNAVAILABLE);
    CHECK(events == NULL && count == 0);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "1");
    tws_hub_detach(&r);
    CHECK_EQ(feed(hub, 2, "a", 2), TWS_ERR_NOT_FOUND);
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("1"), NOW, &events, &count, &last),
             TWS_ERR_UNAVAILABLE);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("who comes back is given what upstream has now, and nothing that is left from before")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_hub_stats stats;
    tws_event_id two = id_of(2, 0);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    feed(hub, 1, "a", 1);
    feed(hub, 2, "a", 2);
    feed(hub, 3, "b", 3);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&r), "start 2 3");
    tws_hub_detach(&r);
    tws_hub_stat(hub, &stats);
    CHECK_EQ(stats.events, 0);
    CHECK_EQ(stats.topics, 0);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), &two), TWS_OK);
    CHECK_TEXT(drain(&r), "");
    for (int n = 2; n <= 4; n++) { /* the past is read again */
        CHECK_EQ(feed(hub, (uint64_t)n, "a", n), TWS_OK);
    }
    tws_hub_loaded(hub, tws_str_c("1"), id_of(1, 0));
    CHECK_TEXT(drain(&r), "start resumed 3 4");
    tws_hub_detach(&r);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    CHECK_EQ(feed(hub, 9, "c", 9), TWS_OK); /* what upstream still has: "a" and "b" are out of it */
    tws_hub_loaded(hub, tws_str_c("1"), id_of(8, 0));
    CHECK_TEXT(drain(&r), "start 9");
    tws_hub_detach(&r);
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), &two), TWS_OK);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(8, 0)); /* trimmed beyond what was seen */
    CHECK_TEXT(drain(&r), "start position_gone");
    tws_hub_detach(&r);
    CHECK_TEXT(s.text, "+1 -1 +1 -1 +1 -1 +1 -1");
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("events lost upstream are a reset to who waits for a user's first event, too")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(3, 0));
    CHECK_TEXT(drain(&r), "start");
    tws_hub_loaded(hub, tws_str_c("1"), id_of(3, 0));
    CHECK_TEXT(drain(&r), "");
    tws_hub_loaded(hub, tws_str_c("1"), id_of(4, 0));
    CHECK_TEXT(drain(&r), "position_gone");
    CHECK_EQ(feed(hub, 5, "a", 5), TWS_OK);
    CHECK_TEXT(drain(&r), "5");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("what an upstream takes back is forgotten with its ids, and every reader is told")
{
    for (int loaded = 0; loaded < 2; loaded++) {
        script s;
        tws_hub *hub = hub_upstream(&s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r, behind;
        test_row(loaded ? "loaded" : "loading", (size_t)loaded);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(attach_joined(in, &behind, tws_str_c("1"), NULL), TWS_OK);
        feed(hub, 7, "a", 7);
        feed(hub, 8, "b", 8);
        if (loaded) {
            tws_hub_loaded(hub, tws_str_c("1"), id_of(6, 0));
            CHECK_TEXT(drain(&r), "start 7 8");
        }
        CHECK(tws_hub_news(in) == &behind);
        CHECK(tws_hub_inbox_empty(in));
        wakes = 0;
        tws_hub_forget(hub, tws_str_c("1"), id_of(2, 0));
        check_hub(hub);
        CHECK_EQ(wakes, 1);
        CHECK(!tws_hub_inbox_empty(in));
        CHECK_TEXT(drain(&r), loaded ? "position_gone" : "");
        CHECK_EQ(feed(hub, 2, "c", 2), TWS_ERR_EXISTS);
        CHECK_EQ(feed(hub, 3, "c", 3), TWS_OK); /* an id below those that are void */
        tws_hub_loaded(hub, tws_str_c("1"), id_of(2, 0));
        check_hub(hub);
        CHECK_TEXT(drain(&r), loaded ? "3" : "start 3");
        CHECK_TEXT(drain(&behind), "start 3"); /* has seen nothing: nothing to be told */
        CHECK_EQ(feed(hub, 4, "c", 4), TWS_OK);
        CHECK_TEXT(drain(&r), "4");
        tws_hub_detach(&r);
        tws_hub_detach(&behind);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("to take back what is of nobody, or of no user, changes nothing")
{
    script s;
    tws_hub *hub = hub_upstream(&s);
    char long_id[TWS_MAX_USER_ID + 1];
    memset(long_id, 'u', sizeof long_id);
    tws_hub_forget(hub, tws_str_c("1"), id_of(2, 0));
    tws_hub_forget(hub, tws_str_c(""), id_of(2, 0));
    tws_hub_forget(hub, tws_str_of(long_id, sizeof long_id), id_of(2, 0));
    check_hub(hub);
    CHECK_TEXT(s.text, "");
    tws_hub_free(hub);
}

TEST("events lost upstream are a reset to every reader, caught up or not")
{
    for (int with_events = 0; with_events < 2; with_events++) {
        script s;
        tws_hub *hub = hub_upstream(&s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r, behind, late;
        tws_event_id two = id_of(2, 0);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        CHECK_EQ(attach_joined(in, &behind, tws_str_c("1"), NULL), TWS_OK);
        if (with_events == 1) {
            feed(hub, 1, "a", 1);
            feed(hub, 2, "b", 2);
        }
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
        CHECK_TEXT(drain(&r), with_events == 1 ? "start 1 2" : "start");
        CHECK_TEXT(drain(&behind), with_events == 1 ? "start 1 2" : "start");
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0)); /* read again: nothing was lost */
        CHECK_TEXT(drain(&r), "");
        feed(hub, 3, "a", 3);
        CHECK_TEXT(drain(&r), "3");
        wakes = 0;
        while (tws_hub_news(in) != NULL) {
        }
        tws_hub_loaded(hub, tws_str_c("1"), id_of(9, 0)); /* 4 to 9 will never come */
        CHECK_EQ(wakes, 1);
        CHECK_TEXT(drain(&r), with_events == 1 ? "position_gone 2 3" : "position_gone 3");
        CHECK_EQ(feed(hub, 9, "a", 9), TWS_ERR_EXISTS);
        CHECK_EQ(feed(hub, 10, "a", 10), TWS_OK);
        check_hub(hub);
        CHECK_TEXT(drain(&r), "10");
        CHECK_TEXT(drain(&behind), with_events == 1 ? "position_gone 2 10" : "position_gone 10");
        CHECK_EQ(attach_joined(in, &late, tws_str_c("1"), &two), TWS_OK);
        CHECK_TEXT(drain(&late), with_events == 1 ? "start position_gone 2 10"
                                                  : "start position_gone 10");
        tws_hub_detach(&r);
        tws_hub_detach(&behind);
        tws_hub_detach(&late);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("who is told of a loss and is slow then is not told again, however far the ring runs past")
{
    script s;
    tws_hub_desc d = hub_desc();
    tws_hub_upstream up = {&s, script_join, script_leave, script_reload};
    memset(&s, 0, sizeof s);
    d.upstream = &up;
    d.max_events = 8;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    int resets = 0;
    CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
    feed(hub, 1, "a", 1);
    feed(hub, 2, "b", 2);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&r), "start 1 2");
    tws_hub_loaded(hub, tws_str_c("1"), id_of(9, 0)); /* 3 to 9 will never come */
    CHECK_EQ(take_one(&r, &resets), 1);
    CHECK_EQ(resets, 1);
    for (int n = 10; n < 60; n++) {
        CHECK_EQ(feed(hub, (uint64_t)n, "x", n), TWS_OK);
    }
    CHECK_TEXT(drain(&r), "2 59");
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("what an upstream takes back or has lost is told to who is in the midst of a snapshot")
{
    for (int forgets = 0; forgets < 2; forgets++) {
        script s;
        tws_hub *hub = hub_upstream(&s);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        int resets = 0;
        test_row("forgets", (size_t)forgets);
        CHECK_EQ(attach_joined(in, &r, tws_str_c("1"), NULL), TWS_OK);
        feed(hub, 1, "a", 1);
        feed(hub, 2, "b", 2);
        feed(hub, 3, "c", 3);
        tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
        CHECK_EQ(take_one(&r, &resets), 1);
        if (forgets == 1) {
            tws_hub_forget(hub, tws_str_c("1"), id_of(9, 0));
        }
        tws_hub_loaded(hub, tws_str_c("1"), id_of(9, 0));
        feed(hub, 10, "a", 10);
        CHECK_EQ(resets, 0);
        CHECK_TEXT(drain(&r), forgets == 1 ? "position_gone 10" : "position_gone 2 3 10");
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

TEST("what the total budget took from a user with readers is read again for who wants it")
{
    script s;
    tws_hub *hub = hub_upstream_of(&s, 4096);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader live, other, snapshot, resumed;
    tws_event **events;
    tws_event_id last, three = id_of(3, 0);
    size_t count;
    CHECK_EQ(attach_joined(in, &live, tws_str_c("1"), NULL), TWS_OK);
    feed(hub, 1, "a", 1);
    feed(hub, 2, "b", 2);
    feed(hub, 3, "a", 3);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&live), "start 2 3");
    CHECK_EQ(attach_joined(in, &other, tws_str_c("2"), NULL), TWS_OK);
    tws_hub_loaded(hub, tws_str_c("2"), id_of(0, 0));
    for (uint64_t n = 1; n < 100; n++) {
        CHECK_EQ(put_id(hub, "2", "{\"task_id\":\"x\"}", n, 0), TWS_OK);
    }
    CHECK_TEXT(s.text, "+1 +2");
    CHECK_EQ(feed(hub, 4, "c", 4), TWS_OK); /* who was given the past misses nothing */
    CHECK_TEXT(drain(&live), "4");
    CHECK_EQ(attach_joined(in, &resumed, tws_str_c("1"), &three), TWS_OK);
    CHECK_TEXT(drain(&resumed), "start resumed 4");
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("1"), NOW, &events, &count, &last),
             TWS_ERR_UNAVAILABLE);
    CHECK_TEXT(s.text, "+1 +2");
    CHECK_EQ(attach_joined(in, &snapshot, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&snapshot), ""); /* not "4" alone */
    CHECK_TEXT(drain(&snapshot), "");
    CHECK_TEXT(s.text, "+1 +2 *1");
    tws_hub_forget(hub, tws_str_c("1"), id_of(0, 0));
    for (int n = 1; n <= 4; n++) {
        CHECK_EQ(feed(hub, (uint64_t)n, n == 2 ? "b" : n == 4 ? "c" : "a", n), TWS_OK);
    }
    CHECK_TEXT(drain(&snapshot), "");
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&snapshot), "start 2 3 4");
    CHECK_TEXT(drain(&live), "position_gone 2 3 4");
    CHECK_TEXT(drain(&resumed), "position_gone 2 3 4");
    CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("1"), NOW, &events, &count, &last), TWS_OK);
    CHECK_EQ(count, 3);
    tws_hub_snapshot_free(hub, events, count);
    tws_hub_detach(&live);
    tws_hub_detach(&other);
    tws_hub_detach(&resumed);
    tws_hub_detach(&snapshot);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

static uint64_t pressed; /* id of press's last event */

/* User 2's events take room until the ring of t has at most so many left; 0: until all is gone. */
static void press(tws_hub *hub, const tws__topic *t, uint64_t left)
{
    while (t->history != NULL && (left == 0 || t->next - t->history->first > left)) {
        CHECK_EQ(put_id(hub, "2", "{\"task_id\":\"x\"}", ++pressed, 0), TWS_OK);
    }
}

/* User 1 has a reader and this past, user 2 a reader. */
static const tws__topic *begin_pressing(tws_hub_inbox *in, tws_hub_reader *live,
                                        tws_hub_reader *other, const char *tasks)
{
    CHECK_EQ(attach_joined(in, live, tws_str_c("1"), NULL), TWS_OK);
    for (int n = 1; tasks[n - 1] != '\0'; n++) {
        const char task[2] = {tasks[n - 1], '\0'};
        feed(in->hub, (uint64_t)n, task, n);
    }
    tws_hub_loaded(in->hub, tws_str_c("1"), id_of(0, 0));
    CHECK_EQ(attach_joined(in, other, tws_str_c("2"), NULL), TWS_OK);
    tws_hub_loaded(in->hub, tws_str_c("2"), id_of(0, 0));
    pressed = 0;
    return live->group->topic;
}

TEST("what the total budget took is not read again for the last statuses that are still here")
{
    script s;
    tws_hub *hub = hub_upstream_of(&s, 6000);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader live, other, fresh, resumed;
    const tws_event_id one = id_of(1, 0), nine = id_of(9, 0);
    tws_event_id last;
    const tws__topic *t = begin_pressing(in, &live, &other, "aabbbbbbb");
    CHECK_TEXT(drain(&live), "start 2 9");
    press(hub, t, 5);
    CHECK_TEXT(snapshot(hub, "1", NOW, &last), "2 9");
    CHECK_EQ(attach_joined(in, &fresh, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&fresh), "start 2 9");
    CHECK_EQ(attach_joined(in, &resumed, tws_str_c("1"), &nine), TWS_OK);
    CHECK_TEXT(drain(&resumed), "start resumed");
    tws_hub_detach(&resumed);
    CHECK_TEXT(s.text, "+1 +2");
    CHECK_EQ(attach_joined(in, &resumed, tws_str_c("1"), &one), TWS_OK);
    CHECK_TEXT(drain(&resumed), "");
    CHECK_TEXT(s.text, "+1 +2 *1"); /* it wants the steps from 2 on */
    tws_hub_detach(&live);
    tws_hub_detach(&other);
    tws_hub_detach(&fresh);
    tws_hub_detach(&resumed);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("that last statuses were taken is known still when steps were taken after them")
{
    script s;
    tws_hub *hub = hub_upstream_of(&s, 6000);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader live, other, fresh;
    const tws__topic *t = begin_pressing(in, &live, &other, "a");
    CHECK_TEXT(drain(&live), "start 1");
    press(hub, t, 0);
    feed(hub, 2, "b", 2);
    feed(hub, 3, "b", 3);
    CHECK_TEXT(drain(&live), "2 3");
    press(hub, t, 1);
    CHECK_EQ(attach_joined(in, &fresh, tws_str_c("1"), NULL), TWS_OK);
    CHECK_TEXT(drain(&fresh), ""); /* not "3" alone */
    CHECK_TEXT(s.text, "+1 +2 *1");
    tws_hub_detach(&live);
    tws_hub_detach(&other);
    tws_hub_detach(&fresh);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("who has seen more elsewhere is given what the total budget took, once it was read again")
{
    script s;
    tws_hub *hub = hub_upstream_of(&s, 6000);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader live, other, ahead;
    const tws_event_id nine = id_of(9, 0);
    const tws__topic *t = begin_pressing(in, &live, &other, "ab");
    CHECK_TEXT(drain(&live), "start 1 2");
    press(hub, t, 0);
    CHECK_EQ(attach_joined(in, &ahead, tws_str_c("1"), &nine), TWS_OK);
    CHECK_TEXT(drain(&ahead), "");
    CHECK_TEXT(s.text, "+1 +2 *1");
    tws_hub_forget(hub, tws_str_c("1"), id_of(0, 0));
    feed(hub, 1, "a", 1);
    feed(hub, 2, "b", 2);
    press(hub, t, 0); /* is taken again while it comes */
    CHECK_TEXT(drain(&ahead), "");
    CHECK_TEXT(s.text, "+1 +2 *1"); /* it is under way */
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&ahead), "");
    CHECK_TEXT(s.text, "+1 +2 *1 *1");
    tws_hub_forget(hub, tws_str_c("1"), id_of(0, 0));
    feed(hub, 1, "a", 1);
    feed(hub, 2, "b", 2);
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&ahead), "");
    CHECK_TEXT(s.text, "+1 +2 *1 *1 +1"); /* has it come to upstream meanwhile? */
    tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
    CHECK_TEXT(drain(&ahead), "start position_gone 1 2");
    CHECK_TEXT(drain(&live), "position_gone 1 2");
    tws_hub_detach(&live);
    tws_hub_detach(&other);
    tws_hub_detach(&ahead);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

TEST("the past of more users than fit is not read over and over: a reader asks twice, then begins")
{
    script s;
    tws_hub *hub = hub_upstream_of(&s, 6000);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader live, other, fresh;
    const tws__topic *t = begin_pressing(in, &live, &other, "ab");
    CHECK_TEXT(drain(&live), "start 1 2");
    press(hub, t, 0);
    CHECK_EQ(attach_joined(in, &fresh, tws_str_c("1"), NULL), TWS_OK);
    for (int asks = 1; asks <= 3; asks++) {
        CHECK_TEXT(drain(&fresh), asks < 3 ? "" : "start");
        CHECK_TEXT(s.text, asks == 1 ? "+1 +2 *1" : "+1 +2 *1 *1");
        if (asks < 3) {
            tws_hub_forget(hub, tws_str_c("1"), id_of(0, 0));
            feed(hub, 1, "a", 1);
            feed(hub, 2, "b", 2);
            press(hub, t, 0); /* and others take its room */
            tws_hub_loaded(hub, tws_str_c("1"), id_of(0, 0));
        }
    }
    feed(hub, 3, "c", 3);
    CHECK_TEXT(drain(&fresh), "3");
    CHECK_TEXT(drain(&fresh), ""); /* it has caught up */
    feed(hub, 4, "d", 4);
    press(hub, t, 0);
    s.text[0] = '\0';
    CHECK_TEXT(drain(&fresh), "");
    CHECK_TEXT(s.text, "*1");
    tws_hub_detach(&live);
    tws_hub_detach(&other);
    tws_hub_detach(&fresh);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* -- memory that runs out -- */

/* An operation failed for want of memory: nothing may have changed but the count of refusals. */
static void check_unchanged(tws_hub *hub, const tws_hub_stats *before)
{
    tws_hub_stats now;
    tws_hub_stat(hub, &now);
    now.refused = before->refused;
    CHECK_MEM(&now, sizeof now, before, sizeof *before);
    check_hub(hub);
}

/* Everything that allocates, each tried again when it fails. The n-th allocation fails. Returns how
 * many operations failed: one, or none where there was a way round. */
static size_t exhaust(size_t n)
{
    tws_hub_desc d = hub_desc();
    tws_hub *hub = NULL;
    tws_hub_inbox *in;
    tws_hub_reader r[3];
    tws_hub_stats before;
    tws_event **events;
    size_t count, lost = 0;
    tws_event_id last;
    d.shards = 1;
    test_fail_at(n);
    if (tws_hub_create(&hub, &d) != TWS_OK) {
        CHECK(hub == NULL && test_live_blocks() == 0);
        CHECK_EQ(tws_hub_create(&hub, &d), TWS_OK);
        lost++;
    }
    in = tws_hub_inbox_create(hub, count_wake, NULL);
    if (in == NULL) {
        in = tws_hub_inbox_create(hub, count_wake, NULL);
        lost++;
    }
    for (int i = 0; i < 60; i++) {
        char user[12], json[64];
        tws_event_id id = id_of(7, 7);
        snprintf(user, sizeof user, "%d", i % 4 == 3 ? 1000 + i : 0);
        snprintf(json, sizeof json, "{\"task_id\":\"\\u0041%d\",\"n\":%d}", i % 9, i);
        tws_hub_stat(hub, &before);
        if (tws_hub_publish(hub, tws_str_c(user), tws_str_c(json), NOW, NULL, &id) != TWS_OK) {
            CHECK(id.ms == 7 && id.seq == 7);
            check_unchanged(hub, &before);
            id = put(hub, user, json, NOW);
            lost++;
        }
        CHECK(id.seq == (i % 4 == 3 ? 0u : (unsigned)(i - i / 4)));
    }
    for (size_t i = 0; i < 3; i++) {
        const char *users[] = {"0", "new", "1003"};
        tws_hub_stat(hub, &before);
        if (tws_hub_attach(in, &r[i], tws_str_c(users[i]), NULL) != TWS_OK) {
            CHECK(r[i].group == NULL);
            check_unchanged(hub, &before);
            CHECK_EQ(tws_hub_attach(in, &r[i], tws_str_c(users[i]), NULL), TWS_OK);
            lost++;
        }
    }
    if (tws_hub_snapshot(hub, tws_str_c("0"), NOW, &events, &count, &last) != TWS_OK) {
        CHECK(events == NULL && count == 0);
        CHECK_EQ(tws_hub_snapshot(hub, tws_str_c("0"), NOW, &events, &count, &last), TWS_OK);
        lost++;
    }
    CHECK_EQ(count, 9);
    tws_hub_snapshot_free(hub, events, count);
    CHECK_TEXT(drain(&r[0]), "start 42 46 50 52 53 54 56 57 58");
    CHECK_TEXT(drain(&r[1]), "start");
    CHECK_TEXT(drain(&r[2]), "start 3");
    check_hub(hub);
    for (size_t i = 0; i < 3; i++) {
        tws_hub_detach(&r[i]);
    }
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
    return lost;
}

TEST("for every n, when the n-th allocation fails, what it was for fails whole, and works again")
{
    size_t ways_round = 0;
    CHECK_EQ(exhaust(0), 0);
    size_t all = test_allocations();
    CHECK(all > 80);
    for (size_t n = 1; n <= all; n++) {
        test_row("allocation", n);
        size_t lost = exhaust(n);
        CHECK(lost <= 1);
        ways_round += 1 - lost;
        CHECK_EQ(test_live_blocks(), 0);
    }
    CHECK_EQ(ways_round, 4); /* longer chains: of topics from 8 and 16 on, of tasks from 4 and 8 */
}

/* -- against a model --
 *
 * The model keeps all events of all users for ever, each with a number n, and of every reader what
 * it has seen. It does not know what the hub retains; it knows what the hub has promised. */

#define USERS 6
#define TASKS 7
#define READERS 24
#define INBOXES 3
#define EVENTS 40000

typedef struct fact { /* about an event */
    tws_event_id after; /* its id, or the last one before it */
    bool has_id;
    int8_t task; /* -1: none */
} fact;

typedef struct model_user {
    char id[8];
    fact *fact; /* [n]; from 1 on */
    int count;
    tws_event_id last_id;
    uint64_t drops; /* how often its events may have been dropped whole */
} model_user;

typedef struct model_reader {
    tws_hub_reader r;
    size_t inbox;
    model_user *user; /* NULL: not attached */
    tws_event_id since;
    int last;       /* n that it was given last; since its reset */
    int expect;     /* not 0: n that it must be given next */
    bool resuming;  /* expect was found from since: events without id before it may be gone */
    int seen[TASKS];
    bool caught_up; /* and at rest since */
    bool called;    /* its group was taken off the inbox */
    int upto;       /* caught_up: the user's count then */
    uint64_t drops;
} model_reader;

typedef struct model {
    tws_hub *hub;
    uint64_t random;
    uint64_t now_ms;
    bool strict; /* nothing is dropped whole: who is not far behind is not reset */
    tws_hub_inbox *in[INBOXES];
    model_user user[USERS];
    model_reader reader[READERS];
    tws_event_id last_id; /* of all users */
    uint64_t resets, resumes, given;
} model;

static uint32_t rnd(model *m, uint32_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)((m->random >> 32) % below);
}

static void model_publish(model *m)
{
    model_user *u = &m->user[rnd(m, USERS - 1) * rnd(m, 2)]; /* the first is the busiest */
    char json[1200];
    int task = (int)rnd(m, TASKS + 2) - 1;
    int n = u->count + 1;
    bool has_id = rnd(m, 10) > 0;
    bool given = rnd(m, 6) == 0;
    int pad = (int)(rnd(m, 30) == 0 ? rnd(m, 1000) : rnd(m, 40));
    tws_event_id id = id_of(0, 0), out;
    if (task >= TASKS) {
        task = 0; /* the busiest */
    }
    if (n >= EVENTS) {
        return;
    }
    char name[24] = "";
    if (task >= 0) {
        snprintf(name, sizeof name, ",\"task_id\":%d", task);
    }
    int len = snprintf(json, sizeof json, "{\"n\":%d,\"u\":\"%s\"%s,\"p\":\"%*s\"}", n, u->id, name,
                       pad, "");
    if (given && has_id) {
        id = m->last_id.ms < m->now_ms ? id_of(m->now_ms, rnd(m, 3))
                                       : id_of(m->last_id.ms, m->last_id.seq + 2 + rnd(m, 3));
    }
    tws_status status = tws_hub_publish(m->hub, tws_str_c(u->id), tws_str_of(json, (size_t)len),
                                        m->now_ms, given || !has_id ? &id : NULL, &out);
    CHECK_EQ(status, TWS_OK);
    if (has_id) {
        CHECK(tws_event_id_compare(out, u->last_id) > 0);
        CHECK(given || out.ms >= m->now_ms);
        u->last_id = out;
        m->last_id = tws_event_id_compare(out, m->last_id) > 0 ? out : m->last_id;
    }
    u->count = n;
    u->fact[n].after = u->last_id;
    u->fact[n].has_id = has_id;
    u->fact[n].task = (int8_t)task;
}

static void model_attach(model *m, model_reader *r)
{
    model_user *u = &m->user[rnd(m, USERS)];
    bool none = false;
    memset(r, 0, sizeof *r);
    r->user = u;
    r->inbox = rnd(m, INBOXES);
    switch (rnd(m, 6)) {
    case 0: none = true; break;
    case 1: break; /* 0-0 */
    case 2: r->since = u->last_id; break;
    case 3: r->since = u->fact[rnd(m, (uint32_t)u->count + 1)].after; break;
    case 4: r->since = id_of(u->last_id.ms - rnd(m, 20), rnd(m, 3)); break;
    default: r->since = u->fact[u->count < 20 ? 0 : u->count - (int)rnd(m, 20)].after; break;
    }
    CHECK_EQ(tws_hub_attach(m->in[r->inbox], &r->r, tws_str_c(u->id), none ? NULL : &r->since),
             TWS_OK);
    r->drops = u->drops;
}

static void model_detach(model_reader *r)
{
    tws_hub_detach(&r->r);
    r->user = NULL;
}

/* What a client that had everything up to since knows, and what it wants next. */
static void model_resume(model_reader *r)
{
    const model_user *u = r->user;
    int n = 1;
    for (; n <= u->count; n++) {
        int order = tws_event_id_compare(u->fact[n].after, r->since);
        if (order > 0 || (order == 0 && !u->fact[n].has_id)) {
            break;
        }
        if (u->fact[n].task >= 0) {
            r->seen[u->fact[n].task] = n;
        }
    }
    r->expect = n;
    r->last = n - 1;
    r->resuming = true;
}

/* All that is promised to a reader who has taken everything: it knows the last status of each task
 * that is retained. */
static void model_caught_up(model *m, model_reader *r)
{
    tws_event **events;
    size_t count;
    tws_event_id last;
    CHECK_EQ(tws_hub_snapshot(m->hub, tws_str_c(r->user->id), 0, &events, &count, &last), TWS_OK);
    for (size_t i = 0; i < count; i++) {
        int n = n_of(events[i]);
        CHECK_EQ(r->seen[r->user->fact[n].task], n);
    }
    tws_hub_snapshot_free(m->hub, events, count);
    r->caught_up = true;
    r->upto = r->user->count;
    r->expect = r->user->count + 1;
    r->drops = r->user->drops;
}

static void model_given(model *m, model_reader *r, const tws_event *e)
{
    const model_user *u = r->user;
    tws_str data = tws_event_data(e);
    int n = n_of(e);
    char want[32];
    snprintf(want, sizeof want, "{\"n\":%d,\"u\":\"%s\"", n, u->id);
    CHECK(tws_str_starts(data, want));
    CHECK(n > r->last && n <= u->count);
    if (n <= 0 || n > u->count) {
        return;
    }
    CHECK(!u->fact[n].has_id || tws_event_id_compare(u->fact[n].after, tws_event_id_of(e)) == 0);
    CHECK(r->expect == 0 || r->expect == n);
    r->last = n;
    r->expect = r->expect == 0 ? 0 : n + 1;
    if (u->fact[n].task >= 0) {
        r->seen[u->fact[n].task] = n;
    }
    m->given++;
}

static void model_read(model *m, model_reader *r)
{
    tws_hub_batch b;
    bool at_ease = m->strict && r->caught_up && r->user->count - r->upto < 8;
    tws_hub_gather(&r->r, &b);
    if (b.start || b.reset != NULL) {
        CHECK(!at_ease || b.reset == NULL);
        r->last = 0;
        r->expect = 0;
        r->resuming = false;
        memset(r->seen, 0, sizeof r->seen);
    }
    if (b.resumed && (r->since.ms != 0 || r->since.seq != 0)) {
        model_resume(r);
    }
    m->resets += b.reset != NULL;
    m->resumes += b.resumed;
    size_t n = rnd(m, 3) == 0 ? rnd(m, (uint32_t)b.count + 1) : b.count;
    for (size_t i = 0; i < n; i++) {
        model_given(m, r, b.event[i]);
        if (!m->strict && rnd(m, 4) == 0) { /* it takes room from what the caps promise */
            static const char text[300];
            tws_hub_keep_compressed(&r->r, b.event[i], (tws_event_format)rnd(m, 2),
                                    tws_str_of(text, rnd(m, sizeof text)));
        }
    }
    tws_hub_advance(&r->r, &b, n);
    r->called = r->called && n < b.count;
    r->caught_up = false;
    if (n == b.count && !b.more) {
        r->called = false;
        model_caught_up(m, r);
    }
    tws_hub_batch_free(&b);
}

/* It stands among those whose group is being served, and is not served yet. */
static bool stands_behind(const model_reader *r)
{
    const tws_hub_reader *at = r->r.group->inbox->at;
    while (at != NULL && at != &r->r) {
        at = at->next;
    }
    return at != NULL;
}

/* Who had everything, and for whom there is more now, is called or will be. */
static void model_check_marks(model *m)
{
    for (size_t i = 0; i < READERS; i++) {
        const model_reader *r = &m->reader[i];
        if (r->user != NULL && r->caught_up && r->user->count > r->upto && !r->called) {
            CHECK(stands_behind(r) || r->r.group->marked == 1);
        }
    }
}

static void model_news(model *m)
{
    tws_hub_reader *r = tws_hub_news(m->in[rnd(m, INBOXES)]);
    if (r != NULL) {
        ((model_reader *)(void *)r)->called = true; /* its first member */
    }
}

static void model_step(model *m)
{
    model_reader *r = &m->reader[rnd(m, READERS)];
    uint32_t what = rnd(m, 100);
    if (what < 45) {
        model_publish(m);
        m->now_ms += rnd(m, 4);
    } else if (what < 70) {
        if (r->user != NULL && rnd(m, 4) + 1 > (uint32_t)(r - m->reader) % 4) { /* some are slow */
            model_read(m, r);
        }
    } else if (what < 85) {
        model_news(m);
    } else if (what < 95) {
        if (r->user == NULL) {
            model_attach(m, r);
        } else if (rnd(m, 4) == 0) {
            model_detach(r);
        }
    } else if (what < 96) {
        m->now_ms += rnd(m, 2) == 0 ? 500 : (uint64_t)0 - rnd(m, 800);
    } else if (what < 97 && !m->strict) {
        m->now_ms += rnd(m, 20) == 0 ? 5000 : 0;
        tws_hub_sweep(m->hub, m->now_ms);
    } else if (what < 98) {
        model_check_marks(m);
        check_hub(m->hub);
    }
}

static void model_run(const tws_hub_desc *d, uint64_t seed, bool strict, int steps)
{
    static model m;
    memset(&m, 0, sizeof m);
    m.hub = hub_make(d);
    m.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    m.now_ms = NOW;
    m.strict = strict;
    for (size_t i = 0; i < INBOXES; i++) {
        m.in[i] = tws_hub_inbox_create(m.hub, count_wake, NULL);
    }
    for (size_t i = 0; i < USERS; i++) {
        snprintf(m.user[i].id, sizeof m.user[i].id, "user%u", (unsigned)i);
        m.user[i].fact = (fact *)calloc(EVENTS + 1, sizeof(fact));
    }
    for (int i = 0; i < steps; i++) {
        model_step(&m);
    }
    model_check_marks(&m);
    check_hub(m.hub);
    for (size_t i = 0; i < READERS; i++) { /* in the end all know all */
        model_reader *r = &m.reader[i];
        while (r->user != NULL && !(r->caught_up && r->upto == r->user->count)) {
            model_read(&m, r);
        }
        if (r->user != NULL) {
            model_detach(r);
        }
    }
    CHECK(m.resumes > 10 && m.resets > 1 && m.given > (uint64_t)steps / 20);
    for (size_t i = 0; i < INBOXES; i++) {
        tws_hub_inbox_free(m.in[i]);
    }
    for (size_t i = 0; i < USERS; i++) {
        free(m.user[i].fact);
    }
    tws_hub_free(m.hub);
}

TEST("over long random runs nobody has a gap without a reset, a repeat, or an old last status")
{
    static const struct {
        const char *name;
        uint32_t max_events, max_bytes, max_age_s;
        uint64_t max_total_bytes;
        bool strict;
    } rows[] = {
        {"roomy", 0, 0, 0, 0, true},
        {"few events", 16, 0, 0, 0, true},
        {"few bytes", 64, 16000, 0, 0, true},
        {"odd caps", 19, 9001, 0, 0, false},
        {"a small total", 32, 8000, 0, 20000, false},
        {"short lives", 32, 0, 1, 0, false},
        {"all at once", 17, 6000, 1, 15000, false},
        {"the smallest ring", 1, 0, 0, 0, false},
        {"two events", 2, 3000, 1, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (uint64_t seed = 1; seed <= 6; seed++) {
            tws_hub_desc d = hub_desc();
            d.shards = seed % 2 == 0 ? 1 : 4;
            d.max_events = rows[i].max_events;
            d.max_bytes = rows[i].max_bytes;
            d.max_event_bytes = 1100;
            d.max_age_s = rows[i].max_age_s;
            d.max_total_bytes = rows[i].max_total_bytes;
            d.now_ms = NOW - 1000000;
            test_row(rows[i].name, (size_t)seed);
            model_run(&d, seed + 100 * i, rows[i].strict, 8000);
        }
    }
}

TEST("a compressed frame is kept with its event, for each format once, and takes nobody's place")
{
    tws_hub_desc d = hub_desc();
    d.max_bytes = 3000;
    d.max_event_bytes = 1000;
    tws_hub *hub = hub_make(&d);
    tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
    tws_hub_reader r;
    tws_hub_batch b;
    tws_hub_stats before, after;
    tws_str frame;
    char text[900];
    memset(text, 'x', sizeof text);
    CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
    put(hub, "1", "{\"task_id\":\"a\"}", NOW);
    put(hub, "1", "{\"task_id\":\"b\"}", NOW);
    tws_hub_gather(&r, &b);
    CHECK_EQ(b.count, 2);
    tws_event *a = b.event[0];
    CHECK_STR(tws_event_text(a, TWS_FORMAT_RAW), "{\"task_id\":\"a\"}");
    CHECK(tws_str_starts(tws_event_text(a, TWS_FORMAT_ENVELOPE), "{\"type\":\"task\",\"id\":\""));
    tws_str slices[TWS_EVENT_SLICES];
    tws_event_wire(a, TWS_FORMAT_ENVELOPE, slices);
    CHECK_EQ(tws_event_text(a, TWS_FORMAT_ENVELOPE).ptr - slices[0].ptr, 2);
    CHECK(!tws_event_compressed(a, TWS_FORMAT_RAW, &frame));
    tws_hub_stat(hub, &before);
    tws_hub_keep_compressed(&r, a, TWS_FORMAT_RAW, tws_str_of(text, 200));
    CHECK(tws_event_compressed(a, TWS_FORMAT_RAW, &frame));
    CHECK_EQ(frame.len, 204);
    CHECK_MEM(frame.ptr, 4, "\xc1\x7e\x00\xc8", 4); /* FIN, RSV1, text; 200 bytes */
    CHECK(!tws_event_compressed(a, TWS_FORMAT_ENVELOPE, &frame));
    tws_hub_keep_compressed(&r, a, TWS_FORMAT_ENVELOPE, tws_str_of(NULL, 0));
    CHECK(tws_event_compressed(a, TWS_FORMAT_ENVELOPE, &frame));
    CHECK_EQ(frame.len, 0); /* it was tried, and does not pay */
    tws_hub_keep_compressed(&r, a, TWS_FORMAT_RAW, tws_str_of(text, 9)); /* too late */
    CHECK(tws_event_compressed(a, TWS_FORMAT_RAW, &frame));
    CHECK_EQ(frame.len, 204);
    tws_hub_stat(hub, &after);
    CHECK_EQ(after.bytes - before.bytes, 2 * sizeof(tws__packed) + 204);
    check_hub(hub);
    test_fail_at(1);
    tws_hub_keep_compressed(&r, b.event[1], TWS_FORMAT_RAW, tws_str_of(text, 9));
    test_fail_at(0);
    CHECK(!tws_event_compressed(b.event[1], TWS_FORMAT_RAW, &frame));
    for (int n = 0; n < 8; n++) { /* more than max_bytes, with the frames */
        put(hub, "1", "{\"task_id\":\"c\"}", NOW);
        tws_event *last = *tws__history_slot(r.group->topic->history, 2 + (uint64_t)n);
        tws_hub_keep_compressed(&r, last, TWS_FORMAT_RAW, tws_str_of(text, sizeof text));
        tws_hub_keep_compressed(&r, last, TWS_FORMAT_ENVELOPE, tws_str_of(text, sizeof text));
        check_hub(hub);
    }
    tws_hub_stat(hub, &after);
    CHECK(after.events == 10 && after.evicted == 0 && after.bytes > 16 * sizeof text);
    tws_hub_sweep(hub, NOW + 3600001);
    check_hub(hub);
    tws_hub_keep_compressed(&r, b.event[1], TWS_FORMAT_RAW, tws_str_of(text, sizeof text));
    CHECK(tws_event_compressed(b.event[1], TWS_FORMAT_RAW, &frame) && frame.len > sizeof text);
    tws_hub_batch_free(&b); /* the last to hold it */
    check_hub(hub);
    tws_hub_detach(&r);
    tws_hub_inbox_free(in);
    tws_hub_free(hub);
}

/* Has an event been kept compressed? */
static bool kept_compressed(tws_hub_reader *r, tws_event *e, size_t len)
{
    static const char text[1000];
    tws_str frame;
    tws_hub_keep_compressed(r, e, TWS_FORMAT_RAW, tws_str_of(text, len));
    CHECK(tws_event_compressed(e, TWS_FORMAT_RAW, &frame)); /* nobody need try again */
    return frame.len != 0;
}

TEST("where the total budget has no room for a compressed frame, its event stays plain, and all stay")
{
    enum { FULL, ALONE, NONE, WAYS };
    for (int way = 0; way < WAYS; way++) {
        tws_hub_desc d = hub_desc();
        d.max_total_bytes = 160000;
        d.max_bytes = way == NONE ? 160000 : way == ALONE ? 145000 : 40000;
        tws_hub *hub = hub_make(&d);
        tws_hub_inbox *in = tws_hub_inbox_create(hub, count_wake, NULL);
        tws_hub_reader r;
        tws_hub_batch b;
        tws_hub_stats before, after;
        test_row("way", (size_t)way);
        CHECK_EQ(tws_hub_attach(in, &r, tws_str_c("1"), NULL), TWS_OK);
        for (int n = 0; way == FULL && n < 700; n++) {
            const char user[2] = {(char)('2' + n % 5), 0};
            step(hub, user, "a", n, NOW);
        }
        CHECK_TEXT(drain(&r), "start");
        for (int n = 0; n < 12; n++) {
            step(hub, "1", "a", n, NOW);
        }
        tws_hub_gather(&r, &b);
        tws_hub_stat(hub, &before);
        size_t kept = 0;
        for (size_t i = 0; i < b.count; i++) {
            kept += kept_compressed(&r, b.event[i], 1000) ? 1 : 0;
            check_hub(hub);
        }
        CHECK((kept > 0) == (way != NONE) && kept < b.count);
        tws_hub_stat(hub, &after);
        CHECK_EQ(after.evicted, before.evicted);
        CHECK((after.bytes > before.bytes) == (way != NONE));
        tws_hub_publish(hub, tws_str_c("1"), tws_str_c("1"), NOW, NULL, NULL);
        tws_hub_stat(hub, &before); /* a publish takes a few others' place, not a 16th of all */
        CHECK(before.evicted - after.evicted <= TWS__HUB_FEW + 2);
        tws_hub_batch_free(&b);
        for (int n = 0; n < 300; n++) { /* and no publish drops its own event for them */
            step(hub, "1", "a", n, NOW);
            check_hub(hub);
            CHECK_EQ(n_of(r.group->topic->history->newest), n);
        }
        tws_hub_detach(&r);
        tws_hub_inbox_free(in);
        tws_hub_free(hub);
    }
}

/* -- threads -- */

#define PUBLISHERS 3
#define LOOPS 3
#define FOLLOWED 4 /* users */
#define PUBLISHED 6000

typedef struct loop { /* a thread with readers, as a server has them */
    tws_hub *hub;
    tws_hub_inbox *in;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool awake;
    int wakes;
    uint32_t random;
} loop;

static void loop_wake(void *context)
{
    loop *l = (loop *)context;
    pthread_mutex_lock(&l->lock);
    l->awake = true;
    l->wakes++;
    pthread_cond_signal(&l->woken);
    pthread_mutex_unlock(&l->lock);
}

static void loop_wait(loop *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->awake) {
        pthread_cond_wait(&l->woken, &l->lock);
    }
    l->awake = false;
    pthread_mutex_unlock(&l->lock);
}

typedef struct follower {
    tws_hub_reader r;
    char user[2];
    tws_event_id last_id;
    int expect[PUBLISHERS + 1]; /* 0: any */
    bool exact;
    bool done;
} follower;

/* What a connection does: whoever comes first compresses for all. Not where there is room for next
 * to nothing: what is kept would cost others the event that they wait for. */
static void compress_as_needed(tws_hub_reader *r, tws_event *e)
{
    tws_str frame;
    if (r->group->topic->shard->hub->desc.max_total_bytes <= 30000) {
        return;
    }
    if (!tws_event_compressed(e, TWS_FORMAT_RAW, &frame)) {
        tws_hub_keep_compressed(r, e, TWS_FORMAT_RAW, tws_str_c("short"));
        CHECK(tws_event_compressed(e, TWS_FORMAT_RAW, &frame));
    }
    CHECK_STR(frame, "\xc1\x05short");
}

static int p_of(const tws_event *e)
{
    tws_str data = tws_event_data(e);
    size_t at = data.len - 2; /* ..."p":3} */
    return data.ptr[at] - '0';
}

static void follow(follower *f)
{
    tws_hub_batch b;
    bool caught_up;
    do {
        tws_hub_gather(&f->r, &b);
        if (b.reset != NULL || (b.start && !b.resumed)) {
            memset(f->expect, 0, sizeof f->expect);
            f->last_id = id_of(0, 0);
            f->exact = false;
        }
        for (size_t i = 0; i < b.count; i++) {
            int p = p_of(b.event[i]);
            int n = n_of(b.event[i]);
            tws_event_id id = tws_event_id_of(b.event[i]);
            CHECK(tws_event_id_compare(id, f->last_id) > 0);
            CHECK(!f->exact || f->expect[p] == 0 || f->expect[p] == n);
            compress_as_needed(&f->r, b.event[i]);
            f->expect[p] = n + 1;
            f->last_id = id;
            f->done = f->done || p == PUBLISHERS;
        }
        tws_hub_advance(&f->r, &b, b.count);
        caught_up = !b.more;
        if (caught_up && !f->exact) {
            memset(f->expect, 0, sizeof f->expect);
            f->exact = true;
        }
        tws_hub_batch_free(&b);
    } while (!caught_up);
}

static void *loop_run(void *context)
{
    loop *l = (loop *)context;
    follower f[2 * FOLLOWED];
    memset(f, 0, sizeof f);
    for (size_t i = 0; i < 2 * FOLLOWED; i++) {
        f[i].user[0] = (char)('1' + i % FOLLOWED);
        CHECK_EQ(tws_hub_attach(l->in, &f[i].r, tws_str_c(f[i].user), NULL), TWS_OK);
        follow(&f[i]);
    }
    for (size_t done = 0; done < 2 * FOLLOWED;) {
        loop_wait(l);
        for (tws_hub_reader *r = tws_hub_news(l->in); r != NULL; r = tws_hub_news(l->in)) {
            follow((follower *)(void *)r); /* its first member */
        }
        l->random = l->random * 1664525 + 1013904223;
        follower *leaves = &f[(l->random >> 16) % (2 * FOLLOWED)];
        if (l->random >> 30 == 0) {
            bool since = leaves->exact && leaves->last_id.ms > 0;
            tws_hub_detach(&leaves->r);
            CHECK_EQ(tws_hub_attach(l->in, &leaves->r, tws_str_c(leaves->user),
                                    since ? &leaves->last_id : NULL), TWS_OK);
            follow(leaves);
        }
        done = 0;
        for (size_t i = 0; i < 2 * FOLLOWED; i++) {
            done += f[i].done;
        }
    }
    for (size_t i = 0; i < 2 * FOLLOWED; i++) {
        tws_hub_detach(&f[i].r);
    }
    tws_hub_inbox_free(l->in);
    return NULL;
}

typedef struct publisher {
    tws_hub *hub;
    int p;
} publisher;

static void *publisher_run(void *context)
{
    const publisher *me = (const publisher *)context;
    for (int i = 0; i < PUBLISHED; i++) {
        char user[2] = {(char)('1' + i % FOLLOWED), '\0'};
        char json[64];
        int n = 1 + i / FOLLOWED;
        int len = snprintf(json, sizeof json, "{\"n\":%d,\"task_id\":\"%d-%d\",\"p\":%d}", n, me->p,
                           n % 5, me->p);
        CHECK_EQ(post(me->hub, user, json, (size_t)len), TWS_OK);
        if (i % 50 == 0) { /* elsewhere: total budget, age, and the rest of the door */
            tws_hub_stats stats;
            tws_event **events;
            size_t count;
            tws_event_id last;
            snprintf(user, sizeof user, "%c", 'a' + i % 26);
            CHECK_EQ(post(me->hub, user, json, (size_t)len), TWS_OK);
            CHECK_EQ(tws_hub_snapshot(me->hub, tws_str_c("1"), NOW, &events, &count, &last),
                     TWS_OK);
            tws_hub_snapshot_free(me->hub, events, count);
            tws_hub_sweep(me->hub, NOW + (uint64_t)(i % 7));
            tws_hub_stat(me->hub, &stats);
            CHECK(tws_hub_readers(me->hub, tws_str_c("1")) <= LOOPS * 2);
        }
    }
    return NULL;
}

TEST("many threads publish and read, and nobody has a gap or a repeat or waits for ever")
{
    for (int row = 0; row < 2; row++) {
        static loop loops[LOOPS];
        tws_hub_desc d = hub_desc();
        publisher publishers[PUBLISHERS];
        pthread_t thread[LOOPS + PUBLISHERS];
        d.max_events = row == 0 ? 0 : 40;
        d.max_total_bytes = row == 0 ? 0 : 30000; /* less than all together would hold */
        tws_hub *hub = hub_make(&d);
        for (size_t i = 0; i < LOOPS; i++) {
            memset(&loops[i], 0, sizeof loops[i]);
            loops[i].hub = hub;
            loops[i].random = (uint32_t)i;
            pthread_mutex_init(&loops[i].lock, NULL);
            pthread_cond_init(&loops[i].woken, NULL);
            loops[i].in = tws_hub_inbox_create(hub, loop_wake, &loops[i]);
            CHECK_EQ(pthread_create(&thread[i], NULL, loop_run, &loops[i]), 0);
        }
        for (int p = 0; p < PUBLISHERS; p++) {
            publishers[p].hub = hub;
            publishers[p].p = p;
            CHECK_EQ(pthread_create(&thread[LOOPS + p], NULL, publisher_run, &publishers[p]), 0);
        }
        for (int p = 0; p < PUBLISHERS; p++) {
            pthread_join(thread[LOOPS + p], NULL);
        }
        tws_hub_stats stats;
        tws_hub_stat(hub, &stats);
        CHECK_EQ(hub->turn, stats.published); /* each publish took its own */
        if (row == 1) { /* else the last of the four ends may take the first one's place */
            tws_hub_sweep(hub, NOW + 2 * 3600 * 1000);
        }
        for (int u = 0; u < FOLLOWED; u++) {
            char user[2] = {(char)('1' + u), '\0'};
            put(hub, user, "{\"n\":1,\"task_id\":\"end\",\"p\":3}", NOW); /* PUBLISHERS */
        }
        for (size_t i = 0; i < LOOPS; i++) {
            pthread_join(thread[i], NULL);
            pthread_mutex_destroy(&loops[i].lock);
            pthread_cond_destroy(&loops[i].woken);
            CHECK(loops[i].wakes > 0);
        }
        check_hub(hub);
        tws_hub_free(hub);
    }
}
