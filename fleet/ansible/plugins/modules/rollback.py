#!/usr/bin/python
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Bring an earlier release of an app under Segue back
description:
  - Points C(current) to an earlier release, reloads, and waits until it has passed its probation.
  - Nothing happens if that release serves already, so a task that names its release can be played again.
extends_documentation_fragment:
  - segue.fleet.instance
  - segue.fleet.instance.deploying
attributes:
  check_mode:
    support: full
    description: Says to which release it would go back.
  diff_mode:
    support: full
    description: Shows the release before and after.
options:
  release:
    description:
      - The release to bring back.
    type: str
  unwanted:
    description:
      - The digest of the version to leave. If it serves, the newest good release before it comes back; if it does not, nothing
        happens.
    type: str
  entry:
    description:
      - The executable within a release, if releases are directories.
    type: str
author:
  - The Segue authors (@segue)
seealso:
  - module: segue.fleet.deploy
  - module: segue.fleet.status
"""

EXAMPLES = r"""
- name: Bring a release back
  segue.fleet.rollback:
    name: shop
    release: 20261125-173155-f993bbbb

- name: Leave a version that turned out bad
  segue.fleet.rollback:
    name: shop
    unwanted: "{{ bad_sha256 }}"
"""

RETURN = r"""
outcome:
  description:
    - V(ok), an earlier release serves again; V(unchanged), there was nothing to do; V(would-roll-back), in check mode.
    - V(failed), V(rolled-back), V(refused), V(misused), V(no-supervisor), V(pending) and V(interrupted) are failures, as of
      M(segue.fleet.deploy).
  returned: always
  type: str
  sample: ok
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
release:
  description: The release that serves now, or null.
  returned: always
  type: str
previous_release:
  description: The release that served before, or null.
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
message:
  description: What C(segue deploy) has said for people. Its words may change.
  returned: when it ran
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.segue.fleet.plugins.module_utils.back import Back
from ansible_collections.segue.fleet.plugins.module_utils.deploying import OPTIONS
from ansible_collections.segue.fleet.plugins.module_utils.host import arguments, conclude


def main():
    module = AnsibleModule(
        argument_spec=arguments(
            release=dict(type="str"),
            unwanted=dict(type="str"),
            entry=dict(type="str"),
            **OPTIONS,
        ),
        required_one_of=[("release", "unwanted")],
        mutually_exclusive=[("release", "unwanted")],
        supports_check_mode=True,
    )
    result = dict(changed=False, outcome="refused", cause=None, reason=None, last_lines=[])
    conclude(module, result, lambda: go_back(module, result))


def go_back(module, result):
    """To the release that is wanted, or away from the version that is not."""
    back = Back(module, result)
    if module.params["release"]:
        back.to(module.params["release"])
    else:
        back.away_from(module.params["unwanted"], None)
    back.show_diff()


if __name__ == "__main__":
    main()
