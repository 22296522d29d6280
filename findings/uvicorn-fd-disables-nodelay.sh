#!/usr/bin/env bash
# uvicorn --fd treats a TCP listener as a Unix socket, so its connections lack TCP_NODELAY.
#
# Software: uvicorn 0.54.0 (PyPI), event loop asyncio.
# Guess:    `uvicorn --fd 3` behaves like `uvicorn --port`, except for who binds the port.
# Seen:     uvicorn opens the fd as AF_UNIX whatever it is. Python then believes that each accepted
#           connection is a Unix one too, and asyncio sets TCP_NODELAY only on AF_INET and AF_INET6.
#           The same app on --port has TCP_NODELAY; behind --fd Nagle's algorithm is on.
# So:       A move to socket activation can add the delayed-ACK wait (about 40 ms) to responses that
#           are written in several pieces. TCP_NODELAY on the listener itself, which Linux hands
#           down, cures it.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/uvicorn" --version

cat >"$work/app.py" <<'PY'
import asyncio, socket, sys

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class Protocol(H11Protocol):
    """uvicorn's own protocol, which also prints what kind of socket it was given."""

    def connection_made(self, transport):
        connection = transport.get_extra_info("socket")
        nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        print(f"{connection.family.name}, TCP_NODELAY {nodelay}", flush=True)
        super().connection_made(transport)


class Server(uvicorn.Server):
    """uvicorn's own server, which connects to itself once it listens."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.config.fd is None:
            port = self.servers[0].sockets[0].getsockname()[1]
        else:
            port = listener.getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
        self.should_exit = True


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


listener = socket.create_server(("127.0.0.1", 0))
where = {"fd": listener.fileno()} if sys.argv[1] == "fd" else {"host": "127.0.0.1", "port": 0}
Server(uvicorn.Config(
    app, http=Protocol, loop="asyncio", lifespan="off", log_level="error", **where)).run()
PY

echo "expected: AF_INET, TCP_NODELAY 1 in both modes"
for mode in port fd; do
  printf '%s: ' "$mode"
  timeout --kill-after=5 600 "$work/venv/bin/python" "$work/app.py" "$mode"
done | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
port: AF_INET, TCP_NODELAY 1
fd: AF_UNIX, TCP_NODELAY 0
SEEN
echo "seen: --fd takes the TCP listener for a Unix socket"
