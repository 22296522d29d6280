#!/usr/bin/env python3
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Unit files of public packages, taken below Segue by `segue init --unit --write`, and read by systemd before and after.

systemd is the judge: every property that it has read from a unit must be the same after the drop-in, or differ as `rules` says
it may. Nothing of a package is installed or run: its units alone are laid into a machine of namespaces with a systemd of its own.

usage: check.py WORK PROGRAMS [UNIT...]     WORK keeps the packages; segue and app lie in PROGRAMS; UNIT narrows it to some

SEGUE_BLESS=1 writes the table of docs/units.md.
"""

from __future__ import annotations

import datetime
import os
import pathlib
import re
import subprocess
import sys
import tomllib

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "fleet/hosts"))
import machines  # noqa: E402
import play  # noqa: E402
import rules  # noqa: E402

UNITS = "/usr/lib/systemd/system"
HELPERS = ("segue-cleanup@.service", "segue-recheck@.service", "segue-tmp@.service")


def rows():
    """Package, unit and what is expected of it."""
    for line in (TOP / "tests/units/packages.txt").read_text().splitlines():
        words = line.split()
        if words and not line.startswith("#"):
            yield words[0], words[1], words[2:]


def download(work, packages):
    """The files of each package, and its version."""
    work.mkdir(parents=True, exist_ok=True)
    missing = [name for name in packages if not list(work.glob(name + "_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *missing], cwd=work, check=True)
    versions = {}
    for name in packages:
        package, = work.glob(name + "_*.deb")
        versions[name] = machines.run("dpkg-deb", "--field", package, "Version").strip()
        if not (work / name).exists():
            machines.run("dpkg-deb", "--extract", package, work / name)
    return versions


class Judge(machines.Machine):
    """A machine with the units of all packages, and segue."""

    def __init__(self, work, programs, packages):
        super().__init__(1)
        for name, place in (("segue", "/usr/bin/segue"), ("app", play.SAMPLE)):
            machines.run("install", "-m", "0755", pathlib.Path(programs) / name, self.path(place))
        for name in packages:
            for units in ("lib/systemd/system", "usr/lib/systemd/system"):
                if (work / name / units).is_dir():
                    machines.run("cp", "-R", "--no-dereference", str(work / name / units) + "/.", self.path(UNITS))
        for name in HELPERS:
            machines.run("cp", TOP / "systemd" / name, self.path(UNITS))
        # A service is triggered by the socket units that systemd knows, and it forgets units that none names.
        sockets = sorted(path.name for name in packages for path in (work / name).glob("**/systemd/system/*.socket") if "@" not in path.name)
        self.path("/etc/systemd/system/sockets-known.target").write_text("[Unit]\nWants=%s\n" % " ".join(sockets))
        self.reload()
        self.ok("systemctl", "start", "--job-mode=ignore-dependencies", "sockets-known.target")

    def reload(self):
        """Let systemd read all units anew."""
        self.ok("systemctl", "daemon-reload")

    def ask(self, *words):
        """Run a program in it: the exit status, stdout and stderr."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=machines.PATIENCE, check=False)
        return done.returncode, done.stdout, done.stderr

    def properties(self, unit):
        """All that systemd has read, by name. A property that is given several times has a line for each."""
        found = {}
        for line in self.ok("systemctl", "show", "--all", unit).splitlines():
            name, _, value = line.partition("=")
            found[name] = found[name] + "\n" + value if name in found else value
        found["DefaultTasksMax"] = self.ok("systemctl", "show", "--value", "--property=DefaultTasksMax").strip()
        return found

    def complaints(self, unit):
        """What systemd-analyze says of a unit and the units that it names; programs are not installed here."""
        text = "".join(self.ask("systemd-analyze", "verify", "--man=no", unit)[1:])
        return {line for line in text.splitlines() if "is not executable" not in line}


class Unit:
    """A unit on its way below segue."""

    def __init__(self, judge, package, name, expected):
        self.package, self.name, self.expected = package, name, expected
        self.before = judge.properties(name)
        self.complaints = judge.complaints(name)
        self.code, output, errors = judge.ask("segue", "init", "--unit", name, "--write")
        self.written = re.findall(r"^wrote (\S+)$", output, re.MULTILINE)
        self.refused = re.findall(r"^segue: cannot carry \S+: (.*)$", errors, re.MULTILINE)
        self.notes = re.findall(r"^segue: note: (.*)$", errors, re.MULTILINE)
        self.errors = errors
        self.sockets = {path.split("/")[-2].removesuffix(".d") for path in self.written if path.endswith(".socket.d/segue.conf")}
        self.before_of_sockets = {socket: judge.properties(socket) for socket in self.sockets}

    @property
    def is_carried(self):
        """Whether files were written for it."""
        return self.code == 0

    def judge_refusal(self):
        """What is wrong with the answer of `segue init`."""
        if self.before["LoadState"] != "loaded":
            yield "systemd has not loaded it: " + self.before["LoadState"]
        if self.expected == ["carried"]:
            if not self.is_carried:
                yield "not carried: " + self.errors
            return
        if self.is_carried:
            yield "carried, and expected was " + " ".join(self.expected)
        named = [reason for reason in self.expected if any(line.startswith(reason) for line in self.refused)]
        if named != self.expected or len(named) != len(self.refused):
            yield "refused for other reasons: " + self.errors

    def judge_change(self, judge):
        """What is wrong with the unit now that systemd has read the drop-in."""
        toml = tomllib.loads(judge.ok("cat", next(path for path in self.written if path.endswith(".toml"))))
        after = judge.properties(self.name)
        yield from rules.broken(self.name, self.before, after, toml, self.notes)
        for socket, before in self.before_of_sockets.items():
            yield from rules.broken_socket(socket, before, judge.properties(socket))
        for line in sorted(judge.complaints(self.name) - self.complaints):
            yield "systemd-analyze verify: " + line
        words = ["segue", "check", "--config", "/etc/segue/%s.toml" % rules.instance(self.name), "--unit", self.name]
        errors = judge.ask(*words, "--", "/bin/true")[2]
        for line in errors.splitlines():
            if line.startswith("segue: unit") or "unit " + self.name in line:
                yield "segue check: " + line

    def play(self, judge):
        """What goes wrong when it runs."""
        self.before["Sockets"] = " ".join(sorted(self.sockets))
        toml = tomllib.loads(judge.ok("cat", "/etc/segue/%s.toml" % rules.instance(self.name)))
        played = play.Play(judge, self.name, rules.instance(self.name), self.before, toml, self.notes)
        judge.reload()
        try:
            played.played()
        except (play.Failed, AssertionError) as why:
            yield "played: %s" % why
            judge.ask("systemctl", "kill", "--signal=KILL", self.name)
            judge.ask("systemctl", "stop", *self.sockets, self.name)

    def outcome(self):
        """What became of it, in a phrase."""
        if not self.is_carried:
            return "refused: " + ", ".join(self.expected)
        notes = "%d note%s" % (len(self.notes), "" if len(self.notes) == 1 else "s")
        return ", ".join(["carried", notes, *sorted(self.sockets)])


def bless(units, versions):
    """Write the table of the page, below its last line of prose."""
    page = TOP / "docs/units.md"
    prose = page.read_text().split("\n| unit |")[0]
    prose = re.sub(r"\d{4}-\d\d-\d\d", datetime.date.today().isoformat(), prose)
    lines = ["| unit | package | `segue init --unit` |", "|---|---|---|"]
    lines += ["| %s | %s %s | %s |" % (unit.name, unit.package, versions[unit.package], unit.outcome()) for unit in units]
    page.write_text(prose + "\n" + "\n".join(lines) + "\n")


def main(work, programs, *names):
    """Judge them all; the exit status."""
    table = [row for row in rows() if not names or row[1] in names]
    packages = sorted({package for package, _, _ in table})
    versions = download(pathlib.Path(work).resolve(), packages)
    judge = Judge(pathlib.Path(work).resolve(), programs, packages)
    try:
        units = [Unit(judge, *row) for row in table]
        judge.reload()
        wrong = 0
        for unit in units:
            print("%-29s %-28s %-37s %s" % (unit.package, versions[unit.package], unit.name, unit.outcome()))
            faults = list(unit.judge_refusal())
            if unit.is_carried:
                faults += [*unit.judge_change(judge), *unit.play(judge)]
            for fault in faults:
                print("    wrong: " + fault.replace("\n", "\n        "))
            wrong += len(faults)
    finally:
        judge.end()
    if os.environ.get("SEGUE_BLESS") and not names and not wrong:
        bless(units, versions)
    carried = sum(unit.is_carried for unit in units)
    print("%d units of %d packages: %d carried, %d refused; %d faults" % (len(units), len(packages), carried, len(units) - carried, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    machines.needs("unshare", "nsenter", "setpriv", "systemd-analyze", "apt-get", "dpkg-deb")
    sys.exit(main(*sys.argv[1:]))
