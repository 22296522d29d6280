//! Socket options, in the words of systemd.socket(5) in kebab case.
//!
//! The names drop `Socket` and `Sec` where systemd has them (`SocketMode=` is `mode`, `DeferAcceptSec=` is
//! `defer-accept`); the long forms are understood as well.

mod table;
mod values;

use std::collections::BTreeMap;
use std::fmt;

use table::{ROWS, Scope};
use values::{ipv6_word, parse_value, stamps_word};

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
    /// The socket is bound beside a Unix path, which is a link to it: for apps that remove the path of a socket that they were given.
    /// Not in systemd.socket(5).
    Linked,
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Number(u32),
    Octal(u32),
    Text(String),
    Ipv6Only(BindIpv6Only),
    Stamps(Timestamping),
}

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
    pub(crate) fn only(&self, keys: &[Key]) -> Self {
        let given = self.0.iter().filter(|(key, _)| keys.contains(*key));
        Self(given.map(|(key, value)| (*key, value.clone())).collect())
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
