//! One server, played: reloads under two loads, a look at what its stop signal does, and the negative control.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use segue_tests::figures;
use segue_tests::http::{Client, Target, get};
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::{LOOK, patience};

use super::page;
use super::table::{Backend, Idle, InFlight, Lost, Server, Table, Version};

/// Kept connections that are idle when the stop signal comes.
const IDLE: usize = 8;

/// The socket of the app that a proxy stands in front of, in that app's directory.
const BACKEND: &str = "app.sock";

/// Old generations that may drain at once. A server that drains for 30 s would fill the memory in twenty reloads.
const DRAINING: usize = 4;

/// What every run has: deadlines for a slow machine, an end for servers that wait for idle clients, and one for those whose
/// test has failed (Starman hides the environment by which the harness knows what it has started).
pub(super) const COMMON: &[&str] = &[
    "--probation",
    "0s",
    "--start-timeout",
    "60s",
    "--accept-timeout",
    "60s",
    "--drain-timeout",
    "10s",
    "--die-with-supervisor",
];

/// How the generations have the listener. Steered, each has a queue of its own, and an old one lingers: `linger.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listeners {
    Shared,
    Steered,
    /// The same for a short time, so that clients which never pause meet the stop signal.
    Briefly,
    /// Steered, and ready by a connection that it accepts, as `--ready accepting` has it.
    ByToken,
    /// Steered, and ready a second after its start.
    ByTime,
}

impl Listeners {
    /// Those of the page's first table.
    pub(super) const ALL: [Self; 1] = [Self::Shared];

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Shared => &[],
            Self::Steered => &["--steer"],
            Self::Briefly => &["--steer", "--linger", "2s"],
            Self::ByToken => &["--steer", "--linger", "0s", "--ready", "accepting"],
            Self::ByTime => &["--steer", "--linger", "0s", "--ready", "exec:1s"],
        }
    }
}

/// What one run has counted.
pub(super) struct Counted {
    pub(super) listeners: Listeners,
    pub(super) new: Account,
    pub(super) kept: Account,
}

/// Requests of one load.
pub(super) struct Account {
    pub(super) lost: usize,
    pub(super) of: u64,
}

/// Files and programs of one server, and an address that no other test uses.
pub(super) struct Premises {
    tools: PathBuf,
    directory: PathBuf,
    host: String,
}

impl Premises {
    const PORT: &str = "8643";

    pub(super) fn new(directory: PathBuf, server: &Server) -> Self {
        // nginx, Puma and others compare their own address with the socket's, so that it must be known beforehand.
        let number = 10
            + Table::ROWS
                .iter()
                .position(|row| row.name == server.name)
                .unwrap();
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let host = format!("127.{}.{low}.{number}", 1 + high % 200);
        Self {
            tools: needs::tools(),
            directory,
            host,
        }
    }

    /// A text of the table with its placeholders filled in.
    pub(super) fn fill(&self, text: &str) -> String {
        let address = format!("{}:{}", self.host, Self::PORT);
        text.replace("{tools}", &self.tools.to_string_lossy())
            .replace("{here}", concat!(env!("CARGO_MANIFEST_DIR"), "/servers"))
            .replace("{dir}", &self.directory.to_string_lossy())
            .replace("{address}", &address)
            .replace("{host}", &self.host)
            .replace("{port}", Self::PORT)
    }
}

/// Whether the program that a server's command begins with is here.
pub(super) fn present(server: &Server, place: &Premises) -> Result<(), String> {
    for word in server.command.iter().filter(|word| word.starts_with("{tools}")) {
        let path = place.fill(word);
        if !Path::new(&path).exists() {
            return Err(format!(
                "there is no {path}: tests/setup.sh {} installs it",
                server.setup
            ));
        }
    }
    match server.command.first() {
        Some(program) if !program.contains('/') => needs::program(program),
        _ => Ok(()),
    }
}

pub(super) fn play(test: &str, server: &Server) {
    let place = Premises::new(segue_tests::segue::directory().path().to_owned(), server);
    if needs::or_skip(test, present(server, &place)).is_none() {
        return;
    }
    let counted: Vec<_> = Listeners::ALL
        .into_iter()
        .map(|listeners| measure(server, listeners))
        .collect();
    page::compare(server, &version(server, &place), &counted);
}

fn measure(server: &Server, listeners: Listeners) -> Counted {
    let backend = match server.backend {
        Backend::None => None,
        Backend::Fixture => {
            let setup = Setup::new(Program::fixture("good"));
            let listen = format!("unix:{}", setup.path(BACKEND).display());
            Some(setup.listen(listen).start())
        }
    };
    let segue = start(server, listeners, backend.as_ref());
    let target = segue.target();
    let mut fresh = Load::start(Kind::Fresh, &target, 2);
    let mut kept = Load::start(Kind::KeepAlive, &target, 4);
    for _ in 0..figures::scale(5, 20) {
        reload(&segue);
        fresh.wait_for_more(20);
        kept.wait_for_more(20);
    }
    let counted = Counted {
        listeners,
        new: account(fresh),
        kept: account(kept),
    };
    judge(server, &counted, &segue);
    look_at_the_stop(server, &segue, &target);
    // The negative control: the same loads see that the same server goes away.
    fresh = Load::start(Kind::Fresh, &target, 1);
    kept = Load::start(Kind::KeepAlive, &target, 1);
    segue.stop();
    for load in [fresh, kept] {
        load.wait_for_loss();
        load.stop().assert_detector_fired();
    }
    counted
}

pub(super) fn start(server: &Server, listeners: Listeners, backend: Option<&Segue>) -> Segue {
    let setup = Setup::from_config();
    let seconds = server.keep_alive.unwrap_or("75");
    let variable = server
        .keep_alive
        .map(|seconds| ["--env".to_owned(), format!("KEEP_ALIVE={seconds}")]);
    let place = Premises::new(setup.path("."), server);
    let backend = backend.map(|backend| backend.path(BACKEND).display().to_string());
    for file in server.files {
        let text = std::fs::read_to_string(place.fill(&format!("{{here}}/{file}"))).unwrap();
        let text = text.replace("{backend}", backend.as_deref().unwrap_or_default());
        let text = text.replace("{keep_alive}", seconds);
        std::fs::write(setup.path(file), place.fill(&text)).unwrap();
    }
    if server.is_static {
        std::fs::write(setup.path("ping"), "{\"message\": \"static\"}").unwrap();
        std::fs::write(setup.path("big"), vec![b'x'; BIG]).unwrap();
    }
    let words = server.command.iter().map(|word| place.fill(word));
    let mut words = words.map(|word| word.replace("{keep_alive}", seconds));
    let program = Program::new(words.next().unwrap()).args(words);
    setup
        .program(program)
        .listen(place.fill("http={address}") + server.listen)
        .flags(server.flags.iter().map(|flag| place.fill(flag)))
        .flags(listeners.flags())
        .flags(variable.into_iter().flatten())
        .flags(COMMON)
        .start()
}

fn reload(segue: &Segue) {
    segue.reload_ok(&[]);
    segue.wait_until("old generations end", |status| {
        status.in_role("retired").len() <= DRAINING
    });
}

fn account(load: Load) -> Account {
    let tally = load.stop();
    assert_eq!(
        tally.sent,
        tally.answered + tally.declined + tally.lost.len() as u64,
        "unaccounted requests: {tally}"
    );
    if !tally.lost.is_empty() {
        figures::say(format_args!("{tally}"));
    }
    Account {
        lost: tally.lost.len(),
        of: tally.sent - tally.declined,
    }
}

/// Whether the losses are of the kind that the table says.
fn judge(server: &Server, counted: &Counted, segue: &Segue) {
    for (what, account, lost) in [
        ("new", &counted.new, server.new),
        ("kept", &counted.kept, server.kept),
    ] {
        let right = match lost {
            Lost::None => account.lost == 0,
            // Half of all is no race any more: the server did not serve.
            Lost::Some => (account.lost as u64) < account.of / 2,
        };
        assert!(
            right,
            "{}: {what} connections: {} of {} lost, and docs/compatibility.md says {lost:?}\nlog:\n{}",
            server.name,
            account.lost,
            account.of,
            segue.process().stderr()
        );
    }
}

/// Length of /big: more than the buffers of a socket hold, so that a server is still at it when it is told to stop.
const BIG: usize = 16 << 20;

/// What idle connections and a response in flight meet at the stop signal.
fn look_at_the_stop(server: &Server, segue: &Segue, target: &Target) {
    let mut idle: Vec<_> = (0..IDLE).map(|_| target.connect().unwrap()).collect();
    for client in &mut idle {
        let response = client.ask(&get("/ping")).unwrap();
        assert_eq!(
            response.close,
            server.idle == Idle::None,
            "{}: kept alive?",
            server.name
        );
    }
    let mut big = target.connect().unwrap();
    big.write(&get("/big")).unwrap();
    wait(server, "the response begins", || {
        !big.is_closed() && big.has_more()
    });
    segue.reload_ok(&[]);
    for client in &mut idle {
        look_at_idle(server, client);
    }
    let got = big.response().map(|response| response.body.len());
    match server.in_flight {
        InFlight::Completed => assert_eq!(got.ok(), Some(BIG), "{}: a response in flight", server.name),
        InFlight::Cut => assert!(got.is_err(), "{}: {got:?}: a response in flight", server.name),
    }
}

fn look_at_idle(server: &Server, client: &mut Client) {
    match server.idle {
        Idle::Closed | Idle::None => wait(server, "an idle connection is closed", || client.is_closed()),
        Idle::Answers => {
            let answer = client.ask(&get("/ping"));
            assert!(
                answer.is_ok(),
                "{}: an idle connection is not answered: {answer:?}",
                server.name
            );
        }
        Idle::Either => {}
    }
}

fn wait(server: &Server, what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + patience();
    while !condition() {
        assert!(Instant::now() < end, "{}: not in time: {what}", server.name);
        std::thread::sleep(LOOK);
    }
}

/// The version that runs here.
fn version(server: &Server, place: &Premises) -> String {
    let text = match server.version {
        Version::Command(words) => {
            let done = Command::new(place.fill(words[0]))
                .args(&words[1..])
                .output()
                .unwrap_or_else(|error| panic!("{}: {words:?}: {error}", server.name));
            [done.stdout, done.stderr].concat()
        }
        Version::Python(package) => {
            let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
            let python = place.fill("{tools}/servers/bin/python");
            Command::new(python).args(["-c", &code]).output().unwrap().stdout
        }
        Version::Npm(package) => {
            let path = place.fill(&format!(
                "{{tools}}/servers-npm/node_modules/{package}/package.json"
            ));
            let json: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            json["version"].as_str().unwrap().into()
        }
        Version::Crate(package) => {
            let lock = std::fs::read_to_string(place.fill("{here}/rust/Cargo.lock")).unwrap();
            let entry = format!("name = \"{package}\"\nversion = ");
            lock.split_once(&entry).unwrap().1.as_bytes().to_vec()
        }
    };
    first_version(&String::from_utf8_lossy(&text)).to_owned()
}

/// The first word of digits and dots that has both.
fn first_version(text: &str) -> &str {
    let digits = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .find(digits)
        .map_or("", |word| word.trim_end_matches('.'))
}
