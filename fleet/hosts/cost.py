# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What a rolling deploy costs as the fleet grows, beside `ping`: fleet/check.sh cost

The hosts are network namespaces with an sshd each on this one machine, so that seconds are those of its processors for the controller
and all hosts together. Sessions and connections are counted by the sshds, and depend on no machine.
"""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import machines
from fleet import PROGRAMS, Ansible
from machines import CLIENTS, SSH, Controller, Keys, PlainHost, address, run, wait_until
from workplace import Workplace, turn

# How many hosts, unless the command line says.
COUNTS = (2, 8, 32)

PING = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n"

COPY = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.copy: {src: '{{ segue_src }}', dest: '{{ segue_root }}/copied'}\n"


class Costly:
    """A fleet of plain hosts, each with an app under Segue."""

    def __init__(self, work, count):
        self.work = pathlib.Path(work)
        self.controller = Controller()
        self.programs = self.work / "bin"
        self.programs.mkdir()
        (self.programs / "segue").symlink_to(PROGRAMS / "segue")
        keys = Keys(work)
        # The first SetEnv line counts alone, so that this goes on with it.
        path = " PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin\nLogLevel VERBOSE" % self.programs
        self.hosts = [PlainHost(number, self.controller, keys, work, path) for number in range(1, count + 1)]
        inventory = [(host.name, "%s segue_app=%s segue_root=%s" % (address(SSH, host.number), self.app(host), self.root(host)))
                     for host in self.hosts]
        self.ansible = Ansible(self.controller, work, inventory, keys)
        (self.work / "ping.yml").write_text(PING)
        (self.work / "copy.yml").write_text(COPY)
        first = self.version("first")
        self.supervisors = [self._start(host, first) for host in self.hosts]

    def app(self, host):
        """The hosts share a file system, so that their instances need names of their own."""
        return "%s-%s" % (self.work.name, host.name)

    def root(self, host):
        return self.work / host.name / "srv"

    def version(self, name):
        """A version of the app; the sample, with bytes of its own behind it."""
        program = self.work / name
        program.write_bytes((PROGRAMS / "app").read_bytes() + name.encode())
        program.chmod(0o755)
        return program

    def _start(self, host, program):
        run(PROGRAMS / "segue", "deploy", "--no-reload", "--name", self.app(host), "--root", self.root(host), program)
        words = [PROGRAMS / "segue", "run", "--name", self.app(host), "--listen", "%s:8080" % address(CLIENTS, host.number),
                 "--probation", "100ms", "--die-with-supervisor", "--", self.root(host) / "current" / self.app(host)]
        supervisor = subprocess.Popen(machines.dying_with_us(host.in_network(*words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ask = [PROGRAMS / "segue", "status", "--name", self.app(host)]
        wait_until(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "%s serves" % host.name)
        return supervisor

    def close(self):
        for host, supervisor in zip(self.hosts, self.supervisors):
            run(PROGRAMS / "segue", "stop", "--name", self.app(host))
            supervisor.wait()
            host.end()
        self.controller.end()

    def measure(self, play, **variables):
        """Play something; seconds, tasks, connections and sessions, and copying among these."""
        self.forget_connections()
        before = [self.seen(host) for host in self.hosts]
        began = time.monotonic()
        done = self.ansible.play(play, **variables)
        took = time.monotonic() - began
        assert done.code == 0, done.output
        after = [self.seen(host) for host in self.hosts]
        sums = [sum(late[place] - early[place] for early, late in zip(before, after)) / len(self.hosts) for place in range(2)]
        return dict(seconds=took / len(self.hosts), tasks=len(done.tasks()), connections=sums[0], sessions=sums[1])

    def forget_connections(self):
        """Close what an earlier play has left open, so that each pays for its own."""
        for socket in (self.work / "cp").glob("*"):
            subprocess.run(self.controller.inside("ssh", "-F", "none", "-o", "ControlPath=%s" % socket, "-O", "exit", "any"),
                           capture_output=True, check=False)

    @staticmethod
    def seen(host):
        log = host.log.read_text()
        return log.count("Accepted publickey"), log.count("Starting session: ")


def measure(count):
    """The rows of the table for so many hosts."""
    with turn(), Workplace() as work:
        fleet = Costly(work, count)
        try:
            fleet.measure("%s/ping.yml" % work)
            ping = fleet.measure("%s/ping.yml" % work)
            copy = fleet.measure("%s/copy.yml" % work, segue_src=str(fleet.version("second")))
            rolling = dict(segue_serial=["100%"], segue_soak=0)
            deploy = fleet.measure("segue.fleet.rolling", segue_src=str(fleet.version("second")), **rolling)
            again = fleet.measure("segue.fleet.rolling", segue_src=str(fleet.version("second")), **rolling)
        finally:
            fleet.close()
    beyond = {key: deploy[key] - (copy[key] - ping[key]) for key in ping}
    rows = [("ping", ping), ("copy", copy), ("deploy", deploy), ("beyond copying", beyond), ("nothing to deploy", again)]
    return [(count, what, cost, ping) for what, cost in rows]


def machine():
    """On what is measured, and how busy that was before."""
    found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = found.group(1) if found else os.uname().machine
    return "%d cores of %s, Linux %s, load average %.0f" % (os.cpu_count(), model, os.uname().release, os.getloadavg()[0])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    machines.needs("sshd", "ssh", "unshare", "nsenter", "setpriv", "ip")
    counts = [int(word) for word in sys.argv[1:]] or COUNTS
    print("%s, %s\n" % (time.strftime("%Y-%m-%d"), machine()))
    form = "%6s  %-22s %6s %12s %9s %9s %7s"
    print(form % ("HOSTS", "WHAT", "TASKS", "CONNECTIONS", "SESSIONS", "SECONDS", "RATIO"))
    print(form % ("", "", "", "a host", "a host", "a host", "to ping"))
    for count in counts:
        for hosts, what, cost, ping in measure(count):
            print(form % (hosts, what, cost["tasks"], "%.1f" % cost["connections"], "%.1f" % cost["sessions"], "%.2f" % cost["seconds"],
                          "%.1f" % (cost["seconds"] / ping["seconds"])), flush=True)


if __name__ == "__main__":
    main()
