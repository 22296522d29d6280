mod packages;
mod settings;
mod writing;

use std::fs;

use super::*;

/// A file system with nothing but units.
struct Site(tempfile::TempDir);

impl Site {
    /// One unit `shop.service`.
    fn of(text: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        site.put("usr/lib/systemd/system/shop.service", text);
        site
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn init(&self, name: &str, act: Act) -> Result<Told, Vec<String>> {
        unit(name, self.0.path(), Path::new("/opt/segue"), act)
    }

    fn shown(&self, name: &str) -> Told {
        let told = self.init(name, Act::Show).unwrap();
        assert_eq!(problems(toml_of(&told)), [""; 0], "{}", told.output);
        told
    }

    /// What is in the way of `shop.service`, in one text.
    fn refused(&self) -> String {
        self.init("shop", Act::Show).unwrap_err().join("\n")
    }
}

/// What `segue check` finds wrong with a segue.toml, whose command may stand elsewhere.
fn problems(text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segue.toml");
    fs::write(&path, text).unwrap();
    // As if it had lain there for long: a file that is being written is waited for.
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut invocation = crate::config::Invocation {
        config: Some(path),
        ..Default::default()
    };
    invocation.settings.chdir = Some("/".into());
    invocation.settings.command = vec!["/a".into()];
    crate::config::check(&invocation, |_| Ok(())).problems
}

/// The segue.toml of an output, the last of its files.
fn toml_of(told: &Told) -> &str {
    told.output
        .split("/etc/segue/")
        .last()
        .and_then(|text| text.split_once('\n'))
        .unwrap()
        .1
}

/// The settings alone, without their reasons.
fn settings(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect()
}

const PLAIN: &str = "\
[Unit]
Description=A shop
[Service]
ExecStart=/usr/bin/shop --port 80 'two words'
User=shop
RuntimeDirectory=shop
WorkingDirectory=/srv/shop/current
KillSignal=SIGQUIT
TimeoutStopSec=2min
Environment=MODE=fast
";

#[test]
fn a_plain_unit_becomes_a_drop_in_and_a_segue_toml() {
    let told = Site::of(PLAIN).shown("shop.service");
    assert_eq!(
        settings(&told.output),
        [
            "[Unit]",
            "StartLimitIntervalSec=0",
            "OnFailure=segue-cleanup@%N.service",
            "OnSuccess=segue-cleanup@%n.service",
            "After=segue-cleanup@%N.service segue-cleanup@%n.service",
            "[Service]",
            "ExecStart=",
            "ExecStart=/usr/bin/segue run --name shop --config /etc/segue/shop.toml",
            "Type=notify",
            "NotifyAccess=main",
            "ExecReload=",
            "ExecReload=/usr/bin/segue reload --name shop",
            "KillMode=process",
            "Restart=always",
            "RestartSec=100ms",
            "FileDescriptorStoreMax=4096",
            "ExecStop=",
            "ExecStop=/usr/bin/segue cleanup --name shop",
            "ExecStopPost=",
            "ExecStopPost=/usr/bin/segue cleanup --name shop",
            "KillSignal=SIGTERM",
            "TimeoutStartSec=455s",
            "TimeoutStopSec=135s",
            "RuntimeDirectory=segue/shop",
            "RuntimeDirectoryPreserve=restart",
            "OOMPolicy=continue",
            r#"command = ["/usr/bin/shop", "--port", "80", "two words"]"#,
            r#"stop-signal = "QUIT""#,
            r#"start-timeout = "1m30s""#,
            r#"drain-timeout = "2m""#,
            r#"chdir = "/srv/shop/current""#,
            "[env]",
            r#"RUNTIME_DIRECTORY = "/run/shop""#,
        ]
    );
    let reasons = told.output.lines().filter(|line| line.starts_with("# ")).count();
    assert!(reasons > 20, "{}", told.output);
}

#[test]
fn what_systemd_expands_stays_in_the_unit() {
    // The line of the unit, and that of the drop-in behind the two dashes.
    let cases = [
        ("/usr/bin/shop $OPTIONS", "/usr/bin/shop $OPTIONS"),
        ("/usr/bin/shop ${A}b", "/usr/bin/shop ${A}b"),
        ("/usr/bin/shop --price=5$$", "/usr/bin/shop --price=5$$"),
        ("/usr/bin/shop --at %H", "/usr/bin/shop --at %H"),
        ("/usr/bin/shop 100%%", "/usr/bin/shop 100%%"),
        (r"/usr/bin/shop a\x20b", r"/usr/bin/shop a\x20b"),
        (r#"/usr/bin/shop --a="b c""#, r#"/usr/bin/shop --a="b c""#),
        (r"/usr/bin/shop \;", r"/usr/bin/shop \;"),
        (
            "/usr/bin/shop \\\n  # no word\n  $A \\\n  b",
            "/usr/bin/shop    $A    b",
        ),
    ];
    for (line, carried) in cases {
        let told = Site::of(&format!("[Service]\nExecStart={line}\n")).shown("shop");
        let wanted =
            format!("ExecStart=/usr/bin/segue run --name shop --config /etc/segue/shop.toml -- {carried}\n");
        assert!(told.output.contains(&wanted), "{line}: {}", told.output);
        assert!(!told.output.contains("\ncommand = "), "{line}");
    }
    for (line, start) in [
        (
            "-/usr/bin/shop",
            "-/usr/bin/segue run --name shop --config /etc/segue/shop.toml\n",
        ),
        (
            ":/usr/bin/shop $A",
            ":/usr/bin/segue run --name shop --config /etc/segue/shop.toml -- /usr/bin/shop $A\n",
        ),
        ("-:/usr/bin/shop $A", "-:/usr/bin/segue run "),
    ] {
        let told = Site::of(&format!("[Service]\nExecStart={line}\n")).shown("shop");
        assert!(
            told.output.contains(&format!("\nExecStart={start}")),
            "{line}: {}",
            told.output
        );
    }
}

#[test]
fn words_are_those_of_systemd() {
    let cases = [
        (
            r#"/usr/bin/shop "a b" 'it"s' "it's" """#,
            r#"["/usr/bin/shop", "a b", "it\"s", "it's", ""]"#,
        ),
        ("\"/usr/bin/the shop\"\t-x", r#"["/usr/bin/the shop", "-x"]"#),
        (
            "/usr/bin/shop a;b # no comment",
            r##"["/usr/bin/shop", "a;b", "#", "no", "comment"]"##,
        ),
        ("shop --json={\"a\":1}", ""),
        (
            "/bin/sh -c 'cd /srv && exec ./shop'",
            r#"["/bin/sh", "-c", "cd /srv && exec ./shop"]"#,
        ),
        ("/usr/bin/shop\u{e9} x", "[\"/usr/bin/shop\u{e9}\", \"x\"]"),
    ];
    for (line, command) in cases {
        let told = Site::of(&format!("[Service]\nExecStart={line}\n")).shown("shop");
        let found = told.output.lines().find(|line| line.starts_with("command = "));
        let wanted = (!command.is_empty()).then(|| format!("command = {command}"));
        assert_eq!(found, wanted.as_deref(), "{line}");
    }
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    // What stands in `[Service]`, and what is said.
    let cases = [
        (
            "Type=forking\nExecStart=/usr/bin/shop",
            "Type=forking: the program puts itself into the background",
        ),
        ("Type=oneshot\nExecStart=/usr/bin/shop", "Type=oneshot: "),
        ("Type=dbus\nBusName=a.b\nExecStart=/usr/bin/shop", "Type=dbus: "),
        ("BusName=a.b\nExecStart=/usr/bin/shop", "Type=dbus: "),
        ("Type=\nExecStart=/usr/bin/shop", "Type=: "),
        ("RemainAfterExit=yes", "Type=oneshot: "),
        ("Type=simple", "it has no ExecStart="),
        (
            "Type=exec\nExecStart=/a\nExecStart=/b",
            "it has 2 lines ExecStart=",
        ),
        ("ExecStart=/a ; /b", "several commands in one line"),
        ("ExecStart=/a 'b", "is not closed"),
        ("ExecStart=/a b\\", "nothing"),
        ("ExecStart=@/a b", "another name than its own"),
        ("ExecStart=+/a", "outside of User= and the sandbox"),
        ("ExecStart=!!/a", "outside of User="),
        ("ExecStart=|/a", "login shell"),
        ("ExecStart=\"-/a\"", "a prefix stands within quotes"),
        ("ExecStart=$SHOP", "the program itself is a variable"),
        (
            "ExecStart=/bin/sh -c 'cd /srv && ./shop'",
            "a shell that does not `exec` the app as its last command",
        ),
        (
            "ExecStart=/bin/bash /srv/start.sh",
            "a shell that does not `exec` the app as its last command",
        ),
        ("ExecStart=/usr/bin/sudo -u a /a", "sudo stays the parent"),
        ("ExecStart=/usr/bin/segue run -- /a", "it runs segue already"),
        (
            "ExecStart=/a --id {worker}",
            "{worker} would be one of segue's own placeholders",
        ),
        (
            "ExecStart=/a\nExecStop=/usr/bin/shopctl stop",
            "ExecStop=/usr/bin/shopctl stop: ",
        ),
        (
            "ExecStart=/a\nExecStop=/bin/kill -QUIT $MAINPID\nExecStop=/bin/sleep 1",
            "ExecStop=",
        ),
        (
            "ExecStart=/a\nExecStartPost=/bin/sh -c 'echo $MAINPID'",
            "$MAINPID would be segue",
        ),
        ("ExecStart=/a\nKillSignal=SIGRTMIN+3", "KillSignal=SIGRTMIN+3: "),
        ("ExecStart=/a\nKillSignal=SIGKILL", "KillSignal=SIGKILL: "),
        (
            "ExecStart=/a\nExecStop=/bin/kill -s STOP $MAINPID",
            "ExecStop=/bin/kill -s STOP $MAINPID: \"STOP\" cannot be caught",
        ),
        ("ExecStart=/a\nStandardInput=socket", "StandardInput=socket: "),
        ("ExecStart=/a\nRootDirectory=/srv", "RootDirectory=: "),
        (
            "ExecStart=/a\nFileDescriptorStoreMax=8",
            "FileDescriptorStoreMax=8: ",
        ),
        (
            "ExecStart=/a\nRestrictAddressFamilies=~AF_UNIX AF_INET6",
            "RestrictAddressFamilies=~AF_UNIX: ",
        ),
        (
            "ExecStart=/a\nRuntimeDirectoryMode=0777",
            "RuntimeDirectoryMode=0777: ",
        ),
        ("ExecStart=/a\nRuntimeDirectory=%T", "RuntimeDirectory=%T: "),
        (
            "ExecStart=/a\nTimeoutStopSec=soon",
            "TimeoutStopSec: not a time span",
        ),
        ("ExecStart=/a\nno assignment", "line 3: there is no ="),
    ];
    for (lines, why) in cases {
        let site = Site::of(&format!("[Service]\n{lines}\n"));
        if why == "nothing" {
            // The file ends in the middle of a line: to systemd that is all of it.
            assert!(site.init("shop", Act::Show).is_ok(), "{lines}");
            continue;
        }
        let refused = site.refused();
        assert!(refused.contains(why), "{lines}: {refused}");
    }
    // All of it at once.
    let site = Site::of("[Service]\nType=forking\nExecStart=/a\nExecStop=/b\nRootDirectory=/c\n");
    assert_eq!(site.refused().lines().count(), 3);
}

#[test]
fn a_command_that_only_sends_a_signal_is_the_stop_signal() {
    for (line, signal) in [
        ("/bin/kill -s QUIT $MAINPID", Some("QUIT")),
        ("/usr/bin/kill -WINCH ${MAINPID}", Some("WINCH")),
        ("kill --signal=SIGINT $MAINPID", Some("INT")),
        ("-/bin/kill $MAINPID", None),
    ] {
        let told = Site::of(&format!("[Service]\nExecStart=/a\nExecStop={line}\n")).shown("shop");
        let found = told.output.lines().find(|line| line.starts_with("stop-signal"));
        let wanted = signal.map(|signal| format!("stop-signal = \"{signal}\""));
        assert_eq!(found, wanted.as_deref(), "{line}");
    }
}

#[test]
fn an_empty_value_takes_all_back_and_drop_ins_come_later() {
    let site =
        Site::of("[Service]\nType=forking\nExecStart=/old\nExecStop=/old stop\nRuntimeDirectory=old\n");
    site.put(
        "etc/systemd/system/shop.service.d/override.conf",
        "[Service]\nType=exec\nExecStart=\nExecStart=/new\nExecStop=\nRuntimeDirectory=\n",
    );
    let told = site.shown("shop");
    assert!(told.output.contains("command = [\"/new\"]"), "{}", told.output);
    assert!(told.output.contains("\nRuntimeDirectory=segue/shop\n") && !told.output.contains("[env]"));
}

#[test]
fn files_are_found_where_systemd_finds_them() {
    let site = Site::of("[Service]\nExecStart=/vendor\n");
    // One in /etc stands for the whole file, and of two drop-ins of one name that in /etc counts.
    site.put("etc/systemd/system/shop.service", "[Service]\nExecStart=/admin\n");
    site.put(
        "usr/lib/systemd/system/shop.service.d/a.conf",
        "[Service]\nTimeoutStopSec=1\n",
    );
    site.put(
        "etc/systemd/system/shop.service.d/a.conf",
        "[Service]\nTimeoutStopSec=2\n",
    );
    site.put(
        "etc/systemd/system/service.d/b.conf",
        "[Service]\nTimeoutStartSec=3\n",
    );
    let told = site.shown("shop");
    for line in [
        "command = [\"/admin\"]",
        "drain-timeout = \"2s\"",
        "start-timeout = \"3s\"",
    ] {
        assert!(told.output.contains(line), "{line}: {}", told.output);
    }
    // A link to nothing masks, and one to another unit is an alias, whose drop-ins count.
    std::os::unix::fs::symlink("/dev/null", site.0.path().join("etc/systemd/system/gone.service")).unwrap();
    assert!(site.init("gone", Act::Show).unwrap_err()[0].ends_with("gone.service is masked"));
    std::os::unix::fs::symlink(
        "/usr/lib/systemd/system/shop.service",
        site.0.path().join("etc/systemd/system/store.service"),
    )
    .unwrap();
    site.put(
        "etc/systemd/system/store.service.d/c.conf",
        "[Service]\nTimeoutStopSec=4\n",
    );
    let told = site.shown("store");
    assert!(
        told.output.contains("# ") && told.output.contains("shop.service.d/segue.conf"),
        "{}",
        told.output
    );
    assert!(
        told.output.contains("command = [\"/vendor\"]") && told.output.contains("drain-timeout = \"4s\"")
    );
    assert_eq!(
        site.init("none", Act::Show).unwrap_err(),
        ["unit none: no such file or directory"]
    );
}

#[test]
fn an_instance_is_carried_and_a_template_is_not() {
    let site = Site::of("");
    site.put(
        "usr/lib/systemd/system/stall@.service",
        "[Service]\nExecStart=/usr/bin/stall --of %i\nRuntimeDirectory=stall/%i\n",
    );
    site.put(
        "etc/systemd/system/stall@.service.d/all.conf",
        "[Service]\nTimeoutStopSec=5\n",
    );
    site.put(
        "etc/systemd/system/stall@red.service.d/own.conf",
        "[Service]\nTimeoutStartSec=6\n",
    );
    let told = site.shown("stall@red");
    for line in [
        "stall@red.service.d/segue.conf",
        "--name stall@red --config /etc/segue/stall@red.toml -- /usr/bin/stall --of %i\n",
        "RuntimeDirectory=segue/stall@red\n",
        "RUNTIME_DIRECTORY = \"/run/stall/red\"",
        "drain-timeout = \"5s\"",
        "start-timeout = \"6s\"",
    ] {
        assert!(told.output.contains(line), "{line}: {}", told.output);
    }
    let refused = site.init("stall@.service", Act::Show).unwrap_err();
    assert!(refused[0].contains("name one, such as"), "{refused:?}");
    let refused = site.init("shop.timer", Act::Show).unwrap_err();
    assert!(refused[0].contains("not the name of a service"), "{refused:?}");
}

#[test]
fn the_socket_units_of_a_service_are_found() {
    let site = Site::of("[Service]\nExecStart=/usr/bin/shop\n");
    assert!(site.shown("shop").output.contains("# listen = "));
    site.put(
        "usr/lib/systemd/system/shop.socket",
        "[Socket]\nListenStream=80\n",
    );
    site.put(
        "usr/lib/systemd/system/other.socket",
        "[Socket]\nListenStream=81\nService=shop.service\n",
    );
    site.put(
        "usr/lib/systemd/system/foreign.socket",
        "[Socket]\nListenStream=82\n",
    );
    let told = site.shown("shop");
    assert!(
        told.output.contains("\nRequires=shop.socket other.socket\n"),
        "{}",
        told.output
    );
    for socket in ["shop.socket", "other.socket"] {
        assert!(
            told.output.contains(&format!("{socket}.d/segue.conf")),
            "{socket}"
        );
    }
    site.put(
        "etc/systemd/system/shop.socket.d/a.conf",
        "[Socket]\nAccept=yes\n",
    );
    assert!(
        site.refused().contains("shop.socket: Accept=yes"),
        "{}",
        site.refused()
    );
    site.put(
        "etc/systemd/system/shop.socket.d/a.conf",
        "[Socket]\nListenFIFO=/run/shop\n",
    );
    assert!(
        site.refused().contains("shop.socket: ListenFIFO=: "),
        "{}",
        site.refused()
    );
}

#[test]
fn what_was_written_is_left_alone_once_somebody_has_changed_it() {
    let site = Site::of(PLAIN);
    let told = site.init("shop", Act::Write).unwrap();
    assert!(told.output.starts_with("wrote "), "{}", told.output);
    let drop_in = "etc/systemd/system/shop.service.d/segue.conf";
    let first = site.get(drop_in);
    // The same again: our own drop-in is no part of the unit.
    let again = site.init("shop", Act::Write).unwrap();
    assert!(
        again.output.lines().all(|line| line.starts_with("unchanged: ")),
        "{}",
        again.output
    );
    assert_eq!(site.get(drop_in), first);
    // Another unit: what nobody has changed is written anew.
    site.put(
        "usr/lib/systemd/system/shop.service",
        &PLAIN.replace("2min", "3min"),
    );
    site.init("shop", Act::Write).unwrap();
    assert!(site.get("etc/segue/shop.toml").contains("drain-timeout = \"3m\""));
    // What somebody has is not, and then nothing is.
    let changed = site.get("etc/segue/shop.toml").replace("3m", "4m");
    site.put("etc/segue/shop.toml", &changed);
    site.put(
        "usr/lib/systemd/system/shop.service",
        &PLAIN.replace("2min", "5min"),
    );
    let before = site.get(drop_in);
    let refused = site.init("shop", Act::Write).unwrap_err();
    assert!(
        refused[0].ends_with("not as segue init wrote it; move it away first"),
        "{refused:?}"
    );
    assert_eq!(
        (site.get("etc/segue/shop.toml"), site.get(drop_in)),
        (changed, before)
    );
    let left: Vec<_> = fs::read_dir(site.0.path().join("etc/segue")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_drop_in_that_would_win_is_refused() {
    let site = Site::of(PLAIN);
    site.put(
        "etc/systemd/system/shop.service.d/zz.conf",
        "[Service]\nType=exec\n",
    );
    assert!(
        site.refused().contains("zz.conf is read after segue.conf"),
        "{}",
        site.refused()
    );
}

#[test]
fn the_starter_has_every_key_and_each_line_of_it_can_be_used() {
    let text = starter::text();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_setting = bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if is_setting || bare.starts_with('[') {
            lines.push(bare);
        }
    }
    for key in crate::config::options::keys() {
        let start = format!("{} = ", key.name);
        let is_there = lines.iter().any(|line| line.starts_with(&start)) || ["env", "on"].contains(&key.name);
        assert!(is_there, "{}", key.name);
    }
    toml::de::DeTable::parse(&lines.join("\n")).unwrap();
    assert_eq!(problems(&text), [""; 0]);
}
