//! Prints what was handed over, and what a child of this process would still see of it (nothing).

use std::os::fd::{AsFd, AsRawFd};

use segue_app::{Environment, Error};

fn main() -> Result<(), Error> {
    let environment = Environment::take()?;
    for socket in environment.sockets() {
        let kind = if socket.is_listener() {
            "listener"
        } else {
            "other socket"
        };
        println!("fd {} name {} {kind}", socket.as_fd().as_raw_fd(), socket.name());
    }
    println!(
        "generation {:?} worker {:?} deadline {:?}",
        environment.generation(),
        environment.worker(),
        environment.drain_deadline()
    );
    println!(
        "notify {:?} watchdog {:?}",
        environment.notify_socket(),
        environment.watchdog()
    );
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["LISTEN_", "NOTIFY_", "WATCHDOG_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            println!("left {name}");
        }
    }
    Ok(())
}
