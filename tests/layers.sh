#!/bin/sh
# layers.sh: a section of taskws.h uses only the sections that its row below names, all of them
# above it. Each is built from what it may use, both halves cut to that, with every function kept
# and nothing left undefined: a type, macro or function from elsewhere does not compile or link.
cd "$(dirname "$0")/.." || exit 1
header=${1:-taskws.h}
work=build/test/layers
CC=${CC:-cc}
mkdir -p $work

#       section: uses directly
rows='  1:
        2: 1
        3: 2
        4: 3
        5: 3
        6: 3
        7: 3 6
        8: 3
        9: 3 4 5 6 8
        10: 3
        11: 3 4 5 7
        12: 3
        13: 3 7
        14: 3
        15: 7 8 11 13
        16: 3 7 9 13
        17: 3 4 7 12 13 16
        18: 3 6 8 9 10 13
        19: 3 18
        20: 19
        21: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
        22: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21'

# Prints the sections that a section may use, itself included, or what is wrong with its row.
closure() {
    echo "$rows" | awk -v want="$1" '
        { section = $1 + 0; reach[section] = " " section " "
          for (i = 2; i <= NF; i++) {
              if ($i >= section) { print "row " section " names " $i > "/dev/stderr"; exit 1 }
              reach[section] = reach[section] reach[$i] } }
        section == want { print reach[section]; exit }'
}

# Prints the header with these sections only. A section reaches from its banner `/* == N. title`
# to the next one; an #endif stays where its #if stays, and the flags that stand around whole
# sections always stay, so that what is left is balanced.
keep() {
    awk -v list="$2" '
        BEGIN { n = split(list, part, " "); for (i = 1; i <= n; i++) kept[part[i]] = 1; on = 1 }
        /^\/\* == [0-9]+\. / { on = ($3 + 0) in kept }
        /^#if.*!defined\(TASKWS_IMPLEMENTED\)/ { on = 1 }
        /^#if/ { stays[++depth] = on || /TASKWS_NO_|__cplusplus/ }
        /^#endif/ { if (stays[depth--]) print; next }
        /^#(if|else|elif)/ { if (stays[depth]) print; next }
        on { print }' "$1"
}

# Builds section $2 of header $1 from what it may use; what it lacks goes to standard output.
build() {
    may=$(closure "$2") || return 1
    keep "$1" "$may" > $work/layer.h
    { echo '#define TASKWS_IMPLEMENTATION'; echo '#include "layer.h"'; } > $work/layer.c
    $CC -std=c99 -w -O0 -fkeep-static-functions -fPIC -shared -Wl,--no-undefined \
        -Werror=implicit-function-declaration -o $work/layer.so $work/layer.c -pthread \
        > $work/layer.log 2>&1 && return 0
    grep -o 'undefined reference to .*\|error: .*' $work/layer.log | grep -v 'ld returned' | sort -u
    return 1
}

passed=0 failed=0
check() { # SENTENCE STATUS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not ok - $1"
    fi
}

# What would make the checks below worthless: a header cut to nothing passes them all.
symbols() {
    nm -g --defined-only $work/layer.so | grep -c ' T tws_'
}

for section in $(sed -n 's|^/\* == \([0-9]*\)\. .*|\1|p' "$header" | sort -nu); do
    complaint=$(build "$header" "$section")
    check "section $section uses only what it may:
$complaint" $?
done
[ "$(symbols)" -gt 100 ]
check 'the whole header defines more than a hundred public functions' $?

# The check itself, on copies that break the order: each must be found.
breaks() { # SENTENCE SECTION LINE
    awk -v banner="/* == $2. " -v line="$3" '
        /TASKWS_IMPLEMENTED/ { half = 1 }
        { print }
        half && index($0, banner) == 1 { inside = 1 }
        inside && /\*\/$/ { print line; inside = 0 }' "$header" > $work/broken.h
    ! build $work/broken.h "$2" > /dev/null
    check "the check finds $1" $?
}
breaks 'a call of a public function above' 5 \
    'TWS_API int tws_up(void); int tws_up(void) { return (int)tws_ws_close_valid(1000u); }'
breaks 'a call of a function that nothing declares' 3 'static int tws__up(void) { return tws__down(); }'
breaks 'a type from above' 9 'static tws_router tws__up;'
breaks 'a section beside it that it may not use' 14 'static tws_hmac_key tws__up;'

# Part IV alone knows sockets and the clock; sections 1, 19 and 20 alone know platforms.
awk '/^\/\* == [0-9]+\. / { section = $3 + 0 }
     section < 19 && /^#include <(sys\/|netinet|arpa|netdb|poll|unistd|fcntl|time|signal|openssl)/ {
         print "section " section ": " $0; bad = 1 }
     /TASKWS_IMPLEMENTED/ { section = 0 }
     END { exit bad }' "$header"
check 'no header of sockets, files or clocks is included above Part IV' $?
awk '/^\/\* == [0-9]+\. / { section = $3 + 0 }
     section > 1 && section != 19 && section != 20 &&
     /^# *(if|ifdef|ifndef|elif).*(__linux|__APPLE|__BSD|BSD__|_WIN32|__GNUC__|__clang__|_MSC_VER)/ {
         print "section " section ": " $0; bad = 1 }
     END { exit bad }' "$header"
check 'platforms and compilers are told apart in sections 1, 19 and 20 only' $?

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
