//! `segue deploy`: puts a new version in place, flips the symlink `current` to it and reloads. It either ends with the new version
//! serving, or leaves everything as it was and says why.
//!
//! `plan` decides, without a file or a clock; `store` keeps what holds at every instant on the disk; `asking` asks the supervisor.
//! This file has the order of the steps, `course` what follows a flip. Wherever it is said who serves, the supervisor was asked.
//!
//! It must not know how a reload goes, and it reads no sentence of anybody.

mod asking;
mod beginning;
mod course;
mod ending;
mod engine;
mod files;
mod hash;
mod image;
mod interruption;
mod journal;
mod list;
mod lock;
mod look;
mod plan;
mod preflight;
mod program;
mod recovery;
mod removal;
mod running;
mod source;
mod store;
mod walk;
mod wanted;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, access};

use asking::{Pids, Silence, Supervisor};
pub(crate) use ending::Form;
use ending::{Ending, Facts, Outcome, Step, say};
use hash::{Print, Shape, measure};
use interruption::Interruption;
use look::Look;
use source::{Source, check_inside};
use store::{Current, Store, link_to};
pub(crate) use wanted::{
    Action, Force, Image, KEEP, LOCK_WAIT, PREFLIGHT_ARGUMENTS, PREFLIGHT_TIMEOUT, Preflight, RELOAD_TIMEOUT,
    Rehearsal, Reload, SUPERVISOR_TIMEOUT, Wanted,
};

use crate::client::Target;
use crate::clock;
use crate::protocol::{Status, rfc3339};
use crate::sys::{Locked, errno_text};

/// Carries out a deploy.
pub(crate) fn run(wanted: Wanted) -> ExitCode {
    // Others read what is deployed, whatever the umask of who deploys it.
    umask(Mode::from_bits_truncate(0o022));
    let (form, action) = (wanted.form, wanted.action.word());
    let name = match wanted.app() {
        Ok(name) => name,
        Err(ending) => return ending.tell(form, action, "", None),
    };
    let mut deploy = match Deploy::new(wanted, name.clone()) {
        Ok(deploy) => deploy,
        Err(ending) => return ending.tell(form, action, &name, None),
    };
    let mut ending = match deploy.carry_out() {
        Ok(never) => match never {},
        Err(ending) => ending,
    };
    deploy.clean_up();
    ending.facts = deploy.facts();
    let root = deploy.store.root().display().to_string();
    ending.tell(form, action, &name, Some(root))
}

/// Tells programs that a command line is wrong. What else it says is not read: it asks for a deploy, as most do.
pub(crate) fn tell_misuse(reason: &str) {
    let mut ending = Ending::new(Outcome::Misused, reason);
    ending.facts.reason = Some(reason.to_owned());
    ending.print_codes("deploy", "", None);
}

/// Every deploy ends with an [`Ending`].
enum Never {}

/// A deploy that is under way.
struct Deploy {
    wanted: Wanted,
    name: String,
    store: Store,
    supervisor: Supervisor,
    interruption: Interruption,
    /// The last look at who serves.
    look: Look,
    /// The last status that was told, and whose pids it has.
    last_told: Option<(Status, Pids)>,
    /// Where `current` led before the flip.
    current: Current,
    /// What goes away again however this ends.
    made: Made,
    /// What is known of the reload.
    told: Facts,
    /// Held to the end.
    lock: Option<Locked>,
}

/// What is temporary.
#[derive(Debug, Default)]
struct Made {
    has_work: bool,
    has_draft: bool,
    /// The script of an image, before it is copied.
    drafts: Option<PathBuf>,
    /// A release that has its name and has not been tried.
    release: Option<String>,
}

impl Deploy {
    fn new(wanted: Wanted, name: String) -> Step<Self> {
        let root = find_root(wanted.root.as_deref(), &name)?;
        let interruption =
            Interruption::open().map_err(|errno| format!("take signals: {}", errno_text(errno)))?;
        let store = Store::new(root);
        let target = match &wanted.control {
            Some(control) => Target {
                name: None,
                control: Some(control.clone()),
            },
            None => Target {
                name: Some(name.clone()),
                control: None,
            },
        };
        let supervisor = Supervisor::new(wanted.segue.as_deref(), target);
        let silence = asking::Answer::Silence(Silence::NoSupervisor, "it was not asked".to_owned());
        Ok(Self {
            look: Look::of(silence, &store),
            wanted,
            name,
            store,
            supervisor,
            interruption,
            last_told: None,
            current: Current::default(),
            made: Made::default(),
            told: Facts::default(),
            lock: None,
        })
    }

    fn carry_out(&mut self) -> Step<Never> {
        match self.wanted.action.clone() {
            Action::Deploy(path) => {
                let entry = self.wanted.entry.clone();
                self.deploy(Source { path, entry })
            }
            Action::DeployImage(image) => {
                let source = self.draft_image(&image)?;
                self.deploy(source)
            }
            Action::Rollback(release) => self.roll_back(release),
            Action::List => self.list(),
        }
    }

    /// Asks the supervisor.
    fn ask(&mut self) {
        self.look = Look::of(self.supervisor.status(), &self.store);
        if let asking::Answer::Told(status, pids) = &self.look.answer {
            self.last_told = Some((Status::clone(status), *pids));
        }
    }

    fn who(&self) -> String {
        self.look.who(&self.name)
    }

    fn is_rehearsal(&self) -> bool {
        self.wanted.rehearsal == Rehearsal::Yes
    }

    /// The path of the program through the symlink.
    fn program(&self) -> PathBuf {
        self.store
            .current_path()
            .join(self.wanted.program_in_release(&self.name))
    }

    fn deploy(&mut self, source: Source) -> Step<Never> {
        source.check()?;
        source.check_apart_from(self.store.root())?;
        let print = self.measure(&source.path, source.shape())?;
        if let Some(expected) = self.wanted.sha256.as_ref().filter(|sha| **sha != print.sha256) {
            return Err(Ending::refused(format_args!(
                "check {}: its SHA-256 is {}, not the expected {expected}",
                source.path.display(),
                print.sha256
            )));
        }
        self.begin()?;
        if self.already_serves(&source, &print)? {
            return Err(Ending::new(
                Outcome::AlreadyServes,
                format_args!(
                    "{}; {} already serves, nothing to do (--force deploys it anyway)",
                    self.who(),
                    &print.sha256[..8]
                ),
            ));
        }
        let newest = self.store.releases().into_iter().next();
        let stamp = stamp(&rfc3339(clock::wall()));
        let release = plan::release_name(&stamp, newest.as_deref(), &print.sha256)?;
        self.told.release = Some(release.clone());
        if self.is_rehearsal() {
            return self.rehearse(&source, &print, &release);
        }
        self.interruption.heed()?;
        self.made.has_draft = true;
        let interruption = &mut self.interruption;
        self.store
            .build(&source, &self.name, &print, &mut || interruption.heed())?;
        say(format_args!(
            "copied {} bytes, SHA-256 {}",
            print.size, print.sha256
        ));
        let draft = self.store.draft();
        self.run_preflight(&draft.join(self.wanted.program_in_release(&self.name)), &draft)?;
        self.seal(&source, &print)?;
        self.interruption.heed()?;
        self.store.publish(&release)?;
        self.made.has_draft = false;
        self.made.release = Some(release.clone());
        self.keep_image(&release)?;
        self.interruption.heed()?;
        self.go(&release)
    }

    /// The draft is what the release will be: what a preflight has written is part of it, and it must not lead out of it. The digest
    /// in its name stays that of what was deployed.
    fn seal(&mut self, source: &Source, print: &Print) -> Step<()> {
        let draft = self.store.draft();
        if self.wanted.preflight.is_some() {
            check_inside(&draft, &self.wanted.program_in_release(&self.name))?;
            let copy = match source.shape() {
                Shape::Tree => draft,
                Shape::File => draft.join(&self.name),
            };
            if self.measure(&copy, source.shape())?.sha256 != print.sha256 {
                say(
                    "the preflight has changed the copy: it is deployed so, under the SHA-256 of what it was copied from",
                );
            }
        }
        let interruption = &mut self.interruption;
        self.store.seal(&mut || interruption.heed())
    }

    fn measure(&mut self, path: &Path, shape: Shape) -> Step<Print> {
        let interruption = &mut self.interruption;
        measure(path, shape, &mut || interruption.heed())
    }

    fn already_serves(&mut self, source: &Source, print: &Print) -> Step<bool> {
        let Some(current) = self.current.release.clone() else {
            return Ok(false);
        };
        if self.wanted.force == Force::Yes || !self.look.serves() || !self.look.is_release(&current) {
            return Ok(false);
        }
        let there = self.store.deployed_as(&current, &self.name, source.shape());
        let is_real = there.symlink_metadata().is_ok_and(|status| !status.is_symlink());
        if !is_real {
            return Ok(false);
        }
        // The app may have put anything into its own release: what cannot be measured is not the same.
        let measured = self.measure(&there, source.shape());
        self.interruption.heed()?;
        Ok(measured.is_ok_and(|measured| measured.sha256 == print.sha256))
    }

    fn rehearse(&mut self, source: &Source, print: &Print, release: &str) -> Step<Never> {
        let program = std::path::absolute(source.program()).unwrap_or_else(|_| source.program());
        if self.wanted.preflight.is_some() {
            if access(&program, AccessFlags::X_OK).is_ok() {
                let directory = program.parent().unwrap_or(&program).to_owned();
                let directory = match source.shape() {
                    Shape::Tree => source.path.clone(),
                    Shape::File => directory,
                };
                self.run_preflight(&program, &directory)?;
            } else {
                say(format_args!(
                    "preflight: not run, for {} is not executable; the copy would be",
                    program.display()
                ));
            }
        }
        let root = self.store.root();
        let place = root.ancestors().find(|path| path.exists()).unwrap_or(root);
        access(place, AccessFlags::W_OK)
            .map_err(|errno| format!("write to {}: {}", place.display(), errno_text(errno)))?;
        let disk = nix::sys::statvfs::statvfs(place)
            .map_err(|errno| format!("look at {}: {}", place.display(), errno_text(errno)))?;
        #[expect(
            clippy::useless_conversion,
            reason = "the types differ from machine to machine"
        )]
        let free = u64::from(disk.blocks_available()).saturating_mul(disk.fragment_size().into()) / 1024;
        if free < print.size / 1024 + 1 {
            return Err(Ending::refused(format_args!(
                "copy {} to {}: {} bytes, but only {free} KiB are free",
                source.path.display(),
                root.display(),
                print.size
            )));
        }
        say(format_args!(
            "would copy {} bytes to {}",
            print.size,
            self.store.release(release).display()
        ));
        if self.wanted.reload != Reload::No {
            say(format_args!(
                "would flip current from {} to {} and reload",
                self.current.shown(),
                link_to(release)
            ));
        }
        let text = format!("{}; dry run: nothing was changed", self.who());
        Err(Ending::new(Outcome::DryRun, text))
    }

    fn roll_back(&mut self, release: Option<String>) -> Step<Never> {
        self.begin()?;
        let root = self.store.root().display().to_string();
        let release = match (release, &self.current.release) {
            (Some(release), _) => release,
            (None, None) => {
                return Err(Ending::refused(format_args!(
                    "roll back: there is no current release in {root}"
                )));
            }
            (None, Some(current)) => self.store.previous(Some(current)).ok_or_else(|| {
                Ending::refused(format_args!(
                    "roll back: there is no good release before {current}"
                ))
            })?,
        };
        if !self.store.has(&release) {
            return Err(Ending::refused(format_args!(
                "roll back: there is no release {release} in {root}"
            )));
        }
        self.check_image_of(&release)?;
        let (directory, program) = (
            self.store.release(&release),
            self.wanted.program_in_release(&self.name),
        );
        if directory.join(&program).exists() {
            check_inside(&directory, &program)?;
        }
        self.told.release = Some(release.clone());
        let from = self.current.release.as_deref().unwrap_or("nothing");
        say(format_args!("going back from {from} to {release}"));
        if self.is_rehearsal() {
            let text = format!("would flip current to {} and reload", link_to(&release));
            return Err(Ending::new(Outcome::DryRun, text));
        }
        self.go(&release)
    }

    /// Removes what is temporary. A release that was never tried goes, unless `current` leads there.
    fn clean_up(&mut self) {
        let made = std::mem::take(&mut self.made);
        let mut left = Vec::new();
        if made.has_draft {
            left.push(files::attempt(
                "remove what was copied",
                files::remove_all(&self.store.draft()),
            ));
        }
        if let Some(release) = made.release {
            let current = self.store.current().unwrap_or_default();
            if current.release.as_deref() != Some(&release) {
                left.push(self.discard(&release));
            }
        }
        left.push(image::remove_drafts(made.drafts));
        if made.has_work {
            left.push(self.store.remove_work());
        }
        // The next run removes it.
        for cause in left.into_iter().filter_map(Result::err) {
            say(cause);
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            current: self.store.current().unwrap_or_default().release,
            serving: self.look.serves_for_programs(),
            ..self.told.clone()
        }
    }
}

/// The absolute path of the root. What it lies in must be there.
fn find_root(given: Option<&Path>, name: &str) -> Step<PathBuf> {
    let root = given.map_or_else(|| Path::new("/srv").join(name), Path::to_owned);
    let refused = |cause: &str| Ending::refused(format_args!("use {}: {cause}", root.display()));
    if root.as_os_str().as_encoded_bytes().contains(&b'\n') {
        return Err(refused("a line end in a path"));
    }
    if root.is_dir() {
        return root.canonicalize().map_err(|_| refused("cannot enter it"));
    }
    let whole = std::path::absolute(&root).map_err(|_| refused("the working directory is gone"))?;
    let parent = whole.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, whole.file_name()) {
        (Some(parent), Some(last)) if parent.is_dir() => Ok(parent.join(last)),
        _ => Err(refused("the directory it lies in does not exist")),
    }
}

/// The time for people: `2026-11-25 17:32:02 UTC`.
fn now() -> String {
    look::when(&rfc3339(clock::wall()))
}

/// The time in the name of a release: `20261125-173202`.
fn stamp(rfc3339: &str) -> String {
    let (day, time) = rfc3339.split_once('T').unwrap_or((rfc3339, ""));
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let time = time.split('.').next().unwrap_or_default();
    format!("{}-{}", digits(day), digits(time))
}
