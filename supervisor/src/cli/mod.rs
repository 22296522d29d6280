//! The command line: what was asked for, as plain data.
//!
//! Floor 3, and the only room that knows clap. It parses and refuses, and does nothing: `main` carries out what
//! [`parse`] returns. Each value is read by the function of `config` that also reads the key of segue.toml.

mod answer;
mod clients;
mod deploy;
mod init;
mod meant;
mod run;
mod texts;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser, Subcommand};

pub(crate) use answer::{Answer, Codes};
pub(crate) use clients::{
    Color, Completions, Events, Form, List, Logs, Reload, ReloadDetail, Status, StatusForm, Target, Workers,
};

pub(crate) use init::{Init, Writes};
pub(crate) use run::{Check, Dev};

use crate::config::{self, Config, Invocation};
use crate::deploy::Wanted;

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    /// Supervise an app, in the foreground.
    Run(Invocation),
    /// Supervise an app and reload it when its files change.
    Dev(Dev),
    /// Ask an instance for a new generation.
    Reload(Reload),
    /// Put a new version in place and reload, or leave everything as it was.
    Deploy(Box<Wanted>),
    /// Ask an instance how it is.
    Status(Status),
    /// Follow what happens to an instance.
    Events(Events),
    /// Read what an app writes.
    Logs(Logs),
    /// Find all instances.
    List(List),
    /// Ask an instance to stop.
    Stop(Target),
    /// Ask an instance for more or fewer workers.
    Workers(Workers),
    /// Ask an instance to replace its supervisor by the binary that is on disk now.
    Upgrade(Target),
    /// End what is left of a unit of systemd whose stop was asked for.
    Cleanup(Target),
    /// Find mistakes in flags and file, and bind and start nothing.
    Check(Check),
    /// Write a first segue.toml, or what takes a unit of systemd below segue.
    Init(Init),
    /// Ask an instance for its metrics.
    Metrics(Target),
    /// Become a command that takes the sockets of LISTEN_FDS, below a wrapper that forked.
    Exec(Vec<OsString>),
    /// Print a completion script.
    Completions(Completions),
}

/// Parses the arguments, the first of which is the program's own name.
///
/// # Errors
///
/// The [`Answer`] to give instead of doing anything: the help or version that was asked for (exit code 0), or why
/// the arguments cannot be understood (exit code 2).
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Answer> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Line::try_parse_from(&arguments) {
        Ok(line) => Ok(line.word.into_command()),
        Err(error) => {
            let first = arguments
                .get(1)
                .map(|word| word.to_string_lossy())
                .unwrap_or_default();
            let codes = Codes::asked_for(&arguments);
            Err(answer::from_clap(&error, meant::tip(&error, &first), codes))
        }
    }
}

/// The settings that these arguments of `segue run` give, which [`config::to_arguments`] wrote.
///
/// # Errors
///
/// One line: an older or newer version means something else by them.
pub(crate) fn settings(arguments: Vec<OsString>) -> Result<Config, String> {
    let words = ["segue", "run"].map(OsString::from);
    match parse(words.into_iter().chain(arguments)) {
        Ok(Command::Run(invocation)) => config::resolve(&invocation).map_err(|error| error.to_string()),
        Ok(_) => Err("the arguments are not those of segue run".to_owned()),
        Err(answer) => Err(answer.text.lines().next().unwrap_or_default().to_owned()),
    }
}

#[derive(Parser)]
#[command(
    name = "segue",
    version,
    about = texts::ABOUT,
    long_about = texts::LONG_ABOUT,
    after_help = texts::AFTER_HELP,
    after_long_help = texts::AFTER_LONG_HELP,
    max_term_width = 100
)]
struct Line {
    #[command(subcommand)]
    word: Word,
}

/// The subcommands. Their descriptions are in `texts`, beside each other, for they share words.
#[derive(Subcommand)]
#[command(defer = true)]
enum Word {
    #[command(about = texts::RUN, override_usage = texts::RUN_USAGE, long_about = texts::LONG_RUN, after_long_help = texts::AFTER_RUN)]
    Run(Box<run::RunArgs>),
    #[command(about = texts::DEV, override_usage = texts::DEV_USAGE, long_about = texts::LONG_DEV, after_long_help = texts::AFTER_DEV)]
    Dev(Box<run::DevArgs>),
    #[command(about = texts::RELOAD, long_about = texts::LONG_RELOAD, after_long_help = texts::EXIT_CODES)]
    Reload(clients::ReloadArgs),
    #[command(args_override_self = true, about = texts::DEPLOY, override_usage = texts::DEPLOY_USAGE, long_about = texts::LONG_DEPLOY, after_long_help = texts::DEPLOY_CODES)]
    Deploy(Box<deploy::DeployArgs>),
    #[command(about = texts::STATUS, long_about = texts::LONG_STATUS, after_long_help = texts::STATUS_CODES)]
    Status(clients::StatusArgs),
    #[command(about = texts::EVENTS, long_about = texts::LONG_EVENTS, after_long_help = texts::EXIT_CODES)]
    Events(clients::EventsArgs),
    #[command(about = texts::LOGS, long_about = texts::LONG_LOGS, after_long_help = texts::EXIT_CODES)]
    Logs(clients::LogsArgs),
    #[command(about = texts::LIST, long_about = texts::LONG_LIST, after_long_help = texts::LIST_CODES)]
    List(clients::ListArgs),
    #[command(about = texts::STOP, long_about = texts::LONG_STOP, after_long_help = texts::EXIT_CODES)]
    Stop(clients::InstanceArgs),
    #[command(about = texts::WORKERS, long_about = texts::LONG_WORKERS, after_long_help = texts::EXIT_CODES)]
    Workers(clients::WorkersArgs),
    #[command(about = texts::UPGRADE, long_about = texts::LONG_UPGRADE, after_long_help = texts::EXIT_CODES)]
    Upgrade(clients::InstanceArgs),
    #[command(about = texts::CLEANUP, long_about = texts::LONG_CLEANUP)]
    Cleanup(clients::TargetArgs),
    #[command(about = texts::CHECK, override_usage = texts::CHECK_USAGE, long_about = texts::LONG_CHECK, after_long_help = texts::CHECK_CODES)]
    Check(Box<run::CheckArgs>),
    #[command(about = texts::INIT, long_about = texts::LONG_INIT, after_long_help = texts::INIT_CODES)]
    Init(init::InitArgs),
    #[command(about = texts::METRICS, long_about = texts::LONG_METRICS, after_long_help = texts::EXIT_CODES)]
    Metrics(clients::InstanceArgs),
    #[command(about = texts::EXEC, override_usage = texts::EXEC_USAGE, long_about = texts::LONG_EXEC, after_long_help = texts::AFTER_EXEC)]
    Exec(run::ExecArgs),
    #[command(about = texts::COMPLETIONS, long_about = texts::LONG_COMPLETIONS)]
    Completions(clients::CompletionsArgs),
}

impl Word {
    fn into_command(self) -> Command {
        match self {
            Word::Run(args) => Command::Run(args.into_invocation()),
            Word::Dev(args) => Command::Dev(args.into_dev()),
            Word::Reload(args) => Command::Reload(args.into()),
            Word::Deploy(args) => Command::Deploy(Box::new((*args).into())),
            Word::Status(args) => Command::Status(args.into()),
            Word::Events(args) => Command::Events(args.into()),
            Word::Logs(args) => Command::Logs(args.into()),
            Word::List(args) => Command::List(args.into()),
            Word::Stop(args) => Command::Stop(args.into()),
            Word::Workers(args) => Command::Workers(args.into()),
            Word::Upgrade(args) => Command::Upgrade(args.into()),
            Word::Cleanup(args) => Command::Cleanup(args.into()),
            Word::Check(args) => Command::Check(args.into_check()),
            Word::Init(args) => Command::Init(args.into()),
            Word::Metrics(args) => Command::Metrics(args.into()),
            Word::Exec(args) => Command::Exec(args.into_command()),
            Word::Completions(args) => Command::Completions(args.into()),
        }
    }
}

/// The grammar, for completion scripts and tests.
fn grammar() -> clap::Command {
    Line::command()
}
