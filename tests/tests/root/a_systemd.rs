//! The two tests that play all scenes of `systemd/`. Nothing here takes longer, and the harness begins tests in the order of
//! their names: by theirs they run beside all the others, and not after them.

use segue_tests::machine::Below;

use crate::systemd::play_all;

#[test]
fn of_debian_13() {
    play_all("a_systemd::of_debian_13", Below::Trixie);
}

#[test]
fn of_this_machine() {
    play_all("a_systemd::of_this_machine", Below::Host);
}
