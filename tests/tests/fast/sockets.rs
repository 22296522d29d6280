//! `sockets=N`: several sockets on one address, shared out among the workers; and what the other way of using SO_REUSEPORT loses.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::sockopt::ReusePort;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket,
};
use nix::unistd::Pid;
use segue_tests::figures::say;
use segue_tests::http::Target;
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::load::{Kind, Load};
use segue_tests::proc;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

const WORKERS: usize = 4;
/// How many connections wait while the old workers are stopped.
const QUEUE: usize = 400;

fn four_of_each() -> Segue {
    let setup = Setup::new(Program::fixture("good")).listen("127.0.0.1:0,sockets=4");
    setup.flags(["--workers", "4"]).start()
}

/// The inodes of the sockets at fd 3 and up, as a worker has them.
fn lent(pid: i32) -> Vec<String> {
    let listeners = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let listening = |inode: &str| {
        listeners.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(3) == Some(&"0A") && fields.get(9) == Some(&inode)
        })
    };
    let open = proc::descriptors(pid).into_values();
    let inodes =
        open.filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    inodes.filter(|inode| listening(inode)).collect()
}

fn signal_all(pids: &[i32], signal: Signal) {
    for pid in pids {
        assert_eq!(kill(Pid::from_raw(*pid), signal), Ok(()), "{signal} to {pid}");
    }
}

/// Requests wait in the queues behind old workers that are stopped; a reload takes over; then the old ones are killed.
fn queue_over_reload(segue: &Segue, target: &Target) -> Tally {
    let ledger = Ledger::default();
    let old = segue.status().pids(1);
    assert_eq!(old.len(), WORKERS);
    signal_all(&old, Signal::SIGSTOP);
    let queued = Parked::queued(target, &ledger, QUEUE);
    segue.reload_ok(&[]);
    signal_all(&old, Signal::SIGKILL);
    queued.finish();
    ledger.tally()
}

#[test]
fn each_worker_gets_a_socket_of_its_own_and_its_successor_the_same() {
    let segue = four_of_each();
    let sockets = |generation: u64| -> Vec<Vec<String>> {
        let pids = segue.status().pids(generation);
        pids.into_iter().map(lent).collect()
    };
    let first = sockets(1);
    assert!(
        first.len() == WORKERS && first.iter().all(|lent| lent.len() == 1),
        "{first:?}"
    );
    let mut all: Vec<&String> = first.iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), WORKERS, "{first:?}");
    segue.reload_ok(&["--drained"]);
    assert_eq!(sockets(2), first);
    segue.stop();
}

#[test]
fn a_reload_passes_every_queue_on() {
    let segue = four_of_each();
    let tally = queue_over_reload(&segue, &segue.target());
    say(format_args!(
        "sockets=4, queues of {QUEUE}, 1 reload: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

/// Half as many workers, then twice as many: each gets several sockets, or several share one.
#[test]
fn another_number_of_workers_leaves_no_socket_to_nobody() {
    let setup = Setup::from_config();
    let path = setup.path("segue.toml");
    let write = |workers: u16| {
        let command = Program::fixture("good").as_toml();
        let text =
            format!("command = {command}\nworkers = {workers}\nlisten = [\"127.0.0.1:0,sockets=4\"]\n");
        fs::write(&path, text).unwrap();
    };
    write(4);
    let flags = ["--config".into(), path.clone().into_os_string()];
    let segue = setup.flags(flags).start();
    write(2);
    let tally = queue_over_reload(&segue, &segue.target());
    say(format_args!(
        "sockets=4, 4 workers, then 2, queues of {QUEUE}, 1 reload: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    assert!(segue.status().pids(2).into_iter().all(|pid| lent(pid).len() == 2));
    let refused = segue.run("workers", &["1"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("would leave a socket without a worker"),
        "{refused:?}"
    );
    write(8);
    segue.reload_under_load();
    assert!(segue.status().pids(5).into_iter().all(|pid| lent(pid).len() == 1));
    segue.stop();
}

/// What a refusal says helps, does.
#[test]
fn one_who_asks_for_too_few_workers_is_told_what_helps() {
    let refused = |segue: &Segue, change: &str, why: &str| {
        let refused = segue.run("workers", &[change]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(why), "{why}: {refused:?}");
    };
    let setup = Setup::from_config();
    let path = setup.path("segue.toml");
    let command = Program::fixture("good").as_toml();
    let write = |workers: u16| {
        let rest = format!("workers = {workers}\nlisten = [\"127.0.0.1:0,sockets=2\"]\n");
        fs::write(&path, format!("command = {command}\n{rest}")).unwrap();
    };
    write(3);
    let mut segue = setup
        .flags(["--config".into(), path.clone().into_os_string()])
        .start();
    refused(
        &segue,
        "-3",
        "3 now, and the new number would not be from 1 to 1024",
    );
    refused(&segue, "1", "change `workers` in segue.toml and reload");
    write(1);
    segue.reload_ok(&[]);
    assert_eq!(segue.status().pids(2).len(), 1);
    assert_eq!(segue.run("workers", &["3"]).code, Some(0));
    segue.reload_ok(&[]);
    segue.wait_until("three serve", |status| status.pids(3).len() == 3);
    refused(
        &segue,
        "1",
        "without a worker; to have fewer, stop segue and start it with that number",
    );
    segue.signal(Signal::SIGTERM);
    assert_eq!(segue.process().wait_for_exit().code(), Some(0));
    segue.resume();
    assert_eq!(segue.status().pids(1).len(), 1);
    segue.stop();

    let segue = four_of_each();
    refused(
        &segue,
        "1",
        "without a worker; to have fewer, stop segue and start it with that number",
    );
    segue.stop();
}

#[test]
fn reloads_under_load_lose_nothing() {
    let segue = four_of_each();
    let load = Load::start(Kind::Fresh, &segue.target(), 4);
    for generation in 2..=11 {
        segue.reload_ok(&[]);
        load.wait_for_generation(generation);
    }
    let tally = load.stop();
    say(format_args!("sockets=4, Fresh, 10 reloads: {}", tally.figures()));
    tally.assert_nothing_lost();
    segue.stop();
}

/// The port of a socket that is bound and does not listen, so that it stays ours and gets no connection.
fn reserve() -> (OwnedFd, SocketAddr) {
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .expect("socket");
    setsockopt(&fd, ReusePort, &true).expect("SO_REUSEPORT");
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("bind");
    let bound: SockaddrIn = getsockname(fd.as_raw_fd()).expect("getsockname");
    let address = SocketAddr::from((bound.ip(), bound.port()));
    (fd, address)
}

/// The control, and the measure of what the classic way loses: each process binds a socket of its own, and its queue goes with it.
#[test]
fn sockets_of_their_own_take_their_queues_along() {
    let (_reserved, address) = reserve();
    let app = Program::fixture(&format!("shares-port text={address}"));
    let segue = Setup::new(app).flags(["--workers", "4"]).start();
    let tally = queue_over_reload(&segue, &Target::Tcp(address));
    say(format_args!(
        "control: SO_REUSEPORT in each process, queues of {QUEUE}, 1 reload: {}",
        tally.figures()
    ));
    // With net.ipv4.tcp_migrate_req=1 the kernel moves what waits to another socket of the group.
    let migrates =
        fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req").is_ok_and(|text| text.trim() == "1");
    if !migrates {
        tally.assert_detector_fired();
    }
    segue.stop();
}
