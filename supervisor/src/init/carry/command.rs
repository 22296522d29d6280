//! `ExecStart=`: the command of the app.

use super::{Carried, Service};
use crate::activation;
use crate::unit::Exec;

/// Programs that start another one and stay its parent: it would get neither the signals nor, by `LISTEN_PID`, the sockets.
const FORKING_WRAPPERS: [&str; 3] = ["su", "sudo", "runuser"];

/// Shells, which do the same unless their line says `exec`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "busybox"];

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let lines = service.text.list("Service", "ExecStart");
    let line = match lines.as_slice() {
        [] => return Err("it has no ExecStart=".to_owned()),
        [line] => line,
        [..] => {
            return Err(format!(
                "it has {} lines ExecStart=: segue runs one program",
                lines.len()
            ));
        }
    };
    let refused = |why: &str| format!("ExecStart={line}: {why}");
    let exec = Exec::parse(line).map_err(|why| refused(&why))?;
    if let Some(why) = refuse(&exec) {
        return Err(refused(&why));
    }
    let run = format!(
        "{} run --name {} --config {}",
        service.segue, service.name, service.config
    );
    // systemd would still take a failure of segue for a success.
    let mark = if exec.prefixes.contains('-') { "-" } else { "" };
    carried
        .service
        .say("Segue supervises the program of the unit.", "ExecStart=");
    if let Some(words) = exec.literal() {
        carried.service.and(format!("ExecStart={mark}{run}"));
        let words: Vec<String> = words.into_iter().map(quoted).collect();
        carried.toml.say(
            "ExecStart= of the unit. It is looked up anew at each reload, symlinks included.",
            format!("command = [{}]", words.join(", ")),
        );
        return Ok(());
    }
    let as_it_is = if exec.prefixes.contains(':') { ":" } else { "" };
    carried
        .service
        .and("# systemd goes on to expand what is behind the two dashes: variables, specifiers and escapes.");
    carried
        .service
        .and(format!("ExecStart={mark}{as_it_is}{run} -- {}", exec.written));
    carried.notes.push(
        "the command stays in the unit, since systemd expands it: to change it takes a restart, not a reload"
            .to_owned(),
    );
    carried.toml.say(
        "The command stands in ExecStart= of the drop-in, where systemd expands its variables and specifiers. One that \
         has none could stand here, and be changed by a reload.",
        "# command = [\"/usr/bin/app\", \"--option\"]",
    );
    Ok(())
}

/// A string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for sign in text.chars() {
        match sign {
            '"' | '\\' => quoted.extend(['\\', sign]),
            sign if sign.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(sign))),
            sign => quoted.push(sign),
        }
    }
    quoted.push('"');
    quoted
}

/// Why a command line cannot be carried.
fn refuse(exec: &Exec<'_>) -> Option<String> {
    for (prefix, why) in [
        (
            '@',
            "the program is given another name than its own (`@`), which segue cannot do",
        ),
        (
            '+',
            "it runs outside of User= and the sandbox (`+`), which segue cannot do",
        ),
        ('!', "it runs outside of User= (`!`), which segue cannot do"),
        ('|', "it runs in a login shell (`|`), which segue cannot do"),
    ] {
        if exec.prefixes.contains(prefix) {
            return Some(why.to_owned());
        }
    }
    let program = exec.words.first()?.0;
    let called = program
        .trim_matches(['"', '\''])
        .rsplit('/')
        .next()
        .unwrap_or_default();
    if program.contains('$') {
        return Some("the program itself is a variable".to_owned());
    }
    if called.starts_with("segue") {
        return Some("it runs segue already (`segue check --unit` looks whether all fits)".to_owned());
    }
    if FORKING_WRAPPERS.contains(&called) {
        return Some(format!(
            "{called} stays the parent of the app, which gets neither signals nor sockets then (User= does without)"
        ));
    }
    if SHELLS.contains(&called) && !has_exec(exec) {
        return Some(
            "a shell that does not `exec` the app stays its parent: the app gets neither signals nor sockets then".to_owned(),
        );
    }
    let holds = exec
        .words
        .iter()
        .skip(1)
        .find(|word| activation::has_any(word.0.as_ref()));
    holds.map(|word| format!("{} would be one of segue's own placeholders", word.0))
}

/// Whether the line of a shell says `exec`. A script without `-c` may do so in its file, which nobody reads here.
fn has_exec(exec: &Exec<'_>) -> bool {
    let is_line = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let words: Vec<&str> = exec.words.iter().map(|word| word.0).collect();
    let Some(line) = words
        .iter()
        .position(|word| is_line(word))
        .and_then(|at| words.get(at + 1))
    else {
        return false;
    };
    line.split(|sign: char| !(sign.is_alphanumeric() || "_-./".contains(sign)))
        .any(|word| word == "exec")
}
