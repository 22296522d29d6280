#!/usr/bin/env bash
# `systemctl reload` of a service that is starting reloads nothing and succeeds; `start` during a reload reloads twice.
#
# Software: systemd as installed, its user manager (seen with 252.39-1~deb12u2).
# Guess:    `systemctl reload` while the service is still activating waits until it is ready and then
#           runs ExecReload=, or fails with "not active, cannot reload". `systemctl start` of a service
#           that is up, if only just reloading, changes nothing.
# Seen:     Start and reload are merged into one job "reload or start", which looks anew at the state.
#           During the start it becomes a start: ExecReload= never runs, and the command exits with 0.
#           During a reload it becomes a reload: ExecReload= is run a second time, for a `start`.
# So:       A deploy that replaces a program's files and calls `systemctl reload` soon after a boot or a
#           restart is told success, and the old program stays. And ExecReload= has to bear to be run
#           by anybody who "only makes sure that the service is up".
#
# Needs systemd (its binary, as a user manager in namespaces of its own) and unshare, with user
# namespaces. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
manager=/usr/lib/systemd/systemd
[ -x "$manager" ] || manager=/lib/systemd/systemd
for tool in "$manager" systemctl systemd-notify unshare; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
unshare --map-root-user --mount --pid --fork --cgroup true 2>/dev/null ||
  { echo "missing: user namespaces"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(systemctl --version | head -1), $(uname -sr)"
mkdir -p "$work/runtime" "$work/config/systemd/user"

cat >"$work/config/systemd/user/app.service" <<UNIT
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'echo start >>$work/did; sleep 5; systemd-notify --ready; exec sleep 300'
ExecReload=/bin/sh -c 'echo reload >>$work/did; sleep 5'
UNIT

# In namespaces of its own: a user manager, and with the last process all of it is gone.
cat >"$work/inside.sh" <<'INSIDE'
mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
  mount -t tmpfs none /run && mkdir -p /run/systemd/system || { echo "missing: mounts"; exit 77; }
work=$2
"$1" --user --unit=basic.target &
for _ in $(seq 100); do
  systemctl --user is-system-running >/dev/null 2>&1 && break
  sleep 0.3
done
both() { # what goes on, and what is asked meanwhile
  : >"$work/did"
  systemctl --user "$1" app.service &
  first=$!
  until [ -s "$work/did" ]; do sleep 0.1; done
  second=0
  systemctl --user "$2" app.service || second=$?
  wait "$first"
  echo "$2 during a $1: exit status $second, executed: $(tr '\n' ' ' <"$work/did")" >>"$work/seen"
}
both start reload
both reload start
exit 0
INSIDE
status=0
env -i PATH="$PATH" HOME="$work" XDG_RUNTIME_DIR="$work/runtime" XDG_CONFIG_HOME="$work/config" \
  timeout --kill-after=10 600 unshare --map-root-user --pid --fork --mount --mount-proc --cgroup \
  --kill-child bash "$work/inside.sh" "$manager" "$work" </dev/null >"$work/said" 2>"$work/log" ||
  status=$?
[ "$status" -eq 0 ] || { tail -5 "$work/said" "$work/log"; exit "$status"; }

echo "expected: executed \"start reload\" (or an error), and \"reload\""
cat "$work/seen"
diff -b - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
reload during a start: exit status 0, executed: start
start during a reload: exit status 0, executed: reload reload
SEEN
echo "seen: a reload that never was is told as done, and a start reloads"
