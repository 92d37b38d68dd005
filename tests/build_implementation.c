/* The implementation, included twice. With BUILD_LATE after the system's headers, with
 * BUILD_ALONE as a program of one file. */
#ifdef BUILD_LATE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#endif

#define TASKWS_IMPLEMENTATION
#include "taskws.h"
#include "taskws.h"

#ifdef BUILD_ALONE
static int build_user(void)
{
    return tws_str_eq_c(tws_str_c("taskws"), "taskws") ? 0 : 1;
}
#else
#ifdef __cplusplus
extern "C"
#endif
int build_user(void);
#endif

int main(void)
{
    return build_user();
}
