# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

import json

import pytest
from ansible_collections.segue.fleet.plugins.module_utils.host import digest
from ansible_collections.segue.fleet.plugins.modules import rollback, rollout

OLD, NEW = "20261125-173155-11111111", "20261125-173202-22222222"


@pytest.fixture
def shop(fleet):
    """A host on which the new release serves, in a rollout."""
    fleet.old, fleet.new = fleet.release(OLD, "old"), fleet.release(NEW, "new")
    fleet.current(NEW)
    fleet.status(fleet.new, generation=2)
    fleet.sha256 = digest(str(fleet.new))
    fleet.mark = fleet.root / ".rollout"
    fleet.mark.write_text(json.dumps(dict(sha256=fleet.sha256, previous=OLD, begun=0, since=1)))
    return fleet


def test_a_release_is_brought_back_once(shop):
    shop.serves_then(shop.old, generation=3)
    result = shop.play(rollback, release=OLD)
    assert (result["changed"], result["outcome"], result["release"], result["previous_release"]) == (True, "ok", OLD, NEW)
    assert "--rollback=" + OLD in shop.arguments()
    shop.forget_arguments()
    assert shop.play(rollback, release=OLD)["outcome"] == "unchanged"
    assert shop.arguments() is None


def test_only_the_unwanted_version_is_left(shop):
    assert shop.play(rollback, unwanted="0" * 64)["outcome"] == "unchanged"
    assert shop.arguments() is None
    shop.serves_then(shop.old, generation=3)
    assert shop.play(rollback, unwanted=shop.sha256)["outcome"] == "ok"
    assert "--rollback" in shop.arguments()


def test_check_mode_rolls_nothing_back(shop):
    result = shop.play(rollback, check=True, release=OLD)
    assert (result["changed"], result["outcome"]) == (True, "would-roll-back")
    result = shop.play(rollout, check=True, sha256=shop.sha256, state="reverted")
    assert (result["changed"], result["outcome"]) == (True, "would-revert")
    assert shop.arguments() is None and shop.mark.exists()


def test_a_rollback_that_fails_says_why(shop):
    shop.serves_then(shop.new, outcome="failed", told=dict(cause="not-ready", reason="not ready in time", lines=["waiting"]))
    result = shop.play(rollback, release=OLD)
    assert result["failed"] and (result["outcome"], result["cause"], result["reason"]) == ("failed", "not-ready", "not ready in time")
    assert result["last_lines"] == ["waiting"] and result["release"] == NEW


def test_a_rollout_is_reverted_to_what_served_before(shop):
    shop.serves_then(shop.old, generation=3)
    result = shop.play(rollout, sha256=shop.sha256, state="reverted")
    assert (result["changed"], result["outcome"], result["release"]) == (True, "reverted", OLD)
    assert "--rollback=" + OLD in shop.arguments() and not shop.mark.exists()


def test_a_completed_rollout_keeps_its_version(shop):
    result = shop.play(rollout, sha256=shop.sha256, state="completed")
    assert (result["changed"], result["outcome"], result["release"]) == (False, "kept", NEW)
    assert shop.arguments() is None and not shop.mark.exists()


def test_a_host_that_had_the_version_before_keeps_it(shop):
    """It has no mark: an ordinary run must never bring a whole fleet back for one bad host."""
    shop.mark.unlink()
    assert shop.play(rollout, sha256=shop.sha256, state="reverted")["outcome"] == "unchanged"
    assert shop.arguments() is None


def test_the_mark_of_another_rollout_stays(shop):
    assert shop.play(rollout, sha256="0" * 64, state="reverted")["outcome"] == "unchanged"
    assert shop.mark.exists()


def test_a_rollout_that_never_served_gives_the_mark_back_to_the_one_whose_place_it_took(shop):
    before = json.loads(shop.mark.read_text())
    shop.mark.write_text(json.dumps(dict(sha256="0" * 64, previous=OLD, begun=0, since=None, superseded=before)))
    assert shop.play(rollout, sha256="0" * 64, state="reverted")["outcome"] == "unchanged"
    assert json.loads(shop.mark.read_text()) == before and shop.arguments() is None
    shop.mark.write_text(json.dumps(dict(sha256="0" * 64, previous=OLD, begun=0, since=None, superseded=before)))
    assert shop.play(rollout, sha256="0" * 64, state="completed")["outcome"] == "kept"
    assert not shop.mark.exists()


def test_the_first_version_of_a_host_has_nothing_to_go_back_to(shop):
    shop.mark.write_text(json.dumps(dict(sha256=shop.sha256, previous=None, begun=0, since=1)))
    assert shop.play(rollout, sha256=shop.sha256, state="reverted")["outcome"] == "nothing-before"
    assert shop.arguments() is None and not shop.mark.exists()


def test_a_host_that_could_not_be_reverted_keeps_the_mark(shop):
    shop.serves_then(shop.new, outcome="pending")
    result = shop.play(rollout, sha256=shop.sha256, state="reverted")
    assert result["failed"] and result["outcome"] == "pending" and shop.mark.exists()


def test_a_host_whose_next_start_would_run_the_version_is_reverted(shop):
    """The supervisor is gone: nobody serves, but `current` leads to the version that is to go."""
    (shop.path / "segue.status").unlink()
    shop.serves_then(shop.old, generation=1)
    result = shop.play(rollout, sha256=shop.sha256, state="reverted")
    assert result["outcome"] == "reverted"
