#!/usr/bin/env bash
# lighttpd's graceful restart answers no new client until the slowest download of the old configuration ends.
#
# Software: lighttpd of Debian (seen with 1.4.69-1), downloaded and unpacked, not installed.
# Guess:    SIGUSR1 is the graceful restart: lighttpd reads its configuration again, new clients are
#           answered at once, and the connections that it has are finished beside them, as by nginx at
#           SIGHUP or Apache at SIGUSR1.
# Seen:     The process finishes its connections first and only then begins anew. Its listener stays open,
#           so new clients connect and wait, for as long as one client takes for its download. With
#           `server.feature-flags = ("server.graceful-restart-bg" => "enable")` they are answered at once.
# So:       A reload under load is an outage as long as the slowest client, and no log line or refused
#           connection shows it. Set the flag (or "server.graceful-shutdown-timeout"), or start a second
#           lighttpd on the same socket and stop the first one by SIGINT.
#
# Needs apt-get, dpkg-deb, python3 and the libraries of a usual Debian. Exit status: 0 seen again, 1 the
# behaviour changed, 77 a tool or package is missing.
set -euo pipefail
for tool in apt-get dpkg-deb python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() { (cd "$work" && timeout 300 apt-get download "$1" >/dev/null 2>&1); }
fetch lighttpd=1.4.69-1 || fetch lighttpd || { echo "missing: Debian's lighttpd"; exit 77; }
dpkg-deb -x "$work"/lighttpd_*.deb "$work"
"$work/usr/sbin/lighttpd" -v || { echo "missing: a library of lighttpd"; exit 77; }
mkdir "$work/www"
truncate -s 512M "$work/www/large"
echo small >"$work/www/small"

cat >"$work/drive.py" <<'PY'
import http.client, signal, socket, subprocess, sys, time

work = sys.argv[1]
SLOW = 10  # Seconds that the slow client takes.


def get(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/small")
    return connection.getresponse().status


def play(flags):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(f"{work}/lighttpd.conf", "w") as file:
        file.write(f'server.document-root = "{work}/www"\nserver.bind = "127.0.0.1"\n'
                   f'server.port = {port}\nserver.modules = ()\n'
                   f'server.errorlog = "{work}/log"\n{flags}\n')
    server = subprocess.Popen([f"{work}/usr/sbin/lighttpd", "-D", "-m", f"{work}/usr/lib/lighttpd",
                               "-f", f"{work}/lighttpd.conf"])
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                get(port)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        slow = socket.create_connection(("127.0.0.1", port), timeout=120)
        slow.sendall(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        slow.recv(1000)
        server.send_signal(signal.SIGUSR1)
        time.sleep(1)
        # The slow client reads on, and leaves in the end.
        began = time.monotonic()
        client = subprocess.Popen([sys.executable, "-c",
                                   "import http.client; c = http.client.HTTPConnection('127.0.0.1', "
                                   f"{port}, timeout=120); c.request('GET', '/small'); "
                                   "print(c.getresponse().status)"], stdout=subprocess.PIPE, text=True)
        while time.monotonic() < began + SLOW:
            slow.recv(1000)
            time.sleep(0.05)
            if client.poll() is not None:
                break
        waited = client.poll() is None
        slow.close()
        status = client.communicate(timeout=120)[0].strip()
        return f"{status}, {'once the slow client has left' if waited else 'while the slow client reads'}"
    finally:
        server.kill()
        server.wait()


print("as installed:", play(""), flush=True)
print("graceful-restart-bg:",
      play('server.feature-flags = ("server.graceful-restart-bg" => "enable")'), flush=True)
PY

echo "expected: 200, while the slow client reads, in both lines"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
as installed: 200, once the slow client has left
graceful-restart-bg: 200, while the slow client reads
SEEN
echo "seen: a new client waits until the slowest download has ended"
