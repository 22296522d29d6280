use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::super::duration::Limit;
use super::super::file::{File, load, parse};
use super::super::rest::Rest;
use super::super::settings::{ListenPid, LogFormat, LogTime, Mode, Orphaned, Ready, Reason, StopSignalTo};
use super::{directory, line, write};

fn read(text: &str) -> File {
    parse(Path::new("segue.toml"), text).expect("a valid file")
}

fn errors(text: &str) -> Vec<String> {
    parse(Path::new("segue.toml"), text)
        .expect_err("a refusal")
        .iter()
        .map(line)
        .collect()
}

const WHOLE: &str = r#"
name = "web"
control = "/run/web/control"
control-group = "deploy"
pid-file = "/run/web.pid"
log-format = "json"
log-time = "always"
command = ["./app", "--verbose"]
workers = 4
mode = "queue"
ready = "exec:2s"
start-timeout = "1m"
drain-timeout = "none"
stop-timeout = "5s"
extend-limit = "none"
accept-timeout = "7s"
probation = "0s"
probe = "true"
probe-timeout = "3s"
soak = "250ms"
watchdog = "10s"
max-generations = 3
rolling = 2
min-free-memory = "1G"
oom-score-adj = -3
stop-signal = "QUIT"
stop-signal-to = "all"
env-file = ["a.env", "-b.env"]
chdir = "/srv"
stderr = "app.err"
umask = "027"
user = "www-data"
group = "1000"
no-listen-pid = true
die-with-supervisor = true
watch = "src"
watch-ignore = ["*.log", "/out"]
build = "make"
build-timeout = "1h"
rest = "50ms"
rest-limit = "2s"

[env]
LOG = "info"
"a.b" = ""

[[listen]]
name = "http"
address = "*:8080"
backlog = 1024
no-delay = true

[[listen]]
address = "unix:/run/web.sock"
mode = 0o660
"#;

#[test]
fn every_key_is_read() {
    let file = read(WHOLE);
    let settings = file.settings;
    assert_eq!(settings.name.as_deref(), Some("web"));
    assert_eq!(settings.control.as_deref(), Some(Path::new("/run/web/control")));
    assert_eq!(settings.control_group.as_deref(), Some("deploy"));
    assert_eq!(settings.pid_file.as_deref(), Some(Path::new("/run/web.pid")));
    assert_eq!(settings.log_format, Some(LogFormat::Json));
    assert_eq!(settings.log_time, Some(LogTime::Always));
    assert_eq!(settings.command, ["./app", "--verbose"]);
    assert_eq!(settings.workers, Some(4));
    assert_eq!(settings.mode, Some(Mode::Queue));
    assert_eq!(settings.ready, Some(Ready::Exec(Duration::from_secs(2))));
    assert_eq!(settings.start_timeout, Some(Limit(Some(Duration::from_secs(60)))));
    assert_eq!(settings.drain_timeout, Some(Limit(None)));
    assert_eq!(settings.extend_limit, Some(Limit(None)));
    assert_eq!(settings.stop_timeout, Some(Limit(Some(Duration::from_secs(5)))));
    assert_eq!(settings.accept_timeout, Some(Limit(Some(Duration::from_secs(7)))));
    assert_eq!(settings.probation, Some(Limit(Some(Duration::ZERO))));
    assert_eq!(settings.probe.as_deref(), Some("true"));
    assert_eq!(settings.probe_timeout, Some(Limit(Some(Duration::from_secs(3)))));
    assert_eq!(settings.soak, Some(Duration::from_millis(250)));
    assert_eq!(settings.watchdog, Some(Limit(Some(Duration::from_secs(10)))));
    assert_eq!(settings.max_generations, Some(3));
    assert_eq!(settings.rolling, Some(2));
    assert_eq!(settings.min_free_memory, Some(1 << 30));
    assert_eq!(settings.oom_score_adj, Some(-3));
    assert_eq!(settings.stop_signal, Some(Signal::SIGQUIT));
    assert_eq!(settings.stop_signal_to, Some(StopSignalTo::All));
    assert_eq!(settings.env_file, [Path::new("a.env"), Path::new("-b.env")]);
    assert_eq!(settings.chdir.as_deref(), Some(Path::new("/srv")));
    assert_eq!(settings.stderr.as_deref(), Some(Path::new("app.err")));
    assert_eq!(settings.umask, Some(0o27));
    assert_eq!(settings.user.as_deref(), Some("www-data"));
    assert_eq!(settings.group.as_deref(), Some("1000"));
    assert_eq!(settings.listen_pid, Some(ListenPid::LeftOut));
    assert_eq!(settings.orphaned, Some(Orphaned::Stops));
    assert_eq!(settings.watch, [Path::new("src")]);
    assert_eq!(settings.watch_ignore, ["*.log", "/out"]);
    assert_eq!(settings.build.as_deref(), Some("make"));
    assert_eq!(
        settings.build_timeout,
        Some(Limit(Some(Duration::from_secs(3600))))
    );
    assert_eq!(settings.rest, Some(Duration::from_millis(50)));
    assert_eq!(settings.rest_limit, Some(Duration::from_secs(2)));
    assert_eq!(settings.env.len(), 2);
    let listeners: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        listeners,
        [
            "http=*:8080,backlog=1024,no-delay",
            "unix:/run/web.sock,mode=0660"
        ]
    );
}

#[test]
fn listeners_may_be_strings() {
    let settings = read("listen = ['http=*:8080,backlog=7', 'unix:/x', { address = 8080 }]").settings;
    let listeners: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listeners, ["http=*:8080,backlog=7", "unix:/x", "127.0.0.1:8080"]);
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(read("").settings, super::Settings::default());
    assert_eq!(read("umask = 0o27").settings.umask, Some(0o27));
}

#[test]
fn errors_name_file_line_and_key() {
    for (text, expected) in [
        (
            "workers = 'many'",
            "segue.toml:1: workers: expected a number, got \"many\"",
        ),
        (
            "\n\nworkers = 0",
            "segue.toml:3: workers: expected a number from 1 to 1024, got \"0\"",
        ),
        (
            "workers = 0x10",
            "segue.toml:1: workers: expected a number, got 10",
        ),
        (
            "soak = 30",
            "segue.toml:1: soak: a duration is a string with a unit: \"30s\"",
        ),
        (
            "soak = 1.5",
            "segue.toml:1: soak: expected a duration such as \"30s\", got 1.5",
        ),
        (
            "soak = 'none'",
            "segue.toml:1: soak: `none` is not allowed here; a duration is, such as `30s`",
        ),
        (
            "umask = 27",
            "segue.toml:1: umask: a mask is octal: \"27\" or 0o27",
        ),
        (
            "probe = ''",
            "segue.toml:1: probe: expected a shell command, got nothing",
        ),
        ("chdir = ''", "segue.toml:1: chdir: expected a path, got \"\""),
        (
            "command = './app'",
            "segue.toml:1: command: expected an array of strings such as [\"./app\", \"--flag\"], got \"./app\"",
        ),
        (
            "command = []",
            "segue.toml:1: command: expected an array of strings such as [\"./app\", \"--flag\"], got no program",
        ),
        (
            "command = ['a', 1]",
            "segue.toml:1: command[1]: expected a string, got 1",
        ),
        ("[env]\nPORT = 80", "segue.toml:2: env.PORT: expected a string"),
        (
            "[env]\nLISTEN_FDS = '1'",
            "segue.toml:2: env.LISTEN_FDS: \"LISTEN_FDS\" is set by segue itself and cannot be given",
        ),
        (
            "env = 'A=b'",
            "segue.toml:1: env: expected a table such as { LOG = \"info\" }",
        ),
        (
            "start_timeout = '1s'",
            "segue.toml:1: start_timeout: there is no such key; did you mean `start-timeout`?",
        ),
        (
            "worker = 1",
            "segue.toml:1: worker: there is no such key; did you mean `workers`?",
        ),
        ("listne = 1", "segue.toml:1: listne: there is no such key"),
        ("config = 'x'", "segue.toml:1: config: there is no such key"),
        (
            "no-listen-pid = 1",
            "segue.toml:1: no-listen-pid: expected true or false, got 1",
        ),
        (
            "listen = 8080",
            "segue.toml:1: listen: expected [[listen]] tables or an array of strings, got 8080",
        ),
        (
            "listen = [[]]",
            "segue.toml:1: listen[0]: expected an address as a string, or a table, got an array",
        ),
        (
            "[[listen]]\nname = 'a'",
            "segue.toml:1: listen[0]: `address` is missing",
        ),
        (
            "[[listen]]\naddress = ':1'\n[[listen]]\naddress = ':2'\nbacklog = 'many'",
            "segue.toml:5: listen[1].backlog: \"many\" is not a number from 1 to 2147483647",
        ),
        (
            "[[listen]]\naddress = ':1'\nbacklg = 1",
            "segue.toml:3: listen[0].backlg: there is no such key; did you mean `backlog`?",
        ),
        (
            "[[listen]]\naddress = 'unix:/x'\nmode = 660",
            "segue.toml:3: listen[0].mode: a mode is octal: \"660\" or 0o660",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text:?}");
    }
}

#[test]
fn broken_toml_names_its_line() {
    for (text, start) in [
        ("workers = ", "segue.toml:1: "),
        ("a = 1\nworkers = = 2", "segue.toml:2: "),
        ("workers = 1\nworkers = 2", "segue.toml:2: "),
        ("x = \"\u{1}\"", "segue.toml:1: "),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with(start), "{found:?}");
    }
}

#[test]
fn numbers_that_begin_with_0_are_told_how_to_be_written() {
    for (text, hint) in [
        ("umask = 0027", " (octal: write umask = \"0027\")"),
        ("a = 1\numask=0027 # as ever", " (octal: write umask = \"0027\")"),
        (
            "listen = [{ address = \"unix:x\", mode = 0660 }]",
            " (octal: write mode = \"0660\")",
        ),
        ("umask = 08", " (umask: a number does not begin with 0)"),
        ("workers = 02", " (workers: a number does not begin with 0)"),
        ("workers = = 02", ""),
    ] {
        let found = errors(text);
        assert!(found[0].ends_with(hint), "{found:?}");
        assert_eq!(found[0].contains('('), !hint.is_empty(), "{found:?}");
    }
}

#[test]
fn all_errors_are_found_in_the_order_of_their_lines() {
    let found = errors("workers = 0\nchdir = 1\nlisten = ['x', 'y']\nbogus = 1\n");
    let starts = [
        "segue.toml:1: workers",
        "segue.toml:2: chdir",
        "segue.toml:3: listen[0]",
        "segue.toml:3: listen[1]",
        "segue.toml:4: bogus",
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (text, start) in found.iter().zip(starts) {
        assert!(text.starts_with(start), "{text} does not start with {start}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = directory();
    let missing = directory.path().join("segue.toml");
    let found = load(&missing, Reason::Named, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        line(&found[0]),
        format!("read {}: no such file or directory", missing.display())
    );
    let latin = write(directory.path(), "latin", b"name = 'a'\nprobe = '\xe4'\n");
    let found = load(&latin, Reason::Named, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        line(&found[0]),
        format!("{}:2: the file is not UTF-8", latin.display())
    );
}
