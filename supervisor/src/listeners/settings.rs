//! Options as numbers: which socket options each word of systemd.socket(5) stands for, and how they are set, changed
//! and taken back. Those that are no socket options (backlog, access to a path, O_NONBLOCK) are `socket`'s.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::socket::AddressFamily;

use crate::address::{BindIpv6Only, Key, SocketOptions, Timestamping};
use crate::sys::errno_text;
use crate::sys::sock::{self, SocketOption};

const fn general(name: i32) -> SocketOption {
    SocketOption {
        level: libc::SOL_SOCKET,
        name,
    }
}

const fn tcp(name: i32) -> SocketOption {
    SocketOption {
        level: libc::IPPROTO_TCP,
        name,
    }
}

const fn ipv4(name: i32) -> SocketOption {
    SocketOption {
        level: libc::IPPROTO_IP,
        name,
    }
}

const fn ipv6(name: i32) -> SocketOption {
    SocketOption {
        level: libc::IPPROTO_IPV6,
        name,
    }
}

pub(super) const SOCKET_TYPE: SocketOption = general(libc::SO_TYPE);
pub(super) const SOCKET_DOMAIN: SocketOption = general(libc::SO_DOMAIN);
pub(super) const ACCEPTS_CONNECTIONS: SocketOption = general(libc::SO_ACCEPTCONN);
pub(super) const REUSE_ADDRESS: SocketOption = general(libc::SO_REUSEADDR);
pub(super) const IPV6_ONLY: SocketOption = ipv6(libc::IPV6_V6ONLY);
const RECEIVE_BUFFER: SocketOption = general(libc::SO_RCVBUF);
const SEND_BUFFER: SocketOption = general(libc::SO_SNDBUF);
/// Numbers of linux/in6.h that libc does not have for every target.
const IPV6_TRANSPARENT: i32 = 75;
const IPV6_FREEBIND: i32 = 78;

/// One socket option and what to set it to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    option: SocketOption,
    value: Vec<u8>,
}

/// The values that options had before the first change, to be set again when a reload takes an option away.
pub(super) type Originals = Vec<(SocketOption, Vec<u8>)>;

/// What an option is made of, and so when it can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A socket option for the time before bind(2), or where the socket is bound: a change needs a new socket.
    Birth,
    /// A socket option that can be set at any time.
    Option,
    /// The argument of listen(2), which can be called again.
    Backlog,
    /// Mode and owner of a path.
    Access,
    /// O_NONBLOCK.
    Flag,
    /// How a directory is made; means nothing afterwards.
    Directory,
    /// Which sockets there are beside it, and who is lent which.
    Group,
}

/// What an option is made of.
pub(super) fn what(key: Key) -> What {
    match key {
        Key::FreeBind
        | Key::Transparent
        | Key::ReusePort
        | Key::Sockets
        | Key::BindIpv6Only
        | Key::BindToDevice
        | Key::Linked => What::Birth,
        Key::Steer | Key::Slots => What::Group,
        Key::Backlog => What::Backlog,
        Key::Mode | Key::User | Key::Group => What::Access,
        Key::NonBlocking => What::Flag,
        Key::DirectoryMode => What::Directory,
        Key::NoDelay
        | Key::KeepAlive
        | Key::KeepAliveTime
        | Key::KeepAliveInterval
        | Key::KeepAliveProbes
        | Key::DeferAccept
        | Key::TcpCongestion
        | Key::Broadcast
        | Key::ReceiveBuffer
        | Key::SendBuffer
        | Key::Mark
        | Key::Priority
        | Key::IpTos
        | Key::IpTtl
        | Key::PassCredentials
        | Key::PassSecurity
        | Key::PassPacketInfo
        | Key::Timestamping => What::Option,
    }
}

/// The socket options behind a word, for a socket of this family. An IPv6 socket that takes IPv4 clients needs both.
fn options_of(key: Key, family: AddressFamily) -> Vec<SocketOption> {
    let by_family = |four: SocketOption, six: SocketOption| {
        if family == AddressFamily::Inet6 {
            vec![six, four]
        } else {
            vec![four]
        }
    };
    match key {
        Key::NoDelay => vec![tcp(libc::TCP_NODELAY)],
        Key::KeepAlive => vec![general(libc::SO_KEEPALIVE)],
        Key::KeepAliveTime => vec![tcp(libc::TCP_KEEPIDLE)],
        Key::KeepAliveInterval => vec![tcp(libc::TCP_KEEPINTVL)],
        Key::KeepAliveProbes => vec![tcp(libc::TCP_KEEPCNT)],
        Key::DeferAccept => vec![tcp(libc::TCP_DEFER_ACCEPT)],
        Key::TcpCongestion => vec![tcp(libc::TCP_CONGESTION)],
        Key::FreeBind if family == AddressFamily::Inet6 => vec![ipv6(IPV6_FREEBIND)],
        Key::FreeBind => vec![ipv4(libc::IP_FREEBIND)],
        Key::Transparent if family == AddressFamily::Inet6 => vec![ipv6(IPV6_TRANSPARENT)],
        Key::Transparent => vec![ipv4(libc::IP_TRANSPARENT)],
        Key::Broadcast => vec![general(libc::SO_BROADCAST)],
        // Any number but 0 is yes.
        Key::ReusePort | Key::Sockets => vec![general(libc::SO_REUSEPORT)],
        Key::BindToDevice => vec![general(libc::SO_BINDTODEVICE)],
        Key::ReceiveBuffer => vec![RECEIVE_BUFFER],
        Key::SendBuffer => vec![SEND_BUFFER],
        Key::Mark => vec![general(libc::SO_MARK)],
        Key::Priority => vec![general(libc::SO_PRIORITY)],
        Key::IpTos => by_family(ipv4(libc::IP_TOS), ipv6(libc::IPV6_TCLASS)),
        Key::IpTtl => by_family(ipv4(libc::IP_TTL), ipv6(libc::IPV6_UNICAST_HOPS)),
        Key::PassCredentials => vec![general(libc::SO_PASSCRED)],
        Key::PassSecurity => vec![general(libc::SO_PASSSEC)],
        Key::PassPacketInfo => by_family(ipv4(libc::IP_PKTINFO), ipv6(libc::IPV6_RECVPKTINFO)),
        Key::Timestamping => vec![general(libc::SO_TIMESTAMP), general(libc::SO_TIMESTAMPNS)],
        // Where a socket is bound: see `unix_file`. The sockets of a steered address share it as soon as they are bound: see `slots`.
        Key::Linked
        | Key::Steer
        | Key::Slots
        | Key::Backlog
        | Key::Mode
        | Key::User
        | Key::Group
        | Key::DirectoryMode
        | Key::BindIpv6Only
        | Key::NonBlocking => Vec::new(),
    }
}

/// What a word asks for; `None` if it was not said.
fn wanted(options: &SocketOptions, key: Key, family: AddressFamily) -> Option<Vec<Setting>> {
    if key == Key::Timestamping {
        return options.timestamping().map(timestamping);
    }
    let value = if let Some(on) = options.flag(key) {
        i32::from(on).to_ne_bytes().to_vec()
    } else if let Some(number) = options.number(key) {
        number.to_ne_bytes().to_vec()
    } else {
        options.text(key)?.as_bytes().to_vec()
    };
    let options = options_of(key, family);
    Some(
        options
            .into_iter()
            .map(|option| Setting {
                option,
                value: value.clone(),
            })
            .collect(),
    )
}

/// The two timestamp options exclude each other, so the one that is off is set first.
fn timestamping(choice: Timestamping) -> Vec<Setting> {
    let set = |name: i32, on: i32| Setting {
        option: general(name),
        value: on.to_ne_bytes().to_vec(),
    };
    match choice {
        Timestamping::Off => vec![set(libc::SO_TIMESTAMP, 0), set(libc::SO_TIMESTAMPNS, 0)],
        Timestamping::Microseconds => vec![set(libc::SO_TIMESTAMPNS, 0), set(libc::SO_TIMESTAMP, 1)],
        Timestamping::Nanoseconds => vec![set(libc::SO_TIMESTAMP, 0), set(libc::SO_TIMESTAMPNS, 1)],
    }
}

/// IPV6_V6ONLY as asked for; `None` leaves the choice to the sysctl net.ipv6.bindv6only.
pub(super) fn ipv6_only(options: &SocketOptions) -> Option<i32> {
    match options.bind_ipv6_only() {
        BindIpv6Only::Both => Some(0),
        BindIpv6Only::Ipv6Only => Some(1),
        BindIpv6Only::Default => None,
    }
}

/// Makes one option what `options` say, or what it was at birth if they do not say.
///
/// # Errors
/// One clause that begins with the name of the option.
pub(super) fn put(
    fd: BorrowedFd<'_>,
    key: Key,
    options: &SocketOptions,
    family: AddressFamily,
    originals: &mut Originals,
) -> Result<(), String> {
    let settings = match wanted(options, key, family) {
        Some(settings) => settings,
        None => untouched(key, family, originals),
    };
    for setting in settings {
        remember(fd, setting.option, originals);
        set(fd, &setting).map_err(|errno| format!("{}: {}", key.name(), explain(key, errno)))?;
    }
    if key == Key::IpTos && options.number(Key::Priority).is_some() {
        // The kernel derives the priority from IP_TOS (ip(7)), even where a priority was asked for in plain words.
        return put(fd, Key::Priority, options, family, originals);
    }
    Ok(())
}

/// What the options behind a word were before anybody said anything.
fn untouched(key: Key, family: AddressFamily, originals: &Originals) -> Vec<Setting> {
    let options = options_of(key, family);
    originals
        .iter()
        .filter(|(option, _)| options.contains(option))
        .map(|(option, value)| Setting {
            option: *option,
            value: value.clone(),
        })
        .collect()
}

fn remember(fd: BorrowedFd<'_>, option: SocketOption, originals: &mut Originals) {
    if originals.iter().any(|(known, _)| *known == option) {
        return;
    }
    if let Ok(mut value) = sock::option_bytes(fd, option) {
        if is_buffer(option) {
            // The kernel doubles what is set (socket(7)), so half of what it tells is what to set.
            halve(&mut value);
        }
        originals.push((option, value));
    }
}

fn is_buffer(option: SocketOption) -> bool {
    option == RECEIVE_BUFFER || option == SEND_BUFFER
}

fn halve(value: &mut [u8]) {
    if let Some(number) = value.first_chunk_mut::<4>() {
        *number = (i32::from_ne_bytes(*number) / 2).to_ne_bytes();
    }
}

/// Sets a buffer past the administrator's limit if we may, and up to it if not, as systemd does.
fn set(fd: BorrowedFd<'_>, setting: &Setting) -> Result<(), Errno> {
    let forced = if setting.option == RECEIVE_BUFFER {
        Some(general(libc::SO_RCVBUFFORCE))
    } else if setting.option == SEND_BUFFER {
        Some(general(libc::SO_SNDBUFFORCE))
    } else {
        None
    };
    if let Some(forced) = forced
        && sock::set_option_bytes(fd, forced, &setting.value).is_ok()
    {
        return Ok(());
    }
    sock::set_option_bytes(fd, setting.option, &setting.value)
}

fn explain(key: Key, errno: Errno) -> String {
    let text = errno_text(errno);
    match (key, errno) {
        (_, Errno::EPERM) => format!("{text} (it takes CAP_NET_ADMIN or CAP_NET_RAW)"),
        (Key::TcpCongestion, Errno::ENOENT) => "this kernel does not offer that algorithm".to_owned(),
        (Key::BindToDevice, Errno::ENODEV) => "there is no such network interface".to_owned(),
        (_, _) => text,
    }
}

/// What an inherited TCP socket may have been given before it listened. IP_TOS comes before the priority, which follows from it.
const OF_ONE_THAT_WAS_GIVEN: [Key; 17] = [
    Key::NoDelay,
    Key::KeepAlive,
    Key::KeepAliveTime,
    Key::KeepAliveInterval,
    Key::KeepAliveProbes,
    Key::DeferAccept,
    Key::TcpCongestion,
    Key::FreeBind,
    Key::Transparent,
    Key::BindToDevice,
    Key::ReceiveBuffer,
    Key::SendBuffer,
    Key::Mark,
    Key::IpTos,
    Key::Priority,
    Key::IpTtl,
    Key::Timestamping,
];

/// Gives a new socket, before bind(2), the options of one that listens already.
///
/// # Errors
/// One clause that begins with the name of the option.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, family: AddressFamily) -> Result<(), String> {
    for key in OF_ONE_THAT_WAS_GIVEN {
        for option in options_of(key, family) {
            copy_one(from, to, option).map_err(|errno| format!("{}: {}", key.name(), explain(key, errno)))?;
        }
    }
    if family == AddressFamily::Inet6 {
        copy_one(from, to, IPV6_ONLY).map_err(|errno| format!("bind-ipv6-only: {}", errno_text(errno)))?;
    }
    Ok(())
}

/// What is the same already is not set: some options need a privilege, and a buffer that is set does not grow any more.
fn copy_one(from: BorrowedFd<'_>, to: BorrowedFd<'_>, option: SocketOption) -> Result<(), Errno> {
    let Ok(mut value) = sock::option_bytes(from, option) else {
        return Ok(());
    };
    if sock::option_bytes(to, option).as_ref() == Ok(&value) {
        return Ok(());
    }
    if is_buffer(option) {
        halve(&mut value);
    }
    set(to, &Setting { option, value })
}

/// One line for each buffer that the kernel made smaller than asked for (net.core.rmem_max, wmem_max).
pub(super) fn capped_buffers(fd: BorrowedFd<'_>, options: &SocketOptions) -> Vec<String> {
    [
        (Key::ReceiveBuffer, RECEIVE_BUFFER, "rmem_max"),
        (Key::SendBuffer, SEND_BUFFER, "wmem_max"),
    ]
    .into_iter()
    .filter_map(|(key, option, limit)| {
        let asked = options.number(key)?;
        let got = u32::try_from(sock::option_int(fd, option).ok()?).ok()? / 2;
        (got < asked).then(|| format!("{} {asked} capped to {got} by net.core.{limit}", key.name()))
    })
    .collect()
}
