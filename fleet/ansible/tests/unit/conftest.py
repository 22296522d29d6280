# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A host for the modules: a directory with releases, and a `segue` that says what a test wants."""

from __future__ import annotations

import json
import os

import pytest
from ansible.module_utils import basic

# Its status is the one that the test has written; without one no supervisor answers. Its deploy notes the arguments, and plays
# what the test has written for it.
SEGUE = """#!/bin/sh
case "$*" in
    status*)
        [ -f "$0.status" ] || exit 3
        cat "$0.status"
        exit "$(cat "$0.code")"
        ;;
    'deploy --help') exit "$(cat "$0.help")" ;;
    *--list*) cat "$0.list" ;;
    *)
        printf '%s\\n' "$@" >"$0.arguments"
        . "$0.acts"
        ;;
esac
"""


class Ended(Exception):
    """How a module ended, with its result."""

    def __init__(self, result):
        super().__init__(result)
        self.result = result


class Fleet:
    """One host, and the modules that run on it."""

    def __init__(self, path):
        self.path = path
        self.root = path / "root"
        (self.root / "releases").mkdir(parents=True)
        self.segue = path / "segue"
        self.segue.write_text(SEGUE)
        self.segue.chmod(0o755)
        self.knows_deploy(True)
        self.acts("exit 0")

    def knows_deploy(self, is_known):
        """Whether it has the command."""
        (self.path / "segue.help").write_text("0" if is_known else "2")

    def lists(self, text):
        """What `segue deploy --list --json` prints."""
        (self.path / "segue.list").write_text(text)

    def release(self, name, content):
        """A release on the host."""
        place = self.root / "releases" / name
        place.mkdir()
        (place / "shop").write_text(content)
        return place / "shop"

    def current(self, name):
        """Let `current` lead to a release."""
        link = self.root / "current"
        link.unlink(missing_ok=True)
        link.symlink_to("releases/" + name)

    def status(self, file, code=0, generation=1, **more):
        """What `segue status` says from now on: this file serves."""
        text = json.dumps(status(file, generation, **more))
        (self.path / "segue.status").write_text(text)
        (self.path / "segue.code").write_text(str(code))
        return text

    def acts(self, shell):
        """What a deploy does."""
        (self.path / "segue.acts").write_text(shell + "\n")

    def serves_then(self, file, generation=2, outcome="ok", told=None, **more):
        """Let a deploy end so, and the status say this from then on."""
        (self.path / "next").write_text(json.dumps(status(file, generation, **more)))
        (self.path / "said").write_text(json.dumps(said(outcome, **told or {})))
        current = os.path.basename(os.path.dirname(file))
        flip = "ln -sfn releases/%s %s/current" % (current, self.root)
        self.acts("%s; cp %s/next %s/segue.status; echo 'deploy: words for people' >&2; cat %s/said" % (flip, *[self.path] * 3))

    def arguments(self):
        """The arguments of the deploy, or None if there was none."""
        noted = self.path / "segue.arguments"
        return noted.read_text().splitlines() if noted.exists() else None

    def forget_arguments(self):
        """As if nothing had been deployed yet."""
        (self.path / "segue.arguments").unlink()

    def play(self, module, check=False, **params):
        """Run a module. Its result, with `failed` as Ansible adds it."""
        given = dict(dict(name="shop", root=str(self.root), segue=str(self.segue)), **params)
        given.update(_ansible_check_mode=check, _ansible_remote_tmp=str(self.path), _ansible_keep_remote_files=False)
        basic._ANSIBLE_ARGS = json.dumps(dict(ANSIBLE_MODULE_ARGS=given)).encode()
        basic._ANSIBLE_PROFILE = "legacy"
        try:
            module.main()
        except Ended as ended:
            return ended.result
        raise AssertionError("the module did not say how it ended")


def status(file, generation=1, probation="passed", drains=(), last_reload=None, state="serving"):
    """A status of Segue in which this file serves."""
    def one(number, role, binary):
        return dict(
            generation=number,
            role=role,
            since="2026-11-25T17:32:02.000Z",
            probation=probation,
            workers=[dict(pid=1000 + number, state="serving", since="2026-11-25T17:32:02.000Z", connections=3, status=None)],
            strays=0,
            binary=dict(path=str(binary), inode=os.stat(binary).st_ino, sha256=digest_of(binary)),
            replaced=None,
        )

    generations = [one(generation, "incumbent", file)]
    generations += [one(number, "retired", file) for number in drains]
    return dict(
        schema=1, name="shop", pid=1, since="2026-11-25T17:32:02.000Z", version="0.1.0", state=state, generation=generation,
        listeners=[], generations=generations, last_reload=last_reload, last_crash=None, restarts=0, rollbacks=0, oom_kills=0,
    )


def said(outcome, cause=None, reason=None, lines=()):
    """What a deploy says of itself, with the keys that the modules read."""
    return dict(outcome=outcome, cause=cause, reason=reason, last_lines=list(lines), message="words for people")


def digest_of(path):
    from ansible_collections.segue.fleet.plugins.module_utils.host import digest

    return digest(str(path))


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    def end(_module, **result):
        raise Ended(result)

    def fail(_module, msg, **result):
        raise Ended(dict(result, failed=True, msg=msg))

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", end)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", fail)
    return Fleet(tmp_path)
