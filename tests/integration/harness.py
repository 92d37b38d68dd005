"""What the integration tests share: servers, tokens, HTTP, WebSockets, and a runner.

A test is a coroutine whose decorator says the sentence that it proves:

    @test('a token in the query is taken')
    async def _(user): ...

`user` is a user id that no other test has, so that tests of one server run side by side. The
runner prints `ok - sentence` or `not ok - sentence`, and `N passed, N failed` at the end."""

import asyncio
import atexit
import http.client
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import jwt
import websockets

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('TASKWS_BUILD') or os.path.join(ROOT, 'build')
SECRET = 'a secret of the tests, thirty-two bytes or more'
PREFIX = '/api/v1/ws'
PATIENCE = 24  # seconds for what takes no time; by 25 a heartbeat would have brought it along

# -- tokens -------------------------------------------------------------------------------


def token(sub, secret=SECRET, headers=None, exp_in=3600, **claims):
    """A token as a Python backend makes one; exp_in=None leaves exp out."""
    if sub is not None:
        claims['sub'] = sub
    if exp_in is not None:
        claims['exp'] = int(time.time()) + exp_in
    return jwt.encode(claims, secret, algorithm='HS256', headers=headers)


def worker(sub='worker'):
    return token(sub, scope='publish')


def admin(sub='admin'):
    return token(sub, scope='admin')


# -- servers ------------------------------------------------------------------------------


class Program:
    """A program of build/ with its output kept; a context manager that ends it by its id."""

    def __init__(self, name, *args, env=None, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                 preexec_fn=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith('TASKWS_')}
        environment.update(env or {})
        self.name = name
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [os.path.join(BUILD, name), *args], env=environment, stdin=stdin,
            stdout=subprocess.PIPE, stderr=stderr, preexec_fn=preexec_fn, text=True,
            errors='replace')
        atexit.register(self.__exit__)  # should a test be cancelled on its way into `with`
        self.readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in filter(None, (self.process.stdout, self.process.stderr))]
        for reader in self.readers:
            reader.start()

    def _read(self, stream):
        for line in stream:
            with self.news:
                self.lines.append(line.rstrip('\n'))
                self.news.notify_all()

    def output(self):
        return '\n'.join(self.lines)

    def wait_for(self, pattern, seconds=PATIENCE):
        """The match of the first line that has the pattern."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self.news:
            while True:
                for line in self.lines[seen:]:
                    match = re.search(pattern, line)
                    if match:
                        return match
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or not any(reader.is_alive() for reader in self.readers):
                    raise AssertionError(
                        f'{self.name} never said {pattern!r}; it said:\n{self.output()}')
                self.news.wait(min(left, 0.3))

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, seconds=PATIENCE):
        """Waits for the end, and for all that it said, and returns the exit code."""
        code = self.process.wait(seconds)
        for reader in self.readers:
            reader.join(seconds)
            assert not reader.is_alive(), f'somebody still holds what {self.name} writes to'
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Server(Program):
    """build/server on a free port, in memory unless told otherwise."""

    def __init__(self, *args, env=None, secret=SECRET, port=0, **options):
        given = {'TASKWS_SECRET': secret} if secret is not None else {}
        given.update(env or {})
        super().__init__('server', '--port', str(port), *args, env=given, **options)
        try:
            match = self.wait_for(r'listening on (https?)://([^\s/]+):(\d+)')
        except AssertionError:
            self.__exit__()
            raise
        self.port = int(match.group(3))
        self.origin = f'http://127.0.0.1:{self.port}'

    # -- WebSocket --

    def url(self, user, query=''):
        return f'ws://127.0.0.1:{self.port}{PREFIX}/tasks/{user}' + ('?' + query if query else '')

    def connect(self, user, query=None, **options):
        """A client of a user. Without a query the user's own token stands there."""
        if query is None:
            query = 'token=' + token(user)
        options.setdefault('ping_interval', None)
        options.setdefault('open_timeout', PATIENCE)
        options.setdefault('compression', None)
        return websockets.connect(self.url(user, query), **options)

    def connect_slowly(self, user):
        """A client that takes little beyond what it is asked to, once its reading is paused."""
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        narrow.connect(('127.0.0.1', self.port))
        return self.connect(user, sock=narrow, read_limit=1024, max_queue=1)

    # -- HTTP --

    def request_now(self, method, path, headers=None, body=None):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=2 * PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.body = answer.read()
            answer.json = None
            if 'json' in (answer.getheader('Content-Type') or '') and answer.body:
                answer.json = json.loads(answer.body)
            return answer
        finally:
            connection.close()

    async def request(self, method, path, headers=None, body=None, bearer=None):
        headers = dict(headers or {})
        if bearer is not None:
            headers['Authorization'] = 'Bearer ' + bearer
        return await asyncio.to_thread(self.request_now, method, path, headers, body)

    async def publish(self, user, event):
        """Publishes an object (or bytes as they are) and returns its id."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        answer = await self.request('POST', f'{PREFIX}/tasks/{user}', body=body, bearer=worker())
        assert answer.status == 202, (answer.status, answer.body)
        return answer.json['id']

    async def publish_many(self, user, events):
        body = b''.join(json.dumps(e).encode() + b'\n' for e in events)
        answer = await self.request(
            'POST', f'{PREFIX}/tasks/{user}', {'Content-Type': 'application/x-ndjson'}, body,
            bearer=worker())
        assert answer.status == 202, (answer.status, answer.body)
        return answer.json['ids']

    # -- bytes --

    def raw_now(self, data, pause_before_reading=0.0):
        """Sends bytes as they are, and returns all that comes until the server's end of file."""
        with socket.create_connection(('127.0.0.1', self.port), 2 * PATIENCE) as s:
            for part in data if isinstance(data, list) else [data]:
                s.sendall(part)
            time.sleep(pause_before_reading)
            received = b''
            while True:
                part = s.recv(65536)
                if not part:
                    return received
                received += part

    async def raw(self, data, pause_before_reading=0.0):
        return await asyncio.to_thread(self.raw_now, data, pause_before_reading)


def free_port():
    """A port that was free a moment ago, for servers that must come back on the same one."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


# -- WebSocket messages -------------------------------------------------------------------


async def receive(ws, kind=None, seconds=PATIENCE):
    """The next message as an object, of that type if one is given."""
    message = json.loads(await asyncio.wait_for(ws.recv(), seconds))
    assert kind is None or message.get('type') == kind, f'wanted {kind}, got {message}'
    return message


async def receive_until(ws, kind, seconds=PATIENCE):
    """Skips to the next message of that type."""
    while True:
        message = await receive(ws, seconds=seconds)
        if message['type'] == kind:
            return message


async def closing(ws, seconds=PATIENCE):
    """All that still comes, as objects, and the close code."""
    messages = []
    try:
        while True:
            messages.append(json.loads(await asyncio.wait_for(ws.recv(), seconds)))
    except websockets.ConnectionClosed:
        return messages, ws.close_code


async def refusal(ws, seconds=PATIENCE):
    """The one error message of a refused connection, and the close code behind it."""
    messages, code = await closing(ws, seconds)
    errors = [m for m in messages if m.get('type') == 'error']
    assert len(errors) == 1 and messages[-1] is errors[0], messages
    assert errors[0]['close'] == code, (errors[0], code)
    assert errors[0]['message'] and isinstance(errors[0]['retry'], bool), errors[0]
    return errors[0], code


# -- runner -------------------------------------------------------------------------------

tests = []
users = (f'user-{n}' for n in itertools.count(1))


def test(sentence):
    def register(coroutine):
        tests.append((sentence, coroutine))
        return coroutine
    return register


async def _run_one(sentence, coroutine, gate, results):
    async with gate:
        begin = time.monotonic()
        try:
            await asyncio.wait_for(coroutine(next(users)), 8 * PATIENCE)
            results.append(True)
            print(f'ok - {sentence}', flush=True)
        except Exception:
            results.append(False)
            seconds = time.monotonic() - begin
            print(f'not ok - {sentence} ({seconds:.1f} s)\n{traceback.format_exc()}', flush=True)


async def run_all(abreast):
    """Runs what has been registered, so many at once; then forgets it."""
    word = sys.argv[1] if len(sys.argv) > 1 else ''
    gate, results = asyncio.Semaphore(abreast), []
    chosen = [t for t in tests if word in t[0]]
    tests.clear()
    await asyncio.gather(*(_run_one(s, c, gate, results) for s, c in chosen))
    return results


def finish(results):
    print(f'{results.count(True)} passed, {results.count(False)} failed')
    sys.exit(0 if results and all(results) else 1)
