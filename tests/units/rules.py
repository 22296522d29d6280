# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""What may differ in a unit after `segue init --write`, as systemd shows it (`systemctl show`), and what must be said of the rest.

`before` and `after` are all properties of the unit, `toml` the segue.toml, `notes` what is left to a person.
"""

from __future__ import annotations

import re

# Of this moment, or of the files themselves.
OF_NO_ACCOUNT = re.compile(r"(Timestamp|Monotonic)$|^(DropInPaths|NeedDaemonReload|InvocationID|ActiveState|SubState|StateChange.*|Job|"
                           r"Condition.*|Assert.*|CPUUsageNSec|EffectiveMemory.*|EffectiveTasksMax|Memory(Current|Available)|Perpetual|Can.*)$")

SPAN = {"us": 1, "ms": 10**3, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6, "w": 7 * 86400 * 10**6,
        "month": 2629800 * 10**6, "y": 31557600 * 10**6}

# The same for segue.toml, whose minute is `m`.
TOML_SPAN = {"ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}

SIGNALS = {"1": "HUP", "2": "INT", "3": "QUIT", "10": "USR1", "12": "USR2", "15": "TERM", "28": "WINCH"}

RESTARTS = ("always", "on-failure", "on-abnormal", "on-abort")


def microseconds(text, units=None):
    """A time span as systemd or segue.toml writes it; None if it is endless."""
    if text in ("infinity", "none"):
        return None
    return sum(int(number) * (units or SPAN)[unit] for number, unit in re.findall(r"(\d+)\s*([a-z]+)", text))


def longer(text, more):
    """A time span and so many seconds more."""
    span = microseconds(text)
    return None if span is None else span + more * 10**6


def commands(text):
    """Each command of an Exec property: its path, and its words joined by spaces."""
    return re.findall(r"\{ path=(\S*) ; argv\[\]=(.*?) ; (?:ignore_errors|flags)=", text)


def words(properties, name):
    """The words of a property that is a list. A filter that forbids nothing is shown as `~`, as one that forbids something begins."""
    return [] if properties.get(name) == "~" else properties.get(name, "").split()


def instance(unit):
    """The name that `segue init` gives."""
    return unit.removesuffix(".service").replace("\\", "-").replace(":", "-")


def kill_signal(line):
    """The signal of a line `kill -SIGNAL $MAINPID`."""
    found = re.fullmatch(r"\S*/kill(?: -s| --signal)?(?: ?-?(\w+))? \$\{?MAINPID\}?", line)
    return found and (found.group(1) or "TERM").removeprefix("SIG")


class Rules:
    """Each method named after a property says what it must be, or yields what is wrong."""

    def __init__(self, unit, before, after, toml, notes):
        self.name, self.before, self.after, self.toml, self.notes = instance(unit), before, after, toml, notes

    def noted(self, text):
        """Whether a note says so."""
        return any(text in note for note in self.notes)

    def expected(self):
        """What each property that may differ must be now."""
        before = self.before
        same = before.get
        kinds = dict(Type="notify", NotifyAccess="main", KillMode="process", KillSignal="15", FileDescriptorStoreMax="4096",
                     OOMPolicy="continue", PIDFile="", RemainAfterExit="no", SendSIGHUP="no", StartLimitIntervalUSec="0")
        kinds["Restart"] = same("Restart") if same("Restart") in RESTARTS else "always"
        kinds["RuntimeDirectory"] = " ".join(sorted(["segue/" + self.name, *words(before, "RuntimeDirectory")]))
        kept = same("RuntimeDirectoryPreserve")
        kinds["RuntimeDirectoryPreserve"] = "restart" if kept == "no" else kept
        kinds["RestartKillSignal"] = "15"
        return kinds

    def lists(self):
        """What is added to each list, which keeps all that it had."""
        store = {"After", "Wants", "Requires", "OnFailure", "OnSuccess", "JoinsNamespaceOf", "Before", "Names", "RequiresMountsFor"}
        for name in sorted(store):
            yield name, r"segue-(cleanup|tmp)@.*\.service|.*\.(socket|mount)|/.*"

    def exec_lines(self):
        """The commands: that of the app word for word, and the others."""
        before = {name: [argv for _, argv in commands(self.before.get(name, ""))] for name in ("ExecStart", "ExecReload", "ExecStop", "ExecStopPost")}
        after = {name: [argv for _, argv in commands(self.after.get(name, ""))] for name in before}
        run = "/usr/bin/segue run --name %s --config /etc/segue/%s.toml" % (self.name, self.name)
        app = before["ExecStart"][0]
        if "command" in self.toml:
            if after["ExecStart"] != [run] or " ".join(self.toml["command"]) != app:
                yield "ExecStart: %s became %s and %s" % (app, after["ExecStart"], self.toml["command"])
        elif after["ExecStart"] != [run + " -- " + app]:
            yield "ExecStart: %s became %s" % (app, after["ExecStart"])
        if after["ExecReload"] != ["/usr/bin/segue reload --name " + self.name]:
            yield "ExecReload: %s" % after["ExecReload"]
        for line in before["ExecReload"]:
            if not kill_signal(line) and not self.noted("ExecReload="):
                yield "no note of ExecReload=" + line
        cleanup = "/usr/bin/segue cleanup --name " + self.name
        if after["ExecStop"] != [cleanup] or after["ExecStopPost"] != [cleanup, *before["ExecStopPost"]]:
            yield "ExecStop, ExecStopPost: %s, %s" % (after["ExecStop"], after["ExecStopPost"])
        yield from self.stop_signal([kill_signal(line) for line in before["ExecStop"]])

    def stop_signal(self, by_commands):
        """The app's own."""
        wanted = by_commands[0] if by_commands else SIGNALS.get(self.before["KillSignal"], self.before["KillSignal"])
        if self.toml.get("stop-signal", "TERM") != wanted:
            yield "the app was stopped by %s, and now by %s" % (wanted, self.toml.get("stop-signal"))

    def times(self):
        """The app's limits are segue's, and systemd's are longer."""
        start, stop = self.before["TimeoutStartUSec"], self.before["TimeoutStopUSec"]
        never_killed = self.before["SendSIGKILL"] == "no"
        wanted = {"start-timeout": microseconds(start), "drain-timeout": None if never_killed else microseconds(stop)}
        for key, span in wanted.items():
            if key not in self.toml or microseconds(self.toml[key], TOML_SPAN) != span:
                yield "%s is %s; the unit had %s and %s" % (key, self.toml.get(key), start, stop)
        sums = [wanted["start-timeout"], wanted["drain-timeout"]]
        needed = {"TimeoutStartUSec": None if None in sums else 2 * (sum(sums) + 10**7), "TimeoutStopUSec": sums[1]}
        for name, span in needed.items():
            now = microseconds(self.after[name])
            if now is not None and (span is None or now <= span):
                yield "%s=%s is not above what segue may take" % (name, self.after[name])
        if self.before["Type"].startswith("notify") and self.before["WatchdogUSec"] not in ("0", "infinity"):
            if microseconds(self.toml.get("watchdog", ""), TOML_SPAN) != microseconds(self.before["WatchdogUSec"]):
                yield "watchdog is %s; the unit had %s" % (self.toml.get("watchdog"), self.before["WatchdogUSec"])
        if ("ready" in self.toml) != self.before["Type"].startswith("notify"):
            yield "ready is %s; the unit had Type=%s" % (self.toml.get("ready"), self.before["Type"])
        if self.after["RestartUSec"] != self.before["RestartUSec"]:
            yield "RestartUSec=" + self.after["RestartUSec"]

    def app(self):
        """What the app had from systemd and has from segue now."""
        directories = ":".join("/run/" + word for word in words(self.before, "RuntimeDirectory"))
        given = re.findall(r"RUNTIME_DIRECTORY=(\S+)", self.before.get("Environment", ""))
        if given:
            directories = given[-1]
            if not self.after["Environment"].endswith("RUNTIME_DIRECTORY=/run/segue/" + self.name):
                yield "segue would find the directory of the app: Environment=" + self.after["Environment"]
        if self.toml.get("env", {}).get("RUNTIME_DIRECTORY", "") != directories:
            yield "RUNTIME_DIRECTORY: %s" % self.toml.get("env")
        if not given and self.before.get("Environment") != self.after.get("Environment"):
            yield "Environment=%s became %s" % (self.before.get("Environment"), self.after.get("Environment"))
        where = self.before.get("WorkingDirectory", "").lstrip("!-")
        if where and self.toml.get("chdir") != where and not self.noted("WorkingDirectory="):
            yield "WorkingDirectory=%s: chdir is %s" % (where, self.toml.get("chdir"))
        score = int(self.before["OOMScoreAdjust"])
        if score < 0 and self.toml.get("oom-score-adj") != score:
            yield "OOMScoreAdjust=%d: oom-score-adj is %s" % (score, self.toml.get("oom-score-adj"))

    def sandbox(self):
        """It may only have become wider where segue needs it."""
        for name, more in (("RestrictAddressFamilies", {"AF_UNIX", "AF_NETLINK"}), ("ExecPaths", {"/usr/bin/segue"}),
                           ("CapabilityBoundingSet", {"cap_kill"}), ("SystemCallFilter", {"pidfd_getfd"})):
            before, after = set(words(self.before, name)), set(words(self.after, name))
            if (before ^ after) - more:
                yield "%s: %s became %s" % (name, self.before.get(name), self.after.get(name))
        root = self.before["User"] in ("", "root", "0")
        if root and "cap_kill" not in words(self.after, "CapabilityBoundingSet"):
            yield "segue runs as root without cap_kill, and could not signal an app that becomes another user"
        if words(self.before, "SystemCallFilter") and self.after["SystemCallErrorNumber"] in ("", "0", "2147483646"):
            if ("pidfd_getfd" in words(self.after, "SystemCallFilter")) == self.after["SystemCallFilter"].startswith("~"):
                yield "the kernel would kill segue as it takes a listener back (pidfd_getfd)"

    def said(self):
        """What no setting can carry has a note."""
        before = self.before
        statuses = ("RestartPreventExitStatus", "RestartForceExitStatus", "SuccessExitStatus")
        facts = {
            "ExecStartPre=": any(before.get(name) for name in ("ExecStartPre", "ExecStartPost", "ExecCondition")),
            "ExecStopPost=": bool(before.get("ExecStopPost")),
            "EnvironmentFile=": bool(before.get("EnvironmentFiles")),
            "SystemCallFilter=": bool(words(before, "SystemCallFilter")),
            "ExitStatus=": any(before.get(name) for name in statuses),
            "MemoryMax=": any(before.get(name) != "infinity" for name in ("MemoryMax", "MemoryHigh")) or self.tasks_are_limited(),
            "the security label": any(before.get(name) for name in ("AppArmorProfile", "SELinuxContext", "SmackProcessLabel")),
            "KillMode=": before["KillMode"] in ("process", "none"),
            "SendSIGKILL=": before["SendSIGKILL"] == "no",
            "set `listen`": not any(word.endswith(".socket") for word in words(before, "TriggeredBy")),
        }
        for text, is_so in facts.items():
            if self.noted(text) != is_so:
                yield "%s of %s" % ("no note" if is_so else "an untrue note", text)

    def tasks_are_limited(self):
        """Whether by the unit itself: systemd has a default, too."""
        return self.before["TasksMax"] not in ("infinity", self.before["DefaultTasksMax"])

    def rest(self):
        """All else is as it was."""
        judged = {"ExecStart", "ExecReload", "ExecStop", "ExecStopPost", "TimeoutStartUSec", "TimeoutStopUSec", "TimeoutAbortUSec", "RestartUSec",
                  "Environment", "RestrictAddressFamilies", "ExecPaths", "CapabilityBoundingSet", "SystemCallFilter"}
        judged |= {name + "Ex" for name in ("ExecStart", "ExecReload", "ExecStop", "ExecStopPost")}
        expected, lists = self.expected(), dict(self.lists())
        for name in sorted(self.before.keys() | self.after.keys()):
            before, after = self.before.get(name), self.after.get(name)
            if name in judged or OF_NO_ACCOUNT.search(name):
                continue
            if name in expected:
                if after != expected[name]:
                    yield "%s=%s, and expected was %s" % (name, after, expected[name])
            elif name in lists:
                old, new = set((before or "").split()), set((after or "").split())
                if old - new or not all(re.fullmatch(lists[name], word) for word in new - old):
                    yield "%s=%s became %s" % (name, before, after)
            elif sorted((before or "").split()) != sorted((after or "").split()):
                yield "%s=%s became %s" % (name, before, after)


def broken(unit, before, after, toml, notes):
    """All that is wrong with a unit that was carried."""
    rules = Rules(unit, before, after, toml, notes)
    for part in (rules.exec_lines, rules.times, rules.app, rules.sandbox, rules.said, rules.rest):
        yield from part()


def broken_socket(socket, before, after):
    """All that is wrong with its socket unit."""
    for name in sorted(before.keys() | after.keys()):
        if OF_NO_ACCOUNT.search(name) or name in ("Before", "RequiredBy") or sorted(words(before, name)) == sorted(words(after, name)):
            continue
        if name == "TriggerLimitIntervalUSec":
            if after[name] != "0":
                yield "%s: %s=%s" % (socket, name, after[name])
        elif before.get(name) != after.get(name):
            yield "%s: %s=%s became %s" % (socket, name, before.get(name), after.get(name))
