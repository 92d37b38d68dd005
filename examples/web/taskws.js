/* taskws.js: follow a user's tasks from a browser.
 *
 *     const tasks = connectTasks({
 *         url: '/api/v1/ws/tasks/2',
 *         token: () => freshToken(), // or a string; reject: none now
 *         onTask: (data, id) => {}, // the worker's JSON
 *         onReset: (reason) => {}, // forget: a snapshot follows
 *         onState: ({ state, code, message, retryAt }) => {},
 *         onError: ({ code, message }) => {},
 *         since: lastId,
 *         credentials: 'include', // in SSE
 *     });
 *     tasks.close(); tasks.retry(); tasks.lastId;
 *
 * state: connecting, open, waiting; closed is final. */

const FINAL = [1000, 1002, 1003, 1007, 1009, 4400, 4403, 4404]; // no second try
const OPEN_MS = 15000; // until it speaks
const PONG_MS = 10000;
const STABLE_MS = 10000; // forgives failures
const MISSES = 3; // sockets that never open, then SSE

export function connectTasks({ url, token, credentials, since = '', onTask, onReset, onState, onError }) {
    let status = {};
    let link, bearer, timer;
    let asking; // token(), once
    let complaint; // before a close
    let openedAt;
    let failures = 0;
    let misses = 0; // -Infinity: WebSocket works, Infinity: only SSE
    let fallbacks = 0;
    let heartbeat = 25000;

    const after = (...then) => {
        clearTimeout(timer);
        timer = setTimeout(...then);
    };
    /* Async: a callback's bug costs no connection. */
    const call = async (callback, ...values) => callback?.(...values);
    const become = (state, more) =>
        call(onState, (status = { ...more, state, transport: link?.transport }));
    const read = async () => {
        const text = await (token?.call ? token() : token);
        return text?.trim().replace(/[^ -~]/g, '?'); // a header takes no others
    };
    const ask = () => (asking ??= read().finally(() => (asking = null)));
    const address = (scheme) => {
        const to = new URL(url, location.href);
        to.protocol = to.protocol.replace(/http|ws/, scheme);
        to.searchParams.set('format', 'json');
        if (since) to.searchParams.set('since', since);
        return to;
    };
    const drop = () => {
        link?.end?.();
        clearTimeout(link?.renewal);
        link = null;
        clearTimeout(timer);
    };

    async function connect(renewed) {
        drop();
        complaint = openedAt = undefined;
        const sse = !globalThis.WebSocket || misses >= MISSES;
        const mine = (link = { transport: sse ? 'sse' : 'websocket' });
        after(lost, OPEN_MS, 1006, 'no answer');
        become('connecting', status);
        try {
            const fresh = renewed ?? (link && (await ask()));
            if (link !== mine) return;
            if (status.code === 4401 && fresh === bearer) return finish(status); // not twice
            bearer = fresh;
            await (sse ? openEvents : openSocket)(mine);
        } catch (e) {
            if (link === mine) lost(1006, e?.message);
        }
    }

    function openSocket(mine) {
        misses++;
        const protocols = ['taskws.v1'];
        const fits = /^[\w.-]*$/.test(bearer); // others go in a message
        if (bearer && fits) protocols.push(`bearer.${bearer}`);
        const ws = new WebSocket(address('ws'), protocols);
        mine.send = (message) => ws.readyState === 1 && ws.send(JSON.stringify(message));
        mine.end = () => ws.close(1000);
        ws.onopen = () => fits || mine.send({ type: 'auth', token: bearer });
        ws.onmessage = (e) => {
            misses = -Infinity;
            if (link === mine) receive(JSON.parse(e.data));
        };
        ws.onclose = (e) => link === mine && lost(e.code, e.reason);
    }

    /* EventSource sends no header and reads no refusal. */
    async function openEvents(mine) {
        if (misses === MISSES) misses = 0; // if this fails, the network
        const headers = { Accept: 'text/event-stream' };
        if (bearer) headers.Authorization = `Bearer ${bearer}`;
        const abort = new AbortController();
        mine.end = () => abort.abort();
        const answer = await fetch(address('http'), { headers, credentials, signal: abort.signal });
        if (!answer.ok) {
            const { error } = await answer.json().catch(() => 0);
            const close = answer.status < 500 ? 4000 + answer.status : 1011;
            if (link !== mine) return;
            receive({ message: 'HTTP error', ...error, type: 'error', close });
            return lost(close);
        }
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let text = ''; ; ) {
            const { value, done } = await reader.read();
            if (link !== mine) return;
            if (done) return lost(1006);
            listen(); // comments count
            const blocks = (text + value).split(/\r?\n\r?\n/);
            text = blocks.pop();
            for (const block of blocks) link === mine && receive(parseEvent(block));
        }
    }

    function receive(message) {
        listen();
        switch (message?.type) {
            case 'connected':
                openedAt ??= Date.now();
                if (message.last_id === (message.id ?? '0-0')) since ||= message.last_id; // no past
                heartbeat = Math.min(1e9, message.heartbeat_s * 1000 || (link.send ? 25000 : 1e9));
                if (!link.send) misses = fallbacks++ ? Infinity : MISSES - 1; // maybe an outage
                listen();
                return become('open', message);
            case 'task':
                since = message.id ?? (since === '0-0' ? '' : since);
                return call(onTask, message.data, message.id);
            case 'reset':
                since = '';
                return call(onReset, message.reason);
            case 'expiring':
                clearTimeout(link.renewal);
                return (link.renewal = setTimeout(renew, message.expires_in * 500)); // half-time
            case 'error':
                if (message.close) complaint = message;
                return call(onError, message);
        }
    }

    /* A page sees no pings: after silence it asks. */
    const listen = () => after(probe, link.send ? heartbeat : 2 * heartbeat);
    const probe = () => {
        link.send?.({ type: 'ping' });
        after(lost, PONG_MS, 1006, 'silence');
    };

    async function renew() {
        const mine = link;
        const fresh = await ask().catch(() => bearer);
        if (link !== mine || fresh === bearer) return; // 4401 follows
        if (!mine.send) return connect(fresh);
        bearer = fresh;
        mine.send({ type: 'auth', token: fresh });
    }

    function lost(code, reason) {
        if (!link) return;
        if (code === 1006) code = complaint?.close ?? code; // announced, then cut off
        const why = { code, message: complaint?.message ?? reason, error: complaint?.code };
        if (Date.now() - openedAt > STABLE_MS) failures = 0;
        if (FINAL.includes(code)) return finish(why);
        drop();
        const most = code === 1001 ? 5000 : Math.min(30000, 500 * 2 ** failures);
        const delay = code === 4401 && !failures ? 0 : most * (0.5 + Math.random() / 2);
        failures++;
        after(connect, delay);
        become('waiting', { ...why, retryAt: Date.now() + delay });
    }

    const over = new AbortController();
    function finish(why) {
        drop();
        over.abort();
        become('closed', why);
    }

    /* Back: wait no more, trust no old socket. */
    const wake = ({ type }) => {
        if (type === 'online') misses = fallbacks = 0; // maybe elsewhere
        if (status.state === 'waiting' && status.code === 1006) connect();
        else if (openedAt && link?.send) probe();
    };
    for (const type of ['online', 'offline', 'visibilitychange']) {
        addEventListener(type, wake, { signal: over.signal });
    }

    queueMicrotask(() => over.signal.aborted || connect()); // `tasks` is there
    return {
        close: () => over.signal.aborted || finish({ code: 1000 }),
        retry: () => status.state === 'waiting' && connect(),
        get lastId() {
            return since;
        },
    };
}

function parseEvent(block) {
    const said = {};
    for (const line of block.split(/\r?\n/)) {
        const [name] = line.split(':');
        said[name] = (said[name] ?? '') + line.slice(name.length + 1).trim();
    }
    if (!said.data) return;
    const data = JSON.parse(said.data);
    return said.event ? data : { type: 'task', id: said.id || null, data };
}
