"""WebSocket frames made by hand, and a peer of build/echo that lets nothing pass: what the suites
of RFC 6455 and RFC 7692 share."""

import random
import select
import struct

from harness import *

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
TCP_CLOSE = 7  # of Linux's <netinet/tcp.h>
MASK = bytes.fromhex('37fa213d')  # RFC 6455 5.7
LATE = b'\xff' * 3000  # what is on its way when the server has ended
KIB, MIB = 1 << 10, 1 << 20

# -- what is sent -------------------------------------------------------------------------


def header(opcode, size, fin=True, rsv=0, mask=MASK, bits=None):
    """bits: 7, 16 or 64 of length, though fewer would do. mask: b'' for none."""
    bits = bits or (7 if size < 126 else 16 if size < 65536 else 64)
    first, masked = (0x80 if fin else 0) | rsv << 4 | opcode, 0x80 if mask else 0
    if bits == 7:
        return bytes([first, masked | size]) + mask
    if bits == 16:
        return struct.pack('>BBH', first, masked | 126, size) + mask
    return struct.pack('>BBQ', first, masked | 127, size) + mask


def masked(payload, mask):
    n = len(payload)
    stream = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, 'big') ^ int.from_bytes(stream, 'big')).to_bytes(n, 'big')


def frame(opcode, payload=b'', fin=True, mask=MASK, **how):
    return header(opcode, len(payload), fin, mask=mask, **how) + \
        (masked(payload, mask) if mask else payload)


def text(payload, fin=True, **how):
    return frame(TEXT, payload, fin, **how)


def more(payload=b'', fin=False, **how):
    return frame(CONTINUATION, payload, fin, **how)


def ping(payload=b''):
    return frame(PING, payload)


def close(code=None, reason=b''):
    return frame(CLOSE, b'' if code is None else struct.pack('>H', code) + reason)


def message(opcode, pieces):
    """A message in frames of these pieces, as a list."""
    last = len(pieces) - 1
    return [frame(CONTINUATION if n else opcode, piece, fin=n == last)
            for n, piece in enumerate(pieces)]


def pieces_of(data, size):
    return [data[at:at + size] for at in range(0, len(data), size)]


# -- payloads ---------------------------------------------------------------------------

# Characters of one to four bytes.
SCRIPT = 'pi\u00f1a \u03b1\u03b2\u03b3 \u20ac \u65e5\u672c \U0001d11e.'


def letters(size):
    """A text of so many bytes; its characters fall on every boundary."""
    whole = SCRIPT.encode()
    kept = (whole * (size // len(whole) + 1))[:size].decode(errors='ignore').encode()
    return kept + b'.' * (size - len(kept))


def octets_of(size):
    return random.Random(size).randbytes(size)

# -- the server and its peer --------------------------------------------------------------


def handshake(target='/', fields=''):
    """fields: more of them, each with its CR LF."""
    return (f'GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
            f'{fields}\r\n').encode()


class Echo(Program):
    """build/echo on a free port."""

    def __init__(self, *args, program='echo'):
        super().__init__(program, '--port', '0', *args)
        self.port = int(self.wait_for(r'listening on http://[^\s/]+:(\d+)').group(1))


class Peer:
    """A client that lets nothing pass. first: bytes in the segment of the handshake."""

    def __init__(self, port, first=b'', target='/', fields=''):
        self.received = bytearray()
        self.socket = socket.create_connection(('127.0.0.1', port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(handshake(target, fields) + first)
        while b'\r\n\r\n' not in self.received:
            assert self.fill(), 'the server ended within its handshake'
        self.head, _, self.received = self.received.partition(b'\r\n\r\n')
        assert self.head.startswith(b'HTTP/1.1 101 '), self.head
        accept = b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo='  # RFC 6455 1.3
        assert accept in self.head, self.head

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_octets(self, data):
        for octet in pieces_of(data, 1):
            self.socket.sendall(octet)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def fill(self):
        part = self.socket.recv(MIB)
        self.received += part
        return part

    def take(self, size):
        while len(self.received) < size:
            assert self.fill(), f'the server ended within a frame: {bytes(self.received)}'
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    def frame(self, reserved=0):
        """The first byte and the payload of the server's next frame, once it is known that the
        server may send it so; None at its end. reserved: bits that it may set."""
        if not self.received and not self.fill():
            return None
        first, second = self.take(2)
        size = second & 127
        assert first & 0x70 & ~reserved == 0, f'a reserved bit: {first:02x}'
        assert second < 128, 'a mask from a server'
        assert first >= 128, 'a fragment, which echo sends none of'
        if size == 126:
            size, = struct.unpack('>H', self.take(2))
            assert size > 125, 'a length not in its shortest form'
        elif size == 127:
            size, = struct.unpack('>Q', self.take(8))
            assert size > 65535, 'a length not in its shortest form'
        assert first & 15 < CLOSE or size < 126, 'a long control frame'
        return first, self.take(size)

    def next(self):
        """The opcode and the payload of the server's next frame; None at its end."""
        got = self.frame()
        return got and (got[0] & 15, got[1])

    def expect(self, wanted):
        for want in wanted:
            got = self.next()
            assert got == want, f'wanted {brief(want)}, got {brief(got)}'

    def expect_close(self, code, broken=False):
        """A close frame: the code alone where it answers ours, a reason too where we broke it."""
        got = self.next()
        assert got and got[0] == CLOSE, f'wanted close {code}, got {brief(got)}'
        assert got[1][:2] == (b'' if code is None else struct.pack('>H', code)), (code, got)
        assert bool(got[1][2:].decode()) == broken, got

    def expect_reason(self, code, reason):
        """The close of a broken rule, with this in its reason."""
        got = self.next()
        assert got and got[0] == CLOSE, f'wanted close {code}, got {brief(got)}'
        assert struct.unpack('>H', got[1][:2])[0] == code, got
        assert got[1][2:] and reason in got[1][2:].decode(), got

    def expect_end(self):
        """The server's FIN, though we have not ended; then ours, and never a reset."""
        assert self.next() is None, 'a frame behind the close'
        self.send(LATE)
        self.half_close()
        self.expect_no_reset()

    def leave(self):
        self.send(close(1000))
        self.expect_close(1000)
        self.expect_end()

    def expect_no_reset(self):
        """Both sides have ended: the connection is over once the system has it as closed."""
        deadline = time.monotonic() + 30
        while self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
            assert time.monotonic() < deadline, 'the server keeps the connection'
            time.sleep(0.001)
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error == 0, os.strerror(error)

    def expect_nothing(self):
        """Nothing, as far as one can say without waiting long."""
        came = select.select([self.socket], [], [], 0.02)[0]
        assert not self.received and not came, brief(self.next())


def brief(got):
    return got if got is None else (got[0], got[1] if len(got[1]) < 200 else len(got[1]))


def case(sentence, story, *args):
    async def run(_user):
        await asyncio.to_thread(story, *args)
    tests.append((sentence, run))
