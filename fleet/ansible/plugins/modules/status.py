#!/usr/bin/python
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: status
short_description: Tell what an app under Segue is doing
description:
  - Tells which release serves, which generations drain, how the last reload ended, and whether a rollout is under way.
  - It changes nothing, and a host on which no supervisor answers is no failure.
extends_documentation_fragment:
  - segue.fleet.instance
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
options:
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
- name: Ask who serves
  segue.fleet.status:
    name: shop
  register: shop

- name: Stop unless the app is trusted
  ansible.builtin.assert:
    that: shop.serving.probation == "passed"
"""

RETURN = r"""
state:
  description:
    - V(serving), V(starting), V(handing-off), V(backing-off) or V(stopping), as segue-protocol(7) has them; V(no-supervisor) where
      nobody answers.
  returned: always
  type: str
  sample: serving
version:
  description: The version of the supervisor, or null.
  returned: always
  type: str
  sample: 0.1.0
serving:
  description: Who serves, or null.
  returned: always
  type: dict
  contains:
    generation:
      description: Its number.
      type: int
    release:
      description: Its release, or null if it lies elsewhere.
      type: str
    sha256:
      description: Its digest, or null if it cannot be read.
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
current:
  description: The release to which C(current) leads, or null. It is what the next start runs.
  returned: always
  type: str
releases:
  description: All releases, newest first, as C(segue deploy --list) tells them.
  returned: always
  type: list
  elements: dict
  contains:
    release:
      description: Its name.
      type: str
    made:
      description: When it was made, in UTC.
      type: str
    sha256:
      description: The first digits of its digest.
      type: str
    bytes:
      description: Its size.
      type: int
    is_current:
      description: Whether C(current) leads to it.
      type: bool
    serves:
      description: The generation that runs it, or null.
      type: int
    unproven:
      description: Why it is none to go back to, or null.
      type: str
    image:
      description: The image that it runs, or null.
      type: str
last_reload:
  description: How the last reload ended, with the keys of segue-protocol(7), or null.
  returned: always
  type: dict
restarts:
  description: Workers that were started again since the supervisor started, or null.
  returned: always
  type: int
rollbacks:
  description: Reloads that were rolled back since the supervisor started, or null.
  returned: always
  type: int
rollout:
  description: The mark of a rollout on this host, or null, as M(segue.fleet.deploy) returns it.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.segue.fleet.plugins.module_utils.deploying import releases
from ansible_collections.segue.fleet.plugins.module_utils.host import Host, Mark, Trouble, arguments, shown


def main():
    module = AnsibleModule(argument_spec=arguments(entry=dict(type="str")), supports_check_mode=True)
    try:
        host = Host(module)
        facts = host.facts(host.status())
        # Before the first deploy there is nothing to list, and perhaps no place for it.
        listed = releases(host) if host.releases() else []
        facts.update(current=host.current(), releases=listed, rollout=shown(Mark(host.root).read()))
    except (Trouble, OSError) as trouble:
        module.fail_json(msg="%s: %s" % (module.params["name"], trouble))
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
