#!/usr/bin/env bash
# Bun, Deno, aiohttp and hypercorn close a kept connection right after a response that does not say so.
#
# Software: bun 1.4.5 and deno 2.9.6 (npm); aiohttp 3.14.5, hypercorn 0.18.0, granian 2.8.9, cheroot
#           11.1.2 and gunicorn 27.0.1 with gthread (PyPI); node:http of Node.js and CPython as
#           installed (seen with 20.20.2 and 3.11).
# Guess:    A server that is told to stop while it works on a request writes "Connection: close" into
#           its response, as RFC 9112 (9.6) asks of a server that is about to close. Or it keeps the
#           connection for one more request.
# Seen:     granian and cheroot say it; Node.js and gunicorn keep the connection and answer the next
#           request. The other four do neither: their response is that of a connection which stays
#           (HTTP/1.1 without "close"), the end of the connection follows it, and a client that
#           sends its next request at once loses it.
# So:       Behind these servers each stop costs the busiest kept connections a request, however
#           graceful it is. An app can set the header itself, in a middleware, once the stop signal
#           has come.
#
# Needs npm, node and python3 with venv. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool
# is missing.
set -euo pipefail
for tool in npm node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" \
  bun@1.4.5 deno@2.9.6 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" -q install aiohttp==3.14.5 hypercorn==0.18.0 granian==2.8.9 \
  cheroot==11.1.2 gunicorn==27.0.1 ||
  { echo "missing: the packages, from PyPI"; exit 77; }
export DENO_DIR=$work/deno DENO_NO_UPDATE_CHECK=1
echo "bun 1.4.5, deno 2.9.6, node $(node --version)"
echo "aiohttp 3.14.5, hypercorn 0.18.0, granian 2.8.9, cheroot 11.1.2, gunicorn 27.0.1"

cat >"$work/app.mjs" <<'JS'
import http from 'node:http';

const api = process.argv[2];
const port = Number(process.env.PORT);
const hostname = '127.0.0.1';
const pause = (url) => new Promise((done) => setTimeout(done, url.endsWith('/slow') ? 2000 : 0));
const respond = async (request) => {
  await pause(request.url);
  return new Response('ok');
};

let stop;
if (api === 'bun') {
  const server = Bun.serve({ port, hostname, fetch: respond });
  stop = () => server.stop();
} else if (api === 'deno') {
  const server = Deno.serve({ port, hostname }, respond);
  stop = () => server.shutdown();
} else {
  const server = http.createServer(async (request, response) => {
    await pause(request.url);
    response.end('ok');
  });
  server.listen(port, hostname);
  stop = () => server.close();
}
process.on('SIGTERM', stop);
JS

cat >"$work/asgi.py" <<'PY'
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
PY

cat >"$work/wsgi.py" <<'PY'
import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
PY

cat >"$work/serve.py" <<'PY'
import asyncio, os, signal, sys, threading

port = int(os.environ["PORT"])
if sys.argv[1] == "aiohttp":
    from aiohttp import web

    async def respond(request):
        if request.path == "/slow":
            await asyncio.sleep(2)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    web.run_app(app, host="127.0.0.1", port=port, shutdown_timeout=60)
else:
    from cheroot import wsgi
    from wsgi import app

    server = wsgi.Server(("127.0.0.1", port), app)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.stop).start())
    server.start()
PY

cat >"$work/drive.py" <<'PY'
import http.client, os, signal, socket, subprocess, sys, time

work = sys.argv[1]
modules, venv = f"{work}/node_modules/.bin", f"{work}/venv/bin"
servers = {
    "granian": lambda port: [f"{venv}/granian", "--interface", "asgi", "--host", "127.0.0.1",
                             "--port", port, "asgi:app"],
    "cheroot": lambda port: [f"{venv}/python", "serve.py", "cheroot"],
    "node:http": lambda port: ["node", "app.mjs", "node"],
    "gunicorn": lambda port: [f"{venv}/gunicorn", "--bind", f"127.0.0.1:{port}", "-k", "gthread",
                              "--keep-alive", "20", "wsgi:app"],
    "Bun.serve": lambda port: [f"{modules}/bun", "app.mjs", "bun"],
    "Deno.serve": lambda port: [f"{modules}/deno", "run", "-A", "-q", "app.mjs", "deno"],
    "aiohttp": lambda port: [f"{venv}/python", "serve.py", "aiohttp"],
    "hypercorn": lambda port: [f"{venv}/hypercorn", "--bind", f"127.0.0.1:{port}",
                               "--graceful-timeout", "60", "asgi:app"],
}


def get(client, path):
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    return response


def connect(port):
    deadline = time.monotonic() + 120
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=120)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def last_response(process, port):
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.sock = connect(port)
    get(client, "/")
    client.request("GET", "/slow")
    time.sleep(0.7)  # The handler works for two seconds.
    process.send_signal(signal.SIGTERM)
    response = client.getresponse()
    response.read()
    if response.will_close:
        return "the response says close"
    try:
        return f"the response does not say close; the next request: {get(client, '/').status}"
    except (OSError, http.client.HTTPException):
        return "the response does not say close; the next request: lost"


for server, command in servers.items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        command(str(port)), cwd=work, env=dict(os.environ, PORT=str(port)), start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        print(f"{server}: {last_response(process, port)}", flush=True)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
PY

echo "expected: the response says close, or the next request: 200, in each line"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
granian: the response says close
cheroot: the response says close
node:http: the response does not say close; the next request: 200
gunicorn: the response does not say close; the next request: 200
Bun.serve: the response does not say close; the next request: lost
Deno.serve: the response does not say close; the next request: lost
aiohttp: the response does not say close; the next request: lost
hypercorn: the response does not say close; the next request: lost
SEEN
echo "seen: four of eight close behind a response that promises a kept connection"
