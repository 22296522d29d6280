#!/usr/bin/env bash
# Bun's node:http answers `listen({ fd })` with a port of its own choice.
#
# Software: bun 1.4.5 (npm), as a drop-in for Node; Python is only the supervisor of the test.
# Guess:    `http.createServer().listen({ fd: 3 })` serves the inherited listener, as Node and Deno
#           do. A runtime without the feature would raise an error.
# Seen:     No error. The server emits "listening", its address() is a random port on all
#           interfaces, and nobody accepts on fd 3. node:net in the same runtime does serve fd 3.
# So:       A supervisor that waits for "listening" hands over to an app that nobody can reach.
#
# Needs npm and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in npm python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" bun@1.4.5 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
bun=$work/node_modules/.bin/bun
echo "bun $("$bun" --version)"

cat >"$work/http.js" <<'JS'
const server = require('node:http').createServer((request, response) => response.end('served\n'));
server.on('error', (error) => console.log(JSON.stringify({ error: error.message })));
server.listen({ fd: 3 }, () => console.log(JSON.stringify(server.address())));
JS
cat >"$work/net.js" <<'JS'
const server = require('node:net').createServer((socket) => socket.end('served\n'));
server.on('error', (error) => console.log(JSON.stringify({ error: error.message })));
server.listen({ fd: 3 }, () => console.log(JSON.stringify(server.address())));
JS

cat >"$work/drive.py" <<'PY'
import json, os, socket, subprocess, sys

bun, folder = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
port = listener.getsockname()[1]


def address_told_by(script):
    """Start the script with the listener as fd 3; return the process and the address it tells."""
    app = subprocess.Popen([bun, f"{folder}/{script}"], pass_fds=(3,), stdout=subprocess.PIPE)
    return app, json.loads(app.stdout.readline())


def waits_unaccepted():
    """Is a new connection still in the accept queue after the app has had 15 s to take it?"""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(15)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        try:
            return client.recv(4096) == b""
        except TimeoutError:
            return True


results = {}
for script in ("net.js", "http.js"):
    app, told = address_told_by(script)
    try:
        unserved = waits_unaccepted()
    finally:
        app.kill()
        app.wait()
    print(f"{script}: inherited port {port}, told {told}, serves the inherited one: {not unserved}")
    results[script] = (told.get("port") == port, not unserved)
sys.exit(0 if results == {"net.js": (True, True), "http.js": (False, False)} else 1)
PY

echo "expected: both serve the inherited listener, or listen() reports an error"
timeout --kill-after=5 600 python3 "$work/drive.py" "$bun" "$work" ||
  { echo "CHANGED: bun's node:http no longer ignores the fd in silence"; exit 1; }
echo "seen: node:http listens elsewhere and says nothing"
