/* codec_only.c: the WebSocket codec without a socket. Frames arrive by hand, as a client sends
 * them; what they are is printed, and the frames that answer them.
 *
 *     cc -I.. -o codec_only codec_only.c && ./codec_only */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#define TASKWS_NO_THREADS
#include "taskws.h"

#include <stdio.h>

static void print_hex(const char *label, const uint8_t *p, size_t n)
{
    printf("%s", label);
    for (size_t i = 0; i < n; i++) {
        printf(" %02x", p[i]);
    }
    printf("\n");
}

/* A server's frame has no mask: header and payload, as they are. */
static void answer(tws_ws_opcode opcode, const void *payload, size_t len)
{
    uint8_t frame[TWS_WS_MAX_HEADER + 125];
    size_t n = tws_ws_header(frame, true, opcode, len, NULL);
    if (len > 0) {
        memcpy(frame + n, payload, len);
    }
    print_hex("  answer:", frame, n + len);
}

static void handle(const tws_ws_event *ev)
{
    uint8_t payload[125];
    switch (ev->type) {
    case TWS_WS_MORE: break;
    case TWS_WS_DATA:
        printf("%s%s%s: \"%.*s\"\n", ev->first ? "a message begins, " : "it goes on, ",
               ev->opcode == TWS_WS_TEXT ? "text" : "binary", ev->last ? ", and ends" : "",
               (int)ev->len, (const char *)ev->payload);
        if (ev->first && ev->last && ev->len <= 125) {
            answer(ev->opcode, ev->payload, ev->len);
        }
        break;
    case TWS_WS_GOT_PING:
        printf("a ping of %zu bytes\n", ev->len);
        answer(TWS_WS_PONG, ev->payload, ev->len);
        break;
    case TWS_WS_GOT_PONG: printf("a pong of %zu bytes\n", ev->len); break;
    case TWS_WS_GOT_CLOSE:
        printf("a close, code %u: \"%.*s\"\n", ev->code, (int)ev->len,
               ev->len > 0 ? (const char *)ev->payload : "");
        answer(TWS_WS_CLOSE, payload,
               ev->code == 1005 ? 0 : tws_ws_close_payload(payload, ev->code, tws_str_c("")));
        break;
    case TWS_WS_ERROR:
        printf("an error: %s\n", ev->reason);
        answer(TWS_WS_CLOSE, payload,
               tws_ws_close_payload(payload, ev->code, tws_str_c(ev->reason)));
        break;
    }
}

int main(void)
{
    /* "Hello" masked, a ping of two bytes between the halves of "Bye!", then a frame without a
     * mask, which a client must not send: RFC 6455 5.1 */
    uint8_t bytes[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
                       0x01, 0x82, 0x00, 0x00, 0x00, 0x00, 'B',  'y',
                       0x89, 0x82, 0x01, 0x02, 0x03, 0x04, 0x69, 0x6b,
                       0x80, 0x82, 0x00, 0x00, 0x00, 0x00, 'e',  '!',
                       0x81, 0x05, 'H',  'e',  'l',  'l',  'o'};
    size_t at = 0;
    tws_ws_decoder decoder;
    tws_ws_event ev;
    char accept[TWS_WS_ACCEPT_LEN + 1];

    tws_ws_accept(tws_str_c("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    printf("the handshake's answer: Sec-WebSocket-Accept: %s\n", accept);

    print_hex("a client sends:", bytes, sizeof bytes);
    tws_ws_init(&decoder, TWS_WS_SERVER, 65536, 1024);
    do {
        at += tws_ws_decode(&decoder, bytes + at, sizeof bytes - at, &ev);
        handle(&ev);
    } while (ev.type != TWS_WS_MORE && ev.type != TWS_WS_ERROR);
    return 0;
}
