#!/usr/bin/env bash
# uvicorn's two HTTP parsers part at shutdown: one serves a pipelined request, the other drops it.
#
# Software: uvicorn 0.54.0 with httptools 0.9.0 and h11 0.16.0 (PyPI).
# Guess:    The parser is a matter of speed. With either, a graceful stop ends the running request,
#           says "Connection: close" in its response, and leaves the pipelined one to be sent again.
# Seen:     httptools serves both requests, and the last response says "Connection: close". h11
#           serves the first, says nothing about the connection, and closes it: the client counts on
#           a second response that never comes. Without the signal both parsers serve both.
# So:       Whether httptools happens to be installed (it comes with `uvicorn[standard]`) decides if
#           pipelining clients lose requests at a reload.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  uvicorn==0.54.0 httptools==0.9.0 h11==0.16.0 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/uvicorn" --version

cat >"$work/app.py" <<'PY'
import asyncio, os


async def app(scope, receive, send):
    """Answer /first when the test has removed the gate file, everything else at once."""
    if scope["path"] == "/first":
        open("started", "w").close()
        while os.path.exists("gate"):
            await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"0"), (b"x-path", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": b""})
PY

cat >"$work/drive.py" <<'PY'
import os, signal, socket, subprocess, sys, time

work = sys.argv[1]
os.chdir(work)


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("timed out")
        time.sleep(0.02)


def heads(client):
    """Read until both responses are there or the server closes; no response has a body."""
    received = b""
    while received.count(b"\r\n\r\n") < 2 and (data := client.recv(4096)):
        received += data
    return received.decode().lower().split("\r\n\r\n")[:-1]


def answers(parser, stops):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    open("gate", "w").close()
    server = subprocess.Popen(
        [f"{work}/venv/bin/uvicorn", "--fd", str(listener.fileno()), "--http", parser,
         "--lifespan", "off", "app:app"],
        pass_fds=(listener.fileno(),), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    listener.close()
    try:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(120)
            client.sendall(b"GET /first HTTP/1.1\r\nHost: test\r\n\r\n"
                           b"GET /second HTTP/1.1\r\nHost: test\r\n\r\n")
            wait_for(lambda: os.path.exists("started"))
            if stops:
                server.send_signal(signal.SIGTERM)
                while "Shutting down" not in server.stderr.readline():
                    assert server.poll() is None
            os.unlink("gate")
            return heads(client)
    finally:
        server.kill()
        server.wait()
        os.unlink("started")


for stops in (False, True):
    for parser in ("httptools", "h11"):
        for head in answers(parser, stops):
            fields = dict(line.split(": ") for line in head.split("\r\n")[1:])
            print(f"{'stopped' if stops else 'running'}, {parser}: {fields['x-path']} answered, "
                  f"connection: {fields.get('connection', '-')}", flush=True)
PY

echo "expected: the same from both, and the last response says close"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
running, httptools: /first answered, connection: -
running, httptools: /second answered, connection: -
running, h11: /first answered, connection: -
running, h11: /second answered, connection: -
stopped, httptools: /first answered, connection: -
stopped, httptools: /second answered, connection: close
stopped, h11: /first answered, connection: -
SEEN
echo "seen: h11 drops the second request without a word"
