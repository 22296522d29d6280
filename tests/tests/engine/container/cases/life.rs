//! What becomes of a container: start, health, output, strangers, stop.

use segue_tests::engine::{DEBIAN, Engine, Way};
use segue_tests::http::{Response, get_and_close, post};
use segue_tests::ledger::Loss;

use super::{message, stop, wait_for_message};
use crate::container::volume::{self, Volume};

pub(super) fn plain(engine: &Engine, name: &str, image: &str, options: &[&str], arguments: &[&str]) {
    let container = engine
        .container(name)
        .options(options.iter().copied())
        .start(image, arguments);
    for way in [Way::Proxy, Way::Filter] {
        assert_eq!(message(&container, way), "test");
    }
    let lives = container.lives();
    let said = container.exec_ok(&["segue", "reload"]);
    assert!(said.starts_with("reload ok: generation 2 serves (pid "), "{said}");
    let status = container.exec_ok(&["segue", "status"]);
    assert!(
        status.starts_with("app: serving, generation 2 serves (segue "),
        "{status}"
    );
    assert!(status.contains(", pid 1, "), "{status}");
    assert_eq!(container.lives(), lives);
    stop(&container);
    let log = container.logs();
    assert!(log.contains("stop asked for by SIGTERM"), "{log}");
}

/// With `docker run --init`, PID 1 is somebody else, who passes signals on and reaps.
pub(super) fn behind_an_init(engine: &Engine) {
    let container = engine.container("init").options(["--init"]).start(DEBIAN, &[]);
    assert_ne!(container.status().unwrap().0["pid"], 1);
    container.exec_ok(&["segue", "reload"]);
    container.docker_ok(&["kill", "--signal=HUP"]);
    container.wait_until("generation 3", |status| status.generation() == 3);
    stop(&container);
}

type Asked = std::thread::JoinHandle<Result<Response, Loss>>;

/// A request in a thread of its own; the app has it when this returns.
fn ask_slowly(container: &segue_tests::engine::Container<'_>, path: &'static str) -> Asked {
    let target = container.target(Way::Filter);
    let asked = std::thread::spawn(move || target.connect()?.ask(&get_and_close(path)));
    wait_until_it_is_in_the_app(container);
    asked
}

fn wait_until_it_is_in_the_app(container: &segue_tests::engine::Container<'_>) {
    container.wait_until("the request is in the app", |status| {
        status.0["generations"][0]["workers"][0]["connections"] == 1
    });
}

pub(super) fn drains(engine: &Engine) {
    let container = engine
        .container("drains")
        .options(["--stop-timeout=600"])
        .start(DEBIAN, &[]);
    // It is in the app until the test sends the rest, however slow the machine is.
    let mut client = container.target(Way::Filter).connect().unwrap();
    let request = post("/echo", b"to be continued");
    let (first, rest) = request.split_at(request.len() - 5);
    client.write(first).unwrap();
    wait_until_it_is_in_the_app(&container);
    std::thread::scope(|scope| {
        scope.spawn(|| container.docker_ok(&["stop"]));
        container.wait_for_log("stop asked for by SIGTERM");
        client.write(rest).unwrap();
        assert_eq!(client.response().unwrap().status, 200);
    });
    assert_eq!(container.wait_for_exit(), 0, "{}", container.logs());
}

/// Segue itself ends what takes too long, and says so; the engine's patience is longer here than its 10 s, so that its
/// SIGKILL cannot be what ended the app.
pub(super) fn overlong_request(engine: &Engine) {
    let container = engine
        .container("overlong")
        .options(["--stop-timeout=600"])
        .start(DEBIAN, &[]);
    let asked = ask_slowly(&container, "/slow?ms=500000");
    container.docker_ok(&["stop"]);
    assert!(asked.join().unwrap().is_err(), "{}", container.logs());
    assert_eq!(container.wait_for_exit(), 0, "{}", container.logs());
    let log = container.logs();
    assert!(log.contains("did not end in time: it is killed"), "{log}");
}

pub(super) fn term_twice(engine: &Engine) {
    let app = "trap '' TERM; while :; do sleep 1; done";
    let container = engine.container("twice").start(
        DEBIAN,
        &[
            "--ready=exec:10ms",
            "--stop-timeout=none",
            "--",
            "/bin/sh",
            "-c",
            app,
        ],
    );
    container.docker_ok(&["kill", "--signal=TERM"]);
    container.wait_for_log("stopping: every generation drains");
    container.docker_ok(&["kill", "--signal=TERM"]);
    let code = container.wait_for_exit();
    assert_eq!(code, 0, "{}", container.logs());
}

pub(super) fn health(engine: &Engine) {
    let volume = Volume::new(engine, "health");
    volume.deploy(&format!(
        "[ ! -e /srv/app/broken ] || exit 3; {}",
        volume::serves("one")
    ));
    let container = engine
        .container("health")
        .options([
            "--health-interval=1s",
            "--health-retries=1",
            "--health-start-period=1ms",
        ])
        .options(volume.mount().iter().map(String::as_str))
        .start(DEBIAN, &[]);
    container.wait_for("{{.State.Health.Status}}", "healthy");
    // It dies, and what is started in its place dies, too.
    volume.write("broken", b"");
    let pid = container.status().unwrap().pids(1)[0].to_string();
    container.exec_ok(&["/bin/sh", "-c", "kill -KILL \"$0\"", &pid]);
    container.wait_for("{{.State.Health.Status}}", "unhealthy");
    let why = container.inspect("{{range .State.Health.Log}}{{.Output}}{{end}}");
    assert!(why.contains("generation 1 does not serve"), "{why}");
    // And back.
    volume.deploy(&volume::serves("two"));
    container.exec_ok(&["segue", "reload"]);
    container.wait_for("{{.State.Health.Status}}", "healthy");
    wait_for_message(&container, Way::Proxy, "two");
}

/// Processes that outlive their parent, are adopted by PID 1 (which they wait for) and end then.
const STRANGERS: &str = r#"
cat >/dev/shm/stranger <<'end'
until [ "$(cut -d ' ' -f 4 /proc/$$/stat)" = 1 ]; do :; done
echo "$$" >>/dev/shm/adopted
end
for number in 1 2 3 4 5; do (/bin/sh /dev/shm/stranger & exit); done"#;

/// Prints the adopted whose number is still taken.
const LEFT: &str = r#"
[ "$(wc -l </dev/shm/adopted)" = 5 ] || { echo not yet; exit; }
while read -r pid; do [ ! -e "/proc/$pid" ] || cat "/proc/$pid/stat" 2>/dev/null || :; done </dev/shm/adopted"#;

pub(super) fn reaps(engine: &Engine) {
    let container = engine.container("reaps").start(DEBIAN, &[]);
    container.exec_ok(&["/bin/sh", "-c", STRANGERS]);
    segue_tests::wait_until("all of them are reaped", || {
        container.exec_ok(&["/bin/sh", "-c", LEFT]).is_empty()
    });
    assert_eq!(message(&container, Way::Proxy), "test");
    stop(&container);
}

/// The instrument of [`reaps`]: with a PID 1 that does not reap, it sees zombies.
pub(super) fn unreaped(engine: &Engine) {
    let options = ["--entrypoint=sleep", "--no-healthcheck"];
    let container = engine
        .container("unreaped")
        .options(options)
        .run(DEBIAN, &["infinity"]);
    container.exec_ok(&["/bin/sh", "-c", STRANGERS]);
    segue_tests::wait_until("all five are zombies", || {
        let left = container.exec_ok(&["/bin/sh", "-c", LEFT]);
        left.lines().filter(|line| line.contains(" Z ")).count() == 5
    });
}

/// Whatever bytes the app writes, they are in the engine's log as they were written.
pub(super) fn output(engine: &Engine) {
    let volume = Volume::new(engine, "output");
    volume.deploy(&format!(
        "cat /srv/app/out\ncat /srv/app/err >&2\n{}",
        volume::serves("one")
    ));
    let long = "x".repeat(10_000);
    // The engine itself splits lines above 16 KiB, and its log knows only whole lines.
    let out = [
        b"\x1b[31mred\x1b[0m\ttab\r\n\n  \xff\xfe\x00 no text\n",
        long.as_bytes(),
        b"\n\xc3\xbc\n",
    ]
    .concat();
    let err = [b"<7>not a priority\n\x00\xff\n", long.as_bytes(), b"\n"].concat();
    volume.write("out", &out);
    volume.write("err", &err);
    let container = engine
        .container("output")
        // The engine's default driver keeps text; this one keeps bytes.
        .options(["--log-driver=local"])
        .options(volume.mount().iter().map(String::as_str))
        .start(DEBIAN, &[]);
    stop(&container);
    let (stdout, stderr) = container.bytes();
    assert!(
        stdout == out,
        "stdout has {} bytes: {}",
        stdout.len(),
        stdout.escape_ascii()
    );
    let found = stderr.windows(err.len()).any(|part| part == err);
    assert!(
        found,
        "stderr has {} bytes: {}",
        stderr.len(),
        stderr.escape_ascii()
    );
}
