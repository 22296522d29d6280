"""TCP clients in user space, behind a TUN device, whose handshakes are slow: the ACK that completes one comes late.

usage: late.py ADDRESS PORT COUNT RATE     COUNT clients of a server at ADDRESS, RATE a second, in a network namespace of its own
       late.py control COUNT               the same, where the socket in which a handshake began has nobody who accepts any more

Before anything else it makes the device, and says `up`; it begins at SIGUSR1. Its last line is JSON: how many were answered, by
which generations, and what became of the others.
"""

import collections
import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time

OURS, PEER = "10.9.0.1", "10.9.0.2"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
TUN, NO_PACKET_INFO, SET_INTERFACE = 1, 0x1000, 0x400454CA
ASK = b"GET /ping HTTP/1.1\r\nHost: late\r\nConnection: close\r\n\r\n"
# How late an ACK is, in seconds.
LATE = (0.010, 2.0)
AGAIN, PATIENCE = 1.0, 120.0


def device():
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, SET_INTERFACE, struct.pack("16sH", b"tun0", TUN | NO_PACKET_INFO))
    for command in ("link set lo up", f"addr add {OURS}/24 dev tun0", "link set tun0 txqueuelen 5000 up"):
        subprocess.run(["ip", *command.split()], check=True)
    return tun


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


class Client:
    def __init__(self, port):
        self.port, self.began, self.state = port, time.monotonic(), "begins"
        self.sequence = random.randrange(1 << 32)
        self.expected, self.received, self.acknowledged, self.completes = 0, b"", False, 0.0


class Peer:
    def __init__(self, tun, port):
        self.tun, self.port = tun, port
        self.clients, self.timers, self.ended = {}, [], []
        self.source, self.destination = socket.inet_aton(PEER), socket.inet_aton(OURS)

    def send(self, client, flags, data=b"", offset=0):
        sequence = (client.sequence + offset) & 0xFFFFFFFF
        expected = client.expected if flags & ACK else 0
        head = struct.pack(">HHIIBBHHH", client.port, self.port, sequence, expected, 5 << 4, flags, 65535, 0, 0)
        segment = head + data
        pseudo = self.source + self.destination + struct.pack(">BBH", 0, 6, len(segment))
        segment = segment[:16] + struct.pack(">H", checksum(pseudo + segment)) + segment[18:]
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, 6, 0) + self.source + self.destination
        packet = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:] + segment
        while True:
            try:
                return os.write(self.tun, packet)
            except BlockingIOError:
                select.select([], [self.tun], [], 0.01)

    def later(self, delay, client):
        heapq.heappush(self.timers, (time.monotonic() + delay, client.port, client))

    def begin(self, port):
        client = self.clients[port] = Client(port)
        self.send(client, SYN)
        self.later(AGAIN, client)

    def due(self, client):
        if client.port not in self.clients:
            return
        if time.monotonic() - client.began > PATIENCE:
            return self.end(client, f"no answer, {client.state}")
        if client.state == "begins":
            self.send(client, SYN)
        elif client.state == "waits":
            if time.monotonic() < client.completes:
                # A timer of its own is set for that.
                return
            client.state = "asks"
        if client.state == "asks" and not client.acknowledged:
            self.send(client, ACK, offset=1)
            self.send(client, ACK | PSH, ASK, offset=1)
        self.later(AGAIN, client)

    def end(self, client, how):
        del self.clients[client.port]
        self.ended.append((client.port, how, client.received))

    def hear(self, packet):
        if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != 6:
            return
        segment = packet[(packet[0] & 15) * 4:struct.unpack(">H", packet[2:4])[0]]
        port, = struct.unpack(">H", segment[2:4])
        sequence, acknowledged = struct.unpack(">II", segment[4:12])
        data, flags = segment[(segment[12] >> 4) * 4:], segment[13]
        client = self.clients.get(port)
        if client is None:
            return
        if flags & RST:
            return self.end(client, f"reset, {client.state}")
        if flags & SYN:
            # It comes again as long as our ACK does not.
            if client.state == "begins":
                client.state, client.expected = "waits", (sequence + 1) & 0xFFFFFFFF
                delay = random.uniform(*LATE)
                client.completes = time.monotonic() + delay
                self.later(delay, client)
            return
        if client.state != "asks":
            return
        if acknowledged == (client.sequence + 1 + len(ASK)) & 0xFFFFFFFF:
            client.acknowledged = True
        if sequence == client.expected:
            client.received += data
            client.expected = (client.expected + len(data) + (flags & FIN)) & 0xFFFFFFFF
            if flags & FIN:
                self.send(client, ACK | FIN, offset=1 + len(ASK))
                return self.end(client, "ended")
        if data or flags & FIN:
            self.send(client, ACK, offset=1 + len(ASK))

    def turn(self, patience):
        """Wait for a packet or a timer for so long at most."""
        if self.timers:
            patience = min(patience, max(0, self.timers[0][0] - time.monotonic()))
        if select.select([self.tun], [], [], patience)[0]:
            for _ in range(200):
                try:
                    self.hear(os.read(self.tun, 65536))
                except BlockingIOError:
                    break
        while self.timers and self.timers[0][0] <= time.monotonic():
            self.due(heapq.heappop(self.timers)[2])


def play(tun, port, count, rate):
    peer, begun, start = Peer(tun, port), 0, time.monotonic()
    while begun < count or peer.clients:
        wait = start + begun / rate - time.monotonic() if begun < count else 1
        if wait <= 0:
            # Ports come round after the last client that had one is gone.
            peer.begin(2000 + begun % 60000)
            begun += 1
            wait = 0
        peer.turn(wait)
    generations, lost = collections.Counter(), collections.Counter()
    for _, how, received in peer.ended:
        head = received.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")
        names = [line.split(":", 1)[1].strip() for line in head if line.startswith("x-segue-generation:")]
        if how == "ended" and head[0].startswith("http/1.1 200") and names:
            generations[names[0]] += 1
        else:
            lost[how if how != "ended" else f"no whole answer: {head[0]}"] += 1
    return {"sent": count, "answered": sum(generations.values()), "generations": generations, "lost": lost}


def control(tun, count):
    """Two sockets of one address; the clients' handshakes begin in the first, and are completed when new ones go to the second."""
    port, members, programs = 0, [], []
    for _ in range(2):
        member = socket.socket()
        member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        member.bind((OURS, port))
        member.listen(4096)
        port = member.getsockname()[1]
        members.append(member)

    def point(index):
        programs.append(ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, index)))
        description = struct.pack("HP", 1, ctypes.addressof(programs[-1]))
        members[0].setsockopt(socket.SOL_SOCKET, 51, description)

    def queue(member):
        return struct.unpack_from("I", member.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0]

    point(0)
    peer = Peer(tun, port)
    for number in range(count):
        peer.begin(2000 + number)
    # The earliest ACK comes ten milliseconds after its SYN-ACK.
    while any(client.state == "begins" for client in peer.clients.values()):
        peer.turn(0.001)
    point(1)
    before = queue(members[0])
    while any(not client.acknowledged for client in peer.clients.values()):
        peer.turn(0.01)
    return {"sent": count, "stranded": queue(members[0]) - before, "reached": queue(members[1])}


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    tun = device()
    print("up", flush=True)
    signal.sigwait([signal.SIGUSR1])
    if sys.argv[1] == "control":
        print(json.dumps(control(tun, int(sys.argv[2]))))
    else:
        print(json.dumps(play(tun, int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))))


main()
