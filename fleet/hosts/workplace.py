# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The directory of a run, and what a run that was killed has left.

A run that ends, or is told to end, removes everything that it has made. From one that is killed no process, namespace or mount is
left, since check.sh gives each run a pid namespace and a mount namespace of its own. Its directories and cgroups are removed by
the next run, which knows by a lock that nobody uses them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
import time

PREFIX = "segue-fleet-"

# Where supervisors of plain hosts have their sockets, by names that begin with that of the workplace.
SUPERVISORS = pathlib.Path("/run/segue")

LOCK = "lock"


class Workplace:
    """A directory that is removed at the end."""

    def __init__(self):
        sweep()
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        # It has its name only when it is locked, so that nobody takes this run for one that was killed.
        self.lock = open(self.path / "lock.new", "wb")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        os.rename(self.path / "lock.new", self.path / LOCK)

    def end(self):
        """Remove it, and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.lock.close()

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.end()


def cgroups():
    """The cgroup in which this process is, below which those of its machines are."""
    mounts = [line.split(" ") for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    top = next(fields[1] for fields in mounts if fields[2] == "cgroup2")
    ours = next((line[3:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "")
    return pathlib.Path(top + "/" + ours.lstrip("/"))


def is_removed(cgroup):
    """Remove a cgroup with those below it, if no process is left in them."""
    try:
        for directory, _, _ in os.walk(cgroup, topdown=False):
            os.rmdir(directory)
    except OSError:
        return not cgroup.exists()
    return True


def sweep():
    """Remove what runs have left that were killed."""
    for place in pathlib.Path(tempfile.gettempdir()).glob(PREFIX + "*"):
        with contextlib.suppress(OSError), open(place / LOCK, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for cgroup in cgroups().glob(place.name + "-*"):
                is_removed(cgroup)
            for left in SUPERVISORS.glob(place.name + "-*"):
                shutil.rmtree(left, ignore_errors=True)
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def turn():
    """Heavy tests on one machine may take turns: SEGUE_TEST_TURNS names a file that the one which plays holds by flock(2). The lock is
    not fair: the run that lets go of it gives the others a moment to take it.
    """
    name = os.environ.get("SEGUE_TEST_TURNS")
    if not name:
        yield
        return
    with open(name, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    time.sleep(2)


def strays():
    """The processes beside this one, where it is the first of a pid namespace; those that have ended do not count."""
    if os.getpid() != 1:
        return []
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if process.name != "1" and state != "Z":
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found
