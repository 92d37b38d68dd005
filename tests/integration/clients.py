"""The whole contract of build/server, as seen by clients that share no code with it:
python3-websockets, PyJWT and http.client. In memory; Redis has tests of its own."""

import json
import tempfile

from harness import *

server = None  # the one that most tests share
TASKS = PREFIX + '/tasks/'


def error_of(answer):
    return answer.json['error']['code']


def bad_tokens(user):
    """Every way in which a token can be wrong, and the word for it."""
    header, payload, signature = token(user).split('.')
    other = token(user, secret='another secret of thirty-two bytes or more')
    unsigned = jwt.encode({'sub': user, 'exp': int(time.time()) + 60}, None, algorithm='none')
    stronger = jwt.encode({'sub': user, 'exp': int(time.time()) + 60}, SECRET * 2,
                          algorithm='HS512')
    return [
        ('token_malformed', 'no-token-at-all'),
        ('token_malformed', f'{header}.{payload}'),
        ('token_malformed', f'{header}.{payload}.{signature}.{signature}'),
        ('token_malformed', unsigned),
        ('token_malformed', stronger),
        ('token_signature', other),
        ('token_signature', f'{header}.{payload}.' + token('somebody').split('.')[2]),
        ('token_expired', token(user, exp_in=-60)),
        ('token_not_yet_valid', token(user, nbf=int(time.time()) + 600)),
        ('token_claims', token(user, exp_in=None)),
        ('token_claims', token(None)),
        ('token_claims', token('')),
    ]


# -- 2. routes ----------------------------------------------------------------------------


@test('health needs no token and says healthy')
async def _(user):
    answer = await server.request('GET', '/health')
    assert answer.status == 200
    assert answer.json == {'status': 'healthy', 'version': answer.json['version']}
    assert re.fullmatch(r'\d+\.\d+\.\d+', answer.json['version'])


@test('ready needs no token and is ready')
async def _(user):
    assert (await server.request('GET', '/ready')).status == 200


@test('status answers to a token with version, uptime, connections, store and limits')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        answer = await server.request('GET', PREFIX + '/status', bearer=token(user))
        assert answer.status == 200
        text = json.dumps(answer.json)
        for word in 'version', 'uptime', 'connections', 'store', 'redis', 'limit', 'memory':
            assert word in text, (word, answer.json)
        assert (await server.request('GET', PREFIX + '/status')).status == 401


@test('metrics are Prometheus text, given to loopback')
async def _(user):
    answer = await server.request('GET', '/metrics')
    assert answer.status == 200
    assert answer.getheader('Content-Type').startswith('text/plain; version=0.0.4')
    sample = re.compile(r'[a-z_]+(\{[^}]*\})? [0-9.e+-]+')
    lines = answer.body.decode().splitlines()
    samples = [line for line in lines if not line.startswith('#')]
    assert len(samples) > 10
    for line in samples:
        assert sample.fullmatch(line), line
    for line in lines:
        assert sample.fullmatch(line) or re.match(r'# (HELP|TYPE) [a-z_]+ .+', line), line


@test('metrics behind a proxy want the scope admin')
async def _(user):
    far = {'X-Forwarded-For': '203.0.113.9'}
    with Server('--trust-proxy') as own:
        assert error_of(await own.request('GET', '/metrics', far)) == 'token_missing'
        refused = await own.request('GET', '/metrics', far, bearer=token(user))
        assert refused.status == 403 and error_of(refused) == 'forbidden_scope'
        assert (await own.request('GET', '/metrics', far, bearer=admin())).status == 200


@test('an unknown path is 404 and a known one with another method 405 with Allow, both in JSON')
async def _(user):
    for path in ('/nothing', PREFIX, PREFIX + '/tasks', TASKS, TASKS + 'a/b',
                 '/api/v1' + TASKS + '2'):
        answer = await server.request('GET', path, bearer=token(user))
        assert answer.status == 404 and error_of(answer), path
    for method, path, allow in [('DELETE', TASKS + user, {'GET', 'HEAD', 'POST'}),
                                ('POST', '/health', {'GET', 'HEAD'}),
                                ('PUT', PREFIX + '/status', {'GET', 'HEAD'})]:
        answer = await server.request(method, path, bearer=token(user))
        assert answer.status == 405 and error_of(answer), path
        assert set(answer.getheader('Allow').replace(',', ' ').split()) >= allow, path


@test('HEAD answers as GET does, without the body')
async def _(user):
    for path in '/health', '/ready', PREFIX + '/status', TASKS + user, '/metrics':
        get = await server.request('GET', path, bearer=token(user))
        head = await server.request('HEAD', path, bearer=token(user))
        assert head.status == get.status == 200, path
        assert head.body == b'', path
        assert head.getheader('Content-Type') == get.getheader('Content-Type'), path
        assert int(head.getheader('Content-Length')) > 0, path


@test('one connection carries many requests, also sent all at once')
async def _(user):
    one = b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'
    last = b'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    assert (await server.raw(one * 9 + last)).count(b'HTTP/1.1 200 ') == 10


@test('an event is published, snapshot, streamed and delivered byte for byte')
async def _(user):
    odd = b'{ "task_id":"t1",  "note":"\\u00e9\xc3\xa9 \\/", "n":1e2,\n "status":"RUNNING" }'
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        id = await server.publish(user, odd)
        message = await asyncio.wait_for(ws.recv(), 20)
        assert odd.decode() in message, message
        assert json.loads(message) == {'type': 'task', 'id': id, 'data': json.loads(odd)}
        answer = await server.request('GET', TASKS + user, bearer=token(user))
        assert answer.json['user_id'] == user and answer.json['last_id'] == id
        assert len(answer.json['tasks']) == 1 and odd in answer.body


@test('many events are published as lines, checked whole before any is stored')
async def _(user):
    lines = {'Content-Type': 'application/x-ndjson'}
    for body, number in [(b'{"task_id":"a"}\n{"task_id":\n{"task_id":"c"}\n', 2),
                         (b'{"task_id":"a"}\n\n{"task_id":"c"}\n[]\n', 4),
                         (b'nonsense', 1)]:
        answer = await server.request('POST', TASKS + user, lines, body, bearer=worker())
        assert answer.status == 400 and error_of(answer) == 'bad_request'
        assert re.search(rf'\bline {number}\b', answer.json['error']['message']), answer.json
    answer = await server.request('GET', TASKS + user, bearer=token(user))
    assert answer.json['tasks'] == []
    ids = await server.publish_many(user, [{'task_id': str(n)} for n in range(50)])
    assert len(set(ids)) == 50
    assert sorted(ids, key=lambda id: [int(n) for n in id.split('-')]) == ids
    answer = await server.request('GET', TASKS + user, bearer=token(user))
    assert len(answer.json['tasks']) == 50 and answer.json['last_id'] == ids[-1]


@test('what is not one JSON object is not published')
async def _(user):
    for body in (b'', b'x', b'[]', b'1', b'"a"', b'null', b'{"a":1', b'{"a":1}{"b":2}',
                 b'{"a":\xff}'):
        answer = await server.request('POST', TASKS + user, body=body, bearer=worker())
        assert answer.status == 400 and error_of(answer) == 'bad_request', body


@test('the user of a path is compared after percent-decoding, as an exact string')
async def _(user):
    answer = await server.request('GET', TASKS + 'an%20odd%2Fuser%3F', bearer=token('an odd/user?'))
    assert answer.status == 200 and answer.json['user_id'] == 'an odd/user?'
    assert (await server.request('GET', TASKS + '%31', bearer=token('1'))).status == 200
    assert (await server.request('GET', TASKS + '01', bearer=token('1'))).status == 403
    for path in '%00', 'a%zz', 'a%2', 'x' * 129:
        answer = await server.request('GET', TASKS + path, bearer=admin())
        assert answer.status == 400 and error_of(answer) == 'bad_request', path


@test('events are streamed as Server-Sent Events, and resumed by Last-Event-ID')
async def _(user):
    ids = await server.publish_many(user, [{'task_id': 'a', 'n': n} for n in range(3)])
    async with stream(server, user) as events:
        first = await events.next()
        assert first['event'] == 'connected' and json.loads(first['data'])['user_id'] == user
        assert await events.next() == {'id': ids[2], 'data': '{"task_id": "a", "n": 2}'}
        new = await server.publish(user, b'{"task_id":"a",\n"n":\r\n3}')
        last = await events.next()
        assert last['id'] == new and json.loads(last['data']) == {'task_id': 'a', 'n': 3}
    async with stream(server, user, {'Last-Event-ID': ids[0]}) as events:
        assert (await events.next())['event'] == 'connected'
        assert [(await events.next())['id'] for _ in range(3)] == [ids[1], ids[2], new]
    async with stream(server, user, {'Last-Event-ID': '1-1'}) as events:
        assert (await events.next())['event'] == 'connected'
        assert (await events.next())['event'] == 'reset'
        assert (await events.next())['id'] == new


# -- 3. tokens ----------------------------------------------------------------------------


@test('every route of HTTP refuses every bad token with 401, its word and WWW-Authenticate')
async def _(user):
    for method, path in [('GET', TASKS + user), ('POST', TASKS + user),
                         ('GET', PREFIX + '/status')]:
        for word, bad in bad_tokens(user) + [('token_missing', None)]:
            answer = await server.request(method, path, body=b'{}' if method == 'POST' else None,
                                          bearer=bad)
            assert answer.status == 401, (path, word, answer.status, answer.body)
            assert error_of(answer) == word, (path, word, answer.json)
            assert answer.getheader('WWW-Authenticate').startswith('Bearer'), path


@test('a WebSocket with a bad token is accepted, told why, and closed with 4401')
async def _(user):
    for word, bad in bad_tokens(user):
        async with server.connect(user, 'token=' + bad) as ws:
            error, code = await refusal(ws)
            assert code == 4401 and error['code'] == word, (word, error)


@test('an event stream with a bad token is refused as every HTTP request is')
async def _(user):
    answer = await server.request('GET', TASKS + user, {'Accept': 'text/event-stream'},
                                  bearer=token(user, exp_in=-60))
    assert answer.status == 401 and error_of(answer) == 'token_expired'


@test('a token is taken from the header, the query, the subprotocol and the first message')
async def _(user):
    good = token(user)
    async with server.connect(user, '', extra_headers={'Authorization': 'Bearer ' + good}) as ws:
        assert (await receive(ws, 'connected'))['user_id'] == user
    async with server.connect(user, 'token=' + good) as ws:
        assert (await receive(ws, 'connected'))['user_id'] == user
    async with server.connect(user, '', subprotocols=['taskws.v1', 'bearer.' + good]) as ws:
        assert (await receive(ws, 'connected'))['user_id'] == user
        assert ws.subprotocol == 'taskws.v1'
    async with server.connect(user, '') as ws:
        await ws.send(json.dumps({'type': 'auth', 'token': good}))
        assert (await receive(ws, 'connected'))['user_id'] == user
    for headers, path in [({'Authorization': 'bearer ' + good}, TASKS + user),
                          ({}, TASKS + user + '?token=' + good)]:
        assert (await server.request('GET', path, headers)).status == 200


@test('of two tokens the header counts, and two in the query are none')
async def _(user):
    good, bad = token(user), token(user, exp_in=-60)
    path = TASKS + user + '?token='
    assert (await server.request('GET', path + bad, bearer=good)).status == 200
    assert (await server.request('GET', path + good, bearer=bad)).status == 401
    answer = await server.request('GET', path + good + '&token=' + good)
    assert answer.status == 401


@test('a cookie is not looked at until it is named')
async def _(user):
    answer = await server.request('GET', TASKS + user, {'Cookie': 'token=' + token(user)})
    assert answer.status == 401 and error_of(answer) == 'token_missing'


@test('a cookie that is named brings the token, and then a foreign origin is refused')
async def _(user):
    with Server('--cookie', 'session') as own:
        cookie = {'Cookie': 'a=b; session=' + token(user)}
        assert (await own.request('GET', TASKS + user, cookie)).status == 200
        for origin in own.origin, None:
            async with own.connect(user, '', extra_headers=cookie, origin=origin) as ws:
                await receive(ws, 'connected')
        async with own.connect(user, '', extra_headers=cookie, origin='https://evil.example') as ws:
            error, code = await refusal(ws)
            assert code == 4403 and error['code'] == 'forbidden_origin'


@test('a cookie counts for the same origin and for those that are named, not for just any page')
async def _(user):
    cookie = {'Cookie': 'session=' + token(user)}
    for listed, named in ('*', False), ('null', False), ('https://a.example,null', False), \
            ('https://a.example', True):
        origin = listed if listed == 'null' else 'https://a.example'
        with Server('--cookie', 'session', '--origin', listed) as own:
            answer = await own.request('GET', TASKS + user, {**cookie, 'Origin': origin})
            assert (answer.status == 200) == named, (listed, answer)
            assert ('access-control-allow-credentials' in answer.headers) == named, (listed, answer)
            answer = await own.request('POST', TASKS + user, {**cookie, 'Origin': origin}, '{}')
            assert answer.status == (403 if named else 401), (listed, answer)
            async with own.connect(user, 'token=' + token(user), extra_headers=cookie,
                                   origin=origin) as ws:
                await receive(ws, 'connected')  # with a token that the page has
            async with own.connect(user, '', extra_headers=cookie, origin=origin) as ws:
                await ws.send('{"type":"ping"}')
                first = await receive(ws)
                assert first['type'] == ('connected' if named else 'pong'), (listed, first)


@test('without a token a WebSocket has ten seconds for its first message')
async def _(user):
    async with server.connect(user, '') as ws:
        error, code = await refusal(ws)
        assert code == 4408 and error['code'] == 'auth_timeout' and error['retry']
    async with server.connect(user, '') as ws:
        await ws.send(json.dumps({'type': 'auth', 'token': token(user, exp_in=-60)}))
        error, code = await refusal(ws)
        assert code == 4401 and error['code'] == 'token_expired'


@test('a user sees only the own tasks; admin sees all')
async def _(user):
    async with server.connect(user, 'token=' + token('another')) as ws:
        error, code = await refusal(ws)
        assert code == 4403 and error['code'] == 'forbidden_user' and not error['retry']
    answer = await server.request('GET', TASKS + user, bearer=token('another'))
    assert answer.status == 403 and error_of(answer) == 'forbidden_user'
    async with server.connect(user, 'token=' + admin()) as ws:
        await receive(ws, 'connected')
    assert (await server.request('GET', TASKS + user, bearer=admin())).status == 200


@test('a renewal that is no admin any more does not keep another user\'s events coming')
async def _(user):
    async with server.connect(user, 'token=' + admin('boss')) as ws:
        await receive(ws, 'connected')
        await ws.send(json.dumps({'type': 'auth', 'token': admin('boss')}))
        await server.publish(user, {'task_id': 'a'})
        await receive(ws, 'task')
        await ws.send(json.dumps({'type': 'auth', 'token': token('boss')}))
        error, code = await refusal(ws)
        assert code == 4403 and error['code'] == 'forbidden_user', error


@test('an EventSource whose URL has a since goes on behind the last event that it was given')
async def _(user):
    ids = [await server.publish(user, {'task_id': 'a', 'n': n}) for n in range(4)]
    path = f'{TASKS}{user}?since={ids[0]}&token={token(user)}'
    head = f'GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n'
    for field, want in ('', ids[1:]), (f'Last-Event-ID: {ids[2]}\r\n', ids[3:]):
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
        writer.write(f'{head}{field}\r\n'.encode())
        seen = await asyncio.wait_for(reader.readuntil(ids[3].encode() + b'\ndata'), 20)
        assert re.findall(r'^id: (\S+)', seen.decode(), re.M) == want, (field, seen)
        writer.close()


@test('a line\'s idempotency key is no key that a request can name')
async def _(user):
    lines = {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': 'job'}
    first = await server.request('POST', TASKS + user, lines, '{"n":1}\n', bearer=worker())
    other = await server.request('POST', TASKS + user, {'Idempotency-Key': 'job:1'}, '{"n":2}',
                                 bearer=worker())
    assert other.status == 202 and other.json['id'] not in first.json['ids']


@test('HEAD of a stream is no stream and takes no reader\'s place')
async def _(user):
    with Server('--max-per-user', '1') as own:
        with socket.create_connection(('127.0.0.1', own.port), 10) as s:
            s.sendall((f'HEAD {TASKS}{user}?token={token(user)} HTTP/1.1\r\nHost: a\r\n'
                       'Accept: text/event-stream\r\n\r\n').encode())
            assert (await asyncio.to_thread(s.recv, 1000)).startswith(b'HTTP/1.1 200')
            async with own.connect(user) as ws:
                await receive(ws, 'connected')


@test('connections of one address that ask nothing are limited as well')
async def _(user):
    def from_address(host):
        s = socket.socket()
        s.bind((host, 0))
        s.connect(('127.0.0.1', own.port))
        return s
    with Server('--max-per-ip', '5', '--max-connections', '20') as own:
        silent = [from_address('127.0.0.9') for _ in range(40)]
        await asyncio.sleep(0.2)
        with from_address('127.0.0.2') as s:
            s.settimeout(10)
            s.sendall(f'GET {TASKS}{user}?token={token(user)} HTTP/1.1\r\nHost: a\r\n\r\n'.encode())
            answer = await asyncio.to_thread(s.recv, 1000)
        for s in silent:
            s.close()
        assert answer.startswith(b'HTTP/1.1 200'), answer


@test('open files are counted also when the first connections have gone')
async def _(user):
    with Server() as own:
        held = [socket.create_connection(('127.0.0.1', own.port)) for _ in range(50)]
        await own.request('GET', '/health')
        held.pop(0).close()
        held.pop(0).close()
        await asyncio.sleep(0.3)
        figures = (await own.request('GET', '/metrics')).body.decode()
        for s in held:
            s.close()
        assert int(re.search(r'^taskws_open_files (\d+)', figures, re.M)[1]) >= 48, figures


@test('a retried body of a thousand lines stores each of them once, whatever came in between')
async def _(user):
    body = b''.join(b'{"n":%d}\n' % n for n in range(1000))

    async def post(key, body):
        fields = {'Content-Type': 'application/x-ndjson', 'Idempotency-Key': key}
        answer = await server.request('POST', TASKS + user, fields, body, bearer=worker())
        assert answer.status == 202, answer.body
        return answer.json['ids']

    first = await post('a', body)
    others = await post('b', body), await post('c', body)
    assert len(set(first + others[0] + others[1])) == 3000
    assert await post('a', body) == first and await post('b', body) == others[0]


@test('publishing wants the scope publish, which is for any user')
async def _(user):
    for who in token(user), token(user, scope='publisher'), admin():
        answer = await server.request('POST', TASKS + user, body=b'{}', bearer=who)
        assert answer.status == 403 and error_of(answer) == 'forbidden_scope'
    for scope in 'publish', 'read publish', 'publish admin':
        answer = await server.request('POST', TASKS + user, body=b'{}',
                                      bearer=token('a worker', scope=scope))
        assert answer.status == 202


@test('a subject may be an integer')
async def _(user):
    assert (await server.request('GET', TASKS + '42', bearer=token(42))).status == 200
    assert (await server.request('GET', TASKS + '42', bearer=token('42'))).status == 200
    assert (await server.request('GET', TASKS + '042', bearer=token(42))).status == 403


@test('a connection ends when its token does, is told before, and may bring a new one')
async def _(user):
    soon = token(user, exp_in=-20)  # ten seconds are left, of the leeway of thirty
    async with server.connect(user, 'token=' + soon) as ends, \
            server.connect(user, 'token=' + soon) as goes_on:
        for ws in ends, goes_on:
            await receive(ws, 'connected')
            assert 0 <= (await receive(ws, 'expiring'))['expires_in'] <= 60
        await goes_on.send(json.dumps({'type': 'auth', 'token': token(user)}))
        error, code = await refusal(ends)
        assert code == 4401 and error['code'] == 'token_expired'
        id = await server.publish(user, {'task_id': 'a'})
        assert (await receive_until(goes_on, 'task'))['id'] == id


@test('a connection stays with its user: a new token of another is refused')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        await ws.send(json.dumps({'type': 'auth', 'token': token('another')}))
        error, code = await refusal(ws)
        assert code == 4403 and error['code'] == 'forbidden_user'


# -- 4. messages --------------------------------------------------------------------------


@test('connected says user, heartbeat, last id and whether it resumes')
async def _(user):
    async with server.connect(user) as ws:
        first = await receive(ws, 'connected')
        assert set(first) == {'type', 'user_id', 'heartbeat_s', 'last_id', 'resumed'}
        assert first['user_id'] == user and first['heartbeat_s'] == 25 and first['resumed'] is False
    id = await server.publish(user, {'task_id': 'a'})
    async with server.connect(user, f'since={id}&token=' + token(user)) as ws:
        first = await receive(ws, 'connected')
        assert first['last_id'] == id and first['resumed'] is True


@test('ping is answered by pong, in JSON and in the protocol')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        await ws.send('{"type":"ping"}')
        assert await receive(ws) == {'type': 'pong'}
        await asyncio.wait_for(await ws.ping(b'payload'), 20)


@test('a message that means nothing is answered by bad_message, and the connection stays')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        for message in '{"type":"nonsense"}', 'x', '{}', '[1]', '{"type":1}':
            await ws.send(message)
            error = await receive(ws, 'error')
            assert error['code'] == 'bad_message' and 'close' not in error, error
        await ws.send('{"type":"ping"}')
        await receive(ws, 'pong')


@test('the raw format gives the worker\'s JSON alone, and errors as ever')
async def _(user):
    await server.publish(user, b'{"task_id": "a"}')
    async with server.connect(user, 'format=raw&token=' + token(user)) as ws:
        assert await ws.recv() == '{"task_id": "a"}'
        await server.publish(user, b'{ }')
        assert await ws.recv() == '{ }'
    async with server.connect(user, 'format=raw&token=x') as ws:
        assert (await refusal(ws))[1] == 4401


@test('every browser of a user gets an event, and nobody else does')
async def _(user):
    async with server.connect(user) as one, server.connect(user) as two, \
            server.connect(user + '0') as other:
        for ws in one, two, other:
            await receive(ws, 'connected')
        id = await server.publish(user, {'task_id': 'a'})
        for ws in one, two:
            assert (await receive(ws, 'task'))['id'] == id
        await other.send('{"type":"ping"}')
        assert await receive(other) == {'type': 'pong'}


# -- 5. position, snapshot, resume --------------------------------------------------------


@test('without since the latest event of each task comes first, oldest first, then live')
async def _(user):
    ids = await server.publish_many(user, [
        {'task_id': 'a', 'n': 0}, {'task_id': 'b', 'n': 1}, {'task_id': 'a', 'n': 2},
        {'no_task': 3}, {'task_id': 'c', 'n': 4}, {'task_id': 'b', 'n': 5}])
    async with server.connect(user) as ws:
        assert (await receive(ws, 'connected'))['last_id'] == ids[5]
        assert [(await receive(ws, 'task'))['id'] for _ in range(3)] == [ids[2], ids[4], ids[5]]
        live = await server.publish(user, {'no_task': 6})
        assert (await receive(ws, 'task'))['id'] == live


@test('with since every later event comes, none twice, none missing')
async def _(user):
    ids = await server.publish_many(user, [{'task_id': 'a', 'n': n} for n in range(100)])
    for at in 0, 50, 98, 99:
        async with server.connect(user, f'since={ids[at]}&token=' + token(user)) as ws:
            assert (await receive(ws, 'connected'))['resumed'] is True
            live = await server.publish(user, {'n': 'live'})
            ids.append(live)
            got = [(await receive(ws, 'task'))['id'] for _ in ids[at + 1:]]
            assert got == ids[at + 1:]


@test('a position that is no longer retained is answered by reset and the snapshot')
async def _(user):
    ids = []
    for _ in range(4):
        ids += await server.publish_many(
            user, [{'task_id': str(n % 3), 'n': n} for n in range(100)])
    for gone in ids[0], '1-1':
        async with server.connect(user, f'since={gone}&token=' + token(user)) as ws:
            assert (await receive(ws, 'connected'))['resumed'] is False
            assert (await receive(ws, 'reset'))['reason']
            assert [(await receive(ws, 'task'))['id'] for _ in range(3)] == ids[-3:]


@test('an event published at any moment of a handshake arrives')
async def _(user):
    stop = asyncio.Event()

    async def publisher():
        n = 0
        while not stop.is_set():
            n += 1
            await server.publish(user, {'task_id': 'a', 'n': n})

    async def reader():
        for _ in range(15):
            async with server.connect(user) as ws:
                await receive(ws, 'connected')
                n = [(await receive(ws, 'task'))['data']['n'] for _ in range(4)]
                assert n == list(range(n[0], n[0] + 4)), n

    await server.publish(user, {'task_id': 'a', 'n': 0})
    published = asyncio.create_task(publisher())
    try:
        await asyncio.gather(*(reader() for _ in range(4)))
    finally:
        stop.set()
        await published


@test('an event published together with the handshake arrives, though nothing follows it')
async def _(user):
    async def publish_after(seconds, name):
        await asyncio.sleep(seconds)
        return await server.publish(name, {'task_id': 'a'})

    for n in range(400):
        name = f'{user}-{n}'
        ws, id = await asyncio.gather(server.connect(name), publish_after(n % 20 / 5000, name))
        assert (await receive_until(ws, 'task'))['id'] == id
        await ws.close()


@test('a bad position or format is refused with 4400, over HTTP with 400')
async def _(user):
    for query in 'since=x', 'since=1-', 'since=-1', 'since=1-2-3', 'format=odd':
        async with server.connect(user, query + '&token=' + token(user)) as ws:
            error, code = await refusal(ws)
            assert code == 4400 and error['code'] == 'bad_request' and not error['retry'], query
    answer = await server.request('GET', TASKS + user + '?since=x',
                                  {'Accept': 'text/event-stream'}, bearer=token(user))
    assert answer.status == 400 and error_of(answer) == 'bad_request'


@test('a slow reader is given the latest of each task, and the last status is never dropped')
async def _(user):
    filler = 'x' * 60000
    async with server.connect_slowly(user) as ws:
        await receive(ws, 'connected')
        ws.transport.pause_reading()
        for n in range(250):
            await server.publish(user, {'task_id': str(n % 2), 'n': n, 'filler': filler})
        await server.publish(user, {'task_id': '0', 'n': 'last'})
        ws.transport.resume_reading()
        seen, steps = {}, 0
        while seen.get('0') != 'last':
            event = (await receive_until(ws, 'task'))['data']
            seen[event['task_id']] = event['n']
            steps += 1
        assert seen['1'] == 249 and steps < 250, (seen['1'], steps)


# -- 6. close codes -----------------------------------------------------------------------


@test('violations of the protocol are closed with their code')
async def _(user):
    masked = b'\x00\x00\x00\x00'
    for code, frame in [(1002, b'\x81\x02{}'),                              # not masked
                        (1002, b'\xc1\x80' + masked),                       # RSV1
                        (1002, b'\x83\x80' + masked),                       # opcode 3
                        (1002, b'\x80\x80' + masked),                       # continues nothing
                        (1002, b'\x89\xfe\x00\x7e' + masked + b'x' * 126),  # a long ping
                        (1002, b'\x88\x81' + masked + b'x'),                # half a close code
                        (1007, b'\x81\x81' + masked + b'\xff'),
                        (1009, b'\x81\xff' + (65537).to_bytes(8, 'big') + masked)]:
        async with server.connect(user) as ws:
            await receive(ws, 'connected')
            ws.transport.write(frame)
            assert (await closing(ws))[1] == code, (code, frame)


@test('a binary message is of the wrong type: 1003')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        await ws.send(b'{}')
        assert (await closing(ws))[1] == 1003


@test('a message over 64 KiB is closed with 1009, as is one of 1,025 frames')
async def _(user):
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        await ws.send('x' * 65537)
        assert (await closing(ws))[1] == 1009
    async with server.connect(user) as ws:
        await receive(ws, 'connected')
        await ws.send('{"type":"ping"}'[i:i + 1] for i in range(15))
        await receive(ws, 'pong')
        await ws.send(['x'] * 1025)
        assert (await closing(ws))[1] == 1009


@test('a close is answered with its own code')
async def _(user):
    for code in 1000, 1001, 3000, 4999:
        async with server.connect(user) as ws:
            await receive(ws, 'connected')
            await ws.close(code, 'bye')
            assert ws.close_code == code


@test('with a list of origins any other is refused with 4403, over HTTP with 403')
async def _(user):
    with Server('--origin', 'https://app.example,http://localhost:3000') as own:
        for origin in 'https://app.example', 'http://localhost:3000', None:
            headers = {'Origin': origin} if origin else {}
            async with own.connect(user, extra_headers=headers) as ws:
                await receive(ws, 'connected')
        for origin in ('https://app.example.evil', 'https://evil-app.example', 'null',
                       'http://app.example', 'https://app.example:8443'):
            async with own.connect(user, extra_headers={'Origin': origin}) as ws:
                error, code = await refusal(ws)
                assert code == 4403 and error['code'] == 'forbidden_origin', origin
            answer = await own.request('GET', TASKS + user, {'Origin': origin}, bearer=token(user))
            assert answer.status == 403 and error_of(answer) == 'forbidden_origin', origin
            assert answer.getheader('Access-Control-Allow-Origin') is None, origin
    for origin in server.origin, 'https://app.example':  # a page must hold a token anyway
        async with server.connect(user, origin=origin) as ws:
            await receive(ws, 'connected')


@test('a page of a listed origin may read the answers and ask beforehand (CORS)')
async def _(user):
    asks = {'Origin': 'https://app.example', 'Access-Control-Request-Method': 'POST',
            'Access-Control-Request-Headers': 'authorization,content-type'}
    with Server('--origin', 'https://app.example') as own:
        answer = await own.request('GET', TASKS + user, {'Origin': 'https://app.example'},
                                   bearer=token(user))
        assert answer.status == 200
        assert answer.getheader('Access-Control-Allow-Origin') == 'https://app.example'
        assert 'Origin' in (answer.getheader('Vary') or '')
        before = await own.request('OPTIONS', TASKS + user, asks)
        assert before.status in (200, 204), before.status
        assert before.getheader('Access-Control-Allow-Origin') == 'https://app.example'
        assert 'authorization' in before.getheader('Access-Control-Allow-Headers').lower()
        assert 'POST' in before.getheader('Access-Control-Allow-Methods')
        asks['Origin'] = 'https://evil.example'
        evil = await own.request('OPTIONS', TASKS + user, asks)
        assert evil.getheader('Access-Control-Allow-Origin') is None


@test('a user has so many connections and no more: 4429; another user is served')
async def _(user):
    with Server('--max-per-user', '2') as own:
        async with own.connect(user) as one, own.connect(user) as two, own.connect(user) as three:
            await receive(one, 'connected')
            await receive(two, 'connected')
            error, code = await refusal(three)
            assert code == 4429 and error['code'] == 'too_many_connections' and error['retry']
            async with own.connect(user + '0') as other:
                await receive(other, 'connected')
            await one.close()
            async with own.connect(user) as four:
                await receive(four, 'connected')


@test('an address has so many connections and no more: 4429, over HTTP 429')
async def _(user):
    with Server('--max-per-ip', '2') as own:
        async with own.connect(user) as one, own.connect(user) as two, own.connect(user) as three:
            await receive(one, 'connected')
            await receive(two, 'connected')
            error, code = await refusal(three)
            assert code == 4429 and error['code'] == 'too_many_connections'
        async with own.connect(user) as one, own.connect(user) as two:
            await receive(one, 'connected')
            await receive(two, 'connected')
            answer = await own.request('GET', TASKS + user, bearer=token(user))
            assert answer.status == 429 and error_of(answer) == 'too_many_connections'


@test('of IPv6 a /64 is one address, as a proxy tells it and as it is; of IPv4 each is one')
async def _(user):
    with Server('--max-per-ip', '2', '--trust-proxy') as own:
        async def status(address):
            headers = {'X-Forwarded-For': address}
            async with own.connect(user, extra_headers=headers) as one, \
                    own.connect(user, extra_headers=headers) as two:
                await receive(one, 'connected')
                await receive(two, 'connected')
                return [(await own.request('GET', TASKS + user, {'X-Forwarded-For': other},
                                           bearer=token(user))).status
                        for other in ('2001:db8::7', '[2001:DB8::ffff]:8080', '2001:db8:0:1::7',
                                      '::ffff:10.0.0.1', '10.0.0.1', '10.0.0.2')]
        assert await status('2001:db8::1') == [429, 429, 200, 200, 200, 200]
        assert await status('10.0.0.1') == [200, 200, 200, 429, 429, 200]


@test('a full server says so: 1013, over HTTP 503, and serves again when there is room')
async def _(user):
    with Server('--max-connections', '2') as own:
        async with own.connect(user) as one, own.connect(user) as two:
            await receive(one, 'connected')
            await receive(two, 'connected')
            async with own.connect(user) as three:
                error, code = await refusal(three)
                assert code == 1013 and error['code'] == 'overloaded' and error['retry']
            answer = await own.request('GET', TASKS + user, bearer=token(user))
            assert answer.status == 503 and error_of(answer) == 'overloaded'
        async with own.connect(user) as again:
            await receive(again, 'connected')


@test('who answers no ping is closed with 4408; who does stays')
async def _(user):
    with Server('--heartbeat', '1') as own:
        async with own.connect(user) as lives, own.connect(user) as dead:
            assert (await receive(lives, 'connected'))['heartbeat_s'] == 1
            await receive(dead, 'connected')

            async def no_pong(data=b''):
                pass
            dead.pong = no_pong
            messages, code = await closing(dead)
            assert code == 4408
            await lives.send('{"type":"ping"}')
            assert await receive(lives) == {'type': 'pong'}


@test('an idle event stream is kept alive')
async def _(user):
    with Server('--heartbeat', '1') as own:
        async with stream(own, user) as events:
            assert (await events.next())['event'] == 'connected'
            assert (await events.line()).startswith(':')


@test('who takes nothing for thirty seconds is closed with 4409 and may resume')
async def _(user):
    filler = 'x' * 60000
    with Server('--heartbeat', '120') as own:  # no ping comes between
        async with own.connect_slowly(user) as ws:
            await receive(ws, 'connected')
            ws.transport.pause_reading()
            for n in range(250):
                id = await own.publish(user, {'task_id': 'a', 'n': n, 'filler': filler})
            given_up = b''
            while b'\ntaskws_timeouts_total 1\n' not in given_up:
                await asyncio.sleep(0.2)
                given_up = (await own.request('GET', '/metrics')).body
            ws.transport.resume_reading()
            messages, code = await closing(ws)
            assert code == 4409, code
            assert messages[-1]['code'] == 'slow_consumer' and messages[-1]['retry'], messages[-1]
        last = [m['id'] for m in messages if m['type'] == 'task'][-1]
        async with own.connect(user, f'since={last}&token=' + token(user)) as ws:
            while (await receive_until(ws, 'task'))['id'] != id:
                pass


# -- 6. HTTP answers and 8. limits --------------------------------------------------------

REQUEST = 'POST ' + TASKS + '{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n'


def status_of(received):
    """The first answer's status and error word."""
    head, _, body = received.partition(b'\r\n\r\n')
    body = body[:int(re.search(rb'(?i)content-length: *(\d+)', head).group(1))]
    return int(head.split(b' ')[1]), json.loads(body)['error']['code']


@test('a body over 64 KiB is 413, also when it comes in chunks or is only announced')
async def _(user):
    head = REQUEST.format(user, worker()).encode()
    for rest in [b'Content-Length: 65537\r\n\r\n' + b'x' * 65537,
                 b'Content-Length: 99999999999\r\n\r\n',
                 b'Transfer-Encoding: chunked\r\n\r\n' +
                 (b'1000\r\n' + b'x' * 4096 + b'\r\n') * 17]:
        assert (await server.raw(head + rest, 0.2))[:13] == b'HTTP/1.1 413 '


@test('a body comes in chunks too')
async def _(user):
    head = REQUEST.format(user, worker()).encode() + b'Connection: close\r\n'
    answer = await server.raw(head + b'Transfer-Encoding: chunked\r\n\r\n'
                              b'7\r\n{"a":1,\r\n6\r\n"b":2}\r\n0\r\n\r\n')
    assert answer.startswith(b'HTTP/1.1 202 '), answer


@test('a publication without a length is 411')
async def _(user):
    head = REQUEST.format(user, worker()) + 'Connection: close\r\n\r\n'
    answer = await server.raw(head.encode())
    assert answer.startswith(b'HTTP/1.1 411 '), answer


@test('a target over the limit is 414, and too long or too many fields are 431')
async def _(user):
    for status, request in [(414, 'GET /' + 'x' * 17000 + ' HTTP/1.1\r\nHost: x\r\n\r\n'),
                            (431, 'GET / HTTP/1.1\r\nHost: x\r\nA: ' + 'x' * 17000 + '\r\n\r\n'),
                            (431, 'GET / HTTP/1.1\r\nHost: x\r\n' + 'A: b\r\n' * 2000 + '\r\n')]:
        code, word = status_of(await server.raw(request.encode(), 0.2))
        assert code == status and word in ('bad_request', 'message_too_big'), (status, code, word)


@test('an unfinished head or body is 408 after ten seconds, however it drips')
async def _(user):
    async def drip(start, part):
        reader, writer = await asyncio.open_connection('127.0.0.1', server.port)
        writer.write(start)
        answer = asyncio.create_task(reader.read())
        for _ in range(25):
            if answer.done():
                break
            writer.write(part)
            await asyncio.sleep(1)
        received = await asyncio.wait_for(answer, 20)
        writer.close()
        return received

    body = REQUEST.format(user, worker()).encode() + b'Content-Length: 1000\r\n\r\n'
    for answer in await asyncio.gather(drip(b'GET / HTTP/1.1\r\nA: ', b'x'), drip(body, b'x')):
        assert answer.startswith(b'HTTP/1.1 408 '), answer


@test('another version of the protocol is 426 and told the right one')
async def _(user):
    answer = await server.raw(
        f'GET {TASKS}{user}?token={token(user)} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n'
        'Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
        'Sec-WebSocket-Version: 8\r\n\r\n'.encode() +
        b'GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    assert answer.startswith(b'HTTP/1.1 426 ')
    assert re.search(rb'(?i)sec-websocket-version: 13\r\n', answer)


@test('malformed requests are 400, unknown transfer codings 501, other versions of HTTP 505')
async def _(user):
    for statuses, request in [
            ({400}, b'nonsense\r\n\r\n'), ({400}, b'GET / HTTP/1.1\r\n\r\n'),
            ({400}, b'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'),
            ({400}, b'GET / HTTP/1.1\r\nHost : a\r\n\r\n'),
            ({400}, b'GET / HTTP/1.1\nHost: a\n\n'),
            ({400}, b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx'),
            ({400}, b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n'
                    b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
            ({400, 501}, b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n'),
            ({400, 505}, b'GET / HTTP/2.0\r\nHost: a\r\n\r\n')]:
        answer = await server.raw(request)
        assert int(answer.split(b' ')[1]) in statuses, (request, answer)


# -- starting and stopping ----------------------------------------------------------------


@test('at SIGTERM everybody is told, closes are spread, nothing new is ready, the end is clean')
async def _(user):
    with Server('--max-per-user', '100') as own:
        sockets = [await own.connect(user) for _ in range(30)]
        for ws in sockets:
            await receive(ws, 'connected')
        own.signal(signal.SIGTERM)
        begin = time.monotonic()

        async def leave(ws):
            error, code = await refusal(ws)
            assert code == 1001 and error['code'] == 'draining' and error['retry']
            return time.monotonic() - begin
        left = sorted(await asyncio.gather(*(leave(ws) for ws in sockets)))
        assert left[-1] - left[0] > 2, left
        assert left[-1] < 18, left
        assert await asyncio.to_thread(own.end) == 0


@test('a draining server is not ready, and says why')
async def _(user):
    with Server('--drain', '60') as own:
        async with own.connect(user) as one, own.connect(user) as two:  # told after 0 and 30 s
            await receive(one, 'connected')
            await receive(two, 'connected')
            own.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            ready = await own.request('GET', '/ready')
            assert ready.status == 503 and b'draining' in ready.body, ready.body
            assert (await own.request('GET', '/health')).status == 200
            async with own.connect(user) as late:
                error, code = await refusal(late)
                assert code == 1001 and error['code'] == 'draining'


@test('a second SIGTERM ends it at once')
async def _(user):
    with Server('--drain', '60') as own:
        async with own.connect(user) as one, own.connect(user) as two:  # told after 0 and 30 s
            await receive(one, 'connected')
            await receive(two, 'connected')
            own.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert own.process.poll() is None
            own.signal(signal.SIGTERM)
            begin = time.monotonic()
            await asyncio.to_thread(own.end)
            assert time.monotonic() - begin < 20


@test('it serves on a socket of the file system')
async def _(user):
    with tempfile.TemporaryDirectory() as directory:
        path = directory + '/socket'
        with Program('server', '--unix', path, env={'TASKWS_SECRET': SECRET}) as own:
            own.wait_for('listening on')
            async with websockets.unix_connect(
                    path, f'ws://x{TASKS}{user}?token={token(user)}') as ws:
                await receive(ws, 'connected')
            async with websockets.unix_connect(path, f'ws://x{TASKS}{user}?token=none') as ws:
                await refusal(ws)
            await asyncio.to_thread(own.wait_for, 'refused .*address=unix$')


@test('it serves with several threads as with one')
async def _(user):
    with Server('--threads', '4', '--max-per-user', '100') as own:
        sockets = [await own.connect(user) for _ in range(20)]
        for ws in sockets:
            await receive(ws, 'connected')
        ids = await own.publish_many(user, [{'task_id': 'a', 'n': n} for n in range(20)])
        for ws in sockets:
            assert [(await receive(ws, 'task'))['id'] for _ in ids] == ids
            await ws.close()


@test('another prefix moves the routes')
async def _(user):
    with Server('--prefix', '/live') as own:
        assert (await own.request('GET', '/live/status', bearer=token(user))).status == 200
        assert (await own.request('GET', PREFIX + '/status', bearer=token(user))).status == 404


@test('the dashboard is served, with types and without sniffing')
async def _(user):
    answer = await server.request('GET', '/')
    assert answer.status == 200
    assert answer.getheader('Content-Type').startswith('text/html')
    for name, kind in [('app.js', 'javascript'), ('style.css', 'css'), ('taskws.js', 'javascript')]:
        answer = await server.request('GET', '/' + name)
        assert answer.status == 200 and kind in answer.getheader('Content-Type'), name
        with open(f'{ROOT}/examples/web/{name}', 'rb') as file:
            assert answer.body == file.read(), name


# -- a client of event streams ------------------------------------------------------------


class stream:
    """Reads events as the standard says: fields of lines, data lines joined by newlines."""

    def __init__(self, of, user, headers=None):
        head = {'Host': 'x', 'Accept': 'text/event-stream',
                'Authorization': 'Bearer ' + token(user), **(headers or {})}
        self.port = of.port
        self.head = f'GET {TASKS}{user} HTTP/1.1\r\n' + \
            ''.join(f'{k}: {v}\r\n' for k, v in head.items()) + '\r\n'

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection('127.0.0.1', self.port)
        self.writer.write(self.head.encode())
        head = (await self.reader.readuntil(b'\r\n\r\n')).decode()
        assert head.startswith('HTTP/1.1 200 '), head
        assert 'text/event-stream' in head and 'chunked' not in head.lower(), head
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    async def line(self):
        return (await asyncio.wait_for(self.reader.readline(), 20)).decode().rstrip('\r\n')

    async def next(self):
        event, data = {}, []
        while True:
            line = await self.line()
            if line == '' and (event or data):
                return {**event, 'data': '\n'.join(data)}
            name, _, value = line.partition(':')
            if name == 'data':
                data.append(value.removeprefix(' '))
            elif name:
                event[name] = value.removeprefix(' ')


# -- time ---------------------------------------------------------------------------------


@test('a server that stood still for longer than its deadlines judges nobody by that')
async def _(user):
    mine = token(user)
    head = f'GET {TASKS}{user} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mine}\r\n'
    post = (f'POST {TASKS}{user} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {worker()}\r\n'
            'Content-Length: 12000\r\n\r\n')
    halves = [(head, '\r\n', b' 200 '), (post + '{"a":"', 'x' * 11992 + '"}', b' 202 '),
              ('', head + '\r\n', b' 200 ')]
    with Server() as own:
        asking = [await asyncio.open_connection('127.0.0.1', own.port) for _ in halves]
        async with own.connect(user, '') as ws:
            for (_, writer), (first, _, _) in zip(asking, halves):
                writer.write(first.encode())
                await writer.drain()
            await asyncio.sleep(0.3)
            own.signal(signal.SIGSTOP)
            for (_, writer), (_, second, _) in zip(asking, halves):
                writer.write(second.encode())
                await writer.drain()
            await ws.send(json.dumps({'type': 'auth', 'token': mine}))
            await asyncio.sleep(11)  # and its deadlines are of 10 s
            own.signal(signal.SIGCONT)
            for (reader, writer), (_, _, status) in zip(asking, halves):
                assert status in await asyncio.wait_for(reader.readline(), PATIENCE), status
                writer.close()
            await receive(ws, 'connected')


# -- all of it ----------------------------------------------------------------------------


@test('no token has reached the log')
async def _(user):
    bad = token(user, exp_in=-60)
    with Server('--log-level', 'debug', '--log', 'json') as own:
        async with own.connect(user) as ws:
            await receive(ws, 'connected')
        async with own.connect(user, 'token=' + bad) as ws:
            await refusal(ws)
        await own.request('GET', TASKS + user + '?token=' + bad)
        await own.request('GET', '/nothing?token=' + token(user))
        await own.request('GET', '/' + token(user))
        assert own.output().count('token_expired') == 2
        assert not re.search(r'eyJ[\w-]{10}', own.output()), own.output()
        for line in own.lines:
            assert 'listening' in line or json.loads(line)


async def main():
    global server
    with Server('--max-per-user', '16') as server:
        results = await run_all(abreast=12)
        if not all(results):
            print(server.output()[-4000:])
        server.signal(signal.SIGTERM)
        if server.end() != 0 or re.search(r'eyJ[\w-]{10}', server.output()):
            print('not ok - the server ends cleanly and its log holds no token')
            results.append(False)
    finish(results)


asyncio.run(main())
