#!/usr/bin/env bash
# Servers that are given a listening socket replace its backlog by their own default.
#
# Software: hypercorn 0.18.0, uvicorn 0.54.0, gunicorn 27.0.1 (PyPI); CPython and Node.js as installed
#           (seen with 3.11 and 20.20.2).
# Guess:    Who opened the socket chose its backlog, with Backlog= of a systemd unit, say. A server
#           that is given a socket which listens already has no reason to call listen() again.
# Seen:     asyncio.start_server(sock=) and hypercorn set 100, Node 511, uvicorn 2048, whatever it was.
#           The backlog belongs to the socket, so it changes for the opener, too, and stays changed
#           when the server has gone. gunicorn leaves it alone.
# So:       Backlog=4096 in a socket unit holds until asyncio's first start, and each later server
#           starts with 100. Clients of a burst during a reload then meet a full queue. A supervisor
#           that promises a backlog has to call listen() again after each start.
#
# Needs node and python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a
# tool is missing.
set -euo pipefail
for tool in node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  hypercorn==0.18.0 uvicorn==0.54.0 gunicorn==27.0.1 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c '
import importlib.metadata as m
print(*(f"{n} {m.version(n)}" for n in "hypercorn uvicorn gunicorn".split()))'
echo "$(python3 --version), node $(node --version)"

cat >"$work/app.py" <<'PY'
import asyncio, socket


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def main():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, sock=socket.socket(fileno=3))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
PY
echo "require('http').createServer((q, r) => r.end()).listen({ fd: 3 });" >"$work/app.js"

cat >"$work/drive.py" <<'PY'
import os, socket, struct, subprocess, sys, time

work = sys.argv[1]
bin = f"{work}/venv/bin"
servers = {
    "asyncio": [f"{bin}/python", "app.py"],
    "hypercorn": [f"{bin}/hypercorn", "--bind", "fd://3", "app:asgi"],
    "node": ["node", "app.js"],
    "uvicorn": [f"{bin}/uvicorn", "--fd", "3", "app:asgi"],
    "gunicorn": [f"{bin}/gunicorn", "--bind", "fd://3", "app:wsgi"],
}


def backlog(listener):
    """Of a listening socket, tcpi_sacked of TCP_INFO is the backlog."""
    return struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 28)[0]


for name, command in servers.items():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(777)
    listener.setblocking(False)
    before = backlog(listener)
    process = subprocess.Popen(
        ["sh", "-c", f'[ {listener.fileno()} = 3 ] || exec 3<&{listener.fileno()}; exec "$@"', "sh", *command],
        pass_fds=[listener.fileno()], cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with socket.create_connection(listener.getsockname(), 120) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(12).startswith(b"HTTP/1."), name
    finally:
        process.terminate()
        process.wait(60)
    print(f"{name}: {before}, then {backlog(listener)}")
    listener.close()
PY

echo "expected: 777, then 777, five times"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
asyncio: 777, then 100
hypercorn: 777, then 100
node: 777, then 511
uvicorn: 777, then 2048
gunicorn: 777, then 777
SEEN
echo "seen: four of five have set another backlog, which outlives them"
