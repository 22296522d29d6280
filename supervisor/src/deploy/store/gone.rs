//! What is removed goes out of sight first, and what cannot be removed stays there.

use std::fs;
use std::path::PathBuf;

use super::Store;
use crate::deploy::ending::say;
use crate::deploy::files::{attempt, remove_all};

/// What is to be removed is called so in `releases/`; where that is still there, with a number behind it.
const GONE: &str = ".gone";

impl Store {
    /// Removes a release, out of sight first, so that no half release is ever seen.
    pub(in crate::deploy) fn remove(&self, release: &str) -> Result<(), String> {
        let gone = self.aside();
        let removed = fs::rename(self.release(release), &gone).and_then(|()| remove_all(&gone));
        attempt(format_args!("remove release {release}"), removed)
    }

    /// Removes what a deploy that was killed has left half made. What cannot be removed (a preflight or an app has made it so) is put
    /// aside: it keeps nobody from a deploy.
    pub(in crate::deploy) fn clear(&self) -> Result<(), String> {
        let draft = self.draft();
        let cleared = remove_all(&self.work_directory()).and_then(|()| match remove_all(&draft) {
            Ok(()) => Ok(()),
            Err(_) => fs::rename(&draft, self.aside()),
        });
        attempt("remove what an interrupted deploy has left", cleared)?;
        for gone in self.put_aside() {
            if let Err(cause) = attempt(format_args!("remove {}", gone.display()), remove_all(&gone)) {
                say(cause);
            }
        }
        Ok(())
    }

    /// A name, out of sight, for what is to be removed.
    fn aside(&self) -> PathBuf {
        let further = (1_u32..).map(|number| format!("{GONE}.{number}"));
        let names = std::iter::once(GONE.to_owned()).chain(further);
        let mut paths = names.map(|name| self.releases_directory().join(name));
        let free = paths.find(|path| path.symlink_metadata().is_err());
        free.unwrap_or_else(|| self.releases_directory().join(GONE))
    }

    fn put_aside(&self) -> Vec<PathBuf> {
        let listing = fs::read_dir(self.releases_directory());
        let entries = listing.into_iter().flatten().flatten();
        let gone = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(GONE.as_bytes()));
        gone.map(|entry| entry.path()).collect()
    }
}
