//! Just enough of mdoc(7) to compare our own man pages with what the programs say: sections, the items of lists, and
//! literal blocks, as plain text. What it makes of a page that uses more of mdoc is nothing to rely on.

use std::collections::BTreeSet;

/// One item of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The `.Sh` that it stands in.
    pub section: String,
    /// The `.Ss` that it stands in; empty if none.
    pub subsection: String,
    /// What is described, as plain text: `--workers N`.
    pub head: String,
    /// The description, as plain text, a line for a line.
    pub body: String,
}

impl Item {
    /// The long options in the head, without their dashes.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        options_in(&self.head)
    }

    /// What the line `Default: VALUE.` says.
    #[must_use]
    pub fn default(&self) -> Option<&str> {
        let line = self
            .body
            .lines()
            .find_map(|line| line.strip_prefix("Default: "))?;
        Some(line.strip_suffix('.').unwrap_or(line))
    }

    /// The parts of a head that names several things: `LISTEN_FDS, LISTEN_PID`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.head.split(", ").map(|name| name.trim().to_owned()).collect()
    }
}

/// The long options in a text, without their dashes.
#[must_use]
pub fn options_in(text: &str) -> Vec<String> {
    let after = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '-')
    });
    let name = |(at, _): (usize, &str)| {
        let rest = &text[at + 2..];
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '-');
        rest[..end.unwrap_or(rest.len())].to_owned()
    };
    after
        .map(name)
        .filter(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect()
}

/// A page, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// All items, in the order of the page.
    pub items: Vec<Item>,
    /// The literal blocks, each with its section.
    pub literals: Vec<(String, String)>,
    /// `.Ss` titles, each with its section.
    pub subsections: Vec<(String, String)>,
    /// Everything but the literal blocks, as plain text.
    pub prose: String,
    /// What `.Xr` refers to: `segue.toml(5)`.
    pub references: BTreeSet<String>,
}

impl Page {
    /// Takes the source of a page apart.
    #[must_use]
    pub fn parse(source: &str) -> Page {
        let mut reader = Reader::default();
        source.lines().for_each(|line| reader.line(line));
        reader.page
    }

    /// The items of a section.
    pub fn section<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.section == section)
    }

    /// The items of a subsection.
    pub fn subsection<'a>(&'a self, section: &'a str, title: &'a str) -> impl Iterator<Item = &'a Item> {
        self.section(section).filter(move |item| item.subsection == title)
    }

    /// The literal blocks of a section.
    pub fn literals_of<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        let of = self.literals.iter().filter(move |(of, _)| of == section);
        of.map(|(_, text)| text.as_str())
    }
}

#[derive(Default)]
struct Reader {
    page: Page,
    section: String,
    subsection: String,
    literal: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if line == ".Ed" {
            if let Some(text) = self.literal.take() {
                self.page.literals.push((self.section.clone(), text));
            }
        } else if line.starts_with(".\\\"") {
            // A comment.
        } else if let Some(text) = &mut self.literal {
            text.push_str(&unescaped(line));
            text.push('\n');
        } else if line.starts_with(".Bd ") {
            self.literal = Some(String::new());
        } else if let Some(title) = line.strip_prefix(".Sh ") {
            self.section = plain(title);
            self.subsection.clear();
        } else if let Some(title) = line.strip_prefix(".Ss ") {
            self.subsection = plain(title);
            self.page
                .subsections
                .push((self.section.clone(), self.subsection.clone()));
        } else if let Some(head) = line.strip_prefix(".It") {
            self.page.items.push(Item {
                section: self.section.clone(),
                subsection: self.subsection.clone(),
                head: plain(head),
                body: String::new(),
            });
            self.prose(&plain(head));
        } else {
            self.text(line);
        }
    }

    fn text(&mut self, line: &str) {
        if let Some(reference) = line.strip_prefix(".Xr ") {
            let mut words = reference.split(' ');
            let name = words.next().unwrap_or_default();
            let chapter = words.next().unwrap_or_default();
            self.page.references.insert(format!("{name}({chapter})"));
        }
        let text = match line.strip_prefix('.') {
            Some(macros) => plain(macros),
            None => unescaped(line),
        };
        self.prose(&text);
        let (section, subsection) = (&self.section, &self.subsection);
        let last = self.page.items.last_mut();
        if let Some(item) = last.filter(|item| item.section == *section && item.subsection == *subsection) {
            item.body.push_str(&text);
            item.body.push('\n');
        }
    }

    fn prose(&mut self, text: &str) {
        self.page.prose.push_str(text);
        self.page.prose.push('\n');
    }
}

/// The macros of a line, without their names: `Fl Fl workers Ar N` is `--workers N`.
fn plain(macros: &str) -> String {
    let mut text = String::new();
    let mut dashes = String::new();
    let mut glue = true;
    for word in macros.split_ascii_whitespace() {
        match word {
            "Fl" => dashes.push('-'),
            "Ns" => glue = true,
            "Ar" | "Bl" | "Cm" | "Em" | "Ev" | "Ic" | "Nm" | "No" | "Pa" | "Ql" | "Sx" | "Sy" | "Xr"
            | "El" | "Pp" | "Op" | "Oo" | "Oc" | "Po" | "Pc" | "Pq" | "Bq" | "-tag" | "-compact" => {}
            "," | "." | ";" | ":" | ")" => {
                text.push_str(word);
                glue = false;
            }
            word => {
                if !glue {
                    text.push(' ');
                }
                text.push_str(&dashes);
                text.push_str(&unescaped(word));
                glue = false;
                dashes.clear();
            }
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    text.replace("\\-", "-")
        .replace("\\(dq", "\"")
        .replace("\\(aq", "'")
        .replace("\\(ga", "`")
        .replace("\\&", "")
        .replace("\\e", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = ".Sh OPTIONS\n.Ss The app\n.Bl -tag\n.It Fl Fl workers Ar N\nHow many.\nDefault: 1.\n\
        .It Fl l , Fl Fl listen Oo Ar NAME Ns = Oc Ns Ar ADDR\nListen, see\n.Xr segue 1 .\n.El\n.Sh EXAMPLES\n\
        .Bd -literal\nsegue run \\-\\-name x\n.Ed\n";

    #[test]
    fn items_have_a_place_a_head_and_a_body() {
        let page = Page::parse(PAGE);
        let items: Vec<_> = page.subsection("OPTIONS", "The app").collect();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].head, "--workers N");
        assert_eq!(items[0].default(), Some("1"));
        assert_eq!(items[1].head, "-l, --listen NAME=ADDR");
        assert_eq!(items[1].options(), ["listen"]);
        assert_eq!(items[1].default(), None);
        assert!(page.references.contains("segue(1)"));
    }

    #[test]
    fn literal_blocks_are_no_prose() {
        let page = Page::parse(PAGE);
        assert_eq!(
            page.literals_of("EXAMPLES").collect::<Vec<_>>(),
            ["segue run --name x\n"]
        );
        assert_eq!(options_in(&page.prose), ["workers", "listen"]);
    }

    #[test]
    fn an_option_is_a_word_of_its_own() {
        assert_eq!(options_in("a--b --c-d=e (--f) ---- --"), ["c-d", "f"]);
    }
}
