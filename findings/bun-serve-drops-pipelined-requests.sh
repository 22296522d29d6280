#!/usr/bin/env bash
# Bun.serve answers neither of two pipelined requests if the first one's handler has to wait.
#
# Software: bun 1.4.5 (npm), Bun.serve and its node:http; deno 2.9.6 (npm), Deno.serve, beside it.
# Guess:    A server without pipelining reads the second request after the first response. One way
#           or the other both are answered in order, as HTTP/1.1 demands.
# Seen:     If the first handler answers at once, Bun.serve answers both. If it awaits something,
#           the arrival of the second request closes the connection: the first one is executed and
#           its response is lost. node:http in the same Bun answers both, and so does Deno.serve.
# So:       Losses that look like a bad handoff may come from pipelining alone. A load test of a
#           reload should be run once without a reload.
#
# Needs npm and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in npm python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" \
  bun@1.4.5 deno@2.9.6 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
export DENO_DIR=$work/deno DENO_NO_UPDATE_CHECK=1
echo "bun 1.4.5, deno 2.9.6"

cat >"$work/app.mjs" <<'JS'
import http from 'node:http';

const api = process.argv[2];
const pause = () => new Promise((resolve) => setTimeout(resolve, 300));

async function respond(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/waits') await pause();
  return new Response(pathname);
}

if (api === 'Bun.serve') {
  console.log(Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: respond }).port);
} else if (api === 'Deno.serve') {
  const onListen = ({ port }) => console.log(port);
  Deno.serve({ hostname: '127.0.0.1', port: 0, onListen }, respond);
} else {
  const server = http.createServer(async (request, response) => {
    if (request.url === '/waits') await pause();
    response.end(request.url);
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
}
JS

cat >"$work/drive.py" <<'PY'
import socket, subprocess, sys

work = sys.argv[1]
modules = f"{work}/node_modules/.bin"
bun = [f"{modules}/bun", f"{work}/app.mjs"]
deno = [f"{modules}/deno", "run", "--allow-all", "--quiet", f"{work}/app.mjs"]


def answered(port, *paths):
    """Send the requests in one piece; return how many responses come before the end."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(120)
        client.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % path for path in paths))
        received = b""
        while received.count(b"HTTP/1.1 200") < len(paths) and (data := client.recv(4096)):
            received += data
    return received.count(b"HTTP/1.1 200")


for api, command in {"Bun.serve": bun, "node:http": bun, "Deno.serve": deno}.items():
    app = subprocess.Popen([*command, api], stdout=subprocess.PIPE, text=True)
    try:
        port = int(app.stdout.readline())
        for first in (b"/at-once", b"/waits"):
            print(f"{api}, first request {first.decode()}: "
                  f"{answered(port, first, b'/at-once')} of 2 answered", flush=True)
    finally:
        app.kill()
        app.wait()
PY

echo "expected: 2 of 2 answered, in each case"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
Bun.serve, first request /at-once: 2 of 2 answered
Bun.serve, first request /waits: 0 of 2 answered
node:http, first request /at-once: 2 of 2 answered
node:http, first request /waits: 2 of 2 answered
Deno.serve, first request /at-once: 2 of 2 answered
Deno.serve, first request /waits: 2 of 2 answered
SEEN
echo "seen: a pipelined request costs the response of the one before it"
