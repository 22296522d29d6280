//! Socket options, in the words of systemd.socket(5) in kebab case.
//!
//! The names drop `Socket` and `Sec` where systemd has them (`SocketMode=` is `mode`, `DeferAcceptSec=` is
//! `defer-accept`); the long forms are understood as well.

use std::collections::BTreeMap;
use std::fmt;

use super::host::{INTERFACE_MAX, is_interface};
use super::{Address, AddressError, Host, UnixPath, quoted};

/// One option. The order here is the order in which options are printed and set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// `Backlog=`: connections that may wait; default 4096, capped by net.core.somaxconn.
    Backlog,
    /// `SocketMode=`: access mode of a Unix path, octal; default 0666.
    Mode,
    /// `SocketUser=`: owner of a Unix path; its primary group becomes the group unless `group` says otherwise.
    User,
    /// `SocketGroup=`: group of a Unix path.
    Group,
    /// `DirectoryMode=`: makes missing parent directories of a Unix path with this mode.
    DirectoryMode,
    /// `NoDelay=`: TCP_NODELAY.
    NoDelay,
    /// `KeepAlive=`: SO_KEEPALIVE.
    KeepAlive,
    /// `KeepAliveTimeSec=`: TCP_KEEPIDLE, seconds.
    KeepAliveTime,
    /// `KeepAliveIntervalSec=`: TCP_KEEPINTVL, seconds.
    KeepAliveInterval,
    /// `KeepAliveProbes=`: TCP_KEEPCNT.
    KeepAliveProbes,
    /// `DeferAcceptSec=`: TCP_DEFER_ACCEPT, seconds. Connections without data are invisible and die with the kernel.
    DeferAccept,
    /// `TCPCongestion=`: TCP_CONGESTION, the name of an algorithm.
    TcpCongestion,
    /// `FreeBind=`: IP_FREEBIND, bind an address that the machine does not have yet.
    FreeBind,
    /// `Transparent=`: IP_TRANSPARENT.
    Transparent,
    /// `Broadcast=`: SO_BROADCAST.
    Broadcast,
    /// `ReusePort=`: SO_REUSEPORT. Another process may then share the port; never needed for a handoff.
    ReusePort,
    /// How many sockets share the address, each lent to its share of the workers; implies SO_REUSEPORT. Not in systemd.socket(5).
    Sockets,
    /// Each generation has a socket of its own, and the kernel sends new clients to one of them. Not in systemd.socket(5).
    Steer,
    /// How many sockets a steered listener has, and so how many generations may live at once; default 4.
    Slots,
    /// `BindIPv6Only=`: `both` (default here), `ipv6-only`, or `default` for the sysctl net.ipv6.bindv6only.
    BindIpv6Only,
    /// `BindToDevice=`: SO_BINDTODEVICE, the name of an interface.
    BindToDevice,
    /// `ReceiveBuffer=`: SO_RCVBUF, bytes, with K, M, G for powers of 1024.
    ReceiveBuffer,
    /// `SendBuffer=`: SO_SNDBUF, bytes, with K, M, G for powers of 1024.
    SendBuffer,
    /// `Mark=`: SO_MARK, the firewall mark.
    Mark,
    /// `IPTOS=`: IP_TOS, a number or `low-delay`, `throughput`, `reliability`, `low-cost`.
    IpTos,
    /// `Priority=`: SO_PRIORITY. After `ip-tos`, which sets the priority as well.
    Priority,
    /// `IPTTL=`: IP_TTL and IPV6_UNICAST_HOPS.
    IpTtl,
    /// `PassCredentials=`: SO_PASSCRED.
    PassCredentials,
    /// `PassSecurity=`: SO_PASSSEC.
    PassSecurity,
    /// `PassPacketInfo=`: IP_PKTINFO and IPV6_RECVPKTINFO.
    PassPacketInfo,
    /// `Timestamping=`: `off`, `us` (SO_TIMESTAMP) or `ns` (SO_TIMESTAMPNS).
    Timestamping,
    /// `NonBlocking=`: O_NONBLOCK, which all generations share; default clear, as systemd hands sockets over. The only one that
    /// counts for inherited sockets as well.
    NonBlocking,
}

/// Who may reach an IPv6 socket: `bind-ipv6-only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindIpv6Only {
    /// IPv4 clients too.
    Both,
    /// IPv6 clients alone.
    Ipv6Only,
    /// As the sysctl net.ipv6.bindv6only says.
    Default,
}

/// Which receive timestamps a datagram socket gives: `timestamping`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timestamping {
    /// None.
    Off,
    /// Microseconds: SO_TIMESTAMP.
    Microseconds,
    /// Nanoseconds: SO_TIMESTAMPNS.
    Nanoseconds,
}

/// How the value of an option is written.
#[derive(Debug, Clone, Copy)]
enum Shape {
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Number(u32),
    Octal(u32),
    Text(String),
    Ipv6Only(BindIpv6Only),
    Stamps(Timestamping),
}

/// Which addresses an option means something for.
#[derive(Debug, Clone, Copy)]
enum Scope {
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

struct Row {
    key: Key,
    name: &'static str,
    alias: Option<&'static str>,
    shape: Shape,
    scope: Scope,
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
const INT_MAX: u32 = i32::MAX as u32;
/// Longest keep-alive and defer-accept times in seconds: MAX_TCP_KEEPIDLE of the kernel.
const SECONDS_MAX: u32 = 32767;
/// Most keep-alive probes: MAX_TCP_KEEPCNT of the kernel.
const PROBES_MAX: u32 = 127;
/// Most sockets on one address: as many as there may be workers, for more would be lent to nobody alone.
const SOCKETS_MAX: u32 = 1024;
/// Most sockets of a steered listener: as many generations as may live at once are far fewer.
const SLOTS_MAX: u32 = 16;
/// Longest name of a congestion control algorithm: TCP_CA_NAME_MAX less the final NUL.
const CONGESTION_MAX: usize = 15;
/// Longest name of a user or group: LOGIN_NAME_MAX less the final NUL.
const ACCOUNT_MAX: usize = 255;

const ROWS: &[Row] = &[
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

/// The names that IPTOS= of systemd.socket(5) knows, from ip(7).
const TOS_NAMES: &[(&str, u32)] = &[
    ("low-delay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
    ("low-cost", 0x02),
];

impl Key {
    /// The name as it is written in a `--listen` and in `segue.toml`.
    pub(crate) fn name(self) -> &'static str {
        ROWS.iter().find(|row| row.key == self).map_or("", |row| row.name)
    }
}

/// The options that somebody gave for one listener; those that were not given keep the kernel's or our default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SocketOptions(BTreeMap<Key, Value>);

impl SocketOptions {
    /// Sets one option by its name, as text. `yes`, `no`, `true`, `false`, `on`, `off`, `1` and `0` are flags.
    ///
    /// # Errors
    /// One line: an unknown name, a name given twice, or a value that the option does not take.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), AddressError> {
        let Some(row) = ROWS
            .iter()
            .find(|row| row.name == name || row.alias == Some(name))
        else {
            return Err(AddressError::new(format!(
                "unknown listen option {}",
                quoted(name)
            )));
        };
        let value = parse_value(row.shape, value).map_err(|why| {
            AddressError::new(format!("listen option {}: {} {why}", row.name, quoted(value)))
        })?;
        if self.0.insert(row.key, value).is_some() {
            return Err(AddressError::new(format!(
                "listen option {} is given twice",
                row.name
            )));
        }
        Ok(())
    }

    /// What is said of one option, and nothing else.
    pub(crate) fn only(&self, key: Key) -> Self {
        let value = self.0.get(&key).cloned();
        Self(value.into_iter().map(|value| (key, value)).collect())
    }

    /// O_NONBLOCK is asked for, and nothing else.
    pub(crate) fn non_blocking() -> Self {
        Self(BTreeMap::from([(Key::NonBlocking, Value::Flag(true))]))
    }

    /// The names of all options, for help texts and for the keys of a `[[listen]]` table.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|row| row.name)
    }

    /// Whether an option was given.
    pub(crate) fn given(&self) -> impl Iterator<Item = Key> + '_ {
        self.0.keys().copied()
    }

    /// The value of a flag, if it was given.
    pub(crate) fn flag(&self, key: Key) -> Option<bool> {
        let Some(Value::Flag(on)) = self.0.get(&key) else {
            return None;
        };
        Some(*on)
    }

    /// The value of a number, a time in seconds, a size in bytes or a mode, if it was given.
    pub(crate) fn number(&self, key: Key) -> Option<u32> {
        let Some(Value::Number(number) | Value::Octal(number)) = self.0.get(&key) else {
            return None;
        };
        Some(*number)
    }

    /// The value of a text, if it was given.
    pub(crate) fn text(&self, key: Key) -> Option<&str> {
        let Some(Value::Text(text)) = self.0.get(&key) else {
            return None;
        };
        Some(text)
    }

    /// Who may reach an IPv6 socket; both families unless something else was asked for.
    pub(crate) fn bind_ipv6_only(&self) -> BindIpv6Only {
        let Some(Value::Ipv6Only(choice)) = self.0.get(&Key::BindIpv6Only) else {
            return BindIpv6Only::Both;
        };
        *choice
    }

    /// Which timestamps were asked for, if any word was said about them.
    pub(crate) fn timestamping(&self) -> Option<Timestamping> {
        let Some(Value::Stamps(choice)) = self.0.get(&Key::Timestamping) else {
            return None;
        };
        Some(*choice)
    }

    /// Whether both sets say the same about one option.
    pub(crate) fn agree(&self, other: &Self, key: Key) -> bool {
        self.0.get(&key) == other.0.get(&key)
    }

    /// Refuses options that mean nothing for this address: a silent `mode=0600` on a TCP port would be believed.
    pub(crate) fn check(&self, address: &Address) -> Result<(), AddressError> {
        for row in ROWS.iter().filter(|row| self.0.contains_key(&row.key)) {
            if let Err(why) = fits(row.scope, address) {
                return Err(AddressError::new(format!(
                    "listen option {} is for {why}, not for {address}",
                    row.name
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Display for SocketOptions {
    /// Every option with a comma before it, flags that are on by their bare name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.0 {
            let name = key.name();
            match value {
                Value::Flag(true) => write!(f, ",{name}")?,
                Value::Flag(false) => write!(f, ",{name}=no")?,
                Value::Number(number) => write!(f, ",{name}={number}")?,
                Value::Octal(mode) => write!(f, ",{name}={mode:04o}")?,
                Value::Text(text) => write!(f, ",{name}={text}")?,
                Value::Ipv6Only(choice) => write!(f, ",{name}={}", ipv6_word(*choice))?,
                Value::Stamps(choice) => write!(f, ",{name}={}", stamps_word(*choice))?,
            }
        }
        Ok(())
    }
}

fn ipv6_word(choice: BindIpv6Only) -> &'static str {
    match choice {
        BindIpv6Only::Both => "both",
        BindIpv6Only::Ipv6Only => "ipv6-only",
        BindIpv6Only::Default => "default",
    }
}

fn stamps_word(choice: Timestamping) -> &'static str {
    match choice {
        Timestamping::Off => "off",
        Timestamping::Microseconds => "us",
        Timestamping::Nanoseconds => "ns",
    }
}

/// Whether an option of this scope means something for the address; if not, what it is for.
fn fits(scope: Scope, address: &Address) -> Result<(), &'static str> {
    let (fitting, what) = match scope {
        Scope::All => (true, "every listener"),
        Scope::Connections => (address.accepts_connections(), "listeners that accept connections"),
        Scope::Datagrams => (!address.accepts_connections(), "datagram sockets"),
        Scope::Tcp => (matches!(address, Address::Tcp(_)), "tcp"),
        Scope::Udp => (matches!(address, Address::Udp(_)), "udp"),
        Scope::Internet => (address.host_port().is_some(), "tcp and udp"),
        Scope::Ipv6 => {
            let may_be_ipv6 = address
                .host_port()
                .is_some_and(|place| !matches!(place.host, Host::Ip(ip) if ip.is_ipv4()));
            (may_be_ipv6, "ipv6 addresses")
        }
        Scope::UnixAny => (address.unix_path().is_some(), "unix sockets"),
        Scope::UnixFile => (
            matches!(address.unix_path(), Some(UnixPath::Path(_))),
            "unix sockets with a path",
        ),
    };
    if fitting { Ok(()) } else { Err(what) }
}

fn parse_value(shape: Shape, text: &str) -> Result<Value, String> {
    match shape {
        Shape::Flag => parse_flag(text).map(Value::Flag),
        Shape::Count { least, most } => parse_count(text, least, most).map(Value::Number),
        Shape::Octal => parse_octal(text).map(Value::Octal),
        Shape::Seconds => parse_seconds(text).map(Value::Number),
        Shape::Bytes => parse_bytes(text).map(Value::Number),
        Shape::Account => parse_word(text, ACCOUNT_MAX, "is not a name or number").map(Value::Text),
        Shape::Congestion => parse_word(text, CONGESTION_MAX, "is not an algorithm").map(Value::Text),
        Shape::Device => parse_device(text).map(Value::Text),
        Shape::Tos => parse_tos(text).map(Value::Number),
        Shape::Ipv6Only => parse_ipv6_only(text).map(Value::Ipv6Only),
        Shape::Stamps => parse_stamps(text).map(Value::Stamps),
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err("is not yes or no".to_owned()),
    }
}

/// Digits only: `from_str` alone would take `+1`.
fn parse_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

fn parse_count(text: &str, least: u32, most: u32) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        // Marks are written in hexadecimal by the firewall tools, so that is understood as well.
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None => parse_number(text),
    };
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        Some(_) | None => Err(format!("is not a number from {least} to {most}")),
    }
}

fn parse_octal(text: &str) -> Result<u32, String> {
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        Ok(_) | Err(_) => Err("is not an octal mode from 0000 to 0777".to_owned()),
    }
}

/// Whole seconds, as the kernel counts them: `30`, `30s`, `5m`, `1h`.
fn parse_seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = if let Some(digits) = text.strip_suffix('s') {
        (digits, 1)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 60)
    } else if let Some(digits) = text.strip_suffix('h') {
        (digits, 3600)
    } else {
        (text, 1)
    };
    match parse_number(digits).and_then(|number| number.checked_mul(unit)) {
        Some(seconds) if (1..=SECONDS_MAX).contains(&seconds) => Ok(seconds),
        Some(_) | None => Err(format!(
            "is not a time from 1s to {SECONDS_MAX}s in whole seconds"
        )),
    }
}

fn parse_bytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = if let Some(digits) = text.strip_suffix('K') {
        (digits, 1 << 10)
    } else if let Some(digits) = text.strip_suffix('M') {
        (digits, 1 << 20)
    } else if let Some(digits) = text.strip_suffix('G') {
        (digits, 1 << 30)
    } else {
        (text, 1)
    };
    match parse_number(digits).and_then(|number| number.checked_mul(unit)) {
        Some(bytes) if (1..=INT_MAX).contains(&bytes) => Ok(bytes),
        Some(_) | None => Err("is not a size in bytes (K, M, G are powers of 1024)".to_owned()),
    }
}

fn parse_word(text: &str, most: usize, why: &str) -> Result<String, String> {
    let fitting = !text.is_empty()
        && text.len() <= most
        && !text.contains([',', '/', ':'])
        && !text
            .chars()
            .any(|character| character.is_control() || character.is_whitespace());
    if fitting {
        Ok(text.to_owned())
    } else {
        Err(why.to_owned())
    }
}

fn parse_device(text: &str) -> Result<String, String> {
    if is_interface(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "is not a network interface (at most {INTERFACE_MAX} characters)"
        ))
    }
}

fn parse_tos(text: &str) -> Result<u32, String> {
    match TOS_NAMES.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => parse_count(text, 0, 255)
            .map_err(|why| format!("{why}, low-delay, throughput, reliability or low-cost")),
    }
}

fn parse_ipv6_only(text: &str) -> Result<BindIpv6Only, String> {
    [BindIpv6Only::Both, BindIpv6Only::Ipv6Only, BindIpv6Only::Default]
        .into_iter()
        .find(|choice| ipv6_word(*choice) == text)
        .ok_or_else(|| "is not both, ipv6-only or default".to_owned())
}

fn parse_stamps(text: &str) -> Result<Timestamping, String> {
    [
        Timestamping::Off,
        Timestamping::Microseconds,
        Timestamping::Nanoseconds,
    ]
    .into_iter()
    .find(|choice| stamps_word(*choice) == text)
    .ok_or_else(|| "is not off, us or ns".to_owned())
}
