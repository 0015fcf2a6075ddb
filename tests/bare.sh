#!/bin/bash
# Shows that the repository works on a bare machine: a Debian 12 with nothing but git and make, made by
# debootstrap, into which HEAD is cloned. Needs root, debootstrap and a network; takes a while.
#
#   tests/bare.sh DIRECTORY run     `make run` as root, and as a user with sudo: the page and a stream
#                                   are asked for, then Ctrl-C; both programs must be gone
#   tests/bare.sh DIRECTORY ci      .ci/run
#   tests/bare.sh DIRECTORY shell   a shell in the bare machine
#
# DIRECTORY must lie outside of the repository. DIRECTORY/base.tar keeps what debootstrap made. The
# bare machine takes over this one's apt sources, name servers and certificates, so that it works
# behind the same proxies; it has its own mounts and processes, and shares the network.
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
directory=${1?"usage: tests/bare.sh DIRECTORY run|ci|shell"}
what=${2?"usage: tests/bare.sh DIRECTORY run|ci|shell"}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
root=$directory/root
port=${TT_BARE_PORT:-18080}
ops_port=$((port + 1))

make_base() {
    [ -e "$directory/base.tar" ] && return
    rm -rf "$directory/base"
    debootstrap --variant=minbase --include=git,make bookworm "$directory/base" \
        >"$directory/debootstrap.log"
    cp /etc/resolv.conf /etc/hosts "$directory/base/etc/"
    cp /etc/apt/sources.list.d/debian.sources "$directory/base/etc/apt/sources.list.d/" 2>/dev/null &&
        rm -f "$directory/base/etc/apt/sources.list"
    cat /etc/apt/apt.conf.d/* 2>/dev/null | grep -E '^Acquire::(http|https|Check)' \
        >"$directory/base/etc/apt/apt.conf.d/99bare" || true
    # Not where the package ca-certificates puts its own, which it makes anew when it is installed.
    cp /etc/ssl/certs/ca-certificates.crt "$directory/base/etc/bare-certificates.crt" 2>/dev/null || true
    tar -C "$directory/base" -cf "$directory/base.tar.new" .
    mv "$directory/base.tar.new" "$directory/base.tar"
    rm -rf "$directory/base"
}

fresh_root() {
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xf "$directory/base.tar"
    git clone -q --no-hardlinks "$repository" "$root/tickertape"
    git -C "$root/tickertape" remote remove origin
}

# inside COMMAND...: in the bare machine, in the clone, with nothing of this machine's environment
inside() {
    ${new_session-} unshare --mount --pid --fork --kill-child /bin/bash -c '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount -t tmpfs tmpfs "$root/dev"
        for d in null zero full random urandom tty; do
            touch "$root/dev/$d"
            mount --bind "/dev/$d" "$root/dev/$d"
        done
        mkdir "$root/dev/shm" "$root/dev/pts"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
        ln -s pts/ptmx "$root/dev/ptmx"
        ln -s /proc/self/fd "$root/dev/fd"
        exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
            TERM=dumb LANG=C.UTF-8 NODE_EXTRA_CA_CERTS=/etc/bare-certificates.crt \
            npm_config_cafile=/etc/bare-certificates.crt chroot "$root" /bin/bash -c "cd /tickertape && $*"
    ' bash "$root" "$@"
}

# try_run NAME COMMAND: starts it, waits for the address, looks at the page, interrupts it
try_run() {
    local log=$directory/run-$1.log started=$SECONDS pid waited=0
    : >"$log"
    # A session of its own, so that its process group can be interrupted as a terminal does; a
    # background process of a script ignores that signal unless told otherwise.
    new_session='setsid env --default-signal=INT' inside "$2" >"$log" 2>&1 &
    pid=$!
    until grep -q 'The demo page:' "$log"; do
        if ! kill -0 $pid 2>/dev/null || [ $waited -gt 900 ]; then
            tail -n 40 "$log"
            echo "FAILED: make run ($1) did not come to its address"
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    echo "make run ($1): $((SECONDS - started)) s to the address; it said:"
    grep -E '^setup:|demo page' "$log"
    curl -sSf -o "$directory/page.html" "http://127.0.0.1:$port/demo/"
    grep -qi '<html' "$directory/page.html"
    echo "the page: $(wc -c <"$directory/page.html") bytes"
    # curl ends with 28, its time being over: the stream does not end by itself.
    curl -sSN -m 3 "http://127.0.0.1:$port/sse?channels=*" >"$directory/stream.txt" || [ $? = 28 ]
    echo "the stream: $(grep -c '^data: ' "$directory/stream.txt") events in 3 s"
    [ "$(grep -c '^data: ' "$directory/stream.txt")" -gt 3 ]
    # Ctrl-C reaches the foreground processes of the terminal: make, the script and both programs.
    local inner
    inner=$(pgrep -f "tools/run-demo build/release 127.0.0.1:$port" | head -n 1)
    kill -INT -- "-$(ps -o pgid= -p "$inner" | tr -d ' ')"
    waited=0
    while pgrep -f -- "--listen=127.0.0.1:$port" >/dev/null; do
        [ $waited -gt 100 ] && { echo "FAILED: the broker still runs 10 s after Ctrl-C"; return 1; }
        sleep 0.1
        waited=$((waited + 1))
    done
    wait $pid || true
    grep -q '^stopped$' "$log" || { tail "$log"; echo "FAILED: make run did not end by itself"; return 1; }
    echo "Ctrl-C: both are gone after about $((waited / 10)) s"
}

make_base
fresh_root
case $what in
run)
    try_run root "make run LISTEN=127.0.0.1:$port OPS_LISTEN=127.0.0.1:$ops_port"
    fresh_root
    inside 'apt-get update -q >/dev/null && apt-get install -q -y sudo >/dev/null 2>&1 &&
        useradd -m user && echo "user ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/user &&
        chown -R user: /tickertape'
    try_run user "su user -c \"make run LISTEN=127.0.0.1:$port OPS_LISTEN=127.0.0.1:$ops_port\""
    ;;
ci)
    started=$SECONDS
    status=0
    inside '.ci/run' >"$directory/ci.log" 2>&1 </dev/null || status=$?
    tail -n 15 "$directory/ci.log"
    echo "(.ci/run: exit status $status after $((SECONDS - started)) s; all of it in $directory/ci.log)"
    exit $status
    ;;
shell) inside 'exec bash' ;;
*)
    echo "run, ci or shell; not $what" >&2
    exit 2
    ;;
esac
