# Copyright: the Segue authors
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A fleet of machines under Segue behind HAProxy, the controller that deploys to it, and the clients that count what is lost."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import machines
from machines import CLIENTS, CONTROLLER, PATIENCE, SSH, TOP, Controller, Keys, Machine, address, run, wait_until

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target")).resolve()
PROGRAMS = TARGET / "debug"
WORK = TARGET / "fleet"
TOOLS = TARGET / "test-tools/ansible/bin"

APP = "shop"

# Seconds that a play may take. It only ends what hangs.
PLAY_WAIT = 900

# What an interrupted rollout or deploy leaves on a host, in the root of the app.
LEFTOVERS = (".rollout", ".deploy", ".deploy.work", "releases/.new", "releases/.gone")

# Nothing is tried again, so that no lost request stays unseen.
HAPROXY = """\
global
    stats socket {work}/haproxy.sock mode 600 level admin
defaults
    mode http
    retries 0
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check 10s
    timeout queue 10s
frontend site
    bind {address}:8080
    default_backend shop
backend shop
    option httpchk GET /healthz
    default-server check inter 500ms fall 3 rise 1
    http-response set-header X-Server %s
{rules}
{servers}
"""

ANSIBLE = """\
[defaults]
inventory = {work}/hosts
host_key_checking = False
forks = 8
timeout = 10
local_tmp = {work}/local-tmp
[connection]
pipelining = True
[ssh_connection]
control_path_dir = {work}/cp
ssh_args = -F none -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=3 -o ServerAliveCountMax=3 -o IdentitiesOnly=yes \
-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
"""


def interpreter():
    """The Python of this machine, by a path that leads to it in the hosts, too."""
    return os.path.realpath(run("python3", "-c", "import sys; print(sys.executable)").strip())


class Ansible:
    """The controller's Ansible, in the controller's network."""

    def __init__(self, controller, work, inventory, keys):
        self.controller, self.work = controller, pathlib.Path(work)
        (self.work / "cp").mkdir(exist_ok=True)
        self.begun = []
        variables = dict(ansible_user="root", ansible_ssh_private_key_file=keys.user, ansible_python_interpreter=interpreter())
        lines = ["[shop]"] + ["%s ansible_host=%s" % entry for entry in inventory]
        lines += ["[shop:vars]"] + ["%s=%s" % pair for pair in variables.items()]
        (self.work / "hosts").write_text("\n".join(lines) + "\n")
        (self.work / "ansible.cfg").write_text(ANSIBLE.format(work=self.work))
        self.environment = dict(
            os.environ,
            ANSIBLE_CONFIG=str(self.work / "ansible.cfg"),
            ANSIBLE_HOME=str(self.work / "home"),
            ANSIBLE_COLLECTIONS_PATH=str(WORK),
            ANSIBLE_COLLECTIONS_PATHS=str(WORK),
            ANSIBLE_LOCALHOST_WARNING="False",
            HOME=str(self.work),
        )

    def command(self, program, *words):
        """The words of a command of Ansible."""
        return self.controller.inside(pathlib.Path(os.environ.get("ANSIBLE_PROGRAMS", TOOLS)) / program, *words)

    def begin(self, play, **variables):
        """Start a play; its output comes line by line. It is a session of its own, so that all of it can be killed."""
        words = self.command("ansible-playbook", play, "-e", json.dumps(variables))
        process = subprocess.Popen(machines.dying_with_us(words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, text=True, start_new_session=True, cwd=self.work)
        self.begun.append(process)
        return process

    def play(self, play, **variables):
        """Play it to its end."""
        process = self.begin(play, **variables)
        return Played(process, process.communicate(timeout=PLAY_WAIT)[0])

    def end_plays(self):
        """Kill those that have not ended. Whether there were any."""
        left = [process for process in self.begun if process.poll() is None]
        for process in left:
            kill_all(process)
            process.wait()
        self.begun = []
        return bool(left)


class Played:
    """A play that has ended."""

    def __init__(self, process, output):
        self.code, self.output = process.returncode, output

    def table(self):
        """The column ROLLOUT of the table at its end, by host."""
        rows = re.findall(r'^ *"(web\d+) +(\S+(?: \S+)*)  ', self.output, re.MULTILINE)
        return dict(rows)

    def tasks(self):
        """The names of its tasks, in their order."""
        return re.findall(r"^TASK \[(.*)\]", self.output, re.MULTILINE)


class Clients:
    """Clients of the balancer, on new and on kept connections, until they are stopped."""

    def __init__(self, controller, **more):
        url = "http://%s:8080/ping" % address(CLIENTS, CONTROLLER)
        common = [PROGRAMS / "segue-poll", "--quiet", "--timeout", "20s", "--interval", "20ms", "--connections", "4",
                  "--server-header", "X-Server", url]
        self.polls = [self._start(controller, common + extra) for extra in ([], ["--keep-alive"])]
        for words in more.get("others", []):
            self.polls.append(self._start(controller, [PROGRAMS / "segue-poll", *words, url]))

    @staticmethod
    def _start(controller, words):
        return subprocess.Popen(machines.dying_with_us(controller.inside(*words)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stop(self):
        """Stop them. What each has to say, by its last lines, and whether anything was lost."""
        for poll in self.polls:
            poll.send_signal(signal.SIGINT)
        outputs = [poll.communicate(timeout=PATIENCE)[0] for poll in self.polls]
        return [poll.returncode for poll in self.polls], outputs


class Fleet:
    """Everything together."""

    def __init__(self, work, count):
        machines.needs("haproxy", "sshd", "ssh", "unshare", "nsenter", "setpriv", "ip")
        self.work = pathlib.Path(work)
        self.controller = Controller()
        self.keys = Keys(work)
        self.machines = []
        try:
            for number in range(1, count + 1):
                self.machines.append(Machine(number, work))
                self.machines[-1].connect(self.controller, self.keys)
        except BaseException:
            self.close()
            raise
        inventory = [(machine.name, address(SSH, machine.number)) for machine in self.machines]
        self.ansible = Ansible(self.controller, work, inventory, self.keys)
        self.balancer = None

    def close(self):
        """End all of it."""
        for machine in self.machines:
            machine.end()
        self.controller.end()

    def machine(self, name):
        """One of them."""
        return next(machine for machine in self.machines if machine.name == name)

    def set_up(self):
        """Install Segue from its package, by the collection's roles, with a first version of the app, and start the balancer."""
        package, = (str(path) for path in WORK.glob("packages/*.deb"))
        for machine in self.machines:
            machine.path("/usr/local/bin").mkdir(parents=True, exist_ok=True)
            run("install", "-m", "0755", PROGRAMS / "app", machine.path("/usr/local/bin/sample"))
        play = self.work / "set-up.yml"
        play.write_text(json.dumps([dict(hosts="all", roles=[
            dict(role="segue.fleet.install", segue_package=package),
            dict(role="segue.fleet.app", segue_app=APP, segue_src=str(self.version("v0")), segue_listen=["8080"],
                 # Long enough that a scene can do something in it, on a busy machine, too.
                 segue_settings=dict(probation="3s")),
        ])]))
        done = self.ansible.play(play)
        assert done.code == 0, done.output
        self._balance()
        return done

    def _balance(self):
        servers = ["    server %s %s:8080" % (machine.name, address(CLIENTS, machine.number)) for machine in self.machines]
        rules = ["    use-server %s if { req.hdr(X-Host) -m str %s }" % (machine.name, machine.name) for machine in self.machines]
        config = self.work / "haproxy.cfg"
        config.write_text(HAPROXY.format(work=self.work, address=address(CLIENTS, CONTROLLER), rules="\n".join(rules),
                                         servers="\n".join(servers)))
        self.balancer = subprocess.Popen(machines.dying_with_us(self.controller.inside("haproxy", "-db", "-f", config)),
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: set(self.balanced().values()) == {"UP"}, "the balancer finds every host")

    def balanced(self):
        """What the balancer thinks of each host."""
        return {fields[1]: fields[17].split(" ")[0] for fields in self._ask_balancer("show stat") if fields[0] == "shop" and fields[1].startswith("web")}

    def _ask_balancer(self, words):
        answer = b""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.work / "haproxy.sock"))
            admin.sendall(words.encode() + b"\n")
            while part := admin.recv(65536):
                answer += part
        return [line.split(",") for line in answer.decode().splitlines() if "," in line]

    def take_out(self, name):
        """Let the balancer send nothing to a host."""
        self._ask_balancer("set server shop/%s state maint" % name)
        wait_until(lambda: self.balanced()[name] == "MAINT", "%s is out" % name)

    def put_back(self, name):
        """Let the balancer use it again."""
        self._ask_balancer("set server shop/%s state ready" % name)
        wait_until(lambda: self.balanced()[name] == "UP", "%s is back" % name)

    def version(self, name, bad_on=None):
        """A version of the app, on the controller: the sample with another answer, which cannot start on some hosts."""
        program = self.work / ("version-" + name)
        bad = {None: "", "all": "echo 'no database' >&2; exit 3\n"}.get(
            bad_on, 'case "$(hostname)" in %s) echo "no database" >&2; exit 3 ;; esac\n' % bad_on)
        program.write_text("#!/bin/sh\n%sexec /usr/local/bin/sample --message %s\n" % (bad, name))
        program.chmod(0o755)
        return program

    def variables(self, source, **more):
        """The variables of a rollout."""
        check = dict(segue_check_url="http://%s:8080/ping" % address(CLIENTS, CONTROLLER),
                     segue_check_headers={"X-Host": "{{ inventory_hostname }}"})
        # Relative to where the play is begun, as a person types it.
        return dict(segue_app=APP, segue_src=source.name, segue_soak=2, **check, **more)

    def roll(self, source, **more):
        """Roll a version out."""
        return self.ansible.play("segue.fleet.rolling", **self.variables(source, **more))

    def roll_until(self, source, seen, **more):
        """Begin a rollout, and kill the controller as soon as a line of its output, or anything else, is so."""
        process = self.ansible.begin("segue.fleet.rolling", **self.variables(source, **more))
        output, stopped = [], threading.Event()

        def watch():
            for line in process.stdout:
                output.append(line)
                if not stopped.is_set() and seen(line):
                    stopped.set()
                    kill_all(process)
        watcher = threading.Thread(target=watch)
        watcher.start()
        watcher.join(PLAY_WAIT)
        process.wait(PLAY_WAIT)
        return stopped.is_set(), "".join(output)

    def answers(self):
        """The version by which each host answers, asked around the balancer."""
        found = {}
        for machine in self.machines:
            text = run(*self.controller.inside(PROGRAMS / "segue-poll", "--count", "1", "--timeout", "20s",
                                               "http://%s:8080/ping" % address(CLIENTS, machine.number)))
            found[machine.name] = re.search(r'"message": "([^"]*)"', text).group(1)
        return found

    def leftovers(self):
        """What an interrupted rollout or deploy has left on the hosts."""
        places = [machine.path("/srv/%s/%s" % (APP, name)) for machine in self.machines for name in LEFTOVERS]
        return [str(path) for path in places if path.exists()]

    def end_plays(self):
        """Kill the plays that a scene has left under way, and forget their rollouts: only one that has failed leaves any."""
        if self.ansible.end_plays():
            for machine in self.machines:
                machine.path("/srv/%s/.rollout" % APP).unlink(missing_ok=True)


def kill_all(process):
    """Kill a play with its workers, which may have sessions of their own, as if the controller had lost its power."""
    family, left = [], [process.pid]
    while left:
        pid = left.pop()
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
            left += [int(child) for child in pathlib.Path("/proc/%d/task/%d/children" % (pid, pid)).read_text().split()]
            family.append(pid)
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
