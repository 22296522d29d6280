#!/usr/bin/env bash
# supervisord closes the socket that it opened for a program whenever the program exits.
#
# Software: supervisor 4.3.0 (PyPI); CPython as installed (seen with 3.11).
# Guess:    An [fcgi-program] has a `socket=` that supervisord opens, binds and hands to its processes.
#           So the socket belongs to the manager, as under systemd: while a process crashes or is
#           restarted, clients wait in its queue.
# Seen:     The socket lives as long as a process of the program does. When the last one exits,
#           supervisord closes it, and opens another with the next start: for the whole back-off (a
#           second at least) clients are refused, and those in the queue are reset. With
#           `supervisorctl restart` it is the same, for as long as a start takes.
# So:       Here a socket of the manager protects nobody: a crash of one process is an outage. With two
#           processes (`numprocs=2`) the socket outlives the crash of either, not a restart of both.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" -q --disable-pip-version-check install supervisor==4.3.0 ||
  { echo "missing: the package, from PyPI"; exit 77; }
echo "supervisor $("$work/venv/bin/supervisord" --version)"

cat >"$work/app.py" <<'PY'
import os, socket

listener = socket.socket(fileno=os.dup(0))
while True:
    client, _ = listener.accept()
    if client.recv(100) == b"crash":
        os._exit(1)
    client.sendall(b"served")
    client.close()
PY

cat >"$work/drive.py" <<'PY'
import signal, socket, subprocess, sys, time

work = sys.argv[1]
path = f"{work}/web.sock"


def ask(text=b"hello"):
    """What became of one client; it waits where there is a queue."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(120)
        try:
            client.connect(path)
            client.sendall(text)
            return client.recv(100).decode() or "reset"
        except (ConnectionResetError, BrokenPipeError):
            return "reset"
        except (ConnectionRefusedError, FileNotFoundError):
            return "refused"


def until_served():
    """Clients one after the other, until one is served: what became of them."""
    deadline = time.monotonic() + 120
    seen = set()
    while "served" not in seen and time.monotonic() < deadline:
        seen.add(ask())
        time.sleep(0.02)
    return "some are refused, then served" if "refused" in seen else "served"


def play(processes):
    with open(f"{work}/supervisord.conf", "w") as file:
        file.write(f"""
[supervisord]
nodaemon=true
logfile={work}/log
pidfile={work}/pid
[fcgi-program:web]
socket=unix://{path}
command={sys.executable} {work}/app.py
process_name=%(process_num)d
numprocs={processes}
startsecs=0
autorestart=true
""")
    supervisor = subprocess.Popen(
        [f"{work}/venv/bin/supervisord", "-c", f"{work}/supervisord.conf"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_served()
        time.sleep(3)  # The second one is up as well.
        ask(b"crash")
        return until_served()
    finally:
        supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(120)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()


for processes in (2, 1):
    print(f"numprocs={processes}, one crashes: {play(processes)}", flush=True)
PY

echo "expected: served, in both lines"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
numprocs=2, one crashes: served
numprocs=1, one crashes: some are refused, then served
SEEN
echo "seen: supervisord closes the socket with the last process that has it"
