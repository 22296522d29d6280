//! segue-run(8): the variables that the app gets, seen by the app itself and by its probe.

use std::collections::BTreeSet;

use segue_tests::http::get_and_close;
use segue_tests::mdoc::Page;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use serde_json::Value;

use super::pages::{assert_finds, assert_none, compare, names, page, source};

fn environment_of_app(segue: &Segue) -> BTreeSet<String> {
    let client = segue.target().connect();
    let response = client.and_then(|mut client| client.ask(&get_and_close("/birth")));
    let birth: Value = serde_json::from_str(&response.unwrap().text()).unwrap();
    names(birth["env"].as_object().unwrap().keys())
}

fn variables(environ: &[u8]) -> BTreeSet<String> {
    let lines = environ.split(|byte| *byte == 0 || *byte == b'\n');
    let name = |line: &[u8]| {
        String::from_utf8_lossy(line)
            .split('=')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    lines.map(name).filter(|name| !name.is_empty()).collect()
}

/// What the app and its probe have and the supervisor has not: on a shared listener, or on a steered one.
fn given() -> BTreeSet<String> {
    let mut given = given_on("127.0.0.1:0");
    given.extend(given_on("127.0.0.1:0,steer"));
    given
}

fn given_on(listener: &str) -> BTreeSet<String> {
    // Without the variable that both would have otherwise.
    let setup = Setup::new(Program::fixture("good")).opened_by(["env", "-u", "PWD"]);
    let setup = setup.listen(listener);
    let seen = setup.path("probe.env");
    let probe = format!("tr '\\0' '\\n' < /proc/$$/environ > {}", seen.display());
    let segue = setup
        .flags(["--chdir", ".", "--watchdog", "1h", "--probe", &probe])
        .start();
    segue.reload_ok(&[]);
    let mut given = environment_of_app(&segue);
    given.extend(variables(&std::fs::read(&seen).unwrap()));
    let pid = segue.status().0["pid"].as_i64().unwrap();
    let own = variables(&std::fs::read(format!("/proc/{pid}/environ")).unwrap());
    segue.stop();
    given.difference(&own).cloned().collect()
}

#[test]
fn every_variable_that_the_app_gets_is_in_the_page() {
    let given = given();
    let check = |page: &Page| {
        let items = page.subsection("ENVIRONMENT", "Of the app");
        let documented = names(items.flat_map(|item| item.names()));
        compare("segue-run(8)", "the variable {}", &documented, &given)
    };
    assert_none(&check(&page("segue-run.8")));
    let run = source("segue-run.8");
    assert_finds(&run, ".It Ev SEGUE_WORKER", ".It Ev SEGUE_SLOT", check);
}
