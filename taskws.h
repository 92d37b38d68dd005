/* taskws.h 1.0.0: a complete, real-time task-status endpoint in one C header. MIT licence.
 *
 * Browsers open  /api/v1/ws/tasks/{user_id}?token=JWT  and see the status of their own background
 * tasks live. Workers publish through Redis, over HTTP or by a C call. HTTP upgrade, WebSocket
 * frames, HS256 tokens, a Redis session, a store with snapshot and resume, and a server on poll or
 * epoll are all in this file. It needs libc and pthreads, nothing else.
 *
 *
 * HOW TO INCLUDE IT
 *
 *     In one source file, before any system header:      Everywhere else:
 *         #define TASKWS_IMPLEMENTATION                      #include "taskws.h"
 *         #include "taskws.h"
 *
 *     cc -std=c99 program.c -pthread          C99, and C++11 as it stands; gcc and clang.
 *                                             -latomic where a linker misses __atomic_load_8.
 *
 *
 * THE SERVER IN TEN LINES
 *
 *     #define TASKWS_IMPLEMENTATION
 *     #include "taskws.h"
 *     int main(void)
 *     {
 *         tws_task_server_desc desc = {0};
 *         desc.port = 8000;
 *         desc.jwt_secret = getenv("TASKWS_SECRET");     // at least 32 bytes
 *         desc.redis_url = getenv("TASKWS_REDIS");       // NULL: in memory
 *         return tws_task_server_run(&desc);
 *     }
 *
 *     Publish from a worker:
 *         curl -X POST -H "Authorization: Bearer $TOKEN" \
 *              -d '{"task_id":"a","progress":40}' http://127.0.0.1:8000/api/v1/ws/tasks/2
 *     Watch from a browser:
 *         new WebSocket("ws://127.0.0.1:8000/api/v1/ws/tasks/2?token=" + token)
 *
 *
 * FOUR DOORS
 *
 *     "I want the endpoint."                     Section 22: fill in tws_task_server_desc, call
 *                                                tws_task_server_run. examples/minimal.c, server.c
 *     "I want it in my server, with my routes    Sections 21 and 22: tws_task_server_create, then
 *      and my rule for who may read what."       tws_server_route, desc.authorize.
 *                                                examples/custom_routes.c
 *     "I have a loop."                           tws_server_fd, tws_server_step:
 *                                                examples/own_loop.c. Or section 18 inside your own
 *                                                poll(): bytes in, events out, bytes out, time.
 *     "I only want the frame codec, the HTTP     Part II with TASKWS_NO_SERVER, for no sockets, and
 *      parser or the tokens."                    TASKWS_NO_THREADS. examples/codec_only.c
 *
 *
 * SECTIONS (the same numbered banners stand in both halves of this file; search for "== 9.")
 *
 *     I    Foundations   1 config   2 status, alloc   3 str, buf
 *     II   Codecs        4 sha1, sha256, hmac   5 base64   6 utf8   7 json   8 http   9 ws
 *                        10 deflate   11 jwt   12 resp
 *     III  Machines      13 metrics, log   14 router   15 auth   16 hub   17 redis   18 conn
 *     IV   I/O           19 sys   20 loop   21 server   22 task_server
 *
 *     A section uses only sections above it; tests/layers.sh proves that by linking.
 *
 *
 * FLAGS (all but the first: the same ones before every #include of this header)
 *
 *     TASKWS_IMPLEMENTATION   compile the implementation here
 *     TASKWS_STATIC           all functions static: everything in one translation unit
 *     TASKWS_NO_SERVER        without Part IV
 *     TASKWS_NO_JWT           without sections 11, 15 and 22
 *     TASKWS_NO_REDIS         without sections 12 and 17
 *     TASKWS_NO_DEFLATE       without section 10; nothing is compressed
 *     TASKWS_NO_THREADS       without mutexes and threads; one thread may use the library
 *     TASKWS_NO_SIMD          without the processor's own instructions (for SHA)
 *     TASKWS_POLL             poll(2) where epoll would be chosen
 *     TASKWS_IO_URING         on Linux: events for many users are sent by io_uring, many in a call,
 *                             if the system has it and permits it
 *     TASKWS_DEFLATE_TOKENS   literals and copies in a block that is compressed; see section 10
 *     TWS_ASSERT(x)           checks the caller's mistakes; default: assert(x)
 *
 * ROUTES (prefix /api/v1/ws is an option)
 *
 *     GET  {prefix}/tasks/{user_id}   Upgrade: websocket        the user's events, live
 *                                     Accept: text/event-stream the same as Server-Sent Events
 *                                     otherwise                 {"user_id","tasks":[...],"last_id"}
 *     POST {prefix}/tasks/{user_id}   one JSON object: 202 {"id"}; application/x-ndjson: {"ids"}
 *     GET  {prefix}/status            version, uptime, connections, store, resources, limits
 *     GET  /health  /ready  /metrics  process serves; events can be delivered; Prometheus text
 *
 *     A POST that is repeated with the same Idempotency-Key (200 bytes at most) within a day stores
 *     its events once; without Redis the last 4,000 keys are known, each line of NDJSON being one.
 *     A 503 has the ids of what was stored, in their lines' places: null for a line that was not,
 *     before one that was. Repeated with the key, the missing lines are stored behind the others.
 *
 *     Last-Event-ID, or else ?since=ID, resumes after that event; without either, the latest event
 *     of each task comes first. ?format=raw sends the worker's JSON alone: of the messages below
 *     only pong and error then come, no connected, reset or expiring. ?format=json asks for all of
 *     them where raw is the server's default.
 *
 *     A token stands in Authorization: Bearer, in ?token=, in the subprotocol bearer.<token> beside
 *     taskws.v1, in a cookie when one is named, or in the first message
 *     {"type":"auth","token":"..."}. Users read only their own tasks; scope "publish" may publish
 *     to any user, scope "admin" may read any user's tasks, the full status and the metrics.
 *
 *
 * MESSAGES AND CLOSE CODES
 *
 *     {"type":"connected","user_id","heartbeat_s","last_id","resumed"}   after authentication
 *                                             (and "id", the same as last_id, if there is a past
 *                                             but no snapshot follows: resume from it)
 *     {"type":"task","id","data"}             an event; data is the worker's JSON, byte for byte
 *     {"type":"reset","reason"}               a snapshot follows: forget older state
 *                                             (position_gone: not all after since is kept here;
 *                                             slow_consumer: the reader fell behind)
 *     {"type":"expiring","expires_in"}        send a new {"type":"auth"} now
 *     {"type":"pong"}                         answer to {"type":"ping"}
 *     {"type":"error","code","message","retry","close"}   without close the connection goes on
 *
 *     close  code of the error before it                   HTTP  reconnect?
 *
 *     1000   none: the client is done                            no
 *     1001   draining                                      503   yes, after a random delay
 *     1002   none: what breaks RFC 6455                          no
 *     1003   bad_message: binary where text is wanted            no
 *     1007   none: text that is not UTF-8, or not deflate        no
 *     1009   none: longer, or of more frames, than a limit       no
 *     1011   internal                                      500   yes, with backoff
 *     1013   overloaded                                    503   yes, with backoff
 *     4400   bad_request: 408, 411, 426, 501 and 505 too   400   no
 *     4401   token_missing, token_malformed, token_claims,
 *            token_signature, token_not_yet_valid,
 *            token_expired                                 401   with another token
 *     4403   forbidden_user, _scope, _origin               403   no
 *     4408   auth_timeout, heartbeat_timeout                     yes
 *     4409   slow_consumer                                       yes, with since
 *     4429   too_many_connections                          429   yes, with backoff
 *     none   unavailable: Redis is away                    503   readers are told, and stay
 *     none   not_found 404, method_not_allowed 405, message_too_big 413, 414 and 431
 *
 *
 * OPTIONS AND DEFAULTS (0 means the default, TWS_OFF turns one off)
 *
 *     host, port, unix_path        127.0.0.1, 8000, none       where to listen
 *     threads                      1                           each with its own listener
 *     prefix                       /api/v1/ws
 *     jwt_secret, keys             none: one is needed         one key, or instead several by kid
 *     token                        sub, exp required, 30 s     claims, issuer, audience, leeway
 *     token_cookie, origins        off, any                    see tws_task_server_desc
 *     authorize                    own user_id                 a rule of yours, now or later
 *     redis_url                    none: in memory             redis://user:password@host:port/db,
 *                                                              unix://path
 *     max_connections              from the limit of files     beyond: error overloaded, 1013
 *     max_per_user, max_per_ip     64, off                     beyond: 4429
 *     max_event_bytes              64 KiB                      413
 *     max_body_bytes               64 KiB                      413
 *     retain_events, retain_bytes  256, 256 KiB                per user; with Redis 1,100, 1 MiB
 *     retain_s, retain_total_bytes 1 h, 64 MiB                 and 24 h, as its streams keep
 *     auth_ms                      10 s                        for a token in the first message
 *     receive_bytes                64 KiB                      of memory, each thread
 *     drain_ms                     10 s                        closes are spread over it
 *     limits.max_head_bytes        16 KiB, 100 fields          431, 414
 *     limits.max_message_bytes     64 KiB                      1009; 16 KiB before a token
 *     limits.max_frames            1,024 in one message        1009
 *     limits.head_ms, body_ms      10 s, 10 s                  408
 *     limits.idle_ms               75 s                        between two requests: closed
 *     limits.compress_bytes        128                         shorter messages are sent as is
 *     limits.context_bytes, _bits  0: none, 12                 WebSockets of your own: section 18
 *     limits.heartbeat_ms          25 s                        ping after that much silence
 *     limits.answer_ms             10 s                        4408 without any answer
 *     limits.stall_ms              30 s                        4409 when nothing is taken
 *     limits.close_ms              5 s                         close handshake, and drain
 *
 *
 * CONVENTIONS
 *
 *     tws_ public, tws__ private, TWS_ constants, TASKWS_ yours to define.
 *     A desc is zeroed and filled in; zero is the default. Strings in it are not copied.
 *     tws_str is a slice that nobody owns; tws_buf is a buffer whose first failure sticks.
 *     A mistake of the caller's is an assertion; what a peer or the system does is a tws_status.
 *     Memory comes from one hook (tws_allocator); running out of it ends one connection at most.
 *     (Only the thread that looks up Redis's host name uses libc's: it may outlive the server.)
 *     Functions are for one thread at a time per object unless their comment says otherwise;
 *     publish, stop, wake, post and answer are for any thread.
 *     After fork() only one of the two processes may use and free what was made before.
 *
 *
 * REDIS
 *
 *     Live: PUBLISH task_status:{user_id} JSON is delivered, without an id and without resume.
 *     Durable: EVAL script 1 task_status:{user_id} JSON [max_events] [ttl_ms] [idempotency key]
 *     appends to the stream of that name, publishes "ID JSON" on the channel of that name, returns
 *     the id. The script is tws_redis_script(), printed by `server --redis-script`.
 *     Channels are one for all databases of a Redis: another environment needs another Redis.
 *     Its setting `timeout` is 0 or at least 4: it is asked something every three seconds.
 *     With an ACL the server needs ~task_status:* ~{task_status:*}:once:* &task_status:*
 *     +@connection +@pubsub +@scripting +@stream +time +pexpire +get +set, all of them.
 *     Redis away: sockets stay open, /ready says so, a POST is answered 503, a new reader is told
 *     `unavailable` (no close) and waits. Redis back: what was stored meanwhile is read and
 *     delivered, once and in order; where Redis lost events, readers get a reset.
 *
 *
 * HOW IT IS BUILT
 *
 *     Everything up to and including the connection (section 18) is sans-IO: bytes, time and
 *     randomness are parameters, so all behaviour is tested with arrays and a made-up clock.
 *
 *     Nothing is pushed into queues. A publish appends one event, encoded once for the wire, to its
 *     user's ring; a reader is a position in that ring and gathers from there when its socket takes
 *     output. Snapshot, resume, live and slow reader are the same code at different positions.
 *
 *     A connection at rest owns no buffer: a thread's connections share one receive buffer and one
 *     turn (tws_turn). Threads share the hub and little else.
 *
 *     Deadlines stand in one timing wheel a thread, one entry a connection, rather than in a list
 *     for each kind: a token's end fits no such list, and an entry is not moved when the peer is
 *     heard, only looked at again when it comes due.
 *
 *     A decoder keeps no bytes: what is incomplete stays with the caller (139 bytes of a frame at
 *     most), so that a connection at rest takes less than 256 bytes in all.
 *
 *     Every closing is delivered: flush, end the sending side, read and drop until the peer ends.
 *
 *
 * LIMITS AND NON-GOALS
 *
 *     In this version: no TLS (put a proxy in front, and before Redis a tunnel). No context
 *     takeover in permessage-deflate for a user's events, which are compressed once for all
 *     readers: only for WebSockets of your own.
 *     Without Redis the store is the process's memory: a restart empties it, clients get a reset.
 *     One Redis or Valkey, not a cluster. In Redis a stream keeps 1,000 events for 24 hours; a
 *     server reads the newest retain_events of them when a user's first reader comes.
 *     No HTTP/2, no static files from disk, no templates, no other algorithm than HS256, no rooms
 *     or presence, no client library beyond examples/client.h and examples/web/taskws.js.
 *     Windows is not supported; POSIX with poll(2) is enough.
 *     With poll(2) a server has no single descriptor to wait on: see tws_loop_fd.
 */
#ifndef TASKWS_H
#define TASKWS_H

#if defined(TASKWS_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sockets, clocks and accept4 under -std=c99; before any system header */
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================================== */
/*                                      I. FOUNDATIONS                                       */
/* ======================================================================================== */

/* == 1. config: flags, limits, attributes ================================================ */

#define TWS_VERSION "1.0.0"

/* Longest user id in bytes, after percent-decoding. A longer one is a bad parameter. */
#define TWS_MAX_USER_ID 128
/* Header fields of one request; a request with more is answered 431. */
#define TWS_MAX_FIELDS 100
/* In a desc: turns a limit or a deadline off, where 0 means the default. */
#define TWS_OFF 0xffffffffu

/* Linkage of every public function: TASKWS_STATIC keeps them inside one translation unit. */
#if defined(TASKWS_STATIC) && (defined(__GNUC__) || defined(__clang__))
#define TWS_API static __attribute__((unused))
#elif defined(TASKWS_STATIC)
#define TWS_API static
#else
#define TWS_API extern
#endif

/* i386 aligns eight bytes to four: across two cache lines, where an atomic change of them locks the
 * whole bus and a load may see half of one. Memory from an allocator is aligned enough. */
#if defined(__GNUC__) || defined(__clang__)
#define TWS_ALIGN_8 __attribute__((aligned(8)))
#else
#define TWS_ALIGN_8
#endif

/* == 2. status, alloc: error model, one allocator hook ==================================== */

typedef enum tws_status {
    TWS_OK = 0,
    TWS_ERR_MEMORY,      /* the allocator said no */
    TWS_ERR_LIMIT,       /* a configured bound would be passed */
    TWS_ERR_ARGUMENT,    /* the caller's value is outside what the function takes */
    TWS_ERR_SYNTAX,      /* the peer's bytes break a rule */
    TWS_ERR_EXISTS,      /* it is there already */
    TWS_ERR_NOT_FOUND,   /* it is not there */
    TWS_ERR_UNAVAILABLE, /* not now; later perhaps */
    TWS_ERR_CLOSED,      /* the object's life is over */
    TWS_ERR_SYSTEM       /* the operating system refused */
} tws_status;

/* A few words for a log line. Never NULL, static storage. */
TWS_API const char *tws_status_text(tws_status status);

/* The one allocator hook. resize(NULL, 0, n) allocates, resize(p, old, 0) frees and returns
 * NULL, anything else behaves as realloc. Alignment as malloc's. It may be called from every thread
 * that the library runs on, at once. It must live as long as what was made with it. A NULL
 * tws_allocator pointer, wherever one is taken, means libc. */
typedef struct tws_allocator {
    void *(*resize)(void *context, void *p, size_t old_bytes, size_t new_bytes);
    void *context;
} tws_allocator;

/* bytes > 0. NULL when there is no memory. tws_alloc's memory is zeroed. */
TWS_API void *tws_alloc(const tws_allocator *a, size_t bytes);
/* As realloc: on failure the old block stands and NULL comes back. */
TWS_API void *tws_resize(const tws_allocator *a, void *p, size_t old_bytes, size_t new_bytes);
/* p may be NULL. */
TWS_API void tws_release(const tws_allocator *a, void *p, size_t bytes);

/* == 3. str, buf: slices and growable buffers ============================================ */

/* A slice: len bytes at ptr, not NUL-terminated, not owned. ptr may be NULL when len is 0. */
typedef struct tws_str {
    const char *ptr;
    size_t len;
} tws_str;

TWS_API tws_str tws_str_of(const char *ptr, size_t len);
TWS_API tws_str tws_str_c(const char *c_string); /* NULL gives the empty slice */
TWS_API bool tws_str_eq(tws_str a, tws_str b);
TWS_API bool tws_str_eq_c(tws_str a, const char *b);
TWS_API bool tws_str_eq_nocase(tws_str a, tws_str b); /* ASCII letters only */
TWS_API bool tws_str_starts(tws_str s, const char *prefix);
/* From byte `from` on; the empty slice beyond the end. */
TWS_API tws_str tws_str_from(tws_str s, size_t from);
/* Without leading and trailing space and tab: HTTP's OWS, RFC 9110 5.6.3. */
TWS_API tws_str tws_str_trim(tws_str s);
/* Offset of byte c, or s.len. */
TWS_API size_t tws_str_find(tws_str s, char c);
/* Take the part before the next `separator` off *rest, trimmed. False once *rest has run out,
 * so that behind a final separator there is no empty part:
 *     while (tws_str_split(&rest, ',', &part)) { ... } */
TWS_API bool tws_str_split(tws_str *rest, char separator, tws_str *part);
/* A decimal number of digits only: no sign, no space, no overflow. False otherwise, and *value
 * is left alone. */
TWS_API bool tws_str_u64(tws_str s, uint64_t *value);

/* A growable byte buffer with a hard cap and a sticky failure: after the first append that did
 * not fit, status says why, every later append does nothing, and what was there stands. So a
 * row of appends needs one check at its end. */
typedef struct tws_buf {
    char *ptr;
    size_t len;
    size_t cap;
    size_t max;               /* never grows beyond; equals cap for caller-owned memory */
    const tws_allocator *allocator;
    bool borrowed;            /* ptr is the caller's: never resized or freed */
    tws_status status;
} tws_buf;

/* Empty, no memory yet; grows by doubling up to max_bytes. Free with tws_buf_free. */
TWS_API void tws_buf_init(tws_buf *b, const tws_allocator *a, size_t max_bytes);
/* Over the caller's memory: never allocates. Nothing to free. */
TWS_API void tws_buf_fixed(tws_buf *b, void *memory, size_t bytes);
/* Frees the memory; the buffer is empty and may be used again, with the same max. */
TWS_API void tws_buf_free(tws_buf *b);
/* Empty again, status TWS_OK again; memory is kept. */
TWS_API void tws_buf_clear(tws_buf *b);
/* Room for n more bytes: where they go, or NULL (status says why; TWS_OK where n is 0 and there
 * is no memory yet). Advance with tws_buf_add. */
TWS_API char *tws_buf_reserve(tws_buf *b, size_t n);
/* Count n bytes written at what tws_buf_reserve gave. */
TWS_API void tws_buf_add(tws_buf *b, size_t n);
/* Append. The data may not stand in b itself, which may move. */
TWS_API void tws_buf_put(tws_buf *b, const void *data, size_t n);
TWS_API void tws_buf_str(tws_buf *b, tws_str s);
TWS_API void tws_buf_c(tws_buf *b, const char *c_string);
TWS_API void tws_buf_char(tws_buf *b, char c);
TWS_API void tws_buf_u64(tws_buf *b, uint64_t value); /* decimal */
TWS_API void tws_buf_i64(tws_buf *b, int64_t value);  /* decimal */
/* Drop the first n bytes, n <= len, moving the rest to the front. */
TWS_API void tws_buf_consume(tws_buf *b, size_t n);
TWS_API tws_str tws_buf_view(const tws_buf *b); /* valid until b is written to or freed */

/* ======================================================================================== */
/*                   II. CODECS: pure, no allocation, no sockets, no clock                   */
/* ======================================================================================== */

/* == 4. sha1, sha256, hmac: digests ======================== FIPS 180-4, RFC 2104, RFC 6234 == */

#define TWS_SHA1_BYTES 20
#define TWS_SHA256_BYTES 32

/* One-shot SHA-1, for the WebSocket handshake only: it is no protection. */
TWS_API void tws_sha1(const void *data, size_t len, uint8_t digest[TWS_SHA1_BYTES]);

typedef struct tws_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} tws_sha256;

TWS_API void tws_sha256_init(tws_sha256 *h);
TWS_API void tws_sha256_feed(tws_sha256 *h, const void *data, size_t len);
/* Also wipes *h. */
TWS_API void tws_sha256_end(tws_sha256 *h, uint8_t digest[TWS_SHA256_BYTES]);

/* An HMAC key with both pads already hashed, which saves two blocks for each message. Secret: wipe
 * it when done. */
typedef struct tws_hmac_key {
    uint32_t inner[8];
    uint32_t outer[8];
} tws_hmac_key;

TWS_API void tws_hmac_key_init(tws_hmac_key *k, const void *key, size_t len);
/* mac may overlap data. Its intermediate states are wiped; copies that the compiler spilled to the
 * stack may stay there. */
TWS_API void tws_hmac_sha256(const tws_hmac_key *k, const void *data, size_t len,
                             uint8_t mac[TWS_SHA256_BYTES]);

/* Equal or not, in a time that depends on len alone. */
TWS_API bool tws_equal_secret(const void *a, const void *b, size_t len);
/* Overwrites with zeros in a way that the compiler keeps. */
TWS_API void tws_wipe(void *p, size_t len);

/* == 5. base64: strict base64 and base64url ======================================= RFC 4648 == */

/* Characters that n bytes become, with padding (base64) and without (base64url). */
#define TWS_BASE64_LEN(n) (((n) + 2) / 3 * 4)
#define TWS_BASE64URL_LEN(n) ((n) / 3 * 4 + ((n) % 3 * 4 + 2) / 3)

/* Encode len bytes. Returns the characters written: exactly the macro's. No NUL is added. */
TWS_API size_t tws_base64_encode(const void *data, size_t len, char *out);
TWS_API size_t tws_base64url_encode(const void *data, size_t len, char *out);

/* Decode, strictly: one alphabet, no white space, padding exactly as its alphabet wants it
 * (base64 padded, base64url bare), unused tail bits zero.
 *
 * out      room for cap bytes; text.len / 4 * 3 + 2 always suffice. May be the text's own memory.
 * out_len  [out] bytes written, also 0 on error.
 * errors   TWS_ERR_SYNTAX, TWS_ERR_LIMIT (cap too small).
 * source   RFC 4648 4 and 5; 3.5 for the tail bits. */
TWS_API tws_status tws_base64_decode(tws_str text, void *out, size_t cap, size_t *out_len);
TWS_API tws_status tws_base64url_decode(tws_str text, void *out, size_t cap, size_t *out_len);

/* == 6. utf8: incremental validation ============================================== RFC 3629 == */

/* 0 is the start state: a zeroed tws_utf8 is ready. */
typedef struct tws_utf8 {
    uint32_t state;
} tws_utf8;

/* Feed the next len bytes. Returns len when all may stand in valid UTF-8, otherwise the offset of
 * the first byte that cannot; that error is sticky (later calls return 0). Surrogates, overlong
 * forms and code points above U+10FFFF are refused at their first impossible byte. */
TWS_API size_t tws_utf8_feed(tws_utf8 *u, const void *data, size_t len);
/* No sequence is left open and no error was met. */
TWS_API bool tws_utf8_complete(const tws_utf8 *u);
/* Whole text at once. */
TWS_API bool tws_utf8_valid(tws_str text);

/* == 7. json: bounded-depth pull reader; writer =================================== RFC 8259 == */

#define TWS_JSON_MAX_DEPTH 128

typedef enum tws_json_type {
    TWS_JSON_END,    /* the text is over and was whole */
    TWS_JSON_ERROR,  /* sticky; reader.reason and reader.pos say what and where */
    TWS_JSON_OBJECT, /* { */
    TWS_JSON_OBJECT_END,
    TWS_JSON_ARRAY, /* [ */
    TWS_JSON_ARRAY_END,
    TWS_JSON_KEY,    /* a member's name; its value is the next token */
    TWS_JSON_STRING,
    TWS_JSON_NUMBER,
    TWS_JSON_TRUE,
    TWS_JSON_FALSE,
    TWS_JSON_NULL
} tws_json_type;

typedef struct tws_json_token {
    tws_json_type type;
    tws_str text; /* as it stands in the input; for KEY and STRING without the quotes */
    bool escaped; /* KEY and STRING: text contains a backslash, see tws_json_unescape */
} tws_json_token;

/* Reads one complete text token by token; memory is constant, nothing recurses. Refused: what
 * RFC 8259 does not allow, depth beyond TWS_JSON_MAX_DEPTH, invalid UTF-8, a byte order mark,
 * an escaped surrogate without its partner. Duplicate keys are the caller's to judge. */
typedef struct tws_json_reader {
    tws_str text;
    size_t pos;
    const char *reason; /* NULL, or the rule broken: static storage */
    uint32_t depth;
    uint8_t expect;
    uint8_t is_object[TWS_JSON_MAX_DEPTH / 8]; /* a bit for each open container */
} tws_json_reader;

TWS_API void tws_json_init(tws_json_reader *r, tws_str text);
/* The next token; also returned in *token when token is not NULL. */
TWS_API tws_json_type tws_json_next(tws_json_reader *r, tws_json_token *token);
/* Read to the end of the value that `token`, just read, begins (nothing to do for a scalar; behind
 * a KEY, its value). *raw, if not NULL: the value's text, brackets and quotes included. False on
 * error. */
TWS_API bool tws_json_skip(tws_json_reader *r, const tws_json_token *token, tws_str *raw);
/* One complete text and nothing else? */
TWS_API bool tws_json_valid(tws_str text);
/* Find a member of a top-level object by name (escapes in the text's keys are honoured; of
 * duplicates the last wins, as in JavaScript). Reads the whole text. Of an object or an array,
 * value->text is all of it.
 * errors   TWS_ERR_SYNTAX (not JSON), TWS_ERR_ARGUMENT (JSON but no object),
 *          TWS_ERR_NOT_FOUND (an object without it). *value is always written, zeroed on error. */
TWS_API tws_status tws_json_member(tws_str text, tws_str name, tws_json_token *value);
/* Append a KEY's or STRING's text, as the reader gave it, with its escapes resolved, as UTF-8. */
TWS_API void tws_json_unescape(const tws_json_token *token, tws_buf *out);
/* A NUMBER as an integer: no fraction, no exponent, in range. */
TWS_API bool tws_json_i64(const tws_json_token *token, int64_t *value);

/* Write a string with its quotes. Bytes that are not UTF-8 become U+FFFD, control characters
 * \u00XX; `<`, U+2028 and U+2029 are escaped too, so the text may stand in HTML and in a script. */
TWS_API void tws_json_write_str(tws_buf *b, tws_str s);
/* `"name":` and `"name":"value"` and `"name":123` and `"name":true`, each preceded by a comma
 * unless it follows an opening brace or begins the buffer. */
TWS_API void tws_json_write_key(tws_buf *b, const char *name);
TWS_API void tws_json_write_member(tws_buf *b, const char *name, tws_str value);
TWS_API void tws_json_write_member_u64(tws_buf *b, const char *name, uint64_t value);
TWS_API void tws_json_write_member_bool(tws_buf *b, const char *name, bool value);

/* == 8. http: request and response heads, queries, chunks ==================== RFC 9112, 3986 == */

typedef struct tws_http_field {
    tws_str name;
    tws_str value; /* trimmed */
} tws_http_field;

typedef struct tws_http_limits {
    uint32_t max_head_bytes; /* 0: 16 KiB; 431 beyond, 414 if the request line alone is longer */
} tws_http_limits;

typedef enum tws_http_result {
    TWS_HTTP_MORE, /* the head is not complete yet */
    TWS_HTTP_DONE,
    TWS_HTTP_ERROR /* status and reason say what to answer */
} tws_http_result;

/* A parsed head. Every slice points into the bytes that were parsed (except the path "/" or "*" of
 * an absolute-form target without a path, which is static). */
typedef struct tws_http_request {
    tws_str method;
    tws_str target; /* as sent */
    tws_str path;   /* of the target, not decoded; "*" for asterisk-form; empty for CONNECT */
    tws_str query;  /* behind the first ?, not decoded */
    tws_str host;   /* with its port: the target's own, otherwise the Host field's */
    uint32_t minor; /* HTTP/1.minor */
    uint32_t field_count;
    tws_http_field field[TWS_MAX_FIELDS];
    bool keep_alive;      /* by version and Connection; RFC 9112 9.3 */
    bool chunked;         /* Transfer-Encoding: chunked; content_length is 0 then */
    bool expect_continue; /* Expect: 100-continue, RFC 9110 10.1.1 */
    bool upgrade;         /* Connection lists upgrade, and there is an Upgrade field */
    uint64_t content_length;
    tws_str body;         /* filled in by whoever collects it (section 18) */
    size_t head_bytes;    /* length of the head, its blank line included */
    int status;           /* TWS_HTTP_ERROR: 400, 414, 431, 501 or 505 */
    const char *reason;   /* TWS_HTTP_ERROR: the rule broken, static storage */
    size_t offset;        /* TWS_HTTP_ERROR: of the byte that broke it */
} tws_http_request;

/* Parse a request head from its first byte. *r is of use after DONE and ERROR.
 *
 * data, len  what has come so far; the bytes must stay in place while *r is used.
 * scanned    [in/out] 0 for a new request; carry it between calls with a longer len, so that a
 *            head that comes byte by byte is still read once; 0 again after DONE and ERROR.
 *            NULL if that does not matter. With it a malformed line is reported once that line
 *            has ended, a rule about several lines once the head has.
 * limits     NULL for the defaults.
 * strict     CRLF only; no bare CR, NUL or obs-fold; token names; exactly one Host in 1.1;
 *            Content-Length digits only, once or identical; never with Transfer-Encoding;
 *            Transfer-Encoding exactly `chunked`; one empty line before the head is forgiven.
 * source     RFC 9112 2.2, 3, 5, 6, 7; RFC 9110 5, 7.2. */
TWS_API tws_http_result tws_http_parse(tws_http_request *r, const char *data, size_t len,
                                       size_t *scanned, const tws_http_limits *limits);

/* The value of the first field of that name (any case), or NULL. */
TWS_API const tws_str *tws_http_find(const tws_http_request *r, const char *name);
/* Does a comma-separated field (all of its lines) list that token, in any case? */
TWS_API bool tws_http_lists(const tws_http_request *r, const char *name, const char *token);
/* A cookie's value from the Cookie field, unquoted; false when there is none. RFC 6265 4.2. */
TWS_API bool tws_http_cookie(const tws_http_request *r, const char *name, tws_str *value);

/* A parameter of a query, not decoded. Returns how often the name occurs (0, 1, 2...); *value is
 * the first. */
TWS_API int tws_http_query(tws_str query, const char *name, tws_str *value);
/* Decode %XX (and, in a query, + as space) into out, which may be where s stands.
 * errors   TWS_ERR_SYNTAX: a cut or non-hexadecimal escape, or one that decodes to NUL;
 *          TWS_ERR_LIMIT: more than cap bytes. */
TWS_API tws_status tws_http_decode(tws_str s, bool plus_is_space, char *out, size_t cap,
                                   size_t *out_len);

/* A chunked body, decoded in place and incrementally. Zeroed is ready. RFC 9112 7.1. */
typedef struct tws_http_chunks {
    uint64_t remaining; /* of the current chunk */
    uint8_t state;
    uint8_t digits;
    uint16_t line; /* bytes of the current size or trailer line, for its limit */
    uint32_t trailer_bytes;
} tws_http_chunks;

/* Decode from data[0..len); the body bytes move to its front.
 *
 * consumed  [out] bytes of input taken: all of them, unless the body ended or is malformed.
 * produced  [out] body bytes now at data[0..*produced); their total is yours to limit.
 * returns   MORE, DONE (the last chunk and its trailers, which are dropped, are through), ERROR
 *           (sticky: malformed, a size line above 256 bytes, trailers above 8 KiB). */
TWS_API tws_http_result tws_http_chunks_feed(tws_http_chunks *c, char *data, size_t len,
                                             size_t *consumed, size_t *produced);

/* Standard reason phrase, "Unknown" for a code without one. */
TWS_API const char *tws_http_phrase(int status);
/* A response head: begin (status 100 to 999), any number of fields, end. Control characters but
 * tabs are dropped from values. content_length -1: none is written (a stream, 101, 204, 304). */
TWS_API void tws_http_begin(tws_buf *b, int status);
TWS_API void tws_http_add(tws_buf *b, const char *name, tws_str value);
TWS_API void tws_http_end(tws_buf *b, int64_t content_length);

/* A response head, for clients. Slices point into the parsed bytes. */
typedef struct tws_http_response {
    int status;
    tws_str phrase;
    uint32_t minor;
    uint32_t field_count;
    tws_http_field field[TWS_MAX_FIELDS];
    bool chunked;
    bool keep_alive;
    int64_t content_length; /* -1: not given */
    size_t head_bytes;
    const char *reason; /* TWS_HTTP_ERROR: the rule broken */
} tws_http_response;

/* Parse a response head of at most 16 KiB, as strictly as a request's, from its first byte in each
 * call. *r is of use after DONE, r->reason also after ERROR. Which answers have no body (1xx, 204,
 * 304, those to HEAD) is the caller's to know. */
TWS_API tws_http_result tws_http_parse_response(tws_http_response *r, const char *data, size_t len);
TWS_API const tws_str *tws_http_find_response(const tws_http_response *r, const char *name);

/* == 9. ws: WebSocket handshake and frames ======================================== RFC 6455 == */

typedef enum tws_ws_role { TWS_WS_SERVER, TWS_WS_CLIENT } tws_ws_role;

typedef enum tws_ws_opcode {
    TWS_WS_CONTINUATION = 0,
    TWS_WS_TEXT = 1,
    TWS_WS_BINARY = 2,
    TWS_WS_CLOSE = 8,
    TWS_WS_PING = 9,
    TWS_WS_PONG = 10
} tws_ws_opcode;

/* -- handshake -- */

#define TWS_WS_ACCEPT_LEN 28

/* Sec-WebSocket-Accept for a key: 28 characters and a NUL; "" for a key that is not 24 long.
 * RFC 6455 4.2.2. */
TWS_API void tws_ws_accept(tws_str key, char out[TWS_WS_ACCEPT_LEN + 1]);

/* Is this request a WebSocket opening handshake that may be answered 101?
 *
 * key      [out] the Sec-WebSocket-Key.
 * reason   [out] on refusal the rule broken, static storage.
 * returns  101 yes; 426 where the request asks for no WebSocket, or for another version than 13
 *          (answer with Upgrade: websocket and Sec-WebSocket-Version: 13); 400 malformed.
 * source   RFC 6455 4.2.1; RFC 9110 7.8. */
TWS_API int tws_ws_check(const tws_http_request *r, tws_str *key, const char **reason);

/* Append a client's opening handshake. nonce: 16 random bytes. extra: field lines, each with its
 * CRLF, not checked; or NULL. If host or target is empty or has a blank or a control byte,
 * b->status becomes TWS_ERR_ARGUMENT and nothing is added. */
TWS_API void tws_ws_request(tws_buf *b, tws_str host, tws_str target, const uint8_t nonce[16],
                            const char *extra);

/* Does the server's answer complete the handshake that nonce began? One that names an extension is
 * refused: offer none in extra. The selected subprotocol is the caller's to check.
 *
 * reason   [out] NULL, or the rule broken, static storage.
 * source   RFC 6455 4.1, the numbered list at its end. */
TWS_API bool tws_ws_check_response(const tws_http_response *r, const uint8_t nonce[16],
                                   const char **reason);

/* What was agreed on as permessage-deflate. A side that keeps a context may refer in a message to
 * those before it ("context takeover"). Without one, a message compressed once serves all who read
 * it, and a connection at rest holds no window. */
#define TWS_WS_MAX_WINDOW_BITS 15
typedef struct tws_ws_compression {
    uint8_t window_bits;    /* 8..15, of what the server compresses; 0: nothing is compressed */
    bool named;             /* the client asked for that window_bits: the answer repeats it */
    uint8_t server_context; /* how far the server's messages may refer back to earlier ones, in
                               window bits; 0: not at all */
    uint8_t client_context; /* how far the client's may, likewise; 8..14 are named in the answer */
} tws_ws_compression;

/* The first offer among a handshake's extensions that can be accepted.
 *
 * context_bits  the largest context of either side, 8..15; 0: none is kept. Below 15 a client that
 *          did not offer client_max_window_bits is given none.
 * terms    [out] always written; window_bits 0 if no offer can be accepted. An offer with a
 *          parameter that is unknown, repeated or out of range is passed over.
 * reason   [out] on refusal the rule broken, static storage.
 * returns  101; 400: a Sec-WebSocket-Extensions field that is no list of extensions.
 * source   RFC 7692 5, 7.1; RFC 6455 9.1. */
TWS_API int tws_ws_check_extensions(const tws_http_request *r, unsigned context_bits,
                                    tws_ws_compression *terms, const char **reason);
/* Append the answer's field: Sec-WebSocket-Extensions: permessage-deflate; ... CRLF. Nothing with
 * window_bits 0. */
TWS_API void tws_ws_answer_extensions(tws_buf *b, const tws_ws_compression *terms);

/* -- frames, decoding -- */

typedef enum tws_ws_type {
    TWS_WS_MORE,         /* all usable bytes are taken; call again with more */
    TWS_WS_DATA,         /* a piece of a message */
    TWS_WS_GOT_PING,     /* payload: 0..125 bytes */
    TWS_WS_GOT_PONG,     /* likewise */
    TWS_WS_GOT_CLOSE,    /* code (1005: none was given), payload: the reason, valid UTF-8;
                          * later bytes are consumed and ignored: RFC 6455 5.5.1 */
    TWS_WS_ERROR         /* sticky: code to close with, reason */
} tws_ws_type;

typedef struct tws_ws_event {
    tws_ws_type type;
    tws_ws_opcode opcode; /* DATA: TEXT or BINARY, of the message */
    bool compressed;      /* DATA: the message had RSV1: inflate it, then check a text's UTF-8 */
    bool first;           /* DATA: the message begins here */
    bool last;            /* DATA: the message is complete with this piece */
    uint16_t code;        /* CLOSE, ERROR */
    const char *reason;   /* ERROR: the rule broken, static storage */
    uint8_t *payload;     /* unmasked, in place */
    size_t len;
    uint64_t frame_left;  /* DATA: payload bytes of this frame still to come */
} tws_ws_event;

/* Holds no payload: memory is this struct, whose members are its own. A zeroed one is a server's
 * without limits. */
typedef struct tws_ws_decoder {
    uint64_t frame_left;
    uint64_t message_bytes;
    uint32_t max_message; /* bytes; 0: no limit; 1009 beyond. Of a compressed message an eighth
                             and 64 more may come; what it inflates to is yours to limit */
    uint32_t max_frames;  /* frames in one message; 0: no limit; 1009 beyond */
    uint32_t frames;
    tws_utf8 utf8;
    uint8_t mask[4];
    uint8_t opcode;
    uint8_t flags;
    uint8_t error;
    uint8_t window_bits; /* 0: no compression was agreed on */
} tws_ws_decoder;

TWS_API void tws_ws_init(tws_ws_decoder *d, tws_ws_role role, uint32_t max_message,
                         uint32_t max_frames);
/* permessage-deflate was agreed on: a message may say by RSV1 that it is compressed. */
TWS_API void tws_ws_allow_compressed(tws_ws_decoder *d, const tws_ws_compression *terms);

/* Decode the next event from data.
 *
 * data     [in/out] len bytes; unmasked in place. ev->payload points into it and lives until
 *          the caller reuses data.
 * ev       [out] always written. An empty message is one DATA event with len 0.
 * returns  bytes consumed, 0..len. What is left after TWS_WS_MORE, at most 139 bytes (a header
 *          and a whole control payload), must stand at the front of the next call's data.
 * errors   sticky TWS_WS_ERROR: 1002 framing or masking, 1007 UTF-8 (as soon as a bad byte is in
 *          data, the frame complete or not), 1009 size (from the header, before the payload).
 * memory   none.   thread  one at a time per decoder.
 * source   RFC 6455 5.2 frame, 5.4 fragments, 5.5 control, 7.4 codes, 8.1 UTF-8. */
TWS_API size_t tws_ws_decode(tws_ws_decoder *d, uint8_t *data, size_t len, tws_ws_event *ev);

/* -- frames, encoding -- */

#define TWS_WS_MAX_HEADER 14
#define TWS_WS_RSV1 0x40u /* in a header's first byte: the message is compressed */

/* Write a frame's header. mask: NULL from a server; a client's 4 random bytes.
 * returns  2..14 bytes written. */
TWS_API size_t tws_ws_header(uint8_t out[TWS_WS_MAX_HEADER], bool fin, tws_ws_opcode opcode,
                             uint64_t payload_len, const uint8_t mask[4]);
/* XOR payload bytes offset, offset+1, ... of a frame with its mask (its own inverse). */
TWS_API void tws_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4], uint64_t offset);
/* May a peer send that close code? 1000-1003, 1007-1014, 3000-4999. RFC 6455 7.4. */
TWS_API bool tws_ws_code_valid(uint16_t code);
/* A close payload: code, which is not checked, and as much of reason as is whole, valid characters
 * in 123 bytes.
 * returns  bytes written, 2..125. */
TWS_API size_t tws_ws_close_payload(uint8_t out[125], uint16_t code, tws_str reason);

#ifndef TASKWS_NO_DEFLATE
/* == 10. deflate: inflate and deflate, as permessage-deflate needs them ===== RFC 1951, 7692 == */

/* Memory, all of it the caller's; sizes on 64-bit machines:
 *     tws_inflater          7.2 KiB   scratch: a thread's connections may share one
 *     an inflating window   2^bits    or the whole message's own memory
 *     tws_deflate_scratch   38 KiB    scratch, likewise; 4 bytes for each of TASKWS_DEFLATE_TOKENS
 *     TWS_DEFLATE_MEMORY    4 * 2^bits without context takeover: a thread's connections may share
 *                           it; 6 * 2^bits with it, for each connection
 * Window bits are 8 to 15. With 9 window bits and 512 tokens both directions take 18 KiB in all. */

#define TWS_DEFLATE_MIN_BITS 8
#define TWS_DEFLATE_MAX_BITS 15

/* -- inflating -- */

/* Where the output goes, and what distances refer back into. With context takeover it is kept from
 * one message to the next; without, each message begins with a new one. */
typedef struct tws_inflate_window {
    uint8_t *memory;
    size_t bytes;
    size_t at;   /* where the next byte goes */
    size_t have; /* bytes that a distance may reach back, at most 2^bits */
    uint8_t bits;
    bool ring;   /* begins again at its front when it is full */
} tws_inflate_window;

/* A ring of 2^bits bytes at memory: take each piece of output before the next call. */
TWS_API void tws_inflate_ring(tws_inflate_window *w, void *memory, unsigned bits);
/* Output fills memory once: for a message that is wanted whole, in one place. When it is full, the
 * caller may copy it to a larger block, set w->memory and w->bytes, and go on. */
TWS_API void tws_inflate_flat(tws_inflate_window *w, void *memory, size_t bytes, unsigned bits);

typedef enum tws_inflate_type {
    TWS_INFLATE_MORE, /* all input is taken; call again with more */
    TWS_INFLATE_FULL, /* the window is full and there is more output: call again, with a flat
                       * window after growing it */
    TWS_INFLATE_END,  /* a final block, or the message, is complete; what the next call is given
                       * is another stream, which may refer to this one */
    TWS_INFLATE_ERROR /* sticky: reason, offset */
} tws_inflate_type;

typedef struct tws_inflate_event {
    tws_inflate_type type;
    const uint8_t *data; /* output of this call, in the window; with every type */
    size_t len;
    const char *reason;  /* ERROR: the rule broken, static storage */
    uint64_t offset;     /* ERROR: of the byte of input in which it begins */
} tws_inflate_event;

/* Scratch: nothing in it is needed between messages. */
typedef struct tws_inflater {
    tws_inflate_window *window;
    uint64_t bits;   /* taken from the input, not yet used */
    uint64_t offset; /* bytes of input taken */
    uint32_t bit_count;
    uint32_t length; /* of a copy or a stored block, to come */
    uint32_t distance;
    uint16_t literals;  /* how many code lengths of each kind this block's header has */
    uint16_t distances;
    uint16_t known;     /* and how many of them are read */
    uint8_t length_codes;
    uint8_t literal_root; /* bits that the tables' first steps look at */
    uint8_t distance_root;
    uint8_t state;
    uint8_t final;
    uint8_t tail;
    uint8_t fixed; /* the tables that stand here are those of the fixed codes */
    uint8_t error;
    uint8_t code_length[320];
    uint32_t literal[1334];       /* as many as any code of 288 symbols and 15 bits needs, where */
    uint32_t distance_table[402]; /* ten bits are looked at first; of 32 symbols, where eight are */
} tws_inflater;

/* Begin a stream, or a message. window stays the caller's and is written to. */
TWS_API void tws_inflate_begin(tws_inflater *z, tws_inflate_window *window);

/* Inflate as much of data as fits into the window.
 *
 * data     len bytes, the next ones of the stream, cut anywhere.
 * ev       [out] always written. Its output lives until the window is written again.
 * returns  bytes consumed, 0..len: all of them with MORE.
 * errors   sticky TWS_INFLATE_ERROR: block type 3, a length that its complement contradicts, a code
 *          that is over-subscribed or incomplete (but for a single one-bit code), a distance
 *          before the window's begin. Each is reported as soon as its bits have come.
 * memory   none. The total of output is yours to limit: you get each piece before the next is made.
 * thread   one at a time per inflater and window.
 * source   RFC 1951 3.2. */
TWS_API size_t tws_inflate_decode(tws_inflater *z, const uint8_t *data, size_t len,
                                  tws_inflate_event *ev);
/* All bytes of the message have been given: read the 00 00 FF FF that its sender left off.
 * ev       END: the message is complete; FULL: take the output and call again; ERROR: the message
 *          ends inside a block.
 * source   RFC 7692 7.2.2. */
TWS_API void tws_inflate_finish(tws_inflater *z, tws_inflate_event *ev);

/* -- deflating -- */

/* The most literals and copies in one block: 256 to 65,534, the same in every source file. */
#ifndef TASKWS_DEFLATE_TOKENS
#define TASKWS_DEFLATE_TOKENS 8192
#endif
#if TASKWS_DEFLATE_TOKENS < 256 || TASKWS_DEFLATE_TOKENS > 65534
#error "TASKWS_DEFLATE_TOKENS is 256 to 65534"
#endif

/* Bytes that tws_deflate_init wants. */
#define TWS_DEFLATE_MEMORY(bits, takeover) ((size_t)((takeover) ? 6 : 4) << (bits))

/* Scratch, for any number of deflaters in turn: nothing in it is needed between calls. */
typedef struct tws_deflate_scratch {
    uint32_t token[TASKWS_DEFLATE_TOKENS];
    uint32_t weight[2 * 288];
    uint16_t parent[2 * 288];
    uint16_t run[288 + 32]; /* code lengths, runs folded */
    /* Of the symbols of literals and lengths, of distances, and of folded code lengths: */
    uint16_t count[288 + 32 + 20]; /* how often it occurs */
    uint32_t code[288 + 32 + 20];  /* its bits, first bit lowest; how many, above from bit 16 */
    uint8_t width[288 + 32 + 20];
} tws_deflate_scratch;

/* What outlives a message. */
typedef struct tws_deflater {
    uint32_t *head;   /* the newest position of each hash */
    uint16_t *chain;  /* how far before a position the next of its hash is; 0: none */
    uint8_t *window;  /* twice 2^window_bits bytes; NULL: no takeover */
    uint64_t bits;
    uint32_t bit_count;
    uint32_t begin;   /* position of the first byte that may be referred to */
    uint32_t next;    /* position of the next byte; no message restarts it, so that what head says
                       * of earlier ones is known to be old and need not be cleared */
    uint32_t hashed;  /* the first position that is not yet in a chain */
    uint32_t origin;  /* position of the window's first byte */
    uint8_t window_bits;
    uint8_t hash_bits;
    uint8_t level;
    bool inside;      /* a message has begun and not ended */
} tws_deflater;

/* memory    TWS_DEFLATE_MEMORY(window_bits, takeover) bytes, aligned as malloc's, in use as z is.
 * level     1 (fast) to 9 (small); 6 is usual.
 * takeover  messages may refer to earlier ones. Without, no copy of the data is kept. */
TWS_API void tws_deflate_init(tws_deflater *z, void *memory, unsigned window_bits, unsigned level,
                              bool takeover);
/* Bytes that suffice for len bytes of input in one call, flushed. */
TWS_API size_t tws_deflate_bound(size_t len);

/* Compress data. The result depends on data and earlier messages alone.
 *
 * data     len bytes of a message; the fewer pieces, the smaller the result. Without takeover
 *          pieces do not refer to one another.
 * end      the message ends here: flushed to a whole byte, without the 00 00 FF FF that RFC 7692
 *          leaves off. An empty message becomes one byte.
 * out      cap bytes; tws_deflate_bound(len) always suffice. With less, LIMIT says that it does not
 *          pay.
 * written  [out] bytes; 0 on error.
 * errors   TWS_ERR_LIMIT: it does not fit. Discard the message, what was written of it too; the
 *          next call begins another, which does not refer to it. (If it came in several pieces or
 *          is longer than the window, earlier messages are forgotten as well.)
 * memory   none.   thread  one at a time per deflater and scratch.
 * source   RFC 1951 3.2; RFC 7692 7.2.1. */
TWS_API tws_status tws_deflate_encode(tws_deflater *z, tws_deflate_scratch *s, const void *data,
                                      size_t len, bool end, uint8_t *out, size_t cap,
                                      size_t *written);
/* The next message refers to none before it. */
TWS_API void tws_deflate_forget(tws_deflater *z);
#endif /* TASKWS_NO_DEFLATE */

#ifndef TASKWS_NO_JWT
/* == 11. jwt: HS256 tokens, signature first ================================= RFC 7515, 7519 == */

/* Why a token was refused; each has its error word (tws_jwt_word) and a sentence (tws_jwt_text). */
typedef enum tws_jwt_error {
    TWS_JWT_OK = 0,
    TWS_JWT_MISSING,
    TWS_JWT_MALFORMED,    /* not three base64url parts with JSON objects in them */
    TWS_JWT_ALGORITHM,    /* alg is not HS256, or crit asks for something unknown */
    TWS_JWT_KEY,          /* no key of that kid */
    TWS_JWT_SIGNATURE,
    TWS_JWT_EXPIRED,
    TWS_JWT_NOT_YET_VALID,
    TWS_JWT_CLAIMS        /* a claim is missing, of the wrong type, or not the configured one */
} tws_jwt_error;

/* "token_missing", "token_malformed", "token_signature", "token_expired", "token_not_yet_valid",
 * "token_claims": static storage. ALGORITHM counts as malformed, KEY as signature. */
TWS_API const char *tws_jwt_word(tws_jwt_error error);
TWS_API const char *tws_jwt_text(tws_jwt_error error); /* a sentence for a person */

/* Longest token that is looked at, in bytes. */
#define TWS_JWT_MAX 8192
/* Longest kid, likewise. */
#define TWS_JWT_MAX_KID 128

typedef struct tws_jwt_policy {
    const char *subject_claim; /* NULL: "sub" */
    const char *issuer;        /* NULL: iss is not checked */
    const char *audience;      /* NULL: aud is not checked, though RFC 7519 4.1.3 would have a
                                  token refused that names one; a string or one of an array */
    uint32_t leeway_s;         /* 0: 30; TWS_OFF: none */
    bool allow_no_expiry;      /* false: exp is required */
} tws_jwt_policy;

/* The checked claims. Slices point into the scratch memory of tws_jwt_open and tws_jwt_judge. */
typedef struct tws_jwt_claims {
    tws_str subject;   /* never empty; an integer (64 bits, perhaps negative) in decimal form */
    tws_str scope;     /* space-separated list, RFC 8693 4.2; empty when absent */
    int64_t expires_s; /* exp, without leeway; INT64_MAX: none, and the policy allows that */
} tws_jwt_claims;

/* A token taken apart, nothing yet believed. */
typedef struct tws_jwt {
    tws_str signed_part; /* header.payload, in the token */
    tws_str kid;         /* unescaped, in scratch; empty when absent */
    tws_str payload;     /* JSON text, in scratch; not validated before the signature is */
    uint8_t signature[TWS_SHA256_BYTES];
} tws_jwt;

/* Take a token apart and judge its header. Only alg, kid and crit of the header are read; jwk,
 * jku and x5u are never followed. One of those three given twice, any alg but exactly "HS256",
 * and any crit are refused.
 *
 * scratch  room for cap bytes, at least token.len; *jwt and the claims point into it.
 * errors   MISSING (empty), MALFORMED (longer than TWS_JWT_MAX, not three base64url parts, header
 *          no JSON object), ALGORITHM, KEY (kid longer than TWS_JWT_MAX_KID), SIGNATURE (not 32
 *          bytes).
 * source   RFC 7515 4.1, 5.2; RFC 8725 3.1. */
TWS_API tws_jwt_error tws_jwt_open(tws_jwt *jwt, tws_str token, void *scratch, size_t cap);
/* Constant time. TWS_JWT_OK or TWS_JWT_SIGNATURE. */
TWS_API tws_jwt_error tws_jwt_verify(const tws_jwt *jwt, const tws_hmac_key *key);
/* Judge the claims of a token whose signature holds.
 *
 * policy        NULL for the defaults.
 * now_s         Unix time.
 * more          other memory than tws_jwt_open's, for what the payload holds escaped and for an
 *               integer subject: payload.len + 20 bytes always suffice; with less, CLAIMS.
 * errors        MALFORMED (the payload is no JSON object, or has a claim twice), CLAIMS; then, of
 *               a token that is right otherwise, EXPIRED, NOT_YET_VALID.
 * source        RFC 7519 4.1; NumericDate may have a fraction, which is dropped, no exponent. */
TWS_API tws_jwt_error tws_jwt_judge(const tws_jwt *jwt, const tws_jwt_policy *policy, int64_t now_s,
                                    void *more, size_t cap, tws_jwt_claims *claims);
/* Append the token of a payload (JSON text). kid: empty for none, at most TWS_JWT_MAX_KID bytes. */
TWS_API void tws_jwt_sign(tws_buf *b, const tws_hmac_key *key, tws_str kid, tws_str payload);
#endif /* TASKWS_NO_JWT */

#ifndef TASKWS_NO_REDIS
/* == 12. resp: RESP2 and RESP3; decoder, command encoder ============================= RESP3 == */

typedef enum tws_resp_type {
    TWS_RESP_MORE,         /* all usable bytes are taken; call again with more */
    TWS_RESP_SIMPLE,       /* + */
    TWS_RESP_BULK,         /* $ */
    TWS_RESP_VERBATIM,     /* =  with its format */
    TWS_RESP_SERVER_ERROR, /* - and ! */
    TWS_RESP_INTEGER,      /* : */
    TWS_RESP_DOUBLE,       /* ,  checked, given as text */
    TWS_RESP_BIG_NUMBER,   /* (  likewise */
    TWS_RESP_BOOL,         /* #  in integer, 1 or 0 */
    TWS_RESP_NULL,         /* _, and RESP2's $-1 and *-1 */
    TWS_RESP_ARRAY,        /* *  count elements follow, each an event or more */
    TWS_RESP_MAP,          /* %  likewise, name and value in turn */
    TWS_RESP_SET,          /* ~ */
    TWS_RESP_PUSH,         /* >  between replies, never inside one */
    TWS_RESP_ATTRIBUTE,    /* |  count elements about the value that follows; to be skipped */
    TWS_RESP_END,          /* .  the end of a container of TWS_RESP_STREAMED elements */
    TWS_RESP_ERROR         /* sticky: reason, offset */
} tws_resp_type;

#define TWS_RESP_MAX_LINE 4096       /* bytes: simple strings, errors, numbers, headers */
#define TWS_RESP_MAX_DEPTH 16        /* containers in one another */
#define TWS_RESP_STREAMED UINT64_MAX /* as a total or a count: not known before its end */

typedef struct tws_resp_event {
    tws_resp_type type;
    uint32_t depth;    /* containers around it; 0: a reply or a push of its own */
    bool done;         /* a value of depth 0 is complete with this event */
    bool first, last;  /* of the pieces of a bulk, verbatim or error; both: it is whole */
    tws_str text;      /* in the caller's bytes; of a string in pieces, this piece */
    uint64_t total;    /* with first: bytes of the whole string, or TWS_RESP_STREAMED */
    uint64_t count;    /* elements of a container, two for each pair; or TWS_RESP_STREAMED */
    int64_t integer;
    char format[4];    /* of VERBATIM: "txt", "mkd" */
    const char *reason; /* ERROR: the rule broken, static storage */
    uint64_t offset;   /* ERROR: where in the stream the value that broke it begins */
} tws_resp_event;

typedef struct tws_resp_limits {
    uint64_t max_string; /* bytes of a bulk, verbatim or error; 0: 512 MiB, as Redis has it */
    uint32_t max_count;  /* elements of a container; 0: 1,048,576 */
    uint32_t whole;      /* strings up to so many bytes come whole, MORE until they do; 0: none */
} tws_resp_limits;

/* Holds no payload: memory is this struct. */
typedef struct tws_resp_decoder {
    tws_resp_limits limits;
    uint64_t offset;       /* bytes taken so far */
    uint64_t string_left;  /* of the open string, or of its chunk, to come */
    uint64_t string_bytes; /* of a streamed string, so far */
    uint32_t left[TWS_RESP_MAX_DEPTH]; /* elements to come in each open container */
    uint8_t level[TWS_RESP_MAX_DEPTH];
    uint8_t depth;
    uint8_t state;
    uint8_t type; /* of the open string */
    uint8_t error;
} tws_resp_decoder;

/* limits: NULL for the defaults. */
TWS_API void tws_resp_init(tws_resp_decoder *d, const tws_resp_limits *limits);

/* Decode the next event from data; RESP2 and RESP3 alike.
 *
 * ev       [out] always written. A string that is all in data comes whole, else in pieces as they
 *          arrive, so that a large one passes in constant memory (but see limits.whole).
 * returns  bytes consumed, 0..len. What is left after TWS_RESP_MORE must stand at the front of the
 *          next call's data: at most limits.whole + TWS_RESP_MAX_LINE + 6 bytes.
 * errors   sticky TWS_RESP_ERROR: an unknown type, a length or count that is no number or beyond
 *          its limit, a missing CRLF, nesting too deep. Found when the line or string has ended.
 * memory   none.   thread  one at a time per decoder.
 * source   the RESP3 specification; RESP2 is a part of it. */
TWS_API size_t tws_resp_decode(tws_resp_decoder *d, const char *data, size_t len,
                               tws_resp_event *ev);

/* Append a command: its number of words, then call one of the next three for each. */
TWS_API void tws_resp_command(tws_buf *b, size_t words);
TWS_API void tws_resp_word(tws_buf *b, tws_str word);
TWS_API void tws_resp_word_c(tws_buf *b, const char *word);
TWS_API void tws_resp_word_u64(tws_buf *b, uint64_t word); /* decimal */
#endif /* TASKWS_NO_REDIS */

/* ======================================================================================== */
/*          III. MACHINES: sans-IO; bytes, time and randomness are parameters                */
/* ======================================================================================== */

/* == 13. metrics, log: counters, histograms, Prometheus text; log lines ================== */

/* A counter has one writing thread (tws_count); any thread may read it (tws_counted). */
typedef uint64_t tws_counter TWS_ALIGN_8;
TWS_API void tws_count(tws_counter *c, uint64_t n);
TWS_API uint64_t tws_counted(const tws_counter *c);

/* Durations in microseconds in powers of two, 1 us to 67 s. One writer, any reader. */
#define TWS_HISTOGRAM_BUCKETS 27
typedef struct tws_histogram {
    tws_counter bucket[TWS_HISTOGRAM_BUCKETS + 1]; /* [i]: up to 2^i us; the last: longer */
    tws_counter sum_us;
} tws_histogram;
TWS_API void tws_histogram_record(tws_histogram *h, uint64_t us);
/* Add from's counts to *into, which no other thread uses: for sums over threads. */
TWS_API void tws_histogram_merge(tws_histogram *into, const tws_histogram *from);

/* Prometheus text exposition format 0.0.4. type: "counter" or "gauge". labels: NULL, or the text
 * between the braces. HELP and TYPE are written when help is not NULL (give NULL for further label
 * sets of the same name). All four are the program's own words: they are not escaped. Histograms
 * are written in seconds, cumulative, with +Inf, _sum, _count. */
TWS_API void tws_metrics_write(tws_buf *b, const char *name, const char *help, const char *type,
                               const char *labels, uint64_t value);
TWS_API void tws_metrics_write_histogram(tws_buf *b, const char *name, const char *help,
                                         const tws_histogram *h);

typedef enum tws_log_level {
    TWS_LOG_DEFAULT = 0, /* in a desc: info */
    TWS_LOG_DEBUG,
    TWS_LOG_INFO,
    TWS_LOG_WARN,
    TWS_LOG_ERROR,
    TWS_LOG_NONE
} tws_log_level;

/* Where lines go. write gets one whole line, its newline included, from any thread, and must not
 * block; NULL: nothing is logged. */
typedef struct tws_log {
    tws_log_level level;
    bool json; /* one JSON object a line, instead of `time level message key=value` */
    void (*write)(void *context, const char *line, size_t len);
    void *context;
} tws_log;

/* One line, built in caller's memory, truncated with a mark when it is longer:
 *     tws_log_line l;
 *     if (tws_log_begin(&l, log, TWS_LOG_INFO, now_ms, "connection closed")) {
 *         tws_log_u64(&l, "code", 1000);
 *         tws_log_end(&l);
 *     }
 * Of a value at most 512 bytes are shown. Values are escaped (no control characters, no forged
 * lines), and whatever looks like a token is replaced by ***: the value of a token= parameter
 * (percent-encoded or in JSON too), and every JWT-shaped word. Keys are not escaped: they are the
 * program's own words. */
#define TWS_LOG_LINE 1024
typedef struct tws_log_line {
    const tws_log *log;
    tws_buf out;
    char text[TWS_LOG_LINE];
} tws_log_line;

/* level: DEBUG to ERROR. now_ms: Unix time in milliseconds. log may be NULL. False when nothing is
 * written: then make no other call on l. */
TWS_API bool tws_log_begin(tws_log_line *l, const tws_log *log, tws_log_level level,
                           uint64_t now_ms, const char *message);
TWS_API void tws_log_str(tws_log_line *l, const char *key, tws_str value);
TWS_API void tws_log_u64(tws_log_line *l, const char *key, uint64_t value);
TWS_API void tws_log_end(tws_log_line *l);
/* Append s with tokens replaced by ***, as in a log line. */
TWS_API void tws_log_redact(tws_buf *b, tws_str s);

/* == 14. router: method + pattern; refuses duplicates ==================================== */

#define TWS_MAX_PARAMS 4

typedef struct tws_router_entry {
    const char *method;  /* owned by the router */
    const char *pattern; /* likewise; "/tasks/{user_id}" */
    void *value;
} tws_router_entry;

typedef struct tws_router {
    const tws_allocator *allocator;
    tws_router_entry *entry;
    size_t count;
    size_t cap;
} tws_router;

typedef struct tws_router_match {
    const tws_router_entry *entry; /* NULL: no such route */
    tws_str param[TWS_MAX_PARAMS]; /* of {...} in order, not decoded, never empty */
    size_t param_count;
    bool path_known;               /* with entry NULL: the path exists, with other methods */
} tws_router_match;

TWS_API void tws_router_init(tws_router *r, const tws_allocator *a);
TWS_API void tws_router_free(tws_router *r);
/* Add a route. method "GET", "POST"...; pattern begins with "/", segments are literal or {name}, at
 * most TWS_MAX_PARAMS of these. A trailing slash makes another path. Both are copied.
 *
 * error    may be NULL. On refusal it gets a sentence that names the new route, and the one that it
 *          repeats or the doubled prefix: /api/v1/api/v1/ws (the same two or more segments twice at
 *          the front), or /api/api/ws where another route begins with one /api.
 * errors   TWS_ERR_EXISTS duplicate (names of parameters do not make a difference) or doubled
 *          prefix; TWS_ERR_ARGUMENT malformed; TWS_ERR_MEMORY. */
TWS_API tws_status tws_router_add(tws_router *r, const char *method, const char *pattern,
                                  void *value, tws_buf *error);
/* Match a path as sent, not decoded; m->param points into it. Literal segments win over parameters,
 * from the left. HEAD is served by a GET route where the path has none of its own. */
TWS_API void tws_router_find(const tws_router *r, tws_str method, tws_str path,
                             tws_router_match *m);
/* Append the methods known for a path, as the Allow field wants them: "GET, HEAD, POST". */
TWS_API void tws_router_allow(const tws_router *r, tws_str path, tws_buf *out);
/* Append the table, a line a route: "GET     /api/v1/ws/tasks/{user_id}". */
TWS_API void tws_router_print(const tws_router *r, tws_buf *out);

#ifndef TASKWS_NO_JWT
/* == 15. auth: where the token stands, key ring, policy, cache of verified tokens ========= */

typedef enum tws_auth_source {
    TWS_AUTH_NONE,
    TWS_AUTH_HEADER,      /* Authorization: Bearer */
    TWS_AUTH_QUERY,       /* ?token= */
    TWS_AUTH_SUBPROTOCOL, /* bearer.<token> beside taskws.v1 */
    TWS_AUTH_COOKIE
} tws_auth_source;

/* Find the token of a request, in the order of the enumeration; the first place that has one, even
 * an empty one, decides. *token points into the request; it is not verified.
 * A token in the query is not percent-decoded: base64url and dots need no escapes, and one with an
 * escape will be malformed. Two tokens in one place (a second token=, two Authorization fields) are
 * an error: *token is empty, the source is that place. Of cookies of that name the first counts, as
 * browsers order them (RFC 6265 5.4). An Authorization of another scheme is passed over.
 * cookie: its name; NULL: cookies are not read. */
TWS_API tws_auth_source tws_auth_find(const tws_http_request *r, const char *cookie,
                                      tws_str *token);

/* Keys by kid. A ring never changes, so all threads share it; to replace keys make another one. It
 * is reference-counted: create gives the first reference, the last unref frees it. */
typedef struct tws_auth_key {
    const char *kid;     /* NULL or "": for tokens without kid, and for an unknown kid when it is
                            the ring's only key */
    const void *secret;
    size_t secret_len;
    int64_t until_s;     /* last second (Unix time) at which it verifies; 0: no deadline */
} tws_auth_key;

typedef struct tws_auth_ring tws_auth_ring;

/* Copies what it needs; of secrets only prepared HMAC keys are kept, and wiped at the end.
 * why     [out] a static sentence on refusal, else NULL. May be NULL.
 * errors  TWS_ERR_ARGUMENT: no key, or NULL for some, an empty key, one under 32 bytes (RFC 7518
 *         3.2) unless allow_short, a kid twice or above TWS_JWT_MAX_KID; *why says which.
 *         TWS_ERR_MEMORY. */
TWS_API tws_status tws_auth_ring_create(tws_auth_ring **ring, const tws_allocator *a,
                                        const tws_auth_key *keys, size_t count, bool allow_short,
                                        const char **why);
TWS_API tws_auth_ring *tws_auth_ring_ref(tws_auth_ring *ring);
TWS_API void tws_auth_ring_unref(tws_auth_ring *ring); /* NULL is fine */

#define TWS_SCOPE_PUBLISH 1u
#define TWS_SCOPE_ADMIN 2u

/* Who holds a verified token. */
typedef struct tws_identity {
    char user_id[TWS_MAX_USER_ID];
    uint8_t user_id_len;
    uint8_t scopes;     /* TWS_SCOPE_... */
    int64_t expires_s;  /* INT64_MAX: never */
} tws_identity;

TWS_API tws_str tws_identity_user(const tws_identity *who);

/* A bounded cache of verified tokens, so that a token's signature is computed once. For one thread.
 * Looked up by the token's bytes under a keyed hash, before any decoding. An entry counts only if
 * every byte is equal and it has not expired; verifying with another ring or policy empties the
 * cache. Of up to eight tokens that share a place the oldest gives way. Tokens above 1 KiB are not
 * kept. */
typedef struct tws_auth_cache tws_auth_cache;

/* entries: 0 gives 1,024; TWS_OFF no cache: NULL, which tws_auth_verify takes. hash_key: 16 random
 * bytes. Takes 16 bytes an entry at once, the rest with use. NULL also without memory. */
TWS_API tws_auth_cache *tws_auth_cache_create(const tws_allocator *a, uint32_t entries,
                                              const uint8_t hash_key[16]);
TWS_API void tws_auth_cache_free(tws_auth_cache *c); /* NULL is fine */

/* Verify a token. cache may be NULL; so may policy: the defaults. What policy's strings point to
 * must not change while cache lives. *who is written on TWS_JWT_OK only. A subject longer than
 * TWS_MAX_USER_ID is TWS_JWT_CLAIMS; a key past its deadline is TWS_JWT_KEY. */
TWS_API tws_jwt_error tws_auth_verify(tws_auth_cache *cache, tws_auth_ring *ring,
                                      const tws_jwt_policy *policy, tws_str token, int64_t now_s,
                                      tws_identity *who);

/* A host's own answer for (this token, that user), kept with the token's entry: 0 unknown, 1
 * allowed, -1 refused. Forgotten with the entry, or when a token's answers exceed 1 KiB. Verify the
 * token first: these two look at neither time nor ring. */
TWS_API int tws_auth_recall(tws_auth_cache *cache, tws_str token, tws_str user_id);
TWS_API void tws_auth_remember(tws_auth_cache *cache, tws_str token, tws_str user_id, bool allowed);

typedef enum tws_auth_action { TWS_AUTH_READ, TWS_AUTH_PUBLISH, TWS_AUTH_ADMIN } tws_auth_action;

/* The built-in rule. READ: the own user_id, or scope admin. PUBLISH: scope publish (to any user).
 * ADMIN: scope admin. Returns NULL when allowed, else "forbidden_user" or "forbidden_scope". */
TWS_API const char *tws_auth_judge(const tws_identity *who, tws_auth_action action,
                                   tws_str user_id);

/* Is this Origin allowed? allowed: comma-separated exact origins (scheme://host[:port]), "*" for
 * any; NULL or empty: only same-origin (http or https, and Origin's host:port equals Host). A
 * request without Origin is always allowed, one with two never. "null" is like any other: listed
 * or not. RFC 6454 6; ASCII case-insensitive scheme and host. */
TWS_API bool tws_auth_origin(const tws_http_request *r, const char *allowed);
#endif /* TASKWS_NO_JWT */

/* == 16. hub: a topic per user; readers pull by position ================================= */

/* The id of a stored event, as Redis Streams write it. */
typedef struct tws_event_id {
    uint64_t ms;
    uint64_t seq;
} tws_event_id;

#define TWS_EVENT_ID_MAX 41 /* bytes of the longest written form; no NUL */

/* "ms-seq", or "ms" alone (seq 0). Digits only. */
TWS_API bool tws_event_id_parse(tws_str text, tws_event_id *id);
TWS_API size_t tws_event_id_format(tws_event_id id, char out[TWS_EVENT_ID_MAX]); /* its bytes */
TWS_API int tws_event_id_compare(tws_event_id a, tws_event_id b); /* below 0, 0, above 0 */

/* One published event: immutable, reference-counted, laid out once so that any number of readers
 * can write it to their sockets without a copy:
 *
 *     id: 5-0 LF data: | WS header | WS header {"type":"task","id":"5-0","data": | DATA | }
 *     '---- SSE -----'   '- raw -'   '------------- envelope ------------------'
 */
typedef struct tws_event tws_event;

typedef enum tws_event_format {
    TWS_FORMAT_ENVELOPE, /* a WebSocket frame: {"type":"task","id":"...","data":DATA} */
    TWS_FORMAT_RAW,      /* a WebSocket frame: DATA */
    TWS_FORMAT_SSE       /* id: ...\ndata: DATA\n\n; DATA's line breaks are written as blanks */
} tws_event_format;

/* The event's bytes on the wire as 1 to 3 slices (the number is returned), which live as long as a
 * reference is held, as the hub's allocator must. An event without id has "id":null, or no id: line
 * in SSE; an empty one as long as none has had an id: an EventSource then forgets 0-0. */
#define TWS_EVENT_SLICES 3
TWS_API size_t tws_event_wire(const tws_event *e, tws_event_format format,
                              tws_str out[TWS_EVENT_SLICES]);
TWS_API tws_str tws_event_data(const tws_event *e);
/* The payload of that format's frame, not compressed. Not for TWS_FORMAT_SSE. */
TWS_API tws_str tws_event_text(const tws_event *e, tws_event_format format);
/* The frame with that text compressed, once tws_hub_keep_compressed was given it; *frame is empty
 * if that said that it gets no shorter. False when nobody has tried. */
TWS_API bool tws_event_compressed(const tws_event *e, tws_event_format format, tws_str *frame);
TWS_API tws_event_id tws_event_id_of(const tws_event *e); /* 0-0: none */
/* From any thread, both. An event outlives its batch by a reference of yours: see tws_conn_lend. */
TWS_API tws_event *tws_event_ref(tws_event *e);
TWS_API void tws_event_unref(tws_event *e);

/* For a hub whose store is elsewhere (section 17): it is fed from there, and says by these calls
 * which users have readers, or had some within grace_s. They come from any thread under a shard's
 * lock: take note and return, call no hub function in them. Without an upstream the hub itself is
 * the store.
 *
 * After join, feed the user's events by tws_hub_publish in the order of their ids: first the past,
 * then call tws_hub_loaded (until then readers are given nothing), then what came live meanwhile;
 * an id that does not rise is taken for a repeat. After leave, publish for that user does nothing
 * (TWS_ERR_NOT_FOUND) and nothing is kept: after the next join feed all of the past again.
 *
 * A join has a number. Give it back by tws_hub_joined once everything that you had under way for
 * the previous join has been fed. Until then publish, loaded and forget do nothing for that user:
 * old events would be taken for the past of the new readers.
 *
 * A join with number 0, which is not given back, may come for a user who has not left: a reader's
 * `since`, from another server, is beyond the newest id here, or somebody visits. Feed what is
 * new, then call tws_hub_loaded: until then that one waits. Before that neither such a join nor a
 * reload comes again, but by tws_hub_rejoin: for whoever comes meanwhile one comes behind it, since
 * what he is given must be read after he came.
 *
 * reload: max_total_bytes took the past from a user who has readers, and one of them wants it. Call
 * tws_hub_forget, feed the past again, then call tws_hub_loaded: until then all of them wait. (With
 * section 17: tws_redis_reload, then tws_redis_want for a LOADED behind it.) */
typedef struct tws_hub_upstream {
    void *context;
    void (*join)(void *context, tws_str user_id, uint32_t number); /* number 0: see above */
    void (*leave)(void *context, tws_str user_id); /* the last one has gone, grace_s ago */
    void (*reload)(void *context, tws_str user_id);
} tws_hub_upstream;

/* 0 = default. The caps hold whenever no publish is under way; bytes are what events take in
 * memory. A topic beyond its caps drops its oldest events. The latest event of each task stays
 * longer: the oldest of these go when they would leave newer events less than half of a cap. */
typedef struct tws_hub_desc {
    const tws_allocator *allocator;
    uint32_t shards;              /* 0: 16; made a power of two, 4,096 at most */
    uint32_t max_events;          /* retained per user; 0: 256; 16,777,216 at most */
    uint32_t max_bytes;           /* retained per user; 0: 256 KiB; 15/16 of max_total_bytes at
                                     most. An event that alone takes more is TWS_ERR_LIMIT */
    uint32_t max_age_s;           /* all go so long after a user's last event; 0: 3600; TWS_OFF */
    uint64_t max_total_bytes;     /* 0: 64 MiB; publishes leave a 16th of it to compressed frames,
                                     which one user's may fill beside max_bytes; beyond, the users
                                     least recently published to lose their oldest events; who has
                                     last statuses only, these */
    uint32_t max_event_bytes;     /* of JSON; 0: 64 KiB */
    uint32_t max_readers;         /* per user; 0: 64; TWS_OFF */
    uint32_t grace_s;             /* with an upstream: from the last reader's going to leave, in
                                     calls of tws_hub_sweep, at least: who comes back meanwhile
                                     goes on from what is here; 0: 10; TWS_OFF */
    const char *task_key;         /* NULL: "task_id"; copied */
    const tws_hub_upstream *upstream; /* copied */
    uint64_t now_ms;              /* Unix time: a `since` from before it gets a reset, since what
                                     came then is not known here */
    uint8_t hash_key[16];         /* random: users and tasks are hashed under it */
} tws_hub_desc;

typedef struct tws_hub tws_hub;

TWS_API tws_status tws_hub_create(tws_hub **hub, const tws_hub_desc *desc); /* TWS_ERR_MEMORY */
TWS_API void tws_hub_free(tws_hub *hub); /* after its inboxes; NULL is fine */

/* Append an event to a user's topic and mark its readers' inboxes. Every event comes in this way.
 *
 * json     one JSON text, copied; the caller has checked it (tws_json_valid). Its member task_key,
 *          a string that is not empty or an integer, names its task; without, it is in no snapshot.
 * now_ms   Unix time; it may jump: ids rise all the same.
 * id       NULL: the hub assigns the next (rising per user, from now_ms). An upstream gives its
 *          own; one that does not exceed the topic's last is a repeat: TWS_ERR_EXISTS.
 *          0-0: a live event without an id, which no `since` can name: a reader that resumes from
 *          the id before it is given it again.
 * out      [out] on success, the id; may be NULL.
 * errors   all leave everything as it was: TWS_ERR_MEMORY, TWS_ERR_LIMIT (event too big),
 *          TWS_ERR_ARGUMENT (user id, empty json), TWS_ERR_NOT_FOUND (upstream: not joined).
 * thread   any.  lock  one shard, for a few pointer writes; the event is built before. */
TWS_API tws_status tws_hub_publish(tws_hub *hub, tws_str user_id, tws_str json, uint64_t now_ms,
                                   const tws_event_id *id, tws_event_id *out);
/* The same for a caller that has read json: task is what tws_json_member gave for task_key. */
TWS_API tws_status tws_hub_publish_task(tws_hub *hub, tws_str user_id, tws_str json,
                                        const tws_json_token *task, uint64_t now_ms,
                                        const tws_event_id *id, tws_event_id *out);
/* From upstream: the join of that number was taken note of; no older feed comes any more. */
TWS_API void tws_hub_joined(tws_hub *hub, tws_str user_id, uint32_t number);
/* From upstream: this user's past has been fed; waiting readers may start. complete_from: all
 * events after this id are here (an older `since` gets a reset).
 * Called once more, with complete_from beyond the newest id, it says that events were lost there:
 * every reader gets a reset. Call it before what comes behind the gap. */
TWS_API void tws_hub_loaded(tws_hub *hub, tws_str user_id, tws_event_id complete_from);
/* For an upstream that failed to take note, out of memory say: join (with its number, or 0) or
 * reload is called again for each user who is joined. */
TWS_API void tws_hub_rejoin(tws_hub *hub);
/* From upstream: what was fed so far is void, ids included (the store came back without it). All of
 * it is dropped and every reader gets a reset. Then feed what there is after complete_from, which
 * may be lower than ids before. */
TWS_API void tws_hub_forget(tws_hub *hub, tws_str user_id, tws_event_id complete_from);

/* -- readers -- */

/* A thread's inbox: which of its groups (the readers of a topic on one thread) have news. wake is
 * called by the publishing thread when the inbox stops being empty, and not again before it has
 * been emptied. It must not call the hub. */
typedef struct tws_hub_group tws_hub_group;
typedef struct tws_hub_inbox tws_hub_inbox;

/* NULL without memory. wake is needed. */
TWS_API tws_hub_inbox *tws_hub_inbox_create(tws_hub *hub, void (*wake)(void *), void *context);
/* Once its readers are detached, before its hub; wake is not called after that. NULL is fine. */
TWS_API void tws_hub_inbox_free(tws_hub_inbox *in);

/* A position in a topic, embedded in whatever reads; it must not be moved while attached. For its
 * inbox's thread only. */
typedef struct tws_hub_reader {
    tws_hub_group *group;
    struct tws_hub_reader *prev;
    struct tws_hub_reader *next;
    uint64_t position; /* index of the next event */
    union {
        tws_event_id since; /* until its position is found */
        uint64_t snapshot_until; /* below this index only the latest event of each task is given */
    } u;
    uint8_t state;
    bool visits;
    uint8_t asks; /* for the past, of upstream, since it last caught up */
} tws_hub_reader;

/* Begin to read a user's events. since: the last id already read; NULL for a snapshot first; 0-0
 * for all that is retained. Gather once after this, without waiting for news: the position is found
 * at the first gather at which the topic is loaded.
 * r       need not be initialized; after an error, and after detach, r->group is NULL.
 * since   may be r's own.
 * errors  TWS_ERR_LIMIT (max_readers), TWS_ERR_MEMORY, TWS_ERR_ARGUMENT (user id). */
TWS_API tws_status tws_hub_attach(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id,
                                  const tws_event_id *since);
/* The same for one who only wants a snapshot: max_readers neither counts nor limits it. It waits
 * for what upstream has by now, whoever else reads: what is here may be behind. */
TWS_API tws_status tws_hub_visit(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id);
/* A detached reader is fine. */
TWS_API void tws_hub_detach(tws_hub_reader *r);

#define TWS_HUB_BATCH 64
#define TWS_HUB_ROUNDS 3 /* after the first: 4 batches of 64 are a ring of 256 events */

typedef struct tws_hub_batch {
    size_t count;
    bool more;            /* events follow behind these */
    bool start;           /* first batch of a reader: its position has been found */
    bool resumed;         /* start: everything after `since` follows */
    const char *reset;    /* not NULL: a snapshot begins here, for this reason ("position_gone",
                             "slow_consumer") */
    tws_event_id last_id; /* start: the topic's newest id, 0-0 when it has none */
    const tws_hub_group *group; /* NULL: the topic is loading */
    uint32_t news;        /* how often the topic had had news by then */
    uint64_t from;        /* the position that this batch was gathered for */
    uint64_t next;        /* the position behind it */
    uint64_t snapshot_until;
    tws_event *event[TWS_HUB_BATCH]; /* referenced: give back with tws_hub_batch_free */
} tws_hub_batch;

/* Keep the compressed text of an event of r's topic with it, for all its readers. It counts toward
 * max_total_bytes alone, and drops no event: without room there the event stays plain.
 * Empty: compressing does not pay. Without memory nothing is kept. text is copied. */
TWS_API void tws_hub_keep_compressed(tws_hub_reader *r, tws_event *e, tws_event_format format,
                                     tws_str text);

/* The events at a reader's position, as many as fit; the position stays. b->start and b->reset are
 * told once. Nothing while the topic is loading (b->group is NULL). b need not be initialized.
 *
 * A reset always begins a whole snapshot: what the reader knew before is to be forgotten. A reader
 * that falls behind within its snapshot stays in it: it is given the latest event of each task
 * until it has caught up, without another reset. */
TWS_API void tws_hub_gather(tws_hub_reader *r, tws_hub_batch *b);
/* Would a gather for r give this same batch? Then it may serve r, too: readers of one group at one
 * position share a gather. */
TWS_API bool tws_hub_same(const tws_hub_batch *b, const tws_hub_reader *r);
/* The first n events of b have been taken. */
TWS_API void tws_hub_advance(tws_hub_reader *r, const tws_hub_batch *b, size_t n);
/* Gives the events back. The batch is empty then and may be gathered into again. Zeroed is fine. */
TWS_API void tws_hub_batch_free(tws_hub_batch *b);

/* The next reader to serve, group by group of those with news; NULL: none is left. Readers may be
 * detached in between. News that comes while a group is served reaches its later readers at once,
 * and the whole group comes round again. */
TWS_API tws_hub_reader *tws_hub_news(tws_hub_inbox *in);
/* r has more than its batch held: its group comes round again, without a wake. False after
 * TWS_HUB_ROUNDS times since its last news: come back to r yourself, later. */
TWS_API bool tws_hub_again(tws_hub_reader *r);
/* Has its thread begun to serve all news? From any thread: to see whether another one keeps up. */
TWS_API bool tws_hub_inbox_empty(tws_hub_inbox *in);

/* The latest event of each task, oldest first.
 *
 * events   [out] allocated with the hub's allocator, each referenced; count of them. Give back with
 *          tws_hub_snapshot_free. NULL when there are none.
 * last_id  [out] the topic's newest id, 0-0 when it has none.
 * errors   TWS_ERR_MEMORY, TWS_ERR_ARGUMENT (user id), TWS_ERR_UNAVAILABLE: with an upstream, for a
 *          user who is not joined, is still loading, or lost last statuses to
 *          max_total_bytes: tws_hub_visit and gather.
 * thread   any. */
TWS_API tws_status tws_hub_snapshot(tws_hub *hub, tws_str user_id, uint64_t now_ms,
                                    tws_event ***events, size_t *count, tws_event_id *last_id);
TWS_API void tws_hub_snapshot_free(tws_hub *hub, tws_event **events, size_t count);

/* Drop the events of users who were last published to more than max_age_s ago, as Redis's PEXPIRE
 * does, and leave those whose grace is over. Call once a second, from one thread. */
TWS_API void tws_hub_sweep(tws_hub *hub, uint64_t now_ms);

typedef struct tws_hub_stats {
    uint64_t topics;    /* now: users who have readers or events, or are in their grace */
    uint64_t readers;   /* now */
    uint64_t events;    /* now: held, for resuming and as last statuses */
    uint64_t bytes;     /* now: of these */
    uint64_t published; /* since the start: events taken */
    uint64_t repeats;   /* not taken, for their id was not above the user's last one */
    uint64_t refused;   /* not taken: not valid, too big, or there was no memory */
    uint64_t evicted;   /* of those taken, no longer held */
    uint64_t resets;    /* how often a reader was told to begin again */
} tws_hub_stats;
TWS_API void tws_hub_stat(tws_hub *hub, tws_hub_stats *out); /* from any thread */
/* Readers of one user, on all threads; from any thread. */
TWS_API uint32_t tws_hub_readers(tws_hub *hub, tws_str user_id);
/* Was upstream told to join this user, and not since to leave? From any thread. */
TWS_API bool tws_hub_is_joined(tws_hub *hub, tws_str user_id);

#ifndef TASKWS_NO_REDIS
/* == 17. redis: a session with one Redis: subscribe, load, publish, probe ================= */

/* -- where it is -- */

typedef struct tws_redis_url {
    char host[256]; /* name or address, an IPv6 one without its brackets; "" with a path */
    uint16_t port;
    char path[108]; /* of a unix socket; "" with a host */
    bool tls;
    uint32_t db;
    char user[128]; /* "": the default user */
    char password[512]; /* "": none */
} tws_redis_url;

/* redis://[[user]:password@]host[:port][/db], rediss:// likewise,
 * unix://[[user]:password@]path[?db=N]; user and password percent-encoded. The result
 * holds a secret: tws_wipe it.
 *
 * why      [out] NULL, or the rule broken, static storage.
 * errors   TWS_ERR_SYNTAX; TWS_ERR_LIMIT, a part is too long; TWS_ERR_UNAVAILABLE, rediss:// is not
 *          in this build (all of *url is filled in nevertheless). */
TWS_API tws_status tws_redis_url_parse(tws_str text, tws_redis_url *url, const char **why);

/* The script that appends an event and publishes it in one step, for every client in any language:
 *     EVAL script 1 task_status:{user_id} JSON [max_events] [ttl_ms] [idempotency key]
 * returns the event's id. The same key within ttl_ms appends once and returns the first one's id.
 * An argument left empty is its default: 1,000 events, 24 hours, no key. */
TWS_API const char *tws_redis_script(void);

/* -- how it is -- */

typedef enum tws_redis_state {
    TWS_REDIS_IS_CONNECTING,  /* for the first time */
    TWS_REDIS_IS_READY,
    TWS_REDIS_IS_UNREACHABLE, /* no connection, or one that was closed */
    TWS_REDIS_IS_SILENT,      /* no answer in time */
    TWS_REDIS_IS_DEAF,        /* the subscription did not hear its own probe */
    TWS_REDIS_IS_NO_REDIS,    /* what answers speaks another protocol, or is a Sentinel */
    TWS_REDIS_IS_LOADING,     /* -LOADING: it reads its data */
    TWS_REDIS_IS_READONLY,    /* a replica, -MISCONF, -NOREPLICAS, or the script is refused:
                                 events are delivered, none can be stored */
    TWS_REDIS_IS_MOVED,       /* -MOVED: a cluster's node */
    TWS_REDIS_IS_NOAUTH,      /* NOAUTH: it wants a password */
    TWS_REDIS_IS_WRONGPASS,   /* WRONGPASS */
    TWS_REDIS_IS_OOM,         /* -OOM: events are delivered, none can be stored */
    TWS_REDIS_IS_REFUSED      /* another error; the reason is Redis's own text */
} tws_redis_state;

/* "ready", "unreachable", "wrongpass" ...: static storage. */
TWS_API const char *tws_redis_state_word(tws_redis_state state);
/* Are live and past events delivered? True also of READONLY and OOM. */
TWS_API bool tws_redis_state_delivers(tws_redis_state state);

/* -- the session -- */

/* 0 = default, which stands last in each comment. */
typedef struct tws_redis_desc {
    const tws_allocator *allocator;
    const tws_redis_url *url;   /* needed; user, password and db are copied */
    uint8_t seed[16];           /* random: jitter, the probe's channel, the hash of the users */
    const char *task_key;       /* name of the member that names an event's task; not copied;
                                   "task_id" */
    uint32_t max_users;         /* who are wanted, or being unsubscribed; 131,072 */
    uint32_t max_event_bytes;   /* of JSON, 1 KiB to 64 MiB; a bigger event is dropped. Room for
                                   three of them, and load_bytes, is taken at once; 64 KiB */
    uint32_t load_events;       /* the newest that are read for a user's first reader; 256 */
    uint32_t load_bytes;        /* likewise, at most 64 MiB; 256 KiB */
    uint32_t retain_events;     /* kept in a user's stream when this session publishes; 1,000 */
    uint32_t retain_s;          /* likewise; 24 h */
    uint32_t max_publishes;     /* accepted and not yet answered by Redis; 4,096 */
    uint32_t max_publish_bytes; /* likewise; 8 MiB */
    uint32_t command_ms;        /* for any answer of Redis, then it counts as silent; 5 s */
    uint32_t probe_ms;          /* from one probe to the next; 3 s */
    uint32_t backoff_min_ms;    /* before a connection is tried again, at first; 50 ms */
    uint32_t backoff_max_ms;    /* and at most; 5 s */
} tws_redis_desc;

typedef struct tws_redis tws_redis;

/* For one thread at a time. It has no sockets: you make the connections and move the bytes. No call
 * blocks; the time is what tws_redis_tick was told last.
 * errors  TWS_ERR_MEMORY. */
TWS_API tws_status tws_redis_create(tws_redis **r, const tws_redis_desc *desc, uint64_t now_ms);
TWS_API void tws_redis_free(tws_redis *r); /* NULL is fine */

/* A user has readers now (tws_hub_upstream's join): subscribe and read the past; EVENTs, then
 * LOADED follow. Called again after tws_redis_drop, all of the past comes again: forget what you
 * have. Called again without that, what is new comes, then LOADED with id 0-0.
 * errors  TWS_ERR_ARGUMENT (user id), TWS_ERR_LIMIT (max_users), TWS_ERR_MEMORY. */
TWS_API tws_status tws_redis_want(tws_redis *r, tws_str user_id);
/* The user has none any more (leave): unsubscribe. */
TWS_API void tws_redis_drop(tws_redis *r, tws_str user_id);
/* The same for each of whom `has` says no, as after a drop that could not be noted. */
TWS_API void tws_redis_drop_others(tws_redis *r, bool (*has)(void *context, tws_str user_id),
                                   void *context);
/* You could not take an event, out of memory say, or want all of the past again (`again`): nothing
 * more of that user is given before LOST, then it comes. No LOADED follows: to hear where it ends,
 * call tws_redis_want behind this. Called again and again, it is done about once a second. */
TWS_API void tws_redis_reload(tws_redis *r, tws_str user_id, bool again);

#define TWS_REDIS_MAX_KEY 255 /* bytes of an idempotency key */

/* Publish an event. TWS_OK is accepted, not stored: STORED or FAILED follows, once, with ticket.
 *
 * json     one JSON text, copied; the caller has checked it.
 * key      idempotency key; empty for none.
 * errors   TWS_ERR_UNAVAILABLE (tws_redis_now says why), TWS_ERR_LIMIT (max_publishes, or their
 *          bytes), TWS_ERR_ARGUMENT (user id, json empty or above max_event_bytes, key too long),
 *          TWS_ERR_MEMORY. */
TWS_API tws_status tws_redis_publish(tws_redis *r, tws_str user_id, tws_str json, tws_str key,
                                     uint64_t ticket);

/* -- its connections --
 * Two, to the same address, since in RESP2 a subscribed one takes no other commands. */

typedef enum tws_redis_link { TWS_REDIS_COMMANDS, TWS_REDIS_SUBSCRIBER } tws_redis_link;
#define TWS_REDIS_LINKS 2

/* The number of the connection that there should be, 0 for none. Ask after other calls: whenever it
 * is not the number of the one you have, close that, without tws_redis_closed, and connect anew
 * unless it is 0. */
TWS_API uint32_t tws_redis_connection(const tws_redis *r, tws_redis_link link);
TWS_API void tws_redis_connected(tws_redis *r, tws_redis_link link); /* it has been made */
/* It could not be made, or has ended by itself. First take all events by tws_redis_next: the last
 * bytes may say why. why: a few words, copied. */
TWS_API void tws_redis_closed(tws_redis *r, tws_redis_link link, const char *why);

/* Bytes in: where they go (room for *room > 0), then how many came. Take all events before the next
 * tws_redis_input of any link. */
TWS_API char *tws_redis_input(tws_redis *r, tws_redis_link link, size_t *room);
TWS_API void tws_redis_received(tws_redis *r, tws_redis_link link, size_t n);

/* Bytes out: what to write now, then how many of these bytes were written. Ask after each other
 * call: commands are made here. */
TWS_API tws_str tws_redis_output(tws_redis *r, tws_redis_link link);
TWS_API void tws_redis_sent(tws_redis *r, tws_redis_link link, size_t n);

/* Time: monotonic milliseconds. Call it before the other calls of a turn of your loop, and when the
 * deadline has come. */
TWS_API void tws_redis_tick(tws_redis *r, uint64_t now_ms);
TWS_API uint64_t tws_redis_deadline(const tws_redis *r);

/* -- events out -- */

typedef enum tws_redis_event_type {
    TWS_REDIS_NONE,
    TWS_REDIS_EVENT,   /* user_id, id, json: an event, in rising order of id; 0-0: one without */
    TWS_REDIS_LOADED,  /* user_id, id: the past has been given; all events after this id were in
                          it. 0-0: what was new has been given, as a second want asked for */
    TWS_REDIS_LOST,    /* user_id, id: between what was given so far and what comes next events are
                          missing (trimmed, or Redis came back with other data). Forget this user's
                          events and ids, reset the readers; what comes is complete after this id.
                          again: it is nothing but the past that you want again */
    TWS_REDIS_STORED,  /* ticket, id */
    TWS_REDIS_FAILED,  /* user_id, ticket, state, reason, unknown */
    TWS_REDIS_DROPPED, /* user_id, id, reason: an event that cannot be given, or a stream that
                          cannot be read; log it */
    TWS_REDIS_STATE    /* state, reason: it has changed; log it */
} tws_redis_event_type;

/* Slices live until the next call on this session. */
typedef struct tws_redis_event {
    tws_redis_event_type type;
    tws_str user_id;
    tws_event_id id;
    tws_str json; /* one JSON text: a payload that is no JSON comes as a JSON string, with reason */
    tws_json_token task; /* its member task_key, as tws_json_member gives it */
    uint64_t ticket;
    tws_redis_state state;
    bool unknown;   /* FAILED: without an answer; it may be stored */
    bool again;     /* LOST: see there */
    tws_str reason; /* a few words: the rule, or what Redis said; no secret */
} tws_redis_event;

/* Call until NONE. */
TWS_API tws_redis_event_type tws_redis_next(tws_redis *r, tws_redis_event *ev);

/* -- asking -- */

/* The state now; its STATE event may still be to come. *reason, if reason is not NULL: why; it
 * lives until the next call on this session. */
TWS_API tws_redis_state tws_redis_now(const tws_redis *r, tws_str *reason);

typedef struct tws_redis_stats {
    uint64_t users;         /* now, those who are being unsubscribed included */
    uint64_t live;          /* of these: subscribed and loaded */
    uint64_t publishing;    /* now: accepted, not answered */
    uint64_t round_trip_ms; /* of the last probe's command */
    uint64_t events;        /* since the start: told */
    uint64_t repeats;       /* passed over, for they had been told */
    uint64_t dropped;       /* not told: empty, too big, without a field d; unreadable streams */
    uint64_t not_json;      /* not JSON: told as a JSON string, unless it was dropped */
    uint64_t lost;          /* how often a user's events were found to be gone */
    uint64_t loads;         /* reads of streams, page by page */
    uint64_t stored;        /* events of this session's that were stored */
    uint64_t failed;        /* and that were not, or may not have been */
    uint64_t connects;      /* connections made and ready */
    uint64_t failures;      /* connections lost, or not made */
} tws_redis_stats;
TWS_API void tws_redis_stat(const tws_redis *r, tws_redis_stats *out);
#endif /* TASKWS_NO_REDIS */

/* == 18. conn: one connection, HTTP to WebSocket to closing ============== RFC 9112, RFC 6455 == */

/* What all connections of a server share. Times in milliseconds, 0 = default, TWS_OFF = none. The
 * default stands last in each comment; tws_conn_defaults fills it in. */
typedef struct tws_conn_desc {
    const tws_allocator *allocator;
    uint32_t max_head_bytes;    /* 16 KiB */
    uint32_t max_body_bytes;    /* 64 KiB */
    uint32_t max_message_bytes; /* of a WebSocket message; 64 KiB */
    uint32_t max_frames;        /* in one message; 1,024 */
    uint32_t max_output_bytes;  /* while more waits for the socket, no input is taken; while more
                                   than 16 times this and than 256 KiB does, tws_conn_send refuses.
                                   Besides, a server lets the system hold this or 128 KiB; 1 KiB */
    uint32_t compress_bytes;    /* a message of at least that many bytes is sent compressed, if the
                                   client agreed to permessage-deflate and it gets shorter. TWS_OFF:
                                   it is agreed with nobody; 128 */
    uint32_t context_bytes;     /* for all compression contexts together; a new connection whose
                                   context does not fit is given none. TWS_OFF as 0: none at all */
    uint32_t context_bits;      /* the largest window of a context, 8..15; clients that are built on
                                   zlib want 9 at least; 12 */
    size_t *context_use;        /* yours, 0 at first: the bytes that contexts take now, counted here
                                   by all threads that share context_bytes. NULL: no contexts. A
                                   server has its own */
    uint32_t head_ms;           /* for a request head; 10 s */
    uint32_t body_ms;           /* for a request body; 10 s */
    uint32_t idle_ms;           /* between two requests of a connection; 75 s */
    uint32_t heartbeat_ms;      /* ping after that much silence; 25 s */
    uint32_t answer_ms;         /* no byte so long after a ping: TWS_CONN_TIMEOUT; 10 s */
    uint32_t stall_ms;          /* output waits and nothing is taken: TWS_CONN_TIMEOUT; 30 s */
    uint32_t close_ms;          /* for the close handshake, and again for the drain; 5 s */
} tws_conn_desc;

/* Fill in the defaults. Call it before desc is given to tws_conn_init, which knows none. */
TWS_API void tws_conn_defaults(tws_conn_desc *desc);

/* How to keep and give back what is offered: see tws_conn_lend. */
typedef struct tws_lender {
    void (*hold)(void *object);
    void (*release)(void *object);
} tws_lender;

/* The working memory of one turn, shared by all connections of a thread: nothing in it outlives
 * tws_conn_end. Output is gathered here, and written from here, without a copy where it can be.
 * 72 KB: not for a stack. Zero it before its first turn, tws_turn_free it after its last. Your own:
 * full, request and, to read, now_ms. */
#define TWS_TURN_SLICES 128
#define TWS_TURN_UNITS 64
#define TWS_TURN_SCRATCH 65536
#define TWS_TURN_HELD 8
typedef struct tws_turn {
    uint64_t now_ms;
    uint8_t *input; /* not yet taken */
    size_t input_len;
    tws_str out[TWS_TURN_SLICES];
    size_t out_count;
    size_t out_bytes;
    size_t sent_bytes;
    size_t unit_start[TWS_TURN_UNITS]; /* offsets in the output of what was offered */
    const tws_lender *unit_lender[TWS_TURN_UNITS];
    void *unit_object[TWS_TURN_UNITS];
    size_t unit_count;
    size_t unit_fixed; /* these have other output behind them: they are kept, sent or not */
    size_t unit_done;
    bool full;         /* output is in the way of input: write it, then call tws_conn_next again */
    void *held[TWS_TURN_HELD]; /* blocks of collected messages that have been handed out */
    uint32_t held_cap[TWS_TURN_HELD];
    size_t held_count;
    uint8_t *message;     /* the last one handed out where it came, if it can be sent from there */
    uint8_t *message_end; /* where the last one that was handed out so ends; NULL: none was */
    size_t work; /* frames taken, and requests, which count for more */
    size_t scratch_len;
    struct tws__packer *packer; /* 240 KiB, once a message was compressed, here or by its client */
    tws_http_request request;
    bool known; /* the request is of this turn's connection, else of any */
    uint8_t scratch[TWS_TURN_SCRATCH];
} tws_turn;

TWS_API void tws_turn_free(tws_turn *t, const tws_allocator *allocator);
/* Compress a message without reference to earlier ones. window_bits: 8..15.
 * returns  its bytes, fewer than there were, which live until the next call; empty: it gets no
 *          shorter, or there is no memory, or TASKWS_NO_DEFLATE. */
TWS_API tws_str tws_turn_compress(tws_turn *t, const tws_allocator *allocator, unsigned window_bits,
                                  tws_str message);

typedef enum tws_conn_event_type {
    TWS_CONN_NONE,        /* nothing more in this turn */
    TWS_CONN_REQUEST,     /* turn->request, body included, until the turn ends: respond, stream or
                             accept, now or in a later turn */
    TWS_CONN_BAD_REQUEST, /* status and reason: respond with them, then the connection closes.
                             With 413 turn->request is its head; else it is of no use */
    TWS_CONN_MESSAGE,     /* opcode, payload, len: a whole message, which lives until the next call
                             of next, sent or end; if sent as borrowed, until it has gone out */
    TWS_CONN_CLOSED,      /* WebSocket or stream is over; told once: code (1006 without a close
                             frame); payload, len: the peer's reason; reason: the rule it broke */
    TWS_CONN_HEARTBEAT,   /* a stream has been silent: write something */
    TWS_CONN_TIMEOUT      /* timeout says which: close with a code of your choice */
} tws_conn_event_type;

typedef enum tws_conn_timeout {
    TWS_TIMEOUT_HEARTBEAT, /* no answer to a ping */
    TWS_TIMEOUT_STALL      /* the peer takes no output */
} tws_conn_timeout;

typedef struct tws_conn_event {
    tws_conn_event_type type;
    int status;
    const char *reason;
    tws_ws_opcode opcode;
    uint8_t *payload;
    size_t len;
    uint16_t code;
    bool by_peer; /* CLOSED: the peer began it */
    tws_conn_timeout timeout;
} tws_conn_event;

/* Bytes that wait, behind these counts: a connection at rest pays for a pointer. */
typedef struct tws_conn_kept {
    uint32_t pos, len, cap; /* bytes [pos, len) wait; there is room for cap */
    uint32_t lent_at;       /* where what is lent stands among them, and counts as they do */
    tws_str lent;
    const tws_lender *lender;
    void *object;
} tws_conn_kept;

/* One connection. Its members are its own. */
typedef struct tws_conn {
    const tws_conn_desc *desc;
    union {
        struct {
            size_t scanned;
            size_t need; /* bytes of head and body; 0: not known yet */
            uint32_t head_bytes;
            uint32_t body_bytes;
            tws_http_chunks chunks;
        } http;
        tws_ws_decoder ws;
    } u;
    tws_conn_kept *in;  /* input left incomplete; NULL at rest */
    tws_conn_kept *out; /* output that the socket did not take; NULL at rest */
    tws_conn_kept *message; /* left incomplete; NULL at rest */
    struct tws__context *context; /* what messages refer to; NULL: no earlier ones */
    uint16_t close_code; /* 0: neither a WebSocket nor a stream, or it goes on */
    uint8_t flags;
    uint8_t state;
    uint64_t since_ms;    /* this state began; of an open WebSocket: the peer was last heard, or the
                             ping was sent that waits for an answer; of a stream: its last sign */
    uint64_t progress_ms; /* waiting output was last taken, or began to wait */
} tws_conn;

/* A server's connection that was just accepted. desc is not copied. now_ms, here and below:
 * monotonic milliseconds. */
TWS_API void tws_conn_init(tws_conn *c, const tws_conn_desc *desc, uint64_t now_ms);
TWS_API void tws_conn_free(tws_conn *c);

/* A turn is: begin; feed, eof or tick as there is cause; next until NONE; output and sent (and,
 * when turn->full and all was sent, next again); end. So also to write what waits, or to send or
 * answer something of your own, behind begin, or behind NONE with next until NONE once more: input
 * may have been held back for that. Memory that runs out ends the connection (tws_conn_done), never
 * the program. What end has ended so, another next tells as CLOSED.
 *
 * In a loop of your own, when the socket is as wants_input or wants_output asks or a deadline has
 * come:
 *     tws_conn_begin(c, t, now_ms);
 *     // a readable socket: feed, at its end eof, when it was reset abort
 *     do {
 *         while (tws_conn_next(c, t, &ev) != TWS_CONN_NONE ||
 *                tws_conn_tick(c, t, &ev) != TWS_CONN_NONE) {
 *             // your answer to ev
 *         }
 *         all = write_output(c, t); // what output gives; tell sent; true if the socket took all
 *     } while (all && t->full);
 *     n = tws_conn_end(c, t);
 *     if (tws_conn_wants_shut(c)) {
 *         shutdown(fd, SHUT_WR);
 *         tws_conn_shut(c, now_ms);
 *     }
 *     if (tws_conn_done(c)) { // also without CLOSED, where writing failed
 *         tws_conn_free(c);
 *         close(fd);
 *     }
 *
 * A reader of a hub (section 16) that has begun gathers before end, if all was sent: it offers each
 * event's wire bytes, as long as they are taken, writes once more, advances by the n of end, and
 * then gives the batch back. It has such turns also when tws_hub_news names it, and when n was all
 * that it had offered and there are more. Detach it at CLOSED, and of a connection that is done. */
TWS_API void tws_conn_begin(tws_conn *c, tws_turn *t, uint64_t now_ms);
/* Bytes in, once a turn; data is changed in place and must live until tws_conn_end. */
TWS_API void tws_conn_feed(tws_conn *c, tws_turn *t, uint8_t *data, size_t len);
/* The peer has ended its sending side. Called a second time: the connection ends at once. */
TWS_API void tws_conn_eof(tws_conn *c);
/* Events out. */
TWS_API tws_conn_event_type tws_conn_next(tws_conn *c, tws_turn *t, tws_conn_event *ev);
/* Time: what is due now? Pings are sent here. One event a call; NONE when nothing is due. */
TWS_API tws_conn_event_type tws_conn_tick(tws_conn *c, tws_turn *t, tws_conn_event *ev);
/* When tick wants to be called next; UINT64_MAX: never. It moves later as bytes come, so ask again
 * when the time has come. */
TWS_API uint64_t tws_conn_deadline(const tws_conn *c);
/* Bytes out: slices to write, in order, max of them at most. Returns their number. */
TWS_API size_t tws_conn_output(const tws_conn *c, const tws_turn *t, tws_str *slices, size_t max);
/* The first n of those bytes have been written: output goes on behind them. */
TWS_API void tws_conn_sent(tws_conn *c, tws_turn *t, size_t n);
/* Between two turns: the last len bytes that were told as sent have not been written after all, and
 * are output again. data is copied. So a host may tell first and write for many connections one
 * after another, if it does nothing else with one between the two. */
TWS_API void tws_conn_unsent(tws_conn *c, uint64_t now_ms, const void *data, size_t len);
/* Ends the turn. What was not sent is kept (copied), except offered units that have not begun.
 * returns  how many of the offered units were sent or kept; the others are yours to offer again. */
TWS_API size_t tws_conn_end(tws_conn *c, tws_turn *t);

/* Is it worth reading the socket? False while a request waits for its answer, or too much output
 * waits, or input that was held back for that. */
TWS_API bool tws_conn_wants_input(const tws_conn *c);
TWS_API bool tws_conn_wants_output(const tws_conn *c); /* output waits for the socket */
/* Behind tws_conn_end: all has been written: end the socket's sending side, call tws_conn_shut. */
TWS_API bool tws_conn_wants_shut(const tws_conn *c);
TWS_API void tws_conn_shut(tws_conn *c, uint64_t now_ms);
/* The socket may be closed. */
TWS_API bool tws_conn_done(const tws_conn *c);
/* Done at once: the peer has reset, or there is no memory. */
TWS_API void tws_conn_abort(tws_conn *c);

/* Answer the request; ignored when none waits. head: further field lines, each with its CRLF, or
 * NULL; content_type: 256 bytes at most, or NULL. All is copied. Content-Length and Connection are
 * added; the connection stays open as the request wants it, unless `close`. */
TWS_API void tws_conn_respond(tws_conn *c, tws_turn *t, int status, const char *head,
                              const char *content_type, tws_str body, bool close);
/* Answer with a stream without an end (no Content-Length: the connection's end is its end). Write
 * to it by tws_conn_put, end it by tws_conn_close. */
TWS_API void tws_conn_stream(tws_conn *c, tws_turn *t, int status, const char *head,
                             const char *content_type);
/* Answer 101, after tws_ws_check gave 101 and key, which in a later turn is a copy of yours.
 * protocol: the subprotocol selected, 100 bytes at most, empty for none. terms: of
 * tws_ws_check_extensions; NULL: no compression. */
TWS_API void tws_conn_accept(tws_conn *c, tws_turn *t, tws_str key, tws_str protocol,
                             const tws_ws_compression *terms);
/* Have an open WebSocket's messages be so many bytes at most, or max_message_bytes if that is less;
 * 0: that again. One that has begun uncompressed may become as long as its frames so far say. */
TWS_API void tws_conn_limit(tws_conn *c, uint32_t bytes);
/* Send a message. opcode: TWS_WS_TEXT or TWS_WS_BINARY. borrowed: payload lives until it has gone
 * out or tws_conn_end (the last one received does), else it is copied. False when it was not taken:
 * no open WebSocket, too much is waiting already (see max_output_bytes), or no memory, which has
 * ended the connection. */
TWS_API bool tws_conn_send(tws_conn *c, tws_turn *t, tws_ws_opcode opcode, const void *payload,
                           size_t len, bool borrowed);
/* Send bytes as they are, into a stream. borrowed and false as above. */
TWS_API bool tws_conn_put(tws_conn *c, tws_turn *t, const void *data, size_t len, bool borrowed);
/* Can whole frames be offered now: open, nothing kept from earlier turns, room in this one? */
TWS_API bool tws_conn_offers(const tws_conn *c, const tws_turn *t);
/* Offer a unit of wire bytes, whole frames, which must live until tws_conn_end; what happens to one
 * that has not begun by then is said there. False when it cannot be offered now. */
TWS_API bool tws_conn_offer(tws_conn *c, tws_turn *t, const tws_str *slices, size_t count);
/* The bytes of the last offer live as long as object is held. If the socket takes only a part of
 * them, the rest is not copied: object is held, and released on this thread once it has gone out.
 * So an event may stay in memory beyond the hub's caps, one for each slow connection. */
TWS_API void tws_conn_lend(tws_turn *t, const tws_lender *lender, void *object);
/* Begin the closing handshake; or end a stream; or end a connection, whose request then gets no
 * answer. What waits is sent first.
 * code    1005: none. One that may not be sent (tws_ws_code_valid), such as 1006, is sent as 1011.
 * reason  UTF-8, cut at 123 bytes. */
TWS_API void tws_conn_close(tws_conn *c, tws_turn *t, uint16_t code, tws_str reason);
/* Is it a WebSocket or stream that may be written to? */
TWS_API bool tws_conn_open(const tws_conn *c);
/* The window of what may be sent compressed, 8 to 15 bits; 0: nothing may. */
TWS_API unsigned tws_conn_window_bits(const tws_conn *c);
/* Is it HTTP, with no request being read or answered? */
TWS_API bool tws_conn_idle(const tws_conn *c);
/* Does a request wait for its answer? */
TWS_API bool tws_conn_waits(const tws_conn *c);
/* Will its deadline bring no more than a ping, or a stream's sign of life? Else what has come by
 * then is to be read before tick: it came in time, if it was this program that stood still. */
TWS_API bool tws_conn_pings_next(const tws_conn *c);
/* Does it behave as served clients do: a WebSocket between two frames, a stream, or HTTP after a
 * first request? Not one that is new, amid a frame, or closing. (A server serves these first.) */
TWS_API bool tws_conn_steady(const tws_conn *c);

#ifndef TASKWS_NO_SERVER
/* ======================================================================================== */
/*                      IV. I/O: the only part that includes a socket header                 */
/* ======================================================================================== */

/* == 19. sys: sockets, clock, entropy ==================================================== */

TWS_API uint64_t tws_sys_now_us(void);  /* monotonic */
TWS_API uint64_t tws_sys_now_ms(void);  /* monotonic */
TWS_API uint64_t tws_sys_wall_ms(void); /* Unix time */
/* n bytes of the system's entropy. False when there is none (then do not start). */
TWS_API bool tws_sys_random(void *out, size_t n);
TWS_API uint64_t tws_sys_open_files(void);      /* at least so many are open; 0: unknown */
TWS_API uint64_t tws_sys_max_files(void);       /* the soft limit; 1,024 where there is none */
TWS_API uint64_t tws_sys_resident_bytes(void);  /* 0: unknown */

/* == 20. loop: readiness backends, timers, wake-up from other threads ==================== */

#define TWS_READ 1u
#define TWS_WRITE 2u

/* A descriptor in a loop; embedded in its owner, zeroed. tws_loop_wait tells of it, or if it is
 * "behind", since it is not to delay others, tws_loop_behind, a few at a time. Only one that has
 * been added may be changed or removed. */
typedef struct tws_watch {
    int fd;          /* -1: removed; pass over an event that still names it */
    uint32_t slot;   /* the backend's */
    uint8_t want;    /* TWS_READ | TWS_WRITE */
    uint8_t kind;    /* the owner's, for any use */
    bool behind;     /* may be set before tws_loop_add; after it by tws_loop_move */
} tws_watch;

/* A deadline in a loop; embedded in its owner, zeroed. */
typedef struct tws_timer {
    struct tws_timer *next;
    struct tws_timer **link; /* NULL: not set */
    uint64_t at_ms;
} tws_timer;

typedef struct tws_loop tws_loop;

typedef struct tws_ready {
    tws_watch *watch;
    unsigned events; /* TWS_READ, TWS_WRITE; an error or hang-up is both */
} tws_ready;
#define TWS_LOOP_READY 512

/* For one thread, except tws_loop_wake. NULL without memory or descriptors. */
TWS_API tws_loop *tws_loop_create(const tws_allocator *a);
TWS_API void tws_loop_free(tws_loop *l); /* NULL is fine */
/* "epoll" or "poll". */
TWS_API const char *tws_loop_backend(void);
/* Level-triggered. errors  TWS_ERR_SYSTEM: errno says why; with poll(2) there was no memory. */
TWS_API tws_status tws_loop_add(tws_loop *l, tws_watch *w, int fd, unsigned want);
/* An error or hang-up is told also with 0: remove it, to hear nothing. */
TWS_API void tws_loop_want(tws_loop *l, tws_watch *w, unsigned want);
TWS_API void tws_loop_remove(tws_loop *l, tws_watch *w); /* w->fd is -1 then; it is not closed */
/* Put it behind, or in front again. Without memory it stays where it is. */
TWS_API void tws_loop_move(tws_loop *l, tws_watch *w, bool behind);
/* Wait for readiness, the next timer, a wake-up, or timeout_ms (-1: no limit).
 * returns  how many of ready[TWS_LOOP_READY] are filled, by watches in front;
 *          *now_ms is the time after the wait. */
TWS_API size_t tws_loop_wait(tws_loop *l, int timeout_ms, tws_ready *ready, uint64_t *now_ms);
/* Watches behind that are ready, those first that have waited longest: at most `most`, and
 * TWS_LOOP_READY. Call it again for more. None if tws_loop_crowded says no. */
TWS_API size_t tws_loop_behind(tws_loop *l, tws_ready *ready, size_t most);
/* Has the last tws_loop_wait seen that one behind is ready? */
TWS_API bool tws_loop_crowded(const tws_loop *l);
/* From any thread or signal handler: end the wait, or the next one. Wake-ups fold together. */
TWS_API void tws_loop_wake(tws_loop *l);
/* One descriptor that is readable when a descriptor is ready or a wake-up came, but not when a
 * timer is due (see tws_loop_timeout). -1 with poll(2). */
TWS_API int tws_loop_fd(const tws_loop *l);
/* Milliseconds until the next timer, perhaps less (a timer that was cleared or moved may still
 * count). -1 without one. */
TWS_API int tws_loop_timeout(const tws_loop *l, uint64_t now_ms);
/* Set, move or (UINT64_MAX) clear; monotonic. Late by up to TWS_TIMER_STEP_MS, never early. */
#define TWS_TIMER_STEP_MS 16
TWS_API void tws_timer_set(tws_loop *l, tws_timer *t, uint64_t at_ms);
/* The next timer that is due, cleared; NULL when there is none. */
TWS_API tws_timer *tws_timer_due(tws_loop *l, uint64_t now_ms);

/* == 21. server: listeners, threads, limits, drain; your routes ========================== */

typedef struct tws_server tws_server;
/* One connection as its handlers see it: on its own thread, during a callback that is given it. */
typedef struct tws_peer tws_peer;
/* The same connection for anybody at any time. The number comes again for another connection only
 * after 16,777,215 others have had the same place. */
typedef uint64_t tws_peer_id;

/* What a WebSocket or a stream does; any may be NULL. None may block: its thread serves others. */
typedef struct tws_peer_ops {
    /* A whole message, text being valid UTF-8. payload lives during the callback and may be changed
     * and be sent by tws_peer_send_borrowed. */
    void (*on_message)(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len);
    /* Once, whatever the reason; p takes no output any more. Free its tws_peer_data here. code:
     * 1006 without a close frame. */
    void (*on_close)(tws_peer *p, uint16_t code, tws_str reason);
    /* Output can be offered: tws_peer_offer. Called once a turn at most, after tws_peer_pull or
     * when the socket has taken what waited. What is offered is compressed once for all who read
     * it, so a WebSocket with this hook is given no context: see limits.context_bytes. */
    void (*on_output)(tws_peer *p);
    /* At the end of each turn of p: the first n units offered in it were sent or kept, the others
     * are yours to offer again. Send and close nothing here: call tws_peer_pull_later. */
    void (*on_taken)(tws_peer *p, size_t n);
    /* The time of tws_peer_set_timer has come. */
    void (*on_timer)(tws_peer *p);
    /* A deadline has passed, the server drains, or this connection is beyond a limit: say so in
     * your protocol and call tws_peer_close. NULL: closed with code and message. word: an error
     * code such as "draining". Also for a request that waits, after tws_peer_set, once a drain is
     * over: answer it; again and again until then. */
    void (*on_leave)(tws_peer *p, uint16_t code, const char *word, const char *message);
} tws_peer_ops;

typedef struct tws_route {
    const char *method;  /* "GET", "POST", ... */
    const char *pattern; /* "/tasks/{user_id}" */
    /* Answer by tws_peer_respond, _stream or _accept, now or later (_respond and _stream, from
     * tws_server_post), or give up by tws_peer_close. The connection waits for it, with no deadline
     * but yours. request lives during the callback. */
    void (*on_request)(tws_peer *p, const tws_http_request *request, void *context);
    /* Instead of on_request: a WebSocket endpoint. Every proper handshake is accepted: no token, no
     * Origin, no subprotocol and no {parameter} is looked at. For these take on_request and
     * tws_peer_accept. */
    const tws_peer_ops *websocket;
    void *context; /* of on_request; the first tws_peer_data of a websocket */
} tws_route;

typedef struct tws_server_desc {
    const char *host;         /* NULL: "127.0.0.1"; "::" for all of both families */
    int port;                 /* 0: 8000; TWS_PORT_ANY: a free one */
    const char *unix_path;    /* instead of host and port; a stale socket there is replaced */
    uint32_t threads;         /* 0: 1; at most 256, with TASKWS_NO_THREADS 1 */
    uint32_t max_connections; /* at most, and with 0: the limit of open files, less 64 and 5 a
                                 thread, and not fewer than these. 32 more are accepted to be
                                 told: see tws_peer_overload */
    uint32_t max_per_ip;      /* 0: off. While an address has more, of IPv6 its /64, a websocket
                                 route closes with 4429, and on_request is to ask
                                 tws_peer_overload; beyond twice as many and one are closed at
                                 once. With trust_proxy an idle connection counts for nobody */
    uint32_t receive_bytes;   /* of one read, and of memory a thread; 0: 64 KiB */
    uint32_t drain_ms;        /* over which a stop spreads its closes; 0: 10 s; TWS_OFF: at once.
                                 After twice limits.close_ms more whoever is left is cut off */
    bool trust_proxy;         /* the client's address is the last of X-Forwarded-For */
    tws_conn_desc limits;     /* allocator and context_use are ignored: the server's are taken */
    const tws_allocator *allocator;
    void *context;            /* of the hooks below */
    /* At the end of every turn of every thread, and besides amid one in which some connections wait
     * behind others; also after tws_server_wake. Small output of those it pulls is gathered, and
     * sent when there is much of it, or it returns: do what takes long before you pull. */
    void (*on_turn)(void *context, unsigned thread);
    /* About once a second, on thread 0. */
    void (*on_second)(void *context, uint64_t wall_ms);
    /* On thread 0, when the server drains and no connection is left: is there other work that the
     * end has to wait for? NULL: no. After false it is not asked again; nor once those who were
     * left have been cut off, or after a second stop. */
    bool (*is_busy)(void *context);
    /* Field lines for the server's own 404, 405 and 413, as pages of other origins need to read
     * them: whole ones, TWS_MAX_HEAD_LINES - 300 bytes at most. On any of its threads; with 413
     * request has no body. */
    void (*error_head)(void *context, const tws_http_request *request, tws_buf *lines);
} tws_server_desc;

#define TWS_PORT_ANY (-1)

/* What the server has counted, summed over its threads. */
typedef struct tws_server_stats {
    tws_counter accepted, closed;       /* connections */
    tws_counter refused;                /* requests malformed, too big or late; bad handshakes */
    tws_counter requests;               /* well-formed ones, also with a bad handshake */
    tws_counter upgrades, streams;      /* of these, became WebSockets, or streams */
    tws_counter messages_in;            /* of WebSockets */
    tws_counter messages_out;           /* likewise, and units offered, to streams too */
    tws_counter bytes_in, bytes_out;    /* of clients' sockets */
    tws_counter timeouts;               /* long silent after a ping, or took nothing */
    tws_counter protocol_errors;        /* WebSockets closed for a rule they broke */
    tws_counter connections;            /* now */
    tws_counter websockets_open;        /* now, streams included */
} tws_server_stats;

/* desc's strings are not copied: they must live as long as the server.
 * errors  TWS_ERR_MEMORY; TWS_ERR_SYSTEM (no entropy, no descriptors for a loop): errno says it. */
TWS_API tws_status tws_server_create(tws_server **server, const tws_server_desc *desc);
/* Before run or step; with on_request or websocket, which must live as long as the server; the rest
 * is copied. error: gets a sentence; may be NULL. Errors as tws_router_add; TWS_ERR_ARGUMENT also
 * for a route with neither or both. */
TWS_API tws_status tws_server_route(tws_server *s, const tws_route *route, tws_buf *error);
/* Bind and listen, once. error: a sentence that says what to do; may be NULL. */
TWS_API tws_status tws_server_listen(tws_server *s, tws_buf *error);
TWS_API int tws_server_port(const tws_server *s); /* after listen; 0 with unix_path */
/* Serve on all threads, the caller's among them, until tws_server_stop; returns when drained.
 * errors  TWS_ERR_MEMORY; TWS_ERR_SYSTEM: a thread could not be started, and those that were have
 *         been drained. */
TWS_API tws_status tws_server_run(tws_server *s);
/* Or drive it from a loop of your own (threads = 1): one turn, waiting at most timeout_ms. -1, here
 * and in tws_server_timeout: no limit.
 * returns  TWS_OK, TWS_ERR_CLOSED once drained. */
TWS_API tws_status tws_server_step(tws_server *s, int timeout_ms);
/* The descriptor to wait on for tws_server_step (see tws_loop_fd), and how many ms at most: ask
 * before each wait. */
TWS_API int tws_server_fd(const tws_server *s);
TWS_API int tws_server_timeout(const tws_server *s);
/* Drain, then end. A second call ends at once. From any thread and from a signal handler. */
TWS_API void tws_server_stop(tws_server *s);
TWS_API bool tws_server_draining(const tws_server *s); /* from any thread */
/* After run has returned, or step TWS_ERR_CLOSED, or before either. NULL is fine. */
TWS_API void tws_server_free(tws_server *s);
TWS_API const tws_router *tws_server_router(const tws_server *s);
TWS_API void *tws_server_context(const tws_server *s); /* desc.context */
TWS_API uint32_t tws_server_max_connections(const tws_server *s);
TWS_API void tws_server_stat(const tws_server *s, tws_server_stats *out); /* from any thread */
/* From any thread: have a thread's on_turn called soon. */
TWS_API void tws_server_wake(tws_server *s, unsigned thread);
/* From any thread: have fn called once with that connection, as a callback of it; p is NULL when it
 * is gone, at the latest in tws_server_free.
 * errors  TWS_ERR_MEMORY, TWS_ERR_ARGUMENT (no id of this server's, as far as its thread's number
 *         tells): fn is not called. */
TWS_API tws_status tws_server_post(tws_server *s, tws_peer_id id,
                                   void (*fn)(tws_peer *p, void *arg), void *arg);

/* A descriptor and a deadline of yours in a thread's loop; embedded in its owner, zeroed except
 * on_ready and context, which are yours to set. Used on that thread only, or before it runs. */
typedef struct tws_guest {
    tws_watch watch;
    tws_timer timer;
    /* events: TWS_READ, TWS_WRITE; 0 when the deadline has come. */
    void (*on_ready)(struct tws_guest *g, unsigned events);
    void *context;
    tws_loop *loop;
    struct tws_guest *next;
} tws_guest;
/* Add g to a thread's loop, once. It must live as long as the server. */
TWS_API void tws_server_guest(tws_server *s, unsigned thread, tws_guest *g);
/* Watch fd from now on, instead of what was watched before; -1: nothing. fd stays yours to close,
 * and is best non-blocking: an event of the one before may still come in this turn. Errors as
 * tws_loop_add. */
TWS_API tws_status tws_guest_watch(tws_guest *g, int fd, unsigned want);
TWS_API void tws_guest_want(tws_guest *g, unsigned want);
/* Monotonic milliseconds; UINT64_MAX: none. */
TWS_API void tws_guest_alarm(tws_guest *g, uint64_t at_ms);

/* -- on a connection, inside its callbacks -- */

TWS_API tws_server *tws_peer_server(const tws_peer *p);
TWS_API tws_peer_id tws_peer_id_of(const tws_peer *p);
TWS_API unsigned tws_peer_thread(const tws_peer *p);
TWS_API void *tws_peer_data(const tws_peer *p); /* NULL after on_close */
/* The same if these are its ops, else NULL; p may be NULL. For posted calls: the connection may
 * have gone on to another request meanwhile, and its data be somebody else's. */
TWS_API void *tws_peer_data_of(const tws_peer *p, const tws_peer_ops *ops);
/* Set ops and data; also for a request that will be answered later, to hear of its on_close. They
 * stand until they are set anew: with such an answer set NULL and NULL, and no timer. */
TWS_API void tws_peer_set(tws_peer *p, const tws_peer_ops *ops, void *data);
/* In on_request: the n-th {parameter} of the route, from 0, not decoded. */
TWS_API tws_str tws_peer_param(const tws_peer *p, size_t n);
/* The address as text, "unix" on a Unix socket. With trust_proxy the client's, but in on_request
 * only: at other times it is the proxy's. Returns out. */
TWS_API const char *tws_peer_address(const tws_peer *p, char out[64]);
/* Does it come from loopback, over TCP and without X-Forwarded-For, Forwarded or Via? */
TWS_API bool tws_peer_is_local(const tws_peer *p, const tws_http_request *request);
/* NULL, or what it is beyond: "overloaded" (max_connections: refuse by 503 or 1013) or
 * "too_many_connections" (max_per_ip: 429 or 4429). */
TWS_API const char *tws_peer_overload(const tws_peer *p);
/* As tws_conn_respond, with a Date.
 * head  TWS_MAX_HEAD_LINES bytes at most, here and below; with tws_peer_respond_error 100 less. */
#define TWS_MAX_HEAD_LINES 900
TWS_API void tws_peer_respond(tws_peer *p, int status, const char *head, const char *content_type,
                              tws_str body);
/* {"error":{"code":word,"message":message}}, with WWW-Authenticate for 401, Upgrade for 426 and
 * Retry-After for 429 and 503. Both together 450 bytes at most, escaped. */
TWS_API void tws_peer_respond_error(tws_peer *p, int status, const char *head, const char *word,
                                    const char *message);
/* Answer 200 with a stream: tws_peer_put writes to it, tws_peer_close ends it. Into one of
 * text/event-stream a comment is written after each limits.heartbeat_ms of silence; of another a
 * client that has vanished is not noticed before you write. */
TWS_API void tws_peer_stream(tws_peer *p, const char *head, const char *content_type,
                             const tws_peer_ops *ops, void *data);
/* Answer 101, or 400 or 426 if the handshake is not proper (then false, and no callback of ops is
 * called). protocol: selected if the client offers it; NULL for none. In on_request only. */
TWS_API bool tws_peer_accept(tws_peer *p, const tws_http_request *request, const char *protocol,
                             const tws_peer_ops *ops, void *data);
/* Send a message, TWS_WS_TEXT or TWS_WS_BINARY, which is copied, or which as borrowed lives until
 * p's turn ends (in on_message its payload does, but not those before it; and what is static).
 * False: not taken, see tws_conn_send. */
TWS_API bool tws_peer_send(tws_peer *p, tws_ws_opcode opcode, const void *payload, size_t len);
TWS_API bool tws_peer_send_borrowed(tws_peer *p, tws_ws_opcode opcode, const void *payload,
                                    size_t len);
TWS_API bool tws_peer_put(tws_peer *p, const void *data, size_t len); /* into a stream; copied */
/* In on_output: offer a unit of output, see tws_conn_offer; on_taken tells what became of it. */
TWS_API bool tws_peer_offer(tws_peer *p, const tws_str *slices, size_t count);
/* The bytes of the last offer live as long as the object is held: see tws_conn_lend. */
TWS_API void tws_peer_lend(tws_peer *p, const tws_lender *lender, void *object);
/* Did the client agree to compression, and is len between limits.compress_bytes and its window? */
TWS_API bool tws_peer_compresses(const tws_peer *p, size_t len);
/* The message compressed (its frame needs TWS_WS_RSV1), or empty: see tws_turn_compress. */
TWS_API tws_str tws_peer_compress(tws_peer *p, tws_str message);
/* Have on_output called: in a callback of p within its turn, in on_turn or on_ready at once. In
 * another connection's callback take tws_peer_pull_later. */
TWS_API void tws_peer_pull(tws_peer *p);
/* Have on_output called in the next turn. */
TWS_API void tws_peer_pull_later(tws_peer *p);
/* As tws_conn_close. reason may be NULL. */
TWS_API void tws_peer_close(tws_peer *p, uint16_t code, const char *reason);
/* As tws_conn_limit: messages are to be short for a while, say until it has shown who it is. */
TWS_API void tws_peer_limit(tws_peer *p, uint32_t bytes);
/* When on_timer is called, once; monotonic milliseconds (tws_sys_now_ms); UINT64_MAX: never. */
TWS_API void tws_peer_set_timer(tws_peer *p, uint64_t at_ms);

#ifndef TASKWS_NO_JWT
/* == 22. task_server: tasks, status, health, metrics ===================================== */

typedef struct tws_task_server tws_task_server;

/* A host's own rule: may `who` do that with that user's tasks? Called on the server's threads, on
 * several at once: it must not block. What it is given lives during the call. Asked once for each
 * token, action and user on a thread while the cache there has the token; also for a new token of
 * an open connection: a no ends that, and with TWS_LATER the old token holds until the yes to the
 * last one. */
typedef struct tws_authorize {
    const tws_identity *who;
    tws_auth_action action; /* READ, PUBLISH */
    tws_str user_id;
    uint64_t ticket; /* for tws_task_server_answer, after TWS_LATER; never 0 */
} tws_authorize;

/* DENY: forbidden_user. LATER: answer within 30 s, else the client is told `internal`. */
typedef enum tws_verdict { TWS_DENY, TWS_ALLOW, TWS_LATER } tws_verdict;

/* Zero everywhere is the default, except that a key is needed. Strings must live as long as the
 * server. Times and limits: 0 = default (the table in the top comment), TWS_OFF = none. */
typedef struct tws_task_server_desc {
    const char *host;      /* NULL: "127.0.0.1"; "::" for all of both families */
    int port;              /* 0: 8000; TWS_PORT_ANY: a free one */
    const char *unix_path; /* instead of host and port */
    uint32_t threads;      /* 0: 1; at most 256, with TASKWS_NO_THREADS 1 */
    const char *prefix;    /* of /tasks/{user_id} and /status; NULL: "/api/v1/ws" */

    const char *jwt_secret;    /* NUL-terminated; one key, for tokens with any kid or none */
    const tws_auth_key *keys;  /* any number of keys by kid; then jwt_secret is ignored */
    size_t key_count;
    bool allow_short_secret;   /* under 32 bytes */
    tws_jwt_policy token;      /* issuer, audience, leeway: section 11 */
    const char *token_cookie;  /* a cookie's name; NULL: cookies are not read */
    const char *origins;       /* comma-separated; "*" any. NULL: any, since a page must hold a
                                  token; but with token_cookie the same origin only. A cookie
                                  counts for the same origin; for others if neither "*" nor "null"
                                  is among them */
    tws_verdict (*authorize)(void *context, const tws_authorize *question); /* NULL: as scopes say,
                                  see tws_auth_judge */
    void *context;             /* of authorize */

    const char *redis_url; /* NULL: in memory */
    bool raw_format;       /* ?format=raw is the default */
    bool trust_proxy;      /* X-Forwarded-For is a trusted proxy's */

    uint32_t max_connections;    /* at most, and with 0: as open files allow; section 21 */
    uint32_t max_per_user;       /* readers of one user; 0: 64 */
    uint32_t max_per_ip;         /* connections of one address; 0: any number */
    uint32_t max_event_bytes;    /* of one event's JSON, retain_bytes at most; 0: 64 KiB */
    uint32_t max_body_bytes;     /* of one POST; 0: limits.max_body_bytes, which is 64 KiB */
    uint32_t retain_events;      /* kept of one user, 2^24 at most; 0: 256, with Redis 1,100 */
    uint32_t retain_bytes;       /* likewise; 0: 256 KiB, with Redis 1 MiB */
    uint32_t retain_s;           /* since a user's last event; 0: an hour, with Redis 24 hours */
    uint64_t retain_total_bytes; /* kept of all users; 0: 64 MiB */
    const char *task_key;        /* the member of an event that names its task; NULL: "task_id" */
    uint32_t receive_bytes;      /* of one read, and of memory a thread; 0: 64 KiB */
    uint32_t auth_ms;            /* for a token in the first message; 0: 10 s */
    uint32_t drain_ms;           /* over which a stop spreads its closes; 0: 10 s; TWS_OFF: none */
    tws_conn_desc limits;        /* the other deadlines and sizes of a connection */

    tws_log log; /* write NULL: standard error; lines that it does not take at once are dropped */
    const tws_allocator *allocator;
} tws_task_server_desc;

/* The whole endpoint: create, listen, print "listening on URL" to standard output, serve until
 * SIGINT or SIGTERM, drain, free. A second signal ends at once. Returns an exit code: 0 drained, 1
 * failed (with the reason on standard error). Sets and restores handlers of SIGINT and SIGTERM, and
 * ignores SIGPIPE meanwhile; one such call at a time. */
TWS_API int tws_task_server_run(const tws_task_server_desc *desc);

/* Or piece by piece. error: gets a sentence that says what to do; may be NULL. */
TWS_API tws_status tws_task_server_create(tws_task_server **ts, const tws_task_server_desc *desc,
                                          tws_buf *error);
/* The server beneath, freed with ts: add routes, listen, run or step, stop. Its context is ts. */
TWS_API tws_server *tws_task_server_base(tws_task_server *ts);
/* Its log, for lines of yours: desc.log, or standard error. From any thread. */
TWS_API const tws_log *tws_task_server_log(const tws_task_server *ts);
/* After its server has ended, or if it never ran. No other thread may be in a call with ts
 * (publish, answer, set_keys) or make one later. NULL is fine. */
TWS_API void tws_task_server_free(tws_task_server *ts);

/* Publish one JSON object for a user. With Redis TWS_OK is accepted, not stored: what Redis refuses
 * later is logged and counted, and a drain waits for what is under way, as long as the drain lasts.
 * Without, more than retain_events of a user at once overtake the readers, who are then given a
 * reset: readers are served between turns.
 *
 * json     len bytes, copied.
 * id       [out] may be NULL. With Redis the id is not known yet: 0-0.
 * errors   TWS_ERR_SYNTAX (no JSON), TWS_ERR_ARGUMENT (JSON but no object; the user id),
 *          TWS_ERR_LIMIT (too big; with Redis too many wait), TWS_ERR_MEMORY,
 *          TWS_ERR_UNAVAILABLE (Redis cannot store it now).
 * thread   any, never blocking. */
TWS_API tws_status tws_task_server_publish(tws_task_server *ts, const char *user_id,
                                           const char *json, size_t len, tws_event_id *id);
/* Answer a TWS_LATER, once, from any thread, also from within authorize's call. The answer is
 * remembered with the token, except for a new token of an open connection.
 *
 * errors  TWS_ERR_MEMORY: not answered, and the client waits: try again. TWS_ERR_ARGUMENT: no
 *         ticket of this server's, as far as its thread's number tells. */
TWS_API tws_status tws_task_server_answer(tws_task_server *ts, uint64_t ticket, bool allowed);
/* Replace all keys while running, from any thread; open connections stay. keys are copied. why and
 * errors as tws_auth_ring_create. */
TWS_API tws_status tws_task_server_set_keys(tws_task_server *ts, const tws_auth_key *keys,
                                            size_t count, const char **why);
#endif /* TASKWS_NO_JWT */
#endif /* TASKWS_NO_SERVER */

#ifdef __cplusplus
}
#endif
#endif /* TASKWS_H */

/* ========================================================================================= */
/*                                     IMPLEMENTATION                                        */
/* ========================================================================================= */

#if defined(TASKWS_IMPLEMENTATION) && !defined(TASKWS_IMPLEMENTED)
#define TASKWS_IMPLEMENTED

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================================== */
/*                                      I. FOUNDATIONS                                       */
/* ======================================================================================== */

/* == 1. config: flags, limits, attributes ================================================
 * The compiler switches outside the I/O part: assertions, atomics, the mutex. (And in section 4 the
 * processor's own SHA instructions.) */

#ifndef TWS_ASSERT
#include <assert.h>
#define TWS_ASSERT(condition) assert(condition)
#endif

/* Counters shared between threads. Relaxed where only the value counts; a reference count's last
 * decrement must see all that other holders did, so it acquires and releases. */
#define TWS__LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define TWS__STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define TWS__COUNT(p, n) ((void)__atomic_fetch_add((p), (n), __ATOMIC_RELAXED))
#define TWS__SUM(p, n) __atomic_add_fetch((p), (n), __ATOMIC_RELAXED)
#define TWS__SWAP(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define TWS__REF(p) ((void)__atomic_fetch_add((p), 1u, __ATOMIC_RELAXED))
#define TWS__UNREF(p) (__atomic_sub_fetch((p), 1u, __ATOMIC_ACQ_REL) == 0u)

#ifdef TASKWS_NO_THREADS
#define TWS__MAX_THREADS 1u
typedef struct tws__mutex {
    char unused;
} tws__mutex;
#define TWS__MUTEX_INIT(m) ((void)(m))
#define TWS__MUTEX_FREE(m) ((void)(m))
#define TWS__LOCK(m) ((void)(m))
#define TWS__UNLOCK(m) ((void)(m))
#else
#include <pthread.h>
#define TWS__MAX_THREADS 256u /* a tws_peer_id has eight bits for it */
typedef pthread_mutex_t tws__mutex;
#define TWS__MUTEX_INIT(m) ((void)pthread_mutex_init((m), NULL))
#define TWS__MUTEX_FREE(m) ((void)pthread_mutex_destroy(m))
#define TWS__LOCK(m) ((void)pthread_mutex_lock(m))
#define TWS__UNLOCK(m) ((void)pthread_mutex_unlock(m))
#endif

/* A function off the hot paths, of which each caller would otherwise hold a copy: compilers take
 * some for smaller than they are, even where asked for small code. */
#if defined(__GNUC__) || defined(__clang__)
#define TWS__APART __attribute__((noinline))
#else
#define TWS__APART
#endif

/* x86's SHA instructions: compiled in where the compiler can, used where the processor can. */
#if !defined(TASKWS_NO_SIMD) && defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <cpuid.h>
#include <immintrin.h>
#define TWS__SHA_INSTRUCTIONS __attribute__((target("sha,ssse3,sse4.1")))
#endif

/* == 2. status, alloc: error model, one allocator hook ====================================
 * Sizes are handed back on release, so that an allocator need not remember them. */

TWS_API const char *tws_status_text(tws_status status)
{
    switch (status) {
    case TWS_OK: return "ok";
    case TWS_ERR_MEMORY: return "out of memory";
    case TWS_ERR_LIMIT: return "limit reached";
    case TWS_ERR_ARGUMENT: return "bad argument";
    case TWS_ERR_SYNTAX: return "malformed input";
    case TWS_ERR_EXISTS: return "exists already";
    case TWS_ERR_NOT_FOUND: return "not found";
    case TWS_ERR_UNAVAILABLE: return "not available now";
    case TWS_ERR_CLOSED: return "closed";
    case TWS_ERR_SYSTEM: return "system error";
    }
    return "unknown status";
}

TWS_API void *tws_alloc(const tws_allocator *a, size_t bytes)
{
    TWS_ASSERT(bytes > 0);
    if (a == NULL) {
        return calloc(1, bytes); /* large blocks come zeroed from the system, untouched */
    }
    void *p = a->resize(a->context, NULL, 0, bytes);
    if (p != NULL) {
        memset(p, 0, bytes);
    }
    return p;
}

TWS_API void *tws_resize(const tws_allocator *a, void *p, size_t old_bytes, size_t new_bytes)
{
    TWS_ASSERT(new_bytes > 0); /* realloc(p, 0) means three things; tws_release means one */
    if (a == NULL) {
        return realloc(p, new_bytes);
    }
    return a->resize(a->context, p, old_bytes, new_bytes);
}

TWS_API void tws_release(const tws_allocator *a, void *p, size_t bytes)
{
    if (p == NULL) {
        return;
    }
    if (a == NULL) {
        free(p);
        return;
    }
    (void)a->resize(a->context, p, bytes, 0);
}

/* == 3. str, buf: slices and growable buffers ============================================
 * A slice's ptr may be NULL when it is empty, so nothing here hands an empty slice to memcpy or
 * memcmp, nor adds to its pointer: both are undefined for NULL. */

static size_t tws__min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t tws__max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static uint64_t tws__min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A word of eight bytes n, 0..255. */
#define TWS__BYTES(n) (UINT64_C(0x0101010101010101) * (n))

/* Eight bytes in the machine's own order. */
static uint64_t tws__load_u64(const void *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static uint32_t tws__load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What a desc says, or the default where it says 0. */
static uint32_t tws__default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

/* SipHash-1-3 (Aumasson and Bernstein, 2012): v is its state. */
static void tws__sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    v[0] += v[1];
    v[2] += v[3];
    v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0];
    v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
    v[0] = v[0] << 32 | v[0] >> 32;
    v[2] += v[1];
    v[0] += v[3];
    v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2];
    v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
    v[2] = v[2] << 32 | v[2] >> 32;
    v[0] ^= word;
}

/* The machine's order will do, for the hash never leaves this process. */
static uint64_t tws__hash(const uint64_t key[2], tws_str s)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)s.len << 56;
    size_t at = 0;
    for (; s.len - at >= 8; at += 8) {
        tws__sip_word(v, tws__load_u64(s.ptr + at));
    }
    for (unsigned shift = 0; at < s.len; at++, shift += 8) {
        last |= (uint64_t)(uint8_t)s.ptr[at] << shift;
    }
    tws__sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) {
        tws__sip_word(v, 0);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* -- slices -- */

/* ASCII only, whatever the locale: protocol words are not prose. */
static char tws__lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool tws__is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool tws__is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 0..15, or 16 for what is no hexadecimal digit. */
static uint32_t tws__hex_digit(char c)
{
    if (tws__is_digit(c)) {
        return (uint32_t)(c - '0');
    }
    c = tws__lower(c);
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

TWS_API tws_str tws_str_of(const char *ptr, size_t len)
{
    tws_str s;
    s.ptr = ptr;
    s.len = len;
    return s;
}

TWS_API tws_str tws_str_c(const char *c_string)
{
    return tws_str_of(c_string, c_string == NULL ? 0 : strlen(c_string));
}

TWS_API bool tws_str_eq(tws_str a, tws_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

TWS_API bool tws_str_eq_c(tws_str a, const char *b)
{
    return tws_str_eq(a, tws_str_c(b));
}

TWS_API bool tws_str_eq_nocase(tws_str a, tws_str b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (tws__lower(a.ptr[i]) != tws__lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

/* That word, in any case. */
static bool tws__str_is(tws_str s, const char *word)
{
    return tws_str_eq_nocase(s, tws_str_c(word));
}

TWS_API bool tws_str_starts(tws_str s, const char *prefix)
{
    return tws_str_eq_c(tws_str_of(s.ptr, tws__min(s.len, strlen(prefix))), prefix);
}

/* Lay s there; returns where it ends. */
static TWS__APART char *tws__str_copy(char *to, tws_str s)
{
    if (s.len > 0) {
        memcpy(to, s.ptr, s.len);
    }
    return to + s.len;
}

TWS_API tws_str tws_str_from(tws_str s, size_t from)
{
    return from < s.len ? tws_str_of(s.ptr + from, s.len - from) : tws_str_of("", 0);
}

TWS_API tws_str tws_str_trim(tws_str s)
{
    while (s.len > 0 && tws__is_blank(s.ptr[s.len - 1])) {
        s.len--;
    }
    while (s.len > 0 && tws__is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    return s;
}

TWS_API size_t tws_str_find(tws_str s, char c)
{
    const char *at = s.len == 0 ? NULL : (const char *)memchr(s.ptr, c, s.len);
    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

TWS_API bool tws_str_split(tws_str *rest, char separator, tws_str *part)
{
    if (rest->len == 0) {
        return false;
    }
    size_t end = tws_str_find(*rest, separator);
    *part = tws_str_trim(tws_str_of(rest->ptr, end));
    *rest = tws_str_from(*rest, end + 1);
    return true;
}

TWS_API bool tws_str_u64(tws_str s, uint64_t *value)
{
    if (s.len == 0) {
        return false;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(uint8_t)s.ptr[i] - '0'; /* wraps: below '0' is above 9 */
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return true;
}

/* The same, of a number whose sign, if it had one, is taken off. */
static bool tws__str_signed(tws_str digits, bool negative, int64_t *value)
{
    uint64_t size;
    uint64_t most = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (!tws_str_u64(digits, &size) || size > most) {
        return false;
    }
    /* -2^63 has no positive counterpart: negate one less */
    *value = negative && size > 0 ? -(int64_t)(size - 1) - 1 : (int64_t)size;
    return true;
}

/* The end of the digits that stand from `at` on; `at` itself without any. */
static size_t tws__str_digits(tws_str s, size_t at)
{
    while (at < s.len && tws__is_digit(s.ptr[at])) {
        at++;
    }
    return at;
}

/* -- buffers: len <= cap <= max, always -- */

#define TWS__BUF_FIRST 64 /* bytes of the first allocation: a short line fits without a second */

TWS_API void tws_buf_init(tws_buf *b, const tws_allocator *a, size_t max_bytes)
{
    memset(b, 0, sizeof *b);
    b->allocator = a;
    b->max = max_bytes;
}

TWS_API void tws_buf_fixed(tws_buf *b, void *memory, size_t bytes)
{
    tws_buf_init(b, NULL, bytes);
    b->ptr = (char *)memory;
    b->cap = bytes;
    b->borrowed = true;
}

TWS_API void tws_buf_free(tws_buf *b)
{
    if (!b->borrowed) {
        tws_release(b->allocator, b->ptr, b->cap);
        b->ptr = NULL;
        b->cap = 0;
    }
    tws_buf_clear(b);
}

TWS_API void tws_buf_clear(tws_buf *b)
{
    b->len = 0;
    b->status = TWS_OK;
}

/* Borrowed memory never comes past the first guard: its max is its cap. */
static bool tws__buf_grow(tws_buf *b, size_t n)
{
    if (n > b->max - b->len) {
        b->status = TWS_ERR_LIMIT;
        return false;
    }
    size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
    cap = tws__max(cap, tws__max(b->len + n, TWS__BUF_FIRST));
    cap = tws__min(cap, b->max);
    void *p = tws_resize(b->allocator, b->ptr, b->cap, cap);
    if (p == NULL) {
        b->status = TWS_ERR_MEMORY;
        return false;
    }
    b->ptr = (char *)p;
    b->cap = cap;
    return true;
}

TWS_API char *tws_buf_reserve(tws_buf *b, size_t n)
{
    if (b->status != TWS_OK) {
        return NULL;
    }
    if (n > b->cap - b->len && !tws__buf_grow(b, n)) {
        return NULL;
    }
    return b->ptr == NULL ? NULL : b->ptr + b->len; /* NULL: no memory yet, and none asked for */
}

TWS_API void tws_buf_add(tws_buf *b, size_t n)
{
    TWS_ASSERT(n <= b->cap - b->len);
    b->len += n;
}

TWS_API void tws_buf_put(tws_buf *b, const void *data, size_t n)
{
    char *to = tws_buf_reserve(b, n);
    if (to == NULL || n == 0) {
        return;
    }
    memcpy(to, data, n);
    b->len += n;
}

TWS_API void tws_buf_str(tws_buf *b, tws_str s)
{
    tws_buf_put(b, s.ptr, s.len);
}

TWS_API void tws_buf_c(tws_buf *b, const char *c_string)
{
    tws_buf_str(b, tws_str_c(c_string));
}

TWS_API void tws_buf_char(tws_buf *b, char c)
{
    tws_buf_put(b, &c, 1);
}

#define TWS__DECIMAL_MAX 20 /* digits of 2^64 - 1; also of -2^63 with its sign */

/* Writes the digits so that they stand before `end`; returns their begin. */
static char *tws__decimal(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

/* The lowest `width` digits of value, zeros in front. */
static void tws__buf_digits(tws_buf *b, uint64_t value, unsigned base, size_t width)
{
    char digits[TWS__DECIMAL_MAX];
    for (size_t i = width; i > 0; i--) {
        digits[i - 1] = "0123456789abcdef"[value % base];
        value /= base;
    }
    tws_buf_put(b, digits, width);
}

static void tws__buf_decimal(tws_buf *b, uint64_t magnitude, bool negative)
{
    char digits[TWS__DECIMAL_MAX];
    char *end = digits + sizeof digits;
    char *begin = tws__decimal(end, magnitude);
    if (negative) {
        *--begin = '-';
    }
    tws_buf_put(b, begin, (size_t)(end - begin));
}

TWS_API void tws_buf_u64(tws_buf *b, uint64_t value)
{
    tws__buf_decimal(b, value, false);
}

TWS_API void tws_buf_i64(tws_buf *b, int64_t value)
{
    tws__buf_decimal(b, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

TWS_API void tws_buf_consume(tws_buf *b, size_t n)
{
    TWS_ASSERT(n <= b->len);
    b->len -= n;
    if (n > 0 && b->len > 0) {
        memmove(b->ptr, b->ptr + n, b->len);
    }
}

TWS_API tws_str tws_buf_view(const tws_buf *b)
{
    return tws_str_of(b->ptr, b->len);
}

/* ======================================================================================== */
/*                   II. CODECS: pure, no allocation, no sockets, no clock                   */
/* ======================================================================================== */

/* == 4. sha1, sha256, hmac: digests ======================== FIPS 180-4, RFC 2104, RFC 6234 ==
 * Written as the standard draws it; compilers keep a..h in registers and rename them. Nothing here
 * branches or indexes by what is hashed, so its time tells only its length. */

#define TWS__SHA_BLOCK 64

static uint32_t tws__rotate_left(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t tws__rotate_right(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void tws__store_be32(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

static void tws__store_words(uint8_t *out, const uint32_t *word, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        tws__store_be32(out + 4 * i, word[i]);
    }
}

/* The end of every SHA message: what is left of it, a one bit, zeros, its length in bits.
 * FIPS 180-4 5.1.1. Returns the blocks written, one or two. */
static size_t tws__sha_pad(uint8_t out[2 * TWS__SHA_BLOCK], const uint8_t *rest, uint64_t total)
{
    size_t len = (size_t)(total % TWS__SHA_BLOCK);
    size_t blocks = len + 1 + 8 <= TWS__SHA_BLOCK ? 1 : 2;
    uint8_t *length = out + blocks * TWS__SHA_BLOCK - 8;
    memset(out, 0, blocks * TWS__SHA_BLOCK);
    if (len > 0) {
        memcpy(out, rest, len);
    }
    out[len] = 0x80;
    tws__store_be32(length, (uint32_t)(total >> 29));
    tws__store_be32(length + 4, (uint32_t)(total << 3));
    return blocks;
}

/* f(b, c, d) of FIPS 180-4 4.1.1 and 4.1.2; SHA-1's parity is a plain b ^ c ^ d. */
static uint32_t tws__sha_choose(uint32_t b, uint32_t c, uint32_t d)
{
    return d ^ (b & (c ^ d));
}

static uint32_t tws__sha_majority(uint32_t b, uint32_t c, uint32_t d)
{
    return (b & c) | (d & (b | c));
}

/* -- the processor's own instructions -- */

#ifdef TWS__SHA_INSTRUCTIONS

static bool tws__sha_ask_processor(void)
{
    const uint32_t basic = bit_SSSE3 | bit_SSE4_1;
    uint32_t a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & basic) == basic &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

/* Asked once, for under a hypervisor the question is slow; two threads at once get one answer. */
static bool tws__sha_has_instructions(void)
{
    static uint32_t answer; /* 0: not asked yet, 1: no, 2: yes */
    uint32_t known = TWS__LOAD(&answer);
    if (known == 0) {
        known = tws__sha_ask_processor() ? 2 : 1;
        TWS__STORE(&answer, known);
    }
    return known == 2;
}

#endif

/* -- SHA-1, FIPS 180-4 6.1 -- */

/* The schedule's word t, computed in its own round: in a loop ahead of the rounds compilers use
 * vectors, whose words are then loaded at other offsets than they were stored at, which stalls and
 * doubles the time. */
static inline uint32_t tws__sha1_word(uint32_t word[80], int t)
{
    if (t >= 16) {
        uint32_t mixed = word[t - 3] ^ word[t - 8] ^ word[t - 14] ^ word[t - 16];
        word[t] = tws__rotate_left(mixed, 1);
    }
    return word[t];
}

/* v is a..e; f already holds the round's constant and word. */
static inline void tws__sha1_round(uint32_t v[5], uint32_t f)
{
    uint32_t a = tws__rotate_left(v[0], 5) + f + v[4];
    v[4] = v[3];
    v[3] = v[2];
    v[2] = tws__rotate_left(v[1], 30);
    v[1] = v[0];
    v[0] = a;
}

static void tws__sha1_portable(uint32_t state[5], const uint8_t *block)
{
    uint32_t v[5] = {state[0], state[1], state[2], state[3], state[4]};
    uint32_t w[80];
    int t;
    for (t = 0; t < 16; t++) {
        w[t] = tws__load_be32(block + 4 * t);
    }
    for (t = 0; t < 20; t++) {
        tws__sha1_round(v, tws__sha_choose(v[1], v[2], v[3]) + 0x5a827999 + tws__sha1_word(w, t));
    }
    for (; t < 40; t++) {
        tws__sha1_round(v, (v[1] ^ v[2] ^ v[3]) + 0x6ed9eba1 + tws__sha1_word(w, t));
    }
    for (; t < 60; t++) {
        tws__sha1_round(v, tws__sha_majority(v[1], v[2], v[3]) + 0x8f1bbcdc + tws__sha1_word(w, t));
    }
    for (; t < 80; t++) {
        tws__sha1_round(v, (v[1] ^ v[2] ^ v[3]) + 0xca62c1d6 + tws__sha1_word(w, t));
    }
    for (int i = 0; i < 5; i++) {
        state[i] += v[i];
    }
}

#ifdef TWS__SHA_INSTRUCTIONS

/* What four rounds add up: the words w, the round before's a as it becomes e. */
static inline TWS__SHA_INSTRUCTIONS __m128i tws__sha1_sum(__m128i *before, __m128i abcd, __m128i w)
{
    __m128i sum = _mm_sha1nexte_epu32(*before, w);
    *before = abcd;
    return sum;
}

/* The instructions want the first of four words in the highest place. */
static TWS__SHA_INSTRUCTIONS void tws__sha1_fast(uint32_t state[5], const uint8_t *block)
{
    const __m128i reversed = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i *const at = (__m128i *)(void *)state;
    const __m128i *const in = (const __m128i *)(const void *)block;
    const __m128i first = _mm_shuffle_epi32(_mm_loadu_si128(at), 0x1b);
    const __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);
    __m128i w[20], before = first, abcd;
    int t;
    for (t = 0; t < 4; t++) {
        w[t] = _mm_shuffle_epi8(_mm_loadu_si128(in + t), reversed);
    }
    for (; t < 20; t++) {
        __m128i mixed = _mm_xor_si128(_mm_sha1msg1_epu32(w[t - 4], w[t - 3]), w[t - 2]);
        w[t] = _mm_sha1msg2_epu32(mixed, w[t - 1]);
    }
    abcd = _mm_sha1rnds4_epu32(first, _mm_add_epi32(e, w[0]), 0);
    for (t = 1; t < 5; t++) {
        abcd = _mm_sha1rnds4_epu32(abcd, tws__sha1_sum(&before, abcd, w[t]), 0);
    }
    for (; t < 10; t++) {
        abcd = _mm_sha1rnds4_epu32(abcd, tws__sha1_sum(&before, abcd, w[t]), 1);
    }
    for (; t < 15; t++) {
        abcd = _mm_sha1rnds4_epu32(abcd, tws__sha1_sum(&before, abcd, w[t]), 2);
    }
    for (; t < 20; t++) {
        abcd = _mm_sha1rnds4_epu32(abcd, tws__sha1_sum(&before, abcd, w[t]), 3);
    }
    _mm_storeu_si128(at, _mm_shuffle_epi32(_mm_add_epi32(abcd, first), 0x1b));
    state[4] = (uint32_t)_mm_extract_epi32(_mm_sha1nexte_epu32(before, e), 3);
}

static void tws__sha1_block(uint32_t state[5], const uint8_t *block)
{
    if (tws__sha_has_instructions()) {
        tws__sha1_fast(state, block);
    } else {
        tws__sha1_portable(state, block);
    }
}

#else

static void tws__sha1_block(uint32_t state[5], const uint8_t *block)
{
    tws__sha1_portable(state, block);
}

#endif

TWS_API void tws_sha1(const void *data, size_t len, uint8_t digest[TWS_SHA1_BYTES])
{
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t tail[2 * TWS__SHA_BLOCK];
    const uint8_t *p = (const uint8_t *)data;
    for (size_t left = len; left >= TWS__SHA_BLOCK; left -= TWS__SHA_BLOCK) {
        tws__sha1_block(state, p);
        p += TWS__SHA_BLOCK;
    }
    size_t blocks = tws__sha_pad(tail, p, len);
    for (size_t i = 0; i < blocks; i++) {
        tws__sha1_block(state, tail + i * TWS__SHA_BLOCK);
    }
    tws__store_words(digest, state, 5);
}

/* -- SHA-256, FIPS 180-4 6.2 -- */

static const uint32_t tws__sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void tws__sha256_schedule(uint32_t word[64], const uint8_t *block)
{
    for (int t = 0; t < 16; t++) {
        word[t] = tws__load_be32(block + 4 * t);
    }
    for (int t = 16; t < 64; t++) {
        uint32_t x = word[t - 15];
        uint32_t y = word[t - 2];
        uint32_t sigma_x = tws__rotate_right(x, 7) ^ tws__rotate_right(x, 18) ^ x >> 3;
        uint32_t sigma_y = tws__rotate_right(y, 17) ^ tws__rotate_right(y, 19) ^ y >> 10;
        word[t] = word[t - 16] + sigma_x + word[t - 7] + sigma_y;
    }
}

/* v is a..h. */
static inline void tws__sha256_round(uint32_t v[8], uint32_t word)
{
    uint32_t a = v[0];
    uint32_t e = v[4];
    uint32_t sum_a = tws__rotate_right(a, 2) ^ tws__rotate_right(a, 13) ^ tws__rotate_right(a, 22);
    uint32_t sum_e = tws__rotate_right(e, 6) ^ tws__rotate_right(e, 11) ^ tws__rotate_right(e, 25);
    uint32_t to_both = v[7] + sum_e + tws__sha_choose(e, v[5], v[6]) + word;
    v[7] = v[6];
    v[6] = v[5];
    v[5] = v[4];
    v[4] = v[3] + to_both;
    v[3] = v[2];
    v[2] = v[1];
    v[1] = v[0];
    v[0] = to_both + sum_a + tws__sha_majority(a, v[2], v[3]);
}

/* Eight rounds bring every variable back to its place: unrolled, nothing is moved. */
static void tws__sha256_rounds(uint32_t state[8], const uint32_t word[64])
{
    uint32_t v[8] = {state[0], state[1], state[2], state[3],
                     state[4], state[5], state[6], state[7]};
    for (int t = 0; t < 64; t += 8) {
        for (int i = 0; i < 8; i++) {
            tws__sha256_round(v, tws__sha256_k[t + i] + word[t + i]);
        }
    }
    for (int i = 0; i < 8; i++) {
        state[i] += v[i];
    }
    tws_wipe(v, sizeof v); /* of HMAC's pads, v and the state make the key's other state */
}

static void tws__sha256_portable(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    uint32_t word[64];
    for (; blocks > 0; blocks--, p += TWS__SHA_BLOCK) {
        tws__sha256_schedule(word, p);
        tws__sha256_rounds(state, word);
    }
    tws_wipe(word, sizeof word); /* of HMAC's first block, this is the key */
}

#ifdef TWS__SHA_INSTRUCTIONS

/* Four rounds with the words w. The instruction wants a, b, e, f in one register, a the highest,
 * and c, d, g, h in another. */
static inline TWS__SHA_INSTRUCTIONS void tws__sha256_four(__m128i *abef, __m128i *cdgh, __m128i w,
                                                          const uint32_t *k)
{
    __m128i sum = _mm_add_epi32(w, _mm_loadu_si128((const __m128i *)(const void *)k));
    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/* The four words that come after a, b, c, d. */
static inline TWS__SHA_INSTRUCTIONS __m128i tws__sha256_next(__m128i a, __m128i b, __m128i c,
                                                             __m128i d)
{
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(a, b), _mm_alignr_epi8(d, c, 4));
    return _mm_sha256msg2_epu32(sum, d);
}

static inline TWS__SHA_INSTRUCTIONS __m128i tws__sha256_load(const uint8_t *p)
{
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), big_endian);
}

static TWS__SHA_INSTRUCTIONS void tws__sha256_fast(uint32_t state[8], const uint8_t *p,
                                                   size_t blocks)
{
    __m128i *const at = (__m128i *)(void *)state;
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(at), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(at + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; blocks > 0; blocks--, p += TWS__SHA_BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i a = tws__sha256_load(p), b = tws__sha256_load(p + 16);
        __m128i c = tws__sha256_load(p + 32), d = tws__sha256_load(p + 48);
        for (const uint32_t *k = tws__sha256_k; k < tws__sha256_k + 64; k += 16) {
            tws__sha256_four(&abef, &cdgh, a, k);
            a = tws__sha256_next(a, b, c, d);
            tws__sha256_four(&abef, &cdgh, b, k + 4);
            b = tws__sha256_next(b, c, d, a);
            tws__sha256_four(&abef, &cdgh, c, k + 8);
            c = tws__sha256_next(c, d, a, b);
            tws__sha256_four(&abef, &cdgh, d, k + 12);
            d = tws__sha256_next(d, a, b, c);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i ghcd = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(at, _mm_blend_epi16(feba, ghcd, 0xf0));
    _mm_storeu_si128(at + 1, _mm_alignr_epi8(ghcd, feba, 8));
}

static void tws__sha256_blocks(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    if (tws__sha_has_instructions()) {
        tws__sha256_fast(state, p, blocks);
    } else {
        tws__sha256_portable(state, p, blocks);
    }
}

#else

static void tws__sha256_blocks(uint32_t state[8], const uint8_t *p, size_t blocks)
{
    tws__sha256_portable(state, p, blocks);
}

#endif

static const uint32_t tws__sha256_first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                              0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

TWS_API void tws_sha256_init(tws_sha256 *h)
{
    memcpy(h->state, tws__sha256_first, sizeof h->state);
    h->bytes = 0;
}

TWS_API void tws_sha256_feed(tws_sha256 *h, const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    size_t held = (size_t)(h->bytes % TWS__SHA_BLOCK);
    if (len == 0) {
        return;
    }
    h->bytes += len;
    if (held > 0) {
        size_t n = tws__min(len, TWS__SHA_BLOCK - held);
        memcpy(h->block + held, p, n);
        if (held + n < TWS__SHA_BLOCK) {
            return;
        }
        tws__sha256_blocks(h->state, h->block, 1);
        p += n;
        len -= n;
    }
    tws__sha256_blocks(h->state, p, len / TWS__SHA_BLOCK);
    p += len - len % TWS__SHA_BLOCK;
    memcpy(h->block, p, len % TWS__SHA_BLOCK);
}

TWS_API void tws_sha256_end(tws_sha256 *h, uint8_t digest[TWS_SHA256_BYTES])
{
    uint8_t tail[2 * TWS__SHA_BLOCK];
    size_t blocks = tws__sha_pad(tail, h->block, h->bytes);
    tws__sha256_blocks(h->state, tail, blocks);
    tws__store_words(digest, h->state, 8);
    tws_wipe(tail, sizeof tail);
    tws_wipe(h, sizeof *h);
}

/* -- HMAC, RFC 2104 -- */

/* The state after one block of key XOR pad. */
static void tws__hmac_pad(uint32_t state[8], const uint8_t key[TWS__SHA_BLOCK], uint8_t pad)
{
    uint8_t block[TWS__SHA_BLOCK];
    for (size_t i = 0; i < sizeof block; i++) {
        block[i] = key[i] ^ pad;
    }
    memcpy(state, tws__sha256_first, sizeof tws__sha256_first);
    tws__sha256_blocks(state, block, 1);
    tws_wipe(block, sizeof block);
}

TWS_API void tws_hmac_key_init(tws_hmac_key *k, const void *key, size_t len)
{
    uint8_t padded[TWS__SHA_BLOCK];
    memset(padded, 0, sizeof padded);
    if (len > sizeof padded) { /* a long key is replaced by its digest */
        tws_sha256 h;
        tws_sha256_init(&h);
        tws_sha256_feed(&h, key, len);
        tws_sha256_end(&h, padded);
    } else if (len > 0) {
        memcpy(padded, key, len);
    }
    tws__hmac_pad(k->inner, padded, 0x36);
    tws__hmac_pad(k->outer, padded, 0x5c);
    tws_wipe(padded, sizeof padded);
}

/* digest may be data. */
static void tws__hmac_half(const uint32_t state[8], const void *data, size_t len,
                           uint8_t digest[TWS_SHA256_BYTES])
{
    tws_sha256 h;
    memcpy(h.state, state, sizeof h.state);
    h.bytes = TWS__SHA_BLOCK; /* the pad */
    tws_sha256_feed(&h, data, len);
    tws_sha256_end(&h, digest);
}

TWS_API void tws_hmac_sha256(const tws_hmac_key *k, const void *data, size_t len,
                             uint8_t mac[TWS_SHA256_BYTES])
{
    tws__hmac_half(k->inner, data, len, mac);
    tws__hmac_half(k->outer, mac, TWS_SHA256_BYTES, mac);
}

/* -- secrets -- */

TWS_API bool tws_equal_secret(const void *a, const void *b, size_t len)
{
    const volatile uint8_t *x = (const volatile uint8_t *)a;
    const volatile uint8_t *y = (const volatile uint8_t *)b;
    uint8_t difference = 0;
    for (size_t i = 0; i < len; i++) {
        difference = (uint8_t)(difference | (x[i] ^ y[i]));
    }
    return difference == 0;
}

/* A compiler may drop a memset of memory that nobody reads any more, but not a call through a
 * volatile pointer, as it cannot know what is called. */
static void *(*volatile const tws__memset)(void *, int, size_t) = memset;

TWS_API void tws_wipe(void *p, size_t len)
{
    if (len > 0) {
        tws__memset(p, 0, len);
    }
}

/* == 5. base64: strict base64 and base64url ======================================= RFC 4648 ==
 * One text for every value: what decodes, encodes to the same characters again. A decoder that
 * overlooks padding or tail bits would give one token many spellings, and a cache many keys. */

static const char tws__base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char tws__base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* -- encoding -- */

static size_t tws__base64_write(const char *alphabet, const void *data, size_t len, char *out)
{
    const uint8_t *p = (const uint8_t *)data;
    char *to = out;
    for (; len >= 3; len -= 3, p += 3) {
        uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *to++ = alphabet[bits >> 18];
        *to++ = alphabet[bits >> 12 & 63];
        *to++ = alphabet[bits >> 6 & 63];
        *to++ = alphabet[bits & 63];
    }
    if (len > 0) {
        uint32_t bits = (uint32_t)p[0] << 16 | (len == 2 ? (uint32_t)p[1] << 8 : 0);
        *to++ = alphabet[bits >> 18];
        *to++ = alphabet[bits >> 12 & 63];
        if (len == 2) {
            *to++ = alphabet[bits >> 6 & 63];
        }
    }
    return (size_t)(to - out);
}

TWS_API size_t tws_base64_encode(const void *data, size_t len, char *out)
{
    size_t n = tws__base64_write(tws__base64_alphabet, data, len, out);
    while (n % 4 != 0) {
        out[n++] = '=';
    }
    return n;
}

TWS_API size_t tws_base64url_encode(const void *data, size_t len, char *out)
{
    return tws__base64_write(tws__base64url_alphabet, data, len, out);
}

/* -- decoding -- */

/* Eight characters at a time, the first one in a word's highest byte. No branch and no look-up
 * depends on a character: random text would make branches slow, and the time that either takes
 * would tell about a secret. */

/* 0xff in each byte of x, all of them below 128, that is one of first..last. */
static uint64_t tws__base64_among(uint64_t x, char first, char last)
{
    uint64_t from = x + TWS__BYTES(128u - (uint8_t)first);
    uint64_t beyond = x + TWS__BYTES(127u - (uint8_t)last);
    return ((from & ~beyond & TWS__BYTES(0x80)) >> 7) * 0xff;
}

static uint64_t tws__base64_load(const uint8_t text[8])
{
    return (uint64_t)tws__load_be32(text) << 32 | tws__load_be32(text + 4);
}

/* The 48 bits of eight digits. False if a character is none. No byte carries into the next one. */
static bool tws__base64_digits(const char *alphabet, const char text[8], uint64_t *bits)
{
    const uint64_t word = tws__base64_load((const uint8_t *)text);
    const uint64_t x = word & TWS__BYTES(0x7f);
    const uint64_t upper = tws__base64_among(x, 'A', 'Z');
    const uint64_t lower = tws__base64_among(x, 'a', 'z');
    const uint64_t number = tws__base64_among(x, '0', '9');
    const uint64_t plus = tws__base64_among(x, alphabet[62], alphabet[62]);
    const uint64_t slash = tws__base64_among(x, alphabet[63], alphabet[63]);
    uint64_t digit = ((upper | lower | number) & x) + (number & TWS__BYTES(52 - '0'));
    digit -= (upper & TWS__BYTES('A')) | (lower & TWS__BYTES('a' - 26));
    digit |= (plus & TWS__BYTES(62)) | (slash & TWS__BYTES(63));
    const uint64_t low_byte = UINT64_C(0x00ff00ff00ff00ff);
    const uint64_t low_half = UINT64_C(0x0000ffff0000ffff);
    digit = (digit >> 8 & low_byte) << 6 | (digit & low_byte);
    digit = (digit >> 16 & low_half) << 12 | (digit & low_half);
    *bits = digit >> 32 << 24 | (digit & 0xffffff);
    return x == word && (upper | lower | number | plus | slash) == UINT64_MAX;
}

static void tws__base64_store(uint64_t bits, uint8_t *out)
{
    out[0] = (uint8_t)(bits >> 40);
    out[1] = (uint8_t)(bits >> 32);
    out[2] = (uint8_t)(bits >> 24);
    out[3] = (uint8_t)(bits >> 16);
    out[4] = (uint8_t)(bits >> 8);
    out[5] = (uint8_t)bits;
}

/* Without padding. out may be where the text stands: nothing is written before it is read. */
static tws_status tws__base64_read(const char *alphabet, tws_str text, uint8_t *out, size_t cap,
                                   size_t *out_len)
{
    const size_t bytes = text.len / 4 * 3 + (text.len % 4 > 0 ? text.len % 4 - 1 : 0);
    size_t rest = bytes;
    uint64_t bits;
    if (text.len % 4 == 1) {
        return TWS_ERR_SYNTAX; /* six bits are no byte */
    }
    if (bytes > cap) {
        return TWS_ERR_LIMIT;
    }
    for (; text.len >= 8; text = tws_str_from(text, 8), out += 6, rest -= 6) {
        if (!tws__base64_digits(alphabet, text.ptr, &bits)) {
            return TWS_ERR_SYNTAX;
        }
        tws__base64_store(bits, out);
    }
    if (text.len > 0) {
        char last[8] = {'A', 'A', 'A', 'A', 'A', 'A', 'A', 'A'}; /* zeros */
        memcpy(last, text.ptr, text.len);
        if (!tws__base64_digits(alphabet, last, &bits) || bits << (16 + 8 * rest) != 0) {
            return TWS_ERR_SYNTAX;
        }
        uint8_t end[6];
        tws__base64_store(bits, end);
        memcpy(out, end, rest);
    }
    *out_len = bytes;
    return TWS_OK;
}

TWS_API tws_status tws_base64_decode(tws_str text, void *out, size_t cap, size_t *out_len)
{
    *out_len = 0;
    if (text.len % 4 != 0) {
        return TWS_ERR_SYNTAX;
    }
    for (int pad = 0; pad < 2 && text.len > 0 && text.ptr[text.len - 1] == '='; pad++) {
        text.len--;
    }
    return tws__base64_read(tws__base64_alphabet, text, (uint8_t *)out, cap, out_len);
}

TWS_API tws_status tws_base64url_decode(tws_str text, void *out, size_t cap, size_t *out_len)
{
    *out_len = 0;
    return tws__base64_read(tws__base64url_alphabet, text, (uint8_t *)out, cap, out_len);
}

/* == 6. utf8: incremental validation ============================================== RFC 3629 ==
 * One automaton for every split. A state is a bit offset, and a byte is a 64-bit row that holds at
 * each state's offset the state that follows: a step is one shift, and no byte costs a branch that
 * could be mispredicted. BAD leads to itself, so that one look at the end of a stretch suffices. */

#define TWS__UTF8_START 0  /* between characters */
#define TWS__UTF8_BAD 6
#define TWS__UTF8_1 12     /* one, two, three continuation bytes to come */
#define TWS__UTF8_2 18
#define TWS__UTF8_3 24
#define TWS__UTF8_E0 30    /* after E0: 80..9F would be overlong */
#define TWS__UTF8_ED 36    /* after ED: A0..BF would be a surrogate */
#define TWS__UTF8_F0 42    /* after F0: 80..8F would be overlong */
#define TWS__UTF8_F4 48    /* after F4: 90..BF would be above U+10FFFF */

#define TWS__UTF8_ROW(start, one, two, three, e0, ed, f0, f4)                                  \
    ((uint64_t)TWS__UTF8_##start << TWS__UTF8_START |                                          \
     (uint64_t)TWS__UTF8_BAD << TWS__UTF8_BAD | (uint64_t)TWS__UTF8_##one << TWS__UTF8_1 |     \
     (uint64_t)TWS__UTF8_##two << TWS__UTF8_2 | (uint64_t)TWS__UTF8_##three << TWS__UTF8_3 |   \
     (uint64_t)TWS__UTF8_##e0 << TWS__UTF8_E0 | (uint64_t)TWS__UTF8_##ed << TWS__UTF8_ED |     \
     (uint64_t)TWS__UTF8_##f0 << TWS__UTF8_F0 | (uint64_t)TWS__UTF8_##f4 << TWS__UTF8_F4)

/* What follows a byte of each class, by state. RFC 3629 4. */
static const uint64_t tws__utf8_row[12] = {
    /*            START  1      2    3    E0   ED   F0   F4 */
    TWS__UTF8_ROW(START, BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 0: 00..7F */
    TWS__UTF8_ROW(BAD,   START, 1,   2,   BAD, 1,   BAD, 2),   /* 1: 80..8F */
    TWS__UTF8_ROW(BAD,   START, 1,   2,   BAD, 1,   2,   BAD), /* 2: 90..9F */
    TWS__UTF8_ROW(BAD,   START, 1,   2,   1,   BAD, 2,   BAD), /* 3: A0..BF */
    TWS__UTF8_ROW(1,     BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 4: C2..DF */
    TWS__UTF8_ROW(E0,    BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 5: E0 */
    TWS__UTF8_ROW(2,     BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 6: E1..EC, EE, EF */
    TWS__UTF8_ROW(ED,    BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 7: ED */
    TWS__UTF8_ROW(F0,    BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 8: F0 */
    TWS__UTF8_ROW(3,     BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 9: F1..F3 */
    TWS__UTF8_ROW(F4,    BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 10: F4 */
    TWS__UTF8_ROW(BAD,   BAD,   BAD, BAD, BAD, BAD, BAD, BAD), /* 11: C0, C1, F5..FF */
};

static const uint8_t tws__utf8_class[256] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 0_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 1_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 2_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 3_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 4_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 5_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 6_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 7_ */
    1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  1,  /* 8_ */
    2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  /* 9_ */
    3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  /* A_ */
    3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  3,  /* B_ */
    11, 11, 4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* C_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* D_ */
    5,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  6,  7,  6,  6,  /* E_ */
    8,  9,  9,  9,  10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, /* F_ */
};

static uint32_t tws__utf8_run(uint32_t state, const uint8_t *p, size_t len)
{
    uint64_t next = state;
    for (size_t i = 0; i < len; i++) {
        next = tws__utf8_row[tws__utf8_class[p[i]]] >> (next & 63);
    }
    return (uint32_t)(next & 63);
}

/* Length of the ASCII that data begins with, rounded down to whole words. */
static size_t tws__utf8_ascii(const uint8_t *p, size_t len)
{
    const uint64_t high_bits = TWS__BYTES(0x80);
    size_t i = 0;
    while (len - i >= 32) {
        uint64_t low = tws__load_u64(p + i) | tws__load_u64(p + i + 8);
        uint64_t high = tws__load_u64(p + i + 16) | tws__load_u64(p + i + 24);
        if (((low | high) & high_bits) != 0) {
            break;
        }
        i += 32;
    }
    while (len - i >= 8 && (tws__load_u64(p + i) & high_bits) == 0) {
        i += 8;
    }
    return i;
}

TWS_API size_t tws_utf8_feed(tws_utf8 *u, const void *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)data;
    size_t at = 0;
    while (at < len) {
        if (u->state == TWS__UTF8_START) {
            at += tws__utf8_ascii(p + at, len - at);
        }
        size_t stretch = tws__min(len - at, 32);
        uint32_t state = tws__utf8_run(u->state, p + at, stretch);
        if (state == TWS__UTF8_BAD) {
            break;
        }
        u->state = state;
        at += stretch;
    }
    while (at < len) { /* a bad stretch again, to find its bad byte */
        u->state = tws__utf8_run(u->state, p + at, 1);
        if (u->state == TWS__UTF8_BAD) {
            break;
        }
        at++;
    }
    return at;
}

TWS_API bool tws_utf8_complete(const tws_utf8 *u)
{
    return u->state == TWS__UTF8_START;
}

TWS_API bool tws_utf8_valid(tws_str text)
{
    tws_utf8 u;
    u.state = TWS__UTF8_START;
    return tws_utf8_feed(&u, text.ptr, text.len) == text.len && tws_utf8_complete(&u);
}

/* == 7. json: bounded-depth pull reader; writer =================================== RFC 8259 ==
 * One token per call, out of a text that stays where it is: no tree, no recursion, no memory. A
 * text nested 100,000 deep costs 128 bits and an error; a publish is checked in one pass. */

/* -- reader: bytes -- */

/* reader.expect: what may come next. 0 is the start of a text. */
enum {
    TWS__JSON_WANT_VALUE, /* at the start, behind a key, behind an array's comma */
    TWS__JSON_WANT_KEY,   /* behind an object's comma: `{"a":1,}` ends here */
    TWS__JSON_WANT_FIRST, /* a container's first element, or its end */
    TWS__JSON_WANT_NEXT,  /* a comma, or the container's end */
    TWS__JSON_WANT_END    /* white space only */
};

static tws_json_type tws__json_fail(tws_json_reader *r, size_t pos, const char *reason)
{
    r->pos = pos;
    r->reason = pos < r->text.len ? reason : "the text ends too early";
    return TWS_JSON_ERROR;
}

/* The byte at pos, or -1 behind the end. */
static int tws__json_at(const tws_json_reader *r, size_t pos)
{
    return pos < r->text.len ? (uint8_t)r->text.ptr[pos] : -1;
}

/* White space, RFC 8259 2. */
static bool tws__json_is_space(int c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The next byte that is no white space; r->pos moves to it. */
static int tws__json_peek(tws_json_reader *r)
{
    int c = tws__json_at(r, r->pos);
    while (tws__json_is_space(c)) {
        r->pos++;
        c = tws__json_at(r, r->pos);
    }
    return c;
}

/* The next n bytes are the token. */
static tws_json_type tws__json_take(tws_json_reader *r, size_t n, tws_json_type type,
                                    tws_json_token *token)
{
    token->text = tws_str_of(r->text.ptr + r->pos, n);
    r->pos += n;
    return type;
}

static void tws__json_value_done(tws_json_reader *r)
{
    r->expect = r->depth == 0 ? TWS__JSON_WANT_END : TWS__JSON_WANT_NEXT;
}

/* -- reader: strings -- */

/* Is there no quote, no backslash and no control character in these eight bytes? Each term has an
 * ASCII byte's top bit set when that byte is what it looks for. A borrow can set more, but only
 * above a byte that was found already, so zero is exact, in either byte order. */
static bool tws__json_plain(uint64_t word)
{
    uint64_t quote = word ^ TWS__BYTES('"');
    uint64_t escape = word ^ TWS__BYTES('\\');
    uint64_t found = (word - TWS__BYTES(0x20)) | (quote - TWS__BYTES(1)) |
                     (escape - TWS__BYTES(1));
    return (found & ~word & TWS__BYTES(0x80)) == 0;
}

/* From `at` on, the first quote, backslash or control character, or the text's end. The bytes
 * passed are gathered in *bits, whose top bits tell whether any was beyond ASCII. */
static size_t tws__json_run(tws_str text, size_t at, uint64_t *bits)
{
    uint64_t seen = *bits;
    for (; text.len - at >= 8; at += 8) {
        uint64_t word = tws__load_u64(text.ptr + at);
        if (!tws__json_plain(word)) {
            break;
        }
        seen |= word;
    }
    for (; at < text.len; at++) {
        uint8_t c = (uint8_t)text.ptr[at];
        if (c == '"' || c == '\\' || c < 0x20) {
            break;
        }
        seen |= c;
    }
    *bits = seen;
    return at;
}

/* Does s begin with \u and four hexadecimal digits? */
static bool tws__json_hex4(tws_str s, uint32_t *unit)
{
    if (s.len < 6 || s.ptr[0] != '\\' || s.ptr[1] != 'u') {
        return false;
    }
    uint32_t sum = 0;
    for (size_t i = 2; i < 6; i++) {
        uint32_t digit = tws__hex_digit(s.ptr[i]);
        if (digit > 15) {
            return false;
        }
        sum = sum * 16 + digit;
    }
    *unit = sum;
    return true;
}

/* A surrogate without its partner is no character and has no UTF-8: refused here, so that what
 * is unescaped later is always valid. */
static size_t tws__json_escape_u(tws_str s, uint32_t *code_point)
{
    uint32_t high = 0;
    uint32_t low = 0;
    if (!tws__json_hex4(s, &high)) {
        return 0;
    }
    if (high < 0xd800 || high > 0xdfff) {
        *code_point = high;
        return 6;
    }
    bool paired = high < 0xdc00 && tws__json_hex4(tws_str_from(s, 6), &low);
    if (!paired || low < 0xdc00 || low > 0xdfff) {
        return 0;
    }
    *code_point = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

/* The escape that s begins with: its length and what it stands for; 0 when it is none. */
static size_t tws__json_escape(tws_str s, uint32_t *code_point)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    if (s.len < 2) {
        return 0;
    }
    if (s.ptr[1] == 'u') {
        return tws__json_escape_u(s, code_point);
    }
    size_t i = tws_str_find(tws_str_c(letters), s.ptr[1]);
    *code_point = (uint8_t)meanings[i];
    return letters[i] == '\0' ? 0 : 2;
}

/* Only what has a byte beyond ASCII is read a second time. */
static bool tws__json_text_ok(tws_json_reader *r, tws_str s, uint64_t bits)
{
    if ((bits & TWS__BYTES(0x80)) == 0) {
        return true;
    }
    tws_utf8 utf8;
    memset(&utf8, 0, sizeof utf8);
    size_t good = tws_utf8_feed(&utf8, s.ptr, s.len);
    if (good == s.len && tws_utf8_complete(&utf8)) {
        return true;
    }
    (void)tws__json_fail(r, (size_t)(s.ptr - r->text.ptr) + good, "a string is not valid UTF-8");
    return false;
}

/* r->pos is at the opening quote. */
static tws_json_type tws__json_string(tws_json_reader *r, tws_json_type type,
                                      tws_json_token *token)
{
    size_t begin = r->pos + 1;
    uint64_t bits = 0;
    size_t at = tws__json_run(r->text, begin, &bits);
    while (tws__json_at(r, at) == '\\') {
        uint32_t code_point;
        size_t escape = tws__json_escape(tws_str_from(r->text, at), &code_point);
        if (escape == 0) {
            return tws__json_fail(r, at, "an escape is unknown, cut, or half of a pair");
        }
        token->escaped = true;
        at = tws__json_run(r->text, at + escape, &bits);
    }
    if (tws__json_at(r, at) != '"') {
        return tws__json_fail(r, at, "a control character in a string must be escaped");
    }
    token->text = tws_str_of(r->text.ptr + begin, at - begin);
    r->pos = at + 1;
    return tws__json_text_ok(r, token->text, bits) ? type : TWS_JSON_ERROR;
}

/* -- reader: grammar -- */

/* The end of a fraction or an exponent whose digits must begin at `at`; 0 without a digit. */
static size_t tws__json_tail(tws_json_reader *r, size_t at)
{
    size_t end = tws__str_digits(r->text, at);
    if (end == at) {
        (void)tws__json_fail(r, at, "a digit must follow");
        return 0;
    }
    return end;
}

static tws_json_type tws__json_number(tws_json_reader *r, tws_json_token *token)
{
    size_t first = r->pos + (tws__json_at(r, r->pos) == '-' ? 1 : 0);
    size_t end = tws__json_at(r, first) == '0' ? first + 1 : tws__json_tail(r, first);
    if (end != 0 && tws__json_at(r, end) == '.') {
        end = tws__json_tail(r, end + 1);
    }
    if (end != 0 && (tws__json_at(r, end) == 'e' || tws__json_at(r, end) == 'E')) {
        int sign = tws__json_at(r, end + 1);
        end = tws__json_tail(r, end + (sign == '+' || sign == '-' ? 2 : 1));
    }
    if (end == 0) {
        return TWS_JSON_ERROR;
    }
    tws__json_value_done(r);
    return tws__json_take(r, end - r->pos, TWS_JSON_NUMBER, token);
}

static tws_json_type tws__json_word(tws_json_reader *r, const char *word, tws_json_type type,
                                    tws_json_token *token)
{
    if (!tws_str_starts(tws_str_from(r->text, r->pos), word)) {
        return tws__json_fail(r, r->pos, "only true, false and null are words");
    }
    tws__json_value_done(r);
    return tws__json_take(r, strlen(word), type, token);
}

/* Is the innermost open container an object? There is one. */
static bool tws__json_in_object(const tws_json_reader *r)
{
    uint32_t i = r->depth - 1;
    return ((r->is_object[i / 8] >> (i % 8)) & 1) != 0;
}

static tws_json_type tws__json_open(tws_json_reader *r, tws_json_type type, tws_json_token *token)
{
    if (r->depth == TWS_JSON_MAX_DEPTH) {
        return tws__json_fail(r, r->pos, "nested too deeply");
    }
    uint8_t *bits = &r->is_object[r->depth / 8];
    unsigned bit = 1u << (r->depth % 8);
    *bits = (uint8_t)(type == TWS_JSON_OBJECT ? *bits | bit : *bits & ~bit);
    r->depth++;
    r->expect = TWS__JSON_WANT_FIRST;
    return tws__json_take(r, 1, type, token);
}

static tws_json_type tws__json_close(tws_json_reader *r, int c, tws_json_token *token)
{
    bool object = tws__json_in_object(r);
    if (object != (c == '}')) {
        return tws__json_fail(r, r->pos, "the brackets do not match");
    }
    r->depth--;
    tws__json_value_done(r);
    return tws__json_take(r, 1, object ? TWS_JSON_OBJECT_END : TWS_JSON_ARRAY_END, token);
}

/* The key with its colon. */
static tws_json_type tws__json_key(tws_json_reader *r, int c, tws_json_token *token)
{
    if (c != '"') {
        return tws__json_fail(r, r->pos, "a key must be a string in double quotes");
    }
    if (tws__json_string(r, TWS_JSON_KEY, token) == TWS_JSON_ERROR) {
        return TWS_JSON_ERROR;
    }
    if (tws__json_peek(r) != ':') {
        return tws__json_fail(r, r->pos, "a colon must follow the key");
    }
    r->pos++;
    r->expect = TWS__JSON_WANT_VALUE;
    return TWS_JSON_KEY;
}

static tws_json_type tws__json_value(tws_json_reader *r, int c, tws_json_token *token)
{
    if (c == '"') {
        tws__json_value_done(r);
        return tws__json_string(r, TWS_JSON_STRING, token);
    }
    if (c == '-' || (c >= '0' && c <= '9')) {
        return tws__json_number(r, token);
    }
    switch (c) {
    case '{': return tws__json_open(r, TWS_JSON_OBJECT, token);
    case '[': return tws__json_open(r, TWS_JSON_ARRAY, token);
    case 't': return tws__json_word(r, "true", TWS_JSON_TRUE, token);
    case 'f': return tws__json_word(r, "false", TWS_JSON_FALSE, token);
    case 'n': return tws__json_word(r, "null", TWS_JSON_NULL, token);
    default: return tws__json_fail(r, r->pos, "no value begins with this byte");
    }
}

static tws_json_type tws__json_step(tws_json_reader *r, tws_json_token *token)
{
    int c = tws__json_peek(r);
    if (r->expect == TWS__JSON_WANT_END) {
        return c < 0 ? TWS_JSON_END : tws__json_fail(r, r->pos, "a text is one value");
    }
    bool may_close = r->expect == TWS__JSON_WANT_FIRST || r->expect == TWS__JSON_WANT_NEXT;
    if (may_close && (c == '}' || c == ']')) {
        return tws__json_close(r, c, token);
    }
    bool key = r->expect != TWS__JSON_WANT_VALUE && tws__json_in_object(r);
    if (r->expect == TWS__JSON_WANT_NEXT) {
        if (c != ',') {
            return tws__json_fail(r, r->pos, "a comma or the closing bracket must follow");
        }
        r->pos++;
        r->expect = key ? TWS__JSON_WANT_KEY : TWS__JSON_WANT_VALUE;
        c = tws__json_peek(r);
    }
    return key ? tws__json_key(r, c, token) : tws__json_value(r, c, token);
}

/* -- reader: interface -- */

TWS_API void tws_json_init(tws_json_reader *r, tws_str text)
{
    memset(r, 0, sizeof *r);
    r->text = text;
}

TWS_API tws_json_type tws_json_next(tws_json_reader *r, tws_json_token *token)
{
    tws_json_token t;
    memset(&t, 0, sizeof t);
    if (r->reason == NULL) {
        t.type = tws__json_step(r, &t);
    }
    if (r->reason != NULL) { /* nothing of what broke a rule is handed out */
        memset(&t, 0, sizeof t);
        t.type = TWS_JSON_ERROR;
    }
    if (token != NULL) {
        *token = t;
    }
    return t.type;
}

static bool tws__json_is_container(tws_json_type type)
{
    return type == TWS_JSON_OBJECT || type == TWS_JSON_ARRAY;
}

TWS_API bool tws_json_skip(tws_json_reader *r, const tws_json_token *token, tws_str *raw)
{
    tws_json_token value = *token;
    TWS_ASSERT(value.type != TWS_JSON_END && value.type != TWS_JSON_OBJECT_END &&
               value.type != TWS_JSON_ARRAY_END); /* these begin nothing */
    if (value.type == TWS_JSON_KEY) {
        (void)tws_json_next(r, &value);
    }
    uint32_t outside = r->depth - (tws__json_is_container(value.type) ? 1 : 0);
    while (r->depth > outside && r->reason == NULL) {
        (void)tws_json_next(r, NULL);
    }
    if (r->reason != NULL) {
        return false;
    }
    if (raw != NULL) {
        const char *begin = value.text.ptr - (value.type == TWS_JSON_STRING ? 1 : 0);
        *raw = tws_str_of(begin, (size_t)(r->text.ptr + r->pos - begin));
    }
    return true;
}

TWS_API bool tws_json_valid(tws_str text)
{
    tws_json_reader r;
    tws_json_init(&r, text);
    tws_json_type type = tws_json_next(&r, NULL);
    while (type != TWS_JSON_END && type != TWS_JSON_ERROR) {
        type = tws_json_next(&r, NULL);
    }
    return type == TWS_JSON_END;
}

/* UTF-8 of a code point that is no surrogate: 1..4 bytes. */
static size_t tws__json_utf8(uint32_t code_point, char out[4])
{
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    size_t len = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    out[0] = (char)(lead[len] | code_point);
    return len;
}

/* Take the next piece off a string's text: a run without escapes, or one escape, whose meaning
 * is written to utf8. */
static tws_str tws__json_piece(tws_str *rest, char utf8[4])
{
    size_t plain = tws_str_find(*rest, '\\');
    if (plain > 0) {
        tws_str run = tws_str_of(rest->ptr, plain);
        *rest = tws_str_from(*rest, plain);
        return run;
    }
    uint32_t code_point = 0;
    size_t escape = tws__json_escape(*rest, &code_point);
    TWS_ASSERT(escape > 0); /* the reader has checked it */
    *rest = tws_str_from(*rest, escape);
    return tws_str_of(utf8, tws__json_utf8(code_point, utf8));
}

TWS_API void tws_json_unescape(const tws_json_token *token, tws_buf *out)
{
    char utf8[4];
    tws_str rest = token->text;
    while (rest.len > 0) {
        tws_buf_str(out, tws__json_piece(&rest, utf8));
    }
}

/* Compared piece by piece, so that a key of any length needs no memory. */
static bool tws__json_is(const tws_json_token *key, tws_str name)
{
    if (!key->escaped) {
        return tws_str_eq(key->text, name);
    }
    char utf8[4];
    tws_str rest = key->text;
    while (rest.len > 0) {
        tws_str piece = tws__json_piece(&rest, utf8);
        if (!tws_str_eq(piece, tws_str_of(name.ptr, tws__min(piece.len, name.len)))) {
            return false;
        }
        name = tws_str_from(name, piece.len);
    }
    return name.len == 0;
}

/* The value behind a key; for a container its whole text. */
static void tws__json_read_value(tws_json_reader *r, tws_json_token *value)
{
    tws_str raw;
    (void)tws_json_next(r, value);
    if (tws__json_is_container(value->type) && tws_json_skip(r, value, &raw)) {
        value->text = raw;
    }
}

TWS_API tws_status tws_json_member(tws_str text, tws_str name, tws_json_token *value)
{
    tws_json_reader r;
    tws_json_token token;
    tws_json_init(&r, text);
    memset(value, 0, sizeof *value);
    tws_status status = tws__json_peek(&r) == '{' ? TWS_ERR_NOT_FOUND : TWS_ERR_ARGUMENT;
    while (tws_json_next(&r, &token) != TWS_JSON_END && r.reason == NULL) {
        if (token.type == TWS_JSON_KEY && r.depth == 1 && tws__json_is(&token, name)) {
            tws__json_read_value(&r, value);
            status = TWS_OK;
        }
    }
    if (r.reason != NULL) {
        memset(value, 0, sizeof *value);
        return TWS_ERR_SYNTAX;
    }
    return status;
}

TWS_API bool tws_json_i64(const tws_json_token *token, int64_t *value)
{
    bool negative = tws_str_starts(token->text, "-");
    return token->type == TWS_JSON_NUMBER &&
           tws__str_signed(tws_str_from(token->text, negative ? 1 : 0), negative, value);
}

/* -- writer -- */

static bool tws__json_writes_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<';
}

static void tws__json_write_u(tws_buf *b, uint32_t unit)
{
    tws_buf_c(b, "\\u");
    tws__buf_digits(b, unit, 16, 4);
}

static void tws__json_write_ascii(tws_buf *b, char c)
{
    if (c == '"' || c == '\\') {
        tws_buf_char(b, '\\');
        tws_buf_char(b, c);
        return;
    }
    tws__json_write_u(b, (uint8_t)c); /* `<` too: "</script>" and "<!--" must not come out */
}

/* How many bytes the sequence at s takes; a broken one's are those that one U+FFFD replaces
 * (Unicode 3.9, "maximal subpart"). */
static size_t tws__json_sequence(tws_str s, bool *valid)
{
    tws_utf8 utf8;
    memset(&utf8, 0, sizeof utf8);
    size_t n = 0;
    while (n < s.len && tws_utf8_feed(&utf8, s.ptr + n, 1) == 1) {
        n++;
        if (tws_utf8_complete(&utf8)) {
            *valid = true;
            return n;
        }
    }
    *valid = false;
    return tws__max(n, 1);
}

/* What ends a line in a script (U+2028, 2029), turns text around (U+202A to 202E, 2066 to 2069), or
 * begins an escape on a terminal (C1). */
static bool tws__json_controls(tws_str c, uint32_t *unit)
{
    const uint8_t *p = (const uint8_t *)c.ptr;
    uint32_t u = c.len == 2   ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
                 : c.len == 3 ? (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu)
                              : 0;
    *unit = u;
    return (u >= 0x80 && u <= 0x9f) || (u >= 0x2028 && u <= 0x202e) || (u >= 0x2066 && u <= 0x2069);
}

/* The character that s begins with, which cannot stand as it is or is beyond ASCII; the bytes it
 * took. */
static size_t tws__json_write_odd(tws_buf *b, tws_str s)
{
    if ((uint8_t)s.ptr[0] < 0x80) {
        tws__json_write_ascii(b, s.ptr[0]);
        return 1;
    }
    bool valid;
    uint32_t unit;
    size_t n = tws__json_sequence(s, &valid);
    tws_str c = tws_str_of(s.ptr, n);
    if (!valid) {
        tws_buf_c(b, "\xef\xbf\xbd");
    } else if (tws__json_controls(c, &unit)) {
        tws__json_write_u(b, unit);
    } else {
        tws_buf_str(b, c);
    }
    return n;
}

TWS_API void tws_json_write_str(tws_buf *b, tws_str s)
{
    tws_buf_char(b, '"');
    while (s.len > 0) {
        size_t plain = 0;
        while (plain < s.len && tws__json_writes_plain((uint8_t)s.ptr[plain])) {
            plain++;
        }
        tws_buf_put(b, s.ptr, plain);
        s = tws_str_from(s, plain);
        if (s.len > 0) {
            s = tws_str_from(s, tws__json_write_odd(b, s));
        }
    }
    tws_buf_char(b, '"');
}

TWS_API void tws_json_write_key(tws_buf *b, const char *name)
{
    if (b->len > 0 && b->ptr[b->len - 1] != '{') {
        tws_buf_char(b, ',');
    }
    tws_json_write_str(b, tws_str_c(name));
    tws_buf_char(b, ':');
}

TWS_API void tws_json_write_member(tws_buf *b, const char *name, tws_str value)
{
    tws_json_write_key(b, name);
    tws_json_write_str(b, value);
}

TWS_API void tws_json_write_member_u64(tws_buf *b, const char *name, uint64_t value)
{
    tws_json_write_key(b, name);
    tws_buf_u64(b, value);
}

TWS_API void tws_json_write_member_bool(tws_buf *b, const char *name, bool value)
{
    tws_json_write_key(b, name);
    tws_buf_c(b, value ? "true" : "false");
}

/* == 8. http: request and response heads, queries, chunks ==================== RFC 9112, 3986 ==
 * One pass over a head, slices into the caller's bytes, nothing copied. Strict where a lenient
 * reader and the proxy before it could see two different requests in the same bytes (smuggling):
 * line ends, field names, every length. */

/* -- bytes -- */

#define TWS__HTTP_TOKEN 1  /* methods and field names, RFC 9110 5.6.2 */
#define TWS__HTTP_TARGET 2 /* a target: visible ASCII but `#`, which no client sends */
#define TWS__HTTP_TEXT 4   /* field values: visible, obs-text, space, tab; RFC 9110 5.5 */
#define TWS__HTTP_HOST 8   /* a host's name: unreserved, sub-delims, `%`; RFC 3986 3.2.2 */
#define TWS__HTTP_HEX 16   /* hexadecimal digits */
#define TWS__HTTP_COLON 32 /* what stands between them in an IPv6 address: `:`, `.` */

static const uint8_t tws__http_class[256] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  4,  0,  0,  0,  0,  0,  0,  /* 0_ */
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  /* 1_ */
    4,  15, 6,  5,  15, 15, 15, 15, 14, 14, 15, 15, 14, 15, 47, 6,  /* 2_ */
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 38, 14, 6,  14, 6,  6,  /* 3_ */
    6,  31, 31, 31, 31, 31, 31, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 4_ */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6,  6,  6,  7,  15, /* 5_ */
    7,  31, 31, 31, 31, 31, 31, 15, 15, 15, 15, 15, 15, 15, 15, 15, /* 6_ */
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6,  7,  6,  15, 0,  /* 7_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 8_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* 9_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* A_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* B_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* C_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* D_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* E_ */
    4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  4,  /* F_ */
};

static bool tws__http_is(char c, unsigned wanted)
{
    return (tws__http_class[(uint8_t)c] & wanted) != 0;
}

/* How many bytes of that class s begins with. */
static size_t tws__http_span(tws_str s, unsigned wanted)
{
    size_t n = 0;
    while (n < s.len && tws__http_is(s.ptr[n], wanted)) {
        n++;
    }
    return n;
}

static bool tws__http_all(tws_str s, unsigned wanted)
{
    return tws__http_span(s, wanted) == s.len;
}

/* -- heads: what requests and responses share -- */

#define TWS__HTTP_HEAD_BYTES 16384 /* of a head, where no limit is given */

/* tws__http_head.seen */
#define TWS__HTTP_SEEN_HOST 1u
#define TWS__HTTP_SEEN_LENGTH 2u
#define TWS__HTTP_SEEN_CHUNKED 4u
#define TWS__HTTP_SEEN_CLOSE 8u
#define TWS__HTTP_SEEN_KEEP_ALIVE 16u
#define TWS__HTTP_SEEN_UPGRADE 32u  /* Connection: upgrade */
#define TWS__HTTP_SEEN_PROTOCOL 64u /* an Upgrade field */
#define TWS__HTTP_SEEN_CONTINUE 128u

/* A head while it is read. Steps return DONE to go on. */
typedef struct tws__http_head {
    tws_str text; /* as much as has come */
    size_t pos;
    tws_http_field *field;
    uint32_t field_count;
    uint32_t minor;
    uint32_t seen;
    bool request;
    uint64_t content_length;
    tws_str host;
    int status; /* should the head fail; and pos then is where */
    const char *reason;
} tws__http_head;

static void tws__http_start(tws__http_head *h, const char *data, size_t len, tws_http_field *field)
{
    memset(h, 0, sizeof *h);
    h->text = tws_str_of(data, len);
    h->field = field;
    h->status = 400;
}

static tws_http_result tws__http_fail(tws__http_head *h, const char *reason)
{
    h->reason = reason;
    return TWS_HTTP_ERROR;
}

/* The same, at a slice of the head. */
static tws_http_result tws__http_fail_at(tws__http_head *h, tws_str what, const char *reason)
{
    h->pos = (size_t)(what.ptr - h->text.ptr);
    return tws__http_fail(h, reason);
}

static tws_str tws__http_rest(const tws__http_head *h)
{
    return tws_str_from(h->text, h->pos);
}

/* The CRLF that must stand here. A bare LF or CR is a line's end to some and not to others. */
static tws_http_result tws__http_crlf(tws__http_head *h)
{
    tws_str rest = tws__http_rest(h);
    if (rest.len > 0 && rest.ptr[0] != '\r') {
        const char *other = "a byte that may not stand here";
        return tws__http_fail(h, rest.ptr[0] == '\n' ? "LF without CR" : other);
    }
    if (rest.len < 2) {
        return TWS_HTTP_MORE;
    }
    if (rest.ptr[1] != '\n') {
        return tws__http_fail(h, "CR without LF");
    }
    h->pos += 2;
    return TWS_HTTP_DONE;
}

/* HTTP/1.x, judged by as many of its bytes as are there: HTTP/0.9, whose request ends where the
 * version should begin, must not be left waiting. */
static tws_http_result tws__http_version(tws__http_head *h)
{
    static const char shape[] = "HTTP/0.0";
    tws_str rest = tws__http_rest(h);
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        if (i == rest.len) {
            return TWS_HTTP_MORE;
        }
        if (shape[i] == '0' ? !tws__is_digit(rest.ptr[i]) : rest.ptr[i] != shape[i]) {
            return tws__http_fail(h, "no HTTP version");
        }
    }
    if (rest.ptr[5] != '1') {
        h->status = rest.ptr[5] == '0' ? 400 : 505;
        return tws__http_fail(h, "not HTTP/1");
    }
    h->minor = (uint32_t)(rest.ptr[7] - '0');
    h->pos += 8;
    return TWS_HTTP_DONE;
}

/* host [":" port], RFC 3986 3.2, or nothing. No user information: it is there to deceive
 * (RFC 9110 4.2.4). *port: its digits, if any. */
static bool tws__http_authority(tws_str s, tws_str *port)
{
    uint64_t number = 0;
    size_t host = tws__http_span(s, TWS__HTTP_HOST);
    if (tws_str_starts(s, "[")) {
        host = 1 + tws__http_span(tws_str_from(s, 1), TWS__HTTP_HEX | TWS__HTTP_COLON);
        if (host == s.len || s.ptr[host] != ']') {
            return false;
        }
        host++;
    }
    *port = tws_str_from(s, host + 1);
    if (host == s.len) {
        return true;
    }
    return host > 0 && s.ptr[host] == ':' &&
           (port->len == 0 || (tws_str_u64(*port, &number) && number <= 65535));
}

static tws_http_result tws__http_note_host(tws__http_head *h, tws_str value)
{
    if ((h->seen & TWS__HTTP_SEEN_HOST) != 0) {
        return tws__http_fail(h, "a second Host");
    }
    tws_str port;
    if (!tws__http_authority(value, &port)) {
        return tws__http_fail(h, "Host is a name and perhaps a port");
    }
    h->host = value;
    h->seen |= TWS__HTTP_SEEN_HOST;
    return TWS_HTTP_DONE;
}

/* The same length twice says nothing wrong (RFC 9110 8.6); a list of them is refused. */
static tws_http_result tws__http_note_length(tws__http_head *h, tws_str value)
{
    uint64_t length;
    if (!tws_str_u64(value, &length)) {
        return tws__http_fail(h, "Content-Length is digits, below 2^64");
    }
    if ((h->seen & TWS__HTTP_SEEN_LENGTH) != 0 && length != h->content_length) {
        return tws__http_fail(h, "two Content-Lengths that differ");
    }
    h->content_length = length;
    h->seen |= TWS__HTTP_SEEN_LENGTH;
    return TWS_HTTP_DONE;
}

/* chunked last, and only there, delimits a body. RFC 9112 6.3. */
static bool tws__http_ends_chunked(tws_str codings)
{
    int chunked = 0;
    tws_str last = codings;
    while (tws_str_split(&codings, ',', &last)) {
        chunked += tws__str_is(last, "chunked") ? 1 : 0;
    }
    return chunked == 1 && tws__str_is(last, "chunked");
}

/* A coding that is sound but not ours is 501 (RFC 9112 6.1); one that leaves the body's end
 * unknown is 400 (6.3). */
static tws_http_result tws__http_note_coding(tws__http_head *h, tws_str value)
{
    if ((h->seen & TWS__HTTP_SEEN_CHUNKED) != 0) {
        return tws__http_fail(h, "a second Transfer-Encoding");
    }
    if (!tws__str_is(value, "chunked")) {
        h->status = tws__http_ends_chunked(value) ? 501 : 400;
        return tws__http_fail(h, "the only Transfer-Encoding is chunked");
    }
    h->seen |= TWS__HTTP_SEEN_CHUNKED;
    return TWS_HTTP_DONE;
}

static tws_http_result tws__http_note_connection(tws__http_head *h, tws_str value)
{
    tws_str option;
    while (tws_str_split(&value, ',', &option)) {
        if (tws__str_is(option, "close")) {
            h->seen |= TWS__HTTP_SEEN_CLOSE;
        } else if (tws__str_is(option, "keep-alive")) {
            h->seen |= TWS__HTTP_SEEN_KEEP_ALIVE;
        } else if (tws__str_is(option, "upgrade")) {
            h->seen |= TWS__HTTP_SEEN_UPGRADE;
        }
    }
    return TWS_HTTP_DONE;
}

static bool tws__http_is_named(const tws_http_field *f, const char *name)
{
    return tws__str_is(f->name, name);
}

/* Fields that decide how the message goes on. */
static tws_http_result tws__http_note(tws__http_head *h, const tws_http_field *f)
{
    if (tws__http_is_named(f, "connection")) {
        return tws__http_note_connection(h, f->value);
    }
    if (tws__http_is_named(f, "content-length")) {
        return tws__http_note_length(h, f->value);
    }
    if (tws__http_is_named(f, "transfer-encoding")) {
        return tws__http_note_coding(h, f->value);
    }
    if (tws__http_is_named(f, "host") && h->request) {
        return tws__http_note_host(h, f->value);
    }
    if (tws__http_is_named(f, "upgrade")) {
        h->seen |= TWS__HTTP_SEEN_PROTOCOL;
    }
    if (tws__http_is_named(f, "expect") && tws__str_is(f->value, "100-continue")) {
        h->seen |= TWS__HTTP_SEEN_CONTINUE;
    }
    return TWS_HTTP_DONE;
}

/* name ":" OWS value OWS CRLF. An empty name, a folded line and a space before the colon are
 * refused: of two readers in a row, each of these has hidden a field from one. */
static tws_http_result tws__http_field_line(tws__http_head *h)
{
    tws_str line = tws__http_rest(h);
    size_t name = tws__http_span(line, TWS__HTTP_TOKEN);
    if (name == line.len) {
        return TWS_HTTP_MORE;
    }
    if (name == 0 || line.ptr[name] != ':') {
        h->pos += name;
        return tws__http_fail(h, "a field is a name, a colon and a value");
    }
    if (h->field_count == TWS_MAX_FIELDS) {
        h->status = 431;
        return tws__http_fail(h, "too many fields");
    }
    tws_str value = tws_str_from(line, name + 1);
    value.len = tws__http_span(value, TWS__HTTP_TEXT);
    h->pos += name + 1 + value.len;
    tws_http_result end = tws__http_crlf(h);
    if (end != TWS_HTTP_DONE) {
        return end;
    }
    tws_http_field *f = &h->field[h->field_count++];
    f->name = tws_str_of(line.ptr, name);
    f->value = tws_str_trim(value);
    tws_http_result result = tws__http_note(h, f);
    return result == TWS_HTTP_ERROR ? tws__http_fail_at(h, f->value, h->reason) : result;
}

/* Field lines and the blank line behind them. */
static tws_http_result tws__http_fields(tws__http_head *h)
{
    while (h->pos < h->text.len && h->text.ptr[h->pos] != '\r') {
        tws_http_result result = tws__http_field_line(h);
        if (result != TWS_HTTP_DONE) {
            return result;
        }
    }
    tws_http_result blank = tws__http_crlf(h);
    const unsigned both = TWS__HTTP_SEEN_CHUNKED | TWS__HTTP_SEEN_LENGTH;
    if (blank == TWS_HTTP_DONE && (h->seen & both) == both) {
        return tws__http_fail(h, "Content-Length next to Transfer-Encoding");
    }
    return blank;
}

/* RFC 9112 9.3 */
static bool tws__http_keeps_alive(const tws__http_head *h)
{
    unsigned wish = h->minor == 0 ? TWS__HTTP_SEEN_KEEP_ALIVE : 0;
    return (h->seen & (wish | TWS__HTTP_SEEN_CLOSE)) == wish;
}

static const tws_str *tws__http_field_named(const tws_http_field *field, uint32_t count,
                                            const char *name)
{
    tws_str wanted = tws_str_c(name);
    for (uint32_t i = 0; i < count; i++) {
        if (tws_str_eq_nocase(field[i].name, wanted)) {
            return &field[i].value;
        }
    }
    return NULL;
}

/* How often a field occurs; *value is the last of them. */
static int tws__http_count(const tws_http_field *field, uint32_t fields, const char *name,
                           tws_str *value)
{
    int count = 0;
    *value = tws_str_of(NULL, 0);
    for (uint32_t i = 0; i < fields; i++) {
        if (tws__http_is_named(&field[i], name)) {
            *value = field[i].value;
            count++;
        }
    }
    return count;
}

/* The items of a list, in as many fields of a name as it is spread over (RFC 9110 5.3). */
typedef struct tws__http_items {
    const tws_http_field *field; /* still to be looked at */
    uint32_t fields;
    tws_str name;
    tws_str rest; /* of the field before them */
} tws__http_items;

static tws__http_items tws__http_items_of(const tws_http_field *field, uint32_t fields,
                                          const char *name)
{
    tws__http_items items = {field, fields, tws_str_c(name), tws_str_of(NULL, 0)};
    return items;
}

static bool tws__http_next(tws__http_items *items, char separator, tws_str *item)
{
    while (!tws_str_split(&items->rest, separator, item)) {
        if (items->fields == 0) {
            return false;
        }
        if (tws_str_eq_nocase(items->field->name, items->name)) {
            items->rest = items->field->value;
        }
        items->field++;
        items->fields--;
    }
    return true;
}

static bool tws__http_lists(const tws_http_field *field, uint32_t fields, const char *name,
                            const char *token)
{
    tws_str item;
    tws__http_items items = tws__http_items_of(field, fields, name);
    while (tws__http_next(&items, ',', &item)) {
        if (tws__str_is(item, token)) {
            return true;
        }
    }
    return false;
}

/* -- requests -- */

/* One empty line before a request is forgiven, RFC 9112 2.2: its length, if it is there. */
static size_t tws__http_lead(tws_str text)
{
    return tws_str_starts(text, "\r\n") ? 2 : 0;
}

static tws_http_result tws__http_skip_lead(tws__http_head *h)
{
    return tws_str_starts(h->text, "\r") ? tws__http_crlf(h) : TWS_HTTP_DONE;
}

/* The path and, behind the first `?`, the query. */
static void tws__http_split_target(tws_http_request *r, tws_str target)
{
    size_t mark = tws_str_find(target, '?');
    r->path = tws_str_of(target.ptr, mark);
    r->query = tws_str_from(target, mark + 1);
}

/* http://host/path?query, RFC 9112 3.2.2: its host stands for the Host field, which is ignored. */
static bool tws__http_absolute_form(tws_http_request *r)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};
    size_t scheme = 0;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        tws_str known = tws_str_c(schemes[i]);
        tws_str begin = tws_str_of(r->target.ptr, tws__min(r->target.len, known.len));
        scheme = tws_str_eq_nocase(begin, known) ? known.len : scheme;
    }
    tws_str rest = tws_str_from(r->target, scheme);
    size_t host = tws__min(tws_str_find(rest, '/'), tws_str_find(rest, '?'));
    tws_str port;
    r->host = tws_str_of(rest.ptr, host);
    if (scheme == 0 || host == 0 || !tws__http_authority(r->host, &port)) {
        return false;
    }
    tws__http_split_target(r, tws_str_from(rest, host));
    if (r->path.len == 0) { /* 3.2.4 */
        bool server_wide = tws_str_eq_c(r->method, "OPTIONS") && host == rest.len;
        r->path = tws_str_c(server_wide ? "*" : "/");
    }
    return true;
}

/* The four forms of a target, RFC 9112 3.2. */
static tws_http_result tws__http_target_form(tws__http_head *h, tws_http_request *r)
{
    tws_str port;
    if (tws_str_eq_c(r->method, "CONNECT")) {
        r->host = r->target;
        if (!tws__http_authority(r->target, &port) || port.len == 0) {
            return tws__http_fail_at(h, r->target, "CONNECT's target is host:port");
        }
        return TWS_HTTP_DONE;
    }
    if (r->target.ptr[0] == '/') {
        tws__http_split_target(r, r->target);
        return TWS_HTTP_DONE;
    }
    if (tws_str_eq_c(r->target, "*") && tws_str_eq_c(r->method, "OPTIONS")) {
        r->path = r->target;
        return TWS_HTTP_DONE;
    }
    if (!tws__http_absolute_form(r)) {
        return tws__http_fail_at(h, r->target, "the target is neither a path nor a URL");
    }
    return TWS_HTTP_DONE;
}

/* A word of that class and the one space behind it. */
static tws_http_result tws__http_word(tws__http_head *h, unsigned wanted, tws_str *word)
{
    tws_str rest = tws__http_rest(h);
    size_t len = tws__http_span(rest, wanted);
    if (len == rest.len) {
        return TWS_HTTP_MORE;
    }
    if (len == 0 || rest.ptr[len] != ' ') {
        h->pos += len;
        return tws__http_fail(h, "no method, target or version");
    }
    *word = tws_str_of(rest.ptr, len);
    h->pos += len + 1;
    return TWS_HTTP_DONE;
}

static tws_http_result tws__http_request_line(tws__http_head *h, tws_http_request *r)
{
    tws_http_result result = tws__http_skip_lead(h);
    if (result == TWS_HTTP_DONE) {
        result = tws__http_word(h, TWS__HTTP_TOKEN, &r->method);
    }
    if (result == TWS_HTTP_DONE) {
        result = tws__http_word(h, TWS__HTTP_TARGET, &r->target);
    }
    if (result == TWS_HTTP_DONE) {
        result = tws__http_version(h);
    }
    if (result == TWS_HTTP_DONE) {
        result = tws__http_crlf(h);
    }
    return result == TWS_HTTP_DONE ? tws__http_target_form(h, r) : result;
}

/* What can only be judged when all fields are there. */
static tws_http_result tws__http_request_rules(tws__http_head *h)
{
    if (h->minor > 0 && (h->seen & TWS__HTTP_SEEN_HOST) == 0) {
        return tws__http_fail(h, "HTTP/1.1 wants a Host");
    }
    if (h->minor == 0 && (h->seen & TWS__HTTP_SEEN_CHUNKED) != 0) { /* RFC 9112 6.1 */
        return tws__http_fail(h, "HTTP/1.0 has no Transfer-Encoding");
    }
    return TWS_HTTP_DONE;
}

/* An HTTP/1.0 request cannot ask for 100 (RFC 9110 10.1.1) nor for another protocol (7.8). */
static void tws__http_request_done(const tws__http_head *h, tws_http_request *r)
{
    const unsigned asks = TWS__HTTP_SEEN_UPGRADE | TWS__HTTP_SEEN_PROTOCOL;
    bool modern = h->minor > 0;
    r->minor = h->minor;
    r->host = r->host.ptr != NULL ? r->host : h->host;
    r->keep_alive = tws__http_keeps_alive(h);
    r->chunked = (h->seen & TWS__HTTP_SEEN_CHUNKED) != 0;
    r->expect_continue = modern && (h->seen & TWS__HTTP_SEEN_CONTINUE) != 0;
    r->upgrade = modern && (h->seen & asks) == asks;
    r->content_length = h->content_length;
    r->head_bytes = h->pos;
}

/* Everything but the fields, of which field_count tells how many there are. */
static void tws__http_clear(tws_http_request *r)
{
    const size_t behind = offsetof(tws_http_request, keep_alive);
    memset(r, 0, offsetof(tws_http_request, field));
    memset((char *)r + behind, 0, sizeof *r - behind);
}

/* From the first byte on. len is cut to the limit, so that the answer to a head that is too long
 * does not depend on how much of it came at once. */
static tws_http_result tws__http_read(tws_http_request *r, const char *data, size_t len,
                                      size_t max)
{
    tws__http_head h;
    tws__http_start(&h, data, tws__min(len, max), r->field);
    tws__http_clear(r);
    h.request = true;
    tws_http_result result = tws__http_request_line(&h, r);
    if (result == TWS_HTTP_DONE) {
        result = tws__http_fields(&h);
    }
    if (result == TWS_HTTP_DONE) {
        result = tws__http_request_rules(&h);
    }
    if (result == TWS_HTTP_MORE && len >= max) {
        tws_str line = tws_str_from(h.text, tws__http_lead(h.text));
        h.status = tws_str_find(line, '\n') == line.len ? 414 : 431;
        h.pos = max;
        result = tws__http_fail(&h, "the head is too long");
    }
    if (result == TWS_HTTP_DONE) {
        tws__http_request_done(&h, r);
    }
    if (result == TWS_HTTP_ERROR) {
        r->status = h.status;
        r->reason = h.reason;
        r->offset = h.pos;
    }
    r->field_count = h.field_count;
    return result;
}

/* Where the next LF stands from `from` on, or the text's length. */
static size_t tws__http_next_line(tws_str text, size_t from)
{
    return from + tws_str_find(tws_str_from(text, from), '\n');
}

/* Is the line at `begin` no field, as the blank line is none, or malformed by itself? */
static bool tws__http_is_bad_line(tws_str text, size_t begin)
{
    tws__http_head h;
    tws_http_field field;
    tws__http_start(&h, text.ptr, text.len, &field);
    h.pos = begin;
    h.request = true;
    return tws__http_field_line(&h) == TWS_HTTP_ERROR;
}

/* Is there a reason to parse the head again, now that the bytes from `from` on have come? There is
 * when they end the request line, as a peer that does not speak HTTP/1 should be told at once, the
 * blank line, or a malformed line, as its sender may wait for an answer before it sends more. Each
 * new byte is looked at once, and once more when its line ends. */
static bool tws__http_has_news(tws_str text, size_t from)
{
    size_t at = tws__http_next_line(text, from);
    if (at == text.len) {
        return false;
    }
    size_t begin = from;
    while (begin > 0 && text.ptr[begin - 1] != '\n') {
        begin--;
    }
    bool news = begin <= tws__http_lead(text);
    while (!news && at < text.len) {
        news = tws__http_is_bad_line(text, begin);
        begin = at + 1;
        at = tws__http_next_line(text, begin);
    }
    return news;
}

TWS_API tws_http_result tws_http_parse(tws_http_request *r, const char *data, size_t len,
                                       size_t *scanned, const tws_http_limits *limits)
{
    bool given = limits != NULL && limits->max_head_bytes > 0;
    size_t max = given ? limits->max_head_bytes : TWS__HTTP_HEAD_BYTES;
    size_t from = scanned == NULL ? 0 : *scanned;
    TWS_ASSERT(from <= len);
    tws_http_result result = TWS_HTTP_MORE;
    if (from == 0 || len >= max || tws__http_has_news(tws_str_of(data, len), from)) {
        result = tws__http_read(r, data, len, max);
    }
    if (scanned != NULL) {
        *scanned = result == TWS_HTTP_MORE ? len : 0;
    }
    return result;
}

TWS_API const tws_str *tws_http_find(const tws_http_request *r, const char *name)
{
    return tws__http_field_named(r->field, r->field_count, name);
}

TWS_API bool tws_http_lists(const tws_http_request *r, const char *name, const char *token)
{
    return tws__http_lists(r->field, r->field_count, name, token);
}

/* `name=value`; without `=` the value is empty. Is it that name? */
static bool tws__http_pair(tws_str pair, const char *name, tws_str *value)
{
    size_t equals = tws_str_find(pair, '=');
    *value = tws_str_from(pair, equals + 1);
    return tws_str_eq_c(tws_str_of(pair.ptr, equals), name);
}

static tws_str tws__http_unquote(tws_str s)
{
    bool quoted = s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"';
    return quoted ? tws_str_of(s.ptr + 1, s.len - 2) : s;
}

TWS_API bool tws_http_cookie(const tws_http_request *r, const char *name, tws_str *value)
{
    tws_str pair;
    tws__http_items cookies = tws__http_items_of(r->field, r->field_count, "cookie");
    while (tws__http_next(&cookies, ';', &pair)) {
        if (tws__http_pair(pair, name, value)) {
            *value = tws__http_unquote(*value);
            return true;
        }
    }
    *value = tws_str_c(NULL);
    return false;
}

TWS_API int tws_http_query(tws_str query, const char *name, tws_str *value)
{
    int count = 0;
    tws_str pair;
    tws_str found;
    *value = tws_str_c(NULL);
    while (tws_str_split(&query, '&', &pair)) {
        if (!tws__http_pair(pair, name, &found)) {
            continue;
        }
        if (count == 0) {
            *value = found;
        }
        count++;
    }
    return count;
}

/* Decode the byte that s begins with. Returns how many characters it takes, 0 for a bad escape. */
static size_t tws__http_unescape(tws_str s, bool plus_is_space, char *c)
{
    *c = plus_is_space && s.ptr[0] == '+' ? ' ' : s.ptr[0];
    if (*c != '%') {
        return 1;
    }
    uint32_t high = s.len < 3 ? 16 : tws__hex_digit(s.ptr[1]);
    uint32_t low = s.len < 3 ? 16 : tws__hex_digit(s.ptr[2]);
    *c = (char)(high * 16 + low);
    return high > 15 || low > 15 ? 0 : 3;
}

TWS_API tws_status tws_http_decode(tws_str s, bool plus_is_space, char *out, size_t cap,
                                   size_t *out_len)
{
    size_t n = 0;
    *out_len = 0;
    while (s.len > 0) {
        char c;
        size_t taken = tws__http_unescape(s, plus_is_space, &c);
        if (taken == 0 || c == '\0') { /* NUL ends a string early for whoever reads it next */
            return TWS_ERR_SYNTAX;
        }
        if (n == cap) {
            return TWS_ERR_LIMIT;
        }
        out[n++] = c;
        s = tws_str_from(s, taken);
    }
    *out_len = n;
    return TWS_OK;
}

/* -- chunked bodies, RFC 9112 7.1 -- */

#define TWS__HTTP_CHUNK_LINE 256      /* bytes of a size with its extensions, which are skipped */
#define TWS__HTTP_CHUNK_TRAILERS 8192 /* bytes of all trailer lines, which are dropped */

/* tws_http_chunks.state: what the next byte belongs to. */
enum {
    TWS__CHUNK_SIZE,
    TWS__CHUNK_BLANK, /* between size and extension */
    TWS__CHUNK_EXTENSION,
    TWS__CHUNK_SIZE_LF,
    TWS__CHUNK_DATA,
    TWS__CHUNK_DATA_CR,
    TWS__CHUNK_DATA_LF,
    TWS__CHUNK_LINE, /* the begin of a trailer line, or of the blank one */
    TWS__CHUNK_NAME,
    TWS__CHUNK_VALUE,
    TWS__CHUNK_LINE_LF,
    TWS__CHUNK_END_LF,
    TWS__CHUNK_DONE,
    TWS__CHUNK_ERROR
};

/* The byte behind a size: CR, unless there are blanks between; what else may stand there. */
static int tws__chunk_after_size(const tws_http_chunks *c, char byte)
{
    if (byte == '\r' && c->state == TWS__CHUNK_SIZE) {
        return TWS__CHUNK_SIZE_LF;
    }
    if (tws__is_blank(byte)) {
        return TWS__CHUNK_BLANK;
    }
    return byte == ';' ? TWS__CHUNK_EXTENSION : TWS__CHUNK_ERROR;
}

/* Sixteen digits fill 64 bits; a seventeenth is refused even behind zeros. */
static int tws__chunk_size(tws_http_chunks *c, char byte)
{
    uint32_t digit = c->state == TWS__CHUNK_SIZE ? tws__hex_digit(byte) : 16;
    if (digit > 15) {
        return c->digits == 0 ? TWS__CHUNK_ERROR : tws__chunk_after_size(c, byte);
    }
    if (c->digits == 16) {
        return TWS__CHUNK_ERROR;
    }
    c->digits++;
    c->remaining = c->remaining << 4 | digit;
    return TWS__CHUNK_SIZE;
}

/* A size line that has ended: on to its data, or behind the last chunk to the trailers. */
static int tws__chunk_begin(tws_http_chunks *c)
{
    c->digits = 0;
    c->line = 0;
    return c->remaining == 0 ? TWS__CHUNK_LINE : TWS__CHUNK_DATA;
}

/* What a state goes on with, and what ends it. Anything else (a bare LF first of all: some would
 * see a chunk begin there) is an error. */
typedef struct tws__chunk_rule {
    uint8_t text; /* a class of bytes */
    uint8_t same; /* the state behind one of them */
    char end;
    uint8_t next;
} tws__chunk_rule;

static const tws__chunk_rule tws__chunk_rules[] = {
    {TWS__HTTP_TEXT, TWS__CHUNK_EXTENSION, '\r', TWS__CHUNK_SIZE_LF}, /* EXTENSION */
    {0, 0, '\n', TWS__CHUNK_DATA},                                    /* SIZE_LF */
    {0, 0, 0, 0},                                                     /* DATA: no rule's */
    {0, 0, '\r', TWS__CHUNK_DATA_LF},                                 /* DATA_CR */
    {0, 0, '\n', TWS__CHUNK_SIZE},                                    /* DATA_LF */
    {TWS__HTTP_TOKEN, TWS__CHUNK_NAME, '\r', TWS__CHUNK_END_LF},      /* LINE */
    {TWS__HTTP_TOKEN, TWS__CHUNK_NAME, ':', TWS__CHUNK_VALUE},        /* NAME */
    {TWS__HTTP_TEXT, TWS__CHUNK_VALUE, '\r', TWS__CHUNK_LINE_LF},     /* VALUE */
    {0, 0, '\n', TWS__CHUNK_LINE},                                    /* LINE_LF */
    {0, 0, '\n', TWS__CHUNK_DONE},                                    /* END_LF */
};

/* The state behind a byte that is no data. */
static int tws__chunk_byte(tws_http_chunks *c, char byte)
{
    if (c->state < TWS__CHUNK_EXTENSION) {
        return tws__chunk_size(c, byte);
    }
    const tws__chunk_rule *rule = &tws__chunk_rules[c->state - TWS__CHUNK_EXTENSION];
    if (tws__http_is(byte, rule->text)) {
        return rule->same;
    }
    if (byte != rule->end) {
        return TWS__CHUNK_ERROR;
    }
    return c->state == TWS__CHUNK_SIZE_LF ? tws__chunk_begin(c) : rule->next;
}

/* Without these limits, one-byte chunks with long extensions would cost far more to read than the
 * limit of a body allows. */
static bool tws__chunk_too_long(tws_http_chunks *c)
{
    if (c->state <= TWS__CHUNK_SIZE_LF) {
        c->line++;
    } else if (c->state >= TWS__CHUNK_LINE) {
        c->trailer_bytes++;
    }
    return c->line > TWS__HTTP_CHUNK_LINE || c->trailer_bytes > TWS__HTTP_CHUNK_TRAILERS;
}

static size_t tws__chunk_data(tws_http_chunks *c, char *to, const char *from, size_t len)
{
    size_t n = (size_t)tws__min64(c->remaining, len);
    memmove(to, from, n);
    c->remaining -= n;
    c->state = c->remaining == 0 ? TWS__CHUNK_DATA_CR : TWS__CHUNK_DATA;
    return n;
}

TWS_API tws_http_result tws_http_chunks_feed(tws_http_chunks *c, char *data, size_t len,
                                             size_t *consumed, size_t *produced)
{
    size_t in = 0;
    size_t out = 0;
    while (in < len && c->state < TWS__CHUNK_DONE) {
        if (c->state == TWS__CHUNK_DATA) {
            size_t n = tws__chunk_data(c, data + out, data + in, len - in);
            in += n;
            out += n;
            continue;
        }
        bool stop = tws__chunk_too_long(c);
        c->state = (uint8_t)(stop ? TWS__CHUNK_ERROR : tws__chunk_byte(c, data[in]));
        in += c->state == TWS__CHUNK_ERROR ? 0 : 1;
    }
    *consumed = in;
    *produced = out;
    if (c->state == TWS__CHUNK_ERROR) {
        return TWS_HTTP_ERROR;
    }
    return c->state == TWS__CHUNK_DONE ? TWS_HTTP_DONE : TWS_HTTP_MORE;
}

/* -- responses -- */

/* What is known, in a row: a NUL behind each. */
static const char tws__http_phrases[] =
    "100 Continue\0" "101 Switching Protocols\0" "200 OK\0" "201 Created\0" "202 Accepted\0"
    "204 No Content\0" "206 Partial Content\0" "301 Moved Permanently\0" "302 Found\0"
    "303 See Other\0" "304 Not Modified\0" "307 Temporary Redirect\0" "308 Permanent Redirect\0"
    "400 Bad Request\0" "401 Unauthorized\0" "403 Forbidden\0" "404 Not Found\0"
    "405 Method Not Allowed\0" "406 Not Acceptable\0" "408 Request Timeout\0" "409 Conflict\0"
    "410 Gone\0" "411 Length Required\0" "412 Precondition Failed\0" "413 Content Too Large\0"
    "414 URI Too Long\0" "415 Unsupported Media Type\0" "417 Expectation Failed\0"
    "421 Misdirected Request\0" "422 Unprocessable Content\0" "426 Upgrade Required\0"
    "429 Too Many Requests\0" "431 Request Header Fields Too Large\0" "500 Internal Server Error\0"
    "501 Not Implemented\0" "502 Bad Gateway\0" "503 Service Unavailable\0" "504 Gateway Timeout\0"
    "505 HTTP Version Not Supported\0";

TWS_API const char *tws_http_phrase(int status)
{
    for (const char *at = tws__http_phrases; *at != '\0'; at += strlen(at) + 1) {
        if (atoi(at) == status) {
            return at + 4;
        }
    }
    return "Unknown";
}

TWS_API void tws_http_begin(tws_buf *b, int status)
{
    TWS_ASSERT(status >= 100 && status <= 999);
    tws_buf_c(b, "HTTP/1.1 ");
    tws_buf_i64(b, status);
    tws_buf_char(b, ' ');
    tws_buf_c(b, tws_http_phrase(status));
    tws_buf_c(b, "\r\n");
}

/* A value may come from a request: with CR LF in it, it would write fields of its own. */
TWS_API void tws_http_add(tws_buf *b, const char *name, tws_str value)
{
    TWS_ASSERT(name[0] != '\0' && tws__http_all(tws_str_c(name), TWS__HTTP_TOKEN));
    tws_buf_c(b, name);
    tws_buf_c(b, ": ");
    while (value.len > 0) {
        size_t text = tws__http_span(value, TWS__HTTP_TEXT);
        tws_buf_put(b, value.ptr, text);
        value = tws_str_from(value, text + 1);
    }
    tws_buf_c(b, "\r\n");
}

TWS_API void tws_http_end(tws_buf *b, int64_t content_length)
{
    if (content_length >= 0) {
        tws_buf_c(b, "Content-Length: ");
        tws_buf_i64(b, content_length);
        tws_buf_c(b, "\r\n");
    }
    tws_buf_c(b, "\r\n");
}

/* version SP 3DIGIT [SP phrase] CRLF: the second space is missing in the wild. RFC 9112 4. */
static tws_http_result tws__http_status_line(tws__http_head *h, tws_http_response *r)
{
    uint64_t status;
    tws_http_result result = tws__http_version(h);
    if (result != TWS_HTTP_DONE) {
        return result;
    }
    tws_str rest = tws__http_rest(h);
    if (rest.len < 5 && (rest.len == 0 || rest.ptr[0] == ' ')) {
        return TWS_HTTP_MORE;
    }
    tws_str digits = tws_str_of(rest.ptr + 1, 3);
    if (rest.ptr[0] != ' ' || digits.ptr[0] == '0' || !tws_str_u64(digits, &status)) {
        return tws__http_fail(h, "a status is three digits");
    }
    r->status = (int)status;
    h->pos += 4;
    if (rest.ptr[4] == ' ') {
        r->phrase = tws_str_from(rest, 5);
        r->phrase.len = tws__http_span(r->phrase, TWS__HTTP_TEXT);
        h->pos += 1 + r->phrase.len;
    }
    return tws__http_crlf(h);
}

TWS_API tws_http_result tws_http_parse_response(tws_http_response *r, const char *data, size_t len)
{
    tws__http_head h;
    memset(r, 0, sizeof *r);
    tws__http_start(&h, data, tws__min(len, TWS__HTTP_HEAD_BYTES), r->field);
    tws_http_result result = tws__http_status_line(&h, r);
    if (result == TWS_HTTP_DONE) {
        result = tws__http_fields(&h);
    }
    if (result == TWS_HTTP_MORE && len >= TWS__HTTP_HEAD_BYTES) {
        result = tws__http_fail(&h, "the head is too long");
    }
    if (result == TWS_HTTP_DONE && h.content_length > INT64_MAX) {
        result = tws__http_fail(&h, "Content-Length is above 2^63");
    }
    bool given = (h.seen & TWS__HTTP_SEEN_LENGTH) != 0;
    r->minor = h.minor;
    r->field_count = h.field_count;
    r->chunked = (h.seen & TWS__HTTP_SEEN_CHUNKED) != 0;
    r->keep_alive = tws__http_keeps_alive(&h);
    r->content_length = given ? (int64_t)h.content_length : -1;
    r->head_bytes = result == TWS_HTTP_DONE ? h.pos : 0;
    r->reason = h.reason;
    return result;
}

TWS_API const tws_str *tws_http_find_response(const tws_http_response *r, const char *name)
{
    return tws__http_field_named(r->field, r->field_count, name);
}

/* == 9. ws: WebSocket handshake and frames ======================================== RFC 6455 ==
 * One byte stream in, one event out. The decoder keeps forty bytes and no payload: a message's
 * pieces are unmasked where they lie, and UTF-8 is judged with the same reading, so a bad byte
 * ends the connection before the rest of its frame is waited for. */

/* -- handshake -- */

#define TWS__WS_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define TWS__WS_KEY_LEN TWS_BASE64_LEN(16)

TWS_API void tws_ws_accept(tws_str key, char out[TWS_WS_ACCEPT_LEN + 1])
{
    char text[TWS__WS_KEY_LEN + sizeof TWS__WS_GUID];
    uint8_t digest[TWS_SHA1_BYTES];
    out[0] = '\0';
    if (key.len != TWS__WS_KEY_LEN) {
        return;
    }
    memcpy(text, key.ptr, TWS__WS_KEY_LEN);
    memcpy(text + TWS__WS_KEY_LEN, TWS__WS_GUID, sizeof TWS__WS_GUID);
    tws_sha1(text, sizeof text - 1, digest);
    out[tws_base64_encode(digest, sizeof digest, out)] = '\0';
}

static int tws__ws_refuse(const char **reason, int status, const char *why)
{
    *reason = why;
    return status;
}

static bool tws__ws_key_valid(tws_str key)
{
    uint8_t nonce[TWS__WS_KEY_LEN];
    size_t n;
    return tws_base64_decode(key, nonce, sizeof nonce, &n) == TWS_OK && n == 16;
}

/* Before HTTP/1.1 an Upgrade means nothing (RFC 9110 7.8), and neither does one that Connection
 * does not list: what a proxy forwards blindly. A body would be read as frames. */
TWS_API int tws_ws_check(const tws_http_request *r, tws_str *key, const char **reason)
{
    tws_str version;
    *key = tws_str_of(NULL, 0);
    *reason = NULL;
    if (r->minor < 1) {
        return tws__ws_refuse(reason, 426, "a WebSocket needs HTTP/1.1");
    }
    if (!tws_http_lists(r, "upgrade", "websocket")) {
        return tws__ws_refuse(reason, 426, "no Upgrade: websocket");
    }
    if (!tws_http_lists(r, "connection", "upgrade")) {
        return tws__ws_refuse(reason, 426, "Connection does not list Upgrade");
    }
    if (!tws_str_eq_c(r->method, "GET")) {
        return tws__ws_refuse(reason, 400, "a WebSocket opens with GET");
    }
    if (r->chunked || r->content_length > 0) {
        return tws__ws_refuse(reason, 400, "a WebSocket handshake has no body");
    }
    if (tws__http_count(r->field, r->field_count, "sec-websocket-version", &version) != 1) {
        return tws__ws_refuse(reason, 400, "not exactly one Sec-WebSocket-Version");
    }
    if (!tws_str_eq_c(version, "13")) {
        return tws__ws_refuse(reason, 426, "Sec-WebSocket-Version is not 13");
    }
    if (tws__http_count(r->field, r->field_count, "sec-websocket-key", key) != 1) {
        return tws__ws_refuse(reason, 400, "not exactly one Sec-WebSocket-Key");
    }
    if (!tws__ws_key_valid(*key)) {
        return tws__ws_refuse(reason, 400, "Sec-WebSocket-Key is not 16 bytes in base64");
    }
    return 101;
}

/* A blank or a control byte in a request line would begin another field, or another request. */
static bool tws__ws_visible(tws_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];
        if (c <= ' ' || c == 0x7f) {
            return false;
        }
    }
    return s.len > 0;
}

TWS_API void tws_ws_request(tws_buf *b, tws_str host, tws_str target, const uint8_t nonce[16],
                            const char *extra)
{
    char key[TWS__WS_KEY_LEN];
    if (!tws__ws_visible(host) || !tws__ws_visible(target)) {
        b->status = b->status == TWS_OK ? TWS_ERR_ARGUMENT : b->status;
        return;
    }
    tws_base64_encode(nonce, 16, key);
    tws_buf_c(b, "GET ");
    tws_buf_str(b, target);
    tws_buf_c(b, " HTTP/1.1\r\nHost: ");
    tws_buf_str(b, host);
    tws_buf_c(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
                 "\r\nSec-WebSocket-Key: ");
    tws_buf_put(b, key, sizeof key);
    tws_buf_c(b, "\r\n");
    tws_buf_c(b, extra != NULL ? extra : "");
    tws_buf_c(b, "\r\n");
}

TWS_API bool tws_ws_check_response(const tws_http_response *r, const uint8_t nonce[16],
                                   const char **reason)
{
    char key[TWS__WS_KEY_LEN];
    char want[TWS_WS_ACCEPT_LEN + 1];
    tws_str accept;
    tws_base64_encode(nonce, 16, key);
    tws_ws_accept(tws_str_of(key, sizeof key), want);
    *reason = NULL;
    if (r->status != 101) {
        *reason = "the status is not 101";
    } else if (!tws__http_lists(r->field, r->field_count, "upgrade", "websocket")) {
        *reason = "no Upgrade: websocket";
    } else if (!tws__http_lists(r->field, r->field_count, "connection", "upgrade")) {
        *reason = "Connection does not list Upgrade";
    } else if (tws__http_count(r->field, r->field_count, "sec-websocket-accept", &accept) != 1) {
        *reason = "not exactly one Sec-WebSocket-Accept"; /* RFC 6455 11.3.3 */
    } else if (!tws_str_eq_c(accept, want)) {
        *reason = "Sec-WebSocket-Accept does not answer the key";
    } else if (tws_http_find_response(r, "sec-websocket-extensions") != NULL) {
        *reason = "an extension that nobody offered";
    }
    return *reason == NULL;
}

/* -- extensions: permessage-deflate and no other -- */

#define TWS__WS_DEFLATE "permessage-deflate"

static bool tws__ws_is_token(tws_str s)
{
    return s.len > 0 && tws__http_all(s, TWS__HTTP_TOKEN);
}

/* 8 to 15, without a leading zero; 0 for anything else. */
static uint8_t tws__ws_extension_bits(tws_str value)
{
    uint64_t bits;
    bool good = tws_str_u64(value, &bits) && bits >= 8 && bits <= 15 && value.ptr[0] != '0';
    return good ? (uint8_t)bits : 0;
}

enum { TWS__WS_SERVER_FORGETS, TWS__WS_CLIENT_FORGETS, TWS__WS_SERVER_BITS, TWS__WS_CLIENT_BITS };

/* Take note of an offer's parameter. False if it is one that makes the offer unacceptable. */
static bool tws__ws_extension_note(tws_ws_compression *terms, unsigned *seen, tws_str name,
                                   tws_str value)
{
    const bool bare = value.len == 0;
    const uint8_t bits = tws__ws_extension_bits(value);
    static const char *const known[] = {"server_no_context_takeover", "client_no_context_takeover",
                                        "server_max_window_bits", "client_max_window_bits"};
    unsigned which = 0;
    while (which < 4 && !tws__str_is(name, known[which])) {
        which++;
    }
    if (which == 4 || (*seen >> which & 1u) != 0) {
        return false;
    }
    *seen |= 1u << which;
    switch (which) {
    case TWS__WS_SERVER_FORGETS:
    case TWS__WS_CLIENT_FORGETS: return bare;
    case TWS__WS_SERVER_BITS:
        terms->window_bits = bits;
        terms->named = true;
        return bits != 0;
    default: /* without a value: 15, or what the answer says */
        terms->client_context = bare ? TWS_WS_MAX_WINDOW_BITS : bits;
        return bare || bits != 0;
    }
}

/* Make terms of an offer that has been read. No context is larger than `bits`. The limit that the
 * client sets for the server must be kept; the client's own may be lowered only if its offer has
 * client_max_window_bits. RFC 7692 7.1.1, 7.1.2. */
static void tws__ws_extension_settle(tws_ws_compression *terms, unsigned seen, unsigned bits)
{
    const bool limits = (seen >> TWS__WS_CLIENT_BITS & 1u) != 0;
    const unsigned client = limits ? terms->client_context : TWS_WS_MAX_WINDOW_BITS;
    terms->server_context = (uint8_t)tws__min(terms->window_bits, bits);
    terms->client_context = (uint8_t)tws__min(client, bits);
    if ((seen >> TWS__WS_SERVER_FORGETS & 1u) != 0) {
        terms->server_context = 0;
    }
    if ((seen >> TWS__WS_CLIENT_FORGETS & 1u) != 0 || (!limits && client > bits)) {
        terms->client_context = 0;
    }
}

/* An extension of the list. False where it is malformed. A quoted value, too, must be a token (RFC
 * 6455 9.1): no separator stands in one, and no backslash that would have to be understood. */
static bool tws__ws_extension_read(tws_str extension, unsigned context_bits,
                                   tws_ws_compression *terms)
{
    tws_ws_compression offer = {TWS_WS_MAX_WINDOW_BITS, false, 0, 0};
    unsigned seen = 0;
    size_t end = tws_str_find(extension, ';');
    tws_str name = tws_str_trim(tws_str_of(extension.ptr, end));
    bool sound = tws__ws_is_token(name);
    bool good = tws__str_is(name, TWS__WS_DEFLATE);
    while (sound && end < extension.len) {
        extension = tws_str_from(extension, end + 1);
        end = tws_str_find(extension, ';');
        const tws_str parameter = tws_str_of(extension.ptr, end);
        size_t equals = tws_str_find(parameter, '=');
        name = tws_str_trim(tws_str_of(parameter.ptr, equals));
        tws_str value = tws_str_from(parameter, equals + 1);
        value = tws__http_unquote(tws_str_trim(value));
        sound = tws__ws_is_token(name) && (equals == end || tws__ws_is_token(value));
        good = good && tws__ws_extension_note(&offer, &seen, name, value);
    }
    if (sound && good && terms->window_bits == 0) {
        tws__ws_extension_settle(&offer, seen, context_bits);
        *terms = offer;
    }
    return sound;
}

TWS_API int tws_ws_check_extensions(const tws_http_request *r, unsigned context_bits,
                                    tws_ws_compression *terms, const char **reason)
{
    memset(terms, 0, sizeof *terms);
    *reason = NULL;
    tws_str one;
    tws__http_items offers =
        tws__http_items_of(r->field, r->field_count, "sec-websocket-extensions");
    while (tws__http_next(&offers, ',', &one)) { /* an empty one is no harm: RFC 9110 5.6.1.2 */
        if (one.len > 0 && !tws__ws_extension_read(one, context_bits, terms)) {
            memset(terms, 0, sizeof *terms);
            *reason = "Sec-WebSocket-Extensions is no list of extensions";
            return 400;
        }
    }
    return 101;
}

TWS_API void tws_ws_answer_extensions(tws_buf *b, const tws_ws_compression *terms)
{
    if (terms->window_bits == 0) {
        return;
    }
    tws_buf_c(b, "Sec-WebSocket-Extensions: " TWS__WS_DEFLATE);
    if (terms->server_context == 0) {
        tws_buf_c(b, "; server_no_context_takeover");
    }
    if (terms->client_context == 0) {
        tws_buf_c(b, "; client_no_context_takeover");
    }
    if (terms->named) {
        tws_buf_c(b, "; server_max_window_bits=");
        tws_buf_u64(b, terms->window_bits);
    }
    if (terms->client_context != 0 && terms->client_context < TWS_WS_MAX_WINDOW_BITS) {
        tws_buf_c(b, "; client_max_window_bits=");
        tws_buf_u64(b, terms->client_context);
    }
    tws_buf_c(b, "\r\n");
}

/* -- masks -- */

/* XOR the eight bytes at p with m and give them back as well. */
static inline uint64_t tws__ws_xor_word(uint8_t *p, uint64_t m)
{
    const uint64_t w = tws__load_u64(p) ^ m;
    memcpy(p, &w, sizeof w);
    return w;
}

/* XOR n bytes with the mask, its four bytes as they lie in memory. Returns the OR of all words
 * that come out, so that pure ASCII is known without a second reading. Eight words in flight let
 * a compiler use the widest registers that it has, at -O2 too. */
static uint64_t tws__ws_xor(uint8_t *p, size_t n, uint32_t mask)
{
    const uint64_t m = (uint64_t)mask << 32 | mask;
    uint64_t even = 0;
    uint64_t odd = 0;
    uint8_t last[4];
    for (; n >= 64; p += 64, n -= 64) {
        even |= tws__ws_xor_word(p, m) | tws__ws_xor_word(p + 16, m) |
                tws__ws_xor_word(p + 32, m) | tws__ws_xor_word(p + 48, m);
        odd |= tws__ws_xor_word(p + 8, m) | tws__ws_xor_word(p + 24, m) |
               tws__ws_xor_word(p + 40, m) | tws__ws_xor_word(p + 56, m);
    }
    for (; n >= 8; p += 8, n -= 8) {
        even |= tws__ws_xor_word(p, m);
    }
    if (n >= 4) {
        uint32_t w;
        memcpy(&w, p, sizeof w);
        w ^= mask;
        memcpy(p, &w, sizeof w);
        odd |= w;
        p += 4;
        n -= 4;
    }
    memcpy(last, &mask, sizeof last);
    for (size_t i = 0; i < n; i++) {
        p[i] ^= last[i];
        odd |= p[i];
    }
    return even | odd;
}

/* The mask as it applies `by` bytes further on. */
static uint32_t tws__ws_rotate(uint32_t mask, uint64_t by)
{
    uint8_t twice[8];
    memcpy(twice, &mask, sizeof mask);
    memcpy(twice + 4, &mask, sizeof mask);
    memcpy(&mask, twice + (by & 3), sizeof mask);
    return mask;
}

TWS_API void tws_ws_mask(uint8_t *data, size_t len, const uint8_t mask[4], uint64_t offset)
{
    uint32_t m;
    memcpy(&m, mask, sizeof m);
    (void)tws__ws_xor(data, len, tws__ws_rotate(m, offset));
}

/* -- decoding -- */

/* Every way to fail, an index into the table below. 0 is none. */
typedef enum tws__ws_fault {
    TWS__WS_FINE,
    TWS__WS_RESERVED_BIT,
    TWS__WS_RESERVED_OPCODE,
    TWS__WS_NOTHING_TO_CONTINUE,
    TWS__WS_MESSAGE_INSIDE,
    TWS__WS_CONTROL_FRAGMENTED,
    TWS__WS_CONTROL_LONG,
    TWS__WS_NOT_MASKED,
    TWS__WS_MASKED,
    TWS__WS_LENGTH_LONG_FORM,
    TWS__WS_LENGTH_TOP_BIT,
    TWS__WS_MESSAGE_LONG,
    TWS__WS_FRAMES_MANY,
    TWS__WS_NOT_UTF8,
    TWS__WS_CLOSE_ONE_BYTE,
    TWS__WS_CLOSE_CODE,
    TWS__WS_CLOSE_NOT_UTF8
} tws__ws_fault;

typedef struct tws__ws_rule {
    uint16_t code;
    const char *reason;
} tws__ws_rule;

static const tws__ws_rule tws__ws_rules[] = {
    {0, NULL},
    {1002, "a reserved bit is set that no extension uses there"},    /* RFC 6455 5.2, 7692 6 */
    {1002, "a reserved opcode"},                                     /* 5.2 */
    {1002, "a continuation of nothing"},                             /* 5.4 */
    {1002, "a new message inside an unfinished one"},                /* 5.4 */
    {1002, "a fragmented control frame"},                            /* 5.5 */
    {1002, "a control frame longer than 125 bytes"},                 /* 5.5 */
    {1002, "an unmasked frame from a client"},                       /* 5.1 */
    {1002, "a masked frame from a server"},                          /* 5.1 */
    {1002, "a length not in its shortest form"},                     /* 5.2 */
    {1002, "a length with its top bit set"},                         /* 5.2 */
    {1009, "a message longer than the limit"},                       /* 7.4.1 */
    {1009, "a message of more frames than the limit"},               /* 7.4.1 */
    {1007, "text that is not UTF-8"},                                /* 8.1 */
    {1002, "a close payload of one byte"},                           /* 5.5.1 */
    {1002, "a close code that may not be sent"},                     /* 7.4 */
    {1007, "a close reason that is not UTF-8"},                      /* 5.5.1 */
};

/* Decoder flags. */
#define TWS__WS_FIN 1u    /* the message's last frame has begun */
#define TWS__WS_OPEN 2u   /* a message has begun and not ended */
#define TWS__WS_BEGUN 4u  /* and has given an event */
#define TWS__WS_CLOSED 8u /* a close frame has come */
#define TWS__WS_PACKED 16u /* the message is compressed */
#define TWS__WS_CLIENT 32u /* this end is a client: the only one that stays */

typedef struct tws__ws_frame {
    uint64_t payload;
    size_t header; /* its bytes; 0 while it is incomplete */
    uint32_t mask;
    uint8_t opcode;
    bool fin;
    bool packed;
} tws__ws_frame;

TWS_API void tws_ws_init(tws_ws_decoder *d, tws_ws_role role, uint32_t max_message,
                         uint32_t max_frames)
{
    memset(d, 0, sizeof *d);
    d->flags = role == TWS_WS_CLIENT ? TWS__WS_CLIENT : 0u;
    d->max_message = max_message;
    d->max_frames = max_frames;
}

TWS_API void tws_ws_allow_compressed(tws_ws_decoder *d, const tws_ws_compression *terms)
{
    d->window_bits = terms->window_bits;
}

TWS_API bool tws_ws_code_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

static size_t tws__ws_fail(tws_ws_decoder *d, tws_ws_event *ev, tws__ws_fault fault)
{
    d->error = (uint8_t)fault;
    memset(ev, 0, sizeof *ev);
    ev->type = TWS_WS_ERROR;
    ev->code = tws__ws_rules[fault].code;
    ev->reason = tws__ws_rules[fault].reason;
    return 0;
}

static bool tws__ws_is_control(unsigned opcode)
{
    return opcode >= TWS_WS_CLOSE;
}

/* A server wants masks, a client wants none. */
static bool tws__ws_wants_masks(const tws_ws_decoder *d)
{
    return (d->flags & TWS__WS_CLIENT) == 0;
}

/* What a frame's first byte can break: FIN, three reserved bits, opcode. */
static tws__ws_fault tws__ws_judge_first(const tws_ws_decoder *d, unsigned byte)
{
    const unsigned known = 0x0707; /* opcodes 0-2 and 8-10 */
    const unsigned opcode = byte & 15u;
    const bool open = (d->flags & TWS__WS_OPEN) != 0;
    const bool begins = opcode == TWS_WS_TEXT || opcode == TWS_WS_BINARY;
    if ((byte & (begins && d->window_bits != 0 ? 0x30u : 0x70u)) != 0) {
        return TWS__WS_RESERVED_BIT;
    }
    if ((known >> opcode & 1u) == 0) {
        return TWS__WS_RESERVED_OPCODE;
    }
    if (tws__ws_is_control(opcode)) {
        return byte < 0x80 ? TWS__WS_CONTROL_FRAGMENTED : TWS__WS_FINE;
    }
    if (opcode == TWS_WS_CONTINUATION) {
        return open ? TWS__WS_FINE : TWS__WS_NOTHING_TO_CONTINUE;
    }
    return open ? TWS__WS_MESSAGE_INSIDE : TWS__WS_FINE;
}

/* And its second: MASK, seven bits of length. The mask is what keeps a hostile page from writing
 * chosen bytes through a proxy's cache (RFC 6455 10.3): without it nothing is read. */
static tws__ws_fault tws__ws_judge_second(const tws_ws_decoder *d, unsigned opcode, unsigned byte)
{
    const bool masked = byte >= 0x80;
    if (masked != tws__ws_wants_masks(d)) {
        return masked ? TWS__WS_MASKED : TWS__WS_NOT_MASKED;
    }
    if (tws__ws_is_control(opcode) && (byte & 0x7fu) > 125) {
        return TWS__WS_CONTROL_LONG;
    }
    return TWS__WS_FINE;
}

/* A data frame's length against the limits, before a byte of its payload is waited for. Compressing
 * makes random bytes longer, by an eighth where a compressor has the least memory. */
static tws__ws_fault tws__ws_judge_size(const tws_ws_decoder *d, const tws__ws_frame *f)
{
    const bool packed = f->packed || (d->flags & TWS__WS_PACKED) != 0;
    uint64_t most = d->max_message > 0 ? d->max_message : UINT64_MAX;
    if (packed && d->max_message > 0) {
        most += most / 8 + 64;
    }
    if (f->payload > most - tws__min64(d->message_bytes, most)) { /* lowered since it began? */
        return TWS__WS_MESSAGE_LONG;
    }
    if (d->max_frames > 0 && d->frames >= d->max_frames) {
        return TWS__WS_FRAMES_MANY;
    }
    return TWS__WS_FINE;
}

/* The length behind 126 and 127: two and eight bytes, big-endian. */
static tws__ws_fault tws__ws_read_length(const uint8_t *p, size_t bytes, uint64_t *length)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | p[i];
    }
    *length = value;
    if (value >> 63 != 0) {
        return TWS__WS_LENGTH_TOP_BIT;
    }
    return value < (bytes == 2 ? 126u : 65536u) ? TWS__WS_LENGTH_LONG_FORM : TWS__WS_FINE;
}

/* Read a frame's header. Each rule is checked as soon as its bytes are there. */
static tws__ws_fault tws__ws_read_header(const tws_ws_decoder *d, const uint8_t *p, size_t len,
                                         tws__ws_frame *f)
{
    tws__ws_fault fault = len > 0 ? tws__ws_judge_first(d, p[0]) : TWS__WS_FINE;
    size_t at = 2;
    f->header = 0;
    if (fault != TWS__WS_FINE || len < 2) {
        return fault;
    }
    f->fin = p[0] >= 0x80;
    f->packed = (p[0] & TWS_WS_RSV1) != 0;
    f->opcode = p[0] & 15u;
    f->payload = p[1] & 0x7fu;
    fault = tws__ws_judge_second(d, f->opcode, p[1]);
    if (fault == TWS__WS_FINE && f->payload > 125) {
        const size_t bytes = f->payload == 126 ? 2 : 8;
        if (len - at < bytes) {
            return TWS__WS_FINE;
        }
        fault = tws__ws_read_length(p + at, bytes, &f->payload);
        at += bytes;
    }
    if (fault == TWS__WS_FINE && !tws__ws_is_control(f->opcode)) {
        fault = tws__ws_judge_size(d, f);
    }
    if (fault != TWS__WS_FINE) {
        return fault;
    }
    f->mask = 0;
    if (tws__ws_wants_masks(d)) {
        if (len - at < sizeof f->mask) {
            return TWS__WS_FINE;
        }
        memcpy(&f->mask, p + at, sizeof f->mask);
        at += sizeof f->mask;
    }
    f->header = at;
    return TWS__WS_FINE;
}

static size_t tws__ws_close(tws_ws_decoder *d, uint8_t *p, size_t n, tws_ws_event *ev)
{
    ev->type = TWS_WS_GOT_CLOSE;
    ev->code = 1005;
    d->flags |= TWS__WS_CLOSED;
    if (n == 0) {
        return 0;
    }
    if (n == 1) {
        return tws__ws_fail(d, ev, TWS__WS_CLOSE_ONE_BYTE);
    }
    ev->code = (uint16_t)(p[0] << 8 | p[1]);
    ev->payload = p + 2;
    ev->len = n - 2;
    if (!tws_ws_code_valid(ev->code)) {
        return tws__ws_fail(d, ev, TWS__WS_CLOSE_CODE);
    }
    if (!tws_utf8_valid(tws_str_of((const char *)p + 2, n - 2))) {
        return tws__ws_fail(d, ev, TWS__WS_CLOSE_NOT_UTF8);
    }
    return n;
}

/* A control frame, whole. Returns the bytes of its payload. */
static size_t tws__ws_control(tws_ws_decoder *d, const tws__ws_frame *f, uint8_t *p,
                              tws_ws_event *ev)
{
    const size_t n = (size_t)f->payload;
    (void)tws__ws_xor(p, n, f->mask);
    if (f->opcode == TWS_WS_CLOSE) {
        return tws__ws_close(d, p, n, ev);
    }
    ev->type = f->opcode == TWS_WS_PING ? TWS_WS_GOT_PING : TWS_WS_GOT_PONG;
    ev->payload = p;
    ev->len = n;
    return n;
}

/* Take a data frame's header over into the decoder. */
static void tws__ws_begin(tws_ws_decoder *d, const tws__ws_frame *f)
{
    if (f->opcode != TWS_WS_CONTINUATION) {
        d->opcode = f->opcode;
        d->flags |= TWS__WS_OPEN;
        d->flags |= f->packed ? TWS__WS_PACKED : 0u;
    }
    d->flags |= f->fin ? TWS__WS_FIN : 0u;
    d->frame_left = f->payload;
    d->message_bytes += f->payload;
    d->frames++;
    memcpy(d->mask, &f->mask, sizeof d->mask);
}

/* Unmask the next n bytes of the frame (a client's mask is zero). Returns the OR of the result. */
static uint64_t tws__ws_unmask(tws_ws_decoder *d, uint8_t *p, size_t n)
{
    uint32_t mask;
    memcpy(&mask, d->mask, sizeof mask);
    const uint64_t seen = tws__ws_xor(p, n, mask);
    if (n < d->frame_left) {
        mask = tws__ws_rotate(mask, n);
        memcpy(d->mask, &mask, sizeof mask);
    }
    return seen;
}

/* May a message's text go on with these bytes, and end with them if they are the last? */
static bool tws__ws_text(tws_utf8 *u, const uint8_t *p, size_t n, uint64_t seen, bool last)
{
    const uint64_t not_ascii = seen & TWS__BYTES(0x80);
    if ((not_ascii | u->state) == 0) {
        return true;
    }
    return tws_utf8_feed(u, p, n) == n && (!last || tws_utf8_complete(u));
}

/* The message is complete, and with it its text: the next one has limits of its own. */
static void tws__ws_end(tws_ws_decoder *d)
{
    d->flags &= TWS__WS_CLIENT;
    d->frames = 0;
    d->message_bytes = 0;
}

/* What is here of the current data frame's payload, at least a byte of it unless it is empty. */
static size_t tws__ws_piece(tws_ws_decoder *d, uint8_t *p, size_t len, tws_ws_event *ev)
{
    const size_t n = (size_t)tws__min64(d->frame_left, len);
    const uint64_t seen = tws__ws_unmask(d, p, n);
    const bool last = n == d->frame_left && (d->flags & TWS__WS_FIN) != 0;
    const bool packed = (d->flags & TWS__WS_PACKED) != 0;
    if (d->opcode == TWS_WS_TEXT && !packed && !tws__ws_text(&d->utf8, p, n, seen, last)) {
        return tws__ws_fail(d, ev, TWS__WS_NOT_UTF8);
    }
    d->frame_left -= n;
    ev->type = TWS_WS_DATA;
    ev->opcode = (tws_ws_opcode)d->opcode;
    ev->compressed = packed;
    ev->first = (d->flags & TWS__WS_BEGUN) == 0;
    ev->last = last;
    ev->payload = p;
    ev->len = n;
    ev->frame_left = d->frame_left;
    d->flags |= TWS__WS_BEGUN;
    if (last) {
        tws__ws_end(d);
    }
    return n;
}

/* Read at once what most frames are: a short message from a client, in one frame that is here
 * whole. With no flag set nothing is under way: no bytes, frames or text count for it. Returns its
 * bytes; 0: it is something else or breaks a rule, which the caller finds out. */
static size_t tws__ws_short(tws_ws_decoder *d, uint8_t *p, size_t len, tws_ws_event *ev)
{
    const size_t header = 2 + sizeof d->mask;
    if (len < header || (d->flags | d->error) != 0) {
        return 0;
    }
    const unsigned opcode = p[0] ^ 0x80u; /* more than 15: no FIN, or a reserved bit */
    const size_t n = p[1] ^ 0x80u;        /* more than 127: no mask */
    const bool data = opcode == TWS_WS_TEXT || opcode == TWS_WS_BINARY;
    if (!data || n > 125 || n > len - header || (d->max_message > 0 && n > d->max_message)) {
        return 0;
    }
    uint32_t mask;
    memcpy(&mask, p + 2, sizeof mask);
    p += header;
    const uint64_t seen = tws__ws_xor(p, n, mask);
    if (opcode == TWS_WS_TEXT && !tws__ws_text(&d->utf8, p, n, seen, true)) {
        return header + tws__ws_fail(d, ev, TWS__WS_NOT_UTF8);
    }
    ev->type = TWS_WS_DATA;
    ev->opcode = (tws_ws_opcode)opcode;
    ev->first = true;
    ev->last = true;
    ev->payload = p;
    ev->len = n;
    return header + n;
}

TWS_API size_t tws_ws_decode(tws_ws_decoder *d, uint8_t *data, size_t len, tws_ws_event *ev)
{
    tws__ws_frame f;
    memset(ev, 0, sizeof *ev);
    const size_t taken = tws__ws_short(d, data, len, ev);
    if (taken != 0) {
        return taken;
    }
    tws__ws_fault fault = (tws__ws_fault)d->error;
    if (fault != TWS__WS_FINE) {
        return tws__ws_fail(d, ev, fault);
    }
    if ((d->flags & TWS__WS_CLOSED) != 0) {
        return len; /* nothing after a close frame means anything: RFC 6455 5.5.1 */
    }
    if (d->frame_left > 0) {
        return len > 0 ? tws__ws_piece(d, data, len, ev) : 0;
    }
    fault = tws__ws_read_header(d, data, len, &f);
    if (fault != TWS__WS_FINE) {
        return tws__ws_fail(d, ev, fault);
    }
    if (f.header == 0) {
        return 0;
    }
    len -= f.header;
    if (tws__ws_is_control(f.opcode)) {
        return len < f.payload ? 0 : f.header + tws__ws_control(d, &f, data + f.header, ev);
    }
    tws__ws_begin(d, &f);
    if (len == 0 && f.payload > 0) {
        return f.header;
    }
    return f.header + tws__ws_piece(d, data + f.header, len, ev);
}

/* -- encoding -- */

/* How many bytes of a payload's length stand behind its seven bits. */
static size_t tws__ws_length_bytes(uint64_t payload_len)
{
    return payload_len < 126 ? 0 : payload_len <= 0xffff ? 2 : 8;
}

TWS_API size_t tws_ws_header(uint8_t out[TWS_WS_MAX_HEADER], bool fin, tws_ws_opcode opcode,
                             uint64_t payload_len, const uint8_t mask[4])
{
    const size_t bytes = tws__ws_length_bytes(payload_len);
    size_t at = 2 + bytes;
    TWS_ASSERT(payload_len >> 63 == 0);
    TWS_ASSERT(!tws__ws_is_control(opcode) || (fin && payload_len <= 125));
    out[0] = (uint8_t)((fin ? 0x80u : 0u) | (unsigned)opcode);
    out[1] = (uint8_t)(bytes == 0 ? payload_len : bytes == 2 ? 126u : 127u);
    for (size_t i = 0; i < bytes; i++) {
        out[at - 1 - i] = (uint8_t)(payload_len >> (8 * i));
    }
    if (mask != NULL) {
        out[1] |= 0x80u;
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

TWS_API size_t tws_ws_close_payload(uint8_t out[125], uint16_t code, tws_str reason)
{
    size_t n = tws__min(reason.len, 123);
    while (n > 0 && !tws_utf8_valid(tws_str_of(reason.ptr, n))) {
        n--;
    }
    out[0] = (uint8_t)(code >> 8);
    out[1] = (uint8_t)code;
    if (n > 0) {
        memcpy(out + 2, reason.ptr, n);
    }
    return 2 + n;
}

#ifndef TASKWS_NO_DEFLATE
/* == 10. deflate: inflate and deflate, as permessage-deflate needs them ===== RFC 1951, 7692 ==
 * Inflating goes symbol by symbol. A slow reader takes from the input no byte before a symbol needs
 * it, and begins a symbol again when the rest of it has come, so there is no state inside one. A
 * fast one runs while sixteen bytes of input and room for the longest copy are there; what it
 * cannot finish, errors among it, it leaves as it was to the slow one, which alone judges.
 *
 * Deflating has two halves: a matcher, which makes tokens of a piece of text, and a block writer,
 * which makes bits of tokens. The matcher keeps positions that count on over messages: an entry of
 * an old one is too small to be looked at, and no table is cleared. */

/* RFC 1951 3.2.5: what the symbols 257..285 and the distance symbols stand for. */
static const uint16_t tws__length_base[29] = {
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31,
    35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t tws__length_extra[29] = {
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t tws__distance_base[30] = {
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769,
    1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t tws__distance_extra[30] = {
    0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13,
    13};
/* RFC 1951 3.2.7: the order in which the code lengths of code lengths stand. */
static const uint8_t tws__length_order[19] = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
/* And their symbols 16 to 18: 16 repeats the length before it, 17 and 18 are runs of zeros, so many
 * times at least, and as many more as the extra bits say. */
static const uint8_t tws__repeat_least[3] = {3, 3, 11};
static const uint8_t tws__repeat_extra[3] = {2, 3, 7};

#define TWS__DEFLATE_END 256u /* the symbol that ends a block */
#define TWS__DEFLATE_LITERALS 286u
#define TWS__DEFLATE_DISTANCES 30u
#define TWS__DEFLATE_MAX_WIDTH 15u
#define TWS__DEFLATE_MAX_COPY 258u
#define TWS__DEFLATE_MIN_COPY 3u

/* RFC 1951 3.2.6: the lengths of the fixed codes. Symbols 286 and 287 have one and never occur. */
static void tws__deflate_fixed_widths(uint8_t *literal, uint8_t *distance)
{
    memset(literal, 8, 144);
    memset(literal + 144, 9, 112);
    memset(literal + 256, 7, 24);
    memset(literal + 280, 8, 8);
    memset(distance, 5, 32);
}

/* -- codes -- */

/* The next code of the same width. Codes count upwards and are sent highest bit first; here, as in
 * the input, the first bit is the lowest, so that the carry runs downwards. 0 behind the last. */
static uint32_t tws__deflate_next(uint32_t code, unsigned width)
{
    uint32_t bit = UINT32_C(1) << (width - 1);
    while ((code & bit) != 0) {
        bit >>= 1;
    }
    return bit == 0 ? 0 : (code & (bit - 1)) | bit;
}

/* Symbols by width, then by number: the order of their codes. counts[w] of width w. */
static void tws__deflate_order(const uint8_t *width, unsigned symbols, uint16_t counts[16],
                               uint16_t *order)
{
    uint16_t at[17];
    memset(counts, 0, 16 * sizeof counts[0]);
    for (unsigned i = 0; i < symbols; i++) {
        counts[width[i]]++;
    }
    counts[0] = 0;
    at[1] = 0;
    for (unsigned w = 1; w <= TWS__DEFLATE_MAX_WIDTH; w++) {
        at[w + 1] = (uint16_t)(at[w] + counts[w]);
    }
    for (unsigned i = 0; i < symbols; i++) {
        if (width[i] > 0) {
            order[at[width[i]]++] = (uint16_t)i;
        }
    }
}

/* -- inflating: tables -- */

/* An entry of a table, from its lowest bit: 8 bits how many bits of input it is worth, 4 bits how
 * many extra bits follow (or of a link, how many choose in the further table), 4 bits what it is,
 * 16 bits its literal, base, or (of a link) where the further table begins. */
#define TWS__INFLATE_LITERAL 0x8000u
#define TWS__INFLATE_LINK 0x4000u
#define TWS__INFLATE_STOP 0x2000u /* no copy: the block's end, or nothing that may occur */
#define TWS__INFLATE_WIDTH(e) ((e) & 0xffu)
#define TWS__INFLATE_EXTRA(e) ((e) >> 8 & 0xfu)
#define TWS__INFLATE_VALUE(e) ((e) >> 16)
#define TWS__INFLATE_MASK(n) ((UINT64_C(1) << (n)) - 1)

#define TWS__INFLATE_LITERAL_ROOT 10u
#define TWS__INFLATE_DISTANCE_ROOT 8u
#define TWS__INFLATE_LENGTH_ROOT 7u

typedef enum tws__inflate_fault {
    TWS__INFLATE_FINE,
    TWS__INFLATE_BLOCK_TYPE,
    TWS__INFLATE_STORED_LENGTH,
    TWS__INFLATE_MANY_CODES,
    TWS__INFLATE_OVER_SUBSCRIBED,
    TWS__INFLATE_INCOMPLETE,
    TWS__INFLATE_NO_LENGTH_TO_REPEAT,
    TWS__INFLATE_LONG_REPEAT,
    TWS__INFLATE_NO_END,
    TWS__INFLATE_NOT_A_LENGTH,
    TWS__INFLATE_NOT_A_DISTANCE,
    TWS__INFLATE_FAR,
    TWS__INFLATE_CUT
} tws__inflate_fault;

static const char *const tws__inflate_reasons[] = {
    NULL,
    "a block of the reserved type 3",                              /* RFC 1951 3.2.3 */
    "a stored block's length that its complement contradicts",     /* 3.2.4 */
    "more than 286 literal and length or 30 distance codes",       /* 3.2.7 */
    "an over-subscribed code",                                     /* 3.2.2 */
    "an incomplete code",                                          /* 3.2.7 */
    "a repeat of a code length before the first",                  /* 3.2.7 */
    "a repeat of code lengths beyond the last",                    /* 3.2.7 */
    "a block without a code for its end",                          /* 3.2.7 */
    "a literal or length code that stands for nothing",            /* 3.2.5, 3.2.6 */
    "a distance code that stands for nothing",                     /* 3.2.5, 3.2.6 */
    "a distance to before the window's begin",                     /* 3.2 */
    "the message ends inside a block",                             /* RFC 7692 7.2.2 */
};

typedef enum tws__inflate_kind {
    TWS__INFLATE_OF_LITERALS,
    TWS__INFLATE_OF_DISTANCES,
    TWS__INFLATE_OF_LENGTHS /* of code lengths: RFC 1951 3.2.7 */
} tws__inflate_kind;

/* The entry of a symbol but for its width. */
static uint32_t tws__inflate_entry(tws__inflate_kind kind, unsigned symbol)
{
    if (kind == TWS__INFLATE_OF_LENGTHS || (kind == TWS__INFLATE_OF_LITERALS && symbol < 256)) {
        return (uint32_t)symbol << 16 | TWS__INFLATE_LITERAL;
    }
    if (kind == TWS__INFLATE_OF_DISTANCES) {
        return symbol >= TWS__DEFLATE_DISTANCES
                   ? TWS__INFLATE_STOP
                   : (uint32_t)tws__distance_base[symbol] << 16 |
                         (uint32_t)tws__distance_extra[symbol] << 8;
    }
    if (symbol == TWS__DEFLATE_END || symbol >= TWS__DEFLATE_LITERALS) {
        return (uint32_t)(symbol == TWS__DEFLATE_END) << 16 | TWS__INFLATE_STOP;
    }
    return (uint32_t)tws__length_base[symbol - 257] << 16 |
           (uint32_t)tws__length_extra[symbol - 257] << 8;
}

/* An incomplete code, of which some bit patterns mean nothing, is refused. Allowed, as by zlib, are
 * one symbol of one bit and no symbol at all, as a block may hold nothing but its end and have one
 * distance or none: RFC 1951 3.2.7. */
static tws__inflate_fault tws__inflate_judge(const uint16_t counts[16], tws__inflate_kind kind)
{
    int32_t left = 1; /* codes of the width that are not yet given away */
    unsigned used = 0;
    for (unsigned w = 1; w <= TWS__DEFLATE_MAX_WIDTH; w++) {
        left = left * 2 - counts[w];
        used += counts[w];
        if (left < 0) {
            return TWS__INFLATE_OVER_SUBSCRIBED;
        }
    }
    if (left == 0 || (kind != TWS__INFLATE_OF_LENGTHS && used == counts[1])) {
        return TWS__INFLATE_FINE;
    }
    return TWS__INFLATE_INCOMPLETE;
}

/* The bits that choose in a further table: as few as hold all codes that begin with one root. */
static unsigned tws__inflate_sub_bits(const uint16_t counts[16], unsigned width, unsigned root)
{
    int32_t left = (int32_t)1 << (width - root);
    while (width < TWS__DEFLATE_MAX_WIDTH) {
        left -= counts[width];
        if (left <= 0) {
            break;
        }
        width++;
        left *= 2;
    }
    return width - root;
}

/* The further tables, for codes of more than root bits; next and code: the first of them. */
static void tws__inflate_build_further(uint32_t *table, unsigned root, uint16_t counts[16],
                                       const uint16_t *next, uint32_t code, tws__inflate_kind kind)
{
    uint32_t end = UINT32_C(1) << root;
    const uint32_t root_mask = end - 1;
    uint32_t prefix = UINT32_MAX;
    uint32_t sub = 0;
    unsigned bits = 0;
    for (unsigned w = root + 1; w <= TWS__DEFLATE_MAX_WIDTH; w++) {
        for (; counts[w] > 0; counts[w]--) {
            if ((code & root_mask) != prefix) {
                prefix = code & root_mask;
                sub = end;
                bits = tws__inflate_sub_bits(counts, w, root);
                end += UINT32_C(1) << bits;
                table[prefix] = sub << 16 | TWS__INFLATE_LINK | (uint32_t)bits << 8 | root;
            }
            const uint32_t entry = tws__inflate_entry(kind, *next++) | (w - root);
            const uint32_t stride = UINT32_C(1) << (w - root);
            for (uint32_t i = code >> root; i < UINT32_C(1) << bits; i += stride) {
                table[sub + i] = entry;
            }
            code = tws__deflate_next(code, w);
        }
    }
}

/* Make the table of a code. Up to *root bits it grows as the codes do, by doubling: a code of w
 * bits is written once into a table of 2^w entries. Longer codes stand in further tables behind.
 *
 * root  [in/out] bits of the first step, at most; made fewer where no code has as many. */
static tws__inflate_fault tws__inflate_build(uint32_t *table, uint8_t *root, const uint8_t *width,
                                             unsigned symbols, tws__inflate_kind kind)
{
    uint16_t order[288];
    uint16_t counts[16];
    const uint16_t *next = order;
    uint32_t code = 0;
    tws__deflate_order(width, symbols, counts, order);
    const tws__inflate_fault fault = tws__inflate_judge(counts, kind);
    if (fault != TWS__INFLATE_FINE) {
        return fault;
    }
    unsigned longest = TWS__DEFLATE_MAX_WIDTH;
    while (longest > 1 && counts[longest] == 0) {
        longest--;
    }
    *root = (uint8_t)(longest < *root ? longest : *root);
    table[0] = TWS__INFLATE_STOP | 1u; /* where the code is not complete */
    for (unsigned w = 1; w <= *root; w++) {
        const size_t half = (size_t)1 << (w - 1);
        memcpy(table + half, table, half * sizeof table[0]);
        for (unsigned left = counts[w]; left > 0; left--) {
            table[code] = tws__inflate_entry(kind, *next++) | w;
            code = tws__deflate_next(code, w);
        }
    }
    tws__inflate_build_further(table, *root, counts, next, code, kind);
    return TWS__INFLATE_FINE;
}

/* -- inflating: the slow reader -- */

typedef enum tws__inflate_state {
    TWS__INFLATE_HEAD,
    TWS__INFLATE_STORED_HEAD,
    TWS__INFLATE_STORED,
    TWS__INFLATE_COUNTS,
    TWS__INFLATE_LENGTH_WIDTHS,
    TWS__INFLATE_WIDTHS,
    TWS__INFLATE_SYMBOL,
    TWS__INFLATE_COPY,
    TWS__INFLATE_OVER /* behind a final block */
} tws__inflate_state;

typedef enum tws__inflate_step {
    TWS__INFLATE_ON,
    TWS__INFLATE_WANTS, /* input */
    TWS__INFLATE_FILLED,
    TWS__INFLATE_ENDED,
    TWS__INFLATE_FAILED
} tws__inflate_step;

typedef struct tws__inflate_input {
    const uint8_t *at;
    const uint8_t *end;
    size_t from; /* in the window: where this call's output begins */
} tws__inflate_input;

TWS_API void tws_inflate_ring(tws_inflate_window *w, void *memory, unsigned bits)
{
    TWS_ASSERT(bits >= TWS_DEFLATE_MIN_BITS && bits <= TWS_DEFLATE_MAX_BITS);
    tws_inflate_flat(w, memory, (size_t)1 << bits, bits);
    w->ring = true;
}

TWS_API void tws_inflate_flat(tws_inflate_window *w, void *memory, size_t bytes, unsigned bits)
{
    TWS_ASSERT(bits >= TWS_DEFLATE_MIN_BITS && bits <= TWS_DEFLATE_MAX_BITS);
    w->memory = (uint8_t *)memory;
    w->bytes = bytes;
    w->at = 0;
    w->have = 0;
    w->bits = (uint8_t)bits;
    w->ring = false;
}

/* Code lengths and tables are left as they are: each is written before it is read. */
TWS_API void tws_inflate_begin(tws_inflater *z, tws_inflate_window *window)
{
    memset(z, 0, offsetof(tws_inflater, code_length)); /* TWS__INFLATE_HEAD is 0 */
    z->window = window;
}

static tws__inflate_step tws__inflate_fail(tws_inflater *z, tws__inflate_fault fault)
{
    z->error = (uint8_t)fault;
    return TWS__INFLATE_FAILED;
}

/* Have n bits, at most 48. False where the input ends before. */
static bool tws__inflate_need(tws_inflater *z, tws__inflate_input *in, uint32_t n)
{
    while (z->bit_count < n) {
        if (in->at == in->end) {
            return false;
        }
        z->bits |= (uint64_t)*in->at++ << z->bit_count;
        z->bit_count += 8;
    }
    return true;
}

/* n of the bits that are there, from bit `at` on. */
static uint32_t tws__inflate_peek(const tws_inflater *z, uint32_t at, uint32_t n)
{
    return (uint32_t)(z->bits >> at & TWS__INFLATE_MASK(n));
}

static void tws__inflate_drop(tws_inflater *z, uint32_t n)
{
    z->bits >>= n;
    z->bit_count -= n;
}

/* The entry of the code that begins at bit *at, which then is behind it; 0 where the input ends
 * before. Missing bits are zeros here: whatever entry they lead to, it is worth more bits than
 * there are, or it is the right one, as no code begins another. */
static uint32_t tws__inflate_code(tws_inflater *z, tws__inflate_input *in, const uint32_t *table,
                                  uint32_t root, uint32_t *at)
{
    for (;;) {
        uint32_t entry = table[tws__inflate_peek(z, *at, root)];
        uint32_t width = TWS__INFLATE_WIDTH(entry);
        if ((entry & TWS__INFLATE_LINK) != 0) {
            const uint32_t sub = tws__inflate_peek(z, *at + root, TWS__INFLATE_EXTRA(entry));
            entry = table[TWS__INFLATE_VALUE(entry) + sub];
            width += TWS__INFLATE_WIDTH(entry);
        }
        if (*at + width <= z->bit_count) {
            *at += width;
            return entry;
        }
        if (!tws__inflate_need(z, in, z->bit_count + 1)) {
            return 0;
        }
    }
}

/* The code lengths of a block are known: make its tables. */
static tws__inflate_step tws__inflate_tables(tws_inflater *z)
{
    if (z->code_length[TWS__DEFLATE_END] == 0) {
        return tws__inflate_fail(z, TWS__INFLATE_NO_END);
    }
    z->literal_root = TWS__INFLATE_LITERAL_ROOT;
    z->distance_root = TWS__INFLATE_DISTANCE_ROOT;
    tws__inflate_fault fault = tws__inflate_build(z->literal, &z->literal_root, z->code_length,
                                                  z->literals, TWS__INFLATE_OF_LITERALS);
    if (fault == TWS__INFLATE_FINE) {
        fault = tws__inflate_build(z->distance_table, &z->distance_root,
                                   z->code_length + z->literals, z->distances,
                                   TWS__INFLATE_OF_DISTANCES);
    }
    z->state = TWS__INFLATE_SYMBOL;
    return fault == TWS__INFLATE_FINE ? TWS__INFLATE_ON : tws__inflate_fail(z, fault);
}

static tws__inflate_step tws__inflate_head(tws_inflater *z, tws__inflate_input *in)
{
    if (!tws__inflate_need(z, in, 3)) {
        return TWS__INFLATE_WANTS;
    }
    z->state = TWS__INFLATE_HEAD;
    const uint32_t type = tws__inflate_peek(z, 1, 2);
    if (type == 3) {
        return tws__inflate_fail(z, TWS__INFLATE_BLOCK_TYPE);
    }
    z->final = (uint8_t)tws__inflate_peek(z, 0, 1);
    tws__inflate_drop(z, 3);
    z->state = TWS__INFLATE_COUNTS;
    if (type == 0) {
        tws__inflate_drop(z, z->bit_count & 7u); /* to the next whole byte: 3.2.4 */
        z->state = TWS__INFLATE_STORED_HEAD;
    }
    if (type == 1 && z->fixed != 0) { /* a block of ten bits is not worth making them again */
        z->state = TWS__INFLATE_SYMBOL;
    } else if (type == 1) {
        z->fixed = 1;
        z->literals = 288;
        z->distances = 32;
        tws__deflate_fixed_widths(z->code_length, z->code_length + 288);
        return tws__inflate_tables(z);
    }
    return TWS__INFLATE_ON;
}

/* A block has ended; behind a final one, what is left of its last byte means nothing. */
static tws__inflate_step tws__inflate_block_end(tws_inflater *z)
{
    z->state = TWS__INFLATE_HEAD;
    if (z->final == 0) {
        return TWS__INFLATE_ON;
    }
    tws__inflate_drop(z, z->bit_count & 7u);
    z->state = TWS__INFLATE_OVER;
    return TWS__INFLATE_ENDED;
}

static tws__inflate_step tws__inflate_stored_head(tws_inflater *z, tws__inflate_input *in)
{
    if (!tws__inflate_need(z, in, 32)) {
        return TWS__INFLATE_WANTS;
    }
    z->length = tws__inflate_peek(z, 0, 16);
    if ((z->length ^ tws__inflate_peek(z, 16, 16)) != 0xffff) {
        return tws__inflate_fail(z, TWS__INFLATE_STORED_LENGTH);
    }
    tws__inflate_drop(z, 32);
    z->state = TWS__INFLATE_STORED;
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_stored(tws_inflater *z, tws__inflate_input *in)
{
    tws_inflate_window *w = z->window;
    size_t n = tws__min(z->length, (size_t)(in->end - in->at));
    if (z->length == 0) {
        return tws__inflate_block_end(z);
    }
    if (n == 0) {
        return TWS__INFLATE_WANTS;
    }
    n = tws__min(n, w->bytes - w->at);
    if (n == 0) {
        return TWS__INFLATE_FILLED;
    }
    memcpy(w->memory + w->at, in->at, n);
    w->at += n;
    in->at += n;
    z->length -= (uint32_t)n;
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_counts(tws_inflater *z, tws__inflate_input *in)
{
    if (!tws__inflate_need(z, in, 14)) {
        return TWS__INFLATE_WANTS;
    }
    z->literals = (uint16_t)(257 + tws__inflate_peek(z, 0, 5));
    z->distances = (uint16_t)(1 + tws__inflate_peek(z, 5, 5));
    z->length_codes = (uint8_t)(4 + tws__inflate_peek(z, 10, 4));
    z->known = 0;
    if (z->literals > TWS__DEFLATE_LITERALS || z->distances > TWS__DEFLATE_DISTANCES) {
        return tws__inflate_fail(z, TWS__INFLATE_MANY_CODES);
    }
    tws__inflate_drop(z, 14);
    memset(z->code_length, 0, 19);
    z->state = TWS__INFLATE_LENGTH_WIDTHS;
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_length_widths(tws_inflater *z, tws__inflate_input *in)
{
    while (z->known < z->length_codes) {
        if (!tws__inflate_need(z, in, 3)) {
            return TWS__INFLATE_WANTS;
        }
        z->code_length[tws__length_order[z->known++]] = (uint8_t)tws__inflate_peek(z, 0, 3);
        tws__inflate_drop(z, 3);
    }
    /* Their table stands where the literals' will: it is read out before that is made. */
    z->fixed = 0;
    z->literal_root = TWS__INFLATE_LENGTH_ROOT;
    const tws__inflate_fault fault = tws__inflate_build(
        z->literal, &z->literal_root, z->code_length, 19, TWS__INFLATE_OF_LENGTHS);
    if (fault != TWS__INFLATE_FINE) {
        return tws__inflate_fail(z, fault);
    }
    z->known = 0;
    z->state = TWS__INFLATE_WIDTHS;
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_repeat(tws_inflater *z, tws__inflate_input *in,
                                             uint32_t symbol, uint32_t at)
{
    const uint32_t bits = tws__repeat_extra[symbol - 16];
    if (symbol == 16 && z->known == 0) {
        return tws__inflate_fail(z, TWS__INFLATE_NO_LENGTH_TO_REPEAT);
    }
    if (!tws__inflate_need(z, in, at + bits)) {
        return TWS__INFLATE_WANTS;
    }
    const uint32_t times = tws__repeat_least[symbol - 16] + tws__inflate_peek(z, at, bits);
    if (times > (uint32_t)z->literals + z->distances - z->known) {
        return tws__inflate_fail(z, TWS__INFLATE_LONG_REPEAT);
    }
    memset(z->code_length + z->known, symbol == 16 ? z->code_length[z->known - 1] : 0, times);
    z->known = (uint16_t)(z->known + times);
    tws__inflate_drop(z, at + bits);
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_widths(tws_inflater *z, tws__inflate_input *in)
{
    while (z->known < z->literals + z->distances) {
        uint32_t at = 0;
        const uint32_t entry = tws__inflate_code(z, in, z->literal, z->literal_root, &at);
        if (entry == 0) {
            return TWS__INFLATE_WANTS;
        }
        if (TWS__INFLATE_VALUE(entry) < 16) {
            z->code_length[z->known++] = (uint8_t)TWS__INFLATE_VALUE(entry);
            tws__inflate_drop(z, at);
            continue;
        }
        const tws__inflate_step step = tws__inflate_repeat(z, in, TWS__INFLATE_VALUE(entry), at);
        if (step != TWS__INFLATE_ON) {
            return step;
        }
    }
    return tws__inflate_tables(z);
}

/* A copy's length is read; its distance follows at bit `at`. */
static tws__inflate_step tws__inflate_distance(tws_inflater *z, tws__inflate_input *in,
                                               uint32_t length, uint32_t at)
{
    const tws_inflate_window *w = z->window;
    const uint32_t entry = tws__inflate_code(z, in, z->distance_table, z->distance_root, &at);
    if (entry == 0) {
        return TWS__INFLATE_WANTS;
    }
    if ((entry & TWS__INFLATE_STOP) != 0) {
        return tws__inflate_fail(z, TWS__INFLATE_NOT_A_DISTANCE);
    }
    const uint32_t extra = TWS__INFLATE_EXTRA(entry);
    if (!tws__inflate_need(z, in, at + extra)) {
        return TWS__INFLATE_WANTS;
    }
    const uint32_t distance = TWS__INFLATE_VALUE(entry) + tws__inflate_peek(z, at, extra);
    if (distance > (uint32_t)1 << w->bits || distance > w->have + (w->at - in->from)) {
        return tws__inflate_fail(z, TWS__INFLATE_FAR);
    }
    tws__inflate_drop(z, at + extra);
    z->length = length;
    z->distance = distance;
    z->state = TWS__INFLATE_COPY;
    return TWS__INFLATE_ON;
}

static tws__inflate_step tws__inflate_symbol(tws_inflater *z, tws__inflate_input *in)
{
    tws_inflate_window *w = z->window;
    uint32_t at = 0;
    const uint32_t entry = tws__inflate_code(z, in, z->literal, z->literal_root, &at);
    if (entry == 0) {
        return TWS__INFLATE_WANTS;
    }
    if ((entry & TWS__INFLATE_LITERAL) != 0) {
        if (w->at == w->bytes) {
            return TWS__INFLATE_FILLED;
        }
        w->memory[w->at++] = (uint8_t)TWS__INFLATE_VALUE(entry);
        tws__inflate_drop(z, at);
        return TWS__INFLATE_ON;
    }
    if ((entry & TWS__INFLATE_STOP) != 0) {
        if (TWS__INFLATE_VALUE(entry) == 0) {
            return tws__inflate_fail(z, TWS__INFLATE_NOT_A_LENGTH);
        }
        tws__inflate_drop(z, at);
        return tws__inflate_block_end(z);
    }
    const uint32_t extra = TWS__INFLATE_EXTRA(entry);
    if (!tws__inflate_need(z, in, at + extra)) {
        return TWS__INFLATE_WANTS;
    }
    return tws__inflate_distance(
        z, in, TWS__INFLATE_VALUE(entry) + tws__inflate_peek(z, at, extra), at + extra);
}

/* Byte by byte: source and target may overlap, and the source may run over a ring's end. */
static tws__inflate_step tws__inflate_copy(tws_inflater *z)
{
    tws_inflate_window *w = z->window;
    size_t from = w->at >= z->distance ? w->at - z->distance : w->at + w->bytes - z->distance;
    while (z->length > 0) {
        if (w->at == w->bytes) {
            return TWS__INFLATE_FILLED;
        }
        w->memory[w->at++] = w->memory[from++];
        from = from == w->bytes ? 0 : from;
        z->length--;
    }
    z->state = TWS__INFLATE_SYMBOL;
    return TWS__INFLATE_ON;
}

/* -- inflating: the fast reader -- */

#define TWS__INFLATE_ROOM (TWS__DEFLATE_MAX_COPY + 2u) /* what one round may write */

static uint64_t tws__load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

/* Copy within a window; never a byte too many, since behind a ring's newest byte its oldest are.
 * What is written by words overlaps what is written already, not the source to come. */
static void tws__inflate_move(uint8_t *to, const uint8_t *from, uint32_t length, size_t distance)
{
    uint32_t i = 0;
    if (distance >= 8 && length >= 8) {
        for (; i + 8 <= length; i += 8) {
            memcpy(to + i, from + i, 8);
        }
        memcpy(to + length - 8, from + length - 8, 8);
        return;
    }
    if (distance == 1) {
        memset(to, from[0], length);
        return;
    }
    for (; i < length; i++) {
        to[i] = from[i];
    }
}

/* Where a copy begins, if its bytes lie in one piece and, behind a ring's newest byte, clear of
 * where they go; else SIZE_MAX. */
static size_t tws__inflate_source(const tws_inflate_window *w, size_t at, size_t distance,
                                  uint32_t length)
{
    if (distance <= at) {
        return at - distance;
    }
    const size_t gap = w->bytes - distance; /* wraps for a distance that is an error anyway */
    return w->ring && gap >= length && length <= distance - at ? at + gap : SIZE_MAX;
}

/* The input, bit by bit, in registers: 56 bits or more after each refilling, of which the longest
 * symbol needs 48. */
typedef struct tws__inflate_bits {
    uint64_t bits;
    uint32_t count;
    const uint8_t *next;
} tws__inflate_bits;

/* Reads eight bytes and takes as many whole ones as have room; the others are read again. */
static inline void tws__inflate_refill(tws__inflate_bits *b)
{
    b->bits |= tws__load_le64(b->next) << b->count;
    b->next += (63 - b->count) >> 3;
    b->count |= 56;
}

static inline uint32_t tws__inflate_take(tws__inflate_bits *b, uint32_t n)
{
    const uint64_t taken = b->bits & TWS__INFLATE_MASK(n);
    b->bits >>= n;
    b->count -= n;
    return (uint32_t)taken;
}

static inline uint32_t tws__inflate_take_code(tws__inflate_bits *b, const uint32_t *table,
                                              uint32_t root)
{
    uint32_t entry = table[b->bits & TWS__INFLATE_MASK(root)];
    if ((entry & TWS__INFLATE_LINK) != 0) {
        (void)tws__inflate_take(b, root);
        entry = table[TWS__INFLATE_VALUE(entry) +
                      (b->bits & TWS__INFLATE_MASK(TWS__INFLATE_EXTRA(entry)))];
    }
    (void)tws__inflate_take(b, TWS__INFLATE_WIDTH(entry));
    return entry;
}

/* What a symbol stands for, its extra bits with it. */
static inline uint32_t tws__inflate_take_value(tws__inflate_bits *b, uint32_t entry)
{
    return TWS__INFLATE_VALUE(entry) + tws__inflate_take(b, TWS__INFLATE_EXTRA(entry));
}

/* Symbols while there is plenty of input and room: a literal or two, or one and a copy, a round.
 * What is not for here (a block's end, an error, a ring's edge) is put back. */
static void tws__inflate_fast(tws_inflater *z, tws__inflate_input *in)
{
    tws_inflate_window *const w = z->window;
    uint8_t *const memory = w->memory;
    const size_t limit = (size_t)1 << w->bits;
    const size_t older = w->have - in->from; /* wraps; adding `at` makes it right */
    size_t at = w->at;
    tws__inflate_bits b = {z->bits, z->bit_count, in->at};
    while (in->end - b.next >= 16 && w->bytes - at >= TWS__INFLATE_ROOM) {
        tws__inflate_refill(&b);
        tws__inflate_bits before = b;
        uint32_t entry = tws__inflate_take_code(&b, z->literal, z->literal_root);
        if ((entry & TWS__INFLATE_LITERAL) != 0) {
            memory[at++] = (uint8_t)TWS__INFLATE_VALUE(entry);
            before = b;
            entry = tws__inflate_take_code(&b, z->literal, z->literal_root);
            if ((entry & TWS__INFLATE_LITERAL) != 0) {
                memory[at++] = (uint8_t)TWS__INFLATE_VALUE(entry);
                continue;
            }
            tws__inflate_refill(&b);
        }
        const uint32_t length = tws__inflate_take_value(&b, entry);
        const uint32_t far = tws__inflate_take_code(&b, z->distance_table, z->distance_root);
        const size_t distance = tws__inflate_take_value(&b, far);
        const size_t from = tws__inflate_source(w, at, distance, length);
        if (((entry | far) & TWS__INFLATE_STOP) != 0 || distance > limit ||
            distance > older + at || from == SIZE_MAX) {
            b = before;
            break;
        }
        tws__inflate_move(memory + at, memory + from, length, from < at ? distance : SIZE_MAX);
        at += length;
    }
    /* Unused whole bytes go back to the input, but for those that z held before. */
    const size_t back = tws__min(b.count >> 3, (size_t)(b.next - in->at));
    in->at = b.next - back;
    z->bit_count = b.count - (uint32_t)back * 8;
    z->bits = b.bits & TWS__INFLATE_MASK(z->bit_count);
    w->at = at;
}

static tws__inflate_step tws__inflate_run(tws_inflater *z, tws__inflate_input *in)
{
    switch ((tws__inflate_state)z->state) {
    case TWS__INFLATE_OVER:
    case TWS__INFLATE_HEAD: return tws__inflate_head(z, in);
    case TWS__INFLATE_STORED_HEAD: return tws__inflate_stored_head(z, in);
    case TWS__INFLATE_STORED: return tws__inflate_stored(z, in);
    case TWS__INFLATE_COUNTS: return tws__inflate_counts(z, in);
    case TWS__INFLATE_LENGTH_WIDTHS: return tws__inflate_length_widths(z, in);
    case TWS__INFLATE_WIDTHS: return tws__inflate_widths(z, in);
    case TWS__INFLATE_SYMBOL:
        tws__inflate_fast(z, in);
        return tws__inflate_symbol(z, in);
    case TWS__INFLATE_COPY: break;
    }
    return tws__inflate_copy(z);
}

static void tws__inflate_tell(const tws_inflater *z, tws_inflate_event *ev)
{
    ev->type = TWS_INFLATE_ERROR;
    ev->reason = tws__inflate_reasons[z->error];
    ev->offset = (z->offset * 8 - z->bit_count) / 8;
}

TWS_API size_t tws_inflate_decode(tws_inflater *z, const uint8_t *data, size_t len,
                                  tws_inflate_event *ev)
{
    static const tws_inflate_type types[] = {TWS_INFLATE_MORE, TWS_INFLATE_MORE, TWS_INFLATE_FULL,
                                             TWS_INFLATE_END, TWS_INFLATE_ERROR}; /* by step */
    static const uint8_t nothing[1] = {0};
    tws_inflate_window *w = z->window;
    const uint8_t *begin = len > 0 ? data : nothing;
    tws__inflate_step step = z->error != 0 ? TWS__INFLATE_FAILED : TWS__INFLATE_ON;
    if (w->ring && w->at == w->bytes) {
        w->at = 0;
    }
    tws__inflate_input in = {begin, begin + len, w->at};
    while (step == TWS__INFLATE_ON) {
        step = tws__inflate_run(z, &in);
    }
    const size_t used = (size_t)(in.at - begin);
    z->offset += used;
    memset(ev, 0, sizeof *ev);
    ev->type = types[step];
    ev->len = w->at - in.from;
    ev->data = ev->len > 0 ? w->memory + in.from : NULL;
    w->have = tws__min(w->have + ev->len, (size_t)1 << w->bits);
    if (step == TWS__INFLATE_FAILED) {
        tws__inflate_tell(z, ev);
    }
    return used;
}

/* A message that ends with a final block needs no more: its sender had no other way to flush. What
 * is behind one, RFC 7692 7.2.3.4's byte of zero, begins a block again. */
TWS_API void tws_inflate_finish(tws_inflater *z, tws_inflate_event *ev)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    if (z->state == TWS__INFLATE_OVER && z->tail == 0 && z->error == 0) {
        memset(ev, 0, sizeof *ev);
        ev->type = TWS_INFLATE_END;
        return;
    }
    z->tail = (uint8_t)(z->tail + tws_inflate_decode(z, tail + z->tail, sizeof tail - z->tail, ev));
    if (ev->type == TWS_INFLATE_FULL || ev->type == TWS_INFLATE_ERROR) {
        return;
    }
    if (z->tail == sizeof tail && z->bit_count == 0 &&
        (z->state == TWS__INFLATE_HEAD || z->state == TWS__INFLATE_OVER)) {
        ev->type = TWS_INFLATE_END;
        return;
    }
    (void)tws__inflate_fail(z, TWS__INFLATE_CUT);
    tws__inflate_tell(z, ev);
}

/* -- deflating: a block -- */

/* A token: below, a literal's byte or a copy's length; above from bit 16, a copy's distance. */
#define TWS__DEFLATE_LENGTH(token) ((token) & 0xffffu)
#define TWS__DEFLATE_DISTANCE(token) ((token) >> 16)
#define TWS__DEFLATE_FAR 288u /* where distance symbols begin in a scratch's tables */

/* One call's work. */
typedef struct tws__deflate_run {
    tws_deflater *z;
    tws_deflate_scratch *s;
    const uint8_t *text; /* history and data in one piece; text[0] is at position z->origin */
    size_t end;          /* of the data, in text */
    size_t raw;          /* where in text the block begins */
    size_t raw_len;
    size_t hashed;       /* the first place of text that is in no chain yet */
    uint32_t tokens;
    uint32_t extra_bits;
    uint8_t *out;
    size_t cap;
    size_t len;
    bool failed;
} tws__deflate_run;

/* floor(log2(x)) of 1..65535. */
static uint32_t tws__deflate_log2(uint32_t x)
{
    return 31u - (uint32_t)__builtin_clz(x);
}

/* RFC 1951 3.2.5 drawn as arithmetic: above the first few, a symbol is the place of the highest bit
 * and the next one (distances) or two (lengths) below it. */
static uint32_t tws__deflate_length_symbol(uint32_t length)
{
    const uint32_t x = length - TWS__DEFLATE_MIN_COPY;
    if (x < 8 || length == TWS__DEFLATE_MAX_COPY) {
        return length == TWS__DEFLATE_MAX_COPY ? 285 : 257 + x;
    }
    const uint32_t top = tws__deflate_log2(x);
    return 257 + 4 * (top - 1) + (x >> (top - 2) & 3u);
}

static uint32_t tws__deflate_distance_symbol(uint32_t distance)
{
    const uint32_t x = distance - 1;
    if (x < 4) {
        return x;
    }
    const uint32_t top = tws__deflate_log2(x);
    return 2 * top + (x >> (top - 1) & 1u);
}

/* The codes of given widths, as RFC 1951 3.2.2 counts them out. */
static void tws__deflate_codes(tws_deflate_scratch *s, uint32_t from, uint32_t symbols)
{
    uint16_t order[TWS__DEFLATE_FAR];
    uint16_t counts[16];
    const uint16_t *next = order;
    uint32_t *to = s->code + from;
    uint32_t code = 0;
    tws__deflate_order(s->width + from, symbols, counts, order);
    for (uint32_t w = 1; w <= TWS__DEFLATE_MAX_WIDTH; w++) {
        for (; counts[w] > 0; counts[w]--) {
            to[*next++] = code | w << 16;
            code = tws__deflate_next(code, w);
        }
    }
}

/* Shell's sort: at most 288 keys, mostly some dozens. */
static void tws__deflate_sort(uint32_t *key, uint32_t n)
{
    for (uint32_t gap = n > 40 ? 40 : 1; gap > 0; gap = gap > 13 ? 13 : gap > 4 ? 4 : gap == 4) {
        for (uint32_t i = gap; i < n; i++) {
            const uint32_t moved = key[i];
            uint32_t j = i;
            for (; j >= gap && key[j - gap] > moved; j -= gap) {
                key[j] = key[j - gap];
            }
            key[j] = moved;
        }
    }
}

/* Huffman's tree over n sorted weights. The nodes that it makes come out in order of weight, so
 * both leaves and nodes are queues and the lightest is at one's front. leaves[d]: how many are at
 * depth d, those below `limit` counted as at it. */
static void tws__deflate_tree(tws_deflate_scratch *s, uint32_t n, uint32_t limit, uint16_t *leaves)
{
    uint32_t leaf = 0;
    uint32_t node = n;
    const uint32_t root = 2 * n - 2;
    for (uint32_t made = n; made <= root; made++) {
        s->weight[made] = 0;
        for (int i = 0; i < 2; i++) {
            const bool is_leaf = leaf < n && (node == made || s->weight[leaf] <= s->weight[node]);
            const uint32_t least = is_leaf ? leaf++ : node++;
            s->weight[made] += s->weight[least];
            s->parent[least] = (uint16_t)made;
        }
    }
    s->weight[root] = 0; /* from here on depths */
    for (uint32_t i = root; i-- > 0;) {
        const uint32_t depth = s->weight[s->parent[i]] + 1;
        s->weight[i] = depth;
        if (i < n) {
            leaves[depth < limit ? depth : limit]++;
        }
    }
}

/* Make room for the leaves that were lifted to the limit: one of them at a time goes beside the
 * deepest leaf above the limit, which gets a bit longer. Each time the code is over-subscribed by
 * one less, until it is exact. */
static void tws__deflate_limit(uint16_t *leaves, uint32_t limit)
{
    uint32_t used = 0; /* of 2^limit codes of the full width */
    for (uint32_t w = 1; w <= limit; w++) {
        used += (uint32_t)leaves[w] << (limit - w);
    }
    for (; used > UINT32_C(1) << limit; used--) {
        uint32_t w = limit - 1;
        while (leaves[w] == 0) {
            w--;
        }
        leaves[w]--;
        leaves[limit]--;
        leaves[w + 1] = (uint16_t)(leaves[w + 1] + 2);
    }
}

/* The best widths of at most `limit` bits for the symbols from `from` on, by how often they occur.
 * At least two get a code: some decoders take no code of a single word. */
static void tws__deflate_widths(tws_deflate_scratch *s, uint32_t from, uint32_t symbols,
                                uint32_t limit)
{
    uint32_t key[TWS__DEFLATE_FAR];
    uint16_t leaves[TWS__DEFLATE_MAX_WIDTH + 1] = {0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < symbols; i++) {
        s->width[from + i] = 0;
        if (s->count[from + i] > 0) {
            key[n++] = (uint32_t)s->count[from + i] << 9 | i;
        }
    }
    for (uint32_t i = 0; n < 2; i++) {
        if (s->count[from + i] == 0) {
            key[n++] = i;
        }
    }
    tws__deflate_sort(key, n);
    for (uint32_t i = 0; i < n; i++) {
        s->weight[i] = key[i] >> 9;
    }
    tws__deflate_tree(s, n, limit, leaves);
    tws__deflate_limit(leaves, limit);
    for (uint32_t w = limit, i = 0; w > 0; w--) {
        for (; leaves[w] > 0; leaves[w]--) {
            s->width[from + (key[i++] & 511u)] = (uint8_t)w;
        }
    }
}

/* Bits that all occurrences of the symbols from `from` on take with the codes of s->width. */
static uint32_t tws__deflate_cost(const tws_deflate_scratch *s, uint32_t from, uint32_t symbols)
{
    uint32_t bits = 0;
    for (uint32_t i = from; i < from + symbols; i++) {
        bits += (uint32_t)s->count[i] * s->width[i];
    }
    return bits;
}

/* Bits of a stored block's head behind bit_count others: three, then up to a whole byte. */
static uint32_t tws__deflate_stored_head(uint32_t bit_count)
{
    return 3 + ((0u - (bit_count + 3)) & 7u);
}

/* Bits that storing the block's text takes: RFC 1951 3.2.4. */
static uint64_t tws__deflate_stored_cost(const tws__deflate_run *r)
{
    const uint64_t blocks = r->raw_len / 65535 + (r->raw_len % 65535 > 0);
    const uint32_t head = tws__deflate_stored_head(r->z->bit_count);
    return head + 32 + (blocks - 1) * 40 + (uint64_t)r->raw_len * 8;
}

/* Bits on their way out: copied out of the run and back, so that they are in registers between. */
typedef struct tws__deflate_writer {
    uint64_t bits;
    uint32_t count; /* below 32 */
    uint8_t *at;
} tws__deflate_writer;

/* Append n bits, at most 32, lowest first. Whoever calls it has looked that there is room. */
static inline void tws__deflate_put(tws__deflate_writer *o, uint32_t bits, uint32_t n)
{
    o->bits |= (uint64_t)bits << o->count;
    o->count += n;
    if (o->count >= 32) {
        o->at[0] = (uint8_t)o->bits;
        o->at[1] = (uint8_t)(o->bits >> 8);
        o->at[2] = (uint8_t)(o->bits >> 16);
        o->at[3] = (uint8_t)(o->bits >> 24);
        o->at += 4;
        o->bits >>= 32;
        o->count -= 32;
    }
}

static tws__deflate_writer tws__deflate_open(const tws__deflate_run *r)
{
    tws__deflate_writer o = {r->z->bits, r->z->bit_count, r->out + r->len};
    return o;
}

/* Whole bytes go out, the rest waits in the deflater. */
static void tws__deflate_close(tws__deflate_run *r, tws__deflate_writer *o)
{
    for (; o->count >= 8; o->count -= 8) {
        *o->at++ = (uint8_t)o->bits;
        o->bits >>= 8;
    }
    r->z->bits = o->bits;
    r->z->bit_count = o->count;
    r->len = (size_t)(o->at - r->out);
}

/* Is there room for so many bits behind those that wait? Else the message has failed. */
static bool tws__deflate_room(tws__deflate_run *r, uint64_t bits)
{
    if ((r->z->bit_count + bits) / 8 > r->cap - r->len) {
        r->failed = true;
    }
    return !r->failed;
}

static void tws__deflate_store(tws__deflate_run *r)
{
    const uint8_t *p = r->text + r->raw;
    for (size_t n = 0, left = r->raw_len; left > 0; left -= n) {
        n = tws__min(left, 65535);
        tws__deflate_writer o = tws__deflate_open(r);
        tws__deflate_put(&o, 0, tws__deflate_stored_head(o.count));
        tws__deflate_put(&o, (uint32_t)n | (uint32_t)(n ^ 0xffff) << 16, 32);
        tws__deflate_close(r, &o);
        memcpy(r->out + r->len, p, n);
        r->len += n;
        p += n;
    }
}

/* -- a dynamic block's header: RFC 1951 3.2.7 -- */

#define TWS__DEFLATE_RUNS 320u /* where the symbols of folded code lengths begin in the tables */

typedef struct tws__deflate_header {
    uint32_t literals;
    uint32_t distances;
    uint32_t runs;
    uint32_t length_codes;
    uint32_t bits;
} tws__deflate_header;

/* Note a symbol, with its extra bits from bit 8. */
static void tws__deflate_fold(tws_deflate_scratch *s, tws__deflate_header *h, uint32_t symbol,
                              uint32_t extra)
{
    s->run[h->runs++] = (uint16_t)(symbol | extra << 8);
    s->count[TWS__DEFLATE_RUNS + symbol]++;
    h->bits += symbol < 16 ? 0 : tws__repeat_extra[symbol - 16];
}

static void tws__deflate_fold_run(tws_deflate_scratch *s, tws__deflate_header *h, uint32_t width,
                                  uint32_t times)
{
    static const uint8_t most[3] = {6, 10, 138};
    if (width > 0) { /* a repeat needs a length before it */
        tws__deflate_fold(s, h, width, 0);
        times--;
    }
    while (times >= 3) {
        const uint32_t i = width > 0 ? 0 : times < 11 ? 1 : 2;
        const uint32_t n = times < most[i] ? times : most[i];
        tws__deflate_fold(s, h, 16 + i, n - tws__repeat_least[i]);
        times -= n;
    }
    for (; times > 0; times--) {
        tws__deflate_fold(s, h, width, 0);
    }
}

/* Fold the code lengths, find the best code for that, and count its bits. */
static void tws__deflate_plan(tws_deflate_scratch *s, tws__deflate_header *h)
{
    uint32_t times = 0;
    memset(h, 0, sizeof *h);
    memset(s->count + TWS__DEFLATE_RUNS, 0, 19 * sizeof s->count[0]);
    h->literals = TWS__DEFLATE_LITERALS;
    while (s->width[h->literals - 1] == 0) {
        h->literals--; /* stops behind the block's end, which always has a code */
    }
    h->distances = TWS__DEFLATE_DISTANCES;
    while (s->width[TWS__DEFLATE_FAR + h->distances - 1] == 0) {
        h->distances--; /* two at least have one */
    }
    const uint32_t all = h->literals + h->distances;
    const uint8_t *far = s->width + TWS__DEFLATE_FAR - h->literals;
    for (uint32_t i = 0; i < all; i += times) {
        const uint32_t width = (i < h->literals ? s->width : far)[i];
        times = 1;
        while (i + times < all && (i + times < h->literals ? s->width : far)[i + times] == width) {
            times++;
        }
        tws__deflate_fold_run(s, h, width, times);
    }
    tws__deflate_widths(s, TWS__DEFLATE_RUNS, 19, 7);
    h->length_codes = 19;
    while (h->length_codes > 4 &&
           s->width[TWS__DEFLATE_RUNS + tws__length_order[h->length_codes - 1]] == 0) {
        h->length_codes--;
    }
    h->bits += 5 + 5 + 4 + 3 * h->length_codes + tws__deflate_cost(s, TWS__DEFLATE_RUNS, 19);
}

static inline void tws__deflate_put_code(tws__deflate_writer *o, uint32_t code)
{
    tws__deflate_put(o, code & 0xffffu, code >> 16);
}

static void tws__deflate_put_header(tws_deflate_scratch *s, const tws__deflate_header *h,
                                    tws__deflate_writer *o)
{
    const uint32_t *code = s->code + TWS__DEFLATE_RUNS;
    tws__deflate_put(o, h->literals - 257, 5);
    tws__deflate_put(o, h->distances - 1, 5);
    tws__deflate_put(o, h->length_codes - 4, 4);
    for (uint32_t i = 0; i < h->length_codes; i++) {
        tws__deflate_put(o, s->width[TWS__DEFLATE_RUNS + tws__length_order[i]], 3);
    }
    tws__deflate_codes(s, TWS__DEFLATE_RUNS, 19);
    for (uint32_t i = 0; i < h->runs; i++) {
        const uint32_t symbol = s->run[i] & 0xffu;
        tws__deflate_put_code(o, code[symbol]);
        if (symbol >= 16) {
            tws__deflate_put(o, s->run[i] >> 8, tws__repeat_extra[symbol - 16]);
        }
    }
}

/* -- a block's tokens -- */

static inline void tws__deflate_put_copy(const tws_deflate_scratch *s, tws__deflate_writer *o,
                                         uint32_t length, uint32_t distance)
{
    const uint32_t a = tws__deflate_length_symbol(length);
    const uint32_t b = tws__deflate_distance_symbol(distance);
    tws__deflate_put_code(o, s->code[a]);
    tws__deflate_put(o, length - tws__length_base[a - 257], tws__length_extra[a - 257]);
    tws__deflate_put_code(o, s->code[TWS__DEFLATE_FAR + b]);
    tws__deflate_put(o, distance - tws__distance_base[b], tws__distance_extra[b]);
}

/* The block's head (RFC 1951 3.2.3: not the last one), and its tokens. header: NULL in the fixed
 * code. */
static void tws__deflate_put_block(tws__deflate_run *r, const tws__deflate_header *header)
{
    tws_deflate_scratch *s = r->s;
    tws__deflate_writer o = tws__deflate_open(r);
    tws__deflate_put(&o, (header == NULL ? 1u : 2u) << 1, 3);
    if (header != NULL) {
        tws__deflate_put_header(s, header, &o);
    }
    tws__deflate_codes(s, 0, TWS__DEFLATE_FAR);
    tws__deflate_codes(s, TWS__DEFLATE_FAR, 32);
    for (uint32_t i = 0; i < r->tokens; i++) {
        const uint32_t token = s->token[i];
        if (TWS__DEFLATE_DISTANCE(token) == 0) {
            tws__deflate_put_code(&o, s->code[token]);
        } else {
            tws__deflate_put_copy(s, &o, TWS__DEFLATE_LENGTH(token), TWS__DEFLATE_DISTANCE(token));
        }
    }
    tws__deflate_put_code(&o, s->code[TWS__DEFLATE_END]);
    tws__deflate_close(r, &o);
}

/* The next block: no tokens, and none counted but its end. */
static void tws__deflate_clear(tws__deflate_run *r)
{
    memset(r->s->count, 0, sizeof r->s->count);
    r->s->count[TWS__DEFLATE_END] = 1;
    r->raw += r->raw_len;
    r->raw_len = 0;
    r->tokens = 0;
    r->extra_bits = 0;
}

/* Write the block that the tokens so far make, in the shortest of the three ways. */
static void tws__deflate_block(tws__deflate_run *r)
{
    tws_deflate_scratch *s = r->s;
    tws__deflate_header h;
    const uint32_t symbols = TWS__DEFLATE_FAR + TWS__DEFLATE_DISTANCES;
    const uint64_t extra = r->extra_bits;
    const uint64_t stored = tws__deflate_stored_cost(r);
    tws__deflate_fixed_widths(s->width, s->width + TWS__DEFLATE_FAR);
    const uint64_t fixed = 3 + extra + tws__deflate_cost(s, 0, symbols);
    tws__deflate_widths(s, 0, TWS__DEFLATE_FAR, TWS__DEFLATE_MAX_WIDTH);
    tws__deflate_widths(s, TWS__DEFLATE_FAR, 32, TWS__DEFLATE_MAX_WIDTH);
    tws__deflate_plan(s, &h);
    const uint64_t dynamic = 3 + extra + h.bits + tws__deflate_cost(s, 0, symbols);
    const uint64_t coded = fixed <= dynamic ? fixed : dynamic;
    if (!tws__deflate_room(r, stored < coded ? stored : coded)) {
        return;
    }
    if (stored < coded) {
        tws__deflate_store(r);
    } else if (coded == fixed) {
        tws__deflate_fixed_widths(s->width, s->width + TWS__DEFLATE_FAR);
        tws__deflate_put_block(r, NULL);
    } else {
        tws__deflate_put_block(r, &h);
    }
    tws__deflate_clear(r);
}

static void tws__deflate_push(tws__deflate_run *r, uint32_t token, uint32_t covers)
{
    if (r->failed) {
        return; /* its block did not fit: there is no room for more tokens */
    }
    r->s->token[r->tokens++] = token;
    r->raw_len += covers;
    if (r->tokens == TASKWS_DEFLATE_TOKENS) {
        tws__deflate_block(r);
    }
}

static void tws__deflate_push_literal(tws__deflate_run *r, uint8_t byte)
{
    r->s->count[byte]++;
    tws__deflate_push(r, byte, 1);
}

static void tws__deflate_push_copy(tws__deflate_run *r, uint32_t length, uint32_t distance)
{
    const uint32_t a = tws__deflate_length_symbol(length);
    const uint32_t b = tws__deflate_distance_symbol(distance);
    r->s->count[a]++;
    r->s->count[TWS__DEFLATE_FAR + b]++;
    r->extra_bits += (uint32_t)tws__length_extra[a - 257] + tws__distance_extra[b];
    tws__deflate_push(r, distance << 16 | length, length);
}

/* -- deflating: finding copies -- */

/* How hard to look. */
typedef struct tws__deflate_effort {
    uint16_t chain; /* earlier places that are tried */
    uint16_t good;  /* a quarter of them where a copy of this length is known */
    uint16_t lazy;  /* a copy of this length is taken without looking at the next byte's */
    uint16_t nice;  /* and with this one looking ends */
} tws__deflate_effort;

static const tws__deflate_effort tws__deflate_efforts[10] = {
    {0, 0, 0, 0},       {4, 8, 0, 16},      {6, 8, 0, 32},       {12, 8, 4, 32},
    {16, 8, 6, 64},     {32, 8, 16, 64},    {96, 8, 16, 128},    {192, 16, 32, 192},
    {512, 32, 128, 258}, {2048, 32, 258, 258}};

/* A copy of three bytes from further away is no shorter than its literals. */
#define TWS__DEFLATE_NEAR 4096u

typedef struct tws__deflate_copy {
    uint32_t length; /* 0: none */
    uint32_t distance;
} tws__deflate_copy;

static uint32_t tws__deflate_hash(const tws_deflater *z, const uint8_t *p)
{
    const uint32_t three = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    return three * UINT32_C(0x9e3779b1) >> (32 - z->hash_bits);
}

/* Put the position of text[i] into its chain. Returns the newest one before it, or 0. */
static uint32_t tws__deflate_insert(tws__deflate_run *r, size_t i)
{
    tws_deflater *z = r->z;
    const uint32_t position = z->origin + (uint32_t)i;
    uint32_t *head = z->head + tws__deflate_hash(z, r->text + i);
    const uint32_t size = UINT32_C(1) << z->window_bits;
    const uint32_t before = *head;
    *head = position;
    if (before < z->begin || position - before > size) {
        z->chain[position & (size - 1)] = 0;
        return 0;
    }
    z->chain[position & (size - 1)] = (uint16_t)(position - before);
    return before;
}

/* How many bytes are equal, at most `most`. */
static uint32_t tws__deflate_equal(const uint8_t *a, const uint8_t *b, uint32_t most)
{
    uint32_t n = 0;
    while (n + 8 <= most && memcmp(a + n, b + n, 8) == 0) {
        n += 8;
    }
    while (n < most && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* The longest copy for text[i], the nearest of them, if it is longer than `known`. */
static tws__deflate_copy tws__deflate_find(tws__deflate_run *r, size_t i, uint32_t known)
{
    const tws_deflater *z = r->z;
    const tws__deflate_effort *effort = &tws__deflate_efforts[z->level];
    const uint32_t size = UINT32_C(1) << z->window_bits;
    const uint32_t most = (uint32_t)tws__min(r->end - i, TWS__DEFLATE_MAX_COPY);
    const uint8_t *here = r->text + i;
    tws__deflate_copy copy = {0, 0};
    uint32_t best = known < TWS__DEFLATE_MIN_COPY - 1 ? TWS__DEFLATE_MIN_COPY - 1 : known;
    uint32_t tries = known >= effort->good ? effort->chain / 4u : effort->chain;
    uint32_t from = 0;
    if (most < TWS__DEFLATE_MIN_COPY) {
        return copy;
    }
    for (; r->hashed <= i; r->hashed++) {
        from = tws__deflate_insert(r, r->hashed);
    }
    const uint32_t position = z->origin + (uint32_t)i;
    while (from != 0 && tries-- > 0 && best < most) {
        const uint32_t distance = position - from;
        const uint8_t *there = here - distance;
        if (there[best] == here[best] && there[best - 1] == here[best - 1]) {
            const uint32_t length = tws__deflate_equal(here, there, most);
            const bool pays = length > TWS__DEFLATE_MIN_COPY || distance <= TWS__DEFLATE_NEAR;
            if (length > best && pays) {
                copy.length = length;
                copy.distance = distance;
                best = length;
                tries = length >= effort->nice ? 0 : tries;
            }
        }
        const uint32_t further = z->chain[from & (size - 1)];
        if (further == 0 || further > from - z->begin) { /* it may be a void message's */
            break;
        }
        from -= further;
        if (position - from > size) {
            break;
        }
    }
    return copy;
}

/* Make tokens of text from `i` on. A copy waits while the next byte has a longer one: its first
 * byte then becomes a literal. */
static void tws__deflate_match(tws__deflate_run *r, size_t i)
{
    const uint32_t lazy = tws__deflate_efforts[r->z->level].lazy;
    while (i < r->end && !r->failed) {
        tws__deflate_copy copy = tws__deflate_find(r, i, 0);
        if (copy.length == 0) {
            tws__deflate_push_literal(r, r->text[i++]);
            continue;
        }
        while (copy.length < lazy && i + 1 < r->end) {
            const tws__deflate_copy next = tws__deflate_find(r, i + 1, copy.length);
            if (next.length == 0) {
                break;
            }
            tws__deflate_push_literal(r, r->text[i++]);
            copy = next;
        }
        tws__deflate_push_copy(r, copy.length, copy.distance);
        i += copy.length;
    }
}

/* -- deflating: messages -- */

/* Positions begin at 1, with nothing behind them: 0 in head is none. */
static void tws__deflate_restart(tws_deflater *z)
{
    memset(z->head, 0, (size_t)2 << z->window_bits);
    z->next = z->begin = z->hashed = z->origin = 1;
}

TWS_API void tws_deflate_init(tws_deflater *z, void *memory, unsigned window_bits, unsigned level,
                              bool takeover)
{
    const size_t size = (size_t)1 << window_bits;
    uint8_t *p = (uint8_t *)memory;
    TWS_ASSERT(window_bits >= TWS_DEFLATE_MIN_BITS && window_bits <= TWS_DEFLATE_MAX_BITS);
    TWS_ASSERT(level >= 1 && level <= 9);
    memset(z, 0, sizeof *z);
    z->head = (uint32_t *)memory;
    z->chain = (uint16_t *)(void *)(p + 2 * size);
    z->window = takeover ? p + 4 * size : NULL;
    z->window_bits = (uint8_t)window_bits;
    z->hash_bits = (uint8_t)(window_bits - 1);
    z->level = (uint8_t)level;
    tws__deflate_restart(z);
}

TWS_API void tws_deflate_forget(tws_deflater *z)
{
    z->begin = z->next;
    z->hashed = z->next;
    z->bits = 0;
    z->bit_count = 0;
    z->inside = false;
}

/* A stored block is five bytes and some bits more than its text, of 256 bytes unless the text ends
 * with it; then comes the flush. */
TWS_API size_t tws_deflate_bound(size_t len)
{
    return len + len / 32 + 16;
}

/* Without takeover the next piece of the data is compressed where it lies. A small piece uses only
 * as many entries of the table, so that they stay in the nearest cache. */
static size_t tws__deflate_in_place(tws__deflate_run *r, const uint8_t *data, size_t len)
{
    tws_deflater *z = r->z;
    const size_t n = tws__min(len, (size_t)1 << 30);
    z->hash_bits = TWS_DEFLATE_MIN_BITS - 1;
    while (z->hash_bits < z->window_bits - 1 && (size_t)1 << z->hash_bits < n) {
        z->hash_bits++;
    }
    z->origin = z->begin = z->hashed = z->next;
    r->text = data;
    r->end = n;
    r->raw = 0;
    return n;
}

/* With takeover it is copied behind what the window holds. There is memory for two windows: when
 * the data does not fit, the newest window's worth moves to the front. */
static size_t tws__deflate_in_window(tws__deflate_run *r, const uint8_t *data, size_t len)
{
    tws_deflater *z = r->z;
    const size_t size = (size_t)1 << z->window_bits;
    size_t held = z->next - z->origin;
    if (held > size && len > 2 * size - held) {
        memmove(z->window, z->window + held - size, size);
        z->origin = z->next - (uint32_t)size;
        z->begin = z->begin > z->origin ? z->begin : z->origin;
        z->hashed = z->hashed > z->origin ? z->hashed : z->origin;
        held = size;
    }
    const size_t n = tws__min(len, 2 * size - held);
    memcpy(z->window + held, data, n);
    r->text = z->window;
    r->raw = held;
    r->end = held + n;
    return n;
}

static void tws__deflate_flush(tws__deflate_run *r)
{
    const uint32_t head = tws__deflate_stored_head(r->z->bit_count);
    if (tws__deflate_room(r, head)) {
        tws__deflate_writer o = tws__deflate_open(r);
        tws__deflate_put(&o, 0, head);
        tws__deflate_close(r, &o);
    }
}

/* Compress what can be of the data, which is the message's rest where it ends. */
static size_t tws__deflate_piece(tws__deflate_run *r, const uint8_t *data, size_t len, bool end)
{
    tws_deflater *z = r->z;
    size_t n = 0;
    if (len > 0) {
        if (z->next > UINT32_C(1) << 31) { /* positions have 32 bits */
            tws__deflate_restart(z);
        }
        n = z->window == NULL ? tws__deflate_in_place(r, data, len)
                              : tws__deflate_in_window(r, data, len);
        tws__deflate_clear(r);
    }
    r->hashed = z->hashed - z->origin;
    tws__deflate_match(r, r->raw);
    if (r->tokens > 0 && !r->failed) {
        tws__deflate_block(r);
    }
    if (end && n == len && !r->failed) {
        tws__deflate_flush(r);
    }
    return n;
}

/* The message is void, n bytes of this piece with it. If there was no other piece, its positions
 * are taken out of their chains, the newest first, and are the next message's. Where their links
 * stood, those of the window's oldest positions are lost, and what stands there now leads astray,
 * though not out of the window: see tws__deflate_find. */
static void tws__deflate_undo(tws__deflate_run *r, size_t n, bool only)
{
    tws_deflater *z = r->z;
    const size_t size = (size_t)1 << z->window_bits;
    const size_t before = z->hashed - z->origin;
    if (z->window == NULL || !only || r->hashed - before > size) {
        z->next += (uint32_t)n;
        tws_deflate_forget(z);
        return;
    }
    while (r->hashed > before) {
        const uint32_t position = z->origin + (uint32_t)--r->hashed;
        const uint32_t link = z->chain[position & (size - 1)];
        z->head[tws__deflate_hash(z, r->text + r->hashed)] = link == 0 ? 0 : position - link;
    }
    z->bits = 0;
    z->bit_count = 0;
}

TWS_API tws_status tws_deflate_encode(tws_deflater *z, tws_deflate_scratch *s, const void *data,
                                      size_t len, bool end, uint8_t *out, size_t cap,
                                      size_t *written)
{
    const uint8_t *p = (const uint8_t *)data;
    size_t left = len;
    tws__deflate_run r;
    memset(&r, 0, sizeof r);
    r.z = z;
    r.s = s;
    r.out = out;
    r.cap = cap;
    *written = 0;
    for (size_t n = 0;; p += n) {
        n = tws__deflate_piece(&r, p, left, end);
        if (r.failed) {
            tws__deflate_undo(&r, n, n == len && !z->inside);
            return TWS_ERR_LIMIT;
        }
        z->hashed = z->origin + (uint32_t)r.hashed;
        z->next += (uint32_t)n;
        left -= n;
        if (left == 0) {
            break;
        }
    }
    z->inside = !end;
    *written = r.len;
    return TWS_OK;
}
#endif /* TASKWS_NO_DEFLATE */

#ifndef TASKWS_NO_JWT
/* == 11. jwt: HS256 tokens, signature first ================================= RFC 7515, 7519 ==
 * The key decides what a token must be, never the token: of its header only alg, kid and crit are
 * read, and alg can only agree. Claims are read in one pass, after the signature holds. */

TWS_API const char *tws_jwt_word(tws_jwt_error error)
{
    switch (error) {
    case TWS_JWT_OK: return "ok";
    case TWS_JWT_MISSING: return "token_missing";
    case TWS_JWT_MALFORMED: return "token_malformed";
    case TWS_JWT_ALGORITHM: return "token_malformed";
    case TWS_JWT_KEY: return "token_signature";
    case TWS_JWT_SIGNATURE: return "token_signature";
    case TWS_JWT_EXPIRED: return "token_expired";
    case TWS_JWT_NOT_YET_VALID: return "token_not_yet_valid";
    case TWS_JWT_CLAIMS: return "token_claims";
    }
    return "token_malformed";
}

TWS_API const char *tws_jwt_text(tws_jwt_error error)
{
    switch (error) {
    case TWS_JWT_OK: return "The token is valid.";
    case TWS_JWT_MISSING: return "A token is required.";
    case TWS_JWT_MALFORMED: return "The token is not a well-formed JSON Web Token.";
    case TWS_JWT_ALGORITHM: return "The token is not of the only accepted algorithm, HS256.";
    case TWS_JWT_KEY: return "The token names a key that is not in use.";
    case TWS_JWT_SIGNATURE: return "The token's signature is wrong.";
    case TWS_JWT_EXPIRED: return "The token has expired.";
    case TWS_JWT_NOT_YET_VALID: return "The token is not valid yet.";
    case TWS_JWT_CLAIMS: return "A claim of the token is missing, malformed or not accepted.";
    }
    return "The token was refused.";
}

/* Pick members of an object by name; value[i].type is TWS_JSON_END where name[i] is absent. The
 * whole text is read first, so nothing is judged in a text that is broken further on. A member
 * given twice is refused: two readers would believe different ones (RFC 7515 4, RFC 7519 4). */
static tws_jwt_error tws__jwt_members(tws_str json, const char *const *name, tws_json_token *value,
                                      size_t count)
{
    tws_json_reader r;
    tws_json_token token;
    tws_json_init(&r, json);
    memset(value, 0, count * sizeof *value);
    if (tws_json_next(&r, &token) != TWS_JSON_OBJECT) {
        return TWS_JWT_MALFORMED;
    }
    while (tws_json_next(&r, &token) == TWS_JSON_KEY) {
        tws_json_token member;
        tws__json_read_value(&r, &member);
        for (size_t i = 0; i < count; i++) {
            if (!tws__json_is(&token, tws_str_c(name[i]))) {
                continue;
            }
            if (value[i].type != TWS_JSON_END) {
                return TWS_JWT_MALFORMED;
            }
            value[i] = member;
        }
    }
    return tws_json_next(&r, NULL) == TWS_JSON_END ? TWS_JWT_OK : TWS_JWT_MALFORMED;
}

/* A string's characters: where they stand in the JSON text, or unescaped in room. False if it is no
 * string, or room is too small. */
static bool tws__jwt_string(const tws_json_token *value, tws_buf *room, tws_str *text)
{
    size_t begin = room->len;
    *text = value->text;
    if (value->type == TWS_JSON_STRING && value->escaped) {
        tws_json_unescape(value, room);
        *text = tws_str_from(tws_buf_view(room), begin);
    }
    return value->type == TWS_JSON_STRING && room->status == TWS_OK;
}

/* -- taking apart -- */

/* A part's bytes, appended to the scratch memory. */
static bool tws__jwt_decode(tws_str part, tws_buf *scratch, tws_str *bytes)
{
    size_t begin = scratch->len;
    size_t len;
    if (tws_base64url_decode(part, scratch->ptr + begin, scratch->cap - begin, &len) != TWS_OK) {
        return false;
    }
    tws_buf_add(scratch, len);
    *bytes = tws_str_of(scratch->ptr + begin, len);
    return true;
}

/* An unescaped kid is kept where the header stands, which has been read by now. */
static tws_jwt_error tws__jwt_take_kid(tws_jwt *jwt, const tws_json_token *kid, char *header)
{
    char room[TWS_JWT_MAX_KID];
    tws_buf plain;
    tws_str text;
    if (kid->type == TWS_JSON_END) {
        return TWS_JWT_OK;
    }
    if (kid->type != TWS_JSON_STRING) {
        return TWS_JWT_MALFORMED;
    }
    tws_buf_fixed(&plain, room, sizeof room);
    if (!tws__jwt_string(kid, &plain, &text) || text.len > TWS_JWT_MAX_KID) {
        return TWS_JWT_KEY; /* nobody's: no ring takes a longer one */
    }
    if (kid->escaped) {
        memcpy(header, text.ptr, text.len);
        text.ptr = header;
    }
    jwt->kid = text;
    return TWS_JWT_OK;
}

/* `alg` is compared as written: what spells HS256 with escapes is up to something. */
static tws_jwt_error tws__jwt_judge_header(tws_jwt *jwt, tws_str json, char *header)
{
    enum { ALG, KID, CRIT, COUNT };
    static const char *const name[COUNT] = {"alg", "kid", "crit"};
    tws_json_token value[COUNT];
    tws_jwt_error error = tws__jwt_members(json, name, value, COUNT);
    if (error != TWS_JWT_OK) {
        return error;
    }
    if (value[ALG].type != TWS_JSON_STRING || !tws_str_eq_c(value[ALG].text, "HS256") ||
        value[CRIT].type != TWS_JSON_END) {
        return TWS_JWT_ALGORITHM;
    }
    return tws__jwt_take_kid(jwt, &value[KID], header);
}

/* Well-formed but not of an HMAC's length, or empty, is a wrong signature; a character that is not
 * base64url, a dot before a fourth part included, makes it no token. */
static tws_jwt_error tws__jwt_take_signature(tws_jwt *jwt, tws_str part, tws_buf *scratch)
{
    tws_str bytes;
    if (!tws__jwt_decode(part, scratch, &bytes)) {
        return TWS_JWT_MALFORMED;
    }
    if (bytes.len != sizeof jwt->signature) {
        return TWS_JWT_SIGNATURE;
    }
    memcpy(jwt->signature, bytes.ptr, bytes.len);
    return TWS_JWT_OK;
}

TWS_API tws_jwt_error tws_jwt_open(tws_jwt *jwt, tws_str token, void *scratch, size_t cap)
{
    tws_str json;
    tws_buf room;
    memset(jwt, 0, sizeof *jwt);
    if (token.len == 0) {
        return TWS_JWT_MISSING;
    }
    size_t header_len = tws_str_find(token, '.');
    tws_str rest = tws_str_from(token, header_len + 1);
    size_t payload_len = tws_str_find(rest, '.');
    if (token.len > TWS_JWT_MAX || payload_len == rest.len) {
        return TWS_JWT_MALFORMED;
    }
    tws_buf_fixed(&room, scratch, cap);
    if (!tws__jwt_decode(tws_str_of(token.ptr, header_len), &room, &json)) {
        return TWS_JWT_MALFORMED;
    }
    tws_jwt_error error = tws__jwt_judge_header(jwt, json, room.ptr);
    if (error != TWS_JWT_OK) {
        return error;
    }
    if (!tws__jwt_decode(tws_str_of(rest.ptr, payload_len), &room, &jwt->payload)) {
        return TWS_JWT_MALFORMED;
    }
    jwt->signed_part = tws_str_of(token.ptr, header_len + 1 + payload_len);
    return tws__jwt_take_signature(jwt, tws_str_from(rest, payload_len + 1), &room);
}

TWS_API tws_jwt_error tws_jwt_verify(const tws_jwt *jwt, const tws_hmac_key *key)
{
    uint8_t mac[TWS_SHA256_BYTES];
    tws_hmac_sha256(key, jwt->signed_part.ptr, jwt->signed_part.len, mac);
    bool equal = tws_equal_secret(mac, jwt->signature, sizeof mac);
    tws_wipe(mac, sizeof mac); /* of a forged token it is what the forger wants */
    return equal ? TWS_JWT_OK : TWS_JWT_SIGNATURE;
}

/* -- claims -- */

enum {
    TWS__CLAIM_SUBJECT,
    TWS__CLAIM_EXP,
    TWS__CLAIM_NBF,
    TWS__CLAIM_IAT,
    TWS__CLAIM_ISS,
    TWS__CLAIM_AUD,
    TWS__CLAIM_SCOPE,
    TWS__CLAIM_COUNT
};

static const tws_jwt_policy tws__jwt_defaults = {NULL, NULL, NULL, 0, false};

static int64_t tws__jwt_leeway(const tws_jwt_policy *policy)
{
    return policy->leeway_s == TWS_OFF ? 0 : tws__default(policy->leeway_s, 30);
}

/* An integer's one decimal form is the user: -0 is 0. A fraction or an exponent names nobody,
 * and a NUL would end the name early for whoever handles it as a C string. */
static bool tws__jwt_subject(const tws_json_token *claim, tws_buf *room, tws_str *subject)
{
    int64_t number;
    if (tws_json_i64(claim, &number)) {
        size_t begin = room->len;
        tws_buf_i64(room, number);
        *subject = tws_str_from(tws_buf_view(room), begin);
        return room->status == TWS_OK;
    }
    return tws__jwt_string(claim, room, subject) && subject->len > 0 &&
           tws_str_find(*subject, '\0') == subject->len;
}

/* A NumericDate, RFC 7519 2, without its fraction; *s stays where there is none. An exponent is
 * refused: issuers write seconds out, and 1e999 is no time. */
static bool tws__jwt_date(const tws_json_token *claim, int64_t *s)
{
    tws_json_token whole = *claim;
    if (claim->type == TWS_JSON_END) {
        return true;
    }
    whole.text.len = tws_str_find(claim->text, '.');
    tws_str fraction = tws_str_from(claim->text, whole.text.len + 1);
    return tws__str_digits(fraction, 0) == fraction.len && tws_json_i64(&whole, s);
}

static bool tws__jwt_is(const tws_json_token *claim, tws_str wanted)
{
    return claim->type == TWS_JSON_STRING && tws__json_is(claim, wanted);
}

/* One string, or an array that has it. RFC 7519 4.1.3. */
static bool tws__jwt_audience(const tws_json_token *aud, tws_str wanted)
{
    tws_json_reader r;
    tws_json_token item;
    if (aud->type != TWS_JSON_ARRAY) {
        return tws__jwt_is(aud, wanted);
    }
    tws_json_init(&r, aud->text);
    while (tws_json_next(&r, &item) != TWS_JSON_END && r.reason == NULL) {
        if (r.depth == 1 && tws__jwt_is(&item, wanted)) {
            return true;
        }
    }
    return false;
}

static bool tws__jwt_read(const tws_json_token *claim, const tws_jwt_policy *policy, tws_buf *room,
                          tws_jwt_claims *out)
{
    const tws_json_token *scope = &claim[TWS__CLAIM_SCOPE];
    if (!tws__jwt_subject(&claim[TWS__CLAIM_SUBJECT], room, &out->subject)) {
        return false;
    }
    if (scope->type != TWS_JSON_END && !tws__jwt_string(scope, room, &out->scope)) {
        return false;
    }
    if (policy->issuer != NULL &&
        !tws__jwt_is(&claim[TWS__CLAIM_ISS], tws_str_c(policy->issuer))) {
        return false;
    }
    return policy->audience == NULL ||
           tws__jwt_audience(&claim[TWS__CLAIM_AUD], tws_str_c(policy->audience));
}

/* `exp` is the first second at which the token is over. RFC 7519 4.1.4 to 4.1.6. */
static tws_jwt_error tws__jwt_judge_times(const tws_json_token *claim, const tws_jwt_policy *policy,
                                          int64_t now_s, int64_t *expires_s)
{
    int64_t leeway = tws__jwt_leeway(policy);
    int64_t nbf = INT64_MIN;
    int64_t iat = INT64_MIN;
    *expires_s = INT64_MAX;
    if (claim[TWS__CLAIM_EXP].type == TWS_JSON_END && !policy->allow_no_expiry) {
        return TWS_JWT_CLAIMS;
    }
    if (!tws__jwt_date(&claim[TWS__CLAIM_EXP], expires_s) ||
        !tws__jwt_date(&claim[TWS__CLAIM_NBF], &nbf) ||
        !tws__jwt_date(&claim[TWS__CLAIM_IAT], &iat)) {
        return TWS_JWT_CLAIMS;
    }
    if (*expires_s <= now_s - leeway) {
        return TWS_JWT_EXPIRED;
    }
    bool early = nbf > now_s + leeway || iat > now_s + leeway;
    return early ? TWS_JWT_NOT_YET_VALID : TWS_JWT_OK;
}

TWS_API tws_jwt_error tws_jwt_judge(const tws_jwt *jwt, const tws_jwt_policy *policy, int64_t now_s,
                                    void *more, size_t cap, tws_jwt_claims *claims)
{
    tws_json_token claim[TWS__CLAIM_COUNT];
    tws_buf room;
    policy = policy != NULL ? policy : &tws__jwt_defaults;
    const char *subject = policy->subject_claim != NULL ? policy->subject_claim : "sub";
    const char *const name[TWS__CLAIM_COUNT] = {subject, "exp", "nbf",  "iat",
                                                "iss",   "aud", "scope"};
    memset(claims, 0, sizeof *claims);
    tws_buf_fixed(&room, more, cap);
    tws_jwt_error error = tws__jwt_members(jwt->payload, name, claim, TWS__CLAIM_COUNT);
    if (error != TWS_JWT_OK) {
        return error;
    }
    /* A token that will never do is told so first: "expired" means that a fresh one would. */
    if (!tws__jwt_read(claim, policy, &room, claims)) {
        return TWS_JWT_CLAIMS;
    }
    return tws__jwt_judge_times(claim, policy, now_s, &claims->expires_s);
}

/* -- making -- */

static void tws__jwt_write_header(tws_buf *b, tws_str kid)
{
    tws_buf_c(b, "{\"alg\":\"HS256\",\"typ\":\"JWT\"");
    if (kid.len > 0) {
        tws_json_write_member(b, "kid", kid);
    }
    tws_buf_char(b, '}');
}

TWS_API void tws_jwt_sign(tws_buf *b, const tws_hmac_key *key, tws_str kid, tws_str payload)
{
    char header[6 * TWS_JWT_MAX_KID + 64]; /* \u00XX for each character */
    uint8_t mac[TWS_SHA256_BYTES];
    tws_buf json;
    TWS_ASSERT(kid.len <= TWS_JWT_MAX_KID);
    tws_buf_fixed(&json, header, sizeof header);
    tws__jwt_write_header(&json, kid);
    size_t most = TWS_BASE64URL_LEN(json.len) + TWS_BASE64URL_LEN(payload.len) +
                  TWS_BASE64URL_LEN(sizeof mac) + 2;
    char *token = tws_buf_reserve(b, most);
    if (token == NULL) {
        return;
    }
    char *end = token + tws_base64url_encode(json.ptr, json.len, token);
    *end++ = '.';
    end += tws_base64url_encode(payload.ptr, payload.len, end);
    tws_hmac_sha256(key, token, (size_t)(end - token), mac);
    *end++ = '.';
    end += tws_base64url_encode(mac, sizeof mac, end);
    tws_buf_add(b, (size_t)(end - token));
}
#endif /* TASKWS_NO_JWT */

#ifndef TASKWS_NO_REDIS
/* == 12. resp: RESP2 and RESP3; decoder, command encoder ============================= RESP3 ==
 * One event a call, out of bytes that stay where they are. The decoder keeps how many elements each
 * open container still wants, and how many bytes the open string does. A count reserves nothing, so
 * a huge one (CVE-2021-32765) does no harm, and is refused. */

/* Every way to fail, an index into the reasons below. 0 is none. */
typedef enum tws__resp_fault {
    TWS__RESP_FINE,
    TWS__RESP_TYPE,
    TWS__RESP_LINE,
    TWS__RESP_LINE_END,
    TWS__RESP_STRING_END,
    TWS__RESP_LENGTH,
    TWS__RESP_STRING_LONG,
    TWS__RESP_COUNT,
    TWS__RESP_COUNT_HIGH,
    TWS__RESP_DEEP,
    TWS__RESP_SCALAR,
    TWS__RESP_FORMAT,
    TWS__RESP_PUSH_INSIDE,
    TWS__RESP_CHUNK_MISSING,
    TWS__RESP_NOTHING_TO_END,
    TWS__RESP_HALF_A_PAIR
} tws__resp_fault;

static const char *const tws__resp_reasons[] = {
    NULL,
    "no RESP type begins with this byte",
    "a line longer than the limit",
    "a line does not end in CR LF",
    "a string is not followed by CR LF",
    "a length that is no number",
    "a string longer than the limit",
    "a count that is no number",
    "a container of more elements than the limit",
    "containers nested too deeply",
    "a number, boolean or null that is none",
    "a verbatim string without its format",
    "a push inside a reply",
    "a streamed string goes on without a chunk",
    "an end of nothing",
    "a map ends behind a name",
};

/* What comes next. */
enum {
    TWS__RESP_VALUE,
    TWS__RESP_STRING,  /* bytes of a string, and its CR LF */
    TWS__RESP_CHUNK,   /* ;length of the open streamed string */
    TWS__RESP_IN_CHUNK /* bytes of that chunk, and its CR LF */
};

/* decoder.level: what an open container is. */
#define TWS__RESP_PAIRS 1u
#define TWS__RESP_OPEN_END 2u
#define TWS__RESP_IS_ATTRIBUTE 4u

TWS_API void tws_resp_init(tws_resp_decoder *d, const tws_resp_limits *limits)
{
    memset(d, 0, sizeof *d);
    if (limits != NULL) {
        d->limits = *limits;
    }
    if (d->limits.max_string == 0) {
        d->limits.max_string = (uint64_t)512 << 20;
    }
    if (d->limits.max_count == 0) {
        d->limits.max_count = 1u << 20;
    }
}

static size_t tws__resp_fail(tws_resp_decoder *d, tws__resp_fault fault)
{
    d->error = (uint8_t)fault;
    return 0;
}

/* -- nesting -- */

/* A value begins: the container around it wants one less. A streamed one counts only whether the
 * next is a name or a value. */
static void tws__resp_begin(tws_resp_decoder *d, tws_resp_event *ev)
{
    ev->depth = d->depth;
    if (d->depth == 0) {
        return;
    }
    uint32_t *left = &d->left[d->depth - 1];
    bool open_end = (d->level[d->depth - 1] & TWS__RESP_OPEN_END) != 0;
    *left = open_end ? *left ^ 1u : *left - 1;
}

/* A value is complete, and with it every container of which it was the last. An attribute completes
 * nothing: the value it belongs to is still to come. */
static void tws__resp_end(tws_resp_decoder *d, tws_resp_event *ev)
{
    while (d->depth > 0) {
        uint8_t level = d->level[d->depth - 1];
        if (d->left[d->depth - 1] > 0 || (level & TWS__RESP_OPEN_END) != 0) {
            return;
        }
        d->depth--;
        if ((level & TWS__RESP_IS_ATTRIBUTE) != 0) {
            return;
        }
    }
    ev->done = true;
}

static size_t tws__resp_open(tws_resp_decoder *d, size_t used, uint64_t count, uint8_t level,
                             tws_resp_event *ev)
{
    if (d->depth == TWS_RESP_MAX_DEPTH) {
        return tws__resp_fail(d, TWS__RESP_DEEP);
    }
    ev->depth = d->depth;
    ev->count = count;
    if ((level & TWS__RESP_IS_ATTRIBUTE) == 0) {
        tws__resp_begin(d, ev);
    }
    d->level[d->depth] = level;
    d->left[d->depth] = count == TWS_RESP_STREAMED ? 0 : (uint32_t)count;
    d->depth++;
    tws__resp_end(d, ev); /* of an empty one */
    return used;
}

/* `.` */
static size_t tws__resp_close(tws_resp_decoder *d, size_t used, tws_resp_event *ev)
{
    uint8_t level = d->depth == 0 ? 0 : d->level[d->depth - 1];
    if ((level & TWS__RESP_OPEN_END) == 0) {
        return tws__resp_fail(d, TWS__RESP_NOTHING_TO_END);
    }
    if ((level & TWS__RESP_PAIRS) != 0 && d->left[d->depth - 1] != 0) {
        return tws__resp_fail(d, TWS__RESP_HALF_A_PAIR);
    }
    d->depth--;
    ev->depth = d->depth;
    ev->type = TWS_RESP_END;
    tws__resp_end(d, ev);
    return used;
}

/* -- lines -- */

/* The line that `in` begins with, without its CR LF. False when it is not complete, or wrong. */
static bool tws__resp_line(tws_resp_decoder *d, tws_str in, tws_str *line)
{
    size_t look = tws__min(in.len, TWS_RESP_MAX_LINE);
    size_t cr = 0;
    while (cr < look && in.ptr[cr] != '\r' && in.ptr[cr] != '\n') {
        cr++; /* a few bytes nearly always: a loop beats memchr */
    }
    if (cr + 1 < look && in.ptr[cr] == '\r' && in.ptr[cr + 1] == '\n') {
        *line = tws_str_of(in.ptr, cr);
        return true;
    }
    if (cr + 1 < look || (cr < look && in.ptr[cr] == '\n')) {
        (void)tws__resp_fail(d, TWS__RESP_LINE_END);
    } else if (look == TWS_RESP_MAX_LINE) {
        (void)tws__resp_fail(d, TWS__RESP_LINE);
    }
    return false;
}

static size_t tws__resp_sign(tws_str s, size_t at)
{
    return at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+') ? at + 1 : at;
}

/* The end of the digits that must stand from `at` on; beyond the end of s without any. */
static size_t tws__resp_digits(tws_str s, size_t at)
{
    size_t end = tws__str_digits(s, at);
    return end > at ? end : s.len + 1;
}

static bool tws__resp_integer(tws_str s, int64_t *value)
{
    return tws__str_signed(tws_str_from(s, tws__resp_sign(s, 0)), tws_str_starts(s, "-"), value);
}

/* [sign]digits[.digits][e[sign]digits], inf or nan */
static bool tws__resp_is_double(tws_str s)
{
    size_t first = tws__resp_sign(s, 0);
    tws_str unsigned_part = tws_str_from(s, first);
    if (tws_str_eq_c(unsigned_part, "inf") || tws_str_eq_c(unsigned_part, "nan")) {
        return true;
    }
    size_t end = tws__resp_digits(s, first);
    if (end < s.len && s.ptr[end] == '.') {
        end = tws__resp_digits(s, end + 1);
    }
    if (end < s.len && (s.ptr[end] == 'e' || s.ptr[end] == 'E')) {
        end = tws__resp_digits(s, tws__resp_sign(s, end + 1));
    }
    return end == s.len;
}

/* A value that is its line. */
static size_t tws__resp_scalar(tws_resp_decoder *d, tws_str text, tws_resp_type type,
                               tws_resp_event *ev)
{
    ev->type = type;
    ev->text = text;
    ev->total = text.len;
    ev->first = true;
    ev->last = true;
    tws__resp_begin(d, ev);
    tws__resp_end(d, ev);
    return 1 + text.len + 2;
}

/* -- strings -- */

/* What is here of the open string or chunk; with it its CR LF, if that is here too. */
static size_t tws__resp_piece(tws_resp_decoder *d, tws_str in, tws_resp_event *ev)
{
    size_t n = (size_t)tws__min64(d->string_left, in.len);
    bool ends = n == d->string_left && in.len - n >= 2;
    if (ends && (in.ptr[n] != '\r' || in.ptr[n + 1] != '\n')) {
        return tws__resp_fail(d, TWS__RESP_STRING_END);
    }
    if (n == 0 && !ends && !ev->first) {
        return 0;
    }
    ev->type = (tws_resp_type)d->type;
    ev->depth = d->depth;
    ev->text = tws_str_of(in.ptr, n);
    d->string_left -= n;
    if (!ends) {
        return n;
    }
    ev->last = d->state == TWS__RESP_STRING;
    d->state = ev->last ? TWS__RESP_VALUE : TWS__RESP_CHUNK;
    if (ev->last) {
        tws__resp_end(d, ev);
    }
    return n + 2;
}

/* `;length`, and what is here of that chunk; `;0` ends the string. */
static size_t tws__resp_chunk(tws_resp_decoder *d, tws_str in, tws_str line, tws_resp_event *ev)
{
    uint64_t n;
    size_t used = line.len + 2;
    if (!tws_str_u64(tws_str_from(line, 1), &n)) {
        return tws__resp_fail(d, TWS__RESP_LENGTH);
    }
    if (n > d->limits.max_string - d->string_bytes) {
        return tws__resp_fail(d, TWS__RESP_STRING_LONG);
    }
    d->string_bytes += n;
    d->string_left = n;
    d->state = TWS__RESP_IN_CHUNK;
    if (n > 0) {
        return used + tws__resp_piece(d, tws_str_from(in, used), ev);
    }
    d->state = TWS__RESP_VALUE;
    ev->type = (tws_resp_type)d->type;
    ev->depth = d->depth;
    ev->last = true;
    tws__resp_end(d, ev);
    return used;
}

static size_t tws__resp_streamed(tws_resp_decoder *d, size_t used, tws_resp_event *ev)
{
    ev->type = TWS_RESP_BULK;
    ev->first = true;
    ev->total = TWS_RESP_STREAMED;
    tws__resp_begin(d, ev);
    d->type = (uint8_t)TWS_RESP_BULK;
    d->state = TWS__RESP_CHUNK;
    d->string_bytes = 0;
    return used;
}

/* Three letters and a colon before the text. They are waited for: format stands in the first
 * event. */
static bool tws__resp_format(tws_resp_decoder *d, tws_str rest, uint64_t total, tws_resp_event *ev)
{
    if (total < 4 || (rest.len >= 4 && rest.ptr[3] != ':')) {
        (void)tws__resp_fail(d, TWS__RESP_FORMAT);
        return false;
    }
    if (rest.len < 4) {
        return false;
    }
    memcpy(ev->format, rest.ptr, 3);
    return true;
}

/* `$`, `!`, `=`: a header, then as many bytes, then CR LF. */
static size_t tws__resp_string(tws_resp_decoder *d, tws_str in, tws_str text, tws_resp_type type,
                               tws_resp_event *ev)
{
    uint64_t total;
    size_t used = 1 + text.len + 2;
    if (type == TWS_RESP_BULK && tws_str_eq_c(text, "-1")) {
        return tws__resp_scalar(d, text, TWS_RESP_NULL, ev);
    }
    if (type == TWS_RESP_BULK && tws_str_eq_c(text, "?")) {
        return tws__resp_streamed(d, used, ev);
    }
    if (!tws_str_u64(text, &total)) {
        return tws__resp_fail(d, TWS__RESP_LENGTH);
    }
    if (total > d->limits.max_string) {
        return tws__resp_fail(d, TWS__RESP_STRING_LONG);
    }
    tws_str rest = tws_str_from(in, used);
    size_t format = type == TWS_RESP_VERBATIM ? 4 : 0;
    if (format > 0 && !tws__resp_format(d, rest, total, ev)) {
        return 0;
    }
    if (total - format <= d->limits.whole && rest.len < total + 2) {
        return 0;
    }
    used += format;
    total -= format;
    tws__resp_begin(d, ev);
    d->type = (uint8_t)type;
    d->state = TWS__RESP_STRING;
    d->string_left = total;
    ev->first = true;
    ev->total = total;
    return used + tws__resp_piece(d, tws_str_from(in, used), ev);
}

/* -- containers -- */

static size_t tws__resp_container(tws_resp_decoder *d, tws_str text, tws_resp_type type,
                                  tws_resp_event *ev)
{
    bool pairs = type == TWS_RESP_MAP || type == TWS_RESP_ATTRIBUTE;
    bool may_stream = type != TWS_RESP_PUSH && type != TWS_RESP_ATTRIBUTE;
    unsigned level = (pairs ? TWS__RESP_PAIRS : 0u) |
                     (type == TWS_RESP_ATTRIBUTE ? TWS__RESP_IS_ATTRIBUTE : 0u);
    size_t used = 1 + text.len + 2;
    uint64_t count = 0;
    if (type == TWS_RESP_ARRAY && tws_str_eq_c(text, "-1")) {
        return tws__resp_scalar(d, text, TWS_RESP_NULL, ev);
    }
    if (type == TWS_RESP_PUSH && d->depth > 0) {
        return tws__resp_fail(d, TWS__RESP_PUSH_INSIDE);
    }
    ev->type = type;
    if (may_stream && tws_str_eq_c(text, "?")) {
        level |= TWS__RESP_OPEN_END;
        return tws__resp_open(d, used, TWS_RESP_STREAMED, (uint8_t)level, ev);
    }
    if (!tws_str_u64(text, &count)) {
        return tws__resp_fail(d, TWS__RESP_COUNT);
    }
    if (count > d->limits.max_count / (pairs ? 2 : 1)) { /* before doubling it */
        return tws__resp_fail(d, TWS__RESP_COUNT_HIGH);
    }
    return tws__resp_open(d, used, pairs ? count * 2 : count, (uint8_t)level, ev);
}

/* -- values -- */

/* The byte that a value begins with; those first that come most. */
typedef struct tws__resp_mark {
    char byte;
    uint8_t type;
} tws__resp_mark;

static const tws__resp_mark tws__resp_marks[] = {
    {'$', TWS_RESP_BULK},         {'*', TWS_RESP_ARRAY},      {'>', TWS_RESP_PUSH},
    {':', TWS_RESP_INTEGER},      {'+', TWS_RESP_SIMPLE},     {'%', TWS_RESP_MAP},
    {'-', TWS_RESP_SERVER_ERROR}, {'_', TWS_RESP_NULL},       {'#', TWS_RESP_BOOL},
    {'~', TWS_RESP_SET},          {'=', TWS_RESP_VERBATIM},   {',', TWS_RESP_DOUBLE},
    {'|', TWS_RESP_ATTRIBUTE},    {'(', TWS_RESP_BIG_NUMBER}, {'!', TWS_RESP_SERVER_ERROR},
    {'.', TWS_RESP_END},
};

/* TWS_RESP_ERROR: none begins with it. A peer that is no Redis is known by its first byte. */
static tws_resp_type tws__resp_type_of(char c)
{
    for (size_t i = 0; i < sizeof tws__resp_marks / sizeof tws__resp_marks[0]; i++) {
        if (tws__resp_marks[i].byte == c) {
            return (tws_resp_type)tws__resp_marks[i].type;
        }
    }
    return TWS_RESP_ERROR;
}

static size_t tws__resp_value(tws_resp_decoder *d, tws_str in, tws_str line, tws_resp_type type,
                              tws_resp_event *ev)
{
    tws_str text = tws_str_from(line, 1);
    bool good = true;
    switch (type) {
    case TWS_RESP_BULK: case TWS_RESP_VERBATIM: return tws__resp_string(d, in, text, type, ev);
    case TWS_RESP_ARRAY: case TWS_RESP_MAP: case TWS_RESP_SET: case TWS_RESP_PUSH:
    case TWS_RESP_ATTRIBUTE: return tws__resp_container(d, text, type, ev);
    case TWS_RESP_SERVER_ERROR:
        if (line.ptr[0] == '!') {
            return tws__resp_string(d, in, text, type, ev);
        }
        break;
    case TWS_RESP_INTEGER: good = tws__resp_integer(text, &ev->integer); break;
    case TWS_RESP_DOUBLE: good = tws__resp_is_double(text); break;
    case TWS_RESP_BIG_NUMBER: /* [sign]digits */
        good = tws__resp_digits(text, tws__resp_sign(text, 0)) == text.len;
        break;
    case TWS_RESP_BOOL:
        ev->integer = tws_str_eq_c(text, "t") ? 1 : 0;
        good = ev->integer == 1 || tws_str_eq_c(text, "f");
        break;
    case TWS_RESP_NULL: good = text.len == 0; break;
    case TWS_RESP_END:
        return text.len == 0 ? tws__resp_close(d, 3, ev)
                             : tws__resp_fail(d, TWS__RESP_NOTHING_TO_END);
    default: break;
    }
    return good ? tws__resp_scalar(d, text, type, ev) : tws__resp_fail(d, TWS__RESP_SCALAR);
}

static size_t tws__resp_step(tws_resp_decoder *d, tws_str in, tws_resp_event *ev)
{
    tws_str line;
    bool chunk = d->state == TWS__RESP_CHUNK;
    if (d->state == TWS__RESP_STRING || d->state == TWS__RESP_IN_CHUNK) {
        return tws__resp_piece(d, in, ev);
    }
    if (in.len == 0) {
        return 0;
    }
    if (chunk && in.ptr[0] != ';') {
        return tws__resp_fail(d, TWS__RESP_CHUNK_MISSING);
    }
    tws_resp_type type = tws__resp_type_of(in.ptr[0]);
    if (!chunk && type == TWS_RESP_ERROR) {
        return tws__resp_fail(d, TWS__RESP_TYPE);
    }
    if (!tws__resp_line(d, in, &line)) {
        return 0;
    }
    return chunk ? tws__resp_chunk(d, in, line, ev) : tws__resp_value(d, in, line, type, ev);
}

TWS_API size_t tws_resp_decode(tws_resp_decoder *d, const char *data, size_t len,
                               tws_resp_event *ev)
{
    size_t used = 0;
    memset(ev, 0, sizeof *ev);
    if (d->error == TWS__RESP_FINE) {
        used = tws__resp_step(d, tws_str_of(data, len), ev);
    }
    if (d->error != TWS__RESP_FINE) {
        memset(ev, 0, sizeof *ev);
        ev->type = TWS_RESP_ERROR;
        ev->reason = tws__resp_reasons[d->error];
        ev->offset = d->offset;
        return 0;
    }
    d->offset += used;
    return used;
}

/* -- encoding -- */

static void tws__resp_header(tws_buf *b, char type, uint64_t n)
{
    tws_buf_char(b, type);
    tws_buf_u64(b, n);
    tws_buf_c(b, "\r\n");
}

TWS_API void tws_resp_command(tws_buf *b, size_t words)
{
    tws__resp_header(b, '*', words);
}

TWS_API void tws_resp_word(tws_buf *b, tws_str word)
{
    tws__resp_header(b, '$', word.len);
    tws_buf_str(b, word);
    tws_buf_c(b, "\r\n");
}

TWS_API void tws_resp_word_c(tws_buf *b, const char *word)
{
    tws_resp_word(b, tws_str_c(word));
}

TWS_API void tws_resp_word_u64(tws_buf *b, uint64_t word)
{
    char digits[TWS__DECIMAL_MAX];
    char *end = digits + sizeof digits;
    char *begin = tws__decimal(end, word);
    tws_resp_word(b, tws_str_of(begin, (size_t)(end - begin)));
}
#endif /* TASKWS_NO_REDIS */

/* ======================================================================================== */
/*          III. MACHINES: sans-IO; bytes, time and randomness are parameters                */
/* ======================================================================================== */

/* == 13. metrics, log: counters, histograms, Prometheus text; log lines ==================
 * A figure has one writing thread, so counting is a plain store that any thread may read. A log
 * line is built in its caller's memory: logging allocates nothing, and nothing that a peer sent
 * can add a line, a field or a terminal escape to it, or show a token. */

TWS_API void tws_count(tws_counter *c, uint64_t n)
{
    TWS__STORE(c, *c + n);
}

TWS_API uint64_t tws_counted(const tws_counter *c)
{
    return TWS__LOAD(c);
}

TWS_API void tws_histogram_record(tws_histogram *h, uint64_t us)
{
    size_t i = 0;
    while (i < TWS_HISTOGRAM_BUCKETS && us > (uint64_t)1 << i) {
        i++;
    }
    tws_count(&h->bucket[i], 1);
    tws_count(&h->sum_us, us);
}

TWS_API void tws_histogram_merge(tws_histogram *into, const tws_histogram *from)
{
    for (size_t i = 0; i <= TWS_HISTOGRAM_BUCKETS; i++) {
        into->bucket[i] += tws_counted(&from->bucket[i]);
    }
    into->sum_us += tws_counted(&from->sum_us);
}

/* -- Prometheus text -- */

static void tws__metrics_head(tws_buf *b, const char *name, const char *help, const char *type)
{
    if (help == NULL) {
        return;
    }
    tws_buf_c(b, "# HELP ");
    tws_buf_c(b, name);
    tws_buf_char(b, ' ');
    tws_buf_c(b, help);
    tws_buf_c(b, "\n# TYPE ");
    tws_buf_c(b, name);
    tws_buf_char(b, ' ');
    tws_buf_c(b, type);
    tws_buf_char(b, '\n');
}

TWS_API void tws_metrics_write(tws_buf *b, const char *name, const char *help, const char *type,
                               const char *labels, uint64_t value)
{
    tws__metrics_head(b, name, help, type);
    tws_buf_c(b, name);
    if (labels != NULL) {
        tws_buf_char(b, '{');
        tws_buf_c(b, labels);
        tws_buf_char(b, '}');
    }
    tws_buf_char(b, ' ');
    tws_buf_u64(b, value);
    tws_buf_char(b, '\n');
}

static void tws__metrics_seconds(tws_buf *b, uint64_t us)
{
    tws_buf_u64(b, us / 1000000);
    tws_buf_char(b, '.');
    tws__buf_digits(b, us, 10, 6);
}

TWS_API void tws_metrics_write_histogram(tws_buf *b, const char *name, const char *help,
                                         const tws_histogram *h)
{
    uint64_t count = 0;
    tws__metrics_head(b, name, help, "histogram");
    for (size_t i = 0; i <= TWS_HISTOGRAM_BUCKETS; i++) {
        count += tws_counted(&h->bucket[i]);
        tws_buf_c(b, name);
        tws_buf_c(b, "_bucket{le=\"");
        if (i < TWS_HISTOGRAM_BUCKETS) {
            tws__metrics_seconds(b, (uint64_t)1 << i);
        } else {
            tws_buf_c(b, "+Inf");
        }
        tws_buf_c(b, "\"} ");
        tws_buf_u64(b, count);
        tws_buf_char(b, '\n');
    }
    tws_buf_c(b, name);
    tws_buf_c(b, "_sum ");
    tws__metrics_seconds(b, tws_counted(&h->sum_us));
    tws_buf_char(b, '\n');
    tws_buf_c(b, name);
    tws_buf_c(b, "_count ");
    tws_buf_u64(b, count); /* of the buckets just written, so the text agrees with itself */
    tws_buf_char(b, '\n');
}

/* -- redaction -- */

/* What may stand in a token, percent-encoded or not. */
static bool tws__is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (tws__lower(c) >= 'a' && tws__lower(c) <= 'z') || c == '-' ||
           c == '_' || c == '.' || c == '%' || c == '=';
}

#define TWS__JWT_SIGNATURE 40 /* digits: 43 are 32 bytes in base64url; a log may have cut some */

/* The length of the JWT-shaped word that s begins with, 0 without one. What begins with {" in
 * base64url is suspect with two parts; JSON that begins otherwise ({ and a blank), where a word
 * begins, with three and one of about the length of an HS256 signature. *looked: bytes that were
 * looked through; no JWT begins within them. */
static size_t tws__jwt_shaped(tws_str s, bool word, size_t *looked)
{
    const bool sure = tws_str_starts(s, "eyJ");
    unsigned dots = 0;
    size_t n = 0, part = 0, longest = 0;
    for (; (sure || word) && n < s.len && tws__is_token_char(s.ptr[n]); n++) {
        bool dot = s.ptr[n] == '.' || (sure && s.ptr[n] == '%');
        part = dot ? 0 : part + 1;
        longest = part > longest ? part : longest;
        dots += dot;
    }
    *looked = sure ? n : 0;
    return sure ? (dots > 0 ? n : 0) : dots >= 2 && longest >= TWS__JWT_SIGNATURE ? n : 0;
}

/* The length of `token=` and its value, 0 without one: in a query, in a query inside a query, in
 * JSON. The value goes on until a byte that ends one in any of these forms. */
static size_t tws__token_parameter(tws_str s)
{
    static const char *const names[] = {"token=\"",   "token='",     "token=",        "token%3d",
                                        "token\":\"", "token\": \"", "token\" : \""};
    size_t name = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && name == 0; i++) {
        tws_str want = tws_str_c(names[i]);
        tws_str have = tws_str_of(s.ptr, tws__min(s.len, want.len));
        name = tws_str_eq_nocase(have, want) ? want.len : 0;
    }
    size_t end = name;
    while (name > 0 && end < s.len && s.ptr[end] != '\0' && strchr("& \"'#", s.ptr[end]) == NULL) {
        end++;
    }
    return end > name ? end : 0;
}

/* The offset of the first token in s, its length, and the mark that is written in its place. Length
 * 0: there is none before the returned offset. Each word is scanned once, otherwise eyJeyJeyJ...
 * would take quadratic time. */
static size_t tws__find_token(tws_str s, size_t *len, const char **mark)
{
    size_t i = 0;
    size_t dotless = 0; /* no JWT begins before this offset */
    *len = 0;
    for (; i < tws__min(s.len, TWS_LOG_LINE); i++) {
        tws_str at = tws_str_from(s, i);
        size_t looked;
        *mark = "token=***";
        *len = tws__token_parameter(at);
        if (*len > 0) {
            return i;
        }
        if (i < dotless) {
            continue;
        }
        *mark = "***";
        *len = tws__jwt_shaped(at, i == 0 || !tws__is_token_char(s.ptr[i - 1]), &looked);
        if (*len > 0) {
            return i;
        }
        dotless = i + looked;
    }
    return i;
}

/* Take the next piece off *rest: plain text, or the mark of a token. False at the end. */
static bool tws__redact_next(tws_str *rest, tws_str *piece)
{
    size_t len;
    const char *mark;
    size_t plain = tws__find_token(*rest, &len, &mark);
    if (plain == 0 && len > 0) {
        *piece = tws_str_c(mark);
        *rest = tws_str_from(*rest, len);
        return true;
    }
    *piece = tws_str_of(rest->ptr, plain);
    *rest = tws_str_from(*rest, plain);
    return plain > 0;
}

TWS_API void tws_log_redact(tws_buf *b, tws_str s)
{
    tws_str piece;
    while (tws__redact_next(&s, &piece)) {
        tws_buf_str(b, piece);
    }
}

/* -- lines -- */

#define TWS__LOG_VALUE 512 /* bytes of a value that are shown, at most */
#define TWS__LOG_TAIL 24   /* kept free for the mark of a truncated line, and the line's end */

/* RFC 3339 in UTC. libc's calendar is not used: it takes a lock, and its answer depends on TZ. */
static void tws__log_time(tws_buf *b, uint64_t ms)
{
    const uint64_t end_of_9999 = (uint64_t)253402300799999;
    ms = tws__min64(ms, end_of_9999);
    /* In quarters of a day since March of the year 0. Of years that begin in March a leap day is
     * the last day, so that their months always end alike: 153 days are five of them. */
    const uint32_t time = 4 * ((uint32_t)(ms / 86400000) + 719468) + 3;
    const uint32_t in_century = time % 146097 | 3;
    const uint32_t day = in_century % 1461 / 4;
    const uint32_t month = (5 * day + 2) / 153;
    const uint32_t year = time / 146097 * 100 + in_century / 1461 + month / 10;
    const uint64_t part[] = {year, (month + 2) % 12 + 1, day - (153 * month + 2) / 5 + 1,
                             ms / 3600000 % 24, ms / 60000 % 60, ms / 1000 % 60, ms};
    const char *shape = "4-2-2T2:2:2.3Z"; /* how many digits of a part, and what stands behind */
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        tws__buf_digits(b, part[i], 10, (size_t)(shape[2 * i] - '0'));
        tws_buf_char(b, shape[2 * i + 1]);
    }
}

/* ASCII without control characters only: what is beyond may be an escape to a terminal (C1), a
 * line end to a log reader (U+2028), or turn the text around (U+202E). */
static bool tws__log_is_plain(char c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

static void tws__log_escape(tws_buf *b, tws_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.ptr[i];
        if (tws__log_is_plain(s.ptr[i])) {
            tws_buf_char(b, s.ptr[i]);
        } else if (c == '"' || c == '\\') {
            tws_buf_char(b, '\\');
            tws_buf_char(b, s.ptr[i]);
        } else if (c == '\n') {
            tws_buf_c(b, "\\n");
        } else {
            tws_buf_c(b, "\\x");
            tws__buf_digits(b, c, 16, 2);
        }
    }
}

static bool tws__log_wants_quotes(tws_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!tws__log_is_plain(s.ptr[i]) || s.ptr[i] == ' ' || s.ptr[i] == '=') {
            return true;
        }
    }
    return s.len == 0;
}

static void tws__log_key(tws_log_line *l, const char *key)
{
    tws_buf_char(&l->out, ' ');
    tws_buf_c(&l->out, key);
    tws_buf_char(&l->out, '=');
}

/* The message has no key: in text it stands alone. */
static void tws__log_write(tws_log_line *l, const char *key, tws_str value)
{
    const char *quote = tws__log_wants_quotes(value) ? "\"" : "";
    if (l->log->json) {
        tws_json_write_member(&l->out, key == NULL ? "message" : key, value);
        return;
    }
    if (key == NULL) {
        tws__log_escape(&l->out, value);
        return;
    }
    tws__log_key(l, key);
    tws_buf_c(&l->out, quote);
    tws__log_escape(&l->out, value);
    tws_buf_c(&l->out, quote);
}

/* Copy at most max bytes of s to memory, tokens replaced; "..." follows if there are more. */
static tws_str tws__log_clean(char *memory, size_t max, tws_str s)
{
    tws_buf b;
    tws_str piece;
    tws_buf_fixed(&b, memory, max + 3);
    while (b.len <= max && tws__redact_next(&s, &piece)) {
        tws_buf_put(&b, piece.ptr, tws__min(piece.len, max + 1 - b.len));
    }
    if (b.len > max) {
        b.len = max;
        tws_buf_c(&b, "...");
    }
    return tws_buf_view(&b);
}

/* A field is written whole or not at all. One that does not fit is tried with ever fewer bytes of
 * its value; if even a few are too many, the line ends before it. */
TWS_API void tws_log_str(tws_log_line *l, const char *key, tws_str value)
{
    char memory[TWS__LOG_VALUE + 3];
    size_t start = l->out.len;
    for (size_t max = TWS__LOG_VALUE; l->out.status == TWS_OK; max /= 2) {
        tws__log_write(l, key, tws__log_clean(memory, max, value));
        if (l->out.status == TWS_OK) {
            return;
        }
        l->out.len = start;
        l->out.status = max > 8 ? TWS_OK : TWS_ERR_LIMIT;
    }
}

TWS_API bool tws_log_begin(tws_log_line *l, const tws_log *log, tws_log_level level,
                           uint64_t now_ms, const char *message)
{
    static const char *const text[] = {"", " DEBUG ", " INFO  ", " WARN  ", " ERROR "};
    static const char *const word[] = {"", "debug", "info", "warn", "error"};
    TWS_ASSERT(level >= TWS_LOG_DEBUG && level <= TWS_LOG_ERROR);
    if (log == NULL || log->write == NULL ||
        level < (log->level == TWS_LOG_DEFAULT ? TWS_LOG_INFO : log->level)) {
        return false;
    }
    l->log = log;
    tws_buf_fixed(&l->out, l->text, sizeof l->text - TWS__LOG_TAIL);
    tws_buf_c(&l->out, log->json ? "{\"time\":\"" : "");
    tws__log_time(&l->out, now_ms);
    if (log->json) {
        tws_buf_char(&l->out, '"');
        tws_json_write_member(&l->out, "level", tws_str_c(word[level]));
    } else {
        tws_buf_c(&l->out, text[level]);
    }
    tws_log_str(l, NULL, tws_str_c(message));
    return true;
}

TWS_API void tws_log_u64(tws_log_line *l, const char *key, uint64_t value)
{
    size_t start = l->out.len;
    if (l->log->json) {
        tws_json_write_member_u64(&l->out, key, value);
    } else {
        tws__log_key(l, key);
        tws_buf_u64(&l->out, value);
    }
    l->out.len = l->out.status == TWS_OK ? l->out.len : start;
}

TWS_API void tws_log_end(tws_log_line *l)
{
    bool truncated = l->out.status != TWS_OK;
    size_t len = l->out.len;
    tws_buf_fixed(&l->out, l->text, sizeof l->text);
    tws_buf_add(&l->out, len);
    if (l->log->json) {
        tws_buf_c(&l->out, truncated ? ",\"truncated\":true}\n" : "}\n");
    } else {
        tws_buf_c(&l->out, truncated ? " truncated=true\n" : "\n");
    }
    l->log->write(l->log->context, l->text, l->out.len);
}

/* == 14. router: method + pattern; refuses duplicates ====================================
 * A list of a dozen routes, searched in the order of registration: what --routes prints is what is
 * searched. A route that would hide another, or that carries its prefix twice, is refused where
 * the mistake is made, with both names. */

/* Take the next segment, without its slash, off a path that begins with one: "/a/" gives "a", then
 * "", then *rest is empty. */
static tws_str tws__router_segment(tws_str *rest)
{
    tws_str behind = tws_str_from(*rest, 1);
    size_t end = tws_str_find(behind, '/');
    *rest = tws_str_from(behind, end);
    return tws_str_of(behind.ptr, end);
}

static bool tws__router_is_param(tws_str segment)
{
    return segment.len > 0 && segment.ptr[0] == '{';
}

/* -- what may be registered: each of these returns NULL or the rule broken -- */

static bool tws__router_is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static const char *tws__router_check_param(tws_str segment)
{
    if (segment.len < 3 || segment.ptr[segment.len - 1] != '}') {
        return "a parameter is a whole segment, {name}";
    }
    for (size_t i = 1; i < segment.len - 1; i++) {
        if (!tws__router_is_word(segment.ptr[i])) {
            return "a parameter's name is letters, digits and _";
        }
    }
    return NULL;
}

/* What clients send in another form would never be found: RFC 3986 5.2.4, WHATWG URL 4.4. */
static const char *tws__router_check_literal(tws_str segment)
{
    for (size_t i = 0; i < segment.len; i++) {
        char c = segment.ptr[i];
        if (c <= ' ' || c > '~' || strchr("\"#<>?\\^`{}", c) != NULL) {
            return "a character that no path may hold";
        }
    }
    const bool dots = tws_str_eq_c(segment, ".") || tws_str_eq_c(segment, "..");
    return dots ? "a segment . or .., which clients resolve" : NULL;
}

static const char *tws__router_check_method(tws_str method)
{
    for (size_t i = 0; i < method.len; i++) {
        if ((method.ptr[i] < 'A' || method.ptr[i] > 'Z') && method.ptr[i] != '-') {
            return "a method is upper-case letters";
        }
    }
    return method.len == 0 ? "the method is empty" : NULL;
}

static const char *tws__router_check_pattern(tws_str pattern)
{
    size_t params = 0;
    if (pattern.len == 0 || pattern.ptr[0] != '/') {
        return "a pattern begins with /";
    }
    while (pattern.len > 0) {
        tws_str segment = tws__router_segment(&pattern);
        bool is_param = tws__router_is_param(segment);
        const char *reason =
            is_param ? tws__router_check_param(segment) : tws__router_check_literal(segment);
        if (reason != NULL) {
            return reason;
        }
        if (segment.len == 0 && pattern.len > 0) {
            return "an empty segment, //";
        }
        params += is_param ? 1 : 0;
    }
    return params > TWS_MAX_PARAMS ? "too many parameters" : NULL;
}

/* -- doubled prefixes: /api/v1/api/v1/ws, from mounting a router that had its prefix already -- */

/* The part, of so many segments at least, that a path begins with twice, or the empty slice. */
static tws_str tws__router_doubled(tws_str path, size_t least)
{
    tws_str rest = path;
    for (size_t count = 1; rest.len > 0; count++) {
        (void)tws__router_segment(&rest);
        tws_str head = tws_str_of(path.ptr, path.len - rest.len);
        tws_str again = tws_str_of(rest.ptr, tws__min(rest.len, head.len));
        bool whole = rest.len <= head.len || rest.ptr[head.len] == '/';
        if (count >= least && whole && tws_str_eq(head, again)) {
            return head;
        }
    }
    return rest;
}

/* /echo/echo is a path like any other, unless a second route shows that /echo is a prefix. */
static bool tws__router_doubles_prefix_of(tws_str path, tws_str other)
{
    return tws__router_doubled(path, 1).len > 0 && tws__router_doubled(other, 1).len == 0 &&
           tws_str_eq(tws__router_segment(&path), tws__router_segment(&other));
}

/* -- adding -- */

static tws_str tws__router_pattern(const tws_router_entry *e)
{
    return tws_str_c(e->pattern);
}

/* How one pattern differs from another first: of two that match one path, the literal wins. */
typedef enum tws__router_difference {
    TWS__ROUTER_NONE, /* but for the names of parameters */
    TWS__ROUTER_LITERAL,
    TWS__ROUTER_WINS, /* a literal segment where the other has a parameter */
    TWS__ROUTER_LOSES
} tws__router_difference;

static tws__router_difference tws__router_differs(const tws_router_entry *a,
                                                  const tws_router_entry *b)
{
    tws_str rest = tws__router_pattern(a);
    tws_str other = tws__router_pattern(b);
    while (rest.len > 0 && other.len > 0) {
        tws_str x = tws__router_segment(&rest);
        tws_str y = tws__router_segment(&other);
        bool is_param = tws__router_is_param(x);
        if (is_param != tws__router_is_param(y)) {
            return is_param ? TWS__ROUTER_LOSES : TWS__ROUTER_WINS;
        }
        if (!is_param && !tws_str_eq(x, y)) {
            return TWS__ROUTER_LITERAL;
        }
    }
    return rest.len == other.len ? TWS__ROUTER_NONE : TWS__ROUTER_LITERAL;
}

static void tws__router_name(tws_buf *b, const tws_router_entry *e)
{
    tws_buf_c(b, e->method);
    tws_buf_char(b, ' ');
    tws_buf_c(b, e->pattern);
}

/* "GET /a: why" */
static void tws__router_refuse(tws_buf *error, const tws_router_entry *route, const char *why)
{
    tws__router_name(error, route);
    tws_buf_c(error, ": ");
    tws_buf_c(error, why);
}

/* Can these two stand in one table? */
static tws_status tws__router_compare(const tws_router_entry *route, const tws_router_entry *old,
                                      tws_buf *error)
{
    tws_str path = tws__router_pattern(route);
    tws_str other = tws__router_pattern(old);
    const char *why = "begins twice with the prefix of ";
    const tws_router_entry *wrong = route;
    if (strcmp(route->method, old->method) == 0 &&
        tws__router_differs(route, old) == TWS__ROUTER_NONE) {
        why = "is registered already as ";
    } else if (tws__router_doubles_prefix_of(other, path)) {
        wrong = old;
    } else if (!tws__router_doubles_prefix_of(path, other)) {
        return TWS_OK;
    }
    tws__router_refuse(error, wrong, why);
    tws__router_name(error, wrong == old ? route : old);
    return TWS_ERR_EXISTS;
}

static tws_status tws__router_check(const tws_router *r, const tws_router_entry *route,
                                    tws_buf *error)
{
    tws_str path = tws__router_pattern(route);
    tws_status status = TWS_OK;
    const char *reason = tws__router_check_method(tws_str_c(route->method));
    reason = reason != NULL ? reason : tws__router_check_pattern(path);
    if (reason != NULL) {
        tws__router_refuse(error, route, reason);
        return TWS_ERR_ARGUMENT;
    }
    tws_str part = tws__router_doubled(path, 2);
    if (part.len > 0) {
        tws__router_refuse(error, route, "begins twice with ");
        tws_buf_str(error, part);
        return TWS_ERR_EXISTS;
    }
    for (size_t i = 0; i < r->count && status == TWS_OK; i++) {
        status = tws__router_compare(route, &r->entry[i], error);
    }
    return status;
}

static bool tws__router_reserve(tws_router *r)
{
    size_t cap = r->cap == 0 ? 16 : r->cap * 2;
    void *p;
    if (r->count < r->cap) {
        return true;
    }
    p = tws_resize(r->allocator, r->entry, r->cap * sizeof *r->entry, cap * sizeof *r->entry);
    if (p == NULL) {
        return false;
    }
    r->entry = (tws_router_entry *)p;
    r->cap = cap;
    return true;
}

/* Method and pattern of an entry share one block: "GET\0/tasks\0". */
static size_t tws__router_text_bytes(const tws_router_entry *e)
{
    return strlen(e->method) + strlen(e->pattern) + 2;
}

static bool tws__router_append(tws_router *r, const tws_router_entry *route)
{
    size_t method_bytes = strlen(route->method) + 1;
    size_t bytes = tws__router_text_bytes(route);
    tws_router_entry *e;
    char *text;
    if (!tws__router_reserve(r)) {
        return false;
    }
    text = (char *)tws_alloc(r->allocator, bytes);
    if (text == NULL) {
        return false;
    }
    memcpy(text, route->method, method_bytes);
    memcpy(text + method_bytes, route->pattern, bytes - method_bytes);
    e = &r->entry[r->count++];
    e->method = text;
    e->pattern = text + method_bytes;
    e->value = route->value;
    return true;
}

TWS_API void tws_router_init(tws_router *r, const tws_allocator *a)
{
    memset(r, 0, sizeof *r);
    r->allocator = a;
}

TWS_API void tws_router_free(tws_router *r)
{
    for (size_t i = 0; i < r->count; i++) {
        const tws_router_entry *e = &r->entry[i];
        tws_release(r->allocator, (void *)(uintptr_t)e->method, tws__router_text_bytes(e));
    }
    tws_release(r->allocator, r->entry, r->cap * sizeof *r->entry);
    tws_router_init(r, r->allocator);
}

TWS_API tws_status tws_router_add(tws_router *r, const char *method, const char *pattern,
                                  void *value, tws_buf *error)
{
    const tws_router_entry route = {method, pattern, value};
    tws_buf nowhere;
    tws_buf_fixed(&nowhere, NULL, 0);
    error = error != NULL ? error : &nowhere;
    tws_status status = tws__router_check(r, &route, error);
    if (status == TWS_OK && !tws__router_append(r, &route)) {
        tws__router_refuse(error, &route, "no memory");
        status = TWS_ERR_MEMORY;
    }
    return status;
}

/* -- finding -- */

/* Does the path match? Then *m has the segments that stand for parameters. An empty segment matches
 * no parameter: /tasks/ is not /tasks/{id}. A brace begins or ends a segment, as was checked. */
static bool tws__router_fits(const tws_router_entry *e, tws_str path, tws_router_match *m)
{
    m->param_count = 0;
    for (const char *want = e->pattern; *want != '\0'; want++) {
        size_t len = 1;
        if (*want == '{') {
            len = tws_str_find(path, '/');
            m->param[m->param_count++] = tws_str_of(path.ptr, len);
            want = strchr(want, '}');
        } else if (path.len == 0 || *path.ptr != *want) {
            return false;
        }
        if (len == 0) {
            return false;
        }
        path = tws_str_from(path, len);
    }
    return path.len == 0;
}

static void tws__router_find_method(const tws_router *r, tws_str method, tws_str path,
                                    tws_router_match *best)
{
    tws_router_match m;
    memset(&m, 0, sizeof m);
    for (size_t i = 0; i < r->count; i++) {
        m.entry = &r->entry[i];
        if (!tws__router_fits(m.entry, path, &m)) {
            continue;
        }
        m.path_known = true;
        best->path_known = true;
        if (tws_str_eq_c(method, m.entry->method) &&
            (best->entry == NULL ||
             tws__router_differs(m.entry, best->entry) == TWS__ROUTER_WINS)) {
            *best = m;
        }
    }
}

TWS_API void tws_router_find(const tws_router *r, tws_str method, tws_str path,
                             tws_router_match *m)
{
    memset(m, 0, sizeof *m);
    tws__router_find_method(r, method, path, m);
    if (m->entry == NULL && m->path_known && tws_str_eq_c(method, "HEAD")) {
        tws__router_find_method(r, tws_str_c("GET"), path, m);
    }
}

/* -- listing -- */

static void tws__router_allow_one(tws_buf *out, size_t begin, const char *method)
{
    tws_str known = tws_str_from(tws_buf_view(out), begin);
    tws_str part;
    while (tws_str_split(&known, ',', &part)) {
        if (tws_str_eq_c(part, method)) {
            return; /* /tasks/all and /tasks/{id} both have a GET */
        }
    }
    if (out->len > begin) {
        tws_buf_c(out, ", ");
    }
    tws_buf_c(out, method);
}

TWS_API void tws_router_allow(const tws_router *r, tws_str path, tws_buf *out)
{
    size_t begin = out->len;
    tws_router_match m;
    for (size_t i = 0; i < r->count; i++) {
        const char *method = r->entry[i].method;
        if (!tws__router_fits(&r->entry[i], path, &m)) {
            continue;
        }
        tws__router_allow_one(out, begin, method);
        if (strcmp(method, "GET") == 0) {
            tws__router_allow_one(out, begin, "HEAD");
        }
    }
}

TWS_API void tws_router_print(const tws_router *r, tws_buf *out)
{
    for (size_t i = 0; i < r->count; i++) {
        size_t column = out->len + 8;
        tws_buf_c(out, r->entry[i].method);
        do {
            tws_buf_char(out, ' ');
        } while (out->len < column && out->status == TWS_OK);
        tws_buf_c(out, r->entry[i].pattern);
        tws_buf_char(out, '\n');
    }
}

#ifndef TASKWS_NO_JWT
/* == 15. auth: where the token stands, key ring, policy, cache of verified tokens =========
 * One rule for tokens on every route. Whatever is ambiguous (two tokens in one place) is refused
 * rather than chosen from: what checks a request in front of us might choose the other one. */

/* -- where the token stands -- */

/* `Bearer`, in any case, and what follows. Another scheme is somebody else's: a proxy's password
 * may stand beside our ?token=. RFC 6750 2.1, RFC 9110 11.1. */
static bool tws__auth_bearer(const tws_http_request *r, tws_str *token)
{
    tws_str value;
    int count = tws__http_count(r->field, r->field_count, "Authorization", &value);
    size_t scheme = tws_str_find(value, ' ');
    if (count > 1) {
        return true;
    }
    if (!tws__str_is(tws_str_of(value.ptr, scheme), "Bearer")) {
        return false;
    }
    *token = tws_str_trim(tws_str_from(value, scheme));
    return true;
}

/* Browsers cannot send a header with a WebSocket, but they can offer subprotocols. */
static bool tws__auth_subprotocol(const tws_http_request *r, tws_str *token)
{
    size_t count = 0;
    tws_str offer;
    tws__http_items offers = tws__http_items_of(r->field, r->field_count, "Sec-WebSocket-Protocol");
    while (tws__http_next(&offers, ',', &offer)) {
        if (tws_str_starts(offer, "bearer.")) {
            *token = tws_str_from(offer, strlen("bearer."));
            count++;
        }
    }
    if (count > 1) {
        *token = tws_str_of("", 0);
    }
    return count > 0;
}

TWS_API tws_auth_source tws_auth_find(const tws_http_request *r, const char *cookie,
                                      tws_str *token)
{
    *token = tws_str_of("", 0);
    if (tws__auth_bearer(r, token)) {
        return TWS_AUTH_HEADER;
    }
    int count = tws_http_query(r->query, "token", token);
    if (count > 0) {
        *token = count == 1 ? *token : tws_str_of("", 0);
        return TWS_AUTH_QUERY;
    }
    if (tws__auth_subprotocol(r, token)) {
        return TWS_AUTH_SUBPROTOCOL;
    }
    if (cookie != NULL && tws_http_cookie(r, cookie, token)) {
        return TWS_AUTH_COOKIE;
    }
    return TWS_AUTH_NONE;
}

/* -- key ring -- */

#define TWS__AUTH_SHORT 32 /* bytes: RFC 7518 3.2 wants no HS256 key below the hash's own length */

typedef struct tws__auth_key {
    tws_hmac_key hmac;
    int64_t until_s; /* INT64_MAX: no deadline */
    size_t kid_len;
    char kid[TWS_JWT_MAX_KID];
} tws__auth_key;

struct tws_auth_ring {
    const tws_allocator *allocator;
    uint32_t references;
    size_t count; /* of the keys, which follow */
    tws__auth_key *key;
};

static const char *tws__auth_check_key(const tws_auth_key *key, bool allow_short)
{
    if (key->secret == NULL || key->secret_len == 0) {
        return "a key is empty";
    }
    if (key->secret_len < TWS__AUTH_SHORT && !allow_short) {
        return "a key is shorter than 32 bytes";
    }
    return tws_str_c(key->kid).len > TWS_JWT_MAX_KID ? "a kid is longer than 128 bytes" : NULL;
}

/* NULL or the rule broken. */
static const char *tws__auth_check_keys(const tws_auth_key *keys, size_t count, bool allow_short)
{
    if (keys == NULL && count > 0) {
        return "there are no keys, though their number is not 0";
    }
    for (size_t i = 0; i < count; i++) {
        const char *reason = tws__auth_check_key(&keys[i], allow_short);
        if (reason != NULL) {
            return reason;
        }
        for (size_t n = 0; n < i; n++) {
            if (tws_str_eq(tws_str_c(keys[n].kid), tws_str_c(keys[i].kid))) {
                return "two keys have the same kid";
            }
        }
    }
    return count == 0 ? "there is no key" : NULL;
}

static void tws__auth_take_key(tws__auth_key *to, const tws_auth_key *from)
{
    tws_str kid = tws_str_c(from->kid);
    tws_hmac_key_init(&to->hmac, from->secret, from->secret_len);
    to->until_s = from->until_s == 0 ? INT64_MAX : from->until_s;
    to->kid_len = kid.len;
    if (kid.len > 0) {
        memcpy(to->kid, kid.ptr, kid.len);
    }
}

TWS_API tws_status tws_auth_ring_create(tws_auth_ring **ring, const tws_allocator *a,
                                        const tws_auth_key *keys, size_t count, bool allow_short,
                                        const char **why)
{
    const char *unused;
    why = why == NULL ? &unused : why;
    *ring = NULL;
    *why = tws__auth_check_keys(keys, count, allow_short);
    if (*why != NULL) {
        return TWS_ERR_ARGUMENT;
    }
    size_t bytes = sizeof(tws_auth_ring) + count * sizeof(tws__auth_key);
    tws_auth_ring *made = (tws_auth_ring *)tws_alloc(a, bytes);
    if (made == NULL) {
        *why = "out of memory";
        return TWS_ERR_MEMORY;
    }
    made->allocator = a;
    made->references = 1;
    made->count = count;
    made->key = (tws__auth_key *)(made + 1);
    for (size_t i = 0; i < count; i++) {
        tws__auth_take_key(&made->key[i], &keys[i]);
    }
    *ring = made;
    return TWS_OK;
}

TWS_API tws_auth_ring *tws_auth_ring_ref(tws_auth_ring *ring)
{
    TWS__REF(&ring->references);
    return ring;
}

TWS_API void tws_auth_ring_unref(tws_auth_ring *ring)
{
    if (ring == NULL || !TWS__UNREF(&ring->references)) {
        return;
    }
    const tws_allocator *a = ring->allocator;
    size_t bytes = sizeof *ring + ring->count * sizeof *ring->key;
    tws_wipe(ring, bytes);
    tws_release(a, ring, bytes);
}

/* The key that a token with this kid must be signed with, or NULL. */
static const tws__auth_key *tws__auth_key_for(const tws_auth_ring *ring, tws_str kid, int64_t now_s)
{
    const tws__auth_key *found = NULL;
    for (size_t i = 0; i < ring->count && found == NULL; i++) {
        const tws__auth_key *key = &ring->key[i];
        found = tws_str_eq(tws_str_of(key->kid, key->kid_len), kid) ? key : NULL;
    }
    if (found == NULL && ring->count == 1 && ring->key[0].kid_len == 0) {
        found = &ring->key[0]; /* there is nothing to choose: its name does not matter */
    }
    return found != NULL && now_s <= found->until_s ? found : NULL;
}

/* -- cache --
 * A table of sets; a token's keyed hash names its set. Within a set the newest entry stands first
 * and the oldest falls out. Only verified tokens get in, so a stranger cannot push anyone out,
 * and without the hash's key nobody can aim at a set. */

#define TWS__AUTH_WAYS 8u       /* entries in a set: two cache lines of slots */
#define TWS__AUTH_CACHED 1024u  /* bytes of the longest token kept; others are verified again */
#define TWS__AUTH_ANSWERS 1024u /* bytes of a host's answers kept with one token */

typedef struct tws__auth_entry {
    tws_identity who;
    int64_t until_s;  /* the last second at which this is true */
    tws_buf answers;  /* records: length of a user_id, 1 or 0 for allowed or not, the user_id */
    size_t token_len; /* the token follows */
} tws__auth_entry;

/* The whole hash is compared before a token's bytes are, so that the time of that comparison,
 * which ends at the first difference, tells nothing about a token to who does not have it. */
typedef struct tws__auth_slot {
    uint64_t hash;
    tws__auth_entry *entry; /* NULL: this slot and those behind it are free */
} tws__auth_slot;

struct tws_auth_cache {
    const tws_allocator *allocator;
    uint64_t hash_key[2];
    size_t ways;
    size_t sets;
    tws__auth_slot *slot;  /* sets * ways, which follow */
    tws_auth_ring *ring;   /* that verified all entries; referenced, so its address is not reused */
    tws_jwt_policy policy;
};

static tws__auth_slot *tws__auth_set(const tws_auth_cache *c, uint64_t hash)
{
    return &c->slot[(size_t)(hash % c->sets) * c->ways];
}

static tws__auth_slot *tws__auth_look_up(const tws_auth_cache *c, uint64_t hash, tws_str token)
{
    tws__auth_slot *slot = tws__auth_set(c, hash);
    for (size_t i = 0; i < c->ways && slot[i].entry != NULL; i++) {
        tws__auth_entry *e = slot[i].entry;
        if (slot[i].hash == hash && tws_str_eq(tws_str_of((char *)(e + 1), e->token_len), token)) {
            return &slot[i];
        }
    }
    return NULL;
}

static void tws__auth_free_entry(tws_auth_cache *c, tws__auth_entry *e)
{
    size_t bytes = sizeof *e + e->token_len;
    tws_buf_free(&e->answers);
    tws_wipe(e, bytes);
    tws_release(c->allocator, e, bytes);
}

/* Take an entry out of its set; older ones move up. */
static void tws__auth_drop(tws_auth_cache *c, tws__auth_slot *slot)
{
    tws__auth_slot *last = tws__auth_set(c, slot->hash) + c->ways - 1;
    tws__auth_free_entry(c, slot->entry);
    memmove(slot, slot + 1, (size_t)(last - slot) * sizeof *slot);
    memset(last, 0, sizeof *last);
}

static void tws__auth_drop_all(tws_auth_cache *c)
{
    for (size_t i = 0; i < c->sets * c->ways; i++) {
        if (c->slot[i].entry != NULL) {
            tws__auth_free_entry(c, c->slot[i].entry);
        }
    }
    memset(c->slot, 0, c->sets * c->ways * sizeof *c->slot);
}

static void tws__auth_keep(tws_auth_cache *c, uint64_t hash, tws_str token, const tws_identity *who,
                           int64_t until_s)
{
    tws__auth_slot *set = tws__auth_set(c, hash);
    tws__auth_slot *last = set + c->ways - 1;
    tws__auth_entry *e = (tws__auth_entry *)tws_alloc(c->allocator, sizeof *e + token.len);
    if (e == NULL) {
        return; /* the token will be verified again, that is all */
    }
    e->who = *who;
    e->until_s = until_s;
    e->token_len = token.len;
    tws_buf_init(&e->answers, c->allocator, TWS__AUTH_ANSWERS);
    memcpy(e + 1, token.ptr, token.len);
    if (last->entry != NULL) {
        tws__auth_free_entry(c, last->entry);
    }
    memmove(set + 1, set, (c->ways - 1) * sizeof *set);
    set->hash = hash;
    set->entry = e;
}

static bool tws__auth_same_policy(const tws_jwt_policy *a, const tws_jwt_policy *b)
{
    return a->subject_claim == b->subject_claim && a->issuer == b->issuer &&
           a->audience == b->audience && a->leeway_s == b->leeway_s &&
           a->allow_no_expiry == b->allow_no_expiry;
}

/* What was accepted under other keys or another policy proves nothing: the cache begins anew. */
static void tws__auth_use(tws_auth_cache *c, tws_auth_ring *ring, const tws_jwt_policy *policy)
{
    if (c->ring == ring && tws__auth_same_policy(&c->policy, policy)) {
        return;
    }
    tws__auth_drop_all(c);
    tws_auth_ring_unref(c->ring);
    c->ring = tws_auth_ring_ref(ring);
    c->policy = *policy;
}

TWS_API tws_auth_cache *tws_auth_cache_create(const tws_allocator *a, uint32_t entries,
                                              const uint8_t hash_key[16])
{
    if (entries == TWS_OFF) {
        return NULL;
    }
    size_t most = entries == 0 ? 1024 : entries;
    size_t ways = tws__min(most, TWS__AUTH_WAYS);
    size_t sets = tws__min(most, SIZE_MAX / 2 / sizeof(tws__auth_slot)) / ways;
    size_t bytes = sizeof(tws_auth_cache) + sets * ways * sizeof(tws__auth_slot);
    tws_auth_cache *c = (tws_auth_cache *)tws_alloc(a, bytes);
    if (c == NULL) {
        return NULL;
    }
    c->slot = (tws__auth_slot *)(c + 1);
    c->allocator = a;
    c->ways = ways;
    c->sets = sets;
    memcpy(c->hash_key, hash_key, sizeof c->hash_key);
    return c;
}

TWS_API void tws_auth_cache_free(tws_auth_cache *c)
{
    if (c == NULL) {
        return;
    }
    tws__auth_drop_all(c);
    tws_auth_ring_unref(c->ring);
    tws_wipe(c->hash_key, sizeof c->hash_key);
    tws_release(c->allocator, c, sizeof *c + c->sets * c->ways * sizeof *c->slot);
}

/* -- a host's answers, kept with the token -- */

static tws__auth_entry *tws__auth_entry_of(const tws_auth_cache *c, tws_str token)
{
    if (c == NULL) {
        return NULL;
    }
    tws__auth_slot *slot = tws__auth_look_up(c, tws__hash(c->hash_key, token), token);
    return slot != NULL ? slot->entry : NULL;
}

/* Where the answer about that user stands, or NULL. */
static char *tws__auth_answer(const tws__auth_entry *e, tws_str user_id)
{
    size_t at = 0;
    while (at < e->answers.len) {
        char *record = e->answers.ptr + at;
        size_t len = (uint8_t)record[0];
        if (tws_str_eq(tws_str_of(record + 2, len), user_id)) {
            return &record[1];
        }
        at += 2 + len;
    }
    return NULL;
}

TWS_API int tws_auth_recall(tws_auth_cache *cache, tws_str token, tws_str user_id)
{
    const tws__auth_entry *e = tws__auth_entry_of(cache, token);
    const char *answer = e != NULL ? tws__auth_answer(e, user_id) : NULL;
    if (answer == NULL) {
        return 0;
    }
    return *answer != 0 ? 1 : -1;
}

/* Append one record, whole or not at all. When there is no space left, all old answers go. */
static void tws__auth_add_answer(tws_buf *answers, tws_str user_id, bool allowed)
{
    char record[2 + TWS_MAX_USER_ID];
    record[0] = (char)user_id.len;
    record[1] = allowed ? 1 : 0;
    if (user_id.len > 0) {
        memcpy(record + 2, user_id.ptr, user_id.len);
    }
    tws_buf_put(answers, record, 2 + user_id.len);
    if (answers->status != TWS_OK) {
        tws_buf_clear(answers);
        tws_buf_put(answers, record, 2 + user_id.len);
    }
}

TWS_API void tws_auth_remember(tws_auth_cache *cache, tws_str token, tws_str user_id, bool allowed)
{
    tws__auth_entry *e = tws__auth_entry_of(cache, token);
    if (e == NULL || user_id.len > TWS_MAX_USER_ID) {
        return;
    }
    char *answer = tws__auth_answer(e, user_id);
    if (answer != NULL) {
        *answer = allowed ? 1 : 0;
        return;
    }
    tws__auth_add_answer(&e->answers, user_id, allowed);
}

/* -- verifying -- */

static uint8_t tws__auth_scopes(tws_str list)
{
    unsigned scopes = 0;
    tws_str word;
    while (tws_str_split(&list, ' ', &word)) {
        if (tws_str_eq_c(word, "publish")) {
            scopes |= TWS_SCOPE_PUBLISH;
        } else if (tws_str_eq_c(word, "admin")) {
            scopes |= TWS_SCOPE_ADMIN;
        }
    }
    return (uint8_t)scopes;
}

/* The last second at which a token expiring then is still taken. */
static int64_t tws__auth_until(int64_t expires_s, const tws_jwt_policy *policy)
{
    int64_t leeway = tws__jwt_leeway(policy);
    return expires_s > INT64_MAX - leeway ? INT64_MAX : expires_s + leeway - 1;
}

static tws_jwt_error tws__auth_check(const tws_auth_ring *ring, const tws_jwt_policy *policy,
                                     tws_str token, int64_t now_s, tws_identity *who,
                                     int64_t *until_s)
{
    char opened[TWS_JWT_MAX];
    char unescaped[TWS_JWT_MAX];
    tws_jwt jwt;
    tws_jwt_claims claims;
    tws_jwt_error error = tws_jwt_open(&jwt, token, opened, sizeof opened);
    if (error != TWS_JWT_OK) {
        return error;
    }
    const tws__auth_key *key = tws__auth_key_for(ring, jwt.kid, now_s);
    if (key == NULL) {
        return TWS_JWT_KEY;
    }
    error = tws_jwt_verify(&jwt, &key->hmac);
    if (error != TWS_JWT_OK) {
        return error;
    }
    error = tws_jwt_judge(&jwt, policy, now_s, unescaped, sizeof unescaped, &claims);
    if (error != TWS_JWT_OK) {
        return error;
    }
    if (claims.subject.len > sizeof who->user_id) {
        return TWS_JWT_CLAIMS;
    }
    memset(who, 0, sizeof *who);
    memcpy(who->user_id, claims.subject.ptr, claims.subject.len);
    who->user_id_len = (uint8_t)claims.subject.len;
    who->scopes = tws__auth_scopes(claims.scope);
    who->expires_s = claims.expires_s;
    *until_s = tws__auth_until(claims.expires_s, policy);
    *until_s = key->until_s < *until_s ? key->until_s : *until_s;
    return TWS_JWT_OK;
}

/* A hit costs a hash, a look at one set, and a comparison of bytes. An entry whose time is over is
 * dropped and its token verified again, so that the caller is given the exact reason. */
TWS_API tws_jwt_error tws_auth_verify(tws_auth_cache *cache, tws_auth_ring *ring,
                                      const tws_jwt_policy *policy, tws_str token, int64_t now_s,
                                      tws_identity *who)
{
    policy = policy != NULL ? policy : &tws__jwt_defaults;
    int64_t until_s;
    if (cache == NULL || token.len > TWS__AUTH_CACHED) {
        return tws__auth_check(ring, policy, token, now_s, who, &until_s);
    }
    tws__auth_use(cache, ring, policy);
    uint64_t hash = tws__hash(cache->hash_key, token);
    tws__auth_slot *slot = tws__auth_look_up(cache, hash, token);
    if (slot != NULL && now_s <= slot->entry->until_s) {
        *who = slot->entry->who;
        return TWS_JWT_OK;
    }
    if (slot != NULL) {
        tws__auth_drop(cache, slot);
    }
    tws_jwt_error error = tws__auth_check(ring, policy, token, now_s, who, &until_s);
    if (error == TWS_JWT_OK) {
        tws__auth_keep(cache, hash, token, who, until_s);
    }
    return error;
}

/* -- judging -- */

TWS_API tws_str tws_identity_user(const tws_identity *who)
{
    return tws_str_of(who->user_id, who->user_id_len);
}

TWS_API const char *tws_auth_judge(const tws_identity *who, tws_auth_action action,
                                   tws_str user_id)
{
    bool admin = (who->scopes & TWS_SCOPE_ADMIN) != 0;
    switch (action) {
    case TWS_AUTH_READ:
        return admin || tws_str_eq(tws_identity_user(who), user_id) ? NULL : "forbidden_user";
    case TWS_AUTH_PUBLISH:
        return (who->scopes & TWS_SCOPE_PUBLISH) != 0 ? NULL : "forbidden_scope";
    case TWS_AUTH_ADMIN:
        return admin ? NULL : "forbidden_scope";
    }
    return "forbidden_scope";
}

/* -- origin -- */

static tws_str tws__auth_without(tws_str authority, const char *port)
{
    size_t begin = authority.len - tws__min(authority.len, strlen(port));
    return tws_str_eq_c(tws_str_from(authority, begin), port) ? tws_str_of(authority.ptr, begin)
                                                              : authority;
}

/* Does a page of that origin call its own server? A default port may be written or not: proxies
 * like to add it to Host, browsers never write it. */
static bool tws__auth_same_origin(tws_str origin, tws_str host)
{
    tws_str scheme = tws_str_of(origin.ptr, tws_str_find(origin, ':'));
    tws_str rest = tws_str_from(origin, scheme.len);
    bool https = tws__str_is(scheme, "https");
    const char *port = https ? ":443" : ":80";
    if (!https && !tws__str_is(scheme, "http")) {
        return false; /* "null" too, and a browser extension whose name is our host's */
    }
    if (!tws_str_starts(rest, "://") || host.len == 0) {
        return false;
    }
    return tws_str_eq_nocase(tws__auth_without(tws_str_from(rest, 3), port),
                             tws__auth_without(host, port));
}

/* Only browsers send Origin, and only against browsers does it protect: without one there is
 * nobody's cookie to abuse. */
TWS_API bool tws_auth_origin(const tws_http_request *r, const char *allowed)
{
    tws_str list = tws_str_trim(tws_str_c(allowed));
    tws_str origin;
    tws_str item;
    int count = tws__http_count(r->field, r->field_count, "Origin", &origin);
    if (count != 1) {
        return count == 0;
    }
    if (list.len == 0) {
        return tws__auth_same_origin(origin, r->host);
    }
    while (tws_str_split(&list, ',', &item)) {
        if (tws_str_eq_c(item, "*") || (item.len > 0 && tws_str_eq_nocase(item, origin))) {
            return true;
        }
    }
    return false;
}
#endif /* TASKWS_NO_JWT */

/* == 16. hub: a topic per user; readers pull by position =================================
 * Nothing is queued for anybody. A topic holds what is retained of its user's events, each with an
 * index that rises by one; a reader holds the index of what it wants next. Live, resume, snapshot
 * and slow consumer are that number in different places:
 *
 *     last statuses left behind    the ring: the newest events
 *          [3] [7] [11]            [12] [13] [14] [15] [16]
 *           a   d   b                c    e    c    f    c     names of their tasks
 *         ^                                  ^             ^
 *         snapshot: next are               live:         caught up
 *         3 7 11 13 15 16                  14 15 16
 *
 * An event is built before a shard's lock is taken; events are freed and threads woken after it is
 * released. Under the lock there are only pointer writes and the writing of the id. Lock order: a
 * shard, then an inbox; never two shards. */

/* -- ids -- */

TWS_API bool tws_event_id_parse(tws_str text, tws_event_id *id)
{
    size_t dash = tws_str_find(text, '-');
    tws_event_id parsed;
    parsed.seq = 0;
    if (!tws_str_u64(tws_str_of(text.ptr, dash), &parsed.ms)) {
        return false;
    }
    if (dash < text.len && !tws_str_u64(tws_str_from(text, dash + 1), &parsed.seq)) {
        return false;
    }
    *id = parsed;
    return true;
}

TWS_API size_t tws_event_id_format(tws_event_id id, char out[TWS_EVENT_ID_MAX])
{
    char text[TWS_EVENT_ID_MAX];
    char *end = text + sizeof text;
    char *begin = tws__decimal(end, id.seq);
    *--begin = '-';
    begin = tws__decimal(begin, id.ms);
    size_t n = (size_t)(end - begin);
    memcpy(out, begin, n);
    return n;
}

TWS_API int tws_event_id_compare(tws_event_id a, tws_event_id b)
{
    if (a.ms != b.ms) {
        return a.ms < b.ms ? -1 : 1;
    }
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}

static tws_event_id tws__event_id(uint64_t ms, uint64_t seq)
{
    tws_event_id id;
    id.ms = ms;
    id.seq = seq;
    return id;
}

static bool tws__event_id_none(tws_event_id id)
{
    return id.ms == 0 && id.seq == 0;
}

/* The least id above; 0-0 above the greatest. */
static tws_event_id tws__event_id_above(tws_event_id id)
{
    return id.seq < UINT64_MAX ? tws__event_id(id.ms, id.seq + 1) : tws__event_id(id.ms + 1, 0);
}

static tws_event_id tws__event_id_max(tws_event_id a, tws_event_id b)
{
    return tws_event_id_compare(a, b) < 0 ? b : a;
}

/* -- events: one allocation each -- */

/* Room before DATA for what depends on the id: the SSE line, the header of the raw frame, the
 * header of the envelope's frame and the envelope's beginning. They are written backwards from
 * DATA, so that they touch it whatever the id's length. */
#define TWS__EVENT_HEAD 144
#define TWS__EVENT_OPEN "{\"type\":\"task\",\"id\":"
#define TWS__EVENT_MIDDLE ",\"data\":"

typedef struct tws__packed tws__packed;

struct tws_event {
    uint32_t refs;
    uint32_t bytes; /* of the allocation */
    const tws_allocator *allocator;
    uint64_t index;  /* in its topic; rises by one, so it tells apart what has no id */
    tws_event_id id; /* without one: that of the event before, so that ids never fall in the ring */
    /* The hub's, under the shard's lock. */
    tws_event *older; /* among the last statuses of a topic, by index */
    tws_event *newer;
    tws_event *chain; /* next in its task's bucket; once given up, in a list to be freed */
    uint32_t task_hash;
    uint32_t task_at; /* the task's name, from DATA on; in it, or behind it when it had escapes */
    uint32_t task_len; /* 0: names no task */
    uint32_t data_len;
    uint32_t sse_at; /* DATA for an event stream, from DATA on */
    uint8_t sse_len; /* of the three heads, in the order in which they lie */
    uint8_t raw_len;
    uint8_t envelope_len;
    bool has_id;
    bool latest; /* is the last status of its task; under the shard's lock, as the links are */
    bool held;   /* its topic holds it; likewise */
    uint8_t plain;       /* there was no room for a compressed frame; */
    tws__packed *packed; /* these two are changed under that lock, and read without it */
};

/* An event's text in one format, compressed: a frame, or nothing. It stays as long as the event. */
struct tws__packed {
    tws__packed *next;
    uint32_t bytes; /* of the allocation */
    uint32_t len;   /* of the frame, which follows */
    tws_event_format format;
};

static char *tws__event_at(const tws_event *e, size_t offset)
{
    return (char *)(uintptr_t)(e + 1) + TWS__EVENT_HEAD + offset;
}

static tws_str tws__event_task(const tws_event *e)
{
    return tws_str_of(tws__event_at(e, e->task_at), e->task_len);
}

static char *tws__event_before(char *at, tws_str s)
{
    at -= s.len;
    memcpy(at, s.ptr, s.len);
    return at;
}

static char *tws__event_frame_before(char *at, uint64_t payload_len)
{
    uint8_t header[TWS_WS_MAX_HEADER];
    size_t n = tws_ws_header(header, true, TWS_WS_TEXT, payload_len, NULL);
    return tws__event_before(at, tws_str_of((char *)header, n));
}

/* Write the heads. Last before the event is seen by anyone; under the lock, for the id is.
 * ids: this or an event before it has one. */
static void tws__event_seal(tws_event *e, tws_event_id id, bool has_id, bool ids)
{
    char text[1 + TWS_EVENT_ID_MAX + 1]; /* in quotes */
    size_t n = tws_event_id_format(id, text + 1);
    text[0] = '"';
    text[1 + n] = '"';
    char *data = tws__event_at(e, 0);
    char *envelope = tws__event_before(data, tws_str_c(TWS__EVENT_MIDDLE));
    envelope = tws__event_before(envelope, has_id ? tws_str_of(text, n + 2) : tws_str_c("null"));
    envelope = tws__event_before(envelope, tws_str_c(TWS__EVENT_OPEN));
    envelope = tws__event_frame_before(envelope, (uint64_t)(data - envelope) + e->data_len + 1);
    char *raw = tws__event_frame_before(envelope, e->data_len);
    char *sse = tws__event_before(raw, tws_str_c(ids && !has_id ? "data: " : "\ndata: "));
    if (has_id || !ids) {
        sse = tws__event_before(sse, tws_str_of(text + 1, has_id ? n : 0));
        sse = tws__event_before(sse, tws_str_c("id: "));
    }
    e->id = id;
    e->has_id = has_id;
    e->envelope_len = (uint8_t)(data - envelope);
    e->raw_len = (uint8_t)(envelope - raw);
    e->sse_len = (uint8_t)(raw - sse);
}

TWS_API size_t tws_event_wire(const tws_event *e, tws_event_format format,
                              tws_str out[TWS_EVENT_SLICES])
{
    const char *envelope = tws__event_at(e, 0) - e->envelope_len;
    const char *raw = envelope - e->raw_len;
    switch (format) {
    case TWS_FORMAT_ENVELOPE:
        out[0] = tws_str_of(envelope, (size_t)e->envelope_len + e->data_len + 1);
        return 1;
    case TWS_FORMAT_RAW:
        out[0] = tws_str_of(raw, e->raw_len);
        out[1] = tws_event_data(e);
        return 2;
    case TWS_FORMAT_SSE: break;
    }
    out[0] = tws_str_of(raw - e->sse_len, e->sse_len);
    out[1] = tws_str_of(tws__event_at(e, e->sse_at), e->data_len);
    out[2] = tws_str_c("\n\n");
    return 3;
}

TWS_API tws_str tws_event_data(const tws_event *e)
{
    return tws_str_of(tws__event_at(e, 0), e->data_len);
}

TWS_API tws_str tws_event_text(const tws_event *e, tws_event_format format)
{
    if (format == TWS_FORMAT_RAW) {
        return tws_event_data(e);
    }
    const char *frame = tws__event_at(e, 0) - e->envelope_len;
    const uint8_t length = (uint8_t)frame[1];
    const size_t header = length < 126 ? 2 : length == 126 ? 4 : 10;
    return tws_str_of(frame + header, (size_t)e->envelope_len + e->data_len + 1 - header);
}

TWS_API bool tws_event_compressed(const tws_event *e, tws_event_format format, tws_str *frame)
{
    const tws__packed *p = TWS__LOAD(&e->packed);
    while (p != NULL && p->format != format) {
        p = p->next;
    }
    if (p == NULL) {
        *frame = tws_str_of(NULL, 0);
        return TWS__LOAD(&e->plain) != 0;
    }
    *frame = tws_str_of((const char *)(p + 1), p->len);
    return true;
}

/* Of its compressed frames, under the shard's lock. */
static uint64_t tws__event_packed_bytes(const tws_event *e)
{
    uint64_t bytes = 0;
    for (const tws__packed *p = e->packed; p != NULL; p = p->next) {
        bytes += p->bytes;
    }
    return bytes;
}

TWS_API tws_event_id tws_event_id_of(const tws_event *e)
{
    return e->has_id ? e->id : tws__event_id(0, 0);
}

TWS_API tws_event *tws_event_ref(tws_event *e)
{
    TWS__REF(&e->refs);
    return e;
}

TWS_API void tws_event_unref(tws_event *e)
{
    if (!TWS__UNREF(&e->refs)) {
        return;
    }
    while (e->packed != NULL) {
        tws__packed *p = e->packed;
        e->packed = p->next;
        tws_release(e->allocator, p, p->bytes);
    }
    tws_release(e->allocator, e, e->bytes);
}

/* An event stream ends a line at CR as well as at LF. In JSON both can only be white space between
 * tokens (RFC 8259 2, 7), so blanks mean the same. HTML Living Standard 9.2.5. */
static void tws__event_unbreak(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = p[i] == '\n' || p[i] == '\r' ? ' ' : p[i];
    }
}

/* -- a table of what is kept of each user -- */

/* First in what is kept. The user id stands behind that. */
typedef struct tws__user {
    struct tws__user *chain;
    uint32_t hash;
    uint16_t bytes; /* of what is kept, without the id */
    uint8_t len;    /* of the id */
} tws__user;

typedef struct tws__users {
    const tws_allocator *allocator;
    tws__user **bucket;
    size_t bucket_count; /* a power of two */
    size_t count;
} tws__users;

static bool tws__users_init(tws__users *t, const tws_allocator *a, size_t buckets)
{
    t->allocator = a;
    t->bucket = (tws__user **)tws_alloc(a, buckets * sizeof *t->bucket);
    t->bucket_count = t->bucket == NULL ? 0 : buckets;
    return t->bucket != NULL;
}

static tws_str tws__user_id(const tws__user *u)
{
    return tws_str_of((const char *)u + u->bytes, u->len);
}

static tws__user **tws__users_slot(const tws__users *t, uint32_t hash)
{
    return &t->bucket[hash & (t->bucket_count - 1)];
}

static tws__user *tws__users_find(const tws__users *t, uint32_t hash, tws_str user_id)
{
    tws__user *u = *tws__users_slot(t, hash);
    while (u != NULL && (u->hash != hash || !tws_str_eq(tws__user_id(u), user_id))) {
        u = u->chain;
    }
    return u;
}

/* The one behind, in no order of use to anyone; behind NULL the first, and NULL behind the last. */
static tws__user *tws__users_next(const tws__users *t, const tws__user *u)
{
    size_t i = u == NULL ? 0 : (u->hash & (t->bucket_count - 1)) + 1;
    tws__user *next = u == NULL ? NULL : u->chain;
    while (next == NULL && i < t->bucket_count) {
        next = t->bucket[i++];
    }
    return next;
}

static void tws__users_link(tws__users *t, tws__user *u)
{
    u->chain = *tws__users_slot(t, u->hash);
    *tws__users_slot(t, u->hash) = u;
}

/* Without memory chains get longer, no more. */
static void tws__users_grow(tws__users *t)
{
    tws__users grown;
    if (!tws__users_init(&grown, t->allocator, t->bucket_count * 2)) {
        return;
    }
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (tws__user *next, *u = t->bucket[i]; u != NULL; u = next) {
            next = u->chain;
            tws__users_link(&grown, u);
        }
    }
    tws_release(t->allocator, t->bucket, t->bucket_count * sizeof *t->bucket);
    t->bucket = grown.bucket;
    t->bucket_count = grown.bucket_count;
}

/* So many bytes, zeroed, and the id. NULL without memory. */
static tws__user *tws__users_add(tws__users *t, uint32_t hash, tws_str user_id, size_t bytes)
{
    tws__user *u = (tws__user *)tws_alloc(t->allocator, bytes + user_id.len);
    if (u == NULL) {
        return NULL;
    }
    if (t->count == t->bucket_count) {
        tws__users_grow(t);
    }
    u->hash = hash;
    u->bytes = (uint16_t)bytes;
    u->len = (uint8_t)user_id.len;
    (void)tws__str_copy((char *)u + bytes, user_id);
    tws__users_link(t, u);
    t->count++;
    return u;
}

static void tws__users_remove(tws__users *t, tws__user *u)
{
    tws__user **at = tws__users_slot(t, u->hash);
    while (*at != u) {
        at = &(*at)->chain;
    }
    *at = u->chain;
    t->count--;
    tws_release(t->allocator, u, (size_t)u->bytes + u->len);
}

/* With all who are left. */
static void tws__users_free(tws__users *t)
{
    for (tws__user *next, *u = tws__users_next(t, NULL); u != NULL; u = next) {
        next = tws__users_next(t, u);
        tws__users_remove(t, u);
    }
    tws_release(t->allocator, t->bucket, t->bucket_count * sizeof *t->bucket);
}

/* -- hub, topics, groups -- */

/* What is retained of a topic: its newest events in a ring, and of each task the last status, which
 * the ring may have left behind. An event is referenced once for either or both. */
typedef struct tws__history {
    struct tws__topic *topic;
    struct tws__history *older; /* in the shard, by last publish */
    struct tws__history *newer;
    uint64_t turn;              /* of the last publish, among all of the hub's */
    uint64_t published_ms;      /* when that was */
    uint64_t first;             /* index of the ring's oldest event */
    tws_event **ring;           /* index & (ring_size - 1) */
    tws_event **bucket;         /* of tasks, by hash */
    tws_event *oldest;          /* last statuses, by index */
    tws_event *newest;
    uint32_t ring_size;
    uint32_t bucket_count;
    uint32_t tasks;
    uint32_t held; /* events in ring or list */
    uint32_t bytes;
    uint32_t ring_bytes;
    uint64_t packed_bytes; /* besides: of their compressed frames */
} tws__history;

typedef struct tws__topic {
    tws__user user; /* first: the shard's table hands it back */
    struct tws__shard *shard;
    tws__history *history; /* NULL: no events */
    tws_hub_group *groups;
    uint64_t next;        /* index of the event to come */
    uint64_t hole;        /* events missing below this index were lost on their way here */
    uint64_t gone;        /* below this index nothing is held, not even a last status */
    tws_event_id last_id; /* before the first id: what that one must exceed */
    tws_event_id floor;   /* events after this id are all here */
    uint32_t readers;
    uint32_t visitors;    /* of them */
    uint32_t joining;     /* tws_hub_joined with this number is waited for; 0: with none */
    uint16_t loads;       /* how often it was said to be loaded, modulo 2^16 */
    uint8_t thin;         /* what the total budget took of what an upstream had loaded */
    bool idle : 1;        /* its last reader left within the grace: it is in the shard's list, */
    bool came_back : 1;   /* and another has come since */
    bool asked : 1;       /* upstream, for what is new: it has not said yet that it is loaded */
    bool ask_again : 1;   /* once it has: somebody came when it may already have been read */
    bool has_ids : 1;     /* an event has had one */
    bool loading : 1;     /* an upstream has joined it and not said that it is loaded */
} tws__topic;

/* Apart, so that a topic in use takes no memory for it. */
typedef struct tws__idle {
    struct tws__idle *next;
    tws__topic *topic;
    uint32_t from; /* the shard's sweeps when it became idle */
} tws__idle;

#define TWS__THIN_STEPS 1 /* events that were no last status */
#define TWS__THIN_ALL 2   /* last statuses, too */

typedef struct tws__shard {
    tws__mutex lock;
    tws_hub *hub;
    tws__users topics;
    tws__idle *idle; /* by `from` */
    tws__idle **idle_end;
    uint32_t sweeps; /* modulo 2^32 */
    tws__history *oldest;
    tws__history *newest;
    TWS_ALIGN_8 uint64_t turn; /* of the oldest, UINT64_MAX without; read by others unlocked */
    tws_event_id floor;  /* the highest of the topics that were freed */
    uint32_t joinings;   /* numbers given, modulo 2^32 */
    tws_hub_stats stats; /* but for bytes and refused */
} tws__shard;

struct tws_hub {
    tws_hub_desc desc; /* with the defaults filled in; upstream, if any, is the copy below */
    tws_hub_upstream upstream;
    tws_str task_key;
    uint64_t hash_key[2];
    tws__shard *shard; /* desc.shards of them, a power of two */
    size_t memory;     /* of this allocation: hub, shards, task_key */
    /* Changed by all threads. */
    TWS_ALIGN_8 uint64_t bytes; /* held by all topics */
    TWS_ALIGN_8 uint64_t turn;  /* of the last publish */
    TWS_ALIGN_8 uint64_t refused;
};

struct tws_hub_group {
    tws__topic *topic;
    tws_hub_inbox *inbox;
    tws_hub_group *next;   /* in the topic; under the shard's lock */
    tws_hub_reader *first; /* the inbox's thread only */
    tws_hub_group *later;  /* in the inbox; under its lock */
    tws_hub_group *sooner;
    uint32_t news;         /* how often there was some; changed under the shard's lock */
    uint8_t rounds;        /* since then; under the shard's lock */
    uint8_t marked;        /* in the inbox, or about to be: set under the shard's lock, cleared
                              under the inbox's */
};

struct tws_hub_inbox {
    tws_hub *hub;
    void (*wake)(void *);
    void *context;
    tws__mutex lock;
    tws_hub_group *first;
    tws_hub_group *last;
    tws_hub_reader *at; /* the next one of the group that is served; the inbox's thread only */
    uint32_t wakers;    /* threads that are about to call wake */
};

/* -- a shard locked, and what is to be done once it is unlocked -- */

#define TWS__WAKES 8

typedef struct tws__chores {
    tws__shard *shard;
    uint32_t hash;       /* of the user for whom it was entered */
    tws_event *given_up; /* to be freed, linked by chain */
    uint64_t bytes;      /* added to those held, modulo 2^64 */
    uint32_t wakes;
    tws_hub_inbox *wake[TWS__WAKES];
} tws__chores;

static void tws__shard_enter(tws__shard *s, tws__chores *c)
{
    c->shard = s;
    c->given_up = NULL;
    c->bytes = 0;
    c->wakes = 0;
    TWS__LOCK(&s->lock);
}

/* The hub's sum changes under the lock under which the bytes were added or given up: each is added
 * before it can be taken away, so the sum never falls below zero. */
static void tws__shard_leave(tws__chores *c)
{
    if (c->bytes != 0) {
        TWS__COUNT(&c->shard->hub->bytes, c->bytes);
    }
    TWS__UNLOCK(&c->shard->lock);
    for (uint32_t i = 0; i < c->wakes; i++) {
        c->wake[i]->wake(c->wake[i]->context);
        (void)TWS__UNREF(&c->wake[i]->wakers);
    }
    while (c->given_up != NULL) {
        tws_event *e = c->given_up;
        c->given_up = e->chain;
        tws_event_unref(e);
    }
}

/* Note that in is to be woken once the lock is free: a woken thread may run at once, on this very
 * processor, and wants the shard. When TWS__WAKES are noted, the others are woken now. */
static void tws__chores_wake(tws__chores *c, tws_hub_inbox *in)
{
    if (c->wakes == TWS__WAKES) {
        in->wake(in->context);
        return;
    }
    TWS__REF(&in->wakers);
    c->wake[c->wakes++] = in;
}

/* -- history -- */

static uint32_t tws__history_count(const tws__history *h)
{
    return (uint32_t)(h->topic->next - h->first);
}

static tws_event **tws__history_slot(const tws__history *h, uint64_t index)
{
    return &h->ring[index & (h->ring_size - 1)];
}

static tws_event **tws__history_bucket(const tws__history *h, uint32_t hash)
{
    return &h->bucket[hash & (h->bucket_count - 1)];
}

static void tws__history_give_up(tws__history *h, tws_event *e, tws__chores *c)
{
    const uint64_t packed = tws__event_packed_bytes(e);
    e->held = false;
    h->held--;
    h->bytes -= e->bytes;
    h->packed_bytes -= packed;
    h->topic->shard->stats.evicted++;
    c->bytes -= e->bytes + packed;
    e->chain = c->given_up;
    c->given_up = e;
}

/* size: a power of two, not below the number of events in it. */
static bool tws__history_resize_ring(tws__history *h, const tws_allocator *a, uint32_t size)
{
    tws_event **ring = (tws_event **)tws_alloc(a, size * sizeof *ring);
    if (ring == NULL) {
        return false;
    }
    for (uint64_t i = h->first; i < h->topic->next; i++) {
        ring[i & (size - 1)] = *tws__history_slot(h, i);
    }
    tws_release(a, h->ring, h->ring_size * sizeof *ring);
    h->ring = ring;
    h->ring_size = size;
    return true;
}

static void tws__history_shrink_ring(tws__history *h, const tws_allocator *a)
{
    if (tws__history_count(h) < h->ring_size / 4) {
        (void)tws__history_resize_ring(h, a, h->ring_size / 2);
    }
}

static bool tws__history_grow_buckets(tws__history *h, const tws_allocator *a)
{
    uint32_t count = h->bucket_count == 0 ? 4 : h->bucket_count * 2;
    tws_event **bucket = (tws_event **)tws_alloc(a, count * sizeof *bucket);
    if (bucket == NULL) {
        return h->bucket_count > 0; /* longer chains, then */
    }
    for (tws_event *e = h->oldest; e != NULL; e = e->newer) {
        tws_event **slot = &bucket[e->task_hash & (count - 1)];
        e->chain = *slot;
        *slot = e;
    }
    tws_release(a, h->bucket, h->bucket_count * sizeof *bucket);
    h->bucket = bucket;
    h->bucket_count = count;
    return true;
}

/* Room for one event more. A full ring that may not grow needs none: the oldest goes first. */
static bool tws__history_reserve(tws__history *h, const tws_hub *hub, const tws_event *e)
{
    const tws_allocator *a = hub->desc.allocator;
    uint32_t count = tws__history_count(h);
    if (count == h->ring_size && count < hub->desc.max_events &&
        !tws__history_resize_ring(h, a, count == 0 ? 4 : count * 2)) {
        return false;
    }
    return e->task_len == 0 || h->tasks < h->bucket_count || tws__history_grow_buckets(h, a);
}

/* The last status of e's task, NULL when it is new. */
static tws_event *tws__history_find(const tws__history *h, const tws_event *e)
{
    tws_event *at = h->bucket_count == 0 ? NULL : *tws__history_bucket(h, e->task_hash);
    while (at != NULL && (at->task_hash != e->task_hash ||
                          !tws_str_eq(tws__event_task(at), tws__event_task(e)))) {
        at = at->chain;
    }
    return at;
}

static void tws__history_add_task(tws__history *h, tws_event *e)
{
    tws_event **slot = tws__history_bucket(h, e->task_hash);
    e->chain = *slot;
    *slot = e;
    e->older = h->newest;
    e->newer = NULL;
    *(h->newest == NULL ? &h->oldest : &h->newest->newer) = e;
    h->newest = e;
    e->latest = true;
    h->tasks++;
}

/* e is its task's last status no more. */
static void tws__history_drop_task(tws__history *h, tws_event *e, tws__chores *c)
{
    tws_event **at = tws__history_bucket(h, e->task_hash);
    while (*at != e) {
        at = &(*at)->chain;
    }
    *at = e->chain;
    *(e->older == NULL ? &h->oldest : &e->older->newer) = e->newer;
    *(e->newer == NULL ? &h->newest : &e->newer->older) = e->older;
    e->latest = false;
    h->tasks--;
    if (e->index < h->first) {
        tws__history_give_up(h, e, c);
    }
}

/* The oldest event leaves the ring; if it is a last status, it is still held. The floor rises to
 * its id: who has seen that misses nothing. If it has none, the floor rises above the id before it:
 * who has seen that misses this event. */
static void tws__history_pop(tws__history *h, tws__chores *c)
{
    tws_event *e = *tws__history_slot(h, h->first);
    tws_event_id gone = e->has_id ? e->id : tws__event_id_above(e->id);
    h->first++;
    h->ring_bytes -= e->bytes;
    h->topic->floor = tws__event_id_max(h->topic->floor, gone);
    if (!e->latest) {
        tws__history_give_up(h, e, c);
    }
}

/* Make room for an event of so many bytes, which the cap allows. The ring yields first, while it
 * takes more than half of either cap, then the last statuses left behind: however many there are, a
 * reader may be some events behind without a reset. */
static void tws__history_make_room(tws__history *h, const tws_hub_desc *limit, uint32_t bytes,
                                   tws__chores *c)
{
    while (h->held >= limit->max_events || h->bytes > limit->max_bytes - bytes) {
        bool long_ring = tws__history_count(h) + 1 > limit->max_events / 2 ||
                         (uint64_t)h->ring_bytes + bytes > limit->max_bytes / 2;
        bool behind = h->oldest != NULL && h->oldest->index < h->first;
        if (h->first < h->topic->next && (long_ring || !behind)) {
            tws__history_pop(h, c);
        } else {
            tws__history_drop_task(h, h->oldest, c);
        }
    }
}

static void tws__history_append(tws__history *h, const tws_hub_desc *limit, tws_event *e,
                                tws__chores *c)
{
    tws_event *before = e->task_len == 0 ? NULL : tws__history_find(h, e);
    if (before != NULL) {
        tws__history_drop_task(h, before, c);
    }
    tws__history_make_room(h, limit, e->bytes, c);
    e->held = true;
    e->index = h->topic->next++;
    *tws__history_slot(h, e->index) = e;
    if (e->task_len > 0) {
        tws__history_add_task(h, e);
    }
    h->held++;
    h->bytes += e->bytes;
    h->ring_bytes += e->bytes;
    c->bytes += e->bytes;
}

/* The first last status at or after that index. From within the ring the next one is near; from
 * before the ring the list of those left behind is searched. */
static tws_event *tws__history_status_from(const tws__history *h, uint64_t index)
{
    tws_event *e = h->oldest;
    for (uint64_t i = index; i >= h->first && i < h->topic->next; i++) {
        e = *tws__history_slot(h, i);
        if (e->latest) {
            return e;
        }
    }
    if (index >= h->first) {
        return NULL;
    }
    while (e != NULL && e->index < index) {
        e = e->newer;
    }
    return e;
}

/* Does e come after `since`? Without an id of its own it does when the event before it has that
 * very id: it may have been seen, but twice is better than never. */
static bool tws__event_follows(const tws_event *e, tws_event_id since)
{
    int order = tws_event_id_compare(e->id, since);
    return order > 0 || (order == 0 && !e->has_id);
}

/* The index in the ring from which on all events come after since. */
static uint64_t tws__history_after(const tws__history *h, tws_event_id since)
{
    uint64_t low = h->first;
    uint64_t high = h->topic->next;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (tws__event_follows(*tws__history_slot(h, middle), since)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* -- topics, under their shard's lock -- */

static uint64_t tws__topic_first(const tws__topic *t)
{
    return t->history == NULL ? t->next : t->history->first;
}

/* For a reader: 0-0 before the first. */
static tws_event_id tws__topic_last_id(const tws__topic *t)
{
    return t->has_ids ? t->last_id : tws__event_id(0, 0);
}

/* Lock a user's shard and find the topic. NULL: there is none, as for what is no user id. */
static tws__topic *tws__hub_enter(tws_hub *hub, tws_str user_id, tws__chores *c)
{
    uint64_t hash = tws__hash(hub->hash_key, user_id);
    c->hash = (uint32_t)hash;
    tws__shard_enter(&hub->shard[(hash >> 32) & (hub->desc.shards - 1)], c);
    return (tws__topic *)(void *)tws__users_find(&c->shard->topics, c->hash, user_id);
}

/* What an upstream has not loaded yet has no floor: it will tell. */
static tws__topic *tws__hub_add(tws_str user_id, const tws__chores *c)
{
    tws__shard *s = c->shard;
    tws__topic *t =
        (tws__topic *)(void *)tws__users_add(&s->topics, c->hash, user_id, sizeof *t);
    if (t != NULL) {
        t->shard = s;
        t->floor = s->hub->desc.upstream != NULL ? tws__event_id(0, 0) : s->floor;
        t->last_id = t->floor;
    }
    return t;
}

static void tws__shard_note_oldest(tws__shard *s)
{
    TWS__STORE(&s->turn, s->oldest == NULL ? UINT64_MAX : s->oldest->turn);
}

static void tws__shard_unlink(tws__shard *s, tws__history *h)
{
    *(h->older == NULL ? &s->oldest : &h->older->newer) = h->newer;
    *(h->newer == NULL ? &s->newest : &h->newer->older) = h->older;
}

static void tws__shard_link_newest(tws__shard *s, tws__history *h)
{
    h->older = s->newest;
    h->newer = NULL;
    *(s->newest == NULL ? &s->oldest : &s->newest->newer) = h;
    s->newest = h;
}

static bool tws__topic_open_history(tws__topic *t)
{
    tws__shard *s = t->shard;
    tws__history *h = (tws__history *)tws_alloc(s->hub->desc.allocator, sizeof *h);
    if (h == NULL) {
        return false;
    }
    h->topic = t;
    h->first = t->next;
    t->history = h;
    tws__shard_link_newest(s, h);
    return true;
}

static void tws__topic_close_history(tws__topic *t, tws__chores *c)
{
    tws__shard *s = t->shard;
    tws__history *h = t->history;
    const tws_allocator *a = s->hub->desc.allocator;
    if (h == NULL) {
        return;
    }
    while (h->first < t->next) {
        tws__history_pop(h, c);
    }
    while (h->oldest != NULL) {
        tws__history_drop_task(h, h->oldest, c);
    }
    tws__shard_unlink(s, h);
    tws__shard_note_oldest(s);
    t->gone = t->next;
    t->history = NULL;
    tws_release(a, h->ring, h->ring_size * sizeof *h->ring);
    tws_release(a, h->bucket, h->bucket_count * sizeof *h->bucket);
    tws_release(a, h, sizeof *h);
}

/* Free what holds nothing and serves nobody. Its floor, above all its ids now, is remembered by the
 * shard, for whoever comes back with one of them. */
static void tws__topic_tidy(tws__topic *t, tws__chores *c)
{
    tws__shard *s = t->shard;
    if (t->history != NULL && t->history->held == 0) {
        tws__topic_close_history(t, c);
    }
    if (t->history == NULL && t->readers == 0 && !t->idle) {
        s->floor = tws__event_id_max(s->floor, t->floor);
        tws__users_remove(&s->topics, &t->user);
    }
}

/* -- inboxes -- */

TWS_API tws_hub_inbox *tws_hub_inbox_create(tws_hub *hub, void (*wake)(void *), void *context)
{
    tws_hub_inbox *in = (tws_hub_inbox *)tws_alloc(hub->desc.allocator, sizeof *in);
    if (in == NULL) {
        return NULL;
    }
    in->hub = hub;
    in->wake = wake;
    in->context = context;
    TWS__MUTEX_INIT(&in->lock);
    return in;
}

TWS_API void tws_hub_inbox_free(tws_hub_inbox *in)
{
    if (in == NULL) {
        return;
    }
    TWS_ASSERT(in->first == NULL);
    while (TWS__LOAD(&in->wakers) > 0) {
        /* A publisher is between its unlock and its wake: a moment. */
    }
    TWS__MUTEX_FREE(&in->lock);
    tws_release(in->hub->desc.allocator, in, sizeof *in);
}

static void tws__inbox_remove(tws_hub_inbox *in, tws_hub_group *g)
{
    *(g->sooner == NULL ? &in->first : &g->sooner->later) = g->later;
    *(g->later == NULL ? &in->last : &g->later->sooner) = g->sooner;
    (void)TWS__SWAP(&g->marked, 0u);
}

/* Put a group into its inbox, if it is not there. Under the shard's lock. True when the inbox was
 * empty: then its thread is to be woken.
 *
 * Where the mark stands already, its thread has still to clear it, and gathers after that, under
 * the shard's lock: so it finds the event for which this was called. Nor does it take an older
 * batch for one with that event (tws_hub_same): the news was counted before this exchange, the mark
 * is cleared after it, and then the new count is seen. */
static bool tws__group_mark(tws_hub_group *g)
{
    tws_hub_inbox *in = g->inbox;
    if (TWS__SWAP(&g->marked, 1u) != 0) {
        return false;
    }
    TWS__LOCK(&in->lock);
    bool was_empty = in->first == NULL;
    g->sooner = in->last;
    g->later = NULL;
    *(in->last == NULL ? &in->first : &in->last->later) = g;
    in->last = g;
    TWS__UNLOCK(&in->lock);
    return was_empty;
}

static void tws__topic_mark(tws__topic *t, tws__chores *c)
{
    for (tws_hub_group *g = t->groups; g != NULL; g = g->next) {
        TWS__STORE(&g->news, g->news + 1);
        g->rounds = 0;
        if (tws__group_mark(g)) {
            tws__chores_wake(c, g->inbox);
        }
    }
}

TWS_API tws_hub_reader *tws_hub_news(tws_hub_inbox *in)
{
    tws_hub_reader *r = in->at;
    if (r == NULL) {
        TWS__LOCK(&in->lock);
        tws_hub_group *g = in->first;
        if (g != NULL) {
            tws__inbox_remove(in, g);
            r = g->first;
        }
        TWS__UNLOCK(&in->lock);
    }
    in->at = r == NULL ? NULL : r->next;
    return r;
}

TWS_API bool tws_hub_again(tws_hub_reader *r)
{
    tws_hub_group *g = r->group;
    tws__shard *s = g->topic->shard;
    TWS__LOCK(&s->lock);
    bool marked = TWS__LOAD(&g->marked) != 0;
    if (!marked && g->rounds < TWS_HUB_ROUNDS) {
        g->rounds++;
        (void)tws__group_mark(g);
        marked = true;
    }
    TWS__UNLOCK(&s->lock);
    return marked;
}

TWS_API bool tws_hub_inbox_empty(tws_hub_inbox *in)
{
    TWS__LOCK(&in->lock);
    bool empty = in->first == NULL;
    TWS__UNLOCK(&in->lock);
    return empty;
}

/* -- publishing -- */

/* A task's name is a string that is not empty, or an integer. */
static bool tws__names_task(const tws_json_token *task)
{
    int64_t number;
    if (task->type == TWS_JSON_NUMBER) {
        return tws_json_i64(task, &number);
    }
    return task->type == TWS_JSON_STRING && task->text.len > 0;
}

/* Everything but the heads, behind them: DATA, a brace, DATA without line breaks if it has any, the
 * task's name if it has escapes. */
static void tws__event_fill(tws_event *e, const tws_hub *hub, tws_str json, bool broken,
                            const tws_json_token *task)
{
    size_t end = json.len + 1;
    e->data_len = (uint32_t)json.len;
    memcpy(tws__event_at(e, 0), json.ptr, json.len);
    *tws__event_at(e, json.len) = '}';
    if (broken) {
        e->sse_at = (uint32_t)end;
        memcpy(tws__event_at(e, end), json.ptr, json.len);
        tws__event_unbreak(tws__event_at(e, end), json.len);
        end += json.len;
    }
    if (task == NULL) {
        return;
    }
    e->task_at = (uint32_t)(task->text.ptr - json.ptr);
    e->task_len = (uint32_t)task->text.len;
    if (task->escaped) {
        tws_buf name;
        tws_buf_fixed(&name, tws__event_at(e, end), task->text.len);
        tws_json_unescape(task, &name);
        e->task_at = (uint32_t)end;
        e->task_len = (uint32_t)name.len;
    }
    e->task_hash = (uint32_t)tws__hash(hub->hash_key, tws__event_task(e));
}

static bool tws__event_is_broken(tws_str json)
{
    return tws_str_find(json, '\n') < json.len || tws_str_find(json, '\r') < json.len;
}

/* What it takes in memory before any of it is compressed; 0: more than one event, or than all of a
 * user's together, may take. */
static uint64_t tws__event_bytes(const tws_hub *hub, tws_str json, bool broken,
                                 const tws_json_token *task)
{
    bool own_name = tws__names_task(task) && task->escaped;
    uint64_t bytes = sizeof(tws_event) + TWS__EVENT_HEAD + (uint64_t)json.len + 1 +
                     (broken ? json.len : 0) + (own_name ? task->text.len : 0);
    return json.len > hub->desc.max_event_bytes || bytes > hub->desc.max_bytes ? 0 : bytes;
}

static tws_status tws__event_build(const tws_hub *hub, tws_str json, const tws_json_token *task,
                                   tws_event **event)
{
    bool broken = tws__event_is_broken(json);
    uint64_t bytes = tws__event_bytes(hub, json, broken, task);
    if (bytes == 0) {
        return TWS_ERR_LIMIT;
    }
    tws_event *e = (tws_event *)tws_resize(hub->desc.allocator, NULL, 0, (size_t)bytes);
    if (e == NULL) {
        return TWS_ERR_MEMORY;
    }
    memset(e, 0, sizeof *e);
    e->refs = 1;
    e->bytes = (uint32_t)bytes;
    e->allocator = hub->desc.allocator;
    tws__event_fill(e, hub, json, broken, tws__names_task(task) ? task : NULL);
    *event = e;
    return TWS_OK;
}

/* The next id: now, or right behind the last when the clock stands still or was set back. False
 * when there is none. */
static bool tws__topic_next_id(const tws__topic *t, uint64_t now_ms, tws_event_id *id)
{
    tws_event_id last = t->last_id;
    *id = now_ms > last.ms ? tws__event_id(now_ms, 0) : tws__event_id_above(last);
    return tws_event_id_compare(*id, last) > 0;
}

/* The topic was published to: it is now the last to be dropped for the total budget. */
static void tws__topic_touch(tws__topic *t, uint64_t now_ms)
{
    tws__shard *s = t->shard;
    /* In one step: a thread held up between a load and a store would set it back by thousands. */
    t->history->turn = TWS__SUM(&s->hub->turn, 1u);
    t->history->published_ms = now_ms;
    tws__shard_unlink(s, t->history);
    tws__shard_link_newest(s, t->history);
    tws__shard_note_oldest(s);
}

/* What may fail comes first, so that a publish that fails leaves all as it was. given: the event's
 * id; NULL: the next one is assigned. */
static tws_status tws__topic_publish(tws__topic *t, tws_event *e, uint64_t now_ms,
                                     const tws_event_id *given, tws__chores *c)
{
    tws_hub *hub = t->shard->hub;
    tws_event_id id;
    if (given != NULL) {
        id = *given;
    } else if (!tws__topic_next_id(t, now_ms, &id)) {
        return TWS_ERR_LIMIT;
    }
    bool has_id = !tws__event_id_none(id);
    if (has_id && tws_event_id_compare(id, t->last_id) <= 0) {
        t->shard->stats.repeats++;
        return TWS_ERR_EXISTS;
    }
    if ((t->history == NULL && !tws__topic_open_history(t)) ||
        !tws__history_reserve(t->history, hub, e)) {
        return TWS_ERR_MEMORY;
    }
    t->last_id = has_id ? id : t->last_id;
    t->has_ids = t->has_ids || has_id;
    tws__event_seal(e, t->last_id, has_id, t->has_ids);
    tws__history_append(t->history, &hub->desc, e, c);
    t->shard->stats.published++;
    tws__topic_touch(t, now_ms);
    tws__topic_mark(t, c);
    return TWS_OK;
}

static tws_status tws__shard_publish(tws__topic *t, tws_str user_id, tws_event *e, uint64_t now_ms,
                                     const tws_event_id *given, tws__chores *c)
{
    const bool fed = c->shard->hub->desc.upstream != NULL;
    if (fed && (t == NULL || t->joining != 0)) {
        return TWS_ERR_NOT_FOUND;
    }
    t = t != NULL ? t : tws__hub_add(user_id, c);
    if (t == NULL) {
        return TWS_ERR_MEMORY;
    }
    tws_status status = tws__topic_publish(t, e, now_ms, given, c);
    if (status != TWS_OK) {
        tws__topic_tidy(t, c);
    }
    return status;
}

/* Take the oldest events of the shard's least recently published topic, until one of them makes
 * room, if its last publish was not after that turn; once the ring is empty, all last statuses. */
static void tws__shard_yield(tws__shard *s, uint64_t turn)
{
    tws__chores c;
    tws__shard_enter(s, &c);
    tws__history *h = s->oldest;
    if (h != NULL && h->turn <= turn) {
        tws__topic *t = h->topic;
        const bool all = h->first == t->next;
        if (s->hub->desc.upstream != NULL && t->thin != TWS__THIN_ALL) {
            t->thin = all ? TWS__THIN_ALL : TWS__THIN_STEPS;
        }
        if (all) {
            tws__topic_close_history(t, &c);
        }
        while (!all && c.bytes == 0 && h->first < t->next) { /* a last status makes no room */
            tws__history_pop(h, &c);
            tws__history_shrink_ring(h, s->hub->desc.allocator);
        }
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
}

#define TWS__HUB_FEW 8 /* takes in one publish */

/* What publishes fill of the total budget: the rest is for compressed frames. */
static uint64_t tws__hub_event_bytes(const tws_hub_desc *d)
{
    return d->max_total_bytes - d->max_total_bytes / 16;
}

/* Hold the total budget, and in a few steps come nearer to what publishes fill. The shards are
 * looked over without their locks: where the oldest changed meanwhile, because it was published to
 * or another thread took from it, nothing is dropped and the next round sees it. One topic alone is
 * within either, so there is another to take from. */
static void tws__hub_make_room(tws_hub *hub, int few)
{
    const uint64_t soft = tws__hub_event_bytes(&hub->desc);
    uint64_t bytes;
    while ((bytes = TWS__LOAD(&hub->bytes)) > hub->desc.max_total_bytes ||
           (bytes > soft && few-- > 0)) {
        tws__shard *oldest = &hub->shard[0];
        uint64_t turn = TWS__LOAD(&oldest->turn);
        for (size_t i = 1; i < hub->desc.shards; i++) {
            uint64_t its_turn = TWS__LOAD(&hub->shard[i].turn);
            oldest = its_turn < turn ? &hub->shard[i] : oldest;
            turn = its_turn < turn ? its_turn : turn;
        }
        tws__shard_yield(oldest, turn);
    }
}

static bool tws__user_id_fits(tws_str user_id)
{
    return user_id.len > 0 && user_id.len <= TWS_MAX_USER_ID;
}

static tws_status tws__hub_publish(tws_hub *hub, tws_str user_id, tws_str json,
                                   const tws_json_token *task, uint64_t now_ms,
                                   const tws_event_id *given, tws_event_id *out)
{
    tws_event *e;
    tws__chores c;
    if (!tws__user_id_fits(user_id) || json.len == 0) {
        return TWS_ERR_ARGUMENT;
    }
    tws_status status = tws__event_build(hub, json, task, &e);
    if (status != TWS_OK) {
        return status;
    }
    tws__topic *t = tws__hub_enter(hub, user_id, &c);
    status = tws__shard_publish(t, user_id, e, now_ms, given, &c);
    if (status == TWS_OK && out != NULL) {
        *out = tws_event_id_of(e); /* the lock keeps it */
    }
    tws__shard_leave(&c);
    if (status != TWS_OK) {
        tws_event_unref(e);
        return status;
    }
    tws__hub_make_room(hub, TWS__HUB_FEW);
    return TWS_OK;
}

TWS_API tws_status tws_hub_publish(tws_hub *hub, tws_str user_id, tws_str json, uint64_t now_ms,
                                   const tws_event_id *id, tws_event_id *out)
{
    tws_json_token task;
    (void)tws_json_member(json, hub->task_key, &task);
    return tws_hub_publish_task(hub, user_id, json, &task, now_ms, id, out);
}

TWS_API tws_status tws_hub_publish_task(tws_hub *hub, tws_str user_id, tws_str json,
                                        const tws_json_token *task, uint64_t now_ms,
                                        const tws_event_id *id, tws_event_id *out)
{
    tws_status status = tws__hub_publish(hub, user_id, json, task, now_ms, id, out);
    if (status != TWS_OK && status != TWS_ERR_EXISTS && status != TWS_ERR_NOT_FOUND) {
        TWS__COUNT(&hub->refused, 1u);
    }
    return status;
}

/* -- reading -- */

/* What tws_hub_reader.state says. */
#define TWS__READER_NEW 0      /* its position is not found yet; it wants a snapshot */
#define TWS__READER_SINCE 1    /* likewise; it wants what follows `since` */
#define TWS__READER_SNAPSHOT 2 /* below snapshot_until it may miss further steps */
#define TWS__READER_STEPS 3    /* it was promised every event */
#define TWS__READER_AHEAD 4    /* as SINCE, or a visitor; it waits until loads is `position` */

static tws_hub_group *tws__topic_group(tws__topic *t, tws_hub_inbox *in)
{
    tws_hub_group *g = t->groups;
    while (g != NULL && g->inbox != in) {
        g = g->next;
    }
    if (g != NULL) {
        return g;
    }
    g = (tws_hub_group *)tws_alloc(in->hub->desc.allocator, sizeof *g);
    if (g == NULL) {
        return NULL;
    }
    g->topic = t;
    g->inbox = in;
    g->next = t->groups;
    t->groups = g;
    return g;
}

static void tws__group_free(tws_hub_group *g)
{
    tws_hub_inbox *in = g->inbox;
    tws_hub_group **at = &g->topic->groups;
    while (*at != g) {
        at = &(*at)->next;
    }
    *at = g->next;
    TWS__LOCK(&in->lock);
    if (TWS__LOAD(&g->marked) != 0) {
        tws__inbox_remove(in, g);
    }
    TWS__UNLOCK(&in->lock);
    tws_release(in->hub->desc.allocator, g, sizeof *g);
}

/* What upstream has by now is fed, and then loaded once more. */
static void tws__topic_ask(tws__topic *t)
{
    const tws_hub_upstream *up = t->shard->hub->desc.upstream;
    t->asked = true;
    up->join(up->context, tws__user_id(&t->user), 0);
}

/* r waits for what upstream has by now. While an answer is under way nothing is asked, or it would
 * not be known which of them is loaded then, and among many who ask none ever might be. But it may
 * have been read already: so r waits for the next one, with all who come meanwhile. */
static void tws__reader_ask(tws_hub_reader *r, tws__topic *t)
{
    const bool under_way = t->asked || t->loading;
    r->state = TWS__READER_AHEAD;
    r->position = t->loads + (under_way ? 2u : 1u);
    if (under_way) {
        t->ask_again = true;
    } else {
        tws__topic_ask(t);
    }
}

static tws_status tws__shard_attach(tws__topic *t, tws_hub_inbox *in, tws_hub_reader *r,
                                    tws_str user_id, tws__chores *c)
{
    tws__shard *s = c->shard;
    const tws_hub_desc *desc = &s->hub->desc;
    if (t != NULL && !r->visits && t->readers - t->visitors >= desc->max_readers) {
        return TWS_ERR_LIMIT;
    }
    t = t != NULL ? t : tws__hub_add(user_id, c);
    if (t == NULL) {
        return TWS_ERR_MEMORY;
    }
    r->group = tws__topic_group(t, in);
    if (r->group == NULL) {
        tws__topic_tidy(t, c);
        return TWS_ERR_MEMORY;
    }
    t->readers++;
    t->visitors += r->visits;
    s->stats.readers++;
    t->came_back = t->idle;
    if (desc->upstream != NULL && t->readers == 1 && !t->idle) {
        s->joinings += s->joinings == UINT32_MAX ? 2 : 1; /* never 0 */
        t->joining = s->joinings;
        t->loading = true;
        desc->upstream->join(desc->upstream->context, user_id, t->joining);
    } else if (desc->upstream != NULL && r->visits &&
               (t->loading || t->thin != TWS__THIN_ALL)) { /* or it is read again anyway */
        tws__reader_ask(r, t);
    }
    return TWS_OK;
}

static tws_status tws__hub_attach(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id,
                                  const tws_event_id *since, bool visits)
{
    tws__chores c;
    tws_event_id from = since == NULL ? tws__event_id(0, 0) : *since;
    memset(r, 0, sizeof *r);
    r->visits = visits;
    r->state = since == NULL ? TWS__READER_NEW : TWS__READER_SINCE;
    if (!tws__user_id_fits(user_id)) {
        return TWS_ERR_ARGUMENT;
    }
    tws__topic *t = tws__hub_enter(in->hub, user_id, &c);
    tws_status status = tws__shard_attach(t, in, r, user_id, &c);
    tws__shard_leave(&c);
    if (status != TWS_OK) {
        return status;
    }
    r->u.since = from;
    r->next = r->group->first;
    if (r->next != NULL) {
        r->next->prev = r;
    }
    r->group->first = r;
    return TWS_OK;
}

TWS_API tws_status tws_hub_attach(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id,
                                  const tws_event_id *since)
{
    return tws__hub_attach(in, r, user_id, since, false);
}

TWS_API tws_status tws_hub_visit(tws_hub_inbox *in, tws_hub_reader *r, tws_str user_id)
{
    return tws__hub_attach(in, r, user_id, NULL, true);
}

/* Events between the newest one and the next were lost on their way here. The ring is emptied and
 * one index left out, so that a reader who had caught up is behind, too. */
static void tws__topic_break(tws__topic *t, tws__chores *c)
{
    tws__history *h = t->history;
    while (h != NULL && h->first < t->next) {
        tws__history_pop(h, c);
    }
    t->next++;
    if (h != NULL) {
        h->first = t->next;
    }
    t->hole = t->next;
}

/* What is kept would age: the next join brings it all. */
static void tws__topic_leave(tws__topic *t, tws__chores *c)
{
    const tws_hub_upstream *up = t->shard->hub->desc.upstream;
    up->leave(up->context, tws__user_id(&t->user));
    tws__topic_close_history(t, c);
    tws__topic_tidy(t, c);
}

static void tws__shard_append_idle(tws__shard *s, tws__idle *place)
{
    place->from = s->sweeps;
    place->next = NULL;
    *s->idle_end = place;
    s->idle_end = &place->next;
}

static tws__idle *tws__shard_take_idle(tws__shard *s)
{
    tws__idle *place = s->idle;
    s->idle = place->next;
    s->idle_end = s->idle == NULL ? &s->idle : s->idle_end;
    return place;
}

/* Its last reader has left. Where it stands in the list from before, it is looked at when that time
 * is over. Without memory there is no grace. */
static void tws__topic_idle(tws__topic *t, tws__chores *c)
{
    const tws_hub_desc *desc = &t->shard->hub->desc;
    if (t->idle) {
        return;
    }
    tws__idle *place = NULL;
    if (desc->grace_s > 0) {
        place = (tws__idle *)tws_alloc(desc->allocator, sizeof *place);
    }
    if (place == NULL) {
        tws__topic_leave(t, c);
        return;
    }
    t->idle = true;
    place->topic = t;
    tws__shard_append_idle(t->shard, place);
}

TWS_API void tws_hub_detach(tws_hub_reader *r)
{
    tws__chores c;
    tws_hub_group *g = r->group;
    if (g == NULL) {
        return;
    }
    *(r->prev == NULL ? &g->first : &r->prev->next) = r->next;
    if (r->next != NULL) {
        r->next->prev = r->prev;
    }
    if (g->inbox->at == r) {
        g->inbox->at = r->next;
    }
    r->group = NULL;
    tws__topic *t = g->topic;
    tws__shard *s = t->shard;
    tws__shard_enter(s, &c);
    t->readers--;
    t->visitors -= r->visits;
    s->stats.readers--;
    if (g->first == NULL) {
        tws__group_free(g);
    }
    if (s->hub->desc.upstream != NULL && t->readers == 0) {
        tws__topic_idle(t, &c);
    } else {
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
}

/* -- time passes: one topic for each taking of the lock, so that nobody waits long for it -- */

/* Drop all events of the shard's least recently published topic, if its last publish was not after
 * then_ms. */
static bool tws__shard_expire(tws__shard *s, uint64_t then_ms)
{
    tws__chores c;
    tws__shard_enter(s, &c);
    tws__history *h = s->oldest;
    bool old = h != NULL && h->published_ms <= then_ms;
    if (old) {
        tws__topic *t = h->topic;
        t->thin = 0;
        tws__topic_close_history(t, &c);
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
    return old;
}

/* Leave the topic that has been idle longest, if its grace is over and nobody came back. */
static bool tws__shard_leave_idle(tws__shard *s)
{
    tws__chores c;
    tws__shard_enter(s, &c);
    bool over = s->idle != NULL && s->sweeps - s->idle->from > s->hub->desc.grace_s;
    if (over) {
        tws__idle *place = tws__shard_take_idle(s);
        tws__topic *t = place->topic;
        if (t->readers == 0 && t->came_back) {
            tws__shard_append_idle(s, place);
        } else {
            tws_release(s->hub->desc.allocator, place, sizeof *place);
            t->idle = false;
        }
        t->came_back = false;
        if (t->readers == 0 && !t->idle) {
            tws__topic_leave(t, &c);
        }
    }
    tws__shard_leave(&c);
    return over;
}

TWS_API void tws_hub_sweep(tws_hub *hub, uint64_t now_ms)
{
    const uint64_t age_ms = (uint64_t)hub->desc.max_age_s * 1000;
    const bool ages = hub->desc.max_age_s != TWS_OFF && now_ms > age_ms;
    for (tws__shard *s = hub->shard; s < hub->shard + hub->desc.shards; s++) {
        TWS__LOCK(&s->lock);
        s->sweeps++;
        TWS__UNLOCK(&s->lock);
        while (tws__shard_leave_idle(s)) {
        }
        while (ages && tws__shard_expire(s, now_ms - age_ms - 1)) {
        }
    }
}

static void tws__reader_to_snapshot(tws_hub_reader *r, const tws__topic *t)
{
    r->position = t->gone; /* nothing is below */
    r->u.snapshot_until = t->next;
    r->state = TWS__READER_SNAPSHOT;
}

static TWS__APART void tws__reader_reset(tws_hub_reader *r, const tws__topic *t,
                                         tws_hub_batch *b, const char *reason)
{
    b->reset = reason;
    t->shard->stats.resets++;
    tws__reader_to_snapshot(r, t);
}

static bool tws__reader_is_found(const tws_hub_reader *r)
{
    return r->state == TWS__READER_SNAPSHOT || r->state == TWS__READER_STEPS;
}

/* Must a new reader wait? On another server it may have seen more than this one's upstream has fed
 * yet: upstream is asked, once, before its position is said to be gone; a visitor has asked. */
static bool tws__reader_waits(tws_hub_reader *r, tws__topic *t)
{
    if (r->state != TWS__READER_SINCE && r->state != TWS__READER_AHEAD) {
        return false;
    }
    const bool ahead = r->visits || tws_event_id_compare(r->u.since, t->last_id) > 0;
    if (ahead && r->state == TWS__READER_SINCE && t->shard->hub->desc.upstream != NULL) {
        tws__reader_ask(r, t);
    }
    const uint16_t to_come = (uint16_t)(r->position - t->loads);
    return ahead && r->state == TWS__READER_AHEAD && (to_come == 1 || to_come == 2);
}

/* Find a new reader's position. One that asks for all, by 0-0, is first given the last statuses
 * that the ring has left behind. */
static void tws__reader_start(tws_hub_reader *r, const tws__topic *t, tws_hub_batch *b)
{
    b->start = true;
    b->last_id = tws__topic_last_id(t);
    if (r->state == TWS__READER_NEW || r->visits) {
        tws__reader_to_snapshot(r, t);
        return;
    }
    bool all = tws__event_id_none(r->u.since);
    if (!all && (tws_event_id_compare(r->u.since, t->floor) < 0 ||
                 tws_event_id_compare(r->u.since, t->last_id) > 0)) {
        tws__reader_reset(r, t, b, "position_gone");
        return;
    }
    r->position = t->next;
    if (t->history != NULL) {
        r->position = all ? t->gone : tws__history_after(t->history, r->u.since);
    }
    r->u.snapshot_until = all ? tws__topic_first(t) : 0;
    r->state = TWS__READER_STEPS;
    b->resumed = true;
}

/* Where the ring has run past a reader, a snapshot begins. A reader within one stays in it: it is
 * given last statuses only, and misses no steps between them. */
static void tws__reader_catch_up(tws_hub_reader *r, const tws__topic *t, tws_hub_batch *b)
{
    bool in_snapshot = r->position < r->u.snapshot_until;
    uint64_t live = in_snapshot ? r->u.snapshot_until : r->position;
    if (in_snapshot && r->position < t->gone) { /* so is what it was still to be given */
        tws__reader_reset(r, t, b, "position_gone");
        return;
    }
    if (live >= tws__topic_first(t)) {
        return;
    }
    if (in_snapshot && r->state == TWS__READER_SNAPSHOT && live >= t->hole) {
        r->u.snapshot_until = t->next;
        return;
    }
    tws__reader_reset(r, t, b, live < t->hole ? "position_gone" : "slow_consumer");
}

static void tws__batch_add(tws_hub_batch *b, tws_event *e)
{
    TWS__REF(&e->refs);
    b->event[b->count++] = e;
}

static void tws__batch_fill(tws_hub_batch *b, const tws_hub_reader *r, const tws__topic *t)
{
    const tws__history *h = t->history;
    const uint64_t until = r->u.snapshot_until;
    const uint64_t end = t->next;
    tws_event *e = NULL;
    if (h != NULL && r->position < until) {
        e = tws__history_status_from(h, r->position);
    }
    b->next = r->position;
    for (; e != NULL && e->index < until && b->count < TWS_HUB_BATCH; e = e->newer) {
        tws__batch_add(b, e);
        b->next = e->index + 1;
    }
    b->more = e != NULL && e->index < until;
    if (b->more) {
        return;
    }
    b->next = b->next < until ? until : b->next;
    for (; b->next < end && b->count < TWS_HUB_BATCH; b->next++) {
        tws__batch_add(b, *tws__history_slot(h, b->next));
    }
    b->more = b->next < end;
}

/* Is a reader to be given what the total budget took, and upstream has? Not one that has caught up,
 * nor one that resumes from an id after which all is here, nor one who wants last statuses that are
 * here. */
static bool tws__reader_wants_past(const tws_hub_reader *r, const tws__topic *t)
{
    if (r->state == TWS__READER_NEW || (r->visits && !tws__reader_is_found(r))) {
        return t->thin == TWS__THIN_ALL;
    }
    switch (r->state) {
    case TWS__READER_SINCE:
    case TWS__READER_AHEAD:
        return tws_event_id_compare(r->u.since, t->floor) < 0 ||
               (t->thin == TWS__THIN_ALL && tws_event_id_compare(r->u.since, t->last_id) > 0);
    default:
        return t->thin == TWS__THIN_ALL &&
               (r->position < r->u.snapshot_until || r->position < tws__topic_first(t));
    }
}

/* What is read again takes room that others want back: where the past of all readers does not fit,
 * each begins with what there is when it has asked so often, or none ever would. */
#define TWS__HUB_ASKS 2

/* Behind an answer that is under way, or that would be taken for this one's. */
static void tws__topic_reload(tws__topic *t)
{
    const tws_hub_upstream *up = t->shard->hub->desc.upstream;
    t->thin = 0;
    t->loading = true;
    if (!t->asked) {
        up->reload(up->context, tws__user_id(&t->user));
    }
}

static void tws__reader_gather(tws_hub_reader *r, const tws__topic *t, tws_hub_batch *b)
{
    if (!tws__reader_is_found(r)) {
        tws__reader_start(r, t, b);
    }
    tws__reader_catch_up(r, t, b);
    tws__batch_fill(b, r, t);
    if (b->count == 0) {
        r->position = b->next; /* nothing was between */
        r->asks = 0;
    }
    b->group = r->group;
    b->news = r->group->news;
    b->snapshot_until = r->u.snapshot_until;
}

TWS_API void tws_hub_gather(tws_hub_reader *r, tws_hub_batch *b)
{
    tws__topic *t = r->group->topic;
    memset(b, 0, offsetof(tws_hub_batch, event));
    TWS__LOCK(&t->shard->lock);
    if (t->thin != 0 && !t->loading && r->asks < TWS__HUB_ASKS && tws__reader_wants_past(r, t)) {
        r->asks++;
        tws__topic_reload(t);
    }
    if (t->loading || tws__reader_waits(r, t)) {
        b->next = r->position;
    } else {
        tws__reader_gather(r, t, b);
    }
    b->from = r->position; /* where it stands now, if it was moved */
    TWS__UNLOCK(&t->shard->lock);
}

TWS_API bool tws_hub_same(const tws_hub_batch *b, const tws_hub_reader *r)
{
    bool live = b->snapshot_until <= b->from && r->u.snapshot_until <= r->position;
    /* An empty batch is no answer: its gather may have moved its reader. */
    return b->count > 0 && tws__reader_is_found(r) && b->group == r->group && !b->start &&
           b->reset == NULL && b->from == r->position &&
           (live || b->snapshot_until == r->u.snapshot_until) &&
           b->news == TWS__LOAD(&r->group->news);
}

TWS_API void tws_hub_advance(tws_hub_reader *r, const tws_hub_batch *b, size_t n)
{
    TWS_ASSERT(n <= b->count && r->position == b->from);
    if (n > 0) {
        r->position = n == b->count ? b->next : b->event[n - 1]->index + 1;
    }
}

TWS_API void tws_hub_batch_free(tws_hub_batch *b)
{
    for (size_t i = 0; i < b->count; i++) {
        tws_event_unref(b->event[i]);
    }
    memset(b, 0, offsetof(tws_hub_batch, event)); /* nor is it any reader's */
}

/* -- compressed frames -- */

static tws__packed *tws__packed_create(const tws_allocator *a, tws_event_format format,
                                       tws_str text)
{
    uint8_t header[TWS_WS_MAX_HEADER];
    size_t n = text.len == 0 ? 0 : tws_ws_header(header, true, TWS_WS_TEXT, text.len, NULL);
    tws__packed *p = (tws__packed *)tws_alloc(a, sizeof *p + n + text.len);
    if (p == NULL) {
        return NULL;
    }
    p->bytes = (uint32_t)(sizeof *p + n + text.len);
    p->len = (uint32_t)(n + text.len);
    p->format = format;
    if (n > 0) {
        header[0] |= TWS_WS_RSV1;
        memcpy(p + 1, header, n);
        memcpy((char *)(p + 1) + n, text.ptr, text.len);
    }
    return p;
}

/* Reading drops no event. A topic's events and frames are within what publishes fill. */
static bool tws__topic_keeps(const tws__topic *t, const tws__packed *p)
{
    const tws_hub *hub = t->shard->hub;
    const uint64_t most = tws__hub_event_bytes(&hub->desc) - hub->desc.max_bytes;
    return t->history->packed_bytes + p->bytes <= most &&
           TWS__LOAD(&hub->bytes) + p->bytes <= hub->desc.max_total_bytes;
}

TWS_API void tws_hub_keep_compressed(tws_hub_reader *r, tws_event *e, tws_event_format format,
                                     tws_str text)
{
    tws__chores c;
    tws_str frame;
    tws__topic *t = r->group->topic;
    tws_hub *hub = t->shard->hub;
    tws__packed *p = tws__packed_create(e->allocator, format, text);
    if (p == NULL) {
        return;
    }
    tws__shard_enter(t->shard, &c);
    if (tws_event_compressed(e, format, &frame)) {
        /* another thread was faster */
    } else if (e->held && !tws__topic_keeps(t, p)) {
        TWS__STORE(&e->plain, (uint8_t)1);
    } else {
        if (e->held) {
            t->history->packed_bytes += p->bytes;
            c.bytes += p->bytes;
        }
        p->next = e->packed;
        TWS__STORE(&e->packed, p);
        p = NULL;
    }
    tws__shard_leave(&c);
    if (p != NULL) {
        tws_release(e->allocator, p, p->bytes);
    }
    tws__hub_make_room(hub, 0); /* two may have taken the same room */
}

/* -- upstream -- */

TWS_API void tws_hub_joined(tws_hub *hub, tws_str user_id, uint32_t number)
{
    tws__chores c;
    tws__topic *t = tws__hub_enter(hub, user_id, &c);
    if (t != NULL && t->joining == number) {
        t->joining = 0;
    }
    tws__shard_leave(&c);
}

/* A topic that is loaded is joined once more, too: one of its readers may be ahead. */
static void tws__topic_rejoin(tws__topic *t)
{
    const tws_hub_upstream *up = t->shard->hub->desc.upstream;
    if (t->joining != 0) {
        up->join(up->context, tws__user_id(&t->user), t->joining);
    } else if (t->loading && !t->asked) {
        up->reload(up->context, tws__user_id(&t->user));
    } else {
        tws__topic_ask(t);
    }
}

TWS_API void tws_hub_rejoin(tws_hub *hub)
{
    for (size_t i = 0; hub->desc.upstream != NULL && i < hub->desc.shards; i++) {
        tws__shard *s = &hub->shard[i];
        TWS__LOCK(&s->lock);
        tws__user *u = tws__users_next(&s->topics, NULL);
        for (; u != NULL; u = tws__users_next(&s->topics, u)) {
            tws__topic_rejoin((tws__topic *)(void *)u);
        }
        TWS__UNLOCK(&s->lock);
    }
}

/* What is loaded answers what was asked, so what came up meanwhile may be asked for now. */
static void tws__topic_answered(tws__topic *t)
{
    const bool reload = t->asked && t->loading;
    const bool again = t->ask_again && t->readers > 0;
    t->loads++;
    t->loading = false;
    t->asked = false;
    t->ask_again = false;
    if (reload) {
        tws__topic_reload(t); /* that is all there is, what is new included */
    } else if (again) {
        tws__topic_ask(t);
    }
}

TWS_API void tws_hub_loaded(tws_hub *hub, tws_str user_id, tws_event_id complete_from)
{
    tws__chores c;
    tws__topic *t = tws__hub_enter(hub, user_id, &c);
    if (t != NULL && t->joining == 0) {
        if (!t->loading && tws_event_id_compare(complete_from, t->last_id) > 0) {
            tws__topic_break(t, &c);
        }
        t->floor = tws__event_id_max(t->floor, complete_from);
        t->last_id = tws__event_id_max(t->last_id, complete_from);
        tws__topic_answered(t);
        tws__topic_mark(t, &c);
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
}

TWS_API void tws_hub_forget(tws_hub *hub, tws_str user_id, tws_event_id complete_from)
{
    tws__chores c;
    tws__topic *t = tws__hub_enter(hub, user_id, &c);
    if (t != NULL && t->joining == 0) {
        tws__topic_close_history(t, &c);
        tws__topic_break(t, &c);
        t->gone = t->next;
        t->floor = complete_from; /* nor do its ids promise anything now */
        t->last_id = complete_from;
        t->has_ids = !tws__event_id_none(complete_from);
        t->thin = 0;
        tws__topic_mark(t, &c);
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
}

/* -- asking -- */

static bool tws__history_expired(const tws__history *h, const tws_hub_desc *desc, uint64_t now_ms)
{
    return desc->max_age_s != TWS_OFF && now_ms > h->published_ms &&
           now_ms - h->published_ms > (uint64_t)desc->max_age_s * 1000;
}

static tws_status tws__history_snapshot(const tws__history *h, const tws_allocator *a,
                                        tws_event ***events, size_t *count)
{
    tws_event **list = (tws_event **)tws_alloc(a, h->tasks * sizeof *list);
    if (list == NULL) {
        return TWS_ERR_MEMORY;
    }
    *events = list;
    *count = h->tasks;
    for (tws_event *e = h->oldest; e != NULL; e = e->newer) {
        TWS__REF(&e->refs);
        *list++ = e;
    }
    return TWS_OK;
}

TWS_API tws_status tws_hub_snapshot(tws_hub *hub, tws_str user_id, uint64_t now_ms,
                                    tws_event ***events, size_t *count, tws_event_id *last_id)
{
    tws__chores c;
    tws_status status = TWS_OK;
    *events = NULL;
    *count = 0;
    *last_id = tws__event_id(0, 0);
    if (!tws__user_id_fits(user_id)) {
        return TWS_ERR_ARGUMENT;
    }
    const tws__topic *t = tws__hub_enter(hub, user_id, &c);
    const tws__history *h = t == NULL ? NULL : t->history;
    if (hub->desc.upstream != NULL &&
        (t == NULL || t->loading || t->thin == TWS__THIN_ALL)) {
        status = TWS_ERR_UNAVAILABLE;
    } else if (h != NULL && h->tasks > 0 && !tws__history_expired(h, &hub->desc, now_ms)) {
        status = tws__history_snapshot(h, hub->desc.allocator, events, count);
    }
    if (t != NULL && status == TWS_OK) {
        *last_id = tws__topic_last_id(t);
    }
    tws__shard_leave(&c);
    return status;
}

TWS_API void tws_hub_snapshot_free(tws_hub *hub, tws_event **events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tws_event_unref(events[i]);
    }
    tws_release(hub->desc.allocator, events, count * sizeof *events);
}

TWS_API uint32_t tws_hub_readers(tws_hub *hub, tws_str user_id)
{
    tws__chores c;
    const tws__topic *t = tws__hub_enter(hub, user_id, &c);
    uint32_t readers = t == NULL ? 0 : t->readers;
    tws__shard_leave(&c);
    return readers;
}

TWS_API bool tws_hub_is_joined(tws_hub *hub, tws_str user_id)
{
    tws__chores c;
    const tws__topic *t = tws__hub_enter(hub, user_id, &c);
    bool joined = t != NULL && hub->desc.upstream != NULL;
    tws__shard_leave(&c);
    return joined;
}

TWS_API void tws_hub_stat(tws_hub *hub, tws_hub_stats *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < hub->desc.shards; i++) {
        tws__shard *s = &hub->shard[i];
        TWS__LOCK(&s->lock);
        out->topics += s->topics.count;
        out->readers += s->stats.readers;
        out->published += s->stats.published;
        out->repeats += s->stats.repeats;
        out->evicted += s->stats.evicted;
        out->resets += s->stats.resets;
        TWS__UNLOCK(&s->lock);
    }
    out->events = out->published - out->evicted;
    out->bytes = TWS__LOAD(&hub->bytes);
    out->refused = TWS__LOAD(&hub->refused);
}

/* -- the hub itself -- */

#define TWS__HUB_BUCKETS 8           /* of topics, in each shard at first */
#define TWS__HUB_MAX_EVENTS (1u << 24) /* so that a ring's size is no worry */

static void tws__hub_configure(tws_hub *hub, const tws_hub_desc *desc, uint32_t shards)
{
    tws_hub_desc *d = &hub->desc;
    *d = *desc;
    d->shards = shards;
    d->max_events = tws__default(d->max_events, 256);
    d->max_events = d->max_events < TWS__HUB_MAX_EVENTS ? d->max_events : TWS__HUB_MAX_EVENTS;
    d->max_bytes = tws__default(d->max_bytes, 256 * 1024);
    d->max_age_s = tws__default(d->max_age_s, 3600);
    d->max_total_bytes = d->max_total_bytes == 0 ? 64 * 1024 * 1024 : d->max_total_bytes;
    d->max_event_bytes = tws__default(d->max_event_bytes, 64 * 1024);
    d->max_readers = tws__default(d->max_readers, 64);
    d->grace_s = d->grace_s == TWS_OFF ? 0 : tws__default(d->grace_s, 10);
    if (d->max_bytes > tws__hub_event_bytes(d)) {
        d->max_bytes = (uint32_t)tws__hub_event_bytes(d);
    }
    if (d->upstream != NULL) {
        hub->upstream = *d->upstream;
        d->upstream = &hub->upstream;
    }
    memcpy(hub->hash_key, d->hash_key, sizeof hub->hash_key);
}

/* Ids that an earlier run of this program gave out end with this millisecond at the latest. */
static bool tws__shard_init(tws__shard *s, tws_hub *hub)
{
    s->hub = hub;
    s->idle_end = &s->idle;
    s->turn = UINT64_MAX;
    s->floor = tws__event_id(hub->desc.now_ms, UINT64_MAX);
    TWS__MUTEX_INIT(&s->lock);
    return tws__users_init(&s->topics, hub->desc.allocator, TWS__HUB_BUCKETS);
}

TWS_API tws_status tws_hub_create(tws_hub **hub, const tws_hub_desc *desc)
{
    const uint32_t wanted = tws__default(desc->shards, 16);
    uint32_t shards = 1;
    while (shards < wanted && shards < 4096) {
        shards *= 2;
    }
    tws_str key = tws_str_c(desc->task_key == NULL ? "task_id" : desc->task_key);
    size_t memory = sizeof **hub + shards * sizeof(tws__shard) + key.len;
    tws_hub *h = (tws_hub *)tws_alloc(desc->allocator, memory);
    *hub = NULL;
    if (h == NULL) {
        return TWS_ERR_MEMORY;
    }
    tws__hub_configure(h, desc, shards);
    h->memory = memory;
    h->shard = (tws__shard *)(h + 1);
    char *key_copy = (char *)(h->shard + shards);
    memcpy(key_copy, key.ptr, key.len);
    h->task_key = tws_str_of(key_copy, key.len);
    bool whole = true;
    for (uint32_t i = 0; i < shards; i++) {
        whole = tws__shard_init(&h->shard[i], h) && whole;
    }
    if (!whole) {
        tws_hub_free(h);
        return TWS_ERR_MEMORY;
    }
    *hub = h;
    return TWS_OK;
}

static void tws__shard_free(tws__shard *s)
{
    tws__chores c;
    tws__shard_enter(s, &c);
    while (s->idle != NULL) {
        tws__idle *place = tws__shard_take_idle(s);
        place->topic->idle = false;
        tws_release(s->hub->desc.allocator, place, sizeof *place);
    }
    for (tws__user *next, *u = tws__users_next(&s->topics, NULL); u != NULL; u = next) {
        tws__topic *t = (tws__topic *)(void *)u;
        next = tws__users_next(&s->topics, u);
        TWS_ASSERT(t->readers == 0);
        tws__topic_close_history(t, &c);
        tws__topic_tidy(t, &c);
    }
    tws__shard_leave(&c);
    tws__users_free(&s->topics);
    TWS__MUTEX_FREE(&s->lock);
}

TWS_API void tws_hub_free(tws_hub *hub)
{
    if (hub == NULL) {
        return;
    }
    for (size_t i = 0; i < hub->desc.shards; i++) {
        tws__shard_free(&hub->shard[i]);
    }
    tws_release(hub->desc.allocator, hub, hub->memory);
}

#ifndef TASKWS_NO_REDIS
/* == 17. redis: a session with one Redis: subscribe, load, publish, probe =================
 * What is published reaches a reader once and in order although it comes by two roads: pushed on
 * the subscriber's connection, and read from the stream on the other. For each user:
 *
 *     subscribe ---> confirmed ---> read the stream ---> answered ---> live
 *                    (what is pushed from here on is noted, not given)
 *
 * The read begins after the subscription, so what it does not hold is pushed later, or was pushed
 * while it was under way: then it is read again from the last id on, until nothing newer was noted.
 * So nothing is queued for a user, and it does not matter how the two connections overtake one
 * another. After an outage the read begins at the last id given, inclusive: is that event still
 * there, then nothing between it and the next was trimmed, and it is the same Redis still. */

/* -- address -- */

#define TWS__REDIS_PORT 6379

/* An address as it is read. The first rule that it breaks sticks. */
typedef struct tws__redis_address {
    tws_redis_url *url; /* zeroed: what is copied in ends with a NUL */
    const char *why;
    tws_status status;
} tws__redis_address;

static void tws__redis_url_want(tws__redis_address *a, bool good, tws_status status,
                                const char *rule)
{
    if (!good && a->status == TWS_OK) {
        a->status = status;
        a->why = rule;
    }
}

static void tws__redis_url_decode(tws__redis_address *a, tws_str text, char *out, size_t bytes)
{
    size_t n = 0;
    tws_status status = tws_http_decode(text, false, out, bytes - 1, &n);
    tws__redis_url_want(a, status != TWS_ERR_LIMIT, status, "a part of the URL is too long");
    tws__redis_url_want(a, status == TWS_OK, status, "a percent sign in the URL begins no escape");
}

static void tws__redis_url_copy(tws__redis_address *a, tws_str text, char *out, size_t bytes)
{
    const bool fits = text.len > 0 && text.len < bytes;
    tws__redis_url_want(a, fits, text.len == 0 ? TWS_ERR_SYNTAX : TWS_ERR_LIMIT,
                        "the URL's host or path is empty or too long");
    if (fits) {
        memcpy(out, text.ptr, text.len);
    }
}

/* Take user:password@ off the front. The last @ before a slash ends it: one that is not encoded in
 * a password does no harm. */
static void tws__redis_url_login(tws__redis_address *a, tws_str *rest)
{
    size_t end = tws_str_find(*rest, '/');
    while (end > 0 && rest->ptr[end - 1] != '@') {
        end--;
    }
    if (end == 0) {
        return;
    }
    tws_str login = tws_str_of(rest->ptr, end - 1);
    tws_str user = tws_str_of(login.ptr, tws_str_find(login, ':'));
    tws__redis_url_want(a, user.len < login.len, TWS_ERR_SYNTAX,
                        "the URL has a user without a password");
    tws__redis_url_decode(a, user, a->url->user, sizeof a->url->user);
    tws__redis_url_decode(a, tws_str_from(login, user.len + 1), a->url->password,
                          sizeof a->url->password);
    *rest = tws_str_from(*rest, end);
}

static void tws__redis_url_db(tws__redis_address *a, tws_str digits)
{
    uint64_t db = 0;
    bool good = digits.len == 0 || (tws_str_u64(digits, &db) && db <= INT32_MAX);
    tws__redis_url_want(a, good, TWS_ERR_SYNTAX, "the URL's database is no number");
    a->url->db = (uint32_t)db;
}

/* host, host:port, [address]:port */
static void tws__redis_url_host(tws__redis_address *a, tws_str s)
{
    bool bracket = tws_str_starts(s, "[");
    size_t from = bracket ? 1u : 0u;
    size_t end = tws_str_find(s, bracket ? ']' : ':');
    tws_str host = tws_str_of(s.ptr + from, end - from);
    tws_str port = tws_str_from(s, end + from);
    uint64_t number = TWS__REDIS_PORT;
    bool good = port.len == 0 || (port.ptr[0] == ':' &&
                                  tws_str_u64(tws_str_from(port, 1), &number) && number > 0 &&
                                  number <= UINT16_MAX);
    tws__redis_url_want(a, !bracket || end < s.len, TWS_ERR_SYNTAX,
                        "a bracket in the URL is not closed");
    tws__redis_url_want(a, good, TWS_ERR_SYNTAX, "the URL's port is no number");
    tws__redis_url_want(a, tws_str_find(host, '?') == host.len, TWS_ERR_SYNTAX,
                        "the URL's database stands behind a slash: redis://host/1");
    a->url->port = (uint16_t)number;
    tws__redis_url_copy(a, host.len == 0 ? tws_str_c("127.0.0.1") : host, a->url->host,
                        sizeof a->url->host);
}

/* path, path?db=N */
static void tws__redis_url_path(tws__redis_address *a, tws_str s)
{
    tws_str path = tws_str_of(s.ptr, tws_str_find(s, '?'));
    tws_str option = tws_str_from(s, path.len + 1);
    tws__redis_url_want(a, option.len == 0 || tws_str_starts(option, "db="), TWS_ERR_SYNTAX,
                        "the only option of the URL is db");
    tws__redis_url_db(a, tws_str_from(option, strlen("db=")));
    tws__redis_url_copy(a, path, a->url->path, sizeof a->url->path);
}

TWS_API tws_status tws_redis_url_parse(tws_str text, tws_redis_url *url, const char **why)
{
    tws__redis_address a = {url, NULL, TWS_OK};
    bool local = tws_str_starts(text, "unix://");
    memset(url, 0, sizeof *url);
    url->tls = tws_str_starts(text, "rediss://");
    for (size_t i = 0; i < text.len; i++) {
        tws__redis_url_want(&a, (uint8_t)text.ptr[i] > ' ' && text.ptr[i] != 0x7f, TWS_ERR_SYNTAX,
                            "a blank or control byte in the URL");
    }
    tws__redis_url_want(&a, local || url->tls || tws_str_starts(text, "redis://"), TWS_ERR_SYNTAX,
                        "the URL does not begin with redis:// or unix://");
    if (a.status == TWS_OK) {
        tws_str rest = tws_str_from(text, tws_str_find(text, '/') + 2);
        tws__redis_url_login(&a, &rest);
        if (local) {
            tws__redis_url_path(&a, rest);
        } else {
            size_t slash = tws_str_find(rest, '/');
            tws__redis_url_host(&a, tws_str_of(rest.ptr, slash));
            tws__redis_url_db(&a, tws_str_from(rest, slash + 1));
        }
        tws__redis_url_want(&a, !url->tls, TWS_ERR_UNAVAILABLE,
                            "rediss:// needs TLS, which is not in this build");
    }
    *why = a.why;
    return a.status;
}

/* -- script -- */

/* The key of an idempotency key has the stream's name for its hash tag, so that in a cluster both
 * are in one slot; and its length at the end, so that no two make the same name. */
TWS_API const char *tws_redis_script(void)
{
    return "local function whole(text, default)\n"
           "  if not text or text == '' then return default end\n"
           "  local n = tonumber(text)\n"
           "  if n and n >= 1 and n <= 1e15 and n % 1 == 0 then return n end\n"
           "end\n"
           "local max_events = whole(ARGV[2], 1000)\n"
           "local ttl_ms = whole(ARGV[3], 86400000)\n"
           "if not max_events or not ttl_ms then\n"
           "  return redis.error_reply('ERR max_events and ttl_ms are whole numbers from 1 on')\n"
           "end\n"
           "local once = ARGV[4] and ARGV[4] ~= ''\n"
           "  and '{' .. KEYS[1] .. '}:once:' .. ARGV[4] .. ':' .. #KEYS[1]\n"
           "if once then\n"
           "  local id = redis.call('GET', once)\n"
           "  if id then return id end\n"
           "end\n"
           "local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', max_events, '*', 'd', ARGV[1])\n"
           "redis.call('PEXPIRE', KEYS[1], ttl_ms)\n"
           "redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[1])\n"
           "if once then redis.call('SET', once, id, 'PX', ttl_ms) end\n"
           "return id\n";
}

/* -- states, and what Redis's error words mean -- */

TWS_API const char *tws_redis_state_word(tws_redis_state state)
{
    switch (state) {
    case TWS_REDIS_IS_CONNECTING: return "connecting";
    case TWS_REDIS_IS_READY: return "ready";
    case TWS_REDIS_IS_UNREACHABLE: return "unreachable";
    case TWS_REDIS_IS_SILENT: return "silent";
    case TWS_REDIS_IS_DEAF: return "deaf";
    case TWS_REDIS_IS_NO_REDIS: return "no_redis";
    case TWS_REDIS_IS_LOADING: return "loading";
    case TWS_REDIS_IS_READONLY: return "readonly";
    case TWS_REDIS_IS_MOVED: return "moved";
    case TWS_REDIS_IS_NOAUTH: return "noauth";
    case TWS_REDIS_IS_WRONGPASS: return "wrongpass";
    case TWS_REDIS_IS_OOM: return "oom";
    case TWS_REDIS_IS_REFUSED: return "refused";
    }
    return "unknown";
}

TWS_API bool tws_redis_state_delivers(tws_redis_state state)
{
    return state == TWS_REDIS_IS_READY || state == TWS_REDIS_IS_READONLY ||
           state == TWS_REDIS_IS_OOM;
}

/* What an error says something about. */
typedef enum tws__redis_scope {
    TWS__REDIS_COMMAND, /* this command */
    TWS__REDIS_STORING, /* every command that stores */
    TWS__REDIS_SERVER   /* every command: make a new connection, perhaps to another server */
} tws__redis_scope;

typedef struct tws__redis_error {
    const char *word;
    tws_redis_state state;
    tws__redis_scope scope;
} tws__redis_error;

static const tws__redis_error tws__redis_errors[] = {
    {"LOADING", TWS_REDIS_IS_LOADING, TWS__REDIS_SERVER},
    {"READONLY", TWS_REDIS_IS_READONLY, TWS__REDIS_SERVER},
    {"MOVED", TWS_REDIS_IS_MOVED, TWS__REDIS_SERVER},
    {"ASK", TWS_REDIS_IS_MOVED, TWS__REDIS_SERVER},
    {"CLUSTERDOWN", TWS_REDIS_IS_MOVED, TWS__REDIS_SERVER},
    {"NOAUTH", TWS_REDIS_IS_NOAUTH, TWS__REDIS_SERVER},
    {"WRONGPASS", TWS_REDIS_IS_WRONGPASS, TWS__REDIS_SERVER},
    {"MASTERDOWN", TWS_REDIS_IS_REFUSED, TWS__REDIS_SERVER},
    {"BUSY", TWS_REDIS_IS_REFUSED, TWS__REDIS_SERVER},
    {"DENIED", TWS_REDIS_IS_REFUSED, TWS__REDIS_SERVER},
    {"OOM", TWS_REDIS_IS_OOM, TWS__REDIS_STORING},
    {"MISCONF", TWS_REDIS_IS_READONLY, TWS__REDIS_STORING},
    {"NOREPLICAS", TWS_REDIS_IS_READONLY, TWS__REDIS_STORING},
    {NULL, TWS_REDIS_IS_REFUSED, TWS__REDIS_COMMAND},
};

/* Before Redis 7 a script's error stands inside another: "ERR Error running script (call to f_...):
 * @user_script:3: -OOM command not allowed ...". */
static tws_str tws__redis_inner_error(tws_str text)
{
    for (size_t i = 0; tws_str_starts(text, "ERR Error running") && i < text.len; i++) {
        tws_str rest = tws_str_from(text, i);
        if (tws_str_starts(rest, ": -")) {
            return tws_str_from(rest, strlen(": -"));
        }
    }
    return text;
}

static const tws__redis_error *tws__redis_classify(tws_str text)
{
    tws_str inner = tws__redis_inner_error(text);
    tws_str word = tws_str_of(inner.ptr, tws_str_find(inner, ' '));
    const tws__redis_error *e = tws__redis_errors;
    while (e->word != NULL && !tws_str_eq_c(word, e->word)) {
        e++;
    }
    return e;
}

/* -- session -- */

#define TWS__REDIS_PREFIX "task_status:"
#define TWS__REDIS_CHANNEL (sizeof TWS__REDIS_PREFIX - 1 + TWS_MAX_USER_ID)
#define TWS__REDIS_BUCKETS 64u    /* of users, at first */
#define TWS__REDIS_PAGE 256u      /* events of one read, after the first of a user */
#define TWS__REDIS_LOADS 128u     /* reads under way at a time */
#define TWS__REDIS_BATCH 256u     /* channels in one SUBSCRIBE */
#define TWS__REDIS_CONFIRMS 2048u /* subscriptions under way at a time */
#define TWS__REDIS_READ 65536u    /* bytes that one read of a socket may bring, at least */
#define TWS__REDIS_MOST (64u << 20) /* bytes of an event, or a past: room for it is taken at once */
#define TWS__REDIS_REASON 160
#define TWS__REDIS_UNKNOWN ": stored or not is not known" /* behind one */

typedef struct tws__redis_node {
    struct tws__redis_node *prev;
    struct tws__redis_node *next;
} tws__redis_node;

/* What is under way for a user. What is TO be done is, once it is sent, in the state behind it. */
enum {
    TWS__REDIS_OUT, /* nothing: freed once nobody wants it and no read is under way */
    TWS__REDIS_TO_SUBSCRIBE,
    TWS__REDIS_SUBSCRIBING,
    TWS__REDIS_TO_LOAD,
    TWS__REDIS_LOADING,
    TWS__REDIS_LIVE, /* pushed events are given */
    TWS__REDIS_TO_LEAVE,
    TWS__REDIS_LEAVING,
    TWS__REDIS_STATES
};

/* user.flags */
#define TWS__REDIS_WANTED 1u
#define TWS__REDIS_FRESH 2u  /* the past has not been given: begin with the newest events */
#define TWS__REDIS_BROKEN 4u /* what was given does not lead on: LOST, then all there is */
#define TWS__REDIS_MISSED 8u /* events were pushed while a read was under way */
#define TWS__REDIS_FELL 16u  /* and their ids did not rise */
#define TWS__REDIS_ASKED 32u /* is there more than was given? to be read, */
#define TWS__REDIS_DUE 64u   /* and when it is live again, to be told */
#define TWS__REDIS_AGAIN_ONLY 128u /* why it is broken: the past is wanted again */

typedef struct tws__redis_user {
    tws__user user;       /* first: the session's table hands it back */
    tws__redis_node work; /* in the list of its state */
    tws_event_id last;    /* newest that was given, or passed over; 0-0: none */
    tws_event_id heard;   /* newest that was pushed since the subscription began */
    uint32_t turn;        /* of its latest read: the answer to an earlier one is not looked at */
    uint8_t reads;        /* that are under way, TWS__REDIS_LOADS at most, and one being given */
    uint8_t state;
    uint8_t flags;
} tws__redis_user;

typedef struct tws__redis_publish {
    struct tws__redis_publish *next;
    uint64_t ticket;
    uint32_t json_len;
    uint8_t user_len;
    uint8_t key_len; /* user id, JSON and key follow */
    uint8_t kind;    /* the maker's, until the session has it */
    bool lost;       /* it was sent, and its answer will not come */
} tws__redis_publish;

typedef struct tws__redis_queue {
    tws__redis_publish *first;
    tws__redis_publish *last;
} tws__redis_queue;

/* What the next answer on the commands' connection is to. */
typedef enum tws__redis_kind {
    TWS__REDIS_TIME,
    TWS__REDIS_ROLE,  /* is it a replica now? */
    TWS__REDIS_PROBE,
    TWS__REDIS_TRY,   /* can anything be stored again? */
    TWS__REDIS_FIRST, /* a user's newest events, newest first */
    TWS__REDIS_MORE,  /* from the last one on */
    TWS__REDIS_AGAIN, /* from the stream's begin on */
    TWS__REDIS_STORE
} tws__redis_kind;

typedef struct tws__redis_call {
    tws__redis_kind kind;
    uint32_t turn; /* of a read */
    void *what; /* user or publish */
} tws__redis_call;

/* The answer to a read, as far as it has come. */
typedef struct tws__redis_answer {
    uint64_t index; /* of this entry */
    tws_event_id id;
    tws_event_id newest; /* FIRST */
    tws_event_id oldest; /* FIRST: of those that fit */
    bool skip;      /* it is too late, or does not lead on */
    bool told;      /* AGAIN: LOST was */
    bool full;      /* FIRST: older ones do not fit */
    bool has_id;
    bool is_name;   /* the next string is a field's name */
    bool is_data;   /* the next string is the event */
    bool has_data;
} tws__redis_answer;

/* A push, as far as it has come. */
typedef struct tws__redis_push {
    uint32_t part;
    char kind; /* 'm'essage, 's'ubscribe, 'u'nsubscribe */
    bool probe;
    tws__redis_user *user;
} tws__redis_push;

enum {
    TWS__REDIS_DOWN, /* until at_ms */
    TWS__REDIS_DIAL, /* from here on: answers are due at at_ms */
    TWS__REDIS_HELLO,
    TWS__REDIS_AUTH,
    TWS__REDIS_SELECT,
    TWS__REDIS_LOOK,   /* may it read streams, and has it loaded them? */
    TWS__REDIS_LISTEN, /* to the probe */
    TWS__REDIS_UP
};

typedef struct tws__redis_end {
    char *in;
    size_t in_pos;
    size_t in_len;
    size_t out_pos;
    tws_buf out;
    size_t command; /* where the last one in it begins */
    uint64_t at_ms;
    uint64_t heard_ms; /* bytes came */
    uint64_t up_ms;
    uint32_t number;
    uint32_t attempts;
    uint32_t waiting; /* answers to come */
    uint8_t step;
    bool is_role;     /* HELLO: the next string is the server's role */
    bool replica;     /* it was one when this connection began, or all was read again since */
    bool in_push;
    bool starved;     /* a command was not made for want of memory */
    tws_redis_state state; /* why it was down last */
    tws_resp_decoder decoder;
    char why[TWS__REDIS_REASON];
} tws__redis_end;

/* What is used most comes first, and what is large at the end: so most of it is near. */
struct tws_redis {
    uint64_t now_ms;
    uint64_t beat_ms;  /* next TIME and probe */
    uint64_t beaten_ms; /* last TIME sent */
    uint64_t redis_ms; /* Redis's own clock, as of the last TIME; 0: not known */
    uint64_t again_ms; /* before that nothing is read again for what could not be taken */
    uint64_t refused_ms; /* when that was, last */
    uint32_t refused;  /* and how often, a little apart */
    uint64_t probe;    /* number of the last one */
    bool probe_out;    /* it has not come back */
    bool probe_sent;   /* and its PUBLISH was answered */
    bool probe_back;   /* one has, and was answered, since a connection failed */
    bool tells_role;   /* its HELLO does */
    bool replica;
    bool no_script;    /* Redis may not have it: the next publish brings it */
    bool time_out;     /* TIME was not answered yet */
    bool doubt;        /* an event was refused: is every other, too? */
    tws_redis_state told; /* the state that was */
    tws_redis_state storing; /* READY, or why no event can be stored */
    /* calls: a ring */
    tws__redis_call *call;
    size_t call_max;
    size_t call_first;
    size_t calls;
    size_t loads;
    size_t storing_calls;
    /* A user's past, given oldest first: JSON, id, length; behind one another, newest first. */
    tws__redis_user *past_user;
    size_t past_len;
    tws__redis_answer answer; /* to the first of the calls */
    tws__redis_push push;
    size_t past_max;
    char *past;
    tws_event_id past_from;
    tws_event_id past_newest;
    uint64_t probe_ms; /* its PUBLISH was answered */
    uint64_t random;
    uint64_t hash_key[2];
    size_t memory; /* of this allocation: session, calls, input, past, text */
    tws__users users;
    tws__redis_node in_state[TWS__REDIS_STATES]; /* by it, but for those to tell */
    tws__redis_node to_tell; /* live, and DUE */
    /* publishes: accepted, sent are in calls, answered NOSCRIPT, failed and not told */
    tws__redis_queue accepted;
    tws__redis_queue again;
    tws__redis_queue failed;
    size_t publish_bytes;
    tws_redis_stats stats;
    tws_buf text; /* what was no JSON, as a JSON string */
    tws__redis_end end[TWS_REDIS_LINKS];
    tws_redis_desc desc; /* with the defaults filled in */
    char storing_why[TWS__REDIS_REASON];
    char told_why[TWS__REDIS_REASON];
    char told_user[TWS_MAX_USER_ID]; /* of the last FAILED */
    char said[TWS__REDIS_REASON + sizeof TWS__REDIS_UNKNOWN];
    char sha[41];
    char probe_channel[sizeof TWS__REDIS_PREFIX + sizeof "probe:" + 16];
    tws_redis_url url;
};

/* -- sizes -- */

/* The longest string that is looked at: an id, a blank and an event. */
static uint32_t tws__redis_whole(const tws_redis_desc *d)
{
    return d->max_event_bytes + TWS_EVENT_ID_MAX + 1;
}

static size_t tws__redis_in_bytes(const tws_redis_desc *d)
{
    return (size_t)tws__redis_whole(d) + TWS__REDIS_READ;
}

/* -- lists -- */

static void tws__redis_list(tws__redis_node *n)
{
    n->prev = n;
    n->next = n;
}

static bool tws__redis_linked(const tws__redis_node *n)
{
    return n->next != n;
}

static void tws__redis_unlink(tws__redis_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    tws__redis_list(n);
}

static TWS__APART void tws__redis_append(tws__redis_node *list, tws__redis_node *n)
{
    n->prev = list->prev;
    n->next = list;
    list->prev->next = n;
    list->prev = n;
}

static TWS__APART void tws__redis_put(tws__redis_queue *q, tws__redis_publish *p)
{
    p->next = NULL;
    *(q->first == NULL ? &q->first : &q->last->next) = p;
    q->last = p;
}

static tws__redis_publish *tws__redis_get(tws__redis_queue *q)
{
    tws__redis_publish *p = q->first;
    if (p != NULL) {
        q->first = p->next;
    }
    return p;
}

/* Append all of `from`. */
static void tws__redis_move(tws__redis_queue *to, tws__redis_queue *from)
{
    if (from->first == NULL) {
        return;
    }
    *(to->first == NULL ? &to->first : &to->last->next) = from->first;
    to->last = from->last;
    from->first = NULL;
}

/* -- publishes -- */

static size_t tws__redis_publish_bytes(const tws__redis_publish *p)
{
    return sizeof *p + p->user_len + p->json_len + p->key_len;
}

static tws_str tws__redis_publish_user(const tws__redis_publish *p)
{
    return tws_str_of((const char *)(p + 1), p->user_len);
}

static tws_str tws__redis_publish_json(const tws__redis_publish *p)
{
    return tws_str_of((const char *)(p + 1) + p->user_len, p->json_len);
}

static tws_str tws__redis_publish_key(const tws__redis_publish *p)
{
    return tws_str_of((const char *)(p + 1) + p->user_len + p->json_len, p->key_len);
}

/* On any thread. NULL without memory. */
static tws__redis_publish *tws__redis_publish_create(const tws_allocator *a, tws_str user_id,
                                                     tws_str json, tws_str key, uint64_t ticket)
{
    size_t bytes = sizeof(tws__redis_publish) + user_id.len + json.len + key.len;
    tws__redis_publish *p = (tws__redis_publish *)tws_alloc(a, bytes);
    if (p == NULL) {
        return NULL;
    }
    p->ticket = ticket;
    p->user_len = (uint8_t)user_id.len;
    p->json_len = (uint32_t)json.len;
    p->key_len = (uint8_t)key.len;
    char *text = tws__str_copy((char *)(p + 1), user_id);
    (void)tws__str_copy(tws__str_copy(text, json), key);
    return p;
}

/* -- users -- */

static tws__redis_user *tws__redis_user_of(const tws__redis_node *work)
{
    return (tws__redis_user *)((uintptr_t)work - offsetof(tws__redis_user, work));
}

static tws__redis_user *tws__redis_find(const tws_redis *r, tws_str user_id)
{
    const uint32_t hash = (uint32_t)tws__hash(r->hash_key, user_id);
    return (tws__redis_user *)(void *)tws__users_find(&r->users, hash, user_id);
}

/* The one behind u, as tws__users_next. */
static tws__redis_user *tws__redis_next_user(const tws_redis *r, const tws__redis_user *u)
{
    return (tws__redis_user *)(void *)tws__users_next(&r->users, u == NULL ? NULL : &u->user);
}

static tws__redis_user *tws__redis_add(tws_redis *r, tws_str user_id)
{
    const uint32_t hash = (uint32_t)tws__hash(r->hash_key, user_id);
    tws__redis_user *u =
        (tws__redis_user *)(void *)tws__users_add(&r->users, hash, user_id, sizeof *u);
    if (u != NULL) {
        tws__redis_list(&u->work);
    }
    return u;
}

static void tws__redis_enter(tws_redis *r, tws__redis_user *u, uint8_t state)
{
    r->stats.live -= u->state == TWS__REDIS_LIVE ? 1u : 0u;
    r->stats.live += state == TWS__REDIS_LIVE ? 1u : 0u;
    tws__redis_unlink(&u->work);
    tws__redis_append(&r->in_state[state], &u->work);
    u->state = state;
}

/* Free a user that nobody wants and nothing points to. */
static void tws__redis_tidy(tws_redis *r, tws__redis_user *u)
{
    if (u->state != TWS__REDIS_OUT || (u->flags & TWS__REDIS_WANTED) != 0 || u->reads > 0) {
        return;
    }
    tws__redis_unlink(&u->work);
    r->push.user = r->push.user == u ? NULL : r->push.user;
    tws__users_remove(&r->users, &u->user);
}

TWS_API tws_status tws_redis_want(tws_redis *r, tws_str user_id)
{
    if (!tws__user_id_fits(user_id)) {
        return TWS_ERR_ARGUMENT;
    }
    tws__redis_user *u = tws__redis_find(r, user_id);
    if (u == NULL && r->users.count >= r->desc.max_users) {
        return TWS_ERR_LIMIT;
    }
    u = u != NULL ? u : tws__redis_add(r, user_id);
    if (u == NULL) {
        return TWS_ERR_MEMORY;
    }
    if ((u->flags & TWS__REDIS_WANTED) != 0) {
        u->flags |= TWS__REDIS_ASKED;
        if (u->state == TWS__REDIS_LIVE) {
            tws__redis_enter(r, u, TWS__REDIS_TO_LOAD);
        }
        return TWS_OK;
    }
    u->flags |= TWS__REDIS_WANTED | TWS__REDIS_FRESH;
    if (u->state == TWS__REDIS_OUT) {
        tws__redis_enter(r, u, TWS__REDIS_TO_SUBSCRIBE);
    } else if (u->state == TWS__REDIS_TO_LEAVE) {
        tws__redis_enter(r, u, TWS__REDIS_TO_LOAD);
    }
    return TWS_OK;
}

TWS_API void tws_redis_drop(tws_redis *r, tws_str user_id)
{
    tws__redis_user *u = tws__redis_find(r, user_id);
    if (u == NULL || (u->flags & TWS__REDIS_WANTED) == 0) {
        return;
    }
    u->flags &= (uint8_t) ~(TWS__REDIS_WANTED | TWS__REDIS_ASKED | TWS__REDIS_DUE);
    if (u->state == TWS__REDIS_TO_SUBSCRIBE) {
        tws__redis_enter(r, u, TWS__REDIS_OUT);
    } else if (u->state == TWS__REDIS_TO_LOAD || u->state == TWS__REDIS_LIVE) {
        tws__redis_enter(r, u, TWS__REDIS_TO_LEAVE);
    } /* or what is under way is waited for: of a read, no event may be taken for the next one's */
    tws__redis_tidy(r, u);
}

TWS_API void tws_redis_drop_others(tws_redis *r, bool (*has)(void *context, tws_str user_id),
                                   void *context)
{
    const tws__redis_user *next;
    for (const tws__redis_user *u = tws__redis_next_user(r, NULL); u != NULL; u = next) {
        next = tws__redis_next_user(r, u);
        if ((u->flags & TWS__REDIS_WANTED) != 0 && !has(context, tws__user_id(&u->user))) {
            tws_redis_drop(r, tws__user_id(&u->user));
        }
    }
}

static uint64_t tws__redis_backoff(tws_redis *r, uint32_t attempts);

/* What is read in vain now will be again in a moment: that is much work for nobody. */
static void tws__redis_hold_back(tws_redis *r)
{
    const bool anew = r->now_ms - r->refused_ms > r->desc.backoff_max_ms;
    r->refused = anew ? 2 : r->refused < 4 ? r->refused + 1 : 4;
    r->refused_ms = r->now_ms;
    if (r->now_ms >= r->again_ms) { /* or others would put it off for ever */
        r->again_ms = r->now_ms + tws__redis_backoff(r, r->refused);
    }
}

static void tws__redis_read_again(tws_redis *r, tws__redis_user *u, bool again)
{
    if (!again) {
        u->flags &= (uint8_t)~TWS__REDIS_AGAIN_ONLY;
    } else if ((u->flags & TWS__REDIS_BROKEN) == 0) {
        u->flags |= TWS__REDIS_AGAIN_ONLY;
    }
    u->flags |= TWS__REDIS_BROKEN;
    if (u->state == TWS__REDIS_LIVE) {
        tws__redis_enter(r, u, TWS__REDIS_TO_LOAD);
    }
}

/* A master that becomes a replica takes over another's data, and pushes nothing of it: what came
 * since over a subscription that began at the master may be from behind a gap. */
static void tws__redis_is_replica_now(tws_redis *r)
{
    tws__redis_end *end = &r->end[TWS_REDIS_SUBSCRIBER];
    r->replica = true;
    if (end->step != TWS__REDIS_UP || end->replica) {
        return;
    }
    end->replica = true;
    tws__redis_user *u = tws__redis_next_user(r, NULL);
    for (; u != NULL; u = tws__redis_next_user(r, u)) {
        if ((u->flags & TWS__REDIS_WANTED) != 0) {
            tws__redis_read_again(r, u, u->state == TWS__REDIS_LIVE);
        }
    }
}

TWS_API void tws_redis_reload(tws_redis *r, tws_str user_id, bool again)
{
    tws__redis_user *u = tws__redis_find(r, user_id);
    if (u == NULL || (u->flags & TWS__REDIS_WANTED) == 0) {
        return;
    }
    const bool answered = r->calls > 0 && r->call[r->call_first].what == u;
    if ((u->flags & TWS__REDIS_BROKEN) == 0 && (answered || r->past_user == u)) {
        tws__redis_hold_back(r);
    }
    tws__redis_read_again(r, u, again);
    if (answered) {
        r->answer.skip = true;
    }
}

/* -- calls -- */

static tws__redis_call *tws__redis_front(tws_redis *r)
{
    return r->calls == 0 ? NULL : &r->call[r->call_first];
}

static bool tws__redis_is_load(tws__redis_kind kind)
{
    return kind == TWS__REDIS_FIRST || kind == TWS__REDIS_MORE || kind == TWS__REDIS_AGAIN;
}

static tws__redis_call tws__redis_pop_call(tws_redis *r)
{
    tws__redis_call c = r->call[r->call_first];
    r->call_first = (r->call_first + 1) % r->call_max;
    r->calls--;
    r->loads -= tws__redis_is_load(c.kind) ? 1u : 0u;
    r->storing_calls -= c.kind == TWS__REDIS_STORE ? 1u : 0u;
    return c;
}

/* A read that gave nothing, or not all: what it was for is still to be done. */
static void tws__redis_undo_load(const tws__redis_call *c, bool told)
{
    tws__redis_user *u = (tws__redis_user *)c->what;
    if (c->kind == TWS__REDIS_FIRST) {
        u->flags |= TWS__REDIS_FRESH;
    } else if (c->kind == TWS__REDIS_AGAIN && !told) {
        u->flags |= TWS__REDIS_BROKEN;
    } else {
        u->flags &= (uint8_t)~TWS__REDIS_AGAIN_ONLY;
    }
}

static bool tws__redis_stale(const tws__redis_call *c)
{
    const tws__redis_user *u = (const tws__redis_user *)c->what;
    return u->state != TWS__REDIS_LOADING || u->turn != c->turn ||
           (u->flags & (TWS__REDIS_FRESH | TWS__REDIS_WANTED)) != TWS__REDIS_WANTED ||
           (c->kind == TWS__REDIS_MORE && (u->flags & TWS__REDIS_BROKEN) != 0);
}

/* The user's read is over: is there more to read? */
static void tws__redis_settle(tws_redis *r, tws__redis_user *u, uint32_t turn, bool more)
{
    if (u->state == TWS__REDIS_LOADING && u->turn == turn) {
        bool newer = (u->flags & TWS__REDIS_MISSED) != 0 &&
                     tws_event_id_compare(u->heard, u->last) > 0;
        unsigned again =
            TWS__REDIS_FRESH | TWS__REDIS_BROKEN | TWS__REDIS_FELL | TWS__REDIS_ASKED;
        more = more || newer || (u->flags & again) != 0;
        const bool wanted = (u->flags & TWS__REDIS_WANTED) != 0;
        const uint8_t next = !wanted ? TWS__REDIS_TO_LEAVE
                             : more  ? TWS__REDIS_TO_LOAD
                                     : TWS__REDIS_LIVE;
        tws__redis_enter(r, u, next);
        if (next == TWS__REDIS_LIVE && (u->flags & TWS__REDIS_DUE) != 0) {
            tws__redis_unlink(&u->work);
            tws__redis_append(&r->to_tell, &u->work);
        }
    }
    tws__redis_tidy(r, u);
}

/* -- connections: up, down, answers due -- */

/* Words for a log, of a reason that may be Redis's: an unknown command is quoted there with its
 * arguments, and one of them may have been the password. */
static void tws__redis_keep_reason(char out[TWS__REDIS_REASON], tws_str reason)
{
    size_t n = 0;
    while (n < tws__min(reason.len, TWS__REDIS_REASON - 1) &&
           !tws_str_starts(tws_str_from(reason, n), ", with args")) {
        n++;
    }
    if (n > 0) {
        memcpy(out, reason.ptr, n);
    }
    out[n] = '\0';
}

static const char *tws__redis_said(tws_redis *r, tws_str reason)
{
    tws__redis_keep_reason(r->said, reason);
    return r->said;
}

/* xorshift64*: jitter needs no more. */
static uint64_t tws__redis_random(tws_redis *r)
{
    r->random ^= r->random >> 12;
    r->random ^= r->random << 25;
    r->random ^= r->random >> 27;
    return r->random * UINT64_C(0x2545f4914f6cdd1d);
}

/* The first attempt soon; then up to twice as long each time, anywhere within it, so that many
 * servers do not come back all at once. */
static uint64_t tws__redis_backoff(tws_redis *r, uint32_t attempts)
{
    uint64_t least = r->desc.backoff_min_ms;
    uint64_t most = r->desc.backoff_max_ms;
    uint64_t range = attempts < 16 ? least << attempts : most;
    range = range < most ? range : most;
    return least + tws__redis_random(r) % (range - least + 1);
}

/* The state and its reason are computed from what the connections are doing. One that has failed
 * more than once is not believed before a probe has come back: what is wrong may show only then. */
TWS_API tws_redis_state tws_redis_now(const tws_redis *r, tws_str *reason)
{
    const char *why = r->replica ? "it is a replica" : r->storing_why;
    tws_redis_state state = r->replica ? TWS_REDIS_IS_READONLY : r->storing;
    for (int i = TWS_REDIS_LINKS - 1; i >= 0; i--) {
        const tws__redis_end *end = &r->end[i];
        if (end->step != TWS__REDIS_UP || (end->attempts >= 2 && !r->probe_back)) {
            why = end->why;
            state = end->state;
        }
    }
    if (reason != NULL) {
        *reason = tws_str_c(why);
    }
    return state;
}

/* An answer has come, or more answers than there were questions. */
static void tws__redis_answered(tws_redis *r, tws__redis_end *end)
{
    end->waiting -= end->waiting > 0 ? 1u : 0u;
    end->at_ms = end->waiting > 0 ? r->now_ms + r->desc.command_ms : UINT64_MAX;
}

/* What was asked on the commands' connection is not answered any more. */
static void tws__redis_lose_calls(tws_redis *r)
{
    bool told = r->answer.told;
    while (r->calls > 0) {
        tws__redis_call c = tws__redis_pop_call(r);
        if (c.kind == TWS__REDIS_STORE) {
            tws__redis_publish *p = (tws__redis_publish *)c.what;
            p->lost = true;
            tws__redis_put(&r->failed, p);
        } else if (tws__redis_is_load(c.kind)) {
            tws__redis_user *u = (tws__redis_user *)c.what;
            tws__redis_undo_load(&c, told);
            u->reads--;
            tws__redis_settle(r, u, c.turn, true);
        }
        told = false; /* only of the first had anything come */
    }
    tws__redis_move(&r->failed, &r->again);
    tws__redis_move(&r->failed, &r->accepted);
    memset(&r->answer, 0, sizeof r->answer);
}

/* Nothing is subscribed any more. */
static void tws__redis_lose_subscriptions(tws_redis *r)
{
    tws__redis_user *next;
    memset(&r->push, 0, sizeof r->push);
    for (tws__redis_user *u = tws__redis_next_user(r, NULL); u != NULL; u = next) {
        bool wanted = (u->flags & TWS__REDIS_WANTED) != 0;
        bool unsure = tws__event_id_none(u->last); /* no event to look for, to prove the rest */
        u->flags &= (uint8_t)~TWS__REDIS_AGAIN_ONLY;
        u->flags |= unsure ? TWS__REDIS_BROKEN : 0u;
        next = tws__redis_next_user(r, u);
        tws__redis_enter(r, u, wanted ? TWS__REDIS_TO_SUBSCRIBE : TWS__REDIS_OUT);
        tws__redis_tidy(r, u);
    }
}

static void tws__redis_fail(tws_redis *r, tws_redis_link link, tws_redis_state state, tws_str why)
{
    tws__redis_end *end = &r->end[link];
    if (end->step == TWS__REDIS_DOWN) {
        return;
    }
    end->step = TWS__REDIS_DOWN;
    end->state = state;
    tws__redis_keep_reason(end->why, why);
    end->at_ms = r->now_ms + tws__redis_backoff(r, end->attempts);
    end->attempts++;
    end->waiting = 0;
    end->in_pos = 0;
    end->in_len = 0;
    end->out_pos = 0;
    tws_buf_clear(&end->out);
    r->probe_out = false;
    r->probe_back = false;
    r->stats.failures++;
    if (link == TWS_REDIS_COMMANDS) {
        tws__redis_lose_calls(r);
    } else {
        tws__redis_lose_subscriptions(r);
    }
}

static void tws__redis_fail_c(tws_redis *r, tws_redis_link link, tws_redis_state state,
                              const char *why)
{
    tws__redis_fail(r, link, state, tws_str_c(why));
}

/* -- commands out -- */

/* The command stands in the output, and so many answers are due; or for want of memory it does
 * not. */
static TWS__APART bool tws__redis_made(const tws_redis *r, tws__redis_end *end, uint32_t answers)
{
    if (end->out.status != TWS_OK) {
        end->starved = true;
        end->out.status = TWS_OK;
        end->out.len = end->command;
        return false;
    }
    if (end->waiting == 0) {
        end->at_ms = r->now_ms + r->desc.command_ms;
    }
    end->waiting += answers;
    return true;
}

/* Words between blanks. */
static void tws__redis_words(tws_buf *out, const char *words)
{
    tws_str rest = tws_str_c(words);
    tws_str word;
    while (tws_str_split(&rest, ' ', &word)) {
        tws_resp_word(out, word);
    }
}

/* Begin a command of so many words with the first ones. */
static tws_buf *tws__redis_command(tws__redis_end *end, size_t count, const char *words)
{
    end->command = end->out.len;
    tws_resp_command(&end->out, count);
    tws__redis_words(&end->out, words);
    return &end->out;
}

/* A user's channel and stream. */
static void tws__redis_word_user(tws_buf *out, tws_str user_id)
{
    char name[TWS__REDIS_CHANNEL];
    size_t prefix = strlen(TWS__REDIS_PREFIX);
    memcpy(name, TWS__REDIS_PREFIX, prefix);
    memcpy(name + prefix, user_id.ptr, user_id.len);
    tws_resp_word(out, tws_str_of(name, prefix + user_id.len));
}

static void tws__redis_word_id(tws_buf *out, tws_event_id id)
{
    char text[TWS_EVENT_ID_MAX];
    tws_resp_word(out, tws_str_of(text, tws_event_id_format(id, text)));
}

/* HELLO 3 [AUTH user password] SETNAME taskws */
static void tws__redis_write_hello(const tws_redis *r, tws__redis_end *end)
{
    bool login = r->url.password[0] != '\0';
    tws_buf *out = tws__redis_command(end, login ? 7 : 4, "HELLO 3");
    if (login) {
        tws_resp_word_c(out, "AUTH");
        tws_resp_word_c(out, r->url.user[0] != '\0' ? r->url.user : "default");
        tws_resp_word_c(out, r->url.password);
    }
    tws__redis_words(out, "SETNAME taskws");
}

/* Before Redis 6 there are no users. */
static void tws__redis_write_auth(const tws_redis *r, tws__redis_end *end)
{
    bool user = r->url.user[0] != '\0';
    tws_buf *out = tws__redis_command(end, user ? 3 : 2, "AUTH");
    if (user) {
        tws_resp_word_c(out, r->url.user);
    }
    tws_resp_word_c(out, r->url.password);
}

/* Go on to a step of the opening, one command and one answer each. */
static void tws__redis_step(tws_redis *r, tws_redis_link link, uint8_t step)
{
    tws__redis_end *end = &r->end[link];
    end->step = step;
    switch (step) {
    case TWS__REDIS_HELLO: tws__redis_write_hello(r, end); break;
    case TWS__REDIS_AUTH: tws__redis_write_auth(r, end); break;
    case TWS__REDIS_SELECT:
        tws_resp_word_u64(tws__redis_command(end, 2, "SELECT"), r->url.db);
        break;
    case TWS__REDIS_LOOK: /* a key that there is not; PING is refused by who cannot save */
        tws_resp_word_c(tws__redis_command(end, 6, "XREVRANGE"), r->probe_channel);
        tws__redis_words(&end->out, "+ - COUNT 1");
        break;
    case TWS__REDIS_LISTEN:
        tws_resp_word_c(tws__redis_command(end, 2, "SUBSCRIBE"), r->probe_channel);
        break;
    default: break;
    }
    if (!tws__redis_made(r, end, 1)) {
        tws__redis_fail_c(r, link, TWS_REDIS_IS_UNREACHABLE, "out of memory");
    }
}

/* Channels for users in a state, who go on to the next. False when there was nothing to do. */
static bool tws__redis_batch(tws_redis *r, uint8_t state, const char *command)
{
    tws__redis_end *end = &r->end[TWS_REDIS_SUBSCRIBER];
    const tws__redis_node *list = &r->in_state[state];
    uint32_t count = 0;
    const tws__redis_node *n = list->next;
    for (; n != list && count < TWS__REDIS_BATCH; n = n->next) {
        count++;
    }
    if (count == 0) {
        return false;
    }
    tws__redis_command(end, count + 1, command);
    for (const tws__redis_node *to = list->next; to != n; to = to->next) {
        tws__redis_word_user(&end->out, tws__user_id(&tws__redis_user_of(to)->user));
    }
    if (!tws__redis_made(r, end, count)) {
        return false;
    }
    while (list->next != n) {
        tws__redis_enter(r, tws__redis_user_of(list->next), (uint8_t)(state + 1));
    }
    return true;
}

static void tws__redis_make_subscriptions(tws_redis *r)
{
    const tws__redis_end *end = &r->end[TWS_REDIS_SUBSCRIBER];
    bool more = end->step == TWS__REDIS_UP;
    while (more && end->waiting < TWS__REDIS_CONFIRMS) {
        more = tws__redis_batch(r, TWS__REDIS_TO_SUBSCRIBE, "SUBSCRIBE") ||
               tws__redis_batch(r, TWS__REDIS_TO_LEAVE, "UNSUBSCRIBE");
    }
}

/* A command was made on the commands' connection. False: for want of memory it was not. */
static bool tws__redis_asked(tws_redis *r, tws__redis_kind kind, void *what)
{
    if (!tws__redis_made(r, &r->end[TWS_REDIS_COMMANDS], 1)) {
        return false;
    }
    TWS_ASSERT(r->calls < r->call_max);
    tws__redis_call *c = &r->call[(r->call_first + r->calls) % r->call_max];
    c->kind = kind;
    c->what = what;
    r->calls++;
    if (tws__redis_is_load(kind)) {
        tws__redis_user *u = (tws__redis_user *)what;
        c->turn = ++u->turn;
        u->reads++;
        r->loads++;
    }
    r->storing_calls += kind == TWS__REDIS_STORE ? 1u : 0u;
    return true;
}

/* What does Redis's clock say? False: an answer is still out, or there is no memory. */
static bool tws__redis_make_time(tws_redis *r)
{
    if (r->time_out) {
        return false;
    }
    tws__redis_command(&r->end[TWS_REDIS_COMMANDS], 1, "TIME");
    if (!tws__redis_asked(r, TWS__REDIS_TIME, NULL)) {
        return false;
    }
    r->time_out = true;
    r->beaten_ms = r->now_ms;
    return true;
}

/* XREVRANGE stream + - COUNT n, or XRANGE stream from + COUNT n */
static void tws__redis_write_load(tws_redis *r, const tws__redis_user *u, tws__redis_kind kind)
{
    bool first = kind == TWS__REDIS_FIRST;
    tws__redis_end *end = &r->end[TWS_REDIS_COMMANDS];
    tws_buf *out = tws__redis_command(end, 6, first ? "XREVRANGE" : "XRANGE");
    tws__redis_word_user(out, tws__user_id(&u->user));
    if (kind == TWS__REDIS_MORE && !tws__event_id_none(u->last)) {
        tws__redis_word_id(out, u->last);
        tws__redis_words(out, "+ COUNT");
    } else {
        tws__redis_words(out, first ? "+ - COUNT" : "- + COUNT");
    }
    tws_resp_word_u64(out, first ? r->desc.load_events : TWS__REDIS_PAGE);
}

/* What a read answers to is struck off when it is sent: what comes up later is another read's. */
static bool tws__redis_load(tws_redis *r, tws__redis_user *u)
{
    unsigned done = TWS__REDIS_MISSED | TWS__REDIS_FELL | TWS__REDIS_ASKED;
    tws__redis_kind kind = TWS__REDIS_MORE;
    if ((u->flags & TWS__REDIS_FRESH) != 0) {
        kind = TWS__REDIS_FIRST;
        done |= TWS__REDIS_FRESH | TWS__REDIS_BROKEN | TWS__REDIS_AGAIN_ONLY;
    } else if ((u->flags & TWS__REDIS_BROKEN) != 0) {
        kind = TWS__REDIS_AGAIN;
        done |= TWS__REDIS_BROKEN;
    }
    if (r->beaten_ms != r->now_ms) { /* where nothing is found, what there was ended before that */
        (void)tws__redis_make_time(r);
    }
    tws__redis_write_load(r, u, kind);
    if (!tws__redis_asked(r, kind, u)) {
        return false;
    }
    u->flags |= (u->flags & TWS__REDIS_ASKED) != 0 ? TWS__REDIS_DUE : 0u;
    u->flags = (uint8_t)(u->flags & ~done);
    r->stats.loads++;
    tws__redis_enter(r, u, TWS__REDIS_LOADING);
    return true;
}

static void tws__redis_make_loads(tws_redis *r)
{
    const unsigned broken = TWS__REDIS_FRESH | TWS__REDIS_BROKEN;
    bool more = true;
    const tws__redis_node *list = &r->in_state[TWS__REDIS_TO_LOAD];
    for (tws__redis_node *next, *n = list->next; n != list; n = next) {
        tws__redis_user *u = tws__redis_user_of(n);
        const bool waits = (u->flags & broken) == TWS__REDIS_BROKEN && r->now_ms < r->again_ms;
        next = n->next;
        more = more && r->loads < TWS__REDIS_LOADS;
        if (!more) {
            return;
        }
        more = waits || tws__redis_load(r, u);
    }
}

/* EVALSHA sha 1, or EVAL script 1 */
static tws_buf *tws__redis_write_script(tws_redis *r, size_t words)
{
    tws_buf *out = tws__redis_command(&r->end[TWS_REDIS_COMMANDS], words,
                                      r->no_script ? "EVAL" : "EVALSHA");
    tws_resp_word_c(out, r->no_script ? tws_redis_script() : r->sha);
    tws_resp_word_c(out, "1");
    return out;
}

/* TIME keeps Redis's clock known and the connection proven; the probe does it for the other one.
 * While Redis stores nothing, the script is tried on a stream that lives a millisecond: who asks
 * for the state before publishing would never learn that it stores again. So it is where an event
 * was refused: by that, a script that is forbidden is told from an event that is. */
static void tws__redis_make_beat(tws_redis *r)
{
    tws__redis_end *end = &r->end[TWS_REDIS_COMMANDS];
    bool probe = r->end[TWS_REDIS_SUBSCRIBER].step == TWS__REDIS_UP && !r->probe_out;
    bool role = r->tells_role && r->now_ms > end->up_ms;
    if (r->now_ms < r->beat_ms || !tws__redis_make_time(r)) {
        return;
    }
    if (probe) {
        tws_resp_word_c(tws__redis_command(end, 3, "PUBLISH"), r->probe_channel);
        tws_resp_word_u64(&end->out, r->probe + 1);
        if (!tws__redis_asked(r, TWS__REDIS_PROBE, NULL)) {
            return;
        }
        r->probe++;
        r->probe_out = true;
        r->probe_sent = false;
    }
    if (r->doubt) {
        tws__redis_write_script(r, 7);
        tws_resp_word_c(&end->out, r->probe_channel);
        tws__redis_words(&end->out, "0 1 1");
        if (!tws__redis_asked(r, TWS__REDIS_TRY, NULL)) {
            return;
        }
    }
    if (role) {
        tws__redis_command(end, 1, "HELLO");
        if (!tws__redis_asked(r, TWS__REDIS_ROLE, NULL)) {
            return;
        }
    }
    r->beat_ms = r->now_ms + r->desc.probe_ms;
}

/* The script: stream JSON max_events ttl_ms [key] */
static void tws__redis_write_publish(tws_redis *r, const tws__redis_publish *p)
{
    tws_buf *out = tws__redis_write_script(r, p->key_len > 0 ? 8 : 7);
    tws__redis_word_user(out, tws__redis_publish_user(p));
    tws_resp_word(out, tws__redis_publish_json(p));
    tws_resp_word_u64(out, r->desc.retain_events);
    tws_resp_word_u64(out, (uint64_t)r->desc.retain_s * 1000);
    if (p->key_len > 0) {
        tws_resp_word(out, tws__redis_publish_key(p));
    }
}

/* A connection's first publish brings the script. Were it asked for by its name, and a worker's own
 * EVAL came between two that ask, the second would be stored before the first. Where Redis has lost
 * the script since, those under way are waited for; then one brings it again. */
static void tws__redis_make_publishes(tws_redis *r)
{
    if (r->no_script && r->storing_calls > 0) {
        return;
    }
    tws__redis_move(&r->again, &r->accepted);
    tws__redis_move(&r->accepted, &r->again);
    while (r->accepted.first != NULL) {
        tws__redis_write_publish(r, r->accepted.first);
        if (!tws__redis_asked(r, TWS__REDIS_STORE, r->accepted.first)) {
            return;
        }
        (void)tws__redis_get(&r->accepted);
        r->no_script = false;
    }
}

TWS_API tws_str tws_redis_output(tws_redis *r, tws_redis_link link)
{
    tws__redis_end *end = &r->end[link];
    end->starved = false;
    if (link == TWS_REDIS_SUBSCRIBER) {
        tws__redis_make_subscriptions(r);
    } else if (end->step == TWS__REDIS_UP) {
        tws__redis_make_publishes(r);
        tws__redis_make_beat(r);
        tws__redis_make_loads(r);
    }
    return tws_str_from(tws_buf_view(&end->out), end->out_pos);
}

TWS_API void tws_redis_sent(tws_redis *r, tws_redis_link link, size_t n)
{
    tws__redis_end *end = &r->end[link];
    end->out_pos += n;
    TWS_ASSERT(end->out_pos <= end->out.len);
    if (end->out_pos > end->out.len / 2) { /* so that no byte is moved often */
        tws_buf_consume(&end->out, end->out_pos);
        end->out_pos = 0;
    }
}

/* -- events out -- */

static void tws__redis_tell(tws_redis_event *ev, tws_redis_event_type type,
                            const tws__redis_user *u, tws_event_id id, const char *reason)
{
    ev->type = type;
    ev->user_id = tws__user_id(&u->user);
    ev->id = id;
    ev->reason = tws_str_c(reason);
}

static void tws__redis_tell_dropped(tws_redis *r, tws_redis_event *ev, const tws__redis_user *u,
                                    tws_event_id id, const char *reason)
{
    tws__redis_tell(ev, TWS_REDIS_DROPPED, u, id, reason);
    r->stats.dropped++;
}

/* Give an event. What is no JSON comes as a JSON string, for it was somebody's message all the
 * same. */
static void tws__redis_give(tws_redis *r, const tws__redis_user *u, tws_event_id id, tws_str json,
                            tws_redis_event *ev)
{
    tws_json_token task;
    memset(&task, 0, sizeof task);
    bool is_json = json.len == 0 || json.len > r->desc.max_event_bytes ||
                   tws_json_member(json, tws_str_c(r->desc.task_key), &task) != TWS_ERR_SYNTAX;
    if (!is_json) {
        tws_buf_clear(&r->text);
        tws_json_write_str(&r->text, json);
        json = tws_buf_view(&r->text);
        json.len = r->text.status == TWS_OK ? json.len : SIZE_MAX;
        r->stats.not_json++;
    }
    if (json.len == 0 || json.len > r->desc.max_event_bytes) {
        tws__redis_tell_dropped(r, ev, u, id,
                                json.len == 0 ? "an empty event" : "an event too big");
        return;
    }
    tws__redis_tell(ev, TWS_REDIS_EVENT, u, id, is_json ? "" : "it is not JSON");
    ev->json = json;
    ev->task = task;
    r->stats.events++;
}

/* -- answers to reads -- */

/* The id before: what is complete from `id` on is complete after this one. */
static tws_event_id tws__redis_before(tws_event_id id)
{
    if (id.seq > 0) {
        return tws__event_id(id.ms, id.seq - 1);
    }
    return id.ms > 0 ? tws__event_id(id.ms - 1, UINT64_MAX) : id;
}

/* Where nothing is, whatever there was ended before Redis last told its time, and what comes will
 * have an id from then on. */
static tws_event_id tws__redis_empty_from(const tws_redis *r)
{
    return tws__redis_before(tws__event_id(r->redis_ms, 0));
}

static void tws__redis_tell_lost(tws_redis *r, tws__redis_user *u, tws_event_id from, bool again,
                                 tws_redis_event *ev)
{
    tws__redis_tell(ev, TWS_REDIS_LOST, u, from, NULL);
    ev->again = again;
    u->last = tws__event_id(0, 0);
    r->answer.told = true;
    r->stats.lost += !again;
}

static void tws__redis_has_lost(tws__redis_user *u)
{
    u->flags = (uint8_t)((u->flags | TWS__REDIS_BROKEN) & ~TWS__REDIS_AGAIN_ONLY);
}

static bool tws__redis_in_order(const tws__redis_answer *a, tws__redis_kind kind, tws_event_id id)
{
    int order = tws_event_id_compare(id, a->id);
    return a->index == 0 || (kind == TWS__REDIS_FIRST ? order < 0 : order > 0);
}

/* An entry's id. It must be the last one's where a read goes on from there: if it is not, events
 * were trimmed in between, or this is not the Redis that it was. */
static void tws__redis_on_id(tws_redis *r, const tws__redis_call *c, tws_event_id id,
                             tws_redis_event *ev)
{
    tws__redis_answer *a = &r->answer;
    tws__redis_user *u = (tws__redis_user *)c->what;
    a->id = id;
    a->has_id = true;
    if (a->skip || a->index > 0) {
        return;
    }
    a->newest = id;
    if (c->kind == TWS__REDIS_AGAIN) {
        const bool again = (u->flags & TWS__REDIS_AGAIN_ONLY) != 0;
        tws__redis_tell_lost(r, u, tws__redis_before(id), again, ev);
    } else if (c->kind == TWS__REDIS_MORE && !tws__event_id_none(u->last) &&
               tws_event_id_compare(id, u->last) != 0) {
        tws__redis_has_lost(u);
        a->skip = true;
    }
}

/* Note an event of a user's first read, which brings the newest first. What does not fit ends the
 * past, or it would have a hole. */
static void tws__redis_note_past(tws_redis *r, tws_str json)
{
    tws__redis_answer *a = &r->answer;
    uint32_t len = (uint32_t)json.len;
    size_t bytes = json.len + sizeof a->id + sizeof len;
    if (a->full || bytes > r->past_max - r->past_len) {
        a->full = true;
        return;
    }
    char *to = r->past + r->past_len;
    memcpy(to, json.ptr, json.len);
    memcpy(to + json.len, &a->id, sizeof a->id);
    memcpy(to + json.len + sizeof a->id, &len, sizeof len);
    r->past_len += bytes;
}

/* The value of an entry's field d. */
static void tws__redis_on_data(tws_redis *r, const tws__redis_call *c, const tws_resp_event *in,
                               tws_redis_event *ev)
{
    tws__redis_user *u = (tws__redis_user *)c->what;
    tws__redis_answer *a = &r->answer;
    bool whole = in->first && in->last && in->text.len <= r->desc.max_event_bytes;
    bool repeat = c->kind != TWS__REDIS_FIRST && tws_event_id_compare(a->id, u->last) <= 0;
    if (a->skip || repeat || !in->last) {
        return;
    }
    a->has_data = true;
    if (!whole) {
        tws__redis_tell_dropped(r, ev, u, a->id, "an event too big");
    } else if (c->kind == TWS__REDIS_FIRST) {
        tws__redis_note_past(r, in->text);
    } else {
        u->last = a->id;
        tws__redis_give(r, u, a->id, in->text, ev);
    }
}

/* An entry is complete, with an event or without one. */
static void tws__redis_end_entry(tws_redis *r, const tws__redis_call *c, tws_redis_event *ev)
{
    tws__redis_answer *a = &r->answer;
    tws__redis_user *u = (tws__redis_user *)c->what;
    const bool first = c->kind == TWS__REDIS_FIRST;
    if (!a->has_id) {
        return;
    }
    const bool is_new = first || tws_event_id_compare(a->id, u->last) > 0;
    if (!a->skip && !a->has_data && is_new && ev->type == TWS_REDIS_NONE) {
        tws__redis_tell_dropped(r, ev, u, a->id, "an entry without the field d");
    }
    if (!a->skip && !first) {
        u->last = tws__event_id_max(u->last, a->id);
    }
    a->oldest = a->full ? a->oldest : a->id;
    a->has_id = false;
    a->is_name = false;
    a->is_data = false;
    a->has_data = false;
    a->index++;
}

/* All of a user's newest events have come: give them, oldest first. */
static void tws__redis_begin_past(tws_redis *r, tws__redis_user *u)
{
    const tws__redis_answer *a = &r->answer;
    r->past_user = u;
    r->past_newest = a->newest;
    r->past_from = a->index > 0 ? tws__redis_before(a->oldest) : tws__redis_empty_from(r);
}

/* Events were given, or heard of, and Redis has none. Ask once more: what comes meanwhile must not
 * be lost. */
static void tws__redis_stream_is_gone(tws_redis *r, const tws__redis_call *c, tws_redis_event *ev)
{
    tws__redis_user *u = (tws__redis_user *)c->what;
    if (c->kind == TWS__REDIS_AGAIN) {
        tws_event_id from = tws__redis_empty_from(r);
        tws__redis_tell_lost(r, u, from, false, ev);
        if (tws_event_id_compare(u->heard, from) <= 0) {
            u->heard = tws__event_id(0, 0); /* that has been told, too */
        }
    } else {
        tws__redis_has_lost(u);
    }
}

static void tws__redis_end_load(tws_redis *r, tws_redis_event *ev)
{
    const tws__redis_answer *a = &r->answer;
    tws__redis_call c = tws__redis_pop_call(r);
    tws__redis_user *u = (tws__redis_user *)c.what;
    if (c.kind == TWS__REDIS_FIRST && !a->skip) {
        tws__redis_begin_past(r, u);
        return;
    }
    if (a->skip) {
        tws__redis_undo_load(&c, a->told);
    } else if (a->index == 0 && ev->type == TWS_REDIS_NONE &&
               !tws__event_id_none(tws__event_id_max(u->last, u->heard))) {
        tws__redis_stream_is_gone(r, &c, ev);
    }
    if (c.kind == TWS__REDIS_AGAIN && !a->skip) {
        u->flags &= (uint8_t)~TWS__REDIS_AGAIN_ONLY;
    }
    r->past_len = 0;
    r->answer.told = false;
    u->reads--;
    tws__redis_settle(r, u, c.turn, a->index >= TWS__REDIS_PAGE);
}

static void tws__redis_on_field(tws_redis *r, const tws__redis_call *c, const tws_resp_event *in,
                                tws_redis_event *ev)
{
    tws__redis_answer *a = &r->answer;
    if (a->is_name) {
        a->is_data = in->first && in->last && tws_str_eq_c(in->text, "d") && !a->has_data;
    } else if (a->is_data) {
        tws__redis_on_data(r, c, in, ev);
    }
    a->is_name = a->is_name != in->last;
}

/* An entry is [id, [name, value, name, value ...]]. */
static void tws__redis_on_load(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    tws__redis_answer *a = &r->answer;
    const tws__redis_call *c = tws__redis_front(r);
    bool string = in->type == TWS_RESP_BULK || in->type == TWS_RESP_SIMPLE;
    tws_event_id id;
    if (in->depth == 0) {
        memset(a, 0, sizeof *a);
        r->past_len = 0;
    }
    a->skip = a->skip || tws__redis_stale(c);
    if (in->depth == 1) {
        tws__redis_end_entry(r, c, ev);
    } else if (in->depth == 2 && string && !a->has_id) {
        if (!tws_event_id_parse(in->text, &id) || !tws__redis_in_order(a, c->kind, id)) {
            tws__redis_fail_c(r, TWS_REDIS_COMMANDS, TWS_REDIS_IS_NO_REDIS,
                              "an entry of a stream is without an id, or out of order");
            return;
        }
        tws__redis_on_id(r, c, id, ev);
    } else if (in->depth == 2) {
        a->is_name = a->has_id;
    } else if (in->depth == 3) {
        tws__redis_on_field(r, c, in, ev);
    }
    if (in->done) {
        tws__redis_end_entry(r, c, ev);
        tws__redis_end_load(r, ev);
    }
}

static void tws__redis_on_load_error(tws_redis *r, tws_str text, tws_redis_event *ev)
{
    const tws__redis_call *c = tws__redis_front(r);
    memset(&r->answer, 0, sizeof r->answer);
    r->past_len = 0;
    r->answer.skip = tws__redis_stale(c);
    tws__redis_user *u = (tws__redis_user *)c->what;
    if (!r->answer.skip && c->kind == TWS__REDIS_FIRST) {
        tws__redis_tell_dropped(r, ev, u, tws__event_id(0, 0), tws__redis_said(r, text));
    } else if (!r->answer.skip) { /* what came since the last event will not be known */
        const tws_event_id from = tws__event_id_max(u->heard, tws__redis_empty_from(r));
        tws__redis_tell_lost(r, u, from, false, ev);
        ev->reason = tws_str_c(tws__redis_said(r, text));
    }
    tws__redis_end_load(r, ev);
}

/* The oldest event of a user's past that was not given yet; behind the newest, LOADED. */
static void tws__redis_give_past(tws_redis *r, tws_redis_event *ev)
{
    tws__redis_user *u = r->past_user;
    tws_event_id id;
    uint32_t len;
    const unsigned leads_on = TWS__REDIS_FRESH | TWS__REDIS_BROKEN | TWS__REDIS_WANTED;
    bool wanted = (u->flags & leads_on) == TWS__REDIS_WANTED;
    if (wanted && r->past_len > 0) {
        memcpy(&len, r->past + r->past_len - sizeof len, sizeof len);
        memcpy(&id, r->past + r->past_len - sizeof len - sizeof id, sizeof id);
        r->past_len -= len + sizeof id + sizeof len;
        tws__redis_give(r, u, id, tws_str_of(r->past + r->past_len, len), ev);
        return;
    }
    r->past_user = NULL;
    r->past_len = 0; /* of who has been dropped meanwhile: another read begins anew */
    u->reads--;
    u->last = (u->flags & TWS__REDIS_FRESH) == 0 ? r->past_newest : u->last;
    if (wanted) {
        tws__redis_tell(ev, TWS_REDIS_LOADED, u, r->past_from, NULL);
    } else if ((u->flags & leads_on) == (TWS__REDIS_BROKEN | TWS__REDIS_WANTED)) {
        /* not all was taken: it is told when all has been read again */
        u->flags |= TWS__REDIS_DUE;
    }
    tws__redis_settle(r, u, u->turn, false); /* no other read of it can have begun meanwhile */
}

/* All that Redis had when it was asked has been given. */
static void tws__redis_tell_current(tws_redis *r, tws_redis_event *ev)
{
    tws__redis_user *u = tws__redis_user_of(r->to_tell.next);
    tws__redis_enter(r, u, TWS__REDIS_LIVE);
    u->flags &= (uint8_t)~TWS__REDIS_DUE;
    tws__redis_tell(ev, TWS_REDIS_LOADED, u, tws__event_id(0, 0), NULL);
}

/* -- other answers -- */

/* [seconds, microseconds] */
static void tws__redis_on_time(tws_redis *r, const tws_resp_event *in)
{
    uint64_t n;
    if (in->depth == 0) {
        r->answer.index = 0;
    } else if (in->depth == 1 && tws_str_u64(in->text, &n)) {
        r->redis_ms = r->answer.index++ == 0 ? n * 1000 : r->redis_ms + n / 1000;
    }
    if (in->done) {
        r->time_out = false;
        r->stats.round_trip_ms = r->now_ms - r->beaten_ms;
    }
}

static void tws__redis_on_probe(tws_redis *r, const tws_resp_event *in)
{
    if (in->done) {
        r->probe_sent = true;
        r->probe_back = r->probe_back || !r->probe_out;
        r->probe_ms = r->now_ms;
    }
}

static void tws__redis_stores(tws_redis *r)
{
    r->doubt = false;
    r->storing = TWS_REDIS_IS_READY;
    r->storing_why[0] = '\0';
}

/* What a command that stores was answered may say that all of them are refused. */
static void tws__redis_note_storing(tws_redis *r, const tws__redis_error *e, tws_str text)
{
    if (e->scope == TWS__REDIS_STORING) {
        r->storing = e->state;
        tws__redis_keep_reason(r->storing_why, text);
    }
}

static void tws__redis_drop_publish(tws_redis *r, tws__redis_publish *p)
{
    size_t bytes = tws__redis_publish_bytes(p);
    r->publish_bytes -= bytes;
    r->stats.publishing--;
    tws_release(r->desc.allocator, p, bytes);
}

static void tws__redis_tell_failed(tws_redis *r, tws__redis_publish *p, tws_redis_state state,
                                   const char *reason, tws_redis_event *ev)
{
    tws_str user = tws__redis_publish_user(p);
    memcpy(r->told_user, user.ptr, user.len);
    ev->type = TWS_REDIS_FAILED;
    ev->user_id = tws_str_of(r->told_user, user.len);
    ev->ticket = p->ticket;
    ev->state = state;
    ev->reason = tws_str_c(reason);
    r->stats.failed++;
    tws__redis_drop_publish(r, p);
}

static void tws__redis_on_stored(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    bool string = in->type == TWS_RESP_BULK || in->type == TWS_RESP_SIMPLE;
    tws_event_id id;
    if (!in->done) {
        return;
    }
    tws__redis_publish *p = (tws__redis_publish *)tws__redis_pop_call(r).what;
    if (!string || in->depth > 0 || !tws_event_id_parse(in->text, &id)) {
        tws__redis_tell_failed(r, p, TWS_REDIS_IS_REFUSED, "an answer that is no id", ev);
        return;
    }
    ev->type = TWS_REDIS_STORED;
    ev->ticket = p->ticket;
    ev->id = id;
    tws__redis_stores(r);
    r->stats.stored++;
    tws__redis_drop_publish(r, p);
}

static void tws__redis_on_store_error(tws_redis *r, const tws__redis_error *e, tws_str text,
                                      tws_redis_event *ev)
{
    tws__redis_publish *p = (tws__redis_publish *)tws__redis_pop_call(r).what;
    if (tws_str_starts(text, "NOSCRIPT")) {
        r->no_script = true;
        tws__redis_put(&r->again, p);
        return;
    }
    tws__redis_note_storing(r, e, text);
    r->doubt = true;
    tws__redis_tell_failed(r, p, e->state, tws__redis_said(r, text), ev);
}

/* A command that is forbidden, or not there, is so for every user; a key is one user's. */
static bool tws__redis_forbids(tws_str text)
{
    tws_str word = text;
    bool forbidden = tws_str_starts(text, "NOPERM");
    while (forbidden && word.len > 0 && !tws_str_starts(word, "command")) {
        word = tws_str_from(word, 1);
    }
    return (forbidden && word.len > 0) || tws_str_starts(text, "ERR unknown command");
}

/* An error where an answer should be. One that says something about all of Redis ends the
 * connection, and with it everything that is under way; what was sent behind it may be stored. */
static void tws__redis_on_error(tws_redis *r, tws_str text, tws_redis_event *ev)
{
    const tws__redis_error *e = tws__redis_classify(text);
    tws__redis_kind kind = tws__redis_front(r)->kind;
    bool reads = tws__redis_is_load(kind);
    /* Without its streams, or its time, nobody could be told what is missing. */
    bool vital = kind == TWS__REDIS_TIME || kind == TWS__REDIS_PROBE ||
                 (reads && tws__redis_forbids(text));
    if (e->scope == TWS__REDIS_SERVER || vital) {
        if (kind == TWS__REDIS_STORE) { /* this one was answered: it is not stored */
            tws__redis_put(&r->failed, (tws__redis_publish *)tws__redis_pop_call(r).what);
        }
        tws__redis_fail(r, TWS_REDIS_COMMANDS, e->state, text);
    } else if (reads) {
        tws__redis_on_load_error(r, text, ev);
    } else if (kind == TWS__REDIS_STORE) {
        tws__redis_on_store_error(r, e, text, ev);
    } else {
        (void)tws__redis_pop_call(r);
        if (kind == TWS__REDIS_TRY && tws_str_starts(text, "NOSCRIPT")) {
            r->no_script = true; /* and the next one brings it */
        } else if (kind == TWS__REDIS_TRY) {
            const tws__redis_error none = {"", TWS_REDIS_IS_READONLY, TWS__REDIS_STORING};
            tws__redis_note_storing(r, e->scope == TWS__REDIS_STORING ? e : &none, text);
        }
    }
}

/* -- opening -- */

static void tws__redis_up(tws_redis *r, tws_redis_link link)
{
    tws__redis_end *end = &r->end[link];
    end->step = TWS__REDIS_UP;
    end->up_ms = r->now_ms;
    r->stats.connects++;
    r->beat_ms = r->now_ms;
    if (link == TWS_REDIS_COMMANDS) {
        r->time_out = false;
        r->no_script = true;
        tws__redis_stores(r);
        if (r->replica) {
            tws__redis_is_replica_now(r);
        } else if (r->end[TWS_REDIS_SUBSCRIBER].replica) { /* data may have changed unpushed */
            tws__redis_fail_c(r, TWS_REDIS_SUBSCRIBER, TWS_REDIS_IS_READONLY, "it was a replica");
        }
    }
}

/* A step is done. Behind HELLO and AUTH, whichever was the last, come the connection's own. */
static void tws__redis_opened(tws_redis *r, tws_redis_link link)
{
    const uint8_t step = r->end[link].step;
    if (step > TWS__REDIS_SELECT) {
        tws__redis_up(r, link);
    } else if (link == TWS_REDIS_SUBSCRIBER) {
        tws__redis_step(r, link, TWS__REDIS_LISTEN);
    } else {
        bool select = step < TWS__REDIS_SELECT && r->url.db > 0;
        tws__redis_step(r, link, select ? TWS__REDIS_SELECT : TWS__REDIS_LOOK);
    }
}

/* A Redis before 6 does not know HELLO: then it is RESP2, and a login of its own. */
static void tws__redis_not_opened(tws_redis *r, tws_redis_link link, tws_str text)
{
    const tws__redis_error *e = tws__redis_classify(text);
    uint8_t step = r->end[link].step;
    bool full = tws_str_starts(text, "ERR max number of clients");
    if (e->scope != TWS__REDIS_COMMAND || full || step > TWS__REDIS_AUTH) {
        tws__redis_fail(r, link, e->state, text);
    } else if (step == TWS__REDIS_AUTH) {
        tws__redis_fail(r, link, TWS_REDIS_IS_WRONGPASS, text);
    } else if (r->url.password[0] != '\0') {
        tws__redis_step(r, link, TWS__REDIS_AUTH);
    } else {
        tws__redis_opened(r, link);
    }
}

/* HELLO answers with names and values in turn; one tells whether this is a replica. */
static void tws__redis_on_hello(tws_redis *r, tws__redis_end *end, const tws_resp_event *in)
{
    if (in->depth == 0) {
        end->is_role = false;
        return;
    }
    if (end->is_role && in->depth == 1) {
        bool replica = tws_str_eq_c(in->text, "replica") || tws_str_eq_c(in->text, "slave");
        if (end->step == TWS__REDIS_UP) {
            if (replica) {
                tws__redis_is_replica_now(r);
            }
        } else if (end == &r->end[TWS_REDIS_COMMANDS]) {
            r->tells_role = true;
            r->replica = replica;
        } else {
            end->replica = replica;
        }
    }
    end->is_role = in->depth == 1 && !end->is_role && tws_str_eq_c(in->text, "role");
}

static void tws__redis_on_opening(tws_redis *r, tws_redis_link link, const tws_resp_event *in)
{
    tws__redis_end *end = &r->end[link];
    if (end->step == TWS__REDIS_HELLO) {
        tws__redis_on_hello(r, end, in);
        if (in->depth == 1 && tws_str_eq_c(in->text, "sentinel")) { /* its mode */
            tws__redis_fail_c(r, link, TWS_REDIS_IS_NO_REDIS,
                              "a Sentinel; give the address of the Redis that it watches");
            return;
        }
    }
    if (!in->done) {
        return;
    }
    tws__redis_answered(r, end);
    if (in->type == TWS_RESP_SERVER_ERROR) {
        tws__redis_not_opened(r, link, in->text);
    } else {
        tws__redis_opened(r, link);
    }
}

/* -- what comes on the commands' connection -- */

static void tws__redis_on_answer(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    const tws__redis_call *c = tws__redis_front(r);
    tws__redis_end *end = &r->end[TWS_REDIS_COMMANDS];
    if (c == NULL) {
        tws__redis_fail_c(r, TWS_REDIS_COMMANDS, TWS_REDIS_IS_NO_REDIS, "an answer to nothing");
        return;
    }
    if (in->done) {
        tws__redis_answered(r, end);
    }
    if (in->depth == 0 && in->type == TWS_RESP_SERVER_ERROR) {
        if (in->done) {
            tws__redis_on_error(r, in->text, ev);
        }
        return;
    }
    switch (c->kind) {
    case TWS__REDIS_TIME: tws__redis_on_time(r, in); break;
    case TWS__REDIS_ROLE: tws__redis_on_hello(r, end, in); break;
    case TWS__REDIS_PROBE: tws__redis_on_probe(r, in); break;
    case TWS__REDIS_TRY: tws__redis_stores(r); break;
    case TWS__REDIS_STORE: tws__redis_on_stored(r, in, ev); return;
    case TWS__REDIS_FIRST:
    case TWS__REDIS_MORE:
    case TWS__REDIS_AGAIN: tws__redis_on_load(r, in, ev); return;
    }
    if (in->done) {
        (void)tws__redis_pop_call(r);
    }
}

/* A push is no answer. None is asked for here. */
static void tws__redis_on_commands(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    tws__redis_end *end = &r->end[TWS_REDIS_COMMANDS];
    if (end->in_push || in->type == TWS_RESP_PUSH) {
        end->in_push = !in->done;
    } else if (end->step < TWS__REDIS_UP) {
        tws__redis_on_opening(r, TWS_REDIS_COMMANDS, in);
    } else {
        tws__redis_on_answer(r, in, ev);
    }
}

/* -- what comes on the subscriber's -- */

/* `ID JSON` is an event that has been stored; anything else is one that was not. */
static tws_event_id tws__redis_split(tws_str *payload)
{
    tws_str head = tws_str_of(payload->ptr, tws__min(payload->len, TWS_EVENT_ID_MAX + 1));
    size_t blank = tws_str_find(head, ' ');
    tws_str text = tws_str_of(head.ptr, blank);
    tws_event_id id = tws__event_id(0, 0);
    bool dashed = blank < head.len && tws_str_find(text, '-') < text.len;
    if (!dashed || !tws_event_id_parse(text, &id) || tws__event_id_none(id)) {
        return tws__event_id(0, 0);
    }
    *payload = tws_str_from(*payload, blank + 1);
    return id;
}

/* May this stored event be given now? On one channel ids only rise. Where they do not, the stream
 * is another one, or somebody forged an id: reading will tell. So it will on a replica, which takes
 * over its master's data at times and pushes nothing of it; and where the first event that is
 * pushed is none after the past, which may be of another stream: most often it is a repeat, and
 * the next ones are. */
static bool tws__redis_hear(tws_redis *r, tws__redis_user *u, tws_event_id id)
{
    bool next = tws_event_id_compare(id, u->last) > 0;
    bool falls = tws_event_id_compare(id, u->heard) <= 0 || (!next && tws__event_id_none(u->heard));
    u->heard = id;
    if (u->state == TWS__REDIS_LOADING) {
        u->flags |= falls ? TWS__REDIS_MISSED | TWS__REDIS_FELL : TWS__REDIS_MISSED;
        return false;
    }
    if (u->state != TWS__REDIS_LIVE) {
        return false;
    }
    if (falls || (next && r->replica)) {
        tws__redis_enter(r, u, TWS__REDIS_TO_LOAD);
        return false;
    }
    r->stats.repeats += next ? 0 : 1;
    u->last = next ? id : u->last;
    return next;
}

static void tws__redis_on_message(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    tws__redis_user *u = r->push.user;
    tws_str json = in->text;
    if (u == NULL || (u->flags & TWS__REDIS_WANTED) == 0) {
        return;
    }
    if (!in->first || json.len > r->desc.max_event_bytes + TWS_EVENT_ID_MAX + 1) {
        tws__redis_tell_dropped(r, ev, u, tws__event_id(0, 0), "an event too big");
        return;
    }
    tws_event_id id = tws__redis_split(&json);
    if (tws__event_id_none(id) || tws__redis_hear(r, u, id)) {
        tws__redis_give(r, u, id, json, ev);
    }
}

/* The probe is back: both connections do what they are for. One that has for a while begins again
 * with short waits, should it fail. */
static void tws__redis_on_probe_back(tws_redis *r, tws_str text)
{
    uint64_t number;
    if (!tws_str_u64(text, &number) || number != r->probe) {
        return;
    }
    r->probe_out = false;
    r->probe_back = r->probe_back || r->probe_sent;
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws__redis_end *end = &r->end[i];
        bool proven = r->now_ms - end->up_ms >= r->desc.backoff_max_ms;
        end->attempts = proven && end->step == TWS__REDIS_UP ? 0 : end->attempts;
    }
}

static void tws__redis_on_confirmed(tws_redis *r, tws__redis_user *u, char kind)
{
    bool wanted = (u->flags & TWS__REDIS_WANTED) != 0;
    if (kind == 's' && u->state == TWS__REDIS_SUBSCRIBING) {
        u->heard = tws__event_id(0, 0);
        tws__redis_enter(r, u, wanted ? TWS__REDIS_TO_LOAD : TWS__REDIS_TO_LEAVE);
    } else if (kind == 'u' && u->state == TWS__REDIS_LEAVING) {
        tws__redis_enter(r, u, wanted ? TWS__REDIS_TO_SUBSCRIBE : TWS__REDIS_OUT);
        tws__redis_tidy(r, u);
    }
}

static char tws__redis_push_kind(tws_str word)
{
    bool known = tws_str_eq_c(word, "message") || tws_str_eq_c(word, "subscribe") ||
                 tws_str_eq_c(word, "unsubscribe");
    return known ? word.ptr[0] : '\0';
}

static void tws__redis_on_channel(tws_redis *r, tws_str channel)
{
    tws__redis_push *p = &r->push;
    p->probe = tws_str_eq_c(channel, r->probe_channel);
    if (!p->probe && tws_str_starts(channel, TWS__REDIS_PREFIX)) {
        p->user = tws__redis_find(r, tws_str_from(channel, strlen(TWS__REDIS_PREFIX)));
    }
}

/* [kind, channel, payload or number] */
static void tws__redis_on_push_part(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    tws__redis_push *p = &r->push;
    p->part += in->first ? 1u : 0u;
    if (p->part == 1 && in->first && in->last) {
        p->kind = tws__redis_push_kind(in->text);
    } else if (p->part == 2 && in->first && in->last) {
        tws__redis_on_channel(r, in->text);
    } else if (p->part == 3 && p->kind == 'm' && in->last) {
        if (p->probe) {
            tws__redis_on_probe_back(r, in->text);
        } else {
            tws__redis_on_message(r, in, ev);
        }
    }
}

static void tws__redis_end_push(tws_redis *r)
{
    tws__redis_push *p = &r->push;
    tws__redis_end *end = &r->end[TWS_REDIS_SUBSCRIBER];
    if (p->kind == 's' || p->kind == 'u') {
        tws__redis_answered(r, end);
    }
    if (p->kind == 's' && p->probe && end->step == TWS__REDIS_LISTEN) {
        tws__redis_opened(r, TWS_REDIS_SUBSCRIBER);
    }
    if (p->user != NULL) {
        tws__redis_on_confirmed(r, p->user, p->kind);
    }
    memset(p, 0, sizeof *p);
}

/* In RESP2 a push looks like an answer; here everything is one. */
static void tws__redis_on_pushed(tws_redis *r, const tws_resp_event *in, tws_redis_event *ev)
{
    if (in->depth == 0 && in->type == TWS_RESP_SERVER_ERROR) {
        if (in->done) {
            const tws__redis_error *e = tws__redis_classify(in->text);
            tws__redis_fail(r, TWS_REDIS_SUBSCRIBER, e->state, in->text);
        }
        return;
    }
    if (in->depth == 1) {
        tws__redis_on_push_part(r, in, ev);
    }
    if (in->done) {
        tws__redis_end_push(r);
    }
}

/* -- in and out -- */

/* Decode one event of RESP. False when there is none. */
static bool tws__redis_decode(tws_redis *r, tws_redis_link link, tws_redis_event *ev)
{
    tws__redis_end *end = &r->end[link];
    tws_resp_event in;
    if (end->step <= TWS__REDIS_DIAL || end->in_pos == end->in_len) {
        return false;
    }
    size_t used = tws_resp_decode(&end->decoder, end->in + end->in_pos, end->in_len - end->in_pos,
                                  &in);
    end->in_pos += used;
    if (in.type == TWS_RESP_MORE) {
        return used > 0;
    }
    if (in.type == TWS_RESP_ERROR) {
        tws__redis_fail_c(r, link, TWS_REDIS_IS_NO_REDIS, in.reason);
    } else if (link == TWS_REDIS_COMMANDS) {
        tws__redis_on_commands(r, &in, ev);
    } else if (end->step < TWS__REDIS_LISTEN) {
        tws__redis_on_opening(r, link, &in);
    } else {
        tws__redis_on_pushed(r, &in, ev);
    }
    return true;
}

/* Has the state changed since it was last told, or its reason? */
static bool tws__redis_tell_state(tws_redis *r, tws_redis_event *ev)
{
    tws_str why;
    tws_redis_state state = tws_redis_now(r, &why);
    if (state == r->told && tws_str_eq_c(why, r->told_why)) {
        return false;
    }
    r->told = state;
    tws__redis_keep_reason(r->told_why, why);
    ev->type = TWS_REDIS_STATE;
    ev->state = state;
    ev->reason = tws_str_c(r->told_why);
    return true;
}

/* One step on the way to an event. False when there is nothing more to do. */
static bool tws__redis_advance(tws_redis *r, tws_redis_event *ev)
{
    const tws__redis_end *commands = &r->end[TWS_REDIS_COMMANDS];
    if (tws__redis_tell_state(r, ev)) {
        return true;
    }
    if (r->failed.first != NULL) {
        tws__redis_publish *p = tws__redis_get(&r->failed);
        tws_buf why;
        tws_buf_fixed(&why, r->said, sizeof r->said);
        tws_buf_c(&why, commands->why);
        tws_buf_c(&why, p->lost ? TWS__REDIS_UNKNOWN : "");
        tws_buf_char(&why, '\0');
        ev->unknown = p->lost;
        tws__redis_tell_failed(r, p, commands->state, r->said, ev);
        return true;
    }
    if (r->past_user != NULL) {
        tws__redis_give_past(r, ev);
        return true;
    }
    if (tws__redis_linked(&r->to_tell)) {
        tws__redis_tell_current(r, ev);
        return true;
    }
    return tws__redis_decode(r, TWS_REDIS_COMMANDS, ev) ||
           tws__redis_decode(r, TWS_REDIS_SUBSCRIBER, ev);
}

TWS_API tws_redis_event_type tws_redis_next(tws_redis *r, tws_redis_event *ev)
{
    memset(ev, 0, sizeof *ev);
    while (ev->type == TWS_REDIS_NONE && tws__redis_advance(r, ev)) {
    }
    return ev->type;
}

TWS_API char *tws_redis_input(tws_redis *r, tws_redis_link link, size_t *room)
{
    tws__redis_end *end = &r->end[link];
    size_t rest = end->in_len - end->in_pos;
    if (end->in_pos > 0 && rest > 0) {
        memmove(end->in, end->in + end->in_pos, rest);
    }
    end->in_pos = 0;
    end->in_len = rest;
    *room = tws__redis_in_bytes(&r->desc) - rest;
    return end->in + rest;
}

TWS_API void tws_redis_received(tws_redis *r, tws_redis_link link, size_t n)
{
    tws__redis_end *end = &r->end[link];
    if (end->step <= TWS__REDIS_DIAL) {
        return;
    }
    end->in_len += n;
    TWS_ASSERT(end->in_len <= tws__redis_in_bytes(&r->desc));
    end->heard_ms = r->now_ms;
    end->at_ms = end->waiting > 0 ? r->now_ms + r->desc.command_ms : end->at_ms;
}

TWS_API uint32_t tws_redis_connection(const tws_redis *r, tws_redis_link link)
{
    return r->end[link].step == TWS__REDIS_DOWN ? 0 : r->end[link].number;
}

TWS_API void tws_redis_connected(tws_redis *r, tws_redis_link link)
{
    tws__redis_end *end = &r->end[link];
    tws_resp_limits limits;
    if (end->step != TWS__REDIS_DIAL) {
        return;
    }
    limits.max_string = 0;
    limits.max_count = 0;
    limits.whole = tws__redis_whole(&r->desc);
    tws_resp_init(&end->decoder, &limits);
    end->in_push = false;
    end->replica = false;
    if (link == TWS_REDIS_COMMANDS) {
        r->replica = false;
        r->tells_role = false;
    }
    tws__redis_step(r, link, TWS__REDIS_HELLO);
}

/* What a setting may have done is named, for nothing else will: a port for TLS ends what it does
 * not understand, and Redis who is quiet for `timeout` seconds, again and again. */
TWS_API void tws_redis_closed(tws_redis *r, tws_redis_link link, const char *why)
{
    const tws__redis_end *end = &r->end[link];
    const bool idle = end->step == TWS__REDIS_UP && end->waiting == 0 && end->attempts > 0 &&
                      r->now_ms - end->heard_ms >= 1000;
    why = end->step == TWS__REDIS_HELLO
              ? "ended before an answer: a port for TLS, or a proxy without its Redis?"
          : idle && link == TWS_REDIS_COMMANDS ? "ended while idle: is Redis's timeout below 4 s?"
                                               : why;
    tws__redis_fail_c(r, link, TWS_REDIS_IS_UNREACHABLE, why);
}

/* -- publishing -- */

/* Take it, which has the session's allocator; after an error it is still the caller's. */
static tws_status tws__redis_accept(tws_redis *r, tws__redis_publish *p)
{
    size_t bytes = tws__redis_publish_bytes(p);
    if (r->end[TWS_REDIS_COMMANDS].step != TWS__REDIS_UP || r->replica) {
        return TWS_ERR_UNAVAILABLE;
    }
    if (r->stats.publishing >= r->desc.max_publishes ||
        bytes > r->desc.max_publish_bytes - r->publish_bytes) {
        return TWS_ERR_LIMIT;
    }
    r->publish_bytes += bytes;
    r->stats.publishing++;
    tws__redis_put(&r->accepted, p);
    return TWS_OK;
}

TWS_API tws_status tws_redis_publish(tws_redis *r, tws_str user_id, tws_str json, tws_str key,
                                     uint64_t ticket)
{
    if (!tws__user_id_fits(user_id) || json.len == 0 ||
        json.len > r->desc.max_event_bytes || key.len > TWS_REDIS_MAX_KEY) {
        return TWS_ERR_ARGUMENT;
    }
    const tws_allocator *a = r->desc.allocator;
    tws__redis_publish *p = tws__redis_publish_create(a, user_id, json, key, ticket);
    if (p == NULL) {
        return TWS_ERR_MEMORY;
    }
    tws_status status = tws__redis_accept(r, p);
    if (status != TWS_OK) {
        tws_release(a, p, tws__redis_publish_bytes(p));
    }
    return status;
}

/* -- time -- */

/* When a probe that Redis has taken must have come back, UINT64_MAX without one. What comes before
 * it is not held against the subscription. */
static TWS__APART uint64_t tws__redis_deaf_at(const tws_redis *r)
{
    const tws__redis_end *end = &r->end[TWS_REDIS_SUBSCRIBER];
    uint64_t from = r->probe_ms > end->heard_ms ? r->probe_ms : end->heard_ms;
    bool due = end->step == TWS__REDIS_UP && r->probe_out && r->probe_sent;
    return due ? from + r->desc.command_ms : UINT64_MAX;
}

/* A replica may be promoted, or its address lead to another server: look again. */
static TWS__APART uint64_t tws__redis_recheck_at(const tws_redis *r)
{
    const tws__redis_end *end = &r->end[TWS_REDIS_COMMANDS];
    bool due = end->step == TWS__REDIS_UP && r->replica;
    return due ? end->up_ms + r->desc.backoff_max_ms : UINT64_MAX;
}

static void tws__redis_check_end(tws_redis *r, tws_redis_link link)
{
    tws__redis_end *end = &r->end[link];
    if (r->now_ms < end->at_ms) {
        return;
    }
    if (end->step != TWS__REDIS_DOWN) {
        tws__redis_fail_c(r, link, TWS_REDIS_IS_SILENT, end->step == TWS__REDIS_DIAL
                                                            ? "no connection in time"
                                                            : "no answer in time");
        return;
    }
    end->step = TWS__REDIS_DIAL;
    end->at_ms = r->now_ms + r->desc.command_ms;
    end->number += end->number == UINT32_MAX ? 2 : 1; /* never 0 */
}

TWS_API void tws_redis_tick(tws_redis *r, uint64_t now_ms)
{
    r->now_ms = now_ms > r->now_ms ? now_ms : r->now_ms;
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws__redis_check_end(r, (tws_redis_link)i);
    }
    if (r->now_ms >= tws__redis_deaf_at(r)) {
        tws__redis_fail_c(r, TWS_REDIS_SUBSCRIBER, TWS_REDIS_IS_DEAF,
                          "its own probe was not heard");
    }
    if (r->now_ms >= tws__redis_recheck_at(r)) {
        r->end[TWS_REDIS_COMMANDS].attempts = 0;
        tws__redis_fail_c(r, TWS_REDIS_COMMANDS, TWS_REDIS_IS_READONLY, "it is a replica");
    }
}

TWS_API uint64_t tws_redis_deadline(const tws_redis *r)
{
    const tws__redis_end *commands = &r->end[TWS_REDIS_COMMANDS];
    const tws__redis_end *subscriber = &r->end[TWS_REDIS_SUBSCRIBER];
    uint64_t at = tws__min64(commands->at_ms, subscriber->at_ms);
    at = tws__min64(at, tws__min64(tws__redis_deaf_at(r), tws__redis_recheck_at(r)));
    if (commands->step == TWS__REDIS_UP && !r->time_out) {
        at = tws__min64(at, r->beat_ms);
    }
    if (tws__redis_linked(&r->in_state[TWS__REDIS_TO_LOAD]) && r->again_ms > r->now_ms) {
        at = tws__min64(at, r->again_ms);
    }
    if (commands->starved || subscriber->starved) {
        at = tws__min64(at, r->now_ms + r->desc.backoff_min_ms);
    }
    return at;
}

/* -- asking -- */

TWS_API void tws_redis_stat(const tws_redis *r, tws_redis_stats *out)
{
    *out = r->stats;
    out->users = r->users.count;
}

/* -- life -- */

/* Apart, so that the desc stays in one piece: else each member is copied by itself. */
static TWS__APART void tws__redis_configure(tws_redis_desc *d)
{
    d->task_key = d->task_key == NULL ? "task_id" : d->task_key;
    d->max_users = tws__default(d->max_users, 131072);
    d->max_event_bytes = tws__default(d->max_event_bytes, 64 * 1024);
    d->max_event_bytes = d->max_event_bytes > 1024 ? d->max_event_bytes : 1024;
    d->max_event_bytes = (uint32_t)tws__min(d->max_event_bytes, TWS__REDIS_MOST);
    d->load_events = tws__default(d->load_events, 256);
    d->load_bytes = (uint32_t)tws__min(tws__default(d->load_bytes, 256 * 1024), TWS__REDIS_MOST);
    d->retain_events = tws__default(d->retain_events, 1000);
    d->retain_s = tws__default(d->retain_s, 24 * 60 * 60);
    d->max_publishes = tws__default(d->max_publishes, 4096);
    d->max_publish_bytes = tws__default(d->max_publish_bytes, 8 * 1024 * 1024);
    d->command_ms = tws__default(d->command_ms, 5000);
    d->probe_ms = tws__default(d->probe_ms, 3000);
    d->backoff_min_ms = tws__default(d->backoff_min_ms, 50);
    d->backoff_max_ms = tws__default(d->backoff_max_ms, 5000);
    if (d->backoff_max_ms < d->backoff_min_ms) {
        d->backoff_max_ms = d->backoff_min_ms;
    }
}

static void tws__hex(const uint8_t *bytes, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

/* The probe's channel is one of ours by its name, so that an access list which allows those allows
 * it, and like no user's. */
static void tws__redis_name(tws_redis *r)
{
    static const char prefix[] = TWS__REDIS_PREFIX "probe:";
    uint8_t digest[TWS_SHA1_BYTES];
    const char *script = tws_redis_script();
    uint64_t nonce = tws__hash(r->hash_key, tws_str_c("probe"));
    tws_sha1(script, strlen(script), digest);
    tws__hex(digest, sizeof digest, r->sha);
    memcpy(digest, &nonce, sizeof nonce);
    memcpy(r->probe_channel, prefix, sizeof prefix);
    tws__hex(digest, sizeof nonce, r->probe_channel + sizeof prefix - 1);
}

static void tws__redis_init(tws_redis *r, const tws_redis_desc *d, uint64_t now_ms)
{
    char *at = (char *)(r->call + r->call_max);
    r->url = *d->url;
    r->desc.url = NULL;
    memcpy(r->hash_key, d->seed, sizeof r->hash_key);
    r->random = tws__hash(r->hash_key, tws_str_c("jitter")) | 1;
    r->now_ms = now_ms;
    r->storing = TWS_REDIS_IS_READY;
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        r->end[i].at_ms = now_ms;
        r->end[i].in = at;
        tws_buf_init(&r->end[i].out, d->allocator, SIZE_MAX / 2);
        at += tws__redis_in_bytes(d);
    }
    r->past = at;
    tws_buf_fixed(&r->text, at + r->past_max, d->max_event_bytes);
    for (int i = 0; i < TWS__REDIS_STATES; i++) {
        tws__redis_list(&r->in_state[i]);
    }
    tws__redis_list(&r->to_tell);
    tws__redis_name(r);
}

/* All that does not grow with use is one allocation. */
TWS_API tws_status tws_redis_create(tws_redis **session, const tws_redis_desc *desc,
                                    uint64_t now_ms)
{
    tws_redis_desc d = *desc;
    tws__redis_configure(&d);
    size_t calls = (size_t)d.max_publishes + TWS__REDIS_LOADS + 7; /* TIME, and of two beats
                                                                             probe, try and role */
    size_t past = tws__max(d.load_bytes, (size_t)d.max_event_bytes + 32);
    size_t memory = sizeof(tws_redis) + calls * sizeof(tws__redis_call) +
                    TWS_REDIS_LINKS * tws__redis_in_bytes(&d) + past + d.max_event_bytes;
    tws_redis *r = (tws_redis *)tws_alloc(d.allocator, memory);
    *session = NULL;
    if (r == NULL) {
        return TWS_ERR_MEMORY;
    }
    if (!tws__users_init(&r->users, d.allocator, TWS__REDIS_BUCKETS)) {
        tws_release(d.allocator, r, memory);
        return TWS_ERR_MEMORY;
    }
    r->desc = d;
    r->memory = memory;
    r->call = (tws__redis_call *)(r + 1);
    r->call_max = calls;
    r->past_max = past;
    tws__redis_init(r, &d, now_ms);
    tws_redis_tick(r, now_ms);
    *session = r;
    return TWS_OK;
}

TWS_API void tws_redis_free(tws_redis *r)
{
    if (r == NULL) {
        return;
    }
    tws__redis_lose_calls(r); /* hands the publishes over to `failed` */
    while (r->failed.first != NULL) {
        tws__redis_drop_publish(r, tws__redis_get(&r->failed));
    }
    tws__users_free(&r->users);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws_wipe(r->end[i].out.ptr, r->end[i].out.cap); /* the password was sent */
        tws_buf_free(&r->end[i].out);
    }
    const tws_allocator *a = r->desc.allocator;
    size_t memory = r->memory;
    tws_wipe(r, memory);
    tws_release(a, r, memory);
}
#endif /* TASKWS_NO_REDIS */

/* == 18. conn: one connection, HTTP to WebSocket to closing ============== RFC 9112, RFC 6455 ==
 * Four ports: bytes in, events out, bytes out, time. A connection at rest owns no buffer: input
 * is read where the caller's turn holds it, output is gathered in the turn, and only what is left
 * incomplete or unsent at the turn's end is kept. No policy: what to answer and which code to close
 * with is said from above. Where contexts are allowed, a WebSocket owns one as long as it is open,
 * of some 100 bytes until a message is compressed. */

enum {
    TWS__HEAD,    /* between requests, or a head has begun */
    TWS__BODY,    /* the head is read, the body is not */
    TWS__WAIT,    /* a request was handed out and waits for its answer */
    TWS__STREAM,  /* an answer without an end */
    TWS__OPEN,    /* WebSocket */
    TWS__CLOSING, /* our close frame is out, the peer's is not in */
    TWS__FLUSH,   /* what is left goes out, then the sending side ends */
    TWS__DRAIN,   /* read and drop until the peer ends too: no reset for unread input */
    TWS__DONE
};

enum {
    TWS__KEEP_ALIVE = 1,
    TWS__NO_BODY = 2,   /* the request was HEAD */
    TWS__EOF = 4,       /* the peer's sending side has ended */
    TWS__REPORT = 8,    /* CLOSED is still to be told */
    TWS__BEGUN = 16,    /* bytes of the current head have come */
    TWS__MINOR_0 = 32,  /* HTTP/1.0 */
    TWS__SERVED = 64,   /* a request has been handed out before */
    TWS__PINGED = 128   /* since_ms is a ping's */
};

/* A borrowed payload of so many bytes is written from where it is; a copy of less is cheaper. */
#define TWS__BORROW 512u
#define TWS__MOVE 4096u /* to move so many bytes, or less, is cheaper than a slice of their own */
#define TWS__LEND 1024u /* the rest of a lent unit, if it is shorter, is copied */

#define TWS__OUTPUT_BYTES (256 * 1024u) /* or 16 times max_output_bytes: then no message is taken */

/* A request takes as much time as so many small frames, about. */
#define TWS__REQUEST_WORK 32u

/* -- contexts: what a connection's compressed messages may refer to, RFC 7692 7.1.1 -- */

#ifndef TASKWS_NO_DEFLATE

/* The terms agreed on are binding, so the memory of both sides is counted from the handshake on;
 * but each side's is allocated only with its first compressed message. */
typedef struct tws__context {
    tws_inflate_window window; /* of the client's messages; bits 0: they refer to none */
    tws_deflater deflater;     /* of ours; window_bits 0: likewise */
} tws__context;

static size_t tws__context_inflates(const tws__context *x)
{
    return x->window.bits == 0 ? 0 : (size_t)1 << x->window.bits;
}

static size_t tws__context_deflates(const tws__context *x)
{
    const unsigned bits = x->deflater.window_bits;
    return bits == 0 ? 0 : TWS_DEFLATE_MEMORY(bits, true);
}

static size_t tws__context_bytes(const tws__context *x)
{
    return sizeof *x + tws__context_inflates(x) + tws__context_deflates(x);
}

/* NULL: the terms want none, or there is no room. */
static tws__context *tws__context_new(const tws_conn_desc *d, const tws_ws_compression *terms)
{
    tws__context x;
    memset(&x, 0, sizeof x);
    x.window.bits = terms->client_context;
    x.deflater.window_bits = terms->server_context;
    const size_t bytes = tws__context_bytes(&x);
    const bool wanted = terms->client_context != 0 || terms->server_context != 0;
    if (!wanted || d->context_use == NULL || d->context_bytes == TWS_OFF) {
        return NULL;
    }
    tws__context *made = NULL;
    if (TWS__SUM(d->context_use, bytes) <= d->context_bytes) {
        made = (tws__context *)tws_alloc(d->allocator, sizeof *made);
    }
    if (made == NULL) {
        TWS__COUNT(d->context_use, 0 - bytes);
        return NULL;
    }
    *made = x;
    return made;
}

/* An open WebSocket ends, and its context with it. */
static void tws__conn_drop_context(tws_conn *c)
{
    const tws_conn_desc *d = c->desc;
    tws__context *x = c->context;
    if (x == NULL) {
        return;
    }
    TWS__COUNT(d->context_use, 0 - tws__context_bytes(x));
    tws_release(d->allocator, x->window.memory, tws__context_inflates(x));
    tws_release(d->allocator, x->deflater.head, tws__context_deflates(x));
    tws_release(d->allocator, x, sizeof *x);
    c->context = NULL;
}

/* A compressed message goes out that is in the client's context and not in ours: references to what
 * came before it would be off by its length, so there are to be none. */
static void tws__context_forget(tws__context *x)
{
    if (x != NULL && x->deflater.head != NULL) {
        tws_deflate_forget(&x->deflater);
    }
}

#else

static struct tws__context *tws__context_new(const tws_conn_desc *d,
                                             const tws_ws_compression *terms)
{
    (void)d;
    (void)terms;
    return NULL;
}

static void tws__conn_drop_context(tws_conn *c)
{
    (void)c;
}

static void tws__context_forget(struct tws__context *x)
{
    (void)x;
}

#endif /* TASKWS_NO_DEFLATE */

/* -- life -- */

TWS_API void tws_conn_defaults(tws_conn_desc *d)
{
    d->max_head_bytes = tws__default(d->max_head_bytes, 16 * 1024);
    d->max_body_bytes = tws__default(d->max_body_bytes, 64 * 1024);
    d->max_message_bytes = tws__default(d->max_message_bytes, 64 * 1024);
    d->max_frames = tws__default(d->max_frames, 1024);
    d->max_output_bytes = tws__default(d->max_output_bytes, 1024);
    d->compress_bytes = tws__default(d->compress_bytes, 128);
    d->context_bits = tws__default(d->context_bits, 12);
    TWS_ASSERT(d->context_bits >= 8 && d->context_bits <= TWS_WS_MAX_WINDOW_BITS);
    d->head_ms = tws__default(d->head_ms, 10 * 1000);
    d->body_ms = tws__default(d->body_ms, 10 * 1000);
    d->idle_ms = tws__default(d->idle_ms, 75 * 1000);
    d->heartbeat_ms = tws__default(d->heartbeat_ms, 25 * 1000);
    d->answer_ms = tws__default(d->answer_ms, 10 * 1000);
    d->stall_ms = tws__default(d->stall_ms, 30 * 1000);
    d->close_ms = tws__default(d->close_ms, 5 * 1000);
}

TWS_API void tws_conn_init(tws_conn *c, const tws_conn_desc *desc, uint64_t now_ms)
{
    TWS_ASSERT(desc->context_bits != 0); /* tws_conn_defaults was not called */
    memset(c, 0, sizeof *c);
    c->desc = desc;
    c->since_ms = now_ms;
}

static uint8_t *tws__kept_bytes(tws_conn_kept *k)
{
    return (uint8_t *)(k + 1);
}

static size_t tws__kept_waiting(const tws_conn_kept *k)
{
    return k == NULL ? 0 : k->len + k->lent.len - k->pos;
}

/* What is lent has gone, or is not wanted any more. */
static void tws__kept_return(tws_conn_kept *k)
{
    if (k->lent.len != 0) {
        k->lender->release(k->object);
        k->lent.len = 0;
    }
}

/* The bytes that wait: own ones, what is lent, own ones behind that. */
static size_t tws__kept_slices(tws_conn_kept *k, tws_str *slices, size_t max)
{
    const char *own = (const char *)tws__kept_bytes(k);
    const size_t lent = k->lent.len;
    const size_t cut = lent != 0 ? k->lent_at : k->len;
    size_t pos = k->pos;
    size_t n = 0;
    if (pos < cut) {
        slices[n++] = tws_str_of(own + pos, cut - pos);
        pos = cut;
    }
    if (n < max && lent != 0) {
        slices[n++] = tws_str_of(k->lent.ptr + (pos - cut), lent - (pos - cut));
    }
    if (n < max && cut < k->len) {
        slices[n++] = tws_str_of(own + cut, k->len - cut);
    }
    return n;
}

static void tws__kept_sent(tws_conn_kept *k, size_t n)
{
    k->pos += (uint32_t)n;
    if (k->lent.len != 0 && k->pos >= k->lent_at + k->lent.len) {
        k->pos -= (uint32_t)k->lent.len;
        tws__kept_return(k);
    }
}

static void tws__conn_drop(const tws_conn *c, tws_conn_kept **k)
{
    if (*k != NULL) {
        tws__kept_return(*k);
        tws_release(c->desc->allocator, *k, sizeof **k + (*k)->cap);
        *k = NULL;
    }
}

TWS_API void tws_conn_free(tws_conn *c)
{
    tws__conn_drop_context(c);
    tws__conn_drop(c, &c->in);
    tws__conn_drop(c, &c->message);
    tws__conn_drop(c, &c->out);
}

TWS_API bool tws_conn_open(const tws_conn *c)
{
    return c->state == TWS__OPEN || c->state == TWS__STREAM;
}

/* Once the closing has begun nobody hears the rest of a message, and a peer may take its time to
 * the end: what has been collected is not held for it. */
static void tws__conn_enter(tws_conn *c, uint8_t state, uint64_t now_ms)
{
    if (state >= TWS__CLOSING) {
        tws__conn_drop(c, &c->message);
        tws__conn_drop_context(c);
    }
    c->state = state;
    c->since_ms = now_ms;
}

/* The WebSocket's or stream's life is over; its owner hears it from the next call of next. */
static void tws__conn_over(tws_conn *c, uint16_t code)
{
    if (tws_conn_open(c)) {
        c->flags |= TWS__REPORT;
        c->close_code = code;
    }
}

TWS_API void tws_conn_abort(tws_conn *c)
{
    tws__conn_over(c, 1006);
    tws__conn_drop_context(c);
    c->state = TWS__DONE;
    tws__conn_drop(c, &c->out);
}

/* -- output: either the turn's slices or the kept buffer, never both -- */

/* Make room for n more bytes. Without memory that is the end of the connection, and false. */
static bool tws__conn_room(tws_conn *c, tws_conn_kept **k, size_t n)
{
    const bool fresh = *k == NULL;
    const size_t counts = sizeof **k;
    const size_t used = counts + (fresh ? 0 : (*k)->len);
    const size_t bytes = fresh ? 0 : counts + (*k)->cap;
    size_t want = bytes;
    void *grown = NULL;
    if (!fresh && n <= bytes - used) {
        return true;
    }
    if (n <= 0x7fffffffu - used) {
        want = fresh ? tws__max(used + n, 256) : bytes;
        while (want - used < n) {
            want *= 2;
        }
        grown = tws_resize(c->desc->allocator, *k, bytes, want);
    }
    if (grown == NULL) {
        tws_conn_abort(c);
        return false;
    }
    *k = (tws_conn_kept *)grown;
    if (fresh) {
        memset(*k, 0, counts);
    }
    (*k)->cap = (uint32_t)(want - counts);
    return true;
}

/* Append to what is kept. */
static TWS__APART bool tws__conn_keep_in(tws_conn *c, tws_conn_kept **k, const void *data,
                                         size_t len)
{
    if (!tws__conn_room(c, k, len)) {
        return false;
    }
    memcpy(tws__kept_bytes(*k) + (*k)->len, data, len);
    (*k)->len += (uint32_t)len;
    return true;
}

/* Forget what was sent, once that is a fifth of it: a peer that never takes all would else have
 * everything kept that was ever written to it. A byte is moved four times at most, on average. */
static void tws__kept_compact(tws_conn_kept *k)
{
    uint32_t waiting = k->len - k->pos;
    if (k->lent.len == 0 && k->pos >= waiting / 4 && k->pos != 0) {
        memmove(tws__kept_bytes(k), tws__kept_bytes(k) + k->pos, waiting);
        k->pos = 0;
        k->len = waiting;
    }
}

static bool tws__conn_keep(tws_conn *c, uint64_t now_ms, const void *data, size_t len)
{
    if (c->out == NULL) {
        c->progress_ms = now_ms;
    } else if (len > c->out->cap - c->out->len) {
        tws__kept_compact(c->out);
    }
    return tws__conn_keep_in(c, &c->out, data, len);
}

static size_t tws__conn_waiting(const tws_conn *c)
{
    return tws__kept_waiting(c->out);
}

static bool tws__conn_takes(const tws_conn *c)
{
    const uint64_t most = 16 * (uint64_t)c->desc->max_output_bytes;
    const size_t waiting = tws__conn_waiting(c);
    return waiting <= TWS__OUTPUT_BYTES || waiting <= most;
}

/* The rest of a lent unit's slice is held where it lies, instead of copied. */
static bool tws__conn_keep_lent(tws_conn *c, const tws_turn *t, size_t unit, tws_str rest)
{
    if (!tws__conn_keep(c, t->now_ms, "", 0)) { /* the counts */
        return false;
    }
    c->out->lent_at = c->out->len;
    c->out->lent = rest;
    c->out->lender = t->unit_lender[unit];
    c->out->object = t->unit_object[unit];
    c->out->lender->hold(c->out->object);
    return true;
}

/* Keep bytes [from, until) of the turn's slices. unit: which of the offered units they all belong
 * to; TWS_TURN_UNITS: none. */
static bool tws__conn_keep_slices(tws_conn *c, const tws_turn *t, size_t from, size_t until,
                                  size_t unit)
{
    const bool lends = unit < t->unit_count && t->unit_lender[unit] != NULL;
    bool kept = true;
    size_t at = 0;
    for (size_t i = 0; i < t->out_count && at < until && kept; i++) {
        size_t begin = tws__max(from, at);
        size_t end = tws__min(until, at + t->out[i].len);
        if (begin < end) {
            tws_str rest = tws_str_of(t->out[i].ptr + (begin - at), end - begin);
            bool lend = lends && rest.len >= TWS__LEND && (c->out == NULL || c->out->lent.len == 0);
            kept = lend ? tws__conn_keep_lent(c, t, unit, rest)
                        : tws__conn_keep(c, t->now_ms, rest.ptr, rest.len);
        }
        at += t->out[i].len;
    }
    return kept;
}

/* The turn's output has gone, or is kept by its connection, and the units with it. */
static void tws__turn_reset_output(tws_turn *t)
{
    t->unit_done += t->unit_count;
    t->out_count = 0;
    t->out_bytes = 0;
    t->sent_bytes = 0;
    t->scratch_len = 0;
    t->unit_count = 0;
    t->unit_fixed = 0;
}

static void tws__turn_release_last(const tws_conn *c, tws_turn *t)
{
    t->held_count--;
    tws_release(c->desc->allocator, t->held[t->held_count], t->held_cap[t->held_count]);
}

static void tws__turn_release_held(const tws_conn *c, tws_turn *t)
{
    while (t->held_count != 0) {
        tws__turn_release_last(c, t);
    }
}

/* A message's memory is the turn's from now on: what was sent of it may be borrowed until the
 * turn's end, while the next message is being collected already. */
static void tws__turn_hold(tws_turn *t, void *block, size_t bytes)
{
    t->held[t->held_count] = block;
    t->held_cap[t->held_count] = (uint32_t)bytes;
    t->held_count++;
}

/* Hand out a message where it came, behind so many bytes of its client's header. That is longer
 * than ours, so a header of ours can be written before the message and both be sent from here.
 * Where the message before was sent in this way, this one is moved to its end, to go out in one
 * slice. */
static void tws__turn_hand_out_here(tws_turn *t, tws_conn_event *ev, uint8_t *message, size_t len,
                                    size_t header)
{
    const tws_str *last = t->out_count == 0 ? NULL : &t->out[t->out_count - 1];
    const bool follows = last != NULL && last->ptr + last->len == (const char *)t->message_end;
    if (follows && len <= TWS__MOVE && header != 0) {
        message = (uint8_t *)memmove(t->message_end + header - 4, message, len);
    }
    t->message = header == 0 ? NULL : message;
    t->message_end = message + len;
    ev->payload = message;
    ev->len = len;
}

/* Add a slice, or lengthen the last one if this begins where that ends. */
static inline void tws__turn_add_slice(tws_turn *t, const void *data, size_t len)
{
    tws_str *last = t->out_count == 0 ? NULL : &t->out[t->out_count - 1];
    t->out_bytes += len;
    if (last != NULL && last->ptr + last->len == (const char *)data) {
        last->len += len;
        return;
    }
    t->out[t->out_count] = tws_str_of((const char *)data, len);
    t->out_count++;
}

/* len bytes have been written at the end of scratch: they are output. */
static void tws__turn_added(tws_turn *t, size_t len)
{
    const uint8_t *at = t->scratch + t->scratch_len;
    t->unit_fixed = t->unit_count;
    t->scratch_len += len;
    tws__turn_add_slice(t, at, len);
}

/* Can a frame with a payload of len bytes be written at the end of scratch? */
static bool tws__conn_fits(const tws_conn *c, const tws_turn *t, size_t len)
{
    const size_t room = TWS_TURN_SCRATCH - t->scratch_len;
    return c->out == NULL && t->out_count < TWS_TURN_SLICES &&
           room >= TWS_WS_MAX_HEADER && len <= room - TWS_WS_MAX_HEADER;
}

static bool tws__conn_write(tws_conn *c, tws_turn *t, const void *data, size_t len, bool borrowed)
{
    if (len == 0 || c->state == TWS__DONE) {
        return c->state != TWS__DONE;
    }
    t->unit_fixed = t->unit_count;
    if (c->out != NULL) {
        return tws__conn_keep(c, t->now_ms, data, len);
    }
    bool slice = borrowed && len >= TWS__BORROW;
    bool room =
        t->out_count < TWS_TURN_SLICES && (slice || len <= TWS_TURN_SCRATCH - t->scratch_len);
    if (!room) {
        if (!tws__conn_keep_slices(c, t, t->sent_bytes, t->out_bytes, TWS_TURN_UNITS)) {
            return false;
        }
        tws__turn_reset_output(t);
        return tws__conn_keep(c, t->now_ms, data, len);
    }
    if (slice) {
        tws__turn_add_slice(t, data, len);
    } else {
        memcpy(t->scratch + t->scratch_len, data, len);
        tws__turn_added(t, len);
    }
    return true;
}

/* Stop taking input while the turn has little room left, or the socket is behind. */
static bool tws__conn_backed_up(const tws_conn *c, tws_turn *t)
{
    if (t->held_count == TWS_TURN_HELD && t->out_count == 0) {
        tws__turn_release_held(c, t); /* no output borrows from them */
    }
    t->full = tws__conn_waiting(c) > c->desc->max_output_bytes ||
              t->out_count > TWS_TURN_SLICES - 8 || t->scratch_len > TWS_TURN_SCRATCH - 1024 ||
              t->held_count == TWS_TURN_HELD;
    return t->full;
}

TWS_API size_t tws_conn_output(const tws_conn *c, const tws_turn *t, tws_str *slices, size_t max)
{
    if (max == 0 || c->state == TWS__DONE) {
        return 0;
    }
    if (c->out != NULL) {
        return tws__kept_slices(c->out, slices, max);
    }
    size_t sent = t->sent_bytes;
    size_t n = 0;
    for (size_t i = 0; i < t->out_count && n < max; i++) {
        const tws_str rest = tws_str_from(t->out[i], sent);
        sent -= t->out[i].len - rest.len;
        if (rest.len != 0) {
            slices[n++] = rest;
        }
    }
    return n;
}

TWS_API void tws_conn_sent(tws_conn *c, tws_turn *t, size_t n)
{
    if (c->out != NULL) {
        TWS_ASSERT(n <= tws__conn_waiting(c));
        tws__kept_sent(c->out, n);
        if (n != 0) {
            c->progress_ms = t->now_ms;
        }
        if (tws__conn_waiting(c) == 0) {
            tws__conn_drop(c, &c->out);
            if (tws_conn_open(c)) {
                c->since_ms = t->now_ms; /* a pong that came meanwhile may be unread still */
            }
        }
        return;
    }
    TWS_ASSERT(n <= t->out_bytes - t->sent_bytes);
    t->sent_bytes += n;
    if (t->sent_bytes == t->out_bytes) {
        tws__turn_reset_output(t);
        tws__turn_release_held(c, t);
    }
}

TWS_API void tws_conn_unsent(tws_conn *c, uint64_t now_ms, const void *data, size_t len)
{
    TWS_ASSERT(c->out == NULL); /* nothing has been written behind it */
    if (len != 0 && c->state != TWS__DONE) {
        tws__conn_keep(c, now_ms, data, len);
    }
}

TWS_API bool tws_conn_offers(const tws_conn *c, const tws_turn *t)
{
    return tws_conn_open(c) && c->out == NULL && t->unit_count < TWS_TURN_UNITS &&
           t->out_count + 4 <= TWS_TURN_SLICES;
}

TWS_API bool tws_conn_offer(tws_conn *c, tws_turn *t, const tws_str *slices, size_t count)
{
    if (!tws_conn_offers(c, t) || count > TWS_TURN_SLICES - t->out_count) {
        return false;
    }
    tws__context_forget(c->context);
    t->unit_start[t->unit_count] = t->out_bytes;
    t->unit_lender[t->unit_count] = NULL;
    t->unit_count++;
    for (size_t i = 0; i < count; i++) {
        if (slices[i].len != 0) { /* else perhaps of no memory, from which no end can be counted */
            tws__turn_add_slice(t, slices[i].ptr, slices[i].len);
        }
    }
    return true;
}

TWS_API void tws_conn_lend(tws_turn *t, const tws_lender *lender, void *object)
{
    TWS_ASSERT(t->unit_count != 0);
    t->unit_lender[t->unit_count - 1] = lender;
    t->unit_object[t->unit_count - 1] = object;
}

/* -- a turn -- */

/* The input that was kept is the turn's input. */
static void tws__turn_input(const tws_conn *c, tws_turn *t)
{
    t->input = c->in == NULL ? NULL : tws__kept_bytes(c->in);
    t->input_len = tws__kept_waiting(c->in);
}

TWS_API void tws_conn_begin(tws_conn *c, tws_turn *t, uint64_t now_ms)
{
    t->held_count = 0;
    t->work = 0;
    tws__turn_reset_output(t);
    t->unit_done = 0;
    t->full = false;
    t->known = false;
    t->now_ms = now_ms;
    t->message = NULL;
    t->message_end = NULL;
    tws__turn_input(c, t);
}

/* A head begins, unless it has already: its time runs. */
static void tws__conn_begin_head(tws_conn *c, const tws_turn *t)
{
    if ((c->flags & TWS__BEGUN) == 0) {
        c->flags |= TWS__BEGUN;
        c->since_ms = t->now_ms;
    }
}

TWS_API void tws_conn_feed(tws_conn *c, tws_turn *t, uint8_t *data, size_t len)
{
    if (len == 0 || c->state >= TWS__FLUSH) {
        return;
    }
    if (c->state == TWS__OPEN) {
        c->flags &= (uint8_t)~TWS__PINGED;
        c->since_ms = t->now_ms;
    } else if (c->state == TWS__HEAD) {
        tws__conn_begin_head(c, t);
    }
    if (c->in == NULL) {
        t->input = data;
        t->input_len = len;
    } else if (tws__conn_keep_in(c, &c->in, data, len)) {
        tws__turn_input(c, t);
    }
}

static void tws__turn_take(tws_turn *t, size_t n)
{
    if (n == 0) {
        return; /* there may be no input at all */
    }
    t->input += n;
    t->input_len -= n;
}

/* Shrink a large block of which little is used. Only where output waits: a peer that takes its
 * output may need the whole block again in the next turn. */
static void tws__conn_shrink(const tws_conn *c, tws_conn_kept **k)
{
    const size_t bytes = sizeof **k + (*k)->cap;
    const size_t want = sizeof **k + (*k)->len + 256;
    if (want < bytes / 4) {
        void *less = tws_resize(c->desc->allocator, *k, bytes, want);
        if (less != NULL) {
            *k = (tws_conn_kept *)less;
            (*k)->cap = (uint32_t)(want - sizeof **k);
        }
    }
}

/* Keep the rest of the input for the next turn, in a buffer only if there is a rest. */
static void tws__conn_keep_input(tws_conn *c, const tws_turn *t)
{
    if (t->input_len == 0 || c->state >= TWS__FLUSH) {
        tws__conn_drop(c, &c->in);
        return;
    }
    if (c->in == NULL) {
        tws__conn_keep_in(c, &c->in, t->input, t->input_len);
        return;
    }
    memmove(tws__kept_bytes(c->in), t->input, t->input_len);
    c->in->len = (uint32_t)t->input_len;
    if (c->out != NULL) {
        tws__conn_shrink(c, &c->in);
    }
}

TWS_API size_t tws_conn_end(tws_conn *c, tws_turn *t)
{
    size_t units = t->unit_fixed;
    while (units < t->unit_count && t->unit_start[units] < t->sent_bytes) {
        units++;
    }
    if (units < t->unit_count && t->sent_bytes == t->unit_start[units] && t->out_bytes != 0) {
        units++; /* stopped between two units: one is kept, so that the stall is seen */
    }
    size_t until = units < t->unit_count ? t->unit_start[units] : t->out_bytes;
    if (c->state != TWS__DONE) {
        /* A lent unit is held, not copied, when all that is kept is of this one unit. With other
         * output behind it, or other units before it, which is rare, all is copied. */
        bool alone = units > t->unit_fixed && t->unit_start[units - 1] <= t->sent_bytes;
        tws__conn_keep_slices(c, t, t->sent_bytes, until, alone ? units - 1 : TWS_TURN_UNITS);
    }
    tws__conn_keep_input(c, t);
    units += t->unit_done;
    tws__turn_reset_output(t);
    tws__turn_release_held(c, t);
    t->unit_done = 0;
    t->input = NULL;
    t->input_len = 0;
    return units;
}

TWS_API void tws_conn_eof(tws_conn *c)
{
    if ((c->flags & TWS__EOF) != 0) {
        tws_conn_abort(c);
    }
    c->flags |= TWS__EOF;
    if (c->state == TWS__DRAIN) {
        c->state = TWS__DONE;
    }
}

/* -- requests --
 * From here to tws_conn_next, functions that are given an event say by its type what has happened:
 * it comes as TWS_CONN_NONE, and stays so when nothing has. */

static void tws__conn_refuse(tws_conn *c, tws_turn *t, tws_conn_event *ev, int status,
                             const char *reason)
{
    ev->type = TWS_CONN_BAD_REQUEST;
    ev->status = status;
    ev->reason = reason;
    c->flags &= (uint8_t)~TWS__KEEP_ALIVE;
    tws__conn_enter(c, TWS__WAIT, t->now_ms);
    tws__turn_take(t, t->input_len);
}

static tws_http_result tws__conn_parse(const tws_conn *c, tws_turn *t, size_t *scanned)
{
    tws_http_limits limits;
    limits.max_head_bytes = c->desc->max_head_bytes;
    t->known = true;
    return tws_http_parse(&t->request, (const char *)t->input, t->input_len, scanned, &limits);
}

/* The head of the request whose body is being read: of an earlier turn, it is parsed once more. */
static tws_http_request *tws__conn_known(const tws_conn *c, tws_turn *t)
{
    if (!t->known) {
        tws__conn_parse(c, t, NULL);
    }
    return &t->request;
}

/* The request is whole: it takes so many bytes of the input. */
static void tws__conn_hand_out(tws_conn *c, tws_turn *t, tws_conn_event *ev, size_t bytes)
{
    tws_http_request *r = tws__conn_known(c, t);
    r->body = tws_str_of((const char *)t->input + c->u.http.head_bytes, c->u.http.body_bytes);
    tws__turn_take(t, bytes);
    c->flags &= (uint8_t) ~(TWS__KEEP_ALIVE | TWS__MINOR_0 | TWS__BEGUN);
    c->flags |= TWS__SERVED;
    if (r->keep_alive) {
        c->flags |= TWS__KEEP_ALIVE;
    }
    if (r->minor == 0) {
        c->flags |= TWS__MINOR_0;
    }
    tws__conn_enter(c, TWS__WAIT, t->now_ms);
    t->work += TWS__REQUEST_WORK;
    ev->type = TWS_CONN_REQUEST;
}

static void tws__conn_refuse_body(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    tws__conn_known(c, t);
    tws__conn_refuse(c, t, ev, 413, "the request body is larger than this server takes");
}

/* A head has come whole: how much body belongs to it? */
static void tws__conn_head(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const tws_http_request *r = &t->request;
    /* What no memory holds: a head and its body are one block. */
    uint64_t most = tws__min64(c->desc->max_body_bytes, INT32_MAX - r->head_bytes);
    if (tws_str_eq_c(r->method, "HEAD")) {
        c->flags |= TWS__NO_BODY; /* however it is answered */
    }
    if (r->content_length > most) {
        tws__conn_refuse_body(c, t, ev);
        return;
    }
    size_t need = r->head_bytes + (size_t)r->content_length;
    c->u.http.need = r->chunked ? 0 : need;
    c->u.http.head_bytes = (uint32_t)r->head_bytes;
    c->u.http.body_bytes = (uint32_t)r->content_length; /* 0 when chunked: it grows */
    tws__conn_enter(c, TWS__BODY, t->now_ms);
    if (r->expect_continue && (r->chunked || t->input_len < need)) {
        tws__conn_write(c, t, go_on, sizeof go_on - 1, false);
    }
}

/* A chunked body, decoded in place: [head][decoded so far][raw]. */
static void tws__conn_chunked(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    size_t at = (size_t)c->u.http.head_bytes + c->u.http.body_bytes;
    char *raw = (char *)t->input + at;
    size_t raw_len = t->input_len - at, consumed = 0, produced = 0;
    tws_http_result result =
        tws_http_chunks_feed(&c->u.http.chunks, raw, raw_len, &consumed, &produced);
    /* The size is judged before any fault in what follows, so that the answer does not depend on
     * how the bytes were split. */
    uint64_t room = c->desc->max_body_bytes - c->u.http.body_bytes;
    bool sized = c->u.http.chunks.state == TWS__CHUNK_DATA;
    if (produced > room || (sized && c->u.http.chunks.remaining > room - produced)) {
        tws__conn_refuse_body(c, t, ev);
    } else if (result == TWS_HTTP_ERROR) {
        tws__conn_refuse(c, t, ev, 400, "malformed chunked body");
    } else {
        c->u.http.body_bytes += (uint32_t)produced;
        if (result == TWS_HTTP_MORE) {
            t->input_len = at + produced;
        } else {
            tws__conn_hand_out(c, t, ev, at + consumed);
        }
    }
}

static void tws__conn_body(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    if (c->u.http.need == 0) {
        tws__conn_chunked(c, t, ev);
    } else if (t->input_len >= c->u.http.need) {
        tws__conn_hand_out(c, t, ev, c->u.http.need);
    }
}

static void tws__conn_request(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    if (t->input_len == 0) {
        return;
    }
    if (c->state == TWS__HEAD) {
        tws__conn_begin_head(c, t); /* a pipelined one */
        tws_http_result result = tws__conn_parse(c, t, &c->u.http.scanned);
        if (result == TWS_HTTP_ERROR) {
            tws__conn_refuse(c, t, ev, t->request.status, t->request.reason);
        } else if (result == TWS_HTTP_DONE) {
            tws__conn_head(c, t, ev);
        }
    }
    if (c->state == TWS__BODY) { /* not refused, and there was memory to ask for the body */
        tws__conn_body(c, t, ev);
    }
}

/* -- answers -- */

static void tws__conn_answered(tws_conn *c, tws_turn *t, bool last)
{
    tws__conn_enter(c, last ? (uint8_t)TWS__FLUSH : (uint8_t)TWS__HEAD, t->now_ms);
    c->flags &= (uint8_t)~TWS__NO_BODY;
    memset(&c->u, 0, sizeof c->u);
}

static void tws__conn_head_out(tws_conn *c, tws_turn *t, int status, const char *head,
                               const char *content_type, int64_t content_length, bool close)
{
    char memory[512];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_http_begin(&b, status);
    if (content_type != NULL) {
        tws_http_add(&b, "Content-Type", tws_str_c(content_type));
    }
    if (close) {
        tws_http_add(&b, "Connection", tws_str_c("close"));
    } else if ((c->flags & TWS__MINOR_0) != 0) {
        tws_http_add(&b, "Connection", tws_str_c("keep-alive"));
    }
    TWS_ASSERT(b.status == TWS_OK);
    tws__conn_write(c, t, b.ptr, b.len, false);
    tws_str more = tws_str_c(head);
    tws__conn_write(c, t, more.ptr, more.len, false);
    tws_buf_clear(&b);
    tws_http_end(&b, content_length);
    tws__conn_write(c, t, b.ptr, b.len, false);
}

TWS_API void tws_conn_respond(tws_conn *c, tws_turn *t, int status, const char *head,
                              const char *content_type, tws_str body, bool close)
{
    if (c->state != TWS__WAIT) {
        return;
    }
    bool last = (c->flags & TWS__EOF) != 0 && t->input_len == 0; /* else there may be another */
    bool ends = close || last || (c->flags & TWS__KEEP_ALIVE) == 0;
    int64_t length = status == 204 || status == 304 ? -1 : (int64_t)body.len;
    tws__conn_head_out(c, t, status, head, content_type, length, ends);
    if (length > 0 && (c->flags & TWS__NO_BODY) == 0) {
        tws__conn_write(c, t, body.ptr, body.len, false);
    }
    if (c->state == TWS__WAIT) {
        tws__conn_answered(c, t, ends);
    }
}

TWS_API void tws_conn_stream(tws_conn *c, tws_turn *t, int status, const char *head,
                             const char *content_type)
{
    if (c->state != TWS__WAIT) {
        return;
    }
    /* Ended by the connection's end, RFC 9112 6.3: an event is written as it is for all readers. */
    tws__conn_head_out(c, t, status, head, content_type, -1, true);
    if (c->state != TWS__WAIT) {
        return; /* no memory */
    }
    tws__conn_enter(c, TWS__STREAM, t->now_ms);
    if ((c->flags & TWS__NO_BODY) != 0) {
        tws__conn_over(c, 1000); /* its owner is told */
        tws__conn_answered(c, t, true);
    }
}

/* -- compression, RFC 7692 -- */

#ifndef TASKWS_NO_DEFLATE

/* To inflate so many bytes takes as much time as a small frame, about. */
#define TWS__INFLATED_WORK 16u
#define TWS__DEFLATED_WORK 8u /* and each byte of the input as much as so many that come out */
#define TWS__PACKS true
#define TWS__PACK_LEVEL 6u

typedef struct tws__packer {
    tws_inflater inflater;
    tws_deflate_scratch scratch;
    tws_deflater deflater;
    uint32_t memory[TWS_DEFLATE_MEMORY(TWS_DEFLATE_MAX_BITS, false) / sizeof(uint32_t)];
    uint8_t out[TWS_TURN_SCRATCH]; /* what is longer compressed is sent as it is */
} tws__packer;

TWS_API void tws_turn_free(tws_turn *t, const tws_allocator *allocator)
{
    tws_release(allocator, t->packer, sizeof *t->packer);
    t->packer = NULL;
}

static tws__packer *tws__turn_packer(tws_turn *t, const tws_allocator *allocator)
{
    if (t->packer == NULL) {
        t->packer = (tws__packer *)tws_alloc(allocator, sizeof *t->packer);
    }
    return t->packer;
}

/* Empty: it gets no shorter. */
static tws_str tws__packer_deflate(tws__packer *p, tws_deflater *z, tws_str message)
{
    const size_t cap = tws__min(message.len - 1, sizeof p->out);
    size_t n; /* 0 where it does not fit */
    tws_deflate_encode(z, &p->scratch, message.ptr, message.len, true, p->out, cap, &n);
    return tws_str_of((const char *)p->out, n);
}

TWS_API tws_str tws_turn_compress(tws_turn *t, const tws_allocator *allocator, unsigned window_bits,
                                  tws_str message)
{
    tws__packer *p = tws__turn_packer(t, allocator);
    if (p == NULL || message.len < 2) {
        return tws_str_of(NULL, 0);
    }
    if (p->deflater.window_bits != window_bits) {
        tws_deflate_init(&p->deflater, p->memory, window_bits, TWS__PACK_LEVEL, false);
    }
    return tws__packer_deflate(p, &p->deflater, message);
}

static bool tws__context_ready_to_deflate(tws__context *x, const tws_allocator *allocator)
{
    if (x->deflater.head == NULL) {
        void *memory = tws_alloc(allocator, tws__context_deflates(x));
        if (memory == NULL) {
            return false;
        }
        tws_deflate_init(&x->deflater, memory, x->deflater.window_bits, TWS__PACK_LEVEL, true);
    }
    return true;
}

static bool tws__context_ready_to_inflate(tws__context *x, const tws_allocator *allocator)
{
    if (x->window.memory == NULL) {
        void *memory = tws_alloc(allocator, tws__context_inflates(x));
        if (memory == NULL) {
            return false;
        }
        tws_inflate_ring(&x->window, memory, x->window.bits);
    }
    return true;
}

/* Compress a message for this connection. Empty: it is sent as it is, because it is short, gets no
 * shorter or there is no memory; that changes no context, neither the client's (RFC 7692 7.2.3) nor
 * ours (see tws_deflate_encode). A message longer than the context's window is compressed without
 * it: the thread's deflater has a wider one, and all else would be pushed out of the context. */
static tws_str tws__conn_pack(tws_conn *c, tws_turn *t, tws_str message)
{
    const tws_allocator *allocator = c->desc->allocator;
    tws__context *x = c->context;
    const unsigned bits = x == NULL ? 0 : x->deflater.window_bits;
    if (bits == 0 || message.len > (size_t)1 << bits) {
        tws__context_forget(x);
        return tws_turn_compress(t, allocator, c->u.ws.window_bits, message);
    }
    tws__packer *p = tws__turn_packer(t, allocator);
    if (p == NULL || message.len < 2 || !tws__context_ready_to_deflate(x, allocator)) {
        return tws_str_of(NULL, 0);
    }
    return tws__packer_deflate(p, &x->deflater, message);
}

/* A message as it grows out of its compressed form: in one block, which is its window as well,
 * unless the client's messages refer to earlier ones. Then it is copied out of the window that is
 * kept for them. */
typedef struct tws__unpacking {
    tws_inflater *inflater;
    const tws_allocator *allocator;
    size_t limit;
    tws_inflate_window *window;
    tws_inflate_window itself;
    uint8_t *memory;
    size_t bytes;
    size_t len;
    tws_ws_event *frame; /* where a failure is told */
} tws__unpacking;

static bool tws__unpacking_fail(tws__unpacking *u, uint16_t code, const char *reason)
{
    memset(u->frame, 0, sizeof *u->frame);
    u->frame->type = TWS_WS_ERROR;
    u->frame->code = code;
    u->frame->reason = reason;
    return false;
}

static bool tws__unpacking_no_memory(tws__unpacking *u)
{
    return tws__unpacking_fail(u, 1011, "no memory for a message");
}

/* Room for more, twice as much, as far as the limit goes. */
static bool tws__unpacking_grow(tws__unpacking *u, size_t at_least)
{
    size_t bytes = tws__min(u->limit, tws__max(at_least, u->bytes * 2));
    if (bytes == u->bytes) {
        return tws__unpacking_fail(u, 1009, "a message longer than the limit, inflated");
    }
    void *memory = tws_resize(u->allocator, u->memory, u->bytes, bytes);
    if (memory == NULL) {
        return tws__unpacking_no_memory(u);
    }
    u->memory = (uint8_t *)memory;
    u->bytes = bytes;
    u->itself.memory = u->memory;
    u->itself.bytes = bytes;
    return true;
}

static bool tws__unpacking_copy(tws__unpacking *u, const tws_inflate_event *out)
{
    while (u->bytes - u->len < out->len) {
        if (!tws__unpacking_grow(u, u->len + out->len)) {
            return false;
        }
    }
    if (out->len > 0) {
        memcpy(u->memory + u->len, out->data, out->len);
    }
    u->len += out->len;
    return true;
}

/* The window has taken what it can: go on? */
static bool tws__unpacking_goes_on(tws__unpacking *u, const tws_inflate_event *out)
{
    if (out->type == TWS_INFLATE_ERROR) {
        return tws__unpacking_fail(u, 1007, out->reason);
    }
    if (u->window->ring) {
        return tws__unpacking_copy(u, out);
    }
    u->len += out->len;
    return out->type != TWS_INFLATE_FULL || tws__unpacking_grow(u, 0);
}

/* A final block ends no message: what follows it is read as well, RFC 7692 7.2.2. */
static bool tws__unpacking_run(tws__unpacking *u, const uint8_t *data, size_t len)
{
    tws_inflate_event out;
    do {
        size_t n = tws_inflate_decode(u->inflater, data, len, &out);
        data += n;
        len -= n;
        if (!tws__unpacking_goes_on(u, &out)) {
            return false;
        }
    } while (out.type != TWS_INFLATE_MORE);
    do {
        tws_inflate_finish(u->inflater, &out);
        if (!tws__unpacking_goes_on(u, &out)) {
            return false;
        }
    } while (out.type != TWS_INFLATE_END);
    return true;
}

static bool tws__conn_inflate(tws_conn *c, tws_turn *t, const tws_conn_event *ev,
                              tws__unpacking *u)
{
    tws__packer *p = tws__turn_packer(t, u->allocator);
    tws__context *x = c->context;
    bool keeps = x != NULL && x->window.bits != 0;
    if (p == NULL || (keeps && !tws__context_ready_to_inflate(x, u->allocator))) {
        return tws__unpacking_no_memory(u);
    }
    if (!tws__unpacking_grow(u, 64 + 4 * ev->len)) {
        return false;
    }
    tws_inflate_flat(&u->itself, u->memory, u->bytes, TWS_DEFLATE_MAX_BITS);
    u->window = keeps ? &x->window : &u->itself;
    u->inflater = &p->inflater;
    tws_inflate_begin(u->inflater, u->window);
    bool whole = tws__unpacking_run(u, ev->payload, ev->len);
    t->work += (u->len + TWS__DEFLATED_WORK * ev->len) / TWS__INFLATED_WORK;
    if (whole && ev->opcode == TWS_WS_TEXT &&
        !tws_utf8_valid(tws_str_of((const char *)u->memory, u->len))) {
        return tws__unpacking_fail(u, 1007, "text that is not UTF-8");
    }
    return whole;
}

/* The message in ev, which is whole, is compressed: put what it stands for in its place. It belongs
 * to the turn as a collected one does, and takes such a one's place. False: frame says why. */
static bool tws__conn_unpack(tws_conn *c, tws_turn *t, tws_conn_event *ev, tws_ws_event *frame)
{
    const uint32_t most = c->u.ws.max_message;
    const bool collected = !frame->first || !frame->last;
    tws__unpacking u;
    memset(&u, 0, sizeof u);
    u.allocator = c->desc->allocator;
    u.limit = most == 0 ? 0x7fffffffu : most;
    u.frame = frame;
    if (!tws__conn_inflate(c, t, ev, &u)) {
        tws_release(u.allocator, u.memory, u.bytes);
        return false;
    }
    if (collected) {
        tws__turn_release_last(c, t);
    }
    ev->payload = u.memory;
    ev->len = u.len;
    tws__turn_hold(t, u.memory, u.bytes);
    return true;
}

#else

#define TWS__PACKS false

TWS_API void tws_turn_free(tws_turn *t, const tws_allocator *allocator)
{
    (void)t;
    (void)allocator;
}

TWS_API tws_str tws_turn_compress(tws_turn *t, const tws_allocator *allocator, unsigned window_bits,
                                  tws_str message)
{
    (void)t;
    (void)allocator;
    (void)window_bits;
    return tws_str_of(message.ptr, 0);
}

static tws_str tws__conn_pack(tws_conn *c, tws_turn *t, tws_str message)
{
    return tws_turn_compress(t, c->desc->allocator, 0, message);
}

static bool tws__conn_unpack(tws_conn *c, tws_turn *t, tws_conn_event *ev, tws_ws_event *frame)
{
    (void)c;
    (void)t;
    (void)ev;
    (void)frame;
    return false;
}

#endif /* TASKWS_NO_DEFLATE */

TWS_API void tws_conn_accept(tws_conn *c, tws_turn *t, tws_str key, tws_str protocol,
                             const tws_ws_compression *terms)
{
    if (c->state != TWS__WAIT) {
        return;
    }
    char memory[512], accept[TWS_WS_ACCEPT_LEN + 1];
    tws_buf b;
    tws_ws_accept(key, accept);
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_c(&b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  "Connection: Upgrade\r\n");
    tws_http_add(&b, "Sec-WebSocket-Accept", tws_str_of(accept, TWS_WS_ACCEPT_LEN));
    if (protocol.len != 0) {
        tws_http_add(&b, "Sec-WebSocket-Protocol", protocol);
    }
    const bool packs = TWS__PACKS && terms != NULL && terms->window_bits != 0 &&
                       c->desc->compress_bytes != TWS_OFF;
    if (packs) {
        tws_ws_compression kept = *terms;
        c->context = tws__context_new(c->desc, terms);
        if (c->context == NULL) {
            kept.server_context = 0;
            kept.client_context = 0;
        }
        tws_ws_answer_extensions(&b, &kept);
    }
    tws_buf_c(&b, "\r\n");
    TWS_ASSERT(b.status == TWS_OK);
    if (!tws__conn_write(c, t, b.ptr, b.len, false)) {
        return;
    }
    tws__conn_enter(c, TWS__OPEN, t->now_ms);
    tws_ws_init(&c->u.ws, TWS_WS_SERVER, 0,
                c->desc->max_frames == TWS_OFF ? 0 : c->desc->max_frames);
    tws_conn_limit(c, 0);
    if (packs) {
        tws_ws_allow_compressed(&c->u.ws, terms);
    }
}

TWS_API void tws_conn_limit(tws_conn *c, uint32_t bytes)
{
    const uint32_t most = c->desc->max_message_bytes;
    if (c->state != TWS__OPEN) {
        return;
    }
    bytes = bytes == 0 || bytes > most ? most : bytes;
    c->u.ws.max_message = bytes == TWS_OFF ? 0 : bytes;
}

/* -- WebSocket -- */

/* Send the message last handed out where it came, or its beginning, from there. */
static void tws__turn_send_back(tws_turn *t, tws_ws_opcode opcode, size_t len)
{
    uint8_t *frame = t->message - 2 - tws__ws_length_bytes(len);
    const size_t n = tws_ws_header(frame, true, opcode, len, NULL);
    t->message = NULL;
    t->unit_fixed = t->unit_count;
    tws__turn_add_slice(t, frame, n + len);
}

/* Write a frame; bits are added to its first byte. Header and payload go straight to their place in
 * scratch, if the payload is to be copied and there is room. */
static bool tws__conn_frame(tws_conn *c, tws_turn *t, unsigned bits, tws_ws_opcode opcode,
                            const void *payload, size_t len, bool borrowed)
{
    uint8_t header[TWS_WS_MAX_HEADER];
    bool whole = (!borrowed || len < TWS__BORROW) && len != 0 && tws__conn_fits(c, t, len);
    uint8_t *at = whole ? t->scratch + t->scratch_len : header;
    size_t n = tws_ws_header(at, true, opcode, len, NULL);
    at[0] |= (uint8_t)bits;
    if (whole) {
        memcpy(at + n, payload, len);
        tws__turn_added(t, n + len);
        return true;
    }
    return tws__conn_write(c, t, header, n, false) && tws__conn_write(c, t, payload, len, borrowed);
}

TWS_API bool tws_conn_send(tws_conn *c, tws_turn *t, tws_ws_opcode opcode, const void *payload,
                           size_t len, bool borrowed)
{
    TWS_ASSERT(opcode == TWS_WS_TEXT || opcode == TWS_WS_BINARY);
    if (c->state != TWS__OPEN || !tws__conn_takes(c)) {
        return false;
    }
    if (TWS__PACKS && c->u.ws.window_bits != 0 && len >= c->desc->compress_bytes) {
        tws_str packed = tws__conn_pack(c, t, tws_str_of((const char *)payload, len));
        if (packed.len != 0) {
            return tws__conn_frame(c, t, TWS_WS_RSV1, opcode, packed.ptr, packed.len, false);
        }
    }
    if (borrowed && payload == t->message && payload != NULL && c->out == NULL &&
        t->out_count < TWS_TURN_SLICES) {
        tws__turn_send_back(t, opcode, len);
        return true;
    }
    return tws__conn_frame(c, t, 0, opcode, payload, len, borrowed);
}

TWS_API bool tws_conn_put(tws_conn *c, tws_turn *t, const void *data, size_t len, bool borrowed)
{
    if (c->state != TWS__STREAM || !tws__conn_takes(c)) {
        return false;
    }
    return tws__conn_write(c, t, data, len, borrowed);
}

static void tws__conn_close_frame(tws_conn *c, tws_turn *t, uint16_t code, tws_str reason)
{
    uint8_t payload[125];
    const uint16_t sent = tws_ws_code_valid(code) ? code : 1011;
    size_t n = code == 1005 ? 0 : tws_ws_close_payload(payload, sent, reason);
    tws__conn_frame(c, t, 0, TWS_WS_CLOSE, payload, n, false);
}

TWS_API void tws_conn_close(tws_conn *c, tws_turn *t, uint16_t code, tws_str reason)
{
    const bool handshake = c->state == TWS__OPEN;
    if (handshake) {
        tws__conn_close_frame(c, t, code, reason);
    }
    if (c->state <= TWS__OPEN) { /* a request that waits gets no answer any more */
        tws__conn_over(c, code);
        tws__conn_enter(c, handshake ? (uint8_t)TWS__CLOSING : (uint8_t)TWS__FLUSH, t->now_ms);
    }
}

/* The peer's close frame is here, or it broke a rule: tell the owner, answer, and end. */
static void tws__conn_finish(tws_conn *c, tws_turn *t, tws_conn_event *ev,
                             const tws_ws_event *frame)
{
    bool told = c->state == TWS__CLOSING;
    ev->type = told ? TWS_CONN_NONE : TWS_CONN_CLOSED;
    ev->code = frame->code;
    ev->by_peer = frame->type == TWS_WS_GOT_CLOSE;
    ev->reason = frame->reason;
    ev->payload = frame->payload;
    ev->len = frame->len;
    if (!told) {
        tws__conn_close_frame(c, t, frame->code,
                              ev->by_peer ? tws_str_of(NULL, 0) : tws_str_c(frame->reason));
    }
    if (c->state != TWS__DONE) {
        tws__conn_enter(c, TWS__FLUSH, t->now_ms);
    }
    c->close_code = frame->code;
    c->flags &= (uint8_t)~TWS__REPORT;
    tws__turn_take(t, t->input_len);
}

/* Collect a message that does not come in one piece. Room grows with what has come, not with what
 * a header promises. */
static bool tws__conn_collect(tws_conn *c, const tws_ws_event *frame)
{
    const uint64_t whole = (uint64_t)frame->len + frame->frame_left;
    const size_t hint = frame->len < 2048 ? 4096 : frame->len * 2;
    return (whole >= hint || tws__conn_room(c, &c->message, (size_t)whole)) &&
           tws__conn_keep_in(c, &c->message, frame->payload, frame->len);
}

/* A piece of a message, behind so many bytes of its frame's header if that has come just now, else
 * 0: *ev holds the message once it is whole. */
static void tws__conn_message(tws_conn *c, tws_turn *t, tws_conn_event *ev, tws_ws_event *frame,
                              size_t header)
{
    if (frame->first && frame->last) {
        tws__turn_hand_out_here(t, ev, frame->payload, frame->len, header);
    } else if (tws__conn_collect(c, frame) && frame->last) {
        ev->payload = tws__kept_bytes(c->message);
        ev->len = c->message->len;
        tws__turn_hold(t, c->message, sizeof *c->message + c->message->cap);
        c->message = NULL;
    } else {
        return;
    }
    ev->type = TWS_CONN_MESSAGE;
    ev->opcode = frame->opcode;
    if (TWS__PACKS && frame->compressed && !tws__conn_unpack(c, t, ev, frame)) {
        tws__conn_finish(c, t, ev, frame);
    }
}

static void tws__conn_frames(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    tws_ws_event frame;
    while (ev->type == TWS_CONN_NONE && (c->state == TWS__OPEN || c->state == TWS__CLOSING) &&
           !tws__conn_backed_up(c, t)) {
        size_t n = tws_ws_decode(&c->u.ws, t->input, t->input_len, &frame);
        tws__turn_take(t, n);
        t->work++;
        switch (frame.type) {
        case TWS_WS_MORE:
            return;
        case TWS_WS_DATA:
            if (c->state == TWS__OPEN) {
                tws__conn_message(c, t, ev, &frame, n - frame.len);
            }
            break;
        case TWS_WS_GOT_PING:
            if (c->state == TWS__OPEN) {
                tws__conn_frame(c, t, 0, TWS_WS_PONG, frame.payload, frame.len, false);
            }
            break;
        case TWS_WS_GOT_PONG:
            break;
        case TWS_WS_GOT_CLOSE:
        case TWS_WS_ERROR:
            tws__conn_finish(c, t, ev, &frame);
            break;
        }
    }
}

/* -- events -- */

static void tws__conn_at_eof(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    if (c->state == TWS__WAIT || c->state >= TWS__FLUSH) {
        return; /* a half-closed peer still gets its answer */
    }
    if (tws_conn_open(c)) {
        ev->type = TWS_CONN_CLOSED;
        ev->code = 1006;
        ev->by_peer = true;
        c->close_code = 1006;
    }
    tws__conn_enter(c, TWS__FLUSH, t->now_ms);
    tws__turn_take(t, t->input_len);
}

static void tws__conn_input(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    switch (c->state) {
    case TWS__HEAD:
    case TWS__BODY:
        if (!tws__conn_backed_up(c, t)) {
            tws__conn_request(c, t, ev);
        }
        break;
    case TWS__OPEN:
    case TWS__CLOSING:
        tws__conn_frames(c, t, ev);
        break;
    case TWS__WAIT:
        break; /* a pipelined request waits its turn */
    default:
        tws__turn_take(t, t->input_len);
    }
}

TWS_API tws_conn_event_type tws_conn_next(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    memset(ev, 0, sizeof *ev);
    const bool between = t->input == NULL && c->in != NULL; /* turns; there is input */
    t->full = false;
    if ((c->flags & TWS__REPORT) == 0) {
        tws__conn_input(c, t, ev);
    }
    if (ev->type != TWS_CONN_NONE) {
        return ev->type;
    }
    if ((c->flags & TWS__REPORT) != 0) { /* from before, or there was no memory just now */
        c->flags &= (uint8_t)~TWS__REPORT;
        ev->type = TWS_CONN_CLOSED;
        ev->code = c->close_code;
    } else if ((c->flags & TWS__EOF) != 0 && !between && !tws__conn_backed_up(c, t)) {
        tws__conn_at_eof(c, t, ev);
    }
    return ev->type;
}

/* -- time -- */

static uint64_t tws__after(uint64_t at_ms, uint32_t ms)
{
    return ms == TWS_OFF ? UINT64_MAX : at_ms + ms;
}

/* When the output that waits, if any, has stalled. */
static uint64_t tws__conn_stall(const tws_conn *c)
{
    return c->out == NULL ? UINT64_MAX : tws__after(c->progress_ms, c->desc->stall_ms);
}

TWS_API uint64_t tws_conn_deadline(const tws_conn *c)
{
    const tws_conn_desc *d = c->desc;
    const uint64_t stall = tws__conn_stall(c);
    bool between = (c->flags & (TWS__BEGUN | TWS__SERVED)) == TWS__SERVED; /* requests */
    bool pinged = (c->flags & TWS__PINGED) != 0;
    const uint64_t ending =
        tws__after(c->progress_ms > c->since_ms ? c->progress_ms : c->since_ms, d->close_ms);
    switch (c->state) {
    case TWS__HEAD:
        return tws__min64(stall, tws__after(c->since_ms, between ? d->idle_ms : d->head_ms));
    case TWS__BODY:
        return tws__min64(stall, tws__after(c->since_ms, d->body_ms));
    case TWS__STREAM:
    case TWS__OPEN: /* where output waits, a ping would wait behind it */
        return c->out != NULL
                   ? stall
                   : tws__after(c->since_ms, pinged ? d->answer_ms : d->heartbeat_ms);
    case TWS__CLOSING: /* who still takes what waits is given the time for it */
        return ending;
    case TWS__FLUSH: /* and an HTTP answer may stand still as long as any other output */
        return c->close_code == 0 && stall != UINT64_MAX && stall > ending ? stall : ending;
    case TWS__DRAIN:
        return tws__after(c->since_ms, d->close_ms);
    case TWS__WAIT:
        return stall;
    default:
        return 0;
    }
}

/* It has stalled, or was silent for heartbeat_ms, or for answer_ms after a ping. */
static void tws__conn_tick_open(tws_conn *c, tws_turn *t, tws_conn_event *ev, bool stalled)
{
    if (stalled || (c->flags & TWS__PINGED) != 0) {
        ev->type = TWS_CONN_TIMEOUT;
        ev->timeout = stalled ? TWS_TIMEOUT_STALL : TWS_TIMEOUT_HEARTBEAT;
        return;
    }
    c->since_ms = t->now_ms;
    if (c->state == TWS__STREAM) {
        ev->type = TWS_CONN_HEARTBEAT;
        return;
    }
    c->flags |= TWS__PINGED;
    tws__conn_frame(c, t, 0, TWS_WS_PING, NULL, 0, false);
}

TWS_API tws_conn_event_type tws_conn_tick(tws_conn *c, tws_turn *t, tws_conn_event *ev)
{
    memset(ev, 0, sizeof *ev);
    if (t->now_ms < tws_conn_deadline(c)) {
        return TWS_CONN_NONE;
    }
    bool stalled = t->now_ms >= tws__conn_stall(c);
    switch (c->state) {
    case TWS__HEAD:
        if ((c->flags & TWS__BEGUN) == 0 || stalled) {
            tws__conn_enter(c, TWS__FLUSH, t->now_ms); /* it never began: nothing to answer */
        } else {
            tws__conn_refuse(c, t, ev, 408, "the request head took too long");
        }
        break;
    case TWS__BODY:
        tws__conn_refuse(c, t, ev, 408, "the request body took too long");
        break;
    case TWS__STREAM:
    case TWS__OPEN:
        tws__conn_tick_open(c, t, ev, stalled);
        break;
    case TWS__CLOSING:
        tws__conn_enter(c, TWS__FLUSH, t->now_ms);
        break;
    default:
        tws_conn_abort(c);
    }
    return ev->type;
}

/* -- what the driver asks -- */

TWS_API bool tws_conn_wants_input(const tws_conn *c)
{
    if (c->state == TWS__DONE || c->state == TWS__WAIT || (c->flags & TWS__EOF) != 0) {
        return false;
    }
    if (c->state >= TWS__FLUSH || c->out == NULL) {
        return true;
    }
    /* Input that was held back counts too: who sends much and takes little at a time would else
     * have all of it kept, since each time a little output goes, more than that comes in. */
    uint32_t most = c->desc->max_output_bytes;
    return tws__conn_waiting(c) <= most && tws__kept_waiting(c->in) <= most;
}

TWS_API bool tws_conn_wants_output(const tws_conn *c)
{
    return c->out != NULL;
}

TWS_API bool tws_conn_wants_shut(const tws_conn *c)
{
    return c->state == TWS__FLUSH && c->out == NULL;
}

TWS_API void tws_conn_shut(tws_conn *c, uint64_t now_ms)
{
    bool over = (c->flags & TWS__EOF) != 0;
    tws__conn_enter(c, over ? (uint8_t)TWS__DONE : (uint8_t)TWS__DRAIN, now_ms);
}

TWS_API bool tws_conn_done(const tws_conn *c)
{
    return c->state == TWS__DONE;
}

TWS_API unsigned tws_conn_window_bits(const tws_conn *c)
{
    return TWS__PACKS && c->state == TWS__OPEN ? c->u.ws.window_bits : 0;
}

TWS_API bool tws_conn_idle(const tws_conn *c)
{
    return c->state == TWS__HEAD && (c->flags & TWS__BEGUN) == 0;
}

TWS_API bool tws_conn_waits(const tws_conn *c)
{
    return c->state == TWS__WAIT;
}

TWS_API bool tws_conn_pings_next(const tws_conn *c)
{
    return tws_conn_open(c) && c->out == NULL && (c->flags & TWS__PINGED) == 0;
}

TWS_API bool tws_conn_steady(const tws_conn *c)
{
    switch (c->state) {
    case TWS__HEAD:
    case TWS__BODY:
        return (c->flags & TWS__SERVED) != 0;
    case TWS__STREAM:
        return true;
    case TWS__OPEN:
        return c->in == NULL && c->u.ws.frame_left == 0;
    default:
        return false;
    }
}

#ifndef TASKWS_NO_SERVER
/* ======================================================================================== */
/*                      IV. I/O: the only part that includes a socket header                 */
/* ======================================================================================== */

/* == 19. sys: sockets, clock, entropy ====================================================
 * The system, behind functions that answer in the house's terms. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Behind a system header under -std=c99 or _POSIX_C_SOURCE, where much is missing. */
#if (defined(__GLIBC__) && !defined(__USE_MISC)) || !defined(CLOCK_MONOTONIC)
#error "include taskws.h's implementation before any system header, or compile with -D_GNU_SOURCE"
#endif

/* Where it was asked for: a sandbox may end a process for a system call that it does not know. And
 * where the headers know what is used of it, as those of Linux 5.7 do. */
#define TWS__IO_URING 0
#if defined(TASKWS_IO_URING) && defined(__linux__) && defined(__has_include)
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#if defined(IORING_FEAT_FAST_POLL) && defined(SYS_io_uring_setup)
#undef TWS__IO_URING
#define TWS__IO_URING 1
#endif
#endif
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* then SIGPIPE is ignored per socket or by the host */
#endif

/* -- clock, entropy, resources -- */

/* Without a clock, as behind 2038 where time_t has 32 bits, it is so late that no token holds. */
static uint64_t tws__clock_us(clockid_t which)
{
    struct timespec t;
    if (clock_gettime(which, &t) != 0) {
        return UINT64_MAX;
    }
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

TWS_API uint64_t tws_sys_now_us(void)
{
    return tws__clock_us(CLOCK_MONOTONIC);
}

TWS_API uint64_t tws_sys_now_ms(void)
{
    return tws__clock_us(CLOCK_MONOTONIC) / 1000u;
}

TWS_API uint64_t tws_sys_wall_ms(void)
{
    return tws__clock_us(CLOCK_REALTIME) / 1000u;
}

static bool tws__sys_read_full(int fd, void *out, size_t n)
{
    uint8_t *p = (uint8_t *)out;
    while (n != 0) {
        ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        p += got;
        n -= (size_t)got;
    }
    return true;
}

TWS_API bool tws_sys_random(void *out, size_t n)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool ok = tws__sys_read_full(fd, out, n);
    close(fd);
    return ok;
}

TWS_API uint64_t tws_sys_max_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return 1024;
    }
    return (uint64_t)limit.rlim_cur;
}

/* The lowest free descriptor: the number of open ones, unless an early one was closed. */
TWS_API uint64_t tws_sys_open_files(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EMFILE ? tws_sys_max_files() : 0;
    }
    close(fd);
    return (uint64_t)fd;
}

TWS_API uint64_t tws_sys_resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL) {
        return 0;
    }
    unsigned long total = 0, resident = 0;
    int fields = fscanf(f, "%lu %lu", &total, &resident);
    fclose(f);
    return fields == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* The kernel grows a process's descriptor table while others wait: 10 to 30 ms of stalled accept,
 * once there are threads. Grown here, before the first, but not to a billion: some containers have
 * such a limit, and the table would take eight bytes for each. */
static void tws__sys_grow_files(uint64_t files)
{
    if (files < 64) {
        return;
    }
    int fd = fcntl(0, F_DUPFD, files < 1u << 20 ? (int)files - 1 : (1 << 20) - 1);
    if (fd >= 0) {
        close(fd);
    }
}

/* -- sockets -- */

/* As many as the system grants: it cuts this to its own limit. SOMAXCONN is 128 in musl and the
 * BSDs, where Linux would grant 4,096. */
#define TWS__BACKLOG 65535

static bool tws__sys_again(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* Has accept failed for this connection alone? These are errors of the network that Linux tells in
 * this way; what else there is the next connection meets as well. */
static bool tws__sys_accepts_next(int error)
{
    return error == ECONNABORTED || error == EPROTO || error == ENETDOWN || error == ENOPROTOOPT ||
           error == EHOSTUNREACH || error == ENETUNREACH || error == ETIMEDOUT ||
           error == ECONNRESET;
}

static void tws__sys_option(int fd, int level, int name)
{
    int on = 1;
    setsockopt(fd, level, name, &on, (socklen_t)sizeof on);
}

/* For every descriptor of ours that does not come from accept4. */
static void tws__sys_nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    tws__sys_option(fd, SOL_SOCKET, SO_NOSIGPIPE); /* where a kernel knows no MSG_NOSIGNAL */
#endif
}

/* Limit how many bytes the system takes beyond what the peer's window allows; for a listener: of
 * all that it accepts. Else a peer that reads nothing would have megabytes written to it: memory
 * that no limit counts, and old events, where a slow reader should be given the latest. */
static void tws__sys_limit_unsent(int fd, uint32_t bytes)
{
#ifdef TCP_NOTSENT_LOWAT
    int unsent = bytes < INT32_MAX ? (int)bytes : INT32_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, (socklen_t)sizeof unsent);
#else
    (void)fd;
    (void)bytes;
#endif
}

static int tws__sys_bind_one(const struct addrinfo *a, bool shared)
{
    int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    tws__sys_nonblocking(fd);
    tws__sys_option(fd, SOL_SOCKET, SO_REUSEADDR);
#ifdef SO_REUSEPORT
    if (shared) {
        tws__sys_option(fd, SOL_SOCKET, SO_REUSEPORT);
    }
#else
    (void)shared;
#endif
    tws__sys_option(fd, IPPROTO_TCP, TCP_NODELAY); /* inherited by what is accepted */
    if (a->ai_family == AF_INET6) {
        int off = 0;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, (socklen_t)sizeof off);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, TWS__BACKLOG) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* A name's TCP addresses, to be freed by freeaddrinfo. Returns what getaddrinfo does: 0, or an
 * error for gai_strerror. */
static int tws__sys_look_up(const char *host, int port, int flags, struct addrinfo **list)
{
    struct addrinfo hints;
    char service[8];
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | flags;
    snprintf(service, sizeof service, "%u", (unsigned)port & 0xffffu);
    return getaddrinfo(host, service, &hints, list);
}

/* A listening TCP socket, or -1 with *why. shared: several threads bind the same port. */
static int tws__sys_listen_tcp(const char *host, int port, bool shared, const char **why)
{
    struct addrinfo *list;
    if (port < 0 || port > 65535) {
        *why = "a port is a number from 1 to 65535";
        return -1;
    }
    int error = tws__sys_look_up(host, port, AI_PASSIVE, &list);
    if (error != 0) {
        *why = gai_strerror(error);
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = tws__sys_bind_one(a, shared);
    }
    if (fd < 0) {
        *why = strerror(errno);
    }
    freeaddrinfo(list);
    return fd;
}

/* False: the path is too long for a socket. */
static bool tws__sys_unix_path(const char *path, struct sockaddr_un *a)
{
    bool fits = strlen(path) < sizeof a->sun_path;
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, fits ? strlen(path) : 0);
    return fits;
}

/* Does somebody listen there? Nobody does where a killed server has left its socket behind. */
static bool tws__sys_unix_alive(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) {
        return true;
    }
    tws__sys_nonblocking(fd); /* a full backlog is somebody, too */
    bool alive = connect(fd, (const struct sockaddr *)a, (socklen_t)sizeof *a) == 0 ||
                 errno != ECONNREFUSED;
    close(fd);
    return alive;
}

static int tws__sys_listen_unix(const char *path, const char **why)
{
    struct sockaddr_un a;
    struct stat st;
    if (path[0] == '\0' || !tws__sys_unix_path(path, &a)) {
        *why = path[0] == '\0' ? "the socket's path is empty" : "the path is too long for a socket";
        return -1;
    }
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && !tws__sys_unix_alive(&a)) {
        unlink(path); /* else bind says that the address is in use */
    }
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, (socklen_t)sizeof a) != 0 ||
        listen(fd, TWS__BACKLOG) != 0) {
        *why = strerror(errno);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    tws__sys_nonblocking(fd);
    return fd;
}

typedef union tws__address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
} tws__address; /* of a Unix socket its beginning */

static int tws__sys_port(int fd)
{
    tws__address a;
    socklen_t len = (socklen_t)sizeof a;
    if (getsockname(fd, &a.any, &len) != 0 || a.any.sa_family == AF_UNIX) {
        return 0;
    }
    return ntohs(a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port);
}

static int tws__sys_accept(int listener)
{
#if defined(__linux__) && defined(SOCK_NONBLOCK) && (defined(__USE_GNU) || !defined(__GLIBC__))
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0) {
        tws__sys_nonblocking(fd);
    }
    return fd;
#endif
}

/* The peer's address as 16 bytes, IPv4 mapped into IPv6; zeros for anything else. */
static void tws__sys_address(int fd, uint8_t out[16])
{
    tws__address a;
    socklen_t len = (socklen_t)sizeof a;
    memset(out, 0, 16);
    if (getpeername(fd, &a.any, &len) != 0) {
        return;
    }
    if (a.any.sa_family == AF_INET) {
        out[10] = 0xff;
        out[11] = 0xff;
        memcpy(out + 12, &a.in.sin_addr, 4);
    } else if (a.any.sa_family == AF_INET6) {
        memcpy(out, &a.in6.sin6_addr, 16);
    }
}

static bool tws__sys_is_ipv4(const uint8_t a[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a, mapped, sizeof mapped) == 0;
}

/* The address that a text is, in the same form. False: it is none. */
static bool tws__sys_parse_address(tws_str text, uint8_t out[16])
{
    char c[INET6_ADDRSTRLEN];
    if (text.len >= sizeof c) {
        return false;
    }
    memcpy(c, text.ptr, text.len);
    c[text.len] = '\0';
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    return inet_pton(AF_INET, c, out + 12) == 1 || inet_pton(AF_INET6, c, out) == 1;
}

static bool tws__sys_is_loopback(const uint8_t a[16])
{
    static const uint8_t one[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    return memcmp(a, one, 16) == 0 || (tws__sys_is_ipv4(a) && a[12] == 127);
}

/* Bytes read; 0 at the end; -1 when there is nothing now; -2 when the connection is lost. */
static long tws__sys_receive(int fd, void *data, size_t len)
{
    ssize_t n = recv(fd, data, len, 0);
    if (n >= 0) {
        return (long)n;
    }
    return tws__sys_again(errno) ? -1 : -2;
}

/* Bytes written, 0 when none can be now; -2 when the connection is lost. One call. */
static long tws__sys_send(int fd, const tws_str *slices, size_t count)
{
    struct iovec iov[TWS_TURN_SLICES];
    struct msghdr m;
    size_t n = count < TWS_TURN_SLICES ? count : TWS_TURN_SLICES;
    for (size_t i = 0; i < n; i++) {
        iov[i].iov_base = (void *)(uintptr_t)slices[i].ptr;
        iov[i].iov_len = slices[i].len;
    }
    memset(&m, 0, sizeof m);
    m.msg_iov = iov;
    m.msg_iovlen = (uint8_t)n; /* an int or a size_t */
    ssize_t sent = n == 1 ? send(fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                          : sendmsg(fd, &m, MSG_NOSIGNAL);
    if (sent >= 0) {
        return (long)sent;
    }
    return tws__sys_again(errno) ? 0 : -2;
}

/* -- sends to many sockets -- */

#define TWS__SENDS 64u /* at one go, at most */

/* Bytes for one of them, and what became of them: sent is as tws__sys_send returns. */
typedef struct tws__send {
    int fd;
    uint32_t len;
    const uint8_t *data;
    long sent;
} tws__send;

/* One call for each, with nothing between: the system's part of it, which is far larger than ours,
 * stays in the processor's caches. */
static void tws__sys_send_each(tws__send *each, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const tws_str data = tws_str_of((const char *)each[i].data, each[i].len);
        each[i].sent = tws__sys_send(each[i].fd, &data, 1);
    }
}

#if TWS__IO_URING

/* Of io_uring(7), one system call for all of them, and nothing else. Each is tried at once
 * (MSG_DONTWAIT), in the call itself, and none is under way behind it. Where the system has no
 * io_uring, or does not let us, fd is -1 and it is a call for each. */
typedef struct tws__ring {
    int fd;
    uint8_t *memory; /* both rings, and the entries */
    size_t bytes;
    struct io_uring_sqe *sqe;
    const struct io_uring_cqe *cqe;
    uint32_t *sq_tail, *cq_head;
    const uint32_t *cq_tail;
    uint32_t sq_mask, cq_mask;
} tws__ring;

static void tws__ring_close(tws__ring *r)
{
    if (r->sqe != NULL) {
        munmap(r->sqe, TWS__SENDS * sizeof *r->sqe);
    }
    if (r->memory != NULL) {
        munmap(r->memory, r->bytes);
    }
    if (r->fd >= 0) {
        close(r->fd);
    }
    memset(r, 0, sizeof *r);
    r->fd = -1;
}

static void *tws__ring_map(const tws__ring *r, size_t bytes, uint64_t offset)
{
    const int flags = MAP_SHARED | MAP_POPULATE;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, r->fd, (off_t)offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static void tws__ring_open(tws__ring *r)
{
    const int before = errno;
    struct io_uring_params p;
    memset(&p, 0, sizeof p);
    memset(r, 0, sizeof *r);
    r->fd = (int)syscall(SYS_io_uring_setup, TWS__SENDS, &p);
    if (r->fd < 0) {
        errno = before; /* to be without is no error */
        return;
    }
    const uint32_t want = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_FAST_POLL; /* Linux 5.7 */
    if ((p.features & want) == want) {
        r->bytes = tws__max(p.sq_off.array + p.sq_entries * sizeof(uint32_t),
                            p.cq_off.cqes + p.cq_entries * sizeof *r->cqe);
        r->memory = (uint8_t *)tws__ring_map(r, r->bytes, IORING_OFF_SQ_RING);
        r->sqe = (struct io_uring_sqe *)tws__ring_map(r, TWS__SENDS * sizeof *r->sqe,
                                                      IORING_OFF_SQES);
    }
    if (r->memory == NULL || r->sqe == NULL) {
        tws__ring_close(r);
        errno = before;
        return;
    }
    r->cqe = (const struct io_uring_cqe *)(void *)(r->memory + p.cq_off.cqes);
    r->sq_tail = (uint32_t *)(void *)(r->memory + p.sq_off.tail);
    r->cq_head = (uint32_t *)(void *)(r->memory + p.cq_off.head);
    r->cq_tail = (const uint32_t *)(void *)(r->memory + p.cq_off.tail);
    r->sq_mask = p.sq_entries - 1;
    r->cq_mask = p.cq_entries - 1;
    uint32_t *order = (uint32_t *)(void *)(r->memory + p.sq_off.array);
    for (uint32_t i = 0; i < p.sq_entries; i++) {
        order[i] = i;
    }
}

/* What has been done. Returns how many. */
static size_t tws__ring_done(tws__ring *r, tws__send *each)
{
    uint32_t head = *r->cq_head;
    const uint32_t begin = head, tail = __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
        const struct io_uring_cqe *done = &r->cqe[head & r->cq_mask];
        const bool later = done->res < 0 && tws__sys_again(-done->res);
        each[done->user_data].sent = done->res >= 0 ? done->res : later ? 0 : -2;
    }
    __atomic_store_n(r->cq_head, head, __ATOMIC_RELEASE);
    return head - begin;
}

static void tws__ring_put(tws__ring *r, tws__send *each, size_t count)
{
    const uint32_t tail = *r->sq_tail;
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe *e = &r->sqe[(tail + i) & r->sq_mask];
        memset(e, 0, sizeof *e);
        e->opcode = IORING_OP_SEND;
        e->fd = each[i].fd;
        e->addr = (uintptr_t)each[i].data;
        e->len = each[i].len;
        e->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
        e->user_data = i;
        each[i].sent = -2; /* unless it is told otherwise */
    }
    __atomic_store_n(r->sq_tail, tail + (uint32_t)count, __ATOMIC_RELEASE);
}

/* count: at most TWS__SENDS. */
static void tws__ring_send_each(tws__ring *r, tws__send *each, size_t count)
{
    size_t given = 0, done = 0;
    if (r->fd >= 0) {
        tws__ring_put(r, each, count);
    }
    while (r->fd >= 0 && done < count) {
        const long n = syscall(SYS_io_uring_enter, r->fd, count - given, count - done,
                               IORING_ENTER_GETEVENTS, NULL, 0);
        const bool again = n < 0 && errno == EINTR;
        const size_t more = tws__ring_done(r, each);
        given += n > 0 ? (size_t)n : 0;
        done += more;
        if (n <= 0 && more == 0 && !again) {
            tws__ring_close(r); /* the rest goes the other way, as all does from now on */
        }
    }
    tws__sys_send_each(each + given, count - given);
}

#else

typedef int tws__ring;

static void tws__ring_open(tws__ring *r)
{
    *r = -1;
}

static void tws__ring_close(tws__ring *r)
{
    (void)r;
}

static void tws__ring_send_each(tws__ring *r, tws__send *each, size_t count)
{
    (void)r;
    tws__sys_send_each(each, count);
}

#endif /* TWS__IO_URING */

/* -- the other side: connecting, for section 22's Redis -- */

#if !defined(TASKWS_NO_REDIS) && !defined(TASKWS_NO_JWT) /* section 22 alone connects */

#define TWS__MAX_ADDRESSES 8

typedef struct tws__addresses {
    uint32_t count;
    socklen_t len[TWS__MAX_ADDRESSES];
    struct sockaddr_storage at[TWS__MAX_ADDRESSES];
} tws__addresses;

/* All addresses of a name. numeric: only if it is an address already, which asks nobody. */
static bool tws__sys_resolve(const char *host, int port, bool numeric, tws__addresses *out)
{
    struct addrinfo *list;
    out->count = 0;
    if (tws__sys_look_up(host, port, numeric ? AI_NUMERICHOST : 0, &list) != 0) {
        return false;
    }
    for (const struct addrinfo *a = list; a != NULL && out->count < TWS__MAX_ADDRESSES;
         a = a->ai_next) {
        if (a->ai_addrlen <= sizeof out->at[0]) {
            memcpy(&out->at[out->count], a->ai_addr, a->ai_addrlen);
            out->len[out->count] = a->ai_addrlen;
            out->count++;
        }
    }
    freeaddrinfo(list);
    return out->count != 0;
}

static void tws__sys_unix_address(const char *path, tws__addresses *out)
{
    struct sockaddr_un a;
    out->count = tws__sys_unix_path(path, &a) ? 1 : 0;
    out->len[0] = (socklen_t)sizeof a;
    memcpy(&out->at[0], &a, sizeof a);
}

/* Begin to connect without waiting. *now: it is connected already. -1 with errno. */
static int tws__sys_connect(const tws__addresses *to, uint32_t which, bool *now)
{
    const struct sockaddr *a = (const struct sockaddr *)(const void *)&to->at[which];
    int fd = socket(a->sa_family, SOCK_STREAM, 0);
    if (fd < 0) {
        return -1;
    }
    tws__sys_nonblocking(fd);
    if (a->sa_family != AF_UNIX) {
        tws__sys_option(fd, IPPROTO_TCP, TCP_NODELAY);
    }
    *now = connect(fd, a, to->len[which]) == 0;
    if (!*now && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* How a connection that was under way has come out: 0, or the error. */
static int tws__sys_connect_error(int fd)
{
    int error = 0;
    socklen_t len = (socklen_t)sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

/* Run fn in a thread that nobody joins. False where there are no threads. */
static bool tws__sys_detach(void *(*fn)(void *), void *arg)
{
#ifdef TASKWS_NO_THREADS
    (void)fn;
    (void)arg;
    return false;
#else
    pthread_t id;
    if (pthread_create(&id, NULL, fn, arg) != 0) {
        return false;
    }
    pthread_detach(id);
    return true;
#endif
}

#endif

/* == 20. loop: readiness backends, timers, wake-up from other threads ====================
 * A backend is ten functions of the same names; one #if chooses. Timers stand in a wheel: setting,
 * moving and clearing one is O(1). Watches that are behind (tws_loop_move) stand in a second epoll
 * set, itself a member of the first: however many of them are ready, they wake the loop as one
 * event, and wait in the kernel's own list, from which they are taken in turn. */

#if defined(__linux__) && !defined(TASKWS_POLL)
#define TWS__EPOLL 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
#else
#define TWS__EPOLL 0
#endif

#define TWS__WHEEL 2048u /* slots of TWS_TIMER_STEP_MS: 32 s, the longest usual deadline */


struct tws_loop {
    const tws_allocator *allocator;
    tws_watch wake;
    int wake_write; /* the other end of a pipe; equal to wake.fd for an eventfd */
    uint32_t woken;
    uint64_t tick; /* slots up to this one have been emptied */
    tws_timer *due;
    tws_timer *slot[TWS__WHEEL];
    uint64_t filled[TWS__WHEEL / 64];
    bool crowded; /* one of those behind is ready */
#if TWS__EPOLL
    int epoll[2]; /* the second: of those behind */
#else
    struct pollfd *set;
    tws_watch **owner;
    uint32_t count;
    uint32_t cap;
    uint32_t start[2]; /* where the next search for ready ones begins; of those behind */
#endif
};

/* -- backends -- */

#if TWS__EPOLL

static void tws__backend_free(tws_loop *l)
{
    for (int i = 0; i < 2; i++) {
        if (l->epoll[i] >= 0) {
            close(l->epoll[i]);
        }
    }
}

static bool tws__backend_init(tws_loop *l)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN; /* data.ptr NULL: no watch */
    l->epoll[0] = epoll_create1(EPOLL_CLOEXEC);
    l->epoll[1] = epoll_create1(EPOLL_CLOEXEC);
    return l->epoll[0] >= 0 && l->epoll[1] >= 0 &&
           epoll_ctl(l->epoll[0], EPOLL_CTL_ADD, l->epoll[1], &e) == 0;
}

static bool tws__backend_control(tws_loop *l, int operation, tws_watch *w)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = ((w->want & TWS_READ) != 0 ? (uint32_t)EPOLLIN : 0u) |
               ((w->want & TWS_WRITE) != 0 ? (uint32_t)EPOLLOUT : 0u);
    e.data.ptr = w;
    return epoll_ctl(l->epoll[w->behind], operation, w->fd, &e) == 0;
}

static bool tws__backend_add(tws_loop *l, tws_watch *w)
{
    return tws__backend_control(l, EPOLL_CTL_ADD, w);
}

static void tws__backend_change(tws_loop *l, tws_watch *w)
{
    tws__backend_control(l, EPOLL_CTL_MOD, w);
}

static void tws__backend_remove(tws_loop *l, tws_watch *w)
{
    tws__backend_control(l, EPOLL_CTL_DEL, w);
}

static void tws__backend_move(tws_loop *l, tws_watch *w)
{
    tws_watch before = *w;
    w->behind = !w->behind;
    if (tws__backend_add(l, w)) {
        tws__backend_remove(l, &before);
    } else {
        w->behind = before.behind;
    }
}

static size_t tws__backend_take(const struct epoll_event *e, int n, tws_ready *ready)
{
    size_t taken = 0;
    for (int i = 0; i < n; i++) {
        bool lost = (e[i].events & ((uint32_t)EPOLLERR | (uint32_t)EPOLLHUP)) != 0;
        ready[taken].watch = (tws_watch *)e[i].data.ptr;
        ready[taken].events = ((e[i].events & (uint32_t)EPOLLIN) != 0 || lost ? TWS_READ : 0u) |
                              ((e[i].events & (uint32_t)EPOLLOUT) != 0 || lost ? TWS_WRITE : 0u);
        taken += ready[taken].watch != NULL;
    }
    return taken;
}

static size_t tws__backend_wait(tws_loop *l, int timeout_ms, tws_ready *ready)
{
    struct epoll_event e[TWS_LOOP_READY];
    int n = epoll_wait(l->epoll[0], e, TWS_LOOP_READY, timeout_ms);
    size_t taken = tws__backend_take(e, n, ready);
    l->crowded = n > 0 && taken < (size_t)n;
    return taken;
}

static size_t tws__backend_behind(tws_loop *l, tws_ready *ready, size_t most)
{
    struct epoll_event e[TWS_LOOP_READY];
    const int room = (int)tws__min(most, TWS_LOOP_READY);
    return tws__backend_take(e, epoll_wait(l->epoll[1], e, room, 0), ready);
}

static int tws__backend_wake_pair(int *write_end)
{
    *write_end = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return *write_end;
}

static int tws__backend_fd(const tws_loop *l)
{
    return l->epoll[0];
}

#else

static bool tws__backend_init(tws_loop *l)
{
    (void)l;
    return true;
}

static void tws__backend_free(tws_loop *l)
{
    tws_release(l->allocator, l->set, l->cap * sizeof *l->set);
    tws_release(l->allocator, l->owner, l->cap * sizeof *l->owner);
}

static bool tws__backend_grow(tws_loop *l)
{
    const tws_allocator *a = l->allocator;
    uint32_t cap = l->cap == 0 ? 64 : l->cap * 2;
    struct pollfd *set = (struct pollfd *)tws_alloc(a, cap * sizeof *set);
    tws_watch **owner = (tws_watch **)tws_alloc(a, cap * sizeof *owner);
    if (set == NULL || owner == NULL) {
        tws_release(a, set, cap * sizeof *set);
        tws_release(a, owner, cap * sizeof *owner);
        return false;
    }
    if (l->count != 0) {
        memcpy(set, l->set, l->count * sizeof *set);
        memcpy(owner, l->owner, l->count * sizeof *owner);
    }
    tws__backend_free(l);
    l->set = set;
    l->owner = owner;
    l->cap = cap;
    return true;
}

static void tws__backend_change(tws_loop *l, tws_watch *w)
{
    struct pollfd *p = &l->set[w->slot];
    p->fd = w->fd;
    p->events = (short)(((w->want & TWS_READ) != 0 ? POLLIN : 0) |
                        ((w->want & TWS_WRITE) != 0 ? POLLOUT : 0));
    p->revents = 0;
}

static bool tws__backend_add(tws_loop *l, tws_watch *w)
{
    if (l->count == l->cap && !tws__backend_grow(l)) {
        return false;
    }
    w->slot = l->count;
    l->owner[l->count] = w;
    l->count++;
    tws__backend_change(l, w);
    return true;
}

static void tws__backend_remove(tws_loop *l, tws_watch *w)
{
    l->count--;
    l->set[w->slot] = l->set[l->count];
    l->owner[w->slot] = l->owner[l->count];
    l->owner[w->slot]->slot = w->slot;
}

static void tws__backend_move(tws_loop *l, tws_watch *w)
{
    (void)l;
    w->behind = !w->behind;
}

/* Take watches that are ready, of those behind or of the others, at most `most`, from the i-th on
 * and once round. Returns where it ended. */
static uint32_t tws__backend_search(tws_loop *l, uint32_t i, bool behind, tws_ready *ready,
                                    size_t most, size_t *taken)
{
    *taken = 0;
    for (uint32_t k = 0; k < l->count && *taken < most; k++, i++) {
        i = i < l->count ? i : 0;
        short got = l->set[i].revents;
        if (got == 0 || l->owner[i]->behind != behind) {
            l->crowded = l->crowded || got != 0;
            continue;
        }
        bool lost = (got & (POLLERR | POLLHUP | POLLNVAL)) != 0;
        l->set[i].revents = 0;
        ready[*taken].watch = l->owner[i];
        ready[*taken].events = ((got & POLLIN) != 0 || lost ? TWS_READ : 0u) |
                               ((got & POLLOUT) != 0 || lost ? TWS_WRITE : 0u);
        (*taken)++;
    }
    return i;
}

/* What finds no room in ready is found in the next turn: poll is level-triggered. That search
 * begins where this one ends, so that nobody is starved. */
static size_t tws__backend_wait(tws_loop *l, int timeout_ms, tws_ready *ready)
{
    size_t n = 0;
    l->crowded = false;
    if (poll(l->set, (nfds_t)l->count, timeout_ms) > 0) {
        l->start[0] = tws__backend_search(l, l->start[0], false, ready, TWS_LOOP_READY, &n);
    }
    return n;
}

static size_t tws__backend_behind(tws_loop *l, tws_ready *ready, size_t most)
{
    size_t n;
    most = tws__min(most, TWS_LOOP_READY);
    l->start[1] = tws__backend_search(l, l->start[1], true, ready, most, &n);
    return n;
}

static int tws__backend_wake_pair(int *write_end)
{
    int ends[2];
    if (pipe(ends) != 0) {
        *write_end = -1;
        return -1;
    }
    tws__sys_nonblocking(ends[0]);
    tws__sys_nonblocking(ends[1]);
    *write_end = ends[1];
    return ends[0];
}

static int tws__backend_fd(const tws_loop *l)
{
    (void)l;
    return -1;
}

#endif

TWS_API const char *tws_loop_backend(void)
{
    return TWS__EPOLL ? "epoll" : "poll";
}

/* -- the loop -- */

TWS_API tws_loop *tws_loop_create(const tws_allocator *a)
{
    tws_loop *l = (tws_loop *)tws_alloc(a, sizeof *l);
    if (l == NULL) {
        return NULL;
    }
    l->allocator = a;
    l->tick = tws_sys_now_ms() / TWS_TIMER_STEP_MS;
    l->wake_write = -1;
    int fd = tws__backend_init(l) ? tws__backend_wake_pair(&l->wake_write) : -1;
    if (fd < 0 || tws_loop_add(l, &l->wake, fd, TWS_READ) != TWS_OK) {
        l->wake.fd = fd;
        tws_loop_free(l);
        return NULL;
    }
    return l;
}

TWS_API void tws_loop_free(tws_loop *l)
{
    if (l == NULL) {
        return;
    }
    if (l->wake.fd >= 0) {
        close(l->wake.fd);
    }
    if (l->wake_write >= 0 && l->wake_write != l->wake.fd) {
        close(l->wake_write);
    }
    tws__backend_free(l);
    tws_release(l->allocator, l, sizeof *l);
}

TWS_API tws_status tws_loop_add(tws_loop *l, tws_watch *w, int fd, unsigned want)
{
    w->fd = fd;
    w->want = (uint8_t)want;
    if (!tws__backend_add(l, w)) {
        w->fd = -1;
        return TWS_ERR_SYSTEM;
    }
    return TWS_OK;
}

TWS_API void tws_loop_want(tws_loop *l, tws_watch *w, unsigned want)
{
    if (w->fd >= 0 && w->want != want) {
        w->want = (uint8_t)want;
        tws__backend_change(l, w);
    }
}

TWS_API void tws_loop_move(tws_loop *l, tws_watch *w, bool behind)
{
    if (w->fd >= 0 && w->behind != behind) {
        tws__backend_move(l, w);
    }
}

TWS_API void tws_loop_remove(tws_loop *l, tws_watch *w)
{
    if (w->fd >= 0) {
        tws__backend_remove(l, w);
        w->fd = -1;
    }
}

TWS_API void tws_loop_wake(tws_loop *l)
{
    static const uint64_t one = 1;
    if (TWS__SWAP(&l->woken, 1u) == 0u) {
        int error = errno; /* a signal handler leaves it as it was */
        ssize_t n = write(l->wake_write, &one, sizeof one);
        (void)n; /* a full pipe wakes as well */
        errno = error;
    }
}

/* Emptied first, then marked so: the other way round, a wake-up between the two would be swallowed
 * with the mark left standing, and every later one would think that it had been done. */
static void tws__loop_drain_wake(tws_loop *l)
{
    char sink[64];
    ssize_t n = read(l->wake.fd, sink, sizeof sink);
    (void)n;
    TWS__SWAP(&l->woken, 0u);
}

/* Of two waits; -1: for ever. */
static int tws__sooner(int a_ms, int b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

TWS_API size_t tws_loop_wait(tws_loop *l, int timeout_ms, tws_ready *ready, uint64_t *now_ms)
{
    int timer_ms = timeout_ms == 0 ? 0 : tws_loop_timeout(l, tws_sys_now_ms());
    size_t n = tws__backend_wait(l, tws__sooner(timer_ms, timeout_ms), ready);
    *now_ms = tws_sys_now_ms();
    for (size_t i = 0; i < n; i++) {
        if (ready[i].watch == &l->wake) {
            tws__loop_drain_wake(l);
            n--;
            ready[i] = ready[n];
            break;
        }
    }
    return n;
}

TWS_API size_t tws_loop_behind(tws_loop *l, tws_ready *ready, size_t most)
{
    return l->crowded ? tws__backend_behind(l, ready, most) : 0;
}

TWS_API bool tws_loop_crowded(const tws_loop *l)
{
    return l->crowded;
}

TWS_API int tws_loop_fd(const tws_loop *l)
{
    return tws__backend_fd(l);
}

/* -- timers -- */

static void tws__timer_clear(tws_timer *t)
{
    if (t->link == NULL) {
        return;
    }
    *t->link = t->next;
    if (t->next != NULL) {
        t->next->link = t->link;
    }
    t->link = NULL;
}

static void tws__timer_link(tws_timer **head, tws_timer *t)
{
    t->next = *head;
    t->link = head;
    if (*head != NULL) {
        (*head)->link = &t->next;
    }
    *head = t;
}

/* A slot holds the timers that are due by its beginning, so none fires early; one that lies beyond
 * the wheel stands in its last slot, and is set again when that is emptied. */
TWS_API void tws_timer_set(tws_loop *l, tws_timer *t, uint64_t at_ms)
{
    tws__timer_clear(t);
    t->at_ms = at_ms;
    if (at_ms == UINT64_MAX) {
        return;
    }
    uint64_t tick = at_ms / TWS_TIMER_STEP_MS + 1;
    if (tick <= l->tick) {
        tick = l->tick + 1;
    } else if (tick - l->tick >= TWS__WHEEL) {
        tick = l->tick + TWS__WHEEL - 1;
    }
    uint32_t slot = (uint32_t)(tick % TWS__WHEEL);
    tws__timer_link(&l->slot[slot], t);
    l->filled[slot / 64] |= (uint64_t)1 << slot % 64;
}

static void tws__timer_open_slot(tws_loop *l, uint32_t slot)
{
    l->filled[slot / 64] &= ~((uint64_t)1 << slot % 64);
    l->due = l->slot[slot];
    l->slot[slot] = NULL;
    if (l->due != NULL) {
        l->due->link = &l->due;
    }
}

TWS_API tws_timer *tws_timer_due(tws_loop *l, uint64_t now_ms)
{
    uint64_t until = now_ms / TWS_TIMER_STEP_MS;
    for (;;) {
        while (l->due != NULL) {
            tws_timer *t = l->due;
            tws__timer_clear(t);
            if (t->at_ms <= now_ms) {
                return t;
            }
            tws_timer_set(l, t, t->at_ms);
        }
        if (l->tick >= until) {
            return NULL;
        }
        if (until - l->tick > TWS__WHEEL) {
            l->tick = until - TWS__WHEEL; /* the clock has jumped: one round meets all */
        }
        l->tick++;
        tws__timer_open_slot(l, (uint32_t)(l->tick % TWS__WHEEL));
    }
}

TWS_API int tws_loop_timeout(const tws_loop *l, uint64_t now_ms)
{
    if (l->due != NULL) {
        return 0;
    }
    for (uint32_t ahead = 1; ahead < TWS__WHEEL;) {
        uint32_t slot = (uint32_t)((l->tick + ahead) % TWS__WHEEL);
        uint64_t word = l->filled[slot / 64] >> slot % 64;
        if ((word & 1) != 0) {
            uint64_t at = (l->tick + ahead) * TWS_TIMER_STEP_MS;
            return at > now_ms ? (int)(at - now_ms) : 0;
        }
        ahead += word == 0 ? 64 - slot % 64 : 1;
    }
    return -1;
}

/* == 21. server: listeners, threads, limits, drain; your routes ==========================
 * Threads share nothing here but counters and the inbox of posted calls. A connection belongs to
 * the thread that accepted it, and is touched by no other.
 *
 * Who floods waits behind who does not. A connection goes first when it has asked for little
 * lately, its coming included, and is steady (section 18). New ones, busy ones and the listener
 * share what a turn has left, in the order of their coming, for a while so short that who goes
 * first hardly notices; and what one of them is read at a time is cut to what it was work. Where
 * for a second nobody went first who asks for next to nothing, nobody waits: among busy ones an
 * order helps none of them. */

enum { TWS__WATCH_LISTENER = 1, TWS__WATCH_PEER = 2, TWS__WATCH_GUEST = 3 };

enum {
    TWS__PEER_SERVED = 1,   /* a turn of its own is under way */
    TWS__PEER_PULL = 2,     /* on_output is wanted */
    TWS__PEER_QUEUED = 4,   /* stands in the thread's list for the next turn */
    TWS__PEER_EXCESS = 8,   /* accepted beyond max_connections, to be refused in words */
    TWS__PEER_COUNTED = 16, /* its address is counted */
    TWS__PEER_CROWDED = 32, /* its address has too many */
    TWS__PEER_LONG = 64,    /* a WebSocket or a stream */
    TWS__PEER_ASKING = 128, /* the turn's request is its own; at other times it is anybody's */
    TWS__PEER_SSE = 256,    /* a stream of events, in which comments may stand */
    TWS__PEER_GATHERED = 512 /* what it was said to be sent is still to be sent */
};

#define TWS__RESERVE 32u     /* connections beyond the limit that are told so, of the next line */
#define TWS__FILES 64u       /* descriptors left for all but connections in the limit, besides */
#define TWS__THREAD_FILES 5u /* each thread's: its loop's three, its listener and its ring */
#define TWS__ACCEPT_ALONE 64   /* in a turn, while nobody waits; */
#define TWS__ACCEPT_US 100u    /* and while somebody does, one in so long, */
#define TWS__ACCEPT_FEW 10u    /* or so many in a turn, when none came for so many times as long */
#define TWS__SHARE_US 25u      /* of a turn, about, for those who do not go first */
#define TWS__SHARE_FEW 1u      /* of them between two looks at the clock */
#define TWS__FIRST_MS 1000u    /* after which there is nobody for whose sake others wait */
#define TWS__SLICE_WORK 128u   /* of one connection in a turn, about, */
#define TWS__SLICE_ALONE 512u  /* and while nobody waits */
#define TWS__ROOM 64u          /* the unit of tws_peer.room, */
#define TWS__ROOM_LEAST 8u     /* the least: no more than 85 pings, the smallest frames; */
#define TWS__ROOM_NEW 16u      /* a newcomer's while somebody waits: a head, or 170 pings, */
#define TWS__ROOM_ALONE 64u    /* and while nobody does */
#define TWS__UNSENT_BYTES (128 * 1024u) /* or max_output_bytes: may wait in the system */
#define TWS__GATHER 1024u      /* a send that is longer is not worth a copy */
#define TWS__EPOCH_MS 16u
#define TWS__LITTLE 1024u      /* units of tws_peer.spent in an epoch: 128 reads, or 64 KiB; */
#define TWS__LEAST 128u        /* and of those for whose sake others wait */

typedef struct tws__thread tws__thread;

struct tws_peer {
    tws_conn conn;
    tws_watch watch;
    uint32_t slot;
    uint32_t flags;
    tws_timer timer;
    uint64_t user_ms; /* of tws_peer_set_timer; UINT64_MAX: none */
    tws__thread *thread;
    tws_peer *next; /* in the list for the next turn, or of the dead */
    const tws_peer_ops *ops;
    void *data;
    uint64_t address; /* a keyed hash of it */
    uint16_t epoch;   /* of its last read */
    uint16_t spent;   /* in that epoch, and of earlier ones the half of each later one's: 8 for a
                         read, 1 for each 64 bytes; all there is for its coming */
    uint16_t room;    /* of a read, in 64 bytes */
};

typedef struct tws__slot {
    tws_peer *peer; /* NULL: free, and next is the next free slot */
    uint32_t generation;
    uint32_t next;
} tws__slot;

typedef struct tws__post {
    struct tws__post *next;
    tws_peer_id id;
    void (*fn)(tws_peer *p, void *arg);
    void *arg;
} tws__post;

struct tws__thread {
    tws_server *server;
    tws_loop *loop;
    uint8_t *receive;
    size_t received; /* in the turn of the connection that is served */
    bool gathers; /* news are told, or timers: what is to be sent stands in receive, meanwhile */
    uint32_t gathered;
    size_t gathered_bytes;
    tws__send send[TWS__SENDS];
    tws_peer *send_to[TWS__SENDS];
    tws__ring ring;
    uint64_t now_ms;
    unsigned index;
    tws_watch listener;
    bool listener_paused;
    bool listener_rests; /* somebody may wait in its queue, for accept_us */
    int accepted;        /* a connection that could not be watched yet; -1: none */
    tws__slot *slot;
    uint32_t slot_count, slot_cap, free_slot;
    tws_peer *later, **later_end;
    uint64_t first_ms;  /* somebody went first for whom others wait */
    uint64_t accept_us; /* while somebody does: none is accepted before a share that ends then */
    tws_peer *dead;
    tws_peer *spare; /* zeroed, for who comes next */
    tws_peer *served;
    tws_router_match match;
    tws__mutex post_lock;
    tws__post *posts, **posts_end;
    tws_guest *guests;
    tws_timer second;
    tws_timer drain;
    bool draining;
    uint64_t drain_from_ms;
    uint32_t drain_total, drain_done, drain_cursor;
    char date[96];
    uint64_t date_s;
    tws_server_stats traffic; /* its own part */
    uint32_t turning;         /* in tws__thread_turn: see what asserts that it is not */
    tws_turn turn;
    tws_ready ready[TWS_LOOP_READY];
};

/* How many connections an address has: open addressing, small, used only with max_per_ip. */
typedef struct tws__tally {
    uint64_t key;
    uint32_t count;
} tws__tally;

struct tws_server {
    tws__thread **thread;
    unsigned threads; /* that stand */
    int port;
    uint32_t connections; /* over all threads */
    uint32_t stopping;    /* 1: drain, 2: end */
    uint64_t address_key[2];
    size_t context_use; /* over all threads */
    tws__mutex tally_lock;
    tws__tally *tally;
    uint32_t tally_cap, tally_used;
    uint32_t listeners;
    tws_server_desc desc;
    tws_router router;
};

/* -- address counts -- */

static tws__tally *tws__tally_find(tws_server *s, uint64_t key)
{
    for (uint32_t i = (uint32_t)key & (s->tally_cap - 1);; i = (i + 1) & (s->tally_cap - 1)) {
        if (s->tally[i].key == key || s->tally[i].key == 0) {
            return &s->tally[i];
        }
    }
}

/* Addresses without a connection are forgotten when the table is made anew. */
static bool tws__tally_grow(tws_server *s)
{
    tws__tally *old = s->tally;
    uint32_t old_cap = s->tally_cap;
    uint32_t live = 0;
    for (uint32_t i = 0; i < old_cap; i++) {
        live += old[i].count != 0;
    }
    uint32_t cap = 64;
    while (cap < live * 4) {
        cap *= 2;
    }
    tws__tally *grown = (tws__tally *)tws_alloc(s->desc.allocator, cap * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    s->tally = grown;
    s->tally_cap = cap;
    s->tally_used = live;
    for (uint32_t i = 0; i < old_cap; i++) {
        if (old[i].count != 0) {
            *tws__tally_find(s, old[i].key) = old[i];
        }
    }
    tws_release(s->desc.allocator, old, old_cap * sizeof *old);
    return true;
}

/* How many it has with this one; 0: without memory it is not counted. */
static uint32_t tws__tally_add(tws_server *s, uint64_t key)
{
    uint32_t count = 0;
    TWS__LOCK(&s->tally_lock);
    if (s->tally_used * 2 < s->tally_cap || tws__tally_grow(s)) {
        tws__tally *t = tws__tally_find(s, key);
        s->tally_used += t->key == 0;
        t->key = key;
        t->count++;
        count = t->count;
    }
    TWS__UNLOCK(&s->tally_lock);
    return count;
}

/* Only what was added. */
static void tws__tally_remove(tws_server *s, uint64_t key)
{
    TWS__LOCK(&s->tally_lock);
    tws__tally_find(s, key)->count--;
    TWS__UNLOCK(&s->tally_lock);
}

/* Without the port, and the brackets of IPv6, that some proxies write. */
static tws_str tws__bare_address(tws_str text)
{
    tws_str rest = text, address = text;
    if (text.len > 1 && text.ptr[0] == '[') {
        rest = tws_str_of(text.ptr + 1, text.len - 1);
        tws_str_split(&rest, ']', &address);
        return address;
    }
    tws_str_split(&rest, ':', &address);
    return tws_str_find(rest, ':') == rest.len ? address : text;
}

/* The client's address in text: the last of X-Forwarded-For is the one that the trusted proxy saw,
 * written behind the client's own claims or in a line of its own behind theirs. */
static bool tws__peer_forwarded(const tws_peer *p, const tws_http_request *r, tws_str *address)
{
    tws_str rest = tws_str_of(NULL, 0);
    *address = rest;
    if (p->thread->server->desc.trust_proxy) {
        tws__http_count(r->field, r->field_count, "X-Forwarded-For", &rest);
    }
    while (tws_str_split(&rest, ',', address)) {
    }
    *address = tws__bare_address(*address);
    return address->len != 0;
}

static uint64_t tws__peer_address_key(const tws_peer *p, const tws_http_request *r)
{
    uint8_t raw[16];
    tws_str text;
    const bool forwarded = tws__peer_forwarded(p, r, &text);
    if (!forwarded) {
        tws__sys_address(p->watch.fd, raw);
    }
    if (!forwarded || tws__sys_parse_address(text, raw)) {
        text = tws_str_of((const char *)raw, tws__sys_is_ipv4(raw) ? 16 : 8);
    }
    uint64_t key = tws__hash(p->thread->server->address_key, text);
    return key == 0 ? 1 : key;
}

static void tws__peer_uncount_address(tws_peer *p)
{
    if ((p->flags & TWS__PEER_COUNTED) != 0) {
        tws__tally_remove(p->thread->server, p->address);
        p->flags &= ~(uint32_t)(TWS__PEER_COUNTED | TWS__PEER_CROWDED);
    }
}

/* Anew for each request: a proxy brings those of many clients over one connection, and others may
 * have gone since the last one. Who comes over a Unix socket by himself has no address. */
static uint32_t tws__peer_count_address(tws_peer *p, const tws_http_request *r)
{
    tws_server *s = p->thread->server;
    if (s->desc.max_per_ip == 0 || (s->desc.unix_path != NULL && !s->desc.trust_proxy)) {
        return 0;
    }
    bool known = (p->flags & TWS__PEER_COUNTED) != 0 && !s->desc.trust_proxy;
    uint64_t key = known ? p->address : tws__peer_address_key(p, r);
    tws__peer_uncount_address(p);
    p->address = key;
    const uint32_t count = tws__tally_add(s, key);
    if (count > 0) {
        p->flags |= TWS__PEER_COUNTED;
    }
    if (count > s->desc.max_per_ip) {
        p->flags |= TWS__PEER_CROWDED;
    }
    return count;
}

/* -- peers -- */

static tws_peer *tws__peer_of(tws_watch *w)
{
    return (tws_peer *)(void *)((char *)w - offsetof(tws_peer, watch));
}

static tws_peer *tws__thread_peer(tws__thread *t, tws_peer_id id)
{
    uint32_t slot = (uint32_t)id;
    uint32_t generation = (uint32_t)(id >> 32) & 0xffffffu;
    if (slot >= t->slot_count || t->slot[slot].peer == NULL ||
        t->slot[slot].generation != generation) {
        return NULL;
    }
    return t->slot[slot].peer;
}

/* Memory for one more connection, before it is accepted. */
static bool tws__thread_has_room(tws__thread *t)
{
    const tws_allocator *a = t->server->desc.allocator;
    if (t->free_slot == UINT32_MAX && t->slot_count == t->slot_cap) {
        uint32_t cap = t->slot_cap == 0 ? 64 : t->slot_cap * 2;
        void *grown =
            tws_resize(a, t->slot, t->slot_cap * sizeof *t->slot, cap * sizeof *t->slot);
        if (grown == NULL) {
            return false;
        }
        t->slot = (tws__slot *)grown;
        t->slot_cap = cap;
    }
    if (t->spare == NULL) {
        t->spare = (tws_peer *)tws_alloc(a, sizeof *t->spare);
    }
    return t->spare != NULL;
}

static void tws__thread_take_slot(tws__thread *t, tws_peer *p)
{
    if (t->free_slot == UINT32_MAX) {
        memset(&t->slot[t->slot_count], 0, sizeof *t->slot);
        t->slot[t->slot_count].generation = 1;
        t->slot[t->slot_count].next = UINT32_MAX;
        t->free_slot = t->slot_count;
        t->slot_count++;
    }
    p->slot = t->free_slot;
    t->free_slot = t->slot[p->slot].next;
    t->slot[p->slot].peer = p;
}

static void tws__thread_give_slot(tws__thread *t, const tws_peer *p)
{
    tws__slot *s = &t->slot[p->slot];
    s->peer = NULL;
    s->generation = s->generation == 0xffffffu ? 1 : s->generation + 1;
    s->next = t->free_slot;
    t->free_slot = p->slot;
}

static void tws__thread_listen_again(tws__thread *t)
{
    if (t->listener_paused) {
        t->listener_paused = false;
        t->listener_rests = t->accepted >= 0;
        tws_loop_want(t->loop, &t->listener, TWS_READ);
    }
}

/* The socket is closed now; the memory goes at the end of the turn, when no event names it. */
static void tws__peer_bury(tws_peer *p)
{
    tws__thread *t = p->thread;
    int fd = p->watch.fd;
    if (fd < 0) {
        return;
    }
    if (p->ops != NULL && p->ops->on_close != NULL) {
        const tws_peer_ops *ops = p->ops;
        tws_peer *served = t->served;
        tws_conn_abort(&p->conn);
        p->ops = NULL;
        t->served = p; /* what it says now goes nowhere, as at any other end */
        p->flags |= TWS__PEER_SERVED;
        ops->on_close(p, 1006, tws_str_of(NULL, 0));
        p->flags &= ~(uint32_t)TWS__PEER_SERVED;
        t->served = served;
    }
    p->ops = NULL;
    if ((p->flags & TWS__PEER_LONG) != 0) {
        tws_count(&t->traffic.websockets_open, (uint64_t)-1);
    }
    tws__peer_uncount_address(p);
    tws_loop_remove(t->loop, &p->watch);
    close(fd);
    tws_timer_set(t->loop, &p->timer, UINT64_MAX);
    tws__thread_give_slot(t, p);
    TWS__COUNT(&t->server->connections, (uint32_t)-1);
    tws_count(&t->traffic.connections, (uint64_t)-1);
    tws_count(&t->traffic.closed, 1);
    tws__thread_listen_again(t);
    if ((p->flags & TWS__PEER_QUEUED) == 0) { /* else its list buries it */
        p->next = t->dead;
        t->dead = p;
    }
}

static void tws__thread_free_dead(tws__thread *t)
{
    while (t->dead != NULL) {
        tws_peer *p = t->dead;
        t->dead = p->next;
        tws_conn_free(&p->conn);
        tws_release(t->server->desc.allocator, p, sizeof *p);
    }
}

static void tws__thread_queue(tws__thread *t, tws_peer *p)
{
    if ((p->flags & TWS__PEER_QUEUED) == 0) {
        p->flags |= TWS__PEER_QUEUED;
        p->next = NULL;
        *t->later_end = p;
        t->later_end = &p->next;
    }
}

/* -- requests -- */

static void tws__thread_date(tws__thread *t)
{
    static const char day[] = "SunMonTueWedThuFriSat";
    static const char month[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm tm;
    if (t->date_s == (uint64_t)now || gmtime_r(&now, &tm) == NULL) {
        return;
    }
    t->date_s = (uint64_t)now;
    snprintf(t->date, sizeof t->date, "Date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
             day + tm.tm_wday * 3, tm.tm_mday, month + tm.tm_mon * 3, tm.tm_year + 1900,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void tws__peer_leave(tws_peer *p, uint16_t code, const char *word, const char *message)
{
    if (p->ops != NULL && p->ops->on_leave != NULL) {
        p->ops->on_leave(p, code, word, message);
    } else {
        tws_peer_close(p, code, message);
    }
}

/* Accepted even when it is one too many: only so a browser can be told why. */
static void tws__peer_websocket(tws_peer *p, const tws_http_request *r, const tws_route *route)
{
    const char *word = tws_peer_overload(p);
    if (!tws_peer_accept(p, r, NULL, route->websocket, route->context) || word == NULL) {
        return;
    }
    if ((p->flags & TWS__PEER_EXCESS) != 0) {
        tws__peer_leave(p, 1013, word, "the server has as many connections as it can serve");
    } else {
        tws__peer_leave(p, 4429, word, "this address has too many connections");
    }
}

/* An error that the server itself tells; of a request that is known with the host's field lines. */
static void tws__peer_error(tws_peer *p, const tws_http_request *r, int status, const char *word,
                            const char *message)
{
    const tws_server *s = p->thread->server;
    char memory[TWS_MAX_HEAD_LINES - 100];
    const char *end = "";
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory - sizeof "\r\n");
    if (r != NULL && s->desc.error_head != NULL) {
        s->desc.error_head(s->desc.context, r, &b);
        TWS_ASSERT(b.status == TWS_OK && b.len <= TWS_MAX_HEAD_LINES - 300);
    }
    if (status == 405) {
        tws_buf_c(&b, "Allow: ");
        tws_router_allow(&s->router, r->path, &b); /* as many as there is room for */
        end = "\r\n";
    }
    memcpy(memory + b.len, end, strlen(end) + 1);
    tws_peer_respond_error(p, status, memory, word, message);
}

static void tws__peer_route(tws_peer *p, const tws_http_request *r)
{
    tws__thread *t = p->thread;
    tws_router_find(&t->server->router, r->method, r->path, &t->match);
    if (t->match.entry == NULL && t->match.path_known) {
        tws__peer_error(p, r, 405, "method_not_allowed",
                        "this path does not take that method; see the Allow field");
        return;
    }
    if (t->match.entry == NULL) {
        tws__peer_error(p, r, 404, "not_found", "there is nothing at this path");
        return;
    }
    const tws_route *route = (const tws_route *)t->match.entry->value;
    if (route->websocket != NULL) {
        tws__peer_websocket(p, r, route);
        return;
    }
    route->on_request(p, r, route->context);
}

static void tws__peer_request(tws_peer *p)
{
    const tws_http_request *r = &p->thread->turn.request;
    tws_count(&p->thread->traffic.requests, 1);
    tws__peer_count_address(p, r);
    p->flags |= TWS__PEER_ASKING;
    tws__peer_route(p, r);
    p->flags &= ~(uint32_t)TWS__PEER_ASKING;
}

static void tws__peer_bad_request(tws_peer *p, const tws_conn_event *ev)
{
    bool size = ev->status == 413 || ev->status == 414 || ev->status == 431;
    const tws_http_request *known = ev->status == 413 ? &p->thread->turn.request : NULL;
    tws_count(&p->thread->traffic.refused, 1);
    tws__peer_error(p, known, ev->status, size ? "message_too_big" : "bad_request",
                    ev->reason == NULL ? "malformed request" : ev->reason);
}

/* -- events of a connection -- */

static void tws__peer_timeout(tws_peer *p, tws_conn_timeout which)
{
    tws_count(&p->thread->traffic.timeouts, 1);
    if (which == TWS_TIMEOUT_HEARTBEAT) {
        tws__peer_leave(p, 4408, "heartbeat_timeout", "no answer to a ping");
    } else {
        tws__peer_leave(p, 4409, "slow_consumer", "the client takes no data; resume with since");
    }
}

static void tws__peer_closed(tws_peer *p, const tws_conn_event *ev)
{
    const tws_peer_ops *ops = p->ops;
    p->ops = NULL;
    p->user_ms = UINT64_MAX;
    if (!ev->by_peer && (ev->code == 1002 || ev->code == 1007 || ev->code == 1009)) {
        tws_count(&p->thread->traffic.protocol_errors, 1);
    }
    if (ops != NULL && ops->on_close != NULL) {
        tws_str reason = ev->by_peer ? tws_str_of((const char *)ev->payload, ev->len)
                                     : tws_str_c(ev->reason);
        ops->on_close(p, ev->code, reason);
    }
    p->data = NULL; /* freed by on_close; a posted call may still come */
}

static void tws__peer_event(tws_peer *p, tws_conn_event *ev)
{
    switch (ev->type) {
    case TWS_CONN_NONE:
        break;
    case TWS_CONN_REQUEST:
        tws__peer_request(p);
        break;
    case TWS_CONN_BAD_REQUEST:
        tws__peer_bad_request(p, ev);
        break;
    case TWS_CONN_MESSAGE:
        tws_count(&p->thread->traffic.messages_in, 1);
        if (p->ops != NULL && p->ops->on_message != NULL) {
            p->ops->on_message(p, ev->opcode, ev->payload, ev->len);
        }
        break;
    case TWS_CONN_CLOSED:
        tws__peer_closed(p, ev);
        break;
    case TWS_CONN_HEARTBEAT:
        if ((p->flags & TWS__PEER_SSE) != 0) {
            tws_conn_put(&p->conn, &p->thread->turn, ":\n\n", 3, false); /* a comment */
        }
        break;
    case TWS_CONN_TIMEOUT:
        tws__peer_timeout(p, ev->timeout);
        break;
    }
}

static void tws__peer_dispatch(tws_peer *p)
{
    tws_conn_event ev;
    while (tws_conn_next(&p->conn, &p->thread->turn, &ev) != TWS_CONN_NONE) {
        tws__peer_event(p, &ev);
    }
}

/* -- who goes first -- */

static uint16_t tws__thread_epoch(const tws__thread *t)
{
    return (uint16_t)(t->now_ms / TWS__EPOCH_MS);
}

static uint32_t tws__peer_spent(const tws_peer *p)
{
    unsigned passed = (uint16_t)(tws__thread_epoch(p->thread) - p->epoch);
    return passed < 16 ? (uint32_t)p->spent >> passed : 0;
}

static void tws__peer_spend(tws_peer *p, size_t bytes)
{
    size_t spent = tws__peer_spent(p) + 8 + bytes / 64;
    p->epoch = tws__thread_epoch(p->thread);
    p->spent = (uint16_t)tws__min(spent, UINT16_MAX);
}

static bool tws__peer_goes_first(const tws_peer *p)
{
    return tws__peer_spent(p) <= TWS__LITTLE && tws_conn_steady(&p->conn);
}

/* He is about to be served: does he go first? */
static bool tws__peer_comes_first(tws_peer *p)
{
    const bool first = tws__peer_goes_first(p);
    if (first && tws__peer_spent(p) <= TWS__LEAST) {
        p->thread->first_ms = p->thread->now_ms;
    }
    return first;
}

/* Where there is nobody to wait for, nobody waits. */
static bool tws__thread_shares(const tws__thread *t)
{
    return t->now_ms - t->first_ms <= TWS__FIRST_MS;
}

/* When those who do not go first have had their share. */
static uint64_t tws__thread_share(const tws__thread *t)
{
    return tws__thread_shares(t) ? tws_sys_now_us() + TWS__SHARE_US : UINT64_MAX;
}

static bool tws__in_time(uint64_t until_us)
{
    return until_us == UINT64_MAX || tws_sys_now_us() < until_us;
}

/* A read as large as its work was small. */
static void tws__peer_pace(tws_peer *p)
{
    tws__thread *t = p->thread;
    uint64_t most = tws__min64((t->server->desc.receive_bytes - 1) / TWS__ROOM + 1, UINT16_MAX);
    const uint32_t slice = tws__thread_shares(t) ? TWS__SLICE_WORK : TWS__SLICE_ALONE;
    uint64_t room = p->room;
    if (t->turn.work > slice) {
        room = (uint64_t)t->received * slice / t->turn.work / TWS__ROOM;
        room = room > TWS__ROOM_LEAST ? room : TWS__ROOM_LEAST;
    } else if (t->received == room * TWS__ROOM && t->turn.work < slice / 2) {
        room *= 2;
    }
    p->room = (uint16_t)tws__min64(room, most);
}

/* -- a turn of one connection: at most one read and one write -- */

/* The longest send that can be gathered now; 0: what has been gathered is to be sent first. */
static size_t tws__thread_gather_room(const tws__thread *t)
{
    const size_t room = t->server->desc.receive_bytes - t->gathered_bytes;
    return t->gathered == TWS__SENDS || room < TWS__GATHER ? 0 : TWS__GATHER;
}

static void tws__thread_send_gathered(tws__thread *t);

static void tws__peer_read(tws_peer *p)
{
    tws__thread *t = p->thread;
    if (t->gathered != 0) {
        tws__thread_send_gathered(t); /* it stands in receive */
    }
    size_t room = tws__min((size_t)p->room * TWS__ROOM, t->server->desc.receive_bytes);
    long n = tws__sys_receive(p->watch.fd, t->receive, room);
    tws__peer_spend(p, n > 0 ? (size_t)n : 0);
    if (n > 0) {
        t->received = (size_t)n;
        tws_count(&t->traffic.bytes_in, (uint64_t)n);
        tws_conn_feed(&p->conn, &t->turn, t->receive, (size_t)n);
    } else if (n == 0) {
        tws_conn_eof(&p->conn);
    } else if (n == -2) {
        tws_conn_abort(&p->conn);
    }
}

/* News and pings are small, and for many: they are gathered, and sent one behind another. Not so
 * what waits, or ends a connection, or comes while receive holds this turn's input. */
static bool tws__peer_gather(tws_peer *p, const tws_str *slices, size_t count, size_t bytes)
{
    tws__thread *t = p->thread;
    const bool plain = tws_conn_open(&p->conn) && !tws_conn_wants_output(&p->conn);
    if (!t->gathers || !plain || t->received != 0 || t->turn.full ||
        bytes > tws__thread_gather_room(t)) {
        return false;
    }
    uint8_t *at = t->receive + t->gathered_bytes;
    tws__send *send = &t->send[t->gathered];
    send->fd = p->watch.fd;
    send->len = (uint32_t)bytes;
    send->data = at;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, slices[i].ptr, slices[i].len);
        at += slices[i].len;
    }
    t->send_to[t->gathered] = p;
    t->gathered++;
    t->gathered_bytes += bytes;
    p->flags |= TWS__PEER_GATHERED;
    tws_conn_sent(&p->conn, &t->turn, bytes);
    return true;
}

/* True when all output has gone. */
static bool tws__peer_write(tws_peer *p)
{
    tws__thread *t = p->thread;
    tws_str slices[TWS_TURN_SLICES];
    size_t count = tws_conn_output(&p->conn, &t->turn, slices, TWS_TURN_SLICES);
    size_t want = 0;
    for (size_t i = 0; i < count; i++) {
        want += slices[i].len;
    }
    if (count == 0 || tws__peer_gather(p, slices, count, want)) {
        return true;
    }
    long n = tws__sys_send(p->watch.fd, slices, count);
    if (n < 0) {
        tws_conn_abort(&p->conn);
        return false;
    }
    tws_count(&t->traffic.bytes_out, (uint64_t)n);
    tws_conn_sent(&p->conn, &t->turn, (size_t)n);
    return (size_t)n == want;
}

/* True when it has been asked what it has. */
static bool tws__peer_output(tws_peer *p)
{
    if ((p->flags & TWS__PEER_PULL) == 0 || !tws_conn_offers(&p->conn, &p->thread->turn)) {
        return false;
    }
    p->flags &= ~(uint32_t)TWS__PEER_PULL;
    if (p->ops != NULL && p->ops->on_output != NULL) {
        p->ops->on_output(p);
    }
    return true;
}

static uint64_t tws__peer_deadline(const tws_peer *p)
{
    return tws__min64(tws_conn_deadline(&p->conn), p->user_ms);
}

/* Leave the socket, the loop and the timer as the connection's state wants them. */
static void tws__peer_settle(tws_peer *p)
{
    tws__thread *t = p->thread;
    if (tws_conn_wants_shut(&p->conn)) {
        shutdown(p->watch.fd, SHUT_WR);
        tws_conn_shut(&p->conn, t->now_ms);
    }
    if (tws_conn_done(&p->conn)) {
        tws__peer_bury(p);
        return;
    }
    unsigned want = (tws_conn_wants_input(&p->conn) ? TWS_READ : 0u) |
                    (tws_conn_wants_output(&p->conn) ? TWS_WRITE : 0u);
    tws_loop_want(t->loop, &p->watch, want);
    if (t->server->desc.trust_proxy && tws_conn_idle(&p->conn)) {
        tws__peer_uncount_address(p); /* the next request may be another client's */
    }
    if (p->watch.behind && (!tws__thread_shares(t) || tws__peer_goes_first(p))) {
        tws_loop_move(t->loop, &p->watch, false);
    }
    uint64_t deadline = tws__peer_deadline(p);
    if (p->timer.link == NULL || deadline < p->timer.at_ms) {
        tws_timer_set(t->loop, &p->timer, deadline); /* one that moved later is met lazily */
    }
}

/* What a socket did not take is given back to its connection and waits there as any output does.
 * Nobody hears of a lost one before a turn of its own: whoever pulls one connection is not to find
 * another one gone. */
static void tws__peer_unsent(tws_peer *p, const tws__send *send)
{
    tws__thread *t = p->thread;
    const size_t sent = send->sent < 0 ? 0 : (size_t)send->sent;
    p->flags &= ~(uint32_t)TWS__PEER_GATHERED;
    tws_count(&t->traffic.bytes_out, sent);
    if (sent == send->len) {
        return;
    }
    if (send->sent < 0) {
        tws_conn_abort(&p->conn);
    } else {
        tws_conn_unsent(&p->conn, t->now_ms, send->data + sent, send->len - sent);
    }
    if (tws_conn_done(&p->conn)) {
        tws__thread_queue(t, p);
    } else {
        tws__peer_settle(p);
    }
}

static void tws__thread_send_gathered(tws__thread *t)
{
    tws__ring_send_each(&t->ring, t->send, t->gathered);
    for (uint32_t i = 0; i < t->gathered; i++) {
        tws__peer_unsent(t->send_to[i], &t->send[i]);
    }
    t->gathered = 0;
    t->gathered_bytes = 0;
}

static void tws__thread_end_gathering(tws__thread *t)
{
    tws__thread_send_gathered(t);
    t->gathers = false;
}

static void tws__peer_begin(tws_peer *p)
{
    tws__thread *t = p->thread;
    TWS_ASSERT(t->served == NULL); /* another's callback is no place to serve this one */
    if ((p->flags & TWS__PEER_GATHERED) != 0 || (t->gathers && tws__thread_gather_room(t) == 0)) {
        tws__thread_send_gathered(t);
    }
    t->served = p;
    t->received = 0;
    p->flags |= TWS__PEER_SERVED;
    tws_conn_begin(&p->conn, &t->turn, t->now_ms);
}

static void tws__peer_finish(tws_peer *p)
{
    tws__thread *t = p->thread;
    bool waited = tws_conn_wants_output(&p->conn);
    bool asked = false; /* once a turn: what is taken is told once */
    for (;;) {
        tws__peer_dispatch(p);
        asked = asked || tws__peer_output(p);
        tws__peer_dispatch(p); /* what on_output has closed is told */
        bool full = t->turn.full;
        if (!tws__peer_write(p) || !full) {
            break;
        }
    }
    tws__peer_pace(p);
    size_t taken = tws_conn_end(&p->conn, &t->turn);
    tws_count(&t->traffic.messages_out, taken);
    if (p->ops != NULL && p->ops->on_taken != NULL) {
        p->ops->on_taken(p, taken);
        TWS_ASSERT(t->turn.out_count == 0); /* it would be lost */
    }
    if (p->ops != NULL && !tws_conn_open(&p->conn)) {
        tws__peer_dispatch(p); /* the write found the peer gone */
    }
    bool wanted = waited || (p->flags & TWS__PEER_PULL) != 0;
    if (wanted && !tws_conn_wants_output(&p->conn) && tws_conn_open(&p->conn)) {
        tws_peer_pull_later(p); /* the socket takes again: one write a turn, so next turn */
    }
    p->flags &= ~(uint32_t)TWS__PEER_SERVED;
    t->served = NULL;
    tws__peer_settle(p);
}

static void tws__peer_serve(tws_peer *p, bool readable)
{
    tws__peer_begin(p);
    if (readable) {
        tws__peer_read(p);
    }
    tws__peer_finish(p);
}

/* Who is due is served first, and read at one go: what has come by now came in time, and what the
 * socket takes by now was taken in time, if it was this thread or the machine that stood still. But
 * not for a ping, which does no harm to who has spoken. */
static void tws__peer_tick(tws_peer *p)
{
    tws_conn_event ev;
    tws__thread *t = p->thread;
    const bool judged = p->user_ms <= t->now_ms || !tws_conn_pings_next(&p->conn);
    if (judged && tws__peer_deadline(p) <= t->now_ms) {
        const uint16_t room = p->room;
        p->room = UINT16_MAX;
        tws__peer_serve(p, tws_conn_wants_input(&p->conn));
        p->room = room;
    }
    if (p->watch.fd < 0) {
        return;
    }
    tws__peer_begin(p);
    if (p->user_ms <= t->now_ms) {
        p->user_ms = UINT64_MAX;
        if (p->ops != NULL && p->ops->on_timer != NULL) {
            p->ops->on_timer(p);
        }
    }
    if (tws_conn_tick(&p->conn, &t->turn, &ev) != TWS_CONN_NONE) {
        tws__peer_event(p, &ev);
    }
    tws__peer_finish(p);
}

/* -- accepting -- */

static bool tws__peer_create(tws__thread *t, int fd)
{
    tws_server *s = t->server;
    tws_peer *p = t->spare;
    t->spare = NULL;
    p->thread = t;
    p->user_ms = UINT64_MAX;
    p->epoch = tws__thread_epoch(t);
    p->spent = UINT16_MAX;
    p->room = tws__thread_shares(t) ? TWS__ROOM_NEW : TWS__ROOM_ALONE;
    p->watch.kind = TWS__WATCH_PEER;
    p->watch.behind = tws__thread_shares(t);
    tws_conn_init(&p->conn, &s->desc.limits, t->now_ms);
    if (tws_loop_add(t->loop, &p->watch, fd, TWS_READ) != TWS_OK) {
        tws_release(s->desc.allocator, p, sizeof *p);
        return false;
    }
    tws__thread_take_slot(t, p);
    TWS__COUNT(&s->connections, 1u);
    tws_count(&t->traffic.connections, 1);
    if (TWS__LOAD(&s->connections) > s->desc.max_connections) {
        p->flags |= TWS__PEER_EXCESS;
    }
    tws_count(&t->traffic.accepted, 1);
    tws_timer_set(t->loop, &p->timer, tws__peer_deadline(p));
    /* Who never asks is one too many as well; as many again are kept, and told why if they ask. */
    if (!s->desc.trust_proxy && tws__peer_count_address(p, NULL) / 2 > s->desc.max_per_ip) {
        tws__peer_bury(p);
    }
    return true;
}

/* Out of descriptors, memory or places: who waits in the backlog waits there, and is not reset. */
static void tws__thread_pause(tws__thread *t)
{
    t->listener_paused = true;
    t->listener_rests = false;
    tws_loop_want(t->loop, &t->listener, 0);
}

/* True when there may be more. */
static bool tws__thread_accept(tws__thread *t, int batch)
{
    tws_server *s = t->server;
    uint32_t most = t->draining ? UINT32_MAX : s->desc.max_connections + TWS__RESERVE;
    for (int i = 0; i < batch; i++) {
        if (TWS__LOAD(&s->connections) >= most || !tws__thread_has_room(t)) {
            tws__thread_pause(t);
            return false;
        }
        int fd = t->accepted >= 0 ? t->accepted : tws__sys_accept(t->listener.fd);
        t->accepted = -1;
        if (fd >= 0) {
            if (!tws__peer_create(t, fd)) {
                t->accepted = fd;
                tws__thread_pause(t);
                return false;
            }
            continue;
        }
        if (tws__sys_again(errno)) {
            return false;
        }
        if (!tws__sys_accepts_next(errno)) {
            tws__thread_pause(t);
            return false;
        }
    }
    return true;
}

/* -- drain -- */

/* A path goes with its last listener, before that: behind it, it may be another server's.
 * tell: who has come already is told, not reset. */
static void tws__thread_close_listener(tws__thread *t, bool tell)
{
    tws_server *s = t->server;
    int fd = t->listener.fd;
    if (fd < 0) {
        return;
    }
    if (TWS__UNREF(&s->listeners) && s->desc.unix_path != NULL) {
        unlink(s->desc.unix_path);
    }
    while (tell && tws__thread_accept(t, TWS__ACCEPT_ALONE)) {
    }
    tws_loop_remove(t->loop, &t->listener);
    t->listener_rests = false;
    close(fd);
    if (t->accepted >= 0) {
        close(t->accepted);
        t->accepted = -1;
    }
}

/* last: the drain is over, for a request that still waits too. */
static void tws__peer_goodbye(tws_peer *p, bool last)
{
    static const char message[] = "the server is shutting down; reconnect after a delay";
    tws__peer_begin(p);
    if (tws_conn_open(&p->conn)) {
        tws__peer_leave(p, 1001, "draining", message);
    } else if (tws_conn_idle(&p->conn)) {
        tws__peer_read(p); /* a request that has come already is answered */
        tws__peer_dispatch(p);
    }
    if (last && tws_conn_waits(&p->conn) && p->ops != NULL && p->ops->on_leave != NULL) {
        p->ops->on_leave(p, 1001, "draining", message);
    }
    if (tws_conn_idle(&p->conn)) {
        tws_conn_close(&p->conn, &p->thread->turn, 1001, tws_str_of(NULL, 0));
    }
    tws__peer_finish(p);
}

/* Say goodbye to as many as the time that has passed asks for, evenly over the drain. */
static void tws__thread_drain_some(tws__thread *t)
{
    uint32_t drain_ms = t->server->desc.drain_ms;
    uint64_t passed = t->now_ms - t->drain_from_ms;
    uint64_t due = drain_ms == 0 || passed >= drain_ms
                       ? UINT32_MAX
                       : (uint64_t)t->drain_total * passed / drain_ms + 1;
    while (t->drain_cursor < t->slot_count && t->drain_done < due) {
        tws_peer *p = t->slot[t->drain_cursor].peer;
        t->drain_cursor++;
        if (p != NULL) {
            t->drain_done++;
            tws__peer_goodbye(p, passed >= drain_ms);
        }
    }
    if (passed >= drain_ms) {
        t->drain_cursor = 0; /* round again: for those whose request was still under way */
    }
    uint64_t step = t->drain_total == 0 ? 100 : drain_ms / t->drain_total;
    tws_timer_set(t->loop, &t->drain, t->now_ms + (step < 20 ? 20 : step > 100 ? 100 : step));
}

static void tws__thread_begin_drain(tws__thread *t)
{
    t->draining = true;
    t->drain_from_ms = t->now_ms;
    t->drain_total = (uint32_t)t->traffic.connections;
    tws__thread_drain_some(t);
}

static void tws__thread_end_all(tws__thread *t)
{
    for (uint32_t i = 0; i < t->slot_count; i++) {
        if (t->slot[i].peer != NULL) {
            tws__peer_bury(t->slot[i].peer);
        }
    }
}

/* True when nothing is left to do. */
static bool tws__thread_drained(tws__thread *t)
{
    uint32_t stopping = TWS__LOAD(&t->server->stopping);
    if (stopping == 0) {
        return false;
    }
    if (!t->draining) {
        tws__thread_begin_drain(t);
    }
    uint64_t drain_ms = t->server->desc.drain_ms, close_ms = t->server->desc.limits.close_ms;
    /* A close that may take for ever does not keep the drain from ending. */
    uint64_t limit = drain_ms + 2u * (close_ms == TWS_OFF ? drain_ms : close_ms);
    uint64_t passed = t->now_ms - t->drain_from_ms;
    bool empty = TWS__LOAD(&t->server->connections) == 0; /* of all threads */
    /* Until its end a draining server says so to whoever comes: a closed port would reset them, and
     * who is on the way to one thread's is not moved to another's. */
    if (empty || passed >= drain_ms || stopping >= 2) {
        tws__thread_close_listener(t, true);
    }
    if (stopping >= 2 || passed > limit) {
        tws__thread_end_all(t);
    }
    /* Guests and on_turn of this thread may be what connections of another one wait for. */
    const tws_server_desc *d = &t->server->desc;
    bool waits = t->index == 0 && d->is_busy != NULL && stopping < 2 && passed <= limit;
    return TWS__LOAD(&t->server->connections) == 0 && !(waits && d->is_busy(d->context));
}

/* -- what a thread has to do besides -- */

/* True when there were some. */
static bool tws__thread_run_posts(tws__thread *t)
{
    TWS__LOCK(&t->post_lock);
    tws__post *post = t->posts;
    t->posts = NULL;
    t->posts_end = &t->posts;
    TWS__UNLOCK(&t->post_lock);
    bool some = post != NULL;
    while (post != NULL) {
        tws__post *next = post->next;
        tws_peer *p = tws__thread_peer(t, post->id);
        if (p != NULL) {
            tws__peer_begin(p);
        }
        post->fn(p, post->arg);
        if (p != NULL) {
            tws__peer_finish(p);
        }
        tws_release(t->server->desc.allocator, post, sizeof *post);
        post = next;
    }
    return some;
}

/* -- whoever does not go first -- */

static void tws__thread_rest(tws__thread *t, bool rests)
{
    if (t->listener_rests != rests) {
        t->listener_rests = rests;
        tws_loop_want(t->loop, &t->listener, rests ? 0 : TWS_READ);
    }
}

/* At most ten thousand a second are let in beside who goes first; the others wait in the listener's
 * queue, and nobody asks about that until the next one may come in. */
static void tws__thread_accept_some(tws__thread *t, uint64_t until_us)
{
    const uint64_t saved_us = (TWS__ACCEPT_FEW - 1) * TWS__ACCEPT_US;
    bool more = true;
    if (until_us == UINT64_MAX) {
        tws__thread_accept(t, TWS__ACCEPT_ALONE);
        more = false; /* or it is told again */
    } else if (until_us > t->accept_us + saved_us) {
        t->accept_us = until_us - saved_us;
    }
    while (more && until_us >= t->accept_us) {
        more = tws__thread_accept(t, 1);
        t->accept_us += more ? TWS__ACCEPT_US : 0;
    }
    tws__thread_rest(t, more);
}

/* A few at a time until the share is over, that no turn is much longer than that, whatever they are
 * up to. Whomever the loop tells of is served: who were not would have lost his place. */
static void tws__thread_run_behind(tws__thread *t, uint64_t until_us)
{
    const uint32_t few = until_us == UINT64_MAX ? TWS_LOOP_READY : TWS__SHARE_FEW;
    size_t n;
    do {
        n = tws_loop_behind(t->loop, t->ready, few);
        for (size_t i = 0; i < n; i++) {
            tws_watch *w = t->ready[i].watch;
            if (w->fd >= 0) {
                tws__peer_serve(tws__peer_of(w), (t->ready[i].events & TWS_READ) != 0);
            }
        }
    } while (n == few && until_us != UINT64_MAX && tws__in_time(until_us));
}

/* Who does not go first and comes too late stays for the next turn. */
static void tws__thread_run_later(tws__thread *t, uint64_t until_us)
{
    tws_peer *p = t->later;
    t->later = NULL;
    t->later_end = &t->later;
    while (p != NULL) {
        tws_peer *next = p->next;
        bool first = p->watch.fd >= 0 && tws__peer_comes_first(p);
        p->flags &= ~(uint32_t)TWS__PEER_QUEUED;
        if (p->watch.fd < 0) {
            p->next = t->dead;
            t->dead = p;
        } else if (first || tws__in_time(until_us)) {
            tws__peer_serve(p, false);
        } else {
            tws__thread_queue(t, p);
        }
        p = next;
    }
}

static void tws__thread_timer(tws__thread *t, tws_timer *timer)
{
    if (timer == &t->second) {
        tws_timer_set(t->loop, timer, t->now_ms + 1000);
        tws__thread_listen_again(t);
        if (t->index == 0 && t->server->desc.on_second != NULL) {
            t->server->desc.on_second(t->server->desc.context, tws_sys_wall_ms());
        }
        return;
    }
    if (timer == &t->drain) {
        tws__thread_drain_some(t);
        return;
    }
    for (tws_guest *g = t->guests; g != NULL; g = g->next) {
        if (timer == &g->timer) {
            g->on_ready(g, 0);
            return;
        }
    }
    tws_peer *p = (tws_peer *)(void *)((char *)timer - offsetof(tws_peer, timer));
    tws__peer_tick(p);
}

static void tws__thread_news(tws__thread *t)
{
    if (t->server->desc.on_turn != NULL) {
        t->gathers = true;
        t->server->desc.on_turn(t->server->desc.context, t->index);
        tws__thread_end_gathering(t);
    }
}

/* At least one, that it goes on; the others when who goes first has been served again. */
static void tws__thread_run_timers(tws__thread *t)
{
    tws_timer *due = tws_timer_due(t->loop, t->now_ms);
    uint64_t until_us = due == NULL ? 0 : tws__thread_share(t);
    t->gathers = true;
    while (due != NULL) {
        tws__thread_timer(t, due);
        due = tws__in_time(until_us) ? tws_timer_due(t->loop, t->now_ms) : NULL;
    }
    tws__thread_end_gathering(t);
}

/* -- a turn of a thread -- */

/* Who does not go first steps behind who does, if there is any. */
static void tws__thread_run_others(tws__thread *t, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        tws_watch *w = t->ready[i].watch;
        if (w->fd < 0) {
            continue; /* closed earlier in this turn */
        }
        if (tws__thread_shares(t)) {
            tws_loop_move(t->loop, w, true);
        }
        if (!w->behind) { /* or there was no room for it there: nobody else would tell of it */
            tws__peer_serve(tws__peer_of(w), (t->ready[i].events & TWS_READ) != 0);
        }
    }
}

/* True when somebody waits to be accepted. */
static bool tws__thread_run_ready(tws__thread *t, size_t n)
{
    bool accept = false;
    size_t others = 0;
    for (size_t i = 0; i < n; i++) {
        tws_watch *w = t->ready[i].watch;
        if (w->fd < 0) {
            continue; /* closed earlier in this turn */
        }
        if (w->kind == TWS__WATCH_LISTENER) {
            accept = true;
            continue;
        }
        if (w->kind == TWS__WATCH_GUEST) {
            tws_guest *g = (tws_guest *)(void *)((char *)w - offsetof(tws_guest, watch));
            g->on_ready(g, t->ready[i].events);
            continue;
        }
        if (tws__peer_comes_first(tws__peer_of(w))) {
            tws__peer_serve(tws__peer_of(w), (t->ready[i].events & TWS_READ) != 0);
        } else {
            t->ready[others] = t->ready[i];
            others++;
        }
    }
    tws__thread_run_others(t, others);
    return accept;
}

/* How long a turn may wait for something to do. */
static int tws__thread_patience(const tws__thread *t)
{
    return t->later != NULL ? 0 : t->listener_rests ? 1 : -1;
}

static bool tws__thread_turn(tws__thread *t, int timeout_ms)
{
    TWS_ASSERT(TWS__LOAD(&t->turning) == 0); /* run or step is called twice at once, or in a hook */
    TWS__STORE(&t->turning, 1u);
    const int wait_ms = tws__sooner(tws__thread_patience(t), timeout_ms);
    size_t n = tws_loop_wait(t->loop, wait_ms, t->ready, &t->now_ms);
    tws__thread_date(t);
    bool accept = tws__thread_run_ready(t, n) || t->listener_rests;
    if (tws_loop_crowded(t->loop)) {
        tws__thread_news(t); /* of those who went first, at once */
    }
    uint64_t until_us = accept || t->later != NULL || tws_loop_crowded(t->loop)
                            ? tws__thread_share(t)
                            : UINT64_MAX; /* no reason to look at the clock in every turn */
    if (accept) {
        tws__thread_accept_some(t, until_us);
    }
    tws__thread_run_later(t, until_us);
    tws__thread_run_behind(t, until_us);
    tws__thread_run_posts(t);
    tws__thread_run_timers(t);
    tws__thread_news(t);
    bool over = tws__thread_drained(t);
    tws__thread_free_dead(t);
    TWS__STORE(&t->turning, 0u);
    return !over;
}

/* -- threads -- */

static void tws__thread_free(tws__thread *t)
{
    const tws_allocator *a = t->server->desc.allocator;
    if (t->loop != NULL) {
        tws__thread_end_all(t);
        tws__thread_run_later(t, UINT64_MAX); /* nobody of whom is there any more */
        tws__thread_free_dead(t);
        tws__thread_close_listener(t, false);
    }
    tws_loop_free(t->loop);
    tws__ring_close(&t->ring);
    tws_release(a, t->receive, t->server->desc.receive_bytes);
    tws_turn_free(&t->turn, a);
    tws_release(a, t->slot, t->slot_cap * sizeof *t->slot);
    tws_release(a, t->spare, sizeof *t->spare);
    TWS__MUTEX_FREE(&t->post_lock);
    tws_release(a, t, sizeof *t);
}

static tws__thread *tws__thread_create(tws_server *s, unsigned index)
{
    tws__thread *t = (tws__thread *)tws_alloc(s->desc.allocator, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->server = s;
    t->index = index;
    t->free_slot = UINT32_MAX;
    t->listener.fd = -1;
    t->accepted = -1;
    t->listener.kind = TWS__WATCH_LISTENER;
    t->later_end = &t->later;
    t->posts_end = &t->posts;
    t->now_ms = tws_sys_now_ms();
    TWS__MUTEX_INIT(&t->post_lock);
    tws__ring_open(&t->ring);
    t->loop = tws_loop_create(s->desc.allocator);
    t->receive = (uint8_t *)tws_alloc(s->desc.allocator, s->desc.receive_bytes);
    if (t->loop == NULL || t->receive == NULL) {
        tws__thread_free(t);
        return NULL;
    }
    tws_timer_set(t->loop, &t->second, t->now_ms + 1000);
    return t;
}

/* -- the server -- */

static unsigned tws__thread_count(uint32_t threads)
{
    return threads == 0 ? 1 : threads < TWS__MAX_THREADS ? threads : TWS__MAX_THREADS;
}

static tws_status tws__server_create_threads(tws_server *s)
{
    if (!tws_sys_random(s->address_key, sizeof s->address_key)) {
        return TWS_ERR_SYSTEM;
    }
    s->thread = (tws__thread **)tws_alloc(s->desc.allocator, s->desc.threads * sizeof *s->thread);
    while (s->thread != NULL && s->threads < s->desc.threads) {
        errno = 0; /* a hook for memory need not set it, and it may be from long ago */
        tws__thread *t = tws__thread_create(s, s->threads);
        if (t == NULL) { /* errno is the loop's: no descriptors, or no epoll */
            return errno != 0 && errno != ENOMEM ? TWS_ERR_SYSTEM : TWS_ERR_MEMORY;
        }
        s->thread[s->threads] = t;
        s->threads++;
    }
    return s->thread == NULL ? TWS_ERR_MEMORY : TWS_OK;
}

TWS_API tws_status tws_server_create(tws_server **server, const tws_server_desc *desc)
{
    tws_server *s = (tws_server *)tws_alloc(desc->allocator, sizeof *s);
    *server = NULL;
    if (s == NULL) {
        return TWS_ERR_MEMORY;
    }
    s->desc = *desc;
    s->desc.host = desc->host == NULL ? "127.0.0.1" : desc->host;
    s->desc.threads = tws__thread_count(desc->threads);
    s->desc.receive_bytes = tws__default(desc->receive_bytes, 64 * 1024);
    s->desc.drain_ms = desc->drain_ms == TWS_OFF ? 0 : tws__default(desc->drain_ms, 10 * 1000);
    s->desc.limits.allocator = desc->allocator;
    s->desc.limits.context_use = &s->context_use;
    tws_conn_defaults(&s->desc.limits);
    uint64_t files = tws__min64(tws_sys_max_files(), 0xffffffu);
    uint32_t other = TWS__FILES + TWS__THREAD_FILES * s->desc.threads;
    uint32_t most = files > 2 * other ? (uint32_t)files - other : other;
    if (s->desc.max_connections == 0 || s->desc.max_connections > most) {
        s->desc.max_connections = most;
    }
    tws_router_init(&s->router, desc->allocator);
    TWS__MUTEX_INIT(&s->tally_lock);
    tws_status status = tws__server_create_threads(s);
    if (status == TWS_OK) {
        *server = s;
    } else {
        const int why = errno;
        tws_server_free(s);
        errno = why;
    }
    return status;
}

TWS_API void tws_server_free(tws_server *s)
{
    if (s == NULL) {
        return;
    }
    const tws_allocator *a = s->desc.allocator;
    /* All connections first: one that ends may wake any thread. */
    for (unsigned i = 0; i < s->threads; i++) {
        TWS_ASSERT(TWS__LOAD(&s->thread[i]->turning) == 0); /* it runs */
        tws__thread_end_all(s->thread[i]);
    }
    /* Nobody is there any more: each hears NULL, and may post or wake once more itself. */
    for (bool some = true; some;) {
        some = false;
        for (unsigned i = 0; i < s->threads; i++) {
            some = tws__thread_run_posts(s->thread[i]) || some;
        }
    }
    for (unsigned i = 0; i < s->threads; i++) {
        tws__thread_free(s->thread[i]);
    }
    tws_release(a, s->thread, s->desc.threads * sizeof *s->thread);
    for (size_t i = 0; i < s->router.count; i++) {
        tws_release(a, s->router.entry[i].value, sizeof(tws_route));
    }
    tws_release(a, s->tally, s->tally_cap * sizeof *s->tally);
    tws_router_free(&s->router);
    TWS__MUTEX_FREE(&s->tally_lock);
    tws_release(a, s, sizeof *s);
}

TWS_API tws_status tws_server_route(tws_server *s, const tws_route *route, tws_buf *error)
{
    tws_buf none;
    TWS_ASSERT(TWS__LOAD(&s->thread[0]->turning) == 0); /* requests are being looked up in it */
    tws_buf_fixed(&none, NULL, 0);
    error = error != NULL ? error : &none;
    if ((route->on_request == NULL) == (route->websocket == NULL)) {
        tws_buf_c(error, "a route needs on_request or websocket, one of them");
        return TWS_ERR_ARGUMENT;
    }
    tws_route *own = (tws_route *)tws_alloc(s->desc.allocator, sizeof *own);
    if (own == NULL) {
        tws_buf_c(error, "no memory");
        return TWS_ERR_MEMORY;
    }
    *own = *route;
    tws_status status = tws_router_add(&s->router, route->method, route->pattern, own, error);
    if (status != TWS_OK) {
        tws_release(s->desc.allocator, own, sizeof *own);
    }
    return status;
}

/* Sockets that share a port would share it with another server's: the first asks for it alone. */
static int tws__server_listen_tcp(tws_server *s, const char **why, bool first)
{
    bool shared = s->threads > 1;
    if (shared && first && s->port != 0) {
        int alone = tws__sys_listen_tcp(s->desc.host, s->port, false, why);
        if (alone < 0) {
            return -1;
        }
        close(alone);
    }
    int fd = tws__sys_listen_tcp(s->desc.host, s->port, shared, why);
    if (fd < 0) {
        return -1;
    }
    s->port = s->port == 0 ? tws__sys_port(fd) : s->port;
    uint32_t most = s->desc.limits.max_output_bytes;
    tws__sys_limit_unsent(fd, most > TWS__UNSENT_BYTES ? most : TWS__UNSENT_BYTES);
    return fd;
}

static tws_status tws__server_listen_one(tws_server *s, tws__thread *t, const char **why)
{
    int fd = -1;
    if (s->desc.unix_path == NULL) {
        fd = tws__server_listen_tcp(s, why, t->index == 0);
    } else if (t->index == 0) {
        fd = tws__sys_listen_unix(s->desc.unix_path, why);
    }
    if (fd < 0 && t->index != 0) { /* a path, or a port where a system has no SO_REUSEPORT */
        fd = fcntl(s->thread[0]->listener.fd, F_DUPFD_CLOEXEC, 0);
        *why = fd < 0 ? strerror(errno) : "";
    }
    if (fd < 0) {
        return TWS_ERR_SYSTEM;
    }
    tws_status status = tws_loop_add(t->loop, &t->listener, fd, TWS_READ);
    if (status != TWS_OK) {
        *why = strerror(errno);
        close(fd);
        return status;
    }
    s->listeners++;
    return TWS_OK;
}

static void tws__server_cannot_listen(const tws_server *s, const char *why, tws_buf *error)
{
    const bool tcp = s->desc.unix_path == NULL;
    const bool taken = strcmp(why, strerror(EADDRINUSE)) == 0;
    tws_buf_c(error, "cannot listen on ");
    tws_buf_c(error, tcp ? s->desc.host : s->desc.unix_path);
    if (tcp) {
        tws_buf_c(error, " port ");
        tws_buf_i64(error, s->port);
    }
    tws_buf_c(error, ": ");
    tws_buf_c(error, why);
    if (taken) {
        tws_buf_c(error, tcp ? " (choose another with --port, or stop what uses it)"
                             : " (choose another with --unix, or stop what uses it)");
    }
}

TWS_API tws_status tws_server_listen(tws_server *s, tws_buf *error)
{
    const char *why = "";
    TWS_ASSERT(s->listeners == 0); /* it listens already */
    s->port = s->desc.port == 0 ? 8000 : s->desc.port == TWS_PORT_ANY ? 0 : s->desc.port;
    tws__sys_grow_files((uint64_t)s->desc.max_connections + TWS__FILES +
                        TWS__THREAD_FILES * s->threads);
    for (unsigned i = 0; i < s->threads; i++) {
        tws_status status = tws__server_listen_one(s, s->thread[i], &why);
        if (status == TWS_OK) {
            continue;
        }
        if (error != NULL) {
            tws__server_cannot_listen(s, why, error);
        }
        while (i > 0) {
            i--;
            tws__thread_close_listener(s->thread[i], true);
        }
        return status;
    }
    return TWS_OK;
}

TWS_API int tws_server_port(const tws_server *s)
{
    return s->desc.unix_path == NULL ? s->port : 0;
}

#ifndef TASKWS_NO_THREADS
static void *tws__thread_main(void *arg)
{
    tws__thread *t = (tws__thread *)arg;
    while (tws__thread_turn(t, -1)) {
    }
    return NULL;
}

TWS_API tws_status tws_server_run(tws_server *s)
{
    pthread_t *id = (pthread_t *)tws_alloc(s->desc.allocator, s->threads * sizeof *id);
    if (id == NULL) {
        return TWS_ERR_MEMORY;
    }
    tws_status status = TWS_OK;
    unsigned started = 1;
    while (started < s->threads &&
           pthread_create(&id[started], NULL, tws__thread_main, s->thread[started]) == 0) {
        started++;
    }
    if (started < s->threads) {
        status = TWS_ERR_SYSTEM;
        tws_server_stop(s);
    }
    tws__thread_main(s->thread[0]);
    for (unsigned i = 1; i < started; i++) {
        pthread_join(id[i], NULL);
    }
    tws_release(s->desc.allocator, id, s->threads * sizeof *id);
    return status;
}
#else
TWS_API tws_status tws_server_run(tws_server *s)
{
    while (tws__thread_turn(s->thread[0], -1)) {
    }
    return TWS_OK;
}
#endif

TWS_API tws_status tws_server_step(tws_server *s, int timeout_ms)
{
    TWS_ASSERT(s->threads == 1);
    return tws__thread_turn(s->thread[0], timeout_ms) ? TWS_OK : TWS_ERR_CLOSED;
}

TWS_API int tws_server_fd(const tws_server *s)
{
    return tws_loop_fd(s->thread[0]->loop);
}

TWS_API int tws_server_timeout(const tws_server *s)
{
    const tws__thread *t = s->thread[0];
    return tws__sooner(tws__thread_patience(t), tws_loop_timeout(t->loop, tws_sys_now_ms()));
}

TWS_API void tws_server_stop(tws_server *s)
{
    TWS__COUNT(&s->stopping, 1u);
    for (unsigned i = 0; i < s->threads; i++) {
        tws_loop_wake(s->thread[i]->loop);
    }
}

TWS_API bool tws_server_draining(const tws_server *s)
{
    return TWS__LOAD(&s->stopping) != 0;
}

TWS_API const tws_router *tws_server_router(const tws_server *s)
{
    return &s->router;
}

TWS_API void tws_server_guest(tws_server *s, unsigned thread, tws_guest *g)
{
    TWS_ASSERT(thread < s->threads);
    tws__thread *t = s->thread[thread];
    g->watch.fd = -1;
    g->watch.kind = TWS__WATCH_GUEST;
    g->loop = t->loop;
    g->next = t->guests;
    t->guests = g;
}

TWS_API tws_status tws_guest_watch(tws_guest *g, int fd, unsigned want)
{
    tws_loop_remove(g->loop, &g->watch);
    return fd < 0 ? TWS_OK : tws_loop_add(g->loop, &g->watch, fd, want);
}

TWS_API void tws_guest_want(tws_guest *g, unsigned want)
{
    tws_loop_want(g->loop, &g->watch, want);
}

TWS_API void tws_guest_alarm(tws_guest *g, uint64_t at_ms)
{
    tws_timer_set(g->loop, &g->timer, at_ms);
}

TWS_API void *tws_server_context(const tws_server *s)
{
    return s->desc.context;
}

TWS_API uint32_t tws_server_max_connections(const tws_server *s)
{
    return s->desc.max_connections;
}

TWS_API void tws_server_wake(tws_server *s, unsigned thread)
{
    TWS_ASSERT(thread < s->threads);
    tws_loop_wake(s->thread[thread]->loop);
}

TWS_API void tws_server_stat(const tws_server *s, tws_server_stats *out)
{
    tws_counter *sum = (tws_counter *)(void *)out; /* it is nothing but counters */
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < s->threads; i++) {
        const tws_counter *n = (const tws_counter *)(const void *)&s->thread[i]->traffic;
        for (size_t k = 0; k < sizeof *out / sizeof *sum; k++) {
            sum[k] += tws_counted(&n[k]);
        }
    }
}

TWS_API tws_status tws_server_post(tws_server *s, tws_peer_id id,
                                   void (*fn)(tws_peer *p, void *arg), void *arg)
{
    unsigned index = (unsigned)(id >> 56);
    if (index >= s->threads) {
        return TWS_ERR_ARGUMENT;
    }
    tws__post *post = (tws__post *)tws_alloc(s->desc.allocator, sizeof *post);
    if (post == NULL) {
        return TWS_ERR_MEMORY;
    }
    tws__thread *t = s->thread[index];
    post->id = id;
    post->fn = fn;
    post->arg = arg;
    TWS__LOCK(&t->post_lock);
    *t->posts_end = post;
    t->posts_end = &post->next;
    TWS__UNLOCK(&t->post_lock);
    tws_loop_wake(t->loop);
    return TWS_OK;
}

/* -- on a connection -- */

TWS_API tws_server *tws_peer_server(const tws_peer *p)
{
    return p->thread->server;
}

/* thread:8 generation:24 slot:32, never 0, and a slot fits into 24 bits */
TWS_API tws_peer_id tws_peer_id_of(const tws_peer *p)
{
    const tws__thread *t = p->thread;
    return (uint64_t)t->index << 56 | (uint64_t)t->slot[p->slot].generation << 32 | p->slot;
}

TWS_API unsigned tws_peer_thread(const tws_peer *p)
{
    return p->thread->index;
}

TWS_API void *tws_peer_data(const tws_peer *p)
{
    return p->data;
}

TWS_API void *tws_peer_data_of(const tws_peer *p, const tws_peer_ops *ops)
{
    return p != NULL && p->ops == ops ? p->data : NULL;
}

TWS_API void tws_peer_set(tws_peer *p, const tws_peer_ops *ops, void *data)
{
    p->ops = ops;
    p->data = data;
}

TWS_API tws_str tws_peer_param(const tws_peer *p, size_t n)
{
    const tws_router_match *m = &p->thread->match;
    return n < m->param_count ? m->param[n] : tws_str_of(NULL, 0);
}

TWS_API const char *tws_peer_address(const tws_peer *p, char out[64])
{
    uint8_t raw[16];
    tws_str text;
    bool asking = (p->flags & TWS__PEER_ASKING) != 0;
    if (asking && tws__peer_forwarded(p, &p->thread->turn.request, &text) && text.len < 64) {
        memcpy(out, text.ptr, text.len);
        out[text.len] = '\0';
        return out;
    }
    if (p->thread->server->desc.unix_path != NULL) {
        memcpy(out, "unix", sizeof "unix");
        return out;
    }
    tws__sys_address(p->watch.fd, raw);
    const bool v4 = tws__sys_is_ipv4(raw);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? raw + 12 : raw, out, 64);
    return out;
}

TWS_API bool tws_peer_is_local(const tws_peer *p, const tws_http_request *request)
{
    uint8_t raw[16];
    if (p->thread->server->desc.unix_path != NULL ||
        tws_http_find(request, "X-Forwarded-For") != NULL ||
        tws_http_find(request, "Forwarded") != NULL || tws_http_find(request, "Via") != NULL) {
        return false;
    }
    tws__sys_address(p->watch.fd, raw);
    return tws__sys_is_loopback(raw);
}

TWS_API const char *tws_peer_overload(const tws_peer *p)
{
    if ((p->flags & TWS__PEER_EXCESS) != 0) {
        return "overloaded";
    }
    return (p->flags & TWS__PEER_CROWDED) != 0 ? "too_many_connections" : NULL;
}

/* What one connection says in another's turn would reach the other's client. */
static tws_turn *tws__peer_turn(const tws_peer *p)
{
    TWS_ASSERT(p->thread->served == p);
    return &p->thread->turn;
}

#define TWS__LINES 1024 /* of an answer's head: the date and TWS_MAX_HEAD_LINES */

static const char *tws__peer_lines(const tws_peer *p, const char *head, char lines[TWS__LINES])
{
    tws_buf b;
    tws_buf_fixed(&b, lines, TWS__LINES - 1);
    tws_buf_c(&b, p->thread->date);
    tws_buf_c(&b, head == NULL ? "" : head);
    TWS_ASSERT(b.status == TWS_OK);
    lines[b.len] = '\0';
    return lines;
}

TWS_API void tws_peer_respond(tws_peer *p, int status, const char *head, const char *content_type,
                              tws_str body)
{
    char lines[TWS__LINES];
    const tws_server *s = p->thread->server;
    bool crowded = (p->flags & TWS__PEER_CROWDED) != 0 && !s->desc.trust_proxy;
    bool last = crowded || (p->flags & TWS__PEER_EXCESS) != 0 || tws_server_draining(s);
    tws_conn_respond(&p->conn, tws__peer_turn(p), status, tws__peer_lines(p, head, lines),
                     content_type, body, last);
}

static void tws__json_text(tws_buf *b, const char *name, const char *value)
{
    tws_json_write_member(b, name, tws_str_c(value));
}

TWS_API void tws_peer_respond_error(tws_peer *p, int status, const char *head, const char *word,
                                    const char *message)
{
    char memory[512], lines[TWS_MAX_HEAD_LINES + 1];
    tws_buf b, h;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_c(&b, "{\"error\":{");
    tws__json_text(&b, "code", word);
    tws__json_text(&b, "message", message);
    tws_buf_c(&b, "}}");
    if (b.status != TWS_OK) { /* longer than any of ours: a host's */
        tws_peer_respond_error(p, status, head, "internal", "the reason is too long to tell");
        return;
    }
    tws_buf_fixed(&h, lines, sizeof lines - 1);
    tws_buf_c(&h, head == NULL ? "" : head);
    if (status == 401) {
        tws_buf_c(&h, "WWW-Authenticate: Bearer\r\n");
    } else if (status == 426) {
        tws_buf_c(&h, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    } else if (status == 429 || status == 503) {
        tws_buf_c(&h, "Retry-After: 1\r\n");
    }
    TWS_ASSERT(h.status == TWS_OK);
    lines[h.len] = '\0';
    tws_peer_respond(p, status, lines, "application/json", tws_buf_view(&b));
}

static void tws__peer_long(tws_peer *p, const tws_peer_ops *ops, void *data)
{
    p->ops = ops;
    p->data = data;
    if ((p->flags & TWS__PEER_LONG) == 0) {
        p->flags |= TWS__PEER_LONG;
        tws_count(&p->thread->traffic.websockets_open, 1);
    }
}

/* Is it that media type, whatever its parameters? */
static bool tws__media_is(tws_str value, const char *type)
{
    return tws__str_is(tws_str_trim(tws_str_of(value.ptr, tws_str_find(value, ';'))), type);
}

TWS_API void tws_peer_stream(tws_peer *p, const char *head, const char *content_type,
                             const tws_peer_ops *ops, void *data)
{
    char lines[TWS__LINES];
    tws_conn_stream(&p->conn, tws__peer_turn(p), 200, tws__peer_lines(p, head, lines),
                    content_type);
    tws_count(&p->thread->traffic.streams, 1);
    if (tws__media_is(tws_str_c(content_type), "text/event-stream")) {
        p->flags |= TWS__PEER_SSE;
    }
    tws__peer_long(p, ops, data);
}

/* Does the client offer that subprotocol, to the letter? It takes no answer that is not one of its
 * own values (RFC 6455 4.1), and will not forgive another case. */
static bool tws__peer_offered(const tws_http_request *r, const char *protocol)
{
    tws_str offer;
    tws__http_items offers = tws__http_items_of(r->field, r->field_count, "Sec-WebSocket-Protocol");
    while (tws__http_next(&offers, ',', &offer)) {
        if (tws_str_eq_c(offer, protocol)) {
            return true;
        }
    }
    return false;
}

TWS_API bool tws_peer_accept(tws_peer *p, const tws_http_request *request, const char *protocol,
                             const tws_peer_ops *ops, void *data)
{
    tws_str key;
    const char *reason = "";
    tws_ws_compression terms;
    const tws_conn_desc *limits = &p->thread->server->desc.limits;
    int status = tws_ws_check(request, &key, &reason);
    if (status == 101) {
        const bool offers = ops != NULL && ops->on_output != NULL;
        const unsigned bits = offers ? 0 : limits->context_bits;
        status = tws_ws_check_extensions(request, bits, &terms, &reason);
    }
    if (status != 101) {
        tws_count(&p->thread->traffic.refused, 1);
        tws_peer_respond_error(p, status, NULL, "bad_request", reason);
        return false;
    }
    bool offered = protocol != NULL && tws__peer_offered(request, protocol);
    tws_conn_accept(&p->conn, tws__peer_turn(p), key, tws_str_c(offered ? protocol : NULL), &terms);
    tws_count(&p->thread->traffic.upgrades, 1);
    tws__peer_long(p, ops, data);
    return true;
}

static bool tws__peer_send(tws_peer *p, tws_ws_opcode opcode, const void *payload, size_t len,
                           bool borrowed)
{
    bool taken = tws_conn_send(&p->conn, tws__peer_turn(p), opcode, payload, len, borrowed);
    tws_count(&p->thread->traffic.messages_out, taken);
    return taken;
}

TWS_API bool tws_peer_send(tws_peer *p, tws_ws_opcode opcode, const void *payload, size_t len)
{
    return tws__peer_send(p, opcode, payload, len, false);
}

TWS_API bool tws_peer_send_borrowed(tws_peer *p, tws_ws_opcode opcode, const void *payload,
                                    size_t len)
{
    return tws__peer_send(p, opcode, payload, len, true);
}

TWS_API bool tws_peer_put(tws_peer *p, const void *data, size_t len)
{
    return tws_conn_put(&p->conn, tws__peer_turn(p), data, len, false);
}

TWS_API bool tws_peer_offer(tws_peer *p, const tws_str *slices, size_t count)
{
    return tws_conn_offer(&p->conn, tws__peer_turn(p), slices, count);
}

TWS_API void tws_peer_lend(tws_peer *p, const tws_lender *lender, void *object)
{
    tws_conn_lend(tws__peer_turn(p), lender, object);
}

TWS_API bool tws_peer_compresses(const tws_peer *p, size_t len)
{
    unsigned bits = tws_conn_window_bits(&p->conn);
    bool fits = bits == TWS_WS_MAX_WINDOW_BITS || len <= (size_t)1 << bits;
    return bits != 0 && len >= p->thread->server->desc.limits.compress_bytes && fits;
}

TWS_API tws_str tws_peer_compress(tws_peer *p, tws_str message)
{
    tws__thread *t = p->thread;
    return tws_turn_compress(&t->turn, t->server->desc.allocator, TWS_WS_MAX_WINDOW_BITS, message);
}

TWS_API void tws_peer_pull(tws_peer *p)
{
    p->flags |= TWS__PEER_PULL;
    if ((p->flags & TWS__PEER_SERVED) == 0) {
        tws__peer_comes_first(p);
        tws__peer_serve(p, false);
    }
}

TWS_API void tws_peer_pull_later(tws_peer *p)
{
    p->flags |= TWS__PEER_PULL;
    tws__thread_queue(p->thread, p);
}

TWS_API void tws_peer_close(tws_peer *p, uint16_t code, const char *reason)
{
    tws_conn_close(&p->conn, tws__peer_turn(p), code, tws_str_c(reason));
}

TWS_API void tws_peer_limit(tws_peer *p, uint32_t bytes)
{
    tws_conn_limit(&p->conn, bytes);
}

TWS_API void tws_peer_set_timer(tws_peer *p, uint64_t at_ms)
{
    p->user_ms = at_ms;
}

#ifndef TASKWS_NO_JWT
/* == 22. task_server: tasks, status, health, metrics =====================================
 * The product, on section 21's public functions alone. Every request for tasks becomes a session: a
 * token is found and judged, then the session acts by its kind. */

#define TWS__PROTOCOL "taskws.v1"
/* Whose data it is decides who reads it: no cache keeps it, no page has it as what it is not. */
#define TWS__DATA_LINES "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"

#define TWS__WARN_MS 60000u /* before a token ends */
#define TWS__CLOCK_MS 60000u /* between two looks at the wall clock, which may have been set */
/* The longest of the server's own messages: a user id of control characters, six bytes for each. */
#define TWS__SAY_MAX (TWS_MAX_USER_ID * 6 + 256)
#define TWS__VERDICT_MS 30000u /* for a host's later answer */
/* The longest message of who has shown no token. JSON may write each byte as six, but nobody writes
 * a token so, and a stranger is not to make the server hold much: there is room for some. */
#define TWS__TOKEN_MESSAGE (2 * TWS_JWT_MAX)
#define TWS__LOAD_MS 5000u  /* for a snapshot's past to be read */
#define TWS__AWAY_MS 1000u  /* a reader waits for Redis before it is told that it is away */
#define TWS__STORE_MS 30000u /* for Redis to store; its own deadlines are shorter */

enum { TWS__WEBSOCKET, TWS__SSE, TWS__SNAPSHOT, TWS__PUBLISH, TWS__STATUS, TWS__METRICS };

enum {
    TWS__AWAIT_TOKEN,   /* accepted, and the first message is to bring the token */
    TWS__AWAIT_VERDICT, /* the host has been asked */
    TWS__STORING,       /* Redis has been asked, or the rest of the body waits for a turn */
    TWS__LOADING,       /* a snapshot whose user's past is being read */
    TWS__LIVE,          /* reading from the hub */
    TWS__OVER
};

/* What outlives the turn of a request whose answer waits for the host. */
typedef struct tws__pending {
    tws_identity who; /* of an open connection's new tokens the last one's */
    tws_str token, body; /* behind this struct */
} tws__pending;

typedef struct tws__session {
    tws_hub_reader reader; /* first: the hub hands readers back */
    tws_peer *peer;
    tws__pending *pending;
    uint64_t who;      /* a keyed hash of the token's user */
    int64_t expires_s;
    unsigned warn_ms : 16; /* so long before that it is told; 0: it was */
    unsigned kind : 3, phase : 3, format : 2;
    unsigned has_since : 1, ndjson : 1; /* since stands in the reader */
    unsigned begun : 1, told : 1; /* its position was found; or it was told that this lasts */
    uint8_t question; /* the number of what the host is asked; 0: nothing yet */
    uint8_t user_len; /* the user id stands behind this struct, */
    uint8_t key_len;  /* behind it the request's idempotency key, */
    uint8_t origin_len; /* and behind that its Origin, if that is allowed */
} tws__session;

#define TWS__MAX_KEY 200 /* bytes of Idempotency-Key */

/* What an idempotency key has stored; the table forgets the oldest of a place. */
typedef struct tws__memo {
    uint64_t name; /* a keyed hash of user and key; 0: free */
    uint64_t at_ms;
    tws_event_id id;
} tws__memo;

#define TWS__MEMOS 16384u
#define TWS__MEMO_WAYS 32u /* where one may stand: 4,000 keys a day do not drive each other out */
#define TWS__MEMO_MS (24u * 3600u * 1000u)

typedef struct tws__upstream tws__upstream;

typedef struct tws__telling {
    uint64_t second;
    uint32_t told; /* in that second */
    uint32_t untold;
} tws__telling;

#define TWS__STORED 64u

/* A thread's own part. */
typedef struct tws__seat {
    tws_task_server *ts;
    tws_hub_inbox *inbox;
    tws_auth_cache *cache;
    unsigned index;
    tws__session *offered_by; /* the batch was offered to this one in the present turn */
    size_t offered;
    uint8_t questions;    /* to the host, so far */
    uint8_t copy_format;
    bool stores;          /* some of stored are not 0 */
    uint32_t copied;
    char *copy_memory;    /* TWS__COPY bytes, once a batch was shared */
    tws__telling telling; /* who was refused */
    tws_counter refused;
    tws_hub_batch batch;
    tws_str copy[TWS_HUB_BATCH]; /* the batch's first frames in one piece, for who share it */
    bool copy_packed[TWS_HUB_BATCH]; /* it lies there as for who takes it compressed */
    uint64_t stored[TWS__STORED]; /* since readers were served, by a hash of the user */
    uint32_t storing[TWS__STORED]; /* bodies of which a part is still to be stored, likewise */
} tws__seat;

struct tws_task_server {
    tws_server *server;
    tws_hub *hub;
    tws__seat *seat;
    unsigned seats;
    tws__mutex ring_lock;
    tws_auth_ring *ring;
    uint64_t started_ms;   /* monotonic */
    uint64_t hub_begin_ms; /* see tws__hub_now */
    tws__upstream *up; /* NULL: the hub is the store */
    tws__mutex memo_lock;
    tws__memo *memo;
    tws__mutex log_lock; /* of what is written to standard error */
    tws_counter log_dropped;
    tws_task_server_desc desc;
};

/* -- refusals: one table for HTTP and WebSocket -- */

typedef struct tws__refusal {
    const char *word;
    uint16_t http;
    uint16_t close;
    bool retry;
    const char *message;
} tws__refusal;

static const tws__refusal tws__refusals[] = {
    {"token_missing", 401, 4401, false,
     "one token is needed: Authorization: Bearer, ?token=, subprotocol bearer.<token>, or a first "
     "message {\"type\":\"auth\",\"token\":\"...\"}"},
    {"token_malformed", 401, 4401, false, "the token is not an HS256 JWT"},
    {"token_signature", 401, 4401, false, "the token is not signed with a key of this server"},
    {"token_expired", 401, 4401, true, "the token has expired; connect with a new one"},
    {"token_not_yet_valid", 401, 4401, true, "the token is not valid yet; check the clocks"},
    {"token_claims", 401, 4401, false, "a claim of the token is missing or not the expected one"},
    {"forbidden_user", 403, 4403, false, "this token is for another user"},
    {"forbidden_scope", 403, 4403, false, "this token lacks the scope for that"},
    {"forbidden_origin", 403, 4403, false, "this Origin is not allowed; see the option origins"},
    {"auth_timeout", 408, 4408, true, "no token came in time"},
    {"heartbeat_timeout", 408, 4408, true, "no answer to a ping"},
    {"too_many_connections", 429, 4429, true, "this user or address has too many connections"},
    {"overloaded", 503, 1013, true, "the server has as many connections as it can serve"},
    {"draining", 503, 1001, true, "the server is shutting down; reconnect after a delay"},
    {"bad_request", 400, 4400, false, "the user id, since or format is malformed"},
    {"bad_message", 400, 1003, false, "messages are JSON text"},
    {"slow_consumer", 503, 4409, true, "the client takes no data; resume with since"},
    {"unavailable", 503, 1013, true, "Redis does not answer now; try again"},
    {"internal", 500, 1011, true, "the server could not do that now"},
};

static const tws__refusal *tws__refusal_of(const char *word)
{
    size_t count = sizeof tws__refusals / sizeof *tws__refusals;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(tws__refusals[i].word, word) == 0) {
            return &tws__refusals[i];
        }
    }
    return &tws__refusals[count - 1];
}

/* -- small things -- */

static tws_str tws__session_user(const tws__session *s)
{
    return tws_str_of((const char *)(s + 1), s->user_len);
}

static tws_task_server *tws__session_server(const tws__session *s)
{
    return (tws_task_server *)tws_server_context(tws_peer_server(s->peer));
}

static tws__seat *tws__session_seat(const tws__session *s)
{
    return &tws__session_server(s)->seat[tws_peer_thread(s->peer)];
}

static tws_str tws__session_key(const tws__session *s)
{
    return tws_str_of((const char *)(s + 1) + s->user_len, s->key_len);
}

static tws_str tws__session_origin(const tws__session *s)
{
    return tws_str_of((const char *)(s + 1) + s->user_len + s->key_len, s->origin_len);
}

static size_t tws__session_bytes(const tws__session *s)
{
    return sizeof *s + s->user_len + s->key_len + s->origin_len;
}

/* May pages of all allowed origins have the cookie sent? Where each is named: "*" is anybody, and
 * any page can hold a frame whose origin is "null". */
static bool tws__shares_cookie(const tws_task_server_desc *d)
{
    bool named = d->token_cookie != NULL && d->origins != NULL;
    tws_str list = tws_str_c(d->origins);
    tws_str origin;
    while (tws_str_split(&list, ',', &origin)) {
        named = named && !tws_str_eq_c(origin, "*") && !tws__str_is(origin, "null");
    }
    return named;
}

/* What lets a page of an allowed Origin read an answer (CORS). */
static void tws__cors_lines(const tws_task_server *ts, tws_str origin, tws_buf *b)
{
    if (origin.len != 0) {
        tws_http_add(b, "Access-Control-Allow-Origin", origin);
        tws_buf_c(b, "Vary: Origin\r\n");
        tws_buf_c(b, tws__shares_cookie(&ts->desc) ? "Access-Control-Allow-Credentials: true\r\n"
                                                   : "");
    }
}

#define TWS__HEAD_BYTES 512
/* Field lines of an answer: those given, and these. */
static const char *tws__cors_head(const tws_task_server *ts, char memory[TWS__HEAD_BYTES],
                                  tws_str origin, const char *more)
{
    tws_buf b;
    tws_buf_fixed(&b, memory, TWS__HEAD_BYTES - 1);
    tws_buf_c(&b, more == NULL ? "" : more);
    tws__cors_lines(ts, origin, &b);
    TWS_ASSERT(b.status == TWS_OK);
    memory[b.len] = '\0';
    return memory;
}

static const char *tws__session_head(const tws__session *s, char memory[TWS__HEAD_BYTES],
                                     const char *more)
{
    return tws__cors_head(tws__session_server(s), memory, tws__session_origin(s), more);
}

/* A log is no place for as many lines as others bring about: so many a second. */
static bool tws__tells(tws__telling *t, uint32_t most)
{
    const uint64_t now_s = tws_sys_now_ms() / 1000;
    if (t->second != now_s) {
        t->second = now_s;
        t->told = 0;
    }
    const bool tells = t->told < most;
    t->told += tells;
    t->untold += !tells;
    return tells;
}

/* When such a second is over: how many lines it lacks. */
static void tws__tell_rest(tws__telling *t, tws_task_server *ts, const char *message)
{
    tws_log_line line;
    if (t->untold == 0 || t->second == tws_sys_now_ms() / 1000) {
        return;
    }
    if (tws_log_begin(&line, &ts->desc.log, TWS_LOG_WARN, tws_sys_wall_ms(), message)) {
        tws_log_u64(&line, "lines_left_out", t->untold);
        tws_log_end(&line);
    }
    t->untold = 0;
}

static void tws__log_refusal(const tws__session *s, const char *word)
{
    tws_log_line line;
    char address[64];
    tws__seat *seat = tws__session_seat(s);
    const tws_log *log = &seat->ts->desc.log;
    tws__tell_rest(&seat->telling, seat->ts, "refused");
    if (!tws_log_begin(&line, log, TWS_LOG_INFO, tws_sys_wall_ms(), "refused") ||
        !tws__tells(&seat->telling, 100)) {
        return;
    }
    tws_log_str(&line, "code", tws_str_c(word));
    tws_log_str(&line, "user_id", tws__session_user(s));
    tws_log_str(&line, "address", tws_str_c(tws_peer_address(s->peer, address)));
    tws_log_end(&line);
}

static void tws__json_object(tws_buf *b, const char *name)
{
    tws_json_write_key(b, name);
    tws_buf_char(b, '{');
}

/* One figure for Prometheus: a uint64_t that stands so far into a struct. */
typedef struct tws__metric {
    const char *name, *type, *help;
    size_t at;
} tws__metric;

static void tws__metrics_of(tws_buf *b, const tws__metric *row, size_t count, const void *figures)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)figures + row[i].at, sizeof value);
        tws_metrics_write(b, row[i].name, row[i].help, row[i].type, NULL, value);
    }
}

/* -- the server's own messages -- */

typedef struct tws__saying {
    const char *type;
    tws_str id; /* of the SSE event; empty: none */
    tws_buf json;
    char memory[TWS__SAY_MAX];
} tws__saying;

/* Its members behind the type are the caller's to write. */
static tws_buf *tws__saying_begin(tws__saying *m, const char *type)
{
    m->type = type;
    m->id = tws_str_of(NULL, 0);
    tws_buf_fixed(&m->json, m->memory, sizeof m->memory);
    tws_buf_c(&m->json, "{");
    tws__json_text(&m->json, "type", type);
    return &m->json;
}

/* A text message, or the same JSON as a named SSE event. */
static void tws__session_say(tws__session *s, tws__saying *m)
{
    tws_buf_c(&m->json, "}");
    TWS_ASSERT(m->json.status == TWS_OK);
    if (s->kind == TWS__WEBSOCKET) {
        tws_peer_send(s->peer, TWS_WS_TEXT, m->json.ptr, m->json.len);
        return;
    }
    char memory[TWS__SAY_MAX + 96];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_c(&b, "event: ");
    tws_buf_c(&b, m->type);
    tws_buf_c(&b, "\ndata: ");
    tws_buf_str(&b, tws_buf_view(&m->json));
    if (m->id.len != 0) {
        tws_buf_c(&b, "\nid: ");
        tws_buf_str(&b, m->id);
    }
    tws_buf_c(&b, "\n\n");
    TWS_ASSERT(b.status == TWS_OK);
    tws_peer_put(s->peer, b.ptr, b.len);
}

/* message: NULL for the table's. close: 0 when the session goes on. */
static void tws__session_error(tws__session *s, const char *word, const char *message,
                               uint16_t close)
{
    tws__saying m;
    const tws__refusal *r = tws__refusal_of(word);
    tws_buf *b = tws__saying_begin(&m, "error");
    tws__json_text(b, "code", r->word);
    tws__json_text(b, "message", message == NULL ? r->message : message);
    tws_json_write_member_bool(b, "retry", r->retry);
    if (close != 0) {
        tws_json_write_member_u64(b, "close", close);
    }
    tws__session_say(s, &m);
}

/* Where no past follows, and no reset, who loses the connection before the first event goes on from
 * the newest id; else it would pass over the rest of that. last_id alone does not say so, since a
 * snapshot may follow. An EventSource reads the line, others, without a position, the member. */
static void tws__session_connected(tws__session *s, const tws_hub_batch *batch)
{
    tws__saying m;
    char text[TWS_EVENT_ID_MAX];
    const tws_str id = tws_str_of(text, tws_event_id_format(batch->last_id, text));
    const uint32_t beat = tws__session_server(s)->desc.limits.heartbeat_ms;
    tws_buf *b = tws__saying_begin(&m, "connected");
    tws_json_write_member(b, "user_id", tws__session_user(s));
    tws_json_write_member_u64(b, "heartbeat_s", beat == TWS_OFF ? 0 : (beat + 999) / 1000);
    tws_json_write_member(b, "last_id", id);
    tws_json_write_member_bool(b, "resumed", batch->resumed);
    if (batch->count == 0 && batch->reset == NULL) {
        m.id = id;
        if (!batch->resumed && !tws__event_id_none(batch->last_id)) {
            tws_json_write_member(b, "id", id);
        }
    }
    tws__session_say(s, &m);
}

static void tws__session_reset(tws__session *s, const char *reason)
{
    tws__saying m;
    tws__json_text(tws__saying_begin(&m, "reset"), "reason", reason);
    tws__session_say(s, &m);
}

/* -- life of a session -- */

static tws__session *tws__session_create(tws_task_server *ts, tws_peer *p, uint8_t kind,
                                         tws_str user, tws_str key, tws_str origin)
{
    size_t bytes = sizeof(tws__session) + user.len + key.len + origin.len;
    tws__session *s = (tws__session *)tws_alloc(ts->desc.allocator, bytes);
    if (s == NULL) {
        return NULL;
    }
    s->peer = p;
    s->kind = kind & 7u;
    s->user_len = (uint8_t)user.len;
    s->key_len = (uint8_t)key.len;
    s->origin_len = (uint8_t)origin.len;
    s->expires_s = INT64_MAX;
    char *text = tws__str_copy((char *)(s + 1), user);
    (void)tws__str_copy(tws__str_copy(text, key), origin);
    return s;
}

static void tws__pending_free(const tws_task_server *ts, tws__pending *w)
{
    if (w != NULL) {
        size_t bytes = sizeof *w + w->token.len + w->body.len;
        tws_wipe(w, bytes);
        tws_release(ts->desc.allocator, w, bytes);
    }
}

static void tws__session_free(tws__session *s)
{
    tws__seat *seat = tws__session_seat(s);
    if (seat->offered_by == s) {
        seat->offered_by = NULL;
    }
    if (s->reader.group != NULL) {
        tws_hub_detach(&s->reader);
    }
    tws__pending_free(seat->ts, s->pending);
    tws_release(seat->ts->desc.allocator, s, tws__session_bytes(s));
}

/* The HTTP answer of this session has been given. */
static void tws__session_done(tws__session *s)
{
    tws_peer_set(s->peer, NULL, NULL);
    tws_peer_set_timer(s->peer, UINT64_MAX);
    tws__session_free(s);
}

static void tws__session_respond_error(tws__session *s, int status, const char *word,
                                       const char *message)
{
    char head[TWS__HEAD_BYTES];
    tws_peer_respond_error(s->peer, status, tws__session_head(s, head, NULL), word, message);
    tws__session_done(s);
}

/* Refuse, in the way that the session's kind can hear: an error message and a close code, an SSE
 * event, or an HTTP status. An HTTP session is gone behind this. */
static void tws__session_refuse(tws__session *s, const char *word)
{
    const tws__refusal *r = tws__refusal_of(word);
    tws_count(&tws__session_seat(s)->refused, 1);
    tws__log_refusal(s, word);
    if (s->kind == TWS__WEBSOCKET || s->phase == TWS__LIVE) {
        s->phase = TWS__OVER;
        tws__session_error(s, word, NULL, r->close);
        tws_peer_close(s->peer, r->close, r->word);
        return;
    }
    tws__session_respond_error(s, r->http, r->word, r->message);
}

/* Answer with JSON, if there was memory for it. The session is gone behind this. */
static void tws__session_respond(tws__session *s, int status, const char *lines,
                                 const tws_buf *json)
{
    char head[TWS__HEAD_BYTES];
    if (json->status != TWS_OK) {
        tws__session_refuse(s, "internal");
        return;
    }
    tws_peer_respond(s->peer, status, tws__session_head(s, head, lines), "application/json",
                     tws_buf_view(json));
    tws__session_done(s);
}

/* -- tokens -- */

static tws_jwt_error tws__session_verify(const tws__session *s, tws_str token, tws_identity *who)
{
    tws__seat *seat = tws__session_seat(s);
    tws_task_server *ts = seat->ts;
    TWS__LOCK(&ts->ring_lock);
    tws_auth_ring *ring = tws_auth_ring_ref(ts->ring);
    TWS__UNLOCK(&ts->ring_lock);
    int64_t now_s = (int64_t)(tws_sys_wall_ms() / 1000);
    tws_jwt_error error = tws_auth_verify(seat->cache, ring, &ts->desc.token, token, now_s, who);
    tws_auth_ring_unref(ring);
    return error;
}

/* Milliseconds until the token ends. */
static uint64_t tws__session_left_ms(const tws__session *s)
{
    uint64_t wall_ms = tws_sys_wall_ms();
    uint64_t end_ms = (uint64_t)(s->expires_s > INT64_MAX / 1000 ? INT64_MAX : s->expires_s * 1000);
    return end_ms > wall_ms ? end_ms - wall_ms : 0;
}

/* Wake up when the token ends, and a minute before; or while it waits to begin, to say that this
 * lasts. */
static void tws__session_watch(tws__session *s)
{
    const bool waits = !s->begun && !s->told;
    if (s->expires_s == INT64_MAX && !waits) {
        tws_peer_set_timer(s->peer, UINT64_MAX);
        return;
    }
    const uint64_t left_ms = tws__session_left_ms(s);
    const uint64_t warn_ms = left_ms > s->warn_ms ? left_ms - s->warn_ms : 0;
    const uint64_t wait_ms = waits ? tws__min64(left_ms, TWS__AWAY_MS)
                                   : tws__min64(warn_ms, TWS__CLOCK_MS);
    tws_peer_set_timer(s->peer, tws_sys_now_ms() + wait_ms);
}

static void tws__session_warn(tws__session *s)
{
    tws__saying m;
    s->warn_ms = 0;
    if (s->format == TWS_FORMAT_RAW) {
        return;
    }
    tws_buf *b = tws__saying_begin(&m, "expiring");
    tws_json_write_member_u64(b, "expires_in", (tws__session_left_ms(s) + 999) / 1000);
    tws__session_say(s, &m);
}

/* A token taken within the leeway ends with the leeway. */
static void tws__session_take_identity(tws__session *s, const tws_identity *who)
{
    const tws_task_server *ts = tws__session_server(s);
    int64_t now_s = (int64_t)(tws_sys_wall_ms() / 1000);
    uint32_t leeway = tws__default(ts->desc.token.leeway_s, 30);
    bool late = who->expires_s <= now_s && leeway != TWS_OFF;
    s->expires_s = late ? who->expires_s + (int64_t)leeway : who->expires_s;
    s->warn_ms = TWS__WARN_MS;
    s->who = tws__hash(ts->hub->hash_key, tws_identity_user(who));
}

/* A yes that is still out, to a token before, has nothing to say any more. */
static void tws__session_renew(tws__session *s, const tws_identity *who)
{
    tws__pending_free(tws__session_server(s), s->pending);
    s->pending = NULL;
    tws__session_take_identity(s, who);
    const uint64_t half_ms = tws__session_left_ms(s) / 2; /* not at once: that makes a loop */
    s->warn_ms = (uint16_t)tws__min64(s->warn_ms, half_ms);
    tws__session_watch(s);
}

/* -- acting, once allowed -- */

static void tws__on_message(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len);
static void tws__on_close(tws_peer *p, uint16_t code, tws_str reason);
static void tws__on_output(tws_peer *p);
static void tws__on_taken(tws_peer *p, size_t n);
static void tws__on_timer(tws_peer *p);
static void tws__on_leave(tws_peer *p, uint16_t code, const char *word, const char *message);

/* Of a stream, and of a request whose answer is still to come. */
static const tws_peer_ops tws__session_ops = {
    tws__on_message, tws__on_close, tws__on_output, tws__on_taken, tws__on_timer, tws__on_leave,
};

/* For a posted call: NULL when the session has gone, whatever its connection does now. */
static tws__session *tws__session_of(const tws_peer *p)
{
    return (tws__session *)tws_peer_data_of(p, &tws__session_ops);
}

/* Its answer comes later: within so long, or the timer has the word. A WebSocket hears already. */
static void tws__session_wait(tws__session *s, unsigned phase, uint64_t ms)
{
    s->phase = phase & 7u;
    if (s->kind != TWS__WEBSOCKET) {
        tws_peer_set(s->peer, &tws__session_ops, s);
    }
    tws_peer_set_timer(s->peer, ms == UINT64_MAX ? ms : tws_sys_now_ms() + ms);
}

static void tws__session_read(tws__session *s)
{
    const tws_event_id *since = s->has_since ? &s->reader.u.since : NULL;
    tws_status status =
        tws_hub_attach(tws__session_seat(s)->inbox, &s->reader, tws__session_user(s), since);
    if (status != TWS_OK) {
        tws__session_refuse(s, status == TWS_ERR_LIMIT ? "too_many_connections" : "internal");
        return;
    }
    if (s->kind == TWS__SSE) {
        char head[TWS__HEAD_BYTES];
        /* Who compresses or buffers on the way would hold events back: RFC 9111 5.2.2.6; nginx. */
        const char *lines = "Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n";
        tws_peer_stream(s->peer, tws__session_head(s, head, lines),
                        "text/event-stream", &tws__session_ops, s);
    }
    s->phase = TWS__LIVE;
    tws_peer_pull(s->peer);
    tws__session_watch(s);
}

static const char *tws__unready(const tws_task_server *ts);

/* Monotonic; where the system can tell, it goes on while the machine is suspended. */
static uint64_t tws__passed_ms(void)
{
#ifdef CLOCK_BOOTTIME
    return tws__clock_us(CLOCK_BOOTTIME) / 1000;
#else
    return tws_sys_now_ms();
#endif
}

/* Unix time as it has passed since the start, whatever the clock on the wall has been set to: of
 * the ids, and what events age by. */
static uint64_t tws__hub_now(const tws_task_server *ts)
{
    return ts->hub_begin_ms + tws__passed_ms();
}

static void tws__session_respond_snapshot(tws__session *s)
{
    tws_task_server *ts = tws__session_server(s);
    tws_event **events = NULL;
    size_t count = 0;
    tws_event_id last;
    tws_status status = tws_hub_snapshot(ts->hub, tws__session_user(s), tws__hub_now(ts), &events,
                                         &count, &last);
    if (status != TWS_OK) {
        tws__session_refuse(s, status == TWS_ERR_UNAVAILABLE ? "unavailable" : "internal");
        return;
    }
    char id[TWS_EVENT_ID_MAX];
    tws_buf b;
    tws_buf_init(&b, ts->desc.allocator, 64u << 20);
    tws_buf_c(&b, "{");
    tws_json_write_member(&b, "user_id", tws__session_user(s));
    tws_json_write_key(&b, "tasks");
    for (size_t i = 0; i < count; i++) {
        tws_buf_char(&b, i == 0 ? '[' : ',');
        tws_buf_str(&b, tws_event_data(events[i]));
    }
    tws_buf_c(&b, count == 0 ? "[]" : "]");
    tws_json_write_member(&b, "last_id", tws_str_of(id, tws_event_id_format(last, id)));
    tws_buf_c(&b, "}");
    tws_hub_snapshot_free(ts->hub, events, count);
    tws__session_respond(s, 200, TWS__DATA_LINES, &b);
    tws_buf_free(&b);
}

/* With an upstream a user's past has first to be read: the session attaches as any reader does,
 * and answers when its topic is loaded. */
static bool tws__session_is_loaded(tws__session *s)
{
    tws_hub_batch b;
    memset(&b, 0, sizeof b);
    tws_hub_gather(&s->reader, &b);
    bool loaded = b.group != NULL;
    tws_hub_batch_free(&b);
    return loaded;
}

static void tws__session_snapshot(tws__session *s)
{
    tws_task_server *ts = tws__session_server(s);
    if (ts->up == NULL) {
        tws__session_respond_snapshot(s);
        return;
    }
    tws_status status =
        tws_hub_visit(tws__session_seat(s)->inbox, &s->reader, tws__session_user(s));
    if (status != TWS_OK) {
        tws__session_refuse(s, "internal");
    } else if (tws__session_is_loaded(s) || tws__unready(ts) != NULL) {
        tws__session_respond_snapshot(s); /* of what is here */
    } else {
        tws__session_wait(s, TWS__LOADING, TWS__LOAD_MS);
    }
}

/* On a session's connection, when its topic has news. */
static void tws__snapshot_posted(tws_peer *p, void *arg)
{
    tws__session *s = tws__session_of(p);
    (void)arg;
    if (s != NULL && s->phase == TWS__LOADING && tws__session_is_loaded(s)) {
        tws_peer_set_timer(p, UINT64_MAX);
        tws__session_respond_snapshot(s);
    }
}

/* -- publishing over HTTP -- */

/* What the hub would not take is refused before anything is stored, in Redis too: nobody here would
 * be given it. */
static tws_status tws__check_event(const tws_task_server *ts, tws_str json)
{
    tws_json_token task;
    tws_status status = tws_json_member(json, ts->hub->task_key, &task);
    if (status != TWS_OK && status != TWS_ERR_NOT_FOUND) {
        return status;
    }
    const uint64_t bytes = tws__event_bytes(ts->hub, json, tws__event_is_broken(json), &task);
    return bytes == 0 ? TWS_ERR_LIMIT : TWS_OK;
}

static const char *tws__event_fault(tws_status status)
{
    switch (status) {
    case TWS_ERR_SYNTAX:
        return "not valid JSON";
    case TWS_ERR_ARGUMENT:
        return "not a JSON object";
    case TWS_ERR_LIMIT:
        return "larger than an event may be";
    default:
        return "not accepted";
    }
}

static tws_str tws__trim_json(tws_str s)
{
    while (s.len != 0 && tws__json_is_space(s.ptr[0])) {
        s = tws_str_from(s, 1);
    }
    while (s.len != 0 && tws__json_is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

/* The next event of a body: the whole of it, or in NDJSON the next line that is not blank. */
static bool tws__next_event(const tws__session *s, tws_str *rest, uint64_t *number, tws_str *json)
{
    while (rest->len != 0 || (!s->ndjson && *number == 0)) {
        size_t end = s->ndjson ? tws_str_find(*rest, '\n') : rest->len;
        *json = tws__trim_json(tws_str_of(rest->ptr, end));
        *rest = tws_str_from(*rest, end + 1);
        (*number)++;
        if (json->len != 0 || !s->ndjson) {
            return true;
        }
    }
    return false;
}

/* Why it is not JSON, and where. */
static void tws__write_json_fault(tws_buf *b, tws_str json)
{
    tws_json_reader r;
    tws_json_init(&r, json);
    while (tws_json_next(&r, NULL) > TWS_JSON_ERROR) {
    }
    tws_buf_c(b, ": ");
    tws_buf_c(b, r.reason);
    tws_buf_c(b, " (byte ");
    tws_buf_u64(b, r.pos + 1);
    tws_buf_c(b, ")");
}

static void tws__respond_fault(tws__session *s, tws_status status, uint64_t line, tws_str json)
{
    char memory[192];
    tws_buf b;
    bool size = status == TWS_ERR_LIMIT;
    tws_buf_fixed(&b, memory, sizeof memory - 1);
    if (s->ndjson) {
        tws_buf_c(&b, "line ");
        tws_buf_u64(&b, line);
    } else {
        tws_buf_c(&b, "the body");
    }
    tws_buf_c(&b, " is ");
    tws_buf_c(&b, tws__event_fault(status));
    if (status == TWS_ERR_SYNTAX) {
        tws__write_json_fault(&b, json);
    }
    memory[b.len] = '\0';
    tws__session_respond_error(s, size ? 413 : 400, size ? "message_too_big" : "bad_request",
                               memory);
}

#define TWS__ID_MAX (TWS_EVENT_ID_MAX + 3) /* as written here */

static void tws__write_id(tws_buf *b, tws_event_id id)
{
    char text[TWS_EVENT_ID_MAX];
    tws_buf_c(b, b->len == 0 ? "\"" : ",\"");
    tws_buf_put(b, text, tws_event_id_format(id, text));
    tws_buf_char(b, '"');
}

/* 202 with the ids of what is stored; or 503 with the fault, and what was stored before it. */
static void tws__respond_stored(tws__session *s, const tws_buf *ids, const char *fault)
{
    tws_task_server *ts = tws__session_server(s);
    bool many = s->ndjson || fault != NULL;
    char memory[2048];
    const size_t most = ids->len + 1280; /* a fault of 191 bytes may be escaped */
    tws_buf b;
    if (most <= sizeof memory) { /* what is stored is not told to have failed */
        tws_buf_fixed(&b, memory, sizeof memory);
    } else {
        tws_buf_init(&b, ts->desc.allocator, most);
    }
    b.status = ids->status; /* what they lack it lacks */
    tws_buf_c(&b, "{");
    if (fault != NULL) {
        tws_buf_c(&b, "\"error\":{");
        tws__json_text(&b, "code", "unavailable");
        tws__json_text(&b, "message", fault);
        tws_buf_c(&b, "},");
    }
    tws_buf_c(&b, many ? "\"ids\":[" : "\"id\":");
    tws_buf_str(&b, tws_buf_view(ids));
    tws_buf_c(&b, many ? "]}" : "}");
    if (fault == NULL) {
        tws__session_respond(s, 202, NULL, &b);
    } else {
        tws__session_respond(s, 503, "Retry-After: 1\r\n", &b);
    }
    tws_buf_free(&b);
}

/* The event's own idempotency key: the request's, and in NDJSON the line's number behind it. */
static tws_str tws__event_key(const tws__session *s, uint64_t number,
                              char memory[TWS__MAX_KEY + 24])
{
    tws_str key = tws__session_key(s);
    tws_buf b;
    if (key.len == 0 || !s->ndjson) {
        return key;
    }
    tws_buf_fixed(&b, memory, TWS__MAX_KEY + 24);
    tws_buf_str(&b, key);
    tws_buf_char(&b, '\n'); /* which no field has: nobody's own key is a line's */
    tws_buf_u64(&b, number);
    return tws_buf_view(&b);
}

static tws__memo *tws__memo_of(tws_task_server *ts, tws_str user, tws_str key, uint64_t *name)
{
    const uint64_t of_user[2] = {tws__hash(ts->hub->hash_key, user), ts->hub->hash_key[1]};
    *name = tws__hash(of_user, key) | 1;
    tws__memo *place = &ts->memo[*name / 2 % (TWS__MEMOS / TWS__MEMO_WAYS) * TWS__MEMO_WAYS];
    tws__memo *m = place;
    for (unsigned i = 0; i < TWS__MEMO_WAYS; i++) {
        if (place[i].name == *name) {
            return &place[i];
        }
        m = place[i].at_ms < m->at_ms ? &place[i] : m; /* a free one is the oldest */
    }
    return m;
}

/* Into memory; the same key again within a day, whatever the clock on the wall says, is the same
 * event. */
static tws_status tws__store(tws_task_server *ts, tws_str user, tws_str json, tws_str key,
                             tws_event_id *id)
{
    uint64_t name = 0, now_ms = tws__hub_now(ts), passed_ms = tws_sys_now_ms();
    if (key.len == 0) {
        return tws_hub_publish(ts->hub, user, json, now_ms, NULL, id);
    }
    tws_status status = TWS_OK;
    TWS__LOCK(&ts->memo_lock);
    if (ts->memo == NULL) {
        ts->memo = (tws__memo *)tws_alloc(ts->desc.allocator, TWS__MEMOS * sizeof *ts->memo);
    }
    if (ts->memo == NULL) {
        TWS__UNLOCK(&ts->memo_lock);
        return TWS_ERR_MEMORY;
    }
    tws__memo *m = tws__memo_of(ts, user, key, &name);
    if (m->name == name && passed_ms - m->at_ms < TWS__MEMO_MS) {
        *id = m->id;
    } else {
        status = tws_hub_publish(ts->hub, user, json, now_ms, NULL, id);
        if (status == TWS_OK) {
            m->name = name;
            m->at_ms = passed_ms;
            m->id = *id;
        }
    }
    TWS__UNLOCK(&ts->memo_lock);
    return status;
}

/* A body on its way into memory. */
typedef struct tws__parts {
    tws__seat *seat;
    size_t place;    /* of its user in what the seat counts */
    unsigned follow; /* as many threads have followed since the last part */
    tws_str rest;
    uint64_t number; /* of the line before */
    uint64_t at_ms;  /* a part was stored */
    tws_buf ids;
    size_t bytes; /* of this and the rest's copy behind it; 0: it has not had to wait yet */
} tws__parts;

#define TWS__PART_MS 20u /* so long another thread's readers are waited for */

static void tws__parts_free(tws__parts *g)
{
    tws_buf_free(&g->ids);
    if (g->bytes != 0) {
        g->seat->storing[g->place]--;
        tws_release(g->seat->ts->desc.allocator, g, g->bytes);
    }
}

static void tws__parts_posted(tws_peer *p, void *arg);

/* Go on in the next turn. False without memory. */
static bool tws__parts_wait(tws__session *s, tws__parts *g)
{
    tws_task_server *ts = g->seat->ts;
    tws__parts *kept = g;
    if (g->bytes == 0) {
        kept = (tws__parts *)tws_alloc(ts->desc.allocator, sizeof *kept + g->rest.len);
        if (kept == NULL) {
            return false;
        }
        *kept = *g;
        kept->bytes = sizeof *kept + g->rest.len;
        kept->rest.ptr = (const char *)memcpy(kept + 1, g->rest.ptr, g->rest.len);
    }
    tws_peer_id id = tws_peer_id_of(s->peer);
    if (tws_server_post(ts->server, id, tws__parts_posted, kept) != TWS_OK) {
        if (kept != g) {
            tws_release(ts->desc.allocator, kept, kept->bytes);
        }
        return false;
    }
    g->seat->storing[g->place] += kept != g;
    tws__session_wait(s, TWS__STORING, UINT64_MAX);
    return true;
}

/* No more in a turn than a quarter of what is kept of a user, or readers who keep up would be
 * overtaken by the ring, and given a reset. Who comes while others wait, waits behind them. */
static void tws__store_parts(tws__session *s, tws__parts *g)
{
    tws__seat *seat = g->seat;
    const tws_hub_desc *caps = &seat->ts->hub->desc;
    uint64_t *stored = &seat->stored[g->place];
    char memory[TWS__MAX_KEY + 24];
    tws_status status = TWS_OK;
    tws_event_id id;
    tws_str json;
    seat->stores = true;
    for (;;) {
        bool full = *stored * 4 >= caps->max_events ||
                    (g->bytes == 0 && seat->storing[g->place] != 0);
        if (full && status == TWS_OK && g->rest.len > 0 && tws__parts_wait(s, g)) {
            return;
        }
        if (status != TWS_OK || !tws__next_event(s, &g->rest, &g->number, &json)) {
            break;
        }
        tws_str key = tws__event_key(s, g->number, memory);
        status = tws__store(seat->ts, tws__session_user(s), json, key, &id);
        if (status == TWS_OK) {
            tws__write_id(&g->ids, id);
            *stored += 1 + (uint64_t)json.len * caps->max_events / caps->max_bytes;
        }
    }
    tws__respond_stored(s, &g->ids, status == TWS_OK ? NULL : "no memory for another event");
    tws__parts_free(g);
}

/* Has each other thread, since the last part, had no news that it had not begun to serve? */
static bool tws__others_follow(tws__parts *g)
{
    const tws_task_server *ts = g->seat->ts;
    while (g->follow < ts->seats && (&ts->seat[g->follow] == g->seat ||
                                     tws_hub_inbox_empty(ts->seat[g->follow].inbox))) {
        g->follow++;
    }
    return g->follow == ts->seats;
}

/* In a later turn. Of a client that has gone meanwhile the rest is not stored: it has no answer. */
static void tws__parts_posted(tws_peer *p, void *arg)
{
    tws__parts *g = (tws__parts *)arg;
    tws__session *s = tws__session_of(p);
    if (s == NULL || s->phase != TWS__STORING) {
        tws__parts_free(g);
        return;
    }
    const uint64_t now_ms = tws_sys_now_ms();
    if (!tws__others_follow(g) && now_ms - g->at_ms < TWS__PART_MS && tws__parts_wait(s, g)) {
        return;
    }
    g->at_ms = now_ms;
    g->follow = 0;
    tws__store_parts(s, g);
}

static void tws__session_store(tws__session *s, tws_str body, uint32_t events)
{
    tws__parts g;
    memset(&g, 0, sizeof g);
    tws_task_server *ts = tws__session_server(s);
    g.seat = tws__session_seat(s);
    g.place = (size_t)tws__hash(ts->hub->hash_key, tws__session_user(s)) % TWS__STORED;
    g.rest = body;
    g.at_ms = tws_sys_now_ms();
    tws_buf_init(&g.ids, ts->desc.allocator, events * (size_t)TWS__ID_MAX);
    if (tws_buf_reserve(&g.ids, events * (size_t)TWS__ID_MAX) == NULL && events != 0) {
        tws__session_refuse(s, "internal"); /* before anything is stored */
        return;
    }
    tws__store_parts(s, &g);
}

/* -- Redis: two sockets for section 17's session, on thread 0 --
 * Other threads leave orders (a user has readers, has none any more, an event to publish) and wake
 * thread 0; what the session hears goes into the hub by the same function as every other event. */
#ifndef TASKWS_NO_REDIS

enum { TWS__ORDER_JOIN, TWS__ORDER_LEAVE, TWS__ORDER_RELOAD, TWS__ORDER_PUBLISH };

/* One to publish goes to the session as it is; of others the ticket is a join's number. */
typedef tws__redis_publish tws__order;

typedef struct tws__link {
    tws_guest guest; /* first: the loop hands guests back */
    tws__upstream *up;
    tws_redis_link which;
    uint32_t number; /* of the session's connection that this one is */
    uint32_t tried;  /* which address of the list; one behind those on which it has failed */
    bool connecting, wanted, good; /* good: the session has been up on this connection */
} tws__link;

typedef struct tws__waiting tws__waiting;
typedef struct tws__lookup tws__lookup;

struct tws__upstream {
    tws_task_server *ts;
    tws_redis *session;
    tws__lookup *lookup; /* under way */
    tws__redis_queue orders;
    tws__redis_queue publishes; /* thread 0's: they wait for room in the session */
    size_t order_bytes; /* of publishes not yet handed to the session */
    uint32_t state;     /* tws_redis_state, for every thread */
    uint32_t most;      /* that the hub is given before all its readers have been served, */
    uint32_t room;      /* and what is left of that: events, and half KiB of them */
    bool unheard;       /* the session holds more */
    tws__telling telling; /* about events */
    uint32_t reasons;   /* for one state, so far */
    bool over;          /* no event is accepted any more; under the lock */
    tws_counter turned_away; /* events, since Redis stores none */
    uint32_t held;      /* thread 0 waits for the other threads' readers */
    uint32_t missed;    /* somebody's readers wait, and the session does not know of them */
    uint32_t stayed;    /* or of some it does not know that they have left */
    uint32_t unposted;  /* somebody waits for an answer that is known */
    tws__link link[TWS_REDIS_LINKS];
    tws_guest alarm;
    tws__mutex lock;
    tws__waiting *waiting; /* under lock, as the next two */
    tws_redis_stats stats;
    char reason[128];
    tws__addresses addresses;
    tws_redis_url url;
};

#define TWS__MAX_ORDER_BYTES (8u << 20)
#define TWS__LEAST_USERS 131072u /* that Redis may be asked about */
#define TWS__REASONS 4u          /* that are logged of one state */

/* What an HTTP request waits for: the events of its body. Counted by those who still have a hand in
 * it; kept in a list, so that none is left over at the end. */
struct tws__waiting {
    tws__upstream *up;
    struct tws__waiting *next;
    struct tws__waiting **link;
    tws_peer_id peer;
    uint32_t open;
    bool unposted;     /* all is settled, and there was no memory to say so; under up->lock */
    const char *fault; /* set once something was not stored: a text of ours */
    char reason[192];  /* Redis's own words, where it was Redis who said no */
    bool unknown;      /* and that this one leaves open whether an event is stored */
    bool broken;       /* an event failed: none behind it is stored that is not on its way */
    uint32_t missing;  /* events that Redis refused since the last that it stored */
    tws_buf ids;
};

/* -- orders, from any thread -- */

static tws_status tws__upstream_order(tws__upstream *up, uint8_t kind, tws_str user, tws_str json,
                                      tws_str key, uint64_t ticket)
{
    const tws_allocator *a = up->ts->desc.allocator;
    tws__order *o = tws__redis_publish_create(a, user, json, key, ticket);
    if (o == NULL) {
        return TWS_ERR_MEMORY;
    }
    const size_t bytes = tws__redis_publish_bytes(o);
    o->kind = kind;
    TWS__LOCK(&up->lock);
    bool publish = kind == TWS__ORDER_PUBLISH;
    tws_status status = publish && up->over ? TWS_ERR_UNAVAILABLE : TWS_OK;
    if (publish && up->order_bytes + bytes > TWS__MAX_ORDER_BYTES) {
        status = TWS_ERR_LIMIT;
    }
    if (status == TWS_OK) {
        up->order_bytes += publish ? bytes : 0;
        tws__redis_put(&up->orders, o);
    }
    TWS__UNLOCK(&up->lock);
    if (status != TWS_OK) {
        tws_release(a, o, bytes);
        return status;
    }
    tws_server_wake(up->ts->server, 0);
    return TWS_OK;
}

/* Under a shard's lock. Without memory the user's readers wait until the hub says it again; and who
 * has none any more is found among all whom the session knows. */
static void tws__upstream_note(tws__upstream *up, uint8_t kind, tws_str user, uint32_t number)
{
    tws_str none = tws_str_of(NULL, 0);
    if (tws__upstream_order(up, kind, user, none, none, number) != TWS_OK) {
        TWS__STORE(kind == TWS__ORDER_LEAVE ? &up->stayed : &up->missed, 1u);
    }
}

static void tws__upstream_join(void *context, tws_str user, uint32_t number)
{
    tws__upstream_note((tws__upstream *)context, TWS__ORDER_JOIN, user, number);
}

static void tws__upstream_leave(void *context, tws_str user)
{
    tws__upstream_note((tws__upstream *)context, TWS__ORDER_LEAVE, user, 0);
}

static void tws__upstream_reload(void *context, tws_str user)
{
    tws__upstream_note((tws__upstream *)context, TWS__ORDER_RELOAD, user, 0);
}

static bool tws__upstream_has(void *context, tws_str user)
{
    const tws__upstream *up = (const tws__upstream *)context;
    return tws_hub_is_joined(up->ts->hub, user);
}

static void tws__upstream_orders(tws__upstream *up);

/* Once a second, for whom it was missed. */
static void tws__upstream_rejoin(tws__upstream *up)
{
    if (TWS__SWAP(&up->stayed, 0u) != 0) {
        tws__upstream_orders(up); /* a join that waits there would undo it */
        tws_redis_drop_others(up->session, tws__upstream_has, up);
    }
    if (TWS__SWAP(&up->missed, 0u) != 0) {
        tws_hub_rejoin(up->ts->hub);
    }
}

static tws_redis_state tws__upstream_state(const tws__upstream *up)
{
    return (tws_redis_state)TWS__LOAD(&up->state);
}

/* -- answers to those who wait for a store -- */

static void tws__waiting_enlist(tws__waiting *w)
{
    tws__upstream *up = w->up;
    TWS__LOCK(&up->lock);
    w->next = up->waiting;
    w->link = &up->waiting;
    if (w->next != NULL) {
        w->next->link = &w->next;
    }
    up->waiting = w;
    TWS__UNLOCK(&up->lock);
}

static void tws__waiting_free(tws__waiting *w)
{
    tws__upstream *up = w->up;
    TWS__LOCK(&up->lock);
    *w->link = w->next;
    if (w->next != NULL) {
        w->next->link = w->link;
    }
    TWS__UNLOCK(&up->lock);
    tws_buf_free(&w->ids);
    tws_release(up->ts->desc.allocator, w, sizeof *w);
}

static void tws__waiting_posted(tws_peer *p, void *arg)
{
    tws__waiting *w = (tws__waiting *)arg;
    tws__session *s = tws__session_of(p);
    if (s != NULL && s->phase == TWS__STORING) {
        tws__respond_stored(s, &w->ids, w->fault);
    }
    tws__waiting_free(w);
}

/* Have the request answered, which frees w; without memory a second later. Under up->lock. */
static void tws__waiting_post(tws__waiting *w)
{
    w->unposted = tws_server_post(w->up->ts->server, w->peer, tws__waiting_posted, w) != TWS_OK;
    if (w->unposted) {
        TWS__STORE(&w->up->unposted, 1u);
    }
}

/* One hand less; the last one has the request answered. */
static void tws__waiting_settled(tws__waiting *w)
{
    if (w != NULL && TWS__UNREF(&w->open)) {
        tws__upstream *up = w->up;
        TWS__LOCK(&up->lock);
        tws__waiting_post(w);
        TWS__UNLOCK(&up->lock);
    }
}

/* Once a second, for whom there was no memory. */
static void tws__upstream_answer(tws__upstream *up)
{
    if (TWS__SWAP(&up->unposted, 0u) == 0) {
        return;
    }
    TWS__LOCK(&up->lock);
    for (tws__waiting *next, *w = up->waiting; w != NULL; w = next) {
        next = w->next;
        if (w->unposted) {
            tws__waiting_post(w);
        }
    }
    TWS__UNLOCK(&up->lock);
}

/* The first reason is told, from which others may follow; or else the first that leaves it open
 * whether something is stored. */
static void tws__waiting_fail(tws__waiting *w, tws_str reason, bool unknown)
{
    if (w == NULL) {
        return;
    }
    if (TWS__LOAD(&w->fault) == NULL || (unknown && !w->unknown)) {
        size_t n = tws__min(reason.len, sizeof w->reason - 1);
        memcpy(w->reason, reason.ptr, n);
        w->reason[n] = '\0';
        w->unknown = unknown;
        TWS__STORE(&w->fault, (const char *)w->reason);
    }
    w->broken = true;
    tws__waiting_settled(w);
}

static tws__waiting *tws__ticket_holder(uint64_t ticket)
{
    return (tws__waiting *)(uintptr_t)ticket;
}

/* -- what the session tells -- */

static void tws__upstream_log(tws__upstream *up, tws_log_level level, const char *message,
                              const tws_redis_event *ev)
{
    tws_log_line line;
    tws__tell_rest(&up->telling, up->ts, "redis");
    if (!tws_log_begin(&line, &up->ts->desc.log, level, tws_sys_wall_ms(), message) ||
        (ev->type != TWS_REDIS_STATE && !tws__tells(&up->telling, 10))) {
        return;
    }
    if (ev->type == TWS_REDIS_STATE) {
        const bool tcp = up->url.path[0] == '\0';
        tws_log_str(&line, "state", tws_str_c(tws_redis_state_word(ev->state)));
        tws_log_str(&line, tcp ? "host" : "path", tws_str_c(tcp ? up->url.host : up->url.path));
        if (tcp) {
            tws_log_u64(&line, "port", up->url.port);
        }
    } else if (ev->user_id.len != 0) {
        tws_log_str(&line, "user_id", ev->user_id);
    }
    tws_log_str(&line, "reason", ev->reason);
    tws_log_end(&line);
}

static void tws__upstream_changed(tws__upstream *up, const tws_redis_event *ev)
{
    size_t n = ev->reason.len < sizeof up->reason - 1 ? ev->reason.len : sizeof up->reason - 1;
    TWS__LOCK(&up->lock);
    memcpy(up->reason, ev->reason.ptr, n);
    up->reason[n] = '\0';
    TWS__UNLOCK(&up->lock);
    up->reasons = ev->state == tws__upstream_state(up) ? up->reasons + 1 : 0;
    TWS__STORE(&up->state, (uint32_t)ev->state);
    bool good = ev->state == TWS_REDIS_IS_READY;
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        up->link[i].good = up->link[i].good || good;
    }
    if (up->reasons < TWS__REASONS) { /* addresses that fail in turn have no end of them */
        tws__upstream_log(up, good ? TWS_LOG_INFO : TWS_LOG_WARN, "redis", ev);
    }
}

static void tws__upstream_event(tws__upstream *up, const tws_redis_event *ev)
{
    char user[TWS_MAX_USER_ID];
    tws_hub *hub = up->ts->hub;
    size_t user_len = ev->user_id.len;
    tws_status status =
        tws_hub_publish_task(hub, ev->user_id, ev->json, &ev->task, tws__hub_now(up->ts), &ev->id,
                             NULL);
    if (ev->reason.len > 0) {
        tws__upstream_log(up, TWS_LOG_WARN, "a message delivered as a string", ev);
    }
    const bool no_memory = status == TWS_ERR_MEMORY;
    if (no_memory) {
        tws_redis_event told = *ev;
        told.reason = tws_str_c("no memory");
        tws__upstream_log(up, TWS_LOG_WARN, "all events of a user are read again", &told);
    }
    /* No repeat, which the session passes over: the store's clock was set back. */
    if ((no_memory || status == TWS_ERR_EXISTS) && user_len <= sizeof user) {
        memcpy(user, ev->user_id.ptr, user_len); /* the slice ends with the next call */
        tws_redis_reload(up->session, tws_str_of(user, user_len), no_memory);
    }
}

static void tws__upstream_failed(const tws_redis_event *ev)
{
    tws__waiting *w = tws__ticket_holder(ev->ticket);
    if (w != NULL) {
        w->missing++;
        tws__waiting_fail(w, ev->reason, ev->unknown);
    }
}

static void tws__upstream_stored(const tws_redis_event *ev)
{
    tws__waiting *w = tws__ticket_holder(ev->ticket);
    if (w != NULL) {
        for (; w->missing > 0; w->missing--) { /* so that ids stand where their events stood */
            tws_buf_c(&w->ids, w->ids.len == 0 ? "null" : ",null");
        }
        tws__write_id(&w->ids, ev->id);
        tws__waiting_settled(w);
    }
}

/* Redis gives a thousand events in the time in which a reader is given some dozens, and a ring
 * holds but some: so the hub is given a part of that at a time, and the next part when all readers
 * have been served. Then nobody falls behind who takes what is offered; who does not, still does.
 */
static void tws__upstream_spend(tws__upstream *up, const tws_redis_event *ev)
{
    size_t cost = 1 + ev->json.len / 512;
    up->room -= cost < up->room ? (uint32_t)cost : up->room;
}

static void tws__upstream_hear(tws__upstream *up)
{
    tws_redis_event ev;
    up->unheard = true;
    while (up->room > 0) {
        switch (tws_redis_next(up->session, &ev)) {
        case TWS_REDIS_NONE:
            up->unheard = false;
            return;
        case TWS_REDIS_EVENT:
            tws__upstream_spend(up, &ev);
            tws__upstream_event(up, &ev);
            break;
        case TWS_REDIS_LOADED:
            tws_hub_loaded(up->ts->hub, ev.user_id, ev.id);
            break;
        case TWS_REDIS_LOST:
            if (!ev.again) {
                tws__upstream_log(up, TWS_LOG_WARN, "events of a user are gone from redis", &ev);
            }
            tws_hub_forget(up->ts->hub, ev.user_id, ev.id);
            break;
        case TWS_REDIS_STORED:
            tws__upstream_stored(&ev);
            break;
        case TWS_REDIS_FAILED:
            tws__upstream_log(up, TWS_LOG_WARN, "event not stored", &ev);
            tws__upstream_failed(&ev);
            break;
        case TWS_REDIS_DROPPED:
            tws__upstream_log(up, TWS_LOG_WARN, "event dropped, or a stream not read", &ev);
            break;
        case TWS_REDIS_STATE:
            tws__upstream_changed(up, &ev);
            break;
        }
    }
}

/* -- orders, on thread 0 -- */

static void tws__upstream_want(tws__upstream *up, tws_str user, uint32_t number)
{
    if (number != 0) {
        tws_redis_drop(up->session, user); /* unless that order came; it may have found no memory */
    }
    tws_status status = tws_redis_want(up->session, user);
    if (status != TWS_OK) {
        tws_redis_event ev;
        memset(&ev, 0, sizeof ev);
        ev.user_id = user;
        ev.reason = tws_str_c(tws_status_text(status));
        tws__upstream_log(up, TWS_LOG_ERROR, "a user's readers wait; in a second again", &ev);
        TWS__STORE(&up->missed, 1u);
    }
    if (number != 0) {
        tws_hub_joined(up->ts->hub, user, number);
    }
}

static void tws__upstream_obey(tws__upstream *up, const tws__order *o)
{
    tws_str user = tws__redis_publish_user(o);
    if (o->kind == TWS__ORDER_LEAVE) {
        tws_redis_drop(up->session, user);
    } else if (o->kind == TWS__ORDER_JOIN) {
        tws__upstream_want(up, user, (uint32_t)o->ticket);
    } else {
        tws_redis_reload(up->session, user, true);
        tws__upstream_want(up, user, 0); /* again: to be told LOADED */
    }
}

/* An answer to what is under way makes room. */
static bool tws__upstream_must_wait(const tws__upstream *up, tws_status status)
{
    tws_redis_stats n;
    tws_redis_stat(up->session, &n);
    return status == TWS_ERR_LIMIT && n.publishing != 0;
}

/* Something of its body was not stored: what comes behind that would be out of order. */
static bool tws__order_is_void(const tws__order *o)
{
    const tws__waiting *w = tws__ticket_holder(o->ticket);
    return w != NULL && w->broken;
}

/* The session does not take it, or is not to. */
static void tws__upstream_not_stored(tws__upstream *up, const tws__order *o, tws_status status)
{
    tws_redis_event ev;
    memset(&ev, 0, sizeof ev);
    ev.user_id = tws__redis_publish_user(o);
    ev.reason = tws_str_c(status == TWS_ERR_CLOSED ? "one before it in its body was not"
                                                   : "Redis cannot store events now");
    TWS__COUNT(&up->turned_away, 1);
    tws__upstream_log(up, TWS_LOG_WARN, "event not stored", &ev);
    tws__waiting_fail(tws__ticket_holder(o->ticket), ev.reason, false);
}

/* As many as the session has room for: one body may bring more than that. True when some went. */
static bool tws__upstream_publishes(tws__upstream *up)
{
    size_t bytes = 0;
    while (up->publishes.first != NULL) {
        tws__order *o = up->publishes.first;
        tws__order *next = o->next;
        const size_t its_bytes = tws__redis_publish_bytes(o);
        tws_status status =
            tws__order_is_void(o) ? TWS_ERR_CLOSED : tws__redis_accept(up->session, o);
        if (status != TWS_OK && tws__upstream_must_wait(up, status)) {
            break;
        }
        if (status != TWS_OK) {
            tws__upstream_not_stored(up, o, status);
            tws_release(up->ts->desc.allocator, o, its_bytes);
        }
        up->publishes.first = next;
        bytes += its_bytes;
    }
    if (bytes == 0) {
        return false;
    }
    TWS__LOCK(&up->lock);
    up->order_bytes -= bytes;
    TWS__UNLOCK(&up->lock);
    return true;
}

static void tws__upstream_orders(tws__upstream *up)
{
    tws__redis_queue orders = {NULL, NULL};
    TWS__LOCK(&up->lock);
    tws__redis_move(&orders, &up->orders);
    TWS__UNLOCK(&up->lock);
    for (tws__order *o = tws__redis_get(&orders); o != NULL; o = tws__redis_get(&orders)) {
        if (o->kind == TWS__ORDER_PUBLISH) {
            tws__redis_put(&up->publishes, o);
        } else {
            tws__upstream_obey(up, o);
            tws_release(up->ts->desc.allocator, o, tws__redis_publish_bytes(o));
        }
    }
    tws__upstream_publishes(up);
}

/* -- sockets -- */

static void tws__link_end(tws__link *l)
{
    int fd = l->guest.watch.fd;
    tws_guest_watch(&l->guest, -1, 0);
    if (fd >= 0) {
        close(fd);
    }
    l->connecting = false;
}

static void tws__link_connected(tws__link *l)
{
    l->connecting = false;
    tws_redis_connected(l->up->session, l->which);
}

static void tws__link_failed(tws__link *l, const char *why)
{
    tws__link_end(l);
    l->number = 0;
    tws_redis_closed(l->up->session, l->which, why);
}

/* Try the addresses from the l->tried-th on until one is under way. why: what the ones before it
 * said. */
static void tws__link_connect(tws__link *l, const char *why)
{
    tws__upstream *up = l->up;
    while (l->tried < up->addresses.count) {
        bool now = false;
        int fd = tws__sys_connect(&up->addresses, l->tried, &now);
        if (fd < 0) {
            why = strerror(errno);
            l->tried++;
            continue;
        }
        if (tws_guest_watch(&l->guest, fd, now ? TWS_READ : TWS_WRITE) != TWS_OK) {
            why = strerror(errno);
            close(fd);
            break;
        }
        l->connecting = !now;
        if (now) {
            tws__link_connected(l);
        }
        return;
    }
    tws__link_failed(l, why);
}

/* It stood, and has ended. If the session has not been up on it, the next address is tried. */
static void tws__link_lost(tws__link *l, const char *why)
{
    l->tried += !l->good;
    tws__link_failed(l, why);
}

/* False when there is nothing. */
static bool tws__link_receive(tws__link *l)
{
    size_t room = 0;
    if (l->up->unheard) {
        return true; /* what came before comes first */
    }
    char *at = tws_redis_input(l->up->session, l->which, &room);
    long n = tws__sys_receive(l->guest.watch.fd, at, room);
    if (n > 0) {
        tws_redis_received(l->up->session, l->which, (size_t)n);
        tws__upstream_hear(l->up);
    } else if (n != -1) {
        tws__link_lost(l, n == 0 ? "closed by Redis" : "connection lost");
    }
    return n != -1;
}

static void tws__link_send(tws__link *l)
{
    bool blocked = false;
    while (l->guest.watch.fd >= 0 && !l->connecting && !blocked) {
        tws_str out = tws_redis_output(l->up->session, l->which);
        if (out.len == 0) {
            break;
        }
        long n = tws__sys_send(l->guest.watch.fd, &out, 1);
        if (n < 0) {
            tws__link_lost(l, "connection lost");
            return;
        }
        tws_redis_sent(l->up->session, l->which, (size_t)n);
        blocked = (size_t)n < out.len;
    }
    if (l->guest.watch.fd >= 0 && !l->connecting) {
        bool wait = l->up->unheard && l->up->held != 0;
        tws_guest_want(&l->guest, (wait ? 0u : TWS_READ) | (blocked ? TWS_WRITE : 0u));
    }
}

/* Be on the connection that the session wants, or on the way to it. */
static void tws__link_follow(tws__link *l)
{
    uint32_t number = tws_redis_connection(l->up->session, l->which);
    if (number == l->number) {
        return;
    }
    tws__link_end(l);
    l->tried += l->number != 0 && !l->good; /* it may have swallowed all: the next one, then */
    l->number = number;
    l->good = false;
    l->wanted = number != 0;
}

/* -- names: looked up in a thread, so that no loop waits for it --
 * That thread may outlive the server, and then the host's allocator: this one block is libc's, as
 * all that getaddrinfo takes. */

struct tws__lookup {
    tws__mutex lock;
    tws_server *server; /* NULL: nobody waits any more */
    uint32_t refs;
    bool done;
    char host[256];
    uint16_t port;
    tws__addresses result;
};

static void tws__lookup_unref(tws__lookup *k)
{
    if (TWS__UNREF(&k->refs)) {
        TWS__MUTEX_FREE(&k->lock);
        tws_release(NULL, k, sizeof *k);
    }
}

static void *tws__lookup_main(void *arg)
{
    tws__lookup *k = (tws__lookup *)arg;
    tws__sys_resolve(k->host, k->port, false, &k->result);
    TWS__LOCK(&k->lock);
    k->done = true;
    if (k->server != NULL) {
        tws_server_wake(k->server, 0);
    }
    TWS__UNLOCK(&k->lock);
    tws__lookup_unref(k);
    return NULL;
}

static void tws__upstream_abandon_lookup(tws__upstream *up)
{
    if (up != NULL && up->lookup != NULL) {
        TWS__LOCK(&up->lookup->lock);
        up->lookup->server = NULL;
        TWS__UNLOCK(&up->lookup->lock);
        tws__lookup_unref(up->lookup);
        up->lookup = NULL;
    }
}

static void tws__upstream_look_up(tws__upstream *up)
{
    if (up->url.path[0] != '\0') {
        tws__sys_unix_address(up->url.path, &up->addresses);
        return;
    }
    if (tws__sys_resolve(up->url.host, up->url.port, true, &up->addresses)) {
        return; /* an address already */
    }
    tws__lookup *k = (tws__lookup *)tws_alloc(NULL, sizeof *k);
    if (k == NULL) {
        return;
    }
    k->server = up->ts->server;
    k->refs = 2;
    k->port = up->url.port;
    memcpy(k->host, up->url.host, sizeof k->host);
    TWS__MUTEX_INIT(&k->lock);
    up->lookup = k;
    if (!tws__sys_detach(tws__lookup_main, k)) {
#ifdef TASKWS_NO_THREADS
        tws__lookup_main(k); /* the loop waits after all */
#else
        k->done = true; /* no thread can be had now: no address is known, and it is asked again */
        tws__lookup_unref(k);
#endif
    }
}

/* True when the addresses are known, or known not to be. Asked anew for every connection that is
 * made when none stands: a failover changes what a name means. */
static bool tws__upstream_resolved(tws__upstream *up)
{
    if (up->lookup == NULL) {
        up->addresses.count = 0;
        tws__upstream_look_up(up);
        if (up->lookup == NULL) {
            return true;
        }
    }
    TWS__LOCK(&up->lookup->lock);
    bool done = up->lookup->done;
    if (done) {
        up->addresses = up->lookup->result;
    }
    TWS__UNLOCK(&up->lookup->lock);
    if (done) {
        tws__upstream_abandon_lookup(up);
    }
    return done;
}

/* -- the whole -- */

static void tws__upstream_connect(tws__upstream *up)
{
    bool wanted = up->link[0].wanted || up->link[1].wanted;
    if (!wanted || !tws__upstream_resolved(up)) {
        return;
    }
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        if (up->link[i].wanted) {
            up->link[i].wanted = false;
            if (up->link[i].tried >= up->addresses.count) {
                up->link[i].tried = 0; /* round again */
            }
            tws__link_connect(&up->link[i], "no address is known by that name");
        }
    }
}

/* Have the readers of the other threads been served? Those of this one are at each turn's end. */
static bool tws__upstream_served(const tws__upstream *up)
{
    unsigned i = 1;
    while (i < up->ts->seats && tws_hub_inbox_empty(up->ts->seat[i].inbox)) {
        i++;
    }
    return i >= up->ts->seats;
}

/* `held` is set before it is looked: a thread that is ready after that wakes this one. */
static void tws__upstream_make_room(tws__upstream *up)
{
    if (up->room == 0) {
        TWS__STORE(&up->held, 1u);
    }
    if (tws__upstream_served(up)) {
        up->room = up->most;
        TWS__STORE(&up->held, 0u);
    }
}

/* A thread has served its readers. */
static void tws__upstream_release(tws__upstream *up)
{
    if (TWS__LOAD(&up->held) != 0) {
        tws_server_wake(up->ts->server, 0);
    }
}

/* Bring session, sockets and hub up to date: at the end of every turn of thread 0. */
static void tws__upstream_run(tws__upstream *up)
{
    uint64_t now_ms = tws_sys_now_ms();
    tws__upstream_make_room(up);
    tws_redis_tick(up->session, now_ms);
    tws__upstream_hear(up);
    tws__upstream_orders(up);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws__link_follow(&up->link[i]);
    }
    tws__upstream_connect(up);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws__link_send(&up->link[i]);
    }
    tws__upstream_hear(up);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws__link_follow(&up->link[i]); /* what failed just now is given up at once */
    }
    bool soon = (up->unheard && up->held == 0) || tws__upstream_publishes(up);
    tws_guest_alarm(&up->alarm, soon ? now_ms : tws_redis_deadline(up->session));
    tws__tell_rest(&up->telling, up->ts, "redis");
    TWS__LOCK(&up->lock);
    tws_redis_stat(up->session, &up->stats);
    up->stats.failed += TWS__SUM(&up->turned_away, 0);
    TWS__UNLOCK(&up->lock);
}

static void tws__on_link(tws_guest *g, unsigned events)
{
    tws__link *l = (tws__link *)(void *)g;
    if (l->connecting && (events & TWS_WRITE) != 0) {
        int error = tws__sys_connect_error(g->watch.fd);
        if (error == 0) {
            tws__link_connected(l);
        } else {
            tws__link_end(l);
            l->tried++;
            tws__link_connect(l, strerror(error)); /* the next address, or the end */
        }
    } else if (!l->connecting && (events & TWS_READ) != 0) {
        (void)tws__link_receive(l);
    }
}

/* Is there an event that was accepted, and not answered? If not, none is accepted any more. */
static bool tws__upstream_busy(tws__upstream *up)
{
    tws_redis_stats n;
    tws_redis_stat(up->session, &n);
    TWS__LOCK(&up->lock);
    bool busy = n.publishing != 0 || up->order_bytes != 0;
    up->over = !busy;
    TWS__UNLOCK(&up->lock);
    return busy;
}

/* Has anything been published meanwhile? */
static void tws__upstream_look(tws__upstream *up)
{
    tws__link *l = &up->link[TWS_REDIS_SUBSCRIBER];
    if (l->guest.watch.fd < 0 || l->connecting) {
        return;
    }
    if (tws__link_receive(l)) {
        tws_guest_alarm(&up->alarm, tws_sys_now_ms()); /* the next turn does what follows from it */
    }
}

/* The session's deadline has come: the end of this turn sees to it. */
static void tws__on_redis_alarm(tws_guest *g, unsigned events)
{
    (void)g;
    (void)events;
}

static void tws__upstream_free(tws__upstream *up)
{
    if (up == NULL) {
        return;
    }
    tws__upstream_abandon_lookup(up);
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        if (up->link[i].guest.watch.fd >= 0) {
            close(up->link[i].guest.watch.fd);
        }
    }
    tws__redis_move(&up->publishes, &up->orders);
    while (up->publishes.first != NULL) {
        tws__order *o = tws__redis_get(&up->publishes);
        tws_release(up->ts->desc.allocator, o, tws__redis_publish_bytes(o));
    }
    while (up->waiting != NULL) {
        tws__waiting_free(up->waiting);
    }
    if (up->session != NULL) {
        tws_redis_free(up->session);
    }
    TWS__MUTEX_FREE(&up->lock);
    tws_wipe(&up->url, sizeof up->url);
    tws_release(up->ts->desc.allocator, up, sizeof *up);
}
/* -- what the rest of this section asks of it -- */

static tws_status tws__upstream_create(tws_task_server *ts, tws_buf *error)
{
    const tws_task_server_desc *d = &ts->desc;
    const char *why = NULL;
    tws_redis_desc rd;
    tws__upstream *up = (tws__upstream *)tws_alloc(d->allocator, sizeof *up);
    if (up == NULL) {
        return TWS_ERR_MEMORY;
    }
    up->ts = ts;
    TWS__MUTEX_INIT(&up->lock);
    ts->up = up;
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        up->link[i].guest.watch.fd = -1;
        up->link[i].guest.on_ready = tws__on_link;
        up->link[i].up = up;
        up->link[i].which = (tws_redis_link)i;
    }
    up->alarm.on_ready = tws__on_redis_alarm;
    tws_status status = tws_redis_url_parse(tws_str_c(d->redis_url), &up->url, &why);
    if (status != TWS_OK) {
        tws_buf_c(error, "the Redis URL cannot be used: ");
        tws_buf_c(error, why);
        tws_buf_c(error, " (redis://user:password@host:port/db or unix://path)");
        return status;
    }
    up->most = 1 + (uint32_t)tws__min64(d->retain_events / 5, d->retain_bytes / 4096);
    up->room = up->most;
    memset(&rd, 0, sizeof rd);
    rd.allocator = d->allocator;
    rd.url = &up->url;
    /* What is larger than all that the hub keeps of a user is given to nobody. */
    rd.max_event_bytes = (uint32_t)tws__min64(d->max_event_bytes, d->retain_bytes);
    rd.task_key = d->task_key;
    rd.load_events = d->retain_events;
    rd.load_bytes = d->retain_bytes;
    /* A reader each, and as many who have left a moment ago. */
    rd.max_users = (uint32_t)tws__min64(2 * tws_sys_max_files(), 1u << 30);
    rd.max_users = rd.max_users > TWS__LEAST_USERS ? rd.max_users : TWS__LEAST_USERS;
    if (!tws_sys_random(rd.seed, sizeof rd.seed)) {
        return TWS_ERR_SYSTEM;
    }
    return tws_redis_create(&up->session, &rd, tws_sys_now_ms());
}

/* The server stands: its thread 0 may take the sockets. */
static void tws__upstream_start(tws__upstream *up)
{
    for (int i = 0; i < TWS_REDIS_LINKS; i++) {
        tws_server_guest(up->ts->server, 0, &up->link[i].guest);
    }
    tws_server_guest(up->ts->server, 0, &up->alarm);
    tws_guest_alarm(&up->alarm, tws_sys_now_ms());
}

/* NULL when events are delivered, else the reason. */
static const char *tws__upstream_fault(const tws__upstream *up)
{
    tws_redis_state state = tws__upstream_state(up);
    return tws_redis_state_delivers(state) ? NULL : tws_redis_state_word(state);
}

/* How the hub tells it who has readers. */
static const tws_hub_upstream *tws__upstream_seam(tws__upstream *up, tws_hub_upstream *seam)
{
    if (up == NULL) {
        return NULL;
    }
    seam->context = up;
    seam->join = tws__upstream_join;
    seam->reload = tws__upstream_reload;
    seam->leave = tws__upstream_leave;
    return seam;
}

static tws_status tws__upstream_publish(tws__upstream *up, tws_str user, tws_str json)
{
    if (tws__upstream_state(up) != TWS_REDIS_IS_READY) {
        TWS__COUNT(&up->turned_away, 1);
        return TWS_ERR_UNAVAILABLE;
    }
    if (user.len == 0 || user.len > TWS_MAX_USER_ID) {
        return TWS_ERR_ARGUMENT;
    }
    tws_str none = tws_str_of(NULL, 0);
    return tws__upstream_order(up, TWS__ORDER_PUBLISH, user, json, none, 0);
}

/* Store a body's events and answer when the last of them has been answered. */
static void tws__upstream_store(tws__session *s, tws_str body, uint32_t events)
{
    tws_task_server *ts = tws__session_server(s);
    tws__upstream *up = ts->up;
    char memory[TWS__MAX_KEY + 24];
    tws_buf none;
    tws_str json;
    tws_buf_fixed(&none, NULL, 0);
    if (tws__upstream_state(up) != TWS_REDIS_IS_READY) {
        TWS__COUNT(&up->turned_away, events);
        tws__respond_stored(s, &none, "Redis cannot store events now; try again");
        return;
    }
    tws__waiting *w = (tws__waiting *)tws_alloc(ts->desc.allocator, sizeof *w);
    if (w == NULL) {
        tws__respond_stored(s, &none, "no memory");
        return;
    }
    w->up = up;
    w->peer = tws_peer_id_of(s->peer);
    w->open = events + 1; /* one for this function, so that w stays until all are on their way */
    tws_buf_init(&w->ids, ts->desc.allocator, events * (size_t)TWS__ID_MAX);
    if (tws_buf_reserve(&w->ids, events * (size_t)TWS__ID_MAX) == NULL && events != 0) {
        tws_release(ts->desc.allocator, w, sizeof *w); /* before anything is stored */
        tws__respond_stored(s, &none, "no memory");
        return;
    }
    tws__waiting_enlist(w);
    tws__session_wait(s, TWS__STORING, TWS__STORE_MS);
    uint32_t ordered = 0;
    for (uint64_t n = 0; tws__next_event(s, &body, &n, &json); ordered++) {
        tws_str key = tws__event_key(s, n, memory);
        const tws_status status = tws__upstream_order(up, TWS__ORDER_PUBLISH, tws__session_user(s),
                                                      json, key, (uint64_t)(uintptr_t)w);
        if (status != TWS_OK) {
            if (TWS__LOAD(&w->fault) == NULL) {
                TWS__STORE(&w->fault, status == TWS_ERR_MEMORY
                                          ? (const char *)"no memory"
                                          : (const char *)"too many events are waiting for Redis");
            }
            break;
        }
    }
    for (; ordered < events; ordered++) {
        tws__waiting_settled(w);
    }
    tws__waiting_settled(w);
}

/* all: also what tells of other users. */
static void tws__upstream_write_status(tws__upstream *up, bool all, tws_buf *b)
{
    TWS__LOCK(&up->lock);
    tws_redis_stats n = up->stats;
    tws__json_object(b, "redis");
    tws__json_text(b, "state", tws_redis_state_word(tws__upstream_state(up)));
    tws__json_text(b, "reason", up->reason);
    TWS__UNLOCK(&up->lock);
    tws_json_write_member_u64(b, "round_trip_ms", n.round_trip_ms);
    if (all) {
        tws_json_write_member_u64(b, "users", n.users);
        tws_json_write_member_u64(b, "connects", n.connects);
        tws_json_write_member_u64(b, "events", n.events);
        tws_json_write_member_u64(b, "dropped", n.dropped);
        tws_json_write_member_u64(b, "not_json", n.not_json);
        tws_json_write_member_u64(b, "lost", n.lost);
        tws_json_write_member_u64(b, "stored", n.stored);
        tws_json_write_member_u64(b, "failed", n.failed);
    }
    tws_buf_c(b, "}");
}

static void tws__upstream_write_metrics(tws__upstream *up, tws_buf *b)
{
#define TWS__FIGURE(name) offsetof(tws_redis_stats, name)
    static const tws__metric row[] = {
        {"taskws_redis_users", "gauge", "Users subscribed to, or about to be.", TWS__FIGURE(users)},
        {"taskws_redis_round_trip_ms", "gauge", "Of the last probe.", TWS__FIGURE(round_trip_ms)},
        {"taskws_redis_connects_total", "counter", "Connections to Redis.", TWS__FIGURE(connects)},
        {"taskws_redis_failures_total", "counter", "Connections that failed or ended.",
         TWS__FIGURE(failures)},
        {"taskws_redis_events_total", "counter", "Events from Redis.", TWS__FIGURE(events)},
        {"taskws_redis_dropped_total", "counter", "Events that were too big, empty, or no events.",
         TWS__FIGURE(dropped)},
        {"taskws_redis_not_json_total", "counter", "Events that were no JSON.",
         TWS__FIGURE(not_json)},
        {"taskws_redis_lost_total", "counter", "Times that a user's events were gone.",
         TWS__FIGURE(lost)},
        {"taskws_redis_stored_total", "counter", "Events stored in Redis.", TWS__FIGURE(stored)},
        {"taskws_redis_failed_total", "counter", "Events that could not be stored.",
         TWS__FIGURE(failed)},
    };
#undef TWS__FIGURE
    TWS__LOCK(&up->lock);
    tws_redis_stats n = up->stats;
    TWS__UNLOCK(&up->lock);
    tws__metrics_of(b, row, sizeof row / sizeof *row, &n);
}

#else

struct tws__upstream {
    char none;
};

static tws_status tws__upstream_create(tws_task_server *ts, tws_buf *error)
{
    (void)ts;
    tws_buf_c(error, "Redis is not in this build (TASKWS_NO_REDIS); leave out the Redis URL");
    return TWS_ERR_UNAVAILABLE;
}

static void tws__upstream_start(tws__upstream *up) { (void)up; }
static void tws__upstream_run(tws__upstream *up) { (void)up; }
static void tws__upstream_look(tws__upstream *up) { (void)up; }
static bool tws__upstream_busy(tws__upstream *up) { (void)up; return false; }
static void tws__upstream_release(tws__upstream *up) { (void)up; }
static void tws__upstream_rejoin(tws__upstream *up) { (void)up; }
static void tws__upstream_answer(tws__upstream *up) { (void)up; }
static void tws__upstream_free(tws__upstream *up) { (void)up; }
static void tws__upstream_abandon_lookup(tws__upstream *up) { (void)up; }
static const char *tws__upstream_fault(const tws__upstream *up) { return up == NULL ? NULL : ""; }
static void tws__upstream_write_status(tws__upstream *up, bool all, tws_buf *b)
{
    (void)up;
    (void)all;
    (void)b;
}
static void tws__upstream_write_metrics(tws__upstream *up, tws_buf *b) { (void)up; (void)b; }
static const tws_hub_upstream *tws__upstream_seam(tws__upstream *up, tws_hub_upstream *seam)
{
    (void)up;
    (void)seam;
    return NULL;
}

static tws_status tws__upstream_publish(tws__upstream *up, tws_str user, tws_str json)
{
    (void)up;
    (void)user;
    (void)json;
    return TWS_ERR_UNAVAILABLE;
}

static void tws__upstream_store(tws__session *s, tws_str body, uint32_t events)
{
    (void)body;
    (void)events;
    tws__session_refuse(s, "internal");
}

#endif /* TASKWS_NO_REDIS */

/* One event, or many as NDJSON: checked whole before any is stored. */
static void tws__session_publish(tws__session *s, tws_str body)
{
    tws_task_server *ts = tws__session_server(s);
    tws_str rest = body, json;
    uint64_t number = 0;
    uint32_t events = 0;
    while (tws__next_event(s, &rest, &number, &json)) {
        tws_status status = tws__check_event(ts, json);
        if (status != TWS_OK) {
            tws__respond_fault(s, status, number, json);
            return;
        }
        events++;
    }
    if (ts->up == NULL) {
        tws__session_store(s, body, events);
    } else {
        tws__upstream_store(s, body, events);
    }
}

/* NULL when events can be delivered, else why not. */
static const char *tws__unready(const tws_task_server *ts)
{
    if (tws_server_draining(ts->server)) {
        return "draining";
    }
    return ts->up == NULL ? NULL : tws__upstream_fault(ts->up);
}

/* -- status and metrics -- */

static void tws__write_limits(const tws_task_server *ts, tws_buf *b)
{
    const tws_task_server_desc *d = &ts->desc;
    tws__json_object(b, "limits");
    tws_json_write_member_u64(b, "max_connections", d->max_connections);
    tws_json_write_member_u64(b, "max_per_user", d->max_per_user == TWS_OFF ? 0 : d->max_per_user);
    tws_json_write_member_u64(b, "max_per_ip", d->max_per_ip == TWS_OFF ? 0 : d->max_per_ip);
    tws_json_write_member_u64(b, "max_event_bytes", d->max_event_bytes);
    tws_json_write_member_u64(b, "max_message_bytes", d->limits.max_message_bytes);
    tws_json_write_member_u64(
        b, "heartbeat_s", d->limits.heartbeat_ms == TWS_OFF ? 0 : d->limits.heartbeat_ms / 1000);
    tws_buf_c(b, "}");
}

/* The lowest free descriptor is far below their number once an early one was closed. */
static uint64_t tws__open_files(const tws_task_server *ts, uint64_t connections)
{
    const uint64_t other = ts->up == NULL ? 3 : 5; /* the standard ones, and Redis's two */
    const uint64_t own = other + connections + TWS__THREAD_FILES * (uint64_t)ts->seats;
    const uint64_t lowest = tws_sys_open_files();
    return own > lowest ? own : lowest;
}

typedef struct tws__figures {
    tws_server_stats server;
    tws_hub_stats hub;
    uint64_t refused, open_files, resident_bytes, log_dropped, ready;
} tws__figures;

static void tws__take_figures(tws_task_server *ts, tws__figures *f)
{
    memset(f, 0, sizeof *f);
    tws_server_stat(ts->server, &f->server);
    tws_hub_stat(ts->hub, &f->hub);
    for (unsigned i = 0; i < ts->seats; i++) {
        f->refused += tws_counted(&ts->seat[i].refused);
    }
    f->open_files = tws__open_files(ts, f->server.connections);
    f->resident_bytes = tws_sys_resident_bytes();
    f->log_dropped = tws_counted(&ts->log_dropped);
    f->ready = tws__unready(ts) == NULL;
}

static void tws__write_status(tws__session *s, const tws_identity *who, tws_buf *b)
{
    tws_task_server *ts = tws__session_server(s);
    const bool all = (who->scopes & TWS_SCOPE_ADMIN) != 0;
    tws__figures f;
    tws__take_figures(ts, &f);
    tws_buf_c(b, "{");
    tws__json_text(b, "version", TWS_VERSION);
    tws_json_write_member_u64(b, "uptime_s", (tws_sys_now_ms() - ts->started_ms) / 1000);
    tws__json_object(b, "connections");
    tws_json_write_member_u64(b, "total", f.server.connections);
    tws_json_write_member_u64(b, "streams", f.server.websockets_open);
    tws_json_write_member_u64(b, "yours", tws_hub_readers(ts->hub, tws_identity_user(who)));
    tws_buf_c(b, "}");
    tws__json_text(b, "store", ts->up == NULL ? "memory" : "redis");
    if (ts->up == NULL) {
        tws_json_write_key(b, "redis");
        tws_buf_c(b, "null");
    } else {
        tws__upstream_write_status(ts->up, all, b);
    }
    tws__json_object(b, "resources");
    tws_json_write_member_u64(b, "open_files", f.open_files);
    tws_json_write_member_u64(b, "max_open_files", tws_sys_max_files());
    tws_json_write_member_u64(b, "resident_bytes", f.resident_bytes);
    tws_buf_c(b, "}");
    tws__write_limits(ts, b);
    if (all) {
        tws__json_object(b, "hub");
        tws_json_write_member_u64(b, "topics", f.hub.topics);
        tws_json_write_member_u64(b, "readers", f.hub.readers);
        tws_json_write_member_u64(b, "events", f.hub.events);
        tws_json_write_member_u64(b, "bytes", f.hub.bytes);
        tws_json_write_member_u64(b, "published", f.hub.published);
        tws_buf_c(b, "}");
        tws_json_write_member_u64(b, "threads", ts->seats);
        tws__json_text(b, "backend", tws_loop_backend());
    }
    tws_buf_c(b, "}");
}

static void tws__write_metrics(tws_task_server *ts, tws_buf *b)
{
#define TWS__FIGURE(name) offsetof(tws__figures, name)
    static const tws__metric row[] = {
        {"taskws_connections", "gauge", "Connections open now.", TWS__FIGURE(server.connections)},
        {"taskws_streams", "gauge", "WebSockets and event streams open now.",
         TWS__FIGURE(server.websockets_open)},
        {"taskws_connections_total", "counter", "Connections accepted.",
         TWS__FIGURE(server.accepted)},
        {"taskws_requests_total", "counter", "HTTP requests.", TWS__FIGURE(server.requests)},
        {"taskws_upgrades_total", "counter", "WebSocket handshakes completed.",
         TWS__FIGURE(server.upgrades)},
        {"taskws_requests_malformed_total", "counter", "Requests refused as malformed.",
         TWS__FIGURE(server.refused)},
        {"taskws_sessions_refused_total", "counter",
         "Sessions refused, or ended with an error or by a drain.", TWS__FIGURE(refused)},
        {"taskws_protocol_errors_total", "counter", "WebSockets closed for a protocol error.",
         TWS__FIGURE(server.protocol_errors)},
        {"taskws_timeouts_total", "counter", "Heartbeats unanswered and stalled clients.",
         TWS__FIGURE(server.timeouts)},
        {"taskws_messages_received_total", "counter", "WebSocket messages in.",
         TWS__FIGURE(server.messages_in)},
        {"taskws_messages_sent_total", "counter", "Messages and events out.",
         TWS__FIGURE(server.messages_out)},
        {"taskws_received_bytes_total", "counter", "Bytes in.", TWS__FIGURE(server.bytes_in)},
        {"taskws_sent_bytes_total", "counter", "Bytes out.", TWS__FIGURE(server.bytes_out)},
        {"taskws_events_published_total", "counter", "Events stored.", TWS__FIGURE(hub.published)},
        {"taskws_events_evicted_total", "counter", "Events dropped by retention.",
         TWS__FIGURE(hub.evicted)},
        {"taskws_resets_total", "counter", "Readers that had to start from a snapshot.",
         TWS__FIGURE(hub.resets)},
        {"taskws_retained_events", "gauge", "Events retained now.", TWS__FIGURE(hub.events)},
        {"taskws_retained_bytes", "gauge", "Bytes retained now.", TWS__FIGURE(hub.bytes)},
        {"taskws_users", "gauge", "Users with retained events, or readers now or a moment ago.",
         TWS__FIGURE(hub.topics)},
        {"taskws_readers", "gauge", "Readers attached now.", TWS__FIGURE(hub.readers)},
        {"taskws_open_files", "gauge", "Open descriptors.", TWS__FIGURE(open_files)},
        {"taskws_resident_bytes", "gauge", "Resident memory.", TWS__FIGURE(resident_bytes)},
        {"taskws_log_dropped_total", "counter", "Log lines that standard error did not take.",
         TWS__FIGURE(log_dropped)},
        {"taskws_ready", "gauge", "1 when events can be delivered.", TWS__FIGURE(ready)},
    };
#undef TWS__FIGURE
    tws__figures f;
    tws__take_figures(ts, &f);
    tws__metrics_of(b, row, sizeof row / sizeof *row, &f);
    tws_metrics_write(b, "taskws_build_info", "Version and readiness backend.", "gauge",
                      TWS__EPOLL ? "version=\"" TWS_VERSION "\",backend=\"epoll\""
                                 : "version=\"" TWS_VERSION "\",backend=\"poll\"", 1);
    if (ts->up != NULL) {
        tws__upstream_write_metrics(ts->up, b);
    }
}

static void tws__respond_metrics(tws_task_server *ts, tws_peer *p)
{
    tws_buf b;
    tws_buf_init(&b, ts->desc.allocator, 1u << 20);
    tws__write_metrics(ts, &b);
    tws_peer_respond(p, b.status == TWS_OK ? 200 : 503, TWS__DATA_LINES,
                     "text/plain; version=0.0.4; charset=utf-8", tws_buf_view(&b));
    tws_buf_free(&b);
}

static void tws__session_status(tws__session *s, const tws_identity *who)
{
    char memory[4096];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws__write_status(s, who, &b);
    TWS_ASSERT(b.status == TWS_OK);
    tws__session_respond(s, 200, TWS__DATA_LINES, &b);
}

/* Allowed: do what the session is for. An HTTP session is gone behind this. */
static void tws__session_act(tws__session *s, const tws_identity *who, tws_str body)
{
    tws__session_take_identity(s, who);
    switch (s->kind) {
    case TWS__WEBSOCKET:
    case TWS__SSE:
        tws__session_read(s);
        break;
    case TWS__SNAPSHOT:
        tws__session_snapshot(s);
        break;
    case TWS__PUBLISH:
        tws__session_publish(s, body);
        break;
    case TWS__STATUS:
        tws__session_status(s, who);
        break;
    default:
        tws__respond_metrics(tws__session_server(s), s->peer);
        tws__session_done(s);
        break;
    }
}

/* -- may it? -- */

/* Is it about one user's tasks? */
static bool tws__session_has_user(const tws__session *s)
{
    return s->kind != TWS__STATUS && s->kind != TWS__METRICS;
}

static tws_auth_action tws__session_action(const tws__session *s)
{
    return s->kind == TWS__PUBLISH ? TWS_AUTH_PUBLISH
           : s->kind == TWS__METRICS ? TWS_AUTH_ADMIN
                                     : TWS_AUTH_READ;
}

/* The host's answer is remembered for (action, user). */
static tws_str tws__verdict_key(const tws__session *s, char memory[TWS_MAX_USER_ID + 1])
{
    tws_str user = tws__session_user(s);
    memory[0] = s->kind == TWS__PUBLISH ? 'p' : 'r';
    memcpy(memory + 1, user.ptr, user.len);
    return tws_str_of(memory, user.len + 1);
}

/* Keep what the host's answer will be about. False without memory. */
static bool tws__session_keep(tws__session *s, const tws_identity *who, tws_str token, tws_str body)
{
    tws_task_server *ts = tws__session_server(s);
    size_t bytes = sizeof *s->pending + token.len + body.len;
    tws__pending *w = (tws__pending *)tws_alloc(ts->desc.allocator, bytes);
    if (w == NULL) {
        return false;
    }
    char *text = (char *)(w + 1);
    w->who = *who;
    w->token = tws_str_of(text, token.len);
    w->body = tws_str_of(text + token.len, body.len);
    (void)tws__str_copy(tws__str_copy(text, token), body);
    tws__pending_free(ts, s->pending);
    s->pending = w;
    return true;
}

static bool tws__session_suspend(tws__session *s, const tws_identity *who, tws_str token,
                                 tws_str body)
{
    if (!tws__session_keep(s, who, token, body)) {
        return false;
    }
    tws__session_wait(s, TWS__AWAIT_VERDICT, TWS__VERDICT_MS);
    return true;
}

/* word: why not; NULL: it may. */
static void tws__session_verdict(tws__session *s, const tws_identity *who, const char *word,
                                 tws_str body)
{
    if (word == NULL) {
        tws__session_act(s, who, body);
    } else {
        tws__session_refuse(s, word);
    }
}

/* Where a ticket has the question's number, 1 to 255 in turn on a thread: an answer that comes
 * twice, or late, is not taken for one to the same connection's next request. */
#define TWS__QUESTION 24u

/* What the host says, or has said. An answer that comes later is posted to this thread, even if
 * before authorize returns: it finds the session as this turn leaves it. */
static tws_verdict tws__session_ask_host(tws__session *s, const tws_identity *who, tws_str token)
{
    char memory[TWS_MAX_USER_ID + 1];
    tws_authorize question;
    tws__seat *seat = tws__session_seat(s);
    const tws_task_server_desc *d = &seat->ts->desc;
    tws_str key = tws__verdict_key(s, memory);
    int known = tws_auth_recall(seat->cache, token, key);
    if (known != 0) {
        return known > 0 ? TWS_ALLOW : TWS_DENY;
    }
    seat->questions = seat->questions == UINT8_MAX ? 1 : (uint8_t)(seat->questions + 1);
    s->question = seat->questions;
    question.who = who;
    question.action = tws__session_action(s);
    question.user_id = tws__session_user(s);
    question.ticket = tws_peer_id_of(s->peer) | (uint64_t)s->question << TWS__QUESTION;
    tws_verdict verdict = d->authorize(d->context, &question);
    if (verdict != TWS_LATER) {
        tws_auth_remember(seat->cache, token, key, verdict == TWS_ALLOW);
    }
    return verdict;
}

/* A token has come: verify it, judge it, act. */
static void tws__session_authenticate(tws__session *s, tws_str token, tws_str body)
{
    const char *word = NULL;
    tws_identity who;
    tws_jwt_error error = tws__session_verify(s, token, &who);
    if (error != TWS_JWT_OK) {
        word = tws_jwt_word(error);
    } else if (tws__session_server(s)->desc.authorize != NULL && tws__session_has_user(s)) {
        tws_verdict verdict = tws__session_ask_host(s, &who, token);
        if (verdict == TWS_LATER && tws__session_suspend(s, &who, token, body)) {
            return;
        }
        word = verdict == TWS_ALLOW ? NULL : verdict == TWS_LATER ? "internal" : "forbidden_user";
    } else if (s->kind != TWS__STATUS) {
        word = tws_auth_judge(&who, tws__session_action(s), tws__session_user(s));
    }
    tws__session_verdict(s, &who, word, body);
}

static void tws__answer_posted(tws_peer *p, void *arg)
{
    uintptr_t answer = (uintptr_t)arg;
    bool allowed = (answer & 1) != 0;
    tws__session *s = tws__session_of(p);
    const bool last = s != NULL && s->question == answer >> 1;
    if (s != NULL && s->phase == TWS__LIVE && !allowed && (last || s->pending != NULL)) {
        tws__session_refuse(s, "forbidden_user"); /* about a new token, whichever */
        return;
    }
    if (!last || s->phase == TWS__OVER || s->pending == NULL) {
        return; /* the client has gone or sent another token meanwhile, or it is once too often */
    }
    char memory[TWS_MAX_USER_ID + 1];
    tws__seat *seat = tws__session_seat(s);
    tws__pending *w = s->pending;
    s->pending = NULL;
    if (s->phase == TWS__AWAIT_VERDICT) {
        tws_auth_remember(seat->cache, w->token, tws__verdict_key(s, memory), allowed);
        tws__session_verdict(s, &w->who, allowed ? NULL : "forbidden_user", w->body);
    } else if (w->who.expires_s > (int64_t)(tws_sys_wall_ms() / 1000)) {
        tws__session_renew(s, &w->who); /* else the old one holds, as behind one that came so */
    }
    tws__pending_free(seat->ts, w);
}

TWS_API tws_status tws_task_server_answer(tws_task_server *ts, uint64_t ticket, bool allowed)
{
    uint64_t number = ticket >> TWS__QUESTION & 0xff;
    uintptr_t answer = (uintptr_t)(number << 1) | (allowed ? 1u : 0u);
    return tws_server_post(ts->server, ticket ^ number << TWS__QUESTION, tws__answer_posted,
                           (void *)answer);
}

/* -- messages from a client -- */

/* A new token may say less than the one before, and the host may have thought better of it. */
static tws_verdict tws__session_still_may(tws__session *s, const tws_identity *who, tws_str token)
{
    if (tws__session_server(s)->desc.authorize != NULL) {
        return tws__session_ask_host(s, who, token);
    }
    return tws_auth_judge(who, TWS_AUTH_READ, tws__session_user(s)) == NULL ? TWS_ALLOW : TWS_DENY;
}

static void tws__session_new_token(tws__session *s, tws_str token)
{
    tws_task_server *ts = tws__session_server(s);
    tws_identity who;
    if (s->phase == TWS__AWAIT_TOKEN) {
        tws_peer_limit(s->peer, 0);
        tws__session_authenticate(s, token, tws_str_of(NULL, 0));
        return;
    }
    tws_jwt_error error = tws__session_verify(s, token, &who);
    if (error == TWS_JWT_OK && who.expires_s <= (int64_t)(tws_sys_wall_ms() / 1000)) {
        error = TWS_JWT_EXPIRED; /* the leeway is for clocks that differ, not for more time */
    }
    if (error != TWS_JWT_OK) {
        tws__session_error(s, tws_jwt_word(error), NULL, 0); /* the old token still holds */
        return;
    }
    const tws_str none = tws_str_of(NULL, 0);
    const bool same = tws__hash(ts->hub->hash_key, tws_identity_user(&who)) == s->who;
    tws_verdict verdict = same ? tws__session_still_may(s, &who, token) : TWS_DENY;
    if (verdict == TWS_ALLOW) {
        tws__session_renew(s, &who);
    } else if (verdict == TWS_DENY) {
        tws__session_refuse(s, "forbidden_user");
    } else if (!tws__session_keep(s, &who, none, none)) {
        tws__session_refuse(s, "internal");
    }
}

static bool tws__string_member(tws_str text, const char *name, tws_json_token *value)
{
    return tws_json_member(text, tws_str_c(name), value) == TWS_OK &&
           value->type == TWS_JSON_STRING;
}

static void tws__on_message(tws_peer *p, tws_ws_opcode opcode, uint8_t *payload, size_t len)
{
    static const char pong[] = "{\"type\":\"pong\"}";
    tws__session *s = (tws__session *)tws_peer_data(p);
    tws_str text = tws_str_of((const char *)payload, len);
    tws_json_token type, token;
    if (s->phase == TWS__OVER) {
        return;
    }
    if (opcode == TWS_WS_BINARY) {
        tws__session_refuse(s, "bad_message");
        return;
    }
    if (!tws__string_member(text, "type", &type)) {
        tws__session_error(s, "bad_message", "a message is a JSON object with a string \"type\"",
                           0);
        return;
    }
    if (tws__json_is(&type, tws_str_c("ping"))) {
        tws_peer_send(p, TWS_WS_TEXT, pong, sizeof pong - 1);
        return;
    }
    bool auth = tws__json_is(&type, tws_str_c("auth")) && s->phase != TWS__AWAIT_VERDICT;
    if (auth && tws__string_member(text, "token", &token)) {
        char memory[TWS_JWT_MAX + 1]; /* one too long stays too long */
        tws_buf plain;
        tws_buf_fixed(&plain, memory, sizeof memory);
        tws_json_unescape(&token, &plain);
        tws__session_new_token(s, plain.status == TWS_OK ? tws_buf_view(&plain) : token.text);
        tws_wipe(memory, sizeof memory);
        return;
    }
    tws__session_error(s, "bad_message", "types are \"ping\" and \"auth\" with a string \"token\"",
                       0);
}

/* -- events to a client -- */

#define TWS__COPY 65536u
#define TWS__COPY_EACH 4096u /* what is longer is better lent than copied */

/* Whether the client takes the batch's n-th event compressed. */
static bool tws__session_packs(const tws__session *s, const tws__seat *seat, size_t n)
{
    tws_event_format format = (tws_event_format)s->format;
    return format != TWS_FORMAT_SSE &&
           tws_peer_compresses(s->peer, tws_event_text(seat->batch.event[n], format).len);
}

/* The bytes of the batch's n-th event for a client. The first one that wants it compressed has it
 * compressed for all. */
static size_t tws__session_wire(tws__session *s, const tws__seat *seat, size_t n, bool packed,
                                tws_str slices[TWS_EVENT_SLICES])
{
    tws_event *e = seat->batch.event[n];
    tws_event_format format = (tws_event_format)s->format;
    if (packed && !tws_event_compressed(e, format, &slices[0])) {
        tws_str text = tws_peer_compress(s->peer, tws_event_text(e, format));
        tws_hub_keep_compressed(&s->reader, e, format, text);
        (void)tws_event_compressed(e, format, &slices[0]);
    }
    return packed && slices[0].len != 0 ? 1 : tws_event_wire(e, format, slices);
}

/* Lay a shared batch's frames behind one another as this client takes them: a send to it and to
 * its like is of one piece then, which the kernel takes for less than as many pieces as there are
 * events. */
static void tws__seat_copy(tws__seat *seat, tws__session *s)
{
    const tws_hub_batch *b = &seat->batch;
    const tws_allocator *a = seat->ts->desc.allocator;
    tws_str slices[TWS_EVENT_SLICES];
    size_t at = 0;
    if (seat->copy_memory == NULL) {
        seat->copy_memory = (char *)tws_resize(a, NULL, 0, TWS__COPY);
    }
    seat->copied = 0;
    seat->copy_format = s->format;
    for (size_t n = 0; n < b->count && seat->copy_memory != NULL; n++) {
        const size_t begin = at;
        const bool packed = tws__session_packs(s, seat, n);
        const size_t count = tws__session_wire(s, seat, n, packed, slices);
        for (size_t i = 0; i < count; i++) {
            if (slices[i].len > TWS__COPY - at || slices[i].len > TWS__COPY_EACH) {
                return; /* the others as they lie */
            }
            memcpy(seat->copy_memory + at, slices[i].ptr, slices[i].len);
            at += slices[i].len;
        }
        seat->copy[n] = tws_str_of(seat->copy_memory + begin, at - begin);
        seat->copy_packed[n] = packed;
        seat->copied++;
    }
}

static void tws__event_hold(void *event)
{
    (void)tws_event_ref((tws_event *)event);
}

static void tws__event_release(void *event)
{
    tws_event_unref((tws_event *)event);
}

/* Offer the batch's n-th event: from the copy, if it is as this client takes it. */
static bool tws__session_offer(tws__session *s, const tws__seat *seat, size_t n)
{
    const bool packed = tws__session_packs(s, seat, n);
    if (n < seat->copied && seat->copy_format == s->format && seat->copy_packed[n] == packed) {
        return tws_peer_offer(s->peer, &seat->copy[n], 1);
    }
    static const tws_lender events = {tws__event_hold, tws__event_release};
    tws_str slices[TWS_EVENT_SLICES];
    if (!tws_peer_offer(s->peer, slices, tws__session_wire(s, seat, n, packed, slices))) {
        return false;
    }
    tws_peer_lend(s->peer, &events, seat->batch.event[n]);
    return true;
}

static void tws__on_output(tws_peer *p)
{
    tws__session *s = (tws__session *)tws_peer_data(p);
    tws__seat *seat = tws__session_seat(s);
    tws_hub_batch *b = &seat->batch;
    if (s->phase != TWS__LIVE) {
        return;
    }
    if (!tws_hub_same(b, &s->reader)) {
        tws_hub_batch_free(b);
        tws_hub_gather(&s->reader, b);
        seat->copied = 0;
    } else if (b->count > 1 && (seat->copied == 0 || seat->copy_format != s->format ||
                                seat->copy_packed[0] != tws__session_packs(s, seat, 0))) {
        tws__seat_copy(seat, s);
    }
    if (s->format != TWS_FORMAT_RAW && b->start) {
        tws__session_connected(s, b);
    }
    if (s->format != TWS_FORMAT_RAW && b->reset != NULL) {
        tws__session_reset(s, b->reset);
    }
    if (b->start) {
        s->begun = true;
        tws__session_watch(s);
    }
    b->start = false; /* said; the batch may serve others at the same position */
    b->reset = NULL;
    size_t n = 0;
    while (n < b->count && tws__session_offer(s, seat, n)) {
        n++;
    }
    seat->offered_by = s;
    seat->offered = n;
}

static void tws__on_taken(tws_peer *p, size_t n)
{
    tws__session *s = (tws__session *)tws_peer_data(p);
    tws__seat *seat = tws__session_seat(s);
    if (seat->offered_by != s) {
        return;
    }
    seat->offered_by = NULL;
    bool more = seat->batch.more || seat->offered < seat->batch.count;
    tws_hub_advance(&s->reader, &seat->batch, n);
    if (n == seat->offered && more) {
        if (n == 0 || !tws_hub_again(&s->reader)) {
            tws_peer_pull_later(p);
        }
    }
}

static void tws__on_timer(tws_peer *p)
{
    tws__session *s = (tws__session *)tws_peer_data(p);
    if (s->phase == TWS__AWAIT_TOKEN) {
        tws__session_refuse(s, "auth_timeout");
        return;
    }
    if (s->phase == TWS__LOADING) { /* or loaded, of which it could not hear */
        tws__session_respond_snapshot(s); /* of what is here */
        return;
    }
    if (s->phase == TWS__STORING || s->phase == TWS__AWAIT_VERDICT) {
        /* The connection ends too: an answer that comes late finds nobody, not the next request. */
        if (s->phase == TWS__STORING) {
            tws_buf none;
            tws_buf_fixed(&none, NULL, 0);
            tws__respond_stored(s, &none, "no answer in time: stored or not is not known");
        } else {
            tws__session_refuse(s, "internal");
        }
        tws_peer_close(p, 1011, "no answer in time");
        return;
    }
    if (s->phase != TWS__LIVE) {
        return;
    }
    uint64_t left_ms = tws__session_left_ms(s);
    if (left_ms == 0) {
        tws__session_refuse(s, "token_expired");
        return;
    }
    if (!s->begun && !s->told) { /* it begins when Redis is back */
        const tws__upstream *up = tws__session_server(s)->up;
        s->told = up != NULL && tws__upstream_fault(up) != NULL && s->format != TWS_FORMAT_RAW;
        if (s->told) {
            tws__session_error(s, "unavailable", "Redis does not answer now; this waits for it", 0);
        }
    }
    if ((s->begun || s->told) && s->warn_ms != 0 && left_ms <= s->warn_ms) {
        tws__session_warn(s);
    }
    tws__session_watch(s);
}

/* What Redis has been asked to store it may have stored: that answer is still waited for. */
static void tws__on_leave(tws_peer *p, uint16_t code, const char *word, const char *message)
{
    tws__session *s = (tws__session *)tws_peer_data(p);
    (void)code;
    (void)message;
    if (s->phase != TWS__STORING) {
        tws__session_refuse(s, word);
    }
}

static void tws__on_close(tws_peer *p, uint16_t code, tws_str reason)
{
    tws__session *s = (tws__session *)tws_peer_data(p);
    (void)code;
    (void)reason;
    tws__session_free(s);
}

#define TWS__LOOK 32u /* readers, between two looks at Redis */

/* News from the hub: each reader for whom there is some. What Redis says meanwhile goes with the
 * batches of those who still wait. */
static void tws__on_turn(void *context, unsigned thread)
{
    tws_task_server *ts = (tws_task_server *)context;
    tws__seat *seat = &ts->seat[thread];
    tws__upstream *up = thread == 0 ? ts->up : NULL; /* if it is this thread that runs it */
    uint32_t served = 0;
    if (up != NULL) {
        tws__upstream_run(up);
    }
    for (tws_hub_reader *r = tws_hub_news(seat->inbox); r != NULL; r = tws_hub_news(seat->inbox)) {
        tws__session *s = (tws__session *)(void *)r;
        if (s->phase == TWS__LOADING) {
            tws_server_post(ts->server, tws_peer_id_of(s->peer), tws__snapshot_posted, NULL);
        } else {
            tws_peer_pull(s->peer);
        }
        served++;
        if (up != NULL && served % TWS__LOOK == 0) {
            tws__upstream_look(up);
        }
    }
    if (seat->stores) {
        seat->stores = false;
        memset(seat->stored, 0, sizeof seat->stored);
    }
    tws_hub_batch_free(&seat->batch);
    tws__tell_rest(&seat->telling, ts, "refused");
    if (ts->up != up) { /* thread 0's */
        tws__upstream_release(ts->up);
    }
}

static bool tws__is_busy(void *context)
{
    tws_task_server *ts = (tws_task_server *)context;
    return ts->up != NULL && tws__upstream_busy(ts->up);
}

static void tws__on_second(void *context, uint64_t wall_ms)
{
    tws_task_server *ts = (tws_task_server *)context;
    (void)wall_ms;
    tws_hub_sweep(ts->hub, tws__hub_now(ts));
    if (ts->up != NULL) {
        tws__upstream_rejoin(ts->up);
        tws__upstream_answer(ts->up);
    }
}

static void tws__on_news(void *context)
{
    tws__seat *seat = (tws__seat *)context;
    tws_server_wake(seat->ts->server, seat->index);
}

/* -- requests -- */

static const char *tws__allowed_origins(const tws_task_server *ts)
{
    return ts->desc.origins == NULL && ts->desc.token_cookie == NULL ? "*" : ts->desc.origins;
}

/* The request's Origin, when it is allowed; empty when not, or when there is none. */
static tws_str tws__allowed_origin(const tws_task_server *ts, const tws_http_request *r)
{
    const tws_str *origin = tws_http_find(r, "Origin");
    bool allowed =
        origin != NULL && origin->len < 256 && tws_auth_origin(r, tws__allowed_origins(ts));
    return allowed ? *origin : tws_str_of(NULL, 0);
}

/* Last-Event-ID or `since`, and `format`. False when one is malformed. */
static bool tws__session_parameters(tws__session *s, const tws_http_request *r, bool raw)
{
    tws_str value;
    int times = tws_http_query(r->query, "since", &value);
    const tws_str *last = tws_http_find(r, "Last-Event-ID");
    if (times <= 1 && last != NULL && last->len != 0) {
        value = *last; /* of an EventSource that comes again its URL's since is older */
        times = 1;
    }
    s->has_since = times == 1;
    if (times > 1 || (times == 1 && !tws_event_id_parse(value, &s->reader.u.since))) {
        return false;
    }
    s->format = (uint8_t)(s->kind == TWS__SSE ? TWS_FORMAT_SSE
                          : raw               ? TWS_FORMAT_RAW
                                              : TWS_FORMAT_ENVELOPE);
    times = tws_http_query(r->query, "format", &value);
    bool is_raw = times == 1 && tws_str_eq_c(value, "raw");
    if (times != 0 && s->kind != TWS__SSE) {
        s->format = (uint8_t)(is_raw ? TWS_FORMAT_RAW : TWS_FORMAT_ENVELOPE);
    }
    return times == 0 || is_raw || (times == 1 && tws_str_eq_c(value, "json"));
}

/* Why it is refused whatever its token; NULL: it is not. */
static const char *tws__session_fault(tws__session *s, const tws_http_request *r)
{
    const tws_task_server *ts = tws__session_server(s);
    if (tws__session_has_user(s) && s->user_len == 0) {
        return "bad_request";
    }
    if (tws_peer_overload(s->peer) != NULL) {
        return tws_peer_overload(s->peer);
    }
    if (tws_server_draining(ts->server)) {
        return "draining";
    }
    if (!tws_auth_origin(r, tws__allowed_origins(ts))) {
        return "forbidden_origin";
    }
    return tws__session_parameters(s, r, ts->desc.raw_format) ? NULL : "bad_request";
}

static void tws__session_begin(tws__session *s, const tws_http_request *r)
{
    tws_task_server *ts = tws__session_server(s);
    tws_str token;
    const char *word = tws__session_fault(s, r);
    if (word != NULL) {
        tws__session_refuse(s, word);
        return;
    }
    const bool own = tws__shares_cookie(&ts->desc) || tws_auth_origin(r, NULL);
    if (tws_auth_find(r, own ? ts->desc.token_cookie : NULL, &token) == TWS_AUTH_NONE) {
        if (s->kind != TWS__WEBSOCKET) {
            tws__session_refuse(s, "token_missing");
            return;
        }
        tws_peer_limit(s->peer, TWS__TOKEN_MESSAGE);
        if (ts->desc.auth_ms != TWS_OFF) {
            tws_peer_set_timer(s->peer, tws_sys_now_ms() + ts->desc.auth_ms);
        }
        return;
    }
    tws__session_authenticate(s, token, r->body);
}

/* NULL: answered already. A WebSocket is accepted first, so that it can be told what is wrong. */
static tws__session *tws__session_for(tws_task_server *ts, tws_peer *p, const tws_http_request *r,
                                      uint8_t kind, tws_str user, tws_str key)
{
    tws__session *s = tws__session_create(ts, p, kind, user, key, tws__allowed_origin(ts, r));
    if (s == NULL) {
        tws_peer_respond_error(p, 503, NULL, "overloaded", "no memory");
        return NULL;
    }
    if (kind == TWS__WEBSOCKET && !tws_peer_accept(p, r, TWS__PROTOCOL, &tws__session_ops, s)) {
        tws__session_free(s); /* answered 400 or 426 */
        return NULL;
    }
    return s;
}

static void tws__refuse_post(const tws_task_server *ts, tws_peer *p, const tws_http_request *r,
                             int status, const char *message)
{
    char head[TWS__HEAD_BYTES];
    tws_peer_respond_error(p, status, tws__cors_head(ts, head, tws__allowed_origin(ts, r), NULL),
                           "bad_request", message);
}

static void tws__open_session(tws_task_server *ts, tws_peer *p, const tws_http_request *r,
                              uint8_t kind, tws_str user)
{
    tws_str key;
    int keys = tws__http_count(r->field, r->field_count, "Idempotency-Key", &key);
    if (kind != TWS__PUBLISH) {
        key = tws_str_of(NULL, 0);
    } else if (keys > 1 || key.len > TWS__MAX_KEY) {
        tws__refuse_post(ts, p, r, 400,
                         keys > 1 ? "there is more than one Idempotency-Key"
                                  : "Idempotency-Key is longer than 200 bytes");
        return;
    }
    tws__session *s = tws__session_for(ts, p, r, kind, user, key);
    if (s == NULL) {
        return;
    }
    if (kind == TWS__PUBLISH) {
        const tws_str *type = tws_http_find(r, "Content-Type");
        s->ndjson = type != NULL && tws__media_is(*type, "application/x-ndjson");
    }
    tws__session_begin(s, r);
}

/* Of a user id that cannot be an empty one is made, which the session refuses. */
static void tws__open_user_session(tws_task_server *ts, tws_peer *p, const tws_http_request *r,
                                   uint8_t kind)
{
    char memory[TWS_MAX_USER_ID];
    size_t len = 0;
    tws_status status = tws_http_decode(tws_peer_param(p, 0), false, memory, sizeof memory, &len);
    tws_str user = tws_str_of(memory, len);
    bool good = status == TWS_OK && tws_utf8_valid(user);
    tws__open_session(ts, p, r, kind, good ? user : tws_str_of(NULL, 0));
}

/* Whatever weight it is given: nobody names it who does not want it. */
static bool tws__accepts_stream(const tws_http_request *r)
{
    tws_str item;
    tws__http_items types = tws__http_items_of(r->field, r->field_count, "Accept");
    while (tws__http_next(&types, ',', &item)) {
        if (tws__media_is(item, "text/event-stream")) {
            return true;
        }
    }
    return false;
}

static void tws__on_tasks_get(tws_peer *p, const tws_http_request *r, void *context)
{
    bool websocket = tws_http_lists(r, "Upgrade", "websocket") ||
                     tws_http_find(r, "Sec-WebSocket-Key") != NULL;
    bool sse = tws__accepts_stream(r);
    tws__open_user_session((tws_task_server *)context, p, r,
                           websocket ? (uint8_t)TWS__WEBSOCKET : sse ? (uint8_t)TWS__SSE
                                                                     : (uint8_t)TWS__SNAPSHOT);
}

static void tws__on_tasks_post(tws_peer *p, const tws_http_request *r, void *context)
{
    tws_task_server *ts = (tws_task_server *)context;
    if (!r->chunked && tws_http_find(r, "Content-Length") == NULL) {
        tws__refuse_post(ts, p, r, 411, "a body with its Content-Length is needed");
        return;
    }
    tws__open_user_session(ts, p, r, TWS__PUBLISH);
}

static void tws__error_head(void *context, const tws_http_request *r, tws_buf *lines)
{
    const tws_task_server *ts = (const tws_task_server *)context;
    tws__cors_lines(ts, tws__allowed_origin(ts, r), lines);
}

/* A page asks whether it may ask (CORS preflight): WHATWG Fetch 3.2.2. */
static void tws__on_preflight(tws_peer *p, const tws_http_request *r, void *context)
{
    const tws_task_server *ts = (const tws_task_server *)context;
    tws_str origin = tws__allowed_origin(ts, r);
    char head[TWS__HEAD_BYTES];
    const char *lines = origin.len == 0
                            ? NULL
                            : "Access-Control-Allow-Methods: GET, POST\r\n"
                              "Access-Control-Allow-Headers: Authorization, Content-Type, "
                              "Idempotency-Key, Last-Event-ID\r\n"
                              "Access-Control-Max-Age: 600\r\n";
    tws_peer_respond(p, 204, tws__cors_head(ts, head, origin, lines), NULL, tws_str_of(NULL, 0));
}

static void tws__on_status(tws_peer *p, const tws_http_request *r, void *context)
{
    tws__open_session((tws_task_server *)context, p, r, TWS__STATUS, tws_str_of(NULL, 0));
}

static void tws__on_metrics(tws_peer *p, const tws_http_request *r, void *context)
{
    tws_task_server *ts = (tws_task_server *)context;
    if (tws_peer_is_local(p, r)) {
        tws__respond_metrics(ts, p);
        return;
    }
    tws__open_session(ts, p, r, TWS__METRICS, tws_str_of(NULL, 0));
}

static void tws__on_health(tws_peer *p, const tws_http_request *r, void *context)
{
    (void)r;
    (void)context;
    tws_peer_respond(p, 200, TWS__DATA_LINES, "application/json",
                     tws_str_c("{\"status\":\"healthy\",\"version\":\"" TWS_VERSION "\"}"));
}

static void tws__on_ready(tws_peer *p, const tws_http_request *r, void *context)
{
    const char *fault = tws__unready((tws_task_server *)context);
    char memory[128];
    tws_buf b;
    (void)r;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_c(&b, "{");
    tws__json_text(&b, "status", fault == NULL ? "ready" : "unavailable");
    if (fault != NULL) {
        tws__json_text(&b, "reason", fault);
    }
    tws_buf_c(&b, "}");
    tws_peer_respond(p, fault == NULL ? 200 : 503, TWS__DATA_LINES,
                     "application/json", tws_buf_view(&b));
}

/* -- life -- */

/* Nothing waits for a log: what a full disk, a pipe that nobody reads or a stopped terminal does
 * not take is dropped and counted. It is asked first instead of made non-blocking, which other
 * processes that share it would notice. One thread at a time, or two would write what there was
 * room for once. A pipe without a reader is not written to, for that raises SIGPIPE. */
static void tws__log_to_stderr(void *context, const char *line, size_t len)
{
    tws_task_server *ts = (tws_task_server *)context;
    struct pollfd p;
    p.fd = STDERR_FILENO;
    p.events = POLLOUT;
    TWS__LOCK(&ts->log_lock);
    bool ready = poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
    if (!ready || write(STDERR_FILENO, line, len) != (ssize_t)len) {
        tws_count(&ts->log_dropped, 1);
    }
    TWS__UNLOCK(&ts->log_lock);
}

/* Without a standard error there is no log: its number will be some connection's. */
static void tws__log_default(tws_task_server *ts)
{
    if (ts->desc.log.write == NULL && fcntl(STDERR_FILENO, F_GETFD) >= 0) {
        ts->desc.log.write = tws__log_to_stderr;
        ts->desc.log.context = ts;
    }
}

static tws_status tws__add_routes(tws_task_server *ts, tws_buf *error)
{
    const char *prefix = ts->desc.prefix == NULL ? "/api/v1/ws" : ts->desc.prefix;
    static const struct {
        const char *method, *path;
        bool prefixed;
        void (*handler)(tws_peer *p, const tws_http_request *r, void *context);
    } row[] = {
        {"GET", "/tasks/{user_id}", true, tws__on_tasks_get},
        {"POST", "/tasks/{user_id}", true, tws__on_tasks_post},
        {"OPTIONS", "/tasks/{user_id}", true, tws__on_preflight},
        {"GET", "/status", true, tws__on_status},
        {"OPTIONS", "/status", true, tws__on_preflight},
        {"GET", "/health", false, tws__on_health},
        {"GET", "/ready", false, tws__on_ready},
        {"GET", "/metrics", false, tws__on_metrics},
    };
    if (strchr(prefix, '{') != NULL) {
        tws_buf_c(error, "the prefix may have no parameter: the user's is the only one");
        return TWS_ERR_ARGUMENT;
    }
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char pattern[256];
        tws_route route;
        int n = snprintf(pattern, sizeof pattern, "%s%s", row[i].prefixed ? prefix : "",
                         row[i].path);
        if (n < 0 || (size_t)n >= sizeof pattern) {
            tws_buf_c(error, "the prefix is too long");
            return TWS_ERR_ARGUMENT;
        }
        memset(&route, 0, sizeof route);
        route.method = row[i].method;
        route.pattern = pattern;
        route.on_request = row[i].handler;
        route.context = ts;
        tws_status status = tws_server_route(ts->server, &route, error);
        if (status != TWS_OK) {
            tws_buf_c(error, status == TWS_ERR_ARGUMENT ? " (prefix, --prefix or TASKWS_PREFIX is "
                                                          "a path such as /api/v1/ws)"
                                                        : "");
            return status;
        }
    }
    return TWS_OK;
}

/* RFC 6265 4.1.1: a token, in the sense of RFC 9110. */
static tws_status tws__check_cookie(tws_task_server *ts, tws_buf *error)
{
    const tws_str s = tws_str_c(ts->desc.token_cookie);
    if (s.ptr == NULL || (s.len > 0 && tws__http_all(s, TWS__HTTP_TOKEN))) {
        return TWS_OK;
    }
    tws_buf_c(error, "no cookie has such a name (set token_cookie, --cookie or TASKWS_COOKIE to "
                     "letters, digits, - and _)");
    return TWS_ERR_ARGUMENT;
}

/* As a browser writes it, for which it is compared whole (RFC 6454 6.2): no path, no port that is
 * the default or empty, a name in ASCII. Of other schemes some have no host: file:// in an Android
 * WebView. */
static bool tws__is_origin(tws_str s)
{
    const tws_str scheme = tws_str_of(s.ptr, tws_str_find(s, ':'));
    const tws_str rest = tws_str_from(s, scheme.len);
    const bool https = tws__str_is(scheme, "https");
    const bool web = https || tws__str_is(scheme, "http");
    const char *port = https ? ":443" : web ? ":80" : "";
    bool good = scheme.len != 0 && tws_str_starts(rest, "://") && (rest.len > 3 || !web);
    good = good && rest.ptr[rest.len - 1] != ':' && !tws_str_starts(rest, "://:");
    for (size_t i = 3; good && i < rest.len; i++) {
        good = rest.ptr[i] > ' ' && rest.ptr[i] < 0x7f && strchr("*/?#@", rest.ptr[i]) == NULL;
    }
    return good && tws__auth_without(rest, port).len == rest.len;
}

static tws_status tws__check_origins(tws_task_server *ts, tws_buf *error)
{
    tws_str list = tws_str_c(ts->desc.origins);
    tws_str item;
    while (tws_str_split(&list, ',', &item)) {
        if (item.len != 0 && !tws_str_eq_c(item, "*") && !tws__str_is(item, "null") &&
            !tws__is_origin(item)) {
            tws_buf_c(error, "no browser sends this Origin: ");
            tws_buf_str(error, item);
            tws_buf_c(error, " (origins, --origin or TASKWS_ORIGIN is https://HOST or "
                             "http://HOST:PORT and no more, without :80 and :443; or * for any)");
            return TWS_ERR_ARGUMENT;
        }
    }
    return TWS_OK;
}

static tws_status tws__make_ring(tws_task_server *ts, tws_buf *error)
{
    const tws_task_server_desc *d = &ts->desc;
    const char *why = "";
    tws_auth_key one;
    memset(&one, 0, sizeof one);
    one.secret = d->jwt_secret == NULL ? "" : d->jwt_secret;
    one.secret_len = strlen((const char *)one.secret);
    bool many = d->key_count != 0;
    tws_status status = tws_auth_ring_create(&ts->ring, d->allocator, many ? d->keys : &one,
                                             many ? d->key_count : 1, d->allow_short_secret, &why);
    if (status == TWS_ERR_ARGUMENT) {
        tws_buf_c(error, "the token key cannot be used: ");
        tws_buf_c(error, why);
        tws_buf_c(error, " (set jwt_secret, --secret or TASKWS_SECRET to 32 random bytes or more)");
    }
    return status;
}

static tws_status tws__make_server(tws_task_server *ts, tws_buf *error)
{
    tws_task_server_desc *d = &ts->desc;
    tws_server_desc sd;
    memset(&sd, 0, sizeof sd);
    sd.host = d->host;
    sd.port = d->port;
    sd.unix_path = d->unix_path;
    sd.threads = d->threads;
    sd.max_connections = d->max_connections;
    sd.max_per_ip = d->max_per_ip == TWS_OFF ? 0 : d->max_per_ip;
    sd.receive_bytes = d->receive_bytes;
    sd.drain_ms = d->drain_ms;
    sd.trust_proxy = d->trust_proxy;
    sd.limits = d->limits;
    sd.allocator = d->allocator;
    sd.context = ts;
    sd.on_turn = tws__on_turn;
    sd.is_busy = tws__is_busy;
    sd.on_second = tws__on_second;
    sd.error_head = tws__error_head;
    tws_status status = tws_server_create(&ts->server, &sd);
    if (status != TWS_OK) {
        tws_buf_c(error, status == TWS_ERR_SYSTEM ? strerror(errno) : tws_status_text(status));
        return status;
    }
    d->max_connections = tws_server_max_connections(ts->server);
    return tws__add_routes(ts, error);
}

static tws_status tws__make_upstream(tws_task_server *ts, tws_buf *error)
{
    return ts->desc.redis_url == NULL ? TWS_OK : tws__upstream_create(ts, error);
}

static tws_status tws__make_hub(tws_task_server *ts, tws_buf *error)
{
    const tws_task_server_desc *d = &ts->desc;
    tws_hub_upstream seam;
    tws_hub_desc hd;
    (void)error;
    memset(&hd, 0, sizeof hd);
    hd.allocator = d->allocator;
    hd.max_events = d->retain_events;
    hd.max_bytes = d->retain_bytes;
    hd.max_age_s = d->retain_s;
    hd.max_total_bytes = d->retain_total_bytes == TWS_OFF ? UINT64_MAX : d->retain_total_bytes;
    hd.max_event_bytes = d->max_event_bytes;
    hd.max_readers = d->max_per_user;
    hd.task_key = d->task_key;
    hd.now_ms = tws__hub_now(ts);
    hd.upstream = tws__upstream_seam(ts->up, &seam);
    if (!tws_sys_random(hd.hash_key, sizeof hd.hash_key)) {
        return TWS_ERR_SYSTEM;
    }
    return tws_hub_create(&ts->hub, &hd);
}

static tws_status tws__make_seats(tws_task_server *ts, tws_buf *error)
{
    uint8_t key[16];
    (void)error;
    unsigned seats = tws__thread_count(ts->desc.threads);
    ts->seat = (tws__seat *)tws_alloc(ts->desc.allocator, seats * sizeof *ts->seat);
    if (ts->seat == NULL) {
        return TWS_ERR_MEMORY;
    }
    ts->seats = seats;
    for (unsigned i = 0; i < seats; i++) {
        tws__seat *seat = &ts->seat[i];
        seat->ts = ts;
        seat->index = i;
        if (!tws_sys_random(key, sizeof key)) {
            return TWS_ERR_SYSTEM;
        }
        seat->inbox = tws_hub_inbox_create(ts->hub, tws__on_news, seat);
        seat->cache = tws_auth_cache_create(ts->desc.allocator, 0, key);
        if (seat->inbox == NULL || seat->cache == NULL) {
            return TWS_ERR_MEMORY;
        }
    }
    return TWS_OK;
}

/* With Redis as much as a stream keeps, which gives up whole nodes of a hundred events: who may
 * resume must not depend on whether somebody else reads here already. */
static void tws__retain_defaults(tws_task_server_desc *d)
{
    bool redis = d->redis_url != NULL;
    d->retain_events = tws__default(d->retain_events, redis ? 1100 : 256);
    d->retain_bytes = tws__default(d->retain_bytes, redis ? 1024 * 1024 : 256 * 1024);
    d->retain_s = tws__default(d->retain_s, redis ? 24 * 3600 : 3600);
}

static void tws__task_defaults(tws_task_server_desc *d)
{
    d->max_per_user = tws__default(d->max_per_user, 64);
    d->max_event_bytes = tws__default(d->max_event_bytes, 64 * 1024);
    d->auth_ms = tws__default(d->auth_ms, 10 * 1000);
    if (d->max_body_bytes != 0) {
        d->limits.max_body_bytes = d->max_body_bytes;
    }
    tws__retain_defaults(d);
    tws_conn_defaults(&d->limits);
    d->limits.allocator = d->allocator;
}

TWS_API tws_status tws_task_server_create(tws_task_server **out, const tws_task_server_desc *desc,
                                          tws_buf *error)
{
    tws_buf none;
    tws_buf_fixed(&none, NULL, 0);
    tws_buf *why = error != NULL ? error : &none;
    *out = NULL;
    tws_task_server *ts = (tws_task_server *)tws_alloc(desc->allocator, sizeof *ts);
    if (ts == NULL) {
        tws_buf_c(why, "no memory");
        return TWS_ERR_MEMORY;
    }
    ts->desc = *desc;
    ts->started_ms = tws_sys_now_ms();
    ts->hub_begin_ms = tws_sys_wall_ms() - tws__passed_ms();
    TWS__MUTEX_INIT(&ts->ring_lock);
    TWS__MUTEX_INIT(&ts->memo_lock);
    TWS__MUTEX_INIT(&ts->log_lock);
    tws__task_defaults(&ts->desc);
    tws__log_default(ts);
    static tws_status (*const step[])(tws_task_server *, tws_buf *) = {
        tws__check_cookie, tws__check_origins, tws__make_ring,   tws__make_upstream,
        tws__make_hub,     tws__make_seats,    tws__make_server,
    };
    tws_status status = TWS_OK;
    for (size_t i = 0; i < sizeof step / sizeof *step && status == TWS_OK; i++) {
        status = step[i](ts, why);
    }
    if (status == TWS_OK && ts->up != NULL) {
        tws__upstream_start(ts->up);
    }
    if (status != TWS_OK) {
        if (why->len == 0) {
            tws_buf_c(why, status == TWS_ERR_SYSTEM ? "/dev/urandom cannot be read"
                                                    : tws_status_text(status));
        }
        tws_task_server_free(ts);
        return status;
    }
    *out = ts;
    return TWS_OK;
}

TWS_API void tws_task_server_free(tws_task_server *ts)
{
    if (ts == NULL) {
        return;
    }
    tws__upstream_abandon_lookup(ts->up); /* it would wake the server */
    tws_server_free(ts->server); /* ends the sessions, which read from the hub */
    for (unsigned i = 0; i < ts->seats; i++) {
        tws_hub_batch_free(&ts->seat[i].batch);
        tws_release(ts->desc.allocator, ts->seat[i].copy_memory, TWS__COPY);
        tws_hub_inbox_free(ts->seat[i].inbox);
        tws_auth_cache_free(ts->seat[i].cache);
    }
    tws_hub_free(ts->hub);
    tws__upstream_free(ts->up);
    tws_auth_ring_unref(ts->ring);
    TWS__MUTEX_FREE(&ts->memo_lock);
    tws_release(ts->desc.allocator, ts->memo, TWS__MEMOS * sizeof *ts->memo);
    tws_release(ts->desc.allocator, ts->seat, ts->seats * sizeof *ts->seat);
    TWS__MUTEX_FREE(&ts->log_lock);
    TWS__MUTEX_FREE(&ts->ring_lock);
    tws_release(ts->desc.allocator, ts, sizeof *ts);
}

TWS_API tws_server *tws_task_server_base(tws_task_server *ts)
{
    return ts->server;
}

TWS_API const tws_log *tws_task_server_log(const tws_task_server *ts)
{
    return &ts->desc.log;
}

TWS_API tws_status tws_task_server_publish(tws_task_server *ts, const char *user_id,
                                           const char *json, size_t len, tws_event_id *id)
{
    tws_str text = tws_str_of(json, len);
    tws_event_id given = {0, 0};
    tws_status status = tws__check_event(ts, text);
    if (status == TWS_OK && ts->up != NULL) {
        status = tws__upstream_publish(ts->up, tws_str_c(user_id), text);
    } else if (status == TWS_OK) {
        status = tws__store(ts, tws_str_c(user_id), text, tws_str_of(NULL, 0), &given);
    }
    if (id != NULL) {
        *id = given;
    }
    return status;
}

TWS_API tws_status tws_task_server_set_keys(tws_task_server *ts, const tws_auth_key *keys,
                                            size_t count, const char **why)
{
    tws_auth_ring *ring = NULL;
    tws_status status = tws_auth_ring_create(&ring, ts->desc.allocator, keys, count,
                                             ts->desc.allow_short_secret, why);
    if (status != TWS_OK) {
        return status;
    }
    TWS__LOCK(&ts->ring_lock);
    tws_auth_ring *old = ts->ring;
    ts->ring = ring;
    TWS__UNLOCK(&ts->ring_lock);
    tws_auth_ring_unref(old);
    return TWS_OK;
}

/* -- the one call -- */

static tws_server *tws__signalled;

static void tws__on_signal(int number)
{
    (void)number;
    tws_server_stop(tws__signalled);
}

static void tws__tell_address(const tws_task_server *ts)
{
    const char *host = ts->desc.host == NULL ? "127.0.0.1" : ts->desc.host;
    const bool v6 = strchr(host, ':') != NULL;
    if (ts->desc.unix_path != NULL) {
        printf("listening on unix:%s\n", ts->desc.unix_path);
    } else {
        printf("listening on http://%s%s%s:%d\n", v6 ? "[" : "", host, v6 ? "]" : "",
               tws_server_port(ts->server));
    }
    fflush(stdout);
}

/* Who reads that it listens may stop it at once: the handlers stand before that. */
static int tws__run_server(tws_task_server *ts)
{
    struct sigaction action, old_int, old_term, old_pipe;
    memset(&action, 0, sizeof action);
    action.sa_handler = tws__on_signal;
    sigemptyset(&action.sa_mask);
    tws__signalled = ts->server;
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    action.sa_handler = SIG_IGN; /* a log's reader may go between the question and the write */
    sigaction(SIGPIPE, &action, &old_pipe);
    tws__tell_address(ts);
    tws_status status = tws_server_run(ts->server);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    sigaction(SIGPIPE, &old_pipe, NULL);
    if (status != TWS_OK) {
        fprintf(stderr, "taskws: cannot start the threads: %s\n", tws_status_text(status));
    }
    return status == TWS_OK ? 0 : 1;
}

TWS_API int tws_task_server_run(const tws_task_server_desc *desc)
{
    char memory[512];
    tws_buf error;
    tws_task_server *ts = NULL;
    int code = 1;
    tws_buf_fixed(&error, memory, sizeof memory);
    tws_status status = tws_task_server_create(&ts, desc, &error);
    if (status == TWS_OK) {
        status = tws_server_listen(ts->server, &error);
    }
    if (status == TWS_OK) {
        code = tws__run_server(ts);
    } else {
        fprintf(stderr, "taskws: %.*s\n", (int)error.len, error.ptr);
    }
    tws_task_server_free(ts);
    return code;
}
#endif /* TASKWS_NO_JWT */
#endif /* TASKWS_NO_SERVER */

#ifdef __cplusplus
}
#endif
#endif /* TASKWS_IMPLEMENTATION */
