#!/bin/sh
# matrix.sh: taskws.h compiles without a warning, links and runs, both halves, as C99 and C++11,
# with gcc and clang, under every combination of its flags.
cd "$(dirname "$0")/.." || exit 1
work=build/test/matrix
mkdir -p $work
strict='-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wcast-qual -Wundef'
strict="$strict -Werror -I."
passed=0 failed=0

try() { # SENTENCE COMMAND...
    sentence=$1
    shift
    if "$@" > $work/log 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not ok - $sentence: $*"
        head -n 20 $work/log
    fi
}

# compile SOURCE LANGUAGE FLAGS: makes SOURCE.LANGUAGE.o with the compiler of $cc and $cxx.
compile() {
    source=$1 language=$2
    shift 2
    case $language in
    c) as="$cc -std=c99" ;;
    c++) as="$cxx -std=c++11 -x c++" ;;
    esac
    $as $strict "$@" -c -o $work/$source.$language.o tests/build_$source.c
}

# One set of flags, in a program of one file.
alone() {
    rm -f $work/alone
    $cc -std=c99 $strict -DBUILD_ALONE "$@" -o $work/alone tests/build_implementation.c -pthread &&
        $work/alone
}

link_and_run() { # LANGUAGE OF user, OF implementation
    $cxx -o $work/both $work/user.$1.o $work/implementation.$2.o -pthread && $work/both
}

for pair in gcc:g++ clang:clang++; do
    cc=${pair%:*} cxx=${pair#*:}
    for language in c c++; do
        try "$cc takes the declarations as $language" compile user $language
        try "$cc takes the implementation as $language" compile implementation $language -O2
    done
    for user in c c++; do
        for implementation in c c++; do
            try "$cc links $user with taskws.h built as $implementation" \
                link_and_run $user $implementation
        done
    done
done

# Behind the system's headers, as they are with GNU's extensions; as they are with plain -std=c99
# it compiles, or at least says what is missing.
late() {
    cc=gcc
    compile implementation c -DBUILD_LATE "$@"
}
try 'it comes after system headers' late -std=gnu99
try 'it comes after system headers with the right words' late -D_GNU_SOURCE
for words in '' -D_POSIX_C_SOURCE=200809L -D_XOPEN_SOURCE=700; do
    try "it comes after system headers as $words makes them, or says what they lack" sh -c "
        gcc -std=c99 $words $strict -DBUILD_LATE -c -o $work/late.o tests/build_implementation.c \
            > $work/late 2>&1 || grep '#error.*_GNU_SOURCE' $work/late"
done

# Every set of flags, with gcc for an even number of them and clang for an odd one.
flags='NO_SERVER NO_REDIS NO_JWT NO_DEFLATE NO_THREADS STATIC POLL'
set_number=0
while [ $set_number -lt 128 ]; do
    defines= cc=gcc other=clang bits=$set_number
    for flag in $flags; do
        if [ $((bits % 2)) -eq 1 ]; then
            defines="$defines -DTASKWS_$flag"
            swap=$cc cc=$other other=$swap
        fi
        bits=$((bits / 2))
    done
    set_number=$((set_number + 1))
    case $defines in *NO_SERVER*POLL*) continue ;; esac # no backends, nothing to choose
    try "the flags$defines" alone $defines
done

for pair in gcc:g++ clang:clang++; do
    cc=${pair%:*} cxx=${pair#*:}
    try "$cc without the processor's own instructions" alone -DTASKWS_NO_SIMD
    try "$cc with io_uring" alone -DTASKWS_IO_URING
    try "$cc with io_uring as C++" compile implementation c++ -DTASKWS_IO_URING
done

# Headers from before it had what is used, as of Linux 5.4, or a C library's that do not know it.
mkdir -p $work/kernel/linux $work/libc/sys
echo '#define IORING_FEAT_SINGLE_MMAP 1' > $work/kernel/linux/io_uring.h
echo '#define SYS_read 0' > $work/libc/sys/syscall.h
cc=gcc
try "io_uring where the kernel's headers are older" alone -DTASKWS_IO_URING -I$work/kernel
try "io_uring where the C library's headers are older" alone -DTASKWS_IO_URING -I$work/libc

if grep -q 'ifdef TASKWS_OPENSSL' taskws.h; then
    cc=gcc cxx=g++
    try 'TLS as C' compile implementation c -DTASKWS_OPENSSL
    try 'TLS as C++' compile implementation c++ -DTASKWS_OPENSSL
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
