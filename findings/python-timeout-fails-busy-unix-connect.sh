#!/usr/bin/env bash
# A timeout on a Python socket turns the wait for a busy Unix listener into an error at once.
#
# Software: CPython as installed (seen with 3.11.2, 3.11.7 and 3.13.0) on Linux.
# Guess:    A timeout only shortens a wait. connect() to a Unix listener with a full accept queue
#           waits without a timeout, so with a timeout of 60 s it waits up to 60 s.
# Seen:     Without a timeout, connect() waits until there is room and succeeds. With any timeout
#           the socket is non-blocking inside, Linux says EAGAIN, and Python passes that on as
#           BlockingIOError without a wait. TimeoutError is never raised.
# So:       Clients of a Unix socket that set a timeout, as careful ones do, fail while an app
#           behind a full queue is replaced. Those without one do not notice. TCP clients wait in
#           either case.
#
# Needs python3. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 --version

cat >"$work/probe.py" <<'PY'
import socket, sys, threading

path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(0)
in_queue = socket.socket(socket.AF_UNIX)
in_queue.connect(path)  # The queue of a backlog of 0 holds one connection: it is full now.


def is_asleep(thread):
    """Is the thread in a system call that waits, by the kernel's word?"""
    with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def connect(timeout):
    """Connect in a thread of its own; return how it ended, and whether it needed room."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    outcome = []

    def work():
        try:
            client.connect(path)
            outcome.append("connects")
        except OSError as error:
            outcome.append(type(error).__name__)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    waits = thread.is_alive() and is_asleep(thread)
    if thread.is_alive():
        listener.accept()  # Make room.
        thread.join(120)
    return f"{'waits for room, then ' if waits else 'at once: '}{outcome[0]}"


print("timeout 60 s:", connect(60))
print("no timeout:", connect(None))
PY

echo "expected: both wait for room, then connect"
timeout --kill-after=5 600 python3 "$work/probe.py" "$work/socket" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
timeout 60 s: at once: BlockingIOError
no timeout: waits for room, then connects
SEEN
echo "seen: only the connect without a timeout waits"
