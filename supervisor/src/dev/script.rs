//! `npm start` without npm: Node closes every fd above 2 before anything of its own runs, so nothing that npm starts has a socket.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// Who runs the scripts of a package.json.
const RUNNERS: [&str; 3] = ["npm", "pnpm", "yarn"];

/// The words by which a script is run, before its name.
const RUN: [&str; 2] = ["run", "run-script"];

/// What this command runs in the end, as npm would: by the shell, in this directory, with what the packages bring first in PATH.
/// `None` if it is no script of a package.json that is there.
pub(super) fn behind(command: &[OsString], directory: &Path, search: &OsStr) -> Option<Vec<OsString>> {
    let words: Vec<&str> = command.iter().map(|word| word.to_str()).collect::<Option<_>>()?;
    let runner = Path::new(words.first()?).file_name()?;
    if !RUNNERS.iter().any(|known| runner == *known) {
        return None;
    }
    let (name, rest) = match &words[1..] {
        [run, name, rest @ ..] if RUN.contains(run) => (*name, rest),
        ["start", rest @ ..] => ("start", rest),
        _ => return None,
    };
    let package = fs::read(directory.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
    let script = package["scripts"][name].as_str()?;
    let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
    let mut path = OsString::from("PATH=");
    path.push(directory.join("node_modules/.bin"));
    path.push(":");
    path.push(search);
    let mut whole: Vec<OsString> = vec!["/usr/bin/env".into(), path, "/bin/sh".into(), "-c".into()];
    if rest.is_empty() {
        whole.push(script.into());
    } else {
        // The arguments follow the script as they are, whatever is in them.
        whole.extend([format!("{script} \"$@\"").into(), "sh".into()]);
        whole.extend(rest.iter().map(OsString::from));
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_run_by_the_shell_and_anything_else_is_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let package = r#"{"scripts": {"start": "node server.js", "dev": "A=1 vite"}}"#;
        fs::write(place.path().join("package.json"), package).unwrap();
        let bin = format!("PATH={}/node_modules/.bin:/bin", place.path().display());
        let behind = |line: &str| {
            let command: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let whole = super::behind(&command, place.path(), "/bin".as_ref())?;
            assert_eq!(
                whole[..4],
                ["/usr/bin/env", &bin, "/bin/sh", "-c"].map(OsString::from)
            );
            let rest = whole[4..].iter().map(|word| word.to_string_lossy());
            Some(rest.collect::<Vec<_>>().join("|"))
        };
        assert_eq!(behind("npm start").as_deref(), Some("node server.js"));
        assert_eq!(behind("/usr/bin/npm run dev").as_deref(), Some("A=1 vite"));
        assert_eq!(
            behind("npm run dev -- --port x").as_deref(),
            Some("A=1 vite \"$@\"|sh|--port|x")
        );
        for line in ["npm run other", "npm install", "node start", "npm", "npm run"] {
            assert_eq!(behind(line), None, "{line}");
        }
    }
}
