#!/usr/bin/env bash
# Installs what some tests need and no package of the distribution has. It needs the network; the tests do not, and a test
# that misses something of this says so by name. What is there already costs nothing.
#
# usage: tests/setup.sh [NAME...]      without a name: systemfd gunicorn ansible servers, and trixie for root
#
#   systemfd    opens sockets for others; below target/test-tools (half a minute)
#   watchers    nodemon, watchexec, systemfd and cargo-watch, for .ci/more dev; below target/test-tools (ten minutes)
#   gunicorn    Gunicorn and Django in a virtual environment; below target/test-tools
#   ansible     ansible-core and what else fleet/ is tested with, in a virtual environment; below target/test-tools
#   servers     the servers of PyPI that every run starts; below target/test-tools
#   servers-all those of PyPI, npm, Go and the crate registry that .ci/more servers starts (three minutes)
#   peers       circus in a virtual environment, for `-- peers` of the benches; below target/test-tools
#   trixie      a minimal Debian 13 with systemd 257; see tests/rootfs.sh (half a minute, as root)
#   trixie-gcc  the same with a C compiler, for images from source (.ci/more image)
#   trixie-rust the same with Debian's own Rust (.ci/more compilers)
#   trixie-qemu the same with an emulator of aarch64 (.ci/more aarch64)
set -euo pipefail
cd "$(dirname "$0")/.."
tools=${CARGO_TARGET_DIR:-target}/test-tools
systemfd_version=0.4.6
watchexec_version=2.8.0
cargo_watch_version=8.5.3
nodemon_version=3.1.14

# crate PACKAGE VERSION PROGRAM: is built for tests alone, so that quick beats fast.
crate() {
    [ -x "$tools/bin/$3" ] && return
    CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none \
        cargo install --quiet --locked --debug --version "$2" --root "$tools" --target-dir "$tools/build" "$1"
    rm -rf "$tools/build"
}

systemfd() { crate systemfd "$systemfd_version" systemfd; }

# What else reloads an app whose files change.
watchers() {
    systemfd
    [ -x "$tools/nodemon/node_modules/.bin/nodemon" ] ||
        npm install --prefix "$tools/nodemon" --silent --no-audit --no-fund "nodemon@$nodemon_version"
    crate cargo-watch "$cargo_watch_version" cargo-watch
    crate watchexec-cli "$watchexec_version" watchexec
}

# environment NAME FILE: a virtual environment with what the file lists.
environment() {
    local venv=$tools/$1 wanted=$2
    cmp -s "$wanted" "$venv/requirements.txt" && return
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/requirements.txt"
}

gunicorn() { environment gunicorn examples/django/requirements.txt; }

ansible() { environment ansible fleet/requirements.txt; }

servers() {
    # The long list begins with the short one.
    cmp -s tests/servers/requirements-all.txt "$tools/servers/requirements.txt" || environment servers tests/servers/requirements.txt
}

servers_all() {
    environment servers tests/servers/requirements-all.txt
    # A client library of einhorn, in one file that needs nothing of the rest.
    "$tools/servers/bin/pip" install --quiet --disable-pip-version-check --no-deps baseplate==2.7.1
    mkdir -p "$tools/servers-npm" "$tools/servers-go"
    cp tests/servers/npm/package.json tests/servers/npm/package-lock.json "$tools/servers-npm"
    npm ci --prefix "$tools/servers-npm" --silent --no-audit --no-fund
    go build -o "$tools/servers-go/server" tests/servers/main.go
    cargo build --quiet --locked --release --manifest-path tests/servers/rust/Cargo.toml --target-dir "$tools/servers-rust"
}

peers() { environment peers tests/servers/requirements-peers.txt; }

trixie() { tests/rootfs.sh >/dev/null; }

trixie_rust() { tests/rootfs.sh rustc,cargo,gcc,libc6-dev >/dev/null; }

trixie_qemu() { tests/rootfs.sh qemu-user >/dev/null; }

trixie_gcc() { tests/rootfs.sh gcc,libc6-dev >/dev/null; }

names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    names=(systemfd gunicorn ansible servers)
    [ "$(id -u)" -ne 0 ] || names+=(trixie)
fi
mkdir -p "$tools"
for name in "${names[@]}"; do
    case $name in
        systemfd | watchers | gunicorn | ansible | servers | servers-all | peers | trixie | trixie-gcc | trixie-rust | trixie-qemu) "${name/-/_}" ;;
        *)
            echo "setup.sh: $name: nothing has that name" >&2
            exit 2
            ;;
    esac
done
