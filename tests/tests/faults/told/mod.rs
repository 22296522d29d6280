//! What the kernel refuses is told: each system call of a running supervisor fails once, at its first, middle and last use in a
//! story of reloads, failures, a crash and a rollback, and the kernel's reason is in the log or in an answer, unless `table.rs` says
//! why nobody need be told. `SEGUE_LONG=1` fails every use, with every errno of the table; `SEGUE_TEST_CALL=accept4` that call alone.
//! (`tests/faults/starved/` looks at start, end and children as well, and not at the words.)
//!
//! `strace -e inject` answers in the kernel's place, for the supervisor alone: workers and clients are not traced.

mod scene;
mod strace;
mod table;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use scene::Scene;
use segue_tests::needs;
use table::Row;

/// One fault: a call, how it fails, and at which of its uses.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    row: &'static Row,
    errno: &'static str,
    when: usize,
}

#[test]
fn a_refusal_of_the_kernel_is_told_and_harms_nobody_who_serves() {
    let Some(()) = needs::or_skip("told", segue_tests::strace::available()) else {
        return;
    };
    let seen = Scene::new().calls();
    let unknown: Vec<_> = seen.keys().filter(|call| !table::knows(call)).collect();
    assert!(unknown.is_empty(), "calls without a row in table.rs: {unknown:?}");
    let faults = Mutex::new(faults(&seen));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| work(&faults, &wrong));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is tried, the last of it first.
fn faults(seen: &BTreeMap<String, usize>) -> Vec<Fault> {
    let long = std::env::var_os("SEGUE_LONG").is_some();
    let only = std::env::var("SEGUE_TEST_CALL").ok();
    let mut faults = Vec::new();
    for row in table::INJECTED {
        let uses = seen.get(row.call).copied().unwrap_or(0);
        if uses == 0 || only.as_ref().is_some_and(|only| only != row.call) {
            continue;
        }
        let errnos = if long { row.errnos } else { &row.errnos[..1] };
        let mut whens: Vec<_> = if long { (1..=uses).collect() } else { vec![1] };
        whens.dedup();
        for errno in errnos {
            faults.extend(whens.iter().map(|when| Fault {
                row,
                errno,
                when: *when,
            }));
        }
    }
    faults
}

/// Takes faults until none is left. After one that went wrong it goes on with another supervisor.
fn work(faults: &Mutex<Vec<Fault>>, wrong: &Mutex<Vec<String>>) {
    let mut scene = Some(Scene::new());
    loop {
        let Some(fault) = faults.lock().unwrap_or_else(PoisonError::into_inner).pop() else {
            break;
        };
        let here = scene.take().unwrap_or_else(Scene::new);
        match catch_unwind(AssertUnwindSafe(|| here.suffer(&fault))) {
            Ok(()) => scene = Some(here),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .unwrap_or_else(|| "a panic without text".to_owned());
                wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
                    "{} {} at use {}: {text}",
                    fault.row.call, fault.errno, fault.when
                ));
            }
        }
    }
    if let Some(scene) = scene {
        scene.end();
    }
}
