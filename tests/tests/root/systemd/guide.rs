//! `docs/systemd.md` is true: its console blocks are played on a fresh machine, in their order, and what they print is compared
//! with what the page shows. Numbers and dates may differ; a line `...` stands for any lines.
//!
//! `SEGUE_BLESS=1` writes what was printed into the page.

use std::fmt::Write as _;
use std::path::Path;

use segue_tests::binaries::Binary;
use segue_tests::machine::{Below, Machine};
use segue_tests::needs::{self, or_skip};

use super::site::{DEPLOY, UNITS};

/// The page, beside this package.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/systemd.md");

/// Where the page begins a block that is played, and what a block's commands begin with: root's prompt.
const BLOCK: &str = "```console";
const PROMPT: &str = "# ";
const CONTINUED: &str = "> ";

/// Stands for any lines.
const ELLIPSIS: &str = "...";

/// The directory in which the page begins: Segue, built.
const BUILT: &str = "/root/segue";

#[derive(Default)]
struct Command {
    text: String,
    expected: Vec<String>,
}

fn commands(block: &[&str]) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    for line in block {
        if let Some(text) = line.strip_prefix(PROMPT) {
            found.push(Command {
                text: text.to_owned(),
                ..Command::default()
            });
            continue;
        }
        let last = found.last_mut().expect("a block begins with a command");
        match line.strip_prefix(CONTINUED) {
            Some(more) if last.expected.is_empty() => {
                last.text.push('\n');
                last.text.push_str(more);
            }
            _ => expect(&mut last.expected, line),
        }
    }
    found
}

/// Where the page breaks a line that is too wide for it, as a shell would have it; what follows is indented.
const BROKEN: &str = " \\";

/// How wide the page may be.
const WIDTH: usize = 120;

/// Add a line of the page to what is expected: a line of its own, or the rest of one that is broken.
fn expect(expected: &mut Vec<String>, line: &str) {
    match expected.last_mut() {
        Some(begun) if begun.ends_with(BROKEN) => {
            begun.truncate(begun.len() - BROKEN.len() + 1);
            begun.push_str(line.trim_start());
        }
        _ => expected.push(line.to_owned()),
    }
}

/// Break a printed line at spaces into lines that the page has room for.
fn broken(line: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let width = word.chars().count();
        if column > 0 && column + width + BROKEN.len() > WIDTH && line.chars().count() > WIDTH {
            text.truncate(text.trim_end().len());
            text.push_str(BROKEN);
            text.push_str("\n    ");
            column = 4;
        }
        text.push_str(word);
        column += width;
    }
    text
}

#[test]
fn a_wide_line_is_broken_and_put_together_again() {
    let wide = "word ".repeat(60).trim_end().to_owned();
    let shown = broken(&wide);
    assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let mut expected = Vec::new();
    shown.lines().for_each(|line| expect(&mut expected, line));
    assert_eq!(expected, [wide]);
    let narrow = "a  line with   columns";
    assert_eq!(broken(narrow), narrow);
}

/// One shell for the block, so that what it starts in the background belongs to it.
fn play(machine: &Machine, commands: &[Command]) -> Vec<Vec<String>> {
    const MARK: &str = "--- end of a command ---";
    let mut script = format!("cd {BUILT}\nexport HOME=/root\n");
    for command in commands {
        let _ = write!(script, "{}\necho '{MARK}'\n", command.text);
    }
    machine.write("/root/block", &script);
    let done = machine.run(&["bash", "-c", "exec bash /root/block 2>&1"]);
    let mut printed: Vec<Vec<String>> = vec![Vec::new()];
    for line in done.stdout.lines() {
        match line.strip_suffix(MARK) {
            Some(rest) => {
                let last = printed.last_mut().unwrap();
                last.extend((!rest.is_empty()).then(|| rest.to_owned()));
                printed.push(Vec::new());
            }
            None => printed.last_mut().unwrap().push(line.trim_end().to_owned()),
        }
    }
    printed.truncate(commands.len());
    printed
}

/// The line without what differs from run to run: numbers with their units, dates, widths of columns.
fn shape(line: &str) -> String {
    const NAMES: [&str; 19] = [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
        "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = String::new();
    for word in line.split_inclusive(|letter: char| !letter.is_alphanumeric()) {
        let bare = word.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        if bare.chars().any(|letter| letter.is_ascii_digit()) {
            words.push('0');
        } else if NAMES.contains(&bare) {
            words.push('D');
        } else {
            words.push_str(bare);
        }
        words.push_str(&word[bare.len()..]);
    }
    let mut shape = words.split_whitespace().collect::<Vec<_>>().join(" ");
    for (long, short) in [("0.0", "0"), ("0 0", "0")] {
        while shape.contains(long) {
            shape = shape.replace(long, short);
        }
    }
    shape
}

/// Whether two lines say the same but for their numbers, and with one connection where the other has several.
fn is_alike(one: &str, other: &str) -> bool {
    let singular = |line: &str| {
        let nouns = ["connections", "requests", "answers"];
        let one = |line: String, noun: &str| line.replace(noun, noun.trim_end_matches('s'));
        nouns.into_iter().fold(shape(line), one)
    };
    singular(one) == singular(other)
}

fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == ELLIPSIS => {
            (0..=printed.len()).any(|skipped| matches(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| is_alike(first, line) && matches(rest, others)),
    }
}

fn prepare(machine: &Machine) {
    for binary in [Binary::Segue, Binary::SeguePoll, Binary::App] {
        let path = binary.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        machine.install(&path, &format!("{BUILT}/target/release/{name}"));
    }
    machine.install(Path::new(DEPLOY), &format!("{BUILT}/deploy.sh"));
    for file in [
        "segue@.service",
        "segue@.socket",
        "segue-cleanup@.service",
        "segue-recheck@.service",
        "segue-tmp@.service",
        "drop-ins/notify-reload.conf",
    ] {
        let text = std::fs::read_to_string(Path::new(UNITS).join(file)).unwrap();
        machine.write(&format!("{BUILT}/systemd/{file}"), &text);
    }
}

#[test]
fn the_guide_is_true() {
    if !needs::whole_system("the_guide_is_true") {
        return;
    }
    let Some(machine) = or_skip("the_guide_is_true", Machine::boot(Below::Trixie)) else {
        return;
    };
    prepare(&machine);
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (mut blessed, mut wrong, mut played) = (String::new(), Vec::new(), 0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(blessed, "{line}");
        if line != BLOCK {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let commands = commands(&block);
        let printed = machine.in_its_network(|| play(&machine, &commands));
        for (number, command) in commands.iter().enumerate() {
            let nothing = Vec::new();
            let printed = printed.get(number).unwrap_or(&nothing);
            let _ = writeln!(
                blessed,
                "{PROMPT}{}",
                command.text.replace('\n', &format!("\n{CONTINUED}"))
            );
            let right = matches(&command.expected, printed);
            if !right {
                wrong.push(format!(
                    "{}\n  page: {:#?}\n  now:  {printed:#?}",
                    command.text, command.expected
                ));
            }
            // All of the page is from one run, but for what somebody shortened.
            let shortened = command.expected.iter().any(|line| line == ELLIPSIS);
            let shown = if right && shortened {
                &command.expected
            } else {
                printed
            };
            shown
                .iter()
                .for_each(|line| writeln!(blessed, "{}", broken(line)).unwrap());
            played += 1;
        }
        blessed.push_str("```\n");
    }
    if std::env::var_os("SEGUE_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(PAGE, blessed).unwrap();
        return;
    }
    assert!(played > 10, "only {played} commands were found");
    assert!(
        wrong.is_empty(),
        "docs/systemd.md shows what is not so:\n{}",
        wrong.join("\n")
    );
}
