use super::*;

/// A directory with files, and what is seen in it.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|name| tree.write(name, ""));
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn look(&self, root: &str, ignore: &[&str], ours: &[&str]) -> Seen {
        let ignore: Vec<String> = ignore.iter().map(|glob| (*glob).to_owned()).collect();
        let ours: Vec<PathBuf> = ours.iter().map(|name| self.path(name)).collect();
        let subject = Subject::new(vec![self.path(root)], &ignore, &ours).unwrap();
        subject.look()
    }

    /// The names of the files that count, in their order.
    fn names(&self, root: &str, ignore: &[&str], ours: &[&str]) -> Vec<String> {
        let seen = self.look(root, ignore, ours);
        let names = seen.files.keys().map(|path| path.strip_prefix(self.0.path()));
        names.map(|name| name.unwrap().display().to_string()).collect()
    }

    /// The names of the files that are not what they were after `act`.
    fn changed_by(&self, root: &str, act: impl FnOnce()) -> Vec<String> {
        let before = self.look(root, &[], &[]);
        act();
        let changed = self.look(root, &[], &[]).changes_since(&before);
        let names = changed.files.iter().map(|path| path.strip_prefix(self.0.path()));
        names.map(|name| name.unwrap().display().to_string()).collect()
    }
}

#[test]
fn what_gitignore_names_does_not_count_nor_does_what_is_no_source() {
    let tree = Tree::new(&[
        "a.rs",
        ".env",
        "b/c.rs",
        "b/d.log",
        "b/keep.log",
        "out/x",
        ".git/index",
        "node_modules/x/y.js",
        ".a.rs.swp",
        "a.rs~",
        ".#a.rs",
        "#a.rs#",
        "b/__pycache__/c.pyc",
        "cache/CACHEDIR.TAG",
        "cache/debug/app",
    ]);
    tree.write(".gitignore", "*.log\n/out/\n");
    tree.write("b/.gitignore", "!keep.log\n");
    let names = tree.names("", &[], &[]);
    assert_eq!(
        names,
        [
            ".env",
            ".gitignore",
            "a.rs",
            "b/.gitignore",
            "b/c.rs",
            "b/keep.log"
        ]
    );
}

#[test]
fn globs_leave_out_more_and_let_back_in_what_is_left_out_by_habit() {
    let tree = Tree::new(&["a.rs", "a.tmp", "up/a.rs", "b/up/a.rs", "node_modules/a.js"]);
    let names = tree.names("", &["*.tmp", "/up", "!node_modules"], &[]);
    assert_eq!(names, ["a.rs", "b/up/a.rs", "node_modules/a.js"]);
    assert!(Subject::new(Vec::new(), &["{a".to_owned()], &[]).is_err());
}

#[test]
fn files_of_our_own_do_not_count_whatever_path_leads_to_them() {
    let tree = Tree::new(&[
        "real/app.pid",
        "real/app.pid.4711",
        "real/app.pid.rs",
        "real/control.notify/1.0",
    ]);
    std::os::unix::fs::symlink("real", tree.path("link")).unwrap();
    let ours = ["link/app.pid", "link/control.notify"];
    assert_eq!(tree.names("real", &[], &ours), ["real/app.pid.rs"]);
}

#[test]
fn a_path_that_is_asked_for_counts_even_where_gitignore_names_it() {
    let tree = Tree::new(&["dist/app.js"]);
    for line in ["dist", "/dist/", "/dist/*", "*.js"] {
        tree.write(".gitignore", line);
        assert_eq!(tree.names("dist", &[], &[]), ["dist/app.js"], "{line}");
        assert_eq!(tree.names("dist/app.js", &[], &[]), ["dist/app.js"], "{line}");
    }
}

#[test]
fn a_link_that_is_turned_has_changed_with_all_that_is_behind_it() {
    let tree = Tree::new(&["one/a", "two/a"]);
    let turn = |to: &str| {
        std::os::unix::fs::symlink(to, tree.path("next")).unwrap();
        fs::rename(tree.path("next"), tree.path("current")).unwrap();
    };
    turn("one");
    assert_eq!(tree.changed_by("current", || turn("two")), ["current/a"]);
    assert_eq!(tree.changed_by("current/a", || turn("one")), ["current/a"]);
    assert_eq!(tree.changed_by("", || turn("two")), ["current"]);
    let below = tree.changed_by("", || tree.write("two/b", ""));
    assert_eq!(below, ["two/b"], "the link leads where it did");
}

#[test]
fn the_way_to_a_path_is_watched_as_far_as_there_is_one() {
    let tree = Tree::new(&["real/deep/a"]);
    std::os::unix::fs::symlink("real", tree.path("link")).unwrap();
    let top = fs::canonicalize(tree.path("")).unwrap();
    let directories = tree.look("link/deep/a", &[], &[]).directories;
    let names = |path: &Path| match directories.get(path) {
        Some(Names::These(names)) => names.iter().map(|name| name.display().to_string()).collect(),
        Some(Names::All) => vec!["*".to_owned()],
        None => Vec::new(),
    };
    assert_eq!(names(&top), ["link", "real"]);
    assert_eq!(names(&top.join("real")), ["deep"]);
    assert_eq!(names(&top.join("real/deep")), ["a"]);
    let directories = tree.look("not/there", &[], &[]).directories;
    assert_eq!(
        directories.get(&top),
        Some(&Names::These(BTreeSet::from(["not".into()])))
    );
    std::os::unix::fs::symlink("circle", tree.path("circle")).unwrap();
    assert!(tree.look("circle", &[], &[]).files.is_empty(), "and it ends");
}

#[test]
fn a_file_is_changed_by_its_content_and_new_or_gone_in_its_directory() {
    let tree = Tree::new(&["src/a"]);
    let places = |act: &dyn Fn()| {
        let before = tree.look("src", &[], &[]);
        act();
        let changed = tree.look("src", &[], &[]).changes_since(&before);
        changed.places.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(places(&|| tree.write("src/a", "new")), [tree.path("src/a")]);
    assert_eq!(places(&|| tree.write("src/b", "")), [tree.path("src")]);
    assert_eq!(
        places(&|| fs::remove_file(tree.path("src/b")).unwrap()),
        [tree.path("src")]
    );
    assert_eq!(
        places(&|| drop(fs::read(tree.path("src/a")))),
        Vec::<PathBuf>::new()
    );
}
