//! What `segue deploy` takes. Its options are those of deploy.sh, which calls it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueHint};

use crate::config::{self, Limit};
use crate::deploy::{
    Action, Force, Form, Image, KEEP, LOCK_WAIT, PREFLIGHT_ARGUMENTS, PREFLIGHT_TIMEOUT, Preflight,
    RELOAD_TIMEOUT, Rehearsal, Reload, SUPERVISOR_TIMEOUT, Wanted,
};

/// The headings of the options.
const WHAT: &str = "What to deploy";
const OTHER: &str = "Other commands";
const WHERE: &str = "Where";
const HOW: &str = "How";

// No doc comment: clap would make it the description of the command.
#[derive(Args)]
pub(super) struct DeployArgs {
    /// The program to deploy, or with --entry the directory
    #[arg(value_name = "BINARY", value_hint = ValueHint::AnyPath, value_parser = parse_path,
        required_unless_present_any = ["rollback", "list", "image"], conflicts_with_all = ["rollback", "list"], help_heading = WHAT)]
    binary: Option<PathBuf>,

    /// Deploy a directory whose executable is PATH within it
    ///
    /// The command of segue is then ROOT/current/PATH.
    #[arg(long, value_name = "PATH", value_parser = parse_entry, help_heading = WHAT)]
    entry: Option<String>,

    /// Deploy an image of podman
    ///
    /// The release is a script that runs it. It is pulled if it is not here
    /// yet, and kept as long as the release is. A directory in the place of
    /// BINARY becomes part of the release, and its containers have it,
    /// read-only, at --code-at.
    #[arg(long, value_name = "REF", value_parser = parse_image, conflicts_with_all = ["rollback", "list", "entry", "sha256"],
        help_heading = WHAT, verbatim_doc_comment)]
    image: Option<String>,

    /// Where the directory is in a container [default: /srv/NAME]
    #[arg(long, value_name = "PATH", value_parser = parse_code_at, requires_all = ["image", "binary"], help_heading = WHAT)]
    code_at: Option<String>,

    /// Further options of `podman run`, split at spaces
    #[arg(long, value_name = "OPTIONS", requires = "image", allow_hyphen_values = true, help_heading = WHAT)]
    run_options: Option<String>,

    /// How podman is called, split at spaces [default: podman]
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new(), help_heading = WHAT)]
    engine: Option<String>,

    /// Refuse a BINARY with another SHA-256
    #[arg(long, value_name = "HEX", value_parser = parse_sha256, help_heading = WHAT)]
    sha256: Option<String>,

    /// Deploy in any case
    ///
    /// Even if the same release serves already, or if who serves does not run
    /// from ROOT.
    #[arg(long, help_heading = WHAT, verbatim_doc_comment)]
    force: bool,

    /// First run the copy with ARGS, split at spaces [default: --check]
    ///
    /// It is deployed only if it exits with 0.
    #[arg(long, value_name = "ARGS", num_args = 0..=1, require_equals = true, default_missing_value = PREFLIGHT_ARGUMENTS,
        conflicts_with = "preflight_command", help_heading = WHAT)]
    preflight: Option<String>,

    /// First run COMMAND in the directory of the copy
    ///
    /// /bin/sh runs it, './manage.py check --deploy' say. It is deployed only
    /// if that exits with 0.
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new(), help_heading = WHAT, verbatim_doc_comment)]
    preflight_command: Option<String>,

    /// How many seconds a preflight may take [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = parse_some_seconds, help_heading = WHAT)]
    preflight_timeout: Option<Duration>,

    /// Make every check, say what would be done, change nothing
    #[arg(long, help_heading = WHAT)]
    dry_run: bool,

    /// Go back to the release before the current one, or to RELEASE
    #[arg(long, value_name = "RELEASE", num_args = 0..=1, require_equals = true, default_missing_value = "",
        value_parser = parse_release, help_heading = OTHER)]
    rollback: Option<String>,

    /// List the releases
    #[arg(long, conflicts_with = "rollback", help_heading = OTHER)]
    list: bool,

    /// The app [default: the file name of BINARY]
    ///
    /// Its instance of segue has this name, and the file in the release.
    #[arg(long, value_name = "NAME", value_parser = config::parse_name, help_heading = WHERE)]
    name: Option<String>,

    /// Where its releases are [default: /srv/NAME]
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, value_parser = parse_path, help_heading = WHERE)]
    root: Option<PathBuf>,

    /// The control socket of segue, instead of its name
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, value_parser = parse_path, help_heading = WHERE)]
    control: Option<PathBuf>,

    /// Ask the supervisor by this command, and not by its control socket
    ///
    /// Split at spaces unless it is one file, as in 'docker exec app segue'.
    #[arg(long, value_name = "COMMAND", value_parser = NonEmptyStringValueParser::new(), help_heading = WHERE, verbatim_doc_comment)]
    segue: Option<String>,

    /// Return at the takeover, without waiting for probation
    #[arg(long, help_heading = HOW)]
    no_settle: bool,

    /// Put the release in place, but reload nothing
    ///
    /// For the first deploy, before the service has been started.
    #[arg(long, help_heading = HOW)]
    no_reload: bool,

    /// How long to wait for the outcome of the reload [default: 10m]
    ///
    /// `none` waits without end.
    #[arg(long, value_name = "DURATION", help_heading = HOW)]
    timeout: Option<Limit>,

    /// How many seconds a supervisor may be away [default: 60]
    ///
    /// One that goes away during the deploy is waited for, and the outcome of
    /// the reload is read from the status of the one that comes back.
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = HOW, verbatim_doc_comment)]
    supervisor_timeout: Option<Duration>,

    /// Wait for another deploy to end [default: 600]
    ///
    /// Without --wait a second deploy is refused.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600",
        value_parser = parse_seconds, help_heading = HOW)]
    wait: Option<Duration>,

    /// How many good releases stay [default: 5]
    ///
    /// The current one, the one before and those that still run stay in any
    /// case.
    #[arg(long, value_name = "N", value_parser = parse_keep, help_heading = HOW, verbatim_doc_comment)]
    keep: Option<usize>,

    /// Print the outcome, or the list, as JSON, for programs
    #[arg(long, help_heading = HOW)]
    json: bool,
}

impl From<DeployArgs> for Wanted {
    fn from(args: DeployArgs) -> Wanted {
        let engine = args.engine.unwrap_or_else(|| "podman".to_owned());
        let action = match (args.image, args.binary, args.rollback) {
            (Some(reference), code, _) => Action::DeployImage(Image {
                reference,
                code,
                code_at: args.code_at,
                run_options: args.run_options.unwrap_or_default(),
                engine: engine.clone(),
            }),
            (None, Some(binary), _) => Action::Deploy(binary),
            (None, None, Some(release)) => {
                Action::Rollback(Some(release).filter(|release| !release.is_empty()))
            }
            (None, None, None) => Action::List,
        };
        let reload = if args.no_reload {
            Reload::No
        } else if args.no_settle {
            Reload::Takeover
        } else {
            Reload::Settled
        };
        Wanted {
            action,
            name: args.name,
            root: args.root,
            control: args.control,
            segue: args.segue,
            entry: args.entry,
            engine,
            sha256: args.sha256,
            reload,
            timeout: args.timeout.map_or(Some(RELOAD_TIMEOUT), |Limit(limit)| limit),
            supervisor_timeout: args.supervisor_timeout.unwrap_or(SUPERVISOR_TIMEOUT),
            lock_wait: args.wait.unwrap_or_default(),
            keep: args.keep.unwrap_or(KEEP),
            force: if args.force { Force::Yes } else { Force::No },
            rehearsal: if args.dry_run {
                Rehearsal::Yes
            } else {
                Rehearsal::No
            },
            preflight: args
                .preflight
                .map(Preflight::Program)
                .or(args.preflight_command.map(Preflight::Shell)),
            preflight_timeout: args.preflight_timeout.unwrap_or(PREFLIGHT_TIMEOUT),
            form: if args.json { Form::Json } else { Form::Words },
        }
    }
}

fn parse_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.contains('\n') {
        return Err("a line end in a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn parse_entry(text: &str) -> Result<String, String> {
    let is_out = text.starts_with('/') || text.split('/').any(|part| part == "..");
    let text = text.trim_start_matches("./");
    if is_out || text.is_empty() || text.contains('\n') {
        return Err("expected a path within the directory".to_owned());
    }
    Ok(text.to_owned())
}

fn parse_image(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) {
        Err("expected the name of an image".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn parse_code_at(text: &str) -> Result<String, String> {
    if text.contains([':', '\n']) {
        Err("podman takes no colon in the path of a volume".to_owned())
    } else if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err("expected an absolute path".to_owned())
    }
}

fn parse_sha256(text: &str) -> Result<String, String> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() == 64 && text.bytes().all(is_digit) {
        Ok(text.to_owned())
    } else {
        Err("expected 64 digits in lower-case hexadecimal".to_owned())
    }
}

fn parse_release(text: &str) -> Result<String, String> {
    if text.contains('/') || text.starts_with('.') || text.contains('\n') {
        Err("expected the name of a release as in --list".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let is_short = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|_| is_short);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected seconds".to_owned())
}

fn parse_some_seconds(text: &str) -> Result<Duration, String> {
    let time = parse_seconds(text)?;
    if time.is_zero() {
        return Err("expected seconds, 1 at least".to_owned());
    }
    Ok(time)
}

fn parse_keep(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number >= 1);
    number.ok_or_else(|| "expected a number from 1 on".to_owned())
}

// The defaults in the texts above.
const _: () = assert!(
    KEEP == 5
        && LOCK_WAIT.as_secs() == 600
        && PREFLIGHT_TIMEOUT.as_secs() == 30
        && RELOAD_TIMEOUT.as_secs() == 600
        && SUPERVISOR_TIMEOUT.as_secs() == 60
);
