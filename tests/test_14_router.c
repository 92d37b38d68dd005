/* test_14_router.c: the route table, and the mistakes that it refuses. */
#include "test.h"

static char test_value; /* routes need something to point to */

static tws_status add(tws_router *r, const char *method, const char *pattern)
{
    return tws_router_add(r, method, pattern, &test_value, NULL);
}

static tws_router_match find(const tws_router *r, const char *method, const char *path)
{
    tws_router_match m;
    size_t len = strlen(path);
    tws_router_find(r, tws_str_c(method), tws_str_of((char *)test_exact(path, len), len), &m);
    return m;
}

/* The routes of the product. */
static void add_product(tws_router *r, const tws_allocator *a)
{
    tws_router_init(r, a);
    CHECK_EQ(add(r, "GET", "/api/v1/ws/tasks/{user_id}"), TWS_OK);
    CHECK_EQ(add(r, "POST", "/api/v1/ws/tasks/{user_id}"), TWS_OK);
    CHECK_EQ(add(r, "GET", "/api/v1/ws/status"), TWS_OK);
    CHECK_EQ(add(r, "GET", "/health"), TWS_OK);
    CHECK_EQ(add(r, "GET", "/"), TWS_OK);
}

TEST("a path leads to its route, and to no other")
{
    static const struct {
        const char *method, *path;
        const char *pattern; /* NULL: none */
        bool known;
        const char *param; /* NULL: none */
    } row[] = {
        {"GET", "/api/v1/ws/tasks/2", "/api/v1/ws/tasks/{user_id}", true, "2"},
        {"GET", "/api/v1/ws/tasks/a%2Fb", "/api/v1/ws/tasks/{user_id}", true, "a%2Fb"},
        {"GET", "/api/v1/ws/tasks/%7Bx%7D", "/api/v1/ws/tasks/{user_id}", true, "%7Bx%7D"},
        {"POST", "/api/v1/ws/tasks/2", "/api/v1/ws/tasks/{user_id}", true, "2"},
        {"HEAD", "/api/v1/ws/tasks/2", "/api/v1/ws/tasks/{user_id}", true, "2"},
        {"GET", "/api/v1/ws/status", "/api/v1/ws/status", true, NULL},
        {"GET", "/health", "/health", true, NULL},
        {"GET", "/", "/", true, NULL},
        {"HEAD", "/", "/", true, NULL},
        {"DELETE", "/api/v1/ws/tasks/2", NULL, true, NULL},
        {"get", "/health", NULL, true, NULL},
        {"", "/health", NULL, true, NULL},
        {"GE", "/health", NULL, true, NULL},
        {"GET", "/api/v1/ws/tasks/", NULL, false, NULL},
        {"GET", "/api/v1/ws/tasks", NULL, false, NULL},
        {"GET", "/api/v1/ws/tasks/2/", NULL, false, NULL},
        {"GET", "/api/v1/ws/tasks//2", NULL, false, NULL},
        {"GET", "/api/v1/ws//tasks/2", NULL, false, NULL},
        {"GET", "/api/v1/ws/tasks/2/3", NULL, false, NULL},
        {"GET", "/api/v1/ws/Status", NULL, false, NULL},
        {"GET", "/api/v1/ws/statu", NULL, false, NULL},
        {"GET", "/api/v1/ws/status2", NULL, false, NULL},
        {"GET", "/api/v1", NULL, false, NULL},
        {"GET", "/health/", NULL, false, NULL},
        {"GET", "//health", NULL, false, NULL},
        {"GET", "//", NULL, false, NULL},
        {"GET", "health", NULL, false, NULL},
        {"OPTIONS", "*", NULL, false, NULL},
        {"GET", "", NULL, false, NULL},
    };
    tws_router r;
    add_product(&r, NULL);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_router_match m = find(&r, row[i].method, row[i].path);
        test_row(row[i].path, i);
        CHECK_EQ(m.entry != NULL, row[i].pattern != NULL);
        CHECK_EQ(m.path_known, row[i].known);
        if (m.entry != NULL) {
            CHECK_STR(tws_str_c(m.entry->pattern), row[i].pattern);
            CHECK(m.entry->value == &test_value);
            CHECK_EQ(m.param_count, row[i].param != NULL);
        }
        if (row[i].param != NULL) {
            CHECK_STR(m.param[0], row[i].param);
        }
    }
    tws_router_free(&r);
}

TEST("a literal segment wins over a parameter, from the left, in any order of registration")
{
    static const char *const pattern[] = {"/{x}/{y}", "/{x}/b", "/a/{y}", "/a/b",
                                          "/{longer}/c/{z}"};
    static const struct {
        const char *path, *pattern;
        size_t params;
    } row[] = {
        {"/a/b", "/a/b", 0},      {"/a/c", "/a/{y}", 1},   {"/c/b", "/{x}/b", 1},
        {"/c/d", "/{x}/{y}", 2},  {"/a/c/d", "/{longer}/c/{z}", 2},
    };
    const size_t patterns = sizeof pattern / sizeof *pattern;
    for (size_t first = 0; first < 2 * patterns; first++) {
        tws_router r;
        tws_router_init(&r, NULL);
        for (size_t i = 0; i < patterns; i++) { /* rotated, forwards and backwards */
            size_t at = (first + i) % patterns;
            CHECK_EQ(add(&r, "GET", pattern[first < patterns ? at : patterns - 1 - at]), TWS_OK);
        }
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            tws_router_match m = find(&r, "GET", row[i].path);
            test_row(row[i].path, first * 100 + i);
            CHECK(m.entry != NULL);
            CHECK_STR(tws_str_c(m.entry != NULL ? m.entry->pattern : NULL), row[i].pattern);
            CHECK_EQ(m.param_count, row[i].params);
        }
        tws_router_free(&r);
    }
}

TEST("a literal of another method does not hide a parameter of this one")
{
    tws_router r;
    tws_router_match m;
    tws_router_init(&r, NULL);
    CHECK_EQ(add(&r, "POST", "/tasks/all"), TWS_OK);
    CHECK_EQ(add(&r, "GET", "/tasks/{id}"), TWS_OK);
    m = find(&r, "GET", "/tasks/all");
    CHECK(m.entry != NULL && strcmp(m.entry->pattern, "/tasks/{id}") == 0);
    CHECK_EQ(m.param_count, 1);
    CHECK_STR(m.param[0], "all");
    tws_router_free(&r);
}

TEST("HEAD has its own route where one is registered, otherwise that of GET, and none without")
{
    static char own;
    tws_router r;
    tws_router_init(&r, NULL);
    CHECK_EQ(add(&r, "GET", "/a"), TWS_OK);
    CHECK_EQ(tws_router_add(&r, "HEAD", "/a", &own, NULL), TWS_OK);
    CHECK_EQ(add(&r, "GET", "/b"), TWS_OK);
    CHECK_EQ(add(&r, "POST", "/c"), TWS_OK);
    CHECK(find(&r, "HEAD", "/a").entry->value == &own);
    CHECK(find(&r, "GET", "/a").entry->value == &test_value);
    CHECK(find(&r, "HEAD", "/b").entry->value == &test_value);
    CHECK(find(&r, "HEAD", "/c").entry == NULL);
    CHECK(find(&r, "HEAD", "/c").path_known);
    tws_router_free(&r);
}

TEST("four parameters come out in order")
{
    tws_router r;
    tws_router_match m;
    tws_router_init(&r, NULL);
    CHECK_EQ(add(&r, "GET", "/{a}/{b}/x/{c}/{d}"), TWS_OK);
    m = find(&r, "GET", "/1/22/x/333/4444");
    CHECK_EQ(m.param_count, 4);
    CHECK_STR(m.param[0], "1");
    CHECK_STR(m.param[1], "22");
    CHECK_STR(m.param[2], "333");
    CHECK_STR(m.param[3], "4444");
    tws_router_free(&r);
}

TEST("a duplicate, a doubled prefix and a malformed route are refused, and both are named")
{
    static const struct {
        const char *method, *pattern;
        tws_status status;
        const char *error;
    } row[] = {
        {"GET", "/health", TWS_ERR_EXISTS, "GET /health: is registered already as GET /health"},
        {"GET", "/api/v1/ws/tasks/{id}", TWS_ERR_EXISTS,
         "GET /api/v1/ws/tasks/{id}: is registered already as GET /api/v1/ws/tasks/{user_id}"},
        {"GET", "/", TWS_ERR_EXISTS, "GET /: is registered already as GET /"},
        {"GET", "/api/v1/api/v1/ws/tasks/{user_id}", TWS_ERR_EXISTS,
         "GET /api/v1/api/v1/ws/tasks/{user_id}: begins twice with /api/v1"},
        {"GET", "/api/v1/ws/api/v1/ws/status", TWS_ERR_EXISTS,
         "GET /api/v1/ws/api/v1/ws/status: begins twice with /api/v1/ws"},
        {"GET", "/a/b/a/b", TWS_ERR_EXISTS, "GET /a/b/a/b: begins twice with /a/b"},
        {"GET", "/a/b/a/b/", TWS_ERR_EXISTS, "GET /a/b/a/b/: begins twice with /a/b"},
        {"GET", "/{tenant}/ws/{tenant}/ws/x", TWS_ERR_EXISTS,
         "GET /{tenant}/ws/{tenant}/ws/x: begins twice with /{tenant}/ws"},
        {"GET", "/api/api/v2", TWS_ERR_EXISTS,
         "GET /api/api/v2: begins twice with the prefix of GET /api/v1/ws/tasks/{user_id}"},
        {"POST", "/health/health", TWS_ERR_EXISTS,
         "POST /health/health: begins twice with the prefix of GET /health"},
        {"GET", "/echo/new", TWS_ERR_EXISTS,
         "GET /echo/echo: begins twice with the prefix of GET /echo/new"},
        {"GET", "tasks", TWS_ERR_ARGUMENT, "GET tasks: a pattern begins with /"},
        {"GET", "", TWS_ERR_ARGUMENT, "GET : a pattern begins with /"},
        {"GET", "//", TWS_ERR_ARGUMENT, "GET //: an empty segment, //"},
        {"GET", "/x//y", TWS_ERR_ARGUMENT, "GET /x//y: an empty segment, //"},
        {"GET", "/x/{}", TWS_ERR_ARGUMENT, "GET /x/{}: a parameter is a whole segment, {name}"},
        {"GET", "/x/{", TWS_ERR_ARGUMENT, "GET /x/{: a parameter is a whole segment, {name}"},
        {"GET", "/x/{id", TWS_ERR_ARGUMENT, "GET /x/{id: a parameter is a whole segment, {name}"},
        {"GET", "/x/{id}.json", TWS_ERR_ARGUMENT,
         "GET /x/{id}.json: a parameter is a whole segment, {name}"},
        {"GET", "/x/{a-b}", TWS_ERR_ARGUMENT,
         "GET /x/{a-b}: a parameter's name is letters, digits and _"},
        {"GET", "/x/v{id}", TWS_ERR_ARGUMENT, "GET /x/v{id}: a character that no path may hold"},
        {"GET", "/x/id}", TWS_ERR_ARGUMENT, "GET /x/id}: a character that no path may hold"},
        {"GET", "/?x", TWS_ERR_ARGUMENT, "GET /?x: a character that no path may hold"},
        {"GET", "/x/{a[b}", TWS_ERR_ARGUMENT,
         "GET /x/{a[b}: a parameter's name is letters, digits and _"},
        {"GET", "/{azAZ09_}/x", TWS_OK, ""},
        {"GET", "/x y", TWS_ERR_ARGUMENT, "GET /x y: a character that no path may hold"},
        {"GET", "/x?y", TWS_ERR_ARGUMENT, "GET /x?y: a character that no path may hold"},
        {"GET", "/x#y", TWS_ERR_ARGUMENT, "GET /x#y: a character that no path may hold"},
        {"GET", "/x\"y", TWS_ERR_ARGUMENT, "GET /x\"y: a character that no path may hold"},
        {"GET", "/x\\y", TWS_ERR_ARGUMENT, "GET /x\\y: a character that no path may hold"},
        {"GET", "/x/./y", TWS_ERR_ARGUMENT,
         "GET /x/./y: a segment . or .., which clients resolve"},
        {"GET", "/x/..", TWS_ERR_ARGUMENT, "GET /x/..: a segment . or .., which clients resolve"},
        {"GET", "/x/...", TWS_OK, ""},
        {"GET", "/.well-known/x", TWS_OK, ""},
        {"GET", "/\xc3\xa9", TWS_ERR_ARGUMENT, "GET /\xc3\xa9: a character that no path may hold"},
        {"GET", "/{a}/{b}/{c}/{d}/{e}", TWS_ERR_ARGUMENT,
         "GET /{a}/{b}/{c}/{d}/{e}: too many parameters"},
        {"get", "/x", TWS_ERR_ARGUMENT, "get /x: a method is upper-case letters"},
        {"", "/x", TWS_ERR_ARGUMENT, " /x: the method is empty"},
        {"GET", "/echo/echo/x", TWS_OK, ""}, /* no route shows that /echo is a prefix */
        {"POST", "/echo/echo", TWS_OK, ""},
        {"GET", "/a/b/a", TWS_OK, ""},
        {"GET", "/b/a/b/c", TWS_OK, ""},
        {"GET", "/health/", TWS_OK, ""},
        {"PUT", "/health", TWS_OK, ""},
        {"GET", "/api/v1/ws/{user_id}", TWS_OK, ""},
        {"M-SEARCH", "/x/{a}/{b_1}/{c}/{d}", TWS_OK, ""},
    };
    tws_router r;
    add_product(&r, NULL);
    CHECK_EQ(add(&r, "GET", "/echo/echo"), TWS_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t count = r.count;
        tws_buf error;
        tws_buf_init(&error, NULL, 1000);
        test_row(row[i].pattern, i);
        CHECK_EQ(tws_router_add(&r, row[i].method, row[i].pattern, NULL, &error), row[i].status);
        CHECK_STR(tws_buf_view(&error), row[i].error);
        CHECK_EQ(r.count, count + (row[i].status == TWS_OK));
        tws_buf_free(&error);
    }
    CHECK_EQ(add(&r, "GET", "/health"), TWS_ERR_EXISTS); /* and without asking for the sentence */
    tws_router_free(&r);
}

TEST("the table keeps its own copies of method and pattern")
{
    char method[] = "GET";
    char pattern[] = "/tasks/{id}";
    tws_router r;
    tws_router_init(&r, NULL);
    CHECK_EQ(add(&r, method, pattern), TWS_OK);
    memset(method, 'x', sizeof method - 1);
    memset(pattern, 'x', sizeof pattern - 1);
    CHECK(find(&r, "GET", "/tasks/1").entry != NULL);
    tws_router_free(&r);
}

TEST("Allow lists every method of a path once, HEAD beside GET")
{
    static const struct {
        const char *path, *allow;
    } row[] = {
        {"/api/v1/ws/tasks/2", "GET, HEAD, POST"}, {"/health", "GET, HEAD"},
        {"/tasks/all", "HEAD, GET, DELETE"},       {"/tasks/1", "GET, HEAD, DELETE"},
        {"/post", "POST"},                         {"/nowhere", ""},
        {"*", ""},                                 {"/api/v1/ws/tasks/", ""},
    };
    tws_router r;
    add_product(&r, NULL);
    CHECK_EQ(add(&r, "HEAD", "/tasks/all"), TWS_OK);
    CHECK_EQ(add(&r, "GET", "/tasks/{id}"), TWS_OK);
    CHECK_EQ(add(&r, "GET", "/tasks/all"), TWS_OK);
    CHECK_EQ(add(&r, "DELETE", "/tasks/{id}"), TWS_OK);
    CHECK_EQ(add(&r, "POST", "/post"), TWS_OK);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        tws_buf out;
        tws_buf_init(&out, NULL, 1000);
        tws_buf_c(&out, "Allow: ");
        test_row(row[i].path, i);
        tws_router_allow(&r, tws_str_c(row[i].path), &out);
        CHECK_STR(tws_str_from(tws_buf_view(&out), 7), row[i].allow);
        tws_buf_free(&out);
    }
    tws_router_free(&r);
}

TEST("the table prints a line for each route, in the order of registration")
{
    char small[20];
    tws_router r;
    tws_buf out;
    add_product(&r, NULL);
    CHECK_EQ(add(&r, "VERSION-CONTROL", "/x"), TWS_OK);
    tws_buf_init(&out, NULL, 1000);
    tws_router_print(&r, &out);
    CHECK_STR(tws_buf_view(&out), "GET     /api/v1/ws/tasks/{user_id}\n"
                                  "POST    /api/v1/ws/tasks/{user_id}\n"
                                  "GET     /api/v1/ws/status\n"
                                  "GET     /health\n"
                                  "GET     /\n"
                                  "VERSION-CONTROL /x\n");
    tws_buf_free(&out);
    for (size_t cap = 0; cap <= sizeof small; cap++) { /* too little room ends, and is reported */
        tws_buf_fixed(&out, small, cap);
        tws_router_print(&r, &out);
        CHECK_EQ(out.status, TWS_ERR_LIMIT);
    }
    tws_router_free(&r);
}

TEST("an empty table knows no path, and is freed as often as one likes")
{
    tws_router r;
    tws_buf out;
    tws_router_init(&r, NULL);
    tws_buf_init(&out, NULL, 100);
    CHECK(find(&r, "GET", "/").entry == NULL);
    CHECK(!find(&r, "GET", "/").path_known);
    tws_router_allow(&r, tws_str_c("/"), &out);
    tws_router_print(&r, &out);
    CHECK_EQ(out.len, 0);
    tws_router_free(&r);
    tws_router_free(&r);
}

TEST("an allocation that fails leaves the table as it was, and adding may be tried again")
{
    tws_allocator a = test_allocator();
    for (size_t n = 1;; n++) {
        tws_router r;
        char pattern[32], memory[100];
        tws_buf error;
        bool met = false;
        tws_router_init(&r, &a);
        tws_buf_fixed(&error, memory, sizeof memory);
        test_fail_at(n);
        for (size_t i = 0; i < 40; i++) { /* grows the list twice */
            snprintf(pattern, sizeof pattern, "/p%zu/{id}", i);
            if (tws_router_add(&r, "GET", pattern, &test_value, &error) != TWS_OK) {
                met = true;
                CHECK(error.len > 9 && memcmp(error.ptr + error.len - 9, "no memory", 9) == 0);
                CHECK_EQ(r.count, i);
                CHECK(find(&r, "GET", "/p0/1").entry != NULL || i == 0);
                CHECK_EQ(add(&r, "GET", pattern), TWS_OK);
            }
        }
        test_fail_at(0);
        CHECK_EQ(r.count, 40);
        CHECK(find(&r, "GET", "/p39/1").entry != NULL);
        tws_router_free(&r);
        if (!met) {
            CHECK(n > 40);
            break;
        }
    }
}
