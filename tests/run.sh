#!/bin/sh
# run.sh [WORD]: every suite, or those whose name contains the word; a line each, then what failed
# in full, then one line with the sum. With TASKWS_NO_SKIP=1 what cannot run has failed.
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
word=${1:-}
plans=build/test/plans
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
rm -rf $plans
mkdir -p $plans/1-parallel $plans/2-serial

. tests/install.sh

# -- the plan: suite NAME COMMAND, with `needs` before what may be missing ------------------

round=1-parallel
suite() {
    case $1 in *"$word"*) printf '%s\n' "$2" > "$plans/$round/$1" ;; esac
}

# Builds build/test/KIND/NAME and runs it.
built() {
    run=
    [ "$1" != m32 ] || run=$run32
    suite "$2.$1" "make -s build/test/$1/$2 && $run build/test/$1/$2 $3"
}

suite programs 'make -s examples bench-programs CFLAGS="-O2 -g -Werror" && echo 1 passed, 0 failed'
suite tree 'sh tests/tree.sh'
suite layers 'sh tests/layers.sh'
suite matrix 'sh tests/matrix.sh'

for file in tests/test_[0-9][0-9]_*.c; do
    name=$(basename "$file" .c)
    section=$(echo "$name" | sed 's/test_0*\([0-9]*\)_.*/\1/')
    needs gcc && built gcc "$name"
    [ -z "$bits32" ] || [ "$section" -ge 19 ] || { needs gcc-m32 && built m32 "$name"; }
    [ "$section" -lt 19 ] || { needs musl-gcc && built musl "$name"; } # another libc's limits
    needs clang || continue
    if [ "$section" -lt 19 ]; then
        built clang "$name"
    else
        built poll "$name"
    fi
    if [ "$section" -eq 16 ] || [ "$section" -ge 19 ]; then
        built tsan "$name"
    fi
done

for file in tests/fuzz_*.c; do
    name=$(basename "$file" .c)
    [ "$name" = fuzz_main ] && continue
    [ "$name" != fuzz_inflate ] || needs zlib || continue
    built replay "$name" "tests/corpus/${name#fuzz_}/*"
    needs clang && suite "$name.fuzz" "make -s build/test/fuzz/$name && sh tests/fuzz.sh $name 12"
done

python=/usr/bin/python3
export PYTHONDONTWRITEBYTECODE=1
needs gcc && suite zlib_oracle.py "$python tests/integration/zlib_oracle.py"

round=2-serial
if needs python; then
    suite bench.py "make -s bench-programs && $python tests/bench/check.py"
    suite clients.py "$python tests/integration/clients.py"
    needs wycheproof || : # oracles.py has its vectors judged, where they are
    suite oracles.py "make -s build/test/gcc/oracle && $python tests/integration/oracles.py"
    suite programs.py "$python tests/integration/programs.py"
    suite http_strict.py "$python tests/integration/http_strict.py"
    suite redis_outages.py "$python tests/integration/redis_outages.py"
    suite chaos.asan "make -s build/asan/server &&
        TASKWS_BUILD=build/asan $python tests/integration/chaos.py 67 23"
    needs clang && suite chaos.tsan "make -s build/tsan/server &&
        TASKWS_BUILD=build/tsan $python tests/integration/chaos.py 90"
    suite resets.py "$python tests/integration/resets.py"
    suite rfc6455.py "$python tests/integration/rfc6455.py"
    suite rfc7692.py "$python tests/integration/rfc7692.py"
    [ "$(uname)" = Linux ] &&
        suite attack.py "make -s build/bench/attack && $python tests/bench/attack.py --small"
fi
needs proxies && suite proxies.py "$python tests/integration/proxies.py"
needs workers && suite workers.py "$python tests/integration/workers.py"
if needs node; then
    suite clients.mjs 'node tests/integration/clients.mjs'
    suite types 'node tests/integration/types.test.mjs'
    needs chromium && suite dashboard 'node tests/integration/dashboard.test.mjs'
fi

in_short() { # LOG WORD
    of="$2 $(basename "${1%.log}")"
    grep -aE '^(not ok|FAILED)|^[A-Za-z.]*(Error|Exception)|^tests/.*:[0-9]+: |(ERROR|WARNING|error): |Assertion|^\(exit status' \
        "$1" 2> /dev/null | head -n 12 | cut -c 1-300 | sed "s|^|$of: |" | grep . || echo "$of"
}

# -- the run ------------------------------------------------------------------------------

for round in 1-parallel 2-serial; do
    jobs=1
    [ $round = 1-parallel ] && jobs=$cores || make -s > build/test/programs.log 2>&1
    find $plans/$round -type f | sort | xargs -r -P "$jobs" -n 1 sh tests/suite.sh
    for plan in $(find $plans/$round -type f ! -name '*.log' ! -name '*.counts' | sort); do
        [ -e "$plan.counts" ] || echo '0 1' > "$plan.counts" # it was not even begun
        case $(cat "$plan.counts") in *' 0') continue ;; esac
        printf '\n---- %s: %s\n' "${plan##*/}" "$(cat "$plan")"
        sed 's/^/  | /' "$plan.log"
    done
done

# What failed once more, in short: whoever sees the end of a long output sees its cause.
for log in $(find $plans -name '*.first.log'); do
    in_short "$log" ONCE
done
for counts in $(grep -L ' 0$' $(find $plans -name '*.counts') /dev/null); do
    [ "$counts" = /dev/null ] || in_short "${counts%.counts}.log" FAILED
done
for reason in $skipped; do
    echo "SKIPPED for want of $reason"
done
[ -z "$skipped" ] || [ -z "${TASKWS_NO_SKIP:-}" ] || echo "0 1" > $plans/skipped.counts
find $plans -name '*.counts' -exec cat {} + |
    awk '{p += $1; f += $2} END {printf "%d passed, %d failed\n", p, f; exit f > 0 || p == 0}'
