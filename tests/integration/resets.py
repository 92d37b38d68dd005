"""A closing is delivered: ten thousand refused, closed and drained connections, over peers that
read and peers that do not, and not one reset is seen by a peer that behaves.

A peer behaves when it reads to the end of file, answers a close frame and then closes. Beside
such peers run others that never read, which must not be to their cost."""

import struct
from concurrent.futures import ThreadPoolExecutor

from harness import *

TASKS = PREFIX + '/tasks/2'
GOOD, WORKS, BAD = token('2'), worker(), token('2', exp_in=-60)
resets = []


def handshake(query):
    return (f'GET {TASKS}?{query} HTTP/1.1\r\nHost: x\r\n'
            'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n'
            'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n').encode()


def post(rest, bearer=WORKS):
    return f'POST {TASKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n'.encode() + rest


def frame(payload, opcode=1):
    """A masked frame; the mask is zero."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b'\xff' + struct.pack('>Q', size)
    return bytes([0x80 | opcode]) + length + b'\0\0\0\0' + payload


CLOSE = frame(struct.pack('>H', 1000), 8)
FLOOD = b'x' * 40000  # more of the same, already on its way when the server says no

# name, bytes that are sent, what the answer must contain
SCRIPTS = [
    ('an expired token over WebSocket', handshake('token=' + BAD), b'token_expired'),
    ('the same with messages behind it', handshake('token=' + BAD) + frame(b'{"a":1}') * 2000,
     b'token_expired'),
    ('an expired token over HTTP',
     post(b'Connection: close\r\nContent-Length: 2\r\n\r\n{}' + FLOOD, BAD), b' 401 '),
    ('a body that is too big', post(b'Content-Length: 400000\r\n\r\n' + FLOOD * 10), b' 413 '),
    ('no length', post(b'\r\n' + FLOOD), b' 411 '),
    ('not HTTP', b'\x16\x03\x01' + FLOOD, b' 400 '),
    ('a head without an end', b'GET / HTTP/1.1\r\nA: ' + FLOOD, b' 431 '),
    ('no such path, then closing',
     b'GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' + FLOOD, b' 404 '),
    ('a frame that breaks the rules', handshake('token=' + GOOD) + b'\xff\xff' + FLOOD,
     b'\x03\xea'),
    ('a message that is too big', handshake('token=' + GOOD) + frame(b'x' * 90000), b'\x03\xf1'),
    ('a close and then more', handshake('token=' + GOOD) + CLOSE + FLOOD, b'\x88\x02\x03\xe8'),
]


def connect(server, source):
    s = socket.socket()
    s.settimeout(30)
    s.bind((f'127.0.0.{1 + source % 8}', 0))
    s.connect(('127.0.0.1', server.port))
    return s


def to_the_end(s):
    """Reads to the end of file. A close frame is answered, if the server has spoken of closing."""
    received, answered = b'', False
    while True:
        part = s.recv(65536)
        if not part:
            return received
        received += part
        if not answered and b' 101 ' in received[:20] and b'\x88' in received[-130:]:
            s.sendall(CLOSE)
            answered = True


def one(server, number, name, data, wanted):
    """Says all it has to say, whatever the server has said meanwhile, then reads to the end."""
    received = b''
    with connect(server, number) as s:
        try:
            s.sendall(data)
            received = to_the_end(s)
        except (ConnectionResetError, BrokenPipeError) as error:
            resets.append((name, repr(error)))
            return
    assert wanted in received, (name, received[:300])


def deaf(server, number, data):
    """Sends and never reads. It gets what it gets."""
    with connect(server, number) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        try:
            s.sendall(data)
            time.sleep(2)
        except OSError:
            pass


@test('9,000 refused and closed connections of behaving peers end without a reset')
async def _(_user):
    resets.clear()

    def story():
        with Server('--max-per-user', '1000', '--threads', '2', '--log-level', 'error') as server, \
                ThreadPoolExecutor(16) as behaving, ThreadPoolExecutor(16) as others:
            for n in range(100):
                others.submit(deaf, server, n, SCRIPTS[n % len(SCRIPTS)][1])
            work = [behaving.submit(one, server, n, *SCRIPTS[n % len(SCRIPTS)])
                    for n in range(9000)]
            for done in work:
                done.result()
    await asyncio.to_thread(story)
    assert not resets, (len(resets), resets[:5])


@test('1,000 connections that a stopping server closes end without a reset')
async def _(_user):
    def leave(s):
        try:
            return to_the_end(s)
        except (ConnectionResetError, BrokenPipeError) as error:
            resets.append(('drained', repr(error)))
            return b''
        finally:
            s.close()

    resets.clear()

    def story():
        with Server('--max-per-user', '2000', '--log-level', 'error') as server, \
                ThreadPoolExecutor(100) as pool:
            open_ones = []
            for n in range(1000):
                s = connect(server, n)
                s.sendall(handshake('token=' + GOOD))
                open_ones.append(s)
            for s in open_ones:
                received = b''
                while b'"connected"' not in received:
                    received += s.recv(4096)
            server.signal(signal.SIGTERM)
            answers = list(pool.map(leave, open_ones))
            assert all(b'\x03\xe9' in a for a in answers), 'not everybody was told 1001'
            assert server.end() == 0
    await asyncio.to_thread(story)
    assert not resets, (len(resets), resets[:5])


@test('nobody who comes while a server of eight threads is stopping is reset')
async def _(_user):
    def ask(server):
        """One after the other until the server has been told to stop, and a while beyond."""
        for n in itertools.count():
            if stopped and time.monotonic() > stopped[0] + 0.3:
                return
            try:
                with connect(server, n) as s:
                    s.sendall(b'GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
                    to_the_end(s)
            except (ConnectionResetError, BrokenPipeError, ConnectionRefusedError) as error:
                resets.append(repr(error))

    stopped = []
    resets.clear()

    def story():
        stopped.clear()
        with Server('--threads', '8', '--drain', '30', '--log-level', 'error') as server, \
                ThreadPoolExecutor(4) as pool, connect(server, 0) as stays:
            stays.sendall(handshake('token=' + GOOD))
            while b'"connected"' not in stays.recv(4096):
                pass
            asking = [pool.submit(ask, server) for _ in range(4)]
            time.sleep(0.1)
            server.signal(signal.SIGTERM)
            stopped.append(time.monotonic())
            for each in asking:
                each.result()

    for _ in range(8):
        await asyncio.to_thread(story)
    assert not resets, (len(resets), resets[:5])


finish(asyncio.run(run_all(abreast=1)))
