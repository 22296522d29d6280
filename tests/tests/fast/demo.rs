//! `examples/demo.sh`: what it announces is what happens, it can fail, and it leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use segue_tests::binaries::Binary;
use segue_tests::executable;
use segue_tests::proc;
use segue_tests::segue::directory;

fn demo() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo.sh"))
}

/// A directory with the programs that the demonstration uses.
fn programs(place: &Path) -> PathBuf {
    let programs = place.join("programs");
    std::fs::create_dir(&programs).unwrap();
    for (name, binary) in [
        ("segue", Binary::Segue),
        ("app", Binary::App),
        ("segue-poll", Binary::SeguePoll),
    ] {
        symlink(binary.path(), programs.join(name)).unwrap();
    }
    programs
}

/// Run it with a directory for temporary files of its own; that is empty afterwards, and nobody runs from it.
fn run(place: &Path, programs: &Path) -> Output {
    let scratch = place.join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let output = demo()
        .args(["--bin".as_ref(), programs.as_os_str()])
        .args(["--picture".as_ref(), place.join("demo.svg").as_os_str()])
        .env("TMPDIR", &scratch)
        .env(proc::MARK, &scratch)
        .output()
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(&scratch).unwrap().collect();
    assert!(left.is_empty(), "left behind: {left:?}\n{output:?}");
    let running = proc::marked(scratch.to_str().unwrap());
    assert!(running.is_empty(), "still running: {running:?}\n{output:?}");
    output
}

#[test]
fn the_demonstration_shows_what_it_announces() {
    let place = directory();
    let output = run(place.path(), &programs(place.path()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{output:?}");
    for announced in [
        "UP AND CHANGED: response was {\"message\": \"version two\"}",
        "reload failed: generation 3: exited with status 3",
        "reload rolled back: generation 4: killed by SIGKILL",
        "its app is adopted: generation 5 serves",
        "upgraded: segue ",
        " requests, 0 down, ",
    ] {
        assert!(said.contains(announced), "no '{announced}' in:\n{said}");
    }
    let picture = std::fs::read_to_string(place.path().join("demo.svg")).unwrap();
    assert!(
        picture.contains(" requests, 0 failed"),
        "the picture shows something else"
    );
}

#[test]
fn the_demonstration_fails_if_a_request_does() {
    let place = directory();
    let programs = programs(place.path());
    // A client that has no patience at all.
    let client = programs.join("segue-poll");
    std::fs::remove_file(&client).unwrap();
    let real = Binary::SeguePoll.path();
    let script = format!(
        "#!/bin/sh\nfor argument; do shift; [ \"$argument\" = 30s ] && argument=1us; set -- \"$@\" \"$argument\"; done\n\
         exec '{}' \"$@\"\n",
        real.display()
    );
    executable::write(&client, script.as_bytes());
    let output = run(place.path(), &programs);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn without_a_toolchain_it_says_what_to_install() {
    let place = directory();
    for tool in ["dirname", "sed", "rm", "mktemp", "cut", "sort", "tail"] {
        let real = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .unwrap();
        symlink(
            String::from_utf8_lossy(&real.stdout).trim(),
            place.path().join(tool),
        )
        .unwrap();
    }
    for script in ["demo.sh", "run.sh"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(script);
        let output = Command::new("/bin/sh")
            .arg(path)
            .env("PATH", place.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("needs a Rust toolchain (rustc and cargo, 1."),
            "{script}: {said}"
        );
        assert!(said.contains("rustup"), "{script}: {said}");
    }
}
