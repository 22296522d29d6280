//! Every system call that a supervisor makes in a normal life, and in which ways it is made to fail.

/// What becomes of a call in the tests.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fails {
    /// It fails with each of these.
    With(&'static [&'static str]),
    /// As [`Fails::With`], and what is open is not counted, for a call that is refused by the tracer closes nothing. (EIO is left
    /// out: it comes from network file systems alone, and the standard library panics at it when it closes a directory.)
    Leaking(&'static [&'static str]),
    /// As [`Fails::With`], and the supervisor cannot go on: it ends, and the next one adopts the app.
    Ending(&'static [&'static str]),
    /// It cannot fail, or not because of us.
    Never(&'static str),
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) fails: Fails,
}

const CANNOT: &str = "it has no way to fail";
const RUNTIME: &str = "made by the C library or the dynamic loader before main or in fork, out of our hands";

const BREAK: &str = "it fails by giving the break as it was, where a tracer could give an errno alone, which the C library takes for a new break; \
                     and that falls back to mmap";

macro_rules! calls {
    ($($name:ident: $how:ident $value:tt)*) => {
        /// The table. The reference run fails if it makes a call that is not here.
        pub(super) const TABLE: &[Call] = &[$(
            Call { name: stringify!($name), fails: calls!(@ $how $value) },
        )*];
    };
    (@ With $value:tt) => { Fails::With(&$value) };
    (@ Leaking $value:tt) => { Fails::Leaking(&$value) };
    (@ Ending $value:tt) => { Fails::Ending(&$value) };
    (@ Never $value:tt) => { Fails::Never($value) };
}

calls! {
    accept4: With ["EMFILE", "ENFILE", "ENOMEM", "ECONNABORTED"]
    access: With ["EACCES", "EIO"]
    arch_prctl: Never (RUNTIME)
    bind: With ["EADDRINUSE", "ENOMEM", "ENOSPC", "EDQUOT", "EROFS"]
    brk: Never (BREAK)
    chdir: With ["EACCES", "EIO"]
    chmod: With ["EPERM", "EROFS"]
    clock_gettime: Never (CANNOT)
    clone: With ["EAGAIN", "ENOMEM", "ENOSPC", "EPERM"]
    clone3: With ["EAGAIN", "ENOMEM", "ENOSPC", "EPERM"]
    close: Leaking ["EINTR"]
    close_range: With ["EMFILE", "ENOMEM"]
    dup2: With ["EMFILE", "EBUSY"]
    dup3: With ["EMFILE", "EBUSY"]
    epoll_create1: With ["EMFILE", "ENFILE", "ENOMEM"]
    epoll_ctl: With ["ENOSPC", "ENOMEM"]
    epoll_pwait: Ending ["EBADF"]
    epoll_wait: Ending ["EBADF"]
    execve: With [
        "E2BIG", "EACCES", "EAGAIN", "EFAULT", "EINVAL", "EIO", "EISDIR", "ELIBBAD", "ELOOP", "EMFILE", "ENAMETOOLONG", "ENFILE",
        "ENOENT", "ENOEXEC", "ENOMEM", "ENOTDIR", "EPERM", "ETXTBSY",
    ]
    exit_group: Never (CANNOT)
    faccessat: With ["EACCES", "EIO"]
    faccessat2: With ["EACCES", "EIO"]
    fchdir: With ["EACCES", "EIO"]
    fchmod: With ["EPERM", "EROFS"]
    fchmodat: With ["EPERM", "EROFS"]
    fcntl: With ["EMFILE", "EINVAL"]
    flock: With ["ENOLCK", "EAGAIN"]
    fstat: With ["ENOMEM", "EIO"]
    ftruncate: With ["EIO", "ENOSPC", "EDQUOT", "EFBIG"]
    getdents64: With ["EIO", "ENOMEM"]
    getegid: Never (CANNOT)
    geteuid: Never (CANNOT)
    getgid: Never (CANNOT)
    getpid: Never (CANNOT)
    getppid: Never (CANNOT)
    getrandom: Never (RUNTIME)
    getresgid: Never (CANNOT)
    getresuid: Never (CANNOT)
    getsockname: With ["ENOBUFS"]
    getsockopt: With ["ENOBUFS", "ENOPROTOOPT"]
    gettid: Never (CANNOT)
    getuid: Never (CANNOT)
    ioctl: With ["EIO", "ENOTTY"]
    listen: With ["EADDRINUSE", "EINVAL"]
    lseek: With ["EINVAL"]
    madvise: With ["ENOMEM", "EAGAIN"]
    memfd_create: With ["EMFILE", "ENFILE", "ENOMEM"]
    mkdir: With ["ENOSPC", "EDQUOT", "EROFS", "EACCES"]
    mkdirat: With ["ENOSPC", "EDQUOT", "EROFS", "EACCES"]
    mmap: With ["ENOMEM"]
    mprotect: Never (RUNTIME)
    mremap: With ["ENOMEM"]
    munmap: With ["ENOMEM"]
    newfstatat: With ["ENOMEM", "EIO"]
    openat: With ["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EIO", "ENOSPC", "EDQUOT"]
    pidfd_open: With ["EMFILE", "ENFILE", "ENOMEM", "ENODEV"]
    pidfd_send_signal: With ["EPERM", "EINVAL"]
    pipe2: With ["EMFILE", "ENFILE", "ENOMEM"]
    poll: With ["ENOMEM", "EINTR"]
    ppoll: With ["ENOMEM", "EINTR"]
    prctl: With ["EINVAL", "EPERM"]
    pread64: With ["EIO"]
    prlimit64: With ["EPERM"]
    pwrite64: With ["ENOSPC", "EIO", "EDQUOT", "EFBIG", "EROFS"]
    pwritev2: With ["EIO", "EOPNOTSUPP", "EAGAIN", "EPIPE", "ENOSPC", "EDQUOT", "EFBIG"]
    read: With ["EIO", "ENOMEM"]
    readlink: With ["EIO", "ENOMEM"]
    readlinkat: With ["EIO", "ENOMEM"]
    recvfrom: With ["ENOMEM", "ECONNRESET"]
    recvmsg: With ["ENOMEM", "EMFILE"]
    rename: With ["ENOSPC", "EDQUOT", "EROFS"]
    renameat: With ["ENOSPC", "EDQUOT", "EROFS"]
    rmdir: With ["EBUSY", "EROFS"]
    rseq: Never (RUNTIME)
    rt_sigaction: With ["EINVAL"]
    rt_sigprocmask: With ["EINVAL"]
    sched_getaffinity: Never (RUNTIME)
    sendto: With ["ENOBUFS", "ENOMEM", "EPIPE"]
    set_robust_list: Never (RUNTIME)
    set_tid_address: Never (RUNTIME)
    setsid: With ["EPERM"]
    setsockopt: With ["ENOBUFS", "ENOPROTOOPT"]
    sigaltstack: Never (RUNTIME)
    signalfd4: With ["EMFILE", "ENFILE", "ENOMEM", "ENODEV"]
    socket: With ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
    socketpair: With ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]
    statx: With ["ENOMEM", "EIO"]
    unlink: With ["EROFS", "EIO"]
    unlinkat: With ["EROFS", "EIO"]
    waitid: With ["EINTR"]
    write: With ["EIO", "ENOSPC", "EPIPE", "EDQUOT", "EFBIG"]
}

/// How a call fails, if it can.
pub(super) fn errnos(call: &Call) -> &'static [&'static str] {
    match call.fails {
        Fails::With(errnos) | Fails::Leaking(errnos) | Fails::Ending(errnos) => errnos,
        Fails::Never(_) => &[],
    }
}
