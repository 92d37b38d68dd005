"""What attackers of every kind cost a hundred live users, and what each of them is answered.

    attack.py [KIND]     up to 10,000 connections of a kind at a time, beside users who are sent
                         1,000 events a second: a table of delivery times, quiet (before and after)
                         and under attack, medians of windows of 2 seconds, of the server's memory
                         and of the answers. Server and users on core 0, attackers on core 1; all
                         before anything else there, where that is permitted
    attack.py --small    all kinds at once, 1,000 connections: the exact answers, nothing lost, no
                         reset, bounded memory; nothing is judged by the clock

The users' events are timed from before they are published until the kernel has them for the user.
attack.c says what each kind does.

Why the users stand on the server's core: they take 5 % of it, and what they wait for there is the
server. Beside the attackers they waited for those: a kernel that does not preempt (the usual one of
a server) lets a system call of an attacker's end first, and packets on their way to the server
stand in one queue of their core. What is left of that is measured, too: "beside" is the users' p99
while another server on that core bears the same attack, as much as the machine makes of it whatever
a server does. What the server adds stands above that. And a niceness counts within a session
only, where the system groups processes by session (autogroup): the whole session goes first."""

import atexit
import collections
import os
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))
from harness import *

ATTACK = os.path.join(BUILD, 'bench', 'attack')
TOKEN = token('w', scope='publish admin')
LIVE = '100'

Kind = collections.namedtuple('Kind', 'name count small seconds answer')
KINDS = [
    Kind('slow heads', 10000, 300, 12, '408 bad_request end'),
    Kind('slow bodies', 10000, 200, 12, '408 bad_request end'),
    Kind('slow frames', 10000, 100, 12, '101 bad_message 1000 end'),
    Kind('pings', 1000, 50, 12, '101 1000 end'),
    Kind('long pings', 1000, 20, 12, '101 1000 end'),
    Kind('empty blocks', 1000, 20, 12, '101 bad_message 1000 end'),
    Kind('fragments', 1000, 50, 12, '101 1009 end'),
    Kind('handshakes', 1000, 50, 12, '101 token_malformed 4401 end'),
    Kind('requests', 1000, 50, 12, '404 not_found end'),
    Kind('huge heads', 1000, 30, 12, '431 message_too_big end'),
    Kind('huge lines', 1000, 20, 12, '414 message_too_big end'),
    Kind('half closes', 1000, 50, 12, '101 end'),
    Kind('mute closes', 10000, 100, 12, '101 1005 end'),
    # Deaf for twelve seconds is no offence yet: then they read, and nothing is missing.
    Kind('deaf pings', 1000, 30, 12, '101 1000 end'),
    Kind('deaf readers', 1000, 30, 12, '101 1000 end'),
]


def raise_limit():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def resident_kib(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1])


def busy_s(pid):
    """Seconds of the processor, and seconds of waiting for it."""
    with open(f'/proc/{pid}/schedstat') as f:
        ran, waited, _ = f.read().split()
        return int(ran) / 1e9, int(waited) / 1e9


class Attack:
    """A run of the C program: its lines as they come, and where it ends what they said."""

    def __init__(self, *args):
        self.process = subprocess.Popen([ATTACK, *args], stdout=subprocess.PIPE, text=True)

    def line(self):
        text = self.process.stdout.readline().strip()
        assert text, f'{self.process.args[1]} has ended: {self.process.wait()}'
        return text

    def window(self):
        """{'sent': 1000, 'p99': 120, ...}"""
        words = self.line().split()
        assert words[0] == 'window', words
        return {k: int(v) for k, v in zip(words[1::2], words[2::2])}

    def stop(self):
        self.process.terminate()
        rest = self.process.communicate(timeout=120)[0]
        assert self.process.returncode == 0, rest
        return rest.strip().splitlines()

    def outcomes(self):
        """How many connections ended in which way; and that each ping had its pong."""
        text = self.process.communicate(timeout=120)[0]
        assert self.process.returncode == 0, text
        pings = re.search(r'pings (\d+) pongs (\d+)', text)
        whole = not pings or pings[1] == pings[2] or 'slow_consumer' in text
        assert whole, text
        return {words: int(n) for n, words in re.findall(r'outcome (\d+) (.*)', text)}


def live_end(live):
    """What the users say when all is over: nothing was lost, nothing came twice."""
    words = live.stop()[-1].split()
    said = dict(zip(words[1::2], words[2::2]))
    assert said['lost'] == said['repeated'] == '0' and int(said['sent']) > 0, said
    return int(said['sent'])


def feed_the_deaf(server):
    for n in range(40):
        answer = server.request_now('POST', f'{PREFIX}/tasks/deaf',
                                    {'Authorization': 'Bearer ' + TOKEN},
                                    json.dumps({'task_id': str(n), 'x': 'x' * 60000}))
        assert answer.status == 202


def start_server(level='error'):
    return Server('--max-per-user', '0', '--log-level', level)


# -- all at once, judged ----------------------------------------------------------------------


@test('a thousand attackers of all kinds are each answered exactly, and live users lose nothing')
async def _(_user):
    def story():
        with start_server() as server:
            pid = server.process.pid
            live = Attack('live', str(server.port), TOKEN, LIVE, '200', '1')
            assert live.line() == 'ready'
            before = resident_kib(pid)
            attacks = [(k, Attack(k.name, str(server.port), TOKEN, str(k.small), str(k.seconds)))
                       for k in KINDS]
            for _, attack in attacks:
                assert attack.line() == 'attacking'
            feed_the_deaf(server)
            during = before
            while any(a.process.poll() is None for _, a in attacks):
                during = max(during, resident_kib(pid))
                live.window()
            for kind, attack in attacks:
                outcomes = attack.outcomes()
                print(f'# {kind.name}: {outcomes}')
                assert list(outcomes) == [kind.answer], (kind, outcomes)
                assert outcomes[kind.answer] >= kind.small
            after = resident_kib(pid)
            print(f'# {live_end(live)} events; resident KiB {before} {during} {after}')
            # A rest of a read's answers waits for each who reads nothing; others have next to nothing.
            assert during < before + 8 * 1024 and after < before + 8 * 1024
            server.signal(signal.SIGTERM)
            assert server.end() == 0 and 'reset' not in server.output()
    await asyncio.wait_for(asyncio.to_thread(story), 200)


# -- one kind after the other, measured -------------------------------------------------------


def put_first(pid, core, nice):
    """False where that is not permitted: then other programs take their part of the core. Not a
    real-time class, which the system stops for 50 ms of each second that it fills."""
    os.sched_setaffinity(pid, {core})
    try:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
        return True
    except PermissionError:
        return False


def put_session_first():
    """The same among sessions, until the end, where the system ranks those before processes."""
    def write(nice):
        with open('/proc/self/autogroup', 'w') as f:
            f.write(str(nice))
    try:
        with open('/proc/self/autogroup') as f:
            before = int(f.read().split()[-1])
        write(-20)
        atexit.register(write, before)
    except (OSError, IndexError, ValueError):
        pass


def told_slow(server):
    return server.output().count('slow_consumer')


def middle(windows, what):
    values = sorted(w[what] for w in windows)
    return values[len(values) // 2]


def beside(kind, count, live):
    """The users' p99 while another server on that core bears the attack: what comes of the machine,
    whatever a server does about its attackers."""
    with start_server() as other:
        put_first(other.process.pid, 0, -15)
        attack = Attack(kind.name, str(other.port), TOKEN, str(count), str(kind.seconds))
        put_first(attack.process.pid, 1, -15)
        attack.line()
        until = time.monotonic() + kind.seconds - 2
        windows = []
        while time.monotonic() < until:
            windows.append(live.window())
        attack.outcomes()
    return middle(windows, 'p99')


def measure(kind, count):
    deaf = kind.name.startswith('deaf')
    with start_server('info' if deaf else 'error') as server:
        pid = server.process.pid
        first = put_first(pid, 0, -15)
        live = Attack('live', str(server.port), TOKEN, LIVE, '1000', '2')
        put_first(live.process.pid, 0, -20)
        live.line()
        live.window()
        still = [live.window() for _ in range(4)]
        control = 0 if deaf else beside(kind, count, live)
        live.window()
        before = during = resident_kib(pid)
        seconds = 90 if deaf else kind.seconds
        attack = Attack(kind.name, str(server.port), TOKEN, str(count), str(seconds))
        put_first(attack.process.pid, 1, -15)
        attack.line()
        if kind.name == 'deaf readers':
            feed_the_deaf(server)
        ran, waited = busy_s(pid)
        begin = time.monotonic()
        windows = []
        # Who reads nothing does so until the server has begun to tell: some 40 s. Who has been
        # told reads so of 4409, and who has not misses nothing.
        while time.monotonic() < begin + seconds - 2 and not (deaf and told_slow(server) > 0):
            windows.append(live.window())
            during = max(during, resident_kib(pid))
        if deaf:
            attack.process.terminate()
        took = time.monotonic() - begin
        ran, waited = busy_s(pid)[0] - ran, busy_s(pid)[1] - waited
        outcomes = attack.outcomes()
        until = time.monotonic() + 6  # a drain has five seconds
        while time.monotonic() < until:
            live.window()
        after = resident_kib(pid)
        still += [live.window() for _ in range(4)]
        live_end(live)

    p50, p95, p99 = (middle(windows, what) for what in ('p50', 'p95', 'p99'))
    quiet50, quiet95, quiet99 = (middle(still, what) for what in ('p50', 'p95', 'p99'))
    print(f'{kind.name:13} {count:6} {quiet50:6} {p50:6} {quiet95:6} {p95:6} '
          f'{quiet99:6} {control or "-":>6} {p99:6} '
          f'{p99 / max(quiet99, 1):6.1f} {100 * ran / took:4.0f} '
          f'{100 * waited / took:4.0f} {before:6} {during:6} {after:6}  {outcomes}', flush=True)
    return first


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ''
    most = raise_limit()
    if word == '--small':
        sys.argv[1:] = []
        finish(asyncio.run(run_all(abreast=1)))
    if os.cpu_count() < 2:
        sys.exit('attack.py: wants two cores')
    os.sched_setaffinity(0, {1})
    put_session_first()
    print('                             delivery in microseconds                        p99  '
          '% of a core  resident KiB\n'
          'kind           count  p50 quiet att.  p95 quiet att.  p99 quiet beside att. ratio '
          'ran wait before during after  answers')
    kinds = [k for k in KINDS if k.name == word] or [k for k in KINDS if word in k.name]
    firsts = [measure(k, min(k.count, most - 500)) for k in kinds]
    if not all(firsts):
        print('without the right to go first: other programs are part of these figures')


main()
