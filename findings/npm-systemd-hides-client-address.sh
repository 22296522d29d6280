#!/usr/bin/env bash
# The npm package "systemd" serves a TCP listener as a pipe: no client has an address.
#
# Software: systemd 0.4.0 (npm) on Node.js as installed (seen with 20.20.2).
# Guess:    `server.listen('systemd')` equals `server.listen({ fd: 3 })`: the same address(), the
#           same remoteAddress.
# Seen:     The package wraps fd 3 in libuv's pipe type, whatever the socket is. Requests are
#           served, but address() is null and remoteAddress is undefined. `listen({ fd: 3 })` has
#           both.
# So:       Logs, rate limits and allow lists that work by address lose their key without an error.
#
# Needs npm, node and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
for tool in npm node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" systemd@0.4.0 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
echo "npm systemd 0.4.0, node $(node --version)"

cat >"$work/app.js" <<'JS'
require('systemd');
const http = require('node:http');

const server = http.createServer((request, response) => {
  response.end(`remoteAddress ${request.socket.remoteAddress}`);
  server.close();
});
server.listen(process.argv[2] === 'systemd' ? 'systemd' : { fd: 3 }, () => {
  console.log(`address() ${server.address()?.address ?? 'null'}`);
});
JS

cat >"$work/drive.py" <<'PY'
import os, socket, subprocess, sys

listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
for way in ("fd", "systemd"):
    app = subprocess.Popen(
        ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec node "$@"', "sh", sys.argv[1], way],
        pass_fds=(3,), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        told = app.stdout.readline().strip()
        with socket.create_connection(listener.getsockname()) as client:
            client.settimeout(120)
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = client.makefile("r").read().splitlines()[-1]
        print(f"listen {way}: {told}, {answer}", flush=True)
    finally:
        app.kill()
        app.wait()
PY

echo "expected: address() and remoteAddress are 127.0.0.1 in both cases"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work/app.js" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
listen fd: address() 127.0.0.1, remoteAddress 127.0.0.1
listen systemd: address() null, remoteAddress undefined
SEEN
echo "seen: the package hides the client's address"
