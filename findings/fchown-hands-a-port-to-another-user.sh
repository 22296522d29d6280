#!/usr/bin/env bash
# fchown() on a listening TCP socket decides who may join its SO_REUSEPORT group, and locks its maker out.
#
# Software: the Linux kernel (seen with 6.18).
# Guess:    socket(7) lets only sockets of one effective user share a port by SO_REUSEPORT: the user
#           who made the socket. A TCP socket has no file, so fchown() on it fails or changes nothing.
# Seen:     fchown() succeeds. From then on /proc/net/tcp and `ss -e` name the new owner, and a process
#           of that user binds the same port and joins the group. Once it has, the process that made
#           the socket is refused with EADDRINUSE, even as root: besides the sockets' owners, the
#           kernel remembers only the user of the last bind that succeeded.
# So:       A supervisor that runs as root can let an app of another user add a listener of its own to
#           the port, with one system call. And a handed-over listener whose owner somebody
#           has changed cannot be given a second slot by those who opened it.
#
# Needs python3 and root (to change owner and uid). Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool or right is missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "missing: root, to change the owner of a socket"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r)"

cat >"$work/probe.py" <<'PY'
import os, socket

NOBODY = 65534


def reusable():
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return made


first = reusable()
first.bind(("127.0.0.1", 0))
first.listen()
address = first.getsockname()


def join(uid):
    """Try to bind the same address in a process of that user, with a socket of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(uid)
        try:
            with reusable() as second:
                second.bind(address)
                second.listen()
            os.write(write, b"joins")
        except OSError as error:
            os.write(write, error.strerror.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as answer:
        return answer.read()


def owner():
    with open("/proc/net/tcp") as table:
        row = next(line.split() for line in table if f":{address[1]:04X} 00000000:" in line)
    return row[7]


def tell(when):
    print(f"{when}: owner {owner()}; uid {NOBODY}: {join(NOBODY)}; uid 0: {join(0)}")


tell("made by root")
os.fchown(first.fileno(), NOBODY, -1)
tell("after fchown")
PY

echo "expected: fchown is refused, or owner 0 and \"uid 0: joins\" in both lines"
timeout --kill-after=5 600 python3 "$work/probe.py" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
made by root: owner 0; uid 65534: Address already in use; uid 0: joins
after fchown: owner 65534; uid 65534: joins; uid 0: Address already in use
SEEN
echo "seen: who may share the port is who owns the socket now, not who made it"
