//! The fault table: the ways in which a new app can be bad or the moment can be wrong, each under load against a serving
//! incumbent. `table.rs` is the table, one test a row; `scene.rs` runs a row; `stories.rs` holds the moments that take
//! more than a deploy and a reload; `document.rs` keeps `docs/FAULTS.md` true (`SEGUE_BLESS=1` writes it anew).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod document;
mod files;
mod scene;
mod stories;
mod table;

use std::path::Path;

use scene::Scene;
use segue_tests::process::Finished;

/// One row.
#[derive(Clone, Copy)]
struct Fault {
    /// The test's name.
    name: &'static str,
    /// The heading that it stands under.
    chapter: &'static str,
    /// What goes wrong, for people who run servers.
    wrong: &'static str,
    /// What Segue does about it.
    does: &'static str,
    /// The app that serves at first: a fixture's command line.
    incumbent: &'static str,
    /// Flags of `segue run` beside those of every row. `{dir}` is the instance's directory, `{poll}` the path of segue-poll.
    flags: &'static [&'static str],
    /// The text of segue.toml, if the row has one; the command and its listeners are then in it.
    config: Option<&'static str>,
    /// What is deployed as `./app` before the reload.
    new: New,
    /// What happens; its result is that of the reload that the row is about.
    story: fn(&Scene) -> Finished,
    /// Flags of `segue reload`.
    reload: &'static [&'static str],
    /// The exit code of `segue reload`.
    exit: i32,
    /// A line that `segue reload` prints. `…` stands for anything.
    says: &'static str,
    /// Lines of the log, in any order. `…` stands for anything.
    logs: &'static [&'static str],
    /// The generation that serves afterwards; 0 for none, with the supervisor ended.
    serves: u64,
    /// `outcome` of `last_reload` in the status; empty where the row is about a first start.
    outcome: &'static str,
    /// What may be lost.
    lost: Lost,
}

/// What a deploy puts at `./app` (or at segue.toml).
#[derive(Clone, Copy)]
enum New {
    /// A fixture's command line.
    App(&'static str),
    /// A script; `{fixture}` is the path of the fixture program.
    Script(&'static str),
    /// Anything else.
    File(fn(&Path)),
    /// Another segue.toml.
    Config(&'static str),
}

/// The requests that may be lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// None at all.
    Nothing,
    /// Those whose connections these generations had accepted, and no other.
    AcceptedBy(&'static [u64]),
    /// Whatever waits in the kernel's queue at the moment: the listener itself was broken, which no supervisor can undo.
    Queued,
    /// Clients that connect in the instant in which the path is gone.
    Unconnected,
}

/// The common values: a good incumbent, a good new version, a plain reload that works and loses nothing.
const PLAIN: Fault = Fault {
    name: "",
    chapter: "",
    wrong: "",
    does: "",
    incumbent: "good",
    flags: &[],
    config: None,
    new: New::App("good"),
    story: Scene::deploy_and_reload,
    reload: &[],
    exit: 0,
    says: "reload ok: generation 2 serves (pid …) after …",
    logs: &[],
    serves: 2,
    outcome: "ok",
    lost: Lost::Nothing,
};

/// The same for a candidate that fails: the incumbent serves on.
const REFUSED: Fault = Fault {
    exit: 1,
    serves: 1,
    outcome: "failed",
    ..PLAIN
};

/// The same for a generation that fails after its takeover (or in queue mode) and is rolled back.
const ROLLED_BACK: Fault = Fault {
    exit: 1,
    serves: 3,
    outcome: "rolled-back",
    ..PLAIN
};

/// With these flags first, the first generation is trusted at once, and the others are on probation (from
/// [`scene::Scene::distrust`] on) for longer than a slow machine may take to let them die.
const ON_PROBATION: &[&str] = &["--probation", "1h"];

/// A start with nobody who serves yet; the exit code is that of `segue run`. The incumbent of the scene is another instance.
const FIRST_START: Fault = Fault {
    story: stories::first_start,
    exit: 1,
    serves: 1,
    outcome: "",
    ..PLAIN
};
