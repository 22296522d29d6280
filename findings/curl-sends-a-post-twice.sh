#!/usr/bin/env bash
# curl and Deno's fetch send a POST again, unasked, when a kept connection ends without a response.
#
# Software: curl as installed (seen with 7.88.1-10+deb12u15), deno 2.9.6 (npm); node's fetch (seen
#           with Node.js 20.20.2) beside them.
# Guess:    A client repeats only idempotent requests by itself, since the server may have executed
#           the lost one. A POST that is read by a server which then closes is an error. curl
#           repeats only with --retry.
# Seen:     On a connection that has carried a response before, curl (without --retry) and Deno send
#           the POST a second time on a new connection and report success. The server executes it
#           twice. Node's fetch reports an error.
# So:       A reload that cuts kept connections looks lossless to a test made of curl, and doubles
#           orders in production. Count requests at the server as well.
#
# Needs curl, npm, node and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool
# is missing.
set -euo pipefail
for tool in curl npm node python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" deno@2.9.6 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
export DENO_DIR=$work/deno DENO_NO_UPDATE_CHECK=1
curl --version | head -n 1 | cut -d' ' -f1,2
"$work/node_modules/.bin/deno" --version | head -n 1
echo "node $(node --version)"

cat >"$work/fetch.mjs" <<'JS'
async function post(body) {
  const response = await fetch(process.argv[2], { method: 'POST', body });
  await response.text();
}
await post('first');
await new Promise((resolve) => setTimeout(resolve, 200)); // The client puts the connection back.
await post('second').catch(() => process.exit(1));
process.exit(0);
JS

cat >"$work/drive.py" <<'PY'
"""The server answers the first request of a run. It reads the second one and closes."""
import socket, subprocess, sys, threading

work = sys.argv[1]
deno = f"{work}/node_modules/.bin/deno"


def read_request(stream):
    """Return the body of the next request, or None at the end of the connection."""
    if not stream.readline():
        return None
    length = 0
    while line := stream.readline().strip().lower():
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return stream.read(length).decode()


def serve(listener, executed):
    while True:
        connection = listener.accept()[0]
        with connection, connection.makefile("rb") as stream:
            while (body := read_request(stream)) is not None:
                executed.append(body)
                if len(executed) == 2:
                    break
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


for name, command in {
    "curl": lambda url: ["curl", "--silent", "--data", "first", url,
                         "--next", "--silent", "--data", "second", url],
    "deno fetch": lambda url: [deno, "run", "--allow-all", "--quiet", f"{work}/fetch.mjs", url],
    "node fetch": lambda url: ["node", f"{work}/fetch.mjs", url],
}.items():
    listener = socket.create_server(("127.0.0.1", 0))
    executed = []
    threading.Thread(target=serve, args=(listener, executed), daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    done = subprocess.run(command(url), timeout=120, stdout=subprocess.DEVNULL)
    print(f"{name}: executed {', '.join(executed)}; "
          f"reports {'success' if done.returncode == 0 else 'an error'}", flush=True)
PY

echo "expected: executed first, second; reports an error, for each"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
curl: executed first, second, second; reports success
deno fetch: executed first, second, second; reports success
node fetch: executed first, second; reports an error
SEEN
echo "seen: curl and Deno repeat a POST that was executed"
