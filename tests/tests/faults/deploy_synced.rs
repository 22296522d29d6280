//! What a preflight writes is on the disk before its release has a name.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::process::Command;

use segue_tests::deployed::Deployed;
use segue_tests::needs;
use segue_tests::process::Process;
use segue_tests::strace;

#[test]
fn what_a_preflight_writes_is_synced_before_the_release_has_its_name() {
    if needs::or_skip("strace", strace::available()).is_none() {
        return;
    }
    let deployed = Deployed::start(["--probation", "10ms"]);
    deployed.write("good message=new");
    let deploy = deployed.command(&["--preflight-command", "mkdir cache; echo x >cache/written", "app"]);
    let mut command = Command::new("strace");
    let calls = "trace=fsync,fdatasync,rename,renameat,renameat2";
    command
        .args(["-f", "-y", "-e", calls, "-o", "calls"])
        .arg(deploy.get_program());
    command.args(deploy.get_args()).current_dir(deployed.path("."));
    for (key, value) in deploy.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let done = Process::start(command.stdin(std::process::Stdio::null())).finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    let calls = strace::read(&deployed.path("calls"));
    let place = |call: &str, path: &str| {
        let found = calls
            .lines()
            .position(|line| line.contains(call) && line.contains(path));
        found.unwrap_or_else(|| panic!("no {call} of {path} in\n{calls}"))
    };
    let named = place("rename", "/releases/.new\"");
    for path in [
        "/releases/.new/cache/written>",
        "/releases/.new/cache>",
        "/releases/.new/.unproven>",
        "/releases/.new>",
    ] {
        assert!(place("sync(", path) < named, "{path}:\n{calls}");
    }
    deployed.stop();
}
