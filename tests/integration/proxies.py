"""The files of examples/deploy, each in front of a real server: only ports and paths are replaced
in them. What nginx, HAProxy and Vite's dev server must let through, and what they must not."""

import shutil
import ssl
import struct

from harness import *

DEPLOY = os.path.join(ROOT, 'examples', 'deploy')
NODE = os.path.join(BUILD, 'node')
TASKS = PREFIX + '/tasks/'
ANY_CERTIFICATE = ssl._create_unverified_context()
SPOOFED = {'X-Forwarded-For': '203.0.113.7'}
secrets = set()  # every token that went through a proxy in the query


def query_token(*args, **claims):
    secrets.add(token(*args, **claims))
    return 'token=' + token(*args, **claims)


def replaced(name, pairs):
    """A file of examples/deploy; what is to be replaced must stand in it once."""
    with open(os.path.join(DEPLOY, name)) as f:
        text = f.read()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old, text.count(old))
        text = text.replace(old, new)
    return text


def read(path):
    with open(path, errors='replace') as f:
        return f.read()


class Front:
    """A server with a proxy before it; both end with it."""

    secure = True

    def __init__(self, *args):
        self.args = args
        self.port = free_port()

    def __enter__(self):
        os.makedirs(NODE, exist_ok=True)
        # Below build/node, where the Vite file finds its vite.
        self.folder = tempfile.TemporaryDirectory(dir=NODE, prefix='proxies-')
        self.server = self.behind()
        try:
            while not self.is_up():  # the port was free, and is somebody's by now
                self.port = free_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    async def __aenter__(self):
        """Beside other tests, which go on meanwhile."""
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.__exit__)

    def behind(self):
        return Server('--trust-proxy', '--log-level', 'debug', *self.args)

    def __exit__(self, *_):
        if hasattr(self, 'proxy') and self.proxy.process.poll() is None:
            self.proxy.signal(signal.SIGTERM)
            self.proxy.end()
        self.server.__exit__()
        self.folder.cleanup()

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, 'w') as f:
            f.write(text)
        return path

    def certificate(self):
        key, pem = (os.path.join(self.folder.name, 'tasks.' + end) for end in ('key', 'pem'))
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
             '-nodes', '-days', '1', '-subj', '/CN=tasks.example.com', '-keyout', key, '-out', pem],
            check=True, capture_output=True)
        return key, pem

    def is_up(self):
        """Starts the proxy. False if it ended, since another has its port."""
        self.start(self.folder.name)
        deadline = time.monotonic() + 2 * PATIENCE
        while self.proxy.process.poll() is None:
            try:
                if self.request_now('GET', PREFIX + '/status').status == 401:
                    return True
            except TimeoutError:  # somebody took the connection, and never answered
                if self.proxy.process.poll() is None:
                    raise
            except OSError:
                pass
            assert time.monotonic() < deadline, self.proxy.output()
            time.sleep(0.1)
        self.proxy.end()
        output = self.proxy.output() + self.errors()
        assert re.search('already in use', output, re.IGNORECASE), output
        return False

    # -- clients --

    def connect(self, user, query=None, **options):
        query = query_token(user) if query is None else query
        options.setdefault('ping_interval', None)
        options.setdefault('open_timeout', PATIENCE)
        if self.secure:
            options['ssl'] = ANY_CERTIFICATE
        scheme = 'wss' if self.secure else 'ws'
        url = f'{scheme}://127.0.0.1:{self.port}{TASKS}{user}?{query}'
        return websockets.connect(url, **options)

    def request_now(self, method, path, headers=None, body=None):
        connection = http.client.HTTPSConnection(
            '127.0.0.1', self.port, timeout=2 * PATIENCE, context=ANY_CERTIFICATE
        ) if self.secure else http.client.HTTPConnection('127.0.0.1', self.port, timeout=2 * PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    async def request(self, *args):
        return await asyncio.to_thread(self.request_now, *args)

    async def publish(self, user, event):
        answer = await self.request('POST', TASKS + user, {'Authorization': 'Bearer ' + worker()},
                                    json.dumps(event).encode())
        assert answer.status == 202, (answer.status, answer.body)
        return json.loads(answer.body)['id']

    def stream(self, user, *options):
        """An event stream, read by curl, which speaks HTTP/2 where it may."""
        scheme = 'https' if self.secure else 'http'
        return Program(shutil.which('curl'), '-isSkN', '--compressed', *options, '-H',
                       'Accept: text/event-stream',
                       f'{scheme}://127.0.0.1:{self.port}{TASKS}{user}?{query_token(user)}')


class Nginx(Front):
    name = 'nginx'
    error_level = 'emerg'

    def start(self, folder):
        key, pem = self.certificate()
        self.access_log = os.path.join(folder, 'access')
        self.error_log = os.path.join(folder, 'error')
        temporary = ''.join(f'    {kind}_temp_path {folder}/{kind};\n' for kind in (
            'client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
        config = self.write('nginx.conf', replaced('nginx.conf', [
            ('http {\n', 'http {\n' + temporary),
            ('listen 443 ', f'listen 127.0.0.1:{self.port} '),
            ('server 127.0.0.1:8000;', f'server 127.0.0.1:{self.server.port};'),
            ('/etc/nginx/tasks.pem', pem), ('/etc/nginx/tasks.key', key),
            ('access_log /var/log/nginx/tasks.log', 'access_log ' + self.access_log),
            ('error_log /dev/null emerg', f'error_log {self.error_log} {self.error_level}')]))
        nginx = shutil.which('nginx', path=os.environ['PATH'] + ':/usr/sbin')
        common = ['-e', os.path.join(folder, 'start'), '-c', config, '-g',
                  f'daemon off; pid {folder}/pid;']
        check = subprocess.run([nginx, '-t', *common], capture_output=True, text=True)
        assert check.returncode == 0 and '[warn]' not in check.stderr, check.stderr
        self.proxy = Program(nginx, *common)

    def access(self):
        return read(self.access_log)

    def errors(self):
        return read(self.error_log) + read(os.path.join(self.folder.name, 'start'))


class NginxTelling(Nginx):
    """The same, with the error log that the file turns off."""
    error_level = 'error'


class HAProxy(Front):
    name = 'HAProxy'

    def start(self, folder):
        key, pem = self.certificate()
        both = self.write('both.pem', read(pem) + read(key))
        config = self.write('haproxy.cfg', replaced('haproxy.cfg', [
            ('bind :443 ', f'bind 127.0.0.1:{self.port} '),
            ('server one 127.0.0.1:8000 ', f'server one 127.0.0.1:{self.server.port} '),
            ('/etc/haproxy/tasks.pem', both)]))
        haproxy = shutil.which('haproxy', path=os.environ['PATH'] + ':/usr/sbin')
        check = subprocess.run([haproxy, '-c', '-f', config], capture_output=True, text=True)
        assert check.returncode == 0 and 'WARNING' not in check.stderr, check.stderr
        self.proxy = Program(haproxy, '-db', '-f', config)

    def access(self):
        return self.proxy.output()

    def errors(self):
        """What it logs beside requests, and requests whose end was the server's fault."""
        request = re.compile(r'127\.0\.0\.\d+ \[.*\] [A-Z]+ /\S* \d+ \d+ \S+ (..) ')
        return '\n'.join(line for line in self.proxy.lines
                         if not request.match(line) or request.match(line)[1][0] == 'S')


class Vite(Front):
    name = 'Vite'
    secure = False

    def start(self, folder):
        self.write('index.html', '<title>a page</title>')
        self.write('package.json', '{}')  # beside it Vite keeps what it caches
        config = self.write('vite.config.mjs', replaced('vite.config.js', [
            ("target: 'http://127.0.0.1:8000'", f"target: 'http://127.0.0.1:{self.server.port}'")]))
        self.proxy = Program(
            shutil.which('node'), os.path.join(NODE, 'node_modules', 'vite', 'bin', 'vite.js'),
            folder, '--config', config, '--host', '127.0.0.1', '--port', str(self.port),
            '--strictPort')

    def errors(self):
        return '\n'.join(line for line in self.proxy.lines if 'rror' in line)


class Breaking:
    """In the place of a server: breaks off at every POST, which it counts."""

    def __init__(self):
        self.posts = 0
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        with s:
            while True:
                head = b''
                while b'\r\n\r\n' not in head:
                    try:
                        part = s.recv(65536)
                    except ConnectionResetError:  # HAProxy's checks end so
                        return
                    if not part:
                        return
                    head += part
                if head.startswith(b'POST '):
                    self.posts += 1
                    return
                status = b'200 OK' if b' /ready ' in head else b'401 Unauthorized'
                s.sendall(b'HTTP/1.1 ' + status + b'\r\nContent-Length: 0\r\n\r\n')

    def __exit__(self, *_):
        self.listener.close()


front = None  # the one that the tests of a proxy share


async def until(what, seconds=PATIENCE):
    """Waits for what is true soon."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, 'it never came true'
        await asyncio.sleep(0.05)


async def gone(kill):
    """A client whose socket is killed: the server notices, and nobody complains."""
    user = f'killed-{time.monotonic_ns()}'
    status = {'Authorization': 'Bearer ' + token(user)}

    async def mine():
        answer = await front.server.request('GET', PREFIX + '/status', status)
        return answer.json['connections']['yours']
    ws = await front.connect(user)
    await receive(ws, 'connected')
    assert await mine() == 1
    kill(ws.transport)
    deadline = time.monotonic() + PATIENCE
    while await mine() != 0:
        assert time.monotonic() < deadline, 'the server never noticed'
        await asyncio.sleep(0.05)


def reset(transport):
    linger = struct.pack('ii', 1, 0)
    transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def tests_of(Kind):
    name = Kind.name

    @test(f'{name}: a WebSocket is given connected, the snapshot and live events; 1000 is answered')
    async def _(user):
        first = await front.publish(user, {'task_id': 'a', 'n': 1})
        async with front.connect(user) as ws:
            await receive(ws, 'connected')
            assert (await receive(ws, 'task'))['id'] == first
            for n in range(20):
                id = await front.publish(user, {'task_id': 'a', 'n': n})
                message = await receive(ws, 'task')
                assert (message['id'], message['data']['n']) == (id, n)
            await ws.send('{"type":"ping"}')
            await receive(ws, 'pong')
            await ws.close(1000)
            assert ws.close_code == 1000 and ws.close_rcvd.code == 1000

    @test(f'{name}: a refusal arrives as an error and its close code')
    async def _(user):
        for query, word, code in [
                (query_token(user, exp_in=-60), 'token_expired', 4401),
                (query_token('another'), 'forbidden_user', 4403),
                (query_token(user) + '&since=x', 'bad_request', 4400)]:
            async with front.connect(user, query) as ws:
                error, closed = await refusal(ws)
                assert (error['code'], closed) == (word, code)

    @test(f'{name}: a user_id arrives as it was written')
    async def _(user):
        async with front.connect('a%2Fb', query_token('a/b')) as ws:
            assert (await receive(ws, 'connected'))['user_id'] == 'a/b'

    for version in ['1.1', '2'] if Kind.secure else ['1.1']:
        @test(f'{name}: each event of a stream arrives at once, over HTTP/{version}')
        async def _(user, version=version):
            with front.stream(user, '--http' + version) as events:
                await asyncio.to_thread(events.wait_for, f'^HTTP/{version} 200')
                await asyncio.to_thread(events.wait_for, '^event: connected')
                for n in range(5):
                    begin = time.monotonic()
                    id = await front.publish(user, {'task_id': 'a', 'n': n})
                    await asyncio.to_thread(events.wait_for, f'^id: {id}')
                    # On a machine that has much else to do; the next heartbeat is far away.
                    assert time.monotonic() - begin < 10, (n, time.monotonic() - begin)

    @test(f'{name}: a cookie counts for pages of the same origin only, which is the proxy')
    async def _(user):
        cookie = {'Cookie': 'tasks=' + token(user)}
        async with Kind('--cookie', 'tasks') as own:
            origin = f'http{"s" if own.secure else ""}://127.0.0.1:{own.port}'
            async with own.connect(user, '', origin=origin, extra_headers=cookie) as ws:
                await receive(ws, 'connected')
            async with own.connect(user, '', origin=origin + '1', extra_headers=cookie) as ws:
                assert (await refusal(ws))[1] == 4403

    @test(f'{name}: metrics are not given')
    async def _(user):
        for headers in {}, {'X-Forwarded-For': '127.0.0.1'}:
            answer = await front.request('GET', '/metrics', headers)
            assert b'taskws' not in answer.body, answer.body
            assert answer.status == 404 or b'<title>a page' in answer.body
        assert b'taskws_' in (await front.server.request('GET', '/metrics')).body

    @test(f'{name}: a client that vanishes, with a reset or without a close, is no error')
    async def _(user):
        before = front.errors()
        for _ in range(5):
            await gone(reset)
            await gone(lambda transport: transport.abort())
        with front.stream(user) as events:
            await asyncio.to_thread(events.wait_for, '^event: connected')
        await asyncio.sleep(0.3)
        assert front.errors() == before, front.errors()
        assert 'ECONNRESET' not in front.proxy.output(), front.proxy.output()


def tests_of_a_real_proxy(Kind):
    name = Kind.name

    @test(f'{name}: who is logged and limited is the client, whatever it claims')
    async def _(user):
        source = ('127.0.0.77', 0)
        async with front.connect(user, query_token(user, exp_in=-60), local_addr=source,
                                 extra_headers=SPOOFED) as ws:
            await refusal(ws)
        await asyncio.to_thread(front.server.wait_for, f'user_id={user} address=127.0.0.77$')
        assert '203.0.113.7' not in front.server.output()
        async with Kind('--max-per-ip', '1') as one:
            async with one.connect(user, local_addr=source) as ws:
                await receive(ws, 'connected')
                async with one.connect(user, local_addr=source, extra_headers=SPOOFED) as second:
                    error, code = await refusal(second)
                    assert (error['code'], code) == ('too_many_connections', 4429)
                async with one.connect(user, local_addr=('127.0.0.78', 0)) as other:
                    await receive(other, 'connected')


    @test(f'{name}: a POST that nobody answers is sent once')
    async def _(user):
        class BeforeBreaking(Kind):
            def behind(self):
                return Breaking()
        async with BeforeBreaking() as own:
            for n in range(1, 4):  # also over a pooled connection
                await own.request('GET', TASKS + user)
                answer = await own.request('POST', TASKS + user, {}, b'{}')
                assert (answer.status, own.server.posts) == (502, n)


def test_of_a_drain(Kind):
    @test(f'{Kind.name}: at SIGTERM all are told and closed with 1001, and no proxy complains')
    async def _(user):
        async with Kind('--drain', '1') as own:
            clients = [await own.connect(f'{user}-{n}') for n in range(20)]
            for ws in clients:
                await receive(ws, 'connected')
            with own.stream(user) as events:
                await asyncio.to_thread(events.wait_for, '^event: connected')
                await own.publish(user, {'task_id': 'a'})  # leaves a connection in the pool
                before = own.errors()
                own.server.signal(signal.SIGTERM)
                for ws in clients:
                    error, code = await refusal(ws)
                    assert (error['code'], code) == ('draining', 1001)
                assert await asyncio.to_thread(events.end) == 0, events.output()
                assert 'draining' in events.output()
                assert await asyncio.to_thread(own.server.end) == 0
            await asyncio.sleep(0.3)
            # That /ready has answered 503 is what HAProxy is to say.
            complaints = [line for line in own.errors()[len(before):].splitlines()
                          if line and 'is DOWN' not in line and 'no server available' not in line]
            assert not complaints, complaints
            if Kind.secure:
                assert not re.search(r' /\S* 50\d ', own.access()), own.access()
                answer = await own.request('GET', TASKS + user + '?' + query_token(user))
                assert answer.status in (502, 503)
                assert not any(s in own.access() for s in secrets)


@test('the files say longer times than the server')
async def _(user):
    async with front.connect(user) as ws:
        heartbeat = (await receive(ws, 'connected'))['heartbeat_s']
    silence = heartbeat + 10  # and as long for an answer

    def seconds(name, pattern):
        found = re.findall(pattern, read(os.path.join(DEPLOY, name)), re.MULTILINE)
        assert found, (name, pattern)
        return [int(n) for n in found]
    for n in (seconds('nginx.conf', r'proxy_(?:read|send)_timeout (\d+)s;') +
              seconds('haproxy.cfg', r'timeout (?:client|server|tunnel) +(\d+)s')):
        assert n > silence, n
    assert seconds('nginx.conf', r'keepalive_timeout (\d+)s')[0] < 75
    assert seconds('taskws.service', r'^TimeoutStopSec=(\d+)')[0] > 10 + 2 * 5


@test('the unit is one that systemd takes, and exposes little')
async def _(_user):
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, 'taskws.service')
        with open(unit, 'w') as f:
            f.write(replaced('taskws.service', [
                ('ExecStart=/usr/local/bin/taskws-server',
                 'ExecStart=' + os.path.join(BUILD, 'server'))]))
        for check in ['verify'], ['security', '--offline=true', '--threshold=20']:
            done = subprocess.run(['systemd-analyze', *check, unit], capture_output=True, text=True)
            assert done.returncode == 0, (done.stdout[-2000:], done.stderr)
            assert check != ['verify'] or unit not in done.stderr, done.stderr


async def main():
    global front
    results = []
    for Kind in Vite, HAProxy, Nginx:
        tests_of(Kind)
        if Kind.secure:
            tests_of_a_real_proxy(Kind)
        with Kind() as front:
            results += await run_all(4)
            if Kind.secure:
                @test(f'{Kind.name}: its log has the paths, and no log has a token')
                async def _(user):
                    hidden = query_token(user)
                    for path in ('2%3F' + hidden, '2#' + hidden, f'2%3F{hidden}/../x',
                                 'a%20200%0A1.2.3.4%20'):
                        assert (await front.request('GET', TASKS + path)).status in (400, 401, 404)
                    await until(lambda: front.access().count(TASKS) > 20 and
                                re.search(r'GET \S*%0A1\.2', front.access()))
                    logs = front.access() + front.errors() + front.server.output()
                    found = [s for s in secrets if s in logs or s.split('.')[2] in logs]
                    assert len(secrets) > 10 and not found, found
                    assert not re.search('^1.2.3.4', front.access(), re.MULTILINE)
                results += await run_all(1)
    for Kind in Vite, HAProxy, NginxTelling:
        test_of_a_drain(Kind)
    results += await run_all(2)
    finish(results)


asyncio.run(main())
