//! `deploy.sh` under the template unit.

use segue_tests::machine::Machine;
use segue_tests::process::Finished;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// A probation so short that nobody has to wait for its end, and a start that may wait for the test on any machine.
const SETTINGS: &str = "probation = \"10ms\"\nstart-timeout = \"5m\"\n";

struct Deploys<'a> {
    machine: &'a Machine,
    site: Site<'a>,
}

impl<'a> Deploys<'a> {
    fn start(machine: &'a Machine, name: &str) -> Self {
        let site = Site::new(machine, name, "app --message first");
        site.settings(SETTINGS);
        site.systemctl_ok("start");
        Self { machine, site }
    }

    /// Writes a new version somewhere outside of the releases.
    fn version(&self, command: &str) -> String {
        let path = format!("/root/{}/{}", command.replace([' ', '/'], "-"), self.site.name);
        self.machine.write(&path, &format!("#!/bin/sh\nexec {command}\n"));
        path
    }

    fn words(&self, args: &[&str]) -> Vec<String> {
        let fixed = ["deploy.sh", "--name", &self.site.name].map(str::to_owned);
        fixed
            .into_iter()
            .chain(args.iter().map(|arg| (*arg).to_owned()))
            .collect()
    }

    fn run(&self, args: &[&str]) -> Finished {
        let words = self.words(args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.machine.run(&words)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) {
        let done = self.run(args);
        assert_eq!(done.code, Some(0), "{done:?}\n{}", self.site.journal());
        // The last line names what serves; beside it nothing is printed but deploy's own words and segue's.
        let current = self.current();
        let serves = format!(
            "{}: {} serves since ",
            self.site.name,
            current.trim().trim_start_matches("releases/")
        );
        assert!(done.stdout.starts_with(&serves), "{serves}\n{done:?}");
        let foreign = done
            .stderr
            .lines()
            .find(|line| !line.starts_with("deploy: ") && !line.starts_with("  "));
        assert_eq!(foreign, None);
    }

    fn current(&self) -> String {
        self.machine
            .ok(&["readlink", &format!("/srv/{}/current", self.site.name)])
    }
}

pub(crate) fn ends_with_the_new_version_or_changes_nothing(machine: &Machine) {
    let deploys = Deploys::start(machine, "shipped");
    let site = &deploys.site;
    let loads = start_loads(site);

    deploys.ok(&["/usr/bin/app"]);
    deploys.ok(&[&deploys.version("app --message second")]);
    site.wait_for_message("second");
    let second = deploys.current();

    let done = deploys.run(&[&deploys.version("fixture status-then-dies text=no-database status=9")]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("exited with status 9") && done.stderr.contains("no-database"),
        "{done:?}"
    );
    assert_eq!(deploys.current(), second);
    site.wait_for_message("second");
    site.wait_for_property("ActiveState", "active");

    deploys.ok(&[&deploys.version("app --message third")]);
    site.wait_for_message("third");
    deploys.ok(&["--rollback"]);
    assert_eq!(deploys.current(), second);
    site.wait_for_message("second");
    assert_nothing_lost(machine, "3 deploys, one of them bad, and a rollback", loads);
}

pub(crate) fn takes_back_what_dies_after_its_takeover(machine: &Machine) {
    let deploys = Deploys::start(machine, "shortlived");
    deploys.ok(&[&deploys.version("app --message second")]);
    let second = deploys.current();
    // However slow the machine is, the next one dies on probation.
    deploys.site.settings("probation = \"1h\"\n");
    let done = deploys.run(&[&deploys
        .version("fixture ready-then-dies once=serving control=/run/segue/shortlived/control after=20ms")]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(deploys.current(), second);
    deploys.site.wait_for_message("second");
    deploys.site.wait_for_property("ActiveState", "active");
    assert_eq!(deploys.site.property("NRestarts"), "0");
}

pub(crate) fn one_at_a_time(machine: &Machine) {
    let deploys = Deploys::start(machine, "crowded");
    let loads = start_loads(&deploys.site);
    let slow = deploys.version("fixture slow-start file=/srv/crowded/go message=slow");
    let words = deploys.words(&[&slow]);
    let first = machine.begin(&words.iter().map(String::as_str).collect::<Vec<_>>());
    first.wait_for_line("reload");
    let other = deploys.version("app --message other");
    let refused = deploys.run(&[&other]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("another deploy is under way"),
        "{refused:?}"
    );
    let words = deploys.words(&["--wait", &other]);
    let waiting = machine.begin(&words.iter().map(String::as_str).collect::<Vec<_>>());
    waiting.wait_for_line("deploy: waiting for another deploy: pid ");
    machine.write("/srv/crowded/go", "");
    let waited = waiting.finish();
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert_eq!(first.finish().code, Some(0));
    deploys.site.wait_for_message("other");
    assert_nothing_lost(machine, "deploys at the same time", loads);
}

pub(crate) fn interrupted_is_resolved_by_the_next(machine: &Machine) {
    let deploys = Deploys::start(machine, "cut");
    let loads = start_loads(&deploys.site);
    let words = deploys.words(&[&deploys.version("fixture slow-start file=/srv/cut/go message=slow")]);
    let script = format!("echo $$ >/run/deploy.pid; exec {}", words.join(" "));
    let cut = machine.begin(&["sh", "-c", &script]);
    deploys
        .site
        .wait_until("the handoff has begun", |status| status.state() == "handing-off");
    machine.ok(&["sh", "-c", "kill -KILL $(cat /run/deploy.pid)"]);
    assert_ne!(cut.wait_for_exit().code(), Some(0));
    machine.write("/srv/cut/go", "");
    deploys.ok(&[&deploys.version("app --message whole")]);
    deploys.site.wait_for_message("whole");
    assert_nothing_lost(machine, "a deploy killed with kill -9, and the next", loads);
}
