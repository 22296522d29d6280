#!/bin/sh
# Runs a command in a Debian tree, as tests/rootfs.sh makes them, in this repository and with the crates that cargo has fetched.
# The tree is not written into; what is built stays in target/TARGET of the repository.
#
# usage: tests/in-tree.sh TREE TARGET COMMAND...        (as root)
set -eu

if [ "$1" != --mounts ]; then
    cd "$(dirname "$0")/.."
    target=${CARGO_TARGET_DIR:-target}/$2
    mkdir -p "$target"
    cargo fetch --locked --quiet
    tree=$1
    shift 2
    exec unshare --mount tests/in-tree.sh --mounts "$tree" "$PWD" "$(realpath "$target")" "${CARGO_HOME:-$HOME/.cargo}/registry" "$@"
fi
tree=$2 repository=$3 target=$4 registry=$5
shift 5

# Seen by nobody else; the kernel unmounts it with the last process in here.
mount --make-rprivate /
work=/mnt
mount -t tmpfs -o mode=0755 tree "$work"
mkdir "$work/lower" "$work/upper" "$work/work" "$work/root"
root=$work/root
# By a name without commas, which would end the option.
mount --bind "$tree" "$work/lower"
mount -t overlay -o "lowerdir=$work/lower,upperdir=$work/upper,workdir=$work/work" tree "$root"
mkdir -p "$root/src" "$root/target" "$root/root/.cargo/registry"
mount --bind "$repository" "$root/src"
mount --bind "$target" "$root/target"
mount --bind "$registry" "$root/root/.cargo/registry"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 CARGO_TARGET_DIR=/target \
    CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none \
    sh -c 'cd /src && exec "$@"' sh "$@"
