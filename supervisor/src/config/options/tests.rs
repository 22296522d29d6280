//! Settings at random, and what must hold for each entry of the table.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use super::super::settings::{Mode, Ready, Settings};
use super::{Given, Setting, Takes, all, dev_flags, keys};
use crate::address::{Key, ListenSpec};

/// Settings of every kind, none of which contradicts another.
pub(crate) fn any_settings(dice: &mut fastrand::Rng) -> Settings {
    let mut settings = Settings::default();
    // What `segue dev` alone looks at is never written down.
    all()
        .filter(|setting| setting.given != Given::DevFlagOrKey)
        .for_each(|setting| setting.storage.roll(dice, &mut settings));
    settings.command.insert(0, format!("./{}", letters(dice)).into());
    settings.env_file.clear();
    settings.listen.sort_by_key(ToString::to_string);
    settings.listen.dedup();
    if let Some(Ready::Exec(_)) = settings.ready {
        settings.watchdog = None;
    }
    settings.ready_after = settings
        .ready_after
        .map(|time| time.min(Duration::from_millis(900)));
    settings.hook_timeout = settings
        .hook_timeout
        .map(|time| time.max(Duration::from_millis(1)));
    let most = settings.workers.unwrap_or(1);
    settings.rolling = settings.rolling.map(|step| step.min(most));
    if settings.mode == Some(Mode::Queue) {
        settings.rolling = None;
    }
    let several = |spec: &ListenSpec| spec.options.number(Key::Sockets).is_some();
    let soaks = settings.soak.is_some_and(|soak| !soak.is_zero());
    if settings.mode == Some(Mode::Queue)
        || soaks
        || settings.rolling.is_some()
        || settings.listen.iter().any(several)
    {
        settings.steer = None;
    }
    settings
}

/// A few letters and digits.
pub(super) fn letters(dice: &mut fastrand::Rng) -> String {
    (0..dice.usize(1..9)).map(|_| dice.alphanumeric()).collect()
}

/// Any bytes but NUL, at least one, and now and then what looks like a flag.
pub(super) fn bytes(dice: &mut fastrand::Rng) -> OsString {
    let words = ["--", "-x", "--listen=1", "a b", "=", "\n", "ü"];
    if dice.u8(..4) == 0 {
        return words[dice.usize(..words.len())].into();
    }
    OsString::from_vec((0..dice.usize(1..9)).map(|_| dice.u8(1..)).collect())
}

/// A listener that is hard to write.
pub(super) fn any_listener(dice: &mut fastrand::Rng) -> ListenSpec {
    let listeners = [
        "8080,sockets=4",
        "web=*:8081,backlog=5,no-delay,keep-alive=no",
        "a b=unix:/run/x y.sock,mode=0600,user=app",
        "unix:@-abstract",
        "udp:[::1]:53,receive-buffer=1M,timestamping=ns",
        "unix-seqpacket:./--x",
        "localhost:0,bind-ipv6-only=default",
    ];
    listeners[dice.usize(..listeners.len())].parse().unwrap()
}

/// The fields of `Settings`, taken from how it is shown.
fn fields() -> usize {
    let shown = format!("{:#?}", Settings::default());
    shown.lines().filter(|line| line.starts_with("    ")).count()
}

#[test]
fn every_field_has_an_entry_and_every_entry_a_name_of_its_own() {
    let names: BTreeSet<_> = all().map(|setting| setting.name).collect();
    assert_eq!(names.len(), all().count());
    assert_eq!(
        keys().count(),
        fields(),
        "a field of Settings that no entry of the table sets"
    );
    assert_eq!(dev_flags().count(), fields(), "all but command, and --config");
}

#[test]
fn every_entry_is_whole() {
    let lacks = |setting: &Setting| {
        let flag = setting.given != Given::Key;
        let switch = setting.takes() == Takes::Nothing;
        let incomplete =
            setting.summary.is_empty() || setting.manual.is_empty() || switch != setting.value.is_empty();
        (flag && incomplete)
            || setting.summary.ends_with('.')
            || setting.summary.len() > 66
            || setting.help.lines().any(|line| line.len() > 72)
            || setting.unset.is_some() && setting.storage.default().is_some()
    };
    let wrong: Vec<_> = all()
        .filter(|setting| lacks(setting))
        .map(|setting| setting.name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The default of the table is what `resolve` takes when nothing is given: written down and given, it changes nothing.
#[test]
fn the_defaults_are_those_that_hold() {
    let command = |mut settings: Settings| {
        settings.command = vec!["./app".into()];
        let invocation = super::super::Invocation {
            config: None,
            settings,
        };
        super::super::resolve(&invocation).unwrap()
    };
    let none = command(Settings::default());
    for setting in dev_flags() {
        let said = setting.say(&none);
        match setting.storage.default() {
            Some(default) => assert_eq!(said, [format!("--{}={default}", setting.name).as_str()]),
            None => assert!(
                said.is_empty() || setting.unset.is_some(),
                "{said:?} holds, and the help does not say so"
            ),
        }
    }
}
