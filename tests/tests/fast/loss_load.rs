//! No request is lost by a reload, whatever the load; and each detector fires when the same app is restarted by stopping
//! and starting it.

use segue_tests::figures::{say, scale};
use segue_tests::http::Target;
use segue_tests::load::{Kind, Load};
use segue_tests::program::Program;
use segue_tests::segue::{Segue, Setup};
use segue_tests::stand_in::{Family, StandIn};

/// Connections of one load at a time.
const CONNECTIONS: usize = 3;

fn start(family: Family) -> (Segue, Target) {
    let setup = Setup::new(Program::app());
    let setup = match family {
        Family::Tcp => setup,
        Family::Unix => {
            let path = setup.path("listener");
            setup.listen(format!("unix:{}", path.display()))
        }
    };
    let segue = setup.start();
    let target = segue.target();
    (segue, target)
}

/// Reloads under this load, a few answers of each generation in between. Nothing may be lost.
fn nothing_is_lost(kind: Kind, family: Family) {
    let reloads = scale(20, 200);
    let (segue, target) = start(family);
    let load = Load::start(kind, &target, CONNECTIONS);
    for generation in 2..=reloads + 1 {
        segue.reload_ok(&[]);
        load.wait_for_generation(generation);
        load.wait_for_more(50);
    }
    let tally = load.stop();
    say(format_args!(
        "{kind:?}, {family:?}, {reloads} reloads: {}",
        tally.figures()
    ));
    tally.assert_nothing_lost();
    segue.stop();
}

/// The same load and the same app over a restart that stops the old one first.
fn a_restart_loses(kind: Kind, family: Family) {
    let mut stand_in = StandIn::start(Program::app(), family);
    let load = Load::start(kind, stand_in.target(), CONNECTIONS);
    load.wait_for_more(10);
    stand_in.restart_lossy(|| load.wait_for_loss());
    load.wait_for_more(10);
    let tally = load.stop();
    say(format_args!(
        "control: {kind:?}, {family:?}, 1 stop-then-start restart: {}",
        tally.figures()
    ));
    tally.assert_detector_fired();
}

macro_rules! loads {
    ($($name:ident: $kind:ident $family:ident;)*) => {$(
        mod $name {
            use super::{Family, Kind, a_restart_loses, nothing_is_lost};

            #[test]
            fn reloads_lose_nothing() {
                nothing_is_lost(Kind::$kind, Family::$family);
            }

            #[test]
            fn the_detector_fires() {
                a_restart_loses(Kind::$kind, Family::$family);
            }
        }
    )*};
}

loads! {
    new_connection_per_request: Fresh Tcp;
    keep_alive: KeepAlive Tcp;
    pipelined: Pipelined Tcp;
    post_with_pauses: Post Tcp;
    slow_answers: Slow Tcp;
    streamed_answers: Streamed Tcp;
    http2_many_streams: Http2 Tcp;
    unix_new_connections: Fresh Unix;
    unix_keep_alive: KeepAlive Unix;
    unix_posts: Post Unix;
    unix_http2: Http2 Unix;
}
