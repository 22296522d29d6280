# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Rolling deploys over eight machines with a systemd and an sshd each, while clients ask through HAProxy.

Each scene states what the play says, what every host answers afterwards, and that no request was lost.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil

import pytest
from fleet import APP, PLAY_WAIT, Clients, kill_all
from machines import SSH, TOP, wait_until

NAMES = ["web%d" % number for number in range(1, 9)]


@contextlib.contextmanager
def nothing_lost(fleet):
    """Clients ask all the while, and every question is answered."""
    clients = Clients(fleet.controller)
    try:
        yield
    finally:
        codes, outputs = clients.stop()
        print(*(line for output in outputs for line in output.splitlines() if "requests, " in line), sep="\n")
    assert codes == [0, 0], "requests were lost:\n" + "\n".join(outputs)


def all_answer(version):
    return dict.fromkeys(NAMES, version)


def bring_all_to(fleet, version, **more):
    """A rollout that must succeed; nothing is left half done."""
    done = fleet.roll(fleet.version(version), **more)
    assert done.code == 0, done.output
    assert fleet.answers() == all_answer(version)
    assert fleet.leftovers() == []
    return done


def test_the_clients_count_what_is_lost(fleet):
    """Without this the other scenes would prove nothing."""
    clients = Clients(fleet.controller)
    units = ["segue@%s.socket" % APP, "segue@%s.service" % APP]
    for machine in fleet.machines:
        machine.ok("systemctl", "stop", *units)
    for machine in fleet.machines:
        machine.ok("systemctl", "start", *units)
    wait_until(lambda: set(fleet.balanced().values()) == {"UP"}, "every host is back")
    codes, outputs = clients.stop()
    assert codes == [1, 1], outputs


def test_five_good_versions_in_a_row(fleet):
    with nothing_lost(fleet):
        for version in ("v1", "v2", "v3", "v4", "v5"):
            done = bring_all_to(fleet, version)
            assert done.table() == dict.fromkeys(NAMES, "deployed"), done.output
    again = bring_all_to(fleet, "v5")
    assert again.table() == dict.fromkeys(NAMES, "was there"), again.output


def test_the_picture_of_a_rolling_deploy(fleet):
    """Each host a line, each version a colour. SEGUE_BLESS=1 puts it where docs/fleet.md shows it."""
    bring_all_to(fleet, "old")
    picture = fleet.work / "fleet.svg"
    draw = ["--quiet", "--timeout", "20s", "--interval", "100ms", "--connections", "8", "--server-header", "X-Server",
            "--title", "A rolling deploy over eight hosts", "--picture", picture]
    clients = Clients(fleet.controller, others=[draw])
    bring_all_to(fleet, "new")
    codes, outputs = clients.stop()
    assert codes == [0, 0, 0], outputs
    drawn = picture.read_text()
    assert " 0 failed" in drawn and all("\n%s\n" % name in drawn for name in NAMES)
    if os.environ.get("SEGUE_BLESS"):
        shutil.copy(picture, TOP / "docs/pictures/fleet.svg")


def test_check_mode_changes_nothing(fleet):
    before = fleet.answers()
    play = fleet.work / "look.yml"
    play.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - segue.fleet.deploy: {name: %s, src: %s}\n      check_mode: true\n"
                    % (APP, fleet.version("never")))
    done = fleet.ansible.play(play)
    assert done.code == 0 and done.output.count("changed=1 ") == 8, done.output
    assert fleet.answers() == before and fleet.leftovers() == []


def test_a_version_that_is_bad_everywhere_stops_at_the_canary(fleet):
    bring_all_to(fleet, "good")
    with nothing_lost(fleet):
        done = fleet.roll(fleet.version("bad", bad_on="all"))
    assert done.code != 0
    assert done.table() == dict.fromkeys(NAMES, "not begun") | {"web1": "failed"}, done.output
    assert fleet.answers() == all_answer("good") and fleet.leftovers() == []


def test_a_version_that_is_bad_on_the_fifth_host_goes_back_on_the_four_before(fleet):
    bring_all_to(fleet, "good")
    with nothing_lost(fleet):
        done = fleet.roll(fleet.version("half", bad_on="web5"), segue_serial=[1, "25%", 1])
    assert done.code != 0
    reverted = dict.fromkeys(NAMES[:4], "reverted")
    assert done.table() == dict.fromkeys(NAMES, "not begun") | reverted | {"web5": "failed"}, done.output
    assert fleet.answers() == all_answer("good") and fleet.leftovers() == []


def test_the_four_keep_it_if_that_is_wanted(fleet):
    bring_all_to(fleet, "good")
    with nothing_lost(fleet):
        done = fleet.roll(fleet.version("kept", bad_on="web5"), segue_serial=[1, "25%", 1], segue_on_failure="leave")
    assert done.code != 0
    assert fleet.answers() == all_answer("good") | dict.fromkeys(NAMES[:4], "kept"), done.output
    assert fleet.leftovers() == []


def test_one_bad_host_takes_nothing_from_a_version_that_served_before(fleet):
    """A run with the version that serves already, while one host is down: no other host goes back."""
    bring_all_to(fleet, "steady")
    with nothing_lost(fleet), host_down(fleet, "web6"):
        done = fleet.roll(fleet.version("steady"))
        assert done.code != 0
        assert done.table() == dict.fromkeys(NAMES, "was there") | {"web6": "not reached"}, done.output
    assert fleet.answers() == all_answer("steady") and fleet.leftovers() == []


@contextlib.contextmanager
def host_down(fleet, name):
    """Nobody reaches a host: the balancer knows, the controller does not."""
    number = fleet.machine(name).number
    fleet.take_out(name)
    fleet.controller.cut(SSH, number)
    try:
        yield
    finally:
        fleet.controller.mend(SSH, number)
        fleet.put_back(name)


def test_a_host_that_is_down_stops_the_rollout(fleet):
    bring_all_to(fleet, "good")
    with nothing_lost(fleet), host_down(fleet, "web3"):
        done = fleet.roll(fleet.version("onward"))
        assert done.code != 0
        expected = dict.fromkeys(NAMES, "not begun") | {"web1": "reverted", "web2": "reverted", "web3": "not reached"}
        assert done.table() == expected, done.output
    assert fleet.answers() == all_answer("good")
    bring_all_to(fleet, "onward")


def test_a_host_whose_disk_is_full(fleet):
    bring_all_to(fleet, "good")
    machine = fleet.machine("web2")
    filler = machine.path("/srv/filler")
    # Reserved, not written: the file system counts it all the same.
    machine.ok("sh", "-c", "fallocate -l $(($(df -k --output=avail /srv | tail -n 1) * 1024)) /srv/filler")
    try:
        with nothing_lost(fleet):
            done = fleet.roll(fleet.version("large"))
        assert done.code != 0
        assert done.table()["web1"] == "reverted" and done.table()["web2"] in ("failed", "not reached", "not asked"), done.output
    finally:
        filler.unlink()
    assert fleet.answers() == all_answer("good")
    bring_all_to(fleet, "large")


def begun_until(fleet, name, version):
    """Begin a rollout, and come back while it reloads a host: the version, and the play. On a busy machine that moment may pass
    unseen; then another version is begun."""
    journal = fleet.machine(name).path("/srv/%s/.deploy" % APP)
    for attempt in range(10):
        tried = "%s-%d" % (version, attempt)
        process = fleet.ansible.begin("segue.fleet.rolling", **fleet.variables(fleet.version(tried)))
        wait_until(lambda process=process: journal.exists() or process.poll() is not None, "a deploy is under way on " + name)
        if journal.exists():
            return tried, process
        process.communicate()
    raise AssertionError("never seen: a deploy under way on " + name)


def test_ssh_is_cut_in_the_middle_of_a_deploy(fleet):
    bring_all_to(fleet, "good")
    machine = fleet.machine("web4")
    with nothing_lost(fleet):
        version, process = begun_until(fleet, "web4", "cut")
        try:
            fleet.controller.cut(SSH, machine.number)
            output = process.communicate(timeout=PLAY_WAIT)[0]
        finally:
            fleet.controller.mend(SSH, machine.number)
        assert process.returncode != 0, output
    seen = fleet.answers()
    assert all(seen[name] == "good" for name in NAMES if name != "web4"), (seen, output)
    bring_all_to(fleet, version)


# Two plays for each of its tasks.
@pytest.mark.limit(7200)
def test_the_controller_is_killed_at_each_task(fleet):
    """Killed as a task begins, and then played again: everything ends as if nothing had happened. Three hosts have all tasks."""
    few = dict(segue_hosts=NAMES[:3], segue_serial=[1, "100%"])

    def roll(version):
        done = fleet.roll(fleet.version(version), **few)
        assert done.code == 0, done.output
        answers = fleet.answers()
        assert {name: answers[name] for name in few["segue_hosts"]} == dict.fromkeys(few["segue_hosts"], version)
        assert fleet.leftovers() == []
        return done

    places = len(roll("kill0").tasks())
    with nothing_lost(fleet):
        for place in range(1, places + 1):
            version, begun = "kill%d" % place, itertools.count(1)
            killed, output = fleet.roll_until(
                fleet.version(version), lambda line, begun=begun, place=place: line.startswith("TASK [") and next(begun) == place, **few)
            assert killed, output
            roll(version)


@pytest.mark.parametrize("name", ["web1", "web3"])
def test_the_controller_is_killed_while_a_host_reloads(fleet, name):
    with nothing_lost(fleet):
        version, process = begun_until(fleet, name, "midway-" + name)
        kill_all(process)
        process.communicate()
        bring_all_to(fleet, version)


def test_two_runs_at_once(fleet):
    """Of the same version the second waits; of another version it is refused."""
    bring_all_to(fleet, "good")
    with nothing_lost(fleet):
        # The soak of its canary gives the others time to come.
        first = fleet.ansible.begin("segue.fleet.rolling", **fleet.variables(fleet.version("first")) | dict(segue_soak=30))
        wait_until(fleet.machine("web1").path("/srv/%s/.rollout" % APP).exists, "the first has begun")
        other = fleet.roll(fleet.version("other"))
        same = fleet.roll(fleet.version("first"))
        output = first.communicate(timeout=PLAY_WAIT)[0]
        assert first.returncode == 0, output
        assert other.code != 0 and "another one" in other.output, other.output
        assert same.code == 0, same.output
    assert fleet.answers() == all_answer("first") and fleet.leftovers() == []
