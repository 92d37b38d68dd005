"""RFC 7692 as a strict peer sees it: build/echo and build/server over real sockets, with Python's
zlib at the other end, and the package websockets agreeing by itself.

The sizes and the offers are those that sections 12 and 13 of the Autobahn testsuite judge, with
fewer messages of each. Whatever the row: what the server compresses is shorter than what it stands
for, is inflated with a window of the size that was asked for and with nothing from the message
before it unless a context was agreed on, and ends as RFC 7692 7.2.1 says; its end of file comes
first, and a reset is always a failure."""

import functools
import zlib
from concurrent.futures import ThreadPoolExecutor

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from frames import *

PLAIN = 'permessage-deflate'
POLICY = PLAIN + '; server_no_context_takeover; client_no_context_takeover'
LIMITED = PLAIN + '; client_max_window_bits'  # as browsers offer it
TAIL = b'\0\0\xff\xff'  # what is cut off behind a message, 7.2.1
STOP = b'\1\0\0\xff\xff'  # a final block of nothing
RSV1 = 4
FIRST_BYTES = 128  # from which on echo compresses unless it is told otherwise

# -- both ways of DEFLATE, by zlib ----------------------------------------------------------


def pack(data, bits=15, level=6, strategy=zlib.Z_DEFAULT_STRATEGY):
    z = zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    packed = z.compress(data) + z.flush(zlib.Z_SYNC_FLUSH)
    assert packed.endswith(TAIL)
    return packed[:-4]


def packed_finally(data):
    """With a final block, behind which a byte of zero keeps the place of one more, 7.2.3.4."""
    z = zlib.compressobj(6, zlib.DEFLATED, -15)
    return z.compress(data) + z.flush(zlib.Z_FINISH) + b'\0'


def unpack(packed, bits):
    """A message of the server's. A byte at a time (of long ones 32), for zlib looks no further back
    than its window only where what it has written is taken from it."""
    step = 1 if len(packed) < 2 * KIB else 32
    z, data = zlib.decompressobj(-bits), b''
    assert not packed.endswith(TAIL), 'the tail is still there'
    if bits == 15:
        data = z.decompress(packed + TAIL)
    else:
        for piece in pieces_of(packed + TAIL, 16):
            while piece:
                data += z.decompress(piece, step)
                piece = z.unconsumed_tail
        while rest := z.decompress(b'', step):
            data += rest
    assert z.decompress(STOP) == b'' and z.eof and not z.unused_data, 'no end of a block'
    return data


def verdict(packed):
    """What a message stands for as zlib sees it; None if it stands for nothing."""
    data, rest = b'', packed + TAIL
    try:
        while True:
            z = zlib.decompressobj(-15, data[-32768:]) if data else zlib.decompressobj(-15)
            data += z.decompress(rest)
            if not z.eof:
                z.decompress(STOP)
                return data if z.eof and not z.unused_data else None
            rest = z.unused_data
            if rest in (TAIL, b''):
                return data
    except zlib.error:
        return None


def frames_of(opcode, packed, sizes=None):
    """A compressed message in frames: whole, or pieces of these sizes and the rest."""
    pieces, at = [], 0
    for size in sizes or []:
        pieces.append(packed[at:at + size])
        at += size
    pieces.append(packed[at:])
    return [frame(CONTINUATION if n else opcode, piece, fin=n == len(pieces) - 1,
                  rsv=0 if n else RSV1) for n, piece in enumerate(pieces)]


def packed_text(data, **how):
    return b''.join(frames_of(TEXT, pack(data, **how)))


# -- the peer -------------------------------------------------------------------------------


def field(offers):
    return f'Sec-WebSocket-Extensions: {offers}\r\n'


def agreement(head):
    """What the server's answer says in the fields of the extension."""
    return [line.split(': ', 1)[1] for line in head.decode().split('\r\n')
            if line.lower().startswith('sec-websocket-extensions:')]


class Packer(Peer):
    """A peer that has agreed. bits: the window that it has asked for, 15 if none."""

    def __init__(self, port, offers=POLICY, bits=None, agreed=None, **where):
        super().__init__(port, fields=field(offers), **where)
        self.bits, self.packed, self.plain, self.packed_bytes = bits or 15, 0, 0, 0
        wanted = agreed or POLICY + (f'; server_max_window_bits={bits}' if bits else '')
        assert agreement(self.head) == [wanted], self.head

    def unpack(self, packed):
        return unpack(packed, self.bits)

    def next(self):
        got = self.frame(reserved=0x40)
        if got is None:
            return None
        first, payload = got
        opcode = first & 15
        if first & 0x40 == 0:
            self.plain += opcode < CLOSE
            return opcode, payload
        assert opcode in (TEXT, BINARY), 'a compressed frame of control'
        data = self.unpack(payload)
        assert len(payload) < len(data), (len(payload), len(data))
        self.packed += 1
        self.packed_bytes += len(payload)
        return opcode, data


class Keeper(Packer):
    """A peer that has agreed to contexts: of the server, and of its own with so many bits; None: it
    has none, and what it says is packed as by anybody else."""

    def __init__(self, port, offers=PLAIN, agreed=PLAIN, bits=None, own=15, **where):
        super().__init__(port, offers, bits, agreed, **where)
        self.past = zlib.decompressobj(-self.bits)
        self.own = own and zlib.compressobj(6, zlib.DEFLATED, -own)

    def unpack(self, packed):
        assert not packed.endswith(TAIL), 'the tail is still there'
        if self.bits == 15:
            return self.past.decompress(packed + TAIL)
        data = b''
        for piece in pieces_of(packed + TAIL, 16):  # see unpack
            while piece:
                data += self.past.decompress(piece, 1)
                piece = self.past.unconsumed_tail
        while rest := self.past.decompress(b'', 1):
            data += rest
        return data

    def pack(self, data):
        if self.own is None:
            return pack(data)
        packed = self.own.compress(data) + self.own.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def say(self, opcode, data, sizes=None):
        packed = self.pack(data)
        self.send(b''.join(frames_of(opcode, packed, sizes)))
        return len(packed)


# -- the rows -------------------------------------------------------------------------------


def ways(sent):
    """The same bytes in every way: the server, who sends them, and how."""
    yield 'whole', echo, Packer, Peer.send
    yield 'read octet by octet', octets, Packer, Peer.send
    yield 'read in pieces', pieces, Packer, Peer.send
    yield 'with contexts', wide, Keeper, Peer.send
    if len(sent) < 3000:
        yield 'octet by octet', echo, Packer, Peer.send_octets


def run_good(sent, answers):
    for how, server, peer_of, send in ways(sent):
        with peer_of(server.port) as peer:
            try:
                send(peer, sent)
                peer.expect(answers)
                peer.leave()
            except (AssertionError, OSError) as error:
                raise AssertionError(f'{how}: {error}')


def good(sentence, sent, answers):
    case(sentence, run_good, sent, answers)


def run_bad(sent, answers, code, reason):
    for how, server, peer_of, send in ways(sent):
        for behind in b'', ping(b'ignored') + packed_text(b'ignored') + LATE:
            with peer_of(server.port) as peer:
                try:
                    send(peer, sent + behind)
                    peer.expect(answers)
                    peer.expect_reason(code, reason)
                    peer.expect_end()
                except (AssertionError, OSError) as error:
                    raise AssertionError(f'{how}: {error}')


def bad(sentence, sent, code, reason='', answers=()):
    case(f'{sentence} closes with {code}', run_bad, sent, list(answers), code, reason)


# -- negotiation, 7.1 -----------------------------------------------------------------------


def run_agreed(fields, bits):
    """The answer is this server's policy; a compressed message goes both ways."""
    with Peer(eager.port, fields=fields) as peer:
        assert agreement(peer.head) == [
            POLICY + (f'; server_max_window_bits={bits}' if bits else '')], peer.head
        peer.send(packed_text(b'Hello' * 100))
        first, payload = peer.frame(reserved=0x40)
        assert first == 0xc1 and unpack(payload, bits or 15) == b'Hello' * 100, (first, payload)
        peer.leave()


def run_declined(fields):
    """An answer without the extension, and plain messages; RSV1 breaks a rule."""
    with Peer(eager.port, fields=fields) as peer:
        assert agreement(peer.head) == [], peer.head
        peer.send(text(b'Hello' * 100))
        peer.expect([(TEXT, b'Hello' * 100)])
        peer.send(packed_text(b'Hello')[:1])
        peer.expect_close(1002, broken=True)
        peer.expect_end()


def run_malformed(fields):
    with socket.create_connection(('127.0.0.1', eager.port), 30) as s:
        s.sendall(handshake(fields=fields))
        s.shutdown(socket.SHUT_WR)
        received = b''
        while part := s.recv(65536):
            received += part
    head, _, body = received.partition(b'\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 400 ') and agreement(head) == [], head
    assert json.loads(body)['error']['code'] == 'bad_request', body
    assert 'Sec-WebSocket-Extensions' in json.loads(body)['error']['message'], body


def given(name, fields, story, *args):
    case(f'an offer {name}', story, fields, *args)


for offers, bits in [
        (PLAIN, None), ('Permessage-DEFLATE', None), (f'  {PLAIN}\t', None),
        (f'{PLAIN}; client_max_window_bits', None),
        (f'{PLAIN};client_max_window_bits', None), (f'{PLAIN} ; client_max_window_bits = 8', None),
        (f'{PLAIN}; client_max_window_bits="12"', None),
        *((f'{PLAIN}; client_max_window_bits={n}', None) for n in range(8, 16)),
        *((f'{PLAIN}; server_max_window_bits={n}', n) for n in range(8, 16)),
        (f'{PLAIN}; server_max_window_bits="10"', 10),
        (f'{PLAIN}; Server_Max_Window_Bits=10', 10),
        (f'{PLAIN}; server_no_context_takeover', None),
        (f'{PLAIN}; client_no_context_takeover', None),
        (f'{PLAIN}; client_no_context_takeover; server_no_context_takeover; '
         'server_max_window_bits=9; client_max_window_bits=9', 9),
        (f'{PLAIN}, {PLAIN}; server_max_window_bits=9', None),
        (f'{PLAIN}; server_max_window_bits=9, {PLAIN}', 9),
        (f'{PLAIN}; server_max_window_bits=16, {PLAIN}; server_max_window_bits=10', 10),
        (f'{PLAIN}; unknown, {PLAIN}; unknown=1, {PLAIN}', None),
        (f'x-webkit-deflate-frame, __proto__; a="b", {PLAIN}', None),
        (f'{PLAIN}, x-later; {PLAIN}', None), (f',, ,{PLAIN},', None),
        (', '.join([f'{PLAIN}; no'] * 200 + [f'{PLAIN}; server_max_window_bits=11']), 11)]:
    given(f'{offers[:90]!r} is agreed to', field(offers), run_agreed, bits)
given('in the second of two fields is agreed to', field('other') + field(PLAIN), run_agreed, None)
given('is looked for through all of 20 fields', field(f'{PLAIN}; no') * 19 +
      field(f'{PLAIN}; server_max_window_bits=12'), run_agreed, 12)
given('in a field between an empty one and a stranger is agreed to',
      field('') + field(PLAIN) + field('__proto__'), run_agreed, None)

for offers in [
        '', ',', ' , ,', 'permessage-deflate2', 'permessage', 'permessage-bzip2', 'deflate-frame',
        'x-webkit-deflate-frame', '__proto__', 'constructor; a=b', f'other; {PLAIN}',
        f'{PLAIN}; unknown', f'{PLAIN}; unknown=1', f'{PLAIN}; __proto__=1', f'{PLAIN}; mux',
        f'{PLAIN}; server_max_window_bits', f'{PLAIN}; server_no_context_takeover=1',
        f'{PLAIN}; client_no_context_takeover=true', f'{PLAIN}; client_no_context_takeover="x"',
        *(f'{PLAIN}; {whose}_max_window_bits={n}' for whose in ('server', 'client')
          for n in ('0', '7', '16', '08', '015', '-9', '+9', '9.0', '0x9', '1e1', '9' * 20, 'nine',
                    '8bits')),
        *(f'{PLAIN}; {name}; {name}' for name in
          ('server_no_context_takeover', 'client_no_context_takeover', 'client_max_window_bits')),
        f'{PLAIN}; server_max_window_bits=9; server_max_window_bits=9',
        f'{PLAIN}; server_max_window_bits=9; server_max_window_bits=10',
        f'{PLAIN}; client_max_window_bits; client_max_window_bits=10',
        ', '.join([f'{PLAIN}; no'] * 200)]:
    given(f'{offers[:90]!r} is declined', field(offers), run_declined)
given('that is none is declined', '', run_declined)
given('in another field is declined', f'Sec-WebSocket-Extension: {PLAIN}\r\n', run_declined)

for offers in [
        ';', f'{PLAIN};', f'{PLAIN};;', f'; {PLAIN}', f'{PLAIN}; =', f'{PLAIN}; =9', '=', '"',
        f'"{PLAIN}"', f'{PLAIN}; server_max_window_bits=', f'{PLAIN}; server_max_window_bits=""',
        f'{PLAIN}; server_max_window_bits="9', f'{PLAIN}; server_max_window_bits="9\\"',
        f'{PLAIN}; server_max_window_bits=9 10', f'{PLAIN}; server_max_window_bits==9',
        f'{PLAIN} {PLAIN}', f'{PLAIN}; a b', f'{PLAIN}=9', f'{PLAIN}; a="b c"', f'{PLAIN}; a@b',
        f'{PLAIN}/1', f'{PLAIN}, other;', f'{PLAIN}, =', f'other; a=, {PLAIN}', f'({PLAIN})',
        f'{PLAIN}; a=b"', '\xfc']:
    given(f'{offers!r} is refused with 400', field(offers), run_malformed)
given('that is well but for its second field is refused with 400', field(PLAIN) + field('a;'),
      run_malformed)

# -- reserved bits, 6 -----------------------------------------------------------------------

RESERVED = 'a reserved bit'
HELLO = bytes.fromhex('f248cdc9c90700')  # 7.2.3.1
for rsv, name in [(2, '2'), (1, '3'), (3, '2 and 3'), (6, '1 and 2'), (5, '1 and 3'),
                  (7, '1 to 3')]:
    bad(f'reserved bits {name} on a text', header(TEXT, 7, rsv=rsv), 1002, RESERVED)
for word, opcode in [('ping', PING), ('pong', PONG), ('close', CLOSE)]:
    bad(f'RSV1 on a {word}', frame(opcode, b'\3\xe8', rsv=RSV1), 1002, RESERVED)
    bad(f'RSV1 on a {word} between the fragments of a compressed text',
        frames_of(TEXT, HELLO, [3])[0] + frame(opcode, rsv=RSV1), 1002, RESERVED)
BEGUN = frames_of(TEXT, HELLO, [3])[0]
bad('RSV1 on a continuation', BEGUN + more(HELLO[3:], True, rsv=RSV1), 1002, RESERVED)
bad('RSV1 on an empty continuation', BEGUN + more(rsv=RSV1), 1002, RESERVED)
bad('RSV1 on a continuation of a plain text',
    text(b'He', False) + more(b'llo', True, rsv=RSV1), 1002, RESERVED)
bad('RSV1 on a continuation of nothing', more(HELLO, True, rsv=RSV1), 1002)
bad('RSV1 on a reserved opcode', frame(3, HELLO, rsv=RSV1), 1002)
bad('a compressed text inside a text', text(b'a', False) + packed_text(b'Hello'), 1002)
bad('a compressed text inside a compressed text', BEGUN + packed_text(b'Hello'), 1002)
bad('a compressed text that is not masked', frame(TEXT, HELLO, rsv=RSV1, mask=b''), 1002)

# -- messages, 7.2 --------------------------------------------------------------------------

ANSWER = [(TEXT, b'Hello')]
EXAMPLES = [  # 7.2.3
    ('one block', 'f248cdc9c90700'), ('no compression', '000500faff48656c6c6f00'),
    ('a final block', 'f348cdc9c9070000'), ('two blocks', 'f248050000 00ffffcac9c90700')]
for name, example in EXAMPLES:
    packed = bytes.fromhex(example)
    good(f'the example of {name} is Hello', b''.join(frames_of(TEXT, packed)), ANSWER)
    good(f'the example of {name} is Hello, split at every byte',
         b''.join(b''.join(frames_of(TEXT, packed, [n])) for n in range(len(packed) + 1)),
         ANSWER * (len(packed) + 1))
    good(f'the example of {name} is Hello in fragments of a byte',
         b''.join(frames_of(TEXT, packed, [1] * len(packed))), ANSWER)
good('the empty message is one byte, and is answered with nothing',
     b''.join(frames_of(TEXT, b'\0') + frames_of(BINARY, b'\0')), [(TEXT, b''), (BINARY, b'')])
good('empty blocks are an empty message too',
     b''.join(b''.join(frames_of(TEXT, packed)) for packed in
              (pack(b''), b'\2\0', STOP, b'\3\0', b'\0\0\0\xff\xff\0', packed_finally(b''))),
     [(TEXT, b'')] * 6)
good('a message whose sender left the tail on it is the same message',
     b''.join(frames_of(TEXT, HELLO + b'\0\0\xff\xff\0')), ANSWER)
good('empty fragments before, within and behind a compressed message change nothing',
     b''.join(frames_of(TEXT, HELLO, [0, 0, 3, 0, 4, 0, 0])), ANSWER)
good('compressed and plain messages may alternate, whole and in fragments',
     (packed_text(b'Hello') + text(b'plain') + b''.join(frames_of(BINARY, pack(b'\xff\xfe'), [1])) +
      b''.join(message(TEXT, [b'one ', b'', b'two']))) * 3,
     [*ANSWER, (TEXT, b'plain'), (BINARY, b'\xff\xfe'), (TEXT, b'one two')] * 3)
good('a plain text of what would inflate is itself', frame(BINARY, HELLO), [(BINARY, HELLO)])
good('pings between the fragments of a compressed message are answered first',
     b''.join(f + ping(b'%d' % n) for n, f in enumerate(frames_of(TEXT, HELLO, [2, 2, 2])[:3])) +
     frames_of(TEXT, HELLO, [2, 2, 2])[3], [(PONG, b'0'), (PONG, b'1'), (PONG, b'2'), *ANSWER])
good('a close between the fragments of a compressed message is answered, and the message is gone',
     BEGUN, [])
LONG = b'{"task_id":"import","status":"running","progress":40} ' * 20
for name, packed in [
        *((f'by zlib at level {n}', pack(LONG, level=n)) for n in range(10)),
        *((f'with a window of {n} bits', pack(LONG, bits=n)) for n in range(9, 16)),
        ('in fixed blocks', pack(LONG, strategy=zlib.Z_FIXED)),
        ('by Huffman alone', pack(LONG, strategy=zlib.Z_HUFFMAN_ONLY)),
        ('by runs alone', pack(LONG, strategy=zlib.Z_RLE)),
        ('with a final block', packed_finally(LONG)),
        ('in a hundred blocks of every kind', b''.join(
            (lambda z: z.compress(LONG[n:n + 11]) + z.flush(zlib.Z_FULL_FLUSH))(
                zlib.compressobj(n % 10, zlib.DEFLATED, -15, 8, (0, zlib.Z_FIXED)[n % 2]))
            for n in range(0, len(LONG), 11))[:-4]),
        ('behind a thousand empty stored blocks', b'\0\0\0\xff\xff' * 1000 + pack(LONG)),
        ('before a thousand empty stored blocks', pack(LONG) + (TAIL + b'\0') * 1001),
        ('before a thousand final blocks of nothing', packed_finally(LONG)[:-1] + STOP * 1000),
        ('behind a thousand fixed blocks of nothing', b'\2\x08\x20\x80\0' * 1000 + pack(LONG))]:
    good(f'a text {name} is echoed', b''.join(frames_of(TEXT, packed)), [(TEXT, verdict(packed))])
good('two final blocks are one message', b''.join(frames_of(TEXT, packed_finally(b'Hel')[:-1] +
                                                            packed_finally(b'lo'))), ANSWER)

# -- what does not inflate ------------------------------------------------------------------

for name, packed in [
        ('a block of the reserved type', b'\7'), ('nothing, not even a block', b''),
        ('a stored block without its length', b'\0\5'),
        ('a stored block whose lengths do not agree', b'\0\5\0\0\0Hello'),
        ('a stored block that is too long', b'\0\xff\xff\0\0Hello'),
        ('a message that ends inside a block', HELLO[:4]),
        ('a copy from before the begin', bytes.fromhex('4a040200')),
        ('a dynamic block of nothing but ones', b'\x04' + b'\xff' * 40),
        ('a dynamic block of nothing but zeros', b'\x04' + b'\0' * 40),
        ('a fixed block of a symbol that is none', b'\x1b\x03'),
        ('octets that are no DEFLATE', b'\xfe' * 100), ('plain text', b'Hello, this is plain'),
        ('zlib\'s own form, with its header', zlib.compress(b'Hello' * 100)),
        ('gzip\'s form', zlib.compressobj(6, zlib.DEFLATED, 31).compress(b'') + b'\x1f\x8b\x08'),
        ('ones behind a final block', packed_finally(b'Hello')[:-1] + b'\xff\xff')]:
    assert verdict(packed) is None, name
    for opcode in TEXT, BINARY:
        bad(f'{name}, as a {"text" if opcode == TEXT else "binary message"},',
            b''.join(frames_of(opcode, packed)), 1007)
    bad(f'{name}, in fragments, behind a good message,',
        packed_text(b'Hello') + b''.join(frames_of(BINARY, packed, [1, 0, 1])), 1007,
        answers=ANSWER)


def takes_over():
    """A client that keeps its context though it was told not to: its second message copies from
    the first, of which the server knows nothing. And one that was not told."""
    z = zlib.compressobj(6, zlib.DEFLATED, -15)
    first, second = ((z.compress(LONG) + z.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2))
    assert verdict(second) is None
    sent = b''.join(frames_of(TEXT, first) + frames_of(TEXT, second))
    with Packer(echo.port) as peer:
        peer.send(sent)
        peer.expect([(TEXT, LONG)])
        peer.expect_reason(1007, '')
        peer.expect_end()
    with Keeper(wide.port) as peer:
        peer.send(sent)
        peer.expect([(TEXT, LONG), (TEXT, LONG)])
        peer.leave()


case('a copy out of the message before it closes with 1007 where there is no context', takes_over)

# -- UTF-8 behind the compression -----------------------------------------------------------

NOT_UTF8 = 'text that is not UTF-8'
for word, broken in [
        ('a byte of no character', b'\xff'),
        ('a character without its last byte', '\u20ac'.encode()[:2]),
        ('a surrogate', b'\xed\xa0\x80'), ('a slash in two bytes', b'\xc0\xaf'),
        ('a value too large', b'\xf4\x90\x80\x80'), ('a tail without a lead', b'\x80')]:
    for where, payload in [('alone', broken), ('at the begin', broken + LONG),
                           ('at the end', LONG + broken), ('in the middle', LONG + broken + LONG)]:
        bad(f'{word} {where} of a text', packed_text(payload), 1007, NOT_UTF8)
        good(f'{word} {where} of a binary message is echoed',
             b''.join(frames_of(BINARY, pack(payload), [1, 1])), [(BINARY, payload)])
bad('a text cut within a character, though the next message goes on with it,',
    packed_text('\u20ac'.encode()[:1]) + packed_text('\u20ac'.encode()[1:]), 1007, NOT_UTF8)
good('a text of characters that the compression takes apart is echoed',
     b''.join(frames_of(TEXT, pack(letters(500)), [1] * 60)), [(TEXT, letters(500))])
good('a text is judged by what it inflates to, not by its octets on the wire',
     packed_text(letters(300), level=9), [(TEXT, letters(300))])

# -- every byte wrong, every byte the last --------------------------------------------------


def judged(packed, opcode):
    """An echo of what zlib reads, or the close that belongs to it."""
    wanted = verdict(packed)
    with Packer(echo.port) as peer:
        peer.send(b''.join(frames_of(opcode, packed)))
        if wanted is None:
            peer.expect_reason(1007, '')
            peer.expect_end()
        else:
            peer.expect([(opcode, wanted)])
            peer.leave()
    return wanted is not None


def every_cut(packed, may):
    """may: one of its beginnings is a message that ends."""
    assert any([judged(packed[:n], BINARY) for n in range(len(packed))]) == may


def every_bit(packed):
    taken = sum(judged(packed[:n] + bytes([packed[n] ^ 1 << bit]) + packed[n + 1:], BINARY)
                for n in range(len(packed)) for bit in range(8))
    assert 0 < taken < 8 * len(packed), taken


def every_text(packed):
    """The same as text, where what inflates need not be text."""
    for n in range(len(packed)):
        broken = packed[:n] + bytes([packed[n] ^ 0x55]) + packed[n + 1:]
        data = verdict(broken)
        with Packer(echo.port) as peer:
            peer.send(b''.join(frames_of(TEXT, broken, [n])))
            try:
                answer = data and data.decode().encode()
            except UnicodeDecodeError:
                answer = None
            if answer is None:
                peer.expect_reason(1007, NOT_UTF8 if data is not None else '')
                peer.expect_end()
            else:
                peer.expect([(TEXT, answer)])
                peer.leave()


SMALL = b'{"task_id":"a","status":"RUNNING","progress":40,"message":"\xe2\x82\xac of rows: rows"}'
DYNAMIC = pack(bytes(97 + n * n % 7 * (n % 5) % 11 for n in range(150)), level=9)
assert DYNAMIC[0] & 6 == 4, 'a dynamic block'
for word, packed, may in [('a fixed', pack(SMALL), False), ('a stored', pack(SMALL, level=0), True),
                          ('a dynamic', DYNAMIC, False)]:
    case(f'{word} block is judged as zlib does wherever it is cut', every_cut, packed, may)
    case(f'with any bit of {word} block the other way the answer is zlib\'s', every_bit, packed)
    case(f'with any byte of {word} block another the text is refused or echoed', every_text, packed)

# -- bombs ----------------------------------------------------------------------------------


def memory_of(server, name='VmRSS'):
    """In KiB."""
    with open(f'/proc/{server.process.pid}/status') as status:
        return int(re.search(rf'{name}:\s+(\d+) kB', status.read()).group(1))


@functools.lru_cache(None)
def zeros(mib):
    """So many MiB of zeros, which one MiB is repeated for."""
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (z.compress(bytes(MIB)) + z.flush(zlib.Z_FULL_FLUSH)) * mib + b'\0'


def bomb(limit, mib, fragments, grows):
    with Echo('--max-message', str(limit)) as server, Packer(server.port) as bystander:
        for opcode in (BINARY, TEXT):  # once, so that the memory that every thread has is there
            bystander.send(b''.join(frames_of(opcode, pack(SMALL))))
            bystander.expect([(opcode, SMALL)])
        begin = memory_of(server, 'VmHWM')
        sent = zeros(mib)
        size = len(sent) // fragments
        for opcode in (BINARY, TEXT):
            with Packer(server.port) as peer:
                sending = threading.Thread(target=peer.send, args=(
                    b''.join(frames_of(opcode, sent, [size] * (fragments - 1))),))
                sending.start()
                peer.expect_reason(1009, 'limit')
                sending.join()
                peer.expect_end()
            bystander.send(b''.join(frames_of(opcode, pack(SMALL))))
            bystander.expect([(opcode, SMALL)])
        more_memory = memory_of(server, 'VmHWM') - begin
        assert more_memory < grows, f'{more_memory} KiB more'
        bystander.leave()


for limit, mib, fragments, grows in [
        (1000, 1, 1, 1024), (65536, 50, 1, 1024), (65536, 50, 50, 1024), (65536, 1024, 1, 1024),
        (2 * MIB, 1024, 1, 8192), (2 * MIB, 1024, 700, 8192)]:
    case(f'{mib} MiB of zeros in {fragments} frames close with 1009 where {limit} bytes are the '
         'limit, and cost no more than that', bomb, limit, mib, fragments, grows)


def gibibytes():
    """Against all of 64 MiB: what it takes is given back."""
    with Echo() as server:
        with Packer(server.port) as peer:
            peer.send(packed_text(LONG))
            peer.expect([(TEXT, LONG)])
            peer.leave()
        begin = memory_of(server)
        for _ in range(3):
            with Packer(server.port) as peer:
                peer.send(b''.join(frames_of(BINARY, zeros(1024))))
                peer.expect_reason(1009, 'limit')
                peer.expect_end()
        assert memory_of(server, 'VmHWM') - begin < 140 * 1024, memory_of(server, 'VmHWM')
        assert memory_of(server) - begin < 8 * 1024, memory_of(server) - begin


def to_the_byte():
    with Echo('--max-message', '70000') as server:
        for size, fine in [(69999, True), (70000, True), (70001, False), (140000, False)]:
            for payload in bytes(size), letters(size), os.urandom(size):
                with Packer(server.port) as peer:
                    peer.send(b''.join(frames_of(BINARY, pack(payload), [3])))
                    if fine:
                        peer.expect([(BINARY, payload)])
                        peer.leave()
                    else:
                        peer.expect_reason(1009, 'limit')
                        peer.expect_end()


def many_blocks():
    """A MiB of blocks that hold nothing is a message of nothing."""
    for block in b'\0\0\0\xff\xff', b'\2\x08\x20\x80\0', STOP:
        packed = block * (MIB // len(block)) + b'\0'
        assert verdict(packed[-len(block) * 20 - 1:]) == b''
        with Packer(echo.port) as peer:
            peer.send(b''.join(frames_of(TEXT, packed)))
            peer.expect([(TEXT, b'')])
            peer.leave()


def many_frames():
    """Frames count whatever is in them."""
    with Echo('--max-frames', '100') as server, Packer(server.port) as peer:
        peer.send(b''.join(frames_of(TEXT, HELLO, [0] * 99)))
        peer.expect(ANSWER)
        peer.send(b''.join(frames_of(TEXT, HELLO, [0] * 100)))
        peer.expect_reason(1009, 'frames')
        peer.expect_end()


case('the limit holds to the byte of what is inflated', to_the_byte)
case('three times 1 GiB of zeros closes with 1009, and the memory is given back', gibibytes)
case('hundreds of thousands of empty blocks are an empty message', many_blocks)
case('the frames of a compressed message are counted', many_frames)


def at_rest():
    """200 connections that have compressed: a context of each would be 6 MiB and more."""
    with Echo() as server:
        peers = [Packer(server.port) for _ in range(210)]
        try:
            for n, peer in enumerate(peers):
                if n == 10:
                    begin = memory_of(server)
                peer.send(packed_text(LONG))
                peer.expect([(TEXT, LONG)])
            grown = memory_of(server) - begin
            assert grown < 1024, f'{grown} KiB'
        finally:
            for peer in peers:
                peer.socket.close()


case('a connection at rest holds no context', at_rest)

# -- sizes and offers, as Autobahn's sections 12 and 13 ----------------------------------------

WORDS = ('task status progress running completed failed worker event redis stream user of the and '
         'a compressed window server client message').split()


def json_like(size, n):
    r = random.Random(n)
    rows = []
    while sum(map(len, rows)) < size:
        rows.append('{"task_id":"import-%d","status":"%s","progress":%d,"rows":%d},' %
                    (r.randrange(100), r.choice(WORDS), r.randrange(101), r.randrange(1 << 20)))
    return ''.join(rows).encode()[:size]


def wordy(size, n):
    r = random.Random(n)
    return ' '.join(r.choice(WORDS) for _ in range(size)).encode()[:size]


def tabular(size, n):
    r = random.Random(n)
    return b''.join(struct.pack('<IHHd', n + k, r.randrange(9), 7, float(r.randrange(50)))
                    for k in range(size // 16 + 1))[:size]


def scripted(size, n):
    return letters(size)


def unlikely(size, n):
    return random.Random(size + n).randbytes(size)


PAYLOADS = [('JSON', TEXT, json_like), ('words', TEXT, wordy), ('script', TEXT, scripted),
            ('a table', BINARY, tabular), ('random octets', BINARY, unlikely)]
SIZES = [(16 << n, 0) for n in (0, 2, 4, 6, 8, 9, 10, 11, 12, 13)] + \
    [(8 * KIB << n, fragment) for n in range(5) for fragment in (256,)] + \
    [(128 * KIB, fragment) for fragment in (KIB, 4 * KIB, 32 * KIB)]
ASKED = PLAIN + '; client_no_context_takeover; client_max_window_bits'
OFFERS = [
    ('no wish', [ASKED], None),
    ('no context', [ASKED + '; server_no_context_takeover'], None),
    ('9 bits', [ASKED + '; server_max_window_bits=9'], 9),
    ('15 bits', [ASKED + '; server_max_window_bits=15'], 15),
    ('no context and 9 bits',
     [ASKED + '; server_no_context_takeover; server_max_window_bits=9'], 9),
    ('no context and 15 bits',
     [ASKED + '; server_no_context_takeover; server_max_window_bits=15'], 15),
    ('three wishes',
     [ASKED + '; server_no_context_takeover; server_max_window_bits=9',
      ASKED + '; server_no_context_takeover', ASKED], 9)]


@functools.lru_cache(None)
def prepared(payload_of, size, n):
    payload = payload_of(size, n)
    assert len(payload) == size
    return payload, pack(payload)


def conversation(port, offers, bits, opcode, payload_of, size, fragment, least):
    """Many messages, the answers read while they are still being sent."""
    count = max(4, min(150, 256 * KIB // size))
    if bits == 9:
        count = max(2, count // 8)  # read by the byte

    def talk(peer):
        for n in range(count):
            packed = prepared(payload_of, size, n % 4)[1]
            sizes = [fragment] * (len(packed) // fragment) if fragment else None
            peer.send(b''.join(frames_of(opcode, packed, sizes)))

    with Packer(port, ', '.join(offers), bits) as peer:
        talking = threading.Thread(target=talk, args=(peer,))
        talking.start()
        try:
            peer.expect((opcode, prepared(payload_of, size, n % 4)[0]) for n in range(count))
        finally:
            talking.join()
        peer.leave()
        if payload_of is unlikely or size < least:
            assert peer.packed == 0, 'compressed for nothing'
        else:
            assert peer.plain == 0 or size < 128, f'{peer.plain} of {count} are plain'


def in_words(size, fragment):
    return f'{size} bytes' + (f' in fragments of {fragment}' if fragment else '')


for word, opcode, payload_of in PAYLOADS:
    for size, fragment in SIZES:
        case(f'compressed messages of {word} of {in_words(size, fragment)} are echoed (12)',
             lambda *args: conversation(echo.port, *args), [POLICY], None, opcode, payload_of, size,
             fragment, FIRST_BYTES)
for word, offers, bits in OFFERS:
    for n, (size, fragment) in enumerate(SIZES):
        kind, opcode, payload_of = PAYLOADS[n % 2]
        case(f'with {word} asked for, those of {in_words(size, fragment)} are echoed (13)',
             lambda *args: conversation(eager.port, *args), offers, bits, opcode, payload_of, size,
             fragment, 1)

# -- windows --------------------------------------------------------------------------------


def window(bits):
    """What repeats at the window's size, just beyond it and far beyond, and more than it holds."""
    whole = 1 << bits
    with Packer(eager.port, f'{PLAIN}; server_max_window_bits={bits}', bits) as peer:
        for distance in (max(64, whole - 262), whole, whole + 1, 2 * whole):
            payload = octets_of(distance) * 2
            peer.packed = 0
            peer.send(frame(BINARY, payload))
            peer.expect([(BINARY, payload)])
            assert peer.packed == (distance <= whole), distance
        peer.packed = 0
        for payload_of in (json_like, wordy):
            payload = payload_of(min(4 * whole, 64 * KIB), bits)
            for opcode in (TEXT, BINARY):
                peer.send(frame(opcode, payload))
                peer.expect([(opcode, payload)])
        assert peer.packed == 4
        peer.leave()


def as_before():
    """With a context of its own each message is the same bytes again."""
    with Packer(echo.port) as peer:
        for _ in range(3):
            peer.send(text(LONG) + text(LONG[1:]))
            came = [peer.frame(reserved=0x40) for _ in range(2)]
            assert came[0][0] == came[1][0] == 0xc1
            assert came == getattr(peer, 'before', came)
            peer.before = came
        peer.leave()


def abreast():
    """The windows of connections of one thread, in turn."""
    peers = [Packer(eager.port, f'{PLAIN}; server_max_window_bits={n}', n) for n in range(8, 16)]
    peers.append(Packer(eager.port))
    try:
        for round_ in range(3):
            payload = json_like(3000, round_)
            for peer in peers:
                peer.send(packed_text(payload))
            for peer in peers:
                peer.expect([(TEXT, payload)])
        for peer in peers:
            assert peer.packed == 3
            peer.leave()
    finally:
        for peer in peers:
            peer.socket.close()


for bits in range(8, 16):
    case(f'with a window of {bits} bits nothing is copied from further back', window, bits)
case('the same message is compressed to the same bytes, whatever came before it', as_before)
case('connections of unlike windows are served in turn', abreast)

# -- contexts, 7.1.1 and 7.2.3.2 --------------------------------------------------------------


def agreed_on(server_of, offers, agreed):
    with Peer(server_of().port, fields=field(offers)) as peer:
        assert agreement(peer.head) == [PLAIN + agreed], peer.head
        peer.leave()


NEITHER = POLICY[len(PLAIN):]
for offers, narrow, full in [
        ('', '; client_no_context_takeover', ''),
        ('; client_max_window_bits', '; client_max_window_bits=12', ''),
        ('; client_max_window_bits=15', '; client_max_window_bits=12', ''),
        *((f'; client_max_window_bits={n}', f'; client_max_window_bits={min(n, 12)}',
           f'; client_max_window_bits={n}') for n in range(8, 15)),
        *((f'; client_max_window_bits; server_max_window_bits={n}',
           f'; server_max_window_bits={n}; client_max_window_bits=12',
           f'; server_max_window_bits={n}') for n in range(8, 16)),
        ('; server_no_context_takeover; client_max_window_bits',
         '; server_no_context_takeover; client_max_window_bits=12',
         '; server_no_context_takeover'),
        ('; server_no_context_takeover', NEITHER, '; server_no_context_takeover'),
        ('; client_no_context_takeover; client_max_window_bits', '; client_no_context_takeover',
         '; client_no_context_takeover'),
        (NEITHER + '; client_max_window_bits=9', NEITHER, NEITHER),
        (f'; server_max_window_bits=16, {PLAIN}; server_no_context_takeover', NEITHER,
         '; server_no_context_takeover')]:
    for server_of, name, agreed in [(lambda: echo, 'echo', narrow), (lambda: wide, 'wide', full)]:
        case(f'an offer of {PLAIN + offers!r} makes {PLAIN + agreed!r} where contexts of '
             f'{"12" if name == "echo" else "15"} bits are kept', agreed_on, server_of,
             PLAIN + offers, agreed)

KEEPERS = [  # the server, the offer, the answer, the windows
    ('contexts of 12 bits', lambda: echo, LIMITED, PLAIN + '; client_max_window_bits=12', 15, 12),
    ('contexts of 15 bits', lambda: wide, PLAIN, PLAIN, 15, 15),
    ('contexts of 9 bits', lambda: wide, LIMITED + '=9; server_max_window_bits=9',
     PLAIN + '; server_max_window_bits=9; client_max_window_bits=9', 9, 9),
    ('a context of the server', lambda: echo, PLAIN, PLAIN + '; client_no_context_takeover', 15,
     None)]


def keeps_talking(server_of, offers, agreed, bits, own, opcode, payload_of, size, fragment):
    """Compressed, plain and cut messages in turn, each of which the next ones refer to, or not."""
    count = max(6, min(60, 128 * KIB // size)) // (4 if bits == 9 and size > KIB else 1)
    with Keeper(server_of().port, offers, agreed, bits, own) as peer:
        sizes = [fragment] * 1000 if fragment else None
        payloads = [payload_of(size, n % 3) for n in range(count)]

        def talk():
            for n, payload in enumerate(payloads):
                if n % 5 == 3:
                    peer.send(frame(opcode, payload))
                else:
                    packed = peer.pack(payload)
                    peer.send(b''.join(frames_of(opcode, packed, sizes and
                                                 sizes[:len(packed) // fragment])))

        talking = threading.Thread(target=talk)
        talking.start()
        try:
            peer.expect((opcode, payload) for payload in payloads)
        finally:
            talking.join()
        peer.leave()
        if payload_of is unlikely:
            return
        assert peer.plain == 0 or size < FIRST_BYTES, f'{peer.plain} of {count} are plain'
        if FIRST_BYTES <= size <= 1 << min(bits, 12):
            alone = sum(min(size, len(pack(payload))) for payload in payloads)
            most = alone * (0.75 if payload_of is json_like else 1)
            assert peer.packed_bytes < most, (peer.packed_bytes, alone)


for word, server_of, *terms in KEEPERS:
    for kind, opcode, payload_of in PAYLOADS:
        for size, fragment in [(16, 0), (200, 0), (200, 7), (511, 0), (2 * KIB, 0), (5 * KIB, 256),
                               (40 * KIB, 0), (128 * KIB, 4 * KIB)]:
            if (word, payload_of) != ('contexts of 9 bits', unlikely) or size < 5 * KIB:
                case(f'with {word}, messages of {kind} of {in_words(size, fragment)} are echoed',
                     keeps_talking, server_of, *terms, opcode, payload_of, size, fragment)


def zlib_gains():
    """What a context gains is what zlib's gains, with as much memory for it."""
    payloads = [json_like(250, n) for n in range(200)]
    for server_of, bits in [(lambda: echo, 12), (lambda: wide, 15)]:
        z = zlib.compressobj(6, zlib.DEFLATED, -bits)
        by_zlib = sum(len(z.compress(p) + z.flush(zlib.Z_SYNC_FLUSH)) - 4 for p in payloads)
        with Keeper(server_of().port, PLAIN + '; client_no_context_takeover',
                    PLAIN + '; client_no_context_takeover', own=None) as peer:
            for payload in payloads:
                peer.say(TEXT, payload)
            peer.expect((TEXT, payload) for payload in payloads)
            assert peer.packed == len(payloads)
            assert peer.packed_bytes <= by_zlib * 1.05, (peer.packed_bytes, by_zlib)
            peer.leave()


def too_far():
    """Who was told 9 bits, and looks further back."""
    noise = octets_of(3000)
    for between, fine in [(100, True), (400, False)]:
        with Keeper(wide.port, LIMITED + '=9', PLAIN + '; client_max_window_bits=9') as peer:
            for payload in noise[:300], noise[300:300 + between]:
                peer.say(BINARY, payload)
                peer.expect([(BINARY, payload)])
            assert peer.say(BINARY, noise[:300]) < 100  # it is a copy
            if fine:
                peer.expect([(BINARY, noise[:300])])
                peer.leave()
            else:
                peer.expect_reason(1007, 'distance')
                peer.expect_end()


def none_left():
    """Contexts of 12 bits take 28 KiB and some."""
    own = f'{PLAIN}; client_max_window_bits=12'

    def opened(server, given):
        peer = Keeper(server.port, LIMITED, own, own=12) if given else Packer(server.port, LIMITED)
        for _ in range(2):
            if given:
                peer.say(TEXT, LONG)
            else:
                peer.send(packed_text(LONG))
            peer.expect([(TEXT, LONG)])
        assert peer.packed == 2
        return peer

    with Echo('--context-bytes', '60000', '--threads', '2') as server:
        for _ in range(3):
            first, second = opened(server, True), opened(server, True)
            third = opened(server, False)
            second.leave()
            second = None
            for _ in range(100):  # the place is free as soon as the server has seen it end
                try:
                    second = opened(server, True)
                    break
                except AssertionError:
                    time.sleep(0.02)
            assert second is not None
            fourth = opened(server, False)
            for peer in first, second, third, fourth:
                peer.send(text(LONG))
                peer.expect([(TEXT, LONG)])
                peer.leave()
            time.sleep(0.1)


def never_more():
    """400 connections, of which 100 have a context: 3 MiB."""
    with Echo('--context-bytes', str(100 * 29000)) as server:
        peers = []
        try:
            for n in range(410):
                if n == 10:
                    begin = memory_of(server)
                peer = Peer(server.port, fields=field(LIMITED))
                peer.send(packed_text(LONG))
                peer.frame(reserved=0x40)
                peers.append(peer)
            kept = sum('no_context' not in agreement(peer.head)[0] for peer in peers)
            assert kept in (100, 101), kept
            grown = memory_of(server) - begin
            assert 1500 < grown < 4096, f'{grown} KiB'
        finally:
            for peer in peers:
                peer.socket.close()


def bomb_in_context():
    """1 GiB of zeros, of which a context has seen some already."""
    with Echo('--max-message', '65536', '--context-bits', '15') as server:
        for _ in range(2):
            with Keeper(server.port) as peer:
                peer.say(BINARY, bytes(60000))
                peer.expect([(BINARY, bytes(60000))])
                begin = memory_of(server, 'VmHWM')
                sending = threading.Thread(target=peer.send, args=(
                    b''.join(frames_of(BINARY, zeros(1024))),))
                sending.start()
                peer.expect_reason(1009, 'limit')
                sending.join()
                peer.expect_end()
                assert memory_of(server, 'VmHWM') - begin < 1024


case('a context gains what that of zlib gains', zlib_gains)
case('a copy from further back than was agreed on closes with 1007', too_far)
case('beyond --context-bytes a connection is given no context, until another one ends', none_left)
case('all contexts together take what --context-bytes allows', never_more)
case('1 GiB of zeros in a context closes with 1009 and costs no more than the limit',
     bomb_in_context)

# -- the option -----------------------------------------------------------------------------


def threshold(least):
    with Echo('--compress-from', str(least)) as server, Packer(server.port) as peer:
        for size in (least - 1, least, least + 1):
            peer.send(text(b'a' * size))
            peer.expect([(TEXT, b'a' * size)])
            assert (peer.packed, peer.plain) == (max(0, size - least + 1), 1)
        peer.leave()


def off(start, target):
    with start('--compress-from', 'off') as server:
        with Peer(server.port, target=target, fields=field(PLAIN)) as peer:
            assert agreement(peer.head) == [], peer.head
            if start is Echo:
                peer.send(text(LONG))
                peer.expect([(TEXT, LONG)])
            else:
                assert peer.next()[0] == TEXT
            peer.send(packed_text(b'Hello')[:1])
            peer.expect_close(1002, broken=True)
            peer.expect_end()


def short_ones():
    short = b'{"m":"%s"}' % (b'a' * 40)
    with Echo('--compress-from', '0') as server, Packer(server.port) as peer:
        peer.send(text(short))
        peer.expect([(TEXT, short)])
        assert peer.packed == 1
        peer.leave()
    with Server('--compress-from', '0') as server:
        answer = server.request_now('POST', f'{PREFIX}/tasks/2',
                                    {'Authorization': 'Bearer ' + worker()}, short)
        target = f'{PREFIX}/tasks/2?since=0-0&format=raw&token={token("2")}'
        with Packer(server.port, target=target) as peer:
            peer.expect([(TEXT, short)])
            assert answer.status == 202 and peer.packed == 1
            peer.leave()


def without():
    """A program that was built without section 10."""
    with tempfile.TemporaryDirectory() as place:
        program = os.path.join(place, 'echo')
        source = os.path.join(ROOT, 'examples', 'echo.c')
        subprocess.run([os.environ.get('CC', 'cc'), '-std=c99', '-DTASKWS_NO_DEFLATE', '-I', ROOT,
                        '-o', program, source, '-pthread'], check=True)
        with Echo(program=program) as server, Peer(server.port, fields=field(PLAIN)) as peer:
            assert agreement(peer.head) == [], peer.head
            peer.send(text(LONG))
            peer.expect([(TEXT, LONG)])
            peer.send(packed_text(LONG))
            peer.expect_close(1002, broken=True)
            peer.expect_end()


case('built with TASKWS_NO_DEFLATE, echo agrees to nothing', without)
for least in (20, 128, 1000):
    case(f'--compress-from {least} compresses from there on', threshold, least)
case('--compress-from 0 compresses what is short, too', short_ones)
case('--compress-from off: echo agrees to nothing', off, Echo, '/')
# -- build/server ---------------------------------------------------------------------------


def tasks_of(user):
    return f'{PREFIX}/tasks/{user}?token={token(user)}'


def at_the_server():
    """What a client says may come compressed; what is longer than the limit once inflated, or is no
    text, closes."""
    where = {'target': tasks_of('2'), 'bits': 10, 'offers': f'{PLAIN}; server_max_window_bits=10'}
    with Packer(task_server.port, **where) as peer:
        assert json.loads(peer.next()[1])['type'] == 'connected'
        for sizes in ([], [3], [0, 1, 1]):
            peer.send(b''.join(frames_of(TEXT, pack(b'{"type":"ping"}'), sizes)))
            peer.expect([(TEXT, b'{"type":"pong"}')])
        peer.leave()
    for payload, code in [(b' ' * 70000, 1009), (b'{"type":"\xff"}', 1007)]:
        with Packer(task_server.port, **where) as peer:
            assert json.loads(peer.next()[1])['type'] == 'connected'
            peer.send(packed_text(payload))
            peer.expect_reason(code, '')
            peer.expect_end()


def token_in_a_message():
    """The first message that a client says is the compressed one."""
    with Packer(task_server.port, target=f'{PREFIX}/tasks/3') as peer:
        peer.send(packed_text(json.dumps({'type': 'auth', 'token': token('3')}).encode()))
        assert json.loads(peer.next()[1])['user_id'] == '3'
        peer.leave()


def reader(user, bits=None, query='', offers=PLAIN):
    where = {'target': tasks_of(user) + query}
    if offers is None:
        peer = Peer(task_server.port, **where)
        assert agreement(peer.head) == [], peer.head
    else:
        wish = f'; server_max_window_bits={bits}' if bits else ''
        peer = Packer(task_server.port, offers + wish, bits, **where)
    if 'raw' not in query:
        assert json.loads(peer.next()[1])['type'] == 'connected'
    return peer


def publish_now(user, event):
    answer = task_server.request_now('POST', f'{PREFIX}/tasks/{user}',
                                     {'Authorization': 'Bearer ' + worker()}, event)
    assert answer.status == 202, answer.body
    return answer.json['id']


def event_of(size, n=0):
    """An event of about so many bytes, which are worth compressing."""
    return json.dumps({'task_id': f't{n}', 'text': wordy(size, n).decode()}).encode()


def all_the_same():
    """What is long enough, and refers to nothing beyond the reader's window, comes compressed to
    whoever agreed, and as it is to the others."""
    for query, told in [('', b'{"type":"task","id":"%s","data":%s}'), ('&format=raw', b'%.0s%s')]:
        user = 'all' + query[-3:]
        windows = [None, 15, 12, 10, 9, 8]
        packers = [reader(user, bits, query) for bits in windows]
        plain = reader(user, query=query, offers=None)
        try:
            for size in (1, 100, 400, 900, 3000, 20000, 50000):
                event = event_of(size)
                id_ = publish_now(user, event)
                wanted = TEXT, told % (id_.encode(), event)
                for bits, peer in zip(windows, packers):
                    before = peer.packed
                    peer.expect([wanted])
                    fits = bits in (None, 15) or len(wanted[1]) <= 1 << bits
                    worth = fits and len(wanted[1]) >= FIRST_BYTES
                    assert peer.packed - before == worth, (query, bits, size)
                plain.expect([wanted])
            for peer in packers:
                peer.leave()
        finally:
            for peer in [*packers, plain]:
                peer.socket.close()


def once_for_all():
    """The very frame that one reader is given is the others'."""
    peers = [reader('once', bits) for bits in (None, 15, None, 13)]
    event = event_of(2000)
    publish_now('once', event)
    frames = [peer.frame(reserved=0x40) for peer in peers]
    assert frames[0][0] == 0xc1 and len(set(frames)) == 1, [brief(f) for f in frames]
    late = reader('once', 14)
    assert late.frame(reserved=0x40) == frames[0], 'the snapshot'
    for peer in [*peers, late]:
        peer.leave()


def what_was_missed():
    """Snapshot and resume, by readers who agreed and by one who did not."""
    ids = [publish_now('missed', event_of(500, n)) for n in range(60)]
    for query, first in [('', 0), (f'&since={ids[19]}', 20)]:
        for bits in (None, 9, 15):
            packer, plain = reader('missed', bits, query), reader('missed', None, query, None)
            for n in range(first, 60):
                told = b'{"type":"task","id":"%s","data":%s}' % (ids[n].encode(), event_of(500, n))
                packer.expect([(TEXT, told)])
                plain.expect([(TEXT, told)])
            assert packer.packed == (0 if bits == 9 else 60 - first), packer.packed
            packer.leave()
            plain.socket.close()


def not_worth_it():
    """Random letters: what cannot be shorter goes as it is to everybody."""
    packer, plain = reader('random'), reader('random', offers=None)
    for text_ in (octets_of(150).hex(), ''.join(map(chr, random.Random(1).choices(
            [c for c in range(35, 0x7ff) if c not in (0x5c, 0x7f)], k=800)))):
        event = json.dumps({'text': text_}, ensure_ascii=False).encode()
        publish_now('random', event)
        got = packer.next()
        assert event in got[1] and got == plain.next()
    packer.leave()
    plain.socket.close()


def on_many_threads():
    """Readers of unlike windows, on four threads, while three workers publish: everybody sees every
    event, in the one order."""
    bits = [None, 10, 12, 15] * 6
    with Server('--threads', '4', '--drain', '0') as server, ThreadPoolExecutor(27) as pool:
        peers = [Packer(server.port, PLAIN + (f'; server_max_window_bits={n}' if n else ''), n,
                        target=tasks_of('many')) for n in bits]
        for peer in peers:
            assert json.loads(peer.next()[1])['type'] == 'connected'

        def work(worker_number):
            for n in range(40):
                answer = server.request_now('POST', f'{PREFIX}/tasks/many',
                                            {'Authorization': 'Bearer ' + worker()},
                                            event_of(700, worker_number * 100 + n))
                assert answer.status == 202, answer.body

        def read(peer):
            return [peer.next()[1] for _ in range(120)]

        working = [pool.submit(work, n) for n in range(3)]
        reading = [pool.submit(read, peer) for peer in peers]
        for done in working:
            done.result()
        first = reading[0].result()
        came = sorted((json.loads(told)['data'] for told in first), key=lambda e: e['task_id'])
        sent = [json.loads(event_of(700, w * 100 + n)) for w in range(3) for n in range(40)]
        assert came == sorted(sent, key=lambda e: e['task_id'])
        assert all(done.result() == first for done in reading)
        for peer in peers:
            peer.leave()


case('events on many threads are the same for readers of every window', on_many_threads)
case('events come compressed to readers who agreed, plain to others, and are the same',
     all_the_same)
case('an event is compressed once for all who read it', once_for_all)
case('snapshot and resume are the same, compressed or not', what_was_missed)
case('events that compression does not shorten much are the same, too', not_worth_it)
case('build/server takes compressed messages', at_the_server)
case('build/server takes a token from a compressed message', token_in_a_message)
case('--compress-from off: build/server agrees to nothing', off, Server, tasks_of('2'))

# -- websockets, which agrees by itself -----------------------------------------------------


def factory(**wishes):
    return {'compression': None, 'extensions': [ClientPerMessageDeflateFactory(**wishes)]}


def by_itself(sentence, window_bits=15, keeps=(True, True), own_bits=15, **options):
    """keeps: what the offer allows the server and the client."""
    for name, of, most in [('an echo without contexts', lambda: eager, 0),
                           ('echo', lambda: echo, 12),
                           ('an echo of wide contexts', lambda: wide, 15)]:
        agrees(f'websockets with {sentence} agrees with {name}, and every message is what it was',
               of, window_bits, [most > 0 and kept for kept in keeps], min(most, own_bits), options)


def agrees(sentence, server_of, window_bits, keeps, own_bits, options):
    @test(sentence)
    async def _(_user):
        url = f'ws://127.0.0.1:{server_of().port}/'
        async with websockets.connect(url, max_size=None, ping_interval=None, **options) as ws:
            agreed, = ws.extensions
            assert keeps == [not agreed.remote_no_context_takeover,
                             not agreed.local_no_context_takeover], agreed
            assert agreed.remote_max_window_bits == window_bits, agreed
            assert not keeps[1] or agreed.local_max_window_bits == own_bits, agreed
            for size in (0, 1, 100, 200, 5000, 100000):
                for payload in (wordy(size, 1).decode(), tabular(size, 2), unlikely(size, 3)):
                    await ws.send(payload)
                    assert await asyncio.wait_for(ws.recv(), 20) == payload
            await ws.send(['one ', 'two ', '', 'three'])
            assert await asyncio.wait_for(ws.recv(), 20) == 'one two three'
        assert ws.close_code == 1000


by_itself('its own offer', compression='deflate')
by_itself('no takeover at the server', keeps=(False, True),
          **factory(server_no_context_takeover=True))
by_itself('no takeover at the client', keeps=(True, False),
          **factory(client_no_context_takeover=True))
by_itself('no takeover at all', keeps=(False, False),
          **factory(server_no_context_takeover=True, client_no_context_takeover=True))
by_itself('a window of its own', own_bits=9, **factory(client_max_window_bits=9))
for bits in range(8, 16):
    by_itself(f'a window of {bits} bits for the server', bits,
              **factory(server_max_window_bits=bits, client_max_window_bits=True))


@test('websockets agrees with build/server, and events arrive')
async def _(user):
    async with task_server.connect(user, compression='deflate') as ws:
        agreed, = ws.extensions
        assert agreed.local_no_context_takeover and agreed.remote_no_context_takeover
        await receive(ws, 'connected')
        await ws.send('{"type":"ping"}')
        await receive(ws, 'pong')
        event = {'task_id': 'a', 'text': 'of many words ' * 50}
        id_ = await task_server.publish(user, event)
        assert await receive(ws, 'task') == {'type': 'task', 'id': id_, 'data': event}


# -- all of it ------------------------------------------------------------------------------


async def main():
    global echo, octets, pieces, eager, wide, task_server
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(12))
    with Echo() as echo, Echo('--receive', '1') as octets, Echo('--receive', '97') as pieces, \
            Echo('--compress-from', '1', '--context-bytes', '0') as eager, \
            Echo('--context-bits', '15', '--context-bytes', '100000000') as wide, \
            Server('--drain', '0') as task_server:
        results = await run_all(abreast=12)
        for server in echo, octets, pieces, eager, wide, task_server:
            server.signal(signal.SIGTERM)
            if server.end() != 0:
                print(f'not ok - the server ends cleanly\n{server.output()}')
                results.append(False)
    finish(results)


asyncio.run(main())
