//! Every call that the supervisor makes once it serves.

/// A call, how it may fail, and when nobody need be told.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) call: &'static str,
    /// The likeliest first: it is the one that the short run tries.
    pub(crate) errnos: &'static [&'static str],
    /// What strace shows of uses whose failure costs nothing, and why.
    pub(crate) quiet: &'static [(&'static str, &'static str)],
}

const fn row(
    call: &'static str,
    errnos: &'static [&'static str],
    quiet: &'static [(&'static str, &'static str)],
) -> Row {
    Row { call, errnos, quiet }
}

pub(crate) const INJECTED: &[Row] = &[
    row("accept4", &["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"], &[]),
    row("bind", &["ENOSPC", "EDQUOT", "EROFS", "EACCES", "ENOMEM"], &[]),
    row("clone", &["EAGAIN", "ENOMEM"], &[]),
    row("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"], &[]),
    row(
        "epoll_ctl",
        &["ENOSPC", "ENOMEM"],
        &[
            ("EPOLL_CTL_DEL", "what was closed is not in the set any more"),
            ("EPOLL_CTL_MOD", "changes of what is in the set allocate nothing"),
        ],
    ),
    row(
        "epoll_wait",
        &["EINTR"],
        &[("epoll_wait", "the loop waits again")],
    ),
    row("fchmod", &["EIO", "EPERM", "EROFS"], &[]),
    row("chmod", &["EIO", "EPERM", "EROFS"], &[]),
    row("fchmodat", &["EIO", "EPERM", "EROFS"], &[]),
    row(
        "fcntl",
        &["EMFILE", "ENOMEM"],
        &[("F_GETFD", "an assertion of debug builds")],
    ),
    row(
        "getdents64",
        &["EIO", "ENOMEM"],
        &[
            (
                "/task>",
                "whose parent a process is: the list of all processes tells, too",
            ),
            (
                "/fd>",
                "what a process has open: it counts as one that may not be looked into",
            ),
        ],
    ),
    row("getsockname", &["ENOBUFS"], &[]),
    row(
        "getsockopt",
        &["ENOMEM"],
        &[
            ("SO_PEERCRED", "the client is told that the connection was closed"),
            (
                "TCP_INFO",
                "how many clients wait: it counts as not seen, and is looked at again",
            ),
            (
                "SO_ACCEPTCONN",
                "whether an app has shut the socket down: looked at again at the next reload",
            ),
        ],
    ),
    row(
        "ioctl",
        &["EIO"],
        &[("FIONBIO", "the client is told that the connection was closed")],
    ),
    row("listen", &["ENOMEM"], &[]),
    row(
        "lseek",
        &["EIO"],
        &[(
            "/oom_score_adj>",
            "a draining worker is killed for memory no sooner than others",
        )],
    ),
    row("mkdir", &["ENOSPC", "EDQUOT", "EROFS"], &[]),
    row(
        "newfstatat",
        &["EIO", "ENOMEM"],
        &[
            (
                "AT_EMPTY_PATH",
                "which inode a socket or a stream is: looked at again when it matters next",
            ),
            ("/proc/", "what /proc tells"),
        ],
    ),
    row(
        "openat",
        &["EMFILE", "ENFILE", "ENOMEM", "EIO"],
        &[
            ("\"/proc/", "what /proc tells"),
            (
                "\"/sys/fs/cgroup/",
                "whether memory ran out: the report of a crash says less",
            ),
        ],
    ),
    row("pidfd_open", &["EMFILE", "ENFILE", "ENOMEM"], &[]),
    row(
        "pidfd_send_signal",
        &["EPERM"],
        &[
            (", 0, NULL", "whether a group is empty: asked again"),
            ("SIG", "it is sent by number, by kill(2)"),
        ],
    ),
    row("pipe2", &["EMFILE", "ENFILE"], &[]),
    row("poll", &["EINTR", "ENOMEM"], &[("EINTR", "asked again")]),
    row("prctl", &["EPERM"], &[]),
    row(
        "pread64",
        &["EIO"],
        &[
            (
                ", 256, 0)",
                "the first line of a script, for the words of a failure",
            ),
            (
                "</sys/fs/cgroup/",
                "whether memory ran out: the report of a crash says less",
            ),
        ],
    ),
    row("prlimit64", &["EPERM"], &[]),
    row("pwrite64", &["ENOSPC", "EIO", "EDQUOT", "EFBIG"], &[]),
    row(
        "read",
        &["EIO", "EINTR"],
        &[
            ("</proc/", "what /proc tells"),
            (
                "</sys/fs/cgroup/",
                "whether memory ran out: the report of a crash says less",
            ),
            ("signalfd]", "the signal stays pending and is read next time"),
        ],
    ),
    row(
        "readlink",
        &["EIO", "ENOMEM"],
        &[("/proc/", "what /proc tells of our own fds")],
    ),
    row(
        "recvfrom",
        &["ENOMEM", "EINTR"],
        &[(
            "recvfrom",
            "the client is told that the connection was closed; a message stays in the queue",
        )],
    ),
    row(
        "recvmsg",
        &["ENOMEM", "EINTR"],
        &[
            ("MSG_PEEK", "the message stays in the queue"),
            ("MSG_TRUNC", "the message is taken next time"),
        ],
    ),
    row("rename", &["ENOSPC", "EROFS"], &[]),
    row("rmdir", &["EIO"], &[]),
    row(
        "sendto",
        &["ENOBUFS", "EAGAIN"],
        &[("reply", "the client is told that the connection was closed")],
    ),
    row("setsid", &["EPERM"], &[]),
    row("setsockopt", &["ENOMEM"], &[]),
    row("socket", &["EMFILE", "ENFILE", "ENOBUFS"], &[]),
    row("socketpair", &["EMFILE", "ENFILE", "ENOMEM"], &[]),
    row(
        "statx",
        &["EIO", "ENOMEM"],
        &[
            ("AT_EMPTY_PATH", "how large a buffer to begin with"),
            (
                "control.notify\"",
                "whether the directory is as it was: it is opened then, and seen to be",
            ),
        ],
    ),
    row(
        "unlink",
        &["EROFS", "EIO"],
        &[(
            "notify/",
            "what cannot be removed now is removed with its directory at the end",
        )],
    ),
    row("waitid", &["EINTR"], &[("EINTR", "asked again")]),
    row(
        "pwritev2",
        &["ENOSPC"],
        &[("segue[app]", "this is the log itself; the line is lost")],
    ),
    row("ppoll", &["EINTR"], &[("EINTR", "asked again")]),
    row(
        "write",
        &["EIO", "ENOSPC"],
        &[(
            "/oom_score_adj>",
            "a draining worker is killed for memory no sooner than others",
        )],
    ),
    row("flock", &["EINTR", "ENOMEM"], &[]),
    row("ftruncate", &["ENOSPC", "EIO"], &[]),
];

/// Calls that are not made to fail, and why.
const LEFT_ALONE: &[(&str, &str)] = &[
    ("brk", "the allocator falls back to mmap(2)"),
    (
        "close",
        "Linux closes the fd whatever it answers; a call that strace answers would not be made at all",
    ),
    (
        "clock_gettime",
        "it cannot fail for the clocks that are asked for",
    ),
    ("execve", "made in the child alone"),
    ("exit_group", "it does not return"),
    ("getpid", "it cannot fail"),
    ("geteuid", "it cannot fail"),
    ("gettid", "it cannot fail"),
    ("madvise", "advice"),
    (
        "mmap",
        "a program of Rust's standard library ends when it gets no memory, and the next `segue run` goes on",
    ),
    ("mprotect", "as mmap"),
    ("mremap", "as mmap"),
    ("munmap", "it fails for wrong arguments alone"),
    (
        "restart_syscall",
        "the kernel's own, when strace has interrupted a wait",
    ),
    ("rt_sigaction", "it fails for wrong arguments alone"),
    ("rt_sigprocmask", "it fails for wrong arguments alone"),
    ("rt_sigreturn", "it does not return"),
];

pub(crate) fn knows(call: &str) -> bool {
    INJECTED.iter().any(|row| row.call == call) || LEFT_ALONE.iter().any(|(name, _)| *name == call)
}
