//! The table of all options: what each is called, how its value is written, and which addresses it is for.

use super::Key;

/// How the value of an option is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Flag,
    Count { least: u32, most: u32 },
    Octal,
    Seconds,
    Bytes,
    Account,
    Device,
    Congestion,
    Tos,
    Ipv6Only,
    Stamps,
}

/// Which addresses an option means something for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    All,
    Connections,
    Datagrams,
    Tcp,
    Udp,
    Internet,
    Ipv6,
    UnixAny,
    UnixFile,
}

/// One option.
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) name: &'static str,
    pub(super) alias: Option<&'static str>,
    pub(super) shape: Shape,
    pub(super) scope: Scope,
}

const fn row(key: Key, name: &'static str, shape: Shape, scope: Scope) -> Row {
    Row {
        key,
        name,
        alias: None,
        shape,
        scope,
    }
}

const fn also(key: Key, name: &'static str, alias: &'static str, shape: Shape, scope: Scope) -> Row {
    Row {
        key,
        name,
        alias: Some(alias),
        shape,
        scope,
    }
}

/// The largest number that listen(2) and the integer socket options take.
pub(super) const INT_MAX: u32 = i32::MAX as u32;

/// Longest keep-alive and defer-accept times in seconds: MAX_TCP_KEEPIDLE of the kernel.
pub(super) const SECONDS_MAX: u32 = 32767;

/// Most keep-alive probes: MAX_TCP_KEEPCNT of the kernel.
const PROBES_MAX: u32 = 127;

/// Most sockets on one address: as many as there may be workers, for more would be lent to nobody alone.
const SOCKETS_MAX: u32 = 1024;

/// Most sockets of a steered listener: as many generations as may live at once are far fewer.
const SLOTS_MAX: u32 = 16;

/// All of them.
pub(super) const ROWS: &[Row] = &[
    row(
        Key::Backlog,
        "backlog",
        Shape::Count {
            least: 1,
            most: INT_MAX,
        },
        Scope::Connections,
    ),
    also(Key::Mode, "mode", "socket-mode", Shape::Octal, Scope::UnixFile),
    also(Key::User, "user", "socket-user", Shape::Account, Scope::UnixFile),
    also(
        Key::Group,
        "group",
        "socket-group",
        Shape::Account,
        Scope::UnixFile,
    ),
    row(
        Key::DirectoryMode,
        "directory-mode",
        Shape::Octal,
        Scope::UnixFile,
    ),
    row(Key::Linked, "linked", Shape::Flag, Scope::UnixFile),
    row(Key::NoDelay, "no-delay", Shape::Flag, Scope::Tcp),
    row(Key::KeepAlive, "keep-alive", Shape::Flag, Scope::Tcp),
    also(
        Key::KeepAliveTime,
        "keep-alive-time",
        "keep-alive-time-sec",
        Shape::Seconds,
        Scope::Tcp,
    ),
    also(
        Key::KeepAliveInterval,
        "keep-alive-interval",
        "keep-alive-interval-sec",
        Shape::Seconds,
        Scope::Tcp,
    ),
    row(
        Key::KeepAliveProbes,
        "keep-alive-probes",
        Shape::Count {
            least: 1,
            most: PROBES_MAX,
        },
        Scope::Tcp,
    ),
    also(
        Key::DeferAccept,
        "defer-accept",
        "defer-accept-sec",
        Shape::Seconds,
        Scope::Tcp,
    ),
    row(
        Key::TcpCongestion,
        "tcp-congestion",
        Shape::Congestion,
        Scope::Tcp,
    ),
    row(Key::FreeBind, "free-bind", Shape::Flag, Scope::Internet),
    row(Key::Transparent, "transparent", Shape::Flag, Scope::Internet),
    row(Key::Broadcast, "broadcast", Shape::Flag, Scope::Udp),
    row(Key::ReusePort, "reuse-port", Shape::Flag, Scope::Internet),
    row(
        Key::Sockets,
        "sockets",
        Shape::Count {
            least: 1,
            most: SOCKETS_MAX,
        },
        Scope::Internet,
    ),
    row(Key::Steer, "steer", Shape::Flag, Scope::Tcp),
    row(
        Key::Slots,
        "slots",
        Shape::Count {
            least: 2,
            most: SLOTS_MAX,
        },
        Scope::Tcp,
    ),
    row(Key::BindIpv6Only, "bind-ipv6-only", Shape::Ipv6Only, Scope::Ipv6),
    row(
        Key::BindToDevice,
        "bind-to-device",
        Shape::Device,
        Scope::Internet,
    ),
    row(Key::ReceiveBuffer, "receive-buffer", Shape::Bytes, Scope::All),
    row(Key::SendBuffer, "send-buffer", Shape::Bytes, Scope::All),
    row(
        Key::Mark,
        "mark",
        Shape::Count {
            least: 0,
            most: INT_MAX,
        },
        Scope::Internet,
    ),
    row(
        Key::Priority,
        "priority",
        Shape::Count {
            least: 0,
            most: INT_MAX,
        },
        Scope::Internet,
    ),
    row(Key::IpTos, "ip-tos", Shape::Tos, Scope::Internet),
    row(
        Key::IpTtl,
        "ip-ttl",
        Shape::Count { least: 1, most: 255 },
        Scope::Internet,
    ),
    row(
        Key::PassCredentials,
        "pass-credentials",
        Shape::Flag,
        Scope::UnixAny,
    ),
    row(Key::PassSecurity, "pass-security", Shape::Flag, Scope::UnixAny),
    row(Key::PassPacketInfo, "pass-packet-info", Shape::Flag, Scope::Udp),
    row(Key::Timestamping, "timestamping", Shape::Stamps, Scope::Datagrams),
    row(Key::NonBlocking, "non-blocking", Shape::Flag, Scope::All),
];
