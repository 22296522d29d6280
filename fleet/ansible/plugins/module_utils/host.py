# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""One app on the host of a module: what serves, what lies in its releases, and the mark of a rollout.

All facts come from the JSON of segue, from exit codes and from the file system. Sentences of other programs are passed on for
people and never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import tempfile
import time

# Exit codes of `segue status`: a generation serves, none serves, nobody answers (segue(1)).
SERVES, SERVES_NOT, NOBODY = 0, 1, 3

# Seconds that `segue status` may take. It reads the binary for its digest, for 5 s at most, and counts connections.
STATUS_WAIT = 30

# Bytes that are read of a file at a time.
CHUNK = 1 << 20

# The mark of a rollout, in ROOT.
MARK = ".rollout"


class Trouble(Exception):
    """An attempt that failed, in one line: the attempt, then the cause."""


def arguments(**more):
    """The options of every module, with those of one."""
    spec = dict(
        name=dict(type="str", required=True),
        root=dict(type="path"),
        control=dict(type="path"),
        segue=dict(type="str", default="segue"),
    )
    spec.update(more)
    return spec


def digest(path, entry=None):
    """The SHA-256 of a file, or that of a tree as `segue deploy` counts it: names, contents, links, execute bits."""
    if not entry:
        return _of_file(path)
    lines = []
    for directory, names, files in os.walk(path):
        below = os.path.relpath(directory, path)
        place = "." if below == "." else "./" + below
        lines.append(place)
        for name in list(names):
            if os.path.islink(os.path.join(directory, name)):
                lines.append(_of_link(directory, place, name))
        for name in files:
            if place == "." and name == ".unproven":
                continue
            full, shown = os.path.join(directory, name), place + "/" + name
            if os.path.islink(full):
                lines.append(_of_link(directory, place, name))
            elif os.path.isfile(full):
                lines.append(_as_sha256sum_writes(_of_file(full), shown))
                if os.stat(full).st_mode & stat.S_IXUSR:
                    lines.append(shown)
    # A name with a line end in it counts as several lines, since anybody may compute the digest with find(1) and sort(1).
    encoded = sorted(os.fsencode("\n".join(lines)).split(b"\n"))
    return hashlib.sha256(b"".join(line + b"\n" for line in encoded)).hexdigest()


def _of_file(path):
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(CHUNK), b""):
            whole.update(part)
    return whole.hexdigest()


def _as_sha256sum_writes(sha256, name):
    """A line of sha256sum(1), which escapes such names and says so by a backslash before the line."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return "%s%s  %s" % ("\\" if escaped != name else "", sha256, escaped)


def _of_link(directory, place, name):
    return "%s/%s -> %s" % (place, name, os.readlink(os.path.join(directory, name)))


def conclude(module, result, act):
    """Act, and end the module with the result; what fails is told in one line."""
    try:
        act()
    except (Trouble, OSError) as trouble:
        result["reason"] = result["reason"] or str(trouble)
        module.fail_json(msg="%s: %s" % (module.params["name"], trouble), **result)
    module.exit_json(**result)


class Host:
    """An app on this host."""

    def __init__(self, module):
        params = module.params
        self.module = module
        self.name = params["name"]
        self.root = os.path.realpath(params["root"] or "/srv/" + self.name)
        self.control = params["control"]
        self.entry = params.get("entry")
        self.segue = params["segue"]
        if os.sep not in self.segue:
            self.segue = module.get_bin_path(self.segue, required=True)

    def target(self):
        """The words by which commands of segue find the instance."""
        return ["--control", self.control] if self.control else ["--name", self.name]

    def status(self):
        """The status of the instance, or None if no supervisor answers."""
        words = [self.segue, "status", "--json"] + self.target()
        try:
            done = subprocess.run(words, capture_output=True, timeout=STATUS_WAIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Trouble("ask who serves: %s" % error) from error
        if done.returncode == NOBODY:
            return None
        if done.returncode not in (SERVES, SERVES_NOT):
            raise Trouble("ask who serves: exit code %d: %s" % (done.returncode, last_line(done.stderr)))
        try:
            status = json.loads(done.stdout)
        except ValueError as error:
            raise Trouble("ask who serves: the status is no JSON: %s" % error) from error
        if "generations" not in status:
            raise Trouble("ask who serves: %s" % (status.get("reason") or last_line(done.stderr)))
        return status

    def facts(self, status):
        """What a status says, in the words that the modules return."""
        if status is None:
            return dict(serving=None, drains=[], state="no-supervisor", version=None, restarts=None, rollbacks=None, last_reload=None)
        generations = status["generations"]
        serving = [self._serving(one) for one in generations if one["role"] == "incumbent"]
        return dict(
            serving=serving[0] if serving and status["state"] != "backing-off" else None,
            drains=[self._drain(one) for one in generations if one["role"] == "retired"],
            state=status["state"],
            version=status["version"],
            restarts=status["restarts"],
            rollbacks=status["rollbacks"],
            last_reload=status["last_reload"],
        )

    def look(self, result):
        """Fill in who serves. All facts."""
        facts = self.facts(self.status())
        serving = facts["serving"]
        result.update(
            serving=serving,
            drains=facts["drains"],
            release=serving and serving["release"],
            generation=serving and serving["generation"],
        )
        return facts

    def _serving(self, generation):
        release = self.release_of(generation["binary"])
        return dict(
            generation=generation["generation"],
            release=release,
            sha256=self._digest_of(generation["binary"], release),
            since=generation["since"],
            probation=generation["probation"],
            pids=[worker["pid"] for worker in generation["workers"]],
        )

    def _drain(self, generation):
        workers = generation["workers"]
        counts = [worker["connections"] for worker in workers]
        return dict(
            generation=generation["generation"],
            release=self.release_of(generation["binary"]),
            since=generation["since"],
            pids=[worker["pid"] for worker in workers],
            connections=None if None in counts else sum(counts),
        )

    def release_of(self, binary):
        """The release that a binary lies in: by its path or, if the supervisor sees other paths than we do, by its inode."""
        releases = os.path.join(self.root, "releases")
        path = os.path.realpath(binary["path"])
        if path.startswith(releases + os.sep):
            return path[len(releases) + 1:].split(os.sep)[0]
        for release in self.releases():
            try:
                found = os.stat(os.path.join(releases, release, self.entry or self.name))
            except OSError:
                continue
            if found.st_ino == binary["inode"]:
                return release
        return None

    def releases(self):
        """The names of the releases, oldest first."""
        try:
            names = os.listdir(os.path.join(self.root, "releases"))
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def _digest_of(self, binary, release):
        """Of what serves; of the whole tree where that is what is deployed."""
        if release is None or not self.entry:
            return binary["sha256"]
        return self.digest_of_release(release)

    def digest_of_release(self, release):
        """Of what was deployed as that release, or None."""
        path = os.path.join(self.root, "releases", release)
        try:
            return digest(path, self.entry) if self.entry else digest(os.path.join(path, self.name))
        except OSError:
            return None

    def current(self):
        """The release to which `current` leads, or None."""
        link = os.path.join(self.root, "current")
        try:
            return os.path.basename(os.readlink(link))
        except OSError:
            return None


class Mark:
    """The mark of a rollout on this host, in the file ROOT/.rollout.

    It says which version the rollout brings, what served here before, and since when the new version has served. It is written
    before anything is changed and removed when the rollout has ended everywhere, so one that is found tells that a rollout is
    under way or was interrupted, and to which release this host goes back.

    One that takes the place of another holds that one's mark: nobody has vouched for the version of a rollout that has not
    ended, so no host goes back to it, and the mark comes back where the new version does not serve in the end.
    """

    def __init__(self, root):
        self.path = os.path.join(root, MARK)

    def read(self):
        """What it says, or None."""
        try:
            with open(self.path, encoding="utf-8") as file:
                said = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Trouble("read %s: %s" % (self.path, error)) from error
        if not isinstance(said, dict) or not isinstance(said.get("sha256"), str):
            raise Trouble("read %s: it is no mark of a rollout; remove it if none is under way" % self.path)
        return said

    def begin(self, sha256, here, supersede):
        """Write it, before anything is changed. Of two rollouts that do so at the same instant one is refused.

        `here` is the release to which `current` leads, and its digest.
        """
        there = self.read()
        said = dict(sha256=sha256, previous=_to_go_back_to(there, *here), begun=time.time(), since=None, superseded=None)
        if there is not None and there["sha256"] == sha256:
            said.update(begun=there.get("begun", said["begun"]), superseded=there.get("superseded"))
        elif there is not None:
            if not supersede:
                raise Trouble(busy(there))
            said["superseded"] = there
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            if there is None:
                self._put(said, os.link)
            else:
                self._put(said, os.replace)
        except FileExistsError as error:
            raise Trouble(busy(self.read() or said)) from error
        except OSError as error:
            raise Trouble("write %s: %s" % (self.path, error.strerror)) from error

    def serves(self):
        """Note that the new version serves from now on. Without a mark there is nothing to note."""
        said = self.read()
        if said is not None and said.get("since") is None:
            said["since"] = time.time()
            self._put(said, os.replace)

    def remove(self):
        """Take it away. True if it was there."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return False
        return True

    def withdraw(self):
        """Take it away where its version does not serve: a rollout that it took the place of has its mark again."""
        said = self.read()
        if said is not None and said.get("superseded"):
            self._put(said["superseded"], os.replace)
        else:
            self.remove()

    def _put(self, said, place):
        """Write a file beside it, whole, and then give it its name."""
        descriptor, beside = tempfile.mkstemp(prefix=MARK + ".", dir=os.path.dirname(self.path))
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(said, file)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            place(beside, self.path)
        finally:
            if os.path.exists(beside):
                os.unlink(beside)


def _to_go_back_to(there, release, sha256):
    """The release that is here; or, if a rollout that has not ended has brought it, the one that was here before that."""
    if there is None:
        return release
    unended, one = [], there
    while one:
        unended.append(one["sha256"])
        one = one.get("superseded")
    # A release that cannot be read is none to go back to.
    return there.get("previous") if sha256 is None or sha256 in unended else release


def shown(said):
    """A mark, in the words that the modules return."""
    if said is None:
        return None
    since = said.get("since")
    return dict(
        sha256=said["sha256"],
        previous=said.get("previous"),
        serving_for=None if since is None else max(0, int(time.time() - since)),
    )


def busy(said):
    """Why a rollout is refused where another one has left its mark."""
    minutes = int(max(0, time.time() - said.get("begun", 0)) / 60)
    return (
        "begin the rollout: another one, of the version %.8s, has begun here %d minutes ago and has not ended; "
        "wait for it, run it again to finish it, or supersede it (supersede: true)" % (said["sha256"], minutes)
    )


def last_line(text):
    """The last line of what a program has said, for people."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
