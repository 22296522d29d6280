//! Code deploys into a volume, without a new image and without a restart of the container.

use segue_tests::engine::{Container, DEBIAN, Engine, STATIC, Way};
use segue_tests::figures;
use segue_tests::load::{Kind, Load};
use segue_tests::version;

use super::{WARY, message, stop, wait_for_message};
use crate::container::volume::{self, Volume};

/// How many versions are deployed under load.
fn deploys() -> u64 {
    figures::scale(5, 50)
}

fn start<'e>(engine: &'e Engine, name: &str, volume: &Volume) -> Container<'e> {
    volume.deploy(&volume::serves("version 1"));
    engine
        .container(name)
        .options(volume.mount().iter().map(String::as_str))
        .start(DEBIAN, &[])
}

/// Deploys version after version under every kind of load, through proxy and packet filter.
fn under_load(engine: &Engine, name: &str, reload: fn(&Container<'_>, u64)) {
    let volume = Volume::new(engine, name);
    let container = start(engine, name, &volume);
    let lives = container.lives();
    let mut loads = Vec::new();
    for way in [Way::Proxy, Way::Filter] {
        for kind in Kind::ALL {
            loads.push((way, kind, Load::start(kind, &container.target(way), 1)));
        }
    }
    let last = deploys() + 1;
    for version in 2..=last {
        volume.deploy(&volume::serves(&format!("version {version}")));
        reload(&container, version);
        for way in [Way::Proxy, Way::Filter] {
            wait_for_message(&container, way, &format!("version {version}"));
        }
    }
    container.wait_until("no older generation is left", |status| {
        status.in_role("retired").is_empty()
    });
    for way in [Way::Proxy, Way::Filter] {
        version::assert_no_other(&container.target(way), &format!("version {last}"));
    }
    for (way, kind, load) in loads {
        load.wait_for_generation(last);
        let tally = load.stop();
        figures::say(format_args!(
            "container, {name}, {way:?}, {kind:?}: {} deploys: {}",
            deploys(),
            tally.figures()
        ));
        tally.assert_nothing_lost();
    }
    assert_eq!(container.lives(), lives, "the container was restarted");
    stop(&container);
}

pub(super) fn by_exec(engine: &Engine) {
    under_load(engine, "by-exec", |container, version| {
        let said = container.exec_ok(&["segue", "reload"]);
        assert!(
            said.starts_with(&format!("reload ok: generation {version} serves ")),
            "{said}"
        );
    });
}

pub(super) fn by_hup(engine: &Engine) {
    under_load(engine, "by-hup", |container, version| {
        container.docker_ok(&["kill", "--signal=HUP"]);
        container.wait_until("the new version serves", |status| {
            status.state() == "serving" && status.generation() == version
        });
    });
}

/// The negative control: the same load sees what a restart of the container does.
pub(super) fn restart_is_seen(engine: &Engine) {
    let volume = Volume::new(engine, "restart");
    let container = start(engine, "restart", &volume);
    let lives = container.lives();
    let loads = [Way::Proxy, Way::Filter].map(|way| Load::start(Kind::Fresh, &container.target(way), 2));
    volume.deploy(&volume::serves("version 2"));
    container.docker_ok(&["restart"]);
    for load in loads {
        load.wait_for_loss();
        load.stop().assert_detector_fired();
    }
    assert_ne!(container.lives(), lives);
}

pub(super) fn bad_version(engine: &Engine) {
    let volume = Volume::new(engine, "bad");
    let container = start(engine, "bad", &volume);
    let lives = container.lives();
    let load = Load::start(Kind::KeepAlive, &container.target(Way::Filter), 2);
    volume.deploy("echo 'cannot reach the database' >&2; exit 3");
    let failed = container.exec(&["segue", "reload"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let reason = "segue: reload failed: generation 2: exited with status 3 after ";
    assert!(failed.stderr.starts_with(reason), "{}", failed.stderr);
    assert!(failed.stderr.contains("generation 1 serves"), "{}", failed.stderr);
    assert_eq!(message(&container, Way::Proxy), "version 1");
    // The same by HUP: nobody is told but the log, and the container lives on.
    container.docker_ok(&["kill", "--signal=HUP"]);
    container.wait_for_log("generation 3: exited with status 3");
    load.wait_for_more(10);
    let tally = load.stop();
    tally.assert_nothing_lost();
    assert_eq!(tally.by_generation.keys().collect::<Vec<_>>(), ["1"]);
    assert_eq!(container.lives(), lives);
    stop(&container);
}

/// Without a shell, a writable file, a capability or a known user.
pub(super) fn static_image(engine: &Engine) {
    let volume = Volume::new(engine, "static-volume");
    volume.deploy_binary();
    let container = engine
        .container("static-volume")
        .options(WARY.iter().copied())
        .options(volume.mount().iter().map(String::as_str))
        .start(STATIC, &[]);
    let load = Load::start(Kind::KeepAlive, &container.target(Way::Filter), 2);
    volume.deploy_binary();
    container.exec_ok(&["segue", "reload"]);
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    let status = container.exec_ok(&["segue", "status", "--json"]);
    assert!(status.contains("\"/srv/app/releases/1/app\""), "{status}");
    stop(&container);
}

/// Why the directory is mounted and not what lies in it: the engine follows a symlink when the container starts, and never
/// again. The reload is well; it runs what the container sees.
pub(super) fn mounted_symlink(engine: &Engine) {
    for (name, inside) in [("current", "/srv/site"), ("current/app", "/srv/site/app")] {
        let volume = Volume::new(engine, &format!("symlink-{}", name.len()));
        volume.deploy(&volume::serves("version 1"));
        let mount = format!("--volume={}:{inside}:ro", volume.path(name).display());
        let container = engine
            .container(&format!("symlink-{}", name.len()))
            .options(volume.mount().iter().map(String::as_str))
            .options([mount.as_str()])
            .start(DEBIAN, &["--", "/srv/site/app"]);
        volume.deploy(&volume::serves("version 2"));
        container.exec_ok(&["segue", "reload"]);
        assert_eq!(message(&container, Way::Proxy), "version 1");
    }
}
