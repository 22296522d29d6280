//! Files that the kernel writes as they are read: those of /proc and of the cgroup file systems. (No `unsafe`: it is here because
//! many rooms need it.)

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The kernel writes such a file a page at a time (`seq_read_iter`, fs/seq_file.c).
const PAGE: usize = 4096;

/// The whole of such a file. Its length is 0 for stat(2), so that a reader who asks for it reads it in many small pieces. Here it is
/// one read where the file is short: the kernel ends a page early only where the next record does not fit into what is left of it,
/// and no record of these files is as long as half a page. (Where the whole file is one record it comes in one read anyway.)
///
/// # Errors
/// Those of opening and reading it.
pub(crate) fn read_kernel_file(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    loop {
        let begin = bytes.len();
        bytes.resize(begin + PAGE, 0);
        let read = file.read(&mut bytes[begin..]);
        bytes.truncate(begin + read.as_ref().copied().unwrap_or_default());
        let length = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if length < PAGE / 2 {
            return Ok(bytes);
        }
    }
}

/// What stands at this moment in such a file, of at most a page, that stays open.
///
/// # Errors
/// Those of reading it, and `InvalidData` if it is no text.
pub(crate) fn kernel_text_of(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; PAGE];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// As [`read_kernel_file`], of a file of text.
///
/// # Errors
/// As there, and `InvalidData` if it is none.
pub(crate) fn kernel_text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = read_kernel_file(path)?;
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_a_file_is_read_whatever_its_length() {
        for path in ["/proc/self/status", "/proc/vmstat", "/proc/self/maps"] {
            let whole = std::fs::read_to_string(path).unwrap();
            let lines = |text: &str| text.lines().count();
            assert_eq!(lines(&kernel_text(path).unwrap()), lines(&whole), "{path}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        for length in [
            0,
            1,
            PAGE / 2 - 1,
            PAGE / 2,
            PAGE,
            PAGE + 1,
            3 * PAGE,
            10 * PAGE + 7,
        ] {
            std::fs::write(file.path(), vec![b'x'; length]).unwrap();
            assert_eq!(read_kernel_file(file.path()).unwrap().len(), length);
        }
        assert!(read_kernel_file("/proc/self/nothing").is_err());
    }
}
