#!/bin/sh
# suite.sh PLAN: runs one suite, prints its line and leaves its counts beside its plan.
# A suite is a command whose output has a line `N passed, N failed`; one that ends without it,
# or in error, or with nothing tested, has failed.
plan=$1
name=${plan##*/}
begin=$(date +%s)
timeout -k 5 900 sh "$plan" > "$plan.log" 2>&1 < /dev/null
status=$?
seconds=$(($(date +%s) - begin))

counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$plan.log" | tail -n 1)
passed=${counts% *} failed=${counts#* }
: "${passed:=0}" "${failed:=0}"
if [ $status -ne 0 ] || [ "$passed" -eq 0 ]; then
    [ "$failed" -gt 0 ] || failed=1
    echo "(exit status $status)" >> "$plan.log"
fi

echo "$passed $failed" > "$plan.counts"
word=ok
[ "$failed" -eq 0 ] || word=FAILED
printf '%-6s %-32s %5d passed %3d failed %4d s\n' $word "$name" "$passed" "$failed" "$seconds"
