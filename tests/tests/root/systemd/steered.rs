//! `kill -9` at the system calls of a steered reload, with slots that systemd has opened, and slots of Segue's own that are in its file
//! descriptor store. Nothing is lost, and the next supervisor knows where each slot stands.

use segue_tests::figures::say;
use segue_tests::http::Target;
use segue_tests::ledger::Ledger;
use segue_tests::load::parked::Parked;
use segue_tests::machine::Machine;
use segue_tests::places::{self, Look};
use segue_tests::segue::Status;
use segue_tests::strace::{self, Counts, Tracer};
use segue_tests::{long_run, needs};
use tempfile::NamedTempFile;

use super::killed::wait_for_successor;
use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// The first of each of these calls is tried where this is not the long run, and the last one that hears the candidate: its event loop
/// has its listeners by then, and what it has chosen for them is not yet written down.
const FIRST_TRIED: [&str; 2] = ["setsockopt", "pwrite64"];
const LAST_TRIED: &str = "recvmsg";

struct Scene<'a> {
    machine: &'a Machine,
    site: Site<'a>,
    /// Of the listener that Segue binds.
    own: u16,
    ledger: Ledger,
    /// Connections of each generation, oldest first.
    kept: Vec<Parked>,
}

impl<'a> Scene<'a> {
    fn begin(machine: &'a Machine) -> Self {
        let site = Site::new(machine, "slots", "app --message x");
        let (given, own) = (site.port(), site.port() + 4000);
        let line = format!("ListenStream=127.0.0.1:{given}\n").repeat(4);
        site.drop_in(
            &site.socket,
            &format!("[Socket]\nListenStream=\n{line}ReusePort=yes\nFileDescriptorName=given\n"),
        );
        site.settings(&format!(
            "listen = [\"given=127.0.0.1:{given},steer\", \"own=127.0.0.1:{own},steer\"]\nprobation = \"200ms\"\nlinger = \
             \"1h\"\nmax-generations = 3\n"
        ));
        site.systemctl_ok("start");
        let mut scene = Self {
            machine,
            site,
            own,
            ledger: Ledger::default(),
            kept: Vec::new(),
        };
        for _ in 0..2 {
            scene.keep_connections();
            scene.site.systemctl_ok("reload");
        }
        scene
    }

    fn own_target(&self) -> Target {
        Target::Tcp(([127, 0, 0, 1], self.own).into())
    }

    /// The generation that serves lingers once it is replaced; the oldest has its last requests, so that a reload finds room.
    fn keep_connections(&mut self) {
        for target in [self.site.target(), self.own_target()] {
            self.kept.push(Parked::idle(&target, &self.ledger, 1));
        }
        while self.kept.len() > 4 {
            self.kept.remove(0).finish();
        }
    }

    fn wait_until_it_rests(&self) -> Status {
        self.site.wait_until("the reload is over", rests);
        self.site.status()
    }

    /// Reloads, traced with these words.
    fn reload(&self, words: &[&str]) {
        let pid = self.site.main_pid();
        let tracer = Tracer::attach(self.machine.pid_outside(&pid), words);
        let told = self.site.segue("reload", &[]);
        tracer.detach();
        if told.code != Some(0) && self.pid_that_answers().as_deref() != Some(&*pid) {
            wait_for_successor(self.machine, &self.site, &pid);
        }
    }

    fn pid_that_answers(&self) -> Option<String> {
        let answer = self.site.segue("status", &["--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&answer).ok()?;
        Some(status["pid"].as_u64()?.to_string())
    }

    fn calls_of_a_reload(&self) -> Counts {
        let output = NamedTempFile::new().unwrap();
        let path = output.path().to_str().unwrap();
        self.reload(&["-o", path]);
        let mut counts = Counts::new();
        for line in strace::read(output.path()).lines() {
            strace::count(&mut counts, line);
        }
        counts
    }

    #[track_caller]
    fn assert_each_place_is_known(&self, when: &str) {
        let mut looks = 1..=places::LOOKS;
        loop {
            let status = self.wait_until_it_rests();
            let both = [("given", self.site.port()), ("own", self.own)];
            let mut seen = Vec::new();
            for (name, port) in both {
                let slots = places::slots(&status, name);
                let state = |file: &str| {
                    let path = format!("/run/private/segue/{}/state-{file}", self.site.name);
                    self.machine.path(&path)
                };
                let look = Look {
                    supervisor: self.machine.pid_outside(&self.site.main_pid()),
                    state: ["a", "b"].map(state),
                    name,
                    port,
                    serves: status.generation(),
                };
                seen.push((look.who_is_met(&slots), slots));
            }
            let now = self.wait_until_it_rests();
            if both
                .iter()
                .any(|(name, _)| places::slots(&now, name) != places::slots(&status, name))
            {
                continue;
            }
            let mut met = seen.iter().map(|((met, _), slots)| (met, slots));
            if met.any(|(met, slots)| places::is_by_relief(met, slots)) && looks.next().is_some() {
                continue;
            }
            for ((met, said), slots) in seen {
                assert_eq!(
                    met,
                    places::expected(&slots),
                    "{when}: {said}\n{}",
                    self.site.journal()
                );
            }
            return;
        }
    }
}

fn rests(status: &Status) -> bool {
    let none = |role| status.in_role(role).is_empty();
    status.state() == "serving" && none("candidate") && none("relief") && none("retired")
}

pub(crate) fn killed_at_every_call(machine: &Machine) {
    let able = strace::available().and_then(|()| needs::program("python3"));
    if needs::or_skip("killed at every call, steered, under systemd", able).is_none() {
        return;
    }
    let mut scene = Scene::begin(machine);
    let loads = start_loads(&scene.site);
    scene.keep_connections();
    let counts = scene.calls_of_a_reload();
    let tried: Vec<(String, usize)> = if long_run() {
        let each = |(call, count): (&String, &usize)| {
            let all: Vec<_> = (1..=*count).map(|nth| (call.clone(), nth)).collect();
            all
        };
        counts.iter().flat_map(each).collect()
    } else {
        let first = FIRST_TRIED.map(|call| (call.to_owned(), 1));
        let last = (LAST_TRIED.to_owned(), counts[LAST_TRIED]);
        first.into_iter().chain([last]).collect()
    };
    let mut killed = 0;
    for (call, nth) in tried {
        let when = format!("{call} number {nth}");
        scene.keep_connections();
        let before = scene.site.main_pid();
        let (trace, inject) = (
            format!("trace={call}"),
            format!("inject={call}:signal=KILL:when={nth}"),
        );
        scene.reload(&["-o", "/dev/null", "-e", &trace, "-e", &inject]);
        scene.assert_each_place_is_known(&when);
        killed += usize::from(scene.site.main_pid() != before);
    }
    for kept in scene.kept.drain(..) {
        kept.finish();
    }
    let what = format!("{killed} kill -9 at calls of a steered reload");
    say(format_args!("systemd {}: {what}", machine.version()));
    assert!(killed > 0, "it was never killed");
    assert_nothing_lost(machine, &what, loads);
    scene.ledger.tally().assert_nothing_lost();
}
