#!/usr/bin/env bash
# Node's cluster primary closes an inherited listener when its last worker disconnects.
#
# Software: Node.js as installed (seen with 20.20.2), module node:cluster.
# Guess:    Workers call `listen({ fd: 3 })` and the primary holds fd 3. The primary inherited it
#           and did not open it, so the fd outlives every worker: the next worker can listen on it
#           again.
# Seen:     When the last worker disconnects, the primary closes fd 3. The next fork() takes the
#           number 3 for its IPC channel, and the new worker's listen() fails with EEXIST.
# So:       With one worker, "disconnect the old, fork the new" works when the app bound the port
#           itself and loses the port under socket activation. Fork first, disconnect afterwards.
#
# Needs node and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "node $(node --version)"

cat >"$work/app.js" <<'JS'
const cluster = require('node:cluster');
const fs = require('node:fs');
const http = require('node:http');

const where = process.argv[2] === 'fd' ? { fd: 3 } : { port: 0, host: '127.0.0.1' };

function outcome(worker) {
  return new Promise((resolve) => {
    worker.once('listening', () => resolve('listening'));
    worker.once('message', resolve);
  });
}

function primarysFd3() {
  try {
    return fs.readlinkSync('/proc/self/fd/3').replace(/\d+/, 'N');
  } catch (error) {
    return error.code;
  }
}

async function rollOneWorker() {
  const first = cluster.fork();
  console.log(`first worker: ${await outcome(first)}`);
  first.disconnect();
  await new Promise((resolve) => first.once('exit', resolve));
  if (process.argv[2] === 'fd') console.log(`fd 3 of the primary: ${primarysFd3()}`);
  console.log(`second worker: ${await outcome(cluster.fork())}`);
  process.exit();
}

if (cluster.isPrimary) {
  rollOneWorker();
} else {
  const server = http.createServer((request, response) => response.end());
  server.on('error', (error) => process.send(error.code));
  server.listen(where);
}
JS

cat >"$work/drive.py" <<'PY'
import os, socket, subprocess, sys

listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
for mode in ("port", "fd"):
    print(f"--- listen on: {mode}", flush=True)
    subprocess.run(["node", sys.argv[1], mode], pass_fds=(3,), check=True)
PY

echo "expected: the second worker listens in both modes"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work/app.js" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
--- listen on: port
first worker: listening
second worker: listening
--- listen on: fd
first worker: listening
fd 3 of the primary: ENOENT
second worker: EEXIST
SEEN
echo "seen: the primary closed the inherited listener with its last worker"
