//! The house stays as docs/ARCHITECTURE.md says: floors, rooms, files, the clock.
//!
//! Every check reads the sources as text. What breaks a rule on purpose is named here, with its reason or its number, and the
//! lists may only become shorter: an exception that is not needed any more fails as well.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use sources::{File, imports, module, root, sources};

/// Rooms of one floor that know each other. `docs/ARCHITECTURE.md` says why.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("cleanup", "keeper"),
    ("cleanup", "own_unit"),
    ("cleanup", "place"),
    ("client", "place"),
    ("client", "stderr"),
    ("clock", "state"),
    ("config", "place"),
    ("control", "place"),
    ("deploy", "client"),
    ("deploy", "config"),
    ("deploy", "job"),
    ("launch", "stderr"),
    ("manager", "state"),
    ("manager", "sys"),
    ("status", "stderr"),
    // It begins what the shell goes on with.
    ("boot", "shell"),
];

/// Which rooms of the shell a room may import. `view` is `narrator/view.rs`, by which everybody may read.
const SHELL: &[(&str, &[&str])] = &[
    ("records", &["found"]),
    ("fleet", &["found", "records", "waits"]),
    ("inspection", &["fleet", "records", "view"]),
    ("destinations", &["fleet"]),
    ("steering", &["destinations", "fleet", "tokens"]),
    ("tokens", &["fleet"]),
    ("desk", &["view"]),
    (
        "starting",
        &[
            "desk",
            "fleet",
            "inspection",
            "journal",
            "narrator",
            "records",
            "steering",
        ],
    ),
    ("hooks", &["fleet", "narrator", "records", "starting"]),
    ("facts", &["starting", "view"]),
    (
        "confirming",
        &["fleet", "inspection", "records", "steering", "tokens", "view"],
    ),
    (
        "watching",
        &["fleet", "inspection", "records", "steering", "view"],
    ),
    (
        "wishes",
        &["desk", "fleet", "inspection", "narrator", "records", "view"],
    ),
    ("narrator", &["fleet", "inspection", "records", "waits"]),
    ("journal", &["fleet", "records"]),
    (
        "succession",
        &[
            "fleet",
            "found",
            "inspection",
            "journal",
            "records",
            "restore",
            "begin",
            "desk",
            "narrator",
            "save",
            "starting",
            "view",
            "wishes",
        ],
    ),
    (
        "run",
        &[
            "confirming",
            "fleet",
            "inspection",
            "journal",
            "save",
            "starting",
            "succession",
            "view",
            "watching",
            "wishes",
        ],
    ),
];

/// The files outside `run/` that have the whole loop in their hands, and why: nobody else is there yet.
const HOLD_THE_LOOP: &[(&str, &str)] = &[
    (
        "begin.rs",
        "makes one, takes it to its first turn, and does its last acts",
    ),
    ("mod.rs", "declares it"),
    ("restore.rs", "makes one of a state"),
    ("succession/adopt.rs", "makes one of another's state"),
    (
        "succession/last_batch.rs",
        "lets one that is adopted finish what was begun",
    ),
    (
        "succession/reconcile.rs",
        "lets one that is adopted find out what it missed",
    ),
];

/// Files that import each other in a circle, and why they lie in more than one all the same. A `mod.rs` may name what is in its room.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &["config/apps.rs", "config/settings.rs"],
        "a preset is a setting, and sets others",
    ),
    (
        &["deploy/files.rs", "deploy/walk.rs"],
        "what is opened on a walk is a file of a tree",
    ),
    (
        &["listeners/bind.rs", "listeners/slots.rs", "listeners/switch.rs"],
        "a steered listener is bound slot by slot, and a shared one may become a slot",
    ),
    (
        &[
            "launch/child.rs",
            "launch/program.rs",
            "launch/saved.rs",
            "launch/spawn.rs",
        ],
        "parent and child of one fork, and what both read",
    ),
];

/// How many lines `run/` has at most, all its files together: what is more belongs into a room.
const LOOP_LINES: usize = 400;

/// Files with more than [`LONGEST`] lines before their tests, and how many they have at most. There is none in the shell and the core.
const LONG_FILES: &[(&str, usize)] = &[
    ("cli/clients.rs", 560),
    ("config/options/app.rs", 480),
    ("config/options/handoff.rs", 520),
    ("config/resolve.rs", 460),
    ("config/settings.rs", 480),
    ("deploy/course.rs", 450),
    ("deploy/mod.rs", 540),
    ("deploy/store.rs", 450),
    ("dev/mod.rs", 500),
    ("launch/saved.rs", 500),
    ("listeners/open.rs", 515),
    ("main.rs", 430),
    ("readiness/mod.rs", 520),
];

/// One that has become as short as this is named no longer.
const SHORT: usize = 250;

/// More than this is read in more than one sitting.
const LONGEST: usize = 400;

fn document() -> String {
    fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap()
}

/// The floors of the picture.
fn floors() -> BTreeMap<String, u8> {
    let text = document();
    let picture = text.split("```").nth(1).unwrap();
    let mut floor = 0;
    let mut floors = BTreeMap::new();
    for line in picture.lines() {
        let Some(line) = line.strip_prefix("  │") else {
            continue;
        };
        let number = line
            .trim_start()
            .chars()
            .next()
            .and_then(|sign| sign.to_digit(10));
        if line.starts_with(' ')
            && let Some(number) = number
        {
            floor = u8::try_from(number).unwrap();
        }
        let Some(row) = line
            .get(4..)
            .filter(|row| row.starts_with(|sign: char| sign.is_ascii_lowercase()))
        else {
            continue;
        };
        let names = row
            .split("  ")
            .next()
            .unwrap_or_default()
            .trim_end_matches(['│', ' ']);
        for name in names.split(", ") {
            floors.insert(name.to_owned(), floor);
        }
    }
    floors
}

#[test]
fn each_room_is_in_the_picture_and_each_of_the_picture_is_there() {
    let main = fs::read_to_string(root().join("supervisor/src/main.rs")).unwrap();
    let mut rooms: BTreeSet<String> = main
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    for test in ["samples", "tidy", "trials"] {
        rooms.remove(test);
    }
    rooms.insert("main".to_owned());
    let shown: BTreeSet<String> = floors().into_keys().collect();
    assert_eq!(rooms, shown);
}

#[test]
fn arrows_between_floors_go_down_only() {
    let floors = floors();
    let mut seen = BTreeSet::new();
    for file in File::all("supervisor/src") {
        let own = file.room();
        for named in file.named("crate::") {
            let other = named.split("::").next().unwrap();
            let (Some(from), Some(to)) = (floors.get(own), floors.get(other)) else {
                continue;
            };
            if own == other || to < from {
                continue;
            }
            assert!(
                NEIGHBOURS.contains(&(own, other)),
                "{}: {own} (floor {from}) uses {other} (floor {to})",
                file.path
            );
            seen.insert((own.to_owned(), other.to_owned()));
        }
    }
    for (own, other) in NEIGHBOURS {
        let used = seen.contains(&((*own).to_owned(), (*other).to_owned())) || *own == "boot";
        assert!(used, "{own} does not use {other} any more");
    }
}

#[test]
fn rooms_of_the_shell_know_whom_they_may() {
    let may: BTreeMap<&str, &[&str]> = SHELL.iter().copied().collect();
    for file in File::all("supervisor/src/shell") {
        let Some(may) = may.get(file.room()) else {
            continue;
        };
        for named in file.named("crate::shell::") {
            let other = named.split("::").next().unwrap();
            let is_type = other.is_empty() || other.starts_with(char::is_uppercase);
            if is_type || other == file.room() {
                continue;
            }
            let named = named.replace("narrator::view", "view");
            let allowed = may
                .iter()
                .any(|room| named == *room || named.starts_with(&format!("{room}::")));
            assert!(allowed, "{}: imports {named}", file.path);
        }
    }
}

/// A circle is found by the files that a file comes to by imports, and that come back to it.
#[test]
fn files_import_each_other_in_named_circles_only() {
    let files = File::all("supervisor/src");
    let by_module: BTreeMap<String, &str> = files
        .iter()
        .map(|file| (module(&file.path), file.path.as_str()))
        .collect();
    let file_of = |name: &str| {
        let mut name = name;
        loop {
            if let Some(path) = by_module.get(name) {
                return Some(*path);
            }
            name = name.rsplit_once("::")?.0;
        }
    };
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in &files {
        let own = file.path.as_str();
        let named = imports(file);
        let others = named
            .iter()
            .filter_map(|name| file_of(name))
            .filter(|other| *other != own);
        edges.insert(own, others.collect());
    }
    assert!(
        edges["shell/run/mod.rs"].contains("shell/narrator/view.rs"),
        "imports are seen"
    );
    let reach = |from: &str| {
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = edges[from].iter().copied().collect();
        while let Some(path) = next.pop() {
            if seen.insert(path) {
                next.extend(&edges[path]);
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|path| (*path, reach(path))).collect();
    let circle = |path: &str| -> Vec<&str> {
        let back = reached[path]
            .iter()
            .copied()
            .filter(|other| reached[other].contains(path));
        back.collect()
    };
    let found: BTreeSet<Vec<&str>> = edges
        .keys()
        .map(|path| circle(path))
        .filter(|circle| !circle.is_empty())
        .collect();
    let known: BTreeSet<Vec<&str>> = CIRCLES.iter().map(|(files, _)| files.to_vec()).collect();
    assert_eq!(found, known, "circles between files");
}

#[test]
fn only_the_loop_acts_on_all_rooms() {
    let mut lines = 0;
    let mut held = BTreeSet::new();
    for file in File::all("supervisor/src/shell") {
        if file.room() == "run" {
            lines += file.text.lines().count();
            continue;
        }
        assert!(!file.text.contains("\nimpl Shell {"), "{}: impl Shell", file.path);
        let mut lines = file
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let is_loop = |word: &str| word == "Shell";
        if lines.any(|line| {
            line.contains("Adopted<") || line.split(|sign: char| !sign.is_alphanumeric()).any(is_loop)
        }) {
            held.insert(file.path);
        }
    }
    let known = HOLD_THE_LOOP.iter().map(|(path, _)| (*path).to_owned());
    assert_eq!(held, known.collect(), "who names the whole loop outside run/");
    assert!(lines <= LOOP_LINES, "run/ has {lines} lines");
}

#[test]
fn files_are_short() {
    let known: BTreeMap<&str, usize> = LONG_FILES.iter().copied().collect();
    for below in ["supervisor/src", "supervisor/lifecycle/src"] {
        for file in File::all(below) {
            let (path, lines) = (file.path.as_str(), file.text.lines().count());
            let most = known.get(path).filter(|_| below == "supervisor/src").copied();
            assert!(
                lines <= most.unwrap_or(LONGEST),
                "{below}/{path} has {lines} lines"
            );
            assert!(most.is_none() || lines > SHORT, "{path} is short by now");
        }
    }
    assert!(known.keys().all(|path| !path.starts_with("shell/")));
}

#[test]
fn the_time_is_taken_from_the_clock_alone() {
    for file in File::all("supervisor/src") {
        let asks = file.text.contains("Instant::now") || file.text.contains("SystemTime::now");
        assert!(!asks || file.path == "clock.rs", "{}", file.path);
    }
}

/// Who wants to know what another part of the program is doing is told, by an argument or a type.
#[test]
fn nothing_changes_behind_the_back_of_a_function() {
    for file in File::all("supervisor/src") {
        for line in file.text.lines() {
            let line = line.trim_start();
            let is_static =
                line.starts_with("static ") || line.starts_with("pub") && line.contains(" static ");
            let cells = ["Cell<", "Mutex<", "Atomic", "static mut "];
            let changes = is_static && cells.iter().any(|cell| line.contains(cell));
            let is_hidden = changes || line.starts_with("thread_local!");
            assert!(!is_hidden, "{}: {line}", file.path);
        }
    }
}

#[test]
fn what_is_unsafe_lies_in_sys() {
    for file in File::all("supervisor/src") {
        let is_unsafe = file.named("unsafe ").next().is_some();
        assert!(!is_unsafe || file.room() == "sys", "{}", file.path);
    }
}

/// Each file that the document names is there, and it names each file of the shell.
#[test]
fn the_document_names_what_is_there() {
    let text = document();
    let all: Vec<String> = [
        "app",
        "benches",
        "deploy.sh",
        "examples",
        "install.sh",
        "supervisor",
        "systemd",
        "tests",
    ]
    .iter()
    .flat_map(|below| {
        let path = root().join(below);
        if path.is_dir() { sources(&path) } else { vec![path] }
    })
    .map(|path| path.to_str().unwrap().to_owned())
    .collect();
    let quoted: BTreeSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| quoted.ends_with(".rs") && !quoted.contains(char::is_whitespace))
        .collect();
    for name in &quoted {
        let end = format!("/{name}");
        assert!(
            all.iter().any(|path| path.ends_with(&end)),
            "`{name}` is not there"
        );
    }
    for file in File::all("supervisor/src/shell") {
        let name = file.path.rsplit('/').next().unwrap();
        let is_named = quoted
            .iter()
            .any(|quoted| quoted.rsplit('/').next() == Some(name));
        assert!(is_named || name == "mod.rs", "shell/{} is not named", file.path);
    }
}
