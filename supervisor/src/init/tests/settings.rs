//! Settings that must not be lost in silence.

use super::*;

fn refused_by(lines: &str) -> Option<String> {
    let site = Site::of(&format!("[Service]\n{lines}\n"));
    site.init("shop", Act::Show).err().map(|lines| lines.join("\n"))
}

#[test]
fn no_other_standard_input_than_none_is_carried() {
    for line in [
        "StandardInput=file:/etc/shop",
        "StandardInput=data",
        "StandardInput=fd:shop.socket",
        "StandardInput=socket",
        "StandardInput=tty-force",
        "StandardInputText=hello",
        "StandardInputData=aGVsbG8=",
    ] {
        let refused = refused_by(&format!("ExecStart=/a\n{line}")).unwrap_or_default();
        assert!(
            refused.contains("standard input is /dev/null"),
            "{line}: {refused}"
        );
    }
    for line in [
        "StandardInput=null",
        "StandardInput=",
        "StandardInput=null\nStandardInputText=hello",
    ] {
        assert_eq!(refused_by(&format!("ExecStart=/a\n{line}")), None, "{line}");
    }
}

#[test]
fn a_runtime_directory_that_is_kept_anyway_stays_so() {
    for (line, is_set) in [
        ("", true),
        ("RuntimeDirectoryPreserve=no", true),
        ("RuntimeDirectoryPreserve=", true),
        ("RuntimeDirectoryPreserve=yes", false),
        ("RuntimeDirectoryPreserve=True", false),
        ("RuntimeDirectoryPreserve=restart", false),
    ] {
        let told = Site::of(&format!("[Service]\nExecStart=/a\n{line}\n")).shown("shop");
        let found = told.output.contains("\nRuntimeDirectoryPreserve=restart\n");
        assert_eq!(found, is_set, "{line}");
    }
}

#[test]
fn a_working_directory_is_carried_or_there_is_a_note() {
    // The directory, the line of segue.toml, and whether there is a note.
    for (directory, chdir, is_noted) in [
        ("/srv", Some("chdir = \"/srv\""), false),
        ("-/srv", Some("chdir = \"/srv\""), true),
        ("~", None, true),
        ("-~", None, true),
        ("%h/shop", None, true),
        ("/srv/%i", None, true),
        ("", None, false),
    ] {
        let site = Site::of(&format!(
            "[Service]\nExecStart=/a\nWorkingDirectory={directory}\n"
        ));
        let told = site.shown("shop");
        let found = told.output.lines().find(|line| line.starts_with("chdir = "));
        assert_eq!(found, chdir, "{directory}");
        let start = format!("WorkingDirectory={directory}");
        let noted = told.notes.iter().any(|note| note.starts_with(&start));
        assert_eq!(noted, is_noted, "{directory}: {:?}", told.notes);
    }
}

#[test]
fn the_runners_of_node_are_refused() {
    for line in [
        "/usr/bin/npm start",
        "/usr/bin/env npm start",
        "/usr/bin/env -i A=b pnpm run serve",
        "\"/usr/bin/yarn\" start",
        "/usr/bin/npx serve",
        "/bin/sh -c 'cd /srv && exec npm start'",
    ] {
        let refused = refused_by(&format!("ExecStart={line}")).unwrap_or_default();
        assert!(refused.contains("run `node` itself"), "{line}: {refused}");
    }
    for line in ["/usr/bin/env sudo /a", "/bin/sh -c 'exec sudo /a'"] {
        let refused = refused_by(&format!("ExecStart={line}")).unwrap_or_default();
        assert!(refused.contains("sudo stays the parent"), "{line}: {refused}");
    }
    for line in [
        "/usr/bin/node npm",
        "/usr/bin/env A=npm node server.js",
        "/opt/npm/shop",
    ] {
        assert_eq!(refused_by(&format!("ExecStart={line}")), None, "{line}");
    }
}

#[test]
fn a_shell_must_become_the_app_by_its_last_command() {
    for line in [
        "exec ./shop",
        "cd /srv && exec ./shop",
        "cd /srv; exec ./shop;",
        "exec ./shop --of \"a; b\"",
        "exec ./shop >>/srv/log 2>&1",
        "exec ./shop &>/srv/log",
        "A=b exec -a shop ./shop",
        "exec >/srv/log ./shop",
        "exec ./shop --at $(hostname | tr a b)",
        "[ -x a ] && exec ./a || exec ./shop",
    ] {
        assert_eq!(
            refused_by(&format!("ExecStart=/bin/sh -c '{line}'")),
            None,
            "{line}"
        );
    }
    for line in [
        "./shop",
        "./shop exec",
        "./shop --mode=exec",
        "echo exec; ./shop",
        "exec ./shop | tee log",
        "exec ./shop & wait",
        "exec ./shop &",
        "exec 3</dev/null; ./shop",
        "./shop; exec 2>&1",
        "(cd /srv && exec ./shop)",
        "echo \"; exec ./shop\"",
        "exec",
    ] {
        let refused = refused_by(&format!("ExecStart=/bin/sh -c '{line}'")).unwrap_or_default();
        assert!(refused.contains("does not `exec` the app"), "{line}: {refused}");
    }
}

#[test]
fn a_socket_unit_named_by_the_service_alone_is_one_of_its_own() {
    let site = Site::of("[Service]\nExecStart=/a\nSockets=web.socket\n");
    let web = "usr/lib/systemd/system/web.socket";
    for service in ["", "Service=shop.service\n"] {
        site.put(web, &format!("[Socket]\nListenStream=80\n{service}"));
        let told = site.shown("shop");
        assert!(told.output.contains("\nRequires=web.socket\n"), "{}", told.output);
        assert!(told.output.contains("web.socket.d/segue.conf"), "{}", told.output);
        let untrue = told.notes.iter().any(|note| note.contains("no socket unit"));
        assert!(
            !untrue && !told.output.contains("no socket unit"),
            "{:?}",
            told.notes
        );
    }
    site.put(web, "[Socket]\nListenStream=80\nService=web.service\n");
    let refused = site.refused();
    assert!(refused.contains("web.socket: Service=web.service: "), "{refused}");
}

#[test]
fn each_helper_that_is_missing_is_named() {
    let site = Site::of("[Service]\nExecStart=/a\nPrivateTmp=yes\n");
    let missing = |site: &Site| -> Vec<String> {
        let notes = site.shown("shop").notes;
        let named = |note: &String| {
            note.split_once(" is not installed")
                .map(|(name, _)| name.to_owned())
        };
        notes.iter().filter_map(named).collect()
    };
    let helpers = [
        "segue-tmp@.service",
        "segue-cleanup@.service",
        "segue-recheck@.service",
    ];
    assert_eq!(missing(&site), helpers);
    for helper in helpers {
        site.put(
            &format!("etc/systemd/system/{helper}"),
            "[Service]\nExecStart=/b\n",
        );
    }
    assert_eq!(missing(&site), [""; 0]);
}
