# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The options that name an app on a host, and those of a deploy, in one place for all modules."""

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
      - The program C(segue) on the host, by its path if it is not in the path of commands.
    type: str
    default: segue
"""

    # For modules that call `segue deploy`.
    DEPLOYING = r"""
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
  supervisor_timeout:
    description:
      - Seconds that a supervisor which goes away during the deploy is given to come back.
    type: int
    default: 60
"""
