//! Many connections that stay open: each has a request under way, so that a correct drain waits for all of them.

use std::io::Write;
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::http::{self, Target};

/// What each asks for: the sample app answers after its longest pause, far longer than a test takes.
const REQUEST: &str = "/slow?ms=3600000";

/// Open connections. They end when it is dropped.
pub struct Crowd {
    connections: Vec<TcpStream>,
}

impl Crowd {
    /// Lets this process, and those that it starts from now on, have as many descriptors as the system permits.
    ///
    /// # Panics
    /// When those are not enough for the connections.
    pub fn make_room(count: usize) {
        let (_, most) =
            getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_else(|error| panic!("getrlimit: {error}"));
        assert!(
            most > count as u64 + 500,
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
