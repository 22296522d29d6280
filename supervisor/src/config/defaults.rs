//! Every default and limit of the settings, with its unit and its reason. The table in `options` takes them from here.

use std::time::Duration;

use nix::sys::signal::Signal;

/// Workers of a generation. One process is what an app is unless it was written for several.
pub(crate) const WORKERS: u16 = 1;

/// The most workers a generation may have. Each costs the supervisor two file descriptors (pidfd and notify
/// socket) in every live generation, and 1,024 is four times what one machine is measured with.
pub(crate) const MAX_WORKERS: u16 = 1024;

/// How long a candidate may take until it is ready: systemd allows 90 s, but a deployer waits for this one.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an app that never says READY=1 must have accepted until it is ready. Apps that notify do so within milliseconds of
/// their first accept; a loaded machine stretches that to some hundred. Only those that say nothing pay for it, once a start.
pub(crate) const READY_AFTER: Duration = Duration::from_secs(1);

/// How long a retired worker may drain before it is killed; long enough for any ordinary request, and also
/// what containers and load balancers commonly grant.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How far an app can put off the end of its start or of its drain by asking for more time, counted from when that began.
/// Twenty times what is granted unasked: a large migration or a long upload ends within it, and one that asks for ever is
/// noticed by the person who deployed it. systemd has no such ceiling, but somebody waits for a reload.
pub(crate) const EXTEND_LIMIT: Duration = Duration::from_mins(10);
/// How long clients may wait in a queue that never goes down before the generation counts as deaf: far longer than a
/// pause of a garbage collector, far shorter than clients and proxies wait (nginx: 60 s).
pub(crate) const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a crash after the takeover still means rollback: bad code that survives its first half minute of
/// real load is seldom caught by waiting longer.
pub(crate) const PROBATION: Duration = Duration::from_secs(30);

/// How long the probe command is retried before it fails the candidate.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a hook may run: most of them ask or tell another machine something, and a reload may wait for one.
pub(crate) const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long both generations keep serving before the takeover: no time, so that versions mix as briefly as can be.
pub(crate) const SOAK: Duration = Duration::ZERO;

/// How long a generation that was replaced may keep its connections: longer than servers commonly keep an idle one (nginx and aiohttp
/// 75 s, Apache, Node and uvicorn 5 s), so that the server, not its stop signal, ends each; and longer than probation, in which it is
/// the way back.
pub(crate) const LINGER: Duration = Duration::from_secs(90);

/// The signal that tells an app to drain and exit: what every process manager sends.
pub(crate) const STOP_SIGNAL: Signal = Signal::SIGTERM;

/// Generations that may live at once, the incumbent and the candidate included. Retired generations with
/// long connections pile up; beyond eight, memory suffers more than a waiting reload does.
pub(crate) const MAX_GENERATIONS: u16 = 8;

/// The highest `--max-generations`: each generation holds processes, fds and memory, and a mistyped number
/// must not take the limit away.
pub(crate) const MOST_GENERATIONS: u16 = 1024;

/// Incumbent and candidate live side by side in overlap mode, so fewer could never reload.
pub(crate) const LEAST_GENERATIONS_IN_OVERLAP: u16 = 2;

/// The shortest watchdog interval. Below it the scheduler alone, not a stuck app, would cause overruns.
pub(crate) const SHORTEST_WATCHDOG: Duration = Duration::from_millis(100);

/// How long no watched file may change until a round of `segue dev` begins: linkers and editors write in bursts with shorter
/// pauses, and nobody who looks from the editor to the browser notices it.
pub(crate) const REST: Duration = Duration::from_millis(250);

/// How long `segue dev` waits for rest where files change all the time, before it begins without.
pub(crate) const REST_LIMIT: Duration = Duration::from_secs(5);

/// How long a build may take: a large one from scratch ends within it, and one that waits for something that never comes is
/// noticed.
pub(crate) const BUILD_TIMEOUT: Duration = Duration::from_mins(10);

/// Bytes of a Unix socket path without its final NUL: `sun_path` has 108 (unix(7)).
pub(crate) const LONGEST_SOCKET_PATH: usize = 107;

/// Bytes of segue.toml, and of one env file: far more than people write, little enough to be read between two
/// turns of the loop. All of the environment must fit into a quarter of the stack limit (2 MiB) at exec.
pub(crate) const LARGEST_FILE: usize = 1024 * 1024;

/// Bytes of one `NAME=VALUE`: the kernel refuses longer strings at exec (MAX_ARG_STRLEN, 32 pages of 4 KiB,
/// the final NUL included; execve(2)).
pub(crate) const LONGEST_ENV_STRING: usize = 32 * 4096 - 1;
