#!/usr/bin/env python3
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Twenty rebuilds of one app under `segue dev`, nodemon, watchexec and systemfd with cargo-watch, while clients ask without a pause.

Each tool builds by the same script and runs the same app, which drains at SIGTERM. For each it counts the requests that fail (refused,
cut, or unanswered for half a minute), and measures from the end of a build to the first answer of the new version, and the longest
request. Segue must lose none; and one of the others must lose some, or the clients would find no loss at all.

usage: compare.py PROGRAMS TOOLS     segue lies in PROGRAMS; TOOLS is what `tests/setup.sh watchers` has made

It prints the table of docs/dev.md.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent

REBUILDS = 20

# How many ask at the same time, and how long each rests between two requests, in seconds.
CLIENTS = 4
PAUSE = 0.005

# After so many seconds a request has failed: also on a busy machine no app takes so long to be built and started.
PATIENCE = 30

# How long one rebuild may take, or a start, in seconds: that bounds the whole.
LIMIT = 60


class Clients:
    """They ask until they are stopped, each request on a connection of its own."""

    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.sent = self.longest = 0
        self.failures = {}
        self.first = {}
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self):
        while not self.over.is_set():
            began = time.time()
            version, failure = get(self.port)
            ended = time.time()
            with self.lock:
                self.sent += 1
                self.longest = max(self.longest, ended - began)
                if failure:
                    self.failures[failure] = self.failures.get(failure, 0) + 1
                else:
                    self.first.setdefault(version, ended)
            time.sleep(PAUSE)

    def first_answer(self, version, until):
        """When this version answered first; None if it has not by then."""
        while time.time() < until:
            with self.lock:
                if version in self.first:
                    return self.first[version]
            time.sleep(0.002)
        return None

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def get(port):
    """The version that answers, or why none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
    except ConnectionRefusedError:
        return None, "refused"
    except ConnectionResetError:
        return None, "reset"
    except TimeoutError:
        return None, "unanswered"
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.0 200") or not body:
        return None, "cut"
    return body.decode(), None


def commands(programs, tools):
    """Each tool's name, and the words that start it on a port."""
    # Itself, and no shim that looks for it.
    python = os.path.realpath(sys.executable)
    runs = f"exec '{python}' dist/server.py {{port}}"
    built = f"sh build.sh && {runs}"
    segue = [programs / "segue", "dev", "--listen", "{port}", "--watch", "src", "--build", "sh build.sh", "--control", "control"]
    app = ["--", python, "dist/server.py", "{port}"]
    nodemon = [tools / "nodemon/node_modules/.bin/nodemon", "--quiet", "--watch", "src", "--ext", "*", "--signal", "SIGTERM", "--exec", built]
    watchexec = [tools / "bin/watchexec", "--socket", "{port}", "--watch", "src", "--restart", "--stop-signal", "SIGTERM", "--shell=sh", "--", built]
    cargo = [tools / "bin/systemfd", "--no-pid", "-s", "http::127.0.0.1:{port}", "--", tools / "bin/cargo-watch", "watch", "--quiet"]
    cargo += ["--why", "--watch", "src", "--shell", built]
    yield "`segue dev`", segue + app
    yield "`segue dev`, the app says `READY=1`", segue + ["--env", "SAYS_READY=1"] + app
    yield "nodemon", nodemon
    yield "`watchexec --socket`", watchexec
    yield "systemfd with cargo-watch", cargo


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def put(work, version):
    """One change: the file is renamed into what is watched."""
    beside = work / "beside"
    beside.write_text(f"{version}\n")
    beside.rename(work / "src/version")


@contextlib.contextmanager
def running(words, work):
    """The tool in a session of its own, all of which ends with it."""
    with open(work / "log", "wb") as log:
        tool = subprocess.Popen(
            words, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=clean_environment()
        )
    try:
        yield tool
    finally:
        tool.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            tool.wait(10)
        for pid in session_of(tool.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        tool.wait()


def clean_environment():
    return {key: value for key, value in os.environ.items() if not key.startswith("LISTEN_") and key != "NOTIFY_SOCKET"}


def session_of(leader):
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == leader:
                yield int(entry.name)


def prepare(work):
    (work / "src").mkdir()
    shutil.copy(HERE / "server.py", work / "src")
    shutil.copy(HERE / "build.sh", work)
    # cargo-watch wants a package.
    (work / "Cargo.toml").write_text('[package]\nname = "app"\nversion = "0.0.0"\n\n[[bin]]\nname = "app"\npath = "src/main.rs"\n')
    (work / "src/main.rs").write_text("fn main() {}\n")
    put(work, "version-0")


def measure(words, name):
    """Failures by kind, the times from the end of a build to the first new answer, the longest request, how many were sent."""
    with tempfile.TemporaryDirectory(prefix="segue-dev") as place:
        work = pathlib.Path(place)
        prepare(work)
        port = free_port()
        words = [str(word).replace("{port}", str(port)) for word in words]
        with running(words, work) as tool:
            until = time.time() + LIMIT
            while get(port)[0] != "version-0":
                if time.time() > until or tool.poll() is not None:
                    fail(f"{name} does not serve", work)
                time.sleep(0.05)
            clients = Clients(port)
            try:
                times = [rebuild(work, clients, f"version-{number}", name) for number in range(1, REBUILDS + 1)]
            finally:
                clients.stop()
    return clients.failures, times, clients.longest, clients.sent


def rebuild(work, clients, version, name):
    put(work, version)
    answered = clients.first_answer(version, time.time() + LIMIT)
    if answered is None:
        fail(f"{name}: {version} does not answer within {LIMIT} s", work)
    # It answers after the build, and no other one has begun since.
    built = int((work / "dist/built").read_text()) / 1e9
    time.sleep(0.3)
    return answered - built


def fail(why, work):
    log = (work / "log").read_text(errors="replace")
    sys.exit(f"compare: {why}\n{log[-4000:]}")


def milliseconds(seconds):
    return f"{seconds * 1000:,.0f} ms"


def main():
    programs, tools = (pathlib.Path(path).resolve() for path in sys.argv[1:3])
    rows, lost, load = [], {}, os.getloadavg()[0]
    for name, words in commands(programs, tools):
        failures, times, longest, sent = measure(words, name)
        lost[name] = sum(failures.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
        told = f"{lost[name]:,} of {sent:,}" + (f" ({kinds})" if kinds else "")
        rows.append((name, told, milliseconds(statistics.median(times)), milliseconds(max(times)), milliseconds(longest)))
        print(f"compare: {name}: {told}", file=sys.stderr, flush=True)
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, a load of {load:.0f} by other work at the start"
    print(f"{REBUILDS} rebuilds, {CLIENTS} clients; {datetime.date.today()}, {machine}.\n")
    print("| tool | failed requests | end of build to first new answer, median | longest | longest request |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    ours = sum(count for name, count in lost.items() if name.startswith("`segue"))
    if ours:
        sys.exit(f"compare: {ours} requests failed under segue dev")
    if not any(lost.values()):
        sys.exit("compare: no tool lost anything: these clients find no loss")


if __name__ == "__main__":
    main()
