//! Whom the stop signal is for: the main process, and the others only where that does not tell them. Nobody has it twice from us.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use segue_tests::http::{get, get_and_close};
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// A server whose handler of the stop signal is there for one signal: a second one ends it at once.
const ONE_SHOT: &str = r#"
import os, signal, socket, socketserver, sys, threading, time
from http.server import BaseHTTPRequestHandler
class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = False
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *words): pass
    def do_GET(self):
        if self.path.startswith('/slow'):
            time.sleep(2)
        body = os.environ['SEGUE_GENERATION'].encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(body)
server = Server(('127.0.0.1', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
def told(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, told)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])
server.serve_forever()
server.server_close()
"#;

fn fixture(vice: &str) -> String {
    Program::fixture(vice).shell_words()
}

/// Reloads an app below something that does not pass the signal on: the old version drains at once all the same, and nothing is lost.
fn drains_without_loss(app: Program, flags: &[&str]) {
    let segue = Setup::new(app)
        .flags([
            "--no-listen-pid",
            "--drain-timeout",
            "10m",
            "--stop-timeout",
            "10m",
        ])
        .flags(flags)
        .start();
    let load = Load::start(Kind::Fresh, &segue.target(), 4);
    load.wait_for_more(20);
    segue.reload_ok(&["--drained"]);
    load.wait_for_generation(2);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn an_app_below_a_shell_that_waits_for_it_is_told() {
    for shell in ["dash", "bash"] {
        if needs::or_skip(shell, needs::program(shell)).is_none() {
            continue;
        }
        let script = format!("{}; true", fixture("good"));
        drains_without_loss(Program::new(shell).args(["-c", &script]), &[]);
    }
}

#[test]
fn an_app_below_a_process_that_keeps_the_signal_to_itself_is_told() {
    let mut words = vec!["--fork".to_owned()];
    words.extend(
        Program::fixture("good")
            .words()
            .iter()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    drains_without_loss(Program::new("unshare").args(words), &[]);
    // Ignored for good.
    let script = format!("trap '' TERM; {}; true", fixture("good"));
    drains_without_loss(Program::new("/bin/sh").args(["-c", &script]), &[]);
}

#[test]
fn everybody_is_told_at_once_who_asks_for_that() {
    // Its trap is run when what it waits for has ended.
    let script = format!("trap : TERM; {}; true", fixture("good"));
    drains_without_loss(
        Program::new("/bin/sh").args(["-c", &script]),
        &["--stop-signal-to", "all"],
    );
}

/// An entrypoint passes the signal on and ends; the server that it has told finishes its answer.
#[test]
fn who_was_told_by_the_main_process_is_not_told_again() {
    if needs::or_skip("a one-shot handler", needs::program("python3")).is_none() {
        return;
    }
    let script = r#"python3 -c "$0" & app=$!; trap 'kill -TERM $app; exit 0' TERM; wait"#;
    let segue = Setup::new(Program::new("/bin/sh").args(["-c", script, ONE_SHOT]))
        .flags(["--no-listen-pid", "--drain-timeout", "1m"])
        .start();
    for _ in 0..3 {
        let mut client = segue.target().connect().unwrap();
        client.write(&get("/slow")).unwrap();
        // It is accepted by the generation that serves now: another answer of the same has come since.
        let mut other = segue.target().connect().unwrap();
        let generation = other.ask(&get_and_close("/ping")).unwrap().text();
        segue.reload_ok(&["--drained"]);
        assert_eq!(client.response().unwrap().text(), generation);
    }
    segue.stop();
}

/// Its main process catches the signal, and ends without a word to the server that it has started.
#[test]
fn who_shows_that_it_was_not_told_is_told() {
    let script = format!("{} & trap 'exit 0' TERM; wait", fixture("good"));
    drains_without_loss(Program::new("/bin/sh").args(["-c", &script]), &[]);
}

#[test]
fn who_fetches_a_signal_that_it_blocks_has_it_to_itself() {
    // The fixtures block the signal and read it from a signalfd.
    let segue = Setup::new(Program::fixture("hangs-in-drain"))
        .flags(["--drain-timeout", "2s"])
        .start();
    segue.reload_ok(&["--drained"]);
    let log = segue.process().stderr();
    assert!(!log.contains("everything that it has started is told"), "{log}");
    segue.stop();
}
