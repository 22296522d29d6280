//! Steered listeners: a candidate takes over when it was seen to accept a connection in its own slot, whatever it says.

use segue_tests::figures::say;
use segue_tests::http::{Target, get_and_close};
use segue_tests::ledger::{Reason, Tally};
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

const STEERED: &str = "127.0.0.1:0,steer";

/// A first version that is well, and versions to come in its place.
fn deployed(listener: &str, flags: &[&str]) -> Segue {
    let setup = Setup::new(Program::new("./app")).listen(listener);
    setup.deploy("app", &Program::fixture("good"));
    let directory = setup.path("").into_os_string();
    let setup = setup.flags(["--chdir".into(), directory]);
    setup.flags(flags.iter().copied()).start()
}

fn port_of(segue: &Segue) -> u16 {
    let status = segue.status();
    let address = status.listener("address").as_str().unwrap_or_default();
    let port = address.rsplit(':').next().unwrap_or_default();
    port.parse().unwrap_or_else(|_| panic!("no port in {address}"))
}

/// A new version binds this address itself, says READY=1 and serves there. What the reload said, and what the clients met.
fn refused(listener: &str, target: &str, own: &str) -> (String, Tally) {
    let segue = deployed(listener, &["--start-timeout", "10s"]);
    let port = port_of(&segue);
    let target = Target::parse(&format!("{target}:{port}"));
    let load = Load::start(Kind::Fresh, &target, 2);
    load.wait_for_more(20);
    let own = own.replace("PORT", &port.to_string());
    segue.deploy("app", &Program::fixture(&format!("shares-port text={own}")));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    load.wait_for_more(20);
    let tally = load.stop();
    assert_eq!(target.who_answers(), 1);
    // The connection in its slot was no client: nobody is started to answer it, and the next version finds the slot empty.
    segue.deploy("app", &Program::fixture("good"));
    segue.reload_ok(&["--drained"]);
    assert!(
        !segue.process().stderr().contains("relief worker"),
        "{}",
        segue.process().stderr()
    );
    segue.stop();
    say(format_args!(
        "an app that binds {own} itself: {}",
        tally.figures()
    ));
    (done.stderr, tally)
}

fn by_the_first_alone(tally: &Tally) {
    tally.assert_nothing_lost();
    let others = tally.by_generation.keys().filter(|generation| *generation != "1");
    assert_eq!(others.count(), 0, "{}", tally.figures());
}

#[test]
fn an_app_that_serves_another_port_is_refused_whatever_it_says() {
    let (said, tally) = refused(STEERED, "127.0.0.1", "127.0.0.2:0");
    assert!(
        said.contains("generation 2: READY=1 for 10s, but it accepted no connection on 127.0.0.1:")
            && said.contains("; it listens on 127.0.0.2:"),
        "{said}"
    );
    by_the_first_alone(&tally);
}

#[test]
fn an_app_that_joins_the_group_by_its_own_reuseport_is_refused_and_gets_no_client() {
    let (said, tally) = refused(STEERED, "127.0.0.1", "127.0.0.1:PORT");
    assert!(
        said.contains("generation 2: READY=1, but it has bound 127.0.0.1:")
            && said.contains("accepts nothing on the socket that it was given; "),
        "{said}"
    );
    by_the_first_alone(&tally);
}

/// Until it is found out it has the clients of that address: no program in the kernel can prevent it.
#[test]
fn an_app_that_binds_a_more_specific_address_is_refused() {
    let (said, _) = refused("0.0.0.0:0,steer", "127.0.0.1", "127.0.0.1:PORT");
    assert!(
        said.contains("generation 2: READY=1, but it has bound 127.0.0.1:"),
        "{said}"
    );
}

/// It says READY=1, holds what it was given, and never accepts.
fn never_accepts(listener: &str, flags: &[&str]) -> String {
    let segue = deployed(listener, flags);
    segue.deploy("app", &Program::fixture("never-accepts"));
    let done = segue.reload(&[]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(segue.status().generation(), 1);
    segue.stop();
    done.stderr
}

#[test]
fn an_app_that_says_ready_and_accepts_nothing_is_refused() {
    let said = never_accepts(STEERED, &["--start-timeout", "10s"]);
    assert!(
        said.contains("generation 2: READY=1 for 10s, but it accepted no connection on 127.0.0.1:"),
        "{said}"
    );
}

#[test]
fn an_app_that_is_to_be_seen_accepting_is_not_ready_until_it_does() {
    let said = never_accepts(STEERED, &["--ready", "accepting", "--start-timeout", "10s"]);
    assert!(
        said.contains("not ready after 10s (it accepted no connection on 127.0.0.1:"),
        "{said}"
    );
}

/// IPv6 has one address for connections of our own, so that the one that is placed is told from all others by its port.
#[test]
fn over_ipv6_it_is_seen_as_well() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return say("over IPv6: skipped, this machine has none");
    }
    let segue = deployed("[::1]:0,steer", &["--ready", "accepting"]);
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    segue.reload_ok(&[]);
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    segue.stop();
    let said = never_accepts("[::1]:0,steer", &["--start-timeout", "10s"]);
    assert!(said.contains("it accepted no connection on [::1]:"), "{said}");
}

/// As Gunicorn, which says READY=1 before its workers are up.
#[test]
fn an_app_that_accepts_some_time_after_ready_takes_over_when_it_does() {
    let segue = deployed(STEERED, &[]);
    let file = segue.path("go");
    let late = format!("never-accepts file={}", file.display());
    segue.deploy("app", &Program::fixture(&late));
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2, worker 0 (pid ");
    // The look at processes alone would have had its patience by then.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(segue.status().generation(), 1);
    std::fs::write(&file, "").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(reload.wait_for_exit().success());
    assert_eq!(segue.target().who_answers(), 2);
    segue.stop();
}

/// The supervisor is killed between the readiness of a candidate and its first accept; or it is replaced in place.
#[test]
fn who_comes_after_kill_9_sees_whether_it_accepts() {
    let mut segue = deployed(STEERED, &[]);
    let file = segue.path("go");
    let late = format!("never-accepts file={}", file.display());
    segue.deploy("app", &Program::fixture(&late));
    let reload = segue.begin("reload", &[]);
    segue.process().wait_for_line("generation 2, worker 0 (pid ");
    segue.kill();
    segue.start_again();
    drop(reload);
    segue.wait_until("it is adopted", |status| {
        status.generation() == 1 && status.in_role("candidate") == [2]
    });
    std::fs::write(&file, "").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    segue.wait_until("it has taken over", |status| status.generation() == 2);
    assert_eq!(segue.target().who_answers(), 2);
    segue.stop();
}

/// What the kernel keeps from the app until there is data cannot show whether it accepts. It is said, once.
#[test]
fn where_no_connection_can_be_placed_the_processes_are_looked_at_and_that_is_said() {
    let segue = deployed("127.0.0.1:0,steer,defer-accept=5", &["--ready", "accepting"]);
    segue.reload_ok(&["--drained"]);
    segue.reload_ok(&["--drained"]);
    assert_eq!(segue.target().who_answers(), 3);
    let said = segue.process().stderr();
    let line = "whether a new version accepts is judged by what /proc shows: with defer-accept";
    assert_eq!(said.matches(line).count(), 1, "{said}");
    segue.stop();
}

/// Which of several workers has accepted is not seen, so that each is looked at; together they accept.
#[test]
fn several_workers_are_seen_accepting_together() {
    let segue = deployed(STEERED, &["--workers", "3", "--ready", "accepting"]);
    let load = Load::start(Kind::Fresh, &segue.target(), 2);
    segue.reload_ok(&[]);
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    segue.stop();
}

/// Whether a new client is refused, as by a port at which nobody listens.
fn is_refused(target: &Target) -> bool {
    target.connect().is_err_and(|loss| loss.reason == Reason::Refused)
}

/// While it stops, the app alone has the slot: once the app has closed it, the kernel refuses clients, in place of a queue in which
/// nobody would answer them. Both after the first start and after a reload.
#[test]
fn once_an_app_that_stops_has_closed_its_slot_new_clients_are_refused() {
    let segue = deployed(STEERED, &[]);
    segue.reload_ok(&["--drained"]);
    let target = segue.target();
    let mut client = target.connect().unwrap_or_else(|loss| panic!("{loss:?}"));
    client
        .write(&get_and_close("/slow?ms=25000"))
        .unwrap_or_else(|error| panic!("{error}"));
    segue.wait_until("its request is under way", |status| status.connections(2) == 1);
    let stop = segue.begin("stop", &[]);
    segue.wait_until("clients are refused while it drains", |status| {
        status.state() == "stopping" && is_refused(&target) && !status.pids(2).is_empty()
    });
    assert!(stop.wait_for_exit().success());
    segue.ended();
}
