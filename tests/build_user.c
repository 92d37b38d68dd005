/* The declarations alone, twice, in a translation unit that is linked with build_implementation.c:
 * nothing may be defined here, and nothing missing there. */
#include "taskws.h"
#include "taskws.h"

#ifdef __cplusplus
extern "C"
#endif
int build_user(void);

int build_user(void)
{
    return tws_str_eq_c(tws_str_c("taskws"), "taskws") ? 0 : 1;
}
