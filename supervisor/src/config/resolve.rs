//! From what was given to [`Config`]: read the files, let flags win, fill in defaults, check what only the whole shows.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use super::apps::{App, Preset};
use super::duration::{Limit, text};
use super::error::{ConfigError, SettingPlace};
use super::file::{self, File};
use super::rest::{Rest, patiently};
use super::settings::{Invocation, Mode, Ready, Settings, Steer, Variable, parse_name};
use super::{Config, Development, NameOrigin, defaults, env_file, environment};
use crate::address::{Key, ListenSpec};

/// Makes the settings one: reads segue.toml and the env files afresh, and takes them whole or not at all. It waits for files
/// that somebody is writing, so it is not for the loop.
///
/// # Errors
///
/// The first thing that is wrong, with file, line and key where there are any.
pub(crate) fn resolve(invocation: &Invocation) -> Result<Config, ConfigError> {
    patiently(|rest| resolve_now(invocation, rest))?
}

/// As [`resolve`], but it opens only regular files and never waits for anybody, so that the loop may call it at a reload. The
/// outcome, a refusal too, counts only if all files had rested.
pub(super) fn resolve_now(invocation: &Invocation, rest: &mut Rest) -> Result<Config, ConfigError> {
    resolve_all(invocation, rest).map_err(|errors| {
        errors
            .into_iter()
            .next()
            .unwrap_or_else(|| ConfigError::plain("the configuration is refused"))
    })
}

/// As [`resolve_now`], but with every error that can be found in one go, at least one, for `segue check`.
pub(super) fn resolve_all(invocation: &Invocation, rest: &mut Rest) -> Result<Config, Vec<ConfigError>> {
    rest.begin();
    let file = match invocation.file() {
        Some((path, reason)) => file::load(path, reason, rest)?,
        None => File::default(),
    };
    let sources = Sources {
        flags: &invocation.settings,
        file: &file,
    };
    let config = sources.join(rest).map_err(|error| vec![error])?;
    let errors = sources.contradictions(&config);
    if errors.is_empty() {
        Ok(config)
    } else {
        Err(errors)
    }
}

/// The two sources, the flags winning.
struct Sources<'a> {
    flags: &'a Settings,
    file: &'a File,
}

impl Sources<'_> {
    /// The value that wins, if any source has one.
    fn pick<T: Clone>(&self, field: impl Fn(&Settings) -> &Option<T>) -> Option<T> {
        field(self.flags)
            .as_ref()
            .or(field(&self.file.settings).as_ref())
            .cloned()
    }

    /// The list that wins, which may be empty.
    fn pick_list<T: Clone>(&self, field: impl Fn(&Settings) -> &Vec<T>) -> Vec<T> {
        let flags = field(self.flags);
        if flags.is_empty() {
            field(&self.file.settings).clone()
        } else {
            flags.clone()
        }
    }

    fn limit(
        &self,
        field: impl Fn(&Settings) -> &Option<Limit>,
        default: Option<Duration>,
    ) -> Option<Duration> {
        self.pick(field).map_or(default, |Limit(limit)| limit)
    }

    fn join(&self, rest: &mut Rest) -> Result<Config, ConfigError> {
        let command = self.pick_list(|s| &s.command);
        let Some(program) = command.first().filter(|program| !program.is_empty()) else {
            return Err(self.blame(
                "command",
                Given::Nowhere,
                "no command is given: `segue run -- COMMAND [ARG]...`, or a segue.toml (`segue init` begins one)",
            ));
        };
        let (name, name_origin) = self.name(program)?;
        let drain_timeout = self.limit(|s| &s.drain_timeout, Some(defaults::DRAIN_TIMEOUT));
        let app = self.pick(|s| &s.app);
        let preset = app.and_then(App::preset);
        let (env, templates) = self.env(rest)?;
        Ok(Config {
            name,
            name_origin,
            control: self.pick(|s| &s.control),
            control_group: self.pick(|s| &s.control_group),
            pid_file: self.pick(|s| &s.pid_file),
            log_format: self.pick(|s| &s.log_format).unwrap_or_default(),
            log_time: self.pick(|s| &s.log_time).unwrap_or_default(),
            listen: self.listeners(preset),
            workers: self.pick(|s| &s.workers).unwrap_or(defaults::WORKERS),
            mode: self.pick(|s| &s.mode).unwrap_or_default(),
            ready: self
                .pick(|s| &s.ready)
                .or(preset.map(|preset| preset.ready))
                .unwrap_or_default(),
            ready_after: self.pick(|s| &s.ready_after).unwrap_or(defaults::READY_AFTER),
            start_timeout: self.limit(|s| &s.start_timeout, Some(defaults::START_TIMEOUT)),
            drain_timeout,
            stop_timeout: self.limit(|s| &s.stop_timeout, drain_timeout),
            extend_limit: self.limit(|s| &s.extend_limit, Some(defaults::EXTEND_LIMIT)),
            accept_timeout: self.limit(|s| &s.accept_timeout, Some(defaults::ACCEPT_TIMEOUT)),
            probation: self.limit(|s| &s.probation, Some(defaults::PROBATION)),
            probe: self.pick(|s| &s.probe),
            probe_timeout: self.limit(|s| &s.probe_timeout, Some(defaults::PROBE_TIMEOUT)),
            before_reload: self.pick(|s| &s.before_reload),
            on: self.pick_list(|s| &s.on),
            hook_timeout: self.pick(|s| &s.hook_timeout).unwrap_or(defaults::HOOK_TIMEOUT),
            soak: self.pick(|s| &s.soak).unwrap_or(defaults::SOAK),
            linger: self.pick(|s| &s.linger).unwrap_or(defaults::LINGER),
            watchdog: self.limit(|s| &s.watchdog, None),
            max_generations: self
                .pick(|s| &s.max_generations)
                .unwrap_or(defaults::MAX_GENERATIONS),
            rolling: self.pick(|s| &s.rolling),
            min_free_memory: self.pick(|s| &s.min_free_memory),
            app,
            protocol: self
                .pick(|s| &s.protocol)
                .or(preset.map(|preset| preset.protocol))
                .unwrap_or_default(),
            stop_signal: self
                .pick(|s| &s.stop_signal)
                .or(preset.map(|preset| preset.stop_signal))
                .unwrap_or(defaults::STOP_SIGNAL),
            stop_signal_to: self.pick(|s| &s.stop_signal_to).unwrap_or_default(),
            env,
            templates,
            chdir: self.pick(|s| &s.chdir),
            umask: self.pick(|s| &s.umask),
            stderr: self.pick(|s| &s.stderr),
            oom_score_adj: self.pick(|s| &s.oom_score_adj),
            user: self.pick(|s| &s.user),
            group: self.pick(|s| &s.group),
            listen_pid: self.pick(|s| &s.listen_pid).unwrap_or_default(),
            orphaned: self.pick(|s| &s.orphaned).unwrap_or_default(),
            steer: self.pick(|s| &s.steer).unwrap_or_default(),
            development: self.development(),
            command,
        })
    }

    fn name(&self, program: &OsStr) -> Result<(String, NameOrigin), ConfigError> {
        if let Some(name) = self.pick(|s| &s.name) {
            return Ok((name, NameOrigin::Given));
        }
        let file_name = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let name = parse_name(&file_name).map_err(|why| {
            ConfigError::plain(format!(
                "the command gives no name for the instance ({why}); give it by --name"
            ))
        })?;
        Ok((name, NameOrigin::Command))
    }

    fn development(&self) -> Development {
        let env_files = [&self.file.settings, self.flags]
            .into_iter()
            .flat_map(|settings| &settings.env_file);
        Development {
            watch: self.pick_list(|s| &s.watch),
            ignore: self.pick_list(|s| &s.watch_ignore),
            env_files: env_files.map(|path| env_file::plain_path(path)).collect(),
            build: self.pick(|s| &s.build),
            build_timeout: self.limit(|s| &s.build_timeout, Some(defaults::BUILD_TIMEOUT)),
            rest: self.pick(|s| &s.rest).unwrap_or(defaults::REST),
            rest_limit: self.pick(|s| &s.rest_limit).unwrap_or(defaults::REST_LIMIT),
        }
    }

    /// As the preset needs them.
    fn listeners(&self, preset: Option<&Preset>) -> Vec<ListenSpec> {
        let mut listen = self.pick_list(|s| &s.listen);
        if self.pick(|s| &s.steer) == Some(Steer::Everywhere) {
            listen.iter_mut().for_each(steer);
        }
        match preset {
            Some(preset) => listen.iter().map(|spec| preset.adapt(spec)).collect(),
            None => listen,
        }
    }

    /// The variables, and the names of those whose values are not from an env file.
    fn env(&self, rest: &mut Rest) -> Result<(Vec<Variable>, Vec<OsString>), ConfigError> {
        let mut layers: Vec<Variable> = Vec::new();
        let mut templates = BTreeSet::new();
        for (settings, source) in [(&self.file.settings, Given::InFile), (self.flags, Given::ByFlag)] {
            for path in &settings.env_file {
                let variables =
                    env_file::load(path, rest).map_err(|why| self.blame("env-file", source, &why))?;
                for (name, _) in &variables {
                    templates.remove(name);
                }
                layers.extend(variables);
            }
            templates.extend(settings.env.iter().map(|(name, _)| name.clone()));
            layers.extend(settings.env.iter().cloned());
        }
        Ok((environment::join(layers), templates.into_iter().collect()))
    }

    /// What cannot be seen in one setting alone.
    fn contradictions(&self, config: &Config) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for limit in [TimeLimit::Start, TimeLimit::Probe] {
            if self.limit_of(limit, config) == Some(Duration::ZERO) {
                let key = limit.key();
                let why = "0s would fail every candidate; `none` waits without end";
                errors.push(self.blame(key, self.given(|s| limit.given(s).is_some()), why));
            }
        }
        if config.hook_timeout.is_zero() {
            let why = "0s would end every hook as it begins";
            errors.push(self.blame("hook-timeout", self.given(|s| s.hook_timeout.is_some()), why));
        }
        errors.extend(self.watchdog_too_short(config));
        errors.extend(self.too_few_generations(config));
        errors.extend(self.cannot_roll(config));
        errors.extend(self.alive_too_late(config));
        errors.extend(self.watchdog_without_words(config));
        errors.extend(self.same_listeners(config));
        errors.extend(self.cannot_steer(config));
        errors
    }

    fn limit_of(&self, limit: TimeLimit, config: &Config) -> Option<Duration> {
        match limit {
            TimeLimit::Start => config.start_timeout,
            TimeLimit::Probe => config.probe_timeout,
        }
    }

    fn watchdog_too_short(&self, config: &Config) -> Option<ConfigError> {
        let shortest = defaults::SHORTEST_WATCHDOG;
        config
            .watchdog
            .filter(|interval| *interval < shortest)
            .map(|interval| {
                let why = format!(
                    "{} is too short, at least {} is needed",
                    text(interval),
                    text(shortest)
                );
                self.blame("watchdog", self.given(|s| s.watchdog.is_some()), &why)
            })
    }

    fn too_few_generations(&self, config: &Config) -> Option<ConfigError> {
        let least = defaults::LEAST_GENERATIONS_IN_OVERLAP;
        (config.mode == Mode::Overlap && config.max_generations < least).then(|| {
            let why =
                format!("overlap mode needs at least {least}, for incumbent and candidate live side by side");
            self.blame(
                "max-generations",
                self.given(|s| s.max_generations.is_some()),
                &why,
            )
        })
    }

    fn cannot_roll(&self, config: &Config) -> Option<ConfigError> {
        let step = config.rolling?;
        let why = match config.mode {
            Mode::Queue => "in queue mode no two workers of different generations run at once",
            Mode::Overlap if step > config.workers => "there are fewer workers than that",
            Mode::Overlap => return None,
        };
        Some(self.blame("rolling", self.given(|s| s.rolling.is_some()), why))
    }

    /// Where each generation has a socket of its own, one of them gets all new clients.
    fn cannot_steer(&self, config: &Config) -> Option<ConfigError> {
        let asks = |spec: &&ListenSpec| spec.options.flag(Key::Steer) == Some(true);
        let with = |key: Key| {
            let has = |spec: &&ListenSpec| {
                spec.options.number(key).is_some() || spec.options.flag(key) == Some(true)
            };
            config.listen.iter().filter(asks).find(has)
        };
        let mut steered = config.listen.iter().find(asks)?;
        let why = if config.mode == Mode::Queue {
            "goes without `mode = queue`, in which no two generations run at once"
        } else if !config.soak.is_zero() {
            "goes without `soak`, for no client reaches a candidate"
        } else if config.rolling.is_some() {
            "goes without `rolling`, for all new clients go to one generation"
        } else if let Some(several) = with(Key::Sockets) {
            steered = several;
            "goes without `sockets`: all workers of a generation share its slot"
        } else if let Some(open_to_others) = with(Key::ReusePort) {
            steered = open_to_others;
            "goes without `reuse-port`: a socket of another program would be taken for a slot"
        } else {
            return None;
        };
        let why = format!("{}: steer {why}", steered.address);
        Some(match config.steer {
            Steer::Everywhere => self.blame("steer", self.given(|s| s.steer.is_some()), &why),
            Steer::WhereAsked => self.blame("listen", self.given(|s| !s.listen.is_empty()), &why),
        })
    }

    fn alive_too_late(&self, config: &Config) -> Option<ConfigError> {
        match (config.ready, config.start_timeout) {
            (Ready::Exec(alive), Some(limit)) if alive >= limit => {
                let why = format!(
                    "exec:{} does not fit into the start timeout of {}",
                    text(alive),
                    text(limit)
                );
                Some(self.blame("ready", self.given(|s| s.ready.is_some()), &why))
            }
            // Only if it was asked for: with a shorter start timeout than the default leaves, the word alone counts.
            (Ready::Auto, Some(limit)) if config.ready_after >= limit => {
                let given = self.given(|s| s.ready_after.is_some());
                let why = format!(
                    "{} does not fit into the start timeout of {}",
                    text(config.ready_after),
                    text(limit)
                );
                (given != Given::Nowhere).then(|| self.blame("ready-after", given, &why))
            }
            (Ready::Exec(_) | Ready::Auto | Ready::Notify | Ready::Accepting, _) => None,
        }
    }

    fn watchdog_without_words(&self, config: &Config) -> Option<ConfigError> {
        match config.ready {
            Ready::Exec(_) if config.watchdog.is_some() => {
                let why = "an app that cannot notify (ready = exec) cannot say WATCHDOG=1 either";
                Some(self.blame("watchdog", self.given(|s| s.watchdog.is_some()), why))
            }
            Ready::Exec(_) | Ready::Auto | Ready::Notify | Ready::Accepting => None,
        }
    }

    /// The same address twice could only be bound once. A name may be that of several listeners, as in a systemd socket unit: the
    /// app finds it several times in `LISTEN_FDNAMES`.
    fn same_listeners(&self, config: &Config) -> Option<ConfigError> {
        let mut seen = std::collections::HashSet::new();
        let given = self.given(|s| !s.listen.is_empty());
        config.listen.iter().find_map(|spec| {
            let address = spec.address.to_string();
            // Port 0 is another port each time.
            let any_port = spec.address.host_port().is_some_and(|place| place.port == 0);
            let twice = !seen.insert(address.clone()) && !any_port;
            twice.then(|| self.blame("listen", given, &format!("{address} is given twice")))
        })
    }

    /// Which source a value comes from.
    fn given(&self, has: impl Fn(&Settings) -> bool) -> Given {
        if has(self.flags) {
            Given::ByFlag
        } else if has(&self.file.settings) {
            Given::InFile
        } else {
            Given::Nowhere
        }
    }

    /// An error at the place where a setting was given.
    fn blame(&self, key: &str, given: Given, why: &str) -> ConfigError {
        let place = match given {
            Given::ByFlag => SettingPlace::Flag(format!("--{key}")),
            Given::InFile => self.file.place(key).unwrap_or(SettingPlace::Nowhere),
            Given::Nowhere => SettingPlace::Nowhere,
        };
        ConfigError::at(place, why)
    }
}

/// Where a value was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    ByFlag,
    InFile,
    Nowhere,
}

/// The limits that must not be zero.
#[derive(Clone, Copy)]
enum TimeLimit {
    Start,
    Probe,
}

impl TimeLimit {
    fn key(self) -> &'static str {
        match self {
            TimeLimit::Start => "start-timeout",
            TimeLimit::Probe => "probe-timeout",
        }
    }

    fn given(self, settings: &Settings) -> Option<Limit> {
        match self {
            TimeLimit::Start => settings.start_timeout,
            TimeLimit::Probe => settings.probe_timeout,
        }
    }
}

/// Asks for steering unless the listener says something itself, or cannot be steered.
fn steer(spec: &mut ListenSpec) {
    let mut options = spec.options.clone();
    let is_said = options.flag(Key::Steer).is_some();
    if !is_said && options.set(Key::Steer.name(), "true").is_ok() && options.check(&spec.address).is_ok() {
        spec.options = options;
    }
}
