//! A segue.toml to begin with: every key of the table of settings, commented out, with what it does and what holds without it.

use crate::config::options::{self, Group};

/// The keys that a first start needs, with a comment and a value that is easy to replace.
const FIRST: [(&str, &str, &str); 2] = [
    (
        "command",
        "The app and its arguments. A name without a slash is looked up in PATH, at each reload.",
        "[\"./app\"]",
    ),
    (
        "listen",
        "Where it listens: \"8080\" is this machine only, \"*:80\" every address, \"unix:app.sock\" a Unix socket.",
        "[\"8080\"]",
    ),
];

/// Tables come last in a file; these are shown by hand.
const TABLES: &str = "\
# Variables of the app's environment.
# [env]
# LOG = \"info\"

# Shell commands that are run at an event; nothing waits for them.
# [on]
# takeover = \"./tell.sh\"
# failure = \"./tell.sh\"
# rollback = \"./tell.sh\"
# drained = \"./tell.sh\"
";

/// The text of the file.
pub(super) fn text() -> String {
    let mut text = String::from(
        "\
# Settings of `segue run`, read again at each reload. Each key is also a flag, which wins over it.
# `segue check` finds mistakes; segue.toml(5) has all of it.
",
    );
    for (key, why, value) in FIRST {
        text.push_str(&format!("\n# {why}\n{key} = {value}\n"));
    }
    for group in [
        Group::Sockets,
        Group::App,
        Group::Handoff,
        Group::Instance,
        Group::Development,
    ] {
        if let Some(title) = group.title() {
            text.push_str(&format!("\n## {title}\n"));
        }
        let keys = options::keys().filter(|key| key.group == group && !key.example.is_empty());
        for key in keys.filter(|key| !FIRST.iter().any(|(first, ..)| *first == key.name)) {
            let default = key.default().map(|default| format!(" [default: {default}]"));
            text.push_str(&format!(
                "\n# {}{}\n# {} = {}\n",
                key.summary,
                default.unwrap_or_default(),
                key.name,
                key.example
            ));
        }
    }
    text.push_str(&format!("\n{TABLES}"));
    text
}
