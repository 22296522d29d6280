//! Responses that have no end of their own, and when they get one during a drain.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::track::Surroundings;
use crate::drain::Phase;

/// Put this into a response's extensions to say that its body has no end of its own (a long poll, an endless
/// download): during a drain it is then ended cleanly after the time that long-lived connections have, instead of
/// holding the drain until its hard deadline. Responses of type `text/event-stream` are long-lived without it.
///
/// # Example
///
/// ```
/// use hyper::Response;
///
/// fn tail(lines: String) -> Response<String> {
///     let mut response = Response::new(lines);
///     response.extensions_mut().insert(segue_app::LongLived);
///     response
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LongLived;

/// Resolves when a long-lived response has to end.
pub(super) struct Farewell(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Farewell {
    pub(super) fn new(around: &Surroundings) -> Farewell {
        let around = around.clone();
        Farewell(Box::pin(wait_for_end(around)))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Waits until the drain has begun and the time for long-lived connections is over, or the hard deadline is near.
pub(super) async fn wait_for_end(around: Surroundings) {
    let mut watched = around.phase.clone();
    let phase = match watched.wait_for(|phase| phase.is_draining()).await {
        Ok(phase) => *phase,
        Err(_) => return,
    };
    match phase {
        Phase::Serving | Phase::Pressed { .. } | Phase::Cut => {}
        Phase::Draining { since, deadline } => {
            tokio::time::sleep_until(end(since, deadline, around.limits.long_lived)).await
        }
    }
}

/// A moment in the second half of the allowed time, another one for each connection.
fn end(since: Instant, deadline: Instant, allowed: Duration) -> Instant {
    let allowed = allowed.min((deadline - since) * 9 / 10);
    // The hasher's keys are random; a generator of random numbers of our own is not worth a dependency.
    let random = (RandomState::new().hash_one(0_u8) >> 40) as f64 / f64::from(1_u32 << 24);
    since + allowed / 2 + (allowed / 2).mul_f64(random)
}
