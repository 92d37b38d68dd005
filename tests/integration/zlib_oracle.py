"""Section 10 beside zlib: 10,000 messages, random and as workers write them, at every level and
window, with context takeover and without. What the one writes the other reads, both ways; and it
is as small. taskws.h is built as a library and called through ctypes; zlib is Python's own."""

import ctypes
import json
import os
import random
import subprocess
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, 'build', 'test')
TAIL = b'\0\0\xff\xff'
MORE, FULL, END, ERROR = range(4)


def library():
    os.makedirs(WORK, exist_ok=True)
    path = os.path.join(WORK, 'deflate.so')
    source = '#define TASKWS_IMPLEMENTATION\n#define TASKWS_NO_SERVER\n#include "taskws.h"\n'
    subprocess.run(['gcc', '-std=c99', '-O2', '-shared', '-fPIC', '-I', ROOT, '-x', 'c', '-o', path,
                    '-', '-pthread'], input=source, text=True, check=True)
    found = ctypes.CDLL(path)
    found.tws_inflate_decode.restype = ctypes.c_size_t
    found.tws_deflate_bound.restype = ctypes.c_size_t
    return found


taskws = library()
size = ctypes.c_size_t


class Event(ctypes.Structure):
    _fields_ = [('type', ctypes.c_int), ('data', ctypes.c_void_p), ('len', size),
                ('reason', ctypes.c_char_p), ('offset', ctypes.c_uint64)]


class Inflater:
    """Reads messages as the receiving end of a WebSocket does, into a ring."""

    def __init__(self, bits, takeover):
        self.bits, self.takeover = bits, takeover
        self.z = ctypes.create_string_buffer(16384)
        self.window = ctypes.create_string_buffer(256)
        self.ring = ctypes.create_string_buffer(1 << bits)
        taskws.tws_inflate_ring(self.window, self.ring, bits)

    def message(self, packed, pieces):
        event, out = Event(), b''
        if not self.takeover:
            taskws.tws_inflate_ring(self.window, self.ring, self.bits)
        taskws.tws_inflate_begin(self.z, self.window)
        while packed:
            piece = packed[:pieces]
            used = taskws.tws_inflate_decode(self.z, piece, size(len(piece)), ctypes.byref(event))
            packed = packed[used:]
            out += ctypes.string_at(event.data, event.len) if event.len else b''
            assert event.type in (MORE, FULL), (event.reason, event.offset)
        while True:
            taskws.tws_inflate_finish(self.z, ctypes.byref(event))
            out += ctypes.string_at(event.data, event.len) if event.len else b''
            assert event.type in (END, FULL), (event.reason, event.offset)
            if event.type == END:
                return out


class Deflater:
    def __init__(self, bits, level, takeover):
        self.z = ctypes.create_string_buffer(256)
        self.memory = ctypes.create_string_buffer((6 if takeover else 4) << bits)
        self.scratch = ctypes.create_string_buffer(65536)
        taskws.tws_deflate_init(self.z, self.memory, bits, level, takeover)

    def message(self, text):
        room = taskws.tws_deflate_bound(size(len(text)))
        out, n = ctypes.create_string_buffer(room), size()
        status = taskws.tws_deflate_encode(self.z, self.scratch, text, size(len(text)), True, out,
                                           size(room), ctypes.byref(n))
        assert status == 0, status
        return out.raw[:n.value]


class Zlib:
    """The same by zlib, as the usual WebSocket libraries use it."""

    def __init__(self, bits, level, takeover, strategy=zlib.Z_DEFAULT_STRATEGY):
        self.new = lambda: (zlib.compressobj(level, zlib.DEFLATED, -max(bits, 9), 8, strategy),
                            zlib.decompressobj(-bits))
        self.takeover = takeover
        self.writer, self.reader = self.new()

    def write(self, text):
        if not self.takeover:
            self.writer = self.new()[0]
        packed = self.writer.compress(text) + self.writer.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4]

    def read(self, packed):
        if not self.takeover:
            self.reader = self.new()[1]
        return self.reader.decompress(packed + TAIL)


# -- messages -----------------------------------------------------------------------------


def event(r):
    return {'task_id': '%08x-%04x-%012x' % (r.getrandbits(32), r.getrandbits(16), r.getrandbits(48)),
            'status': r.choice(['queued', 'running', 'completed', 'failed', 'retrying']),
            'progress': r.randrange(101),
            'message': '%s %d of 500' % (r.choice(['Downloading', 'Transcoding', 'Zażółć', '状態']),
                                         r.randrange(500)),
            'timestamp': '2026-11-%02dT%02d:%02d:%02d.%03dZ' % (
                r.randrange(1, 29), r.randrange(24), r.randrange(60), r.randrange(60),
                r.randrange(1000)),
            'worker': 'worker-%d' % r.randrange(16)}


def dump(value):
    return json.dumps(value, separators=(',', ':'), ensure_ascii=False).encode()


def nested(r, depth):
    if depth == 0 or r.random() < 0.3:
        return r.choice([None, True, r.random() * 1e6, r.getrandbits(40), 'x' * r.randrange(300), ''])
    if r.random() < 0.5:
        return [nested(r, depth - 1) for _ in range(r.randrange(6))]
    return {'key%d' % r.randrange(9): nested(r, depth - 1) for _ in range(r.randrange(6))}


def message(r):
    kind = r.randrange(20)
    if kind < 10:
        return dump(event(r))
    if kind < 13:
        return dump([event(r) for _ in range(r.randrange(40))])
    if kind < 16:
        return dump(nested(r, 5))
    if kind == 16:
        return r.randbytes(r.randrange(3000))
    if kind == 17:
        return bytes(r.choices(b'ab{}":,', k=r.randrange(3000)))
    if kind == 18:
        return r.randbytes(r.randrange(1, 400)) * r.randrange(1, 60)
    return b''


def document(r, want):
    """JSON of about so many bytes."""
    text = dump(event(r))
    while len(text) < want:
        text += b',' + dump(event(r))
    return text[:want]


# -- tests --------------------------------------------------------------------------------

tests = []


def test(sentence):
    return lambda function: tests.append((sentence, function))


def everything():
    for bits in range(8, 16):
        for level in range(1, 10):
            yield bits, level


MESSAGES = 10000 // 72 + 1  # at each level and window


@test('what is written, zlib reads, through a window of the size agreed on')
def _():
    for bits, level in everything():
        for takeover in (False, True):
            r = random.Random('%d %d' % (bits, level))
            writer, reader = Deflater(bits, level, takeover), Zlib(bits, 6, takeover)
            for _ in range(MESSAGES):
                text = message(r)
                packed = writer.message(text)
                assert reader.read(packed) == text, (bits, level, takeover, text[:80])


@test('what zlib writes is read, whole and in pieces')
def _():
    strategies = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE,
                  zlib.Z_FIXED]
    for bits, level in everything():
        for takeover in (False, True):
            r = random.Random('%d %d' % (bits, level))
            writer = Zlib(bits, level, takeover, strategies[(bits + level) % 5])
            reader = Inflater(max(bits, 9), takeover)  # zlib's smallest to write with is 9
            for n in range(MESSAGES):
                text = message(r)
                got = reader.message(writer.write(text), 1 << 30 if n % 3 else r.randrange(1, 200))
                assert got == text, (bits, level, takeover, text[:80])


@test('a stored message of zlib is read')
def _():
    r = random.Random(0)
    writer, reader = Zlib(15, 0, True), Inflater(15, True)
    for _ in range(300):
        text = message(r) * r.randrange(1, 9)
        assert reader.message(writer.write(text), 1 << 30) == text


@test('what is written is within 5 % of what zlib writes at level 6, for 200 bytes to 64 KiB')
def _():
    for want in (200, 2048, 65536):
        for takeover in (False, True):
            r = random.Random(want)
            ours, theirs = Deflater(15, 6, takeover), Zlib(15, 6, takeover)
            texts = [document(r, want) for _ in range(200 if want < 65536 else 5)]
            mine, its = sum(len(ours.message(t)) for t in texts), sum(len(theirs.write(t)) for t in texts)
            print('%6d bytes%s: %.1f %% of the text, zlib %.1f %%' % (
                want, ' with takeover' if takeover else '', 100 * mine / sum(map(len, texts)),
                100 * its / sum(map(len, texts))))
            assert mine <= its * 1.05, (want, takeover, mine, its)


def main():
    failed = 0
    for sentence, function in tests:
        try:
            function()
            print('ok - ' + sentence, flush=True)
        except AssertionError as error:
            failed += 1
            print('not ok - %s: %s' % (sentence, error), flush=True)
    print('%d passed, %d failed' % (len(tests) - failed, failed))
    return failed > 0


raise SystemExit(main())
