//! `deploy.sh --host`: the same deploy through a real sshd on loopback, with keys and a configuration of its own.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;
use segue_tests::binaries::Binary;
use segue_tests::deployed::Deployed;
use segue_tests::executable;
use segue_tests::needs;
use segue_tests::process::Process;

/// One at a time: the scene that makes the directory for sshd's privileges removes it again.
static ALONE: Mutex<()> = Mutex::new(());

/// An sshd, and the directory that it gives its sessions for temporary files.
struct Host {
    name: &'static str,
    port: u16,
    temporary: PathBuf,
    server: Process,
    /// Where sshd drops its privileges, if it had to be made.
    made: Option<PathBuf>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.signal(Signal::SIGKILL);
        let _ = self.server.wait_for_exit();
        if let Some(made) = &self.made {
            let _ = std::fs::remove_dir(made);
        }
    }
}

/// What is needed for it: sshd wants to be called by its absolute path.
fn ssh() -> Result<PathBuf, String> {
    needs::program("ssh")?;
    needs::program("ssh-keygen")?;
    let places = ["/usr/sbin/sshd", "/usr/bin/sshd"];
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.ok_or_else(|| "sshd is not installed".to_owned())
}

fn make_key(path: &Path) {
    let done = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(done.unwrap().success());
}

impl Host {
    /// Starts it; its sessions call `segue`.
    fn start(sshd: &Path, deployed: &Deployed, name: &'static str, segue: &Path) -> Self {
        let directory = deployed.path(name);
        let temporary = directory.join("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let privileges = Path::new("/run/sshd");
        let made = (needs::root().is_ok() && !privileges.exists()).then(|| privileges.to_owned());
        if let Some(made) = &made {
            std::fs::create_dir(made).unwrap();
        }
        make_key(&directory.join("host-key"));
        // Nobody tells a port to sshd that is certainly free, so it is asked again if it is not.
        loop {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {key}\nAuthorizedKeysFile {authorized}\nStrictModes no\nPidFile none\n\
                 UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nSetEnv SEGUE={segue} TMPDIR={temporary}\n",
                key = directory.join("host-key").display(),
                authorized = deployed.path("user-key.pub").display(),
                segue = segue.display(),
                temporary = temporary.display(),
            );
            std::fs::write(directory.join("config"), config).unwrap();
            let server = Process::start(
                Command::new(sshd)
                    .args(["-D", "-e", "-f"])
                    .arg(directory.join("config")),
            );
            loop {
                if server.stderr().contains("Server listening") {
                    return Self {
                        name,
                        port,
                        temporary,
                        server,
                        made,
                    };
                }
                if !server.is_running() {
                    assert!(
                        server.stderr().contains("Address already in use"),
                        "{}",
                        server.stderr()
                    );
                    break;
                }
                server.wait_for_news(server.mark());
            }
        }
    }

    fn is_clean(&self) -> bool {
        std::fs::read_dir(&self.temporary).unwrap().next().is_none()
    }
}

/// The client's configuration: names of hosts lead to their ports, and nothing of the user's own is read.
fn client(deployed: &Deployed, hosts: &[&Host]) -> String {
    let config = deployed.path("ssh-config");
    let mut text = String::new();
    for host in hosts {
        text += &format!("Host {}\n  HostName 127.0.0.1\n  Port {}\n", host.name, host.port);
    }
    text += &format!(
        "Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  LogLevel ERROR\n  BatchMode yes\n",
        deployed.path("user-key").display()
    );
    std::fs::write(&config, text).unwrap();
    format!("ssh -F {}", config.display())
}

/// A deploy through ssh. The root is the same as on this machine, which is the other one, too.
fn remote(deployed: &Deployed, ssh: &str, args: &[&str]) -> Command {
    let temporary = deployed.path("local-tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = deployed.script(&["--root"]);
    command
        .arg(deployed.root("").components().collect::<PathBuf>())
        .args(args);
    command
        .env("DEPLOY_SSH", ssh)
        .env("TMPDIR", temporary)
        .env("SEGUE", "/not/used/here");
    command
}

fn assert_clean(deployed: &Deployed, hosts: &[&Host]) {
    assert!(
        std::fs::read_dir(deployed.path("local-tmp"))
            .unwrap()
            .next()
            .is_none()
    );
    for host in hosts {
        let what = format!("{} has no temporary files left", host.name);
        segue_tests::wait_until(&what, || host.is_clean());
    }
}

#[test]
fn hosts_are_deployed_one_after_the_other_until_one_fails() {
    let Some(sshd) = needs::or_skip("deploys through ssh", ssh()) else {
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let deployed = Deployed::start(["--probation", "10ms"]);
    make_key(&deployed.path("user-key"));
    let good = Host::start(&sshd, &deployed, "one", &Binary::Segue.path());
    // On the second host every reload fails.
    let failing = deployed.path("failing-segue");
    let codes = r#"{"outcome":"failed","probation":"not-reached","generation":9,"cause":"exited","reason":"exited with status 3","message":"it failed"}"#;
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != reload ] || {{ echo '{codes}'; exit 1; }}\nexec '{}' \"$@\"\n",
        Binary::Segue.path().display()
    );
    executable::write(&failing, text.as_bytes());
    let bad = Host::start(&sshd, &deployed, "two", &failing);
    let ssh = client(&deployed, &[&good, &bad]);

    deployed.write("good message=remote");
    std::fs::rename(deployed.path("app"), deployed.path("it's new")).unwrap();
    let done = Process::start(&mut remote(&deployed, &ssh, &["--host", "one", "it's new"])).finish();
    assert_eq!(done.code, Some(0), "{done:?}\n{}", good.server.stderr());
    deployed.wait_for_message("remote");
    let lines: Vec<_> = done.stdout.lines().collect();
    assert!(
        lines[0].starts_with(&format!("one: app: {} serves since ", deployed.current())),
        "{done:?}"
    );
    assert_eq!(lines[1..], ["app: deploy done on one"]);
    assert_clean(&deployed, &[&good]);
    deployed.assert_consistent();
    deployed.assert_tidy();

    deployed.write("good message=second");
    let hosts = ["--force", "--host=one", "--host", "two", "--host", "three", "app"];
    let done = Process::start(&mut remote(&deployed, &ssh, &hosts)).finish();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .ends_with("deploy: deploy to two: exit status 1; done: one; not begun: three\n"),
        "{done:?}"
    );
    assert!(
        done.stderr
            .contains("deploy: reload: generation 9: exited with status 3; app: "),
        "{done:?}"
    );
    deployed.wait_for_message("second");
    assert_clean(&deployed, &[&good, &bad]);
    deployed.assert_consistent();

    let list = Process::start(&mut remote(&deployed, &ssh, &["--list", "--host", "one"])).finish();
    assert!(
        list.stdout
            .lines()
            .any(|line| line.starts_with("one: ") && line.contains("current, serves")),
        "{list:?}"
    );
    let back = Process::start(&mut remote(&deployed, &ssh, &["--rollback", "--host", "one"])).finish();
    assert_eq!(back.code, Some(0), "{back:?}");
    deployed.wait_for_message("remote");
    let nobody = Process::start(&mut remote(&deployed, &ssh, &["--host", "four.invalid", "app"])).finish();
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(
        nobody
            .stderr
            .contains("deploy: deploy to four.invalid: ssh failed or lost the connection"),
        "{nobody:?}"
    );
    std::fs::write(deployed.path("app"), "no program").unwrap();
    let refused = Process::start(&mut remote(&deployed, &ssh, &["--host", "one", "app"])).finish();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_clean(&deployed, &[&good, &bad]);
    drop((good, bad));
    deployed.stop();
}

#[test]
fn a_client_that_goes_away_leaves_the_remote_deploy_to_its_end() {
    let Some(sshd) = needs::or_skip("deploys through ssh", ssh()) else {
        return;
    };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let deployed = Deployed::start(["--probation", "10ms"]);
    make_key(&deployed.path("user-key"));
    let host = Host::start(&sshd, &deployed, "one", &Binary::Segue.path());
    let ssh = client(&deployed, &[&host]);
    deployed.write_held("good message=late");
    let deploy = Process::start(&mut remote(
        &deployed,
        &ssh,
        &["--host", "one", "--host", "two", "app"],
    ));
    deploy.wait_for_line("deploy: reloading");
    deploy.signal(Signal::SIGTERM);
    let done = deploy.finish();
    assert_eq!(done.code, Some(143), "{done:?}");
    assert!(
        done.stderr.ends_with("interrupted by SIGTERM while one was under way, where it goes on (ask with --host one --list); done: none; not begun: two\n"),
        "{done:?}"
    );
    deployed.let_go();
    deployed.segue.wait_until("it goes on there", |status| {
        status.generation() == 2 && status.state() == "serving"
    });
    let end = std::time::Instant::now() + segue_tests::patience();
    while !host.is_clean() {
        assert!(std::time::Instant::now() < end, "temporary files are left");
        std::thread::sleep(segue_tests::LOOK);
    }
    deployed.wait_for_message("late");
    deployed.assert_consistent();
    deployed.assert_tidy();
    assert_clean(&deployed, &[&host]);
    drop(host);
    deployed.stop();
}
