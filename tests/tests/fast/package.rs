//! The Debian package as a file: that it has what `install.sh` installs, for the right processor. What dpkg does with it is in
//! `tests/root/systemd/package.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::figures::scale;
use segue_tests::needs;
use segue_tests::segue::directory;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The directory in which the programs under test are.
fn binaries() -> PathBuf {
    Binary::Segue.path().parent().unwrap().to_owned()
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

/// Every file below a directory, with its mode and its size.
fn files(top: &Path) -> BTreeMap<String, (u32, u64)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![top.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let data = path.symlink_metadata().unwrap();
            if data.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (data.permissions().mode() & 0o7777, data.len()));
            }
        }
    }
    found
}

#[test]
fn the_package_has_what_is_installed() {
    let test = "the_package_has_what_is_installed";
    let tools = ["dpkg-deb", "readelf", "gzip"]
        .into_iter()
        .try_for_each(needs::program);
    if needs::or_skip(test, tools).is_none() {
        return;
    }
    let place = directory();
    let (out, extracted, installed) = (
        place.path().join("out"),
        place.path().join("deb"),
        place.path().join("installed"),
    );
    let package = run(Command::new(root().join("packaging/deb.sh"))
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .env("NEWEST_GLIBC", "9")
        .arg(binaries())
        .arg(&out));
    let package = package.trim_end();
    let field = |name: &str| {
        run(Command::new("dpkg-deb").args(["--field", package, name]))
            .trim_end()
            .to_owned()
    };
    assert_eq!(field("Version"), concat!(env!("CARGO_PKG_VERSION"), "-1"));
    assert!(
        field("Depends").starts_with("libc6 (>= 2."),
        "{}",
        field("Depends")
    );
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(package)
        .arg(&extracted));
    run(Command::new(root().join("install.sh"))
        .args(["--prefix", "/usr", "--destdir"])
        .arg(&installed)
        .arg("--binary")
        .arg(binaries().join("segue")));

    let packed = files(&extracted);
    for (name, seen) in files(&installed) {
        // Debian's own places and forms, and dpkg's own list.
        let name = name.replace("zsh/site-functions", "zsh/vendor-completions");
        if name.starts_with("usr/share/man/") {
            assert_eq!(
                packed.get(&format!("{name}.gz")).map(|seen| seen.0),
                Some(seen.0),
                "{name}"
            );
        } else if name != "usr/share/segue/installed" {
            assert_eq!(packed.get(&name), Some(&seen), "{name}");
        }
    }
    for script in ["postinst", "prerm", "postrm"] {
        assert_eq!(
            packed.get(&format!("DEBIAN/{script}")).map(|seen| seen.0),
            Some(0o755),
            "{script}"
        );
    }
    assert!(!packed.contains_key("usr/share/segue/installed"));
    assert!(packed.contains_key("usr/share/doc/segue/copyright"));
}

#[test]
fn programs_that_cannot_be_packed_are_refused_in_one_line() {
    let place = directory();
    let refused = |arguments: &[&Path], text: &str| {
        let done = Command::new(root().join("packaging/deb.sh"))
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            !done.status.success() && said.contains(text) && said.lines().count() == 1,
            "{said}"
        );
    };
    let out = place.path().join("out");
    refused(&[place.path(), &out], "there is no");
    refused(&[place.path()], "usage: deb.sh");
    refused(
        &[Path::new("--target"), Path::new("z80"), place.path(), &out],
        "z80: packages are for",
    );
    assert!(!out.exists());
}

#[test]
fn a_tarball_has_static_programs_alone() {
    let test = "a_tarball_has_static_programs_alone";
    if needs::or_skip(test, needs::program("readelf")).is_none() {
        return;
    }
    let place = directory();
    let out = place.path().join("out");
    let done = Command::new(root().join("packaging/tarball.sh"))
        .arg(binaries())
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(
        !done.status.success() && said.contains("is not linked statically") && said.lines().count() == 1,
        "{said}"
    );
    assert!(!out.exists());
}

/// People fetch the files by the names in the docs, and the workflow uploads what the scripts have named.
#[test]
fn the_files_of_a_release_have_the_same_names_everywhere() {
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let script = "top=$PWD target=$1; . packaging/names.sh; echo $tarball $package $checksums";
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let names = run(Command::new("sh")
            .current_dir(root())
            .env_remove("REVISION")
            .args(["-c", script, "names", target]));
        for name in names.split_whitespace() {
            assert!(
                page.contains(&format!("`{name}`")),
                "docs/install.md has no {name}"
            );
        }
        assert_eq!(names.split_whitespace().count(), 3, "{names}");
        let command = format!("packaging/release.sh {target} target/packages\n");
        let workflow = std::fs::read_to_string(root().join(".github/workflows/release.yml")).unwrap();
        for text in [&page, &workflow] {
            assert!(text.contains(&command), "{command}");
        }
        assert!(workflow.contains(".ci/run") && workflow.contains("packaging/cross.sh"));
    }
}

/// The lines of docs/install.md, into a directory of the test's. In the long run alone, since cargo builds what they name with
/// other features than the workspace.
#[test]
fn cargo_installs_the_programs() {
    if !scale(false, true) {
        return;
    }
    let place = directory();
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let lines: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("cargo install "))
        .collect();
    let own = binaries();
    for line in &lines {
        run(
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .current_dir(root())
                .args([
                    "install",
                    "--quiet",
                    "--offline",
                    "--debug",
                    "--no-track",
                    "--root",
                ])
                .arg(place.path())
                .arg("--target-dir")
                .arg(own.parent().unwrap())
                .args(line.split_whitespace()),
        );
    }
    for program in ["segue", "segue-poll"] {
        run(Command::new(place.path().join("bin").join(program)).arg("--help"));
    }
    assert_eq!(lines.len(), 2);
}
