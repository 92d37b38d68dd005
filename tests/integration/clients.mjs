// The core story once more, by clients of another make: the package ws, Node's own fetch, Node's
// own WebSocket where it has one, and tokens made by Node's own HMAC.

import assert from 'node:assert/strict';
import { spawn, execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const BUILD = new URL('../../build/', import.meta.url);
const WebSocket = createRequire(new URL('node/', BUILD))('ws');
const SECRET = 'a secret of the tests, thirty-two bytes or more';

const base64url = (value) => Buffer.from(value).toString('base64url');

function token(sub, claims = {}) {
    const now = Math.floor(Date.now() / 1000);
    const head = base64url(JSON.stringify({ alg: 'HS256', typ: 'JWT' }));
    const body = base64url(JSON.stringify({ sub, exp: now + 600, ...claims }));
    const signature = createHmac('sha256', SECRET).update(`${head}.${body}`).digest('base64url');
    return `${head}.${body}.${signature}`;
}

// -- a program of build/ on a free port ---------------------------------------------------

async function start(program, ...options) {
    const child = spawn(fileURLToPath(new URL(program, BUILD)), ['--port', '0', ...options], {
        env: { ...process.env, TASKWS_SECRET: SECRET },
        stdio: ['ignore', 'pipe', 'ignore'],
    });
    let text = '';
    for await (const part of child.stdout.iterator({ destroyOnReturn: false })) {
        text += part;
        const match = /listening on http:\/\/[^:]+:(\d+)/.exec(text);
        if (match) {
            child.stdout.resume();
            return { child, host: `127.0.0.1:${match[1]}` };
        }
    }
    throw new Error(`${program} never listened: ${text}`);
}

const { child, host } = await start('server');
const http = (user) => `http://${host}/api/v1/ws/tasks/${user}`;
const ws = (user, query = `token=${token(user)}`) => `ws://${host}/api/v1/ws/tasks/${user}?${query}`;

// A client whose messages are taken one by one: the same for both kinds of WebSocket.
function open(url, { protocols = [], options = {}, Kind = WebSocket } = {}) {
    const socket = Kind === WebSocket ? new Kind(url, protocols, options) : new Kind(url, protocols);
    const came = [];
    let tell = () => {};
    socket.onmessage = (event) => { came.push(event.data); tell(); };
    socket.onclose = (event) => { came.push(event.code); tell(); };
    socket.onerror = () => {};
    return {
        socket,
        // The next message as an object, or the close code as a number.
        async next() {
            while (came.length === 0) {
                await new Promise((resolve, reject) => {
                    tell = resolve;
                    setTimeout(() => reject(new Error('nothing came in 20 s')), 20000).unref();
                });
            }
            const first = came.shift();
            return typeof first === 'string' ? JSON.parse(first) : first;
        },
    };
}

async function publish(user, body, type = 'application/json', status = 202) {
    const headers = { authorization: `Bearer ${token('w', { scope: 'publish' })}`, 'content-type': type };
    const answer = await fetch(http(user), { method: 'POST', headers, body });
    assert.equal(answer.status, status);
    return answer.json();
}

// -- the story ----------------------------------------------------------------------------

const kinds = [['ws', WebSocket]];
if (globalThis.WebSocket) kinds.push(["Node's own WebSocket", globalThis.WebSocket]);

const tests = [];
const test = (sentence, body) => tests.push([sentence, body]);

for (const [name, Kind] of kinds) {
    const user = `of-${kinds.findIndex((k) => k[1] === Kind)}`;

    test(`${name}: connected, task, pong, close`, async () => {
        const client = open(ws(user), { Kind });
        const first = await client.next();
        assert.deepEqual([first.type, first.user_id, first.resumed], ['connected', user, false]);
        const { id } = await publish(user, '{"task_id":"a","status":"RUNNING"}');
        assert.deepEqual(await client.next(),
            { type: 'task', id, data: { task_id: 'a', status: 'RUNNING' } });
        client.socket.send('{"type":"ping"}');
        assert.deepEqual(await client.next(), { type: 'pong' });
        client.socket.close(1000);
        assert.equal(await client.next(), 1000);
    });

    test(`${name}: a refusal is an error in JSON, then its close code`, async () => {
        for (const [query, code, word] of [
            [`token=${token(user, { exp: 1 })}`, 4401, 'token_expired'],
            [`token=${token(user)}.x`, 4401, 'token_malformed'],
            [`token=${token('another')}`, 4403, 'forbidden_user'],
            [`token=${token(user)}&since=x`, 4400, 'bad_request'],
        ]) {
            const client = open(ws(user, query), { Kind });
            const error = await client.next();
            assert.deepEqual([error.type, error.code, error.close], ['error', word, code]);
            assert.equal(await client.next(), code);
        }
    });

    test(`${name}: the token in the subprotocol`, async () => {
        const client = open(ws(user, ''), { Kind, protocols: ['taskws.v1', `bearer.${token(user)}`] });
        assert.equal((await client.next()).type, 'connected');
        assert.equal(client.socket.protocol, 'taskws.v1');
        client.socket.close();
    });

    test(`${name}: the token in the first message`, async () => {
        const client = open(ws(user, ''), { Kind });
        client.socket.onopen = () =>
            client.socket.send(JSON.stringify({ type: 'auth', token: token(user) }));
        assert.equal((await client.next()).type, 'connected');
        client.socket.close();
    });

    test(`${name}: resume gives what was missed, and nothing twice`, async () => {
        const lines = Array.from({ length: 30 }, (_, n) => `{"task_id":"b","n":${n}}\n`).join('');
        const { ids } = await publish(user, lines, 'application/x-ndjson');
        const client = open(ws(user, `since=${ids[9]}&token=${token(user)}`), { Kind });
        assert.equal((await client.next()).resumed, true);
        for (const id of ids.slice(10)) assert.equal((await client.next()).id, id);
        client.socket.close();
    });
}

test('ws: the token in a header', async () => {
    const options = { headers: { authorization: `Bearer ${token('h')}` }, perMessageDeflate: false };
    const client = open(ws('h', ''), { options });
    assert.equal((await client.next()).type, 'connected');
    assert.equal(client.socket.extensions, '');
    client.socket.ping('are you there');
    assert.equal(String((await once(client.socket, 'pong'))[0]), 'are you there');
    client.socket.close();
});

const NEITHER = '; server_no_context_takeover; client_no_context_takeover';
const POLICY = `permessage-deflate${NEITHER}`;
for (const [sentence, perMessageDeflate, more = ''] of [
    ['its own offer', true],
    ['everything compressed', { threshold: 0 }],
    ['no context of the server', { threshold: 0, serverNoContextTakeover: true }],
    ['no context of its own', { threshold: 0, clientNoContextTakeover: true }],
    ['no context at all',
        { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }],
    ['a small window of its own', { threshold: 0, clientMaxWindowBits: 9 }],
    ['a window of the server of 15 bits', { threshold: 0, serverMaxWindowBits: 15 },
        '; server_max_window_bits=15'],
    ['a window of the server of 9 bits', { threshold: 0, serverMaxWindowBits: 9 },
        '; server_max_window_bits=9'],
]) {
    test(`ws: compression with ${sentence}, events and what it says itself`, async () => {
        const user = `z-${sentence}`.replaceAll(' ', '-');
        const client = open(ws(user), { options: { perMessageDeflate } });
        const [answer] = await once(client.socket, 'upgrade');
        assert.equal(answer.headers['sec-websocket-extensions'], POLICY + more);
        const plain = open(ws(user), { options: { perMessageDeflate: false } });
        assert.equal((await client.next()).type, 'connected');
        assert.equal((await plain.next()).type, 'connected');
        for (const size of [0, 100, 1000, 20000]) {
            const data = { task_id: 'a', text: 'as many words as that, '.repeat(size / 23) };
            const { id } = await publish(user, JSON.stringify(data));
            for (const each of [client, plain]) {
                assert.deepEqual(await each.next(), { type: 'task', id, data });
            }
            client.socket.send(`{"type":"ping","text":"${'again '.repeat(size / 6)}"}`);
            assert.deepEqual(await client.next(), { type: 'pong' });
        }
        client.socket.send('{"type":', { fin: false });
        client.socket.send('"ping"}', { fin: true });
        assert.deepEqual(await client.next(), { type: 'pong' });
        client.socket.close(1000);
        assert.equal(await client.next(), 1000);
        plain.socket.close();
    });
}

for (const [sentence, perMessageDeflate, narrow, wide] of [
    ['its own offer', { threshold: 0 }, '; client_max_window_bits=12', ''],
    ['no context of the server', { threshold: 0, serverNoContextTakeover: true },
        '; server_no_context_takeover; client_max_window_bits=12', '; server_no_context_takeover'],
    ['no context of its own', { threshold: 0, clientNoContextTakeover: true },
        '; client_no_context_takeover', '; client_no_context_takeover'],
    ['small windows', { threshold: 0, clientMaxWindowBits: 10, serverMaxWindowBits: 9 },
        '; server_max_window_bits=9; client_max_window_bits=10',
        '; server_max_window_bits=9; client_max_window_bits=10'],
]) {
    test(`ws: contexts with ${sentence} last over the messages of a connection to echo`, async () => {
        const bytes = {};
        for (const [bits, answer] of [['0', NEITHER], ['12', narrow], ['15', wide]]) {
            const options = bits === '0' ? ['--context-bytes', '0'] : ['--context-bits', bits];
            options.push('--compress-from', '1');
            const echo = await start('echo', ...options);
            const client = open(`ws://${echo.host}/`, { options: { perMessageDeflate } });
            const [{ headers }] = await once(client.socket, 'upgrade');
            const limit = bits === '0' && perMessageDeflate.serverMaxWindowBits
                ? '; server_max_window_bits=9' : '';
            assert.equal(headers['sec-websocket-extensions'], `permessage-deflate${answer}${limit}`);
            const before = client.socket._socket.bytesRead;
            for (let n = 0; n < 200; n++) {
                const text = n % 50 === 49 ? 'many words, '.repeat(5000) : 'segment';
                const event = { task_id: `import-${n % 7}`, status: 'running', progress: n, text };
                client.socket.send(JSON.stringify(event), { compress: n % 9 !== 8 });
                assert.deepEqual(await client.next(), event);
            }
            client.socket.send('{"half":', { fin: false });
            client.socket.send('"ping"}', { fin: true });
            assert.deepEqual(await client.next(), { half: 'ping' });
            bytes[bits] = client.socket._socket.bytesRead - before;
            client.socket.close(1000);
            assert.equal(await client.next(), 1000);
            const end = once(echo.child, 'exit');
            echo.child.kill('SIGTERM');
            assert.deepEqual(await end, [0, null]);
        }
        if (!perMessageDeflate.serverNoContextTakeover) {
            assert.ok(bytes[12] * 2 < bytes[0] && bytes[15] * 2 < bytes[0], JSON.stringify(bytes));
        }
    });
}

test('ws: a thousand messages in fragments', async () => {
    const client = open(ws('f'));
    await client.next();
    for (let n = 0; n < 1000; n++) {
        client.socket.send('{"type":', { fin: false });
        client.socket.send('"ping"}', { fin: true });
    }
    for (let n = 0; n < 1000; n++) assert.deepEqual(await client.next(), { type: 'pong' });
    client.socket.close();
});

test('fetch: snapshot, status, errors, and requests abreast', async () => {
    const { id } = await publish('s', '{"task_id":"a","n":1}');
    const authorization = `Bearer ${token('s')}`;
    const snapshot = await (await fetch(http('s'), { headers: { authorization } })).json();
    assert.equal(snapshot.user_id, 's');
    assert.equal(snapshot.last_id, id);
    assert.equal(snapshot.tasks.length, 1);
    assert.equal((await fetch(http('s'))).status, 401);
    assert.equal((await fetch(`http://${host}/nothing`)).status, 404);
    await publish('s', '{', 'application/json', 400);
    const many = await Promise.all(Array.from({ length: 100 }, () => fetch(`http://${host}/health`)));
    for (const answer of many) assert.equal((await answer.json()).status, 'healthy');
});

test('fetch: an event stream', async () => {
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${token('e')}` };
    const stop = new AbortController();
    const answer = await fetch(http('e'), { headers, signal: stop.signal });
    assert.match(answer.headers.get('content-type'), /^text\/event-stream/);
    const { id } = await publish('e', '{"task_id":"a"}');
    let text = '';
    for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
        text += part;
        if (text.includes(`id: ${id}\ndata: {"task_id":"a"}\n\n`)) break;
    }
    assert.match(text, /^event: connected\ndata: \{.*\}\n(id: 0-0\n)?\n/);
    stop.abort();
});

test('a token of build/token opens what a token of Node opens', async () => {
    const made = execFileSync(fileURLToPath(new URL('token', BUILD)),
        ['--secret', SECRET, '--sub', 't'], { encoding: 'utf8' }).trim();
    const client = open(ws('t', `token=${made}`));
    assert.equal((await client.next()).user_id, 't');
    client.socket.close();
});

test('at SIGTERM clients are told and closed with 1001, and the server ends with 0', async () => {
    const clients = Array.from({ length: 5 }, (_, n) => open(ws(`d${n}`)));
    for (const client of clients) assert.equal((await client.next()).type, 'connected');
    const end = once(child, 'exit');
    child.kill('SIGTERM');
    for (const client of clients) {
        assert.equal((await client.next()).code, 'draining');
        assert.equal(await client.next(), 1001);
    }
    assert.deepEqual(await end, [0, null]);
});

// -- one after the other ------------------------------------------------------------------

let failed = 0;
for (const [sentence, body] of tests) {
    try {
        await body();
        console.log(`ok - ${sentence}`);
    } catch (error) {
        failed++;
        console.log(`not ok - ${sentence}\n${error.stack}`);
    }
}
if (child.exitCode === null) child.kill('SIGKILL');
console.log(`${tests.length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
