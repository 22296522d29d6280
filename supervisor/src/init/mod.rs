//! `segue init`: a first segue.toml, or all that takes an existing unit of systemd below segue.
//!
//! Floor 3. It runs in a process of its own and writes files; it starts nothing, and asks nothing of a running instance. What a
//! unit says is read by `unit`; what segue needs of it is said in `carry`.

mod carry;
mod files;
mod starter;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::config::FOUND_FILE;
use crate::place;
use crate::unit::{Sources, UnitText};
use carry::{Carried, Service};
use files::{File, Outcome};

/// Whether files are written or shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Show,
    Write,
}

/// What is told: files or what was done with them on stdout, the rest on stderr.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) output: String,
    pub(crate) notes: Vec<String>,
}

/// Write, or show, a segue.toml for this directory.
///
/// # Errors
/// One line: there is another one, or it cannot be written.
pub(crate) fn starter(act: Act) -> Result<Told, String> {
    let file = File::new(PathBuf::from(FOUND_FILE), starter::text());
    let mut told = Told::default();
    match act {
        Act::Show => told.output.push_str(&file.text),
        Act::Write => {
            told.output.push_str(&file.install()?.text(&file.path));
            told.output.push_str(
                "next: set `command` and `listen` in it; `segue check` finds mistakes, `segue run` starts it\n",
            );
        }
    }
    Ok(told)
}

/// Where segue is called from in a file system that is not this machine's.
const INSTALLED: &str = "/usr/bin/segue";

/// Write, or show, what takes a unit below segue. `segue` is the path of this program; it counts where `root` is `/`.
///
/// # Errors
/// What is in the way, one line each; at least one. Nothing was written then.
pub(crate) fn unit(unit: &str, root: &Path, segue: &Path, act: Act) -> Result<Told, Vec<String>> {
    let named = |why: String| format!("unit {unit}: {why}");
    let one = |why: String| vec![named(why)];
    let name = unit.rsplit('/').next().unwrap_or_default();
    let sources = Sources::find(unit, root).map_err(one)?;
    if !sources.name.is_service() || sources.name.is_template() {
        return Err(one(format!(
            "{name} is no service that runs: name one, such as shop.service or shop@blue.service"
        )));
    }
    let full = sources.name.full();
    let drop_in = |unit: &str| root.join(format!("etc/systemd/system/{unit}.d/{DROP_IN}"));
    let text = UnitText::read(sources.files().filter(|path| !is_ours(path))).map_err(one)?;
    let instance: String = sources.name.stem().replace(['\\', ':'], "-");
    if let Some(flaw) = place::flaw_of_name(&instance) {
        return Err(one(flaw));
    }
    let segue = if root == Path::new("/") {
        segue
    } else {
        Path::new(INSTALLED)
    };
    let segue = segue.to_str().filter(|path| is_plain(path)).ok_or_else(|| {
        one(format!(
            "segue lies at {}, which a unit cannot name plainly",
            segue.display()
        ))
    })?;
    let unreachable = unreachable(segue);
    if let (Some(why), Act::Write) = (&unreachable, act) {
        return Err(one(why.clone()));
    }
    let config = format!("/etc/segue/{instance}.toml");
    let service = Service {
        sources: &sources,
        text: &text,
        name: instance,
        segue,
        config: config.clone(),
    };
    let mut carried = carry::carry(&service).map_err(|refused| {
        refused
            .into_iter()
            .map(|why| format!("cannot carry {full}: {why}"))
            .collect::<Vec<_>>()
    })?;
    if let Some(later) = sources.files().find(|path| is_later(path)) {
        return Err(one(format!(
            "{} is read after {DROP_IN} and could undo it: give it a name before that",
            later.display()
        )));
    }
    carried.notes.extend(unreachable);
    let files = files_of(&full, &carried, root.join(&config[1..]), drop_in);
    let told = match act {
        Act::Show => Ok(shown(&files, &carried)),
        Act::Write => written(&files, &carried, &full, &config, root),
    };
    told.map_err(|why| vec![why])
}

/// Where others than a user's own session often cannot run a program.
const PRIVATE: [&str; 5] = ["/tmp", "/var/tmp", "/home", "/root", "/run/user"];

/// Why a unit may not be able to run segue from where it lies.
fn unreachable(segue: &str) -> Option<String> {
    let place = PRIVATE
        .into_iter()
        .find(|place| Path::new(segue).starts_with(place))?;
    Some(format!(
        "segue lies at {segue}, and a unit with User=, PrivateTmp= or ProtectHome= cannot run what is below {place} (203/EXEC): \
         install it first, as {INSTALLED}, and call that one"
    ))
}

/// The name of the drop-ins. Those of others whose names come later would win over it.
const DROP_IN: &str = "segue.conf";

fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == DROP_IN)
}

/// Whether it is a drop-in that systemd reads after ours.
fn is_later(path: &Path) -> bool {
    let is_drop_in = path.extension().is_some_and(|extension| extension == "conf");
    is_drop_in
        && path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes() > DROP_IN.as_bytes())
}

/// Whether a path means the same in a unit as here.
fn is_plain(path: &str) -> bool {
    path.starts_with('/')
        && path
            .chars()
            .all(|sign| sign.is_ascii_alphanumeric() || "/._+-".contains(sign))
}

/// The segue.toml first: the drop-in of the service, which names it, comes last.
fn files_of(full: &str, carried: &Carried, config: PathBuf, drop_in: impl Fn(&str) -> PathBuf) -> Vec<File> {
    let mut files = vec![File::of_system(
        config,
        format!("{}{}", carried.toml.text(), tables(carried)),
    )];
    for (socket, lines) in &carried.sockets {
        files.push(File::of_system(
            drop_in(socket),
            format!("[Socket]\n{}", lines.text()),
        ));
    }
    let text = format!(
        "[Unit]\n{}\n[Service]\n{}",
        carried.unit.text(),
        carried.service.text()
    );
    files.push(File::of_system(drop_in(full), text));
    files
}

fn tables(carried: &Carried) -> String {
    if carried.tables.is_empty() {
        return String::new();
    }
    format!("\n{}", carried.tables.text())
}

fn shown(files: &[File], carried: &Carried) -> Told {
    let mut told = Told {
        notes: carried.notes.clone(),
        ..Told::default()
    };
    for file in files.iter().rev() {
        told.output
            .push_str(&format!("# {}\n{}\n", file.path.display(), file.text));
    }
    told.notes.push("nothing was written; --write does".to_owned());
    told
}

/// All can be written, or none is.
fn written(files: &[File], carried: &Carried, full: &str, config: &str, root: &Path) -> Result<Told, String> {
    for file in files {
        file.look_below(root)?;
        file.look()?;
    }
    let mut told = Told {
        notes: carried.notes.clone(),
        ..Told::default()
    };
    let mut is_new = false;
    for file in files {
        let outcome = file.install()?;
        is_new |= outcome == Outcome::Written;
        told.output.push_str(&outcome.text(&file.path));
    }
    if is_new && root == Path::new("/") {
        let stays = !carried.toml.text().contains("\ncommand = ");
        let command = if stays { " -- COMMAND" } else { "" };
        told.output
            .push_str(&next(full, &format!("{config} --unit {full}{command}")));
    }
    Ok(told)
}

/// What to type. The stop comes before systemd reads the new units, which say how segue is stopped, not the app. `restart`, since a
/// client may have made the socket unit start the service again in between.
fn next(full: &str, check: &str) -> String {
    format!(
        "next: systemctl stop {full} && systemctl daemon-reload && systemctl restart {full}\n\
         then: segue check --config {check}\n\
         to go back: systemctl stop {full}, remove the files above, systemctl daemon-reload && systemctl restart {full}\n"
    )
}
