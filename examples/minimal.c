/* minimal.c: the endpoint in ten lines. TASKWS_SECRET=... build/minimal */
#define TASKWS_IMPLEMENTATION
#include "taskws.h"

int main(void)
{
    tws_task_server_desc desc = {0};
    desc.port = 8000;
    desc.jwt_secret = getenv("TASKWS_SECRET");
    desc.redis_url = getenv("TASKWS_REDIS"); /* NULL: in memory */
    return tws_task_server_run(&desc);
}
