//! What is asked for, by the settings: what to watch, what not, how to build.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::script;
use crate::address::UnixPath;
use crate::config::{self, Config, LogTime, NameOrigin, Reason};
use crate::place::Place;
use crate::sys::errno_text;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The segue binary.
    pub(super) segue: PathBuf,
    pub(super) app: App,
    /// What `segue reload` is given.
    pub(super) reload: Vec<OsString>,
    /// The paths to watch, absolute.
    pub(super) watch: Vec<PathBuf>,
    /// What does not count, as lines of a .gitignore.
    pub(super) ignore: Vec<String>,
    /// Files that do not count: the supervisor or the build writes them.
    pub(super) ours: Vec<PathBuf>,
    /// The shell command that builds the app.
    pub(super) build: Option<String>,
    /// How long that may take; `None` for as long as it does.
    pub(super) build_timeout: Option<Duration>,
    /// How long nothing may change until a round begins.
    pub(super) rest: Duration,
    /// How long rest is waited for.
    pub(super) rest_limit: Duration,
}

/// Whose the app is.
#[derive(Debug)]
pub(super) enum App {
    /// Ours: what `segue run` is given.
    Own(Vec<OsString>),
    /// Another supervisor's, which may come and go.
    Others,
}

impl Wanted {
    /// A reload of another's app when one of these paths has changed; `reload` says whose.
    ///
    /// # Errors
    /// As [`Wanted::of`].
    pub(crate) fn reloads(reload: Vec<OsString>, watch: &[PathBuf]) -> Result<Self, String> {
        let here = here()?;
        Ok(Self {
            segue: segue()?,
            app: App::Others,
            reload,
            watch: watch.iter().map(|path| here.join(path)).collect(),
            ignore: Vec::new(),
            ours: Vec::new(),
            build: None,
            build_timeout: None,
            rest: config::REST,
            rest_limit: config::REST_LIMIT,
        })
    }

    /// What is watched by these settings: what was named, or the current directory; the program, unless it is built here; and
    /// the files that each reload reads.
    ///
    /// # Errors
    /// One line: there is no current directory any more.
    pub(crate) fn of(
        mut words: Vec<OsString>,
        file: Option<(&Path, Reason)>,
        config: &Config,
        place: &Place,
    ) -> Result<Self, String> {
        let here = here()?;
        let development = &config.development;
        let mut watch = development.watch.clone();
        if watch.is_empty() {
            watch.push(PathBuf::new());
        }
        watch.extend(file.map(|(path, _)| path.to_owned()));
        watch.extend_from_slice(&development.env_files);
        let mut ours = own_files(config, place);
        if let Some(program) = program(config) {
            if development.build.is_some() {
                ours.push(program);
            } else {
                watch.push(program);
            }
        }
        // Where it is asked for reloads it is to be, whatever becomes of the file that says so.
        if let Some(control) = &config.control {
            add_flag(&mut words, "--control", control.as_os_str());
        }
        // Somebody sits before it, and our own lines have none.
        if config.log_time == LogTime::Auto {
            add_flag(&mut words, "--log-time", "never".as_ref());
        }
        let found = file.filter(|(path, reason)| *reason == Reason::Found && path.exists());
        let found = found.map(|(path, _)| path);
        Ok(Self {
            segue: segue()?,
            app: App::Own(without_runner(words, found, config, &here)),
            reload: vec!["--control".into(), place.control().into()],
            watch: watch.iter().map(|path| here.join(path)).collect(),
            ignore: development.ignore.clone(),
            ours: ours.iter().map(|path| here.join(path)).collect(),
            build: development.build.clone(),
            build_timeout: development.build_timeout,
            rest: development.rest,
            rest_limit: development.rest_limit,
        })
    }
}

fn here() -> Result<PathBuf, String> {
    std::env::current_dir().map_err(|error| format!("the current directory: {}", errno_text(&error)))
}

/// The binary that runs here.
fn segue() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("/proc/self/exe: {}", errno_text(&error)))
}

/// In front of COMMAND, unless it was given. Each flag and its value are one word.
fn add_flag(words: &mut Vec<OsString>, name: &str, value: &OsStr) {
    let flag = OsString::from(format!("{name}="));
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_it = |word: &OsString| word.as_encoded_bytes().starts_with(flag.as_encoded_bytes());
    if !words[..end].iter().any(is_it) {
        let mut whole = flag;
        whole.push(value);
        words.insert(end, whole);
    }
}

/// The words of `segue run`, with what a script runner would run in its place. With a COMMAND the segue.toml that was found would not
/// be read any more, so it is named.
fn without_runner(
    mut words: Vec<OsString>,
    found: Option<&Path>,
    config: &Config,
    here: &Path,
) -> Vec<OsString> {
    let directory = here.join(config.chdir.as_deref().unwrap_or(Path::new("")));
    let search = std::env::var_os("PATH").unwrap_or_default();
    let Some(command) = script::behind(&config.command, &directory, &search) else {
        return words;
    };
    let line = command.last().map(|script| script.display().to_string());
    super::say(&format!(
        "Node closes the sockets before it starts anything, so the script is run without {}: {}",
        config.command[0].display(),
        line.unwrap_or_default()
    ));
    // COMMAND, if it was given by words, stands behind the first `--`: each flag and its value are one word.
    let end = words.iter().position(|word| word == "--");
    words.truncate(end.unwrap_or(words.len()));
    if let Some(found) = found {
        add_flag(&mut words, "--config", found.as_os_str());
    }
    if config.name_origin == NameOrigin::Command {
        words.push(format!("--name={}", config.name).into());
    }
    words.push("--".into());
    words.extend(command);
    words
}

/// COMMAND as a path, if it is none that is looked up in PATH.
fn program(config: &Config) -> Option<PathBuf> {
    let program = Path::new(config.command.first()?);
    let has_slash = program.as_os_str().as_encoded_bytes().contains(&b'/');
    has_slash.then(|| config.chdir.as_deref().unwrap_or(Path::new("")).join(program))
}

/// The files that the supervisor writes, or has its app write: a reload writes some of them, so no change of theirs asks for one.
fn own_files(config: &Config, place: &Place) -> Vec<PathBuf> {
    let sockets = config
        .listen
        .iter()
        .filter_map(|spec| match spec.address.unix_path() {
            Some(UnixPath::Path(path)) => Some(path),
            Some(UnixPath::Abstract(_)) | None => None,
        });
    let sockets = sockets.flat_map(|path| {
        let mut lock = path.clone().into_os_string();
        lock.push(".lock");
        [path.clone(), lock.into()]
    });
    let named = [&config.pid_file, &config.stderr].into_iter().flatten().cloned();
    let named = named.chain(sockets);
    place.files().into_iter().chain(named).collect()
}
