#!/usr/bin/python
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: deploy
short_description: Deploy a new version of an app that runs under Segue
description:
  - Copies a program to the host, puts it into a release of its own, reloads, and waits until the new version has passed its
    probation. If it does not, the version before serves on, and the task fails with the reason.
  - Nothing is copied and nothing is reloaded if the same bytes serve already.
  - The host needs C(segue), whose command C(segue deploy) does the work; the role P(segue.fleet.install#role) installs it.
extends_documentation_fragment:
  - segue.fleet.instance
  - segue.fleet.instance.deploying
attributes:
  check_mode:
    support: full
    description: Says what would be deployed, by comparing digests.
  diff_mode:
    support: full
    description: Shows release and digest before and after.
options:
  src:
    description:
      - The program, or with O(entry) the directory, on the controller.
      - Without it nothing is deployed. Then the result says whether the version O(sha256) serves.
    type: path
  remote_src:
    description:
      - Whether O(src) is on the host already.
    type: bool
    default: false
  entry:
    description:
      - Deploy a directory, whose executable is this path in it.
    type: str
  sha256:
    description:
      - The digest that O(src) must have. Without it that of O(src) is taken.
      - For a directory it is the one that this module returns.
    type: str
  reload:
    description:
      - Whether the app is reloaded. Set it to V(false) for the first release, before the service has been started.
    type: bool
    default: true
  preflight:
    description:
      - Arguments with which the new program is run first, on the host, such as V(--check). It is deployed only if that exits
        with 0.
    type: str
  preflight_command:
    description:
      - A command that C(/bin/sh) runs first in the directory of the copy, on the host, such as V(./manage.py check). It is
        deployed only if that exits with 0.
    type: str
  preflight_timeout:
    description:
      - Seconds that the preflight may take.
    type: int
    default: 30
  keep:
    description:
      - How many good releases stay on the host.
    type: int
    default: 5
  rollout:
    description:
      - Whether this is part of a rollout over several hosts. Then a mark stays on the host until M(segue.fleet.rollout) ends
        it, and a deploy of another version is refused meanwhile.
    type: bool
    default: false
  supersede:
    description:
      - Whether this rollout takes the place of one that has left its mark. The host still goes back to what served before that
        one, since nobody has vouched for its version.
    type: bool
    default: false
author:
  - The Segue authors (@segue)
seealso:
  - module: segue.fleet.rollback
  - module: segue.fleet.rollout
  - module: segue.fleet.status
"""

EXAMPLES = r"""
- name: Deploy a new version
  segue.fleet.deploy:
    name: shop
    src: build/shop

- name: Deploy a directory, after its own check
  segue.fleet.deploy:
    name: site
    src: build/site/
    entry: bin/start
    preflight: --check

- name: Put the first release in place
  segue.fleet.deploy:
    name: shop
    src: build/shop
    reload: false
"""

RETURN = r"""
outcome:
  description:
    - How it ended.
    - V(ok), the new version serves; V(unchanged), it served already; V(would-deploy), in check mode; V(placed), with
      O(reload=false).
    - V(failed), it did not take over, or crashed before any version was trusted; V(rolled-back), it crashed in its probation.
    - V(refused), it was not tried; V(preflight-failed), its preflight said no; V(misused), C(segue deploy) has not understood
      an option; V(no-supervisor), nobody is there to reload.
    - V(pending) and V(interrupted), the outcome is still to come; the next deploy resolves it.
  returned: always
  type: str
  sample: ok
cause:
  description: The kind of failure, a code of segue-protocol(7), or null.
  returned: always
  type: str
  sample: exited
reason:
  description: The failure in one line for people, or null.
  returned: always
  type: str
  sample: exited with status 3 after 4 ms
last_lines:
  description: The last lines that a version that failed has written to its standard error.
  returned: always
  type: list
  elements: str
release:
  description: The release that serves now, or null.
  returned: always
  type: str
  sample: 20261125-173202-068d3693
previous_release:
  description: The release that served before, or null.
  returned: always
  type: str
  sample: 20261125-173155-f993bbbb
generation:
  description: The number of the generation that serves now, or null.
  returned: always
  type: int
  sample: 4
sha256:
  description: The digest of what was to be deployed.
  returned: always
  type: str
serving:
  description: Who serves now, or null.
  returned: always
  type: dict
  contains:
    generation:
      description: Its number.
      type: int
    release:
      description: Its release.
      type: str
    sha256:
      description: Its digest.
      type: str
    since:
      description: Since when, in UTC.
      type: str
    probation:
      description: V(running) or V(passed).
      type: str
    pids:
      description: Its processes.
      type: list
      elements: int
drains:
  description: The generations that drain, each with its release, processes and open connections.
  returned: always
  type: list
  elements: dict
rollout:
  description: The mark of a rollout on this host, or null.
  returned: always
  type: dict
  contains:
    sha256:
      description: The version that it brings.
      type: str
    previous:
      description: The release to which this host goes back.
      type: str
    serving_for:
      description: Seconds since the new version serves here, or null.
      type: int
message:
  description: What C(segue deploy) has said for people. Its words may change.
  returned: when it ran
  type: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.segue.fleet.plugins.module_utils.deploying import DONE, OPEN, OPTIONS, deploy, failure
from ansible_collections.segue.fleet.plugins.module_utils.host import (
    Host, Mark, Trouble, arguments, busy, conclude, digest, shown,
)


def main():
    module = AnsibleModule(
        argument_spec=arguments(
            src=dict(type="path"),
            remote_src=dict(type="bool", default=False),
            entry=dict(type="str"),
            sha256=dict(type="str"),
            reload=dict(type="bool", default=True),
            preflight=dict(type="str"),
            preflight_command=dict(type="str"),
            preflight_timeout=dict(type="int", default=30),
            keep=dict(type="int", default=5),
            rollout=dict(type="bool", default=False),
            supersede=dict(type="bool", default=False),
            **OPTIONS,
        ),
        required_one_of=[("src", "sha256")],
        mutually_exclusive=[("preflight", "preflight_command")],
        supports_check_mode=True,
    )
    result = dict(changed=False, outcome="refused", cause=None, reason=None, last_lines=[])
    conclude(module, result, lambda: Deploy(module, result).run())


class Deploy:
    """One deploy, whose result is filled in as it goes."""

    def __init__(self, module, result):
        self.module = module
        self.params = module.params
        self.host = Host(module)
        self.mark = Mark(self.host.root)
        self.result = result

    def run(self):
        self.check_digest()
        before = self.look()
        self.result["previous_release"] = self.result["release"]
        self.check_mark()
        if self.is_there(before):
            self.already_there()
        elif self.module.check_mode or not self.params["src"]:
            self.result.update(changed=True, outcome="would-deploy")
        else:
            self.deploy(before)
        self.show_diff(before)

    def check_digest(self):
        """Know what is to be deployed, by its digest."""
        src, wanted = self.params["src"], self.params["sha256"]
        if src:
            found = digest(src, self.params["entry"])
            if wanted and found != wanted:
                raise Trouble("check %s: its SHA-256 is %s, not the expected %s" % (src, found, wanted))
            wanted = found
        self.result["sha256"] = wanted

    def look(self):
        """Fill in who serves."""
        facts = self.host.look(self.result)
        self.result["rollout"] = shown(self.mark.read())
        return facts

    def check_mark(self):
        """Leave the host alone while a rollout brings another version."""
        there = self.mark.read()
        if there is None or there["sha256"] == self.result["sha256"] or self.params["supersede"]:
            return
        raise Trouble(busy(there))

    def is_there(self, facts):
        """Whether what is to be deployed serves and has passed probation, or is in place where nothing is to be reloaded."""
        serving, wanted = facts["serving"], self.result["sha256"]
        if self.params["reload"]:
            return bool(serving) and serving["sha256"] == wanted and serving["release"] == self.host.current() and serving["probation"] == "passed"
        current = self.host.current()
        return current is not None and self.host.digest_of_release(current) == wanted

    def already_there(self):
        self.result["outcome"] = "unchanged"
        if not self.module.check_mode:
            self.forget_another()
            self.note_that_it_serves()

    def deploy(self, before):
        if self.params["rollout"]:
            self.mark.begin(self.result["sha256"], self.here(), self.params["supersede"])
        said = deploy(self.host, self.words())
        after = self.look()
        self.result["message"] = said["message"]
        self.result["changed"] = self.result["generation"] != (before["serving"] or {}).get("generation")
        if said["outcome"] in DONE:
            self.done(DONE[said["outcome"]])
        else:
            self.failed(said, after)

    def here(self):
        """The release to which `current` leads, and its digest."""
        current = self.host.current()
        return current, current and self.host.digest_of_release(current)

    def words(self):
        """The arguments of `segue deploy`."""
        params = self.params
        words = ["--keep", str(params["keep"])]
        if not params["reload"]:
            words.append("--no-reload")
        if params["preflight"]:
            words.append("--preflight=" + params["preflight"])
        if params["preflight_command"]:
            words.append("--preflight-command=" + params["preflight_command"])
        if params["preflight"] or params["preflight_command"]:
            words += ["--preflight-timeout", str(params["preflight_timeout"])]
        # Never taken for an option.
        source = os.path.join(os.curdir, params["src"]) if params["src"].startswith("-") else params["src"]
        return words + ["--sha256", self.result["sha256"], source]

    def done(self, outcome):
        self.result["outcome"] = outcome
        if outcome == "placed":
            self.result["changed"] = True
        else:
            self.note_that_it_serves()

    def forget_another(self):
        """The rollout whose place this one takes has changed nothing here, or nothing that lasted; nor has this one."""
        there = self.mark.read()
        if self.params["rollout"] and there is not None and there["sha256"] != self.result["sha256"]:
            self.mark.remove()

    def note_that_it_serves(self):
        """For the soak of a canary, and for the next run of a rollout that was interrupted here."""
        if self.params["rollout"]:
            self.mark.serves()
            self.result["rollout"] = shown(self.mark.read())

    def failed(self, said, after):
        """Say how it ended, and forget the rollout where the new version does not serve."""
        serving = after["serving"] or {}
        if self.params["rollout"] and said["outcome"] not in OPEN and serving.get("sha256") != self.result["sha256"]:
            self.mark.withdraw()
            self.result["rollout"] = shown(self.mark.read())
        raise failure(self.result, said)

    def show_diff(self, before):
        """What `--diff` prints."""
        serving = before["serving"] or dict(release=None, sha256=None)
        after = self.result["serving"] or serving
        if self.result["outcome"] == "would-deploy":
            after = dict(release="a new one", sha256=self.result["sha256"])
        self.result["diff"] = dict(before=describe(serving), after=describe(after))


def describe(serving):
    """A version, as `--diff` shows it."""
    return "release: %s\nsha256: %s\n" % (serving["release"], serving["sha256"])


if __name__ == "__main__":
    main()
