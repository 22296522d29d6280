#!/usr/bin/env bash
# A second granian starts on the port of the first without an error, and takes half of its clients.
#
# Software: granian 2.8.9, uvicorn 0.54.0 and hypercorn 0.18.0 (PyPI); CPython as installed (seen with
#           3.11).
# Guess:    Who starts a server twice by mistake (a deploy that did not end the old one, two units, a
#           forgotten terminal) is told "address already in use" by the second one, which exits.
# Seen:     uvicorn and hypercorn do so. granian sets SO_REUSEPORT by itself, with one worker too: both
#           instances log "Listening", both stay, and the kernel spreads new connections over them.
# So:       After a failed stop the old version goes on with half of the traffic, and no log says so.
#           A check that the port is free has to be made before the start, or the socket to be owned
#           by a supervisor.
#
# Needs python3 with venv. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" -q install granian==2.8.9 uvicorn==0.54.0 hypercorn==0.18.0 ||
  { echo "missing: the packages, from PyPI"; exit 77; }
echo "granian 2.8.9, uvicorn 0.54.0, hypercorn 0.18.0, $(python3 --version)"

cat >"$work/app.py" <<'PY'
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["INSTANCE"].encode()})
PY

cat >"$work/drive.py" <<'PY'
import http.client, os, signal, socket, subprocess, sys, time

work = sys.argv[1]
venv = f"{work}/venv/bin"
servers = {
    "uvicorn": lambda port: ["uvicorn", "--port", port, "app:app"],
    "hypercorn": lambda port: ["hypercorn", "--bind", f"127.0.0.1:{port}", "app:app"],
    "granian": lambda port: ["granian", "--interface", "asgi", "--workers", "1",
                             "--host", "127.0.0.1", "--port", port, "app:app"],
}


def ask(port):
    """Who answers, on a new connection."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        client.request("GET", "/", headers={"Connection": "close"})
        return client.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        client.close()


def start(server, port, instance):
    program, *arguments = servers[server](str(port))
    return subprocess.Popen(
        [f"{venv}/{program}", *arguments], cwd=work, env=dict(os.environ, INSTANCE=instance),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True)


for server in servers:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [start(server, port, "first")]
    try:
        deadline = time.monotonic() + 120
        while ask(port) != "first" and time.monotonic() < deadline:
            time.sleep(0.1)
        running.append(start(server, port, "second"))
        answers = []
        deadline = time.monotonic() + 120
        while running[1].poll() is None and "second" not in answers and time.monotonic() < deadline:
            answers.append(ask(port))
            time.sleep(0.02)
        if running[1].poll() is not None:
            print(f"{server}: the second exits with {running[1].returncode}", flush=True)
        else:
            share = [ask(port) for _ in range(200)]
            print(f"{server}: the second stays; each answers at least a quarter of 200 clients: "
                  f"{min(share.count('first'), share.count('second')) >= 50}", flush=True)
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
PY

echo "expected: the second exits with an error, three times"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
uvicorn: the second exits with 3
hypercorn: the second exits with 1
granian: the second stays; each answers at least a quarter of 200 clients: True
SEEN
echo "seen: two granians share a port that nobody asked them to share"
