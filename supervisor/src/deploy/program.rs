//! What can be known of a program before it is started: that it is whole, for this machine, and that what loads it is there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::{ffi::OsStr, fs};

use nix::unistd::{AccessFlags, access};

use crate::sys::errno_text;

/// How much of a script the kernel looks at for its interpreter (`BINPRM_BUF_SIZE`, linux/binfmts.h).
const FIRST_LINE: usize = 256;

/// Programs have about ten segments; so many would take long to read and are no sane program.
const SEGMENTS_MAX: u64 = 200;

/// The longest path of a loader: `PATH_MAX` of linux/limits.h.
const LOADER_MAX: u64 = 4096;

/// Kinds of segments (elf.h).
const PT_LOAD: u64 = 1;
const PT_INTERP: u64 = 3;

/// Machines and classes (elf.h).
const EM_X86_64: u64 = 62;
const EM_AARCH64: u64 = 183;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;

/// What is wrong with a program, if anything is that can be known before it is started.
///
/// # Errors
/// The cause in one line.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let status = fs::metadata(path).map_err(errno_text)?;
    if !status.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let file = File::open(path).map_err(errno_text)?;
    if status.len() == 0 {
        return Err("it is empty".to_owned());
    }
    let mut head = Vec::new();
    (&file)
        .take(FIRST_LINE as u64)
        .read_to_end(&mut head)
        .map_err(errno_text)?;
    if head.starts_with(b"\x7fELF") {
        let elf = Elf {
            file: &file,
            size: status.len(),
            head: &head,
        };
        elf.check(nix::sys::utsname::uname().map_err(errno_text)?.machine())
    } else if head.starts_with(b"#!") {
        check_script(&head)
    } else {
        Err("neither a program for Linux (ELF) nor a script that starts with #!".to_owned())
    }
}

fn check_script(head: &[u8]) -> Result<(), String> {
    let line = head[2..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let Some(interpreter) = words.next() else {
        return Err("its first line names no interpreter".to_owned());
    };
    if interpreter.ends_with(b"\r") {
        return Err("its first line ends with a carriage return (the line ends of Windows)".to_owned());
    }
    let interpreter = Path::new(OsStr::from_bytes(interpreter));
    let shown = interpreter.display();
    if !interpreter.exists() {
        return Err(format!("its interpreter {shown} does not exist"));
    }
    access(interpreter, AccessFlags::X_OK).map_err(|_| format!("its interpreter {shown} cannot be executed"))
}

/// An ELF file (elf(5)).
struct Elf<'a> {
    file: &'a File,
    size: u64,
    head: &'a [u8],
}

/// Where the numbers of a class lie in the header of the file and of a segment, and how many bytes they have.
struct Layout {
    header: usize,
    word: usize,
    phoff: usize,
    shoff: usize,
    phentsize: usize,
    phnum: usize,
    shentsize: usize,
    shnum: usize,
    segment_offset: usize,
    segment_size: usize,
}

const LAYOUT_64: Layout = Layout {
    header: 64,
    word: 8,
    phoff: 32,
    shoff: 40,
    phentsize: 54,
    phnum: 56,
    shentsize: 58,
    shnum: 60,
    segment_offset: 8,
    segment_size: 32,
};

const LAYOUT_32: Layout = Layout {
    header: 52,
    word: 4,
    phoff: 28,
    shoff: 32,
    phentsize: 42,
    phnum: 44,
    shentsize: 46,
    shnum: 48,
    segment_offset: 4,
    segment_size: 16,
};

impl Elf<'_> {
    fn check(&self, machine: &OsStr) -> Result<(), String> {
        let head = self.head;
        if head.len() < 20 {
            return Err(self.truncated());
        }
        let (class, order) = (head[4], head[5]);
        if !(1..=2).contains(&class) || !(1..=2).contains(&order) {
            return Err("its ELF header makes no sense".to_owned());
        }
        self.check_machine(class, order, machine)?;
        match self.number(head, 16, 2) {
            2 | 3 => {}
            1 => return Err("it is an object file, no program".to_owned()),
            4 => return Err("it is a core dump, no program".to_owned()),
            other => return Err(format!("it is no program (ELF type {other})")),
        }
        let layout = if class == CLASS_64 { &LAYOUT_64 } else { &LAYOUT_32 };
        if head.len() < layout.header {
            return Err(self.truncated());
        }
        let word = |at| self.number(head, at, layout.word);
        let half = |at| self.number(head, at, 2);
        let (offset, length, count) = (word(layout.phoff), half(layout.phentsize), half(layout.phnum));
        if count == 0 {
            return Err("it is no program: it has nothing to load".to_owned());
        }
        self.reaches(offset, length * count)?;
        self.reaches(word(layout.shoff), half(layout.shentsize) * half(layout.shnum))?;
        if count > SEGMENTS_MAX || length < 32 {
            return Ok(());
        }
        for number in 0..count {
            self.check_segment(offset + number * length, length, layout)?;
        }
        Ok(())
    }

    fn check_machine(&self, class: u8, order: u8, machine: &OsStr) -> Result<(), String> {
        let number = self.number(self.head, 18, 2);
        let wanted = match machine.to_str() {
            Some("x86_64") => (EM_X86_64, CLASS_64, LITTLE_ENDIAN),
            Some("aarch64") => (EM_AARCH64, CLASS_64, LITTLE_ENDIAN),
            // On others nothing is compared: segue is not built for them.
            Some(_) | None => (number, class, order),
        };
        if (number, class, order) == wanted {
            return Ok(());
        }
        let name = match number {
            3 => "i386",
            8 => "mips",
            20 => "ppc",
            21 => "ppc64",
            22 => "s390x",
            40 => "arm",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv",
            other => &format!("machine number {other}"),
        };
        let bits = if class == CLASS_64 { 64 } else { 32 };
        Err(format!(
            "built for {name} ({bits} bit), this machine is {}",
            machine.display()
        ))
    }

    /// A number of `count` bytes in the order of the file; 0 beyond the end.
    fn number(&self, bytes: &[u8], at: usize, count: usize) -> u64 {
        let bytes = bytes.get(at..at + count).unwrap_or_default();
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.head[5] == LITTLE_ENDIAN {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        }
    }

    fn check_segment(&self, at: u64, length: u64, layout: &Layout) -> Result<(), String> {
        let mut header = vec![0; usize::try_from(length).unwrap_or_default().min(64)];
        self.read(&mut header, at)?;
        let kind = self.number(&header, 0, 4);
        let offset = self.number(&header, layout.segment_offset, layout.word);
        let size = self.number(&header, layout.segment_size, layout.word);
        if kind == PT_LOAD || kind == PT_INTERP {
            self.reaches(offset, size)?;
        }
        if kind != PT_INTERP || size == 0 || size > LOADER_MAX {
            return Ok(());
        }
        let mut loader = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read(&mut loader, offset)?;
        let loader = loader.split(|byte| *byte == 0).next().unwrap_or_default();
        let loader = Path::new(OsStr::from_bytes(loader));
        if loader.as_os_str().is_empty() || loader.exists() {
            return Ok(());
        }
        Err(format!(
            "it needs the loader {}, which does not exist (is it built for another C library?)",
            loader.display()
        ))
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> Result<(), String> {
        self.file.read_exact_at(bytes, at).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.truncated()
            } else {
                errno_text(error)
            }
        })
    }

    /// Such a part must lie within the file.
    fn reaches(&self, offset: u64, length: u64) -> Result<(), String> {
        let end = offset.saturating_add(length);
        if end <= self.size {
            return Ok(());
        }
        Err(format!(
            "truncated: {} bytes, but its headers name bytes up to {end}",
            self.size
        ))
    }

    fn truncated(&self) -> String {
        format!("truncated: only {} bytes", self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<(), String> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("app");
        fs::write(&path, bytes).unwrap();
        check(&path)
    }

    #[test]
    fn this_program_could_be_deployed_and_no_part_of_it() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(of(&own), Ok(()));
        for length in [0, 1, 3, 4, 10, 19, 20, 40, 63, 64, 100, 1000, own.len() / 2] {
            assert!(of(&own[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn whatever_the_header_says_it_is_refused_or_not_but_read_in_bounds() {
        let own = fs::read("/proc/self/exe").unwrap();
        let mut head = own[..4096].to_vec();
        let mut random = fastrand::Rng::new();
        for _ in 0..crate::trials::cases(20_000) {
            let at = random.usize(4..64);
            let before = std::mem::replace(&mut head[at], random.u8(..));
            let _ = of(&head);
            head[at] = before;
        }
    }

    #[test]
    fn a_script_needs_an_interpreter_that_is_there() {
        assert_eq!(of(b"#! /bin/sh -e\nexit\n"), Ok(()));
        assert_eq!(of(b"#!\t/bin/sh"), Ok(()));
        for (text, cause) in [
            (&b"#!\n"[..], "names no interpreter"),
            (b"#! \t\n", "names no interpreter"),
            (b"#!/bin/sh\r\nexit\n", "carriage return"),
            (b"#!/no/such\n", "/no/such does not exist"),
            (b"#!/etc/passwd\n", "cannot be executed"),
            (b"hello\n", "neither a program for Linux"),
        ] {
            assert!(of(text).unwrap_err().contains(cause), "{cause}");
        }
    }
}
