# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A unit that was taken below Segue is run as it is, sandbox and socket units included, with our sample in the place of its app.

It starts, reloads, outlives kill -9 of its supervisor, reloads again and stops.
"""

from __future__ import annotations

import itertools

import machines

SAMPLE = "/usr/bin/sample"

# What the package would have brought, or only its own app needs: conditions, files, commands around it, a security label. A low
# OOM score is taken back, since not every machine allows it.
OVERRIDE = """\
[Unit]
ConditionPathExists=
AssertPathExists=
[Service]
ExecStart=
ExecStart=/usr/bin/segue run --name {name} --config /etc/segue/{name}.toml --stop-signal TERM --oom-score-adj 0 {listen}-- {sample} --message hello
ExecStartPre=
ExecStartPost=
ExecCondition=
ExecStopPost=
ExecStopPost=/usr/bin/segue cleanup --name {name}
EnvironmentFile=
AppArmorProfile=
{more}"""

PATHS = ("ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindReadOnlyPaths")


# Of the machine's own network.
PORTS = itertools.count(8001)


class Failed(Exception):
    """A step went wrong."""


class Play:
    """One unit."""

    def __init__(self, judge, unit, name, before, toml, notes):
        self.judge, self.unit, self.name, self.before = judge, unit, name, before
        self.outlives = not any("is bound to the service" in note for note in notes)
        self.accounts()
        paths = [word for key in PATHS for word in before.get(key, "").split() if not word.startswith("-")]
        paths = [path.split(":")[0].lstrip("+") for path in paths]
        for path in [*paths, toml.get("chdir", "/"), before.get("WorkingDirectory", "").lstrip("!-") or "/"]:
            if path.startswith("/"):
                judge.ok("sh", "-c", "test -e %s || mkdir -p %s" % (path, path))
        for program in before.get("ExecPaths", "").split():
            judge.ok("sh", "-c", "test -e %s || touch %s" % (program, program))
        is_forbidden = bool(before.get("NoExecPaths"))
        # A unit may start another one that is played, too.
        listen = "" if before["Sockets"] else "--listen 127.0.0.1:%d " % next(PORTS)
        more = "ExecPaths=%s /usr/lib /lib /lib64\n" % SAMPLE if is_forbidden else ""
        if before["Delegate"] == "yes":
            # Its commands run in a cgroup beside the app's, and must end all the same what a killed supervisor has left.
            more += "KillSignal=SIGKILL\n"
        place = judge.path("/run/systemd/system/%s.d" % unit)
        place.mkdir(parents=True, exist_ok=True)
        (place / "zz-play.conf").write_text(OVERRIDE.format(name=name, listen=listen, sample=SAMPLE, more=more))

    def accounts(self):
        """Its user and groups, which the package would have made."""
        groups = [self.before["Group"], *self.before.get("SupplementaryGroups", "").split()]
        for group in filter(None, groups):
            self.judge.ask("groupadd", "--system", "--force", group)
        if user := self.before["User"]:
            self.judge.ask("useradd", "--system", "--no-create-home", "--no-user-group", user)

    def must(self, *words):
        """A step, and the journal if it fails."""
        code, output, errors = self.judge.ask(*words)
        if code != 0:
            raise Failed("%s: %s%s" % (" ".join(words), errors, self.journal()))
        return output

    def journal(self):
        """The last lines of the unit."""
        return self.judge.ok("journalctl", "--no-pager", "-o", "cat", "-n", "25", "-u", self.unit)

    def main_pid(self):
        """That of segue; 0 between two."""
        return self.must("systemctl", "show", "--value", "--property=MainPID", self.unit).strip()

    def played(self):
        """Play it to its end."""
        self.must("systemctl", "start", self.unit)
        self.must("systemctl", "reload", self.unit)
        self.reloads(2)
        if self.outlives:
            self.kill()
        self.must("systemctl", "stop", *self.before["Sockets"].split(), self.unit)
        left = self.must("find", "/sys/fs/cgroup", "-path", "*/%s/*" % self.unit, "-name", "cgroup.procs", "-exec", "cat", "{}", "+").split()
        # A supervisor that was killed has failed.
        if left or self.state() not in ("inactive", "failed"):
            raise Failed("after the stop it is %s, with processes %s" % (self.state(), left))

    def kill(self):
        """Kill the supervisor: the next one adopts the app, and reloads it."""
        first = self.main_pid()
        self.must("kill", "-9", first)
        try:
            machines.wait_until(lambda: self.main_pid() not in ("0", first) and self.state() == "active", "%s is back" % self.unit)
        except AssertionError as why:
            raise Failed("%s: %s" % (why, self.journal())) from why
        if "adopted" not in self.journal():
            raise Failed("the app was not adopted: " + self.journal())
        self.must("systemctl", "reload", self.unit)
        self.reloads(3)

    def state(self):
        """As systemd says."""
        return self.must("systemctl", "show", "--value", "--property=ActiveState", self.unit).strip()

    def reloads(self, number):
        """Root is told of that many generations."""
        status = self.must("segue", "status", "--name", self.name, "--json")
        if '"generation":%d' % number not in status.replace(" ", ""):
            raise Failed("no generation %d: %s" % (number, status))
