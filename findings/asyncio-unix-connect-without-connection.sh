#!/usr/bin/env bash
# asyncio reports a connection to a busy Unix listener that was never made.
#
# Software: CPython's asyncio (seen with 3.11.2, 3.11.7 and 3.13.0); uvloop 0.23.0 (PyPI) beside it.
# Guess:    connect(2) says EAGAIN when a Unix listener's accept queue is full. asyncio either waits
#           until there is room, or raises BlockingIOError, as uvloop does.
# Seen:     asyncio treats EAGAIN as "in progress". An unconnected Unix socket polls as writable and
#           SO_ERROR is 0, so open_unix_connection() returns a reader and a writer. There is no peer
#           (`peername` is None, not the path), and the first read fails.
# So:       While an app restarts behind a full queue, "can I connect?" probes written with asyncio
#           say yes. A TCP client would have waited in connect.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0 ||
  { echo "missing: the packages, from pip"; exit 77; }
python3 --version

cat >"$work/probe.py" <<'PY'
import asyncio, errno, socket, sys

import uvloop

path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
queued = []
while True:
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(path)
    except BlockingIOError:
        break
    queued.append(client)


async def connect():
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(path), 120)
    except OSError as error:
        return f"raises {errno.errorcode[error.errno]}"
    peer = writer.get_extra_info("peername")
    try:
        await asyncio.wait_for(reader.read(1), 120)
        read = "works"
    except OSError as error:
        read = "fails"
    return f"returns a connection; peername: {peer}; read {read}"


print("uvloop:", uvloop.run(connect()))
print("asyncio:", asyncio.run(connect()))
PY

echo "expected: asyncio waits for room or raises EAGAIN"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/probe.py" "$work/full.sock" \
  2>/dev/null | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
uvloop: raises EAGAIN
asyncio: returns a connection; peername: None; read fails
SEEN
echo "seen: asyncio hands out a connection without a peer"
