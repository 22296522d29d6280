//! Where one HTTP/1 request ends and the next begins, told from the bytes alone.
//!
//! hyper keeps its read buffer to itself, but the drain must know whether a connection holds bytes of a request
//! that nobody has answered: a half-read head, or a pipelined request behind the present one. Closing such a
//! connection loses a request. This reader watches the same bytes as hyper and counts; it never decides what a
//! request means. Where it cannot follow (an upgrade, a malformed head that hyper will refuse) it says that it is
//! lost, and the connection is then treated as busy.

/// The longest line that is put together from several reads, in bytes. hyper refuses larger heads long before.
const MAX_LINE: usize = 64 * 1024;

/// Counts the requests in a stream of bytes.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    heads: u64,
    complete: u64,
    length: u64,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    Head,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Lost,
}

impl Framing {
    pub(crate) fn new() -> Framing {
        Framing {
            state: State::Between,
            line: Vec::new(),
            heads: 0,
            complete: 0,
            length: 0,
            chunked: false,
        }
    }

    /// Takes note of bytes that were read from the socket.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Between => self.between(bytes),
                State::Sized(left) => self.data(bytes, left, State::Sized),
                State::ChunkData(left) => self.data(bytes, left, State::ChunkData),
                State::Head | State::ChunkSize | State::ChunkEnd | State::Trailers => self.line(bytes),
                State::Lost => return,
            };
        }
    }

    /// From here on the bytes are no longer HTTP/1 requests.
    pub(crate) fn lose(&mut self) {
        self.state = State::Lost;
        self.line = Vec::new();
    }

    /// Requests whose head has arrived completely.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    /// Some bytes of a head have arrived, but not all.
    pub(crate) fn inside_head(&self) -> bool {
        self.state == State::Head
    }

    /// The last request's body has not arrived completely.
    pub(crate) fn inside_body(&self) -> bool {
        match self.state {
            State::Sized(_) | State::ChunkSize | State::ChunkData(_) | State::ChunkEnd | State::Trailers => {
                true
            }
            State::Between | State::Head | State::Lost => false,
        }
    }

    /// Nothing of a request is unfinished.
    pub(crate) fn between_requests(&self) -> bool {
        self.state == State::Between
    }

    /// Whether bytes behind the request with this number (from 1) have arrived.
    pub(crate) fn beyond(&self, request: u64) -> bool {
        self.heads > request || (self.inside_head() && self.heads >= request)
    }

    /// Empty lines before a request line are skipped, as RFC 9112 section 2.2 asks; they are no request.
    fn between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.iter().position(|byte| *byte != b'\r' && *byte != b'\n') {
            Some(start) => {
                self.state = State::Head;
                self.length = 0;
                self.chunked = false;
                &bytes[start..]
            }
            None => &[],
        }
    }

    fn data<'a>(&mut self, bytes: &'a [u8], left: u64, state: fn(u64) -> State) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - here as u64;
        if left > 0 {
            self.state = state(left);
        } else if self.chunked {
            self.state = State::ChunkEnd;
        } else {
            self.finish();
        }
        &bytes[here..]
    }

    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return &[];
        };
        if self.line.is_empty() {
            self.end_of_line(&bytes[..end]);
        } else {
            self.keep(&bytes[..end]);
            let line = std::mem::take(&mut self.line);
            if self.state != State::Lost {
                self.end_of_line(&line);
            }
        }
        &bytes[end + 1..]
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_LINE {
            self.lose();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_of_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Head if line.is_empty() => self.end_of_head(),
            State::Head => self.header(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => self.lose(),
            State::Trailers if line.is_empty() => self.finish(),
            State::Trailers => {}
            State::Between | State::Sized(_) | State::ChunkData(_) | State::Lost => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            // The request line, or something that hyper will refuse.
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            match decimal(value) {
                Some(length) => self.length = length,
                None => self.lose(),
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.len() >= 7 && value[value.len() - 7..].eq_ignore_ascii_case(b"chunked");
        }
    }

    fn end_of_head(&mut self) {
        self.heads += 1;
        if self.chunked {
            self.state = State::ChunkSize;
        } else if self.length > 0 {
            self.state = State::Sized(self.length);
        } else {
            self.finish();
        }
    }

    fn chunk_size(&mut self, line: &[u8]) {
        let digits = line
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        match std::str::from_utf8(digits)
            .ok()
            .and_then(|text| u64::from_str_radix(text, 16).ok())
        {
            Some(0) => self.state = State::Trailers,
            Some(size) => self.state = State::ChunkData(size),
            None => self.lose(),
        }
    }

    fn finish(&mut self) {
        self.complete += 1;
        self.state = State::Between;
    }
}

/// A decimal number and nothing else: no sign, no list.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPELINED: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /b HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nhello\
        \r\nPOST /c HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n\
        GET /d HTTP/1.1\r\n";

    #[test]
    fn counts_the_same_however_the_bytes_are_cut() {
        for step in 1..PIPELINED.len() {
            let mut framing = Framing::new();
            for part in PIPELINED.chunks(step) {
                framing.feed(part);
            }
            assert_eq!(
                (framing.heads, framing.complete),
                (3, 3),
                "cut every {step} bytes"
            );
            assert!(framing.inside_head() && framing.beyond(3) && !framing.beyond(4));
        }
    }

    #[test]
    fn an_unfinished_body_is_no_next_request() {
        let mut framing = Framing::new();
        framing.feed(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12345678");
        assert!(framing.inside_body() && !framing.beyond(1) && !framing.between_requests());
        framing.feed(b"9");
        assert!(framing.between_requests() && !framing.beyond(1));
        framing.feed(b"\r\n");
        assert!(framing.between_requests(), "an empty line is no request");
    }

    #[test]
    fn what_it_cannot_follow_it_calls_lost() {
        for bad in [
            &b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let mut framing = Framing::new();
            framing.feed(bad);
            assert_eq!(framing.state, State::Lost);
            framing.feed(b"GET / HTTP/1.1\r\n\r\n");
            assert!(!framing.between_requests() && !framing.inside_head());
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = [0u8; 48];
        for _ in 0..100_000 {
            let mut framing = Framing::new();
            if random.bool() {
                framing.feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            }
            random.fill(&mut bytes);
            for byte in &mut bytes {
                if random.bool() {
                    *byte = b"\r\n:0aF "[usize::from(*byte) % 7];
                }
            }
            framing.feed(&bytes);
        }
    }
}
