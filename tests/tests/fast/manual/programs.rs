//! segue-poll(1) and segue-deploy(1): every option, default and exit status, as the help of each program has them. That of deploy.sh
//! ends with that of `segue deploy`.

use std::process::Command;

use segue_tests::binaries::Binary;
use segue_tests::mdoc::Page;

use super::help;
use super::pages::{assert_finds, assert_none, compare, names, page, root, source};

/// A program beside `segue`, with its page.
struct Program {
    page: &'static str,
    /// How the page is called in complaints.
    name: &'static str,
    /// The long help of the program.
    help: String,
}

fn programs() -> [Program; 2] {
    let help = |command: &mut Command| {
        let done = command.arg("--help").output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    [
        Program {
            page: "segue-poll.1",
            name: "segue-poll(1)",
            help: help(&mut Command::new(Binary::SeguePoll.path())),
        },
        Program {
            page: "segue-deploy.1",
            name: "segue-deploy(1)",
            help: help(
                Command::new("sh")
                    .arg(root().join("deploy.sh"))
                    .env("SEGUE", Binary::Segue.path()),
            ),
        },
    ]
}

/// The long options of a program beside `segue`, for pages that speak of them.
pub(crate) fn options() -> Vec<String> {
    let of = |program: Program| help::options_in(&program.help).into_keys().collect::<Vec<_>>();
    programs().into_iter().flat_map(of).collect()
}

impl Program {
    fn options(&self, page: &Page) -> Vec<String> {
        let mut documented = names(page.section("OPTIONS").flat_map(|item| item.options()));
        for common in ["help", "version"] {
            documented.remove(common);
        }
        let real = help::options_in(&self.help);
        assert!(real.len() > 8, "the help was not understood: {real:?}");
        compare(self.name, "the option --{}", &documented, &names(real.keys()))
    }

    fn defaults(&self, page: &Page) -> Vec<String> {
        let real = help::options_in(&self.help);
        let wrong = page.section("OPTIONS").flat_map(|item| {
            let differs = |option: &String| real.get(option).map(Option::as_deref) != Some(item.default());
            let known = item
                .options()
                .into_iter()
                .filter(|option| real.contains_key(option));
            known.filter(differs).collect::<Vec<_>>()
        });
        wrong
            .map(|option| format!("{}: the default of --{option} is another", self.name))
            .collect()
    }

    fn exit_status(&self, page: &Page) -> Vec<String> {
        let documented = names(page.section("EXIT STATUS").flat_map(|item| item.names()));
        let real = help::list_in(&self.help, "Exit codes");
        compare(self.name, "the exit status {}", &documented, &real)
    }
}

#[test]
fn every_option_of_the_programs_beside_segue_is_in_their_pages() {
    for program in programs() {
        assert_none(&program.options(&page(program.page)));
        let item = ".It Fl Fl timeout ";
        let source = source(program.page);
        assert_finds(&source, item, ".It Fl Fl patience ", |page| program.options(page));
    }
}

#[test]
fn the_defaults_of_the_programs_beside_segue_are_those_of_the_help() {
    for program in programs() {
        assert_none(&program.defaults(&page(program.page)));
        let changed = source(program.page).replacen("Default: ", "Default: almost ", 1);
        assert_eq!(program.defaults(&Page::parse(&changed)).len(), 1);
    }
}

#[test]
fn every_exit_status_of_the_programs_beside_segue_is_in_their_pages() {
    for program in programs() {
        assert_none(&program.exit_status(&page(program.page)));
        assert_finds(&source(program.page), ".It 2\n", ".It 7\n", |page| {
            program.exit_status(page)
        });
    }
}
