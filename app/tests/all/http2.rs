//! HTTP/2 with prior knowledge: two-step GOAWAY at once, no stream lost, a deadline for a client that does not
//! acknowledge. The frames are written by hand, so that the client can be as odd as it likes.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::common::{PATIENCE, Running, app, listener, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client(TcpStream);

impl Client {
    fn connect(listener: &std::net::TcpListener) -> Client {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(PREFACE).unwrap();
        let mut client = Client(stream);
        client.send(SETTINGS, 0, 0, &[]);
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).unwrap();
    }

    /// GET `path`: literal headers, never indexed (RFC 7541 section 6.2.3), names from the static table.
    fn get(&mut self, stream: u32, path: &str) {
        // :method GET and :scheme http are entries 2 and 6; :authority and :path are names 1 and 4.
        let mut block = vec![0x82, 0x86];
        for (name, value) in [(0x11, "test"), (0x14, path)] {
            block.extend([name, value.len() as u8]);
            block.extend(value.as_bytes());
        }
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block);
    }

    /// The next frame that is not mere housekeeping; `None` at the end. SETTINGS are acknowledged.
    fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            if self.0.read_exact(&mut head).is_err() {
                return None;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).unwrap();
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                DATA | HEADERS | RST_STREAM | PING | GOAWAY => return Some(frame),
                _ => {}
            }
        }
    }

    /// Reads until these streams have ended well; the GOAWAYs on the way (their last stream) are noted and PINGs
    /// answered.
    fn finish(&mut self, mut streams: Vec<u32>, goaways: &mut Vec<u32>) {
        while !streams.is_empty() {
            let frame = self.frame().unwrap_or_else(|| panic!("ended before {streams:?}"));
            self.housekeeping(&frame, goaways);
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            if (frame.kind == DATA || frame.kind == HEADERS) && frame.flags & END_STREAM != 0 {
                streams.retain(|stream| *stream != frame.stream);
            }
        }
    }

    fn housekeeping(&mut self, frame: &Frame, goaways: &mut Vec<u32>) {
        match frame.kind {
            PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
            GOAWAY => goaways.push(u32::from_be_bytes(frame.payload[..4].try_into().unwrap())),
            _ => {}
        }
    }
}

fn serving(environment: &[(&str, &str)]) -> (Running, std::net::TcpListener) {
    let listener = listener();
    (start(app(), &listener, environment), listener)
}

#[test]
fn an_idle_connection_is_told_at_once_in_two_steps() {
    let (mut server, listener) = serving(&[]);
    let mut client = Client::connect(&listener);
    let mut goaways = Vec::new();
    client.get(1, "/ping");
    client.finish(vec![1], &mut goaways);
    assert!(goaways.is_empty());
    server.drain();
    while goaways.is_empty() {
        let frame = client.frame().unwrap();
        if frame.kind != PING {
            client.housekeeping(&frame, &mut goaways);
        }
    }
    assert_eq!(goaways, [0x7fff_ffff], "first a GOAWAY that refuses nothing");
    // A stream that crosses it is still served, before the PING is acknowledged.
    client.get(3, "/ping");
    let ping = loop {
        let frame = client.frame().unwrap();
        if frame.kind == PING {
            break frame;
        }
    };
    client.send(PING, ACK, 0, &ping.payload);
    client.finish(vec![3], &mut goaways);
    while let Some(frame) = client.frame() {
        client.housekeeping(&frame, &mut goaways);
    }
    assert_eq!(goaways, [0x7fff_ffff, 3]);
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn streams_under_way_and_streams_in_the_pipe_are_answered() {
    let (mut server, listener) = serving(&[]);
    let mut client = Client::connect(&listener);
    let streams: Vec<u32> = (0..50).map(|number| number * 2 + 1).collect();
    for stream in &streams {
        client.get(*stream, "/slow?ms=200");
    }
    let mut goaways = Vec::new();
    // One that is answered at once shows that the server is reading.
    client.get(101, "/ping");
    client.finish(vec![101], &mut goaways);
    server.drain();
    client.finish(streams, &mut goaways);
    while let Some(frame) = client.frame() {
        client.housekeeping(&frame, &mut goaways);
    }
    assert_eq!(goaways, [0x7fff_ffff, 101]);
    drop(client);
    assert!(server.end().status.success());
}

#[test]
fn a_preface_that_is_cut_by_the_drain_is_waited_for() {
    let (mut server, listener) = serving(&[]);
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&PREFACE[..10]).unwrap();
    // Accepted and read when another has been answered.
    let mut other = Client::connect(&listener);
    other.get(1, "/ping");
    other.finish(vec![1], &mut Vec::new());
    server.drain();
    stream.write_all(&PREFACE[10..]).unwrap();
    let mut client = Client(stream);
    client.send(SETTINGS, 0, 0, &[]);
    client.get(1, "/ping");
    client.finish(vec![1], &mut Vec::new());
    drop((client, other));
    assert!(server.end().status.success());
}

#[test]
fn a_client_that_never_acknowledges_is_closed_after_the_pong_timeout() {
    let (mut server, listener) = serving(&[]);
    let mut client = Client::connect(&listener);
    client.get(1, "/ping");
    client.finish(vec![1], &mut Vec::new());
    server.drain();
    let began = std::time::Instant::now();
    while client.frame().is_some() {}
    assert!(
        began.elapsed() < segue_app::limits::DRAIN_TIMEOUT,
        "{:?}",
        began.elapsed()
    );
    drop(client);
    let ended = server.end();
    assert!(
        ended.status.success() && !ended.stderr.contains("reset"),
        "{}",
        ended.stderr
    );
}
