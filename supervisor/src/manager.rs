//! The service manager above us: systemd, if it gave us a notify socket.
//!
//! Only the least is said here: `READY=1` once a generation serves, `STATUS=`, `STOPPING=1` (sd_notify(3)).

use sd_notify::NotifyState;

/// Whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// It listens at `NOTIFY_SOCKET`.
    Listening,
    /// Nobody gave us one.
    Absent,
}

impl Manager {
    /// By the environment that we were started with.
    pub(crate) fn from_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            Self::Listening
        } else {
            Self::Absent
        }
    }

    /// A generation serves.
    pub(crate) fn ready(self) {
        self.say(&[NotifyState::Ready]);
    }

    /// What `systemctl status` shows. Control characters (a newline would start another field) become spaces.
    pub(crate) fn status(self, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.say(&[NotifyState::Status(&text)]);
    }

    /// A stop was asked for.
    pub(crate) fn stopping(self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// A manager that cannot be reached is no reason to fail: the app serves all the same.
    fn say(self, states: &[NotifyState<'_>]) {
        match self {
            Self::Listening => {
                let _ = sd_notify::notify(states);
            }
            Self::Absent => {}
        }
    }
}
