#!/usr/bin/env bash
# Half of the HTTP servers abandon a request whose client has shut its sending side.
#
# Software: uvicorn 0.54.0, hypercorn 0.18.0, aiohttp 3.14.5, waitress 3.0.2 and gunicorn 27.0.1
#           with two workers (PyPI); node:http of Node.js as installed (seen with 20.20.2).
# Guess:    A client that sends a complete request and then shutdown(SHUT_WR), as `nc -N` and
#           `socat` do, gets its response. TCP allows it, and the request is complete.
# Seen:     uvicorn, aiohttp, Node and gunicorn's asgi worker close the connection while the handler
#           works, and the response is lost. hypercorn, waitress and gunicorn's gthread worker
#           answer. With gunicorn, the choice of the worker class decides.
# So:       A probe made of `printf | nc -N` calls a healthy app dead, or works until the worker
#           class changes. A relay that forwards a half-close turns it into an abort.
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
  uvicorn==0.54.0 hypercorn==0.18.0 aiohttp==3.14.5 waitress==3.0.2 gunicorn==27.0.1 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c '
import importlib.metadata as m
print(*(f"{n} {m.version(n)}" for n in "uvicorn hypercorn aiohttp waitress gunicorn".split()))'
echo "node $(node --version)"

# Each app answers GET / after half a second and leaves the end of the connection to its server.
cat >"$work/app.py" <<'PY'
import asyncio, socket, sys, time


def wsgi(environ, start_response):
    time.sleep(0.5)
    start_response("200 OK", [("Content-Length", "0")])
    return []


async def asgi(scope, receive, send):
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    listener = socket.socket(fileno=3)
    if sys.argv[1] == "waitress":
        import waitress
        waitress.serve(wsgi, sockets=[listener])
    else:
        from aiohttp import web

        async def handler(request):
            await asyncio.sleep(0.5)
            return web.Response()

        app = web.Application()
        app.router.add_get("/", handler)
        web.run_app(app, sock=listener, print=None)
PY
cat >"$work/app.js" <<'JS'
require('node:http')
  .createServer((request, response) => setTimeout(() => response.end(), 500))
  .listen({ fd: 3 });
JS

cat >"$work/drive.py" <<'PY'
import os, socket, subprocess, sys

work = sys.argv[1]
python = f"{work}/venv/bin/python"
gunicorn = [python, "-m", "gunicorn", "--bind", "fd://3", "--no-control-socket"]
SERVERS = {
    "uvicorn": [python, "-m", "uvicorn", "--fd", "3", "--lifespan", "off", "app:asgi"],
    "hypercorn": [python, "-m", "hypercorn", "--bind", "fd://3", "app:asgi"],
    "aiohttp": [python, "app.py", "aiohttp"],
    "waitress": [python, "app.py", "waitress"],
    "gunicorn gthread": [*gunicorn, "--worker-class", "gthread", "app:wsgi"],
    "gunicorn asgi": [*gunicorn, "--worker-class", "asgi", "app:asgi"],
    "node": ["node", "app.js"],
}
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def first_bytes(port, half_close):
    """The listener is bound beforehand, so the request waits until the server accepts."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(120)
        client.sendall(REQUEST)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        return client.recv(4096)


for name, command in SERVERS.items():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    if listener.fileno() != 3:
        os.dup2(listener.fileno(), 3)
    port = listener.getsockname()[1]
    server = subprocess.Popen(command, pass_fds=(3,), cwd=work,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert first_bytes(port, half_close=False).startswith(b"HTTP/1.1 200"), name
        answered = first_bytes(port, half_close=True).startswith(b"HTTP/1.1 200")
        print(f"{name}: {'answers' if answered else 'closes without a response'}", flush=True)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    listener.close()
PY

echo "expected: each answers"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
uvicorn: closes without a response
hypercorn: answers
aiohttp: closes without a response
waitress: answers
gunicorn gthread: answers
gunicorn asgi: closes without a response
node: closes without a response
SEEN
echo "seen: a half-close is an abort to four of the seven"
