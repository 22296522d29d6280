//! segue(1): every command, its own options, those that say which instance is meant, exit status, metrics; and that no
//! page speaks of an option that no command has.

use std::collections::BTreeSet;

use segue_tests::mdoc::{Page, options_in};
use segue_tests::program::Program;
use segue_tests::segue::Setup;

use super::help;
use super::pages::{ALL, assert_finds, assert_none, compare, names, page, source};
use super::programs;

const SEGUE: &str = "segue(1)";

/// `run` and `deploy` have pages of their own, and `help` is the help.
fn commands_here() -> BTreeSet<String> {
    let mut commands = help::commands();
    assert!(commands.remove("run") && commands.remove("deploy") && commands.remove("help"));
    commands
}

fn commands(page: &Page) -> Vec<String> {
    let titles = page
        .subsections
        .iter()
        .filter(|(section, _)| section == "COMMANDS");
    let documented = titles.filter_map(|(_, title)| title.split(' ').nth(1));
    compare(SEGUE, "the command {}", &names(documented), &commands_here())
}

#[test]
fn every_command_is_in_the_page() {
    assert_none(&commands(&page("segue.1")));
    assert_finds(
        &source("segue.1"),
        ".Ss segue check",
        ".Ss segue rewind",
        commands,
    );
}

/// The options of a command that are its own.
fn own_options(page: &Page) -> Vec<String> {
    let instance = names(page.section("WHICH INSTANCE").flat_map(|item| item.options()));
    let run = names(help::options("run").keys());
    let mut complaints = Vec::new();
    for command in commands_here() {
        let real = help::options(&command);
        let shared = match command.as_str() {
            // It takes all that segue-run(8) tells of.
            "check" | "dev" => &run,
            "completions" | "exec" | "init" | "list" => &BTreeSet::new(),
            _ => &instance,
        };
        let title = |title: &str| title.split(' ').nth(1) == Some(&command);
        let items = page.section("COMMANDS").filter(|item| title(&item.subsection));
        let own = names(items.flat_map(|item| item.options()));
        let documented = own.union(shared).cloned().collect();
        let what = format!("the option --{{}} of segue {command}");
        complaints.extend(compare(SEGUE, &what, &documented, &names(real.keys())));
    }
    complaints
}

#[test]
fn every_option_of_a_command_is_in_the_page() {
    assert_none(&own_options(&page("segue.1")));
    let segue = source("segue.1");
    assert_finds(&segue, ".It Fl Fl drained", ".It Fl Fl dried", own_options);
    assert_finds(&segue, ".It Fl Fl timeout ", ".It Fl Fl patience ", own_options);
}

fn defaults(page: &Page) -> Vec<String> {
    let help = help::options("reload");
    let items = page.section("WHICH INSTANCE").chain(page.section("COMMANDS"));
    let wrong = items.flat_map(|item| {
        let wrong = |option: &String| {
            let real = help.get(option).and_then(Option::as_deref);
            real.is_some() && real != item.default()
        };
        item.options().into_iter().filter(wrong).collect::<Vec<_>>()
    });
    wrong
        .map(|option| format!("{SEGUE}: the default of --{option} is another"))
        .collect()
}

#[test]
fn the_defaults_of_the_commands_are_those_of_the_help() {
    assert_none(&defaults(&page("segue.1")));
    let changed = source("segue.1").replace("Default: none.", "Default: 5s.");
    assert!(!defaults(&Page::parse(&changed)).is_empty());
}

fn exit_status(page: &Page) -> Vec<String> {
    let documented = names(page.section("EXIT STATUS").map(|item| &item.head));
    let all = commands_here().into_iter().chain([String::new()]);
    let real = all
        .flat_map(|command| help::list(&command, "Exit codes"))
        .collect();
    compare(SEGUE, "the exit status {}", &documented, &real)
}

#[test]
fn every_exit_status_is_in_the_page() {
    assert_none(&exit_status(&page("segue.1")));
    assert_finds(&source("segue.1"), ".It 4\n", ".It 5\n", exit_status);
}

#[test]
fn every_shell_is_in_the_page() {
    let help = help::text("completions");
    let shells = help.split_once("[possible values: ").map_or("", |(_, rest)| rest);
    let shells = shells.split_once(']').map_or("", |(list, _)| list);
    let prose = page("segue.1").prose;
    for shell in shells.split(", ") {
        assert!(
            prose.lines().any(|line| line
                .split(' ')
                .any(|word| word.trim_end_matches([',', '.']) == shell)),
            "{SEGUE} does not document the shell {shell:?}"
        );
    }
}

#[test]
fn every_metric_is_in_the_page() {
    let segue = Setup::new(Program::app()).start();
    segue.reload_ok(&[]);
    let metrics = segue.run("metrics", &[]).stdout;
    segue.stop();
    let real = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let real = names(real.filter_map(|line| line.split(' ').next()));
    let check = |page: &Page| {
        let items = page.subsection("COMMANDS", "segue metrics");
        compare(
            SEGUE,
            "the metric {}",
            &names(items.map(|item| &item.head)),
            &real,
        )
    };
    assert_none(&check(&page("segue.1")));
    assert_finds(
        &source("segue.1"),
        ".It Ic segue_info",
        ".It Ic segue_inform",
        check,
    );
}

fn invented_options(page: &str, prose: &str) -> Vec<String> {
    let all = help::commands().into_iter().filter(|command| command != "help");
    let mut real: BTreeSet<String> = all
        .flat_map(|command| help::options(&command).into_keys())
        .collect();
    real.extend(names(["help", "version", "check"]));
    real.extend(programs::options());
    let documented = names(options_in(prose));
    let invented = documented.difference(&real);
    invented
        .map(|option| format!("{page} speaks of --{option}, which no command has"))
        .collect()
}

#[test]
fn no_page_speaks_of_an_option_that_no_command_has() {
    for name in ALL {
        assert_none(&invented_options(name, &page(name).prose));
    }
    assert_eq!(invented_options("x", "--settled and --sittled").len(), 1);
}
