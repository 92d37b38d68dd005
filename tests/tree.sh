#!/bin/sh
# tree.sh: rules about the tree itself that a reader relies on and an editor forgets.
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0

# rule SENTENCE OFFENDERS
rule() {
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'not ok - %s:\n%s\n' "$1" "$(echo "$2" | head -n 20)"
    fi
}

# What belongs to the project: known to git where this is a checkout, else all but build/.
files() {
    git ls-files --cached --others --exclude-standard 2> /dev/null ||
        find . -path ./build -prune -o -type f -print | sed 's|^\./||'
}
every=$(files)

rule 'the top level holds the header, its examples, its tests and nothing else' \
    "$(echo "$every" | sed 's|/.*||' | sort -u | grep -vxE \
        'taskws\.h|examples|tests|Makefile|README\.md|LICENSE|\.ci|\.gitignore|\.clang-format')"
rule 'what everybody looks for is there' \
    "$(for must in taskws.h README.md LICENSE Makefile .ci/run; do [ -s $must ] || echo $must; done)"

# The patterns are written so that they do not match themselves.
rule 'no path of somebody'\''s machine' "$(grep -nIE '/(work)/|/(root)/|/home/[a-z]' $every)"
rule 'no host of a package registry' \
    "$(grep -nIE 'registry[.]|npmj[s]|deb[.]debian|pypi[.]org' $every)"
rule 'nothing left for later' "$(grep -nIE 'TOD[O]|FIXM[E]|XX[X]' $every)"
rule 'no blanks at a line'\''s end' \
    "$(grep -nIE '[[:blank:]]+$' $(echo "$every" | grep -E '\.(c|h|sh|py|mjs|js)$|^Makefile$'))"
rule 'no line of taskws.h is over 100 columns' \
    "$(awk 'length($0) > 100 { print FNR ": " length($0) " columns" }' taskws.h)"
rule 'no tabs in taskws.h' "$(grep -n "$(printf '\t')" taskws.h)"
rule 'taskws.h is ASCII' "$(LC_ALL=C grep -n '[^ -~]' taskws.h)"

# The map of the file.
rule 'the sections stand in both halves, under the same numbers, in order' "$(
    awk '/^\/\* == [0-9]+\. / {
             if ($3 + 0 <= last || $3 > 22) print FNR ": " $0
             last = $3 + 0
             half[second + 0, last] = 1 }
         /^#if.*!defined\(TASKWS_IMPLEMENTED\)/ { second = 1; last = 0 }
         END { for (n = 1; n <= 22; n++) {
                   if (((0, n) in half) != ((1, n) in half)) print "only one half has section " n }
               if (!((0, 1) in half) || !((0, 22) in half)) print "not from 1 to 22" }' taskws.h)"
rule 'the top comment is at most 250 lines' \
    "$(awk '/^#ifndef TASKWS_H/ { exit } { n++ } END { if (n > 250) print n " lines" }' taskws.h)"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
