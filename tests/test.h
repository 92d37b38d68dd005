/* test.h: the harness of this directory. One test file is one program:
 *
 *     #include "test.h"
 *     TEST("a thing does what the sentence says") { CHECK_EQ(1 + 1, 2); }
 *
 * It compiles taskws.h's implementation into the test, so that private functions are in reach.
 * A failed check prints a line and the test goes on; argv[1] picks tests by part of a name. */
#ifndef TASKWS_TEST_H
#define TASKWS_TEST_H

#define TASKWS_IMPLEMENTATION
#include "taskws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_UNUSED __attribute__((unused))

/* -- registering and running -- */

typedef struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
} test_case;

static test_case *test_first;
static test_case **test_last = &test_first;

static void test_register(test_case *t)
{
    *test_last = t;
    test_last = &t->next;
}

#define TEST(sentence) TEST_AT(sentence, __LINE__)
#define TEST_AT(sentence, line) TEST_NAMED(sentence, line)
#define TEST_NAMED(sentence, line)                                       \
    static void test_body_##line(void);                                  \
    __attribute__((constructor)) static void test_register_##line(void)  \
    {                                                                    \
        static test_case t = {sentence, test_body_##line, NULL};         \
        test_register(&t);                                               \
    }                                                                    \
    static void test_body_##line(void)

/* -- checks -- */

static int test_failures; /* of the running test; checks may run in any thread */
static const char *test_row_name;
static size_t test_row_index;

/* Names the table's row that the next checks are about; a failed one prints it. */
TEST_UNUSED static void test_row(const char *name, size_t index)
{
    test_row_name = name;
    test_row_index = index;
}

static void test_quote(const void *bytes, size_t len)
{
    const unsigned char *p = (const unsigned char *)bytes;
    putchar('"');
    for (size_t i = 0; i < len && i < 100; i++) {
        bool plain = p[i] >= ' ' && p[i] < 127 && p[i] != '"' && p[i] != '\\';
        printf(plain ? "%c" : "\\x%02x", p[i]);
    }
    printf(len > 100 ? "\"..." : "\"");
}

/* Counts a failure and begins its line. False where a loop has said enough already. */
static bool test_fail(const char *file, int line, const char *check)
{
    if (__atomic_add_fetch(&test_failures, 1, __ATOMIC_RELAXED) > 20) {
        return false;
    }
    printf("%s:%d: %s", file, line, check);
    if (test_row_name != NULL) {
        printf(" in row %zu ", test_row_index);
        test_quote(test_row_name, strlen(test_row_name));
    }
    return true;
}

static void test_check(const char *file, int line, const char *check, bool holds)
{
    if (!holds && test_fail(file, line, check)) {
        printf("\n");
    }
}

TEST_UNUSED static void test_check_eq(const char *file, int line, const char *check, long long a,
                                      long long b)
{
    if (a != b && test_fail(file, line, check)) {
        printf(": %lld and %lld\n", a, b);
    }
}

TEST_UNUSED static void test_check_mem(const char *file, int line, const char *check, const void *a,
                                       size_t a_len, const void *b, size_t b_len)
{
    bool same = a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
    if (!same && test_fail(file, line, check)) {
        printf("\n    got  %zu bytes: ", a_len);
        test_quote(a, a_len);
        printf("\n    want %zu bytes: ", b_len);
        test_quote(b, b_len);
        printf("\n");
    }
}

TEST_UNUSED static void test_check_str(const char *file, int line, const char *check, tws_str a,
                                       const char *b)
{
    test_check_mem(file, line, check, a.ptr, a.len, b, strlen(b));
}

#define CHECK(condition) test_check(__FILE__, __LINE__, "CHECK(" #condition ")", (condition))
#define CHECK_EQ(a, b)                                                               \
    test_check_eq(__FILE__, __LINE__, "CHECK_EQ(" #a ", " #b ")", (long long)(a), (long long)(b))
#define CHECK_STR(got, want)                                                         \
    test_check_str(__FILE__, __LINE__, "CHECK_STR(" #got ", " #want ")", (got), (want))
#define CHECK_MEM(got, got_len, want, want_len)                                      \
    test_check_mem(__FILE__, __LINE__, "CHECK_MEM(" #got ", " #want ")", (got), (got_len), \
                   (want), (want_len))

/* -- bytes -- */

static void **test_blocks; /* what test_exact gave the running test */
static size_t test_block_count;

/* A heap copy of exactly n bytes, freed after the test: one byte read beyond it is an error that
 * AddressSanitizer sees. Of no bytes, the end of a block, since malloc(0) has room for one. */
TEST_UNUSED static uint8_t *test_exact(const void *p, size_t n)
{
    uint8_t *block = (uint8_t *)malloc(n > 0 ? n : 1);
    test_blocks = (void **)realloc(test_blocks, (test_block_count + 1) * sizeof *test_blocks);
    if (block == NULL || test_blocks == NULL) {
        abort();
    }
    test_blocks[test_block_count++] = block;
    if (n == 0) {
        return block + 1;
    }
    memcpy(block, p, n);
    return block;
}

static void test_free_blocks(void)
{
    while (test_block_count > 0) {
        free(test_blocks[--test_block_count]);
    }
    free(test_blocks);
    test_blocks = NULL;
}

/* Writes the bytes of a hexadecimal string, blanks ignored, and returns how many. */
TEST_UNUSED static size_t test_hex(const char *hex, uint8_t *out)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    size_t nibbles = 0;
    for (; *hex != '\0'; hex++) {
        const char *digit = strchr(digits, *hex);
        if (digit == NULL) {
            continue;
        }
        unsigned value = (unsigned)(digit - digits) % 16;
        unsigned high = nibbles % 2 == 0 ? 0u : out[nibbles / 2];
        out[nibbles / 2] = (uint8_t)(high * 16 + value);
        nibbles++;
    }
    return nibbles / 2;
}

/* -- an allocator that counts, moves, checks sizes, and fails when told to -- */

typedef union test_header {
    size_t bytes;
    long double align;
    void *pointer;
} test_header;

static size_t test_blocks_live;
static size_t test_bytes_live;
static size_t test_allocations_made;
static size_t test_allocation_to_fail;

/* The n-th allocation from now fails, once; 0: none does. Growing counts as allocating. */
TEST_UNUSED static void test_fail_at(size_t n)
{
    __atomic_store_n(&test_allocation_to_fail, n, __ATOMIC_SEQ_CST);
    __atomic_store_n(&test_allocations_made, 0, __ATOMIC_SEQ_CST);
}

/* Allocations since test_fail_at, the failed one included. */
TEST_UNUSED static size_t test_allocations(void)
{
    return __atomic_load_n(&test_allocations_made, __ATOMIC_SEQ_CST);
}

TEST_UNUSED static size_t test_live_blocks(void)
{
    return __atomic_load_n(&test_blocks_live, __ATOMIC_SEQ_CST);
}

static void test_give_back(void *p, size_t bytes)
{
    test_header *header = (test_header *)p - 1;
    if (header->bytes != bytes) {
        printf("test allocator: a block of %zu bytes came back as %zu\n", header->bytes, bytes);
        abort();
    }
    __atomic_sub_fetch(&test_blocks_live, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&test_bytes_live, bytes, __ATOMIC_SEQ_CST);
    free(header);
}

static void *test_resize(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    test_header *header = NULL;
    (void)context;
    if (new_bytes > 0) {
        size_t nth = __atomic_add_fetch(&test_allocations_made, 1, __ATOMIC_SEQ_CST);
        bool fails = nth == __atomic_load_n(&test_allocation_to_fail, __ATOMIC_SEQ_CST);
        header = fails ? NULL : (test_header *)malloc(sizeof *header + new_bytes);
        if (header == NULL) {
            return NULL;
        }
        header->bytes = new_bytes;
        memset(header + 1, 0xa5, new_bytes); /* nobody may count on zeros here */
        __atomic_add_fetch(&test_blocks_live, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&test_bytes_live, new_bytes, __ATOMIC_SEQ_CST);
    }
    if (p != NULL) {
        if (header != NULL) {
            memcpy(header + 1, p, old_bytes < new_bytes ? old_bytes : new_bytes);
        }
        test_give_back(p, old_bytes);
    }
    return header != NULL ? header + 1 : NULL;
}

/* What is still allocated from it when a test ends fails that test. */
TEST_UNUSED static tws_allocator test_allocator(void)
{
    tws_allocator a = {test_resize, NULL};
    return a;
}

/* -- main -- */

static bool test_run(const test_case *t)
{
    test_failures = 0;
    test_row(NULL, 0);
    test_fail_at(0);
    t->run();
    test_free_blocks();
    if (test_blocks_live > 0) {
        printf("leaked: %zu blocks, %zu bytes\n", test_blocks_live, test_bytes_live);
        test_failures++;
        test_blocks_live = 0;
        test_bytes_live = 0;
    }
    if (test_failures > 0) {
        printf("FAILED (%d): %s\n", test_failures, t->name);
    }
    return test_failures == 0;
}

int main(int argc, char **argv)
{
    int passed = 0;
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    for (const test_case *t = test_first; t != NULL; t = t->next) {
        if (argc > 1 && strstr(t->name, argv[1]) == NULL) {
            continue;
        }
        if (test_run(t)) {
            passed++;
        } else {
            failed++;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}

#endif /* TASKWS_TEST_H */
