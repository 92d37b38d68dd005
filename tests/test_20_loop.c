/* test_20_loop.c: readiness, timers and wake-ups of one loop, on whichever backend is compiled. */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <sys/time.h>
#include <unistd.h>

/* Between any two steps of the loop another thread may run: here is a place to let it. */
static ssize_t read_with_others(int fd, void *p, size_t n);
#define read(fd, p, n) read_with_others(fd, p, n)
#include "test.h"
#undef read

static void (*before_read)(void), (*after_read)(void);

static ssize_t read_with_others(int fd, void *p, size_t n)
{
    if (before_read != NULL) {
        before_read();
    }
    ssize_t got = read(fd, p, n);
    if (after_read != NULL) {
        after_read();
    }
    return got;
}

/* -- a loop, and pairs of sockets in it -- */

typedef struct pair {
    tws_watch watch; /* of fd[0] */
    int fd[2];
    unsigned seen; /* events of the last wait */
} pair;

typedef struct world {
    tws_allocator allocator;
    tws_loop *l;
    uint64_t now_ms;
    tws_ready ready[TWS_LOOP_READY];
    size_t count;
} world;

static world *make(void)
{
    world *w = (world *)calloc(1, sizeof *w);
    w->allocator = test_allocator();
    w->l = tws_loop_create(&w->allocator);
    CHECK(w->l != NULL);
    w->now_ms = tws_sys_now_ms();
    return w;
}

static void unmake(world *w)
{
    tws_loop_free(w->l);
    free(w);
}

static void pair_open(pair *p)
{
    memset(p, 0, sizeof *p);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd) == 0);
    tws__sys_nonblocking(p->fd[0]);
    tws__sys_nonblocking(p->fd[1]);
    p->watch.fd = -1;
}

static void pair_close(pair *p)
{
    close(p->fd[0]);
    close(p->fd[1]);
}

static void pair_poke(const pair *p)
{
    CHECK_EQ(write(p->fd[1], "x", 1), 1);
}

static void pair_read(const pair *p)
{
    char sink[256];
    CHECK(read(p->fd[0], sink, sizeof sink) > 0);
}

static pair *pair_of(const tws_ready *r)
{
    return (pair *)(void *)((char *)r->watch - offsetof(pair, watch));
}

/* One wait; afterwards each pair knows what was reported of it. */
static size_t wait_for(world *w, int timeout_ms, pair *p, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        p[i].seen = 0;
    }
    w->count = tws_loop_wait(w->l, timeout_ms, w->ready, &w->now_ms);
    for (size_t i = 0; i < w->count; i++) {
        CHECK_EQ(pair_of(&w->ready[i])->seen, 0); /* reported once */
        pair_of(&w->ready[i])->seen = w->ready[i].events;
    }
    return w->count;
}

static bool readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

static bool is_epoll(void)
{
    return strcmp(tws_loop_backend(), "epoll") == 0;
}

static size_t descriptors(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* -- readiness -- */

TEST("the backend has a name")
{
    bool known = is_epoll() || strcmp(tws_loop_backend(), "poll") == 0;
    CHECK(known);
    printf("# the backend is %s\n", tws_loop_backend());
}

TEST("a watch reports what it wants and the socket has, again and again, and nothing else")
{
    static const struct {
        const char *name;
        unsigned want;
        bool poked;
        unsigned events;
    } row[] = {
        {"nothing wanted", 0, true, 0},
        {"read wanted, nothing there", TWS_READ, false, 0},
        {"read wanted, bytes there", TWS_READ, true, TWS_READ},
        {"write wanted", TWS_WRITE, true, TWS_WRITE},
        {"both wanted, nothing to read", TWS_READ | TWS_WRITE, false, TWS_WRITE},
        {"both wanted, both there", TWS_READ | TWS_WRITE, true, TWS_READ | TWS_WRITE},
    };
    world *w = make();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        pair p[1];
        test_row(row[i].name, i);
        pair_open(p);
        if (row[i].poked) {
            pair_poke(p);
        }
        CHECK_EQ(tws_loop_add(w->l, &p->watch, p->fd[0], row[i].want), TWS_OK);
        for (int k = 0; k < 3; k++) {
            CHECK_EQ(wait_for(w, 0, p, 1), row[i].events != 0);
            CHECK_EQ(p->seen, row[i].events);
        }
        tws_loop_want(w->l, &p->watch, 0);
        CHECK_EQ(wait_for(w, 0, p, 1), 0);
        tws_loop_want(w->l, &p->watch, row[i].want);
        wait_for(w, 0, p, 1);
        CHECK_EQ(p->seen, row[i].events);
        tws_loop_remove(w->l, &p->watch);
        CHECK_EQ(p->watch.fd, -1);
        CHECK_EQ(wait_for(w, 0, p, 1), 0);
        pair_close(p);
    }
    unmake(w);
}

TEST("a full socket is not ready for writing until its peer reads")
{
    static char block[65536], sink[65536];
    world *w = make();
    pair p[1];
    pair_open(p);
    CHECK_EQ(tws_loop_add(w->l, &p->watch, p->fd[0], TWS_WRITE), TWS_OK);
    while (send(p->fd[0], block, sizeof block, MSG_NOSIGNAL) > 0) {
    }
    CHECK_EQ(wait_for(w, 0, p, 1), 0);
    while (recv(p->fd[1], sink, sizeof sink, 0) > 0) {
    }
    wait_for(w, 5000, p, 1);
    CHECK_EQ(p->seen, TWS_WRITE);
    tws_loop_remove(w->l, &p->watch);
    pair_close(p);
    unmake(w);
}

TEST("a hang-up is reported as both, even where nothing is wanted")
{
    for (unsigned want = 0; want <= (TWS_READ | TWS_WRITE); want++) {
        world *w = make();
        pair p[1];
        test_row("want", want);
        pair_open(p);
        CHECK_EQ(tws_loop_add(w->l, &p->watch, p->fd[0], want), TWS_OK);
        close(p->fd[1]);
        CHECK_EQ(wait_for(w, 5000, p, 1), 1);
        CHECK_EQ(p->seen, TWS_READ | TWS_WRITE);
        tws_loop_remove(w->l, &p->watch);
        close(p->fd[0]);
        unmake(w);
    }
}

TEST("a removed watch may be removed and asked again without effect, and added again")
{
    world *w = make();
    pair p[1];
    pair_open(p);
    pair_poke(p);
    tws_loop_remove(w->l, &p->watch);
    tws_loop_want(w->l, &p->watch, TWS_READ);
    CHECK_EQ(wait_for(w, 0, p, 1), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(tws_loop_add(w->l, &p->watch, p->fd[0], TWS_READ), TWS_OK);
        CHECK_EQ(wait_for(w, 0, p, 1), 1);
        tws_loop_remove(w->l, &p->watch);
        tws_loop_remove(w->l, &p->watch);
        CHECK_EQ(wait_for(w, 0, p, 1), 0);
    }
    pair_close(p);
    unmake(w);
}

TEST("of two that are ready at once the second knows it when the first has removed it")
{
    world *w = make();
    pair p[2];
    for (size_t i = 0; i < 2; i++) {
        pair_open(&p[i]);
        pair_poke(&p[i]);
        CHECK_EQ(tws_loop_add(w->l, &p[i].watch, p[i].fd[0], TWS_READ), TWS_OK);
    }
    CHECK_EQ(wait_for(w, 0, p, 2), 2);
    pair *second = pair_of(&w->ready[1]);
    tws_loop_remove(w->l, &second->watch); /* by whoever handles ready[0] */
    CHECK_EQ(w->ready[1].watch->fd, -1);
    CHECK(w->ready[0].watch->fd >= 0);
    CHECK_EQ(wait_for(w, 0, p, 2), 1);
    CHECK_EQ(second->seen, 0);
    tws_loop_remove(w->l, &p[0].watch);
    tws_loop_remove(w->l, &p[1].watch);
    pair_close(&p[0]);
    pair_close(&p[1]);
    unmake(w);
}

TEST("whatever is added, changed and removed, each watch reports exactly its own")
{
    enum { PAIRS = 40 };
    world *w = make();
    pair p[PAIRS];
    bool poked[PAIRS] = {false};
    uint32_t random = 12345;
    for (size_t i = 0; i < PAIRS; i++) {
        pair_open(&p[i]);
    }
    for (int step = 0; step < 3000; step++) {
        random = random * 1103515245u + 12345u;
        size_t i = (random >> 16) % PAIRS;
        unsigned want = (random >> 8) % 4;
        bool in = p[i].watch.fd >= 0;
        switch ((random >> 24) % 4) {
        case 0:
            if (!poked[i]) {
                pair_poke(&p[i]);
                poked[i] = true;
            }
            break;
        case 1:
            if (poked[i]) {
                pair_read(&p[i]);
                poked[i] = false;
            }
            break;
        case 2:
            if (in) {
                tws_loop_want(w->l, &p[i].watch, want);
            } else {
                CHECK_EQ(tws_loop_add(w->l, &p[i].watch, p[i].fd[0], want), TWS_OK);
            }
            break;
        default:
            tws_loop_remove(w->l, &p[i].watch);
            break;
        }
        wait_for(w, 0, p, PAIRS);
        for (size_t k = 0; k < PAIRS; k++) {
            unsigned has = TWS_WRITE | (poked[k] ? TWS_READ : 0u);
            CHECK_EQ(p[k].seen, p[k].watch.fd < 0 ? 0 : p[k].watch.want & has);
        }
    }
    for (size_t i = 0; i < PAIRS; i++) {
        tws_loop_remove(w->l, &p[i].watch);
        pair_close(&p[i]);
    }
    unmake(w);
}

/* -- who stands behind -- */

TEST("of many who are behind and ready, TWS_LOOP_READY are told at a time, whatever is asked for")
{
    enum { MANY = TWS_LOOP_READY + 100 };
    static tws_watch watch[MANY];
    static tws_ready ready[2 * MANY];
    world *w = make();
    uint64_t now_ms;
    memset(watch, 0, sizeof watch);
    for (size_t i = 0; i < MANY; i++) {
        int end[2];
        CHECK_EQ(pipe(end), 0);
        CHECK_EQ(write(end[1], "x", 1), 1);
        close(end[1]);
        watch[i].behind = true;
        CHECK_EQ(tws_loop_add(w->l, &watch[i], end[0], TWS_READ), TWS_OK);
    }
    CHECK_EQ(tws_loop_wait(w->l, 1000, w->ready, &now_ms), 0);
    CHECK_EQ(tws_loop_behind(w->l, ready, 2 * MANY), TWS_LOOP_READY);
    for (size_t i = 0; i < MANY; i++) {
        int fd = watch[i].fd;
        tws_loop_remove(w->l, &watch[i]);
        close(fd);
    }
    unmake(w);
}

TEST("who is behind wakes the wait and is told by behind alone, each in its turn, until it is moved")
{
    enum { PAIRS = 5 };
    world *w = make();
    pair p[PAIRS];
    for (size_t i = 0; i < PAIRS; i++) {
        pair_open(&p[i]);
        p[i].watch.behind = i != 0;
        CHECK_EQ(tws_loop_add(w->l, &p[i].watch, p[i].fd[0], TWS_READ), TWS_OK);
    }
    CHECK_EQ(wait_for(w, 0, p, PAIRS), 0);
    CHECK_EQ(tws_loop_crowded(w->l), false);
    CHECK_EQ(tws_loop_behind(w->l, w->ready, 8), 0);
    for (size_t i = 1; i < PAIRS; i++) {
        pair_poke(&p[i]);
    }
    CHECK_EQ(wait_for(w, 5000, p, PAIRS), 0); /* not the five seconds */
    CHECK_EQ(tws_loop_crowded(w->l), true);
    unsigned told[PAIRS] = {0};
    for (size_t i = 0; i < 3 * (PAIRS - 1); i++) { /* nobody reads: all stay ready */
        wait_for(w, 0, p, PAIRS);
        CHECK_EQ(tws_loop_behind(w->l, w->ready, 1), 1);
        told[pair_of(&w->ready[0]) - p]++;
    }
    for (size_t i = 0; i < PAIRS; i++) {
        CHECK_EQ(told[i], i == 0 ? 0 : 3);
    }
    tws_loop_move(w->l, &p[3].watch, false);
    tws_loop_move(w->l, &p[3].watch, false); /* it stands there already */
    CHECK_EQ(wait_for(w, 0, p, PAIRS), 1);
    CHECK_EQ(p[3].seen, TWS_READ);
    tws_loop_move(w->l, &p[3].watch, true);
    CHECK_EQ(wait_for(w, 0, p, PAIRS), 0);
    CHECK_EQ(tws_loop_behind(w->l, w->ready, 8), PAIRS - 1);
    for (size_t i = 0; i < PAIRS; i++) {
        tws_loop_remove(w->l, &p[i].watch);
        tws_loop_move(w->l, &p[i].watch, true); /* nothing to move */
        pair_close(&p[i]);
    }
    CHECK_EQ(wait_for(w, 0, p, PAIRS), 0);
    CHECK_EQ(tws_loop_crowded(w->l), false);
    unmake(w);
}

/* -- more than fit in one wait -- */

enum { MANY = TWS_LOOP_READY + 200 };

static pair *many_open(world *w)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * MANY + 64) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    pair *p = (pair *)calloc(MANY, sizeof *p);
    for (size_t i = 0; i < MANY; i++) {
        pair_open(&p[i]);
        pair_poke(&p[i]);
        CHECK_EQ(tws_loop_add(w->l, &p[i].watch, p[i].fd[0], TWS_READ), TWS_OK);
    }
    return p;
}

static void many_close(world *w, pair *p)
{
    for (size_t i = 0; i < MANY; i++) {
        tws_loop_remove(w->l, &p[i].watch);
        pair_close(&p[i]);
    }
    free(p);
}

TEST("of more than fit in one wait the rest come with the next")
{
    world *w = make();
    pair *p = many_open(w);
    size_t total = 0;
    for (int i = 0; i < 4 && total < MANY; i++) {
        size_t n = wait_for(w, 0, p, MANY);
        CHECK(n > 0 && n <= TWS_LOOP_READY);
        for (size_t k = 0; k < n; k++) {
            pair_read(pair_of(&w->ready[k]));
        }
        total += n;
    }
    CHECK_EQ(total, MANY);
    CHECK_EQ(wait_for(w, 0, p, MANY), 0);
    many_close(w, p);
    unmake(w);
}

TEST("of more than fit, all of them always ready, every one is met in two waits")
{
    world *w = make();
    pair *p = many_open(w);
    bool met[MANY] = {false};
    for (int i = 0; i < 2; i++) {
        wait_for(w, 0, p, MANY);
        for (size_t k = 0; k < MANY; k++) {
            met[k] = met[k] || p[k].seen != 0;
        }
    }
    size_t count = 0;
    for (size_t k = 0; k < MANY; k++) {
        count += met[k];
    }
    CHECK_EQ(count, MANY);
    many_close(w, p);
    unmake(w);
}

/* -- timers, against a naive list and a made-up clock -- */

enum { TIMERS = 100 };

typedef struct clockwork {
    world *w;
    tws_timer timer[TIMERS];
    uint64_t at_ms[TIMERS];  /* UINT64_MAX: not set */
    uint64_t set_ms[TIMERS]; /* when that was said */
    uint64_t now_ms;
    uint64_t random;
    size_t fired;
} clockwork;

static clockwork *clockwork_make(void)
{
    clockwork *c = (clockwork *)calloc(1, sizeof *c);
    c->w = make();
    c->now_ms = tws_sys_now_ms();
    c->random = 88172645463325252u;
    memset(c->at_ms, 0xff, sizeof c->at_ms);
    return c;
}

static void clockwork_unmake(clockwork *c)
{
    unmake(c->w);
    free(c);
}

static uint64_t pick(clockwork *c, uint64_t below)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random % below;
}

static void clockwork_set(clockwork *c, size_t i, uint64_t at_ms)
{
    tws_timer_set(c->w->l, &c->timer[i], at_ms);
    c->at_ms[i] = at_ms;
    c->set_ms[i] = c->now_ms;
}

/* When it must have fired at the latest. */
static uint64_t latest(const clockwork *c, size_t i)
{
    uint64_t from = c->at_ms[i] > c->set_ms[i] ? c->at_ms[i] : c->set_ms[i];
    return from + 2 * TWS_TIMER_STEP_MS;
}

static void clockwork_run(clockwork *c)
{
    for (tws_timer *t = tws_timer_due(c->w->l, c->now_ms); t != NULL;
         t = tws_timer_due(c->w->l, c->now_ms)) {
        size_t i = (size_t)(t - c->timer);
        CHECK(c->at_ms[i] != UINT64_MAX); /* it was set, and fires once */
        CHECK(c->at_ms[i] <= c->now_ms);  /* never early */
        CHECK(t->link == NULL);
        c->at_ms[i] = UINT64_MAX;
        c->fired++;
        if (pick(c, 8) == 0) { /* a handler may set, move and clear */
            clockwork_set(c, i, c->now_ms + pick(c, 50));
            clockwork_set(c, (size_t)pick(c, TIMERS), c->now_ms + pick(c, 50000));
            clockwork_set(c, (size_t)pick(c, TIMERS), UINT64_MAX);
        }
    }
    for (size_t i = 0; i < TIMERS; i++) {
        CHECK(c->at_ms[i] == UINT64_MAX || latest(c, i) > c->now_ms);
    }
}

TEST("timers fire in their time, once, and never early, as a naive list of them says")
{
    clockwork *c = clockwork_make();
    const uint64_t horizon_ms = (uint64_t)TWS__WHEEL * TWS_TIMER_STEP_MS;
    for (int step = 0; step < 20000; step++) {
        size_t i = (size_t)pick(c, TIMERS);
        switch (pick(c, 12)) {
        case 0: clockwork_set(c, i, UINT64_MAX); break;
        case 1: clockwork_set(c, i, c->now_ms + pick(c, 100)); break;
        case 2: clockwork_set(c, i, c->now_ms + pick(c, horizon_ms)); break;
        case 3: clockwork_set(c, i, c->now_ms + pick(c, 10 * horizon_ms)); break;
        case 4: clockwork_set(c, i, c->now_ms - pick(c, 1000)); break;
        case 5: clockwork_set(c, i, 0); break;
        case 6: c->now_ms += pick(c, 100); break;
        case 7: c->now_ms += pick(c, 40) == 0 ? pick(c, 3 * horizon_ms) : 1; break;
        default: c->now_ms += pick(c, 20); break;
        }
        clockwork_run(c);
    }
    CHECK(c->fired > 1000);
    clockwork_unmake(c);
}

TEST("a timer beyond the wheel's horizon fires in its time, at every distance")
{
    const uint64_t horizon_ms = (uint64_t)TWS__WHEEL * TWS_TIMER_STEP_MS;
    clockwork *c = clockwork_make();
    for (uint64_t far_ms = horizon_ms - 100; far_ms < 3 * horizon_ms;
         far_ms += horizon_ms / 3 + 1) {
        test_row("ms from now", (size_t)far_ms);
        uint64_t end_ms = c->now_ms + far_ms;
        clockwork_set(c, 0, end_ms);
        while (c->at_ms[0] != UINT64_MAX && c->now_ms < end_ms + 1000) {
            c->now_ms += 7;
            clockwork_run(c);
            clockwork_set(c, 1, UINT64_MAX);
        }
        CHECK(c->at_ms[0] == UINT64_MAX || c->at_ms[0] != end_ms);
        clockwork_set(c, 0, UINT64_MAX);
    }
    clockwork_unmake(c);
}

TEST("after a jump of the clock everything due fires and nothing else")
{
    static const uint64_t jump_ms[] = {1, 15, 16, 17, 1000, 32767, 32768, 32769, 100000, 86400000};
    for (size_t j = 0; j < sizeof jump_ms / sizeof *jump_ms; j++) {
        clockwork *c = clockwork_make();
        test_row("jump", (size_t)jump_ms[j]);
        for (size_t i = 0; i < TIMERS; i++) {
            clockwork_set(c, i, c->now_ms + i * i * 20);
        }
        uint64_t begin_ms = c->now_ms;
        c->now_ms += jump_ms[j];
        clockwork_run(c);
        c->now_ms = begin_ms; /* and a clock that goes back fires nothing early */
        clockwork_run(c);
        clockwork_unmake(c);
    }
}

TEST("who sleeps as long as the loop says meets every timer, and then sleeps for ever")
{
    clockwork *c = clockwork_make();
    for (size_t i = 0; i < TIMERS; i++) {
        clockwork_set(c, i, c->now_ms + pick(c, 90000));
    }
    clockwork_set(c, 7, UINT64_MAX);
    int sleeps = 0;
    for (int ms = tws_loop_timeout(c->w->l, c->now_ms); ms >= 0 && sleeps < 100000;
         ms = tws_loop_timeout(c->w->l, c->now_ms)) {
        c->now_ms += (uint64_t)ms;
        clockwork_run(c); /* checks that none is late */
        sleeps++;
    }
    CHECK_EQ(tws_loop_timeout(c->w->l, c->now_ms), -1);
    for (size_t i = 0; i < TIMERS; i++) {
        CHECK(c->at_ms[i] == UINT64_MAX);
    }
    CHECK(sleeps < 10 * TIMERS);
    clockwork_unmake(c);
}

TEST("a timer that was only moved costs no wake-up of its own before its time")
{
    world *w = make();
    tws_timer t;
    memset(&t, 0, sizeof t);
    CHECK_EQ(tws_loop_timeout(w->l, w->now_ms), -1);
    tws_timer_set(w->l, &t, UINT64_MAX); /* clearing what is not set */
    for (uint64_t i = 0; i < 1000; i++) {
        tws_timer_set(w->l, &t, w->now_ms + 20000 + i);
        CHECK(tws_timer_due(w->l, w->now_ms + 19999) == NULL);
    }
    tws_timer_set(w->l, &t, UINT64_MAX);
    CHECK(t.link == NULL);
    CHECK(tws_timer_due(w->l, w->now_ms + 90000) == NULL);
    unmake(w);
}

TEST("a wait ends when a timer comes due")
{
    world *w = make();
    tws_timer t;
    memset(&t, 0, sizeof t);
    uint64_t at_ms = tws_sys_now_ms() + 30;
    tws_timer_set(w->l, &t, at_ms);
    tws_timer *due = NULL;
    for (int i = 0; i < 10 && due == NULL; i++) {
        CHECK_EQ(tws_loop_wait(w->l, -1, w->ready, &w->now_ms), 0);
        due = tws_timer_due(w->l, w->now_ms);
    }
    CHECK(due == &t);
    CHECK(w->now_ms >= at_ms);
    unmake(w);
}

TEST("a wait lasts no longer than its caller allows, with a later timer or with none")
{
    for (int timer = 0; timer < 2; timer++) {
        world *w = make();
        tws_timer t;
        memset(&t, 0, sizeof t);
        test_row("timer", (size_t)timer);
        uint64_t begin_ms = tws_sys_now_ms();
        tws_timer_set(w->l, &t, timer ? begin_ms + 60000 : UINT64_MAX);
        CHECK_EQ(tws_loop_wait(w->l, 30, w->ready, &w->now_ms), 0);
        CHECK(w->now_ms >= begin_ms + 29 && w->now_ms < begin_ms + 30000);
        tws_timer_set(w->l, &t, UINT64_MAX);
        unmake(w);
    }
}

TEST("who sleeps as long as the loop says does not miss a timer that is due at once or in a step")
{
    world *w = make();
    tws_timer t;
    memset(&t, 0, sizeof t);
    for (uint64_t ms = 0; ms <= 2 * TWS_TIMER_STEP_MS; ms++) {
        CHECK(tws_timer_due(w->l, w->now_ms) == NULL);
        tws_timer_set(w->l, &t, w->now_ms + ms);
        int sleep_ms = tws_loop_timeout(w->l, w->now_ms);
        CHECK(sleep_ms >= (int)ms && sleep_ms <= (int)ms + TWS_TIMER_STEP_MS);
        w->now_ms += (uint64_t)(sleep_ms < 0 ? 100 : sleep_ms);
        CHECK(tws_timer_due(w->l, w->now_ms) == &t);
        w->now_ms++;
    }
    unmake(w);
}

/* -- waking -- */

TEST("wake-ups fold together and end one wait, the next one that comes ends the next")
{
    world *w = make();
    for (int round = 0; round < 3; round++) {
        CHECK(!readable(w->l->wake.fd));
        for (int i = 0; i < 1000; i++) {
            tws_loop_wake(w->l);
        }
        CHECK(readable(w->l->wake.fd));
        CHECK_EQ(tws_loop_wait(w->l, -1, w->ready, &w->now_ms), 0);
        CHECK(!readable(w->l->wake.fd));
        CHECK_EQ(tws_loop_wait(w->l, 0, w->ready, &w->now_ms), 0);
    }
    unmake(w);
}

static tws_loop *woken_loop;

static void wake_it(void)
{
    tws_loop_wake(woken_loop);
}

TEST("a wake-up that comes while another is being taken keeps none of the next ones from coming")
{
    void (*const moment[])(void) = {wake_it, NULL, wake_it};
    world *w = make();
    woken_loop = w->l;
    for (size_t i = 0; i < 2; i++) {
        test_row("before or behind the read", i);
        tws_loop_wake(w->l);
        before_read = moment[i];
        after_read = moment[i + 1];
        CHECK_EQ(tws_loop_wait(w->l, 3000, w->ready, &w->now_ms), 0);
        before_read = NULL;
        after_read = NULL;
        tws_loop_wake(w->l);
        CHECK(readable(w->l->wake.fd));
        CHECK_EQ(tws_loop_wait(w->l, 0, w->ready, &w->now_ms), 0);
    }
    unmake(w);
}

enum { WAKERS = 4, WAKES = 3000 };

typedef struct waking {
    world *w;
    uint64_t posted, seen;
    uint32_t over;
} waking;

/* Post, wake, and go on when that has been seen: a lost wake-up is a halt. */
static void *wake_often(void *arg)
{
    waking *k = (waking *)arg;
    for (int i = 0; i < WAKES; i++) {
        uint64_t mine = __atomic_add_fetch(&k->posted, 1, __ATOMIC_SEQ_CST);
        tws_loop_wake(k->w->l);
        while (__atomic_load_n(&k->seen, __ATOMIC_SEQ_CST) < mine) {
            sched_yield();
        }
    }
    __atomic_add_fetch(&k->over, 1, __ATOMIC_SEQ_CST);
    tws_loop_wake(k->w->l);
    return NULL;
}

TEST("no wake-up from another thread is lost")
{
    waking k;
    pthread_t id[WAKERS];
    memset(&k, 0, sizeof k);
    k.w = make();
    for (size_t i = 0; i < WAKERS; i++) {
        pthread_create(&id[i], NULL, wake_often, &k);
    }
    size_t slept = 0;
    while (__atomic_load_n(&k.over, __ATOMIC_SEQ_CST) < WAKERS) {
        uint64_t before_ms = tws_sys_now_ms();
        CHECK_EQ(tws_loop_wait(k.w->l, slept == 0 ? 10000 : 1, k.w->ready, &k.w->now_ms), 0);
        slept += k.w->now_ms - before_ms >= 10000;
        __atomic_store_n(&k.seen, __atomic_load_n(&k.posted, __ATOMIC_SEQ_CST), __ATOMIC_SEQ_CST);
    }
    CHECK_EQ(slept, 0);
    for (size_t i = 0; i < WAKERS; i++) {
        pthread_join(id[i], NULL);
    }
    unmake(k.w);
}

static tws_loop *signalled_loop;
static volatile sig_atomic_t signals;

static void on_alarm(int number)
{
    int was = errno;
    (void)number;
    errno = ENOENT;
    tws_loop_wake(signalled_loop);
    signals += errno == ENOENT; /* left as it was */
    errno = was;
}

TEST("a wake-up from a signal handler ends the wait and leaves errno alone")
{
    struct sigaction action, old;
    struct itimerval often, never;
    world *w = make();
    signalled_loop = w->l;
    signals = 0;
    memset(&action, 0, sizeof action);
    memset(&never, 0, sizeof never);
    memset(&often, 0, sizeof often);
    often.it_value.tv_usec = 1000;
    often.it_interval.tv_usec = 1000;
    action.sa_handler = on_alarm;
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 50; i++) {
        uint64_t before_ms = tws_sys_now_ms();
        CHECK_EQ(tws_loop_wait(w->l, 10000, w->ready, &w->now_ms), 0);
        CHECK(w->now_ms - before_ms < 10000);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    CHECK(signals > 0);
    unmake(w);
}

TEST("the one descriptor is readable exactly when there is something to do")
{
    world *w = make();
    pair p[1];
    int fd = tws_loop_fd(w->l);
    CHECK_EQ(fd >= 0, is_epoll());
    if (fd < 0) {
        unmake(w);
        return;
    }
    pair_open(p);
    CHECK_EQ(tws_loop_add(w->l, &p->watch, p->fd[0], TWS_READ), TWS_OK);
    CHECK(!readable(fd));
    pair_poke(p);
    CHECK(readable(fd));
    CHECK_EQ(wait_for(w, 0, p, 1), 1);
    pair_read(p);
    CHECK(!readable(fd));
    tws_loop_wake(w->l);
    CHECK(readable(fd));
    CHECK_EQ(wait_for(w, 0, p, 1), 0);
    CHECK(!readable(fd));
    tws_loop_want(w->l, &p->watch, TWS_WRITE);
    CHECK(readable(fd));
    tws_loop_remove(w->l, &p->watch);
    CHECK(!readable(fd));
    pair_close(p);
    unmake(w);
}

/* -- when the system says no -- */

TEST("a loop for which there is no memory is not made, and leaves nothing behind")
{
    tws_allocator a = test_allocator();
    size_t before = descriptors();
    for (size_t n = 1;; n++) {
        test_row("allocation", n);
        test_fail_at(n);
        tws_loop *l = tws_loop_create(&a);
        if (test_allocations() < n) {
            CHECK(l != NULL);
            tws_loop_free(l);
            break;
        }
        CHECK(l == NULL);
        tws_loop_free(l);
        CHECK_EQ(test_live_blocks(), 0);
        CHECK_EQ(descriptors(), before);
    }
    CHECK_EQ(descriptors(), before);
}

TEST("a loop for which there are no descriptors is not made, and leaves nothing behind")
{
    struct rlimit limit, low;
    tws_allocator a = test_allocator();
    size_t before = descriptors();
    getrlimit(RLIMIT_NOFILE, &limit);
    low = limit;
    tws_loop *l = NULL;
    for (rlim_t room = 0; room < 64 && l == NULL; room++) {
        test_row("descriptors left", (size_t)room);
        low.rlim_cur = (rlim_t)tws_sys_open_files() + room;
        setrlimit(RLIMIT_NOFILE, &low);
        l = tws_loop_create(&a);
        CHECK(l != NULL || test_live_blocks() == 0);
        setrlimit(RLIMIT_NOFILE, &limit);
        CHECK(l != NULL || descriptors() == before);
    }
    CHECK(l != NULL);
    tws_loop_free(l);
}

TEST("a watch for which there is no memory is refused, and the others go on as before")
{
    enum { PAIRS = 200 };
    pair *p = (pair *)calloc(PAIRS, sizeof *p);
    for (size_t n = 1;; n++) {
        world *w = make();
        size_t refused = 0;
        test_row("allocation", n);
        test_fail_at(n);
        for (size_t i = 0; i < PAIRS; i++) {
            pair_open(&p[i]);
            pair_poke(&p[i]);
            if (tws_loop_add(w->l, &p[i].watch, p[i].fd[0], TWS_READ) != TWS_OK) {
                refused++;
                CHECK_EQ(p[i].watch.fd, -1);
                CHECK_EQ(wait_for(w, 0, p, i + 1), i);
                CHECK_EQ(tws_loop_add(w->l, &p[i].watch, p[i].fd[0], TWS_READ), TWS_OK);
            }
        }
        CHECK_EQ(refused, test_allocations() >= n);
        CHECK_EQ(wait_for(w, 0, p, PAIRS), PAIRS);
        for (size_t i = 0; i < PAIRS; i++) {
            CHECK_EQ(p[i].seen, TWS_READ);
            tws_loop_remove(w->l, &p[i].watch);
            pair_close(&p[i]);
        }
        unmake(w);
        if (refused == 0) {
            break;
        }
    }
    free(p);
}

TEST("what cannot be watched is refused where the system says so")
{
    world *w = make();
    tws_watch watch;
    memset(&watch, 0, sizeof watch);
    int fd = open("/proc/self/stat", O_RDONLY);
    close(fd);
    if (is_epoll()) {
        CHECK_EQ(tws_loop_add(w->l, &watch, fd, TWS_READ), TWS_ERR_SYSTEM);
        CHECK_EQ(watch.fd, -1);
    } else {
        CHECK_EQ(tws_loop_add(w->l, &watch, fd, TWS_READ), TWS_OK);
        CHECK_EQ(tws_loop_wait(w->l, 0, w->ready, &w->now_ms), 1); /* and then its owner reads it */
        CHECK_EQ(w->ready[0].events, TWS_READ | TWS_WRITE);
        tws_loop_remove(w->l, &watch);
    }
    unmake(w);
}
