#!/usr/bin/env bash
# A daemon-reload makes systemd forget the time that a starting service has asked for.
#
# Software: systemd as installed, its user manager (seen with 252; 257 does the same as PID 1).
# Guess:    sd_notify(3) lets a starting service extend TimeoutStartSec= by EXTEND_TIMEOUT_USEC=.
#           daemon-reload reads unit files anew and leaves running jobs alone, so what was granted
#           stays granted.
# Seen:     After a daemon-reload the unit's own limit counts again, from the begin of the start. A
#           start that asked once for a minute is ended at its 4 s. One that asks every three
#           seconds and is past its limit already is ended at once: its next word comes too late.
# So:       Anything that reloads the manager (a package that is installed, `systemctl enable`, a
#           configuration tool) may kill an unrelated service in its start. A unit needs the real
#           time in TimeoutStartSec=; the extension is no replacement.
#
# Needs root or user namespaces, systemd and unshare. Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool is missing.
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

unit() { # name, what it says before it is ready
  cat >"$work/config/systemd/user/$1.service" <<UNIT
[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=4s
ExecStart=/bin/sh -c '$2 systemd-notify --ready; exec sleep 300'
UNIT
}
ask='systemd-notify EXTEND_TIMEOUT_USEC=60000000;'
unit once "$ask sleep 8;"
unit often "for _ in 1 2 3 4; do $ask sleep 3; done;"

# In namespaces of its own: a user manager, four starts, and with the last process all of it is gone.
cat >"$work/inside.sh" <<'INSIDE'
mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
  mount -t tmpfs none /run && mkdir -p /run/systemd/system || { echo "missing: mounts"; exit 77; }
"$1" --user --unit=basic.target &
for _ in $(seq 100); do
  systemctl --user is-system-running >/dev/null 2>&1 && break
  sleep 0.3
done
result() { # unit, seconds until the daemon-reload or "never"
  systemctl --user start --no-block "$1.service"
  [ "$2" = never ] || { sleep "$2"; systemctl --user daemon-reload; }
  while [ "$(systemctl --user show -p ActiveState --value "$1.service")" = activating ]; do
    sleep 0.2
  done
  echo "$1, daemon-reload after: $2: $(systemctl --user show -p Result --value "$1.service")"
  systemctl --user stop "$1.service"
  systemctl --user reset-failed 2>/dev/null
}
result once never
result once 2
result often never
result often 7
exit 0
INSIDE
status=0
env -i PATH="$PATH" HOME="$work" XDG_RUNTIME_DIR="$work/runtime" XDG_CONFIG_HOME="$work/config" \
  timeout --kill-after=10 600 unshare --map-root-user --pid --fork --mount --mount-proc --cgroup \
  --kill-child bash "$work/inside.sh" "$manager" </dev/null >"$work/seen" 2>"$work/log" || status=$?
[ "$status" -eq 0 ] || { tail -5 "$work/seen" "$work/log"; exit "$status"; }

cat >"$work/expected" <<'EXPECTED'
once, daemon-reload after: never: success
once, daemon-reload after: 2: timeout
often, daemon-reload after: never: success
often, daemon-reload after: 7: timeout
EXPECTED
echo "expected by the manual: success four times"
cat "$work/seen"
diff "$work/expected" "$work/seen" || { echo "the behaviour changed"; exit 1; }
