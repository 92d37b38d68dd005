/* Types of taskws.js. */

export interface TaskError {
    code?: string; // 'token_expired', ...; none: not this server's
    message: string;
    retry?: boolean; // is it worth while to try again?
    close?: number; // the close code that follows
}

export interface ConnectionState {
    state: 'connecting' | 'open' | 'waiting' | 'closed';
    transport?: 'websocket' | 'sse';
    code?: number; // waiting, closed: the close code, 1006 for none
    error?: string; // likewise: the error before it
    message?: string;
    retryAt?: number; // waiting: until then, as Date.now() gives it
    user_id?: string; // open: whose tasks they are
    last_id?: string;
    resumed?: boolean;
}

export interface Options<Task = unknown> {
    url: string | URL;
    token?: string | (() => string | Promise<string>);
    credentials?: RequestCredentials;
    since?: string;
    onTask?: (task: Task, id: string | null) => void;
    onReset?: (reason: string) => void;
    onState?: (state: ConnectionState) => void;
    onError?: (error: TaskError) => void;
}

export interface Tasks {
    close(): void;
    retry(): void; // now, while it waits
    readonly lastId: string;
}

export function connectTasks<Task = unknown>(options: Options<Task>): Tasks;
