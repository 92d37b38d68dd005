#!/bin/sh
# suite.sh PLAN: runs one suite, prints its line and leaves its counts beside its plan.
# A suite is a command whose output has a line `N passed, N failed`; one that ends without it,
# or in error, or with nothing tested, has failed.
#
# A virtual machine may stand still for half a minute, in which deadlines pass that were not meant
# for it. Only then, and this is said, what has failed is run once more.
plan=$1
name=${plan##*/}
begin=$(date +%s)

# Notes for how many seconds nothing ran.
watch_for_standstill() {
    last=$(date +%s)
    while kill -0 $$ 2> /dev/null && sleep 1; do
        now=$(date +%s)
        echo "$now" > "$plan.now" # what stands still may be the disk
        [ $((now - last)) -lt 8 ] || echo $((now - last)) > "$plan.stood"
        last=$now
    done
    rm -f "$plan.now" "$plan.stood" # when this ends before it is told to
}

run() {
    timeout -k 5 900 sh "$plan" > "$plan.log" 2>&1 < /dev/null
    status=$?
    counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed.*/\1 \2/p' "$plan.log" | tail -n 1)
    passed=${counts% *} failed=${counts#* }
    : "${passed:=0}" "${failed:=0}"
    if [ $status -ne 0 ] || [ "$passed" -eq 0 ]; then
        [ "$failed" -gt 0 ] || failed=1
        echo "(exit status $status)" >> "$plan.log"
    fi
}

watch_for_standstill > /dev/null 2>&1 &
watcher=$!
run
if [ "$failed" -gt 0 ] && [ -s "$plan.stood" ]; then
    echo "$name: the machine stood still for $(cat "$plan.stood") s; $failed failed; again:"
    mv "$plan.log" "$plan.first.log"
    run
fi
kill $watcher
wait $watcher 2> /dev/null
rm -f "$plan.now" "$plan.stood"

seconds=$(($(date +%s) - begin))
echo "$passed $failed" > "$plan.counts"
word=ok
[ "$failed" -eq 0 ] || word=FAILED
printf '%-6s %-32s %5d passed %3d failed %4d s\n' $word "$name" "$passed" "$failed" "$seconds"
