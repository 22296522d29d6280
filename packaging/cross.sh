#!/bin/sh
# Installs what building for aarch64 needs on a Debian or Ubuntu of x86-64: the compiler for C with its libc, and rustup's
# standard library.
set -eu
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
if ! command -v aarch64-linux-gnu-gcc >/dev/null || [ ! -f /usr/aarch64-linux-gnu/lib/libc.a ]; then
    $sudo apt-get update -q
    $sudo apt-get install -qy --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross
fi
rustup target add aarch64-unknown-linux-gnu
