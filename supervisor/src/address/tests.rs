//! What parses to what, what is refused with which words, and random cases of each that must not panic.

use super::*;
use crate::trials::cases;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn spec(text: &str) -> ListenSpec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    match text.parse::<ListenSpec>() {
        Ok(spec) => panic!("{text} was taken as {spec:?}"),
        Err(error) => error.to_string(),
    }
}

fn tcp(host: Host, port: u16) -> Address {
    Address::Tcp(HostPort { host, port })
}

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

#[test]
fn every_form_of_the_contract_means_what_it_says() {
    let here = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(spec("8080").address, tcp(here.clone(), 8080));
    assert_eq!(spec("0").address, tcp(here.clone(), 0));
    assert_eq!(spec("*:8080").address, tcp(Host::Every, 8080));
    assert_eq!(spec(":8080").address, tcp(Host::Every, 8080));
    assert_eq!(spec("0.0.0.0:8080").address, tcp(ip("0.0.0.0"), 8080));
    assert_eq!(
        spec("[::1]:8080").address,
        tcp(Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST)), 8080)
    );
    assert_eq!(
        spec("[fe80::1%eth0]:1").address,
        tcp(Host::Zoned("fe80::1".parse().unwrap(), "eth0".into()), 1)
    );
    assert_eq!(
        spec("App.Example.org.:80").address,
        tcp(Host::Name("app.example.org".into()), 80)
    );
    assert_eq!(
        spec("udp:53").address,
        Address::Udp(HostPort { host: here, port: 53 })
    );
    assert_eq!(
        spec("udp:*:53").address,
        Address::Udp(HostPort {
            host: Host::Every,
            port: 53
        })
    );
    assert_eq!(
        spec("unix:/run/a.sock").address,
        Address::Unix(UnixPath::Path("/run/a.sock".into()))
    );
    assert_eq!(
        spec("unix:@app").address,
        Address::Unix(UnixPath::Abstract("app".into()))
    );
    assert_eq!(
        spec("unix-dgram:d").address,
        Address::UnixDatagram(UnixPath::Path("d".into()))
    );
    assert_eq!(
        spec("unix-seqpacket:d").address,
        Address::UnixSeqpacket(UnixPath::Path("d".into()))
    );
}

#[test]
fn names_and_options_come_apart_from_the_address() {
    let web = spec("web=*:8080,backlog=16,no-delay,keep-alive=no,mark=0x10");
    assert_eq!(web.name.as_deref(), Some("web"));
    assert_eq!(web.address, tcp(Host::Every, 8080));
    assert_eq!(web.options.number(Key::Backlog), Some(16));
    assert_eq!(web.options.flag(Key::NoDelay), Some(true));
    assert_eq!(web.options.flag(Key::KeepAlive), Some(false));
    assert_eq!(web.options.number(Key::Mark), Some(16));
    assert_eq!(web.options.flag(Key::FreeBind), None);
    assert_eq!(
        web.to_string(),
        "web=*:8080,backlog=16,no-delay,keep-alive=no,mark=16"
    );

    let file = spec("unix:/run/a=b.sock,mode=660,group=www-data,directory-mode=0755");
    assert_eq!(file.name, None);
    assert_eq!(file.options.number(Key::Mode), Some(0o660));
    assert_eq!(
        file.to_string(),
        "unix:/run/a=b.sock,mode=0660,group=www-data,directory-mode=0755"
    );
    assert_eq!(spec("x=unix:/run/a=b.sock").name.as_deref(), Some("x"));
}

#[test]
fn the_long_names_of_systemd_are_understood_too() {
    let short = spec("80,defer-accept=5,keep-alive-time=2m,keep-alive-interval=30");
    let long = spec("80,defer-accept-sec=5s,keep-alive-time-sec=120,keep-alive-interval-sec=30s");
    assert_eq!(short, long);
    assert_eq!(
        spec("unix:a,socket-mode=0600,socket-user=1,socket-group=2"),
        spec("unix:a,mode=600,user=1,group=2")
    );
    assert_eq!(
        spec("80,receive-buffer=64K").options.number(Key::ReceiveBuffer),
        Some(65536)
    );
    assert_eq!(spec("80,ip-tos=low-delay").options.number(Key::IpTos), Some(16));
    assert_eq!(
        spec("*:80,bind-ipv6-only=ipv6-only").options.bind_ipv6_only(),
        BindIpv6Only::Ipv6Only
    );
    assert_eq!(
        spec("udp:80,timestamping=ns").options.timestamping(),
        Some(Timestamping::Nanoseconds)
    );
}

#[test]
fn every_option_is_known_by_its_name() {
    let names: Vec<_> = SocketOptions::names().collect();
    for name in &names {
        let error = SocketOptions::default()
            .set(name, "\u{1}")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("listen option {name}: ")), "{error}");
    }
    assert_eq!(
        names.len(),
        names.iter().collect::<std::collections::BTreeSet<_>>().len()
    );
}

#[test]
fn refusals_say_what_to_write_instead() {
    for (text, words) in [
        ("", "bad address \"\": it is empty (write PORT or HOST:PORT)"),
        ("web=", "bad address \"\": it is empty (write PORT or HOST:PORT)"),
        (
            "localhost",
            "bad address \"localhost\": the port is missing (write HOST:PORT)",
        ),
        ("127.0.0.1:", "bad address \"127.0.0.1:\": the port is missing"),
        (
            "127.0.0.1:http",
            "bad address \"127.0.0.1:http\": \"http\" is not a port number",
        ),
        ("70000", "bad address \"70000\": port \"70000\" is above 65535"),
        ("a:+80", "bad address \"a:+80\": \"+80\" is not a port number"),
        (
            "300.1.1.1:80",
            "bad address \"300.1.1.1:80\": \"300.1.1.1\" is not an ipv4 address",
        ),
        (
            "1.2.3:80",
            "bad address \"1.2.3:80\": \"1.2.3\" is not an ipv4 address",
        ),
        (
            "0x7f.0x1:80",
            "bad address \"0x7f.0x1:80\": \"0x7f.0x1\" is not an ipv4 address",
        ),
        ("a_!b:80", "bad address \"a_!b:80\": \"a_!b\" is not a host name"),
        (
            "::1:80",
            "bad address \"::1:80\": an ipv6 address needs brackets (write [::1]:8080)",
        ),
        (
            "[::1]",
            "bad address \"[::1]\": the port is missing (write [ADDRESS]:PORT)",
        ),
        (
            "[::1:80",
            "bad address \"[::1:80\": ']' is missing after the ipv6 address",
        ),
        (
            "[::g]:80",
            "bad address \"[::g]:80\": \"::g\" is not an ipv6 address",
        ),
        (
            "[fe80::1%]:80",
            "bad address \"[fe80::1%]:80\": \"\" is not a network interface",
        ),
        (
            "/run/a.sock",
            "bad address \"/run/a.sock\": a unix socket is written unix:PATH or unix:@NAME",
        ),
        (
            "unix:",
            "bad address \"unix:\": the path is missing (write unix:PATH)",
        ),
        (
            "unix:@",
            "bad address \"unix:@\": the abstract name is missing (write unix:@NAME)",
        ),
        (
            "unix:/run/",
            "bad address \"unix:/run/\": the path names a directory",
        ),
        (
            "a\nb=80",
            "bad listener name \"a\\nb\": only printable ascii characters are allowed",
        ),
        ("=80", "bad listener name \"\": it is empty"),
        (
            "probe=80",
            "bad listener name \"probe\": it is reserved for the private listener of --probe",
        ),
        ("80,", "unknown listen option \"\""),
        ("80,colour=red", "unknown listen option \"colour\""),
        (
            "80,backlog",
            "listen option backlog: \"yes\" is not a number from 1 to 2147483647",
        ),
        (
            "80,backlog=0",
            "listen option backlog: \"0\" is not a number from 1 to 2147483647",
        ),
        (
            "80,no-delay=maybe",
            "listen option no-delay: \"maybe\" is not yes or no",
        ),
        ("80,no-delay,no-delay", "listen option no-delay is given twice"),
        (
            "80,mode=0600",
            "listen option mode is for unix sockets with a path, not for 127.0.0.1:80",
        ),
        (
            "unix:@a,mode=0600",
            "listen option mode is for unix sockets with a path, not for unix:@a",
        ),
        (
            "unix:a,mode=0800",
            "listen option mode: \"0800\" is not an octal mode from 0000 to 0777",
        ),
        (
            "unix:a,no-delay",
            "listen option no-delay is for tcp, not for unix:a",
        ),
        (
            "udp:80,backlog=1",
            "listen option backlog is for listeners that accept connections, not for udp:127.0.0.1:80",
        ),
        (
            "80,bind-ipv6-only=both",
            "listen option bind-ipv6-only is for ipv6 addresses, not for 127.0.0.1:80",
        ),
        (
            "80,bind-to-device=a-very-long-name",
            "listen option bind-to-device: \"a-very-long-name\" is not a network interface (at most 15 characters)",
        ),
        (
            "80,defer-accept=250ms",
            "listen option defer-accept: \"250ms\" is not a time from 1s to 32767s in whole seconds",
        ),
    ] {
        assert_eq!(refusal(text), words);
    }
}

#[test]
fn addresses_as_others_write_them_are_told_how_they_are_written_here() {
    for (text, words) in [
        (
            "http://0.0.0.0:8080/",
            "a url is no listen address (write 0.0.0.0:8080)",
        ),
        (
            "web=https://localhost",
            "a url is no listen address (write HOST:PORT)",
        ),
        ("tcp://[::1]:80", "a url is no listen address (write [::1]:80)"),
        (
            "udp://127.0.0.1:53",
            "a url is no listen address (write udp:127.0.0.1:53)",
        ),
        ("tcp:8080", "tcp needs no prefix (write 8080)"),
        ("tcp:127.0.0.1:80", "tcp needs no prefix (write 127.0.0.1:80)"),
        ("tcp6:::80", "tcp needs no prefix (write PORT or HOST:PORT)"),
        ("vsock:2:80", "vsock sockets can only be inherited"),
    ] {
        assert!(refusal(text).ends_with(words), "{}", refusal(text));
    }
    assert_eq!(spec("unix:///run/x").to_string(), "unix:///run/x");
    assert_eq!(spec("tcp.example:80").to_string(), "tcp.example:80");
}

#[test]
fn a_unix_path_may_have_107_bytes_and_no_more() {
    let longest = format!("unix:/{}", "p".repeat(106));
    assert_eq!(spec(&longest).to_string(), longest);
    let error = refusal(&format!("{longest}p"));
    assert!(
        error.ends_with("path too long (108 bytes, a unix socket takes 107)"),
        "{error}"
    );
    assert!(
        spec(&format!("unix:@{}", "a".repeat(107)))
            .options
            .given()
            .next()
            .is_none()
    );
    assert!(refusal(&format!("unix:@{}", "a".repeat(108))).contains("path too long"));
}

/// Pieces from which texts are put together that get deep into the grammar.
const PIECES: &[&str] = &[
    "8080",
    "0",
    "65535",
    "65536",
    "127.0.0.1",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[fe80::1%lo]",
    "[",
    "]",
    "%",
    "::",
    ":",
    "*",
    "localhost",
    "a.b-c",
    "unix:",
    "unix-dgram:",
    "unix-seqpacket:",
    "udp:",
    "/run/x",
    "@",
    "@name",
    "/",
    ".",
    "..",
    "=",
    ",",
    "web",
    "probe",
    "backlog",
    "backlog=7",
    ",mode=0600",
    ",no-delay",
    ",user=root",
    ",keep-alive=no",
    ",receive-buffer=4K",
    ",defer-accept=3s",
    ",bind-ipv6-only=both",
    ",ip-tos=throughput",
    ",timestamping=us",
    "\0",
    "\n",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "é",
    "💥",
    " ",
    "-",
    "+",
    "0x1",
    "1.2",
    "yes",
    "K",
    "99999999999999999999",
];

fn random_text(random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    for _ in 0..random.usize(0..9) {
        match random.u8(0..10) {
            0 => text.push(random.char(..)),
            1 => text.push(random.char('\0'..='\u{7f}')),
            2 => text.push_str(&"x".repeat(random.usize(0..120))),
            _ => text.push_str(PIECES[random.usize(..PIECES.len())]),
        }
    }
    text
}

#[test]
fn random_texts_parse_back_to_themselves_or_are_refused_in_one_line() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let cases = cases(1_000_000);
    let mut taken = 0;
    for _ in 0..cases {
        let text = random_text(&mut random);
        match text.parse::<ListenSpec>() {
            Ok(spec) => {
                taken += 1;
                let shown = spec.to_string();
                assert!(
                    !shown.chars().any(char::is_control),
                    "seed {seed}: {text:?} is shown as {shown:?}"
                );
                assert_eq!(
                    shown.parse().as_ref(),
                    Ok(&spec),
                    "seed {seed}: {text:?} is shown as {shown:?}"
                );
            }
            Err(error) => {
                let line = error.to_string();
                assert!(!line.is_empty(), "seed {seed}: {text:?}");
                assert!(
                    !line.chars().any(char::is_control),
                    "seed {seed}: {text:?} is refused with {line:?}"
                );
                assert!(
                    line.len() < 2000,
                    "seed {seed}: {text:?} is refused with {line:?}"
                );
            }
        }
    }
    assert!(
        taken > cases / 100,
        "seed {seed}: only {taken} of {cases} texts were taken, the test sees too little"
    );
}
