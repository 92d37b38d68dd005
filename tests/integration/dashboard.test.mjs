// The browser's half: the dashboard in a real browser against a real server, and taskws.js against
// a scripted WebSocket and a made-up clock. TASKWS_BUILD names another build directory.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const BUILD = resolve(process.env.TASKWS_BUILD ?? `${HERE}/../../build`);
const WEB = resolve(HERE, '../../examples/web');
const { chromium } = createRequire(pathToFileURL(`${BUILD}/node/`))('playwright-core');
const SECRET = 'a secret of the tests, thirty-two bytes or more';
const NOW = Math.floor(Date.now() / 1000);

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const base64url = (value) => Buffer.from(value).toString('base64url');

function token(sub, claims = {}, secret = SECRET) {
    const head = base64url(JSON.stringify({ alg: 'HS256', typ: 'JWT' }));
    const body = base64url(JSON.stringify({ sub, exp: NOW + 3600, ...claims }));
    const signature = createHmac('sha256', secret).update(`${head}.${body}`).digest('base64url');
    return `${head}.${body}.${signature}`;
}

// -- the server ---------------------------------------------------------------------------

async function freePort() {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address();
    probe.close();
    await once(probe, 'close');
    return port;
}

async function startServer(port, ...options) {
    const where = ['--host', '127.0.0.1', '--port', String(port)];
    const args = [...where, '--secret', SECRET, '--drain', '1', ...options];
    const child = spawn(`${BUILD}/server`, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    child.stderr.on('data', (part) => {
        log += part;
    });
    let said = '';
    for await (const part of child.stdout.iterator({ destroyOnReturn: false })) {
        said += part;
        if (!said.includes('listening on http://')) continue;
        child.stdout.resume();
        return { child, log: () => log };
    }
    throw new Error(`the server never listened: ${said}${log}`);
}

async function stopServer({ child }) {
    if (child.exitCode !== null) return child.exitCode;
    const end = once(child, 'exit');
    child.kill('SIGTERM');
    const killer = setTimeout(() => child.kill('SIGKILL'), 20000);
    const [code] = await end;
    clearTimeout(killer);
    return code;
}

const port = await freePort();
const origin = `http://127.0.0.1:${port}`;
let server = await startServer(port);

async function publish(user, ...events) {
    const answer = await fetch(`${origin}/api/v1/ws/tasks/${encodeURIComponent(user)}`, {
        method: 'POST',
        headers: {
            authorization: `Bearer ${token('worker', { scope: 'publish' })}`,
            'content-type': events.length > 1 ? 'application/x-ndjson' : 'application/json',
        },
        body: events.map((event) => JSON.stringify(event)).join('\n'),
    });
    assert.equal(answer.status, 202, await answer.text());
}

// -- the browser --------------------------------------------------------------------------

const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? (await findChromium()),
    args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-sync',
        '--disable-background-networking',
        '--disable-component-update',
    ],
});

async function findChromium() {
    const find = spawn('sh', ['-c', 'command -v chromium || command -v chromium-browser']);
    let path = '';
    for await (const part of find.stdout) path += part;
    return path.trim();
}

// A page of its own; what it complains about is kept in page.complaints.
async function newPage(options = {}) {
    const context = await browser.newContext({
        viewport: { width: 1280, height: 800 },
        ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15000);
    page.complaints = [];
    page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') {
            page.complaints.push(message.text());
        }
    });
    page.on('pageerror', (error) => page.complaints.push(String(error)));
    return page;
}

const address = (user, jwt = token(user)) =>
    `${origin}/#user=${encodeURIComponent(user)}&token=${jwt}`;
const has = (page, selector, text) =>
    page.locator(selector, { hasText: text }).first().waitFor({ timeout: 15000 });

async function openBoard(user, options) {
    const page = await newPage(options);
    await page.goto(address(user));
    await has(page, '#connection', 'Live');
    return page;
}

// The page's latest WebSocket as window.socket, so that a test can speak for the server.
const keepSocket = (page) =>
    page.addInitScript(() => {
        const real = window.WebSocket;
        window.WebSocket = class extends real {
            constructor(...args) {
                super(...args);
                window.socket = this;
            }
        };
    });

const row = (page, name) =>
    page.locator('.task').filter({ has: page.getByRole('heading', { name, exact: true }) });
const valueIs = (page, name, value) =>
    page.waitForFunction(
        ([label, wanted]) =>
            document.querySelector(`[aria-label="${label}"]`)?.getAttribute('aria-valuenow') ===
            wanted,
        [`Progress of ${name}`, String(value)],
    );

const tests = [];
const test = (sentence, body) => tests.push([sentence, body]);

// -- the dashboard ------------------------------------------------------------------------

test('a published task is on the page, and its bar moves from 0 to 100 %', async () => {
    const page = await openBoard('bar');
    const shares = [];
    for (let progress = 0; progress <= 100; progress += 10) {
        const status = progress < 100 ? 'running' : 'completed';
        await publish('bar', {
            task_id: 't',
            name: 'Import',
            status,
            progress,
            message: `row ${progress}`,
        });
        await valueIs(page, 'Import', progress);
        await page.waitForFunction(
            () => !document.querySelector('.track i').getAnimations().length,
        );
        shares.push(
            await page.evaluate(() => {
                const [track, fill] = ['.track', '.track i'].map((selector) =>
                    document.querySelector(selector).getBoundingClientRect(),
                );
                return Math.round((100 * (fill.right - track.left)) / track.width);
            }),
        );
    }
    assert.deepEqual(shares, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    await has(page, '#group-done .task', 'Import');
    assert.equal(await row(page, 'Import').locator('.state').textContent(), 'Completed');
    assert.equal(await row(page, 'Import').locator('.message').textContent(), 'row 100');
    assert.deepEqual(page.complaints, []);
});

test('what was published before the page opened is there, active tasks first', async () => {
    await publish('past', { task_id: 'a', name: 'Old', status: 'completed' });
    await publish('past', { task_id: 'b', name: 'Waits', status: 'pending' });
    await publish('past', { task_id: 'c', name: 'Runs', status: 'running', progress: 40 });
    await publish('past', { task_id: 'd', name: 'Broke', status: 'failed', error: 'disk full' });
    await publish('past', { task_id: 'e', name: 'Stopped', status: 'cancelled' });
    const page = await openBoard('past');
    await has(page, '.task', 'Stopped');
    assert.deepEqual(await page.locator('.name').allTextContents(), [
        'Runs',
        'Waits',
        'Stopped',
        'Broke',
        'Old',
    ]);
    assert.equal(await row(page, 'Broke').locator('.message').textContent(), 'disk full');
    assert.equal(await page.locator('#headline').textContent(), '1 task running');
    assert.equal(await page.title(), '(1) Tasks');
    assert.deepEqual(page.complaints, []);
});

test('the browser offers compression, the server agrees, and events arrive', async () => {
    const page = await newPage();
    const network = await page.context().newCDPSession(page);
    const answers = [];
    network.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
        const name = Object.keys(response.headers).find((n) => /^sec-websocket-ext/i.test(n));
        answers.push([response.status, response.headers[name]]);
    });
    const came = [];
    network.on('Network.webSocketFrameReceived', ({ response }) =>
        came.push(JSON.parse(response.payloadData)),
    );
    await network.send('Network.enable');
    await page.goto(address('packed'));
    await has(page, '#connection', 'Live');
    assert.deepEqual(answers, [
        [101, 'permessage-deflate; server_no_context_takeover; client_no_context_takeover'],
    ]);
    for (const [name, words] of [['Short', 1], ['Long', 100], ['Longer', 2500]]) {
        const message = `${'row after row, \u20ac; '.repeat(words)}and ${name}`;
        await publish('packed', { task_id: name, name, status: 'running', message });
        await has(page, '.task', name);
        const task = came.find((told) => told.data?.task_id === name);
        assert.ok(task.data.message === message, `${message.length} characters of ${name}`);
    }
    assert.deepEqual(page.complaints, []);
});

test('the browser and echo keep contexts, and every message is what it was', async () => {
    for (const [options, agreed] of [
        [[], '; client_max_window_bits=12'],
        [['--context-bits', '15'], ''],
        [['--context-bytes', '0'], '; server_no_context_takeover; client_no_context_takeover'],
    ]) {
        const child = spawn(`${BUILD}/echo`, ['--port', '0', '--compress-from', '1', ...options], {
            stdio: ['ignore', 'pipe', 'inherit'],
        });
        const [line] = await once(child.stdout, 'data');
        const page = await newPage();
        const network = await page.context().newCDPSession(page);
        await network.send('Network.enable');
        let answer;
        network.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
            const name = Object.keys(response.headers).find((n) => /^sec-websocket-ext/i.test(n));
            answer = response.headers[name];
        });
        const same = await page.evaluate(
            (url) =>
                new Promise((resolve, reject) => {
                    const socket = new WebSocket(url);
                    const texts = Array.from({ length: 300 }, (_, n) =>
                        n % 60 === 59
                            ? 'many words, \u20ac, '.repeat(n * 100)
                            : JSON.stringify({ task_id: `t${n % 7}`, progress: n, name: 'segment' }),
                    );
                    let came = 0;
                    let right = 0;
                    socket.onopen = () => texts.forEach((text) => socket.send(text));
                    socket.onmessage = ({ data }) => {
                        right += data === texts[came];
                        came += 1;
                        if (came === texts.length) resolve(right);
                    };
                    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
                }),
            /http:\/\/(\S+)/.exec(line)[0].replace('http', 'ws'),
        );
        assert.equal(same, 300);
        assert.equal(answer, `permessage-deflate${agreed}`);
        assert.deepEqual(page.complaints, []);
        await page.context().close();
        assert.equal(await stopServer({ child }), 0);
    }
});

test('the server stops: the page says so; it starts again: the page is live again', async () => {
    const page = await openBoard('again');
    await publish('again', { task_id: 't', name: 'Before', status: 'running', progress: 5 });
    await valueIs(page, 'Before', 5);
    const stopped = stopServer(server);
    await has(page, '#notice-title', 'The server is restarting');
    assert.match(await page.locator('#notice-code').textContent(), /^1001/);
    assert.equal(await stopped, 0);
    await page.waitForFunction(() =>
        /^Retry in \d+ s$|^Connecting…$/.test(
            document.querySelector('#connection-text').textContent,
        ),
    );
    await has(page, '#notice-text', 'cannot be reached');
    server = await startServer(port);
    await page
        .locator('#retry')
        .click({ timeout: 2000 })
        .catch(() => {}); // or it was faster
    await has(page, '#connection', 'Live');
    await page.locator('#notice').waitFor({ state: 'hidden' });
    await publish('again', { task_id: 'u', name: 'After', status: 'running', progress: 77 });
    await valueIs(page, 'After', 77);
    await has(page, '#spoken', 'Connected again');
    assert.equal(await row(page, 'Before').count(), 0, 'a new store knows nothing of it: reset');
    for (const complaint of page.complaints) assert.match(complaint, /ERR_CONNECTION_REFUSED/);
});

const REFUSALS = [
    [
        'a token of another key',
        token('no', {}, 'another secret of thirty-two bytes at least'),
        '4401 token_signature',
    ],
    ['an expired token', token('no', { exp: NOW - 3600 }), '4401 token_expired'],
    ['a token that is no token', 'nonsense', '4401 token_malformed'],
    ['a token that no subprotocol can hold', 'to"ken', '4401 token_malformed'],
    ['a token that no header can hold', `${token('no').slice(0, 60)}…`, '4401 token_malformed'],
    ['a token of another user', token('other'), '4403 forbidden_user'],
];
for (const [what, jwt, code] of REFUSALS) {
    test(`${what}: the page says why and asks for another`, async () => {
        const page = await newPage();
        await page.goto(address('no', encodeURIComponent(jwt)));
        await has(page, '#notice-code', code);
        assert.match(await page.locator('#notice-text').textContent(), /\w+ \w+/);
        assert.equal(await page.locator('#connection').textContent(), 'Refused');
        await page.locator('#in-token').fill(token('no'));
        await page.locator('#in-user').fill('no');
        await page.keyboard.press('Enter');
        await has(page, '#connection', 'Live');
        await page.locator('#notice').waitFor({ state: 'hidden' });
        assert.deepEqual(page.complaints, []);
    });
}

test('without a token the page asks for one; the user may come from inside the token', async () => {
    const page = await newPage();
    await page.goto(origin);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'in-user');
    await page.keyboard.press('Tab');
    await page.keyboard.insertText(token('inside'));
    await page.keyboard.press('Enter');
    await has(page, '#connection', 'Live');
    assert.equal(await page.locator('#user').textContent(), 'inside');
    assert.equal(await page.locator('#headline').textContent(), 'No tasks yet');
    await page.getByText('appears here at once').waitFor();
    assert.deepEqual(page.complaints, []);
});

test('a connection that the server ended for good is made anew when asked to', async () => {
    const page = await newPage();
    await keepSocket(page);
    await page.goto(address('ended'));
    await has(page, '#connection', 'Live');
    await publish('ended', { task_id: 1, name: 'Before', status: 'running' });
    await row(page, 'Before').waitFor();
    await page.evaluate(() => socket.onclose({ code: 1000, reason: '' }));
    await has(page, '#connection', 'Closed');
    await publish('ended', { task_id: 1, status: 'completed' });
    await page.getByRole('button', { name: 'Try now' }).click();
    await has(page, '#connection', 'Live');
    await has(page, '#group-done .task', 'Before');
});

test('a connection ends with its token, unless a new one comes over it in time', async () => {
    const page = await newPage();
    await page.goto(origin);
    const ending = token('ends', { exp: Math.floor(Date.now() / 1000) - 24 }); // leeway: 30 s
    await page.evaluate(
        async ([ending, fresh]) => {
            const { connectTasks } = await import('/taskws.js');
            window.seen = [[], []];
            window.sent = [];
            const send = WebSocket.prototype.send;
            WebSocket.prototype.send = function (text) {
                sent.push(JSON.parse(text).type);
                send.call(this, text);
            };
            let asked = 0;
            [() => ending, () => (asked++ ? fresh : ending)].forEach((token, i) =>
                connectTasks({
                    url: '/api/v1/ws/tasks/ends',
                    token,
                    onState: ({ state, code, error }) =>
                        seen[i].push([state, code, error].join(' ').trim()),
                }),
            );
        },
        [ending, token('ends')],
    );
    await page.waitForFunction(() => seen[0].at(-1).startsWith('closed'));
    await sleep(1500);
    const [stale, renewed] = await page.evaluate(() => seen);
    assert.equal(stale.at(-1), 'closed 4401 token_expired');
    assert.deepEqual(renewed, ['connecting', 'open']);
    assert.deepEqual(await page.evaluate(() => sent), ['auth']);
    assert.deepEqual(page.complaints, []);
});

test('the page says when its token is about to end', async () => {
    const page = await newPage();
    await page.goto(address('soon', token('soon', { exp: Math.floor(Date.now() / 1000) + 40 })));
    await has(page, '#connection', 'Live');
    await has(page, '#notice-title', 'The token is about to end');
    assert.match(await page.locator('#notice-text').textContent(), /^It ends in [1-4]\d s\.$/);
    await page.getByRole('button', { name: 'Use another token' }).click();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'in-token');
    await page.keyboard.insertText(token('soon'));
    await page.keyboard.press('Enter');
    await page.locator('#notice').waitFor({ state: 'hidden' });
    await has(page, '#connection', 'Live');
});

test('a clock that is hours ahead makes no token end', async () => {
    const page = await newPage();
    await page.clock.install({ time: Date.now() + 7200000 });
    await page.goto(address('ahead'));
    await has(page, '#connection', 'Live');
    await page.clock.runFor(2000);
    assert.equal(await page.locator('#notice').isVisible(), false);
});

test('the token leaves the address, stands in no request and survives a reload', async () => {
    const page = await newPage();
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    page.on('websocket', (socket) => asked.push(socket.url()));
    const jwt = token('kept');
    await page.goto(address('kept', jwt));
    await has(page, '#connection', 'Live');
    assert.equal(new URL(page.url()).hash, '#user=kept');
    await page.reload();
    await has(page, '#connection', 'Live');
    assert.ok(asked.some((url) => url.startsWith('ws:')));
    const signature = jwt.split('.')[2];
    assert.deepEqual(
        asked.filter((url) => url.replace(/#.*/, '').includes(signature)),
        [],
    );
    assert.ok(!server.log().includes(signature));
});

test('who comes to another user sees that one, and nothing of the one before', async () => {
    await publish('before', { task_id: 'x', name: 'Private' });
    await publish('after', { task_id: 'y', name: 'Public' });
    const page = await newPage();
    await page.goto(address('before', token('before')));
    await row(page, 'Private').waitFor();
    await page.evaluate(() => (location.hash = '#user=after'));
    await page.fill('#in-token', token('after'));
    await page.click('#sign-in button[type=submit]');
    await row(page, 'Public').waitFor();
    assert.equal(await row(page, 'Private').count(), 0);
});

test('who signs in as another user hears and sees nothing of the one before, not for a moment', async () => {
    const page = await openBoard('left');
    await publish('left', { task_id: 'x', name: 'Private', status: 'running' });
    await row(page, 'Private').waitFor();
    await publish('left', { task_id: 'x', name: 'Private', status: 'completed' });
    await has(page, '#group-done .task', 'Private');
    const seen = await page.evaluate(async (jwt) => {
        const seen = [];
        location.hash = `#user=come&token=${jwt}`;
        while (document.getElementById('user').textContent !== 'come') {
            await new Promise((done) => setTimeout(done));
        }
        for (let i = 0; i < 40; i++) {
            const text = document.body.textContent;
            if (text.includes('Private')) seen.push(i);
            await new Promise((done) => setTimeout(done, 50));
        }
        return seen;
    }, token('come'));
    assert.deepEqual(seen, []);
    await has(page, '#connection', 'Live');
    assert.deepEqual(page.complaints, []);
});

test('the address names the prefix of the routes, but no other server', async () => {
    const other = await freePort();
    const prefixed = await startServer(other, '--prefix', '/live');
    const page = await newPage();
    const fragment = `#user=p&token=${token('p')}`;
    await page.goto(`http://127.0.0.1:${other}/${fragment}&prefix=/live`);
    await has(page, '#connection', 'Live');
    const foreign = await newPage();
    const hosts = new Set();
    foreign.on('websocket', (socket) => hosts.add(new URL(socket.url()).host));
    await foreign.goto(`${origin}/${fragment}&prefix=//127.0.0.1:${other}/live`);
    await has(foreign, '#connection', 'Live');
    assert.deepEqual([...hosts], [new URL(origin).host]);
    await stopServer(prefixed);
});

test('a user id of any characters reaches the right tasks', async () => {
    for (const user of ['a b', 'ü/ß', '100%', "o'neil&co"]) {
        const page = await openBoard(user);
        await publish(user, { task_id: 't', name: 'Mine', status: 'running', progress: 1 });
        await valueIs(page, 'Mine', 1);
        await page.context().close();
    }
});

test('the page is sent under a strict content security policy, and works', async () => {
    const { headers } = await fetch(origin);
    assert.match(headers.get('content-security-policy'), /default-src '(self|none)'/);
    assert.doesNotMatch(headers.get('content-security-policy'), /unsafe|data:|https?:|\*/);
    const page = await openBoard('csp');
    await publish('csp', { task_id: 't', name: 'Strict', status: 'running', progress: 30 });
    await valueIs(page, 'Strict', 30);
    assert.match(await page.locator('.track i').getAttribute('style'), /translateX\(-70%\)/);
    assert.equal(
        await page.evaluate(() => {
            const script = document.createElement('script');
            script.textContent = 'window.inlined = 1';
            document.body.append(script);
            return window.inlined;
        }),
        undefined,
    );
    assert.equal(page.complaints.length, 1);
    assert.match(page.complaints[0], /Content Security Policy/);
});

test('markup in what a worker says is shown as text', async () => {
    const page = await openBoard('markup');
    const evil = '<img src=x onerror="window.hit=1"><script>window.hit=1</script>';
    await publish('markup', {
        task_id: evil,
        name: evil,
        status: evil,
        message: evil,
        progress: 1,
    });
    await publish('markup', { hello: evil });
    await has(page, '.name', evil);
    await page.locator('.expand').click();
    await has(page, '.task pre', 'onerror');
    assert.equal(await page.locator('main img, main script').count(), 0);
    assert.equal(await page.evaluate(() => window.hit), undefined);
    assert.equal(await page.locator('#n-other').textContent(), '1');
    assert.deepEqual(page.complaints, []);
});

// What the worker sends; the state in words, and the percentage that the page shows.
const DIALECTS = [
    [{ status: 'running', progress: 12.9 }, 'Running', '12'],
    [{ status: 'RUNNING', percent: '34%' }, 'Running', '34'],
    [{ state: 'PROGRESS', meta: { current: 3, total: 4 } }, 'Running', '75'],
    [{ state: 'SUCCESS', result: { rows: 5 } }, 'Completed', '100'],
    [{ status: 'failure', error: { message: 'no' }, progress: 50 }, 'Failed', '50'],
    [{ status: 'revoked' }, 'Cancelled', null],
    [{ status: 'queued' }, 'Pending', null],
    [{ status: 'Re-indexing', progress: 20 }, 'Re-indexing', '20'],
    [{ status: 'in progress' }, 'Running', null],
    [{ progress: 0 }, 'Running', '0'],
    [{ progress: 100 }, 'Completed', '100'],
    [{ progress: 250, status: 'running' }, 'Running', '100'],
    [{ progress: -5, status: 'running' }, 'Running', '0'],
    [{ progress: 'soon', status: 'running' }, 'Running', null],
    [{ progress: null, status: null }, 'Pending', null],
    [{ progress: { current: 1, total: 0 }, status: 7 }, '7', null],
    [{ error: 'boom' }, 'Failed', null],
    [{ started_at: {}, name: [1, 2], message: { deep: [] } }, 'Pending', null],
];
test('whatever a worker says becomes a state and a figure', async () => {
    const page = await openBoard('dialects');
    await publish('dialects', ...DIALECTS.map(([said], i) => ({ task_id: i, ...said })));
    await page.waitForFunction(
        (n) => document.querySelectorAll('.task').length === n,
        DIALECTS.length,
    );
    const shown = await page.evaluate(() =>
        Object.fromEntries(
            [...document.querySelectorAll('.task')].map((item) => {
                item.querySelector('.expand').click();
                return [
                    item.querySelector('dd').textContent,
                    [
                        item.querySelector('.state').textContent,
                        item.querySelector('[role=progressbar]').getAttribute('aria-valuenow'),
                    ],
                ];
            }),
        ),
    );
    const wanted = Object.fromEntries(DIALECTS.map(([, ...figure], i) => [i, figure]));
    assert.deepEqual(shown, wanted);
    assert.deepEqual(page.complaints, []);
});

test('a time that is an object is no time, and costs no task', async () => {
    const page = await openBoard('odd');
    const odd = { toString: 1, valueOf: 2 };
    await publish('odd', { task_id: 'a', name: 'Odd', status: 'running', started_at: odd });
    await row(page, 'Odd').waitFor();
    assert.deepEqual(page.complaints, []);
});

test('an event that leaves out the name or the status keeps what was known', async () => {
    const page = await openBoard('partial');
    await publish('partial', {
        task_id: 1,
        name: 'Named',
        status: 'running',
        message: 'begins',
        progress: 0,
    });
    await publish('partial', { task_id: '1', progress: 60 });
    await valueIs(page, 'Named', 60);
    assert.equal(await row(page, 'Named').locator('.message').textContent(), 'begins');
    assert.equal(await page.locator('.task').count(), 1);
    await publish('partial', { task_id: 1, status: 'completed' });
    await has(page, '#group-done .task', 'Named');
    assert.equal(await row(page, 'Named').locator('.message').textContent(), '');
});

test('what belongs to no task is listed apart', async () => {
    const page = await openBoard('loose');
    await publish('loose', { hello: 'world' });
    await publish('loose', { message: 'just words' });
    await page.locator('#other summary').click();
    await page.waitForFunction(() => document.querySelectorAll('#others li').length === 2);
    const texts = await page.locator('#others span').allTextContents();
    assert.deepEqual(texts, ['just words', '{"hello":"world"}']);
    assert.equal(await page.locator('.task').count(), 0);
});

test('times stand there both ways, and an ended task says how long it took', async () => {
    const page = await openBoard('times');
    const started = new Date(Date.now() - 125000).toISOString();
    await publish('times', { task_id: 1, name: 'Long', status: 'running', started_at: started });
    const times = row(page, 'Long').locator('time');
    await has(page, '.when', '2 min ago');
    assert.equal(await times.first().getAttribute('datetime'), started);
    assert.match(await times.first().textContent(), /\d?\d:\d\d:\d\d/);
    assert.ok(
        Math.abs(Date.parse(await times.last().getAttribute('datetime')) - Date.now()) < 30000,
    );
    await publish('times', { task_id: 1, status: 'completed' });
    await has(page, '#group-done .when', 'took 2 min');
    await publish('times', { task_id: 1, status: 'running', progress: 3 });
    await has(page, '#group-active .when', 'just now');
    assert.notEqual(await times.first().getAttribute('datetime'), started, 'it runs anew');

    await publish('times', { task_id: 2, name: 'Midway', status: 'running', progress: 50 });
    await page.reload();
    await valueIs(page, 'Midway', 50);
    await publish('times', { task_id: 2, progress: 51 });
    await valueIs(page, 'Midway', 51);
    assert.equal(await row(page, 'Midway').getByText('Started').isVisible(), false, 'nobody knows');
});

test('two thousand tasks: a hundred rows each, more on demand, updated in place', async () => {
    const page = await openBoard('many');
    const event = (i, progress) => ({
        task_id: `t${i}`,
        name: `Task ${i}`,
        status: i % 2 ? 'completed' : 'running',
        progress,
    });
    for (let from = 0; from < 2000; from += 100) {
        // the server retains 256, the page more
        await publish('many', ...Array.from({ length: 100 }, (_, i) => event(from + i, 10)));
        await page.waitForFunction(
            (n) => document.querySelector('#n-all').textContent === n.toLocaleString('en'),
            from + 100,
        );
    }
    assert.equal(await page.locator('.task').count(), 200);
    const first = await page.locator('.name').first().textContent();
    await page.evaluate(() => {
        document.querySelector('.task').kept = true;
    });
    await publish('many', event(Number(first.slice(5)), 66));
    await valueIs(page, first, 66);
    assert.ok(await page.evaluate(() => document.querySelector('.task').kept));
    await page.getByRole('button', { name: 'Show 100 more of 900' }).first().press('Enter');
    assert.equal(await page.locator('.task').count(), 300);
    assert.equal(
        await page.evaluate(
            () =>
                document.activeElement.closest('.task') ===
                document.querySelectorAll('#group-active .task')[100],
        ),
        true,
    );
    assert.deepEqual(page.complaints, []);
});

test('of active tasks and of ended ones the page keeps 5,000 each, those heard of last', async () => {
    const page = await newPage();
    await keepSocket(page);
    await page.goto(address('weeks'));
    await has(page, '#connection', 'Live');
    await page.evaluate(() => {
        window.say = (data) =>
            socket.onmessage({ data: JSON.stringify({ type: 'task', id: null, data }) });
        for (let i = 0; i < 5002; i++) {
            say({ task_id: `a${i}`, name: `Active ${i}`, status: 'running' });
            say({ task_id: `d${i}`, name: `Done ${i}`, status: 'completed' });
            if (i === 5000) say({ task_id: 'a0', progress: 50 });
        }
    });
    await has(page, '#n-all', '10,000');
    assert.equal(await page.locator('#n-active').textContent(), '5,000');
    await page.evaluate(() => {
        for (const task_id of ['a0', 'a1', 'a3', 'd1', 'd3']) say({ task_id, status: 'failed' });
    });
    await has(page, '.task', 'a1');
    assert.deepEqual((await page.locator('#group-done .name').allTextContents()).slice(0, 5), [
        'Done 3',
        'd1',
        'Active 3',
        'a1',
        'Active 0',
    ]);
    assert.deepEqual(page.complaints, []);
});

// -- for everybody ------------------------------------------------------------------------

test('everything is done by keyboard: skip link, filter, details', async () => {
    const page = await openBoard('keys');
    await publish('keys', { task_id: 1, name: 'One', status: 'running', progress: 10 });
    await publish('keys', { task_id: 2, name: 'Two', status: 'completed' });
    await has(page, '.task', 'Two');
    const focused = () =>
        page.evaluate(() => {
            const at = document.activeElement;
            return at.getAttribute('aria-label') ?? at.value ?? at.textContent.trim();
        });
    const order = [];
    for (let i = 0; i < 5; i++) {
        await page.keyboard.press('Tab');
        order.push((await focused()) || (await page.evaluate(() => document.activeElement.id)));
        assert.notEqual(
            await page.evaluate(() => {
                const at = document.activeElement;
                return getComputedStyle(at.type === 'radio' ? at.nextElementSibling : at)
                    .outlineStyle;
            }),
            'none',
            `the focus is visible on ${order.at(-1)}`,
        );
    }
    assert.deepEqual(order, [
        'Skip to the tasks',
        'change',
        'all',
        'Details of One',
        'Details of Two',
    ]);

    await page.keyboard.press('Enter');
    const expand = page.getByRole('button', { name: 'Details of Two' });
    assert.equal(await expand.getAttribute('aria-expanded'), 'true');
    const panel = await expand.getAttribute('aria-controls');
    assert.match(await page.locator(`#${panel}`).textContent(), /"task_id": 2/);
    await page.keyboard.press('ArrowUp');
    assert.equal(await focused(), 'Details of One');

    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('ArrowRight');
    assert.deepEqual(await page.locator('.name').allTextContents(), ['One']);
    await page.keyboard.press('ArrowRight');
    assert.deepEqual(await page.locator('.name').allTextContents(), ['Two']);

    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'keys');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'change');
});

test('the skip link leads to the tasks, and neither reconnects nor signs out', async () => {
    const page = await newPage();
    await page.addInitScript(() => {
        Object.defineProperty(window, 'sessionStorage', {
            get() {
                throw new DOMException('it is off', 'SecurityError');
            },
        });
    });
    let sockets = 0;
    page.on('websocket', () => sockets++);
    await page.goto(address('skips'));
    await has(page, '#connection', 'Live');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await publish('skips', { task_id: 1, name: 'One', status: 'running' });
    await row(page, 'One').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    assert.equal(sockets, 1);
});

test('the focus stays in a row that moves', async () => {
    const page = await openBoard('moves');
    await publish('moves', { task_id: 1, name: 'One', status: 'running' });
    await publish('moves', { task_id: 2, name: 'Two', status: 'running' });
    await has(page, '.task', 'Two');
    await page.getByRole('button', { name: 'Details of One' }).focus();
    await publish('moves', { task_id: 1, status: 'completed' });
    await has(page, '#group-done .task', 'One');
    assert.equal(
        await page.evaluate(() => document.activeElement.getAttribute('aria-label')),
        'Details of One',
    );
});

test('landmarks, roles and names are there for a screen reader', async () => {
    const page = await openBoard('roles');
    await publish('roles', { task_id: 1, name: 'Figure', status: 'running', progress: 42 });
    await publish('roles', { task_id: 2, name: 'None', status: 'running' });
    await has(page, '.task', 'None');
    for (const role of ['banner', 'main', 'status']) {
        assert.equal(await page.getByRole(role).count(), 1, role);
    }
    assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
    await page.getByRole('group', { name: 'Show' }).getByRole('radio', { name: 'All 2' }).waitFor();
    await page.getByRole('region', { name: 'Active' }).getByRole('list').waitFor();
    const bar = page.getByRole('progressbar', { name: 'Progress of Figure' });
    const attributes = ['aria-valuenow', 'aria-valuemin', 'aria-valuemax', 'aria-valuetext'];
    assert.deepEqual(await Promise.all(attributes.map((name) => bar.getAttribute(name))), [
        '42',
        '0',
        '100',
        '42 %, Running',
    ]);
    const unknown = page.getByRole('progressbar', { name: 'Progress of None' });
    assert.equal(await unknown.getAttribute('aria-valuenow'), null);
    assert.equal(await unknown.getAttribute('aria-valuetext'), 'Running');
    const nameless = await page.evaluate(() =>
        [...document.querySelectorAll('button, input, a, [role=progressbar]')]
            .filter(
                (e) => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length),
            )
            .map((e) => e.outerHTML),
    );
    assert.deepEqual(nameless, []);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
});

test('changes of state are spoken, percentages are not', async () => {
    const page = await openBoard('speech');
    await page.evaluate(() => {
        window.spoken = [];
        const voice = document.querySelector('#spoken');
        new MutationObserver(() => spoken.push(voice.textContent)).observe(voice, {
            childList: true,
        });
    });
    for (let progress = 0; progress < 60; progress += 5) {
        await publish('speech', { task_id: 1, name: 'Talk', status: 'running', progress });
    }
    await page.waitForFunction(() => spoken.length === 1);
    await publish('speech', { task_id: 1, status: 'completed' });
    await page.waitForFunction(() => spoken.length === 2);
    const crowd = Array.from({ length: 9 }, (_, i) => ({ task_id: `x${i}`, status: 'failed' }));
    await publish('speech', ...crowd);
    await page.waitForFunction(() => spoken.length === 3);
    assert.deepEqual(await page.evaluate(() => spoken), [
        'Talk: Running.',
        'Talk: Completed.',
        '9 tasks failed.',
    ]);
});

for (const colorScheme of ['light', 'dark']) {
    test(`text has a contrast of 4.5 or more when it is ${colorScheme}`, async () => {
        const page = await openBoard(`contrast-${colorScheme}`, {
            colorScheme,
            reducedMotion: 'reduce',
        });
        const states = ['pending', 'running', 'completed', 'failed', 'cancelled'];
        await publish(
            `contrast-${colorScheme}`,
            ...states.map((status) => ({
                task_id: status,
                name: status,
                status,
                message: 'words',
            })),
        );
        await has(page, '.task', 'cancelled');
        await page.locator('.expand').first().click();
        const poor = await page.evaluate(() => {
            const rgb = (text) => text.match(/[\d.]+/g).map(Number);
            const light = (color) => {
                const [r, g, b] = rgb(color).map((v) =>
                    v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
                );
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = (e) => {
                const color = e ? getComputedStyle(e).backgroundColor : 'rgb(255, 255, 255)';
                return rgb(color)[3] === 0 ? ground(e.parentElement) : color;
            };
            const found = [];
            for (const e of document.body.querySelectorAll('*')) {
                const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !e.checkVisibility() || e.closest('.unseen, svg')) continue;
                const [a, b] = [getComputedStyle(e).color, ground(e)]
                    .map(light)
                    .sort((x, y) => y - x);
                if ((a + 0.05) / (b + 0.05) < 4.5)
                    found.push(`${e.className || e.tagName}: ${e.textContent}`);
            }
            return found;
        });
        assert.deepEqual(poor, []);
    });
}

test('without a figure only a running task has a bar that moves', async () => {
    const page = await openBoard('still');
    const states = ['pending', 'running', 'failed', 'cancelled'];
    await publish('still', ...states.map((status) => ({ task_id: status, name: status, status })));
    for (const status of states) {
        const moving = await row(page, status)
            .locator('.track i')
            .evaluate((fill) => fill.getAnimations().length);
        assert.equal(moving, status === 'running' ? 1 : 0, status);
    }
});

test('with reduced motion nothing moves', async () => {
    const page = await openBoard('still', { reducedMotion: 'reduce' });
    await publish('still', { task_id: 1, name: 'Still', status: 'running' });
    await has(page, '.task', 'Still');
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
});

test('a name is read in its own direction, and one of blanks alone is none', async () => {
    const page = await openBoard('directions');
    await publish('directions', { task_id: 1, name: 'שלום.', status: 'running' });
    await publish('directions', { task_id: 'key', name: '  ', status: 'running' });
    await row(page, 'key').waitFor();
    const [dot, letter] = await row(page, 'שלום.')
        .locator('.name')
        .evaluate((name) =>
            [4, 0].map((at) => {
                const range = document.createRange();
                range.setStart(name.firstChild, at);
                range.setEnd(name.firstChild, at + 1);
                return range.getBoundingClientRect().left;
            }),
        );
    assert.ok(dot < letter, 'the full stop stands at its end, on the left');
});

test('a narrow phone needs no scrolling sideways', async () => {
    const page = await openBoard('phone', { viewport: { width: 320, height: 640 } });
    const long = 'Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft';
    await publish('phone', { task_id: long.repeat(3), status: 'running', message: long.repeat(4) });
    await publish('phone', { text: long.repeat(4) });
    await has(page, '.task', 'Donau');
    await page.locator('.expand').click();
    await page.locator('#other summary').click();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
});

// -- the dashboard without WebSocket ------------------------------------------------------

test('without WebSocket the page follows the event stream, and resumes after a break', async () => {
    const page = await newPage();
    await page.addInitScript(() => {
        delete window.WebSocket;
    });
    await page.goto(address('sse'));
    await has(page, '#connection', 'Live (SSE)');
    await publish('sse', { task_id: 1, name: 'Streamed', status: 'running', progress: 25 });
    await valueIs(page, 'Streamed', 25);
    const asked = page.waitForRequest((request) => request.url().includes('since='));
    assert.equal(await stopServer(server), 0);
    server = await startServer(port);
    assert.match((await asked).url(), /since=\d+-\d+$/);
    assert.equal((await asked).headers().authorization, `Bearer ${token('sse')}`);
    await has(page, '#connection', 'Live (SSE)');
    await publish('sse', { task_id: 2, name: 'Later', status: 'running', progress: 50 });
    await valueIs(page, 'Later', 50);
});

test('where WebSocket never opens, the page falls back to the event stream', async () => {
    const page = await newPage();
    await page.addInitScript(() => {
        window.tried = 0;
        window.WebSocket = class {
            constructor() {
                window.tried++;
                setTimeout(() => this.onclose({ code: 1006, reason: '' }));
            }
            close() {}
        };
    });
    await page.goto(address('walled'));
    await has(page, '#connection', 'Live (SSE)');
    assert.equal(await page.evaluate(() => window.tried), 3);
    await publish('walled', { task_id: 1, name: 'Through', status: 'running', progress: 9 });
    await valueIs(page, 'Through', 9);
});

test('a page that fell back in an outage tries WebSocket once more', async () => {
    const page = await newPage();
    await page.addInitScript(() => {
        const real = window.WebSocket;
        window.tried = 0;
        window.WebSocket = function (...args) {
            this.close = () => {};
            if (++window.tried <= 3) {
                setTimeout(() => this.onclose({ code: 1006, reason: '' }));
                return;
            }
            const begin = () => { // not before the server is back, however early the page tries
                if (!window.back) return setTimeout(begin, 20);
                const socket = new real(...args);
                for (const on of ['onopen', 'onmessage', 'onclose']) socket[on] = (e) => this[on]?.(e);
                Object.defineProperty(this, 'readyState', { get: () => socket.readyState });
                this.send = (text) => socket.send(text);
                this.close = (code) => socket.close(code);
            };
            begin();
        };
    });
    await page.goto(address('outage'));
    await has(page, '#connection', 'Live (SSE)');
    await stopServer(server);
    server = await startServer(port);
    await page.evaluate(() => { window.back = true; });
    await page.waitForFunction(() => window.tried === 4);
    await page.waitForFunction(
        () => document.querySelector('#connection-text').textContent === 'Live',
    );
});

test('over the event stream, too, a refusal says why', async () => {
    for (const [, jwt, code] of REFUSALS.filter(([, jwt]) => jwt.includes('.'))) {
        const page = await newPage();
        await page.addInitScript(() => {
            delete window.WebSocket;
        });
        await page.goto(address('no', jwt));
        await has(page, '#notice-code', code);
        await page.context().close();
    }
});

// -- taskws.js by itself ------------------------------------------------------------------

// A page with taskws.js, a WebSocket that does what the test says, and a clock that stands still.
async function scripted() {
    const page = await newPage();
    await page.route('http://taskws.test/**', (route) => {
        const isModule = route.request().url().endsWith('/taskws.js');
        return isModule
            ? route.fulfill({
                  contentType: 'text/javascript',
                  body: readFileSync(`${WEB}/taskws.js`),
              })
            : route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>-</title>' });
    });
    await page.clock.install();
    await page.addInitScript(() => {
        window.sockets = [];
        window.asked = 0;
        window.WebSocket = class {
            constructor(url, protocols) {
                Object.assign(this, { url: String(url), protocols, readyState: 0, sent: [] });
                sockets.push(this);
            }
            send(text) {
                this.sent.push(JSON.parse(text));
            }
            close(code) {
                this.readyState = 3;
                this.closedWith = code;
            }
            open() {
                this.readyState = 1;
                this.onopen();
            }
            say(message) {
                this.onmessage({ data: JSON.stringify(message) });
            }
            end(code, reason = '') {
                this.readyState = 3;
                this.onclose({ code, reason });
            }
            greet(more) {
                this.open();
                this.say({
                    type: 'connected',
                    user_id: '2',
                    heartbeat_s: 25,
                    last_id: '0-0',
                    ...more,
                });
            }
        };
        window.start = async (options) => {
            const { connectTasks } = await import('/taskws.js');
            window.states = [];
            window.got = [];
            window.tasks = connectTasks({
                url: '/api/v1/ws/tasks/2',
                onState: (state) => states.push(state),
                onTask: (data, id) => got.push([data, id]),
                onReset: (reason) => got.push(reason),
                ...options,
            });
            await window.settled();
        };
        window.settled = async () => {
            for (let i = 0; i < 20; i++) await null;
        };
    });
    await page.goto('http://taskws.test/');
    await page.clock.pauseAt(Date.now() + 60000);
    return page;
}

// Close code, what follows: 'never', 'again' (with backoff), 'later' (random), 'token' (a new one).
const CODES = [
    [1000, 'never'],
    [1001, 'later'],
    [1002, 'never'],
    [1003, 'never'],
    [1006, 'again'],
    [1007, 'never'],
    [1009, 'never'],
    [1011, 'again'],
    [1013, 'again'],
    [4400, 'never'],
    [4401, 'token'],
    [4403, 'never'],
    [4408, 'again'],
    [4409, 'again'],
    [4429, 'again'],
    [1005, 'again'],
    [1012, 'again'],
    [4999, 'again'],
];
test('taskws.js does after each close code what the table of close codes says', async () => {
    const page = await scripted();
    for (const [code, then] of CODES) {
        await page.evaluate(async () => {
            sockets.length = 0;
            await start({ token: () => `token-${++asked}` });
            sockets[0].greet();
            sockets[0].say({ type: 'task', id: '7-1', data: { task_id: 't' } });
        });
        await page.clock.runFor(20000);
        const [state, wait] = await page.evaluate((code) => {
            sockets[0].end(code, 'because');
            const last = states.at(-1);
            return [last.state, last.retryAt - Date.now()];
        }, code);
        assert.equal(state, then === 'never' ? 'closed' : 'waiting', String(code));
        if (then === 'again') assert.ok(wait >= 250 && wait <= 500, `${code}: ${wait} ms`);
        if (then === 'later') assert.ok(wait >= 2500 && wait <= 5000, `${code}: ${wait} ms`);
        if (then === 'token') assert.equal(wait, 0);
        await page.clock.runFor(60000);
        const made = await page.evaluate(() => [sockets.length, sockets[1]?.url, states.at(-1)]);
        if (then === 'never') {
            assert.equal(made[0], 1, `${code}: never again`);
            assert.equal(made[2].code, code);
            assert.equal(made[2].message, 'because');
        } else {
            assert.ok(made[0] > 1, `${code}: again`);
            assert.equal(new URL(made[1]).searchParams.get('since'), '7-1');
        }
        await page.evaluate(() => tasks.close());
    }
    assert.deepEqual(page.complaints, []);
});

test('taskws.js: the delay doubles up to half a minute, and is never twice the same', async () => {
    const page = await scripted();
    await page.evaluate(() => start({ token: 't' }));
    const waits = [];
    for (let i = 0; i < 10; i++) {
        waits.push(
            await page.evaluate(() => {
                sockets.at(-1).open();
                sockets.at(-1).say({ type: 'pong' }); // it opened: no fallback
                sockets.at(-1).end(1006);
                return states.at(-1).retryAt - Date.now();
            }),
        );
        await page.clock.runFor(Math.ceil(waits.at(-1)) + 1);
        await page.evaluate(() => settled());
    }
    waits.forEach((wait, i) => {
        const most = Math.min(30000, 500 * 2 ** i);
        assert.ok(wait >= most / 2 && wait <= most, `attempt ${i}: ${wait} ms`);
    });
    assert.equal(new Set(waits).size, waits.length);
});

test('taskws.js: a token refused is asked for anew, and the same one is not tried twice', async () => {
    const page = await scripted();
    const refuse = () =>
        page.evaluate(async () => {
            sockets.at(-1).open();
            sockets.at(-1).say({
                type: 'error',
                code: 'token_expired',
                message: 'it has ended',
                retry: true,
                close: 4401,
            });
            sockets.at(-1).end(4401);
        });
    await page.evaluate(() => start({ token: () => (++asked < 3 ? `new-${asked}` : 'new-2') }));
    await refuse();
    await page.clock.runFor(10);
    assert.deepEqual(await page.evaluate(() => sockets.map((socket) => socket.protocols)), [
        ['taskws.v1', 'bearer.new-1'],
        ['taskws.v1', 'bearer.new-2'],
    ]);
    await refuse();
    await page.clock.runFor(60000);
    const [made, last] = await page.evaluate(() => [sockets.length, states.at(-1)]);
    assert.equal(made, 2);
    assert.deepEqual(
        [last.state, last.code, last.error, last.message],
        ['closed', 4401, 'token_expired', 'it has ended'],
    );

    await page.evaluate(() => {
        sockets.length = 0;
        return start({ token: 'fixed' });
    });
    await refuse();
    await page.clock.runFor(60000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, states.at(-1).state]), [
        1,
        'closed',
    ]);
});

test('taskws.js: on `expiring` a new token goes over the same connection', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({ token: async () => `token-${++asked}` });
        sockets[0].greet();
        sockets[0].say({ type: 'expiring', expires_in: 40 });
    });
    await page.clock.runFor(20000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, sockets[0].sent]), [
        1,
        [{ type: 'auth', token: 'token-2' }],
    ]);
    await page.evaluate(async () => {
        sockets.length = 0;
        await start({ token: 'fixed' });
        sockets[0].greet();
        sockets[0].say({ type: 'expiring', expires_in: 40 });
    });
    await page.clock.runFor(24000);
    assert.deepEqual(await page.evaluate(() => sockets[0].sent), []);
});

test('taskws.js: tokens of a minute are renewed twice a minute, not in a loop', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) {
            // answers as the server does
            send.call(this, text);
            const { type } = JSON.parse(text);
            if (type === 'auth') this.say({ type: 'expiring', expires_in: 60 });
            if (type === 'ping') this.say({ type: 'pong' });
        };
        await start({ token: () => `token-${++asked}` });
        sockets[0].greet();
        sockets[0].say({ type: 'expiring', expires_in: 60 });
    });
    await page.clock.runFor(301000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, asked]), [1, 11]);
});

test('taskws.js: the token is a subprotocol, or the first message, and never in the URL', async () => {
    const page = await scripted();
    const seen = await page.evaluate(async () => {
        const seen = [];
        for (const token of ['a.b-c_d', async () => ' a.b\n', 'not a token', '\ud83d', undefined]) {
            sockets.length = 0;
            await start({ token, since: '5-0' });
            sockets[0].open();
            seen.push([sockets[0].url, sockets[0].protocols, sockets[0].sent]);
        }
        return seen;
    });
    const url = 'ws://taskws.test/api/v1/ws/tasks/2?format=json&since=5-0';
    assert.deepEqual(seen, [
        [url, ['taskws.v1', 'bearer.a.b-c_d'], []],
        [url, ['taskws.v1', 'bearer.a.b'], []],
        [url, ['taskws.v1'], [{ type: 'auth', token: 'not a token' }]],
        [url, ['taskws.v1'], [{ type: 'auth', token: '?' }]],
        [url, ['taskws.v1'], []],
    ]);
});

test('taskws.js: it resumes after the last stored event, and from nothing after a reset', async () => {
    const page = await scripted();
    const since = await page.evaluate(async () => {
        await start({ token: 't' });
        const seen = [];
        const drop = async () => {
            sockets.at(-1).end(4409);
            tasks.retry();
            await settled();
            seen.push(new URL(sockets.at(-1).url).searchParams.get('since'));
            sockets.at(-1).greet();
        };
        sockets[0].greet();
        await drop();
        sockets.at(-1).say({ type: 'task', id: '1-0', data: { n: 1 } });
        sockets.at(-1).say({ type: 'task', id: null, data: 'live only' });
        await drop();
        sockets.at(-1).say({ type: 'reset', reason: 'position_gone' });
        await drop();
        sockets.at(-1).say({ type: 'task', id: '9-2', data: { n: 2 } });
        await drop();
        sockets.at(-1).say({ type: 'reset', reason: 'position_gone' });
        await drop(); // without a position now, and greeted with 0-0
        sockets.at(-1).say({ type: 'task', id: null, data: 'no resume' });
        await drop();
        return seen;
    });
    assert.deepEqual(since, ['0-0', '1-0', null, '9-2', null, null]);
    assert.deepEqual(await page.evaluate(() => got), [
        [{ n: 1 }, '1-0'],
        ['live only', null],
        'position_gone',
        [{ n: 2 }, '9-2'],
        'position_gone',
        ['no resume', null],
    ]);
    assert.equal(await page.evaluate(() => tasks.lastId), '0-0');
});

test('taskws.js: where no snapshot follows it resumes from the newest id, elsewhere not', async () => {
    const page = await scripted();
    const since = await page.evaluate(async () => {
        const seen = [];
        for (const said of [{ last_id: '7-0', id: '7-0' }, { last_id: '7-0' }, {}]) {
            sockets.length = 0;
            await start({ token: 't' });
            sockets[0].greet(said); // and before the first event:
            sockets[0].end(1006);
            tasks.retry();
            await settled();
            seen.push([tasks.lastId, new URL(sockets[1].url).searchParams.get('since')]);
            tasks.close();
        }
        return seen;
    });
    assert.deepEqual(since, [['7-0', '7-0'], ['', null], ['0-0', '0-0']]);
});

for (const transport of ['websocket', 'sse']) {
    test(`an event of no task that comes while a page is away is not lost: ${transport}`, async () => {
        const user = `early-${transport}`;
        await publish(user, { note: 'before the page' }); // which is in no snapshot
        const page = await newPage();
        await keepSocket(page);
        await page.goto(origin);
        await page.evaluate(
            async ([user, token, transport]) => {
                const ask = window.fetch;
                window.fetch = async (...request) => {
                    const { body } = await ask(...request);
                    const cut = (to) => (window.cut = () => to.terminate());
                    return new Response(body.pipeThrough(new TransformStream({ start: cut })));
                };
                window.cut = () => socket.onclose({ code: 1006 });
                if (transport === 'sse') delete window.WebSocket;
                const { connectTasks } = await import('/taskws.js');
                window.got = [];
                window.states = [];
                let away;
                const back = new Promise((done) => (window.comeBack = done));
                connectTasks({
                    url: `/api/v1/ws/tasks/${user}`,
                    token: () => away ?? ((away = back), token),
                    onTask: (data) => got.push(data.note),
                    onState: ({ state, transport }) => states.push(`${state} ${transport}`),
                });
            },
            [user, token(user), transport],
        );
        await page.waitForFunction((open) => states.includes(open), `open ${transport}`);
        await page.evaluate(() => cut());
        await publish(user, { note: 'one' }, { note: 'two' });
        await page.evaluate((token) => comeBack(token), token(user));
        await page.waitForFunction(() => got.length >= 2);
        assert.deepEqual(await page.evaluate(() => got), ['one', 'two']);
    });
}

test('taskws.js: an outage keeps WebSocket; where the page comes online anew, all is tried anew', async () => {
    const page = await scripted();
    const seen = await page.evaluate(async () => {
        window.fetch = async () => {
            const said = 'event: connected\ndata: {"type":"connected","heartbeat_s":25}\n\n';
            return new Response(
                new ReadableStream({
                    start(to) {
                        to.enqueue(new TextEncoder().encode(said));
                        to.close();
                    },
                }),
            );
        };
        const seen = [];
        const tries = async (n) => {
            const made = [];
            while (made.length < n) {
                const before = sockets.length;
                if (states.at(-1).transport === 'websocket') sockets.at(-1).end(1006);
                for (let i = 0; i < 50 && states.at(-1).state !== 'waiting'; i++) await settled();
                tasks.retry();
                await settled();
                made.push(sockets.length > before ? 'ws' : 'sse');
            }
            seen.push(made.join(' '));
        };
        await start({ token: 't' });
        sockets[0].greet();
        await tries(6); // it has worked: the server is away
        dispatchEvent(new Event('visibilitychange'));
        await tries(3);
        dispatchEvent(new Event('online'));
        await tries(7);
        dispatchEvent(new Event('online'));
        await tries(2);
        sockets.at(-1).greet();
        await tries(4);
        return seen;
    });
    assert.deepEqual(seen, [
        'ws ws ws ws ws ws',
        'ws ws ws',
        'ws ws ws sse ws sse sse', // this network lets no WebSocket pass
        'ws ws', // the next one does
        'ws ws ws ws',
    ]);
});

test('taskws.js: silence is answered with a ping, and a ping without a pong with a new connection', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({ token: 't' });
        sockets[0].greet({ heartbeat_s: 20 });
    });
    await page.clock.runFor(19900);
    assert.deepEqual(await page.evaluate(() => sockets[0].sent), []);
    await page.clock.runFor(200);
    assert.deepEqual(await page.evaluate(() => sockets[0].sent), [{ type: 'ping' }]);
    await page.evaluate(() => sockets[0].say({ type: 'pong' }));
    await page.clock.runFor(19000);
    assert.equal(await page.evaluate(() => states.at(-1).state), 'open');
    await page.clock.runFor(11200);
    assert.deepEqual(await page.evaluate(() => [states.at(-1).state, states.at(-1).code]), [
        'waiting',
        1006,
    ]);
    await page.clock.runFor(600);
    assert.equal(await page.evaluate(() => sockets.length), 2);
});

test('taskws.js: a heartbeat of a month and more makes no storm of pings', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({ token: 't' });
        sockets[0].greet({ heartbeat_s: 4000000 }); // beyond what a timer can count
    });
    await page.clock.runFor(1000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, sockets[0].sent]), [1, []]);
});

test('taskws.js: a handshake that never ends is given up', async () => {
    const page = await scripted();
    await page.evaluate(() => start({ token: 't' }));
    await page.clock.runFor(15100);
    assert.equal(await page.evaluate(() => states.at(-1).state), 'waiting');
    assert.equal(await page.evaluate(() => sockets[0].closedWith), 1000);
});

test('taskws.js: who is told to wait keeps the connection, and asks whether it is alive', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({ token: 't' });
        sockets[0].open();
        sockets[0].say({ type: 'error', code: 'unavailable', message: 'wait', retry: true });
    });
    for (let asked = 1; asked < 4; asked++) {
        await page.clock.runFor(25100);
        const sent = await page.evaluate(() => [states.at(-1).state, sockets[0].sent]);
        assert.deepEqual(sent, ['connecting', Array(asked).fill({ type: 'ping' })]);
        await page.evaluate(() => sockets[0].say({ type: 'pong' }));
    }
    await page.clock.runFor(35100);
    assert.equal(await page.evaluate(() => states.at(-1).state), 'waiting');
});

test('taskws.js: when the network comes back it tries at once, and asks an old connection', async () => {
    const page = await scripted();
    const seen = await page.evaluate(async () => {
        await start({ token: 't' });
        sockets[0].end(1006);
        dispatchEvent(new Event('online'));
        await settled();
        const tried = sockets.length;
        sockets[1].greet();
        dispatchEvent(new Event('visibilitychange'));
        const asked = sockets[1].sent.map((message) => message.type);
        sockets[1].end(1013);
        dispatchEvent(new Event('online'));
        await settled();
        return [tried, asked, sockets.length];
    });
    assert.deepEqual(seen, [2, ['ping'], 2]); // an overloaded server is not asked sooner
});

test('taskws.js: close() is the end, also of what an old connection still says', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({ token: 't' });
        sockets[0].greet();
        tasks.close();
        sockets[0].say({ type: 'task', id: '1-0', data: 1 });
        sockets[0].end(1006);
        dispatchEvent(new Event('online'));
    });
    await page.clock.runFor(60000);
    assert.deepEqual(await page.evaluate(() => [sockets.length, got.length, states.at(-1).state]), [
        1,
        0,
        'closed',
    ]);
});

test('taskws.js: close() and retry() work from within every callback', async () => {
    const page = await scripted();
    const made = await page.evaluate(async () => {
        const made = [];
        for (const act of ['close', 'retry']) {
            sockets.length = 0;
            await start({
                token: 't',
                onState: ({ state }) => {
                    if (state === 'waiting') tasks[act]();
                },
            });
            sockets[0].greet();
            sockets[0].end(1006);
            await settled();
            made.push(sockets.length);
        }
        sockets.length = 0;
        await start({
            token: 't',
            onState: ({ state }) => {
                if (state === 'open') tasks.close();
            },
        });
        sockets[0].greet();
        made.push(sockets[0].closedWith);
        sockets.length = 0;
        await start({
            token: () => ++asked,
            onState: ({ state }) => {
                if (state === 'connecting') tasks.close();
            },
        });
        made.push(asked); // nor is a token asked for then
        await start({ token: () => `token-${++asked}` });
        sockets[0].end(1006);
        tasks.retry();
        tasks.close();
        await settled();
        made.push(sockets.length);
        return made;
    });
    assert.deepEqual(made, [1, 2, 1000, 0, 1]);
    await page.clock.runFor(5000);
    assert.deepEqual(await page.evaluate(() => sockets.length), 1);
    assert.deepEqual(page.complaints, []);
});

test('taskws.js: callbacks may use what connectTasks returns, and close() leaves no timer', async () => {
    const page = await scripted();
    const seen = await page.evaluate(async () => {
        const { connectTasks } = await import('/taskws.js');
        const timers = new Set();
        const [set, clear] = [setTimeout, clearTimeout];
        window.setTimeout = (...then) => {
            const timer = set(...then);
            timers.add(timer);
            return timer;
        };
        window.clearTimeout = (timer) => {
            timers.delete(timer);
            clear(timer);
        };
        const seen = [];
        const tasks = connectTasks({
            url: '/',
            token: 't',
            since: '5-0',
            onState: ({ state }) => seen.push([state, tasks.lastId]),
        });
        await settled();
        sockets[0].greet();
        sockets[0].say({ type: 'expiring', expires_in: 40 });
        sockets[0].say({ type: 'expiring', expires_in: 20 }); // instead of the one before
        seen.push(timers.size);
        tasks.close();
        seen.push(timers.size);
        connectTasks({ url: '/', onState: ({ state }) => seen.push(state) }).close();
        await settled();
        return [...seen, sockets.length];
    });
    assert.deepEqual(seen, [
        ['connecting', '5-0'],
        ['open', '5-0'],
        2,
        ['closed', '5-0'],
        0,
        'closed',
        1,
    ]);
    assert.deepEqual(page.complaints, []);
});

test('taskws.js: a token function that fails is asked again later', async () => {
    const page = await scripted();
    await page.evaluate(() =>
        start({
            token: async () => {
                if (++asked < 3) throw new Error('the session service is away');
                return 'late';
            },
        }),
    );
    assert.deepEqual(await page.evaluate(() => [sockets.length, states.at(-1).message]), [
        0,
        'the session service is away',
    ]);
    await page.clock.runFor(600);
    await page.clock.runFor(1100);
    assert.deepEqual(await page.evaluate(() => sockets[0].protocols), ['taskws.v1', 'bearer.late']);
});

test('taskws.js: a token function that never answers is not called again', async () => {
    const page = await scripted();
    await page.evaluate(() =>
        start({
            token: () => {
                asked++;
                return new Promise((answer) => Object.assign(window, { answer }));
            },
        }),
    );
    await page.clock.runFor(15100);
    const [last, made] = await page.evaluate(() => [states.at(-1), sockets.length]);
    assert.deepEqual([last.state, last.code, last.message, made], ['waiting', 1006, 'no answer', 0]);
    await page.clock.runFor(600000);
    assert.equal(await page.evaluate(() => asked), 1);
    assert.ok((await page.evaluate(() => states.length)) > 20, 'it still tries');
    while ((await page.evaluate(() => states.at(-1).state)) === 'waiting') {
        await page.clock.runFor(1000);
    }
    await page.evaluate(() => {
        answer('late');
        return settled();
    });
    assert.deepEqual(await page.evaluate(() => sockets[0].protocols), ['taskws.v1', 'bearer.late']);
    await page.evaluate(() => {
        sockets[0].end(1006);
        tasks.retry();
        return settled();
    });
    assert.equal(await page.evaluate(() => asked), 2);
});

test('taskws.js: a callback that throws costs neither the connection nor the next event', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        await start({
            token: 't',
            onTask: (data) => {
                got.push(data);
                throw new Error('a bug');
            },
        });
        sockets[0].greet();
        sockets[0].say({ type: 'task', id: '1-0', data: 1 });
        sockets[0].say({ type: 'task', id: '2-0', data: 2 });
    });
    assert.deepEqual(await page.evaluate(() => [got, states.at(-1).state, tasks.lastId]), [
        [1, 2],
        'open',
        '2-0',
    ]);
    for (let i = 0; i < 50 && page.complaints.length < 2; i++) await sleep(100); // told later
    assert.deepEqual(page.complaints, ['Error: a bug', 'Error: a bug']);
});

test('taskws.js: an event stream in any pieces gives the same messages as a WebSocket', async () => {
    const page = await scripted();
    const STREAM = [
        'event: connected\ndata: {"type":"connected","user_id":"2","heartbeat_s":25,"last_id":"3-0","resumed":true}\n\n',
        ': a comment\n\n',
        'id: \ndata: "none yet"\n\n', // an EventSource forgets 0-0
        'id: 4-0\ndata: {"task_id":"ä"}\n\n',
        'data: "no id\u2028"\n\n',
        'id: 5-0\r\ndata: {"two":\r\ndata: "lines"}\r\n\r\n',
        'id: 6-0\ndata: null\n\n',
        'event: reset\ndata: {"type":"reset","reason":"slow_consumer"}\n\n',
        'event: error\ndata: {"type":"error","code":"draining","message":"bye","retry":true,"close":1001}\n\n',
    ].join('');
    const seen = await page.evaluate(async (stream) => {
        delete window.WebSocket;
        const seen = [];
        for (const size of [1, 3, 7, 100000]) {
            const bytes = new TextEncoder().encode(stream);
            window.fetch = async (url, { headers }) => {
                seen.push([String(url), headers]);
                return new Response(
                    new ReadableStream({
                        start(to) {
                            for (let i = 0; i < bytes.length; i += size)
                                to.enqueue(bytes.slice(i, i + size));
                            to.close();
                        },
                    }),
                );
            };
            await start({ token: 't.t', since: '3-0' });
            while (states.at(-1).state !== 'waiting') await new Promise((r) => queueMicrotask(r));
            tasks.close();
            seen.push(
                got,
                states.map(({ state, code, message, transport }) => [
                    state,
                    code,
                    message,
                    transport,
                ]),
            );
        }
        return seen;
    }, STREAM);
    for (let i = 0; i < seen.length; i += 3) {
        assert.deepEqual(seen[i], [
            'http://taskws.test/api/v1/ws/tasks/2?format=json&since=3-0',
            { Accept: 'text/event-stream', Authorization: 'Bearer t.t' },
        ]);
        assert.deepEqual(seen[i + 1], [
            ['none yet', null],
            [{ task_id: 'ä' }, '4-0'],
            ['no id\u2028', null],
            [{ two: 'lines' }, '5-0'],
            [null, '6-0'],
            'slow_consumer',
        ]);
        assert.deepEqual(
            seen[i + 2].map(([state, code]) => [state, code]),
            [
                ['connecting', undefined],
                ['open', undefined],
                ['waiting', 1001],
                ['closed', 1000],
            ].map(([state, code]) => [state, code ?? undefined]),
        );
    }
    assert.equal(seen.length, 12);
});

test('taskws.js: an event stream of a server without heartbeat is not taken for dead', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        delete window.WebSocket;
        window.asked = [];
        window.fetch = async (url, { credentials }) => {
            asked.push(credentials);
            return new Response(
                new ReadableStream({
                    start(to) {
                        const said = 'event: connected\ndata: {"type":"connected","heartbeat_s":0}\n\n';
                        to.enqueue(new TextEncoder().encode(said));
                    },
                }),
            );
        };
        await start({ token: 't', credentials: 'include' });
        while (states.at(-1).state !== 'open') await new Promise((r) => queueMicrotask(r));
    });
    await page.clock.runFor(300000);
    assert.equal(await page.evaluate(() => states.at(-1).state), 'open');
    assert.deepEqual(await page.evaluate(() => asked), ['include']);
});

test('taskws.js: on `expiring` an event stream is opened anew, its token asked for once', async () => {
    const page = await scripted();
    await page.evaluate(async () => {
        delete window.WebSocket;
        window.fetch = async (url, { headers }) => {
            got.push(headers.Authorization);
            const said = `event: connected
data: {"type":"connected","heartbeat_s":25}

event: expiring
data: {"type":"expiring","expires_in":40}

`;
            return new Response(
                new ReadableStream({
                    start(to) {
                        to.enqueue(new TextEncoder().encode(said));
                    },
                }),
            );
        };
        await start({ token: async () => `token-${++asked}` });
        while (states.at(-1).state !== 'open') await new Promise((r) => queueMicrotask(r));
    });
    await page.clock.runFor(20000);
    assert.deepEqual(await page.evaluate(() => [asked, got]), [
        2,
        ['Bearer token-1', 'Bearer token-2'],
    ]);
});

test('taskws.js is under 3 KB compressed, and imports nothing', () => {
    const source = readFileSync(`${WEB}/taskws.js`);
    assert.ok(gzipSync(source, { level: 9 }).length < 3072);
    assert.doesNotMatch(String(source), /^\s*import\b|\bimport\(/m);
});

// -- one after the other ------------------------------------------------------------------

let passed = 0;
let failed = 0;
for (const [sentence, body] of tests) {
    if (!sentence.includes(process.argv[2] ?? '')) continue;
    try {
        await body();
        passed++;
        console.log(`ok - ${sentence}`);
    } catch (error) {
        failed++;
        console.log(`not ok - ${sentence}\n${error.stack}`);
    }
    for (const context of browser.contexts()) await context.close();
}
await browser.close();
await stopServer(server);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
