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

#[test]
fn a_socket_unit_that_nobody_has_enabled_is_noted() {
    let site = Site::of("[Service]\nExecStart=/a\n");
    site.put(
        "usr/lib/systemd/system/shop.socket",
        "[Socket]\nListenStream=80\n",
    );
    let note = "shop.socket is not enabled: ";
    let told = site.shown("shop");
    assert!(
        has_line(&told, "Requires=shop.socket") && is_noted(&told, note),
        "{:?}",
        told.notes
    );
    // The service may ask for it, or somebody has enabled it.
    site.put(
        "etc/systemd/system/shop.service.d/a.conf",
        "[Unit]\nWants=a.target shop.socket\n",
    );
    assert!(!is_noted(&site.shown("shop"), note));
    site.put("etc/systemd/system/shop.service.d/a.conf", "");
    site.put(
        "etc/systemd/system/sockets.target.wants/shop.socket",
        "[Socket]\nListenStream=80\n",
    );
    assert!(!is_noted(&site.shown("shop"), note));
}

#[test]
fn a_masked_socket_unit_is_none() {
    let site = Site::of("[Service]\nExecStart=/a\n");
    site.put(
        "usr/lib/systemd/system/shop.socket",
        "[Socket]\nListenStream=80\n",
    );
    site.put("etc/systemd/system/shop.socket", "");
    let told = site.shown("shop");
    assert!(!told.output.contains("shop.socket") && is_noted(&told, "no socket unit belongs to it"));
}

#[test]
fn segue_finds_its_own_directory_whatever_the_unit_says_of_the_app_s() {
    for line in [
        "Environment=RUNTIME_DIRECTORY=/run/shop/tls",
        "Environment=A=b \"RUNTIME_DIRECTORY=/run/shop/tls\"",
        "RuntimeDirectory=shop/tls\nEnvironment=RUNTIME_DIRECTORY=/run/other RUNTIME_DIRECTORY=/run/shop/tls",
    ] {
        let told = shown(line);
        for wanted in [
            "Environment=RUNTIME_DIRECTORY=/run/segue/shop",
            "RUNTIME_DIRECTORY = \"/run/shop/tls\"",
        ] {
            assert!(has_line(&told, wanted), "{line}: {wanted}: {}", told.output);
        }
    }
    let site = Site::of("[Service]\nExecStart=/a\nEnvironment=RUNTIME_DIRECTORY=%t/shop\n");
    assert!(
        site.refused().contains("RUNTIME_DIRECTORY=%t/shop: "),
        "{}",
        site.refused()
    );
}

#[test]
fn a_unit_that_is_bound_to_the_service_and_required_by_it_is_noted() {
    let site = Site::of("[Unit]\nRequires=shop.socket a.target shop-tls.socket\n[Service]\nExecStart=/a\n");
    let socket = "[Socket]\nListenStream=80\n";
    site.put("usr/lib/systemd/system/shop.socket", socket);
    site.put("usr/lib/systemd/system/shop-tls.socket", socket);
    let note = "shop-tls.socket is bound to the service";
    assert!(!is_noted(&site.shown("shop"), note));
    let bound = format!("[Unit]\nBindsTo=b.target shop.service\n{socket}");
    site.put("usr/lib/systemd/system/shop-tls.socket", &bound);
    assert!(is_noted(&site.shown("shop"), note));
}
