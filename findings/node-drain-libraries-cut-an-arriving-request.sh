#!/usr/bin/env bash
# Six libraries for a graceful stop in Node cut a request that Node's own server.close() answers.
#
# Software: http-terminator 3.2.0, lil-http-terminator 1.2.3, stoppable 1.1.0, @godaddy/terminus
#           4.12.1, http-graceful-shutdown 4.0.0, http-shutdown 1.2.2, @hapi/hapi 21.4.10, fastify
#           5.12.8 (npm); Node.js as installed (seen with 20.20.2).
# Guess:    A library for a graceful stop is at least as careful as server.close(). A request whose
#           head is half there when the stop begins is being received, and the connection is not
#           idle: it is answered, as one is whose body is half there.
# Seen:     server.close() answers both. All six libraries, and hapi with its own stop(), destroy the
#           connection: they call it idle until the request event. fastify answers 503. A request
#           whose body is half there is answered by all.
# So:       Behind a slow client, or with a head in two packets (large cookies), a reload loses
#           requests that plain server.close() in Node 19 and later would have kept. The libraries
#           are from the time before it ended idle connections.
#
# Needs node and npm. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo '{"private": true}' >"$work/package.json"
timeout 600 npm install --prefix "$work" --silent --no-audit --no-fund \
  http-terminator@3.2.0 lil-http-terminator@1.2.3 stoppable@1.1.0 @godaddy/terminus@4.12.1 \
  http-graceful-shutdown@4.0.0 http-shutdown@1.2.2 @hapi/hapi@21.4.10 fastify@5.12.8 ||
  { echo "missing: the packages, from npm"; exit 77; }
echo "node $(node --version)"

# One server with one library. It says where it listens, when part of the request has arrived and
# when SIGTERM has.
cat >"$work/server.js" <<'JS'
const http = require('node:http');
const STOP_MS = 60000;

function answer(request, response) {
  request.resume();
  request.on('end', () => response.end('served'));
}

function plain(prepare) {
  return async () => {
    const server = http.createServer(answer);
    const stop = prepare(server);
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { server, stop };
  };
}

const kinds = {
  'server.close()': plain((server) => () => server.close(() => process.exit())),
  'http-terminator': plain((server) => {
    const { createHttpTerminator } = require('http-terminator');
    const terminator = createHttpTerminator({ server, gracefulTerminationTimeout: STOP_MS });
    return () => terminator.terminate().then(() => process.exit());
  }),
  'lil-http-terminator': plain((server) => {
    const options = { server, gracefulTerminationTimeout: STOP_MS };
    const terminator = require('lil-http-terminator')(options);
    return () => terminator.terminate().then(() => process.exit());
  }),
  stoppable: plain((server) => {
    require('stoppable')(server, STOP_MS);
    return () => server.stop(() => process.exit());
  }),
  '@godaddy/terminus': plain((server) => {
    require('@godaddy/terminus').createTerminus(server, { signal: 'SIGTERM', timeout: STOP_MS });
    return () => {};
  }),
  'http-graceful-shutdown': plain((server) => {
    require('http-graceful-shutdown')(server, { signals: 'SIGTERM', timeout: STOP_MS });
    return () => {};
  }),
  'http-shutdown': plain((server) => {
    require('http-shutdown')(server);
    return () => server.shutdown(() => process.exit());
  }),
  hapi: async () => {
    const app = require('@hapi/hapi').server({ port: 0, host: '127.0.0.1' });
    app.route({ method: '*', path: '/', handler: () => 'served' });
    await app.start();
    const stop = () => app.stop({ timeout: STOP_MS }).then(() => process.exit());
    return { server: app.listener, stop };
  },
  fastify: async () => {
    const app = require('fastify')();
    app.all('/', async () => 'served');
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { server: app.server, stop: () => app.close().then(() => process.exit()) };
  },
};

async function main() {
  const { server, stop } = await kinds[process.argv[2]]();
  server.on('connection', (socket) => {
    const look = setInterval(() => {
      if (socket.bytesRead === 0) return;
      clearInterval(look);
      console.log('arriving');
    }, 20);
  });
  process.on('SIGTERM', () => {
    console.log('stopping');
    stop();
  });
  console.log(server.address().port);
}

main();
JS

cat >"$work/drive.js" <<'JS'
const { spawn } = require('node:child_process');
const { createInterface } = require('node:readline');
const net = require('node:net');

const HEAD = 'POST / HTTP/1.1\r\nHost: test\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n';
const PARTS = { head: [HEAD, '\r\nabcdefgh'], body: [HEAD + '\r\nabcd', 'efgh'] };
const PAUSE_MS = 3000; // Between the stop and the rest of the request.

async function ask(kind, part) {
  const child = spawn(process.execPath, [__dirname + '/server.js', kind],
    { stdio: ['ignore', 'pipe', 'ignore'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => (await lines.next()).value;
  const client = net.connect(Number(await line()), '127.0.0.1');
  let answer = '';
  client.on('data', (data) => { answer += data; });
  client.on('error', () => {});
  client.write(PARTS[part][0]);
  await line();
  child.kill('SIGTERM');
  await line();
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  if (client.writable) client.write(PARTS[part][1]);
  await new Promise((resolve) => {
    if (client.destroyed) resolve();
    client.once('close', resolve);
    client.once('data', resolve);
  });
  client.destroy();
  child.kill('SIGKILL');
  return /^HTTP\/1.1 (\d+)/.exec(answer)?.[1] ?? 'no answer';
}

async function main() {
  const kinds = ['server.close()', 'http-terminator', 'lil-http-terminator', 'stoppable',
    '@godaddy/terminus', 'http-graceful-shutdown', 'http-shutdown', 'hapi', 'fastify'];
  for (const kind of kinds) {
    console.log(`${kind}: head half there: ${await ask(kind, 'head')}`
      + `, body half there: ${await ask(kind, 'body')}`);
  }
  process.exit();
}

main();
JS

echo "expected: 200 in every line, twice"
NODE_PATH="$work/node_modules" timeout --kill-after=5 600 node "$work/drive.js" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
server.close(): head half there: 200, body half there: 200
http-terminator: head half there: no answer, body half there: 200
lil-http-terminator: head half there: no answer, body half there: 200
stoppable: head half there: no answer, body half there: 200
@godaddy/terminus: head half there: no answer, body half there: 200
http-graceful-shutdown: head half there: no answer, body half there: 200
http-shutdown: head half there: no answer, body half there: 200
hapi: head half there: no answer, body half there: 200
fastify: head half there: 503, body half there: 200
SEEN
echo "seen: only Node itself answers a request whose head arrives while the stop begins"
