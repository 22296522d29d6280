//! The manual's tables of settings: written from the table, and compared with it.
//!
//! `just pages` writes them; without that the test fails and says so.

use std::path::Path;

use super::super::settings::Settings;
use super::{Given, Group, Setting, Takes, Times, all, dev_flags, keys};

/// Set to write the pages instead of comparing them.
const WRITE: &str = "SEGUE_WRITE_PAGES";

const GROUPS: [Group; 5] = [
    Group::Sockets,
    Group::App,
    Group::Handoff,
    Group::Instance,
    Group::Development,
];

/// A page, and what stands in it between the marks `begin` and `end` of the table of that name.
struct Table {
    page: &'static str,
    name: &'static str,
    make: fn() -> String,
}

const TABLES: [Table; 5] = [
    Table {
        page: "docs/man/segue-run.8",
        name: "options",
        make: options,
    },
    Table {
        page: "docs/man/segue.1",
        name: "development",
        make: development,
    },
    Table {
        page: "docs/man/segue.toml.5",
        name: "keys",
        make: key_items,
    },
    Table {
        page: "docs/man/segue.toml.5",
        name: "example",
        make: example,
    },
    Table {
        page: "docs/reference.md",
        name: "options",
        make: rows,
    },
];

/// `.Ss` and a list of items for each group that has any.
fn lists(groups: &[Group], title: fn(Group) -> &'static str, item: fn(&Setting) -> Option<String>) -> String {
    let mut text = String::new();
    for group in groups {
        let items: String = all()
            .filter(|setting| setting.group == *group)
            .filter_map(item)
            .collect();
        text.push_str(&format!(
            ".Ss {}\n.Bl -tag -width indent\n{items}.El\n",
            title(*group)
        ));
    }
    text
}

/// The default behind the first sentence. In mdoc a sentence ends with its line.
fn with_default(text: &str, setting: &Setting) -> String {
    let mut default = setting.default().map(|default| format!("Default: {default}.\n"));
    let mut page = String::new();
    for line in text.lines() {
        page.push_str(line);
        page.push('\n');
        if line.ends_with('.') {
            page.extend(default.take());
        }
    }
    page
}

/// OPTIONS of segue-run(8).
fn options() -> String {
    let title = |group: Group| group.title().unwrap_or("Sockets and settings");
    let groups = GROUPS.into_iter().filter(|group| *group != Group::Development);
    lists(&groups.collect::<Vec<_>>(), title, |setting| {
        (setting.given != Given::Key).then(|| flag_item(setting))
    })
}

/// What `segue dev` has of its own, in segue(1).
fn development() -> String {
    let own = all().filter(|setting| setting.group == Group::Development);
    let items: String = own.map(flag_item).collect();
    format!(".Bl -tag -width indent\n{items}.El\n")
}

/// An item of a list of flags.
fn flag_item(setting: &Setting) -> String {
    let value = match setting.value {
        "" => String::new(),
        value => format!(" Ar {value}"),
    };
    let head = match setting.manual_head {
        "" => format!("Fl Fl {}{value}", setting.name),
        head => head.to_owned(),
    };
    format!(".It {head}\n{}", with_default(setting.manual, setting))
}

/// KEYS of segue.toml(5). Tables come last in TOML, so listeners do.
fn key_items() -> String {
    let title = |group: Group| group.title().unwrap_or("Listeners");
    let groups = [
        Group::App,
        Group::Handoff,
        Group::Instance,
        Group::Development,
        Group::Sockets,
    ];
    lists(&groups, title, |setting| {
        let text = match setting.key {
            "" => format!("{}.", setting.summary),
            text => text.to_owned(),
        };
        let head = format!("Ic {} No = {}", setting.name, setting.storage.toml());
        let body = with_default(&text, setting);
        (setting.given != Given::Flag).then(|| format!(".It {head}\n{body}"))
    })
}

/// The example of segue.toml(5) that has every key but the tables.
fn example() -> String {
    let mut text = String::new();
    for group in GROUPS.into_iter().skip(1) {
        text.push_str(&format!("# {}\n", group.title().unwrap_or_default()));
        for setting in keys().filter(|setting| setting.group == group && !setting.example.is_empty()) {
            text.push_str(&format!("{} = {}\n", setting.name, setting.example));
        }
        text.push('\n');
    }
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq");
    format!(".Bd -literal -offset indent\n{text}")
}

/// The rows of docs/reference.md.
fn rows() -> String {
    let mut text = String::new();
    for group in GROUPS {
        text.push_str(&format!(
            "\n### {}\n\n",
            match group {
                Group::Development => "Of `segue dev` alone",
                Group::Sockets | Group::App | Group::Handoff | Group::Instance =>
                    group.title().unwrap_or("Sockets and settings"),
            }
        ));
        text.push_str("| option | default | what it does |\n|---|---|---|\n");
        for setting in dev_flags().filter(|setting| setting.group == group) {
            let short = setting
                .short
                .map(|short| format!("-{short}, "))
                .unwrap_or_default();
            let name = format!("{short}--{} {}", setting.name, setting.value);
            let default = setting.default().unwrap_or_default();
            let name = name.trim_end();
            text.push_str(&format!("| `{name}` | {default} | {} |\n", setting.summary));
        }
    }
    text.push('\n');
    text
}

/// The page with the table put in, or why that cannot be done.
fn put(page: &str, table: &Table) -> Result<String, String> {
    let mark = |word| {
        let line = |line: &&str| line.contains(&format!("{word} {}:", table.name));
        let found = page.lines().find(line);
        found.ok_or_else(|| format!("{}: no mark `{word} {}:`", table.page, table.name))
    };
    let (begin, end) = (mark("begin")?, mark("end")?);
    let (before, rest) = page.split_once(begin).ok_or("the first mark is lost")?;
    let (_, after) = rest
        .split_once(end)
        .ok_or("the second mark stands before the first")?;
    Ok(format!("{before}{begin}\n{}{end}{after}", (table.make)()))
}

#[test]
fn the_tables_of_the_manual_are_those_of_the_settings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut outdated = Vec::new();
    for table in &TABLES {
        let path = root.join(table.page);
        let page = std::fs::read_to_string(&path).unwrap();
        let made = put(&page, table).unwrap();
        if made == page {
            continue;
        }
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, made).unwrap();
        } else {
            outdated.push(format!("{} of {}", table.name, table.page));
        }
    }
    assert!(
        outdated.is_empty(),
        "not what config/options says, `just pages` writes them anew: {outdated:?}"
    );
}

#[test]
fn a_table_that_says_something_else_is_found() {
    let table = &TABLES[4];
    let right = format!("<!-- begin options: x -->\n{}<!-- end options: x -->\n", rows());
    assert_eq!(put(&right, table).as_deref(), Ok(right.as_str()));
    let wrong = right.replacen("30s", "31s", 1);
    assert_ne!(put(&wrong, table).as_deref(), Ok(wrong.as_str()));
    assert!(put("no marks", table).is_err());
}

/// Every example is taken, and says the same as a flag with the value that it writes.
#[test]
fn the_examples_are_taken() {
    for setting in keys().filter(|setting| !setting.example.is_empty()) {
        let text = format!("{} = {}\n", setting.name, setting.example);
        let file = super::super::file::parse(Path::new("segue.toml"), &text);
        let file = file.unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        if setting.times() == Times::Many || setting.takes() == Takes::Nothing {
            continue;
        }
        let mut by_flag = Settings::default();
        let value = setting.example.trim_matches(['"', '\'']);
        setting.take(value.as_ref(), &mut by_flag).unwrap();
        assert_eq!(by_flag, file.settings, "{text}");
    }
}
