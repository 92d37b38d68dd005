"""Lines and branches of taskws.h, section by section, that the unit tests run. Builds every
tests/test_NN_*.c with gcc --coverage in build/coverage, runs it, and adds up what gcov says.

usage: coverage.py [-m]     -m: also the lines that were never run"""

import collections
import glob
import gzip
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(ROOT, 'build', 'coverage')


def counts_of(test):
    """What gcov knows of taskws.h after one test program has run."""
    name = os.path.basename(test)[:-2]
    directory = os.path.join(WORK, name)
    os.makedirs(directory, exist_ok=True)
    for old in os.listdir(directory):
        os.unlink(os.path.join(directory, old))
    # Assertions hold or abort: their other branch is nobody's test.
    subprocess.run(['gcc', '-std=c99', '-g', '-O0', '--coverage', '-DNDEBUG', '-w', f'-I{ROOT}',
                    f'-I{ROOT}/tests', '-o', 'test', test, '-pthread'], cwd=directory, check=True)
    done = subprocess.run(['./test'], cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        print(f'{name} fails:', done.stdout.strip().splitlines()[-1:])
    subprocess.run(['gcov', '--json-format', '-b', *glob.glob(directory + '/*.gcda')],
                   cwd=directory, check=True, capture_output=True)
    for path in glob.glob(directory + '/*.gcov.json.gz'):
        with gzip.open(path, 'rt') as file:
            for source in json.load(file)['files']:
                if source['file'].endswith('taskws.h'):
                    return source['lines']
    return []


def sections():
    """Of every line of taskws.h, the number of its section; and every section's title."""
    number, of, titles = 0, [0], {}
    with open(os.path.join(ROOT, 'taskws.h')) as header:
        for line in header:
            banner = re.match(r'/\* == (\d+)\. ([^:]*)', line)
            if banner:
                number = int(banner.group(1))
                titles[number] = banner.group(2)
            of.append(number)
    return of, titles


def percent(part):
    run, known = part
    return f'{100 * run / known:6.1f} % of {known:5}' if known else '     -         '


def main():
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(counts_of, sorted(glob.glob(f'{ROOT}/tests/test_[0-9]*.c'))))
    lines, branches = collections.Counter(), collections.Counter()
    for result in results:
        for line in result:
            at = line['line_number']
            lines[at] += line['count']
            for nth, branch in enumerate(line['branches']):
                branches[at, nth] += branch['count']

    of, titles = sections()
    table = {n: [[0, 0], [0, 0]] for n in titles}
    for counter, column in (lines, 0), (branches, 1):
        for at, count in counter.items():
            part = table[of[at[0] if column else at]][column]
            part[0] += count > 0
            part[1] += 1

    print(f'{"section":24}{"lines":>18}{"branches":>20}')
    for n in sorted(table):
        print(f'{n:2}. {titles[n]:20}{percent(table[n][0])}{percent(table[n][1]):>20}')
    codecs = [table[n] for n in table if 4 <= n <= 18]
    total = [[sum(p[c][i] for p in codecs) for i in (0, 1)] for c in (0, 1)]
    print(f'{"Parts II and III":24}{percent(total[0])}{percent(total[1]):>20}')
    if '-m' in sys.argv:
        print('never run:', ' '.join(str(at) for at in sorted(lines) if lines[at] == 0))


main()
