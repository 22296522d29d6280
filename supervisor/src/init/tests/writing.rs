//! Where files are written, and what is said then.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_segue_that_a_unit_may_not_run_is_named() {
    for path in [
        "/tmp/segue",
        "/var/tmp/a/segue",
        "/home/user/segue",
        "/root/segue",
        "/run/user/1000/segue",
    ] {
        let why = unreachable(path).unwrap_or_default();
        assert!(why.contains(path) && why.contains("203/EXEC"), "{path}: {why}");
    }
    for path in [
        "/usr/bin/segue",
        "/opt/home/segue",
        "/tmpfs/segue",
        "/usr/local/bin/segue",
    ] {
        assert_eq!(unreachable(path), None, "{path}");
    }
    // Another file system has one of its own.
    let told = Site::of(PLAIN).0;
    let told = unit("shop", told.path(), Path::new("/tmp/segue"), Act::Write).unwrap();
    assert!(
        !told.notes.iter().any(|note| note.contains("203/EXEC")),
        "{told:?}"
    );
}

#[test]
fn nothing_is_written_outside_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    for directory in ["etc", "etc/segue", "etc/systemd/system/shop.service.d"] {
        for target in [outside.path().to_owned(), outside.path().join("none")] {
            let site = Site::of(PLAIN);
            let link = site.0.path().join(directory);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&target, &link).unwrap();
            let refused = site.init("shop", Act::Write).unwrap_err();
            assert!(refused[0].starts_with("write "), "{directory}: {refused:?}");
            let left: Vec<_> = fs::read_dir(outside.path()).unwrap().collect();
            assert!(left.is_empty(), "{directory}: {left:?}");
            assert!(!site.0.path().join("etc/segue/shop.toml").exists(), "{directory}");
        }
    }
    // One that stays within is followed, and the root itself may be reached by one.
    let site = Site::of(PLAIN);
    fs::create_dir_all(site.0.path().join("usr/etc")).unwrap();
    symlink("usr/etc", site.0.path().join("etc")).unwrap();
    let root = outside.path().join("root");
    symlink(site.0.path(), &root).unwrap();
    unit("shop", &root, Path::new("/opt/segue"), Act::Write).unwrap();
    assert!(site.get("usr/etc/segue/shop.toml").contains("command = "));
}

/// By the rules of the new ones the app would get a signal that is not its own, and its other processes none.
#[test]
fn the_service_is_stopped_before_the_new_units_are_read() {
    let text = next("shop.service", "/etc/segue/shop.toml");
    let lines: Vec<&str> = text.lines().collect();
    for line in [lines[0], lines[2]] {
        let at = |what: &str| line.find(what).unwrap();
        assert!(
            at("systemctl stop shop.service") < at("systemctl daemon-reload"),
            "{line}"
        );
        assert!(
            at("systemctl daemon-reload") < at("systemctl restart shop.service"),
            "{line}"
        );
    }
}
