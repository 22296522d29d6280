//! Many things at once that mostly wait, each of which may fail without the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Does all of it, in order, so many at once. Each prints its name, how it ended and how long it took.
///
/// # Panics
/// When some have failed, with the names of all of them.
pub fn each<T: Sync + std::fmt::Display>(at_once: usize, all: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let done = catch_unwind(AssertUnwindSafe(|| act(one)));
                    let end = if done.is_ok() { "ok" } else { "FAILED" };
                    println!("{one}: {end} ({:.1} s)", began.elapsed().as_secs_f64());
                    if let Err(why) = done {
                        let text = why.downcast_ref::<String>().map_or("", String::as_str);
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push(format!("{one}: {text}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}
