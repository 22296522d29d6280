//! Many small things at once, each of which may fail without the others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many at once: most of their time they wait for a process that starts.
const AT_ONCE: usize = 4;

/// Does all of it.
///
/// # Panics
/// When some have failed, with the names of all of them.
pub(super) fn each<T: Sync + std::fmt::Display>(all: &[T], act: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = catch_unwind(AssertUnwindSafe(|| act(one))) {
                        let text = why.downcast_ref::<String>().map_or("", String::as_str);
                        failed.lock().unwrap().push(format!("{one}: {text}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}
