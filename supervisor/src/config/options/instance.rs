//! The supervisor itself.

use super::super::settings::{LogFormat, LogTime};
use super::storage::Field;
use super::value_type::{ACCOUNT, LOG_FORMAT, LOG_TIME, NAME, PATH};
use super::{BLANK, Completes, Group, Setting};

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "name",
        value: "NAME",
        storage: &Field {
            value_type: &NAME,
            given: |settings| &mut settings.name,
            whole: |config| Some(config.name.clone()),
            default: None,
        },
        unset: Some("the file name of COMMAND"),
        summary: "The name of the instance",
        help: "`segue reload --name NAME` finds it by this name. A user runs a name
once, unless the places of the control sockets are given.",
        manual: r"The name of the instance, up to 64 letters, digits and
.Ql ._@+\- ,
beginning with a letter or digit.
Commands find the instance by it.
A user runs a name once
.Pq Ql instance app is already running ,
unless
.Fl Fl control ,
.Ev RUNTIME_DIRECTORY ,
or an
.Ev XDG_RUNTIME_DIR
other than
.Pa /run/user/UID
gives each its own place.",
        example: r#""site""#,
        ..INSTANCE
    },
    Setting {
        name: "control",
        value: "PATH",
        completes: Completes::File,
        storage: &Field {
            value_type: &PATH,
            given: |settings| &mut settings.control,
            whole: |config| config.control.clone(),
            default: None,
        },
        summary: "The path of the control socket",
        help: "By default it is called `control` and lies in $RUNTIME_DIRECTORY; else
where an instance of this name runs or was killed; else in the first
that there is of /run/segue/NAME (root), $XDG_RUNTIME_DIR/segue/NAME,
/tmp/segue-UID/NAME and /dev/shm/segue-UID/NAME. Commands look in all.",
        manual: "The path of the control socket, at most 107 bytes.
By default it lies in one of the places under
.Sx FILES .",
        example: r#""site.control""#,
        ..INSTANCE
    },
    Setting {
        name: "control-group",
        value: "GROUP",
        storage: &Field {
            value_type: &ACCOUNT,
            given: |settings| &mut settings.control_group,
            whole: |config| config.control_group.clone(),
            default: None,
        },
        summary: "Let members of this group use the control socket",
        help: "They can then reload, stop and see the app. Without it only root and
the user that segue runs as can.",
        manual: "Let members of this group use the control socket: they can reload, stop and see the app.
Without it only root and the user that the supervisor runs as can.",
        example: r#""daemon""#,
        ..INSTANCE
    },
    Setting {
        name: "pid-file",
        value: "PATH",
        completes: Completes::File,
        storage: &Field {
            value_type: &PATH,
            given: |settings| &mut settings.pid_file,
            whole: |config| config.pid_file.clone(),
            default: None,
        },
        summary: "Write the supervisor's pid to this file",
        help: "The pid stays the same over all reloads. Nothing is ever read from it.",
        manual: "Write the supervisor's pid to this file.
The pid stays the same over all reloads.
Nothing is ever read from it, and it is removed at the end.",
        example: r#""site.pid""#,
        ..INSTANCE
    },
    Setting {
        name: "log-format",
        value: "FORMAT",
        storage: &Field {
            value_type: &LOG_FORMAT,
            given: |settings| &mut settings.log_format,
            whole: |config| Some(config.log_format),
            default: Some(LogFormat::Text),
        },
        summary: "How log lines are written to stderr: text or json",
        manual: "How log lines are written to standard error:
.Ql text
or
.Ql json ,
one object a line with the keys
.Ql time ,
.Ql level ,
.Ql name
and
.Ql message .
If standard error is the journal, text lines carry their priority.",
        example: r#""text""#,
        ..INSTANCE
    },
    Setting {
        name: "log-time",
        value: "WHEN",
        storage: &Field {
            value_type: &LOG_TIME,
            given: |settings| &mut settings.log_time,
            whole: |config| Some(config.log_time),
            default: Some(LogTime::Auto),
        },
        summary: "When text lines bear the time: auto, always or never",
        help: "`auto` means on a terminal and in a file. The reader of a pipe, such
as a container engine, puts a time before each line.",
        manual: "Whether text lines begin with the time, in RFC 3339 with UTC, to the millisecond:
.Ql always ,
.Ql never ,
or
.Ql auto ,
on a terminal and in a file.
The reader of a pipe puts the time before each line, if it is wanted:
.Ql docker logs -t ,
.Ql svlogd -tt .
The journal has the times anyway, so that lines for it never begin with one, and those of
.Fl Fl log-format
.Ql json
always hold one.",
        example: r#""always""#,
        ..INSTANCE
    },
];

const INSTANCE: Setting = Setting {
    group: Group::Instance,
    ..BLANK
};
