#!/usr/bin/env bash
# gunicorn refuses PROXY headers without an address, or passes the app REMOTE_ADDR = None.
#
# Software: gunicorn 27.0.1 (PyPI), worker sync, --proxy-protocol auto.
# Guess:    "PROXY UNKNOWN" (v1), family UNSPEC and command LOCAL (v2) are accepted, and the app
#           sees the connection's real address. The protocol's text demands that of receivers, and
#           nginx and lighttpd do it. Health checks of a load balancer may arrive this way.
# Seen:     v1 UNKNOWN is answered 400, v2 UNSPEC 500. v2 LOCAL is served, but REMOTE_ADDR is None,
#           which WSGI does not allow, and REMOTE_PORT is the text "None".
# So:       Checks that speak PROXY mark a healthy app as down, and an app that parses REMOTE_ADDR
#           fails for them alone.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check gunicorn==27.0.1 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/gunicorn" --version

cat >"$work/app.py" <<'PY'
def app(environ, start_response):
    body = repr(environ["REMOTE_ADDR"]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
PY

cat >"$work/drive.py" <<'PY'
import os, socket, struct, subprocess, sys

work = sys.argv[1]
addresses = bytes([192, 0, 2, 7, 192, 0, 2, 9]) + struct.pack("!HH", 5555, 80)


def v2(command, family, body):
    head = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, family])
    return head + struct.pack("!H", len(body)) + body


HEADERS = {
    "v1 TCP4": b"PROXY TCP4 192.0.2.7 192.0.2.9 5555 80\r\n",
    "v1 UNKNOWN": b"PROXY UNKNOWN\r\n",
    "v2 PROXY TCP4": v2(1, 0x11, addresses),
    "v2 PROXY UNSPEC": v2(1, 0x00, b""),
    "v2 LOCAL": v2(0, 0x00, b""),
}


def answer(port, header):
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(120)
        client.sendall(header + b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        head, _, body = client.makefile("rb").read().decode().partition("\r\n\r\n")
    status = head.split()[1]
    return f"{status}, REMOTE_ADDR {body}" if status == "200" else status


listener = socket.create_server(("127.0.0.1", 0))
os.dup2(listener.fileno(), 3)
app = subprocess.Popen(
    [f"{work}/venv/bin/gunicorn", "--bind", "fd://3", "--proxy-protocol", "auto",
     "--log-level", "critical", "--no-control-socket", "--chdir", work, "app:app"],
    pass_fds=(3,))
try:
    for name, header in HEADERS.items():
        print(f"{name}: {answer(listener.getsockname()[1], header)}")
finally:
    app.terminate()
    app.wait(120)
PY

echo "expected: 200 for each, and 127.0.0.1 where the header has no address"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" 2>/dev/null | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
v1 TCP4: 200, REMOTE_ADDR '192.0.2.7'
v1 UNKNOWN: 400
v2 PROXY TCP4: 200, REMOTE_ADDR '192.0.2.7'
v2 PROXY UNSPEC: 500
v2 LOCAL: 200, REMOTE_ADDR None
SEEN
echo "seen: headers without an address are refused, or hide the client's address"
