//! `segue dev`: what is watched and built, what a failure changes, and that an interrupt ends all of it.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot prepare its files has failed"
)]

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use segue_tests::executable;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::version;

/// An app that answers with what stands in a file when it starts, and does not start without it.
fn reads(setup: &Setup, file: &str) {
    let good = Program::fixture("good").shell_words();
    let script =
        format!("#!/bin/sh\nset -e\nFIXTURE_MESSAGE=$(cat {file})\nexport FIXTURE_MESSAGE\nexec {good}\n");
    executable::write(&setup.path("app"), script.as_bytes());
}

/// The directory of an app that reads `dist/message`, which says `one`.
fn prepared() -> Setup {
    let setup = Setup::new(Program::new("./app")).developed();
    fs::create_dir(setup.path("dist")).unwrap();
    fs::write(setup.path("dist/message"), "one").unwrap();
    reads(&setup, "dist/message");
    setup
}

/// Watches a path, and serves `one`.
fn watching(setup: Setup, path: &str) -> Segue {
    let segue = setup.flags(["--watch", path]).start();
    version::assert_only(&segue, "one");
    segue
}

fn interrupt(segue: Segue) {
    segue.signal(Signal::SIGINT);
    segue.ended();
}

/// Writes a file beside its place and renames it there.
fn put(segue: &Segue, name: &str, text: &str) {
    let beside = segue.path("beside");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, segue.path(name)).unwrap();
}

fn turn(segue: &Segue, link: &str, to: &str) {
    let next = segue.path("next");
    symlink(to, &next).unwrap();
    fs::rename(&next, segue.path(link)).unwrap();
}

#[test]
fn a_change_is_served_and_a_version_that_does_not_start_changes_nothing() {
    let segue = watching(prepared(), "dist");
    put(&segue, "dist/message", "two");
    version::wait_for(&segue.target(), "two");
    fs::remove_file(segue.path("dist/message")).unwrap();
    segue.process().wait_for_line("reload failed");
    version::assert_only(&segue, "two");
    put(&segue, "dist/message", "three");
    version::wait_for(&segue.target(), "three");
    interrupt(segue);
}

#[test]
fn the_program_and_the_files_that_a_reload_reads_are_watched_wherever_they_lie() {
    let setup = Setup::new(Program::new("./bin/app")).developed();
    fs::create_dir(setup.path("bin")).unwrap();
    fs::create_dir(setup.path("src")).unwrap();
    fs::write(setup.path("env"), "FIXTURE_MESSAGE=env-one\n").unwrap();
    setup.deploy("bin/app", &Program::fixture("good"));
    let segue = setup.flags(["--watch", "src", "--env-file", "env"]).start();
    version::assert_only(&segue, "env-one");
    put(&segue, "env", "FIXTURE_MESSAGE=env-two\n");
    version::wait_for(&segue.target(), "env-two");
    segue.deploy("bin/app", &Program::fixture("good message=program"));
    version::wait_for(&segue.target(), "program");
    interrupt(segue);
}

#[test]
fn a_directory_that_is_removed_and_built_anew_is_watched_again_each_time() {
    let segue = watching(prepared(), "dist");
    for text in ["two", "three"] {
        fs::remove_dir_all(segue.path("dist")).unwrap();
        fs::create_dir(segue.path("dist")).unwrap();
        fs::write(segue.path("dist/message"), text).unwrap();
        version::wait_for(&segue.target(), text);
    }
    put(&segue, "dist/message", "four");
    version::wait_for(&segue.target(), "four");
    interrupt(segue);
}

#[test]
fn a_directory_that_is_moved_away_and_replaced_is_watched_in_its_place() {
    let segue = watching(prepared(), "dist");
    fs::create_dir(segue.path("new")).unwrap();
    fs::write(segue.path("new/message"), "two").unwrap();
    fs::rename(segue.path("dist"), segue.path("old")).unwrap();
    fs::rename(segue.path("new"), segue.path("dist")).unwrap();
    version::wait_for(&segue.target(), "two");
    put(&segue, "dist/message", "three");
    version::wait_for(&segue.target(), "three");
    interrupt(segue);
}

#[test]
fn a_link_that_is_turned_is_followed() {
    let setup = prepared();
    fs::create_dir(setup.path("second")).unwrap();
    fs::write(setup.path("second/message"), "two").unwrap();
    symlink("dist", setup.path("current")).unwrap();
    reads(&setup, "current/message");
    let segue = watching(setup, "current");
    turn(&segue, "current", "second");
    version::wait_for(&segue.target(), "two");
    put(&segue, "second/message", "three");
    version::wait_for(&segue.target(), "three");
    interrupt(segue);
}

/// As the kubelet does it: the files are links into `..data`, a link that is turned to a new directory.
#[test]
fn a_config_map_is_followed_by_its_data_link() {
    let setup = prepared();
    let update = |path: &dyn Fn(&str) -> std::path::PathBuf, version: &str, text: &str| {
        fs::create_dir(path(&format!("map/..{version}"))).unwrap();
        fs::write(path(&format!("map/..{version}/message")), text).unwrap();
        symlink(format!("..{version}"), path("map/..data_tmp")).unwrap();
        fs::rename(path("map/..data_tmp"), path("map/..data")).unwrap();
    };
    fs::create_dir(setup.path("map")).unwrap();
    update(&|name| setup.path(name), "v1", "one");
    symlink("..data/message", setup.path("map/message")).unwrap();
    reads(&setup, "map/message");
    let segue = watching(setup, "map");
    update(&|name| segue.path(name), "v2", "two");
    version::wait_for(&segue.target(), "two");
    fs::remove_dir_all(segue.path("map/..v1")).unwrap();
    update(&|name| segue.path(name), "v3", "three");
    version::wait_for(&segue.target(), "three");
    interrupt(segue);
}

#[test]
fn more_than_a_thousand_directories_are_watched_those_that_come_later_included() {
    let setup = prepared();
    for number in 0..1100 {
        fs::create_dir_all(setup.path(&format!("dist/{}/{number}", number % 7))).unwrap();
    }
    reads(&setup, "dist/6/1098/message");
    fs::write(setup.path("dist/6/1098/message"), "one").unwrap();
    let segue = watching(setup, "dist");
    put(&segue, "dist/6/1098/message", "two");
    version::wait_for(&segue.target(), "two");
    let generation = segue.status().generation();
    fs::create_dir_all(segue.path("dist/new/deep")).unwrap();
    fs::write(segue.path("dist/new/deep/file"), "").unwrap();
    segue.wait_until("it is reloaded", |status| status.generation() > generation);
    interrupt(segue);
}

#[test]
fn what_gitignore_and_globs_leave_out_asks_for_no_reload() {
    let setup = prepared();
    fs::write(setup.path("dist/.gitignore"), "*.log\n").unwrap();
    let segue = watching(setup.flags(["--watch-ignore", "/cache"]), "dist");
    let mark = segue.process().mark();
    fs::write(segue.path("dist/app.log"), "x").unwrap();
    fs::create_dir_all(segue.path("dist/cache/x")).unwrap();
    fs::write(segue.path("dist/cache/x/y"), "x").unwrap();
    fs::create_dir(segue.path("dist/.git")).unwrap();
    fs::write(segue.path("dist/.git/index"), "x").unwrap();
    fs::write(segue.path("dist/.message.swp"), "x").unwrap();
    put(&segue, "dist/message", "two");
    version::wait_for(&segue.target(), "two");
    let told = segue.process().wait_for_line_after(mark, "segue dev: ").text;
    assert_eq!(told, "segue dev: dist/message has changed");
    interrupt(segue);
}

/// A build that copies a source, and fails without it.
fn built(setup: &Setup) -> [&'static str; 4] {
    fs::create_dir(setup.path("src")).unwrap();
    fs::write(setup.path("src/message"), "one").unwrap();
    ["--watch", "src", "--build", "cp src/message dist/message"]
}

#[test]
fn a_build_that_fails_leaves_the_version_before_it_and_shows_its_words() {
    let setup = prepared();
    let flags = built(&setup);
    let segue = setup.flags(flags).start();
    version::assert_only(&segue, "one");
    fs::rename(segue.path("src/message"), segue.path("away")).unwrap();
    segue.process().wait_for_line("cp: ");
    let line = segue.process().wait_for_line("segue dev: the build has failed");
    assert!(
        line.text
            .ends_with("(exit status 1); the version before it serves on"),
        "{line:?}"
    );
    version::assert_only(&segue, "one");
    assert_eq!(segue.status().generation(), 1);
    put(&segue, "src/message", "two");
    version::wait_for(&segue.target(), "two");
    interrupt(segue);
}

#[test]
fn a_first_build_that_fails_is_built_again_at_the_next_change() {
    let setup = prepared();
    let flags = built(&setup);
    fs::remove_file(setup.path("src/message")).unwrap();
    let segue = setup.flags(flags).spawn();
    segue
        .process()
        .wait_for_line("nothing serves; the next change builds again");
    put(&segue, "src/message", "late");
    segue.process().wait_for_line("generation 1 serves");
    version::assert_only(&segue, "late");
    interrupt(segue);
}

#[test]
fn an_app_that_cannot_start_at_first_is_started_by_the_next_change() {
    let setup = prepared();
    fs::remove_file(setup.path("dist/message")).unwrap();
    let segue = setup.flags(["--watch", "dist"]).spawn();
    segue.process().wait_for_line("the next change starts it");
    put(&segue, "dist/message", "late");
    segue.process().wait_for_line("generation 1 serves");
    version::assert_only(&segue, "late");
    interrupt(segue);
}

#[test]
fn twenty_builds_under_load_lose_nothing() {
    let setup = prepared();
    let flags = built(&setup);
    let segue = setup.flags(flags).flags(["--rest", "20ms"]).start();
    let load = Load::start(Kind::Fresh, &segue.target(), 3);
    for number in 0..20 {
        // Now this file and now that one: the same again and again would be braked.
        put(&segue, &format!("src/other{}", number % 2), &number.to_string());
        put(&segue, "src/message", &format!("build-{number}"));
        version::wait_for(&segue.target(), &format!("build-{number}"));
    }
    load.stop().assert_nothing_lost();
    interrupt(segue);
}

#[test]
fn an_app_that_writes_where_it_is_watched_is_braked_and_a_change_of_another_file_is_not() {
    let setup = prepared();
    let good = Program::fixture("good").shell_words();
    let script = format!(
        "#!/bin/sh\necho $$ >> dist/starts\nFIXTURE_MESSAGE=$(cat dist/message)\nexport FIXTURE_MESSAGE\nexec {good}\n"
    );
    executable::write(&setup.path("app"), script.as_bytes());
    let segue = watching(setup, "dist");
    let line = segue.process().wait_for_line("the next one comes 4 s after that");
    let told = "segue dev: dist/starts changed right after the last reload, again";
    assert!(line.text.starts_with(told), "{line:?}");
    put(&segue, "dist/message", "two");
    version::wait_for(&segue.target(), "two");
    interrupt(segue);
}

#[test]
fn an_interrupt_ends_a_build_with_all_that_it_has_started() {
    for build in ["sleep 1000 & wait", "trap '' TERM; sleep 1000 & sleep 1000"] {
        let setup = prepared().flags(["--build", &format!("echo begun >&2; {build}")]);
        let segue = setup.spawn();
        segue.process().wait_for_line("begun");
        interrupt(segue);
    }
}

#[test]
fn an_interrupt_ends_an_app_that_does_not_drain() {
    let setup = Setup::new(Program::fixture("ignores-term")).developed().start();
    interrupt(setup);
}

#[test]
fn a_build_that_takes_too_long_has_failed() {
    let setup = prepared().flags(["--build-timeout", "100ms"]);
    let segue = setup.flags(["--build", "trap '' TERM; sleep 1000"]).spawn();
    segue
        .process()
        .wait_for_line("the build has overrun its --build-timeout; nothing serves");
    interrupt(segue);
}

#[test]
fn when_it_is_killed_the_supervisor_stops_its_app() {
    let segue = watching(prepared(), "dist");
    let worker = segue.status().pids(1)[0];
    segue.kill();
    segue.process().wait_for_line("stopping");
    let end = std::time::Instant::now() + segue_tests::patience();
    while !segue.leftover_processes().is_empty() {
        assert!(
            std::time::Instant::now() < end,
            "worker {worker} and others are left"
        );
        std::thread::sleep(segue_tests::LOOK);
    }
}

#[test]
fn a_reload_when_changed_asks_another_instance() {
    let setup = Setup::new(Program::new("./app"));
    fs::create_dir(setup.path("dist")).unwrap();
    fs::write(setup.path("dist/message"), "one").unwrap();
    reads(&setup, "dist/message");
    let segue = setup.start();
    let watcher = segue.begin("reload", &["--when-changed", "dist"]);
    // It says nothing when it has begun to look: so it is changed until it sees it.
    let end = std::time::Instant::now() + segue_tests::patience();
    let mut number = 1;
    while segue.status().generation() == 1 {
        number += 1;
        put(&segue, "dist/message", &number.to_string());
        assert!(std::time::Instant::now() < end, "it sees nothing");
        watcher.wait_for_news(watcher.mark());
    }
    fs::remove_file(segue.path("dist/message")).unwrap();
    watcher.wait_for_line("segue: reload failed: generation ");
    put(&segue, "dist/message", "last");
    version::wait_for(&segue.target(), "last");
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait_for_exit().code(), Some(0));
    segue.stop();
}

#[test]
fn what_segue_itself_writes_in_a_watched_directory_asks_for_no_reload() {
    let setup = Setup::new(Program::new("./app"))
        .developed()
        .listen("web=127.0.0.1:0")
        .listen("side=unix:side");
    setup.deploy("app", &Program::fixture("good message=one"));
    // The control socket lies in the same directory; trust comes later than a reload for a change would.
    let own = ["--pid-file", "app.pid", "--stderr", "app.log"];
    let segue = setup
        .flags(["--watch", ".", "--probation", "1500ms"])
        .flags(own)
        .start();
    segue.reload_ok(&["--settled"]);
    segue.reload_ok(&["--settled"]);
    assert_eq!(segue.status().generation(), 3);
    segue.deploy("app", &Program::fixture("good message=two"));
    segue.wait_until("the new version serves", |status| status.generation() == 4);
    version::wait_for(&segue.target(), "two");
    segue.reload_ok(&["--settled"]);
    assert_eq!(segue.status().generation(), 5);
    interrupt(segue);
}

/// Whether npm is there does not matter: it is left out.
#[test]
fn a_script_of_a_package_json_has_its_sockets() {
    let setup = prepared();
    let package = r#"{"scripts": {"start": "exec ./app"}}"#;
    fs::write(setup.path("package.json"), package).unwrap();
    let setup = setup.program(Program::new("npm").args(["start"]));
    let segue = watching(setup, "dist");
    put(&segue, "dist/message", "two");
    version::wait_for(&segue.target(), "two");
    interrupt(segue);
}

/// What npm would run has a COMMAND then, with which no segue.toml would be read.
#[test]
fn a_script_that_a_segue_toml_names_has_the_settings_of_that_file() {
    let setup = Setup::from_config().developed();
    fs::create_dir(setup.path("dist")).unwrap();
    fs::write(setup.path("dist/message"), "one").unwrap();
    reads(&setup, "dist/message");
    let package = r#"{"scripts": {"start": "exec ./app"}}"#;
    fs::write(setup.path("package.json"), package).unwrap();
    let settings = "command = [\"npm\", \"start\"]\nworkers = 2\nlisten = [\"127.0.0.1:0\"]\n";
    fs::write(setup.path("segue.toml"), settings).unwrap();
    let segue = watching(setup, "dist");
    segue.wait_until("the workers of the file", |status| status.pids(1).len() == 2);
    put(&segue, "dist/message", "two");
    version::wait_for(&segue.target(), "two");
    interrupt(segue);
}

#[test]
fn a_change_that_no_supervisor_was_there_for_is_delivered_to_the_next() {
    let setup = Setup::new(Program::new("./app"));
    fs::create_dir(setup.path("dist")).unwrap();
    fs::write(setup.path("dist/message"), "one").unwrap();
    reads(&setup, "dist/message");
    let mut segue = setup.start();
    let watcher = segue.begin("reload", &["--when-changed", "dist"]);
    segue.kill();
    // It says nothing when it has begun to look: so it is changed until it sees it.
    let end = std::time::Instant::now() + segue_tests::patience();
    let mut number = 1;
    while !watcher.stderr().contains("no supervisor answers") {
        number += 1;
        put(&segue, "dist/message", &number.to_string());
        assert!(std::time::Instant::now() < end, "it sees nothing");
        watcher.wait_for_news(watcher.mark());
    }
    segue.resume();
    version::wait_for(&segue.target(), &number.to_string());
    watcher.signal(Signal::SIGTERM);
    assert_eq!(watcher.wait_for_exit().code(), Some(0));
    segue.stop();
}
