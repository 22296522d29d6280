//! An HTTP/1.1 client that is exact about how an answer ended. Blocking, one connection, no pool, no retries.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::ledger::{Loss, Reason};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket with a path.
    Unix(PathBuf),
    /// A Unix socket with an abstract name.
    Abstract(String),
}

impl Target {
    /// The generation that answers `/ping` on a connection of its own; 0 if the app names none.
    ///
    /// # Panics
    /// When nobody answers.
    #[must_use]
    #[track_caller]
    pub fn who_answers(&self) -> u64 {
        let mut client = self.connect().unwrap_or_else(|loss| panic!("{loss:?}"));
        let answer = client
            .ask(&get_and_close("/ping"))
            .unwrap_or_else(|loss| panic!("{loss:?}"));
        answer.header(GENERATION).parse().unwrap_or(0)
    }

    /// From the address text of `segue status`: `127.0.0.1:80`, `unix:/path`, `unix:@name`. An unspecified IP address is
    /// reached over loopback.
    ///
    /// # Panics
    /// When it is neither.
    #[must_use]
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        let bare = text.strip_prefix("unix:").unwrap_or(text);
        if let Some(name) = bare.strip_prefix('@') {
            return Self::Abstract(name.to_owned());
        }
        if bare.starts_with('/') {
            return Self::Unix(bare.into());
        }
        let mut address: SocketAddr = bare
            .replacen("*:", "[::]:", 1)
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        if address.ip().is_unspecified() {
            let loopback = if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(loopback);
        }
        Self::Tcp(address)
    }

    /// Connects, with the harness's patience as the limit.
    ///
    /// # Errors
    /// A [`Loss`] that says whether anybody was there.
    pub fn connect(&self) -> Result<Client, Loss> {
        let patience = crate::patience();
        let connected = match self {
            Self::Tcp(address) => TcpStream::connect_timeout(address, patience).map(Stream::Tcp),
            Self::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Self::Abstract(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixStream::connect_addr(&address))
                .map(Stream::Unix),
        };
        let stream = connected
            .map_err(|error| Loss::new(Reason::of_connect(&error), format_args!("connect: {error}")))?;
        stream
            .prepare(patience)
            .map_err(|error| Loss::new(Reason::NotConnected, error))?;
        Ok(Client {
            port: stream.port(),
            stream,
            buffer: Vec::new(),
            end: Instant::now() + patience,
        })
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn prepare(&self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))
            }
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().map(|address| address.port()),
            Self::Unix(_) => None,
        }
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// One connection.
pub struct Client {
    stream: Stream,
    port: Option<u16>,
    buffer: Vec<u8>,
    end: Instant,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the server said that the connection ends with this answer.
    pub close: bool,
}

impl Response {
    /// A header by its lower-case name; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// This answer if its status is 200, else the loss.
    ///
    /// # Errors
    /// [`Reason::WrongStatus`].
    pub fn ok(&self) -> Result<&Self, Loss> {
        if self.status == 200 {
            Ok(self)
        } else {
            Err(Loss::new(
                Reason::WrongStatus,
                format_args!("{}: {}", self.status, self.text()),
            ))
        }
    }

    /// This answer if it is 200 with exactly this body, else the loss.
    ///
    /// # Errors
    /// [`Reason::WrongStatus`] or [`Reason::WrongBody`].
    pub fn ok_with(&self, body: &[u8]) -> Result<&Self, Loss> {
        let this = self.ok()?;
        if this.body == body {
            return Ok(this);
        }
        let same = this
            .body
            .iter()
            .zip(body)
            .take_while(|(got, want)| got == want)
            .count();
        let detail = format!(
            "{} of {} bytes, the first {same} right",
            this.body.len(),
            body.len()
        );
        Err(Loss::new(Reason::WrongBody, detail))
    }
}

/// How much of an answer had arrived when the connection ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Head,
    Body,
}

impl Client {
    /// Writes bytes. A failed write is no verdict yet: the server may have answered early, so read on.
    ///
    /// # Errors
    /// The write error.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.end = Instant::now() + crate::patience();
        self.stream.write_all(bytes)
    }

    /// Whether an idle connection has been closed by the server. A client must look before it uses a kept connection
    /// again; what is closed before the request is written has lost nothing.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let mut byte = [0; 1];
        let closed = match self.stream.read(&mut byte) {
            Ok(0) => true,
            // Bytes that nobody asked for: keep them, the next answer will show as malformed.
            Ok(_) => {
                self.buffer.push(byte[0]);
                false
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        closed || self.stream.set_nonblocking(false).is_err()
    }

    /// Whether bytes of a further answer have been read already.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Reads one whole answer.
    ///
    /// # Errors
    /// The exact way in which it is missing, cut or malformed.
    pub fn response(&mut self) -> Result<Response, Loss> {
        self.response_with(Body::Expected)
    }

    /// Reads one whole answer to a request of the given kind (HEAD answers have no body).
    ///
    /// # Errors
    /// As [`Client::response`].
    pub fn response_with(&mut self, expects: Body) -> Result<Response, Loss> {
        loop {
            let head = self.head()?;
            let response = self.parse(&head, expects)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    /// Writes a request and reads its answer.
    ///
    /// # Errors
    /// As [`Client::response`].
    pub fn ask(&mut self, request: &[u8]) -> Result<Response, Loss> {
        let written = self.write(request);
        self.response().map_err(|mut loss| {
            loss.port = self.port;
            if let Err(error) = written {
                loss.detail = format!("{} (and the write failed: {error})", loss.detail);
            }
            loss
        })
    }

    fn head(&mut self) -> Result<String, Loss> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.take(at + 4);
                return String::from_utf8(head).map_err(|error| Loss::new(Reason::Malformed, error));
            }
            let progress = if self.buffer.is_empty() {
                Progress::Nothing
            } else {
                Progress::Head
            };
            if self.fill(progress)? == 0 {
                return Err(ended(progress));
            }
        }
    }

    fn parse(&mut self, head: &str, expects: Body) -> Result<Response, Loss> {
        let malformed = || Loss::new(Reason::Malformed, format_args!("head: {head:?}"));
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ');
        let version = words
            .next()
            .filter(|word| word.starts_with("HTTP/1."))
            .ok_or_else(malformed)?;
        let status: u16 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(malformed)?;
        let mut headers = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (key, value) = line.split_once(':').ok_or_else(malformed)?;
            headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |name: &str| {
            headers
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let says =
            |word: &str| find("connection").is_some_and(|value| value.to_ascii_lowercase().contains(word));
        let close = says("close") || (version == "HTTP/1.0" && !says("keep-alive"));
        let bodiless = status < 200 || status == 204 || status == 304 || expects == Body::None;
        let body = if bodiless {
            Vec::new()
        } else if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunked()?
        } else if let Some(length) = find("content-length") {
            let length = length.parse().map_err(|_| malformed())?;
            self.exactly(length)?
        } else {
            self.until_closed()?
        };
        Ok(Response {
            status,
            headers,
            body,
            close,
        })
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Loss> {
        while self.buffer.len() < length {
            if self.fill(Progress::Body)? == 0 {
                return Err(Loss::new(
                    Reason::CutBody,
                    format_args!("{} of {length} bytes", self.buffer.len()),
                ));
            }
        }
        Ok(self.take(length))
    }

    /// The first bytes of the buffer. One by one they would be a good part of what a load costs.
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    fn line(&mut self) -> Result<String, Loss> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let mut line = self.take(at + 2);
                line.truncate(at);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.fill(Progress::Body)? == 0 {
                return Err(Loss::new(Reason::CutBody, "closed within a chunked body"));
            }
        }
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Loss> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16)
                .map_err(|_| Loss::new(Reason::Malformed, format_args!("chunk length {line:?}")))?;
            if length == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(length)?);
            if !self.line()?.is_empty() {
                return Err(Loss::new(Reason::Malformed, "no line end behind a chunk"));
            }
        }
    }

    fn until_closed(&mut self) -> Result<Vec<u8>, Loss> {
        while self.fill(Progress::Body)? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn fill(&mut self, progress: Progress) -> Result<usize, Loss> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if Instant::now() > self.end {
                return Err(Loss::new(Reason::TimedOut, "no whole answer in time"));
            }
            match self.stream.read(&mut chunk) {
                Ok(length) => {
                    self.buffer.extend_from_slice(&chunk[..length]);
                    return Ok(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Loss::new(Reason::TimedOut, "no whole answer in time"));
                }
                Err(error) => {
                    let reason = match progress {
                        Progress::Nothing => Reason::ResetUnanswered,
                        Progress::Head => Reason::CutHead,
                        Progress::Body => Reason::CutBody,
                    };
                    return Err(Loss::new(reason, error));
                }
            }
        }
    }
}

/// The header in which the sample app and the fixtures say which process answered.
pub const PID: &str = "x-segue-pid";
/// The header in which they say which generation answered.
pub const GENERATION: &str = "x-segue-generation";

/// Whether the request's answer has a body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Yes, framed as its head says.
    Expected,
    /// No: a HEAD request.
    None,
}

fn ended(progress: Progress) -> Loss {
    match progress {
        Progress::Nothing => Loss::new(Reason::ClosedUnanswered, "closed before a byte of the answer"),
        Progress::Head => Loss::new(Reason::CutHead, "closed within the head"),
        Progress::Body => Loss::new(Reason::CutBody, "closed within the body"),
    }
}

/// A GET that keeps the connection.
#[must_use]
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// A GET that ends the connection.
#[must_use]
pub fn get_and_close(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").into_bytes()
}

/// A POST that keeps the connection.
#[must_use]
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}
