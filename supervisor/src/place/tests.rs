//! Real directories under a root of the test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use super::choice::check_name;
use super::*;

fn around(root: &Path) -> Surroundings {
    fs::create_dir_all(root.join("xdg")).expect("directory");
    Surroundings::below(root)
}

fn root() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("s")
        .tempdir()
        .expect("temporary directory")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").mode() & 0o7777
}

#[test]
fn environment_gives_the_first_absolute_path() {
    let from = |value: &'static str| {
        Surroundings::from_environment(|name| (name == "RUNTIME_DIRECTORY").then(|| value.into()), 1)
            .runtime_directory
    };
    assert_eq!(from("/run/a:/run/b"), Some(PathBuf::from("/run/a")));
    // systemd sorts them, and commands look below /run/segue.
    let sorted = "/run/redis:/run/segue/redis:/run/shop";
    assert_eq!(from(sorted), Some(PathBuf::from("/run/segue/redis")));
    assert_eq!(from("/run/segue:/run/x"), Some(PathBuf::from("/run/segue")));
    assert_eq!(from(""), None);
    assert_eq!(from("run/a"), None);
}

#[test]
fn a_user_without_runtime_directory_gets_tmp() {
    let root = root();
    let around = Surroundings {
        uid: 1234,
        ..around(root.path())
    };
    let bases: Vec<_> = around.bases().into_iter().map(|base| base.path).collect();
    assert_eq!(
        bases,
        [
            root.path().join("tmp/segue-1234"),
            root.path().join("dev/shm/segue-1234")
        ]
    );
}

#[test]
fn the_instance_directory_is_private_and_the_notify_directory_can_be_walked_to() {
    let root = root();
    let around = Surroundings {
        xdg_runtime_dir: Some(root.path().join("xdg")),
        uid: 0,
        ..around(root.path())
    };
    let place = choose("app", None, &around).expect("a place");
    assert_eq!(place.control(), root.path().join("run/segue/app/control"));
    assert_eq!(mode(&root.path().join("run/segue")), 0o755);
    assert_eq!(mode(&root.path().join("run/segue/app")), 0o700);
    let claim = place.claim(StalePolicy::Removed).expect("ours");
    assert_eq!(place.notify_directory(), root.path().join("run/segue/app.notify"));
    assert_eq!(mode(place.notify_directory()), 0o711);
    fs::remove_dir(place.notify_directory()).expect("a cleaner");
    place.keep_notify_directory().expect("made again");
    assert_eq!(mode(place.notify_directory()), 0o711);
    assert_eq!(
        place.notify_socket(8, 0, 2),
        place.notify_directory().join("8.0.2")
    );
    drop(claim);
    assert_eq!(
        fs::read_dir(root.path().join("run/segue")).expect("base").count(),
        0,
        "all is removed"
    );
}

#[test]
fn runtime_directory_and_control_come_first() {
    let root = root();
    let around = Surroundings {
        runtime_directory: Some(root.path().join("run/x")),
        ..around(root.path())
    };
    assert_eq!(
        choose("app", None, &around).expect("a place").control(),
        root.path().join("run/x/control")
    );
    let explicit = root.path().join("new/dir/ctl");
    let place = choose("app", Some(&explicit), &around).expect("a place");
    assert_eq!(
        (place.control(), place.notify_directory()),
        (&*explicit, &*root.path().join("new/dir/ctl.notify"))
    );
    let _claim = place.claim(StalePolicy::Removed).expect("ours");
    assert!(root.path().join("new/dir/ctl.lock").exists());
}

#[test]
fn directories_of_others_are_not_used() {
    let root = root();
    let mut around = Surroundings {
        uid: nix::unistd::geteuid().as_raw(),
        ..around(root.path())
    };
    around.root = root.path().join("nowhere");
    around.xdg_runtime_dir = Some(root.path().join("xdg"));
    symlink(root.path(), root.path().join("xdg/segue")).expect("symlink");
    let error = choose("app", None, &around).expect_err("a symlink").to_string();
    assert!(error.contains("xdg/segue: it is no directory"), "{error}");
    assert!(!error.contains('\n'), "{error}");

    fs::remove_file(root.path().join("xdg/segue")).expect("removed");
    fs::create_dir(root.path().join("xdg/segue")).expect("made");
    fs::set_permissions(root.path().join("xdg/segue"), fs::Permissions::from_mode(0o777)).expect("mode");
    let error = choose("app", None, &around).expect_err("writable").to_string();
    assert!(error.contains("others can write to it (mode 0777)"), "{error}");
}

#[test]
fn the_next_base_is_taken_if_one_cannot_be_used() {
    let root = root();
    let around = Surroundings {
        uid: 1,
        ..around(root.path())
    };
    fs::write(root.path().join("tmp/segue-1"), "in the way").expect("file");
    let place = choose("app", None, &around).expect("a place");
    assert_eq!(place.control(), root.path().join("dev/shm/segue-1/app/control"));
}

#[test]
fn a_name_runs_once_whatever_the_surroundings() {
    let root = root();
    let by_cron = around(root.path());
    let by_ssh = Surroundings {
        xdg_runtime_dir: Some(root.path().join("xdg")),
        ..by_cron.clone()
    };
    let private = Surroundings {
        uid: 1,
        ..by_ssh.clone()
    };
    assert_eq!(private.bases()[0].path, root.path().join("xdg/segue"));

    let in_tmp = root.path().join(format!("tmp/segue-{}", by_cron.uid));
    let first = Place::in_base("app", &in_tmp);
    fs::create_dir(&in_tmp).expect("base");
    fs::set_permissions(&in_tmp, fs::Permissions::from_mode(0o700)).expect("mode");
    let claim = first.claim(StalePolicy::Removed).expect("ours");
    let second = choose("app", None, &by_ssh).expect("a place");
    assert_eq!(second, first, "where it runs, not in $XDG_RUNTIME_DIR");
    let error = second.claim(StalePolicy::Removed).expect_err("taken").to_string();
    assert!(
        error.starts_with("instance app is already running (pid "),
        "{error}"
    );
    let other = choose("other", None, &by_ssh).expect("a place");
    assert_ne!(
        other.base.as_ref(),
        Some(&in_tmp),
        "names do not follow each other"
    );
    drop(claim);
    let third = choose("app", None, &by_ssh).expect("a place");
    assert_ne!(third, first, "one that has ended holds nobody");
}

#[test]
fn a_directory_that_is_open_to_a_group_stays_so_until_somebody_else_has_the_place() {
    let root = root();
    let around = around(root.path());
    let place = choose("app", None, &around).expect("a place");
    let own = place.own.clone().expect("made by us");
    let _claim = place.claim(StalePolicy::Removed).expect("ours");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o710)).expect("mode");
    let refused = choose("app", None, &around).expect("a place");
    assert!(refused.claim(StalePolicy::Removed).is_err());
    assert_eq!(mode(&own), 0o710);
    place.keep_private().expect("ours");
    assert_eq!(mode(&own), 0o700);
}

#[test]
fn the_successor_of_a_killed_supervisor_lies_where_that_lay() {
    let root = root();
    let by_cron = around(root.path());
    let by_ssh = Surroundings {
        xdg_runtime_dir: Some(root.path().join(format!("run/user/{}", by_cron.uid))),
        ..by_cron.clone()
    };
    let base = by_ssh.xdg_runtime_dir.clone().expect("set").join("segue");
    let killed = Place::in_base("app", &base);
    fs::create_dir_all(base.join("app")).expect("directory");
    for directory in [base.join("app"), base.clone()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("mode");
    }
    assert_ne!(
        choose("app", None, &by_cron).expect("a place"),
        killed,
        "a directory alone is no instance"
    );
    fs::write(&killed.state[1], "left").expect("state");
    assert_eq!(choose("app", None, &by_cron).expect("a place"), killed);
    assert_eq!(choose("app", None, &by_ssh).expect("a place"), killed);

    // Where one lives, none that was killed elsewhere counts.
    let in_shm = root.path().join(format!("dev/shm/segue-{}", by_cron.uid));
    let living = Place::in_base("app", &in_shm);
    fs::create_dir(&in_shm).expect("base");
    fs::set_permissions(&in_shm, fs::Permissions::from_mode(0o700)).expect("mode");
    let claim = living.claim(StalePolicy::Removed).expect("ours");
    assert_eq!(choose("app", None, &by_ssh).expect("a place"), living);
    drop(claim);

    for unsafe_one in [base.join("app"), base.clone()] {
        fs::set_permissions(&unsafe_one, fs::Permissions::from_mode(0o777)).expect("mode");
        assert_ne!(
            choose("app", None, &by_cron).expect("a place"),
            killed,
            "{}: others can write to it",
            unsafe_one.display()
        );
        fs::set_permissions(&unsafe_one, fs::Permissions::from_mode(0o700)).expect("mode");
    }
}

#[test]
fn a_name_is_unique_and_a_lock_of_the_dead_is_none() {
    let root = root();
    let around = around(root.path());
    let place = choose("app", None, &around).expect("a place");
    let first = place.claim(StalePolicy::Removed).expect("ours");
    let error = place.claim(StalePolicy::Removed).expect_err("taken").to_string();
    assert_eq!(
        error,
        format!(
            "instance app is already running (pid {}): reload it with segue reload, or start another beside it with --name",
            std::process::id()
        )
    );
    drop(first);
    fs::create_dir_all(place.lock.parent().expect("parent")).expect("directory");
    fs::write(&place.lock, "99\n").expect("left behind");
    fs::create_dir_all(place.notify_directory()).expect("directory");
    let left = UnixListener::bind(place.notify_socket(1, 0, 0)).expect("left behind");
    drop(left);
    let mut second = place.claim(StalePolicy::Removed).expect("ours again");
    assert!(second.begin_anew(Remains::Nobody).is_empty());
    assert!(!place.notify_socket(1, 0, 0).exists());
}

#[test]
fn a_generation_never_gets_the_directory_of_another_app() {
    let root = root();
    let place = choose("app", None, &around(root.path())).expect("a place");
    let begin = |remains| {
        let mut claim = place.claim(StalePolicy::Removed).expect("ours");
        let complaints = claim.begin_anew(remains);
        (claim, complaints)
    };
    let (first, _) = begin(Remains::Nobody);
    let old = first.place().make_runtime_directory(1).expect("made");
    assert_eq!(first.place().make_runtime_directory(1), Ok(old.clone()));
    drop(first);
    // As one that was killed leaves it.
    fs::create_dir_all(&old).expect("directory");
    fs::write(old.join("pid"), "1").expect("file");

    let (second, complaints) = begin(Remains::Somebody(Series::default()));
    assert!(complaints.is_empty());
    let new = second.place().make_runtime_directory(1).expect("made");
    assert!(new != old && old.join("pid").exists());
    assert_ne!(
        second.place().notify_socket(1, 0, 0),
        place.notify_socket(1, 0, 0)
    );
    // What is no directory is none to give to an app.
    let other = second.place().runtime_directory(2);
    symlink(&old, &other).expect("symlink");
    let error = second
        .place()
        .make_runtime_directory(2)
        .expect_err("a link")
        .to_string();
    assert!(error.contains("runtime.2.1: file exists"), "{error}");
    fs::remove_file(other).expect("removed");
    drop(second);
    assert!(
        !new.exists() && old.join("pid").exists(),
        "its owner was left alone"
    );

    for number in 0..10_001 {
        fs::write(old.join(number.to_string()), "").expect("file");
    }
    let (third, complaints) = begin(Remains::Nobody);
    assert!(
        complaints[0].to_string().contains("more than 10000 entries"),
        "{complaints:?}"
    );
    assert_ne!(third.place().make_runtime_directory(1), Ok(old.clone()));
    fs::remove_dir_all(&old).expect("removed");
    drop(third);
    let (fourth, complaints) = begin(Remains::Nobody);
    assert!(complaints.is_empty());
    assert_eq!(fourth.place().make_runtime_directory(1), Ok(old));
}

#[test]
fn what_is_not_ours_is_neither_removed_nor_written_over() {
    let root = root();
    let place = choose("app", None, &around(root.path())).expect("a place");
    fs::create_dir_all(place.notify_directory()).expect("directory");
    let theirs = place.notify_directory().join("data");
    fs::write(&theirs, "theirs").expect("file");
    drop(place.claim(StalePolicy::Removed).expect("ours"));
    assert!(theirs.exists());
    fs::create_dir_all(place.lock.parent().expect("parent")).expect("directory");
    fs::write(&place.lock, "not a pid\n").expect("file");
    let error = place.claim(StalePolicy::Removed).expect_err("theirs").to_string();
    let why = format!(
        "lock file {}: it is no lock file of segue: it holds no pid",
        place.lock.display()
    );
    assert_eq!(error, why);
    assert_eq!(
        fs::read_to_string(&place.lock).expect("still there"),
        "not a pid\n"
    );
}

#[test]
fn a_lock_file_is_never_a_symlink() {
    let root = root();
    let place = choose("app", None, &around(root.path())).expect("a place");
    symlink(root.path().join("elsewhere"), &place.lock).expect("symlink");
    assert!(place.claim(StalePolicy::Removed).is_err());
    assert!(!root.path().join("elsewhere").exists());
}

#[test]
fn names_and_paths_that_cannot_be() {
    let root = root();
    let around = around(root.path());
    for name in [
        "",
        ".",
        "..",
        ".x",
        "-x",
        "a/b",
        "a b",
        "a\nb",
        "größe",
        "a:b",
        "app.notify",
        &"x".repeat(65),
    ] {
        let error = check_name(name).expect_err(name).to_string();
        assert!(!error.contains('\n') && error.contains("--name"), "{error}");
    }
    for name in ["app", "app-2", "my.app", "web@eu+1", "app.notify2"] {
        assert_eq!(check_name(name), Ok(()));
    }
    let long = root.path().join("x".repeat(90));
    let error = choose("app", Some(&long), &around)
        .expect_err("too long")
        .to_string();
    assert!(error.contains("bytes, at most"), "{error}");
}

#[test]
fn commands_find_instances_everywhere_and_once() {
    let root = root();
    let mut around = Surroundings {
        xdg_runtime_dir: Some(root.path().join("xdg")),
        ..around(root.path())
    };
    let uid = around.uid;
    let mut sockets = Vec::new();
    for path in [
        "xdg/segue/one".to_owned(),
        format!("tmp/segue-{uid}/two"),
        format!("dev/shm/segue-{uid}/three"),
        format!("tmp/segue-{uid}/no"),
    ] {
        fs::create_dir_all(root.path().join(&path)).expect("directory");
        if !path.ends_with("no") {
            sockets.push(UnixListener::bind(root.path().join(&path).join("control")).expect("socket"));
        }
    }
    around.runtime_directory = Some(root.path().join("xdg/segue/one"));
    let found: Vec<_> = candidates(&around)
        .into_iter()
        .map(|candidate| candidate.directory)
        .collect();
    assert_eq!(found, ["one", "two", "three"]);
    assert!(searched(&around).contains(&root.path().join("run/segue")));

    fs::set_permissions(
        root.path().join(format!("tmp/segue-{uid}")),
        fs::Permissions::from_mode(0o777),
    )
    .expect("mode");
    let found: Vec<_> = candidates(&around)
        .into_iter()
        .map(|candidate| candidate.directory)
        .collect();
    assert_eq!(
        found,
        ["one", "three"],
        "a directory that others can write to is not believed"
    );
}
