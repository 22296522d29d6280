//! The static tarball: unpacked and installed as docs/install.md says. It is here since the images need the same programs, which
//! take a while to build.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::path::Path;
use std::process::Command;

use segue_tests::binaries::build_static;
use segue_tests::needs;
use segue_tests::segue::directory;

/// Packing takes as long as this machine needs: it waits for nobody.
#[track_caller]
fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{command:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_static_tarball_installs_what_it_has() {
    let test = "the_static_tarball_installs_what_it_has";
    let tools = ["readelf", "tar", "gzip"]
        .into_iter()
        .try_for_each(needs::program);
    if !needs::whole_system(test) || needs::or_skip(test, tools).is_none() {
        return;
    }
    let place = directory();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/tarball.sh");
    let tarball = run(Command::new(script).arg(build_static()).arg(place.path()));
    let tarball = Path::new(tarball.trim_end());
    run(Command::new("tar")
        .arg("-C")
        .arg(place.path())
        .arg("-xf")
        .arg(tarball));
    let name = tarball
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .strip_suffix(".tar.gz")
        .unwrap();
    let tree = place.path().join(name);
    let prefix = place.path().join("prefix");
    run(Command::new(tree.join("install.sh"))
        .env_remove("DESTDIR")
        .arg("--prefix")
        .arg(&prefix));
    let installed = |path: &str| prefix.join(path);
    for path in [
        "bin/segue-deploy",
        "lib/systemd/system/segue@.service",
        "share/man/man8/segue-run.8",
        "share/man/man1/segue-poll.1",
        "share/man/man1/segue-deploy.1",
    ] {
        assert!(installed(path).exists(), "{path}");
    }
    let segue = installed("bin/segue");
    run(Command::new(installed("bin/segue-poll")).arg("--help"));
    let script = std::fs::read_to_string(installed("share/bash-completion/completions/segue")).unwrap();
    assert_eq!(script, run(Command::new(&segue).args(["completions", "bash"])));
    // Names of users and hosts are found, by a program without shared libraries.
    let checked = run(Command::new(&segue).args([
        "check",
        "--listen",
        "localhost:0",
        "--control-group",
        "root",
        "true",
    ]));
    assert!(checked.ends_with("ok\n"), "{checked}");
}
