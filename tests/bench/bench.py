"""make bench: measures the programs of this project beside a yardstick that checks nothing.

    bench.py [--rounds N] [--only WORD] [--peers] [--peer NAME=PROGRAM] [--seconds S]
             [--out DIRECTORY]

The server runs on one core, the generator and Redis on another. Each row alternates between our
program and the yardstick, round by round; what is printed is the median, and of ratios the median
of each round's own. With --peers, or --only peers, other servers that this machine has do the same
work in the same rounds; with --peer one of your own, too: PROGRAM echoes messages, and prints
first, within ten seconds, that it is `listening on http://127.0.0.1:PORT`. Writes results.md,
results.json and plot.svg."""

import argparse
import json
import os
import platform
import re
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from plot import plot

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.path.join(ROOT, 'build', 'bench')
SECRET = 'a secret of the benchmark, 32 bytes or more'
TASKS = '/api/v1/ws/tasks/{u}?token={token}'
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MOST = min(FILES - 600, 50000)  # sockets that a server and a generator can hold

# -- processes ----------------------------------------------------------------------------


def start(core, *command, **options):
    """A process on a core (None: any), with the files that it may open raised to the limit."""
    def prepare():
        if core is not None:
            os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    return subprocess.Popen(command, preexec_fn=prepare, text=True, **options)


class Redis:
    """A Redis of our own on a free port; started again on that port when it ends."""

    def __init__(self):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.directory = tempfile.TemporaryDirectory()
        self.ending = False
        self.run()
        threading.Thread(target=self.keep, daemon=True).start()
        self.command('PING')

    def run(self):
        self.process = start(
            LOAD_CORE, 'redis-server', '--port', str(self.port), '--bind', '127.0.0.1',
            '--save', '', '--appendonly', 'no', '--maxclients', '10000', '--dir', self.directory.name,
            stdout=subprocess.DEVNULL)

    def keep(self):
        while True:
            self.process.wait()
            if self.ending:
                return
            self.run()

    def command(self, text):
        for _ in range(200):
            try:
                with socket.create_connection(('127.0.0.1', self.port), 10) as s:
                    s.sendall(text.encode() + b'\r\n')
                    return s.recv(4096).decode()
            except OSError:
                time.sleep(0.05)
        raise RuntimeError('Redis does not answer')

    def end(self):
        self.ending = True
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


class Server:
    """A program that says where it listens."""

    def __init__(self, *command, core=SERVER_CORE):
        environment = {k: v for k, v in os.environ.items() if not k.startswith('TASKWS_')}
        environment['TASKWS_SECRET'] = SECRET
        self.process = start(core, *command, env=environment, stdout=subprocess.PIPE)
        said = select.select([self.process.stdout], [], [], 10)[0]
        line = self.process.stdout.readline() if said else 'nothing in ten seconds'
        match = re.search(r'listening on http://[^:]*:(\d+)', line)
        if not match:
            self.end()
            raise RuntimeError(f'{command[0]} does not listen: {line!r}')
        self.port = match.group(1)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def program(name):
    for directory in BENCH, os.path.join(ROOT, 'build'):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
    raise SystemExit(f'bench.py: {name} has not been built; use make bench')


def object_of(*command, core=LOAD_CORE):
    """What a program prints as JSON."""
    process = start(core, *command, '--json', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=180)
    if process.returncode == 2 or not out.strip():
        raise RuntimeError(f'{" ".join(command)}: {err.strip()}')
    result = json.loads(out)
    result['ok'] = process.returncode == 0
    return result


# -- what is measured ---------------------------------------------------------------------

ECHO, SERVER, POLL = ('echo', '--port', '0'), ('server',), ('server_poll',)


class Row:
    """One kind of work.

    name        of the row
    group       the table that it stands in
    load        the generator's arguments; a %s in them is Redis's port
    ours        our program
    yardstick   its arguments; None: there is none to compare with
    plain       the generator's arguments for our own program in the yardstick's place, or None
    unit        what server_us is divided by
    target      the ratio of server CPU that is wanted
    most        rounds at most"""

    def __init__(self, name, group, load, ours, yardstick=None, unit='message', target=None,
                 most=99, settings=(), seconds=None, core=SERVER_CORE, plain=None):
        self.name, self.group, self.load, self.ours = name, group, load, ours
        self.yardstick, self.unit, self.target, self.most = yardstick, unit, target, most
        self.settings, self.seconds, self.core = settings, seconds, core
        self.plain = plain


def echo(name, conns, inflight, size, target, *more):
    return Row(name, 'echo', f'echo --conns {conns} --inflight {inflight} --size {size} ' +
               ' '.join(more), ECHO, (), 'message', target)


def redis_row(name, group, load, target=None, **more):
    more.setdefault('yardstick', ('--redis', '%s'))
    return Row(name, group, f'fanout --path {TASKS} --secret SECRET --redis %s {load}', SERVER,
               unit='delivery', target=target, **more)


def rows():
    yield echo('echo 20 B, 64 x 16', 64, 16, 20, 1.03)
    yield echo('echo 20 B, 1000 x 16', 1000, 16, 20, 1.05)
    yield echo('echo 1 KiB, 1000 x 16', 1000, 16, 1024, 1.05)
    yield echo('echo 1 KiB text, 1000 x 16', 1000, 16, 1024, 1.15, '--text')
    yield echo('echo 64 KiB, 64 x 1', 64, 1, 65536, 1.05)
    yield echo('echo 64 KiB, 64 x 16', 64, 16, 65536, 1.05)
    yield Row('10,000 handshakes, no token', 'handshake', 'handshake --conns 10000', ECHO, (),
              'handshake', 1.05)
    yield Row('10,000 handshakes, tokens, in memory', 'handshake',
              f'handshake --conns 10000 --path {TASKS} --secret SECRET --first', SERVER, None,
              'handshake')
    yield Row('10,000 handshakes, tokens, Redis', 'handshake',
              f'handshake --conns 10000 --path {TASKS} --secret SECRET --first',
              SERVER, ('--redis', '%s', '--each'), 'handshake', settings=('redis',))
    yield Row('idle echo connections', 'idle', 'idle --conns 10000', ECHO, (), 'connection',
              most=3, seconds=0.5)
    yield Row('idle readers, own topic, in memory', 'idle',
              f'idle --conns 10000 --path {TASKS} --secret SECRET', SERVER, None, 'connection',
              most=3, seconds=0.5)
    yield Row('idle readers, own topic, Redis', 'idle',
              f'idle --conns 10000 --path {TASKS} --secret SECRET', SERVER,
              ('--redis', '%s', '--each'), 'connection', most=3, seconds=0.5,
              settings=('redis',))
    fan = '--size 200 --conns 1000'
    yield redis_row('PUBLISH to 1,000 users, one reader each', 'redis',
                    f'{fan} --window 1000', 1.05, settings=('redis',))
    yield redis_row('PUBLISH to 1,000 readers of one user', 'redis',
                    f'{fan} --users 1 --window 16', 0.95, settings=('redis',))
    yield redis_row('stored by the script, 1,000 users', 'redis',
                    f'{fan} --window 1000 --durable', settings=('redis',))
    yield Row('POST, 1,000 users, in memory', 'redis',
              f'fanout --path {TASKS} --secret SECRET --http {fan} --window 200', SERVER,
              unit='delivery')
    # More than the server can take: in a closed loop either waits for the other, so that the rate
    # is the generator's as well, which has to inflate.
    for size in 200, 2000:
        for name, way, settings in (('PUBLISH', '--redis %s', ('redis',)),
                                    ('POST in memory', '--http', ())):
            readers = (f'fanout --path {TASKS} --secret SECRET {way} --size {size} --conns 1000 '
                       '--users 1 --rate 2000')
            yield Row(f'{name}, {size:,} B to 1,000 compressing readers', 'compressed',
                      readers + ' --deflate', SERVER, unit='delivery', settings=settings,
                      plain=readers)
    yield redis_row('1,000 users at 1,000 events/s', 'latency', f'{fan} --rate 1000',
                    settings=('redis',))
    yield redis_row('1,000 users at 60,000 events/s', 'latency', f'{fan} --rate 60000',
                    settings=('redis',))
    # A closed loop of one event: each waits for the one before.
    for conns in 1000, 5000, 10000, MOST:
        for ours in SERVER, POLL:
            backend = 'poll' if ours is POLL else 'epoll'
            yield redis_row(f'one event, {conns:,} connections, {backend}', 'scaling',
                            f'--size 200 --conns {conns} --active 1 --window 1',
                            yardstick=None, most=1, settings=('redis', ours), seconds=1.0)
    yield Row(f'{MOST:,} quiet readers, a ping to each every 5 s', 'quiet',
              f'idle --conns {MOST} --path {TASKS} --secret SECRET', ('server', '--heartbeat', '5'),
              unit='', most=1, seconds=6.0)
    for threads in 1, 2:
        yield Row(f'echo 1 KiB, 64 x 16, {threads} thread{"s"[:threads - 1]}', 'threads',
                  'echo --conns 64 --inflight 16 --size 1024',
                  (*ECHO, '--threads', str(threads)), None, most=3, core=None)


def catch_up_row():
    return Row('catch up with 200,000 events of 1,000 users', 'outage',
               f'catchup --path {TASKS} --secret SECRET --redis %s --conns 1000 --events 200 '
               '--size 200 --outage-user bench', SERVER, unit='event', most=3,
               settings=('redis', 'login'))


def resubscribe_row():
    return Row(f'{MOST:,} sockets after a restart of Redis', 'outage',
               f'resubscribe --path {TASKS} --secret SECRET --redis %s --conns {MOST} --size 100',
               SERVER, unit='user', most=3, settings=('redis',))


# -- others, in the same run ----------------------------------------------------------------

PEERS = os.path.join(ROOT, 'tests', 'bench', 'peers')


def peers(own):
    """(name, its echo's command or None where it is not there, what brings it)"""
    node = shutil.which('node')
    ws = os.path.isdir(os.path.join(ROOT, 'build', 'node', 'node_modules', 'ws'))
    yield ('Node ws', [node, os.path.join(PEERS, 'ws.mjs')] if node and ws else None,
           'nodejs, and ws of npm in build/node, where the tests put it')
    python = ['/usr/bin/python3', os.path.join(PEERS, 'websockets_echo.py')]
    has = subprocess.run(['/usr/bin/python3', '-c', 'import websockets'], capture_output=True)
    yield 'python3-websockets', python if has.returncode == 0 else None, 'python3-websockets'
    lws = os.path.join(BENCH, 'lws')
    built = subprocess.run(['cc', '-O2', '-o', lws, os.path.join(PEERS, 'lws.c'), '-lwebsockets'],
                           capture_output=True)
    yield 'libwebsockets', [lws] if built.returncode == 0 else None, 'libwebsockets-dev'
    if own:
        name, path = own.split('=', 1)
        yield name, [path], 'make bench PEER=NAME=PROGRAM'


def peer_rows():
    for name, conns, inflight, size in (('20 B, 64 x 16', 64, 16, 20),
                                        ('20 B, 1000 x 16', 1000, 16, 20),
                                        ('1 KiB, 1000 x 16', 1000, 16, 1024),
                                        ('64 KiB, 64 x 1', 64, 1, 65536),
                                        ('64 KiB, 64 x 16', 64, 16, 65536)):
        yield echo(f'echo {name}', conns, inflight, size, None)
    yield Row('10,000 handshakes', 'handshake', 'handshake --conns 10000', ECHO, (), 'handshake')
    yield Row('10,000 idle connections', 'idle', 'idle --conns 10000', ECHO, (), 'connection',
              most=3, seconds=0.5)


# -- measuring ----------------------------------------------------------------------------


class Bench:
    def __init__(self, rounds, only, seconds, with_peers, own_peer):
        self.rounds, self.only, self.seconds = rounds, only, seconds
        self.with_peers, self.own_peer = with_peers or own_peer or only == 'peers', own_peer
        self.redis = Redis()
        self.results = {'machine': machine(), 'rounds': rounds, 'rows': [], 'wrong': 0}

    def command_of(self, row):
        command = list(row.ours)
        if POLL in row.settings:
            command[0] = POLL[0]
        if command[0] != 'echo':
            login = 'bench:bench@' if 'login' in row.settings else ''
            command += ['--port', '0', '--max-per-user', '0', '--log-level', 'error']
            if 'redis' in row.settings:
                command += ['--redis', f'redis://{login}127.0.0.1:{self.redis.port}']
        return [program(command[0]), *command[1:]]

    def once(self, row, command, load=None):
        load = [a.replace('%s', str(self.redis.port)) for a in (load or row.load).split()]
        load = [SECRET if a == 'SECRET' else a for a in load]
        self.redis.command('FLUSHALL')
        if 'login' in row.settings:
            self.redis.command('ACL SETUSER bench on >bench ~* &* +@all')
        server = Server(*command, core=row.core)
        try:
            result = object_of(program('load'), *load, '--port', server.port, '--pid',
                               str(server.process.pid), '--seconds',
                               str(row.seconds or self.seconds))
        finally:
            server.end()
        if not result['ok']:
            print(f'WRONG: {" ".join(command)}: {row.load}: {result}', flush=True)
        return result

    def measure(self, row):
        if self.only not in row.name and self.only not in row.group:
            return
        begun = time.monotonic()
        ours, yardstick = [], []
        for _ in range(min(self.rounds, row.most)):
            ours.append(self.once(row, self.command_of(row)))
            if row.yardstick is not None:
                arguments = [a.replace('%s', str(self.redis.port)) for a in row.yardstick]
                yardstick.append(self.once(row, [program('yardstick'), *arguments]))
            elif row.plain is not None:
                yardstick.append(self.once(row, self.command_of(row), row.plain))
        wrong = sum(not r['ok'] for r in ours + yardstick)
        result = {'name': row.name, 'group': row.group, 'unit': row.unit, 'target': row.target,
                  'ours': medians(ours), 'yardstick': medians(yardstick), 'wrong': wrong,
                  'ratio': {k: statistics.median(o[k] / y[k] for o, y in zip(ours, yardstick))
                            for k in ('server_us', 'rate') if yardstick and
                            all(r.get(k) for r in ours + yardstick)},
                  'rounds': {'ours': ours, 'yardstick': yardstick}}
        self.results['rows'].append(result)
        self.results['wrong'] += wrong
        print(f'{row.name:46} {brief(result)}  ({time.monotonic() - begun:.0f} s)', flush=True)

    def beside_others(self):
        """Ours, the yardstick and every peer in each round, one after the other."""
        there = list(peers(self.own_peer))
        programs = {'taskws.h': [program(ECHO[0]), *ECHO[1:]], 'yardstick': [program('yardstick')]}
        programs.update({name: command for name, command, _ in there if command})
        rows = []
        for row in peer_rows():
            got = {name: [] for name in programs}
            for _ in range(min(self.rounds, row.most)):
                for name, command in programs.items():
                    got[name].append(self.once(row, command))
            self.results['wrong'] += sum(not r['ok'] for r in got['taskws.h'])
            rows.append({'name': row.name, 'group': row.group, 'unit': row.unit,
                         'programs': {name: medians(runs) for name, runs in got.items()},
                         'wrong': {name: sum(not r['ok'] for r in runs)
                                   for name, runs in got.items()},
                         'rounds': got})
            print(f'{row.name:46} measured beside {", ".join(programs)}', flush=True)
        self.results['peers'] = {
            'rows': rows, 'missing': {name: by for name, command, by in there if not command}}

    def other(self, name, group, *command, core=SERVER_CORE):
        """A program that measures by itself."""
        if self.only in name or self.only in group:
            result = object_of(*command, core=core)
            self.results[group] = result
            self.results['wrong'] += not result['ok']
            print(f'{name:46} measured', flush=True)

    def deflate(self):
        """Its own table beside zlib's, as it stands."""
        if self.only in 'deflate':
            process = start(SERVER_CORE, program('deflate'), stdout=subprocess.PIPE)
            self.results['deflate'] = process.communicate(timeout=180)[0]
            self.results['wrong'] += process.returncode != 0

    def run(self):
        try:
            for row in rows():
                self.measure(row)
            self.measure(resubscribe_row())
            self.redis.command('FLUSHALL')
            self.other('50,000 users of a session without sockets', 'resubscribe',
                       program('resubscribe'), '--redis', str(self.redis.port))
            self.measure(catch_up_row())
            self.other('readers without sockets', 'million', program('million'))
            self.other('micro', 'micro', program('micro'))
            self.deflate()
            if self.with_peers:
                self.beside_others()
        finally:
            self.redis.end()
        return self.results


def medians(results):
    keys = [k for k, v in results[0].items() if isinstance(v, (int, float))] if results else []
    return {k: statistics.median(r[k] for r in results) for k in keys if k != 'ok'}


def brief(result):
    ours, ratio = result['ours'], result['ratio']
    parts = []
    if result['group'] == 'idle':
        parts.append(f'{ours["bytes_each"]:.0f} bytes each')
    elif result['group'] == 'quiet':
        parts.append(f'{ours["server_cpu"]:.2%} of a core')
    elif result['group'] == 'latency':
        parts.append(f'p50 {ours["receipt_p50"]:.0f} us, p99 {ours["receipt_p99"]:.0f} us')
    else:
        parts.append(f'{ours["server_us"]:.3f} us/{result["unit"]}, {ours["rate"]:,.0f}/s')
    if 'server_us' in ratio:
        other = 'plain' if result['group'] == 'compressed' else 'the yardstick'
        parts.append(f'{ratio["server_us"]:.3f} of {other}')
    return ', '.join(parts)


# -- the report ---------------------------------------------------------------------------


def machine():
    def read(path):
        try:
            with open(path) as f:
                return f.read().strip()
        except OSError:
            return 'unknown'
    model = re.search(r'model name\s*: (.*)', read('/proc/cpuinfo'))
    commit = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty'],
                            capture_output=True, text=True).stdout.strip()
    compiler = subprocess.run(['cc', '--version'], capture_output=True, text=True).stdout
    return {
        'processor': f'{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores',
        'kernel': platform.release(),
        'congestion control': read('/proc/sys/net/ipv4/tcp_congestion_control'),
        'io_uring disabled': read('/proc/sys/kernel/io_uring_disabled'),
        'governor': read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
        'compiler': compiler.split('\n')[0],
        'open files': f'{FILES:,}',
        'load before': read('/proc/loadavg').split()[0],
        'cores': f'server {SERVER_CORE}, generator and Redis {LOAD_CORE}',
        'commit': commit or 'unknown',
        'when': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()),
    }


def number(value, digits=3):
    if value is None:
        return '-'
    if value >= 1000:
        return f'{value:,.0f}'
    return f'{value:.{digits}g}'


def table(out, title, heads, lines):
    if lines:
        out.append(f'\n## {title}\n\n| ' + ' | '.join(heads) + ' |\n' +
                   '|---' + '|--:' * (len(heads) - 1) + '|')
        out.extend('| ' + ' | '.join(line) + ' |' for line in lines)


def in_group(results, *groups):
    return [r for r in results['rows'] if r['group'] in groups]


def cost_lines(rows_of):
    for r in rows_of:
        ours, other, ratio = r['ours'], r['yardstick'], r['ratio']
        yield [r['name'], number(ours['rate']), f'{number(ours["server_us"])} us/{r["unit"]}',
               f'{ours["server_cpu"]:.0%}', f'{ours["generator_cpu"]:.0%}',
               number(other.get('rate')), number(other.get('server_us')),
               number(ratio.get('server_us')), number(ratio.get('rate')),
               f'<= {r["target"]}' if r['target'] else '']


def report(results):
    out = ['# Benchmark', '']
    out += [f'- {k}: {v}' for k, v in results['machine'].items()]
    out.append(f'- rounds: {results["rounds"]}, medians')
    if results['wrong']:
        out.append(f'- **{results["wrong"]} runs had lost, repeated or wrong messages**')
    out.append('\nServer CPU is what counts: the time of one unit of work, as a ratio to a server '
               'that checks nothing.')
    heads = ['work', 'rate /s', 'server CPU', 'server', 'generator', 'yardstick /s',
             'yardstick us', 'CPU ratio', 'rate ratio', 'target']
    table(out, 'Echo', heads, list(cost_lines(in_group(results, 'echo'))))
    table(out, 'Handshakes', heads, list(cost_lines(in_group(results, 'handshake'))))
    table(out, 'Handshakes, microseconds',
          ['work', 'to 101, p50', 'p99', 'to the first message, p50', 'p99', 'yardstick 101, p99',
           'first, p99'],
          [[r['name'], *(number(r['ours'].get(k)) for k in
                         ('to_101_p50', 'to_101_p99', 'to_first_p50', 'to_first_p99')),
            *(number(r['yardstick'].get(k)) for k in ('to_101_p99', 'to_first_p99'))]
           for r in in_group(results, 'handshake')])
    table(out, 'Memory', ['work', 'bytes each', 'after closing', 'yardstick'],
          [[r['name'], number(r['ours']['bytes_each']), number(r['ours']['bytes_each_closed']),
            number(r['yardstick'].get('bytes_each'))] for r in in_group(results, 'idle')])
    table(out, 'Fan-out', heads, list(cost_lines(in_group(results, 'redis'))))
    table(out, 'Fan-out to readers that take compressed events, beside plain ones',
          ['work', 'rate /s', 'server us', 'bytes each', 'server', 'generator', 'plain /s',
           'plain us', 'plain bytes', 'CPU ratio', 'rate ratio', 'target'],
          [[r['name'], number(r['ours']['rate']), number(r['ours']['server_us']),
            number(r['ours']['wire_bytes_each']), f'{r["ours"]["server_cpu"]:.0%}',
            f'{r["ours"]["generator_cpu"]:.0%}', number(r['yardstick']['rate']),
            number(r['yardstick']['server_us']), number(r['yardstick']['wire_bytes_each']),
            number(r['ratio'].get('server_us')), number(r['ratio'].get('rate')), 'rate >= 0.9']
           for r in in_group(results, 'compressed')])
    table(out, 'Latency from publishing to receipt, microseconds',
          ['work', 'p50', 'p99', 'p99.9', 'server CPU', 'yardstick p50', 'p99', 'p99.9'],
          [[r['name'], *(number(r['ours'][f'receipt_{k}']) for k in ('p50', 'p99', 'p999')),
            f'{number(r["ours"]["server_us"])} us',
            *(number(r['yardstick'].get(f'receipt_{k}')) for k in ('p50', 'p99', 'p999'))]
           for r in in_group(results, 'latency')])
    peers_report(out, results)
    outage_report(out, results)
    scaling_report(out, results)
    table(out, 'Codecs', ['operation', 'ns', 'MB/s'],
          [[k, f'{v["ns"]:,.1f}', f'{v["bytes"] / v["ns"] * 1000:,.0f}' if v['bytes'] else '']
           for k, v in results.get('micro', {}).items() if isinstance(v, dict)])
    if 'deflate' in results:
        out.append(f'\n## Deflate beside zlib\n\n```\n{results["deflate"]}```')
    return '\n'.join(out) + '\n'


def peers_report(out, results):
    if 'peers' not in results:
        return
    lines = []
    for row in results['peers']['rows']:
        base = row['programs']['taskws.h']
        for name, r in row['programs'].items():
            what = 'bytes_each' if row['group'] == 'idle' else 'server_us'
            unit = 'bytes' if row['group'] == 'idle' else f'us/{row["unit"]}'
            lines.append([
                row['name'], name + (' (wrong)' if row['wrong'][name] else ''),
                number(r['rate']) if r.get('rate') else '-', f'{number(r[what])} {unit}',
                number(r[what] / base[what]), f'{r["server_cpu"]:.0%}',
                f'{r["generator_cpu"]:.0%}'])
    table(out, 'Beside others',
          ['work', 'program', 'rate /s', 'cost', "of taskws.h's", 'server', 'generator'], lines)
    out.append('')
    out += [f'- not here: {name} ({by})' for name, by in results['peers']['missing'].items()]
    out.append('- uWebSockets and mongoose, which Debian does not have, take part as PEER=NAME=PROGRAM')


def outage_report(out, results):
    lines = []
    for r in in_group(results, 'outage'):
        ours = r['ours']
        seconds = ours.get('catchup_s', ours.get('resubscribe_s'))
        lines.append([r['name'], number(ours['until_first_s']), number(seconds),
                      number(ours['units'] / seconds), number(ours['server_us']),
                      number(ours.get('all_hear_s'))])
    session = results.get('resubscribe')
    if session:
        lines.append([f'{session["users"]:,} users of one session, no sockets of readers',
                      number(session['until_first_s']), number(session['resubscribe_s']),
                      number(session['users'] / session['resubscribe_s']),
                      number(session['cpu_us']), '-'])
    table(out, 'After an outage of Redis',
          ['work', 'until the first, s', 'from first to last, s', 'per second', 'server us each',
           'every reader has heard an event, s'],
          lines)


def scaling_report(out, results):
    table(out, 'One event to one reader, beside idle connections',
          ['work', 'server us/event', 'p50 us', 'p99 us'],
          [[r['name'], number(r['ours']['server_us']), number(r['ours']['receipt_p50']),
            number(r['ours']['receipt_p99'])] for r in in_group(results, 'scaling')])
    table(out, 'At rest', ['work', 'server CPU', 'with 25 s, the default', 'bytes each'],
          [[r['name'], f'{r["ours"]["server_cpu"]:.2%}', f'{r["ours"]["server_cpu"] / 5:.2%}',
            number(r['ours']['bytes_each'])]
           for r in in_group(results, 'quiet')])
    table(out, 'Threads (server and generator share all cores)',
          ['work', 'rate /s', 'server us/message', 'server CPU', 'generator CPU'],
          [[r['name'], number(r['ours']['rate']), number(r['ours']['server_us']),
            f'{r["ours"]["server_cpu"]:.0%}', f'{r["ours"]["generator_cpu"]:.0%}']
           for r in in_group(results, 'threads')])
    table(out, 'Readers without sockets',
          ['readers', 'bytes each', 'ns to attach', 'ns/event', 'ns/reader of a heartbeat sweep'],
          [[f'{int(k):,}', *(number(v[n]) for n in ('bytes_each', 'attach_ns', 'event_ns',
                                                     'sweep_ns'))]
           for k, v in results.get('million', {}).items() if isinstance(v, dict)])


def main():
    parser = argparse.ArgumentParser(prog='make bench', description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', default='')
    parser.add_argument('--peers', action='store_true')
    parser.add_argument('--peer', default='', metavar='NAME=PROGRAM')
    parser.add_argument('--seconds', type=float, default=1.5)
    parser.add_argument('--out', default=BENCH)
    chosen = parser.parse_args()
    begun = time.monotonic()
    if chosen.peer and '=' not in chosen.peer:
        parser.error(f'--peer wants NAME=PROGRAM, not {chosen.peer!r}')
    results = Bench(chosen.rounds, chosen.only, chosen.seconds, chosen.peers, chosen.peer).run()
    results['seconds'] = time.monotonic() - begun
    text = report(results)
    for name, content in (('results.md', text), ('plot.svg', plot(results)),
                          ('results.json', json.dumps(results, indent=1))):
        with open(os.path.join(chosen.out, name), 'w') as f:
            f.write(content)
    print(text + f'\n{results["seconds"]:.0f} s; results.md, results.json and plot.svg in {chosen.out}')
    return 1 if results['wrong'] else 0


if __name__ == '__main__':
    sys.exit(main())
