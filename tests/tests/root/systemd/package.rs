//! The Debian package in the hands of dpkg, on the Debian of this machine and on Debian 13: installed, upgraded under load,
//! removed, installed again, purged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::http::post;
use segue_tests::machine::{Below, Machine};
use segue_tests::needs::{self, or_skip};
use segue_tests::process::Process;
use segue_tests::segue::directory;

use super::reload::{assert_nothing_lost, start_loads};
use super::site::Site;

/// The script that builds it, beside this package.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/deb.sh");

/// Builds the package of this Debian revision around the binaries under test.
fn build(out: &Path, revision: u32) -> PathBuf {
    let binaries = Binary::Segue.path();
    let mut command = Command::new(SCRIPT);
    command
        .env("REVISION", revision.to_string())
        .env("DPKG_DEB_COMPRESSOR_TYPE", "none")
        .env("NEWEST_GLIBC", "9")
        .arg(binaries.parent().unwrap())
        .arg(out);
    let done = Process::start(&mut command).finish();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    PathBuf::from(done.stdout.trim_end())
}

/// A package whose `segue` answers clients and takes over from nobody.
fn build_refused(out: &Path) -> PathBuf {
    let good = build(out, 3);
    let tree = out.join("tree");
    let run = |command: &mut Command| {
        let done = Process::start(command).finish();
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(&good)
        .arg(&tree));
    let (binary, aside) = (tree.join("usr/bin/segue"), tree.join("usr/bin/segue-real"));
    std::fs::rename(&binary, aside).unwrap();
    let script =
        "#!/bin/sh\ncase $1 in\n--version | status | upgrade) exec segue-real \"$@\" ;;\nesac\nexit 9\n";
    std::fs::write(&binary, script).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = out.join("refused.deb");
    run(Command::new("dpkg-deb")
        .args(["-Znone", "--root-owner-group", "--build"])
        .arg(&tree)
        .arg(&refused));
    refused
}

/// What dpkg says. It has to succeed.
#[track_caller]
fn dpkg(machine: &Machine, action: &str, what: &str) -> String {
    // Indexes of manual pages and the like are built by other packages' triggers, and by nobody here.
    let done = machine.run(&["dpkg", "--no-triggers", action, what]);
    assert_eq!(done.code, Some(0), "dpkg {action} {what}: {done:?}");
    done.stdout + &done.stderr
}

/// What a supervisor executes.
#[track_caller]
fn executes(machine: &Machine, pid: &str) -> String {
    machine
        .ok(&["readlink", &format!("/proc/{pid}/exe")])
        .trim_end()
        .to_owned()
}

fn exists(machine: &Machine, path: &str) -> bool {
    // Not followed: a link may lead to what has gone.
    machine.path(path).symlink_metadata().is_ok()
}

/// A supervisor that no unit started.
fn by_hand(machine: &Machine, binary: &str, name: &str) -> (Process, String) {
    let process = machine.begin(&[binary, "run", "--name", name, "--listen", "0", "--", "app"]);
    process.wait_for_line("generation 1 serves");
    let status = machine.ok(&["segue", "status", "--flat", "--name", name]);
    let pid = status.lines().find_map(|line| line.strip_prefix("pid="));
    (process, pid.unwrap().to_owned())
}

fn install(machine: &Machine, package: &str) {
    dpkg(machine, "--install", package);
    assert_eq!(machine.ok(&["dpkg", "--verify", "segue"]), "");
    for command in [
        ["segue", "--version"],
        ["segue-poll", "--help"],
        ["segue-deploy", "--help"],
    ] {
        machine.ok(&command);
    }
    machine.ok(&[
        "systemd-analyze",
        "verify",
        "--man=no",
        "segue@x.service",
        "segue@x.socket",
    ]);
    // Nothing was started, nothing will be at the next boot.
    let units = ["systemctl", "list-units", "--all", "--no-legend", "segue*"];
    assert_eq!(machine.ok(&units), "");
    let enabled = machine.ok(&["find", "/etc/systemd/system", "-name", "segue*"]);
    assert_eq!(enabled, "");
}

fn upgrade(machine: &Machine, site: &Site<'_>, [second, refused]: [&str; 2]) {
    let (pid, worker) = (site.main_pid(), site.status().pids(1));
    let (_hand, hand) = by_hand(machine, "segue", "hand");
    machine.ok(&["cp", "/usr/bin/segue", "/usr/local/bin/own"]);
    let (_own, own) = by_hand(machine, "own", "own");
    let loads = start_loads(site);

    let said = dpkg(machine, "--install", second);
    for pid in [&pid, &hand] {
        let told = said
            .lines()
            .any(|line| line.contains(&format!("pid {pid}, generation 1 serves")));
        assert!(told, "{said}\n{}", site.journal());
        assert_eq!(executes(machine, pid), "/usr/bin/segue", "{said}");
    }
    // Who runs another binary has nothing to do with the package.
    assert!(!said.contains(&format!("pid {own},")), "{said}");
    assert_eq!(executes(machine, &own), "/usr/local/bin/own");
    assert_eq!(site.status().pids(1), worker);
    site.release("app --message second");
    site.systemctl_ok("reload");
    loads.iter().for_each(|(_, load)| load.wait_for_generation(2));

    // One that cannot take over harms nobody, and dpkg is content.
    let said = dpkg(machine, "--install", refused);
    assert!(
        said.contains("packaged serves on under the supervisor that it had"),
        "{said}"
    );
    assert_eq!(executes(machine, &pid), "/usr/bin/segue (deleted)");
    dpkg(machine, "--install", second);
    assert_eq!(executes(machine, &pid), "/usr/bin/segue");
    site.systemctl_ok("reload");
    assert_nothing_lost(machine, "3 upgrades of the package, 2 reloads", loads);
    assert_eq!(
        [site.main_pid(), site.property("NRestarts")],
        [pid, "0".to_owned()]
    );

    // Their commands are asked by name, since several run.
    for name in ["hand", "own"] {
        machine.ok(&["segue", "stop", "--name", name]);
    }
}

/// What a user has written, or an app.
const THEIRS: [&str; 4] = [
    "/etc/segue/packaged.toml",
    "/etc/systemd/system/segue@packaged.socket.d",
    "/srv/packaged/current",
    "/var/lib/segue/packaged",
];

/// What says that it is started at boot.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/segue@packaged.service";

fn remove(machine: &Machine, site: &Site<'_>) {
    machine.ok(&["systemctl", "enable", &site.unit]);
    let mut client = site.target().connect().unwrap();
    // It is in the app until the test sends the rest, however slow the machine is.
    let request = post("/echo", b"to be continued");
    let (first, rest) = request.split_at(request.len() - 5);
    client.write(first).unwrap();
    site.wait_until("the app has the connection", |status| {
        let generations = status.0["generations"].as_array().unwrap();
        generations
            .iter()
            .any(|one| one["workers"][0]["connections"].as_u64() == Some(1))
    });
    let removal = machine.begin(&["dpkg", "--no-triggers", "--remove", "segue"]);
    machine.wait_for_property(&site.unit, "ActiveState", |state| state == "deactivating");
    client.write(rest).unwrap();
    assert_eq!(client.response().unwrap().status, 200);
    let done = removal.finish();
    assert_eq!(done.code, Some(0), "{done:?}");
    let said = done.stdout + &done.stderr;
    assert!(said.contains("stopping") && said.contains(&site.unit), "{said}");
    assert!(site.target().connect().is_err());
    for path in [
        "/usr/bin/segue",
        "/usr/bin/segue-poll",
        "/usr/lib/systemd/system/segue@.service",
    ] {
        assert!(!exists(machine, path), "{path}");
    }
    for path in THEIRS.iter().chain([&ENABLED]) {
        assert!(exists(machine, path), "{path}");
    }
}

fn play(test: &str, below: Below) {
    if !needs::whole_system(test) {
        return;
    }
    let tools = ["dpkg-deb", "readelf"].into_iter().try_for_each(needs::program);
    let Some(machine) = or_skip(test, tools.and_then(|()| Machine::boot(below))) else {
        return;
    };
    let built = directory();
    let packages = [
        build(built.path(), 1),
        build(built.path(), 2),
        build_refused(built.path()),
    ];
    let [first, second, refused] = ["/root/1.deb", "/root/2.deb", "/root/3.deb"];
    for (package, path) in packages.iter().zip([first, second, refused]) {
        machine.install(package, path);
    }
    for binary in [Binary::App, Binary::Fixture] {
        let path = binary.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        machine.install(&path, &format!("/usr/local/bin/{name}"));
    }
    machine.in_its_network(|| {
        install(&machine, first);
        let site = Site::new(&machine, "packaged", "app --message first");
        site.systemctl_ok("start");
        upgrade(&machine, &site, [second, refused]);
        remove(&machine, &site);
        // As if it had never been away.
        dpkg(&machine, "--install", first);
        site.systemctl_ok("start");
        assert!(site.ping().contains("second"));
        drop(site);
        let files = machine.ok(&["dpkg", "--listfiles", "segue"]);
        dpkg(&machine, "--purge", "segue");
        for file in files
            .lines()
            .filter(|file| file.contains("segue") && *file != "/etc/segue")
        {
            assert!(!exists(&machine, file), "{file}");
        }
        assert!(!exists(&machine, ENABLED));
        for path in THEIRS {
            assert!(exists(&machine, path), "{path}");
        }
    });
}

#[test]
fn the_package_on_the_debian_of_this_machine() {
    play("the_package_on_the_debian_of_this_machine", Below::Host);
}

#[test]
fn the_package_on_debian_13() {
    play("the_package_on_debian_13", Below::Trixie);
}
