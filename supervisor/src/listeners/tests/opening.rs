//! New sockets of every kind, with every option, and what is said when one cannot be made.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::os::fd::AsRawFd;

use super::*;

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn port_0_picks_a_port_and_says_which() {
    let listener = open_one("0");
    let text = listener.address_text();
    let port: u16 = text.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    assert_ne!(port, 0);
    assert_eq!(listener.name(), "listen1");
    assert_eq!(listener.kind(), SocketKind::Tcp);
    assert_eq!(listener.scope_note(), Some("this machine only"));
    assert!(listener.is_loopback());
    assert!(!listener.is_inherited());
    TcpStream::connect(text).unwrap();
}

#[test]
fn a_listener_is_close_on_exec_and_blocking() {
    let listener = open_one("0");
    let flags = FdFlag::from_bits_retain(fcntl(listener.as_fd(), FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    assert!(!is_nonblocking(&listener));
    assert!(is_nonblocking(&open_one("0,non-blocking")));
}

#[test]
fn the_inode_is_the_one_that_proc_shows() {
    let listener = open_one("0");
    let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_fd().as_raw_fd())).unwrap();
    assert_eq!(link.to_str().unwrap(), format!("socket:[{}]", listener.inode()));
}

#[test]
fn every_address_takes_ipv4_and_ipv6() {
    let listener = open_one("*:0");
    let port = listener.address_text().strip_prefix("*:").unwrap().to_owned();
    assert_eq!(listener.scope_note(), Some("every address, IPv4 and IPv6"));
    assert!(!listener.is_loopback());
    TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    if has_ipv6() {
        TcpStream::connect(format!("[::1]:{port}")).unwrap();
    }
}

#[test]
fn two_listeners_of_both_families_are_told_what_separates_them() {
    if !has_ipv6() {
        return;
    }
    let taken = open_one("0").address_text();
    let (_, port) = taken.rsplit_once(':').unwrap();
    for (first, second, verb) in [
        ("127.0.0.1", "[::]", "the new one would take"),
        ("[::]", "127.0.0.1", "it takes"),
    ] {
        let (first, second) = (format!("{first}:{port}"), format!("{second}:{port}"));
        let told = refusal(&[&first, &second]);
        let tail = format!("; {verb} IPv4 clients, too, unless it has bind-ipv6-only=ipv6-only)");
        assert!(told.contains("segue's own listener listen1, "), "{told}");
        assert!(told.ends_with(&tail), "{told}");
    }
    let apart = [
        format!("127.0.0.1:{port}"),
        format!("[::]:{port},bind-ipv6-only=ipv6-only"),
    ];
    assert_eq!(open_all(&[&apart[0], &apart[1]]).len(), 2);
}

#[test]
fn ipv6_only_leaves_the_port_to_ipv4() {
    if !has_ipv6() {
        return;
    }
    // A port that is free for IPv6 may be taken for IPv4, by another test for instance.
    let four = std::iter::repeat_with(|| {
        let six = open_one("*:0,bind-ipv6-only=ipv6-only");
        assert_eq!(six.scope_note(), Some("every address, IPv6 only"));
        let port = six.address_text().strip_prefix("[::]:").unwrap().to_owned();
        try_open(&[&format!("0.0.0.0:{port}")])
    });
    let four = four
        .take(100)
        .find_map(Result::ok)
        .expect("no port is left to IPv4");
    assert_eq!(four.listeners[0].scope_note(), Some("every address, IPv4 only"));
    assert_eq!(open_one("[::1]:0").scope_note(), Some("this machine only"));
}

#[test]
fn udp_is_bound_and_has_no_backlog() {
    let listener = open_one("udp:0");
    let text = listener.address_text();
    assert_eq!(listener.backlog(), None);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"x", text.strip_prefix("udp:").unwrap()).unwrap();
}

#[test]
fn every_kind_of_unix_socket_can_be_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let stream = open_one(&format!("unix:{}", path("s").display()));
    UnixStream::connect(path("s")).unwrap();
    assert_eq!(stream.address_text(), format!("unix:{}", path("s").display()));
    assert_eq!((stream.kind(), stream.scope_note()), (SocketKind::Unix, None));

    let datagram = open_one(&format!("unix-dgram:{}", path("d").display()));
    UnixDatagram::unbound().unwrap().send_to(b"x", path("d")).unwrap();
    assert_eq!(
        (datagram.kind(), datagram.backlog()),
        (SocketKind::UnixDatagram, None)
    );

    let packets = open_one(&format!("unix-seqpacket:{}", path("p").display()));
    let client = socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    connect(client.as_raw_fd(), &UnixAddr::new(&path("p")).unwrap()).unwrap();
    assert_eq!(packets.kind(), SocketKind::UnixSeqpacket);

    let name = format!("segue-test-{}-{}", std::process::id(), fastrand::u64(..));
    let nowhere = open_one(&format!("unix:@{name}"));
    assert_eq!(nowhere.address_text(), format!("unix:@{name}"));
    let client = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    connect(
        client.as_raw_fd(),
        &UnixAddr::new_abstract(name.as_bytes()).unwrap(),
    )
    .unwrap();
    assert_eq!(
        refusal(&[&format!("unix:@{name}")]),
        format!("listen unix:@{name}: address already in use")
    );
}

#[test]
fn the_backlog_is_read_back_and_a_cap_is_told() {
    let cap: u32 = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let asked = cap + 1;
    for place in ["0".to_owned(), format!("unix:{}", path.display())] {
        assert_eq!(open_one(&format!("{place},backlog=7")).backlog(), Some(7));
        let opened = try_open(&[&format!("{place},backlog={asked}")]).unwrap();
        assert_eq!(opened.listeners[0].backlog(), Some(cap));
        assert_eq!(opened.warnings.len(), 1);
        let told = format!("backlog {asked} capped to {cap} by net.core.somaxconn");
        assert!(opened.warnings[0].ends_with(&told), "{}", opened.warnings[0]);
        drop(opened);
        assert_eq!(open_one(&place).backlog(), Some(DEFAULT_BACKLOG.min(cap)));
    }
}

#[test]
fn options_reach_the_kernel() {
    let web = open_one(
        "0,no-delay,keep-alive,keep-alive-time=77,keep-alive-interval=7,keep-alive-probes=3,defer-accept=3,\
         free-bind,reuse-port,priority=5,ip-tos=low-delay,ip-ttl=9,receive-buffer=8K,send-buffer=16K",
    );
    let tcp = |name| number(&web, libc::IPPROTO_TCP, name);
    let general = |name| number(&web, libc::SOL_SOCKET, name);
    assert_eq!(tcp(libc::TCP_NODELAY), 1);
    assert_eq!(tcp(libc::TCP_KEEPIDLE), 77);
    assert_eq!(tcp(libc::TCP_KEEPINTVL), 7);
    assert_eq!(tcp(libc::TCP_KEEPCNT), 3);
    assert!(tcp(libc::TCP_DEFER_ACCEPT) >= 3);
    assert_eq!(general(libc::SO_KEEPALIVE), 1);
    assert_eq!(general(libc::SO_REUSEPORT), 1);
    assert_eq!(general(libc::SO_PRIORITY), 5);
    assert_eq!(general(libc::SO_RCVBUF), 16384);
    assert_eq!(general(libc::SO_SNDBUF), 32768);
    assert_eq!(number(&web, libc::IPPROTO_IP, libc::IP_FREEBIND), 1);
    assert_eq!(number(&web, libc::IPPROTO_IP, libc::IP_TOS), 16);
    assert_eq!(number(&web, libc::IPPROTO_IP, libc::IP_TTL), 9);

    let udp = open_one("udp:0,broadcast,pass-packet-info,timestamping=ns");
    assert_eq!(number(&udp, libc::SOL_SOCKET, libc::SO_BROADCAST), 1);
    assert_eq!(number(&udp, libc::IPPROTO_IP, libc::IP_PKTINFO), 1);
    assert_eq!(number(&udp, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS), 1);

    let dir = tempfile::tempdir().unwrap();
    let file = open_one(&format!(
        "unix:{},pass-credentials",
        dir.path().join("s").display()
    ));
    assert_eq!(number(&file, libc::SOL_SOCKET, libc::SO_PASSCRED), 1);
}

#[test]
fn options_of_an_ipv6_socket_reach_both_families() {
    if !has_ipv6() {
        return;
    }
    let web = open_one("*:0,ip-tos=8,ip-ttl=9,free-bind");
    assert_eq!(number(&web, libc::IPPROTO_IPV6, libc::IPV6_TCLASS), 8);
    assert_eq!(number(&web, libc::IPPROTO_IP, libc::IP_TOS), 8);
    assert_eq!(number(&web, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS), 9);
    assert_eq!(number(&web, libc::IPPROTO_IP, libc::IP_TTL), 9);
    let udp = open_one("udp:*:0,pass-packet-info");
    assert_eq!(number(&udp, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), 1);
}

#[test]
fn a_congestion_algorithm_is_set_or_refused_by_name() {
    let algorithm = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    open_one(&format!("0,tcp-congestion={}", algorithm.trim()));
    assert_eq!(
        refusal(&["0,tcp-congestion=no-such-one"]),
        "listen 127.0.0.1:0: tcp-congestion: this kernel does not offer that algorithm"
    );
}

#[test]
fn a_device_that_does_not_exist_is_refused_by_name() {
    let error = refusal(&["0,bind-to-device=segue-none"]);
    let permitted = "listen 127.0.0.1:0: bind-to-device: there is no such network interface";
    let unprivileged =
        "listen 127.0.0.1:0: bind-to-device: operation not permitted (it takes CAP_NET_ADMIN or CAP_NET_RAW)";
    assert!(error == permitted || error == unprivileged, "{error}");
    assert_eq!(
        refusal(&["[fe80::1%segue-none]:0"]),
        "listen [fe80::1%segue-none]:0: there is no network interface \"segue-none\""
    );
}

#[test]
fn a_busy_port_is_told_with_its_holder() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let error = refusal(&[&port.to_string()]);
    let begin = format!("listen 127.0.0.1:{port}: address already in use (by ");
    assert!(error.starts_with(&begin), "{error}");
    assert!(
        error.ends_with(&format!(", pid {})", std::process::id())),
        "{error}"
    );

    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    assert!(refusal(&[&format!("udp:{port}")]).contains(&format!("pid {})", std::process::id())));
}

#[test]
fn a_missing_permission_points_to_the_socket_unit() {
    let address = "0.0.0.0:80".parse().unwrap();
    let cause = bind::explain_internet(nix::errno::Errno::EACCES, SocketKind::Tcp, address, &|_, _| None);
    assert_eq!(
        ListenError::at(address, cause).to_string(),
        "listen 0.0.0.0:80: permission denied (try a systemd .socket unit)"
    );
}

#[test]
fn an_address_of_another_machine_is_refused_unless_free_bind() {
    assert_eq!(
        refusal(&["192.0.2.1:0"]),
        "listen 192.0.2.1:0: 192.0.2.1 is not an address of this machine"
    );
    assert!(
        open_one("192.0.2.1:0,free-bind")
            .address_text()
            .starts_with("192.0.2.1:")
    );
}

#[test]
fn a_host_is_looked_up_at_the_start_alone() {
    let opened = try_open(&["web=localhost:0"]).unwrap();
    assert!(opened.listeners[0].is_loopback());
    for warning in &opened.warnings {
        assert!(
            warning.starts_with("listen localhost:0: the host has "),
            "{warning}"
        );
    }
    let kept = reload(&["web=localhost:0"], &opened.listeners).unwrap();
    assert!(Rc::ptr_eq(&kept.listeners[0], &opened.listeners[0]));
    assert_eq!(
        line(reload(
            &["web=localhost:0", "other=localhost:0"],
            &opened.listeners
        )),
        "listen localhost:0: a new host name is looked up at start only, a reload needs an address"
    );
}

#[test]
fn several_addresses_of_a_host_are_told() {
    let addresses = ["[::1]:80".parse().unwrap(), "127.0.0.1:80".parse().unwrap()];
    assert_eq!(
        resolve::several(&addresses).unwrap(),
        "the host has 2 addresses; ::1 is used, not 127.0.0.1"
    );
    assert_eq!(resolve::several(&addresses[..1]), None);
}

#[test]
fn addresses_may_be_given_once_and_names_often() {
    let both = open_all(&["a=0", "a=0"]);
    assert_eq!(both.iter().map(|one| one.name()).collect::<Vec<_>>(), ["a", "a"]);
    assert_eq!(
        refusal(&["65000", "web=65000"]),
        "listen 127.0.0.1:65000: the address is given twice"
    );
    assert_eq!(open_all(&["0", "0"]).len(), 2);
    let port = open_one("0,reuse-port")
        .address_text()
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let shared = format!("{port},reuse-port");
    assert_eq!(open_all(&[&shared, &shared]).len(), 2);
}

#[test]
fn unnamed_listeners_are_counted_past_names_that_are_taken() {
    let listeners = open_all(&["0", "listen2=0", "web=0", "0", "0"]);
    let names: Vec<_> = listeners.iter().map(|one| one.name().to_owned()).collect();
    assert_eq!(names, ["listen1", "listen2", "web", "listen3", "listen4"]);
}
