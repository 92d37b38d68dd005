/* Section 3: str, buf. */
#include "test.h"

/* A slice whose bytes end where a heap block ends. */
static tws_str exact(const char *text)
{
    size_t len = strlen(text);
    return tws_str_of((const char *)test_exact(text, len), len);
}

static const tws_str nothing = {NULL, 0};

/* -- slices -- */

TEST("a slice of a C string has its length, and of NULL none")
{
    CHECK_STR(tws_str_c("abc"), "abc");
    CHECK_EQ(tws_str_c("").len, 0);
    CHECK_EQ(tws_str_c(NULL).len, 0);
}

static const struct {
    const char *a;
    const char *b;
    bool same;
    bool same_but_for_case;
} pairs[] = {
    {"", "", true, true},
    {"a", "a", true, true},
    {"a", "", false, false},
    {"a", "A", false, true},
    {"Upgrade", "uPGRADE", false, true},
    {"abc", "abd", false, false},
    {"abc", "abcd", false, false},
    {"@", "`", false, false}, /* the letters' neighbours, as far apart as a letter's two cases */
    {"[", "{", false, false},
    {"\xc3\x84", "\xc3\xa4", false, false}, /* U+00C4 and U+00E4: only ASCII has case */
    {"\xc1", "\xe1", false, false},
};

TEST("slices are equal by their bytes, and without regard to case in ASCII letters alone")
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        test_row(pairs[i].a, i);
        tws_str a = exact(pairs[i].a);
        tws_str b = exact(pairs[i].b);
        CHECK_EQ(tws_str_eq(a, b), pairs[i].same);
        CHECK_EQ(tws_str_eq(b, a), pairs[i].same);
        CHECK_EQ(tws_str_eq_c(a, pairs[i].b), pairs[i].same);
        CHECK_EQ(tws_str_eq_nocase(a, b), pairs[i].same_but_for_case);
        CHECK_EQ(tws_str_eq_nocase(b, a), pairs[i].same_but_for_case);
    }
}

TEST("a NUL is a byte like any other")
{
    CHECK(!tws_str_eq(tws_str_of("a\0b", 3), tws_str_of("a\0c", 3)));
    CHECK(!tws_str_eq_c(tws_str_of("none\0", 5), "none"));
    CHECK(tws_str_eq(tws_str_of("a\0b", 3), tws_str_of("a\0b", 3)));
    CHECK_EQ(tws_str_find(tws_str_of("ab\0c", 4), '\0'), 2);
}

TEST("the empty slice without memory is equal to every empty slice and harmless everywhere")
{
    tws_str rest = nothing;
    tws_str part;
    uint64_t value;
    CHECK(tws_str_eq(nothing, tws_str_c("")));
    CHECK(tws_str_eq_c(nothing, ""));
    CHECK(tws_str_eq_nocase(nothing, tws_str_c("")));
    CHECK(tws_str_starts(nothing, ""));
    CHECK(!tws_str_starts(nothing, "a"));
    CHECK_EQ(tws_str_from(nothing, 0).len, 0);
    CHECK_EQ(tws_str_from(nothing, 1).len, 0);
    CHECK_EQ(tws_str_trim(nothing).len, 0);
    CHECK_EQ(tws_str_find(nothing, 'a'), 0);
    CHECK(!tws_str_split(&rest, ',', &part));
    CHECK(!tws_str_u64(nothing, &value));
}

TEST("a slice starts with its own beginnings only")
{
    tws_str s = exact("Bearer x");
    CHECK(tws_str_starts(s, ""));
    CHECK(tws_str_starts(s, "Bearer "));
    CHECK(tws_str_starts(s, "Bearer x"));
    CHECK(!tws_str_starts(s, "Bearer xy"));
    CHECK(!tws_str_starts(s, "bearer "));
    CHECK(!tws_str_starts(s, "earer"));
}

TEST("from gives the rest, and the empty slice at the end and beyond")
{
    tws_str s = exact("abc");
    CHECK_STR(tws_str_from(s, 0), "abc");
    CHECK_STR(tws_str_from(s, 2), "c");
    CHECK_STR(tws_str_from(s, 3), "");
    CHECK_STR(tws_str_from(s, 4), "");
    CHECK_STR(tws_str_from(s, SIZE_MAX), "");
}

static const struct {
    const char *text;
    const char *trimmed;
} trims[] = {
    {"", ""},          {" ", ""},         {"\t \t", ""},       {"a", "a"},
    {" a", "a"},       {"a\t", "a"},      {" \ta b\t ", "a b"}, {"\ra\n", "\ra\n"},
    {"\va\f", "\va\f"}, {"\xa0" "a", "\xa0" "a"},
};

TEST("trimming takes space and tab from both ends and nothing else")
{
    for (size_t i = 0; i < sizeof trims / sizeof *trims; i++) {
        test_row(trims[i].text, i);
        CHECK_STR(tws_str_trim(exact(trims[i].text)), trims[i].trimmed);
    }
}

TEST("find gives the first place of a byte, or the length")
{
    tws_str s = exact("abcb");
    CHECK_EQ(tws_str_find(s, 'a'), 0);
    CHECK_EQ(tws_str_find(s, 'b'), 1);
    CHECK_EQ(tws_str_find(s, 'c'), 2);
    CHECK_EQ(tws_str_find(s, 'x'), 4);
    CHECK_EQ(tws_str_find(exact("a\xff"), '\xff'), 1);
}

static const struct {
    const char *text;
    const char *parts; /* each in brackets */
} splits[] = {
    {"", ""},
    {"a", "[a]"},
    {"a,b", "[a][b]"},
    {" a ,\tb c ", "[a][b c]"},
    {",", "[]"},
    {",a", "[][a]"},
    {"a,", "[a]"},
    {"a,,b", "[a][][b]"},
    {" ", "[]"},
    {", ,", "[][]"},
};

TEST("splitting gives every part, trimmed, and none behind a final separator")
{
    for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
        test_row(splits[i].text, i);
        char memory[64];
        tws_buf got;
        tws_buf_fixed(&got, memory, sizeof memory);
        tws_str rest = exact(splits[i].text);
        tws_str part;
        while (tws_str_split(&rest, ',', &part)) {
            tws_buf_char(&got, '[');
            tws_buf_str(&got, part);
            tws_buf_char(&got, ']');
        }
        CHECK_STR(tws_buf_view(&got), splits[i].parts);
    }
}

static const struct {
    const char *text;
    bool ok;
    uint64_t value;
} numbers[] = {
    {"0", true, 0},
    {"7", true, 7},
    {"007", true, 7},
    {"10", true, 10},
    {"4294967296", true, 4294967296u},
    {"18446744073709551614", true, UINT64_MAX - 1},
    {"18446744073709551615", true, UINT64_MAX},
    {"000018446744073709551615", true, UINT64_MAX},
    {"18446744073709551616", false, 0},
    {"18446744073709551620", false, 0},
    {"28446744073709551615", false, 0},
    {"184467440737095516150", false, 0},
    {"99999999999999999999999999", false, 0},
    {"", false, 0},
    {"-5", false, 0},
    {"+5", false, 0},
    {"5,5", false, 0},
    {"1_0", false, 0},
    {"0x5", false, 0},
    {" 5", false, 0},
    {"5 ", false, 0},
    {"5.", false, 0},
    {"/", false, 0},
    {":", false, 0},
    {"\xb2", false, 0}, /* superscript two in Latin-1 */
};

TEST("a number is digits only and fits 64 bits; else the value is left alone")
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        test_row(numbers[i].text, i);
        uint64_t value = 4711;
        CHECK_EQ(tws_str_u64(exact(numbers[i].text), &value), numbers[i].ok);
        CHECK_EQ(value, numbers[i].ok ? numbers[i].value : 4711);
    }
    uint64_t value;
    CHECK(!tws_str_u64(tws_str_of("5\0", 2), &value));
}

/* -- buffers -- */

TEST("a new buffer is empty and owns nothing")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 100);
    CHECK_EQ(tws_buf_view(&b).len, 0);
    CHECK_EQ(b.status, TWS_OK);
    CHECK_EQ(test_allocations(), 0);
    tws_buf_free(&b);
}

TEST("appends stand one behind the other")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 1000);
    tws_buf_c(&b, "a");
    tws_buf_put(&b, "bc", 2);
    tws_buf_put(&b, NULL, 0);
    tws_buf_str(&b, tws_str_c("def"));
    tws_buf_str(&b, nothing);
    tws_buf_char(&b, ' ');
    tws_buf_u64(&b, 42);
    tws_buf_char(&b, '\0');
    CHECK_EQ(b.status, TWS_OK);
    CHECK_MEM(b.ptr, b.len, "abcdef 42\0", 10);
    tws_buf_free(&b);
}

TEST("growth keeps the content, doubles, and so allocates a few times only")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 1u << 20);
    for (size_t i = 0; i < 1u << 20; i++) {
        tws_buf_char(&b, (char)(i * 7 % 251));
    }
    CHECK_EQ(b.status, TWS_OK);
    CHECK_EQ(b.len, 1u << 20);
    CHECK(test_allocations() <= 20);
    for (size_t i = 0; i < b.len; i++) {
        CHECK_EQ((uint8_t)b.ptr[i], i * 7 % 251);
    }
    tws_buf_free(&b);
}

TEST("the cap is exact, sticky, and takes nothing of what does not fit whole")
{
    for (size_t max = 0; max < 200; max++) {
        test_row("max", max);
        tws_allocator a = test_allocator();
        tws_buf b;
        tws_buf_init(&b, &a, max);
        for (size_t i = 0; i < max; i++) {
            tws_buf_char(&b, 'x');
        }
        CHECK_EQ(b.status, TWS_OK);
        CHECK_EQ(b.len, max);
        CHECK_EQ(b.cap, max);
        tws_buf_c(&b, "y");
        CHECK_EQ(b.status, TWS_ERR_LIMIT);
        CHECK_EQ(b.len, max);
        tws_buf_put(&b, NULL, 0);
        CHECK_EQ(b.status, TWS_ERR_LIMIT);
        tws_buf_free(&b);
    }
}

TEST("after an append that did not fit, one that would is refused too")
{
    char memory[8];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_c(&b, "abcd");
    tws_buf_c(&b, "too long");
    tws_buf_c(&b, "e");
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
    CHECK(tws_buf_reserve(&b, 1) == NULL);
    CHECK_STR(tws_buf_view(&b), "abcd");
    tws_buf_clear(&b);
    CHECK_EQ(b.status, TWS_OK);
    tws_buf_c(&b, "12345678");
    CHECK_STR(tws_buf_view(&b), "12345678");
}

TEST("a length near SIZE_MAX is over the limit, not around the corner")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, SIZE_MAX);
    tws_buf_c(&b, "abc");
    test_fail_at(1); /* so that no allocator is asked in earnest */
    CHECK(tws_buf_reserve(&b, SIZE_MAX - 3) == NULL);
    CHECK_EQ(b.status, TWS_ERR_MEMORY);
    tws_buf_clear(&b);
    tws_buf_c(&b, "abc");
    CHECK(tws_buf_reserve(&b, SIZE_MAX - 2) == NULL);
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
    CHECK_STR(tws_buf_view(&b), "abc");
    tws_buf_free(&b);
}

TEST("when the n-th allocation fails, what was there stands and nothing leaks")
{
    tws_allocator a = test_allocator();
    size_t n = 0;
    tws_status status = TWS_ERR_MEMORY;
    while (status == TWS_ERR_MEMORY) {
        tws_buf b;
        test_row("n", ++n);
        test_fail_at(n);
        tws_buf_init(&b, &a, 100000);
        size_t whole = 0;
        for (uint64_t i = 0; i < 2000; i++) {
            tws_buf_u64(&b, 1000 + i);
            whole += b.status == TWS_OK ? 4 : 0;
        }
        status = b.status;
        CHECK_EQ(b.len, whole);
        for (size_t i = 0; i + 4 <= b.len; i += 4) {
            uint64_t value = 0;
            CHECK(tws_str_u64(tws_str_of(b.ptr + i, 4), &value) && value == 1000 + i / 4);
        }
        tws_buf_free(&b);
        CHECK_EQ(test_live_blocks(), 0);
    }
    CHECK_EQ(status, TWS_OK);
    CHECK(n > 3);
}

TEST("a buffer over the caller's memory fills it to the last byte and frees nothing")
{
    char *memory = (char *)test_exact("........", 8);
    tws_buf b;
    tws_buf_fixed(&b, memory, 8);
    tws_buf_c(&b, "1234567");
    tws_buf_char(&b, '8');
    CHECK_EQ(b.status, TWS_OK);
    CHECK_MEM(memory, 8, "12345678", 8);
    tws_buf_free(&b);
    CHECK_EQ(b.len, 0);
    tws_buf_c(&b, "again");
    CHECK_MEM(memory, 8, "again678", 8);
}

TEST("a buffer over no memory takes nothing but nothing")
{
    tws_buf b;
    tws_buf_fixed(&b, NULL, 0);
    tws_buf_c(&b, "");
    tws_buf_consume(&b, 0);
    CHECK_EQ(b.status, TWS_OK);
    tws_buf_char(&b, 'x');
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
    CHECK_EQ(b.len, 0);
}

TEST("reserved room is counted only by add")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 1000);
    CHECK(tws_buf_reserve(&b, 0) == NULL);
    CHECK_EQ(b.status, TWS_OK);
    char *to = tws_buf_reserve(&b, 500);
    CHECK(to != NULL);
    memset(to, 'x', 500);
    CHECK_EQ(b.len, 0);
    tws_buf_add(&b, 2);
    CHECK_STR(tws_buf_view(&b), "xx");
    CHECK(tws_buf_reserve(&b, 498) == to + 2);
    tws_buf_free(&b);
}

TEST("a freed buffer is empty, in order, and grows again up to the same cap")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 4);
    tws_buf_c(&b, "12345");
    CHECK_EQ(b.status, TWS_ERR_LIMIT);
    for (int i = 0; i < 2; i++) {
        tws_buf_free(&b);
        CHECK_EQ(b.status, TWS_OK);
        CHECK_EQ(b.len, 0);
        CHECK_EQ(test_live_blocks(), 0);
    }
    tws_buf_c(&b, "1234");
    CHECK_STR(tws_buf_view(&b), "1234");
    tws_buf_free(&b);
}

TEST("clear keeps the memory")
{
    tws_allocator a = test_allocator();
    tws_buf b;
    tws_buf_init(&b, &a, 1000);
    tws_buf_c(&b, "abc");
    tws_buf_clear(&b);
    tws_buf_c(&b, "de");
    CHECK_STR(tws_buf_view(&b), "de");
    CHECK_EQ(test_allocations(), 1);
    tws_buf_free(&b);
}

TEST("consume drops the front and keeps the rest, for every count")
{
    for (size_t n = 0; n <= 6; n++) {
        test_row("n", n);
        char memory[6];
        tws_buf b;
        tws_buf_fixed(&b, memory, sizeof memory);
        tws_buf_c(&b, "abcdef");
        tws_buf_consume(&b, n);
        CHECK_STR(tws_buf_view(&b), &"abcdef"[n]);
    }
}

static const struct {
    int64_t value;
    const char *text;
} decimals[] = {
    {0, "0"},
    {9, "9"},
    {10, "10"},
    {-1, "-1"},
    {-10, "-10"},
    {1234567890, "1234567890"},
    {INT64_MAX, "9223372036854775807"},
    {INT64_MIN + 1, "-9223372036854775807"},
    {INT64_MIN, "-9223372036854775808"},
};

TEST("integers are written in decimal to their very ends, whole or not at all")
{
    for (size_t i = 0; i < sizeof decimals / sizeof *decimals; i++) {
        test_row(decimals[i].text, i);
        size_t len = strlen(decimals[i].text);
        char memory[32];
        tws_buf b;
        tws_buf_fixed(&b, memory, len);
        tws_buf_i64(&b, decimals[i].value);
        CHECK_STR(tws_buf_view(&b), decimals[i].text);
        tws_buf_fixed(&b, memory, len - 1);
        tws_buf_i64(&b, decimals[i].value);
        CHECK_EQ(b.status, TWS_ERR_LIMIT);
        CHECK_EQ(b.len, 0);
    }
    char memory[20];
    tws_buf b;
    tws_buf_fixed(&b, memory, sizeof memory);
    tws_buf_u64(&b, UINT64_MAX);
    CHECK_STR(tws_buf_view(&b), "18446744073709551615");
}

TEST("every power of ten and its neighbours survive writing and reading")
{
    uint64_t power = 1;
    for (int digits = 1; digits <= 20; digits++) {
        for (uint64_t value = power - 1; value != power + 2; value++) {
            char memory[20];
            tws_buf b;
            uint64_t back = 0;
            tws_buf_fixed(&b, memory, sizeof memory);
            tws_buf_u64(&b, value);
            CHECK(tws_str_u64(tws_buf_view(&b), &back));
            CHECK_EQ(back, value);
        }
        power *= 10;
    }
}
