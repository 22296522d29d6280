#!/usr/bin/env bash
# requests fails on a closed kept connection where urllib3, on which it stands, sends the request again.
#
# Software: requests 2.34.2, urllib3 2.8.0, httpx 0.28.1, aiohttp 3.14.5 (PyPI); CPython as installed
#           (seen with 3.11).
# Guess:    A server ends a kept connection upon the second request on it, without a response. A
#           client library treats that alike for all its users: requests does what urllib3 does, and
#           a request with a body is either repeated by all libraries or by none.
# Seen:     urllib3 and aiohttp send GET and PUT again without a word and report 200: the server has
#           seen the PUT twice. requests switches that off in urllib3 and raises, for a GET, too.
#           httpx raises as well. None repeats a POST.
# So:       Which requests a reload loses on kept connections depends on the client more than on the
#           server. With requests or httpx even a GET needs retries of one's own, and with urllib3 or
#           aiohttp a PUT may be executed twice.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5 ||
  { echo "missing: the packages, from pip"; exit 77; }
"$work/venv/bin/python" -c '
import importlib.metadata as m
print(*(f"{n} {m.version(n)}" for n in "requests urllib3 httpx aiohttp".split()))'

cat >"$work/drive.py" <<'PY'
import asyncio, socket, threading

import aiohttp, httpx, requests, urllib3

seen = []


def serve(connection):
    """Answers the first request of a connection, and closes it upon the second."""
    stream = connection.makefile("rb")
    for number in (1, 2):
        line = stream.readline()
        if not line:
            break
        length = 0
        while (header := stream.readline()) not in (b"\r\n", b""):
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        stream.read(length)
        seen.append(line.split()[0].decode())
        if number == 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    stream.close()
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def accept(listener):
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()


def with_requests(method, body):
    with requests.Session() as session:
        session.get(url, timeout=60)
        return session.request(method, url, data=body, timeout=60).status_code


def with_urllib3(method, body):
    with urllib3.PoolManager(timeout=60) as pool:
        pool.request("GET", url)
        return pool.request(method, url, body=body).status


def with_httpx(method, body):
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.get(url)
        return client.request(method, url, content=body).status_code


def with_aiohttp(method, body):
    async def ask():
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                await response.read()
            async with session.request(method, url, data=body) as response:
                await response.read()
                return response.status

    return asyncio.run(asyncio.wait_for(ask(), 60))


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
threading.Thread(target=accept, args=(listener,), daemon=True).start()

for name, ask in (("requests", with_requests), ("urllib3", with_urllib3),
                  ("httpx", with_httpx), ("aiohttp", with_aiohttp)):
    for method in ("GET", "PUT", "POST"):
        seen.clear()
        try:
            outcome = ask(method, None if method == "GET" else b"x")
        except (requests.RequestException, urllib3.exceptions.HTTPError, httpx.HTTPError,
                aiohttp.ClientError) as error:
            outcome = type(error).__name__
        # The first of all was the GET that was answered.
        print(f"{name}, {method}: {outcome}, sent {len(seen) - 1} times")
PY

echo "expected: requests as urllib3, and each method alike in all four"
NO_PROXY=127.0.0.1 timeout --kill-after=5 600 "$work/venv/bin/python" "$work/drive.py" | tee "$work/seen"
diff - "$work/seen" <<'SEEN' || { echo "CHANGED"; exit 1; }
requests, GET: ConnectionError, sent 1 times
requests, PUT: ConnectionError, sent 1 times
requests, POST: ConnectionError, sent 1 times
urllib3, GET: 200, sent 2 times
urllib3, PUT: 200, sent 2 times
urllib3, POST: ProtocolError, sent 1 times
httpx, GET: RemoteProtocolError, sent 1 times
httpx, PUT: RemoteProtocolError, sent 1 times
httpx, POST: RemoteProtocolError, sent 1 times
aiohttp, GET: 200, sent 2 times
aiohttp, PUT: 200, sent 2 times
aiohttp, POST: ServerDisconnectedError, sent 1 times
SEEN
echo "seen: requests gives up where urllib3 repeats, and urllib3 and aiohttp send a PUT twice"
