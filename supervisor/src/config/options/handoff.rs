//! How one generation follows another.

use super::super::defaults;
use super::super::duration::Limit;
use super::super::settings::{Mode, Ready};
use super::storage::Field;
use super::value_type::{DURATION, GENERATIONS, LIMIT, MODE, READY, SHELL_COMMAND, SIZE, WORKERS};
use super::{BLANK, Completes, Group, Setting};

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "ready",
        value: "HOW",
        storage: &Field {
            value_type: &READY,
            given: |settings| &mut settings.ready,
            whole: |config| Some(config.ready),
            default: Some(Ready::Auto),
        },
        summary: "How it is ready: auto, notify, accepting or exec:TIME",
        help: "  auto       it says READY=1 (sd_notify), or has been seen waiting for
             clients for --ready-after; READY=1 alone counts once a
             generation that served has said it
  notify     it says READY=1
  accepting  it is seen waiting for clients on each of its listeners
  exec:2s    it is alive 2 s after exec",
        manual: "How the app is ready:
.Ql auto
if it says READY=1, or waits for clients on each of its listeners for
.Fl Fl ready-after
without that word,
.Ql notify
if it says READY=1,
.Ql accepting
if it is seen waiting for clients on each of its listeners, whatever it says, and
.Ql exec:2s
if it is alive 2 seconds after its start.
Only the app knows when it can answer, so its word is best: with
.Ql auto
it alone counts as soon as the last good generation, or the one that serves, has said READY=1, even late, or has asked for more
time to start.
So an app that accepts before it can answer takes over nothing too early, and costs a reload no look.
It alone counts, too, where no listener accepts connections, or with
.Fl Fl watchdog .
An app that says nothing has loaded what it needs when it begins to accept, so that nobody has to guess: its listener is in an
epoll set, or one of its threads is blocked in
.Xr accept 2 , poll 2
or
.Xr select 2
on it.
That is looked at while a worker starts, every 10 ms at first and every 250 ms at last, and needs permission to look into
its processes
.Pq Xr ptrace 2 .
A datagram socket beside such listeners need only be open in the app.
An app that says READY=1 and does not wait for clients yet is given 2 seconds more before it takes over, if the generation
before it is seen to wait for them.
Where listeners are steered, each new generation has to accept a connection in its own slot before it takes over, whatever it says,
and
.Ql accepting
waits for that and looks at no process, unless there are several workers; see
.Cm steer
below.
With
.Ql accepting
and no listener that accepts connections, READY=1 counts.",
        example: r#""auto""#,
        ..HANDOFF
    },
    Setting {
        name: "ready-after",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.ready_after,
            whole: |config| Some(config.ready_after),
            default: Some(defaults::READY_AFTER),
        },
        summary: "How long it accepts without READY=1 until it is ready",
        help: "With --ready auto. An app that says READY=1 does so soon after it
begins to accept; one that never says it is ready after this time.",
        manual: "With
.Fl Fl ready Cm auto :
how long an app that has not said READY=1 waits for clients on each of its listeners until it is ready.
An app that notifies does so within milliseconds of its first accept, or some hundred on a loaded machine; the first generation of
one that takes longer needs more here, or
.Fl Fl ready Cm notify .
Less makes the reloads of an app that never notifies faster.
Shorter than the start timeout.",
        key: "With ready = \\(dqauto\\(dq: how long it accepts without READY=1 until it is ready.",
        example: r#""1s""#,
        ..HANDOFF
    },
    Setting {
        name: "start-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.start_timeout,
            whole: |config| Some(Limit(config.start_timeout)),
            default: Some(Limit(Some(defaults::START_TIMEOUT))),
        },
        summary: "How long a new generation may take to be ready",
        help: "Then the reload has failed and the old generation serves on. The app
may ask for more time (EXTEND_TIMEOUT_USEC=).",
        manual: "How long a new generation may take to be ready; or
.Ql none .
Then the reload has failed and the old generation serves on.
A deployer waits for it, so it is shorter than systemd's 90 seconds.
The app may ask for more time
.Pq EXTEND_TIMEOUT_USEC= ,
up to
.Fl Fl extend-limit .",
        key: "How long a new generation may take to be ready; not 0.",
        example: r#""20s""#,
        ..HANDOFF
    },
    Setting {
        name: "probe",
        value: "COMMAND",
        completes: Completes::Command,
        storage: &Field {
            value_type: &SHELL_COMMAND,
            given: |settings| &mut settings.probe,
            whole: |config| config.probe.clone(),
            default: None,
        },
        summary: "A shell command that must succeed before the takeover",
        help: r#"It is run by /bin/sh -c when the app is ready, and again until it
exits with 0. Every generation gets one more listener for it, a Unix
socket whose path is in SEGUE_PROBE:
  curl --fail --unix-socket "$SEGUE_PROBE" http://localhost/ping
With a steered listener it needs none, and comes to the new generation
alone through the address that clients use:
  curl --fail --interface "$SEGUE_PROBE_SOURCE" \
    "http://$SEGUE_PROBE_ADDRESS/ping""#,
        manual: r#"A shell command that must succeed between readiness and takeover.
It is run by
.Ql /bin/sh -c
as the app's user, in its directory and environment, and again 100 ms after each failure until it exits with 0.
Every generation gets one more listener for it, the last one, a Unix socket named
.Ql probe
whose path is in
.Ev SEGUE_PROBE ,
so that the question reaches the candidate and nobody else.
.Pp
With a steered listener there is no such listener, and the question comes through the address that clients use: a connection to
.Ev SEGUE_PROBE_ADDRESS
from
.Ev SEGUE_PROBE_SOURCE
reaches the candidate alone, so that an app which takes exactly one socket can be probed:
.Bd -literal -offset indent
curl -f --interface "$SEGUE_PROBE_SOURCE" "http://$SEGUE_PROBE_ADDRESS/ping"
.Ed
.Pp
A connection from anywhere else reaches the generation that serves.
The source is drawn anew for each run of the command, and means nothing once that has ended.
Over IPv6 alone it is an address and some of its ports,
.Ql [::1]:61184-61199 :
.Bd -literal -offset indent
curl -f --local-port "${SEGUE_PROBE_SOURCE##*:}" "http://$SEGUE_PROBE_ADDRESS/ping"
.Ed
.Pp
.Ql segue-poll --source
takes both.
Of several steered listeners the first is in
.Ev SEGUE_PROBE_ADDRESS ;
each lets the source in, if it is of the same family.
Where no connection of this machine can be told from others
.Pq another network namespace, a device, an address that is elsewhere ,
a line says so at the start, and the probe has a listener of its own."#,
        example: r#"'curl --fail --silent --unix-socket "$SEGUE_PROBE" http://localhost/ping'"#,
        ..HANDOFF
    },
    Setting {
        name: "probe-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.probe_timeout,
            whole: |config| Some(Limit(config.probe_timeout)),
            default: Some(Limit(Some(defaults::PROBE_TIMEOUT))),
        },
        summary: "How long the probe is retried until it has failed",
        manual: "How long the probe is retried until it has failed; or
.Ql none .",
        key: "How long the probe is retried; not 0.",
        example: r#""5s""#,
        ..HANDOFF
    },
    Setting {
        name: "soak",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.soak,
            whole: |config| Some(config.soak),
            default: Some(defaults::SOAK),
        },
        summary: "How long both generations serve before the takeover",
        help: "Longer shows faults of the new one while the old one still serves;
both versions answer meanwhile.",
        manual: "How long both generations serve between readiness (and probe) and takeover.
Longer shows faults of the new one while the old one still serves; both versions answer meanwhile.",
        example: r#""0s""#,
        ..HANDOFF
    },
    Setting {
        name: "linger",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.linger,
            whole: |config| Some(config.linger),
            default: Some(defaults::LINGER),
        },
        summary: "How long an old generation may keep its clients",
        help: "With steered listeners alone: the old one is told to stop when it has
no connection left, or after this time. If the new one crashes on
probation before that, clients go back to it at once. 0s tells it to
stop at the takeover.",
        manual: "Where each listener is steered
.Pq Cm steer :
how long a generation that was replaced keeps its connections.
It gets no new clients.
It is told to stop when it has no connection of its listeners left, when this time is up, or when a reload needs its slot, its
place among
.Fl Fl max-generations
or its memory
.Pq the oldest first .
So an app that closes connections at its stop signal loses no request of a client whose connection has ended by then.
If the new generation crashes or accepts nobody while it is on probation, new clients go back to the old one at once, and nothing
is started.
The connections are looked for after 1 second, and then in pauses that grow to 5 seconds.
Where the processes of the app may not be looked into
.Pq Xr ptrace 2 ,
the generation lingers for the whole time.
.Ql 0s
tells it to stop at the takeover.
It has no effect if a listener is shared by all generations, and none on
.Ic stop .",
        key: "With steered listeners: how long an old generation keeps its connections.",
        example: r#""90s""#,
        ..HANDOFF
    },
    Setting {
        name: "accept-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.accept_timeout,
            whole: |config| Some(Limit(config.accept_timeout)),
            default: Some(Limit(Some(defaults::ACCEPT_TIMEOUT))),
        },
        summary: "How long clients may wait before the app accepts any",
        help: "An app that accepts none in that time, and has no connection of that
port, has crashed if it is on probation; later the log and the status
say it. `none` leaves the watch out.",
        manual: "How long clients may wait in the queue of a listener until the app accepts one; or
.Ql none .
If the queue has not gone down in that time, and no process of the app has a connection of that port, the app accepts nobody.
On probation that is a crash, and the last generation that passed answers those who wait.
Later the log, once, and the status say it.
An app of which a process is stopped or being debugged is not blamed for it, nor one that may be at work for a client that has reset its
connection, nor one whose processes may not be looked into.
Nor is one of which more than 10000 open files, or on the machine more than 20000 sockets, would have to be looked through: that would hold
up the supervisor.
The kernel is asked for the open connections of the port alone, where
.Xr netlink 7
sockets are permitted
.Pq Ql AF_NETLINK ;
else its whole tables are read, with the connections that are over
.Pq Ql TIME_WAIT .",
        example: r#""10s""#,
        ..HANDOFF
    },
    Setting {
        name: "probation",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.probation,
            whole: |config| Some(Limit(config.probation)),
            default: Some(Limit(Some(defaults::PROBATION))),
        },
        summary: "How long after the takeover a crash means rollback",
        help: "The last generation that passed is then started again, from the binary
and environment that it had. `none` leaves probation out.",
        manual: "How long after the takeover a crash means rollback; or
.Ql none ,
which leaves probation out.
Bad code that survives its first half minute of real load is seldom caught by waiting longer.",
        example: r#""2m""#,
        ..HANDOFF
    },
    Setting {
        name: "drain-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.drain_timeout,
            whole: |config| Some(Limit(config.drain_timeout)),
            default: Some(Limit(Some(defaults::DRAIN_TIMEOUT))),
        },
        summary: "How long the old generation may drain, then KILL",
        help: "The app finds it in SEGUE_DRAIN_TIMEOUT_MS. Longer than the longest
request is right.",
        manual: "How long the old generation may drain until it is killed; or
.Ql none .
The app finds it in
.Ev SEGUE_DRAIN_TIMEOUT_MS .
Longer than the longest request is right.
The app may ask for more time
.Pq EXTEND_TIMEOUT_USEC= ,
up to
.Fl Fl extend-limit .",
        example: r#""1m""#,
        ..HANDOFF
    },
    Setting {
        name: "stop-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.stop_timeout,
            whole: |config| Some(Limit(config.stop_timeout)),
            default: None,
        },
        unset: Some("the drain timeout"),
        summary: "The same when the instance stops",
        manual: "The same when the instance stops.
It holds for old generations that drain as well, and no app can put it off: a request for more time is only passed on to systemd.",
        key: "The same when the instance stops; no app can put it off.",
        example: r#""1m30s""#,
        ..HANDOFF
    },
    Setting {
        name: "extend-limit",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.extend_limit,
            whole: |config| Some(Limit(config.extend_limit)),
            default: Some(Limit(Some(defaults::EXTEND_LIMIT))),
        },
        summary: "How far the app can stretch its start or drain",
        help: "It does so by EXTEND_TIMEOUT_USEC=. Counted is all of the start or the
drain; the timeouts themselves are not shortened. `none` grants all.",
        manual: "How long the start or the drain of a worker may take in all if the app asks for more time
.Pq EXTEND_TIMEOUT_USEC= ;
or
.Ql none ,
which grants whatever it asks for.
Counted from the begin of the start or drain, however often it asks; the log says once that an app asks for more than that.
The start timeout and the drain timeout hold even if they are longer.",
        example: r#""15m""#,
        ..HANDOFF
    },
    Setting {
        name: "mode",
        value: "MODE",
        storage: &Field {
            value_type: &MODE,
            given: |settings| &mut settings.mode,
            whole: |config| Some(config.mode),
            default: Some(Mode::Overlap),
        },
        summary: "Whether generations overlap or queue",
        help: "With queue the old generation drains and is gone before the new one
starts, for apps that must not run twice; connections wait meanwhile.",
        manual: "Whether generations
.Ql overlap
or
.Ql queue .
With queue the old generation drains and is gone before the new one starts, for apps that must not run twice; connections
wait in the queue meanwhile.",
        example: r#""overlap""#,
        ..HANDOFF
    },
    Setting {
        name: "max-generations",
        value: "N",
        storage: &Field {
            value_type: &GENERATIONS,
            given: |settings| &mut settings.max_generations,
            whole: |config| Some(config.max_generations),
            default: Some(defaults::MAX_GENERATIONS),
        },
        summary: "How many generations may live at once",
        help: "Old ones with long connections pile up. A reload above the limit waits
until one has gone; none is killed for it. Overlap mode needs 2.",
        manual: "How many generations may live at once, 1 to 1024, in overlap mode at least 2.
Old ones with long connections pile up and hold memory.
A reload above the limit waits until one has gone; none is killed for it.
Restarts and rollbacks never wait.",
        key: "How many generations may live at once, 1 to 1024, in overlap mode at least 2.",
        example: "4",
        ..HANDOFF
    },
    Setting {
        name: "rolling",
        value: "K",
        storage: &Field {
            value_type: &WORKERS,
            given: |settings| &mut settings.rolling,
            whole: |config| config.rolling,
            default: None,
        },
        unset: Some("all"),
        summary: "Replace K workers at a time, where memory is short",
        help: "Then no more than the workers and K run at once, old and new, drains
included. If one step fails, the old workers are started again.",
        manual: "Replace K workers at a time, 1 up to the number of workers, for machines that have no memory for two whole generations; not in queue mode.
The new workers of a step start first; when they are ready, as many old ones drain.
Never do more processes run than there are workers and K, old and new, those that drain included; whatever is to be started beyond that waits until
one is gone, restarts and rollbacks too.
A probe is asked after the first step, before any old worker drains; a soak comes after the last one, at whose end the new generation takes over.
If a step fails, the reload has: the new workers drain and the old generation gets back those that it gave, started anew from what it was born with.",
        key: "Replace so many workers at a time, 1 up to the number of workers; not in queue mode.",
        example: "1",
        ..HANDOFF
    },
    Setting {
        name: "min-free-memory",
        value: "SIZE",
        storage: &Field {
            value_type: &SIZE,
            given: |settings| &mut settings.min_free_memory,
            whole: |config| config.min_free_memory,
            default: None,
        },
        summary: "Reload only if that much memory is free, such as 512M",
        help: "Counted are the machine and each cgroup that segue is in. With less, a
reload waits for old generations to be gone, up to the start timeout,
and then fails; the app serves on. K, M, G are powers of 1024.",
        manual: "Reload only if that much memory is free, such as
.Ql 512M ;
K, M and G are powers of 1024.
Without it free memory is not looked at.
Counted is the least of what the machine has available
.Pq MemAvailable in Pa /proc/meminfo
and what the limits of each cgroup that segue is in leave, file cache that is not in use not counted as taken.
With less, a reload waits as long as an old generation drains, looking again each second and when a generation is gone, and no
longer than the start timeout; then it fails, and the app serves on.
The first start, restarts and rollbacks do not wait, nor does a reload while nobody serves, or with
.Fl Fl mode Cm queue ,
where the old generation is gone before the new one starts.
If nothing of it can be read, the reload fails.",
        key: r"Reload only if that much memory is free: a string such as
.Ql \(dq512M\(dq
.Pq K, M and G are powers of 1024 ,
or an integer in bytes.",
        example: r#""256M""#,
        ..HANDOFF
    },
    Setting {
        name: "watchdog",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.watchdog,
            whole: |config| Some(Limit(config.watchdog)),
            default: Some(Limit(None)),
        },
        summary: "How often the app must say WATCHDOG=1, at least",
        help: "The app finds it in WATCHDOG_USEC. One that stays silent for longer
has crashed: it gets ABRT, then KILL, and is started again.",
        manual: "How often the app must say WATCHDOG=1, at least; 100ms or longer, or
.Ql none .
The app finds it in
.Ev WATCHDOG_USEC .
One that stays silent for longer has crashed: it gets SIGABRT, 5 seconds later SIGKILL, and is started again.",
        key: "How often the app must say WATCHDOG=1; 100ms at least.",
        example: r#""none""#,
        ..HANDOFF
    },
];

const HANDOFF: Setting = Setting {
    group: Group::Handoff,
    ..BLANK
};
