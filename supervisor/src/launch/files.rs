//! The files that a command line names beside its binary: an interpreter's script, say.
//!
//! A birth record holds its binary open, so a rollback executes the very file again. What an interpreter reads is opened by
//! name at each start: if it was replaced meanwhile, a rollback starts the new one. So a record notes which files those were.

use super::binary::{Content, FileId, id_of_status};
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// So many are noted at most: a command line can name a whole tree.
const MOST: usize = 32;

/// How a file is known to be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// By any change: it is what the app consists of.
    Code,
    /// By its inode: the app may write to it (a log, a database).
    Other,
}

/// One of these files, as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedFile {
    /// As the command line names it, relative to the working directory.
    pub(super) name: OsString,
    pub(super) watched: Watched,
    pub(super) id: FileId,
    pub(super) content: Content,
}

impl NamedFile {
    fn find(name: OsString, watched: Watched, cwd: BorrowedFd<'_>) -> Option<Self> {
        let status = fstatat(cwd, name.as_os_str(), AtFlags::empty()).ok()?;
        let regular = status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        regular.then(|| Self {
            name,
            watched,
            id: id_of_status(&status),
            content: Content::of(&status),
        })
    }

    /// Whether its name leads to the file that it was.
    pub(super) fn is_the_same(&self, cwd: BorrowedFd<'_>) -> bool {
        Self::find(self.name.clone(), self.watched, cwd).is_some_and(|now| match self.watched {
            Watched::Code => now == *self,
            Watched::Other => now.id == self.id,
        })
    }
}

/// The regular files that the arguments name: the words themselves, what stands behind a `=`, and Python's modules (`-m site`,
/// `wsgi:app`). The first one and the modules are code.
pub(super) fn named(argv: &[CString], cwd: BorrowedFd<'_>) -> Vec<NamedFile> {
    let mut files: Vec<NamedFile> = Vec::new();
    let mut after_m = false;
    for word in argv.iter().skip(1).map(|word| word.as_bytes()) {
        let code_so_far = files.iter().any(|file| file.watched == Watched::Code);
        let watched = if code_so_far {
            Watched::Other
        } else {
            Watched::Code
        };
        let path = word
            .iter()
            .position(|byte| *byte == b'=')
            .map(|at| &word[at + 1..]);
        let found = [Some(word), path]
            .into_iter()
            .flatten()
            .find_map(|path| NamedFile::find(OsStr::from_bytes(path).to_owned(), watched, cwd));
        let module = module(word, after_m).into_iter().flatten();
        let found = found.or_else(|| {
            module
                .into_iter()
                .find_map(|path| NamedFile::find(path.into(), Watched::Code, cwd))
        });
        files.extend(found.filter(|file| files.iter().all(|known| known.id != file.id)));
        after_m = word == b"-m";
        if files.len() == MOST {
            break;
        }
    }
    files
}

/// Where a module would lie: `wsgi:app`, or the word after `-m`.
fn module(word: &[u8], after_m: bool) -> Option<[PathBuf; 3]> {
    let text = std::str::from_utf8(word).ok()?;
    let name = match text.split_once(':') {
        Some((name, _)) => name,
        None if after_m => text,
        None => return None,
    };
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    (!name.is_empty() && name.chars().all(plain)).then(|| {
        let path = name.replace('.', "/");
        ["py", "__main__.py", "__init__.py"].map(|end| {
            if end == "py" {
                PathBuf::from(format!("{path}.py"))
            } else {
                PathBuf::from(&path).join(end)
            }
        })
    })
}

/// The names of those that are other files now.
pub(super) fn replaced(files: &[NamedFile], cwd: BorrowedFd<'_>) -> Vec<String> {
    let other = files.iter().filter(|file| !file.is_the_same(cwd));
    other.map(|file| file.name.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::path::Path;

    fn names(words: &[&str], directory: &Path) -> Vec<(String, Watched)> {
        let argv: Vec<_> = words.iter().map(|word| CString::new(*word).unwrap()).collect();
        let cwd = File::open(directory).unwrap();
        let named = named(&argv, cwd.as_fd());
        named
            .into_iter()
            .map(|file| (file.name.display().to_string(), file.watched))
            .collect()
    }

    #[test]
    fn the_files_of_a_command_line_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("pkg")).unwrap();
        for name in ["app.py", "prod.toml", "wsgi.py", "pkg/__main__.py"] {
            std::fs::write(path.join(name), name).unwrap();
        }
        let code = |name: &str| (name.to_owned(), Watched::Code);
        let other = |name: &str| (name.to_owned(), Watched::Other);
        assert_eq!(
            names(&["python3", "-u", "app.py", "8080"], path),
            [code("app.py")]
        );
        assert_eq!(
            names(&["node", "app.py", "--config=prod.toml", "app.py"], path),
            [code("app.py"), other("prod.toml")]
        );
        assert_eq!(
            names(&["gunicorn", "-w", "4", "wsgi:app"], path),
            [code("wsgi.py")]
        );
        assert_eq!(names(&["python3", "-m", "pkg"], path), [code("pkg/__main__.py")]);
        // The binary itself is held open; a directory, a device and a name that leads nowhere are no files.
        assert_eq!(
            names(&["app.py", "pkg", "/dev/null", "gone.py", "http://x"], path),
            []
        );
    }

    #[test]
    fn another_file_of_the_same_name_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("app.py"), "one").unwrap();
        std::fs::write(path.join("app.log"), "one").unwrap();
        let cwd = File::open(path).unwrap();
        let argv = ["python3", "app.py", "app.log"].map(|word| CString::new(word).unwrap());
        let files = named(&argv, cwd.as_fd());
        assert_eq!(replaced(&files, cwd.as_fd()), Vec::<String>::new());
        // In place, as cp does it: the same inode.
        std::fs::write(path.join("app.py"), "three").unwrap();
        std::fs::write(path.join("app.log"), "three").unwrap();
        assert_eq!(replaced(&files, cwd.as_fd()), ["app.py"]);
        // By rename.
        let files = named(&argv, cwd.as_fd());
        for name in ["app.py", "app.log"] {
            std::fs::write(path.join("new"), "three").unwrap();
            std::fs::rename(path.join("new"), path.join(name)).unwrap();
        }
        assert_eq!(replaced(&files, cwd.as_fd()), ["app.py", "app.log"]);
        std::fs::remove_file(path.join("app.py")).unwrap();
        assert_eq!(replaced(&files, cwd.as_fd())[0], "app.py");
    }
}
