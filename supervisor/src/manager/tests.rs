use super::*;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn manager(address: &str) -> Manager {
    let (manager, complaints) = Manager::from_environment(&environment(&[("NOTIFY_SOCKET", address)]));
    assert_eq!(complaints, [""; 0]);
    manager
}

fn listen(directory: &Path) -> (UnixDatagram, String) {
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    std::iter::from_fn(|| {
        socket
            .recv(&mut buffer)
            .ok()
            .map(|length| buffer[..length].to_vec())
    })
    .map(|bytes| String::from_utf8(bytes).unwrap())
    .collect()
}

#[test]
fn a_reload_is_told_with_its_time_in_one_datagram_and_its_end_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, address) = listen(directory.path());
    let mut manager = manager(&address);
    assert!(manager.waits(), "for the start");
    manager.ready("serving\nREADY=0");
    assert!(!manager.waits());
    manager.reloading(77);
    assert!(manager.waits());
    manager.ready("serving\nREADY=0");
    manager.status("serving\nREADY=0");
    manager.stopping();
    assert!(manager.waits());
    assert_eq!(
        heard(&socket),
        [
            "READY=1\nSTATUS=serving READY=0",
            "RELOADING=1\nMONOTONIC_USEC=77",
            "READY=1",
            "STOPPING=1"
        ]
    );
}

#[test]
fn a_full_queue_is_not_waited_for_and_the_last_state_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, address) = listen(directory.path());
    let mut manager = manager(&address);
    let mut sent = 0;
    while !manager.is_full() {
        sent += 1;
        manager.status(&format!("status {sent}"));
        assert!(sent < 100_000, "the queue never filled");
    }
    for time in 1..1000 {
        manager.reloading(time);
        manager.status("on its way");
        manager.ready(&format!("reload {time}"));
        manager.more_time(Duration::from_millis(time));
    }
    assert!(manager.is_full());
    assert_eq!(heard(&socket).len(), sent - 1);
    manager.flush();
    assert!(!manager.is_full());
    assert_eq!(
        heard(&socket),
        [
            "RELOADING=1\nMONOTONIC_USEC=999",
            "READY=1\nSTATUS=reload 999",
            "EXTEND_TIMEOUT_USEC=999000"
        ]
    );
}

#[test]
fn a_manager_that_comes_back_hears_what_it_has_missed() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, address) = listen(directory.path());
    let mut manager = manager(&address);
    drop(socket);
    manager.ready("serving");
    assert!(!manager.is_full());
    let failure = manager.failure().unwrap();
    assert_eq!(failure, format!("notify {address}: connection refused"));
    std::fs::remove_file(&address).unwrap();
    let (socket, _) = listen(directory.path());
    manager.stopping();
    assert_eq!(
        (heard(&socket), manager.failure()),
        (
            vec!["READY=1\nSTATUS=serving".to_owned(), "STOPPING=1".to_owned()],
            None
        )
    );
}

#[test]
fn an_abstract_address_is_reached() {
    let name = format!("segue-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_nonblocking(true).unwrap();
    manager(&format!("@{name}")).stopping();
    assert_eq!(heard(&socket), ["STOPPING=1"]);
}

#[test]
fn without_a_manager_nothing_is_kept() {
    let (mut manager, complaints) = Manager::from_environment(&environment(&[("WATCHDOG_USEC", "1000000")]));
    manager.ready("x");
    manager.alive();
    assert_eq!(
        (manager.beat(), manager.is_full(), complaints.len()),
        (None, false, 0)
    );
    assert_eq!(manager.owed.next(), None);
}

#[test]
fn what_cannot_be_used_is_complained_of_in_one_line() {
    let complaints = |pairs: &[(&str, &str)]| Manager::from_environment(&environment(pairs)).1;
    assert_eq!(
        complaints(&[("NOTIFY_SOCKET", "vsock:2:1234")]),
        ["NOTIFY_SOCKET=\"vsock:2:1234\": neither a path nor @NAME"]
    );
    let long = format!("/{}", "x".repeat(200));
    assert_eq!(
        complaints(&[("NOTIFY_SOCKET", &long)]),
        [format!("NOTIFY_SOCKET=\"{long}\": file name too long")]
    );
    for value in ["0", "-1", "ten", "", "99999999999999999999"] {
        assert_eq!(
            complaints(&[("NOTIFY_SOCKET", "/x"), ("WATCHDOG_USEC", value)]),
            [format!(
                "WATCHDOG_USEC={value:?}: not a number; no watchdog is fed"
            )]
        );
    }
}

#[test]
fn the_watchdog_is_fed_at_half_its_time_by_whom_it_is_meant_for() {
    let own = std::process::id();
    let beat = |pid: Option<String>| {
        let pid = pid.map(OsString::from);
        watchdog::asked(Some(OsStr::new("3000000")), pid.as_deref(), own)
            .map(|asked| asked.map(watchdog::beat))
    };
    assert_eq!(beat(None), Ok(Some(Duration::from_millis(1500))));
    assert_eq!(beat(Some(own.to_string())), Ok(Some(Duration::from_millis(1500))));
    assert_eq!(beat(Some("1".to_owned())), Ok(None));
    assert!(beat(Some("x".to_owned())).is_err());
    assert_eq!(
        watchdog::beat(Duration::from_micros(1)),
        Duration::from_millis(1),
        "never without a pause"
    );
}
