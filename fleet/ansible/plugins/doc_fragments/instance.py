# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The options that name an app on a host, in one place for all modules."""

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
