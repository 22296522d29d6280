# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The digest of a tree is the one that `segue deploy` counts."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.segue.fleet.plugins.module_utils.host import digest

SEGUE = os.environ.get("SEGUE") or shutil.which("segue")


@pytest.fixture
def tree(tmp_path):
    source = tmp_path / "tree"
    (source / "bin").mkdir(parents=True)
    (source / "empty").mkdir()
    start = source / "bin" / "start"
    start.write_text("#!/bin/sh\n")
    start.chmod(0o755)
    (source / "names with spaces").write_text("x")
    # As sha256sum(1) escapes them.
    for name in ["back\\slash", "line\nend", "carriage\rreturn"]:
        (source / name).write_text(name)
        (source / name).chmod(0o755)
    (source / "link").symlink_to("bin/start")
    (source / "lib").symlink_to("bin")
    return source


@pytest.mark.skipif(not SEGUE, reason="there is no segue: neither in the path nor in the variable SEGUE")
def test_it_is_that_of_segue(tree, tmp_path):
    words = ["--no-reload", "--name", "site", "--root", str(tmp_path / "root"), "--control", str(tmp_path / "none"), "--entry", "bin/start"]
    found = digest(str(tree), "bin/start")
    done = subprocess.run([SEGUE, "deploy", *words, "--sha256", found, str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    release, = (name for name in os.listdir(tmp_path / "root" / "releases") if not name.startswith("."))
    assert digest(str(tmp_path / "root" / "releases" / release), "bin/start") == found


def test_each_part_of_a_tree_counts(tree):
    seen = {digest(str(tree), "bin/start")}
    for change in [
        lambda: (tree / "bin" / "start").write_text("#!/bin/sh\n\n"),
        lambda: (tree / "bin" / "start").chmod(0o644),
        (tree / "more").mkdir,
        lambda: (tree / "names with spaces").rename(tree / "other name"),
        lambda: ((tree / "link").unlink(), (tree / "link").symlink_to("lib/start")),
    ]:
        change()
        seen.add(digest(str(tree), "bin/start"))
    assert len(seen) == 6


def test_the_mark_of_a_release_does_not_count(tree):
    before = digest(str(tree), "bin/start")
    (tree / ".unproven").write_text("")
    assert digest(str(tree), "bin/start") == before
