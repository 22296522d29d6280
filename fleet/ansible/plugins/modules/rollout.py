#!/usr/bin/python
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: rollout
short_description: End a rollout on a host
description:
  - A rollout of M(segue.fleet.deploy) with O(segue.fleet.deploy#module:rollout=true) leaves a mark on each host, which says
    what served there before. This module takes the mark away, when the rollout has succeeded everywhere or has failed.
  - With O(state=reverted) the host first goes back to what served before the rollout. A host on which this rollout has changed
    nothing has no mark, and stays as it is even if it serves the same version.
extends_documentation_fragment:
  - segue.fleet.instance
  - segue.fleet.instance.deploying
attributes:
  check_mode:
    support: full
    description: Says whether the host would go back.
  diff_mode:
    support: full
    description: Shows the release before and after.
options:
  sha256:
    description:
      - The version that the rollout brings. Marks of other rollouts stay.
    type: str
    required: true
  state:
    description:
      - V(completed) keeps what serves, V(reverted) goes back to what served before.
    type: str
    choices: [completed, reverted]
    required: true
  entry:
    description:
      - The executable within a release, if releases are directories.
    type: str
author:
  - The Segue authors (@segue)
seealso:
  - module: segue.fleet.deploy
"""

EXAMPLES = r"""
- name: End the rollout, which has succeeded on every host
  segue.fleet.rollout:
    name: shop
    sha256: "{{ deployed.sha256 }}"
    state: completed

- name: Bring back what served before
  segue.fleet.rollout:
    name: shop
    sha256: "{{ deployed.sha256 }}"
    state: reverted
"""

RETURN = r"""
outcome:
  description:
    - V(unchanged), the rollout had changed nothing here; V(kept), its version stays; V(reverted), what served before serves again;
      V(would-revert), in check mode; V(nothing-before), its version stays, for it is the first one here.
    - V(failed), V(rolled-back), V(refused), V(misused), V(no-supervisor), V(pending) and V(interrupted) are failures, as of
      M(segue.fleet.deploy). The mark stays then.
  returned: always
  type: str
  sample: reverted
cause:
  description: The kind of failure, a code of segue-protocol(7), or null.
  returned: always
  type: str
reason:
  description: The failure in one line for people, or null.
  returned: always
  type: str
last_lines:
  description: The last lines that a version that failed has written to its standard error.
  returned: always
  type: list
  elements: str
state:
  description: What the instance is doing, as M(segue.fleet.status) returns it.
  returned: always
  type: str
version:
  description: The version of the supervisor, or null.
  returned: always
  type: str
release:
  description: The release that serves now, or null.
  returned: always
  type: str
previous_release:
  description: The release that served when the module began, or null.
  returned: always
  type: str
generation:
  description: The number of the generation that serves now, or null.
  returned: always
  type: int
serving:
  description: Who serves now, or null, as M(segue.fleet.status) returns it.
  returned: always
  type: dict
drains:
  description: The generations that drain.
  returned: always
  type: list
  elements: dict
restarts:
  description: Workers that were started again since the supervisor started, or null.
  returned: always
  type: int
rollbacks:
  description: Reloads that were rolled back since the supervisor started, or null.
  returned: always
  type: int
message:
  description: What C(segue deploy) has said for people. Its words may change.
  returned: when it ran
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.segue.fleet.plugins.module_utils.back import Back
from ansible_collections.segue.fleet.plugins.module_utils.deploying import OPTIONS
from ansible_collections.segue.fleet.plugins.module_utils.host import Mark, arguments, conclude

# What the outcome of going back is called here.
OUTCOMES = {"ok": "reverted", "would-roll-back": "would-revert", "unchanged": "unchanged"}


def main():
    module = AnsibleModule(
        argument_spec=arguments(
            sha256=dict(type="str", required=True),
            state=dict(type="str", choices=["completed", "reverted"], required=True),
            entry=dict(type="str"),
            **OPTIONS,
        ),
        supports_check_mode=True,
    )
    result = dict(changed=False, outcome="refused", cause=None, reason=None, last_lines=[])
    conclude(module, result, lambda: end(module, result))


def end(module, result):
    """End the rollout, if this host has its mark."""
    back = Back(module, result)
    result.update({key: back.before[key] for key in ("state", "version", "restarts", "rollbacks")})
    mark = Mark(back.host.root)
    said = mark.read()
    if said is None or said["sha256"] != module.params["sha256"]:
        result["outcome"] = "unchanged"
        return
    take_away = mark.remove
    if module.params["state"] == "completed":
        result["outcome"] = "kept"
    elif said.get("previous") is None:
        result["outcome"] = "nothing-before"
    else:
        back.away_from(said["sha256"], said["previous"])
        back.show_diff()
        result["outcome"] = OUTCOMES[result["outcome"]]
        if result["outcome"] == "unchanged":
            take_away = mark.withdraw
    if not module.check_mode:
        take_away()


if __name__ == "__main__":
    main()
