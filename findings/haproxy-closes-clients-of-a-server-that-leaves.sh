#!/usr/bin/env bash
# HAProxy closes the client's connection without a word when a kept server connection ends too early.
#
# Software: HAProxy and nginx as installed (seen with 2.6.12 and 1.22.1).
# Guess:    A server may end a kept connection at the instant at which the next request arrives on it.
#           HAProxy, with its default `retries 3`, sends a GET again on a new connection, or at least
#           answers 502.
# Seen:     With `http-reuse safe`, the default, the client's connection is closed: not a byte of a
#           response, though the request before it was answered. nginx sends GET and PUT again, and
#           answers 502 to a POST. With `retry-on empty-response` HAProxy sends each of them again, the
#           POST included.
# So:       During reloads of the servers behind it HAProxy loses requests that nginx does not, and its
#           clients see a dropped connection instead of a status. `retry-on empty-response` helps where
#           a POST may be repeated.
#
# Needs haproxy, nginx and python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
PATH=$PATH:/usr/sbin
for tool in haproxy nginx python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
haproxy -v | sed -n 1p
nginx -v 2>&1

cat >"$work/drive.py" <<'PY'
import socket, subprocess, sys, threading, time

work = sys.argv[1]
seen = []  # How often each request came to the server.


def serve(connection):
    """Answers the first request of a connection, and closes it upon the second."""
    stream = connection.makefile("rb")
    for number in (1, 2):
        line = stream.readline()
        if not line:
            break
        length = 0
        while (header := stream.readline()) not in (b"\r\n", b""):
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        stream.read(length)
        seen.append(line.split()[0].decode())
        if number == 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    stream.close()
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def accept(listener):
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()


def reach(path):
    deadline = time.monotonic() + 60
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(60)
        try:
            client.connect(path)
            return client
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def ask(client, method):
    body = b"" if method == "GET" else b"x"
    client.sendall(b"%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                   % (method.encode(), len(body), body))
    stream = client.makefile("rb")
    status = stream.readline()
    if not status:
        return "closed"
    length = 0
    while (header := stream.readline()) not in (b"\r\n", b""):
        if header.lower().startswith(b"content-length:"):
            length = int(header.split(b":")[1])
    stream.read(length)
    return status.split()[1].decode()


def play(name, command, path):
    proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for method in ("GET", "PUT", "POST"):
            with reach(path) as client:
                assert ask(client, "GET") == "200"
                time.sleep(0.3)  # Until the proxy has put the server's connection among the idle ones.
                seen.clear()
                status = ask(client, method)
                times = "once" if seen.count(method) == 1 else "again"
                print(f"{name}, {method}: {status}, sent {times}")
    finally:
        proxy.terminate()
        proxy.wait(60)


backend = socket.socket(socket.AF_UNIX)
backend.bind(f"{work}/server")
backend.listen(64)
threading.Thread(target=accept, args=(backend,), daemon=True).start()

for number, extra in enumerate(("", "retry-on empty-response")):
    with open(f"{work}/haproxy{number}.cfg", "w") as file:
        file.write(f"""defaults
    mode http
    timeout connect 30s
    timeout client 30s
    timeout server 30s
    {extra}
frontend front
    bind unix@{work}/haproxy{number}
    default_backend back
backend back
    server one unix@{work}/server
""")
    name = f"haproxy {extra}".strip()
    play(name, ["haproxy", "-f", f"{work}/haproxy{number}.cfg"], f"{work}/haproxy{number}")

temporary = "\n".join(
    f"{name}_temp_path {work}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
with open(f"{work}/nginx.conf", "w") as file:
    file.write(f"""daemon off;
master_process off;
pid {work}/nginx.pid;
events {{}}
http {{
    access_log off;
    {temporary}
    upstream back {{ server unix:{work}/server; keepalive 1; }}
    server {{
        listen unix:{work}/nginx;
        location / {{
            proxy_pass http://back;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
""")
play("nginx", ["nginx", "-p", work, "-e", "stderr", "-c", f"{work}/nginx.conf"], f"{work}/nginx")
PY

echo "expected: GET 200 everywhere, and no request closed without a status"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
haproxy, GET: closed, sent once
haproxy, PUT: closed, sent once
haproxy, POST: closed, sent once
haproxy retry-on empty-response, GET: 200, sent again
haproxy retry-on empty-response, PUT: 200, sent again
haproxy retry-on empty-response, POST: 200, sent again
nginx, GET: 200, sent again
nginx, PUT: 200, sent again
nginx, POST: 502, sent once
SEEN
echo "seen: HAProxy closes the client's connection where nginx asks again"
