#!/usr/bin/env bash
# cheroot takes fd 3 for its listener whenever LISTEN_PID is set, to whatever process it belongs.
#
# Software: cheroot 11.1.2 (PyPI), the server of CherryPy.
# Guess:    As sd_listen_fds(3) asks, the server compares LISTEN_PID with its own pid and reads
#           LISTEN_FDS. Variables left over from an ancestor make it bind its own address.
# Seen:     It reads neither the value of LISTEN_PID nor LISTEN_FDS. With LISTEN_PID=1 and no
#           LISTEN_FDS at all it serves fd 3, and the address that it was given stays unbound.
# So:       A cheroot server started from a socket-activated shell, or below a supervisor that
#           leaves the variables set, serves any socket that happens to be fd 3.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check cheroot==11.1.2 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c 'import importlib.metadata as m; print("cheroot", m.version("cheroot"))'

cat >"$work/app.py" <<'PY'
import os, socket

from cheroot import wsgi


def app(environ, start_response):
    start_response("204 No Content", [])
    return []


stranger = socket.create_server(("127.0.0.1", 0))
os.dup2(stranger.fileno(), 3)
for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
    os.environ.pop(name, None)

for variables in ({}, {"LISTEN_PID": "1"}):
    os.environ.update(variables)
    server = wsgi.Server(("127.0.0.1", 0), app)
    server.prepare()
    same = server.socket.getsockname() == stranger.getsockname()
    server.stop()
    print(f"{variables or 'no variable'}: serves {'fd 3' if same else 'an address of its own'}")
PY

echo "expected: an address of its own in both cases, since this process is not pid 1"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/app.py" 3<&- | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
no variable: serves an address of its own
{'LISTEN_PID': '1'}: serves fd 3
SEEN
echo "seen: LISTEN_PID of another process is enough"
