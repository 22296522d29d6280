#!/bin/sh
# Packs static programs that are built already, and prints the path of the tarball. In it is an install.sh, which puts everything
# where it belongs, as from the source.
#
# usage: packaging/tarball.sh [--target TRIPLE] [--completions DIRECTORY] BINARIES OUT
#   BINARIES       the directory with segue and segue-poll, linked statically
#   OUT            the directory for the tarball
#   --target       what they are built for [default: this machine]
#   --completions  completion scripts, for programs that this machine cannot run
# SOURCE_DATE_EPOCH is the time of the files [default: now].
#
# shellcheck disable=SC1091,SC2034,SC2154  # The names come from the scripts that it reads.
set -eu
unset CDPATH
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)

. "$top/packaging/arguments.sh"
. "$top/packaging/names.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
name=${tarball%.tar.gz}
tree=$work/$name
mkdir -p "$tree/bin" "$tree/completions" "$tree/docs"

for program in segue segue-poll; do
    [ -f "$binaries/$program" ] || fail "there is no $binaries/$program; packaging/release.sh builds it"
    # A program that needs a loader runs only where that one's libraries are.
    if readelf --program-headers --wide "$binaries/$program" | grep -q INTERP; then
        fail "$binaries/$program is not linked statically; packaging/release.sh builds it"
    fi
    cp "$binaries/$program" "$tree/bin/"
done
for shell in bash fish zsh; do
    if [ -n "$completions" ]; then
        cp "$completions/$shell" "$tree/completions/"
    else
        "$binaries/segue" completions "$shell" >"$tree/completions/$shell"
    fi
done
cp "$top/install.sh" "$top/deploy.sh" "$top/README.md" "$top/CHANGELOG.md" "$top"/LICENSE* "$tree/"
cp -R "$top/docs/man" "$top"/docs/*.md "$top/docs/pictures" "$tree/docs/"
cp -R "$top/systemd" "$tree/"
chmod -R u=rwX,go=rX "$tree"

mkdir -p "$out"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(date +%s)}" -c "$name" |
    gzip -9n >"$work/$tarball"
mv "$work/$tarball" "$out/$tarball"
echo "$out/$tarball"
