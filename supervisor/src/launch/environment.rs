//! The environment of an app: computed from scratch for each birth record, so that keys that vanish from the
//! configuration vanish from the app.

use super::{LaunchError, Login};
use crate::activation::{self, Values};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What the parent of the supervisor told *it*; the app must never take these for its own
/// (sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), systemd.exec(5), and a Segue above this one; nginx and php-fpm, which
/// tell their own successors of their sockets so).
const NEVER_PASSED_ON: [&str; 23] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "SEGUE_NAME",
    "SEGUE_GENERATION",
    "SEGUE_WORKER",
    "SEGUE_DRAIN_TIMEOUT_MS",
    "SEGUE_PROBE",
    "SEGUE_PROBE_ADDRESS",
    "SEGUE_PROBE_SOURCE",
    "SEGUE_EVENT",
    "SEGUE_OLD_GENERATION",
    "SEGUE_FAILED_GENERATION",
    "SEGUE_REASON",
    "NGINX",
    "FPM_SOCKETS",
];

/// The same of Server::Starter (start_server(1)) and of einhorn, which number some of them.
const NEVER_PASSED_ON_FROM: [&str; 2] = ["SERVER_STARTER_", "EINHORN_"];

/// The part that is the same for every worker of a generation.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub(super) variables: BTreeMap<OsString, OsString>,
    /// Keys that the configuration sets; `HOME` and its like of the user database stand aside for them.
    pub(super) configured: Vec<OsString>,
    /// Those of them in whose values placeholders count.
    pub(super) templates: Vec<OsString>,
}

impl Environment {
    /// `inherited` less what was meant for the supervisor, then `configured` on top; later entries win.
    pub(super) fn compute(
        inherited: &[(OsString, OsString)],
        configured: &[(OsString, OsString)],
        templates: &[OsString],
    ) -> Environment {
        let inherited = inherited.iter().filter(|(key, _)| !is_for_the_supervisor(key));
        let mut variables = BTreeMap::new();
        variables.extend(inherited.cloned());
        variables.extend(configured.iter().cloned());
        let configured = configured.iter().map(|(key, _)| key.clone()).collect();
        Environment {
            variables,
            configured,
            templates: templates.to_vec(),
        }
    }

    /// Replaces the placeholders.
    ///
    /// # Errors
    /// One line: `environment variable ...`.
    pub(super) fn fill(&mut self, values: &Values<'_>) -> Result<(), LaunchError> {
        for name in &self.templates {
            if let Some(value) = self.variables.get_mut(name) {
                *value = activation::fill(value, values).map_err(|why| {
                    LaunchError::new(format!("environment variable {:?}: {why}", name.display()))
                })?;
            }
        }
        Ok(())
    }

    /// Whether a value has a `{runtime}`.
    pub(super) fn has_runtime(&self) -> bool {
        let mut values = self.templates.iter().filter_map(|name| self.variables.get(name));
        values.any(|value| activation::has_runtime(value))
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(key)).map(OsString::as_os_str)
    }

    /// Sets `key`, whatever the configuration says.
    pub(super) fn set(&mut self, key: &str, value: impl Into<OsString>) {
        self.variables.insert(key.into(), value.into());
    }

    /// Sets what login(1) would set for the app's user, unless the configuration does.
    pub(super) fn set_login(&mut self, login: &Login) {
        let entries: [(&str, &OsStr); 4] = [
            ("HOME", login.home.as_os_str()),
            ("SHELL", login.shell.as_os_str()),
            ("USER", OsStr::new(&login.name)),
            ("LOGNAME", OsStr::new(&login.name)),
        ];
        for (key, value) in entries {
            self.set_unless_configured(key, value);
        }
    }

    /// Sets `PWD` to the directory that the app is started in, unless the configuration sets it. Programs believe it, where it
    /// leads to the same directory: through a symlink that has moved on since it would lead an old generation to new code.
    /// Nothing is better than a directory that it is not.
    pub(super) fn set_directory(&mut self, directory: Option<PathBuf>) {
        match directory {
            Some(directory) => self.set_unless_configured("PWD", directory),
            None if self.configured.iter().any(|key| key == "PWD") => {}
            None => {
                self.variables.remove(OsStr::new("PWD"));
            }
        }
    }

    /// Sets `key`, unless the configuration does.
    pub(super) fn set_unless_configured(&mut self, key: &str, value: impl Into<OsString>) {
        if !self.configured.iter().any(|configured| configured == key) {
            self.set(key, value);
        }
    }

    /// As execve(2) wants it.
    ///
    /// # Errors
    /// A key or value with a NUL byte; a key that is empty or holds `=`.
    pub(super) fn to_exec(&self) -> Result<Vec<CString>, LaunchError> {
        self.variables
            .iter()
            .map(|(key, value)| entry(key, value))
            .collect()
    }
}

pub(crate) fn is_for_the_supervisor(key: &OsStr) -> bool {
    let begins = |prefix: &&str| key.as_bytes().starts_with(prefix.as_bytes());
    NEVER_PASSED_ON.iter().any(|name| key == *name) || NEVER_PASSED_ON_FROM.iter().any(begins)
}

fn entry(key: &OsStr, value: &OsStr) -> Result<CString, LaunchError> {
    let shown = key.display();
    if key.is_empty() || key.as_bytes().contains(&b'=') {
        return Err(LaunchError::new(format!(
            "environment variable {shown:?}: not a valid name"
        )));
    }
    let mut text = key.to_owned();
    text.push("=");
    text.push(value);
    CString::new(text.into_vec())
        .map_err(|_| LaunchError::new(format!("environment variable {shown:?}: contains a NUL byte")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    fn lines(environment: &Environment) -> Vec<String> {
        let entries = environment.to_exec().unwrap();
        entries
            .iter()
            .map(|entry| entry.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn what_was_meant_for_the_supervisor_is_not_passed_on_and_all_else_is() {
        let inherited = pairs(&[
            ("LISTEN_FDS", "2"),
            ("LISTEN_PID", "1"),
            ("NOTIFY_SOCKET", "/run/x"),
            ("WATCHDOG_USEC", "1"),
            ("MANAGERPID", "1"),
            ("SEGUE_GENERATION", "4"),
            ("SERVER_STARTER_PORT", "8080=3"),
            ("EINHORN_FD_0", "3"),
            ("NGINX", "3;"),
            ("FPM_SOCKETS", "8080=3"),
            ("NGINX_WORKERS", "the app's own"),
            ("LISTEN_ADDRESS", "the app's own"),
            ("SEGUE_COLOUR", "the user's own"),
        ]);
        let environment = Environment::compute(&inherited, &[], &[]);
        assert_eq!(
            lines(&environment),
            [
                "LISTEN_ADDRESS=the app's own",
                "NGINX_WORKERS=the app's own",
                "SEGUE_COLOUR=the user's own"
            ]
        );
    }

    #[test]
    fn the_configuration_wins_and_its_later_entries_do() {
        let environment = Environment::compute(&pairs(&[("A", "0")]), &pairs(&[("A", "1"), ("A", "2")]), &[]);
        assert_eq!(lines(&environment), ["A=2"]);
    }

    #[test]
    fn the_home_of_the_user_yields_to_a_configured_one() {
        let login = Login {
            name: "app".into(),
            home: "/home/app".into(),
            shell: "/bin/sh".into(),
        };
        let mut environment =
            Environment::compute(&pairs(&[("USER", "root")]), &pairs(&[("HOME", "/srv")]), &[]);
        environment.set_login(&login);
        assert_eq!(
            lines(&environment),
            ["HOME=/srv", "LOGNAME=app", "SHELL=/bin/sh", "USER=app"]
        );
    }

    #[test]
    fn names_and_values_that_exec_cannot_carry_are_refused() {
        for (key, value) in [("", "x"), ("A=B", "x"), ("A", "x\0y")] {
            let error = Environment::compute(&[], &pairs(&[(key, value)]), &[])
                .to_exec()
                .unwrap_err();
            assert!(
                error.to_string().starts_with("environment variable \""),
                "{error}"
            );
        }
    }
}
