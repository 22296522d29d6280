#!/usr/bin/env bash
# Segue on aarch64: cross-built, its core and its library tested, and a handoff under load, all under qemu's user emulation.
#
# The emulator cannot execute another emulated program where the kernel was not told to (binfmt_misc, which is one for the
# whole machine). So the app is started as `qemu app`, and left out are: `segue upgrade`, which executes itself, and the tests of
# segue-app that start programs (app/tests). It emulates the processor and the calls, not the kernel: that is this machine's.
#
# usage: tests/aarch64.sh        (needs packaging/cross.sh, and tests/setup.sh trixie-qemu)
set -euo pipefail
cd "$(dirname "$0")/.."

# That of Debian 12 (7.2) lacks PR_SET_CHILD_SUBREAPER.
qemu=$(tests/rootfs.sh --find qemu-user)/usr/bin/qemu-aarch64
target=aarch64-unknown-linux-gnu
built=${CARGO_TARGET_DIR:-target}/$target/debug
# Static, so that nothing has to be found at run time.
export RUSTFLAGS="-C target-feature=+crt-static"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$qemu

cargo test --locked --target "$target" -p segue-lifecycle
cargo test --locked --target "$target" -p segue-app --lib --bins
cargo build --locked --target "$target" -p segue -p segue-app --bins

work=$(mktemp -d)
supervisor=
finish() {
    [ -z "$supervisor" ] || kill "$supervisor" 2>/dev/null || :
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "aarch64.sh: $1" >&2
    cat "$work/log" >&2
    exit 1
}

segue() {
    local word=$1
    shift
    "$qemu" "$built/segue" "$word" --control "$work/control" "$@"
}

"$qemu" "$built/segue" run --name emulated --control "$work/control" --listen 127.0.0.1:0 -- "$qemu" "$built/app" >"$work/log" 2>&1 &
supervisor=$!
deadline=$((SECONDS + 120))
until segue status >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$supervisor"; then fail "no generation serves"; fi
    sleep 0.2
done
address=$(segue status --flat | sed -n 's/^listeners\.0\.address=//p')

"$qemu" "$built/segue-poll" --timeout 30s --count 150 "http://$address/ping" >"$work/polled" &
poll=$!
# Until the first answer: from here on it asks.
until grep -q '^UP' "$work/polled"; do
    if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$poll"; then fail "nobody is answered"; fi
    sleep 0.2
done
for generation in 2 3; do
    segue reload || fail "reload $generation"
done
wait "$poll"
grep -v '^UP' "$work/polled" || :
grep -q '^150 requests, 0 down' "$work/polled" || fail "requests were lost"
segue stop
wait "$supervisor" || fail "the supervisor ended with $?"
supervisor=
echo "1 passed, 0 failed"
