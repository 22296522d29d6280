#!/usr/bin/env bash
# systemd's command-line tools send their own failure to the service manager of the app.
#
# Software: systemd's tools as installed (seen with 252.39-1~deb12u2).
# Guess:    Only systemd-notify writes to $NOTIFY_SOCKET, and only what it was asked to send.
# Seen:     Tools that have nothing to do with notifications, run with the service's environment,
#           send ERRNO=... there when they fail. A successful run sends nothing. The error is that
#           of the tool, but the manager receives it as the state of the service.
# So:       An app whose script asks for an unknown path shows a failure in the service's status
#           that the app never had. A notify receiver must not take ERRNO= for the app's own word.
#
# Needs systemd-path, systemd-analyze and python3. Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool is missing.
set -euo pipefail
for tool in systemd-path systemd-analyze python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
systemd-path --version | head -n 1

cat >"$work/drive.py" <<'PY'
import os, socket, subprocess, sys

work = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(f"{work}/notify")
manager.setblocking(False)


def sent_by(*command):
    """Run a tool as an app's script would; return the names of the fields that the manager got."""
    done = subprocess.run(command, env=os.environ | {"NOTIFY_SOCKET": f"{work}/notify"},
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    fields = set()
    while True:
        try:
            fields |= {line.split("=")[0] for line in manager.recv(4096).decode().splitlines()}
        except BlockingIOError:
            break
    outcome = "succeeds" if done.returncode == 0 else "fails"
    print(f"{' '.join(command)}: {outcome}, "
          f"{'sends ERRNO=' if 'ERRNO' in fields else 'sends no ERRNO='}")


sent_by("systemd-path", "temporary")
sent_by("systemd-path", "no-such-name")
sent_by("systemd-analyze", "verify", "/no/such.service")
PY

echo "expected: none sends anything"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
systemd-path temporary: succeeds, sends no ERRNO=
systemd-path no-such-name: fails, sends ERRNO=
systemd-analyze verify /no/such.service: fails, sends ERRNO=
SEEN
echo "seen: a tool's failure reaches the manager as the service's"
