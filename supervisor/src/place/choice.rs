//! The choice of a place: which names an instance may have, and the first directory that can be used.

use std::path::{Path, PathBuf};

use super::surroundings::{Base, Owner, Surroundings};
use super::{NOTIFY_ENDING, Place, PlaceError, directory, discover};

/// The longest instance name, in bytes: with it `/run/segue/NAME.notify/...` still fits in a socket address.
const NAME_MAX: usize = 64;

/// Chooses the place of the instance `name` and makes its directories (0700; the notify directory comes with
/// [`Place::claim`]).
///
/// # Errors
/// If the name is no file name, a path does not fit in a socket address, or no directory can be had that is
/// safe: ours, and not writable by others.
pub(crate) fn choose(name: &str, control: Option<&Path>, around: &Surroundings) -> Result<Place, PlaceError> {
    check_name(name)?;
    if let Some(control) = control {
        return explicit(name, control, around);
    }
    if let Some(dir) = &around.runtime_directory {
        directory::given(dir, around.walk_mode())?;
        return Place::given(name, dir.join("control"), |file| dir.join(file)).check_lengths();
    }
    let mut tried = Vec::new();
    for base in discover::homes(name, around).into_iter().chain(around.bases()) {
        match in_base(name, &base, around) {
            Ok(place) => return Ok(place),
            Err(error) => {
                let error = error.to_string();
                // A home may be one of the bases, too.
                if !tried.contains(&error) {
                    tried.push(error);
                }
            }
        }
    }
    Err(PlaceError::Nowhere { tried })
}

/// Why no instance may have this name, if none may. It becomes a component of paths, so it has 1 to [`NAME_MAX`] bytes of letters,
/// digits, `.`, `_`, `@`, `+` and `-`, starts with a letter or digit, and does not end like a notify directory.
pub(crate) fn flaw_of_name(name: &str) -> Option<String> {
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let goes_on = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    if !starts || !name.bytes().all(goes_on) {
        Some(
            "a name starts with a letter or digit and goes on with letters, digits, `.`, `_`, `@`, `+` or `-`"
                .to_owned(),
        )
    } else if name.len() > NAME_MAX {
        Some(format!("a name has at most {NAME_MAX} bytes"))
    } else if name.ends_with(NOTIFY_ENDING) {
        Some(format!(
            "a name does not end in `{NOTIFY_ENDING}`, which marks the directories of notify sockets"
        ))
    } else {
        None
    }
}

pub(super) fn check_name(name: &str) -> Result<(), PlaceError> {
    match flaw_of_name(name) {
        Some(why) => Err(PlaceError::BadName {
            name: name.escape_default().to_string(),
            why,
        }),
        None => Ok(()),
    }
}

fn explicit(name: &str, control: &Path, around: &Surroundings) -> Result<Place, PlaceError> {
    let control = std::path::absolute(control)
        .map_err(|error| PlaceError::io(format!("control socket {}", control.display()), &error))?;
    let beside = |ending: &str| {
        let mut path = control.clone().into_os_string();
        path.push(".");
        path.push(ending);
        PathBuf::from(path)
    };
    let place = Place::given(name, control.clone(), beside).check_lengths()?;
    directory::given(control.parent().unwrap_or(&around.root), around.walk_mode())?;
    Ok(place)
}

fn in_base(name: &str, base: &Base, around: &Surroundings) -> Result<Place, PlaceError> {
    let place = Place::in_base(name, &base.path).check_lengths()?;
    let base_mode = match base.owner {
        Owner::System => 0o755,
        Owner::Private => around.walk_mode(),
    };
    directory::own(&base.path, directory::Mode::AtLeast(base_mode))?;
    // As it is if it is there: it may be that of an instance which runs and is open to its control group.
    directory::own(&base.path.join(name), directory::Mode::AtLeast(0o700))?;
    Ok(place)
}
