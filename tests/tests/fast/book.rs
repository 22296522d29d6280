//! The pages for people: every link leads somewhere, each page can be read on a narrow screen, and those of `docs/` are in the
//! book.
//!
//! `.ci/more book` builds the book itself, with search; that needs mdbook, which takes minutes to build.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use segue_tests::tree::{files, root};

/// A page: where it lies below the project, and its text.
struct Page {
    path: String,
    text: String,
}

/// Every page of the repository, wherever it lies. Directories that cargo, git and package managers make hold none of ours.
fn pages() -> Vec<Page> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    let page = |path: PathBuf| Page {
        text: std::fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().display().to_string(),
    };
    found.into_iter().map(page).collect()
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let made = ["target", ".git", "node_modules", ".venv"].contains(&name.as_str());
        if path.is_dir() && !path.is_symlink() && !made {
            collect(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn page(name: &str) -> Page {
    let found = pages().into_iter().find(|page| page.path == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

/// The text without blocks of code and without code in a line, a line for a line.
fn prose(text: &str) -> String {
    let mut out = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            out.extend(line.split('`').step_by(2));
        }
        out.push('\n');
    }
    out
}

/// Where the links of a page lead, as written: `[text](target)`, `[label]: target` and `href="target"`.
fn links(page: &Page) -> Vec<String> {
    let prose = prose(&page.text);
    let between = |start: &str, ends: [char; 3]| {
        let parts: Vec<String> = prose
            .split(start)
            .skip(1)
            .filter_map(|rest| rest.split(ends).next())
            .map(str::to_owned)
            .collect();
        parts
    };
    let mut links = between("](", [')', ' ', '\n']);
    links.extend(between("href=\"", ['"', '\n', '>']));
    let labels = prose.lines().filter(|line| line.starts_with('['));
    let labelled = labels.filter_map(|line| line.split_once("]: ")?.1.split(' ').next());
    links.extend(labelled.map(str::to_owned));
    links
}

/// The anchors of a page: its headings as mdbook and GitHub name them, and every id.
fn anchors(text: &str) -> BTreeSet<String> {
    let without_code = text.split("```").step_by(2).collect::<String>();
    let headings = without_code.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| slug(title.trim()))
    });
    let ids = text
        .split("id=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    headings.chain(ids.map(str::to_owned)).collect()
}

fn slug(title: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    };
    title.chars().filter_map(letter).collect()
}

/// The links of a page that lead nowhere, or out of the book.
fn dead(page: &Page) -> Vec<String> {
    let directory = root().join(&page.path).parent().unwrap().to_owned();
    let in_book = page.path.starts_with("docs/");
    let is_dead = |link: &String| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        if link.contains("://") {
            return false;
        }
        let target = match path {
            "" => root().join(&page.path),
            path => directory.join(path),
        };
        let Ok(target) = target.canonicalize() else {
            return true;
        };
        let leaves = in_book && !target.starts_with(root().join("docs").canonicalize().unwrap());
        let text = std::fs::read_to_string(&target).unwrap_or_default();
        leaves || !(anchor.is_empty() || anchors(&text).contains(anchor))
    };
    links(page).into_iter().filter(is_dead).collect()
}

#[test]
fn every_link_leads_somewhere_and_none_out_of_the_book() {
    let pages = pages();
    let all: usize = pages.iter().map(|page| links(page).len()).sum();
    assert!(all > 100, "only {all} links were found");
    for page in &pages {
        assert_eq!(dead(page), Vec::<String>::new(), "{} has dead links", page.path);
    }
}

#[test]
fn a_dead_link_is_found() {
    let dead_in = |text: &str| {
        dead(&Page {
            path: "docs/start.md".to_owned(),
            text: text.to_owned(),
        })
        .len()
    };
    assert_eq!(
        dead_in("[a](start.md), [b](FAULTS.md#missing_file), [c](systemd.md#ten-steps)"),
        0
    );
    assert_eq!(
        dead_in("[a](begin.md), [b](FAULTS.md#lost_file), [c](#ten-steps), [d](../README.md)"),
        4
    );
    assert_eq!(dead_in("<a href=\"begin.md\">a</a>\n\n[b]: begin.md \"b\""), 2);
}

#[test]
fn the_summary_names_every_page_once() {
    let mut named = links(&page("docs/SUMMARY.md"));
    named.sort();
    let there = pages().into_iter().filter_map(|page| {
        let name = page.path.strip_prefix("docs/")?.to_owned();
        (name != "SUMMARY.md").then_some(name)
    });
    let mut there: Vec<String> = there.collect();
    there.sort();
    assert_eq!(named, there, "left: docs/SUMMARY.md, right: docs/");
}

/// The lines that are too long.
fn wide(page: &Page) -> Vec<String> {
    let long = |line: &&str| line.chars().count() > 120;
    page.text.lines().filter(long).map(str::to_owned).collect()
}

/// The cells of all tables, without the code in them.
fn cells(text: &str) -> Vec<String> {
    let prose = prose(text);
    let rows = prose.lines().filter(|line| line.starts_with('|'));
    let of_markdown = rows.flat_map(|row| row.split('|')).map(str::to_owned);
    let of_html = prose.split("<td>").skip(1).filter_map(|rest| {
        let cell = rest.split("</td>").next()?;
        let words: Vec<&str> = cell.split_whitespace().collect();
        let parts = words.join(" ");
        let outside = parts
            .split("<code>")
            .map(|part| part.split("</code>").last().unwrap_or_default());
        Some(outside.collect::<Vec<_>>().join("x"))
    });
    of_markdown.chain(of_html).collect()
}

/// Whether a text has a second sentence.
fn goes_on(text: &str) -> bool {
    let ends = [". ", "? ", "! "].iter().flat_map(|end| text.match_indices(end));
    let mut next = ends.map(|(at, end)| &text[at + end.len()..]);
    next.any(|rest| rest.starts_with(|letter: char| letter.is_ascii_uppercase()))
}

#[test]
fn no_line_is_wide_and_no_cell_longer_than_a_sentence() {
    let pages = pages();
    for name in [
        "docs/ARCHITECTURE.md",
        "docs/LIFECYCLE.md",
        "findings/README.md",
        "app/README.md",
        "SECURITY.md",
    ] {
        assert!(
            pages.iter().any(|page| page.path == name),
            "{name} was not looked at"
        );
    }
    for page in &pages {
        assert_eq!(wide(page), Vec::<String>::new(), "{}", page.path);
        let long: Vec<String> = cells(&page.text)
            .into_iter()
            .filter(|cell| goes_on(cell))
            .collect();
        assert_eq!(
            long,
            Vec::<String>::new(),
            "{}: cells longer than a sentence",
            page.path
        );
    }
}

#[test]
fn a_wide_line_and_a_long_cell_are_found() {
    let page = |text: &str| Page {
        path: "docs/start.md".to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(wide(&page(&"x".repeat(120))).len(), 0);
    assert_eq!(wide(&page(&"x".repeat(121))).len(), 1);
    let long = |text: &str| cells(text).iter().filter(|cell| goes_on(cell)).count();
    assert_eq!(long("| a b. | One; two. |\n| `A. B` | x |"), 0);
    assert_eq!(long("| One. Two. | x |\n"), 1);
    assert_eq!(
        long("<tr><td>One.\nTwo.</td><td><code>One. Two.</code> One.</td></tr>"),
        1
    );
}

/// Words that begin a sentence without naming its subject.
const VAGUE: [&str; 5] = ["What", "Whatever", "Who", "Whoever", "That which"];

/// The sentences of a page that begin with such a word and are no questions. Headings, tables and code are no sentences.
fn vague(text: &str) -> Vec<String> {
    let is_prose = |line: &&str| !line.starts_with(['#', '|', '<']);
    let text = prose(text);
    let kept: Vec<&str> = text
        .lines()
        .map(|line| if is_prose(&line) { line } else { "" })
        .collect();
    let mut found = Vec::new();
    for paragraph in kept.split(|line| line.is_empty()) {
        let words = paragraph.join(" ").replace("**", "").replace("* ", ". ");
        for sentence in words.split_inclusive(['.', '?', '!']) {
            let sentence = sentence.trim();
            let begins = |word: &&&str| {
                sentence
                    .strip_prefix(**word)
                    .is_some_and(|rest| rest.starts_with(' '))
            };
            if VAGUE.iter().any(|word| begins(&word)) && !sentence.ends_with('?') {
                found.push(sentence.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_sentence_names_its_subject() {
    for page in pages() {
        assert_eq!(vague(&page.text), Vec::<String>::new(), "{}", page.path);
    }
    for entry in std::fs::read_dir(root().join("docs/man")).unwrap() {
        let file = entry.unwrap().path();
        // A macro at the beginning of a line ends no sentence.
        let text = std::fs::read_to_string(&file).unwrap().replace("\n.", "\n");
        assert_eq!(vague(&text), Vec::<String>::new(), "{}", file.display());
    }
    assert_eq!(
        vague("It runs. What is left\nends.\n\n## What\n\n* What is it?\n* Who asks, waits.").len(),
        2
    );
}

/// What stands in the sources, with lines that go on put together.
fn sources() -> String {
    let places = ["supervisor", "app/src"].map(|place| files(&root().join(place), "rs"));
    let text: String = places
        .concat()
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let mut joined = String::new();
    for line in text.replace("\\\"", "\"").lines() {
        match line.strip_suffix('\\') {
            Some(begun) => joined.push_str(if joined.ends_with(' ') {
                begun.trim_start()
            } else {
                begun
            }),
            None if joined.ends_with(' ') => joined.extend([line.trim_start(), "\n"]),
            None => joined.extend([line, "\n"]),
        }
    }
    joined
}

/// The parts of a message that are the same each time: words between names, numbers, paths, brackets and dots.
fn parts(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in message
        .replace("...", " 0 ")
        .replace('(', "0 ")
        .replace(')', " 0")
        .split(' ')
    {
        let differs = word.contains(|letter: char| letter.is_ascii_digit() || "/\"=".contains(letter));
        let placeholder = word.len() > 2 && !word.contains(|letter: char| letter.is_ascii_lowercase());
        if differs || placeholder || word == "app" {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(word);
            part.push(' ');
        }
    }
    let part = |part: String| part.trim_matches([' ', ':', ';', ',']).to_owned();
    parts
        .into_iter()
        .map(part)
        .filter(|part| part.len() >= 10 && part.contains(' '))
        .collect()
}

/// The first cell of each row of the page, which is the message.
fn messages() -> Vec<String> {
    let text = page("docs/troubleshooting.md").text;
    let rows = text.split("<tr id=").skip(1);
    let cell = |row: &str| row.split("<td>").nth(1).unwrap_or_default().to_owned();
    let codes = rows.map(cell).flat_map(|cell| {
        let codes = cell.split("<code>").skip(1).map(|code| {
            let code = code.split("</code>").next().unwrap_or_default();
            code.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        codes.collect::<Vec<_>>()
    });
    codes
        .map(|code| {
            code.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
        })
        .collect()
}

/// A reader who looks for a message must find it: a part of each is in the sources, word for word.
#[test]
fn the_messages_of_troubleshooting_are_those_of_the_programs() {
    let sources = sources();
    let messages = messages();
    assert!(messages.len() > 30, "{messages:?}");
    let unsaid = |message: &str| {
        let parts = parts(message);
        !parts.is_empty() && !parts.iter().any(|part| sources.contains(part.as_str()))
    };
    let lost: Vec<_> = messages.iter().filter(|message| unsaid(message)).collect();
    assert!(lost.is_empty(), "no program says this any more: {lost:#?}");
    assert!(unsaid("generation 7 has left the building for good (pid 5)"));
}

/// What the guides show of a program is in its file.
#[test]
fn the_code_of_the_guides_is_that_of_the_examples() {
    let mut compared = BTreeSet::new();
    for page in pages() {
        for block in page.text.split("\n<!-- examples/").skip(1) {
            let (file, rest) = block.split_once(" -->\n```").unwrap();
            let code = rest.split("\n```").next().unwrap_or_default();
            let (_, code) = code.split_once('\n').unwrap_or_default();
            let source = std::fs::read_to_string(root().join("examples").join(file)).unwrap();
            assert!(
                source.contains(code),
                "{} shows what is not in examples/{file}:\n{code}",
                page.path
            );
            compared.insert(file.to_owned());
        }
    }
    for file in ["go/main.go", "node/server.js", "python/server.py"] {
        assert!(compared.contains(file), "no guide shows examples/{file}");
    }
}
