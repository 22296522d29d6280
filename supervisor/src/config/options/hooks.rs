//! Commands of the user's that are run at a moment of the lifecycle.

use super::super::defaults;
use super::lists::HOOKS;
use super::storage::Field;
use super::value_type::{DURATION, SHELL_COMMAND};
use super::{BLANK, Completes, Group, Setting};

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "before-reload",
        value: "COMMAND",
        completes: Completes::Command,
        storage: &Field {
            value_type: &SHELL_COMMAND,
            given: |settings| &mut settings.before_reload,
            whole: |config| config.before_reload.clone(),
            default: None,
        },
        summary: "A shell command that must succeed before a reload begins",
        help: "It is run by /bin/sh -c as the app's user, in its directory and
environment, with the settings of the reload, and before anything of
the new version is started. If it fails, or --hook-timeout passes, the
reload is refused with its last line. The first start does without.",
        manual: "A shell command that must succeed before a reload begins; see
.Sx HOOKS .
If it fails, or
.Fl Fl hook-timeout
passes, the reload is refused with the last line that it has written, and the old generation serves on.
The first start does without.",
        example: r#""./app --check-config""#,
        ..HANDOFF
    },
    Setting {
        name: "on",
        value: "EVENT=COMMAND",
        storage: &HOOKS,
        summary: "Run a shell command at an event; can be repeated",
        help: "EVENT is takeover (a generation serves), failure (a reload failed),
rollback (the last good version was started again) or drained (an old
generation is gone). The command is run as by --before-reload, and has
the facts in SEGUE_EVENT, SEGUE_GENERATION, SEGUE_REASON, ...; nothing
waits for it.",
        manual: "Run a shell command at an event:
.Ql takeover ,
.Ql failure ,
.Ql rollback
or
.Ql drained ;
see
.Sx HOOKS .
Can be repeated.
Nothing waits for it.",
        manual_head: "Fl Fl on Ar EVENT Ns = Ns Ar COMMAND",
        key: "A shell command for each event:
.Ic takeover ,
.Ic failure ,
.Ic rollback
and
.Ic drained .",
        ..HANDOFF
    },
    Setting {
        name: "hook-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.hook_timeout,
            whole: |config| Some(config.hook_timeout),
            default: Some(defaults::HOOK_TIMEOUT),
        },
        summary: "How long each hook may run until it is killed",
        manual: "How long a command of
.Fl Fl before-reload
or
.Fl Fl on
may run until it is killed, with all that it has started.",
        key: "How long a hook may run until it is killed; not 0.",
        example: r#""10s""#,
        ..HANDOFF
    },
];

const HANDOFF: Setting = Setting {
    group: Group::Handoff,
    ..BLANK
};
