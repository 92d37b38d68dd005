/* lws.c: an echo on libwebsockets, for make bench PEERS=1. It says where it listens. */
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What came in one callback, to be sent when the socket takes it. */
typedef struct piece {
    struct piece *next;
    size_t len;
    int flags;
    unsigned char bytes[]; /* LWS_PRE of them are the library's */
} piece;

typedef struct session {
    piece *first, *last;
} session;

static int keep(struct lws *wsi, session *s, const void *in, size_t len)
{
    piece *p = malloc(sizeof *p + LWS_PRE + len);
    if (p == NULL) {
        return -1;
    }
    p->next = NULL;
    p->len = len;
    p->flags = lws_write_ws_flags(
        lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT, lws_is_first_fragment(wsi),
        lws_is_final_fragment(wsi));
    memcpy(p->bytes + LWS_PRE, in, len);
    *(s->first == NULL ? &s->first : &s->last->next) = p;
    s->last = p;
    lws_callback_on_writable(wsi);
    return 0;
}

static int send_first(struct lws *wsi, session *s)
{
    piece *p = s->first;
    if (p == NULL) {
        return 0;
    }
    const int sent = lws_write(wsi, p->bytes + LWS_PRE, p->len,
                               (enum lws_write_protocol)p->flags);
    s->first = p->next;
    free(p);
    if (s->first != NULL) {
        lws_callback_on_writable(wsi);
    }
    return sent < 0 ? -1 : 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    session *s = user;
    switch (reason) {
    case LWS_CALLBACK_RECEIVE:
        return keep(wsi, s, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return send_first(wsi, s);
    case LWS_CALLBACK_CLOSED:
        while (s->first != NULL) {
            piece *p = s->first;
            s->first = p->next;
            free(p);
        }
        return 0;
    default:
        return 0;
    }
}

int main(void)
{
    static const struct lws_protocols protocols[] = {
        {"echo", on_event, sizeof(session), 4096, 0, NULL, 0},
        {NULL, NULL, 0, 0, 0, NULL, 0},
    };
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    struct lws_vhost *vhost = context == NULL ? NULL : lws_create_vhost(context, &info);
    if (vhost == NULL) {
        return 1;
    }
    printf("listening on http://127.0.0.1:%d\n", lws_get_vhost_listen_port(vhost));
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {
    }
    return 0;
}
