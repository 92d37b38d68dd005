# Sourced by run.sh: puts in place what the tests need, where that may be done, and defines
# `needs THING`, true when it is there. What is missing is noted in $skipped.
export DEBIAN_FRONTEND=noninteractive
skipped=

# Every tool of the tests: the Debian packages that bring it, and how to see that it is there.
has() {
    case $1 in
    gcc | g++ | clang | redis-server | redis-cli | nginx | haproxy | systemd-analyze | node | \
        npm | chromium | make | curl | musl-gcc | qemu-i386)
        command -v "$1" > /dev/null || [ -x "/usr/sbin/$1" ] ;;
    clang-runtime) echo 'int main(void){return 0;}' |
        clang -fsanitize=address -x c -o build/test/has - 2> /dev/null ;;
    gcc-m32) echo 'int main(void){return 0;}' |
        gcc -m32 -pthread -x c -o build/test/has - 2> /dev/null ;;
    python-modules) /usr/bin/python3 -c 'import websockets, jwt, redis' 2> /dev/null ;;
    celery) /usr/bin/python3 -c 'import celery' 2> /dev/null ;;
    wycheproof) ls /usr/share/cargo/registry/hmac-*/tests/data/wycheproof-sha256.blb \
        > /dev/null 2>&1 ;;
    openssl-program) command -v openssl > /dev/null ;;
    openssl) echo '#include <openssl/ssl.h>' | ${CC:-cc} -E -x c - > /dev/null 2>&1 ;;
    zlib) echo '#include <zlib.h>' | ${CC:-cc} -E -x c - > /dev/null 2>&1 ;;
    node-modules) [ -d build/node/node_modules/ws ] && [ -d build/node/node_modules/ioredis ] &&
        [ -d build/node/node_modules/playwright-core ] &&
        [ -d build/node/node_modules/vite ] && [ -d build/node/node_modules/typescript ] ;;
    esac
}

packages() {
    case $1 in
    gcc-m32) echo gcc-multilib ;;
    musl-gcc) echo musl-tools ;;
    qemu-i386) echo qemu-user ;;
    clang-runtime) echo libclang-rt-14-dev ;;
    python-modules) echo python3-websockets python3-jwt python3-redis ;;
    redis-cli) echo redis-tools ;;
    celery) echo python3-celery ;;
    wycheproof) echo librust-hmac-dev ;; # whose tests have its vectors
    openssl-program) echo openssl ;;
    openssl) echo libssl-dev ;;
    systemd-analyze) echo systemd ;;
    zlib) echo zlib1g-dev ;;
    node) echo nodejs ;;
    *) echo "$1" ;;
    esac
}

# A compiler for 32 bits comes along where the processor has both.
bits32=
[ "$(uname -m)" != x86_64 ] || bits32=gcc-m32

install_missing() {
    wanted=
    for tool; do
        has "$tool" || wanted="$wanted $(packages "$tool")"
    done
    if [ -n "$wanted" ] && command -v apt-get > /dev/null; then
        as_root=
        [ "$(id -u)" -eq 0 ] || as_root='sudo -n'
        echo "installing:$wanted"
        { $as_root apt-get update -q &&
            $as_root apt-get install -q -y --no-install-recommends $wanted; } \
            > build/test/install.log 2>&1 || tail -n 3 build/test/install.log
    fi
}

install_node_modules() {
    if has npm && ! has node-modules; then
        mkdir -p build/node
        cp tests/integration/package.json build/node/
        npm install --prefix build/node --ignore-scripts --no-package-lock --no-audit --no-fund \
            > build/test/npm.log 2>&1 || tail -n 3 build/test/npm.log
    fi
}

# needs THING: true when all that it stands for is there; notes it otherwise.
present=
needs() {
    case " $present " in *" $1 "*) return 0 ;; esac
    case $1 in
    clang) parts='clang clang-runtime' ;;
    python) parts='python-modules redis-server curl' ;;
    node) parts='node node-modules' ;;
    proxies) parts='python-modules curl nginx haproxy systemd-analyze openssl-program node
        node-modules' ;;
    gcc-m32) parts="gcc-m32 $run32" ;;
    workers) parts='python-modules redis-server redis-cli celery node node-modules' ;;
    *) parts=$1 ;;
    esac
    for part in $parts; do
        has $part && continue
        case " $skipped " in *" $part "*) ;; *) skipped="$skipped $part" ;; esac
        return 1
    done
    present="$present $1"
}

install_missing gcc g++ clang clang-runtime python-modules redis-server redis-cli celery nginx \
    haproxy systemd-analyze node npm chromium curl openssl openssl-program zlib wycheproof musl-gcc \
    $bits32
install_node_modules

# Not every kernel of such a processor runs what that compiler makes: then it is emulated.
run32=
if [ -n "$bits32" ] && has $bits32 && ! build/test/has 2> /dev/null; then
    run32=qemu-i386
    install_missing $run32
fi
