#!/usr/bin/env bash
# Twisted's haproxy endpoint closes on "PROXY UNKNOWN", and takes it if ignorable words follow.
#
# Software: Twisted 26.10.0 (PyPI), endpoint `haproxy:tcp:...`.
# Guess:    The v1 line "PROXY UNKNOWN" is accepted, short or with addresses behind it. The
#           protocol's text names both and tells receivers to ignore whatever follows UNKNOWN.
# Seen:     The short line, which is the usual one, closes the connection without an answer. The
#           long line is accepted, and the request is served.
# So:       Health checks that send the short line fail on an app that works.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check twisted==26.10.0 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c 'import twisted; print("Twisted", twisted.__version__)'

cat >"$work/probe.py" <<'PY'
from twisted.internet import defer, endpoints, protocol, reactor, task

HEADERS = {
    "TCP4": b"PROXY TCP4 192.0.2.7 192.0.2.9 5555 80\r\n",
    "UNKNOWN with addresses": b"PROXY UNKNOWN 192.0.2.7 192.0.2.9 5555 80\r\n",
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
}


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
        self.transport.loseConnection()


class Client(protocol.Protocol):
    """Send a header and a line; collect the answer until the server closes."""

    def __init__(self, header, answer):
        self.header, self.answer, self.received = header, answer, b""

    def connectionMade(self):
        self.transport.write(self.header + b"ping\n")

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.answer.callback(self.received)


@defer.inlineCallbacks
def main(reactor):
    server = endpoints.serverFromString(reactor, "haproxy:tcp:0:interface=127.0.0.1")
    port = yield server.listen(protocol.Factory.forProtocol(Echo))
    for name, header in HEADERS.items():
        answer = defer.Deferred()
        client = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        yield endpoints.connectProtocol(client, Client(header, answer))
        received = yield answer.addTimeout(120, reactor)
        print(f"{name}: {'served' if received == b'ping' + bytes([10]) else 'closed unanswered'}")


task.react(main)
PY

echo "expected: served, for each"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/probe.py" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
TCP4: served
UNKNOWN with addresses: served
UNKNOWN: closed unanswered
SEEN
echo "seen: the short form alone is refused"
