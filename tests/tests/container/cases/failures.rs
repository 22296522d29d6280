//! What ends a container, and what it says then.

use segue_tests::engine::{DEBIAN, Engine, STATIC};

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
