#!/bin/sh
# Prints the path of a minimal Debian 13 tree with systemd 257, and makes it first if it is not there (half a minute, 270 MB).
# It is kept between runs, outside the repository; a user of it puts a layer of its own above and never writes into it.
#
# usage: tests/rootfs.sh [--find] [PACKAGE,...]        (as root; needs debootstrap)
# With further packages it is a tree of its own, which has them, too. With --find nothing is made: the tests only look.
# SEGUE_TEST_CACHE is the directory in which the tree lies; SEGUE_TEST_MIRROR the package mirror, if not debootstrap's own.
set -eu

suite=trixie
cache=${SEGUE_TEST_CACHE:-/var/cache/segue-tests}
find=
if [ "${1:-}" = --find ]; then
    find=yes
    shift
fi
more=${1:-}
tree=$cache/$suite${more:+-with-$more}

fail() {
    echo "rootfs.sh: $*" >&2
    exit 1
}

# A tree that is there is whole, since it got its name last.
if [ -d "$tree" ]; then
    echo "$tree"
    exit 0
fi

[ -z "$find" ] || fail "there is no $tree: tests/setup.sh makes it (trixie, or trixie-gcc and the like)"
[ "$(id -u)" -eq 0 ] || fail "make $tree: only root can"
command -v debootstrap >/dev/null || fail "make $tree: debootstrap is missing (apt-get install debootstrap)"
mkdir -p "$cache"

# One at a time: a run that waited here finds the tree of the one before.
exec 9>"$tree.lock"
flock 9
if [ ! -d "$tree" ]; then
    echo "rootfs.sh: making $tree" >&2
    rm -rf --one-file-system "$tree.new"
    # debootstrap mounts proc inside the tree; in a mount namespace of its own nothing stays mounted, even if it is killed.
    unshare --mount debootstrap --variant=minbase --include="systemd,systemd-sysv,dbus,iproute2${more:+,$more}" \
        "$suite" "$tree.new" ${SEGUE_TEST_MIRROR:+"$SEGUE_TEST_MIRROR"} 9>&- >"$tree.log" 2>&1 ||
        fail "debootstrap failed: $(tail -n 1 "$tree.log") (all of it: $tree.log)"
    find "$tree.new/var/cache/apt/archives" "$tree.new/var/lib/apt/lists" -type f -delete
    sync -f "$tree.new"
    mv "$tree.new" "$tree"
fi
echo "$tree"
