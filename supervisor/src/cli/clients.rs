//! The commands that ask a running instance, and `segue completions`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};
use clap_complete::{generate, shells};

use super::grammar;
use crate::config::{self, Limit};
use crate::protocol::{Change, Until};

/// The heading of the options that all these commands have.
const INSTANCE: &str = "Which instance";

/// Which instance is asked, and how long its answer is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name of the instance.
    pub(crate) name: Option<String>,
    /// The path of its control socket.
    pub(crate) control: Option<PathBuf>,
    /// After this time the client leaves with exit code 4; what it asked for goes on. `None` waits without end.
    pub(crate) timeout: Option<Duration>,
}

/// `segue reload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reload {
    /// Which instance.
    pub(crate) target: Target,
    /// How far the reload must have come before the command returns.
    pub(crate) until: Until,
    /// How the outcome is printed.
    pub(crate) form: Form,
    /// How much is said of a failure.
    pub(crate) detail: ReloadDetail,
    /// Not now, but whenever one of these paths has changed.
    pub(crate) when_changed: Vec<PathBuf>,
}

impl Target {
    /// The flags that say the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut add = |flag: &str, value: OsString| words.extend([flag.into(), value]);
        if let Some(name) = &self.name {
            add("--name", name.into());
        }
        if let Some(control) = &self.control {
            add("--control", control.into());
        }
        if let Some(timeout) = self.timeout {
            add("--timeout", config::duration::text(timeout).into());
        }
        words
    }
}

/// How much is said of a reload that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReloadDetail {
    /// One line.
    Reason,
    /// And the last lines of the version that failed.
    LastLines,
}

/// How the outcome of a reload, or a list, is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words for people.
    Words,
    /// One JSON object for programs.
    Json,
    /// The same as `KEY=VALUE` lines for shell scripts.
    Flat,
}

/// When words of state are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    /// On a terminal that has colours, unless `NO_COLOR` is set.
    Auto,
    Always,
    Never,
}

impl Color {
    const WORDS: [&str; 3] = ["auto", "always", "never"];
}

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Color, String> {
        match text {
            "auto" => Ok(Color::Auto),
            "always" => Ok(Color::Always),
            "never" => Ok(Color::Never),
            other => Err(format!("no time for colours: {other}")),
        }
    }
}

// No doc comment: clap would make it the description of each command.
#[derive(Args)]
pub(super) struct ColorArgs {
    /// Colour words of state: auto, always or never
    ///
    /// `auto` means on a terminal, unless NO_COLOR is set or TERM is dumb.
    #[arg(long, verbatim_doc_comment, value_name = "WHEN", default_value = "auto", hide_possible_values = true,
        value_parser = PossibleValuesParser::new(Color::WORDS).try_map(|text| text.parse::<Color>()))]
    color: Color,
}

/// `segue status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// Which instance.
    pub(crate) target: Target,
    /// How it is shown.
    pub(crate) form: StatusForm,
    /// Whether in colour.
    pub(crate) color: Color,
}

/// How a status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// A table for people.
    Table,
    /// One JSON object for programs.
    Json,
    /// The same as `KEY=VALUE` lines for shell scripts.
    Flat,
    /// The table, drawn again until the command is interrupted.
    Watch,
}

/// `segue workers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workers {
    /// Which instance.
    pub(crate) target: Target,
    /// How the number changes.
    pub(crate) change: Change,
}

/// `segue completions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Completions {
    shell: Shell,
}

/// The shells that servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl Shell {
    const WORDS: [&str; 3] = ["bash", "fish", "zsh"];
}

impl FromStr for Shell {
    type Err = String;

    fn from_str(text: &str) -> Result<Shell, String> {
        match text {
            "bash" => Ok(Shell::Bash),
            "fish" => Ok(Shell::Fish),
            "zsh" => Ok(Shell::Zsh),
            other => Err(format!("no script for {other}")),
        }
    }
}

impl Completions {
    /// The completion script, to be written to stdout.
    pub(crate) fn script(self) -> Vec<u8> {
        let mut script = Vec::new();
        let mut grammar = grammar();
        match self.shell {
            Shell::Bash => generate(shells::Bash, &mut grammar, "segue", &mut script),
            Shell::Fish => generate(shells::Fish, &mut grammar, "segue", &mut script),
            Shell::Zsh => generate(shells::Zsh, &mut grammar, "segue", &mut script),
        }
        script
    }
}

// All the options of commands that have none of their own. No doc comment: clap would make it the description of each of them.
#[derive(Args)]
pub(super) struct TargetArgs {
    /// The name of the instance, as of `segue run --name`
    ///
    /// By default the only instance that runs is taken; if there are several,
    /// they are listed. Root asks another user's as USER/NAME.
    #[arg(long, value_name = "NAME", value_parser = parse_owned_name, conflicts_with = "control",
        help_heading = INSTANCE, verbatim_doc_comment)]
    name: Option<String>,

    /// The control socket of the instance, as of `segue run --control`
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = INSTANCE)]
    control: Option<PathBuf>,

    /// How long to wait for the answer [default: none]
    ///
    /// When it has passed, the command leaves with exit code 4. What was
    /// asked for goes on: only the waiting ends. Without it, status and
    /// metrics wait for 5 s, the others as long as it takes.
    #[arg(long, value_name = "DURATION", help_heading = INSTANCE, verbatim_doc_comment)]
    timeout: Option<Limit>,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Target {
        let timeout = args.timeout.and_then(|Limit(limit)| limit);
        Target {
            name: args.name,
            control: args.control,
            timeout,
        }
    }
}

// The same with the name as the first word. No doc comment, as above.
#[derive(Args)]
pub(super) struct InstanceArgs {
    /// The name of the instance: the same as --name
    #[arg(value_name = "NAME", value_parser = parse_instance, allow_negative_numbers = true,
        conflicts_with_all = ["name", "control"], help_heading = INSTANCE)]
    instance: Option<String>,

    #[command(flatten)]
    flags: TargetArgs,
}

impl From<InstanceArgs> for Target {
    fn from(args: InstanceArgs) -> Target {
        let target = Target::from(args.flags);
        Target {
            name: args.instance.or(target.name),
            ..target
        }
    }
}

/// A name that cannot be taken for a number of workers.
fn parse_instance(text: &str) -> Result<String, String> {
    let digits = text.trim_start_matches(['+', '-']);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a number is no name here; an instance that is called so is named by --name".to_owned());
    }
    parse_owned_name(text)
}

/// `NAME`, or `USER/NAME`.
fn parse_owned_name(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        // Users are called as instances are (useradd(8)).
        Some((user, name)) => {
            let (user, name) = (config::parse_name(user)?, config::parse_name(name)?);
            Ok(format!("{user}/{name}"))
        }
        None => config::parse_name(text),
    }
}

/// `segue events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Events {
    /// Which instance.
    pub(crate) target: Target,
    /// Whether what happens next is waited for.
    pub(crate) follow: bool,
}

#[derive(Args)]
pub(super) struct EventsArgs {
    /// Go on with all that happens, until interrupted
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    target: InstanceArgs,
}

impl From<EventsArgs> for Events {
    fn from(args: EventsArgs) -> Events {
        Events {
            target: args.target.into(),
            follow: args.follow,
        }
    }
}

/// `segue logs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logs {
    /// Which instance.
    pub(crate) target: Target,
    /// Whether lines that are yet to come are waited for.
    pub(crate) follow: bool,
    /// The generation whose lines they are; none for all.
    pub(crate) generation: Option<u64>,
    /// Whether in colour.
    pub(crate) color: Color,
}

#[derive(Args)]
pub(super) struct LogsArgs {
    /// Go on with the lines that are yet to come, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Only the lines of this generation; for the journal
    #[arg(long, short, value_name = "N")]
    generation: Option<u64>,

    #[command(flatten)]
    color: ColorArgs,

    #[command(flatten)]
    target: InstanceArgs,
}

impl From<LogsArgs> for Logs {
    fn from(args: LogsArgs) -> Logs {
        Logs {
            target: args.target.into(),
            follow: args.follow,
            generation: args.generation,
            color: args.color.color,
        }
    }
}

/// `segue list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct List {
    /// How it is printed.
    pub(crate) form: Form,
    /// Whether in colour.
    pub(crate) color: Color,
}

#[derive(Args)]
pub(super) struct ListArgs {
    /// Print one JSON object, for programs
    #[arg(long, conflicts_with = "flat")]
    json: bool,

    /// Print the same as KEY=VALUE lines, for shell scripts
    #[arg(long)]
    flat: bool,

    #[command(flatten)]
    color: ColorArgs,
}

impl From<ListArgs> for List {
    fn from(args: ListArgs) -> List {
        let form = match args {
            ListArgs { json: true, .. } => Form::Json,
            ListArgs { flat: true, .. } => Form::Flat,
            ListArgs { .. } => Form::Words,
        };
        List {
            form,
            color: args.color.color,
        }
    }
}

#[derive(Args)]
pub(super) struct ReloadArgs {
    /// Wait until probation has passed and the new generation is trusted
    #[arg(long, conflicts_with_all = ["drained", "no_wait"])]
    settled: bool,

    /// Wait until the old generation has drained and is gone
    #[arg(long, conflicts_with = "no_wait")]
    drained: bool,

    /// Wait for nothing: the outcome is in the log and in `segue status`
    #[arg(long)]
    no_wait: bool,

    /// After a failure print the last lines that the new version has written
    ///
    /// Ten at most, from where its standard error went: a file (--stderr), or
    /// the journal, if you may read it.
    #[arg(long, conflicts_with = "no_wait", verbatim_doc_comment)]
    verbose: bool,

    /// Print the outcome as one JSON object, for programs
    #[arg(long, conflicts_with = "flat")]
    json: bool,

    /// Print the outcome as KEY=VALUE lines, for shell scripts
    #[arg(long)]
    flat: bool,

    /// Not now, but each time PATH has changed; can be repeated
    ///
    /// It runs until it is interrupted: for settings that something else puts
    /// there, such as a ConfigMap's volume. `segue dev` is for development.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, verbatim_doc_comment,
        conflicts_with_all = ["settled", "drained", "no_wait", "verbose", "json", "flat"])]
    when_changed: Vec<PathBuf>,

    #[command(flatten)]
    target: InstanceArgs,
}

impl From<ReloadArgs> for Reload {
    fn from(args: ReloadArgs) -> Reload {
        let form = match args {
            ReloadArgs { json: true, .. } => Form::Json,
            ReloadArgs { flat: true, .. } => Form::Flat,
            ReloadArgs { .. } => Form::Words,
        };
        let detail = match args {
            ReloadArgs { verbose: true, .. } => ReloadDetail::LastLines,
            ReloadArgs { .. } => ReloadDetail::Reason,
        };
        let until = match args {
            ReloadArgs { settled: true, .. } => Until::Settled,
            ReloadArgs { drained: true, .. } => Until::Drained,
            ReloadArgs { no_wait: true, .. } => Until::Accepted,
            ReloadArgs { .. } => Until::Takeover,
        };
        Reload {
            target: args.target.into(),
            until,
            form,
            detail,
            when_changed: args.when_changed,
        }
    }
}

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Print one JSON object, for programs
    #[arg(long, conflicts_with = "watch")]
    json: bool,

    /// Print the same as KEY=VALUE lines, for shell scripts
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    flat: bool,

    /// Show it on the whole screen and draw it again each second
    ///
    /// `q` quits, the space bar pauses. Where standard output is no terminal,
    /// or TERM is dumb, each table follows the last one until interrupted.
    #[arg(long, verbatim_doc_comment)]
    watch: bool,

    #[command(flatten)]
    color: ColorArgs,

    #[command(flatten)]
    target: InstanceArgs,
}

impl From<StatusArgs> for Status {
    fn from(args: StatusArgs) -> Status {
        let form = match args {
            StatusArgs { json: true, .. } => StatusForm::Json,
            StatusArgs { flat: true, .. } => StatusForm::Flat,
            StatusArgs { watch: true, .. } => StatusForm::Watch,
            StatusArgs { .. } => StatusForm::Table,
        };
        Status {
            target: args.target.into(),
            form,
            color: args.color.color,
        }
    }
}

#[derive(Args)]
#[command(allow_missing_positional = true)]
pub(super) struct WorkersArgs {
    #[command(flatten)]
    target: InstanceArgs,

    /// `4` for four workers, `+1` for one more, `-1` for one fewer
    #[arg(value_name = "N|+N|-N", value_parser = parse_change, allow_negative_numbers = true)]
    change: Change,
}

impl From<WorkersArgs> for Workers {
    fn from(args: WorkersArgs) -> Workers {
        Workers {
            target: args.target.into(),
            change: args.change,
        }
    }
}

fn parse_change(text: &str) -> Result<Change, String> {
    match text.as_bytes().first() {
        Some(b'+') => config::parse_workers(&text[1..]).map(Change::Add),
        Some(b'-') => config::parse_workers(&text[1..]).map(Change::Remove),
        Some(_) | None => config::parse_workers(text).map(Change::Set),
    }
}

#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell to print a script for
    #[arg(value_name = "SHELL", value_parser = PossibleValuesParser::new(Shell::WORDS).try_map(|text| text.parse::<Shell>()))]
    shell: Shell,
}

impl From<CompletionsArgs> for Completions {
    fn from(args: CompletionsArgs) -> Completions {
        Completions { shell: args.shell }
    }
}
