/* The dashboard: one user's tasks, live. It reads like this:
 *
 *     1. what a worker says     any JSON in, one kind of task out
 *     2. the board              tasks by id, in the order in which they are shown
 *     3. painting               at most once a frame, only what changed
 *     4. the connection         its state, in words
 *     5. signing in             #user=…&token=… or the form
 *
 * Data from outside reaches the page as text only, never as markup. */

import { connectTasks } from './taskws.js';

const $ = (id) => document.getElementById(id);

/* == 1. what a worker says ================================================================ */

/* The words that workers, queues and libraries use, and the five states that they mean. */
const WORDS = {
    pending: 'pending queued waiting scheduled created new received submitted accepted retry',
    running: 'running started starting progress in_progress processing active working busy',
    completed: 'completed complete success succeeded successful done finished ok',
    failed: 'failed failure fail error errored crashed timeout timed_out dead rejected',
    cancelled: 'cancelled canceled cancelling revoked aborted stopped skipped terminated',
};
const STATE_OF = new Map();
for (const [state, words] of Object.entries(WORDS)) {
    for (const word of words.split(' ')) STATE_OF.set(word, state);
}
const ACTIVE = new Set(['pending', 'running']);
const LABEL = {
    pending: 'Pending',
    running: 'Running',
    completed: 'Completed',
    failed: 'Failed',
    cancelled: 'Cancelled',
};

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const firstOf = (...values) => values.find((value) => (value ?? '') !== '');
const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + '…' : text);

function textOf(value) {
    if (value === undefined || value === null) return '';
    if (typeof value === 'string') return value;
    if (isObject(value) && typeof value.message === 'string') return value.message;
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function numberOf(value) {
    const number = typeof value === 'string' ? parseFloat(value) : value;
    return Number.isFinite(number) ? number : undefined;
}

/* 0 to 100, or undefined where the worker gives no figure. */
function progressOf(data) {
    const inner = isObject(data.progress) ? data.progress : isObject(data.meta) ? data.meta : {};
    let percent = [
        data.progress, data.percent, data.percentage, data.pct, inner.percent, inner.progress,
    ].map(numberOf).find((number) => number !== undefined);
    if (percent === undefined) {
        const current = numberOf(firstOf(data.current, inner.current));
        const total = numberOf(firstOf(data.total, inner.total));
        if (current === undefined || !(total > 0)) return undefined;
        percent = (100 * current) / total;
    }
    return Math.min(100, Math.max(0, percent));
}

/* Unix milliseconds of what may be ISO text, seconds or milliseconds; undefined otherwise. */
function timeOf(value) {
    if (!['string', 'number'].includes(typeof value) || value === '') return undefined;
    const number = Number(value);
    const ms = Number.isNaN(number) ? Date.parse(value) : number > 1e11 ? number : number * 1000;
    return ms > 1e11 && ms < 8e15 ? ms : undefined;
}

/* The id of a stored event begins with its time; a live-only event has none. */
const timeOfId = (id) => timeOf(id?.split('-')[0]) ?? Date.now();

function keyOf(data) {
    const key = firstOf(data.task_id, data.taskId, data.job_id, data.jobId, data.id, data.uuid);
    return ['string', 'number'].includes(typeof key) ? String(key) : undefined;
}

function stateOf(data, word, progress, before) {
    if (word) return STATE_OF.get(word) ?? (progress >= 100 ? 'completed' : 'running');
    if (data.error) return 'failed';
    if (progress >= 100) return 'completed';
    return progress === undefined ? before?.state ?? 'pending' : 'running';
}

const nameOf = (data) =>
    textOf(firstOf(data.name, data.title, data.task_name, data.task)).trim();

function messageOf(data, state) {
    const { message, detail, description, step, meta, error, result } = data;
    const problem = state === 'failed' ? error : undefined;
    return textOf(
        firstOf(problem, message, detail, description, step, meta?.message, error, result),
    );
}

/* A task after one more event. What an event leaves out stays as it was, except a message that
 * belongs to a state that is over. */
function readTask(before, key, data, eventId, live) {
    const at = timeOfId(eventId);
    const said = textOf(firstOf(data.status, data.state, data.phase));
    const word = said.trim().toLowerCase().replace(/[\s-]+/g, '_');
    const percent = progressOf(data);
    const state = stateOf(data, word, percent, before);
    const same = before?.state === state;
    const begins = !before ? live : ACTIVE.has(state) && !ACTIVE.has(before.state);
    const kept = begins ? {} : before ?? {}; // what ended and begins anew has a new start
    const started = timeOf(
        firstOf(data.started_at, data.start_time, data.started, data.created_at),
    );
    const sawStart = begins || state === 'pending' || percent === 0;
    return {
        key,
        state,
        label: STATE_OF.has(word) || !word ? LABEL[state] : cut(said, 28),
        name: cut(nameOf(data) || before?.name || key, 300),
        message: cut(messageOf(data, state) || (same ? before.message : ''), 600),
        progress: state === 'completed' ? 100 : percent ?? kept.progress,
        started: started ?? kept.started ?? (sawStart ? at : undefined),
        updated: at,
        eventId,
        data,
        turn: same ? before.turn : undefined, // given by the board
    };
}

/* == 2. the board ========================================================================= */

const PAGE = 100; // rows that a group shows until asked for more
const KEEP = 5000; // tasks of a group, so that a page that is open for weeks does not grow for ever

const tasks = new Map(); // key: task, in the order of their latest events
const others = []; // { at, text }: what belongs to no task, newest first
const groups = ['active', 'done'].map((name) => ({
    name,
    section: $(`group-${name}`),
    list: $(`group-${name}`).querySelector('ul'),
    more: $(`group-${name}`).querySelector('.more'),
    tasks: [],
    cap: PAGE,
}));
let turn = 0; // rises whenever a task changes its state: the newest change stands first
let filter = 'all';
let caughtUp; // the last id of the past, which is not spoken aloud; undefined: never connected

const isAfter = (a, b) => {
    const [aMs, aSeq = 0] = a.split('-').map(Number);
    const [bMs, bSeq = 0] = b.split('-').map(Number);
    return aMs > bMs || (aMs === bMs && aSeq > bSeq);
};

function take(data, id) {
    const live = !id || !caughtUp || isAfter(id, caughtUp);
    const key = isObject(data) ? keyOf(data) : undefined;
    if (key === undefined) {
        others.unshift({ at: timeOfId(id), text: cut(textOf(data) || 'null', 600) });
        others.length = Math.min(others.length, 50);
        paintLater(OTHERS);
        return;
    }
    const before = tasks.get(key);
    const task = readTask(before, key, data, id, live);
    tasks.delete(key);
    tasks.set(key, task);
    if (task.turn === undefined) {
        task.turn = ++turn;
        paintLater(ORDER);
        if (live) speakOf(task);
        if (live && before) fresh.add(key);
    }
    paintLater(key);
}

function forgetAll() {
    tasks.clear();
    others.length = 0;
    paintLater(ORDER, OTHERS);
}

const rank = (task) => (task.state === 'pending' ? 1 : 0);

function sortBoard() {
    for (const group of groups) group.tasks = [];
    const [active, done] = groups;
    for (const task of tasks.values()) (ACTIVE.has(task.state) ? active : done).tasks.push(task);
    for (const group of groups) {
        const surplus = group.tasks.splice(0, group.tasks.length - KEEP); // unheard of the longest
        for (const task of surplus) tasks.delete(task.key);
        group.tasks.sort((a, b) => rank(a) - rank(b) || b.turn - a.turn);
    }
}

/* == 3. painting ========================================================================== */

const rows = new Map(); // key: row, for the tasks that are on the page
const dirty = new Set(); // keys of tasks, ORDER, OTHERS
const fresh = new Set(); // keys of tasks whose state has just changed
const ORDER = Symbol('order');
const OTHERS = Symbol('others');
const ORDER_MS = 250; // rows that jump at every frame are costly, and no pleasure to look at
let painting = 0;
let ordering = 0;
let orderedAt = 0;

function paintLater(...what) {
    for (const item of what) dirty.add(item);
    if (painting) return;
    painting = document.hidden ? setTimeout(paint, 500) : requestAnimationFrame(paint);
}

function paint() {
    painting = 0;
    if (dirty.has(ORDER)) orderSoon();
    if (dirty.has(OTHERS)) paintOthers();
    for (const key of dirty) {
        if (rows.has(key) && tasks.has(key)) paintRow(rows.get(key), tasks.get(key));
    }
    dirty.clear();
    fresh.clear();
}

function orderSoon() {
    const wait = orderedAt + ORDER_MS - performance.now();
    if (wait <= 0) return paintOrder();
    ordering ||= setTimeout(() => {
        ordering = 0;
        paintLater(ORDER);
    }, wait);
}

/* A frame that was asked for before the page was hidden would never come. */
document.addEventListener('visibilitychange', () => {
    if (!painting || !document.hidden) return;
    cancelAnimationFrame(painting);
    painting = 0;
    paintLater();
});

function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

function setAttribute(element, name, value) {
    if (value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

function paintOrder() {
    orderedAt = performance.now();
    sortBoard();
    const focused = document.activeElement;
    const shown = new Set();
    for (const group of groups) {
        const chosen = filter === 'all' || filter === group.name;
        group.visible = group.tasks.slice(0, chosen ? group.cap : 0);
        for (const task of group.visible) shown.add(task.key);
    }
    for (const [key, row] of rows) {
        if (shown.has(key)) continue;
        row.item.remove();
        rows.delete(key);
    }
    for (const group of groups) {
        const items = group.visible.map((task) => (rows.get(task.key) ?? makeRow(task)).item);
        arrange(group.list, items);
        group.section.hidden = items.length === 0;
        const left = group.tasks.length - items.length;
        group.more.hidden = left <= 0 || items.length === 0;
        setText(group.more, `Show ${Math.min(left, PAGE)} more of ${left.toLocaleString('en')}`);
    }
    if (focused?.isConnected) focused.focus({ preventScroll: true }); // a moved row loses it
    paintOverview();
}

/* Make the list's children these items, moving only those out of place. */
function arrange(list, items) {
    const wanted = new Set(items);
    for (const item of [...list.children]) {
        if (!wanted.has(item)) item.remove();
    }
    let at = list.firstElementChild;
    for (const item of items) {
        if (item === at) at = at.nextElementSibling;
        else list.insertBefore(item, at);
    }
}

const template = $('row').content.firstElementChild;

function makeRow(task) {
    const item = template.cloneNode(true);
    const find = (selector) => item.querySelector(selector);
    const row = {
        item,
        key: task.key,
        icon: find('use'),
        name: find('.name'),
        message: find('.message'),
        state: find('.state'),
        percent: find('.percent'),
        track: find('.track'),
        fill: find('.track i'),
        times: [...item.querySelectorAll('.when p')].map((p) => [...p.children]),
        expand: find('.expand'),
    };
    row.expand.addEventListener('click', () => toggleDetails(row));
    rows.set(task.key, row);
    paintRow(row, task);
    return row;
}

function paintRow(row, task) {
    const percent = task.progress === undefined ? undefined : Math.floor(task.progress);
    const figure = percent === undefined ? '' : `${percent} %`;
    setAttribute(row.item, 'data-state', task.state);
    setAttribute(row.icon, 'href', `#i-${task.state}`);
    setText(row.name, task.name);
    setText(row.message, task.message);
    setText(row.state, task.label);
    setText(row.percent, figure);
    setAttribute(row.track, 'aria-label', `Progress of ${task.name}`);
    setAttribute(row.track, 'aria-valuenow', percent);
    setAttribute(row.track, 'aria-valuetext', figure ? `${figure}, ${task.label}` : task.label);
    row.fill.style.transform = figure ? `translateX(${task.progress - 100}%)` : '';
    setAttribute(row.expand, 'aria-label', `Details of ${task.name}`);
    paintTimes(row, task);
    if (row.details) paintDetails(row, task);
    if (fresh.has(task.key)) row.item.setAttribute('data-fresh', '');
}

document.addEventListener('animationend', (e) => e.target.removeAttribute('data-fresh'));

function ago(ms) {
    const s = Math.max(0, Math.round((Date.now() - ms) / 1000));
    if (s < 5) return 'just now';
    return `${lasting(s * 1000)} ago`;
}

function lasting(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
}

const MINUTE = { hour: '2-digit', minute: '2-digit' };
const CLOCK = new Intl.DateTimeFormat([], { ...MINUTE, second: '2-digit' });
const DAY = new Intl.DateTimeFormat([], { ...MINUTE, month: 'short', day: 'numeric' });
const FULL = new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'medium' });

function clock(ms) {
    const today = new Date(ms).toDateString() === new Date().toDateString();
    return (today ? CLOCK : DAY).format(ms);
}

function paintTimes(row, task) {
    const done = !ACTIVE.has(task.state);
    const took = done && task.started ? `took ${lasting(task.updated - task.started)}` : undefined;
    const lines = [
        [task.state === 'pending' ? 'Queued' : 'Started', task.started, took],
        [done ? 'Ended' : 'Updated', task.updated],
    ];
    lines.forEach(([word, ms, remark], i) => {
        const [label, time, relative] = row.times[i];
        label.parentNode.hidden = ms === undefined;
        if (ms === undefined) return;
        setText(label, word);
        setText(relative, remark ?? ago(ms));
        if (time.ms === ms) return;
        time.ms = ms;
        setText(time, clock(ms));
        setAttribute(time, 'datetime', new Date(ms).toISOString());
        setAttribute(time, 'title', FULL.format(ms));
    });
}

function toggleDetails(row) {
    const open = !row.details;
    setAttribute(row.expand, 'aria-expanded', open);
    if (!open) {
        row.details.remove();
        row.details = undefined;
        row.expand.removeAttribute('aria-controls');
        return;
    }
    row.details = document.createElement('div');
    row.details.className = 'more-of';
    row.details.id = `details-${++turn}`;
    row.expand.setAttribute('aria-controls', row.details.id);
    const facts = document.createElement('dl');
    for (const word of ['Task', 'Started', 'Updated', 'Event']) {
        const [dt, dd] = [document.createElement('dt'), document.createElement('dd')];
        dt.textContent = word;
        facts.append(dt, dd);
    }
    const said = document.createElement('pre');
    said.tabIndex = 0;
    said.setAttribute('role', 'group'); // without a role it may have no name
    said.setAttribute('aria-label', 'What the worker sent last');
    row.details.append(facts, said);
    row.item.append(row.details);
    if (tasks.has(row.key)) paintDetails(row, tasks.get(row.key));
}

function paintDetails(row, task) {
    const [key, started, updated, event] = row.details.querySelectorAll('dd');
    setText(key, task.key);
    setText(started, task.started === undefined ? 'not known' : FULL.format(task.started));
    setText(updated, FULL.format(task.updated));
    setText(event, task.eventId ?? 'live only, not stored');
    setText(row.details.querySelector('pre'), cut(JSON.stringify(task.data, null, 2), 8000));
}

const plural = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`;

function paintOverview() {
    const count = Object.fromEntries(Object.keys(LABEL).map((state) => [state, 0]));
    for (const task of tasks.values()) count[task.state]++;
    const [active, done] = groups.map((group) => group.tasks.length);

    const headline =
        count.running ? `${plural(count.running, 'task')} running`
        : count.pending ? `${plural(count.pending, 'task')} waiting`
        : done ? 'Nothing is running'
        : caughtUp !== undefined ? 'No tasks yet'
        : state.state === 'connecting' ? 'Connecting…'
        : 'Not connected';
    setText($('headline'), headline);
    document.title = count.running ? `(${count.running}) Tasks` : 'Tasks';
    const bars = [...$('mix').children];
    for (const bar of bars) {
        bar.style.flexGrow = count[bar.dataset.state];
        bar.hidden = count[bar.dataset.state] === 0;
    }
    const states = bars.map((bar) => bar.dataset.state).filter((state) => count[state]);
    $('legend').replaceChildren(
        ...states.map((state) => {
            const item = document.createElement('li');
            const number = document.createElement('b');
            number.textContent = count[state].toLocaleString('en');
            item.dataset.state = state;
            item.append(number, ` ${LABEL[state].toLowerCase()}`);
            return item;
        }),
    );
    setText($('n-all'), tasks.size.toLocaleString('en'));
    setText($('n-active'), active.toLocaleString('en'));
    setText($('n-done'), done.toLocaleString('en'));
    for (const part of ['mix', 'legend', 'filter']) $(part).hidden = tasks.size === 0;

    const nothing = !groups.some((group) => group.visible?.length);
    $('empty').hidden = !nothing || caughtUp === undefined;
    if ($('empty').hidden) return;
    setText(
        $('empty-text'),
        tasks.size === 0 ? `What a worker reports for user ${session.user} appears here at once.`
        : filter === 'active' ? 'Every task has ended. New ones appear here by themselves.'
        : 'Tasks come here when they complete, fail or are cancelled.',
    );
}

function paintOthers() {
    $('other').hidden = others.length === 0;
    setText($('n-other'), String(others.length));
    $('others').replaceChildren(
        ...others.map(({ at, text }) => {
            const item = document.createElement('li');
            const time = document.createElement('time');
            const words = document.createElement('span');
            time.dateTime = new Date(at).toISOString();
            time.textContent = clock(at);
            words.textContent = text;
            item.append(time, words);
            return item;
        }),
    );
}

/* One polite voice for the whole page. News of a second and a half are told together, so that a
 * hundred tasks that end at once are one sentence, and progress is never told. */
const news = [];
let speaking = 0;

function speakOf(task) {
    news.push({ text: `${task.name}: ${task.label}`, label: task.label });
    speakLater();
}

function speak(text) {
    news.push({ text });
    speakLater();
}

function speakLater() {
    speaking ||= setTimeout(() => {
        speaking = 0;
        const told = news.splice(0);
        const ofTasks = told.filter((item) => item.label);
        const sentences = told.filter((item) => !item.label).map((item) => item.text);
        if (ofTasks.length <= 3) {
            sentences.push(...ofTasks.map((item) => item.text));
        } else {
            const by = new Map();
            for (const { label } of ofTasks) by.set(label, (by.get(label) ?? 0) + 1);
            const sums = [...by].map(([label, n]) => `${plural(n, 'task')} ${label.toLowerCase()}`);
            sentences.push(sums.join(', '));
        }
        $('spoken').textContent = sentences.map((text) => text.replace(/[.…]*$/, '.')).join(' ');
    }, 1500);
}

for (const radio of $('filter').elements) {
    radio.addEventListener('change', () => {
        filter = radio.value;
        for (const group of groups) group.cap = PAGE;
        paintOrder();
    });
}

for (const group of groups) {
    group.more.addEventListener('click', () => {
        const first = group.visible.length; // the focus goes to the first new row
        group.cap += PAGE;
        paintOrder();
        group.list.children[first]?.querySelector('.expand').focus();
    });
}

/* Up and down walk through the rows' buttons, as Tab does, but past their contents. */
document.addEventListener('keydown', (e) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!step || !e.target.matches?.('.expand')) return;
    const buttons = [...document.querySelectorAll('.expand')];
    buttons[buttons.indexOf(e.target) + step]?.focus();
    e.preventDefault();
});

setInterval(() => {
    if (document.hidden) return;
    for (const [key, row] of rows) {
        if (tasks.has(key)) paintTimes(row, tasks.get(key));
    }
}, 5000);

/* == 4. the connection ==================================================================== */

/* What a close code means, where the server gave no words of its own. */
const MEANING = {
    1000: 'The server has closed the connection.',
    1001: 'The server is shutting down or restarting.',
    1002: 'The server saw a violation of the protocol.',
    1003: 'The server was sent something that it does not take.',
    1006: 'The connection broke, or the server cannot be reached.',
    1007: 'The server was sent text that is not UTF-8.',
    1009: 'A message was too big.',
    1011: 'The server had an internal error.',
    1013: 'The server is overloaded.',
    4400: 'The request was not understood.',
    4401: 'The token is missing, malformed, wrong or expired.',
    4403: 'This token may not see this user’s tasks.',
    4404: 'The server has no such address.',
    4408: 'A deadline passed without an answer.',
    4409: 'This page read too slowly.',
    4429: 'This user has too many connections open.',
};
const TITLE = {
    4401: 'The token was refused',
    4403: 'Access was refused',
    1001: 'The server is restarting',
    1013: 'The server is busy',
    4429: 'Too many connections',
};

let session = { user: '', token: '', prefix: '' };
let connection = null;
let serial = 0; // of the connection: what an older one still says is not shown
let state = { state: 'none' };
let lastSpoken = '';

function disconnect() {
    serial++;
    connection?.close();
    connection = null;
    state = { state: 'none' };
    paintConnection();
}

function connect() {
    disconnect();
    const mine = serial;
    show('board');
    connection = connectTasks({
        url: `${location.origin}${session.prefix}/tasks/${encodeURIComponent(session.user)}`,
        token: session.token,
        since: session.resume,
        onTask: take,
        onReset: forgetAll,
        onState: (now) => {
            if (mine !== serial) return;
            if (now.state === 'open') caughtUp = now.last_id ?? '';
            state = now;
            const hopeless = now.state === 'closed' && caughtUp === undefined;
            if (hopeless) openForm(now.code === 4403 ? 'user' : 'token');
            paintConnection();
            paintOverview();
        },
    });
}

const seconds = (ms) => Math.max(1, Math.ceil(ms / 1000));
const sentence = (text) => text && text[0].toUpperCase() + text.slice(1).replace(/\.?$/, '.');

function paintConnection() {
    const { code, message, error, retryAt } = state;
    const left = seconds(retryAt - Date.now());
    const offline = navigator.onLine === false && code === 1006;
    const hadOne = caughtUp !== undefined;
    const [tone, short] = {
        connecting: ['busy', 'Connecting…'],
        open: ['good', state.transport === 'sse' ? 'Live (SSE)' : 'Live'],
        waiting: ['warn', `Retry in ${left} s`],
        none: ['idle', 'Not connected'],
        closed: ['bad', code === 4401 || code === 4403 ? 'Refused' : 'Closed'],
    }[state.state];
    setAttribute($('connection'), 'data-tone', tone);
    setText($('connection-text'), short);
    document.body.classList.toggle('stale', state.state !== 'open');

    const ends = expiry(session.token) - Date.now();
    if (state.state === 'open' && Math.abs(ends) < 60000) { // beyond, this clock is wrong
        const when = ends > 0 ? `It ends in ${seconds(ends)} s.` : 'It has ended.';
        notice('info', 'The token is about to end', when, '');
        return;
    }
    if (state.state === 'open' || code === undefined) {
        $('notice').hidden = true;
        if (state.state === 'open' && lastSpoken) speak('Connected again');
        if (state.state === 'open') lastSpoken = '';
        return;
    }
    const title =
        offline ? 'You are offline'
        : TITLE[code] ?? (hadOne ? 'The connection was lost' : 'No connection');
    const known = code === 1006 ? MEANING[1006] : sentence(message) || MEANING[code] || '';
    const next = {
        waiting: `Trying again in ${left} s.`,
        connecting: 'Trying again now.',
        closed: '',
    }[state.state];
    const tag = error ? `${code} ${error}` : String(code);
    notice(state.state === 'closed' ? 'bad' : 'warn', title, `${known} ${next}`.trim(), tag);
    const spoken = `${title}. ${known}`;
    if (spoken !== lastSpoken) speak(spoken);
    lastSpoken = spoken;
}

function notice(tone, title, text, code) {
    $('notice').hidden = false;
    setAttribute($('notice'), 'data-tone', tone);
    setText($('notice-title'), title);
    setText($('notice-text'), text);
    setText($('notice-code'), code);
    $('notice-code').hidden = !code;
    const refused = state.state === 'closed' && [4401, 4403].includes(state.code);
    $('retry').hidden = tone === 'info' || refused;
    $('retoken').hidden = tone === 'warn' || !$('sign-in').hidden;
    $('notice-actions').hidden = $('retry').hidden && $('retoken').hidden;
}

$('retry').addEventListener('click', () => {
    if (state.state === 'closed') begin(session.user, session.token, session.prefix);
    else connection.retry();
});
$('retoken').addEventListener('click', () => openForm('token'));
setInterval(() => {
    if (connection && !document.hidden && state.state !== 'connecting') paintConnection();
}, 500);

/* == 5. signing in ======================================================================== */

/* The claims of a token, unverified: good enough to say whose it is and when it ends. */
function claims(token) {
    try {
        const bytes = Uint8Array.from(
            atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0),
        );
        const said = JSON.parse(new TextDecoder().decode(bytes));
        return isObject(said) ? said : {};
    } catch {
        return {};
    }
}
const expiry = (token) => 1000 * (numberOf(claims(token).exp) ?? Infinity);

/* The token lives in this tab only, so that a reload keeps it and the address does not show it. */
function remember() {
    try {
        const { user, token, prefix } = session;
        sessionStorage.setItem('taskws', JSON.stringify({ user, token, prefix }));
    } catch {
        /* storage is off: a reload asks again */
    }
}
function recall() {
    try {
        return JSON.parse(sessionStorage.getItem('taskws')) ?? {};
    } catch {
        return {};
    }
}

/* A path on this server only: a link must not be able to send a token elsewhere. */
const safePrefix = (prefix) => (/^(\/[\w.~-]+)*$/.test(prefix ?? '-') ? prefix : '/api/v1/ws');

function begin(user, token, prefix) {
    const same = user === session.user && prefix === session.prefix;
    if (!same) leave();
    session = { user, token, prefix, resume: same ? connection?.lastId : undefined };
    remember();
    history.replaceState(null, '', `#user=${encodeURIComponent(user)}`);
    setText($('user'), user);
    connect();
}

/* Nothing of the user before stays, shown or about to be spoken. */
function leave() {
    disconnect();
    forgetAll();
    caughtUp = undefined;
    lastSpoken = '';
    news.length = 0;
    setText($('spoken'), '');
    paintOrder();
}

function show(what) {
    $('board').hidden = what !== 'board';
    $('sign-in').hidden = what !== 'form';
    $('who').hidden = what !== 'board';
}

function openForm(field) {
    show('form');
    $('in-user').value = session.user;
    $('in-token').value = '';
    setText($('form-error'), '');
    $('cancel').hidden = caughtUp === undefined; // there is no board to go back to
    $(`in-${field}`).focus();
}

$('change').addEventListener('click', () => openForm('user'));
$('cancel').addEventListener('click', () => {
    show('board');
    $('change').focus();
});
$('sign-in').addEventListener('keydown', (e) => {
    if (e.key === 'Escape' && !$('cancel').hidden) $('cancel').click();
});
$('sign-in').addEventListener('submit', (e) => {
    e.preventDefault();
    const token = $('in-token').value.trim();
    const user = $('in-user').value.trim() || textOf(claims(token).sub);
    if (!user) {
        setText($('form-error'), 'The token names no user: enter the user id.');
        $('in-user').focus();
        return;
    }
    begin(user, token, session.prefix);
    $('main').focus();
});

function start() {
    const said = new URLSearchParams(location.hash.slice(1));
    const kept = recall();
    const token = said.get('token') ?? kept.token;
    const user = said.get('user') ?? (said.has('token') ? textOf(claims(token).sub) : kept.user);
    const prefix = safePrefix(said.get('prefix') ?? kept.prefix);
    const fits = said.has('token') || user === kept.user; // a kept token is for the kept user
    if (user && token && fits) return begin(user, token, prefix);
    leave(); // it is another user's
    session = { user: user ?? '', token: '', prefix };
    openForm(user ? 'token' : 'user');
}

/* Not for the skip link's #main, which leads to nobody else. */
addEventListener('hashchange', () => location.hash !== '#main' && start());
start();
