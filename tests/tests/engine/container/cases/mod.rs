//! The cases: what is promised of Segue in a container.

mod deploys;
mod failures;
mod life;

use segue_tests::engine::{Container, DEBIAN, DEBIAN_FROM_SOURCE, Engine, STATIC, STATIC_FROM_SOURCE, Way};
use segue_tests::version;

/// What is promised, by name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) play: fn(&Engine),
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn case(name: &'static str, play: fn(&Engine)) -> Case {
    Case { name, play }
}

/// What a wary operator runs it with: nothing to write to, nothing allowed, a user whom nobody knows.
const WARY: &[&str] = &[
    "--read-only",
    "--user=12345:12345",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
];

/// Those that take longest come first.
pub(crate) const ALL: &[Case] = &[
    case("volume: deploys under load by exec", deploys::by_exec),
    case("volume: deploys under load by HUP", deploys::by_hup),
    case("a request longer than the stop timeout", life::overlong_request),
    case("health", life::health),
    case("control: docker restart loses requests", deploys::restart_is_seen),
    case(
        "static: what does not work there is said",
        failures::not_in_scratch,
    ),
    case("a slow request is drained", life::drains),
    case("volume: a bad version", deploys::bad_version),
    case("volume: a static binary, read-only", deploys::static_image),
    case(
        "volume: a symlink that is mounted is followed once",
        deploys::mounted_symlink,
    ),
    case("strangers are reaped", life::reaps),
    case("control: without segue they are not", life::unreaped),
    case("output untouched", life::output),
    case("TERM twice kills", life::term_twice),
    case("the first start fails", failures::first_start),
    case("killed and started again", failures::killed),
    case("killed alone: adopted", failures::killed_alone_and_adopted),
    case(
        "killed alone: what is not permitted is said",
        failures::killed_alone_where_nothing_is_permitted,
    ),
    case("two supervisors of PID 1", failures::two_of_pid_1),
    case("start, reload, stop", |engine| {
        life::plain(engine, "plain", DEBIAN, &[], &[])
    }),
    case("start, reload, stop: static", |engine| {
        life::plain(engine, "static", STATIC, &[], &[])
    }),
    case("start, reload, stop: wary", |engine| {
        life::plain(engine, "wary", DEBIAN, WARY, &[])
    }),
    case("start, reload, stop: static, wary", |engine| {
        life::plain(engine, "static-wary", STATIC, WARY, &[]);
    }),
    case("start, reload, stop: root, whose app is not", |engine| {
        life::plain(
            engine,
            "root",
            DEBIAN,
            &["--user=0:0"],
            &["--user=12345", "--group=12345"],
        );
    }),
    case("start, reload, stop: behind an init", life::behind_an_init),
];

/// What the images from source do, plain and without any right.
pub(crate) fn from_source(engine: &Engine) {
    life::plain(engine, "from-source", DEBIAN_FROM_SOURCE, &[], &[]);
    life::plain(engine, "static-from-source", STATIC_FROM_SOURCE, WARY, &[]);
}

/// What /ping answers.
#[track_caller]
fn message(container: &Container<'_>, way: Way) -> String {
    version::of(&container.target(way)).unwrap_or_else(|loss| panic!("ping: {loss:?}"))
}

/// Asks until this version answers.
#[track_caller]
fn wait_for_message(container: &Container<'_>, way: Way, wanted: &str) {
    version::wait_for(&container.target(way), wanted);
}

/// `docker stop`, exit code 0, and nobody left behind by the log.
#[track_caller]
fn stop(container: &Container<'_>) {
    container.docker_ok(&["stop"]);
    assert_eq!(container.wait_for_exit(), 0, "{}", container.logs());
    let log = container.logs();
    assert!(log.ends_with(" is gone\n"), "{log}");
}
