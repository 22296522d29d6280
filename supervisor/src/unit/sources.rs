//! Which files make up a unit (systemd.unit(5)): its own and its drop-ins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::name::UnitName;
use super::show;
use crate::sys::errno_text;

/// Where systemd looks for the units of the system, the strongest first. `/lib` is a directory of its own on old machines.
const SEARCH_PATH: [&str; 13] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];

/// It is there while systemd is the init of this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// So many symlinks are followed, as by the kernel.
const MOST_LINKS: usize = 40;

/// The files of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// The name that the unit has, not one of its aliases.
    pub(crate) name: UnitName,
    /// The file, and the drop-ins that count, in the order in which systemd reads them.
    files: Vec<PathBuf>,
    /// Whether systemd says that a file has changed since it was loaded.
    pub(crate) is_stale: bool,
    /// Where others of the same place are found.
    place: Place,
}

/// Where units are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The systemd that runs here is asked.
    Manager,
    /// Directories of a file system below `root`, the strongest first.
    Directories { root: PathBuf, search: Vec<PathBuf> },
}

/// What lies in a directory by the name of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    File(PathBuf),
    /// Something that says that there is none.
    Mask(PathBuf),
}

impl Sources {
    /// Find a unit: a path to its file, or its name. A path counts with the drop-ins that lie beside the file; a name with those
    /// that systemd has loaded, or, if none runs here or `root` is another than `/`, with those in the directories where it
    /// would look.
    ///
    /// # Errors
    /// One line: there is no such unit, it is masked, or its name is none.
    pub(crate) fn find(unit: &str, root: &Path) -> Result<Self, String> {
        if unit.contains('/') {
            let path = Path::new(unit);
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let directory = path.parent().unwrap_or(Path::new("/"));
            let place = Place::Directories {
                root: root.to_owned(),
                search: vec![directory.to_owned()],
            };
            return place.find(&UnitName::parse(name)?);
        }
        let name = UnitName::parse(unit)?;
        let is_here = root == Path::new("/");
        if is_here && Path::new(BOOTED).is_dir() {
            return Place::Manager.find(&name);
        }
        let place = Place::Directories {
            root: root.to_owned(),
            search: SEARCH_PATH.iter().map(|directory| root.join(directory)).collect(),
        };
        place.find(&name)
    }

    /// The file, then the drop-ins.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Another unit of the same place; `None` if there is none, or it is masked, which is how somebody says so.
    ///
    /// # Errors
    /// One line: it is there, and cannot be read.
    pub(crate) fn neighbour(&self, name: &UnitName) -> Result<Option<Self>, String> {
        match &self.place {
            Place::Manager => match show::sources(&name.full()) {
                Ok(shown) => Ok(Some(self.place.shown(shown)?)),
                Err(why) if why == show::NOT_FOUND || why == show::MASKED => Ok(None),
                Err(why) => Err(why),
            },
            Place::Directories { .. } => match self.place.entry_of(name)? {
                Some(Entry::File(_)) => self.place.find(name).map(Some),
                Some(Entry::Mask(_)) | None => Ok(None),
            },
        }
    }

    /// Whether somebody has enabled or started a unit of the same place, so that it is in use without this one.
    ///
    /// # Errors
    /// One line: systemd does not answer.
    pub(crate) fn is_in_use(&self, name: &UnitName) -> Result<bool, String> {
        let Place::Directories { search, .. } = &self.place else {
            return show::is_in_use(&name.full());
        };
        let entries = search.iter().flat_map(fs::read_dir).flatten().flatten();
        let mut wanted = entries.filter_map(|entry| {
            let path = entry.path();
            let is_list = path
                .extension()
                .is_some_and(|ending| ending == "wants" || ending == "requires");
            is_list.then(|| path.join(name.full()))
        });
        Ok(wanted.any(|link| fs::symlink_metadata(link).is_ok()))
    }

    /// Whether a unit is installed here, whatever the path by which this one was named.
    ///
    /// # Errors
    /// One line: systemd does not answer.
    pub(crate) fn has(&self, name: &str) -> Result<bool, String> {
        let Place::Directories { root, search } = &self.place else {
            return Ok(self.neighbour(&UnitName::parse(name)?)?.is_some());
        };
        let installed = SEARCH_PATH.iter().map(|directory| root.join(directory));
        let everywhere = Place::Directories {
            root: root.clone(),
            search: search.iter().cloned().chain(installed).collect(),
        };
        let entry = everywhere.entry_of(&UnitName::parse(name)?)?;
        Ok(matches!(entry, Some(Entry::File(_))))
    }

    /// The names of the socket units here that may belong to another service than that of their name.
    ///
    /// # Errors
    /// One line: systemd does not answer.
    pub(crate) fn sockets_around(&self) -> Result<Vec<UnitName>, String> {
        let names = match &self.place {
            Place::Manager => show::triggers(&self.name.full())?,
            Place::Directories { search, .. } => {
                let entries = search.iter().flat_map(fs::read_dir).flatten().flatten();
                entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()
            }
        };
        let mut sockets: Vec<UnitName> = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(".socket")) {
            let Ok(name) = UnitName::parse(name) else { continue };
            if !name.is_template() && !sockets.contains(&name) {
                sockets.push(name);
            }
        }
        sockets.sort_by_key(UnitName::full);
        Ok(sockets)
    }
}

impl Place {
    fn find(&self, name: &UnitName) -> Result<Sources, String> {
        let Place::Directories { root, .. } = self else {
            return self.shown(show::sources(&name.full())?);
        };
        let file = match self.entry_of(name)? {
            Some(Entry::File(file)) => file,
            Some(Entry::Mask(path)) => return Err(format!("{} is masked", path.display())),
            None => return Err("no such file or directory".to_owned()),
        };
        // An alias: systemd knows the unit by the name that its file has.
        let real = follow(root, &file)?;
        let told = real.file_name().and_then(|real| real.to_str());
        let own = told.and_then(|told| UnitName::parse(told).ok());
        let own = match own {
            Some(own) if own.is_template() => own.with_instance(name.instance()),
            Some(own) => own,
            None => name.clone(),
        };
        let mut names = own.drop_in_names();
        names.extend(name.drop_in_names());
        let mut files = vec![real];
        files.extend(self.drop_ins(&names)?);
        Ok(Sources {
            name: own,
            files,
            is_stale: false,
            place: self.clone(),
        })
    }

    fn shown(&self, shown: show::Shown) -> Result<Sources, String> {
        Ok(Sources {
            name: UnitName::parse(&shown.id)?,
            files: shown.files,
            is_stale: shown.is_stale,
            place: self.clone(),
        })
    }

    /// What there is of a unit: by its own name, or by that of the template of which it is an instance.
    fn entry_of(&self, name: &UnitName) -> Result<Option<Entry>, String> {
        let Place::Directories { root, search } = self else {
            return Ok(None);
        };
        let names = [Some(name.full()), name.template()];
        for name in names.into_iter().flatten() {
            for directory in search {
                let path = directory.join(&name);
                match is_masked(root, &path) {
                    Ok(true) => return Ok(Some(Entry::Mask(path))),
                    Ok(false) => return Ok(Some(Entry::File(path))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(format!("{}: {}", path.display(), errno_text(error))),
                }
            }
        }
        Ok(None)
    }

    /// The drop-ins in `NAME.d` of all names, by file name. Of two with one file name, that of the name and directory that comes
    /// first counts.
    fn drop_ins(&self, names: &[String]) -> Result<Vec<PathBuf>, String> {
        let Place::Directories { root, search } = self else {
            return Ok(Vec::new());
        };
        let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for name in names {
            for directory in search {
                // Most units have none.
                let entries = fs::read_dir(directory.join(format!("{name}.d")));
                for entry in entries.into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.extension().is_some_and(|extension| extension == "conf") {
                        found.entry(entry.file_name()).or_insert(path);
                    }
                }
            }
        }
        let mut paths = Vec::new();
        for path in found.into_values() {
            let masked = is_masked(root, &path);
            let masked = masked.map_err(|error| format!("{}: {}", path.display(), errno_text(error)))?;
            if !masked {
                paths.push(follow(root, &path)?);
            }
        }
        Ok(paths)
    }
}

/// Whether a file is there to say that there is none: empty, or a symlink to `/dev/null`.
fn is_masked(root: &Path, path: &Path) -> io::Result<bool> {
    fs::symlink_metadata(path)?;
    let real = follow(root, path).map_err(io::Error::other)?;
    if real.ends_with("dev/null") {
        return Ok(true);
    }
    Ok(fs::metadata(real)?.len() == 0)
}

/// The file that a path leads to; absolute symlinks are those of the file system below `root`.
fn follow(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = match target.strip_prefix("/") {
            Ok(below) => root.join(below),
            Err(_) => tidy(&path.parent().unwrap_or(root).join(target)),
        };
    }
    Err(format!("{}: too many symlinks", path.display()))
}

/// The path without `..`, by the names alone.
fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            tidy.pop();
        } else {
            tidy.push(part);
        }
    }
    tidy
}
