# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The options that name an app on a host, and those of its deploy script, in one place for all modules."""

from __future__ import annotations


class ModuleDocFragment:

    DOCUMENTATION = r"""
options:
  name:
    description:
      - The app. It is the name of its instance of Segue and of its file in a release.
    type: str
    required: true
  root:
    description:
      - The directory of its releases.
      - Without it C(/srv/NAME).
    type: path
  control:
    description:
      - The control socket of its supervisor, if that cannot be found by O(name).
    type: path
  segue:
    description:
      - The program C(segue) on the host.
    type: str
    default: segue
"""

    # For modules that call the deploy script.
    SCRIPT = r"""
options:
  timeout:
    description:
      - How long the outcome of a reload is waited for, as in V(90s); start, probe and probation lie in it.
    type: str
    default: 10m
  wait:
    description:
      - Seconds to wait for another deploy of this app on the same host.
    type: int
    default: 600
  deploy_command:
    description:
      - The deploy script and its first arguments.
      - Without it C(segue-deploy) is taken or, where that is not in the path, C(deploy.sh).
    type: list
    elements: str
"""
