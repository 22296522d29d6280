//! Apps that become another user themselves: they reach their notify socket, and are believed because they descend from the worker.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

/// Nobody, on every Linux.
const OTHER: u32 = 65534;

/// As `uwsgi --uid` does it: the same process becomes another user, and only then says that it is ready.
const DROPS: &str = r#"
import os, socket, signal
listener = socket.socket(fileno=3)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])
while True:
    client, _ = listener.accept()
    client.close()
"#;

/// Says READY=1 for the first generations without a pause, for ever.
const FLOODS: &str = r#"
import os, socket, sys
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.setblocking(False)
directory = os.path.dirname(sys.argv[1])
print('begun', flush=True)
while True:
    for generation in range(1, 6):
        try: notify.sendto(b'READY=1', f'{directory}/{generation}.0.0')
        except OSError: pass
"#;

fn works(setup: Setup) {
    let segue = setup.start();
    segue.reload_ok(&["--drained"]);
    let log = segue.process().stderr();
    assert!(!log.contains("forged"), "{log}");
    segue.stop();
}

#[test]
fn an_app_that_becomes_another_user_before_exec_is_heard() {
    if needs::or_skip("setpriv", needs::root().and_then(|()| needs::program("setpriv"))).is_none() {
        return;
    }
    let setup = Setup::new(Program::new("setpriv"));
    let app = setup.own_copy(&Program::fixture("good"));
    let other = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    works(setup.arguments(other).arguments(app.words().iter().cloned()));
}

#[test]
fn an_app_that_becomes_another_user_as_it_runs_is_heard() {
    if needs::or_skip("setuid", needs::root().and_then(|()| needs::program("python3"))).is_none() {
        return;
    }
    works(Setup::new(Program::new("python3").args(["-c", DROPS])));
}

fn notify_socket(segue: &Segue) -> String {
    let pid = segue.status().pids(1)[0];
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let entries = environment.split(|byte| *byte == 0);
    let mut path =
        entries.filter_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("NOTIFY_SOCKET="));
    path.next().unwrap().to_owned()
}

/// Anybody may write to the socket. Nobody is held up by it, and a stranger's word counts for nothing.
#[test]
fn a_stranger_who_floods_the_notify_socket_harms_nobody() {
    if needs::or_skip(
        "a stranger",
        needs::root().and_then(|()| needs::program("python3")),
    )
    .is_none()
    {
        return;
    }
    let segue = Setup::new(Program::fixture("good")).start();
    let mut stranger = Command::new("python3")
        .args(["-c", FLOODS, &notify_socket(&segue)])
        .uid(OTHER)
        .gid(OTHER)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = stranger.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    segue.process().wait_for_line("forged");
    segue.reload_under_load();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    segue.stop();
}
