#!/usr/bin/env bash
# A stopping gunicorn removes the Unix path of the gunicorn that was started after it.
#
# Software: gunicorn 27.0.1 (PyPI), `--bind unix:PATH`; aiohttp 3.14.5 (PyPI) beside it.
# Guess:    A second gunicorn on the same path fails with EADDRINUSE. Or it takes the path over;
#           then the first one, at its stop, sees that the path is no longer its own and leaves it.
# Seen:     The second one takes the path over from the live first one. The first one, at SIGTERM,
#           unlinks the path by name, and the second one serves a socket that nobody can reach.
#           aiohttp takes the path over as well, and its first server leaves it.
# So:       "Start the new, then stop the old" loses a gunicorn service on a Unix socket, without an
#           error in either log. Let a supervisor own the socket.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  gunicorn==27.0.1 aiohttp==3.14.5 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c '
import importlib.metadata as m
print("gunicorn", m.version("gunicorn"), "and aiohttp", m.version("aiohttp"))'

cat >"$work/app.py" <<'PY'
import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []


if __name__ == "__main__":
    from aiohttp import web
    web.run_app(web.Application(), path=sys.argv[1], print=None)
PY

cat >"$work/drive.py" <<'PY'
import os, socket, subprocess, sys, time

work = sys.argv[1]


def answers(path):
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(path)
            client.sendall(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")
            return client.recv(5) == b"HTTP/"
    except OSError:
        return False


def inode(path):
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("timed out")
        time.sleep(0.05)


def overlap(command, path):
    servers = [subprocess.Popen(command, stderr=subprocess.DEVNULL)]
    try:
        wait_for(lambda: answers(path))
        before = inode(path)
        servers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        wait_for(lambda: inode(path) not in (before, None) or servers[1].poll() is not None)
        if servers[1].poll() is not None:
            return "the second one refuses to start"
        wait_for(lambda: answers(path))
        servers[0].terminate()
        servers[0].wait(120)
        alive = servers[1].poll() is None
        return (f"the second one {'lives' if alive else 'has exited'}, "
                f"its path is {'there' if inode(path) else 'gone'}")
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(120)


python = f"{work}/venv/bin/python"
for name, command in {
    "aiohttp": [python, f"{work}/app.py"],
    "gunicorn": [python, "-m", "gunicorn", "--no-control-socket", "--chdir", work, "app:app",
                 "--bind"],
}.items():
    path = f"{work}/{name}.sock"
    where = path if name == "aiohttp" else f"unix:{path}"
    print(f"{name}: {overlap([*command, where], path)}", flush=True)
PY

echo "expected: the second one refuses to start, or its path is there"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
aiohttp: the second one lives, its path is there
gunicorn: the second one lives, its path is gone
SEEN
echo "seen: gunicorn's first server removed the path of the second"
