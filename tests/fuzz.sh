#!/bin/sh
# fuzz.sh NAME SECONDS: looks for new findings from the kept corpus, which it does not change.
set -eu
name=$1 seconds=$2
kept=tests/corpus/${name#fuzz_}
found=build/test/corpus/${name#fuzz_}
mkdir -p "$found"
[ -d "$kept" ] || kept=
"build/test/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="build/test/$name-" "$found" $kept
echo '1 passed, 0 failed'
