//! The runtime directory, and the working directory of the app.

use super::command::quoted;
use super::{Carried, Service};
use crate::unit::{Exec, boolean};

pub(super) fn carry(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    runtime(service, carried)?;
    working(service, carried);
    Ok(())
}

/// That of the app, which enters it anew; what only systemd can expand stays with segue, and the app begins where segue is.
fn working(service: &Service<'_>, carried: &mut Carried) {
    let given = service
        .text
        .last("Service", "WorkingDirectory")
        .unwrap_or_default();
    let directory = given.strip_prefix('-').unwrap_or(given);
    if directory.is_empty() {
        return;
    }
    if !directory.starts_with('/') || directory.contains('%') {
        carried.notes.push(format!(
            "WorkingDirectory={given} is entered when the unit starts, and at no reload: if it is a symlink to a release, set \
             `chdir` in {}",
            service.config
        ));
        return;
    }
    carried.toml.say(
        "WorkingDirectory= of the unit. Each generation enters it anew, so that it may be a symlink to a release.",
        format!("chdir = {}", quoted(directory)),
    );
    if directory != given {
        carried.notes.push(format!(
            "WorkingDirectory={given}: systemd goes on without it if it is missing, and segue does not start the app then"
        ));
    }
}

fn runtime(service: &Service<'_>, carried: &mut Carried) -> Result<(), String> {
    let lists = service.text.list("Service", "RuntimeDirectory");
    let words: Vec<&str> = lists.iter().flat_map(|list| list.split_whitespace()).collect();
    if let Some(word) = words.iter().find(|word| word.contains(['"', '\'', '\\'])) {
        return Err(format!(
            "RuntimeDirectory={word}: quotes and escapes are not carried"
        ));
    }
    let own = format!("segue/{}", service.name);
    // Added to those of the unit: an empty value before it would also take RuntimeDirectoryMode= back.
    carried.service.say(
        "The control socket is in this one, where `segue reload` looks for it.",
        format!("RuntimeDirectory={own}"),
    );
    let preserved = service
        .text
        .last("Service", "RuntimeDirectoryPreserve")
        .unwrap_or_default();
    if preserved != "restart" && boolean(preserved) != Some(true) {
        carried.service.say(
            "What the next supervisor reads to adopt the app stays when this one is killed.",
            "RuntimeDirectoryPreserve=restart",
        );
    }
    let given = given_by_environment(service)?;
    if given.is_some() {
        carried.service.say(
            "The unit says which directory the app finds; segue finds its own.",
            format!("Environment=RUNTIME_DIRECTORY=/run/{own}"),
        );
    }
    let paths: Result<Vec<String>, String> = words.iter().map(|word| path(service, word)).collect();
    let paths = given.unwrap_or(paths?.join(":"));
    if !paths.is_empty() {
        carried
            .tables
            .say("The app finds its own directories only, as before.", "[env]");
        carried
            .tables
            .and(format!("RUNTIME_DIRECTORY = {}", quoted(&paths)));
    }
    Ok(())
}

/// What `Environment=` of the unit sets for `$RUNTIME_DIRECTORY`, which wins over systemd's own.
fn given_by_environment(service: &Service<'_>) -> Result<Option<String>, String> {
    let lines = service.text.list("Service", "Environment");
    let mut given = None;
    for line in lines {
        let assignments = Exec::parse(line).map_err(|why| format!("Environment={line}: {why}"))?;
        for word in assignments.words {
            let word = word.0.trim_matches(['"', '\'']);
            if let Some(path) = word.strip_prefix("RUNTIME_DIRECTORY=") {
                given = Some(path.to_owned());
            }
        }
    }
    match given {
        Some(path) if path.contains(['%', '\\']) => Err(format!(
            "Environment=RUNTIME_DIRECTORY={path}: specifiers and escapes are not carried"
        )),
        given => Ok(given),
    }
}

/// The path of a runtime directory. systemd gives the app the same one.
fn path(service: &Service<'_>, word: &str) -> Result<String, String> {
    let directory = word.split(':').next().unwrap_or_default();
    let mut path = String::from("/run/");
    let mut signs = directory.chars();
    let name = &service.sources.name;
    while let Some(sign) = signs.next() {
        if sign != '%' {
            path.push(sign);
            continue;
        }
        match signs.next() {
            Some('%') => path.push('%'),
            Some('n') => path.push_str(&name.full()),
            Some('N') => path.push_str(&name.stem()),
            Some('p') => path.push_str(&name.prefix),
            Some('i') => path.push_str(name.instance().unwrap_or_default()),
            _ => return Err(format!("RuntimeDirectory={word}: this specifier is not carried")),
        }
    }
    Ok(path)
}
