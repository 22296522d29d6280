//! What `segue run`, `segue dev`, `segue check` and `segue exec` take. The flags are those of the table in `config::options`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{
    OsStringValueParser, PathBufValueParser, PossibleValuesParser, StringValueParser, TypedValueParser as _,
    ValueParser,
};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, ValueHint};

use crate::config::options::{self, Completes, Setting, Takes, Times};
use crate::config::{Invocation, Settings};

/// `segue run`: the flags, and COMMAND with its ARGs.
pub(super) struct RunArgs(Invocation);

// COMMAND, which has no flag. No doc comment: clap would make it the description of the command.
#[derive(Args)]
struct CommandArgs {
    /// The app and its arguments; what follows COMMAND is the app's
    ///
    /// A COMMAND without a slash is looked up in PATH; a relative one is
    /// relative to --chdir. It is looked up afresh at each reload, symlinks
    /// included. Without COMMAND and --config, ./segue.toml is read.
    #[arg(value_name = "COMMAND", trailing_var_arg = true,
        value_hint = ValueHint::CommandWithArguments, verbatim_doc_comment)]
    command: Vec<OsString>,
}

impl RunArgs {
    /// The plain data. Only what was given is in it.
    pub(super) fn into_invocation(self) -> Invocation {
        self.0
    }
}

impl Args for RunArgs {
    fn augment_args(grammar: clap::Command) -> clap::Command {
        CommandArgs::augment_args(grammar).args(options::flags().map(flag))
    }

    fn augment_args_for_update(grammar: clap::Command) -> clap::Command {
        Self::augment_args(grammar)
    }
}

impl FromArgMatches for RunArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        invocation(options::flags(), matches).map(RunArgs)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What was given of these flags, and COMMAND.
fn invocation(
    flags: impl Iterator<Item = &'static Setting>,
    matches: &ArgMatches,
) -> Result<Invocation, clap::Error> {
    let mut settings = Settings::default();
    for setting in flags {
        take(setting, matches, &mut settings)
            .map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))?;
    }
    settings.command = CommandArgs::from_arg_matches(matches)?.command;
    let config = matches.get_one::<OsString>("config").map(PathBuf::from);
    Ok(Invocation { config, settings })
}

/// `segue dev`.
#[derive(Debug, PartialEq)]
pub(crate) struct Dev {
    /// What was given, its own flags among it.
    pub(crate) invocation: Invocation,
    /// What `segue run` is to be given of it.
    pub(crate) words: Vec<OsString>,
}

/// `segue dev`: the flags of `segue run` and its own, and COMMAND with its ARGs.
pub(super) struct DevArgs(Dev);

impl DevArgs {
    pub(super) fn into_dev(self) -> Dev {
        self.0
    }
}

impl Args for DevArgs {
    fn augment_args(grammar: clap::Command) -> clap::Command {
        CommandArgs::augment_args(grammar).args(options::dev_flags().map(flag))
    }

    fn augment_args_for_update(grammar: clap::Command) -> clap::Command {
        Self::augment_args(grammar)
    }
}

impl FromArgMatches for DevArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let invocation = invocation(options::dev_flags(), matches)?;
        let mut words: Vec<OsString> = options::flags()
            .flat_map(|setting| given(setting, matches))
            .collect();
        if !invocation.settings.command.is_empty() {
            words.push("--".into());
            words.extend_from_slice(&invocation.settings.command);
        }
        Ok(DevArgs(Dev { invocation, words }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A flag as it was given, once for each time.
fn given(setting: &Setting, matches: &ArgMatches) -> Vec<OsString> {
    let word = format!("--{}", setting.name);
    if setting.takes() == Takes::Nothing {
        let given = matches.get_flag(setting.name);
        return given.then(|| word.into()).into_iter().collect();
    }
    let values = matches.get_many::<OsString>(setting.name).into_iter().flatten();
    values
        .map(|value| {
            let mut whole = OsString::from(format!("{word}="));
            whole.push(value);
            whole
        })
        .collect()
}

/// A setting as a flag.
fn flag(setting: &'static Setting) -> Arg {
    let mut summary = setting.summary.to_owned();
    if let Some(default) = setting.default() {
        summary.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .short(setting.short)
        .help_heading(setting.group.title());
    let arg = if setting.help.is_empty() {
        arg.help(summary)
    } else {
        arg.long_help(format!("{summary}\n\n{}", setting.help))
            .help(summary)
    };
    let takes = setting.takes();
    if takes == Takes::Nothing {
        return arg.action(ArgAction::SetTrue);
    }
    let action = match setting.times() {
        Times::Once => ArgAction::Set,
        Times::Many => ArgAction::Append,
    };
    arg.action(action)
        .value_name(setting.value)
        .value_hint(hint(setting.completes))
        .allow_negative_numbers(takes == Takes::Number)
        .hide_possible_values(true)
        .value_parser(parser(setting, takes))
}

/// Refuses what the setting would refuse, with its words, and leaves the value as it is.
fn parser(setting: &'static Setting, takes: Takes) -> ValueParser {
    let check = |given: OsString| setting.take(&given, &mut Settings::default()).map(|()| given);
    match takes {
        Takes::Words(words) => PossibleValuesParser::new(words).map(OsString::from).into(),
        Takes::Path => PathBufValueParser::new().map(PathBuf::into_os_string).into(),
        Takes::Bytes => OsStringValueParser::new().try_map(check).into(),
        Takes::Text | Takes::Number | Takes::Nothing => StringValueParser::new()
            .try_map(move |text| check(text.into()))
            .into(),
    }
}

fn hint(completes: Completes) -> ValueHint {
    match completes {
        Completes::Nothing => ValueHint::Unknown,
        Completes::File => ValueHint::FilePath,
        Completes::Directory => ValueHint::DirPath,
        Completes::Path => ValueHint::AnyPath,
        Completes::User => ValueHint::Username,
        Completes::Command => ValueHint::CommandString,
    }
}

/// Takes what the command line says of a setting.
fn take(setting: &Setting, matches: &ArgMatches, settings: &mut Settings) -> Result<(), String> {
    if setting.takes() == Takes::Nothing {
        let given = matches.get_flag(setting.name);
        return if given {
            setting.take(OsStr::new(""), settings)
        } else {
            Ok(())
        };
    }
    let mut values = matches.get_many::<OsString>(setting.name).into_iter().flatten();
    values.try_for_each(|value| setting.take(value, settings))
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
    #[arg(long, value_name = "NAME|FILE", help_heading = "The instance", value_hint = ValueHint::FilePath, verbatim_doc_comment)]
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
