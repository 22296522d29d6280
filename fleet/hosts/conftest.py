# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The fleet on which all scenes are played, how long each may take, and what holds of the machine after them."""

from __future__ import annotations

import signal

import pytest
from fleet import Fleet
from machines import wait_until
from workplace import Workplace, strays, turn

# How many machines.
COUNT = 8

# Seconds that a scene may take, unless its mark `limit` says otherwise. It only ends what hangs.
LIMIT = 1800

# Seconds that installing and starting everything may take.
LIMIT_OF_SET_UP = 1200


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): how long a scene may take")
    # Everything is removed as at the end of the run. (For SIGINT pytest does that itself.)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: pytest.exit("ended by %s" % signal.Signals(number).name, 128 + number))


class Limit:
    """A test that takes longer fails."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        signal.signal(signal.SIGALRM, self._end)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)

    def _end(self, *_):
        raise AssertionError("it did not end within %d s" % self.seconds)


@pytest.fixture(scope="session")
def fleet():
    with Workplace() as work:
        fleet = None
        try:
            with turn(), Limit(LIMIT_OF_SET_UP):
                fleet = Fleet(work, COUNT)
                fleet.set_up()
            yield fleet
        finally:
            if fleet:
                fleet.close()
    wait_until(lambda: not strays(), "no process is left (at first there were %s)" % strays())


@pytest.fixture(autouse=True)
def scene(request, fleet):
    """One after the other, each in its time. What a scene that has failed left under way is ended before the next."""
    limit = request.node.get_closest_marker("limit")
    with turn(), Limit(limit.args[0] if limit else LIMIT):
        try:
            yield
        finally:
            fleet.end_plays()
