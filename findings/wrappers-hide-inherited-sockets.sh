#!/usr/bin/env bash
# Wrappers of the same purpose differ in whether the program behind them still has its sockets.
#
# Software: systemd-socket-activate, tini, catatonit, coreutils, busybox, util-linux, bash and dash as
#           installed (seen with systemd 252, tini 0.19.0, catatonit 0.1.7, coreutils 9.1, busybox
#           1.35.0, util-linux 2.38.1, bash 5.2.15, dash 0.5.12).
# Guess:    All of these run a command and leave descriptors and environment alone, so that
#           sd_listen_fds(3) finds the same socket behind each.
# Seen:     A wrapper that forks first leaves LISTEN_PID with its own pid, and sd_listen_fds() returns
#           0 without an error. Which ones fork cannot be told from their purpose: tini hides the
#           socket and catatonit does not, timeout of coreutils does and busybox's does not, and
#           `dash -c` does where `bash -c` runs the last command by exec.
# So:       The same unit works with /bin/sh of one distribution and fails with that of another. Begin
#           the last command of a `sh -c` with `exec`.
#
# Needs systemd-socket-activate, libsystemd.so.0, python3 and the wrappers named above. Exit status: 0
# seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in systemd-socket-activate python3 tini catatonit timeout busybox flock setpriv bash dash; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
python3 -c 'import ctypes; ctypes.CDLL("libsystemd.so.0")' 2>/dev/null ||
  { echo "missing: libsystemd.so.0"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
systemd-socket-activate --version | sed -n 1p
tini --version
catatonit --version
timeout --version | sed -n 1p

cat >"$work/app.py" <<'PY'
import ctypes

print(ctypes.CDLL("libsystemd.so.0").sd_listen_fds(0))
PY

cat >"$work/drive.py" <<'PY'
import socket, subprocess, sys, time

work = sys.argv[1]
wrappers = [
    ["tini", "-s", "--"],
    ["catatonit", "--"],
    ["timeout", "60"],
    ["busybox", "timeout", "60"],
    ["flock", f"{work}/lock"],
    ["setpriv", "--no-new-privs"],
    ["dash", "-c", '"$@"', "dash"],
    ["bash", "-c", '"$@"', "bash"],
]
for number, wrapper in enumerate(wrappers):
    path = f"{work}/{number}"
    process = subprocess.Popen(
        ["systemd-socket-activate", "--listen", path, *wrapper, sys.executable, f"{work}/app.py"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)  # The first connection starts the app.
                break
        except OSError:
            time.sleep(0.02)
    print(f"{' '.join(wrapper[:2]).replace(work, '.')}: {process.communicate(timeout=60)[0].strip()}")
PY

echo "expected: 1, eight times"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
tini -s: 0
catatonit --: 1
timeout 60: 0
busybox timeout: 1
flock ./lock: 0
setpriv --no-new-privs: 1
dash -c: 0
bash -c: 1
SEEN
echo "seen: tini, timeout, flock and dash hide the socket, and their twins do not"
