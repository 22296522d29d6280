//! Servers that remove the path of a Unix socket which they were given, when they end: how many clients find nothing there in
//! twenty reloads, with Segue's second link and without it, and where the path is a link from the start (`linked`).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use segue_tests::figures::{say, scale};
use segue_tests::load::knocks::{Ask, Knocked, Knocks};
use segue_tests::needs;
use segue_tests::patience;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::table::Lost;

/// Whether the path can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    On,
    /// A directory has the name of the second link.
    Off,
    /// The app is told the second link, and clients use the first.
    Linked,
}

/// php-fpm as Debian calls it, with its version: the newest that is installed.
fn php_fpm() -> Result<PathBuf, String> {
    let programs = std::fs::read_dir("/usr/sbin").map_err(|error| error.to_string())?;
    let name = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"))
    };
    let found = programs.flatten().map(|entry| entry.path()).filter(name);
    found.max().ok_or_else(|| "php-fpm is not installed".to_owned())
}

#[test]
#[ignore = ".ci/more servers"]
fn the_path_that_php_fpm_takes_away_is_there_again_at_once() {
    let test = "the_path_that_php_fpm_takes_away_is_there_again_at_once";
    let Some(program) = needs::or_skip(test, needs::root().and_then(|()| php_fpm())) else {
        return;
    };
    let config = include_str!("../../../servers/php-fpm.conf");
    compare("php-fpm", Lost::None, fastcgi_ping, |directory, told| {
        let text = config.replace("{socket}", &told.to_string_lossy());
        std::fs::write(directory.join("php-fpm.conf"), text).unwrap();
        let program = Program::new(&program)
            .args(["-F", "-y"])
            .args([directory.join("php-fpm.conf")]);
        Setup::new(program).flags(["--app", "php-fpm"])
    });
}

#[test]
#[ignore = ".ci/more servers"]
fn the_path_that_twisted_takes_away_is_there_again_at_once() {
    let test = "the_path_that_twisted_takes_away_is_there_again_at_once";
    let python = needs::tool("servers-all", "servers/bin/python");
    let Some(python) = needs::or_skip(test, python) else {
        return;
    };
    let code = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/in_code.py");
    compare("Twisted", Lost::Some, ping, |_, _| {
        Setup::new(Program::new(&python).args([code, "twisted_at_a_path"]))
    });
}

/// `setup`: for a directory, and the path that the app is told.
fn compare(name: &str, lost: Lost, ask: Ask, setup: impl Fn(&Path, &Path) -> Setup) {
    let rounds = scale(5, 20);
    let [guarded, linked, control] = [Guard::On, Guard::Linked, Guard::Off].map(|guard| {
        let knocked = play(guard, ask, rounds, &setup);
        say(format_args!(
            "{name}, second link {guard:?}, {rounds} reloads: {knocked}"
        ));
        knocked
    });
    for knocked in [&guarded, &linked] {
        match lost {
            Lost::None => assert_eq!(knocked.lost(), 0, "{knocked}"),
            Lost::Some => assert!(knocked.lost() < knocked.served / 100, "{knocked}"),
        }
    }
    assert_eq!(linked.missed, 0, "{linked}");
    assert!(guarded.gaps <= rounds, "{guarded}");
    // Where nothing else is at work it is one a gap; clients ask often before a busy machine (a load of 40) has run the supervisor.
    assert!(guarded.missed < control.missed / 2, "{guarded}; {control}");
}

fn play(guard: Guard, ask: Ask, rounds: usize, setup: impl Fn(&Path, &Path) -> Setup) -> Knocked {
    let directory = segue_tests::segue::directory();
    let path = directory.path().join("s");
    let second = path.with_extension("kept");
    let (options, told) = match guard {
        Guard::On => ("", &path),
        Guard::Off => {
            std::fs::create_dir(&second).unwrap();
            ("", &path)
        }
        Guard::Linked => (",linked", &second),
    };
    let setup = setup(directory.path(), told).listen(format!("unix:{}{options}", path.display()));
    let segue = setup.flags(super::play::COMMON).start();
    let knocks = Knocks::asking(&path, ask);
    for _ in 0..rounds {
        reload(&segue, &knocks);
    }
    let knocked = knocks.stop();
    segue.stop();
    knocked
}

/// Each at the pace of a deploy that looks whether it has worked.
fn reload(segue: &Segue, knocks: &Knocks) {
    segue.reload_ok(&["--drained"]);
    knocks.wait_for_more(50);
}

fn ping(client: UnixStream) -> io::Result<()> {
    let answer = exchange(
        client,
        b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )?;
    expect(&answer, b"in code")
}

/// `ping.path` of php-fpm, which answers by itself.
fn fastcgi_ping(client: UnixStream) -> io::Result<()> {
    /// Types of records, and the role in which php-fpm is asked (the FastCGI specification, section 8).
    const BEGIN_REQUEST: u8 = 1;
    const PARAMS: u8 = 4;
    const STDIN: u8 = 5;
    const RESPONDER: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
    let record = |kind: u8, body: &[u8]| [&[1, kind, 0, 1, 0, body.len() as u8, 0, 0], body].concat();
    let variables = [
        ("SCRIPT_NAME", "/ping"),
        ("SCRIPT_FILENAME", "/ping"),
        ("REQUEST_METHOD", "GET"),
    ];
    let params = variables.map(|(key, value)| {
        let lengths = [key.len() as u8, value.len() as u8];
        [&lengths[..], key.as_bytes(), value.as_bytes()].concat()
    });
    let request = [
        record(BEGIN_REQUEST, &RESPONDER),
        record(PARAMS, &params.concat()),
        record(PARAMS, &[]),
        record(STDIN, &[]),
    ];
    let answer = exchange(client, &request.concat())?;
    expect(&answer, b"pong")
}

fn exchange(mut client: UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    client.set_read_timeout(Some(patience()))?;
    client.write_all(request)?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    Ok(answer)
}

fn expect(answer: &[u8], words: &[u8]) -> io::Result<()> {
    if answer.windows(words.len()).any(|part| part == words) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "answered {:?}",
        String::from_utf8_lossy(answer)
    )))
}
