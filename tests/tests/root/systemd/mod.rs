//! Segue under a real systemd: the units of `systemd/`, as they are installed, on the systemd of this machine (252 on Debian
//! 12) and on that of Debian 13 (257).
//!
//! Each test (in `a_systemd.rs`) is one machine, in which all scenes are played, some at a time, each with an app, a port and a unit of its own.
//! `SEGUE_TEST_SCENE=text` plays those whose names contain the text.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot look at its subject has failed"
)]

mod deploy;
mod failures;
mod guide;
mod instances;
mod journal;
mod killed;
mod midway;
mod onramp;
mod package;
mod reload;
mod restart;
mod sandbox;
mod site;
mod slots;
mod start;
mod steered;
mod stop;
mod upgrade;

use std::fmt;

use segue_tests::figures::say;
use segue_tests::long_run;
use segue_tests::machine::{Below, Machine};
use segue_tests::needs::{self, or_skip};
use segue_tests::pool;

/// The oldest systemd that the units are for.
const OLDEST: u32 = 252;

/// One thing that is tried, and the first systemd that has what it needs.
struct Scene {
    name: &'static str,
    since: u32,
    play: fn(&Machine),
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How many scenes at once in one machine: they mostly wait.
const AT_ONCE: usize = 4;

/// Scenes that do something to the whole machine (systemd executes itself anew or is held up, or the common binary is exchanged), and one
/// that bears no `daemon-reload` of another: at that, systemd (252 and 257) forgets what was said by EXTEND_TIMEOUT_USEC and
/// counts TimeoutStartSec from the begin of the start again.
const ALONE: [&str; 4] = [
    "reload::after_a_daemon_reload",
    "upgrade::is_no_restart",
    "start::takes_as_long_as_the_app_asks_for",
    "midway::a_new_listener_that_systemd_has_not_got",
];

/// Scenes in which systemd itself does what each version does: one of the machines is enough but for the long run.
const ON_ONE_MACHINE: &str = "slots::";

/// Scenes that take longest, a time limit of their own being among what they wait for. They begin first, lest one of them is
/// played at the end with nothing beside it.
const LONGEST: [&str; 5] = [
    "killed::hears_what_was_said_meanwhile",
    "midway::while_it_forks",
    "midway::what_a_stop_left_hanging_has_its_deadline",
    "midway::at_a_first_start_nobody_hears",
    "failures::a_stuck_loop_is_killed_and_the_app_adopted",
];

macro_rules! scenes {
    ($($since:literal $module:ident::$name:ident;)*) => {
        &[$(Scene { name: concat!(stringify!($module), "::", stringify!($name)), since: $since, play: $module::$name }),*]
    };
}

const SCENES: &[Scene] = scenes! {
    252 sandbox::units_are_clean;
    252 sandbox::the_score;
    252 sandbox::what_the_app_can_do;
    252 start::returns_when_the_first_generation_is_ready;
    252 start::fails_with_the_first_generation;
    252 start::takes_as_long_as_the_app_asks_for;
    252 start::on_a_port_below_1024;
    252 start::the_plain_example;
    252 reload::loses_nothing;
    252 reload::that_fails_harms_nobody;
    252 reload::asked_for_twice_at_once;
    252 reload::by_deployers_of_a_group;
    252 reload::after_a_daemon_reload;
    253 reload::by_notify_reload;
    252 restart::refuses_nobody;
    252 restart::without_a_socket_unit_loses;
    252 upgrade::is_no_restart;
    252 stop::finishes_what_is_in_flight;
    252 stop::by_systemctl_kill;
    252 failures::a_stuck_loop_is_killed_and_the_app_adopted;
    252 failures::a_removed_runtime_directory_harms_nobody;
    252 failures::a_file_size_limit_ends_nobody;
    252 killed::at_rest;
    252 killed::in_every_stage_of_a_reload;
    252 killed::hears_what_was_said_meanwhile;
    252 killed::while_draining;
    252 killed::with_non_blocking_sockets;
    252 killed::temporary_files_stay;
    252 killed::during_a_rollback;
    252 killed::at_any_moment;
    252 killed::as_it_writes_its_state;
    252 killed::a_stop_ends_everything;
    252 killed::a_stop_between_two_supervisors_ends_everything;
    252 killed::a_stop_before_a_start_that_waits_ends_everything;
    254 killed::a_stop_beside_a_cleanup_ends_everything;
    252 steered::killed_at_every_call;
    252 slots::clients_from_before_the_service_ran;
    252 slots::clients_of_an_incumbent_that_hangs;
    252 slots::clients_of_a_version_that_is_rolled_back;
    252 slots::one_line_of_another_user_stays_shared;
    252 slots::one_line_of_our_own_user_is_steered;
    252 midway::while_it_forks;
    252 midway::at_a_first_start_nobody_hears;
    252 midway::while_it_stops;
    252 midway::what_a_stop_left_hanging_has_its_deadline;
    252 midway::while_systemd_stops_it;
    252 midway::a_new_listener_that_systemd_has_not_got;
    252 deploy::ends_with_the_new_version_or_changes_nothing;
    252 deploy::takes_back_what_dies_after_its_takeover;
    252 deploy::one_at_a_time;
    252 deploy::interrupted_is_resolved_by_the_next;
    252 onramp::a_service_goes_below_segue_and_back;
    252 instances::root_asks_others_as_their_owner;
    252 journal::has_every_line;
    252 journal::has_the_last_words;
    252 journal::is_read_back_by_the_client;
    252 journal::knows_priorities;
};

pub(crate) fn play_all(test: &str, below: Below) {
    if !needs::whole_system(test) {
        return;
    }
    let machine = Machine::boot(below).and_then(|machine| match machine.version() {
        version if version < OLDEST => Err(format!("systemd {version} is older than {OLDEST}")),
        _ => Ok(machine),
    });
    let Some(machine) = or_skip(test, machine) else {
        return;
    };
    let is_second = below == Below::Trixie && !long_run();
    site::install(&machine);
    let wanted = std::env::var("SEGUE_TEST_SCENE").unwrap_or_default();
    let version = machine.version();
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for scene in SCENES.iter().filter(|scene| scene.name.contains(&wanted)) {
        if is_second && scene.name.starts_with(ON_ONE_MACHINE) {
            println!("{}: on the other machine", scene.name);
        } else if version < scene.since {
            say(format_args!(
                "systemd {version}: {}: only from {} on",
                scene.name, scene.since
            ));
        } else if ALONE.contains(&scene.name) {
            alone.push(scene);
        } else {
            together.push(scene);
        }
    }
    together.sort_by_key(|scene| !LONGEST.contains(&scene.name));
    println!("systemd {version}:");
    let play = |scene: &&Scene| machine.in_its_network(|| (scene.play)(&machine));
    pool::each(1, &alone, play);
    pool::each(AT_ONCE, &together, play);
}
