#!/usr/bin/env python3
# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""That segue knows each command line in the manifests for clusters: fleet/manifests.py SEGUE

Their form is checked by kubernetes-validate; this asks the program itself. With `--help` behind it a command line is read to its
end, and nothing is done.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent

# What the image begins with; the arguments of a container come behind it (Dockerfile).
ENTRYPOINT = ["segue", "run", "--config", "/etc/segue.toml"]


def mappings(node):
    """All mappings in a document."""
    if isinstance(node, dict):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(below)


def in_shell(text):
    """The calls of segue in a line for the shell."""
    return [shlex.split(call) for call in re.findall(r"\bsegue [^|&;#\n]*", text)]


def of_kubernetes(path):
    """Commands of containers and of probes, arguments of the image, and what the comments say to type."""
    text = path.read_text()
    for document in yaml.safe_load_all(text):
        for mapping in mappings(document):
            command, arguments = mapping.get("command"), mapping.get("args")
            if command and command[0] == "segue":
                yield command
            elif command:
                yield from in_shell(command[-1])
            elif arguments:
                yield ENTRYPOINT + arguments
    for line in re.findall(r"^#.* -- (segue .*)$", text, re.MULTILINE):
        yield shlex.split(line)


def of_nomad(path):
    """The arguments of the image."""
    for arguments in re.findall(r"^ *args *= *(\[.*\])$", path.read_text(), re.MULTILINE):
        yield ENTRYPOINT + json.loads(arguments)


def main():
    segue, = sys.argv[1:]
    all_bad = 0
    for place, read in (("kubernetes/*.yaml", of_kubernetes), ("nomad/*.hcl", of_nomad)):
        for path in sorted(HERE.glob(place)):
            lines, bad = list(read(path)), 0
            assert lines, "no command line found in %s" % path
            for words in lines:
                done = subprocess.run([segue, *words[1:], "--help"], capture_output=True, text=True, timeout=60, check=False)
                if done.returncode != 0:
                    bad += 1
                    print("%s: %s: %s" % (path, shlex.join(words), done.stderr.strip()), file=sys.stderr)
            print("%s: %d command lines, %d unknown" % (path.relative_to(HERE), len(lines), bad))
            all_bad += bad
    sys.exit(1 if all_bad else 0)


main()
