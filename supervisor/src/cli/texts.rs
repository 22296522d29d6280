//! The help texts that are longer than a line. Lines have at most 78 characters, for clap does not wrap them here.

pub(super) const ABOUT: &str = "Reload any server without losing a request";

pub(super) const LONG_ABOUT: &str = "\
Segue owns the listening sockets of a server and hands them to a freshly
started app on each reload. It waits until the new app says that it is ready,
and only then tells the old one to drain and exit. It speaks systemd socket
activation (LISTEN_FDS, NOTIFY_SOCKET), so whatever runs under systemd sockets
runs under segue unchanged.";

pub(super) const AFTER_HELP: &str = "\
Example: segue run --listen 8080 -- ./app, and after a deploy: segue reload

More is in the long texts: segue run --help";

pub(super) const AFTER_LONG_HELP: &str = "\
Example:
  segue run --listen http=*:8080 --workers 2 -- ./app --verbose
  segue reload        # returns when the new generation serves, or has failed
  segue status        # who serves, who drains, since when
  segue list          # every instance; segue reload NAME asks one of several

Exit codes:
  0  done
  1  it failed; stderr says why, and who serves if it was tried
  2  the command line is wrong
  3  no supervisor answers
  4  the --timeout of the command has passed; what was asked for goes on";

pub(super) const RUN: &str = "Supervise an app in the foreground";

pub(super) const RUN_USAGE: &str =
    "segue run [OPTIONS] [--] COMMAND [ARG]...\n       segue run [OPTIONS] [--config FILE]";

pub(super) const LONG_RUN: &str = "\
Supervise an app in the foreground.

COMMAND is started with the listeners at fd 3 and up (LISTEN_FDS), and started
again by each reload. Everything after COMMAND is the app's, flags included; put
`--` before COMMAND if it could itself be taken for a flag.

Without COMMAND and --config, segue.toml in this directory is read, if it is
yours or root's and nobody else can write to it.

Durations have units: 250ms, 30s, 5m, 1h, 1m30s. Where it is allowed, `none`
takes the limit away. Every option is also a key of segue.toml (see --config).";

pub(super) const AFTER_RUN: &str = "\
Signals to segue run:
  HUP         reload
  TERM, INT   stop with drain; the second one kills
  USR1        passed on to the app that serves, if it catches it
  USR2        upgrade: go on as the segue binary that is on disk now
  TTIN, TTOU  one worker more, one worker fewer

Exit codes:
  0  stopped as asked
  1  it cannot start; stderr says why, and nothing has served
  2  the command line or the settings are wrong";

pub(super) const DEV: &str = "Supervise an app, and reload it when its files change";

pub(super) const DEV_USAGE: &str =
    "segue dev [OPTIONS] [--] COMMAND [ARG]...\n       segue dev [OPTIONS] [--config FILE]";

pub(super) const LONG_DEV: &str = "\
For development: run an app under a supervisor of its own, and reload it when
its files have changed and come to rest. With --build it is built first.

A build that fails and a version that does not start change nothing: the old
one serves on, and no request meets a closed port. Files that .gitignore names
do not count. ^C ends all of it, a build that runs included; what has not ended
2 s later, or at a second ^C, is killed.

It takes all options of segue run, and is reached by the same commands.";

pub(super) const AFTER_DEV: &str = "\
Examples:
  segue dev --listen 8080 --app node -- node server.js
  segue dev --listen 8080 --build 'cargo build' -- target/debug/app
  segue dev --listen 8080 --build 'go build -o bin/app .' -- bin/app

Exit codes:
  0  ended as asked
  1  it cannot start, or could not end everything; stderr says why
  2  the command line or the settings are wrong";

pub(super) const RELOAD: &str = "Start a new generation and hand the sockets over";

pub(super) const LONG_RELOAD: &str = "\
Start a new generation of the app and hand the sockets over to it.

Binary, arguments, segue.toml and env files are read afresh. The command
returns when the new generation has taken over, or with the reason when it has
failed and the old one serves on. Reloads that are asked for during a reload
share the next generation. A command that is interrupted cancels nothing.";

pub(super) const DEPLOY: &str = "Put a new version in place, or leave everything as it was";

pub(super) const DEPLOY_USAGE: &str = "\
segue deploy [OPTIONS] BINARY
       segue deploy [OPTIONS] --entry PATH DIRECTORY
       segue deploy [OPTIONS] --image REF [CODE-DIRECTORY]
       segue deploy [OPTIONS] --rollback[=RELEASE]
       segue deploy [OPTIONS] --list";

pub(super) const LONG_DEPLOY: &str = "\
Deploy BINARY to an app that runs under segue, with the command
ROOT/current/NAME: copy it to ROOT/releases/TIMESTAMP-SHA/NAME, point the
symlink ROOT/current to that, reload, and wait until probation has passed. If
the new version fails, `current` points to the old one again, which has served
all the while.

Progress and errors go to stderr. The last line says who serves: on stdout after
a success, on stderr after a failure.";

pub(super) const DEPLOY_CODES: &str = "\
Exit codes:
  0    done: the release serves (or it did already)
  1    it failed or was rolled back; the release that served before serves
  2    the command line is wrong
  3    no supervisor answers; nothing was changed
  4    the outcome is still to come: --timeout has passed, or the supervisor
       went away and did not come back; the next run resolves it
  129, 130, 143   interrupted by SIGHUP, SIGINT, SIGTERM; the last line says
       how far it came. The next run resolves what was left open.";

pub(super) const STATUS: &str = "Show who serves, who drains, and how the last reload went";

pub(super) const LONG_STATUS: &str = "\
Show who serves, who drains, since when and with how many open connections,
and how the last reload went.";

pub(super) const EVENTS: &str = "Print what happens as JSON lines";

pub(super) const LONG_EVENTS: &str = "\
Print how it is as one JSON object on a line, and with --follow another one for
all that happens from then on: handoffs, takeovers, failures, crashes, the end
of old generations. It ends when the supervisor has stopped. A reader that does
not read is left behind, and told so.";

pub(super) const LOGS: &str = "Show what the app writes";

pub(super) const LONG_LOGS: &str = "\
Show the last 100 lines that the app has written to its standard error, from the
journal of its unit (with those of segue) or from the file that they go to, by
journalctl or tail. Lines that went to a pipe or a terminal are not kept.";

pub(super) const LIST: &str = "List the instances that run";

pub(super) const LONG_LIST: &str = "\
List the instances that run, with who owns them, how they are and where their
control socket is: your own and root's; as root, those of every user. One that
was killed, hangs, or may not be asked is listed, too.";

pub(super) const LIST_CODES: &str = "\
Exit codes:
  0  listed, also if there is none
  1  it could not be written
  2  the command line is wrong";

pub(super) const STOP: &str = "Stop the app with drain, then the supervisor";

pub(super) const LONG_STOP: &str = "\
Stop the app with drain, then the supervisor, and wait until both are gone.
Workers that have not drained within the stop timeout are killed.";

pub(super) const WORKERS: &str = "Change the number of workers";

pub(super) const LONG_WORKERS: &str = "\
Change the number of workers of the generation that serves. The number lasts
until the supervisor ends, over all reloads, whatever segue.toml says.";

pub(super) const UPGRADE: &str = "Replace the supervisor by the segue binary that is on disk now";

pub(super) const LONG_UPGRADE: &str = "\
Replace the supervisor by the segue binary that is on disk now, with the same
pid, while the app serves on: listeners, generations, timers and waiting
commands stay. Put the new binary at the path by which `segue run` was started.
It is first asked whether it understands what it would take over; if it does
not, or cannot be executed, nothing changes.";

pub(super) const CLEANUP: &str = "End the processes that a stop has left (for ExecStopPost=)";

pub(super) const LONG_CLEANUP: &str = "\
For a systemd unit with KillMode=process, in which the app outlives a
supervisor that was killed and waits for the next one. As ExecStop= it notes
that a stop was asked for; as ExecStopPost= it kills what is left of the unit
if that was so, and leaves it alone if not. It does nothing unless systemd has
started it.";

pub(super) const CHECK: &str = "Find mistakes in flags and file, and start nothing";

pub(super) const CHECK_USAGE: &str =
    "segue check [OPTIONS] [--] COMMAND [ARG]...\n       segue check [OPTIONS] [--config FILE]";

pub(super) const LONG_CHECK: &str = "\
Read flags and segue.toml as `segue run` would and say everything that is wrong
with them. Nothing is bound and nothing is started. With --unit, the values of a
systemd unit that do not fit are noted: its time limits must be above those of
the settings, and it must hear what segue tells it.";

pub(super) const INIT: &str = "Begin a segue.toml, or take a systemd unit below segue";

pub(super) const LONG_INIT: &str = "\
Without --unit, write a segue.toml for this directory, with every key and what
it does; `segue run` reads it. An existing one is left alone.

With --unit, read a service of systemd with its drop-ins and its socket unit,
and print what takes it below segue: a drop-in for each unit, and a segue.toml,
with the reason for each line. What cannot be carried over whole (a program
that puts itself into the background, several commands, ...) is refused by
name. Nothing is started or stopped.";

pub(super) const INIT_CODES: &str = "\
Exit codes:
  0  printed or written
  1  it cannot be carried over or written; stderr says why
  2  the command line is wrong";

pub(super) const METRICS: &str = "Print metrics as Prometheus text";

pub(super) const LONG_METRICS: &str = "\
Print metrics in the text format of Prometheus, for a textfile collector or a
script.";

pub(super) const EXEC: &str = "Become the app, below a wrapper that forks";

pub(super) const EXEC_USAGE: &str = "segue exec [--] COMMAND [ARG]...";

pub(super) const LONG_EXEC: &str = "\
Set LISTEN_PID to this process and become COMMAND.

An app takes the sockets of LISTEN_FDS only if LISTEN_PID is its own pid. Below
a wrapper that forks it is the wrapper's. Let the wrapper start the app so:

  segue run --listen 8000 -- uv run segue exec -- gunicorn wsgi:app

It looks first whether every socket is there. Some wrappers close them, and
then nothing helps but to leave the wrapper out: npm and all else that Node
starts, sudo, Python's subprocess without pass_fds. A shell needs no shim if
it says `exec app`.";

pub(super) const AFTER_EXEC: &str = "\
Exit codes:
  2    the command line is wrong
  125  the sockets of LISTEN_FDS are not there; stderr says which
  126  COMMAND cannot be executed
  127  there is no such COMMAND

Else that of COMMAND, which has taken the place of segue.";

pub(super) const COMPLETIONS: &str = "Print a completion script for a shell";

pub(super) const LONG_COMPLETIONS: &str = "\
Print a completion script for a shell. For bash:

  segue completions bash > /etc/bash_completion.d/segue";

pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed; stderr says why, and who serves if it was tried
  2  the command line is wrong, or a name is needed to choose
  3  no supervisor answers
  4  --timeout has passed; what was asked for goes on";

pub(super) const STATUS_CODES: &str = "\
Exit codes:
  0  a generation serves
  1  none does
  2  the command line is wrong, or a name is needed to choose
  3  no supervisor answers
  4  --timeout has passed";

pub(super) const CHECK_CODES: &str = "\
Exit codes:
  0  nothing is wrong; there may be notes
  1  something is; stderr says what
  2  the command line is wrong";
