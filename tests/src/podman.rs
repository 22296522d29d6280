//! A podman with a store of its own, as one of the two engines can be had without a daemon. Its images are built from nothing
//! but our static sample app, so that no registry is asked.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries;
use crate::needs;
use crate::process::{Finished, Process};

/// The store, the configuration, and the images.
pub struct Podman {
    directory: tempfile::TempDir,
    app: PathBuf,
}

impl Podman {
    /// An empty store.
    ///
    /// # Errors
    /// What is missing.
    ///
    /// # Panics
    /// When the app cannot be built, or the configuration not be written.
    pub fn start() -> Result<Self, String> {
        needs::root()?;
        for program in ["podman", "conmon", "runc"] {
            needs::program(program)?;
        }
        let this = Self {
            directory: crate::segue::directory(),
            app: binaries::build_static().join("app"),
        };
        // Below what this process may have: runc may not raise a limit where it lacks CAP_SYS_RESOURCE.
        let limits = [("nofile", "Max open files"), ("nproc", "Max processes")];
        let limits = limits.map(|(name, row)| format!("\"{name}={half}:{half}\"", half = half_of(row)));
        let directory = this.path("").display().to_string();
        this.write(
            "containers.conf",
            &format!(
                "[containers]\ndefault_ulimits = [{}]\nnetns = \"none\"\n\
                 [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
                limits.join(", ")
            ),
        );
        this.write(
            "storage.conf",
            &format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{directory}run\"\ngraphroot = \"{directory}store\"\n"),
        );
        Ok(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The variables by which every podman finds this store.
    #[must_use]
    pub fn env(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("CONTAINERS_CONF", self.path("containers.conf")),
            ("CONTAINERS_STORAGE_CONF", self.path("storage.conf")),
            ("TMPDIR", self.directory.path().to_owned()),
        ]
    }

    /// `podman ARGS`, to its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        Process::start(Command::new("podman").args(args).envs(self.env())).finish()
    }

    /// Builds an image of the sample app, started with these words.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn build(&self, tag: &str, words: &[&str]) {
        let context = self.path("context");
        let _ = std::fs::create_dir(&context);
        if !context.join("app").exists() {
            copy(&self.app, &context.join("app"));
        }
        let words: Vec<_> = std::iter::once("/app").chain(words.iter().copied()).collect();
        let text = format!("FROM scratch\nCOPY app /app\nENTRYPOINT {words:?}\n");
        self.write("context/Containerfile", &text);
        let done = self.run(&["build", "--quiet", "--tag", tag, &context.display().to_string()]);
        assert_eq!(done.code, Some(0), "podman build: {}", done.stderr);
    }

    /// The processes of containers that podman believes to run, and that are not there.
    ///
    /// # Panics
    /// When podman does not say.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        let done = self.run(&["ps", "--format", "{{.Pid}}"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let pids = done.stdout.lines().map(str::to_owned);
        pids.filter(|pid| !Path::new("/proc").join(pid).exists())
            .collect()
    }

    /// The tags of a repository.
    #[must_use]
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let done = self.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let tags = done.stdout.lines();
        // One row for each tag of an image, whichever of them was asked for.
        let tags = tags.filter_map(|row| row.strip_prefix(repository)?.strip_prefix(':'));
        let mut tags: Vec<_> = tags.map(str::to_owned).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// The tags by which deploy.sh keeps the images of an app.
    ///
    /// # Panics
    /// When podman does not say.
    #[must_use]
    #[track_caller]
    pub fn kept(&self, app: &str) -> Vec<String> {
        let done = self.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        let prefix = format!("localhost/segue-{app}-");
        let tags = done.stdout.lines().filter(|row| row.starts_with(&prefix));
        // One row for each tag of an image, whichever of them was asked for.
        let mut tags: Vec<_> = tags.map(str::to_owned).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// The containers that there are, running or not.
    ///
    /// # Panics
    /// When podman does not say.
    #[must_use]
    #[track_caller]
    pub fn containers(&self) -> Vec<String> {
        let done = self.run(&["ps", "--all", "--quiet"]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stdout.lines().map(str::to_owned).collect()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Where a test has failed, its containers run on.
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}

/// Half of a hard limit of this process, at most 10,000.
fn half_of(row: &str) -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(row));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    hard.map_or(10_000, |hard| (hard / 2).min(10_000))
}
