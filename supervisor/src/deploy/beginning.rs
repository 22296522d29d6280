//! What has to hold before anything is made: it is known who serves, that is an app of this root, and nobody else deploys.

use std::path::Path;

use nix::unistd::{User, geteuid};

use super::asking::Silence;
use super::ending::{Ending, Outcome, Step};
use super::lock::{sign, take};
use super::wanted::{Force, Rehearsal, Reload};
use super::{Deploy, now};
use crate::protocol::State;

impl Deploy {
    /// Before anything is made it is known who serves, and nobody else deploys.
    pub(super) fn begin(&mut self) -> Step<()> {
        self.ask_first()?;
        self.check_root()?;
        self.take_lock()?;
        // Again, when nobody else can change it. If it has gone meanwhile, an open flip is left to a run that can ask.
        self.ask_first()?;
        self.recover()?;
        self.check_supervisor()?;
        self.current = self.store.current()?;
        if !self.is_rehearsal() {
            self.store.make_work()?;
            self.made.has_work = true;
        }
        Ok(())
    }

    /// Asks the supervisor, which must be one that can be asked. A ^C ends the command by which it is asked as well.
    fn ask_first(&mut self) -> Step<()> {
        self.ask();
        self.interruption.heed()?;
        self.check_supervisor()
    }

    fn check_supervisor(&self) -> Step<()> {
        match self.look.silence() {
            None => {}
            Some((Silence::AsksAtTerminal, cause)) => {
                return Err(Ending::refused(format_args!("ask who serves: {cause}")));
            }
            Some((Silence::NotRun, cause)) => {
                let segue = self.wanted.segue.as_deref().unwrap_or("segue");
                return Err(Ending::refused(format_args!(
                    "ask who serves: cannot run {segue} ({cause}); is it in PATH? (--segue)"
                )));
            }
            Some((Silence::Ambiguous, text)) => {
                return Err(Ending::new(
                    Outcome::Misused,
                    format_args!("ask who serves: {text}"),
                ));
            }
            Some((Silence::NoSupervisor, _)) if self.wanted.reload == Reload::No => return Ok(()),
            Some((Silence::NoSupervisor, text)) => {
                return Err(Ending::new(
                    Outcome::NoSupervisor,
                    format_args!(
                        "ask who serves: {text}; nothing was changed (before the service has been started, deploy with --no-reload)"
                    ),
                ));
            }
        }
        if self
            .look
            .status()
            .is_some_and(|status| status.state == State::Stopping)
        {
            return Err(Ending::refused(
                "ask who serves: the supervisor is stopping; nothing was changed",
            ));
        }
        Ok(())
    }

    /// The reload would start again what its command leads to: a forgotten --root is told before.
    fn check_root(&self) -> Step<()> {
        let look = &self.look;
        let Some(generation) = look.incumbent().filter(|_| look.serves()) else {
            return Ok(());
        };
        let is_sure = look.release.is_some() || look.is_through_current;
        if self.wanted.reload == Reload::No || self.wanted.force == Force::Yes || is_sure {
            return Ok(());
        }
        let (path, program) = (Path::new(&generation.binary.path), self.program());
        if path.starts_with(self.store.releases_directory()) || path.starts_with(self.store.current_path()) {
            return Ok(());
        }
        // By something that is no release, but lies where current leads.
        let inode = program
            .metadata()
            .map(|status| std::os::unix::fs::MetadataExt::ino(&status));
        if inode.is_ok_and(|inode| inode == generation.binary.inode) {
            return Ok(());
        }
        Err(Ending::refused(format_args!(
            "ask who serves: generation {} runs {}, which is not {}; what is the command of segue run? Nothing was changed (--root says where the releases are; --force deploys all the same)",
            generation.generation,
            path.display(),
            program.display()
        )))
    }

    fn take_lock(&mut self) -> Step<()> {
        let (root, rehearsal) = (self.store.root().to_owned(), self.wanted.rehearsal);
        self.interruption.heed()?;
        if rehearsal == Rehearsal::No && !root.join(".lock").is_symlink() {
            self.store.make_root()?;
        }
        self.lock = take(&root, self.wanted.lock_wait, rehearsal, &mut self.interruption)?;
        if let Some(lock) = self.lock.as_mut().filter(|_| rehearsal == Rehearsal::No) {
            let uid = geteuid();
            let user = User::from_uid(uid).ok().flatten();
            let user = user.map_or_else(|| uid.to_string(), |user| user.name);
            let line = format!(
                "pid {}, {user}, since {}: {} {}\n",
                std::process::id(),
                now(),
                self.wanted.action.word(),
                self.wanted.action.object()
            );
            sign(lock, &line);
        }
        Ok(())
    }
}
