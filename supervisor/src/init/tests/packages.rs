//! What units of Debian's packages have taught: `tests/units` reads them with a real systemd.

use super::*;

fn shown(lines: &str) -> Told {
    Site::of(&format!("[Service]\nExecStart=/a\n{lines}\n")).shown("shop")
}

/// Whether a line of the drop-in or of segue.toml is exactly this.
fn has_line(told: &Told, wanted: &str) -> bool {
    told.output.lines().any(|line| line == wanted)
}

fn is_noted(told: &Told, start: &str) -> bool {
    told.notes.iter().any(|note| note.starts_with(start))
}

#[test]
fn the_directories_of_a_unit_keep_their_mode() {
    let told = shown("RuntimeDirectory=shop\nRuntimeDirectoryMode=2750");
    assert!(has_line(&told, "RuntimeDirectory=segue/shop"), "{}", told.output);
    // It would also take the mode back (systemd.exec(5) does not say so).
    assert!(!has_line(&told, "RuntimeDirectory="), "{}", told.output);
}

#[test]
fn an_app_that_nobody_may_kill_has_all_the_time() {
    let told = shown("SendSIGKILL=no\nTimeoutStopSec=20\nTimeoutStartSec=30");
    for line in [
        "start-timeout = \"30s\"",
        "drain-timeout = \"none\"",
        "TimeoutStartSec=infinity",
        "TimeoutStopSec=infinity",
    ] {
        assert!(has_line(&told, line), "{line}: {}", told.output);
    }
    assert!(is_noted(&told, "SendSIGKILL=no: "), "{:?}", told.notes);
    let told = shown("SendSIGKILL=yes\nTimeoutStopSec=20");
    assert!(has_line(&told, "drain-timeout = \"20s\"") && !is_noted(&told, "SendSIGKILL"));
}

#[test]
fn segue_as_root_may_signal_an_app_of_another_user() {
    const LINE: &str = "CapabilityBoundingSet=CAP_KILL";
    for (lines, is_added) in [
        ("", false),
        ("CapabilityBoundingSet=CAP_SETUID CAP_SETGID", true),
        ("CapabilityBoundingSet=cap_setuid cap_kill", false),
        (
            "CapabilityBoundingSet=CAP_SETUID\nCapabilityBoundingSet=CAP_KILL",
            false,
        ),
        ("CapabilityBoundingSet=~CAP_SYS_ADMIN", false),
        ("CapabilityBoundingSet=~CAP_SYS_ADMIN CAP_KILL", true),
        (
            "CapabilityBoundingSet=CAP_KILL CAP_CHOWN\nCapabilityBoundingSet=~CAP_KILL",
            true,
        ),
        ("CapabilityBoundingSet=", true),
        ("CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_KILL", false),
        ("User=root\nCapabilityBoundingSet=CAP_SETUID", true),
        // It cannot become anybody else.
        ("User=shop\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE", false),
        ("DynamicUser=yes\nCapabilityBoundingSet=", false),
    ] {
        let told = shown(lines);
        assert_eq!(has_line(&told, LINE), is_added, "{lines}: {}", told.output);
    }
}

#[test]
fn the_kernel_does_not_kill_segue_for_taking_a_listener_back() {
    const LINE: &str = "SystemCallFilter=pidfd_getfd";
    for (lines, is_added) in [
        ("", false),
        ("SystemCallFilter=@system-service", true),
        ("SystemCallFilter=~@debug", true),
        ("SystemCallFilter=~@debug\nSystemCallErrorNumber=kill", true),
        // Segue tells of the refusal.
        ("SystemCallFilter=~@debug\nSystemCallErrorNumber=EPERM", false),
    ] {
        let told = shown(lines);
        assert_eq!(has_line(&told, LINE), is_added, "{lines}: {}", told.output);
    }
}

#[test]
fn what_the_unit_says_of_its_own_end_is_noted() {
    for (line, note) in [
        ("SuccessExitStatus=143", "RestartPreventExitStatus="),
        ("RestartForceExitStatus=3 4", "RestartPreventExitStatus="),
        ("KillMode=process", "KillMode= lets live on"),
        ("KillMode=none", "KillMode= lets live on"),
    ] {
        let told = shown(line);
        assert!(is_noted(&told, note), "{line}: {:?}", told.notes);
    }
    assert!(!is_noted(&shown("KillMode=mixed"), "KillMode"));
}
