//! What git leaves out: the .gitignore of each directory, `.git/info/exclude`, and the person's own excludes (gitignore(5)).
//!
//! Where there is no repository a .gitignore says the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::glob::{Globs, Verdict};

/// The lines that count in a directory and above it.
pub(super) struct Rules {
    /// The outermost directory first.
    levels: Vec<Level>,
    /// Of core.excludesFile.
    personal: Globs,
}

/// One directory.
struct Level {
    directory: PathBuf,
    ignored: Globs,
    /// Those of `info/exclude`, if a repository begins here: what is above it does not count then.
    repository: Option<Globs>,
}

impl Rules {
    /// The lines that count above a directory, given by its real path.
    pub(super) fn above(directory: &Path) -> Self {
        let mut rules = Self {
            levels: Vec::new(),
            personal: read(excludes_file(&|name| std::env::var_os(name)).as_deref()),
        };
        if !has_repository(directory) {
            let mut above: Vec<&Path> = Vec::new();
            for parent in directory.ancestors().skip(1) {
                above.push(parent);
                if has_repository(parent) {
                    break;
                }
            }
            above.iter().rev().for_each(|parent| rules.enter(parent));
        }
        rules
    }

    /// From here on the lines of this directory count as well.
    pub(super) fn enter(&mut self, directory: &Path) {
        self.levels.push(Level {
            directory: directory.to_owned(),
            ignored: read(Some(&directory.join(".gitignore"))),
            repository: has_repository(directory).then(|| {
                read(
                    common_directory(directory)
                        .map(|git| git.join("info/exclude"))
                        .as_deref(),
                )
            }),
        });
    }

    /// The lines of the directory that was entered last do not count any more.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    /// Whether this path, in the directory that was entered last, is left out.
    pub(super) fn is_ignored(&self, path: &Path, is_directory: bool) -> bool {
        let of = |globs: &Globs, level: &Level| {
            let below = path.strip_prefix(&level.directory).ok()?;
            globs.verdict(below, is_directory)
        };
        for level in self.levels.iter().rev() {
            if let Some(verdict) = of(&level.ignored, level) {
                return verdict == Verdict::Ignored;
            }
            if level.repository.is_some() {
                break;
            }
        }
        let mut innermost = self.levels.iter().rev();
        let top = innermost.find_map(|level| level.repository.as_ref().map(|excluded| (level, excluded)));
        let verdict = top.and_then(|(level, excluded)| of(excluded, level));
        let top = top.map(|(level, _)| level).or(self.levels.last());
        let verdict = verdict.or_else(|| top.and_then(|level| of(&self.personal, level)));
        verdict == Some(Verdict::Ignored)
    }
}

fn has_repository(directory: &Path) -> bool {
    directory.join(".git").exists()
}

/// Where a repository keeps what its working trees share. The `.git` of a further working tree, or of a submodule, is a file that says
/// where (gitrepository-layout(5)).
fn common_directory(directory: &Path) -> Option<PathBuf> {
    let git = directory.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    let own = directory.join(text.strip_prefix("gitdir:")?.trim());
    let common = fs::read_to_string(own.join("commondir")).ok();
    Some(common.map_or(own.clone(), |common| own.join(common.trim())))
}

/// No lines if there is no such file. One that is a FIFO would never end.
fn read(file: Option<&Path>) -> Globs {
    let text = file
        .filter(|file| file.is_file())
        .and_then(|file| fs::read(file).ok());
    text.map_or_else(Globs::default, |text| Globs::of_git(&text))
}

/// The file of core.excludesFile, or where it is if nothing says so (git-config(1)).
fn excludes_file(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = path("HOME");
    let personal = path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let global = match path("GIT_CONFIG_GLOBAL") {
        Some(instead) => vec![instead],
        None => [
            home.as_ref().map(|home| home.join(".gitconfig")),
            personal.as_ref().map(|personal| personal.join("git/config")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let system = path("GIT_CONFIG_SYSTEM").unwrap_or_else(|| PathBuf::from("/etc/gitconfig"));
    let mut files = global.into_iter().chain([system]).filter(|file| file.is_file());
    let said = files.find_map(|file| said_in(&fs::read_to_string(file).ok()?));
    match said {
        Some(said) => match (said.strip_prefix("~/"), home) {
            (Some(below), Some(home)) => Some(home.join(below)),
            (_, _) => Some(PathBuf::from(said)),
        },
        None => personal.map(|personal| personal.join("git/ignore")),
    }
}

/// The value of core.excludesFile in a file of git's settings. No other section has such a key.
fn said_in(settings: &str) -> Option<String> {
    let mut last_first = settings.lines().rev().filter_map(|line| line.split_once('='));
    let said = last_first.find(|(key, _)| key.trim().eq_ignore_ascii_case("excludesfile"));
    let value = said.map(|(_, value)| value.trim().trim_matches('"').to_owned());
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with files.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                let path = tree.0.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            tree
        }

        /// Whether a file is left out in a look at a directory, by the lines above it and its own.
        fn leaves_out(&self, directory: &str, name: &str) -> bool {
            let directory = fs::canonicalize(self.0.path().join(directory)).unwrap();
            let mut rules = Rules::above(&directory);
            rules.enter(&directory);
            rules.is_ignored(&directory.join(name), false)
        }
    }

    #[test]
    fn the_nearest_gitignore_decides_up_to_the_top_of_the_repository() {
        let tree = Tree::new(&[
            (".gitignore", "above"),
            ("top/.git/HEAD", ""),
            ("top/.gitignore", "*.log\n/in/anchored\n/loose"),
            ("top/in/.gitignore", "!keep.log"),
        ]);
        assert!(tree.leaves_out("top/in", "a.log"));
        assert!(!tree.leaves_out("top/in", "keep.log"));
        assert!(tree.leaves_out("top", "keep.log"));
        assert!(tree.leaves_out("top/in", "anchored"));
        assert!(!tree.leaves_out("top/in", "loose"));
        assert!(!tree.leaves_out("top/in", "above"), "another repository's");
        assert!(tree.leaves_out("", "above"), "without any repository");
    }

    #[test]
    fn what_a_repository_excludes_counts_in_all_its_working_trees_after_each_gitignore() {
        let tree = Tree::new(&[
            ("main/.git/info/exclude", "secret\nkept"),
            ("main/.git/worktrees/other/commondir", "../..\n"),
            ("main/.gitignore", "!kept"),
            ("other/.git", "gitdir: ../main/.git/worktrees/other\n"),
        ]);
        assert!(tree.leaves_out("main", "secret"));
        assert!(!tree.leaves_out("main", "kept"));
        assert!(tree.leaves_out("other", "secret"));
    }

    #[test]
    fn the_file_of_personal_excludes_is_where_git_looks_for_it() {
        let tree = Tree::new(&[
            (
                ".gitconfig",
                "[user]\n\tname = x\n[core]\n\texcludesFile = \"~/mine\"\n",
            ),
            ("xdg/git/config", "[core]\nexcludesfile=/theirs\n"),
            ("empty", ""),
        ]);
        let here = tree.0.path();
        let found = |variables: &[(&str, &str)]| {
            excludes_file(&|name| {
                let value = variables.iter().find(|(key, _)| *key == name)?.1;
                Some(here.join(value).into())
            })
        };
        let system = ("GIT_CONFIG_SYSTEM", "empty");
        assert_eq!(found(&[("HOME", ""), system]), Some(here.join("mine")));
        let elsewhere = [("HOME", "no"), ("XDG_CONFIG_HOME", "xdg"), system];
        assert_eq!(found(&elsewhere), Some(PathBuf::from("/theirs")));
        let replaced = [("HOME", ""), ("GIT_CONFIG_GLOBAL", "empty"), system];
        assert_eq!(found(&replaced), Some(here.join(".config/git/ignore")));
    }
}
