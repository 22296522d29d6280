#!/usr/bin/env bash
# Node cuts a Unix path that is too long, listens at the rest, and reports the whole path.
#
# Software: Node.js as installed (seen with 20.20.2); bun 1.4.5 (npm) beside it.
# Guess:    sun_path holds 108 bytes. listen() on a longer path fails with EINVAL or ENAMETOOLONG,
#           as in Bun, Deno, Python and systemd.
# Seen:     Node listens without an error at the first 108 bytes, and address() returns the path
#           that was asked for. No other client finds a file there. A second server whose path
#           differs only after byte 108 gets EADDRINUSE.
# So:       Release directories make long paths: "listening" then proves nothing, and two releases
#           may want one socket. Look for the file at the path, or pass the socket as an fd.
#
# Needs node and npm. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" bun@1.4.5 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
echo "node $(node --version), bun 1.4.5"

cat >"$work/app.cjs" <<'JS'
const fs = require('node:fs');
const net = require('node:net');
const { once } = require('node:events');

// Two paths of 130 bytes in a new folder. They differ in their last byte only.
const folder = process.argv[2];
fs.mkdirSync(folder);
const stem = `${folder}/`.padEnd(129, 'x');

async function listen(path) {
  const server = net.createServer();
  try {
    server.listen(path);
    await once(server, 'listening');
  } catch (error) {
    return error.code;
  }
  const told = server.address() === path ? 'the path asked for' : 'another path';
  const found = fs.readdirSync(folder).map((name) => folder.length + 1 + name.length);
  return `listens, address() is ${told}, a file of ${found} bytes is there`;
}

async function main() {
  console.log(`first server: ${await listen(`${stem}1`)}`);
  console.log(`second server: ${await listen(`${stem}2`)}`);
  process.exit();
}
main();
JS

echo "expected: EINVAL or ENAMETOOLONG, from both"
{
  echo "--- bun"
  timeout --kill-after=5 600 "$work/node_modules/.bin/bun" "$work/app.cjs" "$work/b"
  echo "--- node"
  timeout --kill-after=5 600 node "$work/app.cjs" "$work/n"
} | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
--- bun
first server: EINVAL
second server: EINVAL
--- node
first server: listens, address() is the path asked for, a file of 108 bytes is there
second server: EADDRINUSE
SEEN
echo "seen: Node listens at a path that nobody named"
