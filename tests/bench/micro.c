/* micro.c: what the codecs cost, alone and with their input in the cache. `micro [WORD] [--json]`:
 * those whose name contains the word. Of seven measurements the best one counts, for what disturbs
 * a measurement only makes it longer. */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include "bench.h"

static const char help[] =
    "usage: micro [--only WORD] [--ms N] [--json]\n"
    "Nanoseconds an operation, and MB/s where the bytes matter.\n";

#define LARGE 65536u
#define TOKEN_BYTES 200u
#define TOKENS 4096u

static uint8_t large[LARGE + 64], decoded[LARGE * 2];
static char ascii[LARGE], mixed[LARGE], words[LARGE], encoded[LARGE * 2];
static size_t encoded_len;
static tws_hmac_key key;
static tws_auth_ring *ring;
static tws_auth_cache *cache;
static char *token[TOKENS];
static size_t next_token;
static volatile uint64_t sink; /* so that nothing is optimized away */

static const char head[] =
    "GET /api/v1/ws/tasks/1234?since=1700000000000-0 HTTP/1.1\r\n"
    "Host: tasks.example.com\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
    "Upgrade: websocket\r\n"
    "Origin: https://tasks.example.com\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

static const char event[] =
    "{\"task_id\":\"3f2a9c1e-77aa-4c1b-9c51-0d3b8a3ad001\",\"status\":\"running\",\"progress\":42,"
    "\"name\":\"render video\",\"message\":\"frame 1203 of 2864\",\"eta_s\":81.5,"
    "\"steps\":[\"fetch\",\"decode\",\"render\"],\"ok\":true}";

static const char push[] = ">3\r\n$7\r\nmessage\r\n$16\r\ntask_status:1234\r\n$40\r\n"
                           "{\"task_id\":\"a\",\"progress\":40,\"ok\":false}\r\n";

/* -- the operations -- */

static void unmask_large(void)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    tws_ws_mask(large, LARGE, mask, 0);
}

static void unmask_odd(void) /* neither the data nor its length nor its offset is even */
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    tws_ws_mask(large + 3, 1021, mask, 1);
}

static void utf8_ascii(void)
{
    sink += tws_utf8_valid(tws_str_of(ascii, LARGE));
}

static void utf8_mixed(void)
{
    sink += tws_utf8_valid(tws_str_of(mixed, LARGE));
}

static void base64_encode(void)
{
    encoded_len = tws_base64_encode(large, LARGE, encoded);
}

static void base64_decode(void)
{
    size_t len;
    sink += (uint64_t)tws_base64_decode(tws_str_of(encoded, encoded_len), decoded, sizeof decoded,
                                        &len);
}

static void sha1_large(void)
{
    uint8_t digest[TWS_SHA1_BYTES];
    tws_sha1(large, LARGE, digest);
    sink += digest[0];
}

static void ws_accept(void)
{
    char out[TWS_WS_ACCEPT_LEN + 1];
    tws_ws_accept(tws_str_c("dGhlIHNhbXBsZSBub25jZQ=="), out);
    sink += (uint8_t)out[0];
}

static void hmac_token(void)
{
    uint8_t mac[TWS_SHA256_BYTES];
    tws_hmac_sha256(&key, ascii, TOKEN_BYTES, mac);
    sink += mac[0];
}

static void hmac_large(void)
{
    uint8_t mac[TWS_SHA256_BYTES];
    tws_hmac_sha256(&key, large, LARGE, mac);
    sink += mac[0];
}

static void verify(tws_auth_cache *with, const char *text)
{
    tws_identity who;
    if (tws_auth_verify(with, ring, NULL, tws_str_c(text), 1700000000, &who) != TWS_JWT_OK) {
        die("a token does not verify");
    }
}

static void token_cold(void)
{
    verify(NULL, token[next_token++ % TOKENS]);
}

static void token_new(void) /* more tokens in turn than the cache holds: looked up, then kept */
{
    verify(cache, token[next_token++ % TOKENS]);
}

static void token_cached(void)
{
    verify(cache, token[0]);
}

static void http_head(void)
{
    static tws_http_request r;
    sink += (uint64_t)tws_http_parse(&r, head, sizeof head - 1, NULL, NULL);
}

static void json_event(void)
{
    sink += tws_json_valid(tws_str_of(event, sizeof event - 1));
}

static void json_member(void)
{
    tws_json_token value;
    sink += (uint64_t)tws_json_member(tws_str_of(event, sizeof event - 1), tws_str_c("task_id"),
                                      &value);
}

static void resp_push(void)
{
    tws_resp_decoder d;
    tws_resp_event ev;
    size_t at = 0;
    tws_resp_init(&d, NULL);
    do {
        at += tws_resp_decode(&d, push + at, sizeof push - 1 - at, &ev);
    } while (!ev.done);
    sink += at;
}

static void ws_frame(void) /* one masked frame of 20 bytes, as a server takes it */
{
    uint8_t frame[26] = {0x82, 0x94, 1, 2, 3, 4};
    tws_ws_decoder d;
    tws_ws_event ev;
    tws_ws_init(&d, TWS_WS_SERVER, 0, 0);
    sink += tws_ws_decode(&d, frame, sizeof frame, &ev);
}

/* -- deflate: permessage-deflate of one message, at level 6, without context takeover -- */

#define BITS 15
static uint64_t deflate_memory[TWS_DEFLATE_MEMORY(BITS, false) / sizeof(uint64_t)];
static uint8_t packed_event[sizeof event + 64], packed_large[2 * LARGE], inflated[LARGE];
static size_t packed_event_len, packed_large_len;

static size_t pack(const void *data, size_t len, uint8_t *out, size_t cap)
{
    static tws_deflate_scratch scratch;
    static tws_deflater z;
    size_t written = 0;
    if (z.head == NULL) {
        tws_deflate_init(&z, deflate_memory, BITS, 6, false);
    }
    if (tws_deflate_encode(&z, &scratch, data, len, true, out, cap, &written) != TWS_OK) {
        die("deflate fails");
    }
    return written;
}

static void unpack(const uint8_t *data, size_t len)
{
    static tws_inflater z;
    tws_inflate_window w;
    tws_inflate_event ev;
    tws_inflate_flat(&w, inflated, sizeof inflated, BITS);
    tws_inflate_begin(&z, &w);
    sink += tws_inflate_decode(&z, data, len, &ev);
    tws_inflate_finish(&z, &ev);
    if (ev.type != TWS_INFLATE_END) {
        die("inflate fails");
    }
}

static void deflate_event(void)
{
    packed_event_len = pack(event, sizeof event - 1, packed_event, sizeof packed_event);
}

static void deflate_large(void)
{
    packed_large_len = pack(words, LARGE, packed_large, sizeof packed_large);
}

static void inflate_event(void)
{
    unpack(packed_event, packed_event_len);
}

static void inflate_large(void)
{
    unpack(packed_large, packed_large_len);
}

/* -- the table: what an operation is called, and its bytes where MB/s make sense -- */

static const struct row {
    const char *name;
    void (*run)(void);
    size_t bytes;
} rows[] = {
    {"unmask 64 KiB", unmask_large, LARGE},
    {"unmask 1 KiB, odd", unmask_odd, 1021},
    {"frame of 20 B", ws_frame, 0},
    {"utf8 ASCII", utf8_ascii, LARGE},
    {"utf8 mixed", utf8_mixed, LARGE},
    {"base64 encode", base64_encode, LARGE},
    {"base64 decode", base64_decode, LARGE},
    {"sha1", sha1_large, LARGE},
    {"sec-websocket-accept", ws_accept, 0},
    {"hmac-sha256", hmac_large, LARGE},
    {"hmac-sha256 of 200 B", hmac_token, 0},
    {"token, cold", token_cold, 0},
    {"token, new to the cache", token_new, 0},
    {"token, cached", token_cached, 0},
    {"http head of a browser", http_head, sizeof head - 1},
    {"json event, valid?", json_event, sizeof event - 1},
    {"json event, task_id", json_member, sizeof event - 1},
    {"resp push", resp_push, sizeof push - 1},
    {"deflate an event", deflate_event, sizeof event - 1},
    {"deflate 64 KiB of words", deflate_large, LARGE},
    {"inflate an event", inflate_event, sizeof event - 1},
    {"inflate 64 KiB of words", inflate_large, LARGE},
};

/* -- measuring -- */

static void make_inputs(void)
{
    static const char text[] = "caf\xc3\xa9 \xe2\x82\xac 12, \xd0\x96\xd1\x83\xd0\xba "
                               "\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80 and some words. ";
    const tws_auth_key auth = {NULL, "thirty-two bytes of a secret, or more", 37, 0};
    const uint8_t hash_key[16] = {1, 2, 3};
    const char *why;
    size_t n = 0;
    for (size_t i = 0; i < LARGE; i++) {
        large[i] = (uint8_t)(i * 31 + i / 251);
        ascii[i] = (char)(' ' + i % 95);
    }
    for (; n + sizeof text - 1 <= LARGE; n += sizeof text - 1) {
        memcpy(mixed + n, text, sizeof text - 1);
    }
    memset(mixed + n, ' ', LARGE - n);
    for (size_t i = 0; i + 40 < LARGE; i += 23 + i % 17) { /* else it were one long repetition */
        snprintf(words + i, 40, "word%zu {\"%zu\":%zu}, ", i * i % 97, i % 13, i * 7919);
    }
    base64_encode();
    deflate_event(); /* what the others read must be there, whichever are chosen */
    deflate_large();
    tws_hmac_key_init(&key, auth.secret, auth.secret_len);
    if (tws_auth_ring_create(&ring, NULL, &auth, 1, false, &why) != TWS_OK) {
        die("%s", why);
    }
    cache = tws_auth_cache_create(NULL, TOKENS / 8, hash_key);
    for (size_t i = 0; i < TOKENS; i++) {
        char payload[200];
        tws_buf b;
        snprintf(payload, sizeof payload, "{\"sub\":\"%zu\",\"exp\":1800000000,\"iat\":1699999999,"
                 "\"jti\":\"%032zu\"}", i, i);
        tws_buf_init(&b, NULL, 4096);
        tws_jwt_sign(&b, &key, tws_str_c(""), tws_str_c(payload));
        tws_buf_char(&b, '\0');
        token[i] = b.ptr;
    }
}

/* Nanoseconds of one operation: the best of seven runs of `ms` milliseconds. */
static double measure(void (*run)(void), uint64_t ms)
{
    uint64_t times = 1, ns = 0;
    for (; ns < ms * 500000u; times *= 2) { /* how many fill the time? */
        const uint64_t begin = now_ns();
        for (uint64_t i = 0; i < times; i++) {
            run();
        }
        ns = now_ns() - begin;
    }
    double best = (double)ns / ((double)times / 2);
    for (int round = 0; round < 7; round++) {
        const uint64_t begin = now_ns();
        for (uint64_t i = 0; i < times; i++) {
            run();
        }
        const double each = (double)(now_ns() - begin) / (double)times;
        best = each < best ? each : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    const char *only = "";
    uint64_t ms = 20;
    const option options[] = {{"--only", OPTION_TEXT, &only},
                              {"--ms", OPTION_NUMBER, &ms},
                              {"--json", OPTION_FLAG, &result_json},
                              {NULL, OPTION_FLAG, NULL}};
    read_options(argc, argv, 1, options, help);
    make_inputs();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *r = &rows[i];
        if (strstr(r->name, only) == NULL) {
            continue;
        }
        const double ns = measure(r->run, ms);
        if (result_json) {
            result_begin(r->name);
            printf("{\"ns\":%.6g,\"bytes\":%zu}", ns, r->bytes);
        } else if (r->bytes > 0) {
            printf("%-26s %10.1f ns %10.0f MB/s\n", r->name, ns, (double)r->bytes / ns * 1000);
        } else {
            printf("%-26s %10.1f ns\n", r->name, ns);
        }
    }
    result_end();
    return 0;
}
