//! `ExecStart=`: the command of the app.

use super::{Carried, Service, shell};
use crate::activation;
use crate::unit::Exec;

/// Programs that start another one and stay its parent: it would get neither the signals nor, by `LISTEN_PID`, the sockets.
const FORKING_WRAPPERS: [&str; 3] = ["su", "sudo", "runuser"];

/// Those of Node do so as well, and Node hands no descriptor on.
const NODE_RUNNERS: [&str; 6] = ["npm", "npx", "pnpm", "pnpx", "yarn", "yarnpkg"];

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
    let called = called(exec);
    if program.contains('$') {
        return Some("the program itself is a variable".to_owned());
    }
    if called.starts_with("segue") {
        return Some("it runs segue already (`segue check --unit` looks whether all fits)".to_owned());
    }
    if SHELLS.contains(&called) {
        let Some(executed) = shell::executed(exec) else {
            return Some(
                "a shell that does not `exec` the app as its last command stays its parent: the app gets neither signals nor \
                 sockets then"
                    .to_owned(),
            );
        };
        if let Some(why) = refuse_wrapper(executed) {
            return Some(why);
        }
    }
    if let Some(why) = refuse_wrapper(called) {
        return Some(why);
    }
    let holds = exec
        .words
        .iter()
        .skip(1)
        .find(|word| activation::has_any(word.0.as_ref()));
    holds.map(|word| format!("{} would be one of segue's own placeholders", word.0))
}

/// The name of the program that a command line becomes: `env` becomes the one behind its options and variables.
fn called<'a>(exec: &Exec<'a>) -> &'a str {
    let mut names = exec.words.iter().map(|word| base(word.0));
    let first = names.next().unwrap_or_default();
    if first != "env" {
        return first;
    }
    let programs = exec.words.iter().skip(1).map(|word| word.0);
    let mut programs = programs.filter(|word| !word.starts_with('-') && !word.contains('='));
    programs.next().map_or(first, base)
}

fn base(word: &str) -> &str {
    let name = word.trim_matches(['"', '\'']).rsplit('/').next();
    name.unwrap_or_default()
}

/// Why a program that starts another one cannot stand before the app.
fn refuse_wrapper(called: &str) -> Option<String> {
    if FORKING_WRAPPERS.contains(&called) {
        return Some(format!(
            "{called} stays the parent of the app, which gets neither signals nor sockets then (User= does without)"
        ));
    }
    NODE_RUNNERS.contains(&called).then(|| {
        format!(
            "{called} stays the parent of the app, and Node closes the sockets that it was given: run `node` itself, with the \
             script that {called} would start"
        )
    })
}
