# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Going back to an earlier release, for the modules rollback and rollout."""

from __future__ import annotations

from ansible_collections.segue.fleet.plugins.module_utils.deploying import DONE, deploy, failure
from ansible_collections.segue.fleet.plugins.module_utils.host import Host


class Back:
    """One way back, whose result is filled in as it goes."""

    def __init__(self, module, result):
        self.module = module
        self.host = Host(module)
        self.result = result
        self.before = self.host.look(result)
        result["previous_release"] = result["release"]

    def to(self, release):
        """Bring a release back, unless it serves."""
        if self.result["release"] == release == self.host.current():
            self.result["outcome"] = "unchanged"
        else:
            self._go(release)

    def away_from(self, sha256, release):
        """Leave a version, if it serves or is what the next start would run: for a release, or for the newest good one before."""
        current = self.host.current()
        serving = self.before["serving"] or {}
        leads_there = current is not None and self.host.digest_of_release(current) == sha256
        if serving.get("sha256") == sha256 or leads_there:
            self._go(release)
        else:
            self.result["outcome"] = "unchanged"

    def _go(self, release):
        if self.module.check_mode:
            self.result.update(changed=True, outcome="would-roll-back")
            return
        said = deploy(self.host, ["--rollback" + ("=" + release if release else "")])
        self.host.look(self.result)
        self.result.update(message=said["message"], changed=self.result["release"] != self.result["previous_release"])
        if said["outcome"] not in DONE:
            raise failure(self.result, said)
        self.result["outcome"] = DONE[said["outcome"]]

    def show_diff(self):
        """What `--diff` prints."""
        after = self.result["release"]
        if self.result["outcome"] == "would-roll-back":
            after = self.module.params.get("release") or "the one before"
        self.result["diff"] = dict(before="release: %s\n" % self.result["previous_release"], after="release: %s\n" % after)
