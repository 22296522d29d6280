//! Where the binaries under test are. They are built on demand, so that no test ever runs a stale supervisor.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A binary of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// The supervisor.
    Segue,
    /// The sample server.
    App,
    /// The polling client.
    SeguePoll,
    /// The fixtures of this package.
    Fixture,
    /// An example of `segue-app`, by name.
    Example(&'static str),
}

/// What the programs and examples are built with: the same dependencies with the same features as by `cargo test --workspace`, which
/// are chosen by the packages and targets that are asked for. Otherwise each is built once more.
const AS_TESTED: &[&str] = &[
    "--workspace",
    "--bin",
    "segue",
    "--bin",
    "app",
    "--bin",
    "segue-poll",
    "--examples",
];

impl Binary {
    /// The path of the built binary.
    ///
    /// # Panics
    /// When it cannot be built. The first call in a process asks cargo to build the programs and examples, and the first of a
    /// bench for a fixture the fixtures (a fraction of a second when they are fresh; cargo's own lock makes parallel test
    /// processes wait for each other).
    /// `SEGUE_TEST_NO_BUILD=1` leaves that out, for runs against binaries that were put in place by other means.
    #[must_use]
    pub fn path(self) -> PathBuf {
        let directory = directory();
        let path = match self {
            Self::Fixture => directory.join("fixture"),
            Self::Segue => directory.join("segue"),
            Self::App => directory.join("app"),
            Self::SeguePoll => directory.join("segue-poll"),
            Self::Example(name) => directory.join("examples").join(name),
        };
        static PROGRAMS: OnceLock<Result<(), String>> = OnceLock::new();
        static FIXTURE: OnceLock<Result<(), String>> = OnceLock::new();
        let built = match self {
            // Cargo builds it with the tests of its package, but not for a bench.
            Self::Fixture if is_test() => &Ok(()),
            Self::Fixture => {
                FIXTURE.get_or_init(|| build(&directory, &["-p", "segue-tests", "--bin", "fixture"]))
            }
            Self::Segue | Self::App | Self::SeguePoll | Self::Example(_) => {
                PROGRAMS.get_or_init(|| build(&directory, AS_TESTED))
            }
        };
        if let Err(reason) = built {
            panic!("{reason}");
        }
        assert!(path.exists(), "{} was not built", path.display());
        path
    }
}

/// The directory of the profile that the running test was built with: `target/debug` or the like. Test binaries are in
/// its `deps`, `fixture` is in it.
fn directory() -> PathBuf {
    let own = own_directory();
    match own.parent() {
        Some(above) if is_test() || own.ends_with("examples") => above.to_owned(),
        Some(_) | None => own,
    }
}

/// Where `tests/setup.sh` installs what no package has.
pub(crate) fn tools() -> PathBuf {
    directory().with_file_name("test-tools")
}

fn own_directory() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_else(|error| panic!("current_exe: {error}"));
    exe.parent().unwrap_or(Path::new("/")).to_owned()
}

/// Whether this process is a test, as cargo has built it.
fn is_test() -> bool {
    own_directory().ends_with("deps")
}

/// Builds `segue`, the sample app and `segue-poll` as static binaries, and returns the directory in which they are.
///
/// # Panics
/// When they cannot be built.
#[must_use]
pub fn build_static() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build_static_now).clone()
}

fn build_static_now() -> PathBuf {
    let directory = directory();
    let target = directory.with_file_name("static");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // With an explicit target the flag is for the programs, and not for the macros that the compiler itself loads.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "segue",
            "--package",
            "segue-app",
        ])
        .args([
            "--bin",
            "segue",
            "--bin",
            "app",
            "--bin",
            "segue-poll",
            "--target",
            &triple,
            "--target-dir",
        ])
        .arg(&target)
        .output();
    match output {
        Ok(output) if output.status.success() => target.join(&triple).join("debug"),
        Ok(output) => panic!(
            "static build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("cargo build: {error}"),
    }
}

fn build(directory: &Path, what: &[&str]) -> Result<(), String> {
    if std::env::var_os("SEGUE_TEST_NO_BUILD").is_some_and(|value| value == "1") {
        return Ok(());
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = directory
        .parent()
        .ok_or("the test is not in a target directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--quiet"])
        .args(what)
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!(
            "cargo build failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
