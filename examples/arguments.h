/* arguments.h: a command line of `--name value`, `--name=value` and `--flag`, read one argument
 * after the other; what is wrong with it ends the program with 2. */
#ifndef TASKWS_ARGUMENTS_H
#define TASKWS_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    int count;
    char **values;
    int at;
} arguments;

static inline void usage_error(const char *what, const char *which)
{
    const size_t n = which[0] == '-' ? strcspn(which, "=") : strlen(which);
    fprintf(stderr, "%.*s: %s (see --help)\n", (int)n, which, what); /* no secret behind = */
    exit(2);
}

static inline bool flag(const arguments *a, const char *name, bool *value)
{
    if (strcmp(a->values[a->at], name) != 0) {
        return false;
    }
    *value = true;
    return true;
}

/* `--name value` or `--name=value`; what is not that leaves *value alone. */
static inline bool option(arguments *a, const char *name, const char **value)
{
    const char *arg = a->values[a->at];
    const size_t n = strlen(name);
    if (strncmp(arg, name, n) != 0 || (arg[n] != '\0' && arg[n] != '=')) {
        return false;
    }
    if (arg[n] == '\0' && a->at + 1 == a->count) {
        usage_error("wants a value", name);
    }
    *value = arg[n] == '=' ? arg + n + 1 : a->values[++a->at];
    return true;
}

/* Something, or the file where it stands. With both nobody can tell which one is meant. */
static inline bool option_or_file(arguments *a, const char *name, const char **value,
                                  const char *file_name, const char **file)
{
    char what[64];
    if (!option(a, name, value) && !option(a, file_name, file)) {
        return false;
    }
    if (*value != NULL && *file != NULL) {
        snprintf(what, sizeof what, "not together with %s", file_name);
        usage_error(what, name);
    }
    return true;
}

static inline bool option_number(arguments *a, const char *name, int64_t *value)
{
    const char *text;
    char *end;
    if (!option(a, name, &text)) {
        return false;
    }
    *value = strtoll(text, &end, 10);
    if (end == text || *end != '\0') {
        usage_error("wants a number", name);
    }
    return true;
}

#endif /* TASKWS_ARGUMENTS_H */
