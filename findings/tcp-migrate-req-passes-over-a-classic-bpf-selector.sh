#!/usr/bin/env bash
# With net.ipv4.tcp_migrate_req a closed listener's waiting clients go where no classic BPF selector sends them.
#
# Software: the Linux kernel (seen with 6.18; the setting exists since 5.14).
# Guess:    A SO_REUSEPORT group has a program (SO_ATTACH_REUSEPORT_CBPF) that names the one listener
#           to use. When another listener of the group closes, tcp_migrate_req=1 moves its waiting
#           clients to a living one: to the one that the program names.
# Seen:     The program is asked for new connections only. Waiting ones are spread over all that is
#           left in the group, also over listeners that nobody accepts on and that the program never
#           names. Only eBPF programs of one special attach type are asked for a migration.
# So:       Where a classic program holds clients back from a listener (an app under test, a version
#           that drains), tcp_migrate_req=1 brings them there all the same, at random. Drain a
#           listener's queue before it is closed; do not lean on the setting.
#
# Needs python3 and unshare, with user namespaces. Exit status: 0 seen again, 1 the behaviour changed,
# 77 a tool, the setting or user namespaces are missing.
set -euo pipefail
for tool in python3 unshare ip; do
  command -v "$tool" >/dev/null || { echo "missing: $tool"; exit 77; }
done
apart=(unshare --user --map-root-user --net)
"${apart[@]}" test -e /proc/sys/net/ipv4/tcp_migrate_req 2>/dev/null ||
  { echo "missing: user namespaces, or tcp_migrate_req (Linux 5.14)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Linux $(uname -r)"

cat >"$work/probe.py" <<'PY'
import ctypes, socket, struct

SO_ATTACH_REUSEPORT_CBPF = 51
RETURN = 0x06  # BPF_RET | BPF_K
CLIENTS = 90


def use(listeners, index):
    """A program of one instruction: all new connections go to the listener of that index."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", RETURN, 0, 0, index))
    program = struct.pack("HxxxxxxP", 1, ctypes.addressof(code))
    listeners[0].setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)


def waiting(listener):
    """Accept everybody who waits."""
    listener.setblocking(False)
    accepted = []
    try:
        while True:
            accepted.append(listener.accept()[0])
    except BlockingIOError:
        return accepted


def connect(address, count):
    return [socket.create_connection(address) for _ in range(count)]


for setting in "01":
    with open("/proc/sys/net/ipv4/tcp_migrate_req", "w") as file:
        file.write(setting)
    address = ("127.0.0.1", 0)
    listeners = []
    for _ in range(4):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(1000)
        address = listener.getsockname()
        listeners.append(listener)
    use(listeners, 0)
    early = connect(address, CLIENTS)
    # Index 3 stays 3 until the first one closes; then the last one moves to the index that is free.
    use(listeners, 3)
    late = connect(address, CLIENTS)
    new = [len(waiting(listener)) for listener in listeners[1:]]
    listeners[0].close()
    moved = [waiting(listener) for listener in listeners[1:]]
    counts = [len(accepted) for accepted in moved]
    print(f"tcp_migrate_req={setting}: new clients at the others: {new}; moved at the close: "
          f"{'none' if sum(counts) == 0 else f'{sum(counts)} of {CLIENTS}, to'}"
          f"{'' if sum(counts) == 0 else ' each of the three' if min(counts) > 0 else f' {counts}'}")
    for held in early + late + [one for accepted in moved for one in accepted]:
        held.close()
PY

echo "expected: with 1, all 90 waiting clients move to the third of the others, as new ones do"
timeout --kill-after=5 600 "${apart[@]}" sh -c "ip link set lo up && exec python3 '$work/probe.py'" |
  tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
tcp_migrate_req=0: new clients at the others: [0, 0, 90]; moved at the close: none
tcp_migrate_req=1: new clients at the others: [0, 0, 90]; moved at the close: 90 of 90, to each of the three
SEEN
echo "seen: waiting clients are spread over listeners that the program never names"
