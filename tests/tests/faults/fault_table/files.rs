//! Ways in which the file at `./app` is no program that can be started.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use segue_tests::binaries::Binary;
use segue_tests::executable;

/// Written beside and renamed over, as a deploy does it.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) {
    let beside = path.with_extension("new");
    executable::write_with(&beside, bytes, mode);
    fs::rename(&beside, path).unwrap();
}

/// The env file beside the program is begun, and ends a little later.
pub(super) fn env_being_written(path: &Path) {
    let mut file = fs::File::create(path.with_file_name("env")).unwrap();
    file.write_all(b"FIXTURE_MESSAGE=ha").unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        file.write_all(b"lf\nFIXTURE_MESSAGE=whole\n").unwrap();
    });
}

/// Not replaced but written over: it dies soon after its takeover as generation 2, and serves well as another.
pub(super) fn written_over(path: &Path) {
    let fixture = Binary::Fixture.path();
    let text = format!(
        "#!/bin/sh\n[ \"$SEGUE_GENERATION\" != 2 ] || exec '{0}' ready-then-dies once=serving after=20ms\nexec '{0}' good\n",
        fixture.display()
    );
    fs::write(path, text).unwrap();
}

pub(super) fn missing(path: &Path) {
    // At a first start there has never been one.
    let _ = fs::remove_file(path);
}

pub(super) fn directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

pub(super) fn not_executable(path: &Path) {
    replace(path, b"#!/bin/sh\n", 0o644);
}

pub(super) fn dangling_symlink(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink("releases/41/app", path).unwrap();
}

pub(super) fn no_interpreter(path: &Path) {
    replace(path, b"#!/opt/python4/bin/python\n", 0o755);
}

pub(super) fn empty(path: &Path) {
    replace(path, b"", 0o755);
}

pub(super) fn half_written(path: &Path) {
    let whole = fs::read(Binary::Fixture.path()).unwrap();
    replace(path, &whole[..whole.len() / 50], 0o755);
}

/// The ELF header's `e_machine`, two bytes at offset 18, names a machine that nobody has (elf(5)).
pub(super) fn wrong_architecture(path: &Path) {
    let mut whole = fs::read(Binary::Fixture.path()).unwrap();
    whole[18..20].copy_from_slice(&0x1234_u16.to_le_bytes());
    replace(path, &whole, 0o755);
}

pub(super) fn whole_binary(path: &Path) {
    replace(path, &fs::read(Binary::Fixture.path()).unwrap(), 0o755);
}
