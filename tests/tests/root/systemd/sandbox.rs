//! The sandbox of the units.

use std::path::Path;

use segue_tests::figures::say;
use segue_tests::http::get_and_close;
use segue_tests::machine::Machine;

use super::site::{Site, copy};

/// The highest exposure that `systemd-analyze security` may find in each service, out of 10.
const MOST_EXPOSURE: [(&str, f64); 5] = [
    ("segue@verified.service", 1.3),
    ("app.service", 1.3),
    ("segue-cleanup@segue@verified.service", 0.8),
    ("segue-recheck@segue@verified.service", 0.8),
    ("segue-tmp@segue@verified.service", 0.8),
];

/// Every unit of `systemd/`, as an instance if it is a template.
const UNITS: [(&str, &str); 7] = [
    ("segue@.service", "segue@verified.service"),
    ("segue@.socket", "segue@verified.socket"),
    ("segue-cleanup@.service", "segue-cleanup@segue@verified.service"),
    ("segue-recheck@.service", "segue-recheck@segue@verified.service"),
    ("segue-tmp@.service", "segue-tmp@segue@verified.service"),
    ("example/app.service", "app.service"),
    ("example/app.socket", "app.socket"),
];

fn install(machine: &Machine) {
    for (file, _) in UNITS {
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        copy(machine, file, &format!("/etc/systemd/system/{name}"));
    }
    machine.ok(&["systemctl", "daemon-reload"]);
}

pub(crate) fn units_are_clean(machine: &Machine) {
    install(machine);
    for (_, unit) in UNITS {
        // The manual pages are not installed in here.
        let done = machine.run(&["systemd-analyze", "verify", "--man=no", unit]);
        assert_eq!(
            (done.code, done.stdout.as_str(), done.stderr.as_str()),
            (Some(0), "", ""),
            "{unit}"
        );
    }
    // Segue's own look at it: with its own defaults every time limit fits.
    let fits = machine.ok(&[
        "segue",
        "check",
        "--unit",
        "segue@verified.service",
        "/usr/bin/app",
    ]);
    assert!(fits.ends_with("ok\n") && !fits.contains("unit"), "{fits}");
    // The instrument: a line that is wrong is found.
    machine.write(
        "/etc/systemd/system/wrong.service",
        "[Service]\nExecStart=/usr/bin/segue\nProtectEverything=yes\n",
    );
    let done = machine.run(&["systemd-analyze", "verify", "--man=no", "wrong.service"]);
    assert!(done.stderr.contains("ProtectEverything"), "{done:?}");
}

pub(crate) fn the_score(machine: &Machine) {
    install(machine);
    for (unit, most) in MOST_EXPOSURE {
        let text = machine
            .run(&["systemd-analyze", "security", "--no-pager", unit])
            .stdout;
        let line = text
            .lines()
            .find(|line| line.contains("Overall exposure level"))
            .unwrap_or_else(|| panic!("{text}"));
        let score: f64 = line
            .split(':')
            .nth(1)
            .and_then(|end| end.split_whitespace().next())
            .unwrap()
            .parse()
            .unwrap();
        say(format_args!(
            "systemd {}, {unit}: exposure {score} of 10",
            machine.version()
        ));
        assert!(score <= most, "{text}");
    }
}

pub(crate) fn what_the_app_can_do(machine: &Machine) {
    let site = Site::new(machine, "boxed", "fixture good");
    site.systemctl_ok("start");
    for generation in 1..=2 {
        let pid = site.status().pids(generation)[0];
        let status = machine.ok(&["cat", &format!("/proc/{pid}/status")]);
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(&format!("{name}:")));
            line.and_then(|line| line.split_whitespace().nth(1))
                .unwrap()
                .to_owned()
        };
        assert_ne!(field("Uid"), "0");
        for capabilities in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(
            (field("NoNewPrivs"), field("Seccomp")),
            ("1".to_owned(), "2".to_owned())
        );
        let mut client = site.target().connect().unwrap();
        let birth = client.ask(&get_and_close("/birth")).unwrap().text();
        let state = format!("\"STATE_DIRECTORY\":\"/var/lib/segue/{}\"", site.name);
        assert!(birth.replace("\": \"", "\":\"").contains(&state), "{birth}");
        site.systemctl_ok("reload");
    }
}
