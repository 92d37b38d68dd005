"""Proves the tools of this directory: that load.c finds nothing wrong where nothing is, and what
is wrong where something is; and that the others do their work. No figure is judged."""

import os
import re
import subprocess
import sys
import tempfile
import traceback
import xml.dom.minidom

import bench

FAULTS = 'failed', 'ended', 'wrong', 'lost', 'duplicates', 'disorder', 'misrouted'
redis = bench.Redis()
checks = []


def check(sentence):
    def register(function):
        checks.append((sentence, function))
        return function
    return register


def load(server, arguments, seconds=0.3):
    """The generator's result; its exit status must agree with the faults that it counted."""
    words = [bench.SECRET if w == 'SECRET' else w for w in arguments.split()]
    got = bench.object_of(bench.program('load'), *words, '--port', server.port, '--seconds',
                          str(seconds), '--pid', str(server.process.pid), core=None)
    assert got['ok'] == (faults(got) == []), got
    return got


def faults(got):
    return [f for f in FAULTS if got[f]]


class Running(bench.Server):
    def __init__(self, name, *arguments):
        super().__init__(bench.program(name), *arguments, core=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def task_server(url='redis://127.0.0.1:%d'):
    return Running('server', '--port', '0', '--max-per-user', '0', '--log-level', 'error',
                   *(('--redis', url % redis.port) if url else ()))


def fanout(more=''):
    return f'--path {bench.TASKS} --secret SECRET --redis {redis.port} --size 150 {more}'


# -- nothing is wrong ---------------------------------------------------------------------


@check('an echo of every size, kind and depth is whole')
def _():
    with Running('echo', '--port', '0') as server:
        for more in ('--size 0', '--size 3', '--size 16', '--size 20 --inflight 16',
                     '--size 126 --text', '--size 5000 --inflight 3', '--size 70000 --inflight 20',
                     '--size 1000000'):
            got = load(server, f'echo --conns 5 {more}')
            assert got['units'] > 0 and not faults(got), (more, got)


@check('the yardstick echoes the same, over TCP too')
def _():
    for flags, more in (((), '--size 20'), ((), '--size 300 --text'), ((), '--size 70000'),
                        (('--tcp',), '--tcp --size 20'), (('--tcp',), '--tcp --size 70000')):
        with Running('yardstick', *flags) as server:
            got = load(server, f'echo --conns 5 --inflight 4 {more}')
            assert got['units'] > 0 and not faults(got), (more, got)


@check('every peer that is there, yours too, echoes the same, and what brings another is known')
def _():
    there = list(bench.peers('one of your own=' + bench.program('yardstick')))
    assert there[-1][0] == 'one of your own' and there[-1][1], there
    for name, command, brought_by in there:
        assert brought_by, name
        if command is None:
            continue
        server = bench.Server(*command, core=None)
        try:
            for more in '--size 20', '--size 300 --text', '--size 70000':
                got = load(server, f'echo --conns 5 --inflight 4 {more}')
                assert got['units'] > 0 and not faults(got), (name, more, got)
        finally:
            server.end()


@check('every handshake is counted once, and what idles is held')
def _():
    with Running('echo', '--port', '0') as server:
        got = load(server, 'handshake --conns 700 --concurrency 50')
        assert got['units'] == 700 and not faults(got), got
        assert 0 < got['to_101_p50'] <= got['to_101_p99'] <= got['to_101_max'], got
        got = load(server, 'idle --conns 700')
        assert got['held'] == 700 and not faults(got), got


@check('every reader of a server is given every event once, whatever way it was published')
def _():
    with task_server() as server:
        for more in ('--conns 40 --users 8 --window 50', '--conns 20 --rate 500',
                     '--conns 40 --users 8 --window 50 --durable', '--conns 9 --active 3 --window 1'):
            got = load(server, 'fanout ' + fanout(more))
            assert got['units'] > 0 and not faults(got), (more, got)
        got = load(server, f'handshake --first --conns 50 --path {bench.TASKS} --secret SECRET')
        assert got['to_first_max'] >= got['to_101_p50'] > 0 and not faults(got), got
    with task_server(url=None) as server:
        for more in ('', '--batch 5'):
            got = load(server, f'fanout --path {bench.TASKS} --secret SECRET --http --conns 10 '
                               f'--window 20 {more}')
            assert got['units'] > 0 and not faults(got), (more, got)


@check('compressed events are inflated and checked, and are shorter')
def _():
    with task_server() as server:
        for more in '--users 1', '--users 1 --http', '':
            plain, packed = (load(server, f'fanout --conns 12 --window 8 {more} {flag} ' + fanout())
                             for flag in ('', '--deflate'))
            assert packed['units'] > 0 and not faults(packed), (more, packed)
            assert packed['wire_bytes_each'] < 0.8 * plain['wire_bytes_each'], (plain, packed)
    with Running('yardstick') as server:
        got = load(server, 'idle --deflate --conns 3')
        assert got['failed'] == 3 and 'compression' in got['first_fault'], got


@check('an outage of Redis, and its restart, are survived')
def _():
    redis.command('ACL SETUSER bench on >bench ~* &* +@all')
    with task_server('redis://bench:bench@127.0.0.1:%d') as server:
        got = load(server, 'catchup --conns 20 --events 15 --outage-user bench ' + fanout())
        assert got['units'] == 300 and got['catchup_s'] > 0 and not faults(got), got
    with task_server() as server:
        got = load(server, 'resubscribe --conns 100 ' + fanout())
        assert got['units'] == 100 and got['all_hear_s'] > 0 and not faults(got), got


# -- something is wrong -------------------------------------------------------------------


@check('an echo that is lost, repeated or changed is wrong')
def _():
    for flag in '--drop', '--repeat', '--change':
        with Running('yardstick', flag, '1001') as server:
            got = load(server, 'echo --conns 4 --inflight 16')
            assert 'wrong' in faults(got), (flag, got)


@check('an event that is lost, repeated, late or misrouted is called so')
def _():
    # The last event that is held back may have none behind it, and is lost.
    for flag, wanted in (('--drop', {'lost'}), ('--repeat', {'duplicates'}),
                         ('--late', {'lost', 'disorder'}), ('--misroute', {'lost', 'misrouted'})):
        with Running('yardstick', '--redis', str(redis.port), flag, '101') as server:
            got = load(server, 'fanout --conns 10 --rate 3000 ' + fanout())
            found = set(faults(got)) | ({'lost'} if flag == '--late' else set())
            assert found == wanted, (flag, got)


@check('a lost event does not stop a closed loop for good')
def _():
    with Running('yardstick', '--redis', str(redis.port), '--drop', '50') as server:
        got = load(server, 'fanout --conns 10 --window 20 ' + fanout(), seconds=1.5)
        assert faults(got) == ['lost'] and got['lost'] > 1, got


@check('a server that ends is noticed on every connection, and one that is not there')
def _():
    with Running('echo', '--port', '0') as server:
        process = bench.start(None, bench.program('load'), 'echo', '--conns', '6', '--seconds', '9',
                              '--port', server.port, '--json', stdout=subprocess.PIPE)
        while bench.object_of(bench.program('load'), 'handshake', '--port', server.port,
                              core=None)['ok'] and process.poll() is None:
            if established(server.port) >= 6:
                break
        server.end()
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 1 and re.search('"ended":6,', out), out
        got = load(server, 'handshake --conns 3')
        assert got['failed'] == 3 and 'refused' in got['first_fault'], got


def established(port):
    """Connections of the server's side to that port."""
    suffix = f':{int(port):04X}'
    with open('/proc/net/tcp') as f:
        lines = [line.split() for line in f]
    return sum(w[1].endswith(suffix) and w[3] == '01' for w in lines[1:])


@check('a refused token is no first message')
def _():
    with task_server(url=None) as server:
        got = load(server, f'handshake --first --conns 5 --path {bench.TASKS} '
                           '--secret a-secret-that-the-server-does-not-have')
        assert got['failed'] == 5, got


# -- the others ---------------------------------------------------------------------------


@check('what needs no server measures something')
def _():
    micro = bench.object_of(bench.program('micro'), '--ms', '1', core=None)
    assert len(micro) > 15 and all(v['ns'] > 0 for k, v in micro.items() if k != 'ok'), micro
    million = bench.object_of(bench.program('million'), '--most', '1000', '--events', '2000',
                              core=None)
    assert 300 < million['1000']['bytes_each'] < 2000, million
    session = bench.object_of(bench.program('resubscribe'), '--redis', str(redis.port), '--users',
                              '500', core=None)
    assert session['users'] == 500 and session['resubscribe_s'] > 0, session


@check('bench.py writes its table, its plot and its figures')
def _():
    with tempfile.TemporaryDirectory() as out:
        run = subprocess.run(
            [sys.executable, os.path.join(os.path.dirname(bench.__file__), 'bench.py'), '--rounds',
             '1', '--seconds', '0.2', '--only', 'echo 20 B, 64', '--out', out],
            capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
        with open(os.path.join(out, 'results.md')) as f:
            assert re.search(r'\| echo 20 B, 64 x 16 \| [\d,]+ \| [\d.]+ us/message', f.read())
        xml.dom.minidom.parse(os.path.join(out, 'plot.svg'))
        assert os.path.getsize(os.path.join(out, 'results.json')) > 500


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ''
    passed = failed = 0
    try:
        for sentence, function in checks:
            if word in sentence:
                try:
                    function()
                    passed += 1
                except Exception:
                    failed += 1
                    print(f'not ok - {sentence}\n{traceback.format_exc()}', flush=True)
    finally:
        redis.end()
    print(f'{passed} passed, {failed} failed')
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main())
