# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

import json

import pytest
from ansible_collections.segue.fleet.plugins.module_utils.host import digest
from ansible_collections.segue.fleet.plugins.modules import deploy

from tests.unit.conftest import said

OLD, NEW = "20261125-173155-11111111", "20261125-173202-22222222"
BAD = "20261125-173159-33333333"


@pytest.fixture
def shop(fleet):
    """A host on which the old release serves, and a new program beside it."""
    fleet.old = fleet.release(OLD, "old")
    fleet.current(OLD)
    fleet.status(fleet.old)
    fleet.new = fleet.path / "new"
    fleet.new.write_text("new")
    return fleet


def deployed(shop):
    """The new program as a release, as a deploy would make it."""
    return shop.release(NEW, "new")


def test_a_new_version_is_deployed_and_told_with_its_release(shop):
    shop.serves_then(deployed(shop))
    result = shop.play(deploy, src=str(shop.new), preflight="--check")
    assert "failed" not in result
    assert (result["changed"], result["outcome"], result["release"], result["generation"]) == (True, "ok", NEW, 2)
    assert result["previous_release"] == OLD
    assert result["sha256"] == result["serving"]["sha256"] == digest(str(shop.new))
    words = shop.arguments()
    assert "--wait=600" in words and "--preflight=--check" in words
    assert words[words.index("--sha256") + 1] == result["sha256"]
    assert OLD in result["diff"]["before"] and NEW in result["diff"]["after"]


def test_the_same_bytes_are_left_alone(shop):
    shop.new.write_text("old")
    result = shop.play(deploy, src=str(shop.new))
    assert (result["changed"], result["outcome"], result["release"]) == (False, "unchanged", OLD)
    assert shop.arguments() is None


def test_the_same_bytes_on_probation_are_waited_for(shop):
    """It resolves what an interrupted deploy has left."""
    shop.new.write_text("old")
    shop.status(shop.old, probation="running")
    shop.serves_then(shop.old, generation=1, outcome="already-serves")
    result = shop.play(deploy, src=str(shop.new))
    assert (result["changed"], result["outcome"]) == (False, "unchanged")
    assert shop.arguments() is not None


def test_check_mode_says_what_would_be_and_does_nothing(shop):
    result = shop.play(deploy, check=True, src=str(shop.new), rollout=True)
    assert (result["changed"], result["outcome"]) == (True, "would-deploy")
    assert shop.arguments() is None and not (shop.root / ".rollout").exists()
    assert digest(str(shop.new)) in result["diff"]["after"]


def test_a_digest_alone_asks(shop):
    assert shop.play(deploy, sha256="0" * 64)["outcome"] == "would-deploy"
    assert shop.play(deploy, sha256=digest(str(shop.old)))["outcome"] == "unchanged"
    assert shop.arguments() is None


def test_another_digest_than_the_expected_is_refused(shop):
    result = shop.play(deploy, src=str(shop.new), sha256="0" * 64)
    assert result["failed"] and result["outcome"] == "refused" and "not the expected" in result["msg"]
    assert shop.arguments() is None


def test_a_version_that_fails_is_told_by_code_and_reason(shop):
    bad = dict(cause="exited", reason="exited with status 3", lines=["no database"])
    shop.serves_then(shop.old, generation=1, outcome="failed", told=bad)
    result = shop.play(deploy, src=str(shop.new), rollout=True)
    assert result["failed"] and not result["changed"]
    assert (result["outcome"], result["cause"], result["reason"]) == ("failed", "exited", "exited with status 3")
    assert result["last_lines"] == ["no database"] and result["release"] == OLD
    assert not (shop.root / ".rollout").exists(), "nothing of the rollout is on this host"


def test_a_rollback_in_probation_changes_the_generation(shop):
    shop.serves_then(shop.old, generation=3, outcome="rolled-back", told=dict(cause="exited", reason="crashed"))
    result = shop.play(deploy, src=str(shop.new))
    assert result["failed"] and result["changed"]
    assert (result["outcome"], result["release"], result["generation"]) == ("rolled-back", OLD, 3)


FAILURES = ["refused", "misused", "preflight-failed", "failed", "rolled-back", "no-supervisor", "pending", "interrupted"]


@pytest.mark.parametrize("outcome", FAILURES)
def test_every_outcome_of_a_failure_is_handed_on(shop, outcome):
    shop.serves_then(shop.old, generation=1, outcome=outcome)
    result = shop.play(deploy, src=str(shop.new), rollout=True)
    assert result["failed"] and (result["outcome"], result["cause"], result["reason"]) == (outcome, None, "words for people")
    keeps_its_mark = (shop.root / ".rollout").exists()
    assert keeps_its_mark == (outcome in ("pending", "interrupted"))
    if keeps_its_mark:
        assert mark_of(shop)["previous"] == OLD


@pytest.mark.parametrize("acts, is_known, outcome, words", [
    ("kill -9 $$", True, "interrupted", "before it said how"),
    ("echo '[1]'; exit 1", True, "interrupted", "before it said how"),
    ("echo 'no such option' >&2; exit 2", True, "misused", "no such option"),
    ("echo 'no such command' >&2; exit 2", False, "misused", "has no deploy"),
])
def test_a_deploy_that_says_no_outcome_has_one(shop, acts, is_known, outcome, words):
    shop.acts(acts)
    shop.knows_deploy(is_known)
    result = shop.play(deploy, src=str(shop.new), rollout=True)
    assert result["failed"] and result["outcome"] == outcome and words in result["msg"]
    assert (shop.root / ".rollout").exists() == (outcome == "interrupted")


def test_preflights_and_times_are_handed_on(shop):
    shop.serves_then(deployed(shop))
    shop.play(deploy, src=str(shop.new), preflight_command="./manage.py check", preflight_timeout=7, supervisor_timeout=8, timeout="9s")
    words = shop.arguments()
    assert "--preflight-command=./manage.py check" in words
    options = [words[words.index(name) + 1] for name in ("--preflight-timeout", "--supervisor-timeout", "--timeout")]
    assert options == ["7", "8", "9s"]


def test_a_rollout_leaves_its_mark_and_refuses_another(shop):
    new = deployed(shop)
    shop.serves_then(new)
    result = shop.play(deploy, src=str(shop.new), rollout=True)
    assert result["rollout"]["previous"] == OLD and result["rollout"]["serving_for"] >= 0
    other = shop.path / "other"
    other.write_text("other")
    for more in [{}, dict(rollout=True)]:
        result = shop.play(deploy, src=str(other), **more)
        assert result["failed"] and result["outcome"] == "refused" and "supersede" in result["msg"]
    result = shop.play(deploy, check=True, src=str(other), rollout=True, supersede=True)
    assert result["outcome"] == "would-deploy"


def test_an_interrupted_rollout_goes_on(shop):
    """It was killed behind the flip, before it could note since when the version serves."""
    new = deployed(shop)
    mark = dict(sha256=digest(str(new)), previous=OLD, begun=0, since=None)
    (shop.root / ".rollout").write_text(json.dumps(mark))
    shop.current(NEW)
    shop.status(new, generation=2)
    result = shop.play(deploy, sha256=digest(str(new)), rollout=True)
    assert result["outcome"] == "unchanged" and result["rollout"]["previous"] == OLD
    assert result["rollout"]["serving_for"] is not None


def interrupted(shop):
    """A rollout of a version `bad` was interrupted behind the flip: it serves, and is on probation."""
    bad = shop.release(BAD, "bad")
    mark = dict(sha256=digest(str(bad)), previous=OLD, begun=7, since=None)
    (shop.root / ".rollout").write_text(json.dumps(mark))
    shop.current(BAD)
    shop.status(bad, generation=2, probation="running")
    return bad, mark


def mark_of(shop):
    return json.loads((shop.root / ".rollout").read_text())


def test_an_interrupted_rollout_that_is_played_again_goes_back_to_what_served_before(shop):
    bad, before = interrupted(shop)
    shop.serves_then(bad, probation="running", outcome="pending")
    assert shop.play(deploy, src=str(bad), rollout=True)["outcome"] == "pending"
    assert mark_of(shop) == dict(before, superseded=None)
    shop.serves_then(bad, outcome="already-serves")
    result = shop.play(deploy, src=str(bad), rollout=True)
    assert result["outcome"] == "unchanged" and result["rollout"]["previous"] == OLD
    assert mark_of(shop)["begun"] == 7


def test_what_was_put_in_place_since_an_interruption_is_gone_back_to(shop):
    bad = interrupted(shop)[0]
    shop.serves_then(bad, generation=4)
    by_hand = shop.release("20261125-173300-44444444", "by hand")
    shop.current(by_hand.parent.name)
    shop.status(by_hand, generation=3)
    result = shop.play(deploy, src=str(bad), rollout=True)
    assert result["outcome"] == "ok" and result["rollout"]["previous"] == by_hand.parent.name


def test_a_rollout_that_takes_the_place_of_another_goes_back_to_what_served_before_both(shop):
    interrupted(shop)
    new = deployed(shop)
    shop.serves_then(new, generation=3)
    result = shop.play(deploy, src=str(shop.new), rollout=True, supersede=True)
    assert result["outcome"] == "ok" and result["rollout"]["previous"] == OLD and mark_of(shop)["begun"] > 7


def test_it_does_so_although_it_was_itself_interrupted_before_the_flip(shop):
    bad = interrupted(shop)[0]
    shop.serves_then(bad, outcome="pending", probation="running")
    for supersede in [True, False]:
        shop.play(deploy, src=str(shop.new), rollout=True, supersede=supersede)
        assert (mark_of(shop)["sha256"], mark_of(shop)["previous"]) == (digest(str(shop.new)), OLD)


def test_where_it_fails_the_mark_of_the_other_comes_back(shop):
    """Its version serves here, and the host must still be able to leave it."""
    bad, before = interrupted(shop)
    shop.serves_then(bad, generation=4, outcome="rolled-back")
    result = shop.play(deploy, src=str(shop.new), rollout=True, supersede=True)
    assert result["outcome"] == "rolled-back" and result["rollout"]["sha256"] == before["sha256"]
    assert mark_of(shop) == before


def test_where_it_is_there_already_the_mark_of_the_other_goes(shop):
    """The one before comes back everywhere: a host that has never left it has nothing to go back to."""
    bad = interrupted(shop)[0]
    shop.current(OLD)
    shop.status(shop.old)
    result = shop.play(deploy, src=str(shop.old), rollout=True, supersede=True)
    assert result["outcome"] == "unchanged" and result["rollout"] is None
    assert not (shop.root / ".rollout").exists() and bad.exists()


def test_of_two_rollouts_at_the_same_instant_one_is_refused(shop, monkeypatch):
    mark = deploy.Mark(str(shop.root))
    mark.begin("1" * 64, (OLD, "0" * 64), False)
    monkeypatch.setattr(deploy.Mark, "read", lambda self: None)
    with pytest.raises(deploy.Trouble):
        mark.begin("2" * 64, (OLD, "0" * 64), False)
    assert sorted(path.name for path in shop.root.iterdir() if path.name.startswith(".rollout")) == [".rollout"]


def test_the_first_release_is_placed_without_a_supervisor(fleet):
    new = fleet.path / "new"
    new.write_text("new")
    release = fleet.release(NEW, "new")
    fleet.acts("ln -s releases/%s %s/current; echo '%s'" % (NEW, fleet.root, json.dumps(said("in-place"))))
    result = fleet.play(deploy, src=str(new), reload=False)
    assert (result["changed"], result["outcome"], result["release"]) == (True, "placed", None)
    assert "--no-reload" in fleet.arguments()
    fleet.forget_arguments()
    assert fleet.play(deploy, src=str(new), reload=False)["outcome"] == "unchanged"
    assert fleet.arguments() is None and release.exists()


def test_a_status_that_makes_no_sense_is_told(shop):
    (shop.path / "segue.status").write_text("app: serving")
    result = shop.play(deploy, src=str(shop.new))
    assert result["failed"] and "the status is no JSON" in result["msg"]
    (shop.path / "segue.status").write_text(json.dumps({"outcome": "failed", "reason": "permission denied"}))
    result = shop.play(deploy, src=str(shop.new))
    assert result["failed"] and result["msg"].endswith("ask who serves: permission denied")


def test_a_mark_that_makes_no_sense_is_told(shop):
    (shop.root / ".rollout").write_text("[1]")
    result = shop.play(deploy, src=str(shop.new), rollout=True)
    assert result["failed"] and "no mark of a rollout" in result["msg"]
