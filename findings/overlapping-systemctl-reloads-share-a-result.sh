#!/usr/bin/env bash
# Two `systemctl reload`s that overlap are told one result: a reload that failed is reported as done.
#
# Software: systemd as installed, its user manager (seen with 252.39-1~deb12u2).
# Guess:    A second `systemctl reload` during the first one waits in the queue. Each caller is told
#           how the run of ExecReload= ended that it has asked for, when that run has ended.
# Seen:     ExecReload= does run twice, one after the other. But the job of the first caller is the job
#           of both: the first one waits for the second run too, and both are told how the *second*
#           ended. A first run that failed is success for its caller, and one that succeeded is failure
#           if the other one fails.
# So:       Two deploys that may overlap cannot learn from the exit status of `systemctl reload` what
#           became of theirs. Ask the program itself, or hold a lock around the command.
#
# Needs systemd (its binary, as a user manager in namespaces of its own) and unshare, with user
# namespaces. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
manager=/usr/lib/systemd/systemd
[ -x "$manager" ] || manager=/lib/systemd/systemd
for tool in "$manager" systemctl unshare; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
unshare --map-root-user --mount --pid --fork --cgroup true 2>/dev/null ||
  { echo "missing: user namespaces"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(systemctl --version | head -1), $(uname -sr)"
mkdir -p "$work/runtime" "$work/config/systemd/user"

# A reload takes four seconds and ends as the file says; each run takes one line off the file.
cat >"$work/reload" <<'RELOAD'
#!/bin/sh
status=$(head -1 "$1")
sed -i 1d "$1"
echo run >>"$1.runs"
sleep 4
exit "$status"
RELOAD
chmod +x "$work/reload"
cat >"$work/config/systemd/user/app.service" <<UNIT
[Service]
ExecStart=/bin/sleep 300
ExecReload=$work/reload $work/results
UNIT

# In namespaces of its own: a user manager, and with the last process all of it is gone.
cat >"$work/inside.sh" <<'INSIDE'
mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
  mount -t tmpfs none /run && mkdir -p /run/systemd/system || { echo "missing: mounts"; exit 77; }
"$1" --user --unit=basic.target &
for _ in $(seq 100); do
  systemctl --user is-system-running >/dev/null 2>&1 && break
  sleep 0.3
done
systemctl --user start app.service
work=$2
pair() { # exit statuses of the two runs
  printf '%s\n' "$1" "$2" >"$work/results"
  : >"$work/results.runs"
  { systemctl --user reload app.service; echo "$?" >"$work/first"; } &
  first=$!
  until [ -s "$work/results.runs" ]; do sleep 0.1; done
  second=0
  systemctl --user reload app.service || second=$?
  wait "$first"
  echo "$(wc -l <"$work/results.runs") runs, ended with $1 and $2: told $(cat "$work/first") and $second"
}
pair 0 0
pair 1 0
pair 0 1
exit 0
INSIDE
status=0
env -i PATH="$PATH" HOME="$work" XDG_RUNTIME_DIR="$work/runtime" XDG_CONFIG_HOME="$work/config" \
  timeout --kill-after=10 600 unshare --map-root-user --pid --fork --mount --mount-proc --cgroup \
  --kill-child bash "$work/inside.sh" "$manager" "$work" </dev/null >"$work/seen" 2>"$work/log" ||
  status=$?
[ "$status" -eq 0 ] || { tail -5 "$work/seen" "$work/log"; exit "$status"; }

echo "expected: told 0 and 0, 1 and 0, 0 and 1"
cat "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
2 runs, ended with 0 and 0: told 0 and 0
2 runs, ended with 1 and 0: told 0 and 0
2 runs, ended with 0 and 1: told 1 and 1
SEEN
echo "seen: both callers are told how the second run ended"
