//! The wrappers, each against the kernel.

use super::alone::alone;
use super::*;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::AsFd;

#[test]
fn errors_are_one_lower_case_line_without_a_number() {
    assert_eq!(errno_text(Errno::EACCES), "permission denied");
    assert_eq!(errno_text(Errno::EIO), "I/O error");
    assert_eq!(
        errno_text(io::Error::from_raw_os_error(libc::ENOENT)),
        "no such file or directory"
    );
    assert_eq!(errno_text(io::Error::other("Two\nlines")), "two lines");
}

#[test]
fn the_status_of_a_child_is_seen_before_and_by_reaping() {
    alone(
        "sys::tests::the_status_of_a_child_is_seen_before_and_by_reaping",
        || {
            let child = fork(|_| 7).unwrap();
            let seen = wait_until_dead(child);
            assert_eq!(seen.status, ExitStatus::Code(7));
            assert_eq!(peek(Who::Process(child)), Ok(Some(seen)), "peeking reaps nothing");
            assert_eq!(reap(Who::Process(child)), Ok(Some(seen)));
            assert_eq!(peek(Who::Process(child)), Err(Errno::ECHILD));
        },
    );
}

#[test]
fn a_panic_in_the_child_ends_the_child() {
    alone("sys::tests::a_panic_in_the_child_ends_the_child", || {
        let child = fork(|_| std::panic::resume_unwind(Box::new(()))).unwrap();
        assert_eq!(wait_until_dead(child).status, ExitStatus::Code(127));
        reap(Who::Process(child)).unwrap();
    });
}

#[test]
fn a_child_killed_by_a_real_time_signal_is_understood() {
    alone(
        "sys::tests::a_child_killed_by_a_real_time_signal_is_understood",
        || {
            let child = fork(|child| {
                default_dispositions(child);
                let _ = unblock_all(child);
                nix::unistd::pause();
                0
            })
            .unwrap();
            let number = libc::SIGRTMIN() + 3;
            // SAFETY: kill takes two integers.
            unsafe { libc::kill(child.as_raw(), number) };
            let status = wait_until_dead(child).status;
            assert_eq!(
                status,
                ExitStatus::Signal {
                    number,
                    core_dumped: false
                }
            );
            assert_eq!(status.to_string(), format!("killed by signal {number}"));
            reap(Who::Process(child)).unwrap();
        },
    );
}

#[test]
fn a_reaped_process_cannot_be_signalled_by_its_pidfd() {
    alone(
        "sys::tests::a_reaped_process_cannot_be_signalled_by_its_pidfd",
        || {
            let child = fork(|_| 0).unwrap();
            let pidfd = open_pidfd(child).unwrap();
            assert_eq!(signal_by_pidfd(pidfd.as_fd(), None), Ok(()));
            wait_until_dead(child);
            reap(Who::Process(child)).unwrap();
            assert_eq!(
                signal_by_pidfd(pidfd.as_fd(), Some(Signal::SIGTERM)),
                Err(Errno::ESRCH)
            );
        },
    );
}

#[test]
fn limits_can_be_read_and_restored() {
    let limits = Limits::current();
    limits.restore().unwrap();
    assert_eq!(limits, Limits::current());
    assert_eq!(limits.to_string().parse(), Ok(limits));
    assert_eq!("7:1:2,999:3:4".parse::<Limits>(), "7:1:2".parse());
    assert_eq!("7:1".parse::<Limits>(), Err(()));
}

#[test]
fn exits_read_as_sentences() {
    assert_eq!(ExitStatus::Code(101).to_string(), "exited with status 101");
    let killed = ExitStatus::Signal {
        number: libc::SIGSEGV,
        core_dumped: true,
    };
    assert_eq!(killed.to_string(), "killed by SIGSEGV (core dumped)");
    assert_eq!(ExitStatus::Unknown.to_string(), "unknown (adopted)");
}

#[test]
fn a_status_of_wait_is_read_as_the_kernel_means_it() {
    assert_eq!(ExitStatus::from_wait(7 << 8), ExitStatus::Code(7));
    let killed = |status, number, core_dumped| {
        let expected = ExitStatus::Signal { number, core_dumped };
        assert_eq!(ExitStatus::from_wait(status), expected);
    };
    killed(libc::SIGTERM, libc::SIGTERM, false);
    killed(libc::SIGSEGV | 0x80, libc::SIGSEGV, true);
}

#[test]
fn the_kernel_tells_how_a_process_ended_once_its_parent_has_reaped_it() {
    alone(
        "sys::tests::the_kernel_tells_how_a_process_ended_once_its_parent_has_reaped_it",
        || {
            let child = fork(|_| 7).unwrap();
            let pidfd = open_pidfd(child).unwrap();
            wait_until_dead(child);
            assert!(is_dead_by_pidfd(pidfd.as_fd()));
            let before = exit_status_by_pidfd(pidfd.as_fd());
            assert!(matches!(before, Told::NotYet | Told::Never), "{before:?}");
            reap(Who::Process(child)).unwrap();
            match exit_status_by_pidfd(pidfd.as_fd()) {
                Told::Status(status) => assert_eq!(status, ExitStatus::Code(7)),
                Told::NotYet | Told::Never => {
                    eprintln!("not tested: this kernel does not tell (before 6.15)")
                }
            }
            assert!(is_dead_by_pidfd(pidfd.as_fd()));
        },
    );
}

#[test]
fn a_process_that_lives_is_not_dead_and_gives_a_duplicate_of_its_fd() {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let child = std::process::Command::new("/bin/cat").stdin(read).spawn();
    let mut child = child.unwrap();
    let pidfd = open_pidfd(nix::unistd::Pid::from_raw(child.id() as i32)).unwrap();
    assert!(!is_dead_by_pidfd(pidfd.as_fd()));
    assert!(!matches!(exit_status_by_pidfd(pidfd.as_fd()), Told::Status(_)));
    assert_eq!(fd_of(pidfd.as_fd(), 999).map(drop), Err(Errno::EBADF));
    let copy = fd_of(pidfd.as_fd(), 0).unwrap();
    let inode = |fd: std::os::fd::BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
    assert_eq!(inode(copy.as_fd()), inode(write.as_fd()));
    drop(write);
    assert!(child.wait().unwrap().success());
    assert_eq!(fd_of(pidfd.as_fd(), 0).map(drop), Err(Errno::ESRCH));
}

#[test]
fn a_supervisor_that_was_started_with_sigchld_ignored_still_sees_its_children_end() {
    alone(
        "sys::tests::a_supervisor_that_was_started_with_sigchld_ignored_still_sees_its_children_end",
        || {
            // SAFETY: to ignore a signal installs no handler.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            become_subreaper().unwrap();
            let child = fork(|_| 7).unwrap();
            assert_eq!(wait_until_dead(child).status, ExitStatus::Code(7));
        },
    );
}

/// Waits for the child's end without reaping it.
fn wait_until_dead(child: nix::unistd::Pid) -> Dead {
    let pidfd = open_pidfd(child).unwrap();
    let mut poll = [nix::poll::PollFd::new(
        pidfd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE).unwrap();
    peek(Who::Process(child)).unwrap().unwrap()
}
