//! The images as a user builds them: our whole Dockerfile, build stages included, without a network.
//!
//! What stands in for the Rust image is a Debian with a linker, the toolchain that runs this test, and the sources of all
//! crates in Cargo.lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Engine;
use super::images::{BASE, REPOSITORY};
use crate::needs;
use crate::process::Process;

/// What stands in for `rust:1.95-slim-trixie`.
const RUST: &str = "segue-test-rust";
/// The image of the stage `debian`, built from source.
pub const DEBIAN_FROM_SOURCE: &str = "segue:from-source";
/// The image of the stage `static`, built from source.
pub const STATIC_FROM_SOURCE: &str = "segue:static-from-source";

/// Where cargo finds the crates in the image, in place of the registry.
const VENDORED: &str =
    "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"/opt/vendor\"\n";

impl Engine {
    /// Builds both images from the source in this repository.
    ///
    /// # Errors
    /// What is missing for that on this machine.
    ///
    /// # Panics
    /// When an image cannot be built.
    pub fn build_from_source(&self) -> Result<(), String> {
        let docker = self.docker_with_buildkit()?;
        self.import_base()?;
        self.import_rust()?;
        for (image, target) in [(DEBIAN_FROM_SOURCE, "debian"), (STATIC_FROM_SOURCE, "static")] {
            let mut build = self.like_command(&docker);
            build
                .env("DOCKER_BUILDKIT", "1")
                .args(["build", "--progress", "plain", "--network", "none"])
                .args(["--build-arg", &format!("RUST_IMAGE={RUST}")])
                .args(["--build-arg", &format!("RUNTIME_IMAGE={BASE}")])
                .args(["--build-arg", "PROFILE=dev"])
                .args(["--target", target, "--tag", image, REPOSITORY]);
            let output = build
                .output()
                .map_err(|error| format!("{}: {error}", docker.display()))?;
            assert!(
                output.status.success(),
                "docker build --target {target}:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// The first client in `PATH` that can build with cache mounts: newer ones need a package of its own for it.
    fn docker_with_buildkit(&self) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut clients = std::env::split_paths(&path)
            .map(|directory| directory.join("docker"))
            .filter(|client| client.is_file());
        let found = clients.find(|client| {
            let mut help = self.like_command(client);
            help.env("DOCKER_BUILDKIT", "1").args(["build", "--help"]);
            Process::start(&mut help).finish().code == Some(0)
        });
        found.ok_or_else(|| "no docker client here has BuildKit".to_owned())
    }

    /// As [`Engine::command`], by another client.
    fn like_command(&self, client: &Path) -> Command {
        let ours = self.command();
        let mut command = Command::new(client);
        for (key, value) in ours.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.stdin(Stdio::null());
        command
    }

    fn import_rust(&self) -> Result<(), String> {
        let tree = needs::debian_tree(&["gcc", "libc6-dev"])?;
        let crates = self.path("crates");
        vendor(&crates)?;
        let sysroot = said(Command::new("rustc").args(["--print", "sysroot"]))?;
        let sysroot = Path::new(sysroot.trim());
        let (Some(above), Some(toolchain)) = (
            sysroot.parent(),
            sysroot.file_name().and_then(|name| name.to_str()),
        ) else {
            return Err(format!("{} is no toolchain", sysroot.display()));
        };
        let mut tar = Command::new("tar");
        // The names in the image; what symbolic links say stays (`S`).
        tar.arg(format!("--transform=s,^\\./{toolchain},./opt/rust,S"))
            .args([
                "--transform=s,^\\./vendor,./opt/vendor,S",
                "--transform=s,^\\./cargo,./usr/local/cargo,S",
            ])
            .args([
                format!("--exclude=./{toolchain}/share"),
                "--exclude=./var/cache".to_owned(),
            ])
            .arg("-c");
        tar.arg("-C").arg(&tree).arg(".");
        tar.arg("-C").arg(above).arg(format!("./{toolchain}"));
        tar.arg("-C").arg(&crates).args(["./vendor", "./cargo"]);
        let changes = [
            "ENV PATH=/opt/rust/bin:/usr/bin:/bin",
            "ENV CARGO_HOME=/usr/local/cargo",
            // It is the instructions that are tested, not the optimiser.
            "ENV CARGO_PROFILE_DEV_OPT_LEVEL=0",
            "ENV CARGO_PROFILE_DEV_DEBUG=0",
        ];
        self.import(tar, &changes, RUST);
        Ok(())
    }
}

/// Puts the sources of all crates into a directory, and cargo's configuration for them beside.
fn vendor(directory: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    said(
        Command::new(cargo)
            .current_dir(REPOSITORY)
            .args(["vendor", "--quiet", "--locked", "--versioned-dirs"])
            .arg(directory.join("vendor")),
    )?;
    let home = directory.join("cargo");
    fs::create_dir_all(&home)
        .and_then(|()| fs::write(home.join("config.toml"), VENDORED))
        .map_err(|error| format!("{}: {error}", home.display()))
}

/// What a command prints, if it succeeds.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
