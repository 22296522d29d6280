//! No step of `deploy.sh` follows a link out of a release: the author of the tree may be trusted less than the user who deploys.
//! And nothing is reloaded that does not run from the root.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use segue_tests::deployed::{Deployed, command, tree, write_program};
use segue_tests::needs;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// It could be deployed: a program.
const UNTOUCHED: &str = "#!/bin/sh untouched\n";

/// A supervisor whose app is a directory with the entry `bin/run`, and a file outside that no deploy may touch.
struct Site {
    deployed: Deployed,
    victim: PathBuf,
}

impl Site {
    fn start() -> Self {
        let setup = Setup::new(Program::new("./srv/current/bin/run")).flags(["--probation", "10ms"]);
        let directory = setup.path(".");
        fresh(&directory, "one");
        let first = run(&directory, &["--no-reload", "site"]);
        assert_eq!(first.code, Some(0), "{first:?}");
        let victim = setup.path("victim");
        std::fs::write(&victim, UNTOUCHED).unwrap();
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o4640)).unwrap();
        Self {
            deployed: Deployed { segue: setup.start() },
            victim,
        }
    }

    /// A good tree that says this.
    fn fresh(&self, message: &str) {
        fresh(&self.deployed.path("."), message);
    }

    fn deploy(&self) -> Finished {
        run(&self.deployed.path("."), &["site"])
    }

    /// It is refused with this text, and nothing has changed.
    #[track_caller]
    fn refused(&self, text: &str) {
        let before = tree(&self.deployed.root(""));
        let done = self.deploy();
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
        assert!(done.stderr.contains(text), "{text}: {done:?}");
        self.assert_untouched();
        let after = tree(&self.deployed.root(""));
        let changed = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default();
            // The lock is made by the first run, and the mark of a release goes when it has been seen to serve.
            ![".lock", "srv", ".unproven"].iter().any(|known| name == *known)
        };
        let names = |tree: &std::collections::BTreeMap<PathBuf, String>| {
            tree.keys()
                .filter(|path| changed(path))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&before), names(&after));
        assert_eq!(self.deployed.segue.status().generation(), 1);
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let status = self.victim.metadata().unwrap();
        assert_eq!(format!("{:o}", status.mode() & 0o7777), "4640");
        assert_eq!(std::fs::read_to_string(&self.victim).unwrap(), UNTOUCHED);
    }
}

fn fresh(directory: &Path, message: &str) {
    let _ = std::fs::remove_dir_all(directory.join("site"));
    std::fs::create_dir_all(directory.join("site/bin")).unwrap();
    write_program(
        &directory.join("site/bin/run"),
        &format!("good message={message}"),
    );
}

fn run(directory: &Path, args: &[&str]) -> Finished {
    let args = [&["--entry", "bin/run"], args].concat();
    Process::start(&mut command(directory, &directory.join("control"), &args)).finish()
}

#[test]
fn an_entry_that_leads_out_of_the_tree_is_refused_and_nothing_outside_changes() {
    let site = Site::start();
    let entry = site.deployed.path("site/bin/run");
    site.fresh("two");
    std::fs::remove_file(&entry).unwrap();
    symlink("../../victim", &entry).unwrap();
    site.refused("bin/run leads out of it, to ");
    // By way of a directory.
    site.fresh("two");
    std::fs::rename(site.deployed.path("site/bin"), site.deployed.path("elsewhere")).unwrap();
    std::fs::remove_file(site.deployed.path("elsewhere/run")).unwrap();
    std::fs::hard_link(&site.victim, site.deployed.path("elsewhere/run")).unwrap();
    symlink("../elsewhere", site.deployed.path("site/bin")).unwrap();
    site.refused("bin/run leads out of it, to ");
    // What lies within the tree that it was copied from lies outside of the copy.
    site.fresh("two");
    std::fs::rename(&entry, site.deployed.path("site/real")).unwrap();
    symlink(
        std::fs::canonicalize(site.deployed.path("site/real")).unwrap(),
        &entry,
    )
    .unwrap();
    site.refused("bin/run leads out of it, to ");
    // One that stays within is as good as a file.
    std::fs::remove_file(&entry).unwrap();
    symlink("../real", &entry).unwrap();
    let done = site.deploy();
    assert_eq!(done.code, Some(0), "{done:?}");
    site.deployed.wait_for_message("two");
    site.deployed.stop();
}

#[test]
fn links_beside_the_entry_are_copied_as_links() {
    let site = Site::start();
    site.fresh("two");
    symlink("../victim", site.deployed.path("site/shared")).unwrap();
    symlink(&site.victim, site.deployed.path("site/.unproven")).unwrap();
    let done = site.deploy();
    assert_eq!(done.code, Some(0), "{done:?}");
    site.assert_untouched();
    assert_eq!(
        std::fs::read_link(site.deployed.root("current/shared")).unwrap(),
        Path::new("../victim")
    );
    assert!(!site.deployed.root("current/.unproven").is_symlink());
    site.deployed.stop();
}

/// The app runs as somebody else, say, who may write into its release.
#[test]
fn a_mark_that_the_app_has_made_a_link_of_is_replaced_and_not_followed() {
    let site = Site::start();
    site.fresh("two");
    let text = format!(
        "#!/bin/sh\nln -sfn '{}' \"$(dirname \"$(realpath '{}')\")/.unproven\"\nexit 3\n",
        site.victim.display(),
        site.deployed.root("current/bin").display(),
    );
    std::fs::write(site.deployed.path("site/bin/run"), text).unwrap();
    let done = site.deploy();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("exited with status 3"), "{done:?}");
    site.assert_untouched();
    let failed = site.deployed.releases().pop().unwrap();
    let mark = site.deployed.root("releases").join(failed).join(".unproven");
    assert!(!mark.is_symlink() && mark.exists());
    // A release that is left behind by a rollback, as well.
    site.fresh("three");
    assert_eq!(site.deploy().code, Some(0));
    let left = site.deployed.root("releases").join(site.deployed.current());
    symlink(&site.victim, left.join(".unproven")).unwrap();
    let listed = run(&site.deployed.path("."), &["--list"]);
    assert!(!listed.stdout.contains("untouched"), "{listed:?}");
    let done = run(&site.deployed.path("."), &["--rollback"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    site.assert_untouched();
    assert!(!left.join(".unproven").is_symlink());
    site.deployed.stop();
}

#[test]
fn a_rollback_to_a_release_whose_program_leads_out_of_it_is_refused() {
    let deployed = Deployed::start(["--probation", "10ms"]);
    let first = deployed.current();
    assert_eq!(deployed.deploy("good message=second").code, Some(0));
    let program = deployed.root("releases").join(&first).join("app");
    std::fs::remove_file(&program).unwrap();
    write_program(&deployed.path("victim"), "good message=victim");
    symlink(deployed.path("victim"), &program).unwrap();
    let done = deployed.run(&["--rollback"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("app leads out of it, to "), "{done:?}");
    deployed.wait_for_message("second");
    deployed.assert_consistent();
    deployed.assert_tidy();
    deployed.stop();
}

#[test]
fn a_hard_link_to_a_file_of_another_user_is_not_copied() {
    if needs::or_skip("a file of another user", needs::root()).is_none() {
        return;
    }
    let site = Site::start();
    site.fresh("two");
    std::os::unix::fs::chown(&site.victim, Some(12345), None).unwrap();
    std::fs::set_permissions(&site.victim, std::fs::Permissions::from_mode(0o4640)).unwrap();
    std::fs::hard_link(&site.victim, site.deployed.path("site/secret")).unwrap();
    site.refused("/secret is a hard link to a file of another user");
    std::fs::remove_file(site.deployed.path("site/secret")).unwrap();
    // Those of one's own are what build tools make.
    std::fs::hard_link(
        site.deployed.path("site/bin/run"),
        site.deployed.path("site/bin/same"),
    )
    .unwrap();
    assert_eq!(site.deploy().code, Some(0));
    site.deployed.stop();
}

#[test]
fn a_lock_that_is_a_link_is_left_alone() {
    let site = Site::start();
    std::fs::remove_file(site.deployed.root(".lock")).unwrap();
    symlink(&site.victim, site.deployed.root(".lock")).unwrap();
    site.fresh("two");
    site.refused(".lock is a symlink; remove it");
    site.deployed.stop();
}

#[test]
fn with_a_forgotten_root_nothing_is_copied_and_nothing_reloaded() {
    let deployed = Deployed::start(["--probation", "10ms"]);
    deployed.write("good message=new");
    for dry in [&[][..], &["--dry-run"]] {
        let done = deployed.run(&[&["--root", "elsewhere", "app"], dry].concat());
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
        assert!(
            done.stderr.lines().count() == 1
                && done
                    .stderr
                    .contains("elsewhere/current/app; what is the command of segue run?")
                && done.stderr.contains("--root says where the releases are"),
            "{done:?}"
        );
        assert!(!deployed.path("elsewhere").exists());
    }
    assert_eq!(deployed.segue.status().generation(), 1, "nothing was reloaded");
    // Who insists is told afterwards.
    let done = deployed.run(&["--root", "elsewhere", "--force", "app"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("what is the command of segue run?"),
        "{done:?}"
    );
    assert!(!deployed.path("elsewhere/current").exists());
    deployed.wait_for_message("old");
    deployed.stop();
}
