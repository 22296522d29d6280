#!/usr/bin/env bash
# httpx ends the requests in flight when a server says a graceful GOAWAY, though the server answers them.
#
# Software: httpx 0.28.1 with httpcore 1.0.9 and h2 4.4.1 (PyPI); niquests 3.21.2 (PyPI), curl and
#           Node.js as installed (seen with 7.88.1 and 20.20.2). The server is node:http2.
# Guess:    A server that drains says GOAWAY with NO_ERROR and the number of the last stream that it
#           will answer (RFC 9113, 6.8). A client sends nothing new on that connection, and reads the
#           responses of the streams up to that number to their end.
# Seen:     curl, Node.js and niquests do. httpx raises RemoteProtocolError for each request in
#           flight, at once: with the response not begun, and in the middle of its body. Its sync and
#           its async client do so, and the error names a last stream that includes the request.
# So:       Behind the most careful HTTP/2 drain each reload costs clients with httpx (the SDKs of
#           many APIs among them) their requests in flight, and the server's log says 200 for each.
#           They are safe to repeat only if the method is. HTTP/1.1, its default, has no such loss.
#
# Needs node, curl with HTTP/2 and python3 with venv. Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool is missing.
set -euo pipefail
for tool in node curl python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
curl --version | grep -q HTTP2 || { echo "missing: curl with HTTP/2"; exit 77; }
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" -q --disable-pip-version-check install \
  httpx==0.28.1 httpcore==1.0.9 h2==4.4.1 niquests==3.21.2 ||
  { echo "missing: the packages, from PyPI"; exit 77; }
echo "httpx 0.28.1, httpcore 1.0.9, h2 4.4.1, niquests 3.21.2"
echo "node $(node --version), $(curl --version | head -n 1 | cut -d ' ' -f 1,2)"

cat >"$work/server.mjs" <<'JS'
import http2 from 'node:http2';

const begin = (stream) => {
  stream.respond({ ':status': 200 });
  stream.write('first ');
};
const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const begunBefore = headers[':path'] === '/body';
  const ifOpen = (act) => () => { if (!stream.destroyed && !stream.closed) act(); };
  if (begunBefore) begin(stream);
  // GOAWAY with NO_ERROR and this stream as the last one; the session ends behind its last response.
  setTimeout(ifOpen(() => stream.session.close()), 500);
  setTimeout(ifOpen(() => {
    if (!begunBefore) begin(stream);
    stream.end('last');
  }), 2000);
});
server.on('session', (session) => session.on('error', () => {}));
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
JS

cat >"$work/client.mjs" <<'JS'
import http2 from 'node:http2';

const url = new URL(process.argv[2]);
const session = http2.connect(url.origin);
const request = session.request({ ':path': url.pathname });
let [status, body] = [0, ''];
for (const source of [session, request]) source.on('error', (error) => console.log(error.code));
request.on('response', (headers) => { status = headers[':status']; });
request.setEncoding('utf8').on('data', (text) => { body += text; });
request.on('end', () => console.log(`${status} ${body}`));
JS

cat >"$work/client.py" <<'PY'
import asyncio, sys

client, url = sys.argv[1:]


async def later():
    async with httpx.AsyncClient(http1=False, http2=True, timeout=120) as session:
        return await session.get(url)


try:
    if client == "niquests":
        import niquests

        with niquests.Session(disable_http1=True) as session:
            response = session.get(url, timeout=120)
    else:
        import httpx

        if client == "httpx-async":
            response = asyncio.run(later())
        else:
            with httpx.Client(http1=False, http2=True, timeout=120) as session:
                response = session.get(url)
    print(response.status_code, response.text)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
PY

cat >"$work/drive.py" <<'PY'
import subprocess, sys

work = sys.argv[1]
python = f"{work}/venv/bin/python"
clients = {
    "curl": ["curl", "-s", "--http2-prior-knowledge", "-w", "%{stderr}%{http_code} "],
    "node:http2": ["node", f"{work}/client.mjs"],
    "niquests": [python, f"{work}/client.py", "niquests"],
    "httpx": [python, f"{work}/client.py", "httpx"],
    "httpx-async": [python, f"{work}/client.py", "httpx-async"],
}
server = subprocess.Popen(["node", f"{work}/server.mjs"], stdout=subprocess.PIPE, text=True)
try:
    port = int(server.stdout.readline())
    for at in ("headers", "body"):
        for name, command in clients.items():
            done = subprocess.run([*command, f"http://127.0.0.1:{port}/{at}"], text=True,
                                  capture_output=True, timeout=120)
            said = (done.stderr + done.stdout if name == "curl" else done.stdout).strip()
            print(f"GOAWAY before the {at} end, {name}: {said}", flush=True)
finally:
    server.kill()
    server.wait()
PY

echo "expected: 200 first last, in each line"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
GOAWAY before the headers end, curl: 200 first last
GOAWAY before the headers end, node:http2: 200 first last
GOAWAY before the headers end, niquests: 200 first last
GOAWAY before the headers end, httpx: RemoteProtocolError: <ConnectionTerminated error_code:0, last_stream_id:1, additional_data:None>
GOAWAY before the headers end, httpx-async: RemoteProtocolError: <ConnectionTerminated error_code:0, last_stream_id:1, additional_data:None>
GOAWAY before the body end, curl: 200 first last
GOAWAY before the body end, node:http2: 200 first last
GOAWAY before the body end, niquests: 200 first last
GOAWAY before the body end, httpx: RemoteProtocolError: <ConnectionTerminated error_code:0, last_stream_id:1, additional_data:None>
GOAWAY before the body end, httpx-async: RemoteProtocolError: <ConnectionTerminated error_code:0, last_stream_id:1, additional_data:None>
SEEN
echo "seen: httpx gives up requests that the server answers"
