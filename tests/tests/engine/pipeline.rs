//! The pipeline in `examples/pipeline`, from a push to what serves: with a real git, a real podman and its own app.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::figures;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::podman::Podman;
use segue_tests::process::{Finished, Process};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::tree;
use segue_tests::{proc, version};

/// The image of the example, and one with the interpreter of this machine, since no registry is asked: its files come by a
/// volume.
const RECIPE: &str = "FROM python:3.13-slim\n";
const INSTALL: &str = "RUN pip install --no-cache-dir --requirement /requirements.lock\n";
const OWN_RECIPE: &str = "FROM scratch\nADD links.tar /\n";
const OWN_FILES: &str = "--volume /usr:/usr:ro";

/// The repository, and the host on which it is shipped.
struct Pipeline {
    podman: Podman,
    repository: PathBuf,
    directory: PathBuf,
    control: PathBuf,
}

impl Pipeline {
    fn new(podman: Podman, setup: &Setup) -> Self {
        let this = Self {
            podman,
            repository: setup.path("repository"),
            directory: setup.path("."),
            control: setup.path("control"),
        };
        let example = tree::root().join("examples/pipeline");
        this.sh(&format!(
            "cp -R '{}' '{}'",
            example.display(),
            this.repository.display()
        ));
        this.sh(
            "mkdir links && ln -s usr/bin usr/lib usr/lib64 links && tar -cf repository/links.tar -C links . \
             && mkdir bin && ln -s \"$SEGUE\" bin/segue",
        );
        let recipe = this.read("Containerfile");
        assert!(recipe.contains(RECIPE) && recipe.contains(INSTALL), "{recipe}");
        this.write(
            "Containerfile",
            &recipe.replace(RECIPE, OWN_RECIPE).replace(INSTALL, ""),
        );
        this.sh("cd repository && git init --quiet .");
        this.commit();
        this
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.repository.join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.repository.join(name), text).unwrap();
    }

    fn run(&self, script: &str) -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&self.directory);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.directory.join("bin");
        command
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("SEGUE", Binary::Segue.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env(proc::MARK, self.directory.components().collect::<PathBuf>())
            .envs(self.podman.env());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "somebody");
            command.env(format!("GIT_{who}_EMAIL"), "somebody@example.org");
        }
        Process::start(&mut command).finish()
    }

    #[track_caller]
    fn sh(&self, script: &str) {
        let done = self.run(script);
        assert_eq!(done.code, Some(0), "{script}: {done:?}");
    }

    fn commit(&self) {
        self.sh("cd repository && git add --all && git commit --quiet --message change");
    }

    /// The line of the workflow that ships, with the options that this host needs.
    fn ship(&self, more: &str) -> Finished {
        let workflow = self.read("workflow.yml");
        let line = workflow
            .lines()
            .find_map(|line| line.strip_prefix("      - run: ./ship.sh"));
        let line = line.expect("the workflow ships");
        let (root, control) = (self.directory.join("srv"), self.control.display());
        self.run(&format!(
            "cd repository && ./ship.sh{line} --root '{}' {more} -- --control '{control}' --run-options '{OWN_FILES}'",
            root.display()
        ))
    }

    /// Commits a change and ships it.
    fn push(&self, name: &str, from: &str, to: &str) -> Finished {
        let text = self.read(name);
        assert!(text.contains(from), "{text}");
        self.write(name, &text.replace(from, to));
        self.commit();
        self.ship("")
    }

    fn images(&self) -> usize {
        self.podman.kept("shop").len()
    }
}

/// What the pipeline has decided, and that this went well.
#[track_caller]
fn assert_ships(done: &Finished, what: &str) {
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stderr.starts_with(&format!("ship: {what}: ")), "{done:?}");
}

fn first_release(pipeline: &Pipeline) {
    let begun = pipeline.run(&format!(
        "cd repository && ./ship.sh --name shop --root '{}' -- --no-reload --run-options '{OWN_FILES}' --control '{}'",
        pipeline.directory.join("srv").display(),
        pipeline.control.display()
    ));
    assert_ships(&begun, "image");
}

fn generation(segue: &Segue) -> u64 {
    segue.status().generation()
}

#[test]
fn a_push_does_the_least_that_is_enough() {
    let test = "a_push_does_the_least_that_is_enough";
    if !needs::whole_system(test) {
        return;
    }
    let programs = ["git", "python3"].map(needs::program);
    let needed = programs.into_iter().collect::<Result<Vec<()>, String>>();
    let Some(podman) = needs::or_skip(test, needed.and_then(|_| Podman::start())) else {
        return;
    };
    let flags = ["--probation", "10ms", "--start-timeout", "60s"];
    let setup = Setup::new(Program::new("./srv/current/shop")).flags(flags);
    let pipeline = Pipeline::new(podman, &setup);
    first_release(&pipeline);
    let env = pipeline.podman.env().into_iter();
    let segue = env
        .fold(setup, |setup, (key, value)| setup.env(key, value))
        .start();
    let target = segue.target();
    version::assert_only(&segue, "hello, version 1");
    let load = Load::start(Kind::Fresh, &target, 2);

    assert_ships(
        &pipeline.push("README.md", "# A pipeline", "# The pipeline"),
        "nothing",
    );
    assert_eq!((generation(&segue), pipeline.images()), (1, 1));

    assert_ships(
        &pipeline.push("app/server.py", "VERSION = 1", "VERSION = 2"),
        "code",
    );
    version::assert_only(&segue, "hello, version 2");
    assert_eq!(
        (generation(&segue), pipeline.images()),
        (2, 1),
        "no image was built"
    );

    assert_ships(
        &pipeline.push("Containerfile", "GREETING=hello", "GREETING=welcome"),
        "image",
    );
    version::assert_only(&segue, "welcome, version 2");
    assert_eq!((generation(&segue), pipeline.images()), (3, 2));

    assert_ships(&pipeline.push("requirements.lock", "# Every", "# Each"), "image");
    assert_eq!((generation(&segue), pipeline.images()), (4, 3));

    // What is bad harms nobody, and is compared with what serves when it is mended.
    let bad = pipeline.push("app/server.py", "VERSION = 2", "VERSION = ");
    assert_eq!(bad.code, Some(1), "{bad:?}");
    version::assert_only(&segue, "welcome, version 2");
    assert_ships(
        &pipeline.push("app/server.py", "VERSION = ", "VERSION = 3"),
        "code",
    );
    version::assert_only(&segue, "welcome, version 3");

    // Image and code are one release.
    let (root, control) = (pipeline.directory.join("srv"), pipeline.control.display());
    pipeline.sh(&format!(
        "segue deploy --name shop --root '{}' --control '{control}' --rollback",
        root.display()
    ));
    version::assert_only(&segue, "welcome, version 2");
    let decided = pipeline.ship("--decide");
    assert_eq!(decided.stdout, "code\n", "{decided:?}");
    assert_ships(&pipeline.ship(""), "code");
    version::assert_only(&segue, "welcome, version 3");

    // What decides, or builds, is part of what is shipped. (`build` is not executable, and so not run.)
    pipeline.write("build", "");
    pipeline.commit();
    assert_eq!(pipeline.ship("--decide").stdout, "code\n");
    pipeline.sh("cd repository && echo 'image\tanother' >>.ship");
    pipeline.commit();
    assert_eq!(pipeline.ship("--decide").stdout, "image\n");
    // `segue deploy` keeps what serves; nothing else is left of what was built.
    assert_eq!(pipeline.podman.tags("localhost/shop"), Vec::<String>::new());

    let tally = load.stop();
    figures::say(format_args!("six ways through the pipeline: {}", tally.figures()));
    tally.assert_nothing_lost();
    segue.stop();
    assert_eq!(pipeline.podman.containers(), Vec::<String>::new());
}
