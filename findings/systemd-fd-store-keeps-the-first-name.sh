#!/usr/bin/env bash
# systemd's fd store ignores a stored socket that is sent again under another name, and says nothing.
#
# Software: systemd as installed, its user manager (seen with 252.39-1~deb12u2).
# Guess:    `FDSTORE=1` with a new `FDNAME=` for a socket that lies in the store renames it, or stores
#           it a second time. Names need not be unique, so what has been sent comes back at the next
#           start under the name that was sent last.
# Seen:     The store compares open file descriptions. What is there already is dropped, name and all:
#           the socket comes back under its first name, and the sender is told nothing. Two different
#           sockets of one name are both kept. After `FDSTOREREMOVE=1` the new name is taken.
# So:       A program that looks for its sockets by name after a restart, and whose configuration has
#           renamed one, does not find it, though it did store it under the new name. Remove the old
#           name first, or use names that never change, such as the address.
#
# Needs systemd (its binary, as a user manager in namespaces of its own), python3 and unshare, with user
# namespaces. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is missing.
set -euo pipefail
manager=/usr/lib/systemd/systemd
[ -x "$manager" ] || manager=/lib/systemd/systemd
for tool in "$manager" systemctl unshare python3; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
unshare --map-root-user --mount --pid --fork --cgroup true 2>/dev/null ||
  { echo "missing: user namespaces"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(systemctl --version | head -1), $(uname -sr)"
mkdir -p "$work/runtime" "$work/config/systemd/user"

cat >"$work/app.py" <<'PY'
import os, socket, sys, time

work = sys.argv[1]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.connect(os.environ["NOTIFY_SOCKET"])


def tell(message, *fds):
    """Send it, and wait until the manager has read all that was sent before."""
    socket.send_fds(manager, [message.encode()], fds)
    read, write = os.pipe()
    socket.send_fds(manager, [b"BARRIER=1"], [write])
    os.close(write)
    os.read(read, 1)
    os.close(read)


def listener():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


run = len(os.listdir(f"{work}/runs"))
names = sorted((os.environ.get("LISTEN_FDNAMES") or "none").split(":"))
with open(f"{work}/runs/{run}", "w") as file:
    file.write(" ".join(names))
if run == 0:
    web, other, third = listener(), listener(), listener()
    tell("FDSTORE=1\nFDNAME=old", web.fileno())
    tell("FDSTORE=1\nFDNAME=new", web.fileno())
    tell("FDSTORE=1\nFDNAME=newer", os.dup(web.fileno()))
    tell("FDSTORE=1\nFDNAME=same", other.fileno())
    tell("FDSTORE=1\nFDNAME=same", third.fileno())
elif run == 1:
    web = 3 + os.environ["LISTEN_FDNAMES"].split(":").index("old")
    tell("FDSTOREREMOVE=1\nFDNAME=old")
    tell("FDSTORE=1\nFDNAME=new", web)
else:
    tell("READY=1")
    time.sleep(300)
os._exit(1)
PY

cat >"$work/config/systemd/user/app.service" <<UNIT
[Service]
Type=notify
NotifyAccess=all
FileDescriptorStoreMax=16
Restart=always
ExecStart=$(command -v python3) $work/app.py $work
UNIT
mkdir "$work/runs"

# In namespaces of its own: a user manager, and with the last process all of it is gone.
cat >"$work/inside.sh" <<'INSIDE'
mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup &&
  mount -t tmpfs none /run && mkdir -p /run/systemd/system || { echo "missing: mounts"; exit 77; }
"$1" --user --unit=basic.target &
for _ in $(seq 100); do
  systemctl --user is-system-running >/dev/null 2>&1 && break
  sleep 0.3
done
systemctl --user start --no-block app.service
for _ in $(seq 300); do
  [ -s "$2/runs/2" ] && exit 0
  sleep 0.3
done
echo "the app was not started three times"
exit 1
INSIDE
status=0
env -i PATH="$PATH" HOME="$work" XDG_RUNTIME_DIR="$work/runtime" XDG_CONFIG_HOME="$work/config" \
  timeout --kill-after=10 600 unshare --map-root-user --pid --fork --mount --mount-proc --cgroup \
  --kill-child bash "$work/inside.sh" "$manager" "$work" </dev/null >"$work/said" 2>"$work/log" ||
  status=$?
[ "$status" -eq 0 ] || { tail -5 "$work/said" "$work/log"; exit "$status"; }

{
  echo "sent as old, new and newer: $(cat "$work/runs/1")"
  echo "removed, then sent as new: $(cat "$work/runs/2")"
} >"$work/seen"
echo "expected: new or newer in both lines"
cat "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
sent as old, new and newer: old same same
removed, then sent as new: new same same
SEEN
echo "seen: the store keeps the first name of a socket, until it is removed"
