# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The modules and a real segue: a supervisor, an app below it, and every kind of end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from ansible_collections.segue.fleet.plugins.modules import deploy, rollback, rollout, status

SEGUE = os.environ.get("SEGUE") or shutil.which("segue")

pytestmark = pytest.mark.skipif(not SEGUE, reason="there is no segue: neither in the path nor in the variable SEGUE")

# Seconds that anything may take. It only ends what hangs.
PATIENCE = 60

APP = """#!%s
import socket
import sys
VERSION = "%s"
if VERSION == "bad":
    sys.exit("no database")
listener = socket.socket(fileno=3)
while True:
    listener.accept()[0].close()
"""


class Real:
    """A host for the modules with a supervisor, below which an app serves once it was placed and started."""

    def __init__(self, fleet, path):
        self.fleet, self.path = fleet, path
        self.given = dict(segue=SEGUE, root=str(path / "srv"), control=str(path / "control"))
        self.supervisor = None

    def program(self, version):
        """A version of the app."""
        program = self.path / version
        program.write_text(APP % (sys.executable, version))
        return str(program)

    def play(self, module, **params):
        """Run a module."""
        return self.fleet.play(module, **dict(self.given, **params))

    def start(self):
        """Start the supervisor, and wait until it serves."""
        words = [SEGUE, "run", "--name", "shop", "--control", self.given["control"], "--listen", "127.0.0.1:0", "--ready", "accepting",
                 "--probation", "50ms", "--", self.given["root"] + "/current/shop"]
        with open(self.path / "log", "wb") as log:
            self.supervisor = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while self.play(status)["serving"] is None:
            assert time.monotonic() < end, (self.path / "log").read_text()
            time.sleep(0.05)

    def stop(self):
        """Stop it, with the app."""
        if self.supervisor:
            self.supervisor.terminate()
            self.supervisor.wait(PATIENCE)


@pytest.fixture
def real(fleet, tmp_path):
    real = Real(fleet, tmp_path)
    try:
        yield real
    finally:
        real.stop()


def test_versions_come_go_and_fail(real):
    """Each end is told by the word of segue-deploy(1), and who serves by the supervisor."""
    assert real.play(deploy, src=real.program("one"))["outcome"] == "no-supervisor"
    assert real.play(deploy, src=real.program("one"), reload=False)["outcome"] == "placed"
    real.start()

    first = real.play(status)
    assert first["current"] == first["serving"]["release"] == first["releases"][0]["release"]
    assert first["releases"][0]["is_current"] and first["releases"][0]["serves"] == 1

    done = real.play(deploy, src=real.program("two"), rollout=True, timeout="60s")
    assert (done["outcome"], done["changed"], done["previous_release"]) == ("ok", True, first["current"]), done
    assert done["serving"]["probation"] == "passed" and done["generation"] == 2
    assert real.play(deploy, src=real.program("two"), rollout=True)["outcome"] == "unchanged"

    bad = real.play(deploy, src=real.program("bad"), supersede=True)
    assert bad["failed"] and (bad["outcome"], bad["cause"]) == ("failed", "exited"), bad
    assert "no database" in bad["last_lines"] and bad["release"] == done["release"]

    checked = real.play(deploy, src=real.program("three"), supersede=True, preflight_command="echo it says no >&2; exit 3")
    assert checked["failed"] and checked["outcome"] == "preflight-failed" and "it says no" in checked["msg"]

    assert real.play(deploy, src=real.program("three"), supersede=True, timeout="soon")["outcome"] == "misused"

    back = real.play(rollout, sha256=done["sha256"], state="reverted")
    assert (back["outcome"], back["release"]) == ("reverted", first["current"]), back
    again = real.play(rollback, release=done["release"])
    assert (again["outcome"], again["release"]) == ("ok", done["release"]), again
    refused = real.play(rollback, release="19700101-000000-00000000")
    assert refused["failed"] and refused["outcome"] == "refused"


def test_a_program_that_has_no_deploy_is_named(real):
    """An older one knows the status, and ends with 2 at a command that it does not know."""
    old = real.path / "old-segue"
    old.write_text("#!/bin/sh\n[ \"$1\" = status ] && exit 3\nexit 2\n")
    old.chmod(0o755)
    result = real.play(deploy, src=real.program("one"), segue=str(old))
    assert result["outcome"] == "misused" and "has no deploy" in result["msg"]
