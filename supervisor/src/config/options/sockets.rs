//! What is listened on, and the file that settings are read from.

use super::super::settings::Steer;
use super::lists::LISTENERS;
use super::storage::{Nothing, Switch};
use super::{BLANK, Completes, Given, Setting};

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "listen",
        short: Some('l'),
        value: "ADDR",
        storage: &LISTENERS,
        summary: "Listen on [NAME=]ADDR[,OPTION[=VALUE]]...; can be repeated",
        help: "ADDR is one of
  8080                 127.0.0.1:8080, this machine only
  *:8080, :8080        every address, IPv4 and IPv6
  HOST:PORT, [::1]:80  one address; port 0 picks a free one
  udp:ADDR             a datagram socket
  unix:PATH            a Unix socket; unix:@NAME is an abstract one
  unix-dgram:PATH, unix-seqpacket:PATH

NAME is what the app sees in LISTEN_FDNAMES; the default is listen1,
listen2... A listener stands aside if segue has inherited a socket of
the same name or address (LISTEN_FDS).

OPTION has the name from systemd.socket(5): backlog (4096 by default),
mode, user, group, directory-mode, no-delay, keep-alive,
keep-alive-time, keep-alive-interval, keep-alive-probes, defer-accept,
tcp-congestion, free-bind, transparent, broadcast, reuse-port,
bind-ipv6-only, bind-to-device, receive-buffer, send-buffer, mark,
priority, ip-tos, ip-ttl, pass-credentials, pass-security,
pass-packet-info, timestamping, non-blocking, sockets (so many on the
one address for the workers to share out), steer (one for each
generation; the kernel switches), slots (how many of them), linked (an
app that removes the path of its socket removes a second name of it;
systemd has none of these four).",
        manual: "Listen there; see
.Sx LISTEN ADDRESSES .
Can be repeated.
The app gets the listeners in this order.
Without any, it gets what the supervisor has inherited.",
        manual_head: "Fl l , Fl Fl listen Oo Ar NAME Ns = Oc Ns Ar ADDR Ns Oo , Ns Ar OPTION Ns Oo = Ns Ar VALUE Oc Oc Ns ...",
        key: "Each element is a string, as
.Fl Fl listen
takes it, or a table, which is best written as
.Ic [[listen]] ;
the app gets the listeners in this order.",
        ..SOCKETS
    },
    Setting {
        name: "steer",
        storage: &Switch {
            given: |settings| &mut settings.steer,
            whole: |config| config.steer,
            on: Steer::Everywhere,
            off: Steer::WhereAsked,
        },
        summary: "Give each generation sockets of its own; the kernel switches",
        help: "The option steer of --listen, for every TCP address that does not say
steer=no. Goes without --mode queue, --soak, --rolling and sockets=N.",
        manual: "The option
.Cm steer
of each TCP address of
.Fl Fl listen
that does not say
.Ql steer=no ;
see
.Sx LISTEN ADDRESSES .",
        example: "false",
        ..SOCKETS
    },
    Setting {
        name: "config",
        given: Given::Flag,
        value: "FILE",
        completes: Completes::File,
        storage: &Nothing,
        summary: "Read settings from a TOML file; flags win over it",
        help: r#"Each long option is a key: `drain-timeout = "1m"`. Listeners are
strings or [[listen]] tables with the keys name, address and the
options of --listen; `command` is an array of strings; [env] is a
table. The file is read again at each reload and taken whole or
refused whole."#,
        manual: "Read settings from a TOML file, see
.Xr segue.toml 5 ;
flags win over it.
It is read again at each reload and taken whole or refused whole.",
        ..SOCKETS
    },
];

const SOCKETS: Setting = BLANK;
