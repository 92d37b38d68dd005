"""Workers of every kind against a real Redis: the examples, run as a person runs them by a Redis
user who may only publish, and build/publish --redis."""

import contextlib
import shutil
import tempfile

from harness import *

WORKERS = os.path.join(ROOT, 'examples', 'workers')
ACL = ('~task_status:* ~{task_status:* &task_status:* +@connection +info +eval +evalsha '
       '+script|load +xadd +pexpire +publish +get +set').split()
ID = r'\d+-\d+'

directory = tempfile.TemporaryDirectory()
port = free_port()
AS_WORKER = f'redis://worker:a%20secret@127.0.0.1:{port}'
ENVIRONMENT = {'TASKWS_REDIS': AS_WORKER, 'CELERY_BROKER_URL': f'redis://127.0.0.1:{port}/1'}
server = None


def redis(*command):
    """What redis-cli prints for a command, by the user who may do everything."""
    done = subprocess.run(['redis-cli', '-e', '-p', str(port), *command], check=True,
                          capture_output=True, text=True, timeout=30)
    return done.stdout.strip()


def run(*command, stdin='', env=ENVIRONMENT):
    return subprocess.run(command, env={**os.environ, **env}, input=stdin, capture_output=True,
                          text=True, timeout=60)


async def ends(*command, **options):
    return await asyncio.to_thread(run, *command, **options)


async def publish(user, *args, url=AS_WORKER, **options):
    return await ends(os.path.join(BUILD, 'publish'), '--redis', url, '--user', user, *args,
                      **options)


async def tasks(ws, count):
    """The next events of a reader, whose ids rise."""
    messages = [await receive_until(ws, 'task') for _ in range(count)]
    ids = [[int(n) for n in m['id'].split('-')] for m in messages]
    assert ids == sorted(ids) and len({tuple(id) for id in ids}) == count, ids
    return messages


async def resumes(user, messages):
    """Whoever comes back after any of these events is given those behind it, and no other."""
    for n in range(len(messages)):
        query = f'token={token(user)}&since={messages[n]["id"]}'
        async with server.connect(user, query) as ws:
            assert (await receive(ws, 'connected'))['resumed']
            assert await tasks(ws, len(messages) - n - 1) == messages[n + 1:]
            await ws.send('{"type":"ping"}')
            await receive(ws, 'pong')


# -- examples/workers ---------------------------------------------------------------------


@test('the script of the examples is the one that the server prints')
async def _(_user):
    with open(os.path.join(WORKERS, 'publish.lua')) as file:
        done = await ends(os.path.join(BUILD, 'server'), '--redis-script')
        assert done.returncode == 0 and done.stdout == file.read()


@test('the access list that the README gives to workers is the one that these tests give them')
async def _(_user):
    with open(os.path.join(WORKERS, 'README.md')) as file:
        assert ' '.join(ACL) in ' '.join(file.read().split())


async def runs_a_task(user, *command, **options):
    """A worker run to its end: its five events arrive, in order, under the ids that it prints."""
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        done = await ends(*command, user, **options)
        assert done.returncode == 0, done
        messages = await tasks(ws, 5)
    assert [m['id'] for m in messages] == done.stdout.split(), (messages, done.stdout)
    data = [m['data'] for m in messages]
    assert [d['progress'] for d in data] == [0, 25, 50, 75, 100], data
    assert [d['status'] for d in data] == ['running'] * 4 + ['completed'], data
    assert len({d['task_id'] for d in data}) == 1 and data[0]['name'], data
    await resumes(user, messages)
    assert redis('XLEN', 'task_status:' + user) == '5'


@contextlib.contextmanager
def node_worker():
    """Node looks for packages above the file: build/node is where npm has put them."""
    with tempfile.TemporaryDirectory(dir=os.path.join(BUILD, 'node')) as above:
        copy = shutil.copytree(WORKERS, os.path.join(above, 'workers'))
        yield 'node', os.path.join(copy, 'node', 'worker.mjs')


@test('plain Python with redis-py')
async def _(user):
    await runs_a_task(user, sys.executable, os.path.join(WORKERS, 'python', 'worker.py'))


@test('a shell script with redis-cli')
async def _(user):
    await runs_a_task(user, 'sh', os.path.join(WORKERS, 'shell', 'worker.sh'))


@test('Node with ioredis')
async def _(user):
    with node_worker() as command:
        await runs_a_task(user, *command)


@test('a worker whose connection is cut time and again goes on, and stores each event once')
async def _(user):
    redis('ACL', 'SETUSER', 'unlucky', 'on', '>x', *ACL)

    async def cut():
        while True:
            await asyncio.to_thread(redis, 'CLIENT', 'KILL', 'USER', 'unlucky')
            await asyncio.sleep(0.1)
    cutting = asyncio.create_task(cut())
    env = {'TASKWS_REDIS': f'redis://unlucky:x@127.0.0.1:{port}'}
    await runs_a_task(user, sys.executable, os.path.join(WORKERS, 'python', 'worker.py'), env=env)
    with node_worker() as command:
        await runs_a_task(user + '-node', *command, env=env)
    cutting.cancel()


@test('the examples in Node are tested with the packages that they ask for')
async def _(_user):
    with open(os.path.join(WORKERS, 'node', 'package.json')) as theirs, \
            open(os.path.join(ROOT, 'tests', 'integration', 'package.json')) as ours:
        asked, tested = json.load(theirs)['dependencies'], json.load(ours)['dependencies']
        assert asked and asked.items() <= tested.items(), (asked, tested)


@test('Celery: a task with progress, one that fails and one that is tried again')
async def _(user):
    here = os.path.join(WORKERS, 'celery')
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        with Program(sys.executable, '-m', 'celery', '--workdir', here, '-A', 'app', 'worker',
                     '--pool=solo', '--loglevel=warning', '--without-mingle', '--without-gossip',
                     env=ENVIRONMENT) as worker:
            done = await ends(sys.executable, os.path.join(here, 'app.py'), user)
            assert done.returncode == 0, done
            messages = await tasks(ws, 14)
            worker.signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.end) == 0, worker.output()
    told = {}
    for data in [m['data'] for m in messages]:
        told.setdefault(data['task_id'], []).append(data)
    imported, rendered, synced = [told[id] for id in done.stdout.split()]

    def words(events):
        return [e['status'] for e in events]

    assert {e['name'] for e in imported} == {'Import customers'}
    assert words(imported) == ['pending'] + ['running'] * 4 + ['completed'], imported
    assert [e['progress'] for e in imported[1:]] == [0, 25, 50, 75, 100], imported
    assert words(rendered) == ['pending', 'running', 'failed'], rendered
    assert rendered[2]['message'] == 'the quarter has no figures'
    assert words(synced) == ['pending', 'running', 'pending', 'running', 'completed'], synced
    assert synced[2]['message'] == 'Trying again: the warehouse does not answer'
    await resumes(user, messages)


@test('Celery: a task that is ignored, rejected or replaced does not stay running')
async def _(user):
    odd = """
import os
from celery import Celery
from celery.exceptions import Ignore, Reject
import taskws_signals
app = Celery('odd', broker=os.environ['CELERY_BROKER_URL'])

@app.task
def ignored(*, user_id):
    raise Ignore('there is nothing to do')

@app.task
def rejected(*, user_id):
    raise Reject('the file is no CSV', requeue=False)

@app.task
def rejected_too_late(*, user_id):
    raise Reject('the disk is full', requeue=True)

@app.task(bind=True, acks_late=True)
def rejected_once(self, *, user_id):
    if not self.request.delivery_info['redelivered']:
        raise Reject('the disk is full', requeue=True)

@app.task(bind=True)
def replaced(self, *, user_id):
    return self.replace(another.s(user_id=user_id))

@app.task
def another(*, user_id):
    pass
"""
    calls = """
import sys, odd
for task in (odd.ignored, odd.rejected, odd.rejected_too_late, odd.rejected_once, odd.replaced):
    task.delay(user_id=sys.argv[1])
"""
    with tempfile.TemporaryDirectory() as here:
        with open(os.path.join(here, 'odd.py'), 'w') as file:
            file.write(odd)
        env = {'TASKWS_REDIS': AS_WORKER, 'CELERY_BROKER_URL': f'redis://127.0.0.1:{port}/2',
               'PYTHONPATH': os.pathsep.join([here, os.path.join(WORKERS, 'celery')])}
        async with server.connect(user) as ws:
            await receive(ws, 'connected')
            with Program(sys.executable, '-m', 'celery', '-A', 'odd', 'worker', '--pool=solo',
                         '--loglevel=warning', '--without-mingle', '--without-gossip', env=env):
                done = await ends(sys.executable, '-c', calls, user, env=env)
                assert done.returncode == 0, done
                told = {}
                for data in [m['data'] for m in await tasks(ws, 19)]:
                    told.setdefault(data['task_id'], []).append(data)
    words = {events[0]['name']: [e['status'] for e in events] for events in told.values()}
    begun = ['pending', 'running']
    assert words == {
        'Ignored': [*begun, 'cancelled'], 'Rejected': [*begun, 'failed'],
        'Rejected too late': [*begun, 'failed'], 'Rejected once': [*begun, *begun, 'completed'],
        'Replaced': [*begun, *begun, 'completed']}, words
    said = {events[0]['name']: events[2].get('message') for events in told.values()}
    assert said == {
        'Ignored': 'there is nothing to do', 'Rejected': 'the file is no CSV',
        'Rejected too late': 'the disk is full', 'Rejected once': 'the disk is full',
        'Replaced': None}, said


@test('Celery: no word and no figure of a task keeps its status from arriving, or makes it fail')
async def _(user):
    says = """
import decimal, sys
from taskws_signals import publish
for n, said in enumerate([{'message': 'cannot read caf\\udce9.txt'}, {'message': 'é😀' * 40000},
                          {'progress': decimal.Decimal(40)}, {'progress': float('nan')},
                          {'message': ValueError('why')}]):
    publish(n, 'app.some_task', {'user_id': sys.argv[1]}, 'running', **said)
"""
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        done = await ends(sys.executable, '-c', says, user, env={
            **ENVIRONMENT, 'PYTHONPATH': os.path.join(WORKERS, 'celery')})
        assert done.returncode == 0, done
        got = {m['data']['task_id']: m['data'] for m in await tasks(ws, 4)}
    assert got[0]['message'] == 'cannot read caf?.txt' and got[1]['message'] == 'é😀' * 500, got
    assert got[2]['progress'] == '40' and 3 not in got and got[4]['message'] == 'why', got
    assert 'no status published of task 3' in done.stderr, done.stderr


# -- build/publish ------------------------------------------------------------------------


@test('publish --redis stores and delivers an event, and prints its id')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        whole = await publish(user, '{"task_id": "a",\n "n": 1}')
        parts = await publish(user, '--task-id', 'b', '--status', 'running', '--progress', '4.5')
        assert whole.returncode == parts.returncode == 0, (whole, parts)
        messages = await tasks(ws, 2)
    assert [m['id'] for m in messages] == [whole.stdout.strip(), parts.stdout.strip()]
    assert [m['data'] for m in messages] == [
        {'task_id': 'a', 'n': 1}, {'task_id': 'b', 'status': 'running', 'progress': 4.5}]
    await resumes(user, messages)


@test('publish --redis takes a stream of lines, also when Redis forgets its scripts meanwhile')
async def _(user):
    lines = [json.dumps({'task_id': f't{n}', 'n': n}) for n in range(1000)]
    with Program('publish', '--redis', AS_WORKER, '--user', user,
                 stdin=subprocess.PIPE) as stream:
        stream.process.stdin.write('\n'.join(lines[:400]) + '\n\n\r\n')
        stream.process.stdin.flush()
        while len(stream.lines) < 400:
            await asyncio.sleep(0.01)
        redis('SCRIPT', 'FLUSH')
        stream.process.stdin.write('\r\n'.join(lines[400:]))  # the last without an end
        stream.process.stdin.close()
        assert await asyncio.to_thread(stream.end) == 0, stream.output()
        printed = stream.lines
    answer = await server.request('GET', f'{PREFIX}/tasks/{user}', bearer=token(user))
    assert answer.json['last_id'] == printed[-1]
    query = f'token={token(user)}&since={printed[899]}'
    async with server.connect(user, query) as ws:
        await receive(ws, 'connected')
        messages = await tasks(ws, 100)
    assert [m['id'] for m in messages] == printed[900:]
    assert [m['data']['n'] for m in messages] == list(range(900, 1000))


@test('a key stores an event once, over Redis or over HTTP, and of a stream each line once')
async def _(user):
    http = [os.path.join(BUILD, 'publish'), '--url', server.origin, '--user', user, '--token',
            worker()]
    key = ['--idempotency-key', 'key-' + user]
    first, again = await publish(user, *key, '{"n":1}'), await publish(user, *key, '{"n":2}')
    over_http = await ends(*http, *key, '{"n":3}')
    assert first.stdout == again.stdout == over_http.stdout != '', (first, again, over_http)
    lines = '{"n":4}\n{"n":5}\n{"n":6}'
    first, again = await publish(user, *key, stdin=lines), await publish(user, *key, stdin=lines)
    over_http = await ends(*http, *key, stdin=lines)
    assert first.stdout == again.stdout == over_http.stdout, (first, again, over_http)
    assert len(first.stdout.split()) == 3
    assert redis('XLEN', 'task_status:' + user) == '4'


@test('publish --live delivers without storing, and prints how many servers heard it')
async def _(user):
    done = await publish(user, '--live', '{"n":1}')
    assert (done.returncode, done.stdout) == (0, '0\n'), done
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        done = await publish(user, '--live', stdin='{"n":2}\n{"n":3}\n')
        assert (done.returncode, done.stdout) == (0, '1\n1\n'), done
        for n in 2, 3:
            assert await receive(ws, 'task') == {'type': 'task', 'id': None, 'data': {'n': n}}
    assert redis('EXISTS', 'task_status:' + user) == '0'


@test('publish --redis takes a Unix socket, a database, and its URL from a file')
async def _(user):
    for url in f'unix://worker:a%20secret@{directory.name}/socket?db=3', f'{AS_WORKER}/3':
        with tempfile.NamedTemporaryFile('w') as file:
            file.write(url + '\n')
            file.flush()
            done = await ends(os.path.join(BUILD, 'publish'), '--redis-file', file.name, '--user',
                              user, '{}')
            assert done.returncode == 0 and re.fullmatch(ID, done.stdout.strip()), done
    assert redis('-n', '3', 'XLEN', 'task_status:' + user) == '2'


@test('what cannot be published is refused, and what to do is said')
async def _(user):
    at = f'127.0.0.1:{port}'
    for url, code, word in [
            (f'redis://worker:secret@{at}', 1, 'correct the user or the password'),
            (f'redis://nobody:a%20secret@{at}', 1, 'correct the user or the password'),
            (f'redis://listener:x@{at}', 1, 'NOPERM'),
            (f'{AS_WORKER}/77', 1, 'DB index is out of range'),
            (f'redis://127.0.0.1:{server.port}', 1, 'not Redis'),
            ('redis://127.0.0.1:1', 1, 'refused'),
            ('unix:///no/such/socket', 1, 'No such file'),
            (f'redis://worker@{at}', 2, 'without a password'),
            (f'http://{at}', 2, 'redis://'),
            ('redis://127.0.0.1:port', 2, 'port')]:
        done = await publish(user, '{}', url=url)
        assert done.returncode == code and word in done.stderr and not done.stdout, (url, done)
        assert 'secret' not in done.stderr, done
    for args, stdin, code, word in [
            ([], '{"a":1}\n\n[1]\n', 1, 'line 3: this is not a JSON object'),
            ([], '{"a":1}\n{"a":', 1, 'line 2: this is not JSON'),
            (['no JSON'], '', 1, 'this is not JSON'),
            (['{"a":"' + 'x' * 65536 + '"}'], '', 1, '64 KiB'),
            ([''], '', 2, 'JSON object'),
            (['--idempotency-key', '', '{}'], '', 2, '--idempotency-key'),
            (['--idempotency-key', 'a\r\nb', '{}'], '', 2, '--idempotency-key'),
            (['--live', '--idempotency-key', 'a', '{}'], '', 2, '--live'),
            (['--user', 'x' * 129, '{}'], '', 2, '--user')]:
        done = await publish(user, *args, stdin=stdin)
        assert done.returncode == code and word in done.stderr, (args, done)
    assert redis('XLEN', 'task_status:' + user) == '2'  # the first of two lines, twice


async def main():
    global server
    program = Program(shutil.which('redis-server'), '--port', str(port), '--bind', '127.0.0.1',
                      '--save', '', '--dir', directory.name, '--unixsocket', 'socket')
    with directory, program:
        program.wait_for('Ready to accept connections')
        redis('ACL', 'SETUSER', 'worker', 'on', '>a secret', *ACL)
        redis('ACL', 'SETUSER', 'listener', 'on', '>x', '+@connection')
        with Server('--redis', f'redis://127.0.0.1:{port}', '--log-level', 'warn') as server:
            while (await server.request('GET', '/ready')).status != 200:
                await asyncio.sleep(0.05)
            return await run_all(abreast=4)


finish(asyncio.run(main()))
