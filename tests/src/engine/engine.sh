#!/bin/sh
# Runs a container engine in namespaces of its own until its standard input ends; then everything it was is removed.
#
#   engine.sh DIR            starts dockerd and waits; DIR/docker.sock is its socket, DIR/log what it says; prints the cgroup's
#                            name and the pid of a process that is in the engine's network namespace
#   engine.sh --init DIR CG  the first process in the pid, mount, uts, ipc and network namespaces; CG is the cgroup's name
#   engine.sh --engine DIR   the same one, now in a cgroup namespace, too
#
# The engine's processes, its bridge, its packet filter and its mounts live in the namespaces and end with their init, whatever
# kills the test; what is left to remove then are files and cgroups.
set -eu

directory() { # of a hierarchy, as /proc/self/cgroup names it: where it is mounted
    case $1 in
        '') findmnt --noheadings --first-only --output TARGET --types cgroup2 ;;
        name=*) echo "/sys/fs/cgroup/${1#name=}" ;;
        *) echo "/sys/fs/cgroup/$1" ;;
    esac
}

case $1 in
    --init)
        dir=$2 cgroup=$3
        while IFS=: read -r _ hierarchy path; do
            made=$(directory "$hierarchy")$path/$cgroup
            mkdir "$made"
            # The cpuset hierarchy of old takes nobody before it has these.
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$made/$file" ] || cat "$made/../$file" >"$made/$file"
            done
            echo 0 >"$made/cgroup.procs"
        done </proc/self/cgroup
        exec unshare --cgroup "$0" --engine "$dir"
        ;;
    --engine)
        dir=$2
        mount --make-rprivate /
        mount -t proc -o nosuid,nodev,noexec proc /proc
        mount -t tmpfs -o mode=0755,nosuid,nodev run /run
        # The same hierarchies, seen from our cgroup.
        if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
            mount -t cgroup2 cgroup2 /sys/fs/cgroup
            # A cgroup that has children with controllers may have no processes of its own.
            mkdir /sys/fs/cgroup/init
            echo 0 >/sys/fs/cgroup/init/cgroup.procs
            sed 's/\(^\| \)\(.\)/\1+\2/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
        else
            mount -t tmpfs -o mode=0755 cgroup /sys/fs/cgroup
            while IFS=: read -r _ hierarchy _; do
                [ -n "$hierarchy" ] || continue
                mkdir "/sys/fs/cgroup/${hierarchy#name=}"
                mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/${hierarchy#name=}"
            done </proc/self/cgroup
        fi
        ip link set lo up
        # An address beside loopback: what is sent to it takes the engine's packet filter instead of its proxy.
        ip address add 198.51.100.1/32 dev lo
        unset DOCKER_HOST NOTIFY_SOCKET LISTEN_FDS LISTEN_PID LISTEN_FDNAMES
        # Nothing that the machine's own engine is configured with.
        echo '{}' >"$dir/daemon.json"
        dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root /run/docker --pidfile /run/docker.pid \
            --host "unix://$dir/docker.sock" --exec-opt native.cgroupdriver=cgroupfs &
        # This shell reaps whatever loses its parent in here.
        wait $!
        exit
        ;;
esac

dir=$1 cgroup=segue-engine-$$
clean() {
    while IFS=: read -r _ hierarchy path; do
        made=$(directory "$hierarchy")$path/$cgroup
        # What was killed leaves its cgroup in its own time.
        patience=600
        while [ -d "$made" ] && [ "$patience" -gt 0 ]; do
            find "$made" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
            patience=$((patience - 1))
        done
    done </proc/self/cgroup
    rm -rf --one-file-system "$dir"
}
trap '' INT TERM HUP PIPE
setpriv --pdeathsig KILL unshare --pid --fork --mount --uts --ipc --net --kill-child \
    "$0" --init "$dir" "$cgroup" </dev/null >"$dir/log" 2>&1 &
unshare=$!
echo "$cgroup $unshare"
cat >/dev/null
kill -KILL "$unshare" 2>/dev/null || true
wait "$unshare" 2>/dev/null || true
clean
