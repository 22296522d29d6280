//! Servers that lose requests at their stop signal, steered: the old generation lingers, so that none of them hears of a stop while
//! it has a connection. They are unmodified, but that they close idle connections after two seconds. `.ci/more servers` plays
//! them; the second table of docs/compatibility.md is about one such run.

use segue_tests::figures::{say, scale};
use segue_tests::ledger::{Ledger, Tally};
use segue_tests::load::parked::Parked;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::segue::Segue;

use super::play::{Listeners, Premises, present, start};
use super::table::{NGINX, PLAIN, Server, Version};

const TWO_SECONDS: Server = Server {
    keep_alive: Some("2"),
    setup: "servers-all",
    ..PLAIN
};

/// Connections on which a request comes just after the stop signal.
const IDLE: usize = 20;

fn play(test: &str, server: &Server) {
    let place = Premises::new(segue_tests::segue::directory().path().to_owned(), server);
    if needs::or_skip(test, present(server, &place)).is_none() {
        return;
    }
    let shared = asked_at_the_stop(server, Listeners::Shared);
    let steered = asked_at_the_stop(server, Listeners::Steered);
    let (new, pausing) = reloads(server);
    let restless = never_pausing(server);
    for (what, tally) in [
        ("shared, idle connections", &shared),
        ("steered, idle connections", &steered),
        ("steered, new connections", &new),
        ("steered, clients that pause", &pausing),
        ("steered, clients that never pause", &restless),
    ] {
        say(format_args!("{}, {what}: {}", server.name, tally.figures()));
    }
    shared.assert_detector_fired();
    [steered, new, pausing]
        .iter()
        .for_each(Tally::assert_nothing_lost);
}

/// A request on each of some idle connections, just after the takeover; where the old one is told to stop then, as soon as it closes
/// one of them.
fn asked_at_the_stop(server: &Server, listeners: Listeners) -> Tally {
    // They must not end by themselves while the new generation starts.
    let keep_alive = server.keep_alive.map(|_| "60");
    let segue = start(
        &Server {
            keep_alive,
            ..*server
        },
        listeners,
        None,
    );
    let ledger = Ledger::default();
    let mut idle = Parked::idle(&segue.target(), &ledger, IDLE);
    segue.reload_ok(&[]);
    if listeners == Listeners::Shared {
        idle.wait_for_a_close();
    }
    idle.finish();
    segue.stop();
    ledger.tally()
}

/// New connections all the while, and clients whose pauses are longer than the server keeps an idle connection.
fn reloads(server: &Server) -> (Tally, Tally) {
    let segue = start(server, Listeners::Steered, None);
    let new = Load::start(Kind::Fresh, &segue.target(), 3);
    let pausing = Load::start(Kind::Pausing, &segue.target(), 16);
    let reloads = if server.keep_alive.is_some() {
        scale(3, 20)
    } else {
        2
    };
    for _ in 0..reloads {
        reload_until_gone(&segue);
        new.wait_for_more(50);
    }
    let tallies = (new.stop(), pausing.stop());
    segue.stop();
    tallies
}

fn reload_until_gone(segue: &Segue) {
    let old = segue.status().generation();
    segue.reload_ok(&[]);
    segue.wait_until("the old one is gone", |status| status.pids(old).is_empty());
}

/// Clients that keep the old generation until its time is up. What is lost then is what the server loses at its stop signal.
fn never_pausing(server: &Server) -> Tally {
    let segue = start(server, Listeners::Briefly, None);
    let load = Load::start(Kind::KeepAlive, &segue.target(), 4);
    for _ in 0..scale(2, 20) {
        reload_until_gone(&segue);
        load.wait_for_more(50);
    }
    let tally = load.stop();
    segue.stop();
    tally
}

macro_rules! servers {
    ($($test:ident: $server:expr;)*) => {
        $(
            #[test]
            #[ignore = ".ci/more servers"]
            fn $test() {
                play(stringify!($test), &$server);
            }
        )*
    };
}

servers! {
    nginx_term: Server {
        name: "nginx, TERM",
        flags: &["--env", "NGINX=3;"],
        keep_alive: Some("2"),
        ..NGINX
    };
    node_no_handler: Server {
        name: "node:http, no handler",
        version: Version::Command(&["node", "--version"]),
        command: &["node", "{here}/servers.mjs", "http-no-handler"],
        ..TWO_SECONDS
    };
    uvicorn: Server {
        name: "uvicorn",
        command: &[
            "{tools}/servers/bin/uvicorn",
            "--fd",
            "3",
            "--timeout-keep-alive",
            "{keep_alive}",
            "--log-level",
            "error",
            "--app-dir",
            "{here}",
            "asgi:app",
        ],
        ..TWO_SECONDS
    };
    aiohttp: Server {
        name: "aiohttp",
        listen: ",non-blocking",
        command: &["{tools}/servers/bin/python", "{here}/in_code.py", "aiohttp"],
        ..TWO_SECONDS
    };
    // It keeps idle connections for a minute, and has no option for that.
    daphne: Server {
        name: "Daphne",
        listen: ",non-blocking",
        command: &["{tools}/servers/bin/daphne", "--fd", "3", "--verbosity", "0", "asgi:app"],
        flags: &["--env", "PYTHONPATH={here}"],
        keep_alive: None,
        ..TWO_SECONDS
    };
    go_without_shutdown: Server {
        name: "Go net/http",
        command: &["{tools}/servers-go/server", "no-handler"],
        ..TWO_SECONDS
    };
}
