//! `kill -9` of the supervisor in the middle of something that its state does not fully tell of: workers being forked, a first start,
//! a stop. systemd starts the next one, with what its file descriptor store has kept, and once more without that store.

use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::http::{Target, get_and_close, post};
use segue_tests::load::{Kind, Load};
use segue_tests::machine::{Machine, PAUSE};
use segue_tests::pool;

use super::killed::{assert_nobody_else_is_left, wait_for_end, wait_for_successor};
use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// What the next supervisor has beside the app itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    /// The unit as it is shipped.
    Shipped,
    /// systemd keeps nothing. Then /proc must show the app (in the same user namespace), and it must be allowed to take sockets back.
    Off,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  store {self:?}")
    }
}

impl Store {
    const BOTH: [Self; 2] = [Self::Shipped, Self::Off];

    /// Plays with both at the same time, where there is mostly something to wait for. The threads are in the network of this one.
    fn both(play: impl Fn(Self) + Sync) {
        pool::each(2, &Self::BOTH, |store| play(*store));
    }

    /// A site with this store, and a second listener that the supervisor binds itself.
    fn site<'a>(self, machine: &'a Machine, name: &str, command: &str) -> (Site<'a>, Listener) {
        let name = match self {
            Self::Shipped => name.to_owned(),
            Self::Off => format!("{name}-bare"),
        };
        let site = Site::new(machine, &name, command);
        if self == Self::Off {
            site.drop_in(
                &site.unit,
                "[Service]\nFileDescriptorStoreMax=0\nPrivateUsers=no\nSystemCallFilter=pidfd_getfd\n",
            );
        }
        let own = Listener(site.port() + 4000);
        (site, own)
    }
}

/// A port that no socket unit has.
#[derive(Clone, Copy)]
struct Listener(u16);

impl Listener {
    fn setting(self) -> String {
        format!("listen = [\"127.0.0.1:{}\"]\n", self.0)
    }

    fn target(self) -> Target {
        Target::Tcp(([127, 0, 0, 1], self.0).into())
    }

    #[track_caller]
    fn assert_served(self, site: &Site<'_>) {
        let client = self.target().connect();
        let answer = client.and_then(|mut client| client.ask(&get_and_close("/ping")));
        let status = answer.map(|answer| answer.status);
        assert_eq!(status.ok(), Some(200), "{}", site.journal());
    }
}

/// The supervisor, by a number that needs no program inside to send it a signal.
struct Supervisor {
    inside: String,
    outside: Pid,
}

impl Supervisor {
    fn of(machine: &Machine, site: &Site<'_>) -> Self {
        let inside = machine.wait_for_property(&site.unit, "MainPID", |pid| pid != "0");
        let outside = Pid::from_raw(machine.pid_outside(&inside));
        Self { inside, outside }
    }

    fn kill(&self) {
        kill(self.outside, Signal::SIGKILL).unwrap();
    }
}

/// A first start, of which nobody waits for the end. Returns when the supervisor answers.
#[track_caller]
fn begin_to_start(machine: &Machine, site: &Site<'_>) {
    machine.ok(&["systemctl", "start", "--no-block", &site.unit]);
    let end = Instant::now() + segue_tests::patience();
    while site.segue("status", &[]).code == Some(3) {
        assert!(Instant::now() < end, "it does not answer\n{}", site.journal());
        std::thread::sleep(PAUSE);
    }
}

/// A start that fails meanwhile, since something that drains has its address, is tried again.
#[track_caller]
fn wait_until_it_serves(site: &Site<'_>) {
    let end = Instant::now() + segue_tests::patience();
    let serves = || {
        let told = site.segue("status", &["--json"]).stdout;
        serde_json::from_str(&told).is_ok_and(|told: serde_json::Value| told["state"] == "serving")
    };
    while !serves() {
        assert!(Instant::now() < end, "it does not serve\n{}", site.journal());
        std::thread::sleep(PAUSE);
    }
}

/// The next worker is forked within a millisecond.
#[track_caller]
fn wait_without_pause(path: &Path, site: &Site<'_>) {
    let end = Instant::now() + segue_tests::patience();
    while !path.exists() {
        assert!(
            Instant::now() < end,
            "{} is not made\n{}",
            path.display(),
            site.journal()
        );
        std::thread::sleep(segue_tests::LOOK);
    }
}

const WORKERS: usize = 12;

/// What is being forked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    FirstStart,
    Reload,
    /// A reload that adds a listener.
    Addition,
}

pub(crate) fn while_it_forks(machine: &Machine) {
    for store in Store::BOTH {
        for stage in [Stage::FirstStart, Stage::Reload, Stage::Addition] {
            forks(machine, store, stage);
        }
    }
}

/// The sixth of twelve workers is forked when the supervisor dies; the app is ready only when the next one is there.
fn forks(machine: &Machine, store: Store, stage: Stage) {
    let name = format!("forks-{stage:?}").to_lowercase();
    let go = format!("/srv/{name}/go");
    let (site, own) = store.site(machine, &name, &format!("fixture slow-start file={go}"));
    let common = format!("workers = {WORKERS}\nprobe = \"exit 0\"\nstart-timeout = \"5m\"\n");
    let both = format!("{common}{}", own.setting());
    site.settings(if stage == Stage::Addition { &common } else { &both });
    machine.ok(&["rm", "-f", &go]);
    let (generation, loads) = if stage == Stage::FirstStart {
        machine.ok(&["systemctl", "start", "--no-block", &site.unit]);
        (1, Vec::new())
    } else {
        machine.write(&go, "");
        site.systemctl_ok("start");
        machine.ok(&["rm", &go]);
        (2, start_loads(&site))
    };
    let supervisor = Supervisor::of(machine, &site);
    if stage != Stage::FirstStart {
        site.settings(&both);
        kill(supervisor.outside, Signal::SIGHUP).unwrap();
    }
    // The runtime directory of a dynamic user.
    let sixth = format!("/run/private/segue/{}/notify/{generation}.5.0", site.name);
    wait_without_pause(&machine.path(&sixth), &site);
    supervisor.kill();
    wait_for_successor(machine, &site, &supervisor.inside);
    site.wait_until("all of it was forked", |status| {
        status.pids(generation).len() == WORKERS
    });
    machine.write(&go, "");
    site.wait_until("all of it serves", |status| {
        status.state() == "serving" && status.generation() == generation
    });
    let figure = format!("{store:?}, kill -9 while it forks: {stage:?}");
    assert_nothing_lost(machine, &figure, loads);
    assert_nobody_else_is_left(machine, &site);
    let _ = site.ping();
    own.assert_served(&site);
    machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
    let journal = site.journal();
    assert!(!journal.contains("already in use"), "{journal}");
}

/// Nobody lives to hear READY=1 at the first start: the app that answers is adopted, and not killed after its start timeout.
pub(crate) fn at_a_first_start_nobody_hears(machine: &Machine) {
    Store::both(|store| {
        let name = "unheard";
        let go = format!("/srv/{name}/go-{store:?}");
        let command = format!("fixture ready-unheard file={go}");
        let (site, own) = store.site(machine, name, &command);
        // By default what is seen of it would count, whatever it says.
        site.settings(&format!(
            "ready = \"notify\"\nworkers = 2\nstart-timeout = \"5m\"\n{}",
            own.setting()
        ));
        site.drop_in(&site.unit, "[Service]\nRestartSec=5s\n");
        machine.ok(&["rm", "-f", &go]);
        begin_to_start(machine, &site);
        site.wait_until("both were started", |status| status.pids(1).len() == 2);
        let app = site.status().pids(1);
        let supervisor = Supervisor::of(machine, &site);
        supervisor.kill();
        machine.wait_for_property(&site.unit, "SubState", |state| state.contains("auto-restart"));
        machine.write(&go, "");
        let _ = site.ping();
        let unheard = site.property("SubState").contains("auto-restart");
        let loads = start_loads(&site);
        wait_for_successor(machine, &site, &supervisor.inside);
        site.wait_until("it serves", |status| status.state() == "serving");
        assert_eq!(site.status().pids(1), app, "{}", site.journal());
        machine.wait_for_property(&site.unit, "SubState", |state| state == "running");
        own.assert_served(&site);
        if unheard && store == Store::Off {
            let journal = site.journal();
            let said = "messages sent while no supervisor ran are lost";
            assert!(journal.contains(said), "{journal}");
        }
        assert_nothing_lost(machine, &format!("{store:?}, READY=1 unheard"), loads);
        site.systemctl_ok("reload");
        assert_eq!(site.status().generation(), 2, "{}", site.journal());
        own.assert_served(&site);
    });
}

/// `segue stop`: the next one serves at once, and what drains has its time.
pub(crate) fn while_it_stops(machine: &Machine) {
    for store in Store::BOTH {
        let (site, own) = store.site(machine, "midstop", "app --message old");
        site.settings(&format!("drain-timeout = \"10m\"\n{}", own.setting()));
        site.systemctl_ok("start");
        let old = site.status().pids(1);
        let mut client = own.target().connect().unwrap();
        let request = post("/echo", b"to be continued");
        let (first, rest) = request.split_at(request.len() - 5);
        client.write(first).unwrap();
        site.wait_until("the app has the connection", |status| status.connections(1) == 1);
        let loads = start_loads(&site);
        site.release("app --message new");
        kill_while_stopping(machine, &site);
        loads.iter().for_each(|(_, load)| load.wait_for_more(20));
        assert_ne!(site.status().pids(1), old);
        site.wait_for_message("new");
        own.assert_served(&site);
        // The next but one knows of it, too.
        let supervisor = Supervisor::of(machine, &site);
        supervisor.kill();
        wait_for_successor(machine, &site, &supervisor.inside);
        client.write(rest).unwrap();
        let answer = client.response();
        let status = answer.map(|answer| answer.status);
        assert_eq!(status.ok(), Some(200), "{}", site.journal());
        assert_nothing_lost(machine, &format!("{store:?}, kill -9 during segue stop"), loads);
        drop(client);
        wait_for_end(machine, &site, old[0]);
        let said = format!(
            "pid {}, which an earlier supervisor left draining, has ended",
            old[0]
        );
        site.wait_for_line(&said);
        assert_nobody_else_is_left(machine, &site);
    }
}

/// Whatever the dead supervisor was about to kill is killed by the next one.
pub(crate) fn what_a_stop_left_hanging_has_its_deadline(machine: &Machine) {
    Store::both(|store| {
        let (site, own) = store.site(machine, "hangs", "fixture ignores-term");
        site.settings(&format!(
            "drain-timeout = \"10m\"\nstop-timeout = \"20s\"\n{}",
            own.setting()
        ));
        site.systemctl_ok("start");
        let old = site.status().pids(1)[0];
        site.release("fixture good");
        kill_while_stopping(machine, &site);
        own.assert_served(&site);
        wait_for_end(machine, &site, old);
        site.wait_for_line(&format!(
            "pid {old}, which an earlier supervisor left draining, has not ended: it is killed"
        ));
        own.assert_served(&site);
        assert_nobody_else_is_left(machine, &site);
    });
}

/// `segue stop`, and the supervisor dies when everybody has been told.
#[track_caller]
fn kill_while_stopping(machine: &Machine, site: &Site<'_>) {
    let supervisor = Supervisor::of(machine, site);
    let stop = machine.begin(&["segue", "stop", "--name", &site.name]);
    site.wait_until("it stops", |status| status.state() == "stopping");
    supervisor.kill();
    let _ = stop.finish();
    machine.wait_for_property(&site.unit, "MainPID", |pid| pid != supervisor.inside);
    wait_until_it_serves(site);
}

/// `systemctl stop` is the end of everything, also where the supervisor dies meanwhile; the next start finds its address free.
pub(crate) fn while_systemd_stops_it(machine: &Machine) {
    for store in Store::BOTH {
        let (site, own) = store.site(machine, "stopped", "fixture ignores-term");
        site.settings(&format!("stop-timeout = \"10m\"\n{}", own.setting()));
        site.drop_in(&site.unit, "[Service]\nTimeoutStopSec=10min\n");
        site.systemctl_ok("start");
        let old = site.status().pids(1)[0];
        let supervisor = Supervisor::of(machine, &site);
        let stop = machine.begin(&["systemctl", "stop", &site.unit]);
        site.wait_until("it stops", |status| status.state() == "stopping");
        supervisor.kill();
        let _ = stop.finish();
        wait_for_end(machine, &site, old);
        let load = Load::start(Kind::Fresh, &site.target(), 1);
        site.systemctl_ok("start");
        assert_eq!(site.status().generation(), 1);
        own.assert_served(&site);
        load.wait_for_more(5);
        load.stop().assert_nothing_lost();
        let journal = site.journal();
        assert!(!journal.contains("already in use"), "{journal}");
    }
}

/// systemd, held up. Dropping it lets it go on.
struct HeldUp(Pid);

impl HeldUp {
    /// Stops it, and fills its queue, in which nothing finds room any more.
    fn with_a_full_queue(machine: &Machine) -> Self {
        let init = Pid::from_raw(machine.pid_outside("1"));
        kill(init, Signal::SIGSTOP).unwrap();
        let held_up = Self(init);
        let end = Instant::now() + segue_tests::patience();
        // It may take one more out on its way to being stopped.
        while segue_tests::proc::look(init.as_raw()).is_none_or(|seen| seen.state != 'T') {
            assert!(Instant::now() < end, "systemd is not stopped");
            std::thread::sleep(PAUSE);
        }
        // What one socket may have on its way is less than the queue takes.
        let queue = machine.path("/run/systemd/notify");
        while fill(&queue) > 0 {}
        held_up
    }
}

/// Sends as much as one socket can. Returns how much that was.
fn fill(queue: &Path) -> usize {
    let socket = UnixDatagram::unbound().unwrap();
    socket.set_nonblocking(true).unwrap();
    for sent in 0.. {
        match socket.send_to(b"X_FULL=1", queue) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("{}: {error}", queue.display()),
        }
    }
    0
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The fd of a listener that is new with the reload has found no room in systemd's queue, and the sandbox lets nobody take it from the
/// candidate: that is ended, and the app of before adopted.
pub(crate) fn a_new_listener_that_systemd_has_not_got(machine: &Machine) {
    let (site, own) = Store::Shipped.site(machine, "unstored", "app --message old");
    site.systemctl_ok("start");
    let app = site.status().pids(1);
    let loads = start_loads(&site);
    let supervisor = Supervisor::of(machine, &site);
    site.release("fixture slow-start file=/srv/unstored/never");
    site.settings(&format!("start-timeout = \"10m\"\n{}", own.setting()));
    let held_up = HeldUp::with_a_full_queue(machine);
    kill(supervisor.outside, Signal::SIGHUP).unwrap();
    site.wait_until("the candidate is there", |status| !status.pids(2).is_empty());
    // Had it not executed it would end by itself.
    let candidate = site.status().pids(2)[0];
    let program = format!("/proc/{candidate}/comm");
    machine.wait_for_output(&["cat", &program], |name| name.starts_with("fixture"));
    supervisor.kill();
    drop(held_up);
    wait_for_successor(machine, &site, &supervisor.inside);
    site.wait_until("the reload has failed", |status| {
        status.last_outcome() == "failed"
    });
    let status = site.status();
    assert!(
        status
            .last_reason()
            .contains("it was ended, for the listener 127.0.0.1:"),
        "{}",
        site.journal()
    );
    assert_eq!(status.pids(1), app, "{}", site.journal());
    wait_for_end(machine, &site, candidate);
    site.release("app --message new");
    site.systemctl_ok("reload");
    site.wait_for_message("new");
    own.assert_served(&site);
    assert_nothing_lost(machine, "kill -9 with a listener that systemd has not got", loads);
    assert_nobody_else_is_left(machine, &site);
}
