use std::os::unix::fs::PermissionsExt as _;

use super::super::ending::Ending;
use super::*;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let store = Store::new(path.join("srv"));
        store.make_root().unwrap();
        store.make_work().unwrap();
        Self {
            _directory: directory,
            path,
            store,
        }
    }

    fn source(&self, name: &str, text: &str) -> Source {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap();
        Source { path, entry: None }
    }

    fn release(&self, name: &str) {
        fs::create_dir(self.store.release(name)).unwrap();
        fs::write(self.store.release(name).join("app"), name).unwrap();
    }

    fn point(&self, link: &str) {
        self.store.point_current_to(link.as_ref()).unwrap();
    }
}

fn never() -> Step<()> {
    Ok(())
}

fn print_of(source: &Source) -> Print {
    measure(&source.path, source.shape(), &mut never).unwrap()
}

#[test]
fn a_program_becomes_a_release() {
    let place = Place::new();
    let source = place.source("it", "#!/bin/sh\n");
    place
        .store
        .build(&source, "app", &print_of(&source), &mut never)
        .unwrap();
    place.store.seal(&mut never).unwrap();
    assert_eq!(place.store.releases(), Vec::<String>::new(), "it has no name yet");
    place.store.publish("1-a").unwrap();
    assert_eq!(place.store.releases(), ["1-a"]);
    let program = place.store.release("1-a").join("app");
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(place.store.is_unproven("1-a"));
    assert_eq!(place.store.mark("1-a"), "never served");
    place.store.prove("1-a").unwrap();
    assert!(!place.store.is_unproven("1-a"));
    assert_eq!(place.store.size("1-a", "app"), 10);
}

#[test]
fn a_source_that_changes_while_it_is_copied_is_refused() {
    let place = Place::new();
    let source = place.source("it", "#!/bin/sh\nold\n");
    let measured = print_of(&source);
    let refused = |text: &str, cause: &str| {
        fs::write(&source.path, text).unwrap();
        let error = place
            .store
            .build(&source, "app", &measured, &mut never)
            .unwrap_err();
        assert!(error.text.contains(cause), "{error:?}");
        remove_all(&place.store.draft()).unwrap();
    };
    refused("#!/bin/sh\nlonger\n", "17 bytes arrived instead of 14");
    refused("#!/bin/sh\nnew\n", "another SHA-256 arrived");
}

#[test]
fn a_tree_is_copied_with_its_links_and_readable_for_all() {
    let place = Place::new();
    let tree = place.path.join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    for (name, mode) in [("bin/run", 0o4700), ("secret", 0o600), (".unproven", 0o600)] {
        fs::write(tree.join(name), name).unwrap();
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("../victim", tree.join("shared")).unwrap();
    let source = Source {
        path: tree,
        entry: Some("bin/run".to_owned()),
    };
    let measured = print_of(&source);
    place.store.build(&source, "app", &measured, &mut never).unwrap();
    place.store.seal(&mut never).unwrap();
    let draft = place.store.draft();
    let mode = |name: &str| draft.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode("bin"), mode("bin/run"), mode("secret")),
        (0o755, 0o755, 0o644)
    );
    assert_eq!(
        fs::read_link(draft.join("shared")).unwrap(),
        Path::new("../victim")
    );
    assert_eq!(fs::read_to_string(draft.join(MARK)).unwrap(), "never served\n");
    assert_eq!(measure(&draft, Shape::Tree, &mut never).unwrap(), measured);
}

#[test]
fn an_interruption_ends_the_copying() {
    let place = Place::new();
    let source = place.source("it", "#!/bin/sh\n");
    let mut pulse = || Err(Ending::refused("enough"));
    let error = place
        .store
        .build(&source, "app", &print_of(&source), &mut pulse)
        .unwrap_err();
    assert_eq!(error.text, "enough");
}

#[test]
fn current_is_read_whatever_it_is() {
    let place = Place::new();
    assert_eq!(place.store.current().unwrap(), Current::default());
    place.release("1-a");
    let whole = place.store.release("1-a").into_os_string().into_string().unwrap();
    for (link, release) in [
        ("releases/1-a", Some("1-a")),
        (whole.as_str(), Some("1-a")),
        ("releases/2-a", None),
        ("releases/1-a/app", None),
        ("releases", None),
        ("/elsewhere/1-a", None),
    ] {
        place.point(link);
        let current = place.store.current().unwrap();
        assert_eq!(current.link.as_deref(), Some(OsStr::new(link)));
        assert_eq!(current.release.as_deref(), release, "{link}");
    }
    fs::remove_file(place.store.current_path()).unwrap();
    fs::create_dir(place.store.current_path()).unwrap();
    assert!(
        place
            .store
            .current()
            .unwrap_err()
            .ends_with("it is no symlink; move it away")
    );
}

#[test]
fn a_flip_goes_forward_and_back_and_back_once_more() {
    let place = Place::new();
    let (old, new) = (OsStr::new("releases/1-a"), OsStr::new("releases/2-a"));
    for before in [None, Some(old)] {
        place.store.make_links(new, before).unwrap();
        place.store.flip_forward().unwrap();
        assert_eq!(place.store.current().unwrap().link.as_deref(), Some(new));
        for _ in 0..2 {
            place.store.flip_back(before).unwrap();
            assert_eq!(place.store.current().unwrap().link.as_deref(), before);
        }
        place.point("releases/1-a");
    }
}

#[test]
fn the_journal_is_whole_or_not_there() {
    let place = Place::new();
    assert_eq!(place.store.journal(), None);
    let flip = Flip {
        action: "deploy".to_owned(),
        to: "releases/1-a".to_owned(),
        ..Flip::default()
    };
    place.store.write_journal(&flip).unwrap();
    assert_eq!(place.store.journal(), Some(flip));
    place.store.remove_journal().unwrap();
    place.store.remove_journal().unwrap();
    assert_eq!(place.store.journal(), None);
}

/// The app may write into its own release.
#[test]
fn a_mark_is_neither_read_nor_written_through_a_link() {
    let place = Place::new();
    place.release("1-a");
    let victim = place.path.join("victim");
    fs::write(&victim, "untouched\n").unwrap();
    symlink(&victim, place.store.release("1-a").join(MARK)).unwrap();
    assert!(place.store.is_unproven("1-a"));
    assert_eq!(place.store.mark("1-a"), "");
    place.store.write_mark("1-a", "it fell\nand more").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched\n");
    assert_eq!(place.store.mark("1-a"), "it fell and more");
}

#[test]
fn what_is_half_made_or_half_removed_goes() {
    let place = Place::new();
    place.release("1-a");
    place.release("2-a");
    for name in [".new", ".gone"] {
        place.release(name);
    }
    place.store.remove("2-a").unwrap();
    place.store.clear().unwrap();
    place.store.clear().unwrap();
    let names = fs::read_dir(place.store.releases_directory()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["1-a"]);
    let error = place.store.remove("3-a").unwrap_err();
    assert_eq!(error, "remove release 3-a: no such file or directory");
}

#[test]
fn only_directories_with_the_name_of_a_release_are_releases() {
    let place = Place::new();
    for name in ["1-a", "3-a", "2-a", ".hidden", "notes"] {
        place.release(name);
    }
    fs::write(place.store.release("4-a"), "").unwrap();
    symlink("1-a", place.store.release("5-a")).unwrap();
    assert_eq!(place.store.releases(), ["3-a", "2-a", "1-a"]);
    assert!(place.store.has("1-a") && !place.store.has("4-a") && !place.store.has("5-a"));
}

/// A service may have started what `current` led to while no deploy looked.
#[test]
fn a_release_that_nobody_has_seen_is_one_to_go_back_to() {
    let place = Place::new();
    for (name, mark) in [
        ("1-a", plan::NOT_SEEN),
        ("2-a", plan::NEVER_SERVED),
        ("3-a", "exited with status 1"),
        ("4-a", plan::ROLLED_BACK),
    ] {
        place.release(name);
        place.store.write_mark(name, mark).unwrap();
    }
    place.release("5-a");
    assert_eq!(place.store.previous(Some("5-a")).as_deref(), Some("1-a"));
}

/// The app may put anything in the place of what we read: a FIFO, a file without end.
#[test]
fn a_mark_is_read_whatever_has_become_of_it() {
    let place = Place::new();
    place.release("1-a");
    let mark = place.store.release("1-a").join(MARK);
    nix::unistd::mkfifo(&mark, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(place.store.mark("1-a"), "");
    assert!(place.store.is_bad("1-a"));
    fs::remove_file(&mark).unwrap();
    let file = fs::File::create(&mark).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(place.store.mark("1-a").len() as u64, MARK_MAX);
}
