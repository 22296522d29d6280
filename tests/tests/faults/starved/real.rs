//! What a supervisor needs is taken away for real.

use std::ffi::OsString;
use std::process::Command;

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::load::{Kind, Load};
use segue_tests::needs;
use segue_tests::process::Process;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};

use super::FLAGS;

fn setup() -> Setup {
    let setup = Setup::new(Program::new("./app")).flags(FLAGS);
    setup.deploy("app", &Program::fixture("good"));
    setup
}

#[track_caller]
fn done(command: &mut Command) {
    let done = Process::start(command).finish();
    assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
}

/// A reload is refused for this reason while the incumbent serves on, and the next one, when `mend` has been done, is not.
fn refused_until(segue: &Segue, reason: &str, mend: impl FnOnce()) {
    let before = segue.status();
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(reason), "{refused:?}");
    let after = segue.status();
    assert_eq!(after.pids(after.generation()), before.pids(before.generation()));
    load.wait_for_more(2);
    mend();
    segue.reload_ok(&["--drained"]);
    load.wait_for_more(2);
    load.stop().assert_nothing_lost();
}

#[test]
fn out_of_file_descriptors() {
    let segue = setup().start();
    segue.reload_ok(&["--settled"]);
    segue.wait_until("the old one is gone", |status| {
        status.in_role("retired").is_empty()
    });
    let pid = segue.process().pid();
    // Room for two clients and nothing else: of the numbers below the limit two are free.
    let open = segue.descriptors();
    let third_free = (0..)
        .filter(|number| !open.contains_key(number))
        .nth(2)
        .expect("a number");
    let limit = |soft: &str| {
        done(Command::new("prlimit").args([format!("--pid={pid}"), format!("--nofile={soft}:")]));
    };
    limit(&third_free.to_string());
    refused_until(&segue, "too many open files", || limit("1024"));
    segue.stop();
}

#[test]
fn out_of_file_descriptors_for_clients() {
    let segue = setup().start();
    let pid = segue.process().pid();
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    let limit = |soft: &str| {
        done(Command::new("prlimit").args([format!("--pid={pid}"), format!("--nofile={soft}:")]));
    };
    limit("3");
    let unheard = segue.reload(&["--timeout", "1s"]);
    assert_ne!(unheard.code, Some(0), "{unheard:?}");
    segue
        .process()
        .wait_for_line("control socket: accept: too many open files");
    limit("1024");
    segue.wait_until("clients are heard again", |status| status.state() == "serving");
    segue.reload_ok(&[]);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn out_of_processes() {
    let Some(()) = needs::or_skip("starved, out of processes", needs::root()) else {
        return;
    };
    // A user without any other process; root has no such limit.
    let user = ["setpriv", "--reuid=65321", "--regid=65321", "--clear-groups"];
    let limited = ["prlimit", "--nproc=16:16"];
    let setup = setup();
    let segue = setup.own_copy(&Program::new(Binary::Segue.path()));
    setup.deploy("app", &setup.own_copy(&Program::fixture("good")));
    let copy = [
        OsString::from("sh"),
        "-c".into(),
        "shift; exec \"$0\" \"$@\"".into(),
        segue.words()[0].clone(),
    ];
    let opener = limited.into_iter().chain(user).map(OsString::from).chain(copy);
    let setup = setup.opened_by(opener);
    nix::unistd::chown(&setup.path(""), Some(65_321.into()), Some(65_321.into())).expect("chown");
    let segue = setup.start();
    let pids = segue.status().pids(1);
    // Others of that user, whom no limit binds, take what is left.
    let sleep = |_| Process::start(Command::new(user[0]).args(&user[1..]).args(["sleep", "1000"]));
    let others: Vec<Process> = (0..16).map(sleep).collect();
    let asleep =
        |other: &Process| segue_tests::proc::look(other.pid()).is_some_and(|seen| seen.comm == "sleep");
    let end = std::time::Instant::now() + segue_tests::patience();
    while !others.iter().all(asleep) {
        assert!(std::time::Instant::now() < end, "they do not sleep");
        std::thread::sleep(segue_tests::LOOK);
    }
    let refused = segue.reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("no more processes allowed"),
        "{refused:?}"
    );
    assert_eq!(segue.status().pids(1), pids);
    for other in others {
        other.signal(Signal::SIGKILL);
        let _ = other.wait_for_exit();
    }
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    segue.reload_ok(&["--drained"]);
    load.stop().assert_nothing_lost();
    segue.stop();
}

#[test]
fn a_full_disk() {
    let Some(()) = needs::or_skip("starved, full disk", needs::root()) else {
        return;
    };
    let setup = Setup::new(Program::fixture("good"));
    let directory = setup.path("");
    let place = directory.to_string_lossy().into_owned();
    // A small file system over the instance's directory, in a mount namespace that ends with the supervisor and its app.
    let script = "mount -t tmpfs -o size=256k,nr_inodes=24,mode=755 tmpfs \"$0\" && cd \"$0\" && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script, &place];
    let segue = setup
        .opened_by(words)
        .flags(FLAGS)
        .flags(["--pid-file", "pid"])
        .spawn();
    let pid = segue.process().pid();
    segue.process().wait_for_line("generation 1 serves");
    let inside = |script: &str| {
        let target = format!("--target={pid}");
        done(Command::new("nsenter").args([&target, "--mount", "--wd=/", "sh", "-c", script, &place]));
    };
    let ask = |word: &str| {
        let mut command = Command::new("nsenter");
        command.args([&format!("--target={pid}"), "--mount", "--wd=/"]);
        command.arg(segue_tests::binaries::Binary::Segue.path());
        Process::start(command.arg(word).arg("--control").arg(segue.control())).finish()
    };
    // Full to the last byte: what is written over goes on, what is longer than before does not. It is told once.
    inside("dd if=/dev/zero of=\"$0/fill\" bs=1k 2>/dev/null; true");
    let full = ask("reload");
    println!("full disk: {full:?}");
    assert_eq!(ask("status").code, Some(0));
    // No inode: no notify socket.
    inside("rm \"$0/fill\"; i=0; while touch \"$0/fill.$i\"; do i=$((i+1)); done 2>/dev/null; true");
    let refused = ask("reload");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no space left on device"), "{refused:?}");
    inside("rm \"$0\"/fill.*");
    let again = ask("reload");
    assert_eq!(again.code, Some(0), "{again:?}\n{}", segue.process().stderr());
    let stopped = ask("stop");
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    segue.ended();
}

/// The file of `--stderr` is made at each start of a worker: where it cannot be, the reload is refused and the file named.
#[test]
fn a_full_disk_for_the_stderr_of_the_app() {
    let Some(()) = needs::or_skip("starved, full disk for stderr", needs::root()) else {
        return;
    };
    let setup = setup();
    let logs = setup.path("logs");
    std::fs::create_dir(&logs).unwrap();
    let script = "mount -t tmpfs -o nr_inodes=4,mode=777 tmpfs \"$0\" && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", script].map(std::ffi::OsString::from);
    let segue = setup
        .opened_by(words.into_iter().chain([logs.clone().into_os_string()]))
        .flags(["--stderr", "logs/app.err"])
        .start();
    let pid = segue.process().pid();
    let inside = |script: &str| {
        let mut command = Command::new("nsenter");
        command.args([
            &format!("--target={pid}"),
            "--mount",
            "--wd=/",
            "sh",
            "-c",
            script,
        ]);
        done(command.arg(&logs));
    };
    inside("rm \"$0/app.err\"; i=0; while touch \"$0/fill.$i\"; do i=$((i+1)); done 2>/dev/null; true");
    refused_until(&segue, "logs/app.err: no space left on device", || {
        inside("rm \"$0\"/fill.*");
    });
    segue.stop();
}

/// With room for one file, for two, and so on, until there is room for all that is made at a start: sockets, locks, state, pid file.
#[test]
fn a_disk_that_is_full_at_the_start() {
    let Some(()) = needs::or_skip("starved, full disk at the start", needs::root()) else {
        return;
    };
    let mut refused = Vec::new();
    for inodes in 1.. {
        let setup = Setup::new(Program::fixture("good"));
        let place = setup.path("").to_string_lossy().into_owned();
        // The file system's own directory is one of them.
        let mount = format!("mount -t tmpfs -o nr_inodes={inodes},mode=755 tmpfs \"$0\"");
        let script = format!("{mount} && cd \"$0\" && exec \"$@\"");
        let segue = setup
            .opened_by(["unshare", "--mount", "sh", "-c", &script, &place])
            .listen("127.0.0.1:0")
            .listen("unix:side")
            .flags(["--pid-file", "pid"])
            .spawn();
        let process = segue.process();
        loop {
            let mark = process.mark();
            if !process.is_running() || process.stderr().contains("generation 1 serves") {
                break;
            }
            process.wait_for_news(mark);
        }
        if process.is_running() {
            segue.signal(Signal::SIGTERM);
            segue.ended();
            break;
        }
        let ended = process.finish();
        let log = ended.stderr;
        assert_eq!(ended.code, Some(1), "{inodes}: {log}");
        assert!(log.contains("no space left on device"), "{inodes}: {log}");
        refused.push(log);
    }
    println!("full at the start: {refused:#?}");
    assert!(refused.len() > 3, "{refused:?}");
}

/// (One that becomes read-only while files are open for writing cannot be had by mount(8); EROFS of each call is injected.)
#[test]
fn a_read_only_directory() {
    let Some(()) = needs::or_skip("starved, read-only", needs::root()) else {
        return;
    };
    let setup = Setup::new(Program::fixture("good"));
    let place = setup.path("").to_string_lossy().into_owned();
    let script = "mount -t tmpfs -o ro tmpfs \"$0\" && cd \"$0\" && exec \"$@\"";
    let ended = setup
        .opened_by(["unshare", "--mount", "sh", "-c", script, &place])
        .spawn()
        .process()
        .finish();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("read-only file system"), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

/// A thousand of each a second for two seconds; the app serves and the supervisor answers.
#[test]
fn a_storm_of_signals() {
    let segue = setup().start();
    let load = Load::start(Kind::Fresh, &segue.target(), 1);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let kinds = [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGCHLD,
    ];
    while std::time::Instant::now() < until {
        kinds.into_iter().for_each(|kind| segue.signal(kind));
        // The pace of the storm; nothing is waited for.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    segue.wait_until("the storm is over", |status| {
        status.state() == "serving" && status.in_role("retired").is_empty()
    });
    assert_eq!(segue.run("workers", &["1"]).code, Some(0));
    segue.reload_ok(&["--drained"]);
    load.stop().assert_nothing_lost();
    segue.stop();
}

/// A process that stands still is not one that is dead.
#[test]
fn a_stopped_incumbent_is_replaced_and_a_stopped_retired_one_is_ended() {
    let segue = setup().start();
    let target = segue.target();
    let first = segue.status().pids(1)[0];
    let stop = |pid: i32| {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP);
    };
    stop(first);
    // It does not drain, and is killed when its time is over.
    segue.reload_ok(&["--drained"]);
    let status = segue.status();
    assert_eq!(status.generation(), 2);
    assert!(status.in_role("retired").is_empty(), "{}", status.0);
    let load = Load::start(Kind::Fresh, &target, 1);
    // The supervisor itself: a reload that was asked for meanwhile is done afterwards.
    segue.signal(Signal::SIGSTOP);
    segue.process().wait_until_stopped();
    let reload = segue.begin("reload", &[]);
    load.wait_for_more(20);
    segue.signal(Signal::SIGCONT);
    assert_eq!(reload.finish().code, Some(0));
    load.stop().assert_nothing_lost();
    segue.stop();
}
