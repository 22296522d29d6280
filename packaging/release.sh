#!/bin/sh
# Builds what a release offers for one kind of processor: a tarball of static programs and a Debian package. Their SHA-256 digests
# go into SHA256SUMS beside them, which has one line for each file there.
#
# usage: packaging/release.sh [TRIPLE] [OUT]
#   TRIPLE  x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu [default: this machine]
#   OUT     the directory for all of it [default: target/packages]
# For another processor than this machine's it needs rustup's target, and gcc and libc for it; docs/install.md has the names.
# PROFILE is cargo's profile [default: release]; REVISION as for deb.sh.
#
# shellcheck disable=SC1091,SC2034,SC2154  # The names come from names.sh.
set -eu
unset CDPATH
cd "$(dirname "$0")/.."
top=$PWD
ours=$(uname -m)-unknown-linux-gnu
target=${1:-$ours} out=${2:-target/packages}
. packaging/names.sh
profile=${PROFILE:-release}

# The same files for the same commit.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
fi
export SOURCE_DATE_EPOCH
# Debian's cross compiler has the name of its processor in front.
[ "$target" = "$ours" ] ||
    export "CARGO_TARGET_$(echo "$target" | tr 'a-z-' 'A-Z_')_LINKER=${machine}-linux-gnu-gcc"

# build DIRECTORY FLAGS: with an explicit target the flags are for the programs, and not for the macros that the compiler loads.
build() {
    RUSTFLAGS=$2 cargo build --locked --profile "$profile" --target "$target" --target-dir "$1" \
        -p segue -p segue-app --bin segue --bin segue-poll
}
case $profile in
    dev) of_profile=debug ;;
    *) of_profile=$profile ;;
esac

build target/packaging/static "-C target-feature=+crt-static"
build target/packaging/dynamic ""

# Programs for another processor cannot be asked for their completion scripts.
if [ "$target" = "$ours" ]; then
    native=target/packaging/static/$target/$of_profile/segue
else
    cargo build --locked --quiet -p segue --target-dir target/packaging/native
    native=target/packaging/native/debug/segue
fi
mkdir -p target/packaging/completions "$out"
for shell in bash fish zsh; do
    "$native" completions "$shell" >target/packaging/completions/$shell
done

for kind in tarball:static deb:dynamic; do
    "packaging/${kind%:*}.sh" --target "$target" --completions target/packaging/completions \
        "target/packaging/${kind#*:}/$target/$of_profile" "$out"
done
cd "$out"
rm -f "$checksums"
sha256sum segue[-_]"$version"* >"$checksums"
