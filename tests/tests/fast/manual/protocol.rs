//! segue-protocol(7): its conversations are held with a running supervisor; its words, keys and limits are the real ones.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use segue_tests::mdoc::Page;
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use serde_json::Value;

use super::pages::{assert_finds, assert_none, compare, names, page, read, source};

const PROTOCOL: &str = "segue-protocol(7)";

/// All key paths of an object, as the page writes them: `listeners[].name`. Leaves only, and what is null or empty.
fn paths(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(keys) => {
            for (key, value) in keys {
                let dot = if prefix.is_empty() { "" } else { "." };
                let path = format!("{prefix}{dot}{key}");
                if !value.is_object() || key == "last_reload" {
                    found.insert(path.clone());
                }
                paths(value, &path, found);
            }
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| paths(value, &format!("{prefix}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_status_has_the_keys_of_the_page() {
    let segue = Setup::new(Program::app()).start();
    segue.reload_ok(&["--drained"]);
    let status: Value = serde_json::from_str(&segue.run("status", &["--json"]).stdout).unwrap();
    segue.stop();
    let mut real = BTreeSet::new();
    paths(&status, "", &mut real);
    let check = |page: &Page| {
        let documented = names(page.section("STATUS").map(|item| &item.head));
        compare(PROTOCOL, "the key of the status {}", &documented, &real)
    };
    assert_none(&check(&page("segue-protocol.7")));
    let protocol = source("segue-protocol.7");
    assert_finds(&protocol, ".It Ic rollbacks", ".It Ic rollback", check);
    assert_finds(
        &protocol,
        ".It Ic listeners[].queued",
        ".It Ic listeners[].waiting",
        check,
    );
}

/// What stands behind `>` and what behind `<` in the literal blocks.
fn conversations(page: &Page) -> Vec<(String, Vec<String>)> {
    let conversation = |(_, content): &(String, String)| {
        let said = |mark| {
            let lines = content.lines().filter_map(|line| line.strip_prefix(mark));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        Some((said("> ").first()?.clone(), said("< ")))
    };
    page.literals.iter().filter_map(conversation).collect()
}

/// Numbers and times differ from run to run.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            digit if digit.is_ascii_digit() => {
                if !out.ends_with('#') {
                    out.push('#');
                }
            }
            other => out.push(other),
        }
    }
    out
}

fn ask(segue: &Segue, request: &str) -> Vec<String> {
    let mut stream = UnixStream::connect(segue.control()).unwrap();
    stream.set_read_timeout(Some(segue_tests::patience())).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    BufReader::new(stream).lines().map(Result::unwrap).collect()
}

/// The first reply to a request that is answered without end.
fn first_reply(segue: &Segue, request: &str) -> String {
    let mut stream = UnixStream::connect(segue.control()).unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// The keys of a reply, in their order.
fn keys(reply: &str) -> Vec<String> {
    let reply: serde_json::Map<String, Value> = serde_json::from_str(reply).unwrap();
    reply.keys().cloned().collect()
}

#[test]
fn the_conversations_of_the_page_are_real() {
    let segue = Setup::new(Program::app()).start();
    let mut conversations = conversations(&page("segue-protocol.7"));
    assert!(conversations.len() >= 7, "{conversations:?}");
    // The stop comes last, whatever the order of the page.
    conversations.sort_by_key(|(request, _)| request.contains("stop"));
    for (request, shown) in conversations {
        if request.contains("upgrade") {
            // The worker that was asked for in the conversation before it.
            segue.wait_until("both workers serve", |status| {
                let workers = &status.0["generations"][0]["workers"];
                workers[0]["state"] == "serving" && workers[1]["state"] == "serving"
            });
        }
        if request.contains("events") {
            assert_eq!(
                keys(&first_reply(&segue, &request)),
                keys(&shown[0]),
                "right: {PROTOCOL}"
            );
            continue;
        }
        let replies = ask(&segue, &request);
        if request.contains("status") {
            assert!(replies[0].starts_with(r#"{"reply":"status","schema":1,"name":"app","pid":"#));
            continue;
        }
        // How many words of progress there are is a matter of time; the last word is not.
        let last = |replies: &[String]| replies.last().map(|reply| without_numbers(reply));
        assert_eq!(last(&replies), last(&shown), "right: {PROTOCOL}, after {request}");
    }
    segue.ended();
}

/// The words that a refusal offers: expected one of `a`, `b`.
fn offered(segue: &Segue, request: &str) -> BTreeSet<String> {
    let refused = ask(segue, request).concat();
    let list = refused
        .split_once("expected one of ")
        .map_or("", |(_, list)| list);
    names(list.split('`').skip(1).step_by(2))
}

fn reply_words(segue: &Segue) -> BTreeSet<String> {
    let good = [
        r#"{"request":"reload","until":"drained"}"#,
        r#"{"request":"status"}"#,
        "?",
    ];
    let mut replies: Vec<String> = good.iter().flat_map(|request| ask(segue, request)).collect();
    replies.push(first_reply(segue, r#"{"request":"events"}"#));
    segue.deploy("app", &Program::fixture("crash-at-start"));
    replies.extend(ask(segue, r#"{"request":"reload"}"#));
    let word = |reply: &String| {
        serde_json::from_str::<Value>(reply).unwrap()["reply"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    replies.iter().map(word).collect()
}

#[test]
fn the_words_of_requests_and_replies_are_in_the_page() {
    let setup = Setup::new(Program::new("./app"));
    setup.deploy("app", &Program::app());
    let segue = setup.start();
    let requests = offered(&segue, r#"{"request":"?"}"#);
    let untils = offered(&segue, r#"{"request":"reload","until":"?"}"#);
    let changes = offered(&segue, r#"{"request":"workers","change":{"?":1}}"#);
    let replies = reply_words(&segue);
    segue.stop();
    assert!(requests.len() >= 4 && untils.len() >= 4 && changes.len() >= 3 && replies.len() >= 5);
    let check = |page: &Page| {
        let titles = page
            .subsections
            .iter()
            .filter(|(section, _)| section == "REQUESTS");
        let heads = |section: &'static str| names(page.section(section).map(|item| &item.head));
        let offered_changes = changes
            .iter()
            .filter(|change| page.prose.contains(&format!("{{\"{change}\":N}}")));
        [
            compare(
                PROTOCOL,
                "the request {}",
                &names(titles.map(|(_, title)| title)),
                &requests,
            ),
            compare(PROTOCOL, "until {}", &heads("REQUESTS"), &untils),
            compare(PROTOCOL, "the reply {}", &heads("REPLIES"), &replies),
            compare(PROTOCOL, "the change {}", &names(offered_changes), &changes),
        ]
        .concat()
    };
    assert_none(&check(&page("segue-protocol.7")));
    let protocol = source("segue-protocol.7");
    assert_finds(&protocol, ".Ss workers", ".Ss processes", check);
    assert_finds(&protocol, ".It Cm settled", ".It Cm trusted", check);
    assert_finds(&protocol, ".It Cm refused", ".It Cm denied", check);
}

/// The words that an app may say, from the source that reads them.
#[test]
fn the_words_of_an_app_are_in_the_page() {
    let reader = read("supervisor/src/readiness/message.rs");
    let literals = reader
        .split("b\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let keys = names(
        literals
            .filter_map(|literal| literal.split_once('='))
            .map(|(key, _)| key),
    );
    assert!(keys.len() >= 8, "the source was not understood: {keys:?}");
    let check = |page: &Page| {
        let items = page.subsection("THE APP'S SIDE", "Messages");
        let documented = names(
            items
                .filter_map(|item| item.head.split_once('='))
                .map(|(key, _)| key),
        );
        compare(PROTOCOL, "the message {}", &documented, &keys)
    };
    assert_none(&check(&page("segue-protocol.7")));
    assert_finds(
        &source("segue-protocol.7"),
        ".It Cm ERRNO=",
        ".It Cm ERROR=",
        check,
    );
}

#[test]
fn the_limits_of_the_page_are_those_of_the_source() {
    let page = page("segue-protocol.7");
    let limits: Vec<_> = page
        .subsection("CONTROL SOCKET", "Limits")
        .map(|item| item.head.as_str())
        .collect();
    let number = |at: usize| limits[at].split(' ').next().unwrap_or_default();
    let control = read("supervisor/src/control/mod.rs") + &read("supervisor/src/control/room.rs");
    let session = read("supervisor/src/protocol/mod.rs") + &read("supervisor/src/control/session.rs");
    let constant = |name: &str, value: &str| {
        let line = (control.clone() + &session)
            .lines()
            .any(|line| line.contains(&format!("const {name}:")) && line.ends_with(&format!("{value};")));
        assert!(line, "{PROTOCOL} says {value} for {name}, the source does not");
    };
    assert_eq!(limits.len(), 6, "{limits:?}");
    constant("REQUEST_MAX", number(0));
    constant("ASK_TIME", &format!("Duration::from_secs({})", number(1)));
    constant("READ_TIME", &format!("Duration::from_secs({})", number(2)));
    constant("TICKETS_MAX", number(3));
    constant("STOPS_MAX", number(4));
    constant("FOLLOWERS_MAX", number(5));
}
