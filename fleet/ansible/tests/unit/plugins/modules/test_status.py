# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.segue.fleet.plugins.modules import status

OLD = "20261125-173155-11111111"


def test_who_serves_and_who_drains(fleet):
    old = fleet.release(OLD, "old")
    fleet.current(OLD)
    fleet.status(old, generation=4, drains=[3])
    row = dict(release=OLD, is_current=True, serves=4, unproven=None)
    fleet.lists(json.dumps([row]))
    result = fleet.play(status)
    assert not result["changed"] and result["state"] == "serving" and result["current"] == OLD
    assert (result["serving"]["generation"], result["serving"]["release"], result["serving"]["pids"]) == (4, OLD, [1004])
    assert [(drain["generation"], drain["connections"]) for drain in result["drains"]] == [(3, 3)]
    assert result["releases"] == [row] and result["rollout"] is None


def test_a_host_without_a_supervisor_is_no_failure(fleet):
    result = fleet.play(status)
    assert "failed" not in result
    assert (result["state"], result["serving"], result["current"], result["releases"]) == ("no-supervisor", None, None, [])


def test_an_app_that_backs_off_does_not_serve(fleet):
    old = fleet.release(OLD, "old")
    fleet.lists("[]")
    fleet.status(old, code=1, state="backing-off")
    assert fleet.play(status)["serving"] is None


def test_a_release_is_known_by_its_inode_where_the_supervisor_sees_another_path(fleet):
    old = fleet.release(OLD, "old")
    elsewhere = fleet.path / "elsewhere"
    os.link(old, elsewhere)
    fleet.lists("[]")
    fleet.status(elsewhere)
    assert fleet.play(status)["serving"]["release"] == OLD


def test_what_runs_from_elsewhere_is_no_release(fleet):
    other = fleet.path / "other"
    other.write_text("other")
    fleet.status(other)
    result = fleet.play(status)
    assert result["serving"]["release"] is None and result["serving"]["generation"] == 1


@pytest.mark.parametrize("text, words", [("a list", "before it said how"), ('{"message": "cannot enter it"}', "cannot enter it")])
def test_a_list_that_is_none_is_told(fleet, text, words):
    fleet.release(OLD, "old")
    fleet.lists(text)
    result = fleet.play(status)
    assert result["failed"] and "list the releases" in result["msg"] and words in result["msg"]
