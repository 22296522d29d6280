//! An app below a wrapper that forks: `segue exec` makes it the process that LISTEN_PID names, if the wrapper has left it its
//! sockets; and says which one is missing if not. With wrappers as people have them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::needs;
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// A Python program that runs another one, and what it keeps of fd 3.
const PYTHON: &str = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]";

/// A Node program that runs another one.
const NODE: &str = "require('child_process').spawn(process.argv[1], process.argv.slice(2), {stdio: 'inherit'}) \
                    .on('exit', (code) => process.exit(code))";

/// What it says where the socket did not come along.
const MISSING: &str = "segue: exec: fd 3 (\"listen1\"), which LISTEN_FDS=1 promises, is not open: a wrapper above has closed it";

/// A wrapper, up to the command that it runs. The first word is the program that must be there.
fn wrapper(words: &[&str]) -> Option<Program> {
    let (program, arguments) = words.split_first().unwrap();
    needs::or_skip(&format!("below {program}"), needs::program(program))
        .map(|()| Program::new(*program).args(arguments.iter().copied()))
}

/// The fixture that takes its sockets strictly, with the shim in front of it.
fn shimmed(wrapper: Program) -> Program {
    let fixture = Program::fixture("good");
    let shim = wrapper
        .args([Binary::Segue.path().as_os_str()])
        .args(["exec", "--"]);
    shim.args(fixture.words().iter().cloned())
}

fn strict(wrapper: Program) -> Program {
    let fixture = Program::fixture("good");
    wrapper.args(fixture.words().iter().cloned())
}

/// It serves below the wrapper with the shim, over a reload under load; without it the app refuses the sockets.
#[track_caller]
fn assert_helps(words: &[&str]) {
    let Some(wrapper) = wrapper(words) else { return };
    let without = Setup::new(strict(wrapper.clone())).start_in_vain();
    assert!(
        without.stderr.contains("a wrapper forked"),
        "{words:?}: {}",
        without.stderr
    );
    let segue = Setup::new(shimmed(wrapper)).start();
    segue.reload_under_load();
    segue.stop();
}

/// The shim names the socket that the wrapper has closed.
#[track_caller]
fn assert_names_the_missing_one(words: &[&str]) {
    let Some(wrapper) = wrapper(words) else { return };
    let done = Setup::new(shimmed(wrapper)).start_in_vain();
    assert!(done.stderr.contains(MISSING), "{words:?}: {}", done.stderr);
    assert!(
        done.stderr.contains("exited with status 125"),
        "{words:?}: {}",
        done.stderr
    );
}

#[test]
fn a_shell_that_waits() {
    assert_helps(&["sh", "-c", "trap 'kill $!; wait $!' TERM; \"$@\" & wait $!", "sh"]);
}

#[test]
fn tini() {
    assert_helps(&["tini", "-s", "--"]);
}

#[test]
fn runuser() {
    if needs::or_skip("below runuser", needs::root()).is_some() {
        assert_helps(&["runuser", "-u", "root", "--"]);
    }
}

#[test]
fn python_that_keeps_the_fd() {
    for kept in ["close_fds=False", "pass_fds=[3]"] {
        let program = format!("{PYTHON}, {kept}))");
        assert_helps(&["python3", "-c", &program]);
    }
}

#[test]
fn python_that_closes_it() {
    assert_names_the_missing_one(&["python3", "-c", &format!("{PYTHON}))")]);
}

#[test]
fn node_that_closes_it() {
    assert_names_the_missing_one(&["node", "-e", NODE, "--"]);
}

#[test]
fn npm_start() {
    let Some(npm) = wrapper(&["npm", "--silent", "start"]) else {
        return;
    };
    let setup = Setup::new(npm);
    let words = shimmed(Program::new("exec"));
    let words: Vec<_> = words.words().iter().map(|word| word.to_string_lossy()).collect();
    let package = format!(
        "{{\"name\": \"site\", \"scripts\": {{\"start\": {:?}}}}}",
        words.join(" ")
    );
    std::fs::write(setup.path("package.json"), package).unwrap();
    let home = setup.path(".");
    let done = setup.env("HOME", home).start_in_vain();
    assert!(done.stderr.contains(MISSING), "{}", done.stderr);
}

/// `env` executes what it is given, so that nothing was amiss; the shim does no harm there, and passes on how the app ends.
#[test]
fn the_shim_is_the_app_afterwards() {
    let segue = Setup::new(shimmed(Program::new("env"))).start();
    segue.reload_under_load();
    segue.stop();
    let done = Setup::new(Program::new(Binary::Segue.path()).args([
        "exec",
        "sh",
        "-c",
        "echo my pid is $LISTEN_PID, and I am $$; exit 9",
    ]))
    .start_in_vain();
    assert!(done.stderr.contains("exited with status 9"), "{}", done.stderr);
}

/// What is not below `segue run` (or something that speaks its language) is told so, in one line and with the codes of env(1).
#[test]
fn what_is_missing_is_said_in_one_line() {
    let run = |shell: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", shell, "sh"])
            .arg(Binary::Segue.path())
            .env_remove("LISTEN_FDS");
        let done = Process::start(&mut command).finish();
        (done.code, done.stderr)
    };
    let socket = "python3 -c 'import os, socket, sys; s = socket.socket(); os.dup2(s.fileno(), 3); os.set_inheritable(3, True); \
                  os.execvp(sys.argv[1], sys.argv[1:])' env LISTEN_FDS=1";
    for (shell, code, said) in [
        (
            "exec \"$1\" exec true",
            125,
            "segue: exec: LISTEN_FDS is not set: ",
        ),
        (
            "LISTEN_FDS=x exec \"$1\" exec true",
            125,
            "segue: exec: LISTEN_FDS=\"x\": ",
        ),
        (
            "LISTEN_FDS=1 exec \"$1\" exec true 3</dev/null",
            125,
            "segue: exec: fd 3, which LISTEN_FDS=1 promises, is no socket: ",
        ),
        (
            &format!("{socket} LISTEN_FDS=2 LISTEN_FDNAMES=a:b \"$1\" exec true"),
            125,
            "segue: exec: fd 4 (\"b\"), which LISTEN_FDS=2 promises, is not open: ",
        ),
        (
            &format!("{socket} \"$1\" exec no-such-program"),
            127,
            "segue: exec: \"no-such-program\": no such file or directory (looked for in PATH)",
        ),
        (
            &format!("{socket} \"$1\" exec /"),
            126,
            "segue: exec: \"/\": permission denied",
        ),
        (
            &format!(
                "{socket} LISTEN_PIDFDID=1 WATCHDOG_USEC=1 WATCHDOG_PID=1 \"$1\" exec -- sh -c '\n\
                      [ \"$LISTEN_PID $WATCHDOG_PID $LISTEN_PIDFDID\" = \"$$ $$ \" ] && exit 42'"
            ),
            42,
            "",
        ),
    ] {
        let (ended, text) = run(shell);
        assert_eq!(ended, Some(code), "{shell}: {text}");
        assert!(text.starts_with(said), "{shell}: {text}");
        assert_eq!(
            text.lines().count(),
            usize::from(!said.is_empty()),
            "{shell}: {text}"
        );
    }
}
