/* Section 2: status, alloc. */
#include "test.h"

TEST("every status has words of its own")
{
    for (int a = TWS_OK; a <= TWS_ERR_SYSTEM; a++) {
        const char *text = tws_status_text((tws_status)a);
        CHECK(text != NULL && text[0] != '\0');
        CHECK(strcmp(text, "unknown status") != 0);
        for (int b = TWS_OK; b < a; b++) {
            CHECK(strcmp(text, tws_status_text((tws_status)b)) != 0);
        }
    }
}

TEST("a number that is no status still has words")
{
    CHECK_STR(tws_str_c(tws_status_text((tws_status)15)), "unknown status");
}

static void check_zeroed(const tws_allocator *a)
{
    static const uint8_t zeros[1000];
    uint8_t *p = (uint8_t *)tws_alloc(a, sizeof zeros);
    CHECK(p != NULL);
    if (p != NULL) {
        CHECK_MEM(p, sizeof zeros, zeros, sizeof zeros);
    }
    tws_release(a, p, sizeof zeros);
}

TEST("allocated memory is zeroed whoever gives it")
{
    tws_allocator a = test_allocator(); /* which gives bytes of a5 */
    check_zeroed(&a);
    check_zeroed(NULL);
}

static void check_resize(const tws_allocator *a)
{
    char *p = (char *)tws_resize(a, NULL, 0, 3);
    CHECK(p != NULL);
    memcpy(p, "abc", 3);
    p = (char *)tws_resize(a, p, 3, 5000);
    CHECK_MEM(p, 3, "abc", 3);
    p = (char *)tws_resize(a, p, 5000, 2);
    CHECK_MEM(p, 2, "ab", 2);
    tws_release(a, p, 2);
}

TEST("resizing allocates, keeps what fits, and shrinks")
{
    tws_allocator a = test_allocator();
    check_resize(&a);
    check_resize(NULL);
}

TEST("a refused allocation is NULL, and a refused resize leaves the old block as it was")
{
    tws_allocator a = test_allocator();
    test_fail_at(1);
    CHECK(tws_alloc(&a, 10) == NULL);
    test_fail_at(1);
    CHECK(tws_resize(&a, NULL, 0, 10) == NULL);

    char *p = (char *)tws_alloc(&a, 3);
    memcpy(p, "abc", 3);
    test_fail_at(1);
    CHECK(tws_resize(&a, p, 3, 10) == NULL);
    CHECK_MEM(p, 3, "abc", 3);
    CHECK_EQ(test_live_blocks(), 1);
    tws_release(&a, p, 3);
    CHECK_EQ(test_live_blocks(), 0);
}

typedef struct hook_call {
    void *p;
    size_t old_bytes;
    size_t new_bytes;
    int calls;
} hook_call;

static void *record(void *context, void *p, size_t old_bytes, size_t new_bytes)
{
    hook_call *last = (hook_call *)context;
    last->p = p;
    last->old_bytes = old_bytes;
    last->new_bytes = new_bytes;
    last->calls++;
    return NULL;
}

static void check_call(const hook_call *last, int calls, void *p, size_t old_bytes,
                       size_t new_bytes)
{
    CHECK_EQ(last->calls, calls);
    CHECK(last->p == p);
    CHECK_EQ(last->old_bytes, old_bytes);
    CHECK_EQ(last->new_bytes, new_bytes);
}

TEST("the hook is given its context, the block and both sizes")
{
    hook_call last = {NULL, 0, 0, 0};
    tws_allocator a = {record, &last};
    char block[7];
    tws_alloc(&a, 5);
    check_call(&last, 1, NULL, 0, 5);
    tws_resize(&a, block, 7, 9);
    check_call(&last, 2, block, 7, 9);
    tws_release(&a, block, 7);
    check_call(&last, 3, block, 7, 0);
}

TEST("releasing NULL calls nobody")
{
    hook_call last = {NULL, 0, 0, 0};
    tws_allocator a = {record, &last};
    tws_release(&a, NULL, 0);
    tws_release(NULL, NULL, 0);
    CHECK_EQ(last.calls, 0);
}
