"""A real redis-server and its workers, for tests that stop, freeze and empty it."""

import collections
import contextlib
import random
import shutil

import redis as redis_py

from harness import *


SCRIPT = subprocess.run([os.path.join(BUILD, 'server'), '--redis-script'], check=True,
                        capture_output=True, text=True).stdout

ports = itertools.count(random.randrange(10000, 29000, 50))


def own_port():
    """A port below those that systems hand out, so that it is still free when a Redis comes back."""
    for port in ports:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(('127.0.0.1', port))
            return port


class Redis:
    """A redis-server with a directory of its own, in which its data outlives it; and its workers."""

    def __init__(self, *options):
        self.directory = tempfile.mkdtemp(prefix='taskws-redis-')
        self.socket = os.path.join(self.directory, 'socket')
        self.port = own_port()
        self.url = f'redis://127.0.0.1:{self.port}'
        self.options = [
            'redis-server', '--port', str(self.port), '--bind', '127.0.0.1', '-::1',
            '--dir', self.directory, '--unixsocket', self.socket, '--logfile', 'log', '--save', '',
            '--appendonly', 'yes', '--enable-debug-command', 'yes', '--repl-diskless-sync-delay', '0',
            *options]
        self.process = None
        self.log_in()
        self.published = collections.Counter()

    def log_in(self, **options):
        self.client = redis_py.Redis(port=self.port, socket_timeout=20, **options)

    async def start(self, wait=True):
        os.makedirs(self.directory, exist_ok=True)
        self.process = subprocess.Popen(self.options, stdout=subprocess.DEVNULL)
        while wait and not self.answers():
            assert self.process.poll() is None, 'redis-server did not start'
            await asyncio.sleep(0.02)

    def answers(self):
        try:
            return self.client.ping()
        except redis_py.AuthenticationError:
            return True
        except redis_py.ConnectionError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def forget(self):
        shutil.rmtree(self.directory)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- workers --

    def publish(self, user, event, *arguments):
        """As any worker does it: the script, through EVAL. Returns the id."""
        event = json.dumps(event) if isinstance(event, dict) else event
        return self.client.eval(SCRIPT, 1, 'task_status:' + user, event, *arguments).decode()

    def number(self, user):
        """The next event of a user who is told 0, 1, 2 and so on."""
        self.published[user] += 1
        return {'task_id': 'counter', 'n': self.published[user] - 1}

    def count(self, user, events):
        """Publishes so many numbers, and returns their ids."""
        sha = self.client.script_load(SCRIPT)
        pipe = self.client.pipeline(transaction=False)
        for _ in range(events):
            pipe.evalsha(sha, 1, 'task_status:' + user, json.dumps(self.number(user)))
        return [id.decode() for id in pipe.execute()]

    def stored(self, user):
        """What Redis holds of a user: (id, JSON as it stands there)."""
        return [(id.decode(), fields[b'd']) for id, fields in self.client.xrange('task_status:' + user)]
