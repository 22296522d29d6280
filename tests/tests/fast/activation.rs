//! How an app is told of its listeners: placeholders, the variables of other supervisors, presets; and that what is seen of an app
//! can stand for its word.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::http;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::wait_until;

/// A shell that writes down what it was told in `told.GENERATION`, gives its listeners the names that the fixture knows, and becomes
/// that.
fn teller(directory: &Path, fixture: &str) -> Program {
    let script = format!(
        "{{ echo \"$@\"; env; }} > {0}/told.new.$SEGUE_GENERATION; \
         mv {0}/told.new.$SEGUE_GENERATION {0}/told.$SEGUE_GENERATION; \
         LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec {1} {fixture}",
        directory.display(),
        Binary::Fixture.path().display(),
    );
    Program::new("/bin/sh").args(["-c", &script, "sh"])
}

fn told(segue: &Segue, generation: u64) -> String {
    std::fs::read_to_string(segue.path(&format!("told.{generation}"))).unwrap()
}

fn runtime_of(told: &str) -> PathBuf {
    told.lines()
        .next()
        .unwrap()
        .split(' ')
        .next_back()
        .unwrap()
        .into()
}

fn serves(segue: &Segue) {
    let mut client = segue.target().connect().unwrap();
    assert_eq!(client.ask(&http::get_and_close("/ping")).unwrap().status, 200);
}

#[test]
fn placeholders_hold_for_each_generation_through_an_upgrade_and_a_kill() {
    let setup = Setup::new(Program::new("")).listen("http=127.0.0.1:0");
    let directory = setup.path("");
    std::fs::write(setup.path("file.env"), "FROM_FILE={generation}\n").unwrap();
    let env_file = setup.path("file.env");
    let program = teller(&directory, "good");
    let setup = setup
        .program(program.args([
            "{fd:http}",
            "{generation}.{worker}",
            "${worker}",
            "{}",
            "{runtime}",
        ]))
        .flags(["--env", "AT={address:http} {port:http}", "--env-file"])
        .flags([env_file.into_os_string()]);
    let mut segue = setup.start();
    let address = segue.status().listener("address").as_str().unwrap().to_owned();
    let port = address.rsplit(':').next().unwrap().to_owned();

    let is_right = |segue: &Segue, generation: u64| {
        let told = told(segue, generation);
        let words = told.lines().next().unwrap();
        assert!(
            words.starts_with(&format!("3 {generation}.0 ${{worker}} {{}} /")),
            "{words}"
        );
        let at = format!("AT={address} {port}");
        assert!(told.lines().any(|line| line == at), "{told}");
        assert!(
            told.lines().any(|line| line == "FROM_FILE={generation}"),
            "{told}"
        );
        assert!(runtime_of(&told).is_dir());
        serves(segue);
        runtime_of(&told)
    };
    let first = is_right(&segue, 1);
    std::fs::write(first.join("pid"), "left behind").unwrap();
    segue.reload_ok(&["--drained"]);
    let second = is_right(&segue, 2);
    assert_ne!(first, second);
    assert!(!first.exists(), "it goes with its generation");

    let done = segue.run("upgrade", &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    segue.reload_ok(&["--drained"]);
    is_right(&segue, 3);
    assert!(!second.exists());

    segue.kill();
    segue.resume();
    let third = is_right(&segue, 3);
    segue.reload_ok(&["--drained"]);
    let fourth = is_right(&segue, 4);
    assert!(!third.exists());
    segue.stop();
    assert!(!fourth.exists());
}

#[test]
fn a_listener_that_is_not_there_is_an_error_at_the_start_and_in_check() {
    let wanted = "argument {fd:https}: no listener is called https (there is http)";
    let setup = || {
        let program = Program::fixture("good").args(["{fd:https}"]);
        Setup::new(program).listen("http=127.0.0.1:0")
    };
    let done = setup().start_in_vain();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(wanted), "{}", done.stderr);
    let done = check(&["-l", "http=0", "--", "/bin/true", "{fd:https}"]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains(wanted), "{}", done.stderr);
    let done = check(&[
        "-l",
        "unix:/nowhere/s",
        "--env",
        "A={port:listen1}",
        "--",
        "/bin/true",
    ]);
    assert!(
        done.stderr
            .contains("environment variable \"A\": {port:listen1}: a Unix socket has no port"),
        "{}",
        done.stderr
    );
    let done = check(&[
        "-l",
        "http=0",
        "--",
        "/bin/true",
        "{fd:http}",
        "${fd:nope}",
        "{json: 1}",
    ]);
    assert_eq!(done.code, Some(0), "{done:?}");
}

fn check(arguments: &[&str]) -> segue_tests::process::Finished {
    run(&[&["check"], arguments].concat())
}

fn run(arguments: &[&str]) -> segue_tests::process::Finished {
    let mut command = std::process::Command::new(Binary::Segue.path());
    segue_tests::process::Process::start(command.args(arguments)).finish()
}

#[test]
fn each_protocol_tells_of_the_listener_in_its_own_words() {
    for protocol in ["server-starter", "einhorn", "nginx", "php-fpm"] {
        let setup = Setup::new(Program::new("")).listen("http=127.0.0.1:0");
        let program = teller(&setup.path(""), "good");
        let segue = setup.program(program).flags(["--protocol", protocol]).start();
        serves(&segue);
        let address = segue.status().listener("address").as_str().unwrap().to_owned();
        let told = told(&segue, 1);
        let wanted = match protocol {
            "server-starter" => vec![
                format!("SERVER_STARTER_PORT={address}=3"),
                "SERVER_STARTER_GENERATION=1".to_owned(),
            ],
            "einhorn" => vec![
                "EINHORN_FD_COUNT=1".to_owned(),
                "EINHORN_FD_0=3".to_owned(),
                format!("EINHORN_MASTER_PID={}", segue.process().pid()),
                format!(
                    "EINHORN_SOCK_PATH={}",
                    segue.path("control.notify/1.0.0e").display()
                ),
            ],
            "nginx" => vec!["NGINX=3;".to_owned()],
            _ => vec![format!("FPM_SOCKETS={address}=3")],
        };
        for line in wanted {
            assert!(told.lines().any(|other| other == line), "{line} in\n{told}");
        }
        assert!(!told.contains("LISTEN_FDS="), "{protocol}: {told}");
        segue.stop();
    }
}

#[test]
fn presets_are_printed_and_a_known_program_without_its_preset_is_told_of() {
    let done = run(&["run", "--app", "list"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains("nginx") && done.stdout.contains("QUIT"),
        "{}",
        done.stdout
    );
    let advice = "note: haproxy drains at USR1, not at TERM: --app haproxy";
    let done = check(&["-l", "0", "--", "haproxy"]);
    assert!(done.stderr.contains(advice), "{}", done.stderr);
    let done = check(&["-l", "0", "--app", "haproxy", "--", "haproxy"]);
    assert!(!done.stderr.contains("--app"), "{}", done.stderr);
    let done = check(&["-l", "0", "--app", "apache", "--", "/bin/true"]);
    assert_eq!(done.code, Some(2), "{done:?}");

    let setup = Setup::new(Program::new("./haproxy"));
    setup.deploy("haproxy", &Program::fixture("good"));
    let segue = setup.start();
    assert!(
        segue
            .process()
            .stderr()
            .contains("haproxy drains at USR1, not at TERM: --app haproxy")
    );
    segue.stop();
}

/// nginx's: its variable, a listener that is non-blocking, and QUIT.
#[test]
fn a_preset_suits_its_server_and_what_is_given_wins() {
    let setup = Setup::new(Program::new("")).listen("http=127.0.0.1:0");
    let program = teller(&setup.path(""), "never-ready");
    let segue = setup
        .program(program)
        .flags(["--app", "nginx", "--stop-signal", "TERM"])
        .start();
    let told = told(&segue, 1);
    assert!(told.lines().any(|line| line == "NGINX=3;"), "{told}");
    serves(&segue);
    segue.reload_ok(&[]);
    segue.stop();
}

#[test]
fn an_app_that_says_nothing_is_ready_when_it_is_seen_accepting() {
    let segue = Setup::new(Program::fixture("never-ready"))
        .flags(["--ready", "accepting"])
        .start();
    serves(&segue);
    segue.reload_ok(&[]);
    assert_eq!(segue.status().generation(), 2);
    serves(&segue);
    segue.stop();
}

/// On a datagram socket nobody accepts, so there is nothing to see.
#[test]
fn the_word_of_an_app_that_has_only_datagram_sockets_counts() {
    // It has the socket and never polls it, as an app that blocks in recv(2).
    let segue = Setup::new(Program::fixture("never-accepts"))
        .listen("udp:127.0.0.1:0")
        .flags(["--ready", "accepting"])
        .start();
    segue.reload_ok(&[]);
    assert_eq!(segue.status().generation(), 2);
    segue.stop();
}

#[test]
fn a_datagram_socket_beside_a_listener_is_not_waited_for() {
    // It blocks in accept on the first and never looks at the second.
    let segue = Setup::new(Program::fixture("blocking-server"))
        .listen("127.0.0.1:0")
        .listen("udp:127.0.0.1:0")
        .flags(["--ready", "accepting"])
        .start();
    serves(&segue);
    segue.reload_ok(&[]);
    assert_eq!(segue.status().generation(), 2);
    segue.stop();
}

#[test]
fn an_app_that_does_not_accept_is_not_ready_whatever_it_says() {
    let setup = Setup::new(Program::new("./app")).flags(["--ready", "accepting", "--start-timeout", "6s"]);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    segue.deploy("app", &Program::fixture("never-accepts"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    let wanted = "not ready after 6s (it does not wait for clients on each of its listeners)";
    assert!(done.stderr.contains(wanted), "{}", done.stderr);
    serves(&segue);
    segue.stop();
}

/// Until it has executed it is a copy of the supervisor, which watches the queues of all listeners. Executing is tried again as long as
/// somebody writes to the file, so that there is time for looks.
#[test]
fn a_child_that_has_not_executed_yet_is_not_seen_accepting() {
    let setup = Setup::new(Program::new("./app")).flags(["--ready", "accepting"]);
    setup.deploy("app", &Program::fixture("good"));
    let segue = setup.start();
    segue.deploy("app", &Program::fixture("never-accepts"));
    let file = std::fs::OpenOptions::new().append(true).open(segue.path("app"));
    let writer = file.unwrap();
    let done = segue.reload(&[]);
    drop(writer);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stderr.contains("text file busy"), "{}", done.stderr);
    serves(&segue);
    segue.stop();
}

#[test]
fn the_app_knows_where_its_probe_asks() {
    let setup = Setup::new(Program::new(""));
    let program = teller(&setup.path(""), "good");
    let segue = setup.program(program).flags(["--probe", "true"]).start();
    let told = told(&segue, 1);
    let path = told
        .lines()
        .find_map(|line| line.strip_prefix("SEGUE_PROBE="))
        .unwrap();
    assert!(path.ends_with("probe.1"), "{path}");
    segue.stop();
}

/// podman refuses two sockets, so that it must not be given the probe's.
#[test]
fn what_takes_no_second_socket_is_not_given_one() {
    let setup = Setup::new(Program::new("./podman"));
    let file = setup.path("asked");
    let probe = format!("echo \"probe=$SEGUE_PROBE\" > {}", file.display());
    setup.deploy("podman", &Program::fixture("good"));
    let segue = setup.flags(["--probe", &probe]).start();
    let pid = segue.status().pids(1)[0];
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let says = |wanted: &str| environment.split('\0').any(|line| line == wanted);
    assert!(says("LISTEN_FDS=1"), "{environment}");
    assert!(!environment.contains("SEGUE_PROBE="), "{environment}");
    // It is empty until the command has written into it.
    let said = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("the probe has run", || !said().is_empty());
    assert_eq!(said(), "probe=\n");
    assert!(segue.process().stderr().contains("takes no second socket"));
    segue.stop();
}

/// The variables of a process.
fn environment(pid: i32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split('\0').map(str::to_owned).collect()
}

/// Segue itself may stand below Server::Starter, einhorn, nginx or php-fpm.
#[test]
fn sockets_that_were_meant_for_segue_are_not_told_to_the_app() {
    let meant = [
        ("SERVER_STARTER_PORT", "8080=7"),
        ("SERVER_STARTER_GENERATION", "9"),
        ("EINHORN_FD_COUNT", "1"),
        ("EINHORN_FD_0", "7"),
        ("EINHORN_MASTER_PID", "1"),
        ("EINHORN_SOCK_PATH", "/nowhere"),
        ("NGINX", "7;"),
        ("FPM_SOCKETS", "8080=7"),
    ];
    for protocol in ["systemd", "nginx"] {
        let mut setup = Setup::new(Program::new("sleep").args(["1000"])).flags(["--ready", "exec:50ms"]);
        for (key, value) in meant {
            setup = setup.env(key, value);
        }
        let given = ["--protocol", protocol, "--env", "FPM_SOCKETS=as configured"];
        let segue = setup.flags(given).start();
        let environment = environment(segue.status().pids(1)[0]);
        let strange = |line: &&String| {
            meant
                .iter()
                .any(|(key, value)| **line == format!("{key}={value}"))
        };
        assert_eq!(environment.iter().find(strange), None, "{protocol}");
        assert!(environment.iter().any(|line| line == "FPM_SOCKETS=as configured"));
        segue.signal(Signal::SIGTERM);
        segue.ended();
    }
}

/// Of a steered address a worker has one slot, and of several sockets on one address its share.
#[test]
fn placeholders_mean_in_the_probe_what_they_mean_in_the_app() {
    for first in ["127.0.0.1:0,steer", "127.0.0.1:0,sockets=4"] {
        let setup = Setup::new(Program::fixture("good"));
        let file = setup.path("asked");
        let probe = format!("echo \"FD=$FD\" > {}", file.display());
        let segue = setup
            .listen(format!("first={first}"))
            .listen("second=127.0.0.1:0")
            .flags(["--workers", "2", "--env", "FD={fd:second}", "--probe", &probe])
            .start();
        let environment = environment(segue.status().pids(1)[0]);
        let in_the_app = environment.iter().find(|line| line.starts_with("FD="));
        let in_the_probe = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            in_the_app.map(String::as_str),
            Some(in_the_probe.trim_end()),
            "{first}"
        );
        segue.stop();
    }
}
