"""The programs of build/ as a person uses them: options, exit codes, and three of them together."""

import fcntl
import pty
import select
import shutil
import struct
import tempfile
import termios

from harness import *

PROGRAMS = ['server', 'token', 'watch', 'publish', 'doctor', 'echo', 'minimal']
with open(os.path.join(ROOT, 'taskws.h')) as header:
    HEADER = header.read()
EMPTY = {k: v for k, v in os.environ.items() if not k.startswith('TASKWS_')}


def run(name, *args, env=None, stdin='', seconds=60):
    """Runs a program of build/ to its end."""
    return subprocess.run([os.path.join(BUILD, name), *args], env={**EMPTY, **(env or {})},
                          input=stdin, capture_output=True, text=True, timeout=seconds)


async def ends(name, *args, **options):
    return await asyncio.to_thread(run, name, *args, **options)


def claims(of):
    return jwt.decode(of, SECRET, algorithms=['HS256'], options={'verify_aud': False})


# -- options ------------------------------------------------------------------------------


@test('--help says how to use each program, on standard output, and succeeds')
async def _(_user):
    for name in PROGRAMS[:-1]:
        done = await ends(name, '--help')
        assert done.returncode == 0 and len(done.stdout) > 100 and not done.stderr, name
        assert name in done.stdout, name


@test('an unknown option and a missing value are wrong usage: 2, said on standard error')
async def _(_user):
    for name in PROGRAMS[:-1]:
        for args in ['--no-such-option'], ['--host']:
            if name == 'token' and args == ['--host']:
                args = ['--sub']
            done = await ends(name, *args)
            assert done.returncode == 2 and not done.stdout, (name, args, done)
            said = 'unknown option' if args == ['--no-such-option'] else 'a value'
            assert args[0] in done.stderr and said in done.stderr, (name, args, done)
            assert done.stderr.endswith(' (see --help)\n'), (name, args, done)


@test('a user that no server takes is wrong usage, and not cut to one that it does')
async def _(_user):
    for name in 'token', 'watch', 'publish', 'doctor':
        option = '--sub' if name == 'token' else '--user'
        for user in '', 'u' * 129, b'\xff':
            done = await ends(name, '--secret', SECRET, option, user)
            assert done.returncode == 2 and f'{option}: wants 1 to 128' in done.stderr, (name, done)
            assert not done.stdout, (name, done)


@test('what watch and publish would pass over, or take for something else, is wrong usage')
async def _(_user):
    for name, *args in (['watch', '--since', '1' * 70], ['watch', '--since', '5--'],
                        ['watch', '--since', ''], ['watch', '--since', '5-5', '--once'],
                        ['watch', '--url', 'http://127.0.0.1:1/#user=demo'],
                        ['publish', '--url', 'http://127.0.0.1:1/?a', '{}']):
        done = await ends(name, '--user', '2', '--token', 'a', *args, seconds=10)
        assert done.returncode == 2 and done.stderr.startswith(args[0]), (name, done)
    with tempfile.NamedTemporaryFile('w') as file:
        file.write('redis://x:y')
        file.flush()
        done = await ends('publish', '--user', '2', '--redis-file', file.name, '{}')
        assert done.returncode == 2 and done.stderr.startswith(file.name), done


@test('an address that is none is wrong usage, and nobody connects to what it might have meant')
async def _(_user):
    for option, values in (
            ('--port', ['70000', '0', '-1', 'http', '']), ('--host', ['', 'a b']),
            ('--prefix', ['live', '/a?b', '/#user=demo']),
            ('--url', ['http://', 'http://:80', 'http://[::1', 'http://[::1]80', 'http://[]:80',
                       'http://127.0.0.1:70000', 'http://u:p@127.0.0.1:80', '127.0.0.1:80'])):
        for name in 'watch', 'publish', 'doctor':
            for value in values:
                args = ['{}'] if name == 'publish' else ['--once'] if name == 'watch' else []
                done = await ends(name, '--user', '2', '--token', 'a', option, value, *args)
                assert done.returncode == 2, (name, option, value, done)
                assert done.stderr.startswith(f'{option}: '), (name, option, value, done)


@test('--url and its parts say the same, with a / at the end or none')
async def _(user):
    with Server('--prefix', '/live') as own:
        host, port = own.origin.rpartition('/')[2].split(':')
        for args in (['--url', f'{own.origin}/live/'], ['--url', own.origin, '--prefix', '/live/'],
                     ['--host', host, '--port', port, '--prefix', '/live']):
            done = await ends('watch', '--once', '--user', user, '--secret', SECRET, *args)
            assert done.returncode == 0, (args, done)


@test('a misspelt option that takes a secret is told without it')
async def _(_user):
    for name in 'server', 'token', 'watch', 'publish', 'doctor':
        for dash in '-', '--':
            done = await ends(name, f'{dash}jwt-secret={SECRET}')
            assert done.returncode == 2 and dash + 'jwt-secret' in done.stderr, (name, done)
            assert SECRET not in done.stderr, (name, done)


@test('--origin takes origins, and * alone')
async def _(_user):
    for value in ('https://*.example.com', 'example.com', 'https://a.example,*.b.example',
                  'https://a.example/', 'https://a.example https://b.example', 'https://',
                  'https://a.example:443', 'HTTP://a.example:80', 'https://u:p@a.example'):
        done = await ends('server', '--routes', '--origin', value)
        assert done.returncode == 2 and '--origin' in done.stderr, (value, done)
    for value in ('*', 'null', 'https://a.example, http://[::1]:8080', 'capacitor://localhost',
                  'file://', 'https://a.example:80,http://a.example:443', 'http://[::80]'):
        assert (await ends('server', '--routes', '--origin', value)).returncode == 0, value


@test('--audience and --issuer: tokens for others, and of others, are refused')
async def _(user):
    with Server('--audience', 'tasks', '--issuer', 'https://login') as own:
        for claims, status in (({'aud': ['tasks', 'more'], 'iss': 'https://login'}, 200),
                               ({'aud': 'billing', 'iss': 'https://login'}, 401),
                               ({'iss': 'https://login'}, 401),
                               ({'aud': 'tasks', 'iss': 'https://other'}, 401),
                               ({'aud': 'tasks'}, 401)):
            headers = {'Authorization': 'Bearer ' + token(user, **claims)}
            answer = await own.request('GET', f'{PREFIX}/tasks/{user}', headers=headers)
            assert answer.status == status, (claims, answer)
    with Program('server', '--port', '0', '--demo', '--audience', 'a"b', '--issuer', 'c') as own:
        url = own.wait_for(r'(http://\S+)/#user=demo&token=(\S+)')
        curl = await asyncio.to_thread(
            subprocess.run, ['curl', '-s', '-H', 'Authorization: Bearer ' + url.group(2),
                             f'{url.group(1)}{PREFIX}/tasks/demo'], capture_output=True)
        assert b'"tasks":' in curl.stdout, curl
    assert (await ends('server', '--audience', '')).returncode == 2


@test('--compress-from is a number of bytes or off, and nothing else')
async def _(_user):
    for name in 'server', 'echo':
        for value in 'on', '', '-1', '1k', 'OFF':
            done = await ends(name, '--compress-from', value)
            assert done.returncode == 2 and '--compress-from' in done.stderr, (name, value, done)


@test('every program takes --name=value, too, and no number out of its range')
async def _(user):
    for name in PROGRAMS[:-1]:
        named = {'token': '--scope', 'server': '--prefix', 'echo': '--host'}
        option = named.get(name, '--token')
        done = await ends(name, f'{option}=', '--no-such-option')
        assert done.returncode == 2 and '--no-such-option' in done.stderr, (name, done)
    v6 = os.path.exists('/proc/net/if_inet6')
    host, shown = ('::1', '[::1]') if v6 else ('127.0.0.1', '127.0.0.1')
    with Program('echo', f'--host={host}', '--port=0', '--compress-from=off') as own:
        own.wait_for('listening on http://' + re.escape(shown) + r':\d+$')
    for option in '--port=65536', '--threads=0', '--context-bits=16', '--max-message=-1':
        done = await ends('echo', option, seconds=10)
        assert done.returncode == 2 and option.split('=')[0] in done.stderr, (option, done)


@test('the server\'s help names every option of the contract')
async def _(_user):
    text = (await ends('server', '--help')).stdout
    for option in ('host port unix threads prefix secret secret-file redis origin tls-cert tls-key '
                   'max-connections max-per-user max-per-ip heartbeat compress-from log log-level '
                   'trust-proxy demo routes redis-script version help').split():
        assert '--' + option in text, option


@test('--version prints the version of the header')
async def _(_user):
    done = await ends('server', '--version')
    version = re.search(r'#define TWS_VERSION "(.*)"', HEADER).group(1)
    assert done.returncode == 0 and version in done.stdout


@test('--routes prints the one table, without doubles')
async def _(_user):
    done = await ends('server', '--routes')
    assert done.returncode == 0, done
    lines = [' '.join(line.split()) for line in done.stdout.splitlines()]
    for route in (f'GET {PREFIX}/tasks/{{user_id}}', f'POST {PREFIX}/tasks/{{user_id}}',
                  f'GET {PREFIX}/status', 'GET /health', 'GET /ready', 'GET /metrics', 'GET /'):
        assert lines.count(route) == 1, (route, lines)
    assert len(set(lines)) == len(lines)


@test('a doubled prefix is refused at the start, with an error that names it')
async def _(_user):
    done = await ends('server', '--port', '0', '--prefix', '/api/v1/api/v1/ws',
                      env={'TASKWS_SECRET': SECRET}, seconds=10)
    assert done.returncode in (1, 2) and '/api/v1/api/v1' in done.stderr, done


@test('--redis-script prints the script that the contract describes')
async def _(_user):
    done = await ends('server', '--redis-script')
    assert done.returncode == 0, done
    for word in 'XADD', 'MAXLEN', 'PEXPIRE', 'PUBLISH':
        assert word.lower() in done.stdout.lower(), word


@test('no secret, an empty one and a short one are refused at the start')
async def _(_user):
    for env in {}, {'TASKWS_SECRET': ''}, {'TASKWS_SECRET': 'short'}:
        done = await ends('server', '--port', '0', env=env, seconds=10)
        assert done.returncode in (1, 2) and 'secret' in done.stderr.lower(), (env, done)


@test('every option may come from the environment')
async def _(_user):
    with Program('server', env={'TASKWS_SECRET': SECRET, 'TASKWS_PORT': '0',
                                'TASKWS_PREFIX': '/from/env'}) as own:
        port = own.wait_for(r'listening on http://[^:]+:(\d+)').group(1)
        url = f'http://127.0.0.1:{port}/from/env/status'
        curl = await asyncio.to_thread(
            subprocess.run, ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url],
            capture_output=True, text=True)
        assert curl.stdout == '401', curl


@test('a switch in the environment is on or off by any usual word, and else refused')
async def _(user):
    forged = {'X-Forwarded-For': '6.6.6.6'}
    for word, on in (('1', True), ('true', True), ('on', True), ('0', False), ('false', False),
                     ('no', False), ('off', False)):
        with Server(env={'TASKWS_TRUST_PROXY': word}) as own:
            await own.request('GET', f'{PREFIX}/tasks/{user}', forged)
            line = await asyncio.to_thread(own.wait_for, r'refused .*address=(\S+)')
            assert (line.group(1) == '6.6.6.6') == on, (word, line.group(0))
    for word in 'maybe', '2', 'False!':
        done = await ends('server', '--port', '0', seconds=10,
                          env={'TASKWS_SECRET': SECRET, 'TASKWS_TRUST_PROXY': word})
        assert done.returncode == 2 and '$TASKWS_TRUST_PROXY' in done.stderr, done


@test('a log of JSON is JSON to the last line, and a bad key file keeps the keys')
async def _(user):
    with tempfile.NamedTemporaryFile('w') as file:
        file.write('k ' + 'A' * 40)
        file.flush()
        with Server('--secret-file', file.name, '--log', 'json', secret=None) as own:
            mine = token(user, secret='A' * 40, headers={'kid': 'k'})
            for text in ('k ' + 'A' * 40 + ' 5 6', 'k ' + 'A' * 40 + ' never', '\n'.join(['A' * 40] * 17)):
                file.seek(0)
                file.truncate()
                file.write(text)
                file.flush()
                before = own.output().count('keys kept')
                own.signal(signal.SIGHUP)
                while own.output().count('keys kept') == before:
                    await asyncio.sleep(0.05)
                answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=mine)
                assert answer.status == 200, (text, answer.body)
            for line in own.output().splitlines():
                assert 'listening on' in line or json.loads(line)['message'], line


@test('a key file that has become a FIFO is refused at SIGHUP, and nothing waits for it')
async def _(user):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'keys')
        with open(path, 'w') as file:
            file.write('A' * 40)
        with Server('--secret-file', path, secret=None) as own:
            os.remove(path)
            os.mkfifo(path)
            own.signal(signal.SIGHUP)
            await asyncio.to_thread(own.wait_for, 'keys kept.*regular file')
            answer = await own.request('GET', f'{PREFIX}/tasks/{user}',
                                       bearer=token(user, secret='A' * 40))
            assert answer.status == 200, answer.body
            own.signal(signal.SIGTERM)
            assert await asyncio.to_thread(own.end) == 0, own.output()
        for odd in path, folder, '/dev/null':
            done = await ends('server', '--port', '0', '--secret-file', odd, seconds=10)
            assert done.returncode == 1 and f'{odd}: not a regular file' in done.stderr, done


@test('the secret may stand in a file, with or without a newline at its end')
async def _(user):
    for end in '', '\n', '\r\n':
        with tempfile.NamedTemporaryFile('w') as file:
            file.write('0123456789' * 4 + end)
            file.flush()
            with Server('--secret-file', file.name, secret=None) as own:
                mine = token(user, secret='0123456789' * 4)
                answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=mine)
                assert answer.status == 200, answer.body


@test('a key file that cannot be used is named, with what is wrong: 1')
async def _(_user):
    with tempfile.NamedTemporaryFile('w') as file:
        for text, why in (('', 'no key'), ('# none\n', 'no key'), ('short\n', '32'),
                          (f'k {"A" * 40}\nk {"B" * 40}\n', 'kid')):
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
            done = await ends('server', '--port', '0', '--secret-file', file.name, seconds=10)
            assert done.returncode == 1 and f'{file.name}: ' in done.stderr, done
            assert why in done.stderr, (why, done)
    done = await ends('server', '--secret-file', '/no/such/file', seconds=10)
    assert done.returncode == 1 and '/no/such/file: ' in done.stderr, done


@test('the command line overrides what the environment says by another option')
async def _(user):
    with Server('--secret', SECRET, secret=None,
                env={'TASKWS_SECRET_FILE': '/no/such/file', 'TASKWS_UNIX': '/no/such/socket'}) as own:
        answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=token(user))
        assert answer.status == 200, answer.body
    with tempfile.NamedTemporaryFile('w') as file:
        file.write('0123456789' * 4)
        file.flush()
        with Server('--secret-file', file.name) as own:  # and the other in $TASKWS_SECRET
            answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=token(user))
            assert answer.status == 401, answer.body


@test('of two places for one thing on the command line none is taken in silence')
async def _(user):
    for name in 'server', 'token', 'watch', 'publish', 'doctor':
        for what in 'secret', 'token', 'redis':
            if name in ('server', 'token') and what != 'secret' or what == 'redis' and name != 'publish':
                continue
            args = [f'--{what}', 'redis://127.0.0.1:1', f'--{what}-file', '/no/such/file']
            for given in args, args[2:] + args[:2]:
                done = await ends(name, *given, seconds=10)
                assert done.returncode == 2, (name, given, done)
                assert f'--{what}: not together with --{what}-file' in done.stderr, (name, done)


@test('keys by kid have deadlines and are replaced at SIGHUP, under open connections')
async def _(user):
    old, new, gone = ('old' * 12, 'new' * 12, 'gone' * 10)
    path = f'{PREFIX}/tasks/{user}'

    def by(kid, key):
        return token(user, secret=key, headers={'kid': kid})

    async def status_of(own, bearer):
        return (await own.request('GET', path, bearer=bearer)).status

    with tempfile.NamedTemporaryFile('w') as file:
        file.write(f'# keys of the tests\nold {old}\ngone {gone} 1000000000\n')
        file.flush()
        with Server('--secret-file', file.name, secret=None) as own:
            assert await status_of(own, by('old', old)) == 200
            assert await status_of(own, by('gone', gone)) == 401
            assert await status_of(own, by('new', new)) == 401
            async with own.connect(user, 'token=' + by('old', old)) as ws:
                await receive(ws, 'connected')
                file.seek(0)
                file.truncate()
                file.write(f'new {new}\n')
                file.flush()
                own.signal(signal.SIGHUP)
                own.wait_for('(?i)key')
                assert await status_of(own, by('old', old)) == 401
                assert await status_of(own, by('new', new)) == 200
                await ws.send('{"type":"ping"}')
                await receive(ws, 'pong')
                file.seek(0)
                file.truncate()
                file.write('new short\n')
                file.flush()
                own.signal(signal.SIGHUP)
                own.wait_for('(?i)short|kept')
                assert await status_of(own, by('new', new)) == 200


@test('a port that is taken is said, and fails')
async def _(_user):
    with Server() as own:
        done = await ends('server', '--port', str(own.port), env={'TASKWS_SECRET': SECRET},
                          seconds=10)
        assert done.returncode == 1 and str(own.port) in done.stderr, done


def be_refused(port, seconds):
    """Requests that the server refuses, a hundred a second with a line in its log: some 500 bytes."""
    end = time.monotonic() + seconds
    with socket.create_connection(('127.0.0.1', port), 10) as s, s.makefile('rb') as answers:
        while time.monotonic() < end:
            s.sendall(f'GET {PREFIX}/tasks/{"%01" * 120} HTTP/1.1\r\nHost: a\r\n\r\n'.encode() * 10)
            for _ in range(10):
                assert b' 401 ' in answers.readline()
                length = 0
                while (line := answers.readline()) != b'\r\n':
                    if line.lower().startswith(b'content-length:'):
                        length = int(line[15:])
                answers.read(length)


async def dropped(own):
    text = (await own.request('GET', '/metrics')).body.decode()
    return int(re.search(r'^taskws_log_dropped_total (\d+)$', text, re.M).group(1))


@test('a log that takes no more stops nothing: full disk, pipe unread, without a reader, closed')
async def _(user):
    unread, its_end = os.pipe()
    gone, without_reader = os.pipe()
    os.close(gone)
    with open('/dev/full', 'wb') as full:
        for name, stderr, least, options in (
                ('full disk', full, 200, {}), ('unread', its_end, 50, {}),
                ('no reader', without_reader, 200, {}),
                ('closed', None, 0, {'preexec_fn': lambda: os.close(2)})):
            with Server(stderr=stderr, **options) as own:
                async with own.connect(user) as ws:
                    await receive(ws, 'connected')
                    lines, deadline = -1, time.monotonic() + PATIENCE
                    while lines < least and time.monotonic() < deadline:
                        await asyncio.wait_for(asyncio.to_thread(be_refused, own.port, 3), 30)
                        lines = await dropped(own)
                    await ws.send('{"type":"ping"}')
                    await receive(ws, 'pong')
                assert lines >= least and (lines == 0) == (name == 'closed'), (name, lines)
                own.signal(signal.SIGHUP)  # which writes there too
                own.signal(signal.SIGTERM)
                assert await asyncio.to_thread(own.end) == 0, name
    for fd in unread, its_end, without_reader:
        os.close(fd)


@test('the demo shows tasks that move')
async def _(_user):
    with Program('server', '--port', '0', '--demo') as own:
        url = own.wait_for(r'(http://\S+#\S+)').group(1)
        curl = await asyncio.to_thread(subprocess.run, ['curl', '-sf', url], capture_output=True)
        assert b'<html' in curl.stdout.lower(), (url, curl)
        made_up = jwt.decode(url.split('token=')[1], options={'verify_signature': False})
        assert made_up['scope'] == 'publish'
    with Program('server', '--port', '0', '--demo', env={'TASKWS_SECRET': SECRET}) as own:
        url = own.wait_for(r'(http://\S+#\S+)').group(1)
        assert 'scope' not in claims(url.split('token=')[1])  # others believe this key, too


# -- token --------------------------------------------------------------------------------


@test('a token that build/token makes is a token to PyJWT')
async def _(_user):
    done = await ends('token', '--secret', SECRET, '--sub', '7', '--exp-in', '60',
                      '--scope', 'publish admin', '--kid', 'k1')
    made = done.stdout.strip()
    assert done.returncode == 0 and '\n' not in made, done
    got = claims(made)
    assert got['sub'] == '7' and got['scope'] == 'publish admin'
    assert 50 <= got['exp'] - time.time() <= 61
    assert jwt.get_unverified_header(made) == {'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'}


@test('build/token escapes what it is given')
async def _(_user):
    odd = 'a"b\\c\té€😀'
    done = await ends('token', '--secret', SECRET, '--sub', odd)
    assert claims(done.stdout.strip())['sub'] == odd


@test('build/token makes no token without a user or with two, and judges one as the server does')
async def _(_user):
    for args in (['--sub', ''], ['--sub', 'u' * 129], ['--sub', '2', '--claim', 'sub=3'],
                 ['--sub', '2', '--claim', 'exp=4102444800']):
        done = await ends('token', '--secret', SECRET, *args)
        assert done.returncode == 2 and not done.stdout, (args, done)
    for given, why in ((['nbf=1', 'nbf=2'], 'twice'), (['a=1', 'b=1', 'a=1'], 'twice'),
                       (['nbf=x'], 'Unix time'), (['nbf=1e3'], 'Unix time'),
                       (['aud=5'], 'string'), (['iss=["a"]'], 'string')):
        args = [arg for claim in given for arg in ('--claim', claim)]
        done = await ends('token', '--secret', SECRET, '--sub', '2', *args)
        assert done.returncode == 2 and not done.stdout, (given, done)
        assert given[-1] in done.stderr and why in done.stderr, (given, done)
    args = [f'--claim={claim}' for claim in ('nbf=1', 'aud=["a","5"]', 'iss="5"', 'n=[2]')]
    done = await ends('token', '--secret', SECRET, '--sub', '2', *args)
    got = claims(done.stdout.strip())
    assert (got['nbf'], got['aud'], got['iss'], got['n']) == (1, ['a', '5'], '5', [2]), got
    done = await ends('token', '--secret', SECRET, '--inspect', token('u' * 129))
    assert done.returncode == 1 and 'token_claims' in done.stdout, done


@test('build/token says what is in a token and whether it holds')
async def _(_user):
    good = token('inspected', scope='publish')
    done = await ends('token', '--inspect', good, '--secret', SECRET)
    assert done.returncode == 0 and 'inspected' in done.stdout and 'publish' in done.stdout, done
    done = await ends('token', '--inspect', good, '--secret', SECRET[::-1])
    assert done.returncode == 1 and 'signature' in done.stdout + done.stderr, done
    done = await ends('token', '--inspect', token('x', exp_in=-60), '--secret', SECRET)
    assert done.returncode == 1 and 'expired' in done.stdout + done.stderr, done
    assert (await ends('token', '--inspect', 'nonsense', '--secret', SECRET)).returncode == 1


@test('output that cannot be written is a failure: 1')
async def _(user):
    with Server() as own, open('/dev/full', 'w') as full:
        to = ['--url', own.origin, '--user', user]
        await own.publish(user, {'task_id': 'one'})
        for name, *args in (['token', '--secret', SECRET, '--sub', user],
                            ['publish', *to, '--token', worker(), '{}'],
                            ['watch', *to, '--token', token(user), '--once'],
                            ['watch', '--help']):
            done = await asyncio.to_thread(
                subprocess.run, [os.path.join(BUILD, name), *args], env=EMPTY, stdout=full,
                stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
            assert done.returncode == 1 and 'standard output' in done.stderr, (name, done)


# -- together -----------------------------------------------------------------------------


@test('a token made here, an event sent by curl, and a terminal that shows it')
async def _(user):
    mine = (await ends('token', '--secret', SECRET, '--sub', user)).stdout.strip()
    works = (await ends('token', '--secret', SECRET, '--sub', 'w',
                        '--scope', 'publish')).stdout.strip()
    with Server() as own:
        url = f'{own.origin}{PREFIX}/tasks/{user}'
        with Program('watch', '--url', own.origin, '--user', user, '--token', mine) as watch:
            for n, status in enumerate(['PENDING', 'RUNNING', 'SUCCESS']):
                event = json.dumps({'task_id': 'import-1', 'status': status, 'progress': n * 50})
                curl = await asyncio.to_thread(
                    subprocess.run,
                    ['curl', '-s', '-w', ' %{http_code}', '-H', 'Authorization: Bearer ' + works,
                     '-d', event, url], capture_output=True, text=True)
                assert curl.stdout.endswith(' 202'), curl
                await asyncio.to_thread(watch.wait_for, rf'import-1.*{status}')
            watch.signal(signal.SIGINT)
            assert await asyncio.to_thread(watch.end) == 0, watch.output()


@test('watch says why it lost the server, comes back by itself and misses nothing')
async def _(user):
    port = free_port()
    with Server(port=port) as own:
        with Program('watch', '--url', own.origin, '--user', user, '--token', token(user)) as watch:
            await own.publish(user, {'task_id': 'first', 'status': 'RUNNING'})
            await asyncio.to_thread(watch.wait_for, 'first')
            own.signal(signal.SIGTERM)
            await asyncio.to_thread(own.end)
            await asyncio.to_thread(watch.wait_for, r'(?i)drain|1001|lost|connect')
            with Server(port=port) as again:
                await again.publish(user, {'task_id': 'second', 'status': 'RUNNING'})
                await asyncio.to_thread(watch.wait_for, 'second', 60)


@test('a task is one line of the terminal, however narrow that is')
async def _(user):
    with Server() as own:
        await own.publish(user, {'task_id': 'n' * 60, 'status': 'running', 'progress': 40,
                                 'message': 'm' * 300})
        for columns in 30, 50, 80, 120:
            ours, theirs = pty.openpty()
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 8, columns, 0, 0))
            watch = subprocess.Popen(
                [os.path.join(BUILD, 'watch'), '--url', own.origin, '--user', user, '--token',
                 token(user)], env=EMPTY, stdout=theirs, stderr=subprocess.DEVNULL)
            os.close(theirs)
            shown = b''
            while not shown.endswith(b'\x1b[K\r\n'):
                ready = await asyncio.to_thread(select.select, [ours], [], [], PATIENCE)
                assert ready[0], shown
                shown += os.read(ours, 65536)
            watch.terminate()
            assert await asyncio.to_thread(watch.wait, PATIENCE) == 0
            os.close(ours)
            lines = re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', shown.decode()).split('\r\n')
            assert b'40%' in shown and max(map(len, lines)) < columns, (columns, lines)


@test('nothing that a worker writes steers the terminal, also not with --raw; a pipe gets it as it is')
async def _(user):
    odd = '\x9b31m \u202e \u2028 \u2066'
    with Server() as own:
        text = json.dumps({'task_id': 'a', 'name': odd + ' é€😀'}, ensure_ascii=False)
        answer = await own.request('POST', f'{PREFIX}/tasks/{user}', body=text.encode(),
                                   bearer=worker())
        assert answer.status == 202, answer
        for raw in [], ['--raw']:
            command = [os.path.join(BUILD, 'watch'), '--url', own.origin, '--user', user, '--token',
                       token(user), '--once', *raw]
            ours, theirs = pty.openpty()
            watch = subprocess.Popen(command, env={**EMPTY, 'LANG': 'C.UTF-8'}, stdout=theirs,
                                     stderr=subprocess.DEVNULL)
            assert await asyncio.to_thread(watch.wait, PATIENCE) == 0
            shown = os.read(ours, 65536).decode()
            os.close(theirs)
            os.close(ours)
            assert '?31m ? ? ? é€😀' in shown and not set(odd) & set(shown) - set('31m '), shown
        done = await asyncio.to_thread(subprocess.run, command, env=EMPTY, capture_output=True)
        assert done.stdout.decode() == text + '\n', done


@test('watch ends when nobody reads it any more, as in `watch | head -1`')
async def _(user):
    with Server() as own:
        await own.publish(user, {'task_id': 'one'})
        watch = os.path.join(BUILD, 'watch')
        pipe = f'{watch} --url {own.origin} --user {user} --token {token(user)} --raw | head -n 1'
        done = await asyncio.to_thread(subprocess.run, ['sh', '-c', pipe], capture_output=True,
                                       text=True, timeout=PATIENCE)
        assert json.loads(done.stdout) == {'task_id': 'one'}, done
        pipe = f'{watch} --url http://127.0.0.1:1 --user {user} --token {token(user)} | true'
        await asyncio.to_thread(subprocess.run, ['sh', '-c', pipe], stderr=subprocess.DEVNULL,
                                timeout=PATIENCE)


@test('watch --since takes an id with any number of zeros before it')
async def _(user):
    with Server() as own:
        first = await own.publish(user, {'task_id': 'a', 'name': 'Old'})
        await own.publish(user, {'task_id': 'b', 'name': 'New'})
        with Program('watch', '--raw', '--url', own.origin, '--user', user, '--secret', SECRET,
                     '--since', '0' * 60 + first) as watch:
            await asyncio.to_thread(watch.wait_for, 'New')
            assert 'Old' not in watch.output(), watch.output()


@test('watch is ended at once by SIGINT and SIGTERM, also while the server does not answer')
async def _(user):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        url = f'http://127.0.0.1:{silent.getsockname()[1]}'
        for number in signal.SIGINT, signal.SIGTERM:
            with Program('watch', '--url', url, '--user', user, '--token', token(user)) as watch:
                peer, _ = await asyncio.to_thread(silent.accept)
                await asyncio.to_thread(peer.recv, 65536)
                before = time.monotonic()
                watch.signal(number)
                assert await asyncio.to_thread(watch.end) == 0, watch.output()
                assert time.monotonic() - before < 5, watch.output()
                peer.close()


@test('publish says what it waits for on a terminal, and which options go together')
async def _(user):
    with Server() as own:
        ours, theirs = pty.openpty()
        with Program('publish', '--url', own.origin, '--user', user, '--secret', SECRET,
                     stdin=theirs) as typed:
            await asyncio.to_thread(typed.wait_for, 'one JSON object a line')
            os.write(ours, b'{"task_id":"a"}\n\x04')
            assert await asyncio.to_thread(typed.end) == 0, typed.output()
        os.close(ours)
        os.close(theirs)
    for args, word in ((['--status', 'running'], '--task-id: is needed with --status'),
                       (['--task-id', 'a', '{}'], 'an event or its parts')):
        done = await ends('publish', '--user', user, *args, seconds=10)
        assert done.returncode == 2 and word in done.stderr, (args, done)


@test('an empty token is said to be empty, and not sent')
async def _(user):
    with tempfile.NamedTemporaryFile('w') as file:
        file.write('\n')
        file.flush()
        for name, *args in ['watch', '--user', user], ['publish', '--user', user, '{}'], ['doctor']:
            for given in ['--token', ''], ['--token-file', file.name]:
                done = await ends(name, '--url', 'http://127.0.0.1:1', *given, *args, seconds=10)
                assert (done.returncode, done.stderr) == (1, 'the token is empty\n'), (name, done)


@test('watch gives up where trying again is no use, and says why: 1')
async def _(user):
    with Server() as own:
        for bad, word in [(token(user, exp_in=-60), 'expired'), (token('another'), 'forbidden')]:
            done = await ends('watch', '--url', own.origin, '--user', user, '--token', bad,
                              seconds=30)
            assert done.returncode == 1 and word in done.stderr + done.stdout, done


@test('publish sends one event, and lines from standard input, over HTTP')
async def _(user):
    with Server() as own:
        to = ['--url', own.origin, '--user', user, '--token', worker()]
        done = await ends('publish', *to, '{"task_id":"a","n":1}')
        assert done.returncode == 0 and re.search(r'\d+-\d+', done.stdout), done
        lines = ''.join(f'{{"task_id":"t{n}"}}\n' for n in range(20))
        done = await ends('publish', *to, stdin=lines)
        assert done.returncode == 0 and len(re.findall(r'\d+-\d+', done.stdout)) == 20, done
        answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=token(user))
        assert len(answer.json['tasks']) == 21
        assert (await ends('publish', *to, 'no JSON')).returncode in (1, 2)
        cut = '{"task_id":"good"}\n\n{"task_id":"good, too"}\nno JSON\n{"task_id":"never"}\n'
        done = await ends('publish', *to, stdin=cut)
        assert done.returncode == 1 and 'line 4: this is not JSON' in done.stderr, done
        assert len(re.findall(r'\d+-\d+', done.stdout)) == 2, done
        answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=token(user))
        assert len(answer.json['tasks']) == 23
        refused = await ends('publish', *to[:-1], token(user), '{}')
        assert refused.returncode == 1 and 'scope' in refused.stderr, refused
    gone = await ends('publish', *to, '{}')
    assert gone.returncode == 1 and gone.stderr, gone


@test('a progress is 0 to 100; what others send for one is shown as the nearest, or not')
async def _(user):
    with Server() as own:
        for value in '-1', '100.1', '250', '1e3', '1e999', '0x10', '05', '+5', 'nan', '"5"', '[5]', '':
            done = await ends('publish', '--url', own.origin, '--user', user, '--token', worker(),
                              '--task-id', 'a', '--progress', value)
            assert done.returncode == 2 and '--progress: ' in done.stderr, (value, done)
        for value in '0', '-0', '1e2', '99.9', '100':
            done = await ends('publish', '--url', own.origin, '--user', user, '--token', worker(),
                              '--task-id', 'a', '--progress', value)
            assert done.returncode == 0, (value, done)
        for value, shown in (('250', '100%'), ('-5', ''), ('1e999', '100%'), ('-1e999', ''),
                             ('"nan"', ''), ('{"a":1}', ''), ('49.6', '50%')):
            own_task = f'{{"task_id":"{user}","status":"odd","progress":{value}}}'.encode()
            await own.publish(user + 'b', own_task)
            done = await ends('watch', '--url', own.origin, '--once', '--user', user + 'b',
                              '--secret', SECRET)
            assert done.stdout.split()[1:] == [user, 'odd', *shown.split()], (value, done)


@test('a file of keys is read alike by the server and by who makes tokens with it')
async def _(user):
    with tempfile.NamedTemporaryFile('w', suffix='.keys') as file:
        for text in ['# ours\n\n  new ' + 'n' * 40 + '  \nold ' + 'o' * 40 + ' 4102444800\n',
                     'k' * 40 + ' \n']:
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
            with Server('--secret-file', file.name, secret=None) as own:
                made = await ends('token', '--secret-file', file.name, '--sub', user)
                judged = await ends('token', '--secret-file', file.name, '--inspect', made.stdout.strip())
                assert judged.returncode == 0 and 'good' in judged.stdout, judged
                answer = await own.request('GET', f'{PREFIX}/tasks/{user}', bearer=made.stdout.strip())
                assert answer.status == 200, answer.body
                done = await ends('publish', '--url', own.origin, '--user', user, '--secret-file',
                                  file.name, '{"task_id":"a"}')
                assert done.returncode == 0, done


@test('what is wrong in the environment is named as it stands there')
async def _(_user):
    for variables, word in [({'TASKWS_PORT': 'tcp://10.0.0.1:8000'}, '$TASKWS_PORT'),
                            ({'TASKWS_ORIGIN': 'example.com'}, 'TASKWS_ORIGIN'),
                            ({'TASKWS_LOG_LEVEL': 'loud'}, '$TASKWS_LOG_LEVEL')]:
        done = await ends('server', env={**os.environ, **variables})
        assert done.returncode == 2 and word in done.stderr, done
        done = await ends('server', '--help', env=variables)
        assert done.returncode == 0 and word[1:] not in done.stderr, done
    done = await ends('server', env={**os.environ, 'TASKWS_TLS_CERT': 'x'})
    assert done.returncode == 1 and '$TASKWS_TLS_CERT' in done.stderr, done
    done = await ends('server', '--port', '70000')
    assert done.returncode == 2 and '--port: a number from 0 to 65535' in done.stderr, done


@test('an empty variable is as good as none, for every program')
async def _(user):
    empty = {**os.environ, 'TASKWS_TOKEN': '', 'TASKWS_SECRET': SECRET}
    with Server() as own:
        done = await ends('watch', '--once', '--user', user, '--url', own.origin, env=empty)
        assert done.returncode == 0, done
    empty['TASKWS_SECRET'] = ''
    done = await ends('token', '--inspect', token(user), env=empty)
    assert done.returncode == 0 and 'no secret given' in done.stdout, done
    done = await ends('watch', '--once', '--user', user, env=empty)
    assert done.returncode == 1 and 'no token' in done.stderr, done


@test('doctor finds nothing wrong with a healthy server, and says so line by line')
async def _(_user):
    with Server() as own:
        done = await ends('doctor', '--url', own.origin, '--secret', SECRET)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(done.stdout.splitlines()) >= 8, done.stdout
    done = await ends('doctor', '--url', own.origin, '--secret', SECRET)
    assert done.returncode == 1 and done.stdout, done


@test('doctor takes the user from a token, however it is written there')
async def _(_user):
    with Server() as own:
        for user, code in ('é/"\\', 0), (-7, 0), ('u' * 129, 1), (None, 1):
            done = await ends('doctor', '--url', own.origin + PREFIX, '--token', token(user))
            assert done.returncode == code, (user, done)
            assert bool(done.stderr) == (code == 1), (user, done)
        done = await ends('doctor', '--url', own.origin, '--token', token('7'), '--secret', SECRET)
        assert done.returncode == 0, done


@test('doctor says so where the routes are not at the prefix')
async def _(_user):
    with Server('--prefix', '/live') as own:
        done = await ends('doctor', '--url', own.origin, '--secret', SECRET)
        assert done.returncode == 1, done
        assert re.search('FAIL  status .*is the --prefix the server\'s', done.stdout), done.stdout


@test('doctor finds a wrong secret')
async def _(_user):
    with Server() as own:
        done = await ends('doctor', '--url', own.origin, '--secret', SECRET[::-1])
        assert done.returncode == 1 and 'signature' in done.stdout, done.stdout + done.stderr


@test('echo sends back what it gets, text and binary, small and large')
async def _(_user):
    with Program('echo', '--port', '0') as own:
        port = own.wait_for(r'listening on \w+://[^:]+:(\d+)').group(1)
        async with websockets.connect(f'ws://127.0.0.1:{port}/', max_size=None,
                                      compression=None) as ws:
            for message in '', 'text', b'\x00\xff', 'x' * 200000, b'y' * 5000000:
                await ws.send(message)
                assert await asyncio.wait_for(ws.recv(), 30) == message
            await ws.send(['in ', 'three ', 'parts'])
            assert await ws.recv() == 'in three parts'


@test('minimal serves the endpoint')
async def _(user):
    with Program('minimal', env={'TASKWS_SECRET': SECRET}) as own:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                async with websockets.connect(
                        f'ws://127.0.0.1:8000{PREFIX}/tasks/{user}?token={token(user)}') as ws:
                    await receive(ws, 'connected')
                    return
            except OSError:
                assert own.process.poll() is None, own.output()
                await asyncio.sleep(0.1)
        raise AssertionError('nobody listens on port 8000')


finish(asyncio.run(run_all(abreast=4)))
