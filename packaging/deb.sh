#!/bin/sh
# Builds the Debian package from programs that are built already, and prints its path. What goes where is what install.sh says,
# with /usr as its prefix, so that packages, tarballs and `just install` cannot differ.
#
# usage: packaging/deb.sh [--target TRIPLE] [--completions DIRECTORY] BINARIES OUT
#   BINARIES       the directory with segue and segue-poll, linked dynamically
#   OUT            the directory for the package
#   --target       what they are built for [default: this machine]
#   --completions  completion scripts, for programs that this machine cannot run
# REVISION is the Debian revision [default: 1], SOURCE_DATE_EPOCH the time of the files [default: now].
#
# shellcheck disable=SC1091,SC2034,SC2154  # The names come from the scripts that it reads.
set -eu
unset CDPATH
umask 022
top=$(cd "$(dirname "$0")/.." && pwd)

. "$top/packaging/arguments.sh"
. "$top/packaging/names.sh"

# The newest glibc whose symbols the programs ask for. Debian 12 has 2.36: what needs more was built on too new a system.
needed_glibc() {
    readelf --version-info --wide "$binaries/segue" "$binaries/segue-poll" |
        sed -n 's/.*Name: GLIBC_\([0-9.]*\).*/\1/p' | sort -Vu | tail -n 1
}

for program in segue segue-poll; do
    [ -f "$binaries/$program" ] || fail "there is no $binaries/$program; build it with: cargo build --release --locked -p segue -p segue-app --bins"
done
glibc=$(needed_glibc)
[ -n "$glibc" ] || fail "$binaries/segue is not linked dynamically"
# Debian 12's. A test of the package's form, on a newer system, may allow more.
newest=${NEWEST_GLIBC:-2.36}
[ "$(printf '%s\n%s\n' "$glibc" "$newest" | sort -V | tail -n 1)" = "$newest" ] ||
    fail "the programs need glibc $glibc, and Debian 12 has $newest: build them on an older system"

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
trap 'exit 1' HUP INT TERM
chmod 0755 "$tree"
"$top/install.sh" --prefix /usr --destdir "$tree" --binary "$binaries/segue" ${completions:+--completions "$completions"} >/dev/null
# dpkg has its own list.
rm -r "$tree/usr/share/segue"
# Where Debian's zsh looks.
mv "$tree/usr/share/zsh/site-functions" "$tree/usr/share/zsh/vendor-completions"
find "$tree/usr/share/man" -type f -exec gzip -9n {} +
documents=$tree/usr/share/doc/segue
mkdir -p "$documents" "$tree/etc/segue" "$tree/DEBIAN"
gzip -9n <"$top/CHANGELOG.md" >"$documents/changelog.gz"
cp "$top/packaging/debian/copyright" "$documents/"
cat "$top/LICENSE-MIT" >>"$documents/copyright"

for script in postinst prerm postrm; do
    cp "$top/packaging/debian/$script" "$tree/DEBIAN/"
    chmod 0755 "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr -type f -exec md5sum {} + | sort -k 2) >"$tree/DEBIAN/md5sums"
cat >"$tree/DEBIAN/control" <<END
Package: segue
Version: $version-$revision
Architecture: $architecture
Maintainer: The Segue authors <segue@localhost>
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f 1)
Depends: libc6 (>= $glibc), libgcc-s1
Suggests: systemd (>= 252)
Section: admin
Priority: optional
Description: reload any server without losing a request
 Segue is a small supervisor that owns the listening sockets of a server and hands
 them to a freshly started process at each reload. It waits until that one serves,
 and only then tells the old one to finish and exit. If the new version fails, the
 old one goes on serving.
 .
 This package has the supervisor, segue-deploy for other machines, the polling
 client segue-poll, and template units for systemd.
END
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$tree" "$out/$package" >/dev/null
echo "$out/$package"
