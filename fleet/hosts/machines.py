# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Hosts on this machine: network namespaces with a real sshd and, where that is wanted, a real systemd as init.

All addresses are in 198.18.0.0/15, which RFC 2544 keeps for tests, and exist only inside the namespaces that this file makes. Each
host has two networks, one for clients and one for ssh, so that ssh can be cut while clients are served.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from workplace import cgroups, is_removed

TOP = pathlib.Path(__file__).resolve().parents[2]

# The script that becomes the init of a machine; the Rust tests use it, too.
BOOT = TOP / "tests/src/machine/boot.sh"

# Seconds that any wait may take. It only ends what hangs.
PATIENCE = float(os.environ.get("SEGUE_TEST_PATIENCE", "120"))

# Clients come by the first network, ssh by the second. The third number of an address is the network's, the fourth the host's.
CLIENTS, SSH = 0, 1

# HOME leads away from what the shells of this machine's root read at their start; it is no part of what is measured.
SSHD = """\
ListenAddress 0.0.0.0:22
HostKey {place}/host-key
AuthorizedKeysFile {place}/user-key.pub
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
PermitRootLogin yes
MaxStartups 100
Subsystem sftp internal-sftp
SetEnv HOME={place}{more}
"""

SSHD_UNIT = """\
[Unit]
Description=The way in
[Service]
Type=exec
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f {place}/sshd_config
KillMode=process
"""


def address(network, number):
    """Of a host; the controller and its balancer have number 250."""
    return "198.18.%d.%d" % (network, number)


CONTROLLER = 250


def run(*words, **more):
    """Run a program that must succeed; its output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=PATIENCE, check=False, **more)
    if done.returncode != 0:
        raise AssertionError("%s: exit status %d: %s%s" % (words, done.returncode, done.stdout, done.stderr))
    return done.stdout


def wait_until(condition, what):
    """Ask again until something is so."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (PATIENCE, what))
        time.sleep(0.05)
    return found


def dying_with_us(words):
    """The words of a command that the kernel kills when this program ends, however it ends."""
    return ["setpriv", "--pdeathsig", "KILL", *(str(word) for word in words)]


class Namespace:
    """A network namespace of our own, and a process that holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(dying_with_us(["unshare", "--net", "sleep", "infinity"]))
        wait_until(lambda: os.stat("/proc/%d/ns/net" % self.holder.pid).st_ino != os.stat("/proc/self/ns/net").st_ino, "a namespace")
        self.inode = os.stat("/proc/%d/ns/net" % self.holder.pid).st_ino
        run(*self.inside("ip", "link", "set", "lo", "up"))

    @property
    def pid(self):
        """A process in it."""
        return self.holder.pid

    def inside(self, *words):
        """The words of a command that runs in it, with our file system."""
        return ["nsenter", "--target", str(self.pid), "--net", *(str(word) for word in words)]

    def end(self):
        """End it, and every process in it: nobody but us starts any there."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.stat(process / "ns/net").st_ino == self.inode:
                    os.kill(int(process.name), signal.SIGKILL)
        self.holder.wait()


class Controller(Namespace):
    """The namespace of the controller and the balancer, with a switch for each network."""

    def __init__(self):
        super().__init__()
        for network in (CLIENTS, SSH):
            switch = "switch%d" % network
            run(*self.inside("ip", "link", "add", switch, "type", "bridge"))
            run(*self.inside("ip", "address", "add", address(network, CONTROLLER) + "/24", "dev", switch))
            run(*self.inside("ip", "link", "set", switch, "up"))

    def plug(self, number, host):
        """Connect a host to both networks."""
        for network in (CLIENTS, SSH):
            port, card = "port%d-%d" % (network, number), "net%d" % network
            run(*self.inside("ip", "link", "add", port, "type", "veth", "peer", "name", card, "netns", host.pid))
            run(*self.inside("ip", "link", "set", port, "master", "switch%d" % network, "up"))
            run(*host.in_network("ip", "address", "add", address(network, number) + "/24", "dev", card))
            run(*host.in_network("ip", "link", "set", card, "up"))

    def cut(self, network, number):
        """Pull the cable of a host."""
        run(*self.inside("ip", "link", "set", "port%d-%d" % (network, number), "down"))

    def mend(self, network, number):
        """Plug it in again."""
        run(*self.inside("ip", "link", "set", "port%d-%d" % (network, number), "up"))


class Keys:
    """The keys and the configuration of every sshd, as one directory."""

    def __init__(self, work):
        self.place = pathlib.Path(work) / "ssh"
        self.place.mkdir()
        for name in ("host-key", "user-key"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.place / name)

    @property
    def user(self):
        """The private key of the user who logs in."""
        return self.place / "user-key"

    def give_to(self, place, seen_as, more=""):
        """Put a copy where a host finds it, and the configuration that names it."""
        shutil.copytree(self.place, place, dirs_exist_ok=True)
        (pathlib.Path(place) / "sshd_config").write_text(SSHD.format(place=seen_as, more=more))


class PlainHost(Namespace):
    """A host that is a network namespace and an sshd, with the file system of this machine."""

    def __init__(self, number, controller, keys, work, more=""):
        super().__init__()
        self.number, self.name = number, "web%d" % number
        controller.plug(number, self)
        place = pathlib.Path(work) / self.name
        keys.give_to(place, place, more)
        os.makedirs("/run/sshd", exist_ok=True)
        self.log = place / "log"
        with open(self.log, "wb") as log:
            words = self.inside("/usr/sbin/sshd", "-D", "-e", "-f", place / "sshd_config")
            self.sshd = subprocess.Popen(dying_with_us(words), stderr=log)
        wait_until(lambda: b"Server listening" in self.log.read_bytes(), "the sshd of %s" % self.name)

    in_network = Namespace.inside


class Machine:
    """A host with a systemd of its own as init, above the file system of this machine; nothing that it writes stays."""

    # Where its sshd finds its keys.
    PLACE = "/etc/fleet"

    def __init__(self, number, work):
        self.number, self.name = number, "web%d" % number
        self.work = pathlib.Path(work) / self.name
        self.work.mkdir()
        # So named, an earlier run's can be told from those that are in use.
        self.cgroup = cgroups() / ("%s-%d" % (pathlib.Path(work).name, number))
        self.cgroup.mkdir()
        self.unshare = self.pid = None
        try:
            self._boot()
        except BaseException:
            self.end()
            raise

    def connect(self, controller, keys):
        """Give it its name, its networks and an sshd."""
        run(*self.inside("hostname", self.name))
        controller.plug(self.number, self)
        keys.give_to(self.path(self.PLACE), self.PLACE)
        self.path("/etc/systemd/system/way-in.service").write_text(SSHD_UNIT.format(place=self.PLACE))
        self.ok("systemctl", "daemon-reload")
        self.ok("systemctl", "start", "way-in.service")

    def _boot(self):
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(self.work / "notify"))
        os.chmod(self.work / "notify", 0o666)
        spaces = ["--pid", "--fork", "--mount", "--uts", "--ipc", "--net", "--kill-child"]
        # unshare(1) of Debian 12 complains when what it started was killed, which is how a machine ends here.
        with open(self.work / "boot.log", "wb") as log:
            self.unshare = subprocess.Popen(dying_with_us(["unshare", *spaces, BOOT, "/", self.work, self.cgroup]),
                                            stdin=subprocess.DEVNULL, stderr=log)
        notify.settimeout(PATIENCE)
        try:
            while b"READY=1" not in notify.recv(4096).splitlines():
                pass
        except TimeoutError as error:
            raise AssertionError("%s did not boot within %d s: %s" % (self.name, PATIENCE, (self.work / "boot.log").read_text())) from error
        finally:
            notify.close()
        children = pathlib.Path("/proc/%d/task/%d/children" % (self.unshare.pid, self.unshare.pid)).read_text()
        self.pid = int(children.split()[0])

    def inside(self, *words):
        """The words of a command that runs in it."""
        enter = ["nsenter", "--target=%d" % self.pid, "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd"]
        clean = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        return enter + clean + [str(word) for word in words]

    def in_network(self, *words):
        """The words of a command that runs in its network, with our file system."""
        return ["nsenter", "--target", str(self.pid), "--net", *(str(word) for word in words)]

    def ok(self, *words):
        """Run a program in it that must succeed; its output."""
        return run(*self.inside(*words))

    def path(self, path):
        """Where we find a file of it."""
        return pathlib.Path("/proc/%d/root%s" % (self.pid, path))

    def end(self):
        """Kill it, with everything inside."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        elif self.unshare is not None:
            # It takes its child with it.
            self.unshare.kill()
        if self.unshare is not None:
            self.unshare.wait()
        # A cgroup can be removed some moments after its last process has ended.
        wait_until(lambda: is_removed(self.cgroup), "the cgroup %s is empty" % self.cgroup)


def needs(*programs):
    """Say what is missing on this machine, and end: with an error in CI, where nothing may be left out unseen."""
    missing = [program for program in programs if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        print("not played: there is no %s" % ", ".join(missing), file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
