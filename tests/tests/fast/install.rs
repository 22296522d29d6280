//! `install.sh`, which `just install` calls: what it puts where, that it works there, and that nothing is left of it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use segue_tests::binaries::Binary;
use segue_tests::needs;
use segue_tests::segue::directory;
use tempfile::TempDir;

const PREFIX: &str = "/opt/segue-1.0";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A DESTDIR with a blank in its name, and a source tree: the real one, or one with units and a deploy script of the test's.
struct Tree {
    directory: TempDir,
    source: PathBuf,
}

impl Tree {
    fn of_this_tree() -> Self {
        Self {
            directory: directory(),
            source: root(),
        }
    }

    fn with_units() -> Self {
        let directory = directory();
        let source = directory.path().join("source");
        std::fs::create_dir_all(source.join("systemd/example")).unwrap();
        std::fs::create_dir_all(source.join("docs")).unwrap();
        std::fs::copy(root().join("install.sh"), source.join("install.sh")).unwrap();
        std::os::unix::fs::symlink(
            root().join("docs/man").canonicalize().unwrap(),
            source.join("docs/man"),
        )
        .unwrap();
        let unit =
            "[Service]\nExecStart=/usr/bin/segue run --name %i\nExecReload=/usr/local/bin/segue reload\n";
        std::fs::write(source.join("systemd/segue@.service"), unit).unwrap();
        std::fs::write(source.join("systemd/segue@.socket"), "[Socket]\n").unwrap();
        std::fs::write(source.join("systemd/example/app.service"), unit).unwrap();
        std::fs::write(source.join("deploy.sh"), "#!/bin/sh\necho deployed\n").unwrap();
        Self { directory, source }
    }

    fn destdir(&self) -> PathBuf {
        self.directory.path().join("dest dir")
    }

    /// The path of what is installed as `PREFIX/name`.
    fn at(&self, name: &str) -> PathBuf {
        self.destdir().join(&PREFIX[1..]).join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&Binary::Segue.path(), arguments)
    }

    fn run_with(&self, binary: &Path, arguments: &[&str]) -> Output {
        Command::new("sh")
            .arg(self.source.join("install.sh"))
            .args(["--prefix", PREFIX, "--destdir"])
            .arg(self.destdir())
            .arg("--binary")
            .arg(binary)
            .args(arguments)
            .env_remove("PREFIX")
            .env_remove("DESTDIR")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn run_ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{arguments:?}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// Every file below DESTDIR with its mode and content.
    fn tree(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        collect(&self.destdir(), &self.destdir(), &mut files);
        files
    }
}

fn collect(top: &Path, directory: &Path, files: &mut BTreeMap<String, (u32, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(top, &path, files);
        } else {
            let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            files.insert(name, (mode, std::fs::read(path).unwrap()));
        }
    }
}

/// What every installation has, with its mode.
const FILES: [(&str, u32); 13] = [
    ("bin/segue", 0o755),
    ("bin/segue-deploy", 0o755),
    ("bin/segue-poll", 0o755),
    ("share/bash-completion/completions/segue", 0o644),
    ("share/fish/vendor_completions.d/segue.fish", 0o644),
    ("share/man/man1/segue-deploy.1", 0o644),
    ("share/man/man1/segue-poll.1", 0o644),
    ("share/man/man1/segue.1", 0o644),
    ("share/man/man5/segue.toml.5", 0o644),
    ("share/man/man7/segue-protocol.7", 0o644),
    ("share/man/man8/segue-run.8", 0o644),
    ("share/segue/installed", 0o644),
    ("share/zsh/site-functions/_segue", 0o644),
];

#[test]
fn everything_is_where_the_system_looks_for_it_and_nothing_is_left_of_it() {
    let place = Tree::of_this_tree();
    let dry = place.run_ok(&["--dry-run"]);
    assert!(
        dry.contains("would install") && !place.destdir().exists(),
        "{dry}"
    );
    let said = place.run_ok(&[]);
    let tree = place.tree();
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!(
        lines(&dry, "would install "),
        lines(&said, "installed "),
        "{dry}\n{said}"
    );
    for (name, mode) in FILES {
        let found = tree
            .get(&format!("{}/{name}", &PREFIX[1..]))
            .map(|(mode, _)| *mode);
        assert_eq!(found, Some(mode), "{name}; there are {:?}", tree.keys());
    }
    let version = Command::new(place.at("bin/segue"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.stdout.starts_with(b"segue "), "{version:?}");
    // Once more changes nothing.
    place.run_ok(&[]);
    assert_eq!(place.tree(), tree);
    place.run_ok(&["--uninstall", "--dry-run"]);
    assert_eq!(place.tree(), tree);
    place.run_ok(&["--uninstall"]);
    let left: Vec<_> = std::fs::read_dir(place.destdir()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(place.run_ok(&["--uninstall"]).contains("nothing is installed"));
}

#[test]
fn units_name_the_binary_at_the_prefix_and_what_a_newer_version_lacks_goes() {
    let place = Tree::with_units();
    place.run_ok(&[]);
    let unit = std::fs::read_to_string(place.at("lib/systemd/system/segue@.service")).unwrap();
    assert_eq!(
        unit,
        format!(
            "[Service]\nExecStart={PREFIX}/bin/segue run --name %i\nExecReload={PREFIX}/bin/segue reload\n"
        )
    );
    let example = place.at("share/doc/segue/systemd/example/app.service");
    assert_eq!(std::fs::read_to_string(&example).unwrap(), unit);
    let deploy = Command::new(place.at("bin/segue-deploy")).output().unwrap();
    assert_eq!(deploy.stdout, b"deployed\n");

    let socket = place.at("lib/systemd/system/segue@.socket");
    assert!(socket.exists());
    std::fs::remove_file(place.source.join("systemd/segue@.socket")).unwrap();
    std::fs::remove_file(place.source.join("deploy.sh")).unwrap();
    place.run_ok(&[]);
    assert!(!socket.exists() && !place.at("bin/segue-deploy").exists() && place.at("bin/segue").exists());
    assert!(!place.at("share/man/man1/segue-deploy.1").exists());

    // What others have put beside it stays, and so do the directories around it.
    std::fs::write(place.at("bin/other"), "").unwrap();
    place.run_ok(&["--uninstall"]);
    let left: Vec<_> = place.tree().into_keys().collect();
    assert_eq!(left, [format!("{}/bin/other", &PREFIX[1..])]);
    assert!(!place.at("share").exists());
}

#[test]
fn an_installation_that_broke_off_can_be_undone() {
    let place = Tree::of_this_tree();
    let broken = place.directory.path().join("broken");
    segue_tests::executable::write(&broken, b"#!/bin/sh\n[ \"$2\" != zsh ] || exit 1\necho segue\n");
    let done = place.run_with(&broken, &[]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(place.at("bin/segue").exists() && !place.at("share/zsh/site-functions/_segue").exists());
    assert!(
        place.tree().keys().all(|name| !name.contains(".new.")),
        "{:?}",
        place.tree().keys()
    );
    place.run_ok(&["--uninstall"]);
    assert!(place.tree().is_empty(), "{:?}", place.tree().keys());
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line() {
    let place = Tree::of_this_tree();
    let refused = |arguments: &[&str], code: i32, text: &str| {
        let done = place.run(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            said.contains(text) && said.lines().count() == 1,
            "{arguments:?}: {said}"
        );
    };
    refused(&["--prefx", "/usr"], 2, "unknown option --prefx");
    refused(&["--prefix"], 2, "--prefix needs a value");
    refused(&["--prefix", "usr"], 2, "absolute path");
    refused(&["--prefix", "/usr/my own"], 2, "'/usr/my own'");
    refused(&["--prefix", "/usr/../etc"], 2, "'/usr/../etc'");
    refused(&["--binary", "/nonexistent"], 1, "there is no /nonexistent");
    assert!(!place.destdir().exists());

    // A list that leads elsewhere is not followed.
    place.run_ok(&[]);
    let list = place.at("share/segue/installed");
    let elsewhere = format!("f {}/../../keep\n", PREFIX);
    for line in ["f /keep\n", &elsewhere, "x /opt\n"] {
        let text = std::fs::read_to_string(&list).unwrap();
        std::fs::write(&list, text.clone() + line).unwrap();
        refused(&["--uninstall"], 1, "is damaged");
        std::fs::write(&list, text).unwrap();
    }
    assert!(place.at("bin/segue").exists());
    assert!(place.run_ok(&["--help"]).contains("--uninstall"));
}

#[test]
fn the_installed_pages_are_rendered() {
    let test = "the_installed_pages_are_rendered";
    if needs::or_skip(test, needs::program("mandoc")).is_none() {
        return;
    }
    let place = Tree::of_this_tree();
    place.run_ok(&[]);
    for (page, words) in [
        ("man1/segue-deploy.1", "--supervisor-timeout SECONDS"),
        ("man1/segue-poll.1", "--picture FILE"),
        ("man1/segue.1", "reload any server without losing a request"),
        ("man8/segue-run.8", "--drain-timeout DURATION"),
        ("man5/segue.toml.5", "command = [\"./app\"]"),
        ("man7/segue-protocol.7", "{\"request\":\"reload\"}"),
    ] {
        let done = Command::new("mandoc")
            .args(["-T", "ascii", "-O", "width=78"])
            .arg(place.at("share/man").join(page))
            .output()
            .unwrap();
        // Bold and underlined letters are struck twice.
        let mut text = String::new();
        for letter in String::from_utf8(done.stdout).unwrap().chars() {
            if letter == '\u{8}' {
                text.pop();
            } else {
                text.push(letter);
            }
        }
        assert!(text.contains(words), "{page}: no {words:?} in\n{text}");
    }
}

/// Asks a shell what it offers for an unfinished command line.
fn offered(test: &str, shell: &str, script: &str, file: &str) -> Option<String> {
    needs::or_skip(test, needs::program(shell))?;
    let place = Tree::of_this_tree();
    place.run_ok(&[]);
    let done = Command::new(shell)
        .args(["-c", script])
        .env("SCRIPT", place.at(file))
        .env("HOME", place.directory.path())
        .output()
        .unwrap();
    assert!(
        done.status.success() && done.stderr.is_empty(),
        "{shell}: {done:?}"
    );
    Some(String::from_utf8(done.stdout).unwrap())
}

#[test]
fn bash_completes_commands_and_options() {
    let script = r#"
        set -e
        bash -n "$SCRIPT"
        source "$SCRIPT"
        [[ $(complete -p segue) == *"-F _segue"* ]]
        offer() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _segue segue "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[@]}"
        }
        offer segue re
        offer segue reload --se
        offer segue run --drain
    "#;
    let file = "share/bash-completion/completions/segue";
    if let Some(offered) = offered("bash_completes_commands_and_options", "bash", script, file) {
        assert_eq!(offered, "reload\n--settled\n--drain-timeout\n");
    }
}

#[test]
fn fish_completes_commands() {
    let script = "source $SCRIPT; complete -C 'segue re'";
    let file = "share/fish/vendor_completions.d/segue.fish";
    if let Some(offered) = offered("fish_completes_commands", "fish", script, file) {
        assert!(offered.starts_with("reload\t"), "{offered}");
    }
}

#[test]
fn zsh_loads_the_completion() {
    let script = r#"
        zsh -n "$SCRIPT" || exit 1
        fpath=("${SCRIPT:h}" $fpath)
        autoload -U compinit && compinit -u -D
        echo "${_comps[segue]}"
    "#;
    let file = "share/zsh/site-functions/_segue";
    if let Some(loaded) = offered("zsh_loads_the_completion", "zsh", script, file) {
        assert_eq!(loaded, "_segue\n");
    }
}
