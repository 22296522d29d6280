//! Many connections that stay open: each has a request under way, so that a correct drain waits for all of them.

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::http::{self, Target};
use crate::segue::{Segue, Setup};

/// What each asks for: the sample app answers after its longest pause, far longer than a test takes.
const REQUEST: &str = "/slow?ms=3600000";

/// How a supervisor is started whose app keeps such connections: as long as the test goes on, and no longer. (Without any time the app
/// takes one of its own.) The sample app goes on
/// with a slow answer whose client has left, so its stop ends by the kill.
#[must_use]
pub fn patient(setup: Setup) -> Setup {
    setup.flags([
        "--drain-timeout",
        "1h",
        "--stop-timeout",
        "1s",
        "--probation",
        "0s",
    ])
}

/// Opens so many connections to the generation that serves, which the next reload retires.
///
/// # Panics
/// When they are not accepted in time, or the reload fails.
#[must_use]
#[track_caller]
pub fn drain(segue: &Segue, count: usize) -> Crowd {
    let serves = segue.status().generation();
    let crowd = Crowd::open(&segue.target(), count);
    segue.wait_until("all connections are accepted", |status| {
        status.connections(serves) == count
    });
    segue.reload_ok(&[]);
    crowd
}

/// Reloads so often, and leaves each generation with a connection that keeps it: all of them are retired at once.
///
/// # Panics
/// When a reload fails.
#[must_use]
#[track_caller]
pub fn retire(segue: &Segue, count: usize) -> Vec<Crowd> {
    let target = segue.target();
    // The generation before may take a connection as long as it has not heard of its retirement: those that it takes stay open, too.
    let crowds = RefCell::new(Vec::new());
    let serves = segue.status().generation();
    for generation in (serves..).take(count) {
        segue.wait_until("the generation has a connection of its own", |status| {
            status.connections(generation) > 0 || {
                crowds.borrow_mut().push(Crowd::open(&target, 1));
                false
            }
        });
        segue.reload_ok(&[]);
    }
    crowds.into_inner()
}

/// Open connections. They end when it is dropped.
pub struct Crowd {
    connections: Vec<TcpStream>,
}

impl Crowd {
    /// Lets this process, and those that it starts from now on, have as many descriptors as the system permits, if it
    /// may not have as many already: other tests share the process.
    ///
    /// # Panics
    /// When those are not enough for the connections.
    pub fn make_room(count: usize) {
        let (now, most) =
            getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_else(|error| panic!("getrlimit: {error}"));
        let needed = count as u64 + 500;
        if now > needed {
            return;
        }
        assert!(
            most > needed,
            "{count} connections do not fit into {most} descriptors"
        );
        let raised = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        raised.unwrap_or_else(|error| panic!("setrlimit: {error}"));
    }

    /// Opens them, one after the other, and sends a request on each.
    ///
    /// # Panics
    /// When one cannot be opened, or the target is no TCP listener.
    #[must_use]
    #[track_caller]
    pub fn open(target: &Target, count: usize) -> Self {
        let Target::Tcp(address) = target else {
            panic!("{target:?} is not TCP");
        };
        let request = http::get_and_close(REQUEST);
        let one = |number| {
            let connected = TcpStream::connect(address).and_then(|mut stream| {
                stream.write_all(&request)?;
                Ok(stream)
            });
            connected.unwrap_or_else(|error| panic!("connection {number} of {count}: {error}"))
        };
        Self {
            connections: (0..count).map(one).collect(),
        }
    }

    /// How many the server has cut or answered: none, as long as all is well.
    #[must_use]
    pub fn ended(&self) -> usize {
        let ended = |stream: &&TcpStream| {
            let _ = stream.set_nonblocking(true);
            let heard = stream.peek(&mut [0]);
            !heard.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        self.connections.iter().filter(ended).count()
    }
}
