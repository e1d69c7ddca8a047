//! A timer for deadlines that are seldom reached. Holds one timer of the runtime.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

/// Wakes a task at a deadline. One alarm serves all deadlines of a connection.
///
/// Most deadlines are replaced by a later one before they are reached, because each request has a new one. The timer is
/// therefore not reset to a later deadline until it fires: a request then costs no operation on the timer wheel.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Returns ready once the deadline has passed.
    #[expect(clippy::disallowed_methods, reason = "the user sets how long a client may take")]
    pub(super) fn poll(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        // `unconstrained`: reads may have used up the task's cooperative budget. The timer would then always be
        // pending, and a client that sends continuously could never time out.
        while pin!(unconstrained(timer.as_mut())).poll(context).is_ready() {
            // The timer may have fired for an earlier deadline.
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Adds a duration to a time. If the clock cannot represent the result, returns a time that is never reached.
pub(super) fn later(now: Instant, by: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    now + by.min(NEVER)
}
