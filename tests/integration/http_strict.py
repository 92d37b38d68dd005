"""HTTP/1.1 and the WebSocket handshake, strict, on the wire of build/server: RFC 9112, 9110, 6455.

A row is a sentence, the bytes of a client, and the answers: of each its status, its error word and
whether the connection goes on behind it. Behind every row's bytes comes one request more. Where the
connection goes on, that one is answered too; where it ends, nothing more is, which is what a
smuggled request would hope for.

Each row runs whole, byte by byte, and cut in two at every position (long ones at a few). Between
two pieces stands the answer to a question on another connection: the server has one thread and
takes what comes in its order, so it has read the piece by then, and no clock is asked."""

import fcntl
import socket
import struct
import termios
from collections import namedtuple

from harness import *

TASKS = PREFIX + '/tasks/'
KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='  # RFC 6455 1.3
GOOD, WORKS = token('2'), worker()
CLOSE_FRAME = b'\x88\x82\0\0\0\0' + struct.pack('>H', 1000)
LAST = b'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
ORIGINS = 'https://app.example, http://localhost:3000'

server = None
Row = namedtuple('Row', 'name data answers')
rows = []


def row(name, data, answers):
    rows.append(Row(name, data.encode('latin-1') if isinstance(data, str) else data, answers))


def get(fields='', target='/health'):
    return f'GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n'


def post(fields, body=''):
    """To a path that takes no POST: what belongs to the body shows in what follows it."""
    return f'POST /health HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}'


def chunked(body, fields=''):
    return post('Transfer-Encoding: chunked\r\n' + fields, body)


def own(target, fields=''):
    """As user 2."""
    return get(f'Authorization: Bearer {GOOD}\r\n{fields}', target)


def upgrade(fields='', target=TASKS + '2', upgrade='websocket', connection='Upgrade', version='13',
            key=KEY, method='GET', http='HTTP/1.1'):
    """A handshake; None leaves a field out. Without a token it is accepted and waits for one."""
    lines = [('Upgrade', upgrade), ('Connection', connection), ('Sec-WebSocket-Version', version),
             ('Sec-WebSocket-Key', key)]
    return (f'{method} {target} {http}\r\nHost: x\r\n' +
            ''.join(f'{name}: {value}\r\n' for name, value in lines if value is not None) +
            f'{fields}\r\n')


OK, NO_POST = '200 keep', '405 method_not_allowed keep'
BAD, UPGRADE, OPEN = '400 bad_request close', '426 bad_request keep', '101 1000'
TOO_BIG, FOREIGN = '413 message_too_big close', '101 forbidden_origin 4403'

# -- request lines, RFC 9112 3 --------------------------------------------------------------

for line, answers in [
        ('GET /health HTTP/1.1', OK),
        ('GET /health?a=b&c=?/ HTTP/1.1', OK),
        # 9.1 wants 501 for a method that nobody knows, 405 for one that this path does not take.
        # 405 for both: its Allow says what would have been right.
        ('BREW /health HTTP/1.1', NO_POST),
        ('get /health HTTP/1.1', NO_POST),
        ('DELETE /health HTTP/1.1', NO_POST),
        ('TRACE /health HTTP/1.1', NO_POST),
        ('HEAD /health HTTP/1.1', '200 head keep'),
        ('HEAD /nothing HTTP/1.1', '404 head keep'),
        ('GET /health HTTP/1.0', '200 close'),
        ('GET /health HTTP/1.9', OK),  # 2.5: as 1.1
        ('GET /health HTTP/2.0', '505 bad_request close'),
        ('GET /health HTTP/0.9', BAD),
        ('GET /health', BAD),
        ('GET  /health HTTP/1.1', BAD),
        ('GET /health  HTTP/1.1', BAD),
        ('GET /health HTTP/1.1 ', BAD),
        (' GET /health HTTP/1.1', BAD),
        ('GET\t/health HTTP/1.1', BAD),
        ('GET /heal th HTTP/1.1', BAD),
        ('GET /health http/1.1', BAD),
        ('GET /health HTTP/1.01', BAD),
        ('GET /health HTTP/+1.1', BAD),
        ('GET /health HTTP/1', BAD),
        ('GET /health\0 HTTP/1.1', BAD),
        ('GET /h\xe9alth HTTP/1.1', BAD),
        ('GET /health#top HTTP/1.1', BAD),
        ('G@T /health HTTP/1.1', BAD),
        ('/health', BAD),
        # targets, 3.2
        ('GET http://x/health HTTP/1.1', OK),
        ('GET HTTP://other.example:80/health?a HTTP/1.1', OK),  # 3.2.2: its host, not Host's
        ('GET https://x/health HTTP/1.1', OK),
        ('GET http://x HTTP/1.1', '200 keep'),
        ('GET http://u:p@x/health HTTP/1.1', BAD),
        ('GET http:///health HTTP/1.1', BAD),
        ('GET http://x:99999/health HTTP/1.1', BAD),
        ('GET ftp://x/health HTTP/1.1', BAD),
        ('GET file:///etc/passwd HTTP/1.1', BAD),
        ('GET health HTTP/1.1', BAD),
        ('GET ?a HTTP/1.1', BAD),
        ('GET * HTTP/1.1', BAD),
        # What the server as a whole can do is asked of no path here, and CONNECT of a proxy.
        ('OPTIONS * HTTP/1.1', '404 not_found keep'),
        ('OPTIONS http://x HTTP/1.1', '404 not_found keep'),
        ('CONNECT x:80 HTTP/1.1', '404 not_found keep'),
        ('CONNECT x HTTP/1.1', BAD),
        ('CONNECT /health HTTP/1.1', BAD),
        ('GET x:80 HTTP/1.1', BAD)]:
    row(f'request line {line!r}', f'{line}\r\nHost: x\r\n\r\n', answers)

row('HTTP/0.9 itself', 'GET /health\r\n', BAD)
row('a keep-alive of HTTP/1.0', 'GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', OK)
row('an upgrade of HTTP/1.0 means nothing',
    'GET /health HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n', '200 close')

# -- before the request line ------------------------------------------------------------------

row('one empty line before is forgiven, 2.2', '\r\n' + get(), OK)
row('an empty line behind a body is forgiven, 2.2',
    post('Content-Length: 2\r\n', 'hi\r\n') + get(), f'{NO_POST}, {OK}')
for name, data in [
        ('two empty lines', '\r\n\r\n' + get()), ('an LF', '\n' + get()), ('a CR', '\r' + get()),
        ('a line of words', 'garbage\r\n' + get()), ('a space', ' ' + get()),
        ('a NUL', '\0' + get()), ('a byte order mark', '\xef\xbb\xbf' + get()),
        ('a TLS hello', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03' + get()),
        ('a Redis command', '*1\r\n$4\r\nPING\r\n'), ('a greeting of SSH', 'SSH-2.0-x\r\n'),
        ('a PROXY line', 'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n' + get()),
        ('an answer', 'HTTP/1.1 200 OK\r\n\r\n')]:
    row('before the request: ' + name, data, BAD)
row('the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '505 bad_request close')

# -- field lines, RFC 9112 5 ------------------------------------------------------------------

for fields, answers in [
        ('A: b\r\n', OK), ('A:b\r\n', OK), ('A:\t b \t\r\n', OK), ('A:\r\n', OK),
        ('A: \xe9\xff\r\n', OK), ('!#$%&\'*+-.^_`|~: x\r\n', OK),
        (': b\r\n', BAD), ('A : b\r\n', BAD), ('A\t: b\r\n', BAD), ('A b: c\r\n', BAD),
        ('A\r\n', BAD), ('A[]: b\r\n', BAD), ('\xe9: b\r\n', BAD),
        ('A: b\r\n c\r\n', BAD), ('A: b\r\n\tc\r\n', BAD), (' A: b\r\n', BAD),
        ('A: b\r\n \r\n', BAD),
        ('A: b\nC: d\r\n', BAD), ('A: b\n', BAD), ('A: b\rC: d\r\n', BAD), ('A: b\r\r\n', BAD),
        ('A: b\0\r\n', BAD), ('A\0: b\r\n', BAD), ('A: \x01\r\n', BAD), ('A: \x7f\r\n', BAD),
        ('A: b\x0b\r\n', BAD),
        ('Host: x\r\n', BAD), ('Host: other\r\n', BAD), ('host: x\r\n', BAD)]:
    row(f'fields {fields!r}', get(fields), answers)
row('a first line of white space hides no field', 'GET /health HTTP/1.1\r\n \r\nHost: x\r\n\r\n', BAD)
row('lines that end in LF', 'GET /health HTTP/1.1\nHost: x\n\n', BAD)
row('lines that end in CR', 'GET /health HTTP/1.1\rHost: x\r\r', BAD)
row('a head that ends in LF', 'GET /health HTTP/1.1\r\nHost: x\r\n\n', BAD)
row('no Host', 'GET /health HTTP/1.1\r\n\r\n', BAD)
row('no Host but in the target', 'GET http://x/health HTTP/1.1\r\n\r\n', BAD)  # 3.2
for host in ['', 'x:80', 'x:', '[::1]:80', 'a,b!$&']:  # RFC 3986 3.2.2 takes much
    row(f'Host {host!r}', f'GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n', OK)
for host in ['a b', 'u@x', 'x/y', 'x:y', 'x:1:2', 'x:65536', '[::1', ':80', 'x\ty', 'x#']:
    row(f'Host {host!r}', f'GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n', BAD)

# -- Content-Length, RFC 9112 6.3 -------------------------------------------------------------

for length in ['-5', '+5', '5,5', '5, 5', '1_0', '0x5', '5.0', '5 5', '5;', '"5"', '', '\xb2', 'five',
               '18446744073709551616', '9' * 60, '\x0b5', '5\x0b']:
    row(f'Content-Length {length!r}', post(f'Content-Length: {length}\r\n', 'hello'), BAD)
row('a Content-Length of 2^64-1', post('Content-Length: 18446744073709551615\r\n'), TOO_BIG)
row('a Content-Length above the limit', post('Content-Length: 65537\r\n'), TOO_BIG)
row('a body by its length', post('Content-Length: 5\r\n', 'hello'), NO_POST)
row('a length with zeros before it', post('Content-Length: 005\r\n', 'hello'), NO_POST)
row('a body that looks like a request', post(f'Content-Length: {len(get())}\r\n', get()), NO_POST)
row('a GET with a body', get('Content-Length: 5\r\n') + 'hello', OK)
# The same length twice is one length to every reader; RFC 9110 8.6 leaves it to us.
row('a length twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'), NO_POST)
row('two lengths', post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello'), BAD)
row('two lengths, far apart', post('Content-Length: 0\r\nA: b\r\ncontent-length: 5\r\n', 'hello'), BAD)
row('a length with a space before its colon', post('Content-Length : 5\r\n', 'hello'), BAD)
row('a length on a folded line', post('Content-Length:\r\n 5\r\n', 'hello'), BAD)
row('a length behind a bare CR', post('A: b\rContent-Length: 5\r\n', 'hello'), BAD)

# -- Transfer-Encoding, RFC 9112 6.1 ----------------------------------------------------------

NOTHING = '0\r\n\r\n'
row('a coding in any case', post('transfer-ENCODING: ChunkeD\r\n', NOTHING), NO_POST)
for coding in ['xchunked', 'chunkedx', 'chunked, identity', 'identity', 'gzip', 'chunked, chunked',
               'chunked, gzip, chunked', 'chunked;a=b', '"chunked"', 'chun ked', '', '\x0bchunked',
               'chunked\x0b', '\x0cchunked', 'chunked\0', '\xa0chunked', 'identity, chunked, identity']:
    row(f'coding {coding!r}', post(f'Transfer-Encoding: {coding}\r\n', NOTHING), BAD)
for coding in 'gzip, chunked', 'identity, chunked':
    row(f'coding {coding!r}', post(f'Transfer-Encoding: {coding}\r\n', NOTHING),
        '501 bad_request close')
CHUNKED = 'Transfer-Encoding: chunked\r\n'
for name, fields in [
        ('a length before a coding', 'Content-Length: 5\r\n' + CHUNKED),
        ('a length behind a coding', CHUNKED + 'Content-Length: 5\r\n'),
        ('a length of nothing and a coding', 'Content-Length: 0\r\n' + CHUNKED),
        ('a coding twice', CHUNKED + CHUNKED),
        ('a coding and another one', CHUNKED + 'Transfer-Encoding: identity\r\n'),
        ('another coding and one', 'Transfer-Encoding: identity\r\n' + CHUNKED),
        ('a coding with a space before its colon', 'Transfer-Encoding : chunked\r\n'),
        ('a coding on a folded line', 'Transfer-Encoding:\r\n chunked\r\n'),
        ('a coding behind a bare CR', 'A: b\rTransfer-Encoding: chunked\r\n'),
        ('a coding behind a bare LF', 'A: b\nTransfer-Encoding: chunked\r\n'),
        ('a coding behind white space', ' Transfer-Encoding: chunked\r\n'),
        ('a coding whose name has a NUL', 'Transfer-Encoding\0: chunked\r\n')]:
    row(name, post(fields, NOTHING), BAD)
row('a name that is almost that of the coding is another field',
    post('Transfer_Encoding: chunked\r\nContent-Length: 5\r\n', NOTHING), NO_POST)
row('a coding in HTTP/1.0', 'POST /health HTTP/1.0\r\n' + CHUNKED + '\r\n' + NOTHING, BAD)

# -- chunks, RFC 9112 7.1 ---------------------------------------------------------------------

for body in ['0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n6\r\n world\r\n00\r\n\r\n',
             'A\r\n0123456789\r\n0\r\n\r\n', '0000000000000005\r\nhello\r\n0\r\n\r\n',
             '5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', '5 ;a\r\nhello\r\n0\r\n\r\n',
             '0\r\nA: b\r\nC:\r\n\r\n', '0\r\nContent-Length: 5\r\n\r\n',
             '0\r\nTransfer-Encoding: identity\r\n\r\n', '1\r\n\r\r\n0\r\n\r\n']:
    row(f'chunks {body!r}', chunked(body), NO_POST)
for body in ['0x5\r\nhello\r\n', 'x\r\n', '\r\nhello\r\n', ';a\r\n', '+5\r\nhello\r\n', '-1\r\n',
             '-0\r\n\r\n', ' 5\r\nhello\r\n', '5 \r\nhello\r\n', '5 5\r\n', '5_0\r\n', '1_0\r\n', '5,0\r\n',
             '5.0\r\n', '5g\r\n', '5\0\r\n', '5\x0b\r\n', '\xb2\r\n', '5\nhello\n0\n\n', '5\rhello\r\n',
             '5\r\nhello0\r\n\r\n', '5\r\nhello\n0\r\n\r\n', '5\r\nhello\r0\r\n\r\n', '0\n\n', '0\r\n\n',
             '10000000000000000\r\n', '00000000000000005\r\nhello\r\n', 'f' * 17 + '\r\n', '9' * 60 + '\r\n',
             '5;a\nb\r\nhello\r\n0\r\n\r\n', '5;a\rb\r\n', '5;\0\r\n', '0\r\n: b\r\n\r\n',
             '0\r\nA : b\r\n\r\n', '0\r\nA\r\n\r\n', '0\r\n A: b\r\n\r\n', '0\r\nA: b\nC: d\r\n\r\n',
             '0\r\nA: b\r\n c\r\n\r\n', '0\r\nA: \0\r\n\r\n']:
    row(f'chunks {body!r}', chunked(body), BAD)
row('a chunk of 2^64-1 bytes', chunked('ffffffffffffffff\r\n'), TOO_BIG)
row('a chunk above the limit', chunked('10001\r\n'), TOO_BIG)
row('chunks above the limit together', chunked('ffff\r\n' + 'a' * 65535 + '\r\n2\r\n'), TOO_BIG)
row('chunks that fill the limit', chunked('ffff\r\n' + 'a' * 65535 + '\r\n1\r\nb\r\n0\r\n\r\n'), NO_POST)
row('a size line without an end', chunked('5;' + 'a' * 300 + '\r\nhello\r\n0\r\n\r\n'), BAD)
row('trailers without an end', chunked('0\r\n' + 'A: b\r\n' * 1500 + '\r\n'), BAD)

# -- Expect, RFC 9110 10.1.1 ------------------------------------------------------------------

EXPECT = 'Expect: 100-continue\r\n'
row('100-continue whose body is there already', post(EXPECT + 'Content-Length: 2\r\n', 'hi'), NO_POST)
row('100-continue of a body that is too big', post(EXPECT + 'Content-Length: 65537\r\n'), TOO_BIG)
row('100-continue without a body', get(EXPECT), OK)
row('100-continue in HTTP/1.0', 'POST /health HTTP/1.0\r\nContent-Length: 2\r\n' + EXPECT + '\r\nhi',
    '405 method_not_allowed close')
row('another expectation is not met, and no harm', get('Expect: the-unexpected\r\n'), OK)

# -- pipelines and the connection's life, RFC 9112 9.3 ------------------------------------------

row('three requests, in order', get() + get(target='/nothing') + post('Content-Length: 2\r\n', 'hi'),
    f'{OK}, 404 not_found keep, {NO_POST}')
row('HEAD among others', get() + 'HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n' + get(),
    f'{OK}, 200 head keep, {OK}')
row('a refused request ends the pipeline', get() + get('A : b\r\n') + get(), f'{OK}, {BAD}')
row('so does a refused body', get() + chunked('zz\r\n') + get(), f'{OK}, {BAD}')
row('so does Connection: close', get('Connection: close\r\n') + get(), '200 close')
row('close among other options', get('Connection: x , Close,y\r\n') + get(), '200 close')
row('close beside keep-alive', get('Connection: keep-alive\r\nConnection: close\r\n'), '200 close')
row('a connection option that begins with close', get('Connection: closed\r\n'), OK)
row('HTTP/1.0 among others', get() + 'GET /health HTTP/1.0\r\n\r\n' + get(), f'{OK}, 200 close')

# -- limits -----------------------------------------------------------------------------------

LONG = 'a' * 17000
row('a target above 16 KiB', get(target='/' + LONG), '414 message_too_big close')
row('a query above 16 KiB', get(target='/health?token=' + LONG), '414 message_too_big close')
row('a method above 16 KiB', LONG + ' / HTTP/1.1\r\n\r\n', '414 message_too_big close')
row('an empty line and a target above 16 KiB', '\r\n' + get(target='/' + LONG),
    '414 message_too_big close')
row('a value above 16 KiB', get(f'A: {LONG}\r\n'), '431 message_too_big close')
row('a name above 16 KiB', get(f'{LONG}: b\r\n'), '431 message_too_big close')
row('a head of 16 KiB', get('A: ' + 'b' * (16384 - len(get('A: \r\n'))) + '\r\n'), OK)
row('a head of 16 KiB and a byte', get('A: ' + 'b' * (16385 - len(get('A: \r\n'))) + '\r\n'),
    '431 message_too_big close')
row('a target that fits, of a path that nobody has', get(target='/' + 'a' * 16000),
    '404 not_found keep')
row('100 fields', get('A: b\r\n' * 99), OK)
row('101 fields', get('A: b\r\n' * 100), '431 message_too_big close')
row('2,000 fields', get('A: b\r\n' * 2000), '431 message_too_big close')
row('a field that is wrong is 400 however long the rest', get('A : b\r\nB: ' + LONG + '\r\n'), BAD)

# -- what is escaped in a target ----------------------------------------------------------------

for user, answers in [
        ('2', OK), ('%32', OK),
        ('%00', '400 bad_request keep'), ('2%00', '400 bad_request keep'),
        ('%zz', '400 bad_request keep'), ('%', '400 bad_request keep'), ('2%3', '400 bad_request keep'),
        ('%ff', '400 bad_request keep'), ('%C0%AF', '400 bad_request keep'),
        ('%ed%a0%80', '400 bad_request keep'), ('%u0032', '400 bad_request keep'),
        ('a' * 129, '400 bad_request keep'),
        # Nothing is normalised: what is a path to a file system is a user's name here.
        ('%2e%2e', '403 forbidden_user keep'), ('..', '403 forbidden_user keep'),
        ('%2f', '403 forbidden_user keep'), ('2%20', '403 forbidden_user keep'),
        ('+2', '403 forbidden_user keep'), ('02', '403 forbidden_user keep'),
        ('2%0d%0aFORGED', '403 forbidden_user keep'), ('%1b[2J', '403 forbidden_user keep'),
        ('%E2%80%A8FORGED', '403 forbidden_user keep'),
        ('2/', '404 not_found keep'), ('../../health', '404 not_found keep'),
        ('', '404 not_found keep')]:
    row(f'user {user!r}', own(TASKS + user), answers)
row('an escape in the route itself', get(target='/%68ealth'), '404 not_found keep')
row('dots in the route itself', get(target='/./health'), '404 not_found keep')
row('slashes before the route', get(target='//health'), '404 not_found keep')
for query, answers in [
        (f'token={GOOD}', OK), (f'a=b&token={GOOD}&token', '401 token_missing keep'),
        (f'token={GOOD}&token={GOOD}', '401 token_missing keep'),
        (f'token={GOOD}&format=%', '400 bad_request keep'),
        ('token=', '401 token_missing keep'), ('Token=x', '401 token_missing keep'),
        ('token=%zz', '401 token_malformed keep'), ('token=%', '401 token_malformed keep'),
        ('token=%00', '401 token_malformed keep'), ('token=a%0d%0aFORGED', '401 token_malformed keep'),
        (f'token={GOOD}&since=1-0%00', '400 bad_request keep'),
        (f'token={GOOD}&since=-1', '400 bad_request keep')]:
    row(f'query {query[:20]!r}...{query[-9:]!r}', get(target=TASKS + '2?' + query), answers)

# -- the handshake, RFC 6455 4.2.1 ----------------------------------------------------------------

row('a handshake', upgrade(), OPEN)
row('a handshake with its token', upgrade(target=f'{TASKS}2?token={GOOD}'), '101 connected 1000')
row('a handshake in other letters', upgrade(upgrade='WebSocket', connection='keep-alive, UPGRADE'), OPEN)
row('a handshake that offers other protocols too', upgrade(upgrade='h2c, websocket'), OPEN)
for name, given, answers in [
        ('Upgrade h2c', dict(upgrade='h2c'), UPGRADE),
        ('Upgrade websockets', dict(upgrade='websockets'), UPGRADE),
        ('Upgrade websocket/13', dict(upgrade='websocket/13'), UPGRADE),
        ('no Upgrade', dict(upgrade=None), UPGRADE),
        ('Connection keep-alive', dict(connection='keep-alive'), UPGRADE),
        ('Connection upgraded', dict(connection='upgraded'), UPGRADE),
        ('no Connection', dict(connection=None), UPGRADE),
        ('HTTP/1.0', dict(http='HTTP/1.0'), '426 bad_request close'),
        ('POST', dict(method='POST'), '411 bad_request keep'),
        ('POST of nothing', dict(method='POST', fields='Content-Length: 0\r\n'),
         '401 token_missing keep'),
        ('PUT', dict(method='PUT'), NO_POST),
        # HEAD is GET without what follows the head, RFC 9110 9.3.2; nothing can follow this one.
        ('HEAD', dict(method='HEAD'), '400 head keep'),
        ('version 8', dict(version='8'), UPGRADE), ('version 12', dict(version='12'), UPGRADE),
        ('version 14', dict(version='14'), UPGRADE), ('version 0', dict(version='0'), UPGRADE),
        ('version 013', dict(version='013'), UPGRADE), ('version +13', dict(version='+13'), UPGRADE),
        ('version 13, 8', dict(version='13, 8'), UPGRADE), ('version empty', dict(version=''), UPGRADE),
        ('no version', dict(version=None), '400 bad_request keep'),
        ('two versions', dict(fields='Sec-WebSocket-Version: 13\r\n'), '400 bad_request keep'),
        ('no key', dict(key=None), '400 bad_request keep'),
        ('two keys', dict(fields=f'Sec-WebSocket-Key: {KEY}\r\n'), '400 bad_request keep'),
        ('a key of 15 bytes', dict(key='dGhlIHNhbXBsZSBub25j'), '400 bad_request keep'),
        ('a key of 17 bytes', dict(key='dGhlIHNhbXBsZSBub25jZXM='), '400 bad_request keep'),
        ('a key of nothing', dict(key=''), '400 bad_request keep'),
        ('a key that is not base64', dict(key='dGhlIHNhbXBsZSBub25jZ!=='), '400 bad_request keep'),
        ('a key of base64url', dict(key='__-_IHNhbXBsZSBub25jZQ=='), '400 bad_request keep'),
        ('a key without padding', dict(key=KEY[:-2]), '400 bad_request keep'),
        ('a key with bits behind its end', dict(key=KEY[:-3] + 'R=='), '400 bad_request keep'),
        ('keys in a list', dict(key=f'{KEY}, {KEY}'), '400 bad_request keep')]:
    row('a handshake with ' + name, upgrade(**given), answers)
row('a handshake with a body', upgrade('Content-Length: 5\r\n') + 'hello', '400 bad_request keep')
row('a handshake with chunks', upgrade(CHUNKED) + NOTHING, '400 bad_request keep')
row('a handshake elsewhere is a request as others are', upgrade(target='/health'), OK)
row('a handshake for nothing', upgrade(target='/nothing'), '404 not_found keep')
row('a handshake behind other requests', get() + upgrade(), f'{OK}, {OPEN}')
row('a handshake behind a refused request', get('A : b\r\n') + upgrade(), BAD)
row('a user that cannot be is told so', upgrade(target=TASKS + '%zz'), '101 bad_request 4400')

PROTOCOL = 'Sec-WebSocket-Protocol: '
for offers, answers in [
        ('taskws.v1', '101 taskws.v1 1000'), ('a, taskws.v1, b', '101 taskws.v1 1000'),
        (f'bearer.{GOOD}, taskws.v1', '101 taskws.v1 connected 1000'),
        (f'bearer.{GOOD}', '101 connected 1000'), ('a, b', OPEN), ('', OPEN), (',,,', OPEN),
        # The selected one must be one of those offered (4.1), and a client may compare exactly.
        ('TASKWS.V1', OPEN), ('taskws.v10, xtaskws.v1', OPEN),
        ('b' + ' ' * 15000 + 'x', OPEN), ('b,' * 7000 + 'taskws.v1', '101 taskws.v1 1000'),
        ('b' + ' ' * 32000 + 'x', '431 message_too_big close')]:
    row(f'subprotocols {offers[:30]!r}', upgrade(f'{PROTOCOL}{offers}\r\n'), answers)
row('subprotocols on two lines', upgrade(f'{PROTOCOL}a\r\n{PROTOCOL}taskws.v1\r\n'), '101 taskws.v1 1000')

DEFLATE = 'permessage-deflate; client_max_window_bits'
# RFC 6455 9.1 wants a list that is none refused, RFC 7692 5.1 an offer with wrong parameters
# passed over. The close that follows is small, so it comes uncompressed.
for offers, answers in [
        (DEFLATE, '101 permessage-deflate 1000'), (f'x, {DEFLATE}', '101 permessage-deflate 1000'),
        (', '.join([DEFLATE] * 100), '101 permessage-deflate 1000'),
        ('__proto__', OPEN), ('constructor; a="b"', OPEN), ('x-webkit-deflate-frame', OPEN),
        (f'{DEFLATE}; client_max_window_bits', OPEN), (f'{DEFLATE}=99999999999999999999', OPEN),
        (f'{DEFLATE}=7', OPEN), ('permessage-deflate; unknown', OPEN), ('', OPEN),
        (';;;=,', '400 bad_request keep'), ('a; b="', '400 bad_request keep'),
        ('a b', '400 bad_request keep'), ('a;', '400 bad_request keep')]:
    row(f'extensions {offers[:50]!r}', upgrade(f'Sec-WebSocket-Extensions: {offers}\r\n'), answers)

# -- Origin: the list is exact, with scheme and port; RFC 6454 4 has scheme and host in any case ----

for origin, answers in [
        ('https://app.example', OPEN), ('http://localhost:3000', OPEN), ('HTTPS://App.Example', OPEN),
        ('https://app.example.evil', FOREIGN), ('https://app.example.', FOREIGN),
        ('https://xapp.example', FOREIGN), ('https://x.app.example', FOREIGN),
        ('https://app.exampl', FOREIGN), ('http://app.example', FOREIGN), ('app.example', FOREIGN),
        ('https://app.example:8443', FOREIGN), ('http://localhost', FOREIGN),
        ('http://localhost:30000', FOREIGN), ('http://localhost:300', FOREIGN),
        ('https://localhost:3000', FOREIGN), ('https://app.example/', FOREIGN),
        ('https://app.example:443', FOREIGN),  # no browser writes the default port, 6.1
        ('https://u@app.example', FOREIGN), ('https://app.example@evil', FOREIGN),
        ('https://app.example https://evil', FOREIGN), ('https://app.example, https://evil', FOREIGN),
        ('null', FOREIGN), ('', FOREIGN), ('*', FOREIGN), ('file://', FOREIGN), ('https://', FOREIGN),
        ('https://app.example, http://localhost:3000', FOREIGN)]:
    row(f'Origin {origin!r}', upgrade(f'Origin: {origin}\r\n'), answers)
row('two Origins', upgrade('Origin: https://app.example\r\n' * 2), FOREIGN)
row('a foreign Origin without an upgrade', own(TASKS + '2', 'Origin: https://evil.example\r\n'),
    '403 forbidden_origin keep')


# -- a client that reads strictly -------------------------------------------------------------


class Reader:
    """The answers that a connection's bytes are, each told in a few words."""

    def __init__(self, data):
        self.data = data
        self.told = []
        self.fields = []

    def take(self, n):
        assert len(self.data) >= n, f'cut off: {n} bytes wanted of {self.data!r}'
        part, self.data = self.data[:n], self.data[n:]
        return part

    def head(self):
        end = self.data.find(b'\r\n\r\n')
        assert end >= 0, f'no whole head: {self.data!r}'
        lines = self.take(end + 4)[:-4].decode('ascii').split('\r\n')
        match = re.fullmatch(r'HTTP/1\.1 (\d{3}) ([A-Z][A-Za-z -]+)', lines[0])
        assert match and match[2] != 'Unknown', lines[0]
        fields = {}
        for line in lines[1:]:
            match_field = re.fullmatch(r'([A-Za-z0-9-]+): ([ -~]*)', line)
            assert match_field, line
            name = match_field[1].lower()
            assert name not in fields or name == 'connection', lines
            fields.setdefault(name, []).append(match_field[2])
        return int(match[1]), fields

    def frames(self):
        """What a WebSocket says: the kinds and error words of its messages, and the close code."""
        words = []
        while True:
            first, size = self.take(2)
            assert first & 0x70 == 0 and size < 127, (first, size)
            payload = self.take(size if size < 126 else struct.unpack('>H', self.take(2))[0])
            if first == 0x88:
                return words + [str(struct.unpack('>H', payload[:2])[0])]
            assert first == 0x81, first
            message = json.loads(payload)
            words.append(message['code'] if message['type'] == 'error' else message['type'])

    def answer(self, is_head):
        status, fields = self.head()
        self.fields.append(fields)
        if status == 100:
            assert not fields
            self.told.append('100')
            return
        if status == 101:
            assert fields['sec-websocket-accept'] == [ACCEPT] and fields['connection'] == ['Upgrade']
            assert 'content-length' not in fields
            self.told.append(' '.join(
                ['101'] + fields.get('sec-websocket-protocol', []) +
                [e.split(';')[0] for e in fields.get('sec-websocket-extensions', [])] +
                self.frames()))
            return
        words = [str(status)]
        assert fields['date']
        length = int(fields['content-length'][0]) if status != 204 else 0
        body = self.take(0 if is_head else length)
        assert ('allow' in fields) == (status == 405), fields
        assert ('www-authenticate' in fields) == (status == 401), fields
        if status == 426:
            assert fields['upgrade'] == ['websocket'] and 'Upgrade' in fields['connection']
            assert fields['sec-websocket-version'] == ['13']
        if is_head:
            words.append('head')
        elif status >= 400:
            assert fields['content-type'] == ['application/json'], fields
            error = json.loads(body)['error']
            assert error['message'] and len(error) == 2, error
            words.append(error['code'])
        words.append('close' if 'close' in fields.get('connection', []) else 'keep')
        self.told.append(' '.join(words))

    def all(self, heads):
        while self.data:
            self.answer(len(self.told) < len(heads) and heads[len(self.told)])
        return ', '.join(self.told)


sources = itertools.count()


def connect(receive_buffer=None):
    s = socket.socket()
    s.settimeout(30)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer is not None:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.bind((f'127.0.0.{1 + next(sources) % 16}', 0))  # ports of one address might run out
    s.connect(('127.0.0.1', server.port))
    return s


def to_the_end(s):
    """All that comes; a reset raises. Then this side ends too."""
    received = []
    while True:
        part = s.recv(1 << 18)
        if not part:
            s.close()
            return b''.join(received)
        received.append(part)


def barrier():
    """When this returns the server has taken what was sent before: a connection that is new is
    served behind all that were ready before it came."""
    with connect() as s:
        s.sendall(LAST)
        assert to_the_end(s)


def whole(r):
    """The row's bytes and what comes behind them, and what must be answered."""
    if r.answers.split(', ')[-1].startswith('101'):
        return [r.data, CLOSE_FRAME], r.answers
    return [r.data, LAST], r.answers + (', 200 close' if r.answers.endswith('keep') else '')


def judge(r, received, pieces):
    _, wanted = whole(r)
    reader = Reader(received)
    told = reader.all([' head ' in a for a in wanted.split(', ')])
    if pieces > 1:  # 100 Continue is for who waits for it
        told = told.replace('100, ', '')
    assert told == wanted, f'wanted {wanted}, got {told}'


def run_abreast(cuts):
    """Rows and their bytes in pieces; each over a connection of its own, all in step."""
    stories = [(r, pieces + whole(r)[0][1:], connect()) for r, pieces in cuts]
    for step in range(max(len(pieces) for _, pieces, _ in stories)):
        for _, pieces, s in stories:
            if step < len(pieces):
                s.sendall(pieces[step])
        barrier()
    faults = []
    for r, pieces, s in stories:
        try:
            judge(r, to_the_end(s), len(pieces) - 1)
        except (AssertionError, OSError) as fault:
            faults.append(f'{r.name}: {fault!r}')
    assert not faults, '\n'.join(faults)


def run_cut(cut, chosen, abreast):
    """cut gives a row's bytes in pieces, in one way or many."""
    cuts = [(r, pieces) for r in chosen for pieces in cut(r.data)]
    for i in range(0, len(cuts), abreast):
        run_abreast(cuts[i:i + abreast])


def in_two(data):
    step = 1 if len(data) <= 130 else len(data) // 60
    return [[data[:at], data[at:]] for at in range(1, len(data), step)]


@test(f'{len(rows)} requests are answered as their rows say, each in one piece')
async def _(_user):
    await asyncio.to_thread(run_cut, lambda data: [[data]], rows, 1000)


@test('the same, byte by byte')
async def _(_user):
    short = sorted((r for r in rows if len(r.data) <= 700), key=lambda r: len(r.data))
    assert len(short) > len(rows) - 40
    await asyncio.to_thread(run_cut, lambda data: [[bytes([b]) for b in data]], short, 40)


@test('the same, in two pieces, cut at every position')
async def _(_user):
    await asyncio.to_thread(run_cut, in_two, rows, 150)


# -- what takes more than a row ---------------------------------------------------------------


@test('100 Continue comes before the body, once, and not for a body that is refused')
async def _(_user):
    def ask(fields, parts):
        with connect() as s:
            received = b''
            s.sendall(post(EXPECT + fields).encode())
            while not received.endswith(b'\r\n\r\n'):
                received += s.recv(4096)
            assert received == b'HTTP/1.1 100 Continue\r\n\r\n', received
            for part in parts:
                s.sendall(part)
            s.sendall(LAST)
            assert Reader(to_the_end(s)).all([]) == f'{NO_POST}, 200 close'

    def story():
        ask('Content-Length: 5\r\n', [b'he', b'llo'])
        ask('Transfer-Encoding: chunked\r\n', [b'2\r\nhe\r\n', b'3\r\nllo\r\n0\r\n\r\n'])
        with connect() as s:  # told not to send it, the client does not
            s.sendall(post(EXPECT + 'Content-Length: 65537\r\n').encode())
            assert Reader(to_the_end(s)).all([]) == TOO_BIG
    await asyncio.to_thread(story)


@test('a thousand requests in one write are answered in their order')
async def _(_user):
    one = [get(), get(target='/nothing'), post('Content-Length: 2\r\n', 'hi'),
           'HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n', own(TASKS + '3')]
    told = [OK, '404 not_found keep', NO_POST, '200 head keep', '403 forbidden_user keep']

    def story():
        with connect() as s:
            s.sendall(''.join(one * 200).encode() + LAST)
            reader = Reader(to_the_end(s))
            reader.all([' head ' in t for t in told] * 200)
            assert reader.told == told * 200 + ['200 close']
        with connect() as s:  # and of those behind a refused one, none
            s.sendall(''.join(one * 100).encode() + get('A : b\r\n').encode() + LAST * 1000)
            reader = Reader(to_the_end(s))
            reader.all([' head ' in t for t in told] * 100)
            assert reader.told == told * 100 + [BAD]
    await asyncio.to_thread(story)


REFUSED = [r for r in rows if r.answers in (BAD, TOO_BIG, '505 bad_request close',
                                            '501 bad_request close', '414 message_too_big close',
                                            '431 message_too_big close', '200 close')]


@test('whatever is still on its way behind a refusal, the answer arrives whole, and then the end')
async def _(_user):
    """Unread input would make the end of a connection its reset, and that would take the answer
    away again."""
    def story():
        for n, r in enumerate(REFUSED):
            more = [100, 30000, 300000, 4 << 20][n % 4 if n < 40 else n % 3]
            with connect() as s:
                s.sendall(r.data + bytes(more))
                judge(r, to_the_end(s), 1)
    await asyncio.to_thread(story)


def tcp_state(s):
    return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


CLOSE_WAIT = 8  # the peer has ended its side in order; TCP_CLOSE would be a reset


@test('who does not read is given the answer and the end all the same')
async def _(_user):
    def story():
        silent = []
        for n, r in enumerate(REFUSED):
            s = connect(receive_buffer=4096)
            s.sendall(r.data + bytes(n % 4 * 2000))
            silent.append((r, s))
        deadline = time.monotonic() + 20
        waiting = [s for _, s in silent]
        while waiting and time.monotonic() < deadline:
            waiting = [s for s in waiting if tcp_state(s) != CLOSE_WAIT]
            time.sleep(0.01)
        assert not waiting, [tcp_state(s) for s in waiting]
        for r, s in silent:
            unread, = struct.unpack('i', fcntl.ioctl(s, termios.FIONREAD, bytes(4)))
            assert unread > 100, (r.name, unread)
            judge(r, to_the_end(s), 1)
    await asyncio.to_thread(story)


@test('who asks for much and reads late is given all of it, in order')
async def _(_user):
    def story():
        page = server.request_now('GET', '/app.js').body
        assert len(page) > 10000
        with connect(receive_buffer=4096) as s:
            s.sendall(get(target='/app.js').encode() * 300 + LAST)
            barrier()
            received = to_the_end(s)
            assert received.count(page) == 300 and received.count(b'HTTP/1.1 200 OK\r\n') == 301
    await asyncio.to_thread(story)


@test('a client that has ended its side still gets its answers, one that left out the end none')
async def _(_user):
    def story():
        for data, wanted in [(get() * 3, ', '.join([OK] * 2 + ['200 close'])), (get()[:-2], ''),
                             (post('Content-Length: 5\r\n', 'hell'), ''), ('', ''),
                             (chunked('5\r\nhello\r\n0\r\n'), '')]:
            with connect() as s:
                s.sendall(data.encode())
                s.shutdown(socket.SHUT_WR)
                told = Reader(to_the_end(s)).all([])
                # Whether its end is known when the last answer is written is a matter of luck.
                assert told in (wanted, wanted.replace('close', 'keep')), (data, told)
    await asyncio.to_thread(story)


@test('a page of an allowed origin is let in by CORS, before and with the answer, and no other')
async def _(_user):
    def ask(method, path, fields):
        with connect() as s:
            s.sendall(f'{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n'
                      .encode())
            reader = Reader(to_the_end(s))
            return reader.all([method == 'HEAD']), reader.fields[0]

    bearer = f'Authorization: Bearer {GOOD}\r\n'
    late = f'Authorization: Bearer {token("2", exp_in=-60)}\r\n'
    preflight = 'Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n'

    def story():
        for origin in 'https://app.example', 'http://localhost:3000':
            line = f'Origin: {origin}\r\n'
            for method, path, fields, told in [
                    ('OPTIONS', TASKS + '2', preflight, '204 close'),
                    ('OPTIONS', PREFIX + '/status', preflight, '204 close'),
                    ('GET', TASKS + '2', bearer, '200 close'),
                    ('HEAD', TASKS + '2', bearer, '200 head close'),
                    ('GET', PREFIX + '/status', bearer, '200 close'),
                    # A page must be able to read why, too.
                    ('GET', TASKS + '2', '', '401 token_missing close'),
                    ('GET', TASKS + '2', late, '401 token_expired close'),
                    ('GET', TASKS + '3', bearer, '403 forbidden_user close'),
                    ('GET', TASKS + '%zz', bearer, '400 bad_request close'),
                    ('POST', TASKS + '2', bearer, '411 bad_request close'),
                    ('POST', TASKS + '2', bearer + 'Content-Length: 0\r\n',
                     '403 forbidden_scope close'),
                    ('POST', TASKS + '2', f'Authorization: Bearer {WORKS}\r\nContent-Length: 0\r\n',
                     '400 bad_request close')]:
                answer, fields = ask(method, path, line + fields)
                assert answer == told, (method, path, answer)
                assert fields.get('access-control-allow-origin') == [origin], (method, path, fields)
                assert fields['vary'] == ['Origin']
                assert 'access-control-allow-credentials' not in fields
                if method == 'OPTIONS':
                    allowed = fields['access-control-allow-headers'][0].lower().split(', ')
                    assert {'authorization', 'content-type', 'last-event-id'} <= set(allowed)
                    assert fields['access-control-allow-methods'] == ['GET, POST']
                    assert int(fields['access-control-max-age'][0]) > 0
        for origin in ['https://app.example.evil', 'http://app.example', 'https://app.example:443', 'null',
                       '']:
            line = f'Origin: {origin}\r\n'
            for answer, fields in [ask('OPTIONS', TASKS + '2', line + preflight),
                                   ask('GET', TASKS + '2', line + bearer)]:
                assert answer in ('204 close', '403 forbidden_origin close'), (origin, answer)
                assert not any(name.startswith('access-control') for name in fields), fields
        # Without Origin it is no page's request, and nothing of this is said.
        answer, fields = ask('GET', TASKS + '2', bearer)
        assert answer == '200 close' and 'access-control-allow-origin' not in fields
    await asyncio.to_thread(story)


@test('nothing of all that has written a line of the log, nor shown a token')
async def _(_user):
    text = server.output()
    assert text.count('forbidden_user') > 10 and 'FORGED' in text
    for line in server.lines:
        assert 'listening on ' in line or re.match(
            r'\d{4}-\d\d-\d\dT[\d:.]+Z (DEBUG|INFO |WARN |ERROR) ', line), line
        assert re.fullmatch('[ -~]*', line), line
        assert not re.search(r'eyJ[\w-]{10}', line), line


async def main():
    global server
    with Server('--origin', ORIGINS, '--log-level', 'debug', '--max-per-user', '0') as server:
        results = await run_all(abreast=1)
        server.signal(signal.SIGTERM)
        assert server.end() == 0
    finish(results)


asyncio.run(main())
