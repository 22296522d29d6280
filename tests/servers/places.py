"""Where each slot of a steered listener stands in the kernel's order, found out from outside, beside what Segue has written down.

usage: places.py PID NAME PORT POINTED IDLE STATE...
    the supervisor, the listener, its port, the slot to which clients go, the slots without a generation (0,3), and its state files

A line for each place: its number, the slot that is believed to stand there, and who was met: `generation N`, or `slot N` if nobody
accepts there. New clients go where they went meanwhile.
"""

import ctypes
import os
import re
import select
import socket
import struct
import sys
import time

SO_ATTACH_REUSEPORT_CBPF = 51
PIDFD_GETFD = 438
ASK = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# Not in the network from which Segue's own connections come.
DOOR = "127.200.3.1"
PATIENCE = 60

pid, name, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
pointed = int(sys.argv[4])
idle = {int(slot) for slot in sys.argv[5].split(",") if slot}
# It writes into the newer of the two, and the order is in the snapshot with which that begins.
with open(max(sys.argv[6:], key=lambda path: os.stat(path).st_mtime_ns), "rb") as file:
    state = file.read().decode("utf-8", "replace")
libc = ctypes.CDLL(None, use_errno=True)
rows = re.findall(rf"^listener .*\bname={re.escape(name)} socket=(\d+) .*\bslot=(\d+) index=(\d+)", state, re.M)
index_of = {int(slot): int(index) for _, slot, index in rows}
inode_of = {int(slot): int(inode) for inode, slot, _ in rows}


def copy_of(inode):
    """Our own fd of a socket of the supervisor."""
    pidfd = os.pidfd_open(pid)
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}") != f"socket:[{inode}]":
                continue
        except FileNotFoundError:
            continue
        fd = libc.syscall(PIDFD_GETFD, pidfd, int(number), 0)
        if fd < 0:
            sys.exit(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        os.close(pidfd)
        return socket.socket(fileno=fd)
    sys.exit(f"the supervisor has no socket {inode}")


def queue(copy):
    """How many connections wait: tcpi_unacked of a listening socket."""
    return struct.unpack_from("I", copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0]


def attach(copy, code):
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    description = struct.pack("HP", len(code), ctypes.addressof(program))
    copy.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, description)


def lead(copy, place):
    """Connections from the door go to a place, all others where Segue sends them."""
    source = struct.unpack(">I", socket.inet_aton(DOOR))[0]
    attach(copy, [(0x20, 0, 0, 0xFFF0000C), (0x15, 0, 1, source), (6, 0, 0, place), (6, 0, 0, index_of[pointed])])


def generation_in(answer):
    found = re.search(rb"(?i)x-segue-generation: *(\d+)", answer)
    return found and int(found.group(1))


def who_is_at(place):
    before = {slot: queue(copies[slot]) for slot in idle}
    lead(copies[pointed], place)
    client = socket.socket()
    client.bind((DOOR, 0))
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", port))
    client.sendall(ASK)
    answer, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for slot in idle:
            if queue(copies[slot]) > before[slot]:
                # Nobody else accepts here: it is ours, or that of a client which was sent astray.
                accepted, _ = copies[slot].accept()
                accepted.close()
                return f"slot {slot}"
        if select.select([client], [], [], 0.005)[0]:
            more = client.recv(65536)
            answer += more
            if generation_in(answer):
                return f"generation {generation_in(answer)}"
            if not more:
                return "nobody: it was closed"
    return "nobody"


copies = {slot: copy_of(inode) for slot, inode in inode_of.items()}
try:
    for slot, place in sorted(index_of.items(), key=lambda item: item[1]):
        print(place, slot, who_is_at(place), flush=True)
finally:
    attach(copies[pointed], [(6, 0, 0, index_of[pointed])])
