"""Chaos: readers that come and go and lag, workers over HTTP and Redis, and servers and a Redis that
are stopped, killed, frozen and emptied, all at random. Of every event it is known what was stored
under which id, so that each reader's story can be judged afterwards: no event twice, none that was
not published, ids that rise, no gap without a `reset`, the last status of each task, and no end of
a connection but a close code or a server that was killed.

    chaos.py SEED...    a seed is a story; what it chooses is printed"""

import bisect
import concurrent.futures

from real_redis import *

SECONDS = 8  # of publishing and faults
TASKS = PREFIX + '/tasks/'


def number(id):
    """An id as something to compare."""
    milliseconds, sequence = id.split('-')
    return int(milliseconds), int(sequence)


class Node:
    """A place where a server runs, and runs again after it was ended."""

    def __init__(self, *args):
        self.args = args
        self.port = own_port()
        self.problems = []

    async def start(self):
        self.server = await asyncio.to_thread(Server, *self.args, port=self.port)
        self.server.ended_by = None

    async def end(self, how=signal.SIGTERM):
        server, server.ended_by = self.server, how
        server.signal(how)
        code = await asyncio.to_thread(server.end, 30)
        output = server.output()
        if code != (0 if how == signal.SIGTERM else -how) or re.search('Sanitizer|runtime err', output):
            self.problems.append(f'a server ended with {code}:\n{output[-4000:]}')
        server.__exit__()


class EventStream:
    """The same events over Server-Sent Events, with what is used here of a WebSocket."""

    close_code = 1006  # until an error says another

    def __init__(self, reader, writer):
        self.reader, self.transport, self.fields = reader, writer.transport, {}

    @classmethod
    async def open(cls, server, user, since):
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port, limit=1 << 20)
        place = f'Last-Event-ID: {since}\r\n' if since else ''
        writer.write(f'GET {TASKS}{user} HTTP/1.0\r\nAccept: text/event-stream\r\n{place}'
                     f'Authorization: Bearer {token(user)}\r\n\r\n'.encode())
        head = await reader.readuntil(b'\r\n\r\n')
        if b' 200 ' not in head:
            raise OSError(head)
        return cls(reader, writer)

    async def recv(self):
        while line := await self.reader.readline():
            field, _, value = line.decode().rstrip('\n').partition(': ')
            if field:
                self.fields[field] = value
            elif self.fields and not value:
                fields, self.fields = self.fields, {}
                message = json.loads(fields['data'])
                self.close_code = message.get('close', 1006)
                return message if 'event' in fields else {'type': 'task', 'id': fields['id'],
                                                          'data': message}
        raise EOFError

    async def close(self):
        self.transport.close()


class Chain:
    """What a reader has been told since it had to begin anew, or since it resumed."""

    def __init__(self, kind, after=None, before=None):
        self.kind = kind                # resumed, snapshot, reset
        self.after = after              # what is behind this id may not be missing
        self.before = before            # the chain that this one goes on with
        self.began = time.monotonic()
        self.lagging = False
        self.ids = []
        self.skipped = []


class Reader:
    def __init__(self, story, seed):
        self.story = story
        self.dice = random.Random(seed)
        self.user = self.dice.choice(story.users)
        self.slow = self.dice.random() < 0.3
        self.streams = self.dice.random() < 0.2
        self.chain = self.last = None
        self.chains = []
        self.log = collections.deque(maxlen=40)

    def begin(self, *chain):
        self.chain = Chain(*chain)
        self.chains.append(self.chain)

    def problem(self, text):
        self.story.problems.append(f'reader of {self.user}: {text}; {list(self.log)}')

    def take(self, message):
        story, kind = self.story, message['type']
        if kind != 'task':
            self.log.append(message)
        if kind == 'connected' and message['resumed']:
            goes_on = self.chain if self.last == self.since else None
            self.begin('resumed', number(self.since), goes_on)
            self.last = self.since
        elif kind == 'connected':
            self.begin('snapshot', number(message['last_id']))
            self.last = None
        elif kind == 'reset':
            self.begin('reset')
            self.last = None
        elif kind == 'task':
            self.event(number(message['id']), message['data'])
            self.last = message['id']
        elif kind != 'error' or message['code'] not in ('draining', 'unavailable'):
            self.problem('such a message')
        story.told[kind] += 1

    def event(self, id, data):
        if self.last and id <= number(self.last):
            self.problem(f'{id} behind {self.last}')
        self.chain.ids.append(id)
        self.story.stored(self.user, id, data, self.problem)

    def where_to_begin(self):
        """The last id mostly, else an old one, nothing, or one that nobody has."""
        chance = self.dice.random()
        if self.last is None or (chance > 0.9 and not self.story.quiet.is_set()):
            return None
        if self.story.quiet.is_set() or chance < 0.75 or not self.chain.ids:
            return self.last
        return '%d-%d' % (self.dice.choice(self.chain.ids) if chance < 0.87 else (1, 0))

    async def stay(self, ws, until):
        """Reads until then, or until all has been told at the end; True if it has."""
        while time.monotonic() < until:
            if self.story.quiet.is_set() and self.last == self.story.last.get(self.user):
                return True
            with contextlib.suppress(asyncio.TimeoutError):
                self.take(await asyncio.wait_for(self.message(ws), 0.3))
            if self.slow and not self.story.quiet.is_set() and self.dice.random() < 0.02:
                self.chain.lagging = True
                await asyncio.sleep(self.dice.choice([0.3, 1, 2]))
        return False

    async def connect(self, server):
        if self.streams:
            return await EventStream.open(server, self.user, self.since)
        query = 'token=' + token(self.user) + (f'&since={self.since}' if self.since else '')
        options = {'compression': self.dice.choice([None, 'deflate']), 'close_timeout': 1}
        if self.slow:
            options.update(read_limit=1024, max_queue=1)
        return await server.connect(self.user, query, **options)

    @staticmethod
    async def message(ws):
        message = await ws.recv()
        return message if isinstance(message, dict) else json.loads(message)

    async def visit(self):
        """One connection, from its opening to its end; True if it was told all at the end."""
        server = self.dice.choice(self.story.nodes).server
        self.since = self.where_to_begin()
        try:
            ws = await self.connect(server)
        except (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException):
            await asyncio.sleep(0.1)  # it is being started again, or drains
            return False
        self.log.append(f'connects to {server.port}, since {self.since}')
        try:
            self.take(await asyncio.wait_for(self.message(ws), 20))
            seconds = 20 if self.story.quiet.is_set() else self.dice.choice([0, 0.1, 0.5, 3])
            return await self.stay(ws, time.monotonic() + seconds)
        except (websockets.ConnectionClosed, EOFError, OSError):
            if not (server.ended_by == signal.SIGKILL or (server.ended_by and ws.close_code == 1001)):
                self.problem(f'closed with {ws.close_code}, ended by {server.ended_by}')
            return False
        finally:
            if self.dice.random() < 0.3:
                ws.transport.abort()
            await ws.close()

    async def live(self):
        try:
            while not await self.visit():
                if self.story.over():
                    return self.problem(f'at {self.last} in the end, not {self.story.last}')
                await asyncio.sleep(self.dice.choice([0, 0, 0, 0.5]))
        except Exception:
            self.problem(traceback.format_exc())

    # -- afterwards --

    def judge_gaps(self, chain, ids):
        at = chain.after if chain.kind == 'resumed' else None
        for id in chain.ids:
            for missing in ids[bisect.bisect(ids, at) if at else 0:bisect.bisect_left(ids, id)]:
                chain.skipped.append(missing)
                if chain.kind == 'resumed':
                    gap = True
                elif chain.kind == 'snapshot':
                    gap = not chain.lagging and (0, 0) < chain.after < missing
                else:
                    began = self.story.begun.get((self.user, missing), 0)
                    gap = not chain.lagging and began > chain.began
                if gap:
                    self.problem(f'{chain.kind} behind {chain.after}: {missing} is missing before {id}')
            at = id

    def judge(self):
        events = self.story.events[self.user]
        ids = sorted(events)
        for chain in self.chains:
            self.judge_gaps(chain, ids)
        latest, skipped, chain = {}, [], self.chain
        while chain:
            skipped += chain.skipped
            for id in chain.ids:
                task = events[id]['task_id']
                latest[task] = max(id, latest.get(task, id))
            chain = chain.before
        for id in skipped:
            task = events[id]['task_id']
            if id[0] > self.story.emptied and latest.get(task, (0, 0)) < id:
                self.problem(f'the last status of {task} is {id}, told was {latest.get(task)}')


class Story:
    def __init__(self, seed):
        self.dice = dice = random.Random(seed)
        self.with_redis = dice.random() < 0.75
        self.servers = dice.choice([1, 2]) if self.with_redis else 1
        self.threads = dice.choice([1, 2, 4])
        self.users = [f'user-{seed}-{n}' for n in range(dice.choice([1, 4, 12]))]
        self.readers = dice.choice([8, 16])
        self.rate = dice.choice([5, 20, 60])
        self.pad = dice.choice([300, 300, 6000])
        faults = ['stop', 'kill']
        if self.with_redis:
            faults += ['cut', 'pause', 'freeze', 'crash', dice.choice(['crash', 'empty'])]
        self.faults = dice.sample(faults, dice.randrange(len(faults) + 1))
        self.events = collections.defaultdict(dict)  # user -> id -> what was stored
        self.begun = {}                              # (user, id) -> when a worker began to store it
        self.emptied = 0                             # what was stored before, in ms, may be gone
        self.last = {}                               # user -> the last id, once all is quiet
        self.quiet = asyncio.Event()
        self.stopped = False
        self.told = collections.Counter()
        self.problems = []

    def __str__(self):
        return (f'{self.servers} servers of {self.threads} threads, '
                f'{"Redis" if self.with_redis else "in memory"}, {self.readers} readers of '
                f'{len(self.users)} users, {self.rate} events/s a worker with {self.pad} bytes, '
                f'faults: {", ".join(self.faults) or "none"}')

    def over(self):
        return self.quiet.is_set() and time.monotonic() > self.deadline

    def stored(self, user, id, data, problem):
        known = self.events[user].setdefault(id, data)
        if known != data:
            problem(f'{id} is said to be {known} and {data}')

    # -- workers --

    async def publish(self, worker, user, events, dice):
        """Stores the events, by either way; their ids, or None where nobody knows."""
        key = f'{worker}-{events[0]["n"]}'
        while True:
            try:
                if self.with_redis and dice.random() < 0.5:
                    return [await asyncio.to_thread(
                        self.redis.publish, user, e, '', '', f'{worker}:{e["n"]}') for e in events]
                answer = await self.post(user, events, key, dice.choice(self.nodes).server)
                if answer.status == 202:
                    assert len(answer.json['ids']) == len(events), (answer.body, events)
                    return answer.json['ids']
                if answer.status != 503:
                    self.problems.append(f'POST: {answer.status} {answer.body}')
                    return None
            except (OSError, http.client.HTTPException, redis_py.RedisError):
                pass
            if not self.with_redis or self.stopped:
                return None  # over HTTP the key is known to Redis, else to a server that may be gone
            await asyncio.sleep(0.1)

    @staticmethod
    async def post(user, events, key, server):
        return await server.request(
            'POST', TASKS + user,
            {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': key},
            '\n'.join(map(json.dumps, events)), bearer=worker())

    async def work(self, name, seed):
        dice = random.Random(seed)
        numbers = itertools.count()
        while not self.stopped:
            user, began = dice.choice(self.users), time.monotonic()
            many = dice.randrange(10, 60) if dice.random() < 0.1 else 1
            events = [{'task_id': f'{name}-{dice.randrange(4)}', 'n': next(numbers),
                       'pad': 'x' * min(48000 // many, int(dice.expovariate(1 / self.pad)))}
                      for _ in range(many)]
            ids = await self.publish(name, user, events, dice)
            if ids and ids != sorted(ids, key=number):
                self.problems.append(f'one body is stored as {ids}')
            for id, event in zip(ids or [], events):
                self.stored(user, number(id), event, self.problems.append)
                self.begun[user, number(id)] = began
            await asyncio.sleep(dice.expovariate(self.rate))

    # -- faults --

    async def fault(self, kind):
        if kind in ('stop', 'kill'):
            node = self.dice.choice(self.nodes)
            await node.end(signal.SIGTERM if kind == 'stop' else signal.SIGKILL)
            if not self.with_redis:
                self.emptied = time.time() * 1000
            return await node.start()
        if kind == 'cut':
            for of in self.dice.choice([['pubsub'], ['normal'], ['pubsub', 'normal']]):
                await asyncio.to_thread(self.redis.client.client_kill_filter, _type=of, skipme=True)
        elif kind == 'pause':
            await asyncio.to_thread(self.redis.client.client_pause, 1500)
        elif kind == 'freeze':
            self.redis.freeze()
            await asyncio.sleep(self.dice.choice([0.3, 1, 5.5]))
            self.redis.thaw()
        else:
            self.redis.kill()
            if kind == 'empty':
                self.redis.forget()
                self.emptied = time.time() * 1000
            await asyncio.sleep(self.dice.choice([0, 1]))
            await self.redis.start()

    async def break_things(self):
        while self.faults and not self.stopped:
            await asyncio.sleep(self.dice.uniform(0.3, 2))
            with contextlib.suppress(redis_py.RedisError):
                await self.fault(self.dice.choice(self.faults))

    # -- the story --

    async def settle(self):
        """Everything is well again: a last event for each user, which all readers must reach."""
        dice = random.Random(0)
        self.deadline = time.monotonic() + 30
        for user in self.users:
            ids = None
            while not ids:
                assert time.monotonic() < self.deadline, 'the last event could not be stored'
                self.stopped, event = False, {'task_id': 'end', 'n': 0}
                ids = await self.publish('end-' + user, user, [event], dice)
            self.stored(user, number(ids[0]), event, self.problems.append)
            self.last[user] = ids[0]
        self.quiet.set()

    async def tell(self):
        async with contextlib.AsyncExitStack() as stack:
            args = ['--threads', str(self.threads), '--drain', '1', '--max-per-user', '0']
            if self.with_redis:
                self.redis = await stack.enter_async_context(Redis())
                args += ['--redis', self.redis.url]
            self.nodes = [Node(*args) for _ in range(self.servers)]
            for node in self.nodes:
                await node.start()
                stack.push_async_callback(node.end)
            readers = [Reader(self, self.dice.random()) for _ in range(self.readers)]
            reading = [asyncio.create_task(r.live()) for r in readers]
            working = [asyncio.create_task(self.work(f'worker-{n}', self.dice.random()))
                       for n in range(4)]
            breaking = asyncio.create_task(self.break_things())
            await asyncio.sleep(SECONDS)
            self.stopped = True
            await asyncio.gather(*working, breaking)
            await self.settle()
            await asyncio.gather(*reading)
        for reader in readers:
            reader.judge()
        for node in self.nodes:
            self.problems += node.problems
        count = sum(map(len, self.events.values()))
        print(f'# {count} events, told {dict(self.told)}', flush=True)
        assert count > 20 and self.told['task'] > 20 and self.told['connected'] > len(readers)
        assert not self.problems, '\n'.join([str(self), *self.problems[:5]])


def story(seed):
    @test(f'story {seed}: each reader is told all there is, once and in order, or to begin anew')
    async def _(user):
        story = Story(seed)
        print(f'# story {seed}: {story}', flush=True)
        await story.tell()


async def main():
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(64))
    return await run_all(abreast=1)


for seed in map(int, sys.argv[1:] or ['1']):
    story(seed)
del sys.argv[1:]
finish(asyncio.run(main()))
