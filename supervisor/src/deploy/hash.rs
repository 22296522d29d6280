//! Digests and sizes of what is deployed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::ending::Step;
use super::files::{Pulse, attempt, below};
use super::walk::{Visit, open_named, walk};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// What is deployed as one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One program.
    File,
    /// A directory with all that is in it.
    Tree,
}

/// Size in bytes and SHA-256 in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) size: u64,
    pub(super) sha256: String,
}

/// Takes the measure of a file, which may be reached by a symlink, or of a directory.
pub(super) fn measure(path: &Path, shape: Shape, pulse: Pulse<'_>) -> Step<Print> {
    match shape {
        Shape::File => of_file(path, open_named(path), pulse),
        Shape::Tree => of_tree(path, pulse),
    }
}

fn of_file(path: &Path, file: io::Result<File>, pulse: Pulse<'_>) -> Step<Print> {
    let what = format!("read {}", path.display());
    let mut file = attempt(&what, file)?;
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut size = 0;
    loop {
        pulse()?;
        match attempt(&what, file.read(&mut piece))? {
            0 => break,
            length => {
                digest.update(&piece[..length]);
                size += length as u64;
            }
        }
    }
    Ok(Print {
        size,
        sha256: hex(digest),
    })
}

/// The digest of the sorted lines of `sha256sum` for all files, of the names of all directories and of what can be executed, and of
/// `NAME -> TARGET` for symlinks. The mark of a release is left out. Anybody can compute it with find(1); releases of earlier
/// versions have such digests in their names.
fn of_tree(directory: &Path, pulse: Pulse<'_>) -> Step<Print> {
    let mut text: Vec<u8> = b".\n".to_vec();
    let mut size = 0;
    walk(directory, &mut |found| {
        let (path, status) = (found.path, found.status);
        let Some(below) = below(path, directory) else {
            return Ok(Visit::Past);
        };
        let name = [b"./", below.as_os_str().as_bytes()].concat();
        if status.is_dir() {
            line(&mut text, &[&name]);
        } else if status.is_symlink() {
            let link = attempt(format_args!("read {}", path.display()), found.link())?;
            line(&mut text, &[&name, b" -> ", link.as_os_str().as_bytes()]);
        } else if status.is_file() {
            let print = of_file(path, found.open().map(|(file, _)| file), pulse)?;
            size += print.size;
            let (mark, escaped) = escaped(&name);
            line(&mut text, &[mark, print.sha256.as_bytes(), b"  ", &escaped]);
            if status.permissions().mode() & 0o100 != 0 {
                line(&mut text, &[&name]);
            }
        }
        Ok(Visit::Into)
    })?;
    text.pop();
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    let mut digest = Sha256::new();
    for line in lines {
        digest.update(line);
        digest.update(b"\n");
    }
    Ok(Print {
        size,
        sha256: hex(digest),
    })
}

fn line(text: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        text.extend_from_slice(part);
    }
    text.push(b'\n');
}

/// As sha256sum(1) writes a name with a backslash or a line end in it: those escaped, and a backslash before the line.
fn escaped(name: &[u8]) -> (&'static [u8], Vec<u8>) {
    if !name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        return (b"", name.to_vec());
    }
    let mut escaped = Vec::new();
    for byte in name {
        match byte {
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            other => escaped.push(*other),
        }
    }
    (b"\\", escaped)
}

/// The SHA-256 of a few bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(bytes);
    hex(digest)
}

fn hex(digest: Sha256) -> String {
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// The recipe that deploy.sh has always had.
    const RECIPE: &str = r#"cd -- "$1" || exit
{
    find . -path ./.unproven -prune -o -type f -exec sha256sum {} +
    find . -path ./.unproven -prune -o -type f -perm -100 -print
    find . -path ./.unproven -prune -o -type d -print
    find . -path ./.unproven -prune -o -type l -exec sh -c 'for link do printf "%s -> %s\n" "$link" "$(readlink "$link")"; done' sh {} +
} | LC_ALL=C sort | sha256sum | cut -c 1-64"#;

    #[test]
    fn a_tree_has_the_digest_that_find_and_sha256sum_compute() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join("bin/deep")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        for (name, text) in [
            ("bin/run", "#!/bin/sh\n"),
            ("bin/deep/a b", ""),
            ("back\\slash", "x"),
            (".unproven", "never served\n"),
            ("bin/.unproven", "counts"),
        ] {
            fs::write(root.join(name), text).unwrap();
        }
        fs::set_permissions(root.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("bin/run", root.join("start")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let print = of_tree(root, &mut || Ok(())).unwrap();
        let done = Command::new("sh")
            .args(["-c", RECIPE, "sh"])
            .arg(root)
            .output()
            .unwrap();
        assert_eq!(
            format!("{}\n", print.sha256),
            String::from_utf8_lossy(&done.stdout)
        );
        assert_eq!(print.size, 17);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let error = measure("/no/such/file".as_ref(), Shape::File, &mut || Ok(())).unwrap_err();
        assert_eq!(error.text, "read /no/such/file: no such file or directory");
    }
}
