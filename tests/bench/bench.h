/* bench.h: what the programs of this directory share: time, options, processes, a histogram, and
 * rows of JSON. Linux. Include it behind taskws.h. */
#ifndef TASKWS_BENCH_H
#define TASKWS_BENCH_H

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_UNUSED __attribute__((unused))

/* -- time and trouble -- */

BENCH_UNUSED static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Exit status 2: nothing was measured. */
__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(2);
}

BENCH_UNUSED static void *need_memory(size_t count, size_t bytes)
{
    void *p = calloc(count > 0 ? count : 1, bytes);
    if (p == NULL) {
        die("no memory for %zu times %zu bytes", count, bytes);
    }
    return p;
}

/* -- options -- */

typedef struct option {
    const char *name;
    enum { OPTION_FLAG, OPTION_NUMBER, OPTION_REAL, OPTION_TEXT } kind;
    void *value; /* bool, uint64_t, double or const char * */
} option;

static void option_set(const option *o, const char *text)
{
    char *end = NULL;
    if (o->kind == OPTION_TEXT) {
        *(const char **)o->value = text;
    } else if (o->kind == OPTION_REAL) {
        *(double *)o->value = strtod(text, &end);
    } else {
        *(uint64_t *)o->value = strtoull(text, &end, 10);
    }
    if (end != NULL && (end == text || *end != '\0')) {
        die("%s needs a number, not %s", o->name, text);
    }
}

/* Reads argv[from...]. The table ends with a NULL name. --help prints help. */
BENCH_UNUSED static void read_options(int argc, char **argv, int from, const option *table,
                                      const char *help)
{
    for (int i = from; i < argc; i++) {
        const option *o = table;
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            exit(0);
        }
        while (o->name != NULL && strcmp(o->name, argv[i]) != 0) {
            o++;
        }
        if (o->name == NULL) {
            die("unknown option %s; see --help", argv[i]);
        }
        if (o->kind == OPTION_FLAG) {
            *(bool *)o->value = true;
        } else if (i + 1 == argc) {
            die("%s needs a value; see --help", argv[i]);
        } else {
            option_set(o, argv[++i]);
        }
    }
}

/* -- processes -- */

/* CPU time of all threads of a process in nanoseconds; 0 for process 0 or an unknown one. */
BENCH_UNUSED static uint64_t cpu_ns(uint64_t pid)
{
    char path[400];
    uint64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%llu/task", (unsigned long long)pid);
    DIR *d = pid == 0 ? NULL : opendir(path);
    if (d == NULL) {
        return 0;
    }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        unsigned long long ns = 0;
        snprintf(path, sizeof path, "/proc/%llu/task/%s/schedstat", (unsigned long long)pid,
                 e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f != NULL) {
            sum += fscanf(f, "%llu", &ns) == 1 ? ns : 0;
            fclose(f);
        }
    }
    closedir(d);
    return sum;
}

/* Resident bytes of a process; 0 for an unknown one. */
BENCH_UNUSED static uint64_t resident_bytes(uint64_t pid)
{
    char path[64], line[256];
    unsigned long long kb = 0;
    snprintf(path, sizeof path, "/proc/%llu/status", (unsigned long long)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "VmRSS: %llu", &kb) != 1) {
    }
    fclose(f);
    return kb * 1024;
}

/* -- a histogram: 128 steps for each power of two, so that a step is under 0.8 % -- */

#define STEPS 128
#define BUCKETS ((64 - 7 + 1) * STEPS)

typedef struct histogram {
    uint64_t count, sum, max;
    uint64_t bucket[BUCKETS];
} histogram;

BENCH_UNUSED static void record(histogram *h, uint64_t value)
{
    const unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);
    const unsigned shift = bits > 8 ? bits - 8 : 0; /* what remains is below 2 * STEPS */
    h->bucket[shift * STEPS + (size_t)(value >> shift)]++;
    h->count++;
    h->sum += value;
    h->max = value > h->max ? value : h->max;
}

/* The value that `part` (0.5, 0.99) of the records do not exceed, to the middle of its step. */
BENCH_UNUSED static double quantile(const histogram *h, double part)
{
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (h->bucket[i] > 0 && (double)seen >= part * (double)h->count) {
            const size_t shift = i < 2 * STEPS ? 0 : i / STEPS - 1;
            const double low = (double)((uint64_t)(i - shift * STEPS) << shift);
            const double middle = low + (double)((1ull << shift) - 1) / 2;
            return middle < (double)h->max ? middle : (double)h->max;
        }
    }
    return 0;
}

/* -- results: `name value` lines, or one JSON object -- */

static bool result_json;
static size_t result_count;

BENCH_UNUSED static void result_begin(const char *key)
{
    if (result_json) {
        printf("%s\"%s\":", result_count == 0 ? "{" : ",", key);
    } else {
        printf("  %-24s", key);
    }
    result_count++;
}

BENCH_UNUSED static void result_text(const char *key, const char *text)
{
    result_begin(key);
    printf(result_json ? "\"%s\"" : "%s\n", text);
}

BENCH_UNUSED static void result(const char *key, double value)
{
    const bool whole = value >= 0 && value < 1e15 && value == (double)(uint64_t)value;
    result_begin(key);
    if (whole) {
        printf("%llu", (unsigned long long)value);
    } else {
        printf("%.6g", value);
    }
    printf(result_json ? "" : "\n");
}

BENCH_UNUSED static void result_end(void)
{
    printf(result_json ? "}\n" : "");
    fflush(stdout);
    result_count = 0;
}

#endif /* TASKWS_BENCH_H */
