//! What ends a container, and what it says then.

use std::os::unix::fs::PermissionsExt;

use segue_tests::engine::{DEBIAN, Engine, STATIC, Way};

use super::{WARY, message, stop};

/// Runs a container that is expected to end with 1, and returns its one line of a reason.
#[track_caller]
fn reason(engine: &Engine, name: &str, options: &[&str], image: &str, arguments: &[&str]) -> String {
    let container = engine
        .container(name)
        .options(options.iter().copied())
        .run(image, arguments);
    let code = container.wait_for_exit();
    let log = container.logs();
    assert_eq!(code, 1, "{log}");
    let lines: Vec<_> = log
        .lines()
        .filter_map(|line| line.split_once("the first start failed: "))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    lines[0].1.to_owned()
}

pub(super) fn first_start(engine: &Engine) {
    let app = ["--", "/bin/sh", "-c", "echo 'no database' >&2; exit 3"];
    let said = reason(engine, "dies", &[], DEBIAN, &app);
    assert!(said.starts_with("exited with status 3 after "), "{said}");
    let said = reason(engine, "missing", &[], STATIC, &["--", "/srv/app/current/other"]);
    assert_eq!(said, "exec /srv/app/current/other: no such file or directory");
}

/// One line, no crash.
pub(super) fn not_in_scratch(engine: &Engine) {
    let said = reason(engine, "user", &["--user=0:0"], STATIC, &["--user=nobody"]);
    assert_eq!(said, "user nobody: no such file or directory");
    let said = reason(engine, "host", &[], STATIC, &["--listen=somehost:80"]);
    assert!(said.starts_with("listen somehost:80: host not found: "), "{said}");
    let said = reason(
        engine,
        "probe",
        &[],
        STATIC,
        &["--probe=true", "--probe-timeout=1s"],
    );
    let why = "the probe did not pass within 1s (last run: exec /bin/sh: no such file or directory)";
    assert_eq!(said, why);
}

/// SIGKILL leaves lock files, sockets and a pid file with the number 1, which is the next supervisor's own number, too.
pub(super) fn killed(engine: &Engine) {
    let shared = shared_directory(engine, "killed");
    let pid_file = [
        "--pid-file=/srv/run/pid",
        "--listen=unix:/srv/run/socket",
        "--listen=*:1234",
    ];
    for (name, options) in [("killed", &[][..]), ("killed-wary", WARY)] {
        let container = engine
            .container(name)
            .options(options.iter().copied())
            .options([shared.as_str()])
            .start(DEBIAN, &pid_file);
        container.docker_ok(&["kill"]);
        assert_eq!(container.wait_for_exit(), 137);
        container.docker_ok(&["start"]);
        container.wait_until("a generation serves", |status| status.state() == "serving");
        assert_eq!(message(&container, Way::Proxy), "{\"message\": \"test\"}");
        container.exec_ok(&["segue", "reload"]);
        stop(&container);
        let left = engine.path("volumes/killed/pid");
        assert!(!left.exists(), "left: {}", left.display());
    }
}

/// Two containers that share a directory: both supervisors are PID 1, and neither takes the other for itself.
pub(super) fn two_of_pid_1(engine: &Engine) {
    let shared = shared_directory(engine, "two");
    let first = engine.container("first").options([shared.as_str()]).start(
        DEBIAN,
        &["--listen=unix:/srv/run/socket", "--pid-file=/srv/run/pid"],
    );
    let taken = ["--listen=unix:/srv/run/socket"];
    let said = reason(engine, "second", &[&shared], DEBIAN, &taken);
    let why = "listen unix:/srv/run/socket: another supervisor has it (pid 1 in another pid namespace holds the lock \
               /srv/run/socket.lock)";
    assert_eq!(said, why);
    let third = engine
        .container("third")
        .options([shared.as_str()])
        .start(DEBIAN, &["--pid-file=/srv/run/pid"]);
    stop(&first);
    assert!(
        engine.path("volumes/two/pid").exists(),
        "the pid file is the third's"
    );
    stop(&third);
    assert!(!engine.path("volumes/two/pid").exists());
}

/// The option that mounts a directory of the host in which everybody may make files.
fn shared_directory(engine: &Engine, name: &str) -> String {
    let directory = engine.path(&format!("volumes/{name}"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).unwrap();
    format!("--volume={}:/srv/run", directory.display())
}
