use std::os::unix::ffi::OsStrExt as _;

use nix::sys::stat::Mode;

use super::super::env_file::{load, parse};
use super::super::rest::Rest;
use super::{assert_one_line, directory, write};

fn pairs(content: &[u8]) -> Vec<(String, String)> {
    let variables = parse(content).expect("a valid env file");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    variables
        .iter()
        .map(|(name, value)| (text(name.as_bytes()), text(value.as_bytes())))
        .collect()
}

fn wrong(content: &[u8]) -> String {
    let error = parse(content).expect_err("a refusal");
    assert_one_line(&error.message);
    format!("{}: {}", error.line, error.message)
}

#[test]
fn assignments_are_read_as_systemd_reads_them() {
    for (content, name, value) in [
        ("A=b", "A", "b"),
        ("A=", "A", ""),
        ("  A = b c  \n", "A", "b c"),
        ("A=b\r\n", "A", "b"),
        ("A=x=y", "A", "x=y"),
        ("A=b # c", "A", "b # c"),
        ("A='b c'", "A", "b c"),
        ("A='b\\n$c'  ", "A", "b\\n$c"),
        ("A=\"b \\\"c\\\" \\$d \\n\"", "A", "b \"c\" $d \\n"),
        ("A=\"two\nlines\"", "A", "two\nlines"),
        ("A=\"one \\\nline\"", "A", "one line"),
        ("A=one \\\n  line", "A", "one   line"),
        ("A=b\\ ", "A", "b "),
        ("A=b\\", "A", "b"),
        ("A=it's", "A", "it's"),
        ("A=\u{e4}", "A", "\u{e4}"),
        ("\u{feff}A=b", "A", "b"),
    ] {
        assert_eq!(
            pairs(content.as_bytes()),
            [(name.to_owned(), value.to_owned())],
            "{content:?}"
        );
    }
}

#[test]
fn comments_and_blank_lines_are_passed_over() {
    let content = b"# A=1 \\\n\n ; B=2\n\t\nC=3\n#";
    assert_eq!(pairs(content), [("C".to_owned(), "3".to_owned())]);
    assert_eq!(pairs(b""), []);
}

#[test]
fn mistakes_are_told_with_their_line() {
    for (content, expected) in [
        ("A=1\nB\n", "2: expected NAME=VALUE, found no `=`"),
        (
            "\n\nexport A=1",
            "3: expected NAME=VALUE; `export` is the shell's, leave it out",
        ),
        (
            "1A=x",
            "1: a name has letters, digits and `_`, and no digit first",
        ),
        ("=x", "1: a name has letters, digits and `_`, and no digit first"),
        ("A=1\nB='x\ny\n", "2: the quote that opens here never closes"),
        (
            "A=\"x\ny\" z",
            "2: there is text after the closing quote; quote the value as a whole (\"it's\", not 'it'\\''s'), and put a comment on a line \
             of its own",
        ),
        (
            "A='it'\\''s'",
            "1: there is text after the closing quote; quote the value as a whole (\"it's\", not 'it'\\''s'), and put a comment on a line \
             of its own",
        ),
        (
            "export\tA=1",
            "1: expected NAME=VALUE; `export` is the shell's, leave it out",
        ),
        (
            "A=1\nB=x\\\r\ny=2\r\n",
            "2: a backslash before CR LF joins no lines; write the file with LF (`dos2unix`)",
        ),
        (
            "B=\"x\\\r\ny\"\r\n",
            "1: a backslash before CR LF joins no lines; write the file with LF (`dos2unix`)",
        ),
        ("A=1\0", "1: the value of \"A\" cannot hold a NUL"),
        (
            "A=\"two\nlines\"\nLISTEN_FDS=3",
            "3: \"LISTEN_FDS\" is set by segue itself and cannot be given",
        ),
    ] {
        assert_eq!(wrong(content.as_bytes()), expected, "{content:?}");
    }
}

#[test]
fn values_are_never_shown() {
    let secret = "hunter2";
    for content in [
        format!("A='{secret}"),
        format!("A=\"{secret}\" x"),
        format!("NOTIFY_SOCKET={secret}"),
        format!("A={secret}\0"),
        format!("{secret}/x=="),
        format!("{secret}\n"),
    ] {
        assert!(!wrong(content.as_bytes()).contains(secret), "{content:?}");
    }
}

#[test]
fn a_value_that_exec_would_refuse_is_refused() {
    let longest = 32 * 4096 - 1 - "A=".len();
    assert!(parse(format!("A={}", "x".repeat(longest)).as_bytes()).is_ok());
    let text = wrong(format!("A={}", "x".repeat(longest + 1)).as_bytes());
    assert_eq!(
        text,
        "1: \"A\" is longer than the 131071 bytes that the kernel passes on"
    );
}

#[test]
fn the_path_and_the_line_are_named() {
    let directory = directory();
    let path = write(directory.path(), "app.env", "A=1\nB\n");
    let text = load(&path, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        text,
        format!("{}:2: expected NAME=VALUE, found no `=`", path.display())
    );
}

#[test]
fn only_a_path_with_a_hyphen_may_be_missing() {
    let directory = directory();
    let path = directory.path().join("app.env");
    let text = load(&path, &mut Rest::default()).expect_err("a refusal");
    assert_eq!(
        text,
        format!("read {}: no such file or directory", path.display())
    );
    let optional = format!("-{}", path.display());
    assert_eq!(load(optional.as_ref(), &mut Rest::default()), Ok(Vec::new()));
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let directory = directory();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a fifo");
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    for (path, cause) in [
        (fifo.as_path(), "is a FIFO, not a regular file"),
        (directory.path(), "is a directory, not a regular file"),
        (socket.as_path(), "no such device or address"),
        ("/dev/zero".as_ref(), "is a device, not a regular file"),
    ] {
        assert_eq!(
            load(path, &mut Rest::default()),
            Err(format!("read {}: {cause}", path.display()))
        );
    }
}

#[test]
fn a_file_over_the_limit_is_refused() {
    let directory = directory();
    let largest = write(directory.path(), "largest", vec![b'#'; 1024 * 1024]);
    assert_eq!(load(&largest, &mut Rest::default()), Ok(Vec::new()));
    let larger = write(directory.path(), "larger", vec![b'#'; 1024 * 1024 + 1]);
    assert_eq!(
        load(&larger, &mut Rest::default()),
        Err(format!("read {}: is larger than 1 MiB", larger.display()))
    );
}
