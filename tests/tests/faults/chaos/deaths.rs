//! What is done to the incumbent. What it had accepted is lost by right; nobody is refused, and others serve.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use segue_tests::segue::Status;

use super::world::{Act, Chaos};

/// How a worker may die. Not by SIGSEGV: the standard library of Rust looks for a stack overflow in it, and lives on after the first one
/// that another process has sent.
const DEATHS: [Signal; 4] = [Signal::SIGKILL, Signal::SIGQUIT, Signal::SIGABRT, Signal::SIGTERM];

pub(crate) const DEATHS_OF_WHO_SERVES: [Act; 6] = [
    ("a worker dies", Chaos::worker_dies),
    ("every worker dies", Chaos::all_die),
    ("who serves dies in a reload", Chaos::incumbent_dies_in_reload),
    ("the candidate dies", Chaos::candidate_dies),
    ("a worker stands still for a while", Chaos::stand_still),
    (
        "workers die while nobody supervises",
        Chaos::some_die_unsupervised,
    ),
];

/// Sends a signal. Who is gone by now is not there to get it.
fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

impl Chaos {
    fn death(&mut self) -> Signal {
        DEATHS[self.random.usize(..DEATHS.len())]
    }

    /// Everybody of that number serves, and none of the dead is among them. Back-off begins anew with a new generation.
    #[track_caller]
    fn others_serve(&mut self, workers: usize, dead: &[i32]) {
        self.segue.wait_until("others serve", |status| {
            let pids = status.pids(status.generation());
            status.state() == "serving" && pids.len() == workers && !pids.iter().any(|pid| dead.contains(pid))
        });
        self.renew();
    }

    fn worker_dies(&mut self, before: &Status) {
        let pids = before.pids(before.generation());
        let one = pids[self.random.usize(..pids.len())];
        send(one, self.death());
        self.others_serve(pids.len(), &[one]);
    }

    fn all_die(&mut self, before: &Status) {
        let pids = before.pids(before.generation());
        let death = self.death();
        pids.iter().for_each(|pid| send(*pid, death));
        self.others_serve(pids.len(), &pids);
    }

    fn incumbent_dies_in_reload(&mut self, before: &Status) {
        let pids = before.pids(before.generation());
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        let death = self.death();
        pids.iter().for_each(|pid| send(*pid, death));
        assert_eq!(reload.finish().code, Some(0), "{}", self.segue.process().stderr());
        self.others_serve(pids.len(), &pids);
    }

    /// Whichever generation is the newest at some moment of a reload. The reload may have ended well by then.
    fn candidate_dies(&mut self, before: &Status) {
        let workers = before.pids(before.generation()).len();
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        let status = self.segue.status();
        let newest = status.in_role("candidate").first().copied();
        let dead = status.pids(newest.unwrap_or_else(|| status.generation()));
        let death = self.death();
        dead.iter().for_each(|pid| send(*pid, death));
        let _ = reload.finish();
        self.others_serve(workers, &dead);
    }

    fn stand_still(&mut self, before: &Status) {
        let pids = before.pids(before.generation());
        let one = pids[self.random.usize(..pids.len())];
        send(one, Signal::SIGSTOP);
        self.good();
        let reload = self.segue.begin("reload", &[]);
        self.pause();
        send(one, Signal::SIGCONT);
        assert_eq!(reload.finish().code, Some(0));
    }

    /// While nobody supervises, nobody is started again; the next supervisor does it at once. One worker lives on, and has the listener.
    fn some_die_unsupervised(&mut self, _: &Status) {
        let count = self.random.usize(2..4);
        let done = self.segue.run("workers", &[&count.to_string()]);
        assert_eq!(done.code, Some(0), "{done:?}");
        // What is on the disk is what serves, so that it can be started without the store of systemd.
        self.renew();
        let before = self.at_rest();
        let mut dead = before.pids(before.generation());
        assert_eq!(dead.len(), count, "{}", before.0);
        dead.swap_remove(self.random.usize(..count));
        self.segue.kill();
        let death = self.death();
        dead.iter().for_each(|pid| send(*pid, death));
        self.pause();
        self.segue.start_again();
        self.others_serve(count, &dead);
    }
}
