//! What the app is started with.

use super::super::defaults;
use super::super::settings::{ListenPid, Orphaned, StopSignalTo};
use super::lists::{COMMAND, ENV_FILES, VARIABLES};
use super::storage::{Field, Switch};
use super::value_type::{
    ACCOUNT, APP_NAME, OOM_SCORE, PATH, PROTOCOL, SIGNAL, STOP_SIGNAL_TO, UMASK, WORKERS,
};
use super::{BLANK, Completes, Given, Group, Setting};
use crate::activation::Protocol;

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "command",
        given: Given::Key,
        storage: &COMMAND,
        key: "The app and its arguments: an array of strings.
Needed, unless a
.Ar COMMAND
is on the command line.",
        example: r#"["./app", "--verbose"]"#,
        ..APP
    },
    Setting {
        name: "workers",
        value: "N",
        storage: &Field {
            value_type: &WORKERS,
            given: |settings| &mut settings.workers,
            whole: |config| Some(config.workers),
            default: Some(defaults::WORKERS),
        },
        summary: "How many workers a generation has",
        help: "One process is what an app is unless it was written to share its
sockets with others of its kind. TTIN, TTOU and `segue workers` change
the number later.",
        manual: "How many workers a generation has, 1 to 1024.
One process is what an app is unless it was written to share its sockets with others of its kind.
SIGTTIN, SIGTTOU and
.Ql segue workers
change the number later, for as long as the supervisor lives.",
        key: "How many workers a generation has, 1 to 1024.",
        example: "2",
        ..APP
    },
    Setting {
        name: "env",
        value: "NAME=VALUE",
        storage: &VARIABLES,
        summary: "Set a variable in the app's environment; can be repeated",
        help: "It wins over --env-file. Variables that segue sets itself
(LISTEN_FDS, NOTIFY_SOCKET, SEGUE_NAME, ...) cannot be given.",
        manual: "Set a variable in the app's environment.
Can be repeated.
It wins over
.Fl Fl env-file .
Variables that the supervisor sets itself (see
.Sx ENVIRONMENT )
cannot be given.",
        manual_head: "Fl Fl env Ar NAME Ns = Ns Ar VALUE",
        key: "Variables of the app's environment, all values being strings.
They win over
.Ic env-file .",
        ..APP
    },
    Setting {
        name: "env-file",
        value: "FILE",
        completes: Completes::File,
        storage: &ENV_FILES,
        summary: "Read variables from a file at each reload; can be repeated",
        help: "The format is that of EnvironmentFile= of systemd.exec(5). Variables
that have gone from the file go from the app. With `-` before it
(--env-file=-PATH) the file may be missing.",
        manual: r"Read variables from a file at each reload.
Can be repeated.
The format is that of
.Ql EnvironmentFile=
in
.Xr systemd.exec 5 ,
but a line that is wrong is an error: one that begins with
.Ql export ,
one that goes on after a closing quote
.Po write
.Ql \(dqit's\(dq ,
not
.Ql 'it'\e''s'
.Pc ,
one whose last character before CR LF is a backslash.
Variables that have gone from the file go from the app.
With
.Ql \-
before it
.Pq Fl Fl env-file Ns = Ns \- Ns Ar FILE
the file may be missing.
Replace it by
.Xr rename 2 :
write another file beside it, then
.Ql mv
that over it.
While somebody writes it in place, half of it is there to be read.
So a file that was written to less than 200 ms ago is waited for until it has rested for that long; if it does not within 5 seconds,
the reload is refused.
This holds for segue.toml as well.",
        key: r"Read variables from these files at each reload.
With
.Ql \-
before it a file may be missing.",
        example: r#"["site.env", "-secrets.env"]"#,
        ..APP
    },
    Setting {
        name: "chdir",
        value: "DIR",
        completes: Completes::Directory,
        storage: &Field {
            value_type: &PATH,
            given: |settings| &mut settings.chdir,
            whole: |config| config.chdir.clone(),
            default: None,
        },
        summary: "Start the app in this directory",
        help: "It is looked up at each reload, symlinks included, so that a
`current` link may move.",
        manual: r"Start the app in this directory.
It is looked up at each reload, symlinks included, so that a
.Pa current
link may move.
Without it the app starts where segue was started, at each reload: after
.Ql cd current && segue run
that is the release of that day for ever.
A shell in
.Pa current
shows the link even so;
.Ql cd \-P current
tells which release it is.",
        example: r#"".""#,
        ..APP
    },
    Setting {
        name: "user",
        value: "USER",
        completes: Completes::User,
        storage: &Field {
            value_type: &ACCOUNT,
            given: |settings| &mut settings.user,
            whole: |config| config.user.clone(),
            default: None,
        },
        summary: "Run the app as this user, by name or number (needs root)",
        manual: "Run the app as this user, by name or number; needs root.
A number that is not in the user database needs
.Fl Fl group ,
too.
.Ev HOME , SHELL , USER
and
.Ev LOGNAME
become the user's, unless they are set by
.Fl Fl env .",
        key: "Run the app as this user, by name or number (as a string); needs root.",
        example: r#""daemon""#,
        ..APP
    },
    Setting {
        name: "group",
        value: "GROUP",
        storage: &Field {
            value_type: &ACCOUNT,
            given: |settings| &mut settings.group,
            whole: |config| config.group.clone(),
            default: None,
        },
        unset: Some("the user's own"),
        summary: "Run the app with this group",
        manual: "Run the app with this group.",
        example: r#""daemon""#,
        ..APP
    },
    Setting {
        name: "umask",
        value: "MASK",
        storage: &Field {
            value_type: &UMASK,
            given: |settings| &mut settings.umask,
            whole: |config| config.umask,
            default: None,
        },
        unset: Some("the one segue was started with"),
        summary: "The app's umask, octal",
        manual: "The app's umask, octal, 000 to 777.",
        key: r"The app's umask, octal:
.Ql \(dq027\(dq
or
.Ql 0o027 .",
        example: r#""027""#,
        ..APP
    },
    Setting {
        name: "stderr",
        value: "FILE",
        completes: Completes::File,
        storage: &Field {
            value_type: &PATH,
            given: |settings| &mut settings.stderr,
            whole: |config| config.stderr.clone(),
            default: None,
        },
        unset: Some("segue's own"),
        summary: "Append the app's standard error to this file",
        help: "It is opened afresh at each start of a worker, as the app's user, and
made with mode 0640 if it is missing. A reload that fails tells the
last lines of it.",
        manual: "Append the app's standard error to this file.
A relative path is relative to where segue was started.
The app's user opens it, afresh at each start of a worker, so that the file and the directories above it must be that user's to write; it
is made with mode 0640, less the umask, if it is missing.
A device such as
.Pa /dev/null
will do, too; a FIFO or a socket will not.
The probe writes there, too.
Standard output stays what it is: for that let a shell
.Ql exec app >>FILE .
.Pp
A rotated file is left by the next start, and so by
.Ql segue reload ;
until then the app writes to the old one, unless it is truncated in place.
.Pp
The last line of this file is quoted where a version fails, whether
.Fl Fl stderr
names the file or segue's own standard error is one: see
.Sx WHY IT FAILED .",
        example: r#""site.err""#,
        ..APP
    },
    Setting {
        name: "oom-score-adj",
        value: "N",
        storage: &Field {
            value_type: &OOM_SCORE,
            given: |settings| &mut settings.oom_score_adj,
            whole: |config| config.oom_score_adj,
            default: None,
        },
        summary: "Whether the kernel kills the app first if memory runs out",
        help: "Its oom_score_adj, -1000 (never) to 1000. By default the one segue was
started with, but not below 0: what protects segue is not inherited.
Less than that needs CAP_SYS_RESOURCE.",
        manual: r"Whether the kernel kills the app first if memory runs out, \-1000 (never) to 1000; see
.Xr proc_pid_oom_score_adj 5 .
If not given it is the one that segue was started with, but not below 0: what protects segue is not inherited.
To go below what segue was started with needs
.Dv CAP_SYS_RESOURCE .
Segue itself takes the lowest that it may have.
A worker that is told to drain gets 300 more, so that the kernel kills it rather than one that serves.",
        key: r"Whether the kernel kills the app first if memory runs out, \-1000 (never) to 1000.",
        example: "0",
        ..APP
    },
    Setting {
        name: "app",
        value: "NAME",
        storage: &Field {
            value_type: &APP_NAME,
            given: |settings| &mut settings.app,
            whole: |config| config.app,
            default: None,
        },
        summary: "Suit a known server: nginx, haproxy... (`--app list` prints all)",
        help: "Sets --protocol, --ready, --stop-signal and `non-blocking` of the
listeners as that server needs them. A setting that is given wins.",
        manual: r"Suit a known server: set
.Fl Fl protocol , Fl Fl ready , Fl Fl stop-signal
and
.Cm non-blocking
of the listeners as it needs them.
A setting that is given wins.
.Ql segue run \-\-app list
prints all, with what their command lines need besides.
A known server that is started without its preset is told of in one line.",
        key: "Suit a known server, as
.Fl Fl app
in
.Xr segue-run 8 .",
        example: r#""gunicorn""#,
        ..APP
    },
    Setting {
        name: "protocol",
        value: "WHICH",
        storage: &Field {
            value_type: &PROTOCOL,
            given: |settings| &mut settings.protocol,
            whole: |config| Some(config.protocol),
            default: Some(Protocol::Systemd),
        },
        summary: "How the app learns of its listeners",
        help: "  systemd         LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID
  server-starter  SERVER_STARTER_PORT, SERVER_STARTER_GENERATION
  einhorn         EINHORN_FD_COUNT, EINHORN_FD_0 and so on; its ack
                  on EINHORN_SOCK_PATH counts as READY=1
  nginx           NGINX
  php-fpm         FPM_SOCKETS
All have the listeners at fd 3 and up. See PLACEHOLDERS for apps that
are told by their arguments.",
        manual: "How the app learns of its listeners:
.Cm systemd
.Pq Ev LISTEN_FDS , LISTEN_FDNAMES , LISTEN_PID ,
.Cm server-starter
.Pq Ev SERVER_STARTER_PORT , SERVER_STARTER_GENERATION ,
.Cm einhorn
.Pq Ev EINHORN_FD_COUNT , EINHORN_FD_0 No ... , EINHORN_MASTER_PID , EINHORN_SOCK_PATH ,
.Cm nginx
.Pq Ev NGINX
or
.Cm php-fpm
.Pq Ev FPM_SOCKETS .
The ack of einhorn's worker counts as READY=1; no other command of einhorn's is understood.
With each of them the listeners are at fd 3 and up, and
.Ev NOTIFY_SOCKET
is set.
Apps that are told by their arguments need
.Sx PLACEHOLDERS .",
        key: "How the app learns of its listeners:
.Ql systemd , server-starter , einhorn , nginx
or
.Ql php-fpm .",
        example: r#""systemd""#,
        ..APP
    },
    Setting {
        name: "stop-signal",
        value: "SIGNAL",
        storage: &Field {
            value_type: &SIGNAL,
            given: |settings| &mut settings.stop_signal,
            whole: |config| Some(config.stop_signal),
            default: Some(defaults::STOP_SIGNAL),
        },
        summary: "The signal that tells the app to drain and exit",
        help: "For apps with habits of their own: QUIT for nginx, WINCH for Apache.",
        manual: "The signal that tells the app to drain and exit, by name.
For apps with habits of their own: QUIT for nginx, WINCH for Apache.
KILL and STOP are refused, for nothing could drain.",
        example: r#""TERM""#,
        ..APP
    },
    Setting {
        name: "stop-signal-to",
        value: "WHOM",
        storage: &Field {
            value_type: &STOP_SIGNAL_TO,
            given: |settings| &mut settings.stop_signal_to,
            whole: |config| Some(config.stop_signal_to),
            default: Some(StopSignalTo::Main),
        },
        summary: "Processes that get the stop signal: main or all",
        help: "  main  its main process, which tells what it has started; the others
        too where it ignores or blocks the signal, or dies of it
  all   everything that it has started, at once",
        manual: "Processes that get the stop signal:
.Cm main
or
.Cm all .
.Pp
With
.Cm main
the main process of each worker gets it, and tells what it has started.
The others of its process group get it from segue only where the main process ignores the signal, or blocks it and does not fetch it within 1 s
.Pq as Xr unshare 1 does when it forks ,
dies of it because it has no handler (as a shell does that waits for a command), or crashes.
Of what is left when a main process has caught the signal and exited, those get it that have no connection, and after 2 s those that still wait for new ones.
Nobody gets it twice.
.Pp
A shell with a
.Ic trap
runs that when the command that it waits for has ended, which nobody tells then:
.Ic exec
the command, or use
.Cm all ,
with which everything that the worker has started gets the signal at once.",
        example: r#""main""#,
        ..APP
    },
    Setting {
        name: "no-listen-pid",
        storage: &Switch {
            given: |settings| &mut settings.listen_pid,
            whole: |config| config.listen_pid,
            on: ListenPid::LeftOut,
            off: ListenPid::Set,
        },
        summary: "Leave LISTEN_PID out; below a wrapper that forks, see segue exec",
        help: "Helps an app that takes sockets without it, such as one built with
segue-app or listenfd. Gunicorn, puma, unicorn and all that uses
sd_listen_fds(3) take none without it: for those, and in general,
let the wrapper run `segue exec -- APP`.",
        manual: r"Leave
.Ev LISTEN_PID
.Pq and Ev WATCHDOG_PID
out, for an app below a wrapper that forks which takes sockets without it, such as one that was built with segue\-app or listenfd.
Gunicorn, puma, unicorn and all that uses
.Xr sd_listen_fds 3
take none without it.
.Ql segue exec ,
in
.Xr segue 1 ,
serves those and all others.",
        example: "false",
        ..APP
    },
    Setting {
        name: "die-with-supervisor",
        storage: &Switch {
            given: |settings| &mut settings.orphaned,
            whole: |config| config.orphaned,
            on: Orphaned::Stops,
            off: Orphaned::ServesOn,
        },
        summary: "Drain and exit when the supervisor dies; else the app serves on",
        help: "If segue is killed (kill -9), the kernel sends every worker its stop
signal. Without this the app serves on, and the next segue of the same
name takes it over. An upgrade in place is no death.",
        manual: r"Let the app drain and exit when the supervisor dies, as by
.Ql kill \-9 :
the kernel sends every worker its stop signal
.Pq Dv PR_SET_PDEATHSIG .
Without this the app serves on, and the next supervisor of the same name takes it over.
An upgrade in place is no death.
The kernel forgets the signal when it executes a program that is set-user-ID or has file capabilities; such an app serves on.",
        example: "false",
        ..APP
    },
];

const APP: Setting = Setting {
    group: Group::App,
    ..BLANK
};
