#!/usr/bin/env bash
# Twisted takes no inherited socket at all when LISTEN_FDNAMES is absent.
#
# Software: Twisted 26.10.0 (PyPI); systemd-socket-activate as installed (seen with systemd 252).
# Guess:    LISTEN_FDNAMES is optional. sd_listen_fds(3) calls a socket without a name "unknown",
#           and Twisted's endpoint `systemd:index=0` needs no name.
# Seen:     Twisted wants as many names as sockets, or it drops the sockets in silence. Without
#           --fdname, systemd-socket-activate sets no names: systemd's own tool for trying out
#           activation shows Twisted an empty list, where libsystemd finds the socket.
# So:       A supervisor that passes sockets to Twisted has to set LISTEN_FDNAMES, though it is
#           optional.
#
# Needs systemd-socket-activate, libsystemd.so.0 and python3 with venv and pip. Exit status: 0 seen
# again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in systemd-socket-activate python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
python3 -c 'import ctypes; ctypes.CDLL("libsystemd.so.0")' 2>/dev/null ||
  { echo "missing: libsystemd.so.0"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check twisted==26.10.0 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c 'import twisted; print("Twisted", twisted.__version__)'
systemd-socket-activate --version | head -n 1

cat >"$work/app.py" <<'PY'
import ctypes

libsystemd = ctypes.CDLL("libsystemd.so.0").sd_listen_fds(0)
from twisted.python.systemd import ListenFDs

twisted = len(ListenFDs.fromEnvironment().inheritedDescriptors())
print(f"libsystemd finds {libsystemd}, Twisted finds {twisted}")
PY

cat >"$work/drive.py" <<'PY'
import socket, subprocess, sys, time

work = sys.argv[1]
for number, option in enumerate((["--fdname=web"], [])):
    path = f"{work}/{number}"
    process = subprocess.Popen(
        ["systemd-socket-activate", "--listen", path, *option,
         f"{work}/venv/bin/python", f"{work}/app.py"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)  # The first connection starts the app.
                break
        except OSError:
            time.sleep(0.02)
    print(f"{' '.join(option) or 'no name'}: {process.communicate(timeout=120)[0].strip()}")
PY

echo "expected: both find 1, in both cases"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
--fdname=web: libsystemd finds 1, Twisted finds 1
no name: libsystemd finds 1, Twisted finds 0
SEEN
echo "seen: without LISTEN_FDNAMES Twisted has no socket"
