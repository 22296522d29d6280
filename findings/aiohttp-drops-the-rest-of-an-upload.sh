#!/usr/bin/env bash
# A stopping aiohttp waits for the handler of an upload, and throws the upload away meanwhile.
#
# Software: aiohttp 3.14.5 (PyPI); CPython as installed (seen with 3.11).
# Guess:    `web.run_app(shutdown_timeout=60)` lets handlers that run at SIGTERM finish. One that
#           reads its request's body gets the rest of it, answers, and the server exits.
# Seen:     The server leaves the connection open and waits for the handler, but what the client
#           sends from then on is not given to it. The handler is cancelled when the whole time is
#           up, and the client gets no answer. A handler that has its body already is answered.
# So:       The grace period is a delay for uploads and no help: each one that is under way at a
#           reload is lost, and holds the old process for 60 s, the default.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5 ||
  { echo "missing: the package, from pip"; exit 77; }
"$work/venv/bin/python" -c '
import importlib.metadata as m, platform
print("aiohttp", m.version("aiohttp"), "CPython", platform.python_version())'

cat >"$work/server.py" <<'PY'
import asyncio, socket, sys

from aiohttp import web

GRACE_S = 10


async def upload(request):
    print("handler runs", flush=True)
    try:
        body = await request.read()
        await asyncio.sleep(float(request.query["work"]))
    except asyncio.CancelledError:
        print("handler is cancelled", flush=True)
        raise
    print(f"handler ends with {len(body)} bytes", flush=True)
    return web.Response(text="served")


async def stopping(app):
    print("stopping", flush=True)


app = web.Application()
app.router.add_post("/", upload)
app.on_shutdown.append(stopping)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(app, sock=listener, print=None, shutdown_timeout=GRACE_S)
PY

cat >"$work/drive.py" <<'PY'
import os, signal, socket, subprocess, sys, time

PATIENCE_S = 60  # Six times the server's grace period.
BODY = b"0123456789"


def ask(first, work):
    """Sends `first` bytes of the body before the stop, the rest after it."""
    command = [sys.executable, os.path.join(os.path.dirname(__file__), "server.py")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    head = f"POST /?work={work} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BODY)}\r\n\r\n"
    client.sendall(head.encode() + BODY[:first])
    server.stdout.readline()
    server.send_signal(signal.SIGTERM)
    server.stdout.readline()
    time.sleep(1)
    if first < len(BODY):
        client.sendall(BODY[first:])
    answer = client.recv(4096)
    status = answer.split()[1].decode() if answer else "no answer"
    client.close()
    server.wait(PATIENCE_S)
    return f"{server.stdout.read().strip()}; client: {status}"


print("whole body before SIGTERM:", ask(len(BODY), 3))
print("half of it before SIGTERM:", ask(len(BODY) // 2, 0))
PY

echo "expected: 200 in both lines"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/drive.py" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
whole body before SIGTERM: handler ends with 10 bytes; client: 200
half of it before SIGTERM: handler is cancelled; client: no answer
SEEN
echo "seen: the rest of the upload never reached the handler that was waited for"
