//! The probe of a steered listener comes through the address that clients use, to the candidate alone: so an app that takes exactly one
//! socket can be probed, and no client meets a version that fails its probe.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::binaries::Binary;
use segue_tests::figures::say;
use segue_tests::ledger::Tally;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{needs, wait_until};

const STEERED: &str = "127.0.0.1:0,steer";
/// Versions that take exactly one socket, and answer well, or nobody.
const GOOD: &str = "one-socket";
const BAD: &str = "one-socket then=fail";

fn has_ipv6() -> bool {
    let has = std::net::TcpListener::bind("[::1]:0").is_ok();
    if !has {
        say("over IPv6: skipped, this machine has none");
    }
    has
}

/// Passes if the candidate itself answers, and answers well.
fn asks_by(command: &str) -> String {
    format!(
        "answer=$({command}) && printf '%s\\n' \"$answer\" | grep -q -i \"generation:* $SEGUE_GENERATION\""
    )
}

fn segue_poll() -> String {
    format!("{} --source --timeout 20s", Binary::SeguePoll.path().display())
}

/// A good first version, and versions to come in its place.
fn deployed(listener: &str, probe: &str, timeout: &str) -> Segue {
    let setup = Setup::new(Program::new("./app")).listen(listener);
    setup.deploy("app", &Program::fixture(GOOD));
    let directory = setup.path("").into_os_string();
    let setup = setup.flags(["--chdir".into(), directory]);
    setup
        .flags(["--probe", probe, "--probe-timeout", timeout])
        .start()
}

/// A bad version is deployed under load, then a good one. What the clients have met until then.
fn a_bad_version_and_a_good_one(listener: &str, command: &str) -> Tally {
    let segue = deployed(listener, &asks_by(command), "2s");
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    load.wait_for_more(20);
    segue.deploy("app", &Program::fixture(BAD));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("generation 2: the probe did not pass within 2s"),
        "{done:?}"
    );
    load.wait_for_more(20);
    let tally = load.stop();
    segue.deploy("app", &Program::fixture(GOOD));
    segue.reload_ok(&[]);
    assert_eq!(segue.target().who_answers(), 3);
    segue.stop();
    say(format_args!(
        "{listener}, a version that fails its probe: {}",
        tally.figures()
    ));
    tally
}

fn no_client_meets_a_bad_version(listener: &str, command: &str) {
    let tally = a_bad_version_and_a_good_one(listener, command);
    tally.assert_nothing_lost();
    let others = tally.by_generation.keys().filter(|generation| *generation != "1");
    assert_eq!(others.count(), 0, "{}", tally.figures());
}

#[test]
fn no_client_meets_a_version_that_fails_its_probe() {
    no_client_meets_a_bad_version(STEERED, &segue_poll());
    no_client_meets_a_bad_version("0.0.0.0:0,steer", &segue_poll());
}

#[test]
fn nor_over_ipv6_or_over_both() {
    if has_ipv6() {
        no_client_meets_a_bad_version("*:0,steer", &segue_poll());
        no_client_meets_a_bad_version("[::1]:0,steer", &segue_poll());
        no_client_meets_a_bad_version("[::]:0,steer,bind-ipv6-only=ipv6-only", &segue_poll());
    }
}

#[test]
fn curl_comes_through_the_front_door_as_well() {
    if needs::or_skip("curl", needs::program("curl")).is_none() {
        return;
    }
    let by_address =
        "curl -sS -f -D - --interface \"$SEGUE_PROBE_SOURCE\" \"http://$SEGUE_PROBE_ADDRESS/ping\"";
    no_client_meets_a_bad_version(STEERED, by_address);
    if has_ipv6() {
        let by_ports = "curl -sS -f -D - --local-port \"${SEGUE_PROBE_SOURCE##*:}\" \"http://$SEGUE_PROBE_ADDRESS/ping\"";
        no_client_meets_a_bad_version("[::1]:0,steer", by_ports);
    }
}

/// Without steering there is nothing to ask the candidate by, and it answers clients while it is probed.
#[test]
fn control_on_a_shared_listener_clients_meet_it() {
    let setup = Setup::new(Program::new("./app"));
    let passes = setup.path("passes");
    setup.deploy("app", &Program::fixture(GOOD));
    put(&passes);
    let directory = setup.path("").into_os_string();
    let probe = format!("test -z \"$SEGUE_PROBE_ADDRESS\" -a -e {}", passes.display());
    // One that is known to take no second socket gets none for its probe.
    std::os::unix::fs::symlink("app", setup.path("podman")).unwrap_or_else(|error| panic!("podman: {error}"));
    let setup = setup
        .program(Program::new("./podman"))
        .flags(["--chdir".into(), directory]);
    let segue = setup.flags(["--probe", &probe, "--probe-timeout", "60s"]).start();
    std::fs::remove_file(&passes).unwrap_or_else(|error| panic!("{}: {error}", passes.display()));
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    load.wait_for_more(20);
    segue.deploy("app", &Program::fixture(BAD));
    let reload = segue.begin("reload", &[]);
    load.wait_for_loss();
    let tally = load.stop();
    say(format_args!(
        "shared, a version that fails its probe: {}",
        tally.figures()
    ));
    let candidate = segue.status().pids(2);
    candidate.iter().for_each(|pid| end(*pid));
    assert!(!reload.wait_for_exit().success());
    segue.stop();
}

fn put(path: &Path) {
    std::fs::write(path, "").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn end(pid: i32) {
    assert_eq!(
        kill(Pid::from_raw(pid), Signal::SIGKILL),
        Ok(()),
        "SIGKILL to {pid}"
    );
}

/// A probe that runs until it is let go, and tells by which door it came.
struct Doors {
    segue: Segue,
    go: PathBuf,
}

/// Where the door of a run is: the address, and from where to come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Door {
    address: String,
    source: String,
}

impl Doors {
    fn start(listener: &str) -> Self {
        let setup = Setup::new(Program::fixture(GOOD)).listen(listener);
        let (told, go) = (setup.path("told"), setup.path("go"));
        put(&go);
        let probe = format!(
            "echo \"$SEGUE_PROBE_ADDRESS $SEGUE_PROBE_SOURCE\" > {told}.new && mv {told}.new {told}.$SEGUE_GENERATION; \
             while [ ! -e {go} ]; do sleep 0.05; done",
            told = told.display(),
            go = go.display()
        );
        // The old versions are told to stop at once: who answers shows where a client was sent.
        let setup = setup.flags(["--probe", &probe, "--probe-timeout", "120s", "--linger", "0s"]);
        let segue = setup.trusted_at_once().start();
        Self { segue, go }
    }

    /// The door of a run of the probe of this generation, once it has told of it and it is another than this.
    fn told(&self, generation: u64, before: Option<&Door>) -> Door {
        let file = self.segue.path(&format!("told.{generation}"));
        let door = || {
            let text = std::fs::read_to_string(&file).ok()?;
            let (address, source) = text.trim_end().split_once(' ')?;
            Some(Door {
                address: address.to_owned(),
                source: source.to_owned(),
            })
        };
        let is_news = || door().as_ref().is_some_and(|door| Some(door) != before);
        wait_until("the probe tells of its door", is_news);
        door().unwrap_or_else(|| panic!("nothing in {}", file.display()))
    }

    fn hold(&self) {
        std::fs::remove_file(&self.go).unwrap_or_else(|error| panic!("{}: {error}", self.go.display()));
    }

    fn stranger(&self) -> u64 {
        self.segue.target().who_answers()
    }
}

/// Which generation answers whom comes from there.
fn who_answers(address: &str, source: &str) -> u64 {
    let mut command = Command::new(Binary::SeguePoll.path());
    command.args(["--json", "--count", "1", "--timeout", "30s", "--source", source]);
    let asked = command.arg(format!("http://{address}/ping")).output();
    let asked = asked.unwrap_or_else(|error| panic!("segue-poll: {error}"));
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(first).unwrap_or_default();
    let generation = answer["generation"]
        .as_str()
        .and_then(|generation| generation.parse().ok());
    generation.unwrap_or_else(|| panic!("{asked:?}"))
}

fn through(door: &Door) -> u64 {
    who_answers(&door.address, &door.source)
}

/// Through the door of a run that goes on the candidate is met, and nobody else meets it: not by a door that was open before.
fn is_open_to_the_run_alone(listener: &str) {
    let mut doors = Doors::start(listener);
    let first = doors.told(1, None);
    assert_eq!(through(&first), 1);
    doors.hold();
    let reload = doors.segue.begin("reload", &[]);
    let second = doors.told(2, None);
    assert_ne!(first.source, second.source);
    assert_eq!((through(&second), through(&first), doors.stranger()), (2, 1, 1));
    if first.source.starts_with("127.") {
        assert_eq!(who_answers(&second.address, "127.0.0.2"), 1);
    }

    // An upgrade in place leaves the run alone, and its door.
    let upgraded = doors.segue.run("upgrade", &[]);
    assert_eq!(upgraded.code, Some(0), "{upgraded:?}");
    assert_eq!((through(&second), doors.stranger()), (2, 1));
    assert_eq!(doors.told(2, None), second, "it goes on");

    // A successor ends the run, and begins another.
    doors.segue.kill();
    doors.segue.start_again();
    drop(reload);
    let third = doors.told(2, Some(&second));
    assert_ne!(third.source, second.source);
    assert_eq!((through(&third), through(&second), doors.stranger()), (2, 1, 1));

    put(&doors.go);
    doors
        .segue
        .wait_until("it has taken over", |status| status.generation() == 2);
    doors.hold();
    let reload = doors.segue.begin("reload", &[]);
    let fourth = doors.told(3, None);
    assert_eq!((through(&fourth), through(&third), doors.stranger()), (3, 2, 2));
    // The candidate fails while the probe runs.
    let candidate = doors.segue.status().pids(3);
    candidate.iter().for_each(|pid| end(*pid));
    assert!(!reload.wait_for_exit().success());
    assert_eq!((through(&fourth), doors.stranger()), (2, 2));
    doors.segue.stop();
}

#[test]
fn the_door_is_open_to_a_run_of_the_probe_alone() {
    is_open_to_the_run_alone(STEERED);
}

#[test]
fn the_door_is_open_to_a_run_of_the_probe_alone_over_ipv6() {
    if has_ipv6() {
        is_open_to_the_run_alone("[::1]:0,steer");
    }
}

/// Every steered listener lets the same source in.
#[test]
fn each_steered_listener_leads_the_probe_to_the_candidate() {
    let setup = Setup::new(Program::fixture("good")).listen("web=127.0.0.1:0,steer");
    let admin = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let admin = admin.unwrap_or_else(|error| panic!("a free port: {error}"));
    let poll = |address: &str| {
        asks_by(&format!(
            "{} --source \"$SEGUE_PROBE_SOURCE\" --count 1 --timeout 20s http://{address}/ping",
            Binary::SeguePoll.path().display()
        ))
    };
    let probe = format!("{} && {}", poll(&admin.to_string()), poll("$SEGUE_PROBE_ADDRESS"));
    let segue = setup
        .listen(format!("admin={admin},steer"))
        .flags(["--probe", &probe, "--probe-timeout", "60s"])
        .start();
    segue.reload_ok(&[]);
    assert_eq!(segue.target().who_answers(), 2);
    segue.stop();
}

/// TEST-NET-1 is nobody's (RFC 5737): no connection of this machine reaches a listener there.
#[test]
fn where_there_is_no_way_the_probe_has_a_listener_of_its_own_and_that_is_said() {
    let setup = Setup::new(Program::fixture("good")).listen("web=192.0.2.1:0,steer,free-bind");
    let probe = format!("{} --unix --timeout 20s", Binary::SeguePoll.path().display());
    let probe = format!("test -z \"$SEGUE_PROBE_ADDRESS\" && {probe}");
    let segue = setup.flags(["--probe", &probe, "--probe-timeout", "60s"]).start();
    segue.reload_ok(&[]);
    let said = segue.process().stderr();
    let line = "the probe cannot come through it: 192.0.2.1 cannot be reached from here: ";
    assert_eq!(said.matches(line).count(), 1, "{said}");
    assert!(
        said.contains("; it has a listener of its own, SEGUE_PROBE"),
        "{said}"
    );
    segue.stop();
}
