//! The servers of docs/node.md and docs/python.md, as they stand in `examples/`, under Segue.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use segue_tests::http::{get, get_and_close};
use segue_tests::needs;
use segue_tests::program::Program;
use segue_tests::segue::Setup;

/// Between two questions on a kept connection.
const PAUSE: Duration = Duration::from_millis(20);

/// The server as many write it: its `close()` also closes kept connections that wait for their next request.
const HASTY: &str = "const server = require('node:http').createServer((request, response) => response.end('hello')); \
                     server.listen({ fd: 3 }); process.on('SIGTERM', () => server.close());";

fn example(program: &str, file: &str) -> Program {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(file);
    Program::new(program).args([file.canonicalize().unwrap()])
}

/// Whether a client that asks on and on, on one kept connection, is told at a reload that an answer is the last one. If not,
/// the connection has been closed without a word, and a request that was on its way is lost.
fn tells_the_end(program: Program) -> bool {
    let segue = Setup::new(program).start();
    let mut kept = segue.target().connect().unwrap();
    assert!(!kept.ask(&get("/")).unwrap().close);
    let reload = segue.begin("reload", &[]);
    let end = Instant::now() + segue_tests::patience();
    let told = loop {
        assert!(
            Instant::now() < end,
            "the old generation neither told the end nor closed"
        );
        if kept.is_closed() {
            break false;
        }
        match kept.ask(&get("/")) {
            Ok(answer) if answer.ok().unwrap().close => break true,
            Ok(_) => std::thread::sleep(PAUSE),
            Err(_) => break false,
        }
    };
    assert_eq!(reload.finish().code, Some(0));
    segue.stop();
    told
}

#[test]
fn the_node_server_of_the_guide_tells_a_kept_connection_its_end() {
    let name = "the_node_server_of_the_guide_tells_a_kept_connection_its_end";
    if needs::or_skip(name, needs::program("node")).is_none() {
        return;
    }
    assert!(tells_the_end(example("node", "node/server.js")));
}

#[test]
fn a_node_server_that_closes_at_once_is_found() {
    let name = "a_node_server_that_closes_at_once_is_found";
    if needs::or_skip(name, needs::program("node")).is_none() {
        return;
    }
    // A request may have been under way at that very moment, and then its answer may tell the end.
    let hasty = || Program::new("node").args(["-e", HASTY]);
    assert!((0..10).any(|_| !tells_the_end(hasty())));
}

#[test]
fn the_python_server_of_the_guide_is_handed_over() {
    let name = "the_python_server_of_the_guide_is_handed_over";
    if needs::or_skip(name, needs::program("python3")).is_none() {
        return;
    }
    let segue = Setup::new(example("python3", "python/server.py")).start();
    for _ in 0..3 {
        segue.reload_ok(&["--drained"]);
        let answer = segue.target().connect().unwrap().ask(&get_and_close("/"));
        answer.unwrap().ok_with(b"{\"message\": \"hello\"}\n").unwrap();
    }
    segue.stop();
}
