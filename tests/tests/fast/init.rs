//! `segue init`, and the segue.toml that is read because it is there.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::process::{Finished, Process};
use segue_tests::segue::directory;

fn segue(place: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(Binary::Segue.path());
    command.args(words).current_dir(place);
    command
}

fn done(place: &Path, words: &[&str]) -> Finished {
    Process::start(&mut segue(place, words)).finish()
}

#[test]
fn a_segue_toml_is_begun_and_never_overwritten() {
    let place = directory();
    let shown = done(place.path(), &["init", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let file = place.path().join("segue.toml");
    assert!(!file.exists() && shown.stdout.contains("\ncommand = "));
    let first = done(place.path(), &["init"]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(
        first.stdout.starts_with("wrote segue.toml\nnext: "),
        "{}",
        first.stdout
    );
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, shown.stdout);
    fs::write(&file, text.replace("8080", "8081")).unwrap();
    let again = done(place.path(), &["init"]);
    assert_eq!(again.code, Some(1), "{}", again.stdout);
    assert!(again.stderr.contains("move it away first"), "{}", again.stderr);
    assert!(fs::read_to_string(&file).unwrap().contains("8081"));
}

/// It must not be taken from a directory where anybody could have put it.
#[test]
fn a_segue_toml_that_lies_there_is_read_if_nobody_else_can_write_it() {
    let place = directory();
    let none = done(place.path(), &["run"]);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    assert!(none.stderr.contains("no command is given: "), "{}", none.stderr);
    let file = place.path().join("segue.toml");
    let text = "name = \"found\"\ncommand = [\"/bin/sleep\", \"1000\"]\nready = \"exec:10ms\"\n\
                listen = [\"unix:s\"]\ncontrol = \"control\"\n";
    fs::write(&file, text).unwrap();
    for (mode, why) in [
        (0o666, "others can write to it (mode 0666)"),
        (0o646, "mode 0646"),
    ] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let refused = done(place.path(), &["run"]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains(why) && refused.stderr.contains("--config segue.toml means it"),
            "{}",
            refused.stderr
        );
        let named = done(place.path(), &["check", "--config", "segue.toml"]);
        assert_eq!(named.code, Some(0), "{}", named.stderr);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let checked = done(place.path(), &["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    let running = Process::start(&mut segue(place.path(), &["run"]));
    running.wait_for_line("generation 1 serves");
    let mark = running.mark();
    let reloaded = done(place.path(), &["reload", "--control", "control"]);
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    // At a reload, too: the old one serves on.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = done(place.path(), &["reload", "--control", "control"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    running.wait_for_line_after(mark, "others can write to it");
    running.signal(Signal::SIGTERM);
    assert!(running.wait_for_exit().success());
}

/// A COMMAND, or another file, is all that counts then.
#[test]
fn a_segue_toml_that_lies_there_counts_for_nothing_beside_a_command() {
    let place = directory();
    fs::write(place.path().join("segue.toml"), "nonsense").unwrap();
    assert_eq!(done(place.path(), &["check"]).code, Some(1));
    let with = done(place.path(), &["check", "-l", "8080", "--", "/bin/true"]);
    assert_eq!(with.code, Some(0), "{}", with.stderr);
}

/// A service with `User=` must be able to read them.
#[test]
fn what_a_unit_needs_can_be_read_by_its_user_whatever_the_umask() {
    let root = directory();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(
        units.join("shop.service"),
        "[Service]\nUser=shop\nExecStart=/usr/bin/shop\n",
    )
    .unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::set_permissions(root.path().join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "umask 077 && exec \"$@\"", "sh"])
        .arg(Binary::Segue.path())
        .args(["init", "--unit", "shop", "--write", "--root"])
        .arg(root.path());
    let written = Process::start(&mut command).finish();
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for (path, mode) in [
        // What was there keeps its mode.
        ("etc", 0o711),
        ("etc/segue", 0o755),
        ("etc/segue/shop.toml", 0o644),
        ("etc/systemd/system", 0o755),
        ("etc/systemd/system/shop.service.d", 0o755),
        ("etc/systemd/system/shop.service.d/segue.conf", 0o644),
    ] {
        let found = fs::metadata(root.path().join(path)).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{path}");
    }
}

#[test]
fn a_unit_is_shown_written_and_found_right() {
    let root = directory();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(
        units.join("shop.service"),
        "[Service]\nType=notify\nExecStart=/usr/bin/shop $OPTIONS\nRuntimeDirectory=shop\n",
    )
    .unwrap();
    fs::write(units.join("shop.socket"), "[Socket]\nListenStream=80\n").unwrap();
    let at = root.path().to_str().unwrap();
    let words = ["init", "--unit", "shop", "--root", at];
    let shown = done(root.path(), &words);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stderr.contains("nothing was written"), "{}", shown.stderr);
    assert!(!root.path().join("etc").exists());
    let written = done(root.path(), &[&words[..], &["--write"]].concat());
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    assert_eq!(written.stdout.matches("wrote ").count(), 3, "{}", written.stdout);
    // Segue's own look at what it made finds nothing that does not fit. The drop-in lies where systemd would read it.
    let drop_ins = units.join("shop.service.d");
    fs::create_dir(&drop_ins).unwrap();
    let made = root.path().join("etc/systemd/system/shop.service.d/segue.conf");
    fs::copy(made, drop_ins.join("segue.conf")).unwrap();
    let unit = units.join("shop.service");
    let config = root.path().join("etc/segue/shop.toml");
    let checked = done(
        root.path(),
        &[
            "check",
            "--config",
            config.to_str().unwrap(),
            "--unit",
            unit.to_str().unwrap(),
            "--",
            "/bin/true",
        ],
    );
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(!checked.stderr.contains("unit "), "{}", checked.stderr);
    fs::write(&unit, "[Service]\nType=forking\nExecStart=/usr/sbin/shopd\n").unwrap();
    let refused = done(root.path(), &words);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused
            .stderr
            .starts_with("segue: cannot carry shop.service: Type=forking: "),
        "{}",
        refused.stderr
    );
}
