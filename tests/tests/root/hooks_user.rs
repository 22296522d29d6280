//! Hooks of an app that runs as another user: they are that user in every respect, and hold nobody up.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use segue_tests::http::get_and_close;
use segue_tests::needs;
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// A user with a home, and two groups beside the own one. Only the supervisor and what it starts see the user: in a mount
/// namespace of their own.
const USER: u32 = 61_123;
const GROUPS: &str =
    "shopper:x:61123:\ncounter:x:61124:shopper\ntill:x:61125:nobody,shopper\nother:x:61126:nobody\n";

/// What a hook tells of itself: as the kernel has it, and as its environment has.
const REPORT: &str = r#"
file=$1
{
    grep -E '^(Uid|Gid|Groups|CapEff|SigBlk|SigIgn):' /proc/self/status
    echo "directory $(pwd -P)"
    echo "login $HOME $USER $LOGNAME $SHELL"
    echo "own $OWN"
    echo "about $SEGUE_EVENT $SEGUE_GENERATION $SEGUE_NAME"
    kill -9 "$PPID" 2>&- || echo 'may not kill its supervisor'
    [ -w /etc/passwd ] || echo 'may not write what is root'"'"'s'
} >"$file.new"
mv "$file.new" "$file"
"#;

fn may_change_mounts() -> Result<(), String> {
    needs::root()?;
    needs::program("unshare")?;
    let done = Command::new("unshare").args(["--mount", "true"]).output();
    let is_allowed = done.is_ok_and(|done| done.status.success());
    is_allowed
        .then_some(())
        .ok_or_else(|| "unshare --mount: not allowed here".to_owned())
}

/// An app of the user's, in the user's directory, with hooks that report there.
fn of_the_user(flags: &[&str]) -> Segue {
    let setup = Setup::new(Program::new("none"));
    let app = setup.own_copy(&Program::fixture("good"));
    let home = setup.path("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(USER), Some(USER)).unwrap();
    let of_this_machine = |file: &str| fs::read_to_string(file).unwrap();
    let entry = format!("shopper:x:{USER}:{USER}:A shopper:{}:/bin/sh\n", home.display());
    for (name, more) in [("passwd", entry.as_str()), ("group", GROUPS)] {
        let text = of_this_machine(&format!("/etc/{name}")) + more;
        fs::write(setup.path(name), text).unwrap();
        fs::set_permissions(setup.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::write(setup.path("report"), REPORT).unwrap();
    let own = "mount --bind passwd /etc/passwd && mount --bind group /etc/group && exec \"$@\"";
    let report = |name: &str| {
        let script = setup.path("report");
        format!("exec sh {} {}", script.display(), home.join(name).display())
    };
    let gate = format!("[ ! -e gate ] || . ./gate; {}", report("before"));
    let takeover = format!("takeover={}", report("takeover"));
    setup
        .opened_by(["unshare", "--mount", "sh", "-c", own, "sh"])
        .flags(["--user", "shopper", "--env", "OWN=yes"])
        .flags(["--chdir".into(), home.clone().into_os_string()])
        .flags(["--before-reload", &gate, "--on", &takeover])
        .flags(flags.iter().copied())
        .program(app)
        .start()
}

#[track_caller]
fn read(path: &Path) -> String {
    let end = Instant::now() + segue_tests::patience();
    loop {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        assert!(Instant::now() < end, "{} was not written", path.display());
        std::thread::sleep(segue_tests::LOOK);
    }
}

/// The lines of /proc/PID/status that tell who a process is.
fn identity(text: &str) -> Vec<&str> {
    let is_meant = |line: &&str| {
        ["Uid:", "Gid:", "Groups:"]
            .iter()
            .any(|key| line.starts_with(key))
    };
    text.lines().filter(is_meant).map(str::trim_end).collect()
}

#[test]
fn hooks_are_the_user_that_the_app_is() {
    if needs::or_skip("hooks as another user", may_change_mounts()).is_none() {
        return;
    }
    let segue = of_the_user(&[]);
    let home = fs::canonicalize(segue.path("home")).unwrap();
    let first = read(&home.join("takeover"));
    fs::remove_file(home.join("takeover")).unwrap();
    segue.reload_ok(&[]);
    let (before, takeover) = (read(&home.join("before")), read(&home.join("takeover")));
    let app = fs::read_to_string(format!("/proc/{}/status", segue.status().pids(2)[0])).unwrap();
    for (report, about) in [
        (&first, "takeover 1"),
        (&before, "before-reload 2"),
        (&takeover, "takeover 2"),
    ] {
        assert_eq!(identity(report), identity(&app), "{report}");
        let ids = ["Uid:", "Gid:"].map(|key| format!("{key}\t{USER}\t{USER}\t{USER}\t{USER}\n"));
        assert!(ids.iter().all(|line| report.contains(line.as_str())), "{report}");
        assert!(report.contains("\nGroups:\t61123 61124 61125"), "{report}");
        let shown = home.display();
        for line in [
            "CapEff:\t0000000000000000".to_owned(),
            "SigBlk:\t0000000000000000".to_owned(),
            format!("directory {shown}"),
            format!("login {} shopper shopper /bin/sh", segue.path("home").display()),
            "own yes".to_owned(),
            "may not kill its supervisor".to_owned(),
            "may not write what is root's".to_owned(),
        ] {
            assert!(report.contains(&format!("{line}\n")), "{line}: {report}");
        }
        assert!(report.contains(&format!("about {about} ")), "{report}");
    }
    segue.stop();
}

/// It heeds no SIGTERM, and so does what it has started.
#[test]
fn a_hook_of_another_user_that_hangs_holds_up_nobody_and_is_killed() {
    if needs::or_skip("hooks as another user", may_change_mounts()).is_none() {
        return;
    }
    let segue = of_the_user(&["--hook-timeout", "3s"]);
    let gate = "trap '' TERM HUP INT\nsleep 1000 &\necho \"$$ $!\" >pids.new\nmv pids.new pids\nwhile :; do sleep 1000; done\n";
    fs::write(segue.path("home/gate"), gate).unwrap();
    let reload = segue.begin("reload", &[]);
    let pids = read(&segue.path("home/pids"));
    // Meanwhile clients and commands are answered.
    let answer = segue.target().connect().unwrap().ask(&get_and_close("/ping"));
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(segue.status().generation(), 1);
    let refused = reload.finish();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("before-reload: killed after 3s (--hook-timeout)"),
        "{refused:?}"
    );
    for pid in pids.split_whitespace() {
        let pid = pid.parse().unwrap();
        let end = Instant::now() + segue_tests::patience();
        while proc::look(pid).is_some_and(|seen| seen.state != 'Z') {
            assert!(Instant::now() < end, "pid {pid} lives on");
            std::thread::sleep(segue_tests::LOOK);
        }
    }
    fs::remove_file(segue.path("home/gate")).unwrap();
    segue.reload_ok(&[]);
    segue.stop();
}
