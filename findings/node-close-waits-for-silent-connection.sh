#!/usr/bin/env bash
# Node's server.close() waits for ever for a connection that has not sent a byte.
#
# Software: Node.js as installed (seen with 20.20.2), node:http.
# Guess:    close() ends idle connections since Node 19, and an accepted connection without a
#           request is idle. If it were not, headersTimeout would end it, as it does before close().
# Seen:     Node counts a connection without a request as one that is sending its head, so close()
#           leaves it. The same close() stops the timer that enforces headersTimeout and
#           requestTimeout. Nothing ends the connection, and the callback of close() never comes. An
#           idle connection that has had a response is closed at once.
# So:       One preconnect of a browser or one TCP health check holds the drain until the
#           supervisor's stop timeout. `closeIdleConnections()` does not help; a deadline with
#           `closeAllConnections()` does.
#
# Needs node. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
command -v node >/dev/null || { echo "missing: node"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "node $(node --version)"

cat >"$work/probe.js" <<'JS'
const http = require('node:http');
const net = require('node:net');
const { once } = require('node:events');

const LIMITS = { headersTimeout: 500, requestTimeout: 500, connectionsCheckingInterval: 100 };
const PATIENCE_MS = 15000; // Thirty times the limits.

async function start() {
  const server = http.createServer(LIMITS, (request, response) => response.end('served'));
  server.keepAliveTimeout = 60000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function connect(server) {
  const accepted = once(server, 'connection');
  const client = net.connect(server.address().port, '127.0.0.1');
  client.resume();
  await accepted;
  return client;
}

function ended(client) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('still open'), PATIENCE_MS);
    client.once('close', () => {
      clearTimeout(timer);
      resolve('ended');
    });
  });
}

async function main() {
  const running = await start();
  console.log(`silent connection, no close(): ${await ended(await connect(running))}`);

  const server = await start();
  const silent = await connect(server);
  const idle = await connect(server);
  idle.write('GET / HTTP/1.1\r\nHost: test\r\n\r\n');
  await once(idle, 'data');
  let closed = false;
  server.close(() => { closed = true; });
  server.closeIdleConnections();
  console.log(`connection idle after a response, close(): ${await ended(idle)}`);
  console.log(`silent connection, close(): ${await ended(silent)}`);
  console.log(`callback of close(): ${closed ? 'called' : 'not called'}`);
  process.exit();
}

main();
JS

echo "expected: every connection ends and the callback is called"
timeout --kill-after=5 600 node "$work/probe.js" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
silent connection, no close(): ended
connection idle after a response, close(): ended
silent connection, close(): still open
callback of close(): not called
SEEN
echo "seen: after close() nothing ends a silent connection"
