#!/usr/bin/env bash
# sd_notify() stops the app when the service manager does not read: after eleven messages it waits.
#
# Software: libsystemd as installed (seen with 252.39-1~deb12u2), sdnotify 0.3.2 (PyPI), Linux.
# Guess:    A notification is a datagram, sent and forgotten. If the manager is busy, the message is
#           queued (a receive buffer holds hundreds), dropped, or refused with EAGAIN.
# Seen:     Linux queues net.unix.max_dgram_qlen datagrams for a Unix socket, 10 by default,
#           whatever the receive buffer. The library sends on a blocking socket without a timeout:
#           message 12 sleeps in the kernel until the manager reads. sdnotify does the same.
# So:       A manager that is stopped, swapped out or busy for a dozen watchdog pings stops each
#           single-threaded app that it watches, requests included. A manager must read promptly;
#           systemd itself raises the limit to 512 at boot.
#
# Needs libsystemd.so.0 and python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour
# changed, 77 a tool is missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
python3 -c 'import ctypes; ctypes.CDLL("libsystemd.so.0")' 2>/dev/null ||
  { echo "missing: libsystemd.so.0"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check sdnotify==0.3.2 ||
  { echo "missing: the packages, from pip"; exit 77; }
echo "libsystemd, sdnotify 0.3.2, Linux $(uname -r)"

cat >"$work/probe.py" <<'PY'
import ctypes, os, socket, sys, threading, time

import sdnotify

folder = sys.argv[1]
with open("/proc/sys/net/unix/max_dgram_qlen") as limit:
    queue = int(limit.read())
MESSAGES = queue + 100


def is_asleep(thread):
    with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "S"


def stand_still(thread, sent):
    """Wait until the app has ended, or sleeps and has sent nothing for five seconds."""
    before, since = sent[0], time.monotonic()
    while thread.is_alive():
        time.sleep(0.1)
        if sent[0] != before or not is_asleep(thread):
            before, since = sent[0], time.monotonic()
        elif time.monotonic() - since > 5:
            return True
    return False


def try_out(name, notifier):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(f"{folder}/{name}")
    manager.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    os.environ["NOTIFY_SOCKET"] = f"{folder}/{name}"
    notify = notifier()
    sent = [0]

    def app():
        while sent[0] < MESSAGES:
            notify("WATCHDOG=1")
            sent[0] += 1

    thread = threading.Thread(target=app, daemon=True)
    thread.start()
    if not stand_still(thread, sent):
        print(f"{name}: all sent")
        return
    beyond = sent[0] - queue
    manager.settimeout(0.1)
    while thread.is_alive():
        try:
            manager.recv(4096)
        except TimeoutError:
            continue
    print(f"{name}: sleeps after max_dgram_qlen + {beyond} messages, goes on when they are read",
          flush=True)


libsystemd = ctypes.CDLL("libsystemd.so.0")
try_out("libsystemd", lambda: lambda state: libsystemd.sd_notify(0, state.encode()))
try_out("sdnotify", lambda: sdnotify.SystemdNotifier().notify)
PY

echo "expected: all sent, from both"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/probe.py" "$work" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
libsystemd: sleeps after max_dgram_qlen + 1 messages, goes on when they are read
sdnotify: sleeps after max_dgram_qlen + 1 messages, goes on when they are read
SEEN
echo "seen: a manager that does not read stops its apps"
