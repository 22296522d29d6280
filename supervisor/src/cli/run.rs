//! The options of `segue run` and `segue check`, and what `segue exec` takes.
//!
//! Every default stands here as text, and in `config::defaults` as a value: parsing yields only what was given, so that
//! segue.toml can fill in the rest. A test compares the two.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};
use nix::sys::signal::Signal;

use crate::address::ListenSpec;
use crate::config::{
    self, Invocation, Limit, ListenPid, LogFormat, Mode, Orphaned, Ready, Settings, StopSignalTo, duration,
    parse_variable,
};

const APP: &str = "The app";
const HANDOFF: &str = "The handoff";
const INSTANCE: &str = "The instance";

#[derive(Args)]
pub(super) struct RunArgs {
    /// The app and its arguments; what follows COMMAND is the app's
    ///
    /// A COMMAND without a slash is looked up in PATH; a relative one is
    /// relative to --chdir. It is looked up afresh at each reload, symlinks
    /// included.
    #[arg(value_name = "COMMAND", required_unless_present = "config", trailing_var_arg = true,
        value_hint = ValueHint::CommandWithArguments, verbatim_doc_comment)]
    command: Vec<OsString>,

    /// Listen on [NAME=]ADDR[,OPTION[=VALUE]]...; can be repeated
    ///
    /// ADDR is one of
    ///   8080                 127.0.0.1:8080, this machine only
    ///   *:8080, :8080        every address, IPv4 and IPv6
    ///   HOST:PORT, [::1]:80  one address; port 0 picks a free one
    ///   udp:ADDR             a datagram socket
    ///   unix:PATH            a Unix socket; unix:@NAME is an abstract one
    ///   unix-dgram:PATH, unix-seqpacket:PATH
    ///
    /// NAME is what the app sees in LISTEN_FDNAMES; the default is listen1,
    /// listen2... A listener stands aside if segue has inherited a socket of
    /// the same name or address (LISTEN_FDS).
    ///
    /// OPTION has the name from systemd.socket(5): backlog (4096 by default),
    /// mode, user, group, directory-mode, no-delay, keep-alive,
    /// keep-alive-time, keep-alive-interval, keep-alive-probes, defer-accept,
    /// tcp-congestion, free-bind, transparent, broadcast, reuse-port,
    /// bind-ipv6-only, bind-to-device, receive-buffer, send-buffer, mark,
    /// priority, ip-tos, ip-ttl, pass-credentials, pass-security,
    /// pass-packet-info, timestamping, non-blocking, sockets (so many on the
    /// one address for the workers to share out; systemd has none such).
    #[arg(short, long, value_name = "ADDR", value_parser = str::parse::<ListenSpec>, verbatim_doc_comment)]
    listen: Vec<ListenSpec>,

    /// Read settings from a TOML file; flags win over it
    ///
    /// Each long option is a key: `drain-timeout = "1m"`. Listeners are
    /// strings or [[listen]] tables with the keys name, address and the
    /// options of --listen; `command` is an array of strings; [env] is a
    /// table. The file is read again at each reload and taken whole or
    /// refused whole.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, verbatim_doc_comment)]
    config: Option<PathBuf>,

    /// How many workers a generation has [default: 1]
    ///
    /// One process is what an app is unless it was written to share its
    /// sockets with others of its kind. TTIN, TTOU and `segue workers` change
    /// the number later.
    #[arg(long, value_name = "N", value_parser = config::parse_workers, help_heading = APP, verbatim_doc_comment)]
    workers: Option<u16>,

    /// Set a variable in the app's environment; can be repeated
    ///
    /// It wins over --env-file. What segue sets itself (LISTEN_FDS,
    /// NOTIFY_SOCKET, SEGUE_NAME and their like) cannot be given.
    #[arg(long, value_name = "NAME=VALUE", value_parser = OsStringValueParser::new().try_map(|text| parse_variable(&text)),
        help_heading = APP, verbatim_doc_comment)]
    env: Vec<(OsString, OsString)>,

    /// Read variables from a file at each reload; can be repeated
    ///
    /// The format is that of EnvironmentFile= of systemd.exec(5). Variables
    /// that have gone from the file go from the app. With `-` before it
    /// (--env-file=-PATH) the file may be missing.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = APP, verbatim_doc_comment)]
    env_file: Vec<PathBuf>,

    /// Start the app in this directory
    ///
    /// It is looked up at each reload, symlinks included, so that a
    /// `current` link may move.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = APP, verbatim_doc_comment)]
    chdir: Option<PathBuf>,

    /// Run the app as this user, by name or number (needs root)
    #[arg(long, value_name = "USER", value_parser = config::parse_account, value_hint = ValueHint::Username, help_heading = APP)]
    user: Option<String>,

    /// Run the app with this group [default: the user's own]
    #[arg(long, value_name = "GROUP", value_parser = config::parse_account, help_heading = APP)]
    group: Option<String>,

    /// The app's umask, octal [default: the one segue was started with]
    #[arg(long, value_name = "MASK", value_parser = config::parse_umask, help_heading = APP)]
    umask: Option<u32>,

    /// Append the app's standard error to this file [default: segue's own]
    ///
    /// It is opened afresh at each start of a worker, as the app's user, and
    /// made with mode 0640 if it is missing. A reload that fails tells the
    /// last lines of it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = APP, verbatim_doc_comment)]
    stderr: Option<PathBuf>,

    /// Whether the kernel kills the app first if memory runs out
    ///
    /// Its oom_score_adj, -1000 (never) to 1000. By default the one segue was
    /// started with, but not below 0: what protects segue is not inherited.
    /// Less than that needs CAP_SYS_RESOURCE.
    #[arg(long, value_name = "N", value_parser = config::parse_oom_score, allow_negative_numbers = true, help_heading = APP,
        verbatim_doc_comment)]
    oom_score_adj: Option<i16>,

    /// The signal that tells the app to drain and exit [default: TERM]
    ///
    /// For apps with habits of their own: QUIT for nginx, WINCH for Apache.
    #[arg(long, value_name = "SIGNAL", value_parser = config::parse_stop_signal, help_heading = APP, verbatim_doc_comment)]
    stop_signal: Option<Signal>,

    /// Who of the app gets the stop signal: main or all [default: main]
    ///
    ///   main  its main process, which tells what it has started; the others
    ///         too where it ignores or blocks the signal, or dies of it
    ///   all   everything that it has started, at once
    #[arg(long, value_name = "WHOM", value_parser = PossibleValuesParser::new(StopSignalTo::WORDS).try_map(|text| text.parse::<StopSignalTo>()),
        hide_possible_values = true, help_heading = APP, verbatim_doc_comment)]
    stop_signal_to: Option<StopSignalTo>,

    /// Leave LISTEN_PID out; below a wrapper that forks, see segue exec
    ///
    /// Helps an app that takes sockets without it, such as one built with
    /// segue-app or listenfd. Gunicorn, puma, unicorn and all that uses
    /// sd_listen_fds(3) take none without it: for those, and in general,
    /// let the wrapper run `segue exec -- APP`.
    #[arg(long, help_heading = APP, verbatim_doc_comment)]
    no_listen_pid: bool,

    /// Drain and exit when the supervisor dies; else the app serves on
    ///
    /// If segue is killed (kill -9), the kernel sends every worker its stop
    /// signal. Without this the app serves on, and the next segue of the same
    /// name takes it over. An upgrade in place is no death.
    #[arg(long, help_heading = APP, verbatim_doc_comment)]
    die_with_supervisor: bool,

    /// How the app is ready: notify or exec:DURATION [default: notify]
    ///
    ///   notify   it says READY=1 (sd_notify)
    ///   exec:2s  it is alive 2 s after exec, for apps that cannot notify
    #[arg(long, value_name = "HOW", value_parser = str::parse::<Ready>, help_heading = HANDOFF, verbatim_doc_comment)]
    ready: Option<Ready>,

    /// How long a new generation may take to be ready [default: 30s]
    ///
    /// Then the reload has failed and the old generation serves on. The app
    /// may ask for more time (EXTEND_TIMEOUT_USEC=).
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    start_timeout: Option<Limit>,

    /// A shell command that must succeed before the takeover
    ///
    /// It is run by /bin/sh -c when the app is ready, and again until it
    /// exits with 0. Every generation gets one more listener for it, a Unix
    /// socket whose path is in SEGUE_PROBE:
    ///   curl --fail --unix-socket "$SEGUE_PROBE" http://localhost/ping
    #[arg(long, value_name = "COMMAND", value_parser = config::parse_shell_command, value_hint = ValueHint::CommandString,
        help_heading = HANDOFF, verbatim_doc_comment)]
    probe: Option<String>,

    /// How long the probe is retried until it has failed [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF)]
    probe_timeout: Option<Limit>,

    /// How long both generations serve before the takeover [default: 0s]
    ///
    /// Longer shows faults of the new one while the old one still serves;
    /// both versions answer meanwhile.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = HANDOFF, verbatim_doc_comment)]
    soak: Option<Duration>,

    /// How long clients may wait before the app accepts any [default: 5s]
    ///
    /// An app that accepts none in that time, and has no connection of that
    /// port, has crashed if it is on probation; later the log and the status
    /// say it. `none` leaves the watch out.
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    accept_timeout: Option<Limit>,

    /// How long after the takeover a crash means rollback [default: 30s]
    ///
    /// The last generation that passed is then started again, from the binary
    /// and environment that it had. `none` leaves probation out.
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    probation: Option<Limit>,

    /// How long the old generation may drain, then KILL [default: 30s]
    ///
    /// The app finds it in SEGUE_DRAIN_TIMEOUT_MS. Longer than the longest
    /// request is right.
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    drain_timeout: Option<Limit>,

    /// The same when the instance stops [default: the drain timeout]
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF)]
    stop_timeout: Option<Limit>,

    /// How far the app can stretch its start or drain [default: 10m]
    ///
    /// It does so by EXTEND_TIMEOUT_USEC=. Counted is all of the start or the
    /// drain; the timeouts themselves are not shortened. `none` grants all.
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    extend_limit: Option<Limit>,

    /// Whether generations overlap or queue [default: overlap]
    ///
    /// With queue the old generation drains and is gone before the new one
    /// starts, for apps that must not run twice; connections wait meanwhile.
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(Mode::WORDS).try_map(|text| text.parse::<Mode>()),
        hide_possible_values = true, help_heading = HANDOFF, verbatim_doc_comment)]
    mode: Option<Mode>,

    /// How many generations may live at once [default: 8]
    ///
    /// Old ones with long connections pile up. A reload above the limit waits
    /// until one has gone; none is killed for it. Overlap mode needs 2.
    #[arg(long, value_name = "N", value_parser = config::parse_generations, help_heading = HANDOFF, verbatim_doc_comment)]
    max_generations: Option<u16>,

    /// Replace K workers at a time, where memory is short [default: all]
    ///
    /// Then no more than the workers and K run at once, old and new, drains
    /// included. If one step fails, the old workers are started again.
    #[arg(long, value_name = "K", value_parser = config::parse_workers, help_heading = HANDOFF, verbatim_doc_comment)]
    rolling: Option<u16>,
    /// Reload only if that much memory is free, such as 512M
    ///
    /// Counted are the machine and each cgroup that segue is in. With less, a
    /// reload waits for old generations to be gone, up to the start timeout,
    /// and then fails; the app serves on. K, M, G are powers of 1024.
    #[arg(long, value_name = "SIZE", value_parser = config::parse_size, help_heading = HANDOFF, verbatim_doc_comment)]
    min_free_memory: Option<u64>,

    /// How often the app must say WATCHDOG=1, at least [default: none]
    ///
    /// The app finds it in WATCHDOG_USEC. One that stays silent for longer
    /// has crashed: it gets ABRT, then KILL, and is started again.
    #[arg(long, value_name = "DURATION", help_heading = HANDOFF, verbatim_doc_comment)]
    watchdog: Option<Limit>,

    /// The name of the instance [default: the file name of COMMAND]
    ///
    /// `segue reload --name NAME` finds it by this name. A user runs a name
    /// once, unless the places of the control sockets are given.
    #[arg(long, value_name = "NAME", value_parser = config::parse_name, help_heading = INSTANCE, verbatim_doc_comment)]
    name: Option<String>,

    /// The path of the control socket
    ///
    /// By default it is called `control` and lies in $RUNTIME_DIRECTORY; else
    /// where an instance of this name runs or was killed; else in the first
    /// that there is of /run/segue/NAME (root), $XDG_RUNTIME_DIR/segue/NAME,
    /// /tmp/segue-UID/NAME and /dev/shm/segue-UID/NAME. Commands look in all.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = INSTANCE, verbatim_doc_comment)]
    control: Option<PathBuf>,

    /// Let members of this group use the control socket
    ///
    /// They can then reload, stop and see the app. Without it only root and
    /// the user that segue runs as can.
    #[arg(long, value_name = "GROUP", value_parser = config::parse_account, help_heading = INSTANCE, verbatim_doc_comment)]
    control_group: Option<String>,

    /// Write the supervisor's pid to this file
    ///
    /// The pid stays the same over all reloads. Nothing is ever read from it.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = INSTANCE, verbatim_doc_comment)]
    pid_file: Option<PathBuf>,

    /// How log lines are written to stderr: text or json [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(LogFormat::WORDS).try_map(|text| text.parse::<LogFormat>()),
        hide_possible_values = true, help_heading = INSTANCE)]
    log_format: Option<LogFormat>,

    /// Reload when this path has changed and come to rest (development)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = INSTANCE)]
    watch: Option<PathBuf>,
}

/// `segue check`.
#[derive(Debug, PartialEq)]
pub(crate) struct Check {
    /// What `segue run` would be given.
    pub(crate) invocation: Invocation,
    /// The unit to look at: a name, or a path.
    pub(crate) unit: Option<String>,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,

    /// Look at a systemd unit, too: whether its values fit
    ///
    /// NAME is asked for by `systemctl show`; what has a slash in it is a
    /// unit file, which is read together with the drop-ins in FILE.d.
    #[arg(long, value_name = "NAME|FILE", help_heading = INSTANCE, value_hint = ValueHint::FilePath, verbatim_doc_comment)]
    unit: Option<String>,
}

// `segue exec`. No doc comment: clap would make it the command's description.
#[derive(Args)]
pub(super) struct ExecArgs {
    /// What to become; everything after it is its own
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true,
        value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

impl ExecArgs {
    pub(super) fn into_command(self) -> Vec<OsString> {
        self.command
    }
}

impl CheckArgs {
    pub(super) fn into_check(self) -> Check {
        Check {
            invocation: self.run.into_invocation(),
            unit: self.unit,
        }
    }
}

impl RunArgs {
    /// The plain data. Only what was given is in it.
    pub(super) fn into_invocation(self) -> Invocation {
        let settings = Settings {
            name: self.name,
            control: self.control,
            control_group: self.control_group,
            pid_file: self.pid_file,
            log_format: self.log_format,
            listen: self.listen,
            command: self.command,
            workers: self.workers,
            mode: self.mode,
            ready: self.ready,
            start_timeout: self.start_timeout,
            drain_timeout: self.drain_timeout,
            stop_timeout: self.stop_timeout,
            extend_limit: self.extend_limit,
            accept_timeout: self.accept_timeout,
            probation: self.probation,
            probe: self.probe,
            probe_timeout: self.probe_timeout,
            soak: self.soak,
            watchdog: self.watchdog,
            max_generations: self.max_generations,
            rolling: self.rolling,
            min_free_memory: self.min_free_memory,
            stop_signal: self.stop_signal,
            stop_signal_to: self.stop_signal_to,
            env: self.env,
            env_file: self.env_file,
            chdir: self.chdir,
            umask: self.umask,
            stderr: self.stderr,
            oom_score_adj: self.oom_score_adj,
            user: self.user,
            group: self.group,
            listen_pid: self.no_listen_pid.then_some(ListenPid::LeftOut),
            orphaned: self.die_with_supervisor.then_some(Orphaned::Stops),
            watch: self.watch,
        };
        Invocation {
            config: self.config,
            settings,
        }
    }
}
