//! Real servers, unmodified, each below Segue: what it does at its stop signal, and whether a request is lost in reloads
//! under load, on new connections and on kept ones. `table.rs` says what is expected of each, `play.rs` measures it, and
//! `page.rs` keeps `docs/compatibility.md` true: `SEGUE_BLESS=1` writes the measured row into the page.
//!
//! Six of them, one of each kind, are played by every run. The others are ignored, since they need many packages:
//! `.ci/more servers` installs these and plays all.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod einhorn;
mod linger;
mod page;
mod play;
mod ready;
mod table;
mod taken_paths;

use table::{Table, find};

/// One test a server, and the list of them, which [`page`] compares with the table.
macro_rules! servers {
    ($($(#[$attribute:meta])* $test:ident: $name:literal,)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $test() {
                play::play(stringify!($test), find($name));
            }
        )*
        /// The names of the servers that have a test.
        const PLAYED: &[&str] = &[$($name),*];
    };
}

servers! {
    nginx: "nginx, QUIT",
    haproxy: "HAProxy, USR1",
    puma: "Puma",
    gunicorn_sync: "Gunicorn, sync",
    uvicorn: "uvicorn",
    node_http: "node:http",
    #[ignore = ".ci/more servers"]
    nginx_term: "nginx, TERM",
    #[ignore = ".ci/more servers"]
    haproxy_term: "HAProxy, TERM",
    #[ignore = ".ci/more servers"]
    lighttpd: "lighttpd, INT",
    #[ignore = ".ci/more servers"]
    lighttpd_term: "lighttpd, TERM",
    #[ignore = ".ci/more servers"]
    unicorn: "unicorn, QUIT",
    #[ignore = ".ci/more servers"]
    starman: "Starman, QUIT",
    #[ignore = ".ci/more servers"]
    uwsgi: "uWSGI",
    #[ignore = ".ci/more servers"]
    gunicorn_gthread: "Gunicorn, gthread",
    #[ignore = ".ci/more servers"]
    gunicorn_gevent: "Gunicorn, gevent",
    #[ignore = ".ci/more servers"]
    hypercorn: "Hypercorn",
    #[ignore = ".ci/more servers"]
    daphne: "Daphne",
    #[ignore = ".ci/more servers"]
    waitress: "waitress",
    #[ignore = ".ci/more servers"]
    aiohttp: "aiohttp",
    #[ignore = ".ci/more servers"]
    tornado: "Tornado",
    #[ignore = ".ci/more servers"]
    twisted: "Twisted",
    #[ignore = ".ci/more servers"]
    cheroot: "cheroot",
    #[ignore = ".ci/more servers"]
    gevent: "gevent.pywsgi",
    #[ignore = ".ci/more servers"]
    sanic: "Sanic",
    #[ignore = ".ci/more servers"]
    werkzeug: "Werkzeug",
    #[ignore = ".ci/more servers"]
    http_server: "http.server",
    #[ignore = ".ci/more servers"]
    node_no_handler: "node:http, no handler",
    #[ignore = ".ci/more servers"]
    express: "Express",
    #[ignore = ".ci/more servers"]
    fastify: "Fastify",
    #[ignore = ".ci/more servers"]
    koa: "Koa",
    #[ignore = ".ci/more servers"]
    hapi: "hapi",
    #[ignore = ".ci/more servers"]
    polka: "Polka",
    #[ignore = ".ci/more servers"]
    restana: "restana",
    #[ignore = ".ci/more servers"]
    hono: "Hono",
    #[ignore = ".ci/more servers"]
    go: "Go net/http",
    #[ignore = ".ci/more servers"]
    axum: "axum",
    #[ignore = ".ci/more servers"]
    actix: "Actix Web",
    #[ignore = ".ci/more servers"]
    warp: "warp",
    #[ignore = ".ci/more servers"]
    poem: "poem",
}

#[test]
fn every_row_of_the_table_has_a_test() {
    let rows: Vec<_> = Table::ROWS.iter().map(|server| server.name).collect();
    assert_eq!(rows, PLAYED);
}
