//! What `segue init` takes.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// `segue init`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Init {
    /// The unit to take below segue; without one a segue.toml is begun.
    pub(crate) unit: Option<String>,
    /// The file system that the unit is in.
    pub(crate) root: PathBuf,
    /// Whether files are to be written, if it was said.
    pub(crate) writes: Option<Writes>,
}

/// Whether files are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    Yes,
    No,
}

// No doc comment: clap would make it the description of the command.
#[derive(Args)]
pub(super) struct InitArgs {
    /// Print what takes a systemd unit below segue
    ///
    /// A drop-in for it, one for its socket unit, and its segue.toml, with
    /// the reason for each line. NAME is looked up as systemd does, drop-ins
    /// included; what has a slash in it is a unit file.
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath, verbatim_doc_comment)]
    unit: Option<String>,

    /// Write the files, in place of printing them
    ///
    /// A file that segue init did not write, or that was changed since, is
    /// left alone, and nothing is written then.
    #[arg(long, conflicts_with = "dry_run", verbatim_doc_comment)]
    write: bool,

    /// Print the files: the default with --unit
    #[arg(long)]
    dry_run: bool,

    /// The file system that the unit is in [default: /]
    ///
    /// For an image that is being made: no systemd is asked, and files are
    /// written there.
    #[arg(long, value_name = "DIR", requires = "unit", value_hint = ValueHint::DirPath, verbatim_doc_comment)]
    root: Option<PathBuf>,
}

impl From<InitArgs> for Init {
    fn from(args: InitArgs) -> Init {
        let writes = match args {
            InitArgs { write: true, .. } => Some(Writes::Yes),
            InitArgs { dry_run: true, .. } => Some(Writes::No),
            InitArgs { .. } => None,
        };
        Init {
            unit: args.unit,
            root: args.root.unwrap_or_else(|| PathBuf::from("/")),
            writes,
        }
    }
}
