/* Fuzz target: both base64 alphabets against a decoder that knows no shifts: a table filled from
 * the alphabet as RFC 4648 prints it, bits in a row, every rule by itself.
 *
 * input    byte 0: bit 0 base64url, bit 1 encode the rest first and spoil one character of it
 *          (byte 1: which, byte 2: by what); then the text */
#define TASKWS_IMPLEMENTATION
#define TASKWS_NO_SERVER
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition) ((condition) ? (void)0 : fail(#condition))

static void fail(const char *condition)
{
    fprintf(stderr, "does not hold: %s\n", condition);
    abort();
}

/* -- the reference -- */

static int digit_of(char c, bool url)
{
    static const char common[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *at = c == '\0' ? NULL : strchr(common, c);
    if (at != NULL) {
        return (int)(at - common);
    }
    if (c == (url ? '-' : '+')) {
        return 62;
    }
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* The bytes that text stands for, or -1. out has room for text.len. */
static long decode(tws_str text, bool url, uint8_t *out)
{
    size_t pads = 0;
    if (!url) {
        if (text.len % 4 != 0) {
            return -1;
        }
        for (; pads < 2 && text.len > 0 && text.ptr[text.len - 1] == '='; pads++) {
            text.len--;
        }
    }
    size_t bits = 0;
    memset(out, 0, text.len);
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.ptr[i], url);
        if (digit < 0) {
            return -1;
        }
        for (int bit = 5; bit >= 0; bit--, bits++) {
            unsigned one = (unsigned)digit >> bit & 1u;
            out[bits / 8] = (uint8_t)(out[bits / 8] | one << (7 - bits % 8));
        }
    }
    if (bits % 8 >= 6 || (bits % 8 != 0 && out[bits / 8] != 0)) {
        return -1; /* a character too many, or tail bits set */
    }
    if (!url && pads != (3 - bits / 8 % 3) % 3) {
        return -1;
    }
    return (long)(bits / 8);
}

/* -- what is tried -- */

static uint8_t *block(const void *bytes, size_t len)
{
    uint8_t *p = (uint8_t *)malloc(len > 0 ? len : 1);
    REQUIRE(p != NULL);
    if (len > 0 && bytes != NULL) {
        memcpy(p, bytes, len);
    }
    return p;
}

static tws_status ours(tws_str text, bool url, void *out, size_t cap, size_t *len)
{
    return url ? tws_base64url_decode(text, out, cap, len) : tws_base64_decode(text, out, cap, len);
}

static size_t encode(const void *bytes, size_t len, bool url, char *out)
{
    return url ? tws_base64url_encode(bytes, len, out) : tws_base64_encode(bytes, len, out);
}

static void check_decode(tws_str text, bool url)
{
    size_t len = 99;
    uint8_t *want = block(NULL, text.len + 1);
    long want_len = decode(text, url, want);
    size_t cap = want_len > 0 ? (size_t)want_len : text.len / 4 * 3 + 2;
    uint8_t *out = block(NULL, cap); /* exactly: one byte written beyond it is seen */
    tws_status status = ours(text, url, out, cap, &len);
    REQUIRE((status == TWS_OK) == (want_len >= 0));
    if (want_len < 0) {
        REQUIRE(status == TWS_ERR_SYNTAX && len == 0);
    } else {
        REQUIRE(len == (size_t)want_len && (len == 0 || memcmp(out, want, len) == 0));
        /* One text for every value: it encodes to itself. */
        char *again = (char *)block(NULL, text.len);
        REQUIRE(encode(out, len, url, again) == text.len);
        REQUIRE(text.len == 0 || memcmp(again, text.ptr, text.len) == 0);
        free(again);
        REQUIRE(len == 0 || ours(text, url, out, len - 1, &cap) == TWS_ERR_LIMIT);
        char *own = (char *)block(text.ptr, text.len); /* into the text's own memory */
        REQUIRE(ours(tws_str_of(own, text.len), url, own, text.len, &cap) == TWS_OK);
        REQUIRE(cap == len && (len == 0 || memcmp(own, want, len) == 0));
        free(own);
    }
    free(out);
    free(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool url = size > 0 && (data[0] & 1) != 0;
    if (size < 3) {
        return 0;
    }
    if ((data[0] & 2) == 0) {
        uint8_t *text = block(data + 1, size - 1);
        check_decode(tws_str_of((const char *)text, size - 1), url);
        free(text);
        return 0;
    }
    size_t len = size - 3;
    size_t chars = url ? TWS_BASE64URL_LEN(len) : TWS_BASE64_LEN(len);
    uint8_t *bytes = block(data + 3, len);
    char *text = (char *)block(NULL, chars);
    REQUIRE(encode(bytes, len, url, text) == chars);
    check_decode(tws_str_of(text, chars), url);
    if (chars > 0) {
        text[data[1] % chars] = (char)data[2];
        check_decode(tws_str_of(text, chars), url);
    }
    free(text);
    free(bytes);
    return 0;
}
