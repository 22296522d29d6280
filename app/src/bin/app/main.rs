//! The sample server of Segue: a few answers that make a handoff visible. It needs no supervisor.

mod body;
mod routes;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hyper::service::service_fn;
use segue_app::{Environment, Result, Server};

use crate::routes::Site;

/// The address when nobody hands over a listener and no other is asked for.
const DEFAULT_BIND: &str = "127.0.0.1:1234";

/// What /ping says unless it is told otherwise: `APP_MESSAGE` at build time, or this.
const MESSAGE: &str = match option_env!("APP_MESSAGE") {
    Some(message) => message,
    None => "test",
};

/// A sample server that can be replaced under load: GET /ping, /slow?ms=N, /bytes?n=N[&ms=PAUSE], /events,
/// /healthz, POST /echo. It serves the listeners of LISTEN_FDS, or binds.
#[derive(Debug, Parser)]
#[command(name = "app", version)]
struct Arguments {
    /// Address to bind when no listener was handed over: PORT, HOST:PORT, *:PORT, unix:PATH or unix:@NAME; repeatable
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_BIND)]
    bind: Vec<String>,

    /// What /ping answers; the environment's APP_MESSAGE comes second, the compiled-in text last
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// Read the arguments, say nothing is wrong with them, and exit
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    // First of all, while there is one thread.
    let environment = Environment::take();
    let arguments = Arguments::parse();
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    match environment.and_then(|environment| serve(environment, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn serve(environment: Environment, arguments: Arguments) -> Result<()> {
    let message = arguments
        .message
        .or_else(|| std::env::var_os("APP_MESSAGE").map(lossy));
    let generation = environment.generation();
    let mut server = Server::new(environment)?;
    for address in &arguments.bind {
        server = server.or_bind(address)?;
    }
    for listener in server.listeners() {
        say(&format_args!(
            "serving {} on {}",
            listener.name(),
            listener.address()
        ));
    }
    let site = Arc::new(Site::new(
        message.as_deref().unwrap_or(MESSAGE),
        generation,
        server.drain(),
    ));
    let report = server.run(service_fn(move |request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    }))?;
    say(&report);
    Ok(())
}

/// One line on stderr. If nobody reads it any more (the disk is full, the reader of the log has gone) the app serves all the
/// same, where eprintln would end it.
fn say(text: &dyn std::fmt::Display) {
    let _ = std::io::stderr().write_all(format!("app: {text}\n").as_bytes());
}

fn lossy(text: OsString) -> String {
    text.to_string_lossy().into_owned()
}
