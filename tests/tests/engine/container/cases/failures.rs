//! What ends a container, and what it says then.

use std::os::unix::fs::PermissionsExt;

use segue_tests::engine::{Container, DEBIAN, Engine, STATIC, Way};
use segue_tests::load::{Kind, Load};

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
    assert!(said.starts_with(why), "{said}");
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
        assert_eq!(message(&container, Way::Proxy), "test");
        container.exec_ok(&["segue", "reload"]);
        stop(&container);
        let left = engine.path("volumes/killed/pid");
        assert!(!left.exists(), "left: {}", left.display());
    }
}

/// A container whose PID 1 is a shell that starts segue again whenever it has ended with anything but 0, as the little supervisors of
/// images do.
fn behind_a_shell<'e>(engine: &'e Engine, name: &str, options: &[&str]) -> Container<'e> {
    let script = "trap 'stopped=yes; kill -TERM $segue' TERM
        while :; do
            segue run --config /etc/segue.toml & segue=$!
            # A signal that has a trap ends wait early, with the number of the signal, even if wait has just seen segue end.
            while wait $segue; code=$?; kill -0 $segue 2>/dev/null; do :; done
            [ $code -eq 0 ] || [ -n \"$stopped\" ] && exit 0
            sleep 0.1
        done";
    engine
        .container(name)
        .options(["--entrypoint=/bin/sh"])
        .options(options.iter().copied())
        .start(DEBIAN, &["-c", script])
}

/// `kill -9` of the supervisor alone; the container goes on.
fn kill_supervisor(container: &Container<'_>) -> u64 {
    let pid = container.status().unwrap().0["pid"].as_u64().unwrap();
    container.exec_ok(&["sh", "-c", &format!("kill -9 {pid}")]);
    pid
}

/// An engine permits pidfd_getfd(2) only together with CAP_SYS_PTRACE.
pub(super) fn killed_alone_and_adopted(engine: &Engine) {
    let container = behind_a_shell(engine, "adopted", &["--cap-add=SYS_PTRACE"]);
    let load = Load::start(Kind::KeepAlive, &container.target(Way::Filter), 2);
    container.exec_ok(&["segue", "reload"]);
    let app = container.status().unwrap().pids(2);
    let dead = kill_supervisor(&container);
    let adopted = container.wait_until("a successor", |status| status.0["pid"] != dead);
    assert_eq!(
        (adopted.generation(), adopted.pids(2)),
        (2, app),
        "{}",
        container.logs()
    );
    container.exec_ok(&["segue", "reload", "--drained"]);
    load.wait_for_generation(3);
    load.stop().assert_nothing_lost();
    stop(&container);
}

pub(super) fn killed_alone_where_nothing_is_permitted(engine: &Engine) {
    let container = behind_a_shell(engine, "not-adopted", WARY);
    let app = container.status().unwrap().pids(1)[0];
    kill_supervisor(&container);
    container.wait_for_log(&format!(
        "its app lives on (pid {app}), but the listener *:1234 cannot be taken back from it: pidfd_getfd from generation 1, pid \
         {app}: operation not permitted; CAP_SYS_PTRACE permits it; stop the app (kill {app}) and start segue again"
    ));
    assert_eq!(message(&container, Way::Proxy), "test");
    // What it says is what helps.
    container.exec_ok(&["sh", "-c", &format!("kill {app}")]);
    container.wait_until("a generation serves", |status| status.state() == "serving");
    assert_eq!(message(&container, Way::Proxy), "test");
    stop(&container);
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
