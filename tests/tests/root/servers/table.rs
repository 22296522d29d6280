//! The servers, and what is expected of each. One row is one server with one way of telling it to stop.

/// One row.
#[derive(Clone, Copy)]
pub(super) struct Server {
    /// The name in the page.
    pub(super) name: &'static str,
    /// How its version is asked for.
    pub(super) version: Version,
    /// The command behind `segue run ... --`. `{address}`, `{host}`, `{port}` are those of the socket, `{dir}` is the
    /// instance's directory, `{here}` is `tests/servers`, `{tools}` where `tests/setup.sh` installs.
    pub(super) command: &'static [&'static str],
    /// Options of `--listen`.
    pub(super) listen: &'static str,
    /// Flags of `segue run` that this server wants.
    pub(super) flags: &'static [&'static str],
    /// Files of `tests/servers` that are copied to the instance's directory, their placeholders filled in.
    pub(super) files: &'static [&'static str],
    /// For how many seconds it keeps an idle connection, where that is not left to it: `{keep_alive}` in its files and words, and
    /// KEEP_ALIVE in its environment.
    pub(super) keep_alive: Option<&'static str>,
    /// Whether it serves the files `ping` and `big` of the instance's directory.
    pub(super) is_static: bool,
    /// What it stands in front of.
    pub(super) backend: Backend,
    /// The part of `tests/setup.sh` that installs it.
    pub(super) setup: &'static str,
    /// How it takes the socket, for the page.
    pub(super) takes: &'static str,
    /// An idle kept connection after the stop signal.
    pub(super) idle: Idle,
    /// A response in flight at the stop signal.
    pub(super) in_flight: InFlight,
    /// Losses on new connections.
    pub(super) new: Lost,
    /// Losses on kept connections.
    pub(super) kept: Lost,
    /// What helps, for the page.
    pub(super) helps: &'static str,
}

/// How a server tells its version.
#[derive(Clone, Copy)]
pub(super) enum Version {
    Command(&'static [&'static str]),
    Python(&'static str),
    Npm(&'static str),
    Crate(&'static str),
}

/// What a proxy stands in front of.
#[derive(Clone, Copy)]
pub(super) enum Backend {
    None,
    /// A fixture below a Segue of its own, on a Unix socket in the instance's directory.
    Fixture,
}

/// What an idle kept connection meets after the stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// The server closes it, sooner or later, unasked.
    Closed,
    /// One more request is answered.
    Answers,
    /// One or the other.
    Either,
    /// There are no kept connections.
    None,
}

impl Idle {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Answers => "answers once more",
            Self::Either => "closed, or answers once more",
            Self::None => "no keep-alive",
        }
    }
}

/// What becomes of a response that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InFlight {
    Completed,
    Cut,
}

impl InFlight {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Cut => "cut off",
        }
    }
}

/// How a kind of request fares, by what the server does; counts vary with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The server finishes what it has accepted: a loss is a fault.
    None,
    /// It may close a connection at the instant at which a request arrives, or drops what it has accepted. Whether a run
    /// meets that depends on the machine.
    Some,
}

impl Lost {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Some => "some",
        }
    }
}

pub(super) struct Table;

/// The common values.
pub(super) const PLAIN: Server = Server {
    name: "",
    version: Version::Command(&[]),
    command: &[],
    listen: "",
    flags: &[],
    files: &[],
    keep_alive: None,
    is_static: false,
    backend: Backend::None,
    setup: "",
    takes: "",
    idle: Idle::Closed,
    in_flight: InFlight::Completed,
    new: Lost::Some,
    kept: Lost::Some,
    helps: "",
};

/// What is common to the servers in `in_code.py`.
const PYTHON: Server = Server {
    setup: "servers-all",
    ..PLAIN
};

/// What is common to those in `servers.mjs`.
const NODE: Server = Server {
    setup: "servers-all",
    in_flight: InFlight::Cut,
    ..PLAIN
};

/// What is common to those in `tests/servers/rust`.
const RUST: Server = Server {
    setup: "servers-all",
    takes: "`listenfd`, in code",
    ..PLAIN
};

pub(super) const NGINX: Server = Server {
    version: Version::Command(&["nginx", "-v"]),
    command: &["nginx", "-p", "{dir}", "-e", "stderr", "-c", "{dir}/nginx.conf"],
    files: &["nginx.conf"],
    is_static: true,
    takes: "`NGINX=3;`; `listen` is the socket's own address",
    ..PLAIN
};

const HAPROXY: Server = Server {
    version: Version::Command(&["haproxy", "-v"]),
    command: &["haproxy", "-Ws", "-f", "{dir}/haproxy.cfg"],
    flags: &[],
    files: &["haproxy.cfg"],
    backend: Backend::Fixture,
    takes: "`bind fd@3`",
    ..PLAIN
};

const LIGHTTPD: Server = Server {
    version: Version::Command(&["lighttpd", "-v"]),
    command: &["lighttpd", "-D", "-f", "{dir}/lighttpd.conf"],
    files: &["lighttpd.conf"],
    is_static: true,
    setup: "servers-all",
    takes: "`server.systemd-socket-activation`",
    ..PLAIN
};

const GUNICORN: Server = Server {
    version: Version::Python("gunicorn"),
    flags: &[],
    setup: "servers",
    takes: "by itself",
    idle: Idle::Answers,
    new: Lost::None,
    kept: Lost::None,
    helps: "nothing to do",
    ..PLAIN
};

impl Table {
    pub(super) const ROWS: &[Server] = &[
        Server {
            name: "nginx, QUIT",
            flags: &["--stop-signal", "QUIT", "--env", "NGINX=3;"],
            helps: "`keepalive_timeout 0`, or clients that try again",
            ..NGINX
        },
        Server {
            name: "HAProxy, USR1",
            flags: &["--stop-signal", "USR1"],
            helps: "`USR1`, never `TERM`",
            ..HAPROXY
        },
        Server {
            name: "Puma",
            version: Version::Command(&["puma", "--version"]),
            command: &[
                "puma",
                "--quiet",
                "-t",
                "16:16",
                "-b",
                "tcp://{address}",
                "{here}/config.ru",
            ],
            setup: "servers",
            takes: "`-b` is the socket's own address",
            idle: Idle::Either,
            helps: "nothing to do",
            ..PLAIN
        },
        Server {
            name: "Gunicorn, sync",
            command: &[
                "{tools}/servers/bin/gunicorn",
                "--log-level",
                "error",
                "--chdir",
                "{here}",
                "wsgi:app",
            ],
            idle: Idle::None,
            ..GUNICORN
        },
        Server {
            name: "uvicorn",
            version: Version::Python("uvicorn"),
            command: &[
                "{tools}/servers/bin/uvicorn",
                "--fd",
                "3",
                "--log-level",
                "error",
                "--app-dir",
                "{here}",
                "asgi:app",
            ],
            setup: "servers",
            takes: "`--fd 3`, one socket only",
            helps: "clients that try again",
            ..PLAIN
        },
        Server {
            name: "node:http",
            version: Version::Command(&["node", "--version"]),
            command: &["node", "{here}/servers.mjs", "http"],
            takes: "`listen({ fd: 3 })`, in code",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "nginx, TERM",
            flags: &["--env", "NGINX=3;"],
            in_flight: InFlight::Cut,
            helps: "`--stop-signal QUIT`",
            ..NGINX
        },
        Server {
            name: "HAProxy, TERM",
            flags: &[],
            idle: Idle::Either,
            in_flight: InFlight::Cut,
            helps: "`--stop-signal USR1`",
            ..HAPROXY
        },
        Server {
            name: "lighttpd, INT",
            flags: &["--stop-signal", "INT"],
            helps: "clients that try again",
            ..LIGHTTPD
        },
        Server {
            name: "lighttpd, TERM",
            in_flight: InFlight::Cut,
            helps: "`--stop-signal INT`",
            ..LIGHTTPD
        },
        Server {
            name: "unicorn, QUIT",
            version: Version::Command(&["unicorn", "--version"]),
            command: &["unicorn", "-l", "{address}", "{here}/config.ru"],
            flags: &["--stop-signal", "QUIT"],
            setup: "servers-all",
            takes: "`-l` is the socket's own address",
            idle: Idle::None,
            new: Lost::None,
            kept: Lost::None,
            helps: "`QUIT`, never `TERM`",
            ..PLAIN
        },
        Server {
            name: "Starman, QUIT",
            version: Version::Command(&["starman", "--version"]),
            command: &["starman", "--workers", "16", "{here}/app.psgi"],
            flags: &[
                "--stop-signal",
                "QUIT",
                "--env",
                "SERVER_STARTER_PORT={address}=3",
            ],
            setup: "servers-all",
            takes: "`SERVER_STARTER_PORT`",
            helps: "another server",
            ..PLAIN
        },
        Server {
            name: "uWSGI",
            version: Version::Command(&["uwsgi", "--version"]),
            command: &[
                "uwsgi",
                "--plugin",
                "python3",
                "--http-socket",
                "fd://3",
                "--die-on-term",
                "--master",
                "--disable-logging",
                "--wsgi-file",
                "{here}/wsgi.py",
            ],
            flags: &[],
            setup: "servers-all",
            takes: "`--http-socket fd://3`",
            idle: Idle::Closed,
            in_flight: InFlight::Cut,
            helps: "`--die-on-term`, or TERM reloads it",
            ..PLAIN
        },
        Server {
            name: "Gunicorn, gthread",
            command: &[
                "{tools}/servers/bin/gunicorn",
                "--log-level",
                "error",
                "--worker-class",
                "gthread",
                "--threads",
                "4",
                "--chdir",
                "{here}",
                "wsgi:app",
            ],
            idle: Idle::Either,
            kept: Lost::Some,
            ..GUNICORN
        },
        Server {
            name: "Gunicorn, gevent",
            command: &[
                "{tools}/servers/bin/gunicorn",
                "--log-level",
                "error",
                "--worker-class",
                "gevent",
                "--chdir",
                "{here}",
                "wsgi:app",
            ],
            setup: "servers-all",
            idle: Idle::Either,
            kept: Lost::Some,
            ..GUNICORN
        },
        Server {
            name: "Hypercorn",
            listen: ",non-blocking",
            version: Version::Python("hypercorn"),
            command: &[
                "{tools}/servers/bin/hypercorn",
                "--bind",
                "fd://3",
                "--log-level",
                "error",
                "{here}/asgi:app",
            ],
            takes: "`--bind fd://3`",
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "Daphne",
            listen: ",non-blocking",
            version: Version::Python("daphne"),
            command: &[
                "{tools}/servers/bin/daphne",
                "--fd",
                "3",
                "--verbosity",
                "0",
                "asgi:app",
            ],
            flags: &["--env", "PYTHONPATH={here}"],
            takes: "`--fd 3`",
            in_flight: InFlight::Cut,
            helps: "another server",
            ..PYTHON
        },
        Server {
            name: "waitress",
            version: Version::Python("waitress"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "waitress"],
            takes: "`serve(sockets=[...])`, in code",
            in_flight: InFlight::Cut,
            helps: "another server",
            ..PYTHON
        },
        Server {
            name: "aiohttp",
            listen: ",non-blocking",
            version: Version::Python("aiohttp"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "aiohttp"],
            takes: "`run_app(sock=...)`, in code",
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "Tornado",
            listen: ",non-blocking",
            version: Version::Python("tornado"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "tornado"],
            takes: "`add_socket`, in code",
            in_flight: InFlight::Cut,
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "Twisted",
            listen: ",non-blocking",
            version: Version::Python("twisted"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "twisted"],
            flags: &[],
            takes: "`adoptStreamPort`, in code",
            in_flight: InFlight::Cut,
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "cheroot",
            version: Version::Python("cheroot"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "cheroot"],
            takes: "by itself",
            in_flight: InFlight::Cut,
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "gevent.pywsgi",
            listen: ",non-blocking",
            version: Version::Python("gevent"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "gevent"],
            takes: "`WSGIServer(listener)`, in code",
            helps: "clients that try again",
            in_flight: InFlight::Cut,
            ..PYTHON
        },
        Server {
            name: "Sanic",
            version: Version::Python("sanic"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "sanic"],
            flags: &[],
            takes: "`run(sock=...)`, in code",
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "Werkzeug",
            version: Version::Python("werkzeug"),
            command: &["{tools}/servers/bin/python", "{here}/in_code.py", "werkzeug"],
            takes: "`make_server(fd=3)`, in code",
            idle: Idle::None,
            helps: "another server: this one is for development",
            ..PYTHON
        },
        Server {
            name: "http.server",
            version: Version::Command(&["python3", "--version"]),
            command: &["python3", "{here}/in_code.py", "http_server"],
            takes: "`server.socket = ...`, in code",
            in_flight: InFlight::Cut,
            helps: "clients that try again",
            ..PYTHON
        },
        Server {
            name: "node:http, no handler",
            version: Version::Command(&["node", "--version"]),
            command: &["node", "{here}/servers.mjs", "http-no-handler"],
            takes: "`listen({ fd: 3 })`, in code",
            in_flight: InFlight::Cut,
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Express",
            version: Version::Npm("express"),
            command: &["node", "{here}/servers.mjs", "express", "{tools}/servers-npm"],
            takes: "`listen({ fd: 3 })`, in code",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Fastify",
            version: Version::Npm("fastify"),
            command: &["node", "{here}/servers.mjs", "fastify", "{tools}/servers-npm"],
            takes: "`listen({ fd: 3 })`, in code",
            helps: "`app.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Koa",
            version: Version::Npm("koa"),
            command: &["node", "{here}/servers.mjs", "koa", "{tools}/servers-npm"],
            takes: "`listen({ fd: 3 })`, in code",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "hapi",
            version: Version::Npm("@hapi/hapi"),
            command: &["node", "{here}/servers.mjs", "hapi", "{tools}/servers-npm"],
            takes: "`listener`, `autoListen: false`, in code",
            helps: "`listener.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Polka",
            version: Version::Npm("polka"),
            command: &["node", "{here}/servers.mjs", "polka", "{tools}/servers-npm"],
            takes: "`listen({ fd: 3 })`, in code",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "restana",
            version: Version::Npm("restana"),
            command: &["node", "{here}/servers.mjs", "restana", "{tools}/servers-npm"],
            takes: "`server`, in code",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Hono",
            version: Version::Npm("@hono/node-server"),
            command: &["node", "{here}/servers.mjs", "hono", "{tools}/servers-npm"],
            takes: "`createAdaptorServer(app).listen({ fd: 3 })`",
            helps: "`server.close()` at SIGTERM",
            ..NODE
        },
        Server {
            name: "Go net/http",
            version: Version::Command(&["go", "version"]),
            command: &["{tools}/servers-go/server"],
            setup: "servers-all",
            takes: "`net.FileListener`, in code",
            helps: "`Shutdown` at SIGTERM",
            ..PLAIN
        },
        Server {
            name: "axum",
            version: Version::Crate("axum"),
            command: &["{tools}/servers-rust/release/server", "axum"],
            helps: "`segue-app`",
            ..RUST
        },
        Server {
            name: "Actix Web",
            version: Version::Crate("actix-web"),
            command: &["{tools}/servers-rust/release/server", "actix"],
            helps: "`segue-app`",
            ..RUST
        },
        Server {
            name: "warp",
            version: Version::Crate("warp"),
            command: &["{tools}/servers-rust/release/server", "warp"],
            helps: "`segue-app`",
            ..RUST
        },
        Server {
            name: "poem",
            version: Version::Crate("poem"),
            command: &["{tools}/servers-rust/release/server", "poem"],
            helps: "`segue-app`",
            ..RUST
        },
    ];
}

pub(super) fn find(name: &str) -> &'static Server {
    Table::ROWS
        .iter()
        .find(|server| server.name == name)
        .unwrap_or_else(|| panic!("no server is named {name}"))
}
