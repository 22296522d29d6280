//! What no drop-in can make of a unit, and why.

use crate::unit::UnitText;

/// All that is in the way, a line each; the command line and the sockets are looked at elsewhere.
pub(super) fn find(text: &UnitText) -> Vec<String> {
    [
        kind(text),
        input(text),
        root(text),
        store(text),
        families(text),
        runtime_mode(text),
        post(text),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The type that a unit has, given or not.
pub(super) fn kind_of(text: &UnitText) -> &str {
    match text.last("Service", "Type") {
        Some(kind) => kind,
        None if text
            .last("Service", "BusName")
            .is_some_and(|name| !name.is_empty()) =>
        {
            "dbus"
        }
        None if text.list("Service", "ExecStart").is_empty() => "oneshot",
        None => "simple",
    }
}

fn kind(text: &UnitText) -> Option<String> {
    let kind = kind_of(text);
    let why = match kind {
        "simple" | "exec" | "idle" | "notify" | "notify-reload" => return None,
        "forking" => {
            "the program puts itself into the background, where nobody can follow its generations (most have an option to \
             stay in the foreground: give it, and Type=simple or notify)"
        }
        "oneshot" => "it does something and ends; segue supervises what serves",
        "dbus" => "it is ready when it has a name on the bus, which two generations cannot have at once",
        _ => "this type is not known",
    };
    Some(format!("Type={kind}: {why}"))
}

fn input(text: &UnitText) -> Option<String> {
    const WHY: &str = "the app's standard input is /dev/null under segue";
    if let Some(input) = text
        .last("Service", "StandardInput")
        .filter(|input| !input.is_empty())
    {
        return (input != "null").then(|| format!("StandardInput={input}: {WHY}"));
    }
    // These make StandardInput=data the default (systemd.exec(5)).
    let key = ["StandardInputText", "StandardInputData"]
        .into_iter()
        .find(|key| !text.list("Service", key).is_empty())?;
    Some(format!("{key}=: {WHY}"))
}

fn root(text: &UnitText) -> Option<String> {
    let key = ["RootDirectory", "RootImage", "RootDirectoryStartOnly"]
        .into_iter()
        .find(|key| !text.list("Service", key).is_empty())?;
    Some(format!(
        "{key}=: segue itself would have to be in there, with all it needs"
    ))
}

fn store(text: &UnitText) -> Option<String> {
    let max = text.last("Service", "FileDescriptorStoreMax")?;
    (!matches!(max, "" | "0")).then(|| {
        format!("FileDescriptorStoreMax={max}: the app keeps file descriptors of its own in systemd, where segue keeps its")
    })
}

fn families(text: &UnitText) -> Option<String> {
    let families = text.list("Service", "RestrictAddressFamilies");
    let denied = families
        .iter()
        .any(|list| list.starts_with('~') && list.contains("AF_UNIX"));
    denied.then(|| "RestrictAddressFamilies=~AF_UNIX: segue needs Unix sockets".to_owned())
}

fn runtime_mode(text: &UnitText) -> Option<String> {
    let mode = text.last("Service", "RuntimeDirectoryMode")?;
    let bits = u32::from_str_radix(mode, 8).ok()?;
    (bits & 0o002 != 0).then(|| {
        format!(
            "RuntimeDirectoryMode={mode}: everybody could put another control socket in the place of segue's"
        )
    })
}

/// `$MAINPID` is segue's, not the app's.
fn post(text: &UnitText) -> Option<String> {
    let lines = text.list("Service", "ExecStartPost");
    let line = lines.iter().find(|line| line.contains("MAINPID"))?;
    Some(format!(
        "ExecStartPost={line}: $MAINPID would be segue, not the app"
    ))
}
