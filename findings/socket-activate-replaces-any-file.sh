#!/usr/bin/env bash
# systemd-socket-activate replaces whatever lies at its Unix path: a live socket, or a regular file.
#
# Software: systemd-socket-activate as installed (seen with systemd 252.39-1~deb12u2).
# Guess:    `--listen PATH` fails with "Address already in use" if the path exists. At most it would
#           remove a stale socket that nobody serves.
# Seen:     On EADDRINUSE it unlinks the path without a look at it and binds again. The socket of a
#           running server is taken over: that server stays alive, and no client finds it any more.
#           A regular file is deleted.
# So:       A mistyped path, or a second start, loses a file or a service without a message.
#
# Needs systemd-socket-activate and python3. Exit status: 0 seen again, 1 the behaviour changed, 77
# a tool is missing.
set -euo pipefail
for tool in systemd-socket-activate python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
systemd-socket-activate --version | head -n 1

cat >"$work/drive.py" <<'PY'
import os, socket, stat, subprocess, sys

work = sys.argv[1]


def activate(path):
    """Start it on the path and wait for its first line: by then it has bound, or failed."""
    process = subprocess.Popen(
        ["systemd-socket-activate", "--listen", path, "true"], stderr=subprocess.PIPE, text=True)
    process.stderr.readline()
    process.kill()
    process.wait()


file = f"{work}/notes.txt"
with open(file, "w") as notes:
    notes.write("not a socket\n")
activate(file)
kind = "a socket" if stat.S_ISSOCK(os.stat(file).st_mode) else "the file"
print(f"regular file: the path is now {kind}")

path = f"{work}/server.sock"
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
inode = os.stat(path).st_ino
activate(path)
taken = os.stat(path).st_ino != inode
listening = server.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
print(f"live socket: the path leads to {'another' if taken else 'the same'} one; "
      f"the first {'still listens' if listening else 'is closed'}")
PY

echo "expected: both fail with EADDRINUSE, and file and socket stay"
timeout --kill-after=5 600 python3 "$work/drive.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
regular file: the path is now a socket
live socket: the path leads to another one; the first still listens
SEEN
echo "seen: both were replaced without a message"
