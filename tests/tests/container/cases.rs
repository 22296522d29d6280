//! The cases.

use segue_tests::engine::{DEBIAN, Engine, STATIC, Way};
use segue_tests::http::get_and_close;

type Case = fn(&Engine);

/// Name and case.
pub(crate) const ALL: &[(&str, Case)] = &[
    ("start, reload and stop", |engine| {
        start_reload_stop(engine, "plain", DEBIAN)
    }),
    ("start, reload and stop, static", |engine| {
        start_reload_stop(engine, "static", STATIC)
    }),
];

fn start_reload_stop(engine: &Engine, name: &str, image: &str) {
    let container = engine.container(name).start(image, &[]);
    for way in [Way::Proxy, Way::Filter] {
        let answer = container
            .target(way)
            .connect()
            .unwrap()
            .ask(&get_and_close("/ping"))
            .unwrap();
        assert_eq!(answer.ok().unwrap().text(), "{\"message\": \"test\"}");
    }
    let said = container.exec_ok(&["segue", "reload"]);
    assert!(said.starts_with("reload ok: generation 2 serves (pid "), "{said}");
    let status = container.exec_ok(&["segue", "status"]);
    assert!(
        status.starts_with("app: serving, generation 2 serves (segue "),
        "{status}"
    );
    assert!(status.contains(", pid 1, "), "{status}");
    container.docker_ok(&["stop"]);
    assert_eq!(container.wait_for_exit(), 0);
    let log = container.logs();
    assert!(log.contains("stop asked for by SIGTERM"), "{log}");
    assert!(log.ends_with("generation 2 is gone\n"), "{log}");
}
