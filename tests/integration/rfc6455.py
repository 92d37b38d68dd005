"""RFC 6455 as a strict peer sees it: build/echo over real sockets, written from the RFC.

A number in brackets is that of the case of the Autobahn testsuite which judges the same.

A good row is what is sent and the frames that must come back, then the closing handshake. A bad
row says which byte breaks the rule: nothing may come before that byte, and on it, with nothing
sent behind, the close with its code. Both run whole, in the handshake's segment, octet by octet,
and against a server that reads octet by octet or, where there are many, in pieces. Whatever the
row, the server's end of file comes first, what is sent behind that is swallowed, and a reset is
always a failure."""

from concurrent.futures import ThreadPoolExecutor

from frames import *

FEW = 3000  # bytes that are worth a system call each

# -- the rows -----------------------------------------------------------------------------


def run_good(sent, answers, code):
    def finish(how, peer):
        try:
            peer.expect(answers)
            peer.expect_close(code)
            peer.expect_end()
        except (AssertionError, OSError) as error:
            raise AssertionError(f'{how}: {error}')

    with Peer(echo.port, sent) as peer:
        finish('with the handshake', peer)
    with Peer(echo.port) as peer:
        peer.send(sent)
        finish('whole', peer)
    with Peer((octets if len(sent) < FEW else pieces).port) as peer:
        peer.send(sent)
        finish('read in pieces', peer)
    if len(sent) < FEW:
        with Peer(echo.port) as peer:
            peer.send_octets(sent)
            finish('octet by octet', peer)


def good(number, sentence, sent, answers, code=1000):
    """code: what our close frame holds; None where it is empty; False where sent has one."""
    if code is not False:
        sent += close(code)
    case(f'{sentence} ({number})' if number else sentence, run_good, sent, answers,
         1000 if code is False else code)


def run_bad(before, broken, at, answers, code):
    def finish(how, peer, wanted=answers):
        try:
            peer.expect(wanted)
            peer.expect_close(code, broken=True)
            peer.expect_end()
        except (AssertionError, OSError) as error:
            raise AssertionError(f'{how}: {error}')

    sent = before + broken[:at]
    behind = broken[at:] + ping(b'ignored') + text(b'ignored') + LATE
    with Peer(echo.port, sent + behind) as peer:
        finish('with the handshake', peer)
    with Peer(echo.port) as peer:
        peer.send(sent + behind)
        finish('whole', peer)
    with Peer((octets if len(sent) < FEW else pieces).port) as peer:
        peer.send(sent + behind)
        finish('read in pieces', peer)
    with Peer(echo.port) as peer:
        peer.send(sent)
        finish('nothing behind the bad byte', peer)
    with Peer(echo.port) as peer:
        (peer.send_octets if len(sent) < FEW else peer.send)(sent[:-1])
        peer.expect(answers)
        peer.expect_nothing()
        peer.send(sent[-1:])
        finish('octet by octet', peer, [])


def bad(number, sentence, broken, at=None, before=b'', answers=(), code=1002):
    """at: how many bytes of `broken` break the rule; None: all."""
    at = len(broken) if at is None else at
    case(f'{sentence} closes with {code}' + (f' ({number})' if number else ''),
         run_bad, before, broken, at, list(answers), code)


# -- 1. framing ---------------------------------------------------------------------------

KINDS = [(1, 'text', TEXT, letters), (2, 'binary', BINARY, octets_of)]
for kind, word, opcode, payload_of in KINDS:
    for n, size in enumerate([0, 125, 126, 127, 128, 65535, 65536], 1):
        payload = payload_of(size)
        good(f'1.{kind}.{n}', f'{word} of {size} bytes is echoed', frame(opcode, payload),
             [(opcode, payload)])

# -- 2. pings and pongs -------------------------------------------------------------------

good('2.1', 'a ping without a payload is answered', ping(), [(PONG, b'')])
good('2.2', 'a ping with a text is answered with that', ping(b'a text'), [(PONG, b'a text')])
good('2.3', 'a ping with octets that are no text is answered with those', ping(b'\0\xff\xfe\x80'),
     [(PONG, b'\0\xff\xfe\x80')])
good('2.4, 2.6', 'a ping of 125 bytes is answered', ping(b'\xfe' * 125), [(PONG, b'\xfe' * 125)])
bad('2.5', 'a ping of 126 bytes', ping(b'\xfe' * 126), 2)
bad(None, 'a pong of 126 bytes', frame(PONG, b'\xfe' * 126), 2)
bad(None, 'a ping of 64 bits of length', frame(PING, b'x', bits=64), 2)
good('2.7', 'a pong that nobody asked for is no matter', frame(PONG), [])
good('2.8', 'nor is one with a payload', frame(PONG, b'unasked'), [])
good('2.9', 'a ping behind an unasked pong is answered', frame(PONG, b'unasked') + ping(b'asked'),
     [(PONG, b'asked')])
good('2.10, 2.11', 'ten pings are answered in their order',
     b''.join(ping(b'%d' % n) for n in range(10)), [(PONG, b'%d' % n) for n in range(10)])
good(None, 'pings, pongs and messages are answered in the order in which they came',
     ping(b'1') + text(b'2') + frame(PONG, b'3') + ping(b'4') + frame(BINARY, b'5') + ping(b''),
     [(PONG, b'1'), (TEXT, b'2'), (PONG, b'4'), (BINARY, b'5'), (PONG, b'')])

# -- 3. reserved bits ---------------------------------------------------------------------

FIRST = {'before': text(b'first'), 'answers': [(TEXT, b'first')]}
bad('3.1', 'reserved bit 3 on a text', text(b'x', rsv=1), 1)
bad('3.2, 3.3', 'reserved bit 2 on the second text', text(b'x', rsv=2), 1, **FIRST)
bad('3.4', 'reserved bits 2 and 3 on the second text', text(b'x', rsv=3), 1, **FIRST)
bad(None, 'reserved bit 1 on a text, as if it were compressed', text(b'x', rsv=4), 1)
bad('3.5', 'reserved bits 1 and 3 on a binary message', frame(BINARY, b'x', rsv=5), 1)
bad('3.6', 'reserved bits 1 and 2 on a ping', frame(PING, b'x', rsv=6), 1)
bad('3.7', 'all reserved bits on a close', frame(CLOSE, b'\x03\xe8', rsv=7), 1)
bad(None, 'a reserved bit on a pong', frame(PONG, rsv=1), 1)
bad(None, 'a reserved bit on a continuation', more(b'b', rsv=4), 1, before=text(b'a', fin=False))
bad(None, 'a reserved bit on an unfinished text', text(b'a', fin=False, rsv=4), 1)

# -- 4. reserved opcodes ------------------------------------------------------------------

for group, opcodes in [(1, range(3, 8)), (2, range(11, 16))]:
    for n, opcode in enumerate(opcodes, 1):
        bad(f'4.{group}.{n}', f'opcode {opcode}', frame(opcode), 1)
        bad(None, f'opcode {opcode} with a payload behind a text', frame(opcode, b'x'), 1, **FIRST)
        bad(None, f'opcode {opcode} unfinished', frame(opcode, b'x', fin=False), 1)
        bad(None, f'opcode {opcode} between fragments', frame(opcode, b'x'), 1,
            before=text(b'a', fin=False))

# -- 5. fragments -------------------------------------------------------------------------

for number, word, opcode in [('5.1', 'ping', PING), ('5.2', 'pong', PONG), (None, 'close', CLOSE)]:
    bad(number, f'a fragmented {word}', frame(opcode, b'x', fin=False) + more(b'y', fin=True), 1)
    bad(None, f'a fragmented {word} between fragments', frame(opcode, fin=False), 1,
        before=text(b'a', fin=False))
good('5.3-5.5', 'a text in two fragments is one message',
     text(b'one ', fin=False) + more(b'two', fin=True), [(TEXT, b'one two')])
good('5.6-5.8', 'a ping between two fragments is answered first',
     text(b'one ', fin=False) + ping(b'p') + more(b'two', fin=True),
     [(PONG, b'p'), (TEXT, b'one two')])
NOTHING = 'where there is nothing to continue'
for number, fin in [('5.9-5.11', True), ('5.12-5.14', False)]:
    word = 'a last continuation' if fin else 'a continuation'
    bad(number, f'{word} {NOTHING}', more(b'x', fin=fin) + text(b'y'), 1)
    bad(None, f'{word}, empty, {NOTHING}', more(fin=fin), 1)
    bad('5.15' if not fin else None, f'{word} behind a text in two fragments',
        more(b'x', fin=fin) + text(b'y'), 1,
        before=text(b'a', fin=False) + more(b'b', fin=True), answers=[(TEXT, b'ab')])
    bad({True: '5.17', False: '5.16'}[fin], f'{word} and a text, twice',
        (more(b'x', fin=fin) + text(b'y', fin=not fin)) * 2, 1)
bad('5.18', 'a text inside a text', text(b'b'), 1, before=text(b'a', fin=False))
bad(None, 'an unfinished text inside a text', text(b'b', fin=False), 1,
    before=text(b'a', fin=False))
bad(None, 'a binary message inside a text', frame(BINARY, b'b'), 1, before=text(b'a', fin=False))
bad(None, 'a text inside a binary message, behind a ping', text(b'b'), 1,
    before=frame(BINARY, b'', fin=False) + ping(b'p'), answers=[(PONG, b'p')])
FIVE = message(TEXT, [b'one ', b'two ', b'three ', b'four ', b'five'])
good('5.20', 'pings between five fragments are answered at once, each in its place',
     FIVE[0] + FIVE[1] + ping(b'p') + FIVE[2] + FIVE[3] + ping(b'q') + FIVE[4],
     [(PONG, b'p'), (PONG, b'q'), (TEXT, b'one two three four five')])
good(None, 'pongs and empty fragments between five fragments change nothing',
     b''.join(f + frame(PONG, b'u') + more() for f in FIVE[:4]) + FIVE[4],
     [(TEXT, b'one two three four five')])
good(None, 'two fragmented messages follow each other',
     b''.join(message(TEXT, [b'a', b'b']) + message(BINARY, [b'\xff', b'\xfe'])),
     [(TEXT, b'ab'), (BINARY, b'\xff\xfe')])


def pong_before_the_rest():
    """5.19: the rest of the message is sent only when the pong is there."""
    with Peer(echo.port) as peer:
        for n, part in enumerate(FIVE[:4]):
            peer.send(part + ping(b'%d' % n))
            peer.expect([(PONG, b'%d' % n)])
        peer.send(FIVE[4] + close(1000))
        peer.expect([(TEXT, b'one two three four five')])
        peer.expect_close(1000)
        peer.expect_end()


case('a ping between fragments is answered before the message is complete (5.19)',
     pong_before_the_rest)

# -- 6. UTF-8 -----------------------------------------------------------------------------


def spread(size, value):
    """A value in `size` bytes as UTF-8 would, allowed or not."""
    tail = [0x80 | value >> 6 * n & 0x3f for n in reversed(range(size - 1))]
    lead = value if size == 1 else 0xff00 >> size & 0xff | value >> 6 * (size - 1)
    return bytes([lead] + tail)


def bad_byte(payload):
    """The index of the first byte with which no text of RFC 3629 4 goes on; None: there is none;
    its length: it stops within a character."""
    at = 0
    while at < len(payload):
        lead = payload[at]
        size = 1 if lead < 0x80 else 2 if 0xc2 <= lead < 0xe0 else 3 if 0xe0 <= lead < 0xf0 else \
            4 if 0xf0 <= lead < 0xf5 else 0
        if size == 0:
            return at
        low = {0xe0: 0xa0, 0xf0: 0x90}.get(lead, 0x80)
        high = {0xed: 0x9f, 0xf4: 0x8f}.get(lead, 0xbf)
        for n in range(1, size):
            if at + n == len(payload):
                return at + n
            if not (low if n == 1 else 0x80) <= payload[at + n] <= (high if n == 1 else 0xbf):
                return at + n
        at += size
    return None


def judged(number, sentence, payload):
    """One text, in one frame and in frames of one octet, by what RFC 3629 says of it."""
    wrong = bad_byte(payload)
    try:
        payload.decode()
        assert wrong is None, sentence
    except UnicodeDecodeError:
        assert wrong is not None, sentence
    single = message(TEXT, pieces_of(payload, 1))
    if wrong is None:
        good(number, f'{sentence} is text', text(payload), [(TEXT, payload)])
        good(number, f'{sentence} is text, octets as fragments', b''.join(single),
             [(TEXT, payload)])
        return
    whole = len(header(TEXT, len(payload))) + min(wrong + 1, len(payload))
    bad(number, sentence, text(payload), whole, code=1007)
    wrong = min(wrong, len(payload) - 1)
    bad(number, f'{sentence}, octets as fragments,',
        single[wrong] + b''.join(single[wrong + 1:]), len(single[wrong]),
        before=b''.join(single[:wrong]), code=1007)


good('6.1.1', 'an empty text is text', text(b''), [(TEXT, b'')])
good('6.1.2', 'three empty fragments are an empty text',
     b''.join(message(TEXT, [b'', b'', b''])), [(TEXT, b'')])
good('6.1.3', 'empty fragments around a text add nothing',
     b''.join(message(TEXT, [b'', SCRIPT.encode(), b''])), [(TEXT, SCRIPT.encode())])

judged('6.2.1, 6.2.3', 'a text with characters of one to four bytes', SCRIPT.encode())
good('6.2.2', 'a text in a fragment a character', b''.join(message(TEXT, [
    c.encode() for c in SCRIPT])), [(TEXT, SCRIPT.encode())])
judged('6.2.4', 'another text', '\u0441\u043b\u043e\u0432\u043e \U0001f642'.encode())
judged('6.3.1, 6.3.2', 'a text with a surrogate in it', b'good ' + spread(3, 0xd800) + b' bad')

# Fail fast: the message is neither complete nor good any more.
GOOD, REST = SCRIPT.encode(), b' and the rest'
for name, wrong, at in [('beyond U+10FFFF', spread(4, 0x110000), 2),
                        ('a surrogate', spread(3, 0xdfff), 2), ('overlong', spread(2, 0x2f), 1),
                        ('overlong in three bytes', spread(3, 0x7ff), 2),
                        ('a byte of no character', b'\xff', 1)]:
    payload = GOOD + wrong + REST
    here = len(header(TEXT, len(payload))) + len(GOOD) + at
    bad('6.4.3, 6.4.4', f'{name} in the middle of a frame, at its byte', text(payload), here,
        code=1007)
    parts = message(TEXT, [GOOD, wrong, REST])
    bad('6.4.1', f'{name} in the second of three fragments, at its byte', parts[1] + parts[2],
        6 + at, before=parts[0], code=1007)
    parts = message(TEXT, [GOOD + wrong[:at - 1], wrong[at - 1:], REST])
    bad('6.4.2', f'{name} over two fragments, at its byte', parts[1] + parts[2], 7,
        before=parts[0], code=1007)
    bad(None, f'{name} in a frame that promises 64 MiB, at its byte',
        header(TEXT, 64 * MIB) + masked(GOOD + wrong[:at], MASK), code=1007)
    bad(None, f'{name} in an unfinished frame behind 70,000 good bytes, at its byte',
        text(letters(70000) + wrong + REST, fin=False), 14 + 70000 + at, code=1007)

for n, sample in enumerate(['\u03ba\u1f79', 'na\u00efve caf\u00e9', '\u0437\u0434\u0440\u0430',
                            '\u4f60\u597d', '\U0001d11e\U0010fffd'], 1):
    judged(f'6.5.{n}', f'{sample!a}', sample.encode())
SAMPLE = 'a\u00f1\u20ac\U0001d11e\u03c9'.encode()
for n in range(1, len(SAMPLE)):
    judged(f'6.6.{n}', f'a text cut behind {n} bytes,', SAMPLE[:n])

FIRSTS = [0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000]
LASTS = [0x7f, 0x7ff, 0xffff, 0x1fffff, 0x3ffffff, 0x7fffffff]
PAIRS = [0xd800, 0xdb7f, 0xdb80, 0xdbff]
classes = [
    ('6.7', 'the first character of its length,', [spread(n, FIRSTS[n - 1]) for n in range(1, 5)]),
    ('6.8', 'the first of a length too long,', [spread(n, FIRSTS[n - 1]) for n in (5, 6)]),
    ('6.9', 'the last character of its length,',
     [spread(n, LASTS[n - 1]) for n in range(1, 4)] + [spread(4, 0x10ffff)]),
    ('6.10', 'the last value of its length,', [spread(n, LASTS[n - 1]) for n in range(4, 7)]),
    ('6.11', 'a value at a boundary,',
     [spread(3, 0xd7ff), spread(3, 0xe000), spread(3, 0xfffd), spread(4, 0x10ffff),
      spread(4, 0x110000)]),
    ('6.12', 'a tail without a lead,',
     [b'\x80', b'\xbf', *((b'\x80\xbf' * 3)[:n] for n in range(2, 7)), bytes(range(0x80, 0xc0))]),
    ('6.13', 'a row of leads without their tails,',
     [b''.join(bytes([lead]) + b' ' for lead in range(first, last)) for first, last in
      [(0xc0, 0xe0), (0xe0, 0xf0), (0xf0, 0xf8), (0xf8, 0xfc), (0xfc, 0xfe)]]),
    ('6.14', 'a character without its last byte,',
     [spread(n, 0)[:-1] for n in range(2, 7)] +
     [spread(n, LASTS[n - 1])[:-1] for n in range(2, 7)]),
    ('6.15', 'a row of characters without their last bytes,',
     [b''.join(spread(n, LASTS[n - 1])[:-1] for n in range(2, 7))]),
    ('6.16', 'a byte of no character,', [b'\xfe', b'\xff', b'\xfe\xfe\xff\xff']),
    ('6.17', 'a slash in too many bytes,', [spread(n, 0x2f) for n in range(2, 7)]),
    ('6.18', 'the last value in one byte too many,',
     [spread(n + 1, LASTS[n - 1]) for n in range(1, 6)]),
    ('6.19', 'NUL in too many bytes,', [spread(n, 0) for n in range(2, 7)]),
    ('6.20', 'a surrogate,', [spread(3, value) for value in PAIRS + [0xdc00, 0xdf80, 0xdfff]]),
    ('6.21', 'two surrogates,',
     [spread(3, high) + spread(3, low) for high in PAIRS for low in (0xdc00, 0xdfff)]),
    ('6.22', 'a noncharacter,',
     [chr(plane << 16 | low).encode() for plane in range(17) for low in (0xfffe, 0xffff)]),
    ('6.23', 'a special character,', [chr(value).encode() for value in range(0xfff9, 0x10000)]),
    (None, 'a lead with a tail of another,',
     [b'\xe0\x9f', b'\xed\xa0', b'\xf0\x8f', b'\xf4\x90', b'\xc1\xbf', b'\xf5\x80', b'\xdfA']),
    (None, 'a byte order mark and more,', [b'\xef\xbb\xbftext']),
]
for number, word, payloads in classes:
    for n, payload in enumerate(payloads, 1):
        judged(number and f'{number}.{n}', f'{word} {payload.hex()[:40]}', payload)
good(None, 'what is no text is binary', frame(BINARY, bytes(range(256))),
     [(BINARY, bytes(range(256)))])
bad(None, 'the state of one text is not carried to the next', text(b'\x80'), before=text(b'a'),
    answers=[(TEXT, b'a')], code=1007)

# -- 7. closing ---------------------------------------------------------------------------

good('7.1.1', 'a message before the close is echoed', text(b'a'), [(TEXT, b'a')])
good('7.1.2', 'a second close is ignored', close(1000) + close(1001), [], False)
good('7.1.3', 'a ping behind the close is ignored', close(1000) + ping(b'p'), [], False)
good('7.1.4', 'a text behind the close is ignored', close(1000) + text(b'a'), [], False)
good('7.1.5', 'a close between fragments is answered, and the message is gone',
     text(b'a', fin=False) + close(1000) + more(b'b', fin=True), [], False)
good('7.1.6', 'of 256 KiB, a close and a ping the last is ignored',
     frame(BINARY, octets_of(256 * KIB)) + close(1000) + ping(), [(BINARY, octets_of(256 * KIB))],
     False)
good(None, 'what breaks every rule behind the close is ignored',
     close(1000) + b'\x7f\xff' * 40000, [], False)
good('7.3.1', 'a close without a payload is answered without one', b'', [], None)
bad('7.3.2', 'a close of one byte', frame(CLOSE, b'\x03'))
good('7.3.3', 'a close of a code alone is answered with it', b'', [])
good('7.3.4', 'a close with a reason is answered', close(1000, b'because'), [], False)
good('7.3.5', 'a close of 125 bytes is answered', close(1000, b'r' * 123), [], False)
good(None, 'a reason of 124 bytes of text is answered',
     close(1000, '\u20ac'.encode() * 40 + b'ab'), [], False)
bad('7.3.6', 'a close of 126 bytes', close(1000, b'r' * 124), 2)
for name, reason in [('that is not UTF-8', b'r\xff'), ('with a surrogate', spread(3, 0xd800)),
                     ('that stops within a character', b'r\xe2\x82'),
                     ('that is overlong', spread(2, 0x2f))]:
    bad('7.5.1', f'a close reason {name}', close(1000, reason), code=1007)

# RFC 6455 7.4 and the registry of its 11.7, where 1012 to 1014 stand today.
VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
for n, code in enumerate(VALID, 1):
    good(f'7.7.{n}', f'the close code {code} is answered with itself', b'', [], code)
for code in (1012, 1013, 1014):
    good(None, f'the close code {code} is answered with itself', b'', [], code)
INVALID = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
for n, code in enumerate(INVALID, 1):
    bad(f'7.9.{n}', f'the close code {code}', close(code))
bad('7.13.1', 'the close code 5000', close(5000))
bad('7.13.2', 'the close code 65535', close(65535))
bad(None, 'the close code 1015', close(1015))
bad(None, 'the close code 1, of which 1000 is not a prefix', close(1))
bad(None, 'an invalid close code before an invalid reason', close(999, b'\xff'))

# -- headers and masks: not judged by that suite ---------------------------------------------

for word, opcode in [('text', TEXT), ('binary message', BINARY), ('ping', PING), ('pong', PONG)]:
    bad(None, f'a {word} that is not masked', frame(opcode, b'a', mask=b''), 2)
bad(None, 'a close that is not masked', frame(CLOSE, b'\x03\xe8', mask=b''), 2)
bad(None, 'an empty text that is not masked', frame(TEXT, mask=b''), 2)
bad(None, 'a continuation that is not masked', more(b'b', fin=True, mask=b''), 2,
    before=text(b'a', fin=False))
for size, bits, at in [(0, 16, 4), (1, 16, 4), (125, 16, 4), (0, 64, 10), (125, 64, 10),
                       (126, 64, 10), (65535, 64, 10)]:
    bad(None, f'a length of {size} in {bits} bits', frame(BINARY, b'x' * size, bits=bits), at)
for name, size in [('2^63', 1 << 63), ('2^64 - 1', (1 << 64) - 1), ('2^63 + 1', (1 << 63) + 1)]:
    bad(None, f'a length of {name}', header(BINARY, size, bits=64) + b'x', 10)
for name, size in [('2^63 - 1', (1 << 63) - 1), ('2^32', 1 << 32),
                   ('64 MiB and a byte', 64 * MIB + 1)]:
    bad(None, f'a length of {name}', header(BINARY, size, bits=64) + b'x', 10, code=1009)
bad(None, 'a fragment that takes a message beyond 64 MiB', header(CONTINUATION, 64 * MIB), 10,
    before=frame(BINARY, b'x', fin=False), code=1009)

for name, mask in [('of zeros', bytes(4)), ('of ones', b'\xff' * 4), ('of one bit', b'\0\0\0\1'),
                   ('of four unlike bytes', b'\x01\x80\xfe\x3c')]:
    sizes = [*range(20), *range(60, 70), 125, 126, 131]
    good(None, f'a mask {name} is undone at every length and alignment',
         b''.join(frame(BINARY, octets_of(n), mask=mask) for n in sizes),
         [(BINARY, octets_of(n)) for n in sizes])
good(None, 'each frame has a mask of its own',
     text(b'one ', fin=False, mask=b'abcd') + frame(PING, b'p', mask=b'efgh') +
     more(b'two', fin=True, mask=b'ijkl'), [(PONG, b'p'), (TEXT, b'one two')])


def split_header(size):
    """Every split leaves the server time to read what stands before it."""
    payload = letters(size)
    sent = text(payload)
    with Peer(echo.port) as peer:
        for at in range(1, len(header(TEXT, size)) + 2):
            peer.send(sent[:at])
            time.sleep(0.003)
            peer.send(sent[at:])
            peer.expect([(TEXT, payload)])
        peer.leave()


for size in (5, 200, 70000):
    case(f'a text of {size} bytes is echoed wherever its header is split', split_header, size)

# -- ends ---------------------------------------------------------------------------------


def close_and_fin(code):
    with Peer(echo.port) as peer:
        peer.send(text(b'a') + close(code))
        peer.half_close()
        peer.expect([(TEXT, b'a')])
        peer.expect_close(code)
        assert peer.next() is None
        peer.expect_no_reset()


def fin(sent, answers):
    """A client that only ends its side still gets what it is owed, then the end."""
    with Peer(echo.port) as peer:
        peer.send(sent)
        peer.half_close()
        peer.expect(answers)
        assert peer.next() is None
        peer.expect_no_reset()


def fin_behind(broken, code):
    with Peer(echo.port) as peer:
        peer.send(broken)
        peer.half_close()
        peer.expect_close(code, broken=True)
        assert peer.next() is None
        peer.expect_no_reset()


def long_talker(sent, answers, code, broken):
    """Behind the close come MiBs that the server must swallow."""
    parts = pieces_of(frame(BINARY, octets_of(8 * MIB)), 100000)  # the server waits five seconds
    with Peer(echo.port) as peer:
        peer.send(sent)
        for part in parts:
            peer.send(part)
        peer.expect(answers)
        peer.expect_close(code, broken)
        peer.expect_end()


case('a close and a FIN in one breath are answered with a close and a FIN', close_and_fin, 1000)
case('so they are without a code', close_and_fin, None)
case('a FIN behind a message is answered with the message and the end', fin,
     text(b'a') + ping(b'p'), [(TEXT, b'a'), (PONG, b'p')])
case('a FIN within a header is answered with the end', fin, text(b'a') + b'\x81', [(TEXT, b'a')])
case('a FIN within a payload is answered with the end', fin, text(b'abc')[:-1], [])
case('a FIN between fragments is answered with the end', fin,
     text(b'a', fin=False) + ping(b'p'), [(PONG, b'p')])
case('a FIN behind what breaks a rule is answered with 1002 and the end', fin_behind, b'\x81\x01',
     1002)
case('a FIN behind what is no text is answered with 1007 and the end', fin_behind, text(b'\xff'),
     1007)
alone = len(tests)
case('8 MiB behind a close are swallowed', long_talker, text(b'a') + close(1000), [(TEXT, b'a')],
     1000, False)
case('8 MiB behind what breaks a rule are swallowed', long_talker, text(b'a') + b'\x83\x80',
     [(TEXT, b'a')], 1002, True)

alone = [tests.pop() for _ in tests[alone:]]

# -- 9. sizes, 10. fragments ------------------------------------------------------------------


def sized(opcode, payload_of, size, fragment=None, chop=None):
    """One message, the server's answer read while it is still being sent."""
    payload = payload_of(size)
    sent = frame(opcode, payload) if fragment is None else \
        b''.join(message(opcode, pieces_of(payload, fragment)))

    def talk(peer):
        for part in [sent] if chop is None else pieces_of(sent, chop):
            peer.send(part)
        peer.send(close(1000))

    with Peer(echo.port) as peer:
        talking = threading.Thread(target=talk, args=(peer,))
        talking.start()
        try:
            peer.expect([(opcode, payload)])
            peer.expect_close(1000)
        finally:
            talking.join()
        peer.expect_end()


def round_trips(opcode, payload_of, size):
    payload = payload_of(size)
    sent = frame(opcode, payload)
    with Peer(echo.port) as peer:
        for _ in range(1000):
            peer.send(sent)
            peer.expect([(opcode, payload)])
        peer.leave()


def many_pings(count):
    """Pings that are read no faster than they are answered."""
    sent = b''.join(ping(b'%125d' % n) for n in range(count)) + close(1000)
    with Peer(echo.port) as peer:
        talking = threading.Thread(target=peer.send, args=(sent,))
        talking.start()
        try:
            peer.expect((PONG, b'%125d' % n) for n in range(count))
            peer.expect_close(1000)
        finally:
            talking.join()
        peer.expect_end()


for kind, word, opcode, payload_of in KINDS:
    for n, size in enumerate([64, 256, 1024, 4096, 8192, 16384], 1):
        case(f'{word} of {size} KiB is echoed (9.{kind}.{n})', sized, opcode, payload_of,
             size * KIB)
    for n, fragment in enumerate([64 << 2 * n for n in range(9)], 1):
        case(f'{word} of 4 MiB in fragments of {fragment} bytes is echoed (9.{kind + 2}.{n})',
             sized, opcode, payload_of, 4 * MIB, fragment)
    for n, chop in enumerate([64, 128, 256, 512, 1024, 2048], 1):
        case(f'{word} of 1 MiB written {chop} bytes at a time is echoed (9.{kind + 4}.{n})',
             sized, opcode, payload_of, MIB, None, chop)
    for n, size in enumerate([0, 16, 64, 256, 1024, 4096], 1):
        case(f'{word} of {size} bytes is echoed a thousand times (9.{kind + 6}.{n})',
             round_trips, opcode, payload_of, size)
    case(f'{word} in 65,537 fragments is echoed', sized, opcode, payload_of, 65537, 1)
    case(f'{word} of 65,536 bytes in chops of 997 is echoed (1.{kind}.8)', sized, opcode,
         payload_of, 65536, None, 997)
case('text of 65,536 bytes in frames of 1,300 is echoed (10.1.1)', sized, TEXT, letters, 65536,
     1300)
case('20,000 pings are answered in their order', many_pings, 20000)


def limited():
    """Where there are limits: what keeps them is echoed, what passes them is 1009 at the header."""
    with Echo('--max-message', '1000', '--max-frames', '3') as server:
        for name, sent, answers, broken, at in [
                ('a message of all the limit', frame(BINARY, b'x' * 1000),
                 [(BINARY, b'x' * 1000)], header(BINARY, 1001), 4),
                ('fragments of all the limit',
                 b''.join(message(BINARY, [b'x' * 500, b'x' * 500, b''])), [(BINARY, b'x' * 1000)],
                 header(TEXT, 65536), 10),
                ('a fragment too long', text(b'x' * 900, fin=False), [], header(0, 101), 2),
                ('a frame too many', text(b'a', fin=False) + more() + ping() + more(),
                 [(PONG, b'')], more(fin=True), 2)]:
            with Peer(server.port) as peer:
                peer.send(sent)
                peer.expect(answers)
                peer.expect_nothing()
                peer.send(broken[:at])
                try:
                    peer.expect_close(1009, broken=True)
                    peer.expect_end()
                except (AssertionError, OSError) as error:
                    raise AssertionError(f'{name}: {error}')


case('what passes the limit of bytes or of frames closes with 1009 at its header', limited)

# -- all of it ----------------------------------------------------------------------------


async def main():
    global echo, octets, pieces
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(12))
    with Echo() as echo, Echo('--receive', '1') as octets, Echo('--receive', '97') as pieces:
        results = await run_all(abreast=12)
        tests.extend(alone)
        results += await run_all(abreast=1)
        for server in echo, octets, pieces:
            server.signal(signal.SIGTERM)
            if server.end() != 0:
                print(f'not ok - the server ends cleanly\n{server.output()}')
                results.append(False)
    finish(results)


asyncio.run(main())
