// What a page in TypeScript writes; types.test.mjs has it judged by tsc --strict.

import { connectTasks, type ConnectionState, type Tasks } from '../../examples/web/taskws.js';

interface Task {
    task_id: string;
    progress: number;
}

const tasks: Tasks = connectTasks<Task>({
    url: new URL('/api/v1/ws/tasks/2', location.href),
    token: async () => (await fetch('/my/token')).text(),
    credentials: 'include',
    since: '5-0',
    onTask: (task, id) => console.log(task.task_id.trim(), task.progress * 100, id?.length),
    onReset: (reason) => console.log(reason.length),
    onState: ({ state, retryAt }: ConnectionState) => state === 'waiting' && console.log(retryAt),
    onError: ({ code, message }) => console.log(code ?? message.trim()),
});
console.log(tasks.lastId.length);
tasks.retry();
tasks.close();
connectTasks({ url: '/tasks/2' });

// @ts-expect-error a task's shape is unknown until it is said
connectTasks({ url: '/tasks/2', onTask: (task) => console.log(task.task_id) });
// @ts-expect-error there is no such state
connectTasks({ url: '/tasks/2', onState: ({ state }) => state === 'opened' });
// @ts-expect-error an address is needed
connectTasks({ token: 'x' });
// @ts-expect-error a misspelled option
connectTasks({ url: '/tasks/2', onTasks: () => {} });
// @ts-expect-error it is read only
tasks.lastId = '';
