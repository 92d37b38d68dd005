/* Section 4: sha1, sha256, hmac. */
#include "test.h"

/* -- messages: a text, repeated -- */

typedef struct message {
    const char *text;
    size_t times;
} message;

static uint8_t *build(message m, size_t *len)
{
    size_t one = strlen(m.text);
    uint8_t *bytes = (uint8_t *)malloc(one * m.times + 1);
    for (size_t i = 0; i < m.times; i++) {
        memcpy(bytes + i * one, m.text, one);
    }
    *len = one * m.times;
    uint8_t *copy = test_exact(bytes, *len);
    free(bytes);
    return copy;
}

/* n bytes that differ from those of every other n. */
static uint8_t *numbered(size_t n)
{
    uint8_t bytes[400];
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(i * 7 + n);
    }
    return test_exact(bytes, n);
}

static void check_hex(const uint8_t *digest, size_t len, const char *hex)
{
    uint8_t want[64];
    size_t want_len = test_hex(hex, want);
    CHECK_MEM(digest, len, want, want_len);
}

static const struct {
    message m;
    const char *sha1;
    const char *sha256;
} digests[] = {
    {{"", 0},
     "da39a3ee5e6b4b0d3255bfef95601890afd80709",
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {{"abc", 1}, /* RFC 6234 8.5, test 1 */
     "a9993e364706816aba3e25717850c26c9cd0d89d",
     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1}, /* test 2 */
     "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
      "lmnopqrsmnopqrstnopqrstu", 1}, /* FIPS 180-2 appendix C.2's message, 896 bits */
     "a49b2446a02c645bf419f995b67091253a04a259",
     "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {{"a", 1000000}, /* test 3 */
     "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    {{"01234567", 80}, /* test 4 */
     "dea356a2cddd90c7a7ecedc5ebb563934f460452",
     "594847328451bdfa85056225462cc1d867d877fb388df0ce35f25ab5562bfbb5"},
    {{"^", 1}, /* test 6 of SHA-1 */
     "5e6f80a34a9798cafc6a5db96cc57ba4c4db59c2",
     "74cd9ef9c7e15f57bdad73c511462ca65cb674c46c49639c60f1b44650fa1dcb"},
    {{"\x9a\x7d\xfd\xf1\xec\xea\xd0\x6e\xd6\x46\xaa\x55\xfe\x75\x71\x46", 1}, /* test 8 of SHA-1 */
     "82abff6605dbe1c17def12a394fa22a82b544a35",
     "803eb30a976d7846cecb0a661d8d807b102b104de5b146ab8433371e4394315f"},
    {{"\x19", 1}, /* test 6 of SHA-256 */
     "e9c5d7db93a1c17d45c5820daf458224bfa7a725",
     "68aa2e2ee5dff96e3355e6c7ee373e3d6a4e17f75f9518d843709c0c9bc3e3d4"},
    {{"\xe3\xd7\x25\x70\xdc\xdd\x78\x7c\xe3\x88\x7a\xb2\xcd\x68\x46\x52", 1}, /* test 8 of it */
     "edbad43ddb1b6e54d9cac57a69e1d994188f9e07",
     "175ee69b02ba9b58e2b0a5fd13819cea573f3940a94f825128cf4209beabb4e8"},
    {{"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 1}, /* RFC 6455 1.3 */
     "b37a4f2cc0624f1690f64606cf385945b2bec4ea",
     "73ca9e0b1c01f2c24fc6449c91e2fbe9b28bedfeb8dbe298cc3891ec46cac936"},
};

#define DIGESTS (sizeof digests / sizeof *digests)

/* -- digests -- */

TEST("SHA-1 gives the digests of FIPS 180-4, RFC 3174, RFC 6234 and RFC 6455")
{
    for (size_t i = 0; i < DIGESTS; i++) {
        test_row(digests[i].m.text, i);
        size_t len;
        uint8_t digest[TWS_SHA1_BYTES];
        uint8_t *bytes = build(digests[i].m, &len);
        tws_sha1(bytes, len, digest);
        check_hex(digest, sizeof digest, digests[i].sha1);
    }
}

static void sha256_in_two(const uint8_t *bytes, size_t len, size_t cut, uint8_t digest[32])
{
    tws_sha256 h;
    tws_sha256_init(&h);
    tws_sha256_feed(&h, test_exact(bytes, cut), cut);
    tws_sha256_feed(&h, test_exact(bytes + cut, len - cut), len - cut);
    tws_sha256_end(&h, digest);
}

static void sha256_in_bytes(const uint8_t *bytes, size_t len, uint8_t digest[32])
{
    tws_sha256 h;
    tws_sha256_init(&h);
    for (size_t i = 0; i < len; i++) {
        tws_sha256_feed(&h, bytes + i, 1);
    }
    tws_sha256_end(&h, digest);
}

TEST("SHA-256 gives the digests of FIPS 180-4 and RFC 6234, whole, by bytes and at every split")
{
    for (size_t i = 0; i < DIGESTS; i++) {
        test_row(digests[i].m.text, i);
        size_t len;
        uint8_t digest[TWS_SHA256_BYTES];
        uint8_t *bytes = build(digests[i].m, &len);
        sha256_in_two(bytes, len, len, digest);
        check_hex(digest, sizeof digest, digests[i].sha256);
        sha256_in_bytes(bytes, len, digest);
        check_hex(digest, sizeof digest, digests[i].sha256);
        for (size_t cut = 0; cut < len && len <= 640; cut++) {
            sha256_in_two(bytes, len, cut, digest);
            check_hex(digest, sizeof digest, digests[i].sha256);
        }
    }
}

/* The two constants were computed with an independent implementation. */
TEST("every length of padding is right: a digest over the digests of 0 to 300 bytes")
{
    uint8_t sha1[301 * TWS_SHA1_BYTES];
    uint8_t sha256[301 * TWS_SHA256_BYTES];
    uint8_t digest[TWS_SHA256_BYTES];
    for (size_t n = 0; n <= 300; n++) {
        uint8_t *bytes = numbered(n);
        tws_sha1(bytes, n, sha1 + n * TWS_SHA1_BYTES);
        sha256_in_two(bytes, n, n, sha256 + n * TWS_SHA256_BYTES);
    }
    tws_sha1(sha1, sizeof sha1, digest);
    check_hex(digest, TWS_SHA1_BYTES, "e570432b09ac39935ad256f819b381ba3900dbbd");
    sha256_in_two(sha256, sizeof sha256, sizeof sha256, digest);
    check_hex(digest, sizeof digest,
              "60d63ff40b5558727a9b786ac0be9300f7ca58fd9ddd3b2f3681b369018a87dc");
}

TEST("the length at the end of a message is 64 bits of bits")
{
    uint8_t out[2 * TWS__SHA_BLOCK];
    CHECK_EQ(tws__sha_pad(out, (const uint8_t *)"abcde", 0x0123456789abcdc0u + 5), 1);
    CHECK_MEM(out, 6, "abcde\x80", 6);
    check_hex(out + 56, 8, "091a2b3c4d5e6e28");
}

TEST("a finished SHA-256 leaves nothing of its message behind")
{
    tws_sha256 h;
    tws_sha256 zeros;
    uint8_t digest[TWS_SHA256_BYTES];
    memset(&zeros, 0, sizeof zeros);
    tws_sha256_init(&h);
    tws_sha256_feed(&h, "a secret", 8);
    tws_sha256_end(&h, digest);
    CHECK_MEM(&h, sizeof h, &zeros, sizeof zeros);
}

/* -- HMAC -- */

static const struct {
    const char *key; /* hexadecimal, as is data */
    const char *data;
    const char *mac;
} macs[] = { /* RFC 4231 4.2 to 4.8 */
    {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
     "4869205468657265",
     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
    {"4a656665",
     "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
     "dddddddddddd",
     "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
    {"0102030405060708090a0b0c0d0e0f10111213141516171819",
     "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
     "cdcdcdcdcdcd",
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
    {"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c", /* the RFC prints its first 128 bits */
     "546573742057697468205472756e636174696f6e",
     "a3b6167473100ee06e0c796c2955552b"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368"
     "204b6579204669727374",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a"
     "65206b657920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865"
     "206b6579206e6565647320746f20626520686173686564206265666f7265206265696e672075736564206279"
     "2074686520484d414320616c676f726974686d2e",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
};

TEST("HMAC-SHA256 gives the seven results of RFC 4231, again and again with one key")
{
    for (size_t i = 0; i < sizeof macs / sizeof *macs; i++) {
        test_row(macs[i].mac, i);
        uint8_t key[200];
        uint8_t data[200];
        uint8_t mac[TWS_SHA256_BYTES];
        size_t key_len = test_hex(macs[i].key, key);
        size_t len = test_hex(macs[i].data, data);
        tws_hmac_key k;
        tws_hmac_key_init(&k, test_exact(key, key_len), key_len);
        for (int again = 0; again < 2; again++) {
            tws_hmac_sha256(&k, test_exact(data, len), len, mac);
            check_hex(mac, strlen(macs[i].mac) / 2, macs[i].mac);
        }
    }
}

/* The constant was computed with an independent implementation. */
TEST("HMAC-SHA256 takes keys and messages of every length from 0 to 300")
{
    uint8_t macs_of_all[301 * TWS_SHA256_BYTES];
    uint8_t digest[TWS_SHA256_BYTES];
    for (size_t n = 0; n <= 300; n++) {
        tws_hmac_key k;
        tws_hmac_key_init(&k, numbered(n), n);
        tws_hmac_sha256(&k, numbered(300 - n), 300 - n, macs_of_all + n * TWS_SHA256_BYTES);
    }
    sha256_in_two(macs_of_all, sizeof macs_of_all, sizeof macs_of_all, digest);
    check_hex(digest, sizeof digest,
              "829697780116da2255f34107a2102b155f638d2596fb23f56e11baff5c2f01b4");
}

TEST("an empty key and an empty message may be NULL")
{
    tws_hmac_key k;
    uint8_t mac[TWS_SHA256_BYTES];
    uint8_t digest[TWS_SHA1_BYTES];
    tws_hmac_key_init(&k, NULL, 0);
    tws_hmac_sha256(&k, NULL, 0, mac);
    check_hex(mac, sizeof mac, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
    tws_sha1(NULL, 0, digest);
    check_hex(digest, sizeof digest, digests[0].sha1);
}

TEST("the processor's instructions, where it has them, and plain C agree on any blocks")
{
    uint8_t bytes[7 * TWS__SHA_BLOCK];
    uint32_t random = 1;
    for (int round = 0; round < 1000; round++) {
        uint32_t fast[8], plain[8];
        size_t blocks = (size_t)round % 8;
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525 + 1013904223;
            bytes[i] = (uint8_t)(random >> 24);
        }
        memcpy(fast, bytes + 5, sizeof fast);
        memcpy(plain, fast, sizeof plain);
        const uint8_t *p = test_exact(bytes, blocks * TWS__SHA_BLOCK);
        tws__sha256_blocks(fast, p, blocks);
        tws__sha256_portable(plain, p, blocks);
        CHECK_MEM(fast, sizeof fast, plain, sizeof plain);
        for (size_t i = 0; i < blocks; i++) { /* five of the words */
            tws__sha1_block(fast, p + i * TWS__SHA_BLOCK);
            tws__sha1_portable(plain, p + i * TWS__SHA_BLOCK);
        }
        CHECK_MEM(fast, sizeof fast, plain, sizeof plain);
    }
}

/* -- secrets -- */

TEST("secrets are equal only where every bit of every byte is")
{
    uint8_t a[40];
    memset(a, 0x5a, sizeof a);
    for (size_t len = 0; len <= sizeof a; len++) {
        uint8_t *b = test_exact(a, len);
        CHECK(tws_equal_secret(test_exact(a, len), b, len));
        for (size_t bit = 0; bit < 8 * len; bit++) {
            b[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(!tws_equal_secret(a, b, len));
            b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    CHECK(tws_equal_secret(NULL, NULL, 0));
}

TEST("wiping zeros the bytes it is told and no other")
{
    for (size_t len = 0; len <= 10; len++) {
        uint8_t bytes[12];
        memset(bytes, 0xee, sizeof bytes);
        tws_wipe(bytes + 1, len);
        for (size_t i = 0; i < sizeof bytes; i++) {
            CHECK_EQ(bytes[i], i >= 1 && i <= len ? 0 : 0xee);
        }
    }
    tws_wipe(NULL, 0);
}
