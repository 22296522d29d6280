//! What `segue dev` does beside the supervisor: which files it watches, how it builds.

use super::super::defaults;
use super::super::duration::Limit;
use super::lists::{GLOBS, PATHS};
use super::storage::Field;
use super::value_type::{DURATION, LIMIT, SHELL_COMMAND};
use super::{BLANK, Completes, Given, Group, Setting};

pub(super) static ALL: &[Setting] = &[
    Setting {
        name: "watch",
        value: "PATH",
        completes: Completes::Path,
        storage: &PATHS,
        unset: Some("the current directory"),
        summary: "What to watch; can be repeated",
        help: "A directory counts with everything below it. The path is watched, and
not what lay there at first: after a symbolic link was turned, or the
directory was made anew, what is there now.",
        manual: "A file or directory to watch, a directory with everything below it.
Can be repeated.
It is the path that is watched, not what lay there at first: a symbolic link may be turned, and a directory be replaced, moved
away, or removed and made anew.
COMMAND is watched as well, unless
.Fl Fl build
builds it; and so are segue.toml and the env files.",
        example: r#"["src", "templates"]"#,
        ..DEVELOPMENT
    },
    Setting {
        name: "watch-ignore",
        value: "GLOB",
        storage: &GLOBS,
        summary: "What does not count, as in a .gitignore; can be repeated",
        help: "What .gitignore leaves out never counts, nor do .git, node_modules,
__pycache__, the swap and backup files of editors, and directories
with a CACHEDIR.TAG (cargo's target). `!GLOB` lets such a name count.",
        manual: r"What does not count, as a line of
.Pa .gitignore ,
relative to each watched directory;
.Ql {a,b}
is either.
Can be repeated.
Left out in any case is what
.Pa .gitignore
leaves out, and
.Pa .git , .hg , .svn , .jj , node_modules , __pycache__ ,
the swap and backup files of editors, and directories with a
.Pa CACHEDIR.TAG
.Pq such as cargo's Pa target ;
.Ql !GLOB
lets a name count all the same, unless it is
.Pa .gitignore
that leaves it out.",
        example: r#"["*.log", "/uploads"]"#,
        ..DEVELOPMENT
    },
    Setting {
        name: "build",
        value: "COMMAND",
        completes: Completes::Command,
        storage: &Field {
            value_type: &SHELL_COMMAND,
            given: |settings| &mut settings.build,
            whole: |config| config.development.build.clone(),
            default: None,
        },
        summary: "A shell command that builds the app, before each reload",
        help: "It is run by /bin/sh -c. If it fails nothing is reloaded, and the old
version serves on.",
        manual: "A shell command that builds the app.
It is run by
.Ql /bin/sh -c
at the start and after each change, in a process group of its own, with standard input from
.Pa /dev/null .
If it fails nothing is reloaded, and the old version serves on.
Changes that come while it runs are built next.",
        example: r#""cargo build""#,
        ..DEVELOPMENT
    },
    Setting {
        name: "build-timeout",
        value: "DURATION",
        storage: &Field {
            value_type: &LIMIT,
            given: |settings| &mut settings.build_timeout,
            whole: |config| Some(Limit(config.development.build_timeout)),
            default: Some(Limit(Some(defaults::BUILD_TIMEOUT))),
        },
        summary: "How long a build may take; then it is killed",
        manual: "How long a build may take.
After that its process group gets SIGTERM, and SIGKILL 2 s later, and the build has failed.
.Ql none
waits without end.",
        example: r#""2m""#,
        ..DEVELOPMENT
    },
    Setting {
        name: "rest",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.rest,
            whole: |config| Some(config.development.rest),
            default: Some(defaults::REST),
        },
        summary: "How long files must rest before a build or reload",
        manual: "How long no file may change until it is built or reloaded.
Compilers and editors write in bursts.",
        example: r#""250ms""#,
        ..DEVELOPMENT
    },
    Setting {
        name: "rest-limit",
        value: "DURATION",
        storage: &Field {
            value_type: &DURATION,
            given: |settings| &mut settings.rest_limit,
            whole: |config| Some(config.development.rest_limit),
            default: Some(defaults::REST_LIMIT),
        },
        summary: "How long that rest is waited for at most",
        manual: "How long to wait for that where files change all the time.
After that it is built or reloaded without rest.",
        example: r#""5s""#,
        ..DEVELOPMENT
    },
];

const DEVELOPMENT: Setting = Setting {
    given: Given::DevFlagOrKey,
    group: Group::Development,
    ..BLANK
};
