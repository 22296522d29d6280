//! Segue: a tiny supervisor that hands listening sockets from one generation of an app to the next.
//!
//! Floor 5: parse, open, run, exit code. The reload itself is the package `segue-lifecycle`; the loop that turns
//! the outside into its events is `shell`. docs/ARCHITECTURE.md has the picture.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "segue supervises with Linux facilities (signalfd, pidfd, SO_PEERCRED); it builds on Linux only"
);

mod activation;
mod address;
mod boot;
mod children;
mod cleanup;
mod cli;
mod client;
mod clock;
mod config;
mod control;
mod deploy;
mod descent;
mod dev;
mod init;
mod job;
mod keeper;
mod launch;
mod listeners;
mod log;
mod manager;
mod memory;
mod own_unit;
mod paint;
mod pid_file;
mod place;
mod protocol;
mod readiness;
#[cfg(test)]
mod samples;
mod shell;
mod shim;
mod sight;
mod signals;
mod sources;
mod state;
mod status;
mod stderr;
mod sys;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod trials;
mod unit;
mod upgrade;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cli::{Color, Command, Form, ReloadDetail, StatusForm};
use client::Refresh;
use config::{App, Invocation};
use launch::{BirthRecord, InheritedEnvironment};
use nix::unistd::Pid;
use place::Surroundings;
use segue_lifecycle::Ending;
use state::Flaw;
use status::{Gauge, Showing, View, Viewer};
use upgrade::Saved;

/// It failed.
const FAILED: u8 = 1;

/// The command line or the settings cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // First of all: what follows is then as it was for the binary that handed over to this one.
    let handed_over = upgrade::was_handed_over();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(number) = upgrade::asked_to_check(&arguments) {
        let status = upgrade::answer(&number, |saved| understand(saved, born_with()));
        return ExitCode::from(status);
    }
    let parsed = cli::parse(arguments);
    if !matches!(parsed, Ok(Command::Exec(_))) {
        // That one becomes the app, which has the signals of its birth.
        sys::ignore_file_size_limit();
    }
    match (parsed, handed_over) {
        (Ok(Command::Run(invocation)), Some(number)) => resume(&number, invocation, born_with()),
        (Ok(command), _) => carry_out(command),
        (Err(answer), _) => misused(&answer),
    }
}

/// Say what is wrong with the command line, or what was asked for in place of a command; to programs in codes as well.
fn misused(answer: &cli::Answer) -> ExitCode {
    match answer.codes {
        None => {}
        Some(cli::Codes::Outcome(asked)) => client::tell_misuse(form(asked), answer.reason()),
        Some(cli::Codes::Deploy) => deploy::tell_misuse(answer.reason()),
    }
    answer.print()
}

/// What an app inherits: to be asked before anything of it is changed for our own use, and only by a command that starts an app.
fn born_with() -> InheritedEnvironment {
    InheritedEnvironment::of_this_process()
}

/// Whether this binary could go on with a state, and with the command line that it would be executed with.
fn understand(saved: Saved, inherited_environment: InheritedEnvironment) -> Result<(), Flaw> {
    match cli::parse(saved.origin.arguments().iter().cloned()) {
        Ok(Command::Run(invocation)) => shell::restore(saved, invocation, inherited_environment).map(drop),
        Ok(_) => Err(Flaw::new("its command line is not one of segue run")),
        Err(answer) => {
            let line = answer.text.lines().next().unwrap_or_default();
            Err(Flaw::new(format_args!("its command line: {line}")))
        }
    }
}

/// Go on as the supervisor that this process was until it executed this binary.
fn resume(
    number: &OsString,
    invocation: Invocation,
    inherited_environment: InheritedEnvironment,
) -> ExitCode {
    let saved = upgrade::receive(number, Pid::this());
    let restored = saved.and_then(|mut saved| {
        let left = std::mem::take(&mut saved.left);
        Ok((shell::restore(saved, invocation, inherited_environment)?, left))
    });
    match restored {
        Ok((shell, left)) => {
            left.close();
            exit_code(shell::go_on(shell.take_charge()))
        }
        Err(flaw) => {
            let failed = refuse(&flaw, FAILED);
            upgrade::begin_anew(number);
            failed
        }
    }
}

fn exit_code(ending: Result<Ending, shell::ShellError>) -> ExitCode {
    match ending {
        Ok(Ending::Stopped) => ExitCode::SUCCESS,
        Ok(Ending::NeverServed(_)) => ExitCode::from(FAILED),
        Err(error) => refuse(&error, FAILED),
    }
}

fn carry_out(command: Command) -> ExitCode {
    match command {
        Command::Run(invocation) if invocation.settings.app == Some(App::List) => {
            print(config::list_apps().as_bytes())
        }
        Command::Run(invocation) => run(invocation, born_with()),
        Command::Dev(wanted) => develop(wanted),
        Command::Deploy(wanted) => deploy::run(*wanted),
        Command::Check(wanted) => check(&wanted, &born_with()),
        Command::Init(wanted) => begin(&wanted),
        Command::Completions(completions) => print(&completions.script()),
        Command::Reload(reload) if !reload.when_changed.is_empty() => {
            watch(dev::Wanted::reloads(reload.target.words(), &reload.when_changed))
        }
        Command::Reload(reload) => {
            let form = form(reload.form);
            let detail = match reload.detail {
                ReloadDetail::Reason => client::Detail::Reason,
                ReloadDetail::LastLines => client::Detail::LastLines,
            };
            let (target, timeout) = (target(&reload.target), reload.target.timeout);
            let gauge = match form {
                client::Form::Words => Gauge::on_terminal(reload.until),
                client::Form::Json | client::Form::Flat => None,
            };
            let gauge = gauge.map(|gauge| Box::new(gauge) as Box<dyn client::Gauge>);
            client::reload(&target, reload.until, form, detail, timeout, gauge).into()
        }
        Command::Events(wanted) => {
            let target = target(&wanted.target);
            client::events(&target, follow(wanted.follow), wanted.target.timeout).into()
        }
        Command::Logs(wanted) => {
            let lines = client::Lines {
                generation: wanted.generation,
                follow: follow(wanted.follow),
                colours: colours(wanted.color),
            };
            client::logs(&target(&wanted.target), lines, wanted.target.timeout).into()
        }
        Command::List(list) => client::list(form(list.form), colours(list.color)).into(),
        Command::Stop(wanted) => client::stop(&target(&wanted), wanted.timeout).into(),
        Command::Workers(workers) => {
            client::workers(&target(&workers.target), workers.change, workers.target.timeout).into()
        }
        Command::Upgrade(wanted) => client::upgrade(&target(&wanted), wanted.timeout).into(),
        Command::Cleanup(wanted) => clean_up(&wanted),
        Command::Status(wanted) => show_status(&wanted),
        Command::Metrics(wanted) => show_metrics(&wanted),
        Command::Exec(command) => {
            let refused = shim::run(&command);
            refuse(&refused.text, refused.code)
        }
    }
}

/// Supervise, in the foreground, until it has ended.
fn run(invocation: Invocation, inherited_environment: InheritedEnvironment) -> ExitCode {
    sys::open_many_files();
    let begun = boot::Given::read(&invocation)
        .and_then(|given| boot::open(invocation, given, inherited_environment))
        .and_then(|(begin, predecessor)| match predecessor {
            Some(predecessor) => Ok(shell::go_on(shell::adopt(begin, predecessor)?)),
            None => Ok(shell::run(begin.take_charge())),
        });
    match begun {
        Ok(ending) => exit_code(ending),
        Err(refusal) => refuse(&refusal.text, refusal.code),
    }
}

/// Supervise in a child, and reload when files change.
fn develop(dev: cli::Dev) -> ExitCode {
    let config = match config::resolve(&dev.invocation) {
        Ok(config) => config,
        Err(error) => return refuse(&error, USAGE),
    };
    let around = Surroundings::of_this_process();
    let wanted = place::choose(&config.name, config.control.as_deref(), &around)
        .map_err(|error| error.to_string())
        .and_then(|place| dev::Wanted::of(dev.words, dev.invocation.file(), &config, &place));
    watch(wanted)
}

/// Watch files until it is interrupted.
fn watch(wanted: Result<dev::Wanted, String>) -> ExitCode {
    match wanted.and_then(dev::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => refuse(&text, FAILED),
    }
}

/// Report mistakes in flags and files, and settings that do not fit the unit. Notes alone are no failure.
fn check(wanted: &cli::Check, inherited_environment: &InheritedEnvironment) -> ExitCode {
    let mut needs = None;
    let mut findings = config::check(&wanted.invocation, |config| {
        needs = Some(unit::Needs {
            name: config.name.clone(),
            has_own_control: config.control.is_some(),
            reload: config.longest_reload(),
            stop: config.stop_timeout,
        });
        let found = BirthRecord::resolve(&shell::wanted(config), inherited_environment);
        found.map(drop).map_err(|error| error.to_string())
    });
    if let (Some(unit), Some(needs)) = (&wanted.unit, &needs) {
        match unit::check(unit, needs) {
            Ok(notes) => findings.notes.extend(notes),
            Err(problem) => findings.problems.push(problem),
        }
    } else if let Some(foreign) = wanted.unit.as_deref().and_then(unit::foreign) {
        // There are no settings yet: that comes first.
        findings.problems.insert(0, foreign);
    }
    for problem in &findings.problems {
        say(problem);
    }
    for note in &findings.notes {
        say(&format!("note: {note}"));
    }
    if findings.problems.is_empty() {
        print(b"ok\n")
    } else {
        ExitCode::from(FAILED)
    }
}

/// Begin a segue.toml, or take a unit below segue.
fn begin(wanted: &cli::Init) -> ExitCode {
    let act = match wanted.writes {
        Some(cli::Writes::Yes) => init::Act::Write,
        Some(cli::Writes::No) => init::Act::Show,
        None if wanted.unit.is_some() => init::Act::Show,
        None => init::Act::Write,
    };
    let told = match &wanted.unit {
        Some(unit) => std::env::current_exe()
            .map_err(|error| vec![format!("the path of segue: {}", sys::errno_text(error))])
            .and_then(|segue| init::unit(unit, &wanted.root, &segue, act)),
        None => init::starter(act).map_err(|why| vec![why]),
    };
    match told {
        Ok(told) => {
            told.notes.iter().for_each(|note| say(&format!("note: {note}")));
            print(told.output.as_bytes())
        }
        Err(refused) => {
            refused.iter().for_each(|why| say(why));
            ExitCode::from(FAILED)
        }
    }
}

/// End the processes that a stop has left, for systemd.
fn clean_up(wanted: &cli::Target) -> ExitCode {
    let place = || {
        let name = wanted.name.as_deref().unwrap_or("segue");
        let around = Surroundings::of_this_process();
        place::choose(name, wanted.control.as_deref(), &around).map_err(|error| error.to_string())
    };
    match cleanup::run(place) {
        Ok(told) => {
            told.iter().for_each(|text| say(text));
            ExitCode::SUCCESS
        }
        Err(text) => refuse(&text, FAILED),
    }
}

fn show_status(wanted: &cli::Status) -> ExitCode {
    let (view, form) = match wanted.form {
        StatusForm::Table | StatusForm::Watch => (View::Table, client::Form::Words),
        StatusForm::Json => (View::Json, client::Form::Json),
        StatusForm::Flat => (View::Flat, client::Form::Flat),
    };
    let (refresh, showing) = match wanted.form {
        StatusForm::Watch => (Refresh::EverySecond, Showing::Again),
        StatusForm::Table | StatusForm::Json | StatusForm::Flat => (Refresh::Once, Showing::Once),
    };
    let mut shown = Shown(Viewer::new(view, showing, colours(wanted.color)));
    let (target, timeout) = (target(&wanted.target), wanted.target.timeout);
    client::status(&target, refresh, form, timeout, &mut shown).into()
}

/// A status on stdout.
struct Shown(Viewer);

impl client::Display for Shown {
    fn show(&mut self, sight: client::Sight<'_>) -> io::Result<()> {
        self.0.draw(sight)
    }

    fn rest(&mut self, time: Duration) -> io::Result<ControlFlow<()>> {
        self.0.rest(time)
    }

    fn attend(&mut self, answer: Option<BorrowedFd<'_>>, until: Instant) -> io::Result<ControlFlow<()>> {
        self.0.attend(answer, until)
    }
}

impl client::Gauge for Gauge {
    fn draw(&mut self, seen: protocol::Seen) {
        self.draw(seen);
    }

    fn clear(&mut self) {
        self.clear();
    }
}

fn show_metrics(wanted: &cli::Target) -> ExitCode {
    let mut viewer = Viewer::new(View::Metrics, Showing::Once, paint::When::Never);
    let mut draw = |sight: client::Sight<'_>| viewer.draw(sight);
    client::metrics(&target(wanted), wanted.timeout, &mut draw).into()
}

fn follow(given: bool) -> client::Follow {
    if given {
        client::Follow::Yes
    } else {
        client::Follow::No
    }
}

fn colours(color: Color) -> paint::When {
    match color {
        Color::Auto => paint::When::Auto,
        Color::Always => paint::When::Always,
        Color::Never => paint::When::Never,
    }
}

fn form(form: Form) -> client::Form {
    match form {
        Form::Words => client::Form::Words,
        Form::Json => client::Form::Json,
        Form::Flat => client::Form::Flat,
    }
}

fn target(target: &cli::Target) -> client::Target {
    client::Target {
        name: target.name.clone(),
        control: target.control.clone(),
    }
}

/// One line on stderr, as every refusal of ours.
fn say(text: &str) {
    // If stderr is gone there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "segue: {text}");
}

fn refuse(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    say(&error.to_string());
    ExitCode::from(code)
}

/// A reader that has gone away (`segue completions bash | head -1`) is no error.
fn print(bytes: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => refuse(&format!("write to stdout: {}", sys::errno_text(error)), FAILED),
    }
}
