//! The images under test: the runtime stages of the real Dockerfile, word for word, around binaries that cargo has built here.
//!
//! The build stages take a minute or two, so two stages of one `COPY` stand in for them; `source.rs` builds those, too, in CI.

use std::path::Path;
use std::process::{Command, Stdio};

use super::Engine;
use crate::binaries::{self, Binary};
use crate::needs;

/// The image of the stage `debian`.
pub const DEBIAN: &str = "segue";
/// The image of the stage `static`.
pub const STATIC: &str = "segue:static";
/// A bare Debian, which stands in for `debian:trixie-slim`.
pub(super) const BASE: &str = "segue-test-base";

pub(super) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

impl Engine {
    /// Imports the base image and builds both of ours.
    ///
    /// # Errors
    /// When there is no Debian tree to import, and none can be made.
    ///
    /// # Panics
    /// When an image cannot be built.
    pub fn build_images(&self) -> Result<(), String> {
        self.import_base()?;
        let context = self.path("context");
        lay_out(&context);
        let context = context.to_string_lossy();
        let runtime = format!("RUNTIME_IMAGE={BASE}");
        for (image, target) in [(DEBIAN, "debian"), (STATIC, "static")] {
            self.docker_ok(&[
                "build",
                "--quiet",
                "--build-arg",
                &runtime,
                "--target",
                target,
                "--tag",
                image,
                &context,
            ]);
        }
        Ok(())
    }

    /// Imports what stands in for `debian:trixie-slim`.
    pub(super) fn import_base(&self) -> Result<(), String> {
        let tree = needs::debian_tree(&[])?;
        let mut tar = Command::new("tar");
        // What an image has no use for, and half of the bytes.
        let leave_out = ["./usr/share/doc", "./usr/share/locale", "./var/cache", "./dev"];
        tar.arg("-C")
            .arg(&tree)
            .args(leave_out.map(|path| format!("--exclude={path}")))
            .args(["-c", "."]);
        self.import(tar, &[], BASE);
        Ok(())
    }

    /// Makes an image of what `tar` writes, with changes as in a Dockerfile.
    pub(super) fn import(&self, mut tar: Command, changes: &[&str], image: &str) {
        let mut tar = tar
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("tar: {error}"));
        let mut import = self.command();
        import.arg("import").stdout(Stdio::null());
        for change in changes {
            import.args(["--change", change]);
        }
        import.args(["-", image]);
        if let Some(archive) = tar.stdout.take() {
            import.stdin(archive);
        }
        let imported = import.status();
        let packed = tar.wait();
        assert!(
            imported.as_ref().is_ok_and(std::process::ExitStatus::success)
                && packed.as_ref().is_ok_and(std::process::ExitStatus::success),
            "import {image}: tar: {packed:?}, docker import: {imported:?}"
        );
    }
}

/// The build context: a Dockerfile made of ours, what its `COPY` lines name, and the binaries.
fn lay_out(context: &Path) {
    let put = |from: &Path, to: &str| {
        let to = context.join(to);
        to.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::copy(from, &to))
            .unwrap_or_else(|error| panic!("copy {} to {}: {error}", from.display(), to.display()));
    };
    let file = format!("{REPOSITORY}/Dockerfile");
    let original = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    for (binary, name) in [
        (Binary::Segue, "segue"),
        (Binary::SeguePoll, "segue-poll"),
        (Binary::App, "app"),
    ] {
        put(&binary.path(), &format!("out/{name}"));
    }
    let statics = binaries::build_static();
    for name in ["segue", "app"] {
        put(&statics.join(name), &format!("out-static/{name}"));
    }
    let config = "examples/container/segue.toml";
    put(&Path::new(REPOSITORY).join(config), config);
    std::fs::write(context.join("Dockerfile"), runtime_dockerfile(&original))
        .unwrap_or_else(|error| panic!("Dockerfile: {error}"));
}

/// Our Dockerfile with `build` and `build-static` replaced by stages that only hold binaries. Every line of the other stages
/// is taken as it is.
///
/// # Panics
/// When the Dockerfile has other stages than these.
#[must_use]
#[track_caller]
pub fn runtime_dockerfile(original: &str) -> String {
    let mut stages: Vec<(String, String)> = vec![("arguments".to_owned(), String::new())];
    for line in original.lines() {
        if let Some(from) = line.strip_prefix("FROM ") {
            let name = from.split(' ').next_back().unwrap_or_default();
            stages.push((name.to_owned(), String::new()));
        }
        if let Some((_, text)) = stages.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    let names: Vec<_> = stages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["arguments", "source", "build", "build-static", "static", "debian"],
        "the stages of the Dockerfile"
    );
    stages
        .into_iter()
        .filter_map(|(name, text)| match name.as_str() {
            "source" => None,
            "build" => Some("FROM scratch AS build\nCOPY out /out\n".to_owned()),
            "build-static" => Some("FROM scratch AS build-static\nCOPY out-static /out\n".to_owned()),
            _ => Some(text),
        })
        .collect()
}
