#!/usr/bin/env bash
# Twisted shuts down a Unix listener that it was handed, and removes its path, when it stops.
#
# Software: Twisted 26.10.0 (PyPI).
# Guess:    A port made by `reactor.adoptStreamPort` is closed when the reactor stops, and the socket
#           lives on in the other processes that have it: so it is for TCP, where Twisted leaves
#           out its usual shutdown(2) for adopted ports.
# Seen:     For AF_UNIX it does not leave it out. Twisted calls shutdown(2) on the socket that all
#           share, and unlinks the path. Whoever has the socket still has a listener that refuses
#           every client for good, and no call mends it.
# So:       A supervisor that shares a Unix listener between an old and a new Twisted loses it with
#           the old one; a new socket has to be bound. Listen on TCP, or set
#           `port._shouldShutdown = False` on what adoptStreamPort returns. The path goes even so.
#
# Needs the network for PyPI. Exit status: 0 seen again, 1 the behaviour changed, 77 no Twisted.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check twisted==26.10.0 ||
  { echo "skip: Twisted cannot be installed"; exit 77; }
"$work/venv/bin/python" -c 'import twisted; print("Twisted", twisted.__version__)'
cat >"$work/play.py" <<'PYTHON'
"""A parent that keeps its copy of a listener while a Twisted child has served on it and stopped."""
import os
import socket
import sys

path, family = sys.argv[1], sys.argv[2]
if family == "unix":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    # A second name, by which a client finds the socket when the path has gone.
    address = path + ".link"
    os.link(path, address)
else:
    listener = socket.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", 0))
    address = listener.getsockname()
listener.listen(10)
if os.fork() == 0:
    from twisted.internet import protocol, reactor

    listener.setblocking(False)
    reactor.adoptStreamPort(listener.fileno(), listener.family, protocol.Factory())
    reactor.callLater(0, reactor.stop)
    reactor.run()
    os._exit(0)
os.wait()
if family == "unix":
    print("path", "there" if os.path.exists(path) else "removed", end=", ")
client = socket.socket(listener.family)
try:
    client.connect(address)
    print("a client is connected")
except OSError as error:
    print("a client meets:", error.strerror)
PYTHON
echo "expected: the other holder's listener takes a client, in both cases"
for family in tcp unix; do
  printf '%s: ' "$family"
  timeout --kill-after=5 600 "$work/venv/bin/python" "$work/play.py" "$work/s" "$family"
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
tcp: a client is connected
unix: path removed, a client meets: Connection refused
SEEN
echo "seen: the Unix listener is dead for everybody, the TCP listener is not"
