# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The half of the module deploy that runs on the controller: it copies a program to a host only where another version serves."""

from __future__ import annotations

import os
import tarfile
import tempfile

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.segue.fleet.plugins.module_utils.host import digest

MODULE = "segue.fleet.deploy"


class ActionModule(ActionBase):
    """Ask the host, copy if need be, deploy."""

    # It would make a temporary directory on every host; one is made where something is copied.
    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if not args.get("src") or boolean(args.get("remote_src", False)):
            return self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        src = self._found(args.pop("src"))
        args["sha256"] = self._digest(src, args.get("entry"), args.get("sha256"))
        asked = self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)
        if asked.get("failed") or asked.get("outcome") != "would-deploy" or self._task.check_mode:
            return asked
        # The temporary directory is removed by `cleanup` of the base class.
        args["src"] = self._copied(src, args.get("entry"))
        return self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)

    def _found(self, src):
        """Beside the play, as Ansible does it; else where ansible-playbook was called, for a play of a collection lies far away."""
        try:
            return self._find_needle("files", src)
        except AnsibleError as error:
            if os.path.exists(src):
                return os.path.abspath(src)
            raise AnsibleActionFail("find %s: %s" % (src, error)) from error

    def _digest(self, src, entry, expected):
        """Of what lies here now; the host compares what arrives there with it."""
        try:
            found = digest(src, entry)
        except OSError as error:
            raise AnsibleActionFail("read %s: %s" % (src, error.strerror)) from error
        if expected and expected != found:
            raise AnsibleActionFail("check %s: its SHA-256 is %s, not the expected %s" % (src, found, expected))
        return found

    def _copied(self, src, entry):
        """The path of a copy on the host."""
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        there = shell.join_path(shell.tmpdir, "release")
        if not entry:
            self._transfer_file(src, there)
            self._fixup_perms2((shell.tmpdir, there))
            return there
        packed = there + ".tar"
        with tempfile.TemporaryDirectory() as work:
            archive = os.path.join(work, "release.tar")
            with tarfile.open(archive, "w") as tar:
                tar.add(os.path.realpath(src), arcname="release")
            self._transfer_file(archive, packed)
        command = "tar -xf %s -C %s" % (shell.quote(packed), shell.quote(shell.tmpdir))
        done = self._low_level_execute_command(command, sudoable=True)
        if done["rc"] != 0:
            raise AnsibleActionFail("unpack %s: %s" % (packed, done["stderr"].strip()))
        self._fixup_perms2((shell.tmpdir, there))
        return there
