"""The contract of build/server with Redis behind it, against real redis-servers: what workers
publish, every outage, and two servers on one Redis. Each test has a Redis and a server of its own,
so that they run side by side."""

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from real_redis import *


TASKS = PREFIX + '/tasks/'


class Way:
    """A way to a Redis that can be cut, blocked, made deaf and laid to another port."""

    def __init__(self, to):
        self.to = to
        self.port = own_port()
        self.url = f'redis://127.0.0.1:{self.port}'
        self.open = asyncio.Event()
        self.open.set()
        self.deaf = False
        self.writers, self.subscribers = set(), set()

    async def _carry(self, reader, writer, back):
        """One direction; `back` is where the other one writes to."""
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.open.wait()
                if b'SUBSCRIBE' in data:
                    self.subscribers.add(back)
                if not (self.deaf and writer in self.subscribers):
                    writer.write(data)
                    await writer.drain()
        writer.close()

    async def _accept(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection('127.0.0.1', self.to)
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self.writers |= both
        await asyncio.gather(self._carry(reader, far_writer, writer),
                             self._carry(far_reader, writer, far_writer))
        self.writers -= both

    async def mend(self, to=None):
        self.to = to or self.to
        self.open.set()
        self.listener = await asyncio.start_server(self._accept, '127.0.0.1', self.port)

    def cut(self):
        self.listener.close()
        for writer in self.writers:
            writer.transport.abort()

    def block(self):
        """What is sent from here on waits, as in a network that takes packets and brings none."""
        self.open.clear()

    async def __aenter__(self):
        await self.mend()
        return self

    async def __aexit__(self, *_):
        self.open.set()
        self.cut()


# -- servers and clients ------------------------------------------------------------------


@contextlib.asynccontextmanager
async def serving(url, *args, ready=True):
    """A server on that Redis. In the end it goes at the first asking, without a fault."""
    with await asyncio.to_thread(Server, '--redis', url, '--threads', '2', *args) as server:
        if ready:
            await becomes(server, 'ready')
        yield server
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.end) == 0, server.output()


async def readiness(server):
    """'ready', or the reason why not."""
    answer = await server.request('GET', '/ready')
    assert (answer.status, answer.json['status']) in [(200, 'ready'), (503, 'unavailable')]
    return answer.json.get('reason', 'ready')


async def becomes(server, *words, seconds=PATIENCE):
    """Waits until /ready says one of the words, and returns the seconds that it took."""
    passed, last = 0, time.monotonic()
    while (word := await readiness(server)) not in words:
        if passed > seconds:
            raise AssertionError(f'not {words} but {word} after {seconds} s:\n{server.output()}')
        await asyncio.sleep(0.05)
        passed, last = passed + min(time.monotonic() - last, 0.5), time.monotonic()
    return passed


async def status(server):
    return (await server.request('GET', PREFIX + '/status', bearer=admin())).json['redis']


async def state_becomes(server, word, seconds=10):
    begin = time.monotonic()
    while (await status(server))['state'] != word:
        assert time.monotonic() - begin < seconds, server.output()
        await asyncio.sleep(0.1)


async def post(server, user, event, key=None):
    headers = {'Idempotency-Key': key} if key else {}
    return await server.request('POST', TASKS + user, headers, json.dumps(event), bearer=worker())


async def until(true, seconds=PATIENCE):
    begin = time.monotonic()
    while not true():
        assert time.monotonic() - begin < seconds, f'not within {seconds} s'
        await asyncio.sleep(0.02)


class Client:
    """A browser that notes all it is told. A context manager that expects to stay connected."""

    def __init__(self, server, user, since=None, bearer=None):
        self.server, self.user = server, user
        self.query = 'token=' + (bearer or token(user)) + (f'&since={since}' if since else '')
        self.messages = []

    async def _read(self):
        async for message in self.ws:
            self.messages.append(json.loads(message))

    async def __aenter__(self):
        self.ws = await self.server.connect(self.user, self.query)
        self.reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind, *_):
        open_still = self.ws.open and not self.reading.done()
        self.reading.cancel()
        await self.ws.close()
        assert kind or open_still, f'the socket was closed: {self.ws.close_code}'

    def of(self, *types):
        return [m for m in self.messages if m['type'] in types]

    @property
    def tasks(self):
        return self.of('task')

    @property
    def numbers(self):
        return [m['data']['n'] for m in self.tasks]

    async def connected(self):
        await until(lambda: self.of('connected'))
        return self

    async def told(self, count, seconds=30):
        """Waits for so many events, and returns the last."""
        try:
            await until(lambda: len(self.tasks) >= count, seconds)
        except AssertionError:
            raise AssertionError(f'told {len(self.tasks)} of {count}, the last {self.messages[-3:]}\n'
                                 + self.server.output()) from None
        return self.tasks[-1] if count else None

    async def counted(self, numbers, seconds=30):
        """It is told 0, 1, 2 up to so many: all of them, once, in order, and no reset."""
        try:
            await until(lambda: numbers - 1 in self.numbers[-1:], seconds)
            assert self.numbers == list(range(numbers)) and not self.of('reset', 'error')
        except AssertionError:
            gaps = [(a, b) for a, b in zip(self.numbers, self.numbers[1:]) if b != a + 1]
            raise AssertionError(f'{len(self.tasks)} of {numbers}, gaps {gaps[:5]}, '
                                 f'{self.of("reset", "error")}\n' + self.server.output()) from None


@contextlib.asynccontextmanager
async def scene(user, *options, way=False):
    """A Redis, perhaps a way to it, a server, and a client who has been told 0, 1 and 2."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis(*options))
        road = await stack.enter_async_context(Way(redis.port)) if way else redis
        server = await stack.enter_async_context(serving(road.url))
        client = await stack.enter_async_context(Client(server, user))
        await client.connected()
        redis.count(user, 3)
        await client.counted(3)
        yield (redis, road, server, client) if way else (redis, server, client)


async def goes_on(redis, server, client, user):
    """All is well again: workers and POST reach the client, who has missed nothing."""
    await becomes(server, 'ready')
    redis.count(user, 10)
    await client.counted(redis.published[user])
    answer = await post(server, user, redis.number(user))
    assert answer.status == 202, answer.body
    await client.counted(redis.published[user])
    assert client.tasks[-1]['id'] == answer.json['id']


async def refused(server, user):
    """It cannot be stored, and that is what POST says. What it would have been must not appear."""
    answer = await post(server, user, {'task_id': 'counter', 'n': 'refused'})
    assert answer.status == 503 and answer.json['error']['code'] == 'unavailable', answer.body
    assert answer.getheader('Retry-After')


async def serves(redis, server, user):
    """The three ways of publishing, and resuming."""
    async with Client(server, user) as client:
        await client.connected()
        answer = await post(server, user, {'task_id': 'a'})
        assert answer.status == 202, answer.body
        durable = redis.publish(user, {'task_id': 'b'})
        redis.client.publish('task_status:' + user, '{"task_id":"c"}')
        await client.told(3)
        assert [m['data']['task_id'] for m in client.tasks] == ['a', 'b', 'c']
        assert [m.get('id') for m in client.tasks] == [answer.json['id'], durable, None]
    async with Client(server, user, since=answer.json['id']) as client:
        await client.told(1)
        assert client.tasks[0]['id'] == durable and not client.of('reset')


# -- workers ------------------------------------------------------------------------------


@test('a plain PUBLISH is delivered at once, without an id')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, \
            Client(server, user) as one, Client(server, user) as two:
        await one.connected()
        await two.connected()
        odd = '{ "task_id":"t1",  "note":"\u00e9 \\u00e9 \\/", "n":1e2 }'
        assert redis.client.publish('task_status:' + user, odd) == 1
        for client in one, two:
            message = await client.told(1)
            assert message == {'type': 'task', 'id': None, 'data': json.loads(odd)}, message
        assert not redis.client.exists('task_status:' + user)


@test('an event of the script is delivered with its id, byte for byte, and can be resumed from')
async def _(user):
    odd = '{ "task_id":"t1",  "note":"\\u00e9 \\/", "n":1e2 }'
    async with Redis() as redis, serving(redis.url) as server:
        async with Client(server, user) as client:
            await client.connected()
            ids = [redis.publish(user, odd) for _ in range(3)]
            await client.told(3)
            assert [m['id'] for m in client.tasks] == ids
        async with server.connect(user) as ws:
            await receive(ws, 'connected')
            assert odd in await asyncio.wait_for(ws.recv(), 20)
        async with Client(server, user, since=ids[0]) as client:
            await client.told(2)
            assert client.messages[0]['resumed'] and client.messages[0]['last_id'] == ids[2]
            assert [m['id'] for m in client.tasks] == ids[1:]
            live = redis.publish(user, odd)
            assert (await client.told(3))['id'] == live


@test('the script keeps as many events as it is told, as long as it is told, and one of a key')
async def _(user):
    async with Redis() as redis:
        stream = 'task_status:' + user
        assert redis.publish(user, '{}') and 86_000_000 < redis.client.pttl(stream) <= 86_400_000
        for n in range(500):
            redis.publish(user, '{}', 100, 5000)
        assert 100 <= len(redis.stored(user)) <= 200
        assert 4000 < redis.client.pttl(stream) <= 5000
        once = redis.publish(user, '{"n":1}', '', '', 'the key')
        assert redis.publish(user, '{"n":2}', '', '', 'the key') == once
        assert redis.publish(user, '{"n":3}', '', '', 'another') != once
        redis.publish(user + '0', '{"n":4}', '', '', 'the key')
        assert len(redis.stored(user + '0')) == 1
        for bad in 'x', '-1', '0', '1.5', '1e99':
            with contextlib.suppress(redis_py.ResponseError):
                redis.publish(user, '{}', bad)
                raise AssertionError(bad)


@test('what is no JSON is delivered as a JSON string, and counted')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as client:
        await client.connected()
        redis.client.publish('task_status:' + user, 'done "at" last\n')
        redis.client.publish('task_status:' + user, b'\xff\x00')
        id = redis.publish(user, 'half {"of')
        await client.told(3)
        assert client.tasks[0] == {'type': 'task', 'id': None, 'data': 'done "at" last\n'}, client.tasks
        assert client.tasks[1]['data'] == '\ufffd\0'
        assert client.tasks[2] == {'type': 'task', 'id': id, 'data': 'half {"of'}
        assert (await status(server))['not_json'] == 3
        mine = await server.request('GET', PREFIX + '/status', bearer=token(user))
        assert set(mine.json['redis']) == {'state', 'reason', 'round_trip_ms'}  # not what others do
        assert server.output().count('a message delivered as a string') == 3


def told(server):
    """How many lines say that a message was delivered as a string, or were left out."""
    log = server.output()
    left_out = sum(int(n) for n in re.findall(r'lines_left_out=(\d+)', log))
    return len(re.findall('a message delivered as a string', log)) + left_out


@test('a log is not flooded by what is no JSON: ten lines a second, and how many were left out')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as client:
        await client.connected()
        for n in range(2000):
            redis.client.publish('task_status:' + user, f'no JSON {n}')
            if n % 500 == 499:
                await asyncio.sleep(1.1)
        await until(lambda: len(client.tasks) + len(client.of('reset')) > 0)
        redis.client.publish('task_status:' + user, 'the last')
        await until(lambda: client.tasks[-1]['data'] == 'the last')
        await until(lambda: told(server) >= 2001)
        assert told(server) == 2001
        assert 5 < len(re.findall('a message delivered as a string', server.output())) < 100


@test('an event that is too big is dropped, logged and counted, and the connection goes on')
async def _(user):
    def event(bytes):
        return '{"task_id":"%s"}' % ('x' * (bytes - 14))

    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as client:
        await client.connected()
        await post(server, user, {'task_id': 'begin'})
        connects = (await status(server))['connects']
        redis.client.publish('task_status:' + user, event(65537))
        redis.client.publish('task_status:' + user, event(16 << 20))
        redis.publish(user, event(65537))
        redis.publish(user, event(8 << 20))
        last = redis.publish(user, event(65536))
        assert (await client.told(2))['id'] == last
        assert (await status(server))['dropped'] == 4, server.output()
        assert server.output().count('event dropped') == 4
        async with Client(server, user, since=client.tasks[0]['id']) as again:
            assert (await again.told(1))['id'] == last
        assert (await status(server))['connects'] == connects
    async with Redis() as redis, serving(redis.url) as server:
        redis.publish(user, {'task_id': 'begin'})
        redis.publish(user, event(8 << 20))
        redis.publish(user, {'task_id': 'end'})
        async with Client(server, user) as client:
            await client.told(2)
            assert [m['data']['task_id'] for m in client.tasks] == ['begin', 'end']


@test('what nobody read is there for who comes later, over WebSocket and HTTP')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server:
        ids = [redis.publish(user, {'task_id': t}) for t in 'abac']
        async with Client(server, user) as client:
            await client.told(3)
            assert [m['id'] for m in client.tasks] == ids[1:]
        for who in user, user + '0':
            answer = await server.request('GET', TASKS + who, bearer=token(who))
            assert answer.status == 200, answer.body
            assert [t['task_id'] for t in answer.json['tasks']] == (['b', 'a', 'c'] if who == user else [])
        async with Client(server, user, since='1-1') as client:
            await client.told(3)
            assert client.of('reset')


@test('who asks for the tasks of one who is or was here is told of all that Redis has, or of what there is')
async def _(user):
    async def last_id():
        tasks = await server.request('GET', TASKS + user, bearer=token(user))
        assert tasks.status == 200, tasks.body
        return tasks.json['last_id']

    async with Redis() as redis, Way(redis.port) as way, serving(way.url) as server:
        async def told_of_all():
            way.deaf = True # what comes by the subscription is late, but not so long that it shows
            last = redis.publish(user, redis.number(user))
            assert await last_id() == last
            last = (await post(server, user, redis.number(user))).json['id']
            assert await last_id() == last
            return last

        async with Client(server, user) as client:
            await client.connected()
            await told_of_all()
            way.deaf = False
        await becomes(server, 'ready')
        last = await told_of_all()
        way.block() # and what Redis has is not to be had
        assert await last_id() == last
        way.open.set()
        way.deaf = False


@test('who asks for the tasks is none of the connections that a user may have')
async def _(user):
    async with Redis() as redis, serving(redis.url, '--max-per-user', '1') as server:
        redis.publish(user, {'task_id': 'a'})
        for _ in range(20):
            answer, _ = await asyncio.gather(
                server.request('GET', TASKS + user, bearer=token(user)), one_connects(server, user))
            assert answer.status == 200, answer.body
        async with Client(server, user) as client:
            await client.told(1)
            answer = await server.request('GET', TASKS + user, bearer=token(user))
            assert answer.status == 200, answer.body


async def one_connects(server, user):
    async with Client(server, user) as client:
        await client.told(1)


@test('what a host program publishes is stored in Redis too')
async def _(user):
    async with Redis() as redis, serving(redis.url, '--demo') as server, \
            Client(server, 'demo') as client:
        await client.told(3)
        assert all(m['id'] in dict(redis.stored('demo')) for m in client.tasks[:3])


# -- publishing over HTTP -----------------------------------------------------------------


@test('POST answers 202 only once Redis has stored the event')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server:
        async def one(n):
            answer = await post(server, user, {'n': n})
            assert answer.status == 202
            stored = dict(redis.stored(user))
            assert json.loads(stored[answer.json['id']]) == {'n': n}
        await asyncio.gather(*(one(n) for n in range(40)))
        redis.client.client_pause(20_000, all=False)
        waits = asyncio.create_task(post(server, user, {'n': 'waits'}))
        await asyncio.sleep(0.5)
        assert not waits.done()
        redis.client.client_unpause()
        answer = await waits
        assert answer.status == 202 and answer.json['id'] in dict(redis.stored(user))


@test('many lines are stored in order, and answered with their ids')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as client:
        await client.connected()
        ids = await server.publish_many(user, [redis.number(user) for _ in range(900)])
        assert [id for id, _ in redis.stored(user)] == ids
        await client.counted(900)


@test('many lines stay in order where Redis has lost the script, and a worker brings it in between')
async def _(user):
    lines = [{'task_id': 'a', 'n': n} for n in range(400)]
    async with Redis() as redis, serving(redis.url) as server:
        for attempt in range(10):
            one = f'{user}-{attempt}'
            redis.client.script_flush()
            connects = (await status(server))['connects']
            redis.client.client_kill_filter(_type='normal', skipme=True)
            while (await status(server))['connects'] == connects:
                await asyncio.sleep(0.02)
            await becomes(server, 'ready')
            workers = [asyncio.to_thread(redis.publish, user, {'n': n}) for n in range(8)]
            ids, *_ = await asyncio.gather(server.publish_many(one, lines), *workers)
            stored = redis.stored(one)
            assert [json.loads(text) for _, text in stored] == lines
            assert [id for id, _ in stored] == ids


@test('a retried POST with its Idempotency-Key is stored once, also when both come at once')
async def _(user):
    async with Redis() as redis, serving(redis.url) as one, serving(redis.url) as two:
        answers = await asyncio.gather(
            *(post(server, user, {'n': n}, 'k') for n in range(8) for server in (one, two)))
        assert {a.status for a in answers} == {202}
        assert len({a.json['id'] for a in answers}) == 1 and len(redis.stored(user)) == 1
        lines = {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': 'lines'}
        ids = [(await server.request('POST', TASKS + user, lines, '{"n":1}\n{"n":2}\n',
                                     bearer=worker())).json['ids'] for server in (one, two)]
        assert ids[0] == ids[1] and len(redis.stored(user)) == 3
        assert (await post(one, user, {}, 'x' * 201)).status == 400
        # Names that would be the same without the length, or with it in front of the key.
        length = len('task_status:' + user)
        for key, other in [('a}:once:b', user + '}:once:a'),
                           (f'}}:once:{length + 10}:b', f'{user}}}:once:{length}:')]:
            assert (await post(one, user, {}, key)).status == 202
            assert (await post(one, quote(other), {}, 'b')).status == 202
            assert len(redis.stored(other)) == 1


@test('a body of more lines than Redis is sent at once is stored whole')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server:
        for key in '', 'k':
            fields = {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': key}
            answer = await server.request('POST', TASKS + user, fields, '{}\n' * 20_000,
                                          bearer=worker())
            assert answer.status == 202, answer.json['error']
            assert len(set(answer.json['ids'])) == 20_000


@test('what a 503 lists as stored is what Redis holds')
async def _(user):
    async with Redis('--appendonly', 'no') as redis, serving(redis.url) as server:
        body = b''.join(b'{"n":%d,"filler":"%s"}\n' % (n, b'x' * 900) for n in range(60))
        used = redis.client.info('memory')['used_memory']
        redis.client.config_set('maxmemory', used + 120_000)
        seen = set()
        for n in range(40):
            answer = await server.request(
                'POST', f'{TASKS}{user}', {'Content-Type': 'application/x-ndjson'}, body, bearer=worker())
            stored = [id for id, _ in redis.stored(user)][-60:]
            assert answer.json['ids'] == stored[-len(answer.json['ids']):] or not answer.json['ids']
            seen.add(answer.status)
            if answer.status == 503:
                assert answer.json['error']['code'] == 'unavailable'
                break
        assert 503 in seen


# -- connections --------------------------------------------------------------------------


@test('a Redis without HELLO is spoken to in RESP2')
async def _(user):
    async with Redis('--rename-command', 'HELLO', '') as redis, serving(redis.url) as server:
        await serves(redis, server, user)
        assert not [c for c in redis.client.client_list() if c.get('resp') == '3']
    async with Redis('--rename-command', 'HELLO', '', '--requirepass', 'pw') as redis:
        redis.log_in(password='pw')
        async with serving(f'redis://:pw@127.0.0.1:{redis.port}') as server:
            await serves(redis, server, user)


@test('with RESP3 both of its connections speak it, and bear its name')
async def _(user):
    async with Redis() as redis, serving(redis.url):
        mine = [c for c in redis.client.client_list() if c['name'] == 'taskws']
        assert len(mine) == 2 and all(c.get('resp', '3') == '3' for c in mine), mine


@test('password, user with few rights, and database are taken from the URL')
async def _(user):
    async with Redis('--requirepass', 'p@ss/w:rd %') as redis:
        redis.log_in(password='p@ss/w:rd %')
        async with serving(f'redis://:p%40ss%2Fw%3Ard%20%25@127.0.0.1:{redis.port}') as server:
            await serves(redis, server, user)
        redis.client.execute_command(
            'ACL', 'SETUSER', 'tasks', 'on', '>secret', '~task_status:*', '~{task_status:*}:once:*',
            '&task_status:*', '-@all', '+@connection', '+@pubsub', '+@scripting', '+@stream', '+time',
            '+pexpire', '+get', '+set')
        redis.log_in(password='p@ss/w:rd %', db=3)
        async with serving(f'redis://tasks:secret@127.0.0.1:{redis.port}/3') as server:
            await serves(redis, server, user + '0')
            answers = [await post(server, user + '0', {}, 'key') for _ in range(2)]
            assert [a.status for a in answers] == [202, 202], answers[0].body
            assert redis.client.exists(f'task_status:{user}0')
            assert 'secret' not in server.output()


@test('unix sockets, IPv6 and names lead to Redis')
async def _(user):
    async with Redis('--requirepass', 'pw') as redis:
        redis.log_in(password='pw', db=2)
        for n, url in enumerate([f'unix://:pw@{redis.socket}?db=2',
                                 f'redis://:pw@[::1]:{redis.port}/2',
                                 f'redis://default:pw@localhost:{redis.port}/2']):
            async with serving(url) as server:
                await serves(redis, server, f'{user}-{n}')


@test('a URL that cannot be used is refused at the start')
async def _(user):
    for url in 'http://x', 'redis://h:port', 'redis://h/db', 'redis://user@h', 'unix://', 'rediss://h':
        with Program('server', '--redis', url, '--port', '0', env={'TASKWS_SECRET': SECRET}) as program:
            code = await asyncio.to_thread(program.end)
            assert code == 1 and 'Redis URL' in program.output(), (url, code, program.output())


# -- readers ------------------------------------------------------------------------------


@test('the clients of one user are one subscription and one read, which end 10 s after the last')
async def _(user):
    def calls(command):
        return redis.client.info('commandstats').get('cmdstat_' + command, {}).get('calls', 0)

    def subscribers():
        return redis.client.pubsub_numsub('task_status:' + user)[0][1]

    async with Redis() as redis, serving(redis.url, '--max-per-user', '200') as server:
        ids = [redis.publish(user, {'task_id': 'a', 'n': n}) for n in range(9)]
        async with Client(server, user) as first:
            await first.told(1)
            assert subscribers() == 1
            before = calls('xrevrange'), calls('xrange')
            for _ in range(4):
                async with contextlib.AsyncExitStack() as stack:
                    clients = [await stack.enter_async_context(Client(server, user, since=ids[n % 9]))
                               for n in range(25)]
                    for n, client in enumerate(clients):
                        await client.told(8 - n % 9)
            assert (calls('xrevrange'), calls('xrange')) == before
            assert subscribers() == 1
        await asyncio.sleep(3)
        assert subscribers() == 1
        redis.publish(user, {'task_id': 'a', 'n': 9})
        async with Client(server, user) as client:
            await until(lambda: 9 in client.numbers)
            begin = time.monotonic()
        assert (calls('xrevrange'), calls('xrange')) == before
        await until(lambda: not subscribers(), 30)
        assert 9.9 < time.monotonic() - begin < 25


@test('an event that is published at any moment of a handshake arrives once')
async def _(user):
    stop = False

    async def publisher():
        n = 0
        while not stop:
            redis.publish(user, {'task_id': 'a', 'n': n})
            n += 1
            await asyncio.sleep(0.002)

    async with Redis() as redis, serving(redis.url) as server:
        published = asyncio.create_task(publisher())
        with contextlib.ExitStack() as ends:
            ends.callback(published.cancel)
            for _ in range(60):  # of a user without readers, whose past is read again each time
                async with Client(server, user) as client:
                    await client.told(4)
                    n = client.numbers
                    assert n == list(range(n[0], n[0] + len(n))), n
            last = client.tasks[-1]['id']
            for _ in range(60):
                async with Client(server, user, since=last) as client:
                    await client.told(4)
                    assert client.numbers[0] == n[-1] + 1 and not client.of('reset')
                    n = client.numbers
                    assert n == list(range(n[0], n[0] + len(n))), n
                    last = client.tasks[-1]['id']
            assert not published.done()


@test('who comes as the last reader leaves is given all, and not what that one had left to read')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server:
        for n in range(1000):
            redis.publish(user, {'task_id': f't{n}', 'n': n, 'x': 'x' * 700})
        first = redis.stored(user)[0][0]
        for n in range(60):
            since = first if n % 2 else None
            leaves = await Client(server, user).__aenter__()
            await asyncio.sleep(random.random() * 0.006)
            comes = Client(server, user, since)
            opened = asyncio.create_task(comes.__aenter__())
            await asyncio.sleep(0)
            leaves.ws.transport.abort()
            await opened
            await comes.told(999 if since else 1000)
            assert comes.numbers == list(range(1 if since else 0, 1000)) and not comes.of('reset')
            await comes.__aexit__(None)
            with contextlib.suppress(Exception):
                await leaves.reading


@test('a hundred readers of one user are told all in order, while they come and go and events come')
async def _(user):
    async with Redis() as redis, serving(redis.url, '--threads', '1', '--max-per-user', '0') as server, \
            contextlib.AsyncExitStack() as stack:
        stay = [await stack.enter_async_context(Client(server, user)) for _ in range(100)]
        for client in stay:
            await client.connected()
        redis.count(user, 1)
        for client in stay:
            await client.told(1)
        for _ in range(15):
            counting = asyncio.create_task(asyncio.to_thread(redis.count, user, 200))
            leaves = await Client(server, user).__aenter__()
            await leaves.told(1)
            last = leaves.tasks[-1]
            leaves.ws.transport.abort()
            with contextlib.suppress(Exception):
                await leaves.reading
            resumes = Client(server, user, last['id'])
            resumes.begins = last['data']['n'] + 1
            stay.append(await stack.enter_async_context(resumes))
            await counting
        for client in stay:
            numbers = list(range(getattr(client, 'begins', 0), 3001))
            await until(lambda: client.numbers[-1:] == numbers[-1:])
            assert client.numbers == numbers and not client.of('reset', 'error')


@test('events whose ids begin lower, since the clock of Redis was set back, arrive behind a reset')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as client:
        await client.connected()
        for n in 1, 2:
            text = json.dumps({'task_id': 'a', 'n': n})
            redis.client.xadd('task_status:' + user, {'d': text}, id=f'{n}-0')
            redis.client.publish('task_status:' + user, f'{n}-0 {text}')
        await until(lambda: client.numbers[-1:] == [2])
        assert len(client.of('reset')) == 1 and sorted(set(client.numbers)) == client.numbers
        id = redis.publish(user, {'task_id': 'a', 'n': 3})
        await until(lambda: client.numbers[-1:] == [3])
        assert client.tasks[-1]['id'] == id and len(client.of('reset')) == 1


@test('who was away resumes without a reset from any event that Redis still has')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, serving(redis.url) as other, \
            Client(other, user) as reads_already:
        await reads_already.connected()
        ids = redis.count(user, 1000)
        await reads_already.counted(1000)
        for at in server, other:
            for n in 0, 500, 999:
                async with Client(at, user, since=ids[n]) as client:
                    await client.connected()
                    await client.told(999 - n)
                    assert client.numbers == list(range(n + 1, 1000)) and not client.of('reset')
                    assert client.messages[0]['resumed']


@test('what the memory for all users has no room for is read again from Redis, not left out')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server, Client(server, user) as first:
        await first.connected()
        ids = [redis.publish(user, {'task_id': t}) for t in 'abac']
        await first.told(4)
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(Client(server, f'{user}-{n}')) for n in range(80)]
            for n, other in enumerate(others):  # a MiB each, of 64 in all
                await other.connected()
                for _ in range(17):
                    redis.publish(f'{user}-{n}', {'task_id': 'big', 'text': 'x' * 60000})
                await other.told(17)
            async with Client(server, user) as second:
                await second.told(3)
                assert [m['id'] for m in second.tasks] == ids[1:], second.messages
            answer = await server.request('GET', TASKS + user, bearer=token(user))
            assert [t['task_id'] for t in answer.json['tasks']] == ['b', 'a', 'c'], answer.body
        await first.told(7)
        assert [m['type'] for m in first.messages[5:]] == ['reset'] + 3 * ['task'], first.messages


# -- outages ------------------------------------------------------------------------------


@test('Redis killed and started again with its data: sockets stay, nothing is lost or repeated')
async def _(user):
    async with scene(user) as (redis, server, client):
        for _ in range(2):
            redis.kill()
            await becomes(server, 'unreachable', seconds=10)
            await refused(server, user)
            async with Client(server, user + '0') as late:  # who comes now waits, and is served
                await redis.start()
                redis.count(user, 300)
                redis.publish(user + '0', {'task_id': 'a'})
                await goes_on(redis, server, client, user)
                await late.told(1)


@test('Redis started again empty: clients are told reset, and what is new')
async def _(user):
    async with scene(user) as (redis, server, client), Client(server, user + 'q') as quiet, \
            Client(server, user + 'n') as none:
        await none.connected()
        await quiet.connected()
        old = redis.publish(user + 'q', '{"task_id":"a"}')
        await quiet.told(1)
        redis.kill()
        redis.forget()
        await redis.start()
        redis.count(user, 5)
        await becomes(server, 'ready')
        await until(lambda: quiet.of('reset') and client.of('reset') and client.numbers[-1] == 7)
        redis.count(user, 5)
        await until(lambda: client.numbers[-1] == 12)
        assert quiet.messages[-1]['type'] == 'reset' and len(client.of('reset')) == 1
        assert client.numbers[-5:] == [8, 9, 10, 11, 12] and client.numbers[:3] == [0, 1, 2]
        assert len(set(client.numbers)) == len(client.numbers) and sorted(client.numbers) == client.numbers
        assert [m['type'] for m in none.messages] == ['connected']
        new = redis.publish(user + 'q', '{"task_id":"b"}')
        assert (await quiet.told(2))['id'] == new
        async with Client(server, user + 'q', since=old) as again:
            assert (await again.told(1))['id'] == new and again.of('reset')


@test('Redis frozen is noticed within ten seconds, and thawed it goes on')
async def _(user):
    async with scene(user) as (redis, server, client):
        redis.freeze()
        event = redis.number(user)
        waits = asyncio.create_task(post(server, user, event, 'the key'))
        assert await becomes(server, 'silent', seconds=11) < 10
        assert (await waits).status == 503
        await refused(server, user)
        redis.thaw()
        await becomes(server, 'ready')
        answer = await post(server, user, event, 'the key')
        assert answer.status == 202
        await goes_on(redis, server, client, user)
        assert len([e for _, e in redis.stored(user) if json.loads(e) == event]) == 1


@test('a network that swallows everything is noticed within ten seconds, and got over')
async def _(user):
    async with scene(user, way=True) as (redis, way, server, client):
        way.block()
        redis.count(user, 300)
        assert await becomes(server, 'silent', seconds=11) < 10
        await refused(server, user)
        way.cut()
        await way.mend()
        await goes_on(redis, server, client, user)


@test('CLIENT KILL of either connection, again and again while events come, loses none')
async def _(user):
    async with scene(user) as (redis, server, client):
        for n in range(8):
            redis.count(user, 20)
            redis.client.client_kill_filter(_type='pubsub' if n % 2 else 'normal', skipme=True)
            redis.count(user, 20)
            await asyncio.sleep(0.3)
        await goes_on(redis, server, client, user)


@test('a subscription that has gone deaf is noticed within ten seconds, though it is connected')
async def _(user):
    async with scene(user, way=True) as (redis, way, server, client):
        way.deaf = True
        redis.count(user, 100)
        assert await becomes(server, 'deaf', seconds=11) < 10
        way.deaf = False
        await goes_on(redis, server, client, user)
        assert (await status(server))['connects'] == 3


@test('CLIENT PAUSE for two seconds changes nothing, for fifteen it is noticed and got over')
async def _(user):
    async with scene(user) as (redis, server, client):
        while True:
            begin = time.monotonic()
            redis.client.client_pause(2000)
            waits, said = asyncio.create_task(post(server, user, redis.number(user))), []
            while not waits.done():
                said.append(await readiness(server))
                await asyncio.sleep(0.1)
            if time.monotonic() - begin < 4:
                break
        assert (await waits).status == 202 and set(said) == {'ready'}
        redis.client.client_pause(15000)  # noticed within 8 s: a ping in 3, its answer in 5
        assert await becomes(server, 'silent', seconds=11) < 10
        await refused(server, user)
        await goes_on(redis, server, client, user)


@test('a Redis slow by two seconds is waited for: it stays ready, and nothing is refused')
async def _(user):
    async with scene(user) as (redis, server, client):
        for _ in range(3):
            sleeps = asyncio.create_task(
                asyncio.to_thread(redis.client.execute_command, 'DEBUG', 'SLEEP', '2'))
            await asyncio.sleep(0.2)
            answer = asyncio.create_task(post(server, user, redis.number(user)))
            while not sleeps.done():
                assert await readiness(server) == 'ready'
                await asyncio.sleep(0.1)
            assert (await answer).status == 202
        await goes_on(redis, server, client, user)
        assert (await status(server))['connects'] == 2


@test('a password that is changed is said, and once it fits again all goes on')
async def _(user):
    async with Redis('--requirepass', 'old') as redis:
        redis.log_in(password='old')
        async with serving(f'redis://:old@127.0.0.1:{redis.port}') as server, \
                Client(server, user) as client:
            await client.connected()
            redis.count(user, 3)
            await client.counted(3)
            for change, word in [('new', 'wrongpass'), ('', 'ready'), ('old', 'ready')]:
                redis.client.config_set('requirepass', change)
                redis.log_in(password=change or None)
                redis.client.client_kill_filter(_type='pubsub', skipme=True)
                redis.client.client_kill_filter(_type='normal', skipme=True)
                redis.count(user, 20)
                await asyncio.sleep(0.3)
                await becomes(server, word)
                if word != 'ready':
                    await refused(server, user)
            await goes_on(redis, server, client, user)
            assert 'old' not in re.sub(r'threshold', '', server.output())


@test('a server without the password that Redis wants says so')
async def _(user):
    async with Redis('--requirepass', 'pw') as redis, serving(redis.url, ready=False) as server:
        await becomes(server, 'noauth')
        async with serving(f'redis://:wrong@127.0.0.1:{redis.port}', ready=False) as other:
            await becomes(other, 'wrongpass')
            assert 'wrong ' not in other.output() and 'wrong"' not in other.output()
        redis.client = redis_py.Redis(port=redis.port, password='pw')
        redis.client.config_set('requirepass', '')
        await becomes(server, 'ready')
        await serves(redis, server, user)


@test('a failover: the replica at the same address delivers, and stores once it is promoted')
async def _(user):
    async with scene(user, way=True) as (redis, way, server, client), \
            Redis('--replicaof', '127.0.0.1', str(redis.port)) as replica:
        replica.published = redis.published
        redis.count(user, 200)
        await until(lambda: replica.client.info('replication')['master_link_status'] == 'up')
        assert redis.client.wait(1, 10000) == 1
        redis.kill()
        way.cut()
        await becomes(server, 'unreachable')
        await way.mend(replica.port)
        await becomes(server, 'ready')
        await refused(server, user)
        assert (await status(server))['state'] == 'readonly'
        replica.client.publish('task_status:' + user, json.dumps(replica.number(user)))
        await client.counted(204)
        replica.client.replicaof('NO', 'ONE')
        async def stored():
            return (await status(server))['state'] == 'ready'
        begin = time.monotonic()
        while not await stored():
            assert time.monotonic() - begin < 15
            await asyncio.sleep(0.1)
        await goes_on(replica, server, client, user)


@test('a master that becomes a replica is noticed at the first event, and the other way round')
async def _(user):
    async with scene(user) as (redis, server, client), Redis() as other:
        redis.client.replicaof('127.0.0.1', str(other.port))
        await asyncio.sleep(0.2)
        await refused(server, user)
        redis.client.replicaof('NO', 'ONE')
        await becomes(server, 'ready')


@test('what a master missed before it became a replica is no silent gap')
async def _(user):
    async with Redis() as new, scene(user) as (old, _server, client):
        new.client.replicaof('127.0.0.1', str(old.port))
        await until(lambda: new.client.xlen('task_status:' + user) == 3)
        new.client.replicaof('NO', 'ONE')
        new.published[user] = 3
        new.count(user, 3)  # comes to the old one without a push
        old.client.publish('elsewhere', 'so that it has gone on, and takes over all')
        old.client.replicaof('127.0.0.1', str(new.port))
        await until(lambda: old.client.xlen('task_status:' + user) == 6)
        new.count(user, 3)
        await until(lambda: client.of('reset') or client.numbers == list(range(9)))


@test('a peer that is an HTTP server is called what it is, and Redis in its place is found')
async def _(user):
    async def answer(reader, writer):
        with contextlib.suppress(OSError):
            await reader.readline()
            writer.write(b'HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n'
                         b'Connection: close\r\n\r\n<html><body>What?</body></html>\n')
            await writer.drain()
        writer.close()

    http_server = await asyncio.start_server(answer, '127.0.0.1', 0)
    async with http_server, scene(user, way=True) as (redis, way, server, client):
        way.cut()
        await way.mend(http_server.sockets[0].getsockname()[1])
        await becomes(server, 'no_redis')
        await refused(server, user)
        redis.count(user, 100)
        way.cut()
        await way.mend(redis.port)
        await goes_on(redis, server, client, user)


@test('a Redis that loads its data is waited for, and said to load')
async def _(user):
    slow = ['--appendonly', 'no', '--loading-process-events-interval-bytes', '1024']
    async with scene(user, *slow) as (redis, server, client):
        pipe = redis.client.pipeline()
        for n in range(400):
            pipe.set(f'filler:{n}', 'x' * 100)
        pipe.execute()
        redis.client.save()
        redis.kill()
        redis.options += ['--key-load-delay', '10000']
        await redis.start(wait=False)
        await becomes(server, 'loading')
        await refused(server, user)
        await becomes(server, 'ready')
        await goes_on(redis, server, client, user)


@test('a Redis that takes no writes still delivers, says 503 to POST, and 202 when it does again')
async def _(user):
    async with scene(user, '--appendonly', 'no') as (redis, server, client):
        for setting, bad, good, word in [('maxmemory', 1, 0, 'oom'),
                                         ('min-replicas-to-write', 1, 0, 'readonly')]:
            redis.client.config_set(setting, bad)
            await refused(server, user)
            await refused(server, user)
            redis.client.publish('task_status:' + user, json.dumps(redis.number(user)))
            await client.counted(redis.published[user])
            assert await readiness(server) == 'ready'
            assert (await status(server))['state'] == word
            redis.client.config_set(setting, good)
            await state_becomes(server, 'ready')
            await goes_on(redis, server, client, user)


@test('a Redis user who may not store is found out at the first event, and delivered to; and mended')
async def _(user):
    rights = ['ACL', 'SETUSER', 'tasks', 'on', '>pw', 'allkeys', 'allchannels', '+@all']
    async with Redis() as redis:
        redis.client.execute_command(*rights)
        async with serving(f'redis://tasks:pw@127.0.0.1:{redis.port}') as server, \
                Client(server, user) as client:
            await client.connected()
            for missing in '-eval', '-evalsha', '-xadd', '%R~task_status:*':
                redis.client.execute_command(*rights, *(['resetkeys'] if '~' in missing else []), missing)
                await refused(server, user)
                await state_becomes(server, 'readonly')
                said = (await status(server))['reason']
                assert 'NOPERM' in said or "can't run this command" in said, said
                assert await readiness(server) == 'ready'
                redis.client.publish('task_status:' + user, json.dumps(redis.number(user)))
                await client.counted(redis.published[user])
                await asyncio.sleep(4)  # another try changes nothing
                assert (await status(server))['state'] == 'readonly'
                redis.client.execute_command(*rights)
                await state_becomes(server, 'ready')
                await goes_on(redis, server, client, user)
            assert server.output().count('state=readonly') == 4, server.output()
            redis.client.set('task_status:other', 'no stream')
            await refused(server, 'other')
            await asyncio.sleep(4)
            await goes_on(redis, server, client, user)
            assert server.output().count('state=readonly') == 4, server.output()


@test('200,000 events that are published in an outage arrive, once and in order')
async def _(user):
    users = [f'{user}-{n}' for n in range(250)]
    async with Redis() as redis, Way(redis.port) as way, serving(way.url) as server, \
            contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(server, name)) for name in users]
        for name, client in zip(users, clients):
            await client.connected()
            redis.count(name, 1)
        for client in clients:
            await client.counted(1)
        way.cut()
        await becomes(server, 'unreachable')
        for name in users:
            await asyncio.to_thread(redis.count, name, 800)
        await way.mend()
        await becomes(server, 'ready')
        for client in clients:
            await client.counted(801, seconds=120)


@test('an outage in which more was published than Redis keeps ends in a reset, not in a gap')
async def _(user):
    async with scene(user, way=True) as (redis, way, server, client):
        way.cut()
        await becomes(server, 'unreachable')
        for _ in range(3):
            redis.count(user, 1000)
        await way.mend()
        await until(lambda: client.of('reset') and client.numbers[-1] == 3002)
        redis.count(user, 10)
        await until(lambda: client.numbers[-1] == 3012)
        at = client.messages.index(client.of('reset')[0])
        after = [m['data']['n'] for m in client.messages[at + 1:]]
        assert after == sorted(set(after)) and after[-10:] == list(range(3003, 3013)), after
        assert len(client.of('reset')) == 1


@test('a server that starts before its Redis serves once it is there')
async def _(user):
    redis = Redis()
    async with serving(redis.url, ready=False) as server, Client(server, user) as client:
        await becomes(server, 'unreachable')
        await refused(server, user)
        assert (await server.request('GET', '/health')).status == 200
        answer = await server.request('GET', TASKS + user, bearer=token(user))
        assert answer.status == 503, answer.body
        await until(lambda: client.messages)
        assert [(m['type'], m['code'], m['retry']) for m in client.messages] == [
            ('error', 'unavailable', True)] and 'close' not in client.messages[0], client.messages
        client.messages.clear()
        async with redis:
            await goes_on(redis, server, client, user)
            assert client.messages[0]['type'] == 'connected', client.messages[0]


@test('who comes while Redis is frozen is told so in some seconds, and then of his token')
async def _(user):
    async with Redis() as redis, serving(redis.url) as server:
        redis.freeze()
        short = token(user, exp_in=50)
        async with Client(server, user, bearer=short) as client:
            await until(lambda: client.messages)
            assert client.messages[0]['type'] == 'error', client.messages
            assert client.messages[0]['code'] == 'unavailable'
            await until(lambda: len(client.messages) > 1)
            async with server.connect(user, 'token=' + token(user)) as ws:
                assert (await receive(ws, 'error'))['code'] == 'unavailable'
                shorter = token(user, exp_in=3)
                await ws.send(json.dumps({'type': 'auth', 'token': shorter}))
                await receive(ws, 'expiring')
                assert (await refusal(ws))[1] == 4401
            redis.thaw()
            await until(lambda: len(client.messages) > 2)
            assert [m['type'] for m in client.messages] == ['error', 'expiring', 'connected']


@test('a name that nobody knows holds up nothing but Redis')
async def _(user):
    async with serving('redis://no-such-name.invalid', ready=False) as server:
        slow = 0  # a look-up in the loop would hold up each of its attempts
        for _ in range(30):
            begin = time.monotonic()
            assert (await server.request('GET', '/health')).status == 200
            assert await readiness(server) in ('connecting', 'unreachable')
            slow += time.monotonic() - begin > 2
            await asyncio.sleep(0.1)
        assert slow < 3, slow


@test('a Redis that is full, and one that is a cluster without this slot, are said to be so')
async def _(user):
    async with Redis('--maxclients', '1') as redis, serving(redis.url, ready=False) as server:
        await becomes(server, 'refused')
        assert 'max number of clients' in (await status(server))['reason']
        redis.client.config_set('maxclients', 100)
        await becomes(server, 'ready')
        await serves(redis, server, user)
    async with Redis('--cluster-enabled', 'yes', '--cluster-port', str(own_port())) as redis, \
            serving(redis.url, ready=False) as server, Client(server, user):
        await becomes(server, 'moved')
        await refused(server, user)


# -- two servers --------------------------------------------------------------------------


@test('an event that one server stores is delivered by the other')
async def _(user):
    async with Redis() as redis, serving(redis.url) as one, serving(redis.url) as two, \
            Client(one, user) as at_one, Client(two, user) as at_two:
        await at_one.connected()
        await at_two.connected()
        for n in range(20):
            assert (await post((one, two)[n % 2], user, redis.number(user))).status == 202
        await at_one.counted(20)
        await at_two.counted(20)
        assert at_one.tasks == at_two.tasks


@test('a client that moves between two servers by since loses and repeats nothing')
async def _(user):
    stop = False

    async def publisher():
        while not stop:
            redis.publish(user, redis.number(user))
            await asyncio.sleep(0.003)

    async with Redis() as redis, serving(redis.url) as one, serving(redis.url) as two, \
            Client(one, user) as stays:
        await stays.connected()
        redis.count(user, 1)
        last, seen = (await stays.told(1))['id'], [0]
        published = asyncio.create_task(publisher())
        with contextlib.ExitStack() as ends:
            ends.callback(published.cancel)
            for n in range(100):
                async with Client((one, two)[n % 2], user, since=last) as client:
                    await client.told(n % 7 + 1)
                assert not client.of('reset') and client.messages[0]['resumed'], client.messages[:3]
                last = client.tasks[-1]['id']
                seen += client.numbers
            assert not published.done()
            assert seen == list(range(len(seen))), seen


@test('a client that comes to a server which is behind waits for it, and is not reset')
async def _(user):
    async with Redis() as redis, Way(redis.port) as way, serving(redis.url) as ahead, \
            serving(way.url) as behind, Client(ahead, user) as fast, Client(behind, user) as slow:
        await fast.connected()
        await slow.connected()
        redis.count(user, 3)
        await fast.counted(3)
        await slow.counted(3)
        way.block()
        redis.count(user, 3)
        await fast.counted(6)
        async with Client(behind, user, since=fast.tasks[4]['id']) as moved:
            await asyncio.sleep(0.5)
            way.open.set()
            await slow.counted(6)
            await moved.told(1)
            assert not moved.of('reset') and moved.numbers == [5], moved.messages


@test('watch, cut off before its first event, is given all that came meanwhile')
async def _(user):
    for past in [], ['{"note":"zero"}']:  # of no task: a snapshot has none of them
        await cut_off_early(user + str(len(past)), past, ['{"note":"one"}', '{"note":"two"}'])


async def cut_off_early(user, past, events):
    async with Redis() as redis:
        async with serving(redis.url) as server:
            port = server.port
            for event in past:
                redis.publish(user, event)
            watch = Program('watch', '--url', server.origin, '--user', user, '--raw', '--token',
                            token(user))
            await asyncio.to_thread(watch.wait_for, 'connected')
        with watch:
            await asyncio.to_thread(watch.wait_for, 'shutting down')
            for event in events:
                redis.publish(user, event)
            async with serving(redis.url, '--port', str(port)):
                for event in events:
                    await asyncio.to_thread(watch.wait_for, event)


# -- all of it ----------------------------------------------------------------------------


async def main():
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    return await run_all(abreast=12)


finish(asyncio.run(main()))
