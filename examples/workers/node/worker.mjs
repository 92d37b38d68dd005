// A Node worker: publishes the steps of a task with ioredis, and prints their ids.
//
//     npm install                         in this directory
//     export TASKWS_REDIS=redis://127.0.0.1:6379/0
//     node worker.mjs USER_ID

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

const [userId] = process.argv.slice(2);
if (!userId) {
    console.error('usage: node worker.mjs USER_ID');
    process.exit(2);
}

const lua = readFileSync(new URL('../publish.lua', import.meta.url), 'utf8');
const redis = new Redis(process.env.TASKWS_REDIS ?? 'redis://127.0.0.1:6379/0', {
    scripts: { publishEvent: { lua, numberOfKeys: 1 } },
    commandTimeout: 5000,
});
redis.on('error', (error) => console.error(`Redis: ${error.message}`));

// Stores and delivers an event; returns its id. By its key it is stored once, although ioredis
// sends again what a lost connection left unanswered. The empty arguments are how many events are
// kept, and for how many milliseconds.
const publish = (userId, event) =>
    redis.publishEvent(`task_status:${userId}`, JSON.stringify(event), '', '', randomUUID());

const task = { task_id: `report-${randomUUID()}`, name: 'Render the report' };
for (const progress of [0, 25, 50, 75]) {
    console.log(await publish(userId, { ...task, status: 'running', progress }));
    await sleep(200); // the work
}
console.log(await publish(userId, { ...task, status: 'completed', progress: 100 }));
redis.disconnect();
