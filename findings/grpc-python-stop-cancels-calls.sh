#!/usr/bin/env bash
# A gRPC server in Python that stops gracefully answers some calls with CANCELLED, as if the client had.
#
# Software: grpcio 1.85.3 (PyPI); CPython as installed (seen with 3.11).
# Guess:    `server.stop(grace)` says GOAWAY. A call that comes too late is sent again by the client
#           itself or fails with UNAVAILABLE, the status that retry policies are written for. A call
#           that the server has accepted gets its answer within the grace period.
# Seen:     In nearly each stop under load a call or two fail at once with CANCELLED, long before the
#           grace period is over. Their handlers have not run. Nobody has cancelled anything.
# So:       CANCELLED means "the client gave up", so it is in no list of retryable statuses, and
#           alerts and meshes ignore it: these are requests lost by a reload that no graph shows. A
#           retry policy for gRPC in Python needs CANCELLED, too.
#
# Needs python3 with venv and pip. Exit status: 0 seen again, 1 the behaviour changed, 77 a tool is
# missing.
set -euo pipefail
command -v python3 >/dev/null || { echo "missing: python3"; exit 77; }
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "missing: python3-venv"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
timeout 600 "$work/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.3 ||
  { echo "missing: the package, from pip"; exit 77; }

cat >"$work/drive.py" <<'PY'
import collections, platform, threading, time
from concurrent import futures

import grpc

STOPS, CLIENTS, GRACE_S = 40, 8, 60


def round_of_calls():
    """One server, CLIENTS clients that call all the time, one stop: statuses of before it was over."""
    ran = set()

    def handle(request, context):
        ran.add(request)
        time.sleep(0.01)
        return b"served"

    server = grpc.server(futures.ThreadPoolExecutor(2 * CLIENTS))
    method = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Test", {"Call": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    over = threading.Event()
    statuses = collections.Counter()
    busy = threading.Barrier(CLIENTS + 1)

    def client(name):
        # A channel of its own: nobody else's calls share the connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
            call = channel.unary_unary("/test.Test/Call")
            for number in range(10 ** 6):
                request = b"%d %d" % (name, number)
                try:
                    call(request, timeout=60)
                except grpc.RpcError as error:
                    if error.code() == grpc.StatusCode.UNAVAILABLE:
                        return  # As a client expects of a server that leaves.
                    state = "handler ran" if request in ran else "handler did not run"
                    statuses[f"{error.code().name}, {state}"] += 1
                    return
                if number == 20:
                    busy.wait()

    threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
    for thread in threads:
        thread.start()
    busy.wait()
    began = time.monotonic()
    server.stop(GRACE_S).wait()
    took = time.monotonic() - began
    for thread in threads:
        thread.join()
    return statuses, took


print(f"grpcio {grpc.__version__}, CPython {platform.python_version()}")
total, longest = collections.Counter(), 0
for _ in range(STOPS):
    statuses, took = round_of_calls()
    total += statuses
    longest = max(longest, took)
print(f"{STOPS} stops with {GRACE_S} s of grace, the longest took {longest:.2f} s")
for status, count in sorted(total.items()):
    print(f"{count} calls: {status}")
kinds = set(total)
print("kinds:", ", ".join(sorted(kinds)) or "none")
PY

echo "expected: kinds: none"
timeout --kill-after=5 600 "$work/venv/bin/python" "$work/drive.py" | tee "$work/seen"
grep -qx "kinds: CANCELLED, handler did not run" "$work/seen" || { echo "CHANGED"; exit 1; }
echo "seen: calls that no handler has run and no client has cancelled are CANCELLED"
