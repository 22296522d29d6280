#!/usr/bin/env bash
# Two load generators report no error when a server takes a request and closes without a response.
#
# Software: autocannon 9.0.0 (npm) on Node.js as installed; hey of Debian (seen with 0.1.4-2+b4),
#           downloaded and unpacked, not installed.
# Guess:    Of 100 requests on kept connections the server swallows each tenth. Both tools report as
#           many errors as the server has swallowed; autocannon even has a counter named "resets".
# Seen:     autocannon reports 0 errors and 0 resets: the lost requests are missing from the number
#           of responses, and nothing says so. hey reports 100 responses with status 200: Go sends
#           the lost requests again underneath.
# So:       "No errors under load" from these tools does not show that a reload loses nothing.
#           Compare requests, responses and the server's own count.
#
# Needs npm, node, python3, apt-get and dpkg-deb. Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool or package is missing.
set -euo pipefail
for tool in npm node python3 apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
timeout 600 npm install --silent --no-audit --no-fund --prefix "$work" \
  autocannon@9.0.0 >/dev/null ||
  { echo "missing: the packages, from npm"; exit 77; }
fetch() { (cd "$work" && timeout 300 apt-get download "$1" >/dev/null 2>&1); }
fetch hey=0.1.4-2+b4 || fetch hey || { echo "missing: Debian's hey"; exit 77; }
dpkg-deb -x "$work"/hey_*.deb "$work"
echo "autocannon 9.0.0, $(basename "$work"/hey_*.deb .deb), node $(node --version)"

cat >"$work/drive.py" <<'PY'
import json, re, socket, subprocess, sys, threading

work = sys.argv[1]


class Server:
    """Answer requests on kept connections; read each tenth of a connection and close instead."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.swallowed = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:  # One connection at a time: each client below uses one.
            connection = self.listener.accept()[0]
            with connection, connection.makefile("rb") as stream:
                self.serve(connection, stream)

    def serve(self, connection, stream):
        number = 0
        while stream.readline():
            while stream.readline().strip():
                pass
            number += 1
            if number == 10:
                self.swallowed += 1
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def autocannon(url):
    command = [f"{work}/node_modules/.bin/autocannon", "--json", "--connections", "1",
               "--amount", "100", url]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    result = json.loads(out)
    errors = result["errors"] + result["resets"] + result["timeouts"] + result["non2xx"]
    return result["2xx"], errors


def hey(url):
    command = [f"{work}/usr/bin/hey", "-n", "100", "-c", "1", url]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    errors = sum(map(int, re.findall(r"^\s+\[(\d+)\]", out.partition("Error distribution")[2],
                                     re.MULTILINE)))
    return int(re.search(r"\[200\]\s+(\d+)", out).group(1)), errors


for tool in (autocannon, hey):
    server = Server()
    responses, errors = tool(server.url)
    print(f"{tool.__name__}: the server swallowed {server.swallowed}; "
          f"the tool reports {responses} responses and {errors} errors", flush=True)
PY

echo "expected: as many errors as the server swallowed"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
autocannon: the server swallowed 10; the tool reports 90 responses and 0 errors
hey: the server swallowed 11; the tool reports 100 responses and 0 errors
SEEN
echo "seen: both tools hide what was lost"
