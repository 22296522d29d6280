# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""`segue deploy` on the host of a module: its command line, and the JSON by which it says how it has ended."""

from __future__ import annotations

import json

from ansible_collections.segue.fleet.plugins.module_utils.host import Trouble, last_line

# The exit code of a wrong command line.
MISUSED = 2

# Outcomes of segue-deploy(1) with which a deploy succeeds, in the words of the modules.
DONE = {"ok": "ok", "already-serves": "unchanged", "in-place": "placed"}

# Those after which an outcome is still to come: the next run resolves it.
OPEN = ("pending", "interrupted")

# The options of every module that deploys.
OPTIONS = dict(
    timeout=dict(type="str", default="10m"),
    wait=dict(type="int", default=600),
    supervisor_timeout=dict(type="int", default=60),
)


def deploy(host, words):
    """Run `segue deploy` with these words behind those of every deploy. The object that it prints."""
    params = host.module.params
    common = ["--wait=%d" % params["wait"], "--timeout", params["timeout"], "--supervisor-timeout", str(params["supervisor_timeout"])]
    code, out, err = _run(host, common + words)
    said = _parsed(out)
    if isinstance(said, dict) and isinstance(said.get("outcome"), str):
        return said
    return _without_outcome(host, code, last_line(err or out))


def releases(host):
    """The releases on the host, newest first, as `segue deploy --list` tells them."""
    code, out, err = _run(host, ["--list"])
    said = _parsed(out)
    if isinstance(said, list):
        return said
    if not isinstance(said, dict):
        said = _without_outcome(host, code, last_line(err or out))
    raise Trouble("list the releases: %s" % said.get("message"))


def failure(result, said):
    """A deploy that has failed, in one line; its codes go into the result."""
    result.update(outcome=said["outcome"], cause=said.get("cause"), reason=said.get("reason"), last_lines=said.get("last_lines") or [])
    return Trouble(result["reason"] or said["message"])


def _run(host, words):
    words = [host.segue, "deploy", "--json", "--name", host.name, "--root", host.root] + words
    if host.entry:
        words += ["--entry", host.entry]
    if host.control:
        words += ["--control", host.control]
    return host.module.run_command(words)


def _parsed(out):
    try:
        return json.loads(out)
    except ValueError:
        return None


def _without_outcome(host, code, message):
    """One that did not come to the end of its work: it was killed, or has not understood its command line."""
    if code != MISUSED:
        last = ": " + message if message else ""
        return dict(outcome="interrupted", message="segue deploy ended with %d before it said how%s" % (code, last))
    if host.module.run_command([host.segue, "deploy", "--help"])[0] != 0:
        message = "%s has no deploy: install the segue that came with this collection" % host.segue
    return dict(outcome="misused", message=message)
