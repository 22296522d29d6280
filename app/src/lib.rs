//! Makes a Rust server handoff-ready: it takes its listeners from the supervisor, says when it is ready, and drains
//! without losing a request. It speaks plain systemd socket activation, so it works under Segue, systemd,
//! `systemd-socket-activate` and systemfd, and alone with an address of its own.
//!
//! ```no_run
//! use hyper::{Request, Response, body::Incoming, service::service_fn};
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, std::convert::Infallible> {
//!     Ok(Response::new("hello\n".to_owned()))
//! }
//!
//! fn main() -> Result<(), segue_app::Error> {
//!     let server = segue_app::Server::from_environment()?.or_bind("127.0.0.1:1234")?;
//!     println!("{}", server.run(service_fn(hello))?);
//!     Ok(())
//! }
//! ```
//!
//! An axum `Router`, or any other tower service, is served with [`Server::serve_tower`].
//!
//! # The drain
//!
//! On SIGTERM or SIGINT (more of them change nothing) the server stops accepting and serves what it has accepted:
//!
//! - Every HTTP/1 response from then on carries `Connection: close` and is the last of its connection; nothing
//!   behind it is executed. If bytes of further requests have been read already (pipelining), those are answered
//!   first and the last answer carries it.
//! - A connection that has not asked anything yet is given 5 s for its first request, an idle kept-alive one 10 s
//!   for one more. One of which part of a request has been read is never closed as idle.
//! - Closing means FIN first, and reading on until the client has closed: its last response is never lost to a RST.
//! - HTTP/2 connections get the two-step GOAWAY at once.
//! - Long-lived ones (event streams, upgraded connections) are told by [`Drain`] and have a deadline of their own.
//! - At the hard deadline what is left is reset and counted: an orderly end could make a cut body look whole. (A
//!   Unix socket has no reset; its client sees an end in the middle of a body.)
//!
//! The waiting for an idle connection has the race that every keep-alive timeout has: a request that crosses the FIN
//! after 10 s of silence is not answered. The report counts these.
//!
//! Every time is a documented constant in [`limits`] and a setter of [`Server`].
//!
//! `unsafe` is confined to one file, `environment/claim.rs`: owning the fds that were handed over, and removing
//! their variables.

mod accept;
mod connection;
mod drain;
pub mod environment;
mod error;
pub mod limits;
mod listener;
mod notify;
mod peer;
mod report;
mod server;
mod tell;

pub use connection::LongLived;
pub use drain::Drain;
pub use environment::Environment;
pub use error::{Error, Result, errno_text};
pub use listener::Listener;
pub use notify::Notifier;
pub use peer::Peer;
pub use report::Report;
pub use server::Server;
/// The TLS library whose settings [`Server::tls`] takes, so that both are of one version.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
