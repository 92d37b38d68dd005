"""taskws.h beside Python: json, UTF-8, base64, hashlib and PyJWT judge the same thousands of texts,
made by a grammar and then spoilt. Where the two may differ, the reason has a name and a predicate
below; any other difference fails. build/test/gcc/oracle gives our verdicts (tests/oracle.c).

TASKWS_SEED chooses other texts, TASKWS_ROUNDS more of them. Of Project Wycheproof, the vectors of
HMAC-SHA256 are judged as a Debian package has them, and the cases of JWS with HS256 in tokens of
our own; with TASKWS_WYCHEPROOF=DIR, a checkout, all of both as they stand there."""

import base64
import binascii
import collections
import glob
import hashlib
import hmac
import random
import warnings
from datetime import datetime as real_datetime, timezone

import jwt.api_jwt

from harness import *

SEED = os.environ.get('TASKWS_SEED') or '1'
ROUNDS = int(os.environ.get('TASKWS_ROUNDS') or 1)
ORACLE = os.path.join(ROOT, 'build', 'test', 'gcc', 'oracle')
NOW = 1700000000
MAX_DEPTH = 128
KEY = b'a secret of at least thirty-two bytes'
print(f'TASKWS_SEED={SEED}')
sys.setrecursionlimit(5000)  # for texts that are deeper than we take


def ours(lines):
    """A verdict for each line: a word, then bytes or numbers."""
    text = ''.join(' '.join(a if isinstance(a, str) else str(a) if isinstance(a, int) else
                            a.hex() or '-' for a in line) + '\n' for line in lines)
    done = subprocess.run([ORACLE], input=text, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts = done.stdout.splitlines()
    assert len(verdicts) == len(lines)
    return verdicts


def spoil(r, data, alphabet):
    """One to three edits of some bytes: other, more, fewer, cut, doubled."""
    data = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        at = r.randrange(len(data) + 1)
        extra = r.choice(alphabet)
        kind = r.randrange(6)
        if kind == 0:
            data[at:at + 1] = extra
        elif kind == 1:
            data[at:at] = extra
        elif kind == 2:
            del data[at:at + r.choice((1, 1, 2, 5))]
        elif kind == 3 and r.random() < 0.3:
            del data[at:]
        elif kind == 4 and data:
            data[at % len(data)] ^= 1 << r.randrange(8)
        else:
            data[at:at] = data[at:at + r.randrange(9)]
    return bytes(data)


def tally(name, counts):
    print(f'# {name}: ' + ', '.join(f'{n} {what}' for what, n in sorted(counts.items())))


# -- JSON ----------------------------------------------------------------------------------


class Members(list):
    """An object with all of its members, also those given twice."""


class Number(str):
    """A number as it is written."""


def strict_json(data):
    """Python's reader without what it adds to RFC 8259: NaN and Infinity, other encodings."""
    def constant(word):
        raise ValueError(word)
    return json.loads(data.decode('utf-8'), object_pairs_hook=Members, parse_int=Number,
                      parse_float=Number, parse_constant=constant)


def tokens_of(value):
    """As the oracle writes them."""
    if isinstance(value, Members):
        return '{' + ''.join('k' + hex_of(k) + tokens_of(v) for k, v in value) + '}'
    if isinstance(value, list):
        return '[' + ''.join(map(tokens_of, value)) + ']'
    if isinstance(value, Number):
        return 'n' + value.encode().hex()
    if isinstance(value, str):
        return 's' + hex_of(value)
    return {True: 't', False: 'f', None: 'z'}[value]


def hex_of(text):
    return text.encode('utf-8').hex() or '-'


def depth_of(value):
    inner = [v for _, v in value] if isinstance(value, Members) else value
    return 1 + max(map(depth_of, inner), default=0) if isinstance(value, list) else 0


def has_lone_surrogate(value):
    if isinstance(value, Members):
        return any(has_lone_surrogate(part) for pair in value for part in pair)
    if isinstance(value, list):
        return any(map(has_lone_surrogate, value))
    return isinstance(value, str) and any('\ud800' <= c <= '\udfff' for c in value)


# What Python takes and we refuse: both are left to the reader, RFC 8259 8.2 and 9.
JSON_DIFFERENCES = {
    'a lone surrogate': has_lone_surrogate,
    'deeper than 128': lambda value: depth_of(value) > MAX_DEPTH,
}

JSON_BYTES = b'{}[]:,"\\ \t\r\n0123456789.eE+-truefalsn/*\'\0\x1f\x7f\x80\xff'
JSON_ALPHABET = [bytes([c]) for c in JSON_BYTES] + [
    b'\\u', b'\\ud83d', b'\\ude00', b'\\u00e9', '\u00e9'.encode(), '\U0001f680'.encode(), b'NaN',
    b'\xed\xa0\x80', b'\xef\xbb\xbf', b'Infinity', b'null', b'{"a":', b'[[[', b'1e999', b'\xc0\x80',
    b'\xe2\x80\xa8']


def some_string(r):
    parts = r.choices(['', 'a', 'key', '\\n', '\\u0000', '\\ud83d\\ude80', '\\ud83d', '\\uDE80',
                       '\\"', '\\/', '\u0436', '\U0001f680', ' ', '\\uFFFF', 'x' * 40, '\u2028'],
                      [9, 9, 9, 2, 2, 2, .2, .2, 2, 2, 2, 2, 2, 1, 1, 1], k=r.randrange(4))
    return '"' + ''.join(parts) + '"'


def some_number(r):
    whole = r.choice(['0', '7', '10', '9223372036854775808', '1' * 400])
    return r.choice(['', '-']) + whole + r.choice(['', '', '.0', '.25']) + r.choice(
        ['', '', 'e5', 'E-07', 'e+999'])


def some_json(r, depth=0):
    blank = r.choice(['', '', '', ' ', '\n\t', '\r '])
    kind = r.randrange(6 if depth < 5 else 4)
    if kind == 4:
        items = [some_json(r, depth + 1) for _ in range(r.randrange(4))]
        return '[' + blank + ','.join(items) + blank + ']'
    if kind == 5:
        return '{' + ','.join(blank + some_string(r) + blank + ':' + some_json(r, depth + 1)
                              for _ in range(r.randrange(4))) + blank + '}'
    return blank + (some_string(r) if kind == 0 else some_number(r) if kind == 1 else
                    r.choice(['true', 'false', 'null'])) + blank


def json_texts(r):
    for _ in range(8000 * ROUNDS):
        text = some_json(r).encode()
        yield text if r.random() < 0.3 else spoil(r, text, JSON_ALPHABET)
    for depth in (1, 127, 128, 129, 300):
        for begin, end in (b'[', b']'), (b'{"a":', b'}'), (b'[{"":', b'}]'):
            yield begin * depth + b'0' + end * depth
            yield begin * depth


def judge_json(text, got, counts):
    try:
        value = strict_json(text)
    except (ValueError, RecursionError):
        assert got[0] == '!', (text, got)
        counts['refused'] += 1
        return
    if got[0] == '=':
        assert not any(is_so(value) for is_so in JSON_DIFFERENCES.values()), (text, got)
        assert got[1:] == tokens_of(value), (text, got, tokens_of(value))
        counts['accepted'] += 1
        return
    names = [name for name, is_so in JSON_DIFFERENCES.items() if is_so(value)]
    assert names, ('Python accepts', text, got)
    counts[names[0]] += 1


@test('the JSON reader accepts what json accepts, token by token, but for the differences named')
async def _(user):
    counts = collections.Counter()
    texts = list(json_texts(random.Random(SEED + 'json')))
    for text, got in zip(texts, ours([('json', text) for text in texts])):
        judge_json(text, got, counts)
    tally('json', counts)
    assert counts['accepted'] > 1000 and counts['refused'] > 1000
    assert all(counts[name] > 5 for name in JSON_DIFFERENCES), counts


# -- UTF-8 ---------------------------------------------------------------------------------


def first_bad(data):
    """The offset of the first byte that cannot stand; whether the text is whole."""
    try:
        data.decode('utf-8')
        return len(data), True
    except UnicodeDecodeError as e:
        if e.reason == 'unexpected end of data':
            return len(data), False
        return (e.start if e.reason == 'invalid start byte' else e.end), False


@test('UTF-8 breaks at the byte where Python breaks it, without one difference')
async def _(user):
    r = random.Random(SEED + 'utf8')
    alphabet = [bytes([c]) for c in b'a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1'
                b'\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xf8\xff']
    letters = [chr(c) for c in (0x41, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000,
                                0x10ffff)]
    texts = [a + b for a in map(lambda n: bytes([n]), range(256)) for b in alphabet]
    texts += [bytes(r.choices(b''.join(alphabet), k=r.randrange(6))) for _ in range(8000 * ROUNDS)]
    for _ in range(8000 * ROUNDS):
        text = ('x' * r.randrange(40) + ''.join(r.choices(letters, k=r.randrange(30)))).encode()
        texts.append(text if r.random() < 0.3 else spoil(r, text, alphabet))
    counts = collections.Counter()
    for text, got in zip(texts, ours([('utf8', text) for text in texts])):
        at, whole = first_bad(text)
        assert got == f'{at}{"+" if whole else ""}', (text, got, at, whole)
        counts['whole' if whole else 'cut' if at == len(text) else 'bad'] += 1
    tally('utf8', counts)
    assert min(counts.values()) > 500 and len(counts) == 3, counts


# -- base64 --------------------------------------------------------------------------------


def from_base64(text, url):
    """None where it is none. Python's strict mode, and of its own what that lets pass: tail bits,
    which RFC 4648 3.5 lets a decoder refuse, and we do: one text for every value."""
    if url:
        if re.search(rb'[^A-Za-z0-9_-]', text) or len(text) % 4 == 1:
            return None
        text = text.replace(b'-', b'+').replace(b'_', b'/') + b'=' * (-len(text) % 4)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None


@test('base64 and base64url decode as binascii in its strict mode does, but for tail bits')
async def _(user):
    r = random.Random(SEED + 'base64')
    alphabet = [bytes([c]) for c in b'ABab01+/-_=\n \0.\xff'] + [b'==', b'\r\n']
    texts = []
    for _ in range(12000 * ROUNDS):
        url = r.random() < 0.5
        data = r.randbytes(r.randrange(12))
        text = base64.urlsafe_b64encode(data).rstrip(b'=') if url else base64.b64encode(data)
        texts.append((url, text if r.random() < 0.3 else spoil(r, text, alphabet)))
    counts = collections.Counter()
    for (url, text), got in zip(texts, ours([('url' if u else 'base64', t) for u, t in texts])):
        data = from_base64(text, url)
        assert got == ('!' if data is None else '=' + (data.hex() or '-')), (url, text, got, data)
        counts['refused' if data is None else 'accepted'] += 1
    tally('base64', counts)
    assert min(counts.values()) > 1000 and len(counts) == 2, counts


@test('both alphabets are written as base64 writes them')
async def _(user):
    r = random.Random(SEED + 'encode')
    blocks = [r.randbytes(n % 300) for n in range(3000 * ROUNDS)]
    for data, got in zip(blocks, ours([('encode', data) for data in blocks])):
        plain, url = base64.b64encode(data), base64.urlsafe_b64encode(data).rstrip(b'=')
        assert got == f'{plain.hex() or "-"} {url.hex() or "-"}', (data, got)


# -- digests -------------------------------------------------------------------------------


@test('SHA-1, SHA-256 and HMAC-SHA256 are those of hashlib')
async def _(user):
    r = random.Random(SEED + 'digest')
    pairs = [(r.randbytes(r.randrange(150)), r.randbytes(r.randrange(700)))
             for _ in range(3000 * ROUNDS)]
    for (key, data), got in zip(pairs, ours([('digest', key, data) for key, data in pairs])):
        want = (hashlib.sha1(data), hashlib.sha256(data), hmac.new(key, data, 'sha256'))
        assert got == ' '.join(h.hexdigest() for h in want), (key, data, got)


# -- tokens --------------------------------------------------------------------------------


class FrozenDatetime(real_datetime):
    @classmethod
    def now(cls, tz=None):
        return real_datetime.fromtimestamp(NOW, timezone.utc)


def theirs(token):
    """What PyJWT makes of a token: its claims, or the exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return jwt.decode(token, KEY, algorithms=['HS256'], leeway=30, audience='me',
                              issuer='joe', options={'require': ['exp', 'sub']})
    except Exception as e:  # some of its refusals are TypeErrors and OverflowErrors
        return e


def urlsafe(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=')


def dots(*parts):
    return b'.'.join(parts)


def tagged(*parts):
    """Rightly signed as they stand, whatever they are."""
    signed = dots(*parts)
    return dots(signed, urlsafe(hmac.new(KEY, signed, 'sha256').digest()))


def sign(header, payload):
    return tagged(urlsafe(header), urlsafe(payload))


class Taken:
    """A token's parts as strictly as they can be read; None where that fails."""

    def __init__(self, token):
        self.token = token
        self.parts = token.split(b'.')
        self.spelt = len(self.parts) == 3 and all(
            from_base64(part, True) is not None for part in self.parts)
        read = [self.read(part) for part in (self.parts + [b'', b''])[:2]]
        self.header, self.payload = read
        self.claims = collections.defaultdict(list)
        for name, value in self.payload or ():
            self.claims[name].append(value)

    def read(self, part):
        try:
            value = strict_json(from_base64(part, True))
        except (ValueError, AttributeError, RecursionError):
            return None
        good = isinstance(value, Members) and not any(f(value) for f in JSON_DIFFERENCES.values())
        return value if good else None

    def names(self, name):
        return [v for k, v in self.header or () if k == name]

    def one(self, name):
        return self.claims[name][0] if len(self.claims[name]) == 1 else None


def plain_date(value):
    """Seconds as issuers write them: digits, perhaps a fraction, no exponent, in 64 bits."""
    return isinstance(value, Number) and re.fullmatch(r'-?\d+(\.\d+)?', value) is not None and (
        -1 << 63) <= int(value.split('.')[0]) < 1 << 63


def good_subject(value):
    if isinstance(value, Number):
        return re.fullmatch(r'-?\d+', value) is not None and (-1 << 63) <= int(value) < 1 << 63
    return isinstance(value, str) and value != '' and '\0' not in value


READ_CLAIMS = ('sub', 'exp', 'nbf', 'iat', 'iss', 'aud', 'scope')

# What PyJWT takes and we refuse.
STRICTER = {
    # RFC 7515 2: base64url is without padding, white space or other characters; 3.5 of RFC 4648
    'another spelling of base64url': lambda t: not t.spelt,
    # RFC 8259: NaN, UTF-16, a lone surrogate, depth
    'no strict JSON object': lambda t: t.spelt and (t.header is None or t.payload is None),
    # RFC 7515 4, RFC 7519 4: names MUST be unique; a parser may take the last, and we do not
    'a member twice': lambda t: any(len(t.names(n)) > 1 for n in ('alg', 'kid', 'crit')) or any(
        len(t.claims[n]) > 1 for n in READ_CLAIMS),
    # RFC 7515 4.1.11: what is not understood and critical MUST be refused; not every PyJWT looks
    'crit': lambda t: len(t.names('crit')) == 1,
    'alg written with escapes': lambda t: b'"HS256"' not in (from_base64(t.parts[0], True) or b''),
    'a kid above 128 bytes': lambda t: any(len(str(k)) > 60 for k in t.names('kid')),
    # RFC 7519 2: a NumericDate is a number
    'a date that is no plain number': lambda t: any(
        t.claims[n] and not plain_date(t.one(n)) for n in ('exp', 'nbf', 'iat')),
    'a subject that names nobody': lambda t: not good_subject(t.one('sub')),
    'a scope that is no string': lambda t: t.claims['scope'] and (
        not isinstance(t.one('scope'), str) or isinstance(t.one('scope'), Number)),
    'a token above 8,192 bytes': lambda t: len(t.token) > 8192,
}

# What we take and PyJWT refuses.
LAXER = {
    # RFC 7797 3: b64 counts only where crit lists it; and a token with crit is refused before
    'b64 that crit does not list': lambda t: t.names('b64') != [],
    # RFC 7519 4.1.3: one of the audience's values must be ours; what else stands there is not ours
    'an audience of mixed types': lambda t: isinstance(t.one('aud'), list),
}

GOOD_CLAIMS = {'sub': '"2"', 'exp': str(NOW + 60), 'iss': '"joe"', 'aud': '"me"'}
CLAIM_VALUES = {
    'sub': ['2', '-5', '"a\\/b\\u00e9"', '""', 'null', '2.0', '2e0', '["2"]', '"x\\u0000"', 'true',
            '9223372036854775808', '-9223372036854775808', '"\\ud800"', '"\u0436"'],
    'exp': [str(NOW - 29), str(NOW - 30), str(NOW - 31), str(NOW + 1) + '.5', '"1700000060"',
            '1e999', 'NaN', '1.7e9', '17e8', '-1', '0', 'null', 'true', '[1]',
            '18446744073709551616', '9223372036854775807', str(NOW - 30) + '.9', '"x"', 'Infinity'],
    'nbf': [str(NOW + 30), str(NOW + 31), '0', '-1', '"1"', 'null', '1e3', '1.5', '{}', '1e999',
            'false'],
    'iat': [str(NOW + 30), str(NOW + 31), '1', '"1"', 'null', '1.5', '2e9', '[]', '-1.5'],
    'iss': ['"jim"', '"joe "', '["joe"]', 'null', '1', '"\\u006aoe"'],
    'aud': ['["me"]', '["you","me"]', '["you"]', '[]', 'null', '"ME"', '[1,"me"]', '{"me":1}',
            '[["me"]]', '3'],
    'scope': ['"publish"', '"publish admin"', '""', 'null', '["publish"]', '1', '"\\u0070ublish"'],
    'jti': ['"1"', '1', 'null'],
}
HEADERS = ['{"alg":"HS256","typ":"JWT"}'] * 60 + [
    '{"alg":"none"}', '{"alg":"None"}', '{"alg":"RS256"}', '{"alg":"HS384"}', '{"alg":"hs256"}',
    '{"typ":"JWT"}', '{"alg":"HS256 "}', '{"alg":"HS256\\u0000"}', '{"alg":"HS\\u003256"}',
    '{"\\u0061lg":"HS256"}', '{}', '[]', '{"alg":null}', '{"alg":["HS256"]}',
    '{"alg":"none","alg":"HS256"}', '{"alg":"HS256","alg":"none"}',
    '{"alg":"HS256","crit":["exp"],"exp":1}', '{"alg":"HS256","crit":[]}',
    '{"alg":"HS256","crit":null}', '{"alg":"HS256","kid":"../"}',
    '{"alg":"HS256","kid":"%s"}' % ('k' * 200), '{"alg":"HS256","kid":1}',
    '{"alg":"HS256","kid":"a","kid":"b"}', '{"alg":"HS256","kid":null}',
    '{"alg":"HS256","b64":false}', '{"alg":"HS256","b64":true}',
    '{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"http://x/","x5u":"x"}',
    '{"alg":"HS256","x":NaN}', '{"alg":"HS256","x":"\\ud800"}', '\ufeff{"alg":"HS256"}',
    ' {"alg" : "HS256" }\n']


def some_payload(r):
    claims = [list(pair) for pair in GOOD_CLAIMS.items()]
    for _ in range(r.choice((0, 1, 1, 1, 1, 2))):
        name = r.choice(list(CLAIM_VALUES))
        value = r.choice(CLAIM_VALUES[name])
        kind = r.randrange(10)
        if kind == 0:
            claims.append([name, value])  # perhaps twice
        elif kind == 1:
            claims = [c for c in claims if c[0] != name]
        else:
            claims = [c for c in claims if c[0] != name] + [[name, value]]
    r.shuffle(claims)
    return '{' + ','.join(f'"{n}":{v}' for n, v in claims) + '}'


def some_token(r):
    header, payload = r.choice(HEADERS).encode(), some_payload(r).encode()
    kind = r.random()
    if kind < 0.12:
        payload = spoil(r, payload, JSON_ALPHABET)
    elif kind < 0.2:
        header = spoil(r, header, JSON_ALPHABET)
    elif kind < 0.23:
        encoding = r.choice(['utf-16', 'utf-16-le', 'utf-32', 'utf-8-sig'])
        payload = payload.decode().encode(encoding)
    elif kind < 0.25:
        payload = payload[:-1] + b' ' * 7000 + b'}'
    token = sign(header, payload)
    if kind > 0.85:
        token = spoil(r, token, [bytes([c]) for c in b'A_-+/=.\n \0Zz9\xff'] + [b'==', b'.e30.'])
    if 0.8 < kind < 0.85:
        part = token.split(b'.')
        part[r.randrange(3)] += r.choice([b'=', b'==', b'\n', b' ', b'%3D', b'!'])
        token = b'.'.join(part)
    return token


def judge_token(token, got, counts):
    t, claims = Taken(token), theirs(token)
    refused = isinstance(claims, Exception)
    if got[0] == '=' and not refused:
        sub, expires, scope = got[1:].split()
        want = t.one('sub')
        want = str(int(want)) if isinstance(want, Number) else want
        assert sub == hex_of(want), (token, got, claims)
        assert int(expires) == int(t.one('exp').split('.')[0]), (token, got, claims)
        assert scope == hex_of(claims.get('scope', '')), (token, got, claims)
        counts['accepted'] += 1
    elif got[0] != '=' and refused:
        counts['refused'] += 1
    else:
        table = LAXER if refused else STRICTER
        names = [name for name, is_so in table.items() if is_so(t)]
        assert names, (token, t.header, t.payload, got, claims)
        counts[names[0]] += 1


@test('tokens are taken and refused as PyJWT does, but for the differences named')
async def _(user):
    r = random.Random(SEED + 'jwt')
    tokens = [some_token(r) for _ in range(12000 * ROUNDS)]
    counts = collections.Counter()
    jwt.api_jwt.datetime = FrozenDatetime
    try:
        for token, got in zip(tokens, ours([('jwt', KEY, NOW, token) for token in tokens])):
            judge_token(token, got, counts)
    finally:
        jwt.api_jwt.datetime = real_datetime
    tally('jwt', counts)
    assert counts['accepted'] > 1000 and counts['refused'] > 1000, counts
    assert all(counts[name] > 0 for name in [*STRICTER, *LAXER] if name != 'crit'), counts


# -- Project Wycheproof: JWS in our tokens, HMAC as Debian has it, a checkout as it stands -----

OK, MISSING, MALFORMED, ALGORITHM, SIGNATURE = 'ok', '1', '2', '3', '5'  # as the oracle says it

# number  in json_web_signature_test.json; None: none, but what 367 and 370 are named for
# twin    what the token was changed from, and as little as that; it holds
Case = collections.namedtuple('Case', 'number verdict what token twin key', defaults=(None, KEY))


def jws_cases():
    h, p = urlsafe(b'{"alg":"HS256","kid":"k1"}'), urlsafe(b'task')
    good = tagged(h, p)
    t = good.split(b'.')[2]
    h2, p2 = urlsafe(b'{"alg":"HS256","kid":"k2"}'), urlsafe(b'mask')
    none = urlsafe(b'{"alg":"none","kid":"k1"}')
    signature = {'protected': h.decode(), 'header': {'cty': 'x'}, 'signature': t.decode()}
    general = json.dumps({'payload': p.decode(), 'signatures': [signature]}).encode()

    # RFC 7515 7.1: three parts and two dots; 5.2, 8: the tag is that of the two parts as they came
    yield Case(1, OK, 'header, payload and tag', good)
    yield Case(2, SIGNATURE, 'a tag of another first character', dots(h, p, b'A' + t[1:]), good)
    yield Case(3, SIGNATURE, 'an empty tag', dots(h, p, b''), good)
    yield Case(4, MALFORMED, 'no tag and no dot before it', dots(h, p), good)
    yield Case(5, SIGNATURE, 'a letter of the payload changed', dots(h, p2, t), tagged(h, p2))
    yield Case(6, SIGNATURE, 'the payload emptied', dots(h, b'', t), tagged(h, b''))
    yield Case(7, MALFORMED, 'no payload and no dot behind it', dots(h, t), good)
    yield Case(8, SIGNATURE, 'a letter of the kid changed', dots(h2, p, t), tagged(h2, p))
    yield Case(9, MALFORMED, 'an empty header', dots(b'', p, t), good)
    yield Case(10, MALFORMED, 'no header and no dot behind it', dots(p, t), good)
    yield Case(11, MALFORMED, 'the payload between two dots', dots(b'', p, b''), good)
    yield Case(12, MALFORMED, 'the payload alone', p, good)
    yield Case(13, MISSING, 'nothing', b'', good)
    yield Case(14, MALFORMED, 'a dot behind the tag', dots(good, b''), good)
    yield Case(15, MALFORMED, 'a fourth part', dots(good, p), good)
    # RFC 8725 3.1, 3.2: the key has an algorithm; RFC 7515 7.2: another serialization, not ours
    yield Case(16, ALGORITHM, 'alg is none, and no tag', dots(none, p, b''), good)
    yield Case(17, MALFORMED, 'the same parts as a JSON object', general, good)

    # What is printed in an RFC: A.1 of 7515. And a longer text, not all of it ASCII.
    key = base64.urlsafe_b64decode('AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0'
                                   'iPS4hcgUuTwjAzZr1Z9CAow==')
    claims = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
    printed = dots(urlsafe(b'{"typ":"JWT",\r\n "alg":"HS256"}'), urlsafe(claims),
                   b'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk')
    prose = '\u201cAs far as I can see,\u201d said the clerk, \u201cit\u2019s done.\u201d ' * 3
    kid = b'{"alg":"HS256","kid":"5f0c1a2e-9b7d-4e36-8a41-c2d3e4f50617"}'
    yield Case(348, OK, 'the example of RFC 7515 A.1', printed, key=key)
    yield Case(352, OK, 'prose of a payload, and a UUID of a kid', sign(kid, prose.encode()))

    # RFC 7515 2: base64url, no `=`, no line breaks, white space or other characters. Of the tags of
    # two payloads that were searched for, the first three bytes are 0, or 255.
    zeros, ones = tagged(h, urlsafe(b'46864625')), tagged(h, urlsafe(b'714433'))
    swapped = sign(b'{"kid":"k1","alg":"HS256"}', b'task')
    yield Case(357, OK, 'kid before alg', swapped)
    yield Case(358, OK, 'a tag that begins with AAAA', zeros)
    yield Case(359, OK, 'a tag that begins with ____', ones)
    yield Case(360, MALFORMED, 'spaces before the tag', dots(h, p, b'    ' + t), good)
    yield Case(361, MALFORMED, '? before the tag', dots(h, p, b'?' + t), good)
    yield Case(362, MALFORMED, '? behind the tag', dots(h, p, t + b'?'), good)
    yield Case(363, MALFORMED, '? for a zero', zeros.replace(b'.AAAA', b'.?AAA'), zeros)
    yield Case(364, MALFORMED, '? for each _', ones.replace(b'.____', b'.????'), ones)
    # Signed as they stand: nothing but the spelling is wrong. 367 and 370 are 357 to the byte.
    yield Case(365, MALFORMED, 'spaces behind the header', tagged(h + b'    ', p), good)
    yield Case(366, MALFORMED, '#### behind the header', tagged(h + b'####', p), good)
    yield Case(367, OK, 'labelled invalid, for a padding it has not; RFC 7515 2', swapped)
    yield Case(None, MALFORMED, 'the header padded', tagged(h + b'=', p), good)
    yield Case(368, MALFORMED, 'spaces before the payload', tagged(h, b'    ' + p), good)
    yield Case(369, MALFORMED, '#### before the payload', tagged(h, b'####' + p), good)
    yield Case(370, OK, 'labelled invalid, for a padding it has not; RFC 7515 2', swapped)
    yield Case(None, MALFORMED, 'the payload padded', tagged(h, p + b'=='), good)
    yield Case(371, MALFORMED, '? before the payload', tagged(h, b'?' + p), good)
    # The tag is the twin's: who skips what is not base64url and encodes again would take them.
    yield Case(372, MALFORMED, 'labelled valid, a ? in the header; RFC 7515 2, 5.2 step 2',
               dots(h[:-1] + b'?' + h[-1:], p, t), good)
    yield Case(373, MALFORMED, 'labelled valid, a ? in the payload; RFC 7515 2, 5.2 step 6',
               dots(h, p + b'?', t), good)
    # RFC 4648 3.5: bits that are left over are zero. Mg is `2`, and Mh would be.
    byte = tagged(h, b'Mg')
    yield Case(374, MALFORMED, 'a bit left over, the tag without', byte.replace(b'Mg', b'Mh'), byte)
    yield Case(375, MALFORMED, 'a bit left over, the tag with it', tagged(h, b'Mh'), byte)
    # RFC 8259 2: white space is insignificant.
    spaces, lines = b'{ "alg" : "HS256" , "kid" : "k1" }', b'{"alg":"HS256",\n\t"kid":"k1"}'
    yield Case(376, OK, 'spaces between the members of the header', sign(spaces, b'task'))
    yield Case(377, OK, 'a line break and a tab there', sign(lines, b'task'))


# The labels that RFC 7515 contradicts, as their cases say.
CONTRADICT = (367, 370, 372, 373)


@test('what Wycheproof tries with JWS and HS256 is judged by RFC 7515, in tokens of our own')
async def _(user):
    cases = list(jws_cases())
    numbers = [c.number for c in cases if c.number]
    assert numbers == [*range(1, 18), 348, 352, *range(357, 378)] and len(numbers) == 40
    for c, got in zip(cases, ours([('jws', c.key, c.token) for c in cases])):
        assert got == c.verdict, (c, got)
        assert (c.twin is None) == (got == OK) and c.twin != c.token, c
    holds = [(c.key, c.token if c.verdict == OK else c.twin) for c in cases]
    for c, got in zip(cases, ours([('jws', key, token) for key, token in holds])):
        assert got == OK, (c, got)
    for c, got in zip(cases, ours([('jws', key[:-1], token) for key, token in holds])):
        assert got == SIGNATURE, (c, got)
    tally('jws', collections.Counter('accepted' if c.verdict == OK else 'refused' for c in cases))


def blobs(data):
    """Those of a .blb file: numbers of seven bits a byte, each further byte's counted from where the
    shorter ones end; how many blobs come first for later reference, those, then all in order, each
    its length doubled and its bytes, or its place among the first, doubled, plus one."""
    at = 0

    def number():
        nonlocal at
        value = data[at] & 127
        while data[at] & 128:
            at += 1
            value = (value + 1 << 7) + (data[at] & 127)
        at += 1
        return value

    def take(n):
        nonlocal at
        at += n
        return data[at - n:at]

    first = [take(number()) for _ in range(number())]
    while at < len(data):
        n = number()
        yield first[n >> 1] if n & 1 else take(n >> 1)


PACKAGED = glob.glob('/usr/share/cargo/registry/hmac-*/tests/data/wycheproof-sha256.blb')

if PACKAGED:
    @test("HMAC-SHA256 gives the tags of Debian's copy of Wycheproof, which are whole or cut")
    async def _(user):
        with open(PACKAGED[0], 'rb') as file:
            flat = list(blobs(file.read()))
        vectors = list(zip(flat[::3], flat[1::3], flat[2::3]))
        assert len(vectors) > 60 and len(flat) % 3 == 0, len(flat)
        lines = [('digest', key, message) for key, message, _ in vectors]
        for (key, message, tag), got in zip(vectors, ours(lines)):
            assert got.split()[2][:2 * len(tag)] == tag.hex(), (key.hex(), message.hex())
        assert {len(tag) for _, _, tag in vectors} == {16, 32}
        tally('wycheproof hmac', {'packaged': len(vectors)})


def wycheproof(name):
    path = os.path.join(os.environ['TASKWS_WYCHEPROOF'], 'testvectors_v1', name)
    with open(path) as file:
        return json.load(file)['testGroups']


if os.environ.get('TASKWS_WYCHEPROOF'):
    @test("HMAC-SHA256 gives the tags of Wycheproof, and only those, also cut to 128 bits")
    async def _(user):
        groups = wycheproof('hmac_sha256_test.json')
        vectors = [(g['tagSize'] // 4, t) for g in groups for t in g['tests']]
        lines = [('digest', bytes.fromhex(t['key']), bytes.fromhex(t['msg'])) for _, t in vectors]
        for (digits, t), got in zip(vectors, ours(lines)):
            valid = got.split()[2][:digits] == t['tag']
            assert valid == (t['result'] == 'valid'), t['tcId']
        tally('wycheproof hmac', {'vectors': len(vectors)})

    @test('JWS with HS256 are judged as in Wycheproof, but where that contradicts RFC 7515')
    async def _(user):
        groups = wycheproof('json_web_signature_test.json')
        vectors = [(g['private'], t) for g in groups for t in g['tests']
                   if g['private'].get('kty') == 'oct']
        texts = [t['jws'] if isinstance(t['jws'], str) else json.dumps(t['jws'])
                 for _, t in vectors]
        keys = [base64.urlsafe_b64decode(key['k'] + '==') for key, _ in vectors]
        lines = [('jws', key, text.encode()) for key, text in zip(keys, texts)]
        same = {c.number: c.verdict for c in jws_cases()}
        counts = collections.Counter()
        for (_, t), got in zip(vectors, ours(lines)):
            id, right = t['tcId'], (got == OK) == (t['result'] == 'valid')
            assert right == (id not in CONTRADICT), (id, t['comment'], got)
            assert got == same.get(id, got), (id, t['comment'], got)
            counts[t['result'] if right else 'contradict the RFC'] += 1
        tally('wycheproof jws', counts)
        assert counts['contradict the RFC'] == len(CONTRADICT)


finish(asyncio.run(run_all(abreast=1)))
