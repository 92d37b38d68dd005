#!/bin/sh
# size.sh: bytes of machine code and constants at -Os, by flags, and of single uses: of the object
# that a program gets which calls these functions only, everything else cut away. Then how long the
# implementation takes to compile at -O2: user seconds, the least of three.
cd "$(dirname "$0")/../.." || exit 1
work=build/size
mkdir -p $work
CC=${CC:-gcc}

compile() { # FLAGS
    $CC -std=c99 -Os -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -DNDEBUG \
        $1 -I. -c -o $work/whole.o tests/build_implementation.c
}

row() { # TITLE OBJECT
    size -A "$2" | awk -v title="$1" '
        $1 ~ /^\.text/ { code += $2 }
        $1 ~ /^\.(rodata|data\.rel\.ro)/ { constants += $2 }
        $1 ~ /^\.(data|bss)/ && $1 !~ /rel\.ro/ { data += $2 }
        END { printf "%-44s %8d %10d %6d\n", title, code, constants, data }'
}

whole() { # TITLE FLAGS
    compile "$2" && row "$1" $work/whole.o
}

use() { # TITLE FUNCTIONS
    roots=
    for name in $2; do
        roots="$roots -u $name"
    done
    ld -r --gc-sections $roots -o $work/use.o $work/whole.o && row "$1" $work/use.o
}

printf '%-44s %8s %10s %6s\n' "$($CC --version | sed 1q)" code constants data
whole 'everything' ''
whole 'without Redis' '-DTASKWS_NO_REDIS'
whole 'without threads' '-DTASKWS_NO_THREADS'
whole 'without deflate' '-DTASKWS_NO_DEFLATE'
whole 'on poll(2)' '-DTASKWS_POLL'
whole 'with io_uring' '-DTASKWS_IO_URING'
whole 'without tokens' '-DTASKWS_NO_JWT'
whole 'without Redis, tokens and deflate' '-DTASKWS_NO_REDIS -DTASKWS_NO_JWT -DTASKWS_NO_DEFLATE'
whole 'without the server' '-DTASKWS_NO_SERVER'
whole 'codecs and conn alone' '-DTASKWS_NO_SERVER -DTASKWS_NO_REDIS -DTASKWS_NO_JWT -DTASKWS_NO_DEFLATE'
compile '' && use 'only: the endpoint' tws_task_server_run
compile '-DTASKWS_NO_DEFLATE' && use 'only: the endpoint without deflate' tws_task_server_run
compile '-DTASKWS_NO_DEFLATE -DTASKWS_NO_REDIS' &&
    use 'only: the endpoint without deflate and Redis' tws_task_server_run
compile '-DTASKWS_NO_SERVER' || exit 1
use 'only: WebSocket frames' 'tws_ws_init tws_ws_decode tws_ws_header tws_ws_mask'
use 'only: the WebSocket handshake and frames' 'tws_ws_init tws_ws_decode tws_ws_header tws_ws_mask
    tws_http_parse tws_ws_check tws_ws_accept tws_ws_close_payload'
use 'only: HTTP request heads' 'tws_http_parse tws_http_find'
use 'only: verifying tokens' 'tws_hmac_key_init tws_jwt_open tws_jwt_verify tws_jwt_judge'
use 'only: inflating' 'tws_inflate_flat tws_inflate_begin tws_inflate_decode tws_inflate_finish'
use 'only: deflating' 'tws_deflate_init tws_deflate_encode'
use 'only: RESP' 'tws_resp_init tws_resp_decode tws_resp_command tws_resp_word'
use 'only: reading JSON' 'tws_json_init tws_json_next tws_json_skip'

for round in 1 2 3; do
    sh -c "$CC -std=c99 -O2 -I. -c -o $work/whole.o tests/build_implementation.c && times" |
        awk 'NR == 2 { split($1, t, "[ms]"); print 60 * t[1] + t[2] }'
done | sort -n | awk 'NR == 1 { printf "\ncompiled at -O2 in %.1f s\n", $1 }'
