//! The place of a Unix socket: a path, or a name in the abstract name space.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::AddressError;

/// Longest path of a Unix socket in bytes: `sun_path` holds 108 with the final NUL (unix(7)).
pub(crate) const SUN_PATH_MAX: usize = 107;

/// A path, or an abstract name. Always text without control characters and commas, so that it can be shown in one
/// line and written in a `--listen`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum UnixPath {
    /// A path as it was written, relative ones included (relative to the supervisor's working directory).
    Path(PathBuf),
    /// A name without the `@`: it lives in the kernel alone, and everybody on this machine may connect.
    Abstract(String),
}

impl FromStr for UnixPath {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.contains(',') {
            return Err(AddressError::new(
                "a path may not contain a comma, which begins the options",
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(AddressError::new("a path may not contain control characters"));
        }
        let name = text.strip_prefix('@');
        let length = name.unwrap_or(text).len();
        if length > SUN_PATH_MAX {
            return Err(AddressError::new(format!(
                "path too long ({length} bytes, a unix socket takes {SUN_PATH_MAX})"
            )));
        }
        match name {
            Some("") => Err(AddressError::new(
                "the abstract name is missing (write unix:@NAME)",
            )),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if text.is_empty() => Err(AddressError::new("the path is missing (write unix:PATH)")),
            None if text.ends_with('/') || text.ends_with("/.") || text.ends_with("/..") => {
                Err(AddressError::new("the path names a directory"))
            }
            None if text == "." || text == ".." => Err(AddressError::new("the path names a directory")),
            None => Ok(Self::Path(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for UnixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}
