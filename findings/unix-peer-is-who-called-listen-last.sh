#!/usr/bin/env bash
# SO_PEERCRED of a Unix client names the process that called listen() last, alive or not, not the one that accepts.
#
# Software: the Linux kernel (seen with 6.18).
# Guess:    A client of a handed-over Unix listener sees the process that created it: the
#           supervisor, for as long as the listener lives. A second listen() only sets the backlog.
# Seen:     Each listen() on the shared listener stamps the caller's pid and uid on it. A process
#           that only accepts changes nothing. The stamp outlives its process: new clients are told
#           the pid and uid of an app that is gone.
# So:       Apps that call listen() on an inherited fd (Node, uvicorn, aiohttp, waitress, unicorn)
#           change what clients that check the server's identity see, at each reload.
#
# Needs python3 and root (to change the uid). Exit status: 0 seen again, 1 the behaviour changed, 77
# a tool or right is missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "missing: root, to run a process of another uid"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r)"

cat >"$work/probe.py" <<'PY'
import os, socket, struct, sys

path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()


def told_to_client(names):
    """Connect and return the peer's pid, by name, and uid."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", peer)
    return f"{names.get(pid, 'unknown')}, uid {uid}"


def run_as_nobody(action):
    """Do it in a child of uid 65534, which inherits the listener; return the dead child's pid."""
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        action()
        os._exit(0)
    os.waitpid(child, 0)
    return child


names = {os.getpid(): "the creator"}
print("at first:", told_to_client(names))
acceptor = run_as_nobody(lambda: listener.accept())
names[acceptor] = "the acceptor"
print("after a child has accepted and exited:", told_to_client(names))
caller = run_as_nobody(lambda: listener.listen(64))
names[caller] = "the caller of listen()"
print("after a child has called listen() and exited:", told_to_client(names))
PY

echo "expected: the creator, uid 0, each time"
timeout --kill-after=5 600 python3 "$work/probe.py" "$work/socket" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
at first: the creator, uid 0
after a child has accepted and exited: the creator, uid 0
after a child has called listen() and exited: the caller of listen(), uid 65534
SEEN
echo "seen: the last caller of listen() is the peer, though it is dead"
