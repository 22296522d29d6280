#!/bin/sh
# Becomes the init of a machine in namespaces: a real `systemd --system` above a root file system that it cannot change.
#
# It is started as the first process of fresh pid, mount, uts, ipc and network namespaces (see boot.rs), and calls itself once
# more in a cgroup namespace:
#   boot.sh LOWER WORK CGROUP          joins the cgroup, whose inside view then begins there
#   boot.sh --mounts LOWER WORK        mounts, and becomes systemd
# LOWER is the root file system below; WORK an empty directory, in which the socket `notify` waits for the READY=1 of systemd.
set -eu

if [ "$1" != --mounts ]; then
    echo 0 >"$3/cgroup.procs"
    exec unshare --cgroup "$0" --mounts "$1" "$2"
fi
lower=$2 work=$3

mount --make-rprivate /
: >"$work/notify.mount"
mount --bind "$work/notify" "$work/notify.mount"
mkdir "$work/layers"
mount -t tmpfs -o mode=0755,size=1g layers "$work/layers"
mkdir "$work/layers/upper" "$work/layers/work" "$work/layers/root"
root=$work/layers/root
mount -t overlay -o "lowerdir=$lower,upperdir=$work/layers/upper,workdir=$work/layers/work" machine "$root"

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
# The kernel is the host's: nobody in here may turn its knobs.
# As systemd does it itself where it finds no container around it: its queue of notifications holds 512 instead of 10, and
# neighbours that talk much take no room from each other. (It belongs to the network namespace.)
(echo 512 >"$root/proc/sys/net/unix/max_dgram_qlen") 2>/dev/null || :
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"

# Devices of its own: what systemd makes here (/dev/log, say) must not appear on the host.
mount -t tmpfs -o mode=0755,nosuid dev "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"

# Nothing that the host has enabled starts in here, only what its packages pull into basic.target, less what is for hardware.
rm -rf "$root/etc/systemd/system"
mkdir -p "$root/etc/systemd/system"
for unit in systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
    systemd-pstore.service systemd-timesyncd.service systemd-random-seed.service timers.target swap.target; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$root/etc/systemd/system/machine.target" <<'UNIT'
[Unit]
Description=The machine is up
Requires=basic.target
After=basic.target
UNIT
rm -f "$root/etc/fstab" "$root/etc/machine-id"
echo 5e90e5e90e5e90e5e90e5e90e5e90e5e >"$root/etc/machine-id"
: >"$root/etc/fstab"
# The journal of this machine alone.
rm -rf "$root/var/log/journal"

echo machine >"$root/etc/hostname"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
hostname machine
ip link set lo up

: >"$root/run/manager"
mount --bind "$work/notify.mount" "$root/run/manager"

# pivot_root and not chroot: user namespaces, which PrivateUsers= makes, are refused in a changed root.
cd "$root"
pivot_root . .
umount --lazy .
# As on a machine that was booted: what systemd mounts for a service (credentials) must reach that service.
mount --make-rshared /
exec env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin NOTIFY_SOCKET=/run/manager \
    /lib/systemd/systemd --system --unit=machine.target --log-target=journal
