//! What cannot change while the supervisor lives.

use super::resolve::resolve_now;
use super::rest::Rest;
use super::settings::{Invocation, Word};
use super::{Config, ConfigError, NameOrigin};

/// As [`resolve_now`], for a reload: what was fixed at the start must not have changed.
///
/// A name that was taken from COMMAND stays as it was, even if another program is started now.
///
/// # Errors
///
/// As for [`resolve_now`] and [`changes_refused`].
pub(crate) fn resolve_again(
    invocation: &Invocation,
    running: &Config,
    rest: &mut Rest,
) -> Result<Config, ConfigError> {
    let mut config = resolve_now(invocation, rest)?;
    if let Some(refused) = changes_refused(running, &config) {
        return Err(refused);
    }
    if loses_every_listener(running, &config) {
        return Err(ConfigError::plain(
            "listen: no listener is left; to serve without one takes a new start of segue".to_owned(),
        ));
    }
    config.name.clone_from(&running.name);
    config.name_origin = running.name_origin;
    Ok(config)
}

/// Whether a reload would take the last listener away. Nobody means that; a file that is read while it is being written
/// (empty, or cut short) says it.
fn loses_every_listener(old: &Config, new: &Config) -> bool {
    !old.listen.is_empty() && new.listen.is_empty()
}

/// The first setting that a reload would have to change and cannot: name and control socket are where clients find the
/// instance, and group, pid file and how the log looks are used before anything is served. Ignoring such a change would make
/// the file say something that is not so.
pub(super) fn changes_refused(old: &Config, new: &Config) -> Option<ConfigError> {
    let name = |config: &Config| match config.name_origin {
        NameOrigin::Given => Some(config.name.clone()),
        NameOrigin::Command => None,
    };
    // Giving the name that the instance has anyway changes nothing.
    let renamed = new.name_origin == NameOrigin::Given && new.name != old.name;
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let changes = [
        ("name", renamed.then(|| (Some(old.name.clone()), name(new)))),
        ("control", change(path(&old.control), path(&new.control))),
        (
            "control-group",
            change(old.control_group.clone(), new.control_group.clone()),
        ),
        ("pid-file", change(path(&old.pid_file), path(&new.pid_file))),
        ("log-format", change(word(old.log_format), word(new.log_format))),
        ("log-time", change(word(old.log_time), word(new.log_time))),
    ];
    changes.into_iter().find_map(|(key, change)| {
        let (was, is) = change?;
        let shown = |value: Option<String>| value.unwrap_or_else(|| "the default".to_owned());
        Some(ConfigError::plain(format!(
            "{key} cannot change at a reload (from {} to {}); it takes a new start of segue",
            shown(was),
            shown(is)
        )))
    })
}

/// Both values, if they differ.
type Change = Option<(Option<String>, Option<String>)>;

fn word(value: impl Word) -> Option<String> {
    Some(value.word().to_owned())
}

fn change(old: Option<String>, new: Option<String>) -> Change {
    (old != new).then_some((old, new))
}
